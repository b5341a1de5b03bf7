/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shape of a machine: what must be the same where a saved one is restored. A
 * line for each thing, "name value" or the name alone; people read the differences.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/size.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/x86.h"
#include "src/dev/dev.h"
#include "src/machine/board.h"
#include "src/mem/mem.h"
#include "src/vm/save.h"
#include "src/vm/save_priv.h"

#define LINES_MAX 4096u
#define DIFFS_TOLD 8u

static int count_part(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	FILE *f = opaque;

	fprintf(f, "device %s\n", desc->state->name);
	return 0;
}

char *save_shape(const struct save_machine *m, struct err *err)
{
	const struct x86_cpu *c = m->cpus->vcpu[0].x86;
	size_t len;
	char *text = NULL;
	FILE *f = open_memstream(&text, &len);
	int ret;

	if (!f)
		goto no_memory;
	fprintf(f, "processors=%u\n", m->cpus->count);
	fprintf(f, "processor vendor=%s\n", c->vendor);
	fprintf(f, "address width=%u bits\n", m->mem->phys_bits);
	for (unsigned n = 0; n < X86_NFEATURES; n++)
		if (x86_has(c, n))
			fprintf(f, "processor feature %s\n", x86_feature_name(n));
	for (size_t n = 0; n < m->mem->nblocks; n++) {
		char size[32];

		fprintf(f, "memory \"%s\"=%s\n", m->mem->blocks[n]->name,
			format_size(m->mem->blocks[n]->len, size, sizeof(size)));
	}
	ret = board_each(m->board, count_part, f);
	if (fclose(f) != 0 || ret)
		goto no_memory;
	return text;

no_memory:
	free(text);
	err_set(err, -ENOMEM, "out of memory");
	return NULL;
}

/* Lines of a text, cut in place. */
static size_t cut(char *text, char **line, size_t max)
{
	size_t n = 0;
	char *save = NULL;

	for (char *l = strtok_r(text, "\n", &save); l && n < max; l = strtok_r(NULL, "\n", &save))
		line[n++] = l;
	return n;
}

static size_t key_len(const char *line)
{
	return strcspn(line, "=");
}

static bool same_key(const char *a, const char *b)
{
	size_t len = key_len(a);

	return a[len] == '=' && key_len(b) == len && memcmp(a, b, len) == 0;
}

/* Takes out of both what they have in common, each line once, whatever the order. */
static void cancel(char **a, size_t na, char **b, size_t nb)
{
	for (size_t i = 0; i < na; i++)
		for (size_t k = 0; k < nb; k++)
			if (a[i] && b[k] && strcmp(a[i], b[k]) == 0)
				a[i] = b[k] = NULL;
}

struct told {
	char text[768];
	size_t len;
	unsigned count;
};

static void tell(struct told *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct told *t, const char *fmt, ...)
{
	va_list ap;
	char one[160];
	int n;

	if (t->count++ >= DIFFS_TOLD)
		return;
	va_start(ap, fmt);
	n = vsnprintf(one, sizeof(one), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	n = snprintf(t->text + t->len, sizeof(t->text) - t->len, "%s%s", t->len ? "; " : "", one);
	if (n > 0)
		t->len = min_of(t->len + (size_t)n, sizeof(t->text) - 1);
}

static void tell_all(struct told *t, char **file, size_t nf, char **here, size_t nh)
{
	for (size_t i = 0; i < nf; i++) {
		for (size_t k = 0; file[i] && k < nh; k++) {
			if (!here[k] || !same_key(file[i], here[k]))
				continue;
			tell(t, "%.*s: %.60s in the file, %.60s here", (int)min_of(key_len(file[i]), 40u),
			     file[i], file[i] + key_len(file[i]) + 1, here[k] + key_len(here[k]) + 1);
			file[i] = here[k] = NULL;
		}
	}
	for (size_t i = 0; i < nf; i++)
		if (file[i])
			tell(t, "%.100s: only in the file", file[i]);
	for (size_t k = 0; k < nh; k++)
		if (here[k])
			tell(t, "%.100s: only here", here[k]);
}

static void printable(char *s)
{
	for (; *s; s++)
		if ((*s < ' ' || *s > '~') && *s != '\n')
			*s = '?';
}

uint64_t save_shape_features(const char *text, size_t len)
{
	static const char head[] = "processor feature ";
	uint64_t features = 1ull << X86_F_BASE;
	char *copy = strndup(text, len), *save = NULL;

	for (char *l = copy ? strtok_r(copy, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save))
		for (unsigned n = 0; n < X86_NFEATURES; n++)
			if (strncmp(l, head, sizeof(head) - 1) == 0 &&
			    strcmp(l + sizeof(head) - 1, x86_feature_name(n)) == 0)
				features |= 1ull << n;
	free(copy);
	return features;
}

int save_shape_check(const struct save_machine *m, const char *text, size_t len, struct err *err)
{
	char *file = strndup(text, len), *here = save_shape(m, err);
	char **fl = calloc(LINES_MAX, sizeof(*fl)), **hl = calloc(LINES_MAX, sizeof(*hl));
	struct told t = { "" };
	size_t nf, nh;
	int ret = 0;

	if (!file || !here || !fl || !hl) {
		ret = err_set(err, -ENOMEM, "out of memory");
	} else {
		printable(file);
		nf = cut(file, fl, LINES_MAX);
		nh = cut(here, hl, LINES_MAX);
		cancel(fl, nf, hl, nh);
		tell_all(&t, fl, nf, hl, nh);
		if (t.count > DIFFS_TOLD)
			ret = err_set(err, -EINVAL, "it is of another machine: %s; and %u more "
				      "differences", t.text, t.count - DIFFS_TOLD);
		else if (t.count)
			ret = err_set(err, -EINVAL, "it is of another machine: %s", t.text);
	}
	free(file);
	free(here);
	free(fl);
	free(hl);
	return ret;
}

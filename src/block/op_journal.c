/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Remembers how far a resumable conversion is. One line of text beside the target,
 * replaced as a whole; it names the source by size and time of change. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/block/op.h"
#include "src/block/op_priv.h"

struct op_journal {
	char *path, *tmp;
	char source[256]; /* what identifies the source and the target's shape */
};

static uint64_t hash_text(uint64_t h, const char *s)
{
	while (s && *s)
		h = (h ^ (uint8_t)*s++) * 0x100000001b3ULL;
	return h * 31 + 7;
}

static void identify(struct op_journal *j, const struct op_convert *c, const struct block_node *src)
{
	uint64_t h = hash_text(0xcbf29ce484222325ULL, c->src);
	struct stat st = { 0 };

	h = hash_text(h, c->snapshot);
	h = hash_text(h, c->dst_format);
	h = hash_text(h, c->backing_path);
	h = hash_text(h, c->compress ? "packed" : "plain");
	for (size_t i = 0; i < c->nopts; i++)
		h = hash_text(h, c->opts[i]);
	if (stat(c->src, &st) < 0)
		st.st_size = 0;
	snprintf(j->source, sizeof(j->source), "%016" PRIx64 " %" PRIu64 " %lld %lld.%09ld", h,
		 src->len, (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static int read_back(struct op_journal *j, const struct op_convert *c, uint64_t *from,
		     struct err *err)
{
	FILE *f = fopen(j->path, "re");
	char line[512] = "";
	size_t n = strlen(j->source);

	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	if (strncmp(line, j->source, n) || line[n] != ' ')
		return err_set(err, -ESTALE,
			       "'%s' is left from another conversion, or its source has changed; "
			       "remove it and '%s' to start anew", j->path, c->dst);
	*from = strtoull(line + n + 1, NULL, 10);
	if (access(c->dst, F_OK) < 0)
		*from = 0;
	return 0;
}

int op_journal_open(struct op_journal **out, const struct op_convert *c,
		    const struct block_node *src, uint64_t *from, struct err *err)
{
	struct op_journal *j = calloc(1, sizeof(*j));
	int rc;

	*from = 0;
	*out = NULL;
	if (!j || asprintf(&j->path, "%s.resume", c->dst) < 0 ||
	    asprintf(&j->tmp, "%s.resume.new", c->dst) < 0) {
		op_journal_close(j, false);
		return err_set(err, -ENOMEM, "out of memory");
	}
	identify(j, c, src);
	rc = read_back(j, c, from, err);
	if (rc) {
		op_journal_close(j, false);
		return rc;
	}
	*out = j;
	return 0;
}

void op_journal_save(struct op_journal *j, struct block_node *dst, uint64_t low)
{
	FILE *f;
	bool ok;

	if (block_flush(dst) || !(f = fopen(j->tmp, "we")))
		return;
	ok = fprintf(f, "%s %" PRIu64 "\n", j->source, low) > 0 && !fflush(f) &&
	     !fsync(fileno(f));
	ok = !fclose(f) && ok;
	if (!ok || rename(j->tmp, j->path) < 0)
		unlink(j->tmp);
}

void op_journal_close(struct op_journal *j, bool done)
{
	if (!j)
		return;
	if (done)
		unlink(j->path);
	free(j->path);
	free(j->tmp);
	free(j);
}

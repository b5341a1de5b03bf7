/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a person can see of the translator: a listing of every block as it is made
 * (--trace-blocks) and names of translated code for perf (--perf-map; the format
 * is in Linux, tools/perf/Documentation/jit-interface.txt).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cpu/jit/jit_priv.h"

/* A new file, or a device that takes what is written. */
static FILE *open_new(const char *path, bool *made, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
	struct stat st;
	FILE *f;

	*made = fd >= 0;
	if (fd < 0 && errno == EEXIST && stat(path, &st) == 0 && S_ISCHR(st.st_mode))
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	else if (fd < 0 && errno == EEXIST) {
		err_set(err, -EEXIST, "--trace-blocks: '%s' exists already; name a new file or "
			"remove it first", path);
		return NULL;
	}
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		err_set(err, -errno, "--trace-blocks: '%s' cannot be made: %s", path,
			strerror(errno));
	if (!f && fd >= 0)
		close(fd);
	return f;
}

static void perf_map_path(char *path, size_t size)
{
	snprintf(path, size, "/tmp/perf-%d.map", (int)getpid());
}

/* A file of ours under a name that perf prescribes, in a folder where anybody may
 * put anything: never through a link, never into what is there. */
static FILE *open_perf_map(struct err *err)
{
	char path[64];
	FILE *f;
	int fd;

	perf_map_path(path, sizeof(path));
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		err_set(err, -errno, "--perf-map: '%s' cannot be made: %s", path, strerror(errno));
	if (!f && fd >= 0)
		close(fd);
	if (f)
		setvbuf(f, NULL, _IOLBF, 0); /* perf may look at any time */
	return f;
}

int jit_trace_open(struct cpus *s, struct err *err)
{
	struct jit_trace *t;

	if (!s->options.trace_blocks && !s->options.perf_map)
		return 0;
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&t->lock, NULL);
	s->engine_priv = t;
	if ((s->options.trace_blocks &&
	     !(t->blocks = open_new(s->options.trace_blocks, &t->made, err))) ||
	    (s->options.perf_map && !(t->perf = open_perf_map(err)))) {
		jit_trace_close(s);
		return -EINVAL;
	}
	return 0;
}

void jit_trace_close(struct cpus *s)
{
	struct jit_trace *t = s->engine_priv;
	char path[64];

	if (!t)
		return;
	if (t->blocks && (fflush(t->blocks) != 0 || ferror(t->blocks)))
		log_warn(s->log, "--trace-blocks: not everything could be written: %s",
			 strerror(errno));
	if (t->blocks)
		fclose(t->blocks);
	if (t->perf)
		fclose(t->perf);
	/* Nothing is left of a machine that never ran. */
	perf_map_path(path, sizeof(path));
	if (t->perf && !t->used)
		unlink(path);
	if (t->made && !t->used)
		unlink(s->options.trace_blocks);
	pthread_mutex_destroy(&t->lock);
	free(t);
	s->engine_priv = NULL;
}

static const char *mode_name(uint32_t key)
{
	static const char *const names[] = { "16-bit", "32-bit", "64-bit", "?" };

	return names[key & X86_MODE_SIZE];
}

static const char *right_name(uint32_t key)
{
	return key & JIT_KEY_USER ? "user" : "kernel";
}

void jit_list_run(FILE *f, const struct jit_block *b, const struct jit_run *run)
{
	char text[128];

	fprintf(f, "block %016" PRIx64 " %s %s%s, key %x, page %#" PRIx64 "%s: %u instructions, "
		"%u bytes\n", b->rip, mode_name(b->key), b->key & X86_MODE_REAL ? "real " : "",
		right_name(b->key), b->key, b->page << MEM_PAGE_SHIFT,
		b->page2 != b->page ? " and one more" : "", run->count, run->bytes);
	for (unsigned n = 0; n < run->count; n++) {
		x86_format(&run->insn[n], run->rip[n], text, sizeof(text));
		fprintf(f, "  %016" PRIx64 "  %s\n", run->rip[n], text);
	}
}

void jit_trace_thunks(struct jit *j, const uint8_t *start, const uint8_t *end)
{
	struct jit_trace *t = j->trace;

	if (!t || !t->perf)
		return;
	pthread_mutex_lock(&t->lock);
	fprintf(t->perf, "%" PRIxPTR " %zx vcpu%u:thunks\n", (uintptr_t)jit_rx(j, start),
		(size_t)(end - start), j->cpu->index);
	pthread_mutex_unlock(&t->lock);
}

static void name_code(struct jit *j, const struct jit_block *b, const uint8_t *from,
		      const uint8_t *to, const char *suffix)
{
	if (to != from)
		fprintf(j->trace->perf, "%" PRIxPTR " %zx vcpu%u:%s:%016" PRIx64 "%s\n",
			(uintptr_t)jit_rx(j, from), (size_t)(to - from), j->cpu->index,
			right_name(b->key), b->rip, suffix);
}

void jit_trace_block(struct jit *j, const struct jit_block *b, const struct jit_run *run)
{
	struct jit_trace *t = j->trace;

	pthread_mutex_lock(&t->lock);
	t->used = true;
	if (t->perf) {
		name_code(j, b, b->start, b->end, "");
		name_code(j, b, b->cold, b->cold_end, ":cold");
	}
	if (t->blocks) {
		fprintf(t->blocks, "vCPU %u, host %#" PRIxPTR ", %zu bytes and %zu: ", j->cpu->index,
			(uintptr_t)jit_rx(j, b->start), (size_t)(b->end - b->start),
			(size_t)(b->cold_end - b->cold));
		jit_list_run(t->blocks, b, run);
	}
	pthread_mutex_unlock(&t->lock);
}

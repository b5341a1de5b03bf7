/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the operations share: opening, room on the host, work in pieces on threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/op.h"
#include "src/block/op_priv.h"
#include "src/block/pool.h"

enum { MAX_THREADS = 32 };
#define CHECK_NS 3000000000LL

struct block_open_opts op_open_opts(const struct op_env *env, const char *format, unsigned flags)
{
	struct block_open_opts o = { .format = format, .flags = flags, .cache = env->cache,
				     .secret = env->secret, .host = env->host };

	if (env->share && !(flags & BLOCK_OPEN_WRITE))
		o.flags |= BLOCK_OPEN_NO_LOCK;
	return o;
}

unsigned op_threads(const struct op_env *env)
{
	long n = env->threads ? (long)env->threads : sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (unsigned)min_of(n, (long)MAX_THREADS);
}

void op_bufs_init(struct op_bufs *b, size_t bytes)
{
	memset(b, 0, sizeof(*b));
	b->bytes = bytes;
	pthread_mutex_init(&b->lock, NULL);
}

void op_bufs_fini(struct op_bufs *b)
{
	while (b->n)
		free(b->free[--b->n]);
	pthread_mutex_destroy(&b->lock);
}

void *op_bufs_get(struct op_bufs *b)
{
	void *buf = NULL;

	pthread_mutex_lock(&b->lock);
	if (b->n)
		buf = b->free[--b->n];
	pthread_mutex_unlock(&b->lock);
	if (!buf && posix_memalign(&buf, 4096, b->bytes))
		return NULL;
	return buf;
}

void op_bufs_put(struct op_bufs *b, void *buf)
{
	if (!buf)
		return;
	pthread_mutex_lock(&b->lock);
	if (b->n < array_size(b->free)) {
		b->free[b->n++] = buf;
		buf = NULL;
	}
	pthread_mutex_unlock(&b->lock);
	free(buf);
}

/* A new image of this kind reads as zeroes wherever it was not written? */
bool op_reads_zero(const struct block_node *n)
{
	struct stat st;
	int fd = block_file_fd(n->file ? n->file : n);

	if (strcmp(n->desc->name, "raw") || fd < 0)
		return true;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static int sync_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0 || fsync(fd) < 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* The same where files are not the host's. */
static int sync_node(const char *path, const struct block_host *host)
{
	struct block_node *n;
	int rc = block_open_proto(path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, host, &n, NULL);

	if (!rc)
		rc = block_flush(n);
	block_close(n);
	return rc;
}

int op_sync_files(const struct block_made *m, const struct block_host *host, struct err *err)
{
	for (size_t i = 0; i < m->n; i++) {
		int rc = host ? sync_node(m->paths[i], host) : sync_file(m->paths[i]);

		if (rc)
			return err_set(err, rc, "cannot write '%s': %s", m->paths[i],
				       strerror(-rc));
	}
	return 0;
}

struct parallel {
	const struct op_env *env;
	struct op_work *w;
	uint64_t next, done;
	uint64_t at[MAX_THREADS]; /* the piece each thread is at */
	unsigned nthreads;
	pthread_mutex_t lock;
	int64_t checked_ns;
	bool checking;
	int rc;
};

struct slot {
	struct parallel *p;
	unsigned i;
};

static uint64_t low_mark(const struct parallel *p)
{
	uint64_t low = p->next;

	for (unsigned i = 0; i < p->nthreads; i++)
		low = min_of(low, p->at[i]);
	return low;
}

/* Progress is told under the lock: one call at a time, in order. */
static void finish_piece(struct parallel *p, int rc, uint64_t len)
{
	const struct block_progress *g = p->env->progress;

	if (!rc) {
		p->done += len;
		if (g && !g->step(g->opaque, p->done, p->w->total))
			rc = -ECANCELED;
	}
	if (rc && !p->rc)
		p->rc = rc;
}

/* Lock held; given up during the call. */
static void checkpoint(struct parallel *p)
{
	uint64_t low = low_mark(p);

	if (!p->w->checkpoint || p->checking || block_now_ns() - p->checked_ns < CHECK_NS)
		return;
	p->checking = true;
	pthread_mutex_unlock(&p->lock);
	p->w->checkpoint(p->w->opaque, low);
	pthread_mutex_lock(&p->lock);
	p->checking = false;
	p->checked_ns = block_now_ns();
}

static void *worker(void *opaque)
{
	struct slot *s = opaque;
	struct parallel *p = s->p;
	struct op_work *w = p->w;

	pthread_mutex_lock(&p->lock);
	while (!p->rc && p->next < w->total) {
		uint64_t off = p->next, len = min_of(w->step, w->total - off);
		int rc;

		p->at[s->i] = off;
		p->next += len;
		pthread_mutex_unlock(&p->lock);
		rc = w->piece(w->opaque, off, len);
		pthread_mutex_lock(&p->lock);
		finish_piece(p, rc, len);
		if (!rc) {
			p->at[s->i] = UINT64_MAX;
			checkpoint(p);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int op_parallel(const struct op_env *env, struct op_work *w)
{
	struct parallel p = { .env = env, .w = w, .next = w->from, .done = w->from,
			      .checked_ns = block_now_ns() };
	struct slot slots[MAX_THREADS];
	pthread_t th[MAX_THREADS];
	unsigned n = op_threads(env), started = 0;

	n = (unsigned)min_of((uint64_t)n, (w->total - w->from) / w->step + 1);
	p.nthreads = n;
	pthread_mutex_init(&p.lock, NULL);
	for (unsigned i = 0; i < n; i++) {
		p.at[i] = UINT64_MAX;
		slots[i] = (struct slot){ &p, i };
	}
	while (started + 1 < n && !pthread_create(&th[started], NULL, worker, &slots[started]))
		started++;
	worker(&slots[n - 1]);
	for (unsigned i = 0; i < started; i++)
		pthread_join(th[i], NULL);
	pthread_mutex_destroy(&p.lock);
	w->low = low_mark(&p);
	return p.rc;
}

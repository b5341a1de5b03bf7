/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/memfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/node_priv.h"

struct mem_node {
	struct mem_host *h;
	unsigned file;
};

static int reserve(struct mem_data *d, uint64_t len)
{
	uint64_t cap = d->cap ? d->cap : 65536;
	uint8_t *p;

	if (len <= d->cap)
		return 0;
	while (cap < len)
		cap *= 2;
	p = realloc(d->bytes, cap);
	if (!p)
		return -ENOMEM;
	memset(p + d->cap, 0, cap - d->cap);
	d->bytes = p;
	d->cap = cap;
	return 0;
}

int mem_apply(struct mem_data *d, const struct mem_event *e)
{
	int rc;

	if (e->kind == MEM_FLUSH)
		return 0;
	if (e->kind == MEM_LENGTH) {
		rc = reserve(d, e->off);
		if (!rc && e->off < d->len)
			memset(d->bytes + e->off, 0, d->len - e->off);
		if (!rc)
			d->len = e->off;
		return rc;
	}
	rc = reserve(d, e->off + e->len);
	if (rc)
		return rc;
	if (e->kind == MEM_WRITE)
		memcpy(d->bytes + e->off, e->data, e->len);
	else
		memset(d->bytes + e->off, 0, e->len);
	d->len = max_of(d->len, e->off + e->len);
	return 0;
}

int mem_data_copy(struct mem_data *to, const struct mem_data *from)
{
	to->bytes = malloc(from->len + 1);
	if (!to->bytes)
		return -ENOMEM;
	if (from->len)
		memcpy(to->bytes, from->bytes, from->len);
	to->len = to->cap = from->len;
	return 0;
}

/* Lock held. Takes e->data over. */
static void note(struct mem_host *h, const struct mem_event *e)
{
	struct mem_event *log;

	if (!h->logging || (e->kind == MEM_FLUSH && h->drop_flushes)) {
		free(e->data);
		return;
	}
	if (h->nlog == h->log_cap) {
		h->log_cap = h->log_cap ? h->log_cap * 2 : 1024;
		log = realloc(h->log, h->log_cap * sizeof(*log));
		if (!log) {
			h->failed = true;
			h->log_cap = h->nlog;
			free(e->data);
			return;
		}
		h->log = log;
	}
	h->log[h->nlog++] = *e;
}

void mem_host_log_flush(struct mem_host *h)
{
	bool drop = h->drop_flushes;

	pthread_mutex_lock(&h->lock);
	h->drop_flushes = false;
	for (unsigned i = 0; i < h->nfiles; i++)
		note(h, &(struct mem_event){ .kind = MEM_FLUSH, .file = i });
	h->drop_flushes = drop;
	pthread_mutex_unlock(&h->lock);
}

void mem_host_room(struct mem_host *h, uint64_t bytes)
{
	pthread_mutex_lock(&h->lock);
	h->room = bytes;
	pthread_mutex_unlock(&h->lock);
}

/* A write on a full host: what there is room for arrives. Lock held. */
static bool cut_short(struct mem_host *h, struct mem_event *e)
{
	bool full = e->kind == MEM_WRITE && e->len > h->room;

	if (full)
		e->len = h->room;
	if (e->kind == MEM_WRITE && h->room != UINT64_MAX)
		h->room -= e->len;
	return full;
}

static int do_event(struct block_node *n, struct mem_event *e)
{
	struct mem_node *m = n->priv;
	struct mem_host *h = m->h;
	bool full;
	int rc;

	if (e->kind != MEM_FLUSH && (e->off > h->max_bytes || e->len > h->max_bytes - e->off)) {
		free(e->data);
		return -ENOSPC;
	}
	pthread_mutex_lock(&h->lock);
	e->file = m->file;
	full = cut_short(h, e);
	rc = e->len || e->kind != MEM_WRITE ? mem_apply(&h->files[m->file]->now, e) : -ENOSPC;
	if (rc)
		free(e->data);
	else
		note(h, e);
	pthread_mutex_unlock(&h->lock);
	return full ? -ENOSPC : rc;
}

static int mem_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff)
{
	struct mem_node *m = n->priv;
	struct mem_data *d = &m->h->files[m->file]->now;
	size_t have;

	pthread_mutex_lock(&m->h->lock);
	have = off < d->len ? min_of((uint64_t)len, d->len - off) : 0;
	if (have)
		block_vec_write(v, voff, d->bytes + off, have);
	pthread_mutex_unlock(&m->h->lock);
	block_vec_zero(v, voff + have, len - have);
	return 0;
}

static int mem_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	struct mem_event e = { .kind = MEM_WRITE, .off = off, .len = len, .data = malloc(len) };

	if (!e.data)
		return -ENOMEM;
	block_vec_read(v, voff, e.data, len);
	return do_event(n, &e);
}

static int mem_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	return do_event(n, &(struct mem_event){ .kind = MEM_ZERO, .off = off, .len = len });
}

static int mem_flush(struct block_node *n)
{
	return do_event(n, &(struct mem_event){ .kind = MEM_FLUSH });
}

/* A hole in what exists: never longer. */
static int mem_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct mem_node *m = n->priv;
	uint64_t end = m->h->files[m->file]->now.len;

	return off < end ? mem_zero(n, off, min_of(len, end - off), true) : 0;
}

static int mem_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	int rc = do_event(n, &(struct mem_event){ .kind = MEM_LENGTH, .off = len });

	if (!rc)
		n->len = len;
	return rc ? err_set(err, rc, "cannot resize '%s'", n->path) : 0;
}

static int mem_close(struct block_node *n)
{
	free(n->priv);
	return 0;
}

static const struct block_format_desc mem_desc = {
	.name = "memory", .title = "a file in memory", .protocol = true, .close = mem_close,
	.preadv = mem_preadv, .pwritev = mem_pwritev, .zero = mem_zero, .discard = mem_discard,
	.flush = mem_flush, .resize = mem_resize,
};

static int find(const struct mem_host *h, const char *path)
{
	for (unsigned i = 0; i < h->nfiles; i++)
		if (h->files[i] && !strcmp(h->files[i]->name, path))
			return (int)i;
	return -1;
}

static int host_open(const struct block_host *host, const char *path, unsigned flags,
		     struct block_node **out, struct err *err)
{
	struct mem_host *h = container_of(host, struct mem_host, host);
	struct block_open_opts o = { .flags = flags };
	struct mem_node *m;
	int i = find(h, path);

	if (i < 0)
		return err_set(err, -ENOENT, "cannot open '%s': %s", path, strerror(ENOENT));
	*out = block_node_new(&mem_desc, path, &o);
	m = calloc(1, sizeof(*m));
	if (!*out || !m) {
		if (*out)
			block_node_free(*out);
		*out = NULL;
		free(m);
		return err_set(err, -ENOMEM, "out of memory");
	}
	m->h = h;
	m->file = (unsigned)i;
	(*out)->priv = m;
	(*out)->len = h->files[i]->now.len;
	return 0;
}

int mem_host_add(struct mem_host *h, const char *name, struct mem_data *d)
{
	struct mem_file *f;

	if (h->nfiles == array_size(h->files))
		return -ENOSPC;
	f = calloc(1, sizeof(*f));
	if (f)
		f->name = strdup(name);
	if (!f || !f->name) {
		free(f);
		return -ENOMEM;
	}
	if (d)
		f->now = *d;
	h->files[h->nfiles++] = f;
	return 0;
}

static int host_create(const struct block_host *host, const char *path, uint64_t len,
		       bool overwrite, struct err *err)
{
	struct mem_host *h = container_of(host, struct mem_host, host);
	struct mem_event e = { .kind = MEM_LENGTH, .off = len };
	int rc;

	if (find(h, path) >= 0)
		return err_set(err, -EEXIST, "'%s' exists", path);
	if (len > h->max_bytes)
		return err_set(err, -ENOSPC, "'%s' is too large", path);
	rc = mem_host_add(h, path, NULL);
	if (!rc) {
		e.file = h->nfiles - 1;
		rc = mem_apply(&h->files[e.file]->now, &e);
		note(h, &e);
	}
	return rc ? err_set(err, rc, "cannot create '%s'", path) : 0;
}

static int host_remove(const struct block_host *host, const char *path)
{
	struct mem_host *h = container_of(host, struct mem_host, host);
	int i = find(h, path);

	if (i < 0)
		return -ENOENT;
	free(h->files[i]->name);
	h->files[i]->name = strdup("");
	return 0;
}

void mem_host_init(struct mem_host *h, uint64_t max_bytes)
{
	memset(h, 0, sizeof(*h));
	h->host = (struct block_host){ host_open, host_create, host_remove };
	h->room = UINT64_MAX;
	h->max_bytes = max_bytes;
	pthread_mutex_init(&h->lock, NULL);
}

void mem_host_fini(struct mem_host *h)
{
	for (unsigned i = 0; i < h->nfiles; i++) {
		free(h->files[i]->now.bytes);
		free(h->files[i]->name);
		free(h->files[i]);
	}
	for (size_t i = 0; i < h->nlog; i++)
		free(h->log[i].data);
	free(h->log);
	pthread_mutex_destroy(&h->lock);
}

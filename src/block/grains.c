/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/grains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/place.h"

enum { CACHE_BYTES = 16 << 20, MAX_CHUNKS = 1 << 22 };

int grains_init(struct grains *g)
{
	g->nchunks = (g->map_entries + g->chunk_entries - 1) / g->chunk_entries;
	if (g->nchunks > MAX_CHUNKS)
		return -EFBIG;
	g->max_loaded = max_of((uint64_t)CACHE_BYTES / (g->chunk_entries * g->entry_bytes), 64ULL);
	g->chunks = calloc(g->nchunks + 1, sizeof(*g->chunks));
	g->chunk_dirty = calloc(g->nchunks + 1, 1);
	if (!g->chunks || !g->chunk_dirty) {
		free(g->chunks);
		free(g->chunk_dirty);
		return -ENOMEM;
	}
	pthread_mutex_init(&g->lock, NULL);
	range_set_init(&g->ranges);
	fastmap_init(&g->fast);
	return 0;
}

void grains_fini(struct grains *g)
{
	if (!g->chunks)
		return;
	for (uint64_t i = 0; i < g->nchunks; i++)
		free(g->chunks[i]);
	free(g->chunks);
	free(g->chunk_dirty);
	range_set_fini(&g->ranges);
	fastmap_fini(&g->fast);
	pthread_mutex_destroy(&g->lock);
	g->chunks = NULL;
}

static size_t chunk_bytes(const struct grains *g)
{
	return (size_t)g->chunk_entries * g->entry_bytes;
}

/* Forgets a piece of the map that is as it is in the file. */
static void make_room(struct grains *g)
{
	for (uint64_t n = 0; n < g->nchunks; n++) {
		uint64_t i = g->hand++ % g->nchunks;

		if (g->chunks[i] && !g->chunk_dirty[i]) {
			free(g->chunks[i]);
			g->chunks[i] = NULL;
			g->loaded--;
			return;
		}
	}
}

/* *p NULL with 0: the chunk does not exist. */
static int load(struct grains *g, uint64_t c, uint8_t **p)
{
	uint64_t pos, copy;
	int rc;

	*p = g->chunks[c];
	if (*p)
		return 0;
	rc = g->ops->chunk_pos(g, c, &pos, &copy);
	if (rc || !pos)
		return rc;
	if (g->loaded >= g->max_loaded)
		make_room(g);
	*p = malloc(chunk_bytes(g));
	if (!*p)
		return -ENOMEM;
	rc = block_pread(g->file, pos, *p, chunk_bytes(g));
	if (rc) {
		free(*p);
		return rc;
	}
	g->chunks[c] = *p;
	g->loaded++;
	return 0;
}

static uint64_t get(const struct grains *g, const uint8_t *p)
{
	if (g->entry_bytes == 8)
		return g->big_endian ? ld_be64(p) : ld_le64(p);
	return g->big_endian ? ld_be32(p) : ld_le32(p);
}

static void put(const struct grains *g, uint8_t *p, uint64_t v)
{
	if (g->entry_bytes == 8 && g->big_endian)
		st_be64(p, v);
	else if (g->entry_bytes == 8)
		st_le64(p, v);
	else if (g->big_endian)
		st_be32(p, (uint32_t)v);
	else
		st_le32(p, (uint32_t)v);
}

static uint64_t map_index(struct grains *g, uint64_t i)
{
	return g->ops->index ? g->ops->index(g, i) : i;
}

int grains_entry(struct grains *g, uint64_t i, uint64_t *raw)
{
	uint64_t at = map_index(g, i);
	uint8_t *p;
	int rc;

	*raw = g->ops->encode(g, GRAIN_NONE, 0);
	if (at >= g->map_entries)
		return 0;
	rc = load(g, at / g->chunk_entries, &p);
	if (!rc && p)
		*raw = get(g, p + at % g->chunk_entries * g->entry_bytes);
	return rc;
}

int grains_set(struct grains *g, uint64_t i, uint64_t raw)
{
	uint64_t at = map_index(g, i), c = at / g->chunk_entries;
	uint8_t *p;
	int rc;

	if (at >= g->map_entries)
		return -EIO;
	rc = load(g, c, &p);
	if (rc)
		return rc;
	if (!p)
		return -EROFS; /* a table this kind of image does not grow */
	fastmap_changed(&g->fast);
	put(g, p + at % g->chunk_entries * g->entry_bytes, raw);
	g->ndirty += !g->chunk_dirty[c];
	g->chunk_dirty[c] = 1;
	return 0;
}

static int look(struct grains *g, uint64_t i, uint64_t *raw, enum grain_kind *k, uint64_t *host)
{
	int rc;

	pthread_mutex_lock(&g->lock);
	rc = grains_entry(g, i, raw);
	if (!rc)
		rc = g->ops->decode(g, *raw, k, host);
	pthread_mutex_unlock(&g->lock);
	return rc;
}

static void hold(struct grains *g, struct range *r, uint64_t off, uint64_t len, bool exclusive)
{
	range_lock(&g->ranges, r, align_down(off, g->block_bytes),
		   align_up(off + len, g->block_bytes), exclusive);
}

static int read_held(struct grains *g, uint64_t off, size_t len, const struct block_vec *v,
		     size_t voff)
{
	while (len) {
		uint64_t in = off & (g->block_bytes - 1), raw, host;
		size_t n = min_of((uint64_t)len, g->block_bytes - in);
		enum grain_kind k;
		int rc = look(g, off / g->block_bytes, &raw, &k, &host);

		if (!rc && k == GRAIN_DATA)
			rc = block_preadv(g->file, host + in, n, v, voff);
		else if (!rc && k == GRAIN_ZERO)
			block_vec_zero(v, voff, n);
		else if (!rc && k == GRAIN_OTHER)
			rc = g->ops->read_other(g, raw, off / g->block_bytes, in, n, v, voff);
		else if (!rc)
			rc = block_read_backing(g->node, g->base + off, n, v, voff);
		if (rc)
			return rc;
		off += n;
		voff += n;
		len -= n;
	}
	return 0;
}

int grains_preadv(struct grains *g, uint64_t off, size_t len, const struct block_vec *v,
		  size_t voff)
{
	struct range r;
	int rc;

	hold(g, &r, off, len, false);
	rc = read_held(g, off, len, v, voff);
	range_unlock(&g->ranges, &r);
	return rc;
}

static bool held(struct grains *g, uint64_t i)
{
	uint64_t at = map_index(g, i);

	return at < g->map_entries && g->chunks[at / g->chunk_entries];
}

/* How far from @off on all is alike and in one place, as far as the map is in memory. */
static int look_along(struct grains *g, uint64_t off, uint64_t max, struct fast_run *r, uint64_t *len)
{
	enum grain_kind k, first = GRAIN_OTHER;
	uint64_t in = off & (g->block_bytes - 1), raw, host;

	for (*len = 0; *len < max; in = 0) {
		uint64_t i = (off + *len) / g->block_bytes;

		if (!held(g, i) || grains_entry(g, i, &raw) || g->ops->decode(g, raw, &k, &host) ||
		    k == GRAIN_OTHER)
			break;
		if (!*len) {
			first = k;
			r->host = host + in;
		} else if (k != first || (k == GRAIN_DATA && host != r->host + *len)) {
			break;
		}
		*len = min_of(*len + g->block_bytes - in, max);
	}
	r->kind = first == GRAIN_DATA ? FAST_DATA : first == GRAIN_ZERO ? FAST_ZERO : FAST_BACKING;
	return *len ? 0 : -EAGAIN;
}

static int look_nowait(struct grains *g, uint64_t off, uint64_t max, struct fast_run *r, uint64_t *len)
{
	int rc = -EAGAIN;

	if (pthread_mutex_trylock(&g->lock))
		return rc;
	r->changes = atomic_load(&g->fast.changes);
	rc = look_along(g, off, fastmap_reach(off, max, g->len), r, len);
	if (!rc)
		fastmap_put(&g->fast, off, *len, r->kind, r->host);
	pthread_mutex_unlock(&g->lock);
	return rc;
}

int grains_preadv_nowait(struct grains *g, uint64_t off, size_t len, const struct block_vec *v,
			 size_t voff)
{
	struct fast_run r;
	int rc = 0;

	while (len && !rc) {
		uint64_t n = len;

		if (!fastmap_get(&g->fast, off, len, &r))
			rc = look_nowait(g, off, len, &r, &n);
		n = min_of(n, (uint64_t)len);
		if (!rc && r.kind == FAST_DATA)
			rc = block_preadv_nowait(g->file, r.host, n, v, voff);
		else if (!rc && r.kind == FAST_ZERO)
			block_vec_zero(v, voff, n);
		else if (!rc)
			rc = block_read_backing_nowait(g->node, g->base + off, n, v, voff);
		if (!rc && !fastmap_stands(&g->fast, &r))
			rc = -EAGAIN;
		off += n;
		voff += n;
		len -= n;
	}
	return rc;
}

int grains_place(struct grains *g, uint64_t off, size_t len, bool write, struct block_place *p)
{
	uint64_t have = len;
	struct fast_run r;
	int rc;

	rc = block_place_hold(p, &g->ranges, align_down(off, g->block_bytes),
			      align_up(off + len, g->block_bytes), false);
	if (!rc && write && !g->touched)
		rc = -EAGAIN;
	if (!rc && !fastmap_get(&g->fast, off, len, &r))
		rc = look_nowait(g, off, len, &r, &have);
	if (rc || have < len || r.kind != FAST_DATA)
		return -EAGAIN;
	return block_place_below(g->file, r.host, len, write, p);
}

static int touch(struct grains *g)
{
	int rc = 0;

	if (!g->touched && g->ops->touch)
		rc = g->ops->touch(g);
	g->touched = !rc;
	return rc;
}

/* What the block reads as outside of the request, copied to its new place. */
static int copy_around(struct grains *g, uint64_t first, uint64_t from, uint64_t to, uint64_t host)
{
	struct iovec iov;
	struct block_vec v = { &iov, 1 };
	uint64_t end = min_of(to, g->len);
	uint8_t *buf;
	int rc;

	if (from >= end)
		return 0;
	buf = malloc(end - from);
	if (!buf)
		return -ENOMEM;
	iov = (struct iovec){ buf, end - from };
	rc = read_held(g, from, end - from, &v, 0);
	if (!rc && !block_is_zero(buf, end - from))
		rc = block_pwrite(g->file, host + (from - first), buf, end - from);
	free(buf);
	return rc;
}

/* The request's part of one block that has no place of its own yet. Range held
 * exclusively. */
static int write_new(struct grains *g, uint64_t off, size_t n, const struct block_vec *v,
		     size_t voff, enum grain_kind was)
{
	uint64_t i = off / g->block_bytes, first = i * g->block_bytes, host;
	int rc;

	pthread_mutex_lock(&g->lock);
	rc = g->ops->alloc(g, i, &host);
	pthread_mutex_unlock(&g->lock);
	if (!rc && n < g->block_bytes)
		rc = block_zero(g->file, host, g->block_bytes, true);
	if (!rc && (was == GRAIN_OTHER || (was == GRAIN_NONE && g->node->backing))) {
		rc = copy_around(g, first, first, off, host);
		if (!rc)
			rc = copy_around(g, first, off + n, first + g->block_bytes, host);
	}
	if (!rc)
		rc = block_pwritev(g->file, host + (off - first), n, v, voff);
	if (!rc && g->ops->filled)
		rc = g->ops->filled(g, i, host);
	if (rc)
		return rc;
	pthread_mutex_lock(&g->lock);
	rc = grains_set(g, i, g->ops->encode(g, GRAIN_DATA, host));
	pthread_mutex_unlock(&g->lock);
	return rc;
}

/* Writes up to the first block that needs mapping; with @map those too. */
static int write_held(struct grains *g, uint64_t *off, size_t *len, const struct block_vec *v,
		      size_t *voff, bool map)
{
	while (*len) {
		uint64_t in = *off & (g->block_bytes - 1), raw, host;
		size_t n = min_of((uint64_t)*len, g->block_bytes - in);
		enum grain_kind k;
		int rc = look(g, *off / g->block_bytes, &raw, &k, &host);

		if (!rc && k == GRAIN_DATA)
			rc = block_pwritev(g->file, host + in, n, v, *voff);
		else if (!rc && !map)
			return 0;
		else if (!rc)
			rc = write_new(g, *off, n, v, *voff, k);
		if (rc)
			return rc;
		*off += n;
		*voff += n;
		*len -= n;
	}
	return 0;
}

static int begin(struct grains *g)
{
	int rc;

	pthread_mutex_lock(&g->lock);
	rc = touch(g);
	pthread_mutex_unlock(&g->lock);
	return rc;
}

int grains_pwritev(struct grains *g, uint64_t off, size_t len, const struct block_vec *v,
		   size_t voff)
{
	struct range r;
	int rc = begin(g);

	if (rc)
		return rc;
	hold(g, &r, off, len, false);
	rc = write_held(g, &off, &len, v, &voff, false);
	range_unlock(&g->ranges, &r);
	if (rc || !len)
		return rc;
	hold(g, &r, off, len, true);
	rc = write_held(g, &off, &len, v, &voff, true);
	range_unlock(&g->ranges, &r);
	return rc;
}

static int write_zeroes(struct grains *g, uint64_t off, size_t len)
{
	void *buf = calloc(1, len);
	struct iovec iov = { buf, len };
	struct block_vec v = { &iov, 1 };
	size_t voff = 0;
	int rc = buf ? write_held(g, &off, &len, &v, &voff, true) : -ENOMEM;

	free(buf);
	return rc;
}

static int zero_block(struct grains *g, uint64_t off, size_t n, bool unmap)
{
	uint64_t in = off & (g->block_bytes - 1), i = off / g->block_bytes, raw, host;
	bool whole = !in && (n == g->block_bytes || off + n == g->len);
	enum grain_kind k;
	int rc = look(g, i, &raw, &k, &host);

	if (rc || k == GRAIN_ZERO || (k == GRAIN_NONE && !g->node->backing_path))
		return rc;
	if (k == GRAIN_DATA)
		return block_zero(g->file, host + in, n, unmap);
	if (!whole || !g->can_zero)
		return write_zeroes(g, off, n);
	pthread_mutex_lock(&g->lock);
	rc = grains_set(g, i, g->ops->encode(g, GRAIN_ZERO, 0));
	pthread_mutex_unlock(&g->lock);
	return rc;
}

int grains_zero(struct grains *g, uint64_t off, uint64_t len, bool unmap)
{
	struct range r;
	int rc = begin(g);

	if (rc)
		return rc;
	hold(g, &r, off, len, true);
	while (len && !rc) {
		size_t n = min_of(len, g->block_bytes - (off & (g->block_bytes - 1)));

		rc = zero_block(g, off, n, unmap);
		off += n;
		len -= n;
	}
	range_unlock(&g->ranges, &r);
	return rc;
}

/* The block stays where it is; only the host gets its storage back. */
int grains_discard(struct grains *g, uint64_t off, uint64_t len)
{
	struct range r;
	int rc = begin(g);

	if (rc)
		return rc;
	hold(g, &r, off, len, true);
	while (len && !rc) {
		uint64_t in = off & (g->block_bytes - 1), raw, host;
		size_t n = min_of(len, g->block_bytes - in);
		enum grain_kind k;

		rc = look(g, off / g->block_bytes, &raw, &k, &host);
		if (!rc && k == GRAIN_DATA)
			rc = block_discard(g->file, host + in, n);
		off += n;
		len -= n;
	}
	range_unlock(&g->ranges, &r);
	return rc;
}

int grains_status(struct grains *g, uint64_t off, uint64_t len, struct block_extent *e)
{
	uint64_t in = off & (g->block_bytes - 1), raw, host;
	enum grain_kind k, first = GRAIN_NONE;
	uint64_t done = 0;

	/* Blocks that are alike and, with data, follow each other. */
	for (; done < len; in = 0) {
		uint64_t n = min_of(len - done, g->block_bytes - in);
		int rc = look(g, (off + done) / g->block_bytes, &raw, &k, &host);

		if (rc)
			return rc;
		if (!done) {
			first = k;
			e->host_off = host + in;
		} else if (k != first || (k == GRAIN_DATA && host != e->host_off + done)) {
			break;
		}
		done += n;
	}
	e->len = done;
	switch (first) {
	case GRAIN_NONE: e->flags = g->node->backing_path ? 0 : BLOCK_EXT_ZERO; break;
	case GRAIN_ZERO: e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_ZERO; break;
	case GRAIN_OTHER:
		e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_DATA | BLOCK_EXT_COMPRESSED;
		break;
	case GRAIN_DATA:
		e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_DATA | BLOCK_EXT_HOST_OFF;
		e->host_node = g->file;
		break;
	}
	return 0;
}

static int write_map(struct grains *g)
{
	int rc = 0;

	for (uint64_t c = 0; c < g->nchunks && g->ndirty && !rc; c++) {
		uint64_t pos, copy;

		if (!g->chunk_dirty[c])
			continue;
		rc = g->ops->chunk_pos(g, c, &pos, &copy);
		if (!rc)
			rc = block_pwrite(g->file, pos, g->chunks[c], chunk_bytes(g));
		if (!rc && copy)
			rc = block_pwrite(g->file, copy, g->chunks[c], chunk_bytes(g));
		if (!rc) {
			g->chunk_dirty[c] = 0;
			g->ndirty--;
		}
	}
	return rc;
}

int grains_flush(struct grains *g)
{
	int rc = 0;

	pthread_mutex_lock(&g->lock);
	if (g->ndirty) {
		if (g->ops->before_map)
			rc = g->ops->before_map(g);
		if (!rc)
			rc = block_flush(g->file);
		if (!rc)
			rc = write_map(g);
	}
	pthread_mutex_unlock(&g->lock);
	return rc ? rc : block_flush(g->file);
}

static int by_place(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* As it is now: writes have made it longer than the node knows. */
static int grains_file_len(const struct grains *g, uint64_t *len)
{
	int fd = block_file_fd(g->file);
	off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : (off_t)g->file->len;

	*len = end < 0 ? 0 : (uint64_t)end;
	return end < 0 ? -errno : 0;
}

int grains_check(struct grains *g, uint64_t data_start, uint64_t align, struct block_check *c)
{
	uint64_t *places = NULL, n = 0, cap = 0, file_len = 0;
	int rc = grains_file_len(g, &file_len);

	c->total_clusters = g->nblocks;
	for (uint64_t i = 0; i < g->nblocks && !rc; i++) {
		enum grain_kind k;
		uint64_t raw, host;

		rc = look(g, i, &raw, &k, &host);
		if (rc == -EIO) {
			c->errors++;
			rc = 0;
			continue;
		}
		if (rc || (k != GRAIN_DATA && k != GRAIN_OTHER))
			continue;
		c->allocated_clusters++;
		if (k == GRAIN_OTHER)
			continue;
		/* A last block may be short; one that is not there at all was lost. */
		if (host < data_start || (align && (host - data_start) % align) ||
		    host >= file_len) {
			c->errors++;
			if (c->report)
				c->report(c->opaque, "ERROR a block is misplaced");
			continue;
		}
		if (n == cap) {
			uint64_t *p;

			cap = cap ? cap * 2 : 1024;
			p = realloc(places, cap * sizeof(*p));
			if (!p) {
				rc = -ENOMEM;
				break;
			}
			places = p;
		}
		places[n++] = host;
		c->image_end = max_of(c->image_end, host + g->block_bytes);
	}
	if (!rc && n)
		qsort(places, n, sizeof(*places), by_place);
	for (uint64_t i = 1; i < n && !rc; i++) {
		if (places[i] - places[i - 1] >= g->block_bytes)
			continue;
		c->errors++;
		if (c->report)
			c->report(c->opaque, "ERROR two blocks share one place");
	}
	free(places);
	return rc;
}

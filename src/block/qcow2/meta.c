/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of table pages, and the order in which they reach storage. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/qcow2.h"

enum { PAGE_MAX = 4096, DEFAULT_BYTES = 16 << 20, MIN_PAGES = 64, RUN_PAGES = 64 };

int qc_cache_init(struct qcow2 *q, size_t bytes)
{
	struct qc_cache *c = &q->cache;

	/* A page never spans two clusters: neighbours may be another table, or data. */
	c->page_size = (uint32_t)min_of((uint64_t)PAGE_MAX, q->cluster_size);
	c->page_bits = (unsigned)__builtin_ctz(c->page_size);
	c->max = max_of((bytes ? bytes : DEFAULT_BYTES) / c->page_size, (size_t)MIN_PAGES);
	c->hash_size = 1;
	while (c->hash_size < c->max)
		c->hash_size *= 2;
	c->hash = calloc(c->hash_size, sizeof(*c->hash));
	c->lru.next = c->lru.prev = &c->lru;
	return c->hash ? 0 : -ENOMEM;
}

void qc_cache_fini(struct qcow2 *q)
{
	struct qc_cache *c = &q->cache;

	while (c->lru.next && c->lru.next != &c->lru) {
		struct qc_page *p = c->lru.next;

		c->lru.next = p->next;
		free(p);
	}
	free(c->hash);
	memset(c, 0, sizeof(*c));
}

static size_t bucket(const struct qc_cache *c, uint64_t off)
{
	return ((off >> c->page_bits) * 0x9e3779b97f4a7c15ULL >> 20) & (c->hash_size - 1);
}

static void lru_unlink(struct qc_page *p)
{
	p->prev->next = p->next;
	p->next->prev = p->prev;
}

static void lru_front(struct qc_cache *c, struct qc_page *p)
{
	p->next = c->lru.next;
	p->prev = &c->lru;
	p->next->prev = p;
	c->lru.next = p;
}

static struct qc_page *find(struct qc_cache *c, uint64_t off)
{
	struct qc_page *p = c->hash[bucket(c, off)];

	while (p && p->off != off)
		p = p->hash_next;
	return p;
}

static void remove_page(struct qc_cache *c, struct qc_page *p)
{
	struct qc_page **pp = &c->hash[bucket(c, p->off)];

	while (*pp != p)
		pp = &(*pp)->hash_next;
	*pp = p->hash_next;
	lru_unlink(p);
	if (p->dirty)
		c->dirty[p->cls]--;
	c->count--;
	free(p);
}

static struct qc_page *oldest_clean(struct qc_cache *c)
{
	struct qc_page *p = c->lru.prev;

	while (p != &c->lru && p->dirty)
		p = p->prev;
	return p == &c->lru ? NULL : p;
}

static int write_tables(struct qcow2 *q, bool all);

/* Room for one more page. */
static int make_room(struct qcow2 *q)
{
	struct qc_cache *c = &q->cache;
	struct qc_page *p;
	int rc;

	if (c->count < c->max)
		return 0;
	p = oldest_clean(c);
	if (!p) {
		rc = write_tables(q, true);
		if (rc)
			return rc;
		p = oldest_clean(c);
	}
	if (p)
		remove_page(c, p);
	return 0;
}

static int get_page(struct qcow2 *q, uint64_t off, struct qc_page **out)
{
	struct qc_cache *c = &q->cache;
	struct qc_page *p = find(c, off);
	size_t b;
	int rc;

	if (p) {
		if (c->lru.next != p) {
			lru_unlink(p);
			lru_front(c, p);
		}
		*out = p;
		return 0;
	}
	if (c->held_only)
		return -EAGAIN;
	rc = make_room(q);
	if (rc)
		return rc;
	p = malloc(sizeof(*p) + c->page_size);
	if (!p)
		return -ENOMEM;
	rc = block_pread(q->file, off, p->data, c->page_size);
	if (rc) {
		free(p);
		return rc;
	}
	p->off = off;
	p->dirty = false;
	p->cls = 0;
	b = bucket(c, off);
	p->hash_next = c->hash[b];
	c->hash[b] = p;
	lru_front(c, p);
	c->count++;
	*out = p;
	return 0;
}

int qc_meta_read(struct qcow2 *q, uint64_t off, void *buf, size_t len)
{
	uint32_t size = q->cache.page_size;
	uint8_t *dst = buf;

	while (len) {
		uint32_t in = (uint32_t)(off & (size - 1));
		size_t n = min_of(len, (size_t)(size - in));
		struct qc_page *p;
		int rc = get_page(q, off - in, &p);

		if (rc)
			return rc;
		memcpy(dst, p->data + in, n);
		dst += n;
		off += n;
		len -= n;
	}
	return 0;
}

static int dirty_page(struct qcow2 *q, struct qc_page *p, enum qc_class cls)
{
	if (p->dirty && p->cls != cls)
		return qc_corrupt(q); /* one cluster used as two kinds of table */
	if (!p->dirty) {
		p->dirty = true;
		p->cls = cls;
		q->cache.dirty[cls]++;
	}
	return 0;
}

int qc_meta_write(struct qcow2 *q, enum qc_class cls, uint64_t off, const void *buf, size_t len)
{
	uint32_t size = q->cache.page_size;
	const uint8_t *src = buf;

	if (cls == QC_L1 || cls == QC_L2)
		fastmap_changed(&q->fast);
	while (len) {
		uint32_t in = (uint32_t)(off & (size - 1));
		size_t n = min_of(len, (size_t)(size - in));
		struct qc_page *p;
		int rc = get_page(q, off - in, &p);

		if (!rc)
			rc = dirty_page(q, p, cls);
		if (rc)
			return rc;
		memcpy(p->data + in, src, n);
		src += n;
		off += n;
		len -= n;
	}
	return 0;
}

int qc_meta_peek(struct qcow2 *q, uint64_t off, const uint8_t **p, size_t *avail)
{
	uint32_t in = (uint32_t)(off & (q->cache.page_size - 1));
	struct qc_page *page;
	int rc = get_page(q, off - in, &page);

	if (rc)
		return rc;
	*p = page->data + in;
	*avail = q->cache.page_size - in;
	return 0;
}

int qc_meta_get64(struct qcow2 *q, uint64_t off, uint64_t *v)
{
	uint32_t in = (uint32_t)(off & (q->cache.page_size - 1));
	struct qc_page *p;
	int rc = get_page(q, off - in, &p);

	if (!rc)
		*v = ld_be64(p->data + in);
	return rc;
}

int qc_meta_set64(struct qcow2 *q, enum qc_class cls, uint64_t off, uint64_t v)
{
	uint8_t buf[8];

	st_be64(buf, v);
	return qc_meta_write(q, cls, off, buf, 8);
}

void qc_meta_forget(struct qcow2 *q, uint64_t off, uint64_t len)
{
	struct qc_cache *c = &q->cache;

	for (uint64_t o = align_down(off, c->page_size); o < off + len; o += c->page_size) {
		struct qc_page *p = find(c, o);

		if (p)
			remove_page(c, p);
	}
}

int qc_sync(struct qcow2 *q)
{
	uint64_t gen = q->write_gen;
	int rc;

	if (gen == q->sync_gen)
		return 0;
	rc = q->data_own ? block_flush(q->data_own) : 0;
	if (!rc)
		rc = block_flush(q->file);
	if (!rc)
		q->sync_gen = gen;
	return rc;
}

static int by_off(const void *a, const void *b)
{
	const struct qc_page *const *x = a, *const *y = b;

	return (*x)->off < (*y)->off ? -1 : (*x)->off > (*y)->off;
}

/* Writes @n pages that follow each other in the file. */
static int write_run(struct qcow2 *q, struct qc_page **pages, size_t n)
{
	struct iovec iov[RUN_PAGES];
	struct block_vec v = { iov, (unsigned)n };
	int rc;

	for (size_t i = 0; i < n; i++)
		iov[i] = (struct iovec){ pages[i]->data, q->cache.page_size };
	qc_wrote(q);
	rc = block_pwritev(q->file, pages[0]->off, n * q->cache.page_size, &v, 0);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++) {
		pages[i]->dirty = false;
		q->cache.dirty[pages[i]->cls]--;
	}
	return 0;
}

static int write_class(struct qcow2 *q, enum qc_class cls)
{
	struct qc_cache *c = &q->cache;
	size_t n = 0, want = c->dirty[cls];
	struct qc_page **list;
	int rc = 0;

	if (!want)
		return 0;
	list = malloc(want * sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (struct qc_page *p = c->lru.next; p != &c->lru && n < want; p = p->next)
		if (p->dirty && p->cls == cls)
			list[n++] = p;
	qsort(list, n, sizeof(*list), by_off);
	for (size_t i = 0, j; i < n && !rc; i = j) {
		j = i + 1;
		while (j < n && j - i < RUN_PAGES &&
		       list[j]->off == list[j - 1]->off + c->page_size)
			j++;
		rc = write_run(q, list + i, j - i);
	}
	free(list);
	return rc;
}

/* Lazy refcounts may stay unwritten unless @all: the dirty bit, set before the first
 * change, tells the next one who opens the image to count anew. */
static int write_tables(struct qcow2 *q, bool all)
{
	int rc = 0;

	for (int cls = q->dirty_bit_set && !all ? QC_L2 : 0; cls < QC_CLASSES && !rc; cls++) {
		if (!q->cache.dirty[cls])
			continue;
		if (cls != QC_REFBLOCK)
			rc = qc_sync(q);
		if (!rc)
			rc = write_class(q, cls);
	}
	return rc;
}

bool qc_meta_dirty(const struct qcow2 *q)
{
	for (int cls = 0; cls < QC_CLASSES; cls++)
		if (q->cache.dirty[cls])
			return true;
	return false;
}

int qc_commit(struct qcow2 *q, bool all)
{
	int rc = write_tables(q, all);

	if (rc || !q->ndrops)
		return rc;
	rc = qc_sync(q);
	return rc ? rc : qc_do_drops(q);
}

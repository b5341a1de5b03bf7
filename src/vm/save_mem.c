/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory in a saved machine: a section for each megabyte that is not all zero, its
 * instance the block's number. Plain: u64 offset in the block, u32 count of pages, a
 * bit for each page (1: it follows, 0: it is zero), then the pages. Pages that the
 * host holds nothing for (never touched, or given back by the guest) are not read.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zstd.h>

#include "src/base/bits.h"
#include "src/base/size.h"
#include "src/cpu/cpu.h"
#include "src/mem/mem.h"
#include "src/vm/save.h"
#include "src/vm/save_file.h"
#include "src/vm/save_priv.h"

#define CHUNK_PAGES 256u
#define CHUNK_BYTES (CHUNK_PAGES * MEM_PAGE_SIZE)
#define CHUNK_HEAD (12u + CHUNK_PAGES / 8)
/* Of these chunks one is compressed to guess what the rest comes to. */
#define SAMPLE_EVERY 32u
/* What everything but memory may take. */
#define REST_BYTES (8u << 20)

static bool page_is_zero(const uint8_t *p)
{
	const uint64_t *q = (const uint64_t *)(const void *)p;
	uint64_t any = 0;

	for (unsigned n = 0; n < MEM_PAGE_SIZE / 8; n += 8) {
		for (unsigned k = 0; k < 8; k++)
			any |= q[n + k];
		if (any)
			return false;
	}
	return true;
}

/* Makes the section of the chunk at @off; 0 bytes if it is all zero. */
static size_t make_chunk(const struct mem_block *b, uint64_t off, uint8_t *out)
{
	unsigned pages = (unsigned)min_of((uint64_t)CHUNK_PAGES, (b->len - off) / MEM_PAGE_SIZE);
	size_t head = 12 + (pages + 7) / 8, len = head;

	memset(out, 0, head);
	st_le64(out, off);
	st_le32(out + 8, pages);
	for (unsigned n = 0; n < pages; n++) {
		const uint8_t *p = b->host + off + (uint64_t)n * MEM_PAGE_SIZE;

		if (page_is_zero(p))
			continue;
		out[12 + n / 8] |= (uint8_t)(1u << (n % 8));
		memcpy(out + len, p, MEM_PAGE_SIZE);
		len += MEM_PAGE_SIZE;
	}
	return len == head ? 0 : len;
}

/* The first chunk at or after @off that the host holds something of; b->len: none.
 * Reading the others would make the host fill them. */
static uint64_t next_chunk(const struct mem_block *b, uint64_t off)
{
	off_t data;

	if (off >= b->len)
		return b->len;
	data = lseek(b->fd, (off_t)off, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? b->len : off;
	return min_of(align_down((uint64_t)data, CHUNK_BYTES), b->len);
}

/* Bytes that the host holds. */
static uint64_t held_bytes(const struct mem *m)
{
	uint64_t sum = 0;
	struct stat st;

	for (unsigned n = 0; n < m->nblocks; n++)
		sum += fstat(m->blocks[n]->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512
							   : m->blocks[n]->len;
	return sum;
}

static int breathe(const struct save_machine *sm, uint64_t done, uint64_t total, struct err *err)
{
	int ret = sm->breathe ? sm->breathe(sm->breathe_opaque, min_of(done, total), total) : 0;

	return ret ? err_set(err, ret, "saving was broken off") : 0;
}

typedef int chunk_fn(void *opaque, unsigned block, const uint8_t *chunk, size_t len);

static int each_chunk(const struct save_machine *sm, chunk_fn *fn, void *opaque, struct err *err)
{
	const struct mem *m = sm->mem;
	uint8_t *out = malloc(CHUNK_HEAD + CHUNK_BYTES);
	uint64_t done = 0, total = held_bytes(m);
	int ret = 0;

	if (!out)
		return err_set(err, -ENOMEM, "there is not enough memory to save the machine; it "
			       "goes on");
	for (unsigned n = 0; n < m->nblocks; n++) {
		const struct mem_block *b = m->blocks[n];
		uint64_t off = next_chunk(b, 0);

		for (; off < b->len && ret == 0; off = next_chunk(b, off + CHUNK_BYTES)) {
			size_t len = make_chunk(b, off, out);

			if (len)
				ret = fn(opaque, n, out, len);
			done += CHUNK_BYTES;
			if (ret == 0)
				ret = breathe(sm, done, total, err);
		}
	}
	free(out);
	return ret;
}

/*
 * Saving.
 */
struct save_run {
	struct save_writer *w;
	struct err *err;
};

static int put_chunk(void *opaque, unsigned block, const uint8_t *chunk, size_t len)
{
	struct save_run *s = opaque;

	return save_writer_put(s->w, "memory", block, 1, SAVE_ZSTD, chunk, len, s->err);
}

int save_memory(const struct save_machine *m, struct save_writer *w, struct err *err)
{
	struct save_run s = { w, err };

	return each_chunk(m, put_chunk, &s, err);
}

struct guess {
	uint64_t plain, sampled, packed, chunks;
	void *buf;
	size_t cap;
};

static int guess_chunk(void *opaque, unsigned block, const uint8_t *chunk, size_t len)
{
	struct guess *g = opaque;
	size_t n;

	g->plain += len;
	if (g->chunks++ % SAMPLE_EVERY)
		return 0;
	n = ZSTD_compress(g->buf, g->cap, chunk, len, 1);
	g->sampled += len;
	g->packed += ZSTD_isError(n) ? len : n;
	return 0;
}

int save_check_space(const struct save_machine *m, const char *path, struct err *err)
{
	struct guess g = { .cap = ZSTD_compressBound(CHUNK_HEAD + CHUNK_BYTES) };
	char need[32], have[32], *copy = strdup(path);
	uint64_t want, free_bytes;
	struct statvfs fs;
	int ret = 0;

	g.buf = malloc(g.cap);
	if (!g.buf || !copy)
		ret = err_set(err, -ENOMEM, "there is not enough memory to save the machine; it goes on");
	if (ret == 0 && statvfs(dirname(copy), &fs) < 0)
		ret = err_set(err, -errno, "'%s' cannot be made: %s", path, strerror(errno));
	if (ret == 0)
		ret = each_chunk(m, guess_chunk, &g, err);
	free(g.buf);
	free(copy);
	if (ret < 0)
		return ret;
	/* A fifth more than the sample says, but never more than it is uncompressed. */
	want = g.sampled ? (uint64_t)((double)g.plain * (double)g.packed / (double)g.sampled * 1.2)
			 : 0;
	want = min_of(want, g.plain + g.plain / 256) + REST_BYTES;
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (want <= free_bytes)
		return 0;
	return err_set(err, -ENOSPC, "there is not enough room for '%s': about %s are needed and "
		       "%s are free; the machine goes on", path,
		       format_size(align_up(want, 1 << 20), need, sizeof(need)),
		       format_size(align_down(free_bytes, 1 << 20), have, sizeof(have)));
}

/*
 * Restoring.
 */
int save_memory_clear(struct mem *m, struct err *err)
{
	for (size_t n = 0; n < m->nblocks; n++) {
		struct mem_block *b = m->blocks[n];

		if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      (off_t)b->len) < 0)
			return err_set(err, -errno, "the guest's %s cannot be cleared: %s", b->name,
				       strerror(errno));
		mem_written(m, b->host, b->len);
	}
	return 0;
}

static int bad(const struct save_section *s, const char *what, struct err *err)
{
	return err_set(err, -EINVAL, "section \"memory\" number %u, at byte %llu, %s", s->instance,
		       (unsigned long long)s->offset, what);
}

int save_memory_load(struct mem *m, const struct save_section *s, struct err *err)
{
	const uint8_t *bits = s->data + 12, *page;
	struct mem_block *b;
	uint64_t off, len;
	uint32_t pages, left;

	if (s->instance >= m->nblocks)
		return bad(s, "is of memory that this machine has not", err);
	if (s->len < 12)
		return bad(s, "ends too early", err);
	b = m->blocks[s->instance];
	off = ld_le64(s->data);
	pages = ld_le32(s->data + 8);
	len = (uint64_t)pages * MEM_PAGE_SIZE;
	if (pages == 0 || pages > CHUNK_PAGES || off % MEM_PAGE_SIZE || off > b->len ||
	    len > b->len - off)
		return bad(s, "lies outside its memory", err);
	if (s->len < 12 + (pages + 7) / 8)
		return bad(s, "ends too early", err);
	page = bits + (pages + 7) / 8;
	left = s->len - (12 + (pages + 7) / 8);
	for (uint32_t n = 0; n < pages; n++) {
		if (!(bits[n / 8] >> (n % 8) & 1))
			continue;
		if (left < MEM_PAGE_SIZE)
			return bad(s, "ends too early", err);
		memcpy(b->host + off + (uint64_t)n * MEM_PAGE_SIZE, page, MEM_PAGE_SIZE);
		page += MEM_PAGE_SIZE;
		left -= MEM_PAGE_SIZE;
	}
	mem_written(m, b->host + off, len);
	return left ? bad(s, "goes on after its end", err) : 0;
}

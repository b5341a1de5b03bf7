/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A second memory that follows another one: for engines in lockstep. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/mem/mem.h"

/* The next stretch of @b that was ever written, from *at on: lengths in bytes from
 * the block's start. False: none. */
static bool next_data(const struct mem_block *b, uint64_t *at, uint64_t *end)
{
	off_t from = lseek(b->fd, (off_t)*at, SEEK_DATA), to;

	if (from < 0)
		return false;
	to = lseek(b->fd, from, SEEK_HOLE);
	*at = (uint64_t)from;
	*end = to < 0 ? b->len : (uint64_t)to;
	return true;
}

static void copy_block(struct mem_block *to, const struct mem_block *from)
{
	uint64_t at = 0, end;

	for (; at < from->len && next_data(from, &at, &end); at = end)
		memcpy(to->host + at, from->host + at, end - at);
}

static int add_blocks(struct mem *m, const struct mem *of, struct err *err)
{
	while (m->nblocks < of->nblocks) {
		const struct mem_block *b = of->blocks[m->nblocks];
		struct mem_block *n = mem_block_new(m, b->name, b->len, b->rom, err);
		uint64_t page;

		if (!n)
			return -ENOMEM;
		if (n->host - m->window != b->host - of->window)
			return err_set(err, -EINVAL, "the memory's blocks cannot be mirrored");
		page = mem_page_of(m, n->host);
		for (uint64_t k = 0; k < n->len >> MEM_PAGE_SHIFT; k++)
			atomic_fetch_or(&m->page_flags[page + k], MEM_PAGE_LOGGED);
		copy_block(n, b);
	}
	return 0;
}

int mem_mirror_update(struct mem *m, const struct mem *of, struct err *err)
{
	const struct mem_map *map = atomic_load(&of->map);
	int ret = add_blocks(m, of, err);

	if (ret == 0)
		ret = mem_map_clear(m, 0, 1ull << 52);
	for (size_t i = 0; ret == 0 && i < map->count; i++) {
		const struct mem_slot *s = &map->slot[i];
		size_t k = 0;

		while (of->blocks[k] != s->block)
			k++;
		ret = mem_map_set(m, s->gpa, s->len, m->blocks[k],
				  (uint64_t)(s->host - s->block->host), s->readable, s->writable);
	}
	m->phys_bits = of->phys_bits;
	return ret;
}

struct mem *mem_mirror_new(const struct mem *of, struct err *err)
{
	struct mem *m = mem_new(of->window_len, err);

	if (m && mem_mirror_update(m, of, err) != 0) {
		mem_free(m);
		return NULL;
	}
	return m;
}

void mem_mirror_copy(struct mem *m, const struct mem *of, uint64_t off, uint64_t len)
{
	memcpy(m->window + off, of->window + off, len);
	mem_written(m, m->window + off, len);
}

/* Where the two differ in the stretch; *at is the first byte. */
static bool stretch_differs(const uint8_t *a, const uint8_t *b, uint64_t *at, uint64_t end)
{
	for (; *at < end; *at += MEM_PAGE_SIZE - (*at & (MEM_PAGE_SIZE - 1))) {
		uint64_t stop = min_of(end, (*at | (MEM_PAGE_SIZE - 1)) + 1);

		if (!memcmp(a + *at, b + *at, stop - *at))
			continue;
		while (a[*at] == b[*at])
			++*at;
		return true;
	}
	return false;
}

bool mem_mirror_differs(const struct mem *m, const struct mem *of, uint64_t *off)
{
	for (size_t k = 0; k < m->nblocks; k++) {
		const struct mem_block *a = of->blocks[k], *b = m->blocks[k];
		uint64_t start = (uint64_t)(a->host - of->window);
		uint64_t first = *off > start ? *off - start : 0;

		/* What neither ever wrote is zero in both. */
		for (unsigned side = 0; side < 2; side++) {
			uint64_t at = first, end;

			while (at < a->len && next_data(side ? b : a, &at, &end)) {
				if (stretch_differs(a->host, b->host, &at, end)) {
					*off = start + at;
					return true;
				}
				at = end;
			}
		}
	}
	return false;
}

int mem_gpa_of(const struct mem *m, uint64_t off, gpa_t *gpa)
{
	const struct mem_map *map = atomic_load(&m->map);
	const uint8_t *host = m->window + off;

	for (size_t i = 0; i < map->count; i++) {
		const struct mem_slot *s = &map->slot[i];

		if (host >= s->host && host < s->host + s->len) {
			*gpa = s->gpa + (uint64_t)(host - s->host);
			return 0;
		}
	}
	return -EFAULT;
}

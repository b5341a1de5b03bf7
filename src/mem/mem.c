/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/mem/mem.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/bits.h"

/* Per-page tables are reserved for the whole window and filled by touch. */
static void *reserve(uint64_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int membarrier(int cmd)
{
	return syscall(__NR_membarrier, cmd, 0, 0);
}

/* Every thread of the process has executed a full barrier when this returns. */
static void barrier_all_threads(struct mem *m)
{
	if (!m->barrier_page) {
		membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
		return;
	}
	/* Taking away a right to a page that is in use makes the kernel interrupt
	 * every CPU that runs this process. */
	mprotect(m->barrier_page, MEM_PAGE_SIZE, PROT_READ | PROT_WRITE);
	*(volatile char *)m->barrier_page = 1;
	mprotect(m->barrier_page, MEM_PAGE_SIZE, PROT_READ);
}

struct mem *mem_new(uint64_t window_len, struct err *err)
{
	struct mem *m = calloc(1, sizeof(*m));
	struct mem_map *map = calloc(1, sizeof(*map));
	uint64_t pages;

	if (!m || !map)
		goto no_memory;
	m->window_len = align_up(window_len, 2ull << 20);
	m->phys_bits = 40;
	pages = m->window_len >> MEM_PAGE_SHIFT;
	m->window = reserve(m->window_len, PROT_NONE);
	m->page_flags = reserve(align_up(pages, 4096), PROT_READ | PROT_WRITE);
	m->page_gen = reserve(align_up(pages * 4, 4096), PROT_READ | PROT_WRITE);
	m->code_chunks = reserve(align_up(pages * 8, 4096), PROT_READ | PROT_WRITE);
	if (!m->window || !m->page_flags || !m->page_gen || !m->code_chunks)
		goto no_memory;
	if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0) {
		m->barrier_page = reserve(MEM_PAGE_SIZE, PROT_READ | PROT_WRITE);
		if (!m->barrier_page)
			goto no_memory;
	}
	pthread_mutex_init(&m->code_lock, NULL);
	atomic_store(&m->map, map);
	return m;

no_memory:
	err_set(err, -ENOMEM,
		"cannot reserve %llu MiB of address space for the guest's memory: %s; "
		"check the limit `ulimit -v`",
		(unsigned long long)(window_len >> 20), strerror(errno));
	free(map);
	if (m) {
		atomic_store(&m->map, NULL);
		mem_free(m);
	}
	return NULL;
}

void mem_free(struct mem *m)
{
	uint64_t pages;

	if (!m)
		return;
	pages = m->window_len >> MEM_PAGE_SHIFT;
	for (size_t i = 0; i < m->nblocks; i++) {
		close(m->blocks[i]->fd);
		free(m->blocks[i]);
	}
	free(m->blocks);
	for (size_t i = 0; i < m->nold; i++)
		free(m->old_maps[i]);
	free(m->old_maps);
	free(atomic_load(&m->map));
	if (m->window)
		munmap(m->window, m->window_len);
	if (m->page_flags)
		munmap((void *)m->page_flags, align_up(pages, 4096));
	if (m->page_gen)
		munmap((void *)m->page_gen, align_up(pages * 4, 4096));
	if (m->code_chunks)
		munmap(m->code_chunks, align_up(pages * 8, 4096));
	if (m->barrier_page)
		munmap(m->barrier_page, MEM_PAGE_SIZE);
	free(m);
}

struct mem_block *mem_block_new(struct mem *m, const char *name, uint64_t len, bool rom,
				struct err *err)
{
	struct mem_block *b = calloc(1, sizeof(*b));
	struct mem_block **blocks;
	int saved;

	if (!b)
		goto no_memory;
	b->fd = -1;
	len = align_up(len, MEM_PAGE_SIZE);
	if (len == 0 || len > m->window_len - m->used) {
		errno = ENOSPC;
		goto no_memory;
	}
	b->fd = memfd_create(name, MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, (off_t)len) != 0)
		goto no_memory;
	b->host = mmap(m->window + m->used, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED | MAP_NORESERVE, b->fd, 0);
	if (b->host == MAP_FAILED)
		goto no_memory;
	blocks = realloc(m->blocks, (m->nblocks + 1) * sizeof(*blocks));
	if (!blocks)
		goto no_memory;
	m->blocks = blocks;
	blocks[m->nblocks++] = b;
	b->name = name;
	b->len = len;
	b->rom = rom;
	m->used += align_up(len, 2ull << 20);
	if (m->used > m->window_len)
		m->used = m->window_len;
	return b;

no_memory:
	saved = errno;
	err_set(err, -saved, "cannot get %llu KiB of memory for the guest's %s: %s",
		(unsigned long long)(len >> 10), name, strerror(saved));
	if (b && b->fd >= 0)
		close(b->fd);
	free(b);
	return NULL;
}

/* Publishes @map; the old one stays readable for whoever still looks at it. */
static int publish(struct mem *m, struct mem_map *map)
{
	struct mem_map **old = realloc(m->old_maps, (m->nold + 1) * sizeof(*old));

	if (!old) {
		free(map);
		return -ENOMEM;
	}
	m->old_maps = old;
	old[m->nold++] = atomic_exchange(&m->map, map);
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->map_changed)
			l->map_changed(l->opaque);
	return 0;
}

/* A copy of the map with [gpa, gpa+len) cut out and room for @extra more slots. */
static struct mem_map *map_without(const struct mem_map *cur, gpa_t gpa, uint64_t len, size_t extra)
{
	struct mem_map *map =
		calloc(1, sizeof(*map) + (cur->count * 2 + extra) * sizeof(map->slot[0]));

	if (!map)
		return NULL;
	for (size_t i = 0; i < cur->count; i++) {
		struct mem_slot s = cur->slot[i];
		gpa_t s_end = s.gpa + s.len, end = gpa + len;

		if (s_end <= gpa || s.gpa >= end) {
			map->slot[map->count++] = s;
			continue;
		}
		if (s.gpa < gpa) {
			map->slot[map->count] = s;
			map->slot[map->count++].len = gpa - s.gpa;
		}
		if (s_end > end) {
			map->slot[map->count] = s;
			map->slot[map->count].gpa = end;
			map->slot[map->count].host += end - s.gpa;
			map->slot[map->count++].len = s_end - end;
		}
	}
	return map;
}

int mem_map_set(struct mem *m, gpa_t gpa, uint64_t len, struct mem_block *b, uint64_t off,
		bool readable, bool writable)
{
	struct mem_map *map;
	size_t at;

	if ((gpa | len | off) & (MEM_PAGE_SIZE - 1) || len == 0 || off > b->len ||
	    len > b->len - off || gpa + len < gpa)
		return -EINVAL;
	map = map_without(atomic_load(&m->map), gpa, len, 1);
	if (!map)
		return -ENOMEM;
	for (at = map->count; at > 0 && map->slot[at - 1].gpa > gpa; at--)
		map->slot[at] = map->slot[at - 1];
	map->slot[at] = (struct mem_slot){ .gpa = gpa, .len = len, .host = b->host + off,
					   .readable = readable, .writable = writable && !b->rom,
					   .block = b };
	map->count++;
	return publish(m, map);
}

int mem_map_clear(struct mem *m, gpa_t gpa, uint64_t len)
{
	struct mem_map *map = map_without(atomic_load(&m->map), gpa, len, 0);

	return map ? publish(m, map) : -ENOMEM;
}

void mem_listener_add(struct mem *m, struct mem_listener *l)
{
	l->next = m->listeners;
	m->listeners = l;
}

void mem_listener_del(struct mem *m, struct mem_listener *l)
{
	for (struct mem_listener **p = &m->listeners; *p; p = &(*p)->next) {
		if (*p == l) {
			*p = l->next;
			return;
		}
	}
}

const struct mem_slot *mem_slot_at(const struct mem *m, gpa_t gpa)
{
	const struct mem_map *map = atomic_load_explicit(&m->map, memory_order_acquire);
	size_t lo = 0, hi = map->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct mem_slot *s = &map->slot[mid];

		if (gpa < s->gpa)
			hi = mid;
		else if (gpa - s->gpa >= s->len)
			lo = mid + 1;
		else
			return s;
	}
	return NULL;
}

void *mem_ptr(struct mem *m, gpa_t gpa, uint64_t len, bool write)
{
	const struct mem_slot *s = mem_slot_at(m, gpa);

	if (!s || len > s->len - (gpa - s->gpa) || !s->readable || (write && !s->writable))
		return NULL;
	return s->host + (gpa - s->gpa);
}

int mem_read(struct mem *m, gpa_t gpa, void *buf, uint64_t len)
{
	while (len) {
		const struct mem_slot *s = mem_slot_at(m, gpa);
		uint64_t n;

		if (!s || !s->readable)
			return -EFAULT;
		n = min_of(len, s->len - (gpa - s->gpa));
		memcpy(buf, s->host + (gpa - s->gpa), n);
		buf = (uint8_t *)buf + n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int mem_write(struct mem *m, gpa_t gpa, const void *buf, uint64_t len)
{
	while (len) {
		const struct mem_slot *s = mem_slot_at(m, gpa);
		uint64_t n;

		if (!s || !s->writable)
			return -EFAULT;
		n = min_of(len, s->len - (gpa - s->gpa));
		memcpy(s->host + (gpa - s->gpa), buf, n);
		mem_written(m, s->host + (gpa - s->gpa), n);
		buf = (const uint8_t *)buf + n;
		gpa += n;
		len -= n;
	}
	return 0;
}

/* Bit mask of the 64-byte chunks that bytes [off, off+len) of a page touch. */
static uint64_t chunk_mask(uint32_t off, uint32_t len)
{
	unsigned first = off / 64, last = (off + len - 1) / 64;

	return low_mask(last - first + 1) << first;
}

static void page_written(struct mem *m, uint64_t page, uint32_t off, uint32_t len)
{
	uint8_t flags = atomic_load_explicit(&m->page_flags[page], memory_order_relaxed);
	uint64_t hit = 0;

	if (likely(!flags))
		return;
	if (flags & MEM_PAGE_CLEAN)
		atomic_fetch_and(&m->page_flags[page], (uint8_t)~MEM_PAGE_CLEAN);
	if (!(flags & MEM_PAGE_CODE))
		return;
	pthread_mutex_lock(&m->code_lock);
	hit = m->code_chunks[page] & chunk_mask(off, len);
	if (hit) {
		m->code_chunks[page] &= ~hit;
		atomic_fetch_add(&m->page_gen[page], 1);
		if (!m->code_chunks[page])
			atomic_fetch_and(&m->page_flags[page], (uint8_t)~MEM_PAGE_CODE);
	}
	pthread_mutex_unlock(&m->code_lock);
	if (!hit)
		return;
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->code_written)
			l->code_written(l->opaque, page, hit);
}

void mem_written(struct mem *m, void *host, uint64_t len)
{
	uint64_t at = (uint64_t)((uint8_t *)host - m->window);

	while (len) {
		uint32_t off = at & (MEM_PAGE_SIZE - 1);
		uint32_t n = min_of(len, MEM_PAGE_SIZE - off);

		page_written(m, at >> MEM_PAGE_SHIFT, off, n);
		at += n;
		len -= n;
	}
}

uint32_t mem_watch_code(struct mem *m, uint64_t page, uint64_t chunks)
{
	uint32_t gen;

	for (;;) {
		if (!(atomic_load(&m->page_flags[page]) & MEM_PAGE_CODE)) {
			atomic_fetch_or(&m->page_flags[page], MEM_PAGE_CODE);
			for (struct mem_listener *l = m->listeners; l; l = l->next)
				if (l->code_marked)
					l->code_marked(l->opaque, page);
			barrier_all_threads(m);
		}
		pthread_mutex_lock(&m->code_lock);
		if (atomic_load(&m->page_flags[page]) & MEM_PAGE_CODE)
			break;
		/* Another thread's store took the last watch off in between. */
		pthread_mutex_unlock(&m->code_lock);
	}
	m->code_chunks[page] |= chunks;
	gen = atomic_load(&m->page_gen[page]);
	pthread_mutex_unlock(&m->code_lock);
	return gen;
}

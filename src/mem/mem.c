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

/* A map without slots and room for at least @slots. */
static struct mem_map *map_new(size_t slots)
{
	size_t room = 32;
	struct mem_map *map;

	while (room < slots)
		room *= 2;
	map = calloc(1, sizeof(*map) + room * sizeof(map->slot[0]));
	if (map)
		map->room = room;
	return map;
}

struct mem *mem_new(uint64_t window_len, struct err *err)
{
	struct mem *m = calloc(1, sizeof(*m));
	struct mem_map *map = map_new(0);
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
	while (m->outgrown) {
		struct mem_map *map = m->outgrown;

		m->outgrown = map->next;
		free(map);
	}
	free(m->spare);
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

int mem_block_write(struct mem *m, struct mem_block *b, uint64_t off, const void *buf,
		    uint64_t len)
{
	if (off > b->len || len > b->len - off)
		return -EINVAL;
	memcpy(b->host + off, buf, len);
	mem_written(m, b->host + off, len);
	return 0;
}

/*
 * The map. The writer fills the spare and swaps: whoever still looks at a map when it is
 * filled again has loaded map_changes before the swap, and finds it moved when it loads it
 * again after its last look.
 */

/* Makes m->spare one with room for @slots. -ENOMEM: it is as it was. */
static int spare_prepare(struct mem *m, size_t slots)
{
	struct mem_map *map;

	if (m->spare && m->spare->room >= slots)
		return 0;
	map = map_new(slots);
	if (!map)
		return -ENOMEM;
	/* At most two of a size ever get here, and each size is twice the one before. */
	if (m->spare) {
		m->spare->next = m->outgrown;
		m->outgrown = m->spare;
	}
	m->spare = map;
	return 0;
}

static void publish(struct mem *m)
{
	m->spare = atomic_exchange(&m->map, m->spare);
	atomic_fetch_add(&m->map_changes, 1);
	/* No store to the new spare may be seen before the count is. */
	atomic_thread_fence(memory_order_seq_cst);
	for (struct mem_listener *l = m->listeners; l; l = l->next)
		if (l->map_changed)
			l->map_changed(l->opaque);
}

/* Fills the spare, which has room for one slot more than the map, with what the map shows
 * outside of [gpa, gpa+len). Only one slot can have something left on both sides. */
static void spare_copy_without(struct mem *m, gpa_t gpa, uint64_t len)
{
	const struct mem_map *cur = atomic_load(&m->map);
	struct mem_map *map = m->spare;
	gpa_t end = gpa + len;
	size_t n = 0;

	for (size_t i = 0; i < cur->count; i++) {
		struct mem_slot s = cur->slot[i];
		gpa_t s_end = s.gpa + s.len;

		if (s_end <= gpa || s.gpa >= end) {
			map->slot[n++] = s;
			continue;
		}
		if (s.gpa < gpa) {
			map->slot[n] = s;
			map->slot[n++].len = gpa - s.gpa;
		}
		if (s_end > end) {
			map->slot[n] = s;
			map->slot[n].gpa = end;
			map->slot[n].host += end - s.gpa;
			map->slot[n++].len = s_end - end;
		}
	}
	map->count = n;
}

int mem_map_set(struct mem *m, gpa_t gpa, uint64_t len, struct mem_block *b, uint64_t off,
		bool readable, bool writable)
{
	struct mem_map *map;
	size_t at;

	if ((gpa | len | off) & (MEM_PAGE_SIZE - 1) || len == 0 || off > b->len ||
	    len > b->len - off || gpa + len < gpa)
		return -EINVAL;
	if (spare_prepare(m, atomic_load(&m->map)->count + 2) != 0)
		return -ENOMEM;
	spare_copy_without(m, gpa, len);
	map = m->spare;
	for (at = map->count; at > 0 && map->slot[at - 1].gpa > gpa; at--)
		map->slot[at] = map->slot[at - 1];
	map->slot[at] = (struct mem_slot){ .gpa = gpa, .len = len, .host = b->host + off,
					   .readable = readable, .writable = writable && !b->rom,
					   .block = b };
	map->count++;
	publish(m);
	return 0;
}

int mem_map_clear(struct mem *m, gpa_t gpa, uint64_t len)
{
	if (spare_prepare(m, atomic_load(&m->map)->count + 1) != 0)
		return -ENOMEM;
	spare_copy_without(m, gpa, len);
	publish(m);
	return 0;
}

void mem_listener_add(struct mem *m, struct mem_listener *l)
{
	l->next = m->listeners;
	m->listeners = l;
	m->tell_written |= l->written != NULL;
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

/* Binary search in a map that may be written at the same time: within its bounds
 * whatever it reads; what it finds counts only if no change came (mem_slot_at()). */
static bool map_find(const volatile struct mem_map *map, gpa_t gpa, struct mem_slot *out)
{
	size_t lo = 0, hi = map->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const volatile struct mem_slot *s = &map->slot[mid];
		gpa_t start = s->gpa;

		if (gpa < start) {
			hi = mid;
		} else if (gpa - start >= s->len) {
			lo = mid + 1;
		} else {
			*out = *s;
			return true;
		}
	}
	return false;
}

bool mem_slot_at(const struct mem *m, gpa_t gpa, struct mem_slot *s)
{
	for (;;) {
		uint64_t changes = atomic_load_explicit(&m->map_changes, memory_order_acquire);
		bool found = map_find(atomic_load_explicit(&m->map, memory_order_acquire), gpa, s);

		atomic_thread_fence(memory_order_acquire);
		if (likely(atomic_load_explicit(&m->map_changes, memory_order_relaxed) == changes))
			return found;
	}
}

void *mem_ptr(struct mem *m, gpa_t gpa, uint64_t len, bool write)
{
	struct mem_slot s;

	if (!mem_slot_at(m, gpa, &s) || len > s.len - (gpa - s.gpa) || !s.readable ||
	    (write && !s.writable))
		return NULL;
	return s.host + (gpa - s.gpa);
}

int mem_read(struct mem *m, gpa_t gpa, void *buf, uint64_t len)
{
	while (len) {
		struct mem_slot s;
		uint64_t n;

		if (!mem_slot_at(m, gpa, &s) || !s.readable)
			return -EFAULT;
		n = min_of(len, s.len - (gpa - s.gpa));
		memcpy(buf, s.host + (gpa - s.gpa), n);
		buf = (uint8_t *)buf + n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int mem_write(struct mem *m, gpa_t gpa, const void *buf, uint64_t len)
{
	while (len) {
		struct mem_slot s;
		uint64_t n;

		if (!mem_slot_at(m, gpa, &s) || !s.writable)
			return -EFAULT;
		n = min_of(len, s.len - (gpa - s.gpa));
		memcpy(s.host + (gpa - s.gpa), buf, n);
		mem_written(m, s.host + (gpa - s.gpa), n);
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
	uint64_t hit;

	if (likely(!flags))
		return;
	if (flags & MEM_PAGE_CLEAN)
		atomic_fetch_and(&m->page_flags[page], (uint8_t)~MEM_PAGE_CLEAN);
	if (!(flags & MEM_PAGE_CODE))
		return;
	pthread_mutex_lock(&m->code_lock);
	hit = m->code_chunks[page] & chunk_mask(off, len);
	if (hit) {
		/* Told before the watch ends: who stores there next and finds no watch
		 * has been told, whatever thread this one is. */
		for (struct mem_listener *l = m->listeners; l; l = l->next)
			if (l->code_written)
				l->code_written(l->opaque, page, hit);
		m->code_chunks[page] &= ~hit;
		atomic_fetch_add(&m->page_gen[page], 1);
		if (!m->code_chunks[page])
			atomic_fetch_and(&m->page_flags[page], (uint8_t)~MEM_PAGE_CODE);
	}
	pthread_mutex_unlock(&m->code_lock);
}

void mem_written(struct mem *m, void *host, uint64_t len)
{
	uint64_t at = (uint64_t)((uint8_t *)host - m->window);

	if (unlikely(m->tell_written))
		for (struct mem_listener *l = m->listeners; l; l = l->next)
			if (l->written)
				l->written(l->opaque, at, len);
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-physical memory: RAM and ROM blocks, where they stand in the guest's
 * physical address space, and what is known of each page.
 *
 * Only this module turns a guest-physical address into a host pointer, and it
 * checks the length. All blocks of one VM live in one reserved window of host
 * address space, so (host pointer - mem->window) / 4096 names a page of backing
 * store whatever the guest's map looks like; per-page knowledge is indexed so.
 *
 * Threads: the map changes only under the device lock with every vCPU told
 * (mem_listener); lookups are lock-free. Two tables take turns: the one that is not
 * looked at is written and then published, and a lookup that meets a change on its
 * way sees the count of changes move and begins again (a sequence lock).
 */
#ifndef BOTHY_MEM_MEM_H
#define BOTHY_MEM_MEM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

typedef uint64_t gpa_t; /* guest-physical address */

#define MEM_PAGE_SHIFT 12
#define MEM_PAGE_SIZE 4096u

/* mem->page_flags[] bits. */
#define MEM_PAGE_CODE 0x01  /* an engine holds decoded or translated code of it */
#define MEM_PAGE_LOGGED 0x04 /* whoever stores to it is to say so (lockstep); never cleared */
#define MEM_PAGE_CLEAN 0x02 /* dirty logging on, not written since last read */

struct mem;

struct mem_block {
	const char *name; /* static string, also the block's name in saved state */
	uint8_t *host;    /* start, inside the window; page aligned */
	uint64_t len;     /* bytes, a multiple of 4096 */
	bool rom;         /* guest writes are dropped (or go to MMIO, see slot) */
	int fd;           /* memfd behind it, so that another process can map it */
};

/* One stretch of the guest's physical address space that is backed by memory.
 * What no slot covers is the bus's (MMIO or nothing). */
struct mem_slot {
	gpa_t gpa;
	uint64_t len;
	uint8_t *host;
	bool readable; /* false: reads go to the bus */
	bool writable; /* false: writes go to the bus (dropped there if nobody wants them) */
	struct mem_block *block;
};

/* Only whoever holds the device lock may walk it: it does not change then. */
struct mem_map {
	struct mem_map *next; /* in mem->outgrown */
	size_t room;          /* entries of slot[] */
	_Atomic size_t count;
	struct mem_slot slot[]; /* sorted by gpa, not overlapping */
};

/* Told with the device lock held. All members may be NULL. */
struct mem_listener {
	void (*map_changed)(void *opaque); /* flush every cached translation */
	/* @page is about to get its first cached code: stores to it must be
	 * noticed from now on (engines whose fast store path does not look at
	 * page_flags drop their writable translations of it). Any thread. */
	void (*code_marked)(void *opaque, uint64_t page);
	/* Watched chunks (bit n: bytes 64n..64n+63) of @page were written; they
	 * are no longer watched from when it returns. Any thread, with code_lock held:
	 * it calls nothing of mem.h. */
	void (*code_written)(void *opaque, uint64_t page, uint64_t chunks);
	/* Every mem_written(), watched or not: bytes of the window. Any thread, no lock
	 * held. */
	void (*written)(void *opaque, uint64_t off, uint64_t len);
	void *opaque;
	struct mem_listener *next;
};

struct mem {
	uint8_t *window;      /* reserved host range */
	uint64_t window_len;  /* bytes */
	uint64_t used;        /* bytes of the window handed out */
	_Atomic(struct mem_map *) map;
	_Atomic uint64_t map_changes; /* how often @map was replaced */
	struct mem_map *spare;        /* the next one to be published */
	struct mem_map *outgrown;     /* too small to be used again; freed by mem_free(): a
				       * lookup may still be in one */
	_Atomic uint8_t *page_flags;  /* window_len / 4096 entries */
	_Atomic uint32_t *page_gen;   /* bumped whenever watched code in the page is written */
	uint64_t *code_chunks;        /* per page: which 64-byte chunks hold code; under code_lock */
	pthread_mutex_t code_lock;
	struct mem_listener *listeners;
	bool tell_written; /* a listener has written() */
	struct mem_block **blocks;
	size_t nblocks;
	unsigned phys_bits; /* width of a guest-physical address, 36..52 */
	void *barrier_page; /* where membarrier(2) is missing */
};

/* @window_len: the most that all blocks together may take; address space, not
 * memory. */
struct mem *mem_new(uint64_t window_len, struct err *err);
void mem_free(struct mem *m);

/* A new block of @len bytes of zeroes (rounded up to pages). NULL on failure, and
 * @err says how much was wanted. The block lives until mem_free(). */
struct mem_block *mem_block_new(struct mem *m, const char *name, uint64_t len, bool rom,
				struct err *err);

/* Copies into a block whatever the map shows of it and whether the guest may write
 * there: ROM contents, flash programming. -EINVAL: not within the block. */
int must_check mem_block_write(struct mem *m, struct mem_block *b, uint64_t off,
			       const void *buf, uint64_t len);

/* Makes [gpa, gpa+len) show block bytes from @off. Replaces what was mapped
 * there. 4096-aligned. Tells listeners. */
int must_check mem_map_set(struct mem *m, gpa_t gpa, uint64_t len, struct mem_block *b,
			   uint64_t off, bool readable, bool writable);
int must_check mem_map_clear(struct mem *m, gpa_t gpa, uint64_t len);

void mem_listener_add(struct mem *m, struct mem_listener *l);
void mem_listener_del(struct mem *m, struct mem_listener *l);

/*
 * A mirror: a memory of its own that has the blocks, the map and the bytes of
 * another, each at the same place of its window. (mirror.c)
 */
struct mem *mem_mirror_new(const struct mem *of, struct err *err);
/* Follows blocks that were added and the map; what new blocks hold is copied. */
int must_check mem_mirror_update(struct mem *m, const struct mem *of, struct err *err);
/* Copies [off, off + len) of the window, which must lie in blocks. */
void mem_mirror_copy(struct mem *m, const struct mem *of, uint64_t off, uint64_t len);
/* First window offset in [*off, ...) where they differ; false: none. Only while nobody
 * writes. */
bool mem_mirror_differs(const struct mem *m, const struct mem *of, uint64_t *off);
/* Guest-physical address of a byte of the window; -EFAULT if the map does not show it. */
int mem_gpa_of(const struct mem *m, uint64_t off, gpa_t *gpa);

/* Fills @s with the slot that covers @gpa; false: none does. Any thread, lock-free.
 * True until the map changes; the bytes at s->host stay for the life of @m. */
bool mem_slot_at(const struct mem *m, gpa_t gpa, struct mem_slot *s);

/* Host pointer to [gpa, gpa+len) if one slot backs it whole (readable, and
 * writable if @write), else NULL. With @write the caller must call
 * mem_written() after its stores. */
void *mem_ptr(struct mem *m, gpa_t gpa, uint64_t len, bool write);

/* Copies for devices (DMA) and loaders. -EFAULT if any byte is not memory (then
 * nothing or a prefix was copied); mem_write() keeps code and dirty state. */
int must_check mem_read(struct mem *m, gpa_t gpa, void *buf, uint64_t len);
int must_check mem_write(struct mem *m, gpa_t gpa, const void *buf, uint64_t len);

/* Index of the page of backing store that holds @host. */
static inline uint64_t mem_page_of(const struct mem *m, const void *host)
{
	return (uint64_t)((const uint8_t *)host - m->window) >> MEM_PAGE_SHIFT;
}

/* After stores to [host, host+len) in one page or several: clears CLEAN, and
 * where a watched chunk was hit bumps page_gen and tells the listeners. */
void mem_written(struct mem *m, void *host, uint64_t len);

/* Watches the 64-byte chunks of @page in @chunks for stores and returns the
 * page's generation. On a page's first watch every thread that looks at
 * page_flags AFTER its store is sure to see the mark, or to have made its store
 * visible already (membarrier(2)). Read the code bytes only after this returns;
 * they are stale once page_gen differs from what it returned. */
uint32_t mem_watch_code(struct mem *m, uint64_t page, uint64_t chunks);

#endif

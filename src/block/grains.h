/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What VDI, VMDK, VHD and VHDX have in common: a disk cut into equal blocks, a map
 * that says for each where it is in the file, and new blocks appended at the
 * file's end. A format embeds a struct grains, tells where its map is and how
 * an entry is written, and passes its I/O on.
 *
 * The map is read in pieces as it is needed. A new block is written first; its
 * entry is changed in memory and reaches storage with the next flush, after the
 * block (and what before_map() writes) is there for sure. So a cut never leaves
 * an entry that points at nothing.
 */
#ifndef BOTHY_BLOCK_GRAINS_H
#define BOTHY_BLOCK_GRAINS_H

#include <pthread.h>

#include "src/block/block.h"
#include "src/block/fastmap.h"
#include "src/block/range.h"

enum grain_kind { GRAIN_NONE, GRAIN_ZERO, GRAIN_DATA, GRAIN_OTHER };

struct grains;

struct grain_ops {
	/* What @raw says. -EIO: it makes no sense. GRAIN_OTHER: read_other() reads it. */
	int (*decode)(struct grains *g, uint64_t raw, enum grain_kind *k, uint64_t *host);
	uint64_t (*encode)(struct grains *g, enum grain_kind k, uint64_t host);
	/* File offset of map chunk @c, 0: there is none, all its entries are empty. */
	int (*chunk_pos)(struct grains *g, uint64_t c, uint64_t *pos, uint64_t *copy_pos);
	/* Which entry of the map is block @i's; NULL: entry i. */
	uint64_t (*index)(struct grains *g, uint64_t i);
	/* Host offset of the data of a new block. g->lock held. */
	int (*alloc)(struct grains *g, uint64_t i, uint64_t *host);
	/* The new block's data is written (range held, no lock); NULL: nothing more to do. */
	int (*filled)(struct grains *g, uint64_t i, uint64_t host);
	/* Before changed entries are written: what must be on storage by then. May be NULL. */
	int (*before_map)(struct grains *g);
	int (*read_other)(struct grains *g, uint64_t raw, uint64_t i, size_t skip, size_t len,
			  const struct block_vec *v, size_t voff);
	/* Before the first change of an opening. May be NULL. g->lock held. */
	int (*touch)(struct grains *g);
};

struct grains {
	const struct grain_ops *ops;
	struct block_node *node, *file;
	uint64_t base, len;            /* the part of the disk that this is: guest offset, bytes */
	uint64_t block_bytes, nblocks; /* block_bytes: a power of two */
	uint64_t map_entries;          /* of the whole map */
	unsigned entry_bytes;          /* 4 or 8 */
	bool big_endian, can_zero;     /* can_zero: an entry can say "reads as zeroes" */
	unsigned chunk_entries;        /* entries read at once */

	pthread_mutex_t lock;
	struct range_set ranges;
	struct fastmap fast; /* offsets as in @len */
	uint8_t **chunks;
	uint8_t *chunk_dirty; /* by chunk */
	uint64_t nchunks, loaded, max_loaded, hand, ndirty;
	atomic_bool touched;
};

/* The geometry above is set. */
int must_check grains_init(struct grains *g);
void grains_fini(struct grains *g);

int must_check grains_preadv(struct grains *g, uint64_t off, size_t len, const struct block_vec *v,
			     size_t voff);
int must_check grains_preadv_nowait(struct grains *g, uint64_t off, size_t len,
				    const struct block_vec *v, size_t voff);
int must_check grains_place(struct grains *g, uint64_t off, size_t len, bool write,
			    struct block_place *p);
int must_check grains_pwritev(struct grains *g, uint64_t off, size_t len,
			      const struct block_vec *v, size_t voff);
int must_check grains_zero(struct grains *g, uint64_t off, uint64_t len, bool unmap);
int must_check grains_discard(struct grains *g, uint64_t off, uint64_t len);
int must_check grains_status(struct grains *g, uint64_t off, uint64_t len, struct block_extent *e);
int must_check grains_flush(struct grains *g);
/* Are all blocks inside of the file, on their own? @data_start: where blocks may begin;
 * @stride: bytes between blocks' starts, 0: any place. */
int must_check grains_check(struct grains *g, uint64_t data_start, uint64_t align,
			    struct block_check *c);

/* For formats that do more by themselves; g->lock held. */
int must_check grains_entry(struct grains *g, uint64_t i, uint64_t *raw);
int must_check grains_set(struct grains *g, uint64_t i, uint64_t raw);

#endif

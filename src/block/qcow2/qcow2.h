/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 from the inside. Source of the layout: QEMU's docs/interop/qcow2.txt.
 *
 * All tables (L1, L2, refcount table and blocks) are read and changed through
 * one bounded cache of small pages (meta.c) under q->lock; nothing keeps a
 * pointer into it. Dirty pages carry a class, and pages are written class by
 * class with a sync of the file in between:
 *
 *   data, refcount blocks | refcount table | L2 | L1 | (now decrements are done)
 *
 * so that on storage no entry ever points at what is not there or not counted.
 * References that were dropped wait in a list (ref.c) until the entries that
 * held them are known to be overwritten on storage; only then is the count
 * lowered and may the cluster be used again. A cut therefore leaks at worst.
 *
 * Lock order: ranges, then lock. Data I/O runs with a range held, never the lock.
 */
#ifndef BOTHY_BLOCK_QCOW2_QCOW2_H
#define BOTHY_BLOCK_QCOW2_QCOW2_H

#include <pthread.h>

#include "src/block/block.h"
#include "src/block/fastmap.h"
#include "src/block/packer.h"
#include "src/block/range.h"

#define QC_MAGIC 0x514649fbu /* "QFI\xfb" */
#define QC_MIN_CLUSTER_BITS 9
#define QC_MAX_CLUSTER_BITS 21
#define QC_MAX_L1_BYTES (32u << 20)
#define QC_MAX_REFTABLE_BYTES (8u << 20)
#define QC_MAX_SNAPSHOTS 65536u
#define QC_MAX_SNAPTABLE_BYTES (64u << 20)
#define QC_MAX_BACKING 1023u

#define QC_INCOMPAT_DIRTY (1ULL << 0)
#define QC_INCOMPAT_CORRUPT (1ULL << 1)
#define QC_INCOMPAT_DATA_FILE (1ULL << 2)
#define QC_INCOMPAT_COMPRESSION (1ULL << 3)
#define QC_INCOMPAT_EXT_L2 (1ULL << 4)
#define QC_INCOMPAT_KNOWN 0x1fULL
#define QC_COMPAT_LAZY (1ULL << 0)
#define QC_AUTOCLEAR_BITMAPS (1ULL << 0)
#define QC_AUTOCLEAR_DATA_RAW (1ULL << 1)
#define QC_AUTOCLEAR_KNOWN 0x3ULL

#define QC_EXT_END 0u
#define QC_EXT_BACKING_FORMAT 0xe2792acau
#define QC_EXT_FEATURES 0x6803f857u
#define QC_EXT_BITMAPS 0x23852875u
#define QC_EXT_CRYPTO 0x0537be77u
#define QC_EXT_DATA_FILE 0x44415441u

#define QC_OFLAG_COPIED (1ULL << 63)
#define QC_OFLAG_COMPRESSED (1ULL << 62)
#define QC_OFLAG_ZERO (1ULL << 0)
#define QC_OFFSET_MASK 0x00fffffffffffe00ULL
#define QC_L1_RESERVED 0x7f000000000001ffULL
#define QC_L2_RESERVED 0x3f000000000001feULL

enum { QC_CRYPT_NONE, QC_CRYPT_AES, QC_CRYPT_LUKS };
enum { QC_COMP_ZLIB, QC_COMP_ZSTD };

enum qc_class { QC_REFBLOCK, QC_REFTABLE, QC_L2, QC_L1, QC_CLASSES };

struct qc_page {
	uint64_t off; /* in the file; a multiple of the page size */
	struct qc_page *hash_next;
	struct qc_page *prev, *next; /* all pages, most recently used first */
	uint8_t cls;
	bool dirty;
	uint8_t data[];
};

struct qc_cache {
	uint32_t page_size, page_bits;
	size_t count, max;
	struct qc_page **hash;
	size_t hash_size; /* a power of two */
	struct qc_page lru; /* list head */
	bool held_only;     /* -EAGAIN for a page that would have to be read, or a table made */
	size_t dirty[QC_CLASSES];
};

struct qc_drop { /* a reference that is no longer held, counted down once that is on storage */
	uint64_t cluster, count;
};

struct qc_snap {
	uint64_t l1_off;
	uint32_t l1_size;
	struct block_snapshot s;
	uint32_t extra_len; /* beyond what we understand */
	uint8_t *extra;
};

struct qc_header_ext { /* one we do not understand; kept */
	uint32_t type, len;
	uint8_t *data;
	struct qc_header_ext *next;
};

struct qc_bitmaps_ext { /* header extension 0x23852875 */
	uint32_t count;
	uint64_t dir_size, dir_off;
};

struct qc_zcache { /* the last cluster that was decompressed */
	uint64_t entry; /* L2 entry, 0: empty */
	uint8_t *data;
};

struct qcow2 {
	struct block_node *node, *file;
	struct block_node *data;     /* == file unless external */
	struct block_node *data_own; /* the external data file, owned */

	unsigned version, cluster_bits, refcount_order, header_len, compression, crypt;
	uint64_t cluster_size;
	uint64_t incompat, compat, autoclear;
	bool ext_l2, data_raw, lazy;
	unsigned l2_entry_bytes, l2_bits, sub_bits, subs; /* subclusters: 1 << sub_bits bytes */
	unsigned rb_bits;                                /* log2 of refcounts in a block */
	uint64_t refcount_max;

	uint64_t l1_off, rt_off;
	uint32_t l1_size;   /* entries */
	uint64_t rt_size;   /* entries */
	uint64_t snap_off, snap_bytes; /* of the table on storage */
	uint32_t nsnaps;
	struct qc_snap *snaps;
	char *data_file;
	struct qc_header_ext *exts;
	uint8_t *feature_table;
	uint32_t feature_len;
	struct qc_bitmaps_ext bitmaps;
	uint64_t crypto_off, crypto_len;
	struct luks *luks; /* NULL unless encrypted and unlocked */

	pthread_mutex_t lock;
	struct range_set ranges;
	struct qc_cache cache;
	struct fastmap fast; /* what qc_lookup() said, while no L1 or L2 entry changes */
	uint64_t write_gen, sync_gen; /* anything written since the last sync? */
	uint64_t free_hint;           /* no free cluster below it */
	uint64_t used_end;            /* clusters the file had, or we gave out */
	bool on_device;               /* what is behind that has old bytes, not zeroes */
	uint64_t packed_off;          /* where the next compressed cluster may go, 0: nowhere */
	struct qc_drop *drops;
	size_t ndrops, drops_cap;
	bool dirty_bit_set;
	atomic_bool touched; /* autoclear bits and bitmaps dealt with for this opening */
	struct qc_bitmap *live_bitmaps;

	pthread_mutex_t zlock;
	struct qc_zcache zcache;
	struct packers packers;
};

/* ---- meta.c; q->lock held ---- */
int must_check qc_cache_init(struct qcow2 *q, size_t bytes);
void qc_cache_fini(struct qcow2 *q);
int must_check qc_meta_read(struct qcow2 *q, uint64_t off, void *buf, size_t len);
int must_check qc_meta_write(struct qcow2 *q, enum qc_class c, uint64_t off, const void *buf,
			     size_t len);
/* The cached bytes at @off, up to the page's end; good until the next call of this file. */
int must_check qc_meta_peek(struct qcow2 *q, uint64_t off, const uint8_t **p, size_t *avail);
int must_check qc_meta_get64(struct qcow2 *q, uint64_t off, uint64_t *v);
int must_check qc_meta_set64(struct qcow2 *q, enum qc_class c, uint64_t off, uint64_t v);
void qc_meta_forget(struct qcow2 *q, uint64_t off, uint64_t len); /* must be clean or garbage */
/* Everything written so far is on storage when it returns 0. */
int must_check qc_sync(struct qcow2 *q);
/* Writes the dirty pages in order, and then does the waiting decrements (which leaves
 * refcount pages dirty). With lazy refcounts those are written only if @all. */
int must_check qc_commit(struct qcow2 *q, bool all);
bool qc_meta_dirty(const struct qcow2 *q);
static inline void qc_wrote(struct qcow2 *q) { q->write_gen++; }

/* ---- ref.c; q->lock held ---- */
int must_check qc_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *v);
/* The counts of @cluster and those behind it, as many of @n as stand together. Returns how
 * many that are, 1..@n, or -errno. */
int must_check qc_ref_get_some(struct qcow2 *q, uint64_t cluster, unsigned n, uint64_t *v);
int must_check qc_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t v);
int must_check qc_ref_inc(struct qcow2 *q, uint64_t cluster, uint64_t n);
/* At least one and up to @want contiguous clusters, counted once each. @*got may be
 * fewer when @exact is false. */
int must_check qc_alloc(struct qcow2 *q, uint64_t want, bool exact, uint64_t *off, uint64_t *got);
/* Room for @len bytes of a compressed cluster, sharing host clusters; *off has any alignment. */
int must_check qc_alloc_packed(struct qcow2 *q, uint32_t len, uint64_t *off);
/* Takes back clusters that nothing on storage can refer to. */
void qc_unalloc(struct qcow2 *q, uint64_t off, uint64_t n);
/* A reference is gone from the tables; counts down at the next commit. */
int must_check qc_drop(struct qcow2 *q, uint64_t off, uint64_t n);
/* Drops what an L2 entry refers to. */
int must_check qc_drop_entry(struct qcow2 *q, uint64_t entry);
int must_check qc_do_drops(struct qcow2 *q);
/* Host clusters of a compressed L2 entry. */
void qc_packed_span(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint32_t *len);

/* For check: is there a block that counts @cluster, and does it count anything? */
bool qc_ref_has_block(struct qcow2 *q, uint64_t cluster);
int must_check qc_ref_block_used(struct qcow2 *q, uint64_t cluster, bool *any);

/* ---- map.c; q->lock held ---- */
enum qc_kind { QC_UNALLOC, QC_ZERO, QC_DATA, QC_PACKED };
struct qc_entry { uint64_t e, bits; }; /* bits: sub-clusters (extended L2), else 0 */
struct qc_run {
	enum qc_kind kind;
	uint64_t len;   /* bytes from the offset asked about */
	uint64_t host;  /* QC_DATA: host offset of the offset asked about; QC_PACKED: the entry */
	bool own;       /* QC_DATA: not shared, may be written in place */
};
int must_check qc_lookup(struct qcow2 *q, uint64_t off, uint64_t len, struct qc_run *r);
int must_check qc_entry_get(struct qcow2 *q, uint64_t off, struct qc_entry *e);
/* The L2 table of @off exists and is ours alone after qc_l2_own(). */
int must_check qc_l2_own(struct qcow2 *q, uint64_t off);
int must_check qc_entry_set(struct qcow2 *q, uint64_t off, const struct qc_entry *e);
/* Kind of sub-cluster @s; -EIO for what cannot be. */
int must_check qc_sub_kind(const struct qcow2 *q, const struct qc_entry *e, unsigned s,
			   enum qc_kind *k);
/* Another L1 table is the disk's from now on. */
void qc_l1_use(struct qcow2 *q, uint64_t off, uint64_t entries);
int qc_corrupt(struct qcow2 *q); /* damage: marks the image, stops writing; returns -EIO */

/* ---- fast.c ---- */
int must_check qc_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
				const struct block_vec *v, size_t voff);
int must_check qc_place(struct block_node *n, uint64_t off, size_t len, bool write,
			struct block_place *p);

/* ---- rw.c ---- */
int must_check qc_preadv(struct block_node *n, uint64_t off, size_t len,
			 const struct block_vec *v, size_t voff);
int must_check qc_pwritev(struct block_node *n, uint64_t off, size_t len,
			  const struct block_vec *v, size_t voff);
/* Reads with the caller holding a range over it. */
int must_check qc_read_held(struct qcow2 *q, uint64_t off, size_t len, const struct block_vec *v,
			    size_t voff);
/* Writes with the caller holding a range over it exclusively. */
int must_check qc_write_held(struct qcow2 *q, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff);
int must_check qc_data_write(struct qcow2 *q, uint64_t host, uint64_t guest, size_t len,
			     const struct block_vec *v, size_t voff);
int must_check qc_touch(struct qcow2 *q); /* before the first change of an opening; lock held */
/* Has this opening's first write been made, and does nobody note what is written? */
static inline bool qc_no_more_to_note(const struct qcow2 *q)
{
	return atomic_load_explicit(&q->touched, memory_order_acquire) && !q->live_bitmaps;
}

/* What a mapping step is going to do. */
struct qc_plan {
	uint64_t first, clusters; /* guest offset of the first cluster; how many */
	uint64_t host;
	bool fresh;  /* host clusters were allocated for this */
	bool virgin; /* ... and read as zeroes */
	uint64_t start, end;   /* guest bytes that get written, copies included */
	uint64_t wstart, wend; /* of those, the request's own */
};
/* For the first of [@off, @off + @len): clusters to write to, taken if need be. Range held
 * exclusively, and the lock; then the bytes are written without the lock. */
int must_check qc_make_plan(struct qcow2 *q, uint64_t off, size_t len, struct qc_plan *p);
/* They are there: the tables say so. Lock held. If they are not, what is fresh goes to
 * qc_unalloc() instead. */
int must_check qc_apply_plan(struct qcow2 *q, const struct qc_plan *p);

/* ---- zero.c ---- */
int must_check qc_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap);
int must_check qc_discard(struct block_node *n, uint64_t off, uint64_t len);
/* Whole clusters; the caller holds the range exclusively. */
int must_check qc_clear_clusters(struct qcow2 *q, uint64_t off, uint64_t len, bool to_zero,
				 bool unmap);
int must_check qc_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e);

/* ---- pack.c ---- */
int must_check qc_read_packed(struct qcow2 *q, uint64_t entry, size_t skip, size_t len,
			      const struct block_vec *v, size_t voff);
int must_check qc_pwrite_compressed(struct block_node *n, uint64_t off, const void *buf,
				    size_t len);

/* ---- header.c ---- */
int must_check qc_header_read(struct qcow2 *q, const struct block_open_opts *o, struct err *err);
/* Fields the header's first sector holds, in one write; lock held. */
int must_check qc_header_update(struct qcow2 *q);
/* All of the header's cluster, with extensions and the backing file's name. */
int must_check qc_header_rewrite(struct qcow2 *q, struct err *err);
void qc_header_free(struct qcow2 *q);
int must_check qc_set_backing(struct block_node *n, const char *path, const char *format,
			      struct err *err);

/* ---- resize.c ---- */
int must_check qc_resize(struct block_node *n, uint64_t len, enum block_prealloc p,
			 struct err *err);
int must_check qc_l1_grow(struct qcow2 *q, uint64_t entries);

/* ---- snap.c, snaptab.c ---- */
int must_check qc_snaps_read(struct qcow2 *q, struct err *err);
void qc_snaps_free(struct qcow2 *q);
int must_check qc_snaps_write(struct qcow2 *q); /* the table anew, from q->snaps; lock held */
int must_check qc_snap_list(struct block_node *n, struct block_snapshot **list, size_t *count,
			    struct err *err);
int must_check qc_snap_create(struct block_node *n, const struct block_snapshot *s,
			      struct err *err);
int must_check qc_snap_apply(struct block_node *n, const char *id, struct err *err);
int must_check qc_snap_delete(struct block_node *n, const char *id, struct err *err);
int must_check qc_snap_view(struct block_node *n, const char *id, struct err *err);
int must_check qc_make_empty(struct block_node *n, struct err *err);
int must_check qc_fix_copied(struct qcow2 *q, uint64_t *changed);
int must_check qc_vmstate_io(struct block_node *n, uint64_t off, void *buf, size_t len,
			     bool write);

/* ---- check.c ---- */
int must_check qc_check(struct block_node *n, unsigned fix, struct block_check *c,
			struct err *err);

/* ---- create.c ---- */
int must_check qc_create(const struct block_create *c, struct err *err);
extern const struct block_create_opt qc_create_opts[];

static inline uint64_t qc_clusters(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->cluster_bits) + ((bytes & (q->cluster_size - 1)) != 0);
}
/* Guest bytes one L2 table maps. */
static inline unsigned qc_l1_shift(const struct qcow2 *q)
{
	return q->cluster_bits + q->l2_bits;
}
static inline uint64_t qc_l1_need(const struct qcow2 *q, uint64_t len)
{
	unsigned s = qc_l1_shift(q);

	return (len >> s) + ((len & ((1ULL << s) - 1)) != 0);
}

#endif

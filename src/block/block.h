/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block layer: disk images of every format as one kind of thing.
 *
 * Two faces:
 *  - struct block_node: one open image or file. Its calls are synchronous and
 *    may be made from any number of threads at once. Tools and formats use it.
 *  - struct blk (blk.h): what a disk device holds. Requests are asynchronous
 *    and complete on the caller's event loop.
 *
 * The graph: a format node (qcow2, vmdk, ...) stands over a protocol node (a
 * host file, an NBD connection) in ->file, and over the image it was derived
 * from in ->backing. A node owns what is below it.
 *
 * Concurrency: format code is plain synchronous code. A format keeps its tables
 * under its own mutex and does data I/O outside of it; where two requests could
 * meet in one cluster, range locks (range.h) keep them apart. Parallelism comes
 * from calling from several threads, which the pool behind struct blk does.
 * Nothing here sleeps on anything but host I/O and those locks.
 *
 * Durability: what was written before block_flush() began is on stable storage
 * when it returns 0. Between flushes writes may reach storage in any order, but
 * formats order their tables so that a cut at any point leaves an image that
 * opens and holds all flushed data; at worst clusters are leaked.
 *
 * All offsets and lengths are bytes. Errors are -errno: -EIO for damage in the
 * image's own tables, -ENOSPC when the host is full, -EROFS for a read-only node.
 */
#ifndef BOTHY_BLOCK_BLOCK_H
#define BOTHY_BLOCK_BLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/err.h"

#define BLOCK_SECTOR 512u
#define BLOCK_MAX_BYTES ((uint64_t)INT64_MAX & ~511ULL) /* longest image */
#define BLOCK_MAX_CHAIN 256                             /* deepest backing chain */

struct block_node;
struct block_format_desc;
struct block_place;
struct dirty;

/* Memory of a request: pieces in order. Not owned. */
struct block_vec {
	const struct iovec *iov;
	unsigned niov;
};

enum block_cache {
	BLOCK_CACHE_WRITEBACK,    /* host page cache, flush is honoured */
	BLOCK_CACHE_WRITETHROUGH, /* host page cache, every write is followed by a flush */
	BLOCK_CACHE_NONE,         /* O_DIRECT, flush is honoured */
	BLOCK_CACHE_DIRECTSYNC,   /* O_DIRECT, every write is followed by a flush */
	BLOCK_CACHE_UNSAFE,       /* host page cache, flush does nothing */
};

/* Asks for the passphrase of an encrypted image; @what names it for a prompt.
 * Puts up to @cap bytes in @buf and returns their number, or -errno. */
struct block_secret {
	int (*get)(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err);
	void *opaque;
};

/* Where protocol nodes come from. NULL means the host's file system; the
 * torture tool and tests put a recording one in its place. */
struct block_host {
	int (*open)(const struct block_host *h, const char *path, unsigned flags,
		    struct block_node **out, struct err *err);
	int (*create)(const struct block_host *h, const char *path, uint64_t len, bool overwrite,
		      struct err *err);
	int (*remove)(const struct block_host *h, const char *path);
};

#define BLOCK_OPEN_WRITE 0x01      /* else read-only */
#define BLOCK_OPEN_NO_BACKING 0x02 /* leave ->backing NULL; for tools */
#define BLOCK_OPEN_NO_LOCK 0x04    /* look at an image another process may be writing */
#define BLOCK_OPEN_CHECK 0x08      /* accept what only check/repair may accept (dirty, corrupt) */
#define BLOCK_OPEN_SHARE_RW 0x10   /* several writers agreed among themselves (cluster disks) */
#define BLOCK_OPEN_NO_SECRET 0x20  /* metadata only: an encrypted image opens without its key */
/* A new image that is being filled and is removed unless that succeeds: nobody relies
 * on it before its final sync, and room for what is written is taken at once. */
#define BLOCK_OPEN_FRESH 0x40

struct block_above;

struct block_open_opts {
	const char *format; /* NULL: probe, as block_probe() says */
	unsigned flags;     /* BLOCK_OPEN_* */
	enum block_cache cache;
	size_t cache_bytes; /* of metadata held in memory by each node; 0: a format's own choice */
	const struct block_secret *secret; /* NULL: encrypted images are refused */
	const struct block_host *host;     /* NULL: host files */
	unsigned depth;                    /* node.c's: how deep in a chain we are */
	const struct block_above *above;   /* node.c's: the images on top of this one */
};

enum block_prealloc {
	BLOCK_PREALLOC_OFF,
	BLOCK_PREALLOC_METADATA, /* tables made, data sparse */
	BLOCK_PREALLOC_FALLOC,   /* space reserved with fallocate */
	BLOCK_PREALLOC_FULL,     /* space written with zeroes */
};

/* One answer of block_status(): @len bytes from the offset asked about are alike. */
#define BLOCK_EXT_ALLOCATED 0x01  /* this node itself says what the bytes are */
#define BLOCK_EXT_ZERO 0x02       /* they read as zeroes */
#define BLOCK_EXT_DATA 0x04       /* storage is behind them */
#define BLOCK_EXT_HOST_OFF 0x08   /* host_off is where, plain, in host_node */
#define BLOCK_EXT_COMPRESSED 0x10
struct block_extent {
	uint64_t len;
	unsigned flags;
	uint64_t host_off;
	struct block_node *host_node;
	unsigned depth; /* block_status_chain(): 0 is the node asked, 1 its backing, ... */
};

struct block_snapshot {
	char id[64];
	char name[256];
	uint64_t vm_state_bytes;
	uint64_t date_s; /* since 1970 */
	uint32_t date_ns;
	uint64_t vm_clock_ns;
	uint64_t icount; /* UINT64_MAX when not kept */
	uint64_t disk_bytes;
};

/* What an image takes. Bytes, whole clusters. */
struct block_usage {
	uint64_t len;  /* of the disk */
	uint64_t host; /* of host storage behind its file now */
	uint64_t used; /* in the image: clusters that are referred to */
	uint64_t most; /* that it could come to take */
	uint64_t held_by_snapshots; /* that stay when all of the disk is written anew */
	uint64_t freed; /* by deleting the snapshots that were asked about */
	struct { struct block_snapshot snapshot; uint64_t alone; } *snapshots;
	size_t nsnapshots;
};

struct block_bitmap_info {
	char name[1024];
	uint32_t granularity;
	bool in_use, enabled;
};

#define BLOCK_INFO_MAX_NOTES 24
/* What block_info() tells beyond the node's own fields. Free with block_info_fini(). */
struct block_info {
	uint64_t cluster_bytes; /* 0: the format has none */
	bool encrypted, compressed, dirty, corrupt;
	bool has_backing;
	char backing_path[1024];   /* as written in the image */
	char backing_format[32];   /* "" if the image does not say */
	char encryption[64];
	struct { char key[40]; char val[160]; bool is_number; } notes[BLOCK_INFO_MAX_NOTES];
	unsigned nnotes;
	struct block_snapshot *snapshots;
	size_t nsnapshots;
	struct block_bitmap_info *bitmaps;
	size_t nbitmaps;
};
void block_info_note(struct block_info *i, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void block_info_note_num(struct block_info *i, const char *key, uint64_t v);
void block_info_fini(struct block_info *i);

/* Result of a consistency check. @report is called for each finding, may be NULL. */
struct block_check {
	uint64_t errors, leaks;             /* found */
	uint64_t errors_fixed, leaks_fixed; /* of those, mended */
	uint64_t check_errors;              /* could not be looked at (I/O errors) */
	uint64_t hints;                     /* harmless; mended by a repair */
	uint64_t total_clusters, allocated_clusters, compressed_clusters, fragmented_clusters;
	uint64_t image_end;
	void (*report)(void *opaque, const char *line);
	void *opaque;
};
#define BLOCK_FIX_LEAKS 1
#define BLOCK_FIX_ERRORS 2

/* Told now and then by long operations. Returns false to stop the operation,
 * which then ends with -ECANCELED. Any thread, never two at once. */
struct block_progress {
	bool (*step)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
};

/* What a create operation is given. Options are text, "key=value", as a person
 * wrote them; the format knows their meaning (its desc->create_opts). */
struct block_create {
	const char *path;
	uint64_t len; /* of the disk the guest will see */
	const char *const *opts;
	size_t nopts;
	const char *backing_path, *backing_format; /* NULL: none. The path as the image shall hold it. */
	bool overwrite; /* the target may exist */
	const struct block_secret *secret;
	const struct block_host *host;
	const struct block_progress *progress;
	struct block_made *made; /* gets the files that were made; NULL is fine */
};

/* Files that a create operation made. Zero-initialise. */
struct block_made {
	char **paths;
	size_t n;
};
void block_made_remove(struct block_made *m, const struct block_host *host); /* from the host */
void block_made_fini(struct block_made *m); /* the list */

struct block_create_opt {
	const char *name;
	const char *values; /* "on|off", "N", "FILE", ... for people */
	const char *help;
};

/* A format. Each format file ends in one. All members but name, title, open and
 * preadv may be NULL; what is missing is refused by node.c with a plain reason. */
struct block_format_desc {
	const char *name;     /* as in --format NAME */
	const char *title;    /* one line for people */
	const char *suffixes; /* usual file name endings, separated by spaces */
	const struct block_create_opt *create_opts; /* ends with a NULL name */
	bool protocol;        /* a protocol node: writes past the end extend it */
	bool backing_ok;      /* images may have a backing file */
	bool filter;          /* shows the node in ->file, for someone who watches it */

	/* How sure the first @len bytes make us, 0..100. Bounded, no I/O. */
	int (*probe)(const uint8_t *buf, size_t len, const char *path);
	/* node->file is open. Sets node->len and what else the node says of itself. */
	int (*open)(struct block_node *n, const struct block_open_opts *o, struct err *err);
	/* Writes out what is not yet written; 0 or the first error. Frees all the same. */
	int (*close)(struct block_node *n);
	int (*create)(const struct block_create *c, struct err *err);

	int (*preadv)(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff);
	/* The same without waiting for storage: -EAGAIN where it would, or cannot tell. */
	int (*preadv_nowait)(struct block_node *n, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff);
	int (*pwritev)(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff);
	/* Where bytes are that could be moved without this node (place.h). */
	int (*place)(struct block_node *n, uint64_t off, size_t len, bool write,
		     struct block_place *p);
	/* One whole cluster (or the image's last, shorter one), stored compressed. -ENOTSUP
	 * where the image cannot. */
	int (*pwrite_compressed)(struct block_node *n, uint64_t off, const void *buf, size_t len);
	int (*zero)(struct block_node *n, uint64_t off, uint64_t len, bool unmap);
	int (*discard)(struct block_node *n, uint64_t off, uint64_t len);
	int (*flush)(struct block_node *n);
	int (*status)(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e);
	int (*resize)(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err);

	int (*info)(struct block_node *n, struct block_info *i, struct err *err);
	int (*check)(struct block_node *n, unsigned fix, struct block_check *c, struct err *err);
	int (*set_backing)(struct block_node *n, const char *path, const char *format,
			   struct err *err); /* the name only; path NULL: none */
	int (*snap_list)(struct block_node *n, struct block_snapshot **list, size_t *count,
			 struct err *err);
	/* vm_state: bytes saved at block_vmstate_off(); all fields but id, name chosen by caller */
	int (*snap_create)(struct block_node *n, const struct block_snapshot *s, struct err *err);
	int (*snap_apply)(struct block_node *n, const char *id_or_name, struct err *err);
	int (*snap_delete)(struct block_node *n, const char *id_or_name, struct err *err);
	/* The node, open read-only, shows a snapshot instead of the present from now on. */
	int (*snap_view)(struct block_node *n, const char *id_or_name, struct err *err);
	/* Nothing is allocated any more: all of the backing image shows again. */
	int (*make_empty)(struct block_node *n, struct err *err);
	/* Dirty bitmaps kept in the image; with no other request under way. -ENOENT. */
	int (*bitmap_add)(struct block_node *n, const char *name, uint32_t granularity,
			  struct err *err);
	int (*bitmap_remove)(struct block_node *n, const char *name, struct err *err);
	/* Adds to @out (may be NULL) what is marked. -EUCLEAN: it was not closed. */
	int (*bitmap_read)(struct block_node *n, const char *name, struct dirty *out);
	/* Nothing is marked but what @with (may be NULL) has. */
	int (*bitmap_write)(struct block_node *n, const char *name, struct dirty *with);
	/* Fills ->used, ->held_by_snapshots, ->freed (by deleting @names together) and the
	 * snapshots, malloc'd. -ENOENT: a name is no snapshot's. */
	int (*usage)(struct block_node *n, const char *const *names, size_t nnames,
		     struct block_usage *u);
	int (*vmstate_io)(struct block_node *n, uint64_t off, void *buf, size_t len, bool write);
};

struct block_node {
	const struct block_format_desc *desc;
	char *path;                /* as opened, for messages */
	struct block_node *file;   /* protocol below a format, owned; NULL for a protocol */
	struct block_node *backing; /* owned; NULL: none, reads give zeroes */
	uint64_t len;              /* bytes the guest sees; changes only by block_resize() */
	bool writable;
	bool dying;                /* damage was found: every further write fails */
	enum block_cache cache;
	unsigned open_flags;
	uint32_t io_align;         /* preferred alignment, a power of two: cluster or host block */
	uint32_t max_discard;      /* 0: no limit */
	char *backing_path;        /* as written in the image, NULL: none */
	char *backing_format;      /* NULL: not said */
	const struct block_host *host;
	void *priv;                /* the format's */
};

/* ---- opening ---- */

/* Opens @path and, unless told otherwise, its backing chain (read-only). The
 * error names the file, the reason and what to do. *out is NULL on failure. */
int must_check block_open(const char *path, const struct block_open_opts *o,
			  struct block_node **out, struct err *err);
/* Flushes, writes cached tables, closes the node and all below it. The node is
 * gone whatever is returned. NULL is fine. */
int block_close(struct block_node *n);

/* The format of an image, told from its first bytes. A file that no format
 * recognises is raw; since a guest may write any header into a raw disk, callers
 * that hand the image to a guest for writing must not use a probed "raw" (see
 * block_probe_guest_ok()). */
const struct block_format_desc *block_probe(const uint8_t *buf, size_t len, const char *path);
const struct block_format_desc *block_format(const char *name); /* NULL: unknown */
/* Calls @fn for every format in formats.def's order. */
void block_format_each(void (*fn)(const struct block_format_desc *d, void *opaque), void *opaque);

/* ---- I/O; any thread ---- */

/* @len bytes at @off; memory from byte @voff of @v. Protocol nodes read zeroes past
 * their end and are extended by writes; elsewhere beyond the end is -EINVAL. */
int must_check block_preadv(struct block_node *n, uint64_t off, size_t len,
			    const struct block_vec *v, size_t voff);
/* -EAGAIN: it might have to wait (memory may hold a part of the answer then). */
int must_check block_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
				   const struct block_vec *v, size_t voff);
int must_check block_pwritev(struct block_node *n, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff);
int must_check block_pread(struct block_node *n, uint64_t off, void *buf, size_t len);
int must_check block_pwrite(struct block_node *n, uint64_t off, const void *buf, size_t len);
int must_check block_pwrite_compressed(struct block_node *n, uint64_t off, const void *buf,
				       size_t len);
/* Makes the range read as zeroes. @unmap: storage may be given back. */
int must_check block_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap);
/* The range's contents are no longer needed: what then reads is the old bytes or
 * zeroes, never anything else. A hint; unaligned ends are left alone. */
int must_check block_discard(struct block_node *n, uint64_t off, uint64_t len);
int must_check block_flush(struct block_node *n);
/* What stands at @off; e->len is 1..@len. Of this node alone. */
int must_check block_status(struct block_node *n, uint64_t off, uint64_t len,
			    struct block_extent *e);
/* The same looking through the chain down to, not including, @base (NULL: all):
 * e->depth says whose answer it is. No ALLOCATED flag: no node of them has it. */
int must_check block_status_chain(struct block_node *n, struct block_node *base, uint64_t off,
				  uint64_t len, struct block_extent *e);
/* Only with no other request under way. */
int must_check block_resize(struct block_node *n, uint64_t len, enum block_prealloc p,
			    struct err *err);
/* Bytes of host storage behind the node's own files. */
int must_check block_host_bytes(struct block_node *n, uint64_t *bytes);
int block_info(struct block_node *n, struct block_info *i, struct err *err);

/* Creates an image. Never touches an existing target unless c->overwrite. On
 * failure nothing half-made is left, and c->made is as it was. */
int must_check block_create(const struct block_format_desc *d, const struct block_create *c,
			    struct err *err);

/* ---- for formats ---- */

/* Would a read, or a write that is not followed by a flush, be let through? */
bool block_may_place(const struct block_node *n, uint64_t off, size_t len, bool write);
/* Reads from the backing image, zeroes where it ends or there is none. */
int must_check block_read_backing(struct block_node *n, uint64_t off, size_t len,
				  const struct block_vec *v, size_t voff);
/* The same without waiting: -EAGAIN, as block_preadv_nowait(). */
int must_check block_read_backing_nowait(struct block_node *n, uint64_t off, size_t len,
					 const struct block_vec *v, size_t voff);
/* Opens another file as a protocol node, beside @n (same flags and host). */
int must_check block_open_proto(const char *path, unsigned flags, enum block_cache cache,
				const struct block_host *host, struct block_node **out,
				struct err *err);
/* Creates an empty file of @len bytes, or empties one that c->overwrite lets us have. It
 * is removed again when the create operation fails. */
int must_check block_create_proto(const struct block_create *c, const char *path, uint64_t len,
				  struct err *err);
/* May this image name further files (backing, data)? Not one whose own format was only
 * guessed on the way down a chain: a guest that owns it as a raw disk could have written
 * that name. -EPERM with what to do. */
int must_check block_may_name_files(const struct block_node *n, const struct block_open_opts *o,
				    struct err *err);
/* A path written inside the image at @base: absolute, or beside it. malloc'd. */
char *block_path_beside(const char *base, const char *path);
/* Do both paths lead to one file? */
bool block_same_file(const char *a, const char *b);
/* Damage was found in the image's tables: no write is accepted any more. */
void block_node_poison(struct block_node *n);
/* A create option's value, NULL if not given. */
const char *block_opt(const struct block_create *c, const char *name);
/* on/off; sets *out only if given. -EINVAL with a message otherwise. */
int must_check block_opt_bool(const struct block_create *c, const char *name, bool *out,
			      struct err *err);
int must_check block_opt_size(const struct block_create *c, const char *name, uint64_t *out,
			      struct err *err);
int must_check block_opt_prealloc(const struct block_create *c, enum block_prealloc *out,
				  struct err *err);
/* Refuses options that desc->create_opts does not list. */
int must_check block_opts_known(const struct block_format_desc *d, const struct block_create *c,
				struct err *err);
/* "10G", "512k", "1.5T", plain bytes; powers of 1024. */
int must_check block_parse_size(const char *text, uint64_t *out, struct err *err);

/* ---- vectors ---- */

size_t block_vec_len(const struct block_vec *v);
void block_vec_read(const struct block_vec *v, size_t voff, void *buf, size_t len);
void block_vec_write(const struct block_vec *v, size_t voff, const void *buf, size_t len);
void block_vec_zero(const struct block_vec *v, size_t voff, size_t len);
/* Up to @max pieces that cover bytes from @voff on; *got is how many bytes, at most @len. */
unsigned block_vec_slice(const struct block_vec *v, size_t voff, size_t len, struct iovec *out,
			 unsigned max, size_t *got);
bool block_is_zero(const void *buf, size_t len);

/* The protocol of plain host files and block devices (file.c). */
extern const struct block_format_desc block_file;
/* Locks an open file anew, for reading or for writing by its node's ->writable. */
int must_check block_file_lock(struct block_node *n, struct err *err);
/* The host file descriptor behind a node, -1 if there is none. Not owned. */
int block_file_fd(const struct block_node *n);

#endif

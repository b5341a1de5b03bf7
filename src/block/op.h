/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What people and programs do with whole images: create, convert, resize, check,
 * compare, map, snapshot, rebase, commit. Each is one call that opens what it
 * needs, says in one sentence what went wrong, and leaves nothing half-made.
 */
#ifndef BOTHY_BLOCK_OP_H
#define BOTHY_BLOCK_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "src/block/block.h"

struct op_env { /* how images are opened, and who is told how far it is */
	enum block_cache cache;
	bool share; /* do not lock: look at images in use */
	const struct block_secret *secret;
	const struct block_host *host;
	const struct block_progress *progress;
	unsigned threads; /* 0: as many as the host has processors */
};

/* ---- create ---- */
struct op_create {
	const char *path, *format;
	uint64_t len;   /* bytes; 0 with has_len false: the backing image's size */
	bool has_len, round_up; /* round_up: to whole sectors instead of refusing */
	const char *const *opts;
	size_t nopts;
	const char *backing_path, *backing_format; /* path relative to @path's folder */
	bool backing_unchecked; /* it need not exist; needs a size */
	bool overwrite;
	bool unsynced; /* the caller syncs the files when they are filled */
	struct block_made *made; /* gets the files that were made; NULL is fine */
};
/* *out_len: the size it got. May be NULL. */
int must_check op_create(const struct op_env *env, const struct op_create *c, uint64_t *out_len,
			 struct err *err);

/* ---- convert ---- */
struct op_convert {
	const char *src, *src_format;
	const char *snapshot; /* of the source; NULL: its present */
	const char *dst, *dst_format;
	const char *const *opts; /* of the new image */
	size_t nopts;
	const char *backing_path, *backing_format; /* of the new image: what it shows is left out */
	bool compress;
	bool overwrite;
	bool into_existing; /* the target image exists and keeps its options and size */
	bool resumable;     /* keep a half-made target and go on from it next time */
	uint64_t sparse_bytes; /* runs of zeroes from this length on are not written; 0: write all */
	uint64_t max_bytes_per_s;
};
int must_check op_convert(const struct op_env *env, const struct op_convert *c, struct err *err);

/* ---- resize ---- */
struct op_resize {
	const char *path, *format;
	uint64_t len;
	int relative; /* +1, -1: len is a difference */
	bool shrink;  /* giving up what lies beyond is meant */
	enum block_prealloc prealloc;
};
int must_check op_resize(const struct op_env *env, const struct op_resize *r, uint64_t *out_len,
			 struct err *err);

/* ---- check ---- */
/* @c's report may be set. -ENOTSUP: the format has no check. */
int must_check op_check(const struct op_env *env, const char *path, const char *format,
			unsigned fix, struct block_check *c, struct err *err);

/* ---- compare ---- */
struct op_difference {
	bool differ;
	uint64_t at;          /* first byte that differs */
	uint64_t len_a, len_b;
	bool sizes_differ;    /* and what one has more is zeroes, unless differ */
};
int must_check op_compare(const struct op_env *env, const char *a, const char *a_format,
			  const char *b, const char *b_format, bool strict,
			  struct op_difference *out, struct err *err);

/* ---- map ---- */
/* Calls @fn for each stretch of the disk that is alike. */
int must_check op_map(const struct op_env *env, const char *path, const char *format,
		      int (*fn)(void *opaque, uint64_t off, const struct block_extent *e,
				const struct block_node *top), void *opaque, struct err *err);

/* ---- snapshots ---- */
/* CREATE refuses a name that is there already, ADD (qemu-img's way) does not. */
enum op_snap { OP_SNAP_CREATE, OP_SNAP_ADD, OP_SNAP_APPLY, OP_SNAP_DELETE };
int must_check op_snapshot(const struct op_env *env, const char *path, const char *format,
			   enum op_snap what, const char *name, struct err *err);

/* ---- chains ---- */
struct op_rebase {
	const char *path, *format;
	const char *backing_path, *backing_format; /* NULL: no backing any more */
	bool unsafe; /* only write the name: the new backing holds the same */
};
int must_check op_rebase(const struct op_env *env, const struct op_rebase *r, struct err *err);

struct op_commit {
	const char *path, *format;
	const char *base; /* of the chain; NULL: the immediate backing file */
	bool keep;        /* leave the committed images' contents as they are */
};
int must_check op_commit(const struct op_env *env, const struct op_commit *c, struct err *err);

/* ---- measure ---- */
/* Bytes a new image of @format needs for @src's contents, and if all were written. */
int must_check op_measure(const struct op_env *env, const char *src, const char *src_format,
			  uint64_t len, const char *format, uint64_t cluster_bytes,
			  uint64_t *required, uint64_t *fully, struct err *err);

/* ---- usage ---- */
/* What the image takes; of deleting the snapshots @names together, what it would free.
 * op_usage_fini() after success. */
int must_check op_usage(const struct op_env *env, const char *path, const char *format,
			const char *const *names, size_t nnames, struct block_usage *u,
			struct err *err);
void op_usage_fini(struct block_usage *u);

/* ---- for the operations themselves (op_util.c) ---- */
struct block_open_opts op_open_opts(const struct op_env *env, const char *format, unsigned flags);
unsigned op_threads(const struct op_env *env);
/* Is there room for @bytes more in the folder of @path? -ENOSPC and what is missing (op_room.c). */
int must_check op_room(const struct op_env *env, const char *path, uint64_t bytes, struct err *err);

/* Work over [from, total) in pieces of @step bytes on several threads; the pieces
 * start in order. The first error ends it. Progress and cancelling go through
 * env->progress. */
struct op_work {
	uint64_t from, total, step;
	int (*piece)(void *opaque, uint64_t off, uint64_t len);
	/* Every few seconds, if not NULL: all below @low is done. One call at a time. */
	void (*checkpoint)(void *opaque, uint64_t low);
	void *opaque;
	uint64_t low; /* out: all below it is done, also after an error */
};
int must_check op_parallel(const struct op_env *env, struct op_work *w);

#endif

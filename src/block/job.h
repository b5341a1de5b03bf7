/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long work on a disk that is in use: commit, stream, mirror, backup; and what is
 * done at once: external snapshots, resizing, dirty bitmaps. A disk is a struct blk
 * whose owner goes on submitting requests all the while.
 *
 * Every call here is made on the thread that owns the disks (the one their
 * completions come on), and events come on it. A job does its work on a thread of
 * its own; the graph of images changes only on the owner's, with no request under
 * way. A disk has one job at a time.
 *
 * Whatever point a crash comes at, the image that was the disk's top before still
 * is a whole disk with all that was flushed, until the event that says that the job
 * is complete; from then on the new top is. Begun again, commit and stream go on
 * (what is done already is not done twice); mirror and full backup have ->resume.
 */
#ifndef BOTHY_BLOCK_JOB_H
#define BOTHY_BLOCK_JOB_H

#include "src/block/blk.h"

struct jobs;

enum job_type { JOB_COMMIT, JOB_STREAM, JOB_MIRROR, JOB_BACKUP };
enum job_event {
	JOB_READY,     /* mirror, commit of the top: job_complete() will switch */
	JOB_COMPLETED, /* with ->error: it failed, all is as it was */
	JOB_CANCELLED,
	JOB_ERROR,     /* an error it goes on after, or waits at (->io_error) */
};
enum job_on_error { JOB_REPORT, JOB_IGNORE, JOB_STOP, JOB_ENOSPC };
enum job_sync { JOB_FULL, JOB_TOP, JOB_NONE, JOB_INCREMENTAL };

struct job_info {
	enum job_type type;
	const char *id;
	struct blk *blk;
	uint64_t done, total; /* bytes; they only say how far it is */
	uint64_t speed;
	bool paused, ready, busy, io_error, io_nospace;
	int error;            /* JOB_COMPLETED: 0 or -errno */
	const char *text;     /* ... and why, for people */
};

struct jobs_config {
	/* As in struct blk_config; NULL: blk_post_loop. */
	void (*post)(void *opaque, void (*fn)(void *arg), void *arg);
	void *post_opaque;
	void (*event)(void *opaque, const struct job_info *i, enum job_event e); /* may be NULL */
	/* The disk's top image is another one from now on. May be NULL. */
	void (*switched)(void *opaque, struct blk *b, const char *path);
	void *opaque;
};

struct jobs *jobs_new(const struct jobs_config *c, struct err *err);
/* Cancels what runs and waits. Before the disks go. */
void jobs_free(struct jobs *js);
/* Before @b is freed or its medium changed: its job is cancelled, its bitmaps go. */
void jobs_forget(struct jobs *js, struct blk *b);
bool jobs_busy(struct jobs *js, struct blk *b);

struct job_common {
	const char *id;  /* unique; NULL is not */
	struct blk *blk;
	uint64_t speed;  /* bytes a second, 0: no limit */
	enum job_on_error on_error;
	/* How further images are opened: secret, host, cache. */
	struct block_open_opts open;
};

/* Copies what the images above @base hold down into it; @top (NULL: the disk's top) and
 * all between are left out of the chain then. A commit of the disk's top gets ready, and
 * goes on in @base once job_complete() is called. Paths as in the chain; @base NULL: the
 * last. */
int must_check job_commit(struct jobs *js, const struct job_common *c, const char *top,
			  const char *base, struct err *err);
/* Copies what the disk's top image shows of those below, down to, not including, @base
 * (NULL: all of them) into it; they are left out of its chain then. */
int must_check job_stream(struct jobs *js, const struct job_common *c, const char *base,
			  struct err *err);

struct job_target {
	const char *path, *format; /* format NULL: the source's */
	bool existing;             /* it is there already, at least as long */
	bool resume;               /* existing: read it, and write only what differs */
	enum job_sync sync;
	const char *bitmap;        /* JOB_INCREMENTAL */
	uint32_t granularity;      /* 0: chosen; else a power of two, 4 KiB to 64 MiB */
	bool at_once;              /* mirror: guest writes go to both places from the start */
	const char *const *opts;   /* of the new image */
	size_t nopts;
};
/* Keeps a copy of the disk up to date until job_complete(): the disk goes on in it; or
 * job_cancel() once it is ready: it stays as a copy of that moment. */
int must_check job_mirror(struct jobs *js, const struct job_common *c, const struct job_target *t,
			  struct err *err);
/* A copy of the disk as it is at this call. JOB_NONE: only what gets overwritten, until it
 * is cancelled. */
int must_check job_backup(struct jobs *js, const struct job_common *c, const struct job_target *t,
			  struct err *err);

/* -ENOENT: there is no such job. */
int must_check job_cancel(struct jobs *js, const char *id, bool force, struct err *err);
int must_check job_pause(struct jobs *js, const char *id, struct err *err);
int must_check job_resume(struct jobs *js, const char *id, struct err *err);
int must_check job_set_speed(struct jobs *js, const char *id, uint64_t speed, struct err *err);
/* -EBUSY: it is not ready yet. */
int must_check job_complete(struct jobs *js, const char *id, struct err *err);
void jobs_each(struct jobs *js, void (*fn)(void *opaque, const struct job_info *i), void *opaque);

/* ---- done at once ---- */

/* A new image over the disk's present top, which is not written any more; the disk goes on
 * in the new one. @existing: it is there already, an overlay of the top. */
int must_check blk_snapshot(struct jobs *js, struct blk *b, const struct block_open_opts *open,
			     const char *path, const char *format, bool existing, struct err *err);
/* Another length. Growing; shrinking only with @shrink. The device is told. */
int must_check blk_resize(struct jobs *js, struct blk *b, uint64_t len, bool shrink,
			   struct err *err);

/* ---- dirty bitmaps ---- */

struct blk_bitmap {
	const char *name;
	uint32_t granularity;
	bool persistent, recording, busy, inconsistent;
	uint64_t dirty_bytes; /* of those in memory; 0 for a persistent one that is not read */
};
/* @granularity 0: 64 KiB. Persistent: kept in the qcow2 image. */
int must_check blk_bitmap_add(struct jobs *js, struct blk *b, const char *name,
			       uint32_t granularity, bool persistent, struct err *err);
int must_check blk_bitmap_remove(struct jobs *js, struct blk *b, const char *name,
				  struct err *err);
int must_check blk_bitmap_clear(struct jobs *js, struct blk *b, const char *name, struct err *err);
void blk_bitmaps_each(struct jobs *js, struct blk *b,
		       void (*fn)(void *opaque, const struct blk_bitmap *m), void *opaque);

#endif

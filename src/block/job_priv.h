/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_BLOCK_JOB_PRIV_H
#define BOTHY_BLOCK_JOB_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "src/block/dirty.h"
#include "src/block/job.h"
#include "src/block/op.h"
#include "src/block/op_priv.h"
#include "src/block/tap.h"

struct job;

struct job_ops {
	int (*run)(struct job *j); /* the job's thread */
	/* Owner's thread, nothing under way, the tap still in place. @rc: what run() came to;
	 * returns what becomes of the job. May put another image under the disk. */
	int (*finish)(struct job *j, int rc);
};

struct jobs {
	struct jobs_config c;
	struct job *list;
	struct disk_map *maps;
	unsigned refs; /* ourselves and each job; owner's thread */
};

struct job {
	struct jobs *js;
	struct job *next;
	const struct job_ops *ops;
	enum job_type type;
	char *id;
	struct blk *blk;
	enum job_on_error on_error;
	struct block_open_opts open;
	atomic_uint refs;
	pthread_t thread;
	bool started, finished;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool cancel, force, user_paused, io_paused, io_nospace, io_seen, complete, ready;
	bool tell_ready, tell_error, ended;
	uint64_t speed, done, remaining;
	int64_t next_ns;
	int rc;           /* the outcome */
	int hook_rc;      /* a guest's write found that the copy cannot be made */
	struct err err;

	struct block_node *tap, *source; /* source: the disk's top image */
	struct block_node *target;       /* copies: owned; commit of the top: the base, in the chain */
	struct block_node *base, *top;   /* commit, stream: in the chain */
	struct dirty *todo;
	struct range_set copies; /* backup: parts that are being saved */
	struct op_bufs bufs;
	uint64_t chunk;
	atomic_bool active;      /* mirror: writes go to both */
	bool resume, none, pivot;
	struct block_made made;
	char *bitmap;
	struct dirty *taken;
};

enum { JOB_STEP = 1 << 20, JOB_CHUNK = 64 << 10 };

struct job *job_new(struct jobs *js, enum job_type t, const struct job_ops *ops,
		    const struct job_common *c, struct err *err);
void job_drop(struct job *j);             /* one that was not started */
/* Puts the tap in place (@hook NULL: none needed) and starts the thread. */
int must_check job_start(struct job *j, const struct tap_hook *hook, struct err *err);

/* ---- from run() ---- */
/* Between steps: waits while paused and for the speed limit, as @bytes more are done.
 * -ECANCELED: it shall end. */
int must_check job_point(struct job *j, uint64_t bytes);
/* A step failed with @rc: 0 to try again (after waiting, where the policy says to stop). */
int must_check job_failed(struct job *j, int rc);
void job_set_ready(struct job *j);
void job_progress(struct job *j, uint64_t more, uint64_t remaining);

/* ---- job_graph.c; owner's thread, nothing under way ---- */
/* The image in *@slot opened anew, for writing or not; what stands below it moves along. */
int must_check graph_reopen(const struct block_open_opts *open, struct block_node **slot,
			    bool writable, struct err *err);
/* The node of @path below or at @n. NULL: none. */
struct block_node *graph_find(struct block_node *n, const char *path);
/* The node whose ->backing is @below. */
struct block_node *graph_above(struct block_node *top, const struct block_node *below);
/* Takes all between @top (exclusive) and @base (exclusive; NULL: all) out and closes it. */
void graph_drop_between(struct block_node *top, struct block_node *base);
/* How an image names @n as its backing file. malloc'd. */
char *graph_name(const struct block_node *n);
int must_check graph_sync_made(const struct block_made *m, const struct block_host *host,
			       struct err *err);

/* ---- job_copy.c ---- */
int must_check copy_range(struct job *j, struct block_node *from, struct block_node *to,
			  uint64_t off, uint64_t len, uint8_t *buf);
/* Marks in j->todo what is to be copied. */
int must_check copy_mark(struct job *j, struct block_node *top, struct block_node *base,
			 enum job_sync sync);
extern const struct job_ops mirror_ops;
extern const struct tap_hook mirror_hook; /* but for its opaque */

/* ---- job_bitmap.c ---- */
int must_check bitmap_take(struct jobs *js, struct blk *b, const char *name, struct dirty *out,
			   struct err *err);
void bitmap_give_back(struct jobs *js, struct blk *b, const char *name, struct dirty *from);
void bitmaps_forget(struct jobs *js, struct blk *b);
void bitmaps_resized(struct jobs *js, struct blk *b);

#endif

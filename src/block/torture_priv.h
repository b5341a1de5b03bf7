/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the work (torture.c) leaves for the cutting (torture_cut.c). */
#ifndef BOTHY_BLOCK_TORTURE_PRIV_H
#define BOTHY_BLOCK_TORTURE_PRIV_H

#include <pthread.h>

#include "src/block/job.h"
#include "src/block/memfile.h"
#include "src/block/torture.h"

#define TORTURE_FILE_MAX (256u << 20)
enum { TORTURE_SNAPS = 4, TORTURE_FILES = 64 };

/* One thing the guest did, and when: events of the log before and after it. */
struct op {
	size_t begin, end; /* log length when it started and when it had returned */
	bool flush;        /* all that ended before @begin is safe from @end on */
	uint64_t off, len;
	uint8_t *data;     /* what the range reads as afterwards; NULL for a flush */
	bool snap_made, snap_gone;
	char snap[16];
	uint64_t disk_len; /* of the disk, afterwards */
	char *top;         /* the disk went on in this image */
};

struct posted {
	void (*fn)(void *arg);
	void *arg;
	struct posted *next;
};

struct run {
	const struct torture *t;
	struct block_secret secret; /* of formats that encrypt: always the same */
	struct torture_result *r;
	struct mem_host host;
	struct block_node *n;
	uint64_t rng, max_len;
	uint8_t *model; /* what the disk reads as now */
	struct op *ops;
	size_t nops, ops_cap;
	struct { char name[16]; uint8_t *data; uint64_t len; } snaps[TORTURE_SNAPS];
	unsigned nsnaps, next_snap;
	uint8_t *base;  /* contents at creation */
	uint64_t base_len;
	/* With jobs: the node stands in a disk, and this thread is its owner. */
	struct block_pool *pool;
	struct blk *blk;
	struct jobs *jobs;
	pthread_mutex_t post_lock;
	struct posted *posted, **posted_tail;
	unsigned next_image;
	bool job_ready;
	int job_rc;
};

uint64_t torture_rnd(struct run *u);
/* All the cuts through the log; @start, the files before it, becomes the call's. */
int must_check torture_cut(struct run *u, const struct mem_data *start);

#endif

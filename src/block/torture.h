/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Torture: does an image survive a cut at any point?
 *
 * Random guest work (writes, zeroes, discards, flushes, snapshots, resizes) runs
 * on an image in memory while every write and flush below is logged. Then the log
 * is cut: at each place, with what was not yet flushed there in full, not at all,
 * torn, or in random part. Each such state is opened, checked, and read: there must be
 * no damage, and every sector must hold what it held at the last flush or
 * something written since.
 */
#ifndef BOTHY_BLOCK_TORTURE_H
#define BOTHY_BLOCK_TORTURE_H

#include "src/block/block.h"

struct torture {
	const char *format;
	const char *const *opts;
	size_t nopts;
	uint64_t disk_bytes; /* 0: 3 MiB */
	uint64_t seed;
	unsigned steps;      /* of guest work */
	uint64_t max_cuts;   /* spread over the whole log; 0: every event, four ways */
	bool backing;        /* over a backing image that is full of data */
	bool snapshots, resize;
	bool jobs;           /* external snapshots, streams, commits, mirrors beside the work */
	bool plant;          /* forget the barriers inside: the tool must notice */
	const struct block_progress *progress;
};

struct torture_result {
	uint64_t cuts, events, flushes;
	uint64_t bad;          /* states that were not sound */
	uint64_t leaks;        /* clusters, over all states */
	uint64_t worst_cut;    /* the first bad one's event */
	char reason[512];      /* ... and what was wrong with it */
};

/* 0: it ran, see @r. */
int must_check torture_run(const struct torture *t, struct torture_result *r, struct err *err);

#endif

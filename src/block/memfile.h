/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files in memory as protocol nodes, which can keep a log of what reached them:
 * every write, and every flush. From the log the torture tool makes each state
 * that a host's storage could be in after a cut.
 */
#ifndef BOTHY_BLOCK_MEMFILE_H
#define BOTHY_BLOCK_MEMFILE_H

#include <pthread.h>

#include "src/block/block.h"

struct mem_data { /* one file's contents */
	uint8_t *bytes;
	uint64_t len, cap;
};

enum mem_event_kind { MEM_WRITE, MEM_ZERO, MEM_LENGTH, MEM_FLUSH };

struct mem_event {
	enum mem_event_kind kind;
	unsigned file;     /* index into mem_host.files */
	uint64_t off, len; /* MEM_LENGTH: off is the new length */
	uint8_t *data;     /* MEM_WRITE */
};

struct mem_file {
	char *name;
	struct mem_data now;
};

struct mem_host {
	struct block_host host; /* give &h->host to block_open() and friends */
	pthread_mutex_t lock;
	struct mem_file *files[64];
	unsigned nfiles;
	bool logging;
	bool drop_flushes;  /* log no flush: as if the format forgot its barriers */
	uint64_t max_bytes; /* of one file; longer is -ENOSPC */
	uint64_t room;      /* bytes that may be written before the host is full; any thread */
	struct mem_event *log;
	size_t nlog, log_cap;
	bool failed; /* out of memory for the log */
};

void mem_host_init(struct mem_host *h, uint64_t max_bytes);
void mem_host_fini(struct mem_host *h);
/* From now on so many bytes can be written; then writes stop short, with -ENOSPC. */
void mem_host_room(struct mem_host *h, uint64_t bytes);
/* Adds a FLUSH of every file to the log. */
void mem_host_log_flush(struct mem_host *h);
/* Puts an event's effect into @d. 0 or -ENOMEM. */
int must_check mem_apply(struct mem_data *d, const struct mem_event *e);
int must_check mem_data_copy(struct mem_data *to, const struct mem_data *from);
/* A new file with these contents; takes @d over. */
int must_check mem_host_add(struct mem_host *h, const char *name, struct mem_data *d);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the disk commands show: for people and as JSON. Both `bothy disk` and the
 * qemu-img front print through here. */
#ifndef BOTHY_CMD_DISK_OUT_H
#define BOTHY_CMD_DISK_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "src/block/op.h"

struct json_object;

/* "1.26 MiB"; returns @buf. */
const char *out_size(uint64_t bytes, char *buf, size_t cap);

/* One image's information, as QMP's ImageInfo names it. NULL with *rc on failure. */
struct json_object *out_info_json(struct block_node *n, struct err *err, int *rc);
int out_info_text(struct block_node *n, struct err *err);
/* Opens @path and prints its information; with @chain that of its backing files too. */
int out_info(const struct op_env *env, const char *path, const char *format, bool chain, bool json,
	     struct err *err);

int out_map(const struct op_env *env, const char *path, const char *format, bool json,
	    struct err *err);
void out_check(const struct block_check *c, const char *path, const char *format, bool fixed,
	       bool json);
void out_snapshots(const struct block_snapshot *list, size_t n);
int out_snapshot_list(const struct op_env *env, const char *path, const char *format, bool json,
		      struct err *err);
/* Prints and frees. */
void out_json(struct json_object *o);

/* Progress on standard error, for a terminal. Ends the operation when SIGINT came. */
struct out_progress {
	struct block_progress step;
	bool show, shown;
	int last_percent10;
	FILE *to;
};
void out_progress_init(struct out_progress *p, bool show, FILE *to);
void out_progress_end(struct out_progress *p);

#endif

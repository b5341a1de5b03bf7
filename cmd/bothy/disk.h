/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy disk: images of disks, without any VM. */
#ifndef BOTHY_CMD_BOTHY_DISK_H
#define BOTHY_CMD_BOTHY_DISK_H

#include "cmd/disk/out.h"
#include "src/base/opts.h"
#include "src/block/op.h"

int cmd_disk(int argc, char **argv);

/* Help of "bothy disk" or of one of its commands; the exit code. */
int disk_help(const char *command);

enum { DISK_MAX_OPERANDS = 3, DISK_MAX_OPTS = 32 };

struct disk_args { /* one command's words */
	const struct cmd_desc *cmd;
	struct opt_value v[32];
	const char *operand[DISK_MAX_OPERANDS];
	size_t noperands;
	struct op_env env;
	struct block_secret secret;
	struct out_progress progress;
	char *opt_text; /* storage of the option list */
	const char *opts[DISK_MAX_OPTS];
	size_t nopts;
};

/* Splits "a=b,c=d" ("," itself: ",,") into a->opts. */
int must_check disk_split_options(struct disk_args *a, const char *list, struct err *err);
/* "key=value" built from an option of its own. */
int must_check disk_add_option(struct disk_args *a, const char *key, const char *value,
			       struct err *err);
/* The format a file's ending tells; "qcow2" otherwise. */
const char *disk_format_of(const char *path);
/* Tells a person when the ending says another format than the image has. */
void disk_note_ending(const char *path, const char *format);
void disk_use_key(struct disk_args *a, const char *file);

int disk_create(struct disk_args *a, struct err *err);
int disk_convert(struct disk_args *a, struct err *err);
int disk_resize(struct disk_args *a, struct err *err);
int disk_snapshot(struct disk_args *a, struct err *err);
int disk_rebase(struct disk_args *a, struct err *err);
int disk_commit(struct disk_args *a, struct err *err);
int disk_export(struct disk_args *a, struct err *err);
int disk_info(struct disk_args *a, struct err *err);
int disk_check(struct disk_args *a, struct err *err);
int disk_compare(struct disk_args *a, struct err *err);
int disk_map(struct disk_args *a, struct err *err);
int disk_measure(struct disk_args *a, struct err *err);
int disk_formats(struct disk_args *a, struct err *err);
int disk_bench(struct disk_args *a, struct err *err);
int disk_usage(struct disk_args *a, struct err *err);
int disk_torture(struct disk_args *a, struct err *err);

/* Handlers return an exit code, or this after setting err: wrong use. */
#define DISK_WRONG_USE 2
#define DISK_FAILED 1

#endif

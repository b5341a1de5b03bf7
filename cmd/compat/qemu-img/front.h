/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CMD_COMPAT_QEMU_IMG_FRONT_H
#define BOTHY_CMD_COMPAT_QEMU_IMG_FRONT_H

#include <getopt.h>
#include <stddef.h>

#include "cmd/disk/out.h"
#include "src/block/op.h"

#define FRONT_MAX_OPTS 64

struct front_opts { /* collected -o lists */
	const char *opts[FRONT_MAX_OPTS];
	size_t n;
	char *copies[FRONT_MAX_OPTS];
	size_t ncopies;
};
int front_opts_add(struct front_opts *o, const char *list);
const char *front_opts_take(struct front_opts *o, const char *name); /* removed from the list */
void front_opts_fini(struct front_opts *o);

#define FRONT_OBJECT 1000
extern const struct option front_objects[];
/* --object secret,id=X,file=F: the one passphrase of this command. */
int front_secret_add(const char *text);
void front_secret_init(struct op_env *env);

int front_fail(const struct err *err); /* prints; 1 */
int front_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int front_cache(const char *name, enum block_cache *out);

int front_check(int argc, char **argv);
int front_commit(int argc, char **argv);
int front_compare(int argc, char **argv);
int front_convert(int argc, char **argv);
int front_create(int argc, char **argv);
int front_info(int argc, char **argv);
int front_map(int argc, char **argv);
int front_measure(int argc, char **argv);
int front_rebase(int argc, char **argv);
int front_resize(int argc, char **argv);
int front_snapshot(int argc, char **argv);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debugging a machine with gdb: a server of GDB's remote protocol, one debugger at a time.
 * docs/debugging.md.
 *
 * Everything here runs on the VM's loop thread with the device lock held.
 */
#ifndef BOTHY_CTL_GDB_H
#define BOTHY_CTL_GDB_H

#include "src/base/err.h"

struct gdb;
struct vm;

/* @where: as listen_at() has it (base/listen.h), perhaps after "tcp:"; ",arch=i386" behind it
 * shows debuggers 32-bit processors, ",arch=x86-64" (the default) 64-bit ones. NULL on
 * failure, *ret -EINVAL where @where is wrong. */
struct gdb *gdb_new(struct vm *vm, const char *where, int *ret, struct err *err);
void gdb_free(struct gdb *g); /* NULL is fine; before the VM */
const char *gdb_where(const struct gdb *g); /* with the port that the kernel chose */

#endif

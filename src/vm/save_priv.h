/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of saving and restoring share. */
#ifndef BOTHY_VM_SAVE_PRIV_H
#define BOTHY_VM_SAVE_PRIV_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

struct mem;
struct save_machine;
struct save_section;
struct save_writer;

/* save_shape.c: what the machine is made of, a line of text for each thing; to be
 * freed. NULL: out of memory. */
char *save_shape(const struct save_machine *m, struct err *err);
/* Compares the shape that a file has with the machine's. -EINVAL lists what differs. */
int must_check save_shape_check(const struct save_machine *m, const char *text, size_t len,
				struct err *err);

/* The processor features that a file's shape names. */
uint64_t save_shape_features(const char *text, size_t len);

/* save_mem.c */
int must_check save_memory(const struct save_machine *m, struct save_writer *w, struct err *err);
/* Every byte of every block becomes zero, and is given back to the host. */
int must_check save_memory_clear(struct mem *m, struct err *err);
int must_check save_memory_load(struct mem *m, const struct save_section *s, struct err *err);

#endif

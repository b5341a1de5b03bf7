/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole machine to a file and back: its shape, its clock, its processors, every
 * part of its board through the part's state table, its memory. Which engine runs
 * the processors plays no part in it.
 *
 * Sections, in this order (see save_file.h): "config", "shape", "clock"; for each
 * processor "vcpu", "x86-cpu", "apic"; the board's parts in the board's order; for
 * each stretch of memory that is not all zero "memory".
 */
#ifndef BOTHY_VM_SAVE_H
#define BOTHY_VM_SAVE_H

#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"

struct board;
struct cpus;
struct mem;
struct save_reader;
struct save_writer;
struct vtime;

/* What is saved; nothing is owned. */
struct save_machine {
	struct mem *mem;
	struct cpus *cpus;
	struct board *board;
	struct vtime *vtime;
	const struct log *log;
	/* The machine's description as it was started with, for whoever restores without
	 * one; NULL: none. */
	const char *config;
	/* Now and then while memory is looked through or written: @done of about @total
	 * bytes. Not 0: give up with that error. May be NULL. */
	int (*breathe)(void *opaque, uint64_t done, uint64_t total);
	void *breathe_opaque;
};

/* Is there room for the file @path? -ENOSPC with what is needed and what is there. Looks
 * through the machine's memory. Overestimates a little. */
int must_check save_check_space(const struct save_machine *m, const char *path, struct err *err);

/* Can every part be written down just now? -EBUSY with the reason. As for save_write(). */
int must_check save_possible(const struct save_machine *m, struct err *err);

/* Writes every section. Every vCPU outside its engine, vtime paused, device lock held. */
int must_check save_write(const struct save_machine *m, struct save_writer *w, struct err *err);

/* Reads every section into a machine whose board and processors were just reset; the
 * same conditions. -EINVAL with the section named; the machine is then unusable but
 * safe to free. The reader stands behind the header. */
int must_check save_read(const struct save_machine *m, struct save_reader *r, struct err *err);

/* The processor features (a bit each, as in struct x86_cpu) of the machine that @path
 * holds; -errno if it cannot be read. */
int must_check save_read_features(const char *path, uint64_t *features, struct err *err);

/* The "config" section of @path, to be freed; NULL on failure, "" where it has none. */
char *save_read_config(const char *path, struct err *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* On which of the host's processors vCPU threads run, and how much they yield. */
#ifndef BOTHY_CPU_PLACEMENT_H
#define BOTHY_CPU_PLACEMENT_H

#include <sched.h>

#include "src/base/err.h"

/*
 * @text: sets of processor numbers and ranges, "0-1,4", one for each vCPU, parted by '/';
 * the last is for all that follow. The set of vCPU @index to *set. -EINVAL: not of this
 * form, or a processor that this process may not use; the reason says which.
 */
int must_check placement_parse(const char *text, unsigned index, cpu_set_t *set,
			       struct err *err);

struct vcpu;
/* Puts the vCPU's thread, which was just made, where cpus->affinity and ->nice say. */
int must_check vcpu_place(struct vcpu *v, struct err *err);
void vcpu_placed(struct vcpu *v); /* that thread's first word */

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CPU_X86_CPU_STATE_H
#define BOTHY_CPU_X86_CPU_STATE_H

#include "src/state/state.h"

/* The architectural state of a struct x86_cpu between two instructions. Features,
 * model and identity are the machine's configuration and must be set before;
 * loading refuses what they do not allow. */
extern const struct state_desc x86_cpu_state;

#endif

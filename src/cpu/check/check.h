/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine `check`: the translator leads, the interpreter follows on a processor
 * and a memory of its own, with the same inputs at the same instructions
 * (x86/tape.h). At the first difference both states and the blocks that ran are
 * told, and the machine ends. One vCPU.
 */
#ifndef BOTHY_CPU_CHECK_CHECK_H
#define BOTHY_CPU_CHECK_CHECK_H

#include "src/cpu/cpu.h"

extern const struct engine_desc check_engine;

#endif

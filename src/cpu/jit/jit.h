/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The translating engine: guest code to host code, one block at a time.
 *
 *   decode   analyse.c   a run of guest instructions, with what each reads,
 *                        writes and may fault on
 *   analyse  analyse.c   which flags are still wanted in front of each
 *   emit     emit*.c     host code; what has no emitter calls the interpreter's
 *                        C function (thunk.c)
 *   link     cache.c     blocks to each other, and apart again
 *
 * Every vCPU has code of its own: nothing that a running vCPU executes is ever
 * patched by another thread. Stores to code of another vCPU's translating reach
 * it as a request (X86_REQ_CODE).
 *
 * Where guest state lives while translated code runs:
 *   GS base            struct x86_cpu
 *   RDX RBX RBP RSI RDI R8 R9 R12 R13 R14   the guest's of the same name
 *   R10, R11, R15      the guest's RAX, RCX, RSP
 *   memory             the guest's R10, R11, R15
 *   RAX, RCX           scratch
 *   RFLAGS             the guest's arithmetic flags, where the emitter says so
 */
#ifndef BOTHY_CPU_JIT_JIT_H
#define BOTHY_CPU_JIT_JIT_H

#include "src/cpu/cpu.h"

extern const struct engine_desc jit_engine;

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector and x87 arithmetic by the host's own CPU.
 *
 * For each distinct encoding that a guest uses there is a little host function
 * ("stub"): it loads the operands into fixed registers, runs the instruction
 * re-encoded for those registers with every memory operand turned into a
 * register, and stores the result. Memory is thus never touched by guest
 * addresses here: the operation has loaded it (and faulted) before.
 *
 * The code lies in one memfd mapped twice, writable and executable, at different
 * addresses. Lookup is lock-free; making a stub takes a lock. Stubs live as long
 * as their struct host_stubs.
 *
 * The host's own state on return is what the C ABI wants: MXCSR 1F80, x87 empty
 * with control word 037F, upper YMM halves zero after VEX code.
 */
#ifndef BOTHY_CPU_X86_HOST_STUB_H
#define BOTHY_CPU_X86_HOST_STUB_H

#include <stdint.h>

#include "src/cpu/x86/insn.h"
#include "src/cpu/x86/x86.h"

struct host_stubs;

/*
 * Makes an empty table with one reference. Also installs the process-wide SIGFPE
 * handler that ends a stub whose instruction raised an unmasked SIMD exception;
 * any other SIGFPE gets the default action. NULL with errno set on failure: out of
 * memory, or the host forbids executable mappings (EACCES, EPERM).
 */
struct host_stubs *host_stubs_new(void);
/* Another reference to share the table between vCPUs; each ends with _free(). */
struct host_stubs *host_stubs_get(struct host_stubs *s);
void host_stubs_free(struct host_stubs *s); /* NULL is fine */

/* General registers and flags that pass through a vector stub. */
struct host_gpr {
	uint64_t a;     /* the G or E operand; RAX of PCMPESTRx */
	uint64_t d;     /* RDX of PCMPESTRx */
	uint64_t c;     /* out: RCX of PCMPxSTRI */
	uint64_t flags; /* out: RFLAGS, where the row writes flags */
};

/*
 * @reg, @rm, @vvvv: the operands of those encoding fields (16 or 32 bytes, 8 for
 * MMX; @rm no more than the row's memory width is read). @extra: XMM0 or the
 * register in imm8[7:4]. @mxcsr is loaded before and stored after where the row
 * is X86_A_FLOAT. Which of them is written the row says. Unused ones are ignored.
 *
 * X86_A_FLOAT rows return 0 if an unmasked exception was raised: then only
 * *@mxcsr has changed. The value of others is meaningless.
 */
typedef uint64_t (*host_vec_fn)(void *reg, void *rm, void *vvvv, void *extra, struct host_gpr *g,
				uint32_t *mxcsr);

/* The stub for @i, whose row is X86_A_HOST and not X86_A_X87. */
host_vec_fn host_stub_vec(struct host_stubs *s, const struct x86_insn *i);

/*
 * Loads the x87 state @in, runs one x87 instruction with @mem as its memory
 * operand and saves to @out (only FCW, FSW, FTW and the registers are meaningful
 * there; the rest of @out's 512 bytes is clobbered). @flags are RFLAGS on entry;
 * returns RFLAGS after it.
 */
typedef uint64_t (*host_x87_fn)(const struct x86_fx *in, struct x86_fx *out, void *mem,
				uint64_t flags);

/* @opcode D8..DF; @modrm's mod field is 3 for a register form, else memory. */
host_x87_fn host_stub_x87(struct host_stubs *s, uint8_t opcode, uint8_t modrm);

/* The same on single registers: no exception unmasked, no operand empty. @fsw is
 * the guest's; *@fcw its control word. Returns FSW with this instruction's flags
 * (and perhaps some that @fsw has), in bits 16-31 RFLAGS where it compares a pair. */
typedef uint32_t (*host_x87s_fn)(void *st0, void *st1, void *mem, uint32_t fsw,
				 const uint16_t *fcw);
host_x87s_fn host_stub_x87_single(struct host_stubs *s, unsigned shape, uint8_t opcode,
				  uint8_t modrm);

/* For tests: stubs made so far. */
unsigned host_stubs_count(struct host_stubs *s);

#endif

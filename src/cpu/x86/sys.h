/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the system half of the CPU shares among its own files: descriptors,
 * stacks that are not (yet) the current one, task switches, model questions.
 */
#ifndef BOTHY_CPU_X86_SYS_H
#define BOTHY_CPU_X86_SYS_H

#include "src/cpu/x86/access.h"
#include "src/cpu/x86/x86.h"

/* System descriptor types (S = 0), SDM vol. 3, table 3-2. */
#define X86_SYS_TSS16 1u
#define X86_SYS_LDT 2u
#define X86_SYS_CALL16 4u
#define X86_SYS_TASK_GATE 5u
#define X86_SYS_INT16 6u
#define X86_SYS_TRAP16 7u
#define X86_SYS_TSS32 9u
#define X86_SYS_CALL32 12u
#define X86_SYS_INT32 14u
#define X86_SYS_TRAP32 15u
#define X86_SYS_BUSY 2u /* in the type of a TSS */

/* Code and data descriptor types. */
#define X86_SEG_CODE 8u
#define X86_SEG_CONFORMING 4u /* code */
#define X86_SEG_EXPAND_DOWN 4u /* data */
#define X86_SEG_RW 2u /* readable code, writable data */
#define X86_SEG_ACCESSED 1u

/* A descriptor table's entry and where it stands. */
struct x86_desc {
	uint64_t raw; /* the first eight bytes */
	uint64_t lin; /* their linear address */
};

static inline unsigned x86_desc_type(const struct x86_desc *d) { return d->raw >> 40 & 0xf; }
static inline unsigned x86_desc_dpl(const struct x86_desc *d) { return d->raw >> 45 & 3; }
static inline bool x86_desc_present(const struct x86_desc *d) { return d->raw >> 47 & 1; }
static inline bool x86_desc_system(const struct x86_desc *d) { return !(d->raw >> 44 & 1); }
static inline bool x86_desc_code(const struct x86_desc *d) { return (d->raw >> 43 & 3) == 3; }
static inline bool x86_desc_conforming(const struct x86_desc *d) { return d->raw >> 42 & 1; }
static inline bool x86_desc_l(const struct x86_desc *d) { return d->raw >> 53 & 1; }
static inline bool x86_desc_db(const struct x86_desc *d) { return d->raw >> 54 & 1; }
/* The fields of a call, interrupt, trap or task gate. */
static inline uint16_t x86_gate_sel(const struct x86_desc *d) { return d->raw >> 16; }
static inline uint32_t x86_gate_offset(const struct x86_desc *d)
{
	return (d->raw & 0xffff) | (d->raw >> 32 & 0xffff0000u);
}

static inline bool x86_sel_null(uint16_t sel) { return !(sel & ~3u); }
static inline uint32_t x86_sel_err(uint16_t sel) { return sel & 0xfffcu; }

/* Reads the descriptor that @sel names; false if its table does not have it.
 * May raise #PF. A null selector is the caller's to refuse. (segment.c) */
bool x86_desc_read(struct x86_cpu *c, uint16_t sel, struct x86_desc *d);
/* The second half of a 16-byte descriptor (long mode), #GP(@sel) if the table
 * ends before or its type field is not zero. */
uint64_t x86_desc_upper(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d);
/* The descriptor as a segment register's hidden part. */
struct x86_seg x86_desc_seg(uint16_t sel, uint64_t raw);
/* Sets the accessed bit in memory if it is clear. */
void x86_desc_accessed(struct x86_cpu *c, struct x86_desc *d);
/* A code segment's descriptor for a transfer without a gate (JMP, CALL) that
 * stays at this CPL; raises #GP or #NP. */
void x86_check_code(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d);
/* #GP(0) unless @rip lies in @cs (canonical for 64-bit code). */
void x86_check_rip(struct x86_cpu *c, const struct x86_seg *cs, uint64_t rip);
/* Makes @cs the code segment at @cpl and @rip the next instruction. */
void x86_set_cs(struct x86_cpu *c, const struct x86_seg *cs, unsigned cpl, uint64_t rip);
/* A stack segment for privilege level @cpl, raising @vec(sel) where it is unfit
 * (#SS(sel) where it is not present). Sets the accessed bit. */
struct x86_seg x86_check_ss(struct x86_cpu *c, uint16_t sel, unsigned cpl, unsigned vec);
/* ES, CS, SS, DS, FS or GS as virtual-8086 mode has it. */
struct x86_seg x86_seg_v86(uint16_t sel);
/* After a return to an outer level: data segments that it may not use. */
void x86_drop_inner_segs(struct x86_cpu *c, unsigned cpl);
/* The flat segments of SYSCALL, SYSENTER and their returns. */
struct x86_seg x86_flat_code(uint16_t sel, unsigned dpl, bool m64);
struct x86_seg x86_flat_stack(uint16_t sel, unsigned dpl);

static inline bool x86_is_code64(const struct x86_cpu *c, const struct x86_seg *cs)
{
	return x86_long(c) && (cs->attr & X86_SEG_L);
}

/*
 * A stack that may not be the current one: a frame is checked and probed before
 * anything is written, and registers change only afterwards.
 */
struct x86_stack {
	struct x86_seg ss;
	uint64_t sp;
	uint64_t mask;  /* 0xffff, 0xffffffff or ~0 */
	unsigned cls;   /* X86_TLB_* of the accesses */
	uint32_t error; /* of the #SS that a limit violation gives */
};

void x86_stack_current(const struct x86_cpu *c, struct x86_stack *s);
/* The stack @ss:@sp of privilege level @cpl; @m64: 64-bit frames. */
void x86_stack_at(struct x86_stack *s, const struct x86_seg *ss, uint64_t sp, unsigned cpl,
		  bool m64);
/* Raises unless @n items of @size bytes can be pushed. */
void x86_stack_probe(struct x86_cpu *c, const struct x86_stack *s, unsigned n, unsigned size);
/* Pushes after a probe. */
void x86_stack_push(struct x86_cpu *c, struct x86_stack *s, uint64_t v, unsigned size);
/* Reads item @n (from the top) of @size bytes. */
uint64_t x86_stack_peek(struct x86_cpu *c, const struct x86_stack *s, unsigned n, unsigned size);
/* The stack pointer register as a stack of @mask has it. */
static inline uint64_t x86_stack_merge(uint64_t old, uint64_t sp, uint64_t mask)
{
	/* A 32-bit write clears the upper half, a 16-bit one keeps the rest. */
	return mask == 0xffff ? (old & ~0xffffull) | (sp & 0xffff) : sp & mask;
}

/* Assigns RFLAGS with what hangs from it: a pending interrupt may be due, AC
 * changes what SMAP allows. */
void x86_set_flags(struct x86_cpu *c, uint64_t v);

/* SS:SP for privilege level @dpl from the 16- or 32-bit TSS; #TS if it ends
 * before. */
void x86_tss_stack(struct x86_cpu *c, unsigned dpl, uint16_t *ss, uint32_t *sp);
/* RSP0..2 (@slot 0..2) or IST1..7 (@slot 3 + n) of the 64-bit TSS. */
uint64_t x86_tss_rsp(struct x86_cpu *c, unsigned slot);

enum x86_task_why { X86_TASK_JMP, X86_TASK_CALL, X86_TASK_IRET };
/* Switches to the task of TSS selector @sel (checked to be a present TSS of the
 * right busy state; @d its descriptor). With @has_error pushes @error on the
 * new stack. Raises before any change, or afterwards in the new task. (task.c) */
void x86_task_switch(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, enum x86_task_why why,
		     bool has_error, uint32_t error);
/* The checks of a TSS selector out of a task gate. @vec: #GP or #TS (IRET). */
void x86_task_check(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, bool want_busy,
		    unsigned vec);

/* INT1 (F1): a #DB that no gate's DPL stops. */
_Noreturn void x86_raise_icebp(struct x86_cpu *c);

/* A real-mode style software interrupt inside virtual-8086 mode (VME). */
void x86_v86_redirect(struct x86_cpu *c, unsigned vector);

/* PAE paging: loads the four PDPTEs that CR3 = @cr3 names; #GP(0) where one has
 * reserved bits set. (control.c) */
void x86_load_pdptes(struct x86_cpu *c, uint64_t cr3);
/* CR3 as a task switch loads it. */
void x86_task_cr3(struct x86_cpu *c, uint64_t cr3);

#endif

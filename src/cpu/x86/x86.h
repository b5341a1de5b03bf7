/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of one x86-64 logical processor, and what every software engine
 * shares of it. Sources: Intel SDM (order number 325462), AMD APM (24592).
 */
#ifndef BOTHY_CPU_X86_X86_H
#define BOTHY_CPU_X86_X86_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/bits.h"
#include "src/base/err.h"
#include "src/base/log.h"
#include "src/mem/mem.h"

struct bus;
struct cpus;
struct vcpu;
struct apic;
struct vtime;
struct x86_insn;
struct host_stubs;
struct x86_tape;

enum x86_gpr { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI,
	       X86_R8, X86_R9, X86_R10, X86_R11, X86_R12, X86_R13, X86_R14, X86_R15 };

enum x86_segreg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_NSEGS };

enum x86_vector {
	X86_EXC_DE, X86_EXC_DB, X86_EXC_NMI, X86_EXC_BP, X86_EXC_OF, X86_EXC_BR, X86_EXC_UD,
	X86_EXC_NM, X86_EXC_DF, X86_EXC_CSO, X86_EXC_TS, X86_EXC_NP, X86_EXC_SS, X86_EXC_GP,
	X86_EXC_PF, X86_EXC_MF = 16, X86_EXC_AC, X86_EXC_MC, X86_EXC_XM,
};

#define X86_FL_CF 0x1ull
#define X86_FL_FIXED 0x2ull
#define X86_FL_PF 0x4ull
#define X86_FL_AF 0x10ull
#define X86_FL_ZF 0x40ull
#define X86_FL_SF 0x80ull
#define X86_FL_TF 0x100ull
#define X86_FL_IF 0x200ull
#define X86_FL_DF 0x400ull
#define X86_FL_OF 0x800ull
#define X86_FL_IOPL 0x3000ull
#define X86_FL_NT 0x4000ull
#define X86_FL_RF 0x10000ull
#define X86_FL_VM 0x20000ull
#define X86_FL_AC 0x40000ull
#define X86_FL_VIF 0x80000ull
#define X86_FL_VIP 0x100000ull
#define X86_FL_ID 0x200000ull
#define X86_FL_ARITH 0x8d5ull /* OF SF ZF AF PF CF */

#define X86_CR0_PE 0x1ull
#define X86_CR0_MP 0x2ull
#define X86_CR0_EM 0x4ull
#define X86_CR0_TS 0x8ull
#define X86_CR0_ET 0x10ull
#define X86_CR0_NE 0x20ull
#define X86_CR0_WP 0x10000ull
#define X86_CR0_AM 0x40000ull
#define X86_CR0_NW 0x20000000ull
#define X86_CR0_CD 0x40000000ull
#define X86_CR0_PG 0x80000000ull

#define X86_CR4_VME 0x1ull
#define X86_CR4_PVI 0x2ull
#define X86_CR4_TSD 0x4ull
#define X86_CR4_DE 0x8ull
#define X86_CR4_PSE 0x10ull
#define X86_CR4_PAE 0x20ull
#define X86_CR4_MCE 0x40ull
#define X86_CR4_PGE 0x80ull
#define X86_CR4_PCE 0x100ull
#define X86_CR4_OSFXSR 0x200ull
#define X86_CR4_OSXMMEXCPT 0x400ull
#define X86_CR4_UMIP 0x800ull
#define X86_CR4_FSGSBASE 0x10000ull
#define X86_CR4_PCIDE 0x20000ull
#define X86_CR4_OSXSAVE 0x40000ull
#define X86_CR4_SMEP 0x100000ull
#define X86_CR4_SMAP 0x200000ull

#define X86_EFER_SCE 0x1ull
#define X86_EFER_LME 0x100ull
#define X86_EFER_LMA 0x400ull
#define X86_EFER_NX 0x800ull

/* Page-fault error code, SDM vol. 3, 4.7. */
#define X86_PF_P 0x1u
#define X86_PF_W 0x2u
#define X86_PF_U 0x4u
#define X86_PF_RSVD 0x8u
#define X86_PF_I 0x10u

/* A segment register with its hidden part. attr: bits 0-3 type, 4 S, 5-6 DPL,
 * 7 P, 8 AVL, 9 L, 10 D/B, 11 G (the descriptor's bits 40-47 and 52-55), and
 * X86_SEG_NULL when a null selector was loaded (accesses fault). */
struct x86_seg {
	uint16_t sel;
	uint16_t attr;
	uint32_t limit; /* bytes, G already applied */
	uint64_t base;
};
#define X86_SEG_TYPE 0xfu
#define X86_SEG_S 0x10u
#define X86_SEG_DPL(attr) (((attr) >> 5) & 3)
#define X86_SEG_P 0x80u
#define X86_SEG_AVL 0x100u
#define X86_SEG_L 0x200u
#define X86_SEG_DB 0x400u
#define X86_SEG_G 0x800u
#define X86_SEG_NULL 0x8000u

struct x86_dtable { uint64_t base; uint16_t limit; };

/* The FXSAVE64 image's x87 half exactly (SDM vol. 1, 10.5.1), so that the host
 * can load it; the XMM half of the image lives in x86_cpu.ymm. */
struct x86_fx {
	uint16_t fcw, fsw;
	uint8_t ftw, rsv0; /* abridged: bit n set = physical register n not empty */
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16]; /* ST(0)..ST(7), 10 bytes each used; MMn lies over physical n */
	uint8_t unused[352];
} __attribute__((aligned(64)));

union x86_vec {
	uint8_t b[32];
	uint16_t w[16];
	uint32_t d[8];
	uint64_t q[4];
} __attribute__((aligned(32)));

/*
 * Software TLB entry: tag_* is the linear page address for which that kind of
 * access may go straight to memory at @host (the page's first byte). A tag that
 * allows nothing (X86_TLB_NONE) is the page of another slot, so that XORing it with
 * any address that selects this one leaves a bit above the page offset set: one
 * unsigned compare of the XOR decides hit, page crossing and slow path together.
 * In all slots but the first it is 0, and memory that is 0 from the start is not
 * touched before it is used.
 */
struct x86_tlb_entry {
	uint64_t tag_r, tag_w, tag_x;
	uint64_t host;
};
#define X86_TLB_NONE(index) ((uint64_t)((index) == 0) << 12)

/* What a slow path knows of an entry. */
struct x86_tlb_side {
	uint64_t page; /* linear page address */
	gpa_t gpa;     /* of the page */
	uint32_t flags; /* X86_TLBF_*; 0: empty */
	uint16_t pos;   /* in its class's list */
};
#define X86_TLBF_R 0x01u       /* translation allows reads (fast or slow) ... */
#define X86_TLBF_W 0x02u       /* ... writes (the dirty bit is set) */
#define X86_TLBF_X 0x04u       /* ... fetches */
#define X86_TLBF_MMIO_R 0x08u  /* reads and fetches go to the bus */
#define X86_TLBF_MMIO_W 0x10u  /* writes go to the bus */
#define X86_TLBF_WATCH 0x20u   /* a data breakpoint lies in the page */
#define X86_TLBF_GLOBAL 0x40u
#define X86_TLBF_2M 0x80u      /* part of a 2 or 4 MiB page */
#define X86_TLBF_1G 0x100u
#define X86_TLBF_USED 0x200u   /* in every entry that is not empty */

/* Privilege classes, each with a table of its own. KERNEL_AC: supervisor data
 * access while SMAP is suspended by EFLAGS.AC. Implicit supervisor accesses
 * (descriptor tables, TSS) use KERNEL whatever the CPL. USER_AC: CPL 3 with
 * alignment checking on (CR0.AM and EFLAGS.AC); its table never hits, so that
 * every access comes by the check. */
enum x86_tlb_class { X86_TLB_KERNEL, X86_TLB_KERNEL_AC, X86_TLB_USER, X86_TLB_USER_AC,
		     X86_TLB_CLASSES };
#define X86_TLB_ENTRIES 8192

/* What is in use of a class's table, so that flushing costs what there is. */
struct x86_tlb_set {
	unsigned used[2]; /* entries of the lists: [1] global ones, [0] the others */
	uint16_t list[2][X86_TLB_ENTRIES]; /* their indices, in any order */
	uint16_t large[256]; /* parts of large pages, by address bits 22-29; ... */
	uint16_t huge;       /* ... of 1 GiB pages: INVLPG drops all parts of its page */
};

/* Entries of an address space that is not the current one (spaces.c). */
#define X86_SPACES 8u
#define X86_SPACE_ENTRIES 256u
#define X86_SPACE_ALL 0x1000u /* where a PCID may stand */
struct x86_space_entry {
	struct x86_tlb_entry tlb;
	struct x86_tlb_side side;
	uint8_t cls;
};
struct x86_space {
	uint16_t pcid;
	unsigned count; /* 0: the place is free */
	uint64_t left;  /* when: space_clock */
	struct x86_space_entry entry[X86_SPACE_ENTRIES];
};

enum x86_access { X86_ACC_R = 0, X86_ACC_W = 1, X86_ACC_X = 2 };

/* Reasons to leave the run loop; bits of x86_cpu.request. Any thread sets them
 * through vcpu_request(). */
#define X86_REQ_INTR 0x1u   /* the local APIC or the PIC may have an interrupt */
#define X86_REQ_NMI 0x2u
#define X86_REQ_INIT 0x4u
#define X86_REQ_SIPI 0x8u
#define X86_REQ_EXIT 0x10u  /* leave engine->run(): pause, stop, exclusive section */
#define X86_REQ_FLUSH 0x20u /* drop all cached translations (memory map changed) */
#define X86_REQ_SMI 0x40u
#define X86_REQ_CODE 0x80u  /* another thread wrote or began to watch code (jit) */

#define X86_FEATURE(name, text) X86_F_##name,
enum x86_feature {
#include "src/cpu/x86/features.def"
	X86_NFEATURES
};
#undef X86_FEATURE

/* Execution mode as the decoder and the block key see it. */
#define X86_MODE_16 0u
#define X86_MODE_32 1u
#define X86_MODE_64 2u
#define X86_MODE_SIZE 3u  /* mask of the above */
#define X86_MODE_REAL 4u  /* real mode or virtual-8086 */

/* Where translated code goes for an address: slot by jit_jump_slot().
 * Slot 0 never holds anything: it is what a lookup finds while jit.run_ok is 0.
 * Addresses that would go there have the one past the end, which only jumps to a
 * fixed address look at. */
struct x86_jump { uint64_t rip; const void *entry; };
#define X86_JUMP_SLOTS 32768u
#define X86_JUMP_MASK ((X86_JUMP_SLOTS - 1) * (unsigned)sizeof(struct x86_jump))
#define X86_JIT_RING 16u
#define X86_JIT_SPAN 512u /* bytes that one check may cover */
#define X86_JIT_LIMITS (3 + X86_JIT_SPAN / 8)

/* What translated code and its run loop pass each other; see cpu/jit/jit.h. */
struct x86_jit {
	uint64_t self;      /* this struct x86_cpu's address */
	uint64_t host_rsp;
	uint64_t tmp0, tmp1;
	uint64_t group[4];  /* host addresses of a block's groups of accesses */
	uint64_t link;      /* the exit that was taken, to be linked; 0 none */
	uint16_t flags_ax;  /* arithmetic flags as LAHF and SETO AL leave them */
	uint8_t vec_live;   /* which vector and x87 instructions may run; a bit clear: those
			     * registers are in memory */
	uint8_t vec_again;  /* vec_live to be restored after C */
	uint32_t host_mxcsr;
	_Atomic uint32_t run_ok; /* X86_JUMP_MASK; 0: leave at the next jump that looks */
	/* By x86_jit_limit(): the offset in a page from which on an access of that size does
	 * not fit; 0 while run_ok is 0, so that accesses look, too. */
	_Atomic uint64_t limit[X86_JIT_LIMITS];
	/* Lockstep only: how many more blocks may run, and which did, the last one at
	 * ring[budget]. */
	uint32_t budget;
	uint8_t whole; /* translated code was left between two blocks */
	uint64_t ring[X86_JIT_RING];
	struct x86_jump jump[4][X86_JUMP_SLOTS + 1]; /* by enum x86_tlb_class */
};

struct x86_cpu {
	/* What translated and interpreted code touches most. */
	uint64_t gpr[16];
	uint64_t rip;       /* while an operation runs: of the NEXT instruction */
	uint64_t start_rip; /* of the instruction that runs */
	uint64_t rflags;    /* always whole; bit 1 set */
	_Atomic uint32_t request; /* X86_REQ_* */
	uint8_t cpl;
	uint8_t mode;       /* X86_MODE_*, of CS now */
	bool code64;        /* long mode and CS.L */
	bool stack32;       /* SS.B (not meaningful in 64-bit code) */
	bool stop_block;    /* leave the block after this instruction: code or mode changed */
	bool halted;
	bool recheck;       /* this CPU's own note to call x86_poll_events() at the next boundary:
			     * IF was set or the TPR lowered while an interrupt may be pending */
	bool intr_waits;    /* an interrupt may wait for IF: setting it must set recheck */
	bool wait_sipi;     /* application processor before its SIPI */
	uint8_t int_shadow; /* X86_SHADOW_*: what the next boundary must not deliver */
	uint8_t debug;      /* X86_DEBUG_*: what somebody outside wants to see (guest_debug.h) */
	struct x86_tlb_entry *tlb; /* the table that data accesses at this CPL/AC use */
	uint8_t seg_flat;   /* bit n: segment n has base 0, limit 4 GiB, readable+writable */
	bool nmi_blocked;
	bool nmi_pending;   /* an NMI was taken from request and waits for nmi_blocked to clear */
	uint8_t tlb_class;  /* which table that is */

	struct x86_seg seg[X86_NSEGS];
	struct x86_seg ldtr, tr;
	struct x86_dtable gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8_unused;
	uint64_t dr[8];
	uint64_t xcr0;
	uint64_t pdpte[4]; /* PAE paging: loaded with CR3 */

	uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_aux, pat, misc_enable, spec_ctrl;
	uint64_t mtrr_def, mtrr_fixed[11], mtrr_var[16];
	uint64_t mcg_status, mcg_ctl;
	uint64_t smbase, xss;
	int64_t tsc_offset;      /* guest TSC = host-scaled TSC + this */
	uint64_t tsc_adjust;
	uint64_t pv_system_time, pv_wall_clock, pv_async, pv_steal, pv_eoi, pv_poll;

	struct x86_fx fx;
	uint64_t fx_header[8]; /* behind fx: together XSAVE's area for x87 (translator) */
	union x86_vec ymm[16];

	/* Event on its way, while it is being delivered. */
	int exc_vector;     /* -1 none */
	uint32_t exc_error;
	bool exc_has_error;
	bool exc_soft;      /* INT n, INT3, INTO: return address is the next instruction */
	bool exc_ext;
	uint64_t db_pending; /* DR6 bits gathered for a trap after this instruction */

	/* Debugging from outside, while debug is not 0. */
	uint64_t debug_from; /* linear address where it was let run */
	uint16_t debug_hit;  /* a watchpoint was touched: its number + 1 */
	bool debug_ran;      /* the one instruction was begun, or an event delivered */

	struct x86_tlb_entry tlbs[X86_TLB_CLASSES][X86_TLB_ENTRIES];
	struct x86_tlb_side tlb_side[X86_TLB_CLASSES][X86_TLB_ENTRIES];
	struct x86_tlb_set tlb_set[X86_TLB_CLASSES];

	struct x86_space space[X86_SPACES];
	uint64_t space_clock;

	uint32_t tlb_epoch; /* bumped by every flush: what was looked up before is stale */

	jmp_buf fault_jmp; /* where x86_raise() goes; set by the engine's run loop */

	uint64_t insn_count; /* retired, when the engine counts */
	uint64_t features[(X86_NFEATURES + 63) / 64];
	/* Who the guest sees; set with the features by cpu_model_apply(). */
	bool amd;            /* AMD's behaviour where the vendors differ */
	uint32_t signature;  /* CPUID.1:EAX */
	char vendor[13], brand[49];
	unsigned index;      /* 0 is the boot processor; also the initial APIC ID */
	struct vcpu *vcpu;   /* NULL in unit tests */
	struct cpus *cpus;
	struct apic *apic;   /* may be NULL in unit tests */
	struct mem *mem;
	struct bus *bus;
	struct vtime *vtime;
	const struct log *log;
	struct log_limit guest_log;
	struct host_stubs *stubs; /* host code for vector and x87 arithmetic (host_stub.h); owned */
	void *engine_priv;
	struct x86_tape *tape; /* lockstep (tape.h); NULL: this processor runs alone */
	bool follows;          /* ... and takes from it what the other one recorded */
	bool again;            /* set where a repeated instruction gave way before its end */
	bool tag_code; /* the engine wants stores to pages with code on the slow path */
	struct x86_jit jit;
};

#define X86_DEBUG_STEP 1u /* one instruction, then stop */
#define X86_DEBUG_CODE 2u /* there are breakpoints ... */
#define X86_DEBUG_DATA 4u /* ... and watchpoints */
#define X86_DEBUG_PASS 8u /* one instruction without looking at breakpoints */
#define X86_DEBUG_SLOW (X86_DEBUG_STEP | X86_DEBUG_DATA | X86_DEBUG_PASS) /* one at a time */

#define X86_SHADOW_STI 1u   /* interrupts inhibited for one instruction */
#define X86_SHADOW_MOVSS 2u /* interrupts, NMI and #DB inhibited for one instruction */

static inline bool x86_has(const struct x86_cpu *c, enum x86_feature f)
{
	return c->features[f / 64] >> (f % 64) & 1;
}

static inline bool x86_protected(const struct x86_cpu *c) { return c->cr0 & X86_CR0_PE; }
static inline bool x86_v86(const struct x86_cpu *c) { return c->rflags & X86_FL_VM; }
static inline bool x86_long(const struct x86_cpu *c) { return c->efer & X86_EFER_LMA; }
static inline unsigned x86_iopl(const struct x86_cpu *c) { return c->rflags >> 12 & 3; }

static inline bool x86_canonical(uint64_t lin)
{
	return (uint64_t)((int64_t)(lin << 16) >> 16) == lin;
}

/*
 * Exceptions. x86_raise*() end the current instruction: they do not return, the
 * run loop's setjmp does. An operation must not have changed any state a
 * restart would see before its last access that can fault. (exception.c)
 */
_Noreturn void x86_raise(struct x86_cpu *c, unsigned vector);                   /* no error code */
_Noreturn void x86_raise_err(struct x86_cpu *c, unsigned vector, uint32_t err); /* with one */
_Noreturn void x86_raise_pf(struct x86_cpu *c, uint64_t lin, uint32_t err);     /* sets CR2 */
_Noreturn static inline void x86_raise_ud(struct x86_cpu *c) { x86_raise(c, X86_EXC_UD); }
_Noreturn static inline void x86_raise_gp0(struct x86_cpu *c) { x86_raise_err(c, X86_EXC_GP, 0); }
/* INT n, INT3 (vector 3), INTO: a software interrupt; delivered by the run loop. */
_Noreturn void x86_raise_soft(struct x86_cpu *c, unsigned vector);

/*
 * Delivers the exception in exc_* through the IDT (or IVT): called by the run
 * loop after x86_raise() came back. Itself handles faults during delivery:
 * contributory and double faults, and on a triple fault asks the machine for a
 * reset through cpus_triple_fault() and halts. Never raises. (exception.c)
 */
void x86_deliver_exception(struct x86_cpu *c);

/*
 * At an instruction boundary with request bits or recheck set: takes what is due
 * by priority (SDM vol. 3, 6.9): NMI, INTR where IF and int_shadow allow. First
 * clears recheck and the request bits INTR and NMI, so that a masked interrupt
 * does not keep the run loop here: whatever unmasks it (STI, POPF, IRET, MOV CR8,
 * APIC) sets recheck. Ends HLT when something is delivered. int_shadow is the run
 * loop's: it executes one instruction and clears it. Returns true if an event
 * was delivered. (exception.c)
 */
bool x86_poll_events(struct x86_cpu *c);

/*
 * Finishes the delivery of an event that another processor (hardware) had begun: the
 * frame is pushed and the handler entered. c->rip is the address to return to.
 * Between instructions, TLB and mode up to date. (exception.c)
 */
void x86_inject_exception(struct x86_cpu *c, unsigned vector, bool has_error, uint32_t error);
void x86_inject_nmi(struct x86_cpu *c);
void x86_inject_interrupt(struct x86_cpu *c, unsigned vector, bool soft);

/* Recomputes cpl-, CS- and control-register-derived fields (mode, code64,
 * stack32, seg_flat, tlb, tlb_class) after any of them changed; sets stop_block.
 * (segment.c) */
void x86_update_mode(struct x86_cpu *c);

/* Power-on and INIT# state, SDM vol. 3, table 9-1. @init keeps what INIT keeps
 * (MSRs, FPU, CR0.CD/NW, TSC). (reset.c) */
void x86_reset(struct x86_cpu *c, bool init);

/* Segment loads as MOV Sreg and friends do, with every check; @seg is not CS.
 * Raise on failure. (segment.c) */
void x86_load_seg(struct x86_cpu *c, unsigned seg, uint16_t sel);
/* Real/virtual-8086 style load without checks: base = sel * 16. */
void x86_load_seg_real(struct x86_cpu *c, unsigned seg, uint16_t sel);
/* Far control transfers (JMP/CALL/RET/IRET/task switch). (far.c) */
void x86_far_jmp(struct x86_cpu *c, uint16_t sel, uint64_t rip, unsigned opsize);
void x86_far_call(struct x86_cpu *c, uint16_t sel, uint64_t rip, unsigned opsize);
void x86_far_ret(struct x86_cpu *c, unsigned opsize, unsigned pop_bytes);
void x86_iret(struct x86_cpu *c, unsigned opsize);

/* Control registers, with every check and side effect (TLB flush, mode). They
 * raise #GP where the manual says so. (control.c) */
void x86_write_cr0(struct x86_cpu *c, uint64_t v);
void x86_write_cr3(struct x86_cpu *c, uint64_t v);
void x86_write_cr4(struct x86_cpu *c, uint64_t v);
/* The bits of CR4 that this CPU has. */
uint64_t x86_cr4_valid(const struct x86_cpu *c);
void x86_write_cr8(struct x86_cpu *c, uint64_t v);
uint64_t x86_read_cr8(struct x86_cpu *c);
uint64_t x86_read_dr(struct x86_cpu *c, unsigned n);
void x86_write_dr(struct x86_cpu *c, unsigned n, uint64_t v);

/* MSRs. 0, or -EINVAL: the caller raises #GP(0). (msr.c) */
int must_check x86_rdmsr(struct x86_cpu *c, uint32_t msr, uint64_t *val);
int must_check x86_wrmsr(struct x86_cpu *c, uint32_t msr, uint64_t val);

/* CPUID for a leaf of the CPU's model. out: eax ebx ecx edx. (cpuid.c) */
void x86_cpuid(struct x86_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* The guest's TSC now. Runs at cpus->tsc_hz. (msr.c) */
uint64_t x86_rdtsc(struct x86_cpu *c);
/* The same for whoever is not an instruction of this vCPU's; any thread. */
uint64_t x86_tsc_now(const struct x86_cpu *c);

/* Port access after the IOPL / TSS bitmap check (raises #GP). (io.c) */
void x86_check_io(struct x86_cpu *c, uint16_t port, unsigned size);

/* The element of x86_jit.limit for @size bytes, 1..X86_JIT_SPAN: the next larger one
 * there is. */
static inline unsigned x86_jit_limit(unsigned size)
{
	return size > 4 ? 2 + (size + 7) / 8 : size > 2 ? 2 : size - 1;
}

/* Translated code is left at the next place that looks. Any thread, after it has set what
 * is to be seen to. run_ok last: x86_jit_allow() begins when all of it is done. */
static inline void x86_jit_stop(struct x86_cpu *c)
{
	if (!atomic_load(&c->jit.run_ok))
		return; /* it is not entered before x86_jit_allow() */
	for (unsigned n = 0; n < X86_JIT_LIMITS; n++)
		atomic_store_explicit(&c->jit.limit[n], 0, memory_order_relaxed);
	atomic_store(&c->jit.run_ok, 0);
}

/* ... and may be entered again. The vCPU's thread, before it looks what is to be seen to. */
static inline void x86_jit_allow(struct x86_cpu *c)
{
	for (unsigned n = 0; n < X86_JIT_LIMITS; n++)
		atomic_store_explicit(&c->jit.limit[n], n < 3 ? 4097u - (1u << n) : 4097 - 8 * (n - 2),
				      memory_order_relaxed);
	atomic_store(&c->jit.run_ok, X86_JUMP_MASK);
}

#endif

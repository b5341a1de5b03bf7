/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpu-diff: instruction sequences run on the host CPU and in an engine, and what
 * differs afterwards.
 *
 *   gen.c, encode.c  make a case       native.c  runs it on the host
 *   corpus.c         reads, writes it  engine.c  runs it in an engine
 *   compare.c        says what differs shrink.c  makes a differing case small
 *   vary.c, concede.c  what may differ
 */
#ifndef BOTHY_TESTS_CPU_DIFF_DIFF_H
#define BOTHY_TESTS_CPU_DIFF_DIFF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "src/base/err.h"
#include "src/cpu/x86/insn.h"
#include "src/cpu/x86/x86.h"
#include "tests/cpu-diff/layout.h"

/* Random numbers: splitmix64. */
struct diff_rng { uint64_t s; };

static inline uint64_t rng64(struct diff_rng *r)
{
	uint64_t z = (r->s += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline uint32_t rng_below(struct diff_rng *r, uint32_t n) /* n > 0 */
{
	return (uint32_t)((rng64(r) >> 32) * n >> 32);
}

static inline bool rng_pct(struct diff_rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}

struct diff_fpu {
	uint16_t fcw, fsw, ftw, fop; /* ftw: abridged, 8 bits */
	uint32_t mxcsr, pad;
	uint64_t fip, fdp;
	uint8_t st[8][10];
	uint8_t ymm[16][32];
};

struct diff_regs {
	uint64_t gpr[16];
	uint64_t rip, rflags;
	uint64_t fs_base, gs_base;
	uint16_t sel[X86_NSEGS];
	uint16_t pad[2];
	struct diff_fpu fpu;
};

/* The writable pages, in the order of diff_rw_pages[]. */
#define DIFF_NRW 5
extern const uint8_t diff_rw_pages[DIFF_NRW];
#define DIFF_MEM_LEN (DIFF_NRW * 4096)

enum diff_fix { DIFF_FIX_NONE, DIFF_FIX_REL, DIFF_FIX_ABS };

#define DIFF_MAX_INSNS 40
#define DIFF_MAX_BYTES 16 /* one more than decodes: too long is a case, too */

struct diff_insn {
	uint8_t bytes[DIFF_MAX_BYTES];
	uint8_t len;      /* 0: dropped by the shrinker */
	uint8_t fix;      /* enum diff_fix: what of it names another instruction */
	uint8_t fix_off, fix_size;
	uint8_t target;   /* index of that instruction; n: the exit */
	bool mem;         /* its rm operand is memory */
	bool conditional; /* may be jumped over: does not count as covered */
	int16_t row;      /* enum x86_op, -1 unknown */
};

struct diff_case {
	uint64_t seed;
	const uint64_t *features; /* for decoding; not owned */
	int want_row;  /* as given to diff_generate(); for the report */
	unsigned mode; /* X86_MODE_16, _32 or _64 (of protected and long mode) */
	bool high;     /* runs at DIFF_HIGH; 64-bit code only */
	bool no_exit;  /* runs into the unmapped page behind the code */
	uint16_t code_off; /* in the code pages */
	uint8_t n;
	struct diff_insn insn[DIFF_MAX_INSNS];
	struct diff_regs init; /* rip is derived from code_off */
	uint8_t mem[DIFF_MEM_LEN];
	/* Set by diff_case_layout(): */
	uint8_t code[DIFF_CODE_LEN];
	uint16_t insn_off[DIFF_MAX_INSNS + 1]; /* in code[]; [n]: the exit jump */
	uint16_t code_end;
};

enum diff_end { DIFF_EXIT, DIFF_FAULT, DIFF_TIMEOUT, DIFF_BROKEN };

struct diff_result {
	enum diff_end end;
	unsigned vector;  /* DIFF_FAULT */
	uint32_t error;
	uint64_t cr2;     /* vector 14 */
	struct diff_regs regs;
	uint32_t stray;   /* offset in the region of a byte written that may not be; 0 none */
	uint8_t mem[DIFF_MEM_LEN];
	char text[160];   /* DIFF_BROKEN: what went wrong */
};

/* Descriptors 0.. of the local table, as modify_ldt(2) takes and gives them. */
struct diff_desc {
	uint32_t base, limit;
	bool seg32, pages, not_present, read_exec_only;
	uint8_t contents; /* 0 data, 1 expand-down data, 2 code, 3 conforming code */
};
#define DIFF_NLDT 9
extern const struct diff_desc diff_ldt[DIFF_NLDT];

/* Linear address of the region's start for this case. */
static inline uint64_t diff_base(const struct diff_case *d)
{
	return d->high ? DIFF_HIGH : DIFF_LOW;
}

/* What CS:RIP counts from: 16-bit code has a segment that starts at DIFF_LOW. */
static inline uint64_t diff_cs_base(const struct diff_case *d)
{
	return d->mode == X86_MODE_16 ? DIFF_LOW : 0;
}

static inline uint64_t diff_code_rip(const struct diff_case *d, unsigned off)
{
	return diff_base(d) - diff_cs_base(d) + DIFF_PG_CODE * 4096 + off;
}

static inline uint16_t diff_cs(const struct diff_case *d)
{
	return d->mode == X86_MODE_64 ? DIFF_SEL_CS64 : d->mode == X86_MODE_32 ? DIFF_SEL_CS32
									       : DIFF_SEL_CS16;
}

/* Places the instructions, resolves targets, appends the exit; fills code[],
 * insn_off[], init.rip. -ERANGE: a branch does not reach. (case.c) */
int must_check diff_case_layout(struct diff_case *d);
/* Instruction whose first byte stands at @rip; n: the exit jump; -1: none. */
int diff_case_insn_at(const struct diff_case *d, uint64_t rip);
/* FXSAVE/XSAVE image <-> neutral form. @xsave: 832 bytes. */
void diff_fpu_from_xsave(struct diff_fpu *f, const uint8_t *xsave);
void diff_fpu_to_xsave(const struct diff_fpu *f, uint8_t *xsave, uint32_t mask);
void diff_regs_init(struct diff_regs *r);
void diff_fill_ro(uint8_t page[4096]); /* what the read-only page holds */

/* The host CPU. (native.c) */
struct native;
struct native *native_new(struct err *err); /* one at a time per process */
void native_free(struct native *n);
bool native_has_mode(const struct native *n, unsigned mode);
/* Does the processor do what the kernel is for elsewhere? A kernel that runs as a guest
 * without privileges may have no LDT, and gives INT n a meaning of its own. */
bool native_is_real(const struct native *n);
/* By the instructions of FSGSBASE? */
bool native_has_fsgsbase(const struct native *n);
/* Called from the alarm's signal handler at every tick (10 a second). */
void native_set_tick(struct native *n, void (*tick)(void *opaque), void *opaque);
void native_run(struct native *n, const struct diff_case *d, struct diff_result *r);
/* LAR and LSL as this process sees them: what the engine's GDT has to show. */
bool native_selector(uint16_t sel, uint32_t *access, uint32_t *limit);

/* An engine. (engine.c) */
struct engine;
struct engine *engine_new(const char *name, struct err *err);
void engine_free(struct engine *e);
void engine_run(struct engine *e, const struct diff_case *d, struct diff_result *r);
void engine_tick(void *engine); /* a run that lasts two ticks is given up */
const uint64_t *engine_features(const struct engine *e);
void engine_forget_ldt(struct engine *e); /* LDTR becomes null */

/* What each row may and may not show. (rows.c) */
enum diff_rule {
	DIFF_RUN,    /* has to complete */
	DIFF_FAULTS, /* never completes at CPL 3; has to be tried */
	DIFF_SKIP,   /* not run, or not offered */
};
enum diff_image {
	DIFF_IMAGE_NONE,
	DIFF_IMAGE_FX,
	DIFF_IMAGE_XSAVE,
	DIFF_IMAGE_ANY,
	DIFF_IMAGE_ENV,
};
struct diff_row_info {
	enum diff_rule rule;
	const char *why;
	bool weak;        /* its result differs by design: only that it runs is compared */
	bool last;        /* nothing may follow it: what it left is not the same */
	uint64_t undefined; /* arithmetic flags that it leaves undefined */
	bool loose_fault; /* where and how it faults is not compared */
	enum diff_image image; /* what it stores, some fields of which do not count */
};
const struct diff_row_info *diff_row_info(unsigned row);
const char *diff_row_id(unsigned row); /* enumerator without X86_OP_ */
int diff_row_by_id(const char *id);    /* -1: none */
/* Whether row @row exists in @mode for a CPU with @features. */
bool diff_row_offered(unsigned row, unsigned mode, const uint64_t *features);
bool diff_row_has_forms(unsigned row); /* its rm operand may be a register or memory */

/* One random instruction of @row. (encode.c) */
struct diff_enc {
	struct diff_rng *rng;
	const struct diff_case *d;
	const uint64_t *features;
	const struct diff_regs *now; /* register values before the instruction */
	unsigned rip_off;            /* where it will stand in code[] */
	bool wild;                   /* odd prefixes, faulting addresses welcome */
	bool mutate;                 /* spoil it a little: mostly #UD */
	int force_rm;                /* this register in ModRM.rm; -1: any */
	int force_w;                 /* REX.W; -1: any */
	bool no_66;
	bool has_target;             /* memory operand at linear address target */
	uint64_t target;
};
int must_check diff_encode(const struct diff_enc *e, unsigned row, struct diff_insn *out);
/* The same for given bytes: decodes, fills row and len. */
int must_check diff_decode(const struct diff_case *d, const uint64_t *features,
			   const uint8_t *bytes, size_t avail, struct x86_insn *i);

/* Base of a segment for code of this case; descriptors' limits do not matter here. */
uint64_t diff_seg_base(const struct diff_case *d, const struct diff_regs *now, unsigned seg);

/* Random state. (values.c) */
uint64_t diff_value(struct diff_rng *r, unsigned size_bytes);
void diff_random_regs(struct diff_rng *r, struct diff_case *d);
#define DIFF_POOL_LEN 0x10000
void diff_fill_pool(uint8_t *pool); /* always the same: what memory is filled from */
void diff_random_mem(struct diff_rng *r, const uint8_t *pool, struct diff_case *d);

/* A case from its seed. @row: enum x86_op that must occur, -1 for any. (gen.c) */
struct diff_gen {
	struct native *native;
	const uint64_t *features;
	unsigned modes; /* bit n: X86_MODE n may be used */
	bool real;      /* native_is_real() */
	uint8_t pool[DIFF_POOL_LEN];
	struct diff_case probe;
	struct diff_result result;
};
void diff_generate(struct diff_gen *g, uint64_t seed, int row, struct diff_case *d);

/* Is the state behind an instruction of the case not the same on every processor, so that
 * none may follow? (concede.c) */
bool diff_leaves_open(const struct diff_case *d, const struct diff_insn *insn);
/* Differences, as text lines into @out (may be NULL); the number of them.
 * (compare.c) */
unsigned diff_compare(const struct diff_case *d, const struct diff_result *want,
		      const struct diff_result *got, FILE *out);

/* A pair of CPUs and what to do with a case. (shrink.c) */
struct diff_pair {
	struct native *native;
	struct engine *engine; /* NULL: the host against itself */
	const uint64_t *features;
	void (*sabotage)(const struct diff_case *d, struct diff_result *got); /* self-test */
	struct diff_result want, got, again;
};
void diff_run_pair(struct diff_pair *p, const struct diff_case *d);
/* Runs both; true if they differ and the host agrees with itself. */
bool diff_differs(struct diff_pair *p, struct diff_case *d);
void diff_shrink(struct diff_pair *p, struct diff_case *d);
/* Listing, states and differences. */
void diff_report(struct diff_pair *p, struct diff_case *d, FILE *out);

/* Text form of a case. (corpus.c) */
void diff_case_write(const struct diff_case *d, FILE *out);
int must_check diff_case_read(struct diff_case *d, const uint64_t *features, const char *path,
			      struct err *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a test case's memory stands, the same natively and in the engine. Also
 * read by native_asm.S, so constants only.
 *
 * One region of 16 pages is mapped twice: at DIFF_LOW, which 16- and 32-bit code
 * and 67h addressing reach, and at DIFF_HIGH, whose low 32 bits are DIFF_LOW.
 * (DIFF_HIGH lies where AddressSanitizer leaves room.)
 */
#ifndef BOTHY_TESTS_CPU_DIFF_LAYOUT_H
#define BOTHY_TESTS_CPU_DIFF_LAYOUT_H

#define DIFF_LOW 0x10000000
#define DIFF_HIGH 0x200010000000
#define DIFF_PAGES 16
#define DIFF_REGION 0x10000

/* Page numbers in the region; those not named are unmapped. */
#define DIFF_PG_RW0 1
#define DIFF_PG_RW1 2
#define DIFF_PG_RO 3
#define DIFF_PG_RW2 4
#define DIFF_PG_STACK 6 /* and 7 */
#define DIFF_PG_CODE 9  /* and 10 */
#define DIFF_CODE_LEN 0x2000

/* Images in the second data page that some instructions load and that must make
 * sense, as offsets in the region. */
#define DIFF_IMG_MXCSR 0x2000
#define DIFF_IMG_NMXCSR 8
#define DIFF_IMG_SELS 0x2040
#define DIFF_IMG_NSELS 16
#define DIFF_IMG_FAR 0x2100 /* DIFF_IMG_NSELS pointers of 16 bytes */
#define DIFF_IMG_FXSAVE 0x2200
#define DIFF_IMG_XSAVE 0x2800

/* The exit stub: reached by a jump at the sequence's end. In the engine this
 * page holds HLT, which faults at CPL 3. */
#define DIFF_STUB 0x2a5f3000 /* out of a stray address's way */
/* Natively only: struct native_ctx. */
#define DIFF_CTX (DIFF_STUB + 0x1000)
/* Natively all are one file: the region, then these. */
#define DIFF_FILE_STUB DIFF_REGION
#define DIFF_FILE_CTX (DIFF_REGION + 0x1000)
#define DIFF_FILE_LEN (DIFF_REGION + 0x3000)

/* Linux's selectors, which programs see. */
#define DIFF_SEL_CS32 0x23
#define DIFF_SEL_DS 0x2b
#define DIFF_SEL_CS64 0x33
/* Local descriptor table: see diff_ldt[]. */
#define DIFF_LDT(n) ((n) << 3 | 7)
#define DIFF_SEL_CS16 DIFF_LDT(0)
#define DIFF_SEL_DS16 DIFF_LDT(1)

/* struct native_ctx, for the assembler. */
#define NCTX_GPR 0
#define NCTX_RFLAGS 128
#define NCTX_FS_BASE 136
#define NCTX_GS_BASE 144
#define NCTX_FRAME 160
#define NCTX_SEL 200
#define NCTX_FAR 216
#define NCTX_HOST_RSP 224
#define NCTX_HOST_FS 232
#define NCTX_HOST_GS 240
#define NCTX_IN_GUEST 248
#define NCTX_XMASK 252
#define NCTX_FAULT_FN 256
#define NCTX_ALARM_FN 264
#define NCTX_CRASH_FN 272
#define NCTX_BY_CALL 316
#define NCTX_ALARM_FS 344
#define NCTX_SCRATCH_TOP 1008
#define NCTX_XSAVE 1024

#endif

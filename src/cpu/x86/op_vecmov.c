/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vector moves, inserts, extracts and broadcasts: plain copies, no host stub. */
#include "src/cpu/x86/ops.h"
#include "src/cpu/x86/vec.h"

#define DST  (&c->ymm[i->reg])
#define RM   (&c->ymm[i->rm])
#define SRC1 (&c->ymm[i->vvvv])

/* Whole registers, legacy: 16 bytes, the upper half stays. */
void op_mov_v_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	memmove(DST, RM, 16);
}

void op_mov_v_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	x86_vec_load(c, i, DST, 16);
}

void op_mov_w_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	memmove(RM, DST, 16);
}

void op_mov_w_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	x86_vec_store(c, i, DST, 16);
}

/* ... and VEX: the rest of the register is cleared. */
static inline void vmov(union x86_vec *to, const union x86_vec *from, unsigned vl)
{
	union x86_vec v = *from;

	if (!vl)
		x86_vec_zero_upper(&v);
	*to = v;
}

void op_vmov_v_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	vmov(DST, RM, i->vl);
}

void op_vmov_v_m(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec v;

	x86_vec_check(c, X86_A_AVX);
	if (i->vl) {
		x86_vec_load(c, i, &v, 32);
	} else {
		x86_vec_load(c, i, &v, 16);
		x86_vec_zero_upper(&v);
	}
	*DST = v;
}

void op_vmov_w_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	vmov(RM, DST, i->vl);
}

void op_vmov_w_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	if (i->vl)
		x86_vec_store(c, i, DST, 32);
	else
		x86_vec_store(c, i, DST, 16);
}

/* MOVSS and MOVSD: a load clears the rest of the 128 bits, a register move keeps
 * them; the VEX register form takes them from vvvv. */
#define MOV_SCALAR(fn, bytes, m)                                    \
	void fn##_ld(struct x86_cpu *c, const struct x86_insn *i)   \
	{                                                           \
		union x86_vec v = { 0 };                            \
		x86_vec_check(c, X86_A_SSE);                        \
		x86_vec_load(c, i, &v, bytes);                      \
		memcpy(DST, &v, 16);                                \
	}                                                           \
	void fn##_r(struct x86_cpu *c, const struct x86_insn *i)    \
	{                                                           \
		x86_vec_check(c, X86_A_SSE);                        \
		DST->m[0] = RM->m[0];                               \
	}                                                           \
	void fn##_r11(struct x86_cpu *c, const struct x86_insn *i)  \
	{                                                           \
		x86_vec_check(c, X86_A_SSE);                        \
		RM->m[0] = DST->m[0];                               \
	}                                                           \
	void fn##_st(struct x86_cpu *c, const struct x86_insn *i)   \
	{                                                           \
		x86_vec_check(c, X86_A_SSE);                        \
		x86_vec_store(c, i, DST, bytes);                    \
	}                                                           \
	void fn##_vld(struct x86_cpu *c, const struct x86_insn *i)  \
	{                                                           \
		union x86_vec v = { 0 };                            \
		x86_vec_check(c, X86_A_AVX);                        \
		x86_vec_load(c, i, &v, bytes);                      \
		*DST = v;                                           \
	}                                                           \
	void fn##_vst(struct x86_cpu *c, const struct x86_insn *i)  \
	{                                                           \
		x86_vec_check(c, X86_A_AVX);                        \
		x86_vec_store(c, i, DST, bytes);                    \
	}                                                           \
	void fn##_vr(struct x86_cpu *c, const struct x86_insn *i)   \
	{                                                           \
		union x86_vec v;                                    \
		x86_vec_check(c, X86_A_AVX);                        \
		vmov(&v, SRC1, 0);                                  \
		v.m[0] = RM->m[0];                                  \
		*DST = v;                                           \
	}                                                           \
	void fn##_vr11(struct x86_cpu *c, const struct x86_insn *i) \
	{                                                           \
		union x86_vec v;                                    \
		x86_vec_check(c, X86_A_AVX);                        \
		vmov(&v, SRC1, 0);                                  \
		v.m[0] = DST->m[0];                                 \
		*RM = v;                                            \
	}
MOV_SCALAR(op_movss, 4, d)
MOV_SCALAR(op_movsd, 8, q)

/* MOVLPx, MOVHPx: half h of the low 128 bits. */
#define MOV_HALF(fn, h)                                            \
	void fn##_ld(struct x86_cpu *c, const struct x86_insn *i)  \
	{                                                          \
		x86_vec_check(c, X86_A_SSE);                       \
		x86_vec_load(c, i, &DST->q[h], 8);                 \
	}                                                          \
	void fn##_vld(struct x86_cpu *c, const struct x86_insn *i) \
	{                                                          \
		union x86_vec v;                                   \
		x86_vec_check(c, X86_A_AVX);                       \
		vmov(&v, SRC1, 0);                                 \
		x86_vec_load(c, i, &v.q[h], 8);                    \
		*DST = v;                                          \
	}                                                          \
	void fn##_st(struct x86_cpu *c, const struct x86_insn *i)  \
	{                                                          \
		x86_vec_check(c, X86_A_SSE);                       \
		x86_vec_store(c, i, &DST->q[h], 8);                \
	}                                                          \
	void fn##_vst(struct x86_cpu *c, const struct x86_insn *i) \
	{                                                          \
		x86_vec_check(c, X86_A_AVX);                       \
		x86_vec_store(c, i, &DST->q[h], 8);                \
	}
MOV_HALF(op_movl, 0)
MOV_HALF(op_movh, 1)

void op_movhl(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	DST->q[0] = RM->q[1];
}

void op_movlh(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	DST->q[1] = RM->q[0];
}

void op_movhl_v(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	*DST = (union x86_vec){ .q = { RM->q[1], SRC1->q[1] } };
}

void op_movlh_v(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	*DST = (union x86_vec){ .q = { SRC1->q[0], RM->q[0] } };
}

/* MOVD and MOVQ with a general register or memory. */
static inline uint64_t ld_ey(struct x86_cpu *c, const struct x86_insn *i)
{
	return x86_ld(c, i->seg, x86_ea(c, i), i->rex_w ? 8 : 4);
}

static inline uint64_t reg_ey(struct x86_cpu *c, const struct x86_insn *i)
{
	return i->rex_w ? c->gpr[i->rm] : (uint32_t)c->gpr[i->rm];
}

static inline void set_low16(union x86_vec *to, uint64_t lo, uint64_t hi)
{
	to->q[0] = lo;
	to->q[1] = hi;
}

void op_movd_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	set_low16(DST, reg_ey(c, i), 0);
}

void op_movd_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	set_low16(DST, ld_ey(c, i), 0);
}

void op_vmovd_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	*DST = (union x86_vec){ .q = { reg_ey(c, i) } };
}

void op_vmovd_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	*DST = (union x86_vec){ .q = { ld_ey(c, i) } };
}

static inline void movd_st(struct x86_cpu *c, const struct x86_insn *i, uint32_t attr)
{
	x86_vec_check(c, attr);
	if (i->mem)
		x86_st(c, i->seg, x86_ea(c, i), DST->q[0], i->rex_w ? 8 : 4);
	else
		c->gpr[i->rm] = i->rex_w ? DST->q[0] : DST->d[0];
}

void op_movd_st_r(struct x86_cpu *c, const struct x86_insn *i) { movd_st(c, i, X86_A_SSE); }
void op_movd_st_m(struct x86_cpu *c, const struct x86_insn *i) { movd_st(c, i, X86_A_SSE); }
void op_vmovd_st_r(struct x86_cpu *c, const struct x86_insn *i) { movd_st(c, i, X86_A_AVX); }
void op_vmovd_st_m(struct x86_cpu *c, const struct x86_insn *i) { movd_st(c, i, X86_A_AVX); }

/* MOVQ xmm, xmm/m64 and back: the other half of the 128 bits is cleared. */
void op_movq_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	set_low16(DST, RM->q[0], 0);
}

void op_movq_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	set_low16(DST, x86_ld64(c, i->seg, x86_ea(c, i)), 0);
}

void op_vmovq_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	*DST = (union x86_vec){ .q = { RM->q[0] } };
}

void op_vmovq_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	*DST = (union x86_vec){ .q = { x86_ld64(c, i->seg, x86_ea(c, i)) } };
}

void op_movq_st_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	set_low16(RM, DST->q[0], 0);
}

void op_movq_st_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	x86_st64(c, i->seg, x86_ea(c, i), DST->q[0]);
}

void op_vmovq_st_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	*RM = (union x86_vec){ .q = { DST->q[0] } };
}

void op_vmovq_st_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	x86_st64(c, i->seg, x86_ea(c, i), DST->q[0]);
}

/* PINSRx: element imm8 of the low 128 bits from a register or memory. */
#define PINSR(fn, vfn, size, n, m)                                                      \
	static inline uint64_t fn##_src(struct x86_cpu *c, const struct x86_insn *i)    \
	{                                                                               \
		return i->mem ? x86_ld(c, i->seg, x86_ea(c, i), size) : c->gpr[i->rm];  \
	}                                                                               \
	static inline void fn##_legacy(struct x86_cpu *c, const struct x86_insn *i)     \
	{                                                                               \
		x86_vec_check(c, X86_A_SSE);                                            \
		DST->m[i->imm & (n - 1)] = (__typeof__(DST->m[0]))fn##_src(c, i);       \
	}                                                                               \
	static inline void fn##_vex(struct x86_cpu *c, const struct x86_insn *i)        \
	{                                                                               \
		union x86_vec v;                                                        \
		x86_vec_check(c, X86_A_AVX);                                            \
		vmov(&v, SRC1, 0);                                                      \
		v.m[i->imm & (n - 1)] = (__typeof__(v.m[0]))fn##_src(c, i);             \
		*DST = v;                                                               \
	}                                                                               \
	void fn##_r(struct x86_cpu *c, const struct x86_insn *i) { fn##_legacy(c, i); } \
	void fn##_m(struct x86_cpu *c, const struct x86_insn *i) { fn##_legacy(c, i); } \
	void vfn##_r(struct x86_cpu *c, const struct x86_insn *i) { fn##_vex(c, i); }   \
	void vfn##_m(struct x86_cpu *c, const struct x86_insn *i) { fn##_vex(c, i); }
PINSR(op_pinsrb, op_pinsrb_v, 1, 16, b)
PINSR(op_pinsrw, op_vpinsrw, 2, 8, w)

static inline void put_y(struct x86_cpu *c, const struct x86_insn *i, union x86_vec *v)
{
	uint64_t x = i->mem ? ld_ey(c, i) : c->gpr[i->rm];

	if (i->rex_w)
		v->q[i->imm & 1] = x;
	else
		v->d[i->imm & 3] = (uint32_t)x;
}

static inline void pinsry(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	put_y(c, i, DST);
}

static inline void vpinsry(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec v;

	x86_vec_check(c, X86_A_AVX);
	vmov(&v, SRC1, 0);
	put_y(c, i, &v);
	*DST = v;
}

void op_pinsry_r(struct x86_cpu *c, const struct x86_insn *i) { pinsry(c, i); }
void op_pinsry_m(struct x86_cpu *c, const struct x86_insn *i) { pinsry(c, i); }
void op_pinsry_v_r(struct x86_cpu *c, const struct x86_insn *i) { vpinsry(c, i); }
void op_pinsry_v_m(struct x86_cpu *c, const struct x86_insn *i) { vpinsry(c, i); }

/* PEXTRx, EXTRACTPS: zero-extended into a register, or to memory. */
static inline void extract(struct x86_cpu *c, const struct x86_insn *i, uint32_t attr, uint64_t v,
			   unsigned size)
{
	x86_vec_check(c, attr);
	if (i->mem)
		x86_st(c, i->seg, x86_ea(c, i), v, size);
	else
		c->gpr[i->rm] = v;
}

#define PEXTR(fn, value, size)                                     \
	void fn##_r(struct x86_cpu *c, const struct x86_insn *i)   \
	{                                                          \
		extract(c, i, X86_A_SSE, value, size);             \
	}                                                          \
	void fn##_m(struct x86_cpu *c, const struct x86_insn *i)   \
	{                                                          \
		extract(c, i, X86_A_SSE, value, size);             \
	}                                                          \
	void fn##_v_r(struct x86_cpu *c, const struct x86_insn *i) \
	{                                                          \
		extract(c, i, X86_A_AVX, value, size);             \
	}                                                          \
	void fn##_v_m(struct x86_cpu *c, const struct x86_insn *i) \
	{                                                          \
		extract(c, i, X86_A_AVX, value, size);             \
	}
PEXTR(op_pextrb, DST->b[i->imm & 15], 1)
PEXTR(op_pextrw, DST->w[i->imm & 7], 2)
PEXTR(op_pextry, i->rex_w ? DST->q[i->imm & 1] : DST->d[i->imm & 3], i->rex_w ? 8 : 4)
PEXTR(op_extractps, DST->d[i->imm & 3], 4)

/* PEXTRW Gd, U: the older form. */
void op_pextrw_g(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	c->gpr[i->reg] = RM->w[i->imm & 7];
}

void op_vpextrw_g(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	c->gpr[i->reg] = RM->w[i->imm & 7];
}

/* INSERTPS: source element imm[7:6] (memory has only one), destination [5:4],
 * zero mask [3:0]. */
static inline void insertps(struct x86_cpu *c, const struct x86_insn *i, union x86_vec *v)
{
	uint32_t x = i->mem ? x86_ld32(c, i->seg, x86_ea(c, i)) : RM->d[i->imm >> 6 & 3];

	v->d[i->imm >> 4 & 3] = x;
	for (unsigned n = 0; n < 4; n++)
		if (i->imm >> n & 1)
			v->d[n] = 0;
}

static inline void insertps_vex(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec v;

	x86_vec_check(c, X86_A_AVX);
	vmov(&v, SRC1, 0);
	insertps(c, i, &v);
	*DST = v;
}

void op_insertps_r(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	insertps(c, i, DST);
}

void op_insertps_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_SSE);
	insertps(c, i, DST);
}

void op_vinsertps_r(struct x86_cpu *c, const struct x86_insn *i) { insertps_vex(c, i); }
void op_vinsertps_m(struct x86_cpu *c, const struct x86_insn *i) { insertps_vex(c, i); }

/* VINSERTx128, VEXTRACTx128 */
static inline void vinsert128(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec v, m;

	x86_vec_check(c, X86_A_AVX);
	if (i->mem)
		x86_vec_load(c, i, &m, 16);
	else
		m = *RM;
	v = *SRC1;
	memcpy(&v.q[i->imm & 1 ? 2 : 0], &m, 16);
	*DST = v;
}

void op_vinsert128_r(struct x86_cpu *c, const struct x86_insn *i) { vinsert128(c, i); }
void op_vinsert128_m(struct x86_cpu *c, const struct x86_insn *i) { vinsert128(c, i); }

void op_vextract128_r(struct x86_cpu *c, const struct x86_insn *i)
{
	const uint64_t *q = &DST->q[i->imm & 1 ? 2 : 0];

	x86_vec_check(c, X86_A_AVX);
	*RM = (union x86_vec){ .q = { q[0], q[1] } };
}

void op_vextract128_m(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	x86_vec_store(c, i, &DST->q[i->imm & 1 ? 2 : 0], 16);
}

/* Broadcasts: from a register the lowest element. */
#define BROADCAST(bits, m)                                                            \
	static void broadcast##bits(union x86_vec *to, unsigned vl, uint##bits##_t x) \
	{                                                                             \
		union x86_vec v = { 0 };                                              \
		for (unsigned n = 0; n < (vl ? 256 : 128) / bits; n++)                \
			v.m[n] = x;                                                   \
		*to = v;                                                              \
	}                                                                             \
	void op_vbroadcast##bits##_r(struct x86_cpu *c, const struct x86_insn *i)     \
	{                                                                             \
		x86_vec_check(c, X86_A_AVX);                                          \
		broadcast##bits(DST, i->vl, RM->m[0]);                                \
	}                                                                             \
	void op_vbroadcast##bits##_m(struct x86_cpu *c, const struct x86_insn *i)     \
	{                                                                             \
		x86_vec_check(c, X86_A_AVX);                                          \
		broadcast##bits(DST, i->vl, x86_ld##bits(c, i->seg, x86_ea(c, i)));   \
	}
BROADCAST(8, b)
BROADCAST(16, w)
BROADCAST(32, d)
BROADCAST(64, q)

void op_vbroadcast128(struct x86_cpu *c, const struct x86_insn *i)
{
	union x86_vec v;

	x86_vec_check(c, X86_A_AVX);
	x86_vec_load(c, i, &v, 16);
	v.q[2] = v.q[0];
	v.q[3] = v.q[1];
	*DST = v;
}

/* Outside 64-bit code only the first eight registers exist. */
static inline unsigned vec_regs(const struct x86_cpu *c) { return c->code64 ? 16 : 8; }

void op_vzeroupper(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	for (unsigned n = 0; n < vec_regs(c); n++)
		x86_vec_zero_upper(&c->ymm[n]);
}

void op_vzeroall(struct x86_cpu *c, const struct x86_insn *i)
{
	x86_vec_check(c, X86_A_AVX);
	memset(c->ymm, 0, vec_regs(c) * sizeof(c->ymm[0]));
}

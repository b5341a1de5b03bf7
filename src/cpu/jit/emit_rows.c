/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which emitter does which row of the operation table, and which forms none does.
 */
#include "src/cpu/jit/emit_ops.h"

#define ALU(ID)                                                                                  \
	[X86_OP_##ID##_EbGb] = e_alu_EG, [X86_OP_##ID##_EvGv] = e_alu_EG,                        \
	[X86_OP_##ID##_GbEb] = e_alu_GE, [X86_OP_##ID##_GvEv] = e_alu_GE,                        \
	[X86_OP_##ID##_ALIb] = e_alu_EI, [X86_OP_##ID##_rAXIz] = e_alu_EI,                       \
	[X86_OP_##ID##_EbIb] = e_alu_EI, [X86_OP_##ID##_EvIz] = e_alu_EI,                        \
	[X86_OP_##ID##_EbIb82] = e_alu_EI, [X86_OP_##ID##_EvIb] = e_alu_EI
#define SHIFT(ID)                                                                                \
	[X86_OP_##ID##_EbIb] = e_shift_I, [X86_OP_##ID##_EvIb] = e_shift_I,                      \
	[X86_OP_##ID##_Eb1] = e_shift_1, [X86_OP_##ID##_Ev1] = e_shift_1,                        \
	[X86_OP_##ID##_EbCL] = e_shift_C, [X86_OP_##ID##_EvCL] = e_shift_C
#define CC(X)                                                                                    \
	[X86_OP_J##X##_Jb] = e_jcc_row, [X86_OP_J##X##_Jz] = e_jcc_row,                          \
	[X86_OP_SET##X] = e_setcc, [X86_OP_CMOV##X] = e_cmov
#define BIT(ID) [X86_OP_##ID##_EvGv] = e_bt, [X86_OP_##ID##_EvIb] = e_bt
#define BOTH(ID, fn) [X86_OP_##ID##_Eb] = fn, [X86_OP_##ID##_Ev] = fn
#define TWO(ID, fn) [X86_OP_##ID##_EbGb] = fn, [X86_OP_##ID##_EvGv] = fn

const emit_fn jit_emitters[X86_NOPS] = {
	ALU(ADD), ALU(OR), ALU(ADC), ALU(SBB), ALU(AND), ALU(SUB), ALU(XOR), ALU(CMP),
	SHIFT(ROL), SHIFT(ROR), SHIFT(RCL), SHIFT(RCR), SHIFT(SHL), SHIFT(SHR), SHIFT(SAL),
	SHIFT(SAR),
	CC(O), CC(NO), CC(B), CC(NB), CC(Z), CC(NZ), CC(BE), CC(NBE),
	CC(S), CC(NS), CC(P), CC(NP), CC(L), CC(NL), CC(LE), CC(NLE),
	BIT(BT), BIT(BTS), BIT(BTR), BIT(BTC),
	BOTH(INC, e_inc), BOTH(DEC, e_dec), BOTH(NOT, e_not), BOTH(NEG, e_neg),
	BOTH(MUL, e_mul), BOTH(IMUL, e_mul), BOTH(CMPXCHG, e_cmpxchg), BOTH(XADD, e_xadd),
	[X86_OP_DIV_Ev] = e_div, [X86_OP_IDIV_Ev] = e_div,
	[X86_OP_INC_Zv] = e_inc, [X86_OP_DEC_Zv] = e_dec,
	TWO(TEST, e_test_EG), TWO(XCHG, e_xchg), TWO(MOV, e_mov_EG),
	[X86_OP_TEST_ALIb] = e_test_EI, [X86_OP_TEST_rAXIz] = e_test_EI,
	[X86_OP_TEST_EbI0] = e_test_EI, [X86_OP_TEST_EvI0] = e_test_EI,
	[X86_OP_TEST_EbI1] = e_test_EI, [X86_OP_TEST_EvI1] = e_test_EI,
	[X86_OP_MOV_GbEb] = e_mov_GE, [X86_OP_MOV_GvEv] = e_mov_GE,
	[X86_OP_MOV_ZbIb] = e_mov_EI, [X86_OP_MOV_ZvIv] = e_mov_EI,
	[X86_OP_MOV_EbIb] = e_mov_EI, [X86_OP_MOV_EvIz] = e_mov_EI,
	[X86_OP_MOVNTI] = e_mov_EG,
	[X86_OP_MOVZX_Eb] = e_movzx_b, [X86_OP_MOVZX_Ew] = e_movzx_w,
	[X86_OP_MOVSX_Eb] = e_movsx_b, [X86_OP_MOVSX_Ew] = e_movsx_w, [X86_OP_MOVSXD] = e_movsxd,
	[X86_OP_LEA] = e_lea, [X86_OP_XCHG_ZvrAX] = e_xchg_a, [X86_OP_BSWAP] = e_bswap,
	[X86_OP_CBW] = e_cbw, [X86_OP_CWD] = e_cwd,
	[X86_OP_SHLD_Ib] = e_shld, [X86_OP_SHLD_CL] = e_shld,
	[X86_OP_SHRD_Ib] = e_shld, [X86_OP_SHRD_CL] = e_shld,
	[X86_OP_IMUL_GvEv] = e_imul_GE, [X86_OP_IMUL_GvEvIz] = e_imul_GEI,
	[X86_OP_IMUL_GvEvIb] = e_imul_GEI,
	[X86_OP_BSF] = e_count, [X86_OP_BSR] = e_count, [X86_OP_TZCNT] = e_count,
	[X86_OP_LZCNT] = e_count, [X86_OP_POPCNT] = e_count,
	[X86_OP_SHLX] = e_vex_GEB, [X86_OP_SHRX] = e_vex_GEB, [X86_OP_SARX] = e_vex_GEB,
	[X86_OP_BZHI] = e_vex_GEB, [X86_OP_BEXTR] = e_vex_GEB, [X86_OP_RORX] = e_vex_GEB,
	[X86_OP_PEXT] = e_vex_GEB, [X86_OP_PDEP] = e_vex_GEB, [X86_OP_ANDN] = e_vex_GEB,
	[X86_OP_BLSR] = e_vex_BE, [X86_OP_BLSMSK] = e_vex_BE, [X86_OP_BLSI] = e_vex_BE,
	[X86_OP_MULX] = e_mulx, [X86_OP_ADCX] = e_adcx, [X86_OP_ADOX] = e_adcx,
	[X86_OP_CRC32_Eb] = e_crc32, [X86_OP_CRC32_Ev] = e_crc32,
	[X86_OP_MOVBE_GM] = e_movbe, [X86_OP_MOVBE_GM66] = e_movbe,
	[X86_OP_MOVBE_MG] = e_movbe, [X86_OP_MOVBE_MG66] = e_movbe,
	[X86_OP_CMC] = e_carry, [X86_OP_CLC] = e_carry, [X86_OP_STC] = e_carry,
	[X86_OP_NOP] = e_nop, [X86_OP_PREFETCHW] = e_nop, [X86_OP_PREFETCH] = e_nop,
	[X86_OP_PREFETCHNTA] = e_nop, [X86_OP_PREFETCHT0] = e_nop, [X86_OP_PREFETCHT1] = e_nop,
	[X86_OP_PREFETCHT2] = e_nop,
	[X86_OP_NOP_18] = e_nop, [X86_OP_NOP_19] = e_nop, [X86_OP_NOP_1a] = e_nop,
	[X86_OP_NOP_1b] = e_nop, [X86_OP_NOP_1c] = e_nop, [X86_OP_NOP_1d] = e_nop,
	[X86_OP_NOP_1e] = e_nop, [X86_OP_NOP_1f] = e_nop,
	[X86_OP_LFENCE] = e_fence, [X86_OP_MFENCE] = e_fence, [X86_OP_SFENCE] = e_fence,
	[X86_OP_PUSH_Zv] = e_push, [X86_OP_PUSH_Ev] = e_push,
	[X86_OP_PUSH_Iz] = e_push_I, [X86_OP_PUSH_Ib] = e_push_I, [X86_OP_POP_Zv] = e_pop,
	[X86_OP_LEAVE] = e_leave,
	[X86_OP_JCXZ] = e_jcxz,
	[X86_OP_LOOP] = e_loop, [X86_OP_LOOPE] = e_loop, [X86_OP_LOOPNE] = e_loop,
	[X86_OP_JMP_Jz] = e_jmp, [X86_OP_JMP_Jb] = e_jmp, [X86_OP_JMP_Ev] = e_jmp_E,
	[X86_OP_PUSHF] = e_pushf, [X86_OP_MOV_EvSw] = e_mov_from_seg,
	[X86_OP_RDFSBASE] = e_rdbase, [X86_OP_RDGSBASE] = e_rdbase,
	[X86_OP_CMPXCHG8B] = e_cmpxchg_wide, [X86_OP_CMPXCHG16B] = e_cmpxchg_wide,
	[X86_OP_CALL_Jz] = e_call, [X86_OP_CALL_Ev] = e_call_E,
	[X86_OP_RET] = e_ret, [X86_OP_RET_Iw] = e_ret,
};

/* For a byte operand AH, CH, DH or BH. */
#define HIGH(ID)                                                                                 \
	[X86_OP_##ID##_EbGb] = e_high_two, [X86_OP_##ID##_GbEb] = e_high_two,                    \
	[X86_OP_##ID##_EbIb] = e_high_imm, [X86_OP_##ID##_EbIb82] = e_high_imm

static const emit_fn high_emitters[X86_NOPS] = {
	HIGH(ADD), HIGH(OR), HIGH(ADC), HIGH(SBB), HIGH(AND), HIGH(SUB), HIGH(XOR), HIGH(CMP),
	[X86_OP_TEST_EbGb] = e_high_two, [X86_OP_TEST_EbI0] = e_high_imm,
	[X86_OP_TEST_EbI1] = e_high_imm, [X86_OP_MOV_EbGb] = e_high_two,
	[X86_OP_MOV_GbEb] = e_high_two, [X86_OP_MOV_EbIb] = e_high_imm,
	[X86_OP_MOV_ZbIb] = e_high_imm,
};

/* At CPL 0 of 64-bit code only. */
static const emit_fn kernel_emitters[X86_NOPS] = {
	[X86_OP_CLI] = e_cli, [X86_OP_STI] = e_sti, [X86_OP_SWAPGS] = e_swapgs,
};

static bool is_high(unsigned r)
{
	return r >= X86_REG_HIGH8 && r < X86_REG_HIGH8 + 4;
}

static bool uses_high(const struct x86_insn *i)
{
	return i->row->attr & X86_A_BYTE && (is_high(i->reg) || (!i->mem && is_high(i->rm)));
}

static bool is_bit_string(const struct x86_insn *i)
{
	switch (i->row->id) {
	case X86_OP_BT_EvGv: case X86_OP_BTS_EvGv: case X86_OP_BTR_EvGv: case X86_OP_BTC_EvGv:
		return i->mem;
	default:
		return false;
	}
}

/* The row's emitter for this form of it, whatever the block. */
static emit_fn form_emitter(const struct x86_insn *i)
{
	if (is_bit_string(i))
		return i->adsize == 8 ? e_bt_string : NULL;
	if (uses_high(i) && high_emitters[i->row->id])
		return high_emitters[i->row->id];
	return jit_emitters[i->row->id];
}

static bool uses_stack(const struct x86_insn *i)
{
	switch (i->row->id) {
	case X86_OP_PUSH_Zv: case X86_OP_PUSH_Ev: case X86_OP_PUSH_Iz: case X86_OP_PUSH_Ib:
	case X86_OP_POP_Zv: case X86_OP_PUSHF: case X86_OP_LEAVE: case X86_OP_CALL_Jz: case X86_OP_CALL_Ev:
	case X86_OP_RET: case X86_OP_RET_Iw:
		return true;
	default:
		return false;
	}
}

/* Forms that an emitter does not do. */
static bool too_special(const struct x86_insn *i)
{
	bool byte = i->row->attr & X86_A_BYTE;

	switch (i->row->id) {
	case X86_OP_DIV_Ev: case X86_OP_IDIV_Ev:
		return i->opsize == 2;
	case X86_OP_ROL_EbCL: case X86_OP_ROL_EvCL: case X86_OP_ROR_EbCL: case X86_OP_ROR_EvCL:
	case X86_OP_RCL_EbCL: case X86_OP_RCL_EvCL: case X86_OP_RCR_EbCL: case X86_OP_RCR_EvCL:
	case X86_OP_SHL_EbCL: case X86_OP_SHL_EvCL: case X86_OP_SHR_EbCL: case X86_OP_SHR_EvCL:
	case X86_OP_SAL_EbCL: case X86_OP_SAL_EvCL: case X86_OP_SAR_EbCL: case X86_OP_SAR_EvCL:
		return i->mem || (byte && i->rm >= X86_REG_HIGH8);
	case X86_OP_SHLD_Ib: case X86_OP_SHLD_CL: case X86_OP_SHRD_Ib: case X86_OP_SHRD_CL:
		return i->mem || jit_home[i->reg] < 0;
	case X86_OP_CMPXCHG8B: case X86_OP_CMPXCHG16B:
		return !i->mem;
	case X86_OP_PUSHF:
		return i->opsize != 8;
	case X86_OP_MOV_EvSw:
		return i->mem;
	case X86_OP_CMPXCHG_Eb: case X86_OP_CMPXCHG_Ev: case X86_OP_XADD_Eb: case X86_OP_XADD_Ev:
		return !i->mem || i->reg >= X86_REG_HIGH8;
	case X86_OP_MOVBE_GM: case X86_OP_MOVBE_GM66: case X86_OP_MOVBE_MG: case X86_OP_MOVBE_MG66:
	case X86_OP_BSWAP: case X86_OP_CALL_Ev: case X86_OP_JMP_Ev:
		return i->opsize == 2;
	case X86_OP_MOVZX_Eb: case X86_OP_MOVSX_Eb:
		return false; /* AH and the like are fine as a source */
	case X86_OP_MUL_Eb: case X86_OP_IMUL_Eb: case X86_OP_CRC32_Eb:
		return !i->mem && i->rm >= X86_REG_HIGH8;
	default:
		return uses_high(i) && !high_emitters[i->row->id];
	}
}

/* An LEA or a NOP has a memory operand that it does not touch. */
static bool touches_memory(const struct x86_insn *i)
{
	return i->mem && jit_emitters[i->row->id] != e_lea && jit_emitters[i->row->id] != e_nop;
}

bool jit_may_fault(const struct x86_insn *i)
{
	if (jit_is_vec(i) || jit_is_x87(i))
		return true;
	return touches_memory(i) || uses_stack(i) || !form_emitter(i) || too_special(i) ||
	       jit_emitters[i->row->id] == e_div || (i->row->attr & X86_A_END);
}

bool jit_only_access_faults(const struct x86_insn *i)
{
	return !jit_is_vec(i) && !jit_is_x87(i) && form_emitter(i) && !too_special(i) &&
	       jit_emitters[i->row->id] != e_div && jit_emitters[i->row->id] != e_rdbase &&
	       !(i->row->attr & X86_A_END);
}

emit_fn jit_emitter(const struct x86_insn *i, uint32_t key)
{
	bool m64 = key & X86_MODE_64;
	emit_fn fn;

	if (jit_is_vec(i) || jit_is_x87(i)) {
		if (i->mem && (i->adsize == 2 || (!m64 && !JIT_KEY_FLAT(key, i->seg))))
			return NULL;
		return jit_is_vec(i) ? e_vec : e_x87;
	}
	if (m64 && (key & JIT_KEY_CPL0) && kernel_emitters[i->row->id])
		return kernel_emitters[i->row->id];
	fn = form_emitter(i);
	if (!fn || too_special(i))
		return NULL;
	if (uses_stack(i)) {
		if (i->opsize != (m64 ? 8 : 4))
			return NULL;
		if (!m64 && (!(key & JIT_KEY_STACK32) || !JIT_KEY_FLAT(key, X86_SS)))
			return NULL;
	}
	if (touches_memory(i)) {
		if (i->adsize == 2 || (!m64 && !JIT_KEY_FLAT(key, i->seg)))
			return NULL;
		/* [disp32] with a 64-bit displacement does not occur: moffs has no
		 * emitter. */
	}
	if ((i->row->id == X86_OP_LEA || fn == e_jcxz || fn == e_loop) && i->adsize == 2)
		return NULL;
	if (!m64 && i->opsize == 2 && (i->row->attr & X86_A_END))
		return NULL; /* 16-bit targets are truncated */
	return fn;
}

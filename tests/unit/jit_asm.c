/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The translator's assembler against Zydis: every function with every register and
 * form of operand, assembled and decoded back.
 */
#include <stdio.h>
#include <stdlib.h>

#include <Zydis/Zydis.h>

#include "tests/unit/cmocka_all.h"

#include "src/base/bits.h"
#include "src/cpu/jit/asm.h"

#define ROOM 64u
#define CANARY 0xa5

struct rig {
	ZydisDecoder z;
	uint8_t buf[ROOM + 16];
	struct asm_buf a;
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t *at; /* of the next instruction to decode */
	unsigned long decoded;
};

static const int32_t disps[] = { 0, 1, -1, 127, -128, 128, -129, 0x7fffffff, INT32_MIN };
static const unsigned sizes[] = { 1, 2, 4, 8 };

static void begin(struct rig *r)
{
	memset(r->buf, CANARY, sizeof(r->buf));
	r->a = (struct asm_buf){ .p = r->buf, .end = r->buf + ROOM };
	r->at = r->buf;
}

/* Decodes the next instruction, which must be @name. */
static void next(struct rig *r, ZydisMnemonic name)
{
	ZyanStatus s = ZydisDecoderDecodeFull(&r->z, r->at, (size_t)(r->a.p - r->at), &r->i, r->op);

	if (!ZYAN_SUCCESS(s) || r->i.mnemonic != name) {
		for (uint8_t *p = r->at; p < r->a.p; p++)
			print_error("%02x ", *p);
		fail_msg("%s, wanted %s", ZYAN_SUCCESS(s) ? ZydisMnemonicGetString(r->i.mnemonic)
							  : "nothing", ZydisMnemonicGetString(name));
	}
	r->at += r->i.length;
	r->decoded++;
}

static void end(struct rig *r)
{
	assert_false(r->a.full);
	assert_ptr_equal(r->at, r->a.p);
}

static ZydisRegister gpr(unsigned n, unsigned size)
{
	switch (size) {
	case 1: return ZydisRegisterEncode(ZYDIS_REGCLASS_GPR8, (ZyanU8)(n < 4 ? n : n + 4));
	case 2: return ZydisRegisterEncode(ZYDIS_REGCLASS_GPR16, (ZyanU8)n);
	case 4: return ZydisRegisterEncode(ZYDIS_REGCLASS_GPR32, (ZyanU8)n);
	default: return ZydisRegisterEncode(ZYDIS_REGCLASS_GPR64, (ZyanU8)n);
	}
}

static ZydisRegister maybe(int n)
{
	return n < 0 ? ZYDIS_REGISTER_NONE : gpr((unsigned)n, 8);
}

static void is_reg(const struct rig *r, unsigned k, unsigned n, unsigned size)
{
	assert_int_equal(r->op[k].type, ZYDIS_OPERAND_TYPE_REGISTER);
	assert_int_equal(r->op[k].reg.value, gpr(n, size));
}

/* Operand @k is @rm, of @size bytes (0: not looked at). */
static void is_rm(const struct rig *r, unsigned k, struct a_rm rm, unsigned size)
{
	const ZydisDecodedOperandMem *m = &r->op[k].mem;

	if (rm.reg) {
		is_reg(r, k, (unsigned)rm.base, size);
		return;
	}
	assert_int_equal(r->op[k].type, ZYDIS_OPERAND_TYPE_MEMORY);
	if (size)
		assert_int_equal(r->op[k].size, 8 * size);
	assert_int_equal(m->base, maybe(rm.base));
	assert_int_equal(m->index, maybe(rm.index));
	if (rm.index >= 0)
		assert_int_equal(m->scale, 1 << rm.scale);
	assert_int_equal((int64_t)m->disp.value, rm.disp);
	assert_int_equal(m->segment == ZYDIS_REGISTER_GS, rm.gs);
}

static void is_imm(const struct rig *r, unsigned k, unsigned size, int64_t v)
{
	assert_int_equal(r->op[k].type, ZYDIS_OPERAND_TYPE_IMMEDIATE);
	assert_int_equal(r->op[k].imm.value.u & low_mask(size * 8), (uint64_t)v & low_mask(size * 8));
}

/*
 * Every operand of the ModRM.rm kind.
 */
typedef void (*with_rm)(struct rig *r, struct a_rm rm);

static void each_memory(struct rig *r, with_rm fn)
{
	for (unsigned d = 0; d < array_size(disps); d++) {
		fn(r, (struct a_rm){ .base = -1, .index = -1, .disp = disps[d] });
		fn(r, A_GS(disps[d]));
		for (int8_t base = 0; base < 16; base++) {
			fn(r, A_MEM(base, disps[d]));
			fn(r, A_GSX(base, disps[d]));
		}
	}
	for (int8_t base = -1; base < 16; base++)
		for (int8_t index = 0; index < 16; index++)
			for (uint8_t scale = 0; index != H_RSP && scale < 4; scale++) {
				int32_t disp = disps[(unsigned)(base + index + scale + 1) %
						     array_size(disps)];

				fn(r, A_MEMX(base, index, scale, disp));
				fn(r, (struct a_rm){ .gs = true, .base = base, .index = index,
						     .scale = scale, .disp = disp });
			}
}

static void each_rm(struct rig *r, with_rm fn)
{
	for (int8_t n = 0; n < 16; n++)
		fn(r, A_REG(n));
	each_memory(r, fn);
}

static void moves(struct rig *r, struct a_rm rm)
{
	for (unsigned s = 0; s < array_size(sizes); s++)
		for (unsigned reg = 0; reg < 16; reg++) {
			begin(r);
			a_load(&r->a, sizes[s], reg, rm);
			a_store(&r->a, sizes[s], rm, reg);
			next(r, ZYDIS_MNEMONIC_MOV);
			is_reg(r, 0, reg, sizes[s]);
			is_rm(r, 1, rm, sizes[s]);
			next(r, ZYDIS_MNEMONIC_MOV);
			is_rm(r, 0, rm, sizes[s]);
			is_reg(r, 1, reg, sizes[s]);
			end(r);
		}
}

static void extending(struct rig *r, struct a_rm rm)
{
	for (unsigned k = 0; k < 64; k++) {
		unsigned reg = k & 15, from = k & 16 ? 1 : 2, sign = k >> 5;

		for (unsigned size = from == 1 ? 2 : 4; size <= 8; size *= 2) {
			begin(r);
			a_movx(&r->a, sign, size, reg, from, rm);
			next(r, sign ? ZYDIS_MNEMONIC_MOVSX : ZYDIS_MNEMONIC_MOVZX);
			is_reg(r, 0, reg, size);
			is_rm(r, 1, rm, from);
			end(r);
		}
	}
}

static void addresses(struct rig *r, struct a_rm rm)
{
	if (rm.gs)
		return; /* LEA knows no segment */
	for (unsigned reg = 0; reg < 16; reg++)
		for (unsigned size = 2; size <= 8; size *= 2) {
			begin(r);
			a_lea(&r->a, size, reg, rm);
			next(r, ZYDIS_MNEMONIC_LEA);
			is_reg(r, 0, reg, size);
			is_rm(r, 1, rm, 0);
			end(r);
		}
}

static const ZydisMnemonic alu_names[] = {
	ZYDIS_MNEMONIC_ADD, ZYDIS_MNEMONIC_OR, ZYDIS_MNEMONIC_ADC, ZYDIS_MNEMONIC_SBB,
	ZYDIS_MNEMONIC_AND, ZYDIS_MNEMONIC_SUB, ZYDIS_MNEMONIC_XOR, ZYDIS_MNEMONIC_CMP,
};

static void arithmetic(struct rig *r, struct a_rm rm)
{
	for (unsigned k = 0; k < 8 * 16; k++) {
		unsigned op = k & 7, reg = k >> 3, size = sizes[(k + (unsigned)rm.disp) & 3];

		begin(r);
		a_alu(&r->a, (enum a_alu)op, size, reg, rm);
		next(r, alu_names[op]);
		is_reg(r, 0, reg, size);
		is_rm(r, 1, rm, size);
		end(r);
	}
}

static void immediates(struct rig *r, struct a_rm rm)
{
	static const int32_t values[] = { 0, 1, -1, 127, -128, 128, 255, 0x7fff, 0x12345678,
					  INT32_MIN };

	for (unsigned op = 0; op < 8; op++)
		for (unsigned s = 0; s < array_size(sizes); s++)
			for (unsigned v = 0; v < array_size(values); v++) {
				begin(r);
				a_alui(&r->a, (enum a_alu)op, sizes[s], rm, values[v]);
				next(r, alu_names[op]);
				is_rm(r, 0, rm, sizes[s]);
				is_imm(r, 1, sizes[s], values[v]);
				end(r);
			}
}

/* The generic forms, with what the emitters use them for. */
static void generic(struct rig *r, struct a_rm rm)
{
	for (unsigned reg = 0; reg < 16; reg++) {
		begin(r);
		a_rr(&r->a, A_0F | 0xaf, 8, reg, rm);
		next(r, ZYDIS_MNEMONIC_IMUL);
		is_reg(r, 0, reg, 8);
		is_rm(r, 1, rm, 8);
		a_rr(&r->a, A_PF3 | A_0F | 0xb8, 4, reg, rm);
		next(r, ZYDIS_MNEMONIC_POPCNT);
		is_reg(r, 0, reg, 4);
		is_rm(r, 1, rm, 4);
		a_rr(&r->a, A_PF2 | A_0F38 | 0xf1, 8, reg, rm);
		next(r, ZYDIS_MNEMONIC_CRC32);
		is_reg(r, 0, reg, 8);
		is_rm(r, 1, rm, 8);
		a_rr(&r->a, 0x84, 1, reg, rm);
		next(r, ZYDIS_MNEMONIC_TEST);
		is_rm(r, 0, rm, 1);
		is_reg(r, 1, reg, 1);
		end(r);
		begin(r);
		a_rr(&r->a, A_P66 | A_0F3A | 0x0f, 4, reg, rm); /* PALIGNR */
		a_b(&r->a, 7);
		next(r, ZYDIS_MNEMONIC_PALIGNR);
		assert_int_equal(r->op[0].reg.value, ZYDIS_REGISTER_XMM0 + reg);
		if (rm.reg)
			assert_int_equal(r->op[1].reg.value, ZYDIS_REGISTER_XMM0 + rm.base);
		else
			is_rm(r, 1, rm, 16);
		is_imm(r, 2, 1, 7);
		end(r);
	}
	for (unsigned s = 0; s < array_size(sizes); s++) {
		unsigned size = sizes[s];

		begin(r);
		a_ext(&r->a, size == 1 ? 0xf6 : 0xf7, size, 2, rm);
		a_ext(&r->a, size == 1 ? 0xf6 : 0xf7, size, 0, rm);
		a_imm(&r->a, size, 0x89abcdef);
		a_ext(&r->a, size == 1 ? 0xc0 : 0xc1, size, 4, rm);
		a_b(&r->a, 3);
		next(r, ZYDIS_MNEMONIC_NOT);
		is_rm(r, 0, rm, size);
		next(r, ZYDIS_MNEMONIC_TEST);
		is_rm(r, 0, rm, size);
		is_imm(r, 1, size, (int32_t)0x89abcdef);
		next(r, ZYDIS_MNEMONIC_SHL);
		is_rm(r, 0, rm, size);
		is_imm(r, 1, 1, 3);
		end(r);
	}
}

static void test_moves(void **state)
{
	struct rig *r = *state;

	each_rm(r, moves);
	each_rm(r, extending);
	for (unsigned k = 0; k < 256; k++)
		for (unsigned s = 0; s < array_size(sizes); s++) {
			begin(r);
			a_mov(&r->a, sizes[s], k & 15, k >> 4);
			next(r, ZYDIS_MNEMONIC_MOV);
			is_reg(r, 0, k & 15, sizes[s]);
			is_reg(r, 1, k >> 4, sizes[s]);
			end(r);
		}
}

static void test_addresses(void **state) { each_memory(*state, addresses); }
static void test_arithmetic(void **state)
{
	each_rm(*state, arithmetic);
	each_rm(*state, immediates);
}
static void test_generic(void **state) { each_rm(*state, generic); }

static void test_constants(void **state)
{
	static const uint64_t values[] = {
		0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
		0x123456789abcdef0, ~0ull, 0xffffffff80000000, 0xffffffff7fffffff,
		0x8000000000000000,
	};
	struct rig *r = *state;

	for (unsigned reg = 0; reg < 16; reg++)
		for (unsigned v = 0; v < array_size(values); v++) {
			bool half = values[v] >> 32 == 0;

			begin(r);
			a_movi(&r->a, reg, values[v]);
			/* A move, so that flags stay; never XOR. */
			next(r, ZYDIS_MNEMONIC_MOV);
			is_reg(r, 0, reg, half ? 4 : 8);
			is_imm(r, 1, half ? 4 : 8, (int64_t)values[v]);
			end(r);
			assert_true(r->i.length <= (half ? 6 : (int64_t)values[v] ==
							   (int32_t)values[v] ? 7 : 10));
		}
	for (unsigned k = 0; k < 256; k++)
		for (unsigned n = 0; n < 64; n += 7)
			for (unsigned size = 4; size <= 8; size += 4) {
				begin(r);
				a_rorx(&r->a, size, k & 15, k >> 4, n);
				next(r, ZYDIS_MNEMONIC_RORX);
				is_reg(r, 0, k & 15, size);
				is_reg(r, 1, k >> 4, size);
				is_imm(r, 2, 1, n);
				end(r);
			}
}

static void prefixed(struct rig *r, unsigned op, ZydisMnemonic name, unsigned size, unsigned reg,
		     unsigned rm)
{
	begin(r);
	a_rr(&r->a, op, size, reg, A_REG(rm));
	next(r, name);
	is_reg(r, 0, reg, size);
	is_reg(r, 1, rm, size);
	end(r);
}

static void test_prefixed(void **state)
{
	struct rig *r = *state;

	for (unsigned k = 0; k < 256; k++)
		for (unsigned size = 4; size <= 8; size += 4) {
			unsigned reg = k & 15, rm = k >> 4;

			prefixed(r, A_P66 | A_0F38 | 0xf6, ZYDIS_MNEMONIC_ADCX, size, reg, rm);
			prefixed(r, A_PF3 | A_0F38 | 0xf6, ZYDIS_MNEMONIC_ADOX, size, reg, rm);
			prefixed(r, A_PF2 | A_0F38 | 0xf1, ZYDIS_MNEMONIC_CRC32, size, reg, rm);
			begin(r);
			a_bswap(&r->a, size, reg);
			next(r, ZYDIS_MNEMONIC_BSWAP);
			is_reg(r, 0, reg, size);
			end(r);
		}
}

static void leads_to(struct rig *r, const uint8_t *from, const uint8_t *target)
{
	ZyanU64 to;

	assert_true(ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&r->i, &r->op[0],
							  (ZyanU64)(uintptr_t)from, &to)));
	assert_int_equal(to, (uintptr_t)target);
}

static void test_jumps(void **state)
{
	static const ZydisMnemonic names[] = {
		ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_JB, ZYDIS_MNEMONIC_JNB,
		ZYDIS_MNEMONIC_JZ, ZYDIS_MNEMONIC_JNZ, ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_JNBE,
		ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_JNS, ZYDIS_MNEMONIC_JP, ZYDIS_MNEMONIC_JNP,
		ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_JLE, ZYDIS_MNEMONIC_JNLE,
	};
	struct rig *r = *state;
	uint8_t *place;

	for (unsigned cc = 0; cc < 16; cc++)
		for (int delta = -1000000; delta <= 1000000; delta += 333333) {
			begin(r);
			place = a_jcc(&r->a, (enum host_cc)cc);
			a_set_rel(place, r->buf + delta);
			next(r, names[cc]);
			leads_to(r, r->buf, r->buf + delta);
			end(r);
		}
	begin(r);
	a_b(&r->a, 0x90);
	a_jmp_to(&r->a, r->buf);
	a_call_to(&r->a, r->buf + 1);
	place = a_jmp(&r->a);
	a_set_rel(place, r->a.p);
	next(r, ZYDIS_MNEMONIC_NOP);
	next(r, ZYDIS_MNEMONIC_JMP);
	leads_to(r, r->buf + 1, r->buf);
	next(r, ZYDIS_MNEMONIC_CALL);
	leads_to(r, r->buf + 6, r->buf + 1);
	next(r, ZYDIS_MNEMONIC_JMP);
	leads_to(r, r->buf + 11, r->a.p);
	end(r);
	begin(r);
	place = a_short(&r->a, 0xe3);
	a_movi(&r->a, H_R9, ~0ull >> 1);
	a_here(&r->a, place);
	next(r, ZYDIS_MNEMONIC_JRCXZ);
	leads_to(r, r->buf, r->a.p);
	next(r, ZYDIS_MNEMONIC_MOV);
	end(r);
}

static void test_flags(void **state)
{
	struct rig *r = *state;

	begin(r);
	a_save_flags(&r->a);
	a_restore_flags(&r->a);
	next(r, ZYDIS_MNEMONIC_LAHF);
	next(r, ZYDIS_MNEMONIC_SETO);
	is_reg(r, 0, H_RAX, 1);
	next(r, ZYDIS_MNEMONIC_ADD);
	is_reg(r, 0, H_RAX, 1);
	is_imm(r, 1, 1, 0x7f);
	next(r, ZYDIS_MNEMONIC_SAHF);
	end(r);
}

static void every_kind(struct asm_buf *a, unsigned k)
{
	switch (k) {
	case 0: a_load(a, 8, H_R15, A_GSX(H_R14, 0x12345678)); break;
	case 1: a_movi(a, H_R15, 0x123456789abcdef0); break;
	case 2: a_alui(a, ALU_ADD, 2, A_MEMX(H_R8, H_R9, 3, 0x1000), 0x1234); break;
	case 3: a_rorx(a, 8, H_R8, H_R9, 13); break;
	case 4: a_jmp_to(a, a->p); break;
	case 5: a_call_to(a, a->p); break;
	case 6: a_save_flags(a); a_restore_flags(a); break;
	case 7: a_here(a, a_short(a, 0xeb)); break;
	}
}

/* No room: it is said, and nothing past the end is touched. */
static void test_no_room(void **state)
{
	struct rig *r = *state;

	for (unsigned k = 0; k < 8; k++) {
		unsigned need;

		begin(r);
		every_kind(&r->a, k);
		need = (unsigned)(r->a.p - r->buf);
		assert_false(r->a.full);
		for (unsigned room = 0; room < need; room++) {
			begin(r);
			r->a.end = r->buf + room;
			every_kind(&r->a, k);
			assert_true(r->a.full);
			for (unsigned n = room; n < sizeof(r->buf); n++)
				assert_int_equal(r->buf[n], CANARY);
		}
	}
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	if (!r || !ZYAN_SUCCESS(ZydisDecoderInit(&r->z, ZYDIS_MACHINE_MODE_LONG_64,
						 ZYDIS_STACK_WIDTH_64)))
		return -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	print_message("%lu instructions decoded back\n", r->decoded);
	free(r);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),	  cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_generic),
		cmocka_unit_test(test_constants), cmocka_unit_test(test_prefixed),
		cmocka_unit_test(test_jumps),
		cmocka_unit_test(test_flags),	  cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

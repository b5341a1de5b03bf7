/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decoder against Zydis: length, mnemonic, registers, memory operand and
 * immediates of random bytes, of every opcode with many prefixes, and of the code
 * of programs of this machine, in 16-, 32- and 64-bit and real mode. What may differ is
 * listed in decode_allowed.h.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <Zydis/Zydis.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "src/cpu/x86/insn.h"
#include "tests/unit/decode_allowed.h"

#define MAX_REPORTS 60

struct fixture {
	ZydisDecoder z[3], z_real;
	uint64_t features[(X86_NFEATURES + 63) / 64];
	uint64_t seed;
	unsigned long compared, valid, differ;
	char seen[MAX_REPORTS][48]; /* what and mnemonic, reported already */
	unsigned nseen;
};

static uint64_t rnd(struct fixture *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed;
}

static void report(struct fixture *f, unsigned mode, const uint8_t *bytes, const char *name,
		   const char *what, const char *ours)
{
	ZydisDisassembledInstruction z;
	char key[sizeof(f->seen[0])];

	f->differ++;
	snprintf(key, sizeof(key), "%s %s", what, name);
	for (unsigned n = 0; n < f->nseen; n++)
		if (!strcmp(f->seen[n], key))
			return;
	if (f->nseen == MAX_REPORTS)
		return;
	memcpy(f->seen[f->nseen++], key, sizeof(key));
	print_error("mode %u, ", mode);
	for (int n = 0; n < X86_MAX_INSN; n++)
		print_error("%02x ", bytes[n]);
	z.text[0] = 0;
	ZydisDisassembleIntel(mode == X86_MODE_64   ? ZYDIS_MACHINE_MODE_LONG_64
			      : mode == X86_MODE_32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
						    : ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
			      0, bytes, X86_MAX_INSN, &z);
	print_error(": %s: %s differs; theirs: %s; ours: %s\n", name, what, z.text, ours);
}

/* Our mnemonic: x86_format()'s first word that is no prefix. */
static void our_name(const struct x86_insn *i, char *name, size_t size)
{
	char text[128], *p = text, *end;

	x86_format(i, 0, text, sizeof(text));
	for (;;) {
		end = p + strcspn(p, " ");
		if (!*end || (strncmp(p, "lock", 4) && strncmp(p, "rep", 3)))
			break;
		p = end + 1;
	}
	snprintf(name, size, "%.*s", (int)(end - p), p);
}

static bool names_equal(const char *zydis, const char *ours)
{
	if (!strcmp(zydis, ours))
		return true;
	for (size_t n = 0; n < array_size(decode_names); n++)
		if (!strcmp(decode_names[n].zydis, zydis) && !strcmp(decode_names[n].ours, ours))
			return true;
	return false;
}

static ZydisRegister gpr(unsigned r, unsigned size)
{
	static const ZydisRegister high8[] = { ZYDIS_REGISTER_AH, ZYDIS_REGISTER_CH,
					       ZYDIS_REGISTER_DH, ZYDIS_REGISTER_BH };

	switch (size) {
	case 1:
		if (r >= X86_REG_HIGH8)
			return high8[r & 3];
		return r < 4 ? ZYDIS_REGISTER_AL + r
		       : r < 8 ? ZYDIS_REGISTER_SPL + (r - 4)
			       : ZYDIS_REGISTER_R8B + (r - 8);
	case 2: return ZYDIS_REGISTER_AX + r;
	case 4: return ZYDIS_REGISTER_EAX + r;
	default: return ZYDIS_REGISTER_RAX + r;
	}
}

static bool mem_equal(const struct x86_insn *i, const ZydisDecodedOperand *o)
{
	static const ZydisRegister segs[] = { ZYDIS_REGISTER_ES, ZYDIS_REGISTER_CS,
					      ZYDIS_REGISTER_SS, ZYDIS_REGISTER_DS,
					      ZYDIS_REGISTER_FS, ZYDIS_REGISTER_GS };
	ZydisRegister base = ZYDIS_REGISTER_NONE, index = ZYDIS_REGISTER_NONE;
	uint64_t mask = low_mask(i->adsize * 8);

	if (i->mem_base == X86_REG_RIP)
		base = i->adsize == 8 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_EIP;
	else if (i->mem_base != X86_REG_NONE)
		base = gpr(i->mem_base, i->adsize);
	if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		index = o->mem.index >= ZYDIS_REGISTER_YMM0 ? ZYDIS_REGISTER_YMM0 + i->mem_index
							     : ZYDIS_REGISTER_XMM0 + i->mem_index;
	else if (i->mem_index != X86_REG_NONE)
		index = gpr(i->mem_index, i->adsize);
	if (base != o->mem.base || index != o->mem.index)
		return false;
	if (index && (1u << i->mem_scale) != o->mem.scale)
		return false;
	if ((((uint64_t)i->disp ^ (uint64_t)o->mem.disp.value) & mask) != 0)
		return false;
	/* In 64-bit mode only which fault a bad address gives depends on SS or DS;
	 * LEA has no segment. */
	return o->mem.type == ZYDIS_MEMOP_TYPE_AGEN || segs[i->seg] == o->mem.segment;
}

static bool reg_equal(const struct x86_insn *i, const ZydisDecodedOperand *o, unsigned kind)
{
	ZydisRegister r = o->reg.value;
	unsigned size = o->size / 8;
	ZydisRegister vec = r >= ZYDIS_REGISTER_YMM0 ? ZYDIS_REGISTER_YMM0 : ZYDIS_REGISTER_XMM0;

	switch (kind) {
	case X86_O_Eb: case X86_O_Ew: case X86_O_Ed: case X86_O_Eq: case X86_O_Ev: case X86_O_Ey:
	case X86_O_Edq_r: case X86_O_Rv: case X86_O_Ry: case X86_O_Rw: case X86_O_Zb: case X86_O_Zv:
		return !i->mem && r == gpr(i->rm, size);
	case X86_O_Gb: case X86_O_Gw: case X86_O_Gd: case X86_O_Gv: case X86_O_Gy:
		return r == gpr(i->reg, size);
	case X86_O_By: return r == gpr(i->vvvv, size);
	case X86_O_Sw: return r == (ZydisRegister)ZYDIS_REGISTER_ES + i->reg;
	case X86_O_Cd: return r == (ZydisRegister)ZYDIS_REGISTER_CR0 + i->reg;
	case X86_O_Dd: return r == (ZydisRegister)ZYDIS_REGISTER_DR0 + i->reg;
	case X86_O_AL: case X86_O_AX: case X86_O_EAX: case X86_O_rAX:
		return r == gpr(X86_RAX, size);
	case X86_O_CL: return r == ZYDIS_REGISTER_CL;
	case X86_O_DX: return r == ZYDIS_REGISTER_DX;
	case X86_O_ES: case X86_O_CS: case X86_O_SS: case X86_O_DS: case X86_O_FS: case X86_O_GS:
		return r == ZYDIS_REGISTER_ES + (kind - X86_O_ES);
	case X86_O_ST0: return r == ZYDIS_REGISTER_ST0;
	case X86_O_STi: return r == (ZydisRegister)ZYDIS_REGISTER_ST0 + i->rm;
	case X86_O_Pq: return r == (ZydisRegister)ZYDIS_REGISTER_MM0 + i->reg;
	case X86_O_Qq: case X86_O_Qd: case X86_O_Nq:
		return !i->mem && r == (ZydisRegister)ZYDIS_REGISTER_MM0 + i->rm;
	case X86_O_V: return r == vec + i->reg;
	case X86_O_W: case X86_O_U: return !i->mem && r == vec + i->rm;
	case X86_O_H: return r == vec + i->vvvv;
	case X86_O_L: return r == vec + (i->imm >> 4);
	case X86_O_XMM0: return r == ZYDIS_REGISTER_XMM0;
	default: return false;
	}
}

/* General registers: the width that x86_format() shows is the operand's. */
static bool width_equal(const struct x86_insn *i, const ZydisDecodedOperand *o, unsigned kind)
{
	if (i->mem && i->row->mem_bytes && o->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return true; /* wider units are counted differently */
	switch (kind) {
	case X86_O_Ev: case X86_O_Gv: case X86_O_Zv: case X86_O_rAX: case X86_O_Ov: case X86_O_Rv:
		return o->size == i->opsize * 8 || !o->size;
	case X86_O_Ey: case X86_O_Gy: case X86_O_By: case X86_O_Ry:
		return o->size == (i->rex_w ? 64 : 32);
	case X86_O_Eb: case X86_O_Gb: case X86_O_Zb: case X86_O_AL: case X86_O_Ob:
		return o->size == 8 || !o->size;
	default: return true;
	}
}

static bool imm_equal(const struct x86_insn *i, const ZydisDecodedOperand *o, unsigned kind,
		      bool second)
{
	uint64_t ours = second ? i->imm2 : i->imm, mask = low_mask(o->size ? o->size : 64);

	if (kind == X86_O_1)
		return o->imm.value.u == 1;
	if (kind == X86_O_Jb || kind == X86_O_Jz)
		return o->imm.is_relative && ours == o->imm.value.u;
	return ((ours ^ o->imm.value.u) & mask) == 0;
}

static bool is_imm(unsigned kind)
{
	return kind >= X86_O_Ib && kind <= X86_O_Jz;
}

/* DS:rSI of a string instruction: its segment. */
static bool source_equal(const struct x86_insn *i, const ZydisDecodedInstruction *z,
			 const ZydisDecodedOperand *zo)
{
	struct x86_insn m = *i;

	m.mem_base = X86_RSI;
	for (unsigned n = 0; n < z->operand_count; n++)
		if (zo[n].type == ZYDIS_OPERAND_TYPE_MEMORY && mem_equal(&m, &zo[n]))
			return true;
	return false;
}

static bool operands_equal(const struct x86_insn *i, const ZydisDecodedInstruction *z,
			   const ZydisDecodedOperand *zo)
{
	bool second = false;
	unsigned n = 0;

	for (int k = 0; k < 4 && i->row->opnd[k]; k++) {
		unsigned kind = i->row->opnd[k];
		const ZydisDecodedOperand *o = &zo[n];

		if (kind >= X86_O_Xb && kind <= X86_O_Yv) {
			/* Implied by the mnemonic: the segment is all there is to see. */
			if (kind <= X86_O_Xv && !source_equal(i, z, zo))
				return false;
			n++;
			continue;
		}
		if (n >= z->operand_count)
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && !reg_equal(i, o, kind))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && (!i->mem || !mem_equal(i, o)))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
			if (!imm_equal(i, o, kind, second))
				return false;
			second |= is_imm(kind);
		}
		if (o->type == ZYDIS_OPERAND_TYPE_POINTER &&
		    (o->ptr.offset != i->imm || o->ptr.segment != i->imm2))
			return false;
		if (!width_equal(i, o, kind))
			return false;
		n++;
	}
	return n >= z->operand_count_visible;
}

/* x87: whether ST0 is shown, and where, is a matter of taste. */
static bool x87_equal(const struct x86_insn *i, const ZydisDecodedInstruction *z,
		      const ZydisDecodedOperand *zo)
{
	bool named = false, found = false;

	for (int k = 0; k < 4; k++)
		named |= i->row->opnd[k] == X86_O_STi;
	for (unsigned n = 0; n < z->operand_count; n++) {
		if (zo[n].type == ZYDIS_OPERAND_TYPE_MEMORY && !(i->mem && mem_equal(i, &zo[n])))
			return false;
		found |= zo[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			 zo[n].reg.value == (ZydisRegister)ZYDIS_REGISTER_ST0 + i->rm;
	}
	return found || !named;
}

static bool prefixes_equal(const struct x86_insn *i, const ZydisDecodedInstruction *z)
{
	bool rep = z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
				    ZYDIS_ATTRIB_HAS_REPNE);
	bool lock = z->attributes & ZYDIS_ATTRIB_HAS_LOCK;

	return rep == (i->rep != 0) && lock == i->lock;
}

/* A flag that the operation may change must be in flags_write; one that is there
 * without being changed must be in flags_read, or its value would be lost. */
static bool flags_equal(const struct x86_insn *i, const ZydisDecodedInstruction *z)
{
	uint32_t tested, written;

	if (!z->cpu_flags || decode_flags_may_differ(z))
		return true;
	tested = z->cpu_flags->tested & X86_FL_ARITH;
	written = (z->cpu_flags->modified | z->cpu_flags->set_0 | z->cpu_flags->set_1 |
		   z->cpu_flags->undefined) & X86_FL_ARITH;
	return !(tested & ~i->row->flags_read) && !(written & ~i->row->flags_write) &&
	       !(i->row->flags_write & ~written & ~i->row->flags_read);
}

/* Returns the length to go on by. */
static unsigned compare(struct fixture *f, unsigned mode, const uint8_t bytes[X86_MAX_INSN])
{
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	struct x86_insn i;
	char name[32], text[128] = "";
	const char *zname;
	int len = x86_decode(bytes, X86_MAX_INSN, mode, f->features, &i);
	const ZydisDecoder *zd = mode & X86_MODE_REAL ? &f->z_real : &f->z[mode];
	bool zok = ZYAN_SUCCESS(ZydisDecoderDecodeFull(zd, bytes, X86_MAX_INSN, &z, zo));
	bool ok = len > 0 && i.row->id != X86_OP_UD;

	f->compared++;
	if (!ok && !zok)
		return 1;
	if (ok) {
		struct x86_insn part;

		/* With a byte less the decoder asks for more. */
		if (x86_decode(bytes, len - 1, mode, f->features, &part) != 0 &&
		    i.row->id != X86_OP_UD0 && i.row->id != X86_OP_UD1)
			report(f, mode, bytes, i.row->name, "need for the last byte", "");
		our_name(&i, name, sizeof(name));
		x86_format(&i, 0, text, sizeof(text));
	}
	if (!zok) {
		if (!decode_ours_alone(&i))
			report(f, mode, bytes, name, "validity (only ours)", text);
		return 1;
	}
	zname = ZydisMnemonicGetString(z.mnemonic);
	if (!ok) {
		if (!decode_theirs_alone(&z, mode))
			report(f, mode, bytes, zname, "validity (only Zydis)", text);
		return z.length;
	}
	f->valid++;
	if (!names_equal(zname, name))
		report(f, mode, bytes, zname, "mnemonic", text);
	else if (z.length != len)
		report(f, mode, bytes, zname, "length", text);
	else if (!(z.meta.isa_ext == ZYDIS_ISA_EXT_X87 ? x87_equal : operands_equal)(&i, &z, zo) &&
		 !decode_operands_may_differ(&z, &i))
		report(f, mode, bytes, zname, "operands", text);
	else if (!prefixes_equal(&i, &z))
		report(f, mode, bytes, zname, "LOCK or REP", text);
	else if (!flags_equal(&i, &z))
		report(f, mode, bytes, zname, "flags column", text);
	return z.length;
}

static void finish(struct fixture *f, unsigned long least_valid)
{
	print_message("%lu compared, %lu valid, %lu differ\n", f->compared, f->valid, f->differ);
	assert_int_equal(f->differ, 0);
	assert_true(f->valid > least_valid);
}

static const uint8_t modes[] = { X86_MODE_64, X86_MODE_32, X86_MODE_16,
				 X86_MODE_16 | X86_MODE_REAL };

static void test_random_bytes(void **state)
{
	struct fixture *f = *state;

	for (int n = 0; n < 300000; n++) {
		uint8_t bytes[16];

		st_le64(bytes, rnd(f));
		st_le64(bytes + 8, rnd(f));
		if (n & 4)
			bytes[n >> 3 & 3] = 0x0f;
		compare(f, modes[n % 4], bytes);
	}
	finish(f, 150000);
}

/* Every opcode of every map, each with every ModRM.reg and both kinds of
 * ModRM.mod, behind every mandatory prefix, with and without REX.W or VEX. */
static void test_every_opcode(void **state)
{
	static const uint8_t escape[][3] = { { 0 }, { 1, 0x0f }, { 2, 0x0f, 0x38 },
					     { 2, 0x0f, 0x3a } };
	static const uint8_t prefix[] = { 0, 0x66, 0xf3, 0xf2, 0xf0, 0x48, 0x67, 0x4f };
	struct fixture *f = *state;

	for (unsigned n = 0; n < 4u * 4 * 8 * 256 * 32; n++) {
		unsigned op = n & 0xff, reg = n >> 8 & 7, mod = n >> 11 & 3, pre = n >> 13 & 7;
		unsigned map = n >> 16 & 3, mode = n >> 18;
		uint8_t bytes[32], *p = bytes;

		if (prefix[pre])
			*p++ = prefix[pre];
		memcpy(p, escape[map] + 1, escape[map][0]);
		p += escape[map][0];
		*p++ = op;
		*p++ = mod << 6 | reg << 3 | (rnd(f) & 7);
		st_le64(p, rnd(f));
		st_le64(p + 8, rnd(f));
		compare(f, modes[mode], bytes);
	}
	for (unsigned n = 0; n < 4u * 3 * 16 * 256 * 8; n++) {
		unsigned op = n & 0xff, reg = n >> 8 & 7, pp = n >> 11 & 3, w = n >> 13 & 1;
		unsigned l = n >> 14 & 1, map = (n >> 15) % 3 + 1, mode = (n >> 15) / 3;
		uint64_t r = rnd(f);
		unsigned vvvv = r & 1 ? 15 : r >> 1 & 15;
		uint8_t bytes[32] = { 0xc4, (r & 0xe0) | map, w << 7 | vvvv << 3 | l << 2 | pp,
				      op };

		if (mode)
			bytes[1] |= 0xc0;
		bytes[4] = (rnd(f) & 0xc7) | reg << 3;
		st_le64(bytes + 5, rnd(f));
		st_le64(bytes + 13, rnd(f));
		compare(f, modes[mode], bytes);
	}
	finish(f, 200000);
}

struct code {
	const uint8_t *start;
	size_t len;
	void *map;
	size_t map_len;
};

/* The section .text of an ELF64 file of this machine. False: no such file. */
static bool open_code(struct code *code, const char *path)
{
	int fd = open(path, O_RDONLY);
	const Elf64_Ehdr *eh;
	const Elf64_Shdr *sh;
	struct stat st;

	if (fd < 0)
		return false;
	assert_int_equal(fstat(fd, &st), 0);
	code->map_len = st.st_size;
	code->map = mmap(NULL, code->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	assert_true(code->map != MAP_FAILED);
	eh = code->map;
	sh = (const Elf64_Shdr *)((const char *)code->map + eh->e_shoff);
	for (int n = 0; n < eh->e_shnum; n++) {
		const char *names = (const char *)code->map + sh[eh->e_shstrndx].sh_offset;

		if (!strcmp(names + sh[n].sh_name, ".text")) {
			code->start = (const uint8_t *)code->map + sh[n].sh_offset;
			code->len = sh[n].sh_size;
			return true;
		}
	}
	munmap(code->map, code->map_len);
	return false;
}

static void test_real_code(void **state)
{
	static const char *const paths[] = { "/bin/bash", "/lib/x86_64-linux-gnu/libc.so.6",
					     "/proc/self/exe" };
	struct fixture *f = *state;

	for (size_t n = 0; n < array_size(paths); n++) {
		struct code code;

		if (!open_code(&code, paths[n]))
			continue;
		for (size_t m = 0; m < array_size(modes); m++) {
			/* In the other modes the same bytes are other instructions. */
			size_t len = m ? code.len / 8 : code.len;

			for (size_t at = 0; at + X86_MAX_INSN <= len;)
				at += compare(f, modes[m], code.start + at);
		}
		munmap(code.map, code.map_len);
	}
	finish(f, 50000);
}

/* Fifteen bytes at most, whatever they are. */
static void test_too_long(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[16];
	struct x86_insn i;

	memset(bytes, 0x66, sizeof(bytes));
	assert_int_equal(x86_decode(bytes, 14, X86_MODE_64, f->features, &i), 0);
	assert_int_equal(x86_decode(bytes, 15, X86_MODE_64, f->features, &i), -1);
	bytes[14] = 0x90;
	assert_int_equal(x86_decode(bytes, 15, X86_MODE_64, f->features, &i), 15);
	assert_int_equal(i.row->id, X86_OP_NOP);
	bytes[13] = 0x81; /* an immediate that would reach byte 19 */
	bytes[14] = 0xc0;
	assert_int_equal(x86_decode(bytes, 15, X86_MODE_64, f->features, &i), -1);
	assert_int_equal(x86_decode(bytes, 0, X86_MODE_64, f->features, &i), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	static const ZydisDecoderMode off[] = { ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
						ZYDIS_DECODER_MODE_CLDEMOTE,
						ZYDIS_DECODER_MODE_WBNOINVD };

	f->seed = 0x9e3779b97f4a7c15;
	memset(f->features, 0xff, sizeof(f->features));
	f->features[X86_F_NEVER / 64] &= ~(1ull << (X86_F_NEVER % 64));
	ZydisDecoderInit(&f->z[X86_MODE_16], ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
			 ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&f->z[X86_MODE_32], ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
			 ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&f->z[X86_MODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderInit(&f->z_real, ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16);
	for (size_t n = 0; n < array_size(off); n++) {
		ZydisDecoderEnableMode(&f->z_real, off[n], ZYAN_FALSE);
		for (int m = 0; m < 3; m++)
			ZydisDecoderEnableMode(&f->z[m], off[n], ZYAN_FALSE);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_opcode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_real_code, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

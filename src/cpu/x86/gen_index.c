/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Build-time program: reads the operation table and writes x86_index.inc
 * (index.h says what is in it) to standard output. It also refuses a table that
 * cannot be decoded, so that a wrong row stops the build.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/cpu/x86/index.h"
#include "src/cpu/x86/insn.h"

#define X86_ROW(id_, name_, map_, opcode_, pp_, ext_, mod_, vex_, vl_, vw_, rm_, o1, o2, o3, o4,  \
		mem_bytes_, feature_, attr_, fr_, fw_, fns)                                       \
	{                                                                                         \
		.name = #id_, .map = X86_MAP_##map_, .opcode = opcode_, .pp = X86_PP_##pp_,       \
		.ext = ext_, .mod = X86_MOD_##mod_, .vex = X86_##vex_, .vl = X86_L_##vl_,         \
		.vw = X86_W_##vw_, .rm = rm_,                                                     \
		.opnd = { X86_O_##o1, X86_O_##o2, X86_O_##o3, X86_O_##o4 },                       \
		.mem_bytes = mem_bytes_, .feature = X86_F_##feature_, .attr = attr_,              \
	},

static const struct x86_row rows[] = {
#include "src/cpu/x86/ops.def"
};

/* A row that cannot be decoded ends the build. */
static void refuse(const struct x86_row *r, const char *why)
{
	fprintf(stderr, "ops.def: row %s: %s\n", r->name, why);
	exit(EXIT_FAILURE);
}

static bool has(const struct x86_row *r, unsigned first, unsigned last)
{
	for (int k = 0; k < 4; k++)
		if (r->opnd[k] >= first && r->opnd[k] <= last)
			return true;
	return false;
}

static bool has1(const struct x86_row *r, unsigned o) { return has(r, o, o); }

static bool opreg(const struct x86_row *r) { return has(r, X86_O_Zb, X86_O_Zv); }

static bool wants_mem(const struct x86_row *r)
{
	return r->mod == X86_MOD_MEM || has1(r, X86_O_M) || has1(r, X86_O_VM);
}

static bool wants_reg(const struct x86_row *r)
{
	return r->mod == X86_MOD_REG || has(r, X86_O_Rv, X86_O_Rw) || has1(r, X86_O_Nq) ||
	       has1(r, X86_O_U) || (r->rm != X86_EXT_ANY && r->ext != X86_EXT_ANY);
}

static bool uses_modrm(const struct x86_row *r)
{
	return r->ext != X86_EXT_ANY || r->mod != X86_MOD_ANY ||
	       has(r, X86_O_Eb, X86_O_Gy) || has(r, X86_O_Sw, X86_O_Dd) ||
	       has(r, X86_O_STi, X86_O_U) || has1(r, X86_O_VM);
}

static bool is_imm(unsigned o)
{
	return (o >= X86_O_Ib && o <= X86_O_Ov) || o == X86_O_L;
}

static struct x86_plan plan_of(const struct x86_row *r)
{
	struct x86_plan p = { 0 };

	if (r->attr & X86_A_BYTE)
		p.size = X86_SIZE_B;
	else if (has1(r, X86_O_Ey) || has1(r, X86_O_Ry) || has1(r, X86_O_Gy) ||
		 has1(r, X86_O_By) || has1(r, X86_O_Edq_r))
		p.size = X86_SIZE_Y;
	else if (r->attr & X86_A_M64)
		p.size = X86_SIZE_M64;
	else if (r->attr & X86_A_MAX32)
		p.size = X86_SIZE_MAX32;
	else if (r->attr & X86_A_F64)
		p.size = X86_SIZE_F64;
	else if (r->attr & X86_A_D64)
		p.size = X86_SIZE_D64;
	if (has1(r, X86_O_Gb))
		p.reg = X86_PR_G8;
	else if (has1(r, X86_O_Pq))
		p.reg = X86_PR_LOW;
	else if (r->opnd[0] == X86_O_Sw)
		p.reg = X86_PR_S_DST;
	else if (has(r, X86_O_Sw, X86_O_Dd))
		p.reg = has1(r, X86_O_Sw) ? X86_PR_S : has1(r, X86_O_Cd) ? X86_PR_C : X86_PR_D;
	if (has1(r, X86_O_Eb) || has1(r, X86_O_Zb))
		p.rm = X86_PR_G8;
	else if (has1(r, X86_O_STi) || has(r, X86_O_Qq, X86_O_Qd))
		p.rm = X86_PR_LOW;
	for (int k = 0; k < 4; k++) {
		if (!is_imm(r->opnd[k]))
			continue;
		if (p.imm2)
			refuse(r, "three immediates");
		else if (p.imm)
			p.imm2 = r->opnd[k];
		else
			p.imm = r->opnd[k];
	}
	if (has1(r, X86_O_H) || has1(r, X86_O_By))
		p.flags |= X86_PLAN_VVVV;
	if (opreg(r))
		p.flags |= X86_PLAN_OPREG;
	if (has1(r, X86_O_VM))
		p.flags |= X86_PLAN_VSIB | X86_PLAN_VVVV;
	if (!(r->attr & X86_A_LOCK))
		p.flags |= X86_PLAN_NOLOCK;
	return p;
}

static struct x86_match match_of(const struct x86_row *r)
{
	struct x86_match m = { .row = (uint16_t)(r - rows), .pp = 0xf, .ext = r->ext, .rm = r->rm,
			       .feature = r->feature };

	if (r->pp != X86_PP_ANY)
		m.pp = (uint8_t)(1u << (r->pp - 1));
	m.sel = wants_mem(r) ? X86_SEL_MEM : wants_reg(r) ? X86_SEL_REG : X86_SEL_MEM | X86_SEL_REG;
	m.sel |= r->vl == X86_L_ANY   ? X86_SEL_L0 | X86_SEL_L1
		 : r->vl == X86_L_128 ? X86_SEL_L0
				      : X86_SEL_L1;
	m.sel |= r->vw == X86_W_ANY ? X86_SEL_W0 | X86_SEL_W1
		 : r->vw == X86_W_0 ? X86_SEL_W0
				    : X86_SEL_W1;
	for (unsigned mode = 0; mode < 8; mode++) {
		bool m64 = (mode & X86_MODE_SIZE) == X86_MODE_64;

		if ((mode & X86_MODE_SIZE) == X86_MODE_SIZE || (m64 && r->attr & X86_A_NO64) ||
		    (!m64 && r->attr & X86_A_ONLY64) ||
		    ((mode & X86_MODE_REAL) && (r->attr & X86_A_NOREAL || r->vex == X86_VEX)))
			continue;
		m.modes |= (uint8_t)(1u << mode);
	}
	return m;
}

/* Row @r answers to (vex, map, opcode). */
static bool answers(const struct x86_row *r, unsigned vex, unsigned map, unsigned opcode)
{
	return r->vex == vex && r->map == map && r->feature != X86_F_NEVER &&
	       (opreg(r) ? r->opcode == (opcode & ~7u) : r->opcode == opcode);
}

static void check_row(const struct x86_row *r)
{
	if (wants_mem(r) && wants_reg(r))
		refuse(r, "memory only and register only at once");
	if (opreg(r) && (r->opcode & 7))
		refuse(r, "register in the opcode, which must be a multiple of 8");
	if ((r->attr & X86_A_NO64) && (r->attr & X86_A_ONLY64))
		refuse(r, "in no mode");
	if ((r->attr & X86_A_LOCK) && wants_reg(r))
		refuse(r, "LOCK without memory");
	if (r->ext != X86_EXT_ANY && r->ext > 7)
		refuse(r, "ext above 7");
}

/* How many rows answer, and whether a ModRM byte follows. */
static unsigned slot_count(unsigned vex, unsigned map, unsigned op, unsigned *modrm)
{
	unsigned count = 0;

	*modrm = X86_MODRM_NONE;
	for (size_t k = 0; k < array_size(rows); k++) {
		const struct x86_row *r = &rows[k];

		if (!answers(r, vex, map, op))
			continue;
		if (count && uses_modrm(r) != (*modrm != X86_MODRM_NONE))
			refuse(r, "ModRM where another row has none, or the reverse");
		if (has(r, X86_O_Cd, X86_O_Dd))
			*modrm = X86_MODRM_REG;
		else if (uses_modrm(r))
			*modrm = X86_MODRM_YES;
		count++;
	}
	return count;
}

static void print_slots(void)
{
	unsigned first = 0;

	printf("static const struct x86_slot x86_slots[2][X86_NMAPS][256] = {\n");
	for (unsigned vex = 0; vex < 2; vex++) {
		for (unsigned map = 0; map < X86_NMAPS; map++) {
			for (unsigned op = 0; op < 256; op++) {
				unsigned count, modrm;

				count = slot_count(vex, map, op, &modrm);
				if (count)
					printf("\t[%u][%u][0x%02x] = { %u, %u, %u },\n", vex, map,
					       op, first, count, modrm);
				first += count;
			}
		}
	}
	printf("};\n");
}

static void print_matches(void)
{
	printf("static const struct x86_match x86_matches[] = {\n");
	for (unsigned n = 0; n < 2 * X86_NMAPS * 256; n++) {
		for (size_t k = 0; k < array_size(rows); k++) {
			struct x86_match m = match_of(&rows[k]);

			if (answers(&rows[k], n / (X86_NMAPS * 256), n / 256 % X86_NMAPS, n & 0xff))
				printf("\t{ %u, %u, %u, %u, %u, %u, %u }, /* %s */\n", m.row, m.pp,
				       m.sel, m.modes, m.ext, m.rm, m.feature, rows[k].name);
		}
	}
	printf("};\n");
}

int main(void)
{
	printf("/* Written by gen_index.c. */\n");
	printf("static const struct x86_plan x86_plans[] = {\n");
	for (size_t k = 0; k < array_size(rows); k++) {
		struct x86_plan p = plan_of(&rows[k]);

		check_row(&rows[k]);
		printf("\t{ %u, %u, %u, %u, %u, %u }, /* %s */\n", p.size, p.reg, p.rm, p.imm,
		       p.imm2, p.flags, rows[k].name);
	}
	printf("};\n");
	print_slots();
	print_matches();
	return EXIT_SUCCESS;
}

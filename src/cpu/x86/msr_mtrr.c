/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory type range registers and the PAT: kept and checked, without effect (all
 * memory is write-back here). SDM vol. 3, 12.11 and 12.12.
 */
#include <errno.h>

#include "src/cpu/x86/msr.h"

#define MTRR_CAP 0xfe
#define MTRR_DEF 0x2ff
#define MTRR_PHYSBASE0 0x200
#define PAT 0x277
#define VARIABLE 8u
/* IA32_MTRRCAP: eight variable ranges, fixed ranges, write combining. */
#define CAP_VALUE (VARIABLE | 0x100u | 0x400u)

static bool memory_type(unsigned t) { return t == 0 || t == 1 || (t >= 4 && t <= 6); }

/* Index into mtrr_fixed, or -1. */
static int fixed_index(uint32_t msr)
{
	if (msr == 0x250)
		return 0;
	if (msr == 0x258 || msr == 0x259)
		return (int)(msr - 0x258 + 1);
	if (msr >= 0x268 && msr <= 0x26f)
		return (int)(msr - 0x268 + 3);
	return -1;
}

static bool all_bytes(uint64_t v, bool pat)
{
	for (unsigned n = 0; n < 8; n++, v >>= 8)
		if (!memory_type(v & 0xff) && !(pat && (v & 0xff) == 7))
			return false;
	return true;
}

int x86_mtrr_read(const struct x86_cpu *c, uint32_t msr, uint64_t *val)
{
	int fixed = fixed_index(msr);

	if (fixed >= 0)
		*val = c->mtrr_fixed[fixed];
	else if (msr >= MTRR_PHYSBASE0 && msr < MTRR_PHYSBASE0 + 2 * VARIABLE)
		*val = c->mtrr_var[msr - MTRR_PHYSBASE0];
	else if (msr == MTRR_CAP)
		*val = CAP_VALUE;
	else if (msr == MTRR_DEF)
		*val = c->mtrr_def;
	else if (msr == PAT)
		*val = c->pat;
	else
		return 1;
	return 0;
}

static bool variable_ok(const struct x86_cpu *c, uint32_t msr, uint64_t val)
{
	uint64_t reserved = ~low_mask(c->mem ? c->mem->phys_bits : 52);

	if (msr & 1) /* mask: bit 11 valid */
		return !(val & (reserved | 0x7ff));
	return !(val & (reserved | 0xf00)) && memory_type(val & 0xff);
}

int x86_mtrr_write(struct x86_cpu *c, uint32_t msr, uint64_t val)
{
	int fixed = fixed_index(msr);

	if (fixed >= 0) {
		if (!all_bytes(val, false))
			return -EINVAL;
		c->mtrr_fixed[fixed] = val;
	} else if (msr >= MTRR_PHYSBASE0 && msr < MTRR_PHYSBASE0 + 2 * VARIABLE) {
		if (!variable_ok(c, msr, val))
			return -EINVAL;
		c->mtrr_var[msr - MTRR_PHYSBASE0] = val;
	} else if (msr == MTRR_CAP) {
		return -EINVAL;
	} else if (msr == MTRR_DEF) {
		if ((val & ~0xcffull) || !memory_type(val & 0xff))
			return -EINVAL;
		c->mtrr_def = val;
	} else if (msr == PAT) {
		if (!all_bytes(val, true))
			return -EINVAL;
		c->pat = val;
	} else {
		return 1;
	}
	return 0;
}

void x86_mtrr_firmware(struct x86_cpu *c, uint64_t hole)
{
	const uint64_t wb = 0x0606060606060606ull, wp = 0x0505050505050505ull;
	uint64_t top = 1ull << 32, size = top >> 3;

	memset(c->mtrr_var, 0, sizeof(c->mtrr_var));
	for (unsigned n = 0; n < array_size(c->mtrr_fixed); n++)
		c->mtrr_fixed[n] = n < 2 ? wb : n == 2 ? 0 : wp;
	/* One range [4 GiB - size, 4 GiB) that begins at or after the hole. */
	while (size < (top >> 1) && top - 2 * size >= hole)
		size *= 2;
	c->mtrr_var[0] = top - size; /* type 0, uncached */
	c->mtrr_var[1] = (low_mask(c->mem ? c->mem->phys_bits : 52) & ~(size - 1)) | 0x800;
	c->mtrr_def = 0xc06; /* enabled, fixed ranges too, default write-back */
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cpu/x86/debug.h"

#include "src/cpu/guest_debug.h"
#include "src/cpu/x86/access.h"

enum { DR_EXEC, DR_WRITE, DR_IO, DR_ACCESS }; /* DR7.R/Wn */

static bool enabled(const struct x86_cpu *c, unsigned n) { return c->dr[7] >> (2 * n) & 3; }
static unsigned kind(const struct x86_cpu *c, unsigned n) { return c->dr[7] >> (16 + 4 * n) & 3; }

/* DR7.LENn: 1, 2, 8 or 4 bytes. */
static unsigned length(const struct x86_cpu *c, unsigned n)
{
	static const uint8_t len[] = { 1, 2, 8, 4 };

	return len[c->dr[7] >> (18 + 4 * n) & 3];
}

/* The range of breakpoint @n against [at, at + len). The address's low bits that
 * the length covers are ignored, SDM vol. 3, 18.2.5. */
static bool touches(const struct x86_cpu *c, unsigned n, uint64_t at, uint64_t len)
{
	uint64_t first = c->dr[n] & ~(uint64_t)(length(c, n) - 1);

	return first < at + len && at < first + length(c, n);
}

void x86_before_insn(struct x86_cpu *c)
{
	uint64_t lin, hit = 0;

	c->db_pending &= ~X86_DR6_BS;
	if (c->rflags & X86_FL_TF)
		c->db_pending |= X86_DR6_BS;
	if (c->rflags & X86_FL_RF) {
		c->rflags &= ~X86_FL_RF;
		return;
	}
	if (!(c->dr[7] & 0xff) || (c->int_shadow & X86_SHADOW_MOVSS))
		return;
	lin = c->code64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip);
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind(c, n) == DR_EXEC && c->dr[n] == lin)
			hit |= 1ull << n;
	if (hit)
		x86_raise_db(c, hit);
}

void x86_after_insn(struct x86_cpu *c)
{
	uint64_t bits = c->db_pending;

	if (likely(!bits))
		return;
	if (c->int_shadow & X86_SHADOW_MOVSS) {
		/* The single step of MOV SS is lost, its data breakpoint waits. */
		c->db_pending &= ~X86_DR6_BS;
		return;
	}
	c->start_rip = c->rip;
	x86_raise_db(c, bits);
}

void x86_data_breakpoint(struct x86_cpu *c, uint64_t lin, unsigned len, bool write)
{
	for (unsigned n = 0; n < 4; n++) {
		unsigned k = kind(c, n);

		if (enabled(c, n) && (k == DR_ACCESS || (k == DR_WRITE && write)) &&
		    touches(c, n, lin, len))
			c->db_pending |= 1ull << n;
	}
	if (c->debug & X86_DEBUG_DATA)
		cpu_debug_access(c, lin, len, write);
}

bool x86_debug_watches_page(const struct x86_cpu *c, uint64_t lin_page)
{
	if (c->debug & X86_DEBUG_DATA && cpu_debug_watches(c, lin_page, 4096))
		return true;
	if (!(c->dr[7] & 0xff))
		return false;
	for (unsigned n = 0; n < 4; n++) {
		unsigned k = kind(c, n);

		if (enabled(c, n) && (k == DR_ACCESS || k == DR_WRITE) &&
		    touches(c, n, lin_page, 4096))
			return true;
	}
	return false;
}

void x86_io_breakpoint(struct x86_cpu *c, uint16_t port, unsigned size)
{
	if (likely(!(c->dr[7] & 0xff)) || !(c->cr4 & X86_CR4_DE))
		return;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind(c, n) == DR_IO && touches(c, n, port, size))
			c->db_pending |= 1ull << n;
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE makes them undefined. */
static unsigned alias(struct x86_cpu *c, unsigned n)
{
	n &= 7;
	if (n == 4 || n == 5) {
		if (c->cr4 & X86_CR4_DE)
			x86_raise_ud(c);
		n += 2;
	}
	if (c->dr[7] & X86_DR7_GD) {
		/* A fault that is not an instruction breakpoint: RF is pushed set. */
		c->rflags |= X86_FL_RF;
		x86_raise_db(c, X86_DR6_BD);
	}
	return n;
}

uint64_t x86_read_dr(struct x86_cpu *c, unsigned n)
{
	return c->dr[alias(c, n)];
}

void x86_write_dr(struct x86_cpu *c, unsigned n, uint64_t v)
{
	n = alias(c, n);
	if (n >= 6 && v >> 32)
		x86_raise_gp0(c);
	if (n == 6)
		v = (v & (X86_DR6_BP | X86_DR6_BD | X86_DR6_BS | X86_DR6_BT)) | X86_DR6_FIXED;
	if (n == 7)
		v = (v & 0xffff2bffull) | X86_DR7_FIXED;
	c->dr[n] = v;
	/* Translations know which pages are watched. */
	if (n != 6)
		x86_tlb_flush_all(c);
	c->stop_block = true;
}

void x86_raise_db(struct x86_cpu *c, uint64_t bits)
{
	c->db_pending = 0;
	c->dr[6] = (c->dr[6] & ~X86_DR6_BP) | bits;
	c->dr[7] &= ~X86_DR7_GD;
	x86_raise(c, X86_EXC_DB);
}

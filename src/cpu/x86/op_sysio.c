/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IN, OUT, INS, OUTS. */
#include "src/bus/bus.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/op_priv.h"
#include "src/cpu/x86/tape.h"

static unsigned port_size(const struct x86_insn *i) { return i->opsize == 8 ? 4 : i->opsize; }

static uint32_t port_read(struct x86_cpu *c, uint16_t port, unsigned size)
{
	uint32_t v;

	if (x86_follows(c))
		return (uint32_t)x86_tape_take(c, X86_TAPE_PORT_R, (uint64_t)port << 8 | size);
	x86_tape_outside(c, true);
	v = c->bus ? bus_pio_read(c->bus, port, size) : ~0u;
	x86_tape_outside(c, false);
	x86_tape_put(c, X86_TAPE_PORT_R, (uint64_t)port << 8 | size, v);
	return v;
}

static void port_write(struct x86_cpu *c, uint16_t port, uint32_t v, unsigned size)
{
	if (x86_follows(c)) {
		x86_tape_same(c, X86_TAPE_PORT_W, (uint64_t)port << 8 | size, v);
		return;
	}
	x86_tape_put(c, X86_TAPE_PORT_W, (uint64_t)port << 8 | size, v);
	x86_tape_outside(c, true);
	if (c->bus)
		bus_pio_write(c->bus, port, v, size);
	x86_tape_outside(c, false);
	x86_after_device_write(c);
}

static void in(struct x86_cpu *c, uint16_t port, unsigned size)
{
	x86_check_io(c, port, size);
	x86_io_breakpoint(c, port, size);
	x86_set(c, X86_RAX, port_read(c, port, size), size);
}

static void out(struct x86_cpu *c, uint16_t port, unsigned size)
{
	x86_check_io(c, port, size);
	x86_io_breakpoint(c, port, size);
	port_write(c, port, (uint32_t)x86_get(c, X86_RAX, size), size);
}

void op_in_I(struct x86_cpu *c, const struct x86_insn *i) { in(c, i->imm & 0xff, port_size(i)); }
void op_in_D(struct x86_cpu *c, const struct x86_insn *i)
{
	in(c, (uint16_t)c->gpr[X86_RDX], port_size(i));
}

void op_out_I(struct x86_cpu *c, const struct x86_insn *i) { out(c, i->imm & 0xff, port_size(i)); }
void op_out_D(struct x86_cpu *c, const struct x86_insn *i)
{
	out(c, (uint16_t)c->gpr[X86_RDX], port_size(i));
}

static void advance(struct x86_cpu *c, unsigned r, const struct x86_insn *i)
{
	uint64_t step = port_size(i);

	op_set_addr(c, r, c->gpr[r] + (c->rflags & X86_FL_DF ? -step : step), i->adsize);
}

static void ins_one(struct x86_cpu *c, const struct x86_insn *i)
{
	uint16_t port = (uint16_t)c->gpr[X86_RDX];
	unsigned size = port_size(i);
	uint64_t ea = c->gpr[X86_RDI] & op_addr_mask(i->adsize), lin;

	x86_check_io(c, port, size);
	/* The device gives a datum once: nothing may fault after the read. */
	lin = x86_lin(c, X86_ES, ea, size, X86_ACC_W);
	x86_probe(c, c->tlb_class, lin, size, X86_ACC_W);
	x86_io_breakpoint(c, port, size);
	x86_st(c, X86_ES, ea, port_read(c, port, size), size);
	advance(c, X86_RDI, i);
}

static void outs_one(struct x86_cpu *c, const struct x86_insn *i)
{
	uint16_t port = (uint16_t)c->gpr[X86_RDX];
	unsigned size = port_size(i);
	uint32_t v;

	x86_check_io(c, port, size);
	v = (uint32_t)x86_ld(c, i->seg, c->gpr[X86_RSI] & op_addr_mask(i->adsize), size);
	x86_io_breakpoint(c, port, size);
	port_write(c, port, v, size);
	advance(c, X86_RSI, i);
}

static void repeat(struct x86_cpu *c, const struct x86_insn *i,
		   void (*one)(struct x86_cpu *c, const struct x86_insn *i))
{
	uint64_t count = c->gpr[X86_RCX] & op_addr_mask(i->adsize);

	if (!i->rep) {
		one(c, i);
		return;
	}
	/* Permission comes before the count. */
	x86_check_io(c, (uint16_t)c->gpr[X86_RDX], port_size(i));
	while (count) {
		one(c, i);
		op_set_addr(c, X86_RCX, --count, i->adsize);
		if (count && (atomic_load_explicit(&c->request, memory_order_relaxed) ||
			      (c->rflags & X86_FL_TF) || c->db_pending || c->recheck)) {
			op_again(c);
			return;
		}
	}
}

void op_ins(struct x86_cpu *c, const struct x86_insn *i) { repeat(c, i, ins_one); }
void op_outs(struct x86_cpu *c, const struct x86_insn *i) { repeat(c, i, outs_one); }

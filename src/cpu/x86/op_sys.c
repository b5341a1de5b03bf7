/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control, debug and model-specific registers, processor identity and state. */
#include "src/cpu/cpu.h"
#include "src/cpu/x86/op_priv.h"
#include "src/cpu/x86/sys.h"

#define KVM_ENOSYS 1000 /* Linux, include/uapi/linux/kvm_para.h */

static void need_cpl0(struct x86_cpu *c)
{
	if (c->cpl != 0)
		x86_raise_gp0(c);
}

void op_hlt(struct x86_cpu *c, const struct x86_insn *i)
{
	need_cpl0(c);
	c->halted = true;
	c->stop_block = true;
}

void op_clts(struct x86_cpu *c, const struct x86_insn *i)
{
	need_cpl0(c);
	c->cr0 &= ~X86_CR0_TS;
}

/* Caches are coherent here and always written back. */
void op_wbinvd(struct x86_cpu *c, const struct x86_insn *i) { need_cpl0(c); }

/* The kvm interface (RAX the number, RAX the result): none is implemented. */
void op_hypercall(struct x86_cpu *c, const struct x86_insn *i)
{
	int64_t result = c->cpl == 0 ? -KVM_ENOSYS : -1 /* not permitted */;

	c->gpr[X86_RAX] = c->code64 ? (uint64_t)result : (uint32_t)result;
}

/*
 * Control and debug registers. Operands are 64 bits wide in 64-bit mode, else 32.
 */
static uint64_t width_mask(const struct x86_cpu *c) { return c->code64 ? ~0ull : 0xffffffffull; }

void op_mov_from_cr(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v = 0;

	need_cpl0(c);
	switch (i->reg) {
	case 0: v = c->cr0; break;
	case 2: v = c->cr2; break;
	case 3: v = c->cr3; break;
	case 4: v = c->cr4; break;
	case 8: v = x86_read_cr8(c); break;
	}
	c->gpr[i->rm] = v & width_mask(c);
}

void op_mov_to_cr(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v = c->gpr[i->rm] & width_mask(c);

	need_cpl0(c);
	switch (i->reg) {
	case 0: x86_write_cr0(c, v); break;
	case 2: c->cr2 = v; break;
	case 3: x86_write_cr3(c, v); break;
	case 4: x86_write_cr4(c, v); break;
	case 8: x86_write_cr8(c, v); break;
	}
}

void op_mov_from_dr(struct x86_cpu *c, const struct x86_insn *i)
{
	need_cpl0(c);
	c->gpr[i->rm] = x86_read_dr(c, i->reg) & width_mask(c);
}

void op_mov_to_dr(struct x86_cpu *c, const struct x86_insn *i)
{
	need_cpl0(c);
	x86_write_dr(c, i->reg, c->gpr[i->rm] & width_mask(c));
}

static void umip(struct x86_cpu *c)
{
	if ((c->cr4 & X86_CR4_UMIP) && c->cpl != 0)
		x86_raise_gp0(c);
}

void op_smsw_r(struct x86_cpu *c, const struct x86_insn *i)
{
	umip(c);
	x86_set(c, i->rm, c->cr0, i->opsize);
}

void op_smsw_m(struct x86_cpu *c, const struct x86_insn *i)
{
	umip(c);
	x86_st16(c, i->seg, x86_ea(c, i), (uint16_t)c->cr0);
}

/* PE can be set this way and not cleared. */
static void lmsw(struct x86_cpu *c, uint16_t v)
{
	x86_write_cr0(c, (c->cr0 & ~0xeull) | (v & 0xf));
}

void op_lmsw_r(struct x86_cpu *c, const struct x86_insn *i)
{
	need_cpl0(c);
	lmsw(c, (uint16_t)c->gpr[i->rm]);
}

void op_lmsw_m(struct x86_cpu *c, const struct x86_insn *i)
{
	need_cpl0(c);
	lmsw(c, x86_ld16(c, i->seg, x86_ea(c, i)));
}

/*
 * The TLB.
 */
void op_invlpg(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t lin = x86_ea(c, i);

	need_cpl0(c);
	if (c->code64) {
		if (i->seg >= X86_FS)
			lin += c->seg[i->seg].base;
		if (!x86_canonical(lin))
			return;
	} else {
		lin = (uint32_t)(lin + c->seg[i->seg].base);
	}
	x86_tlb_flush_page(c, lin);
}

/* SDM vol. 2, INVPCID. More may be dropped than asked: of a space that is not the current
 * one all goes. */
void op_invpcid(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t type = c->gpr[i->reg] & width_mask(c), desc[2];

	need_cpl0(c);
	x86_load_buf(c, c->tlb_class, op_lin(c, i, 16, X86_ACC_R), desc, 16);
	if (type > 3 || (type < 2 && (desc[0] >> 12 || (desc[0] && !(c->cr4 & X86_CR4_PCIDE)))) ||
	    (type == 0 && !x86_canonical(desc[1])))
		x86_raise_gp0(c);
	if (type == 2) {
		x86_tlb_flush_all(c);
	} else if (type == 3) {
		x86_tlb_flush_nonglobal(c);
		x86_space_forget(c, X86_SPACE_ALL);
	} else if (desc[0] != (c->cr4 & X86_CR4_PCIDE ? c->cr3 & 0xfff : 0)) {
		x86_space_forget(c, (unsigned)desc[0]);
	} else if (type == 0) {
		x86_tlb_flush_page(c, desc[1]);
	} else {
		x86_tlb_flush_nonglobal(c);
	}
}

/*
 * Time and identity.
 */
static void set_edx_eax(struct x86_cpu *c, uint64_t v)
{
	c->gpr[X86_RAX] = (uint32_t)v;
	c->gpr[X86_RDX] = v >> 32;
}

static void need_tsc(struct x86_cpu *c)
{
	if ((c->cr4 & X86_CR4_TSD) && c->cpl != 0)
		x86_raise_gp0(c);
}

void op_rdtsc(struct x86_cpu *c, const struct x86_insn *i)
{
	need_tsc(c);
	set_edx_eax(c, x86_rdtsc(c));
}

void op_rdtscp(struct x86_cpu *c, const struct x86_insn *i)
{
	need_tsc(c);
	set_edx_eax(c, x86_rdtsc(c));
	c->gpr[X86_RCX] = (uint32_t)c->tsc_aux;
}

void op_rdpid(struct x86_cpu *c, const struct x86_insn *i)
{
	c->gpr[i->rm] = (uint32_t)c->tsc_aux;
}

/* No counter exists, so that every index is out of range. */
void op_rdpmc(struct x86_cpu *c, const struct x86_insn *i) { x86_raise_gp0(c); }

void op_rdmsr(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v;

	need_cpl0(c);
	if (x86_rdmsr(c, (uint32_t)c->gpr[X86_RCX], &v) != 0)
		x86_raise_gp0(c);
	set_edx_eax(c, v);
}

void op_wrmsr(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t v = (uint32_t)c->gpr[X86_RAX] | c->gpr[X86_RDX] << 32;

	need_cpl0(c);
	if (x86_wrmsr(c, (uint32_t)c->gpr[X86_RCX], v) != 0)
		x86_raise_gp0(c);
}

void op_cpuid(struct x86_cpu *c, const struct x86_insn *i)
{
	uint32_t out[4];

	x86_cpuid(c, (uint32_t)c->gpr[X86_RAX], (uint32_t)c->gpr[X86_RCX], out);
	c->gpr[X86_RAX] = out[0];
	c->gpr[X86_RBX] = out[1];
	c->gpr[X86_RCX] = out[2];
	c->gpr[X86_RDX] = out[3];
}

/*
 * SMAP's switch and the segment bases of 64-bit mode.
 */
void op_clac(struct x86_cpu *c, const struct x86_insn *i)
{
	if (c->cpl != 0)
		x86_raise_ud(c);
	x86_set_flags(c, c->rflags & ~X86_FL_AC);
}

void op_stac(struct x86_cpu *c, const struct x86_insn *i)
{
	if (c->cpl != 0)
		x86_raise_ud(c);
	x86_set_flags(c, c->rflags | X86_FL_AC);
}

void op_swapgs(struct x86_cpu *c, const struct x86_insn *i)
{
	uint64_t base = c->seg[X86_GS].base;

	need_cpl0(c);
	c->seg[X86_GS].base = c->kernel_gs_base;
	c->kernel_gs_base = base;
}

static void need_fsgsbase(struct x86_cpu *c)
{
	if (!(c->cr4 & X86_CR4_FSGSBASE))
		x86_raise_ud(c);
}

static void read_base(struct x86_cpu *c, const struct x86_insn *i, unsigned seg)
{
	need_fsgsbase(c);
	x86_set(c, i->rm, c->seg[seg].base, i->opsize);
}

static void write_base(struct x86_cpu *c, const struct x86_insn *i, unsigned seg)
{
	uint64_t v = x86_get(c, i->rm, i->opsize);

	need_fsgsbase(c);
	if (!x86_canonical(v))
		x86_raise_gp0(c);
	c->seg[seg].base = v;
}

void op_rdfsbase(struct x86_cpu *c, const struct x86_insn *i) { read_base(c, i, X86_FS); }
void op_rdgsbase(struct x86_cpu *c, const struct x86_insn *i) { read_base(c, i, X86_GS); }
void op_wrfsbase(struct x86_cpu *c, const struct x86_insn *i) { write_base(c, i, X86_FS); }
void op_wrgsbase(struct x86_cpu *c, const struct x86_insn *i) { write_base(c, i, X86_GS); }

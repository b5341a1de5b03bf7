/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cpu/x86/cpu_state.h"

#include <errno.h>

#include "src/cpu/x86/access.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/x86.h"

static const struct state_field seg_fields[] = {
	STATE_U16(struct x86_seg, sel, 1),
	STATE_U16(struct x86_seg, attr, 1),
	STATE_U32(struct x86_seg, limit, 1),
	STATE_U64(struct x86_seg, base, 1),
	STATE_END
};
static const struct state_desc seg_state = { .name = "segment", .version = 1, .fields = seg_fields };

static const struct state_field table_fields[] = {
	STATE_U64(struct x86_dtable, base, 1),
	STATE_U16(struct x86_dtable, limit, 1),
	STATE_END
};
static const struct state_desc table_state = {
	.name = "descriptor-table", .version = 1, .fields = table_fields
};

static const struct state_field fx_fields[] = {
	STATE_U16(struct x86_fx, fcw, 1),
	STATE_U16(struct x86_fx, fsw, 1),
	STATE_U8(struct x86_fx, ftw, 1),
	STATE_U16(struct x86_fx, fop, 1),
	STATE_U64(struct x86_fx, fip, 1),
	STATE_U64(struct x86_fx, fdp, 1),
	STATE_U32(struct x86_fx, mxcsr, 1),
	STATE_BYTES(struct x86_fx, st, 1),
	STATE_END
};
static const struct state_desc fx_state = { .name = "x87", .version = 1, .fields = fx_fields };

static const struct state_field vec_fields[] = {
	STATE_BYTES(union x86_vec, b, 1),
	STATE_END
};
static const struct state_desc vec_state = { .name = "vector", .version = 1, .fields = vec_fields };

static const struct state_field fields[] = {
	STATE_ARRAY(struct x86_cpu, gpr, 1),
	STATE_U64(struct x86_cpu, rip, 1),
	STATE_U64(struct x86_cpu, rflags, 1),
	STATE_U8(struct x86_cpu, cpl, 1),
	STATE_STRUCT_ARRAY(struct x86_cpu, seg, 1, &seg_state),
	STATE_STRUCT(struct x86_cpu, ldtr, 1, &seg_state),
	STATE_STRUCT(struct x86_cpu, tr, 1, &seg_state),
	STATE_STRUCT(struct x86_cpu, gdtr, 1, &table_state),
	STATE_STRUCT(struct x86_cpu, idtr, 1, &table_state),
	STATE_U64(struct x86_cpu, cr0, 1),
	STATE_U64(struct x86_cpu, cr2, 1),
	STATE_U64(struct x86_cpu, cr3, 1),
	STATE_U64(struct x86_cpu, cr4, 1),
	STATE_ARRAY(struct x86_cpu, dr, 1),
	STATE_U64(struct x86_cpu, xcr0, 1),
	STATE_ARRAY(struct x86_cpu, pdpte, 1),
	STATE_U64(struct x86_cpu, efer, 1),
	STATE_U64(struct x86_cpu, star, 1),
	STATE_U64(struct x86_cpu, lstar, 1),
	STATE_U64(struct x86_cpu, cstar, 1),
	STATE_U64(struct x86_cpu, fmask, 1),
	STATE_U64(struct x86_cpu, kernel_gs_base, 1),
	STATE_U64(struct x86_cpu, sysenter_cs, 1),
	STATE_U64(struct x86_cpu, sysenter_esp, 1),
	STATE_U64(struct x86_cpu, sysenter_eip, 1),
	STATE_U64(struct x86_cpu, tsc_aux, 1),
	STATE_U64(struct x86_cpu, pat, 1),
	STATE_U64(struct x86_cpu, misc_enable, 1),
	STATE_U64(struct x86_cpu, spec_ctrl, 1),
	STATE_U64(struct x86_cpu, mtrr_def, 1),
	STATE_ARRAY(struct x86_cpu, mtrr_fixed, 1),
	STATE_ARRAY(struct x86_cpu, mtrr_var, 1),
	STATE_U64(struct x86_cpu, mcg_status, 1),
	STATE_U64(struct x86_cpu, mcg_ctl, 1),
	STATE_U64(struct x86_cpu, smbase, 1),
	STATE_U64(struct x86_cpu, xss, 1),
	STATE_U64(struct x86_cpu, tsc_offset, 1),
	STATE_U64(struct x86_cpu, tsc_adjust, 1),
	STATE_U64(struct x86_cpu, pv_system_time, 1),
	STATE_U64(struct x86_cpu, pv_wall_clock, 1),
	STATE_STRUCT(struct x86_cpu, fx, 1, &fx_state),
	STATE_STRUCT_ARRAY(struct x86_cpu, ymm, 1, &vec_state),
	STATE_U64(struct x86_cpu, db_pending, 1),
	STATE_U8(struct x86_cpu, int_shadow, 1),
	STATE_BOOL(struct x86_cpu, halted, 1),
	STATE_BOOL(struct x86_cpu, wait_sipi, 1),
	STATE_BOOL(struct x86_cpu, nmi_blocked, 1),
	STATE_BOOL(struct x86_cpu, nmi_pending, 1),
	STATE_U32(struct x86_cpu, request, 1),
	STATE_END
};

#define REQUESTS_KEPT (X86_REQ_INIT | X86_REQ_SIPI | X86_REQ_NMI)
#define FL_KNOWN                                                                                  \
	(X86_FL_ARITH | X86_FL_FIXED | X86_FL_TF | X86_FL_IF | X86_FL_DF | X86_FL_IOPL |          \
	 X86_FL_NT | X86_FL_RF | X86_FL_VM | X86_FL_AC | X86_FL_VIF | X86_FL_VIP | X86_FL_ID)

/* A bool as the stream left it: any byte. */
static void tidy_bool(bool *b)
{
	uint8_t v;

	memcpy(&v, b, 1);
	*b = v != 0;
}

static bool bad_seg(const struct x86_seg *s)
{
	return s->attr & ~(0xfffu | X86_SEG_NULL);
}

/* What no sequence of instructions could have made. NULL: nothing. */
static const char *impossible(const struct x86_cpu *c)
{
	bool long_mode = (c->efer & X86_EFER_LME) && (c->cr0 & X86_CR0_PG);

	if ((c->cr0 >> 32) || ((c->cr0 & X86_CR0_PG) && !(c->cr0 & X86_CR0_PE)))
		return "CR0";
	if ((c->efer & ~(X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NX)) ||
	    !!(c->efer & X86_EFER_LMA) != long_mode)
		return "EFER";
	if ((c->cr4 & ~x86_cr4_valid(c)) || (long_mode && !(c->cr4 & X86_CR4_PAE)) ||
	    ((c->cr4 & X86_CR4_PCIDE) && !long_mode))
		return "CR4";
	if (c->cr3 & ~low_mask(c->mem->phys_bits))
		return "CR3";
	if ((c->rflags & ~FL_KNOWN) || ((c->rflags & X86_FL_VM) && (long_mode || !x86_protected(c))))
		return "RFLAGS";
	if (c->cpl > 3 || (!x86_protected(c) && c->cpl) || (x86_v86(c) && c->cpl != 3))
		return "CPL";
	if (!(c->xcr0 & 1) || (c->xcr0 & ~7ull) || (c->xcr0 & 6) == 4 ||
	    ((c->xcr0 & 4) && !x86_has(c, X86_F_AVX)))
		return "XCR0";
	if (c->fx.mxcsr & ~0xffffu)
		return "MXCSR";
	if (!x86_canonical(c->seg[X86_FS].base) || !x86_canonical(c->seg[X86_GS].base) ||
	    !x86_canonical(c->kernel_gs_base) || !x86_canonical(c->lstar) ||
	    !x86_canonical(c->cstar) || !x86_canonical(c->sysenter_esp) ||
	    !x86_canonical(c->sysenter_eip))
		return "an address register";
	for (unsigned n = 0; n < X86_NSEGS; n++)
		if (bad_seg(&c->seg[n]))
			return "a segment register";
	if (bad_seg(&c->ldtr) || bad_seg(&c->tr) || !x86_canonical(c->ldtr.base) ||
	    !x86_canonical(c->tr.base) || !x86_canonical(c->gdtr.base) ||
	    !x86_canonical(c->idtr.base))
		return "a descriptor table register";
	for (unsigned n = 0; n < 4; n++)
		if ((c->pdpte[n] & 1) && (c->pdpte[n] & ~low_mask(c->mem->phys_bits)))
			return "a PDPTE";
	if ((c->int_shadow & ~(X86_SHADOW_STI | X86_SHADOW_MOVSS)) || c->xss)
		return "the interrupt shadow or XSS";
	return NULL;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct x86_cpu *c = obj;
	const char *what;

	tidy_bool(&c->halted);
	tidy_bool(&c->wait_sipi);
	tidy_bool(&c->nmi_blocked);
	tidy_bool(&c->nmi_pending);
	what = impossible(c);
	if (what)
		return err_set(err, -EINVAL,
			       "the saved state of vCPU %u is not one that its model can be in: %s",
			       c->index, what);
	c->rflags |= X86_FL_FIXED;
	c->dr[6] = (c->dr[6] & 0xe00f) | X86_DR6_FIXED;
	c->dr[7] = (c->dr[7] & 0xffff2bffull) | X86_DR7_FIXED;
	c->db_pending &= X86_DR6_BP | X86_DR6_BD | X86_DR6_BS | X86_DR6_BT;
	c->fx.mxcsr_mask = 0xffff;
	c->start_rip = c->rip;
	c->exc_vector = -1;
	/* The APIC and the PIC say again what they have; other requests were this
	 * host's own. */
	atomic_fetch_and(&c->request, REQUESTS_KEPT);
	c->recheck = c->intr_waits = true;
	x86_tlb_flush_all(c);
	x86_update_mode(c);
	return 0;
}

const struct state_desc x86_cpu_state = {
	.name = "x86-cpu",
	.version = 1,
	.fields = fields,
	.post_load = post_load,
};

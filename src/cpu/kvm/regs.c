/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers between struct x86_cpu and KVM: general, segments and control (api
 * 4.1.., 4.13), x87 and vectors as an XSAVE image (4.42; SDM vol. 1, 13.4), debug
 * registers, events on their way (4.31).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/kvm/kvm_priv.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/debug.h"
#include "src/cpu/x86/sys.h"
#include "src/cpu/x86/x86.h"

/* In an XSAVE image in the standard format. */
#define XS_MXCSR 24
#define XS_ST 32
#define XS_XMM 160
#define XS_BV 512
#define XS_YMM_HIGH 576
/* KVM's names for the interrupt shadow are the other way round. */
#define KVM_SHADOW_MOVSS 1u
#define KVM_SHADOW_STI 2u

static int failed(struct kvm_vcpu *k, int ret, const char *what, struct err *err)
{
	return err_set(err, ret, "KVM does not take the %s of vCPU %u: %s", what, k->v->index,
		       strerror(-ret));
}

static void regs_out(const struct x86_cpu *c, struct kvm_regs *r)
{
	*r = (struct kvm_regs){
		.rax = c->gpr[X86_RAX], .rbx = c->gpr[X86_RBX], .rcx = c->gpr[X86_RCX],
		.rdx = c->gpr[X86_RDX], .rsi = c->gpr[X86_RSI], .rdi = c->gpr[X86_RDI],
		.rsp = c->gpr[X86_RSP], .rbp = c->gpr[X86_RBP],
		.r8 = c->gpr[8], .r9 = c->gpr[9], .r10 = c->gpr[10], .r11 = c->gpr[11],
		.r12 = c->gpr[12], .r13 = c->gpr[13], .r14 = c->gpr[14], .r15 = c->gpr[15],
		.rip = c->rip, .rflags = c->rflags,
	};
}

static void regs_in(struct x86_cpu *c, const struct kvm_regs *r)
{
	const uint64_t gpr[16] = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				   r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 };

	memcpy(c->gpr, gpr, sizeof(gpr));
	c->rip = c->start_rip = r->rip;
	c->rflags = r->rflags | X86_FL_FIXED;
}

static struct kvm_segment seg_out(const struct x86_seg *s, bool is_ss, unsigned cpl)
{
	struct kvm_segment o = {
		.base = s->base, .limit = s->limit, .selector = s->sel,
		.type = s->attr & X86_SEG_TYPE, .s = !!(s->attr & X86_SEG_S),
		.dpl = X86_SEG_DPL(s->attr), .present = !!(s->attr & X86_SEG_P),
		.avl = !!(s->attr & X86_SEG_AVL), .l = !!(s->attr & X86_SEG_L),
		.db = !!(s->attr & X86_SEG_DB), .g = !!(s->attr & X86_SEG_G),
		.unusable = !!(s->attr & X86_SEG_NULL),
	};

	if (is_ss)
		o.dpl = (uint8_t)cpl; /* where KVM takes the privilege level from */
	/* The hardware checks that the limit could come from its descriptor (SDM vol. 3,
	 * 27.3.1.2). */
	if (o.limit > 0xfffff) {
		o.g = 1;
		o.limit |= 0xfff;
	} else if (o.g && (o.limit & 0xfff) != 0xfff) {
		o.g = 0;
	}
	return o;
}

static struct x86_seg seg_in(const struct kvm_segment *k, bool keep_base)
{
	struct x86_seg s = { .sel = k->selector, .limit = k->limit, .base = k->base };

	if (k->unusable) {
		/* As a null selector is loaded; FS and GS keep a base of their own. */
		s.attr = X86_SEG_NULL;
		s.limit = 0;
		if (!keep_base)
			s.base = 0;
		return s;
	}
	s.attr = (uint16_t)((k->type & X86_SEG_TYPE) | (k->s ? X86_SEG_S : 0) | (k->dpl & 3) << 5 |
			    (k->present ? X86_SEG_P : 0) | (k->avl ? X86_SEG_AVL : 0) |
			    (k->l ? X86_SEG_L : 0) | (k->db ? X86_SEG_DB : 0) |
			    (k->g ? X86_SEG_G : 0));
	return s;
}

static bool pae(const struct x86_cpu *c)
{
	return (c->cr0 & X86_CR0_PG) && (c->cr4 & X86_CR4_PAE) && !(c->efer & X86_EFER_LMA);
}

static int sregs_load(struct kvm_vcpu *k, struct err *err)
{
	const struct x86_cpu *c = k->v->x86;
	struct kvm_sregs2 s = {
		.cs = seg_out(&c->seg[X86_CS], false, 0), .ds = seg_out(&c->seg[X86_DS], false, 0),
		.es = seg_out(&c->seg[X86_ES], false, 0), .fs = seg_out(&c->seg[X86_FS], false, 0),
		.gs = seg_out(&c->seg[X86_GS], false, 0), .ss = seg_out(&c->seg[X86_SS], true, c->cpl),
		.tr = seg_out(&c->tr, false, 0), .ldt = seg_out(&c->ldtr, false, 0),
		.gdt = { .base = c->gdtr.base, .limit = c->gdtr.limit },
		.idt = { .base = c->idtr.base, .limit = c->idtr.limit },
		.cr0 = c->cr0, .cr2 = c->cr2, .cr3 = c->cr3, .cr4 = c->cr4,
		.cr8 = apic_get_cr8(c->apic), .efer = c->efer,
	};
	uint64_t base = 0;
	int ret;

	if (k->vm->irqchip != CPUS_IRQCHIP_USER) {
		struct kvm_sregs now;

		/* KVM has the APIC: what it says stays. */
		ret = kvm_ioctl(k->fd, KVM_GET_SREGS, &now);
		if (ret < 0)
			return failed(k, ret, "segments and control registers", err);
		s.apic_base = now.apic_base;
		s.cr8 = now.cr8;
	} else if (apic_msr_read(c->apic, 0x1b, &base) == 0) {
		s.apic_base = base;
	}
	if (pae(c)) {
		s.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(s.pdptrs, c->pdpte, sizeof(s.pdptrs));
	}
	if (k->vm->sregs2) {
		ret = kvm_ioctl(k->fd, KVM_SET_SREGS2, &s);
	} else {
		struct kvm_sregs old = { 0 };

		/* The same up to the flags; the PDPTEs come from memory. */
		memcpy(&old, &s, offsetof(struct kvm_sregs2, flags));
		ret = kvm_ioctl(k->fd, KVM_SET_SREGS, &old);
	}
	return ret < 0 ? failed(k, ret, "segments and control registers", err) : 0;
}

static int sregs_store(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	struct kvm_sregs2 s = { 0 };
	const struct kvm_segment *from[X86_NSEGS] = { &s.es, &s.cs, &s.ss, &s.ds, &s.fs, &s.gs };
	int ret = kvm_ioctl(k->fd, k->vm->sregs2 ? KVM_GET_SREGS2 : KVM_GET_SREGS, &s);

	if (ret < 0)
		return ret;
	c->cr0 = s.cr0;
	c->cr2 = s.cr2;
	c->cr3 = s.cr3;
	c->cr4 = s.cr4;
	c->efer = s.efer;
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = seg_in(from[n], n == X86_FS || n == X86_GS);
	c->tr = seg_in(&s.tr, false);
	c->ldtr = seg_in(&s.ldt, false);
	c->gdtr = (struct x86_dtable){ s.gdt.base, s.gdt.limit };
	c->idtr = (struct x86_dtable){ s.idt.base, s.idt.limit };
	c->cpl = x86_v86(c) ? 3 : x86_protected(c) ? s.ss.dpl : 0;
	if (c->seg[X86_SS].attr & X86_SEG_NULL)
		c->seg[X86_SS].attr |= (uint16_t)(c->cpl << 5);
	if (pae(c)) {
		if (k->vm->sregs2 && (s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
			memcpy(c->pdpte, s.pdptrs, sizeof(c->pdpte));
		else if (mem_read(c->mem, c->cr3 & 0xffffffe0u, c->pdpte, 32) < 0)
			memset(c->pdpte, 0, sizeof(c->pdpte));
	}
	return 0;
}

/*
 * x87 and vectors.
 */
static int fpu_load(struct kvm_vcpu *k, struct err *err)
{
	const struct x86_cpu *c = k->v->x86;
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = c->xcr0 } };
	uint8_t *a = calloc(1, max_of(k->vm->xsave_len, sizeof(struct kvm_xsave)));
	int ret;

	if (!a)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(a, &c->fx, XS_MXCSR);
	st_le32(a + XS_MXCSR, c->fx.mxcsr);
	st_le32(a + XS_MXCSR + 4, 0xffff);
	memcpy(a + XS_ST, c->fx.st, sizeof(c->fx.st));
	for (unsigned n = 0; n < 16; n++)
		memcpy(a + XS_XMM + 16 * n, c->ymm[n].b, 16);
	st_le64(a + XS_BV, 3);
	if (x86_has(c, X86_F_AVX)) {
		for (unsigned n = 0; n < 16; n++)
			memcpy(a + XS_YMM_HIGH + 16 * n, c->ymm[n].b + 16, 16);
		st_le64(a + XS_BV, 7);
	}
	ret = kvm_ioctl(k->fd, KVM_SET_XSAVE, a);
	free(a);
	if (ret < 0)
		return failed(k, ret, "x87 and vector registers", err);
	ret = kvm_ioctl(k->fd, KVM_SET_XCRS, &x);
	/* Without XSAVE there is nothing to set. */
	return ret < 0 && c->xcr0 != 1 ? failed(k, ret, "XCR0", err) : 0;
}

static int fpu_store(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	struct kvm_xcrs x = { 0 };
	uint8_t *a = calloc(1, max_of(k->vm->xsave_len, sizeof(struct kvm_xsave)));
	bool large = k->vm->xsave_len > sizeof(struct kvm_xsave);
	int ret = a ? kvm_ioctl(k->fd, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, a) : -ENOMEM;
	uint64_t bv;

	if (ret < 0) {
		free(a);
		return ret;
	}
	/* A component that is in its initial state need not be in the image. */
	bv = ld_le64(a + XS_BV);
	memset(&c->fx, 0, XS_MXCSR);
	memset(c->fx.st, 0, sizeof(c->fx.st));
	memset(c->ymm, 0, sizeof(c->ymm));
	c->fx.fcw = 0x37f;
	if (bv & 1) {
		memcpy(&c->fx, a, XS_MXCSR);
		memcpy(c->fx.st, a + XS_ST, sizeof(c->fx.st));
		for (unsigned n = 0; n < 8; n++)
			memset(c->fx.st[n] + 10, 0, 6);
	}
	c->fx.rsv0 = 0;
	c->fx.mxcsr = bv & 6 ? ld_le32(a + XS_MXCSR) & 0xffff : 0x1f80;
	for (unsigned n = 0; n < 16; n++) {
		if (bv & 2)
			memcpy(c->ymm[n].b, a + XS_XMM + 16 * n, 16);
		if ((bv & 4) && x86_has(c, X86_F_AVX))
			memcpy(c->ymm[n].b + 16, a + XS_YMM_HIGH + 16 * n, 16);
	}
	free(a);
	if (x86_has(c, X86_F_XSAVE) && kvm_ioctl(k->fd, KVM_GET_XCRS, &x) == 0)
		for (unsigned n = 0; n < min_of(x.nr_xcrs, (uint32_t)KVM_MAX_XCRS); n++)
			if (x.xcrs[n].xcr == 0)
				c->xcr0 = x.xcrs[n].value;
	return 0;
}

static int debug_load(struct kvm_vcpu *k, struct err *err)
{
	const struct x86_cpu *c = k->v->x86;
	struct kvm_debugregs d = { .dr6 = c->dr[6], .dr7 = c->dr[7] };
	int ret;

	memcpy(d.db, c->dr, sizeof(d.db));
	ret = kvm_ioctl(k->fd, KVM_SET_DEBUGREGS, &d);
	return ret < 0 ? failed(k, ret, "debug registers", err) : 0;
}

static int debug_store(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	struct kvm_debugregs d;
	int ret = kvm_ioctl(k->fd, KVM_GET_DEBUGREGS, &d);

	if (ret < 0)
		return ret;
	memcpy(c->dr, d.db, sizeof(d.db));
	c->dr[6] = (d.dr6 & 0xe00f) | X86_DR6_FIXED;
	c->dr[7] = (d.dr7 & 0xffff2bffull) | X86_DR7_FIXED;
	return 0;
}

/*
 * Events.
 */
static int events_load(struct kvm_vcpu *k, struct err *err)
{
	const struct x86_cpu *c = k->v->x86;
	struct kvm_vcpu_events e = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.nmi = { .pending = c->nmi_pending, .masked = c->nmi_blocked },
		.interrupt.shadow = (c->int_shadow & X86_SHADOW_STI ? KVM_SHADOW_STI : 0) |
				    (c->int_shadow & X86_SHADOW_MOVSS ? KVM_SHADOW_MOVSS : 0),
	};
	int ret;

	ret = kvm_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &e);
	return ret < 0 ? failed(k, ret, "pending events", err) : 0;
}

/* What KVM was about to deliver is delivered here, before anybody else looks. */
static int events_store(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	struct kvm_vcpu_events e = { 0 };
	int ret = kvm_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &e);

	if (ret < 0)
		return ret;
	c->nmi_pending = e.nmi.pending;
	c->nmi_blocked = e.nmi.masked;
	c->int_shadow = (e.interrupt.shadow & KVM_SHADOW_STI ? X86_SHADOW_STI : 0) |
			(e.interrupt.shadow & KVM_SHADOW_MOVSS ? X86_SHADOW_MOVSS : 0);
	if (k->vm->irqchip != CPUS_IRQCHIP_USER)
		atomic_store(&k->v->sipi_vector, (uint8_t)e.sipi_vector);
	x86_tlb_flush_all(c);
	x86_update_mode(c);
	c->exc_vector = -1;
	if (e.exception.injected || e.exception.pending)
		x86_inject_exception(c, e.exception.nr, e.exception.has_error_code,
				     e.exception.error_code);
	else if (e.nmi.injected)
		x86_inject_nmi(c);
	else if (e.interrupt.injected)
		x86_inject_interrupt(c, e.interrupt.nr, e.interrupt.soft);
	return 0;
}

/* HLT and waiting for SIPI are KVM's to know where it has the APIC. */
static int mp_load(struct kvm_vcpu *k, struct err *err)
{
	const struct x86_cpu *c = k->v->x86;
	struct kvm_mp_state m = { KVM_MP_STATE_RUNNABLE };
	int ret;

	if (k->vm->irqchip == CPUS_IRQCHIP_USER)
		return 0;
	if (c->wait_sipi)
		m.mp_state = KVM_MP_STATE_INIT_RECEIVED;
	else if (c->halted)
		m.mp_state = KVM_MP_STATE_HALTED;
	ret = kvm_ioctl(k->fd, KVM_SET_MP_STATE, &m);
	return ret < 0 ? failed(k, ret, "sleep state", err) : 0;
}

static int mp_store(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	struct kvm_mp_state m = { 0 };
	int ret;

	if (k->vm->irqchip == CPUS_IRQCHIP_USER)
		return 0;
	ret = kvm_ioctl(k->fd, KVM_GET_MP_STATE, &m);
	if (ret < 0)
		return ret;
	c->halted = m.mp_state == KVM_MP_STATE_HALTED;
	c->wait_sipi = m.mp_state == KVM_MP_STATE_UNINITIALIZED ||
		       m.mp_state == KVM_MP_STATE_INIT_RECEIVED;
	if (m.mp_state == KVM_MP_STATE_SIPI_RECEIVED) {
		c->wait_sipi = true;
		atomic_fetch_or(&c->request, X86_REQ_SIPI);
	}
	return 0;
}

int kvm_load(struct kvm_vcpu *k, struct err *err)
{
	struct kvm_regs r;
	int ret;

	regs_out(k->v->x86, &r);
	/* Not before every vCPU is there: CPUID counts them. KVM wants it once, before it
	 * runs. */
	ret = kvm_cpuid_load(k, err);
	if (ret == 0)
		ret = sregs_load(k, err);
	if (ret == 0 && (ret = kvm_ioctl(k->fd, KVM_SET_REGS, &r)) < 0)
		ret = failed(k, ret, "registers", err);
	if (ret == 0)
		ret = fpu_load(k, err);
	if (ret == 0)
		ret = kvm_msrs_load(k, err);
	if (ret == 0)
		ret = debug_load(k, err);
	if (ret == 0)
		ret = kvm_lapic_deadline(k, err);
	if (ret == 0)
		ret = mp_load(k, err);
	if (ret == 0)
		ret = events_load(k, err);
	k->loaded = ret == 0;
	if (k->loaded)
		k->v->x86->nmi_pending = false; /* KVM has it */
	return ret;
}

int kvm_store(struct kvm_vcpu *k, struct err *err)
{
	struct x86_cpu *c = k->v->x86;
	struct kvm_regs r;
	int ret;

	kvm_lapic_tick(k);
	/* Before the rest: an INIT or SIPI that waits is taken in by asking for this, and
	 * changes what is asked for next. */
	ret = mp_store(k);
	if (ret == 0)
		ret = kvm_ioctl(k->fd, KVM_GET_REGS, &r);
	if (ret == 0) {
		regs_in(c, &r);
		ret = sregs_store(k);
	}
	if (ret == 0)
		ret = fpu_store(k);
	if (ret == 0)
		ret = debug_store(k);
	if (ret == 0) {
		kvm_msrs_store(k);
		ret = events_store(k);
	}
	k->loaded = false;
	c->recheck = true;
	return ret < 0 ? err_set(err, ret, "KVM does not give the state of vCPU %u back: %s",
				 k->v->index, strerror(-ret)) : 0;
}

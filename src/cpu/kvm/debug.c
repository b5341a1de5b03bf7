/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debugging a guest from outside (guest_debug.h) in KVM: breakpoints and watchpoints in
 * the processor's debug registers, which KVM keeps apart from the guest's (api 4.87).
 *
 * A single step is done by the interpreter: KVM's own steps set TF, which PUSHF and exception
 * frames show to the guest, and SYSCALL clears. KVM steps where the kernel has the interrupt
 * controllers and other vCPUs run meanwhile: the interpreter would meet ours.
 */
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/interp/interp.h"
#include "src/cpu/kvm/kvm_priv.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/debug.h"

/* DR7, SDM vol. 3, 18.2.4. */
#define DR7_GE 0x200u
#define DR7_G(n) (2u << (2 * (n)))

static uint64_t dr7_bits(unsigned n, const struct cpu_point *p)
{
	static const uint8_t len[] = { [1] = 0, [2] = 1, [4] = 3, [8] = 2 };
	/* The processor cannot tell of reads alone. */
	unsigned rw = p->kind == CPU_POINT_CODE ? 0 : p->kind == CPU_POINT_WRITE ? 1 : 3;

	return DR7_G(n) | (uint64_t)(rw | (unsigned)len[p->len] << 2) << (16 + 4 * n);
}

static bool steps_here(const struct kvm_vcpu *k)
{
	const struct cpus *s = k->v->cpus;
	bool ours = k->vm->irqchip == CPUS_IRQCHIP_USER || !atomic_load(&k->vm->irqs_loaded);

	for (unsigned n = 0; n < s->count && k->vm->irqchip != CPUS_IRQCHIP_USER; n++)
		ours &= n == k->v->index || s->vcpu[n].held;
	return ours;
}

int kvm_debug_load(struct kvm_vcpu *k, struct err *err)
{
	const struct cpus_debug *d = &k->v->cpus->debug;
	struct kvm_guest_debug g = { 0 };
	unsigned pieces = 0;
	int ret;

	memset(k->debug_at, 0, sizeof(k->debug_at));
	for (unsigned n = 0; n < d->count; n++) {
		struct cpu_point p[4];
		unsigned count = cpu_point_pieces(&d->point[n], p, 4);

		for (unsigned i = 0; i < count && pieces < 4; i++, pieces++) {
			g.arch.debugreg[pieces] = p[i].lin;
			g.arch.debugreg[7] |= dr7_bits(pieces, &p[i]);
			k->debug_at[pieces] = d->point[n];
		}
	}
	if (pieces) {
		g.arch.debugreg[7] |= X86_DR7_FIXED | DR7_GE;
		g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	}
	if (k->v->x86->debug & X86_DEBUG_STEP && !steps_here(k))
		g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP |
			     (k->vm->block_irq ? KVM_GUESTDBG_BLOCKIRQ : 0);
	if (!g.control && !k->debug_set)
		return 0;
	ret = kvm_ioctl(k->fd, KVM_SET_GUEST_DEBUG, &g);
	if (ret < 0)
		return err_set(err, ret, "KVM cannot debug vCPU %u: %s", k->v->index,
			       strerror(-ret));
	k->debug_set = g.control != 0;
	return 0;
}

/* True: x86->* has the state. */
static bool take_back(struct kvm_vcpu *k)
{
	struct err err = { "" };

	if (k->loaded && kvm_store(k, &err) < 0) {
		kvm_give_up(k, "%s", err.text);
		return false;
	}
	kvm_settle(k->vm);
	return true;
}

/* One instruction by the interpreter, or the event that ends HLT. */
static enum kvm_next one(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	bool step = c->debug & X86_DEBUG_STEP;

	if (!take_back(k) || c->wait_sipi)
		return KVM_LEAVE;
	if (atomic_load(&c->request) & (X86_REQ_EXIT | X86_REQ_INIT | X86_REQ_SIPI))
		return KVM_LEAVE;
	x86_tlb_flush_all(c);
	c->debug &= ~X86_DEBUG_PASS;
	if (c->halted) {
		if (x86_poll_events(c))
			cpu_debug_stop(c, NULL);
		return KVM_LEAVE;
	}
	__atomic_fetch_add(&k->steps, 1, __ATOMIC_RELAXED);
	interp_step_whole(c);
	if (step && !c->debug_hit)
		cpu_debug_stop(c, NULL);
	return cpu_debug_done(c) || step ? KVM_LEAVE : KVM_GO_ON;
}

enum kvm_next kvm_debug_turn(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;

	/* Of an instruction that the interpreter did for KVM. */
	if (c->debug_hit && take_back(k) && cpu_debug_done(c))
		return KVM_LEAVE;
	if (c->debug & X86_DEBUG_PASS || (c->debug & X86_DEBUG_STEP && steps_here(k)))
		return one(k);
	return KVM_GO_ON;
}

/* While it debugs KVM gives us every #DB: this one is of the guest's own TF, or INT1. */
static enum kvm_next to_guest(struct kvm_vcpu *k, uint64_t dr6)
{
	struct x86_cpu *c = k->v->x86;

	if (!take_back(k))
		return KVM_LEAVE;
	c->dr[6] = (c->dr[6] & ~X86_DR6_BP) | (dr6 & (X86_DR6_BD | X86_DR6_BS | X86_DR6_BT));
	c->dr[7] &= ~X86_DR7_GD;
	x86_inject_exception(c, X86_EXC_DB, false, 0);
	return KVM_GO_ON;
}

enum kvm_next kvm_debug_exit(struct kvm_vcpu *k)
{
	const struct kvm_debug_exit_arch *x = &k->run->debug.arch;
	const struct cpu_point *p = NULL;

	for (unsigned n = 0; n < array_size(k->debug_at) && !p; n++)
		if (x->dr6 >> n & 1 && k->debug_at[n].len)
			p = &k->debug_at[n];
	if (!p && !(x->dr6 & X86_DR6_BS && k->v->x86->debug & X86_DEBUG_STEP))
		return x->exception == X86_EXC_DB ? to_guest(k, x->dr6) : KVM_GO_ON;
	if (!take_back(k))
		return KVM_LEAVE;
	cpu_debug_stop(k->v->x86, p);
	return KVM_LEAVE;
}

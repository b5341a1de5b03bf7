/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The KVM engine: making the VM and its vCPUs, running them, interrupting them.
 *
 * A kick: run->immediate_exit makes the next KVM_RUN come back at once (api 5), and
 * a signal ends one that is under way. The request bit is set before the kick, and
 * run() clears immediate_exit before it looks at the bits, so none is missed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/vtime.h"
#include "src/cpu/kvm/kvm_priv.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/x86.h"

/* Nobody else's in this process. */
#define KICK_SIGNAL (SIGRTMIN + 3)
/* Intel wants three pages for a TSS while it runs real mode; they and the identity map
 * lie where firmware's flash would end and no RAM ever is (api 4.36, 4.30). */
#define TSS_ADDR 0xfeffd000u
#define IDENTITY_ADDR 0xfeffc000ull
#define DIRTY_RING_ENTRIES 4096u

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

static bool has_cap(const struct kvm_vm *vm, long cap)
{
	return ioctl(vm->fd, KVM_CHECK_EXTENSION, cap) > 0;
}

static void on_kick(int sig)
{
}

/*
 * The machine.
 */
static int kvm_usable(struct err *err)
{
	struct kvm_report r;

	kvm_probe(&r, false);
	if (r.verdict == KVM_GOOD)
		return 0;
	if (r.verdict == KVM_EMULATING || r.verdict == KVM_WRONG)
		return err_set(err, -ENOTSUP, "KVM fails its self-test here: %s; --engine jit is "
			       "the better choice, --kvm-anyway uses KVM all the same", r.why);
	return err_set(err, -ENOTSUP, "KVM cannot be used here: %s%s%s", r.why,
		       r.advice[0] ? "; " : "", r.advice);
}

static int check_caps(struct kvm_vm *vm, struct err *err)
{
	static const struct { long cap; const char *what; } needed[] = {
		{ KVM_CAP_USER_MEMORY, "user memory" }, { KVM_CAP_READONLY_MEM, "read-only memory" },
		{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" }, { KVM_CAP_XSAVE, "XSAVE" },
		{ KVM_CAP_VCPU_EVENTS, "events" }, { KVM_CAP_DEBUGREGS, "debug registers" },
		{ KVM_CAP_X86_USER_SPACE_MSR, "MSRs in user space" },
		{ KVM_CAP_X86_MSR_FILTER, "MSR filters" },
	};

	for (size_t i = 0; i < array_size(needed); i++)
		if (!has_cap(vm, needed[i].cap))
			return err_set(err, -ENOTSUP, "this kernel's KVM is too old: it lacks %s; "
				       "Linux 5.10 or newer is needed", needed[i].what);
	return 0;
}

/* Every feature that the guest was shown must be there. */
static int check_features(struct kvm_vm *vm, struct err *err)
{
	struct x86_cpu *c = vm->cpus->vcpu[0].x86;
	uint64_t have, lacks;
	char list[200] = "";
	int ret = kvm_features(vm->sys_fd, &have, err);

	if (ret < 0)
		return ret;
	/* Not built yet: the model is cut to what there is. */
	if (!c) {
		vm->cpus->engine_features = have;
		return 0;
	}
	lacks = c->features[0] & ~have;
	for (unsigned n = 0; n < X86_NFEATURES; n++) {
		size_t len = strlen(list);

		if (lacks >> n & 1)
			snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
				 x86_feature_name(n));
	}
	if (!lacks)
		return 0;
	return err_set(err, -ENOTSUP, "KVM here cannot give the CPU features that the guest was "
		       "started with: %s; start it with a smaller --cpu model", list);
}

static void make_ring(struct kvm_vm *vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING,
		.args = { DIRTY_RING_ENTRIES * sizeof(struct kvm_dirty_gfn) },
	};

	if (vm->cpus->dirty_ring && kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap) == 0)
		vm->ring_entries = DIRTY_RING_ENTRIES;
}

/*
 * What KVM does otherwise than a processor unless it is told. An instruction that it
 * cannot emulate is ours to do, at every privilege level (api 7.31): before Linux 5.14
 * only ring 0's comes out. MONITOR and MWAIT, which no model has, are #UD (api 7.29).
 */
static void tell_manners(struct kvm_vm *vm)
{
	struct kvm_enable_cap emulation = { .cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = { 1 } };
	struct kvm_enable_cap quirks = { .cap = KVM_CAP_DISABLE_QUIRKS2 };
	int can = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_DISABLE_QUIRKS2);

	(void)kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &emulation);
	quirks.args[0] = can > 0 ? (unsigned)can & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS : 0;
	if (quirks.args[0])
		(void)kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &quirks);
}

/* In the kernel where there is hardware to be quick; where KVM emulates, nothing is
 * gained by it. */
static enum cpus_irqchip where_irqchips(const struct cpus *s)
{
	struct kvm_report r;

	if (s->irqchip != CPUS_IRQCHIP_AUTO)
		return s->irqchip;
	kvm_probe(&r, false);
	return r.verdict == KVM_GOOD ? CPUS_IRQCHIP_KERNEL : CPUS_IRQCHIP_USER;
}

static int setup_vm(struct kvm_vm *vm, struct err *err)
{
	struct sigaction sa = { .sa_handler = on_kick };
	uint64_t identity = IDENTITY_ADDR;
	int ret;

	sigaction(KICK_SIGNAL, &sa, NULL);
	ret = ioctl(vm->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret <= 0)
		return err_set(err, -EIO, "KVM does not say how large its shared area is");
	vm->run_len = (size_t)ret;
	ret = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	vm->xsave_len = ret > 0 ? (size_t)ret : sizeof(struct kvm_xsave);
	vm->clock = has_cap(vm, KVM_CAP_ADJUST_CLOCK);
	vm->sregs2 = has_cap(vm, KVM_CAP_SREGS2);
	ret = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);
	vm->block_irq = ret > 0 && ret & KVM_GUESTDBG_BLOCKIRQ;
	vm->tsc_can_scale = has_cap(vm, KVM_CAP_TSC_CONTROL);
	vm->irqchip = where_irqchips(vm->cpus);
	(void)kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	(void)ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDR);
	make_ring(vm);
	tell_manners(vm);
	ret = kvm_irqs_init(vm, err);
	if (ret == 0)
		ret = kvm_msr_filter(vm, err);
	if (ret == 0)
		ret = kvm_slots_init(vm, err);
	if (ret == 0)
		kvm_helper_init(vm);
	return ret;
}

static void kvm_vm_fini(struct cpus *s)
{
	struct kvm_vm *vm = s->engine_priv;

	if (!vm)
		return;
	kvm_helper_fini(vm);
	kvm_slots_fini(vm);
	kvm_irqs_fini(vm);
	s->engine_sleeps = false;
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->sys_fd >= 0)
		close(vm->sys_fd);
	pthread_mutex_destroy(&vm->slots_lock);
	pthread_mutex_destroy(&vm->tsc_lock);
	free(vm);
	s->engine_priv = NULL;
}

static int kvm_vm_init(struct cpus *s, struct err *err)
{
	struct kvm_vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return err_set(err, -ENOMEM, "out of memory");
	vm->cpus = s;
	vm->fd = -1;
	pthread_mutex_init(&vm->slots_lock, NULL);
	pthread_mutex_init(&vm->tsc_lock, NULL);
	s->engine_priv = vm;
	vm->sys_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->sys_fd < 0) {
		struct kvm_report r;

		kvm_probe(&r, false); /* says why, and what to do */
		ret = err_set(err, -ENOTSUP, "KVM cannot be used here: %s%s%s", r.why,
			      r.advice[0] ? "; " : "", r.advice);
		goto fail;
	}
	vm->fd = ioctl(vm->sys_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0) {
		ret = err_set(err, -errno, "KVM cannot make a virtual machine: %s",
			      strerror(errno));
		goto fail;
	}
	ret = check_caps(vm, err);
	if (ret == 0)
		ret = check_features(vm, err);
	if (ret == 0)
		ret = setup_vm(vm, err);
	if (ret == 0)
		return 0;
fail:
	kvm_vm_fini(s);
	return ret;
}

/*
 * One vCPU.
 */
static void kvm_vcpu_fini(struct vcpu *v)
{
	struct kvm_vcpu *k = v->engine_priv;

	if (!k)
		return;
	pthread_mutex_lock(&v->lock);
	v->engine_priv = NULL;
	pthread_mutex_unlock(&v->lock);
	if (k->ring)
		munmap(k->ring, k->vm->ring_entries * sizeof(*k->ring));
	if (k->run)
		munmap(k->run, k->vm->run_len);
	if (k->fd >= 0)
		close(k->fd);
	free(k);
}

static int map_vcpu(struct kvm_vcpu *k)
{
	void *p = mmap(NULL, k->vm->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	k->run = p;
	if (!k->vm->ring_entries)
		return 0;
	p = mmap(NULL, k->vm->ring_entries * sizeof(*k->ring), PROT_READ | PROT_WRITE, MAP_SHARED,
		 k->fd, KVM_DIRTY_LOG_PAGE_OFFSET * 4096);
	if (p == MAP_FAILED)
		return -errno;
	k->ring = p;
	return 0;
}

static int kvm_vcpu_init(struct vcpu *v, struct err *err)
{
	struct kvm_vcpu *k = calloc(1, sizeof(*k));
	int ret;

	if (!k)
		return err_set(err, -ENOMEM, "out of memory");
	k->v = v;
	k->vm = v->cpus->engine_priv;
	k->fd = ioctl(k->vm->fd, KVM_CREATE_VCPU, (unsigned long)v->index);
	v->engine_priv = k;
	ret = k->fd < 0 ? -errno : map_vcpu(k);
	if (ret < 0) {
		ret = err_set(err, ret, "KVM cannot make vCPU %u: %s", v->index, strerror(-ret));
		goto fail;
	}
	if (k->vm->tsc_can_scale)
		(void)ioctl(k->fd, KVM_SET_TSC_KHZ, (unsigned long)(v->cpus->tsc_hz / 1000));
	return 0;
fail:
	kvm_vcpu_fini(v);
	return ret;
}

static void kvm_kick(struct vcpu *v)
{
	struct kvm_vcpu *k;

	pthread_mutex_lock(&v->lock);
	k = v->engine_priv;
	if (k && v->cpus->engine == &kvm_engine) {
		__atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		if (v->started && atomic_load(&k->in_run) && !pthread_equal(v->thread, pthread_self())) {
			k->kicks++;
			pthread_kill(v->thread, KICK_SIGNAL);
		}
	}
	pthread_mutex_unlock(&v->lock);
}

/*
 * Running.
 */

/* 0: an exit to handle; -EINTR: none; else it failed. */
static int enter(struct kvm_vcpu *k)
{
	int ret;

	atomic_store(&k->in_run, true);
	ret = ioctl(k->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	atomic_store(&k->in_run, false);
	k->unfinished = false;
	k->exits++;
	return ret;
}

/*
 * Hands KVM a vector that was acknowledged. With its local APIC KVM_INTERRUPT keeps the
 * vector where no state of the vCPU shows it until the guest is entered (api 4.16), and
 * an engine that takes over in between would never hear of it: there it goes in as an
 * event that is being delivered, and wakes a vCPU that sleeps in HLT.
 */
static int give(struct kvm_vcpu *k, uint8_t vector)
{
	struct kvm_interrupt irq = { .irq = vector };
	struct kvm_mp_state m = { 0 };
	struct kvm_vcpu_events e = { 0 };
	int ret;

	if (k->vm->irqchip == CPUS_IRQCHIP_USER)
		return kvm_ioctl(k->fd, KVM_INTERRUPT, &irq);
	ret = kvm_ioctl(k->fd, KVM_GET_MP_STATE, &m);
	if (ret == 0 && m.mp_state == KVM_MP_STATE_HALTED) {
		m.mp_state = KVM_MP_STATE_RUNNABLE;
		ret = kvm_ioctl(k->fd, KVM_SET_MP_STATE, &m);
	}
	if (ret == 0)
		ret = kvm_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &e);
	if (ret < 0)
		return ret;
	e.flags = 0; /* the rest stays as it is */
	e.interrupt.injected = 1;
	e.interrupt.nr = vector;
	e.interrupt.soft = 0;
	return kvm_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &e);
}

/* The 8259s' and, where it is ours, the local APIC's interrupts. */
static void inject(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	struct cpus *s = k->v->cpus;
	bool user = k->vm->irqchip == CPUS_IRQCHIP_USER;
	bool pending = user ? apic_pending(c->apic)
			    : k->vm->irqchip == CPUS_IRQCHIP_SPLIT && c->index == 0 &&
			      s->pic_pending && s->pic_pending(s->pic_opaque);
	int vector;

	k->run->request_interrupt_window = pending;
	if (!pending || !k->run->ready_for_interrupt_injection)
		return;
	vector = user ? apic_ack(c->apic) : s->pic_ack(s->pic_opaque);
	if (vector < 0)
		return;
	if (give(k, (uint8_t)vector) == 0)
		k->injected++;
	k->run->ready_for_interrupt_injection = 0;
	k->run->request_interrupt_window = user && apic_pending(c->apic);
}

/* Whether an interrupt may come at once, where KVM has not said so itself. */
static void first_window(struct kvm_vcpu *k)
{
	const struct x86_cpu *c = k->v->x86;

	k->run->if_flag = !!(c->rflags & X86_FL_IF);
	k->run->ready_for_interrupt_injection =
		k->vm->irqchip == CPUS_IRQCHIP_USER && k->run->if_flag && !c->int_shadow;
}

static bool load(struct kvm_vcpu *k)
{
	struct err err = { "" };

	if (k->loaded)
		return true;
	/* A trap between two instructions is not among the events that KVM takes. */
	while (k->v->x86->db_pending)
		if (kvm_step(k) == KVM_LEAVE)
			return false;
	if (kvm_irqs_load(k->vm, &err) < 0 || kvm_load(k, &err) < 0 ||
	    kvm_debug_load(k, &err) < 0) {
		kvm_give_up(k, "%s", err.text);
		return false;
	}
	first_window(k);
	return true;
}

/* With APICs of ours: looks at requests. False: leave run(). */
static bool user_requests(struct kvm_vcpu *k, uint32_t req)
{
	struct x86_cpu *c = k->v->x86;

	if (c->wait_sipi)
		return false;
	if (req & X86_REQ_NMI || c->nmi_pending) {
		c->nmi_pending = false;
		c->halted = false;
		(void)kvm_ioctl(k->fd, KVM_NMI, NULL);
	}
	if (c->halted && k->run->if_flag && apic_pending(c->apic))
		c->halted = false;
	return !c->halted;
}

static bool take_requests(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	uint32_t req;

	__atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	/* KVM follows the memory map and keeps no code. */
	req = atomic_fetch_and(&c->request, ~(uint32_t)(X86_REQ_INTR | X86_REQ_NMI | X86_REQ_SMI |
							 X86_REQ_FLUSH | X86_REQ_CODE));
	if (req & (X86_REQ_EXIT | X86_REQ_INIT | X86_REQ_SIPI)) {
		/* For later: what was taken off is not yet done. */
		atomic_fetch_or(&c->request, req & (X86_REQ_INTR | X86_REQ_NMI));
		return false;
	}
	c->recheck = false;
	if (k->vm->irqchip == CPUS_IRQCHIP_USER)
		return user_requests(k, req);
	if (req & X86_REQ_NMI)
		(void)kvm_ioctl(k->fd, KVM_NMI, NULL);
	return true;
}

/* CR8 is a register of the APIC that KVM keeps in kvm_run. */
static void take_shared(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;

	if (k->vm->irqchip == CPUS_IRQCHIP_USER && apic_get_cr8(c->apic) != (k->run->cr8 & 15))
		apic_set_cr8(c->apic, (uint8_t)(k->run->cr8 & 15));
}

static enum kvm_next turn(struct kvm_vcpu *k)
{
	int ret;

	k->run->cr8 = apic_get_cr8(k->v->x86->apic);
	inject(k);
	ret = enter(k);
	take_shared(k);
	if (ret == 0)
		return kvm_handle_exit(k);
	if (ret == -EINTR || ret == -EAGAIN)
		return KVM_GO_ON;
	/* An error that KVM has no exit for: often an address that it cannot reach. */
	if (ret == -EFAULT)
		return kvm_step(k);
	kvm_give_up(k, "vCPU %u: KVM_RUN failed: %s", k->v->index, strerror(-ret));
	return KVM_LEAVE;
}

/* The result of a read gets into its register when KVM is entered again. */
static void settle(struct kvm_vcpu *k)
{
	while (k->loaded && k->unfinished) {
		__atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		k->run->request_interrupt_window = 0;
		if (enter(k) == 0)
			kvm_handle_exit(k);
		take_shared(k);
	}
}

/* A signal that waits, and that KVM_RUN lets through (api 4.5), ends it before the guest is
 * entered; immediate_exit would end it before anything else is done, too. */
void kvm_touch(struct kvm_vcpu *k)
{
	union { struct kvm_signal_mask m; uint8_t all[sizeof(struct kvm_signal_mask) + 8]; }
		none_blocked = { .m.len = 8 };
	struct timespec now = { 0, 0 };
	sigset_t kick, old;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	if (kvm_ioctl(k->fd, KVM_SET_SIGNAL_MASK, &none_blocked) < 0)
		return;
	pthread_sigmask(SIG_BLOCK, &kick, &old);
	pthread_kill(pthread_self(), KICK_SIGNAL);
	__atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	k->run->request_interrupt_window = 0;
	if (enter(k) == 0)
		kvm_handle_exit(k);
	take_shared(k);
	(void)sigtimedwait(&kick, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)kvm_ioctl(k->fd, KVM_SET_SIGNAL_MASK, NULL);
}

static void kvm_run(struct vcpu *v)
{
	struct kvm_vcpu *k = v->engine_priv;

	/* A handler that finds the process's signal mask must get the kick through. */
	while ((!v->x86->debug || kvm_debug_turn(k) == KVM_GO_ON) && load(k) &&
	       take_requests(k) && turn(k) == KVM_GO_ON)
		;
	settle(k);
}

static void kvm_sync(struct vcpu *v)
{
	struct kvm_vcpu *k = v->engine_priv;
	struct err err = { "" };

	if (k && k->loaded && kvm_store(k, &err) < 0)
		log_error(v->cpus->log, "%s", err.text);
}

static void kvm_sync_vm(struct cpus *s)
{
	kvm_settle(s->engine_priv);
	kvm_irqs_store(s);
}

static unsigned kvm_stats(const struct vcpu *v, struct engine_stat *st)
{
	const struct kvm_vcpu *k = v->engine_priv;
	const struct engine_stat all[] = {
		{ "exits", k ? k->exits : 0 },
		{ "software-instructions", k ? k->steps : 0 },
		{ "interrupts", k ? k->injected : 0 },
		{ "kicks", k ? k->kicks : 0 },
	};

	memcpy(st, all, sizeof(all));
	return array_size(all);
}

const struct engine_desc kvm_engine = {
	.name = "kvm",
	.title = "KVM: the host's own processor runs the guest",
	.usable = kvm_usable,
	.vm_init = kvm_vm_init,
	.vm_fini = kvm_vm_fini,
	.vcpu_init = kvm_vcpu_init,
	.vcpu_fini = kvm_vcpu_fini,
	.run = kvm_run,
	.stats = kvm_stats,
	.sync = kvm_sync,
	.kick = kvm_kick,
	.sync_vm = kvm_sync_vm,
	.debug_points = 4,
};

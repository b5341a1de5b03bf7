/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest in KVM comes out for (api 5). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "src/cpu/interp/interp.h"
#include "src/cpu/kvm/kvm_priv.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/x86.h"

/* A guest that needs the software engine this often is better off there. */
#define STEP_WINDOW_NS 100000000
#define STEP_WINDOW_MAX 1000u

void kvm_give_up(struct kvm_vcpu *k, const char *fmt, ...)
{
	struct cpus *s = k->v->cpus;
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	atomic_fetch_or(&k->v->x86->request, X86_REQ_EXIT);
	if (s->engine_failed)
		s->engine_failed(s->vm_opaque, k->v->index, text);
	else
		log_error(s->log, "%s", text);
}

/*
 * Ports and memory-mapped registers.
 */
static void port_io(struct kvm_vcpu *k)
{
	struct kvm_run *run = k->run;
	struct bus *bus = k->v->cpus->bus;
	uint8_t *p = (uint8_t *)run + run->io.data_offset;

	/* String I/O: several items of one port. */
	for (uint32_t n = 0; n < run->io.count; n++, p += run->io.size) {
		uint32_t v = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&v, p, run->io.size);
			bus_pio_write(bus, run->io.port, v, run->io.size);
		} else {
			v = bus_pio_read(bus, run->io.port, run->io.size);
			memcpy(p, &v, run->io.size);
		}
	}
	k->unfinished = true;
}

/* Memory after all: a slot on its way, or a chip that is read by the bus and written
 * as memory. */
static bool as_memory(struct kvm_vcpu *k, uint64_t gpa, uint8_t *data, unsigned len, bool write)
{
	struct mem *m = k->v->cpus->mem;
	struct mem_slot s;

	if (!mem_slot_at(m, gpa, &s) || !(write ? s.writable : s.readable))
		return false;
	return (write ? mem_write(m, gpa, data, len) : mem_read(m, gpa, data, len)) == 0;
}

static void mmio_piece(struct kvm_vcpu *k, uint64_t gpa, uint8_t *data, unsigned len, bool write)
{
	struct x86_cpu *c = k->v->x86;
	bool apic = k->vm->irqchip == CPUS_IRQCHIP_USER && apic_claims(c->apic, gpa);
	uint64_t v = 0;

	if (write) {
		memcpy(&v, data, len);
		if (apic)
			apic_mmio_write(c->apic, gpa & 0xfff, v, len);
		else
			bus_mmio_write(c->bus, gpa, v, len);
	} else {
		v = apic ? apic_mmio_read(c->apic, gpa & 0xfff, len) : bus_mmio_read(c->bus, gpa, len);
		memcpy(data, &v, len);
	}
}

static void mmio(struct kvm_vcpu *k)
{
	struct kvm_run *run = k->run;
	uint64_t gpa = run->mmio.phys_addr;
	unsigned len = min_of(run->mmio.len, 8u), at = 0;
	bool write = run->mmio.is_write;

	k->unfinished = true;
	if (as_memory(k, gpa, run->mmio.data, len, write))
		return;
	/* Buses have no accesses of 3, 5, 6 or 7 bytes: naturally sized pieces. */
	while (at < len) {
		unsigned piece = 8;

		while (piece > len - at || ((gpa + at) & (piece - 1) && len & (len - 1)))
			piece /= 2;
		mmio_piece(k, gpa + at, run->mmio.data + at, piece, write);
		at += piece;
	}
}

/*
 * MSRs that KVM does not keep; those that it keeps come here when it refuses them.
 */
#define KVM_WALL_OLD 0x11u
#define KVM_TIME_OLD 0x12u

#define MSR_APIC_BASE 0x1bu

static bool is_x2apic(uint32_t msr) { return msr >= 0x800 && msr <= 0x8ff; }

static void msr(struct kvm_vcpu *k, bool write)
{
	struct kvm_run *run = k->run;
	struct x86_cpu *c = k->v->x86;
	uint32_t n = run->msr.index;
	bool ours = run->msr.reason == KVM_MSR_EXIT_REASON_FILTER ||
		    (is_x2apic(n) && k->vm->irqchip == CPUS_IRQCHIP_USER);
	uint64_t v = run->msr.data;
	int ret = -EINVAL;

	c->start_rip = 0; /* where it is is KVM's to know; only for the log */
	if (ours && write && (n == KVM_WALL_OLD || n == KVM_TIME_OLD)) {
		ret = kvm_msr_set(k, n == KVM_WALL_OLD ? 0x4b564d00u : 0x4b564d01u, v);
	} else if (ours) {
		ret = write ? x86_wrmsr(c, n, v) : x86_rdmsr(c, n, &v);
	}
	/* CPUID and, in kvm_run, the APIC's page follow it. */
	if (ret == 0 && write && n == MSR_APIC_BASE)
		ret = kvm_msr_set(k, n, v);
	run->msr.error = ret != 0;
	if (!write)
		run->msr.data = v;
	k->unfinished = true;
}

/*
 * The software engine's help.
 */
static bool too_often(struct kvm_vcpu *k)
{
	int64_t now = vtime_now_ns(k->v->cpus->vtime);

	if (now - k->window_ns > STEP_WINDOW_NS) {
		k->window_ns = now;
		k->window_steps = 0;
	}
	return ++k->window_steps > STEP_WINDOW_MAX;
}

enum kvm_next kvm_step(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	struct err err = { "" };

	if (k->loaded && kvm_store(k, &err) < 0) {
		kvm_give_up(k, "%s", err.text);
		return KVM_LEAVE;
	}
	kvm_settle(k->vm);
	__atomic_fetch_add(&k->steps, 1, __ATOMIC_RELAXED);
	if (too_often(k)) {
		k->window_steps = 0;
		kvm_give_up(k, "vCPU %u needs the software engine for more than %u instructions "
			    "in a tenth of a second, the last at %#llx", k->v->index,
			    STEP_WINDOW_MAX, (unsigned long long)c->rip);
		return KVM_LEAVE;
	}
	x86_tlb_flush_all(c);
	interp_step_whole(c);
	return KVM_GO_ON;
}

/* Before Linux 5.14 KVM gives its guest #UD as well as coming out. */
static void take_back_ud(struct kvm_vcpu *k)
{
	struct kvm_vcpu_events e = { 0 };

	if (kvm_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &e) < 0 || e.exception.nr != X86_EXC_UD ||
	    !(e.exception.injected || e.exception.pending))
		return;
	e.exception.injected = e.exception.pending = 0;
	e.flags = 0; /* the rest stays as it is */
	(void)kvm_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &e);
}

static enum kvm_next internal_error(struct kvm_vcpu *k)
{
	if (k->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		take_back_ud(k);
	/* Emulation, or an event whose delivery it lost: the state is whole, and the
	 * instruction is there to be done again. */
	if (k->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ||
	    k->run->internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV)
		return kvm_step(k);
	kvm_give_up(k, "vCPU %u: KVM gave up with internal error %u", k->v->index,
		    k->run->internal.suberror);
	return KVM_LEAVE;
}

static void triple_fault(struct kvm_vcpu *k)
{
	struct err err = { "" };

	if (k->loaded && kvm_store(k, &err) < 0)
		log_error(k->v->cpus->log, "%s", err.text);
	cpus_triple_fault(k->v->x86);
}

enum kvm_next kvm_handle_exit(struct kvm_vcpu *k)
{
	struct kvm_run *run = k->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		kvm_settle(k->vm);
		port_io(k);
		return KVM_GO_ON;
	case KVM_EXIT_MMIO:
		kvm_settle(k->vm);
		mmio(k);
		return KVM_GO_ON;
	case KVM_EXIT_X86_RDMSR:
		msr(k, false);
		return KVM_GO_ON;
	case KVM_EXIT_X86_WRMSR:
		msr(k, true);
		return KVM_GO_ON;
	case KVM_EXIT_HLT:
		k->v->x86->halted = true;
		return KVM_GO_ON;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_INTR:
		return KVM_GO_ON;
	case KVM_EXIT_DEBUG:
		return kvm_debug_exit(k);
	case KVM_EXIT_DIRTY_RING_FULL:
		return KVM_LEAVE; /* whoever collects lets it go on */
	case KVM_EXIT_IOAPIC_EOI:
		if (k->v->cpus->eoi)
			k->v->cpus->eoi(k->v->cpus->eoi_opaque, run->eoi.vector);
		return KVM_GO_ON;
	case KVM_EXIT_SHUTDOWN:
		triple_fault(k);
		return KVM_LEAVE;
	case KVM_EXIT_INTERNAL_ERROR:
		return internal_error(k);
	case KVM_EXIT_FAIL_ENTRY:
		kvm_give_up(k, "vCPU %u: KVM cannot enter the guest, hardware reason %#llx",
			    k->v->index, (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		return KVM_LEAVE;
	default:
		kvm_give_up(k, "vCPU %u: KVM came out for a reason that is not known here: %u",
			    k->v->index, run->exit_reason);
		return KVM_LEAVE;
	}
}

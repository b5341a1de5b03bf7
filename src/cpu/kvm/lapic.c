/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt controllers where KVM has some of them (api 4.24, 4.57, 7.5): the local
 * APICs' registers to and from ours, and messages; the 8259s and the I/O APIC are
 * chips.c's. With the I/O APIC in this process its level-triggered messages want to
 * know of their end: KVM tells of the vectors that it has routes for (api 4.52), so
 * each gets one when it is first seen.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "src/base/bits.h"
#include "src/bus/bus.h"
#include "src/cpu/kvm/kvm_priv.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/x86.h"

#define EOI_ROUTES 24u /* as many as the I/O APIC has pins, which KVM was told of */
#define ROUTES_MAX 64u /* at least those, and those of kvm_chips_routes() */
#define MSI_LEVEL 0x8000u
#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u

static int page_read(struct kvm_vcpu *k, uint32_t reg[APIC_PAGE_REGS])
{
	struct kvm_lapic_state s;
	int ret = kvm_ioctl(k->fd, KVM_GET_LAPIC, &s);

	for (unsigned n = 0; n < APIC_PAGE_REGS && ret == 0; n++)
		reg[n] = ld_le32(s.regs + n * 16);
	return ret;
}

/*
 * When its timer runs out KVM notes that beside the registers, and makes an interrupt of it
 * when the vCPU is entered next. One that ran out before this is asked for by entering;
 * one that does so afterwards, but before apic_store(), shows by its count.
 */
void kvm_lapic_tick(struct kvm_vcpu *k)
{
	uint32_t reg[APIC_PAGE_REGS];
	enum apic_page_timer t;

	k->counted = false;
	if (k->vm->irqchip == CPUS_IRQCHIP_USER || !atomic_load(&k->vm->irqs_loaded) ||
	    page_read(k, reg) < 0)
		return;
	t = apic_page_timer(reg);
	k->counted = t == APIC_PAGE_ONCE;
	if (t == APIC_PAGE_OUT || t == APIC_PAGE_OVER)
		kvm_touch(k);
}

/* What page_read() cannot tell. */
static void page_complete(struct kvm_vcpu *k, uint32_t reg[APIC_PAGE_REGS])
{
	uint32_t *initial = apic_page_initial(reg);

	if (k->counted && apic_page_timer(reg) == APIC_PAGE_OUT)
		apic_page_tick(reg);
	if (!*initial && k->initial_kept) {
		*initial = k->initial_kept;
		if (apic_page_timer(reg) != APIC_PAGE_OUT)
			*initial = 0; /* the guest made something else of it */
	}
	k->counted = false;
	k->initial_kept = 0;
}

/* IA32_APIC_BASE first: how the page shows the ID follows from it. */
static int apic_load(struct kvm_vcpu *k)
{
	struct apic *a = k->v->x86->apic;
	struct kvm_lapic_state s = { { 0 } };
	uint32_t reg[APIC_PAGE_REGS], *initial = apic_page_initial(reg);
	uint64_t base = 0;
	int ret;

	if (apic_msr_read(a, MSR_APIC_BASE, &base) == 0)
		(void)kvm_msr_set(k, MSR_APIC_BASE, base);
	apic_page_get(a, reg, &k->deadline);
	k->deadline_due = true;
	/* KVM takes a count that has run out for one that is running out just now. */
	k->initial_kept = apic_page_timer(reg) == APIC_PAGE_OUT ? *initial : 0;
	for (unsigned n = 0; n < APIC_PAGE_REGS; n++)
		st_le32(s.regs + n * 16, k->initial_kept && &reg[n] == initial ? 0 : reg[n]);
	ret = kvm_ioctl(k->fd, KVM_SET_LAPIC, &s);
	if (ret < 0)
		apic_page_set(a, reg, base, k->deadline); /* ours goes on */
	return ret;
}

/* The timer's deadline is one of the guest's TSC, which must be there before. */
int kvm_lapic_deadline(struct kvm_vcpu *k, struct err *err)
{
	int ret;

	if (!k->deadline_due)
		return 0;
	k->deadline_due = false;
	ret = k->deadline ? kvm_msr_set(k, MSR_TSC_DEADLINE, k->deadline) : 0;
	return ret < 0 ? err_set(err, ret, "KVM does not take the TSC deadline of vCPU %u: %s",
				 k->v->index, strerror(-ret)) : 0;
}

static void apic_store(struct kvm_vcpu *k)
{
	uint32_t reg[APIC_PAGE_REGS];
	uint64_t base, deadline = k->deadline;

	if (page_read(k, reg) < 0 || kvm_msr_get(k, MSR_APIC_BASE, &base) < 0) {
		log_error(k->v->cpus->log, "KVM does not give the local APIC of vCPU %u back",
			  k->v->index);
		return;
	}
	page_complete(k, reg);
	if (!k->deadline_due && kvm_msr_get(k, MSR_TSC_DEADLINE, &deadline) < 0)
		deadline = 0;
	k->deadline_due = false;
	apic_page_set(k->v->x86->apic, reg, base, deadline);
}

static int irqs_load_locked(struct kvm_vm *vm, struct err *err)
{
	struct cpus *s = vm->cpus;
	unsigned n;
	int ret = 0;

	for (n = 0; n < s->count && ret == 0; n++) {
		struct kvm_vcpu *k = s->vcpu[n].engine_priv;

		ret = kvm_cpuid_load(k, err);
		if (ret == 0 && (ret = apic_load(k)) < 0)
			ret = err_set(err, ret, "KVM does not take the local APIC of vCPU %u: %s",
				      n, strerror(-ret));
	}
	if (ret == 0)
		ret = kvm_chips_load(vm, err);
	else
		n--; /* which went wrong is still ours */
	while (ret < 0 && n-- > 0)
		apic_store(s->vcpu[n].engine_priv);
	return ret;
}

/*
 * All controllers go over at once, before the first vCPU runs and after the last one
 * stopped: one that runs may send to every other. irq_lock keeps messages from getting
 * lost between the two sides; it is taken after the device lock.
 */
int kvm_irqs_load(struct kvm_vm *vm, struct err *err)
{
	int ret = 0;

	if (vm->irqchip == CPUS_IRQCHIP_USER || atomic_load(&vm->irqs_loaded))
		return 0;
	bus_lock(vm->cpus->bus);
	pthread_mutex_lock(&vm->irq_lock);
	if (!atomic_load(&vm->irqs_loaded)) {
		ret = irqs_load_locked(vm, err);
		atomic_store(&vm->irqs_loaded, ret == 0);
	}
	pthread_mutex_unlock(&vm->irq_lock);
	bus_unlock(vm->cpus->bus);
	return ret;
}

void kvm_irqs_store(struct cpus *s)
{
	struct kvm_vm *vm = s->engine_priv;

	if (!vm || !atomic_load(&vm->irqs_loaded))
		return;
	bus_lock(s->bus);
	pthread_mutex_lock(&vm->irq_lock);
	for (unsigned n = 0; n < s->count; n++)
		apic_store(s->vcpu[n].engine_priv);
	atomic_store(&vm->irqs_loaded, false);
	pthread_mutex_unlock(&vm->irq_lock);
	/* What is pending there goes to our APICs. */
	kvm_chips_store(vm);
	bus_unlock(s->bus);
}

/*
 * Messages.
 */
static void add_route(struct kvm_vm *vm, uint64_t addr, uint32_t data)
{
	struct kvm_irq_routing *r = vm->routes;
	struct kvm_irq_routing_entry *e;

	for (unsigned n = 0; n < r->nr; n++) {
		e = &r->entries[n];
		if (e->u.msi.data == data && e->u.msi.address_lo == (uint32_t)addr &&
		    e->u.msi.address_hi == (uint32_t)(addr >> 32))
			return;
	}
	if (r->nr == EOI_ROUTES)
		r->nr = 0; /* the guest changed its mind often: begin anew */
	e = &r->entries[r->nr];
	*e = (struct kvm_irq_routing_entry){
		.gsi = r->nr, .type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32),
			   .data = data },
	};
	r->nr++;
	(void)kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, r);
}

void kvm_msi(struct cpus *s, uint64_t addr, uint32_t data)
{
	struct kvm_vm *vm = s->engine_priv;
	struct kvm_msi m = { .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32),
			     .data = data };

	pthread_mutex_lock(&vm->irq_lock);
	if (!atomic_load(&vm->irqs_loaded)) {
		/* While the machine stands still the APICs are ours, and KVM takes them
		 * later. */
		apic_msi(s, addr, data);
	} else if (addr >= 0xfee00000 && addr <= 0xfeefffff) {
		if (data & MSI_LEVEL && vm->irqchip == CPUS_IRQCHIP_SPLIT)
			add_route(vm, addr, data);
		(void)kvm_ioctl(vm->fd, KVM_SIGNAL_MSI, &m);
	}
	pthread_mutex_unlock(&vm->irq_lock);
}

static int init_split(struct kvm_vm *vm, struct err *err)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { EOI_ROUTES } };
	int ret = kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &split);

	return ret < 0 ? err_set(err, ret, "KVM cannot have the local APICs alone: %s; use "
				 "--kvm-irqchip user", strerror(-ret)) : 0;
}

int kvm_irqs_init(struct kvm_vm *vm, struct err *err)
{
	struct kvm_enable_cap ids = { .cap = KVM_CAP_X2APIC_API,
				      .args = { KVM_X2APIC_API_USE_32BIT_IDS } };
	int ret;

	pthread_mutex_init(&vm->irq_lock, NULL);
	if (vm->irqchip == CPUS_IRQCHIP_USER)
		return 0;
	vm->routes = calloc(1, sizeof(*vm->routes) + ROUTES_MAX * sizeof(vm->routes->entries[0]));
	if (!vm->routes)
		return err_set(err, -ENOMEM, "out of memory");
	if (vm->irqchip == CPUS_IRQCHIP_KERNEL) {
		ret = kvm_chips_init(vm, err);
		if (ret == 0)
			vm->routes->nr = kvm_chips_routes(vm->routes->entries);
	} else {
		ret = init_split(vm, err);
	}
	if (ret == 0 && ((ret = kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &ids)) < 0 ||
			 (ret = kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, vm->routes)) < 0))
		ret = err_set(err, ret, "KVM cannot route interrupts as this machine needs: %s; use "
			      "--kvm-irqchip user", strerror(-ret));
	if (ret < 0)
		return ret;
	vm->cpus->engine_msi = kvm_msi;
	vm->cpus->engine_sleeps = true;
	vm->cpus->bus->halts_unseen = true;
	return 0;
}

void kvm_irqs_fini(struct kvm_vm *vm)
{
	if (vm->irqchip != CPUS_IRQCHIP_USER) {
		vm->cpus->engine_msi = NULL;
		vm->cpus->bus->halts_unseen = false;
	}
	free(vm->routes);
	pthread_mutex_destroy(&vm->irq_lock);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What KVM does of the bus's work (bus.h): doorbells without an exit (ioeventfd, api
 * 4.59), and writes that are kept in a ring until somebody looks (coalesced MMIO, api
 * 4.116). Both only make it quicker: whatever KVM refuses comes out as an exit.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "src/base/bits.h"
#include "src/bus/bus.h"
#include "src/cpu/kvm/kvm_priv.h"

#define PAGE 4096u
#define RING_ENTRIES ((PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / \
		      sizeof(struct kvm_coalesced_mmio))

static void doorbell(struct kvm_vm *vm, const struct bus_range *r, const struct bus_doorbell *d,
		     bool pio, bool there)
{
	struct kvm_ioeventfd e = {
		.addr = r->start + d->off, .len = d->size, .fd = d->fd,
		.flags = (pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (there ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	if (!d->size && !vm->any_length)
		e.len = 2;
	if (d->fd >= 0)
		(void)kvm_ioctl(vm->fd, KVM_IOEVENTFD, &e);
}

static void mapped(void *opaque, struct bus_range *r, bool pio, bool there)
{
	struct kvm_vm *vm = opaque;
	struct kvm_coalesced_mmio_zone z = { .addr = r->start, .size = (uint32_t)r->len };

	for (unsigned n = 0; n < r->ndoorbells; n++)
		doorbell(vm, r, &r->doorbell[n], pio, there);
	if (!r->late_writes || pio || !vm->ring_page)
		return;
	if (!there)
		kvm_settle(vm);
	(void)kvm_ioctl(vm->fd, there ? KVM_REGISTER_COALESCED_MMIO
				      : KVM_UNREGISTER_COALESCED_MMIO, &z);
}

static struct kvm_coalesced_mmio_ring *ring(const struct kvm_vm *vm)
{
	const struct kvm_vcpu *k;

	if (vm->cpus->engine_priv != vm || !vm->cpus->count)
		return NULL; /* on its way in or out */
	/* One ring for the machine, to be seen through every vCPU. */
	k = vm->cpus->vcpu[0].engine_priv;
	return k ? (void *)((uint8_t *)k->run + (size_t)vm->ring_page * PAGE) : NULL;
}

void kvm_settle(struct kvm_vm *vm)
{
	struct kvm_coalesced_mmio_ring *q = vm->ring_page ? ring(vm) : NULL;

	if (!q || __atomic_load_n(&q->last, __ATOMIC_ACQUIRE) ==
			  __atomic_load_n(&q->first, __ATOMIC_RELAXED))
		return;
	bus_lock(vm->cpus->bus);
	while (q->first != __atomic_load_n(&q->last, __ATOMIC_ACQUIRE)) {
		const struct kvm_coalesced_mmio *e = &q->coalesced_mmio[q->first % RING_ENTRIES];
		unsigned len = min_of(e->len, 8u);
		uint64_t v = 0, gpa = e->phys_addr;

		memcpy(&v, e->data, len);
		__atomic_store_n(&q->first, (uint32_t)((q->first + 1) % RING_ENTRIES),
				 __ATOMIC_RELEASE);
		bus_mmio_write(vm->cpus->bus, gpa, v, len);
	}
	bus_unlock(vm->cpus->bus);
}

static void settle(void *opaque) { kvm_settle(opaque); }

void kvm_helper_init(struct kvm_vm *vm)
{
	int page = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	vm->ring_page = page > 0 ? (unsigned)page : 0;
	vm->any_length = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
	vm->helper = (struct bus_helper){ mapped, settle, vm };
	bus_lock(vm->cpus->bus);
	bus_set_helper(vm->cpus->bus, &vm->helper);
	bus_unlock(vm->cpus->bus);
}

void kvm_helper_fini(struct kvm_vm *vm)
{
	struct bus *bus = vm->cpus->bus;

	bus_lock(bus);
	if (bus->helper == &vm->helper)
		bus_set_helper(bus, NULL);
	bus_unlock(bus);
}

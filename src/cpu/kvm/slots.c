/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory slots: KVM's copy of the guest's map (api 4.35), following the map's
 * changes; and which pages the guest wrote (api 4.8, 8.29).
 *
 * KVM has no way to change several slots at once. While a vCPU runs, an access to
 * memory that is between two slots comes out as MMIO; exits.c does it on the memory
 * that is there by then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "src/base/bits.h"
#include "src/cpu/kvm/kvm_priv.h"

static bool same(const struct kvm_slot *a, const struct kvm_slot *b)
{
	return a->gpa == b->gpa && a->len == b->len && a->host == b->host && a->flags == b->flags;
}

static int tell(struct kvm_vm *vm, unsigned n, const struct kvm_slot *s, uint64_t len)
{
	struct kvm_userspace_memory_region r = {
		.slot = n, .flags = s->flags, .guest_phys_addr = s->gpa, .memory_size = len,
		.userspace_addr = (uintptr_t)s->host,
	};

	return kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static bool slot_of(const struct kvm_vm *vm, const struct mem_slot *m, struct kvm_slot *s)
{
	if (!m->readable)
		return false; /* a flash chip that answers commands: all its accesses come out */
	*s = (struct kvm_slot){ m->gpa, m->len, m->host, 0 };
	if (!m->writable)
		s->flags = KVM_MEM_READONLY;
	else if (vm->dirty != KVM_DIRTY_OFF)
		s->flags = KVM_MEM_LOG_DIRTY_PAGES;
	return true;
}

static bool wanted(const struct kvm_vm *vm, const struct mem_map *map, const struct kvm_slot *s)
{
	struct kvm_slot want;

	for (size_t i = 0; i < map->count; i++)
		if (slot_of(vm, &map->slot[i], &want) && same(&want, s))
			return true;
	return false;
}

/* Only the dirty flag of a slot may change in place. */
static int add(struct kvm_vm *vm, const struct kvm_slot *want)
{
	unsigned n = 0;
	int ret;

	while (n < vm->nslots && vm->slots[n].len)
		n++;
	if (n == vm->nslots) {
		struct kvm_slot *p;

		if (vm->nslots == vm->slots_max)
			return -ENOSPC;
		p = realloc(vm->slots, (vm->nslots + 1) * sizeof(*p));
		if (!p)
			return -ENOMEM;
		vm->slots = p;
		vm->nslots++;
	}
	ret = tell(vm, n, want, want->len);
	vm->slots[n] = *want;
	if (ret < 0)
		vm->slots[n].len = 0;
	return ret;
}

static bool have(const struct kvm_vm *vm, const struct kvm_slot *want)
{
	for (unsigned n = 0; n < vm->nslots; n++)
		if (vm->slots[n].len && same(&vm->slots[n], want))
			return true;
	return false;
}

static int follow_locked(struct kvm_vm *vm)
{
	const struct mem_map *map = atomic_load(&vm->cpus->mem->map);
	struct kvm_slot want;
	int ret = 0, r;

	for (unsigned n = 0; n < vm->nslots; n++) {
		if (!vm->slots[n].len || wanted(vm, map, &vm->slots[n]))
			continue;
		r = tell(vm, n, &vm->slots[n], 0);
		if (r < 0)
			ret = r;
		vm->slots[n].len = 0;
	}
	for (size_t i = 0; i < map->count; i++) {
		if (!slot_of(vm, &map->slot[i], &want) || have(vm, &want))
			continue;
		r = add(vm, &want);
		if (r < 0)
			ret = r;
	}
	return ret;
}

static int follow(struct kvm_vm *vm)
{
	int ret;

	pthread_mutex_lock(&vm->slots_lock);
	ret = follow_locked(vm);
	pthread_mutex_unlock(&vm->slots_lock);
	return ret;
}

/* What cannot be mapped stays MMIO and is served by exits.c, slowly. */
static void map_changed(void *opaque)
{
	struct kvm_vm *vm = opaque;
	int ret = follow(vm);

	if (ret < 0)
		log_error(vm->cpus->log, "KVM does not take a change of the guest's memory map: %s",
			  strerror(-ret));
}

int kvm_slots_init(struct kvm_vm *vm, struct err *err)
{
	int ret = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);

	vm->slots_max = ret > 0 ? (unsigned)ret : 32;
	vm->listener = (struct mem_listener){ .map_changed = map_changed, .opaque = vm };
	mem_listener_add(vm->cpus->mem, &vm->listener);
	ret = follow(vm);
	return ret < 0 ? err_set(err, ret, "KVM does not take the guest's memory: %s",
				 strerror(-ret)) : 0;
}

void kvm_slots_fini(struct kvm_vm *vm)
{
	if (vm->listener.opaque)
		mem_listener_del(vm->cpus->mem, &vm->listener);
	free(vm->slots);
}

/*
 * Dirty pages.
 */
int kvm_dirty_set(struct cpus *s, enum kvm_dirty how, struct err *err)
{
	struct kvm_vm *vm = s->engine_priv;
	int ret;

	if (s->engine != &kvm_engine)
		return err_set(err, -ENOTSUP, "the machine does not run in KVM");
	if (how == KVM_DIRTY_RING && !vm->ring_entries)
		return err_set(err, -ENOTSUP, "this KVM has no dirty rings; use the bitmap");
	if (how == KVM_DIRTY_BITMAP && vm->ring_entries)
		return err_set(err, -ENOTSUP, "this machine was made with dirty rings");
	vm->dirty = how;
	ret = follow(vm);
	return ret < 0 ? err_set(err, ret, "KVM cannot log writes: %s", strerror(-ret)) : 0;
}

static int collect_slot(struct kvm_vm *vm, unsigned n, void (*fn)(void *opaque, uint64_t page),
			void *opaque)
{
	const struct kvm_slot *s = &vm->slots[n];
	uint64_t pages = s->len >> MEM_PAGE_SHIFT, words = (pages + 63) / 64;
	uint64_t *bits = calloc(words, 8);
	struct kvm_dirty_log log = { .slot = n, .dirty_bitmap = bits };
	int ret;

	if (!bits)
		return -ENOMEM;
	ret = kvm_ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log);
	for (uint64_t w = 0; ret == 0 && w < words; w++)
		for (uint64_t left = bits[w]; left; left &= left - 1) {
			uint64_t page = w * 64 + (unsigned)__builtin_ctzll(left);

			fn(opaque, mem_page_of(vm->cpus->mem, s->host) + page);
		}
	free(bits);
	return ret;
}

/* The ring's entries: dirty (1) to be collected, then marked for reset (2). */
static bool collect_ring(struct kvm_vcpu *k, void (*fn)(void *opaque, uint64_t page), void *opaque)
{
	struct kvm_vm *vm = k->vm;
	bool any = false;

	for (;;) {
		struct kvm_dirty_gfn *g = &k->ring[k->ring_next % vm->ring_entries];
		const struct kvm_slot *s;

		if (__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			return any;
		s = &vm->slots[min_of((unsigned)(g->slot & 0xffff), vm->nslots - 1)];
		if (s->len && g->offset < s->len >> MEM_PAGE_SHIFT)
			fn(opaque, mem_page_of(vm->cpus->mem, s->host) + g->offset);
		__atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		k->ring_next++;
		any = true;
	}
}

int kvm_dirty_collect(struct cpus *s, void (*fn)(void *opaque, uint64_t page), void *opaque,
		      struct err *err)
{
	struct kvm_vm *vm = s->engine_priv;
	bool any = false;
	int ret = 0;

	if (s->engine != &kvm_engine || vm->dirty == KVM_DIRTY_OFF)
		return err_set(err, -EINVAL, "writes are not being logged");
	pthread_mutex_lock(&vm->slots_lock);
	if (vm->dirty == KVM_DIRTY_RING) {
		for (unsigned n = 0; n < s->count; n++)
			any |= collect_ring(s->vcpu[n].engine_priv, fn, opaque);
		if (any && ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0) < 0)
			ret = -errno;
	} else {
		for (unsigned n = 0; n < vm->nslots && ret == 0; n++)
			if (vm->slots[n].len && (vm->slots[n].flags & KVM_MEM_LOG_DIRTY_PAGES))
				ret = collect_slot(vm, n, fn, opaque);
	}
	pthread_mutex_unlock(&vm->slots_lock);
	return ret < 0 ? err_set(err, ret, "KVM does not tell what was written: %s",
				 strerror(-ret)) : 0;
}

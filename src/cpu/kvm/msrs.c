/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSRs. KVM keeps those that its guest's instructions work with; every other access
 * comes out (api 4.97, 7.21) and is done as in the software engines, so that no state
 * exists that only KVM knows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/vtime.h"
#include "src/cpu/cpu.h"
#include "src/cpu/kvm/kvm_priv.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/msr.h"
#include "src/cpu/x86/x86.h"

#define MSR_TSC 0x10u
#define TSC_FAR (1ull << 40) /* minutes */
#define MSR_TSC_ADJUST 0x3bu
#define MSR_TSC_AUX 0xc0000103u
#define MSR_KVM_WALL 0x4b564d00u
#define MSR_KVM_TIME 0x4b564d01u

/* MSRs that are words of struct x86_cpu. */
static const struct { uint32_t msr; uint16_t offset; uint8_t feature; } kept[] = {
	{ 0x174, offsetof(struct x86_cpu, sysenter_cs), X86_F_BASE },
	{ 0x175, offsetof(struct x86_cpu, sysenter_esp), X86_F_BASE },
	{ 0x176, offsetof(struct x86_cpu, sysenter_eip), X86_F_BASE },
	{ 0x277, offsetof(struct x86_cpu, pat), X86_F_BASE },
	{ 0xc0000081u, offsetof(struct x86_cpu, star), X86_F_BASE },
	{ 0xc0000082u, offsetof(struct x86_cpu, lstar), X86_F_BASE },
	{ 0xc0000083u, offsetof(struct x86_cpu, cstar), X86_F_BASE },
	{ 0xc0000084u, offsetof(struct x86_cpu, fmask), X86_F_BASE },
	{ 0xc0000102u, offsetof(struct x86_cpu, kernel_gs_base), X86_F_BASE },
	{ MSR_TSC_AUX, offsetof(struct x86_cpu, tsc_aux), X86_F_RDTSCP },
	{ 0xda0, offsetof(struct x86_cpu, xss), X86_F_XSAVES },
	{ MSR_KVM_WALL, offsetof(struct x86_cpu, pv_wall_clock), X86_F_BASE },
	{ MSR_KVM_TIME, offsetof(struct x86_cpu, pv_system_time), X86_F_BASE },
};

static uint64_t *word(struct x86_cpu *c, size_t i)
{
	return (uint64_t *)(void *)((char *)c + kept[i].offset);
}

int kvm_msr_set(struct kvm_vcpu *k, uint32_t msr, uint64_t val)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e; } m = {
		.head.nmsrs = 1, .e = { .index = msr, .data = val },
	};
	int n = kvm_ioctl(k->fd, KVM_SET_MSRS, &m);

	return n == 1 ? 0 : n < 0 ? n : -EINVAL;
}

int kvm_msr_get(struct kvm_vcpu *k, uint32_t msr, uint64_t *val)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e; } m = {
		.head.nmsrs = 1, .e = { .index = msr },
	};
	int n = kvm_ioctl(k->fd, KVM_GET_MSRS, &m);

	*val = m.e.data;
	return n == 1 ? 0 : n < 0 ? n : -EINVAL;
}

/* How far KVM's TSC is from ours; 0: less than a fifth of a millisecond. */
static int64_t tsc_apart(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	uint64_t got, before = x86_rdtsc(c);
	int64_t off;

	if (kvm_msr_get(k, MSR_TSC, &got) != 0)
		return 0;
	off = (int64_t)(got - before);
	if (off > 0)
		off = max_of((int64_t)(got - x86_rdtsc(c)), (int64_t)0);
	return (uint64_t)(off < 0 ? -off : off) > x86_tsc_hz(c) / 5000 ? off : 0;
}

/* The guest's TSC goes on from where it is. A KVM that cannot set it moves it; then
 * everything that counts by it follows. One vCPU after the other: KVM takes a value that
 * is within a second of where another's, or its own before, would be by now for that one,
 * so that all count alike. Before anything was set that is the 0 of the vCPU's making,
 * and a young machine would be thrown back: a value far away in between ends it. */
static void tsc_load(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	int64_t off;

	if (x86_has(c, X86_F_TSC_ADJUST))
		(void)kvm_msr_set(k, MSR_TSC_ADJUST, c->tsc_adjust);
	pthread_mutex_lock(&k->vm->tsc_lock);
	(void)kvm_msr_set(k, MSR_TSC, x86_rdtsc(c));
	if (tsc_apart(k)) {
		(void)kvm_msr_set(k, MSR_TSC, x86_rdtsc(c) + TSC_FAR);
		(void)kvm_msr_set(k, MSR_TSC, x86_rdtsc(c));
	}
	pthread_mutex_unlock(&k->vm->tsc_lock);
	off = tsc_apart(k);
	if (off) {
		c->tsc_offset += off;
		apic_tsc_changed(c->apic);
	}
	k->tsc_offset_loaded = c->tsc_offset;
}

static void tsc_store(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;
	uint64_t got, adjust;
	int64_t drift;

	if (x86_has(c, X86_F_TSC_ADJUST) && kvm_msr_get(k, MSR_TSC_ADJUST, &adjust) == 0)
		c->tsc_adjust = adjust;
	if (kvm_msr_get(k, MSR_TSC, &got) != 0)
		return;
	drift = (int64_t)(got - x86_rdtsc(c));
	/* vCPUs that drifted alike are moved alike: their counters still agree. The
	 * first says by how much; who differs was written to by its guest. */
	if (k->v->index != 0) {
		const struct vcpu *first = &k->v->cpus->vcpu[0];
		const struct kvm_vcpu *f = first->engine_priv;
		int64_t theirs = f && !f->loaded ? first->x86->tsc_offset - f->tsc_offset_loaded : drift;
		int64_t apart = drift - theirs;

		if ((uint64_t)(apart < 0 ? -apart : apart) < x86_tsc_hz(c) / 1000)
			drift = theirs;
	}
	c->tsc_offset += drift;
}

int kvm_msrs_load(struct kvm_vcpu *k, struct err *err)
{
	struct x86_cpu *c = k->v->x86;

	if (k->vm->clock) {
		struct kvm_clock_data clock = {
			.clock = (uint64_t)vtime_now_ns(k->v->cpus->vtime),
		};

		if (k->v->index == 0)
			(void)kvm_ioctl(k->vm->fd, KVM_SET_CLOCK, &clock);
	}
	tsc_load(k);
	for (size_t i = 0; i < array_size(kept); i++) {
		int ret;

		if (!x86_has(c, kept[i].feature))
			continue;
		ret = kvm_msr_set(k, kept[i].msr, *word(c, i));
		/* What was never used need not be there. */
		if (ret < 0 && *word(c, i))
			return err_set(err, ret, "KVM does not take MSR %#x of vCPU %u with the "
				       "value %#llx", kept[i].msr, k->v->index,
				       (unsigned long long)*word(c, i));
	}
	return 0;
}

void kvm_msrs_store(struct kvm_vcpu *k)
{
	struct x86_cpu *c = k->v->x86;

	for (size_t i = 0; i < array_size(kept); i++) {
		uint64_t v;

		if (x86_has(c, kept[i].feature) && kvm_msr_get(k, kept[i].msr, &v) == 0)
			*word(c, i) = v;
	}
	tsc_store(k);
	/* KVM's page counts by KVM's clock; from here on it is ours. */
	x86_pvclock_update(c);
}

/*
 * The filter.
 */

/* One bit for each of the MSRs @first .. @first + 63: those that stay in KVM. */
static uint64_t allow_bits(uint32_t first, bool kernel_apic)
{
	static const uint32_t also[] = { MSR_TSC, MSR_TSC_ADJUST, 0xc0000080u, 0xc0000100u,
					 0xc0000101u };
	/* IA32_APIC_BASE and the TSC deadline go with the APIC. */
	static const uint32_t apics[] = { 0x1b, 0x6e0 };
	uint64_t bits = 0;

	for (size_t i = 0; i < array_size(kept); i++)
		if (kept[i].msr - first < 64)
			bits |= 1ull << (kept[i].msr - first);
	for (size_t i = 0; i < array_size(also); i++)
		if (also[i] - first < 64)
			bits |= 1ull << (also[i] - first);
	for (size_t i = 0; kernel_apic && i < array_size(apics); i++)
		if (apics[i] - first < 64)
			bits |= 1ull << (apics[i] - first);
	return bits;
}

int kvm_msr_filter(struct kvm_vm *vm, struct err *err)
{
	static const uint32_t first[] = { 0x0, 0x174, 0x260, 0x6e0, 0xd80, 0xc0000080u,
					  0xc0000100u, MSR_KVM_WALL };
	uint64_t bits[array_size(first)];
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			  KVM_MSR_EXIT_REASON_FILTER },
	};
	int ret = kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);

	for (size_t i = 0; i < array_size(first); i++) {
		bits[i] = allow_bits(first[i], vm->irqchip != CPUS_IRQCHIP_USER);
		f.ranges[i] = (struct kvm_msr_filter_range){
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.nmsrs = 64, .base = first[i], .bitmap = (uint8_t *)&bits[i],
		};
	}
	if (ret == 0)
		ret = kvm_ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &f);
	return ret < 0 ? err_set(err, ret, "KVM does not take the filter of MSRs: %s",
				 strerror(-ret)) : 0;
}

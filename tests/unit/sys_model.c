/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models, CPUID, MSRs, the TSC and the paravirtual clock. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "src/base/vtime.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/host_features.h"
#include "src/cpu/x86/msr.h"
#include "tests/unit/sys_rig.h"

#define HZ 2000000000u

static void leaf(struct rig *r, uint32_t l, uint32_t sub, uint32_t out[4])
{
	x86_cpuid(r->c, l, sub, out);
}

static void lookup(void **state)
{
	struct err err = { 0 };
	size_t count;
	const struct cpu_model *m = cpu_model_list(&count);

	assert_true(count >= 3);
	for (size_t n = 0; n < count; n++)
		assert_ptr_equal(cpu_model_lookup(m[n].name, &err), &m[n]);
	assert_false(err_is_set(&err));
	assert_ptr_equal(cpu_model_lookup(NULL, &err), cpu_model_default());
	assert_null(cpu_model_lookup("pentium9", &err));
	assert_non_null(strstr(err.text, "pentium9"));
	assert_non_null(strstr(err.text, "x86-64-v3"));
}

/* A model never offers more than the host has, nor what its level does not. */
static void levels(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;
	uint32_t out[4];

	for (unsigned host = 0; host < 2; host++) {
		cpu_model_apply(cpu_model_lookup(host ? "host" : "x86-64-v3", NULL), c);
		for (unsigned f = 0; f < X86_NFEATURES; f++)
			assert_true(!x86_has(c, f) || x86_host_has(f));
		assert_false(x86_has(c, X86_F_NEVER));
		assert_false(x86_has(c, X86_F_MONITOR));
	}
	cpu_model_apply(cpu_model_lookup("x86-64-v2", NULL), c);
	assert_false(x86_has(c, X86_F_AVX));
	assert_false(x86_has(c, X86_F_BMI1));
	assert_true(x86_has(c, X86_F_SSE4_2));
	assert_false(x86_has(c, X86_F_SMEP));
	cpu_model_apply(cpu_model_lookup("x86-64-v3", NULL), c);
	/* Not every host of that level has them. */
	assert_false(x86_has(c, X86_F_PCID));
	assert_false(x86_has(c, X86_F_SMAP));
	assert_false(x86_has(c, X86_F_PREFETCHW));
	cpu_model_apply(cpu_model_lookup("x86-64-v2", NULL), c);
	leaf(r, 1, 0, out);
	assert_int_equal(out[2] & (1u << 28 | 1u << 26 | 1u << 27), 0);
	leaf(r, 0xd, 0, out);
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
	cpu_model_apply(cpu_model_default(), c);
}

static void identity(void **state)
{
	struct rig *r = *state;
	uint32_t out[4], max;
	char text[49] = { 0 };

	leaf(r, 0, 0, out);
	max = out[0];
	assert_true(max >= 0xd);
	assert_memory_equal(&out[1], r->c->vendor, 4);
	leaf(r, 0x40000000u, 0, out);
	assert_memory_equal(&out[1], "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(out[0], 0x40000001u);
	leaf(r, 0x40000001u, 0, out);
	assert_int_equal(out[0], X86_KVM_FEATURES);
	leaf(r, 0x80000000u, 0, out);
	assert_true(out[0] >= 0x80000008u);
	for (unsigned n = 0; n < 3; n++)
		leaf(r, 0x80000002u + n, 0, (uint32_t *)(text + 16 * n));
	assert_string_equal(text, r->c->brand);
	leaf(r, 0x80000008u, 0, out);
	assert_int_equal(out[0] & 0xff, r->mem->phys_bits);
	assert_int_equal(out[0] >> 8 & 0xff, 48);
	/* The reset value of EDX is the signature. */
	x86_reset(r->c, false);
	leaf(r, 1, 0, out);
	assert_int_equal(r->c->gpr[X86_RDX], out[0]);
	assert_true(out[2] >> 31);
}

/* Past the last leaf: AMD has zeroes, Intel the last basic leaf. */
static void beyond(void **state)
{
	struct rig *r = *state;
	uint32_t out[4], d[4];
	bool amd = r->c->amd;

	r->c->amd = true;
	leaf(r, 0x20, 0, out);
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
	r->c->amd = false;
	leaf(r, 0x20, 1, out);
	leaf(r, 0xd, 1, d);
	assert_memory_equal(out, d, sizeof(out));
	r->c->amd = amd;
}

static void topology(void **state)
{
	struct rig *r = *state;
	static const unsigned counts[] = { 1, 2, 3, 4, 8, 200 };
	uint32_t out[4];

	for (size_t n = 0; n < array_size(counts); n++) {
		unsigned bits = 0;

		while (1u << bits < counts[n])
			bits++;
		r->cpus.count = counts[n];
		r->c->index = counts[n] - 1;
		leaf(r, 1, 0, out);
		assert_int_equal(out[1] >> 24, r->c->index);
		assert_int_equal(out[3] >> 28 & 1, counts[n] > 1);
		leaf(r, 0xb, 0, out);
		assert_int_equal(out[0], 0);
		assert_int_equal(out[1], 1);
		assert_int_equal(out[2], 0x100);
		leaf(r, 0xb, 1, out);
		assert_int_equal(out[0], bits);
		assert_int_equal(out[1], counts[n]);
		assert_int_equal(out[2], 0x201);
		assert_int_equal(out[3], r->c->index);
		leaf(r, 0xb, 2, out);
		assert_int_equal(out[0] | out[1], 0);
		assert_int_equal(out[2], 2);
		if (r->c->amd) {
			leaf(r, 0x80000008u, 0, out);
			assert_int_equal(out[2] & 0xff, counts[n] - 1);
			assert_int_equal(out[2] >> 12 & 0xf, bits);
			leaf(r, 0x8000001eu, 0, out);
			assert_int_equal(out[0], r->c->index);
		}
	}
	r->cpus.count = 1;
	r->c->index = 0;
}

/* CPUID follows CR4.OSXSAVE and XCR0. */
static void dynamic(void **state)
{
	struct rig *r = *state;
	uint32_t out[4];

	if (!x86_has(r->c, X86_F_AVX))
		skip();
	x86_reset(r->c, false);
	leaf(r, 1, 0, out);
	assert_int_equal(out[2] >> 27 & 1, 0);
	leaf(r, 0xd, 0, out);
	assert_int_equal(out[0], 7);
	assert_int_equal(out[1], 576);
	assert_int_equal(out[2], 832);
	x86_write_cr4(r->c, X86_CR4_OSXSAVE);
	leaf(r, 1, 0, out);
	assert_int_equal(out[2] >> 27 & 1, 1);
	r->c->xcr0 = 7;
	leaf(r, 0xd, 0, out);
	assert_int_equal(out[1], 832);
	x86_reset(r->c, false);
}

/*
 * MSRs.
 */
static void msr_is(struct rig *r, uint32_t msr, uint64_t want)
{
	uint64_t v = ~want;

	if (x86_rdmsr(r->c, msr, &v) != 0 || v != want)
		fail_msg("MSR %#x reads %#llx, not %#llx", msr, (unsigned long long)v,
			 (unsigned long long)want);
}

static void msr_takes(struct rig *r, uint32_t msr, uint64_t v)
{
	if (x86_wrmsr(r->c, msr, v) != 0)
		fail_msg("MSR %#x refuses %#llx", msr, (unsigned long long)v);
	msr_is(r, msr, v);
}

static void msr_refuses(struct rig *r, uint32_t msr, uint64_t v)
{
	uint64_t before = 0, after = 0;
	bool readable = x86_rdmsr(r->c, msr, &before) == 0;

	if (x86_wrmsr(r->c, msr, v) != -EINVAL)
		fail_msg("MSR %#x takes %#llx", msr, (unsigned long long)v);
	if (readable) {
		assert_int_equal(x86_rdmsr(r->c, msr, &after), 0);
		assert_int_equal(before, after);
	}
}

static void msrs(void **state)
{
	struct rig *r = *state;
	static const uint32_t address[] = { 0xc0000082u, 0xc0000083u, 0xc0000100u, 0xc0000101u,
					    0xc0000102u, 0x175, 0x176 };
	uint64_t v;

	rig_long(r);
	for (size_t n = 0; n < array_size(address); n++) {
		msr_takes(r, address[n], 0xffff800000001234ull);
		msr_refuses(r, address[n], 0x0000800000000000ull);
	}
	msr_takes(r, 0xc0000081u, 0x0023001000000000ull);
	msr_takes(r, 0xc0000080u, r->c->efer & ~X86_EFER_SCE);
	msr_refuses(r, 0xc0000080u, r->c->efer & ~X86_EFER_LME); /* while paging */
	msr_refuses(r, 0xc0000080u, r->c->efer | 1ull << 12);
	assert_int_equal(x86_wrmsr(r->c, 0xc0000080u, r->c->efer & ~X86_EFER_LMA), 0);
	assert_true(x86_long(r->c)); /* LMA is not software's */
	msr_takes(r, 0x277, 0x0007040600070401ull);
	msr_refuses(r, 0x277, 0x0007040600070402ull);
	msr_takes(r, 0x2ff, 0xc06);
	msr_refuses(r, 0x2ff, 0xc02);
	msr_takes(r, 0x200, 0x80000000);
	msr_takes(r, 0x201, (low_mask(r->mem->phys_bits) & ~0x7fffffffull) | 0x800);
	msr_refuses(r, 0x201, 1ull << 60);
	msr_takes(r, 0x26f, 0x0505050505050505ull);
	msr_refuses(r, 0x26f, 0x0505050505050503ull);
	msr_is(r, 0xfe, 0x508);
	msr_refuses(r, 0xfe, 0);
	assert_int_equal(x86_rdmsr(r->c, 0x12345678, &v), -EINVAL);
	assert_int_equal(x86_wrmsr(r->c, 0x12345678, 0), -EINVAL);
}

static void msrs_by_vendor(void **state)
{
	struct rig *r = *state;
	bool amd = r->c->amd;
	uint64_t v;

	r->c->amd = true;
	msr_is(r, 0xc0010015u, 1 << 24);
	msr_is(r, 0xc0011029u, 2);
	assert_int_equal(x86_rdmsr(r->c, 0x10a, &v), -EINVAL);
	r->c->amd = false;
	assert_int_equal(x86_rdmsr(r->c, 0xc0011029u, &v), -EINVAL);
	assert_int_equal(x86_rdmsr(r->c, 0x10a, &v), 0);
	msr_is(r, 0x3a, 1);
	msr_refuses(r, 0xc0000103u, 1ull << 32);
	r->c->amd = amd;
}

/*
 * Time.
 */
static void with_clock(struct rig *r)
{
	r->c->vtime = vtime_new(NULL, true);
	assert_non_null(r->c->vtime);
	r->cpus.tsc_hz = HZ;
	x86_reset(r->c, false);
}

static void without_clock(struct rig *r)
{
	vtime_free(r->c->vtime);
	r->c->vtime = NULL;
}

static void tsc(void **state)
{
	struct rig *r = *state;

	with_clock(r);
	assert_int_equal(x86_rdtsc(r->c), 0);
	vtime_advance(r->c->vtime, 3000000000);
	assert_int_equal(x86_rdtsc(r->c), 3ull * HZ);
	assert_int_equal(x86_wrmsr(r->c, 0x10, 1000), 0);
	assert_int_equal(x86_rdtsc(r->c), 1000);
	msr_is(r, 0x3b, 1000 - 3ull * HZ);
	assert_int_equal(x86_wrmsr(r->c, 0x3b, 0), 0);
	assert_int_equal(x86_rdtsc(r->c), 3ull * HZ);
	/* A century, to the tick. */
	vtime_advance(r->c->vtime, 100ll * 365 * 86400 * 1000000000 + 1);
	assert_int_equal(x86_rdtsc(r->c), (100ull * 365 * 86400 + 3) * HZ + 2);
	without_clock(r);
}

/* What a guest computes from the page, as Linux does. */
static uint64_t guest_ns(struct rig *r, uint64_t page)
{
	uint64_t delta = x86_rdtsc(r->c) - rig_get(r, page + 8, 8);
	int8_t shift = (int8_t)rig_get(r, page + 28, 1);

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return rig_get(r, page + 16, 8) +
	       (uint64_t)((unsigned __int128)delta * rig_get(r, page + 24, 4) >> 32);
}

static void pvclock(void **state)
{
	struct rig *r = *state;
	static const uint64_t rates[] = { 1000000, 999999999, 1000000000, 1000000001, 2000000000,
					  2596123456, 5000000000 };
	const uint64_t page = 0x30040;

	with_clock(r);
	for (size_t n = 0; n < array_size(rates); n++) {
		uint64_t day = 86400ull * 1000000000, got, want;

		r->cpus.tsc_hz = rates[n];
		rig_put(r, page, 7, 4); /* as if torn */
		assert_int_equal(x86_wrmsr(r->c, 0x4b564d01, page | 1), 0);
		msr_is(r, 0x4b564d01, page | 1);
		assert_int_equal(rig_get(r, page, 4) & 1, 0);
		assert_int_equal(rig_get(r, page + 29, 1), 1); /* stable */
		assert_int_equal(guest_ns(r, page), vtime_now_ns(r->c->vtime));
		vtime_advance(r->c->vtime, (int64_t)day);
		got = guest_ns(r, page);
		want = (uint64_t)vtime_now_ns(r->c->vtime);
		assert_in_range(got, want - day / 1000000000, want + day / 1000000000);
	}
	/* Disabled: the page is left alone. */
	rig_put(r, page, 0, 4);
	assert_int_equal(x86_wrmsr(r->c, 0x4b564d01, page), 0);
	assert_int_equal(rig_get(r, page, 4), 0);
	/* Not memory: nothing happens. */
	assert_int_equal(x86_wrmsr(r->c, 0x4b564d01, 0xf0000001), 0);
	without_clock(r);
}

static void wall_clock(void **state)
{
	struct rig *r = *state;
	const uint64_t page = 0x30080;
	struct timespec now;
	int64_t want, got;

	with_clock(r);
	vtime_advance(r->c->vtime, 5500000000);
	assert_int_equal(x86_wrmsr(r->c, 0x4b564d00, page), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	want = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - 5500000000;
	got = (int64_t)rig_get(r, page + 4, 4) * 1000000000 + (int64_t)rig_get(r, page + 8, 4);
	assert_true(want - got >= 0 && want - got < 50000000);
	assert_int_equal(rig_get(r, page, 4) & 1, 0);
	without_clock(r);
}

static void host_rate(void **state)
{
	uint64_t a = x86_host_tsc_hz(), b = x86_host_tsc_hz();

	assert_in_range(a, 500000000, 10000000000ull);
	assert_in_range(b, a - a / 1000, a + a / 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lookup), cmocka_unit_test(levels), cmocka_unit_test(identity),
		cmocka_unit_test(beyond), cmocka_unit_test(topology), cmocka_unit_test(dynamic),
		cmocka_unit_test(msrs), cmocka_unit_test(msrs_by_vendor), cmocka_unit_test(tsc),
		cmocka_unit_test(pvclock), cmocka_unit_test(wall_clock), cmocka_unit_test(host_rate),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}

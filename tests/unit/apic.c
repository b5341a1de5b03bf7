/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cpu/x86/apic.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/x86.h"
#include "tests/unit/dev_fixture.h"

/* The parts of the complex that the APIC calls. The TSC runs at 1 GHz. */
void vcpu_request(struct vcpu *v, uint32_t bits)
{
	atomic_fetch_or(&v->x86->request, bits);
}

uint64_t x86_tsc_now(const struct x86_cpu *c)
{
	return (uint64_t)(vtime_now_ns(c->vtime) + c->tsc_offset);
}

#define CPUS 4u

struct rig {
	struct fixture f;
	struct cpus s;
	struct vcpu v[CPUS];
	struct apic *a[CPUS];
	struct mem mem;
	bool pic;
	unsigned acks, eois;
	uint8_t eoi_vector;
};

static bool pic_pending(void *opaque) { return ((struct rig *)opaque)->pic; }

static int pic_ack(void *opaque)
{
	struct rig *r = opaque;

	r->pic = false;
	r->acks++;
	return 0x08;
}

static void eoi(void *opaque, uint8_t vector)
{
	struct rig *r = opaque;

	r->eois++;
	r->eoi_vector = vector;
}

static void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	r->mem.phys_bits = 40;
	r->s = (struct cpus){
		.count = CPUS, .vcpu = r->v, .tsc_hz = 1000000000, .vtime = r->f.vt,
		.pic_pending = pic_pending, .pic_ack = pic_ack, .pic_opaque = r,
		.eoi = eoi, .eoi_opaque = r,
	};
	for (unsigned n = 0; n < CPUS; n++) {
		struct x86_cpu *c = aligned_alloc(4096, align_up(sizeof(*c), 4096));

		memset(c, 0, sizeof(*c));
		c->vcpu = &r->v[n];
		c->cpus = &r->s;
		c->vtime = r->f.vt;
		c->mem = &r->mem;
		c->index = n;
		c->features[X86_F_X2APIC / 64] |= 1ull << X86_F_X2APIC % 64;
		c->features[X86_F_TSC_DEADLINE / 64] |= 1ull << X86_F_TSC_DEADLINE % 64;
		r->v[n].x86 = c;
		r->a[n] = apic_new(c, &r->s, n);
		assert_non_null(r->a[n]);
		c->apic = r->a[n];
	}
}

static void rig_fini(struct rig *r)
{
	for (unsigned n = 0; n < CPUS; n++) {
		apic_free(r->a[n]);
		free(r->v[n].x86);
	}
	fixture_fini(&r->f);
}

static uint32_t rd(struct rig *r, unsigned cpu, unsigned off)
{
	return (uint32_t)apic_mmio_read(r->a[cpu], off, 4);
}

static void wr(struct rig *r, unsigned cpu, unsigned off, uint32_t val)
{
	apic_mmio_write(r->a[cpu], off, val, 4);
}

static void enable_all(struct rig *r)
{
	for (unsigned n = 0; n < CPUS; n++)
		wr(r, n, 0xf0, 0x1ff);
}

/* Which CPUs were asked for @bit since the last time, as a mask. */
static unsigned asked(struct rig *r, uint32_t bit)
{
	unsigned mask = 0;

	for (unsigned n = 0; n < CPUS; n++)
		mask |= (atomic_exchange(&r->v[n].x86->request, 0) & bit ? 1u : 0) << n;
	return mask;
}

/* Which CPUs have @vector requested, as a mask; takes it from them. */
static unsigned got(struct rig *r, int vector)
{
	unsigned mask = 0;

	for (unsigned n = 0; n < CPUS; n++) {
		while (apic_pending(r->a[n])) {
			assert_int_equal(apic_ack(r->a[n]), vector);
			wr(r, n, 0xb0, 0);
			mask |= 1u << n;
		}
	}
	return mask;
}

static void test_power_on(void **state)
{
	struct rig r;
	uint64_t v;

	rig_init(&r);
	assert_int_equal(rd(&r, 2, 0x20), 2u << 24);
	assert_int_equal(rd(&r, 0, 0x30), 0x00050014);
	assert_int_equal(rd(&r, 0, 0xe0), 0xffffffff);
	assert_int_equal(rd(&r, 0, 0xf0), 0xff);
	assert_int_equal(rd(&r, 0, 0x320), 0x10000);
	assert_int_equal(rd(&r, 0, 0x350), 0x700); /* virtual wire on the boot CPU */
	assert_int_equal(rd(&r, 1, 0x350), 0x10000);
	assert_int_equal(apic_msr_read(r.a[0], 0x1b, &v), 0);
	assert_int_equal(v, 0xfee00900);
	assert_int_equal(apic_msr_read(r.a[1], 0x1b, &v), 0);
	assert_int_equal(v, 0xfee00800);
	assert_true(apic_claims(r.a[0], 0xfee00fff));
	assert_false(apic_claims(r.a[0], 0xfee01000));
	assert_false(apic_claims(NULL, 0xfee00000));
	/* LVT entries stay masked while the APIC is software-disabled. */
	wr(&r, 0, 0x320, 0x40);
	assert_int_equal(rd(&r, 0, 0x320), 0x10040);
	wr(&r, 0, 0xf0, 0x1ff);
	wr(&r, 0, 0x320, 0x40);
	assert_int_equal(rd(&r, 0, 0x320), 0x40);
	wr(&r, 0, 0xf0, 0xff);
	assert_int_equal(rd(&r, 0, 0x320), 0x10040);
	rig_fini(&r);
}

static void test_priorities(void **state)
{
	struct rig r;

	rig_init(&r);
	apic_msi(&r.s, 0xfee00000, 0x55);
	assert_false(apic_pending(r.a[0])); /* software-disabled: not accepted */
	enable_all(&r);
	apic_msi(&r.s, 0xfee00000, 0x35);
	apic_msi(&r.s, 0xfee00000, 0x41);
	apic_msi(&r.s, 0xfee00000, 0x41); /* merges with the one before */
	assert_true(asked(&r, X86_REQ_INTR) & 1);
	assert_int_equal(rd(&r, 0, 0x210), 1u << 21);
	assert_int_equal(rd(&r, 0, 0x220), 1u << 1);
	assert_int_equal(apic_ack(r.a[0]), 0x41);
	assert_int_equal(rd(&r, 0, 0xa0), 0x40); /* PPR */
	assert_int_equal(rd(&r, 0, 0x120), 1u << 1);
	assert_false(apic_pending(r.a[0])); /* 35h waits for 41h's end */
	apic_msi(&r.s, 0xfee00000, 0x4f);
	assert_false(apic_pending(r.a[0])); /* the same class, too */
	apic_msi(&r.s, 0xfee00000, 0x51);
	assert_int_equal(apic_ack(r.a[0]), 0x51);
	wr(&r, 0, 0xb0, 0); /* ends 51h */
	assert_int_equal(rd(&r, 0, 0xa0), 0x40);
	r.v[0].x86->recheck = false;
	wr(&r, 0, 0xb0, 0); /* ends 41h: 4fh comes through */
	assert_true(r.v[0].x86->recheck);
	assert_int_equal(apic_ack(r.a[0]), 0x4f);
	wr(&r, 0, 0xb0, 0);
	/* The task priority. */
	apic_set_cr8(r.a[0], 3);
	assert_int_equal(rd(&r, 0, 0x80), 0x30);
	assert_false(apic_pending(r.a[0]));
	r.v[0].x86->recheck = false;
	apic_set_tpr(r.a[0], 0x3f);
	assert_false(r.v[0].x86->recheck);
	wr(&r, 0, 0x80, 0x2f);
	assert_true(r.v[0].x86->recheck);
	assert_int_equal(apic_ack(r.a[0]), 0x35);
	assert_int_equal(rd(&r, 0, 0xa0), 0x30);
	wr(&r, 0, 0xb0, 0);
	assert_int_equal(rd(&r, 0, 0xa0), 0x2f);
	/* What goes away between pending and acknowledge is spurious. */
	assert_int_equal(apic_ack(r.a[0]), 0xff);
	assert_int_equal(r.eois, 0);
	rig_fini(&r);
}

static void test_level(void **state)
{
	struct rig r;

	rig_init(&r);
	enable_all(&r);
	apic_msi(&r.s, 0xfee01000, 0xc061);
	assert_int_equal(rd(&r, 1, 0x1b0), 1u << 1);
	assert_int_equal(apic_ack(r.a[1]), 0x61);
	wr(&r, 1, 0xb0, 0);
	assert_int_equal(r.eois, 1);
	assert_int_equal(r.eoi_vector, 0x61);
	apic_msi(&r.s, 0xfee01000, 0x0061); /* now by edge */
	assert_int_equal(rd(&r, 1, 0x1b0), 0);
	assert_int_equal(apic_ack(r.a[1]), 0x61);
	wr(&r, 1, 0xb0, 0);
	assert_int_equal(r.eois, 1);
	rig_fini(&r);
}

static void ipi(struct rig *r, unsigned from, uint8_t dest, uint32_t low)
{
	wr(r, from, 0x310, (uint32_t)dest << 24);
	wr(r, from, 0x300, low);
}

static void test_ipi(void **state)
{
	struct rig r;

	rig_init(&r);
	enable_all(&r);
	ipi(&r, 0, 2, 0x4040);
	assert_int_equal(asked(&r, X86_REQ_INTR), 1u << 2);
	assert_int_equal(got(&r, 0x40), 1u << 2);
	ipi(&r, 1, 0, 0x44040); /* self */
	assert_int_equal(got(&r, 0x40), 1u << 1);
	ipi(&r, 1, 0, 0x84040); /* all */
	assert_int_equal(got(&r, 0x40), 0xf);
	ipi(&r, 1, 0, 0xc4040); /* all but self */
	assert_int_equal(got(&r, 0x40), 0xd);
	ipi(&r, 3, 0xff, 0x4040); /* physical broadcast */
	assert_int_equal(got(&r, 0x40), 0xf);
	ipi(&r, 3, 9, 0x4040); /* nobody */
	assert_int_equal(got(&r, 0x40), 0);
	/* Logical, flat. */
	for (unsigned n = 0; n < CPUS; n++)
		wr(&r, n, 0xd0, 1u << (24 + n));
	ipi(&r, 0, 0x0a, 0x4840);
	assert_int_equal(got(&r, 0x40), 0xa);
	/* Logical, clusters of two. */
	for (unsigned n = 0; n < CPUS; n++) {
		wr(&r, n, 0xe0, 0x0fffffff);
		wr(&r, n, 0xd0, (n / 2) << 28 | 1u << (24 + (n & 1)));
	}
	ipi(&r, 0, 0x12, 0x4840);
	assert_int_equal(got(&r, 0x40), 1u << 3);
	ipi(&r, 0, 0x13, 0x4840);
	assert_int_equal(got(&r, 0x40), 0xc);
	ipi(&r, 0, 0xff, 0x4840);
	assert_int_equal(got(&r, 0x40), 0xf);
	/* Lowest priority: the one with the lowest TPR. */
	for (unsigned n = 0; n < CPUS; n++)
		apic_set_tpr(r.a[n], n == 2 ? 0x10 : 0x20);
	ipi(&r, 0, 0xff, 0x4940);
	assert_int_equal(got(&r, 0x40), 1u << 2);
	rig_fini(&r);
}

static void test_init_sipi_nmi(void **state)
{
	struct rig r;

	rig_init(&r);
	ipi(&r, 0, 1, 0x4500); /* software-disabled APICs take these */
	assert_int_equal(asked(&r, X86_REQ_INIT), 1u << 1);
	ipi(&r, 0, 1, 0x8500); /* de-assert: nothing */
	assert_int_equal(asked(&r, X86_REQ_INIT), 0);
	ipi(&r, 0, 0, 0xc4608); /* SIPI to all but self */
	assert_int_equal(asked(&r, X86_REQ_SIPI), 0xe);
	assert_int_equal(atomic_load(&r.v[3].sipi_vector), 0x08);
	ipi(&r, 0, 3, 0x4400);
	assert_int_equal(asked(&r, X86_REQ_NMI), 1u << 3);
	/* LINT1's NMI: where it is programmed. */
	enable_all(&r);
	wr(&r, 2, 0x360, 0x400);
	apic_nmi(&r.s);
	assert_int_equal(asked(&r, X86_REQ_NMI), 1u << 2);
	/* INIT keeps the base and forgets the rest. */
	wr(&r, 2, 0x80, 0x50);
	apic_reset(r.a[2], true);
	assert_int_equal(apic_get_tpr(r.a[2]), 0);
	assert_int_equal(rd(&r, 2, 0xf0), 0xff);
	assert_true(apic_claims(r.a[2], 0xfee00000));
	rig_fini(&r);
}

static void test_errors(void **state)
{
	struct rig r;

	rig_init(&r);
	enable_all(&r);
	wr(&r, 0, 0x370, 0x33);
	ipi(&r, 0, 1, 0x4005); /* an illegal vector */
	assert_int_equal(rd(&r, 0, 0x280), 0); /* not latched yet */
	wr(&r, 0, 0x280, 0);
	assert_int_equal(rd(&r, 0, 0x280), 0x20);
	assert_int_equal(got(&r, 0x33), 1);
	apic_msi(&r.s, 0xfee00000, 0x0003);
	wr(&r, 0, 0x280, 0);
	assert_int_equal(rd(&r, 0, 0x280), 0x40);
	assert_int_equal(got(&r, 0x33), 1);
	rd(&r, 0, 0x3f0);
	wr(&r, 0, 0x280, 0);
	assert_int_equal(rd(&r, 0, 0x280), 0x80);
	/* An error vector that is itself illegal ends there. */
	wr(&r, 0, 0x370, 0x03);
	apic_msi(&r.s, 0xfee00000, 0x0003);
	wr(&r, 0, 0x280, 0);
	assert_int_equal(rd(&r, 0, 0x280) & 0x40, 0x40);
	rig_fini(&r);
}

static void test_timer(void **state)
{
	struct rig r;

	rig_init(&r);
	enable_all(&r);
	wr(&r, 0, 0x3e0, 0x3); /* divide by 16 */
	wr(&r, 0, 0x320, 0x50);
	wr(&r, 0, 0x380, 1000); /* 16 us */
	assert_int_equal(rd(&r, 0, 0x390), 1000);
	pass(&r.f, 8000);
	assert_int_equal(rd(&r, 0, 0x390), 500);
	assert_int_equal(got(&r, 0x50), 0);
	pass(&r.f, 8000);
	assert_int_equal(rd(&r, 0, 0x390), 0);
	assert_int_equal(got(&r, 0x50), 1);
	pass(&r.f, 100000000);
	assert_int_equal(got(&r, 0x50), 0);
	/* Periodic, 1 ms; divide by one. */
	wr(&r, 0, 0x3e0, 0xb);
	wr(&r, 0, 0x320, 0x20050);
	wr(&r, 0, 0x380, 1000000);
	for (int n = 0; n < 10; n++) {
		pass(&r.f, 999999);
		assert_int_equal(got(&r, 0x50), 0);
		pass(&r.f, 1);
		assert_int_equal(got(&r, 0x50), 1);
	}
	pass(&r.f, 250000);
	assert_int_equal(rd(&r, 0, 0x390), 750000);
	wr(&r, 0, 0x320, 0x30050); /* masked: counts on, silently */
	pass(&r.f, 1000000);
	assert_int_equal(got(&r, 0x50), 0);
	assert_int_equal(rd(&r, 0, 0x390), 750000);
	wr(&r, 0, 0x380, 0);
	assert_int_equal(rd(&r, 0, 0x390), 0);
	assert_int_equal(vtime_next_deadline_ns(r.f.vt), VTIME_NEVER);
	rig_fini(&r);
}

/* A periodic timer of one nanosecond does not melt the host. */
static void test_timer_clamp(void **state)
{
	struct rig r;
	unsigned fired = 0;

	rig_init(&r);
	enable_all(&r);
	wr(&r, 0, 0x3e0, 0xb);
	wr(&r, 0, 0x320, 0x20050);
	wr(&r, 0, 0x380, 1);
	for (int n = 0; n < 1000; n++) {
		vtime_advance(r.f.vt, 10000);
		vtime_run(r.f.vt);
		fired += got(&r, 0x50);
	}
	assert_in_range(fired, 90, 101);
	wr(&r, 0, 0x380, 0);
	rig_fini(&r);
}

static void test_deadline(void **state)
{
	struct rig r;
	uint64_t v;

	rig_init(&r);
	enable_all(&r);
	pass(&r.f, 1000);
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, 5000), 0);
	assert_int_equal(apic_msr_read(r.a[0], 0x6e0, &v), 0);
	assert_int_equal(v, 0); /* not in deadline mode */
	wr(&r, 0, 0x320, 0x40060);
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, 5000), 0);
	assert_int_equal(apic_msr_read(r.a[0], 0x6e0, &v), 0);
	assert_int_equal(v, 5000);
	wr(&r, 0, 0x380, 77); /* ignored */
	assert_int_equal(rd(&r, 0, 0x390), 0);
	pass(&r.f, 3999);
	assert_int_equal(got(&r, 0x60), 0);
	pass(&r.f, 1);
	assert_int_equal(got(&r, 0x60), 1);
	assert_int_equal(apic_msr_read(r.a[0], 0x6e0, &v), 0);
	assert_int_equal(v, 0);
	/* In the past: at once. */
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, 1), 0);
	assert_int_equal(got(&r, 0x60), 1);
	/* Zero disarms. */
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, 9000), 0);
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, 0), 0);
	pass(&r.f, 10000);
	assert_int_equal(got(&r, 0x60), 0);
	/* So does another mode. */
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, 90000), 0);
	wr(&r, 0, 0x320, 0x60);
	pass(&r.f, 100000);
	assert_int_equal(got(&r, 0x60), 0);
	/* The TSC is moved on: the deadline comes sooner. */
	wr(&r, 0, 0x320, 0x40060);
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, 1000000000000), 0);
	r.v[0].x86->tsc_offset = 1000000000000 - vtime_now_ns(r.f.vt) - 10;
	apic_tsc_changed(r.a[0]);
	pass(&r.f, 10);
	assert_int_equal(got(&r, 0x60), 1);
	/* For ever and a day. */
	assert_int_equal(apic_msr_write(r.a[0], 0x6e0, UINT64_MAX), 0);
	pass(&r.f, 1000000000);
	assert_int_equal(got(&r, 0x60), 0);
	rig_fini(&r);
}

static void test_base(void **state)
{
	struct rig r;
	uint64_t v;

	rig_init(&r);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00d01), 0); /* reserved */
	assert_int_not_equal(apic_msr_write(r.a[0], 0x1b, 1ull << 40 | 0x900), 0); /* width */
	assert_int_not_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00500), 0); /* EXTD alone */
	/* Moved. */
	assert_int_equal(apic_msr_write(r.a[0], 0x1b, 0xd0000900), 0);
	assert_true(asked(&r, X86_REQ_FLUSH) & 1);
	assert_true(apic_claims(r.a[0], 0xd0000020));
	assert_false(apic_claims(r.a[0], 0xfee00020));
	/* x2APIC. */
	wr(&r, 0, 0xf0, 0x1ff);
	assert_int_not_equal(apic_msr_read(r.a[0], 0x802, &v), 0);
	assert_int_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00d00), 0);
	assert_false(apic_claims(r.a[0], 0xfee00020));
	assert_int_equal(apic_msr_read(r.a[0], 0x80f, &v), 0);
	assert_int_equal(v, 0x1ff); /* what was set stays */
	assert_int_not_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00900), 0); /* no way back */
	apic_reset(r.a[0], true);
	assert_int_equal(apic_msr_read(r.a[0], 0x802, &v), 0); /* INIT keeps the mode */
	assert_int_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00100), 0); /* off */
	assert_int_not_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00d00), 0);
	assert_int_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00900), 0);
	assert_int_equal(rd(&r, 0, 0xf0), 0xff);
	rig_fini(&r);
}

static void test_x2apic(void **state)
{
	struct rig r;
	uint64_t v;

	rig_init(&r);
	for (unsigned n = 0; n < CPUS; n++) {
		assert_int_equal(apic_msr_write(r.a[n], 0x1b, 0xfee00c00), 0);
		assert_int_equal(apic_msr_write(r.a[n], 0x80f, 0x1ff), 0);
	}
	assert_int_equal(apic_msr_read(r.a[3], 0x802, &v), 0);
	assert_int_equal(v, 3);
	assert_int_equal(apic_msr_read(r.a[3], 0x80d, &v), 0);
	assert_int_equal(v, 8);
	/* Reserved, read-only and write-only registers. */
	assert_int_not_equal(apic_msr_read(r.a[0], 0x80b, &v), 0);
	assert_int_not_equal(apic_msr_read(r.a[0], 0x80e, &v), 0);
	assert_int_not_equal(apic_msr_read(r.a[0], 0x831, &v), 0);
	assert_int_not_equal(apic_msr_read(r.a[0], 0x83f, &v), 0);
	assert_int_not_equal(apic_msr_read(r.a[0], 0x8ff, &v), 0);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x802, 0), 0);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x80d, 1), 0);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x80b, 1), 0);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x808, 0x100), 0);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x80f, 0x200), 0);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x832, 1ull << 32), 0);
	assert_int_not_equal(apic_msr_write(r.a[0], 0x830, 1ull << 20), 0);
	assert_int_equal(apic_msr_write(r.a[0], 0x808, 0x20), 0);
	assert_int_equal(apic_get_tpr(r.a[0]), 0x20);
	assert_int_equal(apic_msr_write(r.a[0], 0x808, 0), 0);
	/* IPIs: physical, logical, broadcast, self. */
	assert_int_equal(apic_msr_write(r.a[0], 0x830, 2ull << 32 | 0x40), 0);
	assert_true(apic_pending(r.a[2]) && !apic_pending(r.a[1]));
	assert_int_equal(apic_ack(r.a[2]), 0x40);
	assert_int_equal(apic_msr_write(r.a[2], 0x80b, 0), 0);
	assert_int_equal(apic_msr_write(r.a[0], 0x830, 0xaull << 32 | 0x841), 0);
	assert_true(apic_pending(r.a[1]) && apic_pending(r.a[3]));
	assert_false(apic_pending(r.a[0]) || apic_pending(r.a[2]));
	assert_int_equal(apic_msr_write(r.a[0], 0x830, 0x1000aull << 32 | 0x842), 0);
	assert_int_equal(apic_msr_read(r.a[1], 0x822, &v), 0);
	assert_int_equal(v, 2); /* 41h alone: that was another cluster */
	assert_int_equal(apic_msr_write(r.a[0], 0x830, 0xffffffffull << 32 | 0x43), 0);
	for (unsigned n = 0; n < CPUS; n++)
		assert_int_equal(apic_ack(r.a[n]), 0x43);
	assert_int_equal(apic_msr_write(r.a[0], 0x80b, 0), 0);
	assert_int_equal(apic_msr_write(r.a[0], 0x83f, 0x44), 0);
	assert_int_equal(apic_ack(r.a[0]), 0x44);
	assert_int_equal(apic_msr_read(r.a[0], 0x830, &v), 0);
	assert_int_equal(v & 0xff, 0x44);
	rig_fini(&r);
}

static void test_extint(void **state)
{
	struct rig r;

	rig_init(&r);
	r.pic = true;
	apic_pic_changed(&r.s);
	assert_int_equal(asked(&r, X86_REQ_INTR), 1); /* the boot CPU alone */
	assert_true(apic_pending(r.a[0]));
	assert_false(apic_pending(r.a[1]));
	assert_int_equal(apic_ack(r.a[0]), 0x08);
	assert_int_equal(r.acks, 1);
	/* Masked at LINT0. */
	r.pic = true;
	wr(&r, 0, 0xf0, 0x1ff);
	wr(&r, 0, 0x350, 0x10700);
	assert_false(apic_pending(r.a[0]));
	r.v[0].x86->recheck = false;
	wr(&r, 0, 0x350, 0x00700);
	assert_true(r.v[0].x86->recheck && apic_pending(r.a[0]));
	/* Whatever the TPR says. */
	apic_set_tpr(r.a[0], 0xff);
	assert_true(apic_pending(r.a[0]));
	apic_set_tpr(r.a[0], 0);
	/* With the APIC disabled the line is INTR itself. */
	assert_int_equal(apic_msr_write(r.a[0], 0x1b, 0xfee00100), 0);
	assert_true(apic_pending(r.a[0]));
	assert_int_equal(apic_ack(r.a[0]), 0x08);
	assert_false(apic_pending(r.a[0]));
	/* As a message from an I/O APIC's pin. */
	r.pic = true;
	wr(&r, 1, 0xf0, 0x1ff);
	apic_msi(&r.s, 0xfee01000, 0x0700);
	assert_true(apic_pending(r.a[1]));
	assert_int_equal(apic_ack(r.a[1]), 0x08);
	rig_fini(&r);
}

static void poke(void *obj)
{
	struct apic *a = obj;

	for (unsigned off = 0; off < 0x400; off += 16)
		apic_mmio_read(a, off, 4);
	while (apic_pending(a)) {
		apic_ack(a);
		apic_mmio_write(a, 0xb0, 0, 4);
		apic_set_tpr(a, 0);
	}
}

static void test_state(void **state)
{
	struct rig r;

	rig_init(&r);
	enable_all(&r);
	pass(&r.f, 123);
	wr(&r, 1, 0x320, 0x20050);
	wr(&r, 1, 0x380, 1000000);
	apic_msi(&r.s, 0xfee01000, 0x35);
	apic_msi(&r.s, 0xfee01000, 0xc061);
	apic_ack(r.a[1]);
	pass(&r.f, 300000);
	check_roundtrip(&apic_state, r.a[1]);
	assert_int_equal(rd(&r, 1, 0x390), 850000); /* divided by two */
	assert_int_equal(rd(&r, 1, 0x130), 1u << 1);
	assert_int_equal(rd(&r, 1, 0x210), 1u << 21);
	check_hostile(&apic_state, r.a[1], poke, 3000);
	rig_fini(&r);
}

static void test_storm(void **state)
{
	struct rig r;
	uint32_t seed = 5;

	rig_init(&r);
	for (int n = 0; n < 50000; n++) {
		unsigned cpu;

		seed = seed * 1664525 + 1013904223;
		cpu = seed >> 30;
		if (seed & 0x10000000)
			apic_mmio_write(r.a[cpu], seed >> 8 & 0xff0, seed * 2654435761u, 4);
		else if (seed & 0x8000000)
			apic_mmio_read(r.a[cpu], seed >> 8 & 0xfff, 1u << (seed >> 20 & 3));
		else if (apic_pending(r.a[cpu]))
			apic_ack(r.a[cpu]);
		if (!(n & 63)) {
			vtime_advance(r.f.vt, seed >> 12);
			vtime_run(r.f.vt);
		}
	}
	rig_fini(&r);
}

/* Two CPUs play ping-pong from two threads while two others shout: no interrupt is
 * lost. */
struct player {
	struct rig *r;
	unsigned cpu;
	unsigned sent, got, wild;
	atomic_bool *stop;
};

static void take_all(struct player *p)
{
	struct apic *a = p->r->a[p->cpu];

	while (apic_pending(a)) {
		int v = apic_ack(a);

		apic_mmio_write(a, 0xb0, 0, 4);
		if (v == 0x50)
			p->got++;
		else if (v != 0x61)
			p->wild++;
	}
}

static void *play(void *opaque)
{
	struct player *p = opaque;

	while (p->got < 500) {
		if (p->cpu == 1 ? p->sent < p->got : p->sent == p->got) {
			ipi(p->r, p->cpu, p->cpu ^ 1, 0x4050);
			p->sent++;
		}
		take_all(p);
		sched_yield();
	}
	if (p->cpu == 1 && p->sent < p->got)
		ipi(p->r, 1, 0, 0x4050);
	return NULL;
}

static void *shout(void *opaque)
{
	struct player *p = opaque;

	while (!atomic_load(p->stop)) {
		ipi(p->r, p->cpu, 0, 0xc4061);
		take_all(p);
		sched_yield();
	}
	return NULL;
}

static void test_threads(void **state)
{
	static struct rig r;
	atomic_bool stop = false;
	struct player p[CPUS];
	pthread_t t[CPUS];

	rig_init(&r);
	enable_all(&r);
	for (unsigned n = 0; n < CPUS; n++) {
		p[n] = (struct player){ .r = &r, .cpu = n, .stop = &stop };
		assert_int_equal(pthread_create(&t[n], NULL, n < 2 ? play : shout, &p[n]), 0);
	}
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	atomic_store(&stop, true);
	pthread_join(t[2], NULL);
	pthread_join(t[3], NULL);
	for (unsigned n = 0; n < CPUS; n++)
		assert_int_equal(p[n].wild, 0);
	assert_int_equal(p[0].got, 500);
	assert_int_equal(p[1].got, 500);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_on), cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_level), cmocka_unit_test(test_ipi),
		cmocka_unit_test(test_init_sipi_nmi), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_timer), cmocka_unit_test(test_timer_clamp),
		cmocka_unit_test(test_deadline), cmocka_unit_test(test_base),
		cmocka_unit_test(test_x2apic), cmocka_unit_test(test_extint),
		cmocka_unit_test(test_state), cmocka_unit_test(test_storm),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

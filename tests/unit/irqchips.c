/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8259 pair, the I/O APIC and the lines that lead to them. */
#include "src/dev/legacy/gsi.h"
#include "src/dev/legacy/i8259.h"
#include "src/dev/legacy/ioapic.h"
#include "tests/unit/dev_fixture.h"

struct rig {
	struct fixture f;
	struct i8259_pair pic;
	struct ioapic io;
	struct gsi gsi;
	struct probe intr;
};

static void rig_init(struct rig *r)
{
	struct irq_line intr;

	fixture_init(&r->f);
	intr = probe_line(&r->intr);
	assert_int_equal(i8259_init(&r->pic, &r->f.env, &intr, NULL), 0);
	assert_int_equal(ioapic_init(&r->io, &r->f.env, IOAPIC_BASE, 0, NULL), 0);
	gsi_init(&r->gsi, &r->pic, &r->io);
}

static void rig_fini(struct rig *r)
{
	i8259_fini(&r->pic);
	ioapic_fini(&r->io);
	fixture_fini(&r->f);
}

static void pic_setup(struct rig *r, uint8_t icw4)
{
	outb(&r->f, 0x20, 0x11);
	outb(&r->f, 0x21, 0x30);
	outb(&r->f, 0x21, 0x04);
	outb(&r->f, 0x21, icw4);
	outb(&r->f, 0xa0, 0x11);
	outb(&r->f, 0xa1, 0x38);
	outb(&r->f, 0xa1, 0x02);
	outb(&r->f, 0xa1, icw4 & ~0x10);
}

static void pulse(struct rig *r, unsigned irq)
{
	struct irq_line l = i8259_input(&r->pic, irq);

	irq_pulse(&l);
}

static void test_pic_basics(void **state)
{
	struct rig r;

	rig_init(&r);
	pic_setup(&r, 0x01);
	assert_int_equal(inb(&r.f, 0x21), 0); /* ICW1 clears the mask */
	outb(&r.f, 0x21, 0xfb);
	assert_int_equal(inb(&r.f, 0x21), 0xfb);
	pulse(&r, 0);
	assert_false(i8259_pending(&r.pic)); /* masked, but remembered */
	assert_int_equal(inb(&r.f, 0x20), 0x01);
	outb(&r.f, 0x21, 0x00);
	assert_true(i8259_pending(&r.pic));
	assert_int_equal(r.intr.level, 1);
	assert_int_equal(i8259_ack(&r.pic), 0x30);
	assert_false(i8259_pending(&r.pic));
	outb(&r.f, 0x20, 0x0b); /* read ISR */
	assert_int_equal(inb(&r.f, 0x20), 0x01);
	outb(&r.f, 0x20, 0x0a);
	assert_int_equal(inb(&r.f, 0x20), 0x00);
	/* Lower priority waits, also on the second chip. */
	pulse(&r, 1);
	pulse(&r, 12);
	assert_false(i8259_pending(&r.pic));
	outb(&r.f, 0x20, 0x20);
	assert_int_equal(i8259_ack(&r.pic), 0x31);
	outb(&r.f, 0x20, 0x20);
	assert_int_equal(i8259_ack(&r.pic), 0x3c);
	outb(&r.f, 0xa0, 0x0b);
	assert_int_equal(inb(&r.f, 0xa0), 0x10);
	outb(&r.f, 0x20, 0x0b);
	assert_int_equal(inb(&r.f, 0x20), 0x04);
	/* Higher priority nests. */
	pulse(&r, 1);
	assert_int_equal(i8259_ack(&r.pic), 0x31);
	outb(&r.f, 0x20, 0x61); /* specific EOI of 1 */
	assert_int_equal(inb(&r.f, 0x20), 0x04);
	outb(&r.f, 0xa0, 0x20);
	outb(&r.f, 0x20, 0x62);
	assert_int_equal(inb(&r.f, 0x20), 0x00);
	/* Nothing pending: the spurious vector, not in service. */
	assert_int_equal(i8259_ack(&r.pic), 0x37);
	assert_int_equal(inb(&r.f, 0x20), 0x00);
	rig_fini(&r);
}

static void test_pic_level(void **state)
{
	struct rig r;
	struct irq_line l;

	rig_init(&r);
	pic_setup(&r, 0x01);
	l = i8259_input(&r.pic, 10);
	outb(&r.f, 0x4d1, 0xff);
	outb(&r.f, 0x4d0, 0xff);
	assert_int_equal(inb(&r.f, 0x4d1), 0xde); /* 8 and 13 stay edges */
	assert_int_equal(inb(&r.f, 0x4d0), 0xf8);
	irq_set(&l, 1);
	assert_int_equal(i8259_ack(&r.pic), 0x3a);
	outb(&r.f, 0xa0, 0x20);
	outb(&r.f, 0x20, 0x20);
	assert_true(i8259_pending(&r.pic)); /* still pulled: again */
	assert_int_equal(i8259_ack(&r.pic), 0x3a);
	irq_set(&l, 0);
	outb(&r.f, 0xa0, 0x20);
	outb(&r.f, 0x20, 0x20);
	assert_false(i8259_pending(&r.pic));
	/* A level that goes away before the acknowledge is spurious, on the second
	 * chip with the cascade in service on the first. */
	irq_set(&l, 1);
	outb(&r.f, 0xa1, 0x00);
	irq_set(&l, 0);
	assert_false(i8259_pending(&r.pic));
	/* An edge input that is held requests once. */
	l = i8259_input(&r.pic, 1);
	irq_set(&l, 1);
	assert_int_equal(i8259_ack(&r.pic), 0x31);
	outb(&r.f, 0x20, 0x20);
	assert_false(i8259_pending(&r.pic));
	rig_fini(&r);
}

static void test_pic_modes(void **state)
{
	struct rig r;

	rig_init(&r);
	/* Automatic EOI. */
	pic_setup(&r, 0x03);
	pulse(&r, 3);
	pulse(&r, 4);
	assert_int_equal(i8259_ack(&r.pic), 0x33);
	assert_int_equal(i8259_ack(&r.pic), 0x34);
	/* With rotation: what was served comes last. */
	outb(&r.f, 0x20, 0x80);
	pulse(&r, 3);
	assert_int_equal(i8259_ack(&r.pic), 0x33);
	pulse(&r, 3);
	pulse(&r, 4);
	assert_int_equal(i8259_ack(&r.pic), 0x34);
	assert_int_equal(i8259_ack(&r.pic), 0x33);
	/* Set priority: 5 lowest, so 6 first. */
	pic_setup(&r, 0x01);
	outb(&r.f, 0x20, 0xc5);
	pulse(&r, 0);
	pulse(&r, 6);
	assert_int_equal(i8259_ack(&r.pic), 0x36);
	outb(&r.f, 0x20, 0xa0); /* rotate on non-specific EOI: 6 lowest */
	assert_int_equal(i8259_ack(&r.pic), 0x30);
	outb(&r.f, 0x20, 0x20);
	/* Special mask: a masked input in service holds nobody back. */
	pic_setup(&r, 0x01);
	pulse(&r, 1);
	assert_int_equal(i8259_ack(&r.pic), 0x31);
	pulse(&r, 5);
	assert_false(i8259_pending(&r.pic));
	outb(&r.f, 0x21, 0x02);
	assert_false(i8259_pending(&r.pic));
	outb(&r.f, 0x20, 0x68);
	assert_true(i8259_pending(&r.pic));
	assert_int_equal(i8259_ack(&r.pic), 0x35);
	outb(&r.f, 0x20, 0x48);
	/* Polling. */
	pic_setup(&r, 0x01);
	pulse(&r, 6);
	outb(&r.f, 0x20, 0x0c);
	assert_int_equal(inb(&r.f, 0x20), 0x86);
	assert_false(i8259_pending(&r.pic));
	outb(&r.f, 0x20, 0x0c);
	assert_int_equal(inb(&r.f, 0x20), 0x00);
	/* Special fully nested: the second chip interrupts itself. */
	pic_setup(&r, 0x11);
	pulse(&r, 12);
	assert_int_equal(i8259_ack(&r.pic), 0x3c);
	pulse(&r, 9);
	assert_true(i8259_pending(&r.pic));
	assert_int_equal(i8259_ack(&r.pic), 0x39);
	/* During initialisation nothing comes through. */
	outb(&r.f, 0x20, 0x11);
	pulse(&r, 0);
	assert_false(i8259_pending(&r.pic));
	rig_fini(&r);
}

static void test_pic_state(void **state)
{
	struct rig r;

	rig_init(&r);
	pic_setup(&r, 0x01);
	outb(&r.f, 0x4d1, 0x0c);
	pulse(&r, 12);
	pulse(&r, 3);
	i8259_ack(&r.pic);
	check_roundtrip(i8259_desc.state, &r.pic);
	check_hostile(i8259_desc.state, &r.pic, NULL, 3000);
	outb(&r.f, 0xa0, 0x20);
	outb(&r.f, 0x20, 0x20);
	assert_int_equal(i8259_ack(&r.pic), 0x33);
	storm_pio(&r.f, 0x20, 2, 5000);
	storm_pio(&r.f, 0xa0, 2, 5000);
	for (int n = 0; n < 100; n++)
		i8259_ack(&r.pic);
	i8259_desc.reset(&r.pic);
	assert_int_equal(r.intr.level, 0);
	rig_fini(&r);
}

static uint32_t io_rd(struct rig *r, unsigned reg)
{
	wr32(&r->f, IOAPIC_BASE, reg);
	return rd32(&r->f, IOAPIC_BASE + 0x10);
}

static void io_wr(struct rig *r, unsigned reg, uint32_t val)
{
	wr32(&r->f, IOAPIC_BASE, reg);
	wr32(&r->f, IOAPIC_BASE + 0x10, val);
}

static void test_ioapic(void **state)
{
	struct rig r;
	struct irq_line a, b;

	rig_init(&r);
	assert_int_equal(io_rd(&r, 1), 0x00170020);
	io_wr(&r, 0, 0xffffffff);
	assert_int_equal(io_rd(&r, 0), 0x0f000000);
	assert_int_equal(io_rd(&r, 0x10), 0x10000);
	io_wr(&r, 0x10 + 23 * 2 + 1, 0xffffffff);
	assert_int_equal(io_rd(&r, 0x10 + 23 * 2 + 1), 0xff000000);
	io_wr(&r, 0x40, 0x1234); /* past the last */
	assert_int_equal(io_rd(&r, 0x40), 0);
	a = gsi_line(&r.gsi, 5);
	b = gsi_line(&r.gsi, 5);
	/* An edge, to APIC 3, vector 41h. */
	io_wr(&r, 0x1b, 3u << 24);
	io_wr(&r, 0x1a, 0x0041);
	irq_set(&a, 1);
	assert_int_equal(r.f.msis, 1);
	assert_int_equal(r.f.msi_addr, 0xfee03000);
	assert_int_equal(r.f.msi_data, 0x4041);
	irq_set(&b, 1); /* shared: already high */
	irq_set(&a, 0);
	assert_int_equal(r.f.msis, 1);
	irq_set(&b, 0);
	/* Edges while masked are lost. */
	io_wr(&r, 0x1a, 0x10041);
	irq_pulse(&a);
	io_wr(&r, 0x1a, 0x0041);
	assert_int_equal(r.f.msis, 1);
	/* A level, logical, lowest priority. */
	io_wr(&r, 0x1a, 0x8941);
	irq_set(&a, 1);
	assert_int_equal(r.f.msis, 2);
	assert_int_equal(r.f.msi_addr, 0xfee0300c);
	assert_int_equal(r.f.msi_data, 0xc141);
	assert_int_equal(io_rd(&r, 0x1a), 0xc941); /* remote IRR */
	irq_set(&a, 0);
	irq_set(&a, 1);
	assert_int_equal(r.f.msis, 2);
	ioapic_eoi(&r.io, 0x42); /* another vector */
	assert_int_equal(r.f.msis, 2);
	ioapic_eoi(&r.io, 0x41); /* still pulled: again */
	assert_int_equal(r.f.msis, 3);
	irq_set(&a, 0);
	wr32(&r.f, IOAPIC_BASE + 0x40, 0x41); /* the EOI register */
	assert_int_equal(io_rd(&r, 0x1a), 0x8941);
	assert_int_equal(r.f.msis, 3);
	/* A level that came while masked is there when the mask goes. */
	io_wr(&r, 0x1a, 0x18941);
	irq_set(&a, 1);
	assert_int_equal(r.f.msis, 3);
	io_wr(&r, 0x1a, 0x8941);
	assert_int_equal(r.f.msis, 4);
	/* Turning the entry into an edge ends it without an EOI. */
	io_wr(&r, 0x1a, 0x10941);
	assert_int_equal(io_rd(&r, 0x1a), 0x10941);
	io_wr(&r, 0x1a, 0x8941);
	assert_int_equal(r.f.msis, 5);
	rig_fini(&r);
}

static void test_gsi(void **state)
{
	struct rig r;
	struct irq_line pit, hpet, serial;

	rig_init(&r);
	pic_setup(&r, 0x01);
	pit = gsi_line(&r.gsi, 0);
	hpet = gsi_line(&r.gsi, 2);
	serial = gsi_line(&r.gsi, 4);
	io_wr(&r, 0x14, 0x50); /* pin 2 */
	io_wr(&r, 0x10, 0x51); /* pin 0: nothing leads there */
	irq_set(&pit, 1);
	assert_int_equal(r.f.msis, 1);
	assert_int_equal(r.f.msi_data & 0xff, 0x50);
	assert_int_equal(i8259_ack(&r.pic), 0x30);
	outb(&r.f, 0x20, 0x20);
	irq_set(&hpet, 1); /* the pin is high already; the 8259s have no such input */
	assert_int_equal(r.f.msis, 1);
	assert_false(i8259_pending(&r.pic));
	irq_set(&pit, 0);
	irq_set(&hpet, 0);
	irq_set(&hpet, 1);
	assert_int_equal(r.f.msis, 2);
	irq_set(&serial, 1);
	assert_int_equal(i8259_ack(&r.pic), 0x34);
	check_roundtrip(gsi_desc.state, &r.gsi);
	assert_int_equal(r.gsi.pic[4].level, 1);
	rig_fini(&r);
}

static void test_ioapic_state(void **state)
{
	struct rig r;
	struct irq_line l;

	rig_init(&r);
	l = ioapic_pin(&r.io, 9);
	io_wr(&r, 0x22, 0x8041);
	irq_set(&l, 1);
	check_roundtrip(ioapic_desc.state, &r.io);
	assert_int_equal(io_rd(&r, 0x22), 0xc041);
	check_hostile(ioapic_desc.state, &r.io, NULL, 3000);
	ioapic_eoi(&r.io, 0x41);
	assert_int_equal(r.f.msis, 2);
	storm_mmio(&r.f, IOAPIC_BASE, 0x60, 20000);
	ioapic_desc.reset(&r.io);
	assert_int_equal(io_rd(&r, 0x22), 0x10000);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pic_basics), cmocka_unit_test(test_pic_level),
		cmocka_unit_test(test_pic_modes), cmocka_unit_test(test_pic_state),
		cmocka_unit_test(test_ioapic), cmocka_unit_test(test_gsi),
		cmocka_unit_test(test_ioapic_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

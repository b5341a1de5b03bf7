/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ISA DMA, the floppy controller and its drives. */
#include <errno.h>
#include <stdlib.h>

#include "src/dev/legacy/fdc.h"
#include "tests/unit/storage_rig.h"

#define DATA 0x20000u
#define LEN (2880u * 512)

struct rig {
	struct srig s;
	struct fdc *fdc;
	struct floppy *drive;
	struct fake_disk *image;
	uint8_t result[16];
};

static void setup(struct rig *r, uint64_t len, bool writable)
{
	memset(r, 0, sizeof(*r));
	srig_init(&r->s);
	r->image = srig_disk(&r->s, len, writable);
	r->fdc = srig_add(&r->s, "isa-fdc", NULL, 0, NULL);
	r->drive = srig_add(&r->s, "floppy", r->fdc, 0, r->image);
	outb(&r->s.f, 0x3f2, 0x1c);
	outb(&r->s.f, 0x3f7, 0);
}

static void dma_program(struct rig *r, uint8_t mode, uint32_t at, uint32_t len)
{
	outb(&r->s.f, 0x0a, 6);
	outb(&r->s.f, 0x0c, 0);
	outb(&r->s.f, 0x0b, mode | 2);
	outb(&r->s.f, 0x04, (uint8_t)at);
	outb(&r->s.f, 0x04, (uint8_t)(at >> 8));
	outb(&r->s.f, 0x81, (uint8_t)(at >> 16));
	outb(&r->s.f, 0x05, (uint8_t)(len - 1));
	outb(&r->s.f, 0x05, (uint8_t)((len - 1) >> 8));
	outb(&r->s.f, 0x0a, 2);
}

/* Sends a command, waits for its end, reads its result. Returns its length. */
static unsigned command(struct rig *r, const char *bytes, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++) {
		assert_int_equal(inb(&r->s.f, 0x3f4) & 0xc0, 0x80);
		outb(&r->s.f, 0x3f5, (uint8_t)bytes[i]);
	}
	while (!(inb(&r->s.f, 0x3f4) & 0x80))
		srig_turn(&r->s, true);
	while (inb(&r->s.f, 0x3f4) & 0x40 && !(inb(&r->s.f, 0x3f4) & 0x20)) {
		assert_true(n < sizeof(r->result));
		r->result[n++] = inb(&r->s.f, 0x3f5);
	}
	return n;
}
#define COMMAND(bytes) command(&r, bytes, sizeof(bytes) - 1)

static void test_commands(void **state)
{
	struct rig r;

	setup(&r, LEN, true);
	assert_int_equal(fdc_cmos_types(r.fdc), 0x40);
	assert_int_equal(r.s.irq[6].level, 1); /* out of reset */
	for (unsigned n = 0; n < 4; n++) {
		assert_int_equal(COMMAND("\x08"), 2);
		assert_int_equal(r.result[0], 0xc0 | n);
	}
	assert_int_equal(r.s.irq[6].level, 0);
	assert_int_equal(COMMAND("\x08"), 1);
	assert_int_equal(r.result[0], 0x80);
	assert_int_equal(COMMAND("\x10"), 1);
	assert_int_equal(r.result[0], 0x90);
	assert_int_equal(inb(&r.s.f, 0x3f7), 0x80); /* a disk was put in */
	assert_int_equal(COMMAND("\x0f\x00\x07"), 0);
	assert_int_equal(r.s.irq[6].level, 1);
	assert_int_equal(COMMAND("\x08"), 2);
	assert_int_equal(r.result[0], 0x20);
	assert_int_equal(r.result[1], 7);
	assert_int_equal(inb(&r.s.f, 0x3f7), 0);
	assert_int_equal(COMMAND("\x4a\x00"), 7); /* READ ID */
	assert_int_equal(r.result[0], 0);
	assert_int_equal(r.result[3], 7);
	assert_int_equal(COMMAND("\x07\x00"), 0);
	COMMAND("\x08");
	assert_int_equal(COMMAND("\x04\x00"), 1);
	assert_int_equal(r.result[0], 0x38);
	assert_int_equal(COMMAND("\x07\x03"), 0); /* no such drive */
	COMMAND("\x08");
	assert_int_equal(r.result[0], 0x73);
	assert_int_equal(COMMAND("\x94"), 1);
	assert_int_equal(r.result[0], 0x10);
	COMMAND("\x03\xaf\x02");
	COMMAND("\x13\x00\x57\x00");
	assert_int_equal(COMMAND("\x0e"), 10);
	assert_int_equal(r.result[4], 0xaf);
	assert_int_equal(r.result[7], 0x80);
	assert_int_equal(r.result[8], 0x57);
	assert_int_equal(COMMAND("\x1f"), 1);
	assert_int_equal(r.result[0], 0x80);
	check_roundtrip(isa_fdc_desc.state, r.fdc);
	check_hostile(isa_fdc_desc.state, r.fdc, NULL, 200);
	check_roundtrip(floppy_desc.state, r.drive);
	check_roundtrip(i8237_desc.state, &r.s.dma);
	check_hostile(i8237_desc.state, &r.s.dma, NULL, 200);
	srig_fini(&r.s);
}

static void test_dma(void **state)
{
	struct rig r;
	uint8_t *p;

	setup(&r, LEN, true);
	p = r.s.ram->host + DATA;
	COMMAND("\x03\xaf\x02");
	/* A whole cylinder, both heads. */
	dma_program(&r, 0x44, DATA, 36 * 512);
	assert_int_equal(COMMAND("\xe6\x00\x00\x00\x01\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[0], 0x04);
	assert_int_equal(r.result[1], 0);
	assert_int_equal(r.result[3], 1); /* the next cylinder */
	assert_int_equal(r.result[5], 1);
	assert_memory_equal(p, r.image->data, 36 * 512);
	assert_true(inb(&r.s.f, 0x08) & 4);
	/* Half a sector written: the rest is zeroes. */
	dma_program(&r, 0x48, DATA + 512, 256);
	assert_int_equal(COMMAND("\xc5\x00\x00\x00\x03\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[0], 0);
	assert_memory_equal(r.image->data + 1024, p + 512, 256);
	assert_int_equal(r.image->data[1024 + 511], 0);
	/* The track ends before the DMA does. */
	dma_program(&r, 0x44, DATA, 4096);
	assert_int_equal(COMMAND("\x46\x00\x00\x00\x12\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[0], 0x40);
	assert_int_equal(r.result[1], 0x80);
	/* No such sector; heads elsewhere; the wrong rate. */
	assert_int_equal(COMMAND("\x46\x00\x00\x00\x13\x02\x14\x1b\xff"), 7);
	assert_int_equal(r.result[1], 0x04);
	assert_int_equal(COMMAND("\x46\x00\x05\x00\x01\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[2], 0x10);
	outb(&r.s.f, 0x3f7, 2);
	assert_int_equal(COMMAND("\x46\x00\x00\x00\x01\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[1], 0x01);
	outb(&r.s.f, 0x3f7, 0);
	/* FORMAT: four bytes a sector. */
	for (unsigned n = 0; n < 18; n++) {
		p[4 * n] = p[4 * n + 1] = 0;
		p[4 * n + 2] = (uint8_t)(n + 1);
		p[4 * n + 3] = 2;
	}
	dma_program(&r, 0x48, DATA, 72);
	assert_int_equal(COMMAND("\x4d\x00\x02\x12\x54\xf6"), 7);
	assert_int_equal(r.result[0], 0);
	assert_int_equal(r.image->data[0], 0xf6);
	assert_int_equal(r.image->data[18 * 512 - 1], 0xf6);
	assert_int_not_equal(r.image->data[18 * 512 + 1], 0xf6);
	r.image->fail_reads = EIO;
	dma_program(&r, 0x44, DATA, 512);
	assert_int_equal(COMMAND("\x46\x00\x00\x00\x01\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[1], 0x20);
	srig_fini(&r.s);
}

static void test_non_dma(void **state)
{
	struct rig r;

	setup(&r, 720u * 1024, false);
	assert_int_equal(fdc_cmos_types(r.fdc), 0x40);
	outb(&r.s.f, 0x3f7, 2); /* 250 kbit/s */
	COMMAND("\x03\xaf\x03");
	command(&r, "\x46\x00\x00\x00\x04\x02\x04\x1b\xff", 9);
	assert_int_equal(inb(&r.s.f, 0x3f4), 0xf0);
	for (unsigned n = 0; n < 512; n++) {
		if (n == 77) {
			check_roundtrip(isa_fdc_desc.state, r.fdc);
			pass(&r.s.f, 1);
		}
		assert_int_equal(inb(&r.s.f, 0x3f5), r.image->data[3 * 512 + n]);
	}
	assert_int_equal(inb(&r.s.f, 0x3f4), 0xd0);
	for (unsigned n = 0; n < 7; n++)
		inb(&r.s.f, 0x3f5);
	assert_int_equal(inb(&r.s.f, 0x3f4), 0x80);
	assert_int_equal(COMMAND("\xc5\x00\x00\x00\x03\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[1], 0x02); /* write-protected */
	srig_fini(&r.s);
}

static void test_medium(void **state)
{
	struct rig r;
	struct medium *m;
	struct err err = { "" };

	setup(&r, LEN, true);
	m = floppy_desc.medium(r.drive);
	COMMAND("\x03\xaf\x02");
	COMMAND("\x07\x00");
	COMMAND("\x08");
	assert_int_equal(inb(&r.s.f, 0x3f7), 0);
	/* Out while a read is under way, and a reset while one is. */
	dma_program(&r, 0x44, DATA, 4096);
	for (unsigned n = 0; n < 9; n++)
		outb(&r.s.f, 0x3f5, (uint8_t)"\x46\x00\x00\x00\x01\x02\x12\x1b\xff"[n]);
	assert_int_equal(medium_eject(m, false, &err), 0);
	assert_int_equal(inb(&r.s.f, 0x3f7), 0x80);
	srig_settle(&r.s);
	for (unsigned n = 0; n < 7; n++)
		inb(&r.s.f, 0x3f5);
	assert_int_equal(COMMAND("\x46\x00\x00\x00\x01\x02\x12\x1b\xff"), 7);
	assert_int_equal(r.result[1], 0x01);
	assert_int_equal(medium_change(m, fake_node(r.image, true), false, &err), 0);
	dma_program(&r, 0x44, DATA, 512);
	for (unsigned n = 0; n < 9; n++)
		outb(&r.s.f, 0x3f5, (uint8_t)"\x46\x00\x00\x00\x01\x02\x12\x1b\xff"[n]);
	memset(r.s.ram->host + DATA, 0xaa, 512);
	outb(&r.s.f, 0x3f2, 0);
	outb(&r.s.f, 0x3f2, 0x1c);
	srig_settle(&r.s);
	assert_int_equal(r.s.ram->host[DATA + 5], 0xaa);
	assert_int_equal(inb(&r.s.f, 0x3f4), 0x80);
	srig_fini(&r.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands), cmocka_unit_test(test_dma),
		cmocka_unit_test(test_non_dma), cmocka_unit_test(test_medium),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

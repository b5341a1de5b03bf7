/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IDE with a disk and a CD: PIO, bus master, resets, saving in the middle. */
#include <errno.h>
#include <stdlib.h>

#include "src/dev/storage/ata_cd.h"
#include "src/dev/storage/ata_disk.h"
#include "src/dev/storage/piix_ide.h"
#include "tests/unit/storage_rig.h"

#define BM 0xc000
#define DATA 0x100000u
#define PRDT 0x8000u
#define DISK_LEN (4u << 20)

struct rig {
	struct srig s;
	struct piix_ide *ide;
	struct ata_disk *disk;
	struct ata_cd *cd;
	struct fake_disk *image, *disc;
};

static void setup(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	srig_init(&r->s);
	r->image = srig_disk(&r->s, DISK_LEN, true);
	r->disc = srig_disk(&r->s, 1u << 20, false);
	r->ide = srig_add(&r->s, "piix-ide", NULL, 0, NULL);
	r->disk = srig_add(&r->s, "ide-disk", r->ide, 0, r->image);
	r->cd = srig_add(&r->s, "ide-cd", r->ide, 1, r->disc);
	for (unsigned n = 0; n < r->s.ndevs; n++)
		r->s.desc[n]->reset(r->s.dev[n]);
	pci_config_write(&r->s.pci, PCI_DEVFN(2, 0), 0x20, BM, 4);
	pci_config_write(&r->s.pci, PCI_DEVFN(2, 0), PCI_COMMAND, 5, 2);
}

static uint8_t in(struct rig *r, unsigned reg) { return inb(&r->s.f, (uint16_t)(0x1f0 + reg)); }
static void out(struct rig *r, unsigned reg, uint8_t v)
{
	outb(&r->s.f, (uint16_t)(0x1f0 + reg), v);
}

static uint8_t alt(struct rig *r) { return inb(&r->s.f, 0x3f6); }

static void idle(struct rig *r)
{
	while (alt(r) & 0x80)
		srig_turn(&r->s, true);
}

static void issue(struct rig *r, uint8_t cmd, uint8_t unit, uint32_t lba, uint8_t count)
{
	out(r, 6, (uint8_t)(0xe0 | unit << 4 | (lba >> 24 & 15)));
	out(r, 2, count);
	out(r, 3, (uint8_t)lba);
	out(r, 4, (uint8_t)(lba >> 8));
	out(r, 5, (uint8_t)(lba >> 16));
	out(r, 7, cmd);
}

/* Reads what is offered, block by block, until no more is; returns its bytes. */
static uint32_t pio_in(struct rig *r, uint8_t *to, unsigned *blocks)
{
	uint32_t n = 0;

	for (*blocks = 0; idle(r), alt(r) & 8; ++*blocks) {
		unsigned words = 256;

		in(r, 7);
		assert_int_equal(r->s.irq[14].level, 0);
		if (r->ide->channel[0].cmd.in_packet)
			words = (in(r, 4) + (in(r, 5) << 8) + 1) / 2;
		else
			words = r->ide->channel[0].cmd.drq_len / 2;
		while (words-- && alt(r) & 8) {
			st_le16(to + n, (uint16_t)bus_pio_read(r->s.f.bus, 0x1f0, 2));
			n += 2;
		}
	}
	return n;
}

static void test_pio(void **state)
{
	static uint8_t got[65536];
	struct rig r;
	unsigned blocks, rises;

	setup(&r);
	assert_int_equal(alt(&r), 0x50);
	assert_int_equal(inb(&r.s.f, 0x177), 0x7f); /* an empty cable */
	issue(&r, 0xec, 0, 0, 0);
	assert_int_equal(r.s.irq[14].level, 1);
	assert_int_equal(pio_in(&r, got, &blocks), 512);
	assert_int_equal(ld_le32(got + 120), DISK_LEN / 512);
	/* READ SECTORS: an interrupt a sector, none after the last. */
	rises = r.s.irq[14].rises;
	issue(&r, 0x20, 0, 100, 5);
	assert_int_equal(pio_in(&r, got, &blocks), 5 * 512);
	assert_int_equal(blocks, 5);
	assert_int_equal(r.s.irq[14].rises - rises, 5);
	assert_memory_equal(got, r.image->data + 100 * 512, 5 * 512);
	assert_int_equal(in(&r, 7), 0x50);
	/* READ MULTIPLE, 4 at a time; beyond one move. */
	issue(&r, 0xc6, 0, 0, 4);
	issue(&r, 0xc4, 0, 7, 127);
	assert_int_equal(pio_in(&r, got, &blocks), 127 * 512);
	assert_int_equal(blocks, 32);
	assert_memory_equal(got, r.image->data + 7 * 512, 127 * 512);
	/* WRITE SECTORS. */
	rises = r.s.irq[14].rises;
	issue(&r, 0x30, 0, 50, 2);
	assert_int_equal(alt(&r), 0x58);
	assert_int_equal(r.s.irq[14].rises, rises);
	for (unsigned n = 0; n < 512; n++)
		bus_pio_write(r.s.f.bus, 0x1f0, 0xa000 + n, 2);
	idle(&r);
	assert_int_equal(in(&r, 7), 0x50);
	assert_int_equal(ld_le16(r.image->data + 50 * 512 + 1022), 0xa000 + 511);
	assert_true(r.s.irq[14].rises > rises);
	/* CHS: cylinder 1, head 2, sector 3. */
	out(&r, 6, 0xa2);
	out(&r, 2, 1);
	out(&r, 3, 3);
	out(&r, 4, 1);
	out(&r, 5, 0);
	out(&r, 7, 0x20);
	pio_in(&r, got, &blocks);
	assert_memory_equal(got, r.image->data + ((16 + 2) * 63 + 2) * 512, 512);
	/* An error in the middle tells which sector. */
	r.image->fail_reads = EIO;
	issue(&r, 0x20, 0, 77, 8);
	idle(&r);
	assert_int_equal(in(&r, 7), 0x51);
	assert_int_equal(in(&r, 1), 0x40);
	assert_int_equal(in(&r, 3), 77);
	srig_fini(&r.s);
}

static void put_prd(struct rig *r, unsigned n, uint32_t at, uint32_t len, bool last)
{
	uint8_t e[8];

	st_le32(e, at);
	st_le32(e + 4, (len & 0xffff) | (last ? 0x80000000u : 0));
	assert_int_equal(mem_write(r->s.mem, PRDT + 8 * n, e, 8), 0);
}

static void bm_start(struct rig *r, bool read)
{
	outl(&r->s.f, BM + 4, PRDT);
	outb(&r->s.f, BM + 2, 6);
	outb(&r->s.f, BM, read ? 9 : 1);
}

static void bm_wait(struct rig *r)
{
	pass(&r->s.f, 1); /* what was restored begins again */
	while (!(inb(&r->s.f, BM + 2) & 4))
		srig_turn(&r->s, true);
	outb(&r->s.f, BM, 0);
}

static void test_dma(void **state)
{
	struct rig r;
	uint8_t *p;

	setup(&r);
	p = r.s.ram->host + DATA;
	put_prd(&r, 0, DATA, 0x10000, false);
	put_prd(&r, 1, DATA + 0x10000, 0x8002, false);
	put_prd(&r, 2, DATA + 0x18002, 0x7ffe, true);
	bm_start(&r, true);
	issue(&r, 0xc8, 0, 10, 0); /* 256 sectors */
	bm_wait(&r);
	assert_int_equal(inb(&r.s.f, BM + 2) & 7, 4);
	assert_memory_equal(p, r.image->data + 10 * 512, 256 * 512);
	for (unsigned n = 0; n < 0x20000; n++)
		p[n] = (uint8_t)(n * 3 + 1);
	issue(&r, 0xca, 0, 300, 0);
	bm_start(&r, false); /* after the command, too */
	bm_wait(&r);
	assert_memory_equal(p, r.image->data + 300 * 512, 256 * 512);
	assert_int_equal(in(&r, 7), 0x50);
	/* Too short a table: the bus master stops, the device waits. */
	put_prd(&r, 0, DATA, 512, true);
	bm_start(&r, true);
	issue(&r, 0xc8, 0, 0, 2);
	srig_settle(&r.s);
	assert_int_equal(inb(&r.s.f, BM + 2) & 7, 0);
	assert_int_equal(alt(&r) & 0x88, 8);
	put_prd(&r, 0, DATA + 512, 512, true); /* the rest */
	outb(&r.s.f, BM, 0);
	bm_start(&r, true);
	bm_wait(&r);
	assert_memory_equal(p, r.image->data, 1024);
	/* A table at no memory, the wrong direction. */
	bm_start(&r, true);
	outb(&r.s.f, BM, 0);
	outl(&r.s.f, BM + 4, RIG_RAM);
	outb(&r.s.f, BM, 9);
	issue(&r, 0xc8, 0, 0, 1);
	srig_settle(&r.s);
	assert_int_equal(inb(&r.s.f, BM + 2) & 3, 2);
	outb(&r.s.f, 0x3f6, 4);
	assert_int_equal(alt(&r), 0x80);
	outb(&r.s.f, 0x3f6, 0);
	assert_int_equal(alt(&r), 0x50);
	srig_fini(&r.s);
}

static void packet(struct rig *r, const char *cdb, size_t n, bool dma, uint16_t limit)
{
	uint8_t bytes[12] = { 0 };

	memcpy(bytes, cdb, n);
	out(r, 6, 0xb0);
	out(r, 1, dma);
	out(r, 4, (uint8_t)limit);
	out(r, 5, (uint8_t)(limit >> 8));
	out(r, 7, 0xa0);
	assert_int_equal(alt(r), 0x48);
	assert_int_equal(in(r, 2), 1);
	for (unsigned i = 0; i < 12; i += 2)
		bus_pio_write(r->s.f.bus, 0x1f0, ld_le16(bytes + i), 2);
}
#define PACKET(bytes, dma, limit) packet(&r, bytes, sizeof(bytes) - 1, dma, limit)

static void test_packet(void **state)
{
	static uint8_t got[65536];
	struct rig r;
	unsigned blocks;

	setup(&r);
	out(&r, 6, 0xb0);
	assert_int_equal(in(&r, 4), 0x14);
	assert_int_equal(in(&r, 5), 0xeb);
	out(&r, 7, 0xec); /* a disk's command: aborted, with the signature */
	assert_int_equal(in(&r, 7), 0x51);
	assert_int_equal(in(&r, 4), 0x14);
	PACKET("\x03\0\0\0\x12", false, 0xfffe); /* the sense of the reset */
	assert_int_equal(pio_in(&r, got, &blocks), 18);
	assert_int_equal(got[2], 6);
	assert_int_equal(in(&r, 2), 3);
	PACKET("\x28\0\0\0\0\x07\0\0\x03", false, 1000); /* blocks of 1000 bytes */
	assert_int_equal(pio_in(&r, got, &blocks), 3 * 2048);
	assert_int_equal(blocks, 7);
	assert_memory_equal(got, r.disc->data + 7 * 2048, 3 * 2048);
	put_prd(&r, 0, DATA, 64 * 2048 & 0xffff, true);
	put_prd(&r, 0, DATA, 0x8000, true);
	bm_start(&r, true);
	PACKET("\x28\0\0\0\0\x20\0\0\x10", true, 0);
	bm_wait(&r);
	assert_memory_equal(r.s.ram->host + DATA, r.disc->data + 32 * 2048, 0x8000);
	PACKET("\xff", false, 512);
	assert_int_equal(in(&r, 7), 0x41);
	assert_int_equal(in(&r, 1), 0x54);
	srig_fini(&r.s);
}

/* Every few steps of commands the controller is saved, scrambled and restored. */
static void save_all(struct rig *r)
{
	check_roundtrip(piix_ide_desc.state, r->ide);
	check_roundtrip(ide_disk_desc.state, r->disk);
	check_roundtrip(ide_cd_desc.state, r->cd);
}

static void test_state(void **state)
{
	struct rig r;
	uint8_t got[2048];

	setup(&r);
	save_all(&r);
	issue(&r, 0x20, 0, 9, 2);
	save_all(&r); /* while the host reads */
	for (unsigned n = 0; n < 512; n++) {
		idle(&r);
		if (n % 100 == 50)
			save_all(&r);
		st_le16(got + 2 * n, (uint16_t)bus_pio_read(r.s.f.bus, 0x1f0, 2));
	}
	assert_memory_equal(got, r.image->data + 9 * 512, 1024);
	issue(&r, 0x30, 0, 20, 1);
	for (unsigned n = 0; n < 256; n++) {
		if (n == 100)
			save_all(&r);
		bus_pio_write(r.s.f.bus, 0x1f0, 0x1234 + n, 2);
	}
	save_all(&r); /* while it is written */
	idle(&r);
	assert_int_equal(ld_le16(r.image->data + 20 * 512 + 510), 0x1234 + 255);
	PACKET("\x03\0\0\0\x12", false, 0xfffe);
	save_all(&r); /* a reply that the device will not give twice */
	for (unsigned n = 0; n < 9; n++)
		st_le16(got + 2 * n, (uint16_t)bus_pio_read(r.s.f.bus, 0x1f0, 2));
	assert_int_equal(got[2], 6);
	assert_int_equal(in(&r, 7), 0x50);
	put_prd(&r, 0, DATA, 4096, true);
	bm_start(&r, true);
	issue(&r, 0xc8, 0, 33, 8);
	save_all(&r);
	bm_wait(&r);
	assert_memory_equal(r.s.ram->host + DATA, r.image->data + 33 * 512, 4096);
	issue(&r, 0x20, 0, 9, 2);
	check_hostile(piix_ide_desc.state, r.ide, NULL, 200);
	srig_settle(&r.s);
	srig_fini(&r.s);
}

static void test_reset_in_flight(void **state)
{
	struct rig r;
	uint8_t *p;

	setup(&r);
	p = r.s.ram->host + DATA;
	put_prd(&r, 0, DATA, 4096, true);
	memset(p, 0xaa, 4096);
	bm_start(&r, true);
	issue(&r, 0xc8, 0, 33, 8);
	outb(&r.s.f, 0x3f6, 4);
	outb(&r.s.f, 0x3f6, 0);
	assert_int_equal(alt(&r), 0x50);
	outb(&r.s.f, BM, 0);
	issue(&r, 0x20, 0, 1, 1);
	idle(&r);
	assert_int_equal(alt(&r), 0x58);
	assert_int_equal(bus_pio_read(r.s.f.bus, 0x1f0, 2), ld_le16(r.image->data + 512));
	srig_settle(&r.s);
	for (unsigned n = 0; n < 4096; n++)
		assert_int_equal(p[n], 0xaa);
	srig_fini(&r.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pio), cmocka_unit_test(test_dma),
		cmocka_unit_test(test_packet), cmocka_unit_test(test_state),
		cmocka_unit_test(test_reset_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AHCI with a disk and a CD: what a driver writes, what memory and registers hold then. */
#include <errno.h>
#include <stdlib.h>

#include "src/dev/storage/ahci.h"
#include "src/dev/storage/ata_cd.h"
#include "src/dev/storage/ata_disk.h"
#include "tests/unit/storage_rig.h"

#define ABAR 0xc0000000u
#define PORT(n) (ABAR + 0x100 + 0x80 * (n))
#define P_CLB 0x00
#define P_FB 0x08
#define P_IS 0x10
#define P_IE 0x14
#define P_CMD 0x18
#define P_TFD 0x20
#define P_SIG 0x24
#define P_SSTS 0x28
#define P_SCTL 0x2c
#define P_SERR 0x30
#define P_SACT 0x34
#define P_CI 0x38
#define LIST(n) (0x10000u + 0x1000 * (n))
#define FISES(n) (0x20000u + 0x1000 * (n))
#define TABLE(n, slot) (0x30000u + 0x8000 * (n) + 0x400 * (slot))
#define DATA 0x100000u
#define DISK_LEN (4u << 20)

struct rig {
	struct srig s;
	struct ahci *hba;
	struct ata_disk *disk;
	struct ata_cd *cd;
	struct fake_disk *image, *disc;
};

static uint32_t reg(struct rig *r, unsigned port, unsigned off)
{
	return rd32(&r->s.f, PORT(port) + off);
}

static void set_reg(struct rig *r, unsigned port, unsigned off, uint32_t v)
{
	wr32(&r->s.f, PORT(port) + off, v);
}

static void start_port(struct rig *r, unsigned n)
{
	set_reg(r, n, P_CLB, LIST(n));
	set_reg(r, n, P_CLB + 4, 0);
	set_reg(r, n, P_FB, FISES(n));
	set_reg(r, n, P_FB + 4, 0);
	set_reg(r, n, P_SERR, 0xffffffff);
	set_reg(r, n, P_IE, 0xffffffff);
	set_reg(r, n, P_CMD, 0x10);
	set_reg(r, n, P_CMD, 0x11);
}

static void setup(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	srig_init(&r->s);
	r->image = srig_disk(&r->s, DISK_LEN, true);
	r->disc = srig_disk(&r->s, 1u << 20, false);
	r->hba = srig_add(&r->s, "ahci", NULL, 0, NULL);
	r->disk = srig_add(&r->s, "sata-disk", r->hba, 0, r->image);
	r->cd = srig_add(&r->s, "sata-cd", r->hba, 1, r->disc);
	for (unsigned n = 0; n < r->s.ndevs; n++)
		r->s.desc[n]->reset(r->s.dev[n]);
	pci_config_write(&r->s.pci, PCI_DEVFN(2, 0), 0x24, ABAR, 4);
	pci_config_write(&r->s.pci, PCI_DEVFN(2, 0), PCI_COMMAND, 7, 2);
	wr32(&r->s.f, ABAR + 4, 0x80000002);
	start_port(r, 0);
	start_port(r, 1);
}

/* A header, a FIS and PRDs of at most @piece bytes for @len bytes at @data. */
static void put_command(struct rig *r, unsigned port, unsigned slot, const uint8_t fis[20],
			const uint8_t *packet, bool write, gpa_t data, uint32_t len,
			uint32_t piece)
{
	uint8_t header[32] = { 0 }, table[0x80] = { 0 }, prd[16];
	unsigned n = 0;

	memcpy(table, fis, 20);
	if (packet)
		memcpy(table + 0x40, packet, 12);
	for (uint32_t off = 0; off < len; off += piece, n++) {
		memset(prd, 0, sizeof(prd));
		st_le64(prd, data + off);
		st_le32(prd + 12, min_of(piece, len - off) - 1);
		assert_int_equal(mem_write(r->s.mem, TABLE(port, slot) + 0x80 + 16 * n, prd, 16), 0);
	}
	st_le32(header, 5u | (packet ? 0x20 : 0) | (write ? 0x40 : 0) | n << 16);
	st_le64(header + 8, TABLE(port, slot));
	assert_int_equal(mem_write(r->s.mem, TABLE(port, slot), table, sizeof(table)), 0);
	assert_int_equal(mem_write(r->s.mem, LIST(port) + 32 * slot, header, sizeof(header)), 0);
}

static void make_fis(uint8_t fis[20], uint8_t cmd, uint64_t lba, uint16_t count, uint16_t feature)
{
	const uint8_t f[20] = {
		0x27, 0x80, cmd, (uint8_t)feature, (uint8_t)lba, (uint8_t)(lba >> 8),
		(uint8_t)(lba >> 16), 0x40, (uint8_t)(lba >> 24), (uint8_t)(lba >> 32),
		(uint8_t)(lba >> 40), (uint8_t)(feature >> 8), (uint8_t)count,
		(uint8_t)(count >> 8),
	};

	memcpy(fis, f, 20);
}

static void wait_ci(struct rig *r, unsigned port, uint32_t mask)
{
	while (reg(r, port, P_CI) & mask && !(reg(r, port, P_IS) & 0x78000000))
		srig_turn(&r->s, true);
}

static void command(struct rig *r, unsigned port, const uint8_t *fis, const uint8_t *packet,
		    bool write, gpa_t data, uint32_t len)
{
	put_command(r, port, 0, fis, packet, write, data, len, 0x1000);
	set_reg(r, port, P_IS, 0xffffffff);
	set_reg(r, port, P_CI, 1);
	wait_ci(r, port, 1);
}

static void *guest(struct rig *r, gpa_t at)
{
	return r->s.ram->host + at;
}

static void test_identify(void **state)
{
	struct rig r;
	uint8_t fis[20], *w;
	uint8_t sum = 0;

	setup(&r);
	assert_int_equal(reg(&r, 0, P_SIG), 0x00000101);
	assert_int_equal(reg(&r, 1, P_SIG), 0xeb140101);
	assert_int_equal(reg(&r, 0, P_SSTS), 0x133);
	assert_int_equal(reg(&r, 2, P_SSTS), 0);
	assert_int_equal(reg(&r, 0, P_TFD) & 0xff, 0x50);
	make_fis(fis, 0xec, 0, 0, 0);
	command(&r, 0, fis, NULL, false, DATA, 512);
	w = guest(&r, DATA);
	assert_int_equal(reg(&r, 0, P_CI), 0);
	assert_true(reg(&r, 0, P_IS) & 2); /* PIO setup */
	assert_int_equal(((uint8_t *)guest(&r, FISES(0)))[0x20], 0x5f);
	assert_int_equal(((uint8_t *)guest(&r, FISES(0)))[0x20 + 15], 0x50);
	assert_int_equal(ld_le64(w + 200), DISK_LEN / 512);
	assert_int_equal(ld_le32(w + 120), DISK_LEN / 512);
	assert_int_equal(ld_le16(w + 150), 31);
	for (unsigned n = 0; n < 512; n++)
		sum = (uint8_t)(sum + w[n]);
	assert_int_equal(sum, 0);
	assert_memory_equal(w + 54, "OBHT YAHDRIDKS", 14);
	assert_int_equal(ld_le32((uint8_t *)guest(&r, LIST(0)) + 4), 512); /* PRDBC */
	/* A disk's IDENTIFY is not for a CD. */
	command(&r, 1, fis, NULL, false, DATA, 512);
	assert_int_equal(reg(&r, 1, P_TFD), 0x0451);
	assert_true(reg(&r, 1, P_IS) & 0x40000000);
	assert_int_equal(reg(&r, 1, P_CI), 1); /* which failed: the slot stays */
	srig_fini(&r.s);
}

static void test_read_write(void **state)
{
	struct rig r;
	uint8_t fis[20], *p;
	unsigned msis;

	setup(&r);
	p = guest(&r, DATA);
	for (unsigned n = 0; n < 2u << 20; n++)
		p[n] = (uint8_t)(n * 7 + (n >> 9));
	/* 2 MiB: several moves. */
	make_fis(fis, 0x35, 1000, 4096, 0);
	command(&r, 0, fis, NULL, true, DATA, 2u << 20);
	assert_int_equal(reg(&r, 0, P_TFD), 0x50);
	assert_memory_equal(r.image->data + 1000 * 512, p, 2u << 20);
	memset(p, 0, 2u << 20);
	make_fis(fis, 0x25, 3, 1, 0);
	put_command(&r, 0, 4, fis, NULL, false, DATA + 6, 512, 10); /* odd pieces */
	set_reg(&r, 0, P_CI, 1 << 4);
	wait_ci(&r, 0, 1 << 4);
	assert_memory_equal(p + 6, r.image->data + 3 * 512, 512);
	/* MSI, when there is one. */
	pci_config_write(&r.s.pci, PCI_DEVFN(2, 0), 0x44, 0xfee00000, 4);
	pci_config_write(&r.s.pci, PCI_DEVFN(2, 0), 0x4c, 0x41, 2);
	pci_config_write(&r.s.pci, PCI_DEVFN(2, 0), 0x42, 1, 2);
	set_reg(&r, 0, P_IS, 0xffffffff);
	wr32(&r.s.f, ABAR + 8, 0xffffffff);
	msis = r.s.f.msis;
	command(&r, 0, fis, NULL, false, DATA, 512);
	assert_int_equal(r.s.f.msis, msis + 1);
	/* FLUSH. */
	make_fis(fis, 0xea, 0, 0, 0);
	command(&r, 0, fis, NULL, false, 0, 0);
	assert_int_equal(r.image->flushes, 1);
	/* TRIM: sectors 8..15, and an empty range. */
	memset(p, 0, 512);
	st_le64(p, 8 | 8ull << 48);
	make_fis(fis, 0x06, 0, 1, 1);
	command(&r, 0, fis, NULL, true, DATA, 512);
	assert_int_equal(r.image->discards, 1);
	assert_int_equal(r.image->data[8 * 512], 0);
	srig_fini(&r.s);
}

static void test_queued(void **state)
{
	struct rig r;
	uint8_t fis[20];

	setup(&r);
	for (unsigned n = 0; n < 32; n++) {
		make_fis(fis, 0x60, n * 16, (uint16_t)(n << 3), 8);
		put_command(&r, 0, n, fis, NULL, false, DATA + n * 4096, 4096, 4096);
	}
	set_reg(&r, 0, P_SACT, 0xffffffff);
	set_reg(&r, 0, P_CI, 0xffffffff);
	assert_int_equal(reg(&r, 0, P_CI), 0); /* all are taken in at once */
	while (reg(&r, 0, P_SACT))
		srig_turn(&r.s, true);
	for (unsigned n = 0; n < 32; n++)
		assert_memory_equal(guest(&r, DATA + n * 4096), r.image->data + n * 16 * 512, 4096);
	assert_true(reg(&r, 0, P_IS) & 8);
	assert_false(reg(&r, 0, P_IS) & 0x40000000);
	/* One fails: its bit stays, the log tells of it. */
	r.image->fail_reads = EIO;
	set_reg(&r, 0, P_IS, 0xffffffff);
	set_reg(&r, 0, P_SACT, 1 << 5);
	set_reg(&r, 0, P_CI, 1 << 5);
	while (!(reg(&r, 0, P_IS) & 0x40000000))
		srig_turn(&r.s, true);
	assert_int_equal(reg(&r, 0, P_SACT), 1 << 5);
	r.image->fail_reads = 0;
	set_reg(&r, 0, P_CMD, 0x10);
	assert_int_equal(reg(&r, 0, P_SACT), 0);
	set_reg(&r, 0, P_CMD, 0x11);
	make_fis(fis, 0x2f, 0x10, 1, 0);
	command(&r, 0, fis, NULL, false, DATA, 512);
	assert_int_equal(((uint8_t *)guest(&r, DATA))[0], 5);
	assert_int_equal(((uint8_t *)guest(&r, DATA))[3], 0x40);
	assert_int_equal(((uint8_t *)guest(&r, DATA))[4], 5 * 16);
	/* A tag that is not the slot's. */
	make_fis(fis, 0x60, 0, 3 << 3, 8);
	put_command(&r, 0, 4, fis, NULL, false, DATA, 4096, 4096);
	set_reg(&r, 0, P_SACT, 1 << 4);
	set_reg(&r, 0, P_CI, 1 << 4);
	assert_true(reg(&r, 0, P_IS) & 0x08000000);
	srig_fini(&r.s);
}

static void test_errors(void **state)
{
	struct rig r;
	uint8_t fis[20], *p;

	setup(&r);
	p = guest(&r, DATA);
	make_fis(fis, 0x25, DISK_LEN / 512 - 1, 2, 0); /* past the end */
	command(&r, 0, fis, NULL, false, DATA, 1024);
	assert_int_equal(reg(&r, 0, P_TFD), 0x1051);
	make_fis(fis, 0x25, 0, 1, 0);
	set_reg(&r, 0, P_CI, 2); /* nothing goes until ST is taken away */
	assert_int_equal(reg(&r, 0, P_CI), 3);
	set_reg(&r, 0, P_CMD, 0x10);
	set_reg(&r, 0, P_CMD, 0x11);
	assert_int_equal(reg(&r, 0, P_CI), 0);
	/* Data at no memory. */
	command(&r, 0, fis, NULL, false, RIG_RAM, 512);
	assert_true(reg(&r, 0, P_IS) & 0x10000000);
	set_reg(&r, 0, P_CMD, 0x10);
	set_reg(&r, 0, P_CMD, 0x11);
	/* A table too short: what does not fit is dropped, and told. */
	memset(p, 0xee, 1024);
	make_fis(fis, 0x25, 7, 2, 0);
	command(&r, 0, fis, NULL, false, DATA, 600);
	assert_true(reg(&r, 0, P_IS) & 0x01000000);
	assert_memory_equal(p, r.image->data + 7 * 512, 600);
	assert_int_equal(p[600], 0xee);
	/* A list at no memory. */
	set_reg(&r, 0, P_CMD, 0x10);
	set_reg(&r, 0, P_CLB + 4, 0x7fff);
	set_reg(&r, 0, P_CMD, 0x11);
	set_reg(&r, 0, P_IS, 0xffffffff);
	set_reg(&r, 0, P_CI, 1);
	assert_true(reg(&r, 0, P_IS) & 0x20000000);
	srig_fini(&r.s);
}

/* Resets while host I/O runs: nothing more reaches the guest, and what comes later waits. */
static void test_reset_in_flight(void **state)
{
	struct rig r;
	uint8_t fis[20], *p;

	setup(&r);
	p = guest(&r, DATA);
	for (unsigned how = 0; how < 4; how++) {
		make_fis(fis, 0x25, 0, 8, 0);
		put_command(&r, 0, 0, fis, NULL, false, DATA, 4096, 4096);
		memset(p, 0xaa, 4096);
		set_reg(&r, 0, P_CI, 1);
		assert_int_equal(reg(&r, 0, P_CI), 1);
		if (how == 0) {
			set_reg(&r, 0, P_CMD, 0x10);
		} else if (how == 1) {
			set_reg(&r, 0, P_SCTL, 1);
			set_reg(&r, 0, P_SCTL, 0);
		} else if (how == 2) {
			wr32(&r.s.f, ABAR + 4, 0x80000001);
		} else {
			check_roundtrip(ahci_desc.state, r.hba); /* begins again by itself */
			pass(&r.s.f, 1);
			wait_ci(&r, 0, 1);
			assert_memory_equal(p, r.image->data, 4096);
			continue;
		}
		assert_int_equal(reg(&r, 0, P_CI), 0);
		start_port(&r, 0);
		wr32(&r.s.f, ABAR + 4, 0x80000002);
		make_fis(fis, 0x25, 8, 1, 0);
		put_command(&r, 0, 1, fis, NULL, false, DATA + 8192, 512, 512);
		set_reg(&r, 0, P_CI, 2);
		wait_ci(&r, 0, 2);
		assert_memory_equal(p + 8192, r.image->data + 8 * 512, 512);
		for (unsigned n = 0; n < 4096; n++)
			assert_int_equal(p[n], 0xaa);
	}
	srig_fini(&r.s);
}

static uint8_t packet(struct rig *r, const char *bytes, size_t n, uint32_t len)
{
	uint8_t fis[20], cdb[12] = { 0 };

	memcpy(cdb, bytes, n);
	make_fis(fis, 0xa0, 0xffff << 8, 0, 1);
	set_reg(r, 1, P_CMD, 0x10);
	set_reg(r, 1, P_CMD, 0x11);
	command(r, 1, fis, cdb, false, DATA, len);
	return (uint8_t)reg(r, 1, P_TFD);
}
#define PACKET(bytes, len) packet(&r, bytes, sizeof(bytes) - 1, len)

static uint32_t sense(struct rig *r)
{
	const uint8_t *p = guest(r, DATA);

	assert_int_equal(packet(r, "\x03\0\0\0\x12", 5, 18), 0x50);
	return (uint32_t)p[2] << 16 | (uint32_t)p[12] << 8 | p[13];
}

static void check_parity(const uint8_t *raw)
{
	/* Each P vector of 26 bytes: its sum, and its sum weighted by powers of alpha, are 0. */
	for (unsigned v = 0; v < 86; v++) {
		uint8_t plain = 0, weighted = 0;

		for (unsigned n = 0; n < 26; n++) {
			uint8_t b = raw[12 + v + 86 * n];

			plain ^= b;
			weighted = (uint8_t)(weighted << 1 ^ (weighted & 0x80 ? 0x1d : 0)) ^ b;
		}
		assert_int_equal(plain, 0);
		assert_int_equal(weighted, 0);
	}
}

static void test_cd(void **state)
{
	struct rig r;
	const uint8_t *p;
	struct medium *m;
	struct err err = { "" };

	setup(&r);
	p = guest(&r, DATA);
	m = sata_cd_desc.medium(r.cd);
	assert_int_equal(PACKET("\0", 0), 0x41); /* the reset is told first */
	assert_int_equal(sense(&r), 0x062900);
	assert_int_equal(PACKET("\0", 0), 0x50);
	assert_int_equal(PACKET("\x25", 8), 0x50);
	assert_int_equal(ld_be32(p), 511);
	assert_int_equal(ld_be32(p + 4), 2048);
	assert_int_equal(PACKET("\x28\0\0\0\0\x05\0\0\x03", 3 * 2048), 0x50);
	assert_memory_equal(p, r.disc->data + 5 * 2048, 3 * 2048);
	assert_int_equal(PACKET("\x28\0\0\0\x02\0\0\0\x01", 2048), 0x41);
	assert_int_equal(sense(&r), 0x052100);
	assert_int_equal(PACKET("\x43\0\0\0\0\0\0\0\x40", 64), 0x50); /* READ TOC */
	assert_int_equal(ld_be16(p), 18);
	assert_int_equal(p[14], 0xaa);
	assert_int_equal(ld_be32(p + 16), 512);
	assert_int_equal(PACKET("\xbe\0\0\0\0\x10\0\0\x02\xf8", 2 * 2352), 0x50); /* raw */
	assert_memory_equal(p + 16, r.disc->data + 16 * 2048, 2048);
	assert_memory_equal(p + 2352 + 16, r.disc->data + 17 * 2048, 2048);
	assert_int_equal(p[14], 0x16); /* frame, BCD */
	check_parity(p);
	check_parity(p + 2352);
	assert_int_equal(PACKET("\xbe\0\0\0\0\x10\0\0\x02\x20", 8), 0x50); /* headers alone */
	assert_int_equal(p[7], 1);
	/* A locked tray: a person's eject is refused, and told to the guest. */
	assert_int_equal(PACKET("\x1e\0\0\0\x01", 0), 0x50);
	assert_int_equal(medium_eject(m, false, &err), -EBUSY);
	assert_int_equal(PACKET("\x4a\x01\0\0\x10\0\0\0\x08", 8), 0x50);
	assert_int_equal(p[4], 1);
	assert_int_equal(PACKET("\x1b\0\0\0\x02", 0), 0x41);
	assert_int_equal(sense(&r), 0x055302);
	assert_int_equal(PACKET("\x1e\0\0\0\0", 0), 0x50);
	assert_int_equal(medium_eject(m, false, &err), 0);
	assert_int_equal(PACKET("\0", 0), 0x41);
	assert_int_equal(sense(&r), 0x023a02);
	assert_int_equal(PACKET("\x4a\x01\0\0\x10\0\0\0\x08", 8), 0x50);
	assert_int_equal(p[4], 3);
	assert_int_equal(p[5], 1);
	/* Another disc. */
	assert_int_equal(medium_change(m, fake_node(r.disc, false), false, &err), 0);
	assert_int_equal(PACKET("\0", 0), 0x41);
	assert_int_equal(sense(&r), 0x062800);
	assert_int_equal(PACKET("\0", 0), 0x50);
	check_roundtrip(sata_cd_desc.state, r.cd);
	check_hostile(sata_cd_desc.state, r.cd, NULL, 100);
	check_roundtrip(sata_disk_desc.state, r.disk);
	check_hostile(sata_disk_desc.state, r.disk, NULL, 100);
	check_roundtrip(ahci_desc.state, r.hba);
	check_hostile(ahci_desc.state, r.hba, NULL, 100);
	srig_settle(&r.s);
	srig_fini(&r.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identify), cmocka_unit_test(test_read_write),
		cmocka_unit_test(test_queued), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_reset_in_flight), cmocka_unit_test(test_cd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

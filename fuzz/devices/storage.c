/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disk controllers against hostile drivers: random register accesses of all sizes, command
 * lists, PRD tables and packets of half-sensible bytes that change while they are read,
 * resets and media changes in between, states restored with flipped bits. Nothing may
 * crash, hang or leave its buffers.
 */
#include "fuzz/devices/fuzz.h"

#include <errno.h>
#include <stdlib.h>

#include "src/dev/legacy/fdc.h"
#include "src/dev/storage/ahci.h"
#include "src/dev/storage/piix_ide.h"
#include "tests/unit/storage_rig.h"

#define BAR_MMIO 0xc0000000u
#define BAR_PORTS 0xc000u

static const uint8_t ata_commands[] = {
	0x06, 0x08, 0x20, 0x24, 0x25, 0x29, 0x2f, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x42, 0x47, 0x60, 0x61,
	0x90, 0x91, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xce, 0xe0, 0xe5, 0xe6, 0xe7, 0xea,
	0xec, 0xef,
};
static const uint8_t packets[] = {
	0x00, 0x03, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x2b, 0x2f, 0x42, 0x43, 0x46, 0x4a,
	0x51, 0x52, 0x55, 0x5a, 0xa0, 0xa8, 0xac, 0xad, 0xb9, 0xbb, 0xbd, 0xbe,
};
static const uint8_t floppy_commands[] = {
	0x06, 0x46, 0xe6, 0x05, 0xc5, 0x0c, 0x09, 0x02, 0x16, 0x4d, 0x4a, 0x07, 0x08, 0x03, 0x04, 0x0f,
	0x8f, 0xcf, 0x10, 0x13, 0x12, 0x94, 0x14, 0x0e, 0x18, 0x8e, 0x33,
};

#define PICK(a) ((a)[fuzz_next(seed) % array_size(a)])

static uint32_t small(uint64_t *seed)
{
	static const uint32_t some[] = { 0, 1, 2, 7, 8, 63, 255, 511, 8191, 0xffff, 0x3fffff };

	return fuzz_next(seed) % 4 ? (uint32_t)(fuzz_next(seed) % 40) : PICK(some);
}

static gpa_t place(uint64_t *seed)
{
	switch (fuzz_next(seed) % 8) {
	case 0: return fuzz_next(seed);
	case 1: return RIG_RAM - fuzz_next(seed) % 64;
	default: return fuzz_next(seed) % RIG_RAM;
	}
}

static void put_packet(uint8_t p[12], uint64_t *seed)
{
	memset(p, 0, 12);
	p[0] = PICK(packets);
	for (unsigned n = 0; n < 4; n++)
		p[1 + fuzz_next(seed) % 11] = (uint8_t)small(seed);
	if (fuzz_next(seed) % 8) { /* where there is something */
		p[2] = p[3] = p[4] = p[7] = 0;
		p[8] = fuzz_next(seed) % 2 ? 0xff : 4;
	}
}

/* One FIS, header and table somewhere in the first megabyte. */
static void put_ahci_command(struct srig *r, unsigned port, unsigned slot, uint64_t *seed)
{
	uint8_t *list = r->ram->host + 0x10000 + 0x400 * port, *h = list + 32 * slot;
	uint32_t at = 0x40000 + 0x1000 * slot + (uint32_t)(fuzz_next(seed) % 32) * 128;
	uint8_t *t = r->ram->host + at;
	uint32_t prds = fuzz_next(seed) % 16 ? fuzz_next(seed) % 20 : 65535;

	st_le32(h, (fuzz_next(seed) % 16 ? 5 : small(seed)) | 0x20 |
		   (uint32_t)(fuzz_next(seed) & 0x740) | prds << 16);
	st_le64(h + 8, fuzz_next(seed) % 16 ? at : place(seed));
	memset(t, 0, 0x50);
	t[0] = fuzz_next(seed) % 32 ? 0x27 : (uint8_t)fuzz_next(seed);
	t[1] = fuzz_next(seed) % 16 ? 0x80 : 0;
	t[2] = port == 1 && fuzz_next(seed) % 2 ? 0xa0 : PICK(ata_commands);
	t[3] = (uint8_t)small(seed);
	st_le32(t + 4, small(seed));
	t[7] = (uint8_t)(fuzz_next(seed) & 0xe0);
	t[12] = t[2] >> 1 == 0x30 ? (uint8_t)(slot << 3) : (uint8_t)small(seed);
	t[13] = fuzz_next(seed) % 8 ? 0 : (uint8_t)fuzz_next(seed);
	t[15] = (uint8_t)(fuzz_next(seed) & 4);
	put_packet(t + 0x40, seed);
	for (unsigned n = 0; n < min_of(prds, 20u); n++) {
		st_le64(t + 0x80 + 16 * n, place(seed));
		st_le32(t + 0x8c + 16 * n, fuzz_next(seed) % 3 ? 511 : small(seed));
	}
}

static void ahci_step(struct srig *r, uint64_t *seed)
{
	unsigned port = fuzz_next(seed) % 3;
	uint64_t base = BAR_MMIO + 0x100 + 0x80 * port;

	switch (fuzz_next(seed) % 10) {
	case 0:
		wr32(&r->f, base, fuzz_next(seed) % 8 ? 0x10000 + 0x400 * port
							: (uint32_t)place(seed));
		wr32(&r->f, base + 4, fuzz_next(seed) % 16 ? 0 : small(seed));
		wr32(&r->f, base + 8, 0x20000 + 0x1000 * port);
		wr32(&r->f, base + 0x14, 0xffffffff);
		break;
	case 1:
		wr32(&r->f, base + 0x18, fuzz_next(seed) % 4 ? 0x11 : (uint32_t)fuzz_next(seed));
		break;
	case 2:
		wr32(&r->f, base + 4 * (fuzz_next(seed) % 20), (uint32_t)fuzz_next(seed));
		break;
	case 3:
		bus_mmio_read(r->f.bus, BAR_MMIO + fuzz_next(seed) % 0x1000 / 8 * 8, 8);
		bus_mmio_write(r->f.bus, BAR_MMIO + fuzz_next(seed) % 0x400, fuzz_next(seed),
			       1u << fuzz_next(seed) % 3);
		break;
	case 4: case 5: /* as a driver recovers */
		wr32(&r->f, base + 0x18, 0x10);
		wr32(&r->f, base, 0x10000 + 0x400 * port);
		wr32(&r->f, base + 4, 0);
		wr32(&r->f, base + 8, 0x20000 + 0x1000 * port);
		wr32(&r->f, base + 12, 0);
		if (fuzz_next(seed) % 8 == 0) {
			wr32(&r->f, base + 0x2c, 1);
			wr32(&r->f, base + 0x2c, 0);
		}
		wr32(&r->f, base + 0x18, 0x19);
		wr32(&r->f, base + 0x18, 0x11);
		break;
	default:
		for (unsigned n = 0; n < 4; n++) {
			unsigned slot = fuzz_next(seed) % 32;

			put_ahci_command(r, port, slot, seed);
			wr32(&r->f, base + 0x34, 1u << slot);
			wr32(&r->f, base + 0x38, 1u << slot);
		}
		/* Changed under its hands. */
		r->ram->host[0x10000 + fuzz_next(seed) % 0x60000] ^= (uint8_t)fuzz_next(seed);
		break;
	}
}

static void ide_step(struct srig *r, uint64_t *seed)
{
	uint16_t base = fuzz_next(seed) % 8 ? 0x1f0 : 0x170;

	switch (fuzz_next(seed) % 8) {
	case 0:
		for (unsigned n = 0; n < 8; n++) {
			st_le32(r->ram->host + 0x8000 + 8 * n, (uint32_t)place(seed));
			st_le32(r->ram->host + 0x8004 + 8 * n,
				small(seed) | (fuzz_next(seed) % 8 ? 0 : 0x80000000u));
		}
		outl(&r->f, BAR_PORTS + 4, fuzz_next(seed) % 8 ? 0x8000 : (uint32_t)place(seed));
		outb(&r->f, BAR_PORTS, 0);
		outb(&r->f, BAR_PORTS, fuzz_next(seed) % 2 ? 9 : 1);
		break;
	case 1:
		bus_pio_write(r->f.bus, (uint16_t)(BAR_PORTS + fuzz_next(seed) % 16),
			      (uint32_t)fuzz_next(seed), 1);
		break;
	case 2:
		outb(&r->f, (uint16_t)(base + 0x206), fuzz_next(seed) % 4 ? 0 : (uint8_t)fuzz_next(seed));
		bus_pio_read(r->f.bus, (uint16_t)(base + fuzz_next(seed) % 8),
			     1u << fuzz_next(seed) % 3);
		break;
	case 3: case 4:
		for (unsigned n = fuzz_next(seed) % 1500; n; n--)
			if (fuzz_next(seed) & 1)
				bus_pio_read(r->f.bus, base, fuzz_next(seed) & 1 ? 2 : 4);
			else
				bus_pio_write(r->f.bus, base, 1u << 20, fuzz_next(seed) & 1 ? 2 : 4);
		break;
	case 5: {
		uint8_t p[12];

		put_packet(p, seed);
		outb(&r->f, (uint16_t)(base + 6), 0xb0);
		outb(&r->f, (uint16_t)(base + 1), (uint8_t)(fuzz_next(seed) & 1));
		outb(&r->f, (uint16_t)(base + 4), (uint8_t)small(seed));
		outb(&r->f, (uint16_t)(base + 5), (uint8_t)small(seed));
		outb(&r->f, (uint16_t)(base + 7), 0xa0);
		for (unsigned n = 0; n < 12; n += 2)
			bus_pio_write(r->f.bus, base, ld_le16(p + n), 2);
		break;
	}
	default:
		if (fuzz_next(seed) % 4 == 0)
			outb(&r->f, (uint16_t)(base + 0x206), 0);
		for (uint16_t n = 1; n < 6; n++)
			outb(&r->f, (uint16_t)(base + n), (uint8_t)small(seed));
		if (fuzz_next(seed) % 8)
			outb(&r->f, (uint16_t)(base + 5), 0);
		if (fuzz_next(seed) % 8)
			outb(&r->f, (uint16_t)(base + 4), 3);
		outb(&r->f, (uint16_t)(base + 6), fuzz_next(seed) % 4 ? 0xe0
						       : (uint8_t)fuzz_next(seed));
		outb(&r->f, (uint16_t)(base + 7), fuzz_next(seed) % 16 ? PICK(ata_commands)
						       : (uint8_t)fuzz_next(seed));
		break;
	}
}

static void fdc_step(struct srig *r, uint64_t *seed)
{
	switch (fuzz_next(seed) % 8) {
	case 0:
		bus_pio_write(r->f.bus, (uint16_t)(0x3f0 + fuzz_next(seed) % 8),
			      (uint32_t)fuzz_next(seed), 1u << fuzz_next(seed) % 3);
		break;
	case 1:
		bus_pio_read(r->f.bus, (uint16_t)(0x3f0 + fuzz_next(seed) % 8), 1);
		break;
	case 2:
		bus_pio_write(r->f.bus, (uint16_t)(fuzz_next(seed) % 16), (uint32_t)fuzz_next(seed), 1);
		bus_pio_read(r->f.bus, (uint16_t)(fuzz_next(seed) % 2 ? 0xc0 : 0x80), 1);
		break;
	case 3:
		outb(&r->f, 0x0b, fuzz_next(seed) & 1 ? 0x46 : 0x4a);
		outb(&r->f, 0x81, (uint8_t)fuzz_next(seed));
		outb(&r->f, 0x0a, 2);
		break;
	case 4:
		outb(&r->f, 0x3f2, fuzz_next(seed) % 8 ? 0x1c : 0);
		outb(&r->f, 0x3f7, fuzz_next(seed) % 8 ? 0 : 2);
		outb(&r->f, 0xd0, 0);
		outb(&r->f, 0xd4, 0);
		break;
	case 5: /* far more bytes than any command has, or reads of far too many */
		for (unsigned n = fuzz_next(seed) % 2000; n; n--)
			if (fuzz_next(seed) & 1)
				outb(&r->f, 0x3f5, (uint8_t)fuzz_next(seed));
			else
				inb(&r->f, 0x3f5);
		break;
	default:
		for (unsigned n = 0; n < 10; n++)
			inb(&r->f, 0x3f5);
		outb(&r->f, 0x3f5, PICK(floppy_commands));
		for (unsigned n = 0; n < 8; n++) {
			static const uint8_t usual[8] = { 0, 0, 0, 1, 2, 18, 27, 255 };

			outb(&r->f, 0x3f5, fuzz_next(seed) % 12
				? (uint8_t)(usual[n] + (!n && fuzz_next(seed) % 3 == 0))
				: (uint8_t)small(seed));
		}
		break;
	}
}

static void enable(struct srig *r)
{
	pci_config_write(&r->pci, PCI_DEVFN(2, 0), 0x24, BAR_MMIO, 4);
	pci_config_write(&r->pci, PCI_DEVFN(2, 0), 0x20, BAR_PORTS, 4);
	pci_config_write(&r->pci, PCI_DEVFN(2, 0), 0x40, 0x80008000, 4);
	pci_config_write(&r->pci, PCI_DEVFN(2, 0), PCI_COMMAND, 7, 2);
}

/* What happens around a device, whichever it is. */
static void around(struct srig *r, uint64_t *seed)
{
	unsigned n = fuzz_next(seed) % r->ndevs;
	const struct dev_desc *d = r->desc[n];
	struct err err = { "" };

	switch (fuzz_next(seed) % 60) {
	case 0:
		d->reset(r->dev[n]);
		break;
	case 1: { /* a state with flipped bits, in the middle of things */
		struct state_buf b = { 0 };

		assert_int_equal(state_save(&b, d->state, r->dev[n], 0), 0);
		for (unsigned k = fuzz_next(seed) % 4; k; k--)
			b.data[fuzz_next(seed) % b.len] ^= (uint8_t)(1u << fuzz_next(seed) % 8);
		if (state_load(&b, d->state, r->dev[n], 0, &err) < 0)
			d->reset(r->dev[n]);
		state_buf_fini(&b);
		break;
	}
	case 2:
		if (d->medium) {
			struct medium *m = d->medium(r->dev[n]);
			struct block_node *node = fake_node(r->disk[n], fuzz_next(seed) & 1);

			if (medium_change(m, node, fuzz_next(seed) & 1, &err) < 0)
				block_close(node);
		}
		break;
	case 3:
		if (r->disk[n]) {
			r->disk[n]->fail_reads = fuzz_next(seed) & 1 ? EIO : 0;
			r->disk[n]->fail_writes = fuzz_next(seed) & 1 ? EIO : 0;
		}
		break;
	case 4: case 5: case 6: case 7:
		srig_settle(r);
		break;
	default:
		pass(&r->f, 1);
		while (r->ncalls > 4)
			srig_turn(r, false);
		break;
	}
}

/* What hangs from a controller, and how it is driven. */
static const struct rig_kind {
	const char *controller, *children[3];
	void (*step)(struct srig *r, uint64_t *seed);
} kinds[] = {
	{ "ahci", { "sata-disk", "sata-cd", "sata-disk" }, ahci_step },
	{ "piix-ide", { "ide-disk", "ide-cd", "ide-cd" }, ide_step },
	{ "isa-fdc", { "floppy", "floppy", NULL }, fdc_step },
};

static const struct rig_kind *kind_of(const char *name)
{
	for (size_t n = 0; n < array_size(kinds); n++) {
		if (!strcmp(kinds[n].controller, name))
			return &kinds[n];
		for (size_t k = 0; k < 3 && kinds[n].children[k]; k++)
			if (!strcmp(kinds[n].children[k], name))
				return &kinds[n];
	}
	fail_msg("%s is no disk", name);
	return NULL;
}

void fuzz_storage(const char *name, uint64_t seed, unsigned long rounds)
{
	const struct rig_kind *kind = kind_of(name);
	uint64_t reads = 0;
	struct srig *r = malloc(sizeof(*r));
	void *parent;

	srig_init(r);
	parent = srig_add(r, kind->controller, NULL, 0, NULL);
	for (unsigned n = 0; n < 3 && kind->children[n]; n++)
		srig_add(r, kind->children[n], parent, n,
			 srig_disk(r, strcmp(kind->controller, "isa-fdc") ? 4u << 20 : 1440u << 10,
				   n != 1));
	for (unsigned long n = 0; n < rounds; n++) {
		if (n % 8 == 0)
			enable(r);
		kind->step(r, &seed);
		around(r, &seed);
	}
	srig_settle(r);
	/* It must have come as far as the disks. */
	for (unsigned n = 0; n < r->ndevs; n++) {
		struct blk_stats st = { 0 };

		if (!r->disk[n])
			continue;
		blk_get_stats(r->disk[n]->blk, &st);
		reads += st.ops[BLK_READ];
	}
	assert_true(reads >= rounds / 200);
	srig_fini(r);
	free(r);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IDENTIFY DEVICE, SMART and logs: ACS-3, 7.12, 7.46 and annex A. */
#include "src/base/bits.h"
#include "src/dev/storage/ata_disk_priv.h"

#define CYLINDERS_MAX 16383u

static void put(uint8_t *words, unsigned n, uint32_t v)
{
	st_le16(words + n * 2, (uint16_t)v);
}

static void put_geometry(const struct ata_disk *d, uint8_t *w)
{
	uint64_t sectors = ata_disk_sectors(d);
	uint32_t cylinders = (uint32_t)min_of(sectors / (16 * 63), (uint64_t)CYLINDERS_MAX);
	uint32_t now = (uint32_t)min_of(sectors / (d->heads * d->sectors), 65535ull);
	uint32_t lba28 = (uint32_t)min_of(sectors, (1ull << 28) - 1);

	put(w, 1, cylinders);
	put(w, 3, 16);
	put(w, 6, 63);
	put(w, 54, now);
	put(w, 55, d->heads);
	put(w, 56, d->sectors);
	st_le32(w + 57 * 2, now * d->heads * d->sectors);
	st_le32(w + 60 * 2, lba28);
	st_le64(w + 100 * 2, sectors);
}

static uint32_t mode_word(uint8_t mode, uint32_t supported)
{
	return supported | (mode == 0xff ? 0 : 0x100u << mode);
}

static void put_features(const struct ata_disk *d, uint8_t *w)
{
	uint32_t set = 0x4008 | (d->smart ? 1 : 0) | (d->write_cache ? 0x20 : 0) |
		       (d->look_ahead ? 0x40 : 0);

	put(w, 82, 0x4069); /* NOP, look-ahead, write cache, power management, SMART */
	put(w, 83, 0x7400); /* FLUSH CACHE (EXT), 48-bit addresses */
	put(w, 84, 0x4063); /* FUA, general purpose logging, SMART error log and self-test */
	put(w, 85, set);
	put(w, 86, 0x3400);
	put(w, 87, 0x4063);
	if (d->discard) {
		put(w, 105, ATA_TRIM_BLOCKS);
		put(w, 169, 1);
	}
}

static void put_transport(const struct ata_disk *d, uint8_t *w)
{
	if (d->ata.bus->sata) {
		put(w, 75, 31);     /* queue depth 32 */
		put(w, 76, 0x010e); /* NCQ; generations 1 to 3 */
		put(w, 77, 0x0006); /* at generation 3 now */
		put(w, 222, 0x107f); /* SATA 3.1 */
	} else {
		put(w, 93, ata_reset_result(&d->ata));
		put(w, 222, 0x0000);
	}
	put(w, 63, mode_word(d->mwdma_mode, 7));
	put(w, 88, mode_word(d->udma_mode, d->ata.bus->sata ? 0x7f : 0x3f));
}

void ata_do_identify(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	uint8_t *w = ata_reply(c, ATA_PROTO_PIO, 512);

	if (!w)
		return;
	put(w, 0, 0x0040);
	put_geometry(d, w);
	ata_string(w, 10, 10, d->serial_text);
	ata_string(w, 23, 4, d->firmware);
	ata_string(w, 27, 20, d->model);
	put(w, 47, 0x8000 | ATA_MULTIPLE_MAX);
	put(w, 48, 0x4000);
	put(w, 49, 0x2f00); /* DMA, LBA, IORDY, standard standby timer */
	put(w, 50, 0x4000);
	put(w, 51, 0x0200);
	put(w, 53, 0x0007);
	if (d->multiple)
		put(w, 59, 0x0100u | d->multiple);
	put(w, 64, 0x0003); /* PIO modes 3 and 4 */
	for (unsigned n = 65; n <= 68; n++)
		put(w, n, 120); /* ns */
	put(w, 80, 0x03f0); /* ATA/ATAPI-4 to ACS-2 */
	put_features(d, w);
	put_transport(d, w);
	put(w, 106, 0x4000); /* one logical sector in a physical one, 512 bytes */
	put(w, 217, d->rotation_rate);
	ata_identify_end(w);
}

/*
 * SMART.
 */
static void sum_sector(uint8_t *s)
{
	uint8_t sum = 0;

	for (unsigned n = 0; n < 511; n++)
		sum = (uint8_t)(sum + s[n]);
	s[511] = (uint8_t)-sum;
}

/* Attributes that every tool looks for. All is well, always: the host looks after the
 * disk behind the image. */
static const struct {
	uint8_t id, flags, value, worst, threshold;
} attributes[] = {
	{ 1, 0x03, 100, 100, 6 },    /* read error rate */
	{ 3, 0x03, 100, 100, 16 },   /* spin-up time */
	{ 5, 0x03, 100, 100, 36 },   /* reallocated sectors */
	{ 9, 0x32, 100, 100, 0 },    /* power-on hours */
	{ 12, 0x32, 100, 100, 0 },   /* power cycles */
	{ 194, 0x22, 31, 31, 0 },    /* temperature */
	{ 197, 0x12, 100, 100, 0 },  /* pending sectors */
};

static void smart_data(struct ata_disk *d, struct ata_cmd *c)
{
	uint8_t *s = ata_reply(c, ATA_PROTO_PIO, 512);

	if (!s)
		return;
	st_le16(s, 1);
	for (size_t i = 0; i < array_size(attributes); i++) {
		uint8_t *a = s + 2 + i * 12;

		a[0] = attributes[i].id;
		a[1] = attributes[i].flags;
		a[3] = attributes[i].value;
		a[4] = attributes[i].worst;
		if (a[0] == 194)
			a[5] = 31; /* degrees Celsius */
	}
	s[362] = 0x02; /* off-line collection: completed */
	st_le16(s + 364, 1);
	s[367] = 0x19; /* off-line immediate, self-tests */
	st_le16(s + 368, 3);
	s[370] = 1;    /* error logging */
	s[372] = s[373] = 1;
	sum_sector(s);
}

static void smart_thresholds(struct ata_disk *d, struct ata_cmd *c)
{
	uint8_t *s = ata_reply(c, ATA_PROTO_PIO, 512);

	if (!s)
		return;
	st_le16(s, 1);
	for (size_t i = 0; i < array_size(attributes); i++) {
		s[2 + i * 12] = attributes[i].id;
		s[3 + i * 12] = attributes[i].threshold;
	}
	sum_sector(s);
}

/* SMART READ LOG: the directory, and logs of errors and self-tests with nothing in them. */
static void smart_log(struct ata_disk *d, struct ata_cmd *c)
{
	uint8_t address = c->tf.lba[0], *s;

	if (c->tf.count[0] != 1 || (address != 0x00 && address != 0x01 && address != 0x06)) {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	s = ata_reply(c, ATA_PROTO_PIO, 512);
	if (!s)
		return;
	s[0] = 1; /* version */
	if (address == 0x00)
		s[0x01 * 2] = s[0x06 * 2] = 1; /* sectors */
	else
		sum_sector(s);
}

void ata_do_smart(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	uint8_t what = c->tf.feature[0];

	if (c->tf.lba[1] != 0x4f || c->tf.lba[2] != 0xc2 || (!d->smart && what != 0xd8)) {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	switch (what) {
	case 0xd0:
		smart_data(d, c);
		return;
	case 0xd1:
		smart_thresholds(d, c);
		return;
	case 0xd2:
		d->smart_autosave = c->tf.count[0] == 0xf1;
		break;
	case 0xd4: /* off-line and self-tests are over at once */
		break;
	case 0xd5:
		smart_log(d, c);
		return;
	case 0xd8:
		d->smart = true;
		break;
	case 0xd9:
		d->smart = false;
		break;
	case 0xda: /* the signature stays: no threshold was exceeded */
		break;
	default:
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	ata_ok(c);
}

/*
 * READ LOG EXT: the directory and the NCQ error log.
 */
static void ncq_error_log(struct ata_disk *d, uint8_t *s)
{
	const struct ata_ncq_error *e = &d->ncq_error;

	s[0] = e->valid ? e->tag & 31 : 0x80; /* NQ: the error was of no queued command */
	if (e->valid) {
		s[2] = e->status;
		s[3] = e->error;
		s[4] = (uint8_t)e->lba;
		s[5] = (uint8_t)(e->lba >> 8);
		s[6] = (uint8_t)(e->lba >> 16);
		s[7] = e->device;
		s[8] = (uint8_t)(e->lba >> 24);
		s[9] = (uint8_t)(e->lba >> 32);
		s[10] = (uint8_t)(e->lba >> 40);
		s[12] = e->count[0];
		s[13] = e->count[1];
	}
	sum_sector(s);
}

void ata_do_log(struct ata_disk *d, struct ata_cmd *c, unsigned flags)
{
	uint8_t address = c->tf.lba[0], *s;
	uint32_t page = c->tf.lba[1] | (uint32_t)c->tf.lba[4] << 8;
	uint32_t count = c->tf.count[0] | (uint32_t)c->tf.count[1] << 8;

	if (page || count != 1 || (address != 0x00 && address != 0x10)) {
		ata_fail(c, ATA_ER_ABRT);
		return;
	}
	s = ata_reply(c, flags & RW_DMA ? ATA_PROTO_DMA : ATA_PROTO_PIO, 512);
	if (!s)
		return;
	if (address == 0x00) {
		s[0] = 1;
		s[0x10 * 2] = 1;
		return;
	}
	ncq_error_log(d, s);
	d->ncq_error.valid = false;
}

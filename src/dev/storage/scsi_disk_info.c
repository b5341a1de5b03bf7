/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk tells of itself: INQUIRY and vital product data (SPC-4, 6.4 and 7.8; SBC-3,
 * 6.5), capacity, mode pages. */
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/storage/scsi_disk_priv.h"

#define TEXT_MAX 36u
#define WORST_COUNT 0x3fffffu /* blocks of one request: 2 GiB of 512 bytes */

static const char *serial_of(const struct scsi_disk *d)
{
	return d->serial ? d->serial : d->id;
}

/*
 * INQUIRY.
 */
static unsigned page_serial(const struct scsi_disk *d, uint8_t *p)
{
	size_t len = min_of(strlen(serial_of(d)), (size_t)TEXT_MAX);

	memcpy(p + 4, serial_of(d), len);
	return 4 + (unsigned)len;
}

/* Designators: by vendor and text, and by world wide name (SPC-4, 7.8.6). */
static unsigned page_identification(const struct scsi_disk *d, uint8_t *p)
{
	const char *text = d->device_id ? d->device_id : serial_of(d);
	size_t len = min_of(strlen(text), (size_t)TEXT_MAX);
	unsigned at = 4;

	p[at] = 0x02;     /* ASCII */
	p[at + 1] = 0x01; /* T10 vendor identification */
	p[at + 3] = (uint8_t)(8 + len);
	scsi_text(p + at + 4, d->vendor, 8);
	memcpy(p + at + 12, text, len);
	at += 12 + (unsigned)len;
	if (d->wwn) {
		p[at] = 0x01;     /* binary */
		p[at + 1] = 0x03; /* NAA */
		p[at + 3] = 8;
		st_be64(p + at + 4, d->wwn);
		at += 12;
	}
	return at;
}

static unsigned page_limits(const struct scsi_disk *d, uint8_t *p)
{
	uint32_t unit = d->logical;
	uint32_t granularity = max_of(blk_io_align(d->blk), unit) / unit;

	p[4] = 1; /* WSNZ: WRITE SAME of "everything" is not known */
	st_be16(p + 6, (uint16_t)(d->min_io / unit));
	st_be32(p + 8, WORST_COUNT);
	st_be32(p + 12, d->opt_io / unit);
	if (d->discard) {
		st_be32(p + 20, WORST_COUNT);
		st_be32(p + 24, SCSI_DISK_UNMAP_RANGES);
		st_be32(p + 28, granularity);
		st_be32(p + 32, 0x80000000);
	}
	st_be64(p + 36, WORST_COUNT);
	return 64;
}

static unsigned vital_page(const struct scsi_disk *d, uint8_t page, uint8_t *p)
{
	static const uint8_t pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };

	p[1] = page;
	switch (page) {
	case 0x00:
		memcpy(p + 4, pages, sizeof(pages));
		return 4 + sizeof(pages);
	case 0x80: return page_serial(d, p);
	case 0x83: return page_identification(d, p);
	case 0xb0: return page_limits(d, p);
	case 0xb1:
		st_be16(p + 4, (uint16_t)d->rotation_rate);
		return 64;
	case 0xb2:
		p[5] = d->discard ? 0xe0 : 0; /* UNMAP, WRITE SAME (16) and (10) */
		p[6] = d->discard ? 2 : 0;    /* thin */
		return 8;
	default: return 0;
	}
}

void scsi_disk_inquiry(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint8_t r[256] = { 0 };
	unsigned len = 36;

	if (c->cdb[1] & 1) {
		len = vital_page(d, c->cdb[2], r);
		if (!len) {
			scsi_fail(c, SCSI_INVALID_FIELD);
			return;
		}
		st_be16(r + 2, (uint16_t)(len - 4));
	} else if (c->cdb[2]) {
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	} else {
		r[2] = 5;    /* SPC-3 */
		r[3] = 0x12; /* HISUP, response format 2 */
		r[4] = (uint8_t)(len - 5);
		r[7] = 0x02; /* command queuing */
		scsi_text(r + 8, d->vendor, 8);
		scsi_text(r + 16, d->product, 16);
		scsi_text(r + 32, d->version, 4);
	}
	scsi_reply(c, r, len, ld_be16(c->cdb + 3));
}

/*
 * Capacity.
 */
void scsi_disk_read_capacity10(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint64_t blocks = scsi_disk_blocks(d), last = blocks ? blocks - 1 : 0;
	uint8_t r[8];

	st_be32(r, (uint32_t)min_of(last, (uint64_t)UINT32_MAX));
	st_be32(r + 4, d->logical);
	scsi_reply(c, r, sizeof(r), sizeof(r));
}

void scsi_disk_read_capacity16(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint64_t blocks = scsi_disk_blocks(d);
	uint8_t r[32] = { 0 };

	st_be64(r, blocks ? blocks - 1 : 0);
	st_be32(r + 8, d->logical);
	while (d->logical << r[13] < d->physical)
		r[13]++;
	r[14] = d->discard ? 0x80 : 0; /* LBPME */
	scsi_reply(c, r, sizeof(r), ld_be32(c->cdb + 10));
}

/*
 * Mode pages (SPC-4, 7.5; SBC-3, 6.4).
 */
enum { PC_CURRENT, PC_CHANGEABLE, PC_DEFAULT, PC_SAVED };

static unsigned mode_page(const struct scsi_disk *d, unsigned page, unsigned pc, uint8_t *p)
{
	bool wce = pc == PC_DEFAULT ? d->write_cache_on : d->write_cache;

	p[0] = (uint8_t)page;
	switch (page) {
	case 0x01: /* read-write error recovery: automatic reallocation */
		p[1] = 10;
		if (pc != PC_CHANGEABLE)
			p[2] = 0x80;
		return 12;
	case 0x08: /* caching */
		p[1] = 18;
		p[2] = pc == PC_CHANGEABLE || wce ? 0x04 : 0;
		return 20;
	case 0x0a: /* control */
		p[1] = 10;
		if (pc != PC_CHANGEABLE)
			p[3] = 0x10; /* commands may be reordered */
		return 12;
	default:
		return 0;
	}
}

static unsigned mode_pages(const struct scsi_disk *d, unsigned page, unsigned pc, uint8_t *p)
{
	static const uint8_t all[] = { 0x01, 0x08, 0x0a };
	unsigned len = 0;

	if (page != 0x3f)
		return mode_page(d, page, pc, p);
	for (size_t i = 0; i < sizeof(all); i++)
		len += mode_page(d, all[i], pc, p + len);
	return len;
}

void scsi_disk_mode_sense(struct scsi_disk *d, struct scsi_cmd *c)
{
	bool ten = c->cdb[0] == 0x5a, no_blocks = c->cdb[1] & 8;
	unsigned page = c->cdb[2] & 0x3f, pc = c->cdb[2] >> 6, at = ten ? 8 : 4, len;
	uint8_t r[128] = { 0 };
	uint8_t specific = (uint8_t)(0x10 | (blk_writable(d->blk) ? 0 : 0x80)); /* DPOFUA, WP */

	if (pc == PC_SAVED) {
		scsi_fail(c, SCSI_NO_SAVING);
		return;
	}
	if (!no_blocks) {
		st_be32(r + at, (uint32_t)min_of(scsi_disk_blocks(d), (uint64_t)UINT32_MAX));
		st_be32(r + at + 4, d->logical); /* 24 bits */
		r[ten ? 7 : 3] = 8;
		at += 8;
	}
	r[ten ? 3 : 2] = specific;
	len = mode_pages(d, page, pc, r + at);
	if (!len || (c->cdb[3] && c->cdb[3] != 0xff)) {
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	len += at;
	if (ten)
		st_be16(r, (uint16_t)(len - 2));
	else
		r[0] = (uint8_t)(len - 1);
	scsi_reply(c, r, len, ten ? ld_be16(c->cdb + 7) : c->cdb[4]);
}

/* What may not change must be sent as it is (SPC-4, 6.11). */
static bool page_acceptable(const struct scsi_disk *d, const uint8_t *p, unsigned len)
{
	uint8_t now[64] = { 0 }, mask[64] = { 0 };
	unsigned page = p[0] & 0x3f;
	unsigned size = mode_page(d, page, PC_CURRENT, now);

	if (!size || size != len)
		return false;
	mode_page(d, page, PC_CHANGEABLE, mask);
	for (unsigned n = 2; n < size; n++)
		if ((p[n] ^ now[n]) & ~mask[n])
			return false;
	return true;
}

static bool take_pages(struct scsi_disk *d, const uint8_t *p, uint32_t len, bool really)
{
	while (len >= 2) {
		uint32_t size = p[1] + 2u;

		if (size > len || !page_acceptable(d, p, size))
			return false;
		if (really && (p[0] & 0x3f) == 0x08)
			d->write_cache = p[2] & 0x04;
		p += size;
		len -= size;
	}
	return len == 0;
}

void scsi_disk_mode_select(struct scsi_disk *d, struct scsi_cmd *c)
{
	bool ten = c->cdb[0] == 0x55;
	uint32_t len = ten ? ld_be16(c->cdb + 7) : c->cdb[4], at = ten ? 8 : 4;
	uint8_t p[512];

	if (c->cdb[1] & 1 || len > sizeof(p)) { /* pages cannot be saved */
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	if (!scsi_disk_parameters(c, p, len))
		return;
	if (!len) {
		scsi_ok(c);
		return;
	}
	if (len >= at)
		at += ten ? ld_be16(p + 6) : p[3];
	if (at > len)
		scsi_fail(c, SCSI_PARAMETER_LENGTH);
	else if (!take_pages(d, p + at, len - at, false))
		scsi_fail(c, SCSI_INVALID_PARAMETER);
	else if (take_pages(d, p + at, len - at, true))
		scsi_ok(c);
}

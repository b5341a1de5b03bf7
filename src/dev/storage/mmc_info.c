/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the drive tells of itself and of the disc in it. */
#include <stdio.h>

#include "src/base/bits.h"
#include "src/dev/storage/mmc_priv.h"

#define PROFILE_CD 0x0008u
#define PROFILE_DVD 0x0010u

static uint8_t *add(struct reply *r, unsigned len)
{
	uint8_t *p = r->b + r->len;

	r->len += len;
	return p;
}

static void put_text(uint8_t *p, unsigned len, const char *text)
{
	size_t n = text ? min_of(strlen(text), (size_t)len) : 0;

	memset(p, ' ', len);
	if (n)
		memcpy(p, text, n);
}

/* Minute, second, frame; the disc's data begins at two seconds. */
static void put_address(uint8_t *p, bool msf, uint32_t lba)
{
	uint32_t frames = lba + 150;

	if (!msf) {
		st_be32(p, lba);
		return;
	}
	p[0] = 0;
	p[1] = (uint8_t)min_of(frames / 75 / 60, 255u);
	p[2] = (uint8_t)(frames / 75 % 60);
	p[3] = (uint8_t)(frames % 75);
}

/*
 * INQUIRY.
 */
unsigned mmc_inquiry(const struct mmc *m, uint8_t *buf)
{
	memset(buf, 0, 36);
	buf[0] = 5;
	buf[1] = 0x80; /* removable */
	buf[2] = m->atapi ? 0 : 5;
	buf[3] = m->atapi ? 0x21 : 2;
	buf[4] = 31;
	buf[7] = m->atapi ? 0 : 0x12; /* linked with the bus: queueing */
	put_text(buf + 8, 8, m->id.vendor);
	put_text(buf + 16, 16, m->id.product);
	put_text(buf + 32, 4, m->id.revision);
	return 36;
}

static void vital_page(struct mmc *m, struct mmc_cmd *c, struct reply *r)
{
	unsigned serial = m->id.serial ? (unsigned)min_of(strlen(m->id.serial), (size_t)36) : 0;
	uint8_t *p = add(r, 4);

	p[0] = 5;
	p[1] = c->cdb[2];
	switch (c->cdb[2]) {
	case 0x00:
		add(r, 1)[0] = 0x00;
		if (serial)
			add(r, 1)[0] = 0x80;
		add(r, 1)[0] = 0x83;
		break;
	case 0x80:
		put_text(add(r, serial), serial, m->id.serial);
		break;
	case 0x83: { /* one designator: vendor, product, serial number */
		uint8_t *d = add(r, 4 + 24 + serial);

		d[0] = 2; /* ASCII */
		d[1] = 1; /* T10 vendor identification */
		d[3] = (uint8_t)(24 + serial);
		put_text(d + 4, 8, m->id.vendor);
		put_text(d + 12, 16, m->id.product);
		put_text(d + 28, serial, m->id.serial);
		break;
	}
	}
	st_be16(p + 2, (uint16_t)(r->len - 4));
}

void mmc_do_inquiry(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 0 };
	uint8_t page = c->cdb[2];

	if (!(c->cdb[1] & 1)) {
		if (page) {
			mmc_fail(c, SENSE_INVALID_FIELD);
			return;
		}
		r.len = mmc_inquiry(m, r.b);
	} else if (page == 0x00 || page == 0x83 || (page == 0x80 && m->id.serial)) {
		vital_page(m, c, &r);
	} else {
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	mmc_send(c, &r, m->atapi ? c->cdb[4] : ld_be16(c->cdb + 3));
}

/*
 * READ TOC/PMA/ATIP: MMC-6, 6.25.
 */
static void toc_tracks(struct mmc *m, struct reply *r, bool msf, uint8_t from)
{
	uint8_t *p = add(r, 4);

	p[2] = p[3] = 1; /* first and last track */
	if (from <= 1) {
		p = add(r, 8);
		p[1] = 0x14; /* a data track */
		p[2] = 1;
		put_address(p + 4, msf, 0);
	}
	p = add(r, 8);
	p[1] = 0x14;
	p[2] = 0xaa; /* lead-out */
	put_address(p + 4, msf, mmc_blocks(m));
}

static void toc_sessions(struct reply *r, bool msf)
{
	uint8_t *p = add(r, 12);

	p[2] = p[3] = 1; /* first and last session */
	p[5] = 0x14;
	p[6] = 1; /* first track of the last session */
	put_address(p + 8, msf, 0);
}

static uint8_t *toc_raw_entry(struct reply *r, uint8_t point)
{
	uint8_t *p = add(r, 11);

	p[0] = 1; /* session */
	p[1] = 0x14;
	p[3] = point;
	return p;
}

static void toc_raw(struct mmc *m, struct reply *r)
{
	uint8_t *p = add(r, 4);

	p[2] = p[3] = 1;
	toc_raw_entry(r, 0xa0)[8] = 1; /* first track */
	toc_raw_entry(r, 0xa1)[8] = 1; /* last track */
	put_address(toc_raw_entry(r, 0xa2) + 7, true, mmc_blocks(m));
	put_address(toc_raw_entry(r, 0x01) + 7, true, 0);
}

void mmc_do_read_toc(struct mmc *m, struct mmc_cmd *c)
{
	uint8_t format = c->cdb[2] & 15, from = c->cdb[6];
	bool msf = c->cdb[1] & 2;
	struct reply r = { .len = 0 };

	if (!mmc_need_medium(m, c))
		return;
	if (!format) /* where SFF-8020i had it */
		format = c->cdb[9] >> 6;
	if (format == 0 && (from <= 1 || from == 0xaa)) {
		toc_tracks(m, &r, msf, from);
	} else if (format == 1) {
		toc_sessions(&r, msf);
	} else if (format == 2 && from <= 1) {
		toc_raw(m, &r);
	} else if (format == 3 || format == 5) {
		r.len = 4; /* PMA, CD-Text: nothing recorded */
	} else { /* ATIP: only recordable discs have it */
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	st_be16(r.b, (uint16_t)(r.len - 2));
	mmc_send(c, &r, ld_be16(c->cdb + 7));
}

/* READ SUB-CHANNEL: nothing ever plays. */
void mmc_do_subchannel(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 4 };

	if (!mmc_need_medium(m, c))
		return;
	r.b[1] = 0x15; /* no audio status to tell */
	if (c->cdb[2] & 0x40) {
		uint8_t format = c->cdb[3];

		if (format < 1 || format > 3) {
			mmc_fail(c, SENSE_INVALID_FIELD);
			return;
		}
		r.len = format == 1 ? 16 : 24;
		r.b[4] = format;
		if (format == 1) { /* where the head is */
			r.b[5] = 0x14;
			r.b[6] = r.b[7] = 1;
			put_address(r.b + 8, c->cdb[1] & 2, 0);
		}
		r.b[3] = (uint8_t)(r.len - 4);
	}
	mmc_send(c, &r, ld_be16(c->cdb + 7));
}

/*
 * GET CONFIGURATION: MMC-6, 5.3 and 6.5.
 */
static uint8_t *feature(struct reply *r, uint16_t code, uint8_t version, bool current,
			uint8_t len)
{
	uint8_t *p = add(r, 4u + len);

	st_be16(p, code);
	p[2] = (uint8_t)(version << 2 | (code < 4 || code == 0x100 || code == 0x105 ? 2 : 0) |
			 current);
	p[3] = len;
	return p + 4;
}

static void profiles(struct mmc *m, struct reply *r, uint16_t profile)
{
	uint8_t *p = feature(r, 0x0000, 0, true, 8);

	st_be16(p, PROFILE_DVD);
	p[2] = profile == PROFILE_DVD;
	st_be16(p + 4, PROFILE_CD);
	p[6] = profile == PROFILE_CD;
}

static void one_feature(struct mmc *m, struct reply *r, uint16_t code, uint16_t profile)
{
	uint8_t *p;

	switch (code) {
	case 0x0000:
		profiles(m, r, profile);
		break;
	case 0x0001: /* core */
		p = feature(r, code, 2, true, 8);
		st_be32(p, !m->atapi ? 1 : m->sata ? 7 : 2);
		p[4] = 1; /* device busy events */
		break;
	case 0x0002: /* morphing */
		feature(r, code, 1, true, 4)[0] = 2;
		break;
	case 0x0003: /* removable medium: tray, eject, lock */
		feature(r, code, 0, true, 4)[0] = 0x29;
		break;
	case 0x0010: /* random readable */
		p = feature(r, code, 0, profile != 0, 8);
		st_be32(p, MMC_BLOCK);
		st_be16(p + 4, profile == PROFILE_DVD ? 16 : 1);
		break;
	case 0x001e: /* CD read */
		feature(r, code, 2, profile == PROFILE_CD, 4);
		break;
	case 0x001f: /* DVD read */
		feature(r, code, 0, profile == PROFILE_DVD, 0);
		break;
	case 0x0100: /* power management */
	case 0x0105: /* timeout */
		feature(r, code, 0, true, 0);
		break;
	case 0x0108: /* serial number */
		if (m->id.serial) {
			uint8_t len = (uint8_t)((min_of(strlen(m->id.serial), (size_t)36) + 3) & ~3u);

			put_text(feature(r, code, 0, true, len), len, m->id.serial);
		}
		break;
	}
}

void mmc_do_get_configuration(struct mmc *m, struct mmc_cmd *c)
{
	static const uint16_t codes[] = { 0, 1, 2, 3, 0x10, 0x1e, 0x1f, 0x100, 0x105, 0x108 };
	uint16_t from = ld_be16(c->cdb + 2), profile;
	uint8_t type = c->cdb[1] & 3;
	struct reply r = { .len = 8 };

	if (type == 3) {
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	profile = !mmc_blocks(m) ? 0 : mmc_is_dvd(m) ? PROFILE_DVD : PROFILE_CD;
	for (size_t i = 0; i < array_size(codes); i++) {
		unsigned start = r.len;

		if (type == 2 ? codes[i] != from : codes[i] < from)
			continue;
		one_feature(m, &r, codes[i], profile);
		if (type == 1 && r.len > start && !(r.b[start + 2] & 1)) {
			memset(r.b + start, 0, r.len - start);
			r.len = start; /* only those that are current */
		}
	}
	st_be32(r.b, r.len - 4);
	st_be16(r.b + 6, profile);
	mmc_send(c, &r, ld_be16(c->cdb + 7));
}

/* GET EVENT STATUS NOTIFICATION: MMC-6, 6.6. Media events are the only class. */
void mmc_do_events(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 4 };

	if (!(c->cdb[1] & 1)) { /* we never call back */
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	r.b[3] = 0x10;
	if (!(c->cdb[4] & 0x10)) {
		r.b[2] = 0x80;
	} else {
		bool here = medium_present(&m->medium);

		r.b[2] = 4;
		r.len = 8;
		r.b[4] = m->eject_event ? 1 : !m->media_event ? 0 : here ? 2 : 3;
		r.b[5] = (uint8_t)(m->medium.tray_open | here << 1);
		/* Told once; a shorter reply has no room for it. */
		if (ld_be16(c->cdb + 7) >= 8) {
			if (m->eject_event)
				m->eject_event = false;
			else
				m->media_event = false;
		}
	}
	st_be16(r.b, (uint16_t)(r.len - 2));
	mmc_send(c, &r, ld_be16(c->cdb + 7));
}

/*
 * MODE SENSE. Nothing can be changed but by START STOP UNIT and PREVENT ALLOW.
 */
static void mode_page(struct mmc *m, struct reply *r, uint8_t page, bool changeable)
{
	static const struct { uint8_t page, len; } pages[] = {
		{ 0x01, 10 }, { 0x0d, 6 }, { 0x0e, 14 }, { 0x1a, 10 }, { 0x1d, 10 }, { 0x2a, 20 },
	};

	for (size_t i = 0; i < array_size(pages); i++) {
		uint8_t *p;

		if (page != 0x3f && page != pages[i].page)
			continue;
		p = add(r, 2u + pages[i].len);
		p[0] = pages[i].page;
		p[1] = pages[i].len;
		if (changeable)
			continue;
		switch (p[0]) {
		case 0x01:
			p[3] = 5; /* read retries */
			break;
		case 0x0d:
			p[3] = 0;
			st_be16(p + 4, 60); /* seconds in a minute, frames in a second */
			st_be16(p + 6, 75);
			break;
		case 0x0e:
			p[2] = 4;
			break;
		case 0x2a:
			p[2] = 0x3f; /* reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM */
			p[4] = 0x70; /* multisession, mode 2 forms 1 and 2 */
			p[6] = (uint8_t)(0x29 | (m->medium.locked ? 2 : 0)); /* tray, eject, lock */
			st_be16(p + 8, 7056);  /* KB/s */
			st_be16(p + 12, 512);  /* KB of buffer */
			st_be16(p + 14, 7056);
			break;
		}
	}
}

void mmc_do_mode_sense(struct mmc *m, struct mmc_cmd *c)
{
	bool ten = c->cdb[0] == 0x5a;
	uint8_t page = c->cdb[2] & 0x3f, control = c->cdb[2] >> 6, medium;
	struct reply r = { .len = ten ? 8 : 4 };
	unsigned header = r.len;

	if (control == 3) {
		mmc_fail(c, SENSE_NO_SAVING);
		return;
	}
	mode_page(m, &r, page, control == 1);
	if (r.len == header) {
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	/* Medium types of SFF-8020i: door open, no disc, a data disc. */
	medium = m->medium.tray_open ? 0x71 : !mmc_blocks(m) ? 0x70 : 0x01;
	if (ten) {
		st_be16(r.b, (uint16_t)(r.len - 2));
		r.b[2] = medium;
	} else {
		r.b[0] = (uint8_t)(r.len - 1);
		r.b[1] = medium;
	}
	mmc_send(c, &r, ten ? ld_be16(c->cdb + 7) : c->cdb[4]);
}

void mmc_do_mechanism(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 8 };

	r.b[1] = m->medium.tray_open ? 0x10 : 0;
	mmc_send(c, &r, ld_be16(c->cdb + 8));
}

/*
 * The disc.
 */
void mmc_do_disc_info(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 34 };

	if (!mmc_need_medium(m, c))
		return;
	if (c->cdb[1] & 7) { /* track resources, POW resources: of recorders */
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	st_be16(r.b, 32);
	r.b[2] = 0x0e; /* a complete session on a finalized disc */
	r.b[3] = r.b[4] = r.b[5] = r.b[6] = 1;
	r.b[7] = 0x20; /* for unrestricted use */
	memset(r.b + 16, 0xff, 8); /* nothing can be appended */
	mmc_send(c, &r, ld_be16(c->cdb + 7));
}

void mmc_do_track_info(struct mmc *m, struct mmc_cmd *c)
{
	uint32_t which = ld_be32(c->cdb + 2);
	uint8_t type = c->cdb[1] & 3;
	struct reply r = { .len = 36 };

	if (!mmc_need_medium(m, c))
		return;
	if (type == 0 ? which >= mmc_blocks(m) : type == 3 || which != 1) {
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	st_be16(r.b, 34);
	r.b[2] = r.b[3] = 1; /* track and session */
	r.b[5] = 4;          /* a data track */
	r.b[6] = 1;          /* mode 1 */
	st_be32(r.b + 24, mmc_blocks(m));
	mmc_send(c, &r, ld_be16(c->cdb + 7));
}

/* READ DVD STRUCTURE: MMC-6, 6.22. */
void mmc_do_dvd_structure(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 4 };
	uint8_t *p;

	if (!mmc_need_medium(m, c))
		return;
	if (c->cdb[7] != 0xff && (c->cdb[1] & 15 || !mmc_is_dvd(m))) {
		mmc_fail(c, SENSE_WRONG_MEDIUM);
		return;
	}
	if (c->cdb[6]) { /* one layer */
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	switch (c->cdb[7]) {
	case 0x00: /* physical format */
		p = add(&r, 2048);
		p[0] = 0x01; /* DVD-ROM, version 1 */
		p[1] = 0x0f; /* 120 mm, no maximum rate told */
		p[2] = 0x01; /* one embossed layer */
		st_be32(p + 4, 0x30000);
		st_be32(p + 8, 0x30000 + mmc_blocks(m) - 1);
		break;
	case 0x01: /* copyright: none */
		add(&r, 4);
		break;
	case 0x04: /* manufacturer: nothing to tell */
		add(&r, 2048);
		break;
	case 0xff: /* which there are, and how long */
		for (unsigned n = 0; n < 3; n++) {
			static const struct { uint8_t format; uint16_t len; } list[3] = {
				{ 0x00, 2052 }, { 0x01, 8 }, { 0x04, 2052 },
			};

			p = add(&r, 4);
			p[0] = list[n].format;
			p[1] = 0x40; /* can be read */
			st_be16(p + 2, list[n].len);
		}
		break;
	default:
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	st_be16(r.b, (uint16_t)(r.len - 2));
	mmc_send(c, &r, ld_be16(c->cdb + 8));
}

void mmc_do_format_capacities(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 12 };
	uint32_t blocks = mmc_blocks(m);

	r.b[3] = 8;
	st_be32(r.b + 4, blocks);
	st_be32(r.b + 8, MMC_BLOCK);
	r.b[8] = blocks ? 2 : 3; /* formatted, or no medium */
	mmc_send(c, &r, ld_be16(c->cdb + 7));
}

/* GET PERFORMANCE: one speed everywhere. */
void mmc_do_performance(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 24 };
	uint32_t blocks = mmc_blocks(m);

	if (c->cdb[10] || c->cdb[1] & 4) { /* other types; write speed */
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	st_be32(r.b, 20);
	st_be32(r.b + 12, 7056);
	st_be32(r.b + 16, blocks ? blocks - 1 : 0);
	st_be32(r.b + 20, 7056);
	mmc_send(c, &r, 8 + 16 * min_of((uint32_t)ld_be16(c->cdb + 8), 1u));
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drive's commands, its sense data, tray and unit attentions. */
#include "src/dev/storage/mmc.h"

#include "src/base/bits.h"
#include "src/dev/storage/mmc_priv.h"

/*
 * Results.
 */
void mmc_ok(struct mmc_cmd *c)
{
	c->mmc->key = c->mmc->asc = c->mmc->ascq = 0;
	c->status = MMC_GOOD;
	xfer_end(c->x);
}

static void make_sense(uint8_t *s, uint8_t key, uint8_t asc, uint8_t ascq)
{
	memset(s, 0, MMC_SENSE_LEN);
	s[0] = 0x70;
	s[2] = key;
	s[7] = MMC_SENSE_LEN - 8;
	s[12] = asc;
	s[13] = ascq;
}

void mmc_fail(struct mmc_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq)
{
	struct mmc *m = c->mmc;

	make_sense(c->sense, key, asc, ascq);
	if (key == 3) { /* which block could not be read */
		c->sense[0] |= 0x80;
		st_be32(c->sense + 3, c->lba);
	}
	c->status = MMC_CHECK;
	if (m->atapi) { /* others send the sense data along */
		m->key = key;
		m->asc = asc;
		m->ascq = ascq;
	}
	xfer_end(c->x);
}

/*
 * Replies: one move.
 */
static void reply_move(struct xfer *x, uint32_t len)
{
	x->moved += len;
	x->phase = XFER_DATA;
}

void mmc_send(struct mmc_cmd *c, const struct reply *r, uint32_t alloc)
{
	/* The status is set already. */
	static const struct xfer_ops ops = { reply_move, NULL };
	uint32_t len = min_of(r->len, alloc);

	if (!len) {
		mmc_ok(c);
		return;
	}
	if (!xfer_reserve(c->x, MMC_MOVE_MIN)) {
		mmc_fail(c, SENSE_NO_MEMORY);
		return;
	}
	memcpy(c->x->buf->data, r->b, len);
	c->mmc->key = c->mmc->asc = c->mmc->ascq = 0;
	c->status = MMC_GOOD;
	c->x->ops = &ops;
	c->x->dir = XFER_IN;
	c->x->len = c->x->block = len;
	c->x->phase = XFER_DATA;
}

/*
 * The medium.
 */
uint32_t mmc_blocks(const struct mmc *m)
{
	uint64_t n = medium_present(&m->medium) ? blk_len(m->medium.blk) / MMC_BLOCK : 0;

	return (uint32_t)min_of(n, (uint64_t)UINT32_MAX);
}

/* No CD holds more than 80 minutes. */
bool mmc_is_dvd(const struct mmc *m)
{
	return mmc_blocks(m) > 80u * 60 * 75;
}

bool mmc_need_medium(struct mmc *m, struct mmc_cmd *c)
{
	if (medium_present(&m->medium))
		return true;
	if (m->medium.tray_open)
		mmc_fail(c, SENSE_NOT_READY_OPEN);
	else
		mmc_fail(c, SENSE_NOT_READY_EMPTY);
	return false;
}

static void moved(struct medium *medium)
{
	struct mmc *m = medium->dev;
	bool here = medium_present(medium);

	m->eject_event = false;
	m->media_event = m->media_event || here != m->mounted;
	m->mounted = here;
	if (here)
		m->attention |= MMC_UA_MEDIUM;
	else
		m->attention &= (uint8_t)~MMC_UA_MEDIUM;
	if (medium->tray_open)
		medium->locked = false;
}

static void eject_request(struct medium *medium)
{
	((struct mmc *)medium->dev)->eject_event = true;
}

/*
 * Commands.
 */
static void test_unit_ready(struct mmc *m, struct mmc_cmd *c)
{
	if (mmc_need_medium(m, c))
		mmc_ok(c);
}

static void request_sense(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = MMC_SENSE_LEN };

	if (!m->key && m->attention) {
		bool reset = m->attention & MMC_UA_RESET;

		m->attention &= (uint8_t)~(reset ? MMC_UA_RESET : MMC_UA_MEDIUM);
		m->key = 6;
		m->asc = reset ? 0x29 : 0x28;
	}
	make_sense(r.b, m->key, m->asc, m->ascq);
	mmc_send(c, &r, c->cdb[4]);
}

static void prevent_allow(struct mmc *m, struct mmc_cmd *c)
{
	m->medium.locked = c->cdb[4] & 1;
	mmc_ok(c);
}

static void start_stop(struct mmc *m, struct mmc_cmd *c)
{
	bool load_eject = c->cdb[4] & 2, start = c->cdb[4] & 1;

	if (c->cdb[4] >> 4 || !load_eject) { /* power conditions, the motor */
		mmc_ok(c);
		return;
	}
	if (!start && m->medium.locked && !m->medium.tray_open) {
		mmc_fail(c, SENSE_LOCKED);
		return;
	}
	medium_guest_tray(&m->medium, !start);
	mmc_ok(c);
}

static void read_capacity(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 8 };
	uint32_t blocks = mmc_blocks(m);

	if (!mmc_need_medium(m, c))
		return;
	st_be32(r.b, blocks ? blocks - 1 : 0);
	st_be32(r.b + 4, MMC_BLOCK);
	mmc_send(c, &r, 8);
}

static void report_luns(struct mmc *m, struct mmc_cmd *c)
{
	struct reply r = { .len = 16 };

	st_be32(r.b, 8); /* one, number 0 */
	mmc_send(c, &r, ld_be32(c->cdb + 6));
}

/* Where a head could be moved to, or what could be looked at. */
static void in_range(struct mmc *m, struct mmc_cmd *c)
{
	uint64_t count = c->cdb[0] == 0x2f ? ld_be16(c->cdb + 7) : 1;

	if (!mmc_need_medium(m, c))
		return;
	if (ld_be32(c->cdb + 2) + count > mmc_blocks(m))
		mmc_fail(c, SENSE_LBA_RANGE);
	else
		mmc_ok(c);
}

static void nothing_to_do(struct mmc *m, struct mmc_cmd *c)
{
	mmc_ok(c);
}

/*
 * MODE SELECT: pages that exist may be sent; none of ours holds a value that matters.
 */
static bool pages_ok(const uint8_t *p, uint32_t len)
{
	while (len >= 2) {
		uint8_t page = p[0] & 0x3f;
		uint32_t size = p[1] + 2u;

		if (page != 0x01 && page != 0x0d && page != 0x0e && page != 0x1a &&
		    page != 0x1d && page != 0x2a)
			return false;
		if (size > len)
			return false;
		p += size;
		len -= size;
	}
	return len == 0;
}

static void mode_select_move(struct xfer *x, uint32_t len)
{
	struct mmc_cmd *c = x->owner;
	bool ten = c->cdb[0] == 0x55;
	const uint8_t *p = x->buf->data;
	uint32_t header = ten ? 8 : 4, blocks = 0;

	x->moved += len;
	if (len >= header)
		blocks = ten ? ld_be16(p + 6) : p[3];
	if (len < header || header + blocks > len)
		mmc_fail(c, SENSE_PARAMETER_LENGTH);
	else if (!pages_ok(p + header + blocks, len - header - blocks))
		mmc_fail(c, SENSE_INVALID_PARAMETER);
	else
		mmc_ok(c);
}

static void mode_select(struct mmc *m, struct mmc_cmd *c)
{
	static const struct xfer_ops ops = { mode_select_move, NULL };
	uint32_t len = c->cdb[0] == 0x55 ? ld_be16(c->cdb + 7) : c->cdb[4];

	if (c->cdb[1] & 1) { /* save pages */
		mmc_fail(c, SENSE_INVALID_FIELD);
		return;
	}
	if (!len) {
		mmc_ok(c);
		return;
	}
	if (len > MMC_MOVE_MIN || !xfer_reserve(c->x, MMC_MOVE_MIN)) {
		mmc_fail(c, SENSE_PARAMETER_LENGTH);
		return;
	}
	c->x->ops = &ops;
	c->x->dir = XFER_OUT;
	c->x->len = c->x->block = len;
	c->x->phase = XFER_DATA;
}

/* ATTENTION: done even while a unit attention waits to be told (SPC-4, 5.14). */
#define ATTENTION 1

static const struct {
	uint8_t opcode, flags;
	mmc_handler *fn;
} commands[] = {
	{ 0x00, 0, test_unit_ready },
	{ 0x03, ATTENTION, request_sense },
	{ 0x12, ATTENTION, mmc_do_inquiry },
	{ 0x15, 0, mode_select },
	{ 0x1a, 0, mmc_do_mode_sense },
	{ 0x1b, 0, start_stop },
	{ 0x1e, 0, prevent_allow },
	{ 0x23, 0, mmc_do_format_capacities },
	{ 0x25, 0, read_capacity },
	{ 0x28, 0, mmc_do_read },
	{ 0x2b, 0, in_range }, /* SEEK (10) */
	{ 0x2f, 0, in_range }, /* VERIFY (10) */
	{ 0x35, 0, nothing_to_do }, /* SYNCHRONIZE CACHE */
	{ 0x42, 0, mmc_do_subchannel },
	{ 0x43, 0, mmc_do_read_toc },
	{ 0x46, ATTENTION, mmc_do_get_configuration },
	{ 0x4a, ATTENTION, mmc_do_events },
	{ 0x4e, 0, nothing_to_do }, /* STOP PLAY/SCAN: nothing plays */
	{ 0x51, 0, mmc_do_disc_info },
	{ 0x52, 0, mmc_do_track_info },
	{ 0x55, 0, mode_select },
	{ 0x5a, 0, mmc_do_mode_sense },
	{ 0xa0, ATTENTION, report_luns },
	{ 0xa8, 0, mmc_do_read },
	{ 0xac, 0, mmc_do_performance },
	{ 0xad, 0, mmc_do_dvd_structure },
	{ 0xb9, 0, mmc_do_read_cd },
	{ 0xbb, 0, nothing_to_do }, /* SET CD SPEED */
	{ 0xbd, 0, mmc_do_mechanism },
	{ 0xbe, 0, mmc_do_read_cd },
};

void mmc_start(struct mmc *m, struct mmc_cmd *c)
{
	struct xfer *x = c->x;

	c->mmc = m;
	x->owner = c;
	c->status = MMC_GOOD;
	c->lba = 0;
	memset(c->sense, 0, sizeof(c->sense));
	x->phase = XFER_BUSY;
	x->dir = XFER_NONE;
	x->len = x->moved = 0;
	x->block = 1;
	for (size_t i = 0; i < array_size(commands); i++) {
		if (commands[i].opcode != c->cdb[0])
			continue;
		if (m->attention && !c->again && !(commands[i].flags & ATTENTION)) {
			bool reset = m->attention & MMC_UA_RESET;

			m->attention &= (uint8_t)~(reset ? MMC_UA_RESET : MMC_UA_MEDIUM);
			if (reset)
				mmc_fail(c, SENSE_UA_RESET);
			else
				mmc_fail(c, SENSE_UA_MEDIUM);
			return;
		}
		commands[i].fn(m, c);
		return;
	}
	mmc_fail(c, SENSE_INVALID_OPCODE);
}

/*
 * Life.
 */
void mmc_init(struct mmc *m, struct blk *blk, const struct mmc_id *id)
{
	static const struct medium_ops ops = { moved, eject_request };

	*m = (struct mmc){ .id = *id };
	m->medium = (struct medium){ .ops = &ops, .dev = m, .blk = blk, .has_tray = true };
	drive_init(&m->drive, blk);
	mmc_reset(m);
}

void mmc_fini(struct mmc *m)
{
	drive_fini(&m->drive);
}

void mmc_reset(struct mmc *m)
{
	m->key = m->asc = m->ascq = 0;
	m->attention = MMC_UA_RESET;
	m->medium.locked = false;
	m->mounted = medium_present(&m->medium);
	m->media_event = m->eject_event = false;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct mmc *m = obj;

	m->attention &= MMC_UA_RESET | MMC_UA_MEDIUM;
	m->key &= 15;
	return 0;
}

static const struct state_field fields[] = {
	STATE_U8(struct mmc, key, 1),
	STATE_U8(struct mmc, asc, 1),
	STATE_U8(struct mmc, ascq, 1),
	STATE_U8(struct mmc, attention, 1),
	STATE_BOOL(struct mmc, mounted, 1),
	STATE_BOOL(struct mmc, media_event, 1),
	STATE_BOOL(struct mmc, eject_event, 1),
	STATE_BOOL(struct mmc, medium.tray_open, 1),
	STATE_BOOL(struct mmc, medium.locked, 1),
	STATE_END
};

const struct state_desc mmc_state = {
	.name = "mmc", .version = 1, .fields = fields, .post_load = post_load,
};

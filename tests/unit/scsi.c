/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-scsi and the disks behind it, as a driver sees them. */
#include <errno.h>

#include "src/dev/storage/medium.h"
#include "src/dev/storage/scsi.h"
#include "tests/unit/disk_rig.h"
#include "tests/unit/virtio_rig.h"

#define DISK (1u << 20)
#define F_HOTPLUG VIRTIO_BIT(1)
#define F_CHANGE VIRTIO_BIT(2)
#define ALL (F_HOTPLUG | F_CHANGE | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
#define RESP 108u

struct rig {
	struct vrig r;
	struct fake_disk *disk;
	const struct dev_desc *hd;
	void *unit;
	/* Of the last command. */
	uint8_t response, status, sense[18];
	uint32_t resid;
};

static void *find(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	return ((struct rig *)opaque)->disk->blk;
}

static void plug_disk(struct rig *g, unsigned target)
{
	struct dev_prop_text props[] = { { "drive", "d" }, { "serial", "4711" },
					 { "wwn", "5764824127192592385" } };
	struct dev_plug plug = { .env = &g->r.f.env, .id = "hd0", .parent = g->r.dev,
				 .slot = target };
	struct dev_backends b = { find, g };
	struct err err = { "" };

	g->hd = dev_find("scsi-hd");
	assert_non_null(g->hd);
	if (dev_new(g->hd, &plug, props, array_size(props), &b, &g->unit, &err))
		fail_msg("%s", err.text);
}

static struct rig *rig_new(bool writable)
{
	struct rig *g = calloc(1, sizeof(*g));
	struct dev_prop_text props[] = { { "packed", "on" }, { "num_queues", "2" } };

	rig_init(&g->r);
	g->disk = fake_disk_new(DISK, writable, rig_post, &g->r,
				(struct blk_config){ .on_write_error = BLK_ERROR_ENOSPC });
	rig_plug(&g->r, "virtio-scsi", props, array_size(props), NULL);
	plug_disk(g, 3);
	return g;
}

static void rig_free(struct rig *g)
{
	dev_free(g->hd, g->unit);
	rig_unplug(&g->r);
	fake_disk_free(g->disk);
	rig_fini(&g->r);
	free(g);
}

static void put_header(uint8_t *h, unsigned target, unsigned lun, const uint8_t *cdb, unsigned len)
{
	memset(h, 0, 51);
	h[0] = 1;
	h[1] = (uint8_t)target;
	st_be16(h + 2, (uint16_t)(0x4000 | lun));
	st_le64(h + 8, 0x1234);
	memcpy(h + 19, cdb, len);
}

/* Sends @cdb with @data_len bytes at @data; bytes moved. */
static uint32_t send(struct rig *g, unsigned target, unsigned lun, const uint8_t *cdb, unsigned len,
		     gpa_t data, uint32_t data_len, bool in)
{
	struct vrig *r = &g->r;
	gpa_t head = buffer(r, 51), resp = buffer(r, RESP);
	struct seg s[3] = { { head, 51, false } };
	unsigned n = 1;
	uint32_t written;
	uint8_t *p = ram(r, resp);

	put_header(ram(r, head), target, lun, cdb, len);
	if (data_len && !in)
		s[n++] = (struct seg){ data, data_len, false };
	s[n++] = (struct seg){ resp, RESP, true };
	if (data_len && in)
		s[n++] = (struct seg){ data, data_len, true };
	memset(p, 0xee, RESP);
	written = transact(r, 2, s, n);
	assert_true(written >= RESP);
	g->resid = ld_le32(p + 4);
	g->status = p[10];
	g->response = p[11];
	memcpy(g->sense, p + 12, 18);
	if (g->response == 0 && g->status == 2)
		assert_int_equal(ld_le32(p), 18);
	return data_len - g->resid;
}

#define CDB(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static void good(struct rig *g)
{
	if (g->response || g->status)
		fail_msg("response %u status %u sense %02x/%02x/%02x", g->response, g->status,
			 g->sense[2], g->sense[12], g->sense[13]);
}

static void bad(struct rig *g, uint8_t key, uint8_t asc, uint8_t ascq)
{
	assert_int_equal(g->status, 2);
	assert_int_equal(g->sense[2], key);
	assert_int_equal(g->sense[12], asc);
	assert_int_equal(g->sense[13], ascq);
}

/* Starts the driver and hears of the reset. */
static void begin(struct rig *g, uint64_t features)
{
	rig_start(&g->r, features, 4, 64);
	send(g, 3, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 6, 0x29, 0);
}

static void test_info(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 512);
	uint8_t *p = ram(r, at);

	assert_int_equal(pci_cfg(r, 0), 0x10041af4);
	assert_int_equal(config(r, 0, 4), 2);
	assert_int_equal(config(r, 30, 2), 255);
	begin(g, ALL);
	assert_int_equal(send(g, 3, 0, CDB(0x12, 0, 0, 0, 255, 0), at, 255, true), 36);
	good(g);
	assert_memory_equal(p + 8, "BOTHY   DISK            1.0 ", 28);
	assert_int_equal(p[0], 0);
	assert_int_equal(send(g, 3, 0, CDB(0x12, 1, 0x80, 0, 255, 0), at, 255, true), 8);
	assert_memory_equal(p + 4, "4711", 4);
	send(g, 3, 0, CDB(0x12, 1, 0x83, 0, 255, 0), at, 255, true);
	good(g);
	assert_int_equal(p[5], 1);
	assert_memory_equal(p + 8, "BOTHY   4711", 12);
	assert_int_equal(ld_be64(p + 24), 5764824127192592385ull);
	for (unsigned page = 0xb0; page <= 0xb2; page++) {
		send(g, 3, 0, CDB(0x12, 1, (uint8_t)page, 0, 255, 0), at, 255, true);
		good(g);
	}
	send(g, 3, 0, CDB(0x12, 1, 0x55, 0, 255, 0), at, 255, true);
	bad(g, 5, 0x24, 0);
	assert_int_equal(send(g, 3, 0, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), at, 8, true), 8);
	assert_int_equal(ld_be32(p), DISK / 512 - 1);
	assert_int_equal(ld_be32(p + 4), 512);
	send(g, 3, 0, CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0), at, 32, true);
	good(g);
	assert_int_equal(ld_be64(p), DISK / 512 - 1);
	assert_int_equal(p[14] & 0x80, 0x80);
	send(g, 3, 0, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0), at, 16, true);
	good(g);
	assert_int_equal(ld_be32(p), 8);
	send(g, 3, 0, CDB(0xff, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 5, 0x20, 0);
	/* Units and targets that are not there. */
	send(g, 3, 1, CDB(0x12, 0, 0, 0, 36, 0), at, 36, true);
	good(g);
	assert_int_equal(p[0], 0x7f);
	send(g, 3, 1, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 5, 0x25, 0);
	send(g, 4, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	assert_int_equal(g->response, 3);
	rig_free(g);
}

static void test_rw(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 8192);
	uint8_t *p = ram(r, at);

	for (unsigned kind = 0; kind < 2; kind++) {
		begin(g, ALL | (kind ? VIRTIO_F_RING_PACKED : 0));
		assert_int_equal(send(g, 3, 0, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0), at, 4096, true),
				 4096);
		good(g);
		assert_memory_equal(p, g->disk->data + 4096, 4096);
		memset(p, 0x11 + (int)kind, 4096);
		send(g, 3, 0, CDB(0x2a, 0, 0, 0, 0, 16, 0, 0, 8, 0), at, 4096, false);
		good(g);
		assert_memory_equal(p, g->disk->data + 8192, 4096);
		send(g, 3, 0, CDB(0x08, 0, 0, 2, 1, 0), at, 512, true);
		good(g);
		assert_memory_equal(p, g->disk->data + 1024, 512);
		send(g, 3, 0, CDB(0x88, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0), at, 1024, true);
		good(g);
		assert_memory_equal(p, g->disk->data + 2048, 1024);
		send(g, 3, 0, CDB(0xa8, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0), at, 512, true);
		good(g);
		assert_memory_equal(p, g->disk->data + 2560, 512);
	}
	/* More memory than asked for, and less. */
	assert_int_equal(send(g, 3, 0, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0), at, 4096, true), 512);
	good(g);
	send(g, 3, 0, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0), at, 512, true);
	assert_int_equal(g->response, 1);
	send(g, 3, 0, CDB(0x28, 0, 0, 0, 0x08, 0, 0, 0, 1, 0), at, 512, true);
	bad(g, 5, 0x21, 0);
	send(g, 3, 0, CDB(0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 2, 0, 0), at, 1024,
	     true);
	bad(g, 5, 0x21, 0);
	/* Errors of the host. */
	g->disk->fail_reads = EIO;
	send(g, 3, 0, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0), at, 512, true);
	bad(g, 3, 0x11, 0);
	g->disk->fail_reads = 0;
	g->disk->fail_writes = EIO;
	send(g, 3, 0, CDB(0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0), at, 512, false);
	bad(g, 3, 0x0c, 0);
	g->disk->fail_writes = 0;
	/* Flushes. */
	g->disk->flushes = 0;
	send(g, 3, 0, CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 0, false);
	assert_int_equal(g->disk->flushes, 1);
	send(g, 3, 0, CDB(0x2a, 8, 0, 0, 0, 8, 0, 0, 1, 0), at, 512, false); /* FUA */
	assert_int_equal(g->disk->flushes, 2);
	rig_free(g);
}

static void test_verify_same_unmap(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 65536);
	uint8_t *p = ram(r, at);

	begin(g, ALL);
	memcpy(p, g->disk->data, 8192);
	send(g, 3, 0, CDB(0x2f, 2, 0, 0, 0, 0, 0, 0, 16, 0), at, 8192, false);
	good(g);
	p[8000] ^= 1;
	send(g, 3, 0, CDB(0x2f, 2, 0, 0, 0, 0, 0, 0, 16, 0), at, 8192, false);
	bad(g, 0xe, 0x1d, 0);
	send(g, 3, 0, CDB(0x2f, 0, 0, 0, 0, 0, 0, 0, 16, 0), 0, 0, false);
	good(g);
	send(g, 3, 0, CDB(0x2f, 0, 0, 0, 8, 0, 0, 0, 1, 0), 0, 0, false);
	bad(g, 5, 0x21, 0);
	/* WRITE SAME: a pattern over more than one step, zeroes, zeroes that unmap. */
	memset(p, 0x99, 512);
	send(g, 3, 0, CDB(0x93, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0, 0), at, 512, false);
	good(g);
	for (unsigned n = 4; n < 4 + 1024; n++)
		assert_memory_equal(g->disk->data + n * 512, p, 512);
	memset(p, 0, 512);
	g->disk->unmapped = true;
	send(g, 3, 0, CDB(0x41, 0, 0, 0, 0, 4, 0, 0, 2, 0), at, 512, false);
	good(g);
	assert_true(block_is_zero(g->disk->data + 2048, 1024));
	assert_false(g->disk->unmapped);
	send(g, 3, 0, CDB(0x93, 9, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0), 0, 0, false);
	good(g);
	assert_true(g->disk->unmapped);
	/* UNMAP: two ranges. */
	memset(p, 0, 64);
	st_be16(p, 38);
	st_be16(p + 2, 32);
	st_be64(p + 8, 100);
	st_be32(p + 16, 10);
	st_be64(p + 24, 200);
	st_be32(p + 32, 20);
	send(g, 3, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), at, 40, false);
	good(g);
	assert_int_equal(g->disk->discards, 2);
	assert_true(block_is_zero(g->disk->data + 200 * 512, 20 * 512));
	st_be64(p + 24, DISK / 512);
	send(g, 3, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), at, 40, false);
	bad(g, 5, 0x21, 0);
	st_be16(p + 2, 64);
	send(g, 3, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), at, 40, false);
	bad(g, 5, 0x1a, 0);
	assert_int_equal(g->disk->discards, 2);
	rig_free(g);
}

static void test_modes(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 512);
	uint8_t *p = ram(r, at);

	begin(g, ALL);
	send(g, 3, 0, CDB(0x1a, 8, 8, 0, 255, 0), at, 255, true);
	good(g);
	assert_int_equal(p[2], 0x10);
	assert_int_equal(p[4], 8);
	assert_int_equal(p[6], 4); /* WCE */
	p[0] = 0;
	p[6] = 0;
	send(g, 3, 0, CDB(0x15, 0x10, 0, 0, 24, 0), at, 24, false);
	good(g);
	g->disk->flushes = 0;
	send(g, 3, 0, CDB(0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0), at, 512, false);
	assert_int_equal(g->disk->flushes, 1);
	send(g, 3, 0, CDB(0x5a, 8, 0x3f, 0, 0, 0, 0, 0, 255, 0), at, 255, true);
	good(g);
	assert_int_equal(ld_be16(p) + 2, 8 + 12 + 20 + 12);
	assert_int_equal(p[8 + 12 + 2], 0);
	p[8 + 4] ^= 1; /* what may not change */
	st_be16(p, 0);
	send(g, 3, 0, CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, 52, 0), at, 52, false);
	bad(g, 5, 0x26, 0);
	send(g, 3, 0, CDB(0x1a, 0, 0xc8, 0, 255, 0), at, 255, true);
	bad(g, 5, 0x39, 0);
	send(g, 3, 0, CDB(0x1a, 0, 0x1c, 0, 255, 0), at, 255, true);
	bad(g, 5, 0x24, 0);
	rig_free(g);
	g = rig_new(false);
	begin(g, ALL);
	send(g, 3, 0, CDB(0x1a, 8, 8, 0, 255, 0), at, 255, true);
	assert_int_equal(((uint8_t *)ram(&g->r, at))[2], 0x90);
	send(g, 3, 0, CDB(0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0), at, 512, false);
	bad(g, 7, 0x27, 0);
	send(g, 3, 0, CDB(0x41, 0, 0, 0, 0, 4, 0, 0, 2, 0), at, 512, false);
	bad(g, 7, 0x27, 0);
	rig_free(g);
}

static unsigned tmf(struct rig *g, uint32_t subtype, unsigned target, uint64_t tag)
{
	struct vrig *r = &g->r;
	gpa_t head = buffer(r, 24), resp = buffer(r, 1);
	uint8_t *h = ram(r, head);

	memset(h, 0, 24);
	st_le32(h + 4, subtype);
	h[8] = 1;
	h[9] = (uint8_t)target;
	st_le64(h + 16, tag);
	*(uint8_t *)ram(r, resp) = 0xee;
	transact(r, 0, (struct seg[]){ { head, 24, false }, { resp, 1, true } }, 2);
	return *(uint8_t *)ram(r, resp);
}

/* A write that the host's full disk holds back. */
static gpa_t hold(struct rig *g)
{
	struct vrig *r = &g->r;
	gpa_t head = buffer(r, 51), resp = buffer(r, RESP), at = buffer(r, 512);
	unsigned stops = g->disk->stops;

	put_header(ram(r, head), 3, 0, CDB(0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0));
	memset(ram(r, resp), 0xee, RESP);
	g->disk->fail_writes = ENOSPC;
	add(r, 2, (struct seg[]){ { head, 51, false }, { at, 512, false }, { resp, RESP, true } }, 3);
	kick(r, 2);
	while (g->disk->stops == stops)
		rig_turn(r, true);
	return resp;
}

static void test_tasks(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	uint32_t len, id;
	gpa_t resp, head, answer;
	uint8_t *h;

	begin(g, ALL);
	assert_int_equal(tmf(g, 6, 3, 0x1234), 0); /* no such task */
	assert_int_equal(tmf(g, 0, 3, 0x1234), 0);
	assert_int_equal(tmf(g, 5, 4, 0), 3); /* no such target */
	assert_int_equal(tmf(g, 77, 3, 0), 11);
	assert_int_equal(tmf(g, 5, 3, 0), 0);
	send(g, 3, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 6, 0x29, 0); /* it was reset */
	/* A task that is aborted while it cannot end: both answers come when it can. */
	resp = hold(g);
	assert_int_equal(tmf(g, 6, 3, 0x1234), 10);
	head = buffer(r, 24);
	answer = buffer(r, 1);
	h = ram(r, head);
	memset(h, 0, 24);
	h[8] = 1;
	h[9] = 3;
	st_le64(h + 16, 0x1234);
	add(r, 0, (struct seg[]){ { head, 24, false }, { answer, 1, true } }, 2);
	kick(r, 0);
	assert_false(used(r, 0, &id, &len));
	g->disk->fail_writes = 0;
	blk_resume(g->disk->blk);
	wait_used(r, 0, &len);
	wait_used(r, 2, &len);
	assert_int_equal(((uint8_t *)ram(r, resp))[11], 2);
	assert_int_equal(*(uint8_t *)ram(r, answer), 0);
	/* The device's reset lets it go. */
	hold(g);
	set_reg(r, C_STATUS, 0, 1);
	assert_false(used(r, 2, &id, &len));
	g->disk->fail_writes = 0;
	begin(g, ALL);
	rig_free(g);
}

static void test_events(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 64);
	struct scsi_bus *bus = r->dev;
	uint32_t len;
	uint8_t *p = ram(r, at);

	begin(g, ALL);
	add(r, 1, &(struct seg){ at, 16, true }, 1);
	kick(r, 1);
	bus->changed(bus, 3, 0x2a, 9);
	wait_used(r, 1, &len);
	assert_int_equal(len, 16);
	assert_int_equal(ld_le32(p), 3);
	assert_int_equal(p[5], 3);
	assert_int_equal(ld_le32(p + 12), 0x092a);
	/* One that found no room is told of when there is. */
	dev_free(g->hd, g->unit);
	plug_disk(g, 7);
	add(r, 1, &(struct seg){ at, 16, true }, 1);
	kick(r, 1);
	wait_used(r, 1, &len);
	assert_int_equal(ld_le32(p), 0x80000000);
	add(r, 1, &(struct seg){ at, 16, true }, 1);
	kick(r, 1);
	dev_free(g->hd, g->unit);
	wait_used(r, 1, &len);
	assert_int_equal(ld_le32(p), 1);
	assert_int_equal(p[5], 7);
	assert_int_equal(ld_le32(p + 12), 2);
	plug_disk(g, 3);
	rig_free(g);
}

static void test_wrong(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 4096);
	const struct { unsigned q; struct seg s[3]; unsigned n; } chain[] = {
		{ 2, { { at, 50, false }, { at, RESP, true } }, 2 },
		{ 2, { { at, 51, false }, { at, RESP - 1, true } }, 2 },
		{ 2, { { at, 51, false } }, 1 },
		{ 2, { { at, RESP, true } }, 1 },
		{ 0, { { at, 10, false }, { at, 1, true } }, 2 },
		{ 0, { { at, 24, false } }, 1 },
	};

	for (unsigned i = 0; i < array_size(chain); i++) {
		begin(g, ALL);
		add(r, chain[i].q, chain[i].s, chain[i].n);
		kick(r, chain[i].q);
		assert_int_equal(reg(r, C_STATUS, 1), 15 | VIRTIO_STATUS_NEEDS_RESET);
	}
	begin(g, ALL); /* an event buffer that is too short */
	add(r, 1, &(struct seg){ at, 15, true }, 1);
	kick(r, 1);
	((struct scsi_bus *)r->dev)->changed(r->dev, 3, 0x2a, 9);
	assert_int_equal(reg(r, C_STATUS, 1), 15 | VIRTIO_STATUS_NEEDS_RESET);
	/* Data both ways. */
	begin(g, ALL);
	put_header(ram(r, at), 3, 0, CDB(0, 0, 0, 0, 0, 0));
	transact(r, 2, (struct seg[]){ { at, 60, false }, { at + 1024, RESP + 5, true } }, 2);
	assert_int_equal(((uint8_t *)ram(r, at + 1024))[11], 9);
	/* Other sizes of CDB and sense data, as the driver wants them. */
	set_reg(r, 0x2000 + 24, 0xffffffff, 4);
	assert_int_equal(config(r, 24, 4), 32);
	set_reg(r, 0x2000 + 20, 200, 4);
	assert_int_equal(config(r, 20, 4), 96);
	rig_free(g);
}

static void test_state(void **state)
{
	struct rig *g = rig_new(true);
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 4096);

	check_roundtrip(r->desc->state, r->dev);
	check_roundtrip(g->hd->state, g->unit);
	for (unsigned kind = 0; kind < 2; kind++) {
		begin(g, ALL | (kind ? VIRTIO_F_RING_PACKED : 0));
		for (unsigned i = 0; i < 10; i++)
			send(g, 3, 0, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0), at, 4096, true);
		check_roundtrip(r->desc->state, r->dev);
		check_roundtrip(g->hd->state, g->unit);
		for (unsigned i = 0; i < 80; i++) {
			send(g, 3, 0, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0), at, 4096, true);
			good(g);
		}
		check_hostile(r->desc->state, r->dev, NULL, 200);
	}
	r->desc->reset(r->dev);
	g->hd->reset(g->unit);
	rig_enable(r, true);
	begin(g, ALL);
	rig_free(g);
}

/* Every opcode with all kinds of arguments: an answer each time. */
static void test_storm(void **state)
{
	struct rig *g = rig_new(true);
	uint64_t seed = 1;
	gpa_t at = buffer(&g->r, 4096);

	begin(g, ALL);
	for (unsigned n = 0; n < 20000; n++) {
		uint8_t cdb[16];

		for (unsigned i = 0; i < 16; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			cdb[i] = seed >> 60 ? 0 : (uint8_t)(seed >> 33);
		}
		cdb[0] = (uint8_t)(n ^ n >> 8);
		send(g, 3, 0, cdb, 16, at, (uint32_t)(seed >> 40 & 0x7ff), seed >> 32 & 1);
	}
	send(g, 3, 0, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0), at, 4096, true);
	good(g);
	assert_int_equal(reg(&g->r, C_STATUS, 1), 15);
	rig_free(g);
}

/* A CD: several commands at once, more than a buffer, no medium, a new medium. */
static void test_cd(void **state)
{
	struct rig *g = rig_new(false);
	struct vrig *r = &g->r;
	const struct dev_desc *desc = dev_find("scsi-cd");
	struct dev_prop_text props[] = { { "drive", "d" } };
	struct dev_plug plug = { .env = &r->f.env, .id = "cd0", .parent = r->dev, .slot = 5 };
	struct dev_backends b = { find, g };
	gpa_t at = buffer(r, 512 << 10), ev = buffer(r, 16);
	uint8_t *p = ram(r, at);
	struct medium *m;
	uint32_t len;
	void *cd;

	assert_int_equal(dev_new(desc, &plug, props, 1, &b, &cd, NULL), 0);
	begin(g, ALL);
	send(g, 5, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 6, 0x29, 0);
	send(g, 5, 0, CDB(0x12, 0, 0, 0, 36, 0), at, 36, true);
	good(g);
	assert_int_equal(p[0], 5);
	assert_memory_equal(p + 8, "BOTHY   CD-ROM", 14);
	assert_int_equal(send(g, 5, 0, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), at, 8, true), 8);
	assert_int_equal(ld_be32(p), DISK / 2048 - 1);
	assert_int_equal(send(g, 5, 0, CDB(0x28, 0, 0, 0, 0, 4, 0, 0, 200, 0), at, 200 * 2048, true),
			 200 * 2048);
	good(g);
	assert_memory_equal(p, g->disk->data + 8192, 200 * 2048);
	assert_int_equal(send(g, 5, 0, CDB(0x28, 0, 0, 0, 0, 4, 0, 0, 2, 0), at, 100, true), 100);
	send(g, 5, 0, CDB(0x28, 0, 0, 0, 2, 0, 0, 0, 1, 0), at, 2048, true);
	bad(g, 5, 0x21, 0);
	check_roundtrip(desc->state, cd);
	for (unsigned i = 0; i < 8; i++) { /* they queue */
		gpa_t head = buffer(r, 51);

		put_header(ram(r, head), 5, 0, CDB(0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0));
		add(r, 2, (struct seg[]){ { head, 51, false }, { buffer(r, RESP), RESP, true },
					  { at, 2048, true } }, 3);
	}
	kick(r, 2);
	for (unsigned i = 0; i < 8; i++) {
		wait_used(r, 2, &len);
		assert_int_equal(len, RESP + 2048);
	}
	/* The tray, from outside. */
	add(r, 1, &(struct seg){ ev, 16, true }, 1);
	kick(r, 1);
	m = desc->medium(cd);
	assert_int_equal(medium_eject(m, false, NULL), 0);
	wait_used(r, 1, &len);
	assert_int_equal(((uint8_t *)ram(r, ev))[5], 5);
	send(g, 5, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 2, 0x3a, 2);
	assert_int_equal(medium_change(m, fake_node(g->disk, false), false, NULL), 0);
	send(g, 5, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 6, 0x28, 0);
	send(g, 5, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	good(g);
	/* A reset with commands under way. */
	for (unsigned i = 0; i < 4; i++) {
		gpa_t head = buffer(r, 51);

		put_header(ram(r, head), 5, 0, CDB(0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0));
		add(r, 2, (struct seg[]){ { head, 51, false }, { buffer(r, RESP), RESP, true },
					  { at, 2048, true } }, 3);
	}
	kick(r, 2);
	set_reg(r, C_STATUS, 0, 1);
	rig_start(r, ALL, 4, 64);
	send(g, 5, 0, CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
	bad(g, 6, 0x29, 0);
	send(g, 5, 0, CDB(0x28, 0, 0, 0, 0, 4, 0, 0, 2, 0), at, 4096, true);
	good(g);
	dev_free(desc, cd);
	rig_free(g);
}

static void test_names(void **state)
{
	struct rig *g = rig_new(true);
	char name[64];

	g->r.desc->fw_name(g->r.dev, name, sizeof(name));
	assert_string_equal(name, "scsi@4");
	g->hd->fw_name(g->unit, name, sizeof(name));
	assert_string_equal(name, "channel@0/disk@3,0");
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info), cmocka_unit_test(test_rw),
		cmocka_unit_test(test_verify_same_unmap), cmocka_unit_test(test_modes),
		cmocka_unit_test(test_tasks), cmocka_unit_test(test_events),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_state),
		cmocka_unit_test(test_storm), cmocka_unit_test(test_cd),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

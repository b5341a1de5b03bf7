/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk as a driver sees it. */
#include <errno.h>

#include "tests/unit/disk_rig.h"
#include "tests/unit/virtio_rig.h"

#define DISK (1u << 20)
#define F_RO VIRTIO_BIT(5)
#define F_FLUSH VIRTIO_BIT(9)
#define F_CONFIG_WCE VIRTIO_BIT(11)
#define F_MQ VIRTIO_BIT(12)
#define F_DISCARD VIRTIO_BIT(13)
#define F_WRITE_ZEROES VIRTIO_BIT(14)
#define ALL (F_FLUSH | F_CONFIG_WCE | F_DISCARD | F_WRITE_ZEROES | VIRTIO_F_INDIRECT_DESC | \
	     VIRTIO_F_EVENT_IDX)
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { OK, IOERR, UNSUPP };

struct rig {
	struct vrig r;
	struct fake_disk *disk;
};

static void *find(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	struct rig *g = opaque;

	assert_int_equal(type, DEV_PROP_DRIVE);
	return g->disk->blk;
}

static struct rig *rig_new(uint64_t len, bool writable, struct blk_config c, const char *queues)
{
	struct rig *g = calloc(1, sizeof(*g));
	struct dev_prop_text props[] = { { "drive", "d0" }, { "serial", "a-serial-number-of-m" },
					 { "packed", "on" }, { "num-queues", queues } };
	struct dev_backends b = { find, g };

	rig_init(&g->r);
	g->disk = fake_disk_new(len, writable, rig_post, &g->r, c);
	rig_plug(&g->r, "virtio-blk", props, array_size(props), &b);
	return g;
}

static void rig_free(struct rig *g)
{
	rig_unplug(&g->r);
	fake_disk_free(g->disk);
	rig_fini(&g->r);
	free(g);
}

/* A request's header and answer around @data; the status. */
static unsigned request_on(struct rig *g, unsigned queue, uint32_t type, uint64_t sector,
			   const struct seg *data, unsigned n, uint32_t *len)
{
	gpa_t head = buffer(&g->r, 16), status = buffer(&g->r, 1);
	struct seg s[18] = { { head, 16, false } };
	uint8_t *h = ram(&g->r, head);

	st_le32(h, type);
	st_le32(h + 4, 0);
	st_le64(h + 8, sector);
	for (unsigned i = 0; i < n; i++)
		s[1 + i] = data[i];
	s[1 + n] = (struct seg){ status, 1, true };
	*(uint8_t *)ram(&g->r, status) = 0xee;
	*len = transact(&g->r, queue, s, n + 2);
	return *(uint8_t *)ram(&g->r, status);
}

static unsigned request(struct rig *g, uint32_t type, uint64_t sector, gpa_t at, uint32_t size)
{
	struct seg s = { at, size, type == IN || type == GET_ID };
	uint32_t len;
	unsigned status = request_on(g, 0, type, sector, &s, size ? 1 : 0, &len);

	if (status == OK)
		assert_int_equal(len, (s.in && size ? size : 0) + 1);
	return status;
}

static unsigned clear(struct rig *g, uint32_t type, uint64_t sector, uint32_t count, uint32_t flags)
{
	gpa_t at = buffer(&g->r, 16);
	uint8_t *p = ram(&g->r, at);

	st_le64(p, sector);
	st_le32(p + 8, count);
	st_le32(p + 12, flags);
	return request(g, type, 0, at, 16);
}

static void test_config(void **state)
{
	struct rig *g = rig_new(DISK + 300, true, (struct blk_config){ 0 }, "4");
	struct vrig *r = &g->r;

	assert_int_equal(pci_cfg(r, 0), 0x10011af4);
	assert_int_equal(pci_cfg(r, 8) >> 16, 0x0100);
	assert_int_equal(rig_features(r) & (F_RO | F_MQ | F_DISCARD), F_MQ | F_DISCARD);
	assert_int_equal(reg(r, C_NUMQ, 2), 4);
	assert_int_equal(config(r, 0, 4), DISK / 512); /* whole sectors only */
	assert_int_equal(config(r, 12, 4), 254);
	assert_int_equal(config(r, 20, 4), 512);
	assert_int_equal(config(r, 32, 1), 1);
	assert_int_equal(config(r, 34, 2), 4);
	rig_free(g);
	g = rig_new(DISK, false, (struct blk_config){ 0 }, "1");
	assert_int_equal(rig_features(&g->r) & (F_RO | F_MQ | F_DISCARD), F_RO);
	rig_free(g);
}

static void io(struct rig *g, uint64_t features)
{
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 65536);
	struct seg s[16];
	uint32_t len;

	rig_start(r, features, 1, 64);
	assert_int_equal(request(g, IN, 8, at, 4096), OK);
	assert_memory_equal(ram(r, at), g->disk->data + 4096, 4096);
	memset(ram(r, at), 0x3c, 65536);
	assert_int_equal(request(g, OUT, 16, at, 65536), OK);
	assert_memory_equal(ram(r, at), g->disk->data + 8192, 65536);
	/* In pieces of odd length. */
	for (unsigned i = 0; i < 16; i++)
		s[i] = (struct seg){ at + i * 1000, i == 15 ? 8192 - 15 * 500 : 500, true };
	assert_int_equal(request_on(g, 0, IN, 1000, s, 16, &len), OK);
	assert_int_equal(len, 8193);
	assert_memory_equal(ram(r, at + 15000), g->disk->data + 512000 + 7500, 692);
	assert_memory_equal(ram(r, at + 1000), g->disk->data + 512000 + 500, 500);
	assert_int_equal(request(g, FLUSH, 0, 0, 0), OK);
	memset(ram(r, at), 0, 20);
	assert_int_equal(request(g, GET_ID, 0, at, 20), OK);
	assert_memory_equal(ram(r, at), "a-serial-number-of-m", 20);
	/* Refused. */
	assert_int_equal(request(g, IN, DISK / 512 - 1, at, 1024), IOERR);
	assert_int_equal(request(g, IN, ~0ull, at, 512), IOERR);
	assert_int_equal(request(g, OUT, 0, at, 513), IOERR);
	assert_int_equal(request(g, 77, 0, at, 512), UNSUPP);
	assert_int_equal(request(g, IN, DISK / 512, 0, 0), OK); /* nothing, at the end */
	g->disk->fail_reads = EIO;
	assert_int_equal(request(g, IN, 0, at, 512), IOERR);
	g->disk->fail_reads = 0;
	assert_int_equal(reg(r, C_STATUS, 1), 15);
}

static void test_io(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "1");

	io(g, ALL);
	io(g, F_FLUSH);
	io(g, ALL | VIRTIO_F_RING_PACKED);
	io(g, F_FLUSH | VIRTIO_F_RING_PACKED);
	rig_free(g);
}

static void test_clear(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "1");
	struct vrig *r = &g->r;

	rig_start(r, ALL, 1, 64);
	assert_int_equal(clear(g, ZEROES, 10, 4, 0), OK);
	assert_true(block_is_zero(g->disk->data + 5120, 2048));
	assert_int_not_equal(g->disk->data[5120 + 2048], 0);
	assert_false(g->disk->unmapped);
	assert_int_equal(clear(g, ZEROES, 20, 4, 1), OK);
	assert_true(g->disk->unmapped);
	assert_int_equal(clear(g, DISCARD, 30, 8, 0), OK);
	assert_int_equal(g->disk->discards, 1);
	assert_int_equal(clear(g, DISCARD, 30, 8, 1), UNSUPP);
	assert_int_equal(clear(g, ZEROES, 30, 8, 2), UNSUPP);
	assert_int_equal(clear(g, ZEROES, DISK / 512 - 1, 2, 0), IOERR);
	assert_int_equal(clear(g, DISCARD, ~0ull - 1, 8, 0), IOERR);
	assert_int_equal(clear(g, DISCARD, 0, 0xffffffff, 0), IOERR);
	assert_int_equal(request(g, DISCARD, 0, buffer(r, 32), 32), IOERR); /* two ranges */
	rig_start(r, F_FLUSH, 1, 64);
	assert_int_equal(clear(g, ZEROES, 10, 4, 0), UNSUPP);
	rig_free(g);
}

static void test_read_only(void **state)
{
	struct rig *g = rig_new(DISK, false, (struct blk_config){ 0 }, "1");
	gpa_t at = buffer(&g->r, 512);

	rig_start(&g->r, F_RO | F_FLUSH, 1, 64);
	assert_int_equal(request(g, IN, 0, at, 512), OK);
	assert_int_equal(request(g, OUT, 0, at, 512), IOERR);
	assert_int_equal(g->disk->writes, 0);
	rig_free(g);
}

/* When is a write answered? */
static void test_write_cache(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "1");
	gpa_t at = buffer(&g->r, 512);

	rig_start(&g->r, F_FLUSH, 1, 64);
	assert_int_equal(request(g, OUT, 0, at, 512), OK);
	assert_int_equal(g->disk->flushes, 0);
	assert_int_equal(request(g, FLUSH, 0, 0, 0), OK);
	assert_int_equal(g->disk->flushes, 1);
	rig_start(&g->r, 0, 1, 64); /* a driver that cannot flush */
	assert_int_equal(request(g, OUT, 0, at, 512), OK);
	assert_int_equal(g->disk->flushes, 2);
	rig_start(&g->r, F_FLUSH | F_CONFIG_WCE, 1, 64);
	set_reg(&g->r, 0x2000 + 32, 0, 1);
	assert_int_equal(request(g, OUT, 0, at, 512), OK);
	assert_int_equal(g->disk->flushes, 3);
	set_reg(&g->r, 0x2000 + 32, 1, 1);
	assert_int_equal(request(g, OUT, 0, at, 512), OK);
	assert_int_equal(g->disk->flushes, 3);
	rig_free(g);
}

static void test_queues(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "3");
	struct seg s = { buffer(&g->r, 512), 512, true };
	uint32_t len;

	rig_start(&g->r, ALL | F_MQ, 3, 64);
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(request_on(g, n, IN, n, &s, 1, &len), OK);
		assert_memory_equal(ram(&g->r, s.at), g->disk->data + n * 512, 512);
		assert_int_equal(g->r.f.msi_data, 0x41 + n);
	}
	rig_free(g);
}

/* Many at once, answered in any order. */
static void test_depth(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "1");
	struct vrig *r = &g->r;
	uint32_t len, id;

	for (unsigned kind = 0; kind < 2; kind++) {
		rig_start(r, ALL | (kind ? VIRTIO_F_RING_PACKED : 0), 1, 64);
		for (unsigned round = 0; round < 50; round++) {
			gpa_t at[32], status[32];

			for (unsigned i = 0; i < 32; i++) {
				gpa_t head = buffer(r, 16);
				uint8_t *h = ram(r, head);

				at[i] = buffer(r, 4096);
				status[i] = buffer(r, 1);
				st_le64(h, IN);
				st_le64(h + 8, (i * 37 + round) % 200 * 8);
				*(uint8_t *)ram(r, status[i]) = 0xee;
				add(r, 0, (struct seg[]){ { head, 16, false }, { at[i], 4096, true },
							  { status[i], 1, true } }, 3);
			}
			kick(r, 0);
			for (unsigned i = 0; i < 32; i++)
				wait_used(r, 0, &len);
			assert_false(used(r, 0, &id, &len));
			for (unsigned i = 0; i < 32; i++) {
				assert_int_equal(*(uint8_t *)ram(r, status[i]), OK);
				assert_memory_equal(ram(r, at[i]), g->disk->data +
						    (i * 37 + round) % 200 * 4096, 4096);
			}
		}
	}
	rig_free(g);
}

static void add_read(struct vrig *r, gpa_t head, gpa_t at, gpa_t status)
{
	add(r, 0, (struct seg[]){ { head, 16, false }, { at, 512, true }, { status, 1, true } }, 3);
	kick(r, 0);
}

/* A rig whose disk answers reads at once, as the host's page cache does. */
static int at_once(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		   size_t voff)
{
	return fake_read(n, off, len, v, voff);
}

/*
 * Answers within the notification. One by one each has its interrupt, nearly always at
 * once; many under way have few, and the last is never left without.
 */
static void test_pace(void **state)
{
	static struct block_format_desc quick;
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "1");
	struct vrig *r = &g->r;
	struct block_node *n = blk_node(g->disk->blk);
	gpa_t head = buffer(r, 16), at = buffer(r, 512), status = buffer(r, 1);
	unsigned late = 0, before, depth;
	uint32_t id, len;

	quick = *n->desc;
	quick.preadv_nowait = at_once;
	n->desc = &quick;
	memset(ram(r, head), 0, 16);
	for (unsigned kind = 0; kind < 2; kind++) {
		rig_start(r, ALL | (kind ? VIRTIO_F_RING_PACKED : 0), 1, 128);
		for (unsigned k = 0; k < 2000; k++) {
			before = r->f.msis;
			add_read(r, head, at, status);
			late += r->f.msis == before;
			pass(&r->f, 1200000);
			assert_int_equal(r->f.msis, before + 1);
			assert_true(used(r, 0, &id, &len));
		}
		assert_in_range(late, 1, (kind + 1) * 2000 / 100);
		/* Deep, then less deep, then alone again. */
		for (depth = 32; depth; depth /= 4) {
			before = r->f.msis;
			for (unsigned k = 0; k < 100; k++) {
				unsigned seen = r->f.msis;

				for (unsigned i = 0; i < depth; i++) {
					add_read(r, head, at, status);
					pass(&r->f, 5000);
				}
				/* The driver waits, and by turns its processor does. */
				if (k & 1)
					bus_idle(r->f.bus);
				else
					pass(&r->f, 1200000);
				assert_true(r->f.msis > seen);
				for (unsigned i = 0; i < depth; i++)
					assert_true(used(r, 0, &id, &len));
				assert_false(used(r, 0, &id, &len));
			}
			if (depth == 32)
				assert_true(r->f.msis - before < 100 * depth / 3);
		}
	}
	/* What was held back is not forgotten by a restore, nor kept over a reset. */
	check_roundtrip(r->desc->state, r->dev);
	pass(&r->f, 1200000);
	rig_start(r, ALL, 1, 128);
	before = r->f.msis;
	pass(&r->f, 10000000);
	assert_int_equal(r->f.msis, before);
	rig_free(g);
}

static void test_wrong(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "1");
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 64);
	const struct { struct seg s[2]; unsigned n; } chain[] = {
		{ { { at, 16, false } }, 1 },                  /* no place for the answer */
		{ { { at, 15, false }, { at, 1, true } }, 2 }, /* short header */
		{ { { at, 1, true } }, 1 },                    /* no header */
	};

	for (unsigned i = 0; i < array_size(chain); i++) {
		rig_start(r, ALL, 1, 16);
		add(r, 0, chain[i].s, chain[i].n);
		kick(r, 0);
		assert_int_equal(reg(r, C_STATUS, 1), 15 | VIRTIO_STATUS_NEEDS_RESET);
		assert_int_equal(r->f.msi_data, 0x40);
	}
	rig_start(r, ALL, 1, 16);
	assert_int_equal(request(g, IN, 0, at, 512), OK);
	rig_free(g);
}

/* The host is full: the request waits, and a reset lets it go. */
static void test_held(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){
		.on_write_error = BLK_ERROR_ENOSPC }, "1");
	struct vrig *r = &g->r;
	gpa_t head = buffer(r, 16), at = buffer(r, 512), status = buffer(r, 1);
	uint32_t len, id;
	struct seg s[3] = { { head, 16, false }, { at, 512, false }, { status, 1, true } };

	for (unsigned round = 0; round < 2; round++) {
		rig_start(r, ALL, 1, 16);
		g->disk->fail_writes = ENOSPC;
		g->disk->stops = 0;
		st_le32(ram(r, head), OUT);
		st_le64(ram(r, head + 8), 3);
		memset(ram(r, at), 0x5d, 512);
		add(r, 0, s, 3);
		kick(r, 0);
		while (!g->disk->stops)
			rig_turn(r, true);
		assert_false(used(r, 0, &id, &len));
		if (round == 0) {
			set_reg(r, C_STATUS, 0, 1);
			assert_false(used(r, 0, &id, &len));
			g->disk->fail_writes = 0;
			blk_resume(g->disk->blk);
			blk_drain(g->disk->blk);
			assert_int_not_equal(g->disk->data[3 * 512], 0x5d);
			continue;
		}
		g->disk->fail_writes = 0;
		blk_resume(g->disk->blk);
		wait_used(r, 0, &len);
		assert_int_equal(*(uint8_t *)ram(r, status), OK);
		assert_int_equal(g->disk->data[3 * 512], 0x5d);
	}
	rig_free(g);
}

/* A machine that is saved while requests wait for a full disk: whoever goes on with it
 * does them. With packed rings it cannot be saved, and says so. */
static void test_held_saved(void **state)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		struct blk_config c = { .on_write_error = BLK_ERROR_ENOSPC };
		struct rig *g = rig_new(DISK, true, c, "1"), *h = rig_new(DISK, true, c, "1");
		struct vrig *r = &g->r;
		gpa_t head, at = buffer(r, 4096), status[3];
		struct state_buf buf = { 0 };
		struct err err = { "" };
		uint32_t len;

		rig_start(r, (ALL & ~(kind == 1 ? VIRTIO_F_INDIRECT_DESC : 0)) |
			     (kind == 2 ? VIRTIO_F_RING_PACKED : 0), 1, 16);
		g->disk->fail_writes = ENOSPC;
		for (unsigned i = 0; i < 3; i++) {
			head = buffer(r, 16);
			status[i] = buffer(r, 1);
			*(uint8_t *)ram(r, status[i]) = 0xee;
			st_le32(ram(r, head), i == 0 ? IN : OUT);
			st_le64(ram(r, head + 8), 3 + i);
			memset(ram(r, at + 512 * i), 0x50 + (int)i, 512);
			add(r, 0, (struct seg[]){ { head, 16, false }, { at + 512 * i, 512, i == 0 },
						  { status[i], 1, true } }, 3);
		}
		kick(r, 0);
		while (!g->disk->stops)
			rig_turn(r, true);
		wait_used(r, 0, &len); /* the read, which went ahead of what stopped the disk */
		blk_drain(g->disk->blk); /* the second write may be on its way still */
		if (kind == 2) {
			assert_non_null(strstr(r->desc->unsavable(r->dev), "packed"));
			goto next;
		}
		assert_null(r->desc->unsavable(r->dev));
		assert_int_equal(state_save(&buf, r->desc->state, r->dev, 0), 0);
		memcpy(h->r.ram->host, r->ram->host, RIG_RAM);
		if (state_load(&buf, h->r.desc->state, h->r.dev, 0, &err) != 0)
			fail_msg("%s", err.text);
		while (*(uint8_t *)ram(&h->r, status[1]) || *(uint8_t *)ram(&h->r, status[2])) {
			pass(&h->r.f, 100000);
			rig_turn(&h->r, false);
		}
		for (unsigned i = 1; i < 3; i++)
			assert_memory_equal(h->disk->data + 512 * (3 + i), ram(r, at + 512 * i), 512);
		/* Those that are done are forgotten. */
		buf.len = buf.pos = 0;
		assert_int_equal(state_save(&buf, h->r.desc->state, h->r.dev, 0), 0);
		h->disk->writes = 0;
		if (state_load(&buf, h->r.desc->state, h->r.dev, 0, &err) != 0)
			fail_msg("%s", err.text);
		pass(&h->r.f, 1000000);
		rig_turn(&h->r, false);
		blk_drain(h->disk->blk);
		assert_int_equal(h->disk->writes, 0);
next:
		state_buf_fini(&buf);
		rig_free(g);
		rig_free(h);
	}
}

static void test_state(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "2");
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 4096);
	uint32_t len;

	check_roundtrip(r->desc->state, r->dev);
	for (unsigned kind = 0; kind < 2; kind++) {
		rig_start(r, ALL | F_MQ | (kind ? VIRTIO_F_RING_PACKED : 0), 2, 16);
		assert_int_equal(request(g, IN, 0, at, 4096), OK);
		/* Saved with requests under way: they are answered first. */
		for (unsigned i = 0; i < 4; i++) {
			gpa_t head = buffer(r, 16);

			memset(ram(r, head), 0, 16);
			add(r, 0, (struct seg[]){ { head, 16, false }, { at, 512, true },
						  { buffer(r, 1), 1, true } }, 3);
		}
		kick(r, 0);
		check_roundtrip(r->desc->state, r->dev);
		for (unsigned i = 0; i < 4; i++)
			wait_used(r, 0, &len);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(request(g, IN, 8, at, 4096), OK);
		assert_memory_equal(ram(r, at), g->disk->data + 4096, 4096);
		check_hostile(r->desc->state, r->dev, NULL, 200);
	}
	/* What is plugged is reset as a whole. */
	r->desc->reset(r->dev);
	rig_enable(r, true);
	rig_start(r, ALL, 1, 16);
	assert_int_equal(request(g, IN, 8, at, 4096), OK);
	rig_free(g);
}

static void test_names(void **state)
{
	struct rig *g = rig_new(DISK, true, (struct blk_config){ 0 }, "1");
	char name[64];

	assert_true(g->r.desc->fw_name(g->r.dev, name, sizeof(name)) > 0);
	assert_string_equal(name, "scsi@4/disk@0,0");
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config), cmocka_unit_test(test_io),
		cmocka_unit_test(test_clear), cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_write_cache), cmocka_unit_test(test_queues),
		cmocka_unit_test(test_depth), cmocka_unit_test(test_pace), cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_held), cmocka_unit_test(test_held_saved),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

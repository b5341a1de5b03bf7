/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-serial with its ports, and virtio-rng, as a driver sees them. */
#include <stdlib.h>

#include "src/dev/chardev.h"
#include "tests/unit/virtio_rig.h"

#define F_MULTIPORT VIRTIO_BIT(1)
#define ALL (F_MULTIPORT | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
enum { READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME };
enum { RX0, TX0, CTRL_IN, CTRL_OUT, RX1, TX1 };

struct far {
	struct chardev c; /* must be first */
	uint8_t data[65536];
	size_t len, room;
};

static size_t far_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct far *f = (struct far *)(void *)c;
	size_t n = min_of(len, f->room);

	memcpy(f->data + f->len, buf, n);
	f->len += n;
	f->room -= n;
	return n;
}

static void far_close(struct chardev *c) {}
static const struct chardev_ops far_ops = { .write = far_write, .close = far_close };

struct rig {
	struct vrig r;
	struct far far[2];
	const struct dev_desc *desc[2];
	void *port[2];
};

static void *find(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	return &((struct rig *)opaque)->far[id[0] - '0'].c;
}

static void plug_port(struct rig *g, unsigned n)
{
	struct dev_prop_text console[] = { { "chardev", "0" } };
	struct dev_prop_text named[] = { { "chardev", "1" }, { "name", "org.example.channel" } };
	struct dev_plug plug = { .env = &g->r.f.env, .id = "p", .parent = g->r.dev, .slot = n };
	struct dev_backends b = { find, g };
	struct err err = { "" };

	g->desc[n] = dev_find(n ? "virtserialport" : "virtconsole");
	if (dev_new(g->desc[n], &plug, n ? named : console, n + 1, &b, &g->port[n], &err))
		fail_msg("%s", err.text);
}

static struct rig *rig_new(void)
{
	struct rig *g = calloc(1, sizeof(*g));
	struct dev_prop_text props[] = { { "packed", "on" }, { "max_ports", "3" } };

	rig_init(&g->r);
	rig_plug(&g->r, "virtio-serial", props, array_size(props), NULL);
	for (unsigned n = 0; n < 2; n++) {
		g->far[n].c.ops = &far_ops;
		g->far[n].room = sizeof(g->far[n].data);
		plug_port(g, n);
	}
	return g;
}

static void rig_free(struct rig *g)
{
	for (unsigned n = 2; n-- > 0; )
		dev_free(g->desc[n], g->port[n]);
	rig_unplug(&g->r);
	rig_fini(&g->r);
	free(g);
}

static void tell(struct rig *g, uint32_t port, uint16_t event, uint16_t value)
{
	gpa_t at = buffer(&g->r, 8);
	uint8_t *p = ram(&g->r, at);

	st_le32(p, port);
	st_le16(p + 4, event);
	st_le16(p + 6, value);
	transact(&g->r, CTRL_OUT, &(struct seg){ at, 8, false }, 1);
}

static gpa_t room[64];

static void told(struct rig *g, uint32_t port, uint16_t event, const char *text)
{
	uint32_t len, id = wait_used(&g->r, CTRL_IN, &len);
	const uint8_t *p = ram(&g->r, room[id % 64]);

	assert_int_equal(ld_le32(p), port);
	assert_int_equal(ld_le16(p + 4), event);
	if (text)
		assert_string_equal((const char *)p + 8, text);
	assert_int_equal(len, 8 + (text ? strlen(text) + 1 : 0));
}

static void begin(struct rig *g, uint64_t features)
{
	struct vrig *r = &g->r;

	rig_start(r, features, 6, 64);
	for (unsigned n = 0; n < 32; n++) {
		gpa_t at = buffer(r, 256);

		memset(ram(r, at), 0xee, 256);
		room[add(r, CTRL_IN, &(struct seg){ at, 256, true }, 1) % 64] = at;
	}
	kick(r, CTRL_IN);
	tell(g, 0xffffffff, READY, 1);
	told(g, 0, ADD, NULL);
	told(g, 1, ADD, NULL);
	tell(g, 0, PORT_READY, 1);
	told(g, 0, CONSOLE, NULL);
	told(g, 0, OPEN, NULL);
	tell(g, 1, PORT_READY, 1);
	told(g, 1, NAME, "org.example.channel");
	told(g, 1, OPEN, NULL);
}

static void test_ports(void **state)
{
	for (unsigned kind = 0; kind < 2; kind++) {
		struct rig *g = rig_new();
		struct vrig *r = &g->r;
		gpa_t at = buffer(r, 4096);
		uint32_t id, len;

		assert_int_equal(pci_cfg(r, 0), 0x10031af4);
		assert_int_equal(config(r, 4, 4), 3);
		assert_int_equal(reg(r, C_NUMQ, 2), 8);
		begin(g, ALL | (kind ? VIRTIO_F_RING_PACKED : 0));
		for (unsigned n = 0; n < 4096; n++)
			((uint8_t *)ram(r, at))[n] = (uint8_t)(n * 5);
		transact(r, TX1, &(struct seg){ at, 4096, false }, 1);
		assert_int_equal(g->far[1].len, 4096);
		assert_memory_equal(g->far[1].data, ram(r, at), 4096);
		/* The far end is slow. */
		g->far[1].room = 1000;
		g->far[1].len = 0;
		for (unsigned n = 0; n < 3; n++)
			add(r, TX1, &(struct seg){ at + n * 1000, 1000, false }, 1);
		kick(r, TX1);
		assert_true(used(r, TX1, &id, &len));
		assert_false(used(r, TX1, &id, &len));
		check_roundtrip(g->desc[1]->state, g->port[1]);
		g->far[1].room = 500;
		chardev_writable(&g->far[1].c);
		assert_false(used(r, TX1, &id, &len));
		g->far[1].room = 5000;
		chardev_writable(&g->far[1].c);
		assert_true(used(r, TX1, &id, &len));
		assert_true(used(r, TX1, &id, &len));
		assert_int_equal(g->far[1].len, 3000);
		assert_memory_equal(g->far[1].data, ram(r, at), 3000);
		/* To the guest: not before it listens and has room. */
		assert_int_equal(chardev_can_receive(&g->far[1].c), 0);
		tell(g, 1, OPEN, 1);
		assert_int_equal(chardev_can_receive(&g->far[1].c), 0);
		for (unsigned n = 0; n < 100; n++) {
			add(r, RX1, &(struct seg){ at, 100, true }, 1);
			kick(r, RX1);
			assert_int_equal(chardev_can_receive(&g->far[1].c), 100);
			chardev_receive(&g->far[1].c, (const uint8_t *)"some text", 9);
			wait_used(r, RX1, &len);
			assert_int_equal(len, 9);
			assert_memory_equal(ram(r, at), "some text", 9);
		}
		tell(g, 1, OPEN, 0);
		add(r, RX1, &(struct seg){ at, 100, true }, 1);
		assert_int_equal(chardev_can_receive(&g->far[1].c), 0);
		/* A port that goes and comes. */
		dev_free(g->desc[1], g->port[1]);
		told(g, 1, REMOVE, NULL);
		plug_port(g, 1);
		told(g, 1, ADD, NULL);
		rig_free(g);
	}
}

/* Without several ports there is one, and no talk about it. */
static void test_plain(void **state)
{
	struct rig *g = rig_new();
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 64);
	uint32_t len;

	rig_start(r, VIRTIO_F_EVENT_IDX, 2, 16);
	memcpy(ram(r, at), "hello", 5);
	transact(r, TX0, &(struct seg){ at, 5, false }, 1);
	assert_memory_equal(g->far[0].data, "hello", 5);
	add(r, RX0, &(struct seg){ at, 64, true }, 1);
	kick(r, RX0);
	chardev_receive(&g->far[0].c, (const uint8_t *)"x", 1);
	wait_used(r, RX0, &len);
	assert_int_equal(len, 1);
	rig_free(g);
}

static void test_wrong(void **state)
{
	struct rig *g = rig_new();
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 64);

	begin(g, ALL);
	/* Messages of nonsense, and more answers than there is room for. */
	for (unsigned n = 0; n < 2000; n++)
		tell(g, n % 40, (uint16_t)(n % 11), (uint16_t)(n & 1));
	for (unsigned n = 0; n < 300; n++)
		tell(g, 1, PORT_READY, 1);
	transact(r, CTRL_OUT, &(struct seg){ at, 3, false }, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 15);
	check_roundtrip(r->desc->state, r->dev);
	check_hostile(r->desc->state, r->dev, NULL, 100);
	begin(g, ALL);
	rig_free(g);
}

static void test_rng(void **state)
{
	struct vrig *r = calloc(1, sizeof(*r));
	struct dev_prop_text props[] = { { "max-bytes", "1K" }, { "period", "1000" },
					 { "packed", "on" } };
	uint8_t zero[512] = { 0 };
	gpa_t at;
	uint32_t id, len;

	rig_init(r);
	rig_plug(r, "virtio-rng", props, array_size(props), NULL);
	at = buffer(r, 512);
	assert_int_equal(pci_cfg(r, 0), 0x10051af4);
	rig_start(r, VIRTIO_F_EVENT_IDX, 1, 8);
	for (unsigned n = 0; n < 2; n++) {
		memset(ram(r, at), 0, 512);
		assert_int_equal(transact(r, 0, &(struct seg){ at, 512, true }, 1), 512);
		assert_memory_not_equal(ram(r, at), zero, 512);
	}
	/* That was all of this second. */
	check_roundtrip(r->desc->state, r->dev);
	add(r, 0, &(struct seg){ at, 512, true }, 1);
	kick(r, 0);
	pass(&r->f, 900 * 1000000ll);
	assert_false(used(r, 0, &id, &len));
	pass(&r->f, 200 * 1000000ll);
	assert_true(used(r, 0, &id, &len));
	assert_int_equal(len, 512);
	/* A reset does not lift it. */
	assert_int_equal(transact(r, 0, &(struct seg){ at, 512, true }, 1), 512);
	rig_start(r, VIRTIO_F_RING_PACKED, 1, 8);
	add(r, 0, &(struct seg){ at, 512, true }, 1);
	kick(r, 0);
	assert_false(used(r, 0, &id, &len));
	pass(&r->f, 1100 * 1000000ll);
	assert_true(used(r, 0, &id, &len));
	add(r, 0, &(struct seg){ at, 512, false }, 1);
	kick(r, 0);
	assert_int_equal(reg(r, C_STATUS, 1), 15 | VIRTIO_STATUS_NEEDS_RESET);
	rig_unplug(r);
	rig_fini(r);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports), cmocka_unit_test(test_plain),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_rng),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net as a driver sees it, with a network that the test plays. */
#include <stdlib.h>

#include "src/base/iov.h"
#include "src/net/net.h"
#include "tests/unit/virtio_rig.h"

#define F_CSUM VIRTIO_BIT(0)
#define F_GUEST_CSUM VIRTIO_BIT(1)
#define F_CTRL_OFFLOADS VIRTIO_BIT(2)
#define F_MAC VIRTIO_BIT(5)
#define F_GUEST_TSO4 VIRTIO_BIT(7)
#define F_HOST_TSO4 VIRTIO_BIT(11)
#define F_MRG VIRTIO_BIT(15)
#define F_STATUS VIRTIO_BIT(16)
#define F_CTRL VIRTIO_BIT(17)
#define F_CTRL_RX VIRTIO_BIT(18)
#define F_CTRL_VLAN VIRTIO_BIT(19)
#define F_CTRL_MAC VIRTIO_BIT(23)
#define ALL (F_CSUM | F_GUEST_CSUM | F_CTRL_OFFLOADS | F_MAC | F_GUEST_TSO4 | F_HOST_TSO4 | F_MRG | \
	     F_STATUS | F_CTRL | F_CTRL_RX | F_CTRL_VLAN | F_CTRL_MAC | VIRTIO_F_EVENT_IDX | \
	     VIRTIO_F_INDIRECT_DESC)
enum { RX, TX, CTRL };

struct rig {
	struct vrig r;
	struct net_peer far;
	bool full;
	unsigned count, woken;
	size_t len;
	uint8_t data[70000];
	struct net_offload off;
};

static bool far_receive(struct net_peer *p, const struct net_packet *pkt)
{
	struct rig *g = p->opaque;

	if (g->full)
		return false;
	g->count++;
	g->len = pkt->len;
	g->off = pkt->off;
	iov_to_buf(pkt->iov, pkt->niov, 0, g->data, sizeof(g->data));
	return true;
}

static void far_writable(struct net_peer *p) { ((struct rig *)p->opaque)->woken++; }
static const struct net_peer_ops far_ops = { far_receive, far_writable, NULL };

static void *find(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	return &((struct rig *)opaque)->far;
}

static struct rig *rig_new(void)
{
	struct rig *g = calloc(1, sizeof(*g));
	struct dev_prop_text props[] = { { "netdev", "n" }, { "mac", "52:54:00:01:02:03" },
					 { "packed", "on" } };
	struct dev_backends b = { find, g };

	rig_init(&g->r);
	net_peer_init(&g->far, &far_ops, g, NET_CSUM | NET_TSO4);
	rig_plug(&g->r, "virtio-net", props, array_size(props), &b);
	return g;
}

static void rig_free(struct rig *g)
{
	rig_unplug(&g->r);
	assert_null(g->far.other);
	rig_fini(&g->r);
	free(g);
}

static bool arrive(struct rig *g, const uint8_t *p, size_t len, struct net_offload off)
{
	struct iovec iov = { (void *)(uintptr_t)p, len };
	struct net_packet pkt = { &iov, 1, len, off };

	return net_send(&g->far, &pkt);
}

static void frame(uint8_t *p, size_t len, const char *to)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i + i / 256);
	memcpy(p, to, 6);
	memcpy(p + 12, "\x08\x00", 2);
}

#define MINE "\x52\x54\x00\x01\x02\x03"

static void test_config(void **state)
{
	struct rig *g = rig_new();
	struct vrig *r = &g->r;
	char name[64];

	assert_int_equal(pci_cfg(r, 0), 0x10001af4);
	assert_int_equal(pci_cfg(r, 8) >> 16, 0x0200);
	assert_int_equal(rig_features(r) & ALL, ALL);
	assert_int_equal(config(r, 0, 4), 0x01005452);
	assert_int_equal(config(r, 4, 2), 0x0302);
	assert_int_equal(config(r, 6, 2), 1); /* link up */
	set_reg(r, 0x2000, 0xff, 1);
	assert_int_equal(config(r, 0, 1), 0x52);
	rig_start(r, ALL, 3, 64);
	net_set_link(&g->far, false);
	assert_int_equal(config(r, 6, 2), 0);
	assert_int_equal(r->f.msi_data, 0x40);
	net_set_link(&g->far, true);
	assert_int_equal(config(r, 6, 2) & 1, 1);
	r->desc->fw_name(r->dev, name, sizeof(name));
	assert_string_equal(name, "ethernet@4/ethernet-phy@0");
	rig_free(g);
}

static void test_transmit(void **state)
{
	for (unsigned kind = 0; kind < 2; kind++) {
		struct rig *g = rig_new();
		struct vrig *r = &g->r;
		gpa_t h = buffer(r, 12), at = buffer(r, 60000);
		uint8_t *p = ram(r, h);

		rig_start(r, ALL | (kind ? VIRTIO_F_RING_PACKED : 0), 3, 64);
		memset(p, 0, 12);
		frame(ram(r, at), 60000, "\x52\x55\x0a\x00\x02\x02");
		for (unsigned n = 1; n <= 200; n++) {
			transact(r, TX, (struct seg[]){ { h, 12, false }, { at, 14, false },
							{ at + 14, n * 7, false } }, 3);
			assert_int_equal(g->count, n);
			assert_int_equal(g->len, 14 + n * 7);
			assert_memory_equal(g->data, ram(r, at), g->len);
		}
		/* Checksum and segmentation are left to the network. */
		p[0] = 1;
		p[1] = 1 | 0x80;
		st_le16(p + 4, 1448);
		st_le16(p + 6, 34);
		st_le16(p + 8, 16);
		transact(r, TX, (struct seg[]){ { h, 12, false }, { at, 60000, false } }, 2);
		assert_int_equal(g->len, 60000);
		assert_int_equal(g->off.todo, NET_CSUM | NET_TSO4);
		assert_int_equal(g->off.gso_size, 1448);
		assert_int_equal(g->off.csum_start, 34);
		assert_true(g->off.ecn);
		/* Nonsense is dropped, and the queue goes on. */
		g->count = 0;
		p[1] = 9;
		transact(r, TX, (struct seg[]){ { h, 12, false }, { at, 100, false } }, 2);
		p[1] = 0;
		st_le16(p + 6, 5000);
		transact(r, TX, (struct seg[]){ { h, 12, false }, { at, 100, false } }, 2);
		transact(r, TX, (struct seg[]){ { h, 12, false }, { at, 3, false } }, 2);
		assert_int_equal(g->count, 0);
		memset(p, 0, 12);
		/* The network has no room. */
		g->full = true;
		for (unsigned n = 0; n < 5; n++)
			add(r, TX, (struct seg[]){ { h, 12, false }, { at, 100 + n, false } }, 2);
		kick(r, TX);
		check_roundtrip(r->desc->state, r->dev);
		{
			uint32_t id, len;

			assert_false(used(r, TX, &id, &len));
			g->full = false;
			net_wake(&g->far);
			for (unsigned n = 0; n < 5; n++)
				assert_true(used(r, TX, &id, &len));
		}
		assert_int_equal(g->count, 5);
		assert_int_equal(g->len, 104);
		rig_free(g);
	}
}

static void test_receive(void **state)
{
	static uint8_t p[65000];

	for (unsigned kind = 0; kind < 4; kind++) {
		struct rig *g = rig_new();
		struct vrig *r = &g->r;
		uint64_t mrg = kind & 1 ? F_MRG : 0;
		uint32_t len, id;
		gpa_t at[8];

		rig_start(r, (ALL & ~F_MRG) | mrg | (kind & 2 ? VIRTIO_F_RING_PACKED : 0), 3, 64);
		frame(p, sizeof(p), MINE);
		assert_false(arrive(g, p, 100, (struct net_offload){ 0 }));
		for (unsigned round = 0; round < 100; round++) {
			size_t size = 60 + round * 14;

			at[0] = buffer(r, 2000);
			add(r, RX, &(struct seg){ at[0], 2000, true }, 1);
			kick(r, RX);
			assert_int_equal(g->woken, round + 1 + 1);
			assert_true(arrive(g, p, size, (struct net_offload){ .csum_valid = true }));
			wait_used(r, RX, &len);
			assert_int_equal(len, size + 12);
			assert_memory_equal(ram(r, at[0] + 12), p, size);
			assert_int_equal(*(uint8_t *)ram(r, at[0]), 2); /* checksum valid */
			assert_int_equal(ld_le16(ram(r, at[0] + 10)), 1);
			assert_false(arrive(g, p, 100, (struct net_offload){ 0 }));
		}
		/* A long one, with work left to do: over several buffers, or lost. */
		for (unsigned i = 0; i < 8; i++) {
			at[i] = buffer(r, 4096);
			add(r, RX, &(struct seg){ at[i], 4096, true }, 1);
		}
		kick(r, RX);
		assert_true(arrive(g, p, 20000, (struct net_offload){
			.todo = NET_CSUM | NET_TSO4, .csum_start = 34, .csum_offset = 16,
			.gso_size = 1448 }));
		if (!mrg) {
			assert_false(used(r, RX, &id, &len));
			assert_true(arrive(g, p, 1000, (struct net_offload){ 0 }));
			wait_used(r, RX, &len);
			rig_free(g);
			continue;
		}
		assert_int_equal(ld_le16(ram(r, at[0] + 10)), 5);
		assert_int_equal(((uint8_t *)ram(r, at[0]))[0], 1);
		assert_int_equal(((uint8_t *)ram(r, at[0]))[1], 1);
		for (unsigned i = 0, from = 0; i < 5; i++) {
			wait_used(r, RX, &len);
			assert_int_equal(len, i == 4 ? 20012 - 4 * 4096 : 4096);
			assert_memory_equal(ram(r, at[i] + (i ? 0 : 12)), p + from,
					    len - (i ? 0 : 12));
			from += len - (i ? 0 : 12);
		}
		/* Three buffers are left: too few, and none is lost. */
		assert_false(arrive(g, p, 20000, (struct net_offload){
			.todo = NET_CSUM | NET_TSO4, .csum_start = 34, .csum_offset = 16,
			.gso_size = 1448 }));
		assert_true(arrive(g, p, 10000, (struct net_offload){
			.todo = NET_CSUM | NET_TSO4, .csum_start = 34, .csum_offset = 16,
			.gso_size = 1448 }));
		assert_int_equal(ld_le16(ram(r, at[5] + 10)), 3);
		rig_free(g);
	}
}

static unsigned command(struct rig *g, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	struct vrig *r = &g->r;
	gpa_t head = buffer(r, 2), body = buffer(r, len + 1), ack = buffer(r, 1);
	uint8_t *h = ram(r, head);

	h[0] = class;
	h[1] = cmd;
	if (len)
		memcpy(ram(r, body), data, len);
	*(uint8_t *)ram(r, ack) = 0xee;
	if (len)
		transact(r, CTRL, (struct seg[]){ { head, 2, false }, { body, len, false },
						  { ack, 1, true } }, 3);
	else
		transact(r, CTRL, (struct seg[]){ { head, 2, false }, { ack, 1, true } }, 2);
	return *(uint8_t *)ram(r, ack);
}

/* Does a packet to @to get through? */
static bool heard(struct rig *g, const char *to, const char *type)
{
	static uint8_t p[64];
	uint32_t id, len;

	frame(p, sizeof(p), to);
	memcpy(p + 12, type, 4);
	assert_true(arrive(g, p, sizeof(p), (struct net_offload){ 0 }));
	return used(&g->r, RX, &id, &len);
}

static void test_control(void **state)
{
	struct rig *g = rig_new();
	struct vrig *r = &g->r;
	uint8_t off = 0, on = 1, table[4 + 6 + 4 + 6] = { 1 }, big[8 + 80 * 6] = { 80 };
	uint16_t vlan = 5;
	uint64_t none = 0;
	const char *ip = "\x08\x00\x45\x00", *other = "\x52\x54\x00\x09\x09\x09";
	const char *group = "\x01\x00\x5e\x00\x00\x01";

	rig_start(r, ALL, 3, 64);
	for (unsigned n = 0; n < 40; n++)
		add(r, RX, &(struct seg){ buffer(r, 256), 256, true }, 1);
	kick(r, RX);
	assert_true(heard(g, other, ip)); /* promiscuous at first */
	assert_int_equal(command(g, 0, 0, &off, 1), 0);
	assert_true(heard(g, MINE, ip));
	assert_false(heard(g, other, ip));
	assert_false(heard(g, group, ip));
	assert_true(heard(g, "\xff\xff\xff\xff\xff\xff", ip));
	assert_int_equal(command(g, 0, 1, &on, 1), 0);
	assert_true(heard(g, group, ip));
	assert_int_equal(command(g, 0, 1, &off, 1), 0);
	memcpy(table + 4, other, 6);
	table[10] = 1;
	memcpy(table + 14, group, 6);
	assert_int_equal(command(g, 1, 0, table, sizeof(table)), 0);
	assert_true(heard(g, other, ip));
	assert_true(heard(g, group, ip));
	assert_int_equal(command(g, 1, 0, table, sizeof(table) - 1), 1);
	assert_int_equal(command(g, 1, 0, big, sizeof(big)), 0); /* too many: all */
	assert_true(heard(g, "\x52\x54\x00\x0a\x0a\x0a", ip));
	assert_false(heard(g, group, ip));
	assert_int_equal(command(g, 1, 1, other, 6), 0);
	assert_int_equal(config(r, 0, 4), 0x09005452);
	/* VLANs. */
	assert_false(heard(g, other, "\x81\x00\x00\x05"));
	assert_int_equal(command(g, 2, 0, &vlan, 2), 0);
	assert_true(heard(g, other, "\x81\x00\x00\x05"));
	assert_int_equal(command(g, 2, 1, &vlan, 2), 0);
	assert_false(heard(g, other, "\x81\x00\x00\x05"));
	vlan = 4096;
	assert_int_equal(command(g, 2, 0, &vlan, 2), 1);
	/* Offloads; what is unknown. */
	assert_int_equal(command(g, 5, 0, &none, 8), 0);
	none = 1u << 31;
	assert_int_equal(command(g, 5, 0, &none, 8), 1);
	assert_int_equal(command(g, 4, 0, &vlan, 2), 1);
	assert_int_equal(command(g, 9, 9, NULL, 0), 1);
	assert_int_equal(command(g, 3, 0, NULL, 0), 1); /* nothing was to be announced */
	check_roundtrip(r->desc->state, r->dev);
	assert_true(heard(g, other, ip));
	/* A reset forgets it all. */
	rig_start(r, ALL, 3, 64);
	add(r, RX, &(struct seg){ buffer(r, 256), 256, true }, 1);
	kick(r, RX);
	assert_int_equal(config(r, 0, 4), 0x01005452);
	assert_true(heard(g, "\x52\x54\x00\x0b\x0b\x0b", ip));
	rig_free(g);
}

static void test_wrong(void **state)
{
	struct rig *g = rig_new();
	struct vrig *r = &g->r;
	gpa_t at = buffer(r, 256);
	const struct { unsigned q; struct seg s[2]; unsigned n; } chain[] = {
		{ TX, { { at, 11, false } }, 1 },
		{ TX, { { at, 64, false }, { at, 64, true } }, 2 },
		{ CTRL, { { at, 1, false }, { at, 1, true } }, 2 },
		{ CTRL, { { at, 2, false } }, 1 },
	};

	for (unsigned i = 0; i < array_size(chain); i++) {
		rig_start(r, ALL, 3, 64);
		add(r, chain[i].q, chain[i].s, chain[i].n);
		kick(r, chain[i].q);
		assert_int_equal(reg(r, C_STATUS, 1), 15 | VIRTIO_STATUS_NEEDS_RESET);
	}
	rig_start(r, ALL, 3, 64); /* a receive buffer that cannot be written */
	add(r, RX, &(struct seg){ at, 64, false }, 1);
	kick(r, RX);
	{
		uint8_t p[64];
		uint32_t id, len;

		frame(p, sizeof(p), MINE);
		assert_false(arrive(g, p, sizeof(p), (struct net_offload){ 0 }));
		assert_false(used(r, RX, &id, &len));
	}
	check_hostile(r->desc->state, r->dev, NULL, 200);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config), cmocka_unit_test(test_transmit),
		cmocka_unit_test(test_receive), cmocka_unit_test(test_control),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio devices against hostile drivers: rings of random descriptors (loops, outside of
 * memory, empty, of 4 GiB), indices of nonsense, rings that change while they are read,
 * registers and configuration at all sizes. Nothing may crash, hang or leave memory, and a
 * reset must make the device work again.
 */
#include "fuzz/devices/fuzz.h"

#include <stdatomic.h>

#include "src/dev/chardev.h"
#include "src/net/net.h"
#include "tests/unit/disk_rig.h"
#include "tests/unit/virtio_rig.h"

struct rig {
	struct vrig r;
	struct fake_disk *disk;
	struct net_peer far;
	struct chardev chardev;
	const struct dev_desc *child;
	void *unit;
	uint64_t seed;
	atomic_bool stop;
};

static bool far_receive(struct net_peer *p, const struct net_packet *pkt)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < pkt->niov; i++)
		for (size_t k = 0; k < pkt->iov[i].iov_len; k += 64)
			sum ^= ((const uint8_t *)pkt->iov[i].iov_base)[k];
	return sum != 3;
}

static const struct net_peer_ops far_ops = { far_receive, NULL, NULL };

static size_t far_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	return buf[0] & 1 ? len : len / 2;
}

static void far_close(struct chardev *c) {}
static const struct chardev_ops chardev_ops = { .write = far_write, .close = far_close };

static void *find(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	struct rig *g = opaque;

	return type == DEV_PROP_DRIVE ? (void *)g->disk->blk
		: type == DEV_PROP_NETDEV ? (void *)&g->far : (void *)&g->chardev;
}

static const struct target {
	const char *name, *child, *backend;
	unsigned queues, max; /* entries of the smallest */
} targets[] = {
	{ "virtio-blk", NULL, "drive", 1, 256 },
	{ "virtio-scsi", "scsi-hd", NULL, 3, 256 },
	{ "virtio-scsi", "scsi-cd", NULL, 3, 256 },
	{ "virtio-net", NULL, "netdev", 3, 64 },
	{ "virtio-serial", "virtserialport", NULL, 6, 128 },
	{ "virtio-serial", "virtconsole", NULL, 6, 128 },
	{ "virtio-rng", NULL, NULL, 1, 8 },
};

static void plug(struct rig *g, const struct target *t)
{
	struct dev_prop_text props[] = { { "packed", "on" }, { t->backend, "x" } };
	struct dev_prop_text child[] = { { strcmp(t->name, "virtio-serial") ? "drive" : "chardev",
					   "x" } };
	struct dev_plug plug = { .env = &g->r.f.env, .id = "c", .slot = 1 };
	struct dev_backends b = { find, g };

	rig_plug(&g->r, t->name, props, t->backend ? 2 : 1, &b);
	if (!t->child)
		return;
	plug.parent = g->r.dev;
	g->child = dev_find(t->child);
	assert_int_equal(dev_new(g->child, &plug, child, 1, &b, &g->unit, NULL), 0);
}

/*
 * A driver of no good will.
 */
static gpa_t wild_address(struct rig *g)
{
	uint64_t r = fuzz_next(&g->seed);

	switch (r >> 60) {
	case 0: return fuzz_next(&g->seed);
	case 1: return RIG_RAM - (r & 0xfff);
	case 2: return RIG_BAR + (r & 0xfff);
	case 3: return ~0ull - (r & 0xffff);
	case 4: return ring_desc(r & 3);
	default: return RIG_BUFFERS + (r & 0x3fffff);
	}
}

static uint32_t wild_length(struct rig *g)
{
	static const uint32_t some[] = { 0, 1, 10, 12, 15, 16, 17, 24, 51, 108, 512, 4096, 65536,
					 0x7fffffff, 0x80000000, 0xffffffff };
	uint64_t r = fuzz_next(&g->seed);

	return r & 15 ? some[(r >> 8) % 14] : some[(r >> 8) % array_size(some)];
}

static void wild_desc(struct rig *g, gpa_t at, unsigned limit)
{
	uint64_t r = fuzz_next(&g->seed);
	uint16_t flags = (uint16_t)(r & 3) | (r >> 8 & 15 ? 0 : 4);
	uint8_t *d = ram(&g->r, at);

	st_le64(d, wild_address(g));
	st_le32(d + 8, wild_length(g));
	if (g->r.packed) {
		st_le16(d + 12, (uint16_t)(r >> 16));
		st_le16(d + 14, flags | (r >> 32 & 1 ? 0x80 : 0x8000));
	} else {
		st_le16(d + 12, flags);
		st_le16(d + 14, (uint16_t)((r >> 16) % (limit + 1)));
	}
}

/* Buffers with bytes that look like requests. */
static void wild_bytes(struct rig *g)
{
	gpa_t at = RIG_BUFFERS + (fuzz_next(&g->seed) & 0x3ffff0);
	uint8_t *p = ram(&g->r, at);

	for (unsigned n = 0; n < 64; n++)
		p[n] = fuzz_next(&g->seed) >> 62 ? 0 : (uint8_t)fuzz_next(&g->seed);
	p[0] = (uint8_t)(fuzz_next(&g->seed) % 16);
	if (fuzz_next(&g->seed) & 1)
		p[0] = p[1] = 1;
}

static void wild_ring(struct rig *g, unsigned q, unsigned size)
{
	uint8_t *avail = ram(&g->r, ring_driver(q));

	for (unsigned n = 0; n < 4; n++)
		wild_desc(g, ring_desc(q) + fuzz_next(&g->seed) % size * 16, size);
	wild_desc(g, RIG_BUFFERS + (fuzz_next(&g->seed) & 0x3ffff0), 16); /* in a table, perhaps */
	if (g->r.packed) {
		st_le32(avail, (uint32_t)fuzz_next(&g->seed));
		return;
	}
	st_le16(avail + 4 + fuzz_next(&g->seed) % size * 2, (uint16_t)(fuzz_next(&g->seed) % (size + 2)));
	st_le16(avail + 2, (uint16_t)(ld_le16(avail + 2) + fuzz_next(&g->seed) % (size / 2)));
	if (!(fuzz_next(&g->seed) & 63))
		st_le16(avail + 2, (uint16_t)fuzz_next(&g->seed));
}

static void wild_register(struct rig *g)
{
	unsigned size = 1u << (fuzz_next(&g->seed) & 3), off = fuzz_next(&g->seed) & 0x3fff;

	if (fuzz_next(&g->seed) & 1)
		off &= 0x203f;
	off &= ~(size - 1);
	/* Not the rings' addresses too often: there is more to see with them right. */
	if (off >= C_QDESC && off < C_QDATA && fuzz_next(&g->seed) & 7)
		return;
	if (fuzz_next(&g->seed) & 1)
		bus_mmio_write(g->r.f.bus, RIG_BAR + off, fuzz_next(&g->seed), size);
	else
		bus_mmio_read(g->r.f.bus, RIG_BAR + off, size);
}

/* A driver that changes its mind: features taken back and others asked for while the
 * rings are in use, through the registers of both interfaces. */
static void wild_negotiation(struct rig *g)
{
	static const uint8_t statuses[] = { 1, 3, 4, 7, 11, 15, 0x8f };
	uint64_t features = rig_features(&g->r) & fuzz_next(&g->seed);

	for (unsigned n = 0; n < 3; n++) {
		switch (fuzz_next(&g->seed) % 5) {
		case 0:
			set_reg(&g->r, C_STATUS, statuses[fuzz_next(&g->seed) % 7], 1);
			break;
		case 1:
			set_reg(&g->r, C_GFSELECT, 0, 4);
			set_reg(&g->r, C_GF, (uint32_t)features, 4);
			set_reg(&g->r, C_GFSELECT, 1, 4);
			set_reg(&g->r, C_GF, (uint32_t)(features >> 32) | 1, 4);
			break;
		case 2:
			bus_pio_write(g->r.f.bus, RIG_PORTS + 4, (uint32_t)features, 4);
			break;
		case 3:
			bus_pio_write(g->r.f.bus, RIG_PORTS + 18, statuses[fuzz_next(&g->seed) % 7], 1);
			break;
		default: {
			uint16_t port = (uint16_t)(RIG_PORTS + fuzz_next(&g->seed) % 64);
			unsigned size = 1u << fuzz_next(&g->seed) % 3;

			if (fuzz_next(&g->seed) & 1)
				bus_pio_write(g->r.f.bus, port, (uint32_t)fuzz_next(&g->seed), size);
			else
				bus_pio_read(g->r.f.bus, port, size);
			break;
		}
		}
	}
}

static void wild_world(struct rig *g)
{
	static uint8_t bytes[9000];
	struct iovec iov = { bytes, 14 + fuzz_next(&g->seed) % 8900 };
	struct net_packet pkt = { &iov, 1, iov.iov_len, { 0 } };

	if (g->far.other)
		net_send(&g->far, &pkt);
	if (g->chardev.front) {
		size_t room = chardev_can_receive(&g->chardev);

		if (room)
			chardev_receive(&g->chardev, bytes, 1 + fuzz_next(&g->seed) % min_of(room, 4096ul));
		chardev_writable(&g->chardev);
	}
}

static void *scribble(void *opaque)
{
	struct rig *g = opaque;
	uint64_t s = g->seed | 1;

	while (!atomic_load(&g->stop)) {
		gpa_t at = fuzz_next(&s) & 1 ? ring_desc(fuzz_next(&s) & 3) + (fuzz_next(&s) & 0x3ff)
					: RIG_BUFFERS + (fuzz_next(&s) & 0x3fffff);

		*(volatile uint8_t *)ram(&g->r, at) = (uint8_t)fuzz_next(&s);
	}
	return NULL;
}

static void round_of(struct rig *g, const struct target *t)
{
	static const unsigned sizes[] = { 4, 8, 16, 64 };
	uint64_t features = rig_features(&g->r) & (fuzz_next(&g->seed) | VIRTIO_F_INDIRECT_DESC);
	unsigned pick = sizes[fuzz_next(&g->seed) & 3], size = min_of(pick, t->max);
	bool race = !(fuzz_next(&g->seed) & 3);
	pthread_t thread;

	rig_start(&g->r, features, t->queues, size);
	if (race) {
		atomic_store(&g->stop, false);
		race = pthread_create(&thread, NULL, scribble, g) == 0;
	}
	for (unsigned n = 0; n < 40; n++) {
		unsigned q = fuzz_next(&g->seed) % t->queues;

		if (reg(&g->r, C_STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET)
			rig_start(&g->r, features, t->queues, size);
		wild_bytes(g);
		wild_ring(g, q, size);
		kick_anyway(&g->r, q);
		if (!(fuzz_next(&g->seed) & 3))
			wild_world(g);
		if (!(fuzz_next(&g->seed) & 7))
			wild_register(g);
		if (!(fuzz_next(&g->seed) & 15))
			wild_negotiation(g);
		pass(&g->r.f, 50000);
		rig_turn(&g->r, false);
	}
	if (race) {
		atomic_store(&g->stop, true);
		pthread_join(thread, NULL);
	}
}

static void fuzz(const struct target *t, uint64_t seed, unsigned long rounds)
{
	struct rig *g = calloc(1, sizeof(*g));
	uint32_t len;

	g->seed = seed;
	rig_init(&g->r);
	g->disk = fake_disk_new(1 << 20, true, rig_post, &g->r, (struct blk_config){ 0 });
	net_peer_init(&g->far, &far_ops, g, NET_CSUM);
	g->chardev.ops = &chardev_ops;
	plug(g, t);
	for (unsigned long n = 0; n < rounds; n++)
		round_of(g, t);
	/* After all that it is as good as new. */
	rig_start(&g->r, VIRTIO_F_EVENT_IDX, t->queues, 8);
	if (!strcmp(t->name, "virtio-rng")) {
		len = transact(&g->r, 0, &(struct seg){ RIG_BUFFERS, 64, true }, 1);
		assert_int_equal(len, 64);
	}
	if (!strcmp(t->name, "virtio-blk")) {
		memset(ram(&g->r, RIG_BUFFERS), 0, 16);
		len = transact(&g->r, 0, (struct seg[]){ { RIG_BUFFERS, 16, false },
				{ RIG_BUFFERS + 512, 512, true }, { RIG_BUFFERS + 2048, 1, true } }, 3);
		assert_int_equal(len, 513);
	}
	if (g->child)
		dev_free(g->child, g->unit);
	rig_unplug(&g->r);
	fake_disk_free(g->disk);
	rig_fini(&g->r);
	free(g);
}

void fuzz_virtio(const char *name, uint64_t seed, unsigned long rounds)
{
	/* A round is forty kicks and more. */
	for (size_t i = 0; i < array_size(targets); i++)
		if (!strcmp(targets[i].name, name) ||
		    (targets[i].child && !strcmp(targets[i].child, name)))
			fuzz(&targets[i], seed, 1 + rounds / 40);
}

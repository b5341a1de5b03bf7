/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio's core and PCI transport, with a device that gives back what it is given:
 * registers, both kinds of rings, what drivers do wrong, saved state.
 */
#include "src/dev/virtio/virtio_pci.h"
#include "tests/unit/virtio_rig.h"

#define ECHO_FEATURE VIRTIO_BIT(3)

struct echo {
	struct virtio_dev v;
	struct virtio_pci pci;
	unsigned resets, statuses, configs, queues;
	bool hold; /* keep what is taken */
	struct virtq_elem *held[64];
	unsigned nheld;
};

struct echo_req {
	struct virtq_elem e;
};

static void echo_handle(void *req)
{
	struct echo_req *r = req;
	struct echo *d = container_of(r->e.q->dev, struct echo, v);
	struct virtq *q = r->e.q;
	uint32_t n = 0;

	if (d->hold) {
		d->held[d->nheld++] = &r->e;
		return;
	}
	for (unsigned i = 0; i < r->e.out_num; i++) {
		uint32_t to = 0;

		for (unsigned k = 0; k < r->e.in_num && !to; k++)
			if (r->e.in[k].iov_len >= r->e.out[i].iov_len) {
				memcpy(r->e.in[k].iov_base, r->e.out[i].iov_base,
				       r->e.out[i].iov_len);
				to = (uint32_t)r->e.out[i].iov_len;
			}
		n += to;
	}
	virtq_push(&r->e, n);
	virtq_interrupt(q);
}

static void echo_notify(struct virtio_dev *v, struct virtq *q)
{
	virtq_serve(q, sizeof(struct echo_req), echo_handle);
}

static void echo_reset(struct virtio_dev *v)
{
	struct echo *d = container_of(v, struct echo, v);

	d->resets++;
	while (d->nheld)
		virtq_drop(d->held[--d->nheld]);
}

static void echo_queue_reset(struct virtio_dev *v, struct virtq *q)
{
	echo_reset(v);
}

static void echo_status(struct virtio_dev *v, uint8_t old)
{
	container_of(v, struct echo, v)->statuses++;
}

static void echo_config(struct virtio_dev *v, unsigned off, unsigned len)
{
	container_of(v, struct echo, v)->configs++;
}

static const struct virtio_ops echo_ops = {
	.notify = echo_notify, .reset = echo_reset, .queue_reset = echo_queue_reset,
	.status = echo_status, .config_written = echo_config,
};

static void echo_plug(struct vrig *r, struct echo *d)
{
	struct dev_plug plug = { .env = &r->f.env, .id = "test", .pci = &r->bus,
				 .devfn = PCI_DEVFN(4, 0) };

	memset(d, 0, sizeof(*d));
	d->pci.event_idx = d->pci.indirect = d->pci.packed = true;
	d->pci.vectors = VIRTIO_PCI_VECTORS_AUTO;
	virtio_init(&d->v, &echo_ops, VIRTIO_ID_BLOCK, "echo", &r->f.env, ECHO_FEATURE, 16);
	for (unsigned n = 0; n < 16; n++)
		d->v.config[n] = (uint8_t)(n + 1);
	d->v.config_wmask[5] = 0x0f;
	virtio_queue_add(&d->v, 256);
	virtio_queue_add(&d->v, 64);
	assert_int_equal(virtio_pci_init(&d->pci, &d->v, &plug, 0x010000, NULL), 0);
	rig_enable(r, true);
}

static void echo_unplug(struct echo *d)
{
	virtio_pci_fini(&d->pci);
	virtio_fini(&d->v);
}

/* The rig and the device of most tests here. */
struct both {
	struct vrig r;
	struct echo d;
};

static struct both *both_new(void)
{
	struct both *b = calloc(1, sizeof(*b));

	rig_init(&b->r);
	echo_plug(&b->r, &b->d);
	return b;
}

static void both_free(struct both *b)
{
	echo_unplug(&b->d);
	rig_fini(&b->r);
	free(b);
}

static const uint64_t ring_kinds[] = {
	0, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
	VIRTIO_F_RING_PACKED, VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX,
	VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC,
	VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
};

static void test_registers(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;

	assert_int_equal(pci_cfg(r, 0), 0x10011af4); /* transitional */
	assert_int_equal(pci_cfg(r, 0x2c), 0x00021af4);
	assert_int_equal(pci_cfg(r, 8) & 0xff, 0);
	assert_int_equal(reg(r, C_NUMQ, 2), 2);
	assert_int_equal(rig_features(r), ECHO_FEATURE | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
			 VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET);
	set_reg(r, C_DFSELECT, 2, 4);
	assert_int_equal(reg(r, C_DF, 4), 0);
	set_reg(r, C_QSELECT, 1, 2);
	assert_int_equal(reg(r, C_QSIZE, 2), 64);
	set_reg(r, C_QSELECT, 2, 2);
	assert_int_equal(reg(r, C_QSIZE, 2), 0); /* no such queue */
	/* Configuration: any size, written where it may be. */
	assert_int_equal(config(r, 0, 4), 0x04030201);
	assert_int_equal(config(r, 3, 1), 4);
	assert_int_equal(config(r, 14, 4), 0x100f);
	set_reg(r, 0x2004, 0xffffffff, 4);
	assert_int_equal(config(r, 4, 4), 0x08070f05);
	assert_int_equal(b->d.configs, 1);
	set_reg(r, 0x2000, 0, 1);
	assert_int_equal(b->d.configs, 1);
	/* Features must be understood, and be what was offered. */
	set_reg(r, C_STATUS, 3, 1);
	set_reg(r, C_STATUS, 11, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 3);
	set_reg(r, C_GFSELECT, 1, 4);
	set_reg(r, C_GF, 1, 4);
	set_reg(r, C_GFSELECT, 0, 4);
	set_reg(r, C_GF, 1u << 7, 4);
	set_reg(r, C_STATUS, 11, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 3);
	set_reg(r, C_STATUS, 15, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 3);
	set_reg(r, C_GF, ECHO_FEATURE, 4);
	set_reg(r, C_STATUS, 11, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 11);
	set_reg(r, C_GF, 0, 4); /* too late */
	assert_true(virtio_has(&b->d.v, ECHO_FEATURE));
	/* A vector that is not there reads back as none. */
	set_reg(r, C_MSIX, 2, 2);
	assert_int_equal(reg(r, C_MSIX, 2), 2);
	set_reg(r, C_MSIX, 3, 2);
	assert_int_equal(reg(r, C_MSIX, 2), 0xffff);
	set_reg(r, C_STATUS, 0, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 0);
	assert_int_equal(reg(r, C_GF, 4), 0);
	both_free(b);
}

static void test_pci_cfg(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;
	unsigned cap = pci_cfg(r, PCI_CAPABILITIES) & 0xff, seen = 0, cfg = 0;

	for (; cap; cap = pci_cfg(r, cap) >> 8 & 0xff) {
		if ((pci_cfg(r, cap) & 0xff) != PCI_CAP_VENDOR)
			continue;
		seen |= 1u << (pci_cfg(r, cap) >> 24);
		if (pci_cfg(r, cap) >> 24 == 5)
			cfg = cap;
		else
			assert_int_equal(pci_cfg(r, cap + 4) & 0xff, 4);
	}
	assert_int_equal(seen, 0x3e);
	set_pci_cfg(r, cfg + 4, 4, 1);
	set_pci_cfg(r, cfg + 8, 0x2004, 4);
	set_pci_cfg(r, cfg + 12, 2, 4);
	assert_int_equal(pci_cfg(r, cfg + 16), 0x0605);
	set_pci_cfg(r, cfg + 8, C_STATUS, 4);
	set_pci_cfg(r, cfg + 12, 1, 4);
	set_pci_cfg(r, cfg + 16, 3, 4);
	assert_int_equal(reg(r, C_STATUS, 1), 3);
	/* Nonsense does nothing. */
	set_pci_cfg(r, cfg + 8, 0xfffffff0, 4);
	set_pci_cfg(r, cfg + 12, 4, 4);
	set_pci_cfg(r, cfg + 16, 0, 4);
	set_pci_cfg(r, cfg + 8, C_STATUS, 4);
	set_pci_cfg(r, cfg + 12, 3, 4);
	set_pci_cfg(r, cfg + 16, 0, 4);
	assert_int_equal(reg(r, C_STATUS, 1), 3);
	both_free(b);
}

/* Many buffers of many shapes, through rings of odd and even sizes, many times around. */
static void shapes(struct both *b, uint64_t features, unsigned size)
{
	struct vrig *r = &b->r;
	uint32_t seed = 5;

	rig_start(r, features, 2, size);
	for (unsigned round = 0; round < 300; round++) {
		unsigned parts = 1 + (seed >> 16) % 3, len = 1 + (seed >> 20) % 3000;
		gpa_t out = buffer(r, len * 3), in = buffer(r, len * 3);
		struct seg s[6];

		for (unsigned i = 0; i < parts; i++) {
			s[i] = (struct seg){ out + i * len, len, false };
			memset(ram(r, out + i * len), (int)(round + i), len);
			s[parts + i] = (struct seg){ in + i * len, len, true };
		}
		/* The device copies each into the first that has room. */
		assert_int_equal(transact(r, round & 1, s, parts * 2), len * parts);
		assert_memory_equal(ram(r, in), ram(r, out + (parts - 1) * len), len);
		seed = seed * 1664525 + 1013904223;
	}
	assert_int_equal(b->d.v.broken, false);
}

static void test_rings(void **state)
{
	for (size_t i = 0; i < array_size(ring_kinds); i++) {
		struct both *b = both_new();

		shapes(b, ring_kinds[i], 16);
		shapes(b, ring_kinds[i], 64);
		if (ring_kinds[i] & VIRTIO_F_RING_PACKED)
			shapes(b, ring_kinds[i], 13);
		both_free(b);
	}
}

/* A batch before the kick; given back in another order. */
static void test_out_of_order(void **state)
{
	for (size_t i = 0; i < array_size(ring_kinds); i++) {
		struct both *b = both_new();
		struct vrig *r = &b->r;
		uint32_t id, len, seen = 0;

		rig_start(r, ring_kinds[i], 2, 16);
		for (unsigned round = 0; round < 20; round++) {
			uint16_t ids[4];

			b->d.hold = true;
			for (unsigned k = 0; k < 4; k++) {
				gpa_t at = buffer(r, 128);
				struct seg s[2] = { { at, 64, false }, { at + 64, 64, true } };

				ids[k] = add(r, 0, s, 2);
			}
			kick(r, 0);
			assert_int_equal(b->d.nheld, 4);
			assert_false(used(r, 0, &id, &len));
			for (unsigned k = 0; k < 4; k++)
				virtq_push(b->d.held[3 - k], k);
			virtq_interrupt(&b->d.v.vq[0]);
			b->d.nheld = 0;
			for (unsigned k = 0; k < 4; k++) {
				assert_true(used(r, 0, &id, &len));
				assert_int_equal(id, ids[3 - k]);
				assert_int_equal(len, k);
				seen++;
			}
		}
		assert_int_equal(seen, 80);
		both_free(b);
	}
}

/* Several at once: the driver sees none until it sees all; and taken back. */
static void test_many(void **state)
{
	for (size_t i = 0; i < array_size(ring_kinds); i++) {
		struct both *b = both_new();
		struct vrig *r = &b->r;
		struct virtq *q = &b->d.v.vq[0];

		rig_start(r, ring_kinds[i], 2, 8);
		for (unsigned round = 0; round < 20; round++) {
			struct virtq_elem *e[3], *back[2];
			uint32_t written[3] = { 5, 0, 7 }, id, len;

			for (unsigned k = 0; k < 3; k++) {
				struct seg s = { buffer(r, 64), 64, true };

				add(r, 0, &s, 1);
			}
			e[0] = virtq_pop(q, sizeof(struct echo_req));
			back[1] = virtq_pop(q, sizeof(struct echo_req));
			back[0] = virtq_pop(q, sizeof(struct echo_req));
			assert_null(virtq_pop(q, sizeof(struct echo_req)));
			assert_false(virtq_has(q));
			virtq_unpop(back, 2);
			assert_true(virtq_has(q));
			e[1] = virtq_pop(q, sizeof(struct echo_req));
			e[2] = virtq_pop(q, sizeof(struct echo_req));
			assert_false(virtq_has(q));
			virtq_push_many(e, written, 3);
			for (unsigned k = 0; k < 3; k++) {
				assert_true(used(r, 0, &id, &len));
				assert_int_equal(len, written[k]);
			}
			assert_int_equal(q->in_flight, 0);
		}
		both_free(b);
	}
}

static void one(struct vrig *r)
{
	gpa_t at = buffer(r, 128);
	struct seg s[2] = { { at, 64, false }, { at + 64, 64, true } };

	transact(r, 0, s, 2);
}

static void test_interrupts(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;
	unsigned before;
	uint32_t id, len;

	/* MSI-X, each queue its own vector. */
	rig_start(r, 0, 2, 16);
	before = r->f.msis;
	one(r);
	assert_int_equal(r->f.msis, before + 1);
	assert_int_equal(r->f.msi_data, 0x41);
	st_le16(ram(r, ring_driver(0)), 1); /* NO_INTERRUPT */
	one(r);
	assert_int_equal(r->f.msis, before + 1);
	virtio_config_changed(&b->d.v);
	assert_int_equal(r->f.msi_data, 0x40);
	assert_int_equal(reg(r, C_GEN, 1), 1);
	/* By index: only when it is passed. */
	rig_start(r, VIRTIO_F_EVENT_IDX, 2, 16);
	before = r->f.msis;
	one(r); /* used() asks for the next */
	assert_int_equal(r->f.msis, before + 1);
	st_le16(ram(r, ring_driver(0) + 4 + 32), 3);
	for (unsigned k = 0; k < 4; k++) {
		struct seg s = { buffer(r, 64), 64, true };

		add(r, 0, &s, 1);
		kick(r, 0);
		assert_int_equal(r->f.msis, before + 1 + (k >= 2)); /* the fourth in all */
	}
	while (used(r, 0, &id, &len))
		;
	/* Packed: enable, disable, by position. */
	rig_start(r, VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX, 2, 16);
	before = r->f.msis;
	one(r);
	assert_int_equal(r->f.msis, before + 1);
	st_le16(ram(r, ring_driver(0) + 2), 1);
	one(r);
	assert_int_equal(r->f.msis, before + 1);
	st_le16(ram(r, ring_driver(0)), 8 | 0x8000);
	st_le16(ram(r, ring_driver(0) + 2), 2);
	one(r); /* positions 4 and 5 */
	one(r); /* 6, 7 */
	assert_int_equal(r->f.msis, before + 1);
	one(r); /* 8, 9 */
	assert_int_equal(r->f.msis, before + 2);
	both_free(b);
}

static void test_intx(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;

	rig_enable(r, false);
	set_pci_cfg(r, b->d.pci.pci.msix_cap + 2u, 0, 2);
	rig_start(r, 0, 2, 16);
	one(r);
	assert_int_equal(b->d.pci.pci.intx_level, 1);
	assert_int_equal(reg(r, 0x1000, 1), 1);
	assert_int_equal(b->d.pci.pci.intx_level, 0);
	assert_int_equal(reg(r, 0x1000, 1), 0);
	virtio_config_changed(&b->d.v);
	assert_int_equal(reg(r, 0x1000, 1), 2);
	one(r);
	set_pci_cfg(r, b->d.pci.pci.msix_cap + 2u, 0x8000, 2);
	assert_int_equal(b->d.pci.pci.intx_level, 0);
	both_free(b);
}

static void test_notifications(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;

	rig_start(r, VIRTIO_F_EVENT_IDX, 1, 16);
	one(r);
	one(r);
	/* The device's index says: tell me of the next. */
	assert_int_equal(ld_le16(ram(r, ring_device(0) + 4 + 8 * 16)), 2);
	rig_start(r, 0, 1, 16);
	one(r);
	assert_int_equal(ld_le16(ram(r, ring_device(0))), 0);
	virtq_listen(&b->d.v.vq[0], false);
	assert_int_equal(ld_le16(ram(r, ring_device(0))), 1);
	rig_start(r, VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX, 1, 16);
	one(r);
	assert_int_equal(ld_le32(ram(r, ring_device(0))), 0x28002);
	/* Without bus mastering nothing is touched. */
	set_pci_cfg(r, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	{
		struct seg s = { buffer(r, 64), 64, true };
		uint32_t id, len;

		add(r, 0, &s, 1);
		kick(r, 0);
		assert_false(used(r, 0, &id, &len));
	}
	both_free(b);
}

static void test_queue_reset(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;
	struct seg s = { buffer(r, 64), 64, true };

	rig_start(r, VIRTIO_F_RING_RESET, 2, 16);
	b->d.hold = true;
	add(r, 0, &s, 1);
	kick(r, 0);
	assert_int_equal(b->d.nheld, 1);
	set_reg(r, C_QSELECT, 0, 2);
	set_reg(r, C_QRESET, 1, 2);
	assert_int_equal(reg(r, C_QRESET, 2), 0);
	assert_int_equal(reg(r, C_QENABLE, 2), 0);
	assert_int_equal(reg(r, C_QSIZE, 2), 256);
	assert_int_equal(b->d.nheld, 0);
	b->d.hold = false;
	rig_queue(r, 0, 32);
	one(r);
	assert_int_equal(reg(r, C_STATUS, 1), 15);
	both_free(b);
}

/*
 * The legacy interface.
 */
static uint32_t port(struct vrig *r, unsigned off, unsigned size)
{
	return bus_pio_read(r->f.bus, (uint16_t)(RIG_PORTS + off), size);
}

static void set_port(struct vrig *r, unsigned off, uint32_t val, unsigned size)
{
	bus_pio_write(r->f.bus, (uint16_t)(RIG_PORTS + off), val, size);
}

static void test_legacy(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;
	gpa_t ring = 0x200000, at = buffer(r, 128);
	uint8_t *d = ram(r, ring), *avail = d + 256 * 16, *u = d + 0x2000;

	assert_int_equal(port(r, 0, 4), ECHO_FEATURE | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
			 VIRTIO_F_ANY_LAYOUT);
	assert_int_equal(port(r, 24, 4), 0x04030201); /* MSI-X is on */
	set_port(r, 18, 1, 1);
	set_port(r, 18, 3, 1);
	set_port(r, 4, ECHO_FEATURE, 4);
	set_port(r, 14, 0, 2);
	assert_int_equal(port(r, 12, 2), 256);
	set_port(r, 22, 1, 2);
	assert_int_equal(port(r, 22, 2), 1);
	set_port(r, 8, ring / 4096, 4);
	assert_int_equal(port(r, 8, 4), ring / 4096);
	set_port(r, 18, 7, 1);
	set_pci_cfg(r, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
	put_desc(r, ring, &(struct seg){ at, 64, false }, true, 1, false, 0, 0);
	put_desc(r, ring + 16, &(struct seg){ at + 64, 64, true }, false, 0, false, 0, 0);
	memset(ram(r, at), 0x77, 64);
	st_le16(avail + 4, 0);
	st_le16(avail + 2, 1);
	set_port(r, 16, 0, 2);
	assert_int_equal(ld_le16(u + 2), 1);
	assert_int_equal(ld_le32(u + 8), 64);
	assert_memory_equal(ram(r, at), ram(r, at + 64), 64);
	assert_int_equal(r->f.msi_data, 0x41);
	/* A mistake: it stops, but knows no DEVICE_NEEDS_RESET. */
	st_le16(avail + 2, 2);
	st_le16(avail + 6, 300);
	set_port(r, 16, 0, 2);
	assert_true(b->d.v.broken);
	assert_int_equal(port(r, 18, 1), 7);
	set_port(r, 8, 0, 4);
	assert_int_equal(port(r, 18, 1), 0);
	assert_false(b->d.v.broken);
	both_free(b);
}

/*
 * What drivers do wrong: each must leave DEVICE_NEEDS_RESET, tell the driver, and be
 * mended by a reset.
 */
static void broken(struct both *b, const char *what)
{
	struct vrig *r = &b->r;

	if (!(reg(r, C_STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET))
		fail_msg("%s was not noticed", what);
	assert_int_equal(r->f.msi_data, 0x40);
	assert_int_equal(b->d.v.vq[0].in_flight, 0);
	r->f.msi_data = 0;
}

static void wrong_split(struct both *b)
{
	struct vrig *r = &b->r;
	gpa_t at = buffer(r, 4096);
	const struct {
		const char *what;
		struct seg s[3];
		unsigned n;
	} chain[] = {
		{ "an empty descriptor", { { at, 0, false } }, 1 },
		{ "beyond memory", { { RIG_RAM - 16, 32, false } }, 1 },
		{ "at the end of all addresses", { { ~0ull - 8, 64, true } }, 1 },
		{ "4 GiB", { { at, 0xffffffff, true } }, 1 },
		{ "out after in", { { at, 64, true }, { at, 64, false } }, 2 },
		{ "nowhere", { { 0x900000000, 64, true } }, 1 },
		{ "a register", { { RIG_BAR, 64, false } }, 1 },
	};

	for (unsigned i = 0; i < array_size(chain); i++) {
		rig_start(r, 0, 1, 16);
		add(r, 0, chain[i].s, chain[i].n);
		kick_anyway(r, 0);
		broken(b, chain[i].what);
	}
	rig_start(r, 0, 1, 16); /* in a circle */
	put_desc(r, ring_desc(0), &(struct seg){ at, 64, false }, true, 1, false, 0, 0);
	put_desc(r, ring_desc(0) + 16, &(struct seg){ at, 64, false }, true, 0, false, 0, 0);
	st_le16(ram(r, ring_driver(0) + 2), 1);
	kick_anyway(r, 0);
	broken(b, "a loop");
	rig_start(r, 0, 1, 16);
	put_desc(r, ring_desc(0), &(struct seg){ at, 64, false }, true, 16, false, 0, 0);
	st_le16(ram(r, ring_driver(0) + 2), 1);
	kick_anyway(r, 0);
	broken(b, "next outside of the ring");
	rig_start(r, 0, 1, 16);
	st_le16(ram(r, ring_driver(0) + 2), 17);
	kick_anyway(r, 0);
	broken(b, "an index too far");
}

static void wrong_indirect(struct both *b)
{
	struct vrig *r = &b->r;
	gpa_t at = buffer(r, 4096), table = buffer(r, 65536);
	const struct {
		const char *what;
		gpa_t at;
		uint32_t len;
		uint16_t flags;
	} one_of[] = {
		{ "an odd length", table, 17, 4 }, { "no length", table, 0, 4 },
		{ "a huge table", table, 0xfffffff0, 4 }, { "a table nowhere", 0x900000000, 32, 4 },
		{ "a table half outside", RIG_RAM - 16, 32, 4 },
		{ "a table that goes on", table, 32, 5 },
	};

	for (unsigned i = 0; i < array_size(one_of); i++) {
		rig_start(r, VIRTIO_F_INDIRECT_DESC, 1, 16);
		put_desc(r, table, &(struct seg){ at, 64, false }, true, 1, false, 0, 0);
		put_desc(r, table + 16, &(struct seg){ at, 64, true }, false, 0, false, 0, 0);
		put_desc(r, RIG_RAM - 16, &(struct seg){ at, 64, false }, true, 1, false, 0, 0);
		put_desc(r, ring_desc(0), &(struct seg){ one_of[i].at, one_of[i].len, false }, false,
			 1, false, 0, one_of[i].flags);
		st_le16(ram(r, ring_driver(0) + 2), 1);
		kick_anyway(r, 0);
		broken(b, one_of[i].what);
	}
	for (unsigned i = 0; i < 3; i++) {
		/* A loop, a table in a table, a table without the feature. */
		rig_start(r, i == 2 ? 0 : VIRTIO_F_INDIRECT_DESC, 1, 16);
		put_desc(r, table, &(struct seg){ at, 64, false }, i == 0, 0, false, 0,
			 i == 1 ? 4 : 0);
		put_desc(r, ring_desc(0), &(struct seg){ table, 16, false }, false, 0, false, 0, 4);
		st_le16(ram(r, ring_driver(0) + 2), 1);
		kick_anyway(r, 0);
		broken(b, "a wrong table");
	}
}

static void wrong_setup(struct both *b)
{
	struct vrig *r = &b->r;
	const struct {
		const char *what;
		unsigned reg;
		uint64_t val;
		unsigned size;
		uint64_t features;
	} one_of[] = {
		{ "descriptors nowhere", C_QDESC, 0x900000000, 8, 0 },
		{ "descriptors at the end", C_QDESC, ~0xfull, 8, 0 },
		{ "a driver area nowhere", C_QDRIVER, RIG_RAM - 4, 8, 0 },
		{ "a device area nowhere", C_QDEVICE, RIG_BAR, 8, 0 },
		{ "odd descriptors", C_QDESC, RIG_RINGS + 8, 8, 0 },
		{ "an odd device area", C_QDEVICE, RIG_RINGS + 0xa002, 8, 0 },
		{ "a size that is no power of two", C_QSIZE, 10, 2, 0 },
		{ "packed descriptors nowhere", C_QDESC, RIG_RAM, 8, VIRTIO_F_RING_PACKED },
		{ "packed driver area nowhere", C_QDRIVER, RIG_RAM, 8, VIRTIO_F_RING_PACKED },
	};

	for (unsigned i = 0; i < array_size(one_of); i++) {
		rig_start(r, one_of[i].features, 0, 16);
		set_reg(r, C_QSELECT, 0, 2);
		set_reg(r, C_QVECTOR, 1, 2);
		set_reg(r, C_QSIZE, 16, 2);
		set_reg(r, C_QDESC, ring_desc(0), 8);
		set_reg(r, C_QDRIVER, ring_driver(0), 8);
		set_reg(r, C_QDEVICE, ring_device(0), 8);
		set_reg(r, one_of[i].reg, one_of[i].val, one_of[i].size);
		set_reg(r, C_QENABLE, 1, 2);
		kick_anyway(r, 0);
		broken(b, one_of[i].what);
	}
	rig_start(r, 0, 0, 16);
	set_reg(r, C_QSELECT, 0, 2);
	set_reg(r, C_QSIZE, 0, 2);
	set_reg(r, C_QENABLE, 1, 2);
	assert_int_equal(reg(r, C_QENABLE, 2), 0);
	set_reg(r, C_QSIZE, 4096, 2);
	assert_int_equal(reg(r, C_QSIZE, 2), 256);
}

static void wrong_packed(struct both *b)
{
	struct vrig *r = &b->r;
	gpa_t at = buffer(r, 4096);
	uint8_t *d;

	rig_start(r, VIRTIO_F_RING_PACKED, 1, 4); /* no end to the chain */
	for (unsigned i = 0; i < 4; i++)
		put_desc(r, ring_desc(0) + i * 16, &(struct seg){ at, 64, false }, true, 0, true, 0,
			 0x80);
	kick_anyway(r, 0);
	broken(b, "a chain around the ring");
	rig_start(r, VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC, 1, 4);
	put_desc(r, ring_desc(0), &(struct seg){ at, 64, false }, true, 0, true, 0, 0x80);
	put_desc(r, ring_desc(0) + 16, &(struct seg){ at, 64, false }, false, 0, true, 0, 0x84);
	kick_anyway(r, 0);
	broken(b, "a table at a chain's end");
	/* More in flight than there are entries: the driver takes back what is ours. */
	rig_start(r, VIRTIO_F_RING_PACKED, 1, 4);
	b->d.hold = true;
	for (unsigned i = 0; i < 8; i++) {
		d = ram(r, ring_desc(0) + (i % 4) * 16);
		put_desc(r, ring_desc(0) + (i % 4) * 16, &(struct seg){ at, 64, true }, false, 0,
			 true, 0, i < 4 ? 0x80 : 0x8000);
		st_le16(d + 12, (uint16_t)i);
		kick_anyway(r, 0);
	}
	assert_true(b->d.v.broken);
	assert_int_equal(b->d.nheld, 4);
	b->d.hold = false;
	rig_start(r, VIRTIO_F_RING_PACKED, 1, 4);
	one(r);
}

static void test_wrong(void **state)
{
	struct both *b = both_new();

	wrong_split(b);
	wrong_indirect(b);
	wrong_setup(b);
	wrong_packed(b);
	rig_start(&b->r, 0, 1, 16);
	one(&b->r);
	both_free(b);
}

/* What a device holds when its memory goes is found out when it is given back. */
static void test_memory_goes(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;
	struct seg s = { buffer(r, 64), 64, true };

	rig_start(r, 0, 1, 16);
	b->d.hold = true;
	add(r, 0, &s, 1);
	kick(r, 0);
	assert_int_equal(mem_map_clear(r->mem, RIG_RINGS, 0x100000), 0);
	virtq_push(b->d.held[--b->d.nheld], 0);
	assert_true(b->d.v.broken);
	both_free(b);
}

static void test_state(void **state)
{
	for (size_t i = 0; i < array_size(ring_kinds); i++) {
		struct both *b = both_new();
		struct vrig *r = &b->r;

		check_roundtrip(&virtio_dev_state, &b->d.v);
		check_roundtrip(&virtio_pci_state, &b->d.pci);
		rig_start(r, ring_kinds[i], 2, 16);
		for (unsigned n = 0; n < 5; n++)
			one(r);
		check_roundtrip(&virtio_dev_state, &b->d.v);
		check_roundtrip(&virtio_pci_state, &b->d.pci);
		for (unsigned n = 0; n < 20; n++) /* and it goes on */
			one(r);
		check_hostile(&virtio_dev_state, &b->d.v, NULL, 300);
		one(r);
		both_free(b);
	}
}

/* Registers of all kinds, at all sizes, with everything. */
static void test_storm(void **state)
{
	struct both *b = both_new();
	struct vrig *r = &b->r;

	rig_start(r, 0, 2, 16);
	storm_mmio(&r->f, RIG_BAR, 0x4000, 20000);
	storm_mmio(&r->f, RIG_BAR, 0x40, 20000);
	storm_pio(&r->f, RIG_PORTS, 64, 20000);
	b->d.hold = false;
	rig_enable(r, true);
	rig_start(r, 0, 2, 16);
	one(r);
	both_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers), cmocka_unit_test(test_pci_cfg),
		cmocka_unit_test(test_rings), cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_many), cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_intx), cmocka_unit_test(test_notifications),
		cmocka_unit_test(test_queue_reset), cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_memory_goes),
		cmocka_unit_test(test_state), cmocka_unit_test(test_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's side of virtio, for tests: a PCI bus with one device, guest memory, rings
 * written as a driver would write them.
 */
#ifndef BOTHY_TESTS_UNIT_VIRTIO_RIG_H
#define BOTHY_TESTS_UNIT_VIRTIO_RIG_H

#include <pthread.h>
#include <stdlib.h>

#include "src/dev/pci/pci.h"
#include "src/dev/plug.h"
#include "src/dev/virtio/virtio.h"
#include "tests/unit/dev_fixture.h"

#define RIG_RAM (16u << 20)
#define RIG_BAR 0xc0000000u      /* the modern structures */
#define RIG_MSIX 0xc0010000u
#define RIG_PORTS 0xc000u
#define RIG_RINGS 0x100000u      /* queue n's parts begin at RIG_RINGS + n * 0x10000 */
#define RIG_BUFFERS 0x800000u    /* buffers are handed out from here on */
#define RIG_QUEUES 8u

/* Registers, as virtio 1.2 4.1.4.3 has them. */
enum { C_DFSELECT = 0, C_DF = 4, C_GFSELECT = 8, C_GF = 12, C_MSIX = 16, C_NUMQ = 18, C_STATUS = 20,
       C_GEN = 21, C_QSELECT = 22, C_QSIZE = 24, C_QVECTOR = 26, C_QENABLE = 28, C_QNOTIFY = 30,
       C_QDESC = 32, C_QDRIVER = 40, C_QDEVICE = 48, C_QDATA = 56, C_QRESET = 58 };

/* A call that waits for the owner of the rig to make it. */
struct rig_call {
	void (*fn)(void *);
	void *arg;
};

struct drv_queue {
	unsigned size;
	uint16_t next_desc;   /* where the next chain's descriptors go */
	uint16_t avail, used; /* split: indices; packed: positions */
	bool avail_wrap, used_wrap;
	uint16_t added; /* ring entries since the last kick */
	uint16_t len_of[1024]; /* packed: descriptors of buffer id */
};

struct vrig {
	struct fixture f;
	struct mem *mem;
	struct mem_block *ram;
	struct pci_bus bus;
	const struct dev_desc *desc;
	void *dev;
	bool packed, event_idx, indirect, legacy;
	struct drv_queue q[RIG_QUEUES];
	gpa_t next_buffer, next_table;
	/* Calls posted by worker threads. */
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct rig_call call[4096];
	unsigned ncalls;
};

static inline void rig_post(void *opaque, void (*fn)(void *), void *arg)
{
	struct vrig *r = opaque;

	pthread_mutex_lock(&r->lock);
	assert_true(r->ncalls < array_size(r->call));
	r->call[r->ncalls++] = (struct rig_call){ fn, arg };
	pthread_cond_signal(&r->some);
	pthread_mutex_unlock(&r->lock);
}

/* Makes what was posted so far; waits for the first if there is none and @wait. */
static inline void rig_turn(struct vrig *r, bool wait)
{
	struct rig_call calls[64];
	unsigned n;

	pthread_mutex_lock(&r->lock);
	while (wait && !r->ncalls)
		pthread_cond_wait(&r->some, &r->lock);
	n = min_of(r->ncalls, (unsigned)array_size(calls));
	memcpy(calls, r->call, n * sizeof(calls[0]));
	r->ncalls -= n;
	memmove(r->call, r->call + n, r->ncalls * sizeof(calls[0]));
	pthread_mutex_unlock(&r->lock);
	for (unsigned i = 0; i < n; i++) {
		bus_lock(r->f.bus);
		calls[i].fn(calls[i].arg);
		bus_unlock(r->f.bus);
	}
}

static inline void rig_init(struct vrig *r)
{
	struct err err = { "" };

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->some, NULL);
	r->mem = mem_new(RIG_RAM + (16u << 20), &err);
	assert_non_null(r->mem);
	r->ram = mem_block_new(r->mem, "ram", RIG_RAM, false, &err);
	assert_non_null(r->ram);
	assert_int_equal(mem_map_set(r->mem, 0, RIG_RAM, r->ram, 0, true, true), 0);
	r->f.env.mem = r->mem;
	pci_bus_init(&r->bus, &r->f.env, 0);
	r->next_buffer = RIG_BUFFERS;
	r->next_table = RIG_RAM - 0x200000;
}

static inline void *ram(struct vrig *r, gpa_t at)
{
	return r->ram->host + at;
}

/* Guest memory for a buffer. */
static inline gpa_t buffer(struct vrig *r, uint64_t len)
{
	gpa_t at = r->next_buffer;

	r->next_buffer += align_up(len, 64);
	if (r->next_buffer > RIG_RAM - 0x200000) {
		at = RIG_BUFFERS;
		r->next_buffer = at + align_up(len, 64);
	}
	return at;
}

/*
 * Registers.
 */
static inline uint64_t reg(struct vrig *r, unsigned off, unsigned size)
{
	return bus_mmio_read(r->f.bus, RIG_BAR + off, size);
}

static inline void set_reg(struct vrig *r, unsigned off, uint64_t val, unsigned size)
{
	bus_mmio_write(r->f.bus, RIG_BAR + off, val, size);
}

static inline uint64_t config(struct vrig *r, unsigned off, unsigned size)
{
	return reg(r, 0x2000 + off, size);
}

static inline uint32_t pci_cfg(struct vrig *r, unsigned off)
{
	return pci_config_read(&r->bus, PCI_DEVFN(4, 0), off, 4);
}

static inline void set_pci_cfg(struct vrig *r, unsigned off, uint32_t val, unsigned size)
{
	pci_config_write(&r->bus, PCI_DEVFN(4, 0), off, val, size);
}

/* BARs where the rig expects them, bus mastering, MSI-X with its vectors unmasked. */
static inline void rig_enable(struct vrig *r, bool msix)
{
	unsigned cap;

	set_pci_cfg(r, PCI_BAR0, RIG_PORTS, 4);
	set_pci_cfg(r, PCI_BAR0 + 4, RIG_MSIX, 4);
	set_pci_cfg(r, PCI_BAR0 + 16, RIG_BAR, 4);
	set_pci_cfg(r, PCI_BAR0 + 20, 0, 4);
	set_pci_cfg(r, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	for (cap = pci_cfg(r, PCI_CAPABILITIES) & 0xff; cap; cap = pci_cfg(r, cap) >> 8 & 0xff)
		if ((pci_cfg(r, cap) & 0xff) == PCI_CAP_MSIX)
			break;
	if (!msix || !cap)
		return;
	set_pci_cfg(r, cap + 2, 0x8000, 2);
	for (unsigned n = 0; n <= (pci_cfg(r, cap) >> 16 & 0x7ff); n++) {
		bus_mmio_write(r->f.bus, RIG_MSIX + n * 16, 0xfee00000, 4);
		bus_mmio_write(r->f.bus, RIG_MSIX + n * 16 + 8, 0x40 + n, 4);
		bus_mmio_write(r->f.bus, RIG_MSIX + n * 16 + 12, 0, 4);
	}
}

static inline void rig_plug(struct vrig *r, const char *name, const struct dev_prop_text *texts,
			    size_t count, const struct dev_backends *b)
{
	struct dev_plug plug = { .env = &r->f.env, .id = "test", .pci = &r->bus,
				 .devfn = PCI_DEVFN(4, 0) };
	struct err err = { "" };

	r->desc = dev_find(name);
	assert_non_null(r->desc);
	if (dev_new(r->desc, &plug, texts, count, b, &r->dev, &err) != 0)
		fail_msg("%s", err.text);
	rig_enable(r, true);
}

static inline void rig_unplug(struct vrig *r)
{
	dev_free(r->desc, r->dev);
	r->dev = NULL;
}

static inline void rig_fini(struct vrig *r)
{
	if (r->dev)
		rig_unplug(r);
	while (r->ncalls)
		rig_turn(r, false);
	fixture_fini(&r->f);
	mem_free(r->mem);
	pthread_cond_destroy(&r->some);
	pthread_mutex_destroy(&r->lock);
}

/*
 * Start.
 */
static inline uint64_t rig_features(struct vrig *r)
{
	uint64_t low;

	set_reg(r, C_DFSELECT, 0, 4);
	low = reg(r, C_DF, 4);
	set_reg(r, C_DFSELECT, 1, 4);
	return low | reg(r, C_DF, 4) << 32;
}

static inline gpa_t ring_desc(unsigned n) { return RIG_RINGS + n * 0x10000; }
static inline gpa_t ring_driver(unsigned n) { return ring_desc(n) + 0x8000; }
static inline gpa_t ring_device(unsigned n) { return ring_desc(n) + 0xa000; }

static inline void rig_queue(struct vrig *r, unsigned n, unsigned size)
{
	struct drv_queue *q = &r->q[n];

	*q = (struct drv_queue){ .size = size, .avail_wrap = true, .used_wrap = true };
	memset(ram(r, ring_desc(n)), 0, 0x10000);
	set_reg(r, C_QSELECT, n, 2);
	set_reg(r, C_QSIZE, size, 2);
	assert_int_equal(reg(r, C_QSIZE, 2), size);
	set_reg(r, C_QVECTOR, n + 1, 2);
	set_reg(r, C_QDESC, ring_desc(n), 8);
	set_reg(r, C_QDRIVER, ring_driver(n), 8);
	set_reg(r, C_QDEVICE, ring_device(n), 8);
	set_reg(r, C_QENABLE, 1, 2);
}

/* As 3.1.1: everything up to DRIVER_OK, with @queues of @size entries. */
static inline void rig_start(struct vrig *r, uint64_t features, unsigned queues, unsigned size)
{
	features |= VIRTIO_F_VERSION_1;
	r->packed = features & VIRTIO_F_RING_PACKED;
	r->event_idx = features & VIRTIO_F_EVENT_IDX;
	r->indirect = features & VIRTIO_F_INDIRECT_DESC;
	set_reg(r, C_STATUS, 0, 1);
	set_reg(r, C_STATUS, 1, 1);
	set_reg(r, C_STATUS, 3, 1);
	set_reg(r, C_GFSELECT, 0, 4);
	set_reg(r, C_GF, features & 0xffffffff, 4);
	set_reg(r, C_GFSELECT, 1, 4);
	set_reg(r, C_GF, features >> 32, 4);
	set_reg(r, C_STATUS, 11, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 11);
	set_reg(r, C_MSIX, 0, 2);
	for (unsigned n = 0; n < queues; n++)
		rig_queue(r, n, size);
	set_reg(r, C_STATUS, 15, 1);
	assert_int_equal(reg(r, C_STATUS, 1), 15);
}

/*
 * Buffers.
 */
struct seg {
	gpa_t at;
	uint32_t len;
	bool in;
};

static inline void put_desc(struct vrig *r, gpa_t at, const struct seg *s, bool more, uint16_t next,
			    bool packed, uint16_t id, uint16_t extra)
{
	uint8_t *d = ram(r, at);
	uint16_t flags = (uint16_t)((s->in ? 2 : 0) | (more ? 1 : 0) | extra);

	st_le64(d, s->at);
	st_le32(d + 8, s->len);
	st_le16(d + 12, packed ? id : flags);
	st_le16(d + 14, packed ? flags : next);
}

/* An indirect table. Returns the descriptor that points at it. */
static inline struct seg put_table(struct vrig *r, const struct seg *s, unsigned n)
{
	struct seg all = { r->next_table, n * 16, false };

	for (unsigned i = 0; i < n; i++)
		put_desc(r, r->next_table + i * 16, &s[i], !r->packed && i + 1 < n, (uint16_t)(i + 1),
			 r->packed, 0, 0);
	r->next_table += align_up(n * 16, 64);
	if (r->next_table > RIG_RAM - 0x10000)
		r->next_table = RIG_RAM - 0x200000;
	return all;
}

static inline uint16_t add_split(struct vrig *r, unsigned n, const struct seg *s, unsigned count,
				 uint16_t extra)
{
	struct drv_queue *q = &r->q[n];
	uint8_t *avail = ram(r, ring_driver(n));
	uint16_t head = q->next_desc;

	for (unsigned i = 0; i < count; i++) {
		uint16_t at = (uint16_t)((head + i) % q->size);

		put_desc(r, ring_desc(n) + at * 16u, &s[i], i + 1 < count,
			 (uint16_t)((at + 1) % q->size), false, 0, extra);
	}
	q->next_desc = (uint16_t)((head + count) % q->size);
	st_le16(avail + 4 + 2 * (q->avail % q->size), head);
	q->avail++;
	q->added++;
	__atomic_store_n((uint16_t *)(void *)(avail + 2), q->avail, __ATOMIC_RELEASE);
	return head;
}

static inline uint16_t add_packed(struct vrig *r, unsigned n, const struct seg *s, unsigned count,
				  uint16_t extra)
{
	struct drv_queue *q = &r->q[n];
	uint16_t id = q->avail, first = q->avail, first_flags = 0;

	q->len_of[id] = (uint16_t)count;
	q->added = (uint16_t)(q->added + count);
	for (unsigned i = 0; i < count; i++) {
		uint16_t wrap = q->avail_wrap ? 0x80 : 0x8000;
		uint8_t *d = ram(r, ring_desc(n) + q->avail * 16u);

		if (i == 0) {
			/* Its flags come last. */
			uint16_t old = ld_le16(d + 14);

			put_desc(r, ring_desc(n) + q->avail * 16u, &s[i], i + 1 < count, 0, true,
				 id, (uint16_t)(extra | wrap));
			first_flags = ld_le16(d + 14);
			st_le16(d + 14, old);
		} else {
			put_desc(r, ring_desc(n) + q->avail * 16u, &s[i], i + 1 < count, 0, true,
				 id, (uint16_t)(extra | wrap));
		}
		if (++q->avail == q->size) {
			q->avail = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	__atomic_store_n((uint16_t *)ram(r, ring_desc(n) + first * 16u + 14), first_flags,
			 __ATOMIC_RELEASE);
	return id;
}

/* Puts a chain into queue @n; its id. */
static inline uint16_t add(struct vrig *r, unsigned n, const struct seg *s, unsigned count)
{
	struct seg table;
	uint16_t extra = 0;

	if (r->indirect && count > 1) {
		table = put_table(r, s, count);
		s = &table;
		count = 1;
		extra = 4;
	}
	return r->packed ? add_packed(r, n, s, count, extra) : add_split(r, n, s, count, extra);
}

/* Does the device want to be told (2.7.10, 2.8.21.3)? */
static inline bool wants_kick(struct vrig *r, unsigned n)
{
	struct drv_queue *q = &r->q[n];
	const uint8_t *u = ram(r, ring_device(n));
	uint16_t new = q->avail, old = (uint16_t)(new - q->added), event, flags;

	if (!r->packed && !r->event_idx)
		return !(ld_le16(u) & 1);
	event = ld_le16(r->packed ? u : u + 4 + 8 * q->size);
	if (r->packed) {
		flags = ld_le16(u + 2) & 3;
		if (flags != 2)
			return flags == 0;
		event = (event >> 15) == q->avail_wrap
			? event & 0x7fff : (uint16_t)((event & 0x7fff) - q->size);
	}
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static inline void kick_anyway(struct vrig *r, unsigned n)
{
	r->q[n].added = 0;
	set_reg(r, 0x3000 + n * 4, n, 2);
}

static inline void kick(struct vrig *r, unsigned n)
{
	if (wants_kick(r, n))
		kick_anyway(r, n);
	r->q[n].added = 0;
}

/* Takes the next used buffer; false if there is none. */
static inline bool used(struct vrig *r, unsigned n, uint32_t *id, uint32_t *len)
{
	struct drv_queue *q = &r->q[n];
	uint8_t *u = ram(r, ring_device(n)), *d;
	uint16_t flags;

	if (!r->packed) {
		uint16_t idx = __atomic_load_n((uint16_t *)(void *)(u + 2), __ATOMIC_ACQUIRE);

		if (idx == q->used)
			return false;
		d = u + 4 + 8 * (q->used % q->size);
		*id = ld_le32(d);
		*len = ld_le32(d + 4);
		q->used++;
		if (r->event_idx) /* interrupt at the next */
			st_le16(ram(r, ring_driver(n) + 4 + 2 * q->size), q->used);
		return true;
	}
	d = ram(r, ring_desc(n) + q->used * 16u);
	flags = __atomic_load_n((uint16_t *)(void *)(d + 14), __ATOMIC_ACQUIRE);
	if (!!(flags & 0x80) != q->used_wrap || !!(flags & 0x8000) != q->used_wrap)
		return false;
	*id = ld_le16(d + 12);
	*len = ld_le32(d + 8);
	q->used = (uint16_t)(q->used + q->len_of[*id % 1024]);
	if (q->used >= q->size) {
		q->used = (uint16_t)(q->used - q->size);
		q->used_wrap = !q->used_wrap;
	}
	return true;
}

/* Waits for the next used buffer of queue @n: time passes, posted calls are made. */
static inline uint32_t wait_used(struct vrig *r, unsigned n, uint32_t *len)
{
	uint32_t id;

	while (!used(r, n, &id, len)) {
		pass(&r->f, 100000);
		if (used(r, n, &id, len))
			break;
		rig_turn(r, vtime_next_deadline_ns(r->f.vt) == VTIME_NEVER);
	}
	return id;
}

/* Puts in, kicks, waits; how many bytes were written. */
static inline uint32_t transact(struct vrig *r, unsigned n, const struct seg *s, unsigned count)
{
	uint16_t id = add(r, n, s, count);
	uint32_t len;

	kick(r, n);
	assert_int_equal(wait_used(r, n, &len), id);
	return len;
}

#endif

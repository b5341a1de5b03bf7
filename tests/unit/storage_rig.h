/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver's side of disk controllers, for tests: memory, a PCI bus, interrupt lines, and
 * drives in memory whose completions come when the test says. */
#ifndef BOTHY_TESTS_UNIT_STORAGE_RIG_H
#define BOTHY_TESTS_UNIT_STORAGE_RIG_H

#include <pthread.h>

#include "src/dev/legacy/gsi.h"
#include "src/dev/legacy/i8237.h"
#include "src/dev/pci/pci.h"
#include "src/dev/plug.h"
#include "src/dev/storage/medium.h"
#include "tests/unit/dev_fixture.h"
#include "tests/unit/disk_rig.h"

#define RIG_RAM (16u << 20)
#define RIG_DEVS 6u

struct srig {
	struct fixture f;
	struct mem *mem;
	struct mem_block *ram;
	struct pci_bus pci;
	struct gsi gsi;
	struct i8237 dma;
	struct probe irq[16];
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct { void (*fn)(void *); void *arg; } call[256];
	unsigned ncalls;
	const struct dev_desc *desc[RIG_DEVS];
	void *dev[RIG_DEVS];
	struct fake_disk *disk[RIG_DEVS];
	unsigned ndevs;
};

static inline void srig_post(void *opaque, void (*fn)(void *), void *arg)
{
	struct srig *r = opaque;

	pthread_mutex_lock(&r->lock);
	assert_true(r->ncalls < array_size(r->call));
	r->call[r->ncalls].fn = fn;
	r->call[r->ncalls++].arg = arg;
	pthread_cond_signal(&r->some);
	pthread_mutex_unlock(&r->lock);
}

/* Makes one call that was posted; @wait for it. false: there was none. */
static inline bool srig_turn(struct srig *r, bool wait)
{
	void (*fn)(void *);
	void *arg;

	pthread_mutex_lock(&r->lock);
	while (wait && !r->ncalls)
		pthread_cond_wait(&r->some, &r->lock);
	if (!r->ncalls) {
		pthread_mutex_unlock(&r->lock);
		return false;
	}
	fn = r->call[0].fn;
	arg = r->call[0].arg;
	memmove(r->call, r->call + 1, --r->ncalls * sizeof(r->call[0]));
	pthread_mutex_unlock(&r->lock);
	fn(arg);
	return true;
}

/* All that is under way ends. */
static inline void srig_settle(struct srig *r)
{
	pass(&r->f, 1);
	for (unsigned n = 0; n < r->ndevs; n++)
		if (r->disk[n])
			blk_drain(r->disk[n]->blk);
	while (srig_turn(r, false))
		;
}

static inline void srig_init(struct srig *r)
{
	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	r->mem = mem_new(2 * RIG_RAM, NULL);
	r->ram = mem_block_new(r->mem, "ram", RIG_RAM, false, NULL);
	assert_int_equal(mem_map_set(r->mem, 0, RIG_RAM, r->ram, 0, true, true), 0);
	r->f.env.mem = r->mem;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->some, NULL);
	pci_bus_init(&r->pci, &r->f.env, 0);
	gsi_init(&r->gsi, NULL, NULL);
	for (unsigned n = 0; n < 16; n++)
		r->gsi.pin[n] = probe_line(&r->irq[n]);
	assert_int_equal(i8237_init(&r->dma, &r->f.env, NULL), 0);
}

static inline void *srig_find(void *opaque, enum dev_prop_type type, const char *id,
			      struct err *err)
{
	return ((struct fake_disk *)opaque)->blk;
}

/* Plugs a device: on PCI at 02.0, else on @parent's @slot with @disk (NULL: none). */
static inline void *srig_add(struct srig *r, const char *name, void *parent, unsigned slot,
			     struct fake_disk *disk)
{
	struct dev_plug at = { .env = &r->f.env, .id = name, .pci = &r->pci, .devfn = PCI_DEVFN(2, 0),
			       .gsi = &r->gsi, .dma = &r->dma, .parent = parent, .slot = slot };
	struct dev_prop_text text = { "drive", "d" };
	struct dev_backends backends = { srig_find, disk };
	struct err err = { "" };
	unsigned n = r->ndevs++;

	assert_true(n < RIG_DEVS);
	r->desc[n] = dev_find(name);
	assert_non_null(r->desc[n]);
	if (dev_new(r->desc[n], &at, &text, disk ? 1 : 0, &backends, &r->dev[n], &err) < 0)
		fail_msg("%s", err.text);
	r->disk[n] = disk;
	return r->dev[n];
}

static inline struct fake_disk *srig_disk(struct srig *r, uint64_t len, bool writable)
{
	return fake_disk_new(len, writable, srig_post, r, (struct blk_config){ 0 });
}

static inline void srig_fini(struct srig *r)
{
	for (unsigned n = r->ndevs; n-- > 0; )
		dev_free(r->desc[n], r->dev[n]);
	for (unsigned n = 0; n < r->ndevs; n++)
		if (r->disk[n])
			fake_disk_free(r->disk[n]);
	while (srig_turn(r, false))
		;
	i8237_fini(&r->dma);
	fixture_fini(&r->f);
	mem_free(r->mem);
	pthread_cond_destroy(&r->some);
	pthread_mutex_destroy(&r->lock);
}

#endif

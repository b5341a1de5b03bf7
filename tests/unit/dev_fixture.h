/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a device needs around it in a test: a bus, a clock moved by hand, lines. */
#ifndef BOTHY_TESTS_UNIT_DEV_FIXTURE_H
#define BOTHY_TESTS_UNIT_DEV_FIXTURE_H

#include <string.h>

#include "src/base/bits.h"
#include "src/dev/dev.h"
#include "tests/unit/roundtrip.h"

struct fixture {
	struct bus *bus;
	struct vtime *vt;
	struct dev_env env;
	unsigned resets, power_offs;
	uint64_t msi_addr;
	uint32_t msi_data;
	unsigned msis;
};

/* One end of a line. */
struct probe {
	int level;
	unsigned rises;
};

static inline void probe_set(void *opaque, int n, int level)
{
	struct probe *p = opaque;

	p->level = level;
	p->rises += level != 0;
}

static inline struct irq_line probe_line(struct probe *p)
{
	*p = (struct probe){ 0 };
	return (struct irq_line){ .set = probe_set, .opaque = p };
}

static inline void fixture_reset(void *opaque) { ((struct fixture *)opaque)->resets++; }
static inline void fixture_off(void *opaque) { ((struct fixture *)opaque)->power_offs++; }

static inline void fixture_msi(void *opaque, uint64_t addr, uint32_t data)
{
	struct fixture *f = opaque;

	f->msi_addr = addr;
	f->msi_data = data;
	f->msis++;
}

static inline void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->bus = bus_new(NULL, NULL);
	assert_non_null(f->bus);
	f->vt = vtime_new(&f->bus->lock, true);
	assert_non_null(f->vt);
	f->bus->msi = fixture_msi;
	f->bus->msi_opaque = f;
	f->env = (struct dev_env){
		.bus = f->bus, .vtime = f->vt, .power_off = fixture_off,
		.reset = fixture_reset, .power_opaque = f,
	};
}

static inline void fixture_fini(struct fixture *f)
{
	assert_int_equal(vtime_next_deadline_ns(f->vt), VTIME_NEVER);
	vtime_free(f->vt);
	bus_free(f->bus);
}

/* Lets the time pass, timers and all. */
static inline void pass(struct fixture *f, int64_t ns)
{
	int64_t end = vtime_now_ns(f->vt) + ns;

	while (vtime_next_deadline_ns(f->vt) <= end) {
		int64_t next = vtime_next_deadline_ns(f->vt);

		if (next > vtime_now_ns(f->vt))
			vtime_advance(f->vt, next - vtime_now_ns(f->vt));
		vtime_run(f->vt);
	}
	vtime_advance(f->vt, end - vtime_now_ns(f->vt));
}

static inline uint8_t inb(struct fixture *f, uint16_t port)
{
	return (uint8_t)bus_pio_read(f->bus, port, 1);
}

static inline void outb(struct fixture *f, uint16_t port, uint8_t val)
{
	bus_pio_write(f->bus, port, val, 1);
}

static inline uint32_t inl(struct fixture *f, uint16_t port)
{
	return bus_pio_read(f->bus, port, 4);
}

static inline void outl(struct fixture *f, uint16_t port, uint32_t val)
{
	bus_pio_write(f->bus, port, val, 4);
}

static inline uint32_t rd32(struct fixture *f, uint64_t gpa)
{
	return (uint32_t)bus_mmio_read(f->bus, gpa, 4);
}

static inline void wr32(struct fixture *f, uint64_t gpa, uint32_t val)
{
	bus_mmio_write(f->bus, gpa, val, 4);
}

/* Random accesses to [port, port + len): nothing may crash or hang. */
static inline void storm_pio(struct fixture *f, uint16_t port, unsigned len, unsigned rounds)
{
	uint32_t seed = 99;

	for (unsigned n = 0; n < rounds; n++) {
		unsigned size = 1u << (seed >> 28 & 3) & 7;
		uint16_t at;

		size = size ? size : 1;
		seed = seed * 1664525 + 1013904223;
		at = (uint16_t)(port + (seed >> 8) % len);
		seed = seed * 1664525 + 1013904223;
		if (seed & 0x80000)
			bus_pio_write(f->bus, at, seed, size);
		else
			bus_pio_read(f->bus, at, size);
		if (!(n & 15))
			pass(f, seed >> 12);
	}
}

static inline void storm_mmio(struct fixture *f, uint64_t gpa, unsigned len, unsigned rounds)
{
	uint64_t seed = 77;

	for (unsigned n = 0; n < rounds; n++) {
		unsigned size = 1u << (seed >> 60 & 3);
		uint64_t at;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		at = gpa + (seed >> 33) % len;
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		if (seed & 0x8000000000ull)
			bus_mmio_write(f->bus, at & ~(uint64_t)(size - 1),
				       seed & 0x400000000ull ? seed >> 35 : 0, size);
		else
			bus_mmio_read(f->bus, at, size);
		if (!(n & 15))
			pass(f, (int64_t)(seed >> 44));
	}
}

#endif

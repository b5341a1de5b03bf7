/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/machine/shadow.h"

#include <errno.h>

#include "src/base/bits.h"

#define ROM_MAX 0x20000u /* of the firmware, at SHADOW_END */
#define SEGMENT 0x4000u
#define READ_RAM 1u
#define WRITE_RAM 2u
#define SMRAM_START 0xa0000u
#define SMRAM_LEN 0x20000u

static gpa_t segment_start(unsigned n)
{
	return SHADOW_START + n * SEGMENT; /* the last one begins at F0000h */
}

static uint64_t segment_len(unsigned n)
{
	return n == SHADOW_SEGMENTS - 1 ? SHADOW_END - segment_start(n) : SEGMENT;
}

static unsigned segment_of(gpa_t gpa)
{
	return min_of((unsigned)((gpa - SHADOW_START) / SEGMENT), SHADOW_SEGMENTS - 1);
}

/* Where in the ROM block @gpa is; false: nothing there. */
static bool rom_offset(const struct shadow *s, gpa_t gpa, uint64_t *off)
{
	uint64_t shown = min_of(s->rom->len, (uint64_t)ROM_MAX);

	if (gpa < SHADOW_END - shown)
		return false;
	*off = s->rom->len - (SHADOW_END - gpa);
	return true;
}

/*
 * The bus sees what the map does not: reads where nothing is, and writes to segments
 * that read as ROM.
 */
static uint64_t range_read(void *dev, uint64_t off, unsigned size)
{
	struct shadow *s = dev;
	uint64_t at, v = ~0ull;

	if (rom_offset(s, SHADOW_START + off, &at) && size <= s->rom->len - at)
		memcpy(&v, s->rom->host + at, size);
	return v;
}

static void range_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct shadow *s = dev;
	gpa_t gpa = SHADOW_START + off;

	if (s->attr[segment_of(gpa)] & WRITE_RAM &&
	    mem_block_write(s->env->mem, s->ram, gpa, &val, size) < 0)
		log_warn(s->env->log, "a write to shadow RAM beyond its end");
}

static const struct bus_ops range_ops = { range_read, range_write, 1, 8, false };

static int map_segment(struct shadow *s, unsigned n, uint8_t attr)
{
	gpa_t start = segment_start(n);
	uint64_t len = segment_len(n), off;

	if (attr & READ_RAM)
		return mem_map_set(s->env->mem, start, len, s->ram, start, true, attr & WRITE_RAM);
	if (rom_offset(s, start, &off))
		return mem_map_set(s->env->mem, start, len, s->rom, off, true, false);
	return mem_map_clear(s->env->mem, start, len);
}

/* Memory for an SMI handler, over whatever a display has there. */
static void apply_smram(struct shadow *s)
{
	bool open = q35_smram_open(s->q35);
	int ret;

	if (open == s->smram)
		return;
	ret = open ? mem_map_set(s->env->mem, SMRAM_START, SMRAM_LEN, s->ram, SMRAM_START, true, true)
		   : mem_map_clear(s->env->mem, SMRAM_START, SMRAM_LEN);
	if (ret == 0)
		s->smram = open;
}

static void apply(void *opaque)
{
	struct shadow *s = opaque;

	apply_smram(s);

	for (unsigned n = 0; n < SHADOW_SEGMENTS; n++) {
		uint8_t attr = (uint8_t)q35_pam(s->q35, n);

		if (s->mapped && attr == s->attr[n])
			continue;
		if (map_segment(s, n, attr) < 0)
			log_error(s->env->log, "out of memory: the firmware's shadow at %#llx "
				  "stays as it is", (unsigned long long)segment_start(n));
		else
			s->attr[n] = attr;
	}
	s->mapped = true;
}

int shadow_init(struct shadow *s, const struct dev_env *env, struct q35 *q35,
		struct mem_block *ram, struct mem_block *rom, struct err *err)
{
	int ret;

	*s = (struct shadow){ .env = env, .q35 = q35, .ram = ram, .rom = rom };
	if (ram->len < SHADOW_END)
		return err_set(err, -EINVAL, "firmware needs at least 1 MiB of memory");
	s->range = (struct bus_range){ SHADOW_START, SHADOW_END - SHADOW_START, &range_ops, s,
				       "shadow", .priority = -1 };
	ret = bus_add_mmio(env->bus, &s->range);
	if (ret < 0)
		return err_set(err, ret, "out of memory for the firmware's shadow");
	q35->shadow_changed = apply;
	q35->shadow_opaque = s;
	apply(s);
	return 0;
}

void shadow_fini(struct shadow *s, struct q35 *q35)
{
	if (!s->env)
		return;
	q35->shadow_changed = NULL;
	bus_del_mmio(s->env->bus, &s->range);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window at A0000h: how the processor reaches the four planes. Source: IBM PS/2
 * Hardware Interface Technical Reference, "Video Memory Addressing" and "Graphics
 * Controller"; Ferraro, chapter 10.
 */
#include "src/base/bits.h"
#include "src/dev/display/vga_priv.h"

/* Bit p of a plane mask as byte p of a word. */
static const uint32_t spread[16] = {
	0x00000000, 0x000000ff, 0x0000ff00, 0x0000ffff, 0x00ff0000, 0x00ff00ff, 0x00ffff00,
	0x00ffffff, 0xff000000, 0xff0000ff, 0xff00ff00, 0xff00ffff, 0xffff0000, 0xffff00ff,
	0xffffff00, 0xffffffff,
};

/* From an offset in the window to one in the mapped part of it, with the bank; false:
 * not decoded there. Graphics controller, miscellaneous register, memory map select. */
static bool window_offset(const struct vga *v, uint32_t *addr)
{
	static const struct { uint32_t start, len; } maps[4] = {
		{ 0x00000, 0x20000 }, { 0x00000, 0x10000 }, { 0x10000, 0x8000 },
		{ 0x18000, 0x8000 },
	};
	unsigned map = v->gfx[GFX_MISC] >> 2 & 3;

	if (!(v->misc & MISC_RAM))
		return false;
	*addr -= maps[map].start;
	if (*addr >= maps[map].len)
		return false;
	if (map < 2)
		*addr += (uint32_t)v->vbe[VBE_BANK] << 16;
	return true;
}

/* What stands for one byte address in the planes: the index of its four bytes, and
 * the planes it may touch. */
static bool locate(const struct vga *v, uint32_t *addr, unsigned *planes)
{
	if (!window_offset(v, addr))
		return false;
	*planes = 15;
	if (v->seq[SEQ_MEMORY] & SEQ_MEMORY_CHAIN4) {
		*planes = 1u << (*addr & 3);
		*addr >>= 2;
	} else if (!(v->seq[SEQ_MEMORY] & SEQ_MEMORY_SEQUENTIAL)) {
		*planes = 5u << (*addr & 1);
		*addr >>= 1;
	}
	return *addr < v->vram->len / 4;
}

uint8_t vga_mem_read(struct vga *v, uint32_t addr)
{
	unsigned planes, plane;
	uint8_t diff = 0;

	if (!locate(v, &addr, &planes))
		return 0xff;
	memcpy(v->latch, v->vram->host + addr * 4ull, 4);
	if (v->seq[SEQ_MEMORY] & SEQ_MEMORY_CHAIN4)
		return v->latch[__builtin_ctz(planes)];
	if (v->gfx[GFX_MODE] & 0x08) { /* read mode 1: where all planes have the colour */
		for (unsigned p = 0; p < 4; p++)
			if (v->gfx[GFX_DONT_CARE] >> p & 1)
				diff |= v->latch[p] ^ (v->gfx[GFX_COMPARE] >> p & 1 ? 0xff : 0);
		return (uint8_t)~diff;
	}
	plane = v->gfx[GFX_READ_MAP] & 3;
	/* Odd/even reading: the address picks the plane of the pair. */
	if (v->gfx[GFX_MODE] & 0x10)
		plane = (plane & 2) | (planes == 10);
	return v->latch[plane];
}

static uint32_t every_plane(uint8_t val)
{
	return val * 0x01010101u;
}

/* The function select of the rotate register, with the latches. */
static uint32_t combine(const struct vga *v, uint32_t val, uint32_t latch)
{
	switch (v->gfx[GFX_ROTATE] >> 3 & 3) {
	case 1: return val & latch;
	case 2: return val | latch;
	case 3: return val ^ latch;
	default: return val;
	}
}

static uint8_t rotate(const struct vga *v, uint8_t val)
{
	unsigned n = v->gfx[GFX_ROTATE] & 7;

	return (uint8_t)(val >> n | val << (8 - n));
}

/* What the write mode makes of a byte: the four planes' bytes. */
static uint32_t write_data(const struct vga *v, uint8_t val)
{
	uint32_t latch = ld_le32(v->latch), mask = every_plane(v->gfx[GFX_BIT_MASK]), data, enable;

	switch (v->gfx[GFX_MODE] & 3) {
	case 0:
		data = every_plane(rotate(v, val));
		enable = spread[v->gfx[GFX_SR_ENABLE] & 15];
		data = (data & ~enable) | (spread[v->gfx[GFX_SET_RESET] & 15] & enable);
		break;
	case 1:
		return latch;
	case 2:
		data = spread[val & 15];
		break;
	default:
		mask &= every_plane(rotate(v, val));
		data = spread[v->gfx[GFX_SET_RESET] & 15];
		break;
	}
	return (combine(v, data, latch) & mask) | (latch & ~mask);
}

void vga_mem_write(struct vga *v, uint32_t addr, uint8_t val)
{
	unsigned planes;
	uint32_t mask;
	uint8_t *at;

	if (!locate(v, &addr, &planes))
		return;
	mask = spread[planes & v->seq[SEQ_MAP_MASK] & 15];
	if (!mask)
		return;
	at = v->vram->host + addr * 4ull;
	/* Of the linear modes chain 4 is a plain store. */
	if (v->seq[SEQ_MEMORY] & SEQ_MEMORY_CHAIN4 && vbe_on(v))
		st_le32(at, (ld_le32(at) & ~mask) | (every_plane(val) & mask));
	else
		st_le32(at, (ld_le32(at) & ~mask) | (write_data(v, val) & mask));
	mem_written(v->env->mem, at, 4);
	v->changed = true;
}

static uint64_t window_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	for (unsigned n = 0; n < size; n++)
		val |= (uint64_t)vga_mem_read(dev, (uint32_t)off + n) << (n * 8);
	return val;
}

static void window_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	for (unsigned n = 0; n < size; n++)
		vga_mem_write(dev, (uint32_t)off + n, (uint8_t)(val >> (n * 8)));
}

const struct bus_ops vga_window_ops = { window_read, window_write, 1, 8, false };

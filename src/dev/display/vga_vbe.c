/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Bochs display registers: linear modes of any size. */
#include "src/base/bits.h"
#include "src/dev/display/vga_priv.h"

#define VBE_ID_FIRST 0xb0c0u
#define VBE_ID_LAST 0xb0c5u

void vbe_reset(struct vga *v)
{
	memset(v->vbe, 0, sizeof(v->vbe));
	v->vbe_index = 0;
	v->vbe[VBE_ID] = VBE_ID_LAST;
	v->vbe[VBE_MEMORY_64K] = (uint16_t)(v->vgamem >> 16);
	vbe_fix(v);
}

static uint32_t bytes_of(const struct vga *v, uint32_t pixels)
{
	unsigned bpp = v->vbe[VBE_BPP];

	return bpp == 4 ? pixels / 8 * 4 : pixels * ((bpp + 7) / 8);
}

uint32_t vbe_line_bytes(const struct vga *v)
{
	return bytes_of(v, v->vbe[VBE_VIRT_WIDTH]);
}

uint32_t vbe_start_bytes(const struct vga *v)
{
	return v->vbe[VBE_Y_OFFSET] * vbe_line_bytes(v) + bytes_of(v, v->vbe[VBE_X_OFFSET]);
}

static uint16_t clamp(unsigned val, unsigned least, unsigned most)
{
	return (uint16_t)(val < least ? least : val > most ? most : val);
}

void vbe_fix(struct vga *v)
{
	uint16_t *r = v->vbe;
	uint32_t line;

	if (r[VBE_BPP] != 4 && r[VBE_BPP] != 15 && r[VBE_BPP] != 16 && r[VBE_BPP] != 24 &&
	    r[VBE_BPP] != 32)
		r[VBE_BPP] = 8;
	r[VBE_XRES] = clamp(r[VBE_XRES] & ~7u, 8, SURFACE_WIDTH_MAX);
	r[VBE_VIRT_WIDTH] = clamp(r[VBE_VIRT_WIDTH] & ~7u, r[VBE_XRES], 0xfff8);
	line = vbe_line_bytes(v);
	if (line > v->vgamem) { /* not even one row: less wide */
		r[VBE_VIRT_WIDTH] = r[VBE_XRES];
		line = vbe_line_bytes(v);
	}
	r[VBE_YRES] = clamp(r[VBE_YRES], 1, SURFACE_HEIGHT_MAX);
	if (r[VBE_YRES] > v->vgamem / line)
		r[VBE_YRES] = (uint16_t)(v->vgamem / line);
	r[VBE_VIRT_HEIGHT] = clamp((unsigned)min_of(v->vgamem / line, 0xffffull), 1, 0xffff);
	r[VBE_X_OFFSET] = clamp(r[VBE_X_OFFSET], 0, r[VBE_VIRT_WIDTH] - r[VBE_XRES]);
	r[VBE_Y_OFFSET] = clamp(r[VBE_Y_OFFSET], 0, r[VBE_VIRT_HEIGHT] - r[VBE_YRES]);
	r[VBE_BANK] &= (uint16_t)((v->vgamem >> (r[VBE_BPP] == 4 ? 18 : 16)) - 1);
}

uint16_t vbe_read(const struct vga *v, unsigned index)
{
	if (index >= VBE_REGS)
		return 0;
	if (v->vbe[VBE_ENABLE] & VBE_GETCAPS) {
		switch (index) {
		case VBE_XRES: return SURFACE_WIDTH_MAX;
		case VBE_YRES: return SURFACE_HEIGHT_MAX;
		case VBE_BPP: return 32;
		default: break;
		}
	}
	return v->vbe[index];
}

/* As the interface promises: the VGA's own registers are set so that the window at
 * A0000h shows the bank, byte by byte or by planes. */
static void enter_mode(struct vga *v)
{
	bool planar = v->vbe[VBE_BPP] == 4;

	v->gfx[GFX_MISC] = (uint8_t)((v->gfx[GFX_MISC] & ~0x0cu) | 0x05);
	v->gfx[GFX_MODE] = (uint8_t)((v->gfx[GFX_MODE] & ~0x60u) | (planar ? 0 : 0x40));
	v->crtc[CRTC_MODE] |= 3;
	v->seq[SEQ_CLOCKING] &= (uint8_t)~(SEQ_CLOCKING_HALF | SEQ_CLOCKING_OFF);
	v->seq[SEQ_MEMORY] |= SEQ_MEMORY_SEQUENTIAL;
	if (planar) {
		v->seq[SEQ_MEMORY] &= (uint8_t)~SEQ_MEMORY_CHAIN4;
	} else {
		v->seq[SEQ_MEMORY] |= SEQ_MEMORY_CHAIN4;
		v->seq[SEQ_MAP_MASK] = 15;
	}
}

static void clear_picture(struct vga *v)
{
	uint64_t len = min_of((uint64_t)v->vbe[VBE_YRES] * vbe_line_bytes(v), v->vgamem);

	memset(v->vram->host, 0, len);
	mem_written(v->env->mem, v->vram->host, len);
}

static void write_enable(struct vga *v, uint16_t val)
{
	bool was = vbe_on(v);

	v->vbe[VBE_ENABLE] = val & (VBE_ENABLED | VBE_GETCAPS | VBE_8BIT_DAC | VBE_LFB |
				    VBE_NOCLEARMEM);
	if (val & VBE_ENABLED && !was) {
		v->vbe[VBE_VIRT_WIDTH] = v->vbe[VBE_XRES];
		v->vbe[VBE_X_OFFSET] = v->vbe[VBE_Y_OFFSET] = v->vbe[VBE_BANK] = 0;
		vbe_fix(v);
		enter_mode(v);
		if (!(val & VBE_NOCLEARMEM))
			clear_picture(v);
	} else if (!(val & VBE_ENABLED)) {
		v->vbe[VBE_BANK] = 0;
	}
}

void vbe_write(struct vga *v, unsigned index, uint16_t val)
{
	v->changed = true;
	switch (index) {
	case VBE_ID:
		if (val >= VBE_ID_FIRST && val <= VBE_ID_LAST)
			v->vbe[VBE_ID] = val;
		break;
	case VBE_XRES:
	case VBE_YRES:
	case VBE_BPP:
		v->vbe[index] = val;
		/* While a mode stands its virtual screen follows; else the parts come
		 * one by one, and enabling checks the whole. */
		if (vbe_on(v))
			vbe_fix(v);
		break;
	case VBE_ENABLE:
		write_enable(v, val);
		break;
	case VBE_BANK:
	case VBE_VIRT_WIDTH:
	case VBE_X_OFFSET:
	case VBE_Y_OFFSET:
		v->vbe[index] = val;
		vbe_fix(v);
		break;
	default:
		if (index >= VBE_REGS)
			log_guest(v->env->log, &v->vbe_limit, "VGA: there is no Bochs display "
				  "register %#x", index);
		break;
	}
}

/* Ports 1CEh (index) and 1CFh (data), two bytes each; 1D0h is data too. */
static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	struct vga *v = dev;

	return off == 0 ? v->vbe_index : vbe_read(v, v->vbe_index);
}

static void port_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct vga *v = dev;

	if (off == 0)
		v->vbe_index = (uint16_t)val;
	else
		vbe_write(v, v->vbe_index, (uint16_t)val);
}

const struct bus_ops vga_vbe_port_ops = { port_read, port_write, 1, 2, false };

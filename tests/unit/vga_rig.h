/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VGA alone on a bus, and the standard modes' registers. */
#ifndef BOTHY_TESTS_UNIT_VGA_RIG_H
#define BOTHY_TESTS_UNIT_VGA_RIG_H

#include "src/dev/display/vga.h"
#include "src/dev/plug.h"
#include "tests/unit/dev_fixture.h"

#define WIN 0xa0000u
#define LFB 0xe0000000u
#define MMIO 0xf0000000u

struct vga_rig {
	struct fixture f;
	struct pci_bus pci;
	struct screens screens;
	struct vga *v;
	struct surface *s;
};

static inline void vga_rig_init(struct vga_rig *r)
{
	static const struct dev_prop_text texts[] = { { "romfile", "none" }, { "vgamem", "4M" } };
	struct dev_plug plug = { .env = &r->f.env, .id = "vga0", .pci = &r->pci,
				 .devfn = PCI_DEVFN(2, 0) };
	struct err err = { "" };
	void *dev;

	memset(r, 0, sizeof(*r));
	fixture_init(&r->f);
	r->f.env.mem = mem_new(64 << 20, NULL);
	r->f.env.screens = &r->screens;
	assert_non_null(r->f.env.mem);
	pci_bus_init(&r->pci, &r->f.env, 0);
	if (dev_new(&vga_desc, &plug, texts, 2, NULL, &dev, &err) != 0)
		fail_msg("%s", err.text);
	r->v = dev;
	r->s = screens_find(&r->screens, "vga0");
	assert_ptr_equal(r->s, &r->v->surface);
}

static inline void vga_rig_fini(struct vga_rig *r)
{
	dev_free(&vga_desc, r->v);
	assert_null(r->screens.first);
	fixture_fini(&r->f);
	mem_free(r->f.env.mem);
}

static inline void vga_bars(struct vga_rig *r)
{
	pci_config_write(&r->pci, r->v->pci.devfn, PCI_BAR0, LFB, 4);
	pci_config_write(&r->pci, r->v->pci.devfn, PCI_BAR0 + 8, MMIO, 4);
	pci_config_write(&r->pci, r->v->pci.devfn, PCI_COMMAND, 3, 2);
}

static inline void vga_reg(struct vga_rig *r, uint16_t port, uint8_t n, uint8_t val)
{
	bus_pio_write(r->f.bus, port, (uint32_t)(n | val << 8), 2);
}

static inline void vga_attr(struct vga_rig *r, uint8_t n, uint8_t val)
{
	inb(&r->f, 0x3da);
	outb(&r->f, 0x3c0, n);
	outb(&r->f, 0x3c0, val);
	outb(&r->f, 0x3c0, 0x20); /* the picture on */
}

static inline void vga_color(struct vga_rig *r, uint8_t n, uint8_t red, uint8_t green,
			     uint8_t blue)
{
	outb(&r->f, 0x3c8, n);
	outb(&r->f, 0x3c9, red);
	outb(&r->f, 0x3c9, green);
	outb(&r->f, 0x3c9, blue);
}

static inline void vga_vbe(struct vga_rig *r, unsigned n, unsigned val)
{
	bus_pio_write(r->f.bus, 0x1ce, n, 2);
	bus_pio_write(r->f.bus, 0x1cf, val, 2);
}

static inline unsigned vga_vbe_get(struct vga_rig *r, unsigned n)
{
	bus_pio_write(r->f.bus, 0x1ce, n, 2);
	return bus_pio_read(r->f.bus, 0x1cf, 2);
}

/* The registers of a BIOS mode (IBM reference, "Video Subsystem", mode tables). */
struct vga_mode {
	uint8_t misc, seq[4], crtc[25], gfx[9], attr_mode, attr_pan;
};

static const struct vga_mode vga_mode_03 = { /* 80x25 text, 9x16 */
	0x67, { 0x00, 0x03, 0x00, 0x02 },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c,
	  0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff },
	{ 0, 0, 0, 0, 0, 0x10, 0x0e, 0x00, 0xff }, 0x0c, 0x08,
};
static const struct vga_mode vga_mode_04 = { /* 320x200, four colours, as the CGA's */
	0x63, { 0x09, 0x03, 0x00, 0x02 },
	{ 0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e,
	  0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff },
	{ 0, 0, 0, 0, 0, 0x30, 0x0f, 0x00, 0xff }, 0x01, 0x00,
};
static const struct vga_mode vga_mode_06 = { /* 640x200, two colours */
	0x63, { 0x01, 0x01, 0x00, 0x06 },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e,
	  0x8f, 0x28, 0x00, 0x96, 0xb9, 0xc2, 0xff },
	{ 0, 0, 0, 0, 0, 0x00, 0x0d, 0x00, 0xff }, 0x01, 0x00,
};
static const struct vga_mode vga_mode_0d = { /* 320x200, 16 colours */
	0x63, { 0x09, 0x0f, 0x00, 0x06 },
	{ 0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc0, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e,
	  0x8f, 0x14, 0x00, 0x96, 0xb9, 0xe3, 0xff },
	{ 0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff }, 0x01, 0x00,
};
static const struct vga_mode vga_mode_12 = { /* 640x480, 16 colours */
	0xe3, { 0x01, 0x0f, 0x00, 0x06 },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c,
	  0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff },
	{ 0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff }, 0x01, 0x00,
};
static const struct vga_mode vga_mode_13 = { /* 320x200, 256 colours */
	0x63, { 0x01, 0x0f, 0x00, 0x0e },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e,
	  0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff },
	{ 0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff }, 0x41, 0x00,
};

/* Colour n of the attribute controller is colour n of the palette: a shade all its own. */
static inline uint32_t vga_shade(unsigned n)
{
	unsigned r = n & 63, g = n * 5 & 63, b = n * 11 & 63;

	return (r << 2 | r >> 4) << 16 | (g << 2 | g >> 4) << 8 | (b << 2 | b >> 4);
}

static inline void vga_set_mode(struct vga_rig *r, const struct vga_mode *m)
{
	vga_vbe(r, VBE_ENABLE, 0);
	outb(&r->f, 0x3c2, m->misc);
	for (uint8_t n = 0; n < 4; n++)
		vga_reg(r, 0x3c4, n + 1, m->seq[n]);
	vga_reg(r, 0x3c4, 0, 3);
	vga_reg(r, 0x3d4, 0x11, 0);
	for (uint8_t n = 0; n < 25; n++)
		vga_reg(r, 0x3d4, n, m->crtc[n]);
	for (uint8_t n = 0; n < 9; n++)
		vga_reg(r, 0x3ce, n, m->gfx[n]);
	for (uint8_t n = 0; n < 16; n++)
		vga_attr(r, n, n);
	vga_attr(r, 0x10, m->attr_mode);
	vga_attr(r, 0x11, 0);
	vga_attr(r, 0x12, 0x0f);
	vga_attr(r, 0x13, m->attr_pan);
	vga_attr(r, 0x14, 0);
	for (unsigned n = 0; n < 256; n++)
		vga_color(r, (uint8_t)n, n & 63, n * 5 & 63, n * 11 & 63);
}

static inline uint8_t vga_peek(struct vga_rig *r, uint32_t addr)
{
	return (uint8_t)bus_mmio_read(r->f.bus, addr, 1);
}

static inline void vga_poke(struct vga_rig *r, uint32_t addr, uint8_t val)
{
	bus_mmio_write(r->f.bus, addr, val, 1);
}

static inline uint32_t vga_pixel(struct vga_rig *r, unsigned x, unsigned y)
{
	assert_true(x < r->s->width && y < r->s->height);
	return r->s->pixels[y * r->s->width + x] & 0xffffff;
}

#endif

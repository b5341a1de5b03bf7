/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VGA with the Bochs display extensions, as a PCI card (1234:1111): everything of
 * an IBM VGA that programs look at, and linear modes up to what its memory holds.
 * Sources: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem";
 * Ferraro, Programmer's Guide to the EGA, VGA and Super VGA Cards; Bochs VBE display
 * API (vbe_display_api.txt); QEMU docs/specs/standard-vga.txt for BARs 0 and 2.
 *
 * Video memory holds the four planes interleaved: byte 4 * n + p is byte n of plane p.
 * A chain-4 access goes to the byte of its address, so that the linear modes see
 * consecutive pixels; odd/even addresses 2 * n and 2 * n + 1 go to byte n of planes 0
 * and 1.
 */
#ifndef BOTHY_DEV_DISPLAY_VGA_H
#define BOTHY_DEV_DISPLAY_VGA_H

#include "src/dev/pci/pci.h"
#include "src/display/surface.h"

#define VGA_VENDOR 0x1234
#define VGA_DEVICE 0x1111
#define VGA_PORTS 0x3b0u
#define VGA_PORTS_LEN 0x30u
#define VGA_WINDOW 0xa0000u
#define VGA_WINDOW_LEN 0x20000u
#define VGA_VBE_PORTS 0x1ceu
#define VGA_MMIO_LEN 4096u
#define VGA_EDID_LEN 128u

#define VGA_BAR_MEMORY 0u
#define VGA_BAR_MMIO 2u

#define VGA_SEQ_REGS 5u
#define VGA_GFX_REGS 9u
#define VGA_ATTR_REGS 21u
#define VGA_CRTC_REGS 25u

/* Indices of the Bochs display registers. */
enum vbe_reg {
	VBE_ID, VBE_XRES, VBE_YRES, VBE_BPP, VBE_ENABLE, VBE_BANK, VBE_VIRT_WIDTH,
	VBE_VIRT_HEIGHT, VBE_X_OFFSET, VBE_Y_OFFSET, VBE_MEMORY_64K, VBE_REGS,
};

#define VBE_ENABLED 0x01u
#define VBE_GETCAPS 0x02u
#define VBE_8BIT_DAC 0x20u
#define VBE_LFB 0x40u
#define VBE_NOCLEARMEM 0x80u

struct vga {
	struct pci_dev pci;
	/* Properties. */
	uint64_t vgamem; /* bytes, a power of two */
	uint32_t xres, yres; /* what the monitor prefers, in its EDID */
	const char *romfile;

	uint8_t misc, feature;
	uint8_t seq_index, seq[VGA_SEQ_REGS];
	uint8_t gfx_index, gfx[VGA_GFX_REGS];
	uint8_t attr_index, attr[VGA_ATTR_REGS]; /* index with bit 5, "palette address source" */
	bool attr_data; /* the flip-flop: port 3C0h takes data next */
	uint8_t crtc_index, crtc[VGA_CRTC_REGS];
	uint8_t dac[768], pel_mask;
	uint8_t dac_index, dac_read_index, dac_part, dac_state;
	uint8_t dac_latch[2]; /* red and green, until blue comes */
	uint8_t latch[4];
	uint16_t vbe_index, vbe[VBE_REGS];

	/* Derived, or of the host's side. */
	struct mem_block *vram;
	bool vram_mapped; /* BAR 0 shows vram as memory, at vram_at */
	uint64_t vram_at;
	uint8_t *rom; /* NULL: none */
	uint32_t rom_len;
	uint8_t edid[VGA_EDID_LEN];
	struct surface surface;
	uint32_t palette[256];   /* the DAC as pixels */
	uint32_t *line;          /* one row, SURFACE_WIDTH_MAX pixels */
	bool changed;            /* registers or memory since it was drawn last */
	unsigned blink_drawn;    /* phase of blinking that the surface shows */
	unsigned skipped;        /* refreshes that found nothing to do */
	struct log_limit vbe_limit;
	const struct dev_env *env;
	struct bus_range ports, vbe_ports, window;
};

extern const struct dev_desc vga_desc;

#endif

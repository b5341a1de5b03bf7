/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of the VGA. */
#ifndef BOTHY_DEV_DISPLAY_VGA_PRIV_H
#define BOTHY_DEV_DISPLAY_VGA_PRIV_H

#include "src/dev/display/vga.h"

/* Sequencer. */
#define SEQ_CLOCKING 1
#define SEQ_MAP_MASK 2
#define SEQ_CHAR_MAP 3
#define SEQ_MEMORY 4
#define SEQ_CLOCKING_8DOT 0x01u
#define SEQ_CLOCKING_HALF 0x08u
#define SEQ_CLOCKING_OFF 0x20u
#define SEQ_MEMORY_SEQUENTIAL 0x04u /* 0: odd/even */
#define SEQ_MEMORY_CHAIN4 0x08u

/* Graphics controller. */
#define GFX_SET_RESET 0
#define GFX_SR_ENABLE 1
#define GFX_COMPARE 2
#define GFX_ROTATE 3
#define GFX_READ_MAP 4
#define GFX_MODE 5
#define GFX_MISC 6
#define GFX_DONT_CARE 7
#define GFX_BIT_MASK 8
#define GFX_MISC_GRAPHICS 0x01u

/* Attribute controller. */
#define ATTR_MODE 0x10
#define ATTR_PLANES 0x12
#define ATTR_PAN 0x13
#define ATTR_COLOR_SELECT 0x14
#define ATTR_MODE_LINE_GRAPHICS 0x04u
#define ATTR_MODE_BLINK 0x08u
#define ATTR_MODE_PAN_COMPAT 0x20u
#define ATTR_MODE_P54S 0x80u
#define ATTR_INDEX_ON 0x20u

/* CRT controller. */
#define CRTC_H_DISPLAY 0x01
#define CRTC_OVERFLOW 0x07
#define CRTC_PRESET_ROW 0x08
#define CRTC_MAX_SCAN 0x09
#define CRTC_CURSOR_START 0x0a
#define CRTC_CURSOR_END 0x0b
#define CRTC_START_HIGH 0x0c
#define CRTC_START_LOW 0x0d
#define CRTC_CURSOR_HIGH 0x0e
#define CRTC_CURSOR_LOW 0x0f
#define CRTC_V_RETRACE_END 0x11
#define CRTC_V_DISPLAY 0x12
#define CRTC_OFFSET 0x13
#define CRTC_UNDERLINE 0x14
#define CRTC_MODE 0x17
#define CRTC_LINE_COMPARE 0x18

#define MISC_COLOR 0x01u /* CRTC and status at 3Dxh, not 3Bxh */
#define MISC_RAM 0x02u   /* the processor reaches video memory */

/* vga_mem.c: the window at A0000h. */
extern const struct bus_ops vga_window_ops;
uint8_t vga_mem_read(struct vga *v, uint32_t addr);            /* offset in the window */
void vga_mem_write(struct vga *v, uint32_t addr, uint8_t val);

/* vga_vbe.c: the Bochs display registers. */
void vbe_reset(struct vga *v);
uint16_t vbe_read(const struct vga *v, unsigned index);
void vbe_write(struct vga *v, unsigned index, uint16_t val);
/* Puts every register into its range. */
void vbe_fix(struct vga *v);
/* Bytes from one row to the next, and of the first pixel shown. */
uint32_t vbe_line_bytes(const struct vga *v);
uint32_t vbe_start_bytes(const struct vga *v);
static inline bool vbe_on(const struct vga *v) { return v->vbe[VBE_ENABLE] & VBE_ENABLED; }
extern const struct bus_ops vga_vbe_port_ops;

/* vga_draw.c */
void vga_refresh(void *dev);
int vga_text(void *dev, struct text_screen *t);
/* Scan lines of the picture as the CRTC makes them. */
unsigned vga_height(const struct vga *v);

/* vga_edid.c: what the monitor says of itself (VESA E-EDID 1.4, 128 bytes). */
void vga_edid_make(uint8_t edid[VGA_EDID_LEN], unsigned xres, unsigned yres);

/* vga.c */
uint8_t vga_port_read(struct vga *v, uint16_t port);
void vga_port_write(struct vga *v, uint16_t port, uint8_t val);

#endif

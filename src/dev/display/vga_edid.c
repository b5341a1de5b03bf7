/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor's identification: VESA Enhanced Extended Display Identification Data
 * standard, release A (EDID 1.4), section 3.
 */
#include "src/base/bits.h"
#include "src/dev/display/vga_priv.h"

#define DPI 96u

/* A detailed timing (3.10.2) at about 60 Hz with blanks of a quarter and a few lines. */
static void detailed_timing(uint8_t *p, unsigned w, unsigned h)
{
	unsigned h_blank = w / 4, v_blank = 24 + h / 40;
	unsigned front = w / 40, sync = w / 20;
	uint64_t clock = (uint64_t)(w + h_blank) * (h + v_blank) * 60 / 10000;
	unsigned mm_w = w * 254 / (DPI * 10), mm_h = h * 254 / (DPI * 10);

	st_le16(p, (uint16_t)min_of(clock, 0xffffull));
	p[2] = (uint8_t)w;
	p[3] = (uint8_t)h_blank;
	p[4] = (uint8_t)((w >> 8 & 15) << 4 | (h_blank >> 8 & 15));
	p[5] = (uint8_t)h;
	p[6] = (uint8_t)v_blank;
	p[7] = (uint8_t)((h >> 8 & 15) << 4 | (v_blank >> 8 & 15));
	p[8] = (uint8_t)front;
	p[9] = (uint8_t)sync;
	p[10] = 3 << 4 | 6; /* vertical front porch and sync, lines */
	p[11] = (uint8_t)((front >> 8 & 3) << 6 | (sync >> 8 & 3) << 4);
	p[12] = (uint8_t)mm_w;
	p[13] = (uint8_t)mm_h;
	p[14] = (uint8_t)((mm_w >> 8 & 15) << 4 | (mm_h >> 8 & 15));
	p[17] = 0x1e; /* digital separate sync, both positive */
}

/* A display descriptor with text (3.10.3): padded by a line feed and blanks. */
static void text_descriptor(uint8_t *p, uint8_t tag, const char *text)
{
	size_t n = strlen(text);

	memset(p, 0, 5);
	p[3] = tag;
	memset(p + 5, ' ', 13);
	memcpy(p + 5, text, n);
	if (n < 13)
		p[5 + n] = '\n';
}

void vga_edid_make(uint8_t e[VGA_EDID_LEN], unsigned xres, unsigned yres)
{
	static const uint8_t header[8] = { 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00 };
	/* Red, green, blue and white of sRGB (3.7). */
	static const uint8_t colors[10] = {
		0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54,
	};
	/* Standard timings (3.9): width / 8 - 31; ratio and refresh rate - 60. */
	static const uint8_t standard[8][2] = {
		{ 0xd1, 0xc0 }, /* 1920x1080 */ { 0xa9, 0x40 }, /* 1600x1200 */
		{ 0xb3, 0x00 }, /* 1680x1050 */ { 0x95, 0x00 }, /* 1440x900 */
		{ 0x81, 0x80 }, /* 1280x1024 */ { 0x81, 0x40 }, /* 1280x960 */
		{ 0x81, 0x00 }, /* 1280x800 */  { 0x81, 0xc0 }, /* 1280x720 */
	};
	static const uint8_t limits[13] = {
		50, 125,        /* vertical, Hz */
		30, 160,        /* horizontal, kHz */
		30,             /* pixel clock, 10 MHz */
		1, '\n', ' ', ' ', ' ', ' ', ' ', ' ',
	};
	uint8_t sum = 0;

	memset(e, 0, VGA_EDID_LEN);
	memcpy(e, header, sizeof(header));
	st_be16(e + 8, ('B' - '@') << 10 | ('O' - '@') << 5 | ('T' - '@'));
	st_le16(e + 10, VGA_DEVICE);
	e[16] = 1;          /* week and year of making */
	e[17] = 2024 - 1990;
	e[18] = 1;
	e[19] = 4;          /* EDID 1.4 */
	e[20] = 0xa5;       /* digital, 8 bits a colour, DisplayPort */
	e[21] = (uint8_t)min_of(xres * 254 / (DPI * 100), 255u);
	e[22] = (uint8_t)min_of(yres * 254 / (DPI * 100), 255u);
	e[23] = 120;        /* gamma 2.2 */
	e[24] = 0x06;       /* sRGB; the first timing is the native one */
	memcpy(e + 25, colors, sizeof(colors));
	e[35] = 0x21;       /* 640x480, 800x600 */
	e[36] = 0x08;       /* 1024x768 */
	memcpy(e + 38, standard, sizeof(standard));
	detailed_timing(e + 54, xres, yres);
	e[72 + 3] = 0xfd;
	memcpy(e + 72 + 5, limits, sizeof(limits));
	text_descriptor(e + 90, 0xfc, "bothy");
	text_descriptor(e + 108, 0xff, "1");
	for (unsigned n = 0; n < VGA_EDID_LEN - 1; n++)
		sum = (uint8_t)(sum + e[n]);
	e[127] = (uint8_t)-sum;
}

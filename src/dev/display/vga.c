/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/display/vga.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/bits.h"
#include "src/dev/display/vga_priv.h"
#include "src/dev/firmware/rom.h"

#define LINE_PIXELS (SURFACE_WIDTH_MAX + 64) /* with what panning shifts in */
#define ROM_MAX 0x40000u

/* Bits that exist; the rest read as zero. */
static const uint8_t seq_mask[VGA_SEQ_REGS] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e };
static const uint8_t gfx_mask[VGA_GFX_REGS] = {
	0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff,
};

static uint8_t attr_mask(unsigned n)
{
	return n < 0x10 || n == ATTR_PLANES ? 0x3f : n == ATTR_MODE ? 0xef :
	       n == ATTR_PAN || n == ATTR_COLOR_SELECT ? 0x0f : 0xff;
}

/*
 * Input status 1: where the beam is, from the machine's clock and the CRTC's timing.
 * Bit 0: no picture just now; bit 3: vertical retrace.
 */
static uint8_t beam_status(const struct vga *v)
{
	const uint8_t *c = v->crtc;
	unsigned over = c[CRTC_OVERFLOW];
	unsigned dots = v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_8DOT ? 8 : 9;
	uint64_t khz = (v->misc >> 2 & 3) == 1 ? 28322 : 25175;
	uint64_t h_total = (c[0] + 5u) * dots, h_shown = (c[CRTC_H_DISPLAY] + 1u) * dots;
	uint64_t v_total = (c[0x06] | (over & 1) << 8 | (over & 0x20) << 4) + 2;
	uint64_t retrace = c[0x10] | (over & 4) << 6 | (over & 0x80) << 2;
	uint64_t dot, line;
	uint8_t status = 0;

	if (v->seq[SEQ_CLOCKING] & SEQ_CLOCKING_HALF)
		khz /= 2;
	/* A CRTC that was never set up, or whose retrace never comes, still beats: who
	 * waits for a retrace must not wait for ever. */
	if (v_total < 100 || h_total < 100) {
		h_total = 800, h_shown = 640;
		v_total = 449, retrace = 412;
	}
	if (retrace >= v_total)
		retrace = v_total - 2;
	dot = (uint64_t)vtime_now_ns(v->env->vtime) / 1000 * khz / 1000;
	line = dot / h_total % v_total;
	if (line >= retrace && line < retrace + 2)
		status |= 8;
	if (line >= min_of(vga_height(v), retrace) || dot % h_total >= h_shown)
		status |= 1;
	return status;
}

/*
 * The palette's memory: three bytes to the colour.
 */
static uint8_t dac_read(struct vga *v)
{
	uint8_t val = v->dac[v->dac_read_index * 3 + v->dac_part];

	if (++v->dac_part == 3) {
		v->dac_part = 0;
		v->dac_read_index++;
	}
	return val;
}

static void dac_write(struct vga *v, uint8_t val)
{
	if (!(v->vbe[VBE_ENABLE] & VBE_8BIT_DAC))
		val &= 0x3f;
	if (v->dac_part < 2) {
		v->dac_latch[v->dac_part++] = val;
		return;
	}
	v->dac_part = 0;
	v->dac[v->dac_index * 3] = v->dac_latch[0];
	v->dac[v->dac_index * 3 + 1] = v->dac_latch[1];
	v->dac[v->dac_index * 3 + 2] = val;
	v->dac_index++;
}

/*
 * Registers with an index.
 */
static void attr_write(struct vga *v, uint8_t val)
{
	unsigned n = v->attr_index & 0x1f;

	if (!v->attr_data)
		v->attr_index = val & 0x3f;
	else if (n < VGA_ATTR_REGS)
		v->attr[n] = val & attr_mask(n);
	v->attr_data = !v->attr_data;
}

static void crtc_write(struct vga *v, uint8_t val)
{
	unsigned n = v->crtc_index;

	if (n >= VGA_CRTC_REGS)
		return;
	if (n <= 7 && v->crtc[CRTC_V_RETRACE_END] & 0x80) {
		/* Protected, but for the ninth bit of the split line. */
		if (n == CRTC_OVERFLOW)
			v->crtc[n] = (uint8_t)((v->crtc[n] & ~0x10u) | (val & 0x10));
		return;
	}
	v->crtc[n] = val;
}

static uint8_t crtc_read(const struct vga *v)
{
	if (v->crtc_index < VGA_CRTC_REGS)
		return v->crtc[v->crtc_index];
	if (v->crtc_index == 0x22) /* the latch of the plane that is read */
		return v->latch[v->gfx[GFX_READ_MAP] & 3];
	if (v->crtc_index == 0x24)
		return (uint8_t)(v->attr_data << 7);
	return 0;
}

/* The CRTC's and the status ports are at 3Bxh or 3Dxh; the other three do not answer. */
static bool elsewhere(const struct vga *v, uint16_t port)
{
	unsigned row = port & 0xf0;

	return row != 0xc0 && (row == 0xd0) != (v->misc & MISC_COLOR);
}

uint8_t vga_port_read(struct vga *v, uint16_t port)
{
	if (elsewhere(v, port))
		return 0xff;
	switch (port) {
	case 0x3c0: return v->attr_index;
	case 0x3c1:
		return (v->attr_index & 0x1f) < VGA_ATTR_REGS ? v->attr[v->attr_index & 0x1f] : 0;
	case 0x3c2: return 0x10; /* a monitor is connected */
	case 0x3c4: return v->seq_index;
	case 0x3c5: return v->seq_index < VGA_SEQ_REGS ? v->seq[v->seq_index] : 0;
	case 0x3c6: return v->pel_mask;
	case 0x3c7: return v->dac_state;
	case 0x3c8: return v->dac_index;
	case 0x3c9: return dac_read(v);
	case 0x3ca: return v->feature;
	case 0x3cc: return v->misc;
	case 0x3ce: return v->gfx_index;
	case 0x3cf: return v->gfx_index < VGA_GFX_REGS ? v->gfx[v->gfx_index] : 0;
	case 0x3b4: case 0x3d4: return v->crtc_index;
	case 0x3b5: case 0x3d5: return crtc_read(v);
	case 0x3ba: case 0x3da:
		v->attr_data = false;
		return beam_status(v);
	default: return 0xff;
	}
}

void vga_port_write(struct vga *v, uint16_t port, uint8_t val)
{
	if (elsewhere(v, port))
		return;
	v->changed = true;
	switch (port) {
	case 0x3c0: attr_write(v, val); break;
	case 0x3c2: v->misc = val & 0xef; break;
	case 0x3c4: v->seq_index = val & 7; break;
	case 0x3c5:
		if (v->seq_index < VGA_SEQ_REGS)
			v->seq[v->seq_index] = val & seq_mask[v->seq_index];
		break;
	case 0x3c6: v->pel_mask = val; break;
	case 0x3c7:
		v->dac_read_index = val;
		v->dac_part = 0;
		v->dac_state = 3;
		break;
	case 0x3c8:
		v->dac_index = val;
		v->dac_part = 0;
		v->dac_state = 0;
		break;
	case 0x3c9: dac_write(v, val); break;
	case 0x3ce: v->gfx_index = val & 15; break;
	case 0x3cf:
		if (v->gfx_index < VGA_GFX_REGS)
			v->gfx[v->gfx_index] = val & gfx_mask[v->gfx_index];
		break;
	case 0x3b4: case 0x3d4: v->crtc_index = val & 0x3f; break;
	case 0x3b5: case 0x3d5: crtc_write(v, val); break;
	case 0x3ba: case 0x3da: v->feature = val & 0x0b; break;
	default: break;
	}
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	return vga_port_read(dev, (uint16_t)(VGA_PORTS + off));
}

static void ports_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	vga_port_write(dev, (uint16_t)(VGA_PORTS + off), (uint8_t)val);
}

static const struct bus_ops ports_ops = { ports_read, ports_write, 1, 1, false };

/*
 * BAR 2: the EDID, the VGA's ports from 3C0h on at 400h, the Bochs registers at 500h,
 * and at 600h two registers of the interface: their length and the byte order.
 */
#define MMIO_PORTS 0x400u
#define MMIO_VBE 0x500u
#define MMIO_EXT 0x600u
#define BYTE_ORDER_LITTLE 0x1e1e1e1eu

static uint8_t mmio_byte(struct vga *v, uint32_t off)
{
	uint8_t ext[8];

	if (off < VGA_EDID_LEN)
		return v->edid[off];
	if (off >= MMIO_PORTS && off < MMIO_PORTS + 0x20)
		return vga_port_read(v, (uint16_t)(0x3c0 + off - MMIO_PORTS));
	if (off >= MMIO_VBE && off < MMIO_VBE + 2 * VBE_REGS)
		return (uint8_t)(vbe_read(v, (off - MMIO_VBE) / 2) >> (off & 1) * 8);
	if (off >= MMIO_EXT && off < MMIO_EXT + 8) {
		st_le32(ext, 8);
		st_le32(ext + 4, BYTE_ORDER_LITTLE);
		return ext[off - MMIO_EXT];
	}
	return off < MMIO_PORTS ? 0 : 0xff;
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	for (unsigned n = 0; n < size; n++)
		val |= (uint64_t)mmio_byte(dev, (uint32_t)off + n) << (n * 8);
	return val;
}

static void mmio_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	if (off >= MMIO_PORTS && off < MMIO_PORTS + 0x20) {
		for (unsigned n = 0; n < size && off + n < MMIO_PORTS + 0x20; n++)
			vga_port_write(dev, (uint16_t)(0x3c0 + off + n - MMIO_PORTS),
				       (uint8_t)(val >> n * 8));
	} else if (off >= MMIO_VBE && off < MMIO_VBE + 2 * VBE_REGS && size == 2 && !(off & 1)) {
		vbe_write(dev, (unsigned)(off - MMIO_VBE) / 2, (uint16_t)val);
	}
}

static const struct bus_ops mmio_ops = { mmio_read, mmio_write, 1, 2, false };

/*
 * BAR 0: the whole memory in a line. It is mapped as memory where nothing else is;
 * over other memory a guest may put it as it likes, and then these serve it if anyone.
 */
static uint64_t linear_read(void *dev, uint64_t off, unsigned size)
{
	struct vga *v = dev;
	uint64_t val = 0;

	memcpy(&val, v->vram->host + off, size);
	return val;
}

static void linear_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct vga *v = dev;

	memcpy(v->vram->host + off, &val, size);
	mem_written(v->env->mem, v->vram->host + off, size);
	v->changed = true;
}

static const struct bus_ops linear_ops = { linear_read, linear_write, 1, 8, false };

static bool nothing_there(struct mem *m, uint64_t addr, uint64_t len)
{
	const struct mem_map *map = atomic_load(&m->map);

	for (size_t n = 0; n < map->count; n++)
		if (map->slot[n].gpa < addr + len && addr < map->slot[n].gpa + map->slot[n].len)
			return false;
	return true;
}

static void map_vram(struct vga *v)
{
	struct mem *m = v->env->mem;
	uint64_t addr;
	bool want = pci_bar_address(&v->pci, VGA_BAR_MEMORY, &addr);

	if (v->vram_mapped && want && addr == v->vram_at)
		return;
	if (v->vram_mapped) {
		struct mem_slot s;

		if (mem_slot_at(m, v->vram_at, &s) && s.block == v->vram &&
		    mem_map_clear(m, v->vram_at, v->vgamem) < 0)
			log_warn(v->env->log, "VGA: no memory to move its window");
		v->vram_mapped = false;
	}
	if (!want || addr & (MEM_PAGE_SIZE - 1) || !nothing_there(m, addr, v->vgamem))
		return;
	if (mem_map_set(m, addr, v->vgamem, v->vram, 0, true, true) == 0) {
		v->vram_mapped = true;
		v->vram_at = addr;
	}
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	if (off < PCI_BAR0 + 4)
		map_vram(container_of(d, struct vga, pci));
}

static const struct pci_ops pci_ops = { .config_written = config_written };

/*
 * The option ROM: firmware's driver for this card.
 */
static uint64_t rom_bar_read(void *dev, uint64_t off, unsigned size)
{
	struct vga *v = dev;
	uint64_t val = 0;

	for (unsigned n = 0; n < size; n++)
		val |= (uint64_t)(off + n < v->rom_len ? v->rom[off + n] : 0xff) << (n * 8);
	return val;
}

static const struct bus_ops rom_ops = { rom_bar_read, NULL, 1, 8, false };

static int rom_load(struct vga *v, struct err *err)
{
	char path[512];
	size_t len;
	int ret;

	if (!v->romfile || !*v->romfile || !strcmp(v->romfile, "none"))
		return 0;
	if (strchr(v->romfile, '/'))
		ret = snprintf(path, sizeof(path), "%s", v->romfile) < (int)sizeof(path)
			? 0 : err_set(err, -ENAMETOOLONG, "the path is too long");
	else
		ret = rom_find(v->romfile, path, sizeof(path), err);
	if (ret == 0)
		ret = rom_read("option ROM", path, ROM_MAX, &v->rom, &len, err);
	if (ret < 0)
		return err_prefix(err, ret, "VGA: romfile");
	if (len < 512 || v->rom[0] != 0x55 || v->rom[1] != 0xaa)
		return err_set(err, -EINVAL, "VGA: '%s' is no option ROM: it has at least 512 bytes "
			       "and starts with 55h AAh", path);
	v->rom_len = (uint32_t)len;
	return 0;
}

/*
 * Life.
 */
static void reset(void *dev)
{
	struct vga *v = dev;

	pci_dev_reset(&v->pci);
	map_vram(v);
	v->misc = v->feature = 0;
	v->seq_index = v->gfx_index = v->attr_index = v->crtc_index = 0;
	v->attr_data = false;
	memset(v->seq, 0, sizeof(v->seq));
	memset(v->gfx, 0, sizeof(v->gfx));
	memset(v->attr, 0, sizeof(v->attr));
	memset(v->crtc, 0, sizeof(v->crtc));
	memset(v->dac, 0, sizeof(v->dac));
	memset(v->latch, 0, sizeof(v->latch));
	memset(v->dac_latch, 0, sizeof(v->dac_latch));
	v->pel_mask = 0xff;
	v->dac_index = v->dac_read_index = v->dac_part = v->dac_state = 0;
	vbe_reset(v);
	v->changed = true;
}

static const struct surface_ops surface_ops = { .refresh = vga_refresh, .text = vga_text };

static int add_bars(struct vga *v, struct err *err)
{
	uint64_t rom_size = 2048;
	int ret = pci_bar_add(&v->pci, VGA_BAR_MEMORY, v->vgamem, PCI_BAR_PREFETCH, &linear_ops, v,
			      "vga-memory", err);

	if (ret == 0)
		ret = pci_bar_add(&v->pci, VGA_BAR_MMIO, VGA_MMIO_LEN, 0, &mmio_ops, v, "vga-mmio",
				  err);
	while (rom_size < v->rom_len)
		rom_size *= 2;
	if (ret == 0 && v->rom)
		ret = pci_bar_add(&v->pci, PCI_ROM_BAR, rom_size, 0, &rom_ops, v, "vga-rom", err);
	return ret;
}

static int add_legacy(struct vga *v, struct err *err)
{
	struct bus *bus = v->env->bus;
	int ret;

	v->ports = (struct bus_range){ VGA_PORTS, VGA_PORTS_LEN, &ports_ops, v, "vga-ports" };
	v->vbe_ports = (struct bus_range){ VGA_VBE_PORTS, 4, &vga_vbe_port_ops, v, "vga-vbe" };
	v->window = (struct bus_range){ VGA_WINDOW, VGA_WINDOW_LEN, &vga_window_ops, v,
					"vga-window" };
	/* Only what is drawn from it matters; vga_refresh() asks for it. */
	v->window.late_writes = true;
	ret = bus_add_pio(bus, &v->ports);
	if (ret == 0)
		ret = bus_add_pio(bus, &v->vbe_ports);
	if (ret == 0)
		ret = bus_add_mmio(bus, &v->window);
	return ret < 0 ? err_set(err, ret, "VGA: its ports and its window cannot be placed") : 0;
}

static void fini(void *dev)
{
	struct vga *v = dev;

	screens_del(v->env->screens, &v->surface);
	surface_fini(&v->surface);
	bus_del_pio(v->env->bus, &v->ports);
	bus_del_pio(v->env->bus, &v->vbe_ports);
	bus_del_mmio(v->env->bus, &v->window);
	pci_dev_fini(&v->pci);
	map_vram(v);
	free(v->rom);
	free(v->line);
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = VGA_VENDOR, .device = VGA_DEVICE, .subsystem_vendor = 0x1af4,
		.subsystem = 0x1100, .class = 0x030000, .revision = 2,
	};
	struct vga *v = dev;
	int ret;

	v->env = plug->env;
	for (struct surface *s = screens_find(v->env->screens, NULL); s; s = s->next)
		if (s->ops == &surface_ops)
			return err_set(err, -EINVAL, "VGA: there is one already ('%s'), and its ports "
				       "and its window exist once in a PC", s->name);
	if (v->vgamem & (v->vgamem - 1))
		return err_set(err, -EINVAL, "VGA: vgamem must be a power of two");
	v->line = calloc(LINE_PIXELS, sizeof(*v->line));
	if (!v->line)
		return err_set(err, -ENOMEM, "out of memory for the VGA");
	ret = rom_load(v, err);
	if (ret == 0)
		ret = pci_dev_init(&v->pci, plug->pci, plug->devfn, "VGA", &ids, &pci_ops, err);
	if (ret < 0) {
		free(v->rom);
		free(v->line);
		return ret;
	}
	surface_init(&v->surface, plug->id ? plug->id : "VGA", &surface_ops, v);
	v->vram = mem_block_new(v->env->mem, "vga.vram", v->vgamem, false, err);
	ret = v->vram ? add_bars(v, err) : -ENOMEM;
	if (ret == 0)
		ret = add_legacy(v, err);
	if (ret < 0) {
		fini(v);
		return ret;
	}
	vga_edid_make(v->edid, v->xres, v->yres);
	screens_add(v->env->screens, &v->surface);
	reset(v);
	return 0;
}

static int fw_name(void *dev, char *buf, size_t len)
{
	struct vga *v = dev;

	return snprintf(buf, len, "display@%x", v->pci.devfn >> 3);
}

/*
 * State. The picture itself is the block "vga.vram".
 */
static int post_load(void *obj, unsigned version, struct err *err)
{
	struct vga *v = obj;

	if (v->dac_part > 2)
		return err_set(err, -EINVAL, "VGA: the palette stands at byte %u of a colour",
			       v->dac_part);
	for (unsigned n = 0; n < VGA_SEQ_REGS; n++)
		v->seq[n] &= seq_mask[n];
	for (unsigned n = 0; n < VGA_GFX_REGS; n++)
		v->gfx[n] &= gfx_mask[n];
	for (unsigned n = 0; n < VGA_ATTR_REGS; n++)
		v->attr[n] &= attr_mask(n);
	v->seq_index &= 7;
	v->gfx_index &= 15;
	v->attr_index &= 0x3f;
	v->crtc_index &= 0x3f;
	v->vbe[VBE_MEMORY_64K] = (uint16_t)(v->vgamem >> 16);
	/* While no mode stands the guest may have left anything in them. */
	if (vbe_on(v))
		vbe_fix(v);
	v->vbe[VBE_BANK] &= (uint16_t)((v->vgamem >> 16) - 1);
	map_vram(v);
	v->changed = true;
	return 0;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct vga, pci, 1, &pci_dev_state),
	STATE_U8(struct vga, misc, 1),
	STATE_U8(struct vga, feature, 1),
	STATE_U8(struct vga, seq_index, 1),
	STATE_BYTES(struct vga, seq, 1),
	STATE_U8(struct vga, gfx_index, 1),
	STATE_BYTES(struct vga, gfx, 1),
	STATE_U8(struct vga, attr_index, 1),
	STATE_BYTES(struct vga, attr, 1),
	STATE_BOOL(struct vga, attr_data, 1),
	STATE_U8(struct vga, crtc_index, 1),
	STATE_BYTES(struct vga, crtc, 1),
	STATE_BYTES(struct vga, dac, 1),
	STATE_U8(struct vga, pel_mask, 1),
	STATE_U8(struct vga, dac_index, 1),
	STATE_U8(struct vga, dac_read_index, 1),
	STATE_U8(struct vga, dac_part, 1),
	STATE_U8(struct vga, dac_state, 1),
	STATE_BYTES(struct vga, dac_latch, 1),
	STATE_BYTES(struct vga, latch, 1),
	STATE_U16(struct vga, vbe_index, 1),
	STATE_ARRAY(struct vga, vbe, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "VGA", .version = 1, .fields = fields, .post_load = post_load,
};

static const struct dev_prop props[] = {
	{ "vgamem", DEV_PROP_SIZE, offsetof(struct vga, vgamem), "16M", false, 1 << 20, 256 << 20,
	  NULL, "video memory, a power of two from 1M to 256M" },
	{ "xres", DEV_PROP_UINT, offsetof(struct vga, xres), "1280", false, 640, 4088, NULL,
	  "the width that the monitor prefers" },
	{ "yres", DEV_PROP_UINT, offsetof(struct vga, yres), "800", false, 480, 4088, NULL,
	  "the height that the monitor prefers" },
	{ "romfile", DEV_PROP_TEXT, offsetof(struct vga, romfile), "vgabios-stdvga.bin", false, 0,
	  0, NULL, "the option ROM: a file of the firmware's folders, a path, or none" },
	DEV_PROP_END
};

const struct dev_desc vga_desc = {
	.name = "VGA",
	.title = "VGA with Bochs display extensions",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct vga),
	.bus = DEV_BUS_PCI,
	.props = props,
	.init = init,
	.fini = fini,
	.fw_name = fw_name,
};

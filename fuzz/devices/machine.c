/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz/devices/machine.h"

#include <stdio.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/cpu/engines.h"
#include "src/dev/pci/pci.h"

#define ECAM 0xe0000000u  /* away from where it is without firmware */
#define MEM_BARS 0xc0000000u
#define PORT_BARS 0xc000u
#define ROM_LEN (64u << 10)
#define STORM 20000u      /* timers at one moment */

/*
 * What stands behind devices.
 */
static void post(void *opaque, void (*fn)(void *), void *arg)
{
	struct fz *f = opaque;

	pthread_mutex_lock(&f->lock);
	assert_true(f->calls < array_size(f->call));
	f->call[f->calls++] = (struct fz_call){ fn, arg };
	pthread_mutex_unlock(&f->lock);
}

void fz_machine_turn(struct fz *f, bool all)
{
	struct fz_call c;

	do {
		for (unsigned n = 0; all && n < f->disks; n++)
			blk_drain(f->disk[n]->blk);
		for (;;) {
			pthread_mutex_lock(&f->lock);
			c = f->call[0];
			if (f->calls)
				memmove(f->call, f->call + 1, --f->calls * sizeof(f->call[0]));
			else
				c.fn = NULL;
			pthread_mutex_unlock(&f->lock);
			if (!c.fn)
				break;
			bus_lock(f->bus);
			c.fn(c.arg);
			bus_unlock(f->bus);
		}
	} while (all && f->calls);
}

static bool far_receive(struct net_peer *p, const struct net_packet *pkt)
{
	return pkt->len % 7 != 0;
}

static const struct net_peer_ops far_ops = { far_receive, NULL, NULL };

static size_t far_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	return buf[0] & 1 ? len : len / 2;
}

static void far_close(struct chardev *c) {}
static const struct chardev_ops chardev_ops = { .write = far_write, .close = far_close };

/* Drives are named by their size in KiB and how they are: "4096rw", "1440ro". */
static void *find(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	struct fz *f = opaque;
	char *how;
	uint64_t len;

	if (type == DEV_PROP_NETDEV)
		return &f->far;
	if (type == DEV_PROP_CHARDEV) {
		assert_true(f->chardevs < array_size(f->chardev));
		f->chardev[f->chardevs].ops = &chardev_ops;
		return &f->chardev[f->chardevs++];
	}
	assert_true(f->disks < FZ_DISKS);
	len = strtoul(id, &how, 10) << 10;
	f->disk[f->disks] = fake_disk_new(len, !strcmp(how, "rw"), post, f,
					  (struct blk_config){ 0 });
	return f->disk[f->disks++]->blk;
}

static const struct dev_prop_text drive_rw[] = { { "drive", "4096rw" } };
static const struct dev_prop_text drive_ro[] = { { "drive", "2048ro" } };
static const struct dev_prop_text floppy[] = { { "drive", "1440rw" } };
static const struct dev_prop_text chardev[] = { { "chardev", "c" } };
static const struct dev_prop_text netdev[] = { { "netdev", "n" } };
static const struct dev_prop_text vgamem[] = { { "vgamem", "1M" } };
static const struct dev_prop_text behind[] = { { "bus", "port0" } };

#define ITEM(driver, id, props) { driver, id, props, array_size(props) }
static const struct dev_item items[] = {
	ITEM("VGA", "vga", vgamem),
	{ "pcie-root-port", "port0", NULL, 0 },
	{ "virtio-rng", "rng", behind, 1 },
	{ "ahci", "ahci", NULL, 0 },
	ITEM("sata-disk", NULL, drive_rw),
	ITEM("sata-cd", NULL, drive_ro),
	{ "piix-ide", "ide", NULL, 0 },
	ITEM("ide-disk", NULL, drive_rw),
	ITEM("ide-cd", NULL, drive_ro),
	{ "isa-fdc", "fdc", NULL, 0 },
	ITEM("floppy", NULL, floppy),
	ITEM("isa-serial", NULL, chardev),
	ITEM("debugcon", NULL, chardev),
	{ "isa-debug-exit", NULL, NULL, 0 },
	ITEM("virtio-blk", NULL, drive_rw),
	ITEM("virtio-net", NULL, netdev),
	{ "virtio-serial", NULL, NULL, 0 },
	ITEM("virtserialport", NULL, chardev),
	ITEM("virtconsole", NULL, chardev),
	{ "virtio-scsi", NULL, NULL, 0 },
	ITEM("scsi-hd", NULL, drive_rw),
	ITEM("scsi-cd", NULL, drive_ro),
};

/*
 * Accesses.
 */
uint64_t fz_read(struct fz *f, enum fz_space space, uint64_t at, unsigned size)
{
	struct mem_slot slot;
	uint64_t v = 0;

	if (space == FZ_PIO)
		return bus_pio_read(f->bus, (uint16_t)at, size > 4 ? 4 : size);
	if (!mem_slot_at(f->mem, at, &slot) || !slot.readable || mem_read(f->mem, at, &v, size) < 0)
		v = bus_mmio_read(f->bus, at, size);
	return v;
}

void fz_write(struct fz *f, enum fz_space space, uint64_t at, uint64_t val, unsigned size)
{
	struct mem_slot slot;

	if (space == FZ_PIO)
		bus_pio_write(f->bus, (uint16_t)at, (uint32_t)val, size > 4 ? 4 : size);
	else if (!mem_slot_at(f->mem, at, &slot) || !slot.writable ||
		 mem_write(f->mem, at, &val, size) < 0)
		bus_mmio_write(f->bus, at, val, size);
}

uint32_t fz_config_read(struct fz *f, unsigned where, unsigned off, unsigned size)
{
	if (off >= 256)
		return (uint32_t)bus_mmio_read(f->bus, ECAM + ((uint64_t)where << 12) + off, size);
	bus_pio_write(f->bus, 0xcf8, 0x80000000u | where << 8 | (off & 0xfc), 4);
	return bus_pio_read(f->bus, (uint16_t)(0xcfc + (off & 3)), size);
}

void fz_config_write(struct fz *f, unsigned where, unsigned off, uint32_t val, unsigned size)
{
	if (off >= 256) {
		bus_mmio_write(f->bus, ECAM + ((uint64_t)where << 12) + off, val, size);
		return;
	}
	bus_pio_write(f->bus, 0xcf8, 0x80000000u | where << 8 | (off & 0xfc), 4);
	bus_pio_write(f->bus, (uint16_t)(0xcfc + (off & 3)), val, size);
}

/*
 * Time.
 */
void fz_machine_pass(struct fz *f, int64_t ns)
{
	int64_t end = vtime_now_ns(f->vt) + ns, next;
	unsigned same = 0, steps = 0;

	while ((next = vtime_next_deadline_ns(f->vt)) <= end && steps++ < 4000) {
		if (next > vtime_now_ns(f->vt)) {
			vtime_advance(f->vt, next - vtime_now_ns(f->vt));
			same = 0;
		} else if (++same > STORM) {
			fail_msg("timers that never let time go on");
		}
		vtime_run(f->vt);
	}
	if (next > end)
		vtime_advance(f->vt, end - vtime_now_ns(f->vt));
}

/*
 * PCI, as firmware does it.
 */
static void add_window(struct fz *f, const char *dev, enum fz_space space, uint64_t base,
		       uint64_t len)
{
	for (unsigned n = 0; n < f->windows; n++) {
		struct fz_window *w = &f->window[n];

		if (!strcmp(w->dev, dev) && w->space == space && w->base == base)
			return;
	}
	assert_true(f->windows < FZ_WINDOWS);
	f->window[f->windows++] = (struct fz_window){ dev, space, base, len, 0, 0, 0 };
}

static const char *name_at(struct fz *f, unsigned where)
{
	struct plugs *p = board_plugs(f->board);

	if (where == 0)
		return "q35";
	if (where == PCI_DEVFN(31, 0))
		return "ich9-lpc";
	for (size_t n = 0; n < p->count; n++)
		if (p->plug[n]->desc->bus == DEV_BUS_PCI &&
		    (p->plug[n]->parent ? 1u : 0u) == where >> 8 &&
		    p->plug[n]->slot == (where & 0xff))
			return p->plug[n]->desc->name;
	return NULL;
}

struct room {
	uint64_t mem;
	uint32_t port;
};

static void place_bars(struct fz *f, unsigned where, unsigned bars, struct room *r)
{
	const char *name = name_at(f, where);

	fz_config_write(f, where, PCI_COMMAND, 0, 2);
	for (unsigned n = 0; n < bars; n++) {
		unsigned off = 0x10 + 4 * n;
		uint32_t mask;
		uint64_t len;
		bool wide;

		fz_config_write(f, where, off, 0xffffffff, 4);
		mask = fz_config_read(f, where, off, 4);
		wide = (mask & 7) == 4;
		if (!mask)
			continue;
		if (mask & 1) {
			len = ~((mask & ~3u) | 0xffff0000u) + 1u;
			r->port = (uint32_t)align_up(r->port, len);
			fz_config_write(f, where, off, r->port, 4);
			add_window(f, name, FZ_PIO, r->port, len);
			r->port += (uint32_t)len;
			continue;
		}
		len = ~(mask & ~15u) + 1u;
		r->mem = align_up(r->mem, len);
		fz_config_write(f, where, off, (uint32_t)r->mem, 4);
		if (wide)
			fz_config_write(f, where, off + 4, 0, 4);
		add_window(f, name, FZ_MMIO, r->mem, len);
		r->mem += len;
		n += wide;
	}
	fz_config_write(f, where, PCI_COMMAND, 7, 2);
	add_window(f, name, FZ_CONFIG, where, 4096);
}

/* A bridge with what stands behind it, on bus 1. */
static void place_bridge(struct fz *f, unsigned where, struct room *r)
{
	struct room start;

	place_bars(f, where, 2, r);
	fz_config_write(f, where, 0x18, 0x010100, 4);
	r->mem = align_up(r->mem, 1u << 20);
	r->port = (uint32_t)align_up(r->port, 4096);
	start = *r;
	fz_config_write(f, where, 0x3e, 0, 2);
	for (unsigned fn = 0; fn < 8; fn++)
		if (fz_config_read(f, 1u << 8 | fn, 0, 4) != 0xffffffff)
			place_bars(f, 1u << 8 | fn, 6, r);
	r->mem = align_up(r->mem + 1, 1u << 20);
	r->port = (uint32_t)align_up(r->port + 1, 4096);
	fz_config_write(f, where, 0x1c,
			(uint32_t)(start.port >> 8 | ((r->port - 1) >> 8 & 0xf0) << 8), 2);
	fz_config_write(f, where, 0x20, (uint32_t)(start.mem >> 16 | ((r->mem - 1) & 0xfff00000)), 4);
	fz_config_write(f, where, 0x24, 0x0000fff0, 4);
	fz_config_write(f, where, 0x28, 0, 4);
	fz_config_write(f, where, 0x2c, 0, 4);
}

void fz_machine_enable(struct fz *f)
{
	struct room r = { MEM_BARS, PORT_BARS };

	fz_config_write(f, 0, 0x64, 0, 4);
	fz_config_write(f, 0, 0x60, ECAM | 1, 4);
	fz_config_write(f, PCI_DEVFN(31, 0), 0x40, 0x601, 4);
	fz_config_write(f, PCI_DEVFN(31, 0), 0x44, 0x80, 1);
	fz_config_write(f, PCI_DEVFN(31, 0), 0xf0, 0xfed1c001, 4);
	for (unsigned devfn = 8; devfn < 256; devfn++) {
		if (devfn == PCI_DEVFN(31, 0) || fz_config_read(f, devfn, 0, 4) == 0xffffffff)
			continue;
		if (fz_config_read(f, devfn, 0x0e, 1) & 1)
			place_bridge(f, devfn, &r);
		else
			place_bars(f, devfn, 6, &r);
		/* IDE only answers where it is enabled. */
		if (!strcmp(name_at(f, devfn), "piix-ide"))
			fz_config_write(f, devfn, 0x40, 0x80008000, 4);
	}
	add_window(f, "q35", FZ_CONFIG, 0, 4096);
	add_window(f, "q35", FZ_MMIO, ECAM, 1u << 21);
	add_window(f, "ich9-lpc", FZ_CONFIG, PCI_DEVFN(31, 0), 4096);
}

/*
 * The machine.
 */
static void count_off(void *f) { ((struct fz *)f)->offs++; }
static void count_reset(void *f) { ((struct fz *)f)->resets++; }
static void count_panic(void *f) { ((struct fz *)f)->panics++; }
static void count_end(void *f, int code) { ((struct fz *)f)->ends++; }

static int temp_file(char *path, uint64_t len)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static int save_one(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	return state_save(opaque, desc->state, dev, instance);
}

void fz_machine_save(struct fz *f, struct state_buf *b)
{
	assert_int_equal(board_each(f->board, save_one, b), 0);
}

void fz_machine_reset(struct fz *f)
{
	struct err err = { "" };

	bus_lock(f->bus);
	assert_int_equal(board_reset(f->board, &err), 0);
	bus_unlock(f->bus);
}

void fz_machine_init(struct fz *f)
{
	char rom[] = "/tmp/bothy-fuzz-XXXXXX", vars[] = "/tmp/bothy-fuzz-XXXXXX";
	struct cpus_config cc = { .count = 2, .engine = engine_lookup("interp") };
	struct board_config bc = { .memory_bytes = FZ_RAM, .firmware = rom };
	struct err err = { "" };

	close(temp_file(rom, ROM_LEN));
	f->vars_fd = temp_file(vars, ROM_LEN);
	pthread_mutex_init(&f->lock, NULL);
	net_peer_init(&f->far, &far_ops, f, NET_CSUM);
	f->bus = bus_new(NULL, &err);
	f->vt = vtime_new(&f->bus->lock, true);
	f->mem = mem_new(FZ_RAM + (64u << 20), &err);
	f->input = input_new(f->vt, &err);
	cc.mem = f->mem;
	cc.bus = f->bus;
	cc.vtime = f->vt;
	f->cpus = cpus_new(&cc, &err);
	assert_non_null(f->cpus);
	bc.cpus = f->cpus;
	bc.serial = find(f, DEV_PROP_CHARDEV, "com1", &err);
	bc.vars_fd = f->vars_fd;
	bc.env = (struct dev_env){ .mem = f->mem, .bus = f->bus, .vtime = f->vt,
				   .power_off = count_off, .reset = count_reset,
				   .end = count_end, .power_opaque = f, .input = f->input,
				   .screens = &f->screens };
	bc.panicked = count_panic;
	bc.panicked_opaque = f;
	bc.devices = (struct dev_items){ (struct dev_item *)items, array_size(items) };
	bc.backends = (struct dev_backends){ find, f };
	if (board_new(&bc, &f->board, &err) < 0)
		fail_msg("%s", err.text);
	unlink(rom);
	unlink(vars);
	fz_machine_reset(f);
	fz_machine_enable(f);
	fz_machine_reset(f);
	fz_machine_save(f, &f->fresh);
	fz_machine_enable(f);
}

void fz_machine_fini(struct fz *f)
{
	fz_machine_turn(f, true);
	board_free(f->board);
	fz_machine_turn(f, true);
	for (unsigned n = 0; n < f->disks; n++)
		fake_disk_free(f->disk[n]);
	fz_machine_turn(f, false);
	input_free(f->input);
	cpus_free(f->cpus);
	vtime_free(f->vt);
	mem_free(f->mem);
	bus_free(f->bus);
	state_buf_fini(&f->fresh);
	close(f->vars_fd);
	pthread_mutex_destroy(&f->lock);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that tell of disks and devices. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/blk.h"
#include "src/ctl/ctl_priv.h"
#include "src/dev/pci/pci.h"
#include "src/dev/storage/medium.h"
#include "src/machine/board.h"
#include "src/machine/plugs.h"
#include "src/vm/vm.h"

static const char *const bus_names[] = {
	[DEV_BUS_NONE] = "board", [DEV_BUS_PCI] = "pci", [DEV_BUS_ISA] = "isa",
	[DEV_BUS_SCSI] = "scsi", [DEV_BUS_SATA] = "sata", [DEV_BUS_IDE] = "ide",
	[DEV_BUS_FLOPPY] = "floppy", [DEV_BUS_VIRTIO_SERIAL] = "virtio-serial",
};

/* The device that has @blk, or NULL. */
static const struct plug *plug_of(struct vm *vm, const struct blk *blk)
{
	struct plugs *p = board_plugs(vm_board(vm));

	for (size_t i = 0; blk && i < p->count; i++) {
		const struct plug *g = p->plug[i];

		for (const struct dev_prop *q = g->desc->props; q && q->name; q++)
			if (q->type == DEV_PROP_DRIVE &&
			    *(struct blk **)((char *)g->dev + q->offset) == blk)
				return g;
	}
	return NULL;
}

/*
 * Disks.
 */
static struct json_object *image_of(const struct block_node *n)
{
	struct json_object *o = json_object_new_object();

	ctl_add_text(o, "filename", n->path);
	ctl_add_text(o, "format", n->desc->name);
	ctl_add_int(o, "virtual-size", (int64_t)n->len);
	if (n->backing_path)
		ctl_add_text(o, "backing-filename", n->backing_path);
	if (n->backing)
		json_object_object_add(o, "backing-image", image_of(n->backing));
	return o;
}

static struct json_object *medium_of(const struct vm_drive *d)
{
	static const char *const caches[] = { "writeback", "writethrough", "none", "directsync",
					      "unsafe" };
	const struct block_node *n = blk_node(d->blk);
	struct json_object *o = json_object_new_object(), *cache = json_object_new_object();
	unsigned depth = 0;

	for (const struct block_node *b = n->backing; b; b = b->backing)
		depth++;
	ctl_add_text(o, "file", d->path ? d->path : n->path);
	ctl_add_text(o, "node-name", d->id);
	ctl_add_bool(o, "ro", !n->writable);
	ctl_add_text(o, "drv", n->desc->name);
	ctl_add_int(o, "backing_file_depth", depth);
	ctl_add_int(o, "iops", d->max_iops);
	ctl_add_int(o, "bps", (int64_t)d->max_bytes_per_s);
	ctl_add_bool(cache, "writeback", d->cache != 1 && d->cache != 3);
	ctl_add_bool(cache, "direct", d->cache == 2 || d->cache == 3);
	ctl_add_bool(cache, "no-flush", d->cache == 4);
	json_object_object_add(o, "cache", cache);
	ctl_add_text(o, "cache-mode", caches[d->cache]);
	json_object_object_add(o, "image", image_of(n));
	return o;
}

int ctl_query_block(struct vm *vm, struct json_object *args, struct json_object **ret,
		    struct err *err)
{
	*ret = json_object_new_array();
	for (struct vm_drive *d = vm_drives(vm); d; d = d->next) {
		struct json_object *o = json_object_new_object();
		const struct plug *g = plug_of(vm, d->blk);
		const struct medium *m = g && g->desc->medium ? g->desc->medium(g->dev) : NULL;

		ctl_add_text(o, "device", d->id);
		if (g)
			ctl_add_text(o, "qdev", g->id);
		ctl_add_text(o, "type", "unknown");
		ctl_add_bool(o, "removable", d->removable);
		ctl_add_bool(o, "locked", m && m->locked);
		if (m && m->has_tray)
			ctl_add_bool(o, "tray_open", m->tray_open);
		ctl_add_text(o, "io-status", vm_io_error(vm) ? "failed" : "ok");
		if (blk_node(d->blk))
			json_object_object_add(o, "inserted", medium_of(d));
		json_object_array_add(*ret, o);
	}
	return 0;
}

/* Bucket bounds of the latency histograms are powers of two microseconds. */
static struct json_object *histogram(const uint64_t *bucket)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < BLK_HISTOGRAM; i++)
		json_object_array_add(a, json_object_new_int64((int64_t)bucket[i]));
	return a;
}

static struct json_object *stats_of(const struct blk_stats *st)
{
	static const struct {
		enum blk_op op;
		const char *name;
	} ops[] = {
		{ BLK_READ, "rd" }, { BLK_WRITE, "wr" }, { BLK_FLUSH, "flush" },
		{ BLK_DISCARD, "unmap" }, { BLK_ZERO, "zero" },
	};
	struct json_object *o = json_object_new_object();
	char key[48];

	for (size_t i = 0; i < array_size(ops); i++) {
		enum blk_op op = ops[i].op;

#define ADD(suffix, value)                                                              \
		snprintf(key, sizeof(key), "%s" suffix, ops[i].name);                   \
		ctl_add_int(o, key, (int64_t)(value));
		if (op != BLK_FLUSH) {
			ADD("_bytes", st->bytes[op])
		}
		ADD("_operations", st->ops[op])
		ADD("_total_time_ns", st->total_ns[op])
		ADD("_max_time_ns", st->max_ns[op])
		if (op == BLK_FLUSH)
			ctl_add_int(o, "failed_flush_operations", (int64_t)st->errors[op]);
		else {
			snprintf(key, sizeof(key), "failed_%s_operations", ops[i].name);
			ctl_add_int(o, key, (int64_t)st->errors[op]);
		}
#undef ADD
		snprintf(key, sizeof(key), "%s_latency_us_log2", ops[i].name);
		json_object_object_add(o, key, histogram(st->histogram[op]));
	}
	ctl_add_int(o, "in_flight", (int64_t)st->in_flight);
	ctl_add_int(o, "held", (int64_t)st->held);
	return o;
}

int ctl_query_blockstats(struct vm *vm, struct json_object *args, struct json_object **ret,
			 struct err *err)
{
	*ret = json_object_new_array();
	for (struct vm_drive *d = vm_drives(vm); d; d = d->next) {
		struct json_object *o = json_object_new_object();
		struct blk_stats st;

		blk_get_stats(d->blk, &st);
		ctl_add_text(o, "device", d->id);
		ctl_add_text(o, "node-name", d->id);
		json_object_object_add(o, "stats", stats_of(&st));
		json_object_array_add(*ret, o);
	}
	return 0;
}

/*
 * Devices.
 */
static void add_prop(struct json_object *o, struct vm *vm, const struct plug *g,
		     const struct dev_prop *p)
{
	const void *at = (const char *)g->dev + p->offset;
	const uint8_t *mac = at;
	const char *c;
	char text[64];

	switch (p->type) {
	case DEV_PROP_BOOL:
		ctl_add_bool(o, p->name, *(const bool *)at);
		return;
	case DEV_PROP_UINT:
		ctl_add_int(o, p->name, *(const uint32_t *)at);
		return;
	case DEV_PROP_SIZE:
		ctl_add_int(o, p->name, (int64_t)*(const uint64_t *)at);
		return;
	case DEV_PROP_TEXT:
		if (*(const char *const *)at)
			ctl_add_text(o, p->name, *(const char *const *)at);
		return;
	case DEV_PROP_CHOICE:
		c = p->choices;
		for (uint32_t n = *(const uint32_t *)at; n && strchr(c, '|'); n--)
			c = strchr(c, '|') + 1;
		snprintf(text, sizeof(text), "%.*s", (int)strcspn(c, "|"), c);
		ctl_add_text(o, p->name, text);
		return;
	case DEV_PROP_MAC:
		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
			 mac[2], mac[3], mac[4], mac[5]);
		ctl_add_text(o, p->name, text);
		return;
	case DEV_PROP_DRIVE:
		for (struct vm_drive *d = vm_drives(vm); d; d = d->next)
			if (d->blk == *(struct blk *const *)at)
				ctl_add_text(o, p->name, d->id);
		return;
	case DEV_PROP_NETDEV:
	case DEV_PROP_CHARDEV:
		ctl_add_bool(o, p->name, *(void *const *)at != NULL);
		return;
	}
}

int ctl_query_devices(struct vm *vm, struct json_object *args, struct json_object **ret,
		      struct err *err)
{
	struct plugs *p = board_plugs(vm_board(vm));

	*ret = json_object_new_array();
	for (size_t i = 0; i < p->count; i++) {
		const struct plug *g = p->plug[i];
		struct json_object *o = json_object_new_object(), *props = json_object_new_object();
		char addr[16];

		ctl_add_text(o, "id", g->id);
		ctl_add_text(o, "driver", g->desc->name);
		ctl_add_text(o, "title", g->desc->title);
		ctl_add_text(o, "bus-kind", bus_names[g->desc->bus]);
		if (g->parent)
			ctl_add_text(o, "bus", g->parent->id);
		if (g->desc->bus == DEV_BUS_PCI) {
			snprintf(addr, sizeof(addr), "%02x.%x", g->slot >> 3, g->slot & 7);
			ctl_add_text(o, "addr", addr);
		} else if (g->parent) {
			ctl_add_int(o, "slot", g->slot);
		}
		if (g->boot_index >= 0)
			ctl_add_int(o, "bootindex", g->boot_index);
		for (const struct dev_prop *q = g->desc->props; q && q->name; q++)
			add_prop(props, vm, g, q);
		json_object_object_add(o, "properties", props);
		json_object_array_add(*ret, o);
	}
	return 0;
}

/*
 * PCI.
 */
static struct json_object *pci_regions(const struct pci_dev *d)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
		const struct pci_bar *bar = &d->bar[i];
		struct json_object *o;
		uint64_t addr;

		if (!bar->size)
			continue;
		o = json_object_new_object();
		ctl_add_int(o, "bar", i);
		ctl_add_text(o, "type", bar->flags & PCI_BAR_IO ? "io" : "memory");
		ctl_add_int(o, "size", (int64_t)bar->size);
		ctl_add_int(o, "address", pci_bar_address(d, i, &addr) ? (int64_t)addr : -1);
		if (!(bar->flags & PCI_BAR_IO)) {
			ctl_add_bool(o, "mem_type_64", bar->flags & PCI_BAR_MEM64);
			ctl_add_bool(o, "prefetch", bar->flags & PCI_BAR_PREFETCH);
		}
		json_object_array_add(a, o);
	}
	return a;
}

static uint16_t config16(const struct pci_dev *d, unsigned off)
{
	return (uint16_t)(d->config[off] | d->config[off + 1] << 8);
}

static struct json_object *pci_function(const struct pci_dev *d, unsigned bus)
{
	struct json_object *o = json_object_new_object(), *class = json_object_new_object();
	struct json_object *id = json_object_new_object();

	ctl_add_int(o, "bus", bus);
	ctl_add_int(o, "slot", d->devfn >> 3);
	ctl_add_int(o, "function", d->devfn & 7);
	ctl_add_int(class, "class", config16(d, PCI_CLASS_DEVICE));
	ctl_add_text(class, "desc", d->name);
	json_object_object_add(o, "class_info", class);
	ctl_add_int(id, "vendor", config16(d, PCI_VENDOR_ID));
	ctl_add_int(id, "device", config16(d, PCI_DEVICE_ID));
	ctl_add_int(id, "subsystem-vendor", config16(d, PCI_SUBSYSTEM_VENDOR));
	ctl_add_int(id, "subsystem", config16(d, PCI_SUBSYSTEM_ID));
	json_object_object_add(o, "id", id);
	ctl_add_int(o, "irq", d->config[PCI_INTERRUPT_LINE]);
	ctl_add_int(o, "irq_pin", d->config[PCI_INTERRUPT_PIN]);
	ctl_add_text(o, "qdev_id", d->name);
	json_object_object_add(o, "regions", pci_regions(d));
	return o;
}

static struct json_object *pci_bus_json(const struct pci_bus *bus)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	ctl_add_int(o, "bus", bus->number);
	for (unsigned n = 0; n < 256; n++)
		if (bus->dev[n])
			json_object_array_add(list, pci_function(bus->dev[n], bus->number));
	json_object_object_add(o, "devices", list);
	return o;
}

int ctl_query_pci(struct vm *vm, struct json_object *args, struct json_object **ret,
		  struct err *err)
{
	struct plugs *p = board_plugs(vm_board(vm));

	*ret = json_object_new_array();
	json_object_array_add(*ret, pci_bus_json(p->pci));
	for (size_t i = 0; i < p->count; i++)
		if (p->plug[i]->desc->pci_bus)
			json_object_array_add(*ret, pci_bus_json(
				p->plug[i]->desc->pci_bus(p->plug[i]->dev)));
	return 0;
}

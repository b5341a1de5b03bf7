/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/machine/plugs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/size.h"
#include "src/dev/pci/pci.h"

#define PROPS_MAX 64

/* Where chipsets have these, and what hangs from them expects them. */
static const struct {
	const char *name;
	uint8_t devfn;
} places[] = {
	{ "VGA", PCI_DEVFN(1, 0) },
	{ "ahci", PCI_DEVFN(0x1f, 2) },
};

/* What is made for a device whose bus nobody gave. */
static const struct {
	enum dev_bus bus;
	const char *name; /* NULL: cannot be made */
	const char *title;
} buses[] = {
	[DEV_BUS_PCI] = { DEV_BUS_PCI, NULL, "PCI" },
	[DEV_BUS_ISA] = { DEV_BUS_ISA, NULL, "ISA" },
	[DEV_BUS_SCSI] = { DEV_BUS_SCSI, "virtio-scsi", "SCSI" },
	[DEV_BUS_SATA] = { DEV_BUS_SATA, "ahci", "SATA" },
	[DEV_BUS_IDE] = { DEV_BUS_IDE, "piix-ide", "IDE" },
	[DEV_BUS_FLOPPY] = { DEV_BUS_FLOPPY, "isa-fdc", "floppy" },
	[DEV_BUS_VIRTIO_SERIAL] = { DEV_BUS_VIRTIO_SERIAL, "virtio-serial", "virtio serial" },
};

/* The properties that say where, apart from the device's own. */
struct where {
	const char *bus, *addr, *slot;
	int boot_index;
	struct dev_prop_text own[PROPS_MAX];
	size_t count;
};

void plugs_init(struct plugs *p, const struct dev_env *env, struct pci_bus *pci, struct gsi *gsi,
		struct i8237 *dma, const struct dev_backends *backends)
{
	*p = (struct plugs){ .env = env, .pci = pci, .gsi = gsi, .dma = dma };
	if (backends)
		p->backends = *backends;
}

static void plug_free(struct plug *g)
{
	if (!g)
		return;
	dev_free(g->desc, g->dev);
	free(g->id);
	free(g);
}

void plugs_fini(struct plugs *p)
{
	while (p->count)
		plug_free(p->plug[--p->count]);
	free(p->plug);
	p->plug = NULL;
}

void plugs_reset(struct plugs *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->plug[i]->desc->reset)
			p->plug[i]->desc->reset(p->plug[i]->dev);
}

struct plug *plugs_find(const struct plugs *p, const char *id)
{
	for (size_t i = 0; i < p->count; i++)
		if (!strcmp(p->plug[i]->id, id))
			return p->plug[i];
	return NULL;
}

static bool slot_taken(const struct plug *c, unsigned n)
{
	return c->slots[n / 64] >> n % 64 & 1;
}

static int free_slot(const struct plug *c)
{
	for (unsigned n = 0; n < min_of(c->desc->slots, 256u); n++)
		if (!slot_taken(c, n))
			return (int)n;
	return -ENOSPC;
}

static int take_where(const struct dev_item *item, struct where *w, struct err *err)
{
	uint64_t n;
	int ret;

	*w = (struct where){ .boot_index = -1 };
	for (size_t i = 0; i < item->count; i++) {
		const char *name = item->props[i].name, *value = item->props[i].value;

		if (!strcmp(name, "bus")) {
			w->bus = value;
		} else if (!strcmp(name, "addr")) {
			w->addr = value;
		} else if (!strcmp(name, "slot")) {
			w->slot = value;
		} else if (!strcmp(name, "bootindex")) {
			ret = parse_uint(value, &n, err);
			if (ret < 0 || n > 9999)
				return err_set(err, -EINVAL, "%s: bootindex is a number from 0 to "
					       "9999, not '%s'", item->driver, value);
			w->boot_index = (int)n;
		} else if (w->count == PROPS_MAX) {
			return err_set(err, -EINVAL, "%s has more than %d properties",
				       item->driver, PROPS_MAX);
		} else {
			w->own[w->count++] = item->props[i];
		}
	}
	return 0;
}

/*
 * PCI.
 */
static int parse_devfn(const char *text, uint8_t *devfn)
{
	char *end;
	unsigned long dev = strtoul(text, &end, 16), fn = 0;

	if (end == text || dev > 31)
		return -EINVAL;
	if (*end == '.') {
		text = end + 1;
		fn = strtoul(text, &end, 16);
		if (end == text || fn > 7)
			return -EINVAL;
	}
	*devfn = PCI_DEVFN(dev, fn);
	return *end ? -EINVAL : 0;
}

static bool device_free(const struct pci_bus *bus, unsigned dev)
{
	for (unsigned fn = 0; fn < 8; fn++)
		if (bus->dev[PCI_DEVFN(dev, fn)])
			return false;
	return true;
}

static int pci_place(struct plugs *p, const struct dev_desc *d, const struct where *w,
		     struct dev_plug *at, struct err *err)
{
	unsigned dev = at->pci == p->pci ? 2 : 0;
	unsigned devs = at->pci == p->pci ? 32 : 1; /* a slot behind a port has one */

	if (w->addr) {
		if (parse_devfn(w->addr, &at->devfn) < 0)
			return err_set(err, -EINVAL, "%s: addr is SLOT or SLOT.FUNCTION in "
				       "hexadecimal (0 to 1f, 0 to 7), not '%s'", d->name, w->addr);
		if (at->devfn >> 3 >= devs)
			return err_set(err, -EINVAL, "%s: a card behind a port has address 0 to "
				       "0.7, not %s", d->name, w->addr);
		if (at->pci->dev[at->devfn])
			return err_set(err, -EINVAL, "%s: PCI address %s is taken", d->name, w->addr);
		return 0;
	}
	for (size_t i = 0; at->pci == p->pci && i < array_size(places); i++) {
		if (strcmp(places[i].name, d->name) || p->pci->dev[places[i].devfn])
			continue;
		at->devfn = places[i].devfn;
		return 0;
	}
	for (; dev < devs; dev++) {
		if (!device_free(at->pci, dev))
			continue;
		at->devfn = PCI_DEVFN(dev, 0);
		return 0;
	}
	return err_set(err, -EINVAL, "%s: no PCI slot is free; put some devices behind a "
		       "pcie-root-port", d->name);
}

/*
 * The controller.
 */
static int find_controller(struct plugs *p, const struct dev_desc *d, const struct where *w,
			   struct plug **out, struct err *err)
{
	const char *maker = buses[d->bus].name;
	struct dev_item item = { .driver = maker };
	int ret;

	*out = NULL;
	if (w->bus) {
		*out = plugs_find(p, w->bus);
		if (!*out || (*out)->desc->provides != d->bus)
			return err_set(err, -EINVAL, "%s: bus '%s' is no %s controller of this machine",
				       d->name, w->bus, buses[d->bus].title);
		return 0;
	}
	for (size_t i = 0; i < p->count; i++) {
		if (p->plug[i]->desc->provides != d->bus || (!w->slot && free_slot(p->plug[i]) < 0))
			continue;
		*out = p->plug[i];
		return 0;
	}
	if (!maker || !dev_find(maker))
		return err_set(err, -EINVAL, "%s needs a %s controller; add one with --device",
			       d->name, buses[d->bus].title);
	ret = plugs_add(p, &item, err);
	if (ret < 0)
		return err_prefix(err, ret, "a controller for %s", d->name);
	*out = p->plug[p->count - 1];
	(*out)->automatic = true;
	return 0;
}

static int take_slot(struct plug *c, const struct dev_desc *d, const struct where *w,
		     struct dev_plug *at, struct err *err)
{
	uint64_t n = 0;
	int ret = 0;

	if (w->slot) {
		ret = parse_uint(w->slot, &n, err);
		if (ret == 0 && n >= min_of(c->desc->slots, 256u))
			ret = err_set(err, -EINVAL, "%s '%s' has slots 0 to %u, not %s",
				      c->desc->name, c->id, c->desc->slots - 1, w->slot);
		if (ret == 0 && slot_taken(c, (unsigned)n))
			ret = err_set(err, -EINVAL, "slot %s of '%s' is taken", w->slot, c->id);
	} else {
		ret = free_slot(c);
		if (ret < 0)
			ret = err_set(err, -EINVAL, "'%s' has no free slot", c->id);
		else
			n = (uint64_t)ret;
	}
	if (ret < 0)
		return err_prefix(err, ret, "%s", d->name);
	at->parent = c->dev;
	at->slot = (unsigned)n;
	return 0;
}

static int find_place(struct plugs *p, const struct dev_desc *d, const struct where *w,
		      struct dev_plug *at, struct plug **parent, struct err *err)
{
	int ret;

	*parent = NULL;
	if (w->slot && (d->bus == DEV_BUS_PCI || d->bus == DEV_BUS_ISA))
		return err_set(err, -EINVAL, "%s stands on %s; it has no slot= but addr=", d->name,
			       buses[d->bus].title);
	if (w->addr && d->bus != DEV_BUS_PCI)
		return err_set(err, -EINVAL, "%s is no PCI device; it has no addr=", d->name);
	switch (d->bus) {
	case DEV_BUS_NONE:
		return err_set(err, -EINVAL, "%s is a part of every machine", d->name);
	case DEV_BUS_ISA:
		return 0;
	case DEV_BUS_PCI:
		at->pci = p->pci;
		if (w->bus && strcmp(w->bus, "pcie.0")) {
			ret = find_controller(p, d, w, parent, err);
			if (ret < 0)
				return ret;
			at->pci = (*parent)->desc->pci_bus((*parent)->dev);
		}
		return pci_place(p, d, w, at, err);
	default:
		ret = find_controller(p, d, w, parent, err);
		return ret < 0 ? ret : take_slot(*parent, d, w, at, err);
	}
}

static char *make_id(struct plugs *p, const struct dev_item *item)
{
	char *id = NULL;

	if (item->id)
		return strdup(item->id);
	do {
		free(id);
		if (asprintf(&id, "%s%u", item->driver, p->names++) < 0)
			return NULL;
	} while (plugs_find(p, id));
	return id;
}

static int grow(struct plugs *p)
{
	struct plug **more = realloc(p->plug, (p->count + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	p->plug = more;
	return 0;
}

static int unknown(const struct dev_item *item, struct err *err)
{
	const struct dev_desc *near = dev_nearest(item->driver);

	if (near)
		return err_set(err, -EINVAL, "there is no device '%s'; did you mean '%s'? (bothy run "
			       "--list-devices shows all)", item->driver, near->name);
	return err_set(err, -EINVAL, "there is no device '%s'; bothy run --list-devices shows all",
		       item->driver);
}

int plugs_add(struct plugs *p, const struct dev_item *item, struct err *err)
{
	const struct dev_desc *d = dev_find(item->driver);
	struct dev_plug at = { .env = p->env, .gsi = p->gsi, .dma = p->dma };
	struct plug *g = NULL;
	struct where w;
	int ret;

	if (!d)
		return unknown(item, err);
	for (size_t i = 0; d->single && i < p->count; i++)
		if (p->plug[i]->desc == d)
			return err_set(err, -EINVAL, "%s: there is one already ('%s'), and its ports "
				       "exist once in a PC", d->name, p->plug[i]->id);
	if (item->id && plugs_find(p, item->id))
		return err_set(err, -EINVAL, "two devices have the id '%s'", item->id);
	ret = take_where(item, &w, err);
	if (ret < 0)
		return ret;
	g = calloc(1, sizeof(*g));
	if (!g)
		return err_set(err, -ENOMEM, "out of memory for %s", d->name);
	g->desc = d;
	g->boot_index = w.boot_index;
	g->id = make_id(p, item);
	ret = g->id ? find_place(p, d, &w, &at, &g->parent, err) : -ENOMEM;
	if (ret < 0)
		goto fail;
	at.id = g->id;
	g->slot = d->bus == DEV_BUS_PCI ? at.devfn : at.slot;
	for (size_t i = 0; i < p->count; i++)
		g->instance += p->plug[i]->desc == d;
	ret = grow(p);
	if (ret == 0)
		ret = dev_new(d, &at, w.own, w.count, &p->backends, &g->dev, err);
	if (ret < 0)
		goto fail;
	if (g->parent && d->bus != DEV_BUS_PCI)
		g->parent->slots[at.slot / 64] |= 1ull << at.slot % 64;
	p->plug[p->count++] = g;
	return 0;
fail:
	if (err && !err_is_set(err))
		err_set(err, ret, "out of memory for %s", d->name);
	free(g->id);
	free(g);
	return ret;
}

/*
 * Starting.
 */
static int path_of(const struct plug *g, char *buf, size_t len)
{
	int n = 0;

	if (g->parent)
		n = path_of(g->parent, buf, len);
	else if (g->desc->bus == DEV_BUS_PCI)
		n = snprintf(buf, len, "/pci@i0cf8");
	else
		n = snprintf(buf, len, "/pci@i0cf8/isa@1f");
	if (n < 0 || (size_t)n + 1 >= len || !g->desc->fw_name)
		return -ENAMETOOLONG;
	buf[n++] = '/';
	buf[n] = '\0';
	if (g->desc->fw_name(g->dev, buf + n, len - (size_t)n) < 0)
		return -ENAMETOOLONG;
	return (int)strlen(buf);
}

static int by_index(const void *a, const void *b)
{
	const struct plug *x = *(struct plug *const *)a, *y = *(struct plug *const *)b;

	return x->boot_index < y->boot_index ? -1 : x->boot_index > y->boot_index;
}

char *plugs_boot_order(const struct plugs *p)
{
	struct plug **sorted = calloc(p->count + 1, sizeof(*sorted));
	char *text = NULL, path[512];
	size_t n = 0, len = 0;
	FILE *out = sorted ? open_memstream(&text, &len) : NULL;

	for (size_t i = 0; out && i < p->count; i++)
		if (p->plug[i]->boot_index >= 0)
			sorted[n++] = p->plug[i];
	if (n)
		qsort(sorted, n, sizeof(*sorted), by_index);
	for (size_t i = 0; i < n; i++)
		if (path_of(sorted[i], path, sizeof(path)) > 0)
			fprintf(out, "%s\n", path);
	free(sorted);
	if (!out || fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices that were plugged into a board: where they stand, which controller
 * they hang from, in which order firmware shall start from them.
 */
#ifndef BOTHY_MACHINE_PLUGS_H
#define BOTHY_MACHINE_PLUGS_H

#include "src/dev/plug.h"

struct plug {
	const struct dev_desc *desc;
	void *dev;
	char *id;
	unsigned instance;    /* how many of the same kind came before it: for saved state */
	struct plug *parent;  /* its controller, NULL: the board */
	unsigned slot;        /* on the controller; on PCI the devfn */
	uint64_t slots[4];    /* its own slots in use */
	int boot_index;       /* -1: none */
	bool automatic;       /* nobody asked for it by name */
};

struct plugs {
	const struct dev_env *env;
	struct pci_bus *pci; /* the root bus */
	struct gsi *gsi;
	struct i8237 *dma;
	struct dev_backends backends;
	struct plug **plug;
	size_t count;
	unsigned names; /* ids made so far */
};

void plugs_init(struct plugs *p, const struct dev_env *env, struct pci_bus *pci, struct gsi *gsi,
		struct i8237 *dma, const struct dev_backends *backends);
void plugs_fini(struct plugs *p); /* last plugged first; device lock held */

/*
 * Makes a device. Beside the device's own properties these say where it goes:
 * bus=ID (a controller), addr=SLOT[.FUNCTION] (PCI, hexadecimal), slot=N (other
 * buses), bootindex=N. Without bus= the first controller of its kind with room is
 * taken, or made. -EINVAL: wrong use. Device lock held.
 */
int must_check plugs_add(struct plugs *p, const struct dev_item *item, struct err *err);

void plugs_reset(struct plugs *p);

struct plug *plugs_find(const struct plugs *p, const char *id); /* NULL: none */

/* The start order as firmware reads it ("bootorder"): Open Firmware paths, one a line,
 * each line ended by a newline, the whole by NUL. NULL when out of memory; free(). */
char *plugs_boot_order(const struct plugs *p);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device is. A device is one file that ends in its descriptor; devices.def
 * lists the descriptors; machine/ puts devices on a board.
 */
#ifndef BOTHY_DEV_DEV_H
#define BOTHY_DEV_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/mem/mem.h"
#include "src/state/state.h"

struct screens;
struct input;

/* What every device may reach. Owned by the VM, outlives its devices. */
struct dev_env {
	struct mem *mem;
	struct bus *bus;
	struct vtime *vtime;
	struct loop *loop; /* NULL in unit tests that need none */
	const struct log *log;
	/* The guest asked for the machine's end or a reset. Any thread. */
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	/* A guest made for tests asked for the machine's end with this exit code, 0..255;
	 * may be NULL. Any thread. */
	void (*end)(void *opaque, int code);
	/* The watchdog ran out: what the machine's owner chose; NULL: reset. Any thread. */
	void (*watchdog)(void *opaque);
	void *power_opaque;
	struct input *input;     /* where keyboards and mice are made known; may be NULL */
	struct screens *screens; /* where display devices show their surface; may be NULL */
};

/* What a device is plugged into. A controller gives a bus of the kind it names. */
enum dev_bus {
	DEV_BUS_NONE, /* a part of the board: not made by --device */
	DEV_BUS_PCI,
	DEV_BUS_ISA,
	DEV_BUS_SCSI,   /* slots are target numbers */
	DEV_BUS_SATA,   /* slots are ports */
	DEV_BUS_IDE,    /* slots are channel * 2 + unit */
	DEV_BUS_FLOPPY, /* slots are drives */
	DEV_BUS_VIRTIO_SERIAL, /* slots are port numbers */
};

enum dev_prop_type {
	DEV_PROP_BOOL,    /* bool: on|off */
	DEV_PROP_UINT,    /* uint32_t, @min..@max */
	DEV_PROP_SIZE,    /* uint64_t bytes, @min..@max; K, M, G, T */
	DEV_PROP_TEXT,    /* const char *, NULL if not given and no default; not owned */
	DEV_PROP_CHOICE,  /* uint32_t: index into @choices */
	DEV_PROP_MAC,     /* uint8_t[6] */
	DEV_PROP_DRIVE,   /* struct blk *, by the drive's id; NULL if not given */
	DEV_PROP_NETDEV,  /* struct net_peer *, by the netdev's id; NULL if not given */
	DEV_PROP_CHARDEV, /* struct chardev *, by its id; NULL if not given */
};

/* A property of a pluggable device: where in its struct it is put before init(). */
struct dev_prop {
	const char *name;
	enum dev_prop_type type;
	size_t offset;
	const char *def; /* as text; NULL: zero, or required */
	bool required;
	uint64_t min, max;   /* 0, 0: any; of a TEXT: most characters */
	const char *choices; /* "a|b|c" */
	const char *help;    /* one line for people */
};

#define DEV_PROP_END { NULL, DEV_PROP_BOOL, 0, NULL, false, 0, 0, NULL, NULL }

struct medium;
struct pci_bus;
struct gsi;
struct i8237;

/* Where a device goes. Valid while init() runs, but env, pci and parent stay. */
struct dev_plug {
	const struct dev_env *env;
	const char *id;      /* unique in the machine; lives as long as the device */
	struct pci_bus *pci; /* DEV_BUS_PCI: where, and at which function */
	uint8_t devfn;
	struct gsi *gsi;     /* DEV_BUS_ISA: interrupt lines */
	struct i8237 *dma;   /* DEV_BUS_ISA: DMA channels */
	void *parent;        /* other buses: the controller's struct, and the place on it */
	unsigned slot;
};

struct dev_desc {
	const char *name;  /* as in --device NAME and in saved state */
	const char *aliases; /* other names that --device takes, "a|b"; NULL: none */
	const char *title; /* one line for people */
	void (*reset)(void *dev);
	const struct state_desc *state;
	/* Can its state not be written down just now: why; NULL: it can. No vCPU runs. The
	 * member may be NULL: always. */
	const char *(*unsavable)(void *dev);

	/* Pluggable devices only; @size 0 otherwise. The struct is zeroed, its properties
	 * set, then init() called; fini() undoes a successful init(). Device lock held. */
	size_t size;
	enum dev_bus bus;
	enum dev_bus provides; /* what it is a controller of, and how many slots that has */
	unsigned slots;
	bool single; /* its ports exist once in a PC */
	const struct dev_prop *props;
	int (*init)(void *dev, const struct dev_plug *plug, struct err *err);
	void (*fini)(void *dev);
	/* Its node in an Open Firmware path, as SeaBIOS and OVMF read boot orders:
	 * "scsi@4", "disk@0"; NULL: firmware cannot start from it. */
	int (*fw_name)(void *dev, char *buf, size_t len);
	/* Drives with a medium that can be changed: src/dev/storage/medium.h. */
	struct medium *(*medium)(void *dev);
	/* DEV_BUS_PCI providers: the bus behind the bridge. */
	struct pci_bus *(*pci_bus)(void *dev);
};

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI: buses, functions and their configuration space, base address registers, INTx
 * lines, capabilities, MSI and MSI-X. Source: PCI Local Bus specification 3.0; PCI
 * Express Base specification 3.0, chapter 7 (extended configuration space).
 *
 * A device embeds a struct pci_dev, fills in its identity, adds BARs and
 * capabilities, and is then found by the guest. Everything is under the device lock.
 */
#ifndef BOTHY_DEV_PCI_PCI_H
#define BOTHY_DEV_PCI_PCI_H

#include "src/dev/dev.h"

struct pci_dev;
struct pci_bus;

#define PCI_CONFIG_SIZE 4096u
#define PCI_BARS 6u
#define PCI_MSIX_MAX 128u /* vectors of one function */
#define PCI_ROM_BAR 6u /* index of the expansion ROM among struct pci_dev.bar[] */
#define PCI_DEVFN(dev, fn) ((uint8_t)((dev) << 3 | (fn)))

/* Configuration space (type 0 header). */
#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_STATUS 0x06
#define PCI_REVISION 0x08
#define PCI_CLASS_PROG 0x09
#define PCI_CLASS_DEVICE 0x0a
#define PCI_CACHE_LINE 0x0c
#define PCI_LATENCY 0x0d
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_ROM_ADDRESS 0x30
#define PCI_CAPABILITIES 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d

/* The same of a bridge (type 1 header). */
#define PCI_PRIMARY_BUS 0x18
#define PCI_SECONDARY_BUS 0x19
#define PCI_SUBORDINATE_BUS 0x1a
#define PCI_IO_BASE 0x1c
#define PCI_IO_LIMIT 0x1d
#define PCI_SECONDARY_STATUS 0x1e
#define PCI_MEM_BASE 0x20
#define PCI_MEM_LIMIT 0x22
#define PCI_PREF_BASE 0x24
#define PCI_PREF_LIMIT 0x26
#define PCI_PREF_BASE_UPPER 0x28
#define PCI_PREF_LIMIT_UPPER 0x2c
#define PCI_IO_BASE_UPPER 0x30
#define PCI_IO_LIMIT_UPPER 0x32
#define PCI_BRIDGE_ROM 0x38
#define PCI_BRIDGE_CONTROL 0x3e

#define PCI_COMMAND_IO 0x1u
#define PCI_COMMAND_MEMORY 0x2u
#define PCI_COMMAND_MASTER 0x4u
#define PCI_COMMAND_PARITY 0x40u
#define PCI_COMMAND_SERR 0x100u
#define PCI_COMMAND_INTX_OFF 0x400u
#define PCI_STATUS_INTX 0x8u
#define PCI_STATUS_CAPS 0x10u

#define PCI_CAP_PM 0x01
#define PCI_CAP_MSI 0x05
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_EXP 0x10
#define PCI_CAP_MSIX 0x11

#define PCI_BAR_IO 0x1u
#define PCI_BAR_MEM64 0x4u
#define PCI_BAR_PREFETCH 0x8u

struct pci_bar {
	struct bus_range range; /* on the bus while decoded; start is what was written */
	uint64_t size;          /* a power of two; 0: no BAR */
	uint8_t flags;          /* PCI_BAR_* */
};

struct pci_msix_vector { /* as in the table */
	uint64_t addr;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
};

struct pci_ops {
	/* After the guest wrote configuration bytes [off, off+size), the writable bits
	 * of which are in d->config by now. May be NULL. */
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned size);
	/* Before such bytes are read, for what changes by itself. May be NULL. */
	void (*config_read)(struct pci_dev *d, unsigned off, unsigned size);
	/* The bus above was reset; configuration space is done already. May be NULL. */
	void (*bus_reset)(struct pci_dev *d);
};

struct pci_ids {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class; /* base class, sub class, programming interface: 0xCCSSPP */
	uint8_t revision;
	uint8_t int_pin; /* 0 none, 1..4: INTA..INTD */
};

struct pci_dev {
	const char *name;
	struct pci_bus *bus;
	struct pci_bus *behind; /* a bridge's other side; NULL: no bridge */
	uint8_t devfn;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t wmask[PCI_CONFIG_SIZE];  /* bits that the guest may write */
	uint8_t w1c[PCI_CONFIG_SIZE];    /* bits that a written 1 clears */
	struct pci_bar bar[PCI_BARS + 1];
	const struct pci_ops *ops;
	uint8_t cap_last;    /* offset of the newest capability, 0 none */
	uint16_t cap_end, ext_cap_end; /* first free byte for the next */
	uint8_t msi_cap, msix_cap, pm_cap, exp_cap; /* offsets, 0 none */
	uint8_t intx_level;  /* what the device wants, before INTX_OFF */
	uint8_t intx_out;    /* what stands on the line */
	uint32_t msi_pending;
	uint16_t msix_count;
	uint8_t msix_bar;
	uint32_t msix_off[2]; /* in the BAR: table, pending bits */
	struct bus_range msix_range[2];
	struct pci_msix_vector msix[PCI_MSIX_MAX];
	uint64_t msix_pending[PCI_MSIX_MAX / 64];
	uint8_t saved_config[PCI_CONFIG_SIZE]; /* config on its way to or from saved state */
};

struct pci_bus {
	const struct dev_env *env;
	uint8_t number;
	struct pci_dev *dev[256]; /* by devfn */
	struct pci_dev *bridge;   /* that leads here; NULL for the root bus */
	/* Root bus: pin @pin (0..3) of slot @slot pulls the line this names, 0..7. */
	unsigned (*route)(unsigned slot, unsigned pin);
	/* Told with the new level (0 or 1) when line @n (PIRQA..PIRQH) changes. */
	void (*set_pirq)(void *opaque, unsigned n, int level);
	void *pirq_opaque;
	uint16_t pirq_count[8]; /* who pulls it */
};

void pci_bus_init(struct pci_bus *b, const struct dev_env *env, uint8_t number);

/*
 * Puts a function on @bus. @d is zeroed first; @ops may be NULL. -EBUSY if the place
 * is taken. Command, status, BAR and interrupt registers work from here on.
 */
int must_check pci_dev_init(struct pci_dev *d, struct pci_bus *bus, uint8_t devfn,
			    const char *name, const struct pci_ids *ids,
			    const struct pci_ops *ops, struct err *err);
void pci_dev_fini(struct pci_dev *d); /* idempotent; also undoes BARs and MSI-X */
/* Conventional reset: command and BARs zero, interrupts off, MSI and MSI-X disabled. */
void pci_dev_reset(struct pci_dev *d);

/* BAR @n (0..5, or PCI_ROM_BAR), @size a power of two, >= 16 (memory) or 4 (ports);
 * a 64-bit BAR takes n + 1 too. @name is shown to people, static. */
int must_check pci_bar_add(struct pci_dev *d, unsigned n, uint64_t size, uint8_t flags,
			   const struct bus_ops *ops, void *dev, const char *name,
			   struct err *err);
/* Where it is mapped now; false while it is not decoded. */
bool pci_bar_address(const struct pci_dev *d, unsigned n, uint64_t *addr);

/* Adds a capability of @len bytes (with its 2-byte header) and returns its offset;
 * 0 when configuration space is full. The body is zero and read-only until
 * d->config[] and d->wmask[] are set up. */
unsigned pci_cap_add(struct pci_dev *d, uint8_t id, unsigned len);
/* The same in extended space (PCI Express): @len with the 4-byte header. */
unsigned pci_ext_cap_add(struct pci_dev *d, uint16_t id, uint8_t version, unsigned len);
/* A PCI Express capability (version 2); @type: 0 endpoint, 4 root port, 9 integrated
 * endpoint (PCIe base 3.0, 7.8.2). 0 when full. */
unsigned pci_exp_add(struct pci_dev *d, unsigned type);
/* Power management: D0 and D3hot. */
unsigned pci_pm_add(struct pci_dev *d);

/* INTx, level-triggered. Suppressed by the command register; shown in status. */
void pci_intx_set(struct pci_dev *d, int level);

/* MSI with @vectors (1, 2, 4 .. 32), 64-bit addresses and per-vector masks. */
int must_check pci_msi_add(struct pci_dev *d, unsigned vectors, struct err *err);
bool pci_msi_enabled(const struct pci_dev *d);
void pci_msi_notify(struct pci_dev *d, unsigned vector);

/* MSI-X with @vectors (1..PCI_MSIX_MAX): table at @table_off and pending bits at @pba_off of
 * memory BAR @bar, which must be there and large enough; they hide what the BAR has
 * there. Offsets are multiples of 8 and share no page with the device's registers. */
int must_check pci_msix_add(struct pci_dev *d, unsigned vectors, unsigned bar,
			    uint32_t table_off, uint32_t pba_off, struct err *err);
bool pci_msix_enabled(const struct pci_dev *d);
void pci_msix_notify(struct pci_dev *d, unsigned vector);

/* May the device read and write guest memory (COMMAND.MASTER)? */
bool pci_may_dma(const struct pci_dev *d);

/* Configuration cycles; @off + @size within PCI_CONFIG_SIZE, @size 1, 2 or 4. A
 * function that is not there reads as ones. */
uint32_t pci_config_read(struct pci_bus *b, uint8_t devfn, unsigned off, unsigned size);
void pci_config_write(struct pci_bus *b, uint8_t devfn, unsigned off, uint32_t val,
		      unsigned size);

/* The bus that configuration cycles for @number reach from @root; NULL: none. */
struct pci_bus *pci_bus_find(struct pci_bus *root, uint8_t number);

/* A bridge's prefetchable memory window (PCI-to-PCI bridge specification 1.2, 3.2.5.9);
 * false: it is closed. */
bool pci_bridge_prefetch_window(const struct pci_dev *d, uint64_t *first, uint64_t *last);

/* State of a struct pci_dev, to be nested in a device's own table. */
extern const struct state_desc pci_dev_state;

#endif

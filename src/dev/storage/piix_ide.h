/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PIIX3's IDE controller (8086:7010): two channels at the ports and interrupts where
 * PCs have them, and bus mastering. Source: 82371FB/SB data sheet (290550), 2.3 and 2.7;
 * Programming Interface for Bus Master IDE Controller, revision 1.0; ATA/ATAPI-7 volume
 * 2 (T13/1532D), chapter 9 for the protocols.
 */
#ifndef BOTHY_DEV_STORAGE_PIIX_IDE_H
#define BOTHY_DEV_STORAGE_PIIX_IDE_H

#include "src/dev/legacy/gsi.h"
#include "src/dev/pci/pci.h"
#include "src/dev/storage/ata.h"

#define IDE_CHUNK 65536u /* bytes of one move */

enum ide_state {
	IDE_IDLE,
	IDE_BUSY,     /* the device works; BSY */
	IDE_PACKET,   /* DRQ: a packet is expected */
	IDE_PIO_IN,   /* DRQ: the host reads */
	IDE_PIO_OUT,  /* DRQ: the host writes */
	IDE_DMA,      /* DRQ: the bus master is to move data */
	IDE_STATES
};

struct ide_channel {
	struct piix_ide *ide;
	unsigned n;
	struct ata_tf tf[2];   /* each device's registers */
	uint8_t select;        /* device register as written */
	uint8_t control;       /* device control as written */
	bool intrq;            /* a device wants the host */
	struct irq_line irq;
	struct bus_range command_ports, control_port;

	/* The command under way. */
	struct ata_cmd cmd;
	uint8_t state;         /* enum ide_state */
	uint8_t unit;          /* whose it is */
	bool moving;           /* buf holds data for the host, from pos on */
	bool first;            /* no block of data was asked for yet */
	uint32_t pos, block_end; /* in buf: next byte, and where this DRQ ends */

	/* Bus master. */
	uint8_t bm_command, bm_status;
	uint32_t bm_table;     /* PRD table as written */
	uint32_t prd_next;     /* the entry to read next */
	uint32_t prd_at, prd_left;
	bool prd_last;

	/* Saved state: the command as above, in plain fields. */
	uint8_t saved_buf[IDE_CHUNK], saved_packet[16];
	struct ata_tf saved_tf;
	uint32_t saved_buf_len, saved_block, saved_drq_len;
	uint64_t saved_len, saved_moved;
	uint8_t saved_dir, saved_proto;
	bool saved_in_packet;
};

struct piix_ide {
	struct ata_bus bus; /* must be first */
	struct pci_dev pci;
	const struct dev_env *env;
	struct ide_channel channel[2];
	struct vtimer restart;
	struct log_limit limit;
};

extern const struct dev_desc piix_ide_desc;

#endif

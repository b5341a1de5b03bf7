/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATA and ATAPI devices as command processors, apart from the controllers they hang
 * from: a task file in, data phases (xfer.h), a task file out. Source: ATA/ATAPI
 * Command Set - 3 (ACS-3, T13/2161-D); ATA8-APT for the parallel transport.
 *
 * A controller whose descriptor provides DEV_BUS_SATA or DEV_BUS_IDE begins with a
 * struct ata_bus; its children's descriptors put their struct ata_dev there.
 */
#ifndef BOTHY_DEV_STORAGE_ATA_H
#define BOTHY_DEV_STORAGE_ATA_H

#include "src/dev/dev.h"
#include "src/dev/storage/mmc.h"
#include "src/dev/storage/xfer.h"

#define ATA_BUS_MAX 6u
#define ATA_SECTOR 512u
/* Buffers hold at least this: no single block of data is larger. */
#define ATA_BLOCK_MAX 8192u

#define ATA_ST_ERR 0x01u
#define ATA_ST_DRQ 0x08u
#define ATA_ST_DSC 0x10u
#define ATA_ST_DF 0x20u
#define ATA_ST_DRDY 0x40u
#define ATA_ST_BSY 0x80u

#define ATA_ER_ABRT 0x04u
#define ATA_ER_IDNF 0x10u
#define ATA_ER_UNC 0x40u

#define ATA_DEV_LBA 0x40u
#define ATA_DEV_SLAVE 0x10u

#define ATA_CMD_DEVICE_RESET 0x08u
#define ATA_CMD_DIAGNOSTIC 0x90u
#define ATA_CMD_PACKET 0xa0u

/* Registers, as a host-to-device FIS has them: [1] and lba[3..5] are what a parallel
 * interface calls previous contents. */
struct ata_tf {
	uint8_t command, device;
	uint8_t feature[2], count[2], lba[6];
	uint8_t status, error;
};
extern const struct state_desc ata_tf_state;

enum ata_proto { ATA_PROTO_NODATA, ATA_PROTO_PIO, ATA_PROTO_DMA, ATA_PROTO_PACKET };

struct ata_dev;

/* A command under way. The controller sets tf (and packet) and looks at x.phase. */
struct ata_cmd {
	struct xfer x; /* must be first */
	struct ata_tf tf;
	uint8_t packet[16];
	struct ata_dev *dev;
	/* The device's. */
	enum ata_proto proto;  /* in XFER_DATA: how data goes. PACKET: ata_packet() is next */
	bool queued;           /* FPDMA QUEUED, with this tag */
	uint8_t tag;
	uint32_t drq_len;      /* PIO: the most bytes for one DRQ */
	uint64_t lba;
	uint32_t sectors, step;
	bool ext, fua, in_packet;
	bool again;            /* PACKET: begun once more after a restore */
	struct mmc_cmd scsi;
};

struct ata_dev_ops {
	void (*start)(struct ata_dev *d, struct ata_cmd *c);
	void (*packet)(struct ata_dev *d, struct ata_cmd *c); /* NULL: no PACKET device */
	/* Back to the settings after power-on (@hard) or SRST. */
	void (*reset)(struct ata_dev *d, bool hard);
};

struct ata_bus;

struct ata_dev {
	const struct ata_dev_ops *ops;
	struct ata_bus *bus;
	unsigned slot;
	const char *name;
};

struct ata_bus {
	struct ata_dev *dev[ATA_BUS_MAX];
	unsigned slots;
	bool sata; /* else parallel */
	/* A device came (@here) or is about to go: the controller ends its commands. */
	void (*plugged)(struct ata_bus *b, unsigned slot, bool here);
};

/* Takes @d's place on the bus that @plug names. -EBUSY, -EINVAL. */
int must_check ata_dev_attach(struct ata_dev *d, const struct dev_plug *plug, struct err *err);
void ata_dev_detach(struct ata_dev *d);

/* What the registers hold after a reset: ACS-3, 7.? "device signatures". */
void ata_signature(const struct ata_dev *d, struct ata_tf *tf);
static inline bool ata_is_packet(const struct ata_dev *d) { return d->ops->packet != NULL; }

/* Begins c->tf: x.phase is XFER_BUSY (c->x.ready comes later), XFER_DATA or XFER_END
 * with tf.status and tf.error set. */
void ata_start(struct ata_dev *d, struct ata_cmd *c);
/* The 12 or 16 bytes of c->packet have come. */
void ata_packet(struct ata_dev *d, struct ata_cmd *c);

/* For devices. */
void ata_ok(struct ata_cmd *c);
void ata_fail(struct ata_cmd *c, uint8_t error);
/* A reply of @len bytes (a multiple of 512, at most ATA_BLOCK_MAX), written by the
 * caller to where this points; NULL: the command has failed. */
uint8_t *ata_reply(struct ata_cmd *c, enum ata_proto proto, uint32_t len);
/* An IDENTIFY string: bytes swapped in each word, padded with blanks. */
void ata_string(uint8_t *words, unsigned first, unsigned count, const char *text);
/* IDENTIFY word 93 of a parallel device: what the reset has found. */
uint16_t ata_reset_result(const struct ata_dev *d);
void ata_identify_end(uint8_t *words); /* integrity word */
int ata_fw_name(const struct ata_dev *d, char *buf, size_t len);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI: a bus of targets with one logical unit each, and commands for them. A controller
 * brings command blocks and guest memory; a unit moves data to and from that memory
 * itself. Source: SAM-5 (T10/2104-D), SPC-4, SBC-3.
 *
 * A controller whose descriptor provides DEV_BUS_SCSI begins with a struct scsi_bus; its
 * children take their places there. Everything is under the device lock.
 */
#ifndef BOTHY_DEV_STORAGE_SCSI_H
#define BOTHY_DEV_STORAGE_SCSI_H

#include "src/block/blk.h"
#include "src/dev/dev.h"

#define SCSI_TARGETS 256u
#define SCSI_CDB_MAX 32u
#define SCSI_SENSE_LEN 18u /* fixed format */

/* Status (SAM-5, 5.3.1). */
#define SCSI_GOOD 0x00u
#define SCSI_CHECK 0x02u
#define SCSI_BUSY 0x08u
#define SCSI_ABORTED 0x40u

/* Sense: key, additional code, its qualifier (SPC-4, 4.5.6 and annex D). */
#define SCSI_NO_SENSE 0x00, 0x00, 0x00
#define SCSI_NO_MEDIUM 0x02, 0x3a, 0x00
#define SCSI_WRITE_ERROR 0x03, 0x0c, 0x00
#define SCSI_READ_ERROR 0x03, 0x11, 0x00
#define SCSI_NO_MEMORY 0x04, 0x44, 0x00
#define SCSI_PARAMETER_LENGTH 0x05, 0x1a, 0x00
#define SCSI_INVALID_OPCODE 0x05, 0x20, 0x00
#define SCSI_LBA_RANGE 0x05, 0x21, 0x00
#define SCSI_INVALID_FIELD 0x05, 0x24, 0x00
#define SCSI_INVALID_LUN 0x05, 0x25, 0x00
#define SCSI_INVALID_PARAMETER 0x05, 0x26, 0x00
#define SCSI_NO_SAVING 0x05, 0x39, 0x00
#define SCSI_UA_RESET 0x06, 0x29, 0x00
#define SCSI_UA_MODE 0x06, 0x2a, 0x01
#define SCSI_UA_CAPACITY 0x06, 0x2a, 0x09
#define SCSI_READ_ONLY 0x07, 0x27, 0x00
#define SCSI_SPACE 0x07, 0x27, 0x07
#define SCSI_MISCOMPARE 0x0e, 0x1d, 0x00

struct scsi_lu;
struct scsi_bus;

/* A command under way. The controller's from scsi_start() on until done(). */
struct scsi_cmd {
	/* The controller's. */
	uint8_t cdb[SCSI_CDB_MAX];
	const struct iovec *out, *in; /* guest memory to read from, to write to */
	unsigned out_num, in_num;
	uint64_t out_len, in_len;
	/* It is over: status and what follows are set. May be called from scsi_start(). */
	void (*done)(struct scsi_cmd *c);
	/* The result. */
	uint8_t status;
	uint8_t sense[SCSI_SENSE_LEN]; /* with SCSI_CHECK */
	uint64_t moved;  /* bytes of data */
	bool overrun;    /* the command wants more memory than was given */
	/* The unit's. */
	struct scsi_lu *lu;
	struct blk_req b;
	struct iovec bounce;  /* a buffer of ours, freed at the end */
	uint64_t at, left;    /* bytes still to do of a command in steps */
	uint64_t step;
	struct scsi_cmd *next;
	void *priv;
};

struct scsi_lu_ops {
	void (*start)(struct scsi_lu *lu, struct scsi_cmd *c);
	/* LOGICAL UNIT RESET or a reset of the controller; nothing is under way. */
	void (*reset)(struct scsi_lu *lu);
	/* Every command ends, by itself (@cancel: or cancelled). */
	void (*drain)(struct scsi_lu *lu, bool cancel);
};

struct scsi_lu {
	const struct scsi_lu_ops *ops;
	struct scsi_bus *bus;
	unsigned target;
	const char *name;
	/* A unit attention to be told: 0 none. */
	uint8_t ua_asc, ua_ascq;
};

struct scsi_bus {
	struct scsi_lu *lu[SCSI_TARGETS];
	/* A unit came (@here) or is about to go; its capacity or medium changed. */
	void (*plugged)(struct scsi_bus *b, unsigned target, bool here);
	void (*changed)(struct scsi_bus *b, unsigned target, uint8_t asc, uint8_t ascq);
};

/* Takes @lu's place. -EBUSY, -EINVAL. */
int must_check scsi_lu_attach(struct scsi_lu *lu, const struct scsi_lu_ops *ops, const char *name,
			      const struct dev_plug *plug, struct err *err);
void scsi_lu_detach(struct scsi_lu *lu);
/* "channel@0/disk@3,0" */
int scsi_fw_name(const struct scsi_lu *lu, char *buf, size_t len);

/* Begins @c on unit @lun of @lu's target: 0 is the one there is. */
void scsi_start(struct scsi_lu *lu, uint64_t lun, struct scsi_cmd *c);

/*
 * For units.
 */
void scsi_end(struct scsi_cmd *c, uint8_t status);
void scsi_ok(struct scsi_cmd *c);
void scsi_fail(struct scsi_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq);
/* A reply of @len bytes, of which the driver wants @alloc; GOOD. */
void scsi_reply(struct scsi_cmd *c, const void *data, uint32_t len, uint32_t alloc);
/* Sets the unit attention that the next command meets. */
void scsi_attention(struct scsi_lu *lu, uint8_t key, uint8_t asc, uint8_t ascq);
void scsi_make_sense(uint8_t sense[SCSI_SENSE_LEN], uint8_t key, uint8_t asc, uint8_t ascq);
/* @text padded with blanks to @len. */
void scsi_text(uint8_t *to, const char *text, size_t len);

extern const struct state_desc scsi_lu_state;

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Targets, and what all units have in common. */
#include "src/dev/storage/scsi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"

#define REQUEST_SENSE 0x03u
#define INQUIRY 0x12u
#define REPORT_LUNS 0xa0u
#define REPORT_LUNS_UNIT 0xc101u /* the well-known one (SPC-4, 8.2) */

int scsi_lu_attach(struct scsi_lu *lu, const struct scsi_lu_ops *ops, const char *name,
		   const struct dev_plug *plug, struct err *err)
{
	struct scsi_bus *bus = plug->parent;

	if (!bus || plug->slot >= SCSI_TARGETS)
		return err_set(err, -EINVAL, "%s needs a SCSI controller", name);
	if (bus->lu[plug->slot])
		return err_set(err, -EBUSY, "%s: target %u is taken", name, plug->slot);
	*lu = (struct scsi_lu){ .ops = ops, .bus = bus, .target = plug->slot, .name = name };
	scsi_attention(lu, SCSI_UA_RESET);
	bus->lu[plug->slot] = lu;
	if (bus->plugged)
		bus->plugged(bus, lu->target, true);
	return 0;
}

void scsi_lu_detach(struct scsi_lu *lu)
{
	struct scsi_bus *bus = lu->bus;

	if (!bus || bus->lu[lu->target] != lu)
		return;
	lu->ops->drain(lu, true);
	if (bus->plugged)
		bus->plugged(bus, lu->target, false);
	bus->lu[lu->target] = NULL;
}

int scsi_fw_name(const struct scsi_lu *lu, char *buf, size_t len)
{
	return snprintf(buf, len, "channel@0/disk@%x,0", lu->target);
}

/*
 * Results.
 */
void scsi_end(struct scsi_cmd *c, uint8_t status)
{
	free(c->bounce.iov_base);
	c->bounce.iov_base = NULL;
	c->status = status;
	c->done(c);
}

void scsi_ok(struct scsi_cmd *c)
{
	scsi_end(c, SCSI_GOOD);
}

void scsi_make_sense(uint8_t s[SCSI_SENSE_LEN], uint8_t key, uint8_t asc, uint8_t ascq)
{
	memset(s, 0, SCSI_SENSE_LEN);
	s[0] = 0x70;
	s[2] = key;
	s[7] = SCSI_SENSE_LEN - 8;
	s[12] = asc;
	s[13] = ascq;
}

void scsi_fail(struct scsi_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq)
{
	scsi_make_sense(c->sense, key, asc, ascq);
	scsi_end(c, SCSI_CHECK);
}

void scsi_reply(struct scsi_cmd *c, const void *data, uint32_t len, uint32_t alloc)
{
	c->moved = iov_from_buf(c->in, c->in_num, 0, data, min_of(len, alloc));
	scsi_ok(c);
}

void scsi_attention(struct scsi_lu *lu, uint8_t key, uint8_t asc, uint8_t ascq)
{
	if (lu->ua_asc == 0x29) /* a reset says it all */
		return;
	lu->ua_asc = asc;
	lu->ua_ascq = ascq;
}

void scsi_text(uint8_t *to, const char *text, size_t len)
{
	size_t n = text ? strlen(text) : 0;

	memset(to, ' ', len);
	memcpy(to, text ? text : "", min_of(n, len));
}

/*
 * Commands.
 */
static void report_luns(struct scsi_cmd *c)
{
	uint8_t list[16] = { 0, 0, 0, 8 }; /* one, number 0 */

	if (c->cdb[2] > 2)
		scsi_fail(c, SCSI_INVALID_FIELD);
	else
		scsi_reply(c, list, c->cdb[2] == 1 ? 8 : sizeof(list), ld_be32(c->cdb + 6));
}

/* SPC-4, 6.4.2: there is no such unit here. */
static void no_unit(struct scsi_cmd *c)
{
	uint8_t data[36] = { 0x7f, 0, 5, 2, 31 }, sense[SCSI_SENSE_LEN];

	if (c->cdb[0] == INQUIRY && !(c->cdb[1] & 1)) {
		scsi_text(data + 8, NULL, 28);
		scsi_reply(c, data, sizeof(data), ld_be16(c->cdb + 3));
	} else if (c->cdb[0] == REQUEST_SENSE) {
		scsi_make_sense(sense, SCSI_INVALID_LUN);
		scsi_reply(c, sense, sizeof(sense), c->cdb[4]);
	} else {
		scsi_fail(c, SCSI_INVALID_LUN);
	}
}

void scsi_start(struct scsi_lu *lu, uint64_t lun, struct scsi_cmd *c)
{
	c->lu = lu;
	c->moved = 0;
	c->overrun = false;
	c->bounce = (struct iovec){ NULL, 0 };
	memset(c->sense, 0, sizeof(c->sense));
	if (c->cdb[0] == REPORT_LUNS && (!lun || lun == REPORT_LUNS_UNIT))
		report_luns(c);
	else if (lun)
		no_unit(c);
	else
		lu->ops->start(lu, c);
}

static const struct state_field fields[] = {
	STATE_U8(struct scsi_lu, ua_asc, 1),
	STATE_U8(struct scsi_lu, ua_ascq, 1),
	STATE_END
};

const struct state_desc scsi_lu_state = {
	.name = "scsi-lu", .version = 1, .fields = fields,
};

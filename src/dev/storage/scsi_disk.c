/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk's commands: SBC-3. */
#include "src/dev/storage/scsi_disk.h"

#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/storage/scsi_disk_priv.h"

uint64_t scsi_disk_blocks(const struct scsi_disk *d)
{
	return blk_len(d->blk) / d->logical;
}

bool scsi_disk_parameters(struct scsi_cmd *c, void *buf, uint32_t len)
{
	if (iov_to_buf(c->out, c->out_num, 0, buf, len) == len) {
		c->moved = len;
		return true;
	}
	c->overrun = true;
	scsi_fail(c, SCSI_PARAMETER_LENGTH);
	return false;
}

static void nothing_to_do(struct scsi_disk *d, struct scsi_cmd *c)
{
	scsi_ok(c);
}

static void request_sense(struct scsi_disk *d, struct scsi_cmd *c)
{
	uint8_t sense[SCSI_SENSE_LEN];

	if (c->cdb[1] & 1) { /* descriptor format */
		scsi_fail(c, SCSI_INVALID_FIELD);
		return;
	}
	scsi_make_sense(sense, d->lu.ua_asc ? 6 : 0, d->lu.ua_asc, d->lu.ua_ascq);
	d->lu.ua_asc = d->lu.ua_ascq = 0;
	scsi_reply(c, sense, sizeof(sense), c->cdb[4]);
}

static void service_action_in(struct scsi_disk *d, struct scsi_cmd *c)
{
	if ((c->cdb[1] & 0x1f) == 0x10)
		scsi_disk_read_capacity16(d, c);
	else
		scsi_fail(c, SCSI_INVALID_FIELD);
}

/* ATTENTION: done even while a unit attention waits to be told (SPC-4, 5.14). */
#define ATTENTION 1

static const struct {
	uint8_t opcode, flags;
	scsi_disk_handler *fn;
} commands[] = {
	{ 0x00, 0, nothing_to_do }, /* TEST UNIT READY */
	{ 0x03, ATTENTION, request_sense },
	{ 0x04, 0, nothing_to_do }, /* FORMAT UNIT */
	{ 0x08, 0, scsi_disk_read },
	{ 0x0a, 0, scsi_disk_write },
	{ 0x12, ATTENTION, scsi_disk_inquiry },
	{ 0x15, 0, scsi_disk_mode_select },
	{ 0x16, 0, nothing_to_do }, /* RESERVE (6) */
	{ 0x17, 0, nothing_to_do }, /* RELEASE (6) */
	{ 0x1a, 0, scsi_disk_mode_sense },
	{ 0x1b, 0, nothing_to_do }, /* START STOP UNIT */
	{ 0x1d, 0, nothing_to_do }, /* SEND DIAGNOSTIC: the default self-test */
	{ 0x1e, 0, nothing_to_do }, /* PREVENT ALLOW MEDIUM REMOVAL */
	{ 0x25, 0, scsi_disk_read_capacity10 },
	{ 0x28, 0, scsi_disk_read },
	{ 0x2a, 0, scsi_disk_write },
	{ 0x2e, 0, scsi_disk_write }, /* WRITE AND VERIFY (10) */
	{ 0x2f, 0, scsi_disk_verify },
	{ 0x35, 0, scsi_disk_sync },
	{ 0x41, 0, scsi_disk_write_same },
	{ 0x42, 0, scsi_disk_unmap },
	{ 0x55, 0, scsi_disk_mode_select },
	{ 0x5a, 0, scsi_disk_mode_sense },
	{ 0x88, 0, scsi_disk_read },
	{ 0x8a, 0, scsi_disk_write },
	{ 0x8e, 0, scsi_disk_write }, /* WRITE AND VERIFY (16) */
	{ 0x8f, 0, scsi_disk_verify },
	{ 0x91, 0, scsi_disk_sync },
	{ 0x93, 0, scsi_disk_write_same },
	{ 0x9e, 0, service_action_in },
	{ 0xa8, 0, scsi_disk_read },
	{ 0xaa, 0, scsi_disk_write },
	{ 0xae, 0, scsi_disk_write }, /* WRITE AND VERIFY (12) */
	{ 0xaf, 0, scsi_disk_verify },
};

static void start(struct scsi_lu *lu, struct scsi_cmd *c)
{
	struct scsi_disk *d = container_of(lu, struct scsi_disk, lu);

	for (size_t i = 0; i < array_size(commands); i++) {
		if (commands[i].opcode != c->cdb[0])
			continue;
		if (lu->ua_asc && !(commands[i].flags & ATTENTION)) {
			uint8_t asc = lu->ua_asc, ascq = lu->ua_ascq;

			lu->ua_asc = lu->ua_ascq = 0;
			scsi_fail(c, 6, asc, ascq);
			return;
		}
		commands[i].fn(d, c);
		return;
	}
	scsi_fail(c, SCSI_INVALID_OPCODE);
}

static void unit_reset(struct scsi_lu *lu)
{
	struct scsi_disk *d = container_of(lu, struct scsi_disk, lu);

	d->write_cache = d->write_cache_on;
	lu->ua_asc = 0;
	scsi_attention(lu, SCSI_UA_RESET);
}

static void drain(struct scsi_lu *lu, bool cancel)
{
	struct scsi_disk *d = container_of(lu, struct scsi_disk, lu);

	if (cancel)
		blk_cancel(d->blk);
	else
		blk_drain(d->blk);
}

static const struct scsi_lu_ops ops = { start, unit_reset, drain };

static void reset(void *dev)
{
	unit_reset(&((struct scsi_disk *)dev)->lu);
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct scsi_disk *d = dev;

	if (!blk_node(d->blk))
		return err_set(err, -EINVAL, "scsi-hd: the drive has no medium, and this kind of disk "
			       "cannot do without");
	if (!d->physical)
		d->physical = d->logical;
	if (d->logical & (d->logical - 1) || d->physical & (d->physical - 1) ||
	    d->physical < d->logical)
		return err_set(err, -EINVAL, "scsi-hd: block sizes are powers of two, and the physical "
			       "one is not less than the logical one");
	d->id = plug->id;
	d->write_cache = d->write_cache_on;
	return scsi_lu_attach(&d->lu, &ops, "scsi-hd", plug, err);
}

static void fini(void *dev)
{
	scsi_lu_detach(&((struct scsi_disk *)dev)->lu);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return scsi_fw_name(&((struct scsi_disk *)dev)->lu, buf, len);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct scsi_disk, lu, 1, &scsi_lu_state),
	STATE_BOOL(struct scsi_disk, write_cache, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "scsi-hd", .version = 1, .fields = fields,
};

#define AT(f) offsetof(struct scsi_disk, f)
static const struct dev_prop props[] = {
	{ "drive", DEV_PROP_DRIVE, AT(blk), NULL, true, 0, 0, NULL, "the disk's image" },
	{ "serial", DEV_PROP_TEXT, AT(serial), NULL, false, 0, 36, NULL,
	  "serial number, up to 36 characters" },
	{ "vendor", DEV_PROP_TEXT, AT(vendor), "BOTHY", false, 0, 8, NULL,
	  "vendor, up to 8 characters" },
	{ "product", DEV_PROP_TEXT, AT(product), "DISK", false, 0, 16, NULL,
	  "product, up to 16 characters" },
	{ "ver", DEV_PROP_TEXT, AT(version), "1.0", false, 0, 0, NULL,
	  "revision, up to 4 characters" },
	{ "device_id", DEV_PROP_TEXT, AT(device_id), NULL, false, 0, 0, NULL,
	  "vendor's identification; the serial number if not given" },
	{ "wwn", DEV_PROP_SIZE, AT(wwn), "0", false, 0, 0, NULL,
	  "world wide name, a number of 64 bits; 0: none" },
	{ "logical_block_size", DEV_PROP_UINT, AT(logical), "512", false, 512, 32768, NULL,
	  "bytes of a logical block" },
	{ "physical_block_size", DEV_PROP_UINT, AT(physical), "0", false, 0, 32768, NULL,
	  "bytes of a physical block; 0: as the logical one" },
	{ "min_io_size", DEV_PROP_UINT, AT(min_io), "0", false, 0, 65535, NULL,
	  "bytes: smallest request that is efficient" },
	{ "opt_io_size", DEV_PROP_UINT, AT(opt_io), "0", false, 0, 1u << 30, NULL,
	  "bytes: request size that is best" },
	{ "rotation_rate", DEV_PROP_UINT, AT(rotation_rate), "0", false, 0, 65534, NULL,
	  "turns a minute; 1: nothing turns, 0: not said" },
	{ "discard", DEV_PROP_BOOL, AT(discard), "on", false, 0, 0, NULL,
	  "blocks can be given back" },
	{ "write-cache", DEV_PROP_BOOL, AT(write_cache_on), "on", false, 0, 0, NULL,
	  "off: every write is on stable storage when done" },
	DEV_PROP_END
};

const struct dev_desc scsi_hd_desc = {
	.name = "scsi-hd",
	.title = "SCSI disk",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct scsi_disk),
	.bus = DEV_BUS_SCSI,
	.props = props,
	.init = init,
	.fini = fini,
	.fw_name = fw_name,
};

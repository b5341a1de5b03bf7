/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk: a disk. Source: virtio 1.2, 5.2.
 */
#include <errno.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/block/blk.h"
#include "src/dev/virtio/virtio_pci.h"
#include "src/dev/virtio/virtq_pace.h"

#define SECTOR 512u
#define QUEUES_MAX 64u
#define SMALL (16u << 10) /* larger reads are few enough for an interrupt each */

#define F_SEG_MAX VIRTIO_BIT(2)
#define F_RO VIRTIO_BIT(5)
#define F_BLK_SIZE VIRTIO_BIT(6)
#define F_FLUSH VIRTIO_BIT(9)
#define F_TOPOLOGY VIRTIO_BIT(10)
#define F_CONFIG_WCE VIRTIO_BIT(11)
#define F_MQ VIRTIO_BIT(12)
#define F_DISCARD VIRTIO_BIT(13)
#define F_WRITE_ZEROES VIRTIO_BIT(14)

/* Configuration (5.2.4). */
enum {
	CFG_CAPACITY = 0,
	CFG_SEG_MAX = 12,
	CFG_BLK_SIZE = 20,
	CFG_PHYSICAL_EXP = 24,
	CFG_MIN_IO = 26,
	CFG_OPT_IO = 28,
	CFG_WRITEBACK = 32,
	CFG_NUM_QUEUES = 34,
	CFG_DISCARD_MAX = 36,
	CFG_DISCARD_SEGS = 40,
	CFG_DISCARD_ALIGN = 44,
	CFG_ZEROES_MAX = 48,
	CFG_ZEROES_SEGS = 52,
	CFG_ZEROES_UNMAP = 56,
	CFG_LEN = 60,
};

/* Requests (5.2.6). */
enum {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,
};
#define T_BARRIER 0x80000000u /* legacy drivers' */
#define HEADER_LEN 16u
#define ID_LEN 20u
#define RANGE_LEN 16u
#define RANGE_UNMAP 1u
enum { S_OK, S_IOERR, S_UNSUPP };

struct virtio_blk {
	struct virtio_dev v;
	struct virtio_pci pci;
	struct blk *blk;
	const char *serial;
	uint32_t num_queues, queue_size, logical, physical;
	uint32_t min_io, opt_io;
	bool write_cache, discard, write_zeroes;
	bool resetting;
	struct virtq_pace pace[QUEUES_MAX];
};

struct request {
	struct virtq_elem e;
	struct blk_req b;
	uint8_t *status; /* the byte that the answer goes to */
};

static struct virtio_blk *dev_of(struct request *r)
{
	return container_of(r->e.q->dev, struct virtio_blk, v);
}

/*
 * Answers.
 */
static void finish(struct request *r, uint8_t status, uint32_t written)
{
	struct virtq_pace *pace = &dev_of(r)->pace[r->e.q->index];

	*r->status = status;
	virtq_push(&r->e, written + 1);
	virtq_pace_now(pace);
}

/* The answer to a read that needed no waiting. */
static void finish_at_once(struct request *r, uint32_t len)
{
	struct virtq_pace *pace = &dev_of(r)->pace[r->e.q->index];

	*r->status = S_OK;
	virtq_push(&r->e, len + 1);
	if (len <= SMALL)
		virtq_pace_answered(pace);
	else
		virtq_pace_now(pace);
}

static void on_done(struct blk_req *b, int ret)
{
	struct request *r = container_of(b, struct request, b);

	if (dev_of(r)->resetting)
		virtq_drop(&r->e);
	else
		finish(r, ret ? S_IOERR : S_OK, b->op == BLK_READ && !ret ? (uint32_t)b->len : 0);
}

static void submit(struct request *r, enum blk_op op, uint64_t off, uint64_t len, unsigned flags)
{
	r->b.op = op;
	r->b.off = off;
	r->b.len = len;
	r->b.flags = flags;
	r->b.done = on_done;
	blk_submit(dev_of(r)->blk, &r->b);
}

/* Must a write be on stable storage before it is answered? If the driver chose so, or
 * could not flush (5.2.5.1, 5.2.6.2). */
static bool write_through(const struct virtio_blk *d)
{
	if (virtio_has(&d->v, F_CONFIG_WCE))
		return !d->v.config[CFG_WRITEBACK];
	return !virtio_has(&d->v, F_FLUSH);
}

static bool in_range(const struct virtio_blk *d, uint64_t sector, uint64_t len)
{
	uint64_t sectors = ld_le64(d->v.config + CFG_CAPACITY);

	return !(len % d->logical) && !(sector % (d->logical / SECTOR)) && sector <= sectors &&
	       len / SECTOR <= sectors - sector;
}

/*
 * Requests.
 */
static void read_write(struct request *r, bool write, uint64_t sector)
{
	struct virtio_blk *d = dev_of(r);
	unsigned n = write ? r->e.out_num : r->e.in_num;
	const struct iovec *iov = write ? r->e.out : r->e.in;
	uint64_t len = iov_size(iov, n);
	int ret;

	if (!in_range(d, sector, len) || (write && !blk_writable(d->blk))) {
		finish(r, S_IOERR, 0);
		return;
	}
	r->b.iov = iov;
	r->b.niov = n;
	r->b.op = BLK_READ;
	r->b.off = sector * SECTOR;
	r->b.len = len;
	if (!write && blk_try(d->blk, &r->b, &ret)) {
		if (ret)
			finish(r, S_IOERR, (uint32_t)len);
		else
			finish_at_once(r, (uint32_t)len);
		return;
	}
	submit(r, write ? BLK_WRITE : BLK_READ, sector * SECTOR, len,
	       write && write_through(d) ? BLK_REQ_FUA : 0);
}

/* One range, as max_discard_seg and max_write_zeroes_seg say (5.2.6.1). */
static void clear(struct request *r, bool discard)
{
	struct virtio_blk *d = dev_of(r);
	uint64_t feature = discard ? F_DISCARD : F_WRITE_ZEROES, len, sector;
	uint8_t range[RANGE_LEN];
	uint32_t flags;

	if (!virtio_has(&d->v, feature) || !blk_writable(d->blk) ||
	    iov_size(r->e.out, r->e.out_num) != RANGE_LEN) {
		finish(r, virtio_has(&d->v, feature) ? S_IOERR : S_UNSUPP, 0);
		return;
	}
	iov_to_buf(r->e.out, r->e.out_num, 0, range, sizeof(range));
	sector = ld_le64(range);
	len = (uint64_t)ld_le32(range + 8) * SECTOR;
	flags = ld_le32(range + 12);
	/* 5.2.6.2: unknown flags are unsupported, and unmap says nothing to a discard. */
	if (flags & ~RANGE_UNMAP || (discard && flags))
		finish(r, S_UNSUPP, 0);
	else if (!in_range(d, sector, len) ||
		 len / SECTOR > ld_le32(d->v.config + (discard ? CFG_DISCARD_MAX : CFG_ZEROES_MAX)))
		finish(r, S_IOERR, 0);
	else if (discard)
		submit(r, BLK_DISCARD, sector * SECTOR, len, 0);
	else
		submit(r, BLK_ZERO, sector * SECTOR, len,
		       (flags & RANGE_UNMAP ? BLK_REQ_UNMAP : 0) |
		       (write_through(d) ? BLK_REQ_FUA : 0));
}

static void get_id(struct request *r)
{
	const char *serial = dev_of(r)->serial ? dev_of(r)->serial : "";
	char id[ID_LEN] = "";
	size_t len = strlen(serial);

	memcpy(id, serial, min_of(len, sizeof(id)));
	finish(r, S_OK, (uint32_t)iov_from_buf(r->e.in, r->e.in_num, 0, id, sizeof(id)));
}

static void handle(void *req)
{
	struct request *r = req;
	struct virtio_dev *v = r->e.q->dev;
	uint8_t header[HEADER_LEN];
	struct iovec *last;

	if (!r->e.in_num || iov_to_buf(r->e.out, r->e.out_num, 0, header, HEADER_LEN) != HEADER_LEN) {
		virtio_broken(v, "a request without a header or a place for the answer");
		virtq_drop(&r->e);
		return;
	}
	iov_cut_front(&r->e.out, &r->e.out_num, HEADER_LEN);
	last = &r->e.in[r->e.in_num - 1];
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	iov_cut_back(r->e.in, &r->e.in_num, 1);
	switch (ld_le32(header) & ~T_BARRIER) {
	case T_IN:
	case T_OUT:
		read_write(r, ld_le32(header) & T_OUT, ld_le64(header + 8));
		break;
	case T_FLUSH:
		submit(r, BLK_FLUSH, 0, 0, 0);
		break;
	case T_GET_ID:
		get_id(r);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		clear(r, (ld_le32(header) & ~T_BARRIER) == T_DISCARD);
		break;
	default:
		finish(r, S_UNSUPP, 0);
		break;
	}
}

static void notify(struct virtio_dev *v, struct virtq *q)
{
	struct virtio_blk *d = container_of(v, struct virtio_blk, v);

	blk_plug(d->blk);
	virtq_serve(q, sizeof(struct request), handle);
	blk_unplug(d->blk);
}

static void retake(struct virtio_dev *v, struct virtq *q, uint16_t head)
{
	struct request *r = virtq_retake(q, sizeof(*r), head);

	if (r)
		handle(r);
}

/*
 * Life.
 */
static void set_config(struct virtio_blk *d)
{
	uint8_t *c = d->v.config;
	uint32_t align = max_of(blk_io_align(d->blk), d->logical), exp = 0;
	uint32_t max = (uint32_t)(align_down((uint64_t)INT32_MAX, align) / SECTOR);

	while (d->logical << exp < d->physical)
		exp++;
	st_le64(c + CFG_CAPACITY, align_down(blk_len(d->blk), d->logical) / SECTOR);
	st_le32(c + CFG_SEG_MAX, d->queue_size > 2 ? d->queue_size - 2 : 1);
	st_le32(c + CFG_BLK_SIZE, d->logical);
	c[CFG_PHYSICAL_EXP] = (uint8_t)exp;
	st_le16(c + CFG_MIN_IO, (uint16_t)(d->min_io / d->logical));
	st_le32(c + CFG_OPT_IO, d->opt_io / d->logical);
	c[CFG_WRITEBACK] = d->write_cache;
	st_le16(c + CFG_NUM_QUEUES, (uint16_t)d->num_queues);
	st_le32(c + CFG_DISCARD_MAX, max);
	st_le32(c + CFG_DISCARD_SEGS, 1);
	st_le32(c + CFG_DISCARD_ALIGN, align / SECTOR);
	st_le32(c + CFG_ZEROES_MAX, max);
	st_le32(c + CFG_ZEROES_SEGS, 1);
	c[CFG_ZEROES_UNMAP] = 1;
}

/* The disk has another length: the driver is told to read the capacity again. */
static void resized(void *opaque)
{
	struct virtio_blk *d = opaque;

	st_le64(d->v.config + CFG_CAPACITY, align_down(blk_len(d->blk), d->logical) / SECTOR);
	virtio_config_changed(&d->v);
}

static void device_reset(struct virtio_dev *v)
{
	struct virtio_blk *d = container_of(v, struct virtio_blk, v);

	d->resetting = true;
	blk_cancel(d->blk);
	d->resetting = false;
	for (unsigned n = 0; n < d->num_queues; n++)
		virtq_pace_reset(&d->pace[n]);
	set_config(d);
}

static void queue_reset(struct virtio_dev *v, struct virtq *q)
{
	/* Requests of other queues are answered, this one's soon stale. */
	struct virtio_blk *d = container_of(v, struct virtio_blk, v);

	blk_cancel(d->blk);
	virtq_pace_reset(&d->pace[q->index]);
}

static const struct virtio_ops ops = {
	.notify = notify, .retake = retake, .reset = device_reset, .queue_reset = queue_reset,
};

static void reset(void *dev)
{
	struct virtio_blk *d = dev;

	virtio_pci_reset(&d->pci);
}

static int check(const struct virtio_blk *d, struct err *err)
{
	if (!d->blk)
		return err_set(err, -EINVAL, "virtio-blk needs a drive; say drive=ID");
	if (d->queue_size & (d->queue_size - 1))
		return err_set(err, -EINVAL, "virtio-blk: queue-size must be a power of two");
	if (d->logical & (d->logical - 1) || d->physical & (d->physical - 1) ||
	    d->physical < d->logical)
		return err_set(err, -EINVAL, "virtio-blk: block sizes are powers of two, and the "
			       "physical one is not less than the logical one");
	if (!blk_node((struct blk *)d->blk))
		return err_set(err, -EINVAL, "virtio-blk: the drive has no medium, and this kind of "
			       "disk cannot do without");
	return 0;
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct virtio_blk *d = dev;
	uint64_t offered = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE;
	int ret;

	if (!d->physical)
		d->physical = d->logical;
	ret = check(d, err);
	if (ret < 0)
		return ret;
	if (!blk_writable(d->blk))
		offered |= F_RO;
	else
		offered |= (d->discard ? F_DISCARD : 0) | (d->write_zeroes ? F_WRITE_ZEROES : 0);
	if (d->num_queues > 1)
		offered |= F_MQ;
	virtio_init(&d->v, &ops, VIRTIO_ID_BLOCK, "virtio-blk", plug->env, offered, CFG_LEN);
	d->v.config_wmask[CFG_WRITEBACK] = 1;
	for (unsigned n = 0; n < d->num_queues; n++)
		virtq_pace_init(&d->pace[n], virtio_queue_add(&d->v, d->queue_size));
	ret = virtio_pci_init(&d->pci, &d->v, plug, 0x010000, err);
	if (ret < 0)
		virtio_fini(&d->v);
	else
		blk_on_resize(d->blk, resized, d);
	return ret;
}

static void fini(void *dev)
{
	struct virtio_blk *d = dev;

	blk_on_resize(d->blk, NULL, NULL);
	virtio_pci_fini(&d->pci);
	for (unsigned n = 0; n < d->num_queues; n++)
		virtq_pace_fini(&d->pace[n]);
	virtio_fini(&d->v);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return virtio_pci_fw_name(&((struct virtio_blk *)dev)->pci, "scsi", "/disk@0,0", buf, len);
}

static void pre_save(void *obj)
{
	blk_drain(((struct virtio_blk *)obj)->blk);
}

static const char *unsavable(void *dev)
{
	pre_save(dev);
	return virtio_unsavable(&((struct virtio_blk *)dev)->v);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct virtio_blk *d = obj;

	for (unsigned n = 0; n < d->num_queues; n++)
		virtq_pace_restored(&d->pace[n]);
	return 0;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct virtio_blk, v, 1, &virtio_dev_state),
	STATE_STRUCT(struct virtio_blk, pci, 1, &virtio_pci_state),
	STATE_END
};

static const struct state_desc state = {
	.name = "virtio-blk", .version = 1, .fields = fields, .pre_save = pre_save,
	.post_load = post_load,
};

static const struct dev_prop props[] = {
	{ "drive", DEV_PROP_DRIVE, offsetof(struct virtio_blk, blk), NULL, true, 0, 0, NULL,
	  "the disk's image" },
	{ "serial", DEV_PROP_TEXT, offsetof(struct virtio_blk, serial), NULL, false, 0, 20, NULL,
	  "serial number, up to 20 characters" },
	{ "num-queues", DEV_PROP_UINT, offsetof(struct virtio_blk, num_queues), "1", false, 1, 64,
	  NULL, "request queues" },
	{ "queue-size", DEV_PROP_UINT, offsetof(struct virtio_blk, queue_size), "256", false, 4,
	  VIRTQ_MAX_SIZE, NULL, "entries of a queue, a power of two" },
	{ "logical_block_size", DEV_PROP_UINT, offsetof(struct virtio_blk, logical), "512", false,
	  512, 32768, NULL, "bytes of a logical block" },
	{ "physical_block_size", DEV_PROP_UINT, offsetof(struct virtio_blk, physical), "0", false,
	  0, 32768, NULL, "bytes of a physical block; 0: as the logical one" },
	{ "min_io_size", DEV_PROP_UINT, offsetof(struct virtio_blk, min_io), "0", false, 0, 65535,
	  NULL, "bytes: smallest request that is efficient" },
	{ "opt_io_size", DEV_PROP_UINT, offsetof(struct virtio_blk, opt_io), "0", false, 0,
	  1u << 30, NULL, "bytes: request size that is best" },
	{ "write-cache", DEV_PROP_BOOL, offsetof(struct virtio_blk, write_cache), "on", false, 0, 0,
	  NULL, "off: every write is on stable storage when done" },
	{ "discard", DEV_PROP_BOOL, offsetof(struct virtio_blk, discard), "on", false, 0, 0, NULL,
	  "offer discard" },
	{ "write-zeroes", DEV_PROP_BOOL, offsetof(struct virtio_blk, write_zeroes), "on", false,
	  0, 0, NULL, "offer writing of zeroes" },
	VIRTIO_PCI_PROPS(struct virtio_blk, pci),
	DEV_PROP_END
};

const struct dev_desc virtio_blk_desc = {
	.name = "virtio-blk",
	.aliases = "virtio-blk-pci|virtio-blk-pci-transitional",
	.title = "virtio disk",
	.reset = reset,
	.state = &state,
	.unsavable = unsavable,
	.size = sizeof(struct virtio_blk),
	.bus = DEV_BUS_PCI,
	.props = props,
	.init = init,
	.fini = fini,
	.fw_name = fw_name,
};

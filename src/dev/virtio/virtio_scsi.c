/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-scsi: a SCSI controller. Source: virtio 1.2, 5.6. Its units are in
 * src/dev/storage/.
 */
#include <errno.h>
#include <stdlib.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/storage/scsi.h"
#include "src/dev/virtio/virtio_pci.h"

#define F_HOTPLUG VIRTIO_BIT(1)
#define F_CHANGE VIRTIO_BIT(2)

enum { QUEUE_CONTROL, QUEUE_EVENT, QUEUE_REQUEST };

/* Configuration (5.6.4). */
enum {
	CFG_NUM_QUEUES = 0,
	CFG_SEG_MAX = 4,
	CFG_MAX_SECTORS = 8,
	CFG_CMD_PER_LUN = 12,
	CFG_EVENT_SIZE = 16,
	CFG_SENSE_SIZE = 20,
	CFG_CDB_SIZE = 24,
	CFG_MAX_CHANNEL = 28,
	CFG_MAX_TARGET = 30,
	CFG_MAX_LUN = 32,
	CFG_LEN = 36,
};
#define SENSE_SIZE 96u
#define CDB_SIZE 32u
#define EVENT_LEN 16u
#define REQ_HEADER 19u /* before the CDB */
#define RESP_HEADER 12u /* before the sense data */
#define TMF_LEN 24u
#define AN_LEN 16u

/* Responses (5.6.6.1.1, 5.6.6.2). */
enum {
	S_OK = 0,
	S_OVERRUN = 1,
	S_ABORTED = 2,
	S_BAD_TARGET = 3,
	S_RESET = 4,
	S_FAILURE = 9,
	S_REJECTED = 11,
	S_SUCCEEDED = 10,
	S_INCORRECT_LUN = 12,
};

/* Task management (5.6.6.2). */
enum {
	TMF_ABORT_TASK,
	TMF_ABORT_TASK_SET,
	TMF_CLEAR_ACA,
	TMF_CLEAR_TASK_SET,
	TMF_NEXUS_RESET,
	TMF_UNIT_RESET,
	TMF_QUERY_TASK,
	TMF_QUERY_TASK_SET,
};
enum { T_TMF, T_AN_QUERY, T_AN_SUBSCRIBE };

/* Events (5.6.6.3). */
#define EV_MISSED 0x80000000u
#define EV_TRANSPORT_RESET 1u
#define EV_PARAM_CHANGE 3u
#define EV_RESCAN 1u
#define EV_REMOVED 2u

struct request;

struct virtio_scsi {
	struct scsi_bus bus; /* must be first */
	struct virtio_dev v;
	struct virtio_pci pci;
	uint32_t num_queues, queue_size, max_sectors, cmd_per_lun;
	struct request *live; /* requests under way */
	bool resetting;
	bool missed; /* an event found no buffer */
};

/* A task management function that waits for the requests it ends. */
struct tmf {
	struct virtq_elem e;
	unsigned pending;
	struct scsi_lu *reset; /* to be reset when they have ended */
};

struct request {
	struct virtq_elem e;
	struct scsi_cmd c;
	struct virtio_scsi *s;
	struct scsi_lu *lu;
	uint64_t tag;
	struct iovec *in; /* data */
	unsigned in_num;
	uint32_t resp_len;
	uint8_t response; /* if it was aborted */
	struct tmf *tmf;
	struct request *next, **pprev;
};

static struct virtio_scsi *dev_of(struct virtio_dev *v)
{
	return container_of(v, struct virtio_scsi, v);
}

/*
 * Addresses (5.6.6.1): byte 0 is 1, byte 1 the target, then a logical unit number as SAM
 * has it, of one level.
 */
static struct scsi_lu *find(struct virtio_scsi *s, const uint8_t lun[8], uint64_t *unit)
{
	uint16_t n = ld_be16(lun + 2);

	if (lun[0] != 1)
		return NULL;
	*unit = n >> 14 == 3 ? n : n & 0x3fff;
	return s->bus.lu[lun[1]];
}

/*
 * Requests.
 */
static void respond(struct request *r, uint8_t response)
{
	struct virtq *q = r->e.q;
	uint8_t resp[RESP_HEADER + SENSE_SIZE] = { 0 };
	bool overrun = response == S_OK && r->c.overrun;
	uint64_t want = max_of(r->c.out_len, r->c.in_len), moved = r->c.moved;

	if (response == S_OK && r->c.status == SCSI_CHECK) {
		st_le32(resp, SCSI_SENSE_LEN);
		memcpy(resp + RESP_HEADER, r->c.sense, SCSI_SENSE_LEN);
	}
	if (response == S_OK) {
		st_le32(resp + 4, (uint32_t)(want - min_of(want, moved)));
		resp[10] = r->c.status;
	}
	resp[11] = overrun ? S_OVERRUN : response;
	iov_from_buf(r->e.whole_in, r->e.whole_in_num, 0, resp, min_of(r->resp_len, sizeof(resp)));
	virtq_push(&r->e, r->resp_len + (r->c.in_len ? (uint32_t)moved : 0));
	virtq_interrupt(q);
}

static void tmf_finish(struct tmf *t, uint8_t response)
{
	struct virtq *q = t->e.q;

	if (t->reset)
		t->reset->ops->reset(t->reset);
	iov_from_buf(t->e.in, t->e.in_num, 0, &response, 1);
	virtq_push(&t->e, 1);
	virtq_interrupt(q);
}

static void on_done(struct scsi_cmd *c)
{
	struct request *r = container_of(c, struct request, c);
	struct virtio_scsi *s = r->s;
	struct tmf *t = r->tmf;

	*r->pprev = r->next;
	if (r->next)
		r->next->pprev = r->pprev;
	if (s->resetting)
		virtq_drop(&r->e);
	else
		respond(r, c->status == SCSI_ABORTED && !r->response ? S_ABORTED : r->response);
	if (t && --t->pending == 0) {
		if (s->resetting)
			virtq_drop(&t->e);
		else
			tmf_finish(t, S_OK);
	}
}

static bool parse(struct request *r, struct virtio_scsi *s, uint8_t lun[8])
{
	uint32_t cdb_size = ld_le32(s->v.config + CFG_CDB_SIZE), head = REQ_HEADER + cdb_size;
	uint8_t header[REQ_HEADER + 256];

	r->resp_len = RESP_HEADER + ld_le32(s->v.config + CFG_SENSE_SIZE);
	if (iov_to_buf(r->e.out, r->e.out_num, 0, header, head) != head ||
	    r->e.in_len < r->resp_len)
		return false;
	memcpy(lun, header, 8);
	r->tag = ld_le64(header + 8);
	memcpy(r->c.cdb, header + REQ_HEADER, min_of(cdb_size, SCSI_CDB_MAX));
	iov_cut_front(&r->e.out, &r->e.out_num, head);
	iov_cut_front(&r->e.in, &r->e.in_num, r->resp_len);
	r->c.out = r->e.out;
	r->c.out_num = r->e.out_num;
	r->c.out_len = r->e.out_len - head;
	r->c.in = r->e.in;
	r->c.in_num = r->e.in_num;
	r->c.in_len = r->e.in_len - r->resp_len;
	return true;
}

static void handle_request(void *req)
{
	struct request *r = req;
	struct virtio_scsi *s = dev_of(r->e.q->dev);
	uint64_t unit = 0;
	uint8_t lun[8];

	r->s = s;
	if (!parse(r, s, lun)) {
		virtio_broken(&s->v, "a request too short for its header or answer");
		virtq_drop(&r->e);
		return;
	}
	r->lu = find(s, lun, &unit);
	if (!r->lu || (r->c.out_len && r->c.in_len)) { /* both ways was not offered */
		respond(r, r->lu ? S_FAILURE : S_BAD_TARGET);
		return;
	}
	r->next = s->live;
	r->pprev = &s->live;
	if (s->live)
		s->live->pprev = &r->next;
	s->live = r;
	r->c.done = on_done;
	scsi_start(r->lu, unit, &r->c);
}

/*
 * Control.
 */
static bool concerns(const struct request *r, const struct scsi_lu *lu, const uint8_t *tag)
{
	return r->lu == lu && (!tag || r->tag == ld_le64(tag));
}

/* Requests of @lu (@tag: with this tag) are aborted; the answer comes when they are gone. */
static void abort_tasks(struct virtio_scsi *s, struct tmf *t, struct scsi_lu *lu,
			const uint8_t *tag, uint8_t response)
{
	for (struct request *r = s->live; r; r = r->next) {
		if (!concerns(r, lu, tag) || r->tmf)
			continue;
		r->tmf = t;
		r->response = response;
		t->pending++;
	}
	if (!t->pending)
		tmf_finish(t, S_OK);
}

static void query_tasks(struct virtio_scsi *s, struct tmf *t, const struct scsi_lu *lu,
			const uint8_t *tag)
{
	uint8_t response = S_OK;

	for (struct request *r = s->live; r; r = r->next)
		if (concerns(r, lu, tag))
			response = S_SUCCEEDED;
	tmf_finish(t, response);
}

static void task_management(struct virtio_scsi *s, struct tmf *t, const uint8_t *h)
{
	const uint8_t *lun = h + 8, *tag = h + 16;
	uint64_t unit = 0;
	struct scsi_lu *lu = find(s, lun, &unit);

	if (!lu || (unit && ld_le32(h + 4) != TMF_NEXUS_RESET)) {
		tmf_finish(t, lu ? S_INCORRECT_LUN : S_BAD_TARGET);
		return;
	}
	switch (ld_le32(h + 4)) {
	case TMF_ABORT_TASK:
		abort_tasks(s, t, lu, tag, S_ABORTED);
		break;
	case TMF_ABORT_TASK_SET:
	case TMF_CLEAR_TASK_SET:
		abort_tasks(s, t, lu, NULL, S_ABORTED);
		break;
	case TMF_NEXUS_RESET:
	case TMF_UNIT_RESET:
		t->reset = lu;
		abort_tasks(s, t, lu, NULL, S_RESET);
		break;
	case TMF_QUERY_TASK:
		query_tasks(s, t, lu, tag);
		break;
	case TMF_QUERY_TASK_SET:
		query_tasks(s, t, lu, NULL);
		break;
	default:
		tmf_finish(t, S_REJECTED);
		break;
	}
}

/* No events of units are known (5.6.6.2, asynchronous notification). */
static void no_events(struct tmf *t)
{
	struct virtq *q = t->e.q;
	uint8_t resp[5] = { 0 };

	iov_from_buf(t->e.in, t->e.in_num, 0, resp, sizeof(resp));
	virtq_push(&t->e, sizeof(resp));
	virtq_interrupt(q);
}

static void handle_control(void *req)
{
	struct tmf *t = req;
	struct virtio_scsi *s = dev_of(t->e.q->dev);
	uint8_t h[TMF_LEN] = { 0 };
	size_t len = iov_to_buf(t->e.out, t->e.out_num, 0, h, sizeof(h));
	uint32_t type = ld_le32(h);

	if (len >= TMF_LEN && type == T_TMF && t->e.in_len >= 1) {
		task_management(s, t, h);
	} else if (len >= AN_LEN && (type == T_AN_QUERY || type == T_AN_SUBSCRIBE) &&
		   t->e.in_len >= 5) {
		no_events(t);
	} else {
		virtio_broken(&s->v, "a control request of unknown kind or wrong length");
		virtq_drop(&t->e);
	}
}

/*
 * Events.
 */
static void send_event(struct virtio_scsi *s, uint32_t event, unsigned target, uint32_t reason)
{
	struct virtq *q = &s->v.vq[QUEUE_EVENT];
	struct virtq_elem *e;
	uint8_t msg[EVENT_LEN] = { 0 };

	if (!virtio_running(&s->v))
		return;
	e = virtq_pop_or_listen(q, sizeof(*e));
	if (!e) {
		s->missed = true;
		return;
	}
	if (e->in_len < EVENT_LEN) {
		virtio_broken(&s->v, "an event buffer that is too short");
		virtq_drop(e);
		return;
	}
	st_le32(msg, event | (s->missed ? EV_MISSED : 0));
	if (event) {
		msg[4] = 1;
		msg[5] = (uint8_t)target;
	}
	st_le32(msg + 12, reason);
	s->missed = false;
	iov_from_buf(e->in, e->in_num, 0, msg, sizeof(msg));
	virtq_push(e, sizeof(msg));
	virtq_interrupt(q);
}

static void plugged(struct scsi_bus *b, unsigned target, bool here)
{
	struct virtio_scsi *s = container_of(b, struct virtio_scsi, bus);

	if (virtio_has(&s->v, F_HOTPLUG))
		send_event(s, EV_TRANSPORT_RESET, target, here ? EV_RESCAN : EV_REMOVED);
}

static void changed(struct scsi_bus *b, unsigned target, uint8_t asc, uint8_t ascq)
{
	struct virtio_scsi *s = container_of(b, struct virtio_scsi, bus);

	if (virtio_has(&s->v, F_CHANGE))
		send_event(s, EV_PARAM_CHANGE, target, asc | (uint32_t)ascq << 8);
}

static void notify(struct virtio_dev *v, struct virtq *q)
{
	struct virtio_scsi *s = dev_of(v);

	if (q->index >= QUEUE_REQUEST)
		virtq_serve(q, sizeof(struct request), handle_request);
	else if (q->index == QUEUE_CONTROL)
		virtq_serve(q, sizeof(struct tmf), handle_control);
	else if (s->missed) /* there is room again: say that something was lost */
		send_event(s, 0, 0, 0);
}

/*
 * Life.
 */
static void set_config(struct virtio_scsi *s)
{
	uint8_t *c = s->v.config;

	st_le32(c + CFG_NUM_QUEUES, s->num_queues);
	st_le32(c + CFG_SEG_MAX, s->queue_size - 2);
	st_le32(c + CFG_MAX_SECTORS, s->max_sectors);
	st_le32(c + CFG_CMD_PER_LUN, s->cmd_per_lun);
	st_le32(c + CFG_EVENT_SIZE, EVENT_LEN);
	st_le32(c + CFG_SENSE_SIZE, SENSE_SIZE);
	st_le32(c + CFG_CDB_SIZE, CDB_SIZE);
	st_le16(c + CFG_MAX_TARGET, SCSI_TARGETS - 1);
	st_le32(c + CFG_MAX_LUN, 16383);
}

static void each_unit(struct virtio_scsi *s, void (*fn)(struct scsi_lu *lu))
{
	for (unsigned n = 0; n < SCSI_TARGETS; n++)
		if (s->bus.lu[n])
			fn(s->bus.lu[n]);
}

static void cancel(struct scsi_lu *lu) { lu->ops->drain(lu, true); }
static void drain(struct scsi_lu *lu) { lu->ops->drain(lu, false); }
static void unit_reset(struct scsi_lu *lu) { lu->ops->reset(lu); }

static void device_reset(struct virtio_dev *v)
{
	struct virtio_scsi *s = dev_of(v);

	s->resetting = true;
	each_unit(s, cancel);
	each_unit(s, unit_reset);
	s->resetting = s->missed = false;
	set_config(s);
}

static void queue_reset(struct virtio_dev *v, struct virtq *q)
{
	if (q->index >= QUEUE_REQUEST)
		each_unit(dev_of(v), cancel);
}

/* The driver chooses how much of CDBs and sense data is sent; up to what we know. */
static void config_written(struct virtio_dev *v, unsigned off, unsigned len)
{
	uint8_t *c = v->config;

	if (ld_le32(c + CFG_SENSE_SIZE) > SENSE_SIZE)
		st_le32(c + CFG_SENSE_SIZE, SENSE_SIZE);
	if (ld_le32(c + CFG_CDB_SIZE) > CDB_SIZE || ld_le32(c + CFG_CDB_SIZE) < 16)
		st_le32(c + CFG_CDB_SIZE, CDB_SIZE);
}

static void retake(struct virtio_dev *v, struct virtq *q, uint16_t head)
{
	bool request = q->index >= QUEUE_REQUEST;
	void *r = q->index == QUEUE_EVENT ? NULL
		: virtq_retake(q, request ? sizeof(struct request) : sizeof(struct tmf), head);

	if (r && request)
		handle_request(r);
	else if (r)
		handle_control(r);
}

static const struct virtio_ops ops = {
	.notify = notify, .retake = retake, .reset = device_reset, .queue_reset = queue_reset,
	.config_written = config_written,
};

static void reset(void *dev)
{
	virtio_pci_reset(&((struct virtio_scsi *)dev)->pci);
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct virtio_scsi *s = dev;
	int ret;

	if (s->queue_size & (s->queue_size - 1))
		return err_set(err, -EINVAL, "virtio-scsi: virtqueue_size must be a power of two");
	virtio_init(&s->v, &ops, VIRTIO_ID_SCSI, "virtio-scsi", plug->env, F_HOTPLUG | F_CHANGE,
		    CFG_LEN);
	memset(s->v.config_wmask + CFG_SENSE_SIZE, 0xff, 8);
	virtio_queue_add(&s->v, s->queue_size);
	virtio_queue_add(&s->v, s->queue_size);
	for (unsigned n = 0; n < s->num_queues; n++)
		virtio_queue_add(&s->v, s->queue_size);
	ret = virtio_pci_init(&s->pci, &s->v, plug, 0x010000, err);
	if (ret < 0) {
		virtio_fini(&s->v);
		return ret;
	}
	s->bus.plugged = plugged;
	s->bus.changed = changed;
	return 0;
}

static void fini(void *dev)
{
	struct virtio_scsi *s = dev;

	virtio_pci_fini(&s->pci);
	virtio_fini(&s->v);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return virtio_pci_fw_name(&((struct virtio_scsi *)dev)->pci, "scsi", "", buf, len);
}

static void pre_save(void *obj)
{
	each_unit(obj, drain);
}

static const char *unsavable(void *dev)
{
	pre_save(dev);
	return virtio_unsavable(&((struct virtio_scsi *)dev)->v);
}

static int loaded(void *obj, unsigned version, struct err *err)
{
	config_written(&((struct virtio_scsi *)obj)->v, 0, 0);
	return 0;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct virtio_scsi, v, 1, &virtio_dev_state),
	STATE_STRUCT(struct virtio_scsi, pci, 1, &virtio_pci_state),
	STATE_BOOL(struct virtio_scsi, missed, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "virtio-scsi", .version = 1, .fields = fields, .pre_save = pre_save,
	.post_load = loaded,
};

static const struct dev_prop props[] = {
	{ "num_queues", DEV_PROP_UINT, offsetof(struct virtio_scsi, num_queues), "1", false, 1, 64,
	  NULL, "request queues" },
	{ "virtqueue_size", DEV_PROP_UINT, offsetof(struct virtio_scsi, queue_size), "256", false,
	  4, VIRTQ_MAX_SIZE, NULL, "entries of a queue, a power of two" },
	{ "max_sectors", DEV_PROP_UINT, offsetof(struct virtio_scsi, max_sectors), "65535", false,
	  1, 65535, NULL, "sectors of 512 bytes in one request" },
	{ "cmd_per_lun", DEV_PROP_UINT, offsetof(struct virtio_scsi, cmd_per_lun), "128", false, 1,
	  1024, NULL, "requests of one unit at a time" },
	VIRTIO_PCI_PROPS(struct virtio_scsi, pci),
	DEV_PROP_END
};

const struct dev_desc virtio_scsi_desc = {
	.name = "virtio-scsi",
	.aliases = "virtio-scsi-pci|virtio-scsi-pci-transitional",
	.title = "virtio SCSI controller",
	.reset = reset,
	.state = &state,
	.unsavable = unsavable,
	.size = sizeof(struct virtio_scsi),
	.bus = DEV_BUS_PCI,
	.provides = DEV_BUS_SCSI,
	.slots = SCSI_TARGETS,
	.props = props,
	.init = init,
	.fini = fini,
	.fw_name = fw_name,
};

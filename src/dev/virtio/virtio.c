/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status, features, configuration: what all virtio devices have in common. */
#include "src/dev/virtio/virtio.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/dev/virtio/virtio_priv.h"

#define AGAIN_NS 20000 /* long enough for a guest to get the device lock */

/* What the saved machine had begun begins anew. */
static void retake(struct virtio_dev *v)
{
	uint8_t taken[sizeof(v->vq[0].taken)];

	v->retake = false;
	for (unsigned n = 0; n < v->nvq; n++) {
		memcpy(taken, v->vq[n].taken, sizeof(taken));
		memset(v->vq[n].taken, 0, sizeof(taken));
		for (unsigned id = 0; id < v->vq[n].size; id++)
			if (taken[id / 8] >> (id % 8) & 1 && virtio_running(v))
				v->ops->retake(v, &v->vq[n], (uint16_t)id);
	}
}

static void again(void *opaque)
{
	struct virtio_dev *v = opaque;

	if (v->retake)
		retake(v);
	for (unsigned n = 0; n < v->nvq; n++) {
		if (!v->vq[n].again)
			continue;
		v->vq[n].again = false;
		virtio_notify(v, n);
	}
}

void virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, enum virtio_id id,
		 const char *name, const struct dev_env *env, uint64_t offered,
		 unsigned config_len)
{
	assert(config_len <= VIRTIO_CONFIG_MAX);
	*v = (struct virtio_dev){
		.ops = ops, .env = env, .name = name, .id = id, .offered = offered,
		.config_len = config_len,
	};
	vtimer_init(&v->again, env->vtime, again, v);
}

void virtio_fini(struct virtio_dev *v)
{
	if (v->env)
		vtimer_cancel(&v->again);
}

struct virtq *virtio_queue_add(struct virtio_dev *v, unsigned max_size)
{
	struct virtq *q = &v->vq[v->nvq];

	assert(v->nvq < VIRTIO_MAX_QUEUES && max_size && max_size <= VIRTQ_MAX_SIZE &&
	       !(max_size & (max_size - 1)));
	*q = (struct virtq){ .dev = v, .index = (uint16_t)v->nvq, .max_size = (uint16_t)max_size };
	v->nvq++;
	virtq_reset(q);
	return q;
}

void virtq_again(struct virtq *q)
{
	struct virtio_dev *v = q->dev;

	q->again = true;
	if (!vtimer_armed(&v->again))
		vtimer_arm(&v->again, vtime_now_ns(v->env->vtime) + AGAIN_NS);
}

/*
 * What goes wrong.
 */
void virtio_broken(struct virtio_dev *v, const char *fmt, ...)
{
	char why[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	log_guest(v->env->log, &v->limit, "%s: %s; the device waits for a reset", v->name, why);
	if (v->broken)
		return;
	v->broken = true;
	if (virtio_has(v, VIRTIO_F_VERSION_1)) {
		v->status |= VIRTIO_STATUS_NEEDS_RESET;
		if (v->status & VIRTIO_STATUS_DRIVER_OK)
			virtio_config_changed(v);
	}
}

void virtio_config_changed(struct virtio_dev *v)
{
	v->generation++;
	if (v->transport && v->status & VIRTIO_STATUS_DRIVER_OK)
		v->transport_ops->config_irq(v->transport);
}

/*
 * The driver's side.
 */
void virtio_reset(struct virtio_dev *v)
{
	uint8_t old = v->status;

	v->ops->reset(v);
	vtimer_cancel(&v->again);
	for (unsigned n = 0; n < v->nvq; n++)
		virtq_reset(&v->vq[n]);
	v->status = 0;
	v->features = 0;
	v->asked_too_much = v->broken = v->legacy = false;
	if (old && v->ops->status)
		v->ops->status(v, old);
}

void virtio_set_features(struct virtio_dev *v, uint64_t features)
{
	v->asked_too_much = features & ~v->offered;
	v->features = features & v->offered;
	/* The rings' layout and lengths follow from them. */
	for (unsigned n = 0; n < v->nvq; n++)
		v->vq[n].mapped = 0;
}

void virtio_set_status(struct virtio_dev *v, uint8_t status)
{
	uint8_t old = v->status;

	if (!status) {
		virtio_reset(v);
		return;
	}
	status &= VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK |
		  VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED;
	/* 3.1.1: the bit does not stay if the features make no sense together. */
	if (status & ~old & VIRTIO_STATUS_FEATURES_OK &&
	    (v->asked_too_much || (!v->legacy && !virtio_has(v, VIRTIO_F_VERSION_1))))
		status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	/* 3.1.1 step 8 follows step 5; a legacy driver knows no step 5. */
	if (status & ~old & VIRTIO_STATUS_DRIVER_OK && !v->legacy &&
	    !(status & VIRTIO_STATUS_FEATURES_OK)) {
		log_guest(v->env->log, &v->limit, "%s: the driver starts without its features "
			  "accepted", v->name);
		status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	}
	/* 2.1.1: only a reset takes this one back, and with it what the features are. */
	v->status = status | (old & (VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FEATURES_OK));
	if (v->status != old && v->ops->status)
		v->ops->status(v, old);
}

const char *virtio_unsavable(const struct virtio_dev *v)
{
	for (unsigned n = 0; v->features & VIRTIO_F_RING_PACKED && n < v->nvq; n++)
		if (v->vq[n].in_flight)
			return "requests wait for the host's disk, and a driver with packed rings "
			       "cannot be asked for them again; make room on the disk, let the "
			       "machine go on (cont), and save it then";
	return NULL;
}

void virtio_notify(struct virtio_dev *v, unsigned n)
{
	if (n < v->nvq && virtio_running(v) && v->vq[n].enabled)
		v->ops->notify(v, &v->vq[n]);
}

uint32_t virtio_config_read(struct virtio_dev *v, unsigned off, unsigned size)
{
	uint32_t val = 0;

	if (v->ops->config_read)
		v->ops->config_read(v);
	for (unsigned n = 0; n < size; n++)
		if (off + n < v->config_len)
			val |= (uint32_t)v->config[off + n] << (8 * n);
	return val;
}

void virtio_config_write(struct virtio_dev *v, unsigned off, uint32_t val, unsigned size)
{
	bool any = false;

	for (unsigned n = 0; n < size && off + n < v->config_len; n++) {
		uint8_t mask = v->config_wmask[off + n], *c = &v->config[off + n];

		*c = (uint8_t)((*c & ~mask) | ((val >> (8 * n)) & mask));
		any |= mask;
	}
	if (any && v->ops->config_written)
		v->ops->config_written(v, off, size);
}

/*
 * State. Configuration is what the device makes it, but for what the driver may write.
 */
static int queue_loaded(void *obj, unsigned version, struct err *err)
{
	struct virtq *q = obj;
	struct virtio_dev *v = q->dev;

	if (!v) { /* not one of this device's */
		bool enabled = q->enabled;

		q->enabled = false;
		return enabled ? err_set(err, -EINVAL, "a queue that is not there") : 0;
	}
	if (q->size > q->max_size || q->in_flight)
		return err_set(err, -EINVAL, "queue %u: impossible size or requests", q->index);
	for (unsigned id = 0; id < VIRTQ_MAX_SIZE; id++) {
		if (!(q->taken[id / 8] >> (id % 8) & 1))
			continue;
		if (id >= q->size || !v->ops->retake || v->features & VIRTIO_F_RING_PACKED)
			return err_set(err, -EINVAL, "queue %u: impossible requests", q->index);
		v->retake = true;
	}
	q->mapped = 0;
	q->generation++;
	q->desc_in_flight = 0;
	q->avail_seen = q->next_avail;
	return 0;
}

static const struct state_field queue_fields[] = {
	STATE_U16(struct virtq, size, 1),
	STATE_U16(struct virtq, vector, 1),
	STATE_BOOL(struct virtq, enabled, 1),
	STATE_U64(struct virtq, desc, 1),
	STATE_U64(struct virtq, driver, 1),
	STATE_U64(struct virtq, device, 1),
	STATE_U16(struct virtq, next_avail, 1),
	STATE_U16(struct virtq, next_used, 1),
	STATE_BOOL(struct virtq, avail_wrap, 1),
	STATE_BOOL(struct virtq, used_wrap, 1),
	STATE_U16(struct virtq, signalled, 1),
	STATE_BOOL(struct virtq, signalled_valid, 1),
	STATE_BOOL(struct virtq, quiet, 1),
	STATE_BOOL(struct virtq, again, 1),
	STATE_BYTES(struct virtq, taken, 2),
	STATE_END
};

static const struct state_desc queue_state = {
	.name = "virtq", .version = 2, .fields = queue_fields, .post_load = queue_loaded,
};

static int loaded(void *obj, unsigned version, struct err *err)
{
	struct virtio_dev *v = obj;

	if (v->features & ~v->offered)
		return err_set(err, -EINVAL, "%s: the saved machine's device has features that "
			       "this one has not", v->name);
	/* What is wrong with a ring, a driver may have done; it is found when it is used. */
	for (unsigned n = 0; n < v->nvq; n++)
		v->vq[n].mapped = 0;
	/* Memory comes later than this. */
	if (v->retake && !vtimer_armed(&v->again))
		vtimer_arm(&v->again, vtime_now_ns(v->env->vtime));
	return 0;
}

static const struct state_field fields[] = {
	STATE_U64(struct virtio_dev, features, 1),
	STATE_BOOL(struct virtio_dev, asked_too_much, 1),
	STATE_BOOL(struct virtio_dev, legacy, 1),
	STATE_U8(struct virtio_dev, status, 1),
	STATE_BOOL(struct virtio_dev, broken, 1),
	STATE_U8(struct virtio_dev, generation, 1),
	STATE_BYTES(struct virtio_dev, config, 1),
	STATE_STRUCT_ARRAY(struct virtio_dev, vq, 1, &queue_state),
	STATE_TIMER(struct virtio_dev, again, 1),
	STATE_END
};

const struct state_desc virtio_dev_state = {
	.name = "virtio", .version = 1, .fields = fields, .post_load = loaded,
};

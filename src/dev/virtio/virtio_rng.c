/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-rng: random bytes from the host. Source: virtio 1.2, 5.4.
 */
#include <errno.h>
#include <sys/random.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/virtio/virtio_pci.h"

#define CHUNK 256u         /* getrandom() gives so much at once, whatever happens */
#define BUFFER_MAX 65536u  /* of one buffer; a driver asks again */
#define MS 1000000ll

struct virtio_rng {
	struct virtio_dev v;
	struct virtio_pci pci;
	uint64_t max_bytes;
	uint32_t period_ms;
	struct virtq *q;
	struct vtimer period; /* armed: a limit counts, and begins anew then */
	uint64_t left;        /* bytes until then */
};

static struct virtio_rng *rng_of(struct virtio_dev *v)
{
	return container_of(v, struct virtio_rng, v);
}

/* How many bytes were put in. */
static size_t fill(struct virtq_elem *e, size_t len)
{
	uint8_t chunk[CHUNK];
	size_t done = 0;

	while (done < len) {
		size_t n = min_of(len - done, sizeof(chunk));

		if (getrandom(chunk, n, GRND_NONBLOCK) != (ssize_t)n)
			break;
		done += iov_from_buf(e->in, e->in_num, done, chunk, n);
	}
	return done;
}

/* False: nothing was taken. */
static bool serve_one(struct virtio_rng *r)
{
	struct virtq_elem *e = virtq_pop_or_listen(r->q, sizeof(*e));
	size_t n;

	if (!e)
		return false;
	if (!e->in_len) {
		virtio_broken(&r->v, "a buffer that cannot be written");
		virtq_drop(e);
		return false;
	}
	n = min_of(min_of((uint64_t)e->in_len, r->left), (uint64_t)BUFFER_MAX);
	if (r->max_bytes) {
		r->left -= n;
		if (!vtimer_armed(&r->period))
			vtimer_arm(&r->period, vtime_now_ns(r->v.env->vtime) + r->period_ms * MS);
	}
	virtq_push(e, (uint32_t)fill(e, n));
	return true;
}

static void serve(struct virtio_rng *r)
{
	unsigned budget = r->q->size, before = budget;

	while (budget && r->left && serve_one(r))
		budget--;
	if (budget != before)
		virtq_interrupt(r->q);
	if (!budget)
		virtq_again(r->q);
}

static void notify(struct virtio_dev *v, struct virtq *q)
{
	serve(rng_of(v));
}

static void refill(struct virtio_rng *r)
{
	r->left = r->max_bytes ? r->max_bytes : UINT64_MAX;
}

static void period_over(void *opaque)
{
	struct virtio_rng *r = opaque;

	refill(r);
	if (virtio_running(&r->v) && r->q->enabled)
		serve(r);
}

static void device_reset(struct virtio_dev *v)
{
	/* The limit is the host's: a reset does not lift it. */
}

static const struct virtio_ops ops = { .notify = notify, .reset = device_reset };

static void reset(void *dev)
{
	virtio_pci_reset(&((struct virtio_rng *)dev)->pci);
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct virtio_rng *r = dev;
	int ret;

	virtio_init(&r->v, &ops, VIRTIO_ID_RNG, "virtio-rng", plug->env, 0, 0);
	r->q = virtio_queue_add(&r->v, 8);
	vtimer_init(&r->period, plug->env->vtime, period_over, r);
	refill(r);
	ret = virtio_pci_init(&r->pci, &r->v, plug, 0x00ff00, err);
	if (ret < 0)
		virtio_fini(&r->v);
	return ret;
}

static void fini(void *dev)
{
	struct virtio_rng *r = dev;

	vtimer_cancel(&r->period);
	virtio_pci_fini(&r->pci);
	virtio_fini(&r->v);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct virtio_rng, v, 1, &virtio_dev_state),
	STATE_STRUCT(struct virtio_rng, pci, 1, &virtio_pci_state),
	STATE_TIMER(struct virtio_rng, period, 1),
	STATE_U64(struct virtio_rng, left, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "virtio-rng", .version = 1, .fields = fields,
};

static const struct dev_prop props[] = {
	{ "max-bytes", DEV_PROP_SIZE, offsetof(struct virtio_rng, max_bytes), "0", false, 0, 0, NULL,
	  "bytes that the guest gets in a period; 0: no limit" },
	{ "period", DEV_PROP_UINT, offsetof(struct virtio_rng, period_ms), "65536", false, 1,
	  86400000, NULL, "milliseconds of a period" },
	VIRTIO_PCI_PROPS(struct virtio_rng, pci),
	DEV_PROP_END
};

const struct dev_desc virtio_rng_desc = {
	.name = "virtio-rng",
	.aliases = "virtio-rng-pci|virtio-rng-pci-transitional",
	.title = "virtio source of random numbers",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct virtio_rng),
	.bus = DEV_BUS_PCI,
	.props = props,
	.init = init,
	.fini = fini,
};

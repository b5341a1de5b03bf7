/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio devices apart from their transport, and their queues. Source: Virtual I/O
 * Device (VIRTIO) version 1.2, chapter 2; section numbers below are of that text.
 *
 * A device embeds a struct virtio_dev, adds its queues, and is told by its ops what the
 * driver does. A transport (virtio_pci.h) shows the device to the guest. Everything is
 * under the device lock.
 *
 * The guest owns the rings and may write anything there at any time. What is read from
 * them is read once, into memory of ours, and checked; who finds a driver breaking the
 * rules calls virtio_broken(), and nothing more is taken from any queue until a reset.
 */
#ifndef BOTHY_DEV_VIRTIO_VIRTIO_H
#define BOTHY_DEV_VIRTIO_VIRTIO_H

#include <sys/uio.h>

#include "src/dev/dev.h"

/* Device types (chapter 5). */
enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_SCSI = 8,
};

/* Device status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define VIRTIO_STATUS_DRIVER 0x02u
#define VIRTIO_STATUS_DRIVER_OK 0x04u
#define VIRTIO_STATUS_FEATURES_OK 0x08u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED 0x80u

/* Features that are no device's own (chapter 6). */
#define VIRTIO_BIT(n) (1ull << (n))
#define VIRTIO_F_ANY_LAYOUT VIRTIO_BIT(27) /* legacy only */
#define VIRTIO_F_INDIRECT_DESC VIRTIO_BIT(28)
#define VIRTIO_F_EVENT_IDX VIRTIO_BIT(29)
#define VIRTIO_F_VERSION_1 VIRTIO_BIT(32)
#define VIRTIO_F_RING_PACKED VIRTIO_BIT(34)
#define VIRTIO_F_NOTIFICATION_DATA VIRTIO_BIT(38)
#define VIRTIO_F_RING_RESET VIRTIO_BIT(40)

#define VIRTIO_MAX_QUEUES 66u     /* a console's: 32 ports and control */
#define VIRTQ_MAX_SIZE 1024u      /* entries of a ring, descriptors of a chain */
#define VIRTIO_CONFIG_MAX 128u    /* bytes of device configuration */
#define VIRTIO_NO_VECTOR 0xffffu

struct virtio_dev;
struct virtq;

struct virtio_ops {
	/* The driver put something into queue @q. Takes at most q->size buffers; what is
	 * left then: virtq_again(). */
	void (*notify)(struct virtio_dev *v, struct virtq *q);
	/* A buffer that had been taken when the machine was saved, taken once more: begins
	 * its request anew. NULL: the device never holds buffers while it is saved. */
	void (*retake)(struct virtio_dev *v, struct virtq *q, uint16_t head);
	/* Forget everything the driver asked for; when it returns no request touches guest
	 * memory any more. The core resets queues and features afterwards. */
	void (*reset)(struct virtio_dev *v);
	/* All below may be NULL. */
	void (*queue_reset)(struct virtio_dev *v, struct virtq *q); /* the same for one queue */
	void (*status)(struct virtio_dev *v, uint8_t old); /* v->status has changed */
	/* Before configuration is read, for what changes by itself. */
	void (*config_read)(struct virtio_dev *v);
	/* v->config[off..off+len) was written; only bytes with v->config_wmask. */
	void (*config_written)(struct virtio_dev *v, unsigned off, unsigned len);
};

/* What a transport does for its device. */
struct virtio_transport_ops {
	void (*queue_irq)(void *transport, struct virtq *q);
	void (*config_irq)(void *transport);
	/* May the device reach guest memory now? */
	bool (*may_dma)(void *transport);
};

/* One buffer of a queue, on its way to the device and back: pieces that the driver
 * filled (out), then pieces that it wants filled (in). Embedded as first member in a
 * device's request. */
struct virtq_elem {
	struct virtq *q;
	uint32_t generation;  /* of the queue; stale after its reset */
	uint16_t id;          /* split: head's index; packed: buffer id */
	uint16_t ndesc;       /* ring descriptors that it took */
	unsigned out_num, in_num;
	uint32_t out_len, in_len; /* bytes */
	struct iovec *out, *in;   /* host memory; may be cut by the device */
	unsigned whole_in_num;
	struct iovec *whole_in;   /* in[] as it was: what a device may have written */
};

struct virtq {
	struct virtio_dev *dev;
	uint16_t index, max_size;
	void *opaque; /* the device's */
	/* What the driver set up. */
	uint16_t size;   /* entries: 1..max_size */
	uint16_t vector; /* the transport's: MSI-X vector */
	bool enabled;
	gpa_t desc, driver, device; /* descriptors; available ring, or the driver's event
				     * suppression; used ring, or the device's */
	/* Where we are. Split: free-running. Packed: positions, with their wrap counters. */
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
	uint16_t signalled;    /* next_used at the last look for an interrupt */
	bool signalled_valid;
	bool quiet;            /* the driver need not notify us */
	bool again;            /* look at it again soon */
	uint16_t in_flight;    /* buffers taken and not given back */
	uint16_t desc_in_flight; /* packed: their descriptors */
	uint32_t generation;
	/* Split: heads of the buffers in flight, a bit each. After a restore those that
	 * wait to be taken once more. */
	uint8_t taken[VIRTQ_MAX_SIZE / 8];
	uint16_t avail_seen;   /* split: the driver's index as last read */
	/* Host addresses of the three parts, good while mem->map_changes is @mapped - 1;
	 * @mapped 0: not looked up. */
	uint64_t mapped;
	uint8_t *p_desc, *p_driver, *p_device;
};

struct virtio_dev {
	const struct virtio_ops *ops;
	const struct dev_env *env;
	const char *name; /* in log lines */
	enum virtio_id id;
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	uint64_t offered;  /* features of the device and of its queues */
	uint64_t features; /* what the driver took; bits that were not offered are dropped */
	bool asked_too_much; /* the driver wanted what was not offered */
	bool legacy;       /* the driver speaks through the legacy interface */
	uint8_t status;
	bool broken;
	bool retake;        /* restored: buffers wait in taken[] */
	uint8_t generation; /* of the configuration */
	uint8_t config[VIRTIO_CONFIG_MAX], config_wmask[VIRTIO_CONFIG_MAX];
	unsigned config_len;
	unsigned nvq;
	struct virtq vq[VIRTIO_MAX_QUEUES];
	struct vtimer again;
	struct log_limit limit;
};

/*
 * For devices.
 */

/* @offered: the device's own features; the queues' are added by the transport's
 * properties. */
void virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, enum virtio_id id,
		 const char *name, const struct dev_env *env, uint64_t offered,
		 unsigned config_len);
void virtio_fini(struct virtio_dev *v); /* after ops->reset()'s work is done */
/* @max_size: a power of two up to VIRTQ_MAX_SIZE. Before the guest sees the device. */
struct virtq *virtio_queue_add(struct virtio_dev *v, unsigned max_size);

static inline bool virtio_has(const struct virtio_dev *v, uint64_t feature)
{
	return v->features & feature;
}

/* Rings are processed only between DRIVER_OK and the first mistake. */
static inline bool virtio_running(const struct virtio_dev *v)
{
	return v->status & VIRTIO_STATUS_DRIVER_OK && !v->broken;
}

/* The driver broke the rules: DEVICE_NEEDS_RESET (2.1.2), a line in the log. */
void virtio_broken(struct virtio_dev *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* v->config has changed by itself: the driver is told. */
void virtio_config_changed(struct virtio_dev *v);

/*
 * Queues, for devices.
 */

/* The next buffer, NULL when there is none (or the queue is not in use, or has just been
 * found broken). @size: of the device's request, of which struct virtq_elem is the first
 * member; its other bytes are zero. Ends in virtq_push() or virtq_drop(). */
void *virtq_pop(struct virtq *q, size_t size);
/* For ops->retake(): the buffer at @head as virtq_pop() gives it; NULL if it is none. */
void *virtq_retake(struct virtq *q, size_t size, uint16_t head);
/* The buffer goes back to the driver with @written bytes in its in pieces, and is freed.
 * Stale ones are only freed. */
void virtq_push(struct virtq_elem *e, uint32_t written);
/* The same for several at once: the driver sees all or none. */
void virtq_push_many(struct virtq_elem *const *e, const uint32_t *written, unsigned n);
/* Frees a buffer without giving it back: its queue was reset. */
void virtq_drop(struct virtq_elem *e);
/* Undoes virtq_pop() for the newest @n buffers, newest first; frees them. */
void virtq_unpop(struct virtq_elem *const *e, unsigned n);
/* Is there a buffer? */
bool virtq_has(struct virtq *q);
/* Interrupts the driver if it wants that, after one or more virtq_push(). */
void virtq_interrupt(struct virtq *q);
/* @on: the driver shall notify about buffers that come from now on. Returns true if
 * some came already. A hint; notifications may come all the same. */
bool virtq_listen(struct virtq *q, bool on);
/* virtq_pop(); when there is none the driver shall notify about the next. */
void *virtq_pop_or_listen(struct virtq *q, size_t size);
/* ops->notify() again soon, after others had their turn. */
void virtq_again(struct virtq *q);
/* What most notify functions are: takes buffers (of struct size @size, as virtq_pop()),
 * hands each to @fn, keeps the driver from notifying meanwhile; at most q->size of them,
 * the rest a little later. */
void virtq_serve(struct virtq *q, size_t size, void (*fn)(void *req));

/*
 * For transports.
 */
void virtio_reset(struct virtio_dev *v);
void virtio_set_status(struct virtio_dev *v, uint8_t status);
void virtio_set_features(struct virtio_dev *v, uint64_t features); /* before FEATURES_OK */
void virtio_notify(struct virtio_dev *v, unsigned n);
/* For dev_desc's unsavable(), once what could be done is done. */
const char *virtio_unsavable(const struct virtio_dev *v);
uint32_t virtio_config_read(struct virtio_dev *v, unsigned off, unsigned size); /* 1, 2, 4 */
void virtio_config_write(struct virtio_dev *v, unsigned off, uint32_t val, unsigned size);
/* Size and addresses are final. */
void virtq_enable(struct virtq *q);
void virtq_reset(struct virtq *q); /* to the state after the device's reset */

extern const struct state_desc virtio_dev_state;

#endif

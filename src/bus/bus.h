/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board's wires: port and MMIO dispatch, interrupt lines, interrupt
 * messages.
 *
 * One device lock guards every device of a VM: dispatch takes it, timers and
 * the event loop run callbacks under it. It is recursive, so that a device may
 * touch another through the bus.
 */
#ifndef BOTHY_BUS_BUS_H
#define BOTHY_BUS_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"

/*
 * Register access. @off: from the range's start. @size: 1, 2, 4 or 8 (ports:
 * 1, 2, 4). An access wider than max_size is split by the bus into max_size
 * pieces, low address first; one narrower than min_size is done as a min_size
 * read and shifted (reads) or passed as it is (writes). An access never crosses
 * the end of a range.
 */
struct bus_ops {
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, uint64_t val, unsigned size);
	uint8_t min_size, max_size; /* 0 means 1 and 4 (ports), 1 and 8 (MMIO) */
	/* The device does its own locking; called without the lock. An access may be
	 * on its way in still when bus_del_*() returns: such a device is freed only
	 * while no vCPU runs. */
	bool unlocked;
};

/*
 * A write that says no more than "look": an engine may catch it before it gets to the
 * bus, and make @fd (an eventfd of the device's) readable instead. Where nobody catches
 * it the range's write() is called as for any other.
 */
struct bus_doorbell {
	uint64_t off; /* from the range's start */
	uint8_t size; /* of the write: 1, 2, 4; 0: any, memory only */
	int fd;
};

struct bus_range { /* owned by the device that adds it; zero-initialise */
	uint64_t start, len;
	const struct bus_ops *ops;
	void *dev;
	const char *name;
	int priority;  /* where ranges overlap the higher wins; 0 is usual */
	bool mapped;   /* bus.c's */
	const struct bus_doorbell *doorbell; /* ndoorbells of them; the device's */
	unsigned ndoorbells;
	/* Memory: an engine may keep writes back until something else reaches the bus or
	 * bus_settle() is called. They come in order. */
	bool late_writes;
};

/* An engine that does some of the bus's work itself. Under the device lock. */
struct bus_helper {
	/* A range with doorbells or late writes has come to its place, or leaves it. */
	void (*mapped)(void *opaque, struct bus_range *r, bool pio, bool there);
	void (*settle)(void *opaque);
	void *opaque;
};

/* What a device would do when a processor has nothing to do. The device's; zero-initialise
 * but for fn and dev. */
struct bus_idle {
	void (*fn)(void *dev); /* device lock held */
	void *dev;
	struct bus_idle *next;
	bool asked; /* bus.c's */
};

struct bus {
	pthread_mutex_t lock; /* the device lock; recursive */
	struct bus_map *_Atomic pio, *_Atomic mmio; /* immutable, replaced whole */
	/* Lookups in progress, by the parity of the epoch they began in: a replaced
	 * map is freed when those that may see it are over. */
	_Atomic uint32_t epoch, readers[2];
	struct bus_map *empty; /* a map of nothing */
	const struct log *log;
	struct log_limit unclaimed;
	/* Where a message-signalled interrupt goes (the local APICs). */
	void (*msi)(void *opaque, uint64_t addr, uint32_t data);
	void *msi_opaque;
	struct bus_idle *idle; /* those that asked */
	_Atomic bool idle_asked;
	_Atomic bool halts_unseen; /* processors halt where nobody tells of it: none of those is
				    * asked, and nothing should be held back for them */
	const struct bus_helper *helper; /* NULL: none */
};

struct bus *bus_new(const struct log *log, struct err *err);
void bus_free(struct bus *b);

static inline void bus_lock(struct bus *b) { pthread_mutex_lock(&b->lock); }
static inline void bus_unlock(struct bus *b) { pthread_mutex_unlock(&b->lock); }

/* -EINVAL: empty, past the end, or no ops; -EBUSY: already mapped; -ENOMEM. Of
 * ranges of one priority that overlap, the one added first wins. */
int must_check bus_add_pio(struct bus *b, struct bus_range *r);  /* start+len <= 0x10000 */
int must_check bus_add_mmio(struct bus *b, struct bus_range *r);
/* Whose range lies in [port, port + len); NULL: nobody's. */
const char *bus_pio_owner(struct bus *b, uint16_t port, unsigned len);
void bus_del_pio(struct bus *b, struct bus_range *r);  /* idempotent */
void bus_del_mmio(struct bus *b, struct bus_range *r);

/* Device lock held. The helper, which is told of every range that is there already; NULL:
 * there is none any more. */
void bus_set_helper(struct bus *b, const struct bus_helper *h);
/* Device lock held: writes that were kept back are done when it returns. */
void bus_settle(struct bus *b);

/* Dispatch. Reads of nothing give all ones, writes to nothing are dropped. A
 * port access that crosses ranges is split into bytes. Any thread. */
uint32_t bus_pio_read(struct bus *b, uint16_t port, unsigned size);
void bus_pio_write(struct bus *b, uint16_t port, uint32_t val, unsigned size);
uint64_t bus_mmio_read(struct bus *b, uint64_t gpa, unsigned size);
void bus_mmio_write(struct bus *b, uint64_t gpa, uint64_t val, unsigned size);

/* Calls @h once when a processor halts next. Some engines never tell: ask a timer, too.
 * Idempotent; device lock held, as for bus_idle_forget(). */
void bus_idle_ask(struct bus *b, struct bus_idle *h);
void bus_idle_forget(struct bus *b, struct bus_idle *h);
/* A processor halts: who asked is called. Any thread, without the lock. */
void bus_idle(struct bus *b);

/* A message-signalled interrupt: the write that a device would do
 * (Intel SDM vol. 3, 11.11 "Message Signalled Interrupts"). */
void bus_msi(struct bus *b, uint64_t addr, uint32_t data);

/* An interrupt line: what a device pulls. Under the device lock. @set is called with the new level
 * (0 or 1), only on a change. Several devices on one line: see irq_or.h. */
struct irq_line {
	void (*set)(void *opaque, int n, int level);
	void *opaque;
	int n;
	int level;
};

static inline void irq_set(struct irq_line *l, int level)
{
	if (!l->set || l->level == level)
		return;
	l->level = level;
	l->set(l->opaque, l->n, level);
}

static inline void irq_pulse(struct irq_line *l)
{
	irq_set(l, 1);
	irq_set(l, 0);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/virtio/virtq_pace.h"

#include "src/base/bits.h"

/* Long enough for a guest's next request in a translator on a busy host; where engines
 * tell of idle processors it is seldom waited for. */
#define WAIT_NS 1000000    /* from the last request on */
#define LONGEST_NS 4000000 /* from the first */
#define WORTH 4u           /* fewer at a time are not worth a timer */
#define MOST 64u
#define SEEK 128u          /* single answers from one look for more to the next */
#define SEEK_MORE 16u      /* runs, the same */

static int64_t now_ns(const struct virtq_pace *p)
{
	return vtime_now_ns(p->q->dev->env->vtime);
}

void virtq_pace_now(struct virtq_pace *p)
{
	p->pending = 0; /* the timer finds nothing */
	virtq_interrupt(p->q);
}

static int64_t due_ns(const struct virtq_pace *p)
{
	return min_of(p->last_ns + WAIT_NS, p->first_ns + LONGEST_NS);
}

/* No request came for a while: the driver waits. */
static void late(void *opaque)
{
	struct virtq_pace *p = opaque;

	if (!p->pending)
		return;
	if (due_ns(p) > now_ns(p)) {
		vtimer_arm(&p->timer, due_ns(p));
		return;
	}
	p->target = p->pending;
	virtq_pace_now(p);
}

/* The driver waits, or whoever else might bring requests. */
static void idle(void *opaque)
{
	struct virtq_pace *p = opaque;

	if (!p->pending)
		return;
	p->target = p->pending;
	virtq_pace_now(p);
}

/* The first of a run. False: it is not held back. */
static bool begin(struct virtq_pace *p)
{
	unsigned most = min_of(MOST, p->q->size / 2u);

	if (p->q->dev->env->bus->halts_unseen)
		return false;
	p->probing = ++p->count >= (p->target < WORTH ? SEEK : SEEK_MORE);
	if (most < WORTH || (p->target < WORTH && !p->probing))
		return false;
	p->limit = min_of(p->probing ? max_of(2 * p->target, 2 * WORTH) : p->target, most);
	if (p->probing)
		p->count = 0;
	p->first_ns = p->last_ns;
	bus_idle_ask(p->q->dev->env->bus, &p->idle);
	if (!vtimer_armed(&p->timer))
		vtimer_arm(&p->timer, due_ns(p));
	return true;
}

void virtq_pace_answered(struct virtq_pace *p)
{
	p->last_ns = now_ns(p);
	if (!p->pending && !begin(p)) {
		virtq_interrupt(p->q);
		return;
	}
	if (++p->pending < p->limit && p->last_ns < p->first_ns + LONGEST_NS)
		return;
	if (p->pending >= p->limit && p->probing && p->target < p->limit) {
		p->target = p->limit;
		p->count = SEEK; /* there may be still more: look at once */
	}
	virtq_pace_now(p);
}

void virtq_pace_reset(struct virtq_pace *p)
{
	vtimer_cancel(&p->timer);
	p->pending = p->count = 0;
	p->target = 1;
}

void virtq_pace_restored(struct virtq_pace *p)
{
	virtq_pace_reset(p);
	if (!p->q->enabled)
		return;
	p->pending = 1;
	p->first_ns = p->last_ns = now_ns(p);
	vtimer_arm(&p->timer, due_ns(p));
}

void virtq_pace_init(struct virtq_pace *p, struct virtq *q)
{
	*p = (struct virtq_pace){ .q = q, .idle = { .fn = idle, .dev = p } };
	vtimer_init(&p->timer, q->dev->env->vtime, late, p);
	virtq_pace_reset(p);
}

void virtq_pace_fini(struct virtq_pace *p)
{
	bus_idle_forget(p->q->dev->env->bus, &p->idle);
	vtimer_cancel(&p->timer);
}

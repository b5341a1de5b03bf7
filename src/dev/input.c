/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/input.h"

#include <errno.h>
#include <stdlib.h>

#include "src/base/bits.h"

#define MS 1000000ll
/* Until a full keyboard is asked again: longer each time. */
#define RETRY_MS 4
#define RETRY_MAX_MS 64
/* A guest that does not read its keyboard for so long gets none of what waits. */
#define STALE_MS 10000

static const struct input_dev *keyboard(const struct input *in)
{
	for (const struct input_dev *d = in->devs; d; d = d->next)
		if (d->key)
			return d;
	return NULL;
}

static const struct input_dev *pointer(const struct input *in)
{
	for (const struct input_dev *d = in->devs; d; d = d->next)
		if (d->move || d->point)
			return d;
	return NULL;
}

/*
 * Keys.
 */
static unsigned key_bit(uint16_t key)
{
	return key >> 8 == 0xe1 ? 0x17f : (key & 0x7f) | (key >> 8 == 0xe0 ? 0x80u : 0);
}

static void send_key(struct input *in, const struct input_dev *d, const struct input_event *e)
{
	unsigned bit = key_bit(e->key);

	if (e->down)
		in->down[bit / 8] |= (uint8_t)(1u << bit % 8);
	else
		in->down[bit / 8] &= (uint8_t)~(1u << bit % 8);
	d->key(d->opaque, e->key, e->down);
}

static void wait_for_room(struct input *in, int64_t now)
{
	if (!in->retry_ms) {
		in->full_since_ns = now;
		in->retry_ms = RETRY_MS;
	} else if (now - in->full_since_ns > STALE_MS * MS) {
		in->count = 0;
		in->retry_ms = 0;
		return;
	} else {
		in->retry_ms = min_of(in->retry_ms * 2, (unsigned)RETRY_MAX_MS);
	}
	vtimer_arm(&in->timer, now + in->retry_ms * MS);
}

/* Sends what is due; arms the timer for what is not. */
static void run(void *opaque)
{
	struct input *in = opaque;
	const struct input_dev *d = keyboard(in);
	int64_t now = in->vtime ? vtime_now_ns(in->vtime) : 0;

	while (in->count) {
		struct input_event *e = &in->queue[in->head];
		int64_t due = in->last_ns + e->after_ms * MS;

		if (!d) { /* the keyboard was unplugged */
			in->count = 0;
			return;
		}
		if (in->vtime && due > now) {
			vtimer_arm(&in->timer, due);
			return;
		}
		if (in->vtime && d->key_room && !d->key_room(d->opaque)) {
			wait_for_room(in, now);
			return;
		}
		in->retry_ms = 0;
		in->head = (in->head + 1) % INPUT_QUEUE;
		in->count--;
		in->last_ns = now;
		send_key(in, d, e);
	}
}

int input_key(struct input *in, uint16_t key, bool down, uint32_t after_ms)
{
	if (!keyboard(in))
		return -ENODEV;
	if (in->count == INPUT_QUEUE)
		return -ENOBUFS;
	if (!in->count && in->vtime && vtime_now_ns(in->vtime) - in->last_ns > 60000 * MS)
		in->last_ns = vtime_now_ns(in->vtime) - 60000 * MS;
	in->queue[(in->head + in->count) % INPUT_QUEUE] =
		(struct input_event){ key, down, after_ms };
	if (!in->count++)
		run(in);
	return 0;
}

void input_release_keys(struct input *in)
{
	for (unsigned bit = 0; bit < INPUT_KEYS; bit++) {
		uint16_t key = bit == 0x17f ? 0xe11d : (uint16_t)((bit & 0x7f) |
								 (bit & 0x80 ? 0xe000 : 0));

		if (in->down[bit / 8] >> bit % 8 & 1 && input_key(in, key, false, 0) < 0)
			return;
	}
}

unsigned input_waiting(const struct input *in)
{
	return in->count;
}

/*
 * Pointer.
 */
bool input_is_absolute(const struct input *in)
{
	const struct input_dev *d = pointer(in);

	return d && d->point;
}

void input_move(struct input *in, int dx, int dy, int wheel, unsigned buttons)
{
	const struct input_dev *d = pointer(in);

	in->buttons = buttons;
	in->placed = false;
	if (d && d->move)
		d->move(d->opaque, dx, dy, wheel, buttons);
}

/* @dx, @dy: how far it is from the last place, for a mouse that only moves. */
static void place(struct input *in, unsigned x, unsigned y, int dx, int dy, int wheel,
		  unsigned buttons)
{
	const struct input_dev *d = pointer(in);

	in->buttons = buttons;
	in->abs_x = x;
	in->abs_y = y;
	if (d && d->point)
		d->point(d->opaque, x, y, wheel, buttons);
	else if (d)
		d->move(d->opaque, dx, dy, wheel, buttons);
}

void input_place(struct input *in, unsigned x, unsigned y, int wheel, unsigned buttons)
{
	in->placed = false;
	place(in, x, y, (int)x - (int)in->abs_x, (int)y - (int)in->abs_y, wheel, buttons);
}

static unsigned scale(unsigned at, unsigned len)
{
	return len > 1 ? (unsigned)((uint64_t)min_of(at, len - 1) * INPUT_ABS_MAX / (len - 1)) : 0;
}

void input_point(struct input *in, unsigned x, unsigned y, unsigned w, unsigned h, int wheel,
		 unsigned buttons)
{
	int dx = in->placed ? (int)x - (int)in->x : 0, dy = in->placed ? (int)y - (int)in->y : 0;

	in->x = x;
	in->y = y;
	in->placed = true;
	place(in, scale(x, w), scale(y, h), dx, dy, wheel, buttons);
}

/*
 * Life.
 */
void input_add(struct input *in, struct input_dev *d)
{
	if (!in)
		return;
	d->next = in->devs;
	in->devs = d;
}

void input_del(struct input *in, struct input_dev *d)
{
	if (!in)
		return;
	for (struct input_dev **p = &in->devs; *p; p = &(*p)->next) {
		if (*p == d) {
			*p = d->next;
			return;
		}
	}
}

struct input *input_new(struct vtime *vt, struct err *err)
{
	struct input *in = calloc(1, sizeof(*in));

	if (!in) {
		err_set(err, -ENOMEM, "out of memory for keys and pointer");
		return NULL;
	}
	in->vtime = vt;
	if (vt)
		vtimer_init(&in->timer, vt, run, in);
	return in;
}

void input_free(struct input *in)
{
	if (!in)
		return;
	if (in->vtime)
		vtimer_cancel(&in->timer);
	free(in);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys and pointer on their way from people (viewers, commands) to the keyboards and
 * mice of a machine. Everything under the device lock.
 *
 * Key events keep their order and are not lost while the guest is slow: they wait, up
 * to INPUT_QUEUE of them, until the keyboard has room. An event may be told to come
 * some time after the one before it (text that is typed, keys that are held).
 */
#ifndef BOTHY_DEV_INPUT_H
#define BOTHY_DEV_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/vtime.h"

#define INPUT_QUEUE 4096u
#define INPUT_ABS_MAX 0x7fffu /* range of an absolute pointer */
#define INPUT_KEYS 0x180u

/* Buttons as bits. */
#define INPUT_LEFT 0x01u
#define INPUT_RIGHT 0x02u
#define INPUT_MIDDLE 0x04u
#define INPUT_SIDE 0x08u
#define INPUT_EXTRA 0x10u

/* A keyboard or a mouse. What it is not is NULL. */
struct input_dev {
	const char *name;
	/* A key by its set 1 number (display/keys.h). */
	void (*key)(void *opaque, uint16_t key, bool down);
	/* Is there room for one more key event? NULL: always. */
	bool (*key_room)(void *opaque);
	/* Movement, x to the right and y down; wheel: up is positive. */
	void (*move)(void *opaque, int dx, int dy, int wheel, unsigned buttons);
	/* A place, 0..INPUT_ABS_MAX each. */
	void (*point)(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons);
	void *opaque;
	struct input_dev *next;
};

struct input_event {
	uint16_t key;
	bool down;
	uint32_t after_ms;
};

struct input {
	struct input_dev *devs;  /* the newest first: it gets the events */
	struct vtime *vtime;
	struct vtimer timer;
	struct input_event queue[INPUT_QUEUE];
	unsigned head, count;
	int64_t last_ns;         /* when the last key event went out */
	int64_t full_since_ns;   /* while retry_ms is not 0: the keyboard has no room */
	unsigned retry_ms;
	uint8_t down[INPUT_KEYS / 8];
	unsigned buttons;
	unsigned abs_x, abs_y;   /* where the pointer was put last, 0..INPUT_ABS_MAX */
	unsigned x, y;           /* the same in pixels of a screen */
	bool placed;             /* x and y are known */
};

/* @vt: the machine's clock, which must outlive it; NULL: no waiting (tests). */
struct input *input_new(struct vtime *vt, struct err *err);
void input_free(struct input *in);

void input_add(struct input *in, struct input_dev *d); /* @in may be NULL */
void input_del(struct input *in, struct input_dev *d);
/* Is the pointer one that is placed, or one that is moved? */
bool input_is_absolute(const struct input *in);

/* A key event, @after_ms behind the one before it. -ENODEV: no keyboard; -ENOBUFS: too
 * many wait. Machine time: nothing is typed into a machine that stands still. */
int input_key(struct input *in, uint16_t key, bool down, uint32_t after_ms);
/* Releases what is pressed (a viewer left with a key down). */
void input_release_keys(struct input *in);
unsigned input_waiting(const struct input *in);

/* Pointer: buttons are INPUT_LEFT and so on; the wheel's steps are per call. */
void input_move(struct input *in, int dx, int dy, int wheel, unsigned buttons);
/* At a place of an absolute pointer, 0..INPUT_ABS_MAX each. */
void input_place(struct input *in, unsigned x, unsigned y, int wheel, unsigned buttons);
/* At pixel @x, @y of a screen of @w x @h (at least 1 each). Where only a relative
 * mouse is plugged, the difference to the last place moves it. */
void input_point(struct input *in, unsigned x, unsigned y, unsigned w, unsigned h, int wheel,
		 unsigned buttons);

#endif

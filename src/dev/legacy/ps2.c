/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/ps2.h"

#include <errno.h>

#include "src/base/bits.h"

#define ACK 0xfau
#define RESEND 0xfeu
#define TEST_PASSED 0xaau

/*
 * Queues.
 */
static unsigned room(const struct ps2_queue *q)
{
	return PS2_QUEUE - q->count;
}

static void put(struct ps2_queue *q, uint8_t v)
{
	if (!room(q))
		return;
	q->data[(q->head + q->count) % PS2_QUEUE] = v;
	q->count++;
}

int ps2_queue_get(struct ps2_queue *q)
{
	uint8_t v;

	if (!q->count)
		return -1;
	v = q->data[q->head];
	q->head = (q->head + 1) % PS2_QUEUE;
	q->count--;
	return v;
}

static void clear(struct ps2_queue *q)
{
	q->head = q->count = 0;
}

static void put_all(struct ps2_queue *q, const uint8_t *v, size_t len)
{
	for (size_t n = 0; n < len; n++)
		put(q, v[n]);
}

/*
 * Scan codes. The controller's translation of set 2 to set 1, from the IBM
 * reference's tables; from 85h on a byte stands for itself.
 */
static const uint8_t set2_to_set1[0x85] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
	0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11,
	0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14,
	0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
	0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35,
	0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36,
	0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c,
	0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
};

uint8_t ps2_translate(uint8_t set2)
{
	return set2 < array_size(set2_to_set1) ? set2_to_set1[set2] : set2;
}

/* From above, so that F7 and SysRq get the codes that keyboards send. */
static uint8_t to_set2(uint8_t set1)
{
	for (unsigned n = array_size(set2_to_set1); n-- > 0;)
		if (set2_to_set1[n] == set1)
			return (uint8_t)n;
	return 0;
}

/* Set 3, by set 1 code; grey keys from 80h on. 0: the set has no such key. */
static const uint8_t set1_to_set3[256] = {
	[0x01] = 0x08, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66,
	[0x0f] = 0x0d, 0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a,
	[0x1d] = 0x11, 0x1c, 0x1b, 0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12,
	[0x2b] = 0x5c, 0x1a, 0x22, 0x21, 0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7e, 0x19,
	[0x39] = 0x29, 0x14, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x76, 0x5f,
	[0x47] = 0x6c, 0x75, 0x7d, 0x84, 0x6b, 0x73, 0x74, 0x7c, 0x69, 0x72, 0x7a, 0x70, 0x71, 0x57,
	[0x56] = 0x13, 0x56, 0x5e,
	[0x9c] = 0x79, 0x58, [0xb5] = 0x77, [0xb7] = 0x57, 0x39,
	[0xc7] = 0x6e, 0x63, 0x6f, [0xcb] = 0x61, [0xcd] = 0x6a, [0xcf] = 0x65, 0x60, 0x6d, 0x67, 0x64,
	[0xdb] = 0x8b, 0x8c, 0x8d,
};

/*
 * The keyboard.
 */
static void kbd_defaults(struct ps2_kbd *k)
{
	k->set = 2;
	k->rate = 0x2b;
	k->command = 0;
}

void ps2_kbd_reset(struct ps2_kbd *k)
{
	*k = (struct ps2_kbd){ .scanning = true };
	kbd_defaults(k);
}

static void kbd_argument(struct ps2_kbd *k, uint8_t val)
{
	uint8_t command = k->command;

	k->command = 0;
	switch (command) {
	case 0xed:
		k->leds = val & 7;
		break;
	case 0xf3:
		k->rate = val & 0x7f;
		break;
	case 0xf0:
		if (val > 3) {
			put(&k->out, RESEND);
			return;
		}
		put(&k->out, ACK);
		if (val)
			k->set = val;
		else
			put(&k->out, k->set);
		return;
	default:
		break;
	}
	put(&k->out, ACK);
}

void ps2_kbd_write(struct ps2_kbd *k, uint8_t val)
{
	if (k->command && val < 0xed) {
		kbd_argument(k, val);
		return;
	}
	k->command = 0;
	switch (val) {
	case 0xed: case 0xf0: case 0xf3:
		k->command = val;
		put(&k->out, ACK);
		break;
	case 0xee: /* echo */
		put(&k->out, 0xee);
		break;
	case 0xf2:
		put_all(&k->out, (const uint8_t[]){ ACK, 0xab, 0x83 }, 3);
		break;
	case 0xf4:
		clear(&k->out);
		k->scanning = true;
		put(&k->out, ACK);
		break;
	case 0xf5: case 0xf6:
		clear(&k->out);
		kbd_defaults(k);
		k->scanning = val == 0xf6;
		put(&k->out, ACK);
		break;
	case 0xf7 ... 0xfa:
		put(&k->out, ACK);
		break;
	case 0xfe:
		put(&k->out, k->last);
		break;
	case 0xff:
		ps2_kbd_reset(k);
		put_all(&k->out, (const uint8_t[]){ ACK, TEST_PASSED }, 2);
		break;
	default:
		put(&k->out, RESEND);
		break;
	}
}

/* A sequence goes in whole or not at all; answers keep their room. */
bool ps2_kbd_room(const struct ps2_kbd *k)
{
	return !k->scanning || room(&k->out) >= 16;
}

/* One byte for each key, and no prefixes. */
static void put_set3(struct ps2_kbd *k, uint16_t code, bool down)
{
	uint8_t set3 = code == 0xe11d ? 0x62 :
		set1_to_set3[(code & 0x7f) | (code >> 8 == 0xe0 ? 0x80 : 0)];

	if (!set3)
		return;
	if (!down)
		put(&k->out, 0xf0);
	put(&k->out, set3);
}

/* Print brings a Shift of its own: the old keyboard's key was Shift and *. */
static void put_print(struct ps2_kbd *k, bool down)
{
	static const uint8_t make1[] = { 0xe0, 0x2a, 0xe0, 0x37 };
	static const uint8_t break1[] = { 0xe0, 0xb7, 0xe0, 0xaa };
	static const uint8_t make2[] = { 0xe0, 0x12, 0xe0, 0x7c };
	static const uint8_t break2[] = { 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12 };

	if (k->set == 1)
		put_all(&k->out, down ? make1 : break1, 4);
	else
		put_all(&k->out, down ? make2 : break2, down ? 4 : 6);
}

void ps2_kbd_key(struct ps2_kbd *k, uint16_t code, bool down)
{
	static const uint8_t pause1[] = { 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5 };
	static const uint8_t pause2[] = { 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77 };
	uint8_t set1 = code & 0x7f;

	if (!k->scanning || !ps2_kbd_room(k))
		return;
	if (k->set == 3) {
		put_set3(k, code, down);
		return;
	}
	if (code == 0xe037) {
		put_print(k, down);
		return;
	}
	if (code == 0xe11d) {
		if (down && k->set == 1)
			put_all(&k->out, pause1, sizeof(pause1));
		else if (down)
			put_all(&k->out, pause2, sizeof(pause2));
		return;
	}
	if (code >> 8 == 0xe0)
		put(&k->out, 0xe0);
	if (k->set == 1) {
		put(&k->out, (uint8_t)(set1 | (down ? 0 : 0x80)));
		return;
	}
	if (!down)
		put(&k->out, 0xf0);
	put(&k->out, to_set2(set1));
}

/*
 * The mouse.
 */
static void mouse_defaults(struct ps2_mouse *m)
{
	m->rate = 100;
	m->resolution = 2;
	m->reporting = m->remote = m->wrap = m->scale21 = false;
	m->command = 0;
	m->dx = m->dy = m->dz = 0;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
	*m = (struct ps2_mouse){ 0 };
	mouse_defaults(m);
}

static int take_step(int32_t *v, int least, int most)
{
	int step = *v < least ? least : *v > most ? most : *v;

	*v -= step;
	return step;
}

static void packet(struct ps2_mouse *m)
{
	int dx = take_step(&m->dx, -255, 255), dy = take_step(&m->dy, -255, 255);
	int dz = m->id ? take_step(&m->dz, -7, 7) : 0;

	m->sent_buttons = m->buttons;
	put(&m->out, (uint8_t)(8 | (m->buttons & 7) | (dx < 0) << 4 | (dy < 0) << 5));
	put(&m->out, (uint8_t)dx);
	put(&m->out, (uint8_t)dy);
	if (m->id == 3)
		put(&m->out, (uint8_t)dz);
	else if (m->id == 4)
		put(&m->out, (uint8_t)((dz & 15) | (m->buttons & 0x18) << 1));
}

/* Sends what has gathered while there is room; the rest waits for the next call. */
static void report(struct ps2_mouse *m)
{
	while (m->reporting && !m->remote && room(&m->out) >= 16 &&
	       (m->dx || m->dy || (m->dz && m->id) || m->buttons != m->sent_buttons))
		packet(m);
}

static int32_t add_step(int32_t a, int b)
{
	int64_t sum = (int64_t)a + b;

	return (int32_t)(sum < -4096 ? -4096 : sum > 4096 ? 4096 : sum);
}

void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, unsigned buttons)
{
	m->dx = add_step(m->dx, dx);
	m->dy = add_step(m->dy, dy);
	m->dz = add_step(m->dz, dz);
	m->buttons = buttons & 0x1f;
	report(m);
}

static void mouse_argument(struct ps2_mouse *m, uint8_t val)
{
	if (m->command == 0xf3) {
		m->rate = val;
		m->rates[0] = m->rates[1];
		m->rates[1] = m->rates[2];
		m->rates[2] = val;
		/* The knocks that wake the wheel, and then buttons four and five. */
		if (m->rates[0] == 200 && m->rates[1] == 100 && val == 80)
			m->id = 3;
		else if (m->rates[0] == 200 && m->rates[1] == 200 && val == 80 && m->id == 3)
			m->id = 4;
	} else {
		m->resolution = val & 3;
	}
	m->command = 0;
	put(&m->out, ACK);
}

static void mouse_status(struct ps2_mouse *m)
{
	const uint8_t b[3] = {
		(uint8_t)(m->remote << 6 | m->reporting << 5 | m->scale21 << 4 |
			  (m->buttons & 1) << 2 | (m->buttons >> 2 & 1) << 1 |
			  (m->buttons >> 1 & 1)),
		m->resolution, m->rate,
	};

	put_all(&m->out, b, sizeof(b));
}

void ps2_mouse_write(struct ps2_mouse *m, uint8_t val)
{
	if (m->command) {
		mouse_argument(m, val);
		return;
	}
	if (m->wrap && val != 0xec && val != 0xff) {
		put(&m->out, val);
		return;
	}
	if (val == 0xfe) {
		put(&m->out, m->last);
		return;
	}
	if (val < 0xe6 || val == 0xed || val == 0xef || val == 0xf1 ||
	    (val >= 0xf7 && val <= 0xfd)) {
		put(&m->out, RESEND);
		return;
	}
	/* What moved before a command is not told after it. */
	clear(&m->out);
	put(&m->out, ACK);
	switch (val) {
	case 0xe6: m->scale21 = false; break;
	case 0xe7: m->scale21 = true; break;
	case 0xe8: case 0xf3: m->command = val; break;
	case 0xe9: mouse_status(m); break;
	case 0xea: m->remote = false; break;
	case 0xeb: packet(m); break;
	case 0xec: m->wrap = false; break;
	case 0xee: m->wrap = true; break;
	case 0xf0: m->remote = true; break;
	case 0xf2: put(&m->out, m->id); break;
	case 0xf4: m->reporting = true; break;
	case 0xf5: m->reporting = false; break;
	case 0xf6: mouse_defaults(m); break;
	default: /* FF */
		ps2_mouse_reset(m);
		put_all(&m->out, (const uint8_t[]){ ACK, TEST_PASSED, 0x00 }, 3);
		break;
	}
}

/*
 * State.
 */
static int queue_post_load(void *obj, unsigned version, struct err *err)
{
	struct ps2_queue *q = obj;

	if (q->head >= PS2_QUEUE || q->count > PS2_QUEUE)
		return err_set(err, -EINVAL, "a queue holds %u bytes from %u", q->count, q->head);
	return 0;
}

static const struct state_field queue_fields[] = {
	STATE_BYTES(struct ps2_queue, data, 1),
	STATE_U8(struct ps2_queue, head, 1),
	STATE_U8(struct ps2_queue, count, 1),
	STATE_END
};

static const struct state_desc queue_state = {
	.name = "ps2-queue", .version = 1, .fields = queue_fields, .post_load = queue_post_load,
};

static int kbd_post_load(void *obj, unsigned version, struct err *err)
{
	struct ps2_kbd *k = obj;

	if (k->set < 1 || k->set > 3)
		return err_set(err, -EINVAL, "scan code set %u", k->set);
	return 0;
}

static const struct state_field kbd_fields[] = {
	STATE_STRUCT(struct ps2_kbd, out, 1, &queue_state),
	STATE_U8(struct ps2_kbd, command, 1),
	STATE_U8(struct ps2_kbd, last, 1),
	STATE_U8(struct ps2_kbd, set, 1),
	STATE_U8(struct ps2_kbd, leds, 1),
	STATE_U8(struct ps2_kbd, rate, 1),
	STATE_BOOL(struct ps2_kbd, scanning, 1),
	STATE_END
};

const struct state_desc ps2_kbd_state = {
	.name = "ps2-keyboard", .version = 1, .fields = kbd_fields, .post_load = kbd_post_load,
};

static int mouse_post_load(void *obj, unsigned version, struct err *err)
{
	struct ps2_mouse *m = obj;

	if (m->id != 0 && m->id != 3 && m->id != 4)
		return err_set(err, -EINVAL, "mouse of kind %u", m->id);
	m->dx = add_step(m->dx, 0);
	m->dy = add_step(m->dy, 0);
	m->dz = add_step(m->dz, 0);
	m->buttons &= 0x1f;
	return 0;
}

static const struct state_field mouse_fields[] = {
	STATE_STRUCT(struct ps2_mouse, out, 1, &queue_state),
	STATE_U8(struct ps2_mouse, command, 1),
	STATE_U8(struct ps2_mouse, last, 1),
	STATE_U8(struct ps2_mouse, rate, 1),
	STATE_U8(struct ps2_mouse, resolution, 1),
	STATE_ARRAY(struct ps2_mouse, rates, 1),
	STATE_U8(struct ps2_mouse, id, 1),
	STATE_U8(struct ps2_mouse, buttons, 1),
	STATE_U8(struct ps2_mouse, sent_buttons, 1),
	STATE_BOOL(struct ps2_mouse, reporting, 1),
	STATE_BOOL(struct ps2_mouse, remote, 1),
	STATE_BOOL(struct ps2_mouse, wrap, 1),
	STATE_BOOL(struct ps2_mouse, scale21, 1),
	STATE_U32(struct ps2_mouse, dx, 1),
	STATE_U32(struct ps2_mouse, dy, 1),
	STATE_U32(struct ps2_mouse, dz, 1),
	STATE_END
};

const struct state_desc ps2_mouse_state = {
	.name = "ps2-mouse", .version = 1, .fields = mouse_fields, .post_load = mouse_post_load,
};

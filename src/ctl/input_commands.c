/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that press keys and move the pointer. */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/ctl/ctl_priv.h"
#include "src/dev/input.h"
#include "src/display/keys.h"
#include "src/vm/vm.h"

#define KEYS_MAX 16u
#define HOLD_MS 100
#define HOLD_MAX_MS 60000
#define TYPE_MS 10

static int delay_arg(struct json_object *args, const char *name, uint32_t def, uint32_t *ms,
		     struct err *err)
{
	struct json_object *v;
	int64_t n = def;

	if (json_object_object_get_ex(args, name, &v))
		n = json_object_get_int64(v);
	if (n < 0 || n > HOLD_MAX_MS)
		return err_set(err, -EINVAL, "Invalid parameter '%s'; it is 0 to %d milliseconds",
			       name, HOLD_MAX_MS);
	*ms = (uint32_t)n;
	return 0;
}

/* {"type": "qcode", "data": "ret"}, {"type": "number", "data": 28}, or "ret". */
static int key_of(struct json_object *v, uint16_t *key, struct err *err)
{
	struct json_object *type = NULL, *data = v;
	const char *kind = "qcode";

	if (json_object_is_type(v, json_type_object)) {
		if (!json_object_object_get_ex(v, "type", &type) ||
		    !json_object_object_get_ex(v, "data", &data))
			return err_set(err, -EINVAL, "a key is an object of type and data");
		kind = json_object_get_string(type);
	}
	if (kind && !strcmp(kind, "qcode") && json_object_is_type(data, json_type_string))
		*key = key_from_qcode(json_object_get_string(data));
	else if (kind && !strcmp(kind, "number") && json_object_is_type(data, json_type_int))
		*key = key_from_number((uint32_t)json_object_get_int64(data));
	else
		return err_set(err, -EINVAL, "a key's type is qcode with a name, or number");
	if (!*key)
		return err_set(err, -EINVAL, "there is no key %s; names are QMP's, such as ret, spc, "
			       "ctrl, f1", json_object_to_json_string(data));
	return 0;
}

static int failed(int code, struct err *err)
{
	return code == -ENODEV ? err_set(err, code, "this machine has no keyboard")
			       : err_set(err, code, "too many keys wait already; the guest reads "
					 "its keyboard slowly, or not at all");
}

int ctl_send_key(struct vm *vm, struct json_object *args, struct json_object **ret,
		 struct err *err)
{
	struct json_object *list = json_object_object_get(args, "keys");
	size_t n = json_object_array_length(list);
	struct input *in = vm_input(vm);
	uint16_t keys[KEYS_MAX];
	uint32_t hold = 0;
	int r = delay_arg(args, "hold-time", HOLD_MS, &hold, err);

	if (r == 0 && (n == 0 || n > KEYS_MAX))
		r = err_set(err, -EINVAL, "keys are 1 to %u", KEYS_MAX);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = key_of(json_object_array_get_idx(list, i), &keys[i], err);
	if (r < 0)
		return r;
	if (input_waiting(in) + 2 * n > INPUT_QUEUE)
		return failed(-ENOBUFS, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = input_key(in, keys[i], true, 0);
	for (size_t i = n; r == 0 && i-- > 0;)
		r = input_key(in, keys[i], false, i == n - 1 ? hold : 0);
	return r < 0 ? failed(r, err) : 0;
}

/* The next character of UTF-8; 0 for a byte that is none (it was checked as JSON). */
static uint32_t next_char(const char **p)
{
	const uint8_t *s = (const uint8_t *)*p;
	unsigned more = *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : *s >= 0xc0 ? 1 : 0;
	uint32_t c = more == 3 ? *s & 7 : more == 2 ? *s & 15 : more == 1 ? *s & 31 : *s;

	for (s++; more && (*s & 0xc0) == 0x80; more--, s++)
		c = c << 6 | (*s & 63);
	*p = (const char *)s;
	return more ? 0 : c;
}

/* How many key events @text takes; negative: something in it is on no key. */
static int count_keys(const char *text, struct err *err)
{
	int n = 0;
	bool shift;

	while (*text) {
		const char *at = text;
		uint32_t c = next_char(&text);

		if (!key_from_char(c, &shift))
			return err_set(err, -EINVAL, "'%.*s' is on no key of the US layout",
				       (int)(text - at), at);
		n += shift ? 4 : 2;
	}
	return n;
}

int ctl_type(struct vm *vm, struct json_object *args, struct json_object **ret, struct err *err)
{
	const char *text = json_object_get_string(json_object_object_get(args, "text"));
	struct input *in = vm_input(vm);
	uint32_t delay = 0;
	int r = delay_arg(args, "delay", TYPE_MS, &delay, err), n;

	n = r == 0 ? count_keys(text, err) : r;
	if (n < 0)
		return n;
	if (input_waiting(in) + (unsigned)n > INPUT_QUEUE)
		return failed(-ENOBUFS, err);
	while (r == 0 && *text) {
		bool shift;
		uint16_t key = key_from_char(next_char(&text), &shift);

		if (shift)
			r = input_key(in, 0x2a, true, delay);
		if (r == 0)
			r = input_key(in, key, true, delay);
		if (r == 0)
			r = input_key(in, key, false, delay);
		if (r == 0 && shift)
			r = input_key(in, 0x2a, false, delay);
	}
	if (r < 0)
		return failed(r, err);
	*ret = json_object_new_object();
	ctl_add_int(*ret, "keys", n);
	return 0;
}

/*
 * input-send-event: QMP's InputEvent, one after the other.
 */
struct pointer {
	int dx, dy, wheel;
	unsigned x, y, buttons;
	bool moved, placed;
};

static int button_event(struct json_object *data, struct pointer *p, struct err *err)
{
	static const struct { const char *name; unsigned bit; } names[] = {
		{ "left", INPUT_LEFT }, { "right", INPUT_RIGHT }, { "middle", INPUT_MIDDLE },
		{ "side", INPUT_SIDE }, { "extra", INPUT_EXTRA },
	};
	const char *button = json_object_get_string(json_object_object_get(data, "button"));
	bool down = json_object_get_boolean(json_object_object_get(data, "down"));

	p->moved = true;
	if (button && (!strcmp(button, "wheel-up") || !strcmp(button, "wheel-down"))) {
		p->wheel += down ? button[6] == 'u' ? 1 : -1 : 0;
		return 0;
	}
	for (size_t i = 0; button && i < array_size(names); i++) {
		if (strcmp(names[i].name, button))
			continue;
		p->buttons = down ? p->buttons | names[i].bit : p->buttons & ~names[i].bit;
		return 0;
	}
	return err_set(err, -EINVAL, "a button is left, middle, right, side, extra, wheel-up or "
		       "wheel-down");
}

static int axis_event(struct json_object *data, bool absolute, struct pointer *p, struct err *err)
{
	const char *axis = json_object_get_string(json_object_object_get(data, "axis"));
	int64_t value = json_object_get_int64(json_object_object_get(data, "value"));

	if (!axis || (strcmp(axis, "x") && strcmp(axis, "y")))
		return err_set(err, -EINVAL, "an axis is x or y");
	if (absolute && (value < 0 || value > INPUT_ABS_MAX))
		return err_set(err, -EINVAL, "a place on an axis is 0 to %u", INPUT_ABS_MAX);
	if (!absolute && (value < -INT16_MAX || value > INT16_MAX))
		return err_set(err, -EINVAL, "a movement is at most %d", INT16_MAX);
	p->moved |= !absolute;
	p->placed |= absolute;
	if (absolute)
		*(*axis == 'x' ? &p->x : &p->y) = (unsigned)value;
	else
		*(*axis == 'x' ? &p->dx : &p->dy) += (int)value;
	return 0;
}

static int one_event(struct vm *vm, struct json_object *e, struct pointer *p, struct err *err)
{
	struct json_object *data = json_object_object_get(e, "data"), *key;
	const char *type = json_object_get_string(json_object_object_get(e, "type"));
	uint16_t code;
	int r;

	if (!type || !json_object_is_type(data, json_type_object))
		return err_set(err, -EINVAL, "an event is an object of type and data");
	if (!strcmp(type, "btn"))
		return button_event(data, p, err);
	if (!strcmp(type, "rel") || !strcmp(type, "abs"))
		return axis_event(data, *type == 'a', p, err);
	if (strcmp(type, "key"))
		return err_set(err, -EINVAL, "an event's type is key, btn, rel or abs");
	if (!json_object_object_get_ex(data, "key", &key))
		return err_set(err, -EINVAL, "a key event has key and down");
	r = key_of(key, &code, err);
	if (r == 0) {
		r = input_key(vm_input(vm), code,
			      json_object_get_boolean(json_object_object_get(data, "down")), 0);
		if (r < 0)
			return failed(r, err);
	}
	return r;
}

int ctl_input_send_event(struct vm *vm, struct json_object *args, struct json_object **ret,
			 struct err *err)
{
	struct json_object *list = json_object_object_get(args, "events");
	struct input *in = vm_input(vm);
	struct pointer p = { .x = in->abs_x, .y = in->abs_y, .buttons = in->buttons };
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_object_array_length(list); i++) {
		struct json_object *e = json_object_array_get_idx(list, i);

		r = json_object_is_type(e, json_type_object) ? one_event(vm, e, &p, err)
			: err_set(err, -EINVAL, "an event is an object of type and data");
	}
	if (r < 0)
		return r;
	if (p.placed)
		input_place(in, p.x, p.y, p.wheel, p.buttons);
	else if (p.moved)
		input_move(in, p.dx, p.dy, p.wheel, p.buttons);
	return 0;
}

int ctl_query_mice(struct vm *vm, struct json_object *args, struct json_object **ret,
		   struct err *err)
{
	bool current = true;
	int n = 0;

	*ret = json_object_new_array();
	for (const struct input_dev *d = vm_input(vm)->devs; d; d = d->next) {
		struct json_object *o;

		if (!d->move && !d->point)
			continue;
		o = json_object_new_object();
		ctl_add_text(o, "name", d->name);
		ctl_add_int(o, "index", n++);
		ctl_add_bool(o, "current", current);
		ctl_add_bool(o, "absolute", d->point != NULL);
		json_object_array_add(*ret, o);
		current = false;
	}
	return 0;
}

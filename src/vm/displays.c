/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The viewers of a machine's screen, and the way of keys and pointer into it. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "src/bus/bus.h"
#include "src/dev/input.h"
#include "src/display/vnc.h"
#include "src/vm/vm_priv.h"

struct screens *vm_screens(struct vm *vm) { return &vm->screens; }
struct input *vm_input(struct vm *vm) { return vm->input; }
struct vnc *vm_vnc(struct vm *vm) { return vm->vnc; }

static void screens_changed(void *opaque)
{
	struct vm *vm = opaque;

	if (vm->vnc)
		vnc_screens_changed(vm->vnc);
}

int vm_input_init(struct vm *vm, struct err *err)
{
	vm->screens = (struct screens){ .changed = screens_changed, .opaque = vm };
	vm->input = input_new(vm->vtime, err);
	return vm->input ? 0 : -ENOMEM;
}

void vm_input_fini(struct vm *vm)
{
	if (!vm->input)
		return; /* nor, perhaps, a bus yet */
	bus_lock(vm->bus);
	input_free(vm->input);
	bus_unlock(vm->bus);
	vm->input = NULL;
}

/*
 * From the VNC server to the machine.
 */
static void key(void *opaque, uint16_t code, bool down)
{
	struct vm *vm = opaque;

	/* Without a keyboard, or with a full one, a viewer's key is lost, as a real one. */
	if (input_key(vm->input, code, down, 0) < 0)
		return;
}

static void release_keys(void *opaque) { input_release_keys(((struct vm *)opaque)->input); }

static void point(void *opaque, unsigned x, unsigned y, unsigned w, unsigned h, int wheel,
		  unsigned buttons)
{
	input_point(((struct vm *)opaque)->input, x, y, w, h, wheel, buttons);
}

static void move(void *opaque, int dx, int dy, int wheel, unsigned buttons)
{
	input_move(((struct vm *)opaque)->input, dx, dy, wheel, buttons);
}

static bool is_absolute(void *opaque)
{
	return input_is_absolute(((struct vm *)opaque)->input);
}

/* QMP's VNC_* events: who serves, and who came or went. */
static void add(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static const char *family(const char *host)
{
	return !*host ? "unix" : strchr(host, ':') ? "ipv6" : "ipv4";
}

static struct json_object *server_json(const struct vnc *vnc)
{
	const char *where = vnc_where(vnc), *colon = strrchr(where, ':');
	bool is_unix = !strncmp(where, "unix:", 5);
	struct json_object *o = json_object_new_object();
	char host[256] = "";

	if (!is_unix)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - where) - 2 * (*where == '['),
			 where + (*where == '['));
	add(o, "host", host);
	add(o, "service", is_unix ? where + 5 : colon + 1);
	add(o, "family", family(host));
	add(o, "auth", vnc_has_password(vnc) ? "vnc" : "none");
	return o;
}

static void vnc_event(void *opaque, enum vnc_event ev, const struct vnc_peer *peer)
{
	static const char *const names[] = {
		[VNC_EVENT_CONNECTED] = "VNC_CONNECTED",
		[VNC_EVENT_INITIALIZED] = "VNC_INITIALIZED",
		[VNC_EVENT_DISCONNECTED] = "VNC_DISCONNECTED",
	};
	struct vm *vm = opaque;
	struct json_object *data = json_object_new_object(), *client = json_object_new_object();

	add(client, "host", peer->host);
	add(client, "service", peer->service);
	add(client, "family", family(peer->host));
	json_object_object_add(client, "websocket", json_object_new_boolean(peer->websocket));
	json_object_object_add(data, "server", server_json(vm->vnc));
	json_object_object_add(data, "client", client);
	vm_tell_named(vm, names[ev], data);
}

static int add_vnc(struct vm *vm, const struct dev_item *item, struct err *err)
{
	struct vnc_config cfg = {
		.loop = vm->loop, .log = vm->log, .screens = &vm->screens, .name = "bothy",
		.input = { key, release_keys, point, move, is_absolute, vm },
		.event = vnc_event, .event_opaque = vm,
	};

	if (vm->vnc)
		return err_set(err, -EINVAL, "--display vnc can be given once");
	for (size_t i = 0; i < item->count; i++) {
		const struct dev_prop_text *p = &item->props[i];

		if (!strcmp(p->name, "where"))
			cfg.where = p->value;
		else if (!strcmp(p->name, "password-file"))
			cfg.password_file = p->value;
		else
			return err_set(err, -EINVAL, "--display vnc knows password-file=FILE, not "
				       "'%s'", p->name);
	}
	return vnc_new(&cfg, &vm->vnc, err);
}

int vm_displays_init(struct vm *vm, struct err *err)
{
	int ret = 0;

	bus_lock(vm->bus);
	for (size_t i = 0; ret == 0 && i < vm->cfg.displays.count; i++) {
		const struct dev_item *item = &vm->cfg.displays.item[i];

		if (!strcmp(item->driver, "vnc"))
			ret = add_vnc(vm, item, err);
		else if (strcmp(item->driver, "none"))
			ret = err_set(err, -EINVAL, "there is no display '%s'; there are none and "
				      "vnc", item->driver);
	}
	bus_unlock(vm->bus);
	return ret;
}

void vm_displays_fini(struct vm *vm)
{
	struct vnc *vnc = vm->vnc;

	if (!vnc)
		return;
	bus_lock(vm->bus);
	vm->vnc = NULL;
	vnc_free(vnc);
	bus_unlock(vm->bus);
}

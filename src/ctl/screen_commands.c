/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that look at the screen and its viewers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/ctl/ctl_priv.h"
#include "src/display/picture.h"
#include "src/display/screen_text.h"
#include "src/display/surface.h"
#include "src/display/vnc.h"
#include "src/vm/vm.h"

#define PEERS_MAX 64

static const char *text_arg(struct json_object *args, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(args, name, &v) ? json_object_get_string(v) : NULL;
}

/* The surface that "device" names, with the newest picture. */
static struct surface *find_screen(struct vm *vm, struct json_object *args, struct err *err)
{
	const char *device = text_arg(args, "device");
	struct surface *s = screens_find(vm_screens(vm), device);
	struct json_object *head;

	if (!s && device)
		err_set(err, -ENOENT, "there is no graphics card '%s'", device);
	else if (!s)
		err_set(err, -ENOENT, "this machine has no graphics card; start it with --vga std");
	else if (json_object_object_get_ex(args, "head", &head) && json_object_get_int64(head))
		err_set(err, -ENOENT, "'%s' has one screen, head 0", s->name), s = NULL;
	if (s)
		surface_refresh(s);
	return s;
}

int ctl_screendump(struct vm *vm, struct json_object *args, struct json_object **ret,
		   struct err *err)
{
	const char *path = text_arg(args, "filename"), *format = text_arg(args, "format");
	struct surface *s = find_screen(vm, args, err);
	size_t len = strlen(path);
	bool png;

	if (!s)
		return -ENOENT;
	if (format && strcmp(format, "png") && strcmp(format, "ppm"))
		return err_set(err, -EINVAL, "Invalid parameter '%s'; format is png or ppm", format);
	png = format ? !strcmp(format, "png") : len > 4 && !strcasecmp(path + len - 4, ".png");
	return picture_write(png ? PICTURE_PNG : PICTURE_PPM, s->pixels, s->width, s->height, path,
			     err);
}

int ctl_screen_text(struct vm *vm, struct json_object *args, struct json_object **ret,
		    struct err *err)
{
	struct surface *s = find_screen(vm, args, err);
	struct text_screen t = { .cols = 0 };
	struct json_object *cursor;
	bool graphics = false;
	char *text;
	int r;

	if (!s)
		return -ENOENT;
	r = screen_text(s, &t, &graphics);
	if (r == -ENOTSUP)
		return err_set(err, r, "the screen shows graphics in which no characters are "
			       "recognised; screendump makes a picture of it");
	text = r == 0 ? text_screen_utf8(&t) : NULL;
	if (!text) {
		text_screen_fini(&t);
		return err_set(err, -ENOMEM, "out of memory for the screen's text");
	}
	*ret = json_object_new_object();
	ctl_add_text(*ret, "text", text);
	ctl_add_int(*ret, "columns", t.cols);
	ctl_add_int(*ret, "rows", t.rows);
	ctl_add_text(*ret, "mode", graphics ? "graphics" : "text");
	if (t.cursor_on) {
		cursor = json_object_new_object();
		ctl_add_int(cursor, "column", t.cursor_col);
		ctl_add_int(cursor, "row", t.cursor_row);
		json_object_object_add(*ret, "cursor", cursor);
	}
	free(text);
	text_screen_fini(&t);
	return 0;
}

/*
 * VNC.
 */
static const char *family_of(const char *host)
{
	return !host[0] || !strncmp(host, "unix", 4) ? "unix" : strchr(host, ':') ? "ipv6" : "ipv4";
}

static struct json_object *peers_of(const struct vnc *vnc)
{
	struct json_object *list = json_object_new_array();
	struct vnc_peer peers[PEERS_MAX];
	unsigned n = vnc_peers(vnc, peers, PEERS_MAX);

	for (unsigned i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		ctl_add_text(o, "host", peers[i].host);
		ctl_add_text(o, "service", peers[i].service);
		ctl_add_text(o, "family", family_of(peers[i].host));
		ctl_add_bool(o, "websocket", peers[i].websocket);
		json_object_array_add(list, o);
	}
	return list;
}

int ctl_query_vnc(struct vm *vm, struct json_object *args, struct json_object **ret,
		  struct err *err)
{
	const struct vnc *vnc = vm_vnc(vm);
	const char *where = vnc ? vnc_where(vnc) : "", *colon = strrchr(where, ':');
	char host[300];

	*ret = json_object_new_object();
	ctl_add_bool(*ret, "enabled", vnc != NULL);
	if (!vnc)
		return 0;
	if (!strncmp(where, "unix:", 5)) {
		ctl_add_text(*ret, "host", "");
		ctl_add_text(*ret, "service", where + 5);
		ctl_add_text(*ret, "family", "unix");
	} else {
		const char *from = where + (*where == '[');
		size_t len = (size_t)(colon - where) - 2 * (*where == '[');

		snprintf(host, sizeof(host), "%.*s", (int)min_of(len, sizeof(host) - 1), from);
		ctl_add_text(*ret, "host", host);
		ctl_add_text(*ret, "service", colon + 1);
		ctl_add_text(*ret, "family", family_of(host));
	}
	ctl_add_text(*ret, "auth", vnc_has_password(vnc) ? "vnc" : "none");
	json_object_object_add(*ret, "clients", peers_of(vnc));
	return 0;
}

static int no_vnc(struct err *err)
{
	return err_set(err, -ENOENT, "this machine has no VNC server; start it with --display vnc");
}

int ctl_set_password(struct vm *vm, struct json_object *args, struct json_object **ret,
		     struct err *err)
{
	const char *protocol = text_arg(args, "protocol"), *connected = text_arg(args, "connected");
	struct vnc *vnc = vm_vnc(vm);
	struct vnc_peer one;

	if (strcmp(protocol, "vnc"))
		return err_set(err, -EINVAL, "Invalid parameter '%s'; protocol is vnc", protocol);
	if (connected && strcmp(connected, "keep") && strcmp(connected, "fail") &&
	    strcmp(connected, "disconnect"))
		return err_set(err, -EINVAL, "Invalid parameter '%s'; connected is keep, disconnect "
			       "or fail", connected);
	if (!vnc)
		return no_vnc(err);
	if (connected && !strcmp(connected, "fail") && vnc_peers(vnc, &one, 1))
		return err_set(err, -EBUSY, "a viewer is connected");
	vnc_set_password(vnc, text_arg(args, "password"),
			 connected && !strcmp(connected, "disconnect"));
	return 0;
}

int ctl_change_vnc_password(struct vm *vm, struct json_object *args, struct json_object **ret,
			    struct err *err)
{
	if (!vm_vnc(vm))
		return no_vnc(err);
	vnc_set_password(vm_vnc(vm), text_arg(args, "password"), false);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "src/base/accept.h"
#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/ctl/ctl_priv.h"
#include "src/ctl/lines.h"
#include "src/vm/vm.h"

#define JSON_DEPTH 32
#define CLIENTS_MAX 256

struct ctl_client {
	struct ctl *ctl;
	struct ctl_client *next;
	int fd;
	bool owner;
	bool negotiated;
	bool gone; /* freed once nobody stands on it */
	bool busy; /* inside its read callback */
	struct lines lines;
	char *out;
	size_t out_len, out_cap;
};

struct ctl {
	struct vm *vm;
	struct ctl_client *clients;
	struct vm_listener listener;
	unsigned count;
	struct acceptor socket; /* where more clients come */
};

/*
 * Sending. What the socket does not take at once waits in a bounded queue.
 */
static void client_gone(struct ctl_client *cl)
{
	if (cl->gone)
		return;
	cl->gone = true;
	loop_fd_del(vm_loop(cl->ctl->vm), cl->fd);
	close(cl->fd);
	cl->fd = -1;
}

static void client_event(void *opaque, uint32_t events);

static void client_flush(struct ctl_client *cl)
{
	size_t done = 0;

	while (done < cl->out_len) {
		ssize_t n = send(cl->fd, cl->out + done, cl->out_len - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			client_gone(cl);
			return;
		}
		done += (size_t)n;
	}
	memmove(cl->out, cl->out + done, cl->out_len - done);
	cl->out_len -= done;
	if (loop_fd_set(vm_loop(cl->ctl->vm), cl->fd, cl->out_len ? EPOLLIN | EPOLLOUT : EPOLLIN,
			client_event, cl) < 0)
		client_gone(cl);
}

static void client_send(struct ctl_client *cl, const char *text, size_t len)
{
	if (cl->gone)
		return;
	if (len > CTL_QUEUE_MAX - cl->out_len) {
		client_gone(cl); /* too slow a reader */
		return;
	}
	if (len > cl->out_cap - cl->out_len) {
		size_t cap = align_up(cl->out_len + len, 4096);
		char *more = realloc(cl->out, cap);

		if (!more) {
			client_gone(cl);
			return;
		}
		cl->out = more;
		cl->out_cap = cap;
	}
	memcpy(cl->out + cl->out_len, text, len);
	cl->out_len += len;
}

/* One object as a line; takes @o over. */
static void client_send_json(struct ctl_client *cl, struct json_object *o)
{
	size_t len;
	const char *text = json_object_to_json_string_length(
		o, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

	client_send(cl, text, len);
	client_send(cl, "\n", 1);
	json_object_put(o);
	if (!cl->gone)
		client_flush(cl);
}

static void send_error(struct ctl_client *cl, struct json_object *id, const char *class,
		       const char *desc)
{
	struct json_object *o = json_object_new_object(), *e = json_object_new_object();

	if (id)
		json_object_object_add(o, "id", json_object_get(id));
	json_object_object_add(e, "class", json_object_new_string(class));
	json_object_object_add(e, "desc", json_object_new_string(desc));
	json_object_object_add(o, "error", e);
	client_send_json(cl, o);
}

/*
 * Commands.
 */
static const struct ctl_command *command_find(const char *name)
{
	for (size_t i = 0; i < ctl_command_count; i++)
		if (!strcmp(ctl_commands[i].name, name))
			return &ctl_commands[i];
	return NULL;
}

static bool type_is(struct json_object *v, enum ctl_type t)
{
	static const enum json_type map[] = {
		[CTL_STRING] = json_type_string, [CTL_BOOL] = json_type_boolean,
		[CTL_INT] = json_type_int, [CTL_ARRAY] = json_type_array,
		[CTL_OBJECT] = json_type_object,
	};

	return json_object_is_type(v, map[t]);
}

static int check_args(const struct ctl_command *cmd, struct json_object *args, struct err *err)
{
	static const char *const names[] = { "string", "boolean", "integer", "array", "object" };
	struct json_object *v;

	json_object_object_foreach(args, key, value) {
		size_t i = 0;

		while (i < CTL_ARGS_MAX && cmd->args[i].name && strcmp(cmd->args[i].name, key))
			i++;
		if (i == CTL_ARGS_MAX || !cmd->args[i].name)
			return err_set(err, -EINVAL, "Parameter '%s' is unexpected", key);
		if (!type_is(value, cmd->args[i].type))
			return err_set(err, -EINVAL, "Invalid parameter type for '%s', expected: "
				       "%s", key, names[cmd->args[i].type]);
	}
	for (size_t i = 0; i < CTL_ARGS_MAX && cmd->args[i].name; i++)
		if (cmd->args[i].required &&
		    !json_object_object_get_ex(args, cmd->args[i].name, &v))
			return err_set(err, -EINVAL, "Parameter '%s' is missing",
				       cmd->args[i].name);
	return 0;
}

static int negotiate(struct ctl_client *cl, struct json_object *args, struct err *err)
{
	struct json_object *enable;

	if (json_object_object_get_ex(args, "enable", &enable) && json_object_array_length(enable))
		return err_set(err, -EINVAL, "This server offers no capabilities to enable");
	cl->negotiated = true;
	return 0;
}

/* A machine that is being written down is not touched. */
static int may_run(struct vm *vm, const char *name, struct err *err)
{
	uint64_t done, total;

	if (!vm_saving(vm, &done, &total) || strncmp(name, "query-", 6) == 0 ||
	    strcmp(name, "qmp_capabilities") == 0 || strcmp(name, "quit") == 0)
		return 0;
	return err_set(err, -EBUSY, "the machine is being saved; try again when that is done "
		       "(query-save tells how far it is), or break it off with quit");
}

static void execute(struct ctl_client *cl, const char *name, struct json_object *args,
		    struct json_object *id)
{
	const struct ctl_command *cmd = command_find(name);
	struct json_object *ret = NULL, *answer;
	struct err err = { "" };
	bool capabilities = !strcmp(name, "qmp_capabilities");
	int r;

	if (!cmd || (!cl->negotiated && !capabilities)) {
		if (!cmd)
			err_set(&err, 0, "The command %.200s has not been found", name);
		else
			err_set(&err, 0, "Expecting capabilities negotiation with "
				"'qmp_capabilities'");
		send_error(cl, id, "CommandNotFound", err.text);
		return;
	}
	r = check_args(cmd, args, &err);
	if (r == 0)
		r = may_run(cl->ctl->vm, name, &err);
	if (r == 0)
		r = capabilities && !cl->negotiated ? negotiate(cl, args, &err)
						    : cmd->fn(cl->ctl->vm, args, &ret, &err);
	if (r < 0) {
		send_error(cl, id, r == -EALREADY ? "CommandNotFound" : "GenericError", err.text);
		return;
	}
	answer = json_object_new_object();
	json_object_object_add(answer, "return", ret ? ret : json_object_new_object());
	if (id)
		json_object_object_add(answer, "id", json_object_get(id));
	client_send_json(cl, answer);
}

/* One request object: "execute", perhaps "arguments" and "id", nothing else. */
static void request(struct ctl_client *cl, struct json_object *o)
{
	struct json_object *name = NULL, *args = NULL, *id = NULL, *none = NULL;
	struct err err = { "" };

	if (!json_object_is_type(o, json_type_object)) {
		send_error(cl, NULL, "GenericError", "QMP input must be a JSON object");
		return;
	}
	json_object_object_get_ex(o, "id", &id);
	json_object_object_foreach(o, key, value) {
		if (!strcmp(key, "execute"))
			name = value;
		else if (!strcmp(key, "arguments"))
			args = value;
		else if (strcmp(key, "id"))
			err_set(&err, 0, "QMP input member '%.100s' is unexpected", key);
	}
	if (!err_is_set(&err) && !name)
		err_set(&err, 0, "QMP input lacks member 'execute'");
	else if (!err_is_set(&err) && !json_object_is_type(name, json_type_string))
		err_set(&err, 0, "QMP input member 'execute' must be a string");
	else if (!err_is_set(&err) && args && !json_object_is_type(args, json_type_object))
		err_set(&err, 0, "QMP input member 'arguments' must be an object");
	if (err_is_set(&err)) {
		send_error(cl, id, "GenericError", err.text);
		return;
	}
	if (!args)
		args = none = json_object_new_object();
	execute(cl, json_object_get_string(name), args, id);
	json_object_put(none);
}

static int one_line(void *opaque, char *line, size_t len)
{
	struct ctl_client *cl = opaque;
	struct json_tokener *tok;
	struct json_object *o;
	enum json_tokener_error why;

	if (strspn(line, " \t") == len)
		return 0; /* an empty line */
	if (strlen(line) != len) { /* the parser would end there */
		send_error(cl, NULL, "GenericError", "JSON parse error: a NUL byte");
		return cl->gone ? -EPIPE : 0;
	}
	tok = json_tokener_new_ex(JSON_DEPTH);
	if (!tok) {
		client_gone(cl);
		return -ENOMEM;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With the NUL: a number or a name at the end is then complete. */
	o = json_tokener_parse_ex(tok, line, (int)len + 1);
	why = json_tokener_get_error(tok);
	if (why == json_tokener_continue)
		why = json_tokener_error_parse_eof;
	if (why != json_tokener_success) {
		struct err err = { "" };

		err_set(&err, 0, "JSON parse error: %s", json_tokener_error_desc(why));
		send_error(cl, NULL, "GenericError", err.text);
	} else {
		request(cl, o);
	}
	json_object_put(o);
	json_tokener_free(tok);
	return cl->gone ? -EPIPE : 0;
}

/*
 * Clients.
 */
static void client_free(struct ctl_client *cl)
{
	struct ctl *c = cl->ctl;

	for (struct ctl_client **p = &c->clients; *p; p = &(*p)->next) {
		if (*p == cl) {
			*p = cl->next;
			break;
		}
	}
	client_gone(cl);
	c->count--;
	lines_fini(&cl->lines);
	free(cl->out);
	free(cl);
}

static void client_read(struct ctl_client *cl)
{
	char buf[4096];
	ssize_t n = recv(cl->fd, buf, sizeof(buf), MSG_DONTWAIT);
	int ret;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_gone(cl);
		return;
	}
	ret = lines_feed(&cl->lines, buf, (size_t)n, one_line, cl);
	if (ret == -E2BIG) {
		send_error(cl, NULL, "GenericError", "JSON parse error: the line is longer than "
			   "65536 bytes; the connection is closed");
		client_gone(cl);
	} else if (ret == -ENOMEM) {
		client_gone(cl);
	}
}

static void client_event(void *opaque, uint32_t events)
{
	struct ctl_client *cl = opaque;
	struct vm *vm = cl->ctl->vm;
	bool end;

	if (cl->busy)
		return; /* its command takes long, and this is in the midst of it */
	cl->busy = true;
	if (!cl->gone && events & EPOLLOUT)
		client_flush(cl);
	if (!cl->gone && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		client_read(cl);
	cl->busy = false;
	if (!cl->gone)
		return;
	end = cl->owner;
	client_free(cl);
	if (end)
		vm_end(vm, VM_REASON_HOST_QUIT);
}

static void sweep(void *opaque)
{
	struct ctl *c = opaque;
	struct ctl_client *cl = c->clients, *next;
	bool end = false;

	for (; cl; cl = next) {
		next = cl->next;
		if (!cl->gone || cl->busy)
			continue;
		end |= cl->owner;
		client_free(cl);
	}
	if (end)
		vm_end(c->vm, VM_REASON_HOST_QUIT);
}

static const char *const event_names[] = {
	[VM_EVENT_SHUTDOWN] = "SHUTDOWN", [VM_EVENT_RESET] = "RESET",
	[VM_EVENT_STOP] = "STOP", [VM_EVENT_RESUME] = "RESUME",
	[VM_EVENT_POWERDOWN] = "POWERDOWN", [VM_EVENT_PANICKED] = "GUEST_PANICKED",
};

static struct json_object *event_json(const struct vm_event *ev)
{
	struct json_object *o = json_object_new_object(), *t = json_object_new_object();
	struct json_object *data = json_object_new_object();
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	json_object_object_add(t, "seconds", json_object_new_int64(ts.tv_sec));
	json_object_object_add(t, "microseconds", json_object_new_int64(ts.tv_nsec / 1000));
	json_object_object_add(o, "timestamp", t);
	json_object_object_add(o, "event", json_object_new_string(
		ev->type == VM_EVENT_NAMED ? ev->name : event_names[ev->type]));
	if (ev->type == VM_EVENT_SHUTDOWN || ev->type == VM_EVENT_RESET) {
		json_object_object_add(data, "guest",
				       json_object_new_boolean(vm_reason_is_guest(ev->reason)));
		json_object_object_add(data, "reason",
				       json_object_new_string(vm_reason_name(ev->reason)));
	} else if (ev->type == VM_EVENT_PANICKED) {
		json_object_object_add(data, "action", json_object_new_string("run"));
	} else if (ev->type == VM_EVENT_NAMED && ev->data) {
		json_object_put(data);
		data = json_object_get(ev->data);
	} else {
		json_object_put(data);
		return o;
	}
	json_object_object_add(o, "data", data);
	return o;
}

static void vm_told(void *opaque, const struct vm_event *ev)
{
	struct ctl *c = opaque;
	struct json_object *o = event_json(ev);
	bool gone = false;

	for (struct ctl_client *cl = c->clients; cl; cl = cl->next) {
		if (cl->negotiated && !cl->gone)
			client_send_json(cl, json_object_get(o));
		gone |= cl->gone && !cl->busy;
	}
	json_object_put(o);
	/* Whoever told us may still stand on the list: free later. */
	if (gone)
		loop_post(vm_loop(c->vm), sweep, c);
}

struct ctl *ctl_new(struct vm *vm, struct err *err)
{
	struct ctl *c = calloc(1, sizeof(*c));

	if (!c) {
		err_set(err, -ENOMEM, "out of memory for the control channel");
		return NULL;
	}
	c->vm = vm;
	c->socket = (struct acceptor){ -1, -1 };
	c->listener = (struct vm_listener){ .event = vm_told, .opaque = c };
	vm_listen(vm, &c->listener);
	return c;
}

void ctl_free(struct ctl *c)
{
	if (!c)
		return;
	if (c->socket.fd >= 0)
		loop_fd_del(vm_loop(c->vm), c->socket.fd);
	acceptor_fini(&c->socket);
	while (c->clients)
		client_free(c->clients);
	free(c);
}

int ctl_add_client(struct ctl *c, int fd, bool owner, struct err *err)
{
	struct json_object *hello, *qmp;
	struct ctl_client *cl;

	if (c->count == CLIENTS_MAX) {
		close(fd);
		return err_set(err, -EBUSY, "the control channel has %d clients already",
			       CLIENTS_MAX);
	}
	cl = calloc(1, sizeof(*cl));
	if (!cl) {
		close(fd);
		return err_set(err, -ENOMEM, "out of memory for the control channel");
	}
	cl->ctl = c;
	cl->fd = fd;
	cl->owner = owner;
	lines_init(&cl->lines);
	cl->next = c->clients;
	c->clients = cl;
	c->count++;
	hello = json_object_new_object();
	qmp = json_object_new_object();
	json_object_object_add(qmp, "version", ctl_version());
	json_object_object_add(qmp, "capabilities", json_object_new_array());
	json_object_object_add(hello, "QMP", qmp);
	client_send_json(cl, hello);
	if (!cl->gone)
		loop_fd_urgent(vm_loop(c->vm), fd);
	if (cl->gone) {
		client_free(cl);
		return err_set(err, -EPIPE, "the control channel's other end is closed");
	}
	return 0;
}

/* One that finds no room is told why. */
static void refuse(int fd, const char *why)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "{\"error\": {\"class\": \"GenericError\", \"desc\": "
			 "\"%s\"}}\n", why);

	if (send(fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* gone already */
}

static void refuse_for_files(int fd)
{
	refuse(fd, "the machine's process has as many files open as it may; raise its limit "
	       "(ulimit -n)");
}

static void listener_event(void *opaque, uint32_t events)
{
	struct ctl *c = opaque;
	int fd = acceptor_take(&c->socket, refuse_for_files);
	struct err err = { "" };

	if (fd < 0)
		return;
	if (c->count == CLIENTS_MAX) {
		refuse(fd, "the machine has as many control clients as it takes; close one first");
		close(fd);
		return;
	}
	if (ctl_add_client(c, fd, false, &err) < 0)
		return; /* gone already, or out of memory: it sees the end */
}

int ctl_listen(struct ctl *c, int fd, struct err *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(err, -errno, "the control socket cannot be used: %s",
			       strerror(errno));
	acceptor_init(&c->socket, fd);
	if (loop_fd_set(vm_loop(c->vm), fd, EPOLLIN, listener_event, c) < 0)
		return err_set(err, -EIO, "the control socket cannot be watched");
	loop_fd_urgent(vm_loop(c->vm), fd);
	return 0;
}

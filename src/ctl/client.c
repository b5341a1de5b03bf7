/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "src/base/bits.h"

/* Answers may be long (screens, lists); this much is no machine of ours. */
#define LINE_MAX_BYTES (64u << 20)

struct ctl_conn {
	int fd;
	char *buf;
	size_t len, cap;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int wait_for(struct ctl_conn *c, short events, int64_t deadline_ms, struct err *err)
{
	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = events };
		int64_t left = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
		int n;

		if (deadline_ms >= 0 && left <= 0)
			return err_set(err, -ETIMEDOUT, "the machine does not answer in time");
		n = poll(&p, 1, left < 0 ? -1 : (int)min_of(left, (int64_t)1000000));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_set(err, -errno, "waiting for the machine: %s",
				       strerror(errno));
	}
}

/* The next line as JSON. */
static int read_object(struct ctl_conn *c, int64_t deadline_ms, struct json_object **out,
		       struct err *err)
{
	for (;;) {
		char *end = memchr(c->buf, '\n', c->len);
		ssize_t n;
		int ret;

		if (end) {
			*end = '\0';
			*out = json_tokener_parse(c->buf);
			c->len -= (size_t)(end + 1 - c->buf);
			memmove(c->buf, end + 1, c->len);
			return *out ? 0 : err_set(err, -EPROTO, "what answers is no machine: its "
						  "line is no JSON");
		}
		if (c->len == c->cap) {
			size_t cap = c->cap * 2;
			char *more = cap <= LINE_MAX_BYTES ? realloc(c->buf, cap) : NULL;

			if (!more)
				return err_set(err, -EMSGSIZE, "the machine's answer is too long");
			c->buf = more;
			c->cap = cap;
		}
		ret = wait_for(c, POLLIN, deadline_ms, err);
		if (ret < 0)
			return ret;
		n = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(err, -EPIPE, "the machine has closed the connection");
		c->len += (size_t)n;
	}
}

static int send_all(struct ctl_conn *c, const char *text, size_t len, int64_t deadline_ms,
		    struct err *err)
{
	while (len) {
		int ret = wait_for(c, POLLOUT, deadline_ms, err);
		ssize_t n;

		if (ret < 0)
			return ret;
		n = send(c->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_set(err, -EPIPE, "the machine has closed the connection");
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int ctl_call(struct ctl_conn *c, const char *name, struct json_object *args, unsigned timeout_s,
	     struct json_object **ret, struct err *err)
{
	struct json_object *req = json_object_new_object(), *o, *v, *desc;
	int64_t deadline = now_ms() + (int64_t)timeout_s * 1000;
	const char *text;
	size_t len;
	int rc;

	*ret = NULL;
	json_object_object_add(req, "execute", json_object_new_string(name));
	if (args)
		json_object_object_add(req, "arguments", args);
	text = json_object_to_json_string_length(req, JSON_C_TO_STRING_PLAIN, &len);
	rc = send_all(c, text, len, deadline, err);
	if (rc == 0)
		rc = send_all(c, "\n", 1, deadline, err);
	json_object_put(req);
	while (rc == 0) {
		rc = read_object(c, deadline, &o, err);
		if (rc < 0)
			break;
		if (json_object_object_get_ex(o, "return", &v)) {
			*ret = json_object_get(v);
			json_object_put(o);
			return 0;
		}
		if (json_object_object_get_ex(o, "error", &v)) {
			rc = json_object_object_get_ex(v, "desc", &desc)
				? err_set(err, -EREMOTEIO, "%.900s", json_object_get_string(desc))
				: err_set(err, -EREMOTEIO, "the machine answers with an error");
		}
		json_object_put(o); /* an event, or the error */
	}
	return rc;
}

int ctl_next_event(struct ctl_conn *c, unsigned timeout_s, struct json_object **event,
		   struct err *err)
{
	int64_t deadline = timeout_s ? now_ms() + (int64_t)timeout_s * 1000 : -1;
	struct json_object *o, *v;
	int rc;

	for (;;) {
		rc = read_object(c, deadline, &o, err);
		if (rc < 0)
			return rc;
		if (json_object_object_get_ex(o, "event", &v)) {
			*event = o;
			return 0;
		}
		json_object_put(o);
	}
}

static int greet(struct ctl_conn *c, unsigned timeout_s, struct err *err)
{
	struct json_object *o = NULL, *v;
	int rc = read_object(c, now_ms() + (int64_t)timeout_s * 1000, &o, err);

	if (rc == 0 && !json_object_object_get_ex(o, "QMP", &v))
		rc = err_set(err, -EPROTO, "what answers is no machine's control channel");
	json_object_put(o);
	if (rc < 0)
		return rc;
	rc = ctl_call(c, "qmp_capabilities", NULL, timeout_s, &o, err);
	if (rc == 0)
		json_object_put(o);
	return rc;
}

struct ctl_conn *ctl_connect(const char *path, unsigned timeout_s, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct ctl_conn *c;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		err_set(err, -ENAMETOOLONG, "'%s' is too long for a socket's path", path);
		return NULL;
	}
	memcpy(sa.sun_path, path, strlen(path) + 1);
	c = calloc(1, sizeof(*c));
	if (c) {
		c->cap = 65536;
		c->buf = malloc(c->cap);
	}
	if (!c || !c->buf) {
		free(c);
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno == ENOENT)
			err_set(err, -ENOENT, "there is no socket '%s'; is the machine running, "
				"with --control %s?", path, path);
		else if (errno == ECONNREFUSED)
			err_set(err, -ECONNREFUSED, "nobody listens at '%s'; its machine has ended",
				path);
		else
			err_set(err, -errno, "'%s' cannot be connected to: %s", path,
				strerror(errno));
		ctl_disconnect(c);
		return NULL;
	}
	if (greet(c, timeout_s, err) < 0) {
		err_prefix(err, 0, "'%s'", path);
		ctl_disconnect(c);
		return NULL;
	}
	return c;
}

void ctl_disconnect(struct ctl_conn *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	free(c);
}

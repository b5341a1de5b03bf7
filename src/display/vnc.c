/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/display/vnc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/display/vnc_priv.h"

#define FRAME_MS 33u       /* between refreshes while the picture moves */
#define CALM_MS 100u       /* once it has not for a while */
#define CALM_AFTER 30u     /* refreshes */
#define DEFAULT_WIDTH 720u /* while there is no screen */
#define DEFAULT_HEIGHT 400u

int64_t vnc_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

unsigned vnc_width(const struct vnc *v)
{
	return v->surface && v->surface->pixels ? v->surface->width : DEFAULT_WIDTH;
}

unsigned vnc_height(const struct vnc *v)
{
	return v->surface && v->surface->pixels ? v->surface->height : DEFAULT_HEIGHT;
}

/*
 * The clock of refreshes: off while nobody looks.
 */
static void set_interval(struct vnc *v, unsigned ms)
{
	struct itimerspec it = {
		.it_value.tv_nsec = ms * 1000000l, .it_interval.tv_nsec = ms * 1000000l,
	};

	if (v->interval_ms == ms)
		return;
	v->interval_ms = ms;
	timerfd_settime(v->timer_fd, 0, &it, NULL);
}

static void sweep(struct vnc *v)
{
	struct vnc_client *next;

	for (struct vnc_client *c = v->clients; c; c = next) {
		next = c->next;
		if (c->gone && !c->encoding_now)
			vnc_client_free(c);
	}
}

void vnc_wake(struct vnc *v)
{
	if (v->busy)
		return;
	sweep(v);
	v->idle = 0;
	set_interval(v, v->count ? FRAME_MS : 0);
}

/* Handshakes that take too long end; those that wait for a greeting get it. */
static void watch_handshakes(struct vnc *v)
{
	int64_t now = vnc_now_ms();

	for (struct vnc_client *c = v->clients; c; c = c->next) {
		if (c->gone || c->state == VNC_RUNNING)
			continue;
		if (now - c->since_ms > VNC_HANDSHAKE_MS)
			vnc_client_drop(c);
		else if (c->state == VNC_DETECT && now - c->since_ms >= VNC_DETECT_MS)
			vnc_client_start(c);
	}
}

static void timer_event(void *opaque, uint32_t events)
{
	struct vnc *v = opaque;
	uint64_t ticks;
	bool wanted = false, waiting = false;

	if (read(v->timer_fd, &ticks, sizeof(ticks)) < 0)
		return;
	v->busy = true;
	watch_handshakes(v);
	for (struct vnc_client *c = v->clients; c; c = c->next) {
		wanted |= c->wants && !c->out.len;
		waiting |= c->state != VNC_RUNNING;
	}
	v->dirty_seen = false;
	if (wanted && v->surface)
		surface_refresh(v->surface);
	for (struct vnc_client *c = v->clients; c; c = c->next)
		vnc_client_update(c);
	v->busy = false;
	sweep(v);
	v->idle = v->dirty_seen ? 0 : v->idle + 1;
	set_interval(v, !v->count ? 0 : waiting || v->idle < CALM_AFTER ? FRAME_MS : CALM_MS);
}

/* The worker has something to send. */
static void worker_event(void *opaque, uint32_t events)
{
	struct vnc *v = opaque;
	struct vnc_job *j;
	eventfd_t n;

	if (eventfd_read(v->worker.event_fd, &n) < 0)
		return;
	v->busy = true;
	while ((j = vnc_worker_done(&v->worker)) != NULL)
		vnc_client_encoded(j);
	v->busy = false;
	sweep(v);
	if (!v->count)
		set_interval(v, 0);
}

/*
 * The surface.
 */
static void on_resized(void *opaque)
{
	struct vnc *v = opaque;

	v->dirty_seen = true;
	for (struct vnc_client *c = v->clients; c; c = c->next)
		if (!c->gone)
			vnc_client_resized(c);
}

static void on_dirty(void *opaque, const struct rect *r)
{
	struct vnc *v = opaque;

	v->dirty_seen = true;
	for (struct vnc_client *c = v->clients; c; c = c->next)
		if (!c->gone && r->x < c->w && r->y < c->h && vnc_client_mark(c, r) < 0)
			vnc_client_drop(c);
}

static void on_gone(void *opaque)
{
	struct vnc *v = opaque;

	v->surface = NULL;
	on_resized(v);
}

void vnc_screens_changed(struct vnc *v)
{
	struct surface *s = screens_find(v->cfg.screens, NULL);

	if (s == v->surface)
		return;
	if (v->surface)
		surface_unlisten(v->surface, &v->listener);
	v->surface = s;
	if (s)
		surface_listen(s, &v->listener);
	on_resized(v);
}

/*
 * Viewers.
 */
/* A newcomer takes the place of who has been longest on the doorstep. False: all who are
 * here are in. */
static bool make_room(struct vnc *v)
{
	struct vnc_client *oldest = NULL;

	for (struct vnc_client *c = v->clients; c; c = c->next)
		if (!c->gone && c->state < VNC_INIT)
			oldest = c; /* the list's head is the newest */
	if (!oldest)
		return false;
	vnc_client_drop(oldest);
	vnc_client_free(oldest);
	return true;
}

static void accept_event(void *opaque, uint32_t events)
{
	struct vnc *v = opaque;
	int fd = acceptor_take(&v->acceptor, NULL);

	if (fd < 0)
		return;
	if (v->count == VNC_CLIENTS_MAX && !make_room(v)) {
		log_info(v->cfg.log, "VNC: a viewer is dropped: there are %u already", v->count);
		close(fd);
		return;
	}
	/* A viewer who comes sees the newest picture and its size. */
	if (v->surface && !v->count)
		surface_refresh(v->surface);
	vnc_client_new(v, fd);
	vnc_wake(v);
}

void vnc_set_password(struct vnc *v, const char *password, bool drop)
{
	char *copy = password ? strdup(password) : NULL;

	if (v->password)
		explicit_bzero(v->password, strlen(v->password));
	free(v->password);
	v->password = copy;
	/* Without memory nobody gets in, rather than everybody. */
	if (password && !copy)
		v->password = calloc(1, 1);
	v->failures = 0;
	for (struct vnc_client *c = v->clients; c; c = c->next)
		if (drop || c->state < VNC_INIT)
			vnc_client_drop(c);
	vnc_wake(v);
}

bool vnc_has_password(const struct vnc *v)
{
	return v->password != NULL;
}

const char *vnc_where(const struct vnc *v)
{
	return v->where;
}

void vnc_tell(struct vnc_client *c, enum vnc_event ev)
{
	struct vnc *v = c->vnc;

	c->peer.websocket = c->websocket;
	c->peer.authenticated = c->state >= VNC_INIT;
	if (v->cfg.event && !v->ending)
		v->cfg.event(v->cfg.event_opaque, ev, &c->peer);
}

unsigned vnc_peers(const struct vnc *v, struct vnc_peer *peers, unsigned max)
{
	unsigned n = 0;

	for (const struct vnc_client *c = v->clients; c && n < max; c = c->next) {
		if (c->gone || c->state <= VNC_HTTP)
			continue;
		peers[n] = c->peer;
		peers[n].websocket = c->websocket;
		peers[n++].authenticated = c->state >= VNC_INIT;
	}
	return n;
}

/*
 * Life.
 */
static int start(struct vnc *v, struct err *err)
{
	int fd, ret;

	v->name = strdup(v->cfg.name ? v->cfg.name : "bothy");
	v->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!v->name || v->timer_fd < 0)
		return err_set(err, -ENOMEM, "cannot make the VNC server's timer");
	if (v->cfg.password_file) {
		ret = vnc_password_read(v->cfg.password_file, &v->password, err);
		if (ret < 0)
			return ret;
	}
	ret = vnc_listen(v->cfg.where, &fd, &v->where, &v->unlink_path, err);
	if (ret < 0)
		return ret;
	acceptor_init(&v->acceptor, fd);
	ret = vnc_worker_start(&v->worker);
	if (ret == 0)
		ret = loop_fd_set(v->cfg.loop, v->worker.event_fd, EPOLLIN, worker_event, v);
	if (ret == 0)
		ret = loop_fd_set(v->cfg.loop, v->timer_fd, EPOLLIN, timer_event, v);
	if (ret == 0)
		ret = loop_fd_set(v->cfg.loop, v->acceptor.fd, EPOLLIN, accept_event, v);
	return ret < 0 ? err_set(err, ret, "the VNC server cannot start: %s",
				 strerror(-ret)) : 0;
}

int vnc_new(const struct vnc_config *cfg, struct vnc **out, struct err *err)
{
	struct vnc *v = calloc(1, sizeof(*v));
	int ret;

	*out = NULL;
	if (!v)
		return err_set(err, -ENOMEM, "out of memory for the VNC server");
	v->cfg = *cfg;
	v->acceptor.fd = v->acceptor.spare_fd = v->timer_fd = v->worker.event_fd = -1;
	v->listener = (struct surface_listener){
		.resized = on_resized, .dirty = on_dirty, .gone = on_gone, .opaque = v,
	};
	ret = start(v, err);
	if (ret < 0) {
		vnc_free(v);
		return ret;
	}
	vnc_screens_changed(v);
	*out = v;
	return 0;
}

void vnc_free(struct vnc *v)
{
	if (!v)
		return;
	v->busy = v->ending = true;
	if (v->worker.event_fd >= 0)
		loop_fd_del(v->cfg.loop, v->worker.event_fd);
	vnc_worker_stop(&v->worker);
	while (v->clients)
		vnc_client_free(v->clients);
	if (v->surface)
		surface_unlisten(v->surface, &v->listener);
	if (v->acceptor.fd >= 0) {
		loop_fd_del(v->cfg.loop, v->acceptor.fd);
		close(v->acceptor.fd);
		acceptor_fini(&v->acceptor);
	}
	if (v->timer_fd >= 0) {
		loop_fd_del(v->cfg.loop, v->timer_fd);
		close(v->timer_fd);
	}
	if (v->unlink_path)
		unlink(v->unlink_path);
	if (v->password)
		explicit_bzero(v->password, strlen(v->password));
	free(v->password);
	free(v->unlink_path);
	free(v->where);
	free(v->name);
	free(v);
}

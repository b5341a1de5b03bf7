/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libslirp on our event loop. The library is told of time and descriptors between two
 * waits: it is asked what it waits for (update()), and given what has come (poll_all()).
 * It asks again only when something happened to it, from a timer that is due at once, so
 * that many packets in a row cost one look at its sockets.
 */
#include "src/net/user.h"

#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/net/user_priv.h"

#define MS 1000000ll
#define WAITING_MAX 512u /* packets for a guest that has no room */

struct timer {
	struct vtimer t;
	struct net_user *u;
	SlirpTimerId id;
	void *opaque;
};

struct waiting {
	struct waiting *next;
	size_t len;
	uint8_t data[];
};

struct net_user {
	struct net_user_config cfg;
	struct net_peer peer;
	Slirp *slirp;
	struct vtimer update; /* ask what it waits for; its own timeouts */
	struct pollfd *fds;   /* what it waits for */
	size_t nfds, cap, watched; /* the first @watched of @seen are on the loop */
	int *seen;
	struct waiting *head, **tail;
	unsigned waiting;
	struct log_limit limit;
};

struct net_peer *net_user_peer(struct net_user *u) { return &u->peer; }

/*
 * To the guest.
 */
static bool give(struct net_user *u, const void *buf, size_t len)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct net_packet pkt = { &iov, 1, len, { .csum_valid = true } };

	return net_send(&u->peer, &pkt);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct net_user *u = opaque;
	struct waiting *w;

	if (!u->head && give(u, buf, len))
		return (ssize_t)len;
	w = u->waiting < WAITING_MAX ? malloc(sizeof(*w) + len) : NULL;
	if (!w)
		return (ssize_t)len; /* lost; TCP sends it again */
	w->next = NULL;
	w->len = len;
	memcpy(w->data, buf, len);
	*u->tail = w;
	u->tail = &w->next;
	u->waiting++;
	return (ssize_t)len;
}

static void drop_first(struct net_user *u)
{
	struct waiting *w = u->head;

	u->head = w->next;
	if (!u->head)
		u->tail = &u->head;
	u->waiting--;
	free(w);
}

static void writable(struct net_peer *p)
{
	struct net_user *u = p->opaque;

	while (u->head && give(u, u->head->data, u->head->len))
		drop_first(u);
}

/*
 * From the guest. Long segments are none to the library: it takes them as they are, but
 * wants their checksum.
 */
static void soon(struct net_user *u)
{
	int64_t now = vtime_now_ns(u->cfg.vtime);

	if (!vtimer_armed(&u->update) || u->update.deadline_ns > now)
		vtimer_arm(&u->update, now);
}

static bool receive(struct net_peer *p, const struct net_packet *pkt)
{
	struct net_user *u = p->opaque;
	uint8_t *flat = malloc(pkt->len);

	if (!flat)
		return true;
	iov_to_buf(pkt->iov, pkt->niov, 0, flat, pkt->len);
	net_checksum(flat, pkt->len, &pkt->off);
	slirp_input(u->slirp, flat, (int)pkt->len);
	free(flat);
	soon(u);
	return true;
}

static const struct net_peer_ops peer_ops = { receive, writable, NULL };

/*
 * Descriptors.
 */
static int add_poll(int fd, int events, void *opaque)
{
	struct net_user *u = opaque;

	if (u->nfds == u->cap) {
		size_t cap = u->cap ? u->cap * 2 : 16;
		struct pollfd *fds = realloc(u->fds, cap * sizeof(*fds));
		int *seen = fds ? realloc(u->seen, cap * sizeof(*seen)) : NULL;

		if (fds)
			u->fds = fds;
		if (seen)
			u->seen = seen;
		if (!fds || !seen)
			return -1;
		u->cap = cap;
	}
	u->fds[u->nfds] = (struct pollfd){
		.fd = fd,
		.events = (short)((events & SLIRP_POLL_IN ? POLLIN : 0) |
				  (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
				  (events & SLIRP_POLL_PRI ? POLLPRI : 0)),
	};
	return (int)u->nfds++;
}

static int get_revents(int idx, void *opaque)
{
	struct net_user *u = opaque;
	int r = idx >= 0 && (size_t)idx < u->nfds ? u->fds[idx].revents : 0;

	return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & POLLPRI ? SLIRP_POLL_PRI : 0) | (r & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void poll_all(struct net_user *u)
{
	int r = u->nfds ? poll(u->fds, (nfds_t)u->nfds, 0) : 0;

	if (r <= 0)
		for (size_t i = 0; i < u->nfds; i++)
			u->fds[i].revents = 0;
	slirp_pollfds_poll(u->slirp, r < 0, get_revents, u);
	u->nfds = 0; /* it takes each answer but once: to be asked again */
}

static void on_fd(void *opaque, uint32_t events)
{
	struct net_user *u = opaque;

	if (!u->nfds)
		return; /* told of already in this round */
	poll_all(u);
	soon(u);
}

/* The loop watches what the library waits for, and nothing else. */
static void watch(struct net_user *u)
{
	for (size_t i = 0; i < u->watched; i++) {
		size_t k = 0;

		while (k < u->nfds && u->fds[k].fd != u->seen[i])
			k++;
		if (k == u->nfds)
			loop_fd_del(u->cfg.loop, u->seen[i]);
	}
	for (size_t i = 0; i < u->nfds; i++) {
		short e = u->fds[i].events;
		uint32_t events = (e & POLLIN ? EPOLLIN : 0u) | (e & POLLOUT ? EPOLLOUT : 0u) |
				  (e & POLLPRI ? EPOLLPRI : 0u);

		u->seen[i] = u->fds[i].fd;
		if (loop_fd_set(u->cfg.loop, u->fds[i].fd, events, on_fd, u) < 0)
			log_guest(u->cfg.log, &u->limit, "user network: a socket cannot be watched; "
				  "its connection hangs");
	}
	u->watched = u->nfds;
}

static void on_update(void *opaque)
{
	struct net_user *u = opaque;
	uint32_t timeout = UINT32_MAX;

	poll_all(u); /* its timeouts */
	slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
	watch(u);
	if (timeout != UINT32_MAX)
		vtimer_arm(&u->update, vtime_now_ns(u->cfg.vtime) + max_of(timeout, 1u) * MS);
}

/* A descriptor that is closed leaves the loop at once: its number may come again. */
static void unregister_fd(int fd, void *opaque)
{
	struct net_user *u = opaque;

	for (size_t i = 0; i < u->watched; i++) {
		if (u->seen[i] != fd)
			continue;
		loop_fd_del(u->cfg.loop, fd);
		u->seen[i] = u->seen[--u->watched];
		break;
	}
	for (size_t i = 0; i < u->nfds; i++)
		if (u->fds[i].fd == fd)
			u->fds[i].fd = -1;
}

static void register_fd(int fd, void *opaque) {}

static void notify(void *opaque)
{
	soon(opaque);
}

/*
 * What else the library wants.
 */
static void guest_error(const char *msg, void *opaque)
{
	struct net_user *u = opaque;

	log_guest(u->cfg.log, &u->limit, "user network: %s", msg);
}

static int64_t clock_get_ns(void *opaque)
{
	return vtime_now_ns(((struct net_user *)opaque)->cfg.vtime);
}

static void timer_fire(void *opaque)
{
	struct timer *t = opaque;

	slirp_handle_timer(t->u->slirp, t->id, t->opaque);
}

static void *timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct net_user *u = opaque;
	struct timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->u = u;
	t->id = id;
	t->opaque = cb_opaque;
	vtimer_init(&t->t, u->cfg.vtime, timer_fire, t);
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct timer *t = timer;

	if (t)
		vtimer_cancel(&t->t);
	free(t);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct timer *t = timer;

	if (t)
		vtimer_arm(&t->t, expire_ms * MS);
}

static const SlirpCb callbacks = {
	.send_packet = send_packet, .guest_error = guest_error, .clock_get_ns = clock_get_ns,
	.timer_free = timer_free, .timer_mod = timer_mod, .register_poll_fd = register_fd,
	.unregister_poll_fd = unregister_fd, .notify = notify, .timer_new_opaque = timer_new,
};

/*
 * Life.
 */
static int make(struct net_user *u, struct err *err)
{
	SlirpConfig sc = { .version = 4, .in_enabled = true };
	char *search[16] = { NULL }, *copy = NULL;
	struct user_addresses a;
	int ret = user_parse_addresses(&u->cfg, &a, err);
	size_t n = 0;

	if (ret < 0)
		return ret;
	if (u->cfg.dns_search) {
		copy = strdup(u->cfg.dns_search);
		for (char *w = copy ? strtok_r(copy, " ", &search[15]) : NULL; w && n < 14;
		     w = strtok_r(NULL, " ", &search[15]))
			search[n++] = w;
		search[15] = NULL;
		sc.vdnssearch = (const char **)search;
	}
	sc.restricted = u->cfg.restricted;
	sc.vnetwork = a.net;
	sc.vnetmask = a.mask;
	sc.vhost = a.host;
	sc.vdhcp_start = a.dhcp_start;
	sc.vnameserver = a.dns;
	sc.in6_enabled = !u->cfg.no_ipv6;
	inet_pton(AF_INET6, "fec0::", &sc.vprefix_addr6);
	sc.vprefix_len = 64;
	inet_pton(AF_INET6, "fec0::2", &sc.vhost6);
	inet_pton(AF_INET6, "fec0::3", &sc.vnameserver6);
	sc.vhostname = u->cfg.hostname;
	sc.vdomainname = u->cfg.domain;
	sc.tftp_path = u->cfg.tftp;
	sc.bootfile = u->cfg.bootfile;
	u->slirp = slirp_new(&sc, &callbacks, u);
	free(copy);
	if (!u->slirp)
		return err_set(err, -EINVAL, "user network: the library refuses this configuration");
	return user_forward(u->slirp, u->cfg.forward, a.dhcp_start, err);
}

int net_user_new(const struct net_user_config *cfg, struct net_user **out, struct err *err)
{
	struct net_user *u = calloc(1, sizeof(*u));
	int ret;

	*out = NULL;
	if (!u)
		return err_set(err, -ENOMEM, "out of memory for the user network");
	u->cfg = *cfg;
	u->tail = &u->head;
	net_peer_init(&u->peer, &peer_ops, u, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_UFO);
	vtimer_init(&u->update, cfg->vtime, on_update, u);
	ret = make(u, err);
	if (ret < 0) {
		net_user_free(u);
		return ret;
	}
	soon(u);
	*out = u;
	return 0;
}

void net_user_free(struct net_user *u)
{
	if (!u)
		return;
	net_disconnect(&u->peer);
	if (u->slirp)
		slirp_cleanup(u->slirp);
	vtimer_cancel(&u->update);
	for (size_t i = 0; i < u->watched; i++)
		loop_fd_del(u->cfg.loop, u->seen[i]);
	while (u->head)
		drop_first(u);
	free(u->fds);
	free(u->seen);
	free(u);
}

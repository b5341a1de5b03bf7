/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD server: a thread that accepts per listening socket; per client a thread
 * that reads requests and a few that do them. A client can send
 * what it likes: it is held to limits of time (the greeting), of memory and of
 * requests under way, and what makes no sense ends its own connection only.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "src/block/nbd/server_priv.h"

enum { DEFAULT_CLIENTS = 64, ACCEPT_MS = 500, SEND_S = 60, THREADS = 8 };

struct nbd_server *nbd_server_new(const struct nbd_server_config *c, struct err *err)
{
	struct nbd_server *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	s->c = *c;
	if (!s->c.max_clients)
		s->c.max_clients = DEFAULT_CLIENTS;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	return s;
}

static struct nbd_export **find(struct nbd_server *s, const char *name)
{
	struct nbd_export **p = &s->exports;

	while (*p && strcmp((*p)->name, name))
		p = &(*p)->next;
	return p;
}

static void export_free(struct nbd_export *x)
{
	if (!x)
		return;
	free(x->name);
	free(x->description);
	free(x);
}

int nbd_server_add(struct nbd_server *s, const char *name, const char *description,
		   struct block_node *n, bool writable, struct err *err)
{
	struct nbd_export *x = calloc(1, sizeof(*x));
	int rc = 0;

	if (!x || !(x->name = strdup(name)) || !(x->description = strdup(description ?: ""))) {
		export_free(x);
		return err_set(err, -ENOMEM, "out of memory");
	}
	x->node = n;
	x->writable = writable && n->writable;
	pthread_mutex_lock(&s->lock);
	if (*find(s, name)) {
		rc = err_set(err, -EEXIST, "there is an export '%s' already", name);
	} else {
		x->next = s->exports;
		s->exports = x;
	}
	pthread_mutex_unlock(&s->lock);
	if (rc)
		export_free(x);
	return rc;
}

struct nbd_export *nbd_export_get(struct nbd_server *s, const char *name)
{
	struct nbd_export *x;

	pthread_mutex_lock(&s->lock);
	x = *find(s, name);
	if (x && x->closing)
		x = NULL;
	if (x)
		x->users++;
	pthread_mutex_unlock(&s->lock);
	return x;
}

void nbd_export_put(struct nbd_server *s, struct nbd_export *x)
{
	pthread_mutex_lock(&s->lock);
	x->users--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

int nbd_server_remove(struct nbd_server *s, const char *name, struct err *err)
{
	struct nbd_export **p, *x;

	pthread_mutex_lock(&s->lock);
	x = *find(s, name);
	if (!x || x->closing) {
		pthread_mutex_unlock(&s->lock);
		return err_set(err, -ENOENT, "there is no export '%s'", name);
	}
	x->closing = true;
	for (struct nbd_peer *c = s->peers; c; c = c->next)
		if (c->export == x)
			nbd_conn_shutdown(&c->conn);
	while (x->users)
		pthread_cond_wait(&s->changed, &s->lock);
	p = find(s, name);
	*p = x->next;
	pthread_mutex_unlock(&s->lock);
	export_free(x);
	return 0;
}

static void peer_gone(struct nbd_peer *p)
{
	struct nbd_server *s = p->server;
	struct nbd_peer **at;
	unsigned left;

	if (p->export)
		nbd_export_put(s, p->export);
	pthread_mutex_lock(&s->lock);
	for (at = &s->peers; *at != p; at = &(*at)->next)
		;
	*at = p->next;
	left = s->npeers - 1;
	pthread_mutex_unlock(&s->lock);
	block_pool_free(p->pool);
	nbd_conn_close(&p->conn);
	pthread_mutex_destroy(&p->send_lock);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->idle);
	free(p);
	if (s->c.changed)
		s->c.changed(s->c.opaque, -1, left);
	pthread_mutex_lock(&s->lock);
	s->npeers--; /* from here on the server may be freed */
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void *peer_thread(void *opaque)
{
	struct nbd_peer *p = opaque;

	if (!nbd_peer_hello(p))
		nbd_peer_serve(p);
	peer_gone(p);
	return NULL;
}

/* A thread that takes no signals. */
static int start_thread(pthread_t *t, bool detached, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	pthread_attr_init(&attr);
	if (detached)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(t, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

int nbd_server_accept(struct nbd_server *s, int fd)
{
	struct nbd_peer *p = calloc(1, sizeof(*p));
	unsigned now;
	pthread_t t;
	int rc = 0, one = 1;

	if (!p) {
		close(fd);
		return -ENOMEM;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on unix: fine */
	p->server = s;
	nbd_conn_init(&p->conn, fd);
	nbd_conn_send_limit(&p->conn, SEND_S);
	p->pool = block_pool_new(THREADS);
	if (!p->pool)
		rc = -ENOMEM;
	pthread_mutex_init(&p->send_lock, NULL);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->idle, NULL);
	pthread_mutex_lock(&s->lock);
	if (!rc && (s->ending || s->npeers >= s->c.max_clients))
		rc = -EUSERS;
	now = s->npeers += !rc;
	if (!rc) {
		p->next = s->peers;
		s->peers = p;
	}
	pthread_mutex_unlock(&s->lock);
	if (rc) {
		block_pool_free(p->pool);
		nbd_conn_close(&p->conn);
		free(p);
		return rc;
	}
	if (s->c.changed)
		s->c.changed(s->c.opaque, 1, now);
	rc = start_thread(&t, true, peer_thread, p);
	if (rc)
		peer_gone(p);
	return rc;
}

static void *listen_thread(void *opaque)
{
	struct nbd_listener *l = opaque;
	struct nbd_server *s = l->server;
	struct pollfd pfd = { l->fd, POLLIN, 0 };

	for (;;) {
		bool ending;
		int fd;

		pthread_mutex_lock(&s->lock);
		ending = s->ending;
		pthread_mutex_unlock(&s->lock);
		if (ending)
			return NULL;
		if (poll(&pfd, 1, ACCEPT_MS) <= 0)
			continue;
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 && nbd_server_accept(s, fd) == -ENOMEM)
			poll(NULL, 0, ACCEPT_MS);
		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			poll(NULL, 0, ACCEPT_MS); /* no descriptors left: not at full speed */
	}
}

int nbd_server_listen(struct nbd_server *s, int fd, struct err *err)
{
	struct nbd_listener *l = calloc(1, sizeof(*l));
	int rc = l ? 0 : -ENOMEM;

	if (l) {
		l->fd = fd;
		l->server = s;
		rc = start_thread(&l->thread, false, listen_thread, l);
	}
	if (rc) {
		close(fd);
		free(l);
		return err_set(err, rc, "cannot start a thread: %s", strerror(-rc));
	}
	l->next = s->listeners;
	s->listeners = l;
	return 0;
}

void nbd_server_free(struct nbd_server *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	for (struct nbd_peer *p = s->peers; p; p = p->next)
		nbd_conn_shutdown(&p->conn);
	pthread_mutex_unlock(&s->lock);
	for (struct nbd_listener *l = s->listeners, *next; l; l = next) {
		next = l->next;
		pthread_join(l->thread, NULL);
		close(l->fd);
		free(l);
	}
	pthread_mutex_lock(&s->lock);
	while (s->npeers)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	for (struct nbd_export *x = s->exports, *next; x; x = next) {
		next = x->next;
		export_free(x);
	}
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

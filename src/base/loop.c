/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: epoll for descriptors, an eventfd to be woken by, and the
 * wait's own timeout for the machine's timers.
 */
#include "src/base/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "src/base/vtime.h"

struct handler {
	int fd;
	uint32_t events;
	void (*fn)(void *opaque, uint32_t events);
	void *opaque;
	bool dead, urgent;
	struct handler *next;
};

struct posted {
	void (*fn)(void *opaque);
	void *opaque;
};

struct loop {
	pthread_mutex_t *lock; /* around callbacks; may be NULL */
	int epfd, wakefd;
	bool no_pwait2; /* a kernel before 5.11 */
	struct vtime *_Atomic vt;
	_Atomic bool stop;

	pthread_mutex_t mu; /* everything below */
	struct handler *handlers;
	struct handler *dead; /* freed by the loop once no event in hand can name them */
	struct posted *posted;
	size_t nposted, cap_posted;
};

struct loop *loop_new(pthread_mutex_t *lock, struct err *err)
{
	struct loop *l = calloc(1, sizeof(*l));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	if (!l) {
		err_set(err, -ENOMEM, "out of memory for the event loop");
		return NULL;
	}
	l->lock = lock;
	pthread_mutex_init(&l->mu, NULL);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epfd < 0 || l->wakefd < 0 ||
	    epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->wakefd, &ev) != 0) {
		err_set(err, -errno, "cannot make the event loop: %s; check `ulimit -n`",
			strerror(errno));
		loop_free(l);
		return NULL;
	}
	return l;
}

static void free_handlers(struct handler *h)
{
	while (h) {
		struct handler *next = h->next;

		free(h);
		h = next;
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	loop_set_vtime(l, NULL);
	if (l->epfd >= 0)
		close(l->epfd);
	if (l->wakefd >= 0)
		close(l->wakefd);
	free_handlers(l->handlers);
	free_handlers(l->dead);
	free(l->posted);
	pthread_mutex_destroy(&l->mu);
	free(l);
}

static void wake(void *opaque)
{
	struct loop *l = opaque;
	uint64_t one = 1;

	/* EAGAIN means the counter is full: it is readable, which is all we want. */
	while (write(l->wakefd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void loop_set_vtime(struct loop *l, struct vtime *vt)
{
	struct vtime *old = atomic_exchange(&l->vt, vt);

	if (old && old != vt)
		vtime_set_wake(old, NULL, NULL);
	if (vt) {
		vtime_set_wake(vt, wake, l);
		wake(l);
	}
}

/*
 * Descriptors.
 */
static struct handler **find_locked(struct loop *l, int fd)
{
	struct handler **h = &l->handlers;

	while (*h && (*h)->fd != fd)
		h = &(*h)->next;
	return h;
}

/* A silent descriptor is taken out of epoll: EPOLLHUP and EPOLLERR cannot be
 * masked and would keep the loop spinning. */
static int epoll_change(struct loop *l, struct handler *h, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = h };
	int op = !events ? EPOLL_CTL_DEL : h->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (events == h->events)
		return 0;
	if (epoll_ctl(l->epfd, op, h->fd, &ev) != 0 && op != EPOLL_CTL_DEL)
		return -errno;
	h->events = events;
	return 0;
}

int loop_fd_set(struct loop *l, int fd, uint32_t events,
		void (*fn)(void *opaque, uint32_t events), void *opaque)
{
	struct handler *h;
	int r;

	pthread_mutex_lock(&l->mu);
	h = *find_locked(l, fd);
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (!h) {
			pthread_mutex_unlock(&l->mu);
			return -ENOMEM;
		}
		h->fd = fd;
		h->next = l->handlers;
		l->handlers = h;
	}
	h->fn = fn;
	h->opaque = opaque;
	r = epoll_change(l, h, events);
	pthread_mutex_unlock(&l->mu);
	if (r != 0)
		loop_fd_del(l, fd);
	return r;
}

void loop_fd_del(struct loop *l, int fd)
{
	struct handler **p, *h;

	pthread_mutex_lock(&l->mu);
	p = find_locked(l, fd);
	h = *p;
	if (h) {
		epoll_change(l, h, 0);
		*p = h->next;
		h->dead = true;
		h->next = l->dead;
		l->dead = h;
	}
	pthread_mutex_unlock(&l->mu);
}

void loop_fd_urgent(struct loop *l, int fd)
{
	struct handler *h;

	pthread_mutex_lock(&l->mu);
	h = *find_locked(l, fd);
	if (h)
		h->urgent = true;
	pthread_mutex_unlock(&l->mu);
}

/*
 * Posted work.
 */
static bool post_grow_locked(struct loop *l)
{
	size_t cap = l->cap_posted ? l->cap_posted * 2 : 64;
	struct posted *p = realloc(l->posted, cap * sizeof(*p));

	if (!p)
		return false;
	l->posted = p;
	l->cap_posted = cap;
	return true;
}

void loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
	pthread_mutex_lock(&l->mu);
	/* Work must not get lost; memory may come back. */
	while (l->nposted == l->cap_posted && !post_grow_locked(l)) {
		pthread_mutex_unlock(&l->mu);
		usleep(1000);
		pthread_mutex_lock(&l->mu);
	}
	l->posted[l->nposted++] = (struct posted){ fn, opaque };
	pthread_mutex_unlock(&l->mu);
	wake(l);
}

static void lock_devices(struct loop *l)
{
	if (l->lock)
		pthread_mutex_lock(l->lock);
}

static void unlock_devices(struct loop *l)
{
	if (l->lock)
		pthread_mutex_unlock(l->lock);
}

/* What is posted by this work waits for the next round, so that descriptors and
 * timers get their turn. */
static void run_posted(struct loop *l)
{
	struct posted *batch;
	size_t count;

	pthread_mutex_lock(&l->mu);
	batch = l->posted;
	count = l->nposted;
	l->posted = NULL;
	l->nposted = l->cap_posted = 0;
	pthread_mutex_unlock(&l->mu);
	for (size_t n = 0; n < count; n++) {
		lock_devices(l);
		batch[n].fn(batch[n].opaque);
		unlock_devices(l);
	}
	free(batch);
}

/*
 * The wait.
 */

/* Time to the next deadline; false: none, wait for ever. */
static bool next_timeout(struct loop *l, struct timespec *ts)
{
	struct vtime *vt = atomic_load(&l->vt);
	int64_t deadline, left;

	if (!vt)
		return false;
	deadline = vtime_next_deadline_ns(vt);
	if (deadline == VTIME_NEVER)
		return false;
	left = deadline - vtime_now_ns(vt);
	if (left > 0 && vtime_is_manual(vt))
		return false; /* whoever advances the clock wakes us */
	if (left < 0)
		left = 0;
	ts->tv_sec = left / 1000000000;
	ts->tv_nsec = left % 1000000000;
	return true;
}

static int wait_events(struct loop *l, struct epoll_event *ev, int max)
{
	struct timespec ts;
	bool timed = next_timeout(l, &ts);
	struct pollfd pfd = { .fd = l->epfd, .events = POLLIN };
	int n;

	if (!l->no_pwait2) {
		n = epoll_pwait2(l->epfd, ev, max, timed ? &ts : NULL, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		l->no_pwait2 = true;
	}
	n = ppoll(&pfd, 1, timed ? &ts : NULL, NULL);
	return n <= 0 ? n : epoll_wait(l->epfd, ev, max, 0);
}

static void handle_event(struct loop *l, const struct epoll_event *ev)
{
	struct handler *h = ev->data.ptr;
	void (*fn)(void *opaque, uint32_t events) = NULL;
	void *opaque = NULL;
	uint64_t drained;

	if (!h) {
		while (read(l->wakefd, &drained, sizeof(drained)) < 0 && errno == EINTR)
			;
		return;
	}
	lock_devices(l);
	/* It may have been deleted or silenced since epoll reported it. */
	pthread_mutex_lock(&l->mu);
	if (!h->dead && h->events) {
		fn = h->fn;
		opaque = h->opaque;
	}
	pthread_mutex_unlock(&l->mu);
	if (fn)
		fn(opaque, ev->events);
	unlock_devices(l);
}

/* Handlers that die meanwhile are freed by loop_run(), which may have events of theirs
 * in hand. */
void loop_pump(struct loop *l)
{
	struct epoll_event ev[32];
	int n = epoll_wait(l->epfd, ev, sizeof(ev) / sizeof(ev[0]), 0);

	for (int k = 0; k < n; k++) {
		const struct handler *h = ev[k].data.ptr;

		if (h && h->urgent)
			handle_event(l, &ev[k]);
	}
}

static void sweep_dead(struct loop *l)
{
	struct handler *dead;

	pthread_mutex_lock(&l->mu);
	dead = l->dead;
	l->dead = NULL;
	pthread_mutex_unlock(&l->mu);
	free_handlers(dead);
}

void loop_run(struct loop *l)
{
	struct epoll_event ev[32];

	/* Waits of some microseconds end when they should, not 50 us later. */
	prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
	while (!atomic_load(&l->stop)) {
		struct vtime *vt;
		int n;

		sweep_dead(l);
		n = wait_events(l, ev, sizeof(ev) / sizeof(ev[0]));
		for (int k = 0; k < n; k++)
			handle_event(l, &ev[k]);
		run_posted(l);
		vt = atomic_load(&l->vt);
		if (vt)
			vtime_run(vt);
	}
	atomic_store(&l->stop, false);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}

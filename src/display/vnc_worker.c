/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encoding on a thread of its own: compressing a picture takes far longer than
 * copying it, and the loop's lock, which devices wait for, is not held meanwhile.
 * A job carries copies of the pixels. A client has one job at a time, and only the
 * worker touches its encoder then.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/display/vnc_priv.h"

void vnc_job_free(struct vnc_job *j)
{
	if (!j)
		return;
	vnc_buf_fini(&j->out);
	free(j->pixels);
	free(j->rects);
	free(j);
}

/* The whole message: its header, what stands before the picture, rectangles. */
static void encode(struct vnc_job *j)
{
	const uint32_t *pixels = j->pixels;

	j->enc->format = j->format;
	j->enc->encoding = j->encoding;
	j->enc->level = j->level;
	for (size_t n = 0; n < j->count && j->error == 0; n++) {
		const struct rect *r = &j->rects[n];

		j->error = vnc_enc_rect(j->enc, &j->out, r->x, r->y, r->w, r->h, pixels, r->w);
		pixels += (size_t)r->w * r->h;
	}
	if (j->out.failed)
		j->error = -ENOMEM;
}

static struct vnc_job *take(struct vnc_job **list)
{
	struct vnc_job *j = *list;

	*list = j->next;
	j->next = NULL;
	return j;
}

static void append(struct vnc_job **list, struct vnc_job *j)
{
	while (*list)
		list = &(*list)->next;
	*list = j;
}

static void *work(void *opaque)
{
	struct vnc_worker *w = opaque;

	pthread_mutex_lock(&w->lock);
	while (!w->stop) {
		struct vnc_job *j;

		if (!w->todo) {
			pthread_cond_wait(&w->cond, &w->lock);
			continue;
		}
		j = take(&w->todo);
		pthread_mutex_unlock(&w->lock);
		encode(j);
		pthread_mutex_lock(&w->lock);
		append(&w->done, j);
		/* Fails only when it is full, and then the loop is awake already. */
		if (eventfd_write(w->event_fd, 1) < 0)
			continue;
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

void vnc_worker_add(struct vnc_worker *w, struct vnc_job *j)
{
	pthread_mutex_lock(&w->lock);
	append(&w->todo, j);
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

struct vnc_job *vnc_worker_done(struct vnc_worker *w)
{
	struct vnc_job *j;

	pthread_mutex_lock(&w->lock);
	j = w->done ? take(&w->done) : NULL;
	pthread_mutex_unlock(&w->lock);
	return j;
}

int vnc_worker_start(struct vnc_worker *w)
{
	sigset_t all, old;
	int ret;

	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->event_fd < 0)
		return -errno;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	/* Signals are for the process's first thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&w->thread, NULL, work, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->started = ret == 0;
	if (ret == 0)
		pthread_setname_np(w->thread, "vnc");
	return -ret;
}

void vnc_worker_stop(struct vnc_worker *w)
{
	if (w->started) {
		pthread_mutex_lock(&w->lock);
		w->stop = true;
		pthread_cond_signal(&w->cond);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
		w->started = false;
	}
	while (w->todo)
		vnc_job_free(take(&w->todo));
	while (w->done)
		vnc_job_free(take(&w->done));
	if (w->event_fd >= 0)
		close(w->event_fd);
	w->event_fd = -1;
}

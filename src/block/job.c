/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs: their threads, pausing, limits, ends. What they do is in job_*.c. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/block/job_priv.h"

struct jobs *jobs_new(const struct jobs_config *c, struct err *err)
{
	struct jobs *js = calloc(1, sizeof(*js));

	if (!js) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	js->c = *c;
	if (!js->c.post)
		js->c.post = blk_post_loop;
	js->refs = 1;
	return js;
}

static void jobs_put(struct jobs *js)
{
	if (!--js->refs)
		free(js);
}

static void job_free(struct job *j)
{
	struct jobs *js = j->js;

	dirty_free(j->todo);
	dirty_free(j->taken);
	op_bufs_fini(&j->bufs);
	range_set_fini(&j->copies);
	block_made_fini(&j->made);
	pthread_mutex_destroy(&j->lock);
	pthread_cond_destroy(&j->cond);
	free(j->bitmap);
	free(j->id);
	free(j);
	jobs_put(js);
}

static void job_put(struct job *j)
{
	if (atomic_fetch_sub(&j->refs, 1) == 1)
		job_free(j);
}

static struct job *find(struct jobs *js, const char *id)
{
	struct job *j;

	for (j = js->list; j && strcmp(j->id, id); j = j->next)
		;
	return j;
}

bool jobs_busy(struct jobs *js, struct blk *b)
{
	for (struct job *j = js->list; j; j = j->next)
		if (j->blk == b)
			return true;
	return false;
}

struct job *job_new(struct jobs *js, enum job_type t, const struct job_ops *ops,
		    const struct job_common *c, struct err *err)
{
	pthread_condattr_t attr;
	struct job *j;

	if (!c->id || !c->id[0]) {
		err_set(err, -EINVAL, "a job needs an id");
		return NULL;
	}
	if (find(js, c->id)) {
		err_set(err, -EEXIST, "there is a job '%s' already", c->id);
		return NULL;
	}
	if (jobs_busy(js, c->blk)) {
		err_set(err, -EBUSY, "a job runs on this disk already; wait for it or cancel it");
		return NULL;
	}
	if (!blk_node(c->blk)) {
		err_set(err, -ENOMEDIUM, "there is no disk in the drive");
		return NULL;
	}
	j = calloc(1, sizeof(*j));
	if (!j || !(j->id = strdup(c->id))) {
		free(j);
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	j->js = js;
	j->type = t;
	j->ops = ops;
	j->blk = c->blk;
	j->speed = c->speed;
	j->on_error = c->on_error;
	j->open = c->open;
	j->source = blk_node(c->blk);
	j->chunk = JOB_CHUNK;
	atomic_init(&j->refs, 1);
	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->cond, &attr);
	pthread_condattr_destroy(&attr);
	range_set_init(&j->copies);
	op_bufs_init(&j->bufs, 2 * JOB_STEP);
	js->refs++;
	return j;
}

void job_drop(struct job *j)
{
	if (j->tap) {
		blk_set_top(j->blk, tap_free(j->tap));
		j->tap = NULL;
	}
	job_put(j);
}

static struct job_info info_of(struct job *j)
{
	struct job_info i = { .type = j->type, .id = j->id, .blk = j->blk };

	pthread_mutex_lock(&j->lock);
	i.done = j->done;
	i.total = j->done + j->remaining;
	i.speed = j->speed;
	i.paused = j->user_paused || j->io_paused;
	i.ready = j->ready;
	i.busy = !j->finished && !i.paused;
	i.io_error = j->io_seen;
	i.io_nospace = j->io_nospace;
	i.error = j->rc;
	i.text = j->err.text;
	pthread_mutex_unlock(&j->lock);
	return i;
}

static void tell(struct job *j, enum job_event e)
{
	struct job_info i = info_of(j);

	if (j->js->c.event)
		j->js->c.event(j->js->c.opaque, &i, e);
}

static void unlist(struct job *j)
{
	struct job **p;

	for (p = &j->js->list; *p != j; p = &(*p)->next)
		;
	*p = j->next;
}

/* Owner's thread; the job's own has ended or is about to. */
static void finish(struct job *j)
{
	bool cancelled;

	if (j->finished)
		return;
	blk_drain(j->blk); /* what requests hold, the thread may wait for */
	pthread_join(j->thread, NULL);
	blk_drain(j->blk);
	cancelled = j->rc == -ECANCELED;
	j->rc = j->ops->finish(j, j->rc);
	if (j->tap) {
		struct block_node *tap = j->tap;

		/* Where the disk went on in another image the tap is out of the graph. */
		if (blk_top(j->blk) == tap)
			blk_set_top(j->blk, tap->file);
		j->tap = NULL;
		tap_free(tap);
	}
	if (j->rc && j->made.n)
		block_made_remove(&j->made, j->open.host);
	j->finished = true;
	unlist(j);
	if (cancelled && j->rc == -ECANCELED) {
		j->rc = 0;
		tell(j, JOB_CANCELLED);
	} else {
		if (j->rc && !j->err.text[0])
			err_set(&j->err, j->rc, "%s", strerror(-j->rc));
		tell(j, JOB_COMPLETED);
	}
	job_put(j);
}

static void on_post(void *opaque)
{
	struct job *j = opaque;
	bool ready, error, ended;

	pthread_mutex_lock(&j->lock);
	ready = j->tell_ready;
	error = j->tell_error;
	ended = j->ended;
	j->tell_ready = j->tell_error = false;
	pthread_mutex_unlock(&j->lock);
	if (!j->finished) {
		if (error)
			tell(j, JOB_ERROR);
		if (ready)
			tell(j, JOB_READY);
		if (ended)
			finish(j);
	}
	job_put(j);
}

static void post(struct job *j)
{
	atomic_fetch_add(&j->refs, 1);
	j->js->c.post(j->js->c.post_opaque, on_post, j);
}

static void *thread(void *opaque)
{
	struct job *j = opaque;
	int rc = j->ops->run(j);

	pthread_mutex_lock(&j->lock);
	j->rc = rc ? rc : j->hook_rc;
	j->ended = true;
	pthread_mutex_unlock(&j->lock);
	post(j);
	return NULL;
}

int job_start(struct job *j, const struct tap_hook *hook, struct err *err)
{
	sigset_t all, old;
	int rc;

	blk_drain(j->blk);
	if (hook) {
		struct tap_hook h = *hook;

		h.opaque = j;
		j->tap = tap_new(j->source, &h);
		if (!j->tap)
			return err_set(err, -ENOMEM, "out of memory");
		blk_set_top(j->blk, j->tap);
	}
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&j->thread, NULL, thread, j);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return err_set(err, -rc, "cannot start a thread: %s", strerror(rc));
	j->next = j->js->list;
	j->js->list = j;
	return 0;
}

/* ---- from the job's thread ---- */

/* Lock held. */
static void wait_until(struct job *j, int64_t ns)
{
	struct timespec ts = { ns / 1000000000, ns % 1000000000 };

	pthread_cond_timedwait(&j->cond, &j->lock, &ts);
}

static bool must_end(const struct job *j) { return j->cancel && (j->force || !j->ready); }

int job_point(struct job *j, uint64_t bytes)
{
	int rc = 0;

	pthread_mutex_lock(&j->lock);
	while (!must_end(j) && !j->hook_rc) {
		int64_t now = block_now_ns();

		if (j->user_paused || j->io_paused)
			pthread_cond_wait(&j->cond, &j->lock);
		else if (j->speed && j->next_ns > now)
			wait_until(j, j->next_ns);
		else
			break;
	}
	if (must_end(j))
		rc = -ECANCELED;
	else if (j->hook_rc)
		rc = j->hook_rc;
	else if (j->speed && bytes)
		j->next_ns = max_of(j->next_ns, block_now_ns()) +
			     (int64_t)((__uint128_t)bytes * 1000000000u / j->speed);
	pthread_mutex_unlock(&j->lock);
	return rc;
}

int job_failed(struct job *j, int rc)
{
	bool full = rc == -ENOSPC || rc == -EDQUOT;
	bool stop = j->on_error == JOB_STOP || (j->on_error == JOB_ENOSPC && full);

	if (rc == -ECANCELED || (!stop && j->on_error != JOB_IGNORE))
		return rc;
	pthread_mutex_lock(&j->lock);
	j->io_seen = true;
	j->io_nospace = full;
	j->io_paused = stop;
	j->tell_error = true;
	if (!stop) /* not at full speed into the same wall */
		j->next_ns = block_now_ns() + 100000000;
	pthread_mutex_unlock(&j->lock);
	post(j);
	return job_point(j, 0);
}

void job_set_ready(struct job *j)
{
	pthread_mutex_lock(&j->lock);
	j->ready = j->tell_ready = true;
	pthread_mutex_unlock(&j->lock);
	post(j);
}

void job_progress(struct job *j, uint64_t more, uint64_t remaining)
{
	pthread_mutex_lock(&j->lock);
	j->done += more;
	j->remaining = remaining;
	pthread_mutex_unlock(&j->lock);
}

/* ---- what people ask of a job ---- */

static struct job *get(struct jobs *js, const char *id, struct err *err)
{
	struct job *j = find(js, id);

	if (!j)
		err_set(err, -ENOENT, "there is no job '%s'", id);
	return j;
}

int job_cancel(struct jobs *js, const char *id, bool force, struct err *err)
{
	struct job *j = get(js, id, err);

	if (!j)
		return -ENOENT;
	pthread_mutex_lock(&j->lock);
	j->cancel = true;
	j->force |= force;
	j->user_paused = j->io_paused = false;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

int job_pause(struct jobs *js, const char *id, struct err *err)
{
	struct job *j = get(js, id, err);

	if (!j)
		return -ENOENT;
	pthread_mutex_lock(&j->lock);
	j->user_paused = true;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

int job_resume(struct jobs *js, const char *id, struct err *err)
{
	struct job *j = get(js, id, err);

	if (!j)
		return -ENOENT;
	pthread_mutex_lock(&j->lock);
	j->user_paused = j->io_paused = j->io_seen = false;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

int job_set_speed(struct jobs *js, const char *id, uint64_t speed, struct err *err)
{
	struct job *j = get(js, id, err);

	if (!j)
		return -ENOENT;
	pthread_mutex_lock(&j->lock);
	j->speed = speed;
	j->next_ns = 0;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

int job_complete(struct jobs *js, const char *id, struct err *err)
{
	struct job *j = get(js, id, err);
	bool ready;

	if (!j)
		return -ENOENT;
	pthread_mutex_lock(&j->lock);
	ready = j->ready;
	j->complete |= ready;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
	return ready ? 0 : err_set(err, -EBUSY, "job '%s' is not ready to be completed", id);
}

void jobs_each(struct jobs *js, void (*fn)(void *opaque, const struct job_info *i), void *opaque)
{
	for (struct job *j = js->list; j; j = j->next) {
		struct job_info i = info_of(j);

		fn(opaque, &i);
	}
}

static void end_now(struct job *j)
{
	if (job_cancel(j->js, j->id, true, NULL))
		return;
	finish(j);
}

void jobs_forget(struct jobs *js, struct blk *b)
{
	for (struct job *j = js->list, *next; j; j = next) {
		next = j->next;
		if (j->blk == b)
			end_now(j);
	}
	bitmaps_forget(js, b);
}

void jobs_free(struct jobs *js)
{
	if (!js)
		return;
	while (js->list)
		end_now(js->list);
	bitmaps_forget(js, NULL);
	jobs_put(js);
}

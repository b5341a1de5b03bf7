/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "src/base/bits.h"

enum { MAX_THREADS = 64 };
#define NS 1000000000LL
#define IDLE_NS (10 * NS)

struct block_pool {
	pthread_mutex_t lock;
	pthread_cond_t work, gone;
	struct block_job *head, **tail; /* ready, in order */
	struct block_job *later;        /* by due time */
	unsigned max, threads, idle, ready;
	bool waking; /* a thread was woken and has not looked yet */
	bool ending;
};

int64_t block_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * NS + ts.tv_nsec;
}

static bool start_thread(struct block_pool *p);

struct block_pool *block_pool_new(unsigned max_threads)
{
	struct block_pool *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->work, &attr);
	pthread_cond_init(&p->gone, NULL);
	pthread_condattr_destroy(&attr);
	p->tail = &p->head;
	p->max = max_threads < 1 ? 1 : min_of(max_threads, (unsigned)MAX_THREADS);
	if (start_thread(p))
		return p;
	block_pool_free(p);
	return NULL;
}

void block_pool_free(struct block_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->work);
	while (p->threads)
		pthread_cond_wait(&p->gone, &p->lock);
	pthread_mutex_unlock(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->gone);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void make_ready(struct block_pool *p, struct block_job *j)
{
	j->next = NULL;
	*p->tail = j;
	p->tail = &j->next;
	p->ready++;
}

/* A job to do now, or NULL and when to look again. Lock held. */
static struct block_job *next_job(struct block_pool *p, int64_t *wake_ns)
{
	struct block_job *j;
	int64_t now = block_now_ns();

	while (p->later && p->later->due_ns <= now) {
		j = p->later;
		p->later = j->next;
		make_ready(p, j);
	}
	*wake_ns = now + IDLE_NS;
	if (p->later)
		*wake_ns = min_of(*wake_ns, p->later->due_ns);
	j = p->head;
	if (!j)
		return NULL;
	p->head = j->next;
	if (!p->head)
		p->tail = &p->head;
	p->ready--;
	return j;
}

static void have_thread(struct block_pool *p);

static void *worker(void *opaque)
{
	struct block_pool *p = opaque;
	int64_t wake;

	pthread_mutex_lock(&p->lock);
	p->waking = false;
	for (;;) {
		struct block_job *j = next_job(p, &wake);
		struct timespec ts;
		int rc;

		if (j) {
			if (p->ready)
				have_thread(p);
			pthread_mutex_unlock(&p->lock);
			j->fn(j);
			pthread_mutex_lock(&p->lock);
			continue;
		}
		if (p->ending)
			break;
		ts = (struct timespec){ wake / NS, wake % NS };
		p->idle++;
		rc = pthread_cond_timedwait(&p->work, &p->lock, &ts);
		p->idle--;
		p->waking = false;
		/* One stays: no other may be had when there is something to do. */
		if (rc == ETIMEDOUT && !p->head && p->threads > 1)
			break;
	}
	p->threads--;
	pthread_cond_signal(&p->gone);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Lock held, or nobody else knows @p. */
static bool start_thread(struct block_pool *p)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t t;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	p->threads++;
	rc = pthread_create(&t, &attr, worker, p);
	p->threads -= rc != 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return !rc;
}

/* Sees to it that some thread looks for what is ready; that one wakes the next when there
 * is more than it can take. So a burst of short jobs is one thread's work, and not the
 * waking of many. Lock held. */
static void have_thread(struct block_pool *p)
{
	if (p->waking)
		return;
	if (p->idle) {
		p->waking = true;
		pthread_cond_signal(&p->work);
	} else if (p->threads < p->max) {
		p->waking = start_thread(p);
	}
}

void block_pool_submit(struct block_pool *p, struct block_job *job)
{
	pthread_mutex_lock(&p->lock);
	make_ready(p, job);
	have_thread(p);
	pthread_mutex_unlock(&p->lock);
}

void block_pool_submit_at(struct block_pool *p, struct block_job *job, int64_t due_ns)
{
	struct block_job **at;

	pthread_mutex_lock(&p->lock);
	job->due_ns = due_ns;
	for (at = &p->later; *at && (*at)->due_ns <= due_ns; at = &(*at)->next)
		;
	job->next = *at;
	*at = job;
	if (p->idle)
		pthread_cond_signal(&p->work); /* its time may be earlier than what it waits for */
	else
		have_thread(p);
	pthread_mutex_unlock(&p->lock);
}

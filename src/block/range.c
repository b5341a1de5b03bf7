/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/range.h"

void range_set_init(struct range_set *s)
{
	pthread_mutexattr_t a;

	/* Held for moments only: who finds it taken had better look again than sleep. */
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&s->lock, &a);
	pthread_mutexattr_destroy(&a);
	s->head = s->last = NULL;
	s->exclusives = s->waiters = 0;
}

void range_set_fini(struct range_set *s)
{
	pthread_mutex_destroy(&s->lock);
}

static bool conflicts(const struct range *a, const struct range *b)
{
	return a->start < b->end && b->start < a->end && (a->exclusive || b->exclusive);
}

/* Does anyone who came before @r stand in its way? Those behind @r are in the list only if
 * it is: @end says where to stop. */
static bool blocked(const struct range_set *s, const struct range *r, const struct range *end)
{
	if (!r->exclusive && !s->exclusives)
		return false;
	for (const struct range *o = s->head; o != end; o = o->next)
		if (conflicts(o, r))
			return true;
	return false;
}

static void append(struct range_set *s, struct range *r)
{
	r->next = NULL;
	r->prev = s->last;
	if (s->last)
		s->last->next = r;
	else
		s->head = r;
	s->last = r;
	s->exclusives += r->exclusive;
}

static void fill(struct range *r, uint64_t start, uint64_t end, bool exclusive)
{
	r->start = start;
	r->end = end;
	r->exclusive = exclusive;
	r->waiting = false;
}

bool range_try_lock(struct range_set *s, struct range *r, uint64_t start, uint64_t end,
		    bool exclusive)
{
	bool got;

	fill(r, start, end, exclusive);
	pthread_mutex_lock(&s->lock);
	got = !blocked(s, r, NULL);
	if (got)
		append(s, r);
	pthread_mutex_unlock(&s->lock);
	return got;
}

void range_lock(struct range_set *s, struct range *r, uint64_t start, uint64_t end, bool exclusive)
{
	fill(r, start, end, exclusive);
	pthread_mutex_lock(&s->lock);
	append(s, r);
	if (blocked(s, r, r)) {
		pthread_cond_init(&r->wake, NULL);
		r->waiting = true;
		s->waiters++;
		do
			pthread_cond_wait(&r->wake, &s->lock);
		while (blocked(s, r, r));
		s->waiters--;
		r->waiting = false;
		pthread_cond_destroy(&r->wake);
	}
	pthread_mutex_unlock(&s->lock);
}

void range_unlock(struct range_set *s, struct range *r)
{
	pthread_mutex_lock(&s->lock);
	if (r->prev)
		r->prev->next = r->next;
	else
		s->head = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		s->last = r->prev;
	s->exclusives -= r->exclusive;
	for (struct range *o = s->waiters ? r->next : NULL; o; o = o->next)
		if (o->waiting && conflicts(o, r))
			pthread_cond_signal(&o->wake);
	pthread_mutex_unlock(&s->lock);
}

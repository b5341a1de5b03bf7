/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/range.h"

void range_set_init(struct range_set *s)
{
	pthread_mutex_init(&s->lock, NULL);
	s->head = NULL;
	s->tail = &s->head;
}

void range_set_fini(struct range_set *s)
{
	pthread_mutex_destroy(&s->lock);
}

static bool conflicts(const struct range *a, const struct range *b)
{
	return a->start < b->end && b->start < a->end && (a->exclusive || b->exclusive);
}

/* Does anyone who came before @r stand in its way? */
static bool blocked(const struct range_set *s, const struct range *r)
{
	for (const struct range *o = s->head; o && o != r; o = o->next)
		if (conflicts(o, r))
			return true;
	return false;
}

bool range_try_lock(struct range_set *s, struct range *r, uint64_t start, uint64_t end,
		    bool exclusive)
{
	bool got;

	r->start = start;
	r->end = end;
	r->exclusive = exclusive;
	r->waiting = false;
	r->next = NULL;
	pthread_mutex_lock(&s->lock);
	got = !blocked(s, r);
	if (got) {
		*s->tail = r;
		s->tail = &r->next;
	}
	pthread_mutex_unlock(&s->lock);
	return got;
}

void range_lock(struct range_set *s, struct range *r, uint64_t start, uint64_t end, bool exclusive)
{
	r->start = start;
	r->end = end;
	r->exclusive = exclusive;
	r->waiting = false;
	r->next = NULL;
	pthread_mutex_lock(&s->lock);
	*s->tail = r;
	s->tail = &r->next;
	if (blocked(s, r)) {
		pthread_cond_init(&r->wake, NULL);
		r->waiting = true;
		do
			pthread_cond_wait(&r->wake, &s->lock);
		while (blocked(s, r));
		r->waiting = false;
		pthread_cond_destroy(&r->wake);
	}
	pthread_mutex_unlock(&s->lock);
}

void range_unlock(struct range_set *s, struct range *r)
{
	struct range **p;

	pthread_mutex_lock(&s->lock);
	for (p = &s->head; *p != r; p = &(*p)->next)
		;
	*p = r->next;
	if (!*p)
		s->tail = p;
	for (struct range *o = r->next; o; o = o->next)
		if (o->waiting && conflicts(o, r))
			pthread_cond_signal(&o->wake);
	pthread_mutex_unlock(&s->lock);
}

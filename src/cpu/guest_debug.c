/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cpu/guest_debug.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/x86.h"

static uint64_t linear_pc(const struct x86_cpu *c)
{
	return c->code64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip);
}

static bool same(const struct cpu_point *a, const struct cpu_point *b)
{
	return a->lin == b->lin && a->len == b->len && a->kind == b->kind;
}

static struct cpu_point *find(struct cpus *s, const struct cpu_point *p)
{
	for (unsigned n = 0; n < s->debug.count; n++)
		if (same(&s->debug.point[n], p))
			return &s->debug.point[n];
	return NULL;
}

/* [a, a + alen) and [b, b + blen), also at the end of the address space. */
static bool overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a - b < blen || b - a < alen;
}

unsigned cpu_point_pieces(const struct cpu_point *p, struct cpu_point *out, unsigned max)
{
	uint64_t at = p->lin;
	unsigned left = p->len, n = 0;

	while (left) {
		unsigned len = 8;

		while (len > left || at & (len - 1))
			len /= 2;
		if (n < max)
			out[n] = (struct cpu_point){ at, len, p->kind };
		n++;
		at += len;
		left -= len;
	}
	return n;
}

/*
 * From outside.
 */
static void update_flags(struct cpus *s)
{
	uint8_t points = 0;

	for (unsigned n = 0; n < s->debug.count; n++)
		points |= s->debug.point[n].kind == CPU_POINT_CODE ? X86_DEBUG_CODE
								   : X86_DEBUG_DATA;
	for (unsigned n = 0; n < s->count; n++) {
		struct x86_cpu *c = s->vcpu[n].x86;

		c->debug = (uint8_t)((c->debug & ~(X86_DEBUG_CODE | X86_DEBUG_DATA)) | points);
	}
}

/* @p: one that is new or is gone; NULL: all of them may be. */
static void changed(struct cpus *s, const struct cpu_point *p)
{
	update_flags(s);
	for (unsigned n = 0; n < s->count; n++) {
		/* Translations know which pages are watched. */
		if (!p || p->kind != CPU_POINT_CODE)
			x86_tlb_flush_all(s->vcpu[n].x86);
		if (s->engine->debug_changed)
			s->engine->debug_changed(&s->vcpu[n], p);
	}
}

static unsigned pieces_of_all(const struct cpus *s)
{
	unsigned sum = 0;

	for (unsigned n = 0; n < s->debug.count; n++)
		sum += cpu_point_pieces(&s->debug.point[n], NULL, 0);
	return sum;
}

static int fits(const struct engine_desc *e, unsigned pieces, struct err *err)
{
	if (!e->debug_points || pieces <= e->debug_points)
		return 0;
	return err_set(err, -ENOSPC, "the engine %s has %u debug registers for breakpoints and "
		       "watchpoints, and %u are wanted; clear some, or move the machine to the "
		       "engine jit, which takes more", e->name, e->debug_points, pieces);
}

int cpus_debug_fits(const struct cpus *s, const struct engine_desc *e, struct err *err)
{
	return fits(e, pieces_of_all(s), err);
}

int cpus_debug_set(struct cpus *s, struct cpu_point p, struct err *err)
{
	int ret;

	if (!p.len || p.len > (p.kind == CPU_POINT_CODE ? 1 : CPU_POINT_LEN_MAX))
		return err_set(err, -EINVAL, "a watchpoint has 1 to %u bytes, not %u",
			       CPU_POINT_LEN_MAX, p.len);
	if (find(s, &p))
		return 0;
	if (s->debug.count == CPU_POINTS_MAX)
		return err_set(err, -ENOSPC, "there are %u breakpoints and watchpoints already",
			       CPU_POINTS_MAX);
	ret = fits(s->engine, pieces_of_all(s) + cpu_point_pieces(&p, NULL, 0), err);
	if (ret < 0)
		return ret;
	s->debug.point[s->debug.count++] = p;
	changed(s, &p);
	return 0;
}

void cpus_debug_clear(struct cpus *s, struct cpu_point p)
{
	struct cpu_point *at = find(s, &p);

	if (!at)
		return;
	*at = s->debug.point[--s->debug.count];
	changed(s, &p);
}

void cpus_debug_end(struct cpus *s)
{
	bool any = s->debug.count;

	s->debug.count = 0;
	pthread_mutex_lock(&s->gate);
	for (unsigned n = 0; n < s->count; n++) {
		struct vcpu *v = &s->vcpu[n];

		any |= v->x86->debug;
		v->x86->debug = 0;
		v->x86->debug_ran = false;
		v->x86->debug_hit = 0;
		v->stop = (struct cpu_stop){ CPU_STOP_NONE };
		v->held = v->due = false;
	}
	pthread_mutex_unlock(&s->gate);
	if (any)
		changed(s, NULL);
}

/* Goes on behind the breakpoint that it stopped at, or in the repeated instruction that
 * it steps through. */
static bool passes(const struct vcpu *v)
{
	const struct cpu_stop *stop = &v->stop;

	if (!stop->told || linear_pc(v->x86) != stop->lin)
		return false;
	return stop->why == CPU_STOP_STEP ? stop->stayed
		: stop->why == CPU_STOP_POINT && stop->point.kind == CPU_POINT_CODE;
}

void cpus_debug_go(struct cpus *s, const enum cpu_go *how)
{
	pthread_mutex_lock(&s->gate);
	for (unsigned n = 0; n < s->count; n++) {
		struct vcpu *v = &s->vcpu[n];
		struct x86_cpu *c = v->x86;

		v->held = how[n] == CPU_GO_HOLD;
		v->due = !v->held;
		if (v->held)
			continue; /* what it stopped for is still so */
		c->debug &= ~(X86_DEBUG_STEP | X86_DEBUG_PASS);
		if (how[n] == CPU_GO_STEP)
			c->debug |= X86_DEBUG_STEP;
		else if (passes(v))
			c->debug |= X86_DEBUG_PASS;
		c->debug_from = linear_pc(c);
		c->debug_ran = false;
		c->debug_hit = 0;
		v->stop = (struct cpu_stop){ CPU_STOP_NONE };
	}
	pthread_mutex_unlock(&s->gate);
}

bool cpus_debug_pending(const struct cpus *s)
{
	for (unsigned n = 0; n < s->count; n++)
		if (s->vcpu[n].stop.why != CPU_STOP_NONE && !s->vcpu[n].stop.told)
			return true;
	return false;
}

bool cpus_debug_stopped(struct cpus *s, unsigned *vcpu, struct cpu_stop *stop)
{
	for (unsigned turn = 1; turn <= s->count; turn++) {
		unsigned n = (s->debug.last + turn) % s->count;
		struct cpu_stop *v = &s->vcpu[n].stop;

		if (v->why == CPU_STOP_NONE || v->told)
			continue;
		v->told = true;
		if (v->why == CPU_STOP_POINT && !find(s, &v->point))
			continue;
		s->debug.last = n;
		*vcpu = n;
		*stop = *v;
		return true;
	}
	return false;
}

void cpus_debug_again(struct cpus *s)
{
	for (unsigned n = 0; n < s->count; n++) {
		struct x86_cpu *c = s->vcpu[n].x86;

		c->debug_ran = false;
		c->debug_hit = 0;
	}
	if (s->debug.count)
		changed(s, NULL);
}

/*
 * In an engine.
 */
bool cpu_debug_stop(struct x86_cpu *c, const struct cpu_point *p)
{
	struct cpus *s = c->cpus;
	uint64_t lin = linear_pc(c);

	c->vcpu->stop = (struct cpu_stop){
		.why = p ? CPU_STOP_POINT : CPU_STOP_STEP, .lin = lin,
		.stayed = !p && lin == c->debug_from,
	};
	if (p)
		c->vcpu->stop.point = *p;
	c->debug_ran = false;
	c->debug_hit = 0;
	c->debug &= ~(X86_DEBUG_STEP | X86_DEBUG_PASS);
	atomic_fetch_or(&c->request, X86_REQ_EXIT);
	if (s->debug_stop)
		s->debug_stop(s->vm_opaque, c->index);
	return true;
}

bool cpu_debug_done(struct x86_cpu *c)
{
	const struct cpus_debug *d = &c->cpus->debug;

	if (unlikely(c->debug_hit) && c->debug_hit <= d->count)
		return cpu_debug_stop(c, &d->point[c->debug_hit - 1]);
	if (c->debug_ran)
		return cpu_debug_stop(c, NULL);
	return false;
}

bool cpu_debug_at(struct x86_cpu *c)
{
	uint64_t lin = linear_pc(c);

	if (cpu_debug_done(c))
		return true;
	if (c->debug & X86_DEBUG_STEP) {
		c->debug_ran = true;
		return false;
	}
	if (c->debug & X86_DEBUG_PASS) {
		/* A repeated instruction comes by between its iterations. */
		if (lin == c->debug_from)
			return false;
		c->debug &= ~X86_DEBUG_PASS;
	}
	if (c->debug & X86_DEBUG_CODE && cpu_debug_code(c, lin))
		return cpu_debug_stop(c, &(struct cpu_point){ lin, 1, CPU_POINT_CODE });
	return false;
}

void cpu_debug_event(struct x86_cpu *c)
{
	if (c->debug & X86_DEBUG_STEP)
		c->debug_ran = true;
}

bool cpu_debug_code(const struct x86_cpu *c, uint64_t lin)
{
	const struct cpus_debug *d = &c->cpus->debug;

	for (unsigned n = 0; n < d->count; n++)
		if (d->point[n].kind == CPU_POINT_CODE && d->point[n].lin == lin)
			return true;
	return false;
}

bool cpu_debug_code_offset(const struct x86_cpu *c, unsigned off)
{
	const struct cpus_debug *d = &c->cpus->debug;

	for (unsigned n = 0; n < d->count; n++)
		if (d->point[n].kind == CPU_POINT_CODE && (d->point[n].lin & 0xfff) == off)
			return true;
	return false;
}

bool cpu_debug_watches(const struct x86_cpu *c, uint64_t lin, uint64_t len)
{
	const struct cpus_debug *d = &c->cpus->debug;

	for (unsigned n = 0; n < d->count; n++)
		if (d->point[n].kind != CPU_POINT_CODE &&
		    overlap(lin, len, d->point[n].lin, d->point[n].len))
			return true;
	return false;
}

void cpu_debug_access(struct x86_cpu *c, uint64_t lin, unsigned len, bool write)
{
	const struct cpus_debug *d = &c->cpus->debug;

	for (unsigned n = 0; n < d->count && !c->debug_hit; n++) {
		const struct cpu_point *p = &d->point[n];

		if (p->kind != CPU_POINT_CODE &&
		    p->kind != (write ? CPU_POINT_READ : CPU_POINT_WRITE) &&
		    overlap(lin, len, p->lin, p->len))
			c->debug_hit = (uint16_t)(n + 1);
	}
}

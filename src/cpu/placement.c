/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cpu/placement.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/cpu/cpu.h"

static int wrong(const char *text, struct err *err)
{
	return err_set(err, -EINVAL, "'%s' is no list of processors; such are \"0-3\" for every "
		       "vCPU, or \"0/1/2-3\", a set for each", text);
}

static bool number(const char **p, unsigned long *n)
{
	char *end;

	if (!isdigit((unsigned char)**p))
		return false;
	*n = strtoul(*p, &end, 10);
	*p = end;
	return *n < CPU_SETSIZE;
}

/* One set, up to '/' or the end. */
static bool one_set(const char **p, cpu_set_t *set)
{
	unsigned long from, to;

	CPU_ZERO(set);
	do {
		if (**p == ',' && CPU_COUNT(set))
			(*p)++;
		if (!number(p, &from))
			return false;
		to = from;
		if (**p == '-') {
			(*p)++;
			if (!number(p, &to) || to < from)
				return false;
		}
		for (; from <= to; from++)
			CPU_SET(from, set);
	} while (**p == ',');
	return true;
}

int placement_parse(const char *text, unsigned index, cpu_set_t *set, struct err *err)
{
	const char *p = text;
	cpu_set_t have, mine;

	for (unsigned n = 0;; n++) {
		if (!one_set(&p, &mine) || (*p && *p != '/'))
			return wrong(text, err);
		if (n <= index)
			*set = mine;
		if (!*p)
			break;
		p++;
	}
	if (sched_getaffinity(0, sizeof(have), &have) != 0)
		return 0;
	for (unsigned n = 0; n < CPU_SETSIZE; n++)
		if (CPU_ISSET(n, set) && !CPU_ISSET(n, &have))
			return err_set(err, -EINVAL, "this process may not use processor %u, which "
				       "'%s' names; taskset -p shows those that it may", n, text);
	return 0;
}

void vcpu_placed(struct vcpu *v)
{
	atomic_store(&v->tid, (int)gettid());
}

int vcpu_place(struct vcpu *v, struct err *err)
{
	struct cpus *s = v->cpus;
	cpu_set_t set;
	int r, nice;

	if (s->affinity) {
		r = placement_parse(s->affinity, v->index, &set, err);
		if (r < 0)
			return r;
		r = pthread_setaffinity_np(v->thread, sizeof(set), &set);
		if (r != 0)
			return err_set(err, -r, "vCPU %u cannot be kept on its processors: %s",
				       v->index, strerror(r));
	}
	if (!s->nice)
		return 0;
	while (!atomic_load(&v->tid))
		sched_yield();
	errno = 0;
	nice = getpriority(PRIO_PROCESS, 0);
	if (setpriority(PRIO_PROCESS, (id_t)atomic_load(&v->tid), nice + (int)s->nice) != 0)
		return err_set(err, -errno, "the priority of vCPU %u cannot be set: %s", v->index,
			       strerror(errno));
	return 0;
}

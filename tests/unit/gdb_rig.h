/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gdb stub at one processor that the interpreter runs: no machine, no socket. What it
 * lets go runs at once, until it stops or halts.
 */
#ifndef BOTHY_TESTS_UNIT_GDB_RIG_H
#define BOTHY_TESTS_UNIT_GDB_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/ctl/gdb/stub.h"
#include "tests/unit/sys_rig.h"

struct gdb_rig {
	struct rig *r;
	struct gdb_stub stub;
	bool running, detached, killed;
	unsigned turns; /* of the engine, at most, each time it is let go; 0: 100 */
	char said[65536]; /* everything since gdb_rig_clear() */
	size_t len;
};

static inline unsigned gdb_rig_count(void *opaque) { return 1; }

static inline struct x86_cpu *gdb_rig_cpu(void *opaque, unsigned n)
{
	assert_int_equal(n, 0);
	return ((struct gdb_rig *)opaque)->r->c;
}

static inline bool gdb_rig_running(void *opaque) { return ((struct gdb_rig *)opaque)->running; }

static inline void gdb_rig_pause(void *opaque)
{
	struct gdb_rig *g = opaque;

	g->running = false;
	gdb_stub_stopped(&g->stub, 0, NULL);
}

static inline void gdb_rig_go(void *opaque, const enum cpu_go *how)
{
	struct gdb_rig *g = opaque;
	struct cpus *s = &g->r->cpus;
	struct x86_cpu *c = g->r->c;
	struct cpu_stop stop;
	unsigned n;

	cpus_debug_go(s, how);
	g->running = true;
	for (unsigned turns = g->turns ? g->turns : 100; turns && !g->r->vcpu.held; turns--) {
		atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_EXIT);
		g->r->engine.run(&g->r->vcpu);
		if (c->halted || c->wait_sipi || cpus_debug_pending(s))
			break;
	}
	if (!cpus_debug_stopped(s, &n, &stop))
		return; /* halted: it runs until somebody pauses it */
	g->running = false;
	gdb_stub_stopped(&g->stub, n, &stop);
}

static inline int gdb_rig_point(void *opaque, struct cpu_point p, bool set, struct err *err)
{
	struct cpus *s = &((struct gdb_rig *)opaque)->r->cpus;

	if (set)
		return cpus_debug_set(s, p, err);
	cpus_debug_clear(s, p);
	return 0;
}

static inline void gdb_rig_detach(void *opaque)
{
	struct gdb_rig *g = opaque;

	cpus_debug_end(&g->r->cpus);
	g->detached = g->running = true;
}

static inline void gdb_rig_kill(void *opaque) { ((struct gdb_rig *)opaque)->killed = true; }

static inline bool gdb_rig_monitor(void *opaque, const char *command, char *out, size_t size)
{
	snprintf(out, size, "<%s>", command);
	return strcmp(command, "none") != 0;
}

static inline void gdb_rig_send(void *opaque, const char *data, size_t len)
{
	struct gdb_rig *g = opaque;

	if (g->len + len >= sizeof(g->said))
		g->len = 0; /* a fuzzer's flood */
	assert_true(len < sizeof(g->said));
	memcpy(g->said + g->len, data, len);
	g->len += len;
	g->said[g->len] = '\0';
}

static const struct gdb_ops gdb_rig_ops = {
	.count = gdb_rig_count, .cpu = gdb_rig_cpu, .running = gdb_rig_running,
	.pause = gdb_rig_pause, .go = gdb_rig_go, .point = gdb_rig_point,
	.detach = gdb_rig_detach, .kill = gdb_rig_kill, .monitor = gdb_rig_monitor,
	.send = gdb_rig_send,
};

static inline void gdb_rig_clear(struct gdb_rig *g)
{
	g->len = 0;
	g->said[0] = '\0';
}

static inline void gdb_rig_attach(struct gdb_rig *g, enum gdb_arch arch)
{
	g->running = g->detached = g->killed = false;
	gdb_rig_clear(g);
	gdb_stub_init(&g->stub, &gdb_rig_ops, g, arch);
}

static inline int gdb_rig_setup(void **state)
{
	struct gdb_rig *g = calloc(1, sizeof(*g));
	void *rig;

	assert_non_null(g);
	assert_int_equal(rig_setup(&rig), 0);
	g->r = rig;
	rig_long(g->r);
	gdb_rig_attach(g, GDB_X86_64);
	*state = g;
	return 0;
}

static inline int gdb_rig_teardown(void **state)
{
	struct gdb_rig *g = *state;
	void *rig = g->r;

	rig_teardown(&rig);
	free(g);
	return 0;
}

#endif

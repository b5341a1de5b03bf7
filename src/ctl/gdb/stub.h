/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GDB's remote protocol (GDB manual, appendix E) over processors of a machine: threads 1
 * to N are its vCPUs, and they stop together. Knows no machine: that is behind struct
 * gdb_ops, so that tests can be one.
 */
#ifndef BOTHY_CTL_GDB_STUB_H
#define BOTHY_CTL_GDB_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/cpu/guest_debug.h"
#include "src/ctl/gdb/cpu.h"
#include "src/ctl/gdb/frame.h"

struct x86_cpu;

#define GDB_THREADS_MAX 255u
#define GDB_MONITOR_MAX 4096u

/* The machine. Processors are numbered from 0. */
struct gdb_ops {
	unsigned (*count)(void *opaque); /* 1..GDB_THREADS_MAX */
	struct x86_cpu *(*cpu)(void *opaque, unsigned n); /* whole only while it stands */
	bool (*running)(void *opaque);
	/* Stops all; if that was not so yet, gdb_stub_stopped() is called before it returns. */
	void (*pause)(void *opaque);
	/* Lets the machine go on. @how: one for each processor. gdb_stub_stopped() follows,
	 * perhaps before it returns. */
	void (*go)(void *opaque, const enum cpu_go *how);
	int (*point)(void *opaque, struct cpu_point p, bool set, struct err *err);
	/* The debugger lets go: no points are left, the machine goes on. */
	void (*detach)(void *opaque);
	void (*kill)(void *opaque); /* it wants the machine's end */
	/* A person's command; the answer as text. False: there is no such command. */
	bool (*monitor)(void *opaque, const char *command, char *out, size_t size);
	void (*send)(void *opaque, const char *data, size_t len);
};

/* What the debugger asked for, by its own kinds: Z0 and Z1 are the same to us. */
struct gdb_point {
	uint8_t type; /* 0..4: software, hardware, write, read, access */
	struct cpu_point at;
};
#define GDB_POINTS_MAX (2 * CPU_POINTS_MAX)

struct gdb_stub {
	const struct gdb_ops *ops;
	void *opaque;
	enum gdb_arch arch;
	struct gdb_frame in;
	struct gdb_reply out;
	struct gdb_point point[GDB_POINTS_MAX];
	unsigned points;
	unsigned current;    /* processor that g, p, m and the like mean (Hg) */
	unsigned stepped;    /* ... that s means (Hc) */
	bool no_ack;
	bool waiting;        /* the machine runs for the debugger, who waits for its stop */
	bool attached;       /* false: it detached or killed, and is not listened to */
	bool physical;       /* m and M mean physical addresses */
	bool tells_swbreak, tells_hwbreak, tells_errors;
	size_t xml_len;
	char xml[GDB_XML_MAX];
};

/* A debugger is there, and the machine stands. */
void gdb_stub_init(struct gdb_stub *s, const struct gdb_ops *ops, void *opaque,
		   enum gdb_arch arch);
/* Bytes from it. */
void gdb_stub_feed(struct gdb_stub *s, const void *data, size_t len);
/* The machine stopped: processor @n for @stop, or all since somebody wished it (NULL). */
void gdb_stub_stopped(struct gdb_stub *s, unsigned n, const struct cpu_stop *stop);
void gdb_stub_ended(struct gdb_stub *s, uint8_t code); /* the machine ended */

#endif

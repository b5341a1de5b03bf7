/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The socket that debuggers come to, and the machine as the stub sees it. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/accept.h"
#include "src/base/bits.h"
#include "src/base/listen.h"
#include "src/base/loop.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/x86.h"
#include "src/ctl/gdb.h"
#include "src/ctl/gdb/stub.h"
#include "src/vm/vm.h"

#define READ_BYTES 512u         /* at a time; answers are larger than what asks for them */
#define QUEUE_MAX (2u << 20)    /* bytes of answers that wait for a slow debugger */

struct gdb {
	struct vm *vm;
	struct vm_listener listener;
	struct acceptor acceptor;
	int listen_fd;
	char *where, *unlink_path;
	enum gdb_arch arch;
	int fd; /* the debugger's; -1: nobody is there */
	char *out;
	size_t out_len, out_room;
	bool found_running; /* the machine ran when the debugger came */
	bool let_run;       /* ... who let it run since */
	struct gdb_stub stub;
};

static void client_event(void *opaque, uint32_t events);
static void listen_event(void *opaque, uint32_t events);

static void watch(struct gdb *g)
{
	/* Further debuggers wait their turn. Without memory for the watch nobody can
	 * connect, or the one who is there hangs; the machine goes on. */
	if (loop_fd_set(vm_loop(g->vm), g->listen_fd, g->fd < 0 ? EPOLLIN : 0, listen_event, g) < 0)
		return;
	if (g->fd >= 0 && loop_fd_set(vm_loop(g->vm), g->fd, g->out_len ? EPOLLOUT : EPOLLIN,
				      client_event, g) < 0)
		shutdown(g->fd, SHUT_RDWR);
}

/*
 * Bytes to the debugger.
 */
static void flush(struct gdb *g)
{
	while (g->out_len) {
		ssize_t n = send(g->fd, g->out, g->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			g->out_len = 0; /* gone; reading tells */
		if (n <= 0)
			break;
		g->out_len -= (size_t)n;
		memmove(g->out, g->out + n, g->out_len);
	}
}

static void ops_send(void *opaque, const char *data, size_t len)
{
	struct gdb *g = opaque;
	bool idle = !g->out_len;

	if (g->fd < 0)
		return;
	if (g->out_len + len > g->out_room) {
		size_t room = align_up(g->out_len + len, 65536);
		char *p = room > QUEUE_MAX ? NULL : realloc(g->out, room);

		if (!p) {
			shutdown(g->fd, SHUT_RDWR); /* its end comes as an event */
			return;
		}
		g->out = p;
		g->out_room = room;
	}
	memcpy(g->out + g->out_len, data, len);
	g->out_len += len;
	flush(g);
	if (idle && g->out_len)
		watch(g);
}

/*
 * The machine.
 */
static struct cpus *cpus(const struct gdb *g) { return vm_cpus(g->vm); }
static unsigned ops_count(void *opaque) { return cpus(opaque)->count; }
static struct x86_cpu *ops_cpu(void *opaque, unsigned n) { return cpus(opaque)->vcpu[n].x86; }

static bool ops_running(void *opaque)
{
	return vm_state(((struct gdb *)opaque)->vm) == VM_RUNNING;
}

static void ops_pause(void *opaque) { vm_pause(((struct gdb *)opaque)->vm); }

static void ops_go(void *opaque, const enum cpu_go *how)
{
	struct gdb *g = opaque;
	struct cpu_stop stop;
	unsigned n;

	/* Two may have stopped at once. A step or a breakpoint comes again; the access that
	 * a watchpoint saw is over. */
	while (cpus_debug_stopped(cpus(g), &n, &stop)) {
		if (stop.why != CPU_STOP_POINT || stop.point.kind == CPU_POINT_CODE)
			continue;
		gdb_stub_stopped(&g->stub, n, &stop);
		return;
	}
	cpus_debug_go(cpus(g), how);
	g->let_run = true;
	vm_resume(g->vm);
}

static int ops_point(void *opaque, struct cpu_point p, bool set, struct err *err)
{
	struct gdb *g = opaque;
	int ret = 0;

	if (set)
		ret = cpus_debug_set(cpus(g), p, err);
	else
		cpus_debug_clear(cpus(g), p);
	if (ret < 0)
		log_warn(cpus(g)->log, "gdb: %s", err->text);
	return ret;
}

static void ops_detach(void *opaque)
{
	struct gdb *g = opaque;

	cpus_debug_end(cpus(g));
	vm_resume(g->vm);
}

static void ops_kill(void *opaque)
{
	struct gdb *g = opaque;

	vm_end(g->vm, VM_REASON_HOST_QUIT);
}

static size_t info_cpu(const struct vcpu *v, char *out, size_t size)
{
	const struct x86_cpu *c = v->x86;
	const char *mode = !x86_protected(c) ? "real mode" : x86_v86(c) ? "virtual-8086 mode"
			   : c->code64 ? "64-bit" : c->mode & X86_MODE_32 ? "32-bit" : "16-bit";
	int n = snprintf(out, size, "vCPU %u (thread %u): %s, ring %u, %04x:%016" PRIx64 "%s\n",
			 v->index, v->index + 1, mode, c->cpl, c->seg[X86_CS].sel, c->rip,
			 c->wait_sipi ? ", waits for SIPI" : c->halted ? ", halted" : "");

	return min_of((size_t)max_of(n, 0), size - 1);
}

static void info(struct gdb *g, char *out, size_t size)
{
	struct cpus *s = cpus(g);
	size_t len = (size_t)snprintf(out, size, "engine %s, %u breakpoints and watchpoints\n",
				      s->engine->name, s->debug.count);

	for (unsigned n = 0; n < s->count && len + 128 < size; n++)
		len += info_cpu(&s->vcpu[n], out + len, size - len);
}

static bool ops_monitor(void *opaque, const char *command, char *out, size_t size)
{
	struct gdb *g = opaque;

	if (!strcmp(command, "help")) {
		snprintf(out, size, "help   this list\ninfo   the engine, and where each vCPU is\n"
			 "reset  resets the machine, which stays stopped\n");
	} else if (!strcmp(command, "info")) {
		info(g, out, size);
	} else if (!strcmp(command, "reset")) {
		vm_reset(g->vm, VM_REASON_HOST_RESET);
		snprintf(out, size, "the machine was reset\n");
	} else {
		return false;
	}
	return true;
}

static const struct gdb_ops ops = {
	.count = ops_count,
	.cpu = ops_cpu,
	.running = ops_running,
	.pause = ops_pause,
	.go = ops_go,
	.point = ops_point,
	.detach = ops_detach,
	.kill = ops_kill,
	.monitor = ops_monitor,
	.send = ops_send,
};

static void vm_told(void *opaque, const struct vm_event *ev)
{
	struct gdb *g = opaque;
	struct cpu_stop stop;
	unsigned n;

	if (g->fd < 0)
		return;
	if (ev->type == VM_EVENT_SHUTDOWN)
		gdb_stub_ended(&g->stub, 0);
	if (ev->type != VM_EVENT_STOP)
		return;
	if (cpus_debug_stopped(cpus(g), &n, &stop))
		gdb_stub_stopped(&g->stub, n, &stop);
	else
		gdb_stub_stopped(&g->stub, 0, NULL);
}

/*
 * Debuggers come and go.
 */

/* Nothing stays of one who vanished, and the machine goes on: unless it stood when the
 * debugger came, who never let it run. */
static void leave(struct gdb *g)
{
	bool ran;

	if (!g->stub.attached || vm_state(g->vm) == VM_SHUTDOWN)
		return;
	ran = vm_state(g->vm) == VM_RUNNING || g->found_running || g->let_run;
	g->stub.waiting = false;
	vm_pause(g->vm);
	cpus_debug_end(cpus(g));
	if (ran)
		vm_resume(g->vm);
}

static void client_close(struct gdb *g)
{
	leave(g);
	loop_fd_del(vm_loop(g->vm), g->fd);
	close(g->fd);
	g->fd = -1;
	free(g->out);
	g->out = NULL;
	g->out_len = g->out_room = 0;
}

/* False: it is gone. */
static bool client_read(struct gdb *g)
{
	char buf[READ_BYTES];
	ssize_t n = recv(g->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	gdb_stub_feed(&g->stub, buf, (size_t)n);
	return true;
}

static void client_event(void *opaque, uint32_t events)
{
	struct gdb *g = opaque;
	bool there = true;

	if (events & EPOLLOUT)
		flush(g);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		there = client_read(g);
	/* What it is still to hear goes out before the end. */
	if (!there || (!g->stub.attached && !g->out_len))
		client_close(g);
	watch(g);
}

static void listen_event(void *opaque, uint32_t events)
{
	struct gdb *g = opaque;
	int fd = acceptor_take(&g->acceptor, NULL), one = 1;

	if (fd < 0 || g->fd >= 0) {
		if (fd >= 0)
			close(fd);
		return;
	}
	/* Packets are small, and each waits for its answer. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	g->fd = fd;
	g->found_running = vm_state(g->vm) == VM_RUNNING;
	g->let_run = false;
	vm_pause(g->vm);
	gdb_stub_init(&g->stub, &ops, g, g->arch);
	watch(g);
}

/* Cuts ",arch=..." off the end. */
static int take_arch(struct gdb *g, char *where, struct err *err)
{
	char *arch = strstr(where, ",arch=");

	if (!arch)
		return 0;
	*arch = '\0';
	arch += strlen(",arch=");
	if (!strcmp(arch, "i386"))
		g->arch = GDB_I386;
	else if (strcmp(arch, "x86-64") != 0)
		return err_set(err, -EINVAL, "--gdb: arch=%s is none of x86-64, i386", arch);
	return 0;
}

struct gdb *gdb_new(struct vm *vm, const char *where, int *ret, struct err *err)
{
	struct gdb *g = calloc(1, sizeof(*g));
	char *copy = strdup(where), *at = copy;

	*ret = -ENOMEM;
	if (!g || !copy) {
		err_set(err, -ENOMEM, "out of memory for --gdb");
		free(copy);
		free(g);
		return NULL;
	}
	g->vm = vm;
	g->fd = g->listen_fd = -1;
	g->acceptor = (struct acceptor){ -1, -1 };
	*ret = take_arch(g, copy, err);
	if (!strncmp(at, "tcp:", 4))
		at += 4;
	if (*ret == 0) {
		*ret = listen_at(at, &g->listen_fd, &g->where, &g->unlink_path, err);
		if (*ret < 0)
			err_prefix(err, *ret, "--gdb");
	}
	free(copy);
	if (*ret < 0) {
		free(g);
		return NULL;
	}
	acceptor_init(&g->acceptor, g->listen_fd);
	g->listener = (struct vm_listener){ .event = vm_told, .opaque = g };
	vm_listen(vm, &g->listener);
	watch(g);
	return g;
}

void gdb_free(struct gdb *g)
{
	if (!g)
		return;
	if (g->fd >= 0) {
		loop_fd_del(vm_loop(g->vm), g->fd);
		close(g->fd);
	}
	loop_fd_del(vm_loop(g->vm), g->listen_fd);
	acceptor_fini(&g->acceptor);
	listen_close(&g->listen_fd, &g->where, &g->unlink_path);
	free(g->out);
	free(g);
}

const char *gdb_where(const struct gdb *g)
{
	return g->where;
}

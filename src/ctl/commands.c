/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of the control channel: one handler for each file of api/control/. */
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/base/uuid.h"
#include "src/base/version.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/x86.h"
#include "src/ctl/ctl_priv.h"
#include "src/vm/vm.h"

#define CTL_ARG(...) { __VA_ARGS__ }
#define CTL_COMMAND(name, fn, ...) { name, ctl_##fn, { __VA_ARGS__ } },
const struct ctl_command ctl_commands[] = {
#include "api/control.def"
};
#undef CTL_COMMAND
#undef CTL_ARG
const size_t ctl_command_count = array_size(ctl_commands);

struct json_object *ctl_version(void)
{
	struct json_object *v = json_object_new_object(), *n = json_object_new_object();

	ctl_add_int(n, "micro", BOTHY_VERSION_MICRO);
	ctl_add_int(n, "minor", BOTHY_VERSION_MINOR);
	ctl_add_int(n, "major", BOTHY_VERSION_MAJOR);
	json_object_object_add(v, "qemu", n);
	ctl_add_text(v, "package", "bothy " BOTHY_VERSION);
	return v;
}

/* Here for its entry in the list; ctl.c ends the negotiation. */
int ctl_qmp_capabilities(struct vm *vm, struct json_object *args, struct json_object **ret,
			    struct err *err)
{
	return err_set(err, -EALREADY, "Capabilities negotiation is already complete, command "
		       "ignored");
}

int ctl_query_version(struct vm *vm, struct json_object *args, struct json_object **ret,
			 struct err *err)
{
	*ret = ctl_version();
	return 0;
}

int ctl_query_commands(struct vm *vm, struct json_object *args, struct json_object **ret,
			  struct err *err)
{
	*ret = json_object_new_array();
	for (size_t i = 0; i < ctl_command_count; i++) {
		struct json_object *o = json_object_new_object();

		ctl_add_text(o, "name", ctl_commands[i].name);
		json_object_array_add(*ret, o);
	}
	return 0;
}

static const char *state_name(const struct vm *vm)
{
	switch (vm_state(vm)) {
	case VM_PRELAUNCH: return "prelaunch";
	case VM_RUNNING: return vm_panicked(vm) ? "guest-panicked" : "running";
	case VM_PAUSED: return vm_io_error(vm) ? "io-error"
			     : vm_watchdog_paused(vm) ? "watchdog"
			     : vm_debug_stop(vm) ? "debug" : "paused";
	case VM_SHUTDOWN: break;
	}
	return "shutdown";
}

int ctl_query_status(struct vm *vm, struct json_object *args, struct json_object **ret,
			struct err *err)
{
	*ret = json_object_new_object();
	ctl_add_text(*ret, "status", state_name(vm));
	ctl_add_bool(*ret, "singlestep", false);
	ctl_add_bool(*ret, "running", vm_state(vm) == VM_RUNNING);
	return 0;
}

int ctl_stop(struct vm *vm, struct json_object *args, struct json_object **ret, struct err *err)
{
	vm_pause(vm);
	return 0;
}

int ctl_cont(struct vm *vm, struct json_object *args, struct json_object **ret, struct err *err)
{
	vm_resume(vm);
	return 0;
}

int ctl_system_reset(struct vm *vm, struct json_object *args, struct json_object **ret,
			struct err *err)
{
	vm_reset(vm, VM_REASON_HOST_RESET);
	return 0;
}

int ctl_system_powerdown(struct vm *vm, struct json_object *args, struct json_object **ret,
			    struct err *err)
{
	vm_power_button(vm);
	return 0;
}

int ctl_inject_nmi(struct vm *vm, struct json_object *args, struct json_object **ret,
		      struct err *err)
{
	vm_inject_nmi(vm);
	return 0;
}

int ctl_query_uuid(struct vm *vm, struct json_object *args, struct json_object **ret,
		      struct err *err)
{
	char text[UUID_TEXT];

	uuid_print(vm_uuid(vm), text);
	*ret = json_object_new_object();
	ctl_add_text(*ret, "UUID", text);
	return 0;
}

static const char *text_arg(struct json_object *args, const char *key)
{
	return json_object_get_string(json_object_object_get(args, key));
}

int ctl_watchdog_set_action(struct vm *vm, struct json_object *args, struct json_object **ret,
			       struct err *err)
{
	return vm_watchdog_set(vm, text_arg(args, "action"), err);
}

static void end_now(void *opaque)
{
	vm_end(opaque, VM_REASON_HOST_QUIT);
}

/* The answer goes out before the SHUTDOWN event. */
int ctl_quit(struct vm *vm, struct json_object *args, struct json_object **ret, struct err *err)
{
	uint64_t done, total;

	if (vm_saving(vm, &done, &total))
		vm_end(vm, VM_REASON_HOST_QUIT); /* when that is broken off */
	else
		loop_post(vm_loop(vm), end_now, vm);
	return 0;
}

int ctl_query_save(struct vm *vm, struct json_object *args, struct json_object **ret,
		   struct err *err)
{
	uint64_t done, total;
	bool saving = vm_saving(vm, &done, &total);

	*ret = json_object_new_object();
	ctl_add_text(*ret, "status", saving ? "active" : "none");
	ctl_add_int(*ret, "done", (int64_t)done);
	ctl_add_int(*ret, "total", (int64_t)total);
	return 0;
}

int ctl_save(struct vm *vm, struct json_object *args, struct json_object **ret, struct err *err)
{
	const char *then = text_arg(args, "then");
	bool running = vm_state(vm) == VM_RUNNING;
	int r;

	if (then && strcmp(then, "continue") && strcmp(then, "stop") && strcmp(then, "quit"))
		return err_set(err, -EINVAL, "Invalid parameter '%s'; then is 'continue', 'stop' or "
			       "'quit'", then);
	/* Stopped first: what is saved is where it stops. */
	if (then && strcmp(then, "continue"))
		vm_pause(vm);
	r = vm_save(vm, text_arg(args, "file"), err);
	if (r < 0 && running)
		vm_resume(vm);
	if (r == 0 && then && !strcmp(then, "quit"))
		loop_post(vm_loop(vm), end_now, vm);
	return r;
}

int ctl_engine(struct vm *vm, struct json_object *args, struct json_object **ret,
		  struct err *err)
{
	int64_t pause_ns;
	int r = vm_set_engine(vm, text_arg(args, "name"), &pause_ns, err);

	if (r < 0)
		return r;
	*ret = json_object_new_object();
	ctl_add_text(*ret, "engine", vm_cpus(vm)->engine->name);
	ctl_add_int(*ret, "pause-ns", pause_ns);
	return 0;
}

/* The kernel's number for a vCPU's thread. The clock ID that glibc gives for a
 * thread carries it (clock_getcpuclockid(3): ~tid << 3 | 6). */
static int thread_id(const struct vcpu *v)
{
	clockid_t clock;

	if (!v->started || pthread_getcpuclockid(v->thread, &clock) != 0)
		return 0;
	return ~(clock >> 3);
}

int ctl_query_cpus_fast(struct vm *vm, struct json_object *args, struct json_object **ret,
			   struct err *err)
{
	struct cpus *s = vm_cpus(vm);

	*ret = json_object_new_array();
	for (unsigned i = 0; i < s->count; i++) {
		struct json_object *o = json_object_new_object(), *p = json_object_new_object();
		char path[48];

		snprintf(path, sizeof(path), "/machine/unattached/device[%u]", i);
		ctl_add_int(o, "cpu-index", i);
		ctl_add_text(o, "qom-path", path);
		ctl_add_int(o, "thread-id", thread_id(&s->vcpu[i]));
		ctl_add_text(o, "target", "x86_64");
		ctl_add_int(p, "core-id", i);
		ctl_add_int(p, "thread-id", 0);
		ctl_add_int(p, "socket-id", 0);
		json_object_object_add(o, "props", p);
		json_object_array_add(*ret, o);
	}
	return 0;
}

static int64_t thread_cpu_ns(const struct vcpu *v)
{
	struct timespec ts;
	clockid_t clock;

	if (!v->started || pthread_getcpuclockid(v->thread, &clock) != 0 ||
	    clock_gettime(clock, &ts) < 0)
		return 0;
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void add_stat(struct json_object *stats, const char *name, int64_t value)
{
	struct json_object *o = json_object_new_object();

	ctl_add_text(o, "name", name);
	ctl_add_int(o, "value", value);
	json_object_array_add(stats, o);
}

static void vcpu_stats(struct cpus *s, struct json_object *list)
{
	for (unsigned i = 0; i < s->count; i++) {
		struct json_object *o = json_object_new_object(), *st = json_object_new_array();
		const struct vcpu *v = &s->vcpu[i];
		struct engine_stat counters[ENGINE_STATS_MAX];
		unsigned count;
		char path[48];

		snprintf(path, sizeof(path), "/machine/unattached/device[%u]", i);
		ctl_add_text(o, "provider", "bothy");
		ctl_add_text(o, "qom-path", path);
		/* Read while it runs: a count may be an instant old, never torn. */
		add_stat(st, "instructions",
			 (int64_t)__atomic_load_n(&v->x86->insn_count, __ATOMIC_RELAXED));
		add_stat(st, "host-cpu-ns", thread_cpu_ns(v));
		add_stat(st, "halted", atomic_load(&v->state) == VCPU_HALTED);
		count = cpus_stats(s, i, counters);
		for (unsigned k = 0; k < count; k++)
			add_stat(st, counters[k].name, (int64_t)counters[k].value);
		json_object_object_add(o, "stats", st);
		json_object_array_add(list, o);
	}
}

static void vm_stats(struct vm *vm, struct json_object *list)
{
	struct json_object *o = json_object_new_object(), *st = json_object_new_array();
	struct cpus *s = vm_cpus(vm);
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	ctl_add_text(o, "provider", "bothy");
	add_stat(st, "host-cpu-ns", (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
	add_stat(st, "memory-reserved-bytes", (int64_t)s->mem->used);
	json_object_object_add(o, "stats", st);
	json_object_array_add(list, o);
}

int ctl_query_stats(struct vm *vm, struct json_object *args, struct json_object **ret,
		       struct err *err)
{
	const char *target = json_object_get_string(json_object_object_get(args, "target"));

	if (strcmp(target, "vcpu") && strcmp(target, "vm"))
		return err_set(err, -EINVAL, "Invalid parameter '%s'; target is 'vm' or 'vcpu'",
			       target);
	*ret = json_object_new_array();
	if (!strcmp(target, "vcpu"))
		vcpu_stats(vm_cpus(vm), *ret);
	else
		vm_stats(vm, *ret);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/loop.h"
#include "src/base/size.h"
#include "src/base/uuid.h"
#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "src/cpu/engines.h"
#include "src/cpu/placement.h"
#include "src/cpu/x86/x86.h"
#include "src/dev/chardev.h"
#include "src/dev/firmware/boot.h"
#include "src/machine/board.h"
#include "src/machine/boot_cpu.h"
#include "src/mem/mem.h"
#include "src/vm/save.h"
#include "src/vm/serial_listen.h"
#include "src/vm/vm_priv.h"

/* What vCPU threads asked for; bits of vm->asked. */
#define ASK_RESET 0x1u
#define ASK_POWER_OFF 0x2u
#define ASK_TRIPLE_FAULT 0x4u
#define ASK_PANIC 0x8u
#define ASK_ENGINE 0x10u /* the engine cannot go on: take the next best */
#define ASK_WATCHDOG 0x40u
#define ASK_DEBUG 0x80u  /* a vCPU stopped for a debugger */
#define ASK_BROKEN 0x20u /* the engine found itself wrong, and has said so */

/* Nobody stops for these. */
#define ASK_GOES_ON (ASK_PANIC | ASK_WATCHDOG)

static const struct {
	const char *name;
	bool guest;
} reasons[] = {
	[VM_REASON_NONE] = { "none", false },
	[VM_REASON_GUEST_SHUTDOWN] = { "guest-shutdown", true },
	[VM_REASON_GUEST_RESET] = { "guest-reset", true },
	[VM_REASON_GUEST_PANIC] = { "guest-panic", true },
	[VM_REASON_HOST_QUIT] = { "host-qmp-quit", false },
	[VM_REASON_HOST_RESET] = { "host-qmp-system-reset", false },
	[VM_REASON_HOST_SIGNAL] = { "host-signal", false },
	[VM_REASON_HOST_ERROR] = { "host-error", false },
};

const char *vm_reason_name(enum vm_reason r) { return reasons[r].name; }
bool vm_reason_is_guest(enum vm_reason r) { return reasons[r].guest; }

struct loop *vm_loop(struct vm *vm) { return vm->loop; }
void vm_lock(struct vm *vm) { bus_lock(vm->bus); }
void vm_unlock(struct vm *vm) { bus_unlock(vm->bus); }
struct cpus *vm_cpus(struct vm *vm) { return vm->cpus; }
enum vm_state vm_state(const struct vm *vm) { return vm->state; }
bool vm_panicked(const struct vm *vm) { return vm->panicked; }
const char *vm_boot_kind(const struct vm *vm) { return vm->boot_kind; }
struct board *vm_board(struct vm *vm) { return vm->board; }
bool vm_io_error(const struct vm *vm) { return vm->io_error; }
bool vm_debug_stop(const struct vm *vm) { return vm->debug_stop; }
const uint8_t *vm_uuid(const struct vm *vm) { return vm->uuid; }
int vm_exit_code(const struct vm *vm) { return atomic_load(&vm->exit_code); }
enum vm_reason vm_end_reason(const struct vm *vm) { return vm->end_reason; }

void vm_listen(struct vm *vm, struct vm_listener *l)
{
	l->next = vm->listeners;
	vm->listeners = l;
}

void vm_tell(struct vm *vm, const struct vm_event *ev)
{
	for (struct vm_listener *l = vm->listeners; l; l = l->next)
		l->event(l->opaque, ev);
}

void vm_tell_named(struct vm *vm, const char *name, struct json_object *data)
{
	struct vm_event ev = { .type = VM_EVENT_NAMED, .name = name, .data = data };

	vm_tell(vm, &ev);
	json_object_put(data);
}

static void tell(struct vm *vm, enum vm_event_type type, enum vm_reason reason)
{
	struct vm_event ev = { .type = type, .reason = reason };

	vm_tell(vm, &ev);
}

/* vCPUs may wait for the device lock; it is let go while they stop. */
void vm_stop_cpus(struct vm *vm)
{
	bus_unlock(vm->bus);
	cpus_pause(vm->cpus);
	bus_lock(vm->bus);
}

static void engine_failed(struct vm *vm);

static void debug_stopped(struct vm *vm)
{
	if (vm->state != VM_RUNNING)
		return;
	vm_stop_cpus(vm);
	/* Whoever stopped the machine just before may have told of it already. */
	if (!cpus_debug_pending(vm->cpus)) {
		vm_let_go_on(vm);
		return;
	}
	vm->debug_stop = true;
	vm_pause(vm);
}

/*
 * What the guest asks for, from whichever thread. The vCPUs stop at their next
 * instruction boundary, so that nothing runs past the request; the loop does the
 * rest.
 */
static void take_asked(void *opaque)
{
	struct vm *vm = opaque;
	uint32_t asked = atomic_exchange(&vm->asked, 0);

	if (vm->state == VM_SHUTDOWN)
		return;
	if (asked & ASK_PANIC) {
		vm->panicked = true;
		tell(vm, VM_EVENT_PANICKED, VM_REASON_GUEST_PANIC);
	}
	if (asked == ASK_WATCHDOG || asked == (ASK_WATCHDOG | ASK_PANIC))
		vm_watchdog_act(vm);
	if (asked & ASK_TRIPLE_FAULT)
		log_guest(vm->log, &vm->fault_limit, "vCPU %u met a triple fault; the machine is "
			  "reset", atomic_load(&vm->triple_fault_cpu));
	if (asked & ASK_ENGINE)
		engine_failed(vm);
	if (asked & ASK_DEBUG)
		debug_stopped(vm);
	if (asked & ASK_BROKEN)
		vm_end(vm, VM_REASON_HOST_ERROR);
	else if (asked & ASK_POWER_OFF)
		vm_end(vm, VM_REASON_GUEST_SHUTDOWN);
	else if (asked & (ASK_RESET | ASK_TRIPLE_FAULT))
		vm_reset(vm, vm->panicked ? VM_REASON_GUEST_PANIC : VM_REASON_GUEST_RESET);
}

static void ask(struct vm *vm, uint32_t what)
{
	if (what & ~ASK_GOES_ON)
		cpus_pause_request(vm->cpus);
	if (!atomic_fetch_or(&vm->asked, what))
		loop_post(vm->loop, take_asked, vm);
}

static void ask_reset(void *opaque) { ask(opaque, ASK_RESET); }
static void ask_power_off(void *opaque) { ask(opaque, ASK_POWER_OFF); }
static void ask_watchdog(void *opaque) { ask(opaque, ASK_WATCHDOG); }
static void ask_panic(void *opaque) { ask(opaque, ASK_PANIC); }

static void ask_broken(void *opaque, unsigned vcpu) { ask(opaque, ASK_BROKEN); }
static void ask_debug(void *opaque, unsigned vcpu) { ask(opaque, ASK_DEBUG); }

static void ask_engine(void *opaque, unsigned vcpu, const char *text)
{
	struct vm *vm = opaque;

	pthread_mutex_lock(&vm->why_lock);
	snprintf(vm->engine_why, sizeof(vm->engine_why), "%s", text);
	pthread_mutex_unlock(&vm->why_lock);
	ask(vm, ASK_ENGINE);
}

static void ask_exit(void *opaque, int code)
{
	struct vm *vm = opaque;

	atomic_store(&vm->exit_code, code);
	ask(vm, ASK_POWER_OFF);
}

static void ask_triple_fault(void *opaque, unsigned vcpu)
{
	struct vm *vm = opaque;

	atomic_store(&vm->triple_fault_cpu, vcpu);
	ask(vm, ASK_TRIPLE_FAULT);
}

/*
 * Booting: the kernel into memory, the processors to where firmware would leave
 * them, the boot processor to the kernel's entry.
 */
static int boot(struct vm *vm, struct err *err)
{
	struct boot_config cfg = {
		.mem = vm->mem,
		.rsdp = board_rsdp(vm->board),
		.cmdline = vm->cfg.append ? vm->cfg.append : "",
		.kernel = &vm->kernel,
		.modules = vm->modules,
		.module_count = vm->module_count,
		.log = vm->log,
	};
	struct boot_entry entry;
	int ret;

	if (vm->cfg.firmware) { /* which starts at the reset vector */
		vm->boot_kind = "firmware";
		return 0;
	}

	if (vm->kernel.fd < 0)
		return err_set(err, -ENOENT, "there is no kernel to start it with");
	cfg.map = board_map(vm->board, &cfg.map_count);
	ret = boot_load(&cfg, &entry, err);
	if (ret < 0)
		return ret;
	vm->boot_kind = entry.kind;
	for (unsigned n = 0; n < vm->cpus->count; n++)
		boot_cpu_firmware(vm->cpus->vcpu[n].x86, board_low_memory(vm->cfg.memory_bytes));
	boot_cpu_enter(vm->cpus->vcpu[0].x86, &entry);
	return 0;
}

void vm_reset(struct vm *vm, enum vm_reason reason)
{
	bool running = vm->state == VM_RUNNING;
	struct err err = { "" };

	if (vm->state == VM_SHUTDOWN)
		return;
	if (vm->cfg.no_reboot && vm_reason_is_guest(reason)) {
		vm_end(vm, reason);
		return;
	}
	vm_stop_cpus(vm);
	atomic_store(&vm->asked, 0);
	cpus_reset(vm->cpus);
	vm->panicked = false;
	if (board_reset(vm->board, &err) < 0 || boot(vm, &err) < 0) {
		log_error(vm->log, "the machine cannot start again: %s", err.text);
		vm_end(vm, VM_REASON_HOST_ERROR);
		return;
	}
	tell(vm, VM_EVENT_RESET, reason);
	if (running)
		cpus_resume(vm->cpus);
}

void vm_pause(struct vm *vm)
{
	if (vm->state != VM_RUNNING)
		return;
	vm_stop_cpus(vm);
	/* An engine with a clock of its own gives it up before ours stops. */
	cpus_sync(vm->cpus);
	vtime_pause(vm->vtime);
	vm->state = VM_PAUSED;
	tell(vm, VM_EVENT_STOP, VM_REASON_NONE);
}

void vm_resume(struct vm *vm)
{
	if (vm->state != VM_PAUSED && !(vm->state == VM_PRELAUNCH && vm->cpus_started))
		return;
	vm->state = VM_RUNNING;
	vm->io_error = vm->watchdog_paused = vm->debug_stop = false;
	vtime_resume(vm->vtime);
	vm_drives_resume(vm);
	/* A reset or power off that was asked for while pausing is still posted and
	 * stops the vCPUs again. */
	cpus_resume(vm->cpus);
	tell(vm, VM_EVENT_RESUME, VM_REASON_NONE);
}

void vm_power_button(struct vm *vm)
{
	if (vm->state == VM_SHUTDOWN)
		return;
	tell(vm, VM_EVENT_POWERDOWN, VM_REASON_NONE);
	board_power_button(vm->board);
}

void vm_end(struct vm *vm, enum vm_reason reason)
{
	if (vm->state == VM_SHUTDOWN)
		return;
	if (vm->saving) { /* breaks off, and then ends */
		vm->save_cancelled = true;
		vm->end_reason = reason;
		return;
	}
	vm_stop_cpus(vm);
	vm->state = VM_SHUTDOWN;
	vm->end_reason = reason;
	tell(vm, VM_EVENT_SHUTDOWN, reason);
	loop_stop(vm->loop);
}

/* Where nobody named an engine and the best there is is not used: why. */
static void say_engine(const struct vm *vm)
{
	const struct engine_desc *best = engines[0];
	struct err why = { "" };

	if ((vm->cfg.engine && strcmp(vm->cfg.engine, "auto")) || vm->cpus->engine == best)
		return;
	if (best->usable && best->usable(&why) != 0)
		log_info(vm->log, "the engine is %s: %s", vm->cpus->engine->name, why.text);
}

int vm_start(struct vm *vm, struct err *err)
{
	int ret = cpus_start(vm->cpus, err);

	if (ret < 0)
		return ret;
	say_engine(vm);
	vm->cpus_started = true;
	if (vm->cfg.paused)
		return 0; /* the vCPUs wait at the gate for vm_resume() */
	vm->state = VM_RUNNING;
	vtime_resume(vm->vtime);
	cpus_resume(vm->cpus);
	return 0;
}

/*
 * Moving. The vCPUs stand still between two instructions.
 */

/* Did a vCPU ask for what take_asked() will do? It stopped there and stays stopped. */
bool vm_leaving(const struct vm *vm)
{
	return atomic_load(&vm->asked) & ~ASK_GOES_ON;
}

void vm_let_go_on(struct vm *vm)
{
	if (!vm_leaving(vm))
		cpus_resume(vm->cpus);
}

static int unknown_engine(const char *name, struct err *err);

int64_t vm_host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int vm_set_engine(struct vm *vm, const char *name, int64_t *pause_ns, struct err *err)
{
	const struct engine_desc *e = engine_lookup(name);
	int64_t start;
	int ret;

	if (!e)
		return unknown_engine(name, err);
	if (vm->state == VM_SHUTDOWN)
		return err_set(err, -EINVAL, "the machine has ended");
	start = vm_host_ns();
	vm_stop_cpus(vm);
	ret = cpus_set_engine(vm->cpus, e, err);
	if (vm->state == VM_RUNNING)
		vm_let_go_on(vm);
	*pause_ns = vm_host_ns() - start;
	return ret;
}

/* The next best engine of the list takes over. */
static void engine_failed(struct vm *vm)
{
	const struct engine_desc *old = vm->cpus->engine;
	char why[sizeof(vm->engine_why)];
	struct json_object *data;
	struct err err = { "" };
	size_t n = 0;
	int ret = -ENOTSUP;

	pthread_mutex_lock(&vm->why_lock);
	memcpy(why, vm->engine_why, sizeof(why));
	pthread_mutex_unlock(&vm->why_lock);
	vm_stop_cpus(vm);
	while (engines[n] && engines[n] != old)
		n++;
	for (n++; ret < 0 && engines[n]; n++)
		ret = cpus_set_engine(vm->cpus, engines[n], &err);
	if (ret < 0) {
		log_error(vm->log, "%s, and no other engine can take over: %s", why, err.text);
		vm_end(vm, VM_REASON_HOST_ERROR);
		return;
	}
	log_warn(vm->log, "the machine goes on in %s: %s", vm->cpus->engine->name, why);
	data = json_object_new_object();
	json_object_object_add(data, "engine", json_object_new_string(vm->cpus->engine->name));
	json_object_object_add(data, "reason", json_object_new_string(why));
	vm_tell_named(vm, "ENGINE_CHANGED", data);
	if (vm->state == VM_RUNNING)
		vm_let_go_on(vm);
}

/*
 * Building.
 */
static int check_memory(const struct vm_config *cfg, struct err *err)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t host = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
	char want[32], have[32];

	if (cfg->memory_bytes <= host)
		return 0;
	return err_set(err, -ENOMEM, "--memory %s is more than this host has (%s); ask for less",
		       format_size(cfg->memory_bytes, want, sizeof(want)),
		       format_size(align_down(host, 1 << 20), have, sizeof(have)));
}

static int unknown_engine(const char *name, struct err *err)
{
	char list[128] = "auto";

	for (size_t i = 0; engines[i]; i++) {
		size_t n = strlen(list);

		snprintf(list + n, sizeof(list) - n, ", %s", engines[i]->name);
	}
	return err_set(err, -EINVAL, "unknown engine '%s'; there are %s", name, list);
}

static int build_core(struct vm *vm, struct err *err)
{
	vm->bus = bus_new(vm->log, err);
	if (!vm->bus)
		return -ENOMEM;
	vm->vtime = vtime_new(&vm->bus->lock, false);
	if (!vm->vtime)
		return err_set(err, -ENOMEM, "out of memory");
	vtime_pause(vm->vtime);
	vm->loop = loop_new(&vm->bus->lock, err);
	if (!vm->loop)
		return -ENOMEM;
	loop_set_vtime(vm->loop, vm->vtime);
	/* RAM, and room for what boards and cards may add: firmware, video memory. */
	vm->mem = mem_new(vm->cfg.memory_bytes + (1ull << 30), err);
	return vm->mem ? 0 : -ENOMEM;
}

static const char *const irqchip_names[] = {
	[CPUS_IRQCHIP_USER] = "user", [CPUS_IRQCHIP_SPLIT] = "split",
	[CPUS_IRQCHIP_KERNEL] = "kernel", [CPUS_IRQCHIP_AUTO] = "auto",
};

static int build_cpus(struct vm *vm, struct err *err)
{
	const char *without = vm->cfg.host_without;
	struct cpus_config cc = {
		.count = vm->cfg.cpus,
		.model = vm->cfg.model ? vm->cfg.model : "host",
		.engine = engine_lookup(vm->cfg.engine ? vm->cfg.engine : "auto"),
		.options = {
			.cache_bytes = vm->cfg.translation_cache_bytes,
			.trace_blocks = vm->cfg.trace_blocks,
			.perf_map = vm->cfg.perf_map,
			.without_avx = without && !strcmp(without, "avx"),
			.without_xsave = without && !strcmp(without, "xsave"),
		},
		.mem = vm->mem,
		.bus = vm->bus,
		.vtime = vm->vtime,
		.log = vm->log,
	};

	if (!cc.engine)
		return unknown_engine(vm->cfg.engine, err);
	cc.engine_anyway = vm->cfg.engine_anyway;
	cc.affinity = vm->cfg.vcpu_affinity;
	cc.nice = vm->cfg.vcpu_nice;
	if (cc.affinity) {
		cpu_set_t set;
		int ret = placement_parse(cc.affinity, 0, &set, err);

		if (ret < 0)
			return err_prefix(err, ret, "--vcpu-affinity");
	}
	cc.irqchip = CPUS_IRQCHIP_AUTO;
	if (vm->cfg.irqchip) {
		while (cc.irqchip > 0 && strcmp(irqchip_names[cc.irqchip], vm->cfg.irqchip) != 0)
			cc.irqchip--;
		if (strcmp(irqchip_names[cc.irqchip], vm->cfg.irqchip) != 0)
			return err_set(err, -EINVAL, "unknown place of the interrupt controllers "
				       "'%s'; there are auto, kernel, split, user", vm->cfg.irqchip);
	}
	if (vm->cfg.restore && save_read_features(vm->cfg.restore, &cc.saved_features, err) < 0)
		return -EIO;
	vm->cpus = cpus_new(&cc, err);
	if (!vm->cpus)
		return -EINVAL;
	vm->cpus->triple_fault = ask_triple_fault;
	vm->cpus->engine_broken = ask_broken;
	vm->cpus->engine_failed = ask_engine;
	vm->cpus->debug_stop = ask_debug;
	vm->cpus->vm_opaque = vm;
	return 0;
}

/* What a device's property names. */
static void *find_backend(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	struct vm *vm = opaque;

	if (type == DEV_PROP_DRIVE)
		return vm_drive_claim(vm, id, err);
	if (type == DEV_PROP_CHARDEV)
		return vm_chardev_claim(vm, id, err);
	if (type == DEV_PROP_NETDEV)
		return vm_netdev_claim(vm, id, err);
	err_set(err, -ENOENT, "there is no '%s'", id);
	return NULL;
}

static int build_board(struct vm *vm, struct err *err)
{
	struct board_config bc = {
		.memory_bytes = vm->cfg.memory_bytes,
		.cpus = vm->cpus,
		.serial = vm->serial,
		.env = {
			.mem = vm->mem,
			.bus = vm->bus,
			.vtime = vm->vtime,
			.loop = vm->loop,
			.log = vm->log,
			.input = vm->input,
			.screens = &vm->screens,
			.power_off = ask_power_off,
			.reset = ask_reset,
			.end = ask_exit,
			.watchdog = ask_watchdog,
			.power_opaque = vm,
		},
		.panicked = ask_panic,
		.panicked_opaque = vm,
		.firmware = vm->cfg.firmware,
		.vars_fd = vm->vars_fd,
		.devices = vm->cfg.devices,
		.fw_cfg = vm->cfg.fw_cfg,
		.backends = { .find = find_backend, .opaque = vm },
	};

	memcpy(bc.uuid, vm->uuid, sizeof(bc.uuid));
	return board_new(&bc, &vm->board, err);
}

static int open_serial(struct vm *vm, struct err *err)
{
	struct chardev_fd_config fc = { .in_fd = vm->cfg.serial_fd, .out_fd = vm->cfg.serial_fd };

	if (vm->cfg.serial == VM_SERIAL_FD) {
		if ((fcntl(fc.out_fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
			fc.in_fd = -1; /* a file that only takes */
		vm->serial = chardev_fd_new(vm->loop, &fc, err);
	}
	if (vm->cfg.serial == VM_SERIAL_LISTEN)
		vm->serial = serial_listen_new(vm->loop, vm->cfg.serial_fd, err);
	return vm->serial || vm->cfg.serial == VM_SERIAL_NONE ? 0 : -EIO;
}

static int open_files(struct vm *vm, struct err *err)
{
	int ret = 0;

	if (!vm->cfg.kernel)
		return vm_uefi_vars_open(vm, err);
	ret = boot_file_open(&vm->kernel, "kernel", vm->cfg.kernel, err);
	if (ret == 0 && vm->cfg.initrd)
		ret = boot_files_open(vm->cfg.initrd, &vm->modules, &vm->module_count, err);
	if (ret < 0 && vm->cfg.restore) {
		/* Only a reset would need them. */
		log_warn(vm->log, "%s; the restored machine cannot be reset", err->text);
		boot_file_close(&vm->kernel);
		vm->kernel.fd = -1;
		err->text[0] = '\0';
		ret = 0;
	}
	return ret;
}

int vm_new(const struct vm_config *cfg, struct vm **out, struct err *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	*out = NULL;
	if (!vm)
		return err_set(err, -ENOMEM, "out of memory");
	vm->cfg = *cfg;
	vm->log = cfg->log;
	vm->kernel.fd = -1;
	pthread_mutex_init(&vm->why_lock, NULL);
	vm->vars_fd = -1;
	ret = check_memory(cfg, err);
	if (ret == 0 && cfg->uuid)
		ret = uuid_parse(cfg->uuid, vm->uuid, err);
	if (ret == 0 && cfg->watchdog)
		ret = vm_watchdog_set(vm, cfg->watchdog, err);
	if (ret == 0)
		ret = build_core(vm, err);
	if (ret == 0)
		ret = build_cpus(vm, err);
	if (ret == 0) {
		ret = open_files(vm, err);
		if (ret == 0)
			ret = open_serial(vm, err);
		if (ret == -EINVAL)
			ret = -EIO; /* a bad file is no wrong use */
		if (ret == 0)
			ret = vm_drives_init(vm, err);
		if (ret == 0)
			ret = vm_chardevs_init(vm, err);
		if (ret == 0)
			ret = vm_input_init(vm, err);
		if (ret == 0)
			ret = vm_netdevs_init(vm, err);
		if (ret == 0)
			ret = build_board(vm, err);
		if (ret == 0)
			ret = vm_displays_init(vm, err);
		if (ret == 0)
			vm_drives_watch(vm);
		if (ret == 0) {
			/* From here on a failure is no longer wrong use. */
			bus_lock(vm->bus);
			ret = board_reset(vm->board, err);
			if (ret == 0) {
				cpus_reset(vm->cpus);
				ret = vm->cfg.restore ? vm_restore(vm, err) : boot(vm, err);
			}
			bus_unlock(vm->bus);
			if (ret == -EINVAL)
				ret = -EIO;
		}
	}
	if (ret < 0) {
		vm_free(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	if (!vm->bus) { /* nor anything else: it is the first thing that is made */
		pthread_mutex_destroy(&vm->why_lock);
		free(vm);
		return;
	}
	/* The vCPUs first: they use everything else. */
	if (vm->cpus)
		cpus_stop(vm->cpus);
	vm_displays_fini(vm);
	board_free(vm->board);
	vm_input_fini(vm);
	vm_drives_fini(vm);
	vm_chardevs_fini(vm);
	vm_netdevs_fini(vm);
	if (vm->serial) {
		bus_lock(vm->bus);
		chardev_close(vm->serial);
		bus_unlock(vm->bus);
	}
	cpus_free(vm->cpus);
	boot_files_free(vm->modules, vm->module_count);
	boot_file_close(&vm->kernel);
	if (vm->vars_fd >= 0)
		close(vm->vars_fd);
	loop_free(vm->loop);
	if (vm->vtime)
		vtime_free(vm->vtime);
	if (vm->mem)
		mem_free(vm->mem);
	bus_free(vm->bus);
	pthread_mutex_destroy(&vm->why_lock);
	free(vm);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One VM: built from a configuration, run, paused, reset, ended.
 *
 * Everything of a VM hangs from struct vm. Its event loop's thread is the only
 * one that changes what the VM is doing; vCPU threads only ask (and stop at once
 * when they ask for a reset or the end). Unless said otherwise every function
 * here belongs to that thread, with the device lock held exactly once (which is
 * how the loop calls back) so that it can be let go while vCPUs stop.
 */
#ifndef BOTHY_VM_VM_H
#define BOTHY_VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"
#include "src/base/log.h"

struct board;
struct cpus;
struct engine_desc;
struct loop;
struct vm;

enum vm_serial_kind { VM_SERIAL_NONE, VM_SERIAL_FD, VM_SERIAL_LISTEN };

/* Strings stay the caller's and outlive the VM. */
struct vm_config {
	uint64_t memory_bytes;
	unsigned cpus;      /* 1..255 */
	const char *model;  /* NULL: host */
	const char *engine; /* NULL: auto */
	const char *kernel;
	const char *initrd; /* NULL, or a list: see boot_files_open() */
	const char *append; /* NULL for none */
	bool no_reboot;
	enum vm_serial_kind serial;
	int serial_fd; /* a stream to read and write, or a listening socket; not owned */
	const struct log *log;
};

enum vm_state {
	VM_PRELAUNCH, /* built, never run */
	VM_RUNNING,
	VM_PAUSED,
	VM_SHUTDOWN, /* ended; nothing runs any more */
};

enum vm_event_type {
	VM_EVENT_SHUTDOWN,
	VM_EVENT_RESET,
	VM_EVENT_STOP,
	VM_EVENT_RESUME,
	VM_EVENT_POWERDOWN,
	VM_EVENT_PANICKED,
};

/* Why; vm_reason_name() gives QMP's words (ShutdownCause). */
enum vm_reason {
	VM_REASON_NONE,
	VM_REASON_GUEST_SHUTDOWN,
	VM_REASON_GUEST_RESET,
	VM_REASON_GUEST_PANIC,
	VM_REASON_HOST_QUIT,
	VM_REASON_HOST_RESET,
	VM_REASON_HOST_SIGNAL,
	VM_REASON_HOST_ERROR,
};

struct vm_event {
	enum vm_event_type type;
	enum vm_reason reason;
};

/* Told on the loop's thread. */
struct vm_listener {
	void (*event)(void *opaque, const struct vm_event *ev);
	void *opaque;
	struct vm_listener *next;
};

const char *vm_reason_name(enum vm_reason r);
bool vm_reason_is_guest(enum vm_reason r);

/* Builds the VM and loads its kernel. -EINVAL: the configuration is wrong use
 * (an unknown engine or model); other codes: something failed. Call without the
 * device lock. */
int must_check vm_new(const struct vm_config *cfg, struct vm **vm, struct err *err);
void vm_free(struct vm *vm); /* without the device lock, after loop_run() returned */

struct loop *vm_loop(struct vm *vm);
void vm_lock(struct vm *vm);   /* the device lock */
void vm_unlock(struct vm *vm);
struct cpus *vm_cpus(struct vm *vm);
enum vm_state vm_state(const struct vm *vm);
bool vm_panicked(const struct vm *vm); /* since the last reset */
const char *vm_boot_kind(const struct vm *vm); /* "bzImage, 64-bit entry" */

void vm_listen(struct vm *vm, struct vm_listener *l);

int must_check vm_start(struct vm *vm, struct err *err); /* PRELAUNCH to RUNNING */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
void vm_reset(struct vm *vm, enum vm_reason reason);
void vm_power_button(struct vm *vm);

/* Ends the VM: stops the vCPUs, tells listeners, stops the loop. */
void vm_end(struct vm *vm, enum vm_reason reason);

/* What it came to, once the loop stopped; NONE while it goes on. */
enum vm_reason vm_end_reason(const struct vm *vm);

#endif

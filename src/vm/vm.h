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
#include "src/dev/plug.h"

struct blk;
struct input;
struct screens;
struct vnc;
struct board;
struct cpus;
struct engine_desc;
struct json_object;
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
	const char *firmware; /* "bios", "uefi", a file's path; NULL: direct boot of kernel */
	/* A file for UEFI's variables, made if it is not there; NULL: they are forgotten. */
	const char *uefi_vars;
	bool no_reboot;
	bool paused;        /* vm_start() leaves it to vm_resume() to let it run */
	uint64_t translation_cache_bytes; /* 0: the engine's choice */
	const char *trace_blocks;         /* a new file, or NULL */
	bool perf_map;
	const char *host_without; /* "avx" or "xsave": engine_options; or NULL */
	bool stats;                       /* counters to the log's descriptor at the end */
	const char *vcpu_affinity; /* as in src/cpu/placement.h, or NULL */
	unsigned vcpu_nice;        /* 0..19 */
	bool engine_anyway;  /* take the engine even where its self-test fails */
	const char *irqchip; /* KVM's interrupt controllers: user, split, kernel, auto; NULL: auto */
	const char *restore;     /* a saved machine's file to start from; NULL: boot */
	const char *description; /* what a saved machine remembers of how it was made; or NULL */
	enum vm_serial_kind serial;
	int serial_fd; /* a stream to read and write, or a listening socket; not owned */
	const struct log *log;
	const char *uuid;          /* as text; NULL: zero */
	const char *watchdog;      /* QMP's WatchdogAction; NULL: reset */
	struct dev_items fw_cfg;   /* name, and file or string */
	struct dev_items drives;   /* ids, and properties of drives.c's table */
	struct dev_items netdevs;  /* driver: the kind of network */
	struct dev_items chardevs; /* driver: null, file, socket */
	struct dev_items devices;
	struct dev_items displays; /* driver: none, vnc; where, password-file */
};

/* What follows when the guest's watchdog runs out. */
enum vm_watchdog {
	VM_WATCHDOG_RESET,
	VM_WATCHDOG_SHUTDOWN, /* the power button */
	VM_WATCHDOG_POWEROFF,
	VM_WATCHDOG_PAUSE,
	VM_WATCHDOG_DEBUG,    /* a line in the log */
	VM_WATCHDOG_NONE,
	VM_WATCHDOG_INJECT_NMI,
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
	VM_EVENT_NAMED, /* one that has its own name and data */
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
	const char *name;         /* VM_EVENT_NAMED: QMP's word */
	struct json_object *data; /* its data, or NULL; the teller's */
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
/* Tells the event @name, described in api/event/; takes @data (may be NULL) over. */
void vm_tell_named(struct vm *vm, const char *name, struct json_object *data);

struct board *vm_board(struct vm *vm);
struct screens *vm_screens(struct vm *vm);
struct input *vm_input(struct vm *vm);
struct vnc *vm_vnc(struct vm *vm); /* NULL: none listens */
bool vm_io_error(const struct vm *vm); /* paused since a drive could not go on */
bool vm_debug_stop(const struct vm *vm); /* ... since a vCPU stopped for a debugger */

/*
 * Drives: disk images behind devices. A drive has an id of its own; a device claims it
 * by its property 'drive'.
 */
struct block_secret;
struct vm_drive {
	/* As configured: drives.c's table. */
	const char *id, *file, *format, *key_file;
	bool readonly, removable; /* removable: a CD or floppy, which may be empty */
	uint32_t cache, aio, read_error, write_error;
	uint32_t max_iops;
	uint64_t max_bytes_per_s;
	/* What came of it. */
	struct vm *vm;
	struct block_pool *pool;
	struct blk *blk;
	char *path;   /* of the medium, NULL: empty */
	bool claimed; /* by a device */
	struct block_secret *secret; /* drives.c's */
	struct vm_drive *next;
};

/* Jobs on the drives; NULL while there is no drive. */
struct jobs *vm_jobs(struct vm *vm);
/* How further images of the drive are opened: its cache and its passphrase. */
struct block_open_opts;
void vm_drive_open_opts(struct vm_drive *d, struct block_open_opts *o);
struct vm_drive *vm_drives(struct vm *vm); /* a list, in the configuration's order */
struct vm_drive *vm_drive_find(struct vm *vm, const char *id); /* NULL: none */
/* For the device that shall have it; one device alone. NULL, with the reason. */
struct blk *vm_drive_claim(struct vm *vm, const char *id, struct err *err);
/* Opens @file as the drive's configuration says, @format NULL: told from its name and
 * bytes. *node is the caller's to close or to give to blk_change(). */
struct block_node;
int must_check vm_drive_open(struct vm_drive *d, const char *file, const char *format,
			     struct block_node **node, struct err *err);

/* PRELAUNCH to RUNNING, unless it shall begin paused. */
int must_check vm_start(struct vm *vm, struct err *err);
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
void vm_reset(struct vm *vm, enum vm_reason reason);
void vm_power_button(struct vm *vm);
void vm_inject_nmi(struct vm *vm);
/* By QMP's name; -EINVAL. */
int must_check vm_watchdog_set(struct vm *vm, const char *action, struct err *err);
bool vm_watchdog_paused(const struct vm *vm); /* it stands since its watchdog ran out */
/* The machine's UUID, as SMBIOS has it. */
const uint8_t *vm_uuid(const struct vm *vm);

/* Ends the VM: stops the vCPUs, tells listeners, stops the loop. */
void vm_end(struct vm *vm, enum vm_reason reason);

/* Saves the machine to a file, which appears when it is complete; the machine stands
 * still meanwhile and then goes on as it was, also after a failure. The loop's urgent
 * descriptors are served all the while; vm_end() breaks it off. */
int must_check vm_save(struct vm *vm, const char *path, struct err *err);
/* Is it being saved? How much of its memory is looked through or written; 0, 0 if not. */
bool vm_saving(const struct vm *vm, uint64_t *done, uint64_t *total);

/* Moves the machine to another engine at an instruction boundary of every vCPU. On
 * failure it goes on in the one it has. *pause_ns: how long they stood still. */
int must_check vm_set_engine(struct vm *vm, const char *name, int64_t *pause_ns,
			     struct err *err);
/* What the guest asked this process to return through a debug exit port; else 0. */
int vm_exit_code(const struct vm *vm);

/* What it came to, once the loop stopped; NONE while it goes on. */
enum vm_reason vm_end_reason(const struct vm *vm);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of a VM, for the files of this folder. */
#ifndef BOTHY_VM_VM_PRIV_H
#define BOTHY_VM_VM_PRIV_H

#include <pthread.h>

#include "src/block/pool.h"
#include "src/dev/firmware/boot.h"
#include "src/display/surface.h"
#include "src/vm/vm.h"

struct chardev;
struct mem;
struct bus;
struct vtime;
struct vm_drive;

struct vm {
	struct vm_config cfg;
	const struct log *log;
	struct bus *bus;
	struct vtime *vtime;
	struct loop *loop;
	struct mem *mem;
	struct cpus *cpus;
	struct board *board;
	struct chardev *serial;
	struct boot_file kernel;
	struct boot_file *modules;
	size_t module_count;
	const char *boot_kind;
	struct vm_listener *listeners;
	enum vm_state state;
	enum vm_reason end_reason;
	_Atomic int exit_code;
	int vars_fd; /* UEFI variables; -1: none */
	bool panicked;
	bool cpus_started;
	_Atomic uint32_t asked;
	_Atomic uint32_t triple_fault_cpu;
	struct log_limit fault_limit;
	pthread_mutex_t why_lock;
	char engine_why[400]; /* why the engine cannot go on; under why_lock */
	struct vm_drive *drives;
	struct jobs *jobs;       /* on them; NULL: no drive */
	struct vm_chardev *chardevs;
	struct vm_netdev *netdevs;
	enum vm_watchdog watchdog;
	bool watchdog_paused;
	uint8_t uuid[16];
	bool io_error; /* paused because of a drive */
	bool debug_stop; /* ... of a debugger's breakpoint or step */
	/* Being saved: the loop serves the control channel only, and whoever wants the
	 * machine's end breaks it off. */
	bool saving, save_cancelled;
	uint64_t save_done, save_total; /* bytes of memory, of this pass */
	struct screens screens;
	struct input *input;
	struct vnc *vnc;
};

/* The guest's watchdog ran out. */
void vm_watchdog_act(struct vm *vm);
/* Tells every listener. */
void vm_tell(struct vm *vm, const struct vm_event *ev);

/* Returns when every vCPU stands still; lets the device lock go meanwhile. */
void vm_stop_cpus(struct vm *vm);
/* Did a vCPU ask for the machine's end, a reset or another engine? It stopped there and
 * stays stopped. */
bool vm_leaving(const struct vm *vm);
void vm_let_go_on(struct vm *vm); /* the vCPUs, unless one is leaving */
int64_t vm_host_ns(void);
/* The machine of cfg.restore; its parts were just reset. */
int must_check vm_restore(struct vm *vm, struct err *err);

/* Byte streams; as with drives. */
int must_check vm_chardevs_init(struct vm *vm, struct err *err);
void vm_chardevs_fini(struct vm *vm);
/* Tells who waits for their room that there is some: after a restore. */
void vm_chardevs_writable(struct vm *vm);
/* Networks; as with drives. */
struct net_peer;
int must_check vm_netdevs_init(struct vm *vm, struct err *err);
void vm_netdevs_fini(struct vm *vm);
struct net_peer *vm_netdev_claim(struct vm *vm, const char *id, struct err *err);

struct chardev *vm_chardev_claim(struct vm *vm, const char *id, struct err *err);

/* Opens vars_fd as the configuration says. */
int must_check vm_uefi_vars_open(struct vm *vm, struct err *err);
/* What devices show and read keys from, before there are devices; then the viewers of
 * the configuration. Without the device lock; undone by vm_displays_fini() while there
 * are devices, and vm_input_fini() when there are none. */
int must_check vm_input_init(struct vm *vm, struct err *err);
int must_check vm_displays_init(struct vm *vm, struct err *err);
void vm_displays_fini(struct vm *vm);
void vm_input_fini(struct vm *vm);

/* Opens the drives of the configuration; what failed is undone by vm_drives_fini(). */
int must_check vm_drives_init(struct vm *vm, struct err *err);
/* Once there are devices: tells of trays that move. */
void vm_drives_watch(struct vm *vm);
/* Closes them. Devices are gone, the device lock is not held. */
void vm_drives_fini(struct vm *vm);
/* The machine runs again: requests that were held back are tried again. */
void vm_drives_resume(struct vm *vm);
/* Waits for every request under way; its completion, interrupts and all, is done. */
void vm_drives_drain(struct vm *vm);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens when the guest's watchdog runs out: QMP's WatchdogAction.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic.h"
#include "src/vm/vm_priv.h"

static const char *const names[] = {
	[VM_WATCHDOG_RESET] = "reset", [VM_WATCHDOG_SHUTDOWN] = "shutdown",
	[VM_WATCHDOG_POWEROFF] = "poweroff", [VM_WATCHDOG_PAUSE] = "pause",
	[VM_WATCHDOG_DEBUG] = "debug", [VM_WATCHDOG_NONE] = "none",
	[VM_WATCHDOG_INJECT_NMI] = "inject-nmi",
};

int vm_watchdog_set(struct vm *vm, const char *action, struct err *err)
{
	for (size_t i = 0; i < array_size(names); i++) {
		if (strcmp(names[i], action))
			continue;
		vm->watchdog = (enum vm_watchdog)i;
		return 0;
	}
	return err_set(err, -EINVAL, "watchdog action '%s' is none of reset, shutdown, poweroff, "
		       "pause, debug, none, inject-nmi", action);
}

bool vm_watchdog_paused(const struct vm *vm)
{
	return vm->watchdog_paused;
}

void vm_inject_nmi(struct vm *vm)
{
	apic_nmi(vm->cpus);
}

void vm_watchdog_act(struct vm *vm)
{
	struct json_object *data = json_object_new_object();

	json_object_object_add(data, "action", json_object_new_string(names[vm->watchdog]));
	vm_tell_named(vm, "WATCHDOG", data);
	switch (vm->watchdog) {
	case VM_WATCHDOG_RESET:
		vm_reset(vm, VM_REASON_GUEST_RESET);
		break;
	case VM_WATCHDOG_SHUTDOWN:
		vm_power_button(vm);
		break;
	case VM_WATCHDOG_POWEROFF:
		vm_end(vm, VM_REASON_GUEST_SHUTDOWN);
		break;
	case VM_WATCHDOG_PAUSE:
		vm_pause(vm);
		vm->watchdog_paused = vm_state(vm) == VM_PAUSED;
		break;
	case VM_WATCHDOG_DEBUG:
		log_warn(vm->log, "the guest's watchdog ran out");
		break;
	case VM_WATCHDOG_INJECT_NMI:
		vm_inject_nmi(vm);
		break;
	case VM_WATCHDOG_NONE:
		break;
	}
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_MACHINE_BOOT_CPU_H
#define BOTHY_MACHINE_BOOT_CPU_H

#include <stdint.h>

struct boot_entry;
struct x86_cpu;

/* Sets up what firmware would have, on a CPU that was just reset: memory types
 * (@low_memory: bytes of RAM below 4 GiB), and on the boot processor the virtual
 * wire that lets the 8259s' interrupts through the local APIC. Every CPU. */
void boot_cpu_firmware(struct x86_cpu *c, uint64_t low_memory);

/* Puts a CPU that was just reset into the state that a direct boot wants. */
void boot_cpu_enter(struct x86_cpu *c, const struct boot_entry *e);

#endif

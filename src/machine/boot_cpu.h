/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_MACHINE_BOOT_CPU_H
#define BOTHY_MACHINE_BOOT_CPU_H

struct boot_entry;
struct x86_cpu;

/* Puts a CPU that was just reset into the state that a direct boot wants. */
void boot_cpu_enter(struct x86_cpu *c, const struct boot_entry *e);

#endif

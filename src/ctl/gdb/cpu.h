/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A processor's registers and memory as GDB's remote protocol numbers them: the target
 * descriptions of x86-64 and i386 (GDB manual, appendix G.5.7), with the registers that
 * QEMU adds. All on a processor that stands still, its state in struct x86_cpu.
 */
#ifndef BOTHY_CTL_GDB_CPU_H
#define BOTHY_CTL_GDB_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

struct x86_cpu;

enum gdb_arch { GDB_X86_64, GDB_I386 };

#define GDB_REG_MAX 16u   /* bytes of the largest register */
#define GDB_XML_MAX 24576u

/* target.xml, as text; its length. @avx: the processor has YMM registers. */
size_t gdb_cpu_describe(enum gdb_arch a, bool avx, char *xml, size_t size);
/* Bytes of register @n, 0: there is none; its value in the guest's byte order. */
size_t gdb_reg_read(enum gdb_arch a, const struct x86_cpu *c, unsigned n, uint8_t *out);
size_t gdb_reg_size(enum gdb_arch a, const struct x86_cpu *c, unsigned n);
/* -EINVAL: none, or no such value is possible. */
int must_check gdb_reg_write(enum gdb_arch a, struct x86_cpu *c, unsigned n, const uint8_t *in);

/* Memory by linear address through the processor's page tables, at any privilege, or by
 * physical address. RAM and ROM; devices would notice. Reads as many bytes as there are,
 * 0 if not even the first. Writes all or nothing: -EFAULT. */
size_t gdb_mem_read(struct x86_cpu *c, uint64_t addr, void *buf, size_t len, bool physical);
int must_check gdb_mem_write(struct x86_cpu *c, uint64_t addr, const void *buf, size_t len,
			     bool physical);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A builder of ACPI Machine Language: each function appends one construct to a
 * growing buffer; those that hold others come as begin and end. Source: ACPI 6.4,
 * chapter 20 "ACPI Machine Language (AML) Specification" and 6.4 "Resource Data
 * Types for ACPI".
 */
#ifndef BOTHY_DEV_ACPI_AML_H
#define BOTHY_DEV_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *data; /* owned */
	size_t len, cap;
	bool failed; /* out of memory or misused: what is in data is worthless */
};

void aml_fini(struct aml *a);
void aml_bytes(struct aml *a, const void *p, size_t len);

/* Packages of code. begin returns what its end wants. The PkgLength is written in
 * the shortest form when the end is known. @name: path as in ASL ("\\_SB.PCI0",
 * "_CRS"), segments of up to four characters padded with underscores. */
size_t aml_scope_begin(struct aml *a, const char *name);
size_t aml_device_begin(struct aml *a, const char *name);
size_t aml_method_begin(struct aml *a, const char *name, unsigned args, bool serialized);
size_t aml_if_begin(struct aml *a);    /* the predicate follows, then the body */
size_t aml_else_begin(struct aml *a);
size_t aml_while_begin(struct aml *a);
size_t aml_package_begin(struct aml *a, unsigned elements); /* elements < 256 */
size_t aml_field_begin(struct aml *a, const char *region, uint8_t flags);
void aml_end(struct aml *a, size_t begin);

void aml_name(struct aml *a, const char *name); /* Name(name, <what follows>) */
void aml_ref(struct aml *a, const char *name);  /* a name string as an operand */
void aml_int(struct aml *a, uint64_t v);        /* shortest encoding */
void aml_string(struct aml *a, const char *s);
void aml_buffer(struct aml *a, const void *p, size_t len);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A08" */
void aml_uuid(struct aml *a, const char *uuid); /* ToUUID("...") */
void aml_op(struct aml *a, uint8_t op);         /* a bare opcode, AML_OP_* */
void aml_ext_op(struct aml *a, uint8_t op);     /* 0x5b op */
void aml_region(struct aml *a, const char *name, uint8_t space, uint64_t off, uint64_t len);
void aml_field_unit(struct aml *a, const char *name, unsigned bits); /* NULL: skip */

#define AML_OP_ZERO 0x00
#define AML_OP_ONE 0x01
#define AML_OP_LOCAL(n) (0x60 + (n))
#define AML_OP_ARG(n) (0x68 + (n))
#define AML_OP_STORE 0x70
#define AML_OP_AND 0x7b
#define AML_OP_OR 0x7d
#define AML_OP_CREATE_DWORD_FIELD 0x8a
#define AML_OP_LAND 0x90
#define AML_OP_LOR 0x91
#define AML_OP_LNOT 0x92
#define AML_OP_LEQUAL 0x93
#define AML_OP_LGREATER 0x94
#define AML_OP_LLESS 0x95
#define AML_OP_RETURN 0xa4

/* Resource templates: a ResourceTemplate() buffer between begin and end. */
size_t aml_resources_begin(struct aml *a);
void aml_resources_end(struct aml *a, size_t begin);
void aml_res_io(struct aml *a, uint16_t base, uint8_t len);
void aml_res_irq(struct aml *a, unsigned irq); /* edge, high, exclusive */
void aml_res_dma(struct aml *a, unsigned channel); /* 8-bit, compatibility mode */
void aml_res_memory32(struct aml *a, bool writable, uint32_t base, uint32_t len);
void aml_res_word_bus(struct aml *a, uint16_t first, uint16_t last);
void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last);
void aml_res_memory_window(struct aml *a, uint64_t first, uint64_t last, bool prefetch);

#endif

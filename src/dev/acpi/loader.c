/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/acpi/loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

/* Commands: 128 bytes each, little-endian, names of 56 bytes. */
#define ENTRY 128u
#define NAME 56u

enum { CMD_ALLOCATE = 1, CMD_ADD_POINTER = 2, CMD_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };

struct script {
	uint8_t *at, *end;
	bool full;
};

static uint8_t *entry(struct script *s, uint32_t command)
{
	uint8_t *e = s->at;

	if (s->end - e < ENTRY) {
		s->full = true;
		return NULL;
	}
	st_le32(e, command);
	s->at += ENTRY;
	return e;
}

static void put_name(uint8_t *at, const char *name)
{
	memcpy(at, name, strlen(name)); /* the rest is zero */
}

static void allocate(struct script *s, const char *file, uint32_t align, uint8_t zone)
{
	uint8_t *e = entry(s, CMD_ALLOCATE);

	if (!e)
		return;
	put_name(e + 4, file);
	st_le32(e + 4 + NAME, align);
	e[4 + NAME + 4] = zone;
}

/* The @width bytes at @at of @file hold an offset into the tables. */
static void add_pointer(struct script *s, const char *file, uint32_t at, uint8_t width)
{
	uint8_t *e = entry(s, CMD_ADD_POINTER);

	if (!e)
		return;
	put_name(e + 4, file);
	put_name(e + 4 + NAME, ACPI_FILE_TABLES);
	st_le32(e + 4 + 2 * NAME, at);
	e[4 + 2 * NAME + 4] = width;
}

static void add_checksum(struct script *s, const char *file, const struct acpi_checksum *c)
{
	uint8_t *e = entry(s, CMD_ADD_CHECKSUM);

	if (!e)
		return;
	put_name(e + 4, file);
	st_le32(e + 4 + NAME, c->at);
	st_le32(e + 4 + NAME + 4, c->start);
	st_le32(e + 4 + NAME + 8, c->len);
}

/* The RSDP, first in the blob, becomes a file of its own; its place stays empty so that
 * offsets hold. */
static const char *file_of(uint32_t at)
{
	return at < ACPI_RSDP_LEN ? ACPI_FILE_RSDP : ACPI_FILE_TABLES;
}

static void write_script(struct script *s, const struct acpi_blob *b)
{
	allocate(s, ACPI_FILE_TABLES, 64, ZONE_HIGH);
	allocate(s, ACPI_FILE_RSDP, 16, ZONE_FSEG);
	for (size_t n = 0; n < b->nreloc; n++)
		add_pointer(s, file_of(b->reloc[n].at), b->reloc[n].at, b->reloc[n].width);
	for (size_t n = 0; n < b->nchecksum; n++)
		add_checksum(s, file_of(b->checksum[n].at), &b->checksum[n]);
}

int acpi_files_init(struct acpi_files *f, const struct acpi_config *cfg, struct err *err)
{
	struct script s = { f->loader, f->loader + sizeof(f->loader), false };
	struct acpi_blob b;
	int ret;

	*f = (struct acpi_files){ 0 };
	ret = acpi_blob_init(&b, cfg, err);
	if (ret < 0)
		return ret;
	write_script(&s, &b);
	memcpy(f->rsdp, b.data, ACPI_RSDP_LEN);
	memset(b.data, 0, ACPI_RSDP_LEN);
	f->tables = b.data;
	f->tables_len = b.len;
	b.data = NULL;
	acpi_blob_fini(&b);
	if (!s.full)
		return 0;
	acpi_files_fini(f);
	return err_set(err, -ENOSPC, "the ACPI tables need more than %u loader entries",
		       ACPI_LOADER_LEN / ENTRY);
}

void acpi_files_fini(struct acpi_files *f)
{
	free(f->tables);
	*f = (struct acpi_files){ 0 };
}

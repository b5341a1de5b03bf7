/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file of a saved machine: a header, then sections, each with its name, its
 * length and a checksum, the last one named "end".
 *
 * A file is written under a temporary name beside its own and takes its name when
 * it is complete and on the disk. A reader believes no length and no byte that a
 * checksum does not cover, and names the section that is wrong.
 *
 * All numbers are little-endian. The header, 64 bytes: 8 bytes of magic, u32 format
 * (1), u32 CRC-32 of the header with this field 0, u64 seconds since 1970, 40 bytes of
 * the program's version as text. A section's header, 64 bytes: u32 magic, u32 CRC-32
 * of the header with this field 0, 32 bytes of name, u32 instance, u32 version, u32
 * flags, u32 stored and u32 plain length, u32 CRC-32 of what is stored, which follows.
 */
#ifndef BOTHY_VM_SAVE_FILE_H
#define BOTHY_VM_SAVE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

#define SAVE_NAME_MAX 31
#define SAVE_SECTION_MAX (64u << 20) /* bytes of one section, stored or plain */

#define SAVE_ZSTD 0x1u     /* stored as one zstd frame */
#define SAVE_OPTIONAL 0x2u /* a program that does not know the section may skip it */
#define SAVE_FLAGS (SAVE_ZSTD | SAVE_OPTIONAL)

struct save_section {
	char name[SAVE_NAME_MAX + 1];
	uint32_t instance, version, flags;
	const uint8_t *data; /* plain; the reader's until the next section */
	uint32_t len;
	uint64_t offset; /* of the section's header in the file */
};

/*
 * Writing.
 */
struct save_writer;

/* Begins a file that is to be @path. NULL on failure. */
struct save_writer *save_writer_new(const char *path, struct err *err);
/* One section. @flags: SAVE_*. -ENOSPC and other errors of writing say so in @err. */
int must_check save_writer_put(struct save_writer *w, const char *name, uint32_t instance,
			       uint32_t version, uint32_t flags, const void *data, size_t len,
			       struct err *err);
/* Ends the file, brings it to the disk and gives it its name. */
int must_check save_writer_finish(struct save_writer *w, struct err *err);
/* Removes what was not finished. NULL is fine. */
void save_writer_free(struct save_writer *w);
uint64_t save_writer_bytes(const struct save_writer *w); /* so far */

/*
 * Reading.
 */
struct save_reader;

/* Opens @path and checks its header. NULL on failure. */
struct save_reader *save_reader_new(const char *path, struct err *err);
/* The same over bytes in memory, which stay the caller's (tests, the fuzzer). */
struct save_reader *save_reader_mem(const void *data, size_t len, struct err *err);
void save_reader_free(struct save_reader *r);

/* The next section, checked. 0, or 1 after the "end" section, or -errno. */
int must_check save_reader_next(struct save_reader *r, struct save_section *s, struct err *err);
/* The version of the program that wrote the file, printable. */
const char *save_reader_program(const struct save_reader *r);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Firmware and option ROM files: where they are on the host, and their bytes. */
#ifndef BOTHY_DEV_FIRMWARE_ROM_H
#define BOTHY_DEV_FIRMWARE_ROM_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

/* Finds @name ("bios-256k.bin", "vgabios-stdvga.bin") in the folders where
 * distributions put such files. -ENOENT: @err says which package has it. */
int must_check rom_find(const char *name, char *path, size_t len, struct err *err);

/* Reads file @path, of 1 to @max bytes, into memory that is the caller's to free().
 * @what is how messages call it ("firmware"). */
int must_check rom_read(const char *what, const char *path, size_t max, uint8_t **data,
			size_t *len, struct err *err);

#endif

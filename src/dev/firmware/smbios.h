/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMBIOS tables: what people's tools say of the machine (dmidecode), handed to firmware
 * as fw_cfg files. Source: System Management BIOS reference specification (DMTF DSP0134)
 * 2.8 and 3.0; structures 0, 1, 3, 4, 16, 17, 19, 32, 127.
 */
#ifndef BOTHY_DEV_FIRMWARE_SMBIOS_H
#define BOTHY_DEV_FIRMWARE_SMBIOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

#define SMBIOS_FILE_TABLES "etc/smbios/smbios-tables"
#define SMBIOS_FILE_ANCHOR "etc/smbios/smbios-anchor"
#define SMBIOS_ANCHOR_MAX 31u

struct smbios_config {
	bool v3;           /* the 64-bit entry point of version 3.0, not 2.8's */
	unsigned cpus;     /* 1..255 cores of one socket */
	uint64_t low_mem;  /* bytes of RAM from 0 */
	uint64_t high_mem; /* and from 4 GiB */
	uint32_t cpu_signature, cpu_features; /* CPUID leaf 1, EAX and EDX */
	const char *cpu_vendor;
	const char *cpu_name;
	uint16_t cpu_mhz;
	uint8_t uuid[16];  /* as it is written (RFC 9562) */
	bool uefi;
	const char *version; /* of this program */
};

struct smbios {
	uint8_t *tables; /* owned */
	size_t len;
	uint8_t anchor[SMBIOS_ANCHOR_MAX]; /* table address zero; firmware sets it */
	size_t anchor_len;
};

int must_check smbios_init(struct smbios *s, const struct smbios_config *cfg, struct err *err);
void smbios_fini(struct smbios *s);

#endif

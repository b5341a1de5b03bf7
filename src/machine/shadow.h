/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest finds at C0000h-FFFFFh: ROM or RAM, for reads and for writes, as the
 * host bridge's PAM registers say (Intel 3 Series data sheet, 5.1.17 "PAM0"). Without
 * a ROM behind it an address below the firmware's last 128 KiB reads as ones.
 */
#ifndef BOTHY_MACHINE_SHADOW_H
#define BOTHY_MACHINE_SHADOW_H

#include "src/dev/dev.h"
#include "src/dev/pci/q35.h"

#define SHADOW_START 0xc0000u
#define SHADOW_END 0x100000u
#define SHADOW_SEGMENTS 13u

struct shadow {
	const struct dev_env *env;
	const struct q35 *q35;
	struct mem_block *ram; /* shown from its offset SHADOW_START on */
	struct mem_block *rom; /* its end is shown up to SHADOW_END */
	uint8_t attr[SHADOW_SEGMENTS]; /* as mapped now: q35_pam()'s bits */
	bool mapped;           /* attr[] is true */
	bool smram;            /* A0000h-BFFFFh shows RAM */
	struct bus_range range; /* writes that the map cannot express */
};

/* Takes over @q35's shadow_changed and maps what its registers say now. */
int must_check shadow_init(struct shadow *s, const struct dev_env *env, struct q35 *q35,
			   struct mem_block *ram, struct mem_block *rom, struct err *err);
void shadow_fini(struct shadow *s, struct q35 *q35);

#endif

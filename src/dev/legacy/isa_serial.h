/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serial ports to plug in, beside the board's first. */
#ifndef BOTHY_DEV_LEGACY_ISA_SERIAL_H
#define BOTHY_DEV_LEGACY_ISA_SERIAL_H

#include "src/dev/legacy/uart16550.h"

struct isa_serial {
	struct uart16550 uart;
	uint32_t port; /* 2..4: COM2 to COM4 */
	struct chardev *back;
};

extern const struct dev_desc isa_serial_desc;

#endif

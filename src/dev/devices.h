/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of all devices. */
#ifndef BOTHY_DEV_DEVICES_H
#define BOTHY_DEV_DEVICES_H

#include "src/dev/dev.h"

extern const struct dev_desc *const devices[]; /* NULL-terminated; devices.def */

#endif

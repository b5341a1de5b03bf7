/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/devices.h"

#include <stddef.h>

#define DEVICE(name) extern const struct dev_desc name##_desc;
#include "src/dev/devices.def"
#undef DEVICE

const struct dev_desc *const devices[] = {
#define DEVICE(name) &name##_desc,
#include "src/dev/devices.def"
#undef DEVICE
	NULL,
};

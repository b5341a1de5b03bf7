/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_CPU_ENGINES_H
#define BOTHY_CPU_ENGINES_H

#include "src/cpu/cpu.h"

#define ENGINE(name) extern const struct engine_desc name##_engine;
#include "src/cpu/engines.def"
#undef ENGINE

/* By name, or NULL; "auto" is the first of engines.def that this host can run. */
const struct engine_desc *engine_lookup(const char *name);

#endif

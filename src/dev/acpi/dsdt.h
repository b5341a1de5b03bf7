/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The DSDT's AML: what the machine has that no enumeration finds. */
#ifndef BOTHY_DEV_ACPI_DSDT_H
#define BOTHY_DEV_ACPI_DSDT_H

#include "src/dev/acpi/aml.h"
#include "src/dev/acpi/tables.h"

/* Appends the definition block's body. */
void acpi_dsdt_build(struct aml *a, const struct acpi_config *cfg);

#endif

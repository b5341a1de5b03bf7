/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmocka with what it wants included first. */
#ifndef BOTHY_TESTS_UNIT_CMOCKA_ALL_H
#define BOTHY_TESTS_UNIT_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_TESTS_CPU_DIFF_SELFTEST_H
#define BOTHY_TESTS_CPU_DIFF_SELFTEST_H

#include "tests/cpu-diff/diff.h"

/* Proves that the tool finds what it looks for: the host against itself agrees,
 * every kind of spoiled result is noticed, and a planted fault in one row is
 * found and shrunk to that row. 0, or 1 after saying what failed. */
int diff_selftest(struct diff_pair *p, struct diff_gen *g);

#endif

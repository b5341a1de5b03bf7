/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every exception that 64-bit code raises, with its error code and the saved
 * instruction pointer. SDM vol. 3, 6.15. */
#include "tests/asm/rt.h"

void test_main(void) { check("a",1,1);}

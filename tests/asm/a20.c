/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The A20 gate at port 0x92: closed, physical address bit 20 reads as zero. The
 * code that closes it runs where that bit is clear. */
#include "tests/asm/rt.h"

extern u8 a20_code[], a20_code_end[];
asm(".text\n"
    "a20_code: in $0x92, %al; mov %al, %bl; and $0xfc, %al; out %al, $0x92\n"
    "	in $0x92, %al; mov %al, %bh\n"
    "	movb $3, 0x106000; mov 0x6000, %cl\n"
    "	mov %bl, %al; or $2, %al; and $0xfe, %al; out %al, $0x92\n"
    "	ret\n"
    "a20_code_end:\n");

void test_main(void)
{
	volatile u8 *low = (u8 *)0x6000, *high = (u8 *)0x106000;
	u32 bx = 0, cx = 0, back;
	void *code = (void *)0x7000;
	u8 keep = *high;

	memcpy(code, a20_code, a20_code_end - a20_code);
	*low = 1;
	*high = 2;
	check("on", *low, 1);
	/* CALL's push lands on our stack before the gate closes; RET reads it after. */
	asm volatile("call *%3" : "=b"(bx), "=c"(cx), "=a"(back) : "r"(code) : "memory");
	if (bx >> 8 & 2) {
		check_skip("off", "the gate cannot be closed here");
		check("off.no-wrap", *high, 3);
	} else {
		check("off.wraps", cx & 0xff, 3);
		check("off.high-untouched", *high, 2);
		check("off.low", *low, 3);
	}
	*low = 4;
	check("on-again", *high != 4, 1);
	check("port", inb(0x92) & 2, 2);
	*high = keep;
}

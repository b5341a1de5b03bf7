/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ladder of modes, down and up again several times: long mode, compatibility mode,
 * protected mode of 32 and 16 bits, real mode, where the timer ticks through the PIC and
 * HLT waits for it, and back. SDM vol. 3, 10.8.5 and 10.9. */
#include "tests/asm/rt_apic.h"

#define LOW 0x8000ul    /* where the code below runs */
#define TICKS 0x7e00ul  /* a word that real mode counts in */
#define SEEN 0x7e04ul   /* what real mode saw of CR0 */
#define VECTOR 0x20

extern u8 ladder[], ladder_end[];
u64 ladder_sp, ladder_modes;

#define AT(label) "(0x8000 + " #label " - ladder)"
asm(".text\n"
    ".globl ladder, ladder_end\n"
    "ladder: .code64\n"
    "	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
    "	mov %rsp, ladder_sp\n"
    "	sidt " AT(l_idt) "\n"
    "	push $0x08\n	push $" AT(l_32) "\n	lretq\n"
    ".code32\n"
    "l_32:	mov $0x18, %eax\n	mov %ax, %ds\n	mov %ax, %es\n	mov %ax, %ss\n"
    "	incl ladder_modes\n"
    "	mov %cr0, %eax\n	and $0x7fffffff, %eax\n	mov %eax, %cr0\n" /* out of long mode */
    "	mov $0xc0000080, %ecx\n	rdmsr\n	and $0xfffffeff, %eax\n	wrmsr\n"
    "	addl $0x100, ladder_modes\n"
    "	ljmp $0x40, $" AT(l_16) "\n"
    ".code16\n"
    "l_16:	mov $0x48, %ax\n	mov %ax, %ds\n	mov %ax, %es\n	mov %ax, %ss\n"
    "	mov %cr0, %eax\n	and $0xfe, %al\n	mov %eax, %cr0\n"
    "	ljmp $0, $" AT(l_real) "\n"
    "l_real:	xor %ax, %ax\n	mov %ax, %ds\n	mov %ax, %es\n	mov %ax, %ss\n"
    "	mov $0x7c00, %sp\n"
    "	lidt " AT(l_ivt) "\n"
    "	mov %cr0, %eax\n	mov %eax, 0x7e04\n"
    "	movl $" AT(l_tick) ", 0x80\n"
    "	sti\n"
    "1:	hlt\n	cmpw $5, 0x7e00\n	jb 1b\n"
    "	cli\n"
    "	mov $0xff, %al\n	out %al, $0x21\n"
    "	mov %cr0, %eax\n	or $1, %al\n	mov %eax, %cr0\n"
    "	ljmpl $0x08, $" AT(l_up) "\n"
    /* Five count, however long it takes to get to CLI; they go on, for one may come just
     * before HLT. */
    "l_tick:	push %ax\n	cmpw $5, 0x7e00\n	jae 1f\n	incw 0x7e00\n"
    "1:	mov $0x20, %al\n	out %al, $0x20\n	pop %ax\n	iret\n"
    ".code32\n"
    "l_up:	mov $0x18, %eax\n	mov %ax, %ds\n	mov %ax, %es\n	mov %ax, %ss\n"
    "	addl $0x10000, ladder_modes\n"
    "	mov $0xc0000080, %ecx\n	rdmsr\n	or $0x100, %eax\n	wrmsr\n"
    "	mov %cr0, %eax\n	or $0x80000000, %eax\n	mov %eax, %cr0\n"
    "	ljmp $0x10, $" AT(l_64) "\n"
    ".code64\n"
    "l_64:	mov ladder_sp, %rsp\n"
    "	lidt " AT(l_idt) "\n"
    "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
    "	ret\n"
    "l_ivt: .word 0x3ff\n	.long 0\n"
    "l_idt: .word 0\n	.quad 0\n"
    "ladder_end:\n");

void test_main(void)
{
	void (*down_and_up)(void) = (void (*)(void))LOW;
	u32 vector = rd32((void *)(VECTOR * 4ul));
	u64 cr0 = rd_cr0(), cr4 = rd_cr4(), efer = rdmsr(MSR_EFER);
	u64 registers = 0, ticks = 0, not_real = 0;

	memcpy((void *)LOW, ladder, (size_t)(ladder_end - ladder));
	apic_on();
	apic_wr(APIC_LVT0, 0x700);
	outb(0x43, 0x34);
	outb(0x40, 1193 & 0xff);
	outb(0x40, 1193 >> 8);
	outb(0xa1, 0xff);
	for (unsigned n = 0; n < 10; n++) {
		wr32((void *)TICKS, 0);
		outb(0x21, 0xfe);
		down_and_up();
		registers += rd_cr0() != cr0 || rd_cr4() != cr4 || rdmsr(MSR_EFER) != efer;
		ticks += rd32((void *)TICKS) & 0xffff;
		not_real += !!(rd32((void *)SEEN) & (CR0_PG | CR0_PE));
	}
	wr32((void *)(VECTOR * 4ul), vector);
	check("ladder.rounds", ladder_modes, 0xa0a0a);
	check("ladder.registers", registers, 0);
	check("ladder.ticks", ticks, 50);
	check("ladder.not-real", not_real, 0);
	/* Exceptions find their way as before. */
	check_exc("ladder.exception", rt_try((void (*)(void *))0x8000000000000000ul, 0), GP, 0);
}

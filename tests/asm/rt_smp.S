/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a started processor begins: real mode at 0x8000, then long mode on the
 * boot processor's tables, with a stack of its own. */
	.text
	.globl smp_trampoline, smp_trampoline_end
	.code16
	.balign 16
smp_trampoline:
	cli
	cld
	xor %ax, %ax
	mov %ax, %ds
	lgdtl 0x8000 + (tr_gdtr - smp_trampoline)
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $0x08, $smp_entry32
tr_gdtr:
	.word 64 * 8 - 1
	.long rt_gdt
smp_trampoline_end:

	.code32
smp_entry32:
	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $0x620, %eax
	mov %eax, %cr4
	mov smp_cr3, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	mov $0x901, %eax
	xor %edx, %edx
	wrmsr
	mov $0x80010033, %eax
	mov %eax, %cr0
	ljmp $0x10, $smp_entry64
	.code64
smp_entry64:
	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	lidt rt_idtr
	mov $1, %edi
	lock xadd %edi, smp_count
	mov %edi, %eax
	shl $14, %eax
	lea smp_stacks + 16384(%rax), %rsp
	fninit
	call smp_main
	ud2
	.section .note.GNU-stack, "", @progbits

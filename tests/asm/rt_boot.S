/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry from the Multiboot loader, interrupt stubs, ring 3, unwinding. */
#define MB_MAGIC 0x1badb002
#define MB_FLAGS 3 /* modules on pages, memory map wanted */
#define KCS32 0x08
#define KCS64 0x10
#define KDS 0x18
#define UCS32 0x23
#define UDS 0x2b
#define UCS64 0x33
#define SEL_TSS 0x50
#define CR0_BITS 0x10033 /* WP NE ET MP PE */

	.section .multiboot, "a"
	.balign 4
	.long MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

	.text
	.code32
	.globl rt_start
rt_start:
	cli
	cld
	mov $rt_stack_top, %esp
	mov %eax, rt_mb_magic
	mov %ebx, rt_mb_info
	lgdt boot_gdtr
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov $0x620, %ecx /* OSXMMEXCPT OSFXSR PAE */
#ifndef __x86_64__
	mov $0x600, %ecx
#endif
	mov %ecx, %cr4
#ifdef __x86_64__
	mov $boot_pml4, %edi
	lea 0x1007(%edi), %eax
	mov %eax, (%edi)
	lea 0x1000(%edi), %esi /* PDPT */
	lea 0x2007(%edi), %eax
	mov $4, %ecx
1:	mov %eax, (%esi)
	add $0x1000, %eax
	add $8, %esi
	loop 1b
	lea 0x2000(%edi), %esi /* four page directories */
	mov $0x87, %eax
	mov $2048, %ecx
2:	mov %eax, (%esi)
	add $0x200000, %eax
	add $8, %esi
	loop 2b
	mov %edi, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x901, %eax /* NXE LME SCE */
	wrmsr
	mov $0x80000000 | CR0_BITS, %eax
	mov %eax, %cr0
	ljmp $KCS64, $3f
	.code64
3:
#else
	mov $CR0_BITS, %eax
	mov %eax, %cr0
	ljmp $KCS32, $3f
3:
#endif
	mov $KDS, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
#ifdef __x86_64__
	xor %eax, %eax
#endif
	mov %eax, %fs
	mov %eax, %gs
	fninit
	call rt_main
	ud2

	.balign 8
boot_gdtr:
	.word 64 * 8 - 1
	.long rt_gdt
	.long 0

#ifdef __x86_64__
	.globl rt_stubs, rt_common
	.balign 16
rt_stubs:
	.set vec, 0
	.rept 256
	.balign 16
	.if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30)
	push $0
	.endif
	.byte 0x68 /* push imm32: one size for all */
	.long vec
	jmp rt_common
	.set vec, vec + 1
	.endr

rt_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call rt_trap
	mov %rbp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

/* int rt_try(fn, arg) */
	.globl rt_try, rt_user_fl, rt_caught
rt_try:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	push %rsi
	push %rdi
	call rt_arm
	pop %rax
	pop %rdi
	mov %rsp, rt_try_sp
	sub $8, %rsp
	call *%rax
	call rt_none
	ud2

/* int rt_user_fl(fn, arg, eflags) */
rt_user_fl:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	push %rsi
	push %rdi
	push %rdx
	call rt_arm
	pop %rdx
	pop %rax
	pop %rdi
	mov %rsp, rt_try_sp
	mov $rt_user_stack + 16384 - 16, %rcx
	movq $rt_user_ret, 8(%rcx)
	add $8, %rcx
	mov $UDS, %ebx
	mov %ebx, %ds
	mov %ebx, %es
	push $UDS
	push %rcx
	or $2, %rdx
	push %rdx
	push $UCS64
	push %rax
	iretq
rt_user_ret:
	int $0x80
	ud2

rt_caught:
	mov $KDS, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %edi, %eax
	mov rt_try_sp, %rsp
	movq $0, rt_try_sp
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
#else
	.globl rt_stubs
	.balign 16
rt_stubs:
	.set vec, 0
	.rept 256
	.balign 16
	.if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30)
	push $0
	.endif
	.byte 0x68
	.long vec
	jmp rt_common
	.set vec, vec + 1
	.endr

rt_common:
	pushal
	push %ds
	push %es
	push %fs
	push %gs
	mov $KDS, %eax
	mov %eax, %ds
	mov %eax, %es
	cld
	push %esp
	call rt_trap
	add $4, %esp
	pop %gs
	pop %fs
	pop %es
	pop %ds
	popal
	add $8, %esp
	iretl

	.globl rt_try, rt_user_fl, rt_caught
rt_try:
	push %ebx
	push %ebp
	push %esi
	push %edi
	pushfl
	call rt_arm
	mov %esp, rt_try_sp
	mov 24(%esp), %eax
	push 28(%esp)
	call *%eax
	call rt_none
	ud2

rt_user_fl:
	push %ebx
	push %ebp
	push %esi
	push %edi
	pushfl
	call rt_arm
	mov %esp, rt_try_sp
	mov 24(%esp), %eax /* fn */
	mov 28(%esp), %ecx /* arg */
	mov 32(%esp), %edx /* flags */
	mov $rt_user_stack + 16384 - 16, %ebx
	movl $rt_user_ret, (%ebx)
	mov %ecx, 4(%ebx)
	mov $UDS, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %fs
	mov %ecx, %gs
	push $UDS
	push %ebx
	or $2, %edx
	push %edx
	push $UCS32
	push %eax
	iretl
rt_user_ret:
	int $0x80
	ud2

rt_caught:
	mov 4(%esp), %eax
	mov $KDS, %ecx
	mov %ecx, %ss
	mov %cs:rt_try_sp, %esp
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %fs
	mov %ecx, %gs
	movl $0, rt_try_sp
	popfl
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret
#endif

	.globl rt_mb_magic, rt_mb_info, rt_gdt, rt_stack, rt_stack_top, rt_user_stack
	.globl rt_int_stack_top, rt_df_stack_top, rt_try_sp
	.data
	.balign 8
rt_mb_magic:
	.long 0
rt_mb_info:
	.long 0
rt_try_sp:
	.quad 0
	.balign 16
rt_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff /* 08 ring 0 code, 32-bit */
	.quad 0x00af9b000000ffff /* 10 ring 0 code, 64-bit */
	.quad 0x00cf93000000ffff /* 18 ring 0 data */
	.quad 0x00cffb000000ffff /* 20 ring 3 code, 32-bit */
	.quad 0x00cff3000000ffff /* 28 ring 3 data */
	.quad 0x00affb000000ffff /* 30 ring 3 code, 64-bit */
	.quad 0x00cff3000000ffff /* 38 ring 3 data, where SYSEXIT wants it */
	.quad 0x00009b000000ffff /* 40 ring 0 code, 16-bit */
	.quad 0x000093000000ffff /* 48 ring 0 data, 64 KiB */
	.fill 54, 8, 0

	.bss
	.balign 4096
#ifdef __x86_64__
boot_pml4:
	.skip 6 * 4096
#endif
rt_stack:
	.skip 32768
rt_stack_top:
	.skip 16384
rt_int_stack_top:
	.skip 4096
rt_df_stack_top:
rt_user_stack:
	.skip 16384
	.section .note.GNU-stack, "", @progbits

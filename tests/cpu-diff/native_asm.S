/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door between the harness and a test case on the host CPU.
 *
 * Copied to a page at DIFF_STUB, with struct native_ctx in the page after it:
 * everything is addressed relative to RIP, so that no register is needed to
 * save the others. The exit stands first, at the page's start.
 */
#include "tests/cpu-diff/layout.h"

	.section .rodata
	.balign 4096
	.globl native_stub_begin, native_stub_end
	.globl native_stub_enter_iret, native_stub_enter_far
	.globl native_stub_on_fault, native_stub_on_alarm
	.set ctx, native_stub_begin + (DIFF_CTX - DIFF_STUB)

/* Base \which (fs, gs) to and from ctx+\off: by FSGSBASE, or where the host has none by
 * arch_prctl(2), whose subfunctions \fn are. Clobber RAX, RCX and R8-R11. The call makes
 * a null selector 0 whatever its RPL was, which nobody compares. */
	.macro BY_CALL fn
	movq %rdi, %r8
	movq %rsi, %r9
	movl $158, %eax
	movl $\fn, %edi
	.endm
	.macro READ_BASE which, fn, off
	testl $1, ctx+NCTX_BY_CALL(%rip)
	jnz 8f
	rd\which\()base %rax
	movq %rax, ctx+\off(%rip)
	jmp 9f
8:	BY_CALL \fn
	leaq ctx+\off(%rip), %rsi
	syscall
	movq %r8, %rdi
	movq %r9, %rsi
9:
	.endm
	.macro WRITE_BASE which, fn, off
	testl $1, ctx+NCTX_BY_CALL(%rip)
	jnz 8f
	movq ctx+\off(%rip), %rax
	wr\which\()base %rax
	jmp 9f
8:	BY_CALL \fn
	movq ctx+\off(%rip), %rsi
	syscall
	movq %r8, %rdi
	movq %r9, %rsi
9:
	.endm
	.set SET_GS, 0x1001
	.set SET_FS, 0x1002
	.set GET_FS, 0x1003
	.set GET_GS, 0x1004

/* 64-bit code, every register the guest's. */
native_stub_begin:
	movq %rax, ctx+NCTX_GPR+0*8(%rip)
	movq %rcx, ctx+NCTX_GPR+1*8(%rip)
	movq %rdx, ctx+NCTX_GPR+2*8(%rip)
	movq %rbx, ctx+NCTX_GPR+3*8(%rip)
	movq %rsp, ctx+NCTX_GPR+4*8(%rip)
	movq %rbp, ctx+NCTX_GPR+5*8(%rip)
	movq %rsi, ctx+NCTX_GPR+6*8(%rip)
	movq %rdi, ctx+NCTX_GPR+7*8(%rip)
	movq %r8, ctx+NCTX_GPR+8*8(%rip)
	movq %r9, ctx+NCTX_GPR+9*8(%rip)
	movq %r10, ctx+NCTX_GPR+10*8(%rip)
	movq %r11, ctx+NCTX_GPR+11*8(%rip)
	movq %r12, ctx+NCTX_GPR+12*8(%rip)
	movq %r13, ctx+NCTX_GPR+13*8(%rip)
	movq %r14, ctx+NCTX_GPR+14*8(%rip)
	movq %r15, ctx+NCTX_GPR+15*8(%rip)
	leaq ctx+NCTX_SCRATCH_TOP(%rip), %rsp
	pushfq
	popq ctx+NCTX_RFLAGS(%rip)
	pushq $2
	popfq
	movw %es, ctx+NCTX_SEL+0(%rip)
	movw %ss, ctx+NCTX_SEL+4(%rip)
	movw %ds, ctx+NCTX_SEL+6(%rip)
	movw %fs, ctx+NCTX_SEL+8(%rip)
	movw %gs, ctx+NCTX_SEL+10(%rip)
	READ_BASE fs, GET_FS, NCTX_FS_BASE
	READ_BASE gs, GET_GS, NCTX_GS_BASE
	movl ctx+NCTX_XMASK(%rip), %eax
	xorl %edx, %edx
	xsave64 ctx+NCTX_XSAVE(%rip)
	xorl %ebx, %ebx

/* EBX: what the entry returns. */
restore_host:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl $DIFF_SEL_DS, %eax
	movl %eax, %ss
	WRITE_BASE fs, SET_FS, NCTX_HOST_FS
	WRITE_BASE gs, SET_GS, NCTX_HOST_GS
	movl $0, ctx+NCTX_IN_GUEST(%rip)
	fninit
	movl $0x1f80, ctx+NCTX_SCRATCH_TOP-8(%rip)
	ldmxcsr ctx+NCTX_SCRATCH_TOP-8(%rip)
	testl $4, ctx+NCTX_XMASK(%rip)
	jz 1f
	vzeroupper
1:	movl %ebx, %eax
	movq ctx+NCTX_HOST_RSP(%rip), %rsp
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.macro ENTER_COMMON
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	movq %rsp, ctx+NCTX_HOST_RSP(%rip)
	movl $1, ctx+NCTX_IN_GUEST(%rip)
	movw ctx+NCTX_SEL+0(%rip), %es
	movw ctx+NCTX_SEL+6(%rip), %ds
	movw ctx+NCTX_SEL+8(%rip), %fs
	movw ctx+NCTX_SEL+10(%rip), %gs
	/* A null selector: the base comes from the case. */
	testw $-4, ctx+NCTX_SEL+8(%rip)
	jnz 1f
	WRITE_BASE fs, SET_FS, NCTX_FS_BASE
1:	testw $-4, ctx+NCTX_SEL+10(%rip)
	jnz 1f
	WRITE_BASE gs, SET_GS, NCTX_GS_BASE
1:	movl ctx+NCTX_XMASK(%rip), %eax
	xorl %edx, %edx
	xrstor64 ctx+NCTX_XSAVE(%rip)
	.endm

	.macro LOAD_GPRS
	movq ctx+NCTX_GPR+0*8(%rip), %rax
	movq ctx+NCTX_GPR+1*8(%rip), %rcx
	movq ctx+NCTX_GPR+2*8(%rip), %rdx
	movq ctx+NCTX_GPR+3*8(%rip), %rbx
	movq ctx+NCTX_GPR+5*8(%rip), %rbp
	movq ctx+NCTX_GPR+6*8(%rip), %rsi
	movq ctx+NCTX_GPR+7*8(%rip), %rdi
	movq ctx+NCTX_GPR+8*8(%rip), %r8
	movq ctx+NCTX_GPR+9*8(%rip), %r9
	movq ctx+NCTX_GPR+10*8(%rip), %r10
	movq ctx+NCTX_GPR+11*8(%rip), %r11
	movq ctx+NCTX_GPR+12*8(%rip), %r12
	movq ctx+NCTX_GPR+13*8(%rip), %r13
	movq ctx+NCTX_GPR+14*8(%rip), %r14
	movq ctx+NCTX_GPR+15*8(%rip), %r15
	.endm

/* int enter(void): 0 at the exit stub, 1 after a fault, 2 given up by the alarm.
 * IRET serialises (the code was just written through another mapping) and lets
 * TF act from the first instruction on. */
native_stub_enter_iret:
	ENTER_COMMON
	LOAD_GPRS
	leaq ctx+NCTX_FRAME(%rip), %rsp
	iretq

/* The same for a 16-bit stack segment: IRET would not load the upper half of
 * ESP there (Linux calls the cure espfix). */
native_stub_enter_far:
	ENTER_COMMON
	LOAD_GPRS
	leaq ctx+NCTX_RFLAGS(%rip), %rsp
	popfq
	movw ctx+NCTX_SEL+4(%rip), %ss
	movq ctx+NCTX_GPR+4*8(%rip), %rsp
	ljmpl *ctx+NCTX_FAR(%rip)

/* Signal handler, on the alternate stack: (sig, info, context). */
native_stub_on_fault:
	pushq $2
	popfq
	cmpl $0, ctx+NCTX_IN_GUEST(%rip)
	je 1f
	movw %es, ctx+NCTX_SEL+0(%rip)
	movw %ds, ctx+NCTX_SEL+6(%rip)
	movw %fs, ctx+NCTX_SEL+8(%rip)
	movw %gs, ctx+NCTX_SEL+10(%rip)
	READ_BASE fs, GET_FS, NCTX_FS_BASE
	READ_BASE gs, GET_GS, NCTX_GS_BASE
	WRITE_BASE fs, SET_FS, NCTX_HOST_FS
	subq $8, %rsp
	call *ctx+NCTX_FAULT_FN(%rip)
	movl $1, %ebx
	jmp restore_host
1:	subq $8, %rsp
	call *ctx+NCTX_CRASH_FN(%rip)
	addq $8, %rsp
	ret

/* NT and ID stay as they are: the kernel's return from a handler takes them from here,
 * not from the frame. */
native_stub_on_alarm:
	pushq %rbx
	pushfq
	andl $0x204002, (%rsp)
	popfq
	movw %fs, %bx
	READ_BASE fs, GET_FS, NCTX_ALARM_FS
	WRITE_BASE fs, SET_FS, NCTX_HOST_FS
	call *ctx+NCTX_ALARM_FN(%rip)
	testl %eax, %eax
	jnz 1f
	movw %bx, %fs
	testw $-4, %bx
	jnz 2f
	WRITE_BASE fs, SET_FS, NCTX_ALARM_FS
2:	popq %rbx
	ret
1:	movl $2, %ebx
	jmp restore_host
native_stub_end:

	.section .note.GNU-stack, "", @progbits

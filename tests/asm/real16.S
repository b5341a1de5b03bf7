/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16-bit half of real.c: real-mode code, copied to 1000:0000. It leaves
 * 16-bit results in a row from RES(0) in its own segment; real.c says what they
 * ought to be. */
#define SEG 0x1000
#define O(label) (label - real_blob)
#define RES(n) (O(results) + 2 * (n))

	.text
	.code32
	.globl real_run, real_blob, real_blob_end, real_results, real_handlers
/* void real_run(void): the blob is in place; SEL 0x60 is its 16-bit code segment
 * and 0x68 data, both with base 0x10000 and 64 KiB. */
real_run:
	pushal
	pushfl
	cli
	mov %esp, saved_esp
	lidt ivt_dtr
	ljmp $0x60, $O(pm16)

back32:
	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	mov saved_esp, %esp
	lidt rt_idtr
	popfl
	popal
	ret

	.balign 4
saved_esp:
	.long 0
ivt_dtr:
	.word 0x3ff
	.long 0

/* Runs what follows up to "9:" and gathers vector and IP of a fault. */
.macro try
	movw $(9f - real_blob), %cs:O(resume)
	movw $0xffff, %cs:O(last_vec)
.endm
.macro res n, what
	mov \what, %cs:RES(\n)
.endm
.macro handler n
	movw $\n, %cs:O(last_vec)
	jmp h_common
.endm

	.code16
	.balign 16
real_blob:
pm16:
	mov $0x68, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %fs
	mov %ax, %gs
	mov %ax, %ss
	mov %cr0, %eax
	and $~1, %eax
	mov %eax, %cr0
	ljmp $SEG, $O(rm)
rm:
	mov %cs, %ax
	mov %ax, %ds
	mov %ax, %es
	mov $0x1800, %ax
	mov %ax, %ss
	mov $0xfff0, %esp
	xor %ax, %ax
	mov %ax, %fs
	mov %ax, %gs
	cld
	res 0, %cs
	smsw %ax
	res 1, %ax

	/* INT pushes FLAGS, CS, IP and clears IF and TF; IRET takes them back. */
	stc
	sti
	mov $0x1111, %bx
	int $0x60
after_int:
	cli
	pushfw
	pop %ax
	and $1, %ax
	res 2, %ax /* CF: the handler cleared it in its frame */
	mov O(int_ip), %ax
	sub $O(after_int), %ax
	res 3, %ax
	mov O(int_cs), %ax
	res 4, %ax
	mov O(int_fl), %ax
	and $0x201, %ax
	res 5, %ax
	mov O(int_now), %ax
	and $0x300, %ax
	res 6, %ax

	/* Faults: no error code, IP of the instruction itself. */
	try
	xor %cx, %cx
at_div: div %cx
9:	mov O(last_vec), %ax
	res 7, %ax
	mov O(last_ip), %ax
	sub $O(at_div), %ax
	res 8, %ax
	try
at_gp:	mov 0xffff, %ax
9:	mov O(last_vec), %ax
	res 9, %ax
	mov O(last_ip), %ax
	sub $O(at_gp), %ax
	res 10, %ax
	try
	mov $0xffff, %bp
	mov (%bp), %ax
9:	mov O(last_vec), %ax
	res 11, %ax
	try
	addr32 mov 0x10000, %al
9:	mov O(last_vec), %ax
	res 12, %ax
	try
	ud2
9:	mov O(last_vec), %ax
	res 13, %ax
	try
	lldt %ax
9:	mov O(last_vec), %ax
	res 14, %ax
	try
	mov $11, %ax
	bound %ax, O(bounds)
9:	mov O(last_vec), %ax
	res 15, %ax
	try
	mov $0x7f, %al
	inc %al
	into
9:	mov O(last_vec), %ax
	res 16, %ax
	try
	.byte 0xf0, 0x90
9:	mov O(last_vec), %ax
	res 17, %ax

	/* Addresses wrap at 64 KiB. */
	movw $0xbeef, O(wrap)
	mov $0xfff0, %bx
	mov $(O(wrap) + 0x10), %si
	mov (%bx,%si), %ax
	res 18, %ax
	/* A push at SP 0 goes to FFFE. */
	mov %sp, %dx
	xor %sp, %sp
	push $0x4321
	mov %sp, %ax
	mov %dx, %sp
	res 19, %ax
	mov $0xfffe, %bp
	mov (%bp), %ax
	res 20, %ax
	/* String count and index are CX, SI and DI: their upper halves stay. */
	mov $0xabcd0002, %ecx
	mov $0x12340000 + O(scratch), %edi
	mov $0x5a5a, %ax
	rep stosw
	mov %edi, %eax
	shr $16, %eax
	res 21, %ax
	mov %di, %ax
	sub $O(scratch), %ax
	res 22, %ax
	mov %ecx, %eax
	shr $16, %eax
	res 23, %ax
	mov O(scratch) + 2, %ax
	res 24, %ax
	/* DI wraps below the segment's end. */
	mov $3, %cx
	mov $0xfffe, %di
	mov $0x7777, %ax
	push O(real_blob)
	push O(real_blob) + 2
	rep stosw
	mov O(real_blob) + 2, %ax
	pop O(real_blob) + 2
	pop O(real_blob)
	res 25, %ax
	mov %di, %ax
	res 26, %ax

	/* 32-bit operands and addresses. */
	mov $0x12345678, %eax
	rol $16, %eax
	res 27, %ax
	mov $O(results), %ebx
	mov $1, %ecx
	mov (%ebx,%ecx,2), %ax
	res 28, %ax
	/* Segment arithmetic: 0fff:0010 is 1000:0000. */
	mov $0x0fff, %ax
	mov %ax, %es
	mov %es:0x10 + O(marker), %ax
	res 29, %ax
	mov %cs, %ax
	mov %ax, %es
	/* Far calls. */
	lcall $0x1001, $(O(far_target) - 16)
	res 30, %ax
	/* LIDT moves the vectors. */
	movw $(O(h61)), O(other_ivt) + 0x61 * 4
	movw $SEG, O(other_ivt) + 0x61 * 4 + 2
	xor %ax, %ax
	lidtl O(other_dtr)
	int $0x61
	lidtl O(low_dtr)
	res 31, %ax
	/* A vector beyond the limit is #GP (vector 13, no error code)... */
	lidtl O(short_dtr)
	try
	int $0x61
9:	mov O(last_vec), %ax
	lidtl O(low_dtr)
	res 32, %ax
	/* SS loads need no descriptor; POP SS shadows nothing but interrupts. */
	mov %ss, %ax
	mov %sp, %dx
	mov $0x1700, %cx
	mov %cx, %ss
	mov $0x100, %sp
	push $0x2468
	mov %ax, %ss
	mov %dx, %sp
	mov $0x1700, %ax
	mov %ax, %es
	mov %es:0xfe, %ax
	res 33, %ax
	mov %cs, %ax
	mov %ax, %es
	/* Limits loaded in protected mode stay ("unreal"): FS to 4 GiB. */
	lgdtl O(gdt_dtr)
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	jmp 1f
1:	mov $0x18, %cx
	mov %cx, %fs
	and $~1, %al
	mov %eax, %cr0
	jmp 1f
1:	mov $0x300000, %ebx
	movw $0x7e57, %fs:(%ebx)
	mov %fs:(%ebx), %ax
	res 34, %ax
	/* A real-mode load changes the base, not the limit. */
	mov $0x10, %ax
	mov %ax, %fs
	mov %fs:-0x100(%ebx), %ax
	res 35, %ax

	cli
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $0x08, $back32

h0:	handler 0
h4:	handler 4
h5:	handler 5
h6:	handler 6
h12:	handler 12
h13:	handler 13
h8:	handler 8
h_common:
	popw %cs:O(last_ip)
	popw %cs:O(last_cs)
	popw %cs:O(last_fl)
	jmp *%cs:O(resume)
h60:
	push %ax
	push %bp
	mov %sp, %bp
	mov 4(%bp), %ax
	mov %ax, %cs:O(int_ip)
	mov 6(%bp), %ax
	mov %ax, %cs:O(int_cs)
	mov 8(%bp), %ax
	mov %ax, %cs:O(int_fl)
	pushfw
	pop %ax
	mov %ax, %cs:O(int_now)
	andw $~1, 8(%bp)
	pop %bp
	pop %ax
	iret
h61:
	mov $0x6161, %ax
	iret
far_target:
	mov %cs, %ax
	lret

	.balign 4
real_handlers: /* vector, offset */
	.word 0, O(h0), 4, O(h4), 5, O(h5), 6, O(h6), 8, O(h8), 12, O(h12), 13, O(h13)
	.word 0x60, O(h60), 0xffff
bounds:	.word 0, 10
last_vec: .word 0
last_ip: .word 0
last_cs: .word 0
last_fl: .word 0
resume:	.word 0
int_ip:	.word 0
int_cs:	.word 0
int_fl:	.word 0
int_now: .word 0
wrap:	.word 0
marker:	.word 0x9876
scratch: .fill 8, 2, 0
other_dtr: .word 0x3ff
	.long 0x10000 + O(other_ivt)
low_dtr: .word 0x3ff
	.long 0
short_dtr: .word 0x61 * 4 + 2
	.long 0
gdt_dtr: .word 64 * 8 - 1
	.long rt_gdt
other_ivt: .fill 0x400, 1, 0
real_results:
results: .fill 64, 2, 0xcccc
real_blob_end:
	.section .note.GNU-stack, "", @progbits

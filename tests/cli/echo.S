/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Multiboot guest for the command line's tests: says "ready" on the serial
 * port, then echoes. Keys: 1 powers off, 2 resets, 3 triple-faults, 4 tells of a
 * panic, 5 floods (without end), 6 halts with interrupts off, 7 starts the watchdog
 * and does not feed it.
 */
	.set COM1, 0x3f8
	.set FLAGS, 0

	.section .text
	.code32
	.align 4
	.long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)

	.globl _start
_start:
	mov $0x80000, %esp
	mov $ready, %esi
	call puts
next:
	mov $(COM1 + 5), %dx
1:	in (%dx), %al
	test $1, %al
	jz 1b
	mov $COM1, %dx
	in (%dx), %al
	cmp $'1', %al
	je power_off
	cmp $'2', %al
	je reset
	cmp $'3', %al
	je triple_fault
	cmp $'4', %al
	je panic
	cmp $'5', %al
	je flood
	cmp $'6', %al
	je halt
	cmp $'7', %al
	je watchdog
	call putc
	jmp next

power_off:			/* PM1a control: SLP_EN, the type of S5 is 0 */
	mov $0x604, %dx
	mov $0x2000, %ax
	out %ax, (%dx)
	jmp halt
reset:				/* ICH reset control: a full reset */
	mov $0xcf9, %dx
	mov $0x06, %al
	out %al, (%dx)
	jmp halt
triple_fault:
	lidt no_idt
	ud2
panic:
	mov $0x505, %dx
	mov $1, %al
	out %al, (%dx)
	jmp next
watchdog:			/* ICH9: NO_REBOOT off; two ticks of 0.6 s; loaded */
	andb $~0x20, 0xfed1f410
	mov $0x672, %dx
	mov $2, %ax
	out %ax, (%dx)
	mov $0x660, %dx
	out %ax, (%dx)
	mov $'w', %al
	call putc
	jmp next
flood:
	mov $ready, %esi
	call puts
	jmp flood
halt:
	cli
	hlt
	jmp halt

puts:
	lodsb
	test %al, %al
	jz 2f
	call putc
	jmp puts
putc:
	mov %al, %bl
	mov $(COM1 + 5), %dx
1:	in (%dx), %al
	test $0x20, %al
	jz 1b
	mov $COM1, %dx
	mov %bl, %al
	out %al, (%dx)
2:	ret

ready:	.asciz "ready\r\n"
no_idt:	.word 0
	.long 0

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A boot sector that shows that the BIOS works: it prints its drive, the memory that the
 * BIOS reports, a sector that it reads from the disk, and then obeys keys:
 *   e  end through the debug exit port with code 2 * 21 + 1
 *   r  reset through port CF9h
 *   k  reset through the keyboard controller
 *   o  power off through ACPI's PM1 control register (SLP_TYP 0, SLP_EN)
 */
	.code16
	.globl _start
_start:
	ljmp $0, $1f
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7c00, %sp
	cld
	movb %dl, drive

	movw $hello, %si
	call print
	movb drive, %al
	call hex
	movw $memory, %si
	call print
	movw $0xe801, %ax	/* KiB from 1 MiB, 64 KiB from 16 MiB */
	int $0x15
	pushw %bx
	call hex16
	popw %ax
	call hex16
	movw $sector2, %si
	call print
	movb $0x42, %ah		/* extended read of LBA 1 */
	movb drive, %dl
	movw $packet, %si
	int $0x13
	jc failed
	movw $0x8000, %si
	call print
	movw $ready, %si
	call print

key:	xorb %ah, %ah
	int $0x16
	cmpb $'e', %al
	je 1f
	cmpb $'r', %al
	je 2f
	cmpb $'k', %al
	je 3f
	cmpb $'o', %al
	jne key
	movw $0x604, %dx
	movw $0x2000, %ax
	outw %ax, %dx
	jmp key
1:	movw $0x501, %dx
	movb $21, %al
	outb %al, %dx
	jmp key
2:	movw $0xcf9, %dx
	movb $6, %al
	outb %al, %dx
	jmp key
3:	movb $0xfe, %al
	outb %al, $0x64
	jmp key

failed:	movw $bad, %si
	call print
	jmp key

print:	lodsb
	testb %al, %al
	jz 1f
	call putc
	jmp print
1:	ret

putc:	pushw %si
	movb $0x0e, %ah
	movw $7, %bx
	int $0x10
	popw %si
	ret

hex16:	pushw %ax
	movb %ah, %al
	call hex
	popw %ax
hex:	pushw %ax
	shrb $4, %al
	call 1f
	popw %ax
	andb $15, %al
1:	addb $'0', %al
	cmpb $'9', %al
	jbe putc
	addb $7, %al
	jmp putc

hello:	.asciz "\r\nSECTOR drive "
memory:	.asciz " memory "
sector2: .asciz " read "
ready:	.asciz " ready\r\n"
bad:	.asciz "ERROR\r\n"
drive:	.byte 0
	.balign 4
packet:	.byte 16, 0
	.word 1, 0x8000, 0
	.quad 1

	.org 510
	.word 0xaa55

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Multiboot guest for the screen's tests: says "ready" on the serial port. There, t
 * sets a text mode and writes a line, g sets 640 x 480 in 32 bits and paints; each
 * answers "done". What keyboard and mouse send comes out in hexadecimal, a byte a line.
 */
	.set COM1, 0x3f8

	.section .text
	.code32
	.align 4
	.long 0x1badb002, 0, -0x1badb002

	.globl _start
_start:
	mov $0x80000, %esp
	mov $ready, %esi
	call puts
next:
	in $0x64, %al
	test $1, %al
	jnz key
	mov $(COM1 + 5), %dx
	in (%dx), %al
	test $1, %al
	jz next
	mov $COM1, %dx
	in (%dx), %al
	cmp $'t', %al
	je text_mode
	cmp $'g', %al
	je graphics
	cmp $'m', %al
	je mouse
	jmp next

key:
	in $0x60, %al
	movzbl %al, %ecx
	mov %ecx, %edi
	shr $4, %edi
	mov digits(%edi), %al
	call putc
	and $15, %ecx
	mov digits(%ecx), %al
	call putc
	mov $newline, %esi
	call puts
	jmp next

mouse:				/* the mouse's reports on */
	mov $0xd4, %al
	out %al, $0x64
	mov $0xf4, %al
	out %al, $0x60
1:	in $0x64, %al		/* it acknowledges */
	test $1, %al
	jz 1b
	in $0x60, %al
	jmp done

text_mode:
	mov $0x3c2, %dx
	mov $0x67, %al
	out %al, (%dx)
	mov $0x3c4, %dx
	mov $5, %ecx
	mov $seq, %esi
	call registers
	mov $0x3d4, %dx
	mov $25, %ecx
	mov $crtc, %esi
	call registers
	mov $0x3ce, %dx
	mov $9, %ecx
	mov $gfx, %esi
	call registers
	mov $0x3da, %dx
	in (%dx), %al
	mov $0x3c0, %dx
	xor %ecx, %ecx
1:	mov %cl, %al
	out %al, (%dx)
	mov attr(%ecx), %al
	out %al, (%dx)
	inc %ecx
	cmp $21, %ecx
	jne 1b
	mov $0x20, %al
	out %al, (%dx)
	mov $0xb8000, %edi
	mov $2000, %ecx
	mov $0x0720, %ax
	rep stosw
	mov $(0xb8000 + 2 * (80 * 3 + 2)), %edi
	mov $line, %esi
2:	lodsb
	test %al, %al
	jz done
	mov $0x07, %ah
	stosw
	jmp 2b

registers:			/* %ecx values at %esi, from index 0 on */
	xor %ebx, %ebx
1:	mov %bl, %al
	lodsb
	mov %al, %ah
	mov %bl, %al
	out %ax, (%dx)
	inc %ebx
	loop 1b
	ret

graphics:
	mov $vbe, %esi
	mov $5, %ecx
1:	mov $0x1ce, %dx
	lodsw
	out %ax, (%dx)
	inc %dx
	lodsw
	out %ax, (%dx)
	loop 1b
	mov $0x3c2, %dx
	mov $0x67, %al
	out %al, (%dx)
	mov $0x3da, %dx
	in (%dx), %al
	mov $0x3c0, %dx
	mov $0x20, %al
	out %al, (%dx)
	mov $0xa0000, %edi	/* the first bank: 25.6 rows */
	xor %eax, %eax
	mov $16384, %ecx
2:	stosl
	add $0x010307, %eax
	loop 2b

done:
	mov $finished, %esi
	call puts
	jmp next

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
finished: .asciz "done\r\n"
newline: .asciz "\r\n"
digits:	.ascii "0123456789abcdef"
line:	.asciz "Hello, screen"
seq:	.byte 0x03, 0x00, 0x03, 0x00, 0x02
crtc:	.byte 0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e
	.byte 0x00, 0x00, 0x01, 0x45, 0x9c, 0x0e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff
gfx:	.byte 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff
attr:	.byte 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x0c, 0x00, 0x0f, 0x08, 0x00
	.balign 2
vbe:	.word 4, 0, 1, 640, 2, 480, 3, 32, 4, 0x41

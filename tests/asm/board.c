/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board's older parts: 16550 UART, the 8259 pair's modes, keyboard controller,
 * PCI configuration by port and by memory, ACPI's power management block. */
#include "tests/asm/rt_apic.h"

#define COM 0x3f8
static volatile u64 hits, last, iir, isr;

static void on_uart(struct rt_regs *r)
{
	hits++;
	iir = inb(COM + 2);
	last = r->vector;
	eoi();
}

static void uart(void)
{
	u8 mcr = inb(COM + 4), lcr = inb(COM + 3);
	u32 id = apic_rd(APIC_ID) >> 24;

	outb(COM + 7, 0x5a);
	u8 scratch = inb(COM + 7);
	outb(COM + 3, lcr | 0x80);
	outb(COM, 0x0c);
	outb(COM + 1, 0);
	u8 divisor = inb(COM);
	outb(COM, 1);
	outb(COM + 3, lcr);
	/* Loopback: what is sent comes back, nothing leaves; the modem's lines cross. */
	outb(COM + 2, 7);
	outb(COM + 4, 0x10);
	outb(COM, 0xa5);
	for (unsigned i = 0; i < 1000 && !(inb(COM + 5) & 1); i++)
		rt_udelay(10);
	u8 ready = inb(COM + 5) & 1, looped = inb(COM), after = inb(COM + 5) & 1;
	outb(COM + 4, 0x1f);
	u8 lines = inb(COM + 6) & 0xf0;
	outb(COM + 4, 0x10);
	u8 none = inb(COM + 6) & 0xf0;
	outb(COM + 4, mcr | 8);
	check("uart.scratch", scratch, 0x5a);
	check("uart.divisor", divisor, 0x0c);
	check("uart.loop-ready", ready, 1);
	check("uart.loop", looped, 0xa5);
	check("uart.loop-empty", after, 0);
	check("uart.loop-lines", lines, 0xf0);
	check("uart.loop-lines-low", none, 0);
	check("uart.fifo", inb(COM + 2) & 0xc0, 0xc0);
	/* Transmitter empty interrupts by IRQ 4. */
	apic_on();
	rt_handle(0x64, on_uart);
	ioapic_route(4, 0x64, id);
	rt_udelay(2000); /* the line above is out */
	outb(COM + 1, 2);
	bool came = wait_count(&hits, 1, 500);
	outb(COM + 1, 0);
	check_true("uart.thre-irq", came);
	check("uart.thre-iir", iir & 0xf, 2);
	check("uart.idle-iir", inb(COM + 2) & 0xf, 1);
	ioapic_route(4, 0x10000, 0);
}

static volatile u64 pic_hits, pic_last, spurious_isr;
static void on_pic(struct rt_regs *r)
{
	pic_hits++;
	pic_last = r->vector;
	outb(0x20, 0x0b);
	isr = inb(0x20);
	outb(0xa0, 0x0b);
	isr |= (u64)inb(0xa0) << 8;
	if (r->vector >= 0x38)
		outb(0xa0, 0x20);
	outb(0x20, 0x20);
}
static void on_pic_no_eoi(struct rt_regs *r)
{
	pic_hits++;
	pic_last = r->vector;
}

static void pic_setup(u8 icw4)
{
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 4);
	outb(0x21, icw4);
	outb(0xa0, 0x11);
	outb(0xa1, 0x38);
	outb(0xa1, 2);
	outb(0xa1, icw4);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

static void pit_once(u16 count)
{
	outb(0x43, 0x30);
	outb(0x40, count);
	outb(0x40, count >> 8);
}

static void pics(void)
{
	for (unsigned v = 0x30; v < 0x40; v++)
		rt_handle(v, on_pic);
	apic_wr(APIC_LVT0, 0x700);
	outb(0x43, 0x30);
	pic_setup(1);
	check("pic.mask-reads", inb(0x21), 0xff);
	outb(0x21, 0xfa); /* IRQ 0 and the cascade */
	pic_hits = 0;
	pit_once(1000);
	check_true("pic.irq0", wait_count(&pic_hits, 1, 500));
	check("pic.new-base", pic_last, 0x30);
	/* The RTC on the slave: both have it in service. */
	outb(0xa1, 0xfe);
	outb(0x70, 0xb);
	u8 b = inb(0x71);
	outb(0x70, 0xc);
	inb(0x71);
	outb(0x70, 0xa);
	outb(0x71, 0x26);
	outb(0x70, 0xb);
	outb(0x71, b | 0x40);
	pic_hits = 0;
	check_true("pic.slave", wait_count(&pic_hits, 1, 500));
	check("pic.slave-vector", pic_last, 0x38);
	check("pic.slave-isr", isr & 0x1ff, 0x104);
	outb(0x70, 0xb);
	outb(0x71, b);
	outb(0x70, 0xc);
	inb(0x71);
	outb(0xa1, 0xff);
	/* No EOI: the same and lower levels stay out until one comes. */
	for (unsigned v = 0x30; v < 0x40; v++)
		rt_handle(v, on_pic_no_eoi);
	wait_count(&pic_hits, ~0ull, 2);
	pic_hits = 0;
	pit_once(1000);
	check_true("pic.no-eoi", wait_count(&pic_hits, 1, 500));
	pit_once(1000);
	check_true("pic.no-eoi-blocks", !wait_count(&pic_hits, 2, 20));
	outb(0x20, 0x60); /* specific EOI of level 0 */
	check_true("pic.specific-eoi", wait_count(&pic_hits, 2, 500));
	outb(0x20, 0x20);
	/* Automatic EOI needs none. */
	pic_setup(3);
	outb(0x21, 0xfe);
	pic_hits = 0;
	pit_once(1000);
	bool one = wait_count(&pic_hits, 1, 500);
	pit_once(1000);
	check_true("pic.auto-eoi", one && wait_count(&pic_hits, 2, 500));
	/* Polling mode acknowledges by a read. */
	pic_setup(1);
	outb(0x21, 0xfe);
	pit_once(500);
	u8 polled = 0;
	for (unsigned ms = 0; ms < 500 && !(polled & 0x80); ms++) {
		rt_udelay(1000);
		outb(0x20, 0x0c);
		polled = inb(0x20);
	}
	if (!rt_told("kvm-chips")) /* KVM's do not say that there is one */
		check("pic.poll", polled & 0x87, 0x80);
	outb(0x20, 0x20);
	outb(0x21, 0xff);
	apic_wr(APIC_LVT0, 0x10700);
	/* Edge or level control: reads back, system lines fixed to edge. */
	outb(0x4d0, 0xff);
	check("elcr.fixed", inb(0x4d0) & 7, 0);
	outb(0x4d0, 0);
	outb(0x4d1, 0x0e);
	check("elcr.kept", inb(0x4d1), 0x0e);
	outb(0x4d1, 0);
}

static bool kbd_wait(u8 bit, u8 want)
{
	for (unsigned i = 0; i < 1000; i++) {
		if ((inb(0x64) & bit) == want)
			return true;
		rt_udelay(100);
	}
	return false;
}

static void keyboard(void)
{
	while (inb(0x64) & 1)
		inb(0x60);
	outb(0x64, 0xaa);
	check_true("kbd.answers", kbd_wait(1, 1));
	check("kbd.self-test", inb(0x60), 0x55);
	outb(0x64, 0xab);
	kbd_wait(1, 1);
	check("kbd.port-test", inb(0x60), 0);
	outb(0x64, 0x20);
	kbd_wait(1, 1);
	u8 mode = inb(0x60);
	outb(0x64, 0x60);
	kbd_wait(2, 0);
	outb(0x60, mode & ~3);
	outb(0x64, 0x20);
	kbd_wait(1, 1);
	check("kbd.mode", inb(0x60), mode & ~3);
	check("kbd.empty", inb(0x64) & 1, 0);
	check("kbd.system-flag", inb(0x64) & 4, 4);
}

static u32 pci(u32 dev, u32 fn, u32 reg)
{
	outl(0xcf8, 0x80000000 | dev << 11 | fn << 8 | reg);
	return inl(0xcfc);
}

static void configuration(void)
{
	u32 bridge = pci(0, 0, 0), lpc = pci(31, 0, 0);

	check("pci.host-bridge", bridge, 0x29c08086);
	check("pci.lpc", lpc, 0x29188086);
	check("pci.host-class", pci(0, 0, 8) >> 8, 0x060000);
	check("pci.lpc-class", pci(31, 0, 8) >> 8, 0x060100);
	check("pci.nobody", pci(29, 5, 0), 0xffffffff);
	outl(0xcf8, 0x00000000); /* enable bit clear: no configuration access */
	check_true("pci.disabled", inl(0xcfc) != bridge);
	outl(0xcf8, 0x80000000);
	check("pci.byte", inb(0xcfd), bridge >> 8 & 0xff);
	/* By memory, where the bridge says: PCIEXBAR. */
	u32 bar = pci(0, 0, 0x60);
	if (bar & 1) {
		ulong ecam = bar & 0xf0000000;

		check("ecam.host-bridge", rd32((void *)ecam), bridge);
		check("ecam.lpc", rd32((void *)(ecam | 31 << 15)), lpc);
		check("ecam.byte", rd8((void *)(ecam + 1)), bridge >> 8 & 0xff);
		check("ecam.nobody", rd32((void *)(ecam | 29 << 15 | 5 << 12)), 0xffffffff);
	} else {
		check_skip("ecam", "not enabled by firmware");
	}
}

static void power(void)
{
	u32 base = pci(31, 0, 0x40) & 0xff80;

	check("pm.base", base, 0x600);
	u32 a = inl(base + 8);
	rt_udelay(1000);
	u32 b = inl(base + 8);
	check_true("pm.timer", ((b - a) & 0xffffff) >= 3000);
	/* Status bits clear by writing ones; the enable register keeps what it is given. */
	outw(base + 2, 0x100);
	check("pm.enable", inw(base + 2) & 0x100, 0x100);
	outw(base + 2, 0);
	outw(base, 0xffff);
	check("pm.status-cleared", inw(base) & 0x100, 0);
}

void test_main(void)
{
	uart();
	pics();
	keyboard();
	configuration();
	power();
}

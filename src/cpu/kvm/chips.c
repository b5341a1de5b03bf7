/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8259s and the I/O APIC where KVM has them (api 4.24 to 4.27, 4.52): between
 * the neutral form (irqchips.h) and KVM's, and the lines that lead to them. The PIT
 * stays with the board: KVM_GET_PIT2 does not tell how far channel 0 has counted, so
 * a machine that is moved or saved would lose its place in the period.
 *
 * Lines: GSI n below 16 is input n of the 8259s alone, 16 + n is pin n of the I/O APIC
 * alone; which line leads to which of them is the board's to know.
 */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/bus/bus.h"
#include "src/bus/irqchips.h"
#include "src/cpu/kvm/kvm_priv.h"

#define ENTRY_SENDING (1ull << 12) /* delivery status */
#define ENTRY_LEVEL (1ull << 15)
#define ENTRY_MASKED (1ull << 16)

static void pic_out(const struct irqchips_pic *p, struct kvm_pic_state *s)
{
	/* elcr_mask is the chip's own and stays. */
	s->last_irr = p->lines;
	s->irr = p->irr;
	s->imr = p->imr;
	s->isr = p->isr;
	s->priority_add = (p->lowest + 1) & 7;
	s->irq_base = p->base & 0xf8;
	s->read_reg_select = p->read_isr;
	s->poll = p->poll;
	s->special_mask = p->special_mask;
	s->init_state = p->icw_next ? p->icw_next - 1 : 0;
	s->auto_eoi = p->auto_eoi;
	s->rotate_on_auto_eoi = p->rotate_on_auto_eoi;
	s->special_fully_nested_mode = p->fully_nested;
	s->init4 = p->icw4_wanted;
	s->elcr = p->elcr;
}

/* @p->lines stays: the board knows them. */
static void pic_in(struct irqchips_pic *p, const struct kvm_pic_state *s)
{
	p->irr = s->irr;
	p->imr = s->imr;
	p->isr = s->isr;
	p->lowest = (s->priority_add - 1) & 7;
	p->base = s->irq_base;
	p->read_isr = s->read_reg_select;
	p->poll = s->poll;
	p->special_mask = s->special_mask;
	p->icw_next = s->init_state ? s->init_state + 1 : 0;
	p->auto_eoi = s->auto_eoi;
	p->rotate_on_auto_eoi = s->rotate_on_auto_eoi;
	p->fully_nested = s->special_fully_nested_mode;
	p->icw4_wanted = s->init4;
	p->elcr = s->elcr;
}

static void ioapic_out(const struct irqchips_ioapic *io, struct kvm_ioapic_state *s)
{
	s->base_address = 0xfec00000;
	s->ioregsel = io->index;
	s->id = io->id;
	s->irr = io->irr;
	for (unsigned n = 0; n < IRQCHIPS_PINS; n++)
		s->redirtbl[n].bits = io->entry[n];
}

static void ioapic_in(struct irqchips_ioapic *io, const struct kvm_ioapic_state *s)
{
	io->index = (uint8_t)s->ioregsel;
	io->id = (uint8_t)s->id & 15;
	io->irr = s->irr;
	for (unsigned n = 0; n < IRQCHIPS_PINS; n++) {
		io->entry[n] = s->redirtbl[n].bits & ~ENTRY_SENDING;
		/* KVM remembers an edge while the pin is masked; the chip does not. */
		if (io->entry[n] & ENTRY_MASKED && !(io->entry[n] & ENTRY_LEVEL))
			io->irr &= ~(1u << n);
	}
}

static int chip(struct kvm_vm *vm, unsigned long request, unsigned id, struct kvm_irqchip *c)
{
	c->chip_id = id;
	return kvm_ioctl(vm->fd, request, c);
}

/* Between the state and KVM; @out: to KVM. */
static int exchange(struct kvm_vm *vm, struct irqchips_state *st, bool out)
{
	struct kvm_irqchip c;
	int ret = 0;

	for (unsigned n = 0; n < 2 && ret == 0; n++) {
		ret = chip(vm, KVM_GET_IRQCHIP, n, &c);
		if (ret < 0)
			return ret;
		if (!out)
			pic_in(&st->pic[n], &c.chip.pic);
		else
			pic_out(&st->pic[n], &c.chip.pic);
		if (out)
			ret = chip(vm, KVM_SET_IRQCHIP, n, &c);
	}
	if (ret == 0)
		ret = chip(vm, KVM_GET_IRQCHIP, KVM_IRQCHIP_IOAPIC, &c);
	if (ret < 0)
		return ret;
	if (!out) {
		ioapic_in(&st->ioapic, &c.chip.ioapic);
		return 0;
	}
	ioapic_out(&st->ioapic, &c.chip.ioapic);
	return chip(vm, KVM_SET_IRQCHIP, KVM_IRQCHIP_IOAPIC, &c);
}

static int from_board(struct kvm_vm *vm)
{
	const struct irqchips_board *b = &vm->cpus->chips;
	struct irqchips_state st;

	b->get(b->opaque, &st);
	return exchange(vm, &st, true);
}

static int to_board(struct kvm_vm *vm)
{
	const struct irqchips_board *b = &vm->cpus->chips;
	struct irqchips_state st;
	int ret;

	b->get(b->opaque, &st); /* what KVM does not have stays */
	ret = exchange(vm, &st, false);
	if (ret == 0)
		b->put(b->opaque, &st);
	return ret;
}

/*
 * While KVM has them.
 */
static void line(struct kvm_vm *vm, unsigned gsi, int level)
{
	struct kvm_irq_level l = { .irq = gsi, .level = (uint32_t)level };

	(void)kvm_ioctl(vm->fd, KVM_IRQ_LINE, &l);
}

static void pic_input(void *opaque, unsigned n, int level) { line(opaque, n, level); }

static void ioapic_pin(void *opaque, unsigned n, int level)
{
	line(opaque, IRQCHIPS_INPUTS + n, level);
}

static void fetch(void *opaque)
{
	struct kvm_vm *vm = opaque;
	int ret = to_board(vm);

	if (ret < 0)
		log_error(vm->cpus->log, "KVM does not give the interrupt controllers' state: %s",
			  strerror(-ret));
}

static void done(void *opaque)
{
	struct kvm_vm *vm = opaque;
	int ret = from_board(vm);

	if (ret < 0)
		log_error(vm->cpus->log, "KVM does not take the interrupt controllers' state: %s",
			  strerror(-ret));
}

int kvm_chips_init(struct kvm_vm *vm, struct err *err)
{
	int ret = kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL);

	if (ret < 0)
		return err_set(err, ret, "KVM cannot have the interrupt controllers: %s; use "
			       "--kvm-irqchip user", strerror(-ret));
	vm->chips = (struct irqchips_proxy){ pic_input, ioapic_pin, fetch, done, vm };
	return 0;
}

unsigned kvm_chips_routes(struct kvm_irq_routing_entry *e)
{
	unsigned n = 0;

	for (unsigned i = 0; i < IRQCHIPS_INPUTS; i++) {
		if (i == 2)
			continue;
		e[n++] = (struct kvm_irq_routing_entry){
			.gsi = i, .type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i & 7 },
		};
	}
	for (unsigned i = 0; i < IRQCHIPS_PINS; i++)
		e[n++] = (struct kvm_irq_routing_entry){
			.gsi = IRQCHIPS_INPUTS + i, .type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = { KVM_IRQCHIP_IOAPIC, i },
		};
	return n;
}

int kvm_chips_load(struct kvm_vm *vm, struct err *err)
{
	const struct irqchips_board *b = &vm->cpus->chips;
	int ret;

	if (vm->irqchip != CPUS_IRQCHIP_KERNEL || !b->get)
		return 0;
	ret = from_board(vm);
	if (ret < 0)
		return err_set(err, ret, "KVM does not take the interrupt controllers' state: %s",
			       strerror(-ret));
	b->lend(b->opaque, &vm->chips);
	return 0;
}

void kvm_chips_store(struct kvm_vm *vm)
{
	const struct irqchips_board *b = &vm->cpus->chips;

	if (vm->irqchip != CPUS_IRQCHIP_KERNEL || !b->get)
		return;
	fetch(vm);
	b->lend(b->opaque, NULL);
}

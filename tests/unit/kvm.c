/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The KVM engine with tiny real-mode guests. Skipped where /dev/kvm cannot be opened.
 * What only hardware can show is asserted only where KVM's self-test is good. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "src/cpu/engines.h"
#include "src/cpu/kvm/kvm.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/x86.h"
#include "tests/unit/cmocka_all.h"

#define RAM 0x100000u
#define ROM 0x200000u
#define DONE 0x500 /* a write here: the guest is done */
#define DATA 0x510 /* gathers what is written, and gives it back */

#define BELL 0x520 /* a doorbell port */

extern const uint8_t t_pages[], t_bell[], t_late[], t_io[], t_mmio[], t_fpu[], t_fpu_loop[], t_triple[], t_spin[],
	t_end[];

__asm__(
	".pushsection .rodata\n"
	".code16\n"
	"t_pages:\n"
	"	incb 0x5000\n"
	"	incb 0x7123\n"
	"	mov $0x500, %dx\n"
	"	out %al, (%dx)\n"
	"	jmp t_pages\n"
	"t_bell:\n"		/* a word rings, a byte does not */
	"	mov $0x520, %dx\n"
	"	mov $7, %ax\n"
	"	out %ax, (%dx)\n"
	"	out %al, (%dx)\n"
	"	mov $0x500, %dx\n"
	"	out %al, (%dx)\n"
	"	cli\n"
	"	hlt\n"
	"t_late:\n"		/* writes that may come late, then a read of the same device */
	"	mov $0xd000, %ax\n"
	"	mov %ax, %ds\n"
	"	movw $0x1111, 0x10\n"
	"	movw $0x2222, 0x10\n"
	"	incl %cs:0x6000\n"
	"1:	cmpw $0, %cs:0x6010\n"
	"	je 1b\n"
	"	movw $0x3333, 0x10\n"
	"	mov 0x10, %bx\n"
	"	mov $0x500, %dx\n"
	"	out %al, (%dx)\n"
	"	cli\n"
	"	hlt\n"
	"t_io:\n"
	"	cld\n"
	"	mov $0x6000, %si\n"
	"	mov $5, %cx\n"
	"	mov $0x510, %dx\n"
	"	rep outsb\n"
	"	mov $0x6100, %di\n"
	"	mov $5, %cx\n"
	"	rep insb\n"
	"	mov $0x500, %dx\n"
	"	out %al, (%dx)\n"
	"	cli\n"
	"	hlt\n"
	"t_mmio:\n"		/* DS: 0xd000, no memory there but a device; ES: ROM at 0xe0000 */
	"	mov $0xd000, %ax\n"
	"	mov %ax, %ds\n"
	"	mov $0xe000, %ax\n"
	"	mov %ax, %es\n"
	"	movw $0x1234, 0x10\n"
	"	mov 0x10, %bx\n"
	"	movb $0x55, %es:0x8\n"
	"	mov %es:0x8, %cl\n"
	"	mov $0x500, %dx\n"
	"	out %al, (%dx)\n"
	"	cli\n"
	"	hlt\n"
	"t_fpu:\n"
	"	fninit\n"
	"	fld1\n"
	"	fld1\n"
	"	faddp\n"
	"	fistps 0x6000\n"
	"	mov $0x500, %dx\n"
	"	out %al, (%dx)\n"
	"	cli\n"
	"	hlt\n"
	"t_fpu_loop:\n"
	"	fninit\n"
	"	fld1\n"
	"	mov $3000, %cx\n"
	"1:	fld1\n"
	"	faddp\n"
	"	loop 1b\n"
	"	fistps 0x6000\n"
	"	mov $0x500, %dx\n"
	"	out %al, (%dx)\n"
	"	cli\n"
	"	hlt\n"
	"t_triple:\n"
	"	lidt 0x6000\n"	/* base 0, limit 0 */
	"	int3\n"
	"t_spin:\n"
	"	incl 0x6000\n"
	"	adcl $0, 0x6004\n"
	"	jmp t_spin\n"
	"t_end:\n"
	".code64\n"
	".popsection\n");

struct world {
	struct bus *bus;
	struct vtime *vtime;
	struct mem *mem;
	struct cpus *cpus;
	struct mem_block *rom;
	struct err err;
	sem_t done;
	struct bus_range done_range, data_range, mmio_range, rom_range, bell_range;
	struct bus_doorbell bell;
	unsigned bell_writes;
	char data[16];
	unsigned in, out, mmio_reads, mmio_writes, rom_writes;
	uint64_t mmio_value;
	_Atomic unsigned triple, failed;
	char why[256];
	/* The board's interrupt controllers, which it has only in name. */
	enum cpus_irqchip irqchip;
	struct irqchips_state chips;
	const struct irqchips_proxy *lent;
	unsigned lends, puts;
};

static void chips_get(void *opaque, struct irqchips_state *st)
{
	*st = ((struct world *)opaque)->chips;
}
static void chips_put(void *opaque, const struct irqchips_state *st)
{
	struct world *w = opaque;

	w->chips = *st;
	w->puts++;
}
static void chips_lend(void *opaque, const struct irqchips_proxy *p)
{
	struct world *w = opaque;

	w->lends += p != NULL;
	w->lent = p;
}

static uint64_t rd(void *dev, uint64_t off, unsigned size) { return 0; }
static void wr_done(void *dev, uint64_t off, uint64_t v, unsigned size)
{
	sem_post(&((struct world *)dev)->done);
}
static const struct bus_ops done_ops = { rd, wr_done };

static uint64_t rd_data(void *dev, uint64_t off, unsigned size)
{
	struct world *w = dev;

	return (uint8_t)w->data[w->out++ % 16];
}
static void wr_data(void *dev, uint64_t off, uint64_t v, unsigned size)
{
	struct world *w = dev;

	w->data[w->in++ % 16] = (char)v;
}
static const struct bus_ops data_ops = { rd_data, wr_data };

static void wr_bell(void *dev, uint64_t off, uint64_t v, unsigned size)
{
	((struct world *)dev)->bell_writes++;
}
static const struct bus_ops bell_ops = { rd, wr_bell };

static uint64_t rd_mmio(void *dev, uint64_t off, unsigned size)
{
	struct world *w = dev;

	w->mmio_reads++;
	return w->mmio_value + off;
}
static void wr_mmio(void *dev, uint64_t off, uint64_t v, unsigned size)
{
	struct world *w = dev;

	w->mmio_writes++;
	w->mmio_value = v;
}
static const struct bus_ops mmio_ops = { rd_mmio, wr_mmio };

static void wr_rom(void *dev, uint64_t off, uint64_t v, unsigned size)
{
	((struct world *)dev)->rom_writes++;
}
static const struct bus_ops rom_ops = { rd, wr_rom };

static void on_triple(void *opaque, unsigned vcpu) { ((struct world *)opaque)->triple++; }

static void on_failed(void *opaque, unsigned vcpu, const char *text)
{
	struct world *w = opaque;

	snprintf(w->why, sizeof(w->why), "%s", text);
	w->failed++;
	cpus_pause_request(w->cpus);
	sem_post(&w->done);
}

static void world_make(struct world *w, const char *engine, const uint8_t *code, bool ring,
		       enum cpus_irqchip irqchip)
{
	struct cpus_config cc = { .count = 1, .model = "x86-64-v1", .engine_anyway = true,
				  .engine = engine_lookup(engine), .dirty_ring = ring,
				  .irqchip = irqchip };
	struct mem_block *ram;
	struct x86_cpu *c;

	memset(w, 0, sizeof(*w));
	sem_init(&w->done, 0, 0);
	w->bus = bus_new(NULL, &w->err);
	w->vtime = vtime_new(&w->bus->lock, false);
	w->mem = mem_new(16 << 20, &w->err);
	ram = mem_block_new(w->mem, "ram", RAM, false, &w->err);
	w->rom = mem_block_new(w->mem, "rom", 0x10000, true, &w->err);
	assert_true(ram && w->rom);
	assert_int_equal(mem_map_set(w->mem, 0, 0xd0000, ram, 0, true, true), 0);
	assert_int_equal(mem_map_set(w->mem, 0xe0000, 0x10000, w->rom, 0, true, false), 0);
	w->rom->host[8] = 0xaa;
	w->done_range = (struct bus_range){ .start = DONE, .len = 1, .ops = &done_ops, .dev = w };
	w->data_range = (struct bus_range){ .start = DATA, .len = 1, .ops = &data_ops, .dev = w };
	w->mmio_range = (struct bus_range){ .start = 0xd0000, .len = 0x1000, .ops = &mmio_ops,
					    .dev = w };
	w->rom_range = (struct bus_range){ .start = 0xe0000, .len = 0x10000, .ops = &rom_ops,
					   .dev = w };
	assert_int_equal(bus_add_pio(w->bus, &w->done_range), 0);
	assert_int_equal(bus_add_pio(w->bus, &w->data_range), 0);
	w->mmio_range.late_writes = code == t_late;
	assert_int_equal(bus_add_mmio(w->bus, &w->mmio_range), 0);
	assert_int_equal(bus_add_mmio(w->bus, &w->rom_range), 0);
	w->bell.fd = -1;
	w->bell.size = 2;
	if (code == t_bell) {
		w->bell.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		w->bell_range = (struct bus_range){ .start = BELL, .len = 2, .ops = &bell_ops,
						    .dev = w, .doorbell = &w->bell, .ndoorbells = 1 };
		assert_int_equal(bus_add_pio(w->bus, &w->bell_range), 0);
	}
	cc.mem = w->mem;
	cc.bus = w->bus;
	cc.vtime = w->vtime;
	w->cpus = cpus_new(&cc, &w->err);
	if (!w->cpus)
		fail_msg("%s", w->err.text);
	w->cpus->vm_opaque = w;
	w->cpus->chips = (struct irqchips_board){ chips_get, chips_put, chips_lend, w };
	/* As the chips are after power-on, but for what can be told apart. */
	w->chips.pic[0] = (struct irqchips_pic){ .imr = 0xf5, .irr = 0x01, .isr = 0x08,
		.lines = 0x01, .base = 0x30, .lowest = 2, .elcr = 0x20, .read_isr = true,
		.special_mask = true, .icw4_wanted = true };
	w->chips.pic[1] = (struct irqchips_pic){ .imr = 0xff, .irr = 0x12, .base = 0x78,
		.lowest = 7, .elcr = 0x0e, .icw_next = 3, .auto_eoi = true,
		.rotate_on_auto_eoi = true, .fully_nested = true };
	w->chips.ioapic = (struct irqchips_ioapic){ .index = 0x13, .id = 5, .irr = 1u << 20,
						    .lines = 1u << 20 };
	for (unsigned n = 0; n < IRQCHIPS_PINS; n++)
		w->chips.ioapic.entry[n] = (uint64_t)n << 56 | 0x10000 | (0x30 + n) |
					   (n >= 16 ? 0x8000 : 0);
	w->cpus->triple_fault = on_triple;
	w->cpus->engine_failed = on_failed;
	assert_int_equal(mem_write(w->mem, 0x1000, t_pages, (size_t)(t_end - t_pages)), 0);
	c = w->cpus->vcpu[0].x86;
	x86_load_seg_real(c, X86_CS, 0);
	x86_load_seg_real(c, X86_DS, 0);
	x86_load_seg_real(c, X86_ES, 0);
	x86_load_seg_real(c, X86_SS, 0);
	c->rip = 0x1000 + (uint64_t)(code - t_pages);
	c->gpr[X86_RSP] = 0x4000;
	x86_update_mode(c);
	assert_int_equal(cpus_start(w->cpus, &w->err), 0);
	cpus_resume(w->cpus);
}

static void world_init(struct world *w, const char *engine, const uint8_t *code, bool ring)
{
	world_make(w, engine, code, ring, CPUS_IRQCHIP_USER);
}

static void world_fini(struct world *w)
{
	cpus_free(w->cpus);
	bus_del_pio(w->bus, &w->done_range);
	bus_del_pio(w->bus, &w->data_range);
	bus_del_mmio(w->bus, &w->mmio_range);
	bus_del_mmio(w->bus, &w->rom_range);
	bus_del_pio(w->bus, &w->bell_range);
	if (w->bell.fd >= 0)
		close(w->bell.fd);
	mem_free(w->mem);
	vtime_free(w->vtime);
	bus_free(w->bus);
	sem_destroy(&w->done);
}

static void wait_done(struct world *w)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 60;
	while (sem_timedwait(&w->done, &ts) < 0)
		assert_int_equal(errno, EINTR);
}

static uint64_t word(struct world *w, gpa_t at)
{
	uint64_t v = 0;

	assert_int_equal(mem_read(w->mem, at, &v, 8), 0);
	return v;
}

struct seen {
	struct world *w;
	bool p5, p7;
	unsigned count;
};

static void saw(void *opaque, uint64_t page)
{
	struct seen *s = opaque;
	uint64_t first = mem_page_of(s->w->mem, s->w->mem->blocks[0]->host);

	s->count++;
	s->p5 |= page == first + 5;
	s->p7 |= page == first + 7;
}

static void dirty(enum kvm_dirty how)
{
	struct world w;

	world_init(&w, "kvm", t_pages, how == KVM_DIRTY_RING);
	wait_done(&w);
	assert_true(kvm_dirty_collect(w.cpus, saw, NULL, &w.err) < 0); /* not on */
	if (kvm_dirty_set(w.cpus, how, &w.err) < 0) {
		print_message("skipped: %s\n", w.err.text);
		world_fini(&w);
		skip();
	}
	/* Whatever was seen before, each later round's writes are seen again. */
	for (unsigned n = 0; n < 20; n++) {
		struct seen s = { .w = &w };

		cpus_pause(w.cpus);
		assert_int_equal(kvm_dirty_collect(w.cpus, saw, &s, &w.err), 0);
		while (sem_trywait(&w.done) == 0)
			;
		cpus_resume(w.cpus);
		wait_done(&w);
		wait_done(&w);
		cpus_pause(w.cpus);
		s = (struct seen){ .w = &w };
		assert_int_equal(kvm_dirty_collect(w.cpus, saw, &s, &w.err), 0);
		assert_true(s.p5 && s.p7);
		cpus_resume(w.cpus);
	}
	assert_int_equal(kvm_dirty_set(w.cpus, KVM_DIRTY_OFF, &w.err), 0);
	world_fini(&w);
}

static void dirty_bitmap(void **state) { dirty(KVM_DIRTY_BITMAP); }
static void dirty_ring(void **state) { dirty(KVM_DIRTY_RING); }

static const char *const all_engines[] = { "interp", "jit", "kvm" };

static void string_io(void **state)
{
	for (unsigned e = 0; e < 3; e++) {
		struct world w;

		world_init(&w, all_engines[e], t_io, false);
		/* The program may have run before this: only the counts are sure. */
		wait_done(&w);
		cpus_pause(w.cpus);
		assert_int_equal(w.in, 5);
		assert_int_equal(w.out, 5);
		assert_int_equal(word(&w, 0x6100) & 0xffffffffff, word(&w, 0x6000) & 0xffffffffff);
		world_fini(&w);
	}
}

static void mmio_and_rom(void **state)
{
	for (unsigned e = 0; e < 3; e++) {
		struct world w;
		struct x86_cpu *c;

		world_init(&w, all_engines[e], t_mmio, false);
		wait_done(&w);
		cpus_pause(w.cpus);
		cpus_sync(w.cpus);
		c = w.cpus->vcpu[0].x86;
		assert_int_equal(w.mmio_writes, 1);
		assert_int_equal(w.mmio_reads, 1);
		assert_int_equal(w.mmio_value, 0x1234);
		assert_int_equal(c->gpr[X86_RBX] & 0xffff, 0x1244);
		/* A write to memory that is read-only is the bus's; reads are not. */
		assert_int_equal(w.rom_writes, 1);
		assert_int_equal(c->gpr[X86_RCX] & 0xff, 0xaa);
		world_fini(&w);
	}
}

/* A doorbell's write wakes whoever waits for it, and the bus sees nothing; where KVM is
 * not the engine, or the write is another, the bus does. */
static void doorbell(void **state)
{
	for (unsigned e = 0; e < 3; e++) {
		bool kvm = strcmp(all_engines[e], "kvm") == 0;
		struct world w;
		eventfd_t n = 0;

		world_init(&w, all_engines[e], t_bell, false);
		wait_done(&w);
		assert_int_equal(eventfd_read(w.bell.fd, &n), kvm ? 0 : -1);
		assert_int_equal(n, kvm ? 1 : 0);
		assert_int_equal(w.bell_writes, kvm ? 1 : 2);
		/* Off the bus it rings no more. */
		bus_del_pio(w.bus, &w.bell_range);
		world_fini(&w);
	}
}

/* Late writes come in order, at the latest when somebody asks for them. */
static void late_writes(void **state)
{
	for (unsigned e = 0; e < 3; e++) {
		static const uint16_t one = 1;
		struct world w;

		world_init(&w, all_engines[e], t_late, false);
		while (!word(&w, 0x6000))
			usleep(100);
		bus_lock(w.bus);
		bus_settle(w.bus);
		assert_int_equal(w.mmio_writes, 2);
		assert_int_equal(w.mmio_value, 0x2222);
		bus_unlock(w.bus);
		assert_int_equal(mem_write(w.mem, 0x6010, &one, 2), 0);
		wait_done(&w);
		cpus_pause(w.cpus);
		bus_lock(w.bus);
		cpus_sync(w.cpus);
		bus_unlock(w.bus);
		/* The read came after the write before it. */
		assert_int_equal(w.mmio_writes, 3);
		assert_int_equal(w.cpus->vcpu[0].x86->gpr[X86_RBX] & 0xffff, 0x3343);
		world_fini(&w);
	}
}

static void fpu(void **state)
{
	for (unsigned e = 0; e < 3; e++) {
		struct world w;

		world_init(&w, all_engines[e], t_fpu, false);
		wait_done(&w);
		assert_int_equal(word(&w, 0x6000) & 0xffff, 2);
		world_fini(&w);
	}
}

/* A guest that KVM cannot run is handed over, and its result is right all the same. */
static void gives_up(void **state)
{
	struct kvm_report r;
	struct world w;

	kvm_probe(&r, false);
	world_init(&w, "kvm", t_fpu_loop, false);
	wait_done(&w);
	if (r.verdict == KVM_GOOD)
		assert_int_equal(w.failed, 0);
	if (w.failed) {
		assert_non_null(strstr(w.why, "software engine"));
		cpus_pause(w.cpus);
		bus_lock(w.bus);
		assert_int_equal(cpus_set_engine(w.cpus, engine_lookup("jit"), &w.err), 0);
		bus_unlock(w.bus);
		cpus_resume(w.cpus);
		wait_done(&w);
	}
	assert_int_equal(word(&w, 0x6000) & 0xffff, 3001);
	world_fini(&w);
}

static void triple_fault(void **state)
{
	struct kvm_report r;

	/* Needs hardware: the paravirtual KVM does not look at the IDT's limit. */
	kvm_probe(&r, false);
	for (unsigned e = 0; e < (r.verdict == KVM_GOOD ? 3 : 2); e++) {
		struct world w;

		world_init(&w, all_engines[e], t_triple, false);
		while (!w.triple)
			usleep(1000);
		cpus_pause(w.cpus);
		assert_int_equal(w.triple, 1);
		world_fini(&w);
	}
}

/* A spinning guest is stopped, looked at, and moved about; its counter never jumps. */
static void hand_over(void **state)
{
	struct world w;
	uint64_t last = 0;

	world_init(&w, "kvm", t_spin, false);
	for (unsigned n = 0; n < 100; n++) {
		uint64_t now;

		usleep(500);
		cpus_pause(w.cpus);
		now = word(&w, 0x6000);
		assert_true(now >= last);
		last = now;
		bus_lock(w.bus);
		if (cpus_set_engine(w.cpus, engine_lookup(all_engines[n * 7 % 3]), &w.err) != 0)
			fail_msg("%s", w.err.text);
		bus_unlock(w.bus);
		assert_int_equal(word(&w, 0x6000), last);
		assert_string_equal(w.cpus->engine->name, all_engines[n * 7 % 3]);
		cpus_resume(w.cpus);
	}
	assert_true(last > 1000);
	assert_int_equal(w.failed, 0);
	world_fini(&w);
}

static void same_chips(const struct irqchips_state *a, const struct irqchips_state *b)
{
	for (unsigned n = 0; n < 2; n++) {
		const struct irqchips_pic *p = &a->pic[n], *q = &b->pic[n];

		assert_int_equal(p->irr, q->irr);
		assert_int_equal(p->imr, q->imr);
		assert_int_equal(p->isr, q->isr);
		assert_int_equal(p->lines, q->lines);
		assert_int_equal(p->elcr, q->elcr);
		assert_int_equal(p->base, q->base);
		assert_int_equal(p->icw_next, q->icw_next);
		assert_int_equal(p->lowest, q->lowest);
		assert_int_equal(p->icw4_wanted, q->icw4_wanted);
		assert_int_equal(p->auto_eoi, q->auto_eoi);
		assert_int_equal(p->rotate_on_auto_eoi, q->rotate_on_auto_eoi);
		assert_int_equal(p->fully_nested, q->fully_nested);
		assert_int_equal(p->special_mask, q->special_mask);
		assert_int_equal(p->read_isr, q->read_isr);
		assert_int_equal(p->poll, q->poll);
	}
	assert_memory_equal(a->ioapic.entry, b->ioapic.entry, sizeof(a->ioapic.entry));
	assert_int_equal(a->ioapic.irr, b->ioapic.irr);
	assert_int_equal(a->ioapic.index, b->ioapic.index);
	assert_int_equal(a->ioapic.id, b->ioapic.id);
}

/* The board's chips go into the kernel and come back as they went; meanwhile lines lead
 * there, and a register that is touched all the same is the kernel's. */
static void chips_in_kernel(void **state)
{
	struct irqchips_state before;
	struct world w;

	world_make(&w, "kvm", t_spin, false, CPUS_IRQCHIP_KERNEL);
	before = w.chips;
	for (unsigned n = 0; n < 5; n++) {
		while (!w.lent)
			usleep(1000);
		assert_int_equal(w.lends, n + 1);
		bus_lock(w.bus);
		w.chips.ioapic.id = 9; /* stale while they are away */
		w.lent->fetch(w.lent->opaque);
		assert_int_equal(w.chips.ioapic.id, 5);
		w.lent->done(w.lent->opaque);
		/* Input 3 rises, pin 20 falls. */
		w.lent->pic_input(w.lent->opaque, 3, 1);
		w.lent->ioapic_pin(w.lent->opaque, 20, 0);
		bus_unlock(w.bus);
		cpus_pause(w.cpus);
		bus_lock(w.bus);
		cpus_sync(w.cpus);
		assert_null(w.lent);
		before.pic[0].irr |= 8;
		before.ioapic.irr = 0;
		same_chips(&w.chips, &before);
		/* As the board would note it. */
		w.chips.pic[0].lines |= 8;
		before.pic[0].lines |= 8;
		bus_unlock(w.bus);
		cpus_resume(w.cpus);
	}
	assert_int_equal(w.failed, 0);
	world_fini(&w);
}

/* Stands still, with its state ours and the device lock held. */
static struct apic *stopped(struct world *w)
{
	cpus_pause(w->cpus);
	bus_lock(w->bus);
	cpus_sync(w->cpus);
	return w->cpus->vcpu[0].x86->apic;
}

static void go_on(struct world *w, unsigned us)
{
	bus_unlock(w->bus);
	cpus_resume(w->cpus);
	usleep(us);
}

static void has_tick(struct apic *a, bool wanted)
{
	assert_int_equal(apic_mmio_read(a, 0x220, 4), wanted); /* IRR, vector 0x40 */
	assert_int_equal(apic_mmio_read(a, 0x390, 4), 0);
	if (wanted) {
		assert_int_equal(apic_ack(a), 0x40);
		apic_mmio_write(a, 0xb0, 0, 4);
	}
}

/* A timer that runs out once gives one interrupt, whenever KVM and we take turns. */
static void one_shot(void **state)
{
	static const enum cpus_irqchip chips[] = { CPUS_IRQCHIP_SPLIT, CPUS_IRQCHIP_KERNEL };

	for (unsigned i = 0; i < array_size(chips); i++) {
		struct world w;
		struct apic *a;

		world_make(&w, "kvm", t_spin, false, chips[i]);
		a = stopped(&w);
		apic_mmio_write(a, 0xf0, 0x1ff, 4);
		apic_mmio_write(a, 0x320, 0x40, 4);
		apic_mmio_write(a, 0x3e0, 0xb, 4);
		/* While the guest runs, which has interrupts off. */
		apic_mmio_write(a, 0x380, 1000000, 4);
		go_on(&w, 40000);
		has_tick(stopped(&w), true);
		/* It had its interrupt. */
		for (unsigned n = 0; n < 5; n++) {
			go_on(&w, 3000);
			has_tick(stopped(&w), false);
			assert_int_equal(apic_mmio_read(a, 0x380, 4), 1000000);
		}
		/* While KVM has the state and nobody runs. */
		apic_mmio_write(a, 0x380, 30000000, 4);
		go_on(&w, 1000);
		cpus_pause(w.cpus);
		usleep(80000);
		has_tick(stopped(&w), true);
		/* Between the processor's state and the APIC's. */
		apic_mmio_write(a, 0x380, 30000000, 4);
		go_on(&w, 1000);
		cpus_pause(w.cpus);
		w.cpus->engine->sync(&w.cpus->vcpu[0]);
		usleep(80000);
		has_tick(stopped(&w), true);
		go_on(&w, 3000);
		has_tick(stopped(&w), false);
		bus_unlock(w.bus);
		assert_int_equal(w.failed, 0);
		world_fini(&w);
	}
}

/* The verdict that is remembered is the one that was found. */
static void probe_twice(void **state)
{
	struct kvm_report a, b;

	kvm_probe(&a, true);
	kvm_probe(&b, false);
	assert_int_equal(a.verdict, b.verdict);
	assert_string_equal(a.technique, b.technique);
	assert_string_equal(a.why, b.why);
	print_message("KVM here: %s (%s) %s\n", kvm_verdict_name(a.verdict), a.technique, a.why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(probe_twice),
		cmocka_unit_test(string_io),
		cmocka_unit_test(mmio_and_rom),
		cmocka_unit_test(chips_in_kernel),
		cmocka_unit_test(one_shot),
		cmocka_unit_test(doorbell),
		cmocka_unit_test(late_writes),
		cmocka_unit_test(fpu),
		cmocka_unit_test(gives_up),
		cmocka_unit_test(triple_fault),
		cmocka_unit_test(hand_over),
		cmocka_unit_test(dirty_bitmap),
		cmocka_unit_test(dirty_ring),
	};
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "skipped: /dev/kvm cannot be opened: %s\n", strerror(errno));
		return 77;
	}
	close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

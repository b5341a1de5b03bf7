// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A case in an engine: one vCPU in long mode at CPL 3, the case's pages mapped
 * where the host has them, and an IDT whose gates lead to HLT at CPL 0. The
 * engine runs until it halts; the frame on the ring-0 stack tells the rest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "tests/cpu-diff/diff.h"

/* Guest-physical addresses; the first 64 KiB stand at KERNEL + gpa. */
#define KERNEL 0xffffffff80000000ull
#define G_GDT 0x1000
#define G_IDT 0x2000
#define G_TSS 0x3000
#define G_LDT 0x4000
#define G_HANDLERS 0x5000 /* 16 bytes each: HLT */
#define G_STACK_TOP 0x8000
#define G_TABLES 0x10000
#define G_REGION 0x100000
#define G_STUB (G_REGION + DIFF_REGION)
#define RAM_BYTES 0x200000

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_NX (1ull << 63)

struct engine {
	struct mem *mem;
	struct bus *bus;
	struct vtime *vtime;
	struct log log;
	struct cpus *cpus;
	uint8_t *ram; /* host pointer to gpa 0 */
	uint64_t next_table;
	uint8_t ro[4096]; /* what the read-only page must hold */
	volatile int ticks;
	volatile bool running;
};

static const struct engine_desc *find_engine(const char *name)
{
	for (unsigned n = 0; engines[n]; n++)
		if (!strcmp(engines[n]->name, name))
			return engines[n];
	return NULL;
}

static uint64_t *table_entry(struct engine *e, uint64_t table, unsigned index)
{
	uint64_t *p = (uint64_t *)(void *)(e->ram + table) + index;

	if (!*p) {
		*p = e->next_table | PTE_P | PTE_W | PTE_U;
		e->next_table += 4096;
	}
	return p;
}

static void map_page(struct engine *e, uint64_t lin, uint64_t gpa, uint64_t bits)
{
	uint64_t table = G_TABLES;

	for (int shift = 39; shift > 12; shift -= 9)
		table = *table_entry(e, table, lin >> shift & 511) & 0xffffffffff000ull;
	((uint64_t *)(void *)(e->ram + table))[lin >> 12 & 511] = gpa | bits | PTE_P;
}

static void map_region(struct engine *e, uint64_t base)
{
	for (unsigned k = 0; k < DIFF_NRW; k++)
		map_page(e, base + diff_rw_pages[k] * 4096, G_REGION + diff_rw_pages[k] * 4096,
			 PTE_U | PTE_W | PTE_NX);
	map_page(e, base + DIFF_PG_RO * 4096, G_REGION + DIFF_PG_RO * 4096, PTE_U | PTE_NX);
	for (unsigned k = 0; k < DIFF_CODE_LEN; k += 4096)
		map_page(e, base + DIFF_PG_CODE * 4096 + k, G_REGION + DIFF_PG_CODE * 4096 + k,
			 PTE_U);
	map_page(e, base + DIFF_STUB, G_STUB, PTE_U);
}

/* SDM vol. 3, 3.4.5; @access as LAR gives it, @limit in the descriptor's units. */
static uint64_t descriptor(uint64_t base, uint32_t limit, uint32_t access)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 |
	       (uint64_t)(access & 0x00f0ff00) << 32 | (uint64_t)(limit & 0xf0000) << 32 |
	       (base >> 24 & 0xff) << 56;
}

/* What programs can see of Linux's table, and kernel segments at its places. */
static void fill_gdt(struct engine *e)
{
	uint64_t *gdt = (uint64_t *)(void *)(e->ram + G_GDT);

	gdt[1] = descriptor(0, 0xfffff, 0xc09b00);
	gdt[2] = descriptor(0, 0xfffff, 0xa09b00);
	gdt[3] = descriptor(0, 0xfffff, 0xc09300);
	for (unsigned n = 4; n < 16; n++) {
		uint32_t access, limit;

		if (n >= 8 && n <= 11)
			continue;
		if (native_selector((uint16_t)(n << 3 | 3), &access, &limit))
			gdt[n] = descriptor(0, access & 0x800000 ? limit >> 12 : limit, access);
	}
	gdt[8] = descriptor(KERNEL + G_TSS, 0x67, 0x8b00);
	gdt[9] = KERNEL >> 32;
	gdt[10] = descriptor(KERNEL + G_LDT, 8 * DIFF_NLDT - 1, 0x8200);
	gdt[11] = KERNEL >> 32;
}

static void fill_ldt(struct engine *e)
{
	uint64_t *ldt = (uint64_t *)(void *)(e->ram + G_LDT);

	for (unsigned n = 0; n < DIFF_NLDT; n++) {
		const struct diff_desc *s = &diff_ldt[n];
		uint32_t type = 1u | (uint32_t)!s->read_exec_only << 1 | s->contents << 2;
		uint32_t access = type << 8 | 1u << 12 | 3u << 13 |
				  (uint32_t)!s->not_present << 15 | (uint32_t)s->seg32 << 22 |
				  (uint32_t)s->pages << 23;

		ldt[n] = descriptor(s->base, s->limit, access);
	}
}

static void fill_idt(struct engine *e)
{
	for (unsigned v = 0; v < 256; v++) {
		uint64_t to = KERNEL + G_HANDLERS + 16 * v;
		uint64_t dpl = v == X86_EXC_BP || v == X86_EXC_OF || v == 0x80 ? 3 : 0;
		uint64_t *gate = (uint64_t *)(void *)(e->ram + G_IDT) + 2 * v;

		gate[0] = (to & 0xffff) | 0x10ull << 16 | (0x8e00 | dpl << 13) << 32 |
			  (to >> 16 & 0xffff) << 48;
		gate[1] = to >> 32;
		e->ram[G_HANDLERS + 16 * v] = 0xf4;
	}
	st_le64(e->ram + G_TSS + 4, KERNEL + G_STACK_TOP); /* RSP0 */
	st_le16(e->ram + G_TSS + 0x66, 0x68);              /* no I/O bitmap */
}

static struct x86_seg seg_of(const struct engine *e, uint16_t sel)
{
	const uint8_t *table = e->ram + (sel & 4 ? G_LDT : G_GDT);
	uint64_t d = ld_le64(table + (sel & ~7));
	struct x86_seg s = { .sel = sel };

	if (!(sel & ~3)) {
		s.attr = X86_SEG_NULL;
		return s;
	}
	s.attr = (uint16_t)((d >> 40 & 0xff) | (d >> 52 & 0xf) << 8);
	s.base = (d >> 16 & 0xffffff) | (d >> 56) << 24;
	s.limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
	if (s.attr & X86_SEG_G)
		s.limit = s.limit << 12 | 0xfff;
	return s;
}

static void init_cpu(struct engine *e, struct x86_cpu *c)
{
	c->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |
		 X86_CR0_PG;
	c->cr3 = G_TABLES;
	c->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_MCE;
	if (x86_has(c, X86_F_FSGSBASE))
		c->cr4 |= X86_CR4_FSGSBASE;
	if (x86_has(c, X86_F_UMIP))
		c->cr4 |= X86_CR4_UMIP;
	if (x86_has(c, X86_F_SMEP))
		c->cr4 |= X86_CR4_SMEP;
	c->xcr0 = 1;
	if (x86_has(c, X86_F_XSAVE)) {
		c->cr4 |= X86_CR4_OSXSAVE;
		c->xcr0 = x86_has(c, X86_F_AVX) ? 7 : 3;
	}
	c->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NX;
	c->gdtr = (struct x86_dtable){ KERNEL + G_GDT, 0x7f };
	c->idtr = (struct x86_dtable){ KERNEL + G_IDT, 0xfff };
	c->tr = (struct x86_seg){ 0x40, 0x8b, 0x67, KERNEL + G_TSS };
	c->ldtr = (struct x86_seg){ 0x50, 0x82, 8 * DIFF_NLDT - 1, KERNEL + G_LDT };
}

struct engine *engine_new(const char *name, struct err *err)
{
	const struct engine_desc *desc = find_engine(name);
	struct engine *e = calloc(1, sizeof(*e));
	struct cpus_config cfg = { .count = 1, .model = "host", .engine = desc };
	struct mem_block *b;

	if (!e || !desc) {
		err_set(err, -ENOENT, "no engine is called '%s'", name);
		free(e);
		return NULL;
	}
	e->log = (struct log){ .fd = 2, .level = LOG_LEVEL_WARN };
	e->next_table = G_TABLES + 4096;
	e->mem = mem_new(16 << 20, err);
	b = e->mem ? mem_block_new(e->mem, "ram", RAM_BYTES, false, err) : NULL;
	if (!b || mem_map_set(e->mem, 0, RAM_BYTES, b, 0, true, true))
		goto fail;
	e->ram = b->host;
	e->bus = bus_new(&e->log, err);
	e->vtime = e->bus ? vtime_new(&e->bus->lock, true) : NULL;
	if (!e->vtime)
		goto fail;
	for (unsigned k = 0; k < G_TABLES; k += 4096)
		map_page(e, KERNEL + k, k, PTE_W);
	map_region(e, DIFF_LOW);
	map_region(e, DIFF_HIGH);
	fill_gdt(e);
	fill_ldt(e);
	fill_idt(e);
	diff_fill_ro(e->ro);
	memcpy(e->ram + G_REGION + DIFF_PG_RO * 4096, e->ro, 4096);
	memset(e->ram + G_STUB, 0xf4, 4096);
	cfg.mem = e->mem;
	cfg.bus = e->bus;
	cfg.vtime = e->vtime;
	cfg.log = &e->log;
	e->cpus = cpus_new(&cfg, err);
	if (!e->cpus)
		goto fail;
	init_cpu(e, e->cpus->vcpu[0].x86);
	return e;
fail:
	engine_free(e);
	return NULL;
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	cpus_free(e->cpus);
	if (e->vtime)
		vtime_free(e->vtime);
	if (e->bus)
		bus_free(e->bus);
	if (e->mem)
		mem_free(e->mem);
	free(e);
}

void engine_forget_ldt(struct engine *e)
{
	e->cpus->vcpu[0].x86->ldtr = (struct x86_seg){ .attr = X86_SEG_NULL };
}

const uint64_t *engine_features(const struct engine *e)
{
	return e->cpus->vcpu[0].x86->features;
}

void engine_tick(void *engine)
{
	struct engine *e = engine;

	if (e->running && ++e->ticks >= 3)
		atomic_fetch_or(&e->cpus->vcpu[0].x86->request, X86_REQ_EXIT);
}

static void load_fpu(struct x86_cpu *c, const struct diff_fpu *f)
{
	memset(&c->fx, 0, sizeof(c->fx));
	c->fx.fcw = f->fcw;
	c->fx.fsw = f->fsw;
	c->fx.ftw = (uint8_t)f->ftw;
	c->fx.fop = f->fop;
	c->fx.fip = f->fip;
	c->fx.fdp = f->fdp;
	c->fx.mxcsr = f->mxcsr;
	c->fx.mxcsr_mask = 0xffff;
	for (unsigned n = 0; n < 8; n++)
		memcpy(c->fx.st[n], f->st[n], 10);
	memcpy(c->ymm, f->ymm, sizeof(c->ymm));
}

static void store_fpu(const struct x86_cpu *c, struct diff_fpu *f)
{
	memset(f, 0, sizeof(*f));
	f->fcw = c->fx.fcw;
	f->fsw = c->fx.fsw;
	f->ftw = c->fx.ftw;
	f->fop = c->fx.fop;
	f->fip = c->fx.fip;
	f->fdp = c->fx.fdp;
	f->mxcsr = c->fx.mxcsr;
	for (unsigned n = 0; n < 8; n++)
		memcpy(f->st[n], c->fx.st[n], 10);
	memcpy(f->ymm, c->ymm, sizeof(f->ymm));
}

static void load_state(struct engine *e, struct x86_cpu *c, const struct diff_regs *r)
{
	memcpy(c->gpr, r->gpr, sizeof(c->gpr));
	c->rip = c->start_rip = r->rip;
	c->rflags = r->rflags;
	for (unsigned s = 0; s < X86_NSEGS; s++)
		c->seg[s] = seg_of(e, r->sel[s]);
	if (!(r->sel[X86_FS] & ~3))
		c->seg[X86_FS].base = r->fs_base;
	if (!(r->sel[X86_GS] & ~3))
		c->seg[X86_GS].base = r->gs_base;
	load_fpu(c, &r->fpu);
	c->cpl = 3;
	c->cr2 = 0;
	c->halted = c->wait_sipi = c->nmi_blocked = false;
	c->int_shadow = 0;
	c->exc_vector = -1;
	c->db_pending = 0;
	atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_EXIT);
	x86_update_mode(c);
}

static bool has_error_code(unsigned v)
{
	return v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21;
}

static void store_state(struct engine *e, struct x86_cpu *c, struct diff_result *r)
{
	uint64_t handler = c->rip - 1 - (KERNEL + G_HANDLERS);
	uint64_t frame = c->gpr[X86_RSP] - KERNEL;
	const uint8_t *p;

	r->vector = (unsigned)(handler / 16);
	if (handler % 16 || handler >= 4096 || frame > G_STACK_TOP - 40) {
		r->end = DIFF_BROKEN;
		snprintf(r->text, sizeof(r->text), "halted at %#lx with the stack at %#lx",
			 (long)c->rip, (long)c->gpr[X86_RSP]);
		return;
	}
	p = e->ram + frame;
	if (has_error_code(r->vector)) {
		r->error = ld_le32(p);
		p += 8;
	}
	r->regs.rip = ld_le64(p);
	r->regs.sel[X86_CS] = ld_le16(p + 8);
	r->regs.rflags = ld_le64(p + 16);
	r->regs.gpr[X86_RSP] = ld_le64(p + 24);
	r->regs.sel[X86_SS] = ld_le16(p + 32);
	r->cr2 = r->vector == X86_EXC_PF ? c->cr2 : 0;
	r->end = DIFF_FAULT;
	if (r->vector == X86_EXC_GP && (r->regs.rip & 0xffffffff) == DIFF_LOW + DIFF_STUB) {
		r->end = DIFF_EXIT;
		r->vector = r->error = 0;
	}
}

/* Whether a page that the case may not write was written after all, and puts it
 * right. Returns where, 0 if nowhere. */
static uint32_t find_stray(struct engine *e, uint32_t page, const uint8_t *want, uint32_t len)
{
	uint8_t *have = e->ram + G_REGION + page * 4096;
	uint32_t k = 0;

	if (!memcmp(have, want, len))
		return 0;
	while (have[k] == want[k])
		k++;
	memcpy(have, want, len);
	return page * 4096 + k;
}

void engine_run(struct engine *e, const struct diff_case *d, struct diff_result *r)
{
	struct vcpu *v = &e->cpus->vcpu[0];
	struct x86_cpu *c = v->x86;

	memset(r, 0, offsetof(struct diff_result, mem));
	for (unsigned k = 0; k < DIFF_NRW; k++)
		memcpy(e->ram + G_REGION + diff_rw_pages[k] * 4096, d->mem + k * 4096, 4096);
	if (mem_write(e->mem, G_REGION + DIFF_PG_CODE * 4096, d->code, DIFF_CODE_LEN))
		r->end = DIFF_BROKEN;
	memset(e->ram + G_STACK_TOP - 64, 0, 64);
	load_state(e, c, &d->init);
	e->ticks = 0;
	e->running = true;
	e->cpus->engine->run(v);
	e->running = false;
	memcpy(r->regs.gpr, c->gpr, sizeof(c->gpr));
	for (unsigned s = 0; s < X86_NSEGS; s++)
		r->regs.sel[s] = c->seg[s].sel;
	r->regs.fs_base = c->seg[X86_FS].base;
	r->regs.gs_base = c->seg[X86_GS].base;
	store_fpu(c, &r->regs.fpu);
	if (c->halted) {
		store_state(e, c, r);
	} else if (e->ticks >= 3) {
		r->end = DIFF_TIMEOUT;
	} else {
		r->end = DIFF_BROKEN;
		snprintf(r->text, sizeof(r->text), "stopped without halting at %#lx%s",
			 (long)c->rip, c->wait_sipi ? " (triple fault)" : "");
	}
	r->stray = find_stray(e, DIFF_PG_RO, e->ro, 4096);
	if (!r->stray)
		r->stray = find_stray(e, DIFF_PG_CODE, d->code, DIFF_CODE_LEN);
	for (unsigned k = 0; k < DIFF_NRW; k++)
		memcpy(r->mem + k * 4096, e->ram + G_REGION + diff_rw_pages[k] * 4096, 4096);
}

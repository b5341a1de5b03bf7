/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Corners of modes and vendors: SYSCALL and SYSENTER as Intel and AMD have them,
 * virtual-8086 mode extensions, control register consistency, PDPTEs, ports.
 */
#include "src/bus/bus.h"
#include "tests/unit/sys_rig.h"

static void prepare_syscall(struct rig *r)
{
	rig_long(r);
	r->c->star = (uint64_t)(UCS32 & ~3) << 48 | (uint64_t)CS64 << 32;
	/* STAR + 8 and + 16 need not exist as descriptors. */
	r->c->lstar = HANDLERS + 0x40;
	r->c->cstar = HANDLERS + 0x41;
	r->c->fmask = X86_FL_IF | X86_FL_DF;
	r->c->sysenter_cs = CS32;
	r->c->sysenter_esp = STACK0;
	r->c->sysenter_eip = HANDLERS + 0x42;
}

static void syscall64(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	prepare_syscall(r);
	rig_user(r, true);
	c->rflags |= X86_FL_IF | X86_FL_DF | X86_FL_CF;
	RIG_CODE(r, USER_CODE, 0x0f, 0x05);
	assert_int_equal(rig_run(r), 0x40);
	assert_int_equal(c->gpr[X86_RCX], USER_CODE + 2);
	assert_int_equal(c->gpr[X86_R11], X86_FL_FIXED | X86_FL_IF | X86_FL_DF | X86_FL_CF);
	assert_int_equal(c->rflags, X86_FL_FIXED | X86_FL_CF);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->seg[X86_CS].sel, CS64);
	assert_int_equal(c->seg[X86_SS].sel, CS64 + 8);
	assert_int_equal(c->gpr[X86_RSP], STACK3); /* not switched */
	c->efer &= ~X86_EFER_SCE;
	rig_user(r, true);
	assert_int_equal(rig_run(r), X86_EXC_UD);
}

/* Compatibility mode: AMD goes to CSTAR, Intel has SYSENTER instead. */
static void syscall_compat(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;
	bool amd = c->amd;

	for (unsigned vendor = 0; vendor < 2; vendor++) {
		prepare_syscall(r);
		c->amd = vendor;
		rig_user(r, false);
		RIG_CODE(r, USER_CODE, 0x0f, 0x05);
		assert_int_equal(rig_run(r), vendor ? 0x41 : X86_EXC_UD);
		prepare_syscall(r);
		rig_user(r, false);
		RIG_CODE(r, USER_CODE, 0x0f, 0x34);
		assert_int_equal(rig_run(r), vendor ? X86_EXC_UD : 0x42);
		if (!vendor) {
			assert_int_equal(c->mode, X86_MODE_64);
			assert_int_equal(c->gpr[X86_RSP], STACK0);
			assert_int_equal(c->seg[X86_CS].sel, CS32);
		}
	}
	c->amd = amd;
}

/* A bad RIP: Intel faults in the kernel, AMD in the user. */
static void sysret_noncanonical(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;
	bool amd = c->amd;

	for (unsigned vendor = 0; vendor < 2; vendor++) {
		prepare_syscall(r);
		c->amd = vendor;
		c->star = (uint64_t)(UCS32 & ~3) << 48;
		c->gpr[X86_RCX] = 0x800000000000ull;
		c->gpr[X86_R11] = X86_FL_FIXED;
		RIG_CODE(r, CODE, 0x48, 0x0f, 0x07);
		assert_int_equal(rig_run(r), X86_EXC_GP);
		assert_int_equal(rig_frame(r, 2) & 3, vendor ? 3 : 0);
		assert_int_equal(rig_frame(r, 1), vendor ? 0x800000000000ull : CODE);
	}
	c->amd = amd;
}

static void sysret(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	prepare_syscall(r);
	c->gpr[X86_RCX] = USER_CODE;
	c->gpr[X86_R11] = X86_FL_IF | X86_FL_RF | X86_FL_VM | X86_FL_AC | X86_FL_IOPL;
	RIG_CODE(r, CODE, 0x48, 0x0f, 0x07);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rip, USER_CODE);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->mode, X86_MODE_64);
	assert_int_equal(c->seg[X86_CS].sel, UCS64);
	assert_int_equal(c->seg[X86_SS].sel, UDS);
	assert_int_equal(c->rflags, X86_FL_FIXED | X86_FL_IF | X86_FL_AC | X86_FL_IOPL);
	/* Without REX.W: 32-bit code. */
	prepare_syscall(r);
	c->gpr[X86_RCX] = 0xffffffff00000000ull | USER_CODE;
	c->gpr[X86_R11] = 0;
	RIG_CODE(r, CODE, 0x0f, 0x07);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rip, USER_CODE);
	assert_int_equal(c->mode, X86_MODE_32);
	assert_int_equal(c->seg[X86_CS].sel, UCS32);
	/* Not from user mode. */
	rig_user(r, true);
	c->gpr[X86_RCX] = USER_CODE;
	RIG_CODE(r, USER_CODE, 0x0f, 0x07);
	assert_int_equal(rig_run(r), X86_EXC_GP);
}

/*
 * Virtual-8086 mode with VME.
 */
static void prepare_v86(struct rig *r, unsigned iopl, uint64_t cr4)
{
	struct x86_cpu *c = r->c;

	rig_protected(r);
	c->cr4 = cr4;
	/* TSS with a redirection bitmap (32 bytes) and an I/O map. */
	rig_put(r, TSS + 0x66, 0x88, 2);
	memset(rig_at(r, TSS + 0x68), 0, 0x60);
	rig_put(r, TSS + 0x88 + 32, 0xff, 1);
	c->tr.limit = 0xc8;
	for (unsigned n = 0; n < X86_NSEGS; n++)
		c->seg[n] = (struct x86_seg){ .sel = 0x800, .attr = 0xf3, .limit = 0xffff,
					      .base = 0x8000 };
	c->rflags = X86_FL_FIXED | X86_FL_VM | iopl << 12 | X86_FL_IF;
	c->cpl = 3;
	c->gpr[X86_RSP] = 0x7f00;
	c->rip = 0x1000; /* 0x9000 */
	rig_put(r, 0x21 * 4, 0x08002000, 4); /* vector 21h: 0800:2000 */
	x86_update_mode(c);
}

static void vme_redirect(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	/* Bit clear: the task's own vector table, with VIF as IF. */
	prepare_v86(r, 0, X86_CR4_VME);
	c->rflags |= X86_FL_VIF;
	RIG_CODE(r, 0x9000, 0xcd, 0x21);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rip, 0x2000);
	assert_int_equal(c->seg[X86_CS].sel, 0x800);
	assert_true(x86_v86(c));
	assert_int_equal(c->gpr[X86_RSP], 0x7efa);
	assert_int_equal(rig_get(r, 0x8000 + 0x7efa, 2), 0x1002);
	assert_int_equal(rig_get(r, 0x8000 + 0x7efe, 2) & (X86_FL_IF | X86_FL_IOPL),
			 X86_FL_IF | X86_FL_IOPL);
	assert_int_equal(c->rflags & (X86_FL_IF | X86_FL_VIF), X86_FL_IF);
	/* IRET brings VIF back. */
	RIG_CODE(r, 0xa000, 0xcf);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rip, 0x1002);
	assert_int_equal(c->rflags & (X86_FL_IF | X86_FL_VIF), X86_FL_IF | X86_FL_VIF);
	assert_int_equal(x86_iopl(c), 0);
	/* Bit set: through the IDT, which IOPL guards. */
	prepare_v86(r, 0, X86_CR4_VME);
	rig_put(r, TSS + 0x68 + 0x21 / 8, 1 << (0x21 & 7), 1);
	RIG_CODE(r, 0x9000, 0xcd, 0x21);
	assert_int_equal(rig_run(r), X86_EXC_GP);
	assert_int_equal(rig_frame(r, 0), 0);
	prepare_v86(r, 3, X86_CR4_VME);
	rig_put(r, TSS + 0x68 + 0x21 / 8, 1 << (0x21 & 7), 1);
	rig_gate(r, 0x21, CS32, HANDLERS + 0x21, 0xe, 3, 0);
	RIG_CODE(r, 0x9000, 0xcd, 0x21);
	assert_int_equal(rig_run(r), 0x21);
	assert_int_equal(rig_frame(r, 4), 0x800); /* SS, then ES */
	assert_int_equal(rig_frame(r, 5), 0x800);
	assert_int_equal(c->seg[X86_DS].sel, 0);
	/* Without VME and IOPL 3 nothing gets through. */
	prepare_v86(r, 0, 0);
	RIG_CODE(r, 0x9000, 0xcd, 0x21);
	assert_int_equal(rig_run(r), X86_EXC_GP);
}

static void vme_flags(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	prepare_v86(r, 0, X86_CR4_VME);
	RIG_CODE(r, 0x9000, 0xfb, 0x9c, 0xfa, 0x9d); /* sti pushf cli popf */
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rflags & X86_FL_VIF, X86_FL_VIF);
	assert_int_equal(c->int_shadow, 0);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(rig_get(r, 0x8000 + 0x7efe, 2) & 0x3200, 0x3200);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rflags & (X86_FL_VIF | X86_FL_IF), X86_FL_IF);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rflags & X86_FL_VIF, X86_FL_VIF);
	/* With VIP pending, setting VIF faults. */
	prepare_v86(r, 0, X86_CR4_VME);
	c->rflags |= X86_FL_VIP;
	RIG_CODE(r, 0x9000, 0xfb);
	assert_int_equal(rig_run(r), X86_EXC_GP);
	/* 32-bit forms fault. */
	prepare_v86(r, 0, X86_CR4_VME);
	RIG_CODE(r, 0x9000, 0x66, 0x9c);
	assert_int_equal(rig_run(r), X86_EXC_GP);
	/* Protected mode at CPL 3 has the same with PVI. */
	rig_protected(r);
	rig_user(r, false);
	c->cr4 = X86_CR4_PVI;
	RIG_CODE(r, USER_CODE, 0xfb, 0xfa);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rflags & (X86_FL_VIF | X86_FL_IF), X86_FL_VIF);
	assert_int_equal(interp_step(c), 0);
	assert_int_equal(c->rflags & X86_FL_VIF, 0);
	c->cr4 = 0;
	c->rip = USER_CODE;
	assert_int_equal(rig_run(r), X86_EXC_GP);
}

/*
 * Control registers.
 */
/* MOV CRn, RAX with @v; true if it was taken, else #GP(0) and no change. */
static bool takes(struct rig *r, unsigned cr, uint64_t v)
{
	struct x86_cpu *c = r->c;
	uint64_t cr0 = c->cr0, cr3 = c->cr3, cr4 = c->cr4, rip = c->rip;

	RIG_CODE(r, CODE, 0x0f, 0x22, 0xc0 | cr << 3);
	c->rip = CODE;
	c->gpr[X86_RAX] = v;
	if (interp_step(c) == 0) {
		c->rip = rip;
		return true;
	}
	assert_int_equal(c->exc_vector, X86_EXC_GP);
	assert_int_equal(c->exc_error, 0);
	assert_int_equal(c->cr0, cr0);
	assert_int_equal(c->cr3, cr3);
	assert_int_equal(c->cr4, cr4);
	return false;
}

static void control_registers(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	rig_long(r);
	assert_false(takes(r, 0, c->cr0 & ~X86_CR0_PE));
	assert_false(takes(r, 0, c->cr0 & ~X86_CR0_PG)); /* out of 64-bit code */
	assert_false(takes(r, 0, c->cr0 | 1ull << 32));
	assert_false(takes(r, 0, c->cr0 | X86_CR0_NW));
	assert_true(takes(r, 0, c->cr0 | X86_CR0_NW | X86_CR0_CD));
	assert_true(takes(r, 0, (c->cr0 & ~(X86_CR0_NW | X86_CR0_CD | X86_CR0_ET)) | 1u << 28));
	assert_int_equal(c->cr0 & (1u << 28 | X86_CR0_ET), X86_CR0_ET);
	assert_false(takes(r, 4, c->cr4 & ~X86_CR4_PAE));
	assert_false(takes(r, 4, c->cr4 | 1u << 13)); /* VMXE */
	assert_false(takes(r, 4, c->cr4 | 1ull << 40));
	assert_false(takes(r, 3, c->cr3 | 1ull << 52));
	assert_false(takes(r, 3, c->cr3 | 1ull << 63));
	if (x86_has(c, X86_F_PCID)) {
		c->cr3 |= 8; /* PCID bits must be zero when PCIDE is set */
		assert_false(takes(r, 4, c->cr4 | X86_CR4_PCIDE));
		c->cr3 &= ~8ull;
		assert_true(takes(r, 4, c->cr4 | X86_CR4_PCIDE));
		assert_true(takes(r, 3, c->cr3 | 5 | 1ull << 63));
		assert_int_equal(c->cr3, PML4 | 5);
		assert_true(takes(r, 4, c->cr4 & ~X86_CR4_PCIDE));
	}
	rig_protected(r);
	assert_false(takes(r, 0, X86_CR0_PG));
	assert_false(takes(r, 4, X86_CR4_PAE | X86_CR4_PCIDE));
	c->efer = X86_EFER_LME;
	assert_false(takes(r, 0, c->cr0 | X86_CR0_PG)); /* long mode wants PAE */
}

/* Long mode on and off again by CR0.PG, with LMA following. */
static void long_mode_switch(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	rig_long(r); /* for the tables */
	c->seg[X86_CS] = (struct x86_seg){ .sel = CS32, .attr = 0xc9b, .limit = ~0u };
	c->cr0 &= ~X86_CR0_PG;
	c->efer = X86_EFER_LME;
	x86_update_mode(c);
	assert_true(takes(r, 0, c->cr0 | X86_CR0_PG));
	assert_true(x86_long(c));
	assert_int_equal(c->mode, X86_MODE_32); /* compatibility */
	assert_true(takes(r, 0, c->cr0 & ~X86_CR0_PG));
	assert_false(x86_long(c));
}

static void pdptes(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	rig_protected(r);
	c->cr4 = X86_CR4_PAE;
	for (unsigned n = 0; n < 4; n++)
		rig_put(r, PDPT + 8 * n, PD | 1, 8);
	rig_put(r, PD, 0x83, 8); /* 2 MiB to itself */
	c->cr3 = PDPT;
	assert_true(takes(r, 0, c->cr0 | X86_CR0_PG));
	assert_int_equal(c->pdpte[3], PD | 1);
	rig_put(r, PDPT + 24, PD | 3, 8); /* R/W is reserved here */
	assert_false(takes(r, 3, PDPT));
	assert_int_equal(c->pdpte[3], PD | 1);
	rig_put(r, PDPT + 24, PD | 2, 8); /* not present: no matter */
	assert_true(takes(r, 3, PDPT));
	assert_int_equal(c->pdpte[3], PD | 2);
}

/*
 * Ports.
 */
struct device {
	unsigned reads, writes;
	uint64_t last;
};

static uint64_t device_read(void *dev, uint64_t off, unsigned size)
{
	((struct device *)dev)->reads++;
	return 0x11223344 + off;
}

static void device_write(void *dev, uint64_t off, uint64_t v, unsigned size)
{
	((struct device *)dev)->writes++;
	((struct device *)dev)->last = v;
}

static const struct bus_ops device_ops = { device_read, device_write, 1, 4, false };

static void ports(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;
	struct err err = { 0 };
	struct device d = { 0 };
	struct bus_range range = { .start = 0x300, .len = 8, .ops = &device_ops, .dev = &d };

	c->bus = bus_new(NULL, &err);
	assert_non_null(c->bus);
	assert_int_equal(bus_add_pio(c->bus, &range), 0);
	/* The map allows ports up to 0x303. */
	rig_long(r);
	c->tr.limit = 0x68 + 0x80;
	memset(rig_at(r, TSS + 0x68), 0xff, 0x81);
	rig_put(r, TSS + 0x68 + 0x300 / 8, 0xf0, 1);
	rig_user(r, true);
	c->gpr[X86_RDX] = 0x300;
	RIG_CODE(r, USER_CODE, 0xed, 0xcc); /* in eax, dx */
	rig_gate(r, 3, CS64, HANDLERS + 3, 0xe, 3, 0);
	assert_int_equal(rig_run(r), X86_EXC_BP);
	assert_int_equal(c->gpr[X86_RAX], 0x11223344);
	assert_int_equal(d.reads, 1);
	rig_user(r, true);
	c->gpr[X86_RDX] = 0x301; /* the last byte is 0x304 */
	assert_int_equal(rig_run(r), X86_EXC_GP);
	assert_int_equal(d.reads, 1);
	/* REP INSB onto a page that is missing: what was read is stored, no more. */
	rig_long(r);
	c->gpr[X86_RDX] = 0x300;
	c->gpr[X86_RCX] = 4;
	c->gpr[X86_RDI] = FAR_STACK - 2;
	d.reads = 0;
	rig_present(r, FAR_STACK, false);
	RIG_CODE(r, CODE, 0xf3, 0x6c, 0xf4);
	assert_int_equal(rig_run(r), X86_EXC_PF);
	assert_int_equal(d.reads, 2);
	assert_int_equal(c->gpr[X86_RCX], 2);
	assert_int_equal(c->gpr[X86_RDI], FAR_STACK);
	assert_int_equal(rig_frame(r, 1), CODE);
	assert_int_equal(rig_get(r, FAR_STACK - 2, 2), 0x4444);
	/* An I/O breakpoint traps after the access. */
	rig_long(r);
	c->cr4 |= X86_CR4_DE;
	x86_write_dr(c, 0, 0x302);
	x86_write_dr(c, 7, 1 | 2 << 16);
	c->gpr[X86_RDX] = 0x302;
	RIG_CODE(r, CODE, 0xee, 0xf4);
	assert_int_equal(rig_run(r), X86_EXC_DB);
	assert_int_equal(rig_frame(r, 0), CODE + 1);
	assert_int_equal(c->dr[6] & 0xf, 1);
	assert_int_equal(d.writes, 1);
	bus_del_pio(c->bus, &range);
	bus_free(c->bus);
	c->bus = NULL;
}

/* A stepped REP string instruction traps after each iteration, and a breakpoint on
 * it fires once. */
static void stepped_string(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	rig_long(r);
	RIG_CODE(r, CODE, 0xf3, 0xaa, 0xf4); /* rep stosb */
	c->gpr[X86_RCX] = 3;
	c->gpr[X86_RDI] = FAR_STACK;
	c->rflags |= X86_FL_TF;
	assert_int_equal(rig_run(r), X86_EXC_DB);
	assert_int_equal(rig_frame(r, 0), CODE);
	assert_int_equal(c->gpr[X86_RCX], 2);
	assert_int_equal(c->dr[6] & X86_DR6_BS, X86_DR6_BS);
	rig_long(r);
	RIG_CODE(r, CODE, 0xf3, 0xaa, 0xf4);
	c->gpr[X86_RCX] = 3;
	c->gpr[X86_RDI] = FAR_STACK;
	x86_write_dr(c, 0, CODE);
	x86_write_dr(c, 7, 1);
	assert_int_equal(rig_run(r), X86_EXC_DB);
	assert_int_equal(rig_frame(r, 0), CODE);
	assert_int_equal(c->gpr[X86_RCX], 3);
	c->rflags |= X86_FL_RF;
	c->rip = CODE;
	assert_int_equal(rig_run(r), -1);
	assert_int_equal(c->gpr[X86_RCX], 0);
}

/* A data breakpoint that MOV SS hits is told after the next instruction. */
static void movss_data_breakpoint(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;

	rig_long(r);
	rig_put(r, FAR_STACK, DS0, 2);
	c->gpr[X86_RBX] = FAR_STACK;
	x86_write_dr(c, 0, FAR_STACK);
	x86_write_dr(c, 7, 1 | 7 << 16); /* read or write, two bytes */
	RIG_CODE(r, CODE, 0x8e, 0x13, 0x90, 0xf4); /* mov ss, [rbx]; nop; hlt */
	assert_int_equal(rig_run(r), X86_EXC_DB);
	assert_int_equal(rig_frame(r, 0), CODE + 3);
	assert_int_equal(c->dr[6] & 0xf, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(syscall64), cmocka_unit_test(syscall_compat),
		cmocka_unit_test(sysret_noncanonical), cmocka_unit_test(sysret),
		cmocka_unit_test(vme_redirect), cmocka_unit_test(vme_flags),
		cmocka_unit_test(control_registers), cmocka_unit_test(long_mode_switch),
		cmocka_unit_test(pdptes), cmocka_unit_test(ports), cmocka_unit_test(stepped_string),
		cmocka_unit_test(movss_data_breakpoint),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}

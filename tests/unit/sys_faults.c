/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Delivery that itself faults: nothing visible may have changed, double and triple
 * faults, the EXT bit, NMI blocking.
 */
#include "tests/unit/sys_rig.h"

/* The registers that a restart would see. */
struct regs {
	uint64_t gpr[16], rflags, cr0, cr3, cr4, efer;
	struct x86_seg seg[X86_NSEGS], ldtr, tr;
	uint8_t cpl;
};

static struct regs regs_of(const struct x86_cpu *c)
{
	struct regs s;

	memset(&s, 0, sizeof(s));
	memcpy(s.gpr, c->gpr, sizeof(s.gpr));
	memcpy(s.seg, c->seg, sizeof(s.seg));
	s.rflags = c->rflags;
	s.cr0 = c->cr0;
	s.cr3 = c->cr3;
	s.cr4 = c->cr4;
	s.efer = c->efer;
	s.ldtr = c->ldtr;
	s.tr = c->tr;
	s.cpl = c->cpl;
	return s;
}

static void assert_regs(const struct regs *a, const struct regs *b)
{
	for (unsigned n = 0; n < 16; n++)
		assert_int_equal(a->gpr[n], b->gpr[n]);
	for (unsigned n = 0; n < X86_NSEGS; n++) {
		assert_int_equal(a->seg[n].sel, b->seg[n].sel);
		assert_int_equal(a->seg[n].base, b->seg[n].base);
		assert_int_equal(a->seg[n].attr, b->seg[n].attr);
	}
	assert_int_equal(a->rflags, b->rflags);
	assert_int_equal(a->cr0, b->cr0);
	assert_int_equal(a->cr3, b->cr3);
	assert_int_equal(a->tr.sel, b->tr.sel);
	assert_int_equal(a->ldtr.sel, b->ldtr.sel);
	assert_int_equal(a->cpl, b->cpl);
}

/* Runs one instruction that raises @vector with @error and checks that nothing
 * else changed, then repairs page @lin and runs on to a HLT at @rip. */
static void faults_and_restarts(struct rig *r, uint64_t lin, uint64_t halt_at)
{
	struct regs before = regs_of(r->c), after;
	uint64_t rip = r->c->rip;

	rig_present(r, lin, false);
	assert_int_equal(interp_step(r->c), 1);
	assert_int_equal(r->c->exc_vector, X86_EXC_PF);
	assert_int_equal(r->c->start_rip, rip);
	assert_int_equal(r->c->cr2 & ~0xfffull, lin);
	r->c->rip = rip;
	after = regs_of(r->c);
	assert_regs(&before, &after);
	rig_present(r, lin, true);
	rig_run(r);
	assert_int_equal(r->c->rip, halt_at + 1);
}

/* lcall/lret/iret frames on a page that is not there. */
static void far_call_restarts(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_paging32(r);
	r->c->gpr[X86_RSP] = FAR_STACK + 4; /* the frame crosses into the page below */
	RIG_CODE(r, CODE, 0x9a, 0x00, 0x90, 0, 0, CS32, 0); /* lcall CS32:9000 */
	RIG_CODE(r, 0x9000, 0xf4);
	faults_and_restarts(r, FAR_STACK - 0x1000, 0x9000);
	assert_int_equal(r->c->gpr[X86_RSP], FAR_STACK - 4);
}

static void iret_restarts(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_paging32(r);
	/* EIP on one page, CS and EFLAGS on the next. */
	r->c->gpr[X86_RSP] = FAR_STACK - 4;
	rig_put(r, FAR_STACK - 4, 0x9000, 4);
	rig_put(r, FAR_STACK, CS32, 4);
	rig_put(r, FAR_STACK + 4, 0x202, 4);
	RIG_CODE(r, CODE, 0xcf);
	RIG_CODE(r, 0x9000, 0xf4);
	faults_and_restarts(r, FAR_STACK, 0x9000);
	assert_int_equal(r->c->rflags & X86_FL_IF, X86_FL_IF);
}

/* A call gate inwards whose new stack is not there: CPL, SS and ESP stay. */
static void call_gate_restarts(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_paging32(r);
	rig_user(r, false);
	rig_put(r, TSS + 4, FAR_STACK + 8, 4);
	/* 32-bit gate, DPL 3, two parameters. */
	rig_desc(r, SPARE, 0x9000ull | CS32 << 16 | 0x0000ec0200000000ull);
	rig_put(r, STACK3, 0x11111111, 4);
	rig_put(r, STACK3 + 4, 0x22222222, 4);
	RIG_CODE(r, USER_CODE - 0x100, 0x9a, 0, 0, 0, 0, SPARE | 3, 0);
	r->c->rip = USER_CODE - 0x100;
	RIG_CODE(r, 0x9000, 0xf4);
	faults_and_restarts(r, FAR_STACK - 0x1000, 0x9000);
	assert_int_equal(r->c->cpl, 0);
	assert_int_equal(r->c->gpr[X86_RSP], FAR_STACK + 8 - 24);
	assert_int_equal(rig_frame(r, 0), USER_CODE - 0x100 + 7);
	assert_int_equal(rig_frame(r, 1), UCS32);
	assert_int_equal(rig_frame(r, 2), 0x11111111);
	assert_int_equal(rig_frame(r, 3), 0x22222222);
	assert_int_equal(rig_frame(r, 4), STACK3);
	assert_int_equal(rig_frame(r, 5), UDS);
}

/* A task switch whose new TSS is not there, then is. */
static void task_switch_restarts(void **state)
{
	struct rig *r = *state;
	uint64_t tss2 = FAR_STACK - 0x20; /* the static part crosses a page */

	rig_protected(r);
	rig_paging32(r);
	rig_desc(r, SPARE, 0x0000890000000067ull | tss2 << 16);
	rig_put(r, tss2 + 0x1c, PD32, 4);
	rig_put(r, tss2 + 0x20, 0x9000, 4);
	rig_put(r, tss2 + 0x24, 2, 4);
	rig_put(r, tss2 + 0x38, STACK3, 4);
	rig_put(r, tss2 + 0x48, DS0, 4);
	rig_put(r, tss2 + 0x4c, CS32, 4);
	rig_put(r, tss2 + 0x50, DS0, 4);
	rig_put(r, tss2 + 0x54, DS0, 4);
	RIG_CODE(r, CODE, 0x9a, 0, 0, 0, 0, SPARE, 0);
	RIG_CODE(r, 0x9000, 0xf4);
	faults_and_restarts(r, FAR_STACK, 0x9000);
	assert_int_equal(r->c->tr.sel, SPARE);
	assert_int_equal(rig_get(r, tss2, 2), TSS_SEL); /* the link back */
	assert_int_equal(r->c->rflags & X86_FL_NT, X86_FL_NT);
	assert_int_equal(rig_get(r, GDT + SPARE + 5, 1), 0x8b);
	assert_int_equal(rig_get(r, GDT + TSS_SEL + 5, 1), 0x8b);
	assert_int_equal(rig_get(r, TSS + 0x20, 4), CODE + 7);
	assert_int_equal(r->c->cr0 & X86_CR0_TS, X86_CR0_TS);
}

/* INT n whose frame faults: #PF is delivered with the INT as return address. */
static void int_with_bad_stack(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_gate(r, 0x80, CS64, HANDLERS + 0x80, 0xe, 3, 1); /* on IST1 */
	rig_put(r, TSS + 0x24, FAR_STACK, 8);
	rig_user(r, true);
	RIG_CODE(r, USER_CODE, 0xcd, 0x80);
	rig_present(r, FAR_STACK - 0x1000, false);
	assert_int_equal(rig_run(r), X86_EXC_PF);
	assert_int_equal(rig_frame(r, 0), X86_PF_W);
	assert_int_equal(rig_frame(r, 1), USER_CODE);
	assert_int_equal(rig_frame(r, 2), UCS64);
	assert_int_equal(rig_frame(r, 3) & X86_FL_RF, X86_FL_RF);
	assert_int_equal(rig_frame(r, 4), STACK3);
	assert_int_equal(r->c->cr2, FAR_STACK - 8); /* the first push */
}

/* #GP whose handler's gate is not present: contributory, a double fault. */
static void double_fault(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_gate(r, X86_EXC_GP, CS64, 0, 0, 0, 0);
	rig_put(r, IDT + X86_EXC_GP * 16 + 4, 0x0e00, 2); /* P = 0 */
	rig_gate(r, X86_EXC_DF, CS64, HANDLERS + X86_EXC_DF, 0xe, 0, 1);
	RIG_CODE(r, CODE, 0xcd, 0x80);
	rig_put(r, IDT + 0x80 * 16, 0, 8); /* INT 80h: #GP */
	assert_int_equal(rig_run(r), X86_EXC_DF);
	assert_int_equal(rig_frame(r, 0), 0);
	assert_int_equal(rig_frame(r, 1), CODE);
	assert_int_equal(r->c->gpr[X86_RSP], IST1 - 48);
}

/* A page fault whose handler's stack faults, and no double-fault handler. */
static void triple_fault(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_put(r, IDT + X86_EXC_DF * 16, 0, 8);
	r->c->gpr[X86_RSP] = FAR_STACK;
	rig_present(r, FAR_STACK - 0x1000, false);
	RIG_CODE(r, CODE, 0x50); /* push rax */
	assert_int_equal(rig_run(r), -2);
	assert_int_equal(r->triple_faults, 1);
	/* Shutdown: nothing but INIT or a reset brings it back. */
	vcpu_request(&r->vcpu, X86_REQ_NMI);
	assert_false(x86_poll_events(r->c));
}

/* A benign first exception does not make a double fault. */
static void benign_then_fault(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_put(r, IDT + X86_EXC_UD * 16, 0, 8);
	RIG_CODE(r, CODE, 0x0f, 0x0b);
	assert_int_equal(rig_run(r), X86_EXC_GP);
	/* #UD is an event outside the program's INT n: EXT is set. */
	assert_int_equal(rig_frame(r, 0), X86_EXC_UD * 8 + 2 + 1);
	assert_int_equal(rig_frame(r, 1), CODE);
	rig_long(r);
	rig_put(r, IDT + 0x90 * 16, 0, 8);
	RIG_CODE(r, CODE, 0xcd, 0x90);
	assert_int_equal(rig_run(r), X86_EXC_GP);
	assert_int_equal(rig_frame(r, 0), 0x90 * 8 + 2); /* INT n: it is not */
}

static void nmi(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, CODE, 0x90, 0xf4);
	vcpu_request(&r->vcpu, X86_REQ_NMI);
	assert_int_equal(rig_run(r), X86_EXC_NMI);
	assert_int_equal(rig_frame(r, 0), CODE);
	assert_true(r->c->nmi_blocked);
	/* A second waits for IRET. */
	vcpu_request(&r->vcpu, X86_REQ_NMI);
	RIG_CODE(r, HANDLERS + X86_EXC_NMI, 0x48, 0xcf); /* iretq */
	r->c->rip = HANDLERS + X86_EXC_NMI;
	RIG_CODE(r, CODE, 0xf4);
	r->c->halted = false;
	assert_false(x86_poll_events(r->c));
	assert_true(r->c->nmi_pending);
	assert_int_equal(interp_step(r->c), 0);
	assert_false(r->c->nmi_blocked);
	assert_true(r->c->recheck);
	assert_int_equal(r->c->rip, CODE);
	assert_true(x86_poll_events(r->c));
	assert_int_equal(r->c->rip, HANDLERS + X86_EXC_NMI);
	/* And a gate that is not present: #NP with EXT. */
	rig_long(r);
	rig_put(r, IDT + X86_EXC_NMI * 16 + 4, 0x0e00, 2);
	vcpu_request(&r->vcpu, X86_REQ_NMI);
	assert_int_equal(rig_run(r), X86_EXC_NP);
	assert_int_equal(rig_frame(r, 0), X86_EXC_NMI * 8 + 2 + 1);
}

/* MOV SS holds an NMI off for one instruction, STI does not. */
static void nmi_shadow(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, CODE, 0x8e, 0xd0, 0x90, 0xf4); /* mov ss, ax; nop; hlt */
	r->c->gpr[X86_RAX] = DS0;
	assert_int_equal(interp_step(r->c), 0);
	vcpu_request(&r->vcpu, X86_REQ_NMI);
	assert_int_equal(rig_run(r), X86_EXC_NMI);
	assert_int_equal(rig_frame(r, 0), CODE + 3);
}

/* RF in the image: faults set it, traps and interrupts do not. */
static void resume_flag(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, CODE, 0x0f, 0x0b);
	assert_int_equal(rig_run(r), X86_EXC_UD);
	assert_int_equal(rig_frame(r, 2) & X86_FL_RF, X86_FL_RF);
	rig_long(r);
	RIG_CODE(r, CODE, 0xcc);
	rig_gate(r, 3, CS64, HANDLERS + 3, 0xe, 0, 0);
	assert_int_equal(rig_run(r), X86_EXC_BP);
	assert_int_equal(rig_frame(r, 2) & X86_FL_RF, 0);
	assert_int_equal(rig_frame(r, 0), CODE + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(far_call_restarts), cmocka_unit_test(iret_restarts),
		cmocka_unit_test(call_gate_restarts), cmocka_unit_test(task_switch_restarts),
		cmocka_unit_test(int_with_bad_stack), cmocka_unit_test(double_fault),
		cmocka_unit_test(triple_fault), cmocka_unit_test(benign_then_fault),
		cmocka_unit_test(nmi), cmocka_unit_test(nmi_shadow), cmocka_unit_test(resume_flag),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}

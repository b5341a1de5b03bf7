/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPU's state table: save, scramble, restore; and what it refuses. */
#include <errno.h>

#include "src/cpu/x86/cpu_state.h"
#include "tests/unit/sys_rig.h"

/* Values that a restore can be recognised by and that are valid. */
static void fill(struct x86_cpu *c)
{
	for (unsigned n = 0; n < 16; n++) {
		c->gpr[n] = 0x1111111111111111ull * n + 1;
		for (unsigned b = 0; b < 32; b++)
			c->ymm[n].b[b] = (uint8_t)(n * 32 + b);
	}
	for (unsigned n = 0; n < 8; n++)
		memset(c->fx.st[n], (int)n + 1, 10);
	c->fx.fcw = 0x37f;
	c->fx.fsw = 0x3800;
	c->fx.ftw = 0x81;
	c->fx.fop = 0x123;
	c->fx.fip = 0x1234;
	c->fx.fdp = 0x5678;
	c->fx.mxcsr = 0x1fa0;
	c->rflags = X86_FL_FIXED | X86_FL_IF | X86_FL_OF | X86_FL_AC;
	c->rip = 0x8123;
	c->cr2 = 0xdeadbeef000;
	c->dr[0] = 0x1000;
	c->dr[7] = X86_DR7_FIXED | 1;
	c->star = 0x23001000000000;
	c->lstar = 0xffffffff81000000ull;
	c->kernel_gs_base = 0xffff888000000000ull;
	c->tsc_offset = -5;
	c->tsc_adjust = 77;
	c->pat = 0x0007010600070106ull;
	c->mtrr_var[3] = 0x800;
	c->mtrr_fixed[10] = 0x0606060606060606ull;
	c->pv_system_time = 0x30001;
	c->tsc_aux = 9;
	c->int_shadow = X86_SHADOW_STI;
	c->nmi_blocked = true;
	c->halted = true;
	x86_update_mode(c);
}

static void save(struct rig *r, struct state_buf *b)
{
	*b = (struct state_buf){ 0 };
	assert_int_equal(state_save(b, &x86_cpu_state, r->c, 0), 0);
}

static int load(struct rig *r, struct state_buf *b)
{
	struct err err = { 0 };
	int n;

	b->pos = 0;
	n = state_load(b, &x86_cpu_state, r->c, 0, &err);
	assert_int_equal(n != 0, err_is_set(&err));
	return n;
}

static void round_trip(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c, *want = malloc(sizeof(*want));
	struct state_buf first, second;

	assert_non_null(want);
	rig_long(r);
	fill(c);
	memcpy(want, c, sizeof(*want));
	save(r, &first);
	/* Everything that is architecture, and what hangs from it. */
	rig_protected(r);
	for (unsigned n = 0; n < 16; n++)
		c->gpr[n] = ~c->gpr[n];
	memset(c->ymm, 0xee, sizeof(c->ymm));
	memset(&c->fx, 0xee, sizeof(c->fx));
	memset(c->mtrr_var, 0xee, sizeof(c->mtrr_var));
	c->lstar = c->star = c->tsc_adjust = c->pat = c->cr2 = 0x55;
	c->nmi_pending = true;
	atomic_store(&c->request, X86_REQ_EXIT | X86_REQ_FLUSH);
	assert_int_equal(load(r, &first), 0);
	save(r, &second);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);

	assert_memory_equal(c->gpr, want->gpr, sizeof(c->gpr));
	assert_memory_equal(c->ymm, want->ymm, sizeof(c->ymm));
	assert_memory_equal(c->seg, want->seg, sizeof(c->seg));
	assert_memory_equal(c->fx.st, want->fx.st, sizeof(c->fx.st));
	assert_int_equal(c->fx.mxcsr, want->fx.mxcsr);
	assert_int_equal(c->cr3, want->cr3);
	assert_int_equal(c->efer, want->efer);
	assert_int_equal(c->dr[7], want->dr[7]);
	assert_int_equal(c->halted, true);
	assert_false(c->nmi_pending);
	/* What is derived. */
	assert_int_equal(c->mode, X86_MODE_64);
	assert_true(c->code64);
	assert_int_equal(c->tlb_class, X86_TLB_KERNEL_AC);
	assert_ptr_equal(c->tlb, c->tlbs[X86_TLB_KERNEL_AC]);
	assert_true(c->recheck);
	state_buf_fini(&first);
	state_buf_fini(&second);
	free(want);
}

/* And it runs on: through a translation that was cached before under another CR3. */
static void runs_on(void **state)
{
	struct rig *r = *state;
	struct state_buf b;

	rig_long(r);
	RIG_CODE(r, CODE, 0xa1, 0x00, 0x00, 0x03, 0, 0, 0, 0, 0, 0xf4); /* mov eax, [0x30000]; hlt */
	rig_put(r, 0x30000, 0xcafe, 4);
	save(r, &b);
	rig_put(r, 0x31000, 0xbad, 4);
	rig_put(r, PT0 + 0x30 * 8, 0x31007, 8);
	x86_tlb_flush_all(r->c);
	rig_run(r);
	assert_int_equal(r->c->gpr[X86_RAX], 0xbad);
	rig_put(r, PT0 + 0x30 * 8, 0x30007, 8);
	assert_int_equal(load(r, &b), 0);
	rig_run(r);
	assert_int_equal(r->c->gpr[X86_RAX], 0xcafe);
	state_buf_fini(&b);
}

/* A state that no CPU of this model can be in. */
static void refuses(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *c = r->c;
	struct state_buf b;

#define REFUSED(change)                                                                           \
	do {                                                                                      \
		rig_long(r);                                                                      \
		change;                                                                           \
		save(r, &b);                                                                      \
		rig_long(r);                                                                      \
		assert_int_equal(load(r, &b), -EINVAL);                                           \
		state_buf_fini(&b);                                                               \
	} while (0)
	REFUSED(c->cr0 &= ~X86_CR0_PE);
	REFUSED(c->cr0 |= 1ull << 40);
	REFUSED(c->cr4 &= ~X86_CR4_PAE);
	REFUSED(c->cr4 |= 1ull << 12);
	REFUSED(c->efer &= ~X86_EFER_LME);
	REFUSED(c->efer |= 1ull << 20);
	REFUSED(c->cpl = 4);
	REFUSED(c->rflags |= X86_FL_VM);
	REFUSED(c->rflags |= 1ull << 63);
	REFUSED(c->xcr0 = 0);
	REFUSED(c->xcr0 = 5);
	REFUSED(c->xcr0 = 0x207);
	REFUSED(c->fx.mxcsr = 0x10000);
	REFUSED(c->lstar = 0x800000000000ull);
	REFUSED(c->seg[X86_GS].base = 0x800000000000ull);
	REFUSED(c->seg[X86_DS].attr = 0x1000);
	REFUSED(c->cr3 = 1ull << 60);
	REFUSED(c->int_shadow = 0x10);
#undef REFUSED
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip), cmocka_unit_test(runs_on), cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/cpu-diff/selftest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what)
{
	printf("self-test: %s\n", what);
	return 1;
}

/* A result spoiled in one place; -1 when there are no more places. */
static int spoil(struct diff_result *r, unsigned place)
{
	struct diff_regs *g = &r->regs;

	if (place < 16)
		g->gpr[place] ^= 1ull << (2 * place);
	else if (place < 32)
		g->fpu.ymm[place - 16][2 * place - 32] ^= 0x10;
	else if (place < 40)
		g->fpu.st[place - 32][place - 31] ^= 1;
	else if (place < 45)
		r->mem[(place - 40) * 4096 + 4095] ^= 0x80;
	else
		switch (place) {
		case 45: g->rflags ^= X86_FL_CF; break;
		case 46: g->rflags ^= X86_FL_AF; break;
		case 47: g->rflags ^= X86_FL_DF; break;
		case 48: g->rip++; break;
		case 49: g->sel[X86_DS] ^= 0x28; break;
		case 50: g->fs_base ^= 4096; break;
		case 51: g->gs_base ^= 1; break;
		case 52: g->fpu.fcw ^= 0x400; break;
		case 53: g->fpu.fsw ^= 0x100; break;
		case 54: g->fpu.ftw ^= 1; break;
		case 55: g->fpu.mxcsr ^= 0x20; break;
		case 56: r->end = r->end == DIFF_EXIT ? DIFF_FAULT : DIFF_EXIT; break;
		case 57: r->vector ^= 1; break;
		case 58: r->error ^= 2; break;
		case 59: r->cr2 ^= 8; break;
		default: return -1;
		}
	return 0;
}

static int test_compare(struct diff_pair *p, struct diff_gen *g, struct diff_case *d)
{
	diff_generate(g, 4242, X86_OP_ADD_EvGv, d);
	for (unsigned place = 0;; place++) {
		d->mode = X86_MODE_64;
		native_run(p->native, d, &p->want);
		p->got = p->want;
		if (diff_compare(d, &p->want, &p->got, NULL))
			return fail("a result differs from itself");
		if (spoil(&p->got, place))
			return 0;
		if (!diff_compare(d, &p->want, &p->got, NULL)) {
			printf("place %u: ", place);
			return fail("a spoiled result passed");
		}
	}
}

static int test_native(struct diff_pair *p, struct diff_gen *g, struct diff_case *d)
{
	for (uint64_t n = 0; n < 2000; n++) {
		diff_generate(g, n, -1, d);
		if (diff_differs(p, d)) {
			diff_report(p, d, stdout);
			return fail("the host differs from itself");
		}
	}
	return 0;
}

static void plant(const struct diff_case *d, struct diff_result *got)
{
	bool there = false;

	for (unsigned k = 0; k < d->n; k++)
		there |= d->insn[k].len && d->insn[k].row == X86_OP_BSWAP;
	if (there)
		got->regs.gpr[X86_RAX] ^= 0x100;
}

static int test_shrink(struct diff_pair *p, struct diff_gen *g, struct diff_case *d)
{
	unsigned found = 0;

	p->sabotage = plant;
	for (uint64_t n = 0; n < 20 && found < 3; n++) {
		unsigned left = 0;

		diff_generate(g, n, X86_OP_BSWAP, d);
		if (!diff_differs(p, d))
			continue;
		found++;
		diff_shrink(p, d);
		for (unsigned k = 0; k < d->n; k++)
			left += d->insn[k].len != 0;
		if (left != 1)
			return fail("a planted fault was not shrunk to its instruction");
	}
	p->sabotage = NULL;
	return found == 3 ? 0 : fail("a planted fault was not found");
}

/* Written, read, written again: the same text and the same outcome. */
static int test_text(struct diff_pair *p, struct diff_gen *g, struct diff_case *d)
{
	char path[] = "/tmp/cpu-diff-XXXXXX";
	struct diff_case *again = &g->probe;
	struct err err = { "" };
	int fd = mkstemp(path), code = 0;
	FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (!out)
		return fail("no temporary file");
	diff_generate(g, 77, -1, d);
	native_run(p->native, d, &p->want);
	diff_case_write(d, out);
	fclose(out);
	if (diff_case_read(again, p->features, path, &err))
		code = fail(err.text);
	else if (memcmp(again->code, d->code, DIFF_CODE_LEN) ||
		 memcmp(again->mem, d->mem, DIFF_MEM_LEN) ||
		 memcmp(&again->init, &d->init, sizeof(d->init)))
		code = fail("a case read back is another one");
	unlink(path);
	return code;
}

int diff_selftest(struct diff_pair *p, struct diff_gen *g)
{
	struct engine *engine = p->engine;
	struct diff_case *d = malloc(sizeof(*d));
	int code;

	if (!d)
		return fail("not enough memory");

	p->engine = NULL; /* the host against itself */
	code = test_compare(p, g, d) || test_native(p, g, d) || test_shrink(p, g, d) ||
	       test_text(p, g, d);
	p->engine = engine;
	free(d);
	if (!code)
		printf("self-test: passed\n");
	return code;
}

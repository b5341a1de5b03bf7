/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two processors' states and memories side by side. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "src/cpu/check/check_priv.h"
#include "src/cpu/x86/access.h"

#define PTE_AD 0x60ull

/* Numbers of up to eight bytes each. */
struct part {
	const char *name;
	size_t at;
	uint8_t bytes, count;
	uint8_t stride; /* bytes from one to the next */
};

#define ONE(field) { #field, offsetof(struct x86_cpu, field),                                     \
		     sizeof(((struct x86_cpu *)0)->field), 1, 0 }
#define MANY(name, field, n, step) { name, offsetof(struct x86_cpu, field),                       \
				     sizeof(((struct x86_cpu *)0)->field), n, step }
#define SEG(name, field) ONE(field.sel), ONE(field.attr), ONE(field.limit), ONE(field.base)

static const struct part parts[] = {
	MANY("gpr", gpr[0], 16, 8), ONE(rip), ONE(rflags), ONE(cpl),
	SEG("es", seg[X86_ES]), SEG("cs", seg[X86_CS]), SEG("ss", seg[X86_SS]),
	SEG("ds", seg[X86_DS]), SEG("fs", seg[X86_FS]), SEG("gs", seg[X86_GS]),
	SEG("ldtr", ldtr), SEG("tr", tr),
	ONE(gdtr.base), ONE(gdtr.limit), ONE(idtr.base), ONE(idtr.limit),
	ONE(cr0), ONE(cr2), ONE(cr3), ONE(cr4), MANY("dr", dr[0], 8, 8), ONE(xcr0),
	MANY("pdpte", pdpte[0], 4, 8),
	ONE(efer), ONE(star), ONE(lstar), ONE(cstar), ONE(fmask), ONE(kernel_gs_base),
	ONE(sysenter_cs), ONE(sysenter_esp), ONE(sysenter_eip), ONE(tsc_aux), ONE(pat),
	ONE(misc_enable), ONE(spec_ctrl), ONE(mtrr_def), MANY("mtrr_fixed", mtrr_fixed[0], 11, 8),
	MANY("mtrr_var", mtrr_var[0], 16, 8), ONE(mcg_status), ONE(mcg_ctl), ONE(smbase), ONE(xss),
	ONE(tsc_offset), ONE(tsc_adjust), ONE(pv_system_time), ONE(pv_wall_clock),
	ONE(fx.fcw), ONE(fx.fsw), ONE(fx.ftw), ONE(fx.fop), ONE(fx.fip), ONE(fx.fdp), ONE(fx.mxcsr),
	{ "st.mantissa", offsetof(struct x86_cpu, fx.st), 8, 8, 16 },
	{ "st.exponent", offsetof(struct x86_cpu, fx.st) + 8, 2, 8, 16 },
	{ "ymm.0", offsetof(struct x86_cpu, ymm), 8, 16, 32 },
	{ "ymm.1", offsetof(struct x86_cpu, ymm) + 8, 8, 16, 32 },
	{ "ymm.2", offsetof(struct x86_cpu, ymm) + 16, 8, 16, 32 },
	{ "ymm.3", offsetof(struct x86_cpu, ymm) + 24, 8, 16, 32 },
	ONE(db_pending), ONE(int_shadow), ONE(halted), ONE(wait_sipi), ONE(nmi_blocked),
};

static uint64_t number(const struct x86_cpu *c, const struct part *p, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, (const uint8_t *)c + p->at + n * p->stride, p->bytes);
	return v;
}

static bool same_part(const struct x86_cpu *a, const struct x86_cpu *b, const struct part *p)
{
	for (unsigned n = 0; n < p->count; n++)
		if (number(a, p, n) != number(b, p, n))
			return false;
	return true;
}

#define SAME(first, past)                                                                         \
	(!memcmp(&a->first, &b->first, offsetof(struct x86_cpu, past) -                           \
					       offsetof(struct x86_cpu, first)))

bool check_same_state(const struct x86_cpu *a, const struct x86_cpu *b, unsigned flags)
{
	/* Whole stretches of the structure first; where one differs it may be padding. */
	if (likely(SAME(gpr, rip) && (a->rip == b->rip || !(flags & CHECK_RIP)) &&
		   a->rflags == b->rflags && a->cpl == b->cpl && a->int_shadow == b->int_shadow &&
		   a->halted == b->halted && a->wait_sipi == b->wait_sipi &&
		   a->nmi_blocked == b->nmi_blocked && a->db_pending == b->db_pending &&
		   SAME(seg, gdtr) && SAME(gdtr, cr0) && SAME(cr0, pv_async) &&
		   SAME(fx, fx.unused) && SAME(ymm, exc_vector)))
		return true;
	for (unsigned k = 0; k < array_size(parts); k++)
		if ((parts[k].at != offsetof(struct x86_cpu, rip) || flags & CHECK_RIP) &&
		    !same_part(a, b, &parts[k]))
			return false;
	return true;
}

void check_copy_state(struct x86_cpu *to, const struct x86_cpu *from)
{
	for (unsigned k = 0; k < array_size(parts); k++)
		for (unsigned n = 0; n < parts[k].count; n++) {
			size_t at = parts[k].at + n * parts[k].stride;

			memcpy((uint8_t *)to + at, (const uint8_t *)from + at, parts[k].bytes);
		}
	to->fx.mxcsr_mask = from->fx.mxcsr_mask;
	to->nmi_pending = from->nmi_pending;
	to->start_rip = to->rip;
	x86_tlb_flush_all(to);
	x86_update_mode(to);
}

bool check_same_exception(const struct x86_cpu *a, const struct x86_cpu *b)
{
	return a->exc_vector == b->exc_vector && a->exc_has_error == b->exc_has_error &&
	       (!a->exc_has_error || a->exc_error == b->exc_error) && a->exc_soft == b->exc_soft &&
	       (a->exc_soft ? a->rip == b->rip && a->exc_ext == b->exc_ext
			    : a->start_rip == b->start_rip);
}

void check_page_entries(struct check *k)
{
	for (unsigned n = 0; n < k->tape->nentries; n++) {
		const struct x86_tape_store *e = &k->tape->entries[n];
		uint64_t ours = 0, theirs = 0;

		memcpy(&ours, k->lead->mem->window + e->off, e->len);
		memcpy(&theirs, k->mirror->window + e->off, e->len);
		if (ours != theirs && !((ours ^ theirs) & ~PTE_AD))
			mem_mirror_copy(k->mirror, k->lead->mem, e->off, e->len);
	}
}

static bool same_range(const struct check *k, const struct x86_tape_store *s)
{
	return !memcmp(k->lead->mem->window + s->off, k->mirror->window + s->off, s->len);
}

bool check_same_stores(const struct check *k)
{
	const struct x86_tape *t = k->tape;
	uint64_t at = 0;

	if (unlikely(t->nstores > X86_TAPE_STORES))
		return !mem_mirror_differs(k->mirror, k->lead->mem, &at);
	for (unsigned n = 0; n < t->nstores; n++)
		if (!same_range(k, &t->store[n]))
			return false;
	for (unsigned n = 0; n < t->nentries; n++)
		if (!same_range(k, &t->entries[n]))
			return false;
	return true;
}

/*
 * For people.
 */
static const char *part_name(const struct part *p, unsigned n, char *buf, size_t size)
{
	static const char *const gpr[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

	if (!strcmp(p->name, "gpr"))
		return gpr[n];
	if (p->count == 1)
		return p->name;
	snprintf(buf, size, "%s[%u]", p->name, n);
	return buf;
}

static void print_bytes(FILE *f, const uint8_t *p, unsigned len)
{
	for (unsigned n = 0; n < len; n++)
		fprintf(f, "%s%02x", n ? " " : "", p[n]);
}

static void print_range(const struct check *k, const struct x86_tape_store *s, FILE *f)
{
	const uint8_t *ours = k->lead->mem->window + s->off, *theirs = k->mirror->window + s->off;
	unsigned from = 0, len;
	gpa_t gpa;

	while (from < s->len && ours[from] == theirs[from])
		from++;
	if (from == s->len)
		return;
	len = min_of(s->len - from, 16u);
	if (mem_gpa_of(k->lead->mem, s->off + from, &gpa) == 0)
		fprintf(f, "* memory at physical %#" PRIx64 ": translator ", gpa);
	else
		fprintf(f, "* memory that the map does not show: translator ");
	print_bytes(f, ours + from, len);
	fprintf(f, ", interpreter ");
	print_bytes(f, theirs + from, len);
	fprintf(f, "\n");
}

static void print_memory(const struct check *k, FILE *f)
{
	const struct x86_tape *t = k->tape;
	struct x86_tape_store first = { .len = 1 };

	for (unsigned n = 0; n < min_of(t->nstores, X86_TAPE_STORES); n++)
		print_range(k, &t->store[n], f);
	for (unsigned n = 0; n < t->nentries; n++)
		print_range(k, &t->entries[n], f);
	if (mem_mirror_differs(k->mirror, k->lead->mem, &first.off))
		print_range(k, &first, f);
}

static void print_exception(const struct x86_cpu *c, const char *who, FILE *f)
{
	if (c->exc_vector < 0)
		fprintf(f, "  %s: no exception\n", who);
	else
		fprintf(f, "  %s: exception %d, error code %#x%s at %016" PRIx64 "\n", who,
			c->exc_vector, c->exc_error, c->exc_has_error ? "" : " (none)",
			c->exc_soft ? c->rip : c->start_rip);
}

void check_print(const struct check *k, FILE *f)
{
	fprintf(f, "  %-24s %-18s %s\n", "", "translator", "interpreter");
	for (unsigned n = 0; n < array_size(parts); n++) {
		const struct part *p = &parts[n];

		for (unsigned i = 0; i < p->count; i++) {
			uint64_t a = number(k->lead, p, i), b = number(k->follow, p, i);
			char name[48];

			/* Everything that a block may touch, and all that differs. */
			if (a == b && p->at > offsetof(struct x86_cpu, rflags))
				continue;
			fprintf(f, "%c %-24s %016" PRIx64 "   %016" PRIx64 "\n", a == b ? ' ' : '*',
				part_name(p, i, name, sizeof(name)), a, b);
		}
	}
	print_exception(k->lead, "translator", f);
	print_exception(k->follow, "interpreter", f);
	print_memory(k, f);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ctl/gdb/cpu.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/sys.h"
#include "src/cpu/x86/x86.h"

#define MSR_EFER 0xc0000080u
#define FLAGS_WRITABLE (X86_FL_ARITH | X86_FL_TF | X86_FL_IF | X86_FL_DF | X86_FL_IOPL | X86_FL_NT | \
			X86_FL_RF | X86_FL_AC | X86_FL_VIF | X86_FL_VIP | X86_FL_ID)

enum what {
	REG_GPR, REG_RIP, REG_FLAGS, REG_SEG, REG_ST, REG_X87, REG_XMM, REG_MXCSR, REG_BASE,
	REG_KERNEL_GS, REG_CR, REG_EFER, REG_YMM_HIGH,
};

/* Rows of registers; a feature begins where its name stands. %u: the number in the row. */
struct row {
	const char *feature, *name, *type;
	uint8_t what, index, count;
	uint16_t bits;
};

#define GPR(name, n) { NULL, name, "int64", REG_GPR, n, 1, 64 }
#define GPR32(name, n) { NULL, name, "int32", REG_GPR, n, 1, 32 }
#define SEG(name, n) { NULL, name, "int32", REG_SEG, n, 1, 32 }
#define X87(name, n) { NULL, name, "int", REG_X87, n, 1, 32 }

#define SEGS SEG("cs", X86_CS), SEG("ss", X86_SS), SEG("ds", X86_DS), SEG("es", X86_ES), \
	SEG("fs", X86_FS), SEG("gs", X86_GS)
enum { X87_FCTRL, X87_FSTAT, X87_FTAG, X87_FISEG, X87_FIOFF, X87_FOSEG, X87_FOOFF, X87_FOP };
#define FPU { NULL, "st%u", "i387_ext", REG_ST, 0, 8, 80 }, X87("fctrl", X87_FCTRL), \
	X87("fstat", X87_FSTAT), X87("ftag", X87_FTAG), X87("fiseg", X87_FISEG), \
	X87("fioff", X87_FIOFF), X87("foseg", X87_FOSEG), X87("fooff", X87_FOOFF), X87("fop", X87_FOP)
#define SYSTEM(bits) { NULL, "k_gs_base", "int" #bits, REG_KERNEL_GS, 0, 1, bits }, \
	{ NULL, "cr0", "cr0_flags" #bits, REG_CR, 0, 1, bits }, \
	{ NULL, "cr2", "int" #bits, REG_CR, 2, 1, bits }, \
	{ NULL, "cr3", "int" #bits, REG_CR, 3, 1, bits }, \
	{ NULL, "cr4", "cr4_flags" #bits, REG_CR, 4, 1, bits }, \
	{ NULL, "cr8", "int" #bits, REG_CR, 8, 1, bits }, \
	{ NULL, "efer", "efer_flags" #bits, REG_EFER, 0, 1, bits }
#define YMM(count) { "org.gnu.gdb.i386.avx", "ymm%uh", "uint128", REG_YMM_HIGH, 0, count, 128 }

static const struct row x86_64_rows[] = {
	{ "org.gnu.gdb.i386.core", "rax", "int64", REG_GPR, X86_RAX, 1, 64 },
	GPR("rbx", X86_RBX), GPR("rcx", X86_RCX), GPR("rdx", X86_RDX), GPR("rsi", X86_RSI),
	GPR("rdi", X86_RDI), { NULL, "rbp", "data_ptr", REG_GPR, X86_RBP, 1, 64 },
	{ NULL, "rsp", "data_ptr", REG_GPR, X86_RSP, 1, 64 },
	GPR("r8", 8), GPR("r9", 9), GPR("r10", 10), GPR("r11", 11), GPR("r12", 12),
	GPR("r13", 13), GPR("r14", 14), GPR("r15", 15),
	{ NULL, "rip", "code_ptr", REG_RIP, 0, 1, 64 },
	{ NULL, "eflags", "eflags_bits", REG_FLAGS, 0, 1, 32 }, SEGS, FPU,
	{ "org.gnu.gdb.i386.sse", "xmm%u", "vec128", REG_XMM, 0, 16, 128 },
	{ NULL, "mxcsr", "mxcsr_bits", REG_MXCSR, 0, 1, 32 },
	{ "org.gnu.gdb.i386.segments", "fs_base", "int64", REG_BASE, X86_FS, 1, 64 },
	{ NULL, "gs_base", "int64", REG_BASE, X86_GS, 1, 64 },
	{ "org.bothy.x86.system", NULL, NULL, 0, 0, 0, 0 }, SYSTEM(64),
	YMM(16),
};

static const struct row i386_rows[] = {
	{ "org.gnu.gdb.i386.core", "eax", "int32", REG_GPR, X86_RAX, 1, 32 },
	GPR32("ecx", X86_RCX), GPR32("edx", X86_RDX), GPR32("ebx", X86_RBX),
	{ NULL, "esp", "data_ptr", REG_GPR, X86_RSP, 1, 32 },
	{ NULL, "ebp", "data_ptr", REG_GPR, X86_RBP, 1, 32 },
	GPR32("esi", X86_RSI), GPR32("edi", X86_RDI),
	{ NULL, "eip", "code_ptr", REG_RIP, 0, 1, 32 },
	{ NULL, "eflags", "eflags_bits", REG_FLAGS, 0, 1, 32 }, SEGS, FPU,
	{ "org.gnu.gdb.i386.sse", "xmm%u", "vec128", REG_XMM, 0, 8, 128 },
	{ NULL, "mxcsr", "mxcsr_bits", REG_MXCSR, 0, 1, 32 },
	{ "org.bothy.x86.system", "fs_base", "int32", REG_BASE, X86_FS, 1, 32 },
	{ NULL, "gs_base", "int32", REG_BASE, X86_GS, 1, 32 }, SYSTEM(32),
	YMM(8),
};

static const struct row *rows(enum gdb_arch a, size_t *count)
{
	*count = a == GDB_I386 ? array_size(i386_rows) : array_size(x86_64_rows);
	return a == GDB_I386 ? i386_rows : x86_64_rows;
}

/*
 * The description.
 */
struct flag { const char *name; uint8_t bit; };
static const struct flag eflags[] = {
	{ "CF", 0 }, { "", 1 }, { "PF", 2 }, { "AF", 4 }, { "ZF", 6 }, { "SF", 7 }, { "TF", 8 },
	{ "IF", 9 }, { "DF", 10 }, { "OF", 11 }, { "NT", 14 }, { "RF", 16 }, { "VM", 17 },
	{ "AC", 18 }, { "VIF", 19 }, { "VIP", 20 }, { "ID", 21 }, { NULL, 0 },
};
static const struct flag mxcsr[] = {
	{ "IE", 0 }, { "DE", 1 }, { "ZE", 2 }, { "OE", 3 }, { "UE", 4 }, { "PE", 5 }, { "DAZ", 6 },
	{ "IM", 7 }, { "DM", 8 }, { "ZM", 9 }, { "OM", 10 }, { "UM", 11 }, { "PM", 12 },
	{ "FZ", 15 }, { NULL, 0 },
};
static const struct flag cr0[] = {
	{ "PE", 0 }, { "MP", 1 }, { "EM", 2 }, { "TS", 3 }, { "ET", 4 }, { "NE", 5 }, { "WP", 16 },
	{ "AM", 18 }, { "NW", 29 }, { "CD", 30 }, { "PG", 31 }, { NULL, 0 },
};
static const struct flag cr4[] = {
	{ "VME", 0 }, { "PVI", 1 }, { "TSD", 2 }, { "DE", 3 }, { "PSE", 4 }, { "PAE", 5 },
	{ "MCE", 6 }, { "PGE", 7 }, { "PCE", 8 }, { "OSFXSR", 9 }, { "OSXMMEXCPT", 10 },
	{ "UMIP", 11 }, { "FSGSBASE", 16 }, { "PCIDE", 17 }, { "OSXSAVE", 18 }, { "SMEP", 20 },
	{ "SMAP", 21 }, { NULL, 0 },
};
static const struct flag efer[] = {
	{ "SCE", 0 }, { "LME", 8 }, { "LMA", 10 }, { "NXE", 11 }, { NULL, 0 },
};

struct text { char *at; size_t len, size; };

static void __attribute__((format(printf, 2, 3))) put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->at + t->len, t->size - t->len, fmt, ap);
	va_end(ap);
	t->len = min_of(t->len + (size_t)max_of(n, 0), t->size - 1);
}

static void put_flags(struct text *t, const char *id, unsigned bytes, const struct flag *f)
{
	put(t, "<flags id=\"%s\" size=\"%u\">", id, bytes);
	for (; f->name; f++)
		put(t, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", f->name, f->bit, f->bit);
	put(t, "</flags>\n");
}

static void put_types(struct text *t, const char *feature, unsigned bits)
{
	char id[32];

	if (strstr(feature, ".core"))
		put_flags(t, "eflags_bits", 4, eflags);
	if (strstr(feature, ".sse")) {
		put_flags(t, "mxcsr_bits", 4, mxcsr);
		put(t, "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
		    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
		    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
		    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
		    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
		    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\n"
		    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
		    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
		    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
		    "<field name=\"v2_int64\" type=\"v2i64\"/>"
		    "<field name=\"uint128\" type=\"uint128\"/></union>\n");
	}
	if (!strstr(feature, ".system"))
		return;
	snprintf(id, sizeof(id), "cr0_flags%u", bits);
	put_flags(t, id, bits / 8, cr0);
	snprintf(id, sizeof(id), "cr4_flags%u", bits);
	put_flags(t, id, bits / 8, cr4);
	snprintf(id, sizeof(id), "efer_flags%u", bits);
	put_flags(t, id, bits / 8, efer);
}

static void put_row(struct text *t, const struct row *r)
{
	for (unsigned n = 0; n < r->count; n++) {
		bool float_reg = r->what == REG_ST || r->what == REG_X87;
		const char *percent = strchr(r->name, '%');
		char name[16];

		if (percent) /* "st%u", "ymm%uh" */
			snprintf(name, sizeof(name), "%.*s%u%s", (int)(percent - r->name), r->name, n,
				 percent + 2);
		else
			snprintf(name, sizeof(name), "%s", r->name);
		put(t, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"%s/>\n", name, r->bits, r->type,
		    float_reg ? " group=\"float\"" : "");
	}
}

size_t gdb_cpu_describe(enum gdb_arch a, bool avx, char *xml, size_t size)
{
	struct text t = { xml, 0, size };
	size_t count;
	const struct row *r = rows(a, &count);

	put(&t, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target "
	    "version=\"1.0\"><architecture>%s</architecture>\n",
	    a == GDB_I386 ? "i386" : "i386:x86-64");
	for (size_t n = 0; n < count && (avx || r[n].what != REG_YMM_HIGH); n++) {
		if (r[n].feature) {
			put(&t, "%s<feature name=\"%s\">\n", n ? "</feature>\n" : "", r[n].feature);
			put_types(&t, r[n].feature, a == GDB_I386 ? 32 : 64);
		}
		put_row(&t, &r[n]);
	}
	put(&t, "</feature></target>\n");
	return t.len;
}

/*
 * Registers.
 */
static const struct row *find(enum gdb_arch a, const struct x86_cpu *c, unsigned n, unsigned *index)
{
	size_t count;
	const struct row *r = rows(a, &count);

	for (; count--; n -= r->count, r++) {
		if (n >= r->count)
			continue;
		if (r->what == REG_YMM_HIGH && !x86_has(c, X86_F_AVX))
			return NULL;
		*index = r->index + n;
		return r;
	}
	return NULL;
}

size_t gdb_reg_size(enum gdb_arch a, const struct x86_cpu *c, unsigned n)
{
	unsigned index;
	const struct row *r = find(a, c, n, &index);

	return r ? r->bits / 8 : 0;
}

/* The whole tag word out of FXSAVE's abridged one, SDM vol. 1, 8.1.7 and 10.5.1. */
static uint32_t tag_word(const struct x86_cpu *c)
{
	unsigned top = c->fx.fsw >> 11 & 7;
	uint32_t tags = 0;

	for (unsigned n = 0; n < 8; n++) {
		const uint8_t *st = c->fx.st[(n - top) & 7];
		unsigned exponent = ld_le16(st + 8) & 0x7fff, tag;

		if (!(c->fx.ftw >> n & 1))
			tag = 3;
		else if (exponent == 0 && ld_le64(st) == 0)
			tag = 1;
		else
			tag = exponent == 0 || exponent == 0x7fff || !(st[7] & 0x80) ? 2 : 0;
		tags |= tag << (2 * n);
	}
	return tags;
}

static uint32_t x87_read(const struct x86_cpu *c, unsigned n)
{
	switch (n) {
	case X87_FCTRL: return c->fx.fcw;
	case X87_FSTAT: return c->fx.fsw;
	case X87_FTAG: return tag_word(c);
	case X87_FISEG: return c->fx.fip >> 32 & 0xffff;
	case X87_FIOFF: return (uint32_t)c->fx.fip;
	case X87_FOSEG: return c->fx.fdp >> 32 & 0xffff;
	case X87_FOOFF: return (uint32_t)c->fx.fdp;
	default: return c->fx.fop;
	}
}

static void x87_write(struct x86_cpu *c, unsigned n, uint32_t v)
{
	switch (n) {
	case X87_FCTRL: c->fx.fcw = (uint16_t)((v & 0x1f3f) | 0x40); break;
	case X87_FSTAT: c->fx.fsw = (uint16_t)v; break;
	case X87_FTAG:
		c->fx.ftw = 0;
		for (unsigned i = 0; i < 8; i++)
			c->fx.ftw |= (uint8_t)((v >> (2 * i) & 3) != 3) << i;
		break;
	case X87_FISEG: c->fx.fip = (uint32_t)c->fx.fip | (uint64_t)(v & 0xffff) << 32; break;
	case X87_FIOFF: c->fx.fip = (c->fx.fip & ~0xffffffffull) | v; break;
	case X87_FOSEG: c->fx.fdp = (uint32_t)c->fx.fdp | (uint64_t)(v & 0xffff) << 32; break;
	case X87_FOOFF: c->fx.fdp = (c->fx.fdp & ~0xffffffffull) | v; break;
	default: c->fx.fop = (uint16_t)(v & 0x7ff); break;
	}
}

static uint64_t cr_read(const struct x86_cpu *c, unsigned n)
{
	switch (n) {
	case 0: return c->cr0;
	case 2: return c->cr2;
	case 3: return c->cr3;
	case 4: return c->cr4;
	default: return c->apic ? x86_read_cr8((struct x86_cpu *)c) : 0;
	}
}

size_t gdb_reg_read(enum gdb_arch a, const struct x86_cpu *c, unsigned n, uint8_t *out)
{
	unsigned index;
	const struct row *r = find(a, c, n, &index);
	uint64_t v = 0;

	if (!r)
		return 0;
	switch (r->what) {
	case REG_GPR: v = c->gpr[index]; break;
	case REG_RIP: v = c->rip; break;
	case REG_FLAGS: v = c->rflags; break;
	case REG_SEG: v = c->seg[index].sel; break;
	case REG_ST: memcpy(out, c->fx.st[index], 10); return 10;
	case REG_X87: v = x87_read(c, index); break;
	case REG_XMM: memcpy(out, c->ymm[index].b, 16); return 16;
	case REG_YMM_HIGH: memcpy(out, c->ymm[index].b + 16, 16); return 16;
	case REG_MXCSR: v = c->fx.mxcsr; break;
	case REG_BASE: v = c->seg[index].base; break;
	case REG_KERNEL_GS: v = c->kernel_gs_base; break;
	case REG_CR: v = cr_read(c, index); break;
	case REG_EFER: v = c->efer; break;
	}
	st_le64(out, v);
	return r->bits / 8;
}

/* Runs what may raise as an instruction would; -EINVAL if it did. */
static int guarded(struct x86_cpu *c, void (*fn)(struct x86_cpu *c, uint64_t v), uint64_t v)
{
	jmp_buf outer;
	volatile int ret = 0;

	memcpy(outer, c->fault_jmp, sizeof(outer));
	if (_setjmp(c->fault_jmp)) {
		c->exc_vector = -1;
		ret = -EINVAL;
	} else {
		fn(c, v);
	}
	memcpy(c->fault_jmp, outer, sizeof(outer));
	return ret;
}

static void cr8_write(struct x86_cpu *c, uint64_t v)
{
	if (c->apic)
		x86_write_cr8(c, v);
}

static void efer_write(struct x86_cpu *c, uint64_t v)
{
	if (x86_wrmsr(c, MSR_EFER, v) < 0)
		x86_raise_gp0(c);
}

static int cr_write(struct x86_cpu *c, unsigned n, uint64_t v)
{
	switch (n) {
	case 0: return v == c->cr0 ? 0 : guarded(c, x86_write_cr0, v);
	case 2: c->cr2 = v; return 0;
	case 3: return v == c->cr3 ? 0 : guarded(c, x86_write_cr3, v);
	case 4: return v == c->cr4 ? 0 : guarded(c, x86_write_cr4, v);
	default: return guarded(c, cr8_write, v);
	}
}

/* As a load of the register would do it, but for rights: a debugger knows best. */
static int seg_write(struct x86_cpu *c, unsigned seg, uint64_t v)
{
	const bool local = v & 4;
	uint64_t base = local ? c->ldtr.base : c->gdtr.base;
	uint32_t limit = local ? c->ldtr.limit : c->gdtr.limit;
	uint16_t sel = (uint16_t)v;
	uint8_t raw[8];
	struct x86_desc d;

	if (v > 0xffff)
		return -EINVAL;
	if (sel == c->seg[seg].sel)
		return 0;
	if (!x86_protected(c) || x86_v86(c)) {
		x86_load_seg_real(c, seg, sel);
	} else if (x86_sel_null(sel)) {
		if (seg == X86_CS)
			return -EINVAL;
		c->seg[seg] = (struct x86_seg){ .sel = sel,
						.attr = (uint16_t)(X86_SEG_NULL | c->cpl << 5) };
	} else {
		if ((sel | 7u) > limit || gdb_mem_read(c, base + (sel & ~7u), raw, 8, false) != 8)
			return -EINVAL;
		d = (struct x86_desc){ .raw = ld_le64(raw) };
		if (!x86_desc_present(&d) || x86_desc_system(&d) ||
		    x86_desc_code(&d) != (seg == X86_CS))
			return -EINVAL;
		c->seg[seg] = x86_desc_seg(sel, d.raw);
		if (seg == X86_CS)
			c->cpl = sel & 3;
	}
	x86_update_mode(c);
	return 0;
}

static int base_write(struct x86_cpu *c, unsigned seg, uint64_t v)
{
	if (!x86_canonical(v))
		return -EINVAL;
	c->seg[seg].base = v;
	x86_update_mode(c);
	return 0;
}

static int rip_write(struct x86_cpu *c, uint64_t v)
{
	if (c->code64 ? !x86_canonical(v) : v >> 32)
		return -EINVAL;
	if (v != c->rip)
		c->int_shadow = 0; /* which was for the instruction that was next */
	c->rip = c->start_rip = v;
	return 0;
}

static int flags_write(struct x86_cpu *c, uint64_t v)
{
	x86_set_flags(c, (c->rflags & ~FLAGS_WRITABLE) | (v & FLAGS_WRITABLE));
	return 0;
}

static int value_write(struct x86_cpu *c, const struct row *r, unsigned index, uint64_t v)
{
	switch (r->what) {
	case REG_GPR: c->gpr[index] = v; return 0;
	case REG_RIP: return rip_write(c, v);
	case REG_FLAGS: return flags_write(c, v);
	case REG_SEG: return seg_write(c, index, v);
	case REG_X87: x87_write(c, index, (uint32_t)v); return 0;
	case REG_MXCSR: c->fx.mxcsr = v & 0xffff; return 0;
	case REG_BASE: return base_write(c, index, v);
	case REG_KERNEL_GS:
		if (!x86_canonical(v))
			return -EINVAL;
		c->kernel_gs_base = v;
		return 0;
	case REG_CR: return cr_write(c, index, v);
	default: return v == c->efer ? 0 : guarded(c, efer_write, v);
	}
}

int gdb_reg_write(enum gdb_arch a, struct x86_cpu *c, unsigned n, const uint8_t *in)
{
	unsigned index;
	const struct row *r = find(a, c, n, &index);
	int ret = 0;

	if (!r)
		return -EINVAL;
	if (r->what == REG_ST) {
		memcpy(c->fx.st[index], in, 10);
	} else if (r->what == REG_XMM) {
		memcpy(c->ymm[index].b, in, 16);
	} else if (r->what == REG_YMM_HIGH) {
		memcpy(c->ymm[index].b + 16, in, 16);
	} else {
		c->start_rip = c->rip;
		ret = value_write(c, r, index, r->bits == 64 ? ld_le64(in) : ld_le32(in));
	}
	c->recheck = true;
	return ret;
}

/*
 * Memory.
 */
static int place(struct x86_cpu *c, uint64_t addr, bool physical, gpa_t *gpa)
{
	*gpa = addr;
	if (physical)
		return 0;
	if (x86_long(c) ? !x86_canonical(addr) : addr >> 32)
		return -EFAULT;
	return x86_translate_debug(c, addr, gpa);
}

size_t gdb_mem_read(struct x86_cpu *c, uint64_t addr, void *buf, size_t len, bool physical)
{
	size_t done = 0;

	while (done < len) {
		uint64_t at = addr + done;
		size_t n = min_of(len - done, (size_t)(4096 - (at & 0xfff)));
		gpa_t gpa;

		if (at < addr || place(c, at, physical, &gpa) < 0 ||
		    mem_read(c->mem, gpa, (uint8_t *)buf + done, n) < 0)
			break;
		done += n;
	}
	return done;
}

/* @buf NULL: could it be written? */
static int store(struct x86_cpu *c, uint64_t addr, const uint8_t *buf, size_t len, bool physical)
{
	size_t done = 0;

	while (done < len) {
		uint64_t at = addr + done;
		size_t n = min_of(len - done, (size_t)(4096 - (at & 0xfff)));
		void *host;
		gpa_t gpa;

		if (at < addr || place(c, at, physical, &gpa) < 0)
			return -EFAULT;
		host = mem_ptr(c->mem, gpa, n, true);
		if (!host)
			return -EFAULT;
		if (buf) {
			memcpy(host, buf + done, n);
			mem_written(c->mem, host, n);
		}
		done += n;
	}
	return 0;
}

int gdb_mem_write(struct x86_cpu *c, uint64_t addr, const void *buf, size_t len, bool physical)
{
	int ret = store(c, addr, NULL, len, physical);

	/* Page tables that the bytes change do not change where the rest of them goes: it
	 * may be refused then, as it would be the guest. */
	return ret < 0 ? ret : store(c, addr, buf, len, physical);
}

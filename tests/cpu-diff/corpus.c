// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The text form of a case: one fact a line, what is not named is as after
 * diff_regs_init() and zero. Numbers are hexadecimal; bytes stand in memory order.
 *
 *   mode 64 | high 0 | exit 1 | at 0
 *   insn 4801d8          one line each, branches resolved
 *   gpr 0 1234           number as the instruction set counts
 *   flags 246 | sel 4 2b | fsbase 0 | gsbase 0
 *   fcw 37f | fsw 0 | ftw 0 | mxcsr 1f80 | st 0 <10 bytes> | ymm 0 <32 bytes>
 *   mem 1040 <bytes>     offset in the region
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cpu-diff/diff.h"

static void put_hex(FILE *out, const uint8_t *p, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		fprintf(out, "%02x", p[k]);
	fprintf(out, "\n");
}

static bool all_zero(const uint8_t *p, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		if (p[k])
			return false;
	return true;
}

static void write_fpu(const struct diff_fpu *f, FILE *out)
{
	fprintf(out, "fcw %x\nfsw %x\nftw %x\nmxcsr %x\n", f->fcw, f->fsw, f->ftw, f->mxcsr);
	for (unsigned n = 0; n < 8; n++)
		if (!all_zero(f->st[n], 10)) {
			fprintf(out, "st %x ", n);
			put_hex(out, f->st[n], 10);
		}
	for (unsigned n = 0; n < 16; n++)
		if (!all_zero(f->ymm[n], 32)) {
			fprintf(out, "ymm %x ", n);
			put_hex(out, f->ymm[n], 32);
		}
}

void diff_case_write(const struct diff_case *d, FILE *out)
{
	const struct diff_regs *r = &d->init;

	fprintf(out, "mode %s\nhigh %d\nexit %d\nat %x\n",
		d->mode == X86_MODE_64 ? "64" : d->mode == X86_MODE_32 ? "32" : "16", d->high,
		!d->no_exit, d->code_off);
	for (unsigned k = 0; k < d->n; k++) {
		unsigned at = d->insn_off[k], len = d->insn[k].len;

		if (!len || at >= DIFF_CODE_LEN)
			continue;
		fprintf(out, "insn ");
		put_hex(out, d->code + at, min_of(len, DIFF_CODE_LEN - at));
	}
	fprintf(out, "flags %lx\n", (long)r->rflags);
	for (unsigned n = 0; n < 16; n++)
		if (r->gpr[n])
			fprintf(out, "gpr %x %lx\n", n, (long)r->gpr[n]);
	for (unsigned s = 0; s < X86_NSEGS; s++)
		if (s != X86_CS)
			fprintf(out, "sel %x %x\n", s, r->sel[s]);
	fprintf(out, "fsbase %lx\ngsbase %lx\n", (long)r->fs_base, (long)r->gs_base);
	write_fpu(&r->fpu, out);
	for (unsigned k = 0; k < DIFF_MEM_LEN; k += 8)
		if (!all_zero(d->mem + k, 8)) {
			fprintf(out, "mem %x ", diff_rw_pages[k / 4096] * 4096 + k % 4096);
			put_hex(out, d->mem + k, 8);
		}
}

static int get_hex(const char *s, uint8_t *out, unsigned max)
{
	unsigned n = 0;

	for (; isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1]); s += 2) {
		unsigned v;

		if (n == max || sscanf(s, "%2x", &v) != 1)
			return -EINVAL;
		out[n++] = (uint8_t)v;
	}
	return (int)n;
}

static int read_mem(struct diff_case *d, uint64_t off, const char *hex)
{
	for (unsigned k = 0; k < DIFF_NRW; k++)
		if (off >> 12 == diff_rw_pages[k])
			return get_hex(hex, d->mem + k * 4096 + off % 4096,
				       4096 - (unsigned)(off % 4096));
	return -EINVAL;
}

static int read_insn(struct diff_case *d, const char *hex)
{
	struct diff_insn *i = &d->insn[d->n];
	int n;

	if (d->n >= DIFF_MAX_INSNS)
		return -EINVAL;
	n = get_hex(hex, i->bytes, sizeof(i->bytes));
	if (n <= 0)
		return -EINVAL;
	i->len = (uint8_t)n;
	i->row = -1;
	d->n++;
	return 0;
}

/* One line: a word, a number or bytes, perhaps more. */
static int read_line(struct diff_case *d, const char *word, uint64_t a, const char *rest,
		     const char *first)
{
	struct diff_regs *r = &d->init;
	uint64_t b = strtoull(rest, NULL, 16);

	if (!strcmp(word, "mode"))
		d->mode = a == 0x64 ? X86_MODE_64 : a == 0x32 ? X86_MODE_32 : X86_MODE_16;
	else if (!strcmp(word, "high"))
		d->high = a;
	else if (!strcmp(word, "exit"))
		d->no_exit = !a;
	else if (!strcmp(word, "at") && a < DIFF_CODE_LEN)
		d->code_off = (uint16_t)a;
	else if (!strcmp(word, "insn"))
		return read_insn(d, first);
	else if (!strcmp(word, "flags"))
		r->rflags = a;
	else if (!strcmp(word, "gpr") && a < 16)
		r->gpr[a] = b;
	else if (!strcmp(word, "sel") && a < X86_NSEGS)
		r->sel[a] = (uint16_t)b;
	else if (!strcmp(word, "fsbase"))
		r->fs_base = a;
	else if (!strcmp(word, "gsbase"))
		r->gs_base = a;
	else if (!strcmp(word, "fcw"))
		r->fpu.fcw = (uint16_t)a;
	else if (!strcmp(word, "fsw"))
		r->fpu.fsw = (uint16_t)a;
	else if (!strcmp(word, "ftw"))
		r->fpu.ftw = (uint16_t)a;
	else if (!strcmp(word, "mxcsr"))
		r->fpu.mxcsr = (uint32_t)a;
	else if (!strcmp(word, "st") && a < 8)
		return get_hex(rest, r->fpu.st[a], 10);
	else if (!strcmp(word, "ymm") && a < 16)
		return get_hex(rest, r->fpu.ymm[a], 32);
	else if (!strcmp(word, "mem"))
		return read_mem(d, a, rest);
	else
		return -EINVAL;
	return 0;
}

int diff_case_read(struct diff_case *d, const uint64_t *features, const char *path,
		   struct err *err)
{
	char line[512], word[16], first[256], rest[256];
	unsigned number = 0;
	FILE *in = fopen(path, "re");

	if (!in)
		return err_set(err, -errno, "cannot read '%s': %s", path, strerror(errno));
	memset(d, 0, sizeof(*d));
	diff_regs_init(&d->init);
	d->want_row = -1;
	d->features = features;
	while (fgets(line, sizeof(line), in)) {
		number++;
		rest[0] = '\0';
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (sscanf(line, "%15s %255s %255s", word, first, rest) < 2 ||
		    read_line(d, word, strtoull(first, NULL, 16), rest, first) < 0) {
			fclose(in);
			return err_set(err, -EINVAL, "'%s', line %u, is not part of a case: %s",
				       path, number, line);
		}
	}
	fclose(in);
	if (diff_case_layout(d))
		return err_set(err, -EINVAL, "'%s' does not fit in the code pages", path);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* cpu-diff: the command. */
#include <dirent.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/cpu-diff/selftest.h"

struct options {
	const char *engine, *row, *corpus, *file;
	uint64_t seed, count, one_case;
	bool has_case, verbose, list, selftest;
	unsigned minutes, coverage, max_reports;
};

struct run {
	struct options opt;
	struct diff_pair pair;
	struct engine *engine;
	struct diff_gen gen;
	struct diff_case d, small;
	uint64_t features[(X86_NFEATURES + 63) / 64];
	uint32_t *done, *in_mem, *faulted; /* per row; in_mem: of done, with memory */
	uint64_t cases, insns, mismatches, timeouts;
	int64_t start_ns, shown_ns;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: cpu-diff [--engine NAME|native] [--seed N] [--count N] [--row ID]\n"
		"                [--minutes N] [--case SEED] [--file CASE] [--corpus FOLDER]\n"
		"                [--coverage N] [--reports N] [--verbose]\n"
		"                [--list] [--self-test]\n"
		"Runs random instruction sequences on this CPU and in an engine, compares.\n"
		"--coverage N fails unless every row offered ran N times.\n");
	return 2;
}

static bool parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "engine", 1, NULL, 'e' }, { "seed", 1, NULL, 's' }, { "count", 1, NULL, 'n' },
		{ "row", 1, NULL, 'r' }, { "minutes", 1, NULL, 'm' }, { "case", 1, NULL, 'c' },
		{ "file", 1, NULL, 'f' }, { "corpus", 1, NULL, 'd' }, { "coverage", 1, NULL, 'C' },
		{ "reports", 1, NULL, 'R' }, { "verbose", 0, NULL, 'v' },
		{ "list", 0, NULL, 'l' },
		{ "self-test", 0, NULL, 't' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		switch (c) {
		case 'e': o->engine = optarg; break;
		case 's': o->seed = strtoull(optarg, NULL, 0); break;
		case 'n': o->count = strtoull(optarg, NULL, 0); break;
		case 'r': o->row = optarg; break;
		case 'm': o->minutes = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'c': o->one_case = strtoull(optarg, NULL, 0); o->has_case = true; break;
		case 'f': o->file = optarg; break;
		case 'd': o->corpus = optarg; break;
		case 'C': o->coverage = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'R': o->max_reports = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'l': o->list = true; break;
		case 'v': o->verbose = true; break;
		case 't': o->selftest = true; break;
		default: return false;
		}
	return optind == argc;
}

/* Which rows ran for certain, by where the host stopped. */
static void count_rows(struct run *r)
{
	const struct diff_case *d = &r->d;
	const struct diff_result *want = &r->pair.want;
	int stop = d->n;

	if (want->end == DIFF_FAULT) {
		stop = diff_case_insn_at(d, want->regs.rip);
		if (stop < 0)
			return;
		if (stop < d->n && d->insn[stop].row >= 0)
			r->faulted[d->insn[stop].row]++;
	} else if (want->end != DIFF_EXIT) {
		return;
	}
	for (int k = 0; k < stop; k++)
		if (d->insn[k].row >= 0 && !d->insn[k].conditional) {
			r->done[d->insn[k].row]++;
			r->in_mem[d->insn[k].row] += d->insn[k].mem;
			r->insns++;
		}
}

static void report(struct run *r)
{
	r->mismatches++;
	if (r->mismatches > r->opt.max_reports)
		return;
	r->small = r->d;
	diff_shrink(&r->pair, &r->small);
	diff_report(&r->pair, &r->small, stdout);
	fflush(stdout);
}

static bool missing(const struct run *r, unsigned row, unsigned least)
{
	const struct diff_row_info *info = diff_row_info(row);
	bool offered = diff_row_offered(row, X86_MODE_64, r->gen.features) ||
		       (r->gen.modes != 1u << X86_MODE_64 &&
			diff_row_offered(row, X86_MODE_32, r->gen.features));

	if (info->rule == DIFF_SKIP || !offered || (row == X86_OP_INT_Ib && !r->gen.real))
		return false;
	/* Where the operand may be a register or memory: both. */
	if (info->rule == DIFF_RUN && diff_row_has_forms(row) &&
	    (r->in_mem[row] < least / 4 || r->done[row] - r->in_mem[row] < least / 4))
		return true;
	return (info->rule == DIFF_FAULTS ? r->faulted[row] : 0) + r->done[row] < least;
}

static unsigned count_missing(const struct run *r, unsigned least, bool show)
{
	unsigned n = 0;

	for (unsigned row = 0; row < x86_nrows; row++)
		if (missing(r, row, least)) {
			n++;
			if (show)
				printf("  %-24s %-16s ran %u, with memory %u, faulted %u\n",
				       diff_row_id(row), x86_rows[row].name, r->done[row],
				       r->in_mem[row], r->faulted[row]);
		}
	return n;
}

static void progress(struct run *r, bool last)
{
	int64_t now = now_ns();
	double s = (double)(now - r->start_ns) / 1e9;

	if (!last && now - r->shown_ns < 5000000000ll)
		return;
	r->shown_ns = now;
	printf("cpu-diff: %lu cases (%.0f a second), %lu instructions, %u of %zu rows not reached, "
	       "%lu differ, %lu did not end\n", (long)r->cases, (double)r->cases / s,
	       (long)r->insns, count_missing(r, 1, false), x86_nrows, (long)r->mismatches,
	       (long)r->timeouts);
	fflush(stdout);
}

static void one_case(struct run *r, uint64_t seed, int row)
{
	diff_generate(&r->gen, seed, row, &r->d);
	r->d.want_row = row;
	r->cases++;
	if (diff_differs(&r->pair, &r->d))
		report(r);
	else if (r->opt.list)
		diff_report(&r->pair, &r->d, stdout);
	if (r->pair.want.end == DIFF_TIMEOUT)
		r->timeouts++;
	else
		count_rows(r);
}

static void run_file(struct run *r, const char *path)
{
	struct err err = { "" };

	if (diff_case_read(&r->d, r->pair.features, path, &err)) {
		fprintf(stderr, "cpu-diff: %s\n", err.text);
		r->mismatches++;
		return;
	}
	if (!(r->gen.modes >> r->d.mode & 1)) {
		printf("%s: left out, this host cannot run such code\n", path);
		return;
	}
	for (unsigned k = 0; k < r->d.n; k++) {
		struct x86_insn i;

		if (diff_decode(&r->d, r->pair.features, r->d.insn[k].bytes, r->d.insn[k].len,
				&i) > 0)
			r->d.insn[k].row = (int16_t)i.row->id;
	}
	r->cases++;
	if (diff_differs(&r->pair, &r->d)) {
		printf("%s:\n", path);
		r->mismatches++;
		diff_report(&r->pair, &r->d, stdout);
	} else if (r->opt.verbose) {
		printf("%s: as the host\n", path);
	}
}

static void run_corpus(struct run *r)
{
	struct dirent **names;
	int n = scandir(r->opt.corpus, &names, NULL, alphasort);
	unsigned found = 0;

	for (int k = 0; k < n; k++) {
		char path[512];
		size_t len = strlen(names[k]->d_name);

		if (len > 5 && !strcmp(names[k]->d_name + len - 5, ".case")) {
			snprintf(path, sizeof(path), "%s/%s", r->opt.corpus, names[k]->d_name);
			run_file(r, path);
			found++;
		}
		free(names[k]);
	}
	if (n >= 0)
		free(names);
	if (!found) {
		fprintf(stderr, "cpu-diff: '%s' holds no *.case file\n", r->opt.corpus);
		r->mismatches++;
	}
}

/* Ctrl-C ends the run with its summary: the signal stays blocked and is looked for
 * between cases. */
static void hold_interrupts(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static bool interrupted(void)
{
	sigset_t set;

	return sigpending(&set) == 0 && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM));
}

static void run_random(struct run *r, int row)
{
	int64_t until = r->opt.minutes ? r->start_ns + r->opt.minutes * 60000000000ll : INT64_MAX;

	hold_interrupts();
	for (uint64_t n = 0; n < r->opt.count; n++) {
		one_case(r, (r->opt.seed << 32) + n, row);
		if (n % 64 == 0 && (interrupted() || now_ns() >= until))
			break;
		progress(r, false);
		if (r->mismatches > r->opt.max_reports * 20)
			break;
	}
	/* Rows that chance has left behind get sequences of their own. */
	for (unsigned k = 0; r->opt.coverage && row < 0 && k < x86_nrows; k++)
		for (unsigned t = 0; t < 40 * r->opt.coverage && missing(r, k, r->opt.coverage); t++)
			one_case(r, (r->opt.seed << 32) + t, (int)k);
}

static int run_all(struct run *r)
{
	int row = r->opt.row ? diff_row_by_id(r->opt.row) : -1;

	if (r->opt.row && row < 0) {
		fprintf(stderr, "cpu-diff: no row is called '%s'; ids stand in "
			"src/cpu/x86/ops_*.def\n", r->opt.row);
		return 2;
	}
	if (r->opt.corpus)
		run_corpus(r);
	if (r->opt.file)
		run_file(r, r->opt.file);
	else if (r->opt.has_case)
		one_case(r, r->opt.one_case, row);
	else
		run_random(r, row);
	progress(r, true);
	if (r->opt.coverage && count_missing(r, r->opt.coverage, false)) {
		printf("rows that did not run %u times:\n", r->opt.coverage);
		count_missing(r, r->opt.coverage, true);
		return 1;
	}
	if (r->opt.count && !r->opt.file && !r->opt.has_case) {
		printf("rows not reached:%s\n", count_missing(r, 1, false) ? "" : " none");
		count_missing(r, 1, true);
	}
	return r->mismatches != 0;
}

static int set_up(struct run *r, struct err *err)
{
	bool native = !strcmp(r->opt.engine, "native");

	/* The engine first: it may catch signals, which the harness then passes on. */
	r->engine = engine_new(native ? "interp" : r->opt.engine, err);
	if (!r->engine)
		return -1;
	r->pair.native = native_new(err);
	if (!r->pair.native)
		return -1;
	r->pair.engine = native ? NULL : r->engine;
	memcpy(r->features, engine_features(r->engine), sizeof(r->features));
	r->gen.real = native_is_real(r->pair.native);
	if (!r->gen.real) {
		printf("cpu-diff: this host's kernel has no local descriptor tables: left out are "
		       "32- and 16-bit code and INT n\n");
		engine_forget_ldt(r->engine);
	}
	if (!native_has_fsgsbase(r->pair.native))
		r->features[X86_F_FSGSBASE / 64] &= ~(1ull << X86_F_FSGSBASE % 64);
	r->pair.features = r->gen.features = r->features;
	native_set_tick(r->pair.native, engine_tick, r->engine);
	r->gen.native = r->pair.native;
	diff_fill_pool(r->gen.pool);
	for (unsigned m = X86_MODE_16; m <= X86_MODE_64; m++)
		if (native_has_mode(r->pair.native, m))
			r->gen.modes |= 1u << m;
	r->done = calloc(x86_nrows, sizeof(*r->done));
	r->in_mem = calloc(x86_nrows, sizeof(*r->in_mem));
	r->faulted = calloc(x86_nrows, sizeof(*r->faulted));
	return r->done && r->in_mem && r->faulted ? 0 : err_set(err, -1, "not enough memory");
}

int main(int argc, char **argv)
{
	struct run *r = calloc(1, sizeof(*r));
	struct err err = { "" };
	int code;

	if (!r)
		return 1;
	r->opt = (struct options){ .engine = "interp", .seed = 1, .count = UINT64_MAX,
				   .max_reports = 10 };
	if (!parse(&r->opt, argc, argv)) {
		free(r);
		return usage();
	}
	r->start_ns = r->shown_ns = now_ns();
	if (set_up(r, &err)) {
		fprintf(stderr, "cpu-diff: %s\n", err.text);
		code = 77; /* the test runner's "skipped" */
	} else {
		code = r->opt.selftest ? diff_selftest(&r->pair, &r->gen) : run_all(r);
	}
	native_free(r->pair.native);
	engine_free(r->engine);
	free(r->done);
	free(r->in_mem);
	free(r->faulted);
	free(r);
	return code;
}

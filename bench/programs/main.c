/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs the programs and prints "BENCH name repeat seconds result" lines.
 *
 * As an ordinary program: bench [quick|full] [repeats] [names,...]
 * As a guest's first process: the same by BENCH_SCALE, BENCH_REPEATS and
 * BENCH_ONLY, which the kernel passes on from its command line; then power off.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/programs/bench.h"

const char *self_path = "/proc/self/exe";

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Is @name in the comma-separated @only? */
static bool chosen(const char *only, const char *name)
{
	size_t len = strlen(name);

	if (!only || !*only)
		return true;
	for (const char *p = only; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, name, len) && (p[len] == ',' || !p[len]))
			return true;
	}
	return false;
}

static void run(const struct bench *b, bool quick, unsigned repeats, const char *only)
{
	unsigned n = quick ? b->quick : b->full;

	if (!chosen(only, b->name))
		return;
	if (b->offered && !b->offered()) {
		printf("ABSENT %s\n", b->name);
		fflush(stdout);
		return;
	}
	for (unsigned i = 0; i < repeats; i++) {
		double start = now(CLOCK_MONOTONIC);
		uint64_t result = b->run(n);
		double seconds = now(CLOCK_MONOTONIC) - start;

		printf("BENCH %s %u %.9f %016llx %.0f\n", b->name, i, seconds,
		       (unsigned long long)result, b->instructions * n);
		fflush(stdout);
	}
}

static void run_all(bool quick, unsigned repeats, const char *only)
{
	const struct bench *const tables[] = { int_benches, fp_benches, os_benches };

	for (unsigned t = 0; t < 3; t++)
		for (const struct bench *b = tables[t]; b->name; b++)
			run(b, quick, repeats, only);
	printf("BENCH-END\n");
	fflush(stdout);
}

/* The guest's first process. The kernel has opened the console for us. */
static void be_init(void)
{
	const char *scale = getenv("BENCH_SCALE"), *repeats = getenv("BENCH_REPEATS");

	printf("INIT %.6f\n", now(CLOCK_BOOTTIME));
	fflush(stdout);
	mkdir("/proc", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL))
		perror("mount /proc");
	if (getenv("BENCH_WAIT")) {
		printf("WAITING\n");
		fflush(stdout);
		getchar(); /* whoever measures says when */
	}
	if (!getenv("BENCH_BOOT_ONLY"))
		run_all(!scale || strcmp(scale, "full"), repeats ? (unsigned)atoi(repeats) : 1,
			getenv("BENCH_ONLY"));
	sync();
	reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--nothing"))
		return 7;
	if (getpid() == 1) {
		be_init();
		for (;;)
			pause();
	}
	run_all(argc < 2 || strcmp(argv[1], "full"), argc > 2 ? (unsigned)atoi(argv[2]) : 1,
		argc > 3 ? argv[3] : NULL);
	return 0;
}

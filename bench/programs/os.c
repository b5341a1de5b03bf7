/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel does for a program: calls, faults, processes, pipes; and code
 * that rewrites itself. */
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/programs/bench.h"

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t ppid(unsigned n)
{
	uint64_t same = 0;
	long first = syscall(SYS_getppid);

	for (unsigned i = 0; i < n; i++)
		same += syscall(SYS_getppid) == first;
	return same;
}

/* n rounds of 64 MiB touched a page at a time (n in 1/16: 4 MiB). */
static uint64_t faults(unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t len = 4 << 20;
		uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			fail("mmap");
		madvise(p, len, MADV_NOHUGEPAGE);
		for (size_t at = 0; at < len; at += 4096)
			p[at] = (uint8_t)i;
		sum += p[len - 4096];
		munmap(p, len);
	}
	return sum;
}

static int reap(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail("fork");
	return WEXITSTATUS(status);
}

static uint64_t forks(unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(3);
		sum += (uint64_t)reap(pid);
	}
	return sum;
}

extern const char *self_path;
static uint64_t execs(unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			execl(self_path, "bench", "--nothing", (char *)NULL);
			_exit(99);
		}
		sum += (uint64_t)reap(pid);
	}
	return sum;
}

static uint64_t ping_pong(unsigned n)
{
	int to[2], from[2];
	uint64_t sum = 0;
	uint32_t v = 0;
	pid_t pid;

	if (pipe(to) || pipe(from))
		fail("pipe");
	pid = fork();
	if (pid == 0) {
		while (read(to[0], &v, sizeof(v)) == sizeof(v)) {
			v++;
			if (write(from[1], &v, sizeof(v)) != sizeof(v))
				_exit(1);
			if (v >= 2 * n)
				_exit(0);
		}
		_exit(1);
	}
	while (v < 2 * n) {
		v++;
		if (write(to[1], &v, sizeof(v)) != sizeof(v) || read(from[0], &v, sizeof(v)) != sizeof(v))
			fail("pipe");
		sum += v;
	}
	sum += (uint64_t)reap(pid);
	for (unsigned i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
	return sum;
}

/* The same between two processes on one CPU: a switch each way. */
static uint64_t one_cpu(unsigned n)
{
	cpu_set_t old, one;
	uint64_t sum;

	CPU_ZERO(&one);
	sched_getaffinity(0, sizeof(old), &old);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &old)) {
			CPU_SET(i, &one);
			break;
		}
	}
	sched_setaffinity(0, sizeof(one), &one);
	sum = ping_pong(n);
	sched_setaffinity(0, sizeof(old), &old);
	return sum;
}

/* Two processes that compute at the same time. */
static uint64_t parallel(unsigned n)
{
	uint64_t sum = 0;
	pid_t pid[2];

	for (unsigned i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			_exit((int)(mixed_work(n) & 0x7f));
	}
	for (unsigned i = 0; i < 2; i++)
		sum = sum * 128 + (uint64_t)reap(pid[i]);
	return sum;
}

/* A function whose constant changes before every call. */
static uint64_t rewriting(unsigned n)
{
	uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	if (code == MAP_FAILED)
		fail("mmap");
	code[0] = 0xb8; /* mov $imm32, %eax; ret */
	code[5] = 0xc3;
	for (uint32_t i = 0; i < n; i++) {
		memcpy(code + 1, &i, 4);
		opaque(code);
		sum += ((uint32_t (*)(void))(uintptr_t)code)();
	}
	munmap(code, 4096);
	return sum;
}

const struct bench os_benches[] = {
	{ "getppid", "n system calls", ppid, 1000000, 20000, NULL, 0 },
	{ "pagefault", "page faults, n times 4 MiB", faults, 80, 4, NULL, 0 },
	{ "fork", "fork and wait, n times", forks, 1000, 30, NULL, 0 },
	{ "exec", "fork, exec and wait, n times", execs, 300, 10, NULL, 0 },
	{ "pipe", "pipe ping-pong, n round trips", ping_pong, 50000, 1000, NULL, 0 },
	{ "switch", "the same on one CPU", one_cpu, 50000, 1000, NULL, 0 },
	{ "parallel", "two processes of the mixed kernel at once", parallel, 30000, 400, NULL, 0 },
	{ "rewrite", "function rewritten n times", rewriting, 100000, 3000, NULL, 0 },
	{ NULL },
};

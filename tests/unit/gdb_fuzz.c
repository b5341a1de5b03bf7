/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile debugger: packets that are nearly right, and bytes that are none, at a
 * processor that runs. BOTHY_FUZZ_ROUNDS sets how many, BOTHY_FUZZ_SEED where it begins;
 * the seed is printed.
 */
#include <signal.h>
#include <sys/time.h>

#include "tests/unit/gdb_rig.h"

#define ROUNDS 20000u

struct random { uint64_t state; };

/* Nothing in the code that runs need ever stop. */
static struct x86_cpu *volatile runs;

static void on_alarm(int sig)
{
	atomic_fetch_or(&runs->request, X86_REQ_EXIT);
}

static uint32_t next(struct random *r)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return (uint32_t)(r->state >> 16);
}

static const char *const words[] = {
	"?", "g", "G", "p", "P", "m", "M", "X", "Z0,", "Z1,", "Z2,", "Z3,", "Z4,", "z0,", "z2,",
	"z4,", "Hg", "Hc", "T", "c", "C", "s", "S", "vCont", "vCont?", ";c", ";s", ";C05", ":1",
	":-1", ":p1.1", ":p-1", "vKill;1", "qSupported", ":swbreak+", ";error-message+", "qXfer:features:read:",
	"target.xml:", "qAttached", "qC", "qfThreadInfo", "qsThreadInfo", "qThreadExtraInfo,",
	"qSymbol:", "qRcmd,", "Qqemu.PhyMemMode:", "QStartNoAckMode", "8000", "8003", "c000", "b000",
	"ffffffffffffffff", "0", "1", "4", "8", "20", ",", ":", ";", "=", "-1", "00", "7f", "}",
};

static size_t packet(struct random *r, char *out, size_t size)
{
	size_t len = 0;

	for (unsigned n = next(r) % 8 + 1; n; n--) {
		const char *w = words[next(r) % array_size(words)];
		size_t add = strlen(w);

		if (len + add + 300 > size)
			break;
		memcpy(out + len, w, add);
		len += add;
		if (next(r) % 4 == 0) /* numbers and bytes */
			for (unsigned k = next(r) % 64; k; k--)
				out[len++] = "0123456789abcdef"[next(r) % 16];
	}
	if (next(r) % 8 == 0 && len)
		out[next(r) % len] = (char)next(r);
	return len;
}

static void say(struct gdb_rig *g, struct random *r)
{
	char buf[4096];
	size_t len = packet(r, buf + 1, sizeof(buf) - 16);
	uint8_t sum = 0;

	buf[0] = '$';
	for (size_t n = 0; n < len; n++)
		sum = (uint8_t)(sum + (uint8_t)buf[1 + n]);
	len += (size_t)snprintf(buf + 1 + len, 8, "#%02x", sum) + 1;
	if (next(r) % 16 == 0)
		buf[next(r) % len] = (char)next(r);
	if (next(r) % 16 == 0)
		len = next(r) % len;
	gdb_stub_feed(&g->stub, buf, len);
	if (next(r) % 16 == 0)
		gdb_stub_feed(&g->stub, "\x03", 1);
}

static void fresh(struct gdb_rig *g, struct random *r)
{
	struct x86_cpu *c = g->r->c;

	cpus_debug_end(&g->r->cpus);
	if (next(r) % 2)
		rig_long(g->r);
	else
		rig_protected(g->r);
	c->cr2 = c->seg[X86_FS].base = 0;
	for (unsigned n = 0; n < 64; n++)
		rig_put(g->r, CODE + n * 4, next(r), 4);
	RIG_CODE(g->r, CODE, 0x83, 0xc0, 0x01, 0x90, 0xaa, 0xf3, 0xaa);
	c->gpr[X86_RDI] = 0xc000;
	gdb_rig_attach(g, next(r) % 2 ? GDB_X86_64 : GDB_I386);
	g->turns = 1;
}

static void test_hostile(void **state)
{
	struct gdb_rig *g = *state;
	const char *rounds = getenv("BOTHY_FUZZ_ROUNDS"), *seed = getenv("BOTHY_FUZZ_SEED");
	struct random r = { seed ? strtoull(seed, NULL, 0) | 1 : 0x9e3779b97f4a7c15ull };
	unsigned long left = rounds ? strtoul(rounds, NULL, 0) : ROUNDS;

	struct itimerval soon = { { 0, 2000 }, { 0, 2000 } }, never = { { 0, 0 }, { 0, 0 } };

	runs = g->r->c;
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &soon, NULL);
	print_message("seed %#llx\n", (unsigned long long)r.state);
	for (; left; left--) {
		if (!g->stub.attached || next(&r) % 64 == 0)
			fresh(g, &r);
		say(g, &r);
		assert_true(g->stub.points <= GDB_POINTS_MAX);
		assert_true(g->r->cpus.debug.count <= CPU_POINTS_MAX);
		if (!g->stub.points)
			assert_int_equal(g->r->cpus.debug.count, 0);
	}
	setitimer(ITIMER_REAL, &never, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hostile, gdb_rig_setup, gdb_rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GDB's remote protocol: packets, registers, memory, breakpoints, going on. */
#include <errno.h>

#include "tests/unit/gdb_rig.h"

static void send_raw(struct gdb_rig *g, const char *text, size_t len)
{
	gdb_stub_feed(&g->stub, text, len);
}

static void send_packet(struct gdb_rig *g, const char *text, size_t len)
{
	uint8_t sum = 0;
	char end[4];

	for (size_t n = 0; n < len; n++)
		sum = (uint8_t)(sum + (uint8_t)text[n]);
	snprintf(end, sizeof(end), "#%02x", sum);
	send_raw(g, "$", 1);
	send_raw(g, text, len);
	send_raw(g, end, 3);
}

/* The answer to a packet, without its frame; of several the last. */
static const char *ask(struct gdb_rig *g, const char *text)
{
	char *start;

	g->stub.no_ack = true;
	gdb_rig_clear(g);
	send_packet(g, text, strlen(text));
	start = strrchr(g->said, '$');
	if (!start)
		return "nothing";
	*strrchr(g->said, '#') = '\0';
	return start + 1;
}

#define expect(g, text, want) assert_string_equal(ask(g, text), want)

static void test_frames(void **state)
{
	struct gdb_rig *g = *state;
	char *long_one = malloc(GDB_PACKET_MAX + 2);

	send_packet(g, "qC", 2);
	assert_string_equal(g->said, "+$QC01#f5");
	send_raw(g, "-", 1); /* it did not get through */
	assert_string_equal(g->said, "+$QC01#f5$QC01#f5");
	gdb_rig_clear(g);
	send_raw(g, "+$qC#b5", 7); /* wrong sum */
	assert_string_equal(g->said, "-");
	gdb_rig_clear(g);
	send_raw(g, "$qC#xx", 6);
	assert_string_equal(g->said, "-");
	gdb_rig_clear(g);
	send_raw(g, "noise$qAtta$qC#b4", 17); /* one that was cut short */
	assert_string_equal(g->said, "+$QC01#f5");
	gdb_rig_clear(g);
	memset(long_one, 'm', GDB_PACKET_MAX + 1);
	send_packet(g, long_one, GDB_PACKET_MAX + 1);
	assert_string_equal(g->said, "-");
	gdb_rig_clear(g);
	send_packet(g, long_one, GDB_PACKET_MAX);
	assert_string_equal(g->said, "+$E16#ac");
	free(long_one);
	expect(g, "QStartNoAckMode", "OK");
	gdb_rig_clear(g);
	send_raw(g, "-", 1);
	send_raw(g, "$qC#b5", 6);
	assert_string_equal(g->said, "");
	expect(g, "nonsense", "");
	expect(g, "vMustReplyEmpty", "");
	expect(g, "", "");
}

static void test_queries(void **state)
{
	struct gdb_rig *g = *state;

	assert_non_null(strstr(ask(g, "qSupported:xmlRegisters=i386;swbreak+"), "PacketSize=4000;"));
	assert_true(g->stub.tells_swbreak && !g->stub.tells_hwbreak);
	expect(g, "qAttached", "1");
	expect(g, "qfThreadInfo", "m01");
	expect(g, "qsThreadInfo", "l");
	expect(g, "qThreadExtraInfo,1", "76435055203020" "5b72756e6e696e675d");
	expect(g, "qThreadExtraInfo,2", "E16");
	expect(g, "T1", "OK");
	expect(g, "T2", "E16");
	expect(g, "Tffffffffffffffffff", "E16");
	expect(g, "Hg0", "OK");
	expect(g, "Hgp1.1", "OK");
	expect(g, "Hc-1", "OK");
	expect(g, "Hg7", "E16");
	expect(g, "Hx1", "E16");
	expect(g, "?", "T05thread:01;");
	expect(g, "vCont?", "vCont;c;C;s;S");
	expect(g, "qRcmd,68656c70", "3c68656c703e"); /* help */
	assert_non_null(strstr(ask(g, "qRcmd,6e6f6e65"), "7468657265206973206e6f")); /* none */
	expect(g, "qRcmd,6", "E16");
	expect(g, "k", "nothing");
	assert_true(g->killed);
}

/* The description in small pieces is the description. */
static void test_description(void **state)
{
	struct gdb_rig *g = *state;

	for (unsigned arch = 0; arch < 2; arch++) {
		char whole[GDB_XML_MAX] = "", text[64];
		size_t len = 0, want;
		const char *at;

		gdb_rig_attach(g, (enum gdb_arch)arch);
		want = g->stub.xml_len;
		assert_true(want < GDB_XML_MAX - 1);
		do {
			snprintf(text, sizeof(text), "qXfer:features:read:target.xml:%zx,1ff", len);
			at = ask(g, text);
			assert_true(*at == 'm' || *at == 'l');
			for (const char *p = at + 1; *p; p++)
				whole[len++] = *p == '}' ? (char)(*++p ^ 0x20) : *p;
		} while (*at == 'm');
		assert_int_equal(len, want);
		assert_memory_equal(whole, g->stub.xml, want);
		assert_non_null(strstr(whole, arch ? ">i386<" : ">i386:x86-64<"));
		assert_non_null(strstr(whole, "name=\"efer\""));
		assert_non_null(strstr(whole, arch ? "name=\"xmm7\"" : "name=\"xmm15\""));
		assert_non_null(strstr(whole, "</target>"));
	}
	expect(g, "qXfer:features:read:other.xml:0,10", "E00");
	expect(g, "qXfer:features:read:target.xml:0", "E00");
	expect(g, "qXfer:features:read:target.xml:ffffffffffffffff,ffffffffffffffff", "l");
}

static void test_registers(void **state)
{
	struct gdb_rig *g = *state;
	struct x86_cpu *c = g->r->c;
	char before[8192];
	const char *all;

	c->gpr[X86_RBX] = 0x1122334455667788;
	expect(g, "p1", "8877665544332211");
	expect(g, "P1=0102030405060708", "OK");
	assert_int_equal(c->gpr[X86_RBX], 0x0807060504030201);
	all = ask(g, "g");
	assert_int_equal(strncmp(all + 16, "0102030405060708", 16), 0);
	snprintf(before, sizeof(before), "G%s", all);
	expect(g, before, "OK"); /* all as they are */
	assert_string_equal(ask(g, "g"), before + 1);
	memcpy(before + 1, "7856341200000000", 16);
	expect(g, before, "OK");
	assert_int_equal(c->gpr[X86_RAX], 0x12345678);
	expect(g, "Gzz", "E16");
	expect(g, "G00", "E16");
	strcat(before, "00");
	expect(g, before, "E16"); /* one too many */
	expect(g, "pffff", "E16");
	expect(g, "p10000000000000000", "E16");
	expect(g, "Pffff=00", "E16");
	expect(g, "P0=00", "E16");
	/* RIP: canonical; flags: what may be changed. */
	expect(g, "P10=0000000000000080", "E16");
	expect(g, "P10=0090000000000000", "OK");
	assert_int_equal(c->rip, 0x9000);
	expect(g, "P11=ffffffff", "OK");
	assert_int_equal(c->rflags & X86_FL_VM, 0);
	assert_int_equal(c->rflags & (X86_FL_TF | X86_FL_IF | X86_FL_CF), X86_FL_TF | X86_FL_IF | X86_FL_CF);
	expect(g, "P11=02000000", "OK");
	assert_int_equal(c->rflags, 2);
	/* XMM3, and through x87's tag word: st0 is physical register 0. */
	expect(g, "P2b=000102030405060708090a0b0c0d0e0f", "OK");
	assert_int_equal(c->ymm[3].q[0], 0x0706050403020100);
}

static unsigned number_of(struct gdb_rig *g, const char *name)
{
	unsigned n = 0;
	char want[32];

	snprintf(want, sizeof(want), "<reg name=\"%s\"", name);
	for (const char *p = g->stub.xml; (p = strstr(p, "<reg name=")); p++, n++)
		if (!strncmp(p, want, strlen(want)))
			return n;
	fail_msg("no register %s", name);
	return 0;
}

static const char *set(struct gdb_rig *g, const char *name, uint64_t v, unsigned bytes)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "P%x=", number_of(g, name));

	for (unsigned i = 0; i < bytes; i++, v >>= 8)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", (unsigned)(v & 0xff));
	return ask(g, text);
}

static void test_system_registers(void **state)
{
	struct gdb_rig *g = *state;
	struct x86_cpu *c = g->r->c;

	assert_string_equal(set(g, "cr0", c->cr0 & ~X86_CR0_PE, 8), "E16"); /* PG without PE */
	assert_string_equal(set(g, "cr0", c->cr0 | X86_CR0_TS, 8), "OK");
	assert_true(c->cr0 & X86_CR0_TS);
	assert_string_equal(set(g, "cr4", 0, 8), "E16"); /* long mode needs PAE */
	assert_string_equal(set(g, "efer", 1ull << 40, 8), "E16");
	assert_string_equal(set(g, "cr2", 0x1234, 8), "OK");
	assert_string_equal(set(g, "fs_base", 0x8000000000000000, 8), "E16");
	assert_string_equal(set(g, "fs_base", 0x7fff00000000, 8), "OK");
	assert_int_equal(c->seg[X86_FS].base, 0x7fff00000000);
	assert_string_equal(set(g, "k_gs_base", 5, 8), "OK");
	assert_string_equal(set(g, "ds", UDS, 4), "OK");
	assert_int_equal(X86_SEG_DPL(c->seg[X86_DS].attr), 3);
	assert_string_equal(set(g, "ds", CS64, 4), "E16");   /* code */
	assert_string_equal(set(g, "ds", TSS_SEL, 4), "E16"); /* a system segment */
	assert_string_equal(set(g, "ds", 0xfff8, 4), "E16"); /* beyond the table */
	assert_string_equal(set(g, "cs", 0, 4), "E16");
	assert_string_equal(set(g, "ftag", 0xfffc, 4), "OK");
	assert_int_equal(c->fx.ftw, 1);
	gdb_rig_attach(g, GDB_I386);
	rig_protected(g->r);
	assert_string_equal(set(g, "eax", 0x89abcdef, 4), "OK");
	assert_int_equal(g->r->c->gpr[X86_RAX], 0x89abcdef);
	assert_int_equal(strlen(ask(g, "p8")), 8);
}

static void test_memory(void **state)
{
	struct gdb_rig *g = *state;
	char text[64];

	rig_put(g->r, 0x8ffe, 0x44332211, 4);
	expect(g, "m8ffe,4", "11223344");
	expect(g, "M8ffe,4:aabbccdd", "OK");
	assert_int_equal(rig_get(g->r, 0x9000, 2), 0xddcc);
	expect(g, "M8ffe,4:aabbcc", "E16");
	expect(g, "M8ffe,4:aabbccddee", "E16");
	expect(g, "m8000,0", "");
	expect(g, "m8000", "E16");
	expect(g, "m500000,4", "E14"); /* no RAM, not mapped */
	expect(g, "mffffffffffffffff,8", "E14");
	expect(g, "m800000000000,1", "E14"); /* not canonical */
	/* What is there of it; writing is all or nothing. */
	rig_present(g->r, 0x9000, false);
	expect(g, "m8ffe,4", "aabb");
	expect(g, "m9000,1", "E14");
	expect(g, "M8ffe,4:00000000", "E14");
	assert_int_equal(rig_get(g->r, 0x8ffe, 2), 0xbbaa);
	expect(g, "Qqemu.PhyMemMode:1", "OK");
	expect(g, "m8ffe,4", "aabbccdd");
	expect(g, "m400000,1", "E14");
	expect(g, "qqemu.PhyMemMode", "1");
	expect(g, "Qqemu.PhyMemMode:0", "OK");
	expect(g, "m9000,1", "E14");
	/* Binary, with a # in it. */
	g->stub.no_ack = true;
	gdb_rig_clear(g);
	send_packet(g, "X8000,3:\x01}\x03\x02", 12);
	assert_string_equal(g->said, "$OK#9a");
	assert_int_equal(rig_get(g->r, 0x8000, 3), 0x022301);
	snprintf(text, sizeof(text), "X8000,%x:", GDB_PACKET_MAX);
	expect(g, text, "E16");
	/* A long answer is as long as there is room. */
	assert_int_equal(strlen(ask(g, "m10000,10000")), GDB_PACKET_MAX);
}

#define NOP 0x90
#define HLT 0xf4

/* add $1,%eax; nop; jmp to the first; */
static void put_loop(struct gdb_rig *g)
{
	RIG_CODE(g->r, CODE, 0x83, 0xc0, 0x01, NOP, 0xeb, 0xfa, HLT);
	g->r->c->rip = CODE;
	g->r->c->gpr[X86_RAX] = 0;
}

static void test_breakpoints(void **state)
{
	struct gdb_rig *g = *state;
	struct x86_cpu *c = g->r->c;

	put_loop(g);
	ask(g, "qSupported:swbreak+;hwbreak+");
	expect(g, "Z0,8003,1", "OK");
	expect(g, "Z0,8003,1", "OK"); /* twice is once */
	expect(g, "c", "T05thread:01;swbreak:;");
	assert_int_equal(c->rip, CODE + 3);
	expect(g, "c", "T05thread:01;swbreak:;"); /* round the loop */
	assert_int_equal(c->gpr[X86_RAX], 2);
	expect(g, "Z1,8003,1", "OK");
	expect(g, "z0,8003,1", "OK"); /* the other one stays */
	expect(g, "vCont;c", "T05thread:01;hwbreak:;");
	assert_int_equal(c->gpr[X86_RAX], 3);
	expect(g, "z1,8003,1", "OK");
	expect(g, "z1,8003,1", "OK");
	expect(g, "vCont;s:1", "T05thread:01;");
	assert_int_equal(c->rip, CODE + 4);
	expect(g, "s8000", "T05thread:01;");
	assert_int_equal(c->rip, CODE + 3);
	assert_int_equal(c->gpr[X86_RAX], 4);
	expect(g, "s;", "E16");
	expect(g, "vCont", "E16");
	expect(g, "vCont;x", "E16");
	expect(g, "vCont;c:7", "E16");
	expect(g, "vCont;S05:1;c", "T05thread:01;");
	expect(g, "Z7,8003,1", "");
	expect(g, "Z0,8003", "");
	expect(g, "Z2,8003,0", "E1c");
	expect(g, "Z2,8003,21", "E1c");
	assert_int_equal(rig_get(g->r, CODE + 3, 1), NOP); /* memory is as it was */
}

static void test_as_many(void **state)
{
	struct gdb_rig *g = *state;
	char text[64];

	for (unsigned n = 0; n < CPU_POINTS_MAX; n++) {
		snprintf(text, sizeof(text), "Z0,%x,1", 0x20000 + n);
		expect(g, text, "OK");
	}
	expect(g, "Z0,8000,1", "E1c");
	ask(g, "qSupported:error-message+");
	assert_int_equal(strncmp(ask(g, "Z0,8000,1"), "E.there are 256", 15), 0);
	expect(g, "?", "T05thread:01;"); /* begins anew */
	assert_int_equal(g->r->cpus.debug.count, 0);
	expect(g, "Z0,8000,1", "OK");
	expect(g, "D", "OK");
	assert_true(g->detached);
	assert_int_equal(g->r->cpus.debug.count, 0);
	assert_int_equal(g->r->c->debug, 0);
	expect(g, "qC", "nothing"); /* nobody listens any more */
}

static void test_steps(void **state)
{
	struct gdb_rig *g = *state;
	struct x86_cpu *c = g->r->c;

	/* rep stosb; ud2 */
	RIG_CODE(g->r, CODE, 0xf3, 0xaa, 0x0f, 0x0b);
	c->rip = CODE;
	c->gpr[X86_RCX] = 3;
	c->gpr[X86_RDI] = 0xc000;
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(c->rip, CODE);
		expect(g, "s", "T05thread:01;");
	}
	assert_int_equal(c->rip, CODE + 2);
	expect(g, "s", "T05thread:01;");
	assert_int_equal(c->rip, HANDLERS + X86_EXC_UD);
	/* A breakpoint on a repeated one is passed once, not at each iteration. */
	c->rip = CODE;
	c->gpr[X86_RCX] = 5;
	expect(g, "Z0,8000,1", "OK");
	expect(g, "Z0,8002,1", "OK");
	expect(g, "c", "T05thread:01;");
	assert_int_equal(c->rip, CODE);
	expect(g, "c", "T05thread:01;");
	assert_int_equal(c->rip, CODE + 2);
	assert_int_equal(c->gpr[X86_RCX], 0);
	/* HLT: the step is over; what runs is stopped by Ctrl-C. */
	RIG_CODE(g->r, CODE, NOP, HLT);
	expect(g, "z0,8000,1", "OK");
	c->rip = CODE;
	expect(g, "s", "T05thread:01;");
	expect(g, "s", "T05thread:01;");
	assert_true(c->halted);
	expect(g, "c", "nothing");
	gdb_rig_clear(g);
	send_raw(g, "\x03", 1);
	assert_string_equal(g->said, "$T02thread:01;#04");
	/* Who speaks while it runs stops it. */
	expect(g, "c", "nothing");
	gdb_rig_clear(g);
	send_packet(g, "qC", 2);
	assert_string_equal(g->said, "$T02thread:01;#04$QC01#f5");
}

static void test_watchpoints(void **state)
{
	struct gdb_rig *g = *state;
	struct x86_cpu *c = g->r->c;
	static const uint8_t code[] = {
		0xc6, 0x07, 0x05,       /* movb $5, (%rdi) */
		0x8a, 0x07,             /* mov (%rdi), %al */
		0xc7, 0x47, 0x06, 1, 0, 0, 0, /* movl $1, 6(%rdi) */
		NOP, HLT,
	};

	rig_bytes(g->r, CODE, code, sizeof(code));
	c->gpr[X86_RDI] = 0xc000;
	c->rip = CODE;
	expect(g, "Z2,c000,1", "OK");
	expect(g, "c", "T05thread:01;watch:c000;");
	assert_int_equal(c->rip, CODE + 3);
	expect(g, "z2,c000,1", "OK");
	expect(g, "Z3,c000,1", "OK");
	expect(g, "c", "T05thread:01;rwatch:c000;");
	assert_int_equal(c->rip, CODE + 5);
	expect(g, "z3,c000,1", "OK");
	/* It touches the first and last byte of eight. */
	expect(g, "Z4,c009,8", "OK");
	expect(g, "c", "T05thread:01;awatch:c009;");
	assert_int_equal(c->rip, CODE + 12);
	/* The bytes beside are nobody's. */
	expect(g, "z4,c009,8", "OK");
	expect(g, "Z2,c001,5", "OK");
	expect(g, "Z2,c00a,1", "OK");
	expect(g, "Z3,c000,1", "OK");
	c->rip = CODE + 5;
	expect(g, "c", "nothing");
	assert_true(c->halted);
}

/* What a debugger writes over code runs next. */
static void test_written_code(void **state)
{
	struct gdb_rig *g = *state;

	put_loop(g);
	expect(g, "Z0,8003,1", "OK");
	for (unsigned n = 0; n < 5; n++)
		expect(g, "c", "T05thread:01;");
	expect(g, "M8002,1:10", "OK");
	expect(g, "c", "T05thread:01;");
	assert_int_equal(g->r->c->gpr[X86_RAX], 5 + 0x10);
}

/* The guest's own breakpoint and single step beside ours. */
static void test_guests_own(void **state)
{
	struct gdb_rig *g = *state;
	struct x86_cpu *c = g->r->c;

	put_loop(g);
	c->dr[0] = CODE + 3;
	c->dr[7] = X86_DR7_FIXED | 2;
	expect(g, "Z0,8003,1", "OK");
	expect(g, "c", "T05thread:01;");
	assert_int_equal(c->dr[6], X86_DR6_FIXED);
	expect(g, "s", "T05thread:01;");
	assert_int_equal(c->rip, HANDLERS + X86_EXC_DB);
	assert_int_equal(c->dr[6], X86_DR6_FIXED | 1);
	assert_int_equal(c->dr[0], CODE + 3);
	assert_int_equal(c->dr[7], X86_DR7_FIXED | 2);
	/* TF in the frame is the guest's, and ours is nowhere. */
	c->dr[7] = X86_DR7_FIXED;
	c->rip = CODE;
	c->rflags = X86_FL_FIXED | X86_FL_TF;
	expect(g, "s", "T05thread:01;");
	assert_int_equal(c->rip, HANDLERS + X86_EXC_DB);
	assert_int_equal(rig_get(g->r, c->gpr[X86_RSP] + 16, 8) & X86_FL_TF, X86_FL_TF);
}

static void test_pieces(void **state)
{
	struct cpu_point p = { 0x1003, 14, CPU_POINT_WRITE }, out[4];
	const struct engine_desc four = { .name = "four", .debug_points = 4 };
	struct gdb_rig *g = *state;
	struct err err = { "" };

	/* 1003, 1004..7, 1008..f, 1010 */
	assert_int_equal(cpu_point_pieces(&p, out, 4), 4);
	assert_true(out[0].lin == 0x1003 && out[0].len == 1 && out[1].lin == 0x1004 &&
		    out[1].len == 4 && out[2].len == 8 && out[3].lin == 0x1010 && out[3].len == 1);
	assert_int_equal(cpus_debug_set(&g->r->cpus, p, &err), 0);
	assert_int_equal(cpus_debug_fits(&g->r->cpus, &four, &err), 0);
	p = (struct cpu_point){ 0x2000, 1, CPU_POINT_CODE };
	assert_int_equal(cpus_debug_set(&g->r->cpus, p, &err), 0);
	assert_int_equal(cpus_debug_fits(&g->r->cpus, &four, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "engine four has 4 debug registers"));
	/* At the end of the address space. */
	p = (struct cpu_point){ ~0ull - 1, 4, CPU_POINT_WRITE };
	assert_int_equal(cpus_debug_set(&g->r->cpus, p, &err), 0);
	assert_true(cpu_debug_watches(g->r->c, 1, 1));
	assert_true(cpu_debug_watches(g->r->c, ~0ull, 1));
	assert_false(cpu_debug_watches(g->r->c, 2, 8));
	cpus_debug_end(&g->r->cpus);
	assert_false(cpu_debug_watches(g->r->c, 1, 1));
}

static void test_ended(void **state)
{
	struct gdb_rig *g = *state;

	gdb_rig_clear(g);
	gdb_stub_ended(&g->stub, 0);
	assert_string_equal(g->said, "$W00#b7");
	expect(g, "qC", "nothing");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, gdb_rig_setup, gdb_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_frames), TEST(test_queries), TEST(test_description), TEST(test_registers),
		TEST(test_system_registers), TEST(test_memory), TEST(test_breakpoints),
		TEST(test_as_many), TEST(test_steps), TEST(test_watchpoints),
		TEST(test_written_code), TEST(test_guests_own), TEST(test_pieces), TEST(test_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

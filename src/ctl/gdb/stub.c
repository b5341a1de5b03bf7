/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/ctl/gdb/stub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/cpu/x86/x86.h"

/* Signals as the protocol numbers them. */
#define SIG_INT 2
#define SIG_TRAP 5
/* Errors: numbers that GDB prints as they are; QEMU's for memory. */
#define E_MEMORY 0x14
#define E_WRONG 0x16
#define E_FULL 0x1c

static struct x86_cpu *cpu(struct gdb_stub *s, unsigned n)
{
	return s->ops->cpu(s->opaque, n);
}

/*
 * Answers.
 */
static void send_packet(struct gdb_stub *s)
{
	gdb_reply_end(&s->out);
	s->ops->send(s->opaque, s->out.text, s->out.len);
}

static void answer(struct gdb_stub *s, const char *text)
{
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, "%s", text);
	send_packet(s);
}

static void answer_error(struct gdb_stub *s, unsigned number)
{
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, "E%02x", number);
	send_packet(s);
}

static void answer_ok(struct gdb_stub *s, int ret)
{
	if (ret < 0)
		answer_error(s, E_WRONG);
	else
		answer(s, "OK");
}

/*
 * Arguments. Each takes what it reads off the text.
 */
static bool take(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static bool take_word(const char **p, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*p, word, len) != 0)
		return false;
	*p += len;
	return true;
}

static bool take_hex(const char **p, uint64_t *v)
{
	unsigned digits = 0;

	*v = 0;
	for (int d; (d = gdb_hex_digit(**p)) >= 0; (*p)++, digits++) {
		if (digits == 16)
			return false;
		*v = *v << 4 | (unsigned)d;
	}
	return digits != 0;
}

/* "ADDR,LEN" */
static bool take_range(const char **p, uint64_t *addr, uint64_t *len)
{
	return take_hex(p, addr) && take(p, ',') && take_hex(p, len);
}

/* Up to @max bytes in hexadecimal; how many whole ones. */
static size_t take_bytes(const char **p, uint8_t *out, size_t max)
{
	size_t n = 0;

	for (; n < max; n++, *p += 2) {
		int high = gdb_hex_digit((*p)[0]);
		int low = high < 0 ? -1 : gdb_hex_digit((*p)[1]);

		if (low < 0)
			break;
		out[n] = (uint8_t)(high << 4 | low);
	}
	return n;
}

#define ALL_THREADS ~0u

/* A thread's number as a processor's; 0, any, is @any, and -1 ALL_THREADS. A process in
 * front of it ("p1.2") can only be the one. */
static bool take_thread(struct gdb_stub *s, const char **p, unsigned any, unsigned *n)
{
	uint64_t v;

	if (take(p, 'p') && !take_word(p, "-1")) {
		if (!take_hex(p, &v))
			return false;
		if (!take(p, '.')) {
			*n = ALL_THREADS;
			return true;
		}
	}
	if (take_word(p, "-1")) {
		*n = ALL_THREADS;
		return true;
	}
	if (!take_hex(p, &v) || v > s->ops->count(s->opaque))
		return false;
	*n = v ? (unsigned)v - 1 : any;
	return true;
}

/*
 * Stopping and going on.
 */
static const struct gdb_point *point_at(const struct gdb_stub *s, const struct cpu_point *p)
{
	for (unsigned n = 0; n < s->points; n++) {
		const struct cpu_point *at = &s->point[n].at;

		if (at->lin == p->lin && at->kind == p->kind && at->len == p->len)
			return &s->point[n];
	}
	return NULL;
}

static void answer_stop(struct gdb_stub *s, unsigned signal, const struct cpu_stop *stop)
{
	static const char *const watches[] = { [2] = "watch", [3] = "rwatch", [4] = "awatch" };
	const struct gdb_point *p = NULL;

	if (stop && stop->why == CPU_STOP_POINT)
		p = point_at(s, &stop->point);
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, "T%02xthread:%02x;", signal, s->current + 1);
	if (p && p->type >= 2)
		gdb_reply_add(&s->out, "%s:%" PRIx64 ";", watches[p->type], p->at.lin);
	else if (p && cpu(s, s->current)->rip != p->at.lin)
		; /* a segment's base: gdb, which has none, would take it for one of the past */
	else if (p && p->type == 1 && s->tells_hwbreak)
		gdb_reply_add(&s->out, "hwbreak:;");
	else if (p && p->type == 0 && s->tells_swbreak)
		gdb_reply_add(&s->out, "swbreak:;");
	send_packet(s);
}

void gdb_stub_stopped(struct gdb_stub *s, unsigned n, const struct cpu_stop *stop)
{
	if (!s->waiting)
		return;
	s->waiting = false;
	if (stop)
		s->current = s->stepped = n;
	answer_stop(s, stop ? SIG_TRAP : SIG_INT, stop);
}

void gdb_stub_ended(struct gdb_stub *s, uint8_t code)
{
	s->waiting = s->attached = false;
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, "W%02x", code);
	send_packet(s);
}

static void go(struct gdb_stub *s, const enum cpu_go *how)
{
	s->waiting = true;
	s->ops->go(s->opaque, how);
}

/* c, C, s, S: "c[ADDR]", "C SIG[;ADDR]". Signals mean nothing to a processor. */
static void go_simply(struct gdb_stub *s, const char *p, bool step, bool signal)
{
	enum cpu_go how[GDB_THREADS_MAX] = { CPU_GO };
	uint64_t v;

	if (signal && (!take_hex(&p, &v) || (*p && !take(&p, ';')))) {
		answer_error(s, E_WRONG);
		return;
	}
	if (*p) {
		uint8_t bytes[GDB_REG_MAX] = { 0 };
		unsigned rip = s->arch == GDB_I386 ? 8 : 16;

		if (!take_hex(&p, &v)) {
			answer_error(s, E_WRONG);
			return;
		}
		st_le64(bytes, v);
		if (gdb_reg_write(s->arch, cpu(s, s->stepped), rip, bytes) < 0) {
			answer_error(s, E_WRONG);
			return;
		}
	}
	if (step)
		how[s->stepped] = CPU_GO_STEP;
	go(s, how);
}

static void do_c(struct gdb_stub *s, const char *p) { go_simply(s, p, false, false); }
static void do_C(struct gdb_stub *s, const char *p) { go_simply(s, p, false, true); }
static void do_s(struct gdb_stub *s, const char *p) { go_simply(s, p, true, false); }
static void do_S(struct gdb_stub *s, const char *p) { go_simply(s, p, true, true); }

/* One of vCont's ";ACTION[:THREAD]", for those that have none yet. */
static bool one_action(struct gdb_stub *s, const char **p, enum cpu_go *how, bool *given)
{
	enum cpu_go action;
	char c = **p;
	unsigned n = ALL_THREADS;
	uint64_t signal;

	if (!c)
		return false;
	(*p)++;
	if ((c == 'C' || c == 'S') && !take_hex(p, &signal))
		return false;
	if (c != 'c' && c != 'C' && c != 's' && c != 'S')
		return false;
	action = c == 's' || c == 'S' ? CPU_GO_STEP : CPU_GO;
	if (take(p, ':') && !take_thread(s, p, s->current, &n))
		return false;
	for (unsigned i = 0; i < s->ops->count(s->opaque); i++) {
		if (given[i] || (n != ALL_THREADS && n != i))
			continue;
		given[i] = true;
		how[i] = action;
	}
	return !**p || **p == ';';
}

static void do_vCont(struct gdb_stub *s, const char *p)
{
	enum cpu_go how[GDB_THREADS_MAX];
	bool given[GDB_THREADS_MAX] = { false }, any = false;

	for (unsigned n = 0; n < GDB_THREADS_MAX; n++)
		how[n] = CPU_GO_HOLD;
	while (take(&p, ';'))
		if (!one_action(s, &p, how, given)) {
			answer_error(s, E_WRONG);
			return;
		}
	for (unsigned n = 0; n < s->ops->count(s->opaque); n++)
		any |= given[n];
	if (*p || !any)
		answer_error(s, E_WRONG);
	else
		go(s, how);
}

static void do_vCont_query(struct gdb_stub *s, const char *p) { answer(s, "vCont;c;C;s;S"); }

static void clear_points(struct gdb_stub *s)
{
	while (s->points) {
		struct cpu_point at = s->point[--s->points].at;

		if (!point_at(s, &at))
			(void)s->ops->point(s->opaque, at, false, NULL);
	}
}

/* "?" is what a debugger begins with: nothing is left of one before it. */
static void do_why(struct gdb_stub *s, const char *p)
{
	clear_points(s);
	answer_stop(s, SIG_TRAP, NULL);
}

static void do_detach(struct gdb_stub *s, const char *p)
{
	clear_points(s);
	answer(s, "OK");
	s->attached = false;
	s->ops->detach(s->opaque);
}

static void do_kill(struct gdb_stub *s, const char *p)
{
	s->attached = false;
	s->ops->kill(s->opaque);
}

static void do_vKill(struct gdb_stub *s, const char *p)
{
	answer(s, "OK");
	do_kill(s, p);
}

/*
 * Registers and memory.
 */
static void do_g(struct gdb_stub *s, const char *p)
{
	uint8_t value[GDB_REG_MAX];

	gdb_reply_begin(&s->out);
	for (unsigned n = 0;; n++) {
		size_t len = gdb_reg_read(s->arch, cpu(s, s->current), n, value);

		if (!len)
			break;
		gdb_reply_hex(&s->out, value, len);
	}
	send_packet(s);
}

/* What is refused stays as it is, the others are set. */
static void do_G(struct gdb_stub *s, const char *p)
{
	struct x86_cpu *c = cpu(s, s->current);
	uint8_t value[GDB_REG_MAX];
	int ret = 0;

	for (unsigned n = 0; *p; n++) {
		size_t len = gdb_reg_size(s->arch, c, n);

		if (!len || take_bytes(&p, value, len) != len) {
			ret = -EINVAL;
			break;
		}
		if (gdb_reg_write(s->arch, c, n, value) < 0)
			ret = -EINVAL;
	}
	answer_ok(s, ret);
}

static void do_p(struct gdb_stub *s, const char *p)
{
	uint8_t value[GDB_REG_MAX];
	uint64_t n;
	size_t len;

	if (!take_hex(&p, &n) || n > UINT16_MAX ||
	    !(len = gdb_reg_read(s->arch, cpu(s, s->current), (unsigned)n, value))) {
		answer_error(s, E_WRONG);
		return;
	}
	gdb_reply_begin(&s->out);
	gdb_reply_hex(&s->out, value, len);
	send_packet(s);
}

static void do_P(struct gdb_stub *s, const char *p)
{
	struct x86_cpu *c = cpu(s, s->current);
	uint8_t value[GDB_REG_MAX];
	uint64_t n;
	size_t len;

	if (!take_hex(&p, &n) || n > UINT16_MAX || !take(&p, '=') ||
	    !(len = gdb_reg_size(s->arch, c, (unsigned)n)) || take_bytes(&p, value, len) != len)
		answer_error(s, E_WRONG);
	else
		answer_ok(s, gdb_reg_write(s->arch, c, (unsigned)n, value));
}

static void do_m(struct gdb_stub *s, const char *p)
{
	uint8_t buf[GDB_PACKET_MAX / 2];
	uint64_t addr, len;
	size_t n;

	if (!take_range(&p, &addr, &len) || *p) {
		answer_error(s, E_WRONG);
		return;
	}
	len = min_of(len, (uint64_t)sizeof(buf));
	n = gdb_mem_read(cpu(s, s->current), addr, buf, len, s->physical);
	if (len && !n) {
		answer_error(s, E_MEMORY);
		return;
	}
	gdb_reply_begin(&s->out);
	gdb_reply_hex(&s->out, buf, n);
	send_packet(s);
}

static void write_memory(struct gdb_stub *s, uint64_t addr, const void *data, size_t len)
{
	if (gdb_mem_write(cpu(s, s->current), addr, data, len, s->physical) < 0)
		answer_error(s, E_MEMORY);
	else
		answer(s, "OK");
}

static void do_M(struct gdb_stub *s, const char *p)
{
	uint8_t buf[GDB_PACKET_MAX / 2];
	uint64_t addr, len;

	if (!take_range(&p, &addr, &len) || !take(&p, ':') || len > sizeof(buf) ||
	    take_bytes(&p, buf, len) != len || *p)
		answer_error(s, E_WRONG);
	else
		write_memory(s, addr, buf, len);
}

static void do_X(struct gdb_stub *s, const char *p)
{
	uint64_t addr, len;

	if (!take_range(&p, &addr, &len) || !take(&p, ':') ||
	    len != s->in.len - (size_t)(p - s->in.data))
		answer_error(s, E_WRONG);
	else
		write_memory(s, addr, p, len);
}

/*
 * Breakpoints and watchpoints: "TYPE,ADDR,KIND"; for watchpoints KIND is a length.
 */
static bool take_point(const char **p, struct gdb_point *out)
{
	static const enum cpu_point_kind kinds[] = {
		CPU_POINT_CODE, CPU_POINT_CODE, CPU_POINT_WRITE, CPU_POINT_READ, CPU_POINT_ACCESS,
	};
	uint64_t type, addr, kind;

	if (!take_hex(p, &type) || type >= array_size(kinds) || !take(p, ',') ||
	    !take_range(p, &addr, &kind) || kind > UINT32_MAX)
		return false;
	*out = (struct gdb_point){
		.type = (uint8_t)type,
		.at = { addr, type < 2 ? 1 : (uint32_t)kind, kinds[type] },
	};
	return true;
}

static struct gdb_point *find_point(struct gdb_stub *s, const struct gdb_point *p)
{
	for (unsigned n = 0; n < s->points; n++)
		if (s->point[n].type == p->type && s->point[n].at.lin == p->at.lin &&
		    s->point[n].at.len == p->at.len)
			return &s->point[n];
	return NULL;
}

static void refuse_point(struct gdb_stub *s, const struct err *err)
{
	if (!s->tells_errors) {
		answer_error(s, E_FULL);
		return;
	}
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, "E.");
	gdb_reply_binary(&s->out, err->text, strlen(err->text));
	send_packet(s);
}

static void do_Z(struct gdb_stub *s, const char *p)
{
	struct err err = { "too many breakpoints and watchpoints" };
	struct gdb_point new;

	if (!take_point(&p, &new)) {
		answer(s, ""); /* another kind of point: we have none */
		return;
	}
	if (find_point(s, &new)) {
		answer(s, "OK");
		return;
	}
	if (s->points == GDB_POINTS_MAX || s->ops->point(s->opaque, new.at, true, &err) < 0) {
		refuse_point(s, &err);
		return;
	}
	s->point[s->points++] = new;
	answer(s, "OK");
}

static void do_z(struct gdb_stub *s, const char *p)
{
	struct gdb_point old, *at;

	if (!take_point(&p, &old)) {
		answer(s, "");
		return;
	}
	at = find_point(s, &old);
	if (at) {
		*at = s->point[--s->points];
		if (!point_at(s, &old.at))
			(void)s->ops->point(s->opaque, old.at, false, NULL);
	}
	answer(s, "OK");
}

/*
 * Threads.
 */
static void do_H(struct gdb_stub *s, const char *p)
{
	bool step = take(&p, 'c');
	unsigned n;

	if ((!step && !take(&p, 'g')) || !take_thread(s, &p, s->current, &n) || *p) {
		answer_error(s, E_WRONG);
		return;
	}
	if (n == ALL_THREADS)
		n = s->current;
	if (step)
		s->stepped = n;
	else
		s->current = n;
	answer(s, "OK");
}

static void do_T(struct gdb_stub *s, const char *p)
{
	unsigned n;

	answer_ok(s, take_thread(s, &p, s->current, &n) && !*p ? 0 : -EINVAL);
}

static void do_qC(struct gdb_stub *s, const char *p)
{
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, "QC%02x", s->current + 1);
	send_packet(s);
}

static void do_threads(struct gdb_stub *s, const char *p)
{
	gdb_reply_begin(&s->out);
	for (unsigned n = 0; n < s->ops->count(s->opaque); n++)
		gdb_reply_add(&s->out, "%c%02x", n ? ',' : 'm', n + 1);
	send_packet(s);
}

static void do_threads_end(struct gdb_stub *s, const char *p) { answer(s, "l"); }

static void do_thread_info(struct gdb_stub *s, const char *p)
{
	char text[64];
	unsigned n;

	if (!take_thread(s, &p, s->current, &n) || n == ALL_THREADS) {
		answer_error(s, E_WRONG);
		return;
	}
	snprintf(text, sizeof(text), "vCPU %u [%s]", n,
		 cpu(s, n)->wait_sipi ? "waits for SIPI" : cpu(s, n)->halted ? "halted" : "running");
	gdb_reply_begin(&s->out);
	gdb_reply_hex(&s->out, text, strlen(text));
	send_packet(s);
}

/*
 * Queries.
 */
static void do_supported(struct gdb_stub *s, const char *p)
{
	s->tells_swbreak = strstr(p, "swbreak+") != NULL;
	s->tells_hwbreak = strstr(p, "hwbreak+") != NULL;
	s->tells_errors = strstr(p, "error-message+") != NULL;
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;"
		      "vContSupported+;swbreak+;hwbreak+", GDB_PACKET_MAX);
	send_packet(s);
}

static void do_no_ack(struct gdb_stub *s, const char *p)
{
	answer(s, "OK");
	s->no_ack = true;
}

static void do_attached(struct gdb_stub *s, const char *p) { answer(s, "1"); }
static void do_ok(struct gdb_stub *s, const char *p) { answer(s, "OK"); }

/* "target.xml:OFFSET,LENGTH" */
static void do_features(struct gdb_stub *s, const char *p)
{
	uint64_t off, len;

	if (!take_word(&p, "target.xml:") || !take_range(&p, &off, &len) || *p) {
		answer_error(s, 0);
		return;
	}
	off = min_of(off, (uint64_t)s->xml_len);
	/* Half of the room: every byte may need an escape. */
	len = min_of(min_of(len, (uint64_t)s->xml_len - off), (uint64_t)(GDB_PACKET_MAX / 2 - 1));
	gdb_reply_begin(&s->out);
	gdb_reply_add(&s->out, off + len == s->xml_len ? "l" : "m");
	gdb_reply_binary(&s->out, s->xml + off, len);
	send_packet(s);
}

static void do_monitor(struct gdb_stub *s, const char *p)
{
	char command[256], out[GDB_MONITOR_MAX] = "";
	size_t n = take_bytes(&p, (uint8_t *)command, sizeof(command) - 1);

	if (*p) {
		answer_error(s, E_WRONG);
		return;
	}
	command[n] = '\0';
	if (!s->ops->monitor(s->opaque, command, out, sizeof(out)))
		snprintf(out, sizeof(out), "there is no such command; 'help' lists them\n");
	if (!*out) {
		answer(s, "OK");
		return;
	}
	gdb_reply_begin(&s->out);
	gdb_reply_hex(&s->out, out, strlen(out));
	send_packet(s);
}

/* QEMU's packets for physical addresses (its docs/system/gdb.rst). */
static void do_physical(struct gdb_stub *s, const char *p)
{
	s->physical = take(&p, '1');
	answer(s, "OK");
}

static void do_is_physical(struct gdb_stub *s, const char *p) { answer(s, s->physical ? "1" : "0"); }

/* The first that a packet begins with; a whole one's packet ends there. */
static const struct command {
	const char *prefix;
	bool whole;
	void (*fn)(struct gdb_stub *s, const char *rest);
} commands[] = {
	{ "?", true, do_why },
	{ "g", true, do_g },
	{ "G", false, do_G },
	{ "p", false, do_p },
	{ "P", false, do_P },
	{ "m", false, do_m },
	{ "M", false, do_M },
	{ "X", false, do_X },
	{ "Z", false, do_Z },
	{ "z", false, do_z },
	{ "H", false, do_H },
	{ "T", false, do_T },
	{ "c", false, do_c },
	{ "C", false, do_C },
	{ "s", false, do_s },
	{ "S", false, do_S },
	{ "vCont?", true, do_vCont_query },
	{ "vCont", false, do_vCont },
	{ "vKill", false, do_vKill },
	{ "k", false, do_kill },
	{ "D", false, do_detach },
	{ "qSupported", false, do_supported },
	{ "QStartNoAckMode", true, do_no_ack },
	{ "qXfer:features:read:", false, do_features },
	{ "qAttached", false, do_attached },
	{ "qC", true, do_qC },
	{ "qfThreadInfo", true, do_threads },
	{ "qsThreadInfo", true, do_threads_end },
	{ "qThreadExtraInfo,", false, do_thread_info },
	{ "qSymbol:", false, do_ok },
	{ "qRcmd,", false, do_monitor },
	{ "Qqemu.PhyMemMode:", false, do_physical },
	{ "qqemu.PhyMemMode", true, do_is_physical },
};

static void packet(struct gdb_stub *s)
{
	/* Whoever sends while the machine runs does not keep to the protocol, and wants it
	 * to stop. */
	if (s->ops->running(s->opaque))
		s->ops->pause(s->opaque);
	for (size_t n = 0; n < array_size(commands); n++) {
		const char *p = s->in.data;

		if (!take_word(&p, commands[n].prefix) || (commands[n].whole && *p))
			continue;
		commands[n].fn(s, p);
		return;
	}
	answer(s, "");
}

void gdb_stub_init(struct gdb_stub *s, const struct gdb_ops *ops, void *opaque,
		   enum gdb_arch arch)
{
	memset(s, 0, sizeof(*s));
	s->ops = ops;
	s->opaque = opaque;
	s->arch = arch;
	s->attached = true;
	gdb_frame_init(&s->in);
	s->xml_len = gdb_cpu_describe(arch, x86_has(cpu(s, 0), X86_F_AVX), s->xml, sizeof(s->xml));
}

static void one_byte(struct gdb_stub *s, uint8_t b)
{
	switch (gdb_frame_byte(&s->in, b)) {
	case GDB_IN_PACKET:
		if (!s->no_ack)
			s->ops->send(s->opaque, "+", 1);
		packet(s);
		break;
	case GDB_IN_BAD:
		if (!s->no_ack)
			s->ops->send(s->opaque, "-", 1);
		break;
	case GDB_IN_NAK:
		if (!s->no_ack && s->out.len)
			s->ops->send(s->opaque, s->out.text, s->out.len);
		break;
	case GDB_IN_BREAK:
		if (s->ops->running(s->opaque))
			s->ops->pause(s->opaque);
		break;
	case GDB_IN_ACK:
	case GDB_IN_NOTHING:
		break;
	}
}

void gdb_stub_feed(struct gdb_stub *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len-- && s->attached)
		one_byte(s, *p++);
}

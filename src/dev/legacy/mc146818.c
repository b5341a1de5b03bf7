/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/mc146818.h"

#include <errno.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

#define NS_PER_S 1000000000ll

enum {
	REG_SEC, REG_SEC_ALARM, REG_MIN, REG_MIN_ALARM, REG_HOUR, REG_HOUR_ALARM, REG_WDAY,
	REG_MDAY, REG_MONTH, REG_YEAR, REG_A, REG_B, REG_C, REG_D, REG_RAM, REG_CENTURY = 0x32,
};

#define A_UIP 0x80u
#define A_DIVIDER 0x70u
#define A_RATE 0x0fu
#define B_SET 0x80u
#define B_PIE 0x40u
#define B_AIE 0x20u
#define B_UIE 0x10u
#define B_BINARY 0x04u
#define B_24H 0x02u
#define C_IRQF 0x80u
#define C_PF 0x40u
#define C_AF 0x20u
#define C_UF 0x10u
#define D_VALID 0x80u

/* What the clock can show, seconds since 1970: the years 1811 to 2255, all that
 * nanoseconds in 64 bits hold with room for differences. */
#define FIRST_S (-5000000000ll)
#define LAST_S 9000000000ll
/* From the last on it can run on for three years. */
#define RUN_S (LAST_S + 100000000)

/* Whoever sees update-in-progress clear has at least this long to read. */
#define UIP_NS 244000
/* An update comes half a second after the divider is let go. */
#define DIVIDER_NS (NS_PER_S / 2)

/*
 * The clock.
 */
static int64_t virtual_ns(const struct mc146818 *r)
{
	return vtime_now_ns(r->env->vtime);
}

/* The host's wall time, as seconds since 1970 of whatever zone is shown. */
static int64_t host_ns(const struct mc146818 *r)
{
	struct timespec ts;
	struct tm tm;

	if (vtime_is_manual(r->env->vtime))
		return r->cfg.start_s * NS_PER_S + virtual_ns(r);
	clock_gettime(CLOCK_REALTIME, &ts);
	if (r->cfg.local_time && localtime_r(&ts.tv_sec, &tm))
		ts.tv_sec += tm.tm_gmtoff;
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t guest_ns(const struct mc146818 *r)
{
	return r->held ? r->held_ns : host_ns(r) + r->offset_ns;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static uint8_t encode(const struct mc146818 *r, int v)
{
	v %= 100;
	return (uint8_t)(r->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct mc146818 *r, uint8_t v)
{
	return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct mc146818 *r, int hour)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, hour);
	return (uint8_t)(encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0));
}

static int decode_hour(const struct mc146818 *r, uint8_t v)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* Writes the time of @ns into the time registers. */
static void show(struct mc146818 *r, int64_t ns)
{
	time_t s = floor_div(ns, NS_PER_S);
	struct tm tm;
	int year;

	if (!gmtime_r(&s, &tm))
		return;
	year = (tm.tm_year + 1900) % 10000;
	if (year < 0)
		year = 0;
	r->cmos[REG_SEC] = encode(r, tm.tm_sec);
	r->cmos[REG_MIN] = encode(r, tm.tm_min);
	r->cmos[REG_HOUR] = encode_hour(r, tm.tm_hour);
	r->cmos[REG_WDAY] = encode(r, tm.tm_wday + 1);
	r->cmos[REG_MDAY] = encode(r, tm.tm_mday);
	r->cmos[REG_MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[REG_YEAR] = encode(r, year % 100);
	r->cmos[REG_CENTURY] = encode(r, year / 100);
}

/* The time that the time registers say, in ns; what is out of range carries over. */
static int64_t told(const struct mc146818 *r)
{
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[REG_SEC]),
		.tm_min = decode(r, r->cmos[REG_MIN]),
		.tm_hour = decode_hour(r, r->cmos[REG_HOUR]),
		.tm_mday = decode(r, r->cmos[REG_MDAY]),
		.tm_mon = decode(r, r->cmos[REG_MONTH]) - 1,
		.tm_year = decode(r, r->cmos[REG_CENTURY]) * 100 +
			   decode(r, r->cmos[REG_YEAR]) - 1900,
	};
	int64_t s = timegm(&tm);

	return (s < FIRST_S ? FIRST_S : s > LAST_S ? LAST_S : s) * NS_PER_S;
}

static void set_guest_ns(struct mc146818 *r, int64_t ns)
{
	if (r->held)
		r->held_ns = ns;
	else
		r->offset_ns = ns - host_ns(r);
}

/*
 * Interrupts.
 */
static void raise_flags(struct mc146818 *r, uint8_t flags)
{
	r->cmos[REG_C] |= flags;
	if (r->cmos[REG_C] & r->cmos[REG_B] & (C_PF | C_AF | C_UF))
		r->cmos[REG_C] |= C_IRQF;
	else
		r->cmos[REG_C] &= (uint8_t)~C_IRQF;
	irq_set(&r->irq, r->cmos[REG_C] & C_IRQF ? 1 : 0);
}

static bool alarm_matches(const struct mc146818 *r)
{
	static const uint8_t regs[3] = { REG_SEC, REG_MIN, REG_HOUR };

	for (unsigned n = 0; n < 3; n++) {
		uint8_t alarm = r->cmos[regs[n] + 1];

		if ((alarm & 0xc0) != 0xc0 && alarm != r->cmos[regs[n]])
			return false;
	}
	return true;
}

/* At the next full second of the guest's clock. */
static void arm_update(struct mc146818 *r)
{
	int64_t in_second;

	if (r->held) {
		vtimer_cancel(&r->update);
		return;
	}
	in_second = guest_ns(r) - floor_div(guest_ns(r), NS_PER_S) * NS_PER_S;
	vtimer_arm(&r->update, virtual_ns(r) + NS_PER_S - in_second);
}

static void second_passed(void *opaque)
{
	struct mc146818 *r = opaque;
	int64_t now = floor_div(guest_ns(r), NS_PER_S);
	uint8_t flags = 0;

	/* The wall clock may have been set back, or run slower than the timer. */
	if (now != r->shown_s) {
		flags = C_UF;
		/* An alarm in the seconds that a busy host lost is not lost; a clock
		 * that jumped is only looked at where it landed. */
		if (now < r->shown_s || now - r->shown_s > 60)
			r->shown_s = now - 1;
		while (r->shown_s < now) {
			r->shown_s++;
			show(r, r->shown_s * NS_PER_S);
			if (alarm_matches(r))
				flags |= C_AF;
		}
	}
	raise_flags(r, flags);
	arm_update(r);
}

/* 0: off. 122 us to 500 ms: fast enough for any guest, slow enough for the host. */
static int64_t period_ns(const struct mc146818 *r)
{
	unsigned rate = r->cmos[REG_A] & A_RATE;

	if (!rate || (r->cmos[REG_A] & A_DIVIDER) > 0x20)
		return 0;
	if (rate < 3)
		rate += 7;
	return NS_PER_S * (1 << (rate - 1)) / 32768;
}

static void arm_periodic(struct mc146818 *r)
{
	int64_t period = period_ns(r), now = virtual_ns(r);

	if (!period || !(r->cmos[REG_B] & B_PIE))
		vtimer_cancel(&r->periodic);
	else
		vtimer_arm(&r->periodic,
			   r->periodic_ns + ((now - r->periodic_ns) / period + 1) * period);
}

/* Ticks nobody asked to be told of are noticed when somebody looks. */
static bool periodic_passed(struct mc146818 *r)
{
	int64_t period = period_ns(r), now = virtual_ns(r), ticks;

	if (!period)
		return false;
	ticks = (now - r->periodic_ns) / period;
	r->periodic_ns += ticks * period;
	return ticks > 0;
}

static void period_passed(void *opaque)
{
	struct mc146818 *r = opaque;

	if (periodic_passed(r))
		raise_flags(r, C_PF);
	arm_periodic(r);
}

/*
 * Registers.
 */
static bool is_time(uint8_t reg)
{
	return reg == REG_CENTURY ||
	       (reg <= REG_YEAR && reg != REG_SEC_ALARM && reg != REG_MIN_ALARM &&
		reg != REG_HOUR_ALARM);
}

/* After register A or B changed: does the clock stand or run? */
static void hold_or_run(struct mc146818 *r, bool divider_let_go)
{
	bool hold = r->cmos[REG_B] & B_SET || (r->cmos[REG_A] & A_DIVIDER) > 0x20;
	int64_t ns;

	if (hold == r->held)
		return;
	if (hold) {
		ns = guest_ns(r);
		r->held = true;
		r->held_ns = ns;
		show(r, ns);
	} else {
		ns = r->held_ns;
		if (divider_let_go)
			ns = floor_div(ns, NS_PER_S) * NS_PER_S + NS_PER_S - DIVIDER_NS;
		r->held = false;
		set_guest_ns(r, ns);
		r->shown_s = floor_div(ns, NS_PER_S);
	}
	arm_update(r);
}

static void write_time(struct mc146818 *r, uint8_t reg, uint8_t val)
{
	int64_t ns = guest_ns(r), fraction = ns - floor_div(ns, NS_PER_S) * NS_PER_S;

	if (!r->held)
		show(r, ns);
	r->cmos[reg] = val;
	if (reg == REG_WDAY)
		return; /* follows from the date */
	set_guest_ns(r, told(r) + fraction);
	r->shown_s = floor_div(guest_ns(r), NS_PER_S);
	arm_update(r);
}

static void cmos_write(struct mc146818 *r, uint8_t reg, uint8_t val)
{
	uint8_t old = r->cmos[reg];

	if (is_time(reg)) {
		write_time(r, reg, val);
		return;
	}
	switch (reg) {
	case REG_A:
		r->cmos[REG_A] = val & 0x7f;
		hold_or_run(r, (old & A_DIVIDER) > 0x20);
		if ((old ^ val) & 0x7f)
			r->periodic_ns = virtual_ns(r);
		arm_periodic(r);
		break;
	case REG_B:
		if (val & B_SET)
			val &= (uint8_t)~B_UIE; /* SET clears it */
		r->cmos[REG_B] = val;
		hold_or_run(r, false);
		if ((old ^ val) & (B_BINARY | B_24H) && r->held)
			show(r, r->held_ns);
		periodic_passed(r);
		arm_periodic(r);
		raise_flags(r, 0);
		break;
	case REG_C: case REG_D:
		break;
	default:
		r->cmos[reg] = val;
		break;
	}
}

static uint8_t cmos_read(struct mc146818 *r, uint8_t reg)
{
	int64_t ns = guest_ns(r);
	uint8_t v;

	if (is_time(reg) && !r->held)
		show(r, ns);
	switch (reg) {
	case REG_A:
		if (!r->held && ns - floor_div(ns, NS_PER_S) * NS_PER_S >= NS_PER_S - UIP_NS)
			return r->cmos[REG_A] | A_UIP;
		return r->cmos[REG_A];
	case REG_C:
		if (periodic_passed(r))
			raise_flags(r, C_PF);
		v = r->cmos[REG_C];
		r->cmos[REG_C] = 0;
		irq_set(&r->irq, 0);
		return v;
	default:
		return r->cmos[reg];
	}
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	struct mc146818 *r = dev;

	switch (off) {
	case 1: return cmos_read(r, r->index);
	case 2: return r->index_high;
	case 3: return cmos_read(r, r->index_high | 0x80);
	default: return 0xff; /* the index is write-only */
	}
}

static void ports_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct mc146818 *r = dev;

	switch (off) {
	case 0: r->index = val & 0x7f; break; /* bit 7 masks NMI */
	case 1: cmos_write(r, r->index, (uint8_t)val); break;
	case 2: r->index_high = val & 0x7f; break;
	default: cmos_write(r, r->index_high | 0x80, (uint8_t)val); break;
	}
}

static const struct bus_ops ports_ops = { ports_read, ports_write, 1, 1, false };

/*
 * What a PC's firmware keeps in CMOS memory.
 */
static void checksum(struct mc146818 *r)
{
	unsigned sum = 0;

	for (unsigned n = 0x10; n < 0x2e; n++)
		sum += r->cmos[n];
	r->cmos[0x2e] = (uint8_t)(sum >> 8);
	r->cmos[0x2f] = (uint8_t)sum;
}

static void set_sizes(struct mc146818 *r)
{
	uint64_t low = r->cfg.low_mem, ext_kib, ext_64k, high_64k;

	ext_kib = low > 1 << 20 ? min_of((low - (1 << 20)) >> 10, 0xffffu) : 0;
	ext_64k = low > 16 << 20 ? min_of((low - (16 << 20)) >> 16, 0xffffu) : 0;
	high_64k = min_of(r->cfg.high_mem >> 16, 0xffffffu);
	st_le16(&r->cmos[0x15], 640); /* base memory, KiB */
	st_le16(&r->cmos[0x17], (uint16_t)ext_kib);
	st_le16(&r->cmos[0x30], (uint16_t)ext_kib);
	st_le16(&r->cmos[0x34], (uint16_t)ext_64k);
	st_le16(&r->cmos[0x5b], (uint16_t)high_64k);
	r->cmos[0x5d] = (uint8_t)(high_64k >> 16);
	r->cmos[0x14] = 0x06; /* equipment: FPU, PS/2 mouse */
	checksum(r);
}

void mc146818_set_cmos(struct mc146818 *r, uint8_t index, uint8_t val)
{
	if (index < REG_RAM || index == REG_CENTURY)
		return;
	r->cmos[index] = val;
	checksum(r);
}

/*
 * Life. The clock and CMOS memory have a battery: a reset of the machine leaves them
 * alone but for the interrupt enables (data sheet, RESET pin).
 */
static void reset(void *dev)
{
	struct mc146818 *r = dev;

	r->cmos[REG_B] &= (uint8_t)~(B_PIE | B_AIE | B_UIE | 0x08);
	r->cmos[REG_C] = 0;
	r->index = r->index_high = 0;
	irq_set(&r->irq, 0);
	arm_periodic(r);
}

int mc146818_init(struct mc146818 *r, const struct dev_env *env,
		  const struct mc146818_config *cfg, const struct irq_line *irq, struct err *err)
{
	int ret;

	*r = (struct mc146818){ .env = env, .cfg = *cfg, .irq = *irq };
	vtimer_init(&r->update, env->vtime, second_passed, r);
	vtimer_init(&r->periodic, env->vtime, period_passed, r);
	r->cmos[REG_A] = 0x26; /* 32.768 kHz, 976.562 us */
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_D] = D_VALID;
	set_sizes(r);
	r->periodic_ns = virtual_ns(r);
	r->shown_s = floor_div(guest_ns(r), NS_PER_S);
	arm_update(r);
	r->ports = (struct bus_range){ 0x70, 4, &ports_ops, r, "mc146818" };
	ret = bus_add_pio(env->bus, &r->ports);
	if (ret != 0) {
		mc146818_fini(r);
		return err_set(err, ret, "cannot place the real-time clock");
	}
	return 0;
}

void mc146818_fini(struct mc146818 *r)
{
	vtimer_cancel(&r->update);
	vtimer_cancel(&r->periodic);
	bus_del_pio(r->env->bus, &r->ports);
}

static void pre_save(void *obj)
{
	struct mc146818 *r = obj;

	r->periodic_age_ns = virtual_ns(r) - r->periodic_ns;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct mc146818 *r = obj;
	__int128 shown = (__int128)host_ns(r) + r->offset_ns;

	r->index &= 0x7f;
	r->index_high &= 0x7f;
	r->cmos[REG_A] &= 0x7f;
	if (shown < FIRST_S * NS_PER_S || shown > RUN_S * NS_PER_S ||
	    r->held_ns < FIRST_S * NS_PER_S || r->held_ns > RUN_S * NS_PER_S)
		return err_set(err, -EINVAL, "the clock is off by %lld s",
			       (long long)(r->offset_ns / NS_PER_S));
	if (r->shown_s < FIRST_S || r->shown_s > RUN_S)
		r->shown_s = 0; /* looked at anew by the next tick */
	if (r->periodic_age_ns < 0 || r->periodic_age_ns > INT64_MAX / 4)
		return err_set(err, -EINVAL, "the last tick was %lld ns ago",
			       (long long)r->periodic_age_ns);
	r->periodic_ns = virtual_ns(r) - r->periodic_age_ns;
	if (r->held != (r->cmos[REG_B] & B_SET || (r->cmos[REG_A] & A_DIVIDER) > 0x20))
		return err_set(err, -EINVAL, "the clock both stands and runs");
	return 0;
}

static const struct state_field fields[] = {
	STATE_BYTES(struct mc146818, cmos, 1),
	STATE_U8(struct mc146818, index, 1),
	STATE_U8(struct mc146818, index_high, 1),
	STATE_U64(struct mc146818, offset_ns, 1),
	STATE_U64(struct mc146818, held_ns, 1),
	STATE_BOOL(struct mc146818, held, 1),
	STATE_U64(struct mc146818, shown_s, 1),
	STATE_U64(struct mc146818, periodic_age_ns, 1),
	STATE_TIMER(struct mc146818, periodic, 1),
	STATE_TIMER(struct mc146818, update, 1),
	STATE_IRQ(struct mc146818, irq, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "mc146818", .version = 1, .fields = fields,
	.pre_save = pre_save, .post_load = post_load,
};

const struct dev_desc mc146818_desc = {
	.name = "mc146818",
	.title = "real-time clock and CMOS memory",
	.reset = reset,
	.state = &state,
};

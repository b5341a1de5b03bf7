/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/uart16550.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX 0x01u
#define IER_THRE 0x02u
#define IER_LINE 0x04u
#define IER_MODEM 0x08u
#define IIR_NONE 0x01u
#define IIR_MODEM 0x00u
#define IIR_THRE 0x02u
#define IIR_RX 0x04u
#define IIR_LINE 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFOS 0xc0u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_CLEAR_TX 0x04u
#define LCR_DLAB 0x80u
#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define LSR_DATA 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_ERRORS 0x1eu
#define LSR_THRE 0x20u
#define LSR_EMPTY 0x40u
#define MSR_DELTAS 0x0fu
#define MSR_RI 0x40u
/* What a connected peer shows: clear to send, data set ready, carrier. */
#define MSR_PEER 0xb0u

static bool fifos(const struct uart16550 *u)
{
	return u->fcr & FCR_ENABLE;
}

static unsigned fifo_room(const struct uart16550 *u, const struct uart16550_fifo *f)
{
	return (fifos(u) ? UART16550_FIFO : 1u) - f->count;
}

static void fifo_put(struct uart16550_fifo *f, uint8_t v)
{
	f->data[(f->head + f->count++) % UART16550_FIFO] = v;
}

static uint8_t fifo_get(struct uart16550_fifo *f)
{
	uint8_t v = f->data[f->head];

	f->head = (f->head + 1) % UART16550_FIFO;
	f->count--;
	return v;
}

static unsigned trigger_level(const struct uart16550 *u)
{
	static const uint8_t level[4] = { 1, 4, 8, 14 };

	return fifos(u) ? level[u->fcr >> 6] : 1;
}

/* The interrupt of highest priority (data sheet, table IV). */
static uint8_t interrupt(const struct uart16550 *u)
{
	if (u->ier & IER_LINE && u->lsr & LSR_ERRORS)
		return IIR_LINE;
	if (u->ier & IER_RX && u->rx.count >= trigger_level(u))
		return IIR_RX;
	if (u->ier & IER_RX && u->timeout_pending)
		return IIR_TIMEOUT;
	if (u->ier & IER_THRE && u->thre_pending)
		return IIR_THRE;
	if (u->ier & IER_MODEM && u->msr & MSR_DELTAS)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update(struct uart16550 *u)
{
	irq_set(&u->irq, interrupt(u) != IIR_NONE);
}

/*
 * Receiving.
 */

/* Four character times (data sheet, 8.4.2), within what makes sense for a host. */
static int64_t timeout_ns(const struct uart16550 *u)
{
	unsigned bits = 1 + 5 + (u->lcr & 3) + (u->lcr >> 3 & 1) + 1 + (u->lcr >> 2 & 1);
	int64_t ns = (int64_t)(u->divisor ? u->divisor : 1) * 16 * bits * 4 * 1000000 / 1843;

	return min_of(max_of(ns, 100000), 40000000);
}

static void arm_timeout(struct uart16550 *u)
{
	u->timeout_pending = false;
	if (fifos(u) && u->rx.count)
		vtimer_arm(&u->timeout, vtime_now_ns(u->env->vtime) + timeout_ns(u));
	else
		vtimer_cancel(&u->timeout);
}

static void timed_out(void *opaque)
{
	struct uart16550 *u = opaque;

	u->timeout_pending = u->rx.count != 0;
	update(u);
}

static void take_byte(struct uart16550 *u, uint8_t v)
{
	if (!fifo_room(u, &u->rx)) {
		u->lsr |= LSR_OVERRUN;
		if (!fifos(u)) /* without a FIFO the new byte overwrites the old one */
			u->rx.data[u->rx.head] = v;
		return;
	}
	fifo_put(&u->rx, v);
	u->lsr |= LSR_DATA;
}

static size_t can_receive(void *opaque)
{
	struct uart16550 *u = opaque;

	return u->mcr & MCR_LOOP ? 0 : fifo_room(u, &u->rx);
}

static void receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct uart16550 *u = opaque;

	for (size_t n = 0; n < len; n++)
		take_byte(u, buf[n]);
	arm_timeout(u);
	update(u);
}

static uint8_t read_data(struct uart16550 *u)
{
	uint8_t v;

	if (!u->rx.count)
		return 0;
	v = fifo_get(&u->rx);
	if (!u->rx.count)
		u->lsr &= (uint8_t)~LSR_DATA;
	arm_timeout(u);
	update(u);
	chardev_accept_input(u->back);
	return v;
}

/*
 * Sending. The shift register is the back: bytes stay in the FIFO only while it
 * does not take them.
 */
static void transmit(struct uart16550 *u)
{
	while (u->tx.count) {
		uint8_t *from = &u->tx.data[u->tx.head];
		size_t run = min_of(u->tx.count, UART16550_FIFO - u->tx.head), took;

		took = chardev_write(u->back, from, run);
		u->tx.head = (uint8_t)((u->tx.head + took) % UART16550_FIFO);
		u->tx.count -= (uint8_t)took;
		if (took < run)
			return; /* writable() goes on */
	}
	if (!(u->lsr & LSR_THRE)) {
		u->lsr |= LSR_THRE | LSR_EMPTY;
		u->thre_pending = true;
	}
}

static void writable(void *opaque)
{
	struct uart16550 *u = opaque;

	transmit(u);
	update(u);
}

static void write_data(struct uart16550 *u, uint8_t v)
{
	u->thre_pending = false;
	if (u->mcr & MCR_LOOP) {
		take_byte(u, v);
		arm_timeout(u);
		u->thre_pending = true;
		return;
	}
	if (!fifo_room(u, &u->tx))
		return; /* a guest that does not wait loses what it writes */
	u->lsr &= (uint8_t)~(LSR_THRE | LSR_EMPTY);
	fifo_put(&u->tx, v);
	transmit(u);
}

static const struct chardev_front front = { can_receive, receive, writable };

/*
 * Registers.
 */
static void write_fcr(struct uart16550 *u, uint8_t v)
{
	if ((v ^ u->fcr) & FCR_ENABLE)
		v |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (v & FCR_CLEAR_RX) {
		u->rx.count = 0;
		u->lsr &= (uint8_t)~LSR_DATA;
	}
	if (v & FCR_CLEAR_TX) {
		u->tx.count = 0;
		u->lsr |= LSR_THRE | LSR_EMPTY;
		u->thre_pending = true;
	}
	u->fcr = v & FCR_ENABLE ? v & 0xc9 : 0;
	arm_timeout(u);
	update(u);
	chardev_accept_input(u->back);
}

/* The modem inputs: what the peer shows, or in loopback the outputs. */
static void modem_inputs(struct uart16550 *u)
{
	uint8_t in = MSR_PEER, old = u->msr & 0xf0, deltas;

	if (u->mcr & MCR_LOOP)
		in = (uint8_t)((u->mcr & MCR_RTS) << 3 | (u->mcr & MCR_DTR) << 5 |
			       (u->mcr & MCR_OUT1) << 4 | (u->mcr & MCR_OUT2) << 4);
	deltas = (old ^ in) >> 4 & 0xb;
	if (old & MSR_RI && !(in & MSR_RI))
		deltas |= 4; /* only the trailing edge of a ring counts */
	u->msr = in | (u->msr & MSR_DELTAS) | deltas;
}

static void write_mcr(struct uart16550 *u, uint8_t v)
{
	bool was_loop = u->mcr & MCR_LOOP;

	u->mcr = v & 0x1f;
	if (was_loop || u->mcr & MCR_LOOP)
		modem_inputs(u);
	update(u);
	if (was_loop && !(u->mcr & MCR_LOOP))
		chardev_accept_input(u->back);
}

static void write_ier(struct uart16550 *u, uint8_t v)
{
	bool thre_on = v & IER_THRE && !(u->ier & IER_THRE);

	u->ier = v & 0x0f;
	if (thre_on && u->lsr & LSR_THRE)
		u->thre_pending = true;
	update(u);
}

static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	struct uart16550 *u = dev;
	uint8_t v;

	switch (off) {
	case REG_DATA:
		return u->lcr & LCR_DLAB ? u->divisor & 0xff : read_data(u);
	case REG_IER:
		return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
	case REG_IIR:
		v = interrupt(u);
		if (v == IIR_THRE) {
			u->thre_pending = false;
			update(u);
		}
		return v | (fifos(u) ? IIR_FIFOS : 0);
	case REG_LCR: return u->lcr;
	case REG_MCR: return u->mcr;
	case REG_LSR:
		v = u->lsr;
		u->lsr &= (uint8_t)~LSR_ERRORS;
		update(u);
		return v;
	case REG_MSR:
		v = u->msr;
		u->msr &= (uint8_t)~MSR_DELTAS;
		update(u);
		return v;
	default: return u->scr;
	}
}

static void ports_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct uart16550 *u = dev;
	uint8_t v = (uint8_t)val;

	switch (off) {
	case REG_DATA:
		if (u->lcr & LCR_DLAB) {
			u->divisor = (u->divisor & 0xff00) | v;
		} else {
			write_data(u, v);
			update(u);
		}
		break;
	case REG_IER:
		if (u->lcr & LCR_DLAB)
			u->divisor = (uint16_t)((u->divisor & 0xff) | v << 8);
		else
			write_ier(u, v);
		break;
	case REG_IIR: write_fcr(u, v); break;
	case REG_LCR: u->lcr = v; break;
	case REG_MCR: write_mcr(u, v); break;
	case REG_SCR: u->scr = v; break;
	default: break; /* LSR and MSR are for factory tests */
	}
}

static const struct bus_ops ports_ops = { ports_read, ports_write, 1, 1, false };

/*
 * Life.
 */
static void reset(void *dev)
{
	struct uart16550 *u = dev;

	u->rx = u->tx = (struct uart16550_fifo){ 0 };
	u->divisor = 12; /* 9600 baud, as a PC's firmware sets it */
	u->ier = u->fcr = u->mcr = u->scr = 0;
	u->lcr = 3;
	u->lsr = LSR_THRE | LSR_EMPTY;
	u->msr = MSR_PEER;
	u->thre_pending = u->timeout_pending = false;
	vtimer_cancel(&u->timeout);
	update(u);
	chardev_accept_input(u->back);
}

int uart16550_init(struct uart16550 *u, const struct dev_env *env, uint16_t port,
		   const struct irq_line *irq, struct chardev *back, struct err *err)
{
	int r;

	*u = (struct uart16550){ .env = env, .irq = *irq };
	vtimer_init(&u->timeout, env->vtime, timed_out, u);
	reset(u);
	u->ports = (struct bus_range){ port, 8, &ports_ops, u, "uart16550" };
	r = bus_add_pio(env->bus, &u->ports);
	if (r != 0)
		return err_set(err, r, "cannot place a serial port at %#x", port);
	u->back = back;
	chardev_attach(back, &front, u);
	return 0;
}

void uart16550_fini(struct uart16550 *u)
{
	chardev_attach(u->back, NULL, NULL);
	u->back = NULL;
	vtimer_cancel(&u->timeout);
	bus_del_pio(u->env->bus, &u->ports);
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct uart16550 *u = obj;

	if (u->rx.head >= UART16550_FIFO || u->tx.head >= UART16550_FIFO ||
	    u->rx.count > (fifos(u) ? UART16550_FIFO : 1u) ||
	    u->tx.count > (fifos(u) ? UART16550_FIFO : 1u))
		return err_set(err, -EINVAL, "the FIFOs hold %u and %u bytes", u->rx.count,
			       u->tx.count);
	u->lsr = (uint8_t)((u->lsr & ~(LSR_DATA | LSR_THRE | LSR_EMPTY)) |
			   (u->rx.count ? LSR_DATA : 0) |
			   (u->tx.count ? 0 : LSR_THRE | LSR_EMPTY));
	return 0;
}

static const struct state_field fifo_fields[] = {
	STATE_BYTES(struct uart16550_fifo, data, 1),
	STATE_U8(struct uart16550_fifo, head, 1),
	STATE_U8(struct uart16550_fifo, count, 1),
	STATE_END
};

static const struct state_desc fifo_state = {
	.name = "uart16550-fifo", .version = 1, .fields = fifo_fields,
};

static const struct state_field fields[] = {
	STATE_STRUCT(struct uart16550, rx, 1, &fifo_state),
	STATE_STRUCT(struct uart16550, tx, 1, &fifo_state),
	STATE_U16(struct uart16550, divisor, 1),
	STATE_U8(struct uart16550, ier, 1),
	STATE_U8(struct uart16550, fcr, 1),
	STATE_U8(struct uart16550, lcr, 1),
	STATE_U8(struct uart16550, mcr, 1),
	STATE_U8(struct uart16550, lsr, 1),
	STATE_U8(struct uart16550, msr, 1),
	STATE_U8(struct uart16550, scr, 1),
	STATE_BOOL(struct uart16550, thre_pending, 1),
	STATE_BOOL(struct uart16550, timeout_pending, 1),
	STATE_TIMER(struct uart16550, timeout, 1),
	STATE_IRQ(struct uart16550, irq, 1),
	STATE_END
};

const struct state_desc uart16550_state = {
	.name = "uart16550", .version = 1, .fields = fields, .post_load = post_load,
};

const struct dev_desc uart16550_desc = {
	.name = "uart16550",
	.title = "16550A serial port",
	.reset = reset,
	.state = &uart16550_state,
};

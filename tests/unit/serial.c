/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A and byte streams over descriptors. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/dev/legacy/uart16550.h"
#include "src/dev/legacy/i8237.h"
#include "src/dev/plug.h"
#include "tests/unit/dev_fixture.h"

#define PORT 0x3f8

/* A back that takes @room bytes and keeps them. */
struct sink {
	struct chardev base;
	char text[256];
	size_t len, room;
	unsigned accepts;
};

static size_t sink_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct sink *s = (struct sink *)c;
	size_t n = min_of(len, s->room);

	memcpy(s->text + s->len, buf, n);
	s->len += n;
	s->room -= n;
	return n;
}

static void sink_accept(struct chardev *c) { ((struct sink *)c)->accepts++; }
static void sink_close(struct chardev *c) { }
static const struct chardev_ops sink_ops = { sink_write, sink_accept, sink_close };

struct rig {
	struct fixture f;
	struct uart16550 u;
	struct sink sink;
	struct probe irq;
};

static void rig_init(struct rig *r)
{
	struct irq_line l;

	fixture_init(&r->f);
	r->sink = (struct sink){ .base.ops = &sink_ops, .room = 200 };
	l = probe_line(&r->irq);
	assert_int_equal(uart16550_init(&r->u, &r->f.env, PORT, &l, &r->sink.base, NULL), 0);
}

static void rig_fini(struct rig *r)
{
	uart16550_fini(&r->u);
	fixture_fini(&r->f);
}

static uint8_t rd(struct rig *r, unsigned reg) { return inb(&r->f, (uint16_t)(PORT + reg)); }
static void wr(struct rig *r, unsigned reg, uint8_t v) { outb(&r->f, (uint16_t)(PORT + reg), v); }

static size_t feed(struct rig *r, const char *text)
{
	size_t n = min_of(chardev_can_receive(&r->sink.base), strlen(text));

	if (n)
		chardev_receive(&r->sink.base, (const uint8_t *)text, n);
	return n;
}

static void test_registers(void **state)
{
	struct rig r;

	rig_init(&r);
	assert_int_equal(rd(&r, 5), 0x60);
	assert_int_equal(rd(&r, 6), 0xb0);
	assert_int_equal(rd(&r, 2), 0x01);
	wr(&r, 7, 0xa5);
	assert_int_equal(rd(&r, 7), 0xa5);
	wr(&r, 3, 0x83);
	wr(&r, 0, 0x34);
	wr(&r, 1, 0x12);
	assert_int_equal(rd(&r, 0), 0x34);
	assert_int_equal(rd(&r, 1), 0x12);
	wr(&r, 3, 0x03);
	assert_int_equal(r.u.divisor, 0x1234);
	wr(&r, 1, 0xff);
	assert_int_equal(rd(&r, 1), 0x0f);
	wr(&r, 4, 0xff);
	assert_int_equal(rd(&r, 4), 0x1f);
	/* FIFOs are found as a 16550A's. */
	wr(&r, 2, 0x01);
	wr(&r, 1, 0x00);
	assert_int_equal(rd(&r, 2), 0xc1);
	rig_fini(&r);
}

static void test_transmit(void **state)
{
	struct rig r;

	rig_init(&r);
	wr(&r, 0, 'a');
	assert_int_equal(rd(&r, 5), 0x60);
	/* Enabling the interrupt with the transmitter empty raises it. */
	wr(&r, 1, 0x02);
	assert_int_equal(r.irq.level, 1);
	assert_int_equal(rd(&r, 2), 0x02);
	assert_int_equal(r.irq.level, 0); /* reading IIR acknowledged it */
	assert_int_equal(rd(&r, 2), 0x01);
	wr(&r, 0, 'b');
	assert_int_equal(r.irq.level, 1);
	assert_int_equal(rd(&r, 2), 0x02);
	/* A back that takes no more: held, then sent. */
	wr(&r, 2, 0x01);
	rd(&r, 2);
	r.sink.room = 0;
	for (char c = 'c'; c < 'c' + 16; c++)
		wr(&r, 0, (uint8_t)c);
	assert_int_equal(rd(&r, 5) & 0x60, 0x00);
	wr(&r, 0, '!'); /* no room: lost */
	assert_int_equal(r.irq.level, 0);
	r.sink.room = 5;
	chardev_writable(&r.sink.base);
	assert_int_equal(rd(&r, 5) & 0x60, 0x00);
	r.sink.room = 100;
	chardev_writable(&r.sink.base);
	assert_int_equal(rd(&r, 5) & 0x60, 0x60);
	assert_int_equal(r.irq.level, 1);
	assert_int_equal(r.sink.len, 18);
	assert_memory_equal(r.sink.text, "abcdefghijklmnopqr", 18);
	rig_fini(&r);
}

static void test_receive(void **state)
{
	struct rig r;

	rig_init(&r);
	/* Without FIFOs: one byte at a time. */
	wr(&r, 1, 0x01);
	assert_int_equal(feed(&r, "xyz"), 1);
	assert_int_equal(r.irq.level, 1);
	assert_int_equal(rd(&r, 2), 0x04);
	assert_int_equal(rd(&r, 5) & 1, 1);
	assert_int_equal(feed(&r, "y"), 0);
	r.sink.accepts = 0;
	assert_int_equal(rd(&r, 0), 'x');
	assert_int_equal(r.sink.accepts, 1);
	assert_int_equal(r.irq.level, 0);
	/* With FIFOs, trigger at 8; then the time-out. */
	wr(&r, 3, 0x83);
	wr(&r, 0, 1);
	wr(&r, 1, 0);
	wr(&r, 3, 0x03);
	wr(&r, 2, 0x81);
	assert_int_equal(feed(&r, "1234567"), 7);
	assert_int_equal(r.irq.level, 0);
	pass(&r.f, 340000);
	assert_int_equal(r.irq.level, 0);
	pass(&r.f, 20000); /* four characters at 115200 baud: 347 us */
	assert_int_equal(r.irq.level, 1);
	assert_int_equal(rd(&r, 2), 0xcc);
	assert_int_equal(rd(&r, 0), '1');
	assert_int_equal(r.irq.level, 0);
	assert_int_equal(feed(&r, "89abcdefghij"), 10);
	assert_int_equal(rd(&r, 2), 0xc4);
	for (int n = 0; n < 9; n++)
		rd(&r, 0);
	assert_int_equal(r.irq.level, 0);
	pass(&r.f, 400000);
	assert_int_equal(rd(&r, 2), 0xcc);
	wr(&r, 2, 0x83); /* clear the receiver */
	assert_int_equal(rd(&r, 2), 0xc1);
	assert_int_equal(rd(&r, 5) & 1, 0);
	assert_int_equal(rd(&r, 0), 0);
	rig_fini(&r);
}

static void test_loopback(void **state)
{
	struct rig r;

	rig_init(&r);
	wr(&r, 4, 0x10);
	rd(&r, 6);
	wr(&r, 4, 0x1a); /* RTS and OUT2: CTS and DCD */
	assert_int_equal(rd(&r, 6), 0x99);
	assert_int_equal(rd(&r, 6), 0x90);
	wr(&r, 4, 0x15); /* DTR and OUT1: DSR and RI */
	assert_int_equal(rd(&r, 6) & 0xf0, 0x60);
	wr(&r, 4, 0x10); /* RI's trailing edge */
	assert_int_equal(rd(&r, 6), 0x06);
	wr(&r, 0, 'L');
	assert_int_equal(rd(&r, 5) & 1, 1);
	assert_int_equal(feed(&r, "outside"), 0);
	wr(&r, 0, 'M'); /* overrun */
	assert_int_equal(rd(&r, 5) & 3, 3);
	assert_int_equal(rd(&r, 5) & 2, 0);
	assert_int_equal(rd(&r, 0), 'M');
	assert_int_equal(r.sink.len, 0);
	/* Line status and modem interrupts. */
	wr(&r, 1, 0x0c);
	wr(&r, 0, '1');
	wr(&r, 0, '2');
	assert_int_equal(rd(&r, 2), 0x06);
	rd(&r, 5);
	assert_int_equal(rd(&r, 2), 0x01);
	wr(&r, 4, 0x12);
	assert_int_equal(rd(&r, 2), 0x00);
	assert_int_equal(r.irq.level, 1);
	rd(&r, 6);
	assert_int_equal(r.irq.level, 0);
	rig_fini(&r);
}

static void test_state(void **state)
{
	struct rig r;

	rig_init(&r);
	wr(&r, 1, 0x0f);
	wr(&r, 2, 0xc1);
	r.sink.room = 1;
	wr(&r, 0, 'p');
	wr(&r, 0, 'q');
	feed(&r, "in");
	check_roundtrip(uart16550_desc.state, &r.u);
	check_hostile(uart16550_desc.state, &r.u, NULL, 5000);
	r.sink.room = 100;
	chardev_writable(&r.sink.base);
	assert_memory_equal(r.sink.text, "pq", 2);
	assert_int_equal(rd(&r, 0), 'i');
	r.sink.room = 0;
	storm_pio(&r.f, PORT, 8, 20000);
	uart16550_desc.reset(&r.u);
	rig_fini(&r);
}

/*
 * Over descriptors.
 */
struct fd_rig {
	struct fixture f;
	struct loop *loop;
	pthread_t thread;
	struct uart16550 u;
	struct probe irq;
	struct chardev *c;
	int fd; /* our end */
	atomic_int hangups;
};

static void *loop_main(void *opaque)
{
	loop_run(opaque);
	return NULL;
}

static void hangup(void *opaque)
{
	atomic_fetch_add(&((struct fd_rig *)opaque)->hangups, 1);
}

/* Takes out every '#'. */
static size_t filter(void *opaque, uint8_t *buf, size_t len)
{
	size_t n = 0;

	for (size_t k = 0; k < len; k++)
		if (buf[k] != '#')
			buf[n++] = buf[k];
	return n;
}

static void fd_rig_init(struct fd_rig *r)
{
	struct irq_line l = probe_line(&r->irq);
	int sv[2];

	fixture_init(&r->f);
	atomic_store(&r->hangups, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	r->fd = sv[0];
	r->loop = loop_new(&r->f.bus->lock, NULL);
	r->c = chardev_fd_new(r->loop,
			      &(struct chardev_fd_config){ .in_fd = sv[1], .out_fd = sv[1],
							   .own = true, .filter = filter,
							   .hangup = hangup, .opaque = r },
			      NULL);
	assert_non_null(r->c);
	assert_int_equal(uart16550_init(&r->u, &r->f.env, PORT, &l, r->c, NULL), 0);
	assert_int_equal(pthread_create(&r->thread, NULL, loop_main, r->loop), 0);
}

static void fd_rig_fini(struct fd_rig *r)
{
	loop_stop(r->loop);
	pthread_join(r->thread, NULL);
	uart16550_fini(&r->u);
	chardev_close(r->c);
	loop_free(r->loop);
	close(r->fd);
	fixture_fini(&r->f);
}

static bool wait_data(struct fd_rig *r)
{
	for (int n = 0; n < 5000; n++) {
		if (inb(&r->f, PORT + 5) & 1)
			return true;
		usleep(1000);
	}
	return false;
}

static void test_fd_input(void **state)
{
	struct fd_rig r;
	char text[4000], got[4000];
	size_t n = 0;

	fd_rig_init(&r);
	for (size_t k = 0; k < sizeof(text); k++)
		text[k] = (char)('a' + k % 26);
	outb(&r.f, PORT + 2, 0xc1); /* first: it clears the receiver */
	assert_int_equal(write(r.fd, "#", 1), 1);
	assert_int_equal(write(r.fd, text, sizeof(text)), sizeof(text));
	while (n < sizeof(got) && wait_data(&r))
		got[n++] = (char)inb(&r.f, PORT);
	assert_int_equal(n, sizeof(text));
	assert_memory_equal(got, text, n);
	shutdown(r.fd, SHUT_WR);
	for (int k = 0; k < 5000 && !atomic_load(&r.hangups); k++)
		usleep(1000);
	assert_int_equal(atomic_load(&r.hangups), 1);
	fd_rig_fini(&r);
}

/* The guest writes more than the socket holds: nothing is lost. */
static void test_fd_output(void **state)
{
	struct fd_rig r;
	size_t sent = 0, got = 0, total = 400000;
	bool stalled = false, wrong = false;
	uint8_t buf[4096];

	fd_rig_init(&r);
	fcntl(r.fd, F_SETFL, O_NONBLOCK);
	outb(&r.f, PORT + 2, 0x01);
	while (got < total) {
		ssize_t n;

		while (sent < total && inb(&r.f, PORT + 5) & 0x20)
			outb(&r.f, PORT, (uint8_t)(sent++ % 251));
		stalled |= sent < total;
		n = read(r.fd, buf, sizeof(buf));
		if (n <= 0) {
			usleep(100);
			continue;
		}
		for (ssize_t k = 0; k < n; k++)
			wrong |= buf[k] != (got + (size_t)k) % 251;
		got += (size_t)n;
	}
	assert_false(wrong);
	assert_true(stalled);
	/* The reader goes away: the guest must not notice. */
	close(r.fd);
	for (int k = 0; k < 1000; k++) {
		outb(&r.f, PORT, 'x');
		if (!(k % 100))
			usleep(1000);
	}
	assert_int_equal(inb(&r.f, PORT + 5) & 0x60, 0x60);
	r.fd = dup(0);
	fd_rig_fini(&r);
}

static void test_fd_files(void **state)
{
	struct fixture f;
	struct uart16550 u;
	struct probe irq;
	struct irq_line l = probe_line(&irq);
	struct chardev *c;
	struct loop *loop;
	char name[] = "/tmp/bothy-test-XXXXXX", buf[16] = "";
	int fd = mkstemp(name), in = memfd_create("in", 0);

	assert_true(fd >= 0 && in >= 0);
	unlink(name);
	assert_int_equal(write(in, "hello", 5), 5);
	lseek(in, 0, SEEK_SET);
	fixture_init(&f);
	loop = loop_new(NULL, NULL);
	c = chardev_fd_new(loop, &(struct chardev_fd_config){ .in_fd = in, .out_fd = fd }, NULL);
	assert_non_null(c);
	assert_int_equal(uart16550_init(&u, &f.env, PORT, &l, c, NULL), 0);
	for (const char *p = "hello"; *p; p++) {
		assert_int_equal(inb(&f, PORT), *p);
		outb(&f, PORT, (uint8_t)(*p - 32));
	}
	assert_int_equal(inb(&f, PORT + 5) & 1, 0);
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), 5);
	assert_string_equal(buf, "HELLO");
	uart16550_fini(&u);
	chardev_close(c);
	loop_free(loop);
	close(fd);
	close(in);
	fixture_fini(&f);
}

struct codes {
	struct chardev c;
	uint8_t last;
	unsigned count;
};

static size_t codes_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	struct codes *s = (struct codes *)c;

	s->last = buf[len - 1];
	s->count += (unsigned)len;
	return len;
}

static void codes_close(struct chardev *c) {}
static const struct chardev_ops codes_ops = { .write = codes_write, .close = codes_close };

static void *find_codes(void *opaque, enum dev_prop_type type, const char *id, struct err *err)
{
	return opaque;
}

/* POST codes: the debug port in front of the DMA controller's page registers. */
static void test_post_codes(void **state)
{
	struct codes s = { .c.ops = &codes_ops };
	struct dev_prop_text props[] = { { "chardev", "s" }, { "iobase", "0x80" } };
	struct dev_backends b = { find_codes, &s };
	struct dev_plug plug = { .id = "post" };
	struct i8237 dma;
	struct fixture f;
	void *dev;

	fixture_init(&f);
	plug.env = &f.env;
	assert_int_equal(i8237_init(&dma, &f.env, NULL), 0);
	outb(&f, 0x80, 0x11);
	assert_int_equal(inb(&f, 0x80), 0x11);
	assert_int_equal(dev_new(dev_find("isa-debugcon"), &plug, props, 2, &b, &dev, NULL), 0);
	outb(&f, 0x80, 0xaa);
	assert_int_equal(s.last, 0xaa);
	outb(&f, 0x84, 0x55);
	assert_int_equal(inb(&f, 0x84), 0x55);
	assert_int_equal(s.count, 1);
	dev_free(dev_find("debugcon"), dev);
	assert_int_equal(inb(&f, 0x80), 0x11);
	i8237_fini(&dma);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers), cmocka_unit_test(test_transmit),
		cmocka_unit_test(test_receive), cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_state), cmocka_unit_test(test_fd_input),
		cmocka_unit_test(test_fd_output), cmocka_unit_test(test_post_codes), cmocka_unit_test(test_fd_files),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

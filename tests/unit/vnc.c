/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VNC server: handshakes, input, updates, sizes, passwords, hostile viewers. */
#include <nettle/des.h>

#include "src/display/keys.h"
#include "tests/unit/vnc_decode.h"
#include "tests/unit/vnc_rig.h"

static void lock(struct vnc_rig *r) { pthread_mutex_lock(&r->lock); }
static void unlock(struct vnc_rig *r) { pthread_mutex_unlock(&r->lock); }

/* An update of raw rectangles into a picture. */
static unsigned read_raw(int fd, uint32_t *pixels, unsigned width)
{
	uint8_t head[4], rect[12];
	unsigned area = 0;

	rig_read(fd, head, 4);
	assert_int_equal(head[0], 0);
	for (unsigned n = ld_be16(head + 2); n > 0; n--) {
		unsigned x, y, w, h;

		rig_read(fd, rect, 12);
		x = ld_be16(rect);
		y = ld_be16(rect + 2);
		w = ld_be16(rect + 4);
		h = ld_be16(rect + 6);
		assert_int_equal(ld_be32(rect + 8), 0);
		for (unsigned k = 0; k < h; k++)
			rig_read(fd, pixels + (y + k) * width + x, w * 4);
		area += w * h;
	}
	return area;
}

/* Everything that was sent before has been looked at when this returns: it waits for the
 * answer to a request for one pixel. Raw encoding, 200 x 150. */
static void settle(int fd)
{
	uint32_t pixels[200 * 150];

	rig_request(fd, false, 0, 0, 1, 1);
	read_raw(fd, pixels, 200);
}

static void test_versions(void **state)
{
	static const struct { const char *say; unsigned is; } versions[] = {
		{ "RFB 003.003\n", 3 }, { "RFB 003.005\n", 3 }, { "RFB 003.007\n", 7 },
		{ "RFB 003.008\n", 8 }, { "RFB 003.889\n", 8 }, { "RFB 004.001\n", 8 },
	};
	struct vnc_rig r;
	uint8_t b[64];

	vnc_rig_init(&r);
	for (size_t n = 0; n < array_size(versions); n++) {
		int fd = rig_connect(&r);

		rig_read(fd, b, 12);
		rig_send(fd, versions[n].say, 12);
		if (versions[n].is == 3) {
			rig_read(fd, b, 4);
			assert_int_equal(ld_be32(b), 1);
		} else {
			rig_read(fd, b, 2);
			assert_memory_equal(b, "\1\1", 2);
			rig_send(fd, "\1", 1);
		}
		if (versions[n].is == 8) {
			rig_read(fd, b, 4);
			assert_int_equal(ld_be32(b), 0);
		}
		rig_send(fd, "\0", 1);
		rig_read(fd, b, 28);
		assert_int_equal(ld_be16(b), 200);
		assert_int_equal(ld_be16(b + 2), 150);
		assert_int_equal(ld_be32(b + 20), 4);
		settle(fd);
		close(fd);
	}
	/* What is no viewer. */
	{
		static const char *const bad[] = { "SSH-2.0-OpenSSH\n", "RFB 002.000\n", "RFB 003:008\n" };

		for (size_t n = 0; n < array_size(bad); n++) {
			int fd = rig_connect(&r);

			rig_read(fd, b, 12);
			rig_send(fd, bad[n], 12);
			rig_expect_closed(fd);
		}
	}
	vnc_rig_fini(&r);
}

static void mirror_des(const char *password, const uint8_t in[16], uint8_t out[16])
{
	struct des_ctx des;
	uint8_t key[8] = { 0 };

	for (unsigned n = 0; n < 8 && password[n]; n++)
		for (unsigned k = 0; k < 8; k++)
			key[n] |= (uint8_t)((password[n] >> k & 1) << (7 - k));
	des_set_key(&des, key);
	des_encrypt(&des, 16, out, in);
}

/* 0 if the password is taken. */
static int try_password(struct vnc_rig *r, const char *password, const char *version)
{
	int fd = rig_connect(r);
	uint8_t b[128], answer[16];
	uint32_t result;

	rig_read(fd, b, 12);
	rig_send(fd, version, 12);
	if (version[10] == '3') {
		rig_read(fd, b, 4);
		if (ld_be32(b) == 0) {
			rig_expect_closed(fd);
			return 2;
		}
		assert_int_equal(ld_be32(b), 2);
	} else {
		rig_read(fd, b, 1);
		if (b[0] == 0) {
			rig_expect_closed(fd);
			return 2;
		}
		rig_read(fd, b + 1, 1);
		assert_memory_equal(b, "\1\2", 2);
		rig_send(fd, "\2", 1);
	}
	rig_read(fd, b, 16);
	mirror_des(password, b, answer);
	rig_send(fd, answer, 16);
	rig_read(fd, b, 4);
	result = ld_be32(b);
	if (result) {
		if (version[10] == '8') {
			rig_read(fd, b, 4);
			assert_int_equal(ld_be32(b), 21);
			rig_read(fd, b, 21);
			assert_memory_equal(b, "The password is wrong", 21);
		}
		rig_expect_closed(fd);
		return 1;
	}
	rig_send(fd, "\1", 1);
	rig_read(fd, b, 28);
	close(fd);
	return 0;
}

static void test_password(void **state)
{
	struct vnc_rig r;
	int fd, first;

	vnc_rig_init(&r);
	first = rig_login(&r);
	lock(&r);
	vnc_set_password(r.v, "secret12ignored", false);
	unlock(&r);
	settle(first); /* who was in stays */
	assert_int_equal(try_password(&r, "secret12", "RFB 003.008\n"), 0);
	assert_int_equal(try_password(&r, "secret12", "RFB 003.007\n"), 0);
	assert_int_equal(try_password(&r, "secret12", "RFB 003.003\n"), 0);
	assert_int_equal(try_password(&r, "secret13", "RFB 003.008\n"), 1);
	assert_int_equal(try_password(&r, "", "RFB 003.003\n"), 1);
	/* None is not offered, and may not be picked. */
	fd = rig_connect(&r);
	rig_send(fd, "RFB 003.008\n\1", 13);
	rig_expect_closed(fd);
	/* Guessing is slow: after some tries nobody gets a challenge for a while. */
	for (unsigned n = 0; n < 3; n++)
		try_password(&r, "wrong", "RFB 003.008\n");
	assert_int_equal(try_password(&r, "secret12", "RFB 003.008\n"), 2);
	assert_int_equal(try_password(&r, "secret12", "RFB 003.003\n"), 2);
	lock(&r);
	vnc_set_password(r.v, "", true);
	assert_true(vnc_has_password(r.v));
	unlock(&r);
	rig_expect_closed(first);
	assert_int_equal(try_password(&r, "", "RFB 003.008\n"), 1);
	lock(&r);
	vnc_set_password(r.v, NULL, false);
	unlock(&r);
	close(rig_login(&r));
	vnc_rig_fini(&r);
}

static void expect_event(struct vnc_rig *r, unsigned n, char kind, int a, int b, int c, int d)
{
	struct rig_event *e = &r->ev[n];

	assert_true(n < r->events);
	if (e->kind != kind || e->a != a || e->b != b || e->c != c || e->d != d)
		fail_msg("event %u is %c %d %d %d %d", n, e->kind, e->a, e->b, e->c, e->d);
}

static void send_keysym(int fd, uint32_t sym, bool down)
{
	uint8_t b[8] = { 4, down };

	st_be32(b + 4, sym);
	rig_send(fd, b, 8);
}

static void send_pointer(int fd, unsigned mask, unsigned x, unsigned y)
{
	uint8_t b[6] = { 5, (uint8_t)mask };

	st_be16(b + 2, (uint16_t)x);
	st_be16(b + 4, (uint16_t)y);
	rig_send(fd, b, 6);
}

static void test_input(void **state)
{
	static const int32_t ext[] = { 0, -258 }, motion[] = { 0, -257 };
	struct vnc_rig r;
	uint8_t b[64];
	unsigned n;
	int fd;

	vnc_rig_init(&r);
	fd = rig_login(&r);
	send_keysym(fd, 'a', true);
	send_keysym(fd, 'a', false);
	send_keysym(fd, 0xff0d, true);
	send_keysym(fd, 0xff51, true);
	send_keysym(fd, 'A', true); /* without Shift: one comes with it */
	send_keysym(fd, 0xffe1, true);
	send_keysym(fd, 'B', true);
	send_keysym(fd, 0x12345678, true); /* on no key */
	rig_send(fd, "\6\0\0\0\0\0\0\5hello", 13); /* the clipboard is of no use */
	settle(fd);
	lock(&r);
	expect_event(&r, 0, 'k', 0x1e, 1, 0, 0);
	expect_event(&r, 1, 'k', 0x1e, 0, 0, 0);
	expect_event(&r, 2, 'k', 0x1c, 1, 0, 0);
	expect_event(&r, 3, 'k', 0xe04b, 1, 0, 0);
	expect_event(&r, 4, 'k', 0x2a, 1, 0, 0);
	expect_event(&r, 5, 'k', 0x1e, 1, 0, 0);
	expect_event(&r, 6, 'k', 0x2a, 0, 0, 0);
	expect_event(&r, 7, 'k', 0x2a, 1, 0, 0);
	expect_event(&r, 8, 'k', 0x30, 1, 0, 0);
	assert_int_equal(r.events, 9);
	unlock(&r);
	/* Keys by number. */
	rig_encodings(fd, 2, ext);
	rig_read(fd, b, 16);
	assert_int_equal((int32_t)ld_be32(b + 12), -258);
	rig_send(fd, "\xff\0\0\1\0\0\0\x7a\0\0\0\x2c", 12);
	rig_send(fd, "\xff\0\0\0\0\0\0\0\0\0\0\xcb", 12);
	/* The pointer: buttons, wheel, edges. */
	send_pointer(fd, 1, 10, 20);
	send_pointer(fd, 4, 1000, 1000);
	send_pointer(fd, 2 | 8, 5, 5);
	send_pointer(fd, 2 | 8, 6, 5);
	send_pointer(fd, 16, 6, 5);
	settle(fd);
	lock(&r);
	expect_event(&r, 9, 'k', 0x2c, 1, 0, 0);
	expect_event(&r, 10, 'k', 0xe04b, 0, 0, 0);
	expect_event(&r, 11, 'p', 10, 20, 0, 1);
	expect_event(&r, 12, 'p', 199, 149, 0, 2);
	expect_event(&r, 13, 'p', 5, 5, 1, 4);
	expect_event(&r, 14, 'p', 6, 5, 0, 4);
	expect_event(&r, 15, 'p', 6, 5, -1, 0);
	n = r.events;
	r.absolute = false;
	unlock(&r);
	/* A mouse that moves. */
	rig_encodings(fd, 2, motion);
	rig_read(fd, b, 16);
	assert_int_equal(ld_be16(b + 4), 0);
	assert_int_equal((int32_t)ld_be32(b + 12), -257);
	send_pointer(fd, 0, 0x7fff + 3, 0x7fff - 4);
	settle(fd);
	lock(&r);
	expect_event(&r, n, 'm', 3, -4, 0, 0);
	n = r.events;
	unlock(&r);
	/* Who leaves lets go of the keys. */
	send_pointer(fd, 1, 0x7fff, 0x7fff);
	settle(fd);
	close(fd);
	close(rig_login(&r));
	lock(&r);
	expect_event(&r, n + 1, 'r', 0, 0, 0, 0);
	expect_event(&r, n + 2, 'm', 0, 0, 0, 0);
	unlock(&r);
	vnc_rig_fini(&r);
}

static void test_updates(void **state)
{
	uint32_t got[200 * 150], row[200];
	struct vnc_rig r;
	int fd;

	vnc_rig_init(&r);
	fd = rig_login(&r);
	rig_request(fd, true, 0, 0, 200, 150);
	assert_int_equal(read_raw(fd, got, 200), 200 * 150); /* it knew nothing */
	/* Nothing new: no answer until something changes. */
	rig_request(fd, true, 0, 0, 200, 150);
	lock(&r);
	for (unsigned x = 0; x < 200; x++)
		row[x] = x * 1000;
	surface_put_row(&r.s, 70, row, 40);
	unlock(&r);
	assert_int_equal(read_raw(fd, got, 200), 48 * 16);
	for (unsigned x = 0; x < 40; x++)
		assert_int_equal(got[70 * 200 + x] & 0xffffff, x * 1000);
	/* Changes between requests come together, and once. */
	lock(&r);
	surface_put_row(&r.s, 0, row, 200);
	surface_put_row(&r.s, 149, row, 200);
	surface_put_row(&r.s, 148, row, 200);
	unlock(&r);
	rig_request(fd, true, 0, 0, 200, 150);
	assert_int_equal(read_raw(fd, got, 200), 200 * 16 + 200 * 6);
	rig_request(fd, false, 100, 100, 10, 10);
	assert_int_equal(read_raw(fd, got, 200), 16 * 16);
	for (unsigned n = 0; n < 200 * 150; n++)
		assert_int_equal(got[n] & 0xffffff, r.s.pixels[n] & 0xffffff);
	/* Beyond the edges. */
	rig_request(fd, false, 65535, 65535, 65535, 65535);
	rig_request(fd, false, 0, 0, 65535, 65535);
	assert_int_equal(read_raw(fd, got, 200), 200 * 150);
	close(fd);
	vnc_rig_fini(&r);
}

static void test_resize(void **state)
{
	static const int32_t plain[] = { 0, -223 }, ext[] = { 0, -223, -308 };
	uint32_t *got = calloc(400 * 300, 4);
	struct vnc_rig r;
	uint8_t b[64];
	int old, a, e;

	vnc_rig_init(&r);
	old = rig_login(&r);
	a = rig_login(&r);
	e = rig_login(&r);
	rig_encodings(a, 2, plain);
	rig_encodings(e, 3, ext);
	rig_request(old, true, 0, 0, 200, 150);
	read_raw(old, got, 200);
	rig_request(a, true, 0, 0, 200, 150);
	read_raw(a, got, 200);
	/* Who knows the extended message is told the size first. */
	rig_request(e, true, 0, 0, 200, 150);
	rig_read(e, b, 4 + 12 + 20);
	assert_int_equal((int32_t)ld_be32(b + 12), -308);
	assert_int_equal(ld_be16(b + 8), 200);
	assert_int_equal(b[16], 1);
	for (unsigned n = ld_be16(b + 2) - 1u; n > 0; n--) {
		rig_read(e, b, 12);
		rig_read(e, got, ld_be16(b + 4) * ld_be16(b + 6) * 4u);
	}
	/* It asks for a size: the guest decides. */
	rig_send(e, "\xfb\0\1\0\1\0\1\0\0\0\0\0\0\0\0\0\1\0\1\0\0\0\0\0", 24);
	rig_read(e, b, 4 + 12 + 20);
	assert_int_equal(ld_be16(b + 2), 1);
	assert_int_equal(ld_be16(b + 4), 1);
	assert_int_equal(ld_be16(b + 6), 1);
	lock(&r);
	assert_int_equal(surface_resize(&r.s, 300, 100), 0);
	for (unsigned n = 0; n < 300 * 100; n++)
		r.s.pixels[n] = 0x808080;
	unlock(&r);
	rig_request(a, true, 0, 0, 200, 150);
	rig_read(a, b, 16);
	assert_int_equal((int32_t)ld_be32(b + 12), -223);
	assert_int_equal(ld_be16(b + 8), 300);
	assert_int_equal(ld_be16(b + 10), 100);
	for (unsigned n = ld_be16(b + 2) - 1u, area = 0; n > 0; n--) {
		rig_read(a, b, 12);
		rig_read(a, got, ld_be16(b + 4) * ld_be16(b + 6) * 4u);
		area += ld_be16(b + 4) * ld_be16(b + 6);
		if (n == 1)
			assert_int_equal(area, 300 * 100);
	}
	/* Who cannot resize sees the part that fits, and black where nothing is. */
	rig_request(old, true, 0, 0, 200, 150);
	assert_int_equal(read_raw(old, got, 200), 200 * 150);
	assert_int_equal(got[99 * 200 + 199] & 0xffffff, 0x808080);
	assert_int_equal(got[100 * 200] & 0xffffff, 0);
	/* The graphics card goes: viewers stay. */
	lock(&r);
	screens_del(&r.screens, &r.s);
	surface_fini(&r.s);
	unlock(&r);
	rig_request(old, false, 0, 0, 200, 150);
	assert_int_equal(read_raw(old, got, 200), 200 * 150);
	assert_int_equal(got[0] & 0xffffff, 0);
	close(old);
	close(a);
	close(e);
	free(got);
	vnc_rig_fini(&r);
}

/* One that never reads: it costs one update's memory, and the others go on. */
static void test_slow(void **state)
{
	uint32_t *got = calloc(2000 * 1000, 4);
	struct vnc_rig r;
	int slow, quick;

	vnc_rig_init(&r);
	lock(&r);
	assert_int_equal(surface_resize(&r.s, 2000, 1000), 0);
	unlock(&r);
	slow = rig_login(&r);
	quick = rig_login(&r);
	for (unsigned n = 0; n < 200; n++)
		rig_request(slow, false, 0, 0, 2000, 1000);
	for (unsigned n = 0; n < 3; n++) {
		unsigned area = 0;

		rig_request(quick, false, 0, 0, 2000, 1000);
		while (area < 2000 * 1000) {
			area += read_raw(quick, got, 2000);
			if (area < 2000 * 1000)
				rig_request(quick, true, 0, 0, 2000, 1000);
		}
		assert_int_equal(area, 2000 * 1000);
	}
	lock(&r);
	for (struct vnc_client *c = r.v->clients; c; c = c->next)
		assert_true(c->out.len <= (VNC_UPDATE_PIXELS + 2048 * 128) * 4 + 4096);
	unlock(&r);
	close(slow);
	close(quick);
	free(got);
	vnc_rig_fini(&r);
}

static void test_many(void **state)
{
	struct vnc_peer peers[VNC_CLIENTS_MAX];
	int fd[VNC_CLIENTS_MAX];
	struct vnc_rig r;

	vnc_rig_init(&r);
	for (unsigned n = 0; n < VNC_CLIENTS_MAX; n++)
		fd[n] = rig_login(&r);
	rig_expect_closed(rig_connect(&r)); /* one too many */
	lock(&r);
	assert_int_equal(vnc_peers(r.v, peers, VNC_CLIENTS_MAX), VNC_CLIENTS_MAX);
	assert_true(peers[0].authenticated);
	unlock(&r);
	for (unsigned n = 0; n < VNC_CLIENTS_MAX; n++)
		close(fd[n]);
	/* Connections that say nothing keep nobody out. */
	for (unsigned n = 0; n < VNC_CLIENTS_MAX; n++)
		fd[n] = rig_connect(&r);
	for (unsigned n = 0; n < 3; n++)
		close(rig_login(&r));
	rig_expect_closed(fd[0]);
	for (unsigned n = 1; n < VNC_CLIENTS_MAX; n++)
		close(fd[n]);
	vnc_rig_fini(&r);
}

#define ASK "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
	    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static void test_websocket(void **state)
{
	struct vnc_rig r;
	char b[256];
	int fd;

	vnc_rig_init(&r);
	fd = rig_connect(&r);
	rig_send(fd, ASK, 20);
	rig_send(fd, ASK + 20, sizeof(ASK) - 21);
	rig_read(fd, b, 129);
	assert_memory_equal(b, "HTTP/1.1 101 ", 13);
	assert_memory_equal(b + 125, "\r\n\r\n", 4);
	rig_read(fd, b, 14);
	assert_memory_equal(b, "\x82\x0cRFB 003.008\n", 14);
	rig_send(fd, "\x82\x8c\0\0\0\0RFB 003.008\n", 18);
	rig_read(fd, b, 4);
	assert_memory_equal(b, "\x82\2\1\1", 4);
	rig_send(fd, "\x82\x82\0\0\0\0\1\1", 8); /* the type and ClientInit at once */
	rig_read(fd, b, 6);
	assert_memory_equal(b, "\x82\4\0\0\0\0", 6);
	rig_read(fd, b, 30);
	assert_memory_equal(b, "\x82\x1c", 2);
	rig_send(fd, "\x88\x82\0\0\0\0\x03\xe8", 8);
	rig_read(fd, b, 4);
	assert_memory_equal(b, "\x88\2\x03\xe8", 4);
	rig_expect_closed(fd);
	/* A web browser that was sent here. */
	fd = rig_connect(&r);
	rig_send(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
	rig_read(fd, b, 12);
	assert_memory_equal(b, "HTTP/1.1 400", 12);
	rig_expect_closed(fd);
	fd = rig_connect(&r);
	for (unsigned n = 0; n < 20; n++)
		if (send(fd, "GET aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 64,
			 MSG_NOSIGNAL) < 0)
			break;
	for (unsigned n = 0; n < 200; n++)
		if (send(fd, b, sizeof(b), MSG_NOSIGNAL) < 0)
			break;
	rig_expect_closed(fd);
	vnc_rig_fini(&r);
}

/*
 * The parser without sockets' timing: a client that runs, fed with messages good and bad.
 */
static void fuzz_round(struct vnc_rig *r, uint32_t *seed, unsigned round)
{
	static const uint8_t kinds[] = { 0, 2, 3, 4, 5, 6, 251, 255, 250, 1 };
	uint8_t b[512];
	int fd = rig_login(r);
	unsigned count = 1 + round % 40;

	for (unsigned n = 0; n < count; n++) {
		size_t len = 1 + (*seed >> 8) % (n % 3 ? 24 : sizeof(b) - 1);

		for (size_t k = 0; k < len; k++) {
			*seed = *seed * 1664525 + 1013904223;
			b[k] = (uint8_t)(*seed >> 16);
			if (*seed & 0x40000000)
				b[k] &= 7;
		}
		*seed = *seed * 1664525 + 1013904223;
		b[0] = kinds[(*seed >> 20) % array_size(kinds)];
		if (b[0] == 0 && *seed & 0x1000) /* mostly a format that could be */
			memcpy(b + 4, "\x10\x10\0\1\0\x1f\0\x3f\0\x1f\x0b\5\0\0\0\0", 16);
		if (b[0] == 2)
			b[2] = 0;
		if (b[0] == 6 && *seed & 0x3000)
			b[4] = b[5] = 0;
		if (send(fd, b, len, MSG_NOSIGNAL) < 0)
			break;
		/* What comes back is thrown away, so that it goes on. */
		while (recv(fd, b, sizeof(b), MSG_DONTWAIT) > 0)
			;
	}
	close(fd);
}

static void test_fuzz(void **state)
{
	const char *scale = getenv("BOTHY_FUZZ_ROUNDS");
	unsigned rounds = scale ? (unsigned)strtoul(scale, NULL, 0) : 300;
	struct vnc_rig r;
	uint32_t seed = 11, row[200];

	vnc_rig_init(&r);
	for (unsigned n = 0; n < rounds; n++) {
		fuzz_round(&r, &seed, n);
		lock(&r);
		for (unsigned x = 0; x < 200; x++)
			row[x] = seed >> (x & 7);
		surface_put_row(&r.s, n % 150, row, 200);
		r.absolute = n & 1;
		r.events = 0;
		unlock(&r);
	}
	/* And it serves on. */
	close(rig_login(&r));
	vnc_rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions), cmocka_unit_test(test_password),
		cmocka_unit_test(test_input), cmocka_unit_test(test_updates),
		cmocka_unit_test(test_resize), cmocka_unit_test(test_slow),
		cmocka_unit_test(test_many), cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

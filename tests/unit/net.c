/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ethernet between two ends: offloads in software, refusal and waking, the user network's
 * configuration. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/bus/bus.h"
#include "src/net/net.h"
#include "src/net/user.h"
#include "tests/unit/cmocka_all.h"

struct end {
	struct net_peer peer;
	bool full;
	unsigned count, woken, links;
	size_t len[64];
	uint8_t data[64][2000];
	struct net_offload off[64];
};

static bool end_receive(struct net_peer *p, const struct net_packet *pkt)
{
	struct end *e = p->opaque;

	if (e->full)
		return false;
	assert_true(e->count < 64);
	e->len[e->count] = pkt->len;
	e->off[e->count] = pkt->off;
	iov_to_buf(pkt->iov, pkt->niov, 0, e->data[e->count++], 2000);
	return true;
}

static void end_writable(struct net_peer *p) { ((struct end *)p->opaque)->woken++; }
static void end_link(struct net_peer *p) { ((struct end *)p->opaque)->links++; }

static const struct net_peer_ops end_ops = { end_receive, end_writable, end_link };

static struct end *end_new(unsigned accepts)
{
	struct end *e = calloc(1, sizeof(*e));

	net_peer_init(&e->peer, &end_ops, e, accepts);
	return e;
}

/* A reference that is slow and plain: RFC 1071. */
static uint16_t plain_sum(const uint8_t *p, size_t len, uint32_t s)
{
	for (size_t i = 0; i < len; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static uint32_t pseudo(const uint8_t *ip, bool v6, unsigned proto, size_t len)
{
	uint32_t s = plain_sum(v6 ? ip + 8 : ip + 12, v6 ? 32 : 8, 0);

	return s + proto + (uint32_t)len;
}

/* Is the packet whole: lengths, IP checksum, TCP or UDP checksum? */
static void check_whole(const uint8_t *p, size_t len, bool v6, unsigned proto)
{
	const uint8_t *ip = p + 14;
	size_t head = v6 ? 40 : (ip[0] & 15u) * 4, l4 = len - 14 - head;

	if (v6) {
		assert_int_equal(ld_be16(ip + 4), l4);
	} else {
		assert_int_equal(ld_be16(ip + 2), len - 14);
		assert_int_equal(plain_sum(ip, head, 0), 0xffff);
	}
	assert_int_equal(plain_sum(ip + head, l4, pseudo(ip, v6, proto, l4)), 0xffff);
}

/* A TCP packet of @payload bytes whose checksum is the pseudo header's. */
static size_t make_tcp(uint8_t *p, bool v6, size_t payload, unsigned options)
{
	uint8_t *ip = p + 14, *tcp = ip + (v6 ? 40 : 20);
	size_t l4 = 20 + options + payload;

	memset(p, 0, 14 + 60 + 60);
	st_be16(p + 12, v6 ? 0x86dd : 0x0800);
	if (v6) {
		ip[0] = 0x60;
		st_be16(ip + 4, (uint16_t)l4);
		ip[6] = 6;
		memset(ip + 8, 0x11, 32);
	} else {
		ip[0] = 0x45;
		st_be16(ip + 2, (uint16_t)(20 + l4));
		st_be16(ip + 4, 0x1234);
		ip[9] = 6;
		memcpy(ip + 12, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
		st_be16(ip + 10, (uint16_t)~plain_sum(ip, 20, 0));
	}
	st_be32(tcp + 4, 0xfffff000); /* the sequence number wraps within */
	tcp[12] = (uint8_t)((20 + options) / 4 << 4);
	tcp[13] = 0x99; /* CWR, ACK, PSH, FIN */
	st_be16(tcp + 16, plain_sum(NULL, 0, pseudo(ip, v6, 6, l4)));
	for (size_t i = 0; i < payload; i++)
		tcp[20 + options + i] = (uint8_t)(i * 7 + i / 256);
	return 14 + (v6 ? 40 : 20) + l4;
}

static void tso(bool v6, size_t payload, unsigned gso, unsigned options)
{
	static uint8_t p[70000];
	struct end *a = end_new(0), *b = end_new(0);
	size_t len = make_tcp(p, v6, payload, options), l4 = v6 ? 54 : 34, head = l4 + 20 + options;
	struct iovec iov[3] = { { p, 20 }, { p + 20, 1001 }, { p + 1021, len - 1021 } };
	struct net_packet pkt = { iov, 3, len, { .todo = NET_CSUM | (v6 ? NET_TSO6 : NET_TSO4),
						 .csum_start = (uint16_t)l4, .csum_offset = 16,
						 .gso_size = (uint16_t)gso } };
	size_t at = 0;

	net_connect(&a->peer, &b->peer);
	assert_true(net_send(&a->peer, &pkt));
	assert_int_equal(b->count, (payload + gso - 1) / gso);
	for (unsigned n = 0; n < b->count; n++) {
		uint8_t *q = b->data[n];
		size_t part = b->len[n] - head;

		check_whole(q, b->len[n], v6, 6);
		assert_int_equal(b->off[n].todo, 0);
		assert_int_equal(ld_be32(q + l4 + 4), (uint32_t)(0xfffff000 + at));
		assert_memory_equal(q + head, p + head + at, part);
		assert_int_equal(q[l4 + 13] & 0x09, n + 1 == b->count ? 0x09 : 0);
		assert_int_equal(q[l4 + 13] & 0x80, n ? 0 : 0x80);
		if (!v6)
			assert_int_equal(ld_be16(q + 18), 0x1234 + n);
		at += part;
	}
	assert_int_equal(at, payload);
	/* Left undone where the other end takes it so. */
	b->count = 0;
	b->peer.accepts = NET_CSUM | NET_TSO4 | NET_TSO6;
	assert_true(net_send(&a->peer, &pkt));
	assert_int_equal(b->count, 1);
	assert_int_equal(b->len[0], len);
	b->count = 0;
	b->peer.accepts = NET_CSUM;
	assert_true(net_send(&a->peer, &pkt));
	assert_int_equal(b->off[0].todo, NET_CSUM);
	net_checksum(b->data[0], b->len[0], &b->off[0]);
	check_whole(b->data[0], b->len[0], v6, 6);
	free(a);
	free(b);
}

static void test_tso(void **state)
{
	tso(false, 5000, 1460, 0);
	tso(false, 65000, 1448, 12);
	tso(false, 1460, 1460, 0);
	tso(true, 5001, 1440, 0);
	tso(true, 60001, 1428, 12);
	tso(false, 2000, 333, 4);
}

static void test_ufo(void **state)
{
	static uint8_t p[20000];
	struct end *a = end_new(0), *b = end_new(0);
	uint8_t *ip = p + 14, *udp = ip + 20;
	static uint8_t whole[20000];
	size_t payload = 9000, len = 14 + 28 + payload, at = 0;
	struct iovec iov = { p, len };
	struct net_packet pkt = { &iov, 1, len, { .todo = NET_CSUM | NET_UFO, .csum_start = 34,
						  .csum_offset = 6, .gso_size = 1480 } };

	make_tcp(p, false, 0, 0);
	ip[9] = 17;
	st_be16(ip + 2, (uint16_t)(28 + payload));
	memset(udp, 0, 20);
	st_be16(udp + 4, (uint16_t)(8 + payload));
	st_be16(udp + 6, plain_sum(NULL, 0, pseudo(ip, false, 17, 8 + payload)));
	for (size_t i = 0; i < payload; i++)
		udp[8 + i] = (uint8_t)(i * 3);
	net_connect(&a->peer, &b->peer);
	assert_true(net_send(&a->peer, &pkt));
	assert_int_equal(b->count, 7);
	for (unsigned n = 0; n < b->count; n++) {
		uint8_t *q = b->data[n] + 14;

		assert_int_equal(plain_sum(q, 20, 0), 0xffff);
		assert_int_equal((ld_be16(q + 6) & 0x1fff) * 8, at);
		assert_int_equal(!!(ld_be16(q + 6) & 0x2000), n + 1 < b->count);
		memcpy(whole + 34 + at, q + 20, b->len[n] - 34);
		at += b->len[n] - 34;
	}
	memcpy(whole, p, 34);
	st_be16(whole + 16, (uint16_t)(20 + at));
	st_be16(whole + 24, 0);
	st_be16(whole + 24, (uint16_t)~plain_sum(whole + 14, 20, 0));
	check_whole(whole, 34 + at, false, 17);
	free(a);
	free(b);
}

static void test_refusal(void **state)
{
	static uint8_t p[2000];
	struct end *a = end_new(0), *b = end_new(0);
	size_t len = make_tcp(p, false, 100, 0);
	struct iovec iov = { p, len };
	struct net_packet pkt = { &iov, 1, len, { .todo = NET_CSUM, .csum_start = 34,
						  .csum_offset = 16 } };

	assert_true(net_send(&a->peer, &pkt)); /* nobody there: lost */
	assert_int_equal(a->peer.dropped, 1);
	net_connect(&a->peer, &b->peer);
	b->full = true;
	assert_false(net_send(&a->peer, &pkt));
	b->full = false;
	net_wake(&b->peer);
	assert_int_equal(a->woken, 1);
	assert_true(net_send(&a->peer, &pkt));
	check_whole(b->data[0], b->len[0], false, 6);
	net_set_link(&b->peer, false);
	assert_int_equal(a->links + b->links, 2);
	assert_true(net_send(&a->peer, &pkt));
	assert_int_equal(b->count, 1);
	net_set_link(&a->peer, true);
	assert_true(net_send(&a->peer, &pkt));
	assert_int_equal(b->count, 2);
	net_disconnect(&a->peer);
	assert_null(b->peer.other);
	free(a);
	free(b);
}

/* Nonsense of all kinds: nothing leaves, or what leaves is within bounds. */
static void test_hostile(void **state)
{
	static uint8_t p[3000];
	struct end *a = end_new(0), *b = end_new(0);
	uint64_t s = 88172645463325252ull;

	net_connect(&a->peer, &b->peer);
	for (unsigned n = 0; n < 200000; n++) {
		size_t len = make_tcp(p, n & 1, 300, 0);
		struct iovec iov = { p, len };
		struct net_packet pkt = { &iov, 1, len, { .csum_start = n & 1 ? 54 : 34,
							  .csum_offset = 16, .gso_size = 50 } };
		static const unsigned todo[] = { NET_CSUM | NET_TSO4, NET_CSUM | NET_TSO6, NET_CSUM,
						 NET_CSUM | NET_UFO, NET_TSO4 | NET_TSO6 };

		pkt.off.todo = todo[n % 5];
		for (unsigned k = 0; k < 3; k++) {
			s ^= s << 13;
			s ^= s >> 7;
			s ^= s << 17;
			p[(s >> 8) % 80] = (uint8_t)(s >> 20);
		}
		if (s & 1)
			pkt.off.csum_start = (uint16_t)(s >> 32);
		if (s & 2)
			pkt.off.csum_offset = (uint16_t)(s >> 40);
		if (s & 4)
			pkt.off.gso_size = (uint16_t)((s >> 48) % 40 + 8);
		if (s & 8)
			pkt.len = iov.iov_len = (s >> 24) % len;
		b->count = 0;
		net_send(&a->peer, &pkt);
	}
	free(a);
	free(b);
}

static void test_user(void **state)
{
	static const struct { const char *net, *host, *dhcp, *forward; bool ok; } c[] = {
		{ NULL, NULL, NULL, NULL, true },
		{ "192.168.7.0/24", NULL, NULL, NULL, true },
		{ "192.168.7.0/24", "192.168.7.1", "192.168.7.100", NULL, true },
		{ "192.168.7.0/24", "10.0.2.2", NULL, NULL, false },
		{ "192.168.7.0/33", NULL, NULL, NULL, false },
		{ "x", NULL, NULL, NULL, false },
		{ "10.9.8.0/29", NULL, NULL, NULL, true },
		{ NULL, "10.0.2.15", NULL, NULL, false },
		{ NULL, NULL, NULL, "tcp:1:2:3:4:5:6", false },
		{ NULL, NULL, NULL, "tcp:70000:22", false },
		{ NULL, NULL, NULL, "tcp:0:22", false },
		{ NULL, NULL, NULL, "sctp:2222:22", false },
		{ NULL, NULL, NULL, "tcp:127.0.0.x:2222:22", false },
		{ NULL, NULL, NULL, "tcp:2222", false },
	};
	struct bus *bus = bus_new(NULL, NULL);
	struct vtime *vt = vtime_new(&bus->lock, true);
	struct loop *loop = loop_new(&bus->lock, NULL);

	for (unsigned i = 0; i < array_size(c); i++) {
		struct net_user_config cfg = { .net = c[i].net, .host = c[i].host,
					       .dhcp_start = c[i].dhcp, .forward = c[i].forward,
					       .loop = loop, .vtime = vt };
		struct net_user *u;
		struct err err = { "" };
		int ret = net_user_new(&cfg, &u, &err);

		if ((ret == 0) != c[i].ok)
			fail_msg("case %u: %d %s", i, ret, err.text);
		assert_int_equal(err_is_set(&err), !c[i].ok);
		net_user_free(u);
	}
	loop_free(loop);
	vtime_free(vt);
	bus_free(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tso), cmocka_unit_test(test_ufo),
		cmocka_unit_test(test_refusal), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

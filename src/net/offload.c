/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums and segmentation in software. Sources: RFC 791 and 8200 (IP), RFC 9293 (TCP),
 * RFC 768 (UDP), RFC 1071 (checksum), RFC 3168, 6.1.2 (CWR on the first segment alone).
 */
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/net/net.h"

#define ETH_LEN 14u
#define VLAN_LEN 4u
#define ETH_IPV4 0x0800u
#define ETH_IPV6 0x86ddu
#define ETH_VLAN 0x8100u
#define IPV6_LEN 40u
#define UDP_LEN 8u
#define HEADERS_MAX 256u
#define TCP_FIN_PSH 0x09u
#define TCP_CWR 0x80u
#define PROTO_TCP 6u
#define PROTO_UDP 17u

/* Sum of 16-bit big-endian words, an odd byte being the upper half of one. */
static uint64_t sum(const uint8_t *p, size_t len, uint64_t s)
{
	while (len >= 8) {
		uint64_t v = ld_be64(p);

		s += (v >> 32) + (uint32_t)v;
		p += 8;
		len -= 8;
	}
	for (; len >= 2; p += 2, len -= 2)
		s += ld_be16(p);
	return len ? s + ((uint64_t)*p << 8) : s;
}

static uint16_t fold(uint64_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

bool net_offload_ok(const struct net_packet *pkt)
{
	const struct net_offload *o = &pkt->off;
	unsigned gso = o->todo & (NET_TSO4 | NET_TSO6 | NET_UFO);

	if (gso & (gso - 1) || (gso && !o->gso_size))
		return false;
	if ((gso & (NET_TSO4 | NET_TSO6)) && !(o->todo & NET_CSUM))
		return false;
	return !(o->todo & NET_CSUM) ||
	       ((size_t)o->csum_start + o->csum_offset + 2 <= pkt->len && o->csum_start >= ETH_LEN);
}

void net_checksum(uint8_t *packet, size_t len, const struct net_offload *off)
{
	uint8_t *field = packet + off->csum_start + off->csum_offset;
	uint16_t c;

	if (!(off->todo & NET_CSUM) || (size_t)off->csum_start + off->csum_offset + 2 > len)
		return;
	c = fold(sum(packet + off->csum_start, len - off->csum_start, 0));
	st_be16(field, c ? c : 0xffff); /* 0 means "none" in UDP, and is the same to TCP */
}

/* Where the headers are. */
struct headers {
	unsigned ip, l4, payload; /* offsets */
	bool v6;
};

static bool find_headers(const uint8_t *p, size_t len, struct headers *h)
{
	unsigned type, at = ETH_LEN;

	if (len < ETH_LEN + VLAN_LEN)
		return false;
	type = ld_be16(p + 12);
	if (type == ETH_VLAN) {
		type = ld_be16(p + 16);
		at += VLAN_LEN;
	}
	*h = (struct headers){ .ip = at, .v6 = type == ETH_IPV6 };
	if (type == ETH_IPV4 && len >= at + 20) {
		h->l4 = at + (p[at] & 15u) * 4;
		return (p[at] & 15) >= 5;
	}
	if (type == ETH_IPV6 && len >= at + IPV6_LEN) {
		/* Segments with extension headers: only those that end in TCP at once. */
		h->l4 = at + IPV6_LEN;
		return p[at + 6] == PROTO_TCP;
	}
	return false;
}

static void ipv4_checksum(uint8_t *ip, unsigned len)
{
	st_be16(ip + 10, 0);
	st_be16(ip + 10, fold(sum(ip, len, 0)));
}

/* Of a pseudo header: what the checksum field holds before it is completed. */
static uint16_t pseudo(const uint8_t *p, const struct headers *h, unsigned proto, unsigned len)
{
	const uint8_t *ip = p + h->ip;
	uint64_t s = proto + len;

	s = h->v6 ? sum(ip + 8, 32, s) : sum(ip + 12, 8, s);
	return (uint16_t)~fold(s);
}

struct cut {
	const struct net_packet *pkt;
	struct headers h;
	uint8_t head[HEADERS_MAX]; /* of the packet as it came */
	size_t payload;            /* bytes of it */
	bool keep_csum;
	void (*fn)(void *opaque, const struct net_packet *pkt);
	void *opaque;
};

/* One part: @head_len bytes of headers at @buf, which has room for the payload. */
static void emit(struct cut *c, uint8_t *buf, unsigned head_len, size_t at, size_t n,
		 const struct net_offload *off)
{
	struct iovec iov = { buf, head_len + n };
	struct net_packet part = { &iov, 1, head_len + n, *off };

	iov_to_buf(c->pkt->iov, c->pkt->niov, c->h.payload + at, buf + head_len, n);
	if (!c->keep_csum && off->todo & NET_CSUM) {
		net_checksum(buf, part.len, off);
		part.off = (struct net_offload){ .csum_valid = true };
	}
	c->fn(c->opaque, &part);
}

static void cut_tcp(struct cut *c, uint8_t *buf)
{
	const struct headers *h = &c->h;
	unsigned size = c->pkt->off.gso_size, head = h->payload, number = 0;
	uint8_t flags = c->head[h->l4 + 13];

	for (size_t at = 0; at < c->payload; at += size, number++) {
		size_t n = min_of(c->payload - at, (size_t)size);
		struct net_offload off = { .todo = NET_CSUM, .csum_start = (uint16_t)h->l4,
					   .csum_offset = 16 };
		uint8_t *ip = buf + h->ip, *tcp = buf + h->l4;

		memcpy(buf, c->head, head);
		if (h->v6) {
			st_be16(ip + 4, (uint16_t)(head - h->l4 + n));
		} else {
			st_be16(ip + 2, (uint16_t)(head - h->ip + n));
			st_be16(ip + 4, (uint16_t)(ld_be16(c->head + h->ip + 4) + number));
			ipv4_checksum(ip, h->l4 - h->ip);
		}
		st_be32(tcp + 4, (uint32_t)(ld_be32(c->head + h->l4 + 4) + at));
		tcp[13] = flags;
		if (at + n < c->payload)
			tcp[13] &= (uint8_t)~TCP_FIN_PSH;
		if (at)
			tcp[13] &= (uint8_t)~TCP_CWR;
		st_be16(tcp + 16, pseudo(buf, h, PROTO_TCP, (unsigned)(head - h->l4 + n)));
		emit(c, buf, head, at, n, &off);
	}
}

/* IPv4 fragments of a datagram whose checksum is complete. */
static void cut_udp(struct cut *c, uint8_t *buf)
{
	const struct headers *h = &c->h;
	unsigned size = c->pkt->off.gso_size & ~7u, head = h->payload;
	static const struct net_offload off = { .csum_valid = true };

	for (size_t at = 0; at < c->payload; at += size) {
		size_t n = min_of(c->payload - at, (size_t)size);
		uint8_t *ip = buf + h->ip;

		memcpy(buf, c->head, head);
		st_be16(ip + 2, (uint16_t)(head - h->ip + n));
		st_be16(ip + 6, (uint16_t)(at / 8 | (at + n < c->payload ? 0x2000 : 0)));
		ipv4_checksum(ip, h->l4 - h->ip);
		emit(c, buf, head, at, n, &off);
	}
}

/* UDP's checksum spans all fragments, so it is made before they are. */
static bool segment_udp(struct cut *c)
{
	uint8_t *flat, *buf;
	struct iovec iov;
	struct net_packet whole;

	if (c->h.v6 || c->head[c->h.ip + 9] != PROTO_UDP || c->pkt->off.gso_size < 8)
		return false;
	flat = malloc(c->pkt->len);
	buf = malloc(c->h.payload + c->pkt->off.gso_size);
	if (flat && buf) {
		iov_to_buf(c->pkt->iov, c->pkt->niov, 0, flat, c->pkt->len);
		net_checksum(flat, c->pkt->len, &c->pkt->off);
		iov = (struct iovec){ flat, c->pkt->len };
		whole = (struct net_packet){ &iov, 1, c->pkt->len, c->pkt->off };
		c->pkt = &whole;
		cut_udp(c, buf);
	}
	free(buf);
	free(flat);
	return flat && buf;
}

bool net_segment(const struct net_packet *pkt, bool keep_csum,
		 void (*fn)(void *opaque, const struct net_packet *pkt), void *opaque)
{
	struct cut c = { .pkt = pkt, .keep_csum = keep_csum, .fn = fn, .opaque = opaque };
	size_t got = iov_to_buf(pkt->iov, pkt->niov, 0, c.head, sizeof(c.head));
	struct headers *h = &c.h;
	uint8_t *buf;

	if (!find_headers(c.head, got, h))
		return false;
	if (pkt->off.todo & NET_UFO) {
		h->payload = h->l4;
		if (h->l4 + UDP_LEN > got)
			return false;
		c.payload = pkt->len - h->payload;
		return segment_udp(&c);
	}
	if (h->l4 + 20 > got || h->v6 != !!(pkt->off.todo & NET_TSO6) ||
	    (!h->v6 && c.head[h->ip + 9] != PROTO_TCP))
		return false;
	h->payload = h->l4 + (c.head[h->l4 + 12] >> 4) * 4u;
	if (h->payload < h->l4 + 20 || h->payload > got)
		return false;
	c.payload = pkt->len - h->payload;
	buf = malloc(h->payload + pkt->off.gso_size);
	if (buf)
		cut_tcp(&c, buf);
	free(buf);
	return buf != NULL;
}

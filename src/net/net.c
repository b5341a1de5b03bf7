/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/net/net.h"

#include <stdlib.h>

#include "src/base/iov.h"

void net_peer_init(struct net_peer *p, const struct net_peer_ops *ops, void *opaque,
		   unsigned accepts)
{
	*p = (struct net_peer){ .ops = ops, .opaque = opaque, .accepts = accepts };
}

void net_connect(struct net_peer *a, struct net_peer *b)
{
	if (!a || !b)
		return;
	net_disconnect(a);
	net_disconnect(b);
	a->other = b;
	b->other = a;
}

void net_disconnect(struct net_peer *p)
{
	if (p->other)
		p->other->other = NULL;
	p->other = NULL;
}

/* For net_segment(): the parts of one packet go out one by one. */
static void send_part(void *opaque, const struct net_packet *pkt)
{
	struct net_peer *p = opaque;

	/* Half a packet cannot wait for room: the rest is lost, as on a busy network. */
	if (p->other->ops->receive(p->other, pkt)) {
		p->packets++;
		p->bytes += pkt->len;
	} else {
		p->dropped++;
	}
}

static bool send_checksummed(struct net_peer *p, const struct net_packet *pkt)
{
	uint8_t *flat = malloc(pkt->len);
	struct iovec iov = { flat, pkt->len };
	struct net_packet whole = { &iov, 1, pkt->len, { .csum_valid = true } };
	bool sent = true;

	if (!flat)
		return true; /* lost */
	iov_to_buf(pkt->iov, pkt->niov, 0, flat, pkt->len);
	net_checksum(flat, pkt->len, &pkt->off);
	sent = p->other->ops->receive(p->other, &whole);
	free(flat);
	return sent;
}

bool net_send(struct net_peer *p, const struct net_packet *pkt)
{
	struct net_peer *to = p->other;
	unsigned left = to ? pkt->off.todo & ~to->accepts : 0;
	bool sent;

	if (!to || p->link_down || pkt->len < 14 || pkt->len > NET_PACKET_MAX ||
	    !net_offload_ok(pkt)) {
		p->dropped++;
		return true;
	}
	if (left & ~NET_CSUM) {
		if (!net_segment(pkt, to->accepts & NET_CSUM, send_part, p))
			p->dropped++;
		return true;
	}
	sent = left ? send_checksummed(p, pkt) : to->ops->receive(to, pkt);
	if (sent) {
		p->packets++;
		p->bytes += pkt->len;
	}
	return sent;
}

void net_wake(struct net_peer *p)
{
	if (p->other && p->other->ops->writable)
		p->other->ops->writable(p->other);
}

void net_set_link(struct net_peer *p, bool up)
{
	struct net_peer *ends[2] = { p, p->other };

	for (unsigned i = 0; i < 2; i++) {
		if (!ends[i] || ends[i]->link_down == !up)
			continue;
		ends[i]->link_down = !up;
		if (ends[i]->ops->link_changed)
			ends[i]->ops->link_changed(ends[i]);
	}
	if (up)
		net_wake(p);
}

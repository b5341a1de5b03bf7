/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ethernet between two ends: a network card and what it is plugged into. An end may
 * refuse a packet for lack of room, which holds the other one back; packets may carry
 * work that is still to do (checksum, segmentation), as in virtio 1.2, 5.1.6, and who
 * receives says what of that it can take. The rest is done on the way.
 *
 * Everything is under the device lock.
 */
#ifndef BOTHY_NET_NET_H
#define BOTHY_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define NET_PACKET_MAX 65550u /* a 64 KiB IP packet and its Ethernet header */
#define NET_PIECES_MAX 1024u

/* What is still to be done, and what an end takes undone. */
#define NET_CSUM 0x1u /* the checksum at csum_start + csum_offset holds the pseudo header's */
#define NET_TSO4 0x2u /* a TCP segment longer than gso_size allows, to be cut */
#define NET_TSO6 0x4u
#define NET_UFO 0x8u  /* an IPv4 UDP datagram to be cut into fragments */

struct net_offload {
	unsigned todo;      /* NET_CSUM, and at most one of the others */
	bool ecn;           /* TSO: CWR belongs to the first segment alone */
	bool csum_valid;    /* the sender vouches for the checksum */
	uint16_t csum_start, csum_offset; /* from the packet's first byte */
	uint16_t gso_size;  /* payload bytes of a segment */
};

struct net_packet {
	const struct iovec *iov; /* from the Ethernet header on, without FCS */
	unsigned niov;
	size_t len;
	struct net_offload off;
};

struct net_peer;

struct net_peer_ops {
	/* A packet from the other end; not kept. False: no room, it was not taken; this end
	 * calls net_wake() when there is. Its todo is within @accepts. */
	bool (*receive)(struct net_peer *p, const struct net_packet *pkt);
	/* The other end has room again, or the link came back. May be NULL. */
	void (*writable)(struct net_peer *p);
	void (*link_changed)(struct net_peer *p); /* may be NULL */
};

struct net_peer {
	const struct net_peer_ops *ops;
	void *opaque;
	struct net_peer *other;
	unsigned accepts; /* NET_*: what receive() takes undone; may change */
	bool link_down;   /* the cable's, the same at both ends */
	uint64_t packets, bytes, dropped; /* that were sent from here */
};

void net_peer_init(struct net_peer *p, const struct net_peer_ops *ops, void *opaque,
		   unsigned accepts);
void net_connect(struct net_peer *a, struct net_peer *b); /* either may be NULL */
void net_disconnect(struct net_peer *p);                  /* idempotent */

/* False: the other end has no room; p's writable() follows. True: sent, or lost where a
 * network loses packets (no other end, link down, nonsense in it). */
bool net_send(struct net_peer *p, const struct net_packet *pkt);
/* There is room at @p again. */
void net_wake(struct net_peer *p);
void net_set_link(struct net_peer *p, bool up);

/*
 * What is left to do, done here. Any thread.
 */

/* Does the packet hold together: is what off.todo names where it says? */
bool net_offload_ok(const struct net_packet *pkt);
/* Completes the checksum of a packet in one piece of @len bytes. */
void net_checksum(uint8_t *packet, size_t len, const struct net_offload *off);
/* Cuts the packet into such that have nothing left to do but NET_CSUM if @keep_csum; calls
 * fn() for each. False: malformed, or out of memory (some may have gone). */
bool net_segment(const struct net_packet *pkt, bool keep_csum,
		 void (*fn)(void *opaque, const struct net_packet *pkt), void *opaque);

#endif

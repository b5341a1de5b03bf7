/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control queue: what a card lets through, its address, offloads (5.1.6.5). */
#include "src/base/bits.h"
#include "src/base/iov.h"
#include "src/dev/virtio/virtio_net.h"

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_OFFLOADS };
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
enum { MAC_TABLE_SET, MAC_ADDR_SET };
enum { VLAN_ADD, VLAN_DEL };
enum { ACK_OK, ACK_ERR };

#define OFFLOADS (NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN | \
		  NET_F_GUEST_UFO)
#define HEAD_LEN 2u

void virtio_net_accept(struct virtio_net *n, uint64_t offloads)
{
	n->peer.accepts = (offloads & NET_F_GUEST_CSUM ? NET_CSUM : 0) |
			  (offloads & NET_F_GUEST_TSO4 ? NET_TSO4 : 0) |
			  (offloads & NET_F_GUEST_TSO6 ? NET_TSO6 : 0) |
			  (offloads & NET_F_GUEST_UFO ? NET_UFO : 0);
}

void virtio_net_ctrl_reset(struct virtio_net *n)
{
	/* 5.1.6.5.1: until told otherwise everything is let through. */
	n->promiscuous = true;
	n->all_multicast = n->all_unicast = false;
	n->no_multicast = n->no_unicast = n->no_broadcast = false;
	n->unicast_overflow = n->multicast_overflow = false;
	n->unicasts = n->multicasts = 0;
	memset(n->table, 0, sizeof(n->table));
	memset(n->vlans, 0, sizeof(n->vlans));
	memcpy(n->now, n->mac, 6);
}

/*
 * What is let through.
 */
static bool in_table(const uint8_t *mac, const uint8_t *table, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!memcmp(mac, table + i * 6, 6))
			return true;
	return false;
}

bool virtio_net_filter(const struct virtio_net *n, const uint8_t *head, size_t len)
{
	static const uint8_t broadcast[6] = { 255, 255, 255, 255, 255, 255 };

	if (len < 14)
		return false;
	if (virtio_has(&n->v, NET_F_CTRL_VLAN) && len >= 16 && ld_be16(head + 12) == 0x8100) {
		unsigned vlan = ld_be16(head + 14) & 0xfff;

		if (!(n->vlans[vlan / 32] >> vlan % 32 & 1))
			return false;
	}
	if (n->promiscuous)
		return true;
	if (!memcmp(head, broadcast, 6))
		return !n->no_broadcast;
	if (head[0] & 1)
		return !n->no_multicast && (n->all_multicast || n->multicast_overflow ||
					    in_table(head, n->table + n->unicasts * 6, n->multicasts));
	return !n->no_unicast && (n->all_unicast || n->unicast_overflow || !memcmp(head, n->now, 6) ||
				  in_table(head, n->table, n->unicasts));
}

/*
 * Commands. Each gets what follows class and command.
 */
struct args {
	const struct iovec *iov;
	unsigned n;
	size_t len;
};

static size_t take(const struct args *a, size_t off, void *buf, size_t len)
{
	return iov_to_buf(a->iov, a->n, HEAD_LEN + off, buf, len);
}

static uint8_t rx_mode(struct virtio_net *n, uint8_t command, const struct args *a)
{
	bool *const modes[] = { &n->promiscuous, &n->all_multicast, &n->all_unicast,
				&n->no_multicast, &n->no_unicast, &n->no_broadcast };
	uint8_t on;

	if (command >= array_size(modes) || take(a, 0, &on, 1) != 1 ||
	    !virtio_has(&n->v, command <= RX_ALLMULTI ? NET_F_CTRL_RX : NET_F_CTRL_RX_EXTRA))
		return ACK_ERR;
	*modes[command] = on;
	return ACK_OK;
}

/* Two lists of addresses; one that does not fit lets everything of its kind through. */
static uint8_t mac_table(struct virtio_net *n, const struct args *a)
{
	uint8_t table[NET_MACS_MAX * 6] = { 0 };
	uint32_t count[2], used = 0;
	bool over[2] = { false, false };
	size_t at = 0;

	for (unsigned k = 0; k < 2; k++) {
		uint8_t raw[4];
		uint64_t bytes;

		if (take(a, at, raw, 4) != 4)
			return ACK_ERR;
		at += 4;
		count[k] = ld_le32(raw);
		bytes = (uint64_t)count[k] * 6;
		if (bytes > a->len - at)
			return ACK_ERR;
		if (count[k] > NET_MACS_MAX - used) {
			over[k] = true;
			count[k] = 0;
		} else {
			take(a, at, table + used * 6, bytes);
			used += count[k];
		}
		at += bytes;
	}
	if (at != a->len)
		return ACK_ERR;
	memcpy(n->table, table, sizeof(table));
	n->unicasts = count[0];
	n->multicasts = count[1];
	n->unicast_overflow = over[0];
	n->multicast_overflow = over[1];
	return ACK_OK;
}

static uint8_t mac_address(struct virtio_net *n, const struct args *a)
{
	uint8_t mac[6];

	if (!virtio_has(&n->v, NET_F_CTRL_MAC_ADDR) || a->len != 6 || take(a, 0, mac, 6) != 6)
		return ACK_ERR;
	memcpy(n->now, mac, 6);
	memcpy(n->v.config + NET_CFG_MAC, mac, 6);
	return ACK_OK;
}

static uint8_t vlan(struct virtio_net *n, uint8_t command, const struct args *a)
{
	uint8_t raw[2];
	uint16_t id;

	if (command > VLAN_DEL || take(a, 0, raw, 2) != 2 || ld_le16(raw) > 4095 ||
	    !virtio_has(&n->v, NET_F_CTRL_VLAN))
		return ACK_ERR;
	id = ld_le16(raw);
	if (command == VLAN_ADD)
		n->vlans[id / 32] |= 1u << id % 32;
	else
		n->vlans[id / 32] &= ~(1u << id % 32);
	return ACK_OK;
}

static uint8_t offloads(struct virtio_net *n, const struct args *a)
{
	uint8_t raw[8];

	if (!virtio_has(&n->v, NET_F_CTRL_GUEST_OFFLOADS) || take(a, 0, raw, 8) != 8 ||
	    ld_le64(raw) & ~(n->v.features & OFFLOADS))
		return ACK_ERR;
	virtio_net_accept(n, ld_le64(raw));
	return ACK_OK;
}

static uint8_t announced(struct virtio_net *n)
{
	uint8_t *status = n->v.config + NET_CFG_STATUS;

	if (!(*status & NET_S_ANNOUNCE))
		return ACK_ERR;
	*status &= (uint8_t)~NET_S_ANNOUNCE;
	return ACK_OK;
}

static uint8_t command(struct virtio_net *n, uint8_t class, uint8_t cmd, const struct args *a)
{
	switch (class) {
	case CLASS_RX: return rx_mode(n, cmd, a);
	case CLASS_MAC:
		if (cmd == MAC_TABLE_SET)
			return mac_table(n, a);
		return cmd == MAC_ADDR_SET ? mac_address(n, a) : ACK_ERR;
	case CLASS_VLAN: return vlan(n, cmd, a);
	case CLASS_ANNOUNCE: return cmd ? ACK_ERR : announced(n);
	case CLASS_OFFLOADS: return cmd ? ACK_ERR : offloads(n, a);
	default: return ACK_ERR;
	}
}

static void handle(void *req)
{
	struct virtq_elem *e = req;
	struct virtq *q = e->q;
	struct virtio_net *n = container_of(q->dev, struct virtio_net, v);
	uint8_t head[HEAD_LEN], ack;

	if (!e->in_len || iov_to_buf(e->out, e->out_num, 0, head, HEAD_LEN) != HEAD_LEN) {
		virtio_broken(q->dev, "a control command without a head or a place for the answer");
		virtq_drop(e);
		return;
	}
	ack = command(n, head[0], head[1],
		      &(struct args){ e->out, e->out_num, e->out_len - HEAD_LEN });
	iov_from_buf(e->in, e->in_num, 0, &ack, 1);
	virtq_push(e, 1);
	virtq_interrupt(q);
}

void virtio_net_ctrl_notify(struct virtio_net *n)
{
	virtq_serve(n->control, sizeof(struct virtq_elem), handle);
}

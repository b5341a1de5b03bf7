/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network card: virtio 1.2, 5.1. Between virtio_net.c (packets, life) and
 * virtio_net_ctrl.c (what the driver commands). */
#ifndef BOTHY_DEV_VIRTIO_VIRTIO_NET_H
#define BOTHY_DEV_VIRTIO_VIRTIO_NET_H

#include "src/dev/virtio/virtio_pci.h"
#include "src/net/net.h"

#define NET_F_CSUM VIRTIO_BIT(0)
#define NET_F_GUEST_CSUM VIRTIO_BIT(1)
#define NET_F_CTRL_GUEST_OFFLOADS VIRTIO_BIT(2)
#define NET_F_MTU VIRTIO_BIT(3)
#define NET_F_MAC VIRTIO_BIT(5)
#define NET_F_GUEST_TSO4 VIRTIO_BIT(7)
#define NET_F_GUEST_TSO6 VIRTIO_BIT(8)
#define NET_F_GUEST_ECN VIRTIO_BIT(9)
#define NET_F_GUEST_UFO VIRTIO_BIT(10)
#define NET_F_HOST_TSO4 VIRTIO_BIT(11)
#define NET_F_HOST_TSO6 VIRTIO_BIT(12)
#define NET_F_HOST_ECN VIRTIO_BIT(13)
#define NET_F_HOST_UFO VIRTIO_BIT(14)
#define NET_F_MRG_RXBUF VIRTIO_BIT(15)
#define NET_F_STATUS VIRTIO_BIT(16)
#define NET_F_CTRL_VQ VIRTIO_BIT(17)
#define NET_F_CTRL_RX VIRTIO_BIT(18)
#define NET_F_CTRL_VLAN VIRTIO_BIT(19)
#define NET_F_CTRL_RX_EXTRA VIRTIO_BIT(20)
#define NET_F_GUEST_ANNOUNCE VIRTIO_BIT(21)
#define NET_F_CTRL_MAC_ADDR VIRTIO_BIT(23)

/* Configuration (5.1.4). */
#define NET_CFG_MAC 0
#define NET_CFG_STATUS 6
#define NET_CFG_PAIRS 8
#define NET_CFG_MTU 10
#define NET_CFG_LEN 12
#define NET_S_LINK_UP 1u
#define NET_S_ANNOUNCE 2u

#define NET_MACS_MAX 64u

struct virtio_net {
	struct virtio_dev v;
	struct virtio_pci pci;
	struct net_peer *netdev; /* what the card is plugged into; NULL: nothing */
	uint8_t mac[6];          /* as configured */
	uint32_t mtu;
	uint32_t rx_size, tx_size;
	bool mrg_rxbuf, guest_offloads, host_offloads, status, ctrl;

	struct net_peer peer; /* our end */
	struct virtq *rx, *tx, *control;
	uint8_t now[6];       /* the address as the driver has set it */
	/* What is let through (5.1.6.5.1 and on). */
	bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
	bool unicast_overflow, multicast_overflow;
	uint32_t unicasts, multicasts; /* how many of the table, unicast first */
	uint8_t table[NET_MACS_MAX * 6];
	uint32_t vlans[4096 / 32];
	bool tx_blocked;      /* the other end has no room */
};

/* The driver's features, or its commands, say what of a packet may be left undone. */
void virtio_net_accept(struct virtio_net *n, uint64_t offloads);
void virtio_net_ctrl_reset(struct virtio_net *n);
void virtio_net_ctrl_notify(struct virtio_net *n);
/* Is a packet with these first @len bytes for us? */
bool virtio_net_filter(const struct virtio_net *n, const uint8_t *head, size_t len);

#endif

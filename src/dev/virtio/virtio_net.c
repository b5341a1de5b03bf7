/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net: packets, and the card's life. One pair of queues; mergeable buffers,
 * checksums and segmentation left to the other side both ways.
 */
#include "src/dev/virtio/virtio_net.h"

#include <errno.h>
#include <sys/random.h>

#include "src/base/bits.h"
#include "src/base/iov.h"

/* The header before each packet (5.1.6). */
#define H_FLAGS 0u
#define H_GSO_TYPE 1u
#define H_HDR_LEN 2u
#define H_GSO_SIZE 4u
#define H_CSUM_START 6u
#define H_CSUM_OFFSET 8u
#define H_NUM_BUFFERS 10u
#define H_MAX 12u
#define FLAG_NEEDS_CSUM 1u
#define FLAG_DATA_VALID 2u
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_UDP = 3, GSO_TCPV6 = 4, GSO_ECN = 0x80 };

#define RX_BUFFERS_MAX 64u /* of one packet */

static struct virtio_net *net_of(struct virtio_dev *v)
{
	return container_of(v, struct virtio_net, v);
}

static unsigned header_len(const struct virtio_net *n)
{
	return virtio_has(&n->v, VIRTIO_F_VERSION_1 | NET_F_MRG_RXBUF) ? 12 : 10;
}

/*
 * To the driver.
 */
static void make_header(const struct virtio_net *n, const struct net_packet *pkt, uint8_t *h)
{
	const struct net_offload *o = &pkt->off;

	memset(h, 0, H_MAX);
	if (o->todo & NET_CSUM) {
		h[H_FLAGS] = FLAG_NEEDS_CSUM;
		st_le16(h + H_CSUM_START, o->csum_start);
		st_le16(h + H_CSUM_OFFSET, o->csum_offset);
	} else if (o->csum_valid && n->peer.accepts & NET_CSUM) {
		h[H_FLAGS] = FLAG_DATA_VALID;
	}
	if (o->todo & (NET_TSO4 | NET_TSO6 | NET_UFO)) {
		h[H_GSO_TYPE] = o->todo & NET_TSO4 ? GSO_TCPV4 : o->todo & NET_TSO6 ? GSO_TCPV6 : GSO_UDP;
		if (o->ecn)
			h[H_GSO_TYPE] |= GSO_ECN;
		st_le16(h + H_GSO_SIZE, o->gso_size);
		st_le16(h + H_HDR_LEN, (uint16_t)min_of(pkt->len, (size_t)o->csum_start + 20));
	}
}

/* Takes buffers for @len bytes. How many; 0: there are not enough. */
static unsigned gather(struct virtio_net *n, size_t len, struct virtq_elem **e)
{
	bool merge = virtio_has(&n->v, NET_F_MRG_RXBUF);
	struct virtq_elem *undo[RX_BUFFERS_MAX];
	unsigned count = 0;
	size_t have = 0;

	while (have < len && count < (merge ? RX_BUFFERS_MAX : 1)) {
		e[count] = virtq_pop(n->rx, sizeof(**e));
		if (!e[count])
			break;
		have += e[count++]->in_len;
	}
	if (have >= len)
		return count;
	for (unsigned i = 0; i < count; i++)
		undo[i] = e[count - 1 - i];
	virtq_unpop(undo, count);
	return 0;
}

/* The driver's buffers are too small for it, whatever comes (5.1.6.3.1). */
static bool hopeless(struct virtio_net *n, size_t len)
{
	struct virtq_elem *e;
	bool small;

	if (virtio_has(&n->v, NET_F_MRG_RXBUF))
		return false;
	e = virtq_pop(n->rx, sizeof(*e));
	if (!e)
		return false;
	small = e->in_len < len;
	virtq_unpop(&e, 1);
	return small;
}

static void fill(struct virtq_elem *const *e, unsigned count, const uint8_t *h, unsigned hlen,
		 const struct net_packet *pkt)
{
	uint32_t written[RX_BUFFERS_MAX];
	size_t from = 0;

	for (unsigned i = 0; i < count; i++) {
		size_t at = 0;
		struct iovec part[NET_PIECES_MAX];
		unsigned n;

		if (i == 0)
			at = iov_from_buf(e[i]->in, e[i]->in_num, 0, h, hlen);
		n = iov_slice(pkt->iov, pkt->niov, from, min_of(e[i]->in_len - at, pkt->len - from),
			      part, array_size(part));
		for (unsigned k = 0; k < n; k++) {
			at += iov_from_buf(e[i]->in, e[i]->in_num, at, part[k].iov_base,
					   part[k].iov_len);
			from += part[k].iov_len;
		}
		written[i] = (uint32_t)at;
	}
	virtq_push_many(e, written, count);
}

static bool receive(struct net_peer *p, const struct net_packet *pkt)
{
	struct virtio_net *n = p->opaque;
	struct virtq_elem *e[RX_BUFFERS_MAX];
	unsigned hlen = header_len(n), count;
	uint8_t h[H_MAX], head[18];

	if (!virtio_running(&n->v) || !n->rx->enabled ||
	    !virtio_net_filter(n, head, iov_to_buf(pkt->iov, pkt->niov, 0, head, sizeof(head))))
		return true; /* nobody listens */
	count = gather(n, hlen + pkt->len, e);
	if (!count && virtq_listen(n->rx, true))
		count = gather(n, hlen + pkt->len, e);
	if (!count)
		return n->v.broken || hopeless(n, hlen + pkt->len);
	make_header(n, pkt, h);
	st_le16(h + H_NUM_BUFFERS, (uint16_t)count);
	fill(e, count, h, hlen, pkt);
	virtq_interrupt(n->rx);
	return true;
}

/*
 * From the driver.
 */
static bool parse_header(const uint8_t *h, struct net_offload *o)
{
	*o = (struct net_offload){ 0 };
	if (h[H_FLAGS] & FLAG_NEEDS_CSUM) {
		o->todo = NET_CSUM;
		o->csum_start = ld_le16(h + H_CSUM_START);
		o->csum_offset = ld_le16(h + H_CSUM_OFFSET);
	}
	switch (h[H_GSO_TYPE] & ~GSO_ECN) {
	case GSO_NONE: return true;
	case GSO_TCPV4: o->todo |= NET_TSO4; break;
	case GSO_TCPV6: o->todo |= NET_TSO6; break;
	case GSO_UDP: o->todo |= NET_UFO; break;
	default: return false;
	}
	o->ecn = h[H_GSO_TYPE] & GSO_ECN;
	o->gso_size = ld_le16(h + H_GSO_SIZE);
	return true;
}

/* False: the other end has no room; the buffer is still @e's owner's. */
static bool transmit(struct virtio_net *n, struct virtq_elem *e)
{
	unsigned hlen = header_len(n);
	struct net_packet pkt;
	uint8_t h[H_MAX];

	if (iov_to_buf(e->out, e->out_num, 0, h, hlen) != hlen || e->in_num) {
		virtio_broken(&n->v, "a packet without its header, or with room to be written");
		return true;
	}
	iov_cut_front(&e->out, &e->out_num, hlen);
	pkt = (struct net_packet){ .iov = e->out, .niov = e->out_num, .len = e->out_len - hlen };
	if (!parse_header(h, &pkt.off)) {
		log_guest(n->v.env->log, &n->v.limit, "virtio-net: a packet of an unknown kind of "
			  "segmentation (%u) is dropped", h[H_GSO_TYPE]);
		return true;
	}
	return net_send(&n->peer, &pkt);
}

static void transmit_all(struct virtio_net *n)
{
	unsigned left = n->tx->size;
	struct virtq_elem *e;
	bool some = false;

	n->tx_blocked = false;
	do {
		virtq_listen(n->tx, false);
		while (left && (e = virtq_pop(n->tx, sizeof(*e)))) {
			if (!transmit(n, e)) {
				virtq_unpop(&e, 1);
				n->tx_blocked = true;
				break;
			}
			virtq_push(e, 0);
			some = true;
			left--;
		}
		if (some)
			virtq_interrupt(n->tx);
		some = false;
	} while (!n->tx_blocked && left && virtq_listen(n->tx, true) && virtio_running(&n->v));
	if (!n->tx_blocked && !left)
		virtq_again(n->tx);
}

static void writable(struct net_peer *p)
{
	struct virtio_net *n = p->opaque;

	if (n->tx_blocked && virtio_running(&n->v) && n->tx->enabled)
		transmit_all(n);
}

static void notify(struct virtio_dev *v, struct virtq *q)
{
	struct virtio_net *n = net_of(v);

	if (q == n->tx) {
		if (!n->tx_blocked)
			transmit_all(n);
	} else if (q == n->rx) {
		net_wake(&n->peer);
	} else {
		virtio_net_ctrl_notify(n);
	}
}

/*
 * Life.
 */
static void set_link(struct virtio_net *n)
{
	uint8_t *status = n->v.config + NET_CFG_STATUS;

	*status = n->netdev && !n->peer.link_down ? NET_S_LINK_UP : 0;
}

static void link_changed(struct net_peer *p)
{
	struct virtio_net *n = p->opaque;

	set_link(n);
	if (!p->link_down && virtio_has(&n->v, NET_F_GUEST_ANNOUNCE))
		n->v.config[NET_CFG_STATUS] |= NET_S_ANNOUNCE;
	virtio_config_changed(&n->v);
}

static const struct net_peer_ops peer_ops = { receive, writable, link_changed };

static void device_reset(struct virtio_dev *v)
{
	struct virtio_net *n = net_of(v);

	n->tx_blocked = false;
	virtio_net_accept(n, 0);
	virtio_net_ctrl_reset(n);
	memcpy(v->config + NET_CFG_MAC, n->mac, 6);
	set_link(n);
}

static void status(struct virtio_dev *v, uint8_t old)
{
	struct virtio_net *n = net_of(v);

	if (!(v->status & ~old & VIRTIO_STATUS_DRIVER_OK))
		return;
	virtio_net_accept(n, v->features);
	net_wake(&n->peer);
}

/* Legacy drivers set the address here; others read it only. */
static void config_written(struct virtio_dev *v, unsigned off, unsigned len)
{
	struct virtio_net *n = net_of(v);

	if (v->legacy && !virtio_has(v, NET_F_CTRL_MAC_ADDR))
		memcpy(n->now, v->config + NET_CFG_MAC, 6);
	else
		memcpy(v->config + NET_CFG_MAC, n->now, 6);
}

static const struct virtio_ops ops = {
	.notify = notify, .reset = device_reset, .status = status,
	.config_written = config_written,
};

static void reset(void *dev)
{
	virtio_pci_reset(&((struct virtio_net *)dev)->pci);
}

static uint64_t offered(const struct virtio_net *n)
{
	uint64_t f = NET_F_MAC;

	if (n->mrg_rxbuf)
		f |= NET_F_MRG_RXBUF;
	if (n->status)
		f |= NET_F_STATUS;
	if (n->mtu)
		f |= NET_F_MTU;
	if (n->guest_offloads)
		f |= NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN |
		     NET_F_GUEST_UFO;
	if (n->host_offloads)
		f |= NET_F_CSUM | NET_F_HOST_TSO4 | NET_F_HOST_TSO6 | NET_F_HOST_ECN |
		     NET_F_HOST_UFO;
	if (n->ctrl)
		f |= NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_VLAN | NET_F_CTRL_RX_EXTRA |
		     NET_F_CTRL_MAC_ADDR | (n->status ? NET_F_GUEST_ANNOUNCE : 0) |
		     (n->guest_offloads ? NET_F_CTRL_GUEST_OFFLOADS : 0);
	return f;
}

/* 52:54:00 is what virtual machines use; the rest is this card's alone. */
static int default_mac(struct virtio_net *n, struct err *err)
{
	static const uint8_t none[6];

	if (memcmp(n->mac, none, 6))
		return 0;
	memcpy(n->mac, (const uint8_t[]){ 0x52, 0x54, 0x00 }, 3);
	if (getrandom(n->mac + 3, 3, 0) != 3)
		return err_set(err, -EIO, "virtio-net: no random MAC address can be had: %s; set mac=",
			       strerror(errno));
	return 0;
}

static int init(void *dev, const struct dev_plug *plug, struct err *err)
{
	struct virtio_net *n = dev;
	int ret;

	if (n->rx_size & (n->rx_size - 1) || n->tx_size & (n->tx_size - 1))
		return err_set(err, -EINVAL, "virtio-net: queue sizes must be powers of two");
	ret = default_mac(n, err);
	if (ret < 0)
		return ret;
	net_peer_init(&n->peer, &peer_ops, n, 0);
	virtio_init(&n->v, &ops, VIRTIO_ID_NET, "virtio-net", plug->env, offered(n), NET_CFG_LEN);
	memset(n->v.config_wmask + NET_CFG_MAC, 0xff, 6);
	st_le16(n->v.config + NET_CFG_PAIRS, 1);
	st_le16(n->v.config + NET_CFG_MTU, (uint16_t)n->mtu);
	n->rx = virtio_queue_add(&n->v, n->rx_size);
	n->tx = virtio_queue_add(&n->v, n->tx_size);
	if (n->ctrl)
		n->control = virtio_queue_add(&n->v, 64);
	ret = virtio_pci_init(&n->pci, &n->v, plug, 0x020000, err);
	if (ret < 0) {
		virtio_fini(&n->v);
		return ret;
	}
	net_connect(&n->peer, n->netdev);
	return 0;
}

static void fini(void *dev)
{
	struct virtio_net *n = dev;

	net_disconnect(&n->peer);
	virtio_pci_fini(&n->pci);
	virtio_fini(&n->v);
}

static int fw_name(void *dev, char *buf, size_t len)
{
	return virtio_pci_fw_name(&((struct virtio_net *)dev)->pci, "ethernet", "/ethernet-phy@0", buf,
				  len);
}

static int loaded(void *obj, unsigned version, struct err *err)
{
	struct virtio_net *n = obj;

	n->peer.accepts &= NET_CSUM | NET_TSO4 | NET_TSO6 | NET_UFO;
	if ((uint64_t)n->unicasts + n->multicasts > NET_MACS_MAX)
		return err_set(err, -EINVAL, "virtio-net: a table of too many addresses");
	return 0;
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct virtio_net, v, 1, &virtio_dev_state),
	STATE_STRUCT(struct virtio_net, pci, 1, &virtio_pci_state),
	STATE_BYTES(struct virtio_net, mac, 1),
	STATE_BYTES(struct virtio_net, now, 1),
	STATE_U32(struct virtio_net, peer.accepts, 1),
	STATE_BOOL(struct virtio_net, promiscuous, 1),
	STATE_BOOL(struct virtio_net, all_multicast, 1),
	STATE_BOOL(struct virtio_net, all_unicast, 1),
	STATE_BOOL(struct virtio_net, no_multicast, 1),
	STATE_BOOL(struct virtio_net, no_unicast, 1),
	STATE_BOOL(struct virtio_net, no_broadcast, 1),
	STATE_BOOL(struct virtio_net, unicast_overflow, 1),
	STATE_BOOL(struct virtio_net, multicast_overflow, 1),
	STATE_U32(struct virtio_net, unicasts, 1),
	STATE_U32(struct virtio_net, multicasts, 1),
	STATE_BYTES(struct virtio_net, table, 1),
	STATE_ARRAY(struct virtio_net, vlans, 1),
	STATE_BOOL(struct virtio_net, tx_blocked, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "virtio-net", .version = 1, .fields = fields, .post_load = loaded,
};

#define AT(f) offsetof(struct virtio_net, f)
static const struct dev_prop props[] = {
	{ "netdev", DEV_PROP_NETDEV, AT(netdev), NULL, false, 0, 0, NULL,
	  "the network it is plugged into" },
	{ "mac", DEV_PROP_MAC, AT(mac), NULL, false, 0, 0, NULL,
	  "address; one of its own, beginning 52:54:00, if not given" },
	{ "host_mtu", DEV_PROP_UINT, AT(mtu), "0", false, 0, 65535, NULL,
	  "bytes of a packet that the network takes; 0: not said" },
	{ "rx_queue_size", DEV_PROP_UINT, AT(rx_size), "256", false, 64, VIRTQ_MAX_SIZE, NULL,
	  "entries of the receive queue, a power of two" },
	{ "tx_queue_size", DEV_PROP_UINT, AT(tx_size), "256", false, 64, VIRTQ_MAX_SIZE, NULL,
	  "entries of the transmit queue, a power of two" },
	{ "mrg_rxbuf", DEV_PROP_BOOL, AT(mrg_rxbuf), "on", false, 0, 0, NULL,
	  "offer mergeable receive buffers" },
	{ "guest_offloads", DEV_PROP_BOOL, AT(guest_offloads), "on", false, 0, 0, NULL,
	  "offer to give the guest packets with checksum or segmentation left to do" },
	{ "host_offloads", DEV_PROP_BOOL, AT(host_offloads), "on", false, 0, 0, NULL,
	  "offer to take such packets from the guest" },
	{ "status", DEV_PROP_BOOL, AT(status), "on", false, 0, 0, NULL, "offer the link's state" },
	{ "ctrl_vq", DEV_PROP_BOOL, AT(ctrl), "on", false, 0, 0, NULL,
	  "offer the control queue" },
	VIRTIO_PCI_PROPS(struct virtio_net, pci),
	DEV_PROP_END
};

const struct dev_desc virtio_net_desc = {
	.name = "virtio-net",
	.aliases = "virtio-net-pci|virtio-net-pci-transitional",
	.title = "virtio network card",
	.reset = reset,
	.state = &state,
	.size = sizeof(struct virtio_net),
	.bus = DEV_BUS_PCI,
	.props = props,
	.init = init,
	.fini = fini,
	.fw_name = fw_name,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network of the user's own: NAT through this process's sockets, without privileges, by
 * libslirp. The guest is given 10.0.2.15 by DHCP; 10.0.2.2 is the host, 10.0.2.3 its name
 * server (fec0::2 and fec0::3 in IPv6).
 */
#ifndef BOTHY_NET_USER_H
#define BOTHY_NET_USER_H

#include <stdbool.h>

#include "src/base/err.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/vtime.h"
#include "src/net/net.h"

struct net_user;

struct net_user_config { /* texts: NULL: as above */
	const char *net;       /* "10.0.2.0/24" */
	const char *host, *dns, *dhcp_start; /* addresses within */
	const char *hostname, *domain, *dns_search; /* what DHCP tells; search: separated by blanks */
	const char *tftp, *bootfile; /* a folder served by TFTP; what DHCP names to boot */
	/* Ports of the host: "tcp:2222:22 udp:0.0.0.0:5353:10.0.2.15:53"; of the loopback
	 * address unless another is given. */
	const char *forward;
	bool restricted; /* the guest reaches nothing but what is forwarded to it */
	bool no_ipv6;
	struct loop *loop;
	struct vtime *vtime;
	const struct log *log;
};

/* Device lock held. -EINVAL: wrong use. */
int must_check net_user_new(const struct net_user_config *cfg, struct net_user **u, struct err *err);
void net_user_free(struct net_user *u);
struct net_peer *net_user_peer(struct net_user *u);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between user.c (the library on our loop) and user_config.c (what people write). */
#ifndef BOTHY_NET_USER_PRIV_H
#define BOTHY_NET_USER_PRIV_H

#include <netinet/in.h>

#include "src/net/user.h"

struct Slirp;

struct user_addresses {
	struct in_addr net, mask, host, dns, dhcp_start;
};

int must_check user_parse_addresses(const struct net_user_config *c, struct user_addresses *a,
				    struct err *err);
/* Opens the host's ports of @text (may be NULL) for @guest, unless another is named. */
int must_check user_forward(struct Slirp *slirp, const char *text, struct in_addr guest,
			    struct err *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses and forwarded ports, as people write them. */
#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/size.h"
#include "src/net/user_priv.h"

static int parse_net(const char *text, struct user_addresses *a, struct err *err)
{
	char copy[64];
	char *slash;
	uint64_t bits = 24;

	if (strlen(text) >= sizeof(copy))
		return err_set(err, -EINVAL, "net=%s is too long", text);
	strcpy(copy, text);
	slash = strchr(copy, '/');
	if (slash)
		*slash = '\0';
	if (inet_pton(AF_INET, copy, &a->net) != 1 ||
	    (slash && (parse_uint(slash + 1, &bits, NULL) < 0 || bits < 8 || bits > 29)))
		return err_set(err, -EINVAL, "net=%s is no network; write it like 10.0.2.0/24 (8 to 29 "
			       "bits)", text);
	a->mask.s_addr = htonl((uint32_t)(0xffffffffull << (32 - bits)));
	a->net.s_addr &= a->mask.s_addr;
	return 0;
}

/* @text, or the network's address number @n. */
static int parse_host(const char *what, const char *text, unsigned n, const struct user_addresses *a,
		      struct in_addr *out, struct err *err)
{
	uint32_t hosts = ~ntohl(a->mask.s_addr);

	if (!text) {
		out->s_addr = a->net.s_addr | htonl(min_of(n, hosts - 1));
		return 0;
	}
	if (inet_pton(AF_INET, text, out) != 1)
		return err_set(err, -EINVAL, "%s=%s is no IPv4 address", what, text);
	if ((out->s_addr & a->mask.s_addr) != a->net.s_addr || out->s_addr == a->net.s_addr ||
	    (ntohl(out->s_addr) & hosts) == hosts)
		return err_set(err, -EINVAL, "%s=%s is no host's address in the guest's network", what,
			       text);
	return 0;
}

int user_parse_addresses(const struct net_user_config *c, struct user_addresses *a, struct err *err)
{
	int ret = parse_net(c->net ? c->net : "10.0.2.0/24", a, err);

	if (ret == 0)
		ret = parse_host("host", c->host, 2, a, &a->host, err);
	if (ret == 0)
		ret = parse_host("dns", c->dns, 3, a, &a->dns, err);
	if (ret == 0)
		ret = parse_host("dhcpstart", c->dhcp_start, 15, a, &a->dhcp_start, err);
	if (ret == 0 && (a->host.s_addr == a->dns.s_addr || a->host.s_addr == a->dhcp_start.s_addr ||
			 a->dns.s_addr == a->dhcp_start.s_addr))
		ret = err_set(err, -EINVAL, "host, dns and dhcpstart must be three addresses; with so "
			      "small a network name them all");
	return ret;
}

/*
 * PROTOCOL:[HOST ADDRESS:]PORT:[GUEST ADDRESS:]PORT
 */
struct forward {
	int udp;
	struct in_addr host, guest;
	int host_port, guest_port;
};

static bool parse_port(const char *text, int *port)
{
	uint64_t n;

	if (parse_uint(text, &n, NULL) < 0 || n < 1 || n > 65535)
		return false;
	*port = (int)n;
	return true;
}

static bool parse_forward(char *text, struct forward *f)
{
	char *word[6], *save = NULL;
	unsigned n = 0, at = 1;

	for (char *w = strtok_r(text, ":", &save); w && n < 6; w = strtok_r(NULL, ":", &save))
		word[n++] = w;
	if (n < 3 || n > 5 || (strcmp(word[0], "tcp") && strcmp(word[0], "udp")))
		return false;
	f->udp = word[0][0] == 'u';
	if (strchr(word[at], '.') && inet_pton(AF_INET, word[at++], &f->host) != 1)
		return false;
	if (at >= n || !parse_port(word[at++], &f->host_port) || at >= n)
		return false;
	if (strchr(word[at], '.') && inet_pton(AF_INET, word[at++], &f->guest) != 1)
		return false;
	return at + 1 == n && parse_port(word[at], &f->guest_port);
}

static int forward_one(struct Slirp *slirp, const char *text, size_t len, struct in_addr guest,
		       struct err *err)
{
	struct forward f = { .host.s_addr = htonl(INADDR_LOOPBACK), .guest = guest };
	char copy[128];

	if (len < sizeof(copy)) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	if (len >= sizeof(copy) || !parse_forward(copy, &f))
		return err_set(err, -EINVAL, "forward=%.*s: write tcp:HOSTPORT:GUESTPORT, or udp, with "
			       "an address and a colon before either port if need be", (int)len, text);
	if (slirp_add_hostfwd(slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0)
		return err_set(err, errno ? -errno : -EIO, "forward=%.*s: the host's port %d cannot be "
			       "had: %s", (int)len, text, f.host_port, strerror(errno));
	return 0;
}

int user_forward(struct Slirp *slirp, const char *text, struct in_addr guest, struct err *err)
{
	int ret = 0;

	for (const char *at = text ? text : ""; ret == 0 && *(at += strspn(at, " ")); ) {
		size_t len = strcspn(at, " ");

		errno = 0;
		ret = forward_one(slirp, at, len, guest, err);
		at += len;
	}
	return ret;
}

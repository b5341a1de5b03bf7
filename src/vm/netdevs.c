/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Networks of the configuration that network cards name by their id. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/bus/bus.h"
#include "src/net/user.h"
#include "src/vm/vm_priv.h"

struct netdev_kind;

struct vm_netdev {
	const char *id;
	/* Kind user. */
	const char *net, *host, *dns, *dhcp_start, *hostname, *domain, *dns_search, *tftp, *bootfile;
	const char *forward;
	bool restricted, ipv6;
	struct net_user *user;

	const struct netdev_kind *kind; /* NULL: not made */

	bool claimed;
	struct vm_netdev *next;
};

#define TEXT(prop, field, text) \
	{ .name = prop, .type = DEV_PROP_TEXT, .offset = offsetof(struct vm_netdev, field), .help = text }
static const struct dev_prop user_props[] = {
	TEXT("net", net, "the guest's network; 10.0.2.0/24 if not given"),
	TEXT("host", host, "the host's address in it"),
	TEXT("dns", dns, "the name server's address in it"),
	TEXT("dhcpstart", dhcp_start, "the first address that DHCP gives"),
	TEXT("hostname", hostname, "the guest's name, told by DHCP"),
	TEXT("domainname", domain, "the guest's domain, told by DHCP"),
	TEXT("dnssearch", dns_search, "where names are searched, told by DHCP"),
	TEXT("tftp", tftp, "a folder that TFTP serves"),
	TEXT("bootfile", bootfile, "what DHCP names to boot from"),
	TEXT("forward", forward, "tcp:HOSTPORT:GUESTPORT, or udp; several with spaces between"),
	{ .name = "restrict", .type = DEV_PROP_BOOL, .offset = offsetof(struct vm_netdev, restricted),
	  .help = "nothing but forwarded ports" },
	{ .name = "ipv6", .type = DEV_PROP_BOOL, .offset = offsetof(struct vm_netdev, ipv6),
	  .def = "on", .help = "IPv6 too" },
	DEV_PROP_END
};
#undef TEXT

static int open_user(struct vm *vm, struct vm_netdev *n, struct err *err)
{
	struct net_user_config c = {
		.net = n->net, .host = n->host, .dns = n->dns, .dhcp_start = n->dhcp_start,
		.hostname = n->hostname, .domain = n->domain, .dns_search = n->dns_search,
		.tftp = n->tftp, .bootfile = n->bootfile, .forward = n->forward,
		.restricted = n->restricted, .no_ipv6 = !n->ipv6,
		.loop = vm->loop, .vtime = vm->vtime, .log = vm->log,
	};
	int ret;

	bus_lock(vm->bus);
	ret = net_user_new(&c, &n->user, err);
	bus_unlock(vm->bus);
	return ret;
}

static void close_user(struct vm_netdev *n) { net_user_free(n->user); }
static struct net_peer *user_peer(struct vm_netdev *n) { return net_user_peer(n->user); }

static const struct netdev_kind {
	struct dev_desc desc;
	int (*open)(struct vm *vm, struct vm_netdev *n, struct err *err);
	void (*close)(struct vm_netdev *n);
	struct net_peer *(*peer)(struct vm_netdev *n);
} kinds[] = {
	{ { .name = "user", .props = user_props }, open_user, close_user, user_peer },
};

static struct vm_netdev *find(struct vm *vm, const char *id)
{
	for (struct vm_netdev *n = vm->netdevs; n; n = n->next)
		if (!strcmp(n->id, id))
			return n;
	return NULL;
}

struct net_peer *vm_netdev_claim(struct vm *vm, const char *id, struct err *err)
{
	struct vm_netdev *n = find(vm, id);

	if (!n)
		err_set(err, -ENOENT, "there is no network '%s'", id);
	else if (n->claimed)
		err_set(err, -EBUSY, "network '%s' belongs to another card already", id);
	if (!n || n->claimed)
		return NULL;
	n->claimed = true;
	return n->kind->peer(n);
}

static int netdev_init(struct vm *vm, const struct dev_item *item, struct vm_netdev *n,
		       struct err *err)
{
	size_t k = 0;
	int ret;

	if (!item->id || !*item->id)
		return err_set(err, -EINVAL, "a network has no id");
	if (find(vm, item->id))
		return err_set(err, -EINVAL, "two networks have the id '%s'", item->id);
	while (k < array_size(kinds) && strcmp(kinds[k].desc.name, item->driver))
		k++;
	if (k == array_size(kinds))
		return err_set(err, -EINVAL, "network '%s': '%s' is none of user", item->id,
			       item->driver);
	n->id = item->id;
	ret = dev_set_props(&kinds[k].desc, n, item->props, item->count, NULL, err);
	if (ret == 0)
		ret = kinds[k].open(vm, n, err);
	if (ret == 0)
		n->kind = &kinds[k];
	return ret < 0 ? err_prefix(err, ret, "network '%s'", item->id) : 0;
}

int vm_netdevs_init(struct vm *vm, struct err *err)
{
	for (size_t i = 0; i < vm->cfg.netdevs.count; i++) {
		struct vm_netdev *n = calloc(1, sizeof(*n));
		int ret;

		if (!n)
			return err_set(err, -ENOMEM, "out of memory for the networks");
		n->id = "";
		ret = netdev_init(vm, &vm->cfg.netdevs.item[i], n, err);
		n->next = vm->netdevs;
		vm->netdevs = n;
		if (ret < 0)
			return ret;
	}
	return 0;
}

void vm_netdevs_fini(struct vm *vm)
{
	for (struct vm_netdev *n = vm->netdevs, *next; n; n = next) {
		next = n->next;
		bus_lock(vm->bus);
		if (n->kind)
			n->kind->close(n);
		bus_unlock(vm->bus);
		free(n);
	}
	vm->netdevs = NULL;
}

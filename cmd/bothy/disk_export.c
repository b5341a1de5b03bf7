/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy disk export: an image of any format over NBD, until it is ended. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include "api/disk.h"
#include "cmd/bothy/disk.h"
#include "src/base/bits.h"
#include "src/block/blk.h"
#include "src/block/nbd/nbd.h"
#include "src/block/nbd/uri.h"

struct export {
	struct disk_args *a;
	struct block_node *node;
	struct nbd_server *server;
	struct nbd_tls *tls;
	const char *socket;
	int quiet_fd; /* written when the last client left */
	bool listening;
};

static void changed(void *opaque, int by, unsigned clients)
{
	struct export *e = opaque;
	uint64_t one = 1;

	if (by < 0 && !clients && e->quiet_fd >= 0 &&
	    write(e->quiet_fd, &one, sizeof(one)) != sizeof(one))
		e->quiet_fd = -1; /* an eventfd takes 2^64 - 2 of them */
}

static int open_image(struct export *e, struct err *err)
{
	static const char *const caches[] = { "writeback", "writethrough", "none", "directsync",
					      "unsafe" };
	struct disk_args *a = e->a;
	const char *snap = a->v[DISK_EXPORT_SNAPSHOT].text, *format = a->v[DISK_EXPORT_FORMAT].text;
	bool ro = a->v[DISK_EXPORT_READ_ONLY].given || snap;
	struct block_open_opts o;
	int rc;

	for (unsigned i = 0; i < array_size(caches); i++)
		if (!strcmp(caches[i], a->v[DISK_EXPORT_CACHE].text))
			a->env.cache = (enum block_cache)i;
	a->env.share = a->v[DISK_EXPORT_SHARE].given;
	o = op_open_opts(&a->env, format, ro ? 0 : BLOCK_OPEN_WRITE);
	rc = block_open(a->operand[0], &o, &e->node, err);
	if (!rc)
		rc = blk_guest_ok(e->node, format, err);
	if (rc || !snap)
		return rc;
	if (!e->node->desc->snap_view)
		return err_set(err, -ENOTSUP, "images of format %s have no snapshots",
			       e->node->desc->name);
	return e->node->desc->snap_view(e->node, snap, err);
}

static int load_tls(struct export *e, struct err *err)
{
	struct nbd_tls_files f = { .dir = e->a->v[DISK_EXPORT_TLS_CERTIFICATES].text,
				   .psk_file = e->a->v[DISK_EXPORT_TLS_PSK_FILE].text,
				   .verify_peer = e->a->v[DISK_EXPORT_TLS_VERIFY_PEER].given };

	if (f.dir && f.psk_file)
		return err_set(err, -EINVAL, "give either --tls-certificates or --tls-psk-file");
	return f.dir || f.psk_file ? nbd_tls_new(&f, true, &e->tls, err) : 0;
}

/* Says where, with the port the host chose. */
static void announce(const struct export *e, int fd)
{
	const char *name = e->a->v[DISK_EXPORT_NAME].text, *s = e->tls ? "s" : "";
	char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (e->socket) {
		printf("Exporting %s at nbd%s+unix:///%s?socket=%s\n", e->a->operand[0], s, name,
		       e->socket);
	} else {
		if (!getsockname(fd, (struct sockaddr *)&sa, &len))
			getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port,
				    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
		printf(strchr(host, ':') ? "Exporting %s at nbd%s://[%s]:%s/%s\n"
					 : "Exporting %s at nbd%s://%s:%s/%s\n",
		       e->a->operand[0], s, host, port, name);
	}
	fflush(stdout);
}

static int start(struct export *e, struct err *err)
{
	struct nbd_server_config c = { .tls = e->tls, .changed = changed, .opaque = e,
				       .max_clients = (unsigned)e->a->v[DISK_EXPORT_CLIENTS].number };
	const char *addr = e->a->v[DISK_EXPORT_LISTEN].text;
	int fd, rc;

	e->server = nbd_server_new(&c, err);
	if (!e->server)
		return -ENOMEM;
	rc = nbd_server_add(e->server, e->a->v[DISK_EXPORT_NAME].text,
			    e->a->v[DISK_EXPORT_DESCRIPTION].text, e->node, e->node->writable, err);
	if (rc)
		return rc;
	fd = e->socket ? nbd_listen_unix(e->socket, err)
		       : nbd_listen_tcp(addr ? addr : "127.0.0.1", err);
	if (fd < 0)
		return fd;
	e->listening = true;
	announce(e, fd);
	return nbd_server_listen(e->server, fd, err);
}

/* Until a signal comes, or the last client of --once left. */
static int serve(struct export *e, int sig_fd)
{
	struct pollfd p[2] = { { sig_fd, POLLIN, 0 }, { e->quiet_fd, POLLIN, 0 } };

	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int code(int rc) { return !rc ? 0 : rc == -EINVAL ? DISK_WRONG_USE : DISK_FAILED; }

int disk_export(struct disk_args *a, struct err *err)
{
	struct export e = { .a = a, .socket = a->v[DISK_EXPORT_SOCKET].text, .quiet_fd = -1 };
	int sig_fd, rc, rc2;
	sigset_t end;

	if (e.socket && a->v[DISK_EXPORT_LISTEN].text)
		return code(err_set(err, -EINVAL, "give either --socket or --listen"));
	disk_use_key(a, a->v[DISK_EXPORT_KEY_FILE].text);
	sigemptyset(&end);
	sigaddset(&end, SIGINT);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGHUP);
	sigprocmask(SIG_BLOCK, &end, NULL);
	sig_fd = signalfd(-1, &end, SFD_CLOEXEC);
	if (a->v[DISK_EXPORT_ONCE].given)
		e.quiet_fd = eventfd(0, EFD_CLOEXEC);
	rc = open_image(&e, err);
	if (!rc)
		rc = load_tls(&e, err);
	if (!rc)
		rc = start(&e, err);
	if (!rc)
		rc = serve(&e, sig_fd);
	nbd_server_free(e.server);
	if (e.listening && e.socket)
		unlink(e.socket);
	rc2 = e.node ? block_close(e.node) : 0;
	if (!rc && rc2)
		rc = err_set(err, rc2, "cannot write '%s': %s", a->operand[0], strerror(-rc2));
	nbd_tls_free(e.tls);
	if (e.quiet_fd >= 0)
		close(e.quiet_fd);
	close(sig_fd);
	return code(rc);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS for NBD: certificates in a folder with the usual names, or a file of pre-shared keys. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/block/nbd/conn.h"
#include "src/block/nbd/tls_lib.h"

struct nbd_tls {
	struct tls_lib lib;
	bool server, verify;
	gnutls_certificate_credentials_t x509;
	gnutls_psk_server_credentials_t psk_server;
	gnutls_psk_client_credentials_t psk_client;
};

void nbd_tls_free(struct nbd_tls *t)
{
	if (!t)
		return;
	if (t->x509)
		t->lib.certificate_free_credentials(t->x509);
	if (t->psk_server)
		t->lib.psk_free_server_credentials(t->psk_server);
	if (t->psk_client)
		t->lib.psk_free_client_credentials(t->psk_client);
	free(t);
}

static int tls_failed(const struct nbd_tls *t, struct err *err, const char *what, const char *path, int rc)
{
	return err_set(err, -EINVAL, "cannot use %s '%s': %s", what, path, t->lib.strerror(rc));
}

static int load_x509(struct nbd_tls *t, const char *dir, struct err *err)
{
	const char *who = t->server ? "server" : "client";
	char ca[4096], cert[4096], key[4096];
	int rc;

	snprintf(ca, sizeof(ca), "%.4000s/ca-cert.pem", dir);
	snprintf(cert, sizeof(cert), "%.4000s/%s-cert.pem", dir, who);
	snprintf(key, sizeof(key), "%.4000s/%s-key.pem", dir, who);
	if (t->lib.certificate_allocate_credentials(&t->x509) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = t->lib.certificate_set_x509_trust_file(t->x509, ca, GNUTLS_X509_FMT_PEM);
	/* A server that checks nobody needs no authority. */
	if (rc < 0 && (!t->server || t->verify))
		return tls_failed(t, err, "the certificate authority", ca, rc);
	if (!t->server && access(cert, F_OK) < 0)
		return 0; /* a client need not show a certificate */
	rc = t->lib.certificate_set_x509_key_file(t->x509, cert, key, GNUTLS_X509_FMT_PEM);
	return rc < 0 ? tls_failed(t, err, "the certificate", cert, rc) : 0;
}

/* The key of @user (NULL: the first) out of the file's lines. */
static int client_psk(struct nbd_tls *t, const struct nbd_tls_files *f, struct err *err)
{
	char line[1024], *colon;
	FILE *file = fopen(f->psk_file, "re");
	int rc = -ENOENT;

	if (!file)
		return err_set(err, -errno, "cannot read '%s': %s", f->psk_file, strerror(errno));
	while (rc == -ENOENT && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\r\n")] = '\0';
		colon = strchr(line, ':');
		if (!colon || line[0] == '#')
			continue;
		*colon++ = '\0';
		if (f->user && strcmp(f->user, line))
			continue;
		gnutls_datum_t key = { (unsigned char *)colon, (unsigned)strlen(colon) };

		rc = t->lib.psk_set_client_credentials(t->psk_client, line, &key,
						       GNUTLS_PSK_KEY_HEX) < 0 ? -EINVAL : 0;
	}
	fclose(file);
	explicit_bzero(line, sizeof(line));
	if (rc == -ENOENT)
		return err_set(err, rc, "'%s' has no key%s%s", f->psk_file, f->user ? " of " : "",
			       f->user ? f->user : "");
	return rc ? err_set(err, rc, "'%s' holds a key that is not hexadecimal", f->psk_file) : 0;
}

static int load_psk(struct nbd_tls *t, const struct nbd_tls_files *f, struct err *err)
{
	int rc;

	if (!t->server) {
		if (t->lib.psk_allocate_client_credentials(&t->psk_client) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		return client_psk(t, f, err);
	}
	if (access(f->psk_file, R_OK) < 0)
		return err_set(err, -errno, "cannot read '%s': %s", f->psk_file, strerror(errno));
	if (t->lib.psk_allocate_server_credentials(&t->psk_server) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = t->lib.psk_set_server_credentials_file(t->psk_server, f->psk_file);
	return rc < 0 ? tls_failed(t, err, "the keys in", f->psk_file, rc) : 0;
}

int nbd_tls_new(const struct nbd_tls_files *f, bool server, struct nbd_tls **out, struct err *err)
{
	struct nbd_tls *t = calloc(1, sizeof(*t));
	int rc;

	*out = NULL;
	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	t->server = server;
	t->verify = f->verify_peer;
	rc = tls_lib_load(&t->lib, err);
	if (rc) {
		free(t);
		return rc;
	}
	if (f->psk_file)
		rc = load_psk(t, f, err);
	else if (f->dir)
		rc = load_x509(t, f->dir, err);
	else if (server)
		rc = err_set(err, -EINVAL, "TLS needs a folder of certificates or a file of keys");
	else if (t->lib.certificate_allocate_credentials(&t->x509) < 0 ||
		 t->lib.certificate_set_x509_system_trust(t->x509) < 0)
		rc = err_set(err, -EINVAL, "this host has no certificate authorities; name a folder "
					   "with tls-certificates=DIR");
	else
		rc = 0;
	if (rc) {
		nbd_tls_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

static int set_up(gnutls_session_t s, struct nbd_tls *t, const char *host)
{
	const char *prio = t->x509 ? "NORMAL" : "NORMAL:+ECDHE-PSK:+DHE-PSK:+PSK";
	int rc = t->lib.priority_set_direct(s, prio, NULL);

	if (rc < 0)
		return rc;
	if (t->psk_server)
		return t->lib.credentials_set(s, GNUTLS_CRD_PSK, t->psk_server);
	if (t->psk_client)
		return t->lib.credentials_set(s, GNUTLS_CRD_PSK, t->psk_client);
	rc = t->lib.credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->x509);
	if (rc < 0)
		return rc;
	if (t->server && t->verify)
		t->lib.certificate_server_set_request(s, GNUTLS_CERT_REQUIRE);
	if (!t->server && host && host[0])
		t->lib.server_name_set(s, GNUTLS_NAME_DNS, host, strlen(host));
	if (!t->server || t->verify)
		t->lib.session_set_verify_cert(s, t->server ? NULL : host, 0);
	return 0;
}

int nbd_conn_start_tls(struct nbd_conn *c, struct nbd_tls *t, const char *host, struct err *err)
{
	gnutls_session_t s;
	int rc = t->lib.init(&s, t->server ? GNUTLS_SERVER : GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);

	if (rc < 0)
		return err_set(err, -ENOMEM, "out of memory");
	rc = set_up(s, t, host);
	if (rc >= 0) {
		t->lib.transport_set_int2(s, c->fd, c->fd);
		t->lib.handshake_set_timeout(s, 20000);
		do
			rc = t->lib.handshake(s);
		while (rc < 0 && !t->lib.error_is_fatal(rc));
	}
	if (rc >= 0) {
		c->tls = s;
		c->lib = &t->lib;
		return 0;
	}
	if (rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
		gnutls_datum_t why = { NULL, 0 };

		t->lib.certificate_verification_status_print(t->lib.session_get_verify_cert_status(s),
							     GNUTLS_CRT_X509, &why, 0);
		err_set(err, -EACCES, "the other end's certificate is not accepted: %s",
			why.data ? (const char *)why.data : "it does not verify");
		(*t->lib.free)(why.data);
	} else {
		err_set(err, -EACCES, "TLS: %s", t->lib.strerror(rc));
	}
	t->lib.deinit(s);
	return -EACCES;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GnuTLS, loaded when somebody wants TLS: it and what it needs take longer to load
 * than most commands take.
 */
#ifndef BOTHY_BLOCK_NBD_TLS_LIB_H
#define BOTHY_BLOCK_NBD_TLS_LIB_H

#include <gnutls/gnutls.h>

#include "src/base/err.h"

#define TLS_CALLS(X)                                                                              \
	X(certificate_allocate_credentials)                                                       \
	X(certificate_free_credentials)                                                           \
	X(certificate_server_set_request)                                                         \
	X(certificate_set_x509_key_file)                                                          \
	X(certificate_set_x509_system_trust)                                                      \
	X(certificate_set_x509_trust_file)                                                        \
	X(certificate_verification_status_print)                                                  \
	X(credentials_set)                                                                        \
	X(deinit)                                                                                 \
	X(error_is_fatal)                                                                         \
	X(free)                                                                                   \
	X(handshake)                                                                              \
	X(handshake_set_timeout)                                                                  \
	X(init)                                                                                   \
	X(priority_set_direct)                                                                    \
	X(psk_allocate_client_credentials)                                                        \
	X(psk_allocate_server_credentials)                                                        \
	X(psk_free_client_credentials)                                                            \
	X(psk_free_server_credentials)                                                            \
	X(psk_set_client_credentials)                                                             \
	X(psk_set_server_credentials_file)                                                        \
	X(record_cork)                                                                            \
	X(record_recv)                                                                            \
	X(record_send)                                                                            \
	X(record_uncork)                                                                          \
	X(server_name_set)                                                                        \
	X(session_get_verify_cert_status)                                                         \
	X(session_set_verify_cert)                                                                \
	X(strerror)                                                                               \
	X(transport_set_int2)

/* tls_lib.init is gnutls_init, and so on; free is a variable there, so a pointer to one. */
struct tls_lib {
#define X(name) __typeof__(gnutls_##name) *name;
	TLS_CALLS(X)
#undef X
};

/* The library stays until the process ends. -ENOTSUP: it is not there. */
int must_check tls_lib_load(struct tls_lib *l, struct err *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/nbd/tls_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

/* The interface that gnutls.h describes. */
#define LIBRARY "libgnutls.so.30"

int tls_lib_load(struct tls_lib *l, struct err *err)
{
	void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	void *p;

	if (!lib)
		return err_set(err, -ENOTSUP, "TLS needs GnuTLS, which cannot be loaded (%s); "
					      "install the package libgnutls30", dlerror());
#define X(name)                                                                                    \
	p = dlsym(lib, "gnutls_" #name);                                                           \
	memcpy(&l->name, &p, sizeof(p));                                                           \
	if (!p)                                                                                    \
		goto too_old;
	TLS_CALLS(X)
#undef X
	return 0;

too_old:
	return err_set(err, -ENOTSUP, "TLS needs GnuTLS 3.6 or newer: %s", dlerror());
}

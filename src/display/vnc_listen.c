/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a VNC server waits for viewers. */
#include <errno.h>
#include <stdio.h>

#include "src/base/listen.h"
#include "src/display/vnc_priv.h"

#define PORTS_TRIED 100

static int first_free(int *fd, char **name, char **unlink_path, struct err *err)
{
	char port[8];
	int ret = -EADDRINUSE;

	for (int n = 0; n < PORTS_TRIED && ret == -EADDRINUSE; n++) {
		snprintf(port, sizeof(port), "%d", VNC_PORT + n);
		ret = listen_at(port, fd, name, unlink_path, err);
	}
	return ret;
}

int vnc_listen(const char *where, int *fd, char **name, char **unlink_path, struct err *err)
{
	int ret = where ? listen_at(where, fd, name, unlink_path, err)
			: first_free(fd, name, unlink_path, err);

	return ret < 0 ? err_prefix(err, ret, "--display vnc") : 0;
}

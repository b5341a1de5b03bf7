/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNC authentication (RFC 6143, 7.2.2): the client encrypts a challenge with DES; the
 * key is the password's first eight characters, each with its bits mirrored.
 */
#include <errno.h>
#include <nettle/des.h>
#include <nettle/memops.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "src/display/vnc_priv.h"

void vnc_auth_challenge(uint8_t challenge[VNC_CHALLENGE])
{
	size_t got = 0;

	while (got < VNC_CHALLENGE) {
		ssize_t n = getrandom(challenge + got, VNC_CHALLENGE - got, 0);

		if (n > 0)
			got += (size_t)n;
	}
}

static uint8_t mirror(uint8_t v)
{
	uint8_t r = 0;

	for (unsigned n = 0; n < 8; n++)
		r |= (uint8_t)((v >> n & 1) << (7 - n));
	return r;
}

bool vnc_auth_check(const char *password, const uint8_t challenge[VNC_CHALLENGE],
		    const uint8_t response[VNC_CHALLENGE])
{
	uint8_t key[DES_KEY_SIZE] = { 0 }, want[VNC_CHALLENGE];
	struct des_ctx des;

	for (size_t n = 0; n < DES_KEY_SIZE && password[n]; n++)
		key[n] = mirror((uint8_t)password[n]);
	des_set_key(&des, key); /* the key is set even if it says that it is weak */
	des_encrypt(&des, VNC_CHALLENGE, want, challenge);
	return memeql_sec(want, response, VNC_CHALLENGE);
}

int vnc_password_read(const char *path, char **password, struct err *err)
{
	FILE *f = fopen(path, "re");
	char line[1024];
	int ret = 0;

	*password = NULL;
	if (!f)
		return err_set(err, -errno, "the password file '%s' cannot be opened: %s", path,
			       strerror(errno));
	if (!fgets(line, sizeof(line), f))
		ret = err_set(err, ferror(f) ? -EIO : -EINVAL, "the password file '%s' %s", path,
			      ferror(f) ? "cannot be read" : "is empty; its first line is the "
			      "password");
	fclose(f);
	if (ret < 0)
		return ret;
	line[strcspn(line, "\r\n")] = '\0';
	if (!line[0])
		return err_set(err, -EINVAL, "the first line of the password file '%s' is empty; "
			       "it is the password", path);
	*password = strdup(line);
	explicit_bzero(line, sizeof(line));
	return *password ? 0 : err_set(err, -ENOMEM, "out of memory");
}

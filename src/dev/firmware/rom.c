/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/firmware/rom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/bits.h"

/* Debian's, then where other distributions and hand-made installations have them. */
static const char *const folders[] = {
	"/usr/local/share/bothy", "/usr/share/bothy", "/usr/share/seabios", "/usr/share/OVMF",
	"/usr/share/qemu", "/usr/local/share/qemu", "/usr/share/edk2/x64", "/usr/share/ovmf",
};

static const struct {
	const char *prefix, *package;
} packages[] = {
	{ "bios", "seabios" }, { "vgabios", "seabios" }, { "OVMF", "ovmf" },
};

int rom_find(const char *name, char *path, size_t len, struct err *err)
{
	const char *package = NULL;

	for (size_t n = 0; n < array_size(folders); n++)
		if ((size_t)snprintf(path, len, "%s/%s", folders[n], name) < len &&
		    access(path, R_OK) == 0)
			return 0;
	for (size_t n = 0; n < array_size(packages); n++)
		if (!strncmp(name, packages[n].prefix, strlen(packages[n].prefix)))
			package = packages[n].package;
	if (package)
		return err_set(err, -ENOENT, "the firmware file '%s' is missing; install it with "
			       "`apt-get install %s`", name, package);
	return err_set(err, -ENOENT, "the firmware file '%s' is missing: it is in none of %s, %s "
		       "and the other usual folders", name, folders[0], folders[1]);
}

static int read_whole(int fd, uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int rom_read(const char *what, const char *path, size_t max, uint8_t **data, size_t *len,
	     struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret;
	struct stat st;

	*data = NULL;
	if (fd < 0 || fstat(fd, &st) < 0) {
		ret = err_set(err, -errno, "the %s '%s' cannot be opened: %s", what, path,
			      strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		ret = err_set(err, -EINVAL, "the %s '%s' is no regular file", what, path);
	} else if (st.st_size < 1 || (uint64_t)st.st_size > max) {
		ret = err_set(err, -EFBIG, "the %s '%s' has %lld bytes; 1 to %zu are possible", what,
			      path, (long long)st.st_size, max);
	} else {
		*len = (size_t)st.st_size;
		*data = malloc(*len);
		ret = *data ? read_whole(fd, *data, *len) : -ENOMEM;
		if (ret < 0)
			err_set(err, ret, "the %s '%s' cannot be read: %s", what, path,
				strerror(-ret));
	}
	if (ret < 0) {
		free(*data);
		*data = NULL;
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

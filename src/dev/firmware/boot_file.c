/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of a direct boot: opening, and reading with every length checked. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/dev/firmware/boot_priv.h"

int boot_file_open(struct boot_file *f, const char *what, const char *path, struct err *err)
{
	struct stat st;
	int ret;

	memset(f, 0, sizeof(*f));
	/* O_NONBLOCK: a FIFO without a writer must not hold us. */
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0) {
		ret = -errno;
		if (ret == -ENOENT)
			return err_set(err, ret, "%s '%s': no such file; check the path", what,
				       path);
		return err_set(err, ret, "%s '%s' cannot be opened: %s", what, path,
			       strerror(-ret));
	}
	ret = -EIO;
	if (fstat(f->fd, &st) < 0) {
		ret = err_set(err, -errno, "%s '%s' cannot be examined: %s", what, path,
			      strerror(errno));
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		ret = err_set(err, -EINVAL, "%s '%s' is %s; give a regular file", what, path,
			      S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
		goto fail;
	}
	if (st.st_size == 0) {
		ret = err_set(err, -EINVAL, "%s '%s' is empty; copy or download it again", what,
			      path);
		goto fail;
	}
	f->size = (uint64_t)st.st_size;
	f->path = strdup(path);
	f->text = strdup(path);
	if (!f->path || !f->text) {
		ret = err_set(err, -ENOMEM, "out of memory while opening %s '%s'", what, path);
		goto fail;
	}
	return 0;
fail:
	boot_file_close(f);
	return ret;
}

void boot_file_close(struct boot_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	free(f->path);
	free(f->text);
	f->path = f->text = NULL;
}

void boot_files_free(struct boot_file *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		boot_file_close(&files[i]);
	free(files);
}

/* One list element: a file that bears the whole text as its name, or "PATH TEXT". */
static int open_one(struct boot_file *f, const char *item, struct err *err)
{
	char *path = strdup(item), *space, *text;
	int ret;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory while opening initrd '%s'", item);
	space = strchr(path, ' ');
	if (space && access(path, F_OK) < 0)
		*space = '\0';
	ret = boot_file_open(f, "initrd", path, err);
	free(path);
	if (ret < 0)
		return ret;
	text = strdup(item);
	if (!text) {
		boot_file_close(f);
		return err_set(err, -ENOMEM, "out of memory while opening initrd '%s'", item);
	}
	free(f->text);
	f->text = text;
	return 0;
}

int boot_files_open(const char *list, struct boot_file **files, size_t *count, struct err *err)
{
	struct boot_file *all = NULL, *more;
	char *copy, *item, *rest;
	size_t n = 0;
	int ret = -ENOMEM;

	*files = NULL;
	*count = 0;
	copy = strdup(list);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory while opening initrd '%s'", list);
	rest = copy;
	if (access(list, F_OK) == 0)
		item = rest, rest = NULL;
	else
		item = strsep(&rest, ",");
	for (; item; item = strsep(&rest, ",")) {
		if (!*item) {
			ret = err_set(err, -EINVAL,
				      "initrd list '%s' has an empty name; write A,B without "
				      "stray commas", list);
			goto fail;
		}
		more = realloc(all, (n + 1) * sizeof(*all));
		if (!more) {
			ret = err_set(err, -ENOMEM, "out of memory while opening initrd '%s'",
				      list);
			goto fail;
		}
		all = more;
		ret = open_one(&all[n], item, err);
		if (ret < 0)
			goto fail;
		n++;
	}
	free(copy);
	*files = all;
	*count = n;
	return 0;
fail:
	boot_files_free(all, n);
	free(copy);
	return ret;
}

int boot_read(const struct boot_file *f, uint64_t off, void *buf, uint64_t len, struct err *err)
{
	uint8_t *p = buf;

	if (off > f->size || len > f->size - off)
		return err_set(err, -EINVAL,
			       "'%s' is truncated: it has %" PRIu64 " bytes where %" PRIu64
			       " are needed; copy or download it again",
			       f->path, f->size, off + len);
	while (len) {
		ssize_t n = pread(f->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, -errno, "'%s' cannot be read: %s", f->path,
				       strerror(errno));
		if (n == 0)
			return err_set(err, -EIO, "'%s' became shorter while in use", f->path);
		p += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file in which a machine's UEFI firmware keeps its variables. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/block/lock.h"
#include "src/dev/firmware/rom.h"
#include "src/machine/board.h"
#include "src/vm/vm_priv.h"

#define VARS_MAX (4u << 20)

static int write_whole(int fd, const uint8_t *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* A file of another name first, so that a half-written one is never taken for a
 * machine's variables; link() and not rename(), so that of two machines that begin at
 * once neither loses its file. */
static int make_from(const char *path, const uint8_t *data, size_t len, struct err *err)
{
	char *fresh;
	int fd, ret;

	if (asprintf(&fresh, "%s.XXXXXX", path) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	fd = mkostemp(fresh, O_CLOEXEC);
	if (fd < 0) {
		ret = err_set(err, -errno, "'%s' cannot be made: %s", path, strerror(errno));
		free(fresh);
		return ret;
	}
	ret = write_whole(fd, data, len);
	if (ret == 0 && fchmod(fd, 0600) == 0 && link(fresh, path) < 0 && errno != EEXIST)
		ret = -errno;
	if (ret < 0)
		err_set(err, ret, "'%s' cannot be made: %s", path, strerror(-ret));
	unlink(fresh);
	close(fd);
	free(fresh);
	return ret;
}

static int make_vars(const struct vm_config *cfg, struct err *err)
{
	char template[PATH_MAX];
	uint8_t *data;
	size_t len;
	int ret;

	if (strcmp(cfg->firmware, "uefi"))
		return err_set(err, -ENOENT, "'%s' does not exist; copy it from the template that "
			       "came with '%s'", cfg->uefi_vars, cfg->firmware);
	ret = rom_find(BOARD_UEFI_VARS, template, sizeof(template), err);
	if (ret == 0)
		ret = rom_read("template", template, VARS_MAX, &data, &len, err);
	if (ret < 0)
		return ret;
	ret = make_from(cfg->uefi_vars, data, len, err);
	free(data);
	return ret;
}

static int open_vars(struct vm *vm, struct err *err)
{
	const char *path = vm->cfg.uefi_vars;
	struct stat st;
	int ret;

	vm->vars_fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (vm->vars_fd < 0 && errno == ENOENT) {
		ret = make_vars(&vm->cfg, err);
		if (ret < 0)
			return ret;
		vm->vars_fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	}
	if (vm->vars_fd < 0 || fstat(vm->vars_fd, &st) < 0)
		return err_set(err, -errno, "'%s' cannot be opened: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EIO, "'%s' is no regular file", path);
	return block_lock_fd(vm->vars_fd, path, true, false, err);
}

int vm_uefi_vars_open(struct vm *vm, struct err *err)
{
	int ret = vm->cfg.uefi_vars ? open_vars(vm, err) : 0;

	return ret < 0 ? err_prefix(err, ret, "the UEFI variables") : 0;
}

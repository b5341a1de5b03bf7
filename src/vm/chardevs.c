/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte streams of the configuration that devices name by their id. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/bus/bus.h"
#include "src/dev/chardev.h"
#include "src/vm/serial_listen.h"
#include "src/vm/vm_priv.h"

struct vm_chardev {
	const char *id, *path;
	struct chardev *chardev; /* NULL: what is written goes nowhere */
	int fd;          /* what it stands on */
	bool made;       /* path is a socket of ours, to be removed */
	bool claimed;
	struct chardev sink; /* kind null */
	struct vm_chardev *next;
};

static const struct dev_prop path_props[] = {
	{ .name = "path", .type = DEV_PROP_TEXT, .offset = offsetof(struct vm_chardev, path),
	  .required = true, .help = "the file's or socket's name" },
	DEV_PROP_END
};
static const struct dev_prop no_props[] = { DEV_PROP_END };

static size_t null_write(struct chardev *c, const uint8_t *buf, size_t len) { return len; }
static void null_close(struct chardev *c) {}
static const struct chardev_ops null_ops = { .write = null_write, .close = null_close };

static int open_null(struct vm *vm, struct vm_chardev *c, struct err *err)
{
	c->sink.ops = &null_ops;
	c->chardev = &c->sink;
	return 0;
}

static int open_file(struct vm *vm, struct vm_chardev *c, struct err *err)
{
	struct chardev_fd_config fc = { .in_fd = -1 };
	struct stat st = { .st_mode = 0 };

	/* Devices may be written to; anything else must not be there yet. */
	if (stat(c->path, &st) == 0 && S_ISCHR(st.st_mode))
		c->fd = open(c->path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	else
		c->fd = open(c->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (c->fd < 0)
		return err_set(err, -errno, "'%s' cannot be made: %s", c->path, strerror(errno));
	fc.out_fd = c->fd;
	c->chardev = chardev_fd_new(vm->loop, &fc, err);
	return c->chardev ? 0 : -EIO;
}

static int open_socket(struct vm *vm, struct vm_chardev *c, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (strlen(c->path) >= sizeof(sa.sun_path))
		return err_set(err, -ENAMETOOLONG, "'%s' is too long for a socket's path", c->path);
	memcpy(sa.sun_path, c->path, strlen(c->path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (bind(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_set(err, -errno, "the socket '%s' cannot be made: %s; name a new file "
			       "or remove it first", c->path, strerror(errno));
	c->made = true;
	if (listen(c->fd, 1) < 0)
		return err_set(err, -errno, "'%s' cannot listen: %s", c->path, strerror(errno));
	c->chardev = serial_listen_new(vm->loop, c->fd, err);
	return c->chardev ? 0 : -EIO;
}

static const struct {
	struct dev_desc desc;
	int (*open)(struct vm *vm, struct vm_chardev *c, struct err *err);
} kinds[] = {
	{ { .name = "null", .props = no_props }, open_null },
	{ { .name = "file", .props = path_props }, open_file },
	{ { .name = "socket", .props = path_props }, open_socket },
};

static struct vm_chardev *find(struct vm *vm, const char *id)
{
	for (struct vm_chardev *c = vm->chardevs; c; c = c->next)
		if (!strcmp(c->id, id))
			return c;
	return NULL;
}

struct chardev *vm_chardev_claim(struct vm *vm, const char *id, struct err *err)
{
	struct vm_chardev *c = find(vm, id);

	if (!c)
		err_set(err, -ENOENT, "there is no chardev '%s'", id);
	else if (c->claimed)
		err_set(err, -EBUSY, "chardev '%s' belongs to another device already", id);
	if (!c || c->claimed)
		return NULL;
	c->claimed = true;
	return c->chardev;
}

static int chardev_init(struct vm *vm, const struct dev_item *item, struct vm_chardev *c,
			struct err *err)
{
	size_t k = 0;
	int ret;

	if (!item->id || !*item->id)
		return err_set(err, -EINVAL, "a chardev has no id");
	if (find(vm, item->id))
		return err_set(err, -EINVAL, "two chardevs have the id '%s'", item->id);
	while (k < array_size(kinds) && strcmp(kinds[k].desc.name, item->driver))
		k++;
	if (k == array_size(kinds))
		return err_set(err, -EINVAL, "chardev '%s': '%s' is none of null, file, socket",
			       item->id, item->driver);
	c->id = item->id;
	ret = dev_set_props(&kinds[k].desc, c, item->props, item->count, NULL, err);
	if (ret == 0)
		ret = kinds[k].open(vm, c, err);
	return ret < 0 ? err_prefix(err, ret, "chardev '%s'", item->id) : 0;
}

int vm_chardevs_init(struct vm *vm, struct err *err)
{
	for (size_t i = 0; i < vm->cfg.chardevs.count; i++) {
		struct vm_chardev *c = calloc(1, sizeof(*c));
		int ret;

		if (!c)
			return err_set(err, -ENOMEM, "out of memory for the chardevs");
		c->fd = -1;
		c->id = "";
		ret = chardev_init(vm, &vm->cfg.chardevs.item[i], c, err);
		c->next = vm->chardevs;
		vm->chardevs = c;
		if (ret < 0)
			return ret;
	}
	return 0;
}

void vm_chardevs_writable(struct vm *vm)
{
	for (struct vm_chardev *c = vm->chardevs; c; c = c->next)
		if (c->chardev)
			chardev_writable(c->chardev);
}

void vm_chardevs_fini(struct vm *vm)
{
	for (struct vm_chardev *c = vm->chardevs, *next; c; c = next) {
		next = c->next;
		bus_lock(vm->bus);
		if (c->chardev)
			chardev_close(c->chardev);
		bus_unlock(vm->bus);
		if (c->fd >= 0)
			close(c->fd);
		if (c->made)
			unlink(c->path);
		free(c);
	}
	vm->chardevs = NULL;
}

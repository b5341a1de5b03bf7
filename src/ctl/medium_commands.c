/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that change what is in a CD or floppy drive. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/ctl/ctl_priv.h"
#include "src/dev/storage/medium.h"
#include "src/machine/board.h"
#include "src/machine/plugs.h"
#include "src/vm/vm.h"

/* The drive that @args name: "device" is a drive's id, "id" that of the device that has it. */
static int find(struct vm *vm, struct json_object *args, struct vm_drive **drive,
		struct medium **medium, struct err *err)
{
	const char *device = ctl_arg_text(args, "device"), *id = ctl_arg_text(args, "id");
	struct plugs *p = board_plugs(vm_board(vm));

	if (!device == !id)
		return err_set(err, -EINVAL, "Give either 'device' (a drive's id) or 'id' (a device's)");
	for (size_t i = 0; i < p->count; i++) {
		const struct plug *g = p->plug[i];
		struct medium *m = g->desc->medium ? g->desc->medium(g->dev) : NULL;

		if (!m || !m->blk || (id && strcmp(g->id, id)))
			continue;
		for (struct vm_drive *d = vm_drives(vm); d; d = d->next) {
			if (d->blk != m->blk || (device && strcmp(d->id, device)))
				continue;
			*drive = d;
			*medium = m;
			return 0;
		}
	}
	if (device && vm_drive_find(vm, device))
		return err_set(err, -ENOTSUP, "Device '%s' is not removable: it is no CD or floppy "
			       "drive", device);
	return err_set(err, -ENOENT, "Device '%s' not found", device ? device : id);
}

static bool forced(struct json_object *args)
{
	return json_object_get_boolean(json_object_object_get(args, "force"));
}

static void set_path(struct vm_drive *d, const char *path)
{
	free(d->path);
	d->path = path ? strdup(path) : NULL;
}

int ctl_eject(struct vm *vm, struct json_object *args, struct json_object **ret, struct err *err)
{
	struct vm_drive *d;
	struct medium *m;
	int rc = find(vm, args, &d, &m, err);

	if (rc == 0)
		rc = medium_eject(m, forced(args), err);
	if (rc == 0)
		set_path(d, NULL);
	return rc;
}

int ctl_blockdev_open_tray(struct vm *vm, struct json_object *args, struct json_object **ret,
			   struct err *err)
{
	struct vm_drive *d;
	struct medium *m;
	int rc = find(vm, args, &d, &m, err);

	return rc == 0 ? medium_tray_open(m, forced(args), err) : rc;
}

int ctl_blockdev_close_tray(struct vm *vm, struct json_object *args, struct json_object **ret,
			    struct err *err)
{
	struct vm_drive *d;
	struct medium *m;
	int rc = find(vm, args, &d, &m, err);

	if (rc == 0)
		medium_tray_close(m);
	return rc;
}

int ctl_blockdev_change_medium(struct vm *vm, struct json_object *args, struct json_object **ret,
			       struct err *err)
{
	const char *file = ctl_arg_text(args, "filename"), *format = ctl_arg_text(args, "format");
	struct block_node *node = NULL;
	struct vm_drive *d;
	struct medium *m;
	int rc = find(vm, args, &d, &m, err);

	if (rc == 0)
		rc = vm_drive_open(d, file, format, &node, err);
	if (rc < 0)
		return rc;
	rc = medium_change(m, node, forced(args), err);
	if (rc < 0)
		block_close(node);
	else
		set_path(d, file);
	return rc;
}

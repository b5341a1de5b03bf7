/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/storage/medium.h"

#include <errno.h>

bool medium_present(const struct medium *m)
{
	return m->blk && blk_node(m->blk) && !m->tray_open;
}

static void move_tray(struct medium *m, bool open)
{
	if (m->tray_open == open)
		return;
	m->tray_open = open;
	if (m->tray_moved)
		m->tray_moved(m->tray_opaque, m, open);
	m->ops->moved(m);
}

void medium_guest_tray(struct medium *m, bool open)
{
	if (m->has_tray)
		move_tray(m, open);
}

int medium_tray_open(struct medium *m, bool force, struct err *err)
{
	if (!m->has_tray || m->tray_open)
		return 0;
	if (m->locked && !force) {
		m->ops->eject_request(m);
		return err_set(err, -EBUSY, "the guest has locked the tray; it was asked to let the "
			       "medium out, try again or use force");
	}
	m->locked = false;
	move_tray(m, true);
	return 0;
}

void medium_tray_close(struct medium *m)
{
	if (m->has_tray)
		move_tray(m, false);
}

static int swap(struct medium *m, struct block_node *node, struct err *err)
{
	if (!m->blk)
		return err_set(err, -ENODEV, "this device was made without a drive");
	/* The old image is gone whatever its closing says: a failure here cannot keep the
	 * new one out, and what the guest flushed is safe. */
	(void)blk_change(m->blk, node);
	if (!m->has_tray)
		m->ops->moved(m);
	return 0;
}

int medium_insert(struct medium *m, struct block_node *node, struct err *err)
{
	if (m->has_tray && !m->tray_open)
		return err_set(err, -EINVAL, "the tray is closed; open it first");
	if (m->blk && blk_node(m->blk))
		return err_set(err, -EBUSY, "there is a medium in the drive already");
	return swap(m, node, err);
}

int medium_remove(struct medium *m, struct err *err)
{
	if (m->has_tray && !m->tray_open)
		return err_set(err, -EINVAL, "the tray is closed; open it first");
	return swap(m, NULL, err);
}

int medium_eject(struct medium *m, bool force, struct err *err)
{
	int ret = medium_tray_open(m, force, err);

	return ret < 0 ? ret : swap(m, NULL, err);
}

int medium_change(struct medium *m, struct block_node *node, bool force, struct err *err)
{
	int ret = medium_tray_open(m, force, err);

	if (ret == 0)
		ret = swap(m, node, err);
	if (ret == 0)
		medium_tray_close(m);
	return ret;
}

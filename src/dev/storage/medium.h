/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives whose medium can be changed: CD and floppy. The device embeds a struct
 * medium; its descriptor's medium() leads to it. People's commands ("eject",
 * "blockdev-change-medium", ...) come through these functions; the guest opens and
 * closes the tray by itself. All under the device lock, on the loop's thread.
 */
#ifndef BOTHY_DEV_STORAGE_MEDIUM_H
#define BOTHY_DEV_STORAGE_MEDIUM_H

#include <stdbool.h>

#include "src/base/err.h"
#include "src/block/blk.h"

struct medium;

struct medium_ops {
	/* The tray has opened or closed, or, without a tray, the medium was changed:
	 * what the guest must be told. */
	void (*moved)(struct medium *m);
	/* A person wants the medium out, but the guest has locked the tray: ask it. */
	void (*eject_request)(struct medium *m);
};

struct medium {
	const struct medium_ops *ops;
	void *dev;
	struct blk *blk;    /* not owned; NULL: a drive that is always empty */
	bool has_tray;      /* a floppy drive has none */
	bool tray_open;
	bool locked;        /* by the guest (PREVENT ALLOW MEDIUM REMOVAL) */
	/* The owner's: DEVICE_TRAY_MOVED. May be NULL. */
	void (*tray_moved)(void *opaque, struct medium *m, bool open);
	void *tray_opaque;
};

/* Is there a medium that the drive can reach? */
bool medium_present(const struct medium *m);

/* Opens the tray. -EBUSY if the guest has locked it: it is asked to let go, unless
 * @force. Nothing happens without a tray, or when it is open. */
int must_check medium_tray_open(struct medium *m, bool force, struct err *err);
void medium_tray_close(struct medium *m);

/* Takes the medium out (tray first; @force as above) and leaves the tray open. */
int must_check medium_eject(struct medium *m, bool force, struct err *err);

/* "blockdev-insert-medium" and "blockdev-remove-medium": the tray must be open if there
 * is one. @node is taken over on success; NULL: none. -EINVAL: tray closed, -EBUSY: a
 * medium is in there already. */
int must_check medium_insert(struct medium *m, struct block_node *node, struct err *err);
int must_check medium_remove(struct medium *m, struct err *err);

/* "blockdev-change-medium": tray open, old medium out, @node in, tray shut. @node stays
 * the caller's on failure. */
int must_check medium_change(struct medium *m, struct block_node *node, bool force,
			     struct err *err);

/* For the device: the guest moved the tray. */
void medium_guest_tray(struct medium *m, bool open);

#endif

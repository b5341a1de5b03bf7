/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making pluggable devices: by name, with properties as text.
 */
#ifndef BOTHY_DEV_PLUG_H
#define BOTHY_DEV_PLUG_H

#include "src/dev/dev.h"

/* A property as it was written. */
struct dev_prop_text {
	const char *name, *value;
};

/* A thing that a person asked for: a device, or what stands behind one. All texts
 * belong to the configuration and outlive the machine. */
struct dev_item {
	const char *driver; /* a device's name; another thing's kind */
	const char *id;     /* NULL: not given */
	const struct dev_prop_text *props;
	size_t count;
};

struct dev_items {
	struct dev_item *item;
	size_t count;
};

/* Finds what a DRIVE, NETDEV or CHARDEV property names. NULL, with the reason. */
struct dev_backends {
	void *(*find)(void *opaque, enum dev_prop_type type, const char *id, struct err *err);
	void *opaque;
};

/* By name; NULL if there is none such that --device could make. */
const struct dev_desc *dev_find(const char *name);
/* The pluggable device whose name is nearest to @name, or NULL. */
const struct dev_desc *dev_nearest(const char *name);

/* Sets @dev's properties: defaults, then @texts. -EINVAL with a sentence: unknown,
 * ill-formed, missing. The texts must outlive the device. */
int must_check dev_set_props(const struct dev_desc *d, void *dev,
			     const struct dev_prop_text *texts, size_t count,
			     const struct dev_backends *backends, struct err *err);

/* A zeroed struct with its properties set and init() done; free with dev_free(). Device
 * lock held. */
int must_check dev_new(const struct dev_desc *d, const struct dev_plug *plug,
		       const struct dev_prop_text *texts, size_t count,
		       const struct dev_backends *backends, void **dev, struct err *err);
void dev_free(const struct dev_desc *d, void *dev);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making VMDK images of each type. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/bits.h"
#include "src/block/vmdk/vmdk.h"

/* Below 2 GiB, a whole number of grains: what VMware itself splits at. */
#define SPLIT_BYTES (2047ULL << 20)

const struct block_create_opt vmdk_create_opts[] = {
	{ "subformat",
	  "monolithicSparse|monolithicFlat|twoGbMaxExtentSparse|twoGbMaxExtentFlat|streamOptimized",
	  "how it is laid out in files; monolithicSparse by default" },
	{ "adapter_type", "ide|buslogic|lsilogic|legacyESX", "what the disk hangs on; ide by default" },
	{ "hwversion", "N", "VMware hardware version; 4 by default" },
	{ "compat6", "on|off", "hardware version 6" },
	{ "zeroed_grain", "on|off", "tables may say that a grain is zero" },
	{ NULL, NULL, NULL },
};

struct shape {
	const char *type, *adapter, *hw;
	bool flat, split, packed, zero_grains;
};

static int read_shape(const struct block_create *c, struct shape *s, struct err *err)
{
	static const struct shape known[] = {
		{ "monolithicSparse", NULL, NULL, false, false, false, false },
		{ "monolithicFlat", NULL, NULL, true, false, false, false },
		{ "twoGbMaxExtentSparse", NULL, NULL, false, true, false, false },
		{ "twoGbMaxExtentFlat", NULL, NULL, true, true, false, false },
		{ "streamOptimized", NULL, NULL, false, false, true, false },
	};
	const char *type = block_opt(c, "subformat");
	const char *adapter = block_opt(c, "adapter_type"), *hw = block_opt(c, "hwversion");
	bool compat6 = false, zero_grains = false;
	size_t i = 0;
	int rc;

	while (type && i < array_size(known) && strcasecmp(type, known[i].type))
		i++;
	if (i == array_size(known))
		return err_set(err, -EINVAL, "a VMDK image of type '%s' is not known", type);
	*s = known[i];
	rc = block_opt_bool(c, "compat6", &compat6, err);
	if (!rc)
		rc = block_opt_bool(c, "zeroed_grain", &zero_grains, err);
	if (rc)
		return rc;
	s->zero_grains = zero_grains && !s->flat && !s->packed;
	s->adapter = adapter ? adapter : "ide";
	s->hw = hw ? hw : compat6 ? "6" : "4";
	if (strcmp(s->adapter, "ide") && strcmp(s->adapter, "buslogic") &&
	    strcmp(s->adapter, "lsilogic") && strcmp(s->adapter, "legacyESX"))
		return err_set(err, -EINVAL, "adapter_type '%s' is not known", s->adapter);
	if (strspn(s->hw, "0123456789") != strlen(s->hw) || !*s->hw || strlen(s->hw) > 3)
		return err_set(err, -EINVAL, "hwversion is a number");
	if (c->backing_path && s->flat)
		return err_set(err, -EINVAL, "a flat VMDK image has no parent");
	if (c->len % BLOCK_SECTOR || !c->len)
		return err_set(err, -EINVAL, "a VMDK disk's size is a multiple of %u bytes",
			       BLOCK_SECTOR);
	if (c->backing_path && strpbrk(c->backing_path, "\"\n"))
		return err_set(err, -EINVAL, "the parent's name cannot be written in a VMDK image");
	return 0;
}

static int parent_cid(const struct block_create *c, uint32_t *cid, struct err *err)
{
	struct block_open_opts o = { .format = "vmdk", .host = c->host };
	struct block_node *n;
	char *path;
	int rc;

	*cid = VMDK_NO_PARENT;
	if (!c->backing_path)
		return 0;
	if (c->backing_format && strcmp(c->backing_format, "vmdk"))
		return err_set(err, -EINVAL, "a VMDK image's parent is a VMDK image, not %s",
			       c->backing_format);
	path = block_path_beside(c->path, c->backing_path);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_open(path, &o, &n, err);
	free(path);
	if (rc)
		return rc;
	*cid = ((struct vmdk *)n->priv)->cid;
	block_close(n);
	return 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "dir/disk.vmdk" and 3 give "dir/disk-s003.vmdk"; malloc'd. */
static char *extent_path(const char *path, const struct shape *s, unsigned i)
{
	const char *dot = strrchr(path, '.');
	int stem = dot && !strcasecmp(dot, ".vmdk") ? (int)(dot - path) : (int)strlen(path);
	char *out;
	int n;

	if (s->split)
		n = asprintf(&out, "%.*s-%c%03u.vmdk", stem, path, s->flat ? 'f' : 's', i + 1);
	else
		n = asprintf(&out, "%.*s-flat.vmdk", stem, path);
	return n < 0 ? NULL : out;
}

static int make_extent(const struct block_create *c, const struct shape *s, const char *path,
		       uint64_t len, const char *desc, struct err *err)
{
	struct block_node *file;
	int rc = block_create_proto(c, path, s->flat ? len : 0, err);

	if (!rc && s->flat)
		return 0;
	if (!rc)
		rc = block_open_proto(path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, c->host, &file,
				      err);
	if (rc)
		return rc;
	rc = vmdk_sparse_create(file, len, s->packed, s->zero_grains, desc);
	if (block_close(file) && !rc)
		rc = -EIO;
	return rc ? err_set(err, rc, "cannot write '%s': %s", path, strerror(-rc)) : 0;
}

static int write_text(const struct block_create *c, const char *text, struct err *err)
{
	struct block_node *file;
	int rc = block_create_proto(c, c->path, 0, err);

	if (!rc)
		rc = block_open_proto(c->path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, c->host, &file,
				      err);
	if (rc)
		return rc;
	rc = block_pwrite(file, 0, text, strlen(text));
	if (block_close(file) && !rc)
		rc = -EIO;
	return rc ? err_set(err, rc, "cannot write '%s': %s", c->path, strerror(-rc)) : 0;
}

/* Extents in files of their own; their lines for the descriptor. */
static int make_extents(const struct block_create *c, const struct shape *s, char **lines,
			struct err *err)
{
	uint64_t at = 0;
	unsigned i = 0;
	int rc = 0;

	*lines = strdup("");
	for (; at < c->len && *lines && !rc; i++) {
		uint64_t n = s->split ? min_of(SPLIT_BYTES, c->len - at) : c->len;
		char *path = extent_path(c->path, s, i), *more = NULL;

		if (i >= VMDK_MAX_EXTENTS)
			rc = err_set(err, -EFBIG, "the disk is too large for this type of VMDK image");
		else if (!path || asprintf(&more, "%sRW %" PRIu64 " %s \"%s\"%s\n", *lines, n / 512,
					   s->flat ? "FLAT" : "SPARSE", base_name(path),
					   s->flat ? " 0" : "") < 0)
			rc = err_set(err, -ENOMEM, "out of memory");
		else
			rc = make_extent(c, s, path, n, NULL, err);
		if (more) {
			free(*lines);
			*lines = more;
		}
		free(path);
		at += n;
	}
	return *lines || rc ? rc : err_set(err, -ENOMEM, "out of memory");
}

int vmdk_create(const struct block_create *c, struct err *err)
{
	struct shape s;
	uint32_t cid = 0, pcid;
	char *lines = NULL, *text = NULL;
	bool apart;
	int rc = read_shape(c, &s, err);

	if (!rc)
		rc = parent_cid(c, &pcid, err);
	if (rc)
		return rc;
	if (strchr(base_name(c->path), '"'))
		return err_set(err, -EINVAL, "'%s' cannot be the name of a VMDK image", c->path);
	while (!cid || cid == VMDK_NO_PARENT)
		if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid))
			cid = 0x12345678;
	apart = s.flat || s.split;
	if (apart)
		rc = make_extents(c, &s, &lines, err);
	else if (asprintf(&lines, "RW %" PRIu64 " SPARSE \"%s\"\n", c->len / 512,
			  base_name(c->path)) < 0)
		rc = err_set(err, -ENOMEM, "out of memory");
	if (!rc) {
		text = vmdk_desc_text(cid, pcid, c->backing_path, s.type, lines, c->len, s.adapter,
				      s.hw);
		if (!text)
			rc = err_set(err, -ENOMEM, "out of memory");
	}
	if (!rc && apart)
		rc = write_text(c, text, err);
	else if (!rc)
		rc = make_extent(c, &s, c->path, c->len, text, err);
	free(text);
	free(lines);
	return rc;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VirtualBox disk images: dynamic, fixed and differencing. Blocks of 1 MiB, a map
 * of 32-bit block numbers, all little-endian. A differencing image names its
 * parent by UUID only; the parent is looked for beside it and one folder up, as
 * VirtualBox lays them out.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/bits.h"
#include "src/block/grains.h"
#include "src/block/place.h"

enum {
	VDI_SIGNATURE_OFF = 64, VDI_VERSION_OFF = 68, VDI_HEADER_SIZE = 72, VDI_TYPE = 76,
	VDI_COMMENT = 84, VDI_MAP_OFF = 340, VDI_DATA_OFF = 344, VDI_SECTOR_SIZE = 360,
	VDI_DISK_SIZE = 368, VDI_BLOCK_SIZE = 376, VDI_BLOCK_EXTRA = 380, VDI_BLOCKS = 384,
	VDI_BLOCKS_ALLOCATED = 388, VDI_UUID = 392, VDI_UUID_MODIFY = 408, VDI_UUID_PARENT = 424,
	VDI_UUID_PARENT_MODIFY = 440, VDI_HEADER_BYTES = 512,
};
enum { VDI_DYNAMIC = 1, VDI_FIXED = 2, VDI_DIFF = 4 };
#define VDI_SIGNATURE 0xbeda107fu
#define VDI_VERSION 0x00010001u
#define VDI_FREE 0xffffffffu
#define VDI_ZERO 0xfffffffeu
#define VDI_DEFAULT_BLOCK (1u << 20)
#define PARENT_HINT "parent="

struct vdi {
	struct grains g;
	uint64_t map_off, data_off;
	uint32_t type, allocated; /* allocated: blocks in the file */
	uint32_t map_bytes;
	uint8_t uuid[16], modify[16];
};

static int vdi_decode(struct grains *g, uint64_t raw, enum grain_kind *k, uint64_t *host)
{
	struct vdi *d = container_of(g, struct vdi, g);

	*host = 0;
	if (raw == VDI_FREE)
		*k = GRAIN_NONE;
	else if (raw == VDI_ZERO)
		*k = GRAIN_ZERO;
	else if (raw >= d->allocated)
		return -EIO;
	else {
		*k = GRAIN_DATA;
		*host = d->data_off + raw * g->block_bytes;
	}
	return 0;
}

static uint64_t vdi_encode(struct grains *g, enum grain_kind k, uint64_t host)
{
	struct vdi *d = container_of(g, struct vdi, g);

	if (k == GRAIN_DATA)
		return (host - d->data_off) / g->block_bytes;
	return k == GRAIN_ZERO ? VDI_ZERO : VDI_FREE;
}

static int vdi_chunk_pos(struct grains *g, uint64_t c, uint64_t *pos, uint64_t *copy)
{
	struct vdi *d = container_of(g, struct vdi, g);

	*pos = d->map_off + c * g->chunk_entries * 4;
	*copy = 0;
	return 0;
}

static int vdi_alloc(struct grains *g, uint64_t i, uint64_t *host)
{
	struct vdi *d = container_of(g, struct vdi, g);

	if (d->allocated >= VDI_ZERO - 1)
		return -EFBIG;
	*host = d->data_off + (uint64_t)d->allocated++ * g->block_bytes;
	return 0;
}

/* The number of blocks in the file reaches storage before an entry uses the last. */
static int vdi_before_map(struct grains *g)
{
	struct vdi *d = container_of(g, struct vdi, g);
	uint8_t buf[4];

	st_le32(buf, d->allocated);
	return block_pwrite(g->file, VDI_BLOCKS_ALLOCATED, buf, 4);
}

static void new_uuid(uint8_t *u)
{
	if (getrandom(u, 16, 0) != 16)
		memset(u, 0x42, 16);
	u[7] = (uint8_t)((u[7] & 0x0f) | 0x40); /* version 4, in VirtualBox's byte order */
	u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
}

/* A child remembers which state of its parent it was made over. */
static int vdi_touch(struct grains *g)
{
	struct vdi *d = container_of(g, struct vdi, g);

	new_uuid(d->modify);
	return block_pwrite(g->file, VDI_UUID_MODIFY, d->modify, 16);
}

static const struct grain_ops vdi_grains = {
	.decode = vdi_decode, .encode = vdi_encode, .chunk_pos = vdi_chunk_pos, .alloc = vdi_alloc,
	.before_map = vdi_before_map, .touch = vdi_touch,
};

static int vdi_probe(const uint8_t *buf, size_t len, const char *path)
{
	return len >= 72 && ld_le32(buf + VDI_SIGNATURE_OFF) == VDI_SIGNATURE ? 100 : 0;
}

static int bad(const struct block_node *n, struct err *err, const char *what)
{
	return err_set(err, -EINVAL, "'%s' is not a usable VDI image: %s", n->path, what);
}

static int vdi_read_header(struct block_node *n, struct vdi *d, uint8_t *h, struct err *err)
{
	uint64_t len, map_end;
	uint32_t blocks, bs;
	int rc = block_pread(n->file, 0, h, VDI_HEADER_BYTES);

	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	if (ld_le32(h + VDI_SIGNATURE_OFF) != VDI_SIGNATURE)
		return bad(n, err, "it does not have the VDI signature");
	if (ld_le32(h + VDI_VERSION_OFF) != VDI_VERSION)
		return err_set(err, -ENOTSUP, "'%s' is VDI version %u.%u; 1.1 is known", n->path,
			       ld_le32(h + VDI_VERSION_OFF) >> 16,
			       ld_le32(h + VDI_VERSION_OFF) & 0xffff);
	d->type = ld_le32(h + VDI_TYPE);
	if (d->type != VDI_DYNAMIC && d->type != VDI_FIXED && d->type != VDI_DIFF)
		return bad(n, err, "its type is unknown");
	len = ld_le64(h + VDI_DISK_SIZE);
	bs = ld_le32(h + VDI_BLOCK_SIZE);
	blocks = ld_le32(h + VDI_BLOCKS);
	d->allocated = ld_le32(h + VDI_BLOCKS_ALLOCATED);
	d->map_off = ld_le32(h + VDI_MAP_OFF);
	d->data_off = ld_le32(h + VDI_DATA_OFF);
	if (bs < 4096 || bs > 64u << 20 || bs & (bs - 1) || ld_le32(h + VDI_BLOCK_EXTRA))
		return bad(n, err, "its block size is unusual");
	if (!len || len > BLOCK_MAX_BYTES || (len - 1) / bs + 1 != blocks)
		return bad(n, err, "its size and number of blocks disagree");
	if (ld_le32(h + VDI_SECTOR_SIZE) != BLOCK_SECTOR && ld_le32(h + VDI_SECTOR_SIZE))
		return bad(n, err, "its sectors are not of 512 bytes");
	map_end = d->map_off + (uint64_t)blocks * 4;
	if (d->map_off < VDI_HEADER_BYTES || d->map_off % 512 || d->data_off % 512 ||
	    map_end > d->data_off)
		return bad(n, err, "its block map is misplaced");
	if (d->allocated > blocks && d->type == VDI_FIXED)
		return bad(n, err, "it counts more blocks than it has");
	n->len = align_down(len, BLOCK_SECTOR);
	d->map_bytes = (uint32_t)(d->data_off - d->map_off);
	memcpy(d->uuid, h + VDI_UUID, 16);
	memcpy(d->modify, h + VDI_UUID_MODIFY, 16);
	d->g.block_bytes = bs;
	d->g.nblocks = d->g.map_entries = blocks;
	d->g.len = n->len;
	return 0;
}

/* Is @path a VDI image with this UUID? */
static bool has_uuid(const char *path, const uint8_t *uuid)
{
	uint8_t h[VDI_HEADER_BYTES];
	FILE *f = fopen(path, "re");
	bool hit;

	if (!f)
		return false;
	hit = fread(h, 1, sizeof(h), f) == sizeof(h) &&
	      ld_le32(h + VDI_SIGNATURE_OFF) == VDI_SIGNATURE && !memcmp(h + VDI_UUID, uuid, 16);
	fclose(f);
	return hit;
}

static char *search_folder(const char *folder, const uint8_t *uuid)
{
	enum { LOOK_AT = 4096 };
	DIR *dir = opendir(folder);
	char *found = NULL, *path;
	struct dirent *e;

	for (int i = 0; dir && !found && i < LOOK_AT && (e = readdir(dir)); i++) {
		const char *dot = strrchr(e->d_name, '.');

		if (!dot || strcasecmp(dot, ".vdi") || asprintf(&path, "%s/%s", folder, e->d_name) < 0)
			continue;
		if (has_uuid(path, uuid))
			found = path;
		else
			free(path);
	}
	if (dir)
		closedir(dir);
	return found;
}

static int find_parent(struct block_node *n, const uint8_t *h, struct err *err)
{
	const char *comment = (const char *)h + VDI_COMMENT, *slash = strrchr(n->path, '/');
	char folder[4096];

	n->backing_format = strdup("vdi");
	if (!strncmp(comment, PARENT_HINT, strlen(PARENT_HINT)))
		n->backing_path = strndup(comment + strlen(PARENT_HINT), 255 - strlen(PARENT_HINT));
	if (!n->backing_path && !n->host) {
		snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - n->path) : 1,
			 slash ? n->path : ".");
		n->backing_path = search_folder(folder, h + VDI_UUID_PARENT);
		if (!n->backing_path) {
			strncat(folder, "/..", sizeof(folder) - strlen(folder) - 1);
			n->backing_path = search_folder(folder, h + VDI_UUID_PARENT);
		}
		/* Found paths are whole; block_path_beside() must not add the folder again. */
		if (n->backing_path && n->backing_path[0] != '/') {
			char *whole = realpath(n->backing_path, NULL);

			free(n->backing_path);
			n->backing_path = whole;
		}
	}
	if (n->backing_path && n->backing_format)
		return 0;
	return err_set(err, -ENOENT,
		       "'%s' is a differencing image and its parent is not beside it or one folder "
		       "up; put it there", n->path);
}

static int vdi_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct vdi *d = calloc(1, sizeof(*d));
	uint8_t h[VDI_HEADER_BYTES];
	int rc;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	d->g.ops = &vdi_grains;
	d->g.node = n;
	d->g.file = n->file;
	d->g.entry_bytes = 4;
	d->g.can_zero = true;
	d->g.chunk_entries = 128; /* a sector: written whole or not at all */
	rc = vdi_read_header(n, d, h, err);
	if (!rc && d->type == VDI_DIFF && !(o->flags & BLOCK_OPEN_NO_BACKING && o->host))
		rc = find_parent(n, h, err);
	if (!rc) {
		rc = grains_init(&d->g);
		if (rc)
			err_set(err, rc, "cannot open '%s': %s", n->path, strerror(-rc));
	}
	if (rc) {
		free(d);
		return rc;
	}
	n->priv = d;
	n->io_align = (uint32_t)d->g.block_bytes;
	return 0;
}

static int vdi_close(struct block_node *n)
{
	struct vdi *d = n->priv;
	int rc = n->writable && !n->dying ? grains_flush(&d->g) : 0;

	grains_fini(&d->g);
	free(d);
	return rc;
}

static int vdi_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff)
{
	return grains_preadv(&((struct vdi *)n->priv)->g, off, len, v, voff);
}

static int vdi_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff)
{
	return grains_preadv_nowait(&((struct vdi *)n->priv)->g, off, len, v, voff);
}

static int vdi_place(struct block_node *n, uint64_t off, size_t len, bool write,
		     struct block_place *p)
{
	return grains_place(&((struct vdi *)n->priv)->g, off, len, write, p);
}

static int vdi_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	return grains_pwritev(&((struct vdi *)n->priv)->g, off, len, v, voff);
}

static int vdi_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	return grains_zero(&((struct vdi *)n->priv)->g, off, len, unmap);
}

static int vdi_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	return grains_discard(&((struct vdi *)n->priv)->g, off, len);
}

static int vdi_flush(struct block_node *n) { return grains_flush(&((struct vdi *)n->priv)->g); }

static int vdi_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	return grains_status(&((struct vdi *)n->priv)->g, off, len, e);
}

static int vdi_check(struct block_node *n, unsigned fix, struct block_check *c, struct err *err)
{
	struct vdi *d = n->priv;
	int rc = grains_check(&d->g, d->data_off, d->g.block_bytes, c);

	/* Blocks in the file that no entry uses are room wasted. */
	if (!rc && d->allocated > c->allocated_clusters)
		c->leaks = d->allocated - c->allocated_clusters;
	return rc ? err_set(err, rc, "cannot check '%s': %s", n->path, strerror(-rc)) : 0;
}

static int vdi_info(struct block_node *n, struct block_info *i, struct err *err)
{
	struct vdi *d = n->priv;

	i->cluster_bytes = d->g.block_bytes;
	block_info_note(i, "type", d->type == VDI_FIXED	 ? "fixed"
				   : d->type == VDI_DIFF ? "differencing"
							 : "dynamic");
	return 0;
}

/* Growing takes as long as the map has room before the first block. */
static int vdi_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	struct vdi *d = n->priv;
	uint64_t blocks = (len + d->g.block_bytes - 1) / d->g.block_bytes, old = d->g.nblocks;
	uint8_t buf[24];
	int rc;

	if (len < n->len)
		return err_set(err, -ENOTSUP, "VDI images cannot shrink; convert it instead");
	if (blocks * 4 > d->map_bytes || d->type == VDI_FIXED || n->backing_path)
		return err_set(err, -ENOTSUP, "'%s' has no room for a larger map; convert it instead",
			       n->path);
	rc = grains_flush(&d->g);
	memset(buf, 0xff, sizeof(buf));
	for (uint64_t i = old; i < blocks && !rc; i++)
		rc = block_pwrite(n->file, d->map_off + i * 4, buf, 4);
	if (!rc)
		rc = block_flush(n->file);
	st_le64(buf, len);
	st_le32(buf + 8, (uint32_t)d->g.block_bytes);
	st_le32(buf + 12, 0);
	st_le32(buf + 16, (uint32_t)blocks);
	if (!rc)
		rc = block_pwrite(n->file, VDI_DISK_SIZE, buf, 20);
	if (!rc)
		rc = block_flush(n->file);
	if (rc)
		return err_set(err, rc, "cannot resize '%s': %s", n->path, strerror(-rc));
	grains_fini(&d->g);
	d->g.nblocks = d->g.map_entries = blocks;
	d->g.loaded = d->g.ndirty = 0;
	rc = grains_init(&d->g);
	if (rc)
		return err_set(err, rc, "cannot go on with '%s'", n->path);
	n->len = d->g.len = len;
	return 0;
}

static int parent_uuids(const struct block_create *c, uint8_t *h, struct err *err)
{
	struct block_open_opts o = { .format = "vdi", .host = c->host };
	char *path = block_path_beside(c->path, c->backing_path);
	struct block_node *n;
	struct vdi *d;
	int rc;

	if (c->backing_format && strcmp(c->backing_format, "vdi")) {
		free(path);
		return err_set(err, -EINVAL, "a VDI image's parent is a VDI image, not %s",
			       c->backing_format);
	}
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_open(path, &o, &n, err);
	free(path);
	if (rc)
		return rc;
	d = n->priv;
	memcpy(h + VDI_UUID_PARENT, d->uuid, 16);
	memcpy(h + VDI_UUID_PARENT_MODIFY, d->modify, 16);
	block_close(n);
	if (strlen(c->backing_path) > 255 - strlen(PARENT_HINT) - 1)
		return err_set(err, -ENAMETOOLONG, "the parent's name is too long for a VDI image");
	snprintf((char *)h + VDI_COMMENT, 256, PARENT_HINT "%s", c->backing_path);
	return 0;
}

/* VirtualBox's own idea of a geometry. */
static void put_geometry(uint8_t *h, uint64_t len)
{
	uint64_t sectors = len / 512, cyl = sectors / (16 * 63);

	st_le32(h + 348, (uint32_t)min_of(max_of(cyl, 1ULL), 16383ULL));
	st_le32(h + 352, 16);
	st_le32(h + 356, 63);
	st_le32(h + 360, 512);
}

static int write_map(struct block_node *file, uint64_t off, uint64_t blocks, bool fixed)
{
	uint64_t bytes = align_up(blocks * 4, 512);
	uint8_t buf[4096];
	int rc = 0;

	for (uint64_t at = 0; at < bytes && !rc; at += sizeof(buf)) {
		for (unsigned i = 0; i < sizeof(buf); i += 4) {
			uint64_t b = (at + i) / 4;

			st_le32(buf + i, b >= blocks ? 0 : fixed ? (uint32_t)b : VDI_FREE);
		}
		rc = block_pwrite(file, off + at, buf, min_of(bytes - at, sizeof(buf)));
	}
	return rc;
}

static int vdi_create(const struct block_create *c, struct err *err)
{
	static const char text[] = "<<< Oracle VM VirtualBox Disk Image >>>\n";
	enum block_prealloc p = BLOCK_PREALLOC_OFF;
	uint8_t h[VDI_HEADER_BYTES] = { 0 };
	uint64_t blocks, data_off;
	struct block_node *file;
	bool fixed = false;
	int rc = block_opt_prealloc(c, &p, err);

	if (!rc)
		rc = block_opt_bool(c, "static", &fixed, err);
	if (rc)
		return rc;
	fixed |= p != BLOCK_PREALLOC_OFF;
	if (c->backing_path && fixed)
		return err_set(err, -EINVAL, "a differencing image is never preallocated");
	if (c->len % BLOCK_SECTOR || !c->len)
		return err_set(err, -EINVAL, "a VDI disk's size is a multiple of %u bytes",
			       BLOCK_SECTOR);
	blocks = (c->len - 1) / VDI_DEFAULT_BLOCK + 1;
	/* Data begins on a whole block; what the map leaves free is room to grow. */
	data_off = align_up(VDI_HEADER_BYTES + blocks * 4, VDI_DEFAULT_BLOCK);
	if (data_off > UINT32_MAX || blocks > 0x3fffffff)
		return err_set(err, -EFBIG, "a VDI disk cannot be that large");
	memcpy(h, text, sizeof(text) - 1);
	st_le32(h + VDI_SIGNATURE_OFF, VDI_SIGNATURE);
	st_le32(h + VDI_VERSION_OFF, VDI_VERSION);
	st_le32(h + VDI_HEADER_SIZE, 400);
	st_le32(h + VDI_TYPE, c->backing_path ? VDI_DIFF : fixed ? VDI_FIXED : VDI_DYNAMIC);
	st_le32(h + VDI_MAP_OFF, VDI_HEADER_BYTES);
	st_le32(h + VDI_DATA_OFF, (uint32_t)data_off);
	put_geometry(h, c->len);
	st_le64(h + VDI_DISK_SIZE, c->len);
	st_le32(h + VDI_BLOCK_SIZE, VDI_DEFAULT_BLOCK);
	st_le32(h + VDI_BLOCKS, (uint32_t)blocks);
	st_le32(h + VDI_BLOCKS_ALLOCATED, fixed ? (uint32_t)blocks : 0);
	new_uuid(h + VDI_UUID);
	new_uuid(h + VDI_UUID_MODIFY);
	if (c->backing_path)
		rc = parent_uuids(c, h, err);
	if (!rc)
		rc = block_create_proto(c, c->path, 0, err);
	if (!rc)
		rc = block_open_proto(c->path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, c->host, &file,
				      err);
	if (rc)
		return rc;
	rc = block_pwrite(file, 0, h, sizeof(h));
	if (!rc)
		rc = write_map(file, VDI_HEADER_BYTES, blocks, fixed);
	if (!rc)
		rc = block_resize(file, data_off, BLOCK_PREALLOC_OFF, err);
	if (!rc && fixed)
		rc = block_resize(file, data_off + blocks * VDI_DEFAULT_BLOCK,
				  p == BLOCK_PREALLOC_METADATA ? BLOCK_PREALLOC_OFF : p, err);
	if (block_close(file) && !rc)
		rc = -EIO;
	return rc && !err_is_set(err) ? err_set(err, rc, "cannot write '%s': %s", c->path,
						strerror(-rc))
				      : rc;
}

static const struct block_create_opt vdi_create_opts[] = {
	{ "static", "on|off", "a fixed image: every block is there from the start" },
	{ "preallocation", "off|metadata|falloc|full", "the same, and how its space is reserved" },
	{ NULL, NULL, NULL },
};

const struct block_format_desc block_vdi = {
	.name = "vdi",
	.title = "VirtualBox: dynamic, fixed and differencing",
	.suffixes = "vdi",
	.create_opts = vdi_create_opts,
	.backing_ok = true,
	.probe = vdi_probe,
	.open = vdi_open,
	.close = vdi_close,
	.create = vdi_create,
	.preadv = vdi_preadv,
	.preadv_nowait = vdi_preadv_nowait,
	.pwritev = vdi_pwritev,
	.place = vdi_place,
	.zero = vdi_zero,
	.discard = vdi_discard,
	.flush = vdi_flush,
	.status = vdi_status,
	.resize = vdi_resize,
	.info = vdi_info,
	.check = vdi_check,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sparse extents: a directory of grain tables, grains of 64 KiB, and in
 * streamOptimized images each grain deflated behind a small marker. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/vmdk/vmdk.h"

enum {
	S_VERSION = 4, S_FLAGS = 8, S_CAPACITY = 12, S_GRAIN = 20, S_DESC_OFF = 28, S_DESC_LEN = 36,
	S_GTES = 44, S_RGD = 48, S_GD = 56, S_OVERHEAD = 64, S_UNCLEAN = 72, S_NEWLINES = 73,
	S_COMPRESS = 77,
};
enum { MARKER_BYTES = 12, MAX_GRAIN = 1 << 24, MAX_TABLES = 1 << 24, DEFAULT_GRAIN = 65536 };

static struct vmdk_extent *of(struct grains *g) { return container_of(g, struct vmdk_extent, g); }

static int sparse_decode(struct grains *g, uint64_t raw, enum grain_kind *k, uint64_t *host)
{
	struct vmdk_extent *e = of(g);

	*host = raw * 512;
	if (!raw)
		*k = GRAIN_NONE;
	else if (raw == 1 && e->flags & VMDK_FLAG_ZERO_GRAIN)
		*k = GRAIN_ZERO;
	else if (*host < e->data_off && !e->compressed)
		return -EIO;
	else
		*k = e->compressed ? GRAIN_OTHER : GRAIN_DATA;
	return 0;
}

static uint64_t sparse_encode(struct grains *g, enum grain_kind k, uint64_t host)
{
	return k == GRAIN_DATA || k == GRAIN_OTHER ? host / 512 : k == GRAIN_ZERO ? 1 : 0;
}

static int sparse_chunk_pos(struct grains *g, uint64_t c, uint64_t *pos, uint64_t *copy)
{
	struct vmdk_extent *e = of(g);

	*pos = (uint64_t)e->gd[c] * 512;
	*copy = e->rgd ? (uint64_t)e->rgd[c] * 512 : 0;
	return 0;
}

static int sparse_alloc(struct grains *g, uint64_t i, uint64_t *host)
{
	struct vmdk_extent *e = of(g);

	if (e->compressed)
		return -EROFS;
	*host = e->end;
	if (*host / 512 > UINT32_MAX - g->block_bytes / 512)
		return -EFBIG;
	e->end += g->block_bytes;
	return 0;
}

static int sparse_read_packed(struct grains *g, uint64_t raw, uint64_t i, size_t skip, size_t len,
			      const struct block_vec *v, size_t voff)
{
	uint8_t head[MARKER_BYTES], *in = NULL, *out = NULL;
	uint32_t size;
	int rc = block_pread(g->file, raw * 512, head, sizeof(head));

	if (rc)
		return rc;
	size = ld_le32(head + 8);
	if (ld_le64(head) != i * (g->block_bytes / 512) || !size || size > 2 * g->block_bytes)
		return -EIO;
	in = malloc(size);
	out = malloc(g->block_bytes);
	rc = in && out ? block_pread(g->file, raw * 512 + MARKER_BYTES, in, size) : -ENOMEM;
	/* The disk's last grain may be short. */
	if (!rc && unpack(of(g)->packers, PACK_ZLIB, out, g->block_bytes, in, size) <
			   (ssize_t)(skip + len))
		rc = -EIO;
	if (!rc)
		block_vec_write(v, voff, out + skip, len);
	free(in);
	free(out);
	return rc;
}

static const struct grain_ops sparse_grains = {
	.decode = sparse_decode, .encode = sparse_encode, .chunk_pos = sparse_chunk_pos,
	.alloc = sparse_alloc, .read_other = sparse_read_packed,
};

static int bad(const struct vmdk_extent *e, struct err *err, const char *what)
{
	return err_set(err, -EINVAL, "'%s' is not a usable VMDK extent: %s", e->file->path, what);
}

/* Directories: how many tables the extent needs, read into memory. */
static int read_directory(struct vmdk_extent *e, uint64_t sector, uint32_t **out)
{
	uint64_t bytes = e->tables * 4;
	int rc;

	/* It must be in the file: what we hold is bounded by what there is. */
	if (sector > e->file->len / 512 || bytes > align_up(e->file->len - sector * 512, 512))
		return -EIO;
	*out = malloc(bytes + 1);
	if (!*out)
		return -ENOMEM;
	rc = block_pread(e->file, sector * 512, *out, bytes);
	for (uint64_t i = 0; i < e->tables; i++)
		(*out)[i] = ld_le32(&(*out)[i]);
	return rc;
}

static int read_header(struct vmdk_extent *e, uint8_t *h, struct err *err)
{
	int rc = block_pread(e->file, 0, h, 512);

	if (!rc && ld_le32(h) == VMDK_MAGIC && ld_le64(h + S_GD) == VMDK_GD_AT_END) {
		/* A stream: the true header stands in its footer, before the end marker. */
		if (e->file->len < 4 * 512)
			return bad(e, err, "it is cut short");
		rc = block_pread(e->file, align_down(e->file->len, 512) - 1024, h, 512);
	}
	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", e->file->path, strerror(-rc));
	if (ld_le32(h) != VMDK_MAGIC)
		return bad(e, err, "it does not have the sparse extent's signature");
	if (ld_le32(h + S_VERSION) < 1 || ld_le32(h + S_VERSION) > 3)
		return bad(e, err, "its version is unknown");
	if (ld_le32(h + S_FLAGS) & VMDK_FLAG_NEWLINES && memcmp(h + S_NEWLINES, "\n \r\n", 4))
		return bad(e, err, "it was damaged by a transfer in text mode");
	return 0;
}

int vmdk_sparse_open(struct block_node *n, struct vmdk_extent *e, struct err *err)
{
	uint64_t capacity, grain, gtes;
	uint8_t h[512];
	int rc = read_header(e, h, err);

	if (rc)
		return rc;
	e->flags = ld_le32(h + S_FLAGS);
	e->compressed = e->flags & VMDK_FLAG_COMPRESSED;
	capacity = ld_le64(h + S_CAPACITY);
	grain = ld_le64(h + S_GRAIN);
	gtes = ld_le32(h + S_GTES);
	if (e->compressed && ld_le16(h + S_COMPRESS) > 1)
		return bad(e, err, "its compression is unknown");
	if (grain < 8 || grain > MAX_GRAIN / 512 || grain & (grain - 1))
		return bad(e, err, "its grain size makes no sense");
	if (!gtes || gtes > VMDK_GTES || gtes % 128)
		return bad(e, err, "its grain tables have an unusual size");
	if (!capacity || capacity > BLOCK_MAX_BYTES / 512)
		return bad(e, err, "its capacity makes no sense");
	if (!e->len)
		e->len = capacity * 512;
	if (capacity * 512 < e->len)
		return bad(e, err, "it is smaller than its descriptor says");
	e->g.ops = &sparse_grains;
	e->g.node = n;
	e->g.file = e->file;
	e->g.base = e->start;
	e->g.len = e->len;
	e->g.block_bytes = grain * 512;
	e->g.nblocks = (e->len + e->g.block_bytes - 1) / e->g.block_bytes;
	e->g.entry_bytes = 4;
	e->g.chunk_entries = (unsigned)gtes;
	e->g.can_zero = e->flags & VMDK_FLAG_ZERO_GRAIN;
	e->tables = (e->g.nblocks + gtes - 1) / gtes;
	e->g.map_entries = e->tables * gtes;
	if (e->tables > MAX_TABLES)
		return bad(e, err, "it has too many grain tables");
	e->data_off = ld_le64(h + S_OVERHEAD) > e->file->len / 512 ? 512
								   : ld_le64(h + S_OVERHEAD) * 512;
	e->end = align_up(max_of(e->file->len, e->data_off),
			  e->compressed ? 512 : e->g.block_bytes);
	rc = read_directory(e, ld_le64(h + S_GD), &e->gd);
	if (!rc && e->flags & VMDK_FLAG_REDUNDANT && ld_le64(h + S_RGD))
		rc = read_directory(e, ld_le64(h + S_RGD), &e->rgd);
	if (!rc)
		rc = grains_init(&e->g);
	if (rc) {
		vmdk_sparse_close(e);
		return rc == -EIO ? bad(e, err, "its grain directory is outside of the file")
				  : err_set(err, rc, "cannot open '%s': %s", e->file->path,
					    strerror(-rc));
	}
	return 0;
}

void vmdk_sparse_close(struct vmdk_extent *e)
{
	grains_fini(&e->g);
	free(e->gd);
	free(e->rgd);
	e->gd = e->rgd = NULL;
}

/* A grain, deflated, at the stream's end. Written once: a stream does not change. */
int vmdk_sparse_pack(struct vmdk_extent *e, uint64_t off, const void *buf, size_t len)
{
	uint64_t i = off / e->g.block_bytes, raw, at;
	size_t cap = e->g.block_bytes + e->g.block_bytes / 8 + 512; /* random data grows */
	uint8_t *out = calloc(1, MARKER_BYTES + cap + 512), *full = NULL;
	ssize_t size = 0;
	int rc = out ? 0 : -ENOMEM;

	if (off % e->g.block_bytes || len > e->g.block_bytes)
		rc = -EINVAL;
	if (!rc && len < e->g.block_bytes) {
		full = calloc(1, e->g.block_bytes);
		rc = full ? 0 : -ENOMEM;
		if (full)
			memcpy(full, buf, len);
	}
	if (!rc)
		size = pack(e->packers, PACK_ZLIB, out + MARKER_BYTES, cap, full ? full : buf,
			    e->g.block_bytes);
	if (size < 0 || (!rc && !size))
		rc = size ? (int)size : -EIO;
	free(full);
	if (rc) {
		free(out);
		return rc;
	}
	st_le64(out, i * (e->g.block_bytes / 512));
	st_le32(out + 8, (uint32_t)size);
	pthread_mutex_lock(&e->g.lock);
	rc = grains_entry(&e->g, i, &raw);
	if (!rc && raw > 1)
		rc = -ENOTSUP; /* a grain of a stream is written once */
	at = e->end;
	if (!rc && at / 512 > UINT32_MAX - 0x10000)
		rc = -EFBIG;
	if (!rc)
		e->end = at + align_up(MARKER_BYTES + (size_t)size, 512);
	pthread_mutex_unlock(&e->g.lock);
	if (!rc)
		rc = block_pwrite(e->file, at, out, align_up(MARKER_BYTES + (size_t)size, 512));
	free(out);
	if (rc)
		return rc;
	pthread_mutex_lock(&e->g.lock);
	rc = grains_set(&e->g, i, at / 512);
	pthread_mutex_unlock(&e->g.lock);
	return rc;
}

static int write_directory(struct block_node *file, uint64_t dir, uint64_t tables,
			   uint64_t table_sectors)
{
	uint64_t sectors = align_up(tables * 4, 512) / 512;
	uint8_t *buf = calloc(sectors, 512);
	int rc;

	if (!buf)
		return -ENOMEM;
	for (uint64_t i = 0; i < tables; i++)
		st_le32(buf + i * 4, (uint32_t)(dir + sectors + i * table_sectors));
	rc = block_pwrite(file, dir * 512, buf, sectors * 512);
	free(buf);
	return rc;
}

int vmdk_sparse_create(struct block_node *file, uint64_t bytes, bool packed, bool zero_grains,
		       const char *desc)
{
	uint64_t grain = DEFAULT_GRAIN / 512, gt = VMDK_GTES * 4 / 512;
	uint64_t grains = (bytes / 512 + grain - 1) / grain;
	uint64_t tables = (grains + VMDK_GTES - 1) / VMDK_GTES;
	uint64_t dir = align_up(tables * 4, 512) / 512;
	uint64_t rgd = 1 + VMDK_DESC_SECTORS, gd = rgd + dir + tables * gt;
	uint64_t overhead = align_up(gd + dir + tables * gt, grain);
	uint8_t h[512] = { 0 };
	int rc;

	if (overhead > UINT32_MAX || tables > MAX_TABLES)
		return -EFBIG;
	if (desc && strlen(desc) > VMDK_DESC_SECTORS * 512)
		return -ENAMETOOLONG;
	st_le32(h, VMDK_MAGIC);
	st_le32(h + S_VERSION, packed ? 3 : zero_grains ? 2 : 1);
	st_le32(h + S_FLAGS, VMDK_FLAG_NEWLINES | VMDK_FLAG_REDUNDANT |
				     (packed ? VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS : 0) |
				     (zero_grains ? VMDK_FLAG_ZERO_GRAIN : 0));
	st_le64(h + S_CAPACITY, bytes / 512);
	st_le64(h + S_GRAIN, grain);
	st_le64(h + S_DESC_OFF, desc ? 1 : 0);
	st_le64(h + S_DESC_LEN, desc ? VMDK_DESC_SECTORS : 0);
	st_le32(h + S_GTES, VMDK_GTES);
	st_le64(h + S_RGD, rgd);
	st_le64(h + S_GD, gd);
	st_le64(h + S_OVERHEAD, overhead);
	memcpy(h + S_NEWLINES, "\n \r\n", 4);
	st_le16(h + S_COMPRESS, packed ? 1 : 0);
	rc = block_zero(file, 0, overhead * 512, true);
	if (!rc)
		rc = block_pwrite(file, 0, h, sizeof(h));
	if (!rc && desc)
		rc = block_pwrite(file, 512, desc, strlen(desc));
	if (!rc)
		rc = write_directory(file, rgd, tables, gt);
	return rc ? rc : write_directory(file, gd, tables, gt);
}

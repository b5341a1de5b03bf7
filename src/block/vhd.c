/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual PC images (VHD): fixed and dynamic. Blocks of 2 MiB, each behind a
 * bitmap of its sectors, a table of 32-bit sector numbers, all big-endian; a
 * footer at the file's end whose copy stands at its start. Source: Microsoft,
 * "Virtual Hard Disk Image Format Specification", 2006.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/block/grains.h"
#include "src/block/place.h"

enum {
	F_FEATURES = 8, F_VERSION = 12, F_DATA_OFF = 16, F_TIME = 24, F_APP = 28, F_APP_VERSION = 32,
	F_OS = 36, F_ORIGINAL = 40, F_CURRENT = 48, F_CYLS = 56, F_HEADS = 58, F_SECTORS = 59,
	F_TYPE = 60, F_CHECKSUM = 64, F_UUID = 68, FOOTER_BYTES = 512,
	D_DATA_OFF = 8, D_TABLE_OFF = 16, D_VERSION = 24, D_ENTRIES = 28, D_BLOCK = 32,
	D_CHECKSUM = 36, DYN_BYTES = 1024,
};
enum { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFF = 4 };
enum { VHD_BLOCK = 2 << 20, VHD_EPOCH = 946684800 };
#define VHD_NONE 0xffffffffu
#define VHD_MAX_BYTES (2040ULL << 30)

struct vhd {
	bool fixed;
	struct grains g;
	uint64_t table_off, end; /* end: where the footer goes */
	uint32_t bitmap_bytes;
	uint8_t footer[FOOTER_BYTES];
	bool footer_moved;
};

static uint32_t checksum(const uint8_t *p, size_t len, size_t at)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i < at || i >= at + 4)
			sum += p[i];
	return ~sum;
}

static struct vhd *of(struct grains *g) { return container_of(g, struct vhd, g); }

static int vhd_decode(struct grains *g, uint64_t raw, enum grain_kind *k, uint64_t *host)
{
	*host = raw * 512 + of(g)->bitmap_bytes;
	*k = raw == VHD_NONE ? GRAIN_NONE : GRAIN_DATA;
	return *k == GRAIN_DATA && raw * 512 < of(g)->table_off ? -EIO : 0;
}

static uint64_t vhd_encode(struct grains *g, enum grain_kind k, uint64_t host)
{
	return k == GRAIN_DATA ? (host - of(g)->bitmap_bytes) / 512 : VHD_NONE;
}

static int vhd_chunk_pos(struct grains *g, uint64_t c, uint64_t *pos, uint64_t *copy)
{
	*pos = of(g)->table_off + c * g->chunk_entries * 4;
	*copy = 0;
	return 0;
}

static int vhd_alloc(struct grains *g, uint64_t i, uint64_t *host)
{
	struct vhd *d = of(g);

	if ((d->end + d->bitmap_bytes + g->block_bytes) / 512 >= VHD_NONE)
		return -EFBIG;
	*host = d->end + d->bitmap_bytes;
	d->end = *host + g->block_bytes;
	d->footer_moved = true;
	return 0;
}

/* Every sector of a block that exists is there. */
static int vhd_filled(struct grains *g, uint64_t i, uint64_t host)
{
	struct vhd *d = of(g);
	uint8_t *ones = malloc(d->bitmap_bytes);
	int rc;

	if (!ones)
		return -ENOMEM;
	memset(ones, 0xff, d->bitmap_bytes);
	rc = block_pwrite(g->file, host - d->bitmap_bytes, ones, d->bitmap_bytes);
	free(ones);
	return rc;
}

static int vhd_before_map(struct grains *g)
{
	struct vhd *d = of(g);
	int rc = 0;

	if (d->footer_moved)
		rc = block_pwrite(g->file, d->end, d->footer, FOOTER_BYTES);
	d->footer_moved &= rc != 0;
	return rc;
}

static const struct grain_ops vhd_grains = {
	.decode = vhd_decode, .encode = vhd_encode, .chunk_pos = vhd_chunk_pos, .alloc = vhd_alloc,
	.filled = vhd_filled, .before_map = vhd_before_map,
};

static int vhd_probe(const uint8_t *buf, size_t len, const char *path)
{
	/* Dynamic images have the footer's copy in front. A fixed one looks raw from here. */
	return len >= FOOTER_BYTES && !memcmp(buf, "conectix", 8) ? 100 : 0;
}

static int bad(const struct block_node *n, struct err *err, const char *what)
{
	return err_set(err, -EINVAL, "'%s' is not a usable VHD image: %s", n->path, what);
}

static bool footer_ok(const uint8_t *f)
{
	return !memcmp(f, "conectix", 8) &&
	       ld_be32(f + F_CHECKSUM) == checksum(f, FOOTER_BYTES, F_CHECKSUM);
}

/* The footer at the end; where a cut lost it, the copy at the start. */
static int read_footer(struct block_node *n, struct vhd *d, struct err *err)
{
	uint64_t len = n->file->len;
	int rc = 0;

	if (len >= FOOTER_BYTES)
		rc = block_pread(n->file, align_down(len, 512) - FOOTER_BYTES, d->footer,
				 FOOTER_BYTES);
	if (!rc && !footer_ok(d->footer)) {
		rc = block_pread(n->file, 0, d->footer, FOOTER_BYTES);
		if (!rc && footer_ok(d->footer) && ld_be32(d->footer + F_TYPE) == VHD_FIXED)
			return bad(n, err, "its footer is gone");
	}
	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	return footer_ok(d->footer) ? 0 : bad(n, err, "it has no valid footer");
}

/* Some writers mean the geometry, not the size. */
static uint64_t disk_bytes(const uint8_t *f)
{
	static const char *const by_geometry[] = { "vpc ", "qemu", "vs  " };
	uint64_t chs = (uint64_t)ld_be16(f + F_CYLS) * f[F_HEADS] * f[F_SECTORS];

	for (size_t i = 0; i < array_size(by_geometry); i++)
		if (!memcmp(f + F_APP, by_geometry[i], 4) && chs && chs < 65535ULL * 16 * 255)
			return chs * 512;
	return align_down(ld_be64(f + F_CURRENT), 512);
}

static int read_dynamic(struct block_node *n, struct vhd *d, struct err *err)
{
	uint8_t h[DYN_BYTES];
	uint64_t at = ld_be64(d->footer + F_DATA_OFF), entries, bs;
	int rc;

	if (at % 512 || at > n->file->len)
		return bad(n, err, "its header is misplaced");
	rc = block_pread(n->file, at, h, sizeof(h));
	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	if (memcmp(h, "cxsparse", 8) || ld_be32(h + D_CHECKSUM) != checksum(h, DYN_BYTES, D_CHECKSUM))
		return bad(n, err, "its header is damaged");
	bs = ld_be32(h + D_BLOCK);
	entries = ld_be32(h + D_ENTRIES);
	d->table_off = ld_be64(h + D_TABLE_OFF);
	if (bs < 4096 || bs > 256u << 20 || bs & (bs - 1))
		return bad(n, err, "its block size makes no sense");
	if (!n->len || (n->len - 1) / bs + 1 > entries)
		return bad(n, err, "its table is too small for the disk");
	if (d->table_off % 512 || d->table_off > n->file->len ||
	    n->file->len - d->table_off < entries * 4)
		return bad(n, err, "its table is outside of the file");
	d->bitmap_bytes = (uint32_t)align_up(bs / 512 / 8, 512);
	d->g.ops = &vhd_grains;
	d->g.node = n;
	d->g.file = n->file;
	d->g.len = n->len;
	d->g.block_bytes = bs;
	d->g.nblocks = (n->len - 1) / bs + 1;
	d->g.map_entries = entries;
	d->g.entry_bytes = 4;
	d->g.big_endian = true;
	d->g.chunk_entries = 128;
	rc = grains_init(&d->g);
	return rc ? err_set(err, rc, "cannot open '%s': %s", n->path, strerror(-rc)) : 0;
}

/* New blocks go behind all that the table names, over the old footer. */
static int find_end(struct block_node *n, struct vhd *d)
{
	uint64_t end = align_up(d->table_off + d->g.map_entries * 4, 512);
	int rc = 0;

	for (uint64_t i = 0; i < d->g.nblocks && !rc; i++) {
		uint64_t raw;

		rc = grains_entry(&d->g, i, &raw);
		if (!rc && raw != VHD_NONE)
			end = max_of(end, raw * 512 + d->bitmap_bytes + d->g.block_bytes);
	}
	/* What lies beyond, the footer apart, was lost by a cut: leave it alone. */
	d->end = max_of(end, align_up(n->file->len, 512) - FOOTER_BYTES);
	return rc;
}

static int vhd_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct vhd *d = calloc(1, sizeof(*d));
	uint32_t type;
	int rc;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	n->priv = d;
	rc = read_footer(n, d, err);
	if (rc)
		goto fail;
	type = ld_be32(d->footer + F_TYPE);
	n->len = disk_bytes(d->footer);
	d->fixed = type == VHD_FIXED;
	if (type == VHD_DIFF)
		rc = err_set(err, -ENOTSUP, "'%s' is a differencing VHD image, which is not supported; "
					    "merge it where it was made", n->path);
	else if (d->fixed && n->len > n->file->len - FOOTER_BYTES)
		rc = bad(n, err, "the file is shorter than the disk");
	else if (!d->fixed && type != VHD_DYNAMIC)
		rc = bad(n, err, "its type is unknown");
	else if (!d->fixed)
		rc = read_dynamic(n, d, err);
	if (rc)
		goto fail;
	if (!d->fixed && n->writable) {
		rc = find_end(n, d);
		if (rc) {
			grains_fini(&d->g);
			err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
			goto fail;
		}
	}
	n->io_align = d->fixed ? 4096 : (uint32_t)d->g.block_bytes;
	return 0;
fail:
	free(d);
	return rc;
}

static int vhd_flush(struct block_node *n)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_flush(n->file) : grains_flush(&d->g);
}

static int vhd_close(struct block_node *n)
{
	struct vhd *d = n->priv;
	int rc = n->writable && !n->dying ? vhd_flush(n) : 0;

	if (!d->fixed)
		grains_fini(&d->g);
	free(d);
	return rc;
}

static int vhd_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		      size_t voff)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_preadv(n->file, off, len, v, voff)
			: grains_preadv(&d->g, off, len, v, voff);
}

static int vhd_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
			     const struct block_vec *v, size_t voff)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_preadv_nowait(n->file, off, len, v, voff)
			: grains_preadv_nowait(&d->g, off, len, v, voff);
}

static int vhd_place(struct block_node *n, uint64_t off, size_t len, bool write,
		     struct block_place *p)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_place_below(n->file, off, len, write, p)
			: grains_place(&d->g, off, len, write, p);
}

static int vhd_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_pwritev(n->file, off, len, v, voff)
			: grains_pwritev(&d->g, off, len, v, voff);
}

static int vhd_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_zero(n->file, off, len, unmap) : grains_zero(&d->g, off, len, unmap);
}

static int vhd_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_discard(n->file, off, len) : grains_discard(&d->g, off, len);
}

static int vhd_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	struct vhd *d = n->priv;

	return d->fixed ? block_status(n->file, off, len, e) : grains_status(&d->g, off, len, e);
}

static int vhd_check(struct block_node *n, unsigned fix, struct block_check *c, struct err *err)
{
	struct vhd *d = n->priv;
	int rc = d->fixed ? 0 : grains_check(&d->g, d->table_off, 512, c);

	return rc ? err_set(err, rc, "cannot check '%s': %s", n->path, strerror(-rc)) : 0;
}

static int vhd_info(struct block_node *n, struct block_info *i, struct err *err)
{
	struct vhd *d = n->priv;

	if (!d->fixed)
		i->cluster_bytes = d->g.block_bytes;
	block_info_note(i, "type", d->fixed ? "fixed" : "dynamic");
	return 0;
}

/* Geometry as the specification's appendix computes it. */
static void put_geometry(uint8_t *f, uint64_t len)
{
	uint64_t total = min_of(len / 512, 65535ULL * 16 * 255), cth;
	uint32_t spt, heads;

	if (total >= 65535ULL * 16 * 63) {
		spt = 255;
		heads = 16;
		cth = total / spt;
	} else {
		spt = 17;
		cth = total / spt;
		heads = (uint32_t)max_of((cth + 1023) / 1024, 4ULL);
		if (cth >= heads * 1024 || heads > 16) {
			spt = 31;
			heads = 16;
			cth = total / spt;
		}
		if (cth >= heads * 1024) {
			spt = 63;
			heads = 16;
			cth = total / spt;
		}
	}
	st_be16(f + F_CYLS, (uint16_t)(cth / heads));
	f[F_HEADS] = (uint8_t)heads;
	f[F_SECTORS] = (uint8_t)spt;
}

static void make_footer(uint8_t *f, uint64_t len, bool fixed)
{
	memset(f, 0, FOOTER_BYTES);
	memcpy(f, "conectix", 8);
	st_be32(f + F_FEATURES, 2);
	st_be32(f + F_VERSION, 0x00010000);
	st_be64(f + F_DATA_OFF, fixed ? UINT64_MAX : FOOTER_BYTES);
	st_be32(f + F_TIME, (uint32_t)(time(NULL) - VHD_EPOCH));
	/* The size counts, not the geometry: Windows' way, and how others know it. */
	memcpy(f + F_APP, "win ", 4);
	st_be32(f + F_APP_VERSION, 0x00060001);
	memcpy(f + F_OS, "Wi2k", 4);
	st_be64(f + F_ORIGINAL, len);
	st_be64(f + F_CURRENT, len);
	put_geometry(f, len);
	st_be32(f + F_TYPE, fixed ? VHD_FIXED : VHD_DYNAMIC);
	if (getrandom(f + F_UUID, 16, 0) != 16)
		memset(f + F_UUID, 0x33, 16);
	st_be32(f + F_CHECKSUM, checksum(f, FOOTER_BYTES, F_CHECKSUM));
}

static int write_dynamic(struct block_node *file, const uint8_t *footer, uint64_t len)
{
	uint64_t entries = (len - 1) / VHD_BLOCK + 1, bytes = align_up(entries * 4, 512);
	uint64_t table = FOOTER_BYTES + DYN_BYTES;
	uint8_t h[DYN_BYTES] = { 0 }, *ones = malloc(bytes);
	int rc = ones ? 0 : -ENOMEM;

	memcpy(h, "cxsparse", 8);
	st_be64(h + D_DATA_OFF, UINT64_MAX);
	st_be64(h + D_TABLE_OFF, table);
	st_be32(h + D_VERSION, 0x00010000);
	st_be32(h + D_ENTRIES, (uint32_t)entries);
	st_be32(h + D_BLOCK, VHD_BLOCK);
	st_be32(h + D_CHECKSUM, checksum(h, DYN_BYTES, D_CHECKSUM));
	if (!rc)
		memset(ones, 0xff, bytes);
	if (!rc)
		rc = block_pwrite(file, 0, footer, FOOTER_BYTES);
	if (!rc)
		rc = block_pwrite(file, FOOTER_BYTES, h, DYN_BYTES);
	if (!rc)
		rc = block_pwrite(file, table, ones, bytes);
	if (!rc)
		rc = block_pwrite(file, table + bytes, footer, FOOTER_BYTES);
	free(ones);
	return rc;
}

static int vhd_create(const struct block_create *c, struct err *err)
{
	const char *sub = block_opt(c, "subformat");
	uint8_t footer[FOOTER_BYTES];
	struct block_node *file;
	bool fixed = sub && !strcmp(sub, "fixed");
	int rc;

	if (sub && !fixed && strcmp(sub, "dynamic"))
		return err_set(err, -EINVAL, "option subformat is dynamic or fixed, not '%s'", sub);
	if (!c->len || c->len % BLOCK_SECTOR)
		return err_set(err, -EINVAL, "a VHD disk's size is a multiple of %u bytes",
			       BLOCK_SECTOR);
	if (c->len > VHD_MAX_BYTES)
		return err_set(err, -EFBIG, "a VHD disk has at most 2040 GiB; use vhdx");
	make_footer(footer, c->len, fixed);
	rc = block_create_proto(c, c->path, 0, err);
	if (!rc)
		rc = block_open_proto(c->path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, c->host, &file,
				      err);
	if (rc)
		return rc;
	rc = fixed ? block_pwrite(file, c->len, footer, FOOTER_BYTES)
		   : write_dynamic(file, footer, c->len);
	if (block_close(file) && !rc)
		rc = -EIO;
	return rc ? err_set(err, rc, "cannot write '%s': %s", c->path, strerror(-rc)) : 0;
}

static const struct block_create_opt vhd_create_opts[] = {
	{ "subformat", "dynamic|fixed", "dynamic by default" },
	{ NULL, NULL, NULL },
};

const struct block_format_desc block_vhd = {
	.name = "vpc",
	.title = "Virtual PC, Hyper-V generation 1 (VHD): dynamic and fixed",
	.suffixes = "vhd vpc",
	.create_opts = vhd_create_opts,
	.probe = vhd_probe,
	.open = vhd_open,
	.close = vhd_close,
	.create = vhd_create,
	.preadv = vhd_preadv,
	.preadv_nowait = vhd_preadv_nowait,
	.pwritev = vhd_pwritev,
	.place = vhd_place,
	.zero = vhd_zero,
	.discard = vhd_discard,
	.flush = vhd_flush,
	.status = vhd_status,
	.info = vhd_info,
	.check = vhd_check,
};

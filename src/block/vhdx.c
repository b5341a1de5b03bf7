/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hyper-V images (VHDX): fixed and dynamic. Two headers that take turns, region
 * and metadata tables, a block table of 64-bit entries with a sector bitmap entry
 * after each chunk. Source: Microsoft, [MS-VHDX].
 *
 * Entries are 8 bytes in one sector and are written after the block they name, so
 * they need no log; an image whose log is not empty was cut off elsewhere, and opening
 * it for writing first does again what the log says (vhdx_log.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/bits.h"
#include "src/block/grains.h"
#include "src/block/place.h"
#include "src/block/vhdx_log.h"

enum { MIB = 1 << 20, HEADER1 = 64 << 10, HEADER2 = 128 << 10, REGION1 = 192 << 10,
       REGION2 = 256 << 10, HEADER_BYTES = 4096, REGION_BYTES = 65536, META_BYTES = MIB };
/* Header fields. */
enum { H_CHECKSUM = 4, H_SEQUENCE = 8, H_FILE_WRITE = 16, H_DATA_WRITE = 32, H_LOG_GUID = 48,
       H_LOG_VERSION = 64, H_VERSION = 66, H_LOG_LEN = 68, H_LOG_OFF = 72 };
enum { STATE_NONE = 0, STATE_UNDEFINED = 1, STATE_ZERO = 2, STATE_UNMAPPED = 3, STATE_FULL = 6,
       STATE_PARTIAL = 7 };
/* File layout of the images we make. */
enum { OUR_LOG = 1 * MIB, OUR_META = 2 * MIB, OUR_BAT = 3 * MIB, OUR_BLOCK = 8 * MIB,
       META_ITEMS = 65536 };
#define VHDX_MAX_BYTES (64ULL << 40)

/* GUIDs as they stand in the file. */
static const uint8_t guid_bat[16] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
				      0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 };
static const uint8_t guid_meta[16] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
				       0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e };
static const uint8_t guid_params[16] = { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
					 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b };
static const uint8_t guid_size[16] = { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
				       0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 };
static const uint8_t guid_page83[16] = { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
					 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 };
static const uint8_t guid_logical[16] = { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
					  0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f };
static const uint8_t guid_physical[16] = { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
					   0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 };

struct vhdx {
	struct grains g;
	uint64_t bat_off, bat_len, meta_off, end;
	uint64_t ratio; /* data blocks between two bitmap entries */
	bool fixed;
	uint8_t header[HEADER_BYTES]; /* the current one */
	uint64_t header_off;
};

static struct vhdx *of(struct grains *g) { return container_of(g, struct vhdx, g); }

static int vhdx_decode(struct grains *g, uint64_t raw, enum grain_kind *k, uint64_t *host)
{
	*host = raw >> 20 << 20;
	switch (raw & 7) {
	case STATE_NONE:
	case STATE_UNDEFINED:
	case STATE_UNMAPPED: *k = GRAIN_NONE; return 0;
	case STATE_ZERO: *k = GRAIN_ZERO; return 0;
	case STATE_FULL: *k = GRAIN_DATA; return *host < MIB ? -EIO : 0;
	default: return -EIO; /* partial blocks are a differencing image's */
	}
}

static uint64_t vhdx_encode(struct grains *g, enum grain_kind k, uint64_t host)
{
	return k == GRAIN_DATA ? host | STATE_FULL : k == GRAIN_ZERO ? STATE_ZERO : STATE_NONE;
}

static int vhdx_chunk_pos(struct grains *g, uint64_t c, uint64_t *pos, uint64_t *copy)
{
	*pos = of(g)->bat_off + c * g->chunk_entries * 8;
	*copy = 0;
	return 0;
}

static uint64_t vhdx_index(struct grains *g, uint64_t i) { return i + i / of(g)->ratio; }

static int vhdx_alloc(struct grains *g, uint64_t i, uint64_t *host)
{
	struct vhdx *d = of(g);

	*host = d->end;
	d->end += align_up(g->block_bytes, MIB);
	return *host >> 44 ? -EFBIG : 0;
}

static int new_guid(uint8_t *p)
{
	if (getrandom(p, 16, 0) != 16)
		return -EIO;
	p[7] = (uint8_t)((p[7] & 0x0f) | 0x40);
	p[8] = (uint8_t)((p[8] & 0x3f) | 0x80);
	return 0;
}

/* The other header becomes the current one. */
static int write_header(struct vhdx *d, struct block_node *file)
{
	int rc;

	d->header_off = d->header_off == HEADER1 ? HEADER2 : HEADER1;
	st_le64(d->header + H_SEQUENCE, ld_le64(d->header + H_SEQUENCE) + 1);
	st_le32(d->header + H_CHECKSUM, vhdx_crc32c(d->header, HEADER_BYTES, H_CHECKSUM));
	rc = block_pwrite(file, d->header_off, d->header, HEADER_BYTES);
	return rc ? rc : block_flush(file);
}

/* Others recognise by new GUIDs that the contents may have changed. */
static int vhdx_touch(struct grains *g)
{
	struct vhdx *d = of(g);
	int rc = new_guid(d->header + H_FILE_WRITE);

	if (!rc)
		rc = new_guid(d->header + H_DATA_WRITE);
	return rc ? rc : write_header(d, g->file);
}

static const struct grain_ops vhdx_grains = {
	.decode = vhdx_decode, .encode = vhdx_encode, .chunk_pos = vhdx_chunk_pos,
	.index = vhdx_index, .alloc = vhdx_alloc, .touch = vhdx_touch,
};

static int vhdx_probe(const uint8_t *buf, size_t len, const char *path)
{
	return len >= 8 && !memcmp(buf, "vhdxfile", 8) ? 100 : 0;
}

static int bad(const struct block_node *n, struct err *err, const char *what)
{
	return err_set(err, -EINVAL, "'%s' is not a usable VHDX image: %s", n->path, what);
}

static int replay(struct block_node *n, struct vhdx *d, struct err *err)
{
	const char *what;
	int rc;

	if (!n->writable)
		return err_set(err, -EACCES, "'%s' was not closed cleanly and has a log to be played "
					     "back, which needs writing: 'disk check --repair all' "
					     "does it", n->path);
	if (ld_le16(d->header + H_LOG_VERSION))
		return bad(n, err, "its log's version is unknown");
	rc = vhdx_log_replay(n->file, ld_le64(d->header + H_LOG_OFF), ld_le32(d->header + H_LOG_LEN),
			     d->header + H_LOG_GUID, &what);
	if (rc == -EINVAL)
		return bad(n, err, what);
	if (!rc) {
		memset(d->header + H_LOG_GUID, 0, 16);
		rc = write_header(d, n->file);
	}
	return rc ? err_set(err, rc, "cannot play back the log of '%s': %s", n->path, strerror(-rc)) : 0;
}

static int read_header(struct block_node *n, struct vhdx *d, struct err *err)
{
	static const uint64_t places[] = { HEADER1, HEADER2 };
	uint8_t h[HEADER_BYTES];
	bool any = false;

	for (size_t i = 0; i < array_size(places); i++) {
		int rc = block_pread(n->file, places[i], h, sizeof(h));

		if (rc)
			return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
		if (memcmp(h, "head", 4) ||
		    ld_le32(h + H_CHECKSUM) != vhdx_crc32c(h, sizeof(h), H_CHECKSUM))
			continue;
		if (any && ld_le64(h + H_SEQUENCE) <= ld_le64(d->header + H_SEQUENCE))
			continue;
		memcpy(d->header, h, sizeof(h));
		d->header_off = places[i];
		any = true;
	}
	if (!any)
		return bad(n, err, "neither of its headers is valid");
	if (ld_le16(d->header + H_VERSION) != 1)
		return bad(n, err, "its version is unknown");
	return block_is_zero(d->header + H_LOG_GUID, 16) ? 0 : replay(n, d, err);
}

static int read_regions(struct block_node *n, struct vhdx *d, struct err *err)
{
	static const uint64_t places[] = { REGION1, REGION2 };
	uint8_t *t = malloc(REGION_BYTES);
	uint32_t count = 0;
	int rc = -EINVAL;

	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < array_size(places) && rc; i++) {
		rc = block_pread(n->file, places[i], t, REGION_BYTES);
		if (!rc && (memcmp(t, "regi", 4) ||
			    ld_le32(t + 4) != vhdx_crc32c(t, REGION_BYTES, 4)))
			rc = -EINVAL;
	}
	if (!rc)
		count = ld_le32(t + 8);
	for (uint32_t i = 0; i < count && i < 2047 && !rc; i++) {
		const uint8_t *e = t + 16 + i * 32;
		uint64_t off = ld_le64(e + 16), len = ld_le32(e + 24);

		if (off < MIB || off % MIB || !len || off > n->file->len)
			rc = -EINVAL;
		else if (!memcmp(e, guid_bat, 16)) {
			d->bat_off = off;
			d->bat_len = len;
		} else if (!memcmp(e, guid_meta, 16)) {
			d->meta_off = off;
		} else if (ld_le32(e + 28) & 1) {
			free(t);
			return err_set(err, -ENOTSUP, "'%s' has a region that this program does not "
						      "know and must", n->path);
		}
	}
	free(t);
	if (rc || !d->bat_off || !d->meta_off)
		return bad(n, err, "its region tables are damaged");
	return 0;
}

static const uint8_t *item(const uint8_t *meta, const uint8_t *guid, uint32_t bytes)
{
	unsigned count = ld_le16(meta + 10);

	for (unsigned i = 0; i < count && i < 2047; i++) {
		const uint8_t *e = meta + 32 + i * 32;
		uint32_t off = ld_le32(e + 16), len = ld_le32(e + 20);

		if (!memcmp(e, guid, 16))
			return off >= 65536 && off <= META_BYTES - bytes && len >= bytes ? meta + off
											 : NULL;
	}
	return NULL;
}

static int read_metadata(struct block_node *n, struct vhdx *d, struct err *err)
{
	uint8_t *m = malloc(META_BYTES);
	const uint8_t *params, *size, *logical;
	uint64_t bs, sector;
	int rc = m ? block_pread(n->file, d->meta_off, m, META_BYTES) : -ENOMEM;

	if (rc) {
		free(m);
		return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	}
	params = item(m, guid_params, 8);
	size = item(m, guid_size, 8);
	logical = item(m, guid_logical, 4);
	if (memcmp(m, "metadata", 8) || !params || !size || !logical) {
		free(m);
		return bad(n, err, "its metadata is damaged");
	}
	bs = ld_le32(params);
	d->fixed = ld_le32(params + 4) & 1;
	sector = ld_le32(logical);
	n->len = ld_le64(size);
	rc = ld_le32(params + 4) & 2;
	free(m);
	if (rc)
		return err_set(err, -ENOTSUP, "'%s' is a differencing VHDX image, which is not "
					      "supported; merge it where it was made", n->path);
	if (bs < MIB || bs > 256 * MIB || bs & (bs - 1) || (sector != 512 && sector != 4096) ||
	    !n->len || n->len > VHDX_MAX_BYTES || n->len % 512)
		return bad(n, err, "its sizes make no sense");
	d->g.block_bytes = bs;
	d->ratio = (sector << 23) / bs;
	d->g.nblocks = (n->len - 1) / bs + 1;
	d->g.map_entries = d->g.nblocks + (d->g.nblocks - 1) / d->ratio;
	if (d->g.map_entries * 8 > d->bat_len || d->bat_off + d->g.map_entries * 8 > n->file->len)
		return bad(n, err, "its block table is too small");
	return 0;
}

static int find_end(struct block_node *n, struct vhdx *d)
{
	uint64_t end = max_of(n->file->len, max_of(d->bat_off + d->bat_len, d->meta_off + META_BYTES));
	int rc = 0;

	end = max_of(end, ld_le64(d->header + H_LOG_OFF) + ld_le32(d->header + H_LOG_LEN));
	for (uint64_t i = 0; i < d->g.nblocks && !rc; i++) {
		uint64_t raw;

		rc = grains_entry(&d->g, i, &raw);
		if (!rc && (raw & 7) == STATE_FULL)
			end = max_of(end, (raw >> 20 << 20) + d->g.block_bytes);
	}
	d->end = align_up(end, MIB);
	return rc;
}

static int vhdx_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct vhdx *d = calloc(1, sizeof(*d));
	uint8_t id[8];
	int rc;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_pread(n->file, 0, id, sizeof(id));
	if (!rc && memcmp(id, "vhdxfile", 8))
		rc = bad(n, err, "it does not have the VHDX signature");
	if (!rc)
		rc = read_header(n, d, err);
	if (!rc)
		rc = read_regions(n, d, err);
	if (!rc)
		rc = read_metadata(n, d, err);
	if (!rc) {
		d->g.ops = &vhdx_grains;
		d->g.node = n;
		d->g.file = n->file;
		d->g.len = n->len;
		d->g.entry_bytes = 8;
		d->g.can_zero = true;
		d->g.chunk_entries = 64; /* a sector */
		rc = grains_init(&d->g);
		if (!rc && n->writable) {
			rc = find_end(n, d);
			if (rc)
				grains_fini(&d->g);
		}
		if (rc)
			err_set(err, rc, "cannot open '%s': %s", n->path, strerror(-rc));
	}
	if (rc) {
		free(d);
		return rc;
	}
	n->priv = d;
	n->io_align = MIB;
	return 0;
}

static int vhdx_close(struct block_node *n)
{
	struct vhdx *d = n->priv;
	int rc = n->writable && !n->dying ? grains_flush(&d->g) : 0;

	grains_fini(&d->g);
	free(d);
	return rc;
}

static int vhdx_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	return grains_preadv(&((struct vhdx *)n->priv)->g, off, len, v, voff);
}

static int vhdx_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
			      const struct block_vec *v, size_t voff)
{
	return grains_preadv_nowait(&((struct vhdx *)n->priv)->g, off, len, v, voff);
}

static int vhdx_place(struct block_node *n, uint64_t off, size_t len, bool write,
		      struct block_place *p)
{
	return grains_place(&((struct vhdx *)n->priv)->g, off, len, write, p);
}

static int vhdx_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
			size_t voff)
{
	return grains_pwritev(&((struct vhdx *)n->priv)->g, off, len, v, voff);
}

static int vhdx_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	return grains_zero(&((struct vhdx *)n->priv)->g, off, len, unmap);
}

static int vhdx_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	return grains_discard(&((struct vhdx *)n->priv)->g, off, len);
}

static int vhdx_flush(struct block_node *n) { return grains_flush(&((struct vhdx *)n->priv)->g); }

static int vhdx_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	return grains_status(&((struct vhdx *)n->priv)->g, off, len, e);
}

static int vhdx_check(struct block_node *n, unsigned fix, struct block_check *c, struct err *err)
{
	int rc = grains_check(&((struct vhdx *)n->priv)->g, MIB, MIB, c);

	return rc ? err_set(err, rc, "cannot check '%s': %s", n->path, strerror(-rc)) : 0;
}

static int vhdx_info(struct block_node *n, struct block_info *i, struct err *err)
{
	struct vhdx *d = n->priv;

	i->cluster_bytes = d->g.block_bytes;
	block_info_note(i, "type", d->fixed ? "fixed" : "dynamic");
	return 0;
}

/* ---- making one ---- */

static int write_regions(struct block_node *file, uint64_t bat_bytes)
{
	uint8_t *t = calloc(1, REGION_BYTES);
	int rc;

	if (!t)
		return -ENOMEM;
	memcpy(t, "regi", 4);
	st_le32(t + 8, 2);
	memcpy(t + 16, guid_bat, 16);
	st_le64(t + 32, OUR_BAT);
	st_le32(t + 40, (uint32_t)bat_bytes);
	st_le32(t + 44, 1);
	memcpy(t + 48, guid_meta, 16);
	st_le64(t + 64, OUR_META);
	st_le32(t + 72, META_BYTES);
	st_le32(t + 76, 1);
	st_le32(t + 4, vhdx_crc32c(t, REGION_BYTES, 4));
	rc = block_pwrite(file, REGION1, t, REGION_BYTES);
	if (!rc)
		rc = block_pwrite(file, REGION2, t, REGION_BYTES);
	free(t);
	return rc;
}

static void put_item(uint8_t *m, unsigned i, const uint8_t *guid, uint32_t off, uint32_t len,
		     uint32_t flags)
{
	uint8_t *e = m + 32 + i * 32;

	memcpy(e, guid, 16);
	st_le32(e + 16, off);
	st_le32(e + 20, len);
	st_le32(e + 24, flags);
}

static int write_metadata(struct block_node *file, uint64_t len, uint32_t bs, bool fixed)
{
	enum { VIRTUAL = 2, REQUIRED = 4 };
	uint8_t *m = calloc(1, META_ITEMS + 4096);
	int rc;

	if (!m)
		return -ENOMEM;
	memcpy(m, "metadata", 8);
	st_le16(m + 10, 5);
	put_item(m, 0, guid_params, META_ITEMS, 8, REQUIRED);
	put_item(m, 1, guid_size, META_ITEMS + 8, 8, VIRTUAL | REQUIRED);
	put_item(m, 2, guid_page83, META_ITEMS + 16, 16, VIRTUAL | REQUIRED);
	put_item(m, 3, guid_logical, META_ITEMS + 32, 4, VIRTUAL | REQUIRED);
	put_item(m, 4, guid_physical, META_ITEMS + 36, 4, VIRTUAL | REQUIRED);
	st_le32(m + META_ITEMS, bs);
	st_le32(m + META_ITEMS + 4, fixed ? 1 : 0);
	st_le64(m + META_ITEMS + 8, len);
	rc = new_guid(m + META_ITEMS + 16);
	st_le32(m + META_ITEMS + 32, 512);
	st_le32(m + META_ITEMS + 36, 4096);
	if (!rc)
		rc = block_pwrite(file, OUR_META, m, META_ITEMS + 4096);
	free(m);
	return rc;
}

static int write_bat(struct block_node *file, uint64_t blocks, uint64_t ratio, uint32_t bs,
		     uint64_t bat_bytes)
{
	uint64_t at = OUR_BAT + bat_bytes;
	uint8_t buf[8];
	int rc = 0;

	for (uint64_t i = 0; i < blocks && !rc; i++, at += bs) {
		st_le64(buf, at | STATE_FULL);
		rc = block_pwrite(file, OUR_BAT + (i + i / ratio) * 8, buf, 8);
	}
	return rc;
}

static int write_image(struct block_node *file, uint64_t len, uint32_t bs, bool fixed)
{
	static const char creator[] = "bothy"; /* UTF-16 in the file */
	uint64_t blocks = (len - 1) / bs + 1, ratio = (512ULL << 23) / bs;
	uint64_t bat_bytes = align_up((blocks + (blocks - 1) / ratio) * 8, MIB);
	struct vhdx d = { .header_off = HEADER2 };
	uint8_t id[520] = "vhdxfile";
	int rc;

	for (size_t i = 0; i < sizeof(creator); i++)
		id[8 + i * 2] = (uint8_t)creator[i];
	memcpy(d.header, "head", 4);
	st_le16(d.header + H_VERSION, 1);
	st_le32(d.header + H_LOG_LEN, MIB);
	st_le64(d.header + H_LOG_OFF, OUR_LOG);
	rc = new_guid(d.header + H_FILE_WRITE);
	if (!rc)
		rc = new_guid(d.header + H_DATA_WRITE);
	if (!rc)
		rc = block_zero(file, 0, OUR_BAT + bat_bytes, true);
	if (!rc)
		rc = block_pwrite(file, 0, id, sizeof(id));
	if (!rc)
		rc = write_header(&d, file);
	if (!rc)
		rc = write_header(&d, file);
	if (!rc)
		rc = write_regions(file, bat_bytes);
	if (!rc)
		rc = write_metadata(file, len, bs, fixed);
	if (!rc && fixed)
		rc = write_bat(file, blocks, ratio, bs, bat_bytes);
	if (!rc && fixed)
		rc = block_zero(file, OUR_BAT + bat_bytes, blocks * bs, true);
	return rc;
}

static int vhdx_create(const struct block_create *c, struct err *err)
{
	const char *sub = block_opt(c, "subformat");
	uint64_t bs = OUR_BLOCK;
	struct block_node *file;
	bool fixed = sub && !strcmp(sub, "fixed");
	int rc = block_opt_size(c, "block_size", &bs, err);

	if (rc)
		return rc;
	if (bs < MIB || bs > 256 * MIB || bs & (bs - 1))
		return err_set(err, -EINVAL, "option block_size is a power of two from 1M to 256M");
	if (sub && !fixed && strcmp(sub, "dynamic"))
		return err_set(err, -EINVAL, "option subformat is dynamic or fixed, not '%s'", sub);
	if (!c->len || c->len % BLOCK_SECTOR)
		return err_set(err, -EINVAL, "a VHDX disk's size is a multiple of %u bytes",
			       BLOCK_SECTOR);
	if (c->len > VHDX_MAX_BYTES)
		return err_set(err, -EFBIG, "a VHDX disk has at most 64 TiB");
	rc = block_create_proto(c, c->path, 0, err);
	if (!rc)
		rc = block_open_proto(c->path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, c->host, &file,
				      err);
	if (rc)
		return rc;
	rc = write_image(file, c->len, (uint32_t)bs, fixed);
	if (block_close(file) && !rc)
		rc = -EIO;
	return rc ? err_set(err, rc, "cannot write '%s': %s", c->path, strerror(-rc)) : 0;
}

static const struct block_create_opt vhdx_create_opts[] = {
	{ "subformat", "dynamic|fixed", "dynamic by default" },
	{ "block_size", "SIZE", "what is allocated at once: 1M to 256M, a power of two" },
	{ NULL, NULL, NULL },
};

const struct block_format_desc block_vhdx = {
	.name = "vhdx",
	.title = "Hyper-V (VHDX): dynamic and fixed",
	.suffixes = "vhdx",
	.create_opts = vhdx_create_opts,
	.probe = vhdx_probe,
	.open = vhdx_open,
	.close = vhdx_close,
	.create = vhdx_create,
	.preadv = vhdx_preadv,
	.preadv_nowait = vhdx_preadv_nowait,
	.pwritev = vhdx_pwritev,
	.place = vhdx_place,
	.zero = vhdx_zero,
	.discard = vhdx_discard,
	.flush = vhdx_flush,
	.status = vhdx_status,
	.info = vhdx_info,
	.check = vhdx_check,
};

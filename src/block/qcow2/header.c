/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header cluster: reading it with suspicion, and writing it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/qcow2.h"

/* Byte offsets of the header's fields. */
enum {
	H_VERSION = 4, H_BACKING_OFF = 8, H_BACKING_LEN = 16, H_CLUSTER_BITS = 20, H_SIZE = 24,
	H_CRYPT = 32, H_L1_SIZE = 36, H_L1_OFF = 40, H_RT_OFF = 48, H_RT_CLUSTERS = 56,
	H_NSNAPS = 60, H_SNAP_OFF = 64, H_V2_LEN = 72, H_INCOMPAT = 72, H_COMPAT = 80,
	H_AUTOCLEAR = 88, H_REFCOUNT_ORDER = 96, H_LEN = 100, H_COMPRESSION = 104, H_V3_LEN = 104,
	H_OUR_LEN = 112,
};

static int bad(const struct qcow2 *q, struct err *err, const char *what)
{
	return err_set(err, -EINVAL, "'%s' is not a usable qcow2 image: %s", q->node->path, what);
}

/* The name of an unknown incompatible feature, as the image's own table tells it. */
static int unknown_feature(const struct qcow2 *q, struct err *err)
{
	uint64_t unknown = q->incompat & ~QC_INCOMPAT_KNOWN;
	unsigned bit = (unsigned)__builtin_ctzll(unknown);

	for (uint32_t i = 0; i + 48 <= q->feature_len; i += 48)
		if (q->feature_table[i] == 0 && q->feature_table[i + 1] == bit)
			return err_set(err, -ENOTSUP,
				       "'%s' uses the qcow2 feature '%.46s' (bit %u), which this "
				       "program does not know", q->node->path,
				       (const char *)q->feature_table + i + 2, bit);
	return err_set(err, -ENOTSUP, "'%s' uses qcow2 feature bit %u, which this program does "
				      "not know", q->node->path, bit);
}

static char *dup_text(const uint8_t *p, size_t len)
{
	return strndup((const char *)p, len);
}

static int keep_unknown(struct qcow2 *q, uint32_t type, const uint8_t *p, uint32_t len)
{
	struct qc_header_ext **tail = &q->exts, *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->type = type;
	x->len = len;
	x->data = malloc(len + 1);
	if (!x->data) {
		free(x);
		return -ENOMEM;
	}
	memcpy(x->data, p, len);
	while (*tail)
		tail = &(*tail)->next;
	*tail = x;
	return 0;
}

static int read_one_ext(struct qcow2 *q, uint32_t type, const uint8_t *p, uint32_t len)
{
	switch (type) {
	case QC_EXT_BACKING_FORMAT:
		if (q->node->backing_format)
			return -EINVAL;
		q->node->backing_format = dup_text(p, len);
		return q->node->backing_format ? 0 : -ENOMEM;
	case QC_EXT_FEATURES:
		if (q->feature_table)
			return 0;
		q->feature_table = malloc(len + 1);
		if (!q->feature_table)
			return -ENOMEM;
		memcpy(q->feature_table, p, len);
		q->feature_len = len;
		return 0;
	case QC_EXT_BITMAPS:
		if (len != 24)
			return -EINVAL;
		q->bitmaps.count = ld_be32(p);
		q->bitmaps.dir_size = ld_be64(p + 8);
		q->bitmaps.dir_off = ld_be64(p + 16);
		return 0;
	case QC_EXT_CRYPTO:
		if (len != 16)
			return -EINVAL;
		q->crypto_off = ld_be64(p);
		q->crypto_len = ld_be64(p + 8);
		return 0;
	case QC_EXT_DATA_FILE:
		if (q->data_file)
			return -EINVAL;
		q->data_file = dup_text(p, len);
		return q->data_file ? 0 : -ENOMEM;
	default: return keep_unknown(q, type, p, len);
	}
}

static int read_exts(struct qcow2 *q, const uint8_t *h, uint64_t at, uint64_t end, struct err *err)
{
	while (at + 8 <= end) {
		uint32_t type = ld_be32(h + at), len = ld_be32(h + at + 4);
		int rc;

		at += 8;
		if (type == QC_EXT_END)
			return 0;
		if (len > end - at)
			return bad(q, err, "a header extension runs past the header");
		rc = read_one_ext(q, type, h + at, len);
		if (rc)
			return rc == -ENOMEM ? rc : bad(q, err, "a header extension is malformed");
		at += align_up((uint64_t)len, 8);
	}
	return 0;
}

static int read_backing(struct qcow2 *q, const uint8_t *h, struct err *err)
{
	uint64_t off = ld_be64(h + H_BACKING_OFF);
	uint32_t len = ld_be32(h + H_BACKING_LEN);

	if (!off)
		return 0;
	if (len > QC_MAX_BACKING || off > q->cluster_size - len)
		return bad(q, err, "the backing file's name is outside of the header");
	if (!len)
		return 0;
	q->node->backing_path = dup_text(h + off, len);
	return q->node->backing_path ? 0 : -ENOMEM;
}

static int check_v3(struct qcow2 *q, const uint8_t *h, struct err *err)
{
	q->incompat = ld_be64(h + H_INCOMPAT);
	q->compat = ld_be64(h + H_COMPAT);
	q->autoclear = ld_be64(h + H_AUTOCLEAR);
	q->refcount_order = ld_be32(h + H_REFCOUNT_ORDER);
	q->header_len = ld_be32(h + H_LEN);
	if (q->header_len < H_V3_LEN || q->header_len > q->cluster_size || q->header_len % 8)
		return bad(q, err, "its header length makes no sense");
	if (q->refcount_order > 6)
		return bad(q, err, "its refcounts are wider than 64 bits");
	if (q->header_len > H_COMPRESSION)
		q->compression = h[H_COMPRESSION];
	if (!(q->incompat & QC_INCOMPAT_COMPRESSION) != (q->compression == QC_COMP_ZLIB))
		return bad(q, err, "its compression type and feature bit disagree");
	if (q->compression > QC_COMP_ZSTD)
		return bad(q, err, "its compression type is unknown");
	return 0;
}

/* Positions and sizes of tables: bounded, aligned, and large enough for the disk. */
static int check_tables(struct qcow2 *q, uint32_t rt_clusters, struct err *err)
{
	uint64_t mask = q->cluster_size - 1, top = 1ULL << 56;

	if ((uint64_t)q->l1_size * 8 > QC_MAX_L1_BYTES)
		return bad(q, err, "its L1 table is too large");
	if (q->node->len > BLOCK_MAX_BYTES)
		return bad(q, err, "its disk size is too large");
	if (qc_l1_need(q, q->node->len) > q->l1_size)
		return bad(q, err, "its L1 table is too small for the disk");
	if (q->l1_size && (q->l1_off & mask || !q->l1_off || q->l1_off >= top))
		return bad(q, err, "its L1 table is misplaced");
	if ((uint64_t)rt_clusters << q->cluster_bits > QC_MAX_REFTABLE_BYTES)
		return bad(q, err, "its refcount table is too large");
	if (!rt_clusters && !(q->node->open_flags & BLOCK_OPEN_CHECK))
		return bad(q, err, "it has no refcount table; 'check --repair' makes one");
	if (q->rt_off & mask || (!q->rt_off && rt_clusters) || q->rt_off >= top)
		return bad(q, err, "its refcount table is misplaced");
	if (q->nsnaps > QC_MAX_SNAPSHOTS || (q->nsnaps && (q->snap_off & mask || !q->snap_off ||
							    q->snap_off >= top)))
		return bad(q, err, "its snapshot table is misplaced");
	return 0;
}

static void set_geometry(struct qcow2 *q, uint32_t rt_clusters)
{
	q->ext_l2 = q->incompat & QC_INCOMPAT_EXT_L2;
	q->lazy = q->compat & QC_COMPAT_LAZY && q->version >= 3;
	q->data_raw = q->autoclear & QC_AUTOCLEAR_DATA_RAW;
	q->l2_entry_bytes = q->ext_l2 ? 16 : 8;
	q->l2_bits = q->cluster_bits - (q->ext_l2 ? 4 : 3);
	q->subs = q->ext_l2 ? 32 : 1;
	q->sub_bits = q->cluster_bits - (q->ext_l2 ? 5 : 0);
	q->rb_bits = q->cluster_bits + 3 - q->refcount_order;
	q->refcount_max = low_mask(1u << q->refcount_order) >> (q->refcount_order == 6);
	q->rt_size = (uint64_t)rt_clusters << (q->cluster_bits - 3);
}

static int check_state(struct qcow2 *q, const struct block_open_opts *o, struct err *err)
{
	if (q->incompat & ~QC_INCOMPAT_KNOWN)
		return unknown_feature(q, err);
	if (q->ext_l2 && q->cluster_bits < 14)
		return bad(q, err, "its clusters are too small for sub-clusters");
	if (q->incompat & QC_INCOMPAT_CORRUPT && o->flags & BLOCK_OPEN_WRITE &&
	    !(o->flags & BLOCK_OPEN_CHECK))
		return err_set(err, -EACCES,
			       "'%s' is marked as damaged; look at it with 'check', mend it with "
			       "'check --repair all'", q->node->path);
	if (q->crypt == QC_CRYPT_AES)
		return err_set(err, -ENOTSUP,
			       "'%s' uses the old AES encryption of qcow2, which is unsafe and not "
			       "supported; convert it to LUKS with qemu-img", q->node->path);
	if (q->crypt > QC_CRYPT_LUKS)
		return bad(q, err, "its encryption method is unknown");
	if (!(q->incompat & QC_INCOMPAT_DATA_FILE) != !q->data_file &&
	    q->incompat & QC_INCOMPAT_DATA_FILE)
		return bad(q, err, "it does not name its external data file");
	return 0;
}

int qc_header_read(struct qcow2 *q, const struct block_open_opts *o, struct err *err)
{
	struct block_node *n = q->node;
	uint32_t rt_clusters;
	uint8_t first[H_OUR_LEN], *h;
	int rc = block_pread(q->file, 0, first, sizeof(first));

	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	if (ld_be32(first) != QC_MAGIC)
		return bad(q, err, "it does not start with the qcow2 signature");
	q->version = ld_be32(first + H_VERSION);
	if (q->version < 2 || q->version > 3)
		return err_set(err, -ENOTSUP, "'%s' is qcow version %u; versions 2 and 3 are known",
			       n->path, q->version);
	q->cluster_bits = ld_be32(first + H_CLUSTER_BITS);
	if (q->cluster_bits < QC_MIN_CLUSTER_BITS || q->cluster_bits > QC_MAX_CLUSTER_BITS)
		return bad(q, err, "its cluster size is not 512 bytes to 2 MiB");
	q->cluster_size = 1ULL << q->cluster_bits;
	n->len = ld_be64(first + H_SIZE);
	q->crypt = ld_be32(first + H_CRYPT);
	q->l1_size = ld_be32(first + H_L1_SIZE);
	q->l1_off = ld_be64(first + H_L1_OFF);
	q->rt_off = ld_be64(first + H_RT_OFF);
	rt_clusters = ld_be32(first + H_RT_CLUSTERS);
	q->nsnaps = ld_be32(first + H_NSNAPS);
	q->snap_off = ld_be64(first + H_SNAP_OFF);
	q->refcount_order = 4;
	q->header_len = H_V2_LEN;
	h = malloc(q->cluster_size);
	if (!h)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_pread(q->file, 0, h, q->cluster_size);
	if (rc)
		err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	if (!rc && q->version >= 3)
		rc = check_v3(q, h, err);
	if (!rc)
		set_geometry(q, rt_clusters);
	if (!rc)
		rc = read_backing(q, h, err);
	if (!rc) {
		uint64_t end = n->backing_path ? ld_be64(h + H_BACKING_OFF) : q->cluster_size;

		rc = read_exts(q, h, q->header_len, end, err);
	}
	free(h);
	if (!rc)
		rc = check_state(q, o, err);
	return rc ? rc : check_tables(q, rt_clusters, err);
}

static void fill(const struct qcow2 *q, uint8_t *h)
{
	st_be32(h, QC_MAGIC);
	st_be32(h + H_VERSION, q->version);
	st_be32(h + H_CLUSTER_BITS, q->cluster_bits);
	st_be64(h + H_SIZE, q->node->len);
	st_be32(h + H_CRYPT, q->crypt);
	st_be32(h + H_L1_SIZE, q->l1_size);
	st_be64(h + H_L1_OFF, q->l1_off);
	st_be64(h + H_RT_OFF, q->rt_off);
	st_be32(h + H_RT_CLUSTERS, (uint32_t)(q->rt_size >> (q->cluster_bits - 3)));
	st_be32(h + H_NSNAPS, q->nsnaps);
	st_be64(h + H_SNAP_OFF, q->snap_off);
	if (q->version < 3)
		return;
	st_be64(h + H_INCOMPAT, q->incompat);
	st_be64(h + H_COMPAT, q->compat);
	st_be64(h + H_AUTOCLEAR, q->autoclear);
	st_be32(h + H_REFCOUNT_ORDER, q->refcount_order);
	st_be32(h + H_LEN, q->header_len);
	if (q->header_len > H_COMPRESSION)
		h[H_COMPRESSION] = (uint8_t)q->compression;
}

/* All these fields stand in the first 512 bytes: they change together or not at all. */
int qc_header_update(struct qcow2 *q)
{
	uint8_t h[BLOCK_SECTOR];
	int rc = block_pread(q->file, 0, h, sizeof(h));

	if (rc)
		return rc;
	fill(q, h);
	qc_wrote(q);
	return block_pwrite(q->file, 0, h, sizeof(h));
}

struct builder {
	uint8_t *h;
	uint64_t at, end;
	bool full;
};

static void put_ext(struct builder *b, uint32_t type, const void *data, uint32_t len)
{
	uint64_t need = 8 + align_up((uint64_t)len, 8);

	if (b->full || need > b->end - b->at) {
		b->full = true;
		return;
	}
	st_be32(b->h + b->at, type);
	st_be32(b->h + b->at + 4, len);
	if (len)
		memcpy(b->h + b->at + 8, data, len);
	b->at += need;
}

static const struct { uint8_t type, bit; const char *name; } feature_names[] = {
	{ 0, 0, "dirty bit" },
	{ 0, 1, "corrupt bit" },
	{ 0, 2, "external data file" },
	{ 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" },
	{ 1, 0, "lazy refcounts" },
	{ 2, 0, "bitmaps" },
	{ 2, 1, "raw external data" },
};

/* Which of them a header names: what the image may come to use, or all. */
enum features { FEATURES_ALL, FEATURES_USED, FEATURES_NONE };

static bool names_feature(const struct qcow2 *q, size_t i, enum features which)
{
	const uint64_t sets[] = { q->incompat | QC_INCOMPAT_DIRTY | QC_INCOMPAT_CORRUPT, q->compat,
				  q->autoclear };

	return which == FEATURES_ALL || sets[feature_names[i].type] >> feature_names[i].bit & 1;
}

static void put_features(const struct qcow2 *q, struct builder *b, enum features which)
{
	uint8_t t[48 * array_size(feature_names)];
	uint32_t n = 0;

	memset(t, 0, sizeof(t));
	for (size_t i = 0; i < array_size(feature_names); i++) {
		if (!names_feature(q, i, which))
			continue;
		t[n] = feature_names[i].type;
		t[n + 1] = feature_names[i].bit;
		memcpy(t + n + 2, feature_names[i].name, strlen(feature_names[i].name));
		n += 48;
	}
	put_ext(b, QC_EXT_FEATURES, t, n);
}

static void put_all_exts(const struct qcow2 *q, struct builder *b, enum features which)
{
	uint8_t x[24];

	if (q->node->backing_format)
		put_ext(b, QC_EXT_BACKING_FORMAT, q->node->backing_format,
			(uint32_t)strlen(q->node->backing_format));
	if (q->bitmaps.count) {
		st_be32(x, q->bitmaps.count);
		st_be32(x + 4, 0);
		st_be64(x + 8, q->bitmaps.dir_size);
		st_be64(x + 16, q->bitmaps.dir_off);
		put_ext(b, QC_EXT_BITMAPS, x, 24);
	}
	if (q->crypto_len) {
		st_be64(x, q->crypto_off);
		st_be64(x + 8, q->crypto_len);
		put_ext(b, QC_EXT_CRYPTO, x, 16);
	}
	if (q->data_file)
		put_ext(b, QC_EXT_DATA_FILE, q->data_file, (uint32_t)strlen(q->data_file));
	for (const struct qc_header_ext *e = q->exts; e; e = e->next)
		put_ext(b, e->type, e->data, e->len);
	if (which != FEATURES_NONE && q->version >= 3)
		put_features(q, b, which);
	put_ext(b, QC_EXT_END, NULL, 0);
}

/* Fields and extensions anew, in at most @limit bytes with @name more behind them. */
static bool lay_out(const struct qcow2 *q, struct builder *b, enum features which, uint64_t limit,
		    size_t name)
{
	b->at = q->header_len;
	b->end = limit;
	b->full = b->at > limit;
	if (b->full)
		return false;
	memset(b->h + b->at, 0, q->cluster_size - b->at);
	put_all_exts(q, b, which);
	return !b->full && b->end - b->at >= name;
}

/* A name that does not fit in the first sector: where the one that the header on storage
 * means does not stand, if the cluster has such a place. On storage before the header
 * means it. */
static int place_name(struct qcow2 *q, struct builder *b, size_t name)
{
	uint64_t at = align_up(b->at, BLOCK_SECTOR), old, old_end;
	uint8_t h[BLOCK_SECTOR];
	int rc = block_pread(q->file, 0, h, sizeof(h));

	if (rc)
		return rc;
	old = ld_be64(h + H_BACKING_OFF);
	old_end = old + ld_be32(h + H_BACKING_LEN);
	if (old_end > q->cluster_size || old_end < old)
		old = old_end = 0;
	if (at < old_end && old < at + name)
		at = align_up(old_end, BLOCK_SECTOR);
	if (at + name > q->cluster_size) { /* very small clusters and long names */
		memcpy(b->h + b->at, q->node->backing_path, name);
		b->at += name;
		return 0;
	}
	st_be64(b->h + H_BACKING_OFF, at);
	rc = block_pwrite(q->file, at, q->node->backing_path, name);
	return rc ? rc : qc_sync(q);
}

/*
 * All that a header says changes together or not at all: extensions and the backing
 * file's name go into the first sector, which is written whole or not, and the names of
 * features, which nobody needs, are left out where they leave no room. Only where
 * names of several hundred bytes meet does the name go elsewhere.
 */
int qc_header_rewrite(struct qcow2 *q, struct err *err)
{
	size_t name = q->node->backing_path ? strlen(q->node->backing_path) : 0;
	struct builder b = { .h = calloc(1, q->cluster_size) };
	enum features which = FEATURES_ALL;
	bool near = false;
	int rc = 0;

	if (!b.h)
		return err_set(err, -ENOMEM, "out of memory");
	/* Fields of a longer header that a newer program wrote stay as they are. */
	if (q->header_len > H_OUR_LEN)
		rc = block_pread(q->file, 0, b.h, q->header_len);
	fill(q, b.h);
	for (; which <= FEATURES_NONE && !near; which++)
		near = lay_out(q, &b, which, BLOCK_SECTOR, name);
	if (!near && !lay_out(q, &b, FEATURES_NONE, q->cluster_size, name)) {
		free(b.h);
		return err_set(err, -EINVAL, "the names of the backing file and of the data file do "
					     "not fit in a header of %" PRIu64 " bytes; use shorter "
					     "names or larger clusters", q->cluster_size);
	}
	st_be64(b.h + H_BACKING_OFF, name ? b.at : 0);
	st_be32(b.h + H_BACKING_LEN, (uint32_t)name);
	qc_wrote(q);
	if (name && near) {
		memcpy(b.h + b.at, q->node->backing_path, name);
		b.at += name;
	} else if (name && !rc) {
		rc = place_name(q, &b, name);
	}
	if (!rc)
		rc = block_pwrite(q->file, 0, b.h, align_up(b.at, BLOCK_SECTOR));
	free(b.h);
	return rc ? err_set(err, rc, "cannot write '%s': %s", q->node->path, strerror(-rc)) : 0;
}

int qc_set_backing(struct block_node *n, const char *path, const char *format, struct err *err)
{
	struct qcow2 *q = n->priv;
	char *old_path = n->backing_path, *old_format = n->backing_format;
	int rc;

	if (path && strlen(path) > QC_MAX_BACKING)
		return err_set(err, -ENAMETOOLONG, "a backing file's name has at most %u bytes",
			       QC_MAX_BACKING);
	n->backing_path = path ? strdup(path) : NULL;
	n->backing_format = path && format ? strdup(format) : NULL;
	if ((path && !n->backing_path) || (path && format && !n->backing_format)) {
		rc = err_set(err, -ENOMEM, "out of memory");
	} else {
		pthread_mutex_lock(&q->lock);
		rc = qc_touch(q);
		if (!rc)
			rc = qc_commit(q, false);
		if (!rc)
			rc = qc_header_rewrite(q, err);
		if (!rc)
			rc = qc_sync(q);
		pthread_mutex_unlock(&q->lock);
	}
	if (rc) {
		free(n->backing_path);
		free(n->backing_format);
		n->backing_path = old_path;
		n->backing_format = old_format;
		return rc;
	}
	free(old_path);
	free(old_format);
	return 0;
}

void qc_header_free(struct qcow2 *q)
{
	while (q->exts) {
		struct qc_header_ext *next = q->exts->next;

		free(q->exts->data);
		free(q->exts);
		q->exts = next;
	}
	free(q->feature_table);
	free(q->data_file);
}

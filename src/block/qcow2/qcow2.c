/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 format: opening, closing, and its descriptor. */
#include "src/block/qcow2/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/bits.h"
#include "src/block/luks.h"
#include "src/block/qcow2/bitmap.h"
#include "src/block/qcow2/crypt.h"
#include "src/block/qcow2/usage.h"

static int qcow2_probe(const uint8_t *buf, size_t len, const char *path)
{
	if (len < 72 || ld_be32(buf) != QC_MAGIC)
		return 0;
	return ld_be32(buf + 4) >= 2 && ld_be32(buf + 4) <= 3 ? 100 : 0;
}

static int open_data_file(struct qcow2 *q, const struct block_open_opts *o, struct err *err)
{
	struct block_node *n = q->node;
	char *path;
	int rc;

	q->data = q->file;
	if (!(q->incompat & QC_INCOMPAT_DATA_FILE))
		return 0;
	rc = block_may_name_files(n, o, err);
	if (rc)
		return rc;
	path = block_path_beside(n->path, q->data_file);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_open_proto(path, o->flags, o->cache, o->host, &q->data_own, err);
	if (rc == -ENOENT && strcmp(path, q->data_file)) /* QEMU looks in the current folder */
		rc = block_open_proto(q->data_file, o->flags, o->cache, o->host, &q->data_own,
				      NULL);
	if (rc)
		err_prefix(err, rc, "data file of '%s'", n->path);
	else
		q->data = q->data_own;
	free(path);
	return rc;
}

/* An unclean end with lazy refcounts: count anew before anything is written. */
static int recover(struct qcow2 *q, const struct block_open_opts *o, struct err *err)
{
	struct block_check c = { 0 };
	int rc;

	if (!(q->incompat & QC_INCOMPAT_DIRTY) || !(o->flags & BLOCK_OPEN_WRITE) ||
	    o->flags & BLOCK_OPEN_CHECK)
		return 0;
	rc = qc_check(q->node, BLOCK_FIX_ERRORS | BLOCK_FIX_LEAKS, &c, err);
	if (rc)
		return err_prefix(err, rc, "'%s' was not closed and its refcounts cannot be mended",
				  q->node->path);
	if (c.errors != c.errors_fixed || c.check_errors)
		return err_set(err, -EIO, "'%s' was not closed and has damage; look at it with "
					  "'check'", q->node->path);
	return 0;
}

static void fini(struct qcow2 *q)
{
	qc_crypt_close(q);
	qc_bitmaps_free(q);
	qc_snaps_free(q);
	qc_header_free(q);
	qc_cache_fini(q);
	free(q->drops);
	free(q->zcache.data);
	packers_fini(&q->packers);
	fastmap_fini(&q->fast);
	range_set_fini(&q->ranges);
	pthread_mutex_destroy(&q->lock);
	pthread_mutex_destroy(&q->zlock);
	block_close(q->data_own);
	free(q);
}

static bool on_device(const struct block_node *file)
{
	struct stat st;
	int fd = block_file_fd(file);

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISBLK(st.st_mode);
}

static int qcow2_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return err_set(err, -ENOMEM, "out of memory");
	q->node = n;
	q->file = q->data = n->file;
	n->priv = q;
	range_set_init(&q->ranges);
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->zlock, NULL);
	packers_init(&q->packers);
	fastmap_init(&q->fast);
	rc = qc_header_read(q, o, err);
	if (!rc)
		rc = qc_cache_init(q, o->cache_bytes);
	if (!rc) {
		q->used_end = qc_clusters(q, q->file->len);
		q->on_device = on_device(q->file);
		n->io_align = (uint32_t)q->cluster_size;
		rc = qc_snaps_read(q, err);
	}
	if (!rc)
		rc = open_data_file(q, o, err);
	if (!rc)
		rc = qc_crypt_open(q, o, err);
	if (!rc)
		rc = recover(q, o, err);
	if (rc)
		fini(q);
	return rc;
}

static int qcow2_flush(struct block_node *n)
{
	struct qcow2 *q = n->priv;
	uint64_t gen;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qc_commit(q, false);
	gen = q->write_gen;
	pthread_mutex_unlock(&q->lock);
	/* The last sync, which also covers writes in place, runs beside other requests. */
	if (!rc && q->data_own)
		rc = block_flush(q->data_own);
	if (!rc)
		rc = block_flush(q->file);
	pthread_mutex_lock(&q->lock);
	if (!rc && q->sync_gen < gen)
		q->sync_gen = gen;
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static int close_writable(struct qcow2 *q)
{
	int rc = qc_bitmaps_store(q);

	/* Twice: decrements that the first brings are written by the second. */
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	if (!rc && q->dirty_bit_set) {
		q->incompat &= ~QC_INCOMPAT_DIRTY;
		rc = qc_header_update(q);
		if (!rc)
			rc = qc_sync(q);
	}
	return rc;
}

static int qcow2_close(struct block_node *n)
{
	struct qcow2 *q = n->priv;
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	if (n->writable && !n->dying)
		rc = close_writable(q);
	pthread_mutex_unlock(&q->lock);
	fini(q);
	return rc;
}

static int qcow2_info(struct block_node *n, struct block_info *i, struct err *err)
{
	struct qcow2 *q = n->priv;
	uint64_t payload;
	int rc;

	i->cluster_bytes = q->cluster_size;
	i->dirty = q->incompat & QC_INCOMPAT_DIRTY;
	i->corrupt = q->incompat & QC_INCOMPAT_CORRUPT;
	i->encrypted = q->crypt;
	block_info_note(i, "compat", q->version >= 3 ? "1.1" : "0.10");
	block_info_note(i, "compression type", q->compression == QC_COMP_ZSTD ? "zstd" : "zlib");
	if (q->version >= 3)
		block_info_note(i, "lazy refcounts", q->lazy ? "true" : "false");
	block_info_note_num(i, "refcount bits", 1u << q->refcount_order);
	if (q->version >= 3) {
		block_info_note(i, "corrupt", i->corrupt ? "true" : "false");
		block_info_note(i, "extended l2", q->ext_l2 ? "true" : "false");
	}
	if (q->data_file) {
		block_info_note(i, "data file", "%s", q->data_file);
		block_info_note(i, "data file raw", q->data_raw ? "true" : "false");
	}
	if (q->crypt == QC_CRYPT_LUKS &&
	    !luks_describe(q->file, q->crypto_off, i->encryption, sizeof(i->encryption), &payload,
			   NULL))
		block_info_note(i, "encryption", "luks %s", i->encryption);
	rc = qc_snap_list(n, &i->snapshots, &i->nsnapshots, err);
	if (!rc)
		rc = qc_bitmaps_info(q, i);
	return rc ? err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc)) : 0;
}

const struct block_format_desc block_qcow2 = {
	.name = "qcow2",
	.title = "grows as it is written; snapshots, backing files, compression, encryption",
	.suffixes = "qcow2 qcow qc2",
	.create_opts = qc_create_opts,
	.backing_ok = true,
	.probe = qcow2_probe,
	.open = qcow2_open,
	.close = qcow2_close,
	.create = qc_create,
	.preadv = qc_preadv,
	.preadv_nowait = qc_preadv_nowait,
	.pwritev = qc_pwritev,
	.place = qc_place,
	.pwrite_compressed = qc_pwrite_compressed,
	.zero = qc_zero,
	.discard = qc_discard,
	.flush = qcow2_flush,
	.status = qc_status,
	.resize = qc_resize,
	.info = qcow2_info,
	.check = qc_check,
	.set_backing = qc_set_backing,
	.snap_list = qc_snap_list,
	.snap_create = qc_snap_create,
	.snap_apply = qc_snap_apply,
	.snap_delete = qc_snap_delete,
	.snap_view = qc_snap_view,
	.make_empty = qc_make_empty,
	.bitmap_add = qc_bitmap_add,
	.bitmap_remove = qc_bitmap_remove,
	.bitmap_read = qc_bitmap_read,
	.bitmap_write = qc_bitmap_write,
	.usage = qc_usage,
	.vmstate_io = qc_vmstate_io,
};

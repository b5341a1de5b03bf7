/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The snapshot table: read, written anew as a whole, listed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/qcow2.h"

enum { ENTRY_BYTES = 40, EXTRA_KNOWN = 24, EXTRA_MAX = 1024 };

void qc_snaps_free(struct qcow2 *q)
{
	for (uint32_t i = 0; q->snaps && i < q->nsnaps; i++)
		free(q->snaps[i].extra);
	free(q->snaps);
	q->snaps = NULL;
}

static int bad(const struct qcow2 *q, struct err *err, uint32_t i)
{
	return err_set(err, -EINVAL, "'%s' is not a usable qcow2 image: entry %u of its snapshot "
				     "table makes no sense", q->node->path, i + 1);
}

static int read_extra(struct qc_snap *s, const uint8_t *x, uint32_t len)
{
	if (len >= 8)
		s->s.vm_state_bytes = ld_be64(x);
	if (len >= 16)
		s->s.disk_bytes = ld_be64(x + 8);
	s->s.icount = len >= 24 ? ld_be64(x + 16) : UINT64_MAX;
	if (len <= EXTRA_KNOWN)
		return 0;
	s->extra_len = len - EXTRA_KNOWN;
	s->extra = malloc(s->extra_len);
	if (!s->extra)
		return -ENOMEM;
	memcpy(s->extra, x + EXTRA_KNOWN, s->extra_len);
	return 0;
}

static int read_entry(struct qcow2 *q, uint32_t i, uint64_t *pos, struct err *err)
{
	struct qc_snap *s = &q->snaps[i];
	uint8_t h[ENTRY_BYTES], *var;
	uint32_t extra, id, name;
	int rc = block_pread(q->file, *pos, h, sizeof(h));

	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", q->node->path, strerror(-rc));
	s->l1_off = ld_be64(h);
	s->l1_size = ld_be32(h + 8);
	id = ld_be16(h + 12);
	name = ld_be16(h + 14);
	s->s.date_s = ld_be32(h + 16);
	s->s.date_ns = ld_be32(h + 20);
	s->s.vm_clock_ns = ld_be64(h + 24);
	s->s.vm_state_bytes = ld_be32(h + 32);
	s->s.disk_bytes = q->node->len;
	extra = ld_be32(h + 36);
	if (extra > EXTRA_MAX || s->l1_off & (q->cluster_size - 1) ||
	    (uint64_t)s->l1_size * 8 > QC_MAX_L1_BYTES || s->l1_off >= 1ULL << 56)
		return bad(q, err, i);
	var = malloc((size_t)extra + id + name + 1);
	if (!var)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_pread(q->file, *pos + ENTRY_BYTES, var, extra + id + name);
	if (!rc)
		rc = read_extra(s, var, extra);
	memcpy(s->s.id, var + extra, min_of((size_t)id, sizeof(s->s.id) - 1));
	memcpy(s->s.name, var + extra + id, min_of((size_t)name, sizeof(s->s.name) - 1));
	free(var);
	*pos += align_up((uint64_t)ENTRY_BYTES + extra + id + name, 8);
	if (*pos - q->snap_off > QC_MAX_SNAPTABLE_BYTES)
		return bad(q, err, i);
	return rc ? err_set(err, rc, "cannot read '%s': %s", q->node->path, strerror(-rc)) : 0;
}

int qc_snaps_read(struct qcow2 *q, struct err *err)
{
	uint64_t pos = q->snap_off;
	int rc = 0;

	if (!q->nsnaps)
		return 0;
	q->snaps = calloc(q->nsnaps, sizeof(*q->snaps));
	if (!q->snaps)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < q->nsnaps && !rc; i++)
		rc = read_entry(q, i, &pos, err);
	q->snap_bytes = pos - q->snap_off;
	return rc;
}

static size_t entry_len(const struct qc_snap *s)
{
	return align_up((uint64_t)ENTRY_BYTES + EXTRA_KNOWN + s->extra_len + strlen(s->s.id) +
				strlen(s->s.name), 8);
}

static void put_entry(uint8_t *p, const struct qc_snap *s)
{
	size_t id = strlen(s->s.id), name = strlen(s->s.name);

	st_be64(p, s->l1_off);
	st_be32(p + 8, s->l1_size);
	st_be16(p + 12, (uint16_t)id);
	st_be16(p + 14, (uint16_t)name);
	st_be32(p + 16, (uint32_t)s->s.date_s);
	st_be32(p + 20, s->s.date_ns);
	st_be64(p + 24, s->s.vm_clock_ns);
	st_be32(p + 32, s->s.vm_state_bytes > UINT32_MAX ? 0 : (uint32_t)s->s.vm_state_bytes);
	st_be32(p + 36, EXTRA_KNOWN + s->extra_len);
	st_be64(p + 40, s->s.vm_state_bytes);
	st_be64(p + 48, s->s.disk_bytes);
	st_be64(p + 56, s->s.icount);
	p += ENTRY_BYTES + EXTRA_KNOWN;
	if (s->extra_len)
		memcpy(p, s->extra, s->extra_len);
	memcpy(p + s->extra_len, s->s.id, id);
	memcpy(p + s->extra_len + id, s->s.name, name);
}

/* The table goes to a new place and the header switches over: a cut leaves the old
 * one or the new one. */
int qc_snaps_write(struct qcow2 *q)
{
	uint64_t old_off = q->snap_off, old_len = q->snap_bytes, len = 0, off = 0, at = 0;
	uint8_t *buf;
	int rc = 0;

	for (uint32_t i = 0; i < q->nsnaps; i++)
		len += entry_len(&q->snaps[i]);
	if (len > QC_MAX_SNAPTABLE_BYTES)
		return -EFBIG;
	if (len) {
		buf = calloc(1, len);
		if (!buf)
			return -ENOMEM;
		for (uint32_t i = 0; i < q->nsnaps; i++) {
			put_entry(buf + at, &q->snaps[i]);
			at += entry_len(&q->snaps[i]);
		}
		rc = qc_alloc(q, qc_clusters(q, len), true, &off, NULL);
		qc_wrote(q);
		if (!rc)
			rc = block_pwrite(q->file, off, buf, len);
		free(buf);
	}
	if (!rc)
		rc = qc_commit(q, true);
	if (!rc)
		rc = qc_sync(q);
	if (rc)
		return rc;
	q->snap_off = off;
	q->snap_bytes = len;
	rc = qc_header_update(q);
	if (!rc)
		rc = qc_sync(q);
	return rc || !old_len ? rc : qc_drop(q, old_off, qc_clusters(q, old_len));
}

int qc_snap_list(struct block_node *n, struct block_snapshot **list, size_t *count, struct err *err)
{
	struct qcow2 *q = n->priv;

	*count = 0;
	*list = calloc(q->nsnaps + 1, sizeof(**list));
	if (!*list)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < q->nsnaps; i++)
		(*list)[i] = q->snaps[i].s;
	*count = q->nsnaps;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From guest offsets to host offsets: L1, L2, and their entries. */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/qcow2.h"

int qc_corrupt(struct qcow2 *q)
{
	if (q->node->dying)
		return -EIO;
	block_node_poison(q->node);
	if (q->node->writable && q->version >= 3) {
		uint8_t buf[8];

		q->incompat |= QC_INCOMPAT_CORRUPT;
		st_be64(buf, q->incompat);
		if (block_pwrite(q->file, 72, buf, 8))
			return -EIO; /* the mark itself is lost; writing has stopped all the same */
	}
	return -EIO;
}

void qc_l1_use(struct qcow2 *q, uint64_t off, uint64_t entries)
{
	q->l1_off = off;
	q->l1_size = (uint32_t)entries;
	fastmap_changed(&q->fast);
}

static int l1_get(struct qcow2 *q, uint64_t off, uint64_t *pos, uint64_t *entry)
{
	uint64_t idx = off >> qc_l1_shift(q);
	int rc;

	*entry = 0;
	*pos = q->l1_off + idx * 8;
	if (idx >= q->l1_size)
		return 0;
	rc = qc_meta_get64(q, *pos, entry);
	if (rc)
		return rc;
	if (*entry & QC_L1_RESERVED || (*entry & QC_OFFSET_MASK & (q->cluster_size - 1)))
		return qc_corrupt(q);
	return 0;
}

static uint64_t l2_pos(const struct qcow2 *q, uint64_t table, uint64_t off)
{
	return table + (off >> q->cluster_bits & low_mask(q->l2_bits)) * q->l2_entry_bytes;
}

static struct qc_entry entry_at(const struct qcow2 *q, const uint8_t *p)
{
	struct qc_entry e = { ld_be64(p), q->ext_l2 ? ld_be64(p + 8) : 0 };

	return e;
}

int qc_entry_get(struct qcow2 *q, uint64_t off, struct qc_entry *e)
{
	uint64_t pos, l1;
	const uint8_t *p;
	size_t avail;
	int rc = l1_get(q, off, &pos, &l1);

	memset(e, 0, sizeof(*e));
	if (rc || !(l1 & QC_OFFSET_MASK))
		return rc;
	rc = qc_meta_peek(q, l2_pos(q, l1 & QC_OFFSET_MASK, off), &p, &avail);
	if (!rc)
		*e = entry_at(q, p);
	return rc;
}

int qc_sub_kind(const struct qcow2 *q, const struct qc_entry *e, unsigned s, enum qc_kind *k)
{
	uint64_t host = e->e & QC_OFFSET_MASK;

	if (e->e & QC_OFLAG_COMPRESSED) {
		*k = QC_PACKED;
		return q->ext_l2 && e->bits ? -EIO : 0;
	}
	if (e->e & QC_L2_RESERVED || host & (q->cluster_size - 1))
		return -EIO;
	if (q->ext_l2) {
		bool alloc = e->bits >> s & 1, zero = e->bits >> (32 + s) & 1;

		if (e->e & QC_OFLAG_ZERO || (alloc && (zero || !(e->e & ~QC_OFLAG_COPIED ||
								 q->data != q->file))))
			return -EIO;
		*k = alloc ? QC_DATA : zero ? QC_ZERO : QC_UNALLOC;
		return 0;
	}
	if (e->e & QC_OFLAG_ZERO) {
		*k = QC_ZERO;
		return q->version < 3 ? -EIO : 0;
	}
	/* Offset 0 is a real place in an external data file only; COPIED tells. */
	*k = host || (e->e & QC_OFLAG_COPIED && q->data != q->file) ? QC_DATA : QC_UNALLOC;
	return 0;
}

/* Adds to @r what entry @e says from sub-cluster @s on. True while the run goes on. */
static int extend(struct qcow2 *q, const struct qc_entry *e, unsigned s, uint64_t *at,
		  uint64_t end, struct qc_run *r, bool *more)
{
	uint64_t host = e->e & QC_OFFSET_MASK;
	bool own = e->e & QC_OFLAG_COPIED;

	*more = true;
	for (; s < q->subs && *at < end; s++) {
		uint64_t in = *at & low_mask(q->sub_bits);
		uint64_t pos = host + ((uint64_t)s << q->sub_bits) + in;
		enum qc_kind k;
		int rc = qc_sub_kind(q, e, s, &k);

		if (rc)
			return qc_corrupt(q);
		if (r->len && (k != r->kind || k == QC_PACKED ||
			       (k == QC_DATA && (pos != r->host + r->len || own != r->own)))) {
			*more = false;
			return 0;
		}
		if (!r->len) {
			r->kind = k;
			r->own = own;
			r->host = k == QC_PACKED ? e->e : pos;
		}
		in = min_of((1ULL << (k == QC_PACKED ? q->cluster_bits : q->sub_bits)) -
				    (*at & low_mask(k == QC_PACKED ? q->cluster_bits : q->sub_bits)),
			    end - *at);
		r->len += in;
		*at += in;
		if (k == QC_PACKED)
			break;
	}
	return 0;
}

int qc_lookup(struct qcow2 *q, uint64_t off, uint64_t len, struct qc_run *r)
{
	uint64_t at = off, end = off + len;
	bool more = true;

	memset(r, 0, sizeof(*r));
	while (at < end && more) {
		uint64_t pos, l1, stop;
		const uint8_t *p;
		size_t avail;
		int rc = l1_get(q, at, &pos, &l1);

		if (rc)
			return rc;
		stop = min_of(end, align_down(at, 1ULL << qc_l1_shift(q)) +
					   (1ULL << qc_l1_shift(q)));
		if (!(l1 & QC_OFFSET_MASK)) {
			if (r->len && r->kind != QC_UNALLOC)
				return 0;
			r->kind = QC_UNALLOC;
			r->len += stop - at;
			at = stop;
			continue;
		}
		rc = qc_meta_peek(q, l2_pos(q, l1 & QC_OFFSET_MASK, at), &p, &avail);
		for (; !rc && more && at < stop && avail; avail -= q->l2_entry_bytes) {
			struct qc_entry e = entry_at(q, p);

			rc = extend(q, &e, (unsigned)((at & (q->cluster_size - 1)) >> q->sub_bits),
				    &at, stop, r, &more);
			p += q->l2_entry_bytes;
		}
		if (rc)
			return rc;
	}
	return 0;
}

/* A table of our own for the L1 entry @pos: empty, or a copy of the shared @old. */
static int new_l2(struct qcow2 *q, uint64_t pos, uint64_t old)
{
	uint8_t buf[512];
	uint64_t off;
	int rc = qc_alloc(q, 1, true, &off, NULL);

	if (rc)
		return rc;
	qc_meta_forget(q, off, q->cluster_size);
	qc_wrote(q);
	if (!old)
		rc = block_zero(q->file, off, q->cluster_size, true);
	for (uint64_t i = 0; old && i < q->cluster_size && !rc; i += sizeof(buf)) {
		rc = qc_meta_read(q, old + i, buf, sizeof(buf));
		if (!rc)
			rc = qc_meta_write(q, QC_L2, off + i, buf, sizeof(buf));
	}
	if (!rc)
		rc = qc_meta_set64(q, QC_L1, pos, off | QC_OFLAG_COPIED);
	if (rc) {
		qc_meta_forget(q, off, q->cluster_size);
		qc_unalloc(q, off, 1);
		return rc;
	}
	return old ? qc_drop(q, old, 1) : 0;
}

int qc_l2_own(struct qcow2 *q, uint64_t off)
{
	uint64_t pos, l1;
	int rc = l1_get(q, off, &pos, &l1);

	if (rc)
		return rc;
	if (off >> qc_l1_shift(q) >= q->l1_size)
		return qc_corrupt(q);
	if (l1 & QC_OFFSET_MASK && l1 & QC_OFLAG_COPIED)
		return 0;
	if (q->cache.held_only)
		return -EAGAIN;
	return new_l2(q, pos, l1 & QC_OFFSET_MASK);
}

int qc_entry_set(struct qcow2 *q, uint64_t off, const struct qc_entry *e)
{
	uint64_t pos, l1;
	uint8_t buf[16];
	int rc = l1_get(q, off, &pos, &l1);

	if (rc)
		return rc;
	if (!(l1 & QC_OFFSET_MASK) || !(l1 & QC_OFLAG_COPIED))
		return qc_corrupt(q);
	st_be64(buf, e->e);
	st_be64(buf + 8, e->bits);
	return qc_meta_write(q, QC_L2, l2_pos(q, l1 & QC_OFFSET_MASK, off), buf, q->l2_entry_bytes);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who holds which cluster: the disk as it is now, and each internal snapshot. From
 * that follows what a snapshot alone holds, and what deleting a set of them frees:
 * the clusters that nobody outside of the set refers to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/usage.h"

enum { NOBODY = UINT32_MAX };

struct census {
	struct qcow2 *q;
	uint64_t nclusters;
	uint32_t *last;    /* the owner that was counted last for a cluster */
	uint32_t *owners;  /* how many there are */
	uint32_t *sole;    /* one of them */
	bool *deleted;     /* by snapshot: is it in the set? */
	uint32_t *leaving; /* of the owners, those in the set */
	uint8_t *l2;
};

static void count(struct census *c, uint32_t owner, bool leaving, uint64_t off, uint64_t len)
{
	unsigned bits = c->q->cluster_bits;

	if (!len)
		return;
	for (uint64_t i = off >> bits; i <= (off + len - 1) >> bits && i < c->nclusters; i++) {
		if (c->last[i] == owner)
			continue; /* compressed clusters share host clusters */
		c->last[i] = owner;
		c->sole[i] = owner;
		c->owners[i]++;
		c->leaving[i] += leaving;
	}
}

static int count_l2(struct census *c, uint32_t owner, bool leaving, uint64_t off)
{
	struct qcow2 *q = c->q;
	int rc = qc_meta_read(q, off, c->l2, q->cluster_size);

	count(c, owner, leaving, off, q->cluster_size);
	for (size_t i = 0; !rc && i < q->cluster_size; i += q->l2_entry_bytes) {
		uint64_t e = ld_be64(c->l2 + i), host;
		uint32_t len;

		if (q->data != q->file)
			break; /* data are elsewhere and not counted */
		if (e & QC_OFLAG_COMPRESSED)
			qc_packed_span(q, e, &host, &len);
		else {
			host = e & QC_OFFSET_MASK;
			len = host ? (uint32_t)q->cluster_size : 0;
		}
		count(c, owner, leaving, host, len);
	}
	return rc;
}

static int count_owner(struct census *c, uint32_t owner, bool leaving, uint64_t l1_off,
		       uint32_t l1_size)
{
	int rc = 0;

	count(c, owner, leaving, l1_off, (uint64_t)l1_size * 8);
	for (uint32_t i = 0; i < l1_size && !rc; i++) {
		uint64_t e;

		rc = qc_meta_get64(c->q, l1_off + (uint64_t)i * 8, &e);
		e &= QC_OFFSET_MASK;
		if (!rc && e & (c->q->cluster_size - 1))
			rc = -EIO;
		if (!rc && e)
			rc = count_l2(c, owner, leaving, e);
	}
	return rc;
}

/* Bytes of the snapshot table without the set; all of it if @set is NULL. */
static uint64_t table_bytes(const struct qcow2 *q, const bool *set)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < q->nsnaps; i++) {
		const struct qc_snap *s = &q->snaps[i];

		if (set && set[i])
			continue;
		n += align_up(40 + 24 + (uint64_t)s->extra_len + strlen(s->s.id) +
				      strlen(s->s.name), 8);
	}
	return n;
}

static int find_set(struct census *c, const char *const *names, size_t n)
{
	struct qcow2 *q = c->q;

	for (size_t k = 0; k < n; k++) {
		uint32_t i = 0;

		/* As deleting finds it: an id first, then a name. */
		while (i < q->nsnaps && strcmp(q->snaps[i].s.id, names[k]))
			i++;
		if (i == q->nsnaps)
			for (i = 0; i < q->nsnaps && strcmp(q->snaps[i].s.name, names[k]); i++)
				;
		if (i == q->nsnaps)
			return -ENOENT;
		c->deleted[i] = true;
	}
	return 0;
}

static int take(struct census *c)
{
	struct qcow2 *q = c->q;
	int rc = count_owner(c, 0, false, q->l1_off, q->l1_size);

	for (uint32_t i = 0; i < q->nsnaps && !rc; i++)
		rc = count_owner(c, i + 1, c->deleted[i], q->snaps[i].l1_off, q->snaps[i].l1_size);
	return rc;
}

static int sum_up(struct census *c, struct block_usage *u)
{
	struct qcow2 *q = c->q;
	uint64_t held = 0;
	int rc = 0;

	for (uint64_t i = 0; i < c->nclusters && !rc; i++) {
		uint64_t v;

		rc = qc_ref_get(q, i, &v);
		u->used += v ? q->cluster_size : 0;
		if (!c->owners[i])
			continue;
		if (c->owners[i] == 1 && c->sole[i])
			u->snapshots[c->sole[i] - 1].alone += q->cluster_size;
		if (c->owners[i] == c->leaving[i])
			u->freed += q->cluster_size;
		/* Kept by a snapshot when the disk has written over it. */
		held += c->owners[i] > 1 || c->sole[i] ? q->cluster_size : 0;
	}
	u->held_by_snapshots = held;
	u->freed += (qc_clusters(q, table_bytes(q, NULL)) - qc_clusters(q, table_bytes(q, c->deleted)))
		    << q->cluster_bits;
	return rc;
}

int qc_usage(struct block_node *n, const char *const *names, size_t nnames, struct block_usage *u)
{
	struct qcow2 *q = n->priv;
	struct census c = { .q = q };
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	c.nclusters = max_of(qc_clusters(q, q->file->len), q->used_end);
	c.last = malloc((c.nclusters + 1) * sizeof(*c.last));
	c.owners = calloc(c.nclusters + 1, sizeof(*c.owners));
	c.sole = calloc(c.nclusters + 1, sizeof(*c.sole));
	c.leaving = calloc(c.nclusters + 1, sizeof(*c.leaving));
	c.deleted = calloc(q->nsnaps + 1, sizeof(*c.deleted));
	c.l2 = malloc(q->cluster_size);
	u->snapshots = calloc(q->nsnaps + 1, sizeof(*u->snapshots));
	if (!c.last || !c.owners || !c.sole || !c.leaving || !c.deleted || !c.l2 || !u->snapshots)
		rc = -ENOMEM;
	else
		memset(c.last, 0xff, (c.nclusters + 1) * sizeof(*c.last));
	if (!rc)
		rc = find_set(&c, names, nnames);
	for (uint32_t i = 0; i < q->nsnaps && !rc; i++) {
		u->snapshots[i].snapshot = q->snaps[i].s;
		u->nsnapshots++;
	}
	if (!rc)
		rc = take(&c);
	if (!rc)
		rc = sum_up(&c, u);
	pthread_mutex_unlock(&q->lock);
	free(c.last);
	free(c.owners);
	free(c.sole);
	free(c.leaving);
	free(c.deleted);
	free(c.l2);
	return rc;
}

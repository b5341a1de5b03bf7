/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/qcow2/crypt.h"

#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/luks.h"
#include "src/block/qcow2/qcow2.h"

int qc_crypt_open(struct qcow2 *q, const struct block_open_opts *o, struct err *err)
{
	if (q->crypt != QC_CRYPT_LUKS)
		return 0;
	if (!q->crypto_len || q->crypto_off & (q->cluster_size - 1))
		return err_set(err, -EINVAL, "'%s' is not a usable qcow2 image: it is encrypted but "
					     "its LUKS header is misplaced", q->node->path);
	if (o->flags & BLOCK_OPEN_NO_SECRET)
		return 0;
	return luks_unlock(q->file, q->crypto_off, o->secret, q->node->path, &q->luks, err);
}

int qc_crypt_create(struct qcow2 *q, const struct block_create *c, struct err *err)
{
	struct luks_params p;
	uint64_t bytes;
	int rc = luks_params_read(c, "encrypt.", &p, err);

	if (rc)
		return rc;
	bytes = luks_header_bytes(&p);
	pthread_mutex_lock(&q->lock);
	rc = qc_alloc(q, qc_clusters(q, bytes), true, &q->crypto_off, NULL);
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return err_set(err, rc, "cannot encrypt '%s': %s", q->node->path, strerror(-rc));
	rc = luks_format(q->file, q->crypto_off, &p, c->secret, q->node->path, &q->luks, err);
	if (rc)
		return rc;
	q->crypto_len = bytes;
	q->crypt = QC_CRYPT_LUKS;
	return 0;
}

void qc_crypt_close(struct qcow2 *q)
{
	luks_close(q->luks);
	q->luks = NULL;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How large would a new image be? Asked by scripts before they make room. */
#include <errno.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/op.h"

static uint64_t up(uint64_t v, uint64_t unit) { return v / unit + (v % unit != 0); }

/* Clusters of qcow2 tables for a disk whose every cluster is mapped. */
static uint64_t qcow2_tables(uint64_t len, uint64_t cs)
{
	uint64_t data = up(len, cs), l2 = up(data, cs / 8), l1 = up(l2, cs / 8);
	uint64_t plain = 1 + l2 + l1 + data, blocks = 0, table = 0, before;

	do { /* refcounts, 16 bits each, also count themselves */
		before = blocks + table;
		blocks = up(plain + blocks + table, cs / 2);
		table = up(blocks, cs / 8);
	} while (blocks + table != before);
	return 1 + l2 + l1 + blocks + table;
}

static int data_bytes(struct block_node *n, uint64_t cs, uint64_t *out)
{
	uint64_t off = 0, next = 0;
	struct block_extent e;
	int rc = 0;

	*out = 0;
	for (; off < n->len && !rc; off += e.len) {
		rc = block_status_chain(n, NULL, off, n->len - off, &e);
		if (rc || e.flags & BLOCK_EXT_ZERO)
			continue;
		/* Whole clusters, each counted once. */
		uint64_t first = max_of(off / cs, next), end = up(off + e.len, cs);

		if (end > first)
			*out += (end - first) * cs;
		next = max_of(next, end);
	}
	return rc;
}

int op_measure(const struct op_env *env, const char *src, const char *src_format, uint64_t len,
	       const char *format, uint64_t cluster_bytes, uint64_t *required, uint64_t *fully,
	       struct err *err)
{
	uint64_t cs = cluster_bytes ? cluster_bytes : 65536, data = 0, tables;
	int rc = 0;

	if (strcmp(format, "raw") && strcmp(format, "qcow2"))
		return err_set(err, -ENOTSUP, "sizes are measured for raw and qcow2, not for '%s'",
			       format);
	if (cs < 512 || cs > 2 << 20 || cs & (cs - 1))
		return err_set(err, -EINVAL, "a cluster is a power of two from 512 bytes to 2M");
	if (src) {
		struct block_open_opts o = op_open_opts(env, src_format, 0);
		struct block_node *n;

		rc = block_open(src, &o, &n, err);
		if (rc)
			return rc;
		len = n->len;
		rc = data_bytes(n, cs, &data);
		block_close(n);
		if (rc)
			return err_set(err, rc, "cannot read '%s': %s", src, strerror(-rc));
	}
	tables = strcmp(format, "raw") ? qcow2_tables(len, cs) * cs : 0;
	*fully = tables ? tables + align_up(len, cs) : len;
	*required = tables ? tables + data : len;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/place.h"

#include <errno.h>

int block_place_hold(struct block_place *p, struct range_set *s, uint64_t start, uint64_t end)
{
	if (p->nholds == PLACE_HOLDS ||
	    !range_try_lock(s, &p->holds[p->nholds].range, start, end, false))
		return -EAGAIN;
	p->holds[p->nholds++].set = s;
	return 0;
}

int block_place_below(struct block_node *n, uint64_t off, size_t len, bool write,
		      struct block_place *p)
{
	if (!n->desc->place || !block_may_place(n, off, len, write))
		return -EAGAIN;
	return n->desc->place(n, off, len, write, p);
}

int block_place(struct block_node *n, uint64_t off, size_t len, bool write, struct block_place *p)
{
	int rc;

	p->nholds = 0;
	rc = block_place_below(n, off, len, write, p);
	if (rc)
		block_unplace(p);
	return rc;
}

void block_unplace(struct block_place *p)
{
	while (p->nholds) {
		p->nholds--;
		range_unlock(p->holds[p->nholds].set, &p->holds[p->nholds].range);
	}
}

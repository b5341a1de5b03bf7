/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/place.h"

#include <errno.h>

int block_place_hold(struct block_place *p, struct range_set *s, uint64_t start, uint64_t end,
		     bool exclusive)
{
	if (p->nholds == PLACE_HOLDS ||
	    !range_try_lock(s, &p->holds[p->nholds].range, start, end, exclusive))
		return -EAGAIN;
	p->holds[p->nholds++].set = s;
	return 0;
}

void block_place_unhold(struct block_place *p)
{
	p->nholds--;
	range_unlock(p->holds[p->nholds].set, &p->holds[p->nholds].range);
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
	p->settle = NULL;
	rc = block_place_below(n, off, len, write, p);
	while (rc && p->nholds)
		block_place_unhold(p);
	return rc;
}

int block_place_settle(struct block_place *p, bool written, bool wait)
{
	int rc = p->settle ? p->settle(p, written, wait) : 0;

	if (rc != -EBUSY)
		p->settle = NULL;
	return rc;
}

int block_unplace(struct block_place *p, bool written)
{
	int rc = block_place_settle(p, written, true);

	while (p->nholds)
		block_place_unhold(p);
	return rc;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From descriptors to pieces of host memory. Split rings: 2.7.5; packed rings: 2.8.5 to
 * 2.8.7. Each descriptor is copied before it is looked at, since the guest may change it
 * meanwhile; lengths, directions and the chain's own length are checked.
 */
#include "src/base/bits.h"
#include "src/dev/virtio/virtio_priv.h"

struct virtq_desc virtq_desc_split(const uint8_t *at)
{
	uint8_t copy[VIRTQ_DESC_LEN];

	memcpy(copy, at, sizeof(copy));
	return (struct virtq_desc){ .addr = ld_le64(copy), .len = ld_le32(copy + 8),
				    .flags = ld_le16(copy + 12), .next = ld_le16(copy + 14) };
}

struct virtq_desc virtq_desc_packed(const uint8_t *at)
{
	uint8_t copy[VIRTQ_DESC_LEN];

	memcpy(copy, at, sizeof(copy));
	return (struct virtq_desc){ .addr = ld_le64(copy), .len = ld_le32(copy + 8),
				    .id = ld_le16(copy + 12), .flags = ld_le16(copy + 14) };
}

static bool bad(struct virtq_chain *c, const char *why)
{
	c->why = why;
	return false;
}

/* One descriptor's memory. It may lie in several blocks. */
static bool add(struct virtq_chain *c, const struct virtq_desc *d)
{
	bool in = d->flags & VIRTQ_DESC_F_WRITE;
	struct mem *m = c->q->dev->env->mem;
	uint64_t left = d->len;
	gpa_t at = d->addr;

	if (!d->len)
		return bad(c, "an empty descriptor");
	if (!in && c->in_num)
		return bad(c, "a descriptor to be read after one to be written");
	while (left) {
		struct mem_slot s;
		unsigned n = c->out_num + c->in_num;
		uint64_t part;

		if (!mem_slot_at(m, at, &s) || !s.readable || (in && !s.writable))
			return bad(c, "a descriptor that points outside of memory");
		if (n == array_size(c->iov))
			return bad(c, "a chain in too many pieces");
		part = min_of(left, s.len - (at - s.gpa));
		c->iov[n] = (struct iovec){ s.host + (at - s.gpa), part };
		if (in)
			c->in_num++;
		else
			c->out_num++;
		at += part;
		left -= part;
	}
	if (in)
		c->in_len += d->len;
	else
		c->out_len += d->len;
	if (c->in_len + c->out_len > UINT32_MAX) /* 2.7.5: 2^32 bytes at most */
		return bad(c, "a chain longer than 4 GiB");
	return true;
}

/* The indirect table that @d points at (2.7.5.3, 2.8.7). */
static bool add_indirect(struct virtq_chain *c, const struct virtq_desc *d, bool packed)
{
	struct virtio_dev *v = c->q->dev;
	unsigned count = d->len / VIRTQ_DESC_LEN, at = 0, taken = 0;
	const uint8_t *table = mem_ptr(v->env->mem, d->addr, d->len, false);

	if (!virtio_has(v, VIRTIO_F_INDIRECT_DESC))
		return bad(c, "an indirect descriptor, which was not negotiated");
	if (!d->len || d->len % VIRTQ_DESC_LEN)
		return bad(c, "an indirect table of odd length");
	if (count > VIRTQ_MAX_SIZE)
		return bad(c, "an indirect table of too many entries");
	for (;;) {
		uint8_t raw[VIRTQ_DESC_LEN];
		struct virtq_desc e;

		if (table)
			memcpy(raw, table + at * VIRTQ_DESC_LEN, sizeof(raw));
		else if (mem_read(v->env->mem, d->addr + at * VIRTQ_DESC_LEN, raw, sizeof(raw)))
			return bad(c, "an indirect table outside of memory");
		e = packed ? virtq_desc_packed(raw) : virtq_desc_split(raw);
		if (e.flags & VIRTQ_DESC_F_INDIRECT)
			return bad(c, "an indirect descriptor in an indirect table");
		if (!add(c, &e))
			return false;
		if (++taken > count)
			return bad(c, "an indirect table that loops");
		if (packed) { /* as many as the table is long, in order */
			if (++at == count)
				return true;
			continue;
		}
		if (!(e.flags & VIRTQ_DESC_F_NEXT))
			return true;
		at = e.next;
		if (at >= count)
			return bad(c, "a next field outside of its indirect table");
	}
}

bool virtq_gather_split(struct virtq_chain *c, uint16_t head)
{
	struct virtq *q = c->q;
	uint16_t at = head;

	for (;;) {
		struct virtq_desc d;

		if (at >= q->size)
			return bad(c, "a descriptor index outside of the ring");
		if (++c->ndesc > q->size)
			return bad(c, "a chain that loops");
		d = virtq_desc_split(q->p_desc + at * VIRTQ_DESC_LEN);
		if (d.flags & VIRTQ_DESC_F_INDIRECT) {
			if (d.flags & VIRTQ_DESC_F_NEXT)
				return bad(c, "an indirect descriptor that goes on");
			return add_indirect(c, &d, false);
		}
		if (!add(c, &d))
			return false;
		if (!(d.flags & VIRTQ_DESC_F_NEXT))
			return true;
		at = d.next;
	}
}

bool virtq_gather_packed(struct virtq_chain *c, uint16_t head, uint16_t *id, uint16_t *taken)
{
	struct virtq *q = c->q;
	uint16_t at = head;

	*taken = 0;
	for (;;) {
		struct virtq_desc d = virtq_desc_packed(q->p_desc + at * VIRTQ_DESC_LEN);

		if (++*taken > q->size)
			return bad(c, "a chain that loops");
		*id = d.id; /* the last one's counts */
		if (d.flags & VIRTQ_DESC_F_INDIRECT) {
			if (d.flags & VIRTQ_DESC_F_NEXT || *taken > 1)
				return bad(c, "an indirect descriptor within a chain");
			return add_indirect(c, &d, true);
		}
		if (!add(c, &d))
			return false;
		if (!(d.flags & VIRTQ_DESC_F_NEXT))
			return true;
		if (++at == q->size)
			at = 0;
	}
}

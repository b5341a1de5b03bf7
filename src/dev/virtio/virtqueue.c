/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings: taking buffers, giving them back, and who interrupts whom when. Split rings are
 * 2.7 of the specification, packed ones 2.8.
 *
 * Guest threads run beside this code: what they must see in order is put behind release
 * stores, and a full fence stands between "I wrote" and "has the other side written".
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "src/base/bits.h"
#include "src/dev/virtio/virtio_priv.h"

/* Packed rings' event suppression (2.8.10). */
#define EVENT_ENABLE 0u
#define EVENT_DISABLE 1u
#define EVENT_DESC 2u

static bool is_packed(const struct virtq *q)
{
	return virtio_has(q->dev, VIRTIO_F_RING_PACKED);
}

static bool event_idx(const struct virtq *q)
{
	return virtio_has(q->dev, VIRTIO_F_EVENT_IDX);
}

void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){
		.dev = q->dev, .index = q->index, .max_size = q->max_size, .size = q->max_size,
		.opaque = q->opaque, .vector = VIRTIO_NO_VECTOR,
		.avail_wrap = true, .used_wrap = true, .generation = q->generation + 1,
	};
}

void virtq_enable(struct virtq *q)
{
	q->enabled = true;
	q->mapped = 0;
}

/*
 * Where the parts are.
 */
static uint8_t *part(struct virtq *q, gpa_t at, uint64_t len, unsigned align, bool write,
		     const char *what)
{
	uint8_t *p = at & (align - 1) ? NULL : mem_ptr(q->dev->env->mem, at, len, write);

	if (!p)
		virtio_broken(q->dev, "queue %u: its %s at %#llx is no memory, or not aligned",
			      q->index, what, (unsigned long long)at);
	return p;
}

static bool map_rings(struct virtq *q)
{
	uint64_t now = atomic_load_explicit(&q->dev->env->mem->map_changes,
					    memory_order_acquire) + 1;
	uint64_t n = q->size, event = event_idx(q) ? 2 : 0;
	bool packed = is_packed(q);

	if (likely(q->mapped == now))
		return true;
	if (!n || (!packed && n & (n - 1))) {
		virtio_broken(q->dev, "queue %u: a ring of %u entries", q->index, q->size);
		return false;
	}
	/* A split ring's indices run freely; a packed one's are positions. */
	if (packed && (q->next_avail >= n || q->next_used >= n)) {
		virtio_broken(q->dev, "queue %u: position %u of a ring of %u", q->index,
			      max_of(q->next_avail, q->next_used), q->size);
		return false;
	}
	q->avail_seen = q->next_avail;
	q->p_desc = part(q, q->desc, n * VIRTQ_DESC_LEN, 16, packed, "descriptors");
	if (!q->p_desc)
		return false;
	q->p_driver = part(q, q->driver, packed ? 4 : 4 + 2 * n + event, packed ? 4 : 2, false,
			   "driver area");
	if (!q->p_driver)
		return false;
	q->p_device = part(q, q->device, packed ? 4 : 4 + 8 * n + event, 4, true, "device area");
	if (!q->p_device)
		return false;
	q->mapped = now;
	return true;
}

static bool usable(struct virtq *q)
{
	struct virtio_dev *v = q->dev;

	return q->enabled && virtio_running(v) &&
	       (!v->transport || v->transport_ops->may_dma(v->transport)) && map_rings(q);
}

static uint16_t load16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void store16(struct virtq *q, uint8_t *p, uint16_t val)
{
	__atomic_store_n((uint16_t *)(void *)p, val, __ATOMIC_RELEASE);
	mem_written(q->dev->env->mem, p, 2);
}

static void fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/*
 * Is there something?
 */
static bool has_split(struct virtq *q)
{
	if (q->avail_seen != q->next_avail)
		return true;
	q->avail_seen = load16(q->p_driver + 2);
	if ((uint16_t)(q->avail_seen - q->next_avail) > q->size) {
		virtio_broken(q->dev, "queue %u: the index went from %u to %u in a ring of %u",
			      q->index, q->next_avail, q->avail_seen, q->size);
		return false;
	}
	return q->avail_seen != q->next_avail;
}

static bool has_packed(struct virtq *q)
{
	uint16_t flags = load16(q->p_desc + q->next_avail * VIRTQ_DESC_LEN + 14);

	return !!(flags & VIRTQ_DESC_F_AVAIL) == q->avail_wrap &&
	       !!(flags & VIRTQ_DESC_F_USED) != q->avail_wrap;
}

static bool has_mapped(struct virtq *q)
{
	return is_packed(q) ? has_packed(q) : has_split(q);
}

bool virtq_has(struct virtq *q)
{
	return usable(q) && has_mapped(q);
}

/*
 * Taking.
 */
static bool gather(struct virtq_chain *c, uint16_t *id, uint16_t *taken)
{
	struct virtq *q = c->q;

	*taken = 1;
	if (is_packed(q))
		return virtq_gather_packed(c, q->next_avail, id, taken);
	*id = load16(q->p_driver + 4 + 2 * (q->next_avail & (q->size - 1u)));
	return virtq_gather_split(c, *id);
}

static void advance(struct virtq *q, uint16_t taken)
{
	unsigned at = q->next_avail + taken;

	if (is_packed(q) && at >= q->size) {
		at -= q->size;
		q->avail_wrap = !q->avail_wrap;
	}
	q->next_avail = (uint16_t)at;
}

/* The buffer at @id (split rings), or, @next, the one that comes next. */
static void *take(struct virtq *q, size_t size, uint16_t id, bool next)
{
	struct virtq_chain c; /* not all set: its pieces are many */
	size_t head = align_up(size, sizeof(void *)), len;
	struct virtq_elem *e;
	uint16_t taken = 1;

	c.q = q;
	c.out_num = c.in_num = c.ndesc = 0;
	c.out_len = c.in_len = 0;
	c.why = NULL;
	if (!(next ? gather(&c, &id, &taken) : virtq_gather_split(&c, id))) {
		virtio_broken(q->dev, "queue %u: %s", q->index, c.why);
		return NULL;
	}
	if (q->in_flight >= q->size || q->desc_in_flight + taken > q->size) {
		virtio_broken(q->dev, "queue %u: more buffers than entries", q->index);
		return NULL;
	}
	len = (c.out_num + c.in_num * 2) * sizeof(struct iovec);
	e = malloc(head + len);
	if (!e)
		return NULL; /* the buffer stays; memory may come back */
	memset(e, 0, head);
	e->q = q;
	e->generation = q->generation;
	e->id = id;
	e->ndesc = taken;
	e->out_num = c.out_num;
	e->in_num = e->whole_in_num = c.in_num;
	e->out_len = (uint32_t)c.out_len;
	e->in_len = (uint32_t)c.in_len;
	e->out = (struct iovec *)(void *)((char *)e + head);
	e->in = e->out + c.out_num;
	e->whole_in = e->in + c.in_num;
	memcpy(e->out, c.iov, (c.out_num + c.in_num) * sizeof(struct iovec));
	memcpy(e->whole_in, e->in, c.in_num * sizeof(struct iovec));
	if (next)
		advance(q, taken);
	q->in_flight++;
	q->desc_in_flight = (uint16_t)(q->desc_in_flight + taken);
	if (!is_packed(q))
		q->taken[id / 8] |= (uint8_t)(1u << (id % 8));
	return e;
}

void *virtq_pop(struct virtq *q, size_t size)
{
	return usable(q) && has_mapped(q) ? take(q, size, 0, true) : NULL;
}

void *virtq_retake(struct virtq *q, size_t size, uint16_t head)
{
	return usable(q) && !is_packed(q) ? take(q, size, head, false) : NULL;
}

/* @e is no longer in flight. */
static void landed(struct virtq *q, const struct virtq_elem *e)
{
	q->in_flight--;
	q->desc_in_flight = (uint16_t)(q->desc_in_flight - e->ndesc);
	if (!is_packed(q))
		q->taken[e->id / 8] &= (uint8_t)~(1u << (e->id % 8));
}

void virtq_unpop(struct virtq_elem *const *e, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct virtq *q = e[i]->q;
		int at = q->next_avail - e[i]->ndesc;

		if (e[i]->generation == q->generation) {
			if (is_packed(q) && at < 0) {
				at += q->size;
				q->avail_wrap = !q->avail_wrap;
			}
			q->next_avail = (uint16_t)at;
			landed(q, e[i]);
		}
		free(e[i]);
	}
}

/*
 * Giving back.
 */
static void use_split(struct virtq *q, const struct virtq_elem *e, uint32_t written, unsigned n)
{
	uint8_t *at = q->p_device + 4 + 8 * ((q->next_used + n) & (q->size - 1u));

	st_le32(at, e->id);
	st_le32(at + 4, written);
	mem_written(q->dev->env->mem, at, 8);
}

/* Writes a used descriptor but for its flags; they are returned. */
static uint16_t use_packed(struct virtq *q, const struct virtq_elem *e, uint32_t written,
			   uint8_t **at)
{
	uint16_t flags = q->used_wrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0;
	unsigned next = q->next_used + e->ndesc;

	*at = q->p_desc + q->next_used * VIRTQ_DESC_LEN;
	st_le32(*at + 8, written);
	st_le16(*at + 12, e->id);
	if (written)
		flags |= VIRTQ_DESC_F_WRITE;
	if (next >= q->size) {
		next -= q->size;
		q->used_wrap = !q->used_wrap;
		q->signalled_valid = false; /* positions start again */
	}
	q->next_used = (uint16_t)next;
	mem_written(q->dev->env->mem, *at + 8, 8);
	return flags;
}

static void push_split(struct virtq *q, struct virtq_elem *const *e, const uint32_t *written,
		       unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		use_split(q, e[i], written[i], i);
	q->next_used = (uint16_t)(q->next_used + n);
	store16(q, q->p_device + 2, q->next_used);
}

/* The first descriptor's flags come last: with them the driver sees the rest (2.8.6). */
static void push_packed(struct virtq *q, struct virtq_elem *const *e, const uint32_t *written,
			unsigned n)
{
	uint8_t *first = NULL, *at;
	uint16_t first_flags = 0, flags;

	for (unsigned i = 0; i < n; i++) {
		flags = use_packed(q, e[i], written[i], &at);
		if (i)
			store16(q, at + 14, flags);
		else
			first = at, first_flags = flags;
	}
	store16(q, first + 14, first_flags);
}

void virtq_drop(struct virtq_elem *e)
{
	struct virtq *q = e->q;

	if (e->generation == q->generation)
		landed(q, e);
	free(e);
}

void virtq_push_many(struct virtq_elem *const *e, const uint32_t *written, unsigned n)
{
	struct virtq *q = n ? e[0]->q : NULL;
	struct mem *m = n ? q->dev->env->mem : NULL;

	/* Memory that was written is written, whatever became of the ring. */
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < e[i]->whole_in_num; k++)
			mem_written(m, e[i]->whole_in[k].iov_base, e[i]->whole_in[k].iov_len);
	if (n && e[0]->generation == q->generation && usable(q)) {
		if (is_packed(q))
			push_packed(q, e, written, n);
		else
			push_split(q, e, written, n);
	}
	for (unsigned i = 0; i < n; i++)
		virtq_drop(e[i]);
}

void virtq_push(struct virtq_elem *e, uint32_t written)
{
	virtq_push_many(&e, &written, 1);
}

/*
 * Interrupts and notifications.
 */

/* Did the index pass @event on its way from @old to @new (2.7.7.2)? */
static bool passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static bool wanted_split(struct virtq *q)
{
	uint16_t old = q->signalled, new = q->next_used;
	bool valid = q->signalled_valid;

	if (!event_idx(q))
		return !(load16(q->p_driver) & 1);
	q->signalled = new;
	q->signalled_valid = true;
	return !valid || passed(load16(q->p_driver + 4 + 2 * q->size), new, old);
}

static bool wanted_packed(struct virtq *q)
{
	uint32_t raw = __atomic_load_n((const uint32_t *)(const void *)q->p_driver,
				       __ATOMIC_ACQUIRE);
	uint16_t old = q->signalled, new = q->next_used, event = raw & 0x7fff;
	bool valid = q->signalled_valid, wrap = raw >> 15 & 1;
	unsigned how = raw >> 16 & 3;

	q->signalled = new;
	q->signalled_valid = true;
	if (how != EVENT_DESC || !event_idx(q))
		return how != EVENT_DISABLE;
	if (wrap != q->used_wrap)
		event = (uint16_t)(event - q->size);
	return !valid || passed(event, new, old);
}

void virtq_interrupt(struct virtq *q)
{
	if (!usable(q) || !q->dev->transport)
		return;
	fence();
	if (is_packed(q) ? wanted_packed(q) : wanted_split(q))
		q->dev->transport_ops->queue_irq(q->dev->transport, q);
}

static void tell_split(struct virtq *q, bool on)
{
	if (event_idx(q)) {
		if (on) /* else the old index stays, which is behind us */
			store16(q, q->p_device + 4 + 8 * q->size, q->next_avail);
		return;
	}
	store16(q, q->p_device, on ? 0 : 1);
}

static void tell_packed(struct virtq *q, bool on)
{
	if (on && event_idx(q)) {
		store16(q, q->p_device, (uint16_t)(q->next_avail | q->avail_wrap << 15));
		store16(q, q->p_device + 2, EVENT_DESC);
		return;
	}
	store16(q, q->p_device + 2, on ? EVENT_ENABLE : EVENT_DISABLE);
}

bool virtq_listen(struct virtq *q, bool on)
{
	if (!usable(q))
		return false;
	if (on || !q->quiet) {
		if (is_packed(q))
			tell_packed(q, on);
		else
			tell_split(q, on);
	}
	q->quiet = !on;
	if (!on)
		return false;
	fence();
	return has_mapped(q);
}

void *virtq_pop_or_listen(struct virtq *q, size_t size)
{
	void *e = virtq_pop(q, size);

	return !e && virtq_listen(q, true) ? virtq_pop(q, size) : e;
}

void virtq_serve(struct virtq *q, size_t size, void (*fn)(void *req))
{
	unsigned left = q->size, before;
	void *req;

	do {
		before = left;
		virtq_listen(q, false);
		while (left && (req = virtq_pop(q, size))) {
			left--;
			fn(req);
		}
	} while (virtq_listen(q, true) && left && left != before);
	if (virtq_has(q)) /* others' turn; or we are out of memory */
		virtq_again(q);
}

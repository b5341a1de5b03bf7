/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "src/base/bits.h"
#include "src/block/block.h"

/* A walk over a vector's pieces, starting at a byte offset. */
struct walk {
	const struct block_vec *v;
	unsigned i;
	size_t skip;
};

static struct walk walk_at(const struct block_vec *v, size_t voff)
{
	struct walk w = { v, 0, voff };

	while (w.i < v->niov && w.skip >= v->iov[w.i].iov_len)
		w.skip -= v->iov[w.i++].iov_len;
	return w;
}

/* The next piece, at most @len bytes; 0 at the vector's end. */
static size_t walk_next(struct walk *w, size_t len, uint8_t **p)
{
	size_t n;

	while (w->i < w->v->niov && w->skip == w->v->iov[w->i].iov_len) {
		w->i++;
		w->skip = 0;
	}
	if (w->i >= w->v->niov || !len)
		return 0;
	n = min_of(len, w->v->iov[w->i].iov_len - w->skip);
	*p = (uint8_t *)w->v->iov[w->i].iov_base + w->skip;
	w->skip += n;
	return n;
}

size_t block_vec_len(const struct block_vec *v)
{
	size_t n = 0;

	for (unsigned i = 0; i < v->niov; i++)
		n += v->iov[i].iov_len;
	return n;
}

void block_vec_read(const struct block_vec *v, size_t voff, void *buf, size_t len)
{
	struct walk w = walk_at(v, voff);
	uint8_t *dst = buf, *p;
	size_t n;

	while ((n = walk_next(&w, len, &p))) {
		memcpy(dst, p, n);
		dst += n;
		len -= n;
	}
}

void block_vec_write(const struct block_vec *v, size_t voff, const void *buf, size_t len)
{
	struct walk w = walk_at(v, voff);
	const uint8_t *src = buf;
	uint8_t *p;
	size_t n;

	while ((n = walk_next(&w, len, &p))) {
		memcpy(p, src, n);
		src += n;
		len -= n;
	}
}

void block_vec_zero(const struct block_vec *v, size_t voff, size_t len)
{
	struct walk w = walk_at(v, voff);
	uint8_t *p;
	size_t n;

	while ((n = walk_next(&w, len, &p))) {
		memset(p, 0, n);
		len -= n;
	}
}

unsigned block_vec_slice(const struct block_vec *v, size_t voff, size_t len, struct iovec *out,
			 unsigned max, size_t *got)
{
	struct walk w = walk_at(v, voff);
	unsigned cnt = 0;
	uint8_t *p;
	size_t n;

	*got = 0;
	while (cnt < max && (n = walk_next(&w, len, &p))) {
		out[cnt].iov_base = p;
		out[cnt++].iov_len = n;
		*got += n;
		len -= n;
	}
	return cnt;
}

bool block_is_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;
	size_t head = min_of(len, (size_t)16);

	for (size_t i = 0; i < head; i++)
		if (p[i])
			return false;
	if (len <= 16)
		return true;
	/* The first 16 bytes are zero: all is if each byte equals the one 16 before it.
	 * memcmp() is the host's fastest loop over bytes. */
	return memcmp(p, p + 16, len - 16) == 0;
}

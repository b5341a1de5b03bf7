/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/iov.h"

#include <string.h>

#include "src/base/bits.h"

size_t iov_size(const struct iovec *iov, unsigned n)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

enum how { TO_BUF, FROM_BUF, SET };

static size_t walk(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len,
		   enum how how, int byte)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		uint8_t *at = (uint8_t *)iov[i].iov_base + off;
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = min_of(iov[i].iov_len - off, len - done);
		if (how == TO_BUF)
			memcpy((uint8_t *)buf + done, at, part);
		else if (how == FROM_BUF)
			memcpy(at, (const uint8_t *)buf + done, part);
		else
			memset(at, byte, part);
		done += part;
		off = 0;
	}
	return done;
}

size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len)
{
	return walk(iov, n, off, buf, len, TO_BUF, 0);
}

size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len)
{
	return walk(iov, n, off, (void *)(uintptr_t)buf, len, FROM_BUF, 0);
}

size_t iov_set(const struct iovec *iov, unsigned n, size_t off, int byte, size_t len)
{
	return walk(iov, n, off, NULL, len, SET, byte);
}

size_t iov_cut_front(struct iovec **iov, unsigned *n, size_t len)
{
	size_t cut = 0;

	while (*n && cut < len) {
		size_t part = min_of((*iov)->iov_len, len - cut);

		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + part;
		(*iov)->iov_len -= part;
		cut += part;
		if (!(*iov)->iov_len) {
			++*iov;
			--*n;
		}
	}
	return cut;
}

size_t iov_cut_back(struct iovec *iov, unsigned *n, size_t len)
{
	size_t cut = 0;

	while (*n && cut < len) {
		struct iovec *last = &iov[*n - 1];
		size_t part = min_of(last->iov_len, len - cut);

		last->iov_len -= part;
		cut += part;
		if (!last->iov_len)
			--*n;
	}
	return cut;
}

unsigned iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len,
		   struct iovec *out, unsigned max)
{
	unsigned got = 0;

	for (unsigned i = 0; i < n && len && got < max; i++) {
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = min_of(iov[i].iov_len - off, len);
		out[got++] = (struct iovec){ (uint8_t *)iov[i].iov_base + off, part };
		len -= part;
		off = 0;
	}
	return got;
}

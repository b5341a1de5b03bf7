/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory in pieces: copying to and from, cutting off at either end. */
#ifndef BOTHY_BASE_IOV_H
#define BOTHY_BASE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

size_t iov_size(const struct iovec *iov, unsigned n);
/* Copies up to @len bytes from byte @off of the pieces, or into them; returns how many. */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len);
size_t iov_set(const struct iovec *iov, unsigned n, size_t off, int byte, size_t len);
/* Cuts @len bytes off the front or the back, dropping pieces that become empty. Returns
 * how many were there to cut. */
size_t iov_cut_front(struct iovec **iov, unsigned *n, size_t len);
size_t iov_cut_back(struct iovec *iov, unsigned *n, size_t len);
/* Up to @max pieces in @out that cover @len bytes (or less, if there are not so many)
 * from byte @off on. Returns their number. */
unsigned iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len,
		   struct iovec *out, unsigned max);

#endif

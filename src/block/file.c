/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The protocol of host files and block devices: plain positioned I/O, with holes
 * asked of and given to the file system. With O_DIRECT what is not aligned goes
 * through a bounce buffer; unaligned writes then lock the edge blocks they merge.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/block.h"
#include "src/block/lock.h"
#include "src/block/place.h"
#include "src/block/range.h"

enum { SLICE = 64, BOUNCE = 1 << 20, CLAIM_BYTES = 128 << 10 };

struct file {
	const struct block_node *node;
	int fd;
	bool blkdev, direct, fresh;
	/* The file system said it cannot. */
	atomic_bool no_punch, no_zero_range, no_seek, no_nowait, no_claim;
	size_t align;                                 /* of offset, length, memory with O_DIRECT */
	struct range_set merges;
	/* The last stretch of data that was found: asking a file system for the end of
	 * one can be slow, and it is asked piece by piece. */
	pthread_mutex_t seen_lock;
	uint64_t seen_start, seen_end;
};

static bool unsupported(int e) { return e == EOPNOTSUPP || e == ENOSYS || e == ENODEV || e == ENOTTY; }

static int file_errno(void) { return errno ? -errno : -EIO; }

/* Positioned I/O of one vector until @len bytes are done. Reads give zeroes past the end;
 * but a file that ends before where it ended when it was opened has lost what it held. */
static int file_rw(struct file *f, uint64_t off, size_t len, const struct block_vec *v, size_t voff,
		   bool write)
{
	struct iovec iov[SLICE];

	while (len) {
		size_t got;
		unsigned cnt = block_vec_slice(v, voff, len, iov, SLICE, &got);
		ssize_t n = write ? pwritev(f->fd, iov, cnt, (off_t)off)
				  : preadv(f->fd, iov, cnt, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return file_errno();
		if (n == 0 && write)
			return -ENOSPC;
		if (n == 0 && off < f->node->len)
			return -EIO;
		if (n == 0) {
			block_vec_zero(v, voff, len);
			return 0;
		}
		off += n;
		voff += n;
		len -= n;
	}
	return 0;
}

static bool vec_aligned(const struct file *f, uint64_t off, size_t len, const struct block_vec *v,
			size_t voff)
{
	struct iovec iov[SLICE];
	size_t mask = f->align - 1;

	if ((off | len) & mask)
		return false;
	while (len) {
		size_t got;
		unsigned cnt = block_vec_slice(v, voff, len, iov, SLICE, &got);

		for (unsigned i = 0; i < cnt; i++)
			if (((uintptr_t)iov[i].iov_base | iov[i].iov_len) & mask)
				return false;
		voff += got;
		len -= got;
	}
	return true;
}

static int bounce_read(struct file *f, uint64_t off, uint8_t *buf, size_t len)
{
	struct iovec iov = { buf, len };
	struct block_vec v = { &iov, 1 };

	return file_rw(f, off, len, &v, 0, false);
}

/* One bounce buffer's worth with O_DIRECT. Returns bytes done or -errno. */
static ssize_t bounce_step(struct file *f, uint8_t *buf, uint64_t off, size_t len,
			   const struct block_vec *v, size_t voff, bool write)
{
	uint64_t lo = align_down(off, f->align), hi = align_up(off + len, f->align);
	struct iovec iov = { buf, 0 };
	struct block_vec bv = { &iov, 1 };
	int rc;

	if (hi - lo > BOUNCE)
		hi = lo + BOUNCE;
	len = min_of(len, hi - off);
	iov.iov_len = hi - lo;
	if (!write || lo != off || hi != off + len) {
		rc = bounce_read(f, lo, buf, hi - lo);
		if (rc)
			return rc;
	}
	if (!write) {
		block_vec_write(v, voff, buf + (off - lo), len);
		return (ssize_t)len;
	}
	block_vec_read(v, voff, buf + (off - lo), len);
	rc = file_rw(f, lo, hi - lo, &bv, 0, true);
	return rc ? rc : (ssize_t)len;
}

static int bounce_rw(struct file *f, uint64_t off, size_t len, const struct block_vec *v,
		     size_t voff, bool write)
{
	struct range r;
	uint8_t *buf;
	int rc = 0;

	if (posix_memalign((void **)&buf, 4096, BOUNCE))
		return -ENOMEM;
	range_lock(&f->merges, &r, align_down(off, f->align), align_up(off + len, f->align), write);
	while (len && rc >= 0) {
		ssize_t n = bounce_step(f, buf, off, len, v, voff, write);

		rc = n < 0 ? (int)n : 0;
		if (n > 0) {
			off += n;
			voff += n;
			len -= n;
		}
	}
	range_unlock(&f->merges, &r);
	free(buf);
	return rc;
}

static int file_any(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		    size_t voff, bool write)
{
	struct file *f = n->priv;
	struct range r;
	int rc;

	if (off > INT64_MAX - len)
		return -EFBIG;
	if (!f->direct)
		return file_rw(f, off, len, v, voff, write);
	if (!vec_aligned(f, off, len, v, voff))
		return bounce_rw(f, off, len, v, voff, write);
	if (!write)
		return file_rw(f, off, len, v, voff, false);
	range_lock(&f->merges, &r, off, off + len, false);
	rc = file_rw(f, off, len, v, voff, true);
	range_unlock(&f->merges, &r);
	return rc;
}

static int file_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	return file_any(n, off, len, v, voff, false);
}

/* What the host's page cache holds. */
static int file_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
			      const struct block_vec *v, size_t voff)
{
	struct file *f = n->priv;
	struct iovec iov[SLICE];
	size_t got;
	unsigned cnt;
	ssize_t r;

	if (f->direct || atomic_load(&f->no_nowait) || off > INT64_MAX - len)
		return -EAGAIN;
	cnt = block_vec_slice(v, voff, len, iov, SLICE, &got);
	if (got < len)
		return -EAGAIN;
	r = preadv2(f->fd, iov, (int)cnt, (off_t)off, RWF_NOWAIT);
	if (r < 0 && unsupported(errno))
		atomic_store(&f->no_nowait, true);
	return r == (ssize_t)len ? 0 : -EAGAIN;
}

static int file_place(struct block_node *n, uint64_t off, size_t len, bool write,
		      struct block_place *p)
{
	struct file *f = n->priv;

	if (f->fresh || (f->direct && (off | len) & (f->align - 1)))
		return -EAGAIN;
	p->fd = f->fd;
	p->off = off;
	p->direct = f->direct;
	p->align = f->direct ? f->align : 1;
	return f->direct && write ? block_place_hold(p, &f->merges, off, off + len, false) : 0;
}

static int file_flush(struct block_node *n)
{
	struct file *f = n->priv;

	return fdatasync(f->fd) < 0 ? file_errno() : 0;
}

static void forget_seen(struct file *f)
{
	pthread_mutex_lock(&f->seen_lock);
	f->seen_end = 0;
	pthread_mutex_unlock(&f->seen_lock);
}

static int file_write_zeroes(struct block_node *n, uint64_t off, uint64_t len)
{
	static const uint8_t zeroes[65536] __attribute__((aligned(4096)));
	struct iovec iov = { (void *)zeroes, 0 };
	struct block_vec v = { &iov, 1 };
	int rc = 0;

	while (len && !rc) {
		iov.iov_len = min_of(len, sizeof(zeroes));
		rc = file_any(n, off, iov.iov_len, &v, 0, true);
		off += iov.iov_len;
		len -= iov.iov_len;
	}
	return rc;
}

/* fallocate on files, the matching ioctl on devices. 1: cannot, do it by hand. */
static int try_falloc(struct file *f, int mode, unsigned long req, atomic_bool *cannot,
		      uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };
	struct range hold;
	int rc, e;

	if (atomic_load(cannot) || (f->blkdev && (off | len) % 4096))
		return 1;
	/* Not between the reading and the writing of a block that somebody merges into. */
	if (f->direct)
		range_lock(&f->merges, &hold, align_down(off, f->align),
			   align_up(off + len, f->align), false);
	do
		rc = f->blkdev ? ioctl(f->fd, req, range) : fallocate(f->fd, mode, off, len);
	while (rc < 0 && errno == EINTR);
	e = errno;
	if (f->direct)
		range_unlock(&f->merges, &hold);
	errno = e;
	if (!rc)
		return 0;
	if (!unsupported(errno) && errno != EINVAL)
		return file_errno();
	atomic_store(cannot, true);
	return 1;
}

/*
 * Writing into space that is allocated already costs file systems less than finding it
 * page by page: for ext4 a third of all the time. Only exactly what is about to be
 * written, so the file is as sparse as before. An error is left to the write to meet.
 */
static void claim(struct file *f, uint64_t off, uint64_t len)
{
	int rc = try_falloc(f, FALLOC_FL_KEEP_SIZE, 0, &f->no_claim, off, len);

	if (rc)
		atomic_store(&f->no_claim, true);
}

static int file_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
			size_t voff)
{
	struct file *f = n->priv;

	if (f->fresh && len >= CLAIM_BYTES && off <= INT64_MAX - len && !atomic_load(&f->no_claim))
		claim(f, off, len);
	return file_any(n, off, len, v, voff, true);
}

static uint64_t fd_len(const struct file *f)
{
	uint64_t bytes = 0;
	struct stat st;

	if (f->blkdev)
		return ioctl(f->fd, BLKGETSIZE64, &bytes) < 0 ? 0 : bytes;
	return fstat(f->fd, &st) < 0 ? 0 : (uint64_t)st.st_size;
}

static int file_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	struct file *f = n->priv;
	uint64_t end;
	int rc;

	if (off > INT64_MAX - len)
		return -EFBIG;
	forget_seen(f);
	end = f->blkdev ? UINT64_MAX : fd_len(f);
	/* Past a regular file's end a longer file is all it takes. Not by ftruncate():
	 * another thread may be making it longer still. */
	if (off + len > end && unmap && !f->direct) {
		rc = file_write_zeroes(n, off + len - 1, 1);
		if (rc || off >= end)
			return rc;
		len = end - off;
	}
	rc = 1;
	if (unmap && !f->blkdev)
		rc = try_falloc(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, &f->no_punch, off,
				len);
	if (rc == 1)
		rc = try_falloc(f, FALLOC_FL_ZERO_RANGE, BLKZEROOUT, &f->no_zero_range, off, len);
	return rc == 1 ? file_write_zeroes(n, off, len) : rc;
}

static int file_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	struct file *f = n->priv;
	int rc;

	if (off > INT64_MAX - len)
		return -EFBIG;
	forget_seen(f);
	rc = try_falloc(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLKDISCARD, &f->no_punch,
			off, len);
	return rc == 1 ? 0 : rc;
}

/* Bytes of known data at @off, 0: not known. */
static uint64_t known_data(struct file *f, uint64_t off)
{
	uint64_t n = 0;

	pthread_mutex_lock(&f->seen_lock);
	if (off >= f->seen_start && off < f->seen_end)
		n = f->seen_end - off;
	pthread_mutex_unlock(&f->seen_lock);
	return n;
}

static int file_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	struct file *f = n->priv;
	uint64_t known;
	off_t data, hole;

	e->host_node = n;
	e->host_off = off;
	e->len = len;
	e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_DATA | BLOCK_EXT_HOST_OFF;
	if (f->blkdev || atomic_load(&f->no_seek) || off > INT64_MAX)
		return 0;
	known = known_data(f, off);
	if (known) {
		e->len = min_of(len, known);
		return 0;
	}
	data = lseek(f->fd, (off_t)off, SEEK_DATA);
	if (data < 0 && errno == ENXIO) { /* a hole to the end */
		e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_ZERO;
		return 0;
	}
	if (data < 0) {
		atomic_store(&f->no_seek, true);
		return 0;
	}
	if ((uint64_t)data > off) {
		e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_ZERO;
		e->len = min_of(len, (uint64_t)data - off);
		return 0;
	}
	hole = lseek(f->fd, (off_t)off, SEEK_HOLE);
	if (hole > (off_t)off) {
		e->len = min_of(len, (uint64_t)hole - off);
		pthread_mutex_lock(&f->seen_lock);
		f->seen_start = off;
		f->seen_end = (uint64_t)hole;
		pthread_mutex_unlock(&f->seen_lock);
	}
	return 0;
}

static int file_grow_prealloc(struct block_node *n, uint64_t from, uint64_t to,
			      enum block_prealloc p)
{
	struct file *f = n->priv;
	int rc;

	if (p == BLOCK_PREALLOC_FULL)
		return file_write_zeroes(n, from, to - from);
	if (p != BLOCK_PREALLOC_FALLOC)
		return 0;
	do
		rc = posix_fallocate(f->fd, (off_t)from, (off_t)(to - from));
	while (rc == EINTR);
	return -rc;
}

static int file_resize(struct block_node *n, uint64_t len, enum block_prealloc p, struct err *err)
{
	struct file *f = n->priv;
	uint64_t old = fd_len(f);
	int rc = 0;

	forget_seen(f);
	if (f->blkdev) {
		if (len <= old)
			return 0;
		return err_set(err, -ENOSPC, "block device '%s' holds %llu bytes, %llu are needed",
			       n->path, (unsigned long long)old, (unsigned long long)len);
	}
	if (len > INT64_MAX)
		rc = -EFBIG;
	else if (ftruncate(f->fd, (off_t)len) < 0)
		rc = file_errno();
	else if (len > old)
		rc = file_grow_prealloc(n, old, len, p);
	if (rc) {
		if (len > old && ftruncate(f->fd, (off_t)old) < 0)
			err_set(err, rc, "cannot take back the growth of '%s'", n->path);
		return err_set(err, rc, "cannot resize '%s' to %llu bytes: %s", n->path,
			       (unsigned long long)len, strerror(-rc));
	}
	n->len = len;
	return 0;
}

static void file_find_align(struct file *f)
{
	int lbs = 0;

	f->align = 4096; /* enough for every device and file system in use */
	if (f->blkdev && ioctl(f->fd, BLKSSZGET, &lbs) == 0 && lbs >= 512 && lbs <= 4096)
		f->align = (size_t)lbs;
}

static int file_check_kind(struct block_node *n, struct file *f, struct err *err)
{
	struct stat st;
	int flags;

	if (fstat(f->fd, &st) < 0)
		return err_set(err, -errno, "cannot open '%s': %s", n->path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "cannot open '%s': it is a directory", n->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, -ENOTBLK,
			       "cannot open '%s': it is neither a file nor a block device",
			       n->path);
	f->blkdev = S_ISBLK(st.st_mode);
	f->fresh = !f->blkdev && n->open_flags & BLOCK_OPEN_FRESH;
	flags = fcntl(f->fd, F_GETFL); /* O_NONBLOCK was only for the open itself */
	if (flags >= 0)
		fcntl(f->fd, F_SETFL, flags & ~O_NONBLOCK);
	return 0;
}

static int file_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	/* O_NONBLOCK: a FIFO someone put there must not hold us. */
	int mode = O_CLOEXEC | O_NONBLOCK | (o->flags & BLOCK_OPEN_WRITE ? O_RDWR : O_RDONLY);
	struct file *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return -ENOMEM;
	f->direct = o->cache == BLOCK_CACHE_NONE || o->cache == BLOCK_CACHE_DIRECTSYNC;
	f->fd = open(n->path, mode | (f->direct ? O_DIRECT : 0));
	if (f->fd < 0 && f->direct && errno == EINVAL) { /* tmpfs and others */
		f->direct = false;
		f->fd = open(n->path, mode);
	}
	if (f->fd < 0) {
		rc = err_set(err, -errno, "cannot open '%s': %s", n->path, strerror(errno));
		goto fail;
	}
	rc = file_check_kind(n, f, err);
	if (!rc && !(o->flags & BLOCK_OPEN_NO_LOCK))
		rc = block_lock_fd(f->fd, n->path, o->flags & BLOCK_OPEN_WRITE,
				   o->flags & BLOCK_OPEN_SHARE_RW, err);
	if (rc)
		goto fail_close;
	file_find_align(f);
	range_set_init(&f->merges);
	pthread_mutex_init(&f->seen_lock, NULL);
	n->priv = f;
	f->node = n;
	n->len = fd_len(f);
	n->io_align = (uint32_t)f->align;
	return 0;

fail_close:
	close(f->fd);
fail:
	free(f);
	return rc;
}

static int file_close(struct block_node *n)
{
	struct file *f = n->priv;
	int rc = close(f->fd) < 0 && errno != EINTR ? file_errno() : 0;

	range_set_fini(&f->merges);
	pthread_mutex_destroy(&f->seen_lock);
	free(f);
	return rc;
}

int block_file_lock(struct block_node *n, struct err *err)
{
	struct file *f = n->priv;

	if (n->desc != &block_file)
		return 0;
	return block_lock_fd(f->fd, n->path, n->writable, n->open_flags & BLOCK_OPEN_SHARE_RW, err);
}

int block_file_fd(const struct block_node *n)
{
	return n->desc == &block_file ? ((struct file *)n->priv)->fd : -1;
}

const struct block_format_desc block_file = {
	.name = "file",
	.title = "host file or block device",
	.protocol = true,
	.open = file_open,
	.close = file_close,
	.preadv = file_preadv,
	.preadv_nowait = file_preadv_nowait,
	.pwritev = file_pwritev,
	.place = file_place,
	.zero = file_zero,
	.discard = file_discard,
	.flush = file_flush,
	.status = file_status,
	.resize = file_resize,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/vm/save_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "src/base/bits.h"
#include "src/base/version.h"

#define MAGIC "bothySV\n"
#define FORMAT 1u
#define HEADER 64u
#define PROGRAM_LEN 40u
#define SECTION_MAGIC 0x74636573u /* "sect" */
/* Offsets in a section's header. */
enum { S_MAGIC = 0, S_CRC = 4, S_NAME = 8, S_INSTANCE = 40, S_VERSION = 44, S_FLAGS = 48,
       S_STORED = 52, S_PLAIN = 56, S_DATA_CRC = 60 };
/* Room to compress in that is there before anything is written. */
#define PACK_USUAL (2u << 20)
/* Fast, and guests' memory is mostly easy. */
#define ZSTD_LEVEL 1

static uint32_t crc(const void *p, size_t len)
{
	return (uint32_t)crc32(0, p, (uInt)len);
}

/* CRC of a header whose own CRC field stands at @at. */
static uint32_t header_crc(const uint8_t *h, size_t at)
{
	uint8_t copy[HEADER];

	memcpy(copy, h, HEADER);
	st_le32(copy + at, 0);
	return crc(copy, HEADER);
}

/*
 * Writing.
 */
struct save_writer {
	char *path, *temp;
	int fd;
	bool temp_made;
	uint64_t bytes;
	uint32_t sections;
	ZSTD_CCtx *zstd;
	uint8_t *packed;
	size_t packed_cap;
};

static int write_all(struct save_writer *w, const void *data, size_t len, struct err *err)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = write(w->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int e = n < 0 ? errno : ENOSPC;

			return err_set(err, -e, "'%s' cannot be written: %s", w->path,
				       strerror(e));
		}
		p += n;
		len -= (size_t)n;
		w->bytes += (uint64_t)n;
	}
	return 0;
}

static int write_header(struct save_writer *w, struct err *err)
{
	uint8_t h[HEADER] = { 0 };

	memcpy(h, MAGIC, 8);
	st_le32(h + 8, FORMAT);
	st_le64(h + 16, (uint64_t)time(NULL));
	snprintf((char *)h + 24, PROGRAM_LEN, "%s", BOTHY_VERSION);
	st_le32(h + 12, header_crc(h, 12));
	return write_all(w, h, HEADER, err);
}

struct save_writer *save_writer_new(const char *path, struct err *err)
{
	struct save_writer *w = calloc(1, sizeof(*w));
	struct stat st;

	if (!w)
		goto no_memory;
	w->fd = -1;
	w->path = strdup(path);
	if (!w->path || asprintf(&w->temp, "%s.XXXXXX", path) < 0) {
		w->temp = NULL;
		goto no_memory;
	}
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		err_set(err, -EINVAL, "'%s' is there already and is no file; name another", path);
		goto fail;
	}
	w->fd = mkostemp(w->temp, O_CLOEXEC);
	if (w->fd < 0) {
		err_set(err, -errno, "'%s' cannot be made: %s", path, strerror(errno));
		goto fail;
	}
	w->temp_made = true;
	w->zstd = ZSTD_createCCtx();
	w->packed_cap = ZSTD_compressBound(PACK_USUAL);
	w->packed = malloc(w->packed_cap);
	if (!w->zstd || !w->packed)
		goto no_memory;
	if (write_header(w, err) < 0)
		goto fail;
	return w;

no_memory:
	err_set(err, -ENOMEM, "there is not enough memory to save the machine; it goes on");
fail:
	save_writer_free(w);
	return NULL;
}

static int pack(struct save_writer *w, const void *data, size_t len, size_t *packed,
		struct err *err)
{
	size_t want = ZSTD_compressBound(len), n;

	if (want > w->packed_cap) {
		uint8_t *p = realloc(w->packed, want);

		if (!p)
			return err_set(err, -ENOMEM, "there is not enough memory to save the machine; it goes on");
		w->packed = p;
		w->packed_cap = want;
	}
	n = ZSTD_compressCCtx(w->zstd, w->packed, w->packed_cap, data, len, ZSTD_LEVEL);
	if (ZSTD_isError(n))
		return err_set(err, -EIO, "the machine's state cannot be compressed: %s",
			       ZSTD_getErrorName(n));
	*packed = n;
	return 0;
}

int save_writer_put(struct save_writer *w, const char *name, uint32_t instance, uint32_t version,
		    uint32_t flags, const void *data, size_t len, struct err *err)
{
	uint8_t h[HEADER] = { 0 };
	size_t stored = len;
	int ret;

	if (strlen(name) > SAVE_NAME_MAX || len > SAVE_SECTION_MAX)
		return err_set(err, -E2BIG, "the state of \"%s\" is too large to be saved "
			       "(%zu bytes)", name, len);
	if (flags & SAVE_ZSTD) {
		ret = pack(w, data, len, &stored, err);
		if (ret < 0)
			return ret;
		data = w->packed;
	}
	st_le32(h + S_MAGIC, SECTION_MAGIC);
	memcpy(h + S_NAME, name, strlen(name));
	st_le32(h + S_INSTANCE, instance);
	st_le32(h + S_VERSION, version);
	st_le32(h + S_FLAGS, flags);
	st_le32(h + S_STORED, (uint32_t)stored);
	st_le32(h + S_PLAIN, (uint32_t)len);
	st_le32(h + S_DATA_CRC, crc(data, stored));
	st_le32(h + S_CRC, header_crc(h, S_CRC));
	ret = write_all(w, h, HEADER, err);
	if (ret == 0)
		ret = write_all(w, data, stored, err);
	w->sections++;
	return ret;
}

/* The folder's entry must be on the disk too. */
static void sync_folder(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(copy);
}

int save_writer_finish(struct save_writer *w, struct err *err)
{
	uint8_t count[4];
	int ret;

	st_le32(count, w->sections);
	ret = save_writer_put(w, "end", 0, 1, 0, count, sizeof(count), err);
	if (ret < 0)
		return ret;
	/* Its mode stays mkostemp()'s 0600: a guest's memory holds secrets. */
	if (fsync(w->fd) < 0 || rename(w->temp, w->path) < 0)
		return err_set(err, -errno, "'%s' cannot be completed: %s", w->path,
			       strerror(errno));
	w->temp_made = false;
	sync_folder(w->path);
	return 0;
}

void save_writer_free(struct save_writer *w)
{
	if (!w)
		return;
	if (w->temp_made)
		unlink(w->temp);
	if (w->fd >= 0)
		close(w->fd);
	ZSTD_freeCCtx(w->zstd);
	free(w->packed);
	free(w->temp);
	free(w->path);
	free(w);
}

uint64_t save_writer_bytes(const struct save_writer *w)
{
	return w->bytes;
}

/*
 * Reading.
 */
struct save_reader {
	int fd;              /* -1: from memory */
	const uint8_t *mem;
	uint64_t pos, len;
	char program[PROGRAM_LEN + 1];
	char last[SAVE_NAME_MAX + 1]; /* the section before, for messages */
	uint32_t last_instance, sections;
	bool ended;
	uint8_t *stored, *plain;
	size_t stored_cap, plain_cap;
	ZSTD_DCtx *zstd;
};

/* 0, or -EIO; -ENODATA: the file ends before. */
static int read_all(struct save_reader *r, void *to, size_t len)
{
	uint8_t *p = to;

	if (len > r->len - r->pos)
		return -ENODATA;
	if (r->fd < 0) {
		memcpy(p, r->mem + r->pos, len);
		r->pos += len;
		return 0;
	}
	while (len) {
		ssize_t n = pread(r->fd, p, len, (off_t)r->pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len -= (size_t)n;
		r->pos += (uint64_t)n;
	}
	return 0;
}

static void printable(char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}

static int read_header(struct save_reader *r, struct err *err)
{
	uint8_t h[HEADER];
	int ret = read_all(r, h, HEADER);

	if (ret == -ENODATA || (ret == 0 && memcmp(h, MAGIC, 8) != 0))
		return err_set(err, -EINVAL, "it is no saved machine");
	if (ret < 0)
		return err_set(err, ret, "it cannot be read: %s", strerror(-ret));
	if (ld_le32(h + 12) != header_crc(h, 12))
		return err_set(err, -EINVAL, "the file's header is damaged (its checksum differs)");
	memcpy(r->program, h + 24, PROGRAM_LEN);
	printable(r->program);
	if (ld_le32(h + 8) != FORMAT)
		return err_set(err, -EINVAL, "the file's format is %u, this program (bothy %s) "
			       "knows %u; it was made by bothy %s: restore it with that or a "
			       "newer one", ld_le32(h + 8), BOTHY_VERSION, FORMAT, r->program);
	return 0;
}

static struct save_reader *reader_new(int fd, const void *mem, uint64_t len, struct err *err)
{
	struct save_reader *r = calloc(1, sizeof(*r));

	if (!r) {
		err_set(err, -ENOMEM, "out of memory");
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	r->fd = fd;
	r->mem = mem;
	r->len = len;
	r->zstd = ZSTD_createDCtx();
	if (!r->zstd) {
		err_set(err, -ENOMEM, "out of memory");
	} else if (read_header(r, err) == 0) {
		return r;
	}
	save_reader_free(r);
	return NULL;
}

struct save_reader *save_reader_new(const char *path, struct err *err)
{
	struct save_reader *r;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		err_set(err, -EINVAL, "'%s' cannot be restored: %s", path,
			fd < 0 ? strerror(errno) : "it is no file");
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	r = reader_new(fd, NULL, (uint64_t)st.st_size, err);
	if (!r)
		err_prefix(err, -EINVAL, "'%s' cannot be restored", path);
	return r;
}

struct save_reader *save_reader_mem(const void *data, size_t len, struct err *err)
{
	return reader_new(-1, data, len, err);
}

void save_reader_free(struct save_reader *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	ZSTD_freeDCtx(r->zstd);
	free(r->stored);
	free(r->plain);
	free(r);
}

static int grow(uint8_t **buf, size_t *cap, size_t want, struct err *err)
{
	uint8_t *p;

	if (want <= *cap)
		return 0;
	p = realloc(*buf, want);
	if (!p)
		return err_set(err, -ENOMEM, "out of memory");
	*buf = p;
	*cap = want;
	return 0;
}

/* Where no section's own name can be believed. */
static int broken_after(const struct save_reader *r, uint64_t at, const char *what, struct err *err)
{
	if (!r->sections)
		return err_set(err, -EINVAL, "the first section, at byte %" PRIu64 ", %s", at,
			       what);
	return err_set(err, -EINVAL, "the section after \"%s\" number %u, at byte %" PRIu64 ", %s",
		       r->last, r->last_instance, at, what);
}

static int broken(const struct save_section *s, const char *what, struct err *err)
{
	return err_set(err, -EINVAL, "section \"%s\" number %u, at byte %" PRIu64 ", %s", s->name,
		       s->instance, s->offset, what);
}

static int read_data(struct save_reader *r, struct save_section *s, const uint8_t *h,
		     struct err *err)
{
	uint32_t stored = ld_le32(h + S_STORED), plain = ld_le32(h + S_PLAIN);
	size_t n;
	int ret;

	if (stored > SAVE_SECTION_MAX || plain > SAVE_SECTION_MAX ||
	    (!(s->flags & SAVE_ZSTD) && stored != plain))
		return broken(s, "has an impossible length", err);
	/* Before memory is asked for: a short file promises nothing. */
	if (stored > r->len - r->pos)
		return broken(s, "is cut off: the file ends in it", err);
	ret = grow(&r->stored, &r->stored_cap, stored ? stored : 1, err);
	if (ret < 0)
		return ret;
	ret = read_all(r, r->stored, stored);
	if (ret == -ENODATA)
		return broken(s, "is cut off: the file ends in it", err);
	if (ret < 0)
		return err_set(err, ret, "section \"%s\" cannot be read: %s", s->name,
			       strerror(-ret));
	if (crc(r->stored, stored) != ld_le32(h + S_DATA_CRC))
		return broken(s, "is damaged (its checksum differs)", err);
	s->data = r->stored;
	s->len = plain;
	if (!(s->flags & SAVE_ZSTD))
		return 0;
	ret = grow(&r->plain, &r->plain_cap, plain ? plain : 1, err);
	if (ret < 0)
		return ret;
	n = ZSTD_decompressDCtx(r->zstd, r->plain, plain, r->stored, stored);
	if (ZSTD_isError(n) || n != plain)
		return broken(s, "does not decompress to what it says", err);
	s->data = r->plain;
	return 0;
}

static int check_end(struct save_reader *r, const struct save_section *s, struct err *err)
{
	if (s->len != 4 || ld_le32(s->data) != r->sections)
		return broken(s, "counts other sections than there are: some are missing", err);
	if (r->pos != r->len)
		return broken(s, "is not the last thing in the file", err);
	r->ended = true;
	return 1;
}

int save_reader_next(struct save_reader *r, struct save_section *s, struct err *err)
{
	uint64_t at = r->pos;
	uint8_t h[HEADER];
	int ret;

	if (r->ended)
		return 1;
	ret = read_all(r, h, HEADER);
	if (ret == -ENODATA)
		return broken_after(r, at, "is cut off: the file ends before its section \"end\"",
				    err);
	if (ret < 0)
		return err_set(err, ret, "it cannot be read: %s", strerror(-ret));
	if (ld_le32(h + S_MAGIC) != SECTION_MAGIC || ld_le32(h + S_CRC) != header_crc(h, S_CRC))
		return broken_after(r, at, "is damaged (the checksum of its header differs)", err);
	memset(s, 0, sizeof(*s));
	memcpy(s->name, h + S_NAME, SAVE_NAME_MAX);
	printable(s->name);
	s->instance = ld_le32(h + S_INSTANCE);
	s->version = ld_le32(h + S_VERSION);
	s->flags = ld_le32(h + S_FLAGS);
	s->offset = at;
	if (s->flags & ~SAVE_FLAGS)
		return err_set(err, -EINVAL, "section \"%s\" number %u is stored in a way that "
			       "this program (bothy %s) does not know; the file was made by bothy "
			       "%s: restore it with that or a newer one", s->name, s->instance,
			       BOTHY_VERSION, r->program);
	ret = read_data(r, s, h, err);
	if (ret < 0)
		return ret;
	if (strcmp(s->name, "end") == 0)
		return check_end(r, s, err);
	memcpy(r->last, s->name, sizeof(r->last));
	r->last_instance = s->instance;
	r->sections++;
	return 0;
}

const char *save_reader_program(const struct save_reader *r)
{
	return r->program;
}

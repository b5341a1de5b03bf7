/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/display/picture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "src/base/bits.h"

static uint8_t *put_rgb(uint8_t *p, const uint32_t *pixels, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		*p++ = (uint8_t)(pixels[i] >> 16);
		*p++ = (uint8_t)(pixels[i] >> 8);
		*p++ = (uint8_t)pixels[i];
	}
	return p;
}

static int encode_ppm(const uint32_t *pixels, unsigned width, unsigned height, uint8_t **buf,
		      size_t *len)
{
	size_t n = (size_t)width * height;
	int head;

	*buf = malloc(n * 3 + 40);
	if (!*buf)
		return -ENOMEM;
	head = snprintf((char *)*buf, 40, "P6\n%u %u\n255\n", width, height);
	*len = (size_t)(put_rgb(*buf + head, pixels, n) - *buf);
	return 0;
}

/*
 * PNG: a signature and chunks (length, name, data, CRC of name and data). The pixels
 * are one zlib stream in IDAT; each row is preceded by its filter, here always 0.
 */
static uint8_t *chunk(uint8_t *p, const char *name, const uint8_t *data, size_t len)
{
	st_be32(p, (uint32_t)len);
	memcpy(p + 4, name, 4);
	if (data && len)
		memmove(p + 8, data, len);
	st_be32(p + 8 + len, (uint32_t)crc32(0, p + 4, (unsigned)len + 4));
	return p + 12 + len;
}

static int encode_png(const uint32_t *pixels, unsigned width, unsigned height, uint8_t **buf,
		      size_t *len)
{
	static const uint8_t signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
	uint8_t header[13] = { [8] = 8 /* bits */, [9] = 2 /* RGB */ };
	size_t raw_len = ((size_t)width * 3 + 1) * height;
	uLongf z_len = compressBound(raw_len);
	uint8_t *raw = malloc(raw_len), *out = malloc(z_len + 100), *p = raw;

	if (!raw || !out)
		goto fail;
	for (unsigned y = 0; y < height; y++) {
		*p++ = 0;
		p = put_rgb(p, pixels + (size_t)y * width, width);
	}
	st_be32(header, width);
	st_be32(header + 4, height);
	memcpy(out, signature, 8);
	p = chunk(out + 8, "IHDR", header, sizeof(header));
	if (compress2(p + 8, &z_len, raw, raw_len, 6) != Z_OK)
		goto fail;
	p = chunk(p, "IDAT", p + 8, z_len);
	p = chunk(p, "IEND", NULL, 0);
	free(raw);
	*buf = out;
	*len = (size_t)(p - out);
	return 0;
fail:
	free(raw);
	free(out);
	return -ENOMEM;
}

int picture_encode(enum picture_format f, const uint32_t *pixels, unsigned width, unsigned height,
		   uint8_t **buf, size_t *len)
{
	*buf = NULL;
	*len = 0;
	if (!pixels || !width || !height)
		return -EINVAL;
	return f == PICTURE_PNG ? encode_png(pixels, width, height, buf, len)
				: encode_ppm(pixels, width, height, buf, len);
}

static int write_all(int fd, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Devices and pipes are written to; a file is made beside and then renamed. */
static int put_file(const char *path, const uint8_t *buf, size_t len)
{
	struct stat st;
	bool special = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	char *temp = NULL;
	int fd, ret;

	if (special) {
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	} else {
		if (asprintf(&temp, "%s.new-%d", path, (int)getpid()) < 0)
			return -ENOMEM;
		fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	}
	ret = fd < 0 ? -errno : write_all(fd, buf, len);
	if (fd >= 0 && close(fd) < 0 && ret == 0)
		ret = -errno;
	if (ret == 0 && temp && rename(temp, path) < 0)
		ret = -errno;
	if (ret < 0 && fd >= 0 && temp)
		unlink(temp);
	free(temp);
	return ret;
}

int picture_write(enum picture_format f, const uint32_t *pixels, unsigned width, unsigned height,
		  const char *path, struct err *err)
{
	uint8_t *buf;
	size_t len;
	int ret = picture_encode(f, pixels, width, height, &buf, &len);

	if (ret == -EINVAL)
		return err_set(err, ret, "the screen shows nothing yet");
	if (ret < 0)
		return err_set(err, ret, "out of memory for a picture of the screen");
	ret = put_file(path, buf, len);
	free(buf);
	if (ret < 0)
		return err_set(err, ret, "the picture '%s' cannot be written: %s", path,
			       strerror(-ret));
	return 0;
}

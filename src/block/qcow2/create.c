/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making images: the smallest one that opens is written, then opened and grown. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/qcow2/crypt.h"
#include "src/block/qcow2/qcow2.h"

struct recipe {
	unsigned version, cluster_bits, refcount_order, compression;
	bool lazy, ext_l2, data_raw, encrypt;
	const char *data_file;
	enum block_prealloc prealloc;
};

const struct block_create_opt qc_create_opts[] = {
	{ "compat", "v3|v2", "version of the format (also 1.1, 0.10)" },
	{ "cluster_size", "SIZE", "512 bytes to 2M, a power of two; 64k by default" },
	{ "refcount_bits", "1|2|4|8|16|32|64", "width of reference counts; 16 by default" },
	{ "lazy_refcounts", "on|off", "write reference counts late" },
	{ "extended_l2", "on|off", "clusters of 32 parts that are allocated one by one" },
	{ "compression_type", "zlib|zstd", "for compressed clusters" },
	{ "data_file", "FILE", "keep the disk's data in a file of its own" },
	{ "data_file_raw", "on|off", "... which is at all times a raw image of the disk" },
	{ "preallocation", "off|metadata|falloc|full", "reserve the space now" },
	{ "encrypt.format", "luks", "encrypt the disk; the passphrase comes with --key-file" },
	{ "encrypt.cipher-alg", "aes-128|aes-256", "aes-256 by default, in XTS mode" },
	{ "encrypt.hash-alg", "sha1|sha256|sha512", "sha256 by default" },
	{ "encrypt.iter-time", "MS", "how long trying one passphrase takes; 2000 by default" },
	{ "encrypt.key-secret", "ID", "as qemu-img names it" },
	{ NULL, NULL, NULL },
};

static int log2_of(uint64_t v)
{
	return v && !(v & (v - 1)) ? __builtin_ctzll(v) : -1;
}

static int read_version(const struct block_create *c, struct recipe *r, struct err *err)
{
	const char *v = block_opt(c, "compat");

	r->version = 3;
	if (!v || !strcmp(v, "v3") || !strcmp(v, "1.1"))
		return 0;
	if (strcmp(v, "v2") && strcmp(v, "0.10"))
		return err_set(err, -EINVAL, "option compat is v3 or v2, not '%s'", v);
	r->version = 2;
	return 0;
}

static int read_sizes(const struct block_create *c, struct recipe *r, struct err *err)
{
	uint64_t cluster = r->ext_l2 ? 128 << 10 : 64 << 10, refbits = 16;
	int rc = block_opt_size(c, "cluster_size", &cluster, err);

	if (!rc)
		rc = block_opt_size(c, "refcount_bits", &refbits, err);
	if (rc)
		return rc;
	if (log2_of(cluster) < QC_MIN_CLUSTER_BITS || log2_of(cluster) > QC_MAX_CLUSTER_BITS)
		return err_set(err, -EINVAL, "option cluster_size is a power of two from 512 to 2M");
	if (log2_of(refbits) < 0 || log2_of(refbits) > 6)
		return err_set(err, -EINVAL, "option refcount_bits is 1, 2, 4, 8, 16, 32 or 64");
	r->cluster_bits = (unsigned)log2_of(cluster);
	r->refcount_order = (unsigned)log2_of(refbits);
	return 0;
}

static int read_compression(const struct block_create *c, struct recipe *r, struct err *err)
{
	const char *v = block_opt(c, "compression_type");

	r->compression = QC_COMP_ZLIB;
	if (!v || !strcmp(v, "zlib"))
		return 0;
	if (strcmp(v, "zstd"))
		return err_set(err, -EINVAL, "option compression_type is zlib or zstd, not '%s'", v);
	r->compression = QC_COMP_ZSTD;
	return 0;
}

static int read_encryption(const struct block_create *c, struct recipe *r, struct err *err)
{
	const char *v = block_opt(c, "encrypt.format");

	r->encrypt = v;
	if (v && strcmp(v, "luks"))
		return err_set(err, -EINVAL, "option encrypt.format is luks, not '%s'", v);
	if (v && !c->secret)
		return err_set(err, -EINVAL, "an encrypted image needs a passphrase");
	if (v && block_opt(c, "data_file"))
		return err_set(err, -EINVAL, "an encrypted image has no external data file");
	return 0;
}

static int check_recipe(const struct block_create *c, const struct recipe *r, struct err *err)
{
	if (r->version < 3 && (r->lazy || r->ext_l2 || r->data_file || r->refcount_order != 4 ||
			       r->compression != QC_COMP_ZLIB))
		return err_set(err, -EINVAL, "qcow2 version 2 has no lazy_refcounts, extended_l2, "
					     "data_file, zstd or refcount_bits other than 16; use "
					     "compat=v3");
	if (r->ext_l2 && r->cluster_bits < 14)
		return err_set(err, -EINVAL, "extended_l2 needs a cluster_size of at least 16k");
	if (r->data_raw && !r->data_file)
		return err_set(err, -EINVAL, "data_file_raw needs data_file");
	if (r->data_raw && c->backing_path)
		return err_set(err, -EINVAL, "an image with a backing file cannot keep a raw copy of "
					     "its disk: leave out data_file_raw");
	if (c->backing_path && r->prealloc != BLOCK_PREALLOC_OFF)
		return err_set(err, -EINVAL, "preallocation would hide the backing file");
	if (c->backing_path && strlen(c->backing_path) > QC_MAX_BACKING)
		return err_set(err, -ENAMETOOLONG, "a backing file's name has at most %u bytes",
			       QC_MAX_BACKING);
	if (c->len % BLOCK_SECTOR)
		return err_set(err, -EINVAL, "a qcow2 disk's size is a multiple of %u bytes",
			       BLOCK_SECTOR);
	return 0;
}

static int read_recipe(const struct block_create *c, struct recipe *r, struct err *err)
{
	int rc;

	memset(r, 0, sizeof(*r));
	r->data_file = block_opt(c, "data_file");
	rc = read_version(c, r, err);
	if (!rc)
		rc = block_opt_bool(c, "lazy_refcounts", &r->lazy, err);
	if (!rc)
		rc = block_opt_bool(c, "extended_l2", &r->ext_l2, err);
	if (!rc)
		rc = block_opt_bool(c, "data_file_raw", &r->data_raw, err);
	if (!rc)
		rc = read_sizes(c, r, err);
	if (!rc)
		rc = read_compression(c, r, err);
	if (!rc)
		rc = read_encryption(c, r, err);
	if (!rc)
		rc = block_opt_prealloc(c, &r->prealloc, err);
	return rc ? rc : check_recipe(c, r, err);
}

/* Header, refcount table and one refcount block, a cluster each. No disk yet. */
static int write_seed(struct block_node *file, const struct recipe *r)
{
	uint64_t cs = 1ULL << r->cluster_bits, per = cs * 8 >> r->refcount_order;
	uint8_t *buf = calloc(3, cs), *rb;
	int rc;

	if (!buf)
		return -ENOMEM;
	st_be32(buf, QC_MAGIC);
	st_be32(buf + 4, r->version);
	st_be32(buf + 20, r->cluster_bits);
	st_be64(buf + 48, cs); /* refcount table */
	st_be32(buf + 56, 1);
	if (r->version >= 3) {
		st_be64(buf + 72, (r->ext_l2 ? QC_INCOMPAT_EXT_L2 : 0) |
					  (r->compression ? QC_INCOMPAT_COMPRESSION : 0));
		st_be64(buf + 80, r->lazy ? QC_COMPAT_LAZY : 0);
		st_be32(buf + 96, r->refcount_order);
		st_be32(buf + 100, 112);
		buf[104] = (uint8_t)r->compression;
	}
	st_be64(buf + cs, 2 * cs);
	rb = buf + 2 * cs;
	for (uint64_t i = 0; i < 3 && i < per; i++) {
		switch (r->refcount_order) {
		case 3: rb[i] = 1; break;
		case 4: st_be16(rb + i * 2, 1); break;
		case 5: st_be32(rb + i * 4, 1); break;
		case 6: st_be64(rb + i * 8, 1); break;
		default:
			rb[i << r->refcount_order >> 3] |=
				(uint8_t)(1u << (i << r->refcount_order & 7));
		}
	}
	rc = block_pwrite(file, 0, buf, 3 * cs);
	free(buf);
	return rc;
}

static int make_data_file(const struct block_create *c, const struct recipe *r, struct err *err)
{
	char *path = block_path_beside(c->path, r->data_file);
	int rc;

	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_create_proto(c, path, c->len, err);
	free(path);
	return rc;
}

/* Names in the header, then the disk at its size. */
static int dress(struct block_node *n, const struct block_create *c, const struct recipe *r,
		 struct err *err)
{
	struct qcow2 *q = n->priv;
	int rc = 0;

	if (c->backing_path) {
		n->backing_path = strdup(c->backing_path);
		n->backing_format = c->backing_format ? strdup(c->backing_format) : NULL;
		if (!n->backing_path || (c->backing_format && !n->backing_format))
			return err_set(err, -ENOMEM, "out of memory");
	}
	if (r->encrypt)
		rc = qc_crypt_create(q, c, err);
	if (rc)
		return rc;
	pthread_mutex_lock(&q->lock);
	rc = qc_header_rewrite(q, err);
	pthread_mutex_unlock(&q->lock);
	if (!rc)
		rc = block_resize(n, c->len, r->prealloc, err);
	return rc;
}

/* The external data file becomes the image's own: named in the header before the
 * image is opened for the first time. */
static int name_data_file(struct block_node *file, const struct recipe *r, struct err *err)
{
	uint64_t at = 112, cs = 1ULL << r->cluster_bits;
	size_t len = strlen(r->data_file);
	uint8_t h[8 + 8 + 1024], b[8];
	int rc;

	if (len > 1024 || at + 16 + len > cs)
		return err_set(err, -ENAMETOOLONG, "the name of the data file is too long");
	memset(h, 0, sizeof(h));
	st_be32(h, QC_EXT_DATA_FILE);
	st_be32(h + 4, (uint32_t)len);
	memcpy(h + 8, r->data_file, len);
	rc = block_pwrite(file, at, h, 8 + align_up(len, 8));
	st_be64(b, QC_INCOMPAT_DATA_FILE | (r->ext_l2 ? QC_INCOMPAT_EXT_L2 : 0) |
			   (r->compression ? QC_INCOMPAT_COMPRESSION : 0));
	if (!rc)
		rc = block_pwrite(file, 72, b, 8);
	st_be64(b, r->data_raw ? QC_AUTOCLEAR_DATA_RAW : 0);
	return rc ? rc : block_pwrite(file, 88, b, 8);
}

int qc_create(const struct block_create *c, struct err *err)
{
	/* A cut leaves no image that anybody was told of: who asked for it syncs once. */
	struct block_open_opts o = { .format = "qcow2", .host = c->host, .cache = BLOCK_CACHE_UNSAFE,
				     .flags = BLOCK_OPEN_WRITE | BLOCK_OPEN_NO_BACKING };
	struct block_node *file, *n;
	struct recipe r;
	int rc = read_recipe(c, &r, err);

	if (!rc)
		rc = block_create_proto(c, c->path, 0, err);
	if (!rc && r.data_file)
		rc = make_data_file(c, &r, err);
	if (!rc)
		rc = block_open_proto(c->path, BLOCK_OPEN_WRITE, BLOCK_CACHE_WRITEBACK, c->host, &file,
				      err);
	if (rc)
		return rc;
	rc = write_seed(file, &r);
	if (!rc && r.data_file)
		rc = name_data_file(file, &r, err);
	block_close(file);
	if (rc)
		return err_set(err, rc, "cannot write '%s': %s", c->path, strerror(-rc));
	rc = block_open(c->path, &o, &n, err);
	if (rc)
		return rc;
	rc = dress(n, c, &r, err);
	if (rc)
		block_node_poison(n);
	if (block_close(n) && !rc)
		rc = err_set(err, -EIO, "cannot write '%s'", c->path);
	return rc;
}

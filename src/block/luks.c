/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/luks.h"

#include <errno.h>
#include <nettle/pbkdf2.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <nettle/xts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "src/base/bits.h"

enum {
	L_VERSION = 6, L_CIPHER = 8, L_MODE = 40, L_HASH = 72, L_PAYLOAD = 104, L_KEY_BYTES = 108,
	L_DIGEST = 112, L_DIGEST_SALT = 132, L_DIGEST_ITER = 164, L_UUID = 168, L_SLOTS = 208,
	SLOT_BYTES = 48, SLOT_ITER = 4, SLOT_SALT = 8, SLOT_OFFSET = 40, SLOT_STRIPES = 44,
	SLOTS = 8, HEADER_BYTES = 592, DIGEST_BYTES = 20, SALT_BYTES = 32, STRIPES = 4000,
	FIRST_SLOT_SECTOR = 8, SLOT_ALIGN_SECTORS = 8, MAX_KEY = 64, MAX_PASS = 4096,
	MIN_ITER = 1000, BOUNCE = 1 << 20,
};
#define SLOT_ON 0x00ac71f3u
#define SLOT_OFF 0x0000deadu
static const uint8_t luks_magic[6] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

struct luks {
	unsigned key_bytes;
	union {
		struct xts_aes128_key k128;
		struct xts_aes256_key k256;
	} enc, dec;
};

struct hash { /* what LUKS needs of a hash function */
	const char *name;
	unsigned bytes;
	void (*digest)(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out);
	void (*pbkdf2)(size_t key_len, const uint8_t *key, unsigned iter, size_t salt_len,
		       const uint8_t *salt, size_t len, uint8_t *out);
};

static void digest_sha1(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out)
{
	struct sha1_ctx c;

	sha1_init(&c);
	sha1_update(&c, na, a);
	sha1_update(&c, nb, b);
	sha1_digest(&c, SHA1_DIGEST_SIZE, out);
}

static void digest_sha256(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out)
{
	struct sha256_ctx c;

	sha256_init(&c);
	sha256_update(&c, na, a);
	sha256_update(&c, nb, b);
	sha256_digest(&c, SHA256_DIGEST_SIZE, out);
}

static void digest_sha512(const uint8_t *a, size_t na, const uint8_t *b, size_t nb, uint8_t *out)
{
	struct sha512_ctx c;

	sha512_init(&c);
	sha512_update(&c, na, a);
	sha512_update(&c, nb, b);
	sha512_digest(&c, SHA512_DIGEST_SIZE, out);
}

static void kdf_sha1(size_t key_len, const uint8_t *key, unsigned iter, size_t salt_len,
		     const uint8_t *salt, size_t len, uint8_t *out)
{
	pbkdf2_hmac_sha1(key_len, key, iter, salt_len, salt, len, out);
}

static void kdf_sha256(size_t key_len, const uint8_t *key, unsigned iter, size_t salt_len,
		       const uint8_t *salt, size_t len, uint8_t *out)
{
	pbkdf2_hmac_sha256(key_len, key, iter, salt_len, salt, len, out);
}

static void kdf_sha512(size_t key_len, const uint8_t *key, unsigned iter, size_t salt_len,
		       const uint8_t *salt, size_t len, uint8_t *out)
{
	pbkdf2_hmac_sha512(key_len, key, iter, salt_len, salt, len, out);
}

static const struct hash hashes[] = {
	{ "sha1", SHA1_DIGEST_SIZE, digest_sha1, kdf_sha1 },
	{ "sha256", SHA256_DIGEST_SIZE, digest_sha256, kdf_sha256 },
	{ "sha512", SHA512_DIGEST_SIZE, digest_sha512, kdf_sha512 },
};

static const struct hash *find_hash(const char *name)
{
	for (size_t i = 0; i < array_size(hashes); i++)
		if (!strcmp(hashes[i].name, name))
			return &hashes[i];
	return NULL;
}

/* Each digest-sized part becomes H(number || part). */
static void diffuse(const struct hash *h, uint8_t *buf, size_t len)
{
	uint8_t out[SHA512_DIGEST_SIZE], num[4];

	for (size_t at = 0; at < len; at += h->bytes) {
		size_t n = min_of((size_t)h->bytes, len - at);

		st_be32(num, (uint32_t)(at / h->bytes));
		h->digest(num, 4, buf + at, n, out);
		memcpy(buf + at, out, n);
	}
	explicit_bzero(out, sizeof(out));
}

/* The anti-forensic merge: all stripes are needed to get the key back. */
static void af_merge(const struct hash *h, const uint8_t *in, unsigned stripes, uint8_t *key,
		     size_t len)
{
	memset(key, 0, len);
	for (unsigned s = 0; s < stripes; s++) {
		for (size_t i = 0; i < len; i++)
			key[i] ^= in[s * len + i];
		if (s + 1 < stripes)
			diffuse(h, key, len);
	}
}

static int random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int af_split(const struct hash *h, const uint8_t *key, size_t len, uint8_t *out)
{
	uint8_t d[MAX_KEY] = { 0 };
	int rc = random_bytes(out, len * (STRIPES - 1));

	for (unsigned s = 0; s + 1 < STRIPES; s++) {
		for (size_t i = 0; i < len; i++)
			d[i] ^= out[s * len + i];
		diffuse(h, d, len);
	}
	for (size_t i = 0; i < len; i++)
		out[(STRIPES - 1) * len + i] = d[i] ^ key[i];
	explicit_bzero(d, sizeof(d));
	return rc;
}

static void set_key(struct luks *l, const uint8_t *key, unsigned bytes)
{
	l->key_bytes = bytes;
	if (bytes == 32) {
		xts_aes128_set_encrypt_key(&l->enc.k128, key);
		xts_aes128_set_decrypt_key(&l->dec.k128, key);
	} else {
		xts_aes256_set_encrypt_key(&l->enc.k256, key);
		xts_aes256_set_decrypt_key(&l->dec.k256, key);
	}
}

void luks_encrypt(const struct luks *l, uint64_t sector, uint8_t *buf, size_t len)
{
	struct luks *k = (struct luks *)l; /* nettle only reads it, but does not say so */
	uint8_t iv[16] = { 0 };

	for (; len; len -= 512, buf += 512, sector++) {
		st_le64(iv, sector);
		if (l->key_bytes == 32)
			xts_aes128_encrypt_message(&k->enc.k128, iv, 512, buf, buf);
		else
			xts_aes256_encrypt_message(&k->enc.k256, iv, 512, buf, buf);
	}
}

void luks_decrypt(const struct luks *l, uint64_t sector, uint8_t *buf, size_t len)
{
	struct luks *k = (struct luks *)l; /* nettle only reads it, but does not say so */
	uint8_t iv[16] = { 0 };

	for (; len; len -= 512, buf += 512, sector++) {
		st_le64(iv, sector);
		if (l->key_bytes == 32)
			xts_aes128_decrypt_message(&k->dec.k128, iv, 512, buf, buf);
		else
			xts_aes256_decrypt_message(&k->dec.k256, iv, 512, buf, buf);
	}
}

void luks_close(struct luks *l)
{
	if (!l)
		return;
	explicit_bzero(l, sizeof(*l));
	free(l);
}

/* ---- the header ---- */

static int read_header(struct block_node *file, uint64_t base, uint8_t *h, const char *what,
		       struct err *err)
{
	int rc = block_pread(file, base, h, HEADER_BYTES);

	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", what, strerror(-rc));
	if (memcmp(h, luks_magic, sizeof(luks_magic)))
		return err_set(err, -EINVAL, "'%s' has no LUKS header", what);
	if (ld_be16(h + L_VERSION) != 1)
		return err_set(err, -ENOTSUP, "'%s' uses LUKS version %u; version 1 is supported",
			       what, ld_be16(h + L_VERSION));
	h[L_CIPHER + 31] = h[L_MODE + 31] = h[L_HASH + 31] = '\0';
	return 0;
}

static int check_header(const uint8_t *h, const char *what, const struct hash **hash,
			struct err *err)
{
	unsigned bytes = ld_be32(h + L_KEY_BYTES);

	if (strcmp((const char *)h + L_CIPHER, "aes") ||
	    strcmp((const char *)h + L_MODE, "xts-plain64") || (bytes != 32 && bytes != 64))
		return err_set(err, -ENOTSUP,
			       "'%s' is encrypted with %s-%s and a key of %u bits; aes-xts-plain64 "
			       "with 256 or 512 is supported", what, (const char *)h + L_CIPHER,
			       (const char *)h + L_MODE, bytes > 4096 ? 0 : bytes * 8);
	*hash = find_hash((const char *)h + L_HASH);
	if (!*hash)
		return err_set(err, -ENOTSUP, "'%s' uses the hash %s; sha1, sha256 and sha512 are "
					      "supported", what, (const char *)h + L_HASH);
	return 0;
}

int luks_describe(struct block_node *file, uint64_t base, char *text, size_t cap,
		  uint64_t *payload, struct err *err)
{
	uint8_t h[HEADER_BYTES];
	int rc = read_header(file, base, h, file->path, err);

	if (rc)
		return rc;
	snprintf(text, cap, "%.31s-%.31s", (const char *)h + L_CIPHER, (const char *)h + L_MODE);
	*payload = (uint64_t)ld_be32(h + L_PAYLOAD) * 512;
	return 0;
}

static int get_pass(const struct block_secret *secret, const char *what, uint8_t *pass,
		    struct err *err)
{
	int n;

	if (!secret)
		return err_set(err, -EACCES, "'%s' is encrypted; its passphrase is needed", what);
	n = secret->get(secret->opaque, what, pass, MAX_PASS, err);
	if (n == 0)
		return err_set(err, -EACCES, "the passphrase for '%s' is empty", what);
	return n;
}

/* Tries one slot. 1: the passphrase is not this slot's. */
static int try_slot(struct block_node *file, uint64_t base, const uint8_t *h, unsigned i,
		    const struct hash *hash, const uint8_t *pass, size_t pass_len, uint8_t *mk)
{
	const uint8_t *s = h + L_SLOTS + i * SLOT_BYTES;
	unsigned bytes = ld_be32(h + L_KEY_BYTES), stripes = ld_be32(s + SLOT_STRIPES);
	unsigned iter = ld_be32(s + SLOT_ITER), diter = ld_be32(h + L_DIGEST_ITER);
	size_t len = (size_t)bytes * stripes, padded = align_up(len, 512);
	uint8_t key[MAX_KEY], digest[DIGEST_BYTES], *km;
	struct luks *l;
	int rc;

	if (ld_be32(s) != SLOT_ON)
		return 1;
	if (!iter || !diter || iter > 1u << 26 || diter > 1u << 26 || stripes < 1 ||
	    stripes > 2 * STRIPES)
		return 1;
	km = malloc(padded);
	l = calloc(1, sizeof(*l));
	rc = km && l ? block_pread(file, base + (uint64_t)ld_be32(s + SLOT_OFFSET) * 512, km, padded)
		     : -ENOMEM;
	if (!rc) {
		hash->pbkdf2(pass_len, pass, iter, SALT_BYTES, s + SLOT_SALT, bytes, key);
		set_key(l, key, bytes);
		luks_decrypt(l, 0, km, padded);
		af_merge(hash, km, stripes, mk, bytes);
		hash->pbkdf2(bytes, mk, diter, SALT_BYTES, h + L_DIGEST_SALT, DIGEST_BYTES, digest);
		rc = memcmp(digest, h + L_DIGEST, DIGEST_BYTES) ? 1 : 0;
		explicit_bzero(key, sizeof(key));
		explicit_bzero(km, padded);
	}
	free(km);
	luks_close(l);
	return rc;
}

int luks_unlock(struct block_node *file, uint64_t base, const struct block_secret *secret,
		const char *what, struct luks **out, struct err *err)
{
	uint8_t h[HEADER_BYTES], mk[MAX_KEY], *pass;
	const struct hash *hash;
	int rc = read_header(file, base, h, what, err), n = 0;

	*out = NULL;
	if (!rc)
		rc = check_header(h, what, &hash, err);
	if (rc)
		return rc;
	pass = malloc(MAX_PASS);
	if (!pass)
		return err_set(err, -ENOMEM, "out of memory");
	n = get_pass(secret, what, pass, err);
	rc = n < 0 ? n : 1;
	for (unsigned i = 0; i < SLOTS && rc == 1; i++)
		rc = try_slot(file, base, h, i, hash, pass, (size_t)n, mk);
	explicit_bzero(pass, MAX_PASS);
	free(pass);
	if (rc == 1)
		return err_set(err, -EACCES, "wrong passphrase for '%s'", what);
	if (rc)
		return n < 0 ? rc : err_set(err, rc, "cannot unlock '%s': %s", what, strerror(-rc));
	*out = calloc(1, sizeof(**out));
	if (*out)
		set_key(*out, mk, ld_be32(h + L_KEY_BYTES));
	explicit_bzero(mk, sizeof(mk));
	return *out ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* ---- making one ---- */

int luks_params_read(const struct block_create *c, const char *prefix, struct luks_params *p,
		     struct err *err)
{
	const char *v;
	uint64_t ms = 2000;
	char name[48];
	int rc;

	*p = (struct luks_params){ .key_bytes = 64, .hash = "sha256" };
	snprintf(name, sizeof(name), "%scipher-alg", prefix);
	v = block_opt(c, name);
	if (v && !strcmp(v, "aes-128"))
		p->key_bytes = 32;
	else if (v && strcmp(v, "aes-256"))
		return err_set(err, -EINVAL, "option %s is aes-128 or aes-256, not '%s'", name, v);
	snprintf(name, sizeof(name), "%shash-alg", prefix);
	v = block_opt(c, name);
	if (v && !find_hash(v))
		return err_set(err, -EINVAL, "option %s is sha1, sha256 or sha512, not '%s'", name, v);
	if (v)
		snprintf(p->hash, sizeof(p->hash), "%s", v);
	snprintf(name, sizeof(name), "%siter-time", prefix);
	rc = block_opt_size(c, name, &ms, err);
	if (!rc && (!ms || ms > 60000))
		rc = err_set(err, -EINVAL, "option %s is 1 to 60000 milliseconds", name);
	p->iter_time_ms = (unsigned)ms;
	return rc;
}

static uint64_t slot_sectors(const struct luks_params *p)
{
	return align_up((uint64_t)p->key_bytes * STRIPES / 512, SLOT_ALIGN_SECTORS);
}

uint64_t luks_header_bytes(const struct luks_params *p)
{
	return (FIRST_SLOT_SECTOR + SLOTS * slot_sectors(p)) * 512;
}

/* Iterations that take about @ms on this host. */
static unsigned calibrate(const struct hash *h, unsigned key_bytes, unsigned ms)
{
	uint8_t out[MAX_KEY], salt[SALT_BYTES] = { 0 };
	struct timespec a, b;
	unsigned iter = MIN_ITER;
	uint64_t ns;

	for (;;) {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
		h->pbkdf2(8, (const uint8_t *)"password", iter, SALT_BYTES, salt, key_bytes, out);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
		ns = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u + (uint64_t)(b.tv_nsec - a.tv_nsec);
		if (ns > 20000000 || iter > 1u << 24)
			break;
		iter *= 4;
	}
	ns = (uint64_t)iter * ms * 1000000u / (ns ? ns : 1);
	return (unsigned)min_of(max_of(ns, (uint64_t)MIN_ITER), 1ULL << 26);
}

static void put_uuid(uint8_t *at)
{
	uint8_t u[16];

	if (random_bytes(u, sizeof(u)))
		memset(u, 0x11, sizeof(u));
	u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
	u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
	snprintf((char *)at, 40,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		 u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
		 u[15]);
}

/* The master key, in stripes, under the passphrase: slot 0. */
static int fill_slot(struct block_node *file, uint64_t base, uint8_t *h, const struct hash *hash,
		     const struct luks_params *p, const uint8_t *mk, const uint8_t *pass, size_t n)
{
	uint8_t *s = h + L_SLOTS, key[MAX_KEY];
	size_t len = (size_t)p->key_bytes * STRIPES, padded = align_up(len, 512);
	uint8_t *km = calloc(1, padded);
	struct luks *l = calloc(1, sizeof(*l));
	unsigned iter = calibrate(hash, p->key_bytes, p->iter_time_ms);
	int rc = km && l ? random_bytes(s + SLOT_SALT, SALT_BYTES) : -ENOMEM;

	if (!rc)
		rc = af_split(hash, mk, p->key_bytes, km);
	if (!rc) {
		st_be32(s, SLOT_ON);
		st_be32(s + SLOT_ITER, iter);
		hash->pbkdf2(n, pass, iter, SALT_BYTES, s + SLOT_SALT, p->key_bytes, key);
		set_key(l, key, p->key_bytes);
		luks_encrypt(l, 0, km, padded);
		explicit_bzero(key, sizeof(key));
		rc = block_pwrite(file, base + FIRST_SLOT_SECTOR * 512, km, padded);
	}
	free(km);
	luks_close(l);
	return rc;
}

static int fill_header(uint8_t *h, const struct hash *hash, const struct luks_params *p,
		       const uint8_t *mk)
{
	unsigned iter = calibrate(hash, DIGEST_BYTES, p->iter_time_ms / 8 + 1);
	int rc = random_bytes(h + L_DIGEST_SALT, SALT_BYTES);

	memcpy(h, luks_magic, sizeof(luks_magic));
	st_be16(h + L_VERSION, 1);
	strcpy((char *)h + L_CIPHER, "aes");
	strcpy((char *)h + L_MODE, "xts-plain64");
	strcpy((char *)h + L_HASH, hash->name);
	st_be32(h + L_PAYLOAD, (uint32_t)(luks_header_bytes(p) / 512));
	st_be32(h + L_KEY_BYTES, p->key_bytes);
	st_be32(h + L_DIGEST_ITER, iter);
	hash->pbkdf2(p->key_bytes, mk, iter, SALT_BYTES, h + L_DIGEST_SALT, DIGEST_BYTES,
		     h + L_DIGEST);
	put_uuid(h + L_UUID);
	for (unsigned i = 0; i < SLOTS; i++) {
		uint8_t *s = h + L_SLOTS + i * SLOT_BYTES;

		st_be32(s, SLOT_OFF);
		st_be32(s + SLOT_OFFSET, (uint32_t)(FIRST_SLOT_SECTOR + i * slot_sectors(p)));
		st_be32(s + SLOT_STRIPES, STRIPES);
	}
	return rc;
}

int luks_format(struct block_node *file, uint64_t base, const struct luks_params *p,
		const struct block_secret *secret, const char *what, struct luks **out,
		struct err *err)
{
	const struct hash *hash = find_hash(p->hash);
	uint8_t h[HEADER_BYTES] = { 0 }, mk[MAX_KEY], *pass = malloc(MAX_PASS);
	int rc = 0, n;

	*out = NULL;
	if (!pass)
		return err_set(err, -ENOMEM, "out of memory");
	n = get_pass(secret, what, pass, err);
	if (n < 0) {
		free(pass);
		return n;
	}
	rc = random_bytes(mk, p->key_bytes);
	if (!rc)
		rc = block_zero(file, base, luks_header_bytes(p), true);
	if (!rc)
		rc = fill_header(h, hash, p, mk);
	if (!rc)
		rc = fill_slot(file, base, h, hash, p, mk, pass, (size_t)n);
	if (!rc)
		rc = block_pwrite(file, base, h, sizeof(h));
	if (!rc) {
		*out = calloc(1, sizeof(**out));
		rc = *out ? 0 : -ENOMEM;
	}
	if (!rc)
		set_key(*out, mk, p->key_bytes);
	explicit_bzero(mk, sizeof(mk));
	explicit_bzero(pass, MAX_PASS);
	free(pass);
	return rc ? err_set(err, rc, "cannot encrypt '%s': %s", what, strerror(-rc)) : 0;
}

/* ---- I/O ---- */

static int read_plain(const struct luks *l, struct block_node *n, uint64_t off, int64_t sector0,
		      uint8_t *buf, size_t len)
{
	int rc = block_pread(n, off, buf, len);

	if (!rc)
		luks_decrypt(l, (uint64_t)((int64_t)(off / 512) + sector0), buf, len);
	return rc;
}

int luks_preadv(const struct luks *l, struct block_node *n, uint64_t off, int64_t sector0,
		size_t len, const struct block_vec *v, size_t voff)
{
	uint8_t *buf = malloc(min_of(align_up(len, 512) + 512, (uint64_t)BOUNCE));
	int rc = buf ? 0 : -ENOMEM;

	while (len && !rc) {
		size_t head = off & 511, k = min_of(len, (size_t)BOUNCE - head);

		rc = read_plain(l, n, off - head, sector0, buf, align_up(head + k, 512));
		if (!rc)
			block_vec_write(v, voff, buf + head, k);
		off += k;
		voff += k;
		len -= k;
	}
	free(buf);
	return rc;
}

int luks_pwritev(const struct luks *l, struct block_node *n, uint64_t off, int64_t sector0,
		 size_t len, const struct block_vec *v, size_t voff)
{
	uint8_t *buf = malloc(min_of(align_up(len, 512) + 512, (uint64_t)BOUNCE));
	int rc = buf ? 0 : -ENOMEM;

	while (len && !rc) {
		size_t head = off & 511, k = min_of(len, (size_t)BOUNCE - head);
		size_t all = align_up(head + k, 512);
		uint64_t at = off - head;

		if (head)
			rc = read_plain(l, n, at, sector0, buf, 512);
		if (!rc && (head + k) & 511 && (all > 512 || !head))
			rc = read_plain(l, n, at + all - 512, sector0, buf + all - 512, 512);
		if (rc)
			break;
		block_vec_read(v, voff, buf + head, k);
		luks_encrypt(l, (uint64_t)((int64_t)(at / 512) + sector0), buf, all);
		rc = block_pwrite(n, at, buf, all);
		off += k;
		voff += k;
		len -= k;
	}
	free(buf);
	return rc;
}

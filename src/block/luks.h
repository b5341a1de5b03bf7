/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS version 1: the header that guards a disk's key with passphrases, and the
 * disk's cipher (AES-XTS, sector number as tweak). Source: "LUKS On-Disk Format
 * Specification", version 1.2.3. Key material is wiped when it is no longer used.
 */
#ifndef BOTHY_BLOCK_LUKS_H
#define BOTHY_BLOCK_LUKS_H

#include "src/block/block.h"

struct luks;

struct luks_params { /* of a new header; luks_params_read() fills it */
	unsigned key_bytes;    /* of the master key: 32 (AES-128-XTS) or 64 (AES-256-XTS) */
	char hash[16];         /* "sha1", "sha256", "sha512" */
	unsigned iter_time_ms; /* how long trying one passphrase shall take */
};

/* From create options "<prefix>cipher-alg", "<prefix>hash-alg", "<prefix>iter-time". */
int must_check luks_params_read(const struct block_create *c, const char *prefix,
				struct luks_params *p, struct err *err);

/* Bytes from the header's start to the payload. */
uint64_t luks_header_bytes(const struct luks_params *p);

/* Writes a new header at @base of @file, guarded by the passphrase. *out is unlocked. */
int must_check luks_format(struct block_node *file, uint64_t base, const struct luks_params *p,
			   const struct block_secret *secret, const char *what, struct luks **out,
			   struct err *err);

/* Reads the header at @base. Tries the passphrase on each slot. -EACCES: it is wrong. */
int must_check luks_unlock(struct block_node *file, uint64_t base,
			   const struct block_secret *secret, const char *what, struct luks **out,
			   struct err *err);
/* Only what the header says, without a key: cipher text and payload offset in bytes. */
int must_check luks_describe(struct block_node *file, uint64_t base, char *text, size_t cap,
			     uint64_t *payload, struct err *err);
void luks_close(struct luks *l);

/* In place, whole sectors. Any thread. */
void luks_encrypt(const struct luks *l, uint64_t sector, uint8_t *buf, size_t len);
void luks_decrypt(const struct luks *l, uint64_t sector, uint8_t *buf, size_t len);

/* I/O on @n with plaintext in @v; @off is the place in @n, @sector0 the number of the
 * sector at @n's offset 0. A write of partial sectors reads them first: nobody else
 * may write there meanwhile. */
int must_check luks_preadv(const struct luks *l, struct block_node *n, uint64_t off,
			   int64_t sector0, size_t len, const struct block_vec *v, size_t voff);
int must_check luks_pwritev(const struct luks *l, struct block_node *n, uint64_t off,
			    int64_t sector0, size_t len, const struct block_vec *v, size_t voff);

#endif

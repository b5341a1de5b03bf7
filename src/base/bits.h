/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BOTHY_BASE_BITS_H
#define BOTHY_BASE_BITS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define array_size(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define noinline __attribute__((noinline))
#define min_of(a, b) ((a) < (b) ? (a) : (b))
#define max_of(a, b) ((a) > (b) ? (a) : (b))
#define align_up(x, a) (((x) + (a) - 1) & ~((uint64_t)(a) - 1))
#define align_down(x, a) ((x) & ~((uint64_t)(a) - 1))

/* Little-endian loads and stores at any alignment; memcpy keeps them defined. */
static inline uint16_t ld_le16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t ld_le32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t ld_le64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void st_le16(void *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void st_le32(void *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void st_le64(void *p, uint64_t v) { memcpy(p, &v, 8); }
static inline uint16_t ld_be16(const void *p) { return __builtin_bswap16(ld_le16(p)); }
static inline uint32_t ld_be32(const void *p) { return __builtin_bswap32(ld_le32(p)); }
static inline uint64_t ld_be64(const void *p) { return __builtin_bswap64(ld_le64(p)); }
static inline void st_be16(void *p, uint16_t v) { st_le16(p, __builtin_bswap16(v)); }
static inline void st_be32(void *p, uint32_t v) { st_le32(p, __builtin_bswap32(v)); }
static inline void st_be64(void *p, uint64_t v) { st_le64(p, __builtin_bswap64(v)); }

static inline uint64_t low_mask(unsigned bits) /* 0..64 */
{
	return bits >= 64 ? ~0ULL : (1ULL << bits) - 1;
}

static inline int64_t sign_extend(uint64_t v, unsigned bits) /* 1..64 */
{
	return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

#endif

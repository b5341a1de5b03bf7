/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Floating point, x87, AES, SHA and AVX2. */
#include <cpuid.h>
#include <immintrin.h>
#include <math.h>

#include "bench/programs/bench.h"

static uint64_t bits_of(double d)
{
	uint64_t u;

	memcpy(&u, &d, 8);
	return u;
}

static uint64_t matmul(unsigned n)
{
	double *a = need(n * n * sizeof(*a)), *b = need(n * n * sizeof(*b)), *c = calloc(n * n, sizeof(*c));
	double sum = 0;

	for (unsigned i = 0; i < n * n; i++) {
		a[i] = (i % 17) * 0.25;
		b[i] = (i % 13) * 0.5 - 1;
	}
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < n; k++) {
			__m128d f = _mm_set1_pd(a[i * n + k]);

			for (unsigned j = 0; j + 2 <= n; j += 2) {
				__m128d v = _mm_loadu_pd(&c[i * n + j]);

				v = _mm_add_pd(v, _mm_mul_pd(f, _mm_loadu_pd(&b[k * n + j])));
				_mm_storeu_pd(&c[i * n + j], v);
			}
		}
	}
	for (unsigned i = 0; i < n * n; i++)
		sum += c[i] * (i & 7);
	free(a);
	free(b);
	free(c);
	return bits_of(sum);
}

static uint64_t scalar(unsigned n)
{
	double x = 1, y = 0.5;

	for (uint64_t i = 1; i <= (uint64_t)n * 1000; i++) {
		x = x * 1.0000001 + y;
		y = sqrt(x) / (double)(i & 1023 ? i & 1023 : 1);
	}
	return bits_of(x + y);
}

static uint64_t x87(unsigned n)
{
	long double x = 1, y = 0.25L, z = 0;

	for (uint64_t i = 0; i < (uint64_t)n * 1000; i++) {
		z += x * y - 0.125L;
		x = x * 0.75L + y;
		y = y * 0.5L + 0.125L;
	}
	return bits_of((double)(x + y + z));
}

static bool has(unsigned leaf, unsigned reg, unsigned bit)
{
	unsigned r[4];

	return __get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3]) && r[reg] >> bit & 1;
}

static bool has_aes(void) { return has(1, 2, 25); }
static bool has_sha(void) { return has(7, 1, 29) && has(1, 2, 19); }
static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

/* n thousand blocks in counter mode with fixed round keys. */
static uint64_t __attribute__((target("aes,sse4.1"))) aes(unsigned n)
{
	__m128i key = _mm_set_epi32(0x2b7e1516, 0x28aed2a6, (int)0xabf71588, 0x09cf4f3c);
	__m128i sum = _mm_setzero_si128();

	for (uint64_t i = 0; i < (uint64_t)n * 1000; i++) {
		__m128i b = _mm_xor_si128(_mm_set_epi64x(0, (long long)i), key);

		for (unsigned r = 1; r < 10; r++)
			b = _mm_aesenc_si128(b, key);
		b = _mm_aesenclast_si128(b, key);
		sum = _mm_xor_si128(sum, b);
	}
	return (uint64_t)_mm_cvtsi128_si64(sum) ^ (uint64_t)_mm_extract_epi64(sum, 1);
}

/* The rounds of SHA-256 alone, 64 to a block. */
static uint64_t __attribute__((target("sha,sse4.1"))) sha(unsigned n)
{
	__m128i a = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
	__m128i b = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
	__m128i w = _mm_set_epi32(1, 2, 3, 4), w2 = _mm_set_epi32(5, 6, 7, 8);

	for (uint64_t i = 0; i < (uint64_t)n * 1000; i++) {
		for (unsigned r = 0; r < 16; r++) {
			__m128i t = _mm_sha256msg1_epu32(w, w2);

			b = _mm_sha256rnds2_epu32(b, a, w);
			a = _mm_sha256rnds2_epu32(a, b, _mm_shuffle_epi32(w, 0x0e));
			w = w2;
			w2 = _mm_sha256msg2_epu32(t, w);
		}
	}
	return (uint64_t)_mm_cvtsi128_si64(a) ^ (uint64_t)_mm_extract_epi64(b, 1);
}

static uint64_t __attribute__((target("avx2"))) avx2(unsigned n)
{
	enum { LEN = 4096 };
	int32_t *v = aligned_alloc(32, LEN * 4);
	__m256i sum = _mm256_setzero_si256();
	int32_t out[8];
	uint64_t total = 0;

	if (!v)
		exit(1);
	for (unsigned i = 0; i < LEN; i++)
		v[i] = (int32_t)(i * 2654435761u);
	for (unsigned i = 0; i < n; i++) {
		__m256i k = _mm256_set1_epi32((int)i);

		for (unsigned j = 0; j < LEN; j += 8) {
			__m256i x = _mm256_load_si256((void *)&v[j]);

			x = _mm256_mullo_epi32(_mm256_add_epi32(x, k), x);
			x = _mm256_max_epi32(_mm256_srli_epi32(x, 3), _mm256_shuffle_epi32(x, 0x1b));
			sum = _mm256_xor_si256(sum, _mm256_permute4x64_epi64(x, 0x4e));
		}
	}
	_mm256_storeu_si256((void *)out, sum);
	for (unsigned i = 0; i < 8; i++)
		total = total * 31 + (uint32_t)out[i];
	free(v);
	return total;
}

const struct bench fp_benches[] = {
	{ "matmul", "double matrices n by n, SSE2", matmul, 400, 80, NULL, 0 },
	{ "scalar", "n thousand turns of scalar double with sqrt", scalar, 20000, 300, NULL, 0 },
	{ "x87", "n thousand turns of long double", x87, 10000, 200, NULL, 0 },
	{ "aes", "n thousand AES-128 blocks", aes, 5000, 50, has_aes, 0 },
	{ "sha", "n thousand SHA-256 blocks' rounds", sha, 1000, 10, has_sha, 0 },
	{ "avx2", "n passes of AVX2 integers over 16 KiB", avx2, 20000, 300, has_avx2, 0 },
	{ NULL },
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile images: sound ones of every format, then mutated where it hurts, opened
 * and used in every way. Nothing may crash, hang, or take much memory; errors are
 * the expected answer.
 *
 *   hostile ROUNDS SEED [FORMAT]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/block/memfile.h"

enum { DISK = 2 << 20, MAX_FILE = 64 << 20, SLOW_MS = 1000 };

static uint64_t rng;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dULL;
}

struct shape {
	const char *format, *opt;
	bool backing;
};

static const struct shape shapes[] = {
	{ "qcow2", "cluster_size=512", false },
	{ "qcow2", "cluster_size=4096", true },
	{ "qcow2", "extended_l2=on", false },
	{ "qcow2", "compression_type=zstd", false },
	{ "qcow2", "compat=v2", false },
	{ "qcow2", "refcount_bits=1", false },
	{ "qcow2", "lazy_refcounts=on", false },
	{ "qcow2", "data_file=ext", false },
	{ "vdi", NULL, false },
	{ "vmdk", NULL, true },
	{ "vmdk", "subformat=streamOptimized", false },
	{ "vmdk", "subformat=twoGbMaxExtentSparse", false },
	{ "vpc", NULL, false },
	{ "vhdx", NULL, false },
	{ "luks", "iter-time=1", false },
	{ "qcow2", "encrypt.format=luks", false },
};

static int secret(void *opaque, const char *what, uint8_t *buf, size_t cap, struct err *err)
{
	memcpy(buf, "fuzz", 4);
	return 4;
}

static const struct block_secret key = { secret, NULL };

/* A small image with some of everything in it. */
static int make_seed(const struct shape *s, struct mem_host *h)
{
	const struct block_format_desc *d = block_format(s->format);
	const char *opts[] = { s->opt, "encrypt.iter-time=1" };
	bool sealed = s->opt && !strncmp(s->opt, "encrypt", 7);
	struct block_create c = { .path = "disk", .len = DISK, .opts = opts,
				  .nopts = !!s->opt + (size_t)sealed,
				  .host = &h->host, .secret = &key,
				  .backing_path = s->backing ? "base" : NULL,
				  .backing_format = s->backing ? s->format : NULL };
	struct block_create base = { .path = "base", .len = DISK, .host = &h->host };
	struct block_open_opts o = { .format = s->format, .flags = BLOCK_OPEN_WRITE,
				     .host = &h->host, .secret = &key };
	struct block_snapshot snap = { .name = "one", .date_s = 1 };
	uint8_t buf[65536];
	struct block_node *n;
	struct err err = { "" };
	int rc = s->backing ? block_create(d, &base, &err) : 0;

	if (!rc)
		rc = block_create(d, &c, &err);
	if (!rc)
		rc = block_open("disk", &o, &n, &err);
	if (rc) {
		fprintf(stderr, "hostile: %s %s: %s\n", s->format, s->opt ? s->opt : "", err.text);
		return rc;
	}
	memset(buf, 0x5a, sizeof(buf));
	rc = block_pwrite(n, 10000, buf, 50000);
	if (!rc && d->pwrite_compressed)
		rc = block_pwrite_compressed(n, 1 << 20, buf, 65536);
	if (rc == -EINVAL || rc == -ENOTSUP)
		rc = 0;
	if (!rc && d->snap_create && !strstr(s->opt ? s->opt : "", "data_file"))
		rc = d->snap_create(n, &snap, &err);
	if (rc == -ERANGE)
		rc = 0;
	if (!rc)
		rc = block_pwrite(n, 1500000, buf, 5000);
	if (rc == -ENOTSUP) /* a stream is written by whole grains */
		rc = 0;
	if (rc)
		fprintf(stderr, "hostile: %s %s: seed: %s %s\n", s->format, s->opt ? s->opt : "",
			strerror(-rc), err.text);
	return block_close(n) || rc ? -EIO : 0;
}

static void mutate(struct mem_data *d)
{
	static const uint64_t odd[] = { 0, 1, 2, 0xff, 0x200, 0xffff, 0x10000, 0x7fffffff,
					0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
					0x8000000000000000, 0xffffffffffffffff, 0x4000000000000200,
					0x00fffffffffffe00 };
	unsigned n = 1 + (unsigned)(rnd() % 6);

	while (n-- && d->len >= 16) {
		uint64_t zone = rnd() % 3 == 0 ? 128 : rnd() % 2 ? 4096 : d->len;
		uint64_t at = rnd() % min_of(zone, d->len - 8);
		uint64_t v = rnd() % 2 ? odd[rnd() % array_size(odd)] : rnd();

		switch (rnd() % 6) {
		case 0: d->bytes[at] ^= (uint8_t)(1u << rnd() % 8); break;
		case 1: st_be64(d->bytes + (at & ~7ULL), v); break;
		case 2: st_le64(d->bytes + (at & ~7ULL), v); break;
		case 3: st_be32(d->bytes + (at & ~3ULL), (uint32_t)v); break;
		case 4: st_le32(d->bytes + (at & ~3ULL), (uint32_t)v); break;
		default: /* a table entry that points at another table */
			memcpy(d->bytes + (at & ~7ULL), d->bytes + (rnd() % (d->len - 8) & ~7ULL), 8);
			break;
		}
	}
	if (rnd() % 20 == 0)
		d->len = rnd() % d->len;
}

static void use_image(struct mem_host *h, const char *format, bool write)
{
	struct block_open_opts o = { .format = format, .flags = write ? BLOCK_OPEN_WRITE : 0,
				     .host = &h->host, .secret = &key };
	struct block_info info;
	struct block_extent e;
	struct block_node *n;
	uint8_t buf[20000];
	struct err err = { "" };
	uint64_t off = 0;
	int rc;

	if (rnd() % 4 == 0)
		o.flags |= BLOCK_OPEN_CHECK;
	if (block_open("disk", &o, &n, &err)) {
		if (!err.text[0])
			fprintf(stderr, "hostile: an open failed without a word\n");
		return;
	}
	if (!block_info(n, &info, &err))
		block_info_fini(&info);
	for (unsigned i = 0; i < 40 && n->len; i++) {
		off = rnd() % 3 ? rnd() % min_of(n->len, (uint64_t)DISK) : rnd() % n->len;
		rc = block_pread(n, off, buf, min_of(sizeof(buf), n->len - off));
		rc = block_status_chain(n, NULL, off, n->len - off, &e);
		if (!rc && (!e.len || e.len > n->len - off))
			fprintf(stderr, "hostile: status of %s gives a bad length\n", format);
		if (write && i % 3 == 0)
			rc = block_pwrite(n, off, buf, min_of(sizeof(buf), n->len - off));
		if (write && i % 7 == 0)
			rc = block_discard(n, off, min_of((uint64_t)1 << 20, n->len - off));
		if (write && i % 9 == 0)
			rc = block_zero(n, off, min_of((uint64_t)1 << 20, n->len - off), true);
	}
	if (write)
		rc = block_flush(n);
	if (n->desc->check && n->len <= 1ULL << 40) {
		struct block_check k = { .report = NULL };

		rc = n->desc->check(n, write ? BLOCK_FIX_ERRORS | BLOCK_FIX_LEAKS : 0, &k, &err);
	}
	if (write && n->desc->snap_create && rnd() % 2) {
		struct block_snapshot s = { .name = "two", .date_s = 1 };

		rc = n->desc->snap_create(n, &s, &err);
		if (rnd() % 2)
			rc = n->desc->snap_apply(n, "one", &err);
		rc = n->desc->snap_delete(n, "one", &err);
	}
	if (write && rnd() % 4 == 0)
		rc = block_resize(n, rnd() % (4 * DISK) / 512 * 512 + 512, BLOCK_PREALLOC_OFF, &err);
	(void)rc;
	block_close(n);
}

static int copy_host(struct mem_host *to, const struct mem_host *from)
{
	mem_host_init(to, MAX_FILE);
	for (unsigned i = 0; i < from->nfiles; i++) {
		struct mem_data d;

		if (mem_data_copy(&d, &from->files[i]->now) ||
		    mem_host_add(to, from->files[i]->name, &d))
			return -ENOMEM;
	}
	return 0;
}

static int64_t ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void save(const struct mem_host *h, const char *format)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "hostile-%s.img", format);
	f = fopen(path, "wb");
	if (f) {
		fwrite(h->files[h->nfiles - 1]->now.bytes, 1, h->files[h->nfiles - 1]->now.len, f);
		fclose(f);
	}
}

static int run(const struct shape *s, unsigned rounds, uint64_t seed)
{
	struct mem_host base, h, kept;
	int bad = 0;

	if (!block_format(s->format))
		return 0;
	rng = seed * 0x9e3779b97f4a7c15ULL | 1;
	mem_host_init(&base, MAX_FILE);
	if (make_seed(s, &base)) {
		mem_host_fini(&base);
		return 1;
	}
	for (unsigned i = 0; i < rounds; i++) {
		unsigned f = (unsigned)(rnd() % base.nfiles);
		int64_t t0 = ms();

		if (copy_host(&h, &base))
			return 1;
		mutate(&h.files[f]->now);
		copy_host(&kept, &h);
		use_image(&h, s->format, rnd() % 2);
		if (ms() - t0 > SLOW_MS) {
			fprintf(stderr, "hostile: %s %s round %u took %lld ms\n", s->format,
				s->opt ? s->opt : "", i, (long long)(ms() - t0));
			save(&kept, s->format);
			bad = 1;
		}
		mem_host_fini(&kept);
		mem_host_fini(&h);
	}
	mem_host_fini(&base);
	return bad;
}

int main(int argc, char **argv)
{
	struct rusage ru;
	int bad = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: hostile ROUNDS SEED [FORMAT]\n");
		return 2;
	}
	for (size_t i = 0; i < array_size(shapes); i++)
		if (argc < 4 || !strcmp(argv[3], shapes[i].format))
			bad |= run(&shapes[i], (unsigned)atoi(argv[1]), strtoull(argv[2], NULL, 0) + i);
	getrusage(RUSAGE_SELF, &ru);
	printf("peak memory %ld MiB\n", ru.ru_maxrss / 1024);
	if (!getenv("ASAN_OPTIONS") && ru.ru_maxrss > 1024 * 1024) {
		fprintf(stderr, "hostile: took more than 1 GiB of memory\n");
		bad = 1;
	}
	return bad;
}

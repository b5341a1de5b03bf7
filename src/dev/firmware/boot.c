/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct boot: which kind of kernel, where things go in guest memory. */
#include "src/dev/firmware/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/dev/firmware/boot_priv.h"

static bool in_ram(const struct boot_ctx *b, gpa_t start, uint64_t len)
{
	for (size_t i = 0; i < b->cfg->map_count; i++) {
		const struct e820_entry *m = &b->cfg->map[i];

		if (m->type == E820_RAM && start >= m->start && start - m->start <= m->len &&
		    len <= m->len - (start - m->start))
			return true;
	}
	return false;
}

/* The first claim that touches [start, start+len), or NULL. */
static const void *claimed(const struct boot_ctx *b, gpa_t start, uint64_t len, gpa_t *c_start,
			   gpa_t *c_end)
{
	for (size_t i = 0; i < b->nclaims; i++) {
		gpa_t s = b->claim[i].start, e = s + b->claim[i].len;

		if (start < e && s < start + len) {
			*c_start = s;
			*c_end = e;
			return &b->claim[i];
		}
	}
	return NULL;
}

int boot_claim(struct boot_ctx *b, gpa_t start, uint64_t len)
{
	gpa_t s, e;

	if (!len)
		return 0;
	if (start + len < start || !in_ram(b, start, len))
		return -ENOSPC;
	if (claimed(b, start, len, &s, &e))
		return -EBUSY;
	if (b->nclaims == BOOT_MAX_CLAIMS)
		return -E2BIG;
	b->claim[b->nclaims].start = start;
	b->claim[b->nclaims].len = len;
	b->nclaims++;
	return 0;
}

static int alloc_high(struct boot_ctx *b, uint64_t len, uint64_t align, gpa_t lo, gpa_t hi,
		      gpa_t *at)
{
	gpa_t s, e, p;

	while (hi > lo && hi - lo >= len) {
		p = align_down(hi - len, align);
		if (p < lo)
			break;
		if (!claimed(b, p, len, &s, &e)) {
			*at = p;
			return boot_claim(b, p, len);
		}
		hi = s;
	}
	return -ENOSPC;
}

static int alloc_low(struct boot_ctx *b, uint64_t len, uint64_t align, gpa_t lo, gpa_t hi,
		     gpa_t *at)
{
	gpa_t s, e, p = align_up(lo, align);

	while (p >= lo && p < hi && hi - p >= len) {
		if (!claimed(b, p, len, &s, &e)) {
			*at = p;
			return boot_claim(b, p, len);
		}
		p = align_up(e, align);
	}
	return -ENOSPC;
}

int boot_alloc(struct boot_ctx *b, uint64_t len, uint64_t align, gpa_t min, gpa_t max, bool high,
	       gpa_t *at)
{
	size_t n = b->cfg->map_count;

	if (!len)
		len = 1;
	for (size_t i = 0; i < n; i++) {
		const struct e820_entry *m = &b->cfg->map[high ? n - 1 - i : i];
		gpa_t lo = max_of(m->start, min), hi = min_of(m->start + m->len, max);
		int ret;

		if (m->type != E820_RAM || lo >= hi)
			continue;
		ret = (high ? alloc_high : alloc_low)(b, len, align, lo, hi, at);
		if (ret != -ENOSPC)
			return ret;
	}
	return -ENOSPC;
}

gpa_t boot_low_end(const struct boot_ctx *b)
{
	gpa_t end = 0;

	for (size_t i = 0; i < b->cfg->map_count; i++) {
		const struct e820_entry *m = &b->cfg->map[i];

		if (m->type == E820_RAM && m->start < BOOT_4GIB)
			end = max_of(end, m->start + m->len);
	}
	return end;
}

uint64_t boot_ram_total(const struct boot_ctx *b)
{
	uint64_t total = 0;

	for (size_t i = 0; i < b->cfg->map_count; i++)
		if (b->cfg->map[i].type == E820_RAM)
			total += b->cfg->map[i].len;
	return total;
}

int boot_put(struct boot_ctx *b, gpa_t to, const void *buf, uint64_t len, struct err *err)
{
	if (mem_write(b->cfg->mem, to, buf, len) < 0)
		return err_set(err, -EFAULT, "guest memory at 0x%" PRIx64 " cannot be written", to);
	return 0;
}

int boot_copy(struct boot_ctx *b, const struct boot_file *f, uint64_t off, gpa_t to, uint64_t len,
	      struct err *err)
{
	enum { CHUNK = 1 << 20 };
	uint8_t *buf = malloc(CHUNK);
	int ret = 0;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory while loading '%s'", f->path);
	while (len && ret == 0) {
		uint64_t n = min_of(len, (uint64_t)CHUNK);

		ret = boot_read(f, off, buf, n, err);
		if (ret == 0)
			ret = boot_put(b, to, buf, n, err);
		off += n;
		to += n;
		len -= n;
	}
	free(buf);
	return ret;
}

int boot_zero(struct boot_ctx *b, gpa_t to, uint64_t len, struct err *err)
{
	static const uint8_t zeroes[65536];
	int ret = 0;

	while (len && ret == 0) {
		uint64_t n = min_of(len, (uint64_t)sizeof(zeroes));

		ret = boot_put(b, to, zeroes, n, err);
		to += n;
		len -= n;
	}
	return ret;
}

int boot_put_gdt(struct boot_ctx *b, struct boot_entry *e, struct err *err)
{
	/* Flat segments, accessed bit set so that a load writes nothing (SDM vol. 3,
	 * 3.4.5); 64-bit code has L set and D clear. The TSS is the one a 32-bit
	 * entry wants in TR: base 0, limit 0x67, busy. */
	uint64_t gdt[5] = {
		0, 0,
		e->mode == BOOT_LONG64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull,
		0x00cf93000000ffffull,
		0x00008b0000000067ull,
	};
	gpa_t at;
	int ret;

	ret = boot_alloc(b, sizeof(gdt), 4096, 0x1000, 0x9f000, false, &at);
	if (ret < 0)
		return err_set(err, ret, "no room below 640 KiB for the boot GDT; the kernel "
					 "takes it all");
	e->gdt = at;
	e->gdt_limit = sizeof(gdt) - 1;
	e->cs = 0x10;
	e->ds = 0x18;
	e->tr = e->mode == BOOT_PROT32 ? 0x20 : 0;
	return boot_put(b, at, gdt, sizeof(gdt), err);
}

int boot_put_text(struct boot_ctx *b, const char *text, gpa_t max, gpa_t *at, struct err *err)
{
	uint64_t len = strlen(text) + 1;
	int ret = boot_alloc(b, len, 16, 0x1000, max, false, at);

	if (ret < 0)
		return err_set(err, ret, "no room in guest memory for a text of %" PRIu64 " bytes",
			       len);
	return boot_put(b, *at, text, len, err);
}

int boot_too_small(struct boot_ctx *b, const char *what, uint64_t need_bytes, struct err *err)
{
	/* What the map keeps for the legacy hole and the tables is added back. */
	uint64_t slack = 2 * BOOT_MIB;
	uint64_t mib = (need_bytes + slack + BOOT_MIB - 1) / BOOT_MIB;

	return err_set(err, -ENOSPC,
		       "%s does not fit into %" PRIu64 " MiB of guest memory; --memory %" PRIu64
		       "M would do",
		       what, (boot_ram_total(b) + BOOT_MIB - 1) / BOOT_MIB, mib);
}

/* What a file that is no kernel seems to be, so that the message can name it. */
static const struct {
	const char *magic;
	uint16_t len, off;
	const char *what;
} known_files[] = {
	{ "\x1f\x8b", 2, 0, "a gzip file; decompress it first (gunzip)" },
	{ "\xfd" "7zXZ", 5, 0, "an xz file; decompress it first (unxz)" },
	{ "BZh", 3, 0, "a bzip2 file; decompress it first (bunzip2)" },
	{ "\x28\xb5\x2f\xfd", 4, 0, "a zstd file; decompress it first (unzstd)" },
	{ "070701", 6, 0, "a cpio archive; an initramfs belongs to --initrd" },
	{ "070702", 6, 0, "a cpio archive; an initramfs belongs to --initrd" },
	{ "!<arch>\ndebian", 14, 0, "a Debian package; extract its boot/vmlinuz-* (dpkg-deb -x)" },
	{ "!<arch>\n", 8, 0, "an archive of object files" },
	{ "\xed\xab\xee\xdb", 4, 0, "an RPM package; extract its vmlinuz" },
	{ "CD001", 5, 0x8001, "a CD image (ISO 9660); direct boot needs the kernel inside it" },
	{ "QFI\xfb", 4, 0, "a qcow2 disk image; direct boot needs a kernel file" },
	{ "KDMV", 4, 0, "a VMDK disk image; direct boot needs a kernel file" },
	{ "ustar", 5, 257, "a tar archive" },
	{ "PK\x03\x04", 4, 0, "a zip archive" },
	{ "ARM\x64", 4, 0x38, "an arm64 kernel; this machine is x86-64" },
	{ "#!", 2, 0, "a script" },
	{ "MZ", 2, 0, "a PE/EFI program without the Linux boot header" },
	{ "\xd6\x50\x52\xe8", 4, 0, "a Multiboot 2 image; only Multiboot 1 is supported" },
};

static int not_a_kernel(struct boot_ctx *b, struct err *err)
{
	const char *path = b->cfg->kernel->path;
	size_t text = 0;

	for (size_t i = 0; i < array_size(known_files); i++)
		if (known_files[i].off + known_files[i].len <= b->head_len &&
		    !memcmp(b->head + known_files[i].off, known_files[i].magic,
			    known_files[i].len))
			return err_set(err, -EINVAL, "'%s' is not a kernel: it is %s", path,
				       known_files[i].what);
	if (b->head_len >= 512 && b->head[510] == 0x55 && b->head[511] == 0xaa)
		return err_set(err, -EINVAL,
			       "'%s' is not a kernel: it begins with a boot sector (a disk image "
			       "or a very old kernel); direct boot needs a bzImage, an ELF with a "
			       "PVH note or a Multiboot 1 image", path);
	while (text < b->head_len && text < 512 &&
	       ((b->head[text] >= 0x20 && b->head[text] != 0x7f) || strchr("\t\n\r\f", b->head[text])) && b->head[text])
		text++;
	if (text == min_of(b->head_len, (size_t)512))
		return err_set(err, -EINVAL,
			       "'%s' is not a kernel: it is a text file; give a bzImage, an ELF "
			       "with a PVH note or a Multiboot 1 image", path);
	return err_set(err, -EINVAL,
		       "'%s' is not a kernel that can be booted: neither a Linux bzImage, nor an "
		       "ELF with a PVH note, nor a Multiboot 1 image", path);
}

int boot_load(const struct boot_config *cfg, struct boot_entry *entry, struct err *err)
{
	struct boot_ctx *b = calloc(1, sizeof(*b));
	int ret = -ENOMEM;

	memset(entry, 0, sizeof(*entry));
	if (!b)
		return err_set(err, -ENOMEM, "out of memory while loading the kernel");
	b->cfg = cfg;
	b->head_len = (size_t)min_of(cfg->kernel->size, (uint64_t)BOOT_HEAD_MAX);
	/* Zero-padded to its full size: probes need no length of their own for
	 * what merely has to be recognised. */
	b->head = calloc(1, BOOT_HEAD_MAX);
	if (!b->head) {
		err_set(err, ret, "out of memory while loading the kernel");
		goto out;
	}
	ret = boot_read(cfg->kernel, 0, b->head, b->head_len, err);
	if (ret == 0) {
		if (boot_bzimage_probe(b))
			ret = boot_bzimage_load(b, entry, err);
		else if (boot_multiboot_probe(b))
			ret = boot_multiboot_load(b, entry, err);
		else if (boot_elf_magic(b))
			ret = boot_pvh_load(b, entry, err);
		else
			ret = not_a_kernel(b, err);
	}
	if (ret < 0)
		err_prefix(err, ret, "cannot boot");
	else
		ret = boot_put_gdt(b, entry, err);
out:
	free(b->head);
	free(b);
	return ret;
}

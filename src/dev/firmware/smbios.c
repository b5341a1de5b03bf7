/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/firmware/smbios.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TABLES_MAX 0xffffu    /* a 16-bit length in the 2.8 entry point */
#define DIMM_MAX (16 * GIB)   /* so that one is described in MiB within 15 bits */
#define DIMMS 64u             /* larger machines get larger memory devices */

#define VENDOR "bothy"
#define PRODUCT "Standard PC (Q35 + ICH9)"

/* Structure types. */
enum {
	T_BIOS = 0, T_SYSTEM = 1, T_CHASSIS = 3, T_PROCESSOR = 4, T_ARRAY = 16, T_DEVICE = 17,
	T_ARRAY_ADDRESS = 19, T_BOOT = 32, T_END = 127,
};

/* Handles: a range for each type. */
#define HANDLE(type, n) ((uint16_t)((type) << 8 | (n)))
#define HANDLE_NONE 0xfffeu

struct out {
	uint8_t *data;
	size_t len;
	unsigned count;      /* structures */
	size_t largest;
	size_t start;        /* of the open structure */
	unsigned strings;
	char text[512];      /* its strings, each with its end */
	size_t text_len;
	bool failed;
};

static void bytes(struct out *o, const void *p, size_t len)
{
	if (len > TABLES_MAX - o->len) {
		o->failed = true;
		return;
	}
	memcpy(o->data + o->len, p, len);
	o->len += len;
}

static void put8(struct out *o, uint8_t v) { bytes(o, &v, 1); }
static void put16(struct out *o, uint16_t v) { bytes(o, &v, 2); }
static void put32(struct out *o, uint32_t v) { bytes(o, &v, 4); }
static void put64(struct out *o, uint64_t v) { bytes(o, &v, 8); }

/* A string's number in its structure (6.1.3); 0 is "none". */
static void put_string(struct out *o, const char *s)
{
	size_t len = strlen(s) + 1;

	if (len == 1 || len > sizeof(o->text) - o->text_len) {
		put8(o, 0);
		return;
	}
	memcpy(o->text + o->text_len, s, len);
	o->text_len += len;
	put8(o, (uint8_t)++o->strings);
}

static void begin(struct out *o, uint8_t type, uint16_t handle)
{
	o->start = o->len;
	o->strings = 0;
	o->text_len = 0;
	put8(o, type);
	put8(o, 0); /* length */
	put16(o, handle);
}

static void end(struct out *o)
{
	if (o->failed)
		return;
	o->data[o->start + 1] = (uint8_t)(o->len - o->start);
	bytes(o, o->text, o->text_len);
	if (!o->text_len)
		put8(o, 0);
	put8(o, 0);
	o->largest = max_of(o->largest, o->len - o->start);
	o->count++;
}

/* 7.1: the firmware's part is left to it; these are the board's words. */
static void bios(struct out *o, const struct smbios_config *cfg)
{
	begin(o, T_BIOS, HANDLE(T_BIOS, 0));
	put_string(o, VENDOR);
	put_string(o, cfg->version);
	put16(o, 0xe800); /* segment */
	put_string(o, "01/01/2024");
	put8(o, 0);       /* 64 KiB */
	put64(o, 0x08);   /* characteristics are not given */
	put8(o, 0);
	put8(o, (uint8_t)(0x14 | (cfg->uefi ? 0x08 : 0))); /* virtual machine, UEFI */
	put8(o, 0);       /* release 0.0 */
	put8(o, 0);
	put8(o, 0xff);    /* no embedded controller */
	put8(o, 0xff);
	end(o);
}

/* 7.2. */
static void system_info(struct out *o, const struct smbios_config *cfg)
{
	begin(o, T_SYSTEM, HANDLE(T_SYSTEM, 0));
	put_string(o, VENDOR);
	put_string(o, PRODUCT);
	put_string(o, cfg->version);
	put_string(o, ""); /* serial number */
	/* 7.2.1: the first three fields are little-endian here. */
	put32(o, __builtin_bswap32(ld_le32(cfg->uuid)));
	put16(o, __builtin_bswap16(ld_le16(cfg->uuid + 4)));
	put16(o, __builtin_bswap16(ld_le16(cfg->uuid + 6)));
	bytes(o, cfg->uuid + 8, 8);
	put8(o, 6);        /* woken by the power switch */
	put_string(o, ""); /* SKU */
	put_string(o, ""); /* family */
	end(o);
}

/* 7.4. */
static void chassis(struct out *o, const struct smbios_config *cfg)
{
	begin(o, T_CHASSIS, HANDLE(T_CHASSIS, 0));
	put_string(o, VENDOR);
	put8(o, 1); /* other */
	put_string(o, cfg->version);
	put_string(o, "");
	put_string(o, "");
	put8(o, 3); /* boot-up, power supply, thermal state: safe */
	put8(o, 3);
	put8(o, 3);
	put8(o, 2); /* security: unknown */
	put32(o, 0);
	put8(o, 0); /* height, power cords, contained elements: unknown or none */
	put8(o, 0);
	put8(o, 0);
	put8(o, 0);
	put_string(o, "");
	end(o);
}

/* 7.5: one socket. */
static void processor(struct out *o, const struct smbios_config *cfg)
{
	begin(o, T_PROCESSOR, HANDLE(T_PROCESSOR, 0));
	put_string(o, "CPU 0");
	put8(o, 3); /* central processor */
	put8(o, 1); /* family: other */
	put_string(o, cfg->cpu_vendor);
	put32(o, cfg->cpu_signature);
	put32(o, cfg->cpu_features);
	put_string(o, cfg->cpu_name);
	put8(o, 0);    /* voltage */
	put16(o, 0);   /* external clock */
	put16(o, cfg->cpu_mhz); /* most */
	put16(o, cfg->cpu_mhz); /* now */
	put8(o, 0x41); /* populated, enabled */
	put8(o, 1);    /* upgrade: other */
	put16(o, 0xffff); /* caches: not given */
	put16(o, 0xffff);
	put16(o, 0xffff);
	put_string(o, "");
	put_string(o, "");
	put_string(o, "");
	put8(o, (uint8_t)cfg->cpus); /* cores, enabled, threads */
	put8(o, (uint8_t)cfg->cpus);
	put8(o, (uint8_t)cfg->cpus);
	put16(o, (uint16_t)(0x04 | (cfg->cpus > 1 ? 0x08 : 0))); /* 64-bit, several cores */
	put16(o, 1);
	put16(o, (uint16_t)cfg->cpus);
	put16(o, (uint16_t)cfg->cpus);
	put16(o, (uint16_t)cfg->cpus);
	end(o);
}

static uint64_t dimm_size(uint64_t total)
{
	uint64_t size = DIMM_MAX;

	while ((total + size - 1) / size > DIMMS)
		size *= 2;
	return size;
}

/* 7.17. */
static void memory_array(struct out *o, uint64_t total, unsigned dimms)
{
	bool wide = total >= 2048 * GIB;

	begin(o, T_ARRAY, HANDLE(T_ARRAY, 0));
	put8(o, 1); /* location: other */
	put8(o, 3); /* system memory */
	put8(o, 6); /* multi-bit ECC */
	put32(o, wide ? 0x80000000u : (uint32_t)(total >> 10));
	put16(o, HANDLE_NONE);
	put16(o, (uint16_t)dimms);
	put64(o, wide ? total : 0);
	end(o);
}

/* 7.18. */
static void memory_device(struct out *o, unsigned n, uint64_t size)
{
	char name[16];
	uint64_t mib = (size + MIB - 1) / MIB;

	snprintf(name, sizeof(name), "DIMM %u", n);
	begin(o, T_DEVICE, HANDLE(T_DEVICE, n));
	put16(o, HANDLE(T_ARRAY, 0));
	put16(o, HANDLE_NONE);
	put16(o, 0xffff); /* widths: unknown */
	put16(o, 0xffff);
	put16(o, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
	put8(o, 9); /* DIMM */
	put8(o, 0);
	put_string(o, name);
	put_string(o, "");
	put8(o, 7); /* RAM */
	put16(o, 2); /* other */
	put16(o, 0); /* speed */
	put_string(o, VENDOR);
	put_string(o, "");
	put_string(o, "");
	put_string(o, "");
	put8(o, 0); /* rank */
	put32(o, mib < 0x7fff ? 0 : (uint32_t)mib);
	put16(o, 0);
	put16(o, 0); /* voltages */
	put16(o, 0);
	put16(o, 0);
	end(o);
}

/* 7.20. Addresses in KiB where they fit. */
static void mapped_address(struct out *o, unsigned n, uint64_t start, uint64_t len)
{
	uint64_t last = start + len - 1;
	bool wide = last >> 10 >= UINT32_MAX;

	begin(o, T_ARRAY_ADDRESS, HANDLE(T_ARRAY_ADDRESS, n));
	put32(o, wide ? UINT32_MAX : (uint32_t)(start >> 10));
	put32(o, wide ? UINT32_MAX : (uint32_t)(last >> 10));
	put16(o, HANDLE(T_ARRAY, 0));
	put8(o, 1);
	put64(o, wide ? start : 0);
	put64(o, wide ? last : 0);
	end(o);
}

static void memory(struct out *o, const struct smbios_config *cfg)
{
	uint64_t total = cfg->low_mem + cfg->high_mem, size = dimm_size(total);
	unsigned dimms = (unsigned)((total + size - 1) / size);

	memory_array(o, total, dimms);
	for (unsigned n = 0; n < dimms; n++)
		memory_device(o, n, min_of(size, total - n * size));
	mapped_address(o, 0, 0, cfg->low_mem);
	if (cfg->high_mem)
		mapped_address(o, 1, 4 * GIB, cfg->high_mem);
}

/* 7.33: no errors when it last booted. */
static void boot_info(struct out *o)
{
	static const uint8_t zero[7];

	begin(o, T_BOOT, HANDLE(T_BOOT, 0));
	bytes(o, zero, sizeof(zero));
	end(o);
}

static uint8_t negated_sum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return (uint8_t)-sum;
}

/* 5.2.1: the 2.8 entry point. Firmware places the tables and sums again. */
static void anchor_v2(struct smbios *s, const struct out *o)
{
	uint8_t *a = s->anchor;

	memcpy(a, "_SM_", 4);
	a[5] = 0x1f;
	a[6] = 2;
	a[7] = 8;
	st_le16(a + 8, (uint16_t)o->largest);
	memcpy(a + 16, "_DMI_", 5);
	st_le16(a + 22, (uint16_t)o->len);
	st_le16(a + 28, (uint16_t)o->count);
	a[30] = 0x28;
	a[21] = negated_sum(a + 16, 15);
	a[4] = negated_sum(a, 0x1f);
	s->anchor_len = 0x1f;
}

/* 5.2.2. */
static void anchor_v3(struct smbios *s, const struct out *o)
{
	uint8_t *a = s->anchor;

	memcpy(a, "_SM3_", 5);
	a[6] = 0x18;
	a[7] = 3;
	a[10] = 1; /* entry point revision */
	st_le32(a + 12, (uint32_t)o->len);
	a[5] = negated_sum(a, 0x18);
	s->anchor_len = 0x18;
}

int smbios_init(struct smbios *s, const struct smbios_config *cfg, struct err *err)
{
	struct out o = { .data = malloc(TABLES_MAX) };

	*s = (struct smbios){ 0 };
	if (!o.data)
		return err_set(err, -ENOMEM, "out of memory for the SMBIOS tables");
	bios(&o, cfg);
	system_info(&o, cfg);
	chassis(&o, cfg);
	processor(&o, cfg);
	memory(&o, cfg);
	boot_info(&o);
	begin(&o, T_END, HANDLE(T_END, 0));
	end(&o);
	if (o.failed) {
		free(o.data);
		return err_set(err, -ENOSPC, "the SMBIOS tables are longer than %u bytes",
			       TABLES_MAX);
	}
	s->tables = o.data;
	s->len = o.len;
	if (cfg->v3)
		anchor_v3(s, &o);
	else
		anchor_v2(s, &o);
	return 0;
}

void smbios_fini(struct smbios *s)
{
	free(s->tables);
	*s = (struct smbios){ 0 };
}

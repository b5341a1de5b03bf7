/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/machine/firmware.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/version.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/x86.h"
#include "src/dev/acpi/loader.h"
#include "src/dev/firmware/boot.h"
#include "src/dev/firmware/rom.h"
#include "src/dev/firmware/smbios.h"
#include "src/dev/legacy/ioapic.h"
#include "src/dev/legacy/mc146818.h"
#include "src/dev/pci/ich9_lpc.h"
#include "src/dev/pci/pci_scan.h"
#include "src/machine/board.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define ROM_MAX (16 * MIB)      /* below 4 GiB, clear of the local APICs */
#define TABLES_SLACK 4096u      /* the tables may grow by this between resets */
#define MEM64_LEN (32 * GIB)    /* offered above RAM where firmware used less */
#define CLASS_DISPLAY 3

/* CMOS memory as SeaBIOS reads it. */
#define CMOS_BOOT_3 0x38        /* high nibble: third choice; bit 0: no floppy check */
#define CMOS_BOOT_12 0x3d       /* low nibble: first choice, high nibble: second */
#define CMOS_CPUS 0x5f          /* processors, without the first */
enum { CMOS_FLOPPY = 1, CMOS_DISK = 2, CMOS_CD = 3 };

/*
 * ACPI tables, made anew when the guest asks for them: by then it has programmed where
 * things are.
 */

/* Below the chipset's registers, around configuration space. */
static void mem32_windows(const struct firmware *f, struct acpi_config *ac)
{
	uint64_t start = align_up(f->cfg.low, MIB), end = IOAPIC_BASE;
	uint64_t ecam = f->cfg.q35->ecam.start, ecam_end = ecam + f->cfg.q35->ecam.len;

	ac->pci_mem32 = (struct acpi_window){ start, end - start };
	ac->pci_mem32_more = (struct acpi_window){ 0, 0 };
	if (!f->cfg.q35->ecam.mapped || ecam >= end || ecam_end <= start)
		return;
	ac->pci_mem32.len = ecam > start ? ecam - start : 0;
	if (ecam_end < end)
		ac->pci_mem32_more = (struct acpi_window){ ecam_end, end - ecam_end };
}

static void mem64_window(const struct firmware *f, struct acpi_config *ac)
{
	uint64_t limit = 1ull << f->cfg.env->mem->phys_bits, first, last;
	uint64_t start = align_up(4 * GIB + f->cfg.high, GIB), end = start + MEM64_LEN;

	if (pci_mem64_span(&f->cfg.q35->bus, &first, &last)) {
		start = max_of(start, align_down(first, GIB));
		end = max_of(start + MEM64_LEN, align_up(last, GIB));
	}
	end = min_of(end, limit);
	ac->pci_mem64 = (struct acpi_window){ start, end > start ? end - start : 0 };
}

static void current_config(const struct firmware *f, struct acpi_config *ac)
{
	const struct q35 *q = f->cfg.q35;
	const struct bus_range *pm = &f->cfg.lpc->pm.ports;

	*ac = f->cfg.acpi;
	ac->ecam_base = q->ecam.mapped && q->ecam.start < 4 * GIB ? q->ecam.start : 0;
	ac->ecam_len = ac->ecam_base ? (uint32_t)q->ecam.len : 0;
	ac->pm_base = pm->mapped ? (uint16_t)pm->start : ICH9_PMBASE;
	ac->vga = pci_has_class(&f->cfg.q35->bus, CLASS_DISPLAY);
	mem32_windows(f, ac);
	mem64_window(f, ac);
}

static void remake_tables(void *opaque)
{
	struct firmware *f = opaque;
	struct acpi_config ac;
	struct acpi_files files;
	struct err err = { "" };
	int ret;

	current_config(f, &ac);
	ret = acpi_files_init(&files, &ac, &err);
	if (ret == 0) {
		ret = fw_cfg_set_file(&f->fw_cfg, ACPI_FILE_TABLES, files.tables,
				      (uint32_t)files.tables_len);
		if (ret == 0)
			ret = fw_cfg_set_file(&f->fw_cfg, ACPI_FILE_RSDP, files.rsdp,
					      sizeof(files.rsdp));
		if (ret == 0)
			ret = fw_cfg_set_file(&f->fw_cfg, ACPI_FILE_LOADER, files.loader,
					      sizeof(files.loader));
		acpi_files_fini(&files);
	}
	/* What a guest programs can be no board; it keeps the tables from before. */
	if (ret < 0)
		log_guest(f->cfg.env->log, &f->limit, "the ACPI tables stay as they were: %s",
			  err_is_set(&err) ? err.text : strerror(-ret));
}

static int add_acpi(struct firmware *f, struct err *err)
{
	struct fw_cfg *c = &f->fw_cfg;
	struct acpi_config ac;
	struct acpi_files files;
	uint8_t *padded;
	uint32_t len;
	int ret;

	current_config(f, &ac);
	ret = acpi_files_init(&files, &ac, err);
	if (ret < 0)
		return ret;
	len = (uint32_t)align_up(files.tables_len + TABLES_SLACK, 4096);
	padded = calloc(1, len);
	if (padded) {
		memcpy(padded, files.tables, files.tables_len);
		ret = fw_cfg_add_made(c, ACPI_FILE_TABLES, padded, len, err);
	} else {
		ret = err_set(err, -ENOMEM, "out of memory for the ACPI tables");
	}
	if (ret == 0)
		ret = fw_cfg_add_made(c, ACPI_FILE_RSDP, files.rsdp, sizeof(files.rsdp), err);
	if (ret == 0)
		ret = fw_cfg_add_made(c, ACPI_FILE_LOADER, files.loader, sizeof(files.loader),
				      err);
	c->make = remake_tables;
	c->make_opaque = f;
	free(padded);
	acpi_files_fini(&files);
	return ret;
}

static int add_smbios(struct firmware *f, struct err *err)
{
	struct x86_cpu *cpu = f->cfg.cpus->vcpu[0].x86;
	struct smbios_config cfg = {
		.cpus = f->cfg.cpus->count,
		.low_mem = f->cfg.low,
		.high_mem = f->cfg.high,
		.cpu_vendor = cpu->vendor,
		.cpu_name = cpu->brand,
		.cpu_mhz = (uint16_t)min_of(f->cfg.cpus->tsc_hz / 1000000, 0xffffu),
		.uefi = !strcmp(f->cfg.kind, "uefi"),
		.version = BOTHY_VERSION,
	};
	uint32_t leaf[4];
	struct smbios s;
	int ret;

	x86_cpuid(cpu, 1, 0, leaf);
	cfg.cpu_signature = leaf[0];
	cfg.cpu_features = leaf[3];
	memcpy(cfg.uuid, f->cfg.uuid, sizeof(cfg.uuid));
	ret = smbios_init(&s, &cfg, err);
	if (ret < 0)
		return ret;
	ret = fw_cfg_add_file(&f->fw_cfg, SMBIOS_FILE_TABLES, s.tables, (uint32_t)s.len, err);
	if (ret == 0)
		ret = fw_cfg_add_file(&f->fw_cfg, SMBIOS_FILE_ANCHOR, s.anchor,
				      (uint32_t)s.anchor_len, err);
	smbios_fini(&s);
	return ret;
}

/*
 * Other items.
 */
static int add_e820(struct firmware *f, struct err *err)
{
	uint8_t map[2 * 20]; /* address, length, type: packed */

	st_le64(map, 0);
	st_le64(map + 8, f->cfg.low);
	st_le32(map + 16, E820_RAM);
	st_le64(map + 20, 4 * GIB);
	st_le64(map + 28, f->cfg.high);
	st_le32(map + 36, E820_RAM);
	return fw_cfg_add_file(&f->fw_cfg, "etc/e820", map, f->cfg.high ? 40 : 20, err);
}

static int add_number(struct fw_cfg *c, enum fw_cfg_key key, uint64_t v, uint32_t len,
		      struct err *err)
{
	uint8_t b[8];

	st_le64(b, v);
	return fw_cfg_add_item(c, key, b, len, err);
}

/* For each processor the node it is on, and for each node its memory: none. */
static int add_numa(struct firmware *f, struct err *err)
{
	uint32_t len = (1 + f->cfg.cpus->count) * 8;
	uint8_t *zero = calloc(1, len);
	int ret = zero ? fw_cfg_add_item(&f->fw_cfg, FW_CFG_NUMA, zero, len, err)
		       : err_set(err, -ENOMEM, "out of memory");

	free(zero);
	return ret;
}

static int add_items(struct firmware *f, struct err *err)
{
	/* Which sleep states there are (bit 7) and their SLP_TYP: S0 and S5, no S3, S4. */
	static const uint8_t states[6] = { 128, 0, 0, 1, 2, 128 };
	static const uint8_t wait_for_ever[4] = { 0xff, 0xff, 0xff, 0xff };
	struct fw_cfg *c = &f->fw_cfg;
	unsigned cpus = f->cfg.cpus->count;
	bool screen = pci_has_class(&f->cfg.q35->bus, CLASS_DISPLAY);
	int ret = add_e820(f, err);

	if (ret == 0)
		ret = add_numa(f, err);
	if (ret == 0)
		ret = fw_cfg_add_item(c, FW_CFG_UUID, f->cfg.uuid, 16, err);
	if (ret == 0)
		ret = add_number(c, FW_CFG_RAM_SIZE, f->cfg.low + f->cfg.high, 8, err);
	/* Without a screen SeaBIOS shows its text on the first serial port. */
	if (ret == 0)
		ret = add_number(c, FW_CFG_NOGRAPHIC, !screen, 2, err);
	if (ret == 0)
		ret = add_number(c, FW_CFG_NB_CPUS, cpus, 2, err);
	if (ret == 0)
		ret = add_number(c, FW_CFG_MAX_CPUS, cpus, 2, err);
	if (ret == 0)
		ret = add_number(c, FW_CFG_BOOT_MENU, 0, 2, err);
	if (ret == 0)
		ret = fw_cfg_add_file(c, "etc/system-states", states, sizeof(states), err);
	if (ret == 0)
		ret = fw_cfg_add_file(c, "etc/boot-fail-wait", wait_for_ever, 4, err);
	return ret;
}

/*
 * Files of people's own. The name space "opt/" is theirs; the rest is firmware's.
 */
#define OWN_MAX (64u << 20)

static int add_own_file(struct firmware *f, const struct dev_item *item, struct err *err)
{
	const char *name = NULL, *file = NULL, *string = NULL;
	uint8_t *data = NULL;
	size_t len;
	int ret = 0;

	for (size_t i = 0; i < item->count; i++) {
		const struct dev_prop_text *p = &item->props[i];
		const char **to = !strcmp(p->name, "name") ? &name : !strcmp(p->name, "file") ? &file
				: !strcmp(p->name, "string") ? &string : NULL;

		if (!to)
			return err_set(err, -EINVAL, "fw-cfg has no '%s'; there are name, file and "
				       "string", p->name);
		*to = p->value;
	}
	if (!name || !file == !string)
		return err_set(err, -EINVAL, "fw-cfg needs name=opt/... and either file= or "
			       "string=");
	if (strncmp(name, "opt/", 4) || !name[4])
		return err_set(err, -EINVAL, "fw-cfg: the name '%s' must begin with opt/; all "
			       "others are firmware's own", name);
	if (strlen(name) >= FW_CFG_NAME)
		return err_set(err, -EINVAL, "fw-cfg: a name has at most %u characters, '%s' has %zu",
			       FW_CFG_NAME - 1, name, strlen(name));
	if (string)
		len = strlen(string);
	else
		ret = rom_read("fw-cfg file", file, OWN_MAX, &data, &len, err);
	if (ret < 0)
		return ret == -EINVAL ? -EIO : ret;
	ret = fw_cfg_add_file(&f->fw_cfg, name, string ? (const void *)string : data, (uint32_t)len,
			      err);
	free(data);
	return ret == -EEXIST || ret == -ENOSPC ? -EINVAL : ret;
}

static void set_cmos(struct firmware *f)
{
	mc146818_set_cmos(f->cfg.rtc, CMOS_CPUS, (uint8_t)(f->cfg.cpus->count - 1));
	/* For what "bootorder" does not name. */
	mc146818_set_cmos(f->cfg.rtc, CMOS_BOOT_12, CMOS_CD << 4 | CMOS_DISK);
	mc146818_set_cmos(f->cfg.rtc, CMOS_BOOT_3, CMOS_FLOPPY << 4);
}

int firmware_finish(struct firmware *f, const char *boot_order, struct err *err)
{
	int ret = add_items(f, err);

	if (ret == 0)
		ret = add_acpi(f, err);
	if (ret == 0)
		ret = add_smbios(f, err);
	if (ret == 0 && boot_order && boot_order[0])
		ret = fw_cfg_add_file(&f->fw_cfg, "bootorder", boot_order,
				      (uint32_t)strlen(boot_order) + 1, err);
	for (size_t i = 0; ret == 0 && i < f->cfg.fw_cfg->count; i++)
		ret = add_own_file(f, &f->cfg.fw_cfg->item[i], err);
	set_cmos(f);
	return ret;
}

/*
 * The ROM, or flash.
 */
static int load_block(struct firmware *f, const char *what, const char *path, uint64_t max,
		      struct mem_block **block, struct err *err)
{
	uint8_t *data;
	size_t len;
	int ret = rom_read(what, path, max, &data, &len, err);

	if (ret < 0)
		return ret;
	if (len % MEM_PAGE_SIZE || len < 64 << 10)
		ret = err_set(err, -EINVAL, "'%s' is no %s: its size, %zu bytes, is no multiple of "
			      "4 KiB from 64 KiB on", path, what, len);
	if (ret == 0) {
		*block = mem_block_new(f->cfg.env->mem, what, len, true, err);
		ret = *block ? mem_block_write(f->cfg.env->mem, *block, 0, data, len) : -ENOMEM;
	}
	free(data);
	return ret;
}

static int store(void *opaque, uint64_t off, const void *p, size_t len)
{
	struct firmware *f = opaque;

	while (len) {
		ssize_t n = pwrite(f->cfg.vars_fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p = (const uint8_t *)p + n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int sync_store(void *opaque)
{
	struct firmware *f = opaque;

	return fdatasync(f->cfg.vars_fd) < 0 ? -errno : 0;
}

static int load_vars(struct firmware *f, struct err *err)
{
	uint64_t max = ROM_MAX - f->rom->len;
	char path[PATH_MAX];
	int ret;

	if (f->cfg.vars_fd >= 0)
		ret = snprintf(path, sizeof(path), "/proc/self/fd/%d", f->cfg.vars_fd) < 0;
	else
		ret = rom_find(BOARD_UEFI_VARS, path, sizeof(path), err);
	return ret < 0 ? ret : load_block(f, "variable store", path, max, &f->vars_block, err);
}

/* Code at the end, the variables right below it. */
static int add_flash(struct firmware *f, struct err *err)
{
	struct pflash_config code = {
		.name = "firmware flash", .block = f->rom, .base = 4 * GIB - f->rom->len,
		.read_only = true,
	};
	struct pflash_config vars = { .name = "variable flash", .opaque = f };
	int ret = load_vars(f, err);

	if (ret < 0)
		return ret;
	vars.block = f->vars_block;
	vars.base = code.base - vars.block->len;
	if (f->cfg.vars_fd >= 0) {
		vars.store = store;
		vars.sync = sync_store;
	}
	ret = pflash_init(&f->code, f->cfg.env, &code, err);
	if (ret == 0)
		ret = pflash_init(&f->vars, f->cfg.env, &vars, err);
	return ret;
}

static int add_rom(struct firmware *f, struct err *err)
{
	bool bios = !strcmp(f->cfg.kind, "bios"), uefi = !strcmp(f->cfg.kind, "uefi");
	const char *name = bios ? "bios-256k.bin" : BOARD_UEFI_CODE;
	char path[PATH_MAX];
	int ret;

	ret = snprintf(path, sizeof(path), "%s", f->cfg.kind);
	if (ret < 0 || (size_t)ret >= sizeof(path))
		return err_set(err, -ENAMETOOLONG, "the firmware's path is too long");
	ret = bios || uefi ? rom_find(name, path, sizeof(path), err) : 0;
	if (ret == 0)
		ret = load_block(f, "firmware", path, ROM_MAX, &f->rom, err);
	if (ret < 0)
		return ret;
	f->flash = uefi || f->cfg.vars_fd >= 0;
	if (f->flash)
		return add_flash(f, err);
	ret = mem_map_set(f->cfg.env->mem, 4 * GIB - f->rom->len, f->rom->len, f->rom, 0, true,
			  false);
	return ret < 0 ? err_set(err, ret, "out of memory for the guest's memory map") : 0;
}

int firmware_init(struct firmware *f, const struct firmware_config *cfg, struct err *err)
{
	int ret;

	f->cfg = *cfg;
	ret = add_rom(f, err);
	if (ret == -EINVAL)
		ret = -EIO; /* a bad file is no wrong use */
	if (ret == 0)
		ret = shadow_init(&f->shadow, cfg->env, cfg->q35, cfg->ram, f->rom, err);
	if (ret == 0)
		ret = fw_cfg_init(&f->fw_cfg, cfg->env, err);
	if (ret < 0) {
		f->fw_cfg.env = NULL; /* it undid itself */
		firmware_fini(f);
	}
	return ret;
}

void firmware_fini(struct firmware *f)
{
	if (f->fw_cfg.env)
		fw_cfg_fini(&f->fw_cfg);
	shadow_fini(&f->shadow, f->cfg.q35);
	pflash_fini(&f->vars);
	pflash_fini(&f->code);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/firmware/fw_cfg.h"

#include <errno.h>
#include <stdlib.h>

#include "src/base/bits.h"

#define ID_TRADITIONAL 0x1u
#define ID_DMA 0x2u
#define DMA_OFFSET 4u          /* of the DMA registers, from FW_CFG_PORT */
#define DMA_SIGNATURE 0x51454d5520434647ull /* "QEMU CFG" */

/* The DMA descriptor's control word. */
#define CTL_ERROR 0x01u
#define CTL_READ 0x02u
#define CTL_SKIP 0x04u
#define CTL_SELECT 0x08u
#define CTL_WRITE 0x10u

/* Bytes past an item's end that one descriptor may ask for: they read as zero. A guest
 * that asks for 4 GiB of them would keep the device lock for long. */
#define ZEROES_MAX 0x10000u
#define DIR_ENTRY 64u

static struct fw_cfg_item *selected(struct fw_cfg *f)
{
	unsigned limit = FW_CFG_FILE_FIRST + f->files;

	return f->selected < limit && f->item[f->selected].data ? &f->item[f->selected] : NULL;
}

static void select_item(struct fw_cfg *f, uint16_t key)
{
	struct fw_cfg_item *it;

	/* Bit 14 asks for the item's write channel, which data port writes would use;
	 * they are gone, so that it names the same. */
	f->selected = key & 0xbfff;
	f->offset = 0;
	it = selected(f);
	if (!it || !it->made || f->made || !f->make)
		return;
	f->made = true;
	f->make(f->make_opaque);
}

/* What is left of the selected item, from the offset on. */
static uint32_t remaining(struct fw_cfg *f)
{
	struct fw_cfg_item *it = selected(f);

	return it && f->offset < it->len ? it->len - f->offset : 0;
}

static uint8_t next_byte(struct fw_cfg *f)
{
	return remaining(f) ? selected(f)->data[f->offset++] : 0;
}

/*
 * Selector and data ports.
 */
static uint64_t ports_read(void *dev, uint64_t off, unsigned size)
{
	struct fw_cfg *f = dev;

	return off == 1 && size == 1 ? next_byte(f) : 0;
}

static void ports_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	/* Writes to the data port were possible once; nobody relies on them. */
	if (off == 0 && size == 2)
		select_item(dev, (uint16_t)val);
}

static const struct bus_ops ports_ops = { ports_read, ports_write, 1, 2, false };

/*
 * DMA.
 */
static int dma_read(struct fw_cfg *f, gpa_t to, uint32_t len)
{
	static const uint8_t zero[4096];
	uint32_t n = min_of(len, remaining(f));

	if (len - n > ZEROES_MAX)
		return -EINVAL;
	if (n && mem_write(f->env->mem, to, selected(f)->data + f->offset, n) < 0)
		return -EFAULT;
	f->offset += n;
	for (to += n, len -= n; len; to += n, len -= n) {
		n = min_of(len, (uint32_t)sizeof(zero));
		if (mem_write(f->env->mem, to, zero, n) < 0)
			return -EFAULT;
	}
	return 0;
}

static int dma_write(struct fw_cfg *f, gpa_t from, uint32_t len)
{
	struct fw_cfg_item *it = selected(f);

	if (!it || !it->writable || len > remaining(f))
		return -EPERM;
	if (len && mem_read(f->env->mem, from, it->data + f->offset, len) < 0)
		return -EFAULT;
	f->offset += len;
	return 0;
}

static void dma_run(struct fw_cfg *f, gpa_t at)
{
	uint8_t d[16];
	uint32_t control, len;
	gpa_t addr;
	int ret = 0;

	if (at > UINT64_MAX - sizeof(d) || mem_read(f->env->mem, at, d, sizeof(d)) < 0) {
		log_guest(f->env->log, &f->limit, "fw_cfg: a DMA descriptor at %#llx, which is no "
			  "memory", (unsigned long long)at);
		return;
	}
	control = ld_be32(d);
	len = ld_be32(d + 4);
	addr = ld_be64(d + 8);
	if (control & CTL_SELECT)
		select_item(f, (uint16_t)(control >> 16));
	if (control & (CTL_READ | CTL_WRITE) && addr > UINT64_MAX - len)
		ret = -EFAULT;
	else if (control & CTL_READ)
		ret = dma_read(f, addr, len);
	else if (control & CTL_WRITE)
		ret = dma_write(f, addr, len);
	else if (control & CTL_SKIP)
		f->offset += min_of(len, remaining(f));
	if (ret < 0)
		log_guest(f->env->log, &f->limit, "fw_cfg: a DMA %s of %u bytes at %#llx, item "
			  "%#x, cannot be", control & CTL_READ ? "read" : "write", len,
			  (unsigned long long)addr, f->selected);
	st_be32(d, ret < 0 ? CTL_ERROR : 0);
	if (mem_write(f->env->mem, at, d, 4) < 0)
		log_guest(f->env->log, &f->limit, "fw_cfg: a DMA descriptor in read-only memory");
}

/* The registers are big-endian. */
static uint64_t dma_reg_read(void *dev, uint64_t off, unsigned size)
{
	uint8_t b[8];
	uint64_t v = 0;

	st_be64(b, DMA_SIGNATURE);
	memcpy(&v, b + off, size);
	return v;
}

static void dma_reg_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	struct fw_cfg *f = dev;
	uint32_t v = __builtin_bswap32((uint32_t)val);
	gpa_t at = (gpa_t)f->dma_high << 32 | v;

	if (size != 4)
		return;
	if (off == 0) {
		f->dma_high = v;
	} else if (off == 4) {
		f->dma_high = 0;
		dma_run(f, at);
	}
}

static const struct bus_ops dma_ops = { dma_reg_read, dma_reg_write, 1, 4, false };

/*
 * Items.
 */
static int set_data(struct fw_cfg_item *it, const void *data, uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, data, len);
	free(it->data);
	it->data = copy;
	it->len = len;
	return 0;
}

int fw_cfg_add_item(struct fw_cfg *f, enum fw_cfg_key key, const void *data, uint32_t len,
		    struct err *err)
{
	if (set_data(&f->item[key], data, len) < 0)
		return err_set(err, -ENOMEM, "out of memory for firmware item %#x", key);
	return 0;
}

static struct fw_cfg_item *find(const struct fw_cfg *f, const char *name)
{
	const struct fw_cfg_item *it = f->item + FW_CFG_FILE_FIRST;

	for (unsigned n = 0; n < f->files; n++)
		if (!strcmp(it[n].name, name))
			return (struct fw_cfg_item *)&it[n];
	return NULL;
}

const struct fw_cfg_item *fw_cfg_file(const struct fw_cfg *f, const char *name)
{
	return find(f, name);
}

/* The directory is an item like others: a count and an entry for each file. */
static int make_directory(struct fw_cfg *f, struct err *err)
{
	uint8_t dir[4 + FW_CFG_FILES * DIR_ENTRY] = { 0 };

	st_be32(dir, f->files);
	for (unsigned n = 0; n < f->files; n++) {
		const struct fw_cfg_item *it = &f->item[FW_CFG_FILE_FIRST + n];
		uint8_t *e = dir + 4 + n * DIR_ENTRY;

		st_be32(e, it->len);
		st_be16(e + 4, (uint16_t)(FW_CFG_FILE_FIRST + n));
		memcpy(e + 8, it->name, strlen(it->name));
	}
	return fw_cfg_add_item(f, FW_CFG_FILE_DIR, dir, 4 + f->files * DIR_ENTRY, err);
}

static int new_file(struct fw_cfg *f, const char *name, struct fw_cfg_item **it,
		    struct err *err)
{
	if (!name[0] || strlen(name) >= FW_CFG_NAME)
		return err_set(err, -ENAMETOOLONG, "a firmware file's name has 1 to %u characters, "
			       "'%s' has %zu", FW_CFG_NAME - 1, name, strlen(name));
	if (find(f, name))
		return err_set(err, -EEXIST, "there are two firmware files '%s'", name);
	if (f->files == FW_CFG_FILES)
		return err_set(err, -ENOSPC, "there is no room for firmware file '%s': %u are the "
			       "most", name, FW_CFG_FILES);
	*it = &f->item[FW_CFG_FILE_FIRST + f->files];
	strcpy((*it)->name, name);
	return 0;
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, uint32_t len,
		    struct err *err)
{
	struct fw_cfg_item *it;
	int ret = new_file(f, name, &it, err);

	if (ret == 0 && set_data(it, data, len) < 0)
		ret = err_set(err, -ENOMEM, "out of memory for firmware file '%s'", name);
	if (ret < 0)
		return ret;
	f->files++;
	return make_directory(f, err);
}

static int add_pooled(struct fw_cfg *f, const char *name, const void *data, uint32_t len,
		      struct fw_cfg_item **out, struct err *err)
{
	struct fw_cfg_item *it;
	int ret = new_file(f, name, &it, err);

	if (ret < 0)
		return ret;
	if (len > FW_CFG_POOL - f->pool_used)
		return err_set(err, -ENOSPC, "there is no room for firmware file '%s' of %u bytes",
			       name, len);
	it->data = f->pool + f->pool_used;
	it->len = len;
	it->pooled = true;
	if (data)
		memcpy(it->data, data, len);
	f->pool_used += len;
	f->files++;
	*out = it;
	return make_directory(f, err);
}

int fw_cfg_add_writable(struct fw_cfg *f, const char *name, uint32_t len, struct err *err)
{
	struct fw_cfg_item *it = NULL;
	int ret = add_pooled(f, name, NULL, len, &it, err);

	if (ret == 0)
		it->writable = true;
	return ret;
}

int fw_cfg_add_made(struct fw_cfg *f, const char *name, const void *data, uint32_t len,
		    struct err *err)
{
	struct fw_cfg_item *it = NULL;
	int ret = add_pooled(f, name, data, len, &it, err);

	if (ret == 0)
		it->made = true;
	return ret;
}

int fw_cfg_set_file(struct fw_cfg *f, const char *name, const void *data, uint32_t len)
{
	struct fw_cfg_item *it = find(f, name);

	if (!it || !it->made)
		return -ENOENT;
	if (len > it->len)
		return -EFBIG;
	memcpy(it->data, data, len);
	memset(it->data + len, 0, it->len - len);
	return 0;
}

/*
 * Life.
 */
static void reset(void *dev)
{
	struct fw_cfg *f = dev;

	for (unsigned n = 0; n < f->files; n++) {
		struct fw_cfg_item *it = &f->item[FW_CFG_FILE_FIRST + n];

		if (it->writable)
			memset(it->data, 0, it->len);
	}
	f->made = false;
	f->selected = 0;
	f->offset = 0;
	f->dma_high = 0;
}

int fw_cfg_init(struct fw_cfg *f, const struct dev_env *env, struct err *err)
{
	uint8_t id[4];
	int ret;

	memset(f, 0, sizeof(*f));
	f->env = env;
	st_le32(id, ID_TRADITIONAL | ID_DMA);
	f->ports = (struct bus_range){ FW_CFG_PORT, 2, &ports_ops, f, "fw_cfg" };
	f->dma_ports = (struct bus_range){ FW_CFG_PORT + DMA_OFFSET, 8, &dma_ops, f, "fw_cfg-dma" };
	ret = fw_cfg_add_item(f, FW_CFG_SIGNATURE, "QEMU", 4, err);
	if (ret == 0)
		ret = fw_cfg_add_item(f, FW_CFG_ID, id, sizeof(id), err);
	if (ret == 0)
		ret = make_directory(f, err);
	if (ret == 0 && (bus_add_pio(env->bus, &f->ports) != 0 ||
			 bus_add_pio(env->bus, &f->dma_ports) != 0))
		ret = err_set(err, -ENOMEM, "cannot place the firmware configuration device");
	if (ret < 0)
		fw_cfg_fini(f);
	return ret;
}

void fw_cfg_fini(struct fw_cfg *f)
{
	bus_del_pio(f->env->bus, &f->ports);
	bus_del_pio(f->env->bus, &f->dma_ports);
	for (size_t n = 0; n < array_size(f->item); n++) {
		if (!f->item[n].pooled)
			free(f->item[n].data);
		f->item[n] = (struct fw_cfg_item){ 0 };
	}
	f->files = 0;
}

static int post_load(void *obj, unsigned version, struct err *err)
{
	struct fw_cfg *f = obj;
	struct fw_cfg_item *it = selected(f);

	if (f->offset > (it ? it->len : 0))
		return err_set(err, -EINVAL, "firmware item %#x has no byte %u", f->selected,
			       f->offset);
	return 0;
}

static const struct state_field fields[] = {
	STATE_U16(struct fw_cfg, selected, 1),
	STATE_U32(struct fw_cfg, offset, 1),
	STATE_U32(struct fw_cfg, dma_high, 1),
	STATE_BOOL(struct fw_cfg, made, 1),
	STATE_BYTES(struct fw_cfg, pool, 1),
	STATE_END
};

static const struct state_desc state = {
	.name = "fw_cfg", .version = 1, .fields = fields, .post_load = post_load,
};

const struct dev_desc fw_cfg_desc = {
	.name = "fw_cfg",
	.title = "firmware configuration",
	.reset = reset,
	.state = &state,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMware disk images: a text descriptor and one or more extents. Source: VMware's
 * "Virtual Disk Format 1.1" technical note. */
#ifndef BOTHY_BLOCK_VMDK_VMDK_H
#define BOTHY_BLOCK_VMDK_VMDK_H

#include "src/block/grains.h"
#include "src/block/packer.h"

#define VMDK_MAGIC 0x564d444bu /* "KDMV" */
#define VMDK_FLAG_NEWLINES (1u << 0)
#define VMDK_FLAG_REDUNDANT (1u << 1)
#define VMDK_FLAG_ZERO_GRAIN (1u << 2)
#define VMDK_FLAG_COMPRESSED (1u << 16)
#define VMDK_FLAG_MARKERS (1u << 17)
#define VMDK_GD_AT_END 0xffffffffffffffffULL
#define VMDK_NO_PARENT 0xffffffffu
#define VMDK_GTES 512u
#define VMDK_MAX_EXTENTS 4096u
#define VMDK_DESC_SECTORS 20u
#define VMDK_MAX_DESC (1u << 20)

enum vmdk_extent_kind { VMDK_FLAT, VMDK_ZERO, VMDK_SPARSE };

struct vmdk_extent {
	enum vmdk_extent_kind kind;
	char *name;           /* as the descriptor has it */
	uint64_t start, len;  /* bytes of the disk */
	uint64_t flat_off;    /* VMDK_FLAT: bytes into its file */
	struct block_node *file;
	bool own_file;        /* else it is the image's own */
	/* VMDK_SPARSE */
	struct grains g;
	uint32_t *gd, *rgd; /* sectors of the grain tables; rgd may be NULL */
	uint64_t tables;    /* of each */
	uint64_t end;       /* where the next grain goes */
	uint64_t data_off;
	uint32_t flags;
	bool compressed;
	struct packers *packers; /* the image's */
};

struct vmdk {
	struct vmdk_extent *ext;
	unsigned next;
	char type[32]; /* createType */
	uint32_t cid, parent_cid;
	uint64_t desc_off, desc_len; /* of the text, in the image's own file */
	atomic_bool cid_changed;
	pthread_mutex_t lock;
	struct packers packers;
};

/* ---- descriptor.c ---- */
struct vmdk_desc { /* what the text says */
	char type[32];
	uint32_t cid, parent_cid;
	char *parent; /* NULL: none */
	struct vmdk_extent *ext;
	unsigned next;
};
int must_check vmdk_desc_parse(const char *text, const char *path, struct vmdk_desc *d,
			       struct err *err);
void vmdk_desc_fini(struct vmdk_desc *d);
/* The text of a new descriptor; malloc'd. @lines: the extent lines. */
char *vmdk_desc_text(uint32_t cid, uint32_t parent_cid, const char *parent, const char *type,
		     const char *lines, uint64_t disk_bytes, const char *adapter,
		     const char *hw_version);
/* Writes "CID=..." anew, in place. */
int must_check vmdk_desc_set_cid(struct block_node *n, struct vmdk *m, uint32_t cid);

/* ---- sparse.c ---- */
/* e->file is open; reads its header and directories. */
int must_check vmdk_sparse_open(struct block_node *n, struct vmdk_extent *e, struct err *err);
void vmdk_sparse_close(struct vmdk_extent *e);
int must_check vmdk_sparse_pack(struct vmdk_extent *e, uint64_t off, const void *buf, size_t len);
/* Writes header, empty directories and tables to an empty file. @desc NULL: none inside. */
int must_check vmdk_sparse_create(struct block_node *file, uint64_t bytes, bool packed,
				  bool zero_grains, const char *desc);

/* ---- create.c ---- */
int must_check vmdk_create(const struct block_create *c, struct err *err);
extern const struct block_create_opt vmdk_create_opts[];

#endif

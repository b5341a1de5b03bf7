/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text part of a VMDK image. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/block/vmdk/vmdk.h"

void vmdk_desc_fini(struct vmdk_desc *d)
{
	for (unsigned i = 0; i < d->next; i++)
		free(d->ext[i].name);
	free(d->ext);
	free(d->parent);
	memset(d, 0, sizeof(*d));
}

static int bad(const char *path, struct err *err, const char *what, const char *line)
{
	return err_set(err, -EINVAL, "'%s' is not a usable VMDK image: %s%s%.60s", path, what,
		       line ? ": " : "", line ? line : "");
}

/* The value of "key=value", quotes taken off; NULL if @line is not of @key. */
static char *value_of(const char *line, const char *key)
{
	size_t n = strlen(key);
	const char *p = line + n;
	size_t len;

	if (strncasecmp(line, key, n))
		return NULL;
	while (*p == ' ' || *p == '\t')
		p++;
	if (*p++ != '=')
		return NULL;
	while (*p == ' ' || *p == '\t')
		p++;
	if (*p == '"')
		return strndup(p + 1, strcspn(p + 1, "\""));
	len = strlen(p);
	while (len && isspace((unsigned char)p[len - 1]))
		len--;
	return strndup(p, len);
}

static int kind_of(const char *word, enum vmdk_extent_kind *k)
{
	if (!strcmp(word, "FLAT") || !strcmp(word, "VMFS"))
		*k = VMDK_FLAT;
	else if (!strcmp(word, "SPARSE"))
		*k = VMDK_SPARSE;
	else if (!strcmp(word, "ZERO"))
		*k = VMDK_ZERO;
	else
		return -ENOTSUP;
	return 0;
}

/* "RW 4192256 SPARSE "disk-s001.vmdk"" or "RW 2048 FLAT "disk-flat.vmdk" 0". */
static int parse_extent(struct vmdk_desc *d, const char *line, uint64_t *at, const char *path,
			struct err *err)
{
	char access[16], type[16], name[1024] = "";
	struct vmdk_extent *e;
	uint64_t sectors, off = 0;
	int got = sscanf(line, "%15s %" SCNu64 " %15s \"%1023[^\"\n]\" %" SCNu64, access, &sectors,
			 type, name, &off);

	if (got < 3)
		return bad(path, err, "an extent line makes no sense", line);
	if (d->next == VMDK_MAX_EXTENTS)
		return bad(path, err, "it has too many extents", NULL);
	e = realloc(d->ext, (d->next + 1) * sizeof(*e));
	if (!e)
		return err_set(err, -ENOMEM, "out of memory");
	d->ext = e;
	e += d->next;
	memset(e, 0, sizeof(*e));
	if (kind_of(type, &e->kind))
		return err_set(err, -ENOTSUP, "'%s' has an extent of type %s, which is not supported",
			       path, type);
	if (!sectors || sectors > BLOCK_MAX_BYTES / 512 || off > BLOCK_MAX_BYTES / 512 ||
	    *at > BLOCK_MAX_BYTES - sectors * 512)
		return bad(path, err, "an extent's size makes no sense", line);
	if (e->kind != VMDK_ZERO && !name[0])
		return bad(path, err, "an extent has no file", line);
	e->name = strdup(name);
	if (!e->name)
		return err_set(err, -ENOMEM, "out of memory");
	e->start = *at;
	e->len = sectors * 512;
	e->flat_off = off * 512;
	*at += e->len;
	d->next++;
	return 0;
}

static int parse_line(struct vmdk_desc *d, const char *line, uint64_t *at, const char *path,
		      struct err *err)
{
	char *v;

	if (!strncmp(line, "RW ", 3) || !strncmp(line, "RDONLY ", 7))
		return parse_extent(d, line, at, path, err);
	if (!strncmp(line, "NOACCESS ", 9))
		return bad(path, err, "it has an extent without access", line);
	if ((v = value_of(line, "CID")))
		d->cid = (uint32_t)strtoul(v, NULL, 16);
	else if ((v = value_of(line, "parentCID")))
		d->parent_cid = (uint32_t)strtoul(v, NULL, 16);
	else if ((v = value_of(line, "createType")))
		snprintf(d->type, sizeof(d->type), "%s", v);
	else if ((v = value_of(line, "parentFileNameHint")) && !d->parent) {
		d->parent = v;
		return 0;
	}
	free(v);
	return 0;
}

int vmdk_desc_parse(const char *text, const char *path, struct vmdk_desc *d, struct err *err)
{
	uint64_t at = 0;
	int rc = 0;

	memset(d, 0, sizeof(*d));
	d->parent_cid = VMDK_NO_PARENT;
	while (*text && !rc) {
		char line[2048];
		size_t n = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)min_of(n, sizeof(line) - 1), text);
		line[strcspn(line, "\r")] = '\0';
		rc = parse_line(d, line, &at, path, err);
		text += n + (text[n] == '\n');
	}
	if (!rc && !d->type[0])
		rc = bad(path, err, "its descriptor has no createType", NULL);
	if (!rc && !d->next)
		rc = bad(path, err, "its descriptor names no extents", NULL);
	if (rc)
		vmdk_desc_fini(d);
	return rc;
}

char *vmdk_desc_text(uint32_t cid, uint32_t parent_cid, const char *parent, const char *type,
		     const char *lines, uint64_t disk_bytes, const char *adapter,
		     const char *hw_version)
{
	unsigned heads = strcmp(adapter, "ide") ? 255 : 16;
	uint64_t cyl = disk_bytes / 512 / (heads * 63u);
	char *text;

	if (asprintf(&text,
		     "# Disk DescriptorFile\n"
		     "version=1\n"
		     "CID=%08x\n"
		     "parentCID=%08x\n"
		     "createType=\"%s\"\n"
		     "%s%s%s"
		     "\n"
		     "# Extent description\n"
		     "%s"
		     "\n"
		     "# The Disk Data Base\n"
		     "#DDB\n"
		     "\n"
		     "ddb.virtualHWVersion = \"%s\"\n"
		     "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
		     "ddb.geometry.heads = \"%u\"\n"
		     "ddb.geometry.sectors = \"63\"\n"
		     "ddb.adapterType = \"%s\"\n",
		     cid, parent_cid, type, parent ? "parentFileNameHint=\"" : "",
		     parent ? parent : "", parent ? "\"\n" : "", lines, hw_version, cyl, heads,
		     adapter) < 0)
		return NULL;
	return text;
}

int vmdk_desc_set_cid(struct block_node *n, struct vmdk *m, uint32_t cid)
{
	char *text = calloc(1, m->desc_len + 1), *p, hex[9];
	int rc = text ? block_pread(n->file, m->desc_off, text, m->desc_len) : -ENOMEM;

	for (p = text; !rc && p; p++) {
		p = strstr(p, "CID=");
		if (!p)
			break;
		if ((p == text || p[-1] == '\n') && strspn(p + 4, "0123456789abcdefABCDEF") == 8) {
			snprintf(hex, sizeof(hex), "%08x", cid);
			rc = block_pwrite(n->file, m->desc_off + (uint64_t)(p + 4 - text), hex, 8);
			break;
		}
	}
	free(text);
	return rc;
}

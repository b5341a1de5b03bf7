/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMDK format: opening, I/O across extents, and its descriptor. */
#include "src/block/place.h"
#include "src/block/vmdk/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/bits.h"

static const char desc_start[] = "# Disk DescriptorFile";

static bool is_text(const uint8_t *buf, size_t len)
{
	size_t n = sizeof(desc_start) - 1, i = 0;

	/* Some writers put comments or blank lines first. */
	while (i + n <= len && i < 512) {
		if (!memcmp(buf + i, desc_start, n))
			return true;
		if (buf[i] != '#' && buf[i] != '\n' && buf[i] != '\r' && buf[i] != ' ')
			return false;
		while (i < len && buf[i] != '\n')
			i++;
		i++;
	}
	return false;
}

static int vmdk_probe(const uint8_t *buf, size_t len, const char *path)
{
	if (len >= 512 && ld_le32(buf) == VMDK_MAGIC)
		return 100;
	return is_text(buf, len) ? 100 : 0;
}

/* Reads the descriptor's text; *embedded: it stands inside of a sparse extent. */
static int read_desc(struct block_node *n, struct vmdk *m, struct vmdk_desc *d, bool *embedded,
		     struct err *err)
{
	uint8_t h[512];
	char *text;
	int rc = block_pread(n->file, 0, h, sizeof(h));

	if (rc)
		return err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	*embedded = ld_le32(h) == VMDK_MAGIC;
	m->desc_off = *embedded ? ld_le64(h + 28) * 512 : 0;
	m->desc_len = *embedded ? ld_le64(h + 36) * 512 : n->file->len;
	if (*embedded && !m->desc_off)
		return err_set(err, -EINVAL, "'%s' is one extent of a VMDK image; open the image's "
					     "descriptor file instead", n->path);
	if (!*embedded && !is_text(h, sizeof(h)))
		return err_set(err, -EINVAL, "'%s' is not a VMDK image", n->path);
	if (!m->desc_len || m->desc_len > VMDK_MAX_DESC || m->desc_off > n->file->len)
		return err_set(err, -EINVAL, "'%s' is not a usable VMDK image: its descriptor is "
					     "misplaced", n->path);
	text = calloc(1, m->desc_len + 1);
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_pread(n->file, m->desc_off, text, m->desc_len);
	if (rc)
		err_set(err, rc, "cannot read '%s': %s", n->path, strerror(-rc));
	else
		rc = vmdk_desc_parse(text, n->path, d, err);
	free(text);
	return rc;
}

static int open_extent(struct block_node *n, const struct block_open_opts *o, struct vmdk_extent *e,
		       bool embedded, struct err *err)
{
	char *path;
	int rc;

	e->packers = &((struct vmdk *)n->priv)->packers;
	if (e->kind == VMDK_ZERO)
		return 0;
	if (embedded) {
		e->file = n->file;
	} else {
		/* A guessed image must not make us open files all over the host. */
		if (!o->format && strchr(e->name, '/'))
			return err_set(err, -EPERM,
				       "'%s' has an extent in another folder, '%s'; if you trust it, "
				       "say that its format is vmdk", n->path, e->name);
		path = block_path_beside(n->path, e->name);
		if (!path)
			return err_set(err, -ENOMEM, "out of memory");
		rc = block_open_proto(path, o->flags, o->cache, o->host, &e->file, err);
		free(path);
		if (rc)
			return err_prefix(err, rc, "extent of '%s'", n->path);
		e->own_file = true;
	}
	return e->kind == VMDK_SPARSE ? vmdk_sparse_open(n, e, err) : 0;
}

static void fini(struct vmdk *m)
{
	for (unsigned i = 0; i < m->next; i++) {
		vmdk_sparse_close(&m->ext[i]);
		if (m->ext[i].own_file)
			block_close(m->ext[i].file);
		free(m->ext[i].name);
	}
	free(m->ext);
	packers_fini(&m->packers);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static int check_parent(struct block_node *n, const struct block_open_opts *o, struct err *err);

static int vmdk_open(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct vmdk *m = calloc(1, sizeof(*m));
	struct vmdk_desc d = { .next = 0 };
	bool embedded = false;
	int rc;

	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&m->lock, NULL);
	packers_init(&m->packers);
	n->priv = m;
	rc = read_desc(n, m, &d, &embedded, err);
	if (!rc && embedded && d.next != 1)
		rc = err_set(err, -EINVAL, "'%s' is not a usable VMDK image: its descriptor names "
					   "other extents than itself", n->path);
	if (!rc) {
		m->ext = d.ext;
		m->next = d.next;
		m->cid = d.cid;
		m->parent_cid = d.parent_cid;
		memcpy(m->type, d.type, sizeof(m->type));
		if (d.parent && d.parent_cid != VMDK_NO_PARENT) {
			n->backing_path = d.parent;
			n->backing_format = strdup("vmdk");
			d.parent = NULL;
		}
		d.ext = NULL;
		d.next = 0;
	}
	for (unsigned i = 0; i < m->next && !rc; i++)
		rc = open_extent(n, o, &m->ext[i], embedded, err);
	if (!rc)
		rc = check_parent(n, o, err);
	vmdk_desc_fini(&d);
	if (rc) {
		fini(m);
		return rc;
	}
	n->len = m->ext[m->next - 1].start + m->ext[m->next - 1].len;
	n->io_align = 65536;
	return 0;
}

/* A child was made over a certain state of its parent: the content IDs must agree. */
static int check_parent(struct block_node *n, const struct block_open_opts *o, struct err *err)
{
	struct block_open_opts po = { .format = "vmdk", .host = o->host,
				      .flags = (o->flags & BLOCK_OPEN_NO_LOCK) | BLOCK_OPEN_NO_BACKING };
	struct vmdk *m = n->priv;
	struct block_node *p;
	char *path;
	uint32_t cid;
	int rc;

	if (!n->backing_path || o->flags & (BLOCK_OPEN_NO_BACKING | BLOCK_OPEN_CHECK))
		return 0;
	path = block_path_beside(n->path, n->backing_path);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	rc = block_open(path, &po, &p, err);
	if (rc) {
		free(path);
		return err_prefix(err, rc, "parent of '%s'", n->path);
	}
	cid = ((struct vmdk *)p->priv)->cid;
	block_close(p);
	if (cid != m->parent_cid)
		rc = err_set(err, -EINVAL,
			     "'%s' was changed after '%s' was made over it (content ID %08x, was "
			     "%08x): the disk would be a mixture", path, n->path, cid, m->parent_cid);
	free(path);
	return rc;
}

static int vmdk_flush(struct block_node *n)
{
	struct vmdk *m = n->priv;
	int rc = 0;

	for (unsigned i = 0; i < m->next && !rc; i++) {
		struct vmdk_extent *e = &m->ext[i];

		if (e->kind == VMDK_SPARSE)
			rc = grains_flush(&e->g);
		else if (e->file)
			rc = block_flush(e->file);
	}
	return rc ? rc : block_flush(n->file);
}

static int vmdk_close(struct block_node *n)
{
	int rc = n->writable && !n->dying ? vmdk_flush(n) : 0;

	fini(n->priv);
	return rc;
}

static struct vmdk_extent *extent_at(const struct vmdk *m, uint64_t off)
{
	unsigned lo = 0, hi = m->next - 1;

	while (lo < hi) {
		unsigned mid = (lo + hi + 1) / 2;

		if (m->ext[mid].start <= off)
			lo = mid;
		else
			hi = mid - 1;
	}
	return &m->ext[lo];
}

static int vmdk_preadv(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
		       size_t voff)
{
	while (len) {
		struct vmdk_extent *e = extent_at(n->priv, off);
		uint64_t in = off - e->start;
		size_t k = min_of((uint64_t)len, e->len - in);
		int rc = 0;

		if (e->kind == VMDK_SPARSE)
			rc = grains_preadv(&e->g, in, k, v, voff);
		else if (e->kind == VMDK_FLAT)
			rc = block_preadv(e->file, e->flat_off + in, k, v, voff);
		else
			block_vec_zero(v, voff, k);
		if (rc)
			return rc;
		off += k;
		voff += k;
		len -= k;
	}
	return 0;
}

static int vmdk_preadv_nowait(struct block_node *n, uint64_t off, size_t len,
			      const struct block_vec *v, size_t voff)
{
	struct vmdk_extent *e = extent_at(n->priv, off);
	uint64_t in = off - e->start;

	if (len > e->len - in)
		return -EAGAIN;
	if (e->kind == VMDK_SPARSE)
		return grains_preadv_nowait(&e->g, in, len, v, voff);
	if (e->kind == VMDK_FLAT)
		return block_preadv_nowait(e->file, e->flat_off + in, len, v, voff);
	block_vec_zero(v, voff, len);
	return 0;
}

/* Whoever was made over this image must notice that it changed. */
static int touch(struct block_node *n)
{
	struct vmdk *m = n->priv;
	uint32_t cid;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	if (!m->cid_changed) {
		do
			if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid))
				cid = m->cid + 1;
		while (cid == VMDK_NO_PARENT || cid == m->cid);
		rc = vmdk_desc_set_cid(n, m, cid);
		if (!rc)
			m->cid = cid;
		m->cid_changed = !rc;
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

/* Compressed extents take whole grains, once. */
static int write_packed(struct vmdk_extent *e, uint64_t in, size_t len, const struct block_vec *v,
			size_t voff)
{
	uint8_t *buf = malloc(len);
	int rc = buf ? 0 : -ENOMEM;

	if (in % e->g.block_bytes || (len % e->g.block_bytes && in + len != e->len))
		rc = -ENOTSUP;
	if (!rc)
		block_vec_read(v, voff, buf, len);
	for (size_t at = 0; at < len && !rc; at += e->g.block_bytes)
		rc = vmdk_sparse_pack(e, in + at, buf + at, min_of(e->g.block_bytes, len - at));
	free(buf);
	return rc;
}

static int vmdk_place(struct block_node *n, uint64_t off, size_t len, bool write,
		      struct block_place *p)
{
	struct vmdk *m = n->priv;
	struct vmdk_extent *e = extent_at(m, off);
	uint64_t in = off - e->start;

	if (len > e->len - in || (write && !m->cid_changed))
		return -EAGAIN;
	if (e->kind == VMDK_SPARSE && !e->compressed)
		return grains_place(&e->g, in, len, write, p);
	if (e->kind == VMDK_FLAT)
		return block_place_below(e->file, e->flat_off + in, len, write, p);
	return -EAGAIN;
}

static int vmdk_pwritev(struct block_node *n, uint64_t off, size_t len, const struct block_vec *v,
			size_t voff)
{
	int rc = touch(n);

	while (len && !rc) {
		struct vmdk_extent *e = extent_at(n->priv, off);
		uint64_t in = off - e->start;
		size_t k = min_of((uint64_t)len, e->len - in);

		if (e->kind == VMDK_SPARSE && e->compressed)
			rc = write_packed(e, in, k, v, voff);
		else if (e->kind == VMDK_SPARSE)
			rc = grains_pwritev(&e->g, in, k, v, voff);
		else if (e->kind == VMDK_FLAT)
			rc = block_pwritev(e->file, e->flat_off + in, k, v, voff);
		else
			rc = -EROFS;
		off += k;
		voff += k;
		len -= k;
	}
	return rc;
}

static int vmdk_pwrite_compressed(struct block_node *n, uint64_t off, const void *buf, size_t len)
{
	struct vmdk *m = n->priv;
	struct vmdk_extent *e = extent_at(m, off);
	int rc;

	if (e->kind != VMDK_SPARSE || !e->compressed)
		return -ENOTSUP;
	rc = touch(n);
	return rc ? rc : vmdk_sparse_pack(e, off - e->start, buf, len);
}

static int clear(struct block_node *n, uint64_t off, uint64_t len, bool zero, bool unmap)
{
	int rc = touch(n);

	while (len && !rc) {
		struct vmdk_extent *e = extent_at(n->priv, off);
		uint64_t in = off - e->start, k = min_of(len, e->len - in);

		if (e->kind == VMDK_SPARSE && e->compressed)
			rc = zero ? -ENOTSUP : 0;
		else if (e->kind == VMDK_SPARSE)
			rc = zero ? grains_zero(&e->g, in, k, unmap) : grains_discard(&e->g, in, k);
		else if (e->kind == VMDK_FLAT)
			rc = zero ? block_zero(e->file, e->flat_off + in, k, unmap)
				  : block_discard(e->file, e->flat_off + in, k);
		off += k;
		len -= k;
	}
	return rc;
}

static int vmdk_zero(struct block_node *n, uint64_t off, uint64_t len, bool unmap)
{
	return clear(n, off, len, true, unmap);
}

static int vmdk_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	return clear(n, off, len, false, true);
}

static int vmdk_status(struct block_node *n, uint64_t off, uint64_t len, struct block_extent *e)
{
	struct vmdk_extent *x = extent_at(n->priv, off);
	uint64_t in = off - x->start;
	int rc;

	len = min_of(len, x->len - in);
	if (x->kind == VMDK_SPARSE)
		return grains_status(&x->g, in, len, e);
	e->len = len;
	e->flags = BLOCK_EXT_ALLOCATED | BLOCK_EXT_ZERO;
	if (x->kind == VMDK_ZERO)
		return 0;
	rc = block_status(x->file, x->flat_off + in, len, e);
	return rc;
}

static int vmdk_check(struct block_node *n, unsigned fix, struct block_check *c, struct err *err)
{
	struct vmdk *m = n->priv;
	uint64_t total = 0;
	int rc = 0;

	for (unsigned i = 0; i < m->next && !rc; i++) {
		if (m->ext[i].kind != VMDK_SPARSE)
			continue;
		rc = grains_check(&m->ext[i].g, 512, 512, c);
		total += c->total_clusters;
	}
	c->total_clusters = total;
	return rc ? err_set(err, rc, "cannot check '%s': %s", n->path, strerror(-rc)) : 0;
}

static int vmdk_info(struct block_node *n, struct block_info *i, struct err *err)
{
	struct vmdk *m = n->priv;

	if (m->ext[0].kind == VMDK_SPARSE)
		i->cluster_bytes = m->ext[0].g.block_bytes;
	i->compressed = m->ext[0].compressed;
	block_info_note_num(i, "cid", m->cid);
	block_info_note_num(i, "parent cid", m->parent_cid);
	block_info_note(i, "create type", "%s", m->type);
	block_info_note_num(i, "extents", m->next);
	return 0;
}

const struct block_format_desc block_vmdk = {
	.name = "vmdk",
	.title = "VMware: sparse, flat, split, stream-optimized; differencing",
	.suffixes = "vmdk",
	.create_opts = vmdk_create_opts,
	.backing_ok = true,
	.probe = vmdk_probe,
	.open = vmdk_open,
	.close = vmdk_close,
	.create = vmdk_create,
	.preadv = vmdk_preadv,
	.preadv_nowait = vmdk_preadv_nowait,
	.pwritev = vmdk_pwritev,
	.place = vmdk_place,
	.pwrite_compressed = vmdk_pwrite_compressed,
	.zero = vmdk_zero,
	.discard = vmdk_discard,
	.flush = vmdk_flush,
	.status = vmdk_status,
	.info = vmdk_info,
	.check = vmdk_check,
};

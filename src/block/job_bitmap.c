/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty bitmaps of disks: those in memory, and those that a qcow2 image keeps. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/block/job_priv.h"

struct disk_map { /* one in memory */
	struct blk *blk;
	char *name;
	struct dirty *d;
	uint32_t granularity;
	struct disk_map *next;
};

static struct disk_map **find(struct jobs *js, struct blk *b, const char *name)
{
	struct disk_map **p = &js->maps;

	while (*p && ((*p)->blk != b || strcmp((*p)->name, name)))
		p = &(*p)->next;
	return p;
}

static bool job_uses(struct jobs *js, struct blk *b, const char *name)
{
	for (struct job *j = js->list; j; j = j->next)
		if (j->blk == b && j->bitmap && !strcmp(j->bitmap, name))
			return true;
	return false;
}

static void map_free(struct disk_map *m)
{
	dirty_free(m->d);
	free(m->name);
	free(m);
}

void bitmaps_forget(struct jobs *js, struct blk *b)
{
	for (struct disk_map **p = &js->maps, *m; (m = *p);) {
		if (b && m->blk != b) {
			p = &m->next;
			continue;
		}
		blk_drain(m->blk);
		blk_untrack(m->blk, m->d);
		*p = m->next;
		map_free(m);
	}
}

void bitmaps_resized(struct jobs *js, struct blk *b)
{
	for (struct disk_map **p = &js->maps, *m; (m = *p);) {
		if (m->blk == b && !dirty_resize(m->d, blk_len(b))) {
			/* One that misses writes must not be believed. */
			blk_untrack(b, m->d);
			*p = m->next;
			map_free(m);
			continue;
		}
		p = &m->next;
	}
}

static int add_in_memory(struct jobs *js, struct blk *b, const char *name, uint32_t granularity,
			 struct err *err)
{
	struct disk_map *m = calloc(1, sizeof(*m));
	int rc = m ? 0 : -ENOMEM;

	if (!rc) {
		m->blk = b;
		m->granularity = granularity;
		m->name = strdup(name);
		m->d = dirty_new(blk_len(b), granularity);
		rc = m->name && m->d ? 0 : -ENOMEM;
	}
	if (!rc) {
		blk_drain(b);
		rc = blk_track(b, m->d);
	}
	if (rc) {
		if (m)
			map_free(m);
		return err_set(err, rc, rc == -ENOSPC ? "the disk has as many bitmaps as it can have"
						     : "out of memory");
	}
	m->next = js->maps;
	js->maps = m;
	return 0;
}

struct seek {
	const char *name;
	struct blk_bitmap found;
	bool hit;
};

static void look(void *opaque, const struct blk_bitmap *m)
{
	struct seek *s = opaque;

	if (strcmp(m->name, s->name))
		return;
	s->found = *m;
	s->hit = true;
}

static bool exists(struct jobs *js, struct blk *b, const char *name, struct blk_bitmap *out)
{
	struct seek s = { .name = name };

	blk_bitmaps_each(js, b, look, &s);
	if (out)
		*out = s.found;
	return s.hit;
}

int blk_bitmap_add(struct jobs *js, struct blk *b, const char *name, uint32_t granularity,
		    bool persistent, struct err *err)
{
	struct block_node *n = blk_node(b);
	uint32_t g = granularity ? granularity : 65536;

	if (!n)
		return err_set(err, -ENOMEDIUM, "there is no disk in the drive");
	if (!name || !name[0] || strlen(name) > 1023)
		return err_set(err, -EINVAL, "a bitmap's name has 1 to 1023 bytes");
	if (g & (g - 1) || g < 512 || g > 1u << 30)
		return err_set(err, -EINVAL, "the granularity is a power of two from 512 bytes to 1 GiB");
	if (exists(js, b, name, NULL))
		return err_set(err, -EEXIST, "the disk has a bitmap '%s' already", name);
	if (!persistent)
		return add_in_memory(js, b, name, g, err);
	if (!n->desc->bitmap_add)
		return err_set(err, -ENOTSUP, "images of format %s keep no bitmaps", n->desc->name);
	blk_drain(b);
	return n->desc->bitmap_add(n, name, g, err);
}

static int kept_in_image(struct jobs *js, struct blk *b, const char *name, bool broken_ok,
			 struct err *err)
{
	struct blk_bitmap m;

	if (!exists(js, b, name, &m))
		return err_set(err, -ENOENT, "the disk has no bitmap '%s'", name);
	if (m.inconsistent && !broken_ok)
		return err_set(err, -EUCLEAN, "bitmap '%s' was not stored when the image was last in "
					      "use: remove it and make a full backup", name);
	return 0;
}

int blk_bitmap_remove(struct jobs *js, struct blk *b, const char *name, struct err *err)
{
	struct disk_map **p = find(js, b, name), *m = *p;
	struct block_node *n = blk_node(b);
	int rc;

	if (job_uses(js, b, name))
		return err_set(err, -EBUSY, "a job uses bitmap '%s'", name);
	if (m) {
		blk_drain(b);
		blk_untrack(b, m->d);
		*p = m->next;
		map_free(m);
		return 0;
	}
	rc = kept_in_image(js, b, name, true, err);
	if (rc)
		return rc;
	blk_drain(b);
	return n->desc->bitmap_remove(n, name, err);
}

int blk_bitmap_clear(struct jobs *js, struct blk *b, const char *name, struct err *err)
{
	struct disk_map *m = *find(js, b, name);
	struct block_node *n = blk_node(b);
	int rc;

	if (job_uses(js, b, name))
		return err_set(err, -EBUSY, "a job uses bitmap '%s'", name);
	blk_drain(b);
	if (m) {
		dirty_clear(m->d, 0, m->d->len);
		return 0;
	}
	rc = kept_in_image(js, b, name, false, err);
	if (!rc) {
		rc = n->desc->bitmap_write(n, name, NULL);
		if (rc)
			err_set(err, rc, "cannot clear bitmap '%s': %s", name, strerror(-rc));
	}
	return rc;
}

/* Nothing is under way. */
int bitmap_take(struct jobs *js, struct blk *b, const char *name, struct dirty *out, struct err *err)
{
	struct disk_map *m = *find(js, b, name);
	struct block_node *n = blk_node(b);
	int rc;

	if (m) {
		dirty_merge(out, m->d);
		dirty_clear(m->d, 0, m->d->len);
		return 0;
	}
	rc = kept_in_image(js, b, name, false, err);
	if (rc)
		return rc;
	rc = n->desc->bitmap_read(n, name, out);
	if (!rc)
		rc = n->desc->bitmap_write(n, name, NULL);
	return rc ? err_set(err, rc, "cannot read bitmap '%s': %s", name, strerror(-rc)) : 0;
}

void bitmap_give_back(struct jobs *js, struct blk *b, const char *name, struct dirty *from)
{
	struct disk_map *m = *find(js, b, name);
	struct block_node *n = blk_node(b);

	if (m) {
		dirty_merge(m->d, from);
		return;
	}
	/* What was marked since, and what was taken. Should that fail the bitmap is no
	 * longer true, and goes. */
	if (!n || n->desc->bitmap_read(n, name, from) || n->desc->bitmap_write(n, name, from)) {
		struct err err;

		if (n && n->desc->bitmap_remove(n, name, &err))
			return; /* nothing left to try: it stays marked as in use */
	}
}

void blk_bitmaps_each(struct jobs *js, struct blk *b,
		       void (*fn)(void *opaque, const struct blk_bitmap *m), void *opaque)
{
	struct block_node *n = blk_node(b);
	struct block_info info;

	for (struct disk_map *m = js->maps; m; m = m->next) {
		struct blk_bitmap o = { .name = m->name, .granularity = m->granularity,
					 .recording = true, .busy = job_uses(js, b, m->name) };

		if (m->blk != b)
			continue;
		o.dirty_bytes = dirty_bytes(m->d);
		fn(opaque, &o);
	}
	if (!n || !n->desc->bitmap_read || block_info(n, &info, NULL))
		return;
	for (size_t i = 0; i < info.nbitmaps; i++) {
		struct block_bitmap_info *k = &info.bitmaps[i];
		struct blk_bitmap o = { .name = k->name, .granularity = k->granularity,
					 .persistent = true, .recording = k->enabled,
					 .busy = job_uses(js, b, k->name) };
		struct dirty *d = dirty_new(n->len, k->granularity);
		int rc = d ? n->desc->bitmap_read(n, k->name, d) : -ENOMEM;

		o.inconsistent = rc == -EUCLEAN;
		o.dirty_bytes = d ? dirty_bytes(d) : 0;
		dirty_free(d);
		fn(opaque, &o);
	}
	block_info_fini(&info);
}

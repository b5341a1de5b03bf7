/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saving and restoring by table. A stream may come from anywhere: every length is
 * checked before it is believed, and a refusal names the section and the field.
 */
#include "src/state/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/vtime.h"

void state_buf_fini(struct state_buf *b)
{
	free(b->data);
	*b = (struct state_buf){ 0 };
}

/*
 * Writing.
 */
static void put(struct state_buf *b, const void *p, size_t len)
{
	if (b->failed)
		return;
	if (len > b->cap - b->len) {
		size_t cap = max_of(b->cap * 2, b->len + len + 256);
		uint8_t *data = realloc(b->data, cap);

		if (!data) {
			b->failed = true;
			return;
		}
		b->data = data;
		b->cap = cap;
	}
	memcpy(b->data + b->len, p, len);
	b->len += len;
}

static void put_u32(struct state_buf *b, uint32_t v)
{
	put(b, &v, sizeof(v));
}

static void put_name(struct state_buf *b, const char *name)
{
	size_t len = strlen(name);
	uint8_t byte = (uint8_t)len;

	assert(len > 0 && len < 256);
	put(b, &byte, 1);
	put(b, name, len);
}

/* A length that is known once what it covers has been written. */
static size_t length_begin(struct state_buf *b)
{
	put_u32(b, 0);
	return b->len;
}

static void length_end(struct state_buf *b, size_t start)
{
	if (!b->failed)
		st_le32(b->data + start - 4, (uint32_t)(b->len - start));
}

static void put_timer(struct state_buf *b, const struct vtimer *t)
{
	int64_t left = -1;

	if (t->vt && vtimer_armed(t)) {
		left = t->deadline_ns - vtime_now_ns(t->vt);
		if (left < 0)
			left = 0;
	}
	put(b, &left, sizeof(left));
}

static void save_fields(struct state_buf *b, const struct state_desc *d, void *obj);

static void save_field(struct state_buf *b, const struct state_field *f, uint8_t *at)
{
	size_t start;

	put_name(b, f->name);
	start = length_begin(b);
	switch (f->type) {
	case STATE_TYPE_UINT: /* the host is little-endian, like the wire */
	case STATE_TYPE_BOOL:
	case STATE_TYPE_BYTES:
		put(b, at, f->size * f->count);
		break;
	case STATE_TYPE_STRUCT:
		for (size_t n = 0; n < f->count; n++) {
			size_t sub;

			put_u32(b, f->sub->version);
			sub = length_begin(b);
			save_fields(b, f->sub, at + n * f->size);
			length_end(b, sub);
		}
		break;
	case STATE_TYPE_TIMER:
		put_timer(b, (const struct vtimer *)(void *)at);
		break;
	case STATE_TYPE_END:
		break;
	}
	length_end(b, start);
}

static void save_fields(struct state_buf *b, const struct state_desc *d, void *obj)
{
	if (d->pre_save)
		d->pre_save(obj);
	for (const struct state_field *f = d->fields; f->type != STATE_TYPE_END; f++)
		save_field(b, f, (uint8_t *)obj + f->offset);
}

int state_save(struct state_buf *b, const struct state_desc *d, void *obj, unsigned instance)
{
	size_t start;

	put_name(b, d->name);
	put_u32(b, instance);
	put_u32(b, d->version);
	start = length_begin(b);
	save_fields(b, d, obj);
	length_end(b, start);
	return b->failed ? -ENOMEM : 0;
}

/*
 * Reading. A span is what is left of the innermost length.
 */
struct span {
	const uint8_t *p, *end;
};

struct loader {
	const char *section;
	struct err *err;
};

static size_t left(const struct span *s)
{
	return (size_t)(s->end - s->p);
}

static bool take(struct span *s, void *out, size_t len)
{
	if (len > left(s))
		return false;
	memcpy(out, s->p, len);
	s->p += len;
	return true;
}

static bool take_u32(struct span *s, uint32_t *v)
{
	return take(s, v, sizeof(*v));
}

/* Cuts the next @len bytes off @s. */
static bool take_span(struct span *s, uint32_t len, struct span *out)
{
	if (len > left(s))
		return false;
	*out = (struct span){ s->p, s->p + len };
	s->p += len;
	return true;
}

/* A name, made printable: it ends up in messages. */
static bool take_name(struct span *s, char name[256])
{
	uint8_t len;

	if (!take(s, &len, 1) || !take(s, name, len))
		return false;
	for (unsigned n = 0; n < len; n++)
		if (name[n] < ' ' || name[n] > '~')
			name[n] = '?';
	name[len] = '\0';
	return true;
}

static int refuse(const struct loader *l, const char *field, const char *why)
{
	return err_set(l->err, -EINVAL, "saved state of \"%s\": field \"%s\": %s", l->section,
		       field, why);
}

static int truncated(const struct loader *l)
{
	return err_set(l->err, -EINVAL, "saved state of \"%s\": it ends too early", l->section);
}

static int load_timer(const struct loader *l, const struct state_field *f, struct vtimer *t,
		      const struct span *s)
{
	int64_t ns = (int64_t)ld_le64(s->p), now;

	if (ns < -1)
		return refuse(l, f->name, "not a time");
	if (!t->vt)
		return ns == -1 ? 0 : refuse(l, f->name, "this machine has no such timer");
	if (ns == -1) {
		vtimer_cancel(t);
		return 0;
	}
	now = vtime_now_ns(t->vt);
	if (ns > VTIME_NEVER - 1 - now)
		ns = VTIME_NEVER - 1 - now;
	vtimer_arm(t, now + ns);
	return 0;
}

static int load_fields(const struct loader *l, const struct state_desc *d, void *obj,
		       uint32_t version, struct span *s);

static int load_structs(const struct loader *l, const struct state_field *f, uint8_t *at,
			struct span *s)
{
	for (size_t n = 0; n < f->count; n++) {
		uint32_t version, len;
		struct span body;
		int r;

		if (!take_u32(s, &version) || !take_u32(s, &len) || !take_span(s, len, &body))
			return truncated(l);
		if (version > f->sub->version || version == 0)
			return refuse(l, f->name, "made by a newer version");
		r = load_fields(l, f->sub, at + n * f->size, version, &body);
		if (r != 0)
			return r;
	}
	return left(s) ? refuse(l, f->name, "wrong number of elements") : 0;
}

static int load_field(const struct loader *l, const struct state_field *f, uint8_t *at,
		      struct span *s)
{
	size_t want = f->type == STATE_TYPE_TIMER ? sizeof(int64_t) : f->size * f->count;

	if (f->type == STATE_TYPE_STRUCT)
		return load_structs(l, f, at, s);
	if (left(s) != want)
		return refuse(l, f->name, "wrong size");
	if (f->type == STATE_TYPE_TIMER)
		return load_timer(l, f, (struct vtimer *)(void *)at, s);
	if (f->type == STATE_TYPE_BOOL)
		for (size_t n = 0; n < want; n++)
			if (s->p[n] > 1)
				return refuse(l, f->name, "neither 0 nor 1");
	memcpy(at, s->p, want);
	return 0;
}

static bool has_field(const struct state_desc *d, const char *name)
{
	for (const struct state_field *f = d->fields; f->type != STATE_TYPE_END; f++)
		if (strcmp(f->name, name) == 0)
			return true;
	return false;
}

static int load_fields(const struct loader *l, const struct state_desc *d, void *obj,
		       uint32_t version, struct span *s)
{
	char name[256];
	uint32_t len;

	for (const struct state_field *f = d->fields; f->type != STATE_TYPE_END; f++) {
		struct span body;
		int r;

		if (f->since > version)
			continue;
		if (!left(s))
			return refuse(l, f->name, "missing");
		if (!take_name(s, name) || !take_u32(s, &len) || !take_span(s, len, &body))
			return truncated(l);
		if (strcmp(name, f->name) != 0)
			return has_field(d, name) ? refuse(l, f->name, "missing")
						  : refuse(l, name, "unknown");
		r = load_field(l, f, (uint8_t *)obj + f->offset, &body);
		if (r != 0)
			return r;
	}
	if (left(s))
		return take_name(s, name) ? refuse(l, name, "unknown") : truncated(l);
	if (d->post_load && d->post_load(obj, version, l->err) != 0)
		return err_prefix(l->err, -EINVAL, "saved state of \"%s\"", l->section);
	return 0;
}

int state_load(struct state_buf *b, const struct state_desc *d, void *obj, unsigned instance,
	       struct err *err)
{
	const struct loader l = { .section = d->name, .err = err };
	struct span s = { b->data + b->pos, b->data + b->len }, body;
	uint32_t got_instance, version, len;
	char name[256];
	int r;

	if (b->pos >= b->len)
		return err_set(err, -EINVAL, "saved state of \"%s\": missing", d->name);
	if (!take_name(&s, name) || !take_u32(&s, &got_instance) || !take_u32(&s, &version) ||
	    !take_u32(&s, &len) || !take_span(&s, len, &body))
		return truncated(&l);
	if (strcmp(name, d->name) != 0 || got_instance != instance)
		return err_set(err, -EINVAL,
			       "saved state has \"%s\" number %u where \"%s\" number %u belongs: "
			       "it is of a machine with other devices",
			       name, got_instance, d->name, instance);
	if (version == 0 || version > d->version)
		return err_set(err, -EINVAL,
			       "saved state of \"%s\" has version %u, this program knows up to "
			       "%u: restore it with a newer one",
			       d->name, version, d->version);
	r = load_fields(&l, d, obj, version, &body);
	if (r == 0)
		b->pos = (size_t)(s.p - b->data);
	return r;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/vm/save.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/bits.h"
#include "src/base/version.h"
#include "src/base/vtime.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/cpu_state.h"
#include "src/cpu/x86/x86.h"
#include "src/dev/dev.h"
#include "src/machine/board.h"
#include "src/vm/save_file.h"
#include "src/vm/save_priv.h"

/*
 * The clock: what every timer, the TSC and the paravirtual clock hang from.
 */
struct clock {
	int64_t now_ns;
	uint64_t tsc_hz;
};

static int clock_post_load(void *obj, unsigned version, struct err *err)
{
	const struct clock *c = obj;

	if (c->now_ns < 0 || c->now_ns > INT64_MAX / 4)
		return err_set(err, -EINVAL, "the machine's clock shows an impossible time");
	if (c->tsc_hz < 1000000 || c->tsc_hz > 18000000000ull)
		return err_set(err, -EINVAL, "the time stamp counter's rate is %llu Hz",
			       (unsigned long long)c->tsc_hz);
	return 0;
}

static const struct state_field clock_fields[] = {
	STATE_U64(struct clock, now_ns, 1),
	STATE_U64(struct clock, tsc_hz, 1),
	STATE_END
};

static const struct state_desc clock_state = {
	.name = "clock", .version = 1, .fields = clock_fields, .post_load = clock_post_load,
};

/*
 * Every part with a state table, in one order for both directions.
 */
struct walk {
	const struct save_machine *m;
	int (*fn)(struct walk *w, const struct state_desc *d, void *obj, unsigned instance);
	struct err *err;
	/* Writing. */
	struct save_writer *writer;
	struct state_buf buf;
	/* Reading. */
	struct save_reader *reader;
};

static int one_part(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	struct walk *w = opaque;

	return w->fn(w, desc->state, dev, instance);
}

static int each_part(struct walk *w)
{
	struct cpus *s = w->m->cpus;
	int ret = 0;

	for (unsigned n = 0; n < s->count && ret == 0; n++) {
		ret = w->fn(w, &vcpu_state, &s->vcpu[n], n);
		if (ret == 0)
			ret = w->fn(w, &x86_cpu_state, s->vcpu[n].x86, n);
		if (ret == 0)
			ret = w->fn(w, &apic_state, s->vcpu[n].x86->apic, n);
	}
	return ret == 0 ? board_each(w->m->board, one_part, w) : ret;
}

/*
 * Saving.
 */
static int put_part(struct walk *w, const struct state_desc *d, void *obj, unsigned instance)
{
	w->buf.len = w->buf.pos = 0;
	if (state_save(&w->buf, d, obj, instance) < 0)
		return err_set(w->err, -ENOMEM, "out of memory for the state of \"%s\"", d->name);
	return save_writer_put(w->writer, d->name, instance, d->version, 0, w->buf.data,
			       w->buf.len, w->err);
}

static int can_part(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	const char *why = desc->unsavable ? desc->unsavable(dev) : NULL;

	return why ? err_set(opaque, -EBUSY, "device %s number %u cannot be saved now: %s",
			     desc->name, instance, why) : 0;
}

int save_possible(const struct save_machine *m, struct err *err)
{
	return board_each(m->board, can_part, err);
}

int save_write(const struct save_machine *m, struct save_writer *writer, struct err *err)
{
	struct walk w = { .m = m, .fn = put_part, .writer = writer, .err = err };
	struct clock clock = { vtime_now_ns(m->vtime), m->cpus->tsc_hz };
	const char *config = m->config ? m->config : "";
	char *shape = save_shape(m, err);
	int ret;

	if (!shape)
		return -ENOMEM;
	cpus_sync(m->cpus);
	ret = save_writer_put(writer, "config", 0, 1, 0, config, strlen(config), err);
	if (ret == 0)
		ret = save_writer_put(writer, "shape", 0, 1, 0, shape, strlen(shape), err);
	if (ret == 0)
		ret = put_part(&w, &clock_state, &clock, 0);
	if (ret == 0)
		ret = each_part(&w);
	if (ret == 0)
		ret = save_memory(m, writer, err);
	state_buf_fini(&w.buf);
	free(shape);
	return ret;
}

/*
 * Restoring.
 */
static int unknown(struct save_reader *r, const struct save_section *s, struct err *err)
{
	return err_set(err, -EINVAL, "section \"%s\" number %u is not known to this program "
		       "(bothy %s); the file was made by bothy %s: restore it with that version "
		       "or a newer one", s->name, s->instance, BOTHY_VERSION,
		       save_reader_program(r));
}

/* The next section that may not be skipped. */
static int next(struct save_reader *r, struct save_section *s, const char *wanted,
		struct err *err)
{
	int ret;

	do
		ret = save_reader_next(r, s, err);
	while (ret == 0 && (s->flags & SAVE_OPTIONAL) && strcmp(s->name, wanted) != 0);
	return ret;
}

static int same_name(void *opaque, const struct dev_desc *desc, void *dev, unsigned instance)
{
	return strcmp(desc->state->name, opaque) == 0;
}

/* Does this machine have anything of that name? */
static bool known(const struct save_machine *m, char *name)
{
	static const char *const names[] = { "config", "shape", "clock", "vcpu", "x86-cpu", "apic",
					     "memory" };

	for (size_t i = 0; i < array_size(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return board_each(m->board, same_name, name) != 0;
}

/* The next section, which must be that one. @m may be NULL. */
static int expect(const struct save_machine *m, struct save_reader *r, struct save_section *s,
		  const char *name, unsigned instance, unsigned version, struct err *err)
{
	int ret = next(r, s, name, err);

	if (ret < 0)
		return ret;
	if (ret > 0)
		return err_set(err, -EINVAL, "section \"%s\" number %u is missing", name, instance);
	if (m && !known(m, s->name))
		return unknown(r, s, err);
	if (strcmp(s->name, name) != 0 || s->instance != instance)
		return err_set(err, -EINVAL, "section \"%s\" number %u stands where \"%s\" number "
			       "%u belongs", s->name, s->instance, name, instance);
	if (s->version > version || s->version == 0)
		return err_set(err, -EINVAL, "section \"%s\" number %u has version %u, this program "
			       "(bothy %s) knows up to %u; the file was made by bothy %s: restore "
			       "it with that version or a newer one", name, instance, s->version,
			       BOTHY_VERSION, version, save_reader_program(r));
	return 0;
}

static int get_part(struct walk *w, const struct state_desc *d, void *obj, unsigned instance)
{
	struct save_section s;
	struct state_buf b = { 0 };
	int ret = expect(w->m, w->reader, &s, d->name, instance, d->version, w->err);

	if (ret < 0)
		return ret;
	b.data = (uint8_t *)s.data; /* only read */
	b.len = s.len;
	ret = state_load(&b, d, obj, instance, w->err);
	if (ret < 0)
		return err_prefix(w->err, ret, "section \"%s\" number %u", d->name, instance);
	if (b.pos != b.len)
		return err_set(w->err, -EINVAL, "section \"%s\" number %u goes on after its end",
			       d->name, instance);
	return 0;
}

static int get_clock(struct walk *w)
{
	struct clock c = { 0 };
	int ret = get_part(w, &clock_state, &c, 0);

	if (ret < 0)
		return ret;
	vtime_set_now(w->m->vtime, c.now_ns);
	w->m->cpus->tsc_hz = c.tsc_hz;
	return 0;
}

static int get_shape(struct walk *w)
{
	struct save_section s;
	int ret = expect(w->m, w->reader, &s, "config", 0, 1, w->err);

	if (ret == 0)
		ret = expect(w->m, w->reader, &s, "shape", 0, 1, w->err);
	return ret == 0 ? save_shape_check(w->m, (const char *)s.data, s.len, w->err) : ret;
}

static int get_memory(struct walk *w)
{
	struct save_section s;
	int ret = save_memory_clear(w->m->mem, w->err);

	while (ret == 0) {
		ret = next(w->reader, &s, "memory", w->err);
		if (ret != 0)
			break;
		if (strcmp(s.name, "memory") != 0)
			return unknown(w->reader, &s, w->err);
		if (s.version != 1)
			return err_set(w->err, -EINVAL, "section \"memory\" has version %u, this "
				       "program knows 1; the file was made by bothy %s: restore it "
				       "with that version or a newer one", s.version,
				       save_reader_program(w->reader));
		ret = save_memory_load(w->m->mem, &s, w->err);
	}
	return ret < 0 ? ret : 0;
}

int save_read(const struct save_machine *m, struct save_reader *reader, struct err *err)
{
	struct walk w = { .m = m, .fn = get_part, .reader = reader, .err = err };
	int ret = get_shape(&w);

	cpus_sync(m->cpus); /* what is loaded now is what runs next */
	if (ret == 0)
		ret = get_clock(&w);
	if (ret == 0)
		ret = each_part(&w);
	if (ret == 0)
		ret = get_memory(&w);
	return ret;
}

char *save_read_config(const char *path, struct err *err)
{
	struct save_reader *r = save_reader_new(path, err);
	struct save_section s;
	char *text = NULL;

	if (!r)
		return NULL;
	if (expect(NULL, r, &s, "config", 0, 1, err) < 0) {
		err_prefix(err, -EINVAL, "'%s' cannot be restored", path);
	} else {
		text = strndup((const char *)s.data, s.len);
		if (!text)
			err_set(err, -ENOMEM, "out of memory");
	}
	save_reader_free(r);
	return text;
}

int save_read_features(const char *path, uint64_t *features, struct err *err)
{
	struct save_reader *r = save_reader_new(path, err);
	struct save_section s;
	int ret;

	if (!r)
		return err_prefix(err, -EIO, "'%s' cannot be restored", path);
	ret = expect(NULL, r, &s, "config", 0, 1, err);
	if (ret == 0)
		ret = expect(NULL, r, &s, "shape", 0, 1, err);
	if (ret == 0)
		*features = save_shape_features((const char *)s.data, s.len);
	else
		err_prefix(err, ret, "'%s' cannot be restored", path);
	save_reader_free(r);
	return ret;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/plug.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/opts.h"
#include "src/base/size.h"
#include "src/dev/devices.h"

static bool in_words(const char *words, const char *name)
{
	size_t len = strlen(name);

	for (const char *w = words; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL)
		if (strcspn(w, "|") == len && !strncmp(w, name, len))
			return true;
	return false;
}

const struct dev_desc *dev_find(const char *name)
{
	for (size_t i = 0; devices[i]; i++)
		if (devices[i]->size && (!strcmp(devices[i]->name, name) ||
					 in_words(devices[i]->aliases, name)))
			return devices[i];
	return NULL;
}

const struct dev_desc *dev_nearest(const char *name)
{
	const char *names[256];
	const char *near;
	size_t n = 0;

	for (size_t i = 0; devices[i] && n < 256; i++)
		if (devices[i]->size)
			names[n++] = devices[i]->name;
	near = n ? opts_nearest(name, names, n, sizeof(names[0])) : NULL;
	return near ? dev_find(near) : NULL;
}

static int parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = { "on", "yes", "true", "1" };
	static const char *const no[] = { "off", "no", "false", "0" };

	for (size_t i = 0; i < 4; i++) {
		if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
			*out = !strcmp(text, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_choice(const char *text, const char *choices, uint32_t *out)
{
	size_t len = strlen(text);
	uint32_t n = 0;

	for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL, n++) {
		if (strcspn(c, "|") == len && !strncmp(c, text, len)) {
			*out = n;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
	int used = 0;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &used) != 6 || text[used] || used != 17)
		return -EINVAL;
	return mac[0] & 1 ? -EINVAL : 0; /* a group address is nobody's own */
}

static int parse_number(const struct dev_prop *p, const char *text, uint64_t *n, struct err *err)
{
	uint64_t max = p->max ? p->max : p->type == DEV_PROP_UINT ? UINT32_MAX : UINT64_MAX;
	char *end;
	int ret = 0;

	if (p->type == DEV_PROP_SIZE) {
		ret = parse_size(text, 1, n, err);
	} else if (!strncmp(text, "0x", 2)) {
		errno = 0;
		*n = strtoull(text, &end, 16);
		if (errno || *end || !text[2])
			ret = err_set(err, -EINVAL, "'%s' is no number", text);
	} else {
		ret = parse_uint(text, n, err);
	}
	if (ret == 0 && (*n < p->min || *n > max))
		ret = err_set(err, -EINVAL, "%s is out of range; allowed are %" PRIu64 " to %" PRIu64,
			      text, p->min, max);
	return ret;
}

static int set_prop(const struct dev_prop *p, void *at, const char *text,
		    const struct dev_backends *b, struct err *err)
{
	uint64_t n;
	void *back;
	int ret;

	switch (p->type) {
	case DEV_PROP_BOOL:
		if (parse_bool(text, at) < 0)
			return err_set(err, -EINVAL, "'%s' is neither on nor off", text);
		return 0;
	case DEV_PROP_UINT:
	case DEV_PROP_SIZE:
		ret = parse_number(p, text, &n, err);
		if (ret < 0)
			return ret;
		if (p->type == DEV_PROP_SIZE)
			*(uint64_t *)at = n;
		else
			*(uint32_t *)at = (uint32_t)n;
		return 0;
	case DEV_PROP_TEXT:
		if (p->max && strlen(text) > p->max)
			return err_set(err, -EINVAL, "'%s' has %zu characters; %" PRIu64 " are allowed",
				       text, strlen(text), p->max);
		*(const char **)at = text;
		return 0;
	case DEV_PROP_CHOICE:
		if (parse_choice(text, p->choices, at) < 0)
			return err_set(err, -EINVAL, "'%s' is none of %s", text, p->choices);
		return 0;
	case DEV_PROP_MAC:
		if (parse_mac(text, at) < 0)
			return err_set(err, -EINVAL, "'%s' is no MAC address of one station, such "
				       "as 52:54:00:12:34:56", text);
		return 0;
	case DEV_PROP_DRIVE:
	case DEV_PROP_NETDEV:
	case DEV_PROP_CHARDEV:
		back = b && b->find ? b->find(b->opaque, p->type, text, err) : NULL;
		if (!back)
			return err && err_is_set(err) ? -EINVAL
				: err_set(err, -EINVAL, "there is no '%s'", text);
		*(void **)at = back;
		return 0;
	}
	return -EINVAL;
}

static const struct dev_prop *prop_find(const struct dev_desc *d, const char *name)
{
	for (const struct dev_prop *p = d->props; p && p->name; p++)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

static const char *text_of(const struct dev_prop_text *texts, size_t count, const char *name)
{
	for (size_t i = count; i-- > 0; )
		if (!strcmp(texts[i].name, name))
			return texts[i].value;
	return NULL;
}

int dev_set_props(const struct dev_desc *d, void *dev, const struct dev_prop_text *texts,
		  size_t count, const struct dev_backends *backends, struct err *err)
{
	for (size_t i = 0; i < count; i++)
		if (!prop_find(d, texts[i].name))
			return err_set(err, -EINVAL, "%s has no property '%s'; bothy run "
				       "--list-devices shows what it has", d->name, texts[i].name);
	for (const struct dev_prop *p = d->props; p && p->name; p++) {
		const char *text = text_of(texts, count, p->name);
		int ret = 0;

		if (!text && p->required)
			return err_set(err, -EINVAL, "%s needs the property '%s' (%s)", d->name,
				       p->name, p->help);
		if (!text)
			text = p->def;
		if (text)
			ret = set_prop(p, (char *)dev + p->offset, text, backends, err);
		if (ret < 0)
			return err_prefix(err, ret, "%s: %s", d->name, p->name);
	}
	return 0;
}

int dev_new(const struct dev_desc *d, const struct dev_plug *plug,
	    const struct dev_prop_text *texts, size_t count, const struct dev_backends *backends,
	    void **out, struct err *err)
{
	void *dev;
	int ret;

	*out = NULL;
	/* Device structs may hold what wants a cache line of its own. */
	if (posix_memalign(&dev, 64, (d->size + 63) / 64 * 64))
		return err_set(err, -ENOMEM, "out of memory for %s", d->name);
	memset(dev, 0, d->size);
	ret = dev_set_props(d, dev, texts, count, backends, err);
	if (ret == 0)
		ret = d->init(dev, plug, err);
	if (ret < 0) {
		free(dev);
		return ret;
	}
	*out = dev;
	return 0;
}

void dev_free(const struct dev_desc *d, void *dev)
{
	if (!dev)
		return;
	d->fini(dev);
	free(dev);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/bothy-vm/config.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/vm/save.h"

#define CONFIG_MAX (1u << 20)

static int read_all(int fd, char *buf, size_t max, struct err *err)
{
	size_t len = 0;

	while (len < max) {
		ssize_t n = read(fd, buf + len, max - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, -errno, "the machine's description cannot be read: %s",
				       strerror(errno));
		if (n == 0)
			return (int)len;
		len += (size_t)n;
	}
	return err_set(err, -E2BIG, "the machine's description is longer than %zu bytes", max);
}

/* One kind of member each: where it goes. */
enum member_type { MEMBER_TEXT, MEMBER_BOOL, MEMBER_U64, MEMBER_UINT, MEMBER_SERIAL, MEMBER_GDB, MEMBER_ITEMS };

static const struct {
	const char *name;
	enum member_type type;
	size_t offset;
} members[] = {
	{ "memory", MEMBER_U64, offsetof(struct vm_config, memory_bytes) },
	{ "cpus", MEMBER_UINT, offsetof(struct vm_config, cpus) },
	{ "cpu", MEMBER_TEXT, offsetof(struct vm_config, model) },
	{ "engine", MEMBER_TEXT, offsetof(struct vm_config, engine) },
	{ "kernel", MEMBER_TEXT, offsetof(struct vm_config, kernel) },
	{ "initrd", MEMBER_TEXT, offsetof(struct vm_config, initrd) },
	{ "append", MEMBER_TEXT, offsetof(struct vm_config, append) },
	{ "firmware", MEMBER_TEXT, offsetof(struct vm_config, firmware) },
	{ "uefi-vars", MEMBER_TEXT, offsetof(struct vm_config, uefi_vars) },
	{ "no-reboot", MEMBER_BOOL, offsetof(struct vm_config, no_reboot) },
	{ "paused", MEMBER_BOOL, offsetof(struct vm_config, paused) },
	{ "gdb", MEMBER_GDB, 0 },
	{ "translation-cache", MEMBER_U64, offsetof(struct vm_config, translation_cache_bytes) },
	{ "trace-blocks", MEMBER_TEXT, offsetof(struct vm_config, trace_blocks) },
	{ "perf-map", MEMBER_BOOL, offsetof(struct vm_config, perf_map) },
	{ "host-without", MEMBER_TEXT, offsetof(struct vm_config, host_without) },
	{ "stats", MEMBER_BOOL, offsetof(struct vm_config, stats) },
	{ "vcpu-affinity", MEMBER_TEXT, offsetof(struct vm_config, vcpu_affinity) },
	{ "vcpu-nice", MEMBER_UINT, offsetof(struct vm_config, vcpu_nice) },
	{ "kvm-anyway", MEMBER_BOOL, offsetof(struct vm_config, engine_anyway) },
	{ "kvm-irqchip", MEMBER_TEXT, offsetof(struct vm_config, irqchip) },
	{ "restore", MEMBER_TEXT, offsetof(struct vm_config, restore) },
	{ "uuid", MEMBER_TEXT, offsetof(struct vm_config, uuid) },
	{ "watchdog-action", MEMBER_TEXT, offsetof(struct vm_config, watchdog) },
	{ "fw-cfg", MEMBER_ITEMS, offsetof(struct vm_config, fw_cfg) },
	{ "serial", MEMBER_SERIAL, 0 },
	{ "drives", MEMBER_ITEMS, offsetof(struct vm_config, drives) },
	{ "netdevs", MEMBER_ITEMS, offsetof(struct vm_config, netdevs) },
	{ "chardevs", MEMBER_ITEMS, offsetof(struct vm_config, chardevs) },
	{ "devices", MEMBER_ITEMS, offsetof(struct vm_config, devices) },
	{ "displays", MEMBER_ITEMS, offsetof(struct vm_config, displays) },
};

/* {"fd": N} a connected stream or a file; {"listen": N, "unlink": PATH} a socket. */
static int set_serial(struct config *cfg, struct json_object *v, struct err *err)
{
	struct json_object *fd, *path;

	if (!json_object_is_type(v, json_type_object))
		return err_set(err, -EINVAL, "'serial' must be an object");
	if (json_object_object_get_ex(v, "fd", &fd))
		cfg->vm.serial = VM_SERIAL_FD;
	else if (json_object_object_get_ex(v, "listen", &fd))
		cfg->vm.serial = VM_SERIAL_LISTEN;
	else
		return err_set(err, -EINVAL, "'serial' needs 'fd' or 'listen'");
	cfg->vm.serial_fd = json_object_get_int(fd);
	if (fcntl(cfg->vm.serial_fd, F_GETFD) < 0)
		return err_set(err, -EBADF, "'serial' names descriptor %d, which is not open",
			       cfg->vm.serial_fd);
	if (json_object_object_get_ex(v, "unlink", &path))
		cfg->serial_unlink = json_object_get_string(path);
	return 0;
}

/* {"driver": NAME, "id": NAME, property: text, ...} */
static int set_item(struct dev_item *item, struct json_object *v, struct err *err)
{
	struct dev_prop_text *props;

	if (!json_object_is_type(v, json_type_object))
		return err_set(err, -EINVAL, "an item is no object");
	props = calloc((size_t)json_object_object_length(v) + 1, sizeof(*props));
	if (!props)
		return err_set(err, -ENOMEM, "out of memory");
	item->props = props;
	json_object_object_foreach(v, key, value) {
		const char *text = json_object_get_string(value);

		if (!json_object_is_type(value, json_type_string))
			return err_set(err, -EINVAL, "'%s' is no string", key);
		if (!strcmp(key, "driver"))
			item->driver = text;
		else if (!strcmp(key, "id"))
			item->id = text;
		else
			props[item->count++] = (struct dev_prop_text){ key, text };
	}
	if (!item->driver)
		item->driver = "";
	return 0;
}

static int set_items(const char *name, struct dev_items *list, struct json_object *v,
		     struct err *err)
{
	size_t n;
	int ret;

	if (!json_object_is_type(v, json_type_array))
		return err_set(err, -EINVAL, "'%s' must be an array", name);
	n = json_object_array_length(v);
	list->item = calloc(n + 1, sizeof(*list->item));
	if (!list->item)
		return err_set(err, -ENOMEM, "out of memory");
	for (; list->count < n; list->count++) {
		ret = set_item(&list->item[list->count], json_object_array_get_idx(v, list->count),
			       err);
		if (ret < 0) {
			list->count++; /* half filled: its memory goes with the rest */
			return err_prefix(err, ret, "'%s'", name);
		}
	}
	return 0;
}

static void free_items(struct dev_items *list)
{
	for (size_t i = 0; i < list->count; i++)
		free((void *)list->item[i].props);
	free(list->item);
}

static int set_member(struct config *cfg, size_t m, struct json_object *v, struct err *err)
{
	char *at = (char *)&cfg->vm + members[m].offset;
	const char *text;
	bool flag;
	int64_t number = json_object_get_int64(v);
	bool is_int = json_object_is_type(v, json_type_int);

	switch (members[m].type) {
	case MEMBER_TEXT:
		if (!json_object_is_type(v, json_type_string))
			break;
		text = json_object_get_string(v);
		memcpy(at, &text, sizeof(text));
		return 0;
	case MEMBER_BOOL:
		if (!json_object_is_type(v, json_type_boolean))
			break;
		flag = json_object_get_boolean(v);
		memcpy(at, &flag, sizeof(flag));
		return 0;
	case MEMBER_U64:
		if (!is_int || number < 0)
			break;
		memcpy(at, &number, sizeof(number));
		return 0;
	case MEMBER_UINT:
		if (!is_int || number < 0 || number > INT_MAX)
			break;
		memcpy(at, &(unsigned){ (unsigned)number }, sizeof(unsigned));
		return 0;
	case MEMBER_GDB:
		if (!json_object_is_type(v, json_type_string))
			break;
		cfg->gdb = json_object_get_string(v);
		return 0;
	case MEMBER_SERIAL:
		return set_serial(cfg, v, err);
	case MEMBER_ITEMS:
		return set_items(members[m].name, (struct dev_items *)at, v, err);
	}
	return err_set(err, -EINVAL, "'%s' has a value of the wrong type or range",
		       members[m].name);
}

static int take_members(struct config *cfg, struct err *err)
{
	int ret;

	if (!json_object_is_type(cfg->json, json_type_object))
		return err_set(err, -EINVAL, "not a JSON object");
	json_object_object_foreach(cfg->json, key, value) {
		size_t m = 0;

		while (m < array_size(members) && strcmp(members[m].name, key))
			m++;
		if (m == array_size(members))
			return err_set(err, -EINVAL, "unknown member '%s'", key);
		ret = set_member(cfg, m, value, err);
		if (ret < 0)
			return ret;
	}
	if (cfg->vm.kernel && cfg->vm.firmware)
		return err_set(err, -EINVAL, "'kernel' boots without firmware; 'firmware' cannot "
			       "be given with it");
	if (!cfg->vm.kernel && !cfg->vm.firmware)
		cfg->vm.firmware = "bios";
	if (cfg->vm.uefi_vars && (cfg->vm.kernel || !strcmp(cfg->vm.firmware, "bios")))
		return err_set(err, -EINVAL, "'uefi-vars' is for UEFI firmware; give --firmware "
			       "uefi with it");
	if (!cfg->vm.kernel && (cfg->vm.initrd || (cfg->vm.append && cfg->vm.append[0])))
		return err_set(err, -EINVAL, "'initrd' and 'append' are for a 'kernel', which is "
			       "missing; give one with --kernel FILE");
	if (cfg->vm.cpus < 1 || cfg->vm.cpus > 255)
		return err_set(err, -EINVAL, "'cpus' must be 1 to 255");
	if (cfg->vm.memory_bytes < 1 << 20 || cfg->vm.memory_bytes > 1ull << 46 ||
	    cfg->vm.memory_bytes % 4096)
		return err_set(err, -EINVAL, "'memory' must be 1 MiB to 64 TiB, in whole pages");
	return 0;
}

/*
 * Saved machines remember their description, so that nobody has to repeat it.
 */

/* About this run and not about the machine. */
static bool is_of_run(const char *key)
{
	static const char *const keys[] = { "serial", "restore", "engine", "no-reboot", "paused",
					    "gdb", "kvm-anyway", "kvm-irqchip", "vcpu-affinity",
					    "vcpu-nice" };

	for (size_t i = 0; i < array_size(keys); i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

/* An empty list is what bothy sends where nothing was said. */
static bool is_given(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) &&
	       !(json_object_is_type(v, json_type_array) && json_object_array_length(v) == 0);
}

static int take_saved(struct config *cfg, struct err *err)
{
	struct json_object *restore = json_object_object_get(cfg->json, "restore"), *saved;
	char *text;

	if (!json_object_is_type(restore, json_type_string))
		return 0;
	text = save_read_config(json_object_get_string(restore), err);
	if (!text)
		return -EIO;
	saved = json_tokener_parse(text);
	free(text);
	if (json_object_is_type(saved, json_type_object)) {
		json_object_object_foreach(saved, key, value) {
			if (is_of_run(key) || is_given(cfg->json, key))
				continue;
			json_object_object_add(cfg->json, key, json_object_get(value));
		}
	}
	json_object_put(saved);
	return 0;
}

/* A file's path, good from any folder. */
static struct json_object *absolute(struct json_object *path)
{
	char *full = realpath(json_object_get_string(path), NULL);
	struct json_object *o = full ? json_object_new_string(full) : json_object_get(path);

	free(full);
	return o;
}

/* Drives and other items: each a new object, its files' paths absolute. */
static struct json_object *absolute_items(struct json_object *list)
{
	struct json_object *out = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		struct json_object *copy = json_object_new_object();

		json_object_object_foreach(item, key, value) {
			bool file = !strcmp(key, "file") || !strcmp(key, "path");

			json_object_object_add(copy, key, file ? absolute(value)
							       : json_object_get(value));
		}
		json_object_array_add(out, copy);
	}
	return out;
}

static int describe(struct config *cfg, struct err *err)
{
	struct json_object *o = json_object_new_object();

	json_object_object_foreach(cfg->json, key, value) {
		bool file = !strcmp(key, "kernel") || !strcmp(key, "initrd") ||
			    !strcmp(key, "uefi-vars");

		if (is_of_run(key))
			continue;
		if (json_object_is_type(value, json_type_array))
			json_object_object_add(o, key, absolute_items(value));
		else
			json_object_object_add(o, key, file ? absolute(value)
							    : json_object_get(value));
	}
	cfg->description = strdup(json_object_to_json_string(o));
	json_object_put(o);
	cfg->vm.description = cfg->description;
	return cfg->description ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int config_read(int fd, struct config *cfg, struct err *err)
{
	char *buf = malloc(CONFIG_MAX + 1);
	enum json_tokener_error why;
	int ret;

	memset(cfg, 0, sizeof(*cfg));
	cfg->vm.cpus = 1;
	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	ret = read_all(fd, buf, CONFIG_MAX, err);
	if (ret >= 0) {
		buf[ret] = '\0';
		ret = 0;
		cfg->json = json_tokener_parse_verbose(buf, &why);
		if (!cfg->json)
			ret = err_set(err, -EINVAL, "%s", json_tokener_error_desc(why));
		else
			ret = take_saved(cfg, err);
		if (ret == -EIO) {
			free(buf);
			return ret;
		}
		if (ret == 0)
			ret = take_members(cfg, err);
		if (ret == 0)
			ret = describe(cfg, err);
		if (ret < 0)
			err_prefix(err, ret, "the machine's description is wrong");
	}
	free(buf);
	return ret;
}

void config_free(struct config *cfg)
{
	for (size_t m = 0; m < array_size(members); m++)
		if (members[m].type == MEMBER_ITEMS)
			free_items((struct dev_items *)((char *)&cfg->vm + members[m].offset));
	json_object_put(cfg->json);
	free(cfg->description);
	memset(cfg, 0, sizeof(*cfg));
}

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
enum member_type { MEMBER_TEXT, MEMBER_BOOL, MEMBER_U64, MEMBER_UINT, MEMBER_SERIAL };

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
	{ "no-reboot", MEMBER_BOOL, offsetof(struct vm_config, no_reboot) },
	{ "serial", MEMBER_SERIAL, 0 },
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
	case MEMBER_SERIAL:
		return set_serial(cfg, v, err);
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
	if (!cfg->vm.kernel)
		return err_set(err, -EINVAL, "'kernel' is missing");
	if (cfg->vm.cpus < 1 || cfg->vm.cpus > 255)
		return err_set(err, -EINVAL, "'cpus' must be 1 to 255");
	if (cfg->vm.memory_bytes < 1 << 20 || cfg->vm.memory_bytes > 1ull << 46 ||
	    cfg->vm.memory_bytes % 4096)
		return err_set(err, -EINVAL, "'memory' must be 1 MiB to 64 TiB, in whole pages");
	return 0;
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
			ret = take_members(cfg, err);
		if (ret < 0)
			err_prefix(err, ret, "the machine's description is wrong");
	}
	free(buf);
	return ret;
}

void config_free(struct config *cfg)
{
	json_object_put(cfg->json);
	memset(cfg, 0, sizeof(*cfg));
}

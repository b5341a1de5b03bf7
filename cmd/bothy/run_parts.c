/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/bothy/run_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli.h"
#include "src/base/bits.h"
#include "src/base/uuid.h"

/* A value such as "FILE,key=value,flag": its first word and its pairs. */
#define PAIRS_MAX 32
struct words {
	char *copy;
	const char *first; /* NULL if it begins with a pair */
	struct {
		const char *key, *value;
	} pair[PAIRS_MAX];
	size_t count;
};

struct parts {
	struct json_object *drives, *netdevs, *chardevs, *devices, *displays, *fw_cfg;
	const char *boot; /* "disk,cdrom" */
	unsigned boot_next;
	unsigned disks, cdroms, floppies, nets;
};

static void words_fini(struct words *w)
{
	free(w->copy);
}

/* Cuts at commas; two of them stand for one. */
static int words_cut(struct words *w, const char *option, const char *text, bool has_first,
		     struct err *err)
{
	char *in, *out, *word;

	*w = (struct words){ .copy = strdup(text) };
	if (!w->copy)
		return err_set(err, -ENOMEM, "out of memory");
	in = out = word = w->copy;
	for (bool end = false; !end; in++) {
		char *eq;

		if (*in && *in != ',') {
			*out++ = *in;
			continue;
		}
		if (in[0] == ',' && in[1] == ',') {
			*out++ = ',';
			in++;
			continue;
		}
		end = !*in;
		*out++ = '\0';
		eq = strchr(word, '=');
		if (has_first && !w->first) {
			w->first = word;
		} else if (!*word) {
			return err_set(err, -EINVAL, "--%s %s: there is an empty word between "
				       "commas (write ,, for a comma)", option, text);
		} else if (w->count == PAIRS_MAX) {
			return err_set(err, -EINVAL, "--%s %s: too many words", option, text);
		} else {
			if (eq)
				*eq = '\0';
			w->pair[w->count].key = word;
			w->pair[w->count++].value = eq ? eq + 1 : "on";
		}
		word = out;
	}
	if (has_first && !*w->first)
		return err_set(err, -EINVAL, "--%s %s: the first word is missing", option, text);
	return 0;
}

static void put(struct json_object *o, const char *key, const char *value)
{
	if (value)
		json_object_object_add(o, key, json_object_new_string(value));
}

static void put_number(struct json_object *o, const char *key, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	put(o, key, text);
}

static bool in_list(const char *key, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(key, *list))
			return true;
	return false;
}

/*
 * Boot order: classes in --boot's order, of each class all in the order given.
 */
static int boot_class(const struct parts *p, const char *class)
{
	const char *at = p->boot;
	int n = 0;

	for (; at; n++) {
		size_t len = strcspn(at, ",");

		if (len == strlen(class) && !strncmp(at, class, len))
			return n;
		at = at[len] ? at + len + 1 : NULL;
	}
	return -1;
}

static int check_boot(const char *text, struct err *err)
{
	static const char *const classes[] = { "disk", "cdrom", "floppy", "net", NULL };
	char word[16];

	for (const char *at = text; at; ) {
		size_t len = strcspn(at, ",");

		snprintf(word, sizeof(word), "%.*s", (int)min_of(len, sizeof(word) - 1), at);
		if (!in_list(word, classes) || len >= sizeof(word))
			return err_set(err, -EINVAL, "--boot: '%.*s' is none of disk, cdrom, floppy, "
				       "net", (int)len, at);
		at = at[len] ? at + len + 1 : NULL;
	}
	return 0;
}

static void put_boot(const struct parts *p, struct json_object *dev, const char *class, unsigned n)
{
	int c = boot_class(p, class);

	if (c >= 0 && !json_object_object_get(dev, "bootindex"))
		put_number(dev, "bootindex", (unsigned)c * 100 + n);
}

/*
 * --disk, --cdrom, --floppy
 */
static const char *const drive_keys[] = { "format", "readonly", "cache", "aio", "rerror", "werror",
					  "iops", "bps", "key-file", NULL };

static const struct {
	const char *bus, *disk, *cdrom;
} buses[] = {
	{ "virtio", "virtio-blk", NULL },
	{ "scsi", "scsi-hd", "scsi-cd" },
	{ "sata", "sata-disk", "sata-cd" },
	{ "ide", "ide-disk", "ide-cd" },
};

static int drive_device(const char *option, const char *bus, bool cdrom, const char **driver,
			struct err *err)
{
	for (size_t i = 0; i < array_size(buses); i++) {
		if (strcmp(buses[i].bus, bus))
			continue;
		*driver = cdrom ? buses[i].cdrom : buses[i].disk;
		if (*driver)
			return 0;
	}
	return err_set(err, -EINVAL, "--%s: bus=%s is none of %sscsi, sata, ide", option, bus,
		       cdrom ? "" : "virtio, ");
}

static int add_drive(struct parts *p, const char *option, const char *text, unsigned n,
		     const char *bus, struct err *err)
{
	bool cdrom = !strcmp(option, "cdrom"), floppy = !strcmp(option, "floppy");
	struct json_object *drive, *dev;
	const char *driver = "floppy", *where = NULL;
	char id[32];
	struct words w;
	int ret = words_cut(&w, option, text, true, err);

	snprintf(id, sizeof(id), "%s%u", option, n);
	for (size_t i = 0; i < w.count; i++)
		if (!strcmp(w.pair[i].key, "bus"))
			where = w.pair[i].value;
	if (ret == 0 && floppy && where)
		ret = err_set(err, -EINVAL, "--floppy has no bus=");
	if (ret == 0 && !floppy)
		ret = drive_device(option, where ? where : bus, cdrom, &driver, err);
	if (ret < 0) {
		words_fini(&w);
		return ret;
	}
	drive = json_object_new_object();
	dev = json_object_new_object();
	put(drive, "driver", "file");
	put(drive, "id", id);
	if (!((cdrom || floppy) && !strcmp(w.first, "empty")))
		put(drive, "file", w.first);
	if (cdrom)
		put(drive, "readonly", "on");
	if (cdrom || floppy)
		put(drive, "removable", "on");
	put(dev, "driver", driver);
	put(dev, "drive", id);
	for (size_t i = 0; i < w.count; i++) {
		if (in_list(w.pair[i].key, drive_keys))
			put(drive, w.pair[i].key, w.pair[i].value);
		else if (strcmp(w.pair[i].key, "bus"))
			put(dev, w.pair[i].key, w.pair[i].value);
	}
	put_boot(p, dev, option, n);
	json_object_array_add(p->drives, drive);
	json_object_array_add(p->devices, dev);
	words_fini(&w);
	return 0;
}

/*
 * --net
 */
static const char *const fw_cfg_keys[] = { "name", "file", "string", NULL };
static const char *const nic_keys[] = { "mac", "model", "addr", "bootindex", NULL };

static int add_net(struct parts *p, const char *text, unsigned n, struct err *err)
{
	struct json_object *net, *dev;
	const char *model = "virtio-net";
	char id[32];
	struct words w;
	int ret = words_cut(&w, "net", text, true, err);

	if (ret == 0 && !strcmp(w.first, "none") && w.count)
		ret = err_set(err, -EINVAL, "--net none stands alone");
	if (ret < 0 || !strcmp(w.first, "none")) {
		words_fini(&w);
		return ret;
	}
	net = json_object_new_object();
	dev = json_object_new_object();
	snprintf(id, sizeof(id), "net%u", n);
	put(net, "driver", w.first);
	put(net, "id", id);
	for (size_t i = 0; i < w.count; i++) {
		struct json_object *old = json_object_object_get(net, w.pair[i].key);
		char *joined;

		if (in_list(w.pair[i].key, nic_keys)) {
			if (!strcmp(w.pair[i].key, "model"))
				model = w.pair[i].value;
			else
				put(dev, w.pair[i].key, w.pair[i].value);
		} else if (old && asprintf(&joined, "%s %s", json_object_get_string(old),
					   w.pair[i].value) >= 0) {
			/* One that repeats (forward=): all, with a space between them. */
			put(net, w.pair[i].key, joined);
			free(joined);
		} else {
			put(net, w.pair[i].key, w.pair[i].value);
		}
	}
	put(dev, "driver", model);
	put(dev, "netdev", id);
	put_boot(p, dev, "net", n);
	json_object_array_add(p->netdevs, net);
	json_object_array_add(p->devices, dev);
	words_fini(&w);
	return 0;
}

/* --device NAME,..., --chardev KIND,...: as they stand. */
static int add_item(struct json_object *list, const char *option, const char *text, struct err *err)
{
	struct json_object *o;
	struct words w;
	int ret = words_cut(&w, option, text, true, err);

	if (ret == 0) {
		o = json_object_new_object();
		put(o, "driver", w.first);
		for (size_t i = 0; i < w.count; i++)
			put(o, w.pair[i].key, w.pair[i].value);
		if (!strcmp(option, "chardev") && !json_object_object_get(o, "id"))
			ret = err_set(err, -EINVAL, "--chardev %s: it needs id=ID, for a --device's "
				      "chardev=ID", text);
		json_object_array_add(list, o);
	}
	words_fini(&w);
	return ret;
}

/* --drive id=ID,file=FILE,...: one without a device, for --device. */
static int add_bare_drive(struct json_object *list, const char *text, struct err *err)
{
	struct json_object *o;
	struct words w;
	int ret = words_cut(&w, "drive", text, false, err);

	if (ret == 0) {
		o = json_object_new_object();
		for (size_t i = 0; i < w.count; i++)
			put(o, w.pair[i].key, w.pair[i].value);
		if (!json_object_object_get(o, "id"))
			ret = err_set(err, -EINVAL, "--drive %s: it needs id=ID, for a --device's "
				      "drive=ID", text);
		json_object_array_add(list, o);
	}
	words_fini(&w);
	return ret;
}

/* --fw-cfg name=opt/NAME,file=FILE|string=TEXT. QEMU's -fw_cfg lets the name stand alone. */
static int add_fw_cfg(struct json_object *list, const char *text, struct err *err)
{
	struct json_object *o;
	struct words w;
	bool bare = !strncmp(text, "opt/", 4);
	int ret = words_cut(&w, "fw-cfg", text, bare, err);

	if (ret == 0) {
		o = json_object_new_object();
		put(o, "name", w.first);
		for (size_t i = 0; i < w.count; i++)
			put(o, w.pair[i].key, w.pair[i].value);
		json_object_array_add(list, o);
		for (size_t i = 0; ret == 0 && i < w.count; i++)
			if (!in_list(w.pair[i].key, fw_cfg_keys))
				ret = err_set(err, -EINVAL, "--fw-cfg %s: there is no '%s'; there are "
					      "name=, file= and string=", text, w.pair[i].key);
		if (ret == 0 && (!json_object_object_get(o, "name") ||
				 !json_object_object_get(o, "file") ==
				 !json_object_object_get(o, "string")))
			ret = err_set(err, -EINVAL, "--fw-cfg %s: it needs name=opt/... and either "
				      "file=FILE or string=TEXT", text);
	}
	words_fini(&w);
	return ret;
}

/*
 * The machine's UUID. Guests take it for the machine's identity, so it should be the same
 * the next time: what makes a machine of this command line the same is its first disk.
 */
static void stable_uuid(const char *disk, uint8_t uuid[16])
{
	char host[40] = "", *path = realpath(disk, NULL), *text = NULL;
	FILE *f = fopen("/etc/machine-id", "re");

	/* Two hosts may have disks at one place. */
	if (f && !fgets(host, sizeof(host), f))
		host[0] = '\0';
	if (f)
		fclose(f);
	if (asprintf(&text, "%s%s", host, path ? path : disk) >= 0)
		uuid_of_text(text, uuid);
	free(text);
	free(path);
}

static int put_uuid(struct parts *p, const struct opt_value *v, struct json_object *o,
		    struct err *err)
{
	const char *given = v[CLI_RUN_UUID].text, *disk = NULL;
	char text[UUID_TEXT];
	uint8_t uuid[16] = { 0 };
	int ret = 0;

	/* A saved machine has its own. */
	if (!given && v[CLI_RUN_RESTORE].given)
		return 0;
	for (size_t i = 0; !disk && i < json_object_array_length(p->drives); i++) {
		struct json_object *d = json_object_array_get_idx(p->drives, i);

		if (!json_object_object_get(d, "removable"))
			disk = json_object_get_string(json_object_object_get(d, "file"));
	}
	if (given)
		ret = uuid_parse(given, uuid, err);
	else if (disk)
		stable_uuid(disk, uuid);
	else if (uuid_random(uuid) < 0)
		ret = err_set(err, -EIO, "the host gives no random numbers for a UUID; give one with "
			      "--uuid");
	if (ret < 0)
		return given ? err_prefix(err, ret, "--uuid") : ret;
	uuid_print(uuid, text);
	put(o, "uuid", text);
	return 0;
}

/* --display vnc=WHERE,password-file=FILE */
static int add_display(struct parts *p, const char *text, struct err *err)
{
	struct json_object *o;
	const char *eq;
	struct words w;
	int ret = words_cut(&w, "display", text, true, err);
	size_t len;

	if (ret < 0) {
		words_fini(&w);
		return ret;
	}
	eq = strchr(w.first, '=');
	len = eq ? (size_t)(eq - w.first) : strlen(w.first);
	if (len == 4 && !strncmp(w.first, "none", 4) && !eq && !w.count) {
		words_fini(&w);
		return 0;
	}
	if (len != 3 || strncmp(w.first, "vnc", 3))
		ret = err_set(err, -EINVAL, "--display %s: there are none and vnc", text);
	o = json_object_new_object();
	put(o, "driver", "vnc");
	put(o, "where", eq ? eq + 1 : NULL);
	for (size_t i = 0; i < w.count; i++)
		put(o, w.pair[i].key, w.pair[i].value);
	json_object_array_add(p->displays, o);
	words_fini(&w);
	return ret;
}

/* The graphics card, unless one is among the devices. */
static int add_vga(struct parts *p, const struct opt_value *v, struct err *err)
{
	const char *kind = v[CLI_RUN_VGA].text;

	/* A saved machine has what it had. */
	if (v[CLI_RUN_RESTORE].given && !v[CLI_RUN_VGA].given)
		return 0;
	struct json_object *o;
	bool want = !v[CLI_RUN_KERNEL].given || json_object_array_length(p->displays);

	for (size_t i = 0; i < v[CLI_RUN_DEVICE].count; i++)
		if (!strncasecmp(v[CLI_RUN_DEVICE].texts[i], "VGA", 3) &&
		    strchr(",", v[CLI_RUN_DEVICE].texts[i][3]))
			return 0;
	if (!strcmp(kind, "std"))
		want = true;
	else if (!strcmp(kind, "none"))
		want = false;
	else if (strcmp(kind, "auto"))
		return err_set(err, -EINVAL, "--vga: '%s' is none of auto, std, none", kind);
	if (!want)
		return 0;
	o = json_object_new_object();
	put(o, "driver", "VGA");
	/* Without firmware nobody runs its ROM. */
	put(o, "romfile", v[CLI_RUN_KERNEL].given ? "none" : NULL);
	json_object_array_add(p->devices, o);
	return 0;
}

static int add_parts(struct parts *p, const struct opt_value *v, struct err *err)
{
	int ret = check_boot(p->boot, err);

#define EACH(opt, call)                                                                          \
	for (size_t i = 0; ret == 0 && i < v[opt].count; i++) {                                  \
		const char *text = v[opt].texts[i];                                              \
		ret = call;                                                                      \
	}
	EACH(CLI_RUN_DISPLAY, add_display(p, text, err))
	if (ret == 0)
		ret = add_vga(p, v, err);
	EACH(CLI_RUN_DRIVE, add_bare_drive(p->drives, text, err))
	EACH(CLI_RUN_CHARDEV, add_item(p->chardevs, "chardev", text, err))
	EACH(CLI_RUN_DEVICE, add_item(p->devices, "device", text, err))
	EACH(CLI_RUN_DISK, add_drive(p, "disk", text, (unsigned)i, "virtio", err))
	EACH(CLI_RUN_CDROM, add_drive(p, "cdrom", text, (unsigned)i, "sata", err))
	EACH(CLI_RUN_FLOPPY, add_drive(p, "floppy", text, (unsigned)i, NULL, err))
	EACH(CLI_RUN_FW_CFG, add_fw_cfg(p->fw_cfg, text, err))
	EACH(CLI_RUN_NET, add_net(p, text, (unsigned)i, err))
#undef EACH
	return ret;
}

int run_parts(const struct opt_value *v, struct json_object *o, struct err *err)
{
	struct parts p = {
		.drives = json_object_new_array(), .netdevs = json_object_new_array(),
		.chardevs = json_object_new_array(), .devices = json_object_new_array(),
		.displays = json_object_new_array(), .fw_cfg = json_object_new_array(),
		.boot = v[CLI_RUN_BOOT].text,
	};
	int ret;

	json_object_object_add(o, "drives", p.drives);
	json_object_object_add(o, "netdevs", p.netdevs);
	json_object_object_add(o, "chardevs", p.chardevs);
	json_object_object_add(o, "devices", p.devices);
	json_object_object_add(o, "displays", p.displays);
	json_object_object_add(o, "fw-cfg", p.fw_cfg);
	ret = add_parts(&p, v, err);
	return ret < 0 ? ret : put_uuid(&p, v, o, err);
}

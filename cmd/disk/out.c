/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/disk/out.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#include "src/base/bits.h"

const char *out_size(uint64_t bytes, char *buf, size_t cap)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1000 && u + 1 < array_size(units)) {
		v /= 1024;
		u++;
	}
	snprintf(buf, cap, "%.3g %s", v, units[u]);
	return buf;
}

void out_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static struct json_object *u64(uint64_t v)
{
	return v > INT64_MAX ? json_object_new_uint64(v) : json_object_new_int64((int64_t)v);
}

static struct json_object *snapshot_json(const struct block_snapshot *s)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "id", json_object_new_string(s->id));
	json_object_object_add(o, "name", json_object_new_string(s->name));
	json_object_object_add(o, "vm-state-size", u64(s->vm_state_bytes));
	json_object_object_add(o, "date-sec", u64(s->date_s));
	json_object_object_add(o, "date-nsec", u64(s->date_ns));
	json_object_object_add(o, "vm-clock-sec", u64(s->vm_clock_ns / 1000000000));
	json_object_object_add(o, "vm-clock-nsec", u64(s->vm_clock_ns % 1000000000));
	if (s->icount != UINT64_MAX)
		json_object_object_add(o, "icount", u64(s->icount));
	return o;
}

static struct json_object *snapshots_json(const struct block_snapshot *list, size_t n)
{
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(a, snapshot_json(&list[i]));
	return a;
}

static struct json_object *note_value(const char *val, bool number)
{
	if (number)
		return u64(strtoull(val, NULL, 10));
	if (!strcmp(val, "true") || !strcmp(val, "false"))
		return json_object_new_boolean(val[0] == 't');
	return json_object_new_string(val);
}

static struct json_object *specific_json(const struct block_node *n, const struct block_info *i)
{
	struct json_object *o = json_object_new_object(), *data = json_object_new_object();
	struct json_object *maps = json_object_new_array();
	char key[40];

	for (unsigned k = 0; k < i->nnotes; k++) {
		snprintf(key, sizeof(key), "%s", i->notes[k].key);
		for (char *c = key; *c; c++)
			if (*c == ' ' || *c == '_')
				*c = '-';
		json_object_object_add(data, key,
				       note_value(i->notes[k].val, i->notes[k].is_number));
	}
	for (size_t k = 0; k < i->nbitmaps; k++) {
		struct json_object *b = json_object_new_object(), *f = json_object_new_array();

		json_object_object_add(b, "name", json_object_new_string(i->bitmaps[k].name));
		json_object_object_add(b, "granularity", u64(i->bitmaps[k].granularity));
		if (i->bitmaps[k].in_use)
			json_object_array_add(f, json_object_new_string("in-use"));
		if (i->bitmaps[k].enabled)
			json_object_array_add(f, json_object_new_string("auto"));
		json_object_object_add(b, "flags", f);
		json_object_array_add(maps, b);
	}
	if (i->nbitmaps)
		json_object_object_add(data, "bitmaps", maps);
	else
		json_object_put(maps);
	json_object_object_add(o, "type", json_object_new_string(n->desc->name));
	json_object_object_add(o, "data", data);
	return o;
}

struct json_object *out_info_json(struct block_node *n, struct err *err, int *rc)
{
	struct json_object *o;
	struct block_info i;
	uint64_t host = 0;
	char *full;

	*rc = block_info(n, &i, err);
	if (*rc || (*rc = block_host_bytes(n, &host)))
		return NULL;
	o = json_object_new_object();
	json_object_object_add(o, "filename", json_object_new_string(n->path));
	json_object_object_add(o, "format", json_object_new_string(n->desc->name));
	json_object_object_add(o, "virtual-size", u64(n->len));
	json_object_object_add(o, "actual-size", u64(host));
	if (i.cluster_bytes)
		json_object_object_add(o, "cluster-size", u64(i.cluster_bytes));
	if (i.encrypted)
		json_object_object_add(o, "encrypted", json_object_new_boolean(true));
	if (i.compressed)
		json_object_object_add(o, "compressed", json_object_new_boolean(true));
	if (i.has_backing) {
		full = block_path_beside(n->path, i.backing_path);
		json_object_object_add(o, "backing-filename",
				       json_object_new_string(i.backing_path));
		json_object_object_add(o, "full-backing-filename",
				       json_object_new_string(full ? full : i.backing_path));
		if (i.backing_format[0])
			json_object_object_add(o, "backing-filename-format",
					       json_object_new_string(i.backing_format));
		free(full);
	}
	if (i.nsnapshots)
		json_object_object_add(o, "snapshots", snapshots_json(i.snapshots, i.nsnapshots));
	if (i.nnotes || i.nbitmaps)
		json_object_object_add(o, "format-specific", specific_json(n, &i));
	json_object_object_add(o, "dirty-flag", json_object_new_boolean(i.dirty));
	block_info_fini(&i);
	return o;
}

void out_snapshots(const struct block_snapshot *list, size_t n)
{
	char size[32], date[32], clock[48];

	printf("%-10s%-24s%10s%20s%13s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK");
	for (size_t i = 0; i < n; i++) {
		time_t t = (time_t)list[i].date_s;
		uint64_t ms = list[i].vm_clock_ns / 1000000;
		struct tm tm;

		if (!localtime_r(&t, &tm))
			memset(&tm, 0, sizeof(tm));
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
		snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02u:%02u.%03u", ms / 3600000,
			 (unsigned)(ms / 60000 % 60), (unsigned)(ms / 1000 % 60),
			 (unsigned)(ms % 1000));
		printf("%-9s %-23s %10s%20s%13s\n", list[i].id, list[i].name,
		       out_size(list[i].vm_state_bytes, size, sizeof(size)), date, clock);
	}
}

int out_info_text(struct block_node *n, struct err *err)
{
	char a[32];
	struct block_info i;
	uint64_t host = 0;
	int rc = block_info(n, &i, err);

	if (rc || (rc = block_host_bytes(n, &host)))
		return rc;
	printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\n", n->path,
	       n->desc->name, out_size(n->len, a, sizeof(a)), n->len);
	printf("disk size: %s\n", out_size(host, a, sizeof(a)));
	if (i.encrypted)
		printf("encrypted: yes\n");
	if (i.cluster_bytes)
		printf("cluster_size: %" PRIu64 "\n", i.cluster_bytes);
	if (i.dirty)
		printf("cleanly shut down: no\n");
	if (i.has_backing) {
		char *full = block_path_beside(n->path, i.backing_path);

		bool gone = full && !strstr(full, "://") && access(full, F_OK) < 0;

		printf("backing file: %s", i.backing_path);
		if (full && strcmp(full, i.backing_path))
			printf(" (actual path: %s)", full);
		printf("\n");
		if (gone)
			printf("backing file missing: yes\n");
		free(full);
		if (i.backing_format[0])
			printf("backing file format: %s\n", i.backing_format);
	}
	if (i.nsnapshots) {
		printf("Snapshot list:\n");
		out_snapshots(i.snapshots, i.nsnapshots);
	}
	if (i.nnotes || i.nbitmaps)
		printf("Format specific information:\n");
	for (unsigned k = 0; k < i.nnotes; k++)
		printf("    %s: %s\n", i.notes[k].key, i.notes[k].val);
	for (size_t k = 0; k < i.nbitmaps; k++)
		printf("    bitmap: %s, granularity %u%s%s\n", i.bitmaps[k].name,
		       i.bitmaps[k].granularity, i.bitmaps[k].enabled ? ", auto" : "",
		       i.bitmaps[k].in_use ? ", in-use" : "");
	block_info_fini(&i);
	return 0;
}

int out_info(const struct op_env *env, const char *path, const char *format, bool chain, bool json,
	     struct err *err)
{
	unsigned flags = BLOCK_OPEN_NO_SECRET | BLOCK_OPEN_CHECK |
			 (chain ? 0 : BLOCK_OPEN_NO_BACKING);
	struct block_open_opts o = op_open_opts(env, format, flags);
	struct json_object *list = json_object_new_array(), *one;
	struct block_node *top;
	int rc = block_open(path, &o, &top, err);

	for (struct block_node *n = rc ? NULL : top; n && !rc; n = n->backing) {
		if (json) {
			one = out_info_json(n, err, &rc);
			if (one)
				json_object_array_add(list, one);
		} else {
			if (n != top)
				printf("\n");
			rc = out_info_text(n, err);
		}
	}
	if (!rc && json)
		out_json(json_object_get(chain ? list : json_object_array_get_idx(list, 0)));
	json_object_put(list);
	block_close(top);
	return rc;
}

struct map {
	bool json;
	unsigned n;
};

static int map_row(void *opaque, uint64_t off, const struct block_extent *e,
		   const struct block_node *top)
{
	struct map *m = opaque;
	const struct block_node *n = top;
	bool zero = e->flags & BLOCK_EXT_ZERO, data = e->flags & BLOCK_EXT_DATA;

	if (m->json) {
		printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, "
		       "\"present\": %s, \"zero\": %s, \"data\": %s",
		       m->n++ ? ",\n" : "[", off, e->len,
		       e->flags & BLOCK_EXT_ALLOCATED || !e->depth ? e->depth : e->depth - 1,
		       e->flags & BLOCK_EXT_ALLOCATED ? "true" : "false", zero ? "true" : "false",
		       data ? "true" : "false");
		if (e->flags & BLOCK_EXT_COMPRESSED)
			printf(", \"compressed\": true");
		if (e->flags & BLOCK_EXT_HOST_OFF && data)
			printf(", \"offset\": %" PRIu64, e->host_off);
		printf("}");
		return 0;
	}
	if (!data || zero)
		return 0;
	for (unsigned d = 0; d < e->depth && n->backing; d++)
		n = n->backing;
	printf("0x%-14" PRIx64 "  0x%-14" PRIx64 "  ", off, e->len);
	if (e->flags & BLOCK_EXT_HOST_OFF)
		printf("0x%-14" PRIx64 "  %s\n", e->host_off,
		       e->host_node ? e->host_node->path : n->path);
	else
		printf("%-16s  %s\n", e->flags & BLOCK_EXT_COMPRESSED ? "compressed" : "-", n->path);
	return 0;
}

int out_map(const struct op_env *env, const char *path, const char *format, bool json,
	    struct err *err)
{
	struct map m = { .json = json };
	int rc;

	if (!json)
		printf("%-16s  %-16s  %-16s  %s\n", "Offset", "Length", "Mapped to", "File");
	rc = op_map(env, path, format, map_row, &m, err);
	if (json)
		printf(m.n ? "]\n" : "[]\n");
	return rc;
}

static void check_json(const struct block_check *c, const char *path, const char *format)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "filename", json_object_new_string(path));
	json_object_object_add(o, "format", json_object_new_string(format));
	json_object_object_add(o, "check-errors", u64(c->check_errors));
	if (c->image_end)
		json_object_object_add(o, "image-end-offset", u64(c->image_end));
	if (c->errors > c->errors_fixed)
		json_object_object_add(o, "corruptions", u64(c->errors - c->errors_fixed));
	if (c->leaks > c->leaks_fixed)
		json_object_object_add(o, "leaks", u64(c->leaks - c->leaks_fixed));
	if (c->errors_fixed)
		json_object_object_add(o, "corruptions-fixed", u64(c->errors_fixed));
	if (c->leaks_fixed)
		json_object_object_add(o, "leaks-fixed", u64(c->leaks_fixed));
	if (c->total_clusters) {
		json_object_object_add(o, "total-clusters", u64(c->total_clusters));
		json_object_object_add(o, "allocated-clusters", u64(c->allocated_clusters));
	}
	if (c->fragmented_clusters)
		json_object_object_add(o, "fragmented-clusters", u64(c->fragmented_clusters));
	if (c->compressed_clusters)
		json_object_object_add(o, "compressed-clusters", u64(c->compressed_clusters));
	out_json(o);
}

void out_check(const struct block_check *c, const char *path, const char *format, bool fixed,
	       bool json)
{
	uint64_t errors = c->errors - c->errors_fixed, leaks = c->leaks - c->leaks_fixed;

	if (json) {
		check_json(c, path, format);
		return;
	}
	if (c->errors_fixed || c->leaks_fixed)
		printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
		       " leaked clusters\n    %" PRIu64 " corruptions\n\n", c->leaks_fixed,
		       c->errors_fixed);
	if (errors)
		printf("%" PRIu64 " errors were found on the image.\nData may be corrupted, or further "
		       "writes to the image may corrupt it.\n", errors);
	if (leaks)
		printf("%" PRIu64 " leaked clusters were found on the image.\nThis means waste of disk "
		       "space, but no harm to data.\n", leaks);
	if (c->check_errors)
		printf("%" PRIu64 " internal errors have occurred during the check.\n",
		       c->check_errors);
	if (!errors && !leaks && !c->check_errors)
		printf("No errors were found on the image.\n");
	if (c->total_clusters && c->allocated_clusters)
		printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented, %.2f%% "
		       "compressed clusters\n", c->allocated_clusters, c->total_clusters,
		       100.0 * (double)c->allocated_clusters / (double)c->total_clusters,
		       100.0 * (double)c->fragmented_clusters / (double)c->allocated_clusters,
		       100.0 * (double)c->compressed_clusters / (double)c->allocated_clusters);
	if (c->image_end)
		printf("Image end offset: %" PRIu64 "\n", c->image_end);
}

int out_snapshot_list(const struct op_env *env, const char *path, const char *format, bool json,
		      struct err *err)
{
	struct block_open_opts o = op_open_opts(env, format, BLOCK_OPEN_NO_BACKING |
								     BLOCK_OPEN_NO_SECRET);
	struct block_snapshot *list = NULL;
	struct block_node *n;
	size_t count = 0;
	int rc = block_open(path, &o, &n, err);

	if (rc)
		return rc;
	if (n->desc->snap_list)
		rc = n->desc->snap_list(n, &list, &count, err);
	if (!rc && json)
		out_json(snapshots_json(list, count));
	else if (!rc && count) {
		printf("Snapshot list:\n");
		out_snapshots(list, count);
	}
	free(list);
	block_close(n);
	return rc;
}

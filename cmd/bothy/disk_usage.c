/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy disk usage. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "api/disk.h"
#include "cmd/bothy/disk.h"

static void print_json(const struct disk_args *a, const struct block_usage *u)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(o, "filename", json_object_new_string(a->operand[0]));
	json_object_object_add(o, "virtual-size", json_object_new_uint64(u->len));
	json_object_object_add(o, "actual-size", json_object_new_uint64(u->host));
	json_object_object_add(o, "used", json_object_new_uint64(u->used));
	json_object_object_add(o, "maximum", json_object_new_uint64(u->most));
	json_object_object_add(o, "held-by-snapshots", json_object_new_uint64(u->held_by_snapshots));
	if (a->nopts)
		json_object_object_add(o, "freed", json_object_new_uint64(u->freed));
	for (size_t i = 0; i < u->nsnapshots; i++) {
		struct json_object *s = json_object_new_object();

		json_object_object_add(s, "id", json_object_new_string(u->snapshots[i].snapshot.id));
		json_object_object_add(s, "name",
				       json_object_new_string(u->snapshots[i].snapshot.name));
		json_object_object_add(s, "alone", json_object_new_uint64(u->snapshots[i].alone));
		json_object_array_add(list, s);
	}
	json_object_object_add(o, "snapshots", list);
	out_json(o);
}

static void print_text(const struct disk_args *a, const struct block_usage *u)
{
	char size[32];

	printf("takes on the host:  %s\n", out_size(u->host, size, sizeof(size)));
	printf("in use in the file: %s\n", out_size(u->used, size, sizeof(size)));
	printf("could grow to:      %s\n", out_size(u->most, size, sizeof(size)));
	for (size_t i = 0; i < u->nsnapshots; i++)
		printf("snapshot %s alone holds %s\n", u->snapshots[i].snapshot.name,
		       out_size(u->snapshots[i].alone, size, sizeof(size)));
	if (a->nopts)
		printf("deleting %s would free %s (%" PRIu64 " bytes)\n", a->v[DISK_USAGE_DELETE].text,
		       out_size(u->freed, size, sizeof(size)), u->freed);
}

int disk_usage(struct disk_args *a, struct err *err)
{
	struct block_usage u;
	int rc;

	a->env.share = a->v[DISK_USAGE_SHARE].given;
	rc = disk_split_options(a, a->v[DISK_USAGE_DELETE].text, err);
	if (!rc)
		rc = op_usage(&a->env, a->operand[0], a->v[DISK_USAGE_FORMAT].text, a->opts, a->nopts, &u,
			      err);
	if (rc)
		return rc == -EINVAL ? DISK_WRONG_USE : DISK_FAILED;
	if (a->v[DISK_USAGE_JSON].given)
		print_json(a, &u);
	else
		print_text(a, &u);
	op_usage_fini(&u);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/bothy-vm/host.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/cpu/cpu.h"
#include "src/cpu/engines.h"
#include "src/cpu/kvm/kvm.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/host_features.h"

static struct json_object *text(const char *s)
{
	return json_object_new_string(s);
}

static void add(struct json_object *o, const char *key, struct json_object *v)
{
	json_object_object_add(o, key, v);
}

static struct json_object *kvm_part(const struct kvm_report *r)
{
	struct json_object *o = json_object_new_object();

	add(o, "verdict", text(kvm_verdict_name(r->verdict)));
	add(o, "technique", text(r->technique));
	add(o, "reason", text(r->why));
	add(o, "advice", text(r->advice));
	if (r->ring0_ips) {
		add(o, "instructions-per-second", json_object_new_int64((int64_t)r->ring0_ips));
		add(o, "syscall", json_object_new_boolean(r->syscall_ok));
		add(o, "paging", json_object_new_boolean(r->paging_ok));
		add(o, "cmpxchg16b", json_object_new_boolean(r->cmpxchg16b_ok));
	}
	return o;
}

/* Models, each with what it lists and this host lacks. */
static struct json_object *models_part(void)
{
	struct json_object *list = json_object_new_array();
	size_t count;
	const struct cpu_model *m = cpu_model_list(&count);

	for (size_t i = 0; i < count; i++) {
		struct json_object *o = json_object_new_object();
		struct json_object *missing = json_object_new_array();

		for (unsigned f = 0; f < X86_NFEATURES && !m[i].host; f++)
			if ((m[i].features[0] >> f & 1) && !x86_host_has((enum x86_feature)f))
				json_object_array_add(missing, text(x86_feature_name(f)));
		add(o, "name", text(m[i].name));
		add(o, "title", text(m[i].title));
		add(o, "missing", missing);
		json_object_array_add(list, o);
	}
	return list;
}

static int64_t read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long long v = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%lld", &v) != 1)
		v = -1;
	fclose(f);
	return v;
}

/* The word in brackets of a file such as "always [madvise] never". */
static void read_choice(const char *path, char *buf, size_t len)
{
	FILE *f = fopen(path, "re");
	char line[128] = "", *from, *to;

	snprintf(buf, len, "unknown");
	if (!f)
		return;
	if (fgets(line, sizeof(line), f) && (from = strchr(line, '[')) && (to = strchr(from, ']'))) {
		*to = '\0';
		snprintf(buf, len, "%s", from + 1);
	}
	fclose(f);
}

static struct json_object *pages_part(void)
{
	struct json_object *o = json_object_new_object();
	const char *dir = "/sys/kernel/mm/hugepages/hugepages-";
	static const struct { const char *key, *size; } sizes[] = {
		{ "2M", "2048kB" }, { "1G", "1048576kB" },
	};
	char path[128], choice[32];

	for (size_t i = 0; i < 2; i++) {
		struct json_object *s = json_object_new_object();

		snprintf(path, sizeof(path), "%s%s/nr_hugepages", dir, sizes[i].size);
		add(s, "reserved", json_object_new_int64(read_number(path)));
		snprintf(path, sizeof(path), "%s%s/free_hugepages", dir, sizes[i].size);
		add(s, "free", json_object_new_int64(read_number(path)));
		add(o, sizes[i].key, s);
	}
	read_choice("/sys/kernel/mm/transparent_hugepage/enabled", choice, sizeof(choice));
	add(o, "transparent", text(choice));
	/* Guest memory is shared memory, which has a switch of its own. */
	read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", choice, sizeof(choice));
	add(o, "transparent-shared", text(choice));
	return o;
}

static bool may_net_admin(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { 0 } };

	return syscall(SYS_capget, &h, d) == 0 && (d[0].effective >> CAP_NET_ADMIN & 1);
}

static struct json_object *net_part(void)
{
	struct json_object *o = json_object_new_object();
	bool tun = access("/dev/net/tun", R_OK | W_OK) == 0, admin = may_net_admin();

	add(o, "user", json_object_new_boolean(true));
	add(o, "tap", text(!tun ? "no: /dev/net/tun is missing or may not be opened"
			   : admin ? "yes" : "only one that an administrator made for you"));
	add(o, "bridge", text(admin ? "yes" : "no: the right CAP_NET_ADMIN is needed"));
	add(o, "vhost-net", json_object_new_boolean(access("/dev/vhost-net", R_OK | W_OK) == 0));
	return o;
}

static const char *get(struct json_object *o, const char *key)
{
	return json_object_get_string(json_object_object_get(o, key));
}

static void print_kvm(struct json_object *k)
{
	printf("KVM          %s (technique: %s)\n", get(k, "verdict"), get(k, "technique"));
	if (get(k, "reason")[0])
		printf("             %s\n", get(k, "reason"));
	if (get(k, "advice")[0])
		printf("             %s\n", get(k, "advice"));
}

static void print_table(struct json_object *o)
{
	struct json_object *list = json_object_object_get(o, "cpu-models");
	struct json_object *p = json_object_object_get(o, "huge-pages");
	struct json_object *n = json_object_object_get(o, "networks");

	printf("engine       %s\n", get(o, "engine"));
	print_kvm(json_object_object_get(o, "kvm"));
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *m = json_object_array_get_idx(list, i);
		struct json_object *missing = json_object_object_get(m, "missing");

		printf("%-12s %-10s %s", i ? "" : "CPU models", get(m, "name"), get(m, "title"));
		for (size_t k = 0; k < json_object_array_length(missing); k++)
			printf("%s %s", k ? "," : "; not here:",
			       json_object_get_string(json_object_array_get_idx(missing, k)));
		putchar('\n');
	}
	json_object_object_foreach(p, key, v) {
		if (json_object_is_type(v, json_type_object))
			printf("%-12s %s: %s reserved, %s free\n", "huge pages", key,
			       get(v, "reserved"), get(v, "free"));
	}
	printf("%-12s transparent: %s, for guest memory: %s\n", "", get(p, "transparent"),
	       get(p, "transparent-shared"));
	printf("networks     user: yes; tap: %s; bridge: %s; vhost-net: %s\n", get(n, "tap"),
	       get(n, "bridge"), json_object_get_boolean(json_object_object_get(n, "vhost-net"))
	       ? "yes" : "no");
}

int host_print(bool json, bool fresh)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct kvm_report r;

	kvm_probe(&r, fresh);
	add(o, "engine", text(engine_lookup("auto")->name));
	for (size_t i = 0; engines[i]; i++)
		if (!engines[i]->usable || engines[i]->usable(NULL) == 0)
			json_object_array_add(list, text(engines[i]->name));
	add(o, "engines", list);
	add(o, "kvm", kvm_part(&r));
	add(o, "cpu-models", models_part());
	add(o, "huge-pages", pages_part());
	add(o, "networks", net_part());
	if (json)
		puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
						       JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		print_table(o);
	json_object_put(o);
	return 0;
}

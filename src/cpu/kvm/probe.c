/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is KVM to be used here? Believes the self-test and nothing else, and remembers its
 * verdict in the user's cache folder until the kernel is started again.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/base/version.h"
#include "src/cpu/kvm/kvm.h"
#include "src/cpu/kvm/selftest.h"

#define DEVICE "/dev/kvm"
/* A new self-test makes old verdicts worthless. */
#define TEST_REVISION 1
#define BOOT_ID_LEN 36

static const char *const verdict_names[] = {
	[KVM_GOOD] = "good", [KVM_ABSENT] = "absent", [KVM_FORBIDDEN] = "forbidden",
	[KVM_OLD] = "too old", [KVM_EMULATING] = "emulating", [KVM_WRONG] = "wrong",
};

const char *kvm_verdict_name(enum kvm_verdict v)
{
	return (size_t)v < array_size(verdict_names) ? verdict_names[v] : "unknown";
}

static bool read_text(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, len - 1);

	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static bool module_loaded(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s", name);
	return access(path, F_OK) == 0;
}

/* Which of KVM's backends this kernel has loaded or built in. */
static const char *technique(void)
{
	if (access(DEVICE, F_OK) < 0)
		return "none";
	if (module_loaded("kvm_pvm"))
		return "paravirtual";
	if (module_loaded("kvm_intel"))
		return "VT-x";
	return module_loaded("kvm_amd") ? "AMD-V" : "unknown";
}

/*
 * The cache: one line for each field.
 */
static bool cache_path(char *path, size_t len)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (xdg && xdg[0] == '/')
		n = snprintf(path, len, "%s/bothy", xdg);
	else if (home && home[0] == '/')
		n = snprintf(path, len, "%s/.cache/bothy", home);
	else
		return false;
	return n > 0 && (size_t)n + 16 < len;
}

/* What a verdict is good for: this start of this kernel, this test. */
static bool make_key(char *key, size_t len)
{
	char boot[64];

	if (!read_text("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)))
		return false;
	boot[BOOT_ID_LEN] = '\0';
	snprintf(key, len, "%s %s %d", boot, BOTHY_VERSION, TEST_REVISION);
	return true;
}

static bool cache_read(struct kvm_report *r)
{
	char path[512], key[128], buf[1024], got_key[128], technique_text[32] = "", why[256] = "";
	unsigned verdict, sys, paging, cx16;
	uint64_t ips;

	if (!cache_path(path, sizeof(path)) || !make_key(key, sizeof(key)))
		return false;
	strcat(path, "/kvm-verdict");
	if (!read_text(path, buf, sizeof(buf)))
		return false;
	if (sscanf(buf, "%127[^\n]\n%u %" SCNu64 " %u %u %u\n%31[^\n]\n%255[^\n]", got_key, &verdict,
		   &ips, &sys, &paging, &cx16, technique_text, why) < 7)
		return false;
	if (strcmp(key, got_key) != 0 ||
	    (verdict != KVM_GOOD && verdict != KVM_EMULATING && verdict != KVM_WRONG))
		return false;
	r->verdict = (enum kvm_verdict)verdict;
	r->ring0_ips = ips;
	r->syscall_ok = sys;
	r->paging_ok = paging;
	r->cmpxchg16b_ok = cx16;
	memcpy(r->technique, technique_text, sizeof(r->technique));
	memcpy(r->why, why, sizeof(r->why));
	return true;
}

/* Whoever cannot write a cache tests again next time. */
static void cache_write(const struct kvm_report *r)
{
	char folder[512], path[540], temp[560], key[128], text[1024];
	int fd, len;

	if (!cache_path(folder, sizeof(folder)) || !make_key(key, sizeof(key)))
		return;
	snprintf(path, sizeof(path), "%s", folder);
	*strrchr(path, '/') = '\0';
	mkdir(path, 0700);
	mkdir(folder, 0700);
	snprintf(path, sizeof(path), "%s/kvm-verdict", folder);
	snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return;
	len = snprintf(text, sizeof(text), "%s\n%u %" PRIu64 " %u %u %u\n%s\n%s\n", key, r->verdict,
		       r->ring0_ips, r->syscall_ok, r->paging_ok, r->cmpxchg16b_ok, r->technique,
		       r->why);
	if (write(fd, text, (size_t)len) != len || close(fd) != 0 || rename(temp, path) != 0)
		unlink(temp);
}

/*
 * Opening.
 */
static void set(struct kvm_report *r, enum kvm_verdict v, const char *why, const char *advice)
{
	r->verdict = v;
	snprintf(r->why, sizeof(r->why), "%s", why);
	snprintf(r->advice, sizeof(r->advice), "%s", advice);
}

static void forbidden(struct kvm_report *r)
{
	struct group buf, *g = NULL;
	struct stat st;
	char text[1024];

	if (stat(DEVICE, &st) == 0)
		(void)getgrgid_r(st.st_gid, &buf, text, sizeof(text), &g);
	set(r, KVM_FORBIDDEN, "you may not open " DEVICE, "");
	/* A device that its group may not use either is root's alone. */
	if (g && (st.st_mode & 0060) == 0060)
		snprintf(r->advice, sizeof(r->advice), "become a member of the group '%s' (sudo "
			 "usermod -aG %s \"$USER\") and log in again", g->gr_name, g->gr_name);
	else
		snprintf(r->advice, sizeof(r->advice), "ask the administrator to give a group the "
			 "right to read and write it (usually 'kvm'), and to make you its member");
}

static int open_device(struct kvm_report *r)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC), e = errno;
	char why[128];

	if (fd >= 0)
		return fd;
	if (e == EACCES || e == EPERM) {
		forbidden(r);
	} else if (e == ENOENT) {
		set(r, KVM_ABSENT, "there is no " DEVICE,
		    "hardware virtualization may be off in the firmware's settings, or the module "
		    "kvm_intel or kvm_amd not loaded");
	} else {
		snprintf(why, sizeof(why), DEVICE " cannot be opened: %s", strerror(e));
		set(r, KVM_ABSENT, why, "");
	}
	return -1;
}

void kvm_probe(struct kvm_report *r, bool fresh)
{
	int fd;

	memset(r, 0, sizeof(*r));
	snprintf(r->technique, sizeof(r->technique), "%s", technique());
	fd = open_device(r);
	if (fd < 0)
		return;
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION ||
	    ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) <= 0) {
		set(r, KVM_OLD, "this kernel's KVM is too old", "Linux 5.10 or newer is needed");
	} else if (fresh || !cache_read(r)) {
		kvm_selftest(fd, r);
		cache_write(r);
	}
	close(fd);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For kvm.py, by LD_PRELOAD: makes /dev/kvm look as FAKE_KVM says: "absent",
 * "forbidden", "group:N" (forbidden, and the device belongs to group N), "old", or
 * "nothing" (it gives a guest no CPU feature).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEVICE "/dev/kvm"

static const char *fake(void)
{
	const char *how = getenv("FAKE_KVM");

	return how ? how : "";
}

static int fake_open(const char *path)
{
	if (strcmp(path, DEVICE) != 0)
		return 0;
	if (strcmp(fake(), "absent") == 0)
		errno = ENOENT;
	else if (strcmp(fake(), "forbidden") == 0 || strncmp(fake(), "group:", 6) == 0)
		errno = EACCES;
	else
		return 0;
	return -1;
}

#define OPEN(name)                                                                         \
	int name(const char *path, int flags, ...)                                         \
	{                                                                                  \
		int (*real)(const char *, int, mode_t) = dlsym(RTLD_NEXT, #name);          \
		va_list ap;                                                                \
		mode_t mode;                                                               \
		va_start(ap, flags);                                                       \
		mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;             \
		va_end(ap);                                                                \
		return fake_open(path) < 0 ? -1 : real(path, flags, mode);                 \
	}
OPEN(open)
OPEN(open64)

#define STAT(name, type)                                                                   \
	int name(const char *path, struct type *st)                                        \
	{                                                                                  \
		int (*real)(const char *, struct type *) = dlsym(RTLD_NEXT, #name);        \
		if (strcmp(path, DEVICE) != 0 || strncmp(fake(), "group:", 6) != 0)        \
			return real(path, st);                                             \
		memset(st, 0, sizeof(*st));                                                \
		st->st_mode = S_IFCHR | 0660;                                              \
		st->st_gid = (gid_t)atoi(fake() + 6);                                      \
		return 0;                                                                  \
	}
STAT(stat, stat)
STAT(stat64, stat64)

int ioctl(int fd, unsigned long request, ...)
{
	int (*real)(int, unsigned long, void *) = dlsym(RTLD_NEXT, "ioctl");
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_CHECK_EXTENSION && strcmp(fake(), "old") == 0 &&
	    (unsigned long)arg == KVM_CAP_X86_MSR_FILTER)
		return 0;
	ret = real(fd, request, arg);
	if (ret == 0 && request == KVM_GET_SUPPORTED_CPUID && strcmp(fake(), "nothing") == 0)
		((struct kvm_cpuid2 *)arg)->nent = 0;
	return ret;
}

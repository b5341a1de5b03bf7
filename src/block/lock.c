/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/block/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { PERM_CONSISTENT_READ, PERM_WRITE, PERM_WRITE_UNCHANGED, PERM_RESIZE };
enum { BYTE_USED = 100, BYTE_UNSHARED = 200 };

#define OURSELVES "this process itself"

static int byte_op(int fd, int cmd, short type, off_t byte, struct flock *out)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
	int rc = fcntl(fd, cmd, &fl);

	if (out)
		*out = fl;
	return rc < 0 ? -errno : 0;
}

/* Does the fdinfo file @path list a lock on inode @ino of the image? */
static bool fdinfo_has_lock(const char *path, const struct stat *st)
{
	char line[256], want[64];
	bool hit = false;
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	snprintf(want, sizeof(want), "%02x:%02x:%llu ", major(st->st_dev), minor(st->st_dev),
		 (unsigned long long)st->st_ino);
	while (!hit && fgets(line, sizeof(line), f))
		hit = strncmp(line, "lock:", 5) == 0 && strstr(line, "OFDLCK") &&
		      strstr(line, want);
	fclose(f);
	return hit;
}

/* How many descriptors of process @pid hold locks on the image. */
static unsigned locks_of(const char *pid, const struct stat *st)
{
	char path[400];
	struct dirent *d;
	unsigned hits = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, d->d_name);
		hits += fdinfo_has_lock(path, st);
	}
	closedir(dir);
	return hits;
}

/* Open file description locks carry no process id; the kernel tells them in each
 * process's fdinfo. We see our own user's processes, which is who it mostly is. */
static void name_holder(int fd, char *out, size_t cap)
{
	char path[64], comm[64] = "";
	struct dirent *d;
	struct stat st;
	bool found = false;
	DIR *proc;
	FILE *f;

	snprintf(out, cap, "another process");
	if (fstat(fd, &st) < 0 || !(proc = opendir("/proc")))
		return;
	while ((d = readdir(proc))) {
		long pid = strtol(d->d_name, NULL, 10);

		if (pid <= 0 || pid == (long)getpid() || !locks_of(d->d_name, &st))
			continue;
		found = true;
		snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
		f = fopen(path, "re");
		if (f && fgets(comm, sizeof(comm), f))
			comm[strcspn(comm, "\n")] = '\0';
		if (f)
			fclose(f);
		snprintf(out, cap, "process %ld (%s)", pid, comm[0] ? comm : "?");
		break;
	}
	closedir(proc);
	/* Our own descriptor holds what was locked before the refusal; another of ours, all. */
	snprintf(path, sizeof(path), "%ld", (long)getpid());
	if (!found && locks_of(path, &st) > 1)
		snprintf(out, cap, "%s", OURSELVES);
}

static int refuse(int fd, const char *path, bool write, struct err *err)
{
	char who[128];

	name_holder(fd, who, sizeof(who));
	if (!strcmp(who, OURSELVES))
		return err_set(err, -EBUSY, "'%s' is open here already, and an image that is written "
			       "has one user; name it once", path);
	return err_set(err, -EBUSY,
		       write ? "'%s' is in use by %s; stop it first"
			     : "'%s' is being written by %s; stop it first, or look without a lock (--share)",
		       path, who);
}

/* Takes off what an earlier, other kind of use had locked. */
static void unlock_rest(int fd, unsigned use, unsigned deny)
{
	for (int p = 0; p <= PERM_RESIZE; p++) {
		if (!(use & 1u << p))
			byte_op(fd, F_OFD_SETLK, F_UNLCK, BYTE_USED + p, NULL);
		if (!(deny & 1u << p))
			byte_op(fd, F_OFD_SETLK, F_UNLCK, BYTE_UNSHARED + p, NULL);
	}
}

int block_lock_fd(int fd, const char *path, bool write, bool share, struct err *err)
{
	unsigned use = 1u << PERM_CONSISTENT_READ;
	unsigned deny = 0;
	struct flock fl;
	int rc;

	if (write)
		use |= 1u << PERM_WRITE | 1u << PERM_WRITE_UNCHANGED | 1u << PERM_RESIZE;
	if (!share)
		deny = 1u << PERM_WRITE | 1u << PERM_RESIZE;
	unlock_rest(fd, use, deny);
	for (int p = 0; p <= PERM_RESIZE; p++) {
		if (use & 1u << p) {
			rc = byte_op(fd, F_OFD_SETLK, F_RDLCK, BYTE_USED + p, NULL);
			if (rc == -EINVAL || rc == -ENOLCK || rc == -EOPNOTSUPP)
				return 0; /* this file system has no locks */
			if (rc == -EAGAIN || rc == -EACCES)
				return refuse(fd, path, write, err);
			if (rc)
				return err_set(err, rc, "cannot lock '%s': %s", path,
					       strerror(-rc));
		}
		if (deny & 1u << p) {
			rc = byte_op(fd, F_OFD_SETLK, F_RDLCK, BYTE_UNSHARED + p, NULL);
			if (rc == -EAGAIN || rc == -EACCES)
				return refuse(fd, path, write, err);
			if (rc)
				return err_set(err, rc, "cannot lock '%s': %s", path,
					       strerror(-rc));
		}
	}
	/* Locks are set before they are tested: of two who come at once one or both
	 * are refused, never both let in. */
	for (int p = 0; p <= PERM_RESIZE; p++) {
		if (use & 1u << p) {
			rc = byte_op(fd, F_OFD_GETLK, F_WRLCK, BYTE_UNSHARED + p, &fl);
			if (!rc && fl.l_type != F_UNLCK)
				return refuse(fd, path, write, err);
		}
		if (deny & 1u << p) {
			rc = byte_op(fd, F_OFD_GETLK, F_WRLCK, BYTE_USED + p, &fl);
			if (!rc && fl.l_type != F_UNLCK)
				return refuse(fd, path, write, err);
		}
	}
	return 0;
}

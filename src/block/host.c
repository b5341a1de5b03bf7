/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where files come from: opening and creating protocol nodes, paths of neighbours,
 * and taking back what a failed create left. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/block/block.h"
#include "src/block/lock.h"
#include "src/block/nbd/nbd.h"
#include "src/block/nbd/uri.h"
#include "src/block/node_priv.h"

char *block_path_beside(const char *base, const char *path)
{
	const char *slash = strrchr(base, '/');
	char *out;

	if (strncmp(path, "file:", 5) == 0)
		path += 5;
	if (path[0] == '/' || !slash || nbd_is_uri(path))
		return strdup(path);
	if (asprintf(&out, "%.*s/%s", (int)(slash - base), base, path) < 0)
		return NULL;
	return out;
}

int block_open_proto(const char *path, unsigned flags, enum block_cache cache,
		     const struct block_host *host, struct block_node **out, struct err *err)
{
	struct block_open_opts o = { .flags = flags, .cache = cache, .host = host };
	const struct block_format_desc *d;
	struct block_node *n;
	int rc;

	*out = NULL;
	if (host) {
		rc = host->open(host, path, flags, out, err);
		if (!rc) {
			(*out)->host = host;
			(*out)->cache = cache;
		}
		return rc;
	}
	d = nbd_is_uri(path) ? &block_nbd : &block_file;
	n = block_node_new(d, path, &o);
	if (!n)
		return err_set(err, -ENOMEM, "out of memory");
	rc = d->open(n, &o, err);
	if (rc) {
		block_node_free(n);
		return rc;
	}
	*out = n;
	return 0;
}

static int set_len(int fd, uint64_t len)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0; /* a device: its length is its own */
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)len) < 0)
		return -errno;
	return 0;
}

static int create_file(const char *path, uint64_t len, bool overwrite, struct err *err)
{
	/* Emptied only once we hold its lock: it may be a running VM's disk. */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | (overwrite ? 0 : O_EXCL),
		      0666);
	int rc;

	if (fd < 0 && errno == EEXIST)
		return err_set(err, -EEXIST,
			       "'%s' exists; give another name, or --force to overwrite it", path);
	if (fd < 0)
		return err_set(err, -errno, "cannot write '%s': %s%s", path, strerror(errno),
			       errno == ENOENT	 ? "; make its folder first"
			       : errno == EACCES || errno == EROFS
				       ? "; choose a folder that you may write to" : "");
	rc = block_lock_fd(fd, path, true, false, err);
	if (!rc) {
		rc = set_len(fd, len);
		if (rc)
			err_set(err, rc, "cannot create '%s': %s", path, strerror(-rc));
	}
	close(fd);
	return rc;
}

int block_create_proto(const struct block_create *c, const char *path, uint64_t len,
		       struct err *err)
{
	struct block_made *m = c->made;
	char **paths;
	int rc;

	if (c->host)
		rc = c->host->create(c->host, path, len, c->overwrite, err);
	else
		rc = nbd_is_uri(path) ? err_set(err, -EEXIST, "'%s' is there already: its server "
						"made it; write into it (convert --into)", path)
				      : create_file(path, len, c->overwrite, err);
	if (rc || !m)
		return rc;
	paths = realloc(m->paths, (m->n + 1) * sizeof(*paths));
	if (!paths)
		return err_set(err, -ENOMEM, "out of memory");
	m->paths = paths;
	m->paths[m->n] = strdup(path);
	if (m->paths[m->n])
		m->n++;
	return 0;
}

static void take_back(const struct block_host *host, const char *path)
{
	struct stat st;

	if (host)
		host->remove(host, path);
	else if (lstat(path, &st) == 0 && S_ISREG(st.st_mode))
		unlink(path);
}

void block_made_remove(struct block_made *m, const struct block_host *host)
{
	for (size_t i = 0; i < m->n; i++)
		take_back(host, m->paths[i]);
}

void block_made_fini(struct block_made *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->paths[i]);
	free(m->paths);
	memset(m, 0, sizeof(*m));
}

static int check_request(const struct block_format_desc *d, const struct block_create *c,
			 struct err *err)
{
	if (!d->create)
		return err_set(err, -ENOTSUP, "images of format %s cannot be created", d->name);
	if (c->len > BLOCK_MAX_BYTES)
		return err_set(err, -EFBIG, "a disk of %llu bytes is more than any image can hold",
			       (unsigned long long)c->len);
	if (c->backing_path && !d->backing_ok)
		return err_set(err, -ENOTSUP,
			       "images of format %s have no backing file; use qcow2, vmdk or vdi",
			       d->name);
	return block_opts_known(d, c, err);
}

int block_create(const struct block_format_desc *d, const struct block_create *c, struct err *err)
{
	struct block_made made = { NULL, 0 };
	struct block_create own = *c;
	int rc = check_request(d, c, err);

	if (rc)
		return rc;
	own.made = &made;
	rc = d->create(&own, err);
	if (rc)
		block_made_remove(&made, c->host);
	if (!rc && c->made && !c->made->n) {
		*c->made = made; /* the caller's now */
		return 0;
	}
	block_made_fini(&made);
	return rc;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bothy run: starts bothy-vm for one machine in the foreground and stays with it. */
#include "cmd/bothy/run.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/cli.h"
#include "cmd/bothy/console.h"
#include "cmd/bothy/run_parts.h"
#include "src/base/bits.h"

/* Descriptors on the way to bothy-vm; theirs are closed here after the fork. */
struct links {
	int config, control, serial; /* its ends; -1: none */
	int listener;           /* --control: a listening socket */
	char *listener_path;    /* its path, for bothy-vm to remove */
	int our_control, our_serial;
	bool listens;           /* serial is a listening socket */
	char *unlink_path;      /* its path, for bothy-vm to remove */
	const char *made_file;  /* --serial file: that we created */
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int socket_pair(int *ours, int *theirs, struct err *err)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_set(err, -errno, "cannot make a socket pair: %s", strerror(errno));
	*ours = fds[0];
	*theirs = fds[1];
	return 0;
}

/*
 * --serial
 */
static int path_exists(const char *option, const char *path, struct err *err)
{
	return err_set(err, -EEXIST, "%s: '%s' exists already; name a new file or remove it "
		       "first", option, path);
}

static int serial_file(struct links *l, const char *path, struct err *err)
{
	struct stat st = { .st_mode = 0 };

	/* Devices may be written to; anything else must not be there yet. */
	if (stat(path, &st) == 0 && S_ISCHR(st.st_mode))
		l->serial = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	else
		l->serial = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (l->serial >= 0 && !S_ISCHR(st.st_mode))
		l->made_file = path;
	if (l->serial >= 0)
		return 0;
	if (errno == EEXIST)
		return path_exists("--serial", path, err);
	return err_set(err, -errno, "--serial: '%s' cannot be made: %s", path, strerror(errno));
}

/* A socket that nobody listens at any more: a killed machine's. */
static bool remove_stale(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool stale;

	if (fd < 0)
		return false;
	stale = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 && errno == ECONNREFUSED;
	close(fd);
	return stale && unlink(sa->sun_path) == 0;
}

static int new_socket(const char *option, const char *path, int backlog, int *out, char **real,
		      struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: a socket's path has at most %zu "
			       "characters, '%s' has %zu", option, sizeof(sa.sun_path) - 1, path,
			       strlen(path));
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (lstat(path, &st) == 0 && !(S_ISSOCK(st.st_mode) && remove_stale(&sa)))
		return path_exists(option, path, err);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int e = errno;

		close(fd);
		return err_set(err, -e, "%s: the socket '%s' cannot be made: %s", option, path,
			       strerror(e));
	}
	*out = fd;
	*real = realpath(path, NULL);
	if (listen(fd, backlog) < 0)
		return err_set(err, -errno, "%s: '%s' cannot listen: %s", option, path,
			       strerror(errno));
	return 0;
}

static int serial_socket(struct links *l, const char *path, struct err *err)
{
	l->listens = true;
	return new_socket("--serial", path, 1, &l->serial, &l->unlink_path, err);
}

/* Whoever may speak to it owns the machine: this user alone. */
static int control_socket(struct links *l, const char *path, struct err *err)
{
	mode_t old = umask(0177);
	int ret = new_socket("--control", path, 16, &l->listener, &l->listener_path, err);

	umask(old);
	return ret;
}

static int open_serial(struct links *l, const char *where, struct err *err)
{
	if (!strcmp(where, "none"))
		return 0;
	if (!strcmp(where, "stdio"))
		return socket_pair(&l->our_serial, &l->serial, err);
	if (!strncmp(where, "file:", 5) && where[5])
		return serial_file(l, where + 5, err);
	if (!strncmp(where, "unix:", 5) && where[5])
		return serial_socket(l, where + 5, err);
	return err_set(err, -EINVAL, "--serial: '%s' is none of stdio, none, file:PATH, unix:PATH",
		       where);
}

/*
 * The machine's description.
 */
static void add_text(struct json_object *o, const char *key, const char *text)
{
	if (text)
		json_object_object_add(o, key, json_object_new_string(text));
}

static bool wanted(const struct opt_value *v, size_t opt)
{
	return v[opt].given || !v[CLI_RUN_RESTORE].given;
}

static struct json_object *describe(const struct opt_value *v, const struct links *l)
{
	struct json_object *o = json_object_new_object(), *s = json_object_new_object();

	add_text(o, "kernel", v[CLI_RUN_KERNEL].text);
	add_text(o, "initrd", v[CLI_RUN_INITRD].text);
	if (wanted(v, CLI_RUN_APPEND))
		add_text(o, "append", v[CLI_RUN_APPEND].text);
	add_text(o, "firmware", v[CLI_RUN_FIRMWARE].text);
	add_text(o, "uefi-vars", v[CLI_RUN_UEFI_VARS].text);
	if (wanted(v, CLI_RUN_CPU))
		add_text(o, "cpu", v[CLI_RUN_CPU].text);
	add_text(o, "engine", v[CLI_RUN_ENGINE].text);
	add_text(o, "restore", v[CLI_RUN_RESTORE].text);
	if (wanted(v, CLI_RUN_WATCHDOG_ACTION))
		add_text(o, "watchdog-action", v[CLI_RUN_WATCHDOG_ACTION].text);
	add_text(o, "kvm-irqchip", v[CLI_RUN_KVM_IRQCHIP].text);
	add_text(o, "vcpu-affinity", v[CLI_RUN_VCPU_AFFINITY].text);
	json_object_object_add(o, "vcpu-nice",
			       json_object_new_int64((int64_t)v[CLI_RUN_VCPU_NICE].number));
	json_object_object_add(o, "kvm-anyway",
			       json_object_new_boolean(v[CLI_RUN_KVM_ANYWAY].given));
	/* A saved machine knows these itself. */
	if (wanted(v, CLI_RUN_MEMORY))
		json_object_object_add(o, "memory", json_object_new_int64(
			(int64_t)align_down(v[CLI_RUN_MEMORY].number, 4096)));
	if (wanted(v, CLI_RUN_CPUS))
		json_object_object_add(o, "cpus",
				       json_object_new_int64((int64_t)v[CLI_RUN_CPUS].number));
	json_object_object_add(o, "no-reboot",
			       json_object_new_boolean(v[CLI_RUN_NO_REBOOT].given));
	json_object_object_add(o, "paused", json_object_new_boolean(v[CLI_RUN_PAUSED].given));
	add_text(o, "gdb", v[CLI_RUN_GDB].text);
	json_object_object_add(o, "translation-cache", json_object_new_int64(
		(int64_t)v[CLI_RUN_TRANSLATION_CACHE].number));
	add_text(o, "trace-blocks", v[CLI_RUN_TRACE_BLOCKS].text);
	json_object_object_add(o, "perf-map", json_object_new_boolean(v[CLI_RUN_PERF_MAP].given));
	add_text(o, "host-without", v[CLI_RUN_HOST_WITHOUT].text);
	json_object_object_add(o, "stats", json_object_new_boolean(v[CLI_RUN_STATS].given));
	if (l->serial < 0) {
		json_object_put(s);
		return o;
	}
	json_object_object_add(s, l->listens ? "listen" : "fd", json_object_new_int(l->serial));
	add_text(s, "unlink", l->unlink_path);
	json_object_object_add(o, "serial", s);
	return o;
}

static int put_config(struct links *l, const struct opt_value *v, struct err *err)
{
	struct json_object *o = describe(v, l);
	const char *text;
	size_t len;
	int ret = run_parts(v, o, err);

	if (ret < 0) {
		json_object_put(o);
		return ret;
	}
	text = json_object_to_json_string(o);
	len = strlen(text);
	l->config = memfd_create("bothy-config", MFD_CLOEXEC);
	if (l->config < 0 || write(l->config, text, len) != (ssize_t)len ||
	    lseek(l->config, 0, SEEK_SET) < 0)
		ret = err_set(err, -errno, "cannot hand over the machine's description: %s",
			      strerror(errno));
	json_object_put(o);
	return ret;
}

/*
 * bothy-vm: beside this program, or where it is installed.
 */
int run_find_vm(char *path, size_t len, struct err *err)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return err_set(err, -errno, "cannot find this program's folder: %s",
			       strerror(errno));
	self[n] = '\0';
	if ((size_t)snprintf(path, len, "%s/bothy-vm", dirname(self)) >= len)
		return err_set(err, -ENAMETOOLONG, "this program's path is too long");
	if (access(path, X_OK) < 0)
		return err_set(err, -errno, "'%s' is missing; build or install bothy again", path);
	return 0;
}

static void keep_open(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

_Noreturn static void child(const char *path, const struct links *l, pid_t parent,
			    const sigset_t *mask)
{
	char config[16], control[16], pid[16], listener[16];
	char *argv[] = { (char *)"bothy-vm", (char *)"--foreground", (char *)"--config-fd", config,
			 (char *)"--control-fd", control, (char *)"--parent-pid", pid,
			 l->listener < 0 ? NULL : (char *)"--listen-fd", listener,
			 (char *)"--unlink", l->listener_path, NULL };

	int null = open("/dev/null", O_RDWR);

	/* The terminal's signals, keys and screen are bothy's alone. */
	setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	sigprocmask(SIG_SETMASK, mask, NULL);
	snprintf(config, sizeof(config), "%d", l->config);
	snprintf(control, sizeof(control), "%d", l->control);
	snprintf(pid, sizeof(pid), "%d", (int)parent);
	snprintf(listener, sizeof(listener), "%d", l->listener);
	keep_open(l->listener);
	keep_open(l->config);
	keep_open(l->control);
	keep_open(l->serial);
	execv(path, argv);
	fprintf(stderr, "bothy: '%s' cannot be started: %s\n", path, strerror(errno));
	_exit(1);
}

static int start(const struct opt_value *v, struct links *l, struct console_config *cc,
		 struct err *err)
{
	char path[PATH_MAX];
	sigset_t watched, old;
	pid_t parent = getpid();
	int ret;

	ret = run_find_vm(path, sizeof(path), err);
	if (ret == 0)
		ret = open_serial(l, v[CLI_RUN_SERIAL].text, err);
	if (ret == 0 && v[CLI_RUN_CONTROL].text)
		ret = control_socket(l, v[CLI_RUN_CONTROL].text, err);
	if (ret == 0)
		ret = socket_pair(&l->our_control, &l->control, err);
	if (ret == 0)
		ret = put_config(l, v, err);
	if (ret < 0)
		return ret;
	sigemptyset(&watched);
	for (size_t i = 0; i < 6; i++)
		sigaddset(&watched, (int[]){ SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP,
					     SIGCHLD }[i]);
	sigprocmask(SIG_BLOCK, &watched, &old);
	signal(SIGPIPE, SIG_IGN);
	cc->signal_fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
	if (cc->signal_fd < 0)
		return err_set(err, -errno, "cannot watch for signals: %s", strerror(errno));
	fflush(NULL);
	cc->vm = fork();
	if (cc->vm == 0)
		child(path, l, parent, &old);
	if (cc->vm < 0)
		return err_set(err, -errno, "cannot start a process: %s", strerror(errno));
	cc->control_fd = l->our_control;
	cc->serial_fd = l->our_serial;
	return 0;
}

/* Nothing is left behind: no socket, and no empty file of a machine that failed. */
static void clean_up(struct links *l, bool failed)
{
	struct stat st;

	/* Gone already unless bothy-vm was killed. */
	if (l->unlink_path)
		unlink(l->unlink_path);
	if (l->listener_path)
		unlink(l->listener_path);
	if (l->made_file && failed && stat(l->made_file, &st) == 0 && st.st_size == 0)
		unlink(l->made_file);
}

/* The VM's program has the list; this one links none of its inside. */
static int list_devices(void)
{
	struct err err = { "" };
	char path[PATH_MAX];

	if (run_find_vm(path, sizeof(path), &err) == 0) {
		fflush(NULL);
		execl(path, "bothy-vm", "--list-devices", (char *)NULL);
		err_set(&err, -errno, "'%s' cannot be started: %s", path, strerror(errno));
	}
	fprintf(stderr, "bothy: %s\n", err.text);
	return 1;
}

int cmd_run(int argc, char **argv)
{
	const struct cmd_desc *cmd = &cli_commands[CLI_RUN];
	struct opt_value v[CLI_RUN_OPTS];
	struct links l = { .config = -1, .control = -1, .serial = -1, .our_control = -1,
			   .our_serial = -1, .listener = -1 };
	struct console_config cc;
	struct err err = { "" };
	bool help, started;
	int ret = opts_parse(cmd, argc, argv, v, &help, &err);

	if (ret < 0) {
		fprintf(stderr, "bothy run: %s\n", err.text);
		return 2;
	}
	if (help) {
		opts_print_help("bothy", cmd, stdout);
		return 0;
	}
	if (v[CLI_RUN_LIST_DEVICES].given)
		return list_devices();
	ret = start(v, &l, &cc, &err);
	started = ret == 0;
	close_fd(&l.config);
	close_fd(&l.control);
	close_fd(&l.serial);
	close_fd(&l.listener);
	if (started) {
		ret = console_run(&cc);
		close_fd(&cc.signal_fd);
	} else {
		fprintf(stderr, "bothy: %s\n", err.text);
		ret = ret == -EINVAL ? 2 : 1;
	}
	clean_up(&l, ret != 0);
	close_fd(&l.our_control);
	close_fd(&l.our_serial);
	free(l.unlink_path);
	free(l.listener_path);
	return ret;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bothy-vm: the process of one VM. bothy starts it with the machine's
 * description on one inherited descriptor and the control channel on another;
 * see usage().
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cmd/bothy-vm/config.h"
#include "cmd/bothy-vm/host.h"
#include "src/base/loop.h"
#include "src/base/size.h"
#include "src/base/version.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/cpuid.h"
#include "src/ctl/ctl.h"
#include "src/ctl/gdb.h"
#include "src/display/vnc.h"
#include "src/dev/devices.h"
#include "src/vm/vm.h"

/* Seconds between SIGTERM and the hard end, should the loop not answer. */
#define TERM_GRACE_S 10

/* What a signal handler may touch. */
static volatile sig_atomic_t term_fd = -1;

struct options {
	int config_fd, control_fd, listen_fd;
	const char *unlink; /* the listening socket's path */
	bool foreground;
	pid_t parent;
};

static void usage(FILE *out)
{
	fputs("usage: bothy-vm --config-fd N --control-fd N [--foreground]\n"
	      "       bothy-vm --list-engines | --list-models | --list-devices | --version | --help\n\n"
	      "One process for one virtual machine; bothy starts it.\n\n"
	      "  --config-fd N   read the machine's description (JSON) from descriptor N\n"
	      "  --control-fd N  serve the control channel on descriptor N, a stream socket\n"
	      "  --listen-fd N   take more control clients on descriptor N, a listening socket\n"
	      "  --unlink PATH   remove that socket's path at the end\n"
	      "  --foreground    end when the control channel's other end closes\n"
	      "  --parent-pid N  end when process N, which started this one, ends\n"
	      "  --list-engines  the engines that this build has, best first\n"
	      "  --host [--json|--table] [--fresh]  what this host offers\n"
	      "  --list-devices  the devices, with their properties\n"
	      "  --list-models   the CPU models\n", out);
}

static int wrong_use(const char *what, const char *arg)
{
	fprintf(stderr, "bothy-vm: %s '%s'; bothy-vm --help shows the options\n", what, arg);
	return 2;
}

static void on_term(int sig)
{
	uint64_t one = 1;
	int saved = errno;

	/* The loop ends the VM in order; if it cannot, SIGALRM ends the process. */
	alarm(TERM_GRACE_S);
	if (write(term_fd, &one, sizeof(one)) < 0)
		_exit(1);
	errno = saved;
}

static void term_event(void *opaque, uint32_t events)
{
	vm_end(opaque, VM_REASON_HOST_SIGNAL);
}

/* First of all: who is told to end while the machine is being made still removes the
 * sockets' paths. */
static int catch_signals(struct err *err)
{
	struct sigaction sa = { .sa_handler = on_term, .sa_flags = SA_RESTART };

	term_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (term_fd < 0)
		return err_set(err, -errno, "cannot watch for signals: %s", strerror(errno));
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of writing it */
	return 0;
}

static int watch_signals(struct vm *vm, struct err *err)
{
	if (loop_fd_set(vm_loop(vm), term_fd, EPOLLIN, term_event, vm) < 0)
		return err_set(err, -EIO, "signals cannot be watched");
	loop_fd_urgent(vm_loop(vm), term_fd);
	return 0;
}

static int run(const struct options *o, struct config *cfg)
{
	struct err err = { "" };
	struct vm *vm = NULL;
	struct ctl *ctl = NULL;
	struct gdb *gdb = NULL;
	int ret;

	ret = vm_new(&cfg->vm, &vm, &err);
	if (ret < 0)
		goto fail;
	/* The port may be one that nobody named. */
	if (vm_vnc(vm))
		fprintf(stderr, "bothy: the screen is on VNC at %s\n", vnc_where(vm_vnc(vm)));
	vm_lock(vm);
	ret = watch_signals(vm, &err);
	if (ret == 0 && o->control_fd >= 0) {
		ctl = ctl_new(vm, &err);
		ret = ctl ? ctl_add_client(ctl, o->control_fd, o->foreground, &err) : -ENOMEM;
		if (ret == 0 && o->listen_fd >= 0)
			ret = ctl_listen(ctl, o->listen_fd, &err);
	}
	if (ret == 0 && cfg->gdb)
		gdb = gdb_new(vm, cfg->gdb, &ret, &err);
	if (gdb)
		fprintf(stderr, "bothy: debuggers are awaited at %s\n", gdb_where(gdb));
	if (ret == 0)
		ret = vm_start(vm, &err);
	vm_unlock(vm);
	if (ret < 0)
		goto fail;
	loop_run(vm_loop(vm));
	ret = vm_end_reason(vm) == VM_REASON_HOST_ERROR ? 1 : vm_exit_code(vm);
	if (cfg->vm.stats)
		cpus_print_stats(vm_cpus(vm), stderr);
	goto out;
fail:
	fprintf(stderr, "bothy: %s\n", err.text);
	ret = ret == -EINVAL ? 2 : 1;
out:
	gdb_free(gdb);
	ctl_free(ctl);
	vm_free(vm);
	if (cfg->serial_unlink)
		unlink(cfg->serial_unlink);
	if (o->unlink)
		unlink(o->unlink);
	return ret;
}

static int list_engines(void)
{
	for (size_t i = 0; engines[i]; i++)
		printf("%s  %s\n", engines[i]->name, engines[i]->title);
	return 0;
}

static int list_models(void)
{
	size_t count;
	const struct cpu_model *m = cpu_model_list(&count);

	for (size_t i = 0; i < count; i++)
		printf("%s  %s\n", m[i].name, m[i].title);
	return 0;
}

static void print_prop(const struct dev_prop *p)
{
	static const char *const types[] = {
		[DEV_PROP_BOOL] = "on|off", [DEV_PROP_UINT] = "N", [DEV_PROP_SIZE] = "SIZE",
		[DEV_PROP_TEXT] = "TEXT", [DEV_PROP_MAC] = "MAC", [DEV_PROP_DRIVE] = "DRIVE",
		[DEV_PROP_NETDEV] = "NETDEV", [DEV_PROP_CHARDEV] = "CHARDEV",
	};
	char head[96];

	snprintf(head, sizeof(head), "    %s=%s", p->name,
		 p->type == DEV_PROP_CHOICE ? p->choices : types[p->type]);
	printf("%-32s  %s", head, p->help ? p->help : "");
	if (p->required)
		printf(" (required)");
	if (p->def)
		printf(" (%s)", p->def);
	putchar('\n');
}

static void print_aliases(const char *a)
{
	if (!a)
		return;
	printf("    also called ");
	for (; *a; a++)
		printf(*a == '|' ? ", " : "%c", *a);
	putchar('\n');
}

static int list_devices(void)
{
	for (size_t i = 0; devices[i]; i++) {
		if (!devices[i]->size)
			continue;
		printf("%-16s  %s\n", devices[i]->name, devices[i]->title);
		print_aliases(devices[i]->aliases);
		for (const struct dev_prop *p = devices[i]->props; p && p->name; p++)
			print_prop(p);
	}
	return 0;
}

static int number(const char *text, int *value)
{
	struct err err;
	uint64_t v;

	if (!text || parse_uint(text, &v, &err) < 0 || v > INT32_MAX)
		return -EINVAL;
	*value = (int)v;
	return 0;
}

/* 0: run; else an exit code + 1. */
static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		int *to = !strcmp(a, "--config-fd") ? &o->config_fd :
			  !strcmp(a, "--control-fd") ? &o->control_fd :
			  !strcmp(a, "--listen-fd") ? &o->listen_fd :
			  !strcmp(a, "--parent-pid") ? &o->parent : NULL;

		if (to) {
			if (number(i + 1 < argc ? argv[++i] : NULL, to) < 0)
				return 1 + wrong_use("a number must follow", a);
		} else if (!strcmp(a, "--foreground")) {
			o->foreground = true;
		} else if (!strcmp(a, "--unlink") && i + 1 < argc) {
			o->unlink = argv[++i];
		} else if (!strcmp(a, "--host")) {
			bool json = i + 1 < argc && !strcmp(argv[i + 1], "--json");
			bool fresh = i + 2 < argc && !strcmp(argv[i + 2], "--fresh");

			return 1 + host_print(json, fresh);
		} else if (!strcmp(a, "--list-devices")) {
			return 1 + list_devices();
		} else if (!strcmp(a, "--list-engines")) {
			return 1 + list_engines();
		} else if (!strcmp(a, "--list-models")) {
			return 1 + list_models();
		} else if (!strcmp(a, "--version")) {
			puts("bothy-vm " BOTHY_VERSION);
			return 1;
		} else if (!strcmp(a, "--help")) {
			usage(stdout);
			return 1;
		} else {
			return 1 + wrong_use("unknown option", a);
		}
	}
	if (o->config_fd < 0)
		return 1 + wrong_use("missing option", "--config-fd");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .config_fd = -1, .control_fd = -1, .listen_fd = -1 };
	/* A person at a terminal is told which engine it is, and why. */
	struct log log = { .fd = STDERR_FILENO,
			   .level = isatty(STDERR_FILENO) ? LOG_LEVEL_INFO : LOG_LEVEL_WARN };
	struct config cfg;
	struct err err = { "" };
	int ret = parse(argc, argv, &o);

	if (ret)
		return ret - 1;
	if (catch_signals(&err) < 0) {
		fprintf(stderr, "bothy-vm: %s\n", err.text);
		return 1;
	}
	if (o.parent) {
		/* Whatever kills the parent ends this process too. The parent may be
		 * gone before the request: then nobody is left to signal. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != o.parent)
			raise(SIGTERM);
	}
	ret = config_read(o.config_fd, &cfg, &err);
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", ret == -EIO ? "bothy" : "bothy-vm", err.text);
		config_free(&cfg);
		return ret == -EIO ? 1 : 2;
	}
	cfg.vm.log = &log;
	ret = run(&o, &cfg);
	config_free(&cfg);
	return ret;
}

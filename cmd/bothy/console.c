/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/bothy/console.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd/bothy/term.h"
#include "src/base/bits.h"
#include "src/ctl/lines.h"

#define CTRL_A 0x01

struct buffer {
	char data[4096];
	size_t len;
};

struct console {
	const struct console_config *cfg;
	struct term term;
	struct lines lines;
	struct buffer to_guest; /* waits for the serial socket */
	struct buffer to_person; /* waits for standard output */
	bool stdin_open, serial_open, control_open, stdout_open;
	bool escape;   /* the last key was Ctrl-A */
	bool started;  /* the machine's greeting came */
	bool asked;    /* we asked the machine to end */
	bool killed, lost_output;
	bool child_gone;
	int child_status;
	int64_t interrupt_ms; /* when the first one came; 0: none */
	unsigned restarts; /* in the second that began at restart_s */
	time_t restart_s;
};

static void say(const char *text)
{
	fprintf(stderr, "bothy: %s\n", text);
}

static void send_command(struct console *c, const char *name)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "{\"execute\": \"%s\"}\n", name);

	if (c->control_open && send(c->cfg->control_fd, line, (size_t)n, MSG_NOSIGNAL) < 0)
		c->control_open = false;
}

static void ask_to_end(struct console *c)
{
	if (c->asked)
		return;
	c->asked = true;
	if (c->started && c->control_open)
		send_command(c, "quit");
	else
		kill(c->cfg->vm, SIGTERM);
}

/*
 * Keys.
 */
static void show_keys(void)
{
	static const char text[] = "\n"
		"Ctrl-A X       quit: the machine ends at once\n"
		"Ctrl-A H       this list\n"
		"Ctrl-A Ctrl-A  send one Ctrl-A to the guest\n";

	fputs(text, stderr);
}

static void to_guest(struct console *c, char ch)
{
	if (c->serial_open && c->to_guest.len < sizeof(c->to_guest.data))
		c->to_guest.data[c->to_guest.len++] = ch;
}

static void key(struct console *c, char ch)
{
	if (!c->escape) {
		if (ch == CTRL_A)
			c->escape = true;
		else
			to_guest(c, ch);
		return;
	}
	c->escape = false;
	switch (ch) {
	case 'x': case 'X':
		ask_to_end(c);
		break;
	case 'h': case 'H': case '?':
		show_keys();
		break;
	case CTRL_A: case 'a': case 'A':
		to_guest(c, CTRL_A);
		break;
	default:
		break; /* no such key */
	}
}

static void read_stdin(struct console *c)
{
	char buf[1024];
	size_t room = sizeof(c->to_guest.data) - c->to_guest.len;
	ssize_t n = read(STDIN_FILENO, buf, min_of(room, sizeof(buf)));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		/* The end of input is not the end of the machine; a terminal that
		 * went away comes as SIGHUP. */
		c->stdin_open = false;
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (c->term.guard)
			key(c, buf[i]);
		else
			to_guest(c, buf[i]);
	}
}

/*
 * Streams.
 */
static void consume(struct buffer *b, size_t n)
{
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

static void write_serial(struct console *c)
{
	ssize_t n = send(c->cfg->serial_fd, c->to_guest.data, c->to_guest.len,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		consume(&c->to_guest, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		c->to_guest.len = 0; /* what is left to read still comes */
}

static void read_serial(struct console *c)
{
	ssize_t n = recv(c->cfg->serial_fd, c->to_person.data, sizeof(c->to_person.data),
			 MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		c->serial_open = false;
	else
		c->to_person.len = (size_t)n;
}

static void write_stdout(struct console *c)
{
	/* A pipe that polls writable takes this much without blocking. */
	size_t part = min_of(c->to_person.len, (size_t)512);
	ssize_t n = write(STDOUT_FILENO, c->to_person.data, part);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		c->stdout_open = false;
		c->to_person.len = 0;
		if (!c->child_gone && !c->asked) {
			c->lost_output = true;
			ask_to_end(c);
		}
		return;
	}
	consume(&c->to_person, (size_t)n);
}

/*
 * The control channel.
 */
/* A guest that does nothing but restart must not flood the terminal. */
static void say_restart(struct console *c)
{
	enum { A_SECOND = 5 };
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec != c->restart_s) {
		if (c->restarts > A_SECOND)
			fprintf(stderr, "bothy: (and %u more restarts)\n", c->restarts - A_SECOND);
		c->restart_s = now.tv_sec;
		c->restarts = 0;
	}
	if (c->restarts++ < A_SECOND)
		say("the guest restarted the machine");
}

static void told_event(struct console *c, const char *event, struct json_object *data)
{
	struct json_object *v;
	const char *reason = "";
	bool guest = false;

	if (json_object_object_get_ex(data, "reason", &v))
		reason = json_object_get_string(v);
	if (json_object_object_get_ex(data, "guest", &v))
		guest = json_object_get_boolean(v);
	if (!strcmp(event, "GUEST_PANICKED"))
		say("the guest's kernel panicked");
	else if (!strcmp(event, "RESET") && guest)
		say_restart(c);
	else if (!strcmp(event, "SHUTDOWN") && !strcmp(reason, "guest-reset"))
		say("the guest asked for a restart; the machine ends (--no-reboot)");
	else if (!strcmp(event, "SHUTDOWN") && !strcmp(reason, "guest-panic"))
		say("the guest restarted after a panic; the machine ends (--no-reboot)");
}

static int told(void *opaque, char *line, size_t len)
{
	struct console *c = opaque;
	struct json_object *o = json_tokener_parse(line), *v, *data = NULL;

	if (json_object_is_type(o, json_type_object)) {
		if (json_object_object_get_ex(o, "QMP", &v)) {
			c->started = true;
			send_command(c, "qmp_capabilities");
			if (c->asked)
				send_command(c, "quit");
		} else if (json_object_object_get_ex(o, "event", &v)) {
			json_object_object_get_ex(o, "data", &data);
			told_event(c, json_object_get_string(v), data);
		}
	}
	json_object_put(o);
	return 0;
}

static void read_control(struct console *c)
{
	char buf[4096];
	ssize_t n = recv(c->cfg->control_fd, buf, sizeof(buf), MSG_DONTWAIT);
	bool before = c->started;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || lines_feed(&c->lines, buf, (size_t)n, told, c) < 0) {
		c->control_open = false;
		return;
	}
	/* Raw only now: what went wrong before is told on a terminal that works. */
	if (c->started && !before && c->term.guard) {
		say("Ctrl-A X quits, Ctrl-A H lists the keys");
		term_raw(&c->term);
	}
}

/*
 * Signals.
 */
static void child_signal(struct console *c)
{
	if (!c->child_gone && waitpid(c->cfg->vm, &c->child_status, WNOHANG) == c->cfg->vm)
		c->child_gone = true;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The first asks; a second one, from a person who does not want to wait, kills.
 * What comes within an instant is the same one: timeout(1) and the like send a
 * signal to the process and to its group. */
static void interrupt(struct console *c, bool may_kill)
{
	enum { SAME_ONE_MS = 200 };

	if (!c->interrupt_ms) {
		c->interrupt_ms = now_ms();
		say("stopping the machine; Ctrl-C once more ends it by force");
		ask_to_end(c);
	} else if (may_kill && now_ms() - c->interrupt_ms > SAME_ONE_MS) {
		c->killed = true;
		kill(c->cfg->vm, SIGKILL);
	}
}

/* Ctrl-Z of a cooked terminal, or kill -TSTP: the machine rests with us. */
static void suspend(struct console *c)
{
	bool raw = c->term.raw;

	send_command(c, "stop");
	term_restore(&c->term);
	raise(SIGSTOP);
	/* Here again after SIGCONT. */
	if (raw)
		term_raw(&c->term);
	send_command(c, "cont");
}

static void read_signal(struct console *c)
{
	struct signalfd_siginfo si;

	if (read(c->cfg->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	switch (si.ssi_signo) {
	case SIGCHLD:
		child_signal(c);
		break;
	case SIGTSTP:
		suspend(c);
		break;
	case SIGHUP:
		c->stdin_open = false;
		ask_to_end(c);
		break;
	case SIGTERM:
		interrupt(c, false);
		break;
	default: /* SIGINT, SIGQUIT */
		interrupt(c, true);
		break;
	}
}

static void step(struct console *c)
{
	enum { IN, OUT, SERIAL, CONTROL, SIGNAL, COUNT };
	struct pollfd p[COUNT];

	for (unsigned i = 0; i < COUNT; i++)
		p[i] = (struct pollfd){ .fd = -1 };
	if (c->stdin_open && c->to_guest.len < sizeof(c->to_guest.data))
		p[IN] = (struct pollfd){ STDIN_FILENO, POLLIN, 0 };
	if (c->stdout_open && c->to_person.len)
		p[OUT] = (struct pollfd){ STDOUT_FILENO, POLLOUT, 0 };
	if (c->serial_open) {
		p[SERIAL].fd = c->cfg->serial_fd;
		p[SERIAL].events = (short)((c->to_person.len ? 0 : POLLIN) |
					   (c->to_guest.len ? POLLOUT : 0));
		if (!p[SERIAL].events)
			p[SERIAL].fd = -1; /* or POLLHUP would spin */
	}
	if (c->control_open)
		p[CONTROL] = (struct pollfd){ c->cfg->control_fd, POLLIN, 0 };
	p[SIGNAL] = (struct pollfd){ c->cfg->signal_fd, POLLIN, 0 };
	if (poll(p, COUNT, -1) < 0)
		return;
	if (p[SIGNAL].revents)
		read_signal(c);
	if (p[OUT].revents)
		write_stdout(c);
	if (p[SERIAL].revents & POLLOUT)
		write_serial(c);
	if (p[SERIAL].revents & (POLLIN | POLLHUP | POLLERR) && !c->to_person.len)
		read_serial(c);
	if (p[CONTROL].revents)
		read_control(c);
	if (p[IN].revents)
		read_stdin(c);
}

static int exit_code(struct console *c)
{
	char text[128];

	if (c->lost_output) {
		say("standard output was closed; the machine was ended");
		return 1;
	}
	if (WIFEXITED(c->child_status))
		return WEXITSTATUS(c->child_status);
	if (c->killed) {
		say("the machine was ended by force");
		return 1;
	}
	snprintf(text, sizeof(text), "the machine's process (bothy-vm) ended unexpectedly: %s; "
		 "this is an error in bothy, please report it",
		 strsignal(WTERMSIG(c->child_status)));
	say(text);
	return 1;
}

int console_run(const struct console_config *cfg)
{
	struct console c = {
		.cfg = cfg,
		.stdin_open = cfg->serial_fd >= 0,
		.serial_open = cfg->serial_fd >= 0,
		.control_open = true,
		.stdout_open = true,
	};
	struct err err = { "" };
	int ret;

	lines_init(&c.lines);
	if (cfg->serial_fd >= 0 && isatty(STDIN_FILENO) &&
	    term_open(&c.term, STDIN_FILENO, &err) < 0) {
		say(err.text);
		kill(cfg->vm, SIGKILL);
		waitpid(cfg->vm, NULL, 0);
		return 1;
	}
	/* The child may have ended before its SIGCHLD was watched for. */
	child_signal(&c);
	while (!c.child_gone || (c.serial_open && c.stdout_open) || c.control_open ||
	       (c.to_person.len && c.stdout_open))
		step(&c);
	term_close(&c.term);
	ret = exit_code(&c);
	lines_fini(&c.lines);
	return ret;
}

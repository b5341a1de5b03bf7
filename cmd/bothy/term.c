/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/bothy/term.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Equal where raw mode differs: somebody else (a shell) may have set the
 * terminal since, and then it is theirs. */
static bool same_mode(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_lflag == b->c_lflag && a->c_oflag == b->c_oflag;
}

_Noreturn static void guard_main(const struct term *t, int fd)
{
	struct termios now;
	char done = 0;
	ssize_t n;

	/* A session of its own: no signal of the terminal reaches it, and it may
	 * set the terminal although it is in no foreground group. */
	setsid();
	do
		n = read(fd, &done, 1);
	while (n < 0 && errno == EINTR);
	if (n == 0 && tcgetattr(t->fd, &now) == 0 && same_mode(&now, &t->ours))
		tcsetattr(t->fd, TCSANOW, &t->saved);
	_exit(0);
}

/* The guard must hold nothing open whose end somebody waits for. */
static void close_all_but(int a, int b)
{
	int lo = a < b ? a : b, hi = a < b ? b : a;

	if (lo > 0)
		close_range(0, (unsigned)lo - 1, 0);
	if (hi - lo > 1)
		close_range((unsigned)lo + 1, (unsigned)hi - 1, 0);
	close_range((unsigned)hi + 1, ~0u, 0);
}

static int start_guard(struct term *t, struct err *err)
{
	int fds[2];
	sigset_t all, old;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	t->guard = fork();
	if (t->guard == 0) {
		close_all_but(t->fd, fds[0]);
		guard_main(t, fds[0]);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(fds[0]);
	if (t->guard < 0) {
		close(fds[1]);
		return err_set(err, -errno, "cannot start a process: %s", strerror(errno));
	}
	t->guard_fd = fds[1];
	return 0;
}

int term_open(struct term *t, int fd, struct err *err)
{
	int ret;

	memset(t, 0, sizeof(*t));
	t->fd = fd;
	t->guard_fd = -1;
	if (tcgetattr(fd, &t->saved) < 0)
		return err_set(err, -errno, "the terminal cannot be read: %s", strerror(errno));
	t->ours = t->saved;
	t->ours.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL |
				       IXON);
	t->ours.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	/* Output stays cooked: messages of ours may come between the guest's. */
	t->ours.c_oflag |= OPOST;
	t->ours.c_cflag |= CS8;
	t->ours.c_cc[VMIN] = 1;
	t->ours.c_cc[VTIME] = 0;
	ret = start_guard(t, err);
	if (ret < 0)
		t->guard = 0;
	return ret;
}

void term_raw(struct term *t)
{
	if (!t->guard || t->raw)
		return;
	t->raw = tcsetattr(t->fd, TCSADRAIN, &t->ours) == 0;
}

void term_restore(struct term *t)
{
	if (!t->guard || !t->raw)
		return;
	tcsetattr(t->fd, TCSADRAIN, &t->saved);
	t->raw = false;
}

void term_close(struct term *t)
{
	if (!t->guard)
		return;
	term_restore(t);
	if (write(t->guard_fd, "q", 1) == 1)
		waitpid(t->guard, NULL, 0);
	close(t->guard_fd);
	t->guard = 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Progress on a terminal, and ending cleanly at Ctrl-C: a half-made image goes. */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "cmd/disk/out.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

static bool step(void *opaque, uint64_t done, uint64_t total)
{
	struct out_progress *p = opaque;
	int now = total ? (int)(done * 1000.0 / (double)total) : 1000;

	if (interrupted)
		return false;
	if (p->show && now != p->last_percent10) {
		fprintf(p->to, "\r    (%.2f/100%%)", now / 10.0);
		fflush(p->to);
		p->shown = true;
		p->last_percent10 = now;
	}
	return true;
}

void out_progress_init(struct out_progress *p, bool show, FILE *to)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	memset(p, 0, sizeof(*p));
	p->show = show;
	p->to = to;
	p->last_percent10 = -1;
	p->step.step = step;
	p->step.opaque = p;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

void out_progress_end(struct out_progress *p)
{
	if (p->shown)
		fprintf(p->to, "\n");
	p->shown = false;
}

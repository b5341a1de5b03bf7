/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The A20 gate: two devices move it (keyboard controller, port 92h), the last one
 * wins, and both show where it stands. Owned by the board.
 */
#ifndef BOTHY_DEV_LEGACY_A20_H
#define BOTHY_DEV_LEGACY_A20_H

#include <stdbool.h>

struct a20_gate {
	bool open; /* address line 20 works */
	void (*set)(void *opaque, bool open); /* on a change, device lock held; or NULL */
	void *opaque;
};

static inline void a20_set(struct a20_gate *g, bool open)
{
	if (g->open == open)
		return;
	g->open = open;
	if (g->set)
		g->set(g->opaque, open);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * torture FORMAT SEED STEPS CUTS [backing=1] [snapshots=1] [resize=1] [plant=1] [size=BYTES]
 *         [OPTION=VALUE ...]
 *
 * Exit code 0: every cut left a sound image; with plant=1: the planted lack of
 * ordering was noticed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/block/torture.h"

int main(int argc, char **argv)
{
	const char *opts[16];
	struct torture t = { .opts = opts };
	struct torture_result r;
	struct err err = { "" };

	if (argc < 5) {
		fprintf(stderr, "usage: torture FORMAT SEED STEPS CUTS [OPTION=VALUE ...]\n");
		return 2;
	}
	t.format = argv[1];
	t.seed = strtoull(argv[2], NULL, 0);
	t.steps = (unsigned)atoi(argv[3]);
	t.max_cuts = strtoull(argv[4], NULL, 0);
	for (int i = 5; i < argc && t.nopts < 16; i++) {
		if (!strcmp(argv[i], "backing=1"))
			t.backing = true;
		else if (!strcmp(argv[i], "snapshots=1"))
			t.snapshots = true;
		else if (!strcmp(argv[i], "resize=1"))
			t.resize = true;
		else if (!strcmp(argv[i], "jobs=1"))
			t.jobs = true;
		else if (!strncmp(argv[i], "size=", 5))
			t.disk_bytes = strtoull(argv[i] + 5, NULL, 0);
		else if (!strcmp(argv[i], "plant=1"))
			t.plant = true;
		else
			opts[t.nopts++] = argv[i];
	}
	if (torture_run(&t, &r, &err)) {
		fprintf(stderr, "torture %s seed %s: %s\n", t.format, argv[2], err.text);
		return 1;
	}
	printf("%s seed %s: %llu cuts of %llu events (%llu flushes), %llu bad, %llu clusters leaked\n",
	       t.format, argv[2], (unsigned long long)r.cuts, (unsigned long long)r.events,
	       (unsigned long long)r.flushes, (unsigned long long)r.bad,
	       (unsigned long long)r.leaks);
	if (r.bad)
		printf("  %s\n", r.reason);
	return t.plant ? !r.bad : r.bad != 0;
}

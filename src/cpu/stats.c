/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's counters as a table for people. */
#include <inttypes.h>

#include "src/cpu/cpu.h"
#include "src/cpu/x86/x86.h"

unsigned cpus_stats(const struct cpus *s, unsigned index, struct engine_stat *st)
{
	return s->engine->stats ? s->engine->stats(&s->vcpu[index], st) : 0;
}

void cpus_print_stats(const struct cpus *s, FILE *out)
{
	for (unsigned n = 0; n < s->count; n++) {
		struct engine_stat st[ENGINE_STATS_MAX];
		unsigned count = cpus_stats(s, n, st);

		fprintf(out, "vCPU %u, engine %s\n", n, s->engine->name);
		fprintf(out, "  %-28s %20" PRIu64 "\n", "interpreted",
			s->vcpu[n].x86->insn_count);
		for (unsigned k = 0; k < count; k++)
			fprintf(out, "  %-28s %20" PRIu64 "\n", st[k].name, st[k].value);
	}
}

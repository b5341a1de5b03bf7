/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz-devices [--rounds N] [--seed S] [--list] [TARGET...]: hostile guests against every
 * device of devices.def. What stands on standard output before a crash or a hang is the
 * target and seed that did it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/devices/fuzz.h"
#include "src/base/bits.h"
#include "src/dev/devices.h"
#include "tests/unit/cmocka_all.h"

/* A run that does not get on for so long hangs, under sanitizers and load, too. */
#define HANG_S 300u

/* Each device has at least one row; main() checks that. */
static const struct fuzz_target targets[] = {
	{ "fw_cfg", fuzz_board }, { "pflash", fuzz_board }, { "debugcon", fuzz_board },
	{ "isa-debug-exit", fuzz_board }, { "isa-serial", fuzz_board }, { "gsi", fuzz_board },
	{ "i8237", fuzz_board }, { "i8259", fuzz_board }, { "ioapic", fuzz_board },
	{ "i8254", fuzz_board }, { "hpet", fuzz_board }, { "mc146818", fuzz_board },
	{ "uart16550", fuzz_board }, { "i8042", fuzz_board }, { "port92", fuzz_board },
	{ "ferr", fuzz_board }, { "pvpanic", fuzz_board }, { "q35", fuzz_board },
	{ "pcie-root-port", fuzz_board }, { "ich9-lpc", fuzz_board }, { "ahci", fuzz_board },
	{ "piix-ide", fuzz_board }, { "VGA", fuzz_board }, { "virtio-blk", fuzz_board },
	{ "virtio-net", fuzz_board }, { "virtio-rng", fuzz_board }, { "virtio-serial", fuzz_board },
	{ "virtio-scsi", fuzz_board }, { "isa-fdc", fuzz_board }, { "floppy", fuzz_board },
	{ "ahci", fuzz_storage }, { "sata-disk", fuzz_storage }, { "sata-cd", fuzz_storage },
	{ "piix-ide", fuzz_storage }, { "ide-disk", fuzz_storage }, { "ide-cd", fuzz_storage },
	{ "isa-fdc", fuzz_storage },
	{ "virtio-blk", fuzz_virtio }, { "virtio-net", fuzz_virtio }, { "virtio-rng", fuzz_virtio },
	{ "virtio-serial", fuzz_virtio }, { "virtserialport", fuzz_virtio },
	{ "virtconsole", fuzz_virtio }, { "virtio-scsi", fuzz_virtio }, { "scsi-hd", fuzz_virtio },
	{ "scsi-cd", fuzz_virtio },
};

static void hang(int sig)
{
	static const char text[] = "fuzz-devices: it hangs\n";

	(void)!write(2, text, sizeof(text) - 1);
	abort();
}

static int complete(void)
{
	int missing = 0;

	for (size_t d = 0; devices[d]; d++) {
		bool found = false;

		for (size_t n = 0; n < array_size(targets); n++)
			found |= !strcmp(targets[n].name, devices[d]->name);
		if (!found) {
			fprintf(stderr, "fuzz-devices: nothing fuzzes %s\n", devices[d]->name);
			missing = 1;
		}
	}
	return missing;
}

static int usage(void)
{
	fprintf(stderr, "usage: fuzz-devices [--rounds N] [--seed S] [--list] [TARGET...]\n");
	return 2;
}

static void run(const char *name, uint64_t seed, unsigned long rounds)
{
	for (size_t n = 0; n < array_size(targets); n++) {
		if (strcmp(targets[n].name, name))
			continue;
		printf("%s %#llx\n", name, (unsigned long long)seed);
		fflush(stdout);
		alarm(HANG_S);
		targets[n].run(name, seed, rounds);
		alarm(0);
	}
}

static bool known(const char *name)
{
	for (size_t n = 0; n < array_size(targets); n++)
		if (!strcmp(targets[n].name, name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	unsigned long rounds = 2000;
	uint64_t seed = 0x9e3779b97f4a7c15ull;
	int n = 1;

	for (; n < argc && !strncmp(argv[n], "--", 2); n++) {
		if (!strcmp(argv[n], "--list")) {
			for (size_t d = 0; devices[d]; d++)
				puts(devices[d]->name);
			return complete();
		}
		if (n + 1 == argc)
			return usage();
		if (!strcmp(argv[n], "--rounds"))
			rounds = strtoul(argv[++n], NULL, 0);
		else if (!strcmp(argv[n], "--seed"))
			seed = strtoull(argv[++n], NULL, 0) | 1;
		else
			return usage();
	}
	if (complete())
		return 1;
	for (int k = n; k < argc; k++)
		if (!known(argv[k])) {
			fprintf(stderr, "fuzz-devices: there is no device '%s'; --list shows them\n",
				argv[k]);
			return 2;
		}
	signal(SIGALRM, hang);
	if (n == argc)
		for (size_t d = 0; devices[d]; d++)
			run(devices[d]->name, seed, rounds);
	for (; n < argc; n++)
		run(argv[n], seed, rounds);
	printf("done\n");
	return 0;
}

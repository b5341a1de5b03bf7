# SPDX-License-Identifier: GPL-2.0-or-later
# A thin front over meson. `make run` and `make check` need nothing but make and
# a Debian system: tools/setup.sh installs what is missing.
BUILD ?= build
PREFIX ?= /usr/local
prefix ?= $(PREFIX)
DESTDIR ?=
MESON ?= meson
NINJA ?= ninja
JOBS ?=

ninja = $(NINJA) -C $(BUILD) $(if $(JOBS),-j $(JOBS),)

all: $(BUILD)/build.ninja
	$(ninja)

# An existing folder keeps its configuration; only the prefix follows.
$(BUILD)/build.ninja:
	@tools/setup.sh build
	$(MESON) setup $(BUILD) --prefix $(prefix)

# A machine from Debian's own packages, at its shell prompt.
run: all
	@tools/setup.sh guest
	@guest=$$(tools/guest.sh | tail -n 1) && [ -n "$$guest" ] && \
	echo "Booting; leave with 'poweroff' in the guest, or with Ctrl-A X." && \
	$(BUILD)/cmd/bothy run --kernel "$$guest/vmlinuz" --initrd "$$guest/initramfs.cpio.gz" \
		--append "console=ttyS0 panic=-1" $(RUN_ARGS)

# The last line counts: "N passed, N failed[, N skipped]".
check:
	@tools/setup.sh check
	@BUILD=$(BUILD) tests/run

# What KVM does, and on hardware all of it.
check-kvm: all
	@BUILD=$(BUILD) tests/run kvm-all

# The same on a KVM whose AMD-V is QEMU's: hours. A part: make check-kvm-nested
# NESTED="'COMMAND'"; tests/asm/nested.py --help.
check-kvm-nested: all
	@tools/setup.sh nested
	@BUILD=$(BUILD) python3 -B tests/asm/nested.py $(NESTED)

# Installed systems, installers and memory tests from power-on, in every engine: hours.
# A part: make check-guests BOOT="--engine jit debian12_bios"; its names: BOOT=--list.
check-guests: all
	@tools/setup.sh guests
	@BUILD=$(BUILD) $(if $(BOOT),tests/run.sh boot $(BOOT),tests/run guests)

# An installed Debian moved between engines, saved and restored; half an hour.
check-moves: all
	@tools/setup.sh guest
	BUILD=$(BUILD) tests/run.sh moves

# An hour of stress-ng in a guest; SOAK_SECONDS=N for another time.
soak: all
	@tools/setup.sh guest
	BUILD=$(BUILD) python3 -B tests/guest/soak.py $(SOAK_ARGS)

bench: all
	@tools/setup.sh bench
	BUILD=$(BUILD) bench/run.py
	BUILD=$(BUILD) bench/disk.py

# Cuts at every write of every format, ten thousand states each.
torture: all
	python3 tests/format/torture_all.py $(BUILD)/tests/format/fmt_torture $(CUTS)

# Images other programs made, as Debian's packages carry them: 30 MB to fetch, once.
check-foreign: all
	@tools/setup.sh check
	python3 -B tests/format/foreign.py $(BUILD)/cmd/bothy

fuzz-disk: all
	BUILD=$(BUILD) fuzz/fuzz-disk.sh $(ROUNDS)

# Hostile guests against every device: without end, or ROUNDS rounds; TARGETS="hpet VGA".
fuzz-devices: all
	BUILD=$(BUILD) fuzz/fuzz-devices.sh "$(ROUNDS)" $(TARGETS)

fuzz-cpu: all
	BUILD=$(BUILD) fuzz/fuzz-cpu.sh

install: all
	$(MESON) configure $(BUILD) --prefix $(prefix)
	DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-asan

.PHONY: all run check check-guests soak bench fuzz-cpu fuzz-devices install clean torture fuzz-disk \
	check-kvm check-kvm-nested check-moves check-foreign

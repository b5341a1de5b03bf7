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

check-guests: all
	@tools/setup.sh guest
	BUILD=$(BUILD) tests/run.sh guest

bench: all
	@tools/setup.sh bench
	BUILD=$(BUILD) bench/run.py

fuzz-cpu: all
	BUILD=$(BUILD) fuzz/fuzz-cpu.sh

install: all
	$(MESON) configure $(BUILD) --prefix $(prefix)
	DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-asan

.PHONY: all run check check-guests bench fuzz-cpu install clean

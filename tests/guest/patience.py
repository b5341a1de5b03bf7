# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a machine may take: by what it does, not by the clock on the wall. A busy host
gives a guest less of its processors, and engines differ twentyfold; neither is the guest's
fault. So a limit counts the processor time that the machine used. What else ends the
waiting is a machine that stands still: idle for a while, with nothing new to show."""
import re
import time

from machine import Failure, Machine

# Processor time of the machine for a second of a limit: an engine's slowness, which for the
# interpreter is about 4 when a Debian boots; and as much again.
SLOWNESS = {"jit": 1.0, "kvm": 10.0, "interp": 8.0, "check": 40.0}
IDLE = 0.05    # less of one processor than this is idle,
STILL = 45     # and that long in a row, with nothing new to see, is stuck
WALL = 40      # a limit's seconds on the wall, at the very most, times SLOWNESS


class Clock:
    """One wait: @seconds of an engine as quick as the translator."""

    def __init__(self, machine, seconds):
        self.machine = machine
        self.limit = seconds * machine.runner.slowness
        self.begin, self.begin_cpu = time.monotonic(), machine.cpu_seconds()
        self.seen, self.still_since, self.still_cpu = None, self.begin, self.begin_cpu

    def over(self, seen):
        """None, or why the wait is over. @seen: what would change if something happened."""
        now, cpu = time.monotonic(), self.machine.cpu_seconds()
        if cpu - self.begin_cpu > self.limit:
            return "the machine computed for %.0f s" % (cpu - self.begin_cpu)
        if now - self.begin > self.limit * WALL:
            return "%.0f s went by" % (now - self.begin)
        if seen != self.seen or cpu - self.still_cpu > IDLE * (now - self.still_since) + 1:
            self.seen, self.still_since, self.still_cpu = seen, now, cpu
        # Who waits for a clock of the guest's own is given the time asked for.
        if now - self.still_since > max(STILL, min(self.limit, 4 * STILL)):
            return "the machine did nothing for %.0f s" % (now - self.still_since)
        return None


class PatientMachine(Machine):
    """A machine whose limits are a Clock's."""
    on_failure = None  # called while the machine still stands

    def __exit__(self, kind, *exc):
        if kind is not None and self.on_failure:
            self.on_failure()
        super().__exit__(kind, *exc)

    def expect(self, pattern, seconds, what=None):
        if isinstance(pattern, bytes):
            pattern = re.compile(pattern)
        clock, why = Clock(self, seconds), None
        while True:
            m = pattern.search(self.output, self.mark)
            if m:
                self.mark = m.end()
                return m
            if why:
                raise Failure("%s: %s; last lines:\n%s" % (
                    what or pattern.pattern.decode(), why, self.tail()))
            if not self.read_some(0.5):
                why = "the machine ended"
            elif self.process.poll() is None:  # else: read what is left, up to its end
                why = clock.over(len(self.output))

    def finish(self, seconds=60):
        clock = Clock(self, seconds)
        while self.process.poll() is None:
            if not self.read_some(0.2):
                time.sleep(0.05)
            why = clock.over(len(self.output))
            if why and self.process.poll() is None:
                raise Failure("the machine did not end: %s; last lines:\n%s" % (why, self.tail()))
        before = -1
        while before != len(self.output) and self.read_some(0.05):
            before = len(self.output)
        return self.process.returncode

# SPDX-License-Identifier: GPL-2.0-or-later
"""What debugger.py has gdb do to the guest gdb64: runs inside gdb, which has the machine's
sockets in the environment. Prints "ok NAME" and "FAIL NAME: WHY"."""
import json
import os
import socket
import subprocess
import traceback

import gdb

ENGINE = os.environ["DEBUG_ENGINE"]
CPUS = int(os.environ["DEBUG_CPUS"])
PATIENCE = max(1, float(os.environ["DEBUG_PATIENCE"])) # seconds for what is done at once
# Where KVM steps itself: its steps are not the same everywhere.
KVM_STEPS = ENGINE == "kvm" and os.environ["DEBUG_IRQCHIP"] != "user" and CPUS > 1
PF, DB = 14, 1


def run(command):
    return gdb.execute(command, to_string=True)


def value(text):
    return int(gdb.parse_and_eval(f"(unsigned long long)({text})"))


def at(name):
    return value(f"&{name}")


def word(name):
    return value(f"*(unsigned long long *)&{name}")


def where():
    return value("$pc")


def stub(vector):
    return at("rt_stubs") + 16 * vector


def check(name, got, want):
    if got == want:
        print(f"ok {name}", flush=True)
    else:
        show = [hex(v) if isinstance(v, int) else repr(v) for v in (got, want)]
        print(f"FAIL {name}: got {show[0]}, want {show[1]}; {run('info symbol $pc').strip()}",
              flush=True)


def stops(name, how, want):
    """Does @how and looks where the processor then stands."""
    run(how)
    check(name, where(), want)


def go_to(name, label, hardware=False):
    run(f"{'t' if not hardware else 'th'}break *&{label}")
    stops(name, "continue", at(label))


def steps(name, *labels):
    for n, label in enumerate(labels):
        stops(f"{name}.{n}-{label}", "stepi", at(label))


class Control:
    """The machine's control channel."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.f = self.s.makefile("rb")
        self.f.readline()
        self.say("qmp_capabilities")

    def say(self, command, **arguments):
        self.s.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self.f.readline())
            if "event" not in answer:
                return answer


def interrupt_soon(seconds):
    """Somebody types Ctrl-C; gdb itself waits for the machine meanwhile."""
    return subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -INT {os.getpid()}"])


def starts(control):
    check("status.first", control.say("query-status")["return"]["status"], "prelaunch")
    go_to("break.symbol", "test_main")
    check("status.stopped", control.say("query-status")["return"]["status"], "debug")
    check("registers.cs", value("$cs"), 0x10)
    check("registers.cr0-pg", value("$cr0") >> 31 & 1, 1)
    check("registers.efer-lma", value("$efer") >> 10 & 1, 1)
    check("threads", len(gdb.selected_inferior().threads()), CPUS)
    try:
        run("x/8xb 0x600000000000")
        check("memory.unmapped", "read", "refused")
    except gdb.MemoryError:
        check("memory.unmapped", "refused", "refused")
    check("monitor", "engine " + ENGINE in run("monitor info"), True)


def branches(control):
    run("hbreak *&g_dec")
    stops("hbreak.0", "continue", at("g_dec"))
    check("hbreak.0-ecx", value("$ecx"), 3)
    steps("jump-taken", "g_jnz", "g_loop", "g_dec")
    check("jump-taken.ecx", value("$ecx"), 2)
    stops("hbreak.1", "continue", at("g_dec"))
    check("hbreak.1-ecx", value("$ecx"), 1)
    run("delete")
    steps("call", "g_jnz", "g_call", "g_leaf", "g_ret", "g_back", "g_end")


def strings(control):
    if KVM_STEPS:
        return
    go_to("rep", "g_rep")
    di = value("$rdi")
    for n in range(1, 4):
        stops(f"rep.{n}", "stepi", at("g_rep"))
        check(f"rep.{n}-rdi", value("$rdi"), di + n)
    steps("rep.end", "g_rep_after")
    check("rep.memory", word("g_data"), 0x5a5a5a5a)


def faults(control):
    if KVM_STEPS:
        return
    go_to("fault", "g_fault")
    stops("fault.step", "stepi", stub(PF))
    check("fault.cr2", value("$cr2"), 0x7000000)


def shadows(control):
    if KVM_STEPS:
        return
    go_to("sti", "g_sti")
    steps("sti", "g_sti1", "g_sti2", "g_sti3")
    go_to("cli", "g_cli")
    steps("cli", "g_cli1")
    go_to("movss", "g_ss")
    steps("movss", "g_ss1", "g_ss2")
    go_to("pushf", "g_pushf")
    steps("pushf", "g_pop", "g_push", "g_popf", "g_popf1")


def syscalls(control):
    go_to("syscall", "g_syscall")
    check("syscall.ring", value("$cs") & 3, 3)
    stops("syscall.step", "stepi", at("g_entry"))
    check("syscall.ring0", value("$cs") & 3, 0)
    check("syscall.rcx", value("$rcx"), at("g_syscall") + 2)


def watches(control):
    run("watch *(unsigned long long *)&g_word")
    stops("watch", "continue", at("g_stored"))
    check("watch.value", word("g_word"), 1)
    run("delete")
    run("rwatch *(unsigned long long *)&g_word")
    stops("rwatch", "continue", at("g_loaded"))
    run("delete")
    run("awatch *(unsigned int *)((char *)&g_data + 8)")
    stops("awatch", "continue", at("g_stored2"))
    run("delete")


def changes(control):
    go_to("set", "g_set")
    run("set var $rax = 0x1234")
    check("set.rax", value("$rax"), 0x1234)
    run("set var $xmm3.v2_int64[1] = 0x1122334455667788")
    check("set.xmm3", value("$xmm3.v2_int64[1]"), 0x1122334455667788)


def patches(control):
    go_to("patch", "g_repatch")
    patch = at("g_patch")
    check("patch.code", value(f"*(unsigned char *){patch}"), 0xb8)
    run(f"set var *(unsigned char *){patch + 1} = 2")
    check("patch.changed", value(f"*(unsigned int *){patch + 1}"), 2)


def own(control):
    if ENGINE == "kvm":
        return
    # The guest's DR0 is there, too: its fault comes out of the step over ours.
    run("hbreak *&g_at")
    stops("own.code", "continue", at("g_at"))
    stops("own.code-again", "continue", at("g_at"))
    run("delete")
    steps("own.code-step", "g_next")
    run("watch *(unsigned long long *)&g_own")
    run("continue")
    check("own.data", word("g_own"), 3)
    check("own.data-where", where() in (stub(DB), at("g_own_after")), True)
    run("delete")
    go_to("own.tf", "g_tf0")
    stops("own.tf-step", "stepi", stub(DB))


def breaks_off(control):
    # In KVM a breakpoint takes the guest's own away, but not its TF.
    if ENGINE != "kvm" or os.environ["DEBUG_CASES"] == "kvm":
        go_to("wait", "g_wait")
    p = interrupt_soon(PATIENCE)
    run("continue")
    p.wait()
    check("interrupt", at("g_wait") <= where() < at("g_wait") + 32, True)
    run("set var *(unsigned long long *)&g_go = 1")


def two(control):
    if CPUS < 2:
        return
    go_to("two.second", "g_two1")
    check("two.second-thread", value("$_thread"), 2)
    run("set scheduler-locking on")
    before = word("g_counts")
    for _ in range(5):
        run("stepi")
    check("two.held", word("g_counts"), before)
    check("two.held-thread", value("$_thread"), 2)
    run("set scheduler-locking off")
    go_to("two.first", "g_one1")
    check("two.first-thread", value("$_thread"), 1)
    run("hbreak *&g_one1")
    run("break *&g_two1")
    good, count, seen = 0, 0, set()
    # Both get their turns, however fast one of them is back.
    while count < 30:
        run("continue")
        count += 1
        seen.add(where())
        good += where() == at(("g_one1", "g_two1")[value("$_thread") - 1])
    check("two.both", good, count)
    check("two.both-seen", seen, {at("g_one1"), at("g_two1")})
    run("delete")
    if os.environ["DEBUG_CASES"] == "kvm":
        run("set var *(unsigned long long *)&g_stop = 1")
        return
    run("watch *((unsigned long long *)&g_counts + 1)")
    run("continue")
    check("two.watch-thread", value("$_thread"), 2)
    check("two.watch", where(), at("g_two1"))
    run("delete")
    run("set var *(unsigned long long *)&g_stop = 1")


def moves_first(control):
    go_to("set", "g_set")
    run("set var $rax = 0x1234")


def moves(control):
    """Breakpoints stay where they are when the machine moves to another engine."""
    others = [e for e in ("interp", "jit", ENGINE) if e != ENGINE] + [ENGINE]
    run("break *&g_patch")
    for n, engine in enumerate(others * 3):
        stops(f"move.{n}", "continue", at("g_patch"))
        check(f"move.{n}-to-{engine}", "error" in control.say("engine", name=engine), False)
        check(f"move.{n}-info", "engine " + engine in run("monitor info"), True)
    run("delete")


def moves_running(control):
    if CPUS < 2:
        run("set var *(unsigned long long *)&g_go = 1")
        return
    # Hit in the other engine first, after Ctrl-C ended the wait in it.
    other = "interp" if ENGINE != "interp" else "jit"
    run("hbreak *&g_one")
    p = subprocess.Popen(["sh", "-c", f"sleep {PATIENCE}; {os.environ['DEBUG_BOTHY']} ctl "
                          f"{os.environ['DEBUG_CONTROL']} engine name={other}; sleep 0.3; "
                          f"kill -INT {os.getpid()}"], stdout=subprocess.DEVNULL)
    run("continue")
    p.wait()
    check("move.waits", at("g_wait") <= where() < at("g_wait") + 32, True)
    check("move.other", "engine " + other in run("monitor info"), True)
    run("set var *(unsigned long long *)&g_go = 1")
    stops("move.hit", "continue", at("g_one"))
    run("delete")
    go_to("move.first", "g_one1")
    go_to("move.second", "g_two1")
    run("set var *(unsigned long long *)&g_stop = 1")
    run("delete")


def narrow(control):
    """16-bit code of a 32-bit guest: breakpoints are linear, $eip is the offset."""
    go_to("i386.symbol", "test_main")
    check("i386.eip", value("(unsigned int)$eip"), at("test_main"))
    offset = at("rm") - at("real_blob")
    run("hbreak *0x10000")
    run("set architecture i8086")
    stops("i8086.protected", "continue", 0)
    check("i8086.cs", value("$cs"), 0x60)
    stops("i8086.step", "stepi", 3)
    run(f"break *{0x10000 + offset}")
    stops("i8086.real", "continue", offset)
    check("i8086.real-cs", value("$cs"), 0x1000)
    check("i8086.real-mode", "real mode" in run("monitor info"), True)
    check("i8086.code", "%cs,%" in run(f"x/i {0x10000 + offset}"), True)
    # gdb does not know that it stands at a breakpoint, and just goes on.
    stops("i8086.real-step", "stepi", offset + 2)
    run("set architecture i386")
    run("delete")
    go_to("i386.back", "rt_finish")


CASES = {
    "all": [starts, branches, strings, faults, shadows, syscalls, watches, changes,
            patches, own, breaks_off, two],
    # What a KVM without hardware can do: no ring 3, no watchpoints, no precise interrupt
    # windows. And no KVM has the guest's own debug registers while there are breakpoints.
    "kvm": [starts, branches, strings, faults, shadows, changes, patches, breaks_off, two],
    "i386": [narrow],
    "moves": [starts, moves_first, moves, patches, moves_running],
}


def main():
    run("set pagination off")
    run("set confirm off")
    run(f"file {os.environ['DEBUG_SYMBOLS']}")
    run(f"target remote {os.environ['DEBUG_GDB']}")
    control = Control(os.environ["DEBUG_CONTROL"])
    for case in CASES[os.environ["DEBUG_CASES"]]:
        try:
            case(control)
        except Exception: # pylint: disable=broad-except
            print(f"FAIL {case.__name__}: {traceback.format_exc()}")
            break
    run("delete")
    # So that it ends, whatever failed.
    for name in ("g_go", "g_stop") if os.environ["DEBUG_CASES"] != "i386" else ():
        run(f"set var *(unsigned long long *)&{name} = 1")
    run("detach")
    print("detached")


main()

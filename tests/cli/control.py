#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The control channel: QMP's framing, every command, events, and hostile clients."""
import json
import pathlib
import signal
import sys
import time

from common import ROOT, Failure, Vm, check, run_all


def start(echo, **config):
    vm = Vm(kernel=str(echo), **config)
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    return vm


def error_of(answer):
    check("error" in answer, "no error:", answer)
    return answer["error"]["class"], answer["error"]["desc"]


def test_greeting_and_negotiation(folder, echo):
    vm = Vm(kernel=str(echo))
    greeting = vm.line()
    check(set(greeting["QMP"]["version"]["qemu"]) == {"major", "minor", "micro"}, greeting)
    check(greeting["QMP"]["capabilities"] == [], greeting)
    check(error_of(vm.command("query-status"))[0] == "CommandNotFound", "before negotiation")
    check(vm.raw('{"execute": "qmp_capabilities", "id": 7}\n') == {"return": {}, "id": 7}, "id")
    check(error_of(vm.command("qmp_capabilities"))[0] == "CommandNotFound", "twice")
    check(vm.command("query-status")["return"]["running"] is True, "status")
    vm.close()


def test_queries(folder, echo):
    vm = start(echo, cpus=2)
    listed = {c["name"] for c in vm.command("query-commands")["return"]}
    files = {p.stem for p in (ROOT / "api/control").glob("*.json")}
    check(listed == files, "query-commands and api/control differ:", listed ^ files)
    check(vm.command("query-version")["return"]["package"].startswith("bothy "), "version")
    cpus = vm.command("query-cpus-fast")["return"]
    check([c["cpu-index"] for c in cpus] == [0, 1], cpus)
    for c in cpus:
        task = pathlib.Path(f"/proc/{vm.proc.pid}/task/{c['thread-id']}/comm")
        check(task.read_text().strip() == f"vcpu{c['cpu-index']}", "thread-id", c)
    stats = vm.command("query-stats", target="vcpu")["return"]
    check(len(stats) == 2, stats)
    first = {s["name"]: s["value"] for s in stats[0]["stats"]}
    check(first["host-cpu-ns"] > 0, first)
    vm_stats = vm.command("query-stats", target="vm")["return"][0]["stats"]
    check({s["name"] for s in vm_stats} == {"host-cpu-ns", "memory-reserved-bytes"}, vm_stats)
    check("target" in error_of(vm.command("query-stats", target="x"))[1], "bad target")
    vm.close()


def test_stop_and_cont(folder, echo):
    vm = start(echo)
    check(vm.command("stop") == {"return": {}}, "stop")
    vm.event("STOP")
    check(vm.command("query-status")["return"] ==
          {"status": "paused", "singlestep": False, "running": False}, "status")
    vm.serial.sendall(b"held")
    vm.serial.settimeout(0.5)
    try:
        vm.serial.recv(1)
        raise Failure("a stopped machine answered")
    except TimeoutError:
        pass
    vm.serial.settimeout(60)
    vm.command("stop")              # no second event
    check(vm.command("cont") == {"return": {}}, "cont")
    vm.event("RESUME")
    check(not [e for e in vm.events if e["event"] == "STOP"], "two STOP events")
    vm.serial_expect(b"held")
    vm.close()


def test_reset_and_quit(folder, echo):
    vm = start(echo)
    vm.command("system_reset")
    e = vm.event("RESET")
    check(e["data"] == {"guest": False, "reason": "host-qmp-system-reset"}, e)
    check(set(e["timestamp"]) == {"seconds", "microseconds"}, e)
    vm.serial_expect(b"ready\r\n")
    vm.command("stop")
    vm.command("system_reset")      # a paused machine stays paused
    check(vm.command("query-status")["return"]["status"] == "paused", "status")
    vm.command("cont")
    vm.serial_expect(b"ready\r\n")
    check(vm.command("quit") == {"return": {}}, "quit")
    e = vm.event("SHUTDOWN")
    check(e["data"] == {"guest": False, "reason": "host-qmp-quit"}, e)
    check(vm.wait() == 0, "exit code")
    vm.close()


def test_many_resets(folder, echo):
    vm = start(echo, cpus=4)
    for _ in range(50):
        vm.command("system_reset")
    vm.serial.sendall(b"z")
    vm.serial_expect(b"ready\r\n")
    for _ in range(20):
        vm.serial.sendall(b"2")
        vm.serial_expect(b"ready\r\n")
    vm.command("quit")
    check(vm.wait() == 0, "exit code")
    vm.close()


def test_guest_events(folder, echo):
    vm = start(echo)
    vm.serial.sendall(b"4")
    e = vm.event("GUEST_PANICKED")
    check(e["data"]["action"] == "run", e)
    check(vm.command("query-status")["return"]["status"] == "guest-panicked", "status")
    vm.serial.sendall(b"2")
    check(vm.event("RESET")["data"] == {"guest": True, "reason": "guest-panic"}, "reset")
    vm.serial_expect(b"ready\r\n")
    vm.serial.sendall(b"3")
    check(vm.event("RESET")["data"] == {"guest": True, "reason": "guest-reset"}, "triple fault")
    vm.serial_expect(b"ready\r\n")
    check(vm.command("system_powerdown") == {"return": {}}, "powerdown")
    vm.event("POWERDOWN")
    vm.serial.sendall(b"1")
    check(vm.event("SHUTDOWN")["data"] == {"guest": True, "reason": "guest-shutdown"}, "off")
    check(vm.wait() == 0, "exit code")
    vm.close()


def test_watchdog(folder, echo):
    vm = start(echo, **{"watchdog-action": "debug"})

    def bark(action):
        vm.serial.sendall(b"7")
        vm.serial_expect(b"w")
        check(vm.event("WATCHDOG")["data"] == {"action": action}, action)

    bark("debug")
    check(error_of(vm.command("watchdog-set-action", action="bite"))[0] == "GenericError", "bite")
    for action in ("none", "pause", "shutdown", "reset", "poweroff"):
        check(vm.command("watchdog-set-action", action=action) == {"return": {}}, action)
        bark(action)
        if action == "pause":
            vm.event("STOP")
            check(vm.command("query-status")["return"]["status"] == "watchdog", "status")
            vm.command("cont")
        elif action == "shutdown":
            vm.event("POWERDOWN")
        elif action == "reset":
            check(vm.event("RESET")["data"]["reason"] == "guest-reset", "reset")
            vm.serial_expect(b"ready\r\n")
        if action != "poweroff":
            vm.serial.sendall(b"x")
            vm.serial_expect(b"x")
            check(vm.command("query-status")["return"]["status"] == "running", action)
    vm.event("SHUTDOWN")
    check(vm.wait() == 0, "exit code")
    check(b"watchdog ran out" in vm.proc.stderr.read(), "a line in the log")
    vm.close()


def test_uuid(folder, echo):
    text = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    vm = start(echo, uuid=text)
    check(vm.command("query-uuid")["return"] == {"UUID": text}, "uuid")
    vm.close()
    for bad in ("1", text[:-1], text + "0"):
        vm = Vm(kernel=str(echo), uuid=bad)
        check(vm.wait() == 2, "exit code")
        check("UUID" in vm.proc.stderr.read().decode(), bad)
        vm.close()


def test_malformed(folder, echo):
    vm = start(echo)
    for text in ('{"execute": \n', "[1,2\n", "}\n", "\x00\n", '"x"\n', "[]\n", "12\n", "null\n",
                 '{"execute": 5}\n', "{}\n", '{"execute": "query-status", "arguments": 3}\n',
                 '{"execute": "query-status", "argumens": {}}\n', "[" * 500 + "\n",
                 '{"execute": "query-status"} trailing\n', "\xff\xfe\n"):
        kind, desc = error_of(vm.raw(text))
        check(kind == "GenericError" and desc, text, kind, desc)
    check(error_of(vm.command("no-such"))[0] == "CommandNotFound", "unknown command")
    check("unexpected" in error_of(vm.command("stop", x=1))[1], "unknown argument")
    check("missing" in error_of(vm.command("query-stats"))[1], "missing argument")
    check("expected: string" in error_of(vm.command("query-stats", target=3))[1], "wrong type")
    # Blank lines are nothing; two requests may come at once; bytes one by one.
    a = vm.raw('\n  \n{"execute": "query-status", "id": "a"}\n{"execute": "stop", "id": "b"}\n')
    check(a["id"] == "a" and vm.answer()["id"] == "b", "two at once")
    for c in '{"execute": "query-version"}\r\n':
        vm.sock.sendall(c.encode())
        time.sleep(0.001)
    check("return" in vm.answer(), "byte by byte")
    vm.close()


def test_giant_line(folder, echo):
    vm = start(echo)
    text = '{"execute": "query-status", "id": "%s"}\n' % ("x" * 60000)
    check(len(vm.raw(text)["id"]) == 60000, "a long line is fine")
    try:
        vm.sock.sendall(b'{"execute": "' + b"x" * 300000)
    except BrokenPipeError:
        pass
    last = None
    try:
        last = vm.answer()
        vm.answer()
        raise Failure("the connection was kept")
    except (Failure, ConnectionError) as e:
        check("closed" in str(e) or isinstance(e, ConnectionError), e)
    check(last is None or "longer than" in last["error"]["desc"], last)
    check(vm.wait() == 0, "a foreground machine ends with its owner")
    vm.close()


def test_slow_reader_is_dropped(folder, echo):
    vm = start(echo)
    request = b'{"execute": "query-commands", "id": "' + b"x" * 30000 + b'"}\n'
    vm.sock.settimeout(30)
    try:
        for _ in range(4000):
            vm.sock.sendall(request)
        raise Failure("120 MB were taken")
    except (BrokenPipeError, ConnectionResetError):
        pass
    check(vm.wait() == 0, "exit code")
    vm.close()


def test_owner_goes_away(folder, echo):
    vm = start(echo)
    vm.file.close()
    vm.sock.close()
    check(vm.wait() == 0, "exit code")
    vm.proc.stderr.close()
    vm.serial.close()
    # Without --foreground the machine goes on until a signal.
    vm = Vm(foreground=False, kernel=str(echo))
    vm.hello()
    vm.serial_expect(b"ready\r\n")
    vm.file.close()
    vm.sock.close()
    time.sleep(0.3)
    vm.serial.sendall(b"y")
    vm.serial_expect(b"y")
    vm.proc.send_signal(signal.SIGTERM)
    check(vm.wait() == 0, "exit code")
    vm.proc.stderr.close()
    vm.serial.close()


def test_bad_descriptions(folder, echo):
    for config, word in (({"kernel": 5}, "'kernel'"), ({"kernel": "k", "frob": 1}, "'frob'"),
                         ({"kernel": "k", "cpus": 0}, "'cpus'"),
                         ({"kernel": "k", "memory": -1}, "'memory'"),
                         ({"kernel": "k", "serial": {"fd": 999}}, "999"), ({"initrd": "i"}, "'kernel'")):
        vm = Vm(**config)
        check(vm.wait() == 2, config, "exit code")
        said = vm.proc.stderr.read().decode()
        check(word in said and said.count("\n") == 1, config, said)
        vm.close()


if __name__ == "__main__":
    sys.exit(run_all(globals()))

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads api/ (one JSON file per command) and writes what is made of it: C tables
for the command line and the control socket, manual pages, shell completions and
reference pages.

usage: gen_api.py KIND API_FOLDER VERSION OUTPUT
"""
import json
import pathlib
import re
import sys

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
CLI_TYPES = {"flag": "OPT_FLAG", "text": "OPT_TEXT", "path": "OPT_PATH",
             "size": "OPT_SIZE", "uint": "OPT_UINT"}
ARG_TYPES = {"string": "CTL_STRING", "boolean": "CTL_BOOL", "integer": "CTL_INT",
             "array": "CTL_ARRAY", "object": "CTL_OBJECT"}
NOTE = "Generated from api/ by tools/gen_api.py."


def fail(path, why):
    sys.exit(f"{path}: {why}")


def load(folder, key):
    """The files of one folder, sorted, each checked for its own name."""
    found = []
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        try:
            item = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as bad:
            fail(path, bad)
        if item.get(key) != path.stem:
            fail(path, f'"{key}" must be "{path.stem}"')
        if not item.get("summary"):
            fail(path, '"summary" is missing')
        item["path"] = path
        found.append(item)
    if not found:
        fail(folder, "no files")
    return found


def size(text):
    m = re.fullmatch(r"(\d+)([KMGT]?)", str(text))
    if not m:
        raise ValueError(f"not a size: {text}")
    return int(m[1]) * UNITS[m[2]]


def cstr(text):
    if text is None:
        return "NULL"
    return json.dumps(text, ensure_ascii=True)


def ident(name):
    return name.replace("-", "_")


def check_cli(cmd):
    for opt in cmd["options"]:
        for key in ("name", "type", "help"):
            if not opt.get(key):
                fail(cmd["path"], f'an option lacks "{key}"')
        if opt["type"] not in CLI_TYPES:
            fail(cmd["path"], f'--{opt["name"]}: unknown type {opt["type"]}')
        if opt["type"] != "flag" and not opt.get("meta"):
            fail(cmd["path"], f'--{opt["name"]} lacks "meta"')


def section_text(cmd):
    parts = []
    for s in cmd.get("sections", []):
        parts.append(s["title"] + ":\n" + "".join(line + "\n" for line in s["text"]))
    return "\n".join(parts)


def gen_opts_h(api, key, prefix):
    """The option tables of one folder of commands: api/cli/, api/disk/."""
    low = prefix.lower()
    out = ["/* SPDX-License-Identifier: GPL-2.0-or-later */", f"/* {NOTE} */",
           f"#ifndef BOTHY_API_{prefix}_H", f"#define BOTHY_API_{prefix}_H", "",
           '#include "src/base/opts.h"', ""]
    for cmd in api[key]:
        c = ident(cmd["command"])
        out.append(f"enum {low}_{c}_opt {{")
        for opt in cmd["options"]:
            out.append(f"\t{prefix}_{c.upper()}_{ident(opt['name']).upper()},")
        out += [f"\t{prefix}_{c.upper()}_OPTS,", "};", ""]
    out.append(f"enum {low}_command {{")
    for cmd in api[key]:
        out.append(f"\t{prefix}_{ident(cmd['command']).upper()},")
    out += [f"\t{prefix}_COMMANDS,", "};", "",
            f"extern const struct cmd_desc {low}_commands[{prefix}_COMMANDS];", "", "#endif", ""]
    return "\n".join(out)


def gen_opts_c(api, key, prefix):
    low = prefix.lower()
    out = ["/* SPDX-License-Identifier: GPL-2.0-or-later */", f"/* {NOTE} */",
           f'#include "api/{low}.h"', ""]
    for cmd in api[key]:
        c = ident(cmd["command"])
        if not cmd["options"]:
            continue
        out.append(f"static const struct opt_desc {c}_opts[] = {{")
        for opt in cmd["options"]:
            conv = size if opt["type"] == "size" else int
            lo, hi = conv(opt.get("min", 0)), conv(opt.get("max", 0))
            unit = UNITS[opt.get("unit", "")]
            out.append(f"\t{{ {cstr(opt['name'])}, {CLI_TYPES[opt['type']]}, "
                       f"{cstr(opt.get('meta'))}, {cstr(opt.get('default'))},\n"
                       f"\t  {cstr(opt['help'])},\n"
                       f"\t  {lo}ull, {hi}ull, {unit}ull, "
                       f"{'true' if opt.get('required') else 'false'}, "
                       f"{'true' if opt.get('repeat') else 'false'}, "
                       f"{cstr('|'.join(opt['choices']) if opt.get('exact') else None)} }},")
        out += ["};", ""]
    out.append(f"const struct cmd_desc {low}_commands[{prefix}_COMMANDS] = {{")
    for cmd in api[key]:
        c = ident(cmd["command"])
        opts = f"{c}_opts" if cmd["options"] else "NULL"
        out.append(f"\t{{ {cstr(cmd.get('words', cmd['command']))}, {cstr(cmd['summary'])},\n"
                   f"\t  {cstr(cmd['description'])},\n\t  {opts}, {len(cmd['options'])},\n"
                   f"\t  {cstr(section_text(cmd))}, {cstr(cmd.get('operands'))} }},")
    out += ["};", ""]
    return "\n".join(out)


def gen_cli_h(api, version):
    return gen_opts_h(api, "cli", "CLI")


def gen_cli_c(api, version):
    return gen_opts_c(api, "cli", "CLI")


def gen_disk_h(api, version):
    return gen_opts_h(api, "disk", "DISK")


def gen_disk_c(api, version):
    return gen_opts_c(api, "disk", "DISK")


def gen_control_def(api, version):
    """CTL_COMMAND(name, handler, summary, arguments...): ctl.c includes it."""
    out = ["/* SPDX-License-Identifier: GPL-2.0-or-later */", f"/* {NOTE} */"]
    for cmd in api["control"]:
        args = []
        for a in cmd["arguments"]:
            if a["type"] not in ARG_TYPES:
                fail(cmd["path"], f'{a["name"]}: unknown type {a["type"]}')
            args.append(f"CTL_ARG({cstr(a['name'])}, {ARG_TYPES[a['type']]}, "
                        f"{'true' if a.get('required') else 'false'})")
        out.append(f"CTL_COMMAND({cstr(cmd['command'])}, {ident(cmd['command'])}"
                   + "".join(", " + a for a in args) + ")")
    return "\n".join(out) + "\n"


def roff(text):
    return re.sub(r"(?m)^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))


def default_text(opt):
    return f" Default: {opt['default']}." if opt.get("default") else ""


def gen_man_disk(api, version):
    out = [f'.\\" {NOTE}', f'.TH BOTHY\\-DISK 1 "" "bothy {version}" "bothy"',
           ".SH NAME", "bothy\\-disk \\- make, look at and change disk images", ".SH SYNOPSIS",
           ".B bothy disk", "\\fICOMMAND\\fP [options]"]
    top = next(c for c in api["cli"] if c["command"] == "disk")
    out += [".SH DESCRIPTION", roff(top["description"])]
    for cmd in api["disk"]:
        out += [f".SH BOTHY {cmd['words'].upper()}", ".B bothy " + roff(cmd["words"]),
                roff(cmd.get("operands", "")), "[options]", ".PP", roff(cmd["description"])]
        for opt in cmd["options"]:
            head = f"\\fB\\-\\-{roff(opt['name'])}\\fP"
            if opt.get("meta"):
                head += f" \\fI{roff(opt['meta'])}\\fP"
            out += [".TP", head, roff(opt["help"][0].upper() + opt["help"][1:] + "."
                                      + default_text(opt))]
    out += [".SH SEE ALSO", ".BR bothy (1)", ""]
    return "\n".join(out)


def gen_man_command(api, version, name):
    if name == "disk":
        return gen_man_disk(api, version)
    cmd = next(c for c in api["cli"] if c["command"] == name)
    out = [f'.\\" {NOTE}', f'.TH BOTHY\\-{name.upper()} 1 "" "bothy {version}" "bothy"',
           ".SH NAME", f"bothy\\-{name} \\- {roff(cmd['summary'])}", ".SH SYNOPSIS",
           f".B bothy {name}"]
    for opt in cmd["options"]:
        word = f"\\-\\-{roff(opt['name'])}"
        if opt.get("meta"):
            word += f" \\fI{opt['meta']}\\fP"
        out.append(word if opt.get("required") else f"[{word}]")
    out += [".SH DESCRIPTION", roff(cmd["description"]), ".SH OPTIONS"]
    for opt in cmd["options"]:
        head = f"\\fB\\-\\-{roff(opt['name'])}\\fP"
        if opt.get("meta"):
            head += f" \\fI{opt['meta']}\\fP"
        out += [".TP", head, roff(opt["help"][0].upper() + opt["help"][1:] + "."
                                  + default_text(opt))]
    for s in cmd.get("sections", []):
        out += [f".SH {s['title'].upper()}", ".nf", *[roff(line) for line in s["text"]], ".fi"]
    out += [".SH SEE ALSO", ".BR bothy (1)", ""]
    return "\n".join(out)


def gen_man_main(api, version):
    out = [f'.\\" {NOTE}', f'.TH BOTHY 1 "" "bothy {version}" "bothy"', ".SH NAME",
           "bothy \\- virtual machines", ".SH SYNOPSIS", ".B bothy", "\\fICOMMAND\\fP [options]",
           ".SH DESCRIPTION",
           "bothy runs unmodified operating systems in virtual machines. Each machine is a",
           "process of its own (bothy\\-vm); nothing needs root.", ".SH COMMANDS"]
    for cmd in api["cli"]:
        out += [".TP", f"\\fBbothy {cmd['command']}\\fP", roff(cmd["summary"].capitalize() + "."),
                f"See \\fBbothy\\-{cmd['command']}\\fP(1)."]
    out += [".TP", "\\fBbothy help\\fP [\\fICOMMAND\\fP]", "Show the commands, or one command's options.",
            ".TP", "\\fBbothy \\-\\-version\\fP", "Show the version.",
            ".SH EXIT STATUS", "0 for success, 1 for a failure, 2 for wrong use.",
            ".SH SEE ALSO",
            ",\n".join(f".BR bothy\\-{c['command']} (1)" for c in api["cli"]), ""]
    return "\n".join(out)


def choices(opt):
    return " ".join(opt.get("choices", []))


def gen_bash(api, version):
    out = [f"# {NOTE}", "_bothy()", "{", "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}",
           "    local words=''", "    COMPREPLY=()"]
    names = " ".join(c["command"] for c in api["cli"])
    out += ["    if (( COMP_CWORD == 1 )); then",
            f"        COMPREPLY=($(compgen -W '{names} help --help --version' -- \"$cur\"))",
            "        return", "    fi", "    case ${COMP_WORDS[1]} in",
            f"    help) words='{names}' ;;"]
    subs = " ".join(c["command"] for c in api["disk"])
    out += ["    disk)", "        if (( COMP_CWORD == 2 )); then", f"            words='{subs}'",
            "        else case ${COMP_WORDS[2]} in"]
    for cmd in api["disk"]:
        out.append(f"            {cmd['command']}) words='"
                   + " ".join("--" + o["name"] for o in cmd["options"]) + " --help' ;;")
    out += ["            esac", "            [[ $cur == -* ]] || { COMPREPLY=($(compgen -f -- \"$cur\")); return; }",
            "        fi ;;"]
    for cmd in api["cli"]:
        if cmd["command"] == "disk":
            continue
        out += [f"    {cmd['command']})", "        case $prev in"]
        for opt in cmd["options"]:
            if opt["type"] == "path":
                out += [f"        --{opt['name']}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;"]
            elif opt.get("choices_from"):
                out += [f"        --{opt['name']}) words=$(bothy-vm {opt['choices_from']} 2>/dev/null | cut -d' ' -f1) ;;"]
            elif opt.get("choices"):
                out += [f"        --{opt['name']}) words='{choices(opt)}' ;;"]
            elif opt["type"] != "flag":
                out += [f"        --{opt['name']}) return ;;"]
        out += [f"        *) words='{' '.join('--' + o['name'] for o in cmd['options'])} --help' ;;",
                "        esac ;;"]
    out += ["    esac", "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))", "}",
            "complete -o filenames -F _bothy bothy", ""]
    return "\n".join(out)


def zq(text):
    return text.replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def gen_zsh(api, version):
    out = ["#compdef bothy", f"# {NOTE}", "_bothy() {", "  local -a commands", "  commands=("]
    for cmd in api["cli"]:
        out.append(f"    '{cmd['command']}:{zq(cmd['summary'])}'")
    out += ["    'help:show the commands or one command'", "  )",
            "  if (( CURRENT == 2 )); then", "    _describe command commands", "    return", "  fi",
            "  case $words[2] in"]
    for cmd in api["cli"]:
        out += [f"  {cmd['command']})", "    shift words; (( CURRENT-- ))", "    _arguments \\"]
        for opt in cmd["options"]:
            spec = f"--{opt['name']}[{zq(opt['help'])}]"
            if opt["type"] == "path":
                spec += f":{opt['meta']}:_files"
            elif opt.get("choices_from"):
                spec += f":{opt['meta']}:($(bothy-vm {opt['choices_from']} 2>/dev/null | cut -d\" \" -f1))"
            elif opt.get("choices"):
                spec += f":{opt['meta']}:({choices(opt).replace(':', chr(92) + ':')})"
            elif opt["type"] != "flag":
                spec += f":{opt['meta']}:"
            out.append(f"      '{spec}' \\")
        out += ["      '--help[show help]' ;;"]
    out += ["  help) _describe command commands ;;", "  esac", "}", '_bothy "$@"', ""]
    return "\n".join(out)


def fq(text):
    return text.replace("\\", "\\\\").replace("'", "\\'")


def gen_fish(api, version):
    out = [f"# {NOTE}", "complete -c bothy -f"]
    names = " ".join(c["command"] for c in api["cli"]) + " help"
    for cmd in api["cli"]:
        out.append(f"complete -c bothy -n 'not __fish_seen_subcommand_from {names}' "
                   f"-a {cmd['command']} -d '{fq(cmd['summary'])}'")
        for opt in cmd["options"]:
            line = (f"complete -c bothy -n '__fish_seen_subcommand_from {cmd['command']}' "
                    f"-l {opt['name']} -d '{fq(opt['help'])}'")
            if opt["type"] == "path":
                line += " -r -F"
            elif opt.get("choices_from"):
                line += f" -x -a \"(bothy-vm {opt['choices_from']} 2>/dev/null | cut -d' ' -f1)\""
            elif opt.get("choices"):
                line += f" -x -a '{choices(opt)}'"
            elif opt["type"] != "flag":
                line += " -x"
            out.append(line)
    out.append("complete -c bothy -n 'not __fish_seen_subcommand_from " + names
               + "' -a help -d 'show the commands or one command'")
    return "\n".join(out) + "\n"


def gen_doc(api, version):
    out = ["# The control protocol", "", f"<!-- {NOTE} -->", "",
           "One JSON object a line, framed as QMP does it: the server greets with `{\"QMP\": ...}`,",
           "the client sends `{\"execute\": \"qmp_capabilities\"}` first, then commands",
           "`{\"execute\": NAME, \"arguments\": {...}, \"id\": ANY}`; answers are `{\"return\": ...}` or",
           "`{\"error\": {\"class\": ..., \"desc\": ...}}` with the same id. A line may have 64 KiB.", "",
           "## Commands", ""]
    for cmd in api["control"]:
        out += [f"### {cmd['command']}", "", cmd["summary"].capitalize() + ".", ""]
        for a in cmd["arguments"]:
            need = "required" if a.get("required") else "optional"
            out.append(f"- `{a['name']}` ({a['type']}, {need}): {a['help']}")
        if cmd["arguments"]:
            out.append("")
        out += [f"Returns {cmd['returns']}.", ""]
    out += ["## Events", "", "| event | meaning | data |", "| --- | --- | --- |"]
    for ev in api["event"]:
        out.append(f"| `{ev['event']}` | {ev['summary']} | {ev['data']} |")
    out += ["", "# The command line", ""]
    for cmd in api["cli"] + api["disk"]:
        head = f"{cmd.get('words', cmd['command'])} {cmd.get('operands', '')}".strip()
        out += [f"## bothy {head}", "", cmd["description"], "",
                "| option | meaning | default |", "| --- | --- | --- |"]
        for o in cmd["options"]:
            word = f"--{o['name']}" + (f" {o['meta']}" if o.get("meta") else "")
            out.append(f"| `{word}` | {o['help']} | {o.get('default', '')} |")
        out.append("")
    return "\n".join(out)


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    kind, folder, version, output = sys.argv[1:]
    api = {"cli": load(f"{folder}/cli", "command"),
           "disk": load(f"{folder}/disk", "command"),
           "control": load(f"{folder}/control", "command"),
           "event": load(f"{folder}/event", "event")}
    for cmd in api["cli"] + api["disk"]:
        check_cli(cmd)
    makers = {"cli.h": gen_cli_h, "cli.c": gen_cli_c, "disk.h": gen_disk_h,
              "disk.c": gen_disk_c, "control.def": gen_control_def,
              "man": gen_man_main, "bash": gen_bash, "zsh": gen_zsh, "fish": gen_fish,
              "doc": gen_doc}
    if kind.startswith("man:"):
        text = gen_man_command(api, version, kind[4:])
    elif kind in makers:
        text = makers[kind](api, version)
    else:
        sys.exit(f"unknown kind {kind}")
    pathlib.Path(output).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Measures the cost of tracing a program, compared with strace.
#
#     sudo benches/trace.sh
#
# This needs root, strace, python3 and a C compiler. Each time is the minimum of several runs. The
# fixed cost of starting and ending a recording has its own row, and is subtracted from the others.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: recording takes it" >&2; exit 1; }
cd "$(dirname "$0")/.."
cargo build --release --quiet
rcap=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/rcap
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

printf '#include <stdio.h>\nint main(void) { return puts("x") < 0; }\n' >"$scratch/x.c"
cat >"$scratch/compiles" <<P
#!/bin/sh
for i in \$(seq 40); do cc -c -o "$scratch/x.o" "$scratch/x.c"; done
P
cat >"$scratch/checks.py" <<P
import os
for i in range(100000): os.chown("$scratch", i % 2, 0)
P
chmod +x "$scratch/compiles"

python3 - "$rcap" "$scratch" <<'P'
import json, os, subprocess, sys, time

rcap, scratch = sys.argv[1:]
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

def least(command, runs):
    def once():
        begun = time.monotonic()
        subprocess.run(command, check=True, **quiet)
        return time.monotonic() - begun
    return min(once() for _ in range(runs))

ways = {
    "checks and stacks": [rcap, "trace", "--no-outcomes", "--"],
    "and outcomes": [rcap, "trace", "--"],
    "strace -f": ["strace", "-f", "-o", scratch + "/strace"],
}
programs = {"find /usr": ["find", "/usr"], "40 compiles": [scratch + "/compiles"]}
targets = {"checks and stacks": 1.03, "and outcomes": 1.15}

def row(*cells):
    print("| %-20s | %-17s | %9s | %6s | %6s |%s" % cells)

row("", "", "time", "ratio", "target", "")
row("---", "---", "---:", "---:", "---:", "")
plain = least(["true"], 7)
fixed = {}
for name, way in ways.items():
    fixed[name] = least(way + ["true"], 7) - plain
    target = "" if name == "strace -f" else "200 ms"
    missed = "  missed" if target and fixed[name] > 0.2 else ""
    row("set up and end", name, "%d ms" % (1e3 * fixed[name]), "", target, missed)
for program, command in programs.items():
    least(command, 2)
    plain = least(command, 7)
    row(program, "alone", "%d ms" % (1e3 * plain), "1.00", "", "")
    for name, way in ways.items():
        taken = least(way + command, 2 if name == "strace -f" else 7) - fixed[name]
        target = targets.get(name)
        missed = "  missed" if target and taken / plain > target else ""
        row(program, name, "%d ms" % (1e3 * taken), "%.2f" % (taken / plain), target or "", missed)

checks = ["python3", scratch + "/checks.py"]
plain = least(checks, 3)
begun = time.monotonic()
with open(scratch + "/report", "w+") as file:
    tracer = subprocess.Popen([rcap, "trace", "--json", "--"] + checks, stdin=subprocess.DEVNULL, stdout=file)
    _, _, usage = os.wait4(tracer.pid, 0)
    taken = time.monotonic() - begun - fixed["and outcomes"]
    file.seek(0)
    report = json.load(file)
count = sum(check["count"] for check in report["checks"] if check["cap"] == "cap_chown")
print("\n%d checks in %.2f s, %d a second: %s lost, %d MiB of memory"
      % (count, taken, count / taken, report["lost"], usage.ru_maxrss / 1024))
P

#!/usr/bin/env bash
# Measures the cost of tracing a program, compared with strace.
#
#     sudo benches/trace.sh
#
# This needs root, strace, python3 and a C compiler. Runs alone and recorded ones alternate. A time is
# the minimum of the runs; the ratio of CPU times, user and system of rcap and the program together, is
# the median of the pairs, and depends less on other programs. The fixed cost of starting and ending
# a recording has its own row, and is subtracted from the others.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: recording takes it" >&2; exit 1; }
cd "$(dirname "$0")/.."
cargo build --release --quiet --bin rcap
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

def once(command):
    """The elapsed time and the CPU time of a command and its descendants."""
    begun = time.monotonic()
    child = subprocess.Popen(command, **quiet)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit("%s: exit status %d" % (" ".join(command), child.returncode))
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime

def pairs(way, command, runs):
    """Alternating runs: those of the command alone, and those of the way with it."""
    once(command)
    both = [(once(command), once(way + command)) for _ in range(runs)]
    return [one for one, _ in both], [other for _, other in both]

def least(runs, at=0):
    return min(run[at] for run in runs)

ways = {
    "checks and stacks": [rcap, "trace", "--no-outcomes", "--"],
    "and outcomes": [rcap, "trace", "--"],
    "strace -f": ["strace", "-f", "-o", scratch + "/strace"],
}
programs = {"find /usr": ["find", "/usr"], "40 compiles": [scratch + "/compiles"]}
targets = {"checks and stacks": 1.03, "and outcomes": 1.15}

def row(*cells):
    print("| %-14s | %-17s | %8s | %6s | %8s | %6s | %6s |%s" % cells, flush=True)

row("", "", "time", "ratio", "CPU time", "ratio", "target", "")
row("---", "---", "---:", "---:", "---:", "---:", "---:", "")
fixed = {}
for name, way in ways.items():
    alone, recorded = pairs(way, ["true"], 9)
    fixed[name] = [least(recorded, at) - least(alone, at) for at in (0, 1)]
    target = "" if name == "strace -f" else "200 ms"
    missed = "  missed" if target and fixed[name][0] > 0.2 else ""
    row("set up and end", name, "%d ms" % (1e3 * fixed[name][0]), "", "%d ms" % (1e3 * fixed[name][1]), "", target, missed)
for program, command in programs.items():
    for name, way in ways.items():
        alone, recorded = pairs(way, command, 2 if name == "strace -f" else 9)
        taken = [least(recorded, at) - fixed[name][at] for at in (0, 1)]
        ratios = sorted((with_it[1] - fixed[name][1]) / without[1] for without, with_it in zip(alone, recorded))
        ratio, middle = taken[0] / least(alone), ratios[len(ratios) // 2]
        target = targets.get(name)
        missed = "  missed" if target and middle > target else ""
        row(program, name, "%d ms" % (1e3 * taken[0]), "%.2f" % ratio, "%d ms" % (1e3 * taken[1]), "%.2f" % middle, target or "", missed)

checks = ["python3", scratch + "/checks.py"]
begun = time.monotonic()
with open(scratch + "/report", "w+") as file:
    tracer = subprocess.Popen([rcap, "trace", "--json", "--"] + checks, stdin=subprocess.DEVNULL, stdout=file)
    _, _, usage = os.wait4(tracer.pid, 0)
    taken = time.monotonic() - begun - fixed["and outcomes"][0]
    file.seek(0)
    report = json.load(file)
count = sum(check["count"] for check in report["checks"] if check["cap"] == "cap_chown")
print("\n%d checks in %.2f s, %d a second: %s lost, %d MiB of memory"
      % (count, taken, count / taken, report["lost"], usage.ru_maxrss / 1024))
P

#!/usr/bin/env bash
# Measures scan, save and restore, and prints the ratios.
#
#   sudo benches/scan.sh [DIRECTORY]     create the files in DIRECTORY [default: $TMPDIR or /tmp]
#
# This needs root, python3, libcap's getcap and find. It compares processor time, which depends less
# on other programs than elapsed time, and takes the median of pairs of runs. A slow result is not
# an error: a row that misses its target is marked.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: it sets file capabilities" >&2; exit 1; }
theirs=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v getcap)
cd "$(dirname "$0")/.."
cargo build --release --quiet --bin rcap --bin getcap
ours=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)

scratch=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/rcap-bench.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

python3 - "$ours" "$theirs" "$scratch" "${RUNS:-5}" <<'P'
import os, resource, statistics, subprocess, sys

ours, getcap, scratch, runs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
rcap, value = f"{ours}/rcap", bytes.fromhex("0100000200200000000000000000000000000000")

def tree(name, count, every):
    """A tree of so many files, of which one in `every` has a capability."""
    root = f"{scratch}/{name}"
    for nth in range(count):
        directory = f"{root}/{nth // 5000}/{nth // 100}"
        if nth % 100 == 0:
            os.makedirs(directory)
        file = f"{directory}/{nth % 100}"
        os.close(os.open(file, os.O_CREAT))
        if nth % every == 0:
            os.setxattr(file, "security.capability", value)
    return root

def cost(*commands):
    """The seconds of processor time of commands, with files as their standard streams."""
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    before = used()
    for command, stdin, stdout in commands:
        with open(stdin, "rb") as stdin, open(stdout, "wb") as stdout:
            subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
    return used() - before

def plain(*command):
    return command, "/dev/null", "/dev/null"

def row(name, target, one, other, between=lambda: None):
    """One cost divided by another, by pairs of runs after one that is not counted."""
    pairs = []
    for _ in range(runs + 1):
        other_cost = cost(*other)
        between()
        pairs.append((cost(*one), other_cost))
    ratios = [ours / theirs for ours, theirs in pairs[1:]]
    ours, theirs = (statistics.median(side) for side in zip(*pairs[1:]))
    ratio = statistics.median(ratios)
    missed = "  missed" if target and ratio > target else ""
    print(f"| {name:<55} | {theirs:8.2f} | {ours:8.2f} | {ratio:5.2f} | {target or '-':>7} |{missed}", flush=True)

print(f"| {'processor time in seconds':<55} | {'other':>8} | {'rcap':>8} | ratio | at most |")
print("|---|---|---|---|---|")
# No call returns both the mode and an attribute: a scan makes two calls for each file, and getcap
# makes one. The first target is met only where the file systems of the kernel, which a scan leaves
# out, have many files.
row("scan of /, to our getcap -r /", 1.15, [plain(rcap, "scan", "--json", "/")], [plain(f"{ours}/getcap", "-r", "/")])
row("scan of /, to libcap's getcap -r / and find -perm /6000", 0.6, [plain(rcap, "scan", "--json", "/")],
    [plain(getcap, "-r", "/"), plain("find", "/", "-perm", "/6000")])
large = tree("large", 300_000, 100)
row("getcap -r of 300,000 files, to libcap's", None, [plain(f"{ours}/getcap", "-r", large)], [plain(getcap, "-r", large)])
row("getcap -r of /usr, to libcap's", None, [plain(f"{ours}/getcap", "-r", "/usr")], [plain(getcap, "-r", "/usr")])
row("scan of 300,000 files, to our getcap -r", None, [plain(rcap, "scan", "--json", large)], [plain(f"{ours}/getcap", "-r", large)])
for every in (1, 100):
    root, caps = tree(f"saved{every}", 100_000, every), f"{scratch}/caps"
    save = ([rcap, "save", "--root", scratch, root], "/dev/null", caps)
    restore = ([rcap, "restore", "--root", scratch], caps, "/dev/null")
    files = [os.path.join(at, name) for at, _, names in os.walk(root) for name in names]
    had = {file for file in files if "security.capability" in os.listxattr(file)}
    scan = plain(rcap, "scan", "--json", root)

    def wipe():
        cost(save)
        for file in had:
            os.removexattr(file, "security.capability")

    def measured():
        row(f"save and restore of 100,000 files, {len(had):,} with caps, to scan", 2.5, [restore, save], [scan], wipe)

    measured()
    lost = {file for file in had if os.getxattr(file, "security.capability") != value}
    assert not lost, lost
P

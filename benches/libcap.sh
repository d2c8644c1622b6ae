#!/usr/bin/env bash
# Measures the tools and the installed libcap tools side by side, and prints the ratios.
#
#   sudo benches/libcap.sh [DIRECTORY]     create the files in DIRECTORY [default: $TMPDIR or /tmp]
#
# This needs root, to set file capabilities, and hyperfine, strace, GNU time and libcap's tools. A
# slow result is not an error: a row that misses its target is marked.
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "run this as root: it sets file capabilities" >&2; exit 1; }
theirs=$(dirname "$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v getcap)")
cd "$(dirname "$0")/.."
cargo build --release --quiet
ours=${CARGO_TARGET_DIR:-target}/release
ours=$(cd "$ours" && pwd)

scratch=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/rcap-bench.XXXXXX")
pids=()
finish() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT

# tree DIRECTORY DIRECTORIES: with 100 files in each, of which one has a capability
tree() {
    local n
    for ((n = 0; n < $2; n++)); do
        mkdir -p "$1/$((n / 50))/$n"
        (cd "$1/$((n / 50))/$n" && touch {0..99})
    done
    find "$1" -name 50 -type f -print0 | xargs -0 -n 500 bash -c \
        'args=(); for f; do args+=(cap_net_raw=ep "$f"); done; "$0" "${args[@]}"' "$ours/setcap"
}

# quotient KEY COMMAND COMMAND: the second's time divided by the first's, as hyperfine has them
quotient() {
    local key=$1
    shift
    hyperfine -N --warmup "${warmup:-5}" --runs "${runs:-20}" --export-json "$scratch/h.json" \
        --output null "$@" >/dev/null 2>&1
    python3 - "$scratch/h.json" "$key" <<'P'
import json, sys
theirs, ours = (result[sys.argv[2]] for result in json.load(open(sys.argv[1]))["results"])
print(f"{theirs * 1e3:.2f} {ours * 1e3:.2f} {ours / theirs:.2f}")
P
}

# row WHAT THEIRS OURS RATIO TARGET: ours is judged if there is no ratio
row() {
    local verdict
    verdict=$(awk -v value="$([ "$4" = - ] && echo "$3" || echo "$4")" -v target="$5" \
        'BEGIN { print (value <= target) ? "" : "  missed" }')
    printf '| %-42s | %10s | %10s | %6s | %6s |%s\n' "$1" "$2" "$3" "$4" "$5" "$verdict"
}

calls() { # of a command, divided by the number of files; -c leaves out those it has no name for
    strace -f -o "$scratch/strace" "$@" >/dev/null 2>&1
    awk -v files=30000 '!/resumed>|\+\+\+|---/ { n++ } END { printf "%.2f", n / files }' "$scratch/strace"
}

memory() { /usr/bin/time -f %M -o "$scratch/time" "$@" >/dev/null 2>&1; cat "$scratch/time"; }

tree "$scratch/small" 300
tree "$scratch/large" 3000
diff <("$theirs/getcap" -r "$scratch/large" | sort) <("$ours/getcap" -r "$scratch/large" | sort)

for _ in {1..2000}; do
    sleep 1000 &
    pids+=($!)
done
diff <("$theirs/getpcaps" --iab "${pids[@]}") <("$ours/getpcaps" --iab "${pids[@]}")

echo "Linux $(uname -r) $(uname -m), $(nproc) processors, $(stat -f -c %T "$scratch"), libcap $(dpkg-query -W -f '${Version}' libcap2-bin 2>/dev/null || echo unknown)"
echo
printf '| %-42s | %10s | %10s | %6s | %6s |\n' "" libcap rcap ratio "at most"
echo '|---|---|---|---|---|'
# shellcheck disable=SC2046 # they are three words
row 'getcap -r, 300,000 files, ms' $(runs=10 warmup=2 quotient median \
    "$theirs/getcap -r $scratch/large" "$ours/getcap -r $scratch/large") 0.33
# shellcheck disable=SC2046
row 'the same with --threads 1, ms' $(runs=10 warmup=2 quotient median \
    "$theirs/getcap -r $scratch/large" "$ours/getcap -r --threads 1 $scratch/large") 1
row 'system calls a file' "$(calls "$theirs/getcap" -r "$scratch/small")" \
    "$(calls "$ours/getcap" -r "$scratch/small")" - 1.1
row 'getcap -r, 30,000 files, peak KB' "$(memory "$theirs/getcap" -r "$scratch/small")" \
    "$(memory "$ours/getcap" -r "$scratch/small")" - 4096
row 'getcap -r, 300,000 files, peak KB' "$(memory "$theirs/getcap" -r "$scratch/large")" \
    "$(memory "$ours/getcap" -r "$scratch/large")" - 4096
# shellcheck disable=SC2046
row 'getpcaps 1, ms' $(runs=3000 warmup=100 quotient median \
    "$theirs/getpcaps 1" "$ours/getpcaps 1") 1.15
row 'getpcaps 1, peak KB' "$(memory "$theirs/getpcaps" 1)" "$(memory "$ours/getpcaps" 1)" - 2048
# shellcheck disable=SC2046
row 'capsh --current, ms' $(runs=3000 warmup=100 quotient median \
    "$theirs/capsh --current" "$ours/capsh --current") 1.15
# shellcheck disable=SC2046
row 'getpcaps --iab, 2,000 processes, ms' $(runs=60 quotient median \
    "$theirs/getpcaps --iab ${pids[*]}" "$ours/getpcaps --iab ${pids[*]}") 0.55
# Debian does not package libcap's captree, a Go program. It took 47 times as long as getpcaps.
# shellcheck disable=SC2046
row 'captree, to getpcaps of 2,000 processes, ms' $(runs=60 quotient median \
    "$theirs/getpcaps ${pids[*]}" "$ours/captree 0") 12

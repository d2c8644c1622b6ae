#!/usr/bin/env bash
# Looks for errors of memory: the programs in valgrind, and the pure parts of the library in miri.
# The fuzz targets run with the address sanitizer (.ci/fuzz). A step whose program is missing is
# reported as not run.
#
#     tests/memory.sh [valgrind | miri]...     [default: both]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- valgrind miri

# valgrind COMMAND...: the exit status does not matter, unless it is valgrind's
in_valgrind() {
    local status=0
    timeout 600 valgrind --quiet --error-exitcode=99 "target/debug/$1" "${@:2}" >/dev/null 2>"$log" </dev/null || status=$?
    if [ $status = 99 ] || [ $status -ge 124 ] || grep -q '^==[0-9]*== ' "$log"; then
        cat "$log"
        echo "valgrind: $*"
        exit 1
    fi
    echo "valgrind: $*"
}

for step; do
    case $step in
    valgrind)
        command -v valgrind >/dev/null || { echo "== not run: valgrind"; continue; }
        cargo build --locked --quiet
        log=$(mktemp)
        trap 'rm -f "$log"' EXIT
        in_valgrind getcap -r tests
        in_valgrind getpcaps 1
        in_valgrind getpcaps --iab 1
        in_valgrind captree 2
        in_valgrind setcap -v cap_kill=ep /bin/true
        in_valgrind capsh --print
        in_valgrind capsh --drop=cap_chown --print
        in_valgrind rcap export --to docker net_raw
        in_valgrind rcap why /bin/true
        in_valgrind rcap scan --json tests
        in_valgrind rcap save tests
        in_valgrind rcap suggest netcat on port 80
        ;;
    miri)
        rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1 || true
        if ! rustup run nightly cargo miri --version >/dev/null 2>&1; then
            echo "== not run: miri (a nightly toolchain with miri is missing)"
            continue
        fi
        # Modules without system calls. The properties have fewer cases, because miri is slow.
        PROPTEST_CASES=4 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --quiet \
            --target-dir target/miri --no-default-features --features serde --lib -- caps:: file::codec exec:: trace::record::page trace::record::format
        ;;
    esac
done

#!/usr/bin/env bash
# Looks for errors of memory: the programs in valgrind, and the pure parts of the library in Miri.
# The fuzz targets run with the address sanitizer (.ci/fuzz). A step whose program is missing is
# reported as not run. By hand: Miri takes some minutes.
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
        # Modules without system calls, and two cases of each property. The tests left out take minutes
        # in Miri: they generate text by regular expressions, search the tasks of `rcap suggest`, read
        # and write every format, read every recording, or search among all capabilities.
        # `caps::` matches tools::getpcaps too, which reads processes.
        left_out=(tools:: no_text_panics canonical quoted_strings what_people_look_for formats_by_structure
            values_that_are_not_read written_settings_are_read what_kernels_have_recorded
            exactly_what_is_needed what_was_learned_is_no_difference none_can_go
            what_is_needed_and_nothing_else whatever_the_program_does)
        PROPTEST_CASES=2 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --quiet \
            --target-dir target/miri --lib -- "${left_out[@]/#/--skip=}" \
            caps:: exec:: file::codec file::refusal knowledge::tests knowledge::worth proc::id_map \
            proc::status proc::tree settings::compose settings::engine settings::profile \
            settings::read settings::shell settings::systemd settings::user trace::analysis \
            trace::minimize::tests trace::record::format trace::record::page
        ;;
    esac
done

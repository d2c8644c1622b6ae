#!/usr/bin/env bash
# Tests rcap on Debian's kernels, in an emulated machine. (tests/vm.sh)
#
#     tests/kernels.sh probes          compare tracing with probes with known results, and run some
#                                      cases of tests/exec.rs, on Linux 6.1 and 6.12, which lack the
#                                      tracepoint; and denials by SELinux, on 6.12
#     tests/kernels.sh tests [SUITE]   run the tests that trace, on the newest kernel or that of SUITE
#
# The first command leaves the kernels' events in target/vm/SUITE.events, for tests/data.
set -euo pipefail
cd "$(dirname "$0")/.."
work=target/vm

# In the machine: compares the output after "case" with known results, which are sets of candidates,
# missing capabilities, or minima.
probes() {
    PATH=$TARGET/debug:$PATH
    echo "release $(uname -r)"
    cd "$(mktemp -d)"
    touch f
    field() { grep -o "\"$1\":[^]]*]" | tr -d '"[]'; }
    case_() { echo "case $1: $2"; }
    trace() { rcap trace --json "$@" 2>/dev/null | head -n 1; }
    case_ backend "$(rcap trace --check | grep ^recording | grep -o 'yes: .*by the [a-z]*' | tr -d '0-9')"
    case_ true "$(trace true | field candidates)"
    case_ chown "$(trace chown 5 f | field candidates)"
    case_ ping "$(trace busybox ping -c 1 127.0.0.1 | field candidates)"
    bind='busybox nc -l -p 80 & until grep -qs ":0050 .* 0A " /proc/net/tcp*; do sleep 0.1; done; kill $!'
    case_ bind "$(trace sh -c "$bind" | field candidates)"
    case_ refused "$(trace rcap capsh --drop=cap_chown --shell=/bin/sh -- -c 'chown 6 f' | field missing)"
    # By BPF programs at the function: objects, denials without a check, stacks, control groups.
    case_ object "$(trace chown 5 f | grep -o '"name":"[^"]*/f"' | sed 's|"[^"]*/||' | tr -d '"')"
    mkdir fixed
    mount -t tmpfs -o ro fixed fixed
    case_ lock "$(trace touch fixed/f | grep -o '"lock":"[^"]*"' | tr -d '"')"
    case_ stacks "$(trace --stacks chown 5 f | grep -o '"function":"fchownat"' | tr -d '"')"
    group=/sys/fs/cgroup/group
    mkdir $group
    mkfifo told
    sh -c "echo \$\$ >$group/cgroup.procs; until test -e begun; do sleep 0.1; done; chown 11 f" &
    until grep -q . $group/cgroup.procs; do sleep 0.1; done
    rcap trace --json --cgroup $group 2>told >recorded &
    exec 3<told
    read -r _ <&3 # "Recording 1 processes."
    touch begun
    wait $!
    exec 3<&-
    case_ group "$(field candidates <recorded)"
    case_ function "$(grep -o '"function":"setattr[^"]*"' recorded | tr -d '"')"
    case_ unseen "$(grep -o 'the objects of system calls' recorded)"
    mount -t securityfs securityfs /sys/kernel/security
    cp "$(command -v busybox)" busybox-confined
    echo "profile confined $PWD/busybox-confined { $PWD/busybox-confined mr, }" | apparmor_parser -a
    locks() { grep -o '"errno":[0-9]*,"lock":"[^"]*"' | tr -d '"'; }
    case_ file "$(trace ./busybox-confined cat f | locks)"
    case_ capability "$(trace ./busybox-confined chroot / | locks)"
    case_ child "$(trace sh -c '(sleep 0.2; chown 7 f) &' | field candidates)"
    case_ minimum "$(rcap minimize --in-place --json -- sh -c 'chown 8 f && busybox ping -c 1 127.0.0.1' | field minimum)"
    case_ nothing "$(rcap minimize --in-place --json -- true | field minimum)"
    sh -c 'until test -e go; do sleep 0.1; done; chown 9 f' &
    mkfifo errors
    trace_of() { rcap trace --json --pid "$1" 2>errors | head -n 1 | field candidates; }
    trace_of $! >candidates &
    read -r _ <errors # "Recording 1 processes."
    touch go
    wait $!
    case_ attached "$(cat candidates)"
    mkdir t
    mount -t tracefs t t
    rcap trace sleep 100 2>/dev/null &
    until grep -q "rcap_$!_" t/kprobe_events; do sleep 0.1; done
    kill -9 $!
    # A recorder and a program that it has forked hold the instance until they have closed it.
    left() { cat t/kprobe_events; ls t/instances; }
    until trace true >/dev/null && test -z "$(left)"; do left >&2; done
    case_ left "$(left)"
    case_ exec "$(RCAP_REQUIRE=1 RCAP_EXEC_CASES=50 "$TARGET/debug/deps/exec-"* | grep -o 'ok. 5 passed; 0 failed')"
    # The test that prints events is one of the library.
    events() {
        for file in "$TARGET/debug/deps/rcap-"*; do
            RCAP_EVENTS=$1 "$file" print_events --nocapture
        done 2>/dev/null | grep '^[#0-9]'
    }
    echo recording
    events 'chown 10 f; busybox ping -c 1 127.0.0.1 >/dev/null
        rcap capsh --drop=cap_chown --shell=/bin/sh -- -c "chown 6 f" 2>/dev/null'
    echo end of the recording
}

# In the machine, for SELinux: its policy denies two permissions to everybody.
denials_by_selinux() {
    PATH=$TARGET/debug:$PATH
    cd "$(mktemp -d)"
    touch f
    cat >policy.conf <<'END'
class process
class file
class capability
sid kernel
sid security
sid unlabeled
class process { transition dyntransition }
class file { link }
class capability { chown }
type t;
allow t t:process { transition dyntransition };
role r;
role r types t;
user u roles r;
sid kernel u:r:t
sid security u:r:t
sid unlabeled u:r:t
END
    checkpolicy -U allow -o policy policy.conf >&2
    mount -t selinuxfs selinuxfs /sys/fs/selinux
    dd if=policy of=/sys/fs/selinux/load bs=1M 2>/dev/null
    lock() { rcap trace --json "$@" 2>/dev/null | grep -o '"errno":[0-9]*,"lock":"[^"]*"' | tr -d '"'; }
    echo "case permissive: $(lock chown 5 f)"
    echo 1 >/sys/fs/selinux/enforce
    echo "case file: $(lock ln f g)"
    echo "case capability: $(lock chown 6 f)"
}

known_of_selinux="case permissive: 
case file: errno:13,lock:selinux
case capability: errno:1,lock:selinux"

known="case backend: yes:  check, by the kprobe
case true: candidates:
case chown: candidates:cap_chown
case ping: candidates:cap_net_raw
case bind: candidates:cap_net_bind_service
case refused: missing:cap_chown
case object: name:f
case lock: lock:read-only
case stacks: function:fchownat
case group: candidates:cap_chown
case function: function:setattr_prepare
case unseen: 
case file: errno:13,lock:apparmor
case capability: errno:1,lock:apparmor
case child: candidates:cap_chown
case minimum: minimum:cap_chown,cap_net_raw
case nothing: minimum:
case attached: candidates:cap_chown
case left: 
case exec: ok. 5 passed; 0 failed"

compare_probes() {
    local suite=$1 answers
    mkdir -p "$work"
    tests/vm.sh "$suite" bash -c "$(declare -f probes); probes" | tee "$work/$suite.output"
    sed -n '/^recording$/,/^end of/p' "$work/$suite.output" | sed '1d;$d' >"$work/$suite.events"
    answers=$(grep '^case ' "$work/$suite.output" || true)
    diff <(echo "$known") <(echo "$answers")
    echo "== Linux $(sed -n 's/^release //p' "$work/$suite.output") as it should be, and" \
        "$(wc -l <"$work/$suite.events") events recorded"
}

# In the machine: runs each test file, and prints its duration.
run_tests() {
    local status=0 result name file
    for name in "${tests[@]}"; do
        for file in "$TARGET/debug/deps/$name"-*; do
            SECONDS=0 result=0
            RCAP_REQUIRE=1 RCAP_EXEC_CASES=500 "$file" "${skip[@]}" || result=$?
            echo "== $name: exit status $result after $SECONDS seconds"
            status=$((status | result))
        done
    done
    return "$status"
}

case ${1-} in
probes)
    for suite in bookworm trixie; do compare_probes "$suite"; done
    RCAP_VM_PARAMETERS=security=selinux tests/vm.sh trixie \
        bash -c "$(declare -f denials_by_selinux); denials_by_selinux" | tee "$work/selinux.output"
    diff <(echo "$known_of_selinux") <(grep '^case ' "$work/selinux.output")
    echo "== SELinux as it should be"
    ;;
tests)
    # The tests that trace, and those of other kernel interfaces.
    tests=(trace recording minimize containers run exec kernel files launch man)
    skip=(--skip docker --skip everything_dropped)
    tests/vm.sh "${2-trixie-backports}" bash -c "$(declare -p tests skip); $(declare -f run_tests); run_tests"
    ;;
*)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac

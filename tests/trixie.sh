#!/usr/bin/env bash
# Runs tests beside the engines of Debian 13: Docker 26.1, Compose 2.26, Podman 5.4, runc 1.1.15,
# crun 1.21 and systemd 257.
#
#     tests/trixie.sh
#     tests/trixie.sh [--recording] TEST [FILTER...]
#     tests/trixie.sh -- COMMAND [ARG...]
#
# TEST is the name of a file in tests/ [default: each one of `tests` below, and two tests that
# record]. With --recording, the tests run in the PID namespace of the machine, and processes can be
# left behind if they are killed. RCAP_TRIXIE is the
# root directory of a Debian 13 that has the packages below; without it, debootstrap creates one in
# Cargo's target directory. The directory is only read: the tests, or the command, run in an overlay
# of it, in a tmpfs, in namespaces that end with them. They have no network. This script needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
tests=(settings podman units export advice compose)
# These need Python or the package archive.
skip=(--skip names_for_compose --skip units_of_debian)
# These record, which is not possible in a PID namespace.
skip+=(--skip three_services_of_one_file --skip the_same_container_as_compose_starts
    --skip an_override_file_that_cannot_work --skip one_container_of_a_service
    --skip a_sysctl_for_the_user_of_a_service --skip nothing_is_left_of_a_project)

packages="docker.io docker-cli docker-compose podman runc crun conmon netavark systemd busybox-static"
packages="$packages util-linux libcap2-bin mount tar"

say() { echo "trixie: $*" >&2; }

# In a mount namespace: creates the root directory.
make_root() {
    local root=$1
    # shellcheck disable=SC2086 # the packages are separate words
    debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian >"$root.log" 2>&1 &&
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" &&
        chmod +x "$root/usr/sbin/policy-rc.d" &&
        mount -t proc proc "$root/proc" &&
        DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -qq \
            --no-install-recommends $packages >>"$root.log" 2>&1 || { tail "$root.log" >&2 && exit 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}

# In namespaces of its own: runs the tests in an overlay of the root directory.
enter() {
    local root=$1 at=$2 file
    shift 2
    mount -t tmpfs tmpfs "$at"
    mkdir "$at"/{upper,work,root}
    mount -t overlay -o "lowerdir=$root,upperdir=$at/upper,workdir=$at/work" overlay "$at/root"
    at=$at/root
    mount -t proc proc "$at/proc"
    mount -t sysfs sysfs "$at/sys"
    mount -t cgroup2 none "$at/sys/fs/cgroup"
    mount -t devtmpfs dev "$at/dev"
    for file in run tmp; do mount -t tmpfs tmpfs "$at/$file"; done
    chmod 1777 "$at/tmp"
    # The programs, the tests and their data, at their own paths.
    repository=$PWD
    mkdir -p "$at$PWD" "$at$target/debug/deps" "$at$target/tmp"
    cp -a docs tests Cargo.toml "$at$PWD/"
    cp "$target"/debug/{rcap,capsh,captree,getcap,getpcaps,setcap} "$at$target/debug/"
    while read -r file; do cp "$file" "$at$file"; done <"$target/trixie.tests"
    [ -e "$at/usr/bin/busybox" ] || cp "$(command -v busybox)" "$at/usr/bin/"
    ip link set lo up
    # Not chroot(1), in which no user namespace can be created.
    cd "$at"
    mkdir machine
    pivot_root . machine
    umount -l /machine
    rmdir /machine
    exec env -i PATH="/usr/sbin:/usr/bin:/usr/lib/systemd:/usr/libexec/podman" HOME=/root TERM=dumb \
        RCAP_REQUIRE=1 bash -c 'cd "$0"; exec "$@"' "$repository" "$@"
}

if [ "${1-}" = --in-namespaces ]; then
    shift
    target=$1
    shift
    enter "$@"
fi

target=$(cargo metadata --locked --no-deps --format-version 1 |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
root=${RCAP_TRIXIE-$target/trixie}
if [ ! -d "$root" ]; then
    say "making a Debian 13 in $root"
    rm -rf --one-file-system "$root.new"
    export packages
    unshare -m -p -f --kill-child bash -c "$(declare -f make_root); make_root \"\$0\"" "$root.new"
    mv "$root.new" "$root"
fi
in_trixie() {
    unshare -m -f --kill-child "${namespaces[@]}" -u -i -n --propagation private \
        "$0" --in-namespaces "$target" "$root" "$at" "$@"
}
namespaces=(-p -C)
is_all=$([ $# -gt 0 ] || echo yes)
if [ "${1-}" = --recording ]; then
    shift
    namespaces=() skip=()
fi
at=$(mktemp -d)
trap 'rmdir "$at"' EXIT
if [ "${1-}" = -- ]; then
    shift
    touch "$target/trixie.tests"
    in_trixie "$@"
    exit
fi
if [ $# -gt 0 ]; then
    tests=("$1")
    shift
fi
cargo test --locked --no-run "${tests[@]/#/--test=}" --message-format=json 2>"$target/trixie.log" |
    sed -n 's/.*"kind":\["test"\].*"executable":"\([^"]*\)".*/\1/p' >"$target/trixie.tests" ||
    { cat "$target/trixie.log" >&2 && exit 1; }
status=0
while read -r file <&3; do
    SECONDS=0
    in_trixie "$file" "${skip[@]}" "$@" </dev/null || status=$?
    say "$(basename "$file"): $SECONDS seconds"
done 3<"$target/trixie.tests"
if [ -n "$is_all" ] && [[ " ${RCAP_EXCEPT-} " != *" tracing "* ]]; then
    for test in "measured a_pod_of_podman" "compose three_services_of_one_file"; do
        # A test that does not exist passes.
        # shellcheck disable=SC2086 # they are two words
        "$0" --recording $test | tee /dev/stderr | grep '^test result: ok. 1 passed' >/dev/null || status=$?
    done
fi
exit "$status"

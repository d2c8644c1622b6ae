#!/usr/bin/env bash
# Minimizes the containers of the images in tests/images/list, and compares each answer with a search
# by hand: `docker run --cap-drop ALL --cap-add …` with each capability left out in turn.
# By hand, as root: tests/images.sh [DIRECTORY [NAME]...]
#
# DIRECTORY has a Debian and the daemon's data between runs, 3 GB; it is created if it does not exist.
# The daemon and all mounts are in private namespaces, and end with this script.
set -euo pipefail
directory=$(realpath -m "${1:-/var/tmp/rcap-images}")
cd "$(dirname "$0")"
rcap=${RCAP:-$PWD/../target/debug/rcap}
root=$directory/root
packages="nginx-light apache2 redis-server postgresql python3 gosu tini openssh-server
    openssh-client curl iputils-ping libcap2-bin procps"
default="CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW
    SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP"

make_root() {
    mkdir -p "$directory"
    debootstrap --variant=minbase bookworm "$root" >&2
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$root/etc/"
    # shellcheck disable=SC2086 # they are several words
    unshare -m --propagation private sh -c '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        chroot "$root" sh -c "apt-get update -q && DEBIAN_FRONTEND=noninteractive \
            apt-get install -qy --no-install-recommends $*"' sh "$root" $packages >&2
}

# Packages come from the network of the machine.
[ -d "$root/usr/bin" ] || make_root
if [ -z "${RCAP_IMAGES_INSIDE:-}" ]; then
    RCAP_IMAGES_INSIDE=1 exec setsid -w unshare -mn --propagation private "./${0##*/}" "$directory" "${@:2}"
fi

prepare() {
    cp images/prepare "$root/prepare"
    chroot "$root" sh /prepare >&2
    touch "$directory/prepared"
}

start_daemon() {
    export DOCKER_HOST=unix://$directory/socket DOCKER_API_VERSION=1.41
    ip link set lo up
    dockerd --data-root "$directory/data" --exec-root "$directory/exec" -H "$DOCKER_HOST" \
        --pidfile "$directory/pid" --iptables=false --ip6tables=false --bridge=none \
        2> "$directory/log" &
    daemon=$!
    trap 'kill $daemon || true; wait $daemon || true' EXIT
    until docker version > /dev/null 2>&1; do kill -0 $daemon; sleep 0.2; done
}

make_images() { # FILE
    docker image inspect base > /dev/null 2>&1 ||
        tar --xattrs --xattrs-include='*' -C "$root" -c . | docker import - base > /dev/null
    local id
    id=$(docker create base true)
    while IFS='|' read -r name configuration _; do
        local changes=() change
        IFS=';' read -ra parts <<< "$configuration"
        for change in "${parts[@]}"; do
            change=$(trim "$change")
            [ -z "$change" ] || changes+=(--change "$change")
        done
        docker commit "${changes[@]}" "$id" "$(trim "$name")" > /dev/null
    done < "$1"
    docker rm "$id" > /dev/null
}

trim() { sed 's/^ *//; s/ *$//' <<< "$1"; }

# Runs the container with exactly these capabilities. Prints its files and processes, and fails if the
# container does not work.
observe() { # CAP...
    local id status=0 health=healthy
    id=$(docker create --network none --cap-drop ALL "${@/#/--cap-add=}" "${quick[@]}" "$image" \
        "${command[@]}")
    if [ -z "$check" ] && [ -z "$has_health_check" ]; then
        timeout 60 docker start --attach "$id" > /dev/null 2>&1 || status=1
    elif docker start "$id" > /dev/null 2>&1; then
        status=1
        local deadline=$((SECONDS + 40))
        while [ $SECONDS -lt $deadline ]; do
            if [ -n "$check" ]; then
                timeout -s KILL 10 docker exec "$id" sh -c "$check" > /dev/null 2>&1 && status=0
            else
                health=$(docker inspect --format '{{.State.Health.Status}}' "$id")
                [ "$health" != healthy ] || status=0
            fi
            [ $status != 0 ] || break
            [ "$(docker inspect --format '{{.State.Running}}' "$id")" = true ] || break
            sleep 0.5
        done
        sleep 2
        docker top "$id" -eo pid,uid,gid,comm | awk '{ $1 = ""; print }' | sort -u || status=1
    else
        status=1
    fi
    find "$(docker inspect --format '{{.GraphDriver.Data.UpperDir}}' "$id")" -printf '%M %U %G %P\n' |
        sort
    docker rm --force --volumes "$id" > /dev/null
    return $status
}

# Returns whether the container does the same as with the default capabilities.
does_the_same() { # CAP...
    for _ in 1 2; do
        observe "$@" > "$scratch/seen" || return 1
        grep -vxFf "$scratch/noise" "$scratch/seen" > "$scratch/seen.rest" || true
        cmp -s "$scratch/seen.rest" "$scratch/usual.rest" && return 0
    done
    return 1
}

# Prints the capabilities that the container needs, in order.
by_hand() {
    local needed cap rest
    # shellcheck disable=SC2086 # they are several words
    if ! observe $default > "$scratch/usual" || ! observe $default > "$scratch/again"; then
        echo "(does not work by hand)"
        return
    fi
    sort "$scratch/usual" "$scratch/again" | uniq -u > "$scratch/noise"
    grep -vxFf "$scratch/noise" "$scratch/usual" > "$scratch/usual.rest"
    needed=$(xargs -n 1 <<< "$default" | sort)
    for cap in $needed; do
        rest=$(grep -vx "$cap" <<< "$needed" || true)
        # shellcheck disable=SC2086 # they are several words
        if does_the_same $rest; then needed=$rest; fi
    done
    paste -sd, <<< "$needed"
}

one() { # LINE
    local name options=()
    IFS='|' read -r name configuration check arguments <<< "$1"
    image=$(trim "$name") check=$(trim "$check")
    eval "command=($arguments)"
    has_health_check="" quick=()
    case $configuration in *HEALTHCHECK*) has_health_check=1 quick=(--health-interval=1s) ;; esac
    [ -z "$check" ] || options=(--check-in "$check")
    [ -z "$check$has_health_check" ] || detached=(-d)
    local json="$scratch/$image.json" found runs wanted
    if ! "$rcap" minimize --json "${options[@]}" -- docker run --rm "${detached[@]}" --network none \
        "$image" "${command[@]}" > "$json" 2> "$json.err" < /dev/null; then
        printf '%-10s FAILED: %s\n' "$image" "$(tail -n 1 "$json.err")"
        return 1
    fi
    read -r found runs most < <(python3 -c '
import json, math, sys
found = json.load(open(sys.argv[1]))
names = sorted(name[4:].upper() for name in found["minimum"])
n, k = 14, len(names)
print(",".join(names) or "-", len(found["runs"]), n + 2 * k * math.ceil(math.log2(n)))' "$json")
    wanted=$(by_hand)
    local verdict="as found by hand" status=0
    if [ "${found#-}" != "$wanted" ]; then verdict="BY HAND: ${wanted:-none}" status=1; fi
    if [ "$runs" -gt "$most" ]; then verdict="$verdict; TOO MANY STARTS: at most $most" status=1; fi
    printf '%-10s %s; %s starts; %s\n' "$image" "${found/#-/none}" "$runs" "$verdict"
    return $status
}

[ -e "$directory/prepared" ] || prepare
start_daemon
scratch=$directory/out
mkdir -p "$scratch"
grep -v '^#' images/list > "$scratch/list"
make_images "$scratch/list"
shift || true
failed=0
while IFS= read -r line <&3; do
    name=$(trim "${line%%|*}")
    detached=()
    if [ $# -eq 0 ] || printf '%s\n' "$@" | grep -qxF -- "$name"; then one "$line" || failed=1; fi
done 3< "$scratch/list"
exit $failed

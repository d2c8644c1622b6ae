#!/usr/bin/env bash
# Minimizes the programs of tests/programs/list, in a Debian of their own, and verifies each answer
# by setpriv: the program passes with exactly the minimum, and without each member that is required
# it fails. By hand, as root: tests/programs.sh [DIRECTORY [NAME]...]
#
# DIRECTORY has the root directory between runs, 2 GB; it is made if it does not exist. Nothing but
# it is changed: all mounts are in a private namespace.
set -euo pipefail
cd "$(dirname "$0")"
directory=${1:-/var/tmp/rcap-programs}
rcap=${RCAP:-$PWD/../target/debug/rcap}
jobs=${JOBS:-4}
root=$directory/root

packages="nginx-light apache2 lighttpd haproxy tinyproxy privoxy squid stunnel4 openssh-server
    openssh-client vsftpd tftpd-hpa rsync inetutils-inetd rpcbind samba slapd
    mosquitto mosquitto-clients socat dbus php-fpm dnsmasq bind9 nsd
    bind9-dnsutils chrony postfix dovecot-imapd redis-server memcached postgresql
    mariadb-server rsyslog cron at supervisor monit logrotate tini cpio squashfs-tools
    borgbackup e2fsprogs sudo gosu acl attr bubblewrap curl netcat-openbsd openssl procps
    iputils-ping traceroute fping hping3 tcpdump nmap iproute2 nftables iptables
    ethtool strace quota libcap2-bin python3-minimal man-db"

# Runs a command in the root directory, with mounts and a network that nobody else has.
inside() {
    setsid -w unshare -mn --propagation private sh -c '
        root=$1; shift
        ip link set lo up
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/run"
        exec chroot "$root" "$@"' sh "$root" "$@"
}

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

prepare() {
    cp programs/prepare "$root/prepare"
    inside sh /prepare >&2
    touch "$directory/prepared"
}

# The exit status of a program with exactly these capabilities, in a copy of the root directory, or
# of its check, which is tried so often.
with_exactly() { # CAPS CHECK COMMAND ATTEMPTS
    local bounding="-all" cap
    for cap in ${1//,/ }; do bounding="$bounding,+${cap#cap_}"; done
    setsid -w unshare -mnpf --kill-child --propagation private sh -c '
        root=$1 bounding=$2 check=$3 command=$4 attempts=$5
        ip link set lo up
        mount -t tmpfs tmpfs /mnt
        mkdir /mnt/u /mnt/w /mnt/r
        mount -t overlay -o "lowerdir=$root,upperdir=/mnt/u,workdir=/mnt/w" o /mnt/r
        mount -t proc proc /mnt/r/proc
        mount --rbind /sys /mnt/r/sys
        mount --rbind /dev /mnt/r/dev
        mount -t tmpfs tmpfs /mnt/r/run
        chmod 1777 /mnt/r/tmp
        # A process in a chroot cannot create a user namespace.
        cd /mnt/r
        pivot_root . mnt
        umount -l /mnt
        start="cd /work; exec setpriv --bounding-set=$bounding --inh-caps=-all $command"
        if [ -z "$check" ]; then
            exec timeout -k 1 60 sh -c "$start"
        fi
        sh -c "$start" &
        for _ in $(seq "$attempts"); do
            if timeout 5 sh -c "$check"; then
                # It may be about to give up.
                sleep 1
                kill -0 $! && exit 0
                exit 1
            fi
            sleep 0.2
        done
        exit 1' sh "$root" "$bounding" "$2" "$3" "$4" > /dev/null 2>&1 < /dev/null
}

one() { # LINE
    local name options check command caps verified="" cap
    # Escaped bars are part of a command.
    IFS='|' read -r name options check command <<< "${1//\\|/$'\x01'}"
    name=$(echo $name) check=$(echo "${check//$'\x01'/|}" | sed 's/^ *//; s/ *$//')
    command=$(echo "${command//$'\x01'/|}" | sed 's/^ *//')
    local json="$directory/out/${name//[ \/]/_}.json"
    local arguments=(--json --settle 1s)
    case $options in *--timeout*) ;; *) arguments+=(--timeout 12s) ;; esac
    [ -z "$check" ] || arguments+=(--check "$check")
    # shellcheck disable=SC2086 # they are several words
    if ! inside sh -c 'cd /work; exec timeout -k 20 900 /rcap minimize "$@"' sh "${arguments[@]}" $options \
        -- sh -c "exec $command" > "$json" 2> "$json.err" < /dev/null; then
        printf '%-14s FAILED: %s\n' "$name" "$(tail -n 1 "$json.err")"
        return
    fi
    read -r caps tolerated changes seconds < <(python3 -c '
import json, sys
found = json.load(open(sys.argv[1]))
def named(verdict):
    return ",".join(v["cap"] for v in found["verdicts"] if v["verdict"] == verdict) or "-"
runs = found["runs"]
print(",".join(found["minimum"]) or "-", named("tolerated"), named("changes-result"),
      "%d/%.0fs" % (len(runs), sum(run["seconds"] for run in runs)))' "$json")
    caps=${caps#-}
    if with_exactly "$caps" "$check" "$command" 40; then verified="passes"; else verified="FAILS"; fi
    for cap in ${caps//,/ }; do
        case ",$changes," in *",$cap,"*) continue ;; esac
        local rest
        rest=$(echo "$caps" | tr , '\n' | grep -vx "$cap" | paste -sd, || true)
        if with_exactly "$rest" "$check" "$command" 10; then verified="$verified; PASSES without $cap"; fi
    done
    printf '%-14s %-60s tolerated %s; changes the result %s; %s runs; %s\n' \
        "$name" "${caps:-none}" "$tolerated" "$changes" "$seconds" "$verified"
}

[ -d "$root/usr/bin" ] || make_root
[ -e "$directory/prepared" ] || prepare
cp "$rcap" "$root/rcap"
mkdir -p "$directory/out"
shift || true
export -f one inside with_exactly
export directory root
grep -v '^#' programs/list | while IFS= read -r line; do
    name=$(echo "${line%%|*}" | sed 's/ *$//')
    if [ $# -eq 0 ] || printf '%s\n' "$@" | grep -qxF -- "$name"; then printf '%s\0' "$line"; fi
done | xargs -0 -P "$jobs" -I '{}' bash -c 'one "$1"' bash '{}'

#!/usr/bin/env bash
# Minimizes or hardens services of Debian's packages beside systemd, writes each drop-in file, and
# removes it; or runs them as another user without capabilities, and pastes the printed lines.
#
#     tests/services.sh [minimize | harden | rootless] [SERVICE...]
#
# RCAP_SERVICES is the root directory of a Debian that has the packages below; without it,
# debootstrap creates one of RCAP_SUITE [default: bookworm] in Cargo's target directory. The directory is only read: the services run
# in an overlay of it, in a tmpfs, in namespaces that end with them. They have no network. The table
# has what was found, whether the service works with the written file and nothing else, and whether
# it is as before in the end. This script needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
packages="systemd nginx-light chrony redis-server redis-tools postgresql cron rsyslog unbound"
packages="$packages python3 curl iproute2 logrotate procps dns-root-data"
# A service, its unit, and the check.
services='nginx      nginx                curl -fs localhost
chrony     chrony               chronyc -n tracking
redis      redis-server         redis-cli ping | grep PONG
postgres   postgresql@*-main    su postgres -c "psql -c \"select 1\""
cron       cron                 test -e /run/rcap/root && test -e /run/rcap/daemon
rsyslog    rsyslog              m=$RANDOM$$; echo "<13>rcap: x$m" > /dev/udp/127.0.0.1/514; sleep 0.5; grep x$m /var/log/syslog
unbound    unbound              unbound-control status && bash -c "exec 3<> /dev/tcp/127.0.0.1/53"
python     web                  curl -fs localhost:81'

say() { echo "services: $*" >&2; }

make_root() {
    local root=$1
    say "creating $root"
    unshare -m bash "$PWD/tests/services.sh" --install "$suite" "$root" >"$root.log" 2>&1 ||
        { tail "$root.log" >&2 && exit 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}

# In a mount namespace: installs a Debian, without starting its services.
install() {
    local suite=$1 root=$2
    debootstrap --variant=minbase "$suite" "$root" http://deb.debian.org/debian
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    mount -t proc proc "$root/proc"
    # shellcheck disable=SC2086 # the packages are separate words
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -qq --no-install-recommends $packages
    rm "$root/usr/sbin/policy-rc.d"
}

# In namespaces of its own: becomes the system manager in an overlay of the root directory.
boot() {
    local root=$1 at=$2 rcap=$3 name
    mount -t tmpfs tmpfs "$at"
    mkdir "$at"/{upper,work,root}
    mount -t overlay -o "lowerdir=$root,upperdir=$at/upper,workdir=$at/work" overlay "$at/root"
    at=$at/root
    mount -t proc proc "$at/proc"
    mount -t sysfs -o ro sysfs "$at/sys"
    mount -t cgroup2 none "$at/sys/fs/cgroup"
    for name in run dev tmp; do mount -t tmpfs -o mode=755 tmpfs "$at/$name"; done
    mkdir "$at"/dev/{shm,pts}
    chmod 1777 "$at/dev/shm" "$at/tmp"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$at/dev/pts"
    for name in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$at/dev/${name%:*}" c 1 "${name#*:}"
    done
    ln -s /proc/self/fd "$at/dev/fd"
    ln -s pts/ptmx "$at/dev/ptmx"
    cp "$rcap" "$at/usr/bin/rcap"
    # Nothing that would change the machine.
    for name in systemd-{sysctl,modules-load,udevd,udev-trigger,remount-fs,binfmt,random-seed,timesyncd,networkd} \
        systemd-udevd-{kernel,control} kmod-static-nodes; do
        for kind in service socket; do ln -sf /dev/null "$at/etc/systemd/system/$name.$kind"; done
    done
    for name in proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount \
        sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
        sys-fs-fuse-connections.mount; do
        ln -sf /dev/null "$at/etc/systemd/system/$name"
    done
    printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' \
        >"$at/etc/systemd/system/rcap.target"
    printf '[Service]\nExecStart=python3 -m http.server 81\nRuntimeDirectory=web\nWorkingDirectory=/run/web\n' \
        >"$at/etc/systemd/system/web.service"
    printf 'module(load="imudp")\ninput(type="imudp" port="514" address="127.0.0.1")\n' \
        >"$at/etc/rsyslog.d/rcap.conf"
    # Jobs that run when cron is started, as if the machine was.
    printf '@reboot %s touch /run/rcap/%s\n' root root daemon daemon >"$at/etc/cron.d/rcap"
    mkdir "$at/etc/systemd/system/cron.service.d"
    printf '[Service]\nExecStartPre=+sh -c "rm -rf /run/rcap /run/crond.reboot; mkdir -m 1777 /run/rcap"\n' \
        >"$at/etc/systemd/system/cron.service.d/check.conf"
    ip link set lo up
    # Not chroot(1), in which no user namespace can be created.
    cd "$at"
    mkdir machine
    pivot_root . machine
    umount -l /machine
    rmdir /machine
    exec /usr/bin/env -i container=rcap PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=rcap.target --show-status=no
}

# Runs a command on the machine, as if by hand.
on() {
    sh -c 'echo $$ > "$0/commands/cgroup.procs" && exec nsenter -t "$@"' \
        "$group" "$pid" -m -p -C -n -u -i -r -- env -C / "$@"
}

finish() {
    kill -9 "$manager" 2>/dev/null || true
    for _ in 1 2 3 4 5; do
        sleep 0.2
        find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
        [ -e "$group" ] || break
    done
    rmdir "$at"
}

measure() {
    local name=$1 unit=$2 check=$3 found state works='no' before after
    local file=$out/$name.$command
    # The version of PostgreSQL.
    [ "$name" != postgres ] || unit=${unit/\*/$(on ls /usr/lib/postgresql)}
    on systemctl start "$unit" 2>/dev/null || {
        say "$name does not start: $(on journalctl -u "$unit" -p warning -n 3 -o cat)"
        return
    }
    state=$(state "$unit")
    check="bash -c '${check//\'/\'\\\'\'}'"
    on rcap "$command" "${options[@]}" "$unit" --yes --write --settle 1s --check "$check" \
        >"$file" 2>"$file.err" || { say "$name: $(tail -n 1 "$file.err")"; }
    # By hand: a fresh start with the file, and the check.
    on systemctl restart "$unit" && sleep 2 && on sh -c "$check" >/dev/null 2>&1 && works='yes'
    on rcap "$command" "${options[@]}" "$unit" --yes --undo 2>/dev/null || true
    [ "$state" = "$(state "$unit")" ] && after=yes || after=no
    found=$(sed -n 's/^Minimum: //p; s/^Exposure: //p' "$file")
    printf '%-9s %-70s %-6s %-6s %s\n' "$name" "${found:-?}" "$works" "$after" \
        "$(sed -n 's/ runs.*//p' "$file" | tail -n 1)"
    sed -n '/: left out/s/^/    /p' "$file"
}

# Pastes the lines of `rcap minimize --rootless`, and restarts the service with nothing else.
rootless() {
    local name=$1 unit=$2 check=$3 works=no user=() found main
    local file=$out/$name.rootless
    [ "$name" != postgres ] || unit=${unit/\*/$(on ls /usr/lib/postgresql)}
    # These have no user but root.
    [[ " cron rsyslog python " != *" $name "* ]] || user=(--user daemon)
    check="bash -c '${check//\'/\'\\\'\'}'"
    on rcap minimize --rootless --unit "$unit" "${user[@]}" --json --yes --settle 1s --check "$check" \
        >"$file" 2>"$file.err" || true
    found=$(python3 - "$file" 2>/dev/null <<'END'
import json, sys
found = json.load(open(sys.argv[1]))
words = [change["words"] for change in found["changes"]]
print("; ".join(words) or "none", "" if found["works"] else "(does not work: %s)" % found["failure"])
END
    ) || { say "$name: $(tail -n 1 "$file.err")" && return; }
    [[ $found != *"(does not work"* ]] || { printf '%-9s %-6s %s\n' "$name" - "$found" && return; }
    python3 - "$file" >"$file.sh" <<'END'
import json, shlex, sys
found = json.load(open(sys.argv[1]))
print("\n".join(found["commands"]))
for key in ["unit", "tmpfiles"]:
    path, text = found[key]["path"], found[key]["text"]
    if text:
        print(f"mkdir -p $(dirname {shlex.quote(path)}); printf %s {shlex.quote(text)} > {shlex.quote(path)}")
        print(f"[ {key} != tmpfiles ] || systemd-tmpfiles --create {shlex.quote(path)}")
END
    on systemctl stop "$unit" 2>/dev/null || true
    on sh -e -c "$(cat "$file.sh")" && on systemctl daemon-reload &&
        on systemctl restart "$unit" 2>/dev/null && sleep 2 && on sh -c "$check" >/dev/null 2>&1 && works=yes
    main=$(on systemctl show --property MainPID --value "$unit")
    printf '%-9s %-6s %s\n' "$name" "$works" "$found"
    on grep -E '^(Uid|CapPrm|CapBnd|NoNewPrivs)' "/proc/$main/status" 2>/dev/null | paste -sd ' ' | sed 's/^/    /' || true
}

# Prints everything that rcap may change.
state() {
    on systemctl show "$1" | grep -E '^(ActiveState|DropInPaths|CapabilityBoundingSet|Protect|Private|Restrict|SystemCall|UMask|ReadWrite)'
}

case ${1-} in
    --install) shift && install "$@" && exit ;;
    --boot) shift && boot "$@" ;;
esac
command=minimize
options=(--unit)
case ${1-} in
    minimize | harden | rootless)
        command=$1
        [ "$1" = minimize ] || options=()
        shift
        ;;
esac
target=${CARGO_TARGET_DIR:-$PWD/target}
suite=${RCAP_SUITE:-bookworm}
root=${RCAP_SERVICES:-$target/tmp/services-$suite}
[ -e "$root/usr/sbin/nginx" ] || make_root "$root"
cargo build --locked -q --bin rcap
unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
group=$unified/rcap-services-$$
mkdir "$group" "$group/commands"
at=$(mktemp -d)
out=$target/services
mkdir -p "$out"
sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$group" \
    unshare -m -p -f --kill-child -u -i -C -n --propagation private \
    bash "$PWD/tests/services.sh" --boot "$root" "$at" "$target/debug/rcap" >"$out/log.$$" 2>&1 </dev/null &
manager=$!
trap finish EXIT
pid=
for _ in $(seq 100); do
    sleep 0.2
    pid=$(cat "/proc/$manager/task/$manager/children") && pid=${pid%% *}
    [ -n "$pid" ] && on systemctl is-active -q rcap.target 2>/dev/null && break
done
one=measure
case $command in
    minimize) printf '%-9s %-70s %-6s %-6s %s\n' SERVICE MINIMUM WORKS BEFORE RUNS ;;
    harden) printf '%-9s %-70s %-6s %-6s %s\n' SERVICE EXPOSURE WORKS BEFORE RUNS ;;
    rootless)
        printf '%-9s %-6s %s\n' SERVICE WORKS CHANGES
        one=rootless
        ;;
esac
while read -r name unit check; do
    if [ $# = 0 ] || [[ " $* " == *" $name "* ]]; then $one "$name" "$unit" "$check" </dev/null; fi
done <<<"$services"
for file in run/systemd/system run/systemd/transient; do
    left=$(on ls "/$file" 2>/dev/null || true)
    [ -z "$left" ] || say "/$file: $left"
done
on systemctl list-units --all --plain --no-legend 'rcap*' | grep -v '^rcap.target' >&2 || true

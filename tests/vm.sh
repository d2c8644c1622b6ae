#!/usr/bin/env bash
# Runs a command as root in an emulated machine, with a Debian kernel and a minimal Debian of this
# machine's release, and exits with the command's status.
#
#     tests/vm.sh SUITE COMMAND [ARG...]
#
# SUITE selects the kernel: bookworm (6.1), trixie (6.12) or trixie-backports. The repository, the
# programs and the tests have the same paths as on this machine. The command starts in the
# repository, without a network, and TARGET is Cargo's target directory. Changes are lost. Kernels
# and the root file system are cached in target/vm. This script needs root and the packages that
# .ci/run installs. RCAP_VM_LIMIT is the time limit in seconds, and RCAP_VM_PARAMETERS are
# additional parameters of the kernel.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=${1-}
case $suite in
bookworm | trixie | trixie-backports) shift ;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
repository=$PWD
target=$(cargo metadata --locked --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
work=$target/vm
mkdir -p "$work"

# The programs that the tests name.
packages=netcat-openbsd,iputils-ping,tcpdump,runc,crun,busybox-static,util-linux,bsdutils,mount
packages=$packages,iproute2,libcap2-bin,python3-minimal,apparmor,checkpolicy
# shellcheck disable=SC1091 # every system has this file
release=$(. /etc/os-release && echo "$VERSION_CODENAME")

say() { echo "vm: $*" >&2; }

# Downloads and unpacks the newest kernel of a suite, without the machine's own package sources.
fetch_kernel() {
    local apt=$work/apt-$suite new=$kernel.new package
    mkdir -p "$apt"/{lists,cache/archives}/partial
    rm -rf "$new"
    mkdir "$new"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian $suite main" >"$apt/sources.list"
    cat >"$apt/conf" <<END
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
END
    export APT_CONFIG=$apt/conf
    apt-get update -qq
    depends() { apt-cache depends "$1" | awk -v name="^linux-($2)-[0-9]" '/ Depends:/ && $2 ~ name {print $2}'; }
    local image
    image=$(depends linux-image-cloud-amd64 image)
    # Newer releases have separate packages for the kernel and its modules.
    for package in $image $(depends "$image" "base|binary|modules"); do
        (cd "$apt" && apt-get download -qq "$package")
        dpkg-deb -x "$apt/$package"_*.deb "$new"
        rm "$apt/$package"_*.deb
    done
    unset APT_CONFIG
    # Every kernel gets the same layout: `vmlinuz`, and `modules` with a link to itself for depmod.
    find "$new" -name 'vmlinuz*' -type f -exec mv {} "$new/vmlinuz" \;
    find "$new" -path '*/lib/modules' -prune -exec mv {} "$new/modules" \;
    rm -rf "${new:?}"/{usr,lib,boot}
    mkdir "$new/lib"
    ln -s ../modules "$new/lib/modules"
    busybox depmod -b "$new" "$(ls "$new/modules")"
    mv "$new" "$kernel"
}

# Lists the modules for a root file system on a virtual disk, each after its dependencies.
modules_of_root() {
    python3 - "$kernel"/modules/*/modules.dep <<'END'
import os, sys
path = sys.argv[1]
needs = dict(line.split(":", 1) for line in open(path))
files = {os.path.basename(file).split(".")[0].replace("-", "_"): file for file in needs}
def show(file, shown):
    for other in needs[file].split():
        show(other, shown)
    if file not in shown:
        shown.append(file)
shown = []
# Built-in modules have no file.
for name in ["crc32c_generic", "virtio_pci", "virtio_blk", "ext4"]:
    if name in files:
        show(files[name], shown)
print(*(os.path.join(os.path.dirname(path), file) for file in shown), sep="\n")
END
}

make_initramfs() {
    local tree=$1 name file count=100
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,dev,proc,root,modules}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    modules_of_root | while read -r file; do
        name=$tree/modules/$((count++)).ko
        case $file in
        *.xz) xz -dc "$file" >"$name" ;;
        *) cp "$file" "$name" ;;
        esac
    done
    cat >"$tree/init" <<'END'
#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $busybox insmod "$module"; done
$busybox mount -t ext4 /dev/vda /root
$busybox mount -t ext4 /dev/vdb /root/vm
$busybox mount -o move /dev /root/dev
exec $busybox switch_root /root /vm/init
END
    chmod +x "$tree/init"
    (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1)
}

# Creates an image of a directory, without mounting it.
make_image() {
    rm -f "$2"
    mke2fs -q -F -t ext4 -d "$1" "$2" "$3" >/dev/null
}

make_root() {
    local tree=$work/root.new
    rm -rf --one-file-system "$tree"
    # Mounts disappear with the mount namespace.
    unshare -m debootstrap --variant=minbase --include="$packages" "$release" "$tree" \
        >"$work/debootstrap.log" || { tail "$work/debootstrap.log" >&2 && exit 1; }
    rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/*
    mkdir "$tree/vm"
    make_image "$tree" "$root.new" 3G
    mv "$root.new" "$root"
    rm -rf --one-file-system "$tree"
}

# The repository, the programs, the tests, the modules and the command.
make_work() {
    local tree=$work/tree file
    rm -rf "$tree"
    mkdir -p "$tree/files$repository" "$tree/files$target/tmp"
    tar -c --exclude=./target --exclude=./.git . | tar -x -C "$tree/files$repository"
    cargo test --locked --no-run --message-format=json 2>"$work/cargo.log" |
        python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"):
        print(message["executable"])' >"$work/executables" || { cat "$work/cargo.log" >&2 && exit 1; }
    while read -r file; do
        mkdir -p "$tree/files$(dirname "$file")"
        strip -o "$tree/files$file" "$file"
    done <"$work/executables"
    mkdir "$tree/modules"
    cp -a "$kernel"/modules/* "$tree/modules/"
    {
        printf 'export repository=%q TARGET=%q\n' "$repository" "$target"
        cat <<'END'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm "$repository" /lib/modules
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
for at in /dev/shm /run; do mount -t tmpfs tmpfs $at; done
mount -t cgroup2 cgroup /sys/fs/cgroup
mount --bind /vm/modules /lib/modules
ln -sf /bin/busybox /sbin/modprobe
mount --bind "/vm/files$repository" "$repository"
mkdir -p "$TARGET"
mount --bind "/vm/files$TARGET" "$TARGET"
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
ip link set lo up
cd "$repository"
printf '\nvm: begins on %s\n' "$(uname -sr)"
END
        printf '%q ' "$@"
        printf '</dev/null\necho "vm: ends with $?"\nsync\nbusybox poweroff -f\n'
    } >"$tree/script"
    printf '#!/bin/sh\nexec bash /vm/script </dev/console >/dev/console 2>&1\n' >"$tree/init"
    chmod +x "$tree/init"
    make_image "$tree" "$work/$suite.image" 2G
}

boot() {
    local log=$work/$suite.log
    : >"$log"
    # Both processors share one thread. With two, QEMU may execute an instruction that the kernel
    # has just patched, which crashes the kernel. A kernel that oopses exits.
    timeout "${RCAP_VM_LIMIT:-1500}" qemu-system-x86_64 -M pc -accel tcg,thread=single -cpu max,la57=off \
        -m 2048 -smp 2 -nographic -no-reboot -nodefaults -serial "file:$log" \
        -kernel "$kernel/vmlinuz" -initrd "$work/$suite.initramfs" \
        -drive "file=$root,if=virtio,format=raw,snapshot=on" \
        -drive "file=$work/$suite.image,if=virtio,format=raw,snapshot=on" \
        -append "console=ttyS0 panic=-1 oops=panic quiet mitigations=off ${RCAP_VM_PARAMETERS-}" </dev/null &
    qemu=$!
    trap 'kill "$qemu" 2>/dev/null || true' EXIT
    # An emulated machine occasionally hangs while it boots.
    while kill -0 "$qemu" 2>/dev/null; do
        sleep 1
        if grep -q '^vm: begins' "$log"; then break; fi
        if ((SECONDS > begun + 300)); then kill "$qemu"; fi
    done &
    tail -n +1 -f --pid="$qemu" "$log" | sed -u 's/\r$//; s/\x1b\[[?0-9]*[a-zA-Z]//g; s/\x1bc//'
    wait || true
    trap - EXIT
}

kernel=$work/kernel-$suite
root=$work/root-$(echo "$release $packages" | sha256sum | head -c 12).image
if [ ! -d "$kernel" ]; then
    say "downloading the kernel of $suite"
    fetch_kernel
fi
if [ ! -f "$root" ]; then
    say "making a root file system of $release"
    make_root
fi
make_initramfs "$work/initramfs.tree" >"$work/$suite.initramfs"
say "building the tests"
make_work "$@"
say "booting"
for attempt in 1 2; do
    begun=$SECONDS
    boot
    if grep -q '^vm: begins' "$work/$suite.log"; then break; fi
    say "it did not boot (attempt $attempt)"
done
say "$((SECONDS - begun)) seconds"
status=$(tr -d '\r' <"$work/$suite.log" | sed -n 's/^vm: ends with //p')
if [ -z "$status" ]; then
    say "the machine ended before the command"
    status=1
fi
exit "$status"

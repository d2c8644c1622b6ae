#!/usr/bin/env bash
# Tracing by probes, on Debian's kernels 6.1 and 6.12, which lack the tracepoint: each is booted in
# QEMU with a static rcap and busybox, and what rcap says there is compared with what is known.
#
#     tests/kernels.sh [DIRECTORY]
#
# Kernels and builds are kept in DIRECTORY (target/kernels), so that a second run takes a minute.
# It needs apt-get, dpkg-deb, qemu-system-x86_64, busybox (static), cpio and cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-target/kernels}")
mkdir -p "$work"

echo "== a static rcap"
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --quiet --release \
    --target x86_64-unknown-linux-gnu --target-dir "$work/target" --bin rcap --example events
built=$work/target/x86_64-unknown-linux-gnu/release

root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,dev,proc,sys,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$built/rcap" "$built/examples/events" "$root/bin/"
for name in sh mount chown ping true cat sleep kill nc timeout ip poweroff mkdir touch ls grep; do
    ln -s busybox "$root/bin/$name"
done

# What is printed between "case" and "end" is compared with what stands here in quotes. The answers
# are sets of candidates, of what was missing, or minima.
cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
ip link set lo up
cd /tmp
touch f
export PATH=/bin
field() { grep -o "\"$1\":[^]]*]" | tr -d '"[]'; }
echo
case_() { echo "case $1: $2"; }
trace() { rcap trace --json "$@" 2>/dev/null | head -n 1; }
case_ backend "$(rcap trace --check | grep ^recording | grep -o 'yes: .*by the [a-z]*' | tr -d '0-9')"
case_ true "$(trace true | field candidates)"
case_ chown "$(trace chown 5 f | field candidates)"
case_ ping "$(trace ping -c 1 127.0.0.1 | field candidates)"
case_ bind "$(trace timeout 1 nc -l -p 80 | field candidates)"
case_ refused "$(trace rcap capsh --drop=cap_chown --shell=/bin/sh -- -c 'chown 6 f' | field missing)"
case_ child "$(trace sh -c '(sleep 0.2; chown 7 f) &' | field candidates)"
case_ minimum "$(rcap minimize --json -- sh -c 'chown 8 f && ping -c 1 127.0.0.1' | field minimum)"
case_ nothing "$(rcap minimize --json -- true | field minimum)"
(sleep 1; chown 9 f) &
case_ attached "$(trace --pid $! | field candidates)"
rcap trace sleep 100 2>/dev/null &
sleep 1
kill -9 $!
trace true >/dev/null
mkdir -p t
mount -t tracefs t t
case_ left "$(cat t/kprobe_events; ls t/instances)"
echo recording
events sh -c 'chown 10 f; ping -c 1 127.0.0.1 >/dev/null; rcap capsh --drop=cap_chown --shell=/bin/sh -- -c "chown 6 f" 2>/dev/null'
echo end
poweroff -f
INIT
for name in head tr; do ln -s busybox "$root/bin/$name"; done
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"

want="case backend: yes:  check, by the kprobe
case true: candidates:
case chown: candidates:cap_chown
case ping: candidates:cap_net_raw
case bind: candidates:cap_net_bind_service
case refused: missing:cap_chown
case child: candidates:cap_chown
case minimum: minimum:cap_chown,cap_net_raw
case nothing: minimum:
case attached: candidates:cap_chown
case left: "

boot() {
    timeout 90 qemu-system-x86_64 -M pc -accel tcg,thread=multi -m 512 -smp 1 -nographic -no-reboot \
        -nodefaults -serial stdio -kernel "$1" -initrd "$work/initramfs.gz" \
        -append "console=ttyS0 panic=-1 quiet" </dev/null | tr -d '\r'
}

status=0
for name in linux-image-cloud-amd64 linux-image-6.12-cloud-amd64; do
    package=$(apt-cache depends "$name" | awk '/Depends: linux-image/ {print $2; exit}')
    kernel=$work/$package
    if [ ! -d "$kernel" ]; then
        (cd "$work" && apt-get download -qq 2>/dev/null "$package" && dpkg-deb -x "$package"_*.deb "$kernel" && rm "$package"_*.deb)
    fi
    vmlinuz=$(echo "$kernel"/boot/vmlinuz-*)
    echo "== $(basename "$vmlinuz")"
    # An emulated machine hangs now and then.
    boot "$vmlinuz" >"$work/output" || boot "$vmlinuz" >"$work/output" || true
    sed -n '/^recording$/,/^end$/p' "$work/output" | sed '1d;$d' >"$kernel.events"
    got=$(grep '^case ' "$work/output" || true)
    if [ "$got" = "$want" ]; then
        echo "as it should be, and $(wc -l <"$kernel.events") events recorded"
    else
        diff <(echo "$want") <(echo "$got") || true
        tail -n 20 "$work/output"
        status=1
    fi
done
exit $status

#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian packages in a new Debian, before and after
# libcap2-bin. It needs root, debootstrap, and Debian's packages.
#
#     tests/deb.sh [DIRECTORY]     the directory of the packages [default: target/release-files]
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1-}" != --inside ]; then
    debs=$(realpath "${1:-target/release-files}")
    # The new Debian is on a tmpfs that ends with the namespace.
    exec unshare --mount --pid --fork --kill-child --propagation private "$0" --inside "$debs"
fi
debs=$2
root=/mnt
mount -t tmpfs -o mode=0755,size=1g tmpfs $root
debootstrap --variant=minbase bookworm $root >/dev/null
mount -t proc proc $root/proc
cp /etc/resolv.conf $root/etc/
mkdir $root/debs
cp "$debs"/*.deb $root/debs/
# An upgrade has another version.
for deb in rcap rcap-libcap-tools; do
    dpkg-deb -R "$debs/${deb}"_*.deb "$root/debs/$deb"
    sed -i 's/^Version: .*/&+next/' "$root/debs/$deb/DEBIAN/control"
    dpkg-deb -b "$root/debs/$deb" "$root/debs/next-$deb.deb" >/dev/null
    rm -r "$root/debs/$deb"
done

inside() { chroot $root env -i PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive "$@"; }
quietly() { inside "$@" >$root/log 2>&1 || { cat $root/log; exit 1; }; }
is() { # the file of a command after all links, as it should be
    local file
    file=$(inside readlink -f "$(inside sh -c "command -v $1")")
    [ "$file" = "$2" ] || { echo "$1 is $file, not $2"; exit 1; }
}
step() { printf '== %s\n' "$*"; }

step "Both packages, without libcap2-bin"
quietly sh -c 'dpkg -i debs/rcap_*.deb debs/rcap-libcap-tools_*.deb'
for tool in getcap setcap getpcaps capsh captree; do is $tool /usr/bin/rcap; done
inside rcap --version
inside sh -c 'cp bin/true f && setcap cap_net_raw+ep f && getcap f' | grep -qx 'f cap_net_raw=ep'
inside rcap run --user nobody -- id -u | grep -qx 65534
inside rcap run --user nobody --cap-add net_raw -- capsh --current | grep -q '^Current: cap_net_raw=eip'
inside rcap why --from 'docker run --cap-drop ALL' ./f >$root/log || true
grep -q 'execve(2) fails, Operation not permitted' $root/log
# minbase leaves out documentation, so the pages come from the package.
dpkg-deb -c $root/debs/rcap_*.deb >$root/log
for file in man/man1/rcap-run.1.gz man/man8/rcap-getcap.8.gz bash-completion/completions/rcap \
    zsh/vendor-completions/_rcap fish/vendor_completions.d/rcap.fish; do
    grep -q "/usr/share/$file$" $root/log || { echo "no $file"; exit 1; }
done

step "libcap2-bin beside them"
quietly sh -c 'apt-get update && apt-get install -y --no-install-recommends libcap2-bin'
is getcap /usr/bin/rcap
inside getcap.libcap f | grep -qx 'f cap_net_raw=ep'
quietly update-alternatives --set getcap /usr/sbin/getcap.libcap
is getcap /usr/sbin/getcap.libcap

step "An upgrade keeps the choice"
quietly sh -c 'dpkg -i debs/next-*.deb'
is getcap /usr/sbin/getcap.libcap
is setcap /usr/bin/rcap
quietly update-alternatives --auto getcap
is getcap /usr/bin/rcap

step "Removal gives libcap's programs back"
quietly dpkg --remove rcap-libcap-tools
is getcap /usr/sbin/getcap
quietly dpkg --purge rcap-libcap-tools
inside dpkg --verify libcap2-bin
[ -z "$(inside dpkg-divert --list '*rcap*')" ]

step "Both packages, with libcap2-bin"
quietly sh -c 'dpkg -i debs/rcap-libcap-tools_*.deb'
for tool in getcap setcap getpcaps capsh captree; do is $tool /usr/bin/rcap; done
quietly dpkg --purge rcap-libcap-tools rcap
is capsh /usr/sbin/capsh
inside dpkg --verify libcap2-bin

step "Nothing is left"
rm -r $root/debs
left=$(find $root -xdev \( -name '*rcap*' -o -name '*.libcap' \) -not -path "$root/proc/*")
[ -z "$left" ] || { echo "$left"; exit 1; }

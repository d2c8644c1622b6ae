//! Common tasks, and the capabilities they need.

use super::suggest::{Sysctl, Task};
use crate::Cap;

const fn task(
    what: &'static str,
    words: &'static str,
    caps: &'static [Cap],
    because: &'static str,
    sysctl: Option<&'static Sysctl>,
) -> Task {
    Task { what, words, caps, because, sysctl }
}

const PORTS: Sysctl = Sysctl {
    name: "net.ipv4.ip_unprivileged_port_start",
    frees: |value| value.trim().parse() == Ok(0_u16),
    free: "no port takes a capability",
};
const PING: Sysctl = Sysctl {
    name: "net.ipv4.ping_group_range",
    frees: |value| {
        let mut ids = value.split_whitespace().map(|id| id.parse::<u32>().ok());
        matches!((ids.next(), ids.next()), (Some(Some(first)), Some(Some(last))) if first <= last)
    },
    free: "groups in the range ping without a capability",
};
const DMESG: Sysctl = Sysctl {
    name: "kernel.dmesg_restrict",
    frees: |value| value.trim() == "0",
    free: "every user may read the log",
};
const PERF: Sysctl = Sysctl {
    name: "kernel.perf_event_paranoid",
    frees: |value| value.trim().parse::<i32>().is_ok_and(|level| level <= 1),
    free: "every user may measure their own processes",
};
const YAMA: Sysctl = Sysctl {
    name: "kernel.yama.ptrace_scope",
    frees: |value| value.trim() == "0",
    free: "processes of the same user may be traced without a capability",
};
const KPTR: Sysctl = Sysctl {
    name: "kernel.kptr_restrict",
    frees: |value| value.trim() == "0",
    free: "addresses are not hidden",
};
const BPF: Sysctl = Sysctl {
    name: "kernel.unprivileged_bpf_disabled",
    frees: |value| value.trim() == "0",
    free: "every user may load socket filters",
};
const USERNS: Sysctl = Sysctl {
    name: "user.max_user_namespaces",
    frees: |value| value.trim().parse::<u64>().is_ok_and(|count| count > 0),
    free: "a user namespace grants it over its own resources (unshare -r)",
};

/// Each task in words, its additional search terms, its capabilities, most likely first, and the
/// reason. The facts are those of the other tables.
#[rustfmt::skip]
pub(super) const TASKS: &[Task] = &[
    task("bind a port below 1024", "listen open serve web server http https tcp udp socket privileged low port 80 443 53 25 22 21 123 514 nginx apache caddy haproxy netcat nc dns smtp node java python express eacces",
        &[Cap::NET_BIND_SERVICE], "ports below a limit are privileged", Some(&PORTS)),
    task("ping a host", "icmp echo traceroute mtr fping socket", &[Cap::NET_RAW], "a raw socket, unless unprivileged sockets are allowed", Some(&PING)),
    task("capture packets on a network", "sniff tcpdump wireshark dumpcap tshark pcap traffic interface packet monitor promiscuous",
        &[Cap::NET_RAW, Cap::NET_ADMIN], "packet sockets; promiscuous mode needs the second", None),
    task("open a raw socket", "packet af_packet sock_raw arping nmap scan syn spoof dhcp client craft scapy", &[Cap::NET_RAW], "raw and packet sockets", None),
    task("bind a socket to a device", "so_bindtodevice interface vrf", &[Cap::NET_RAW], "needed to rebind a bound socket", None),
    task("set up a VPN interface", "tun tap openvpn wireguard wg tunnel create device tailscale", &[Cap::NET_ADMIN], "creating and configuring an interface", None),
    task("change routes and addresses", "route routing ip address link interface up down network configure ifconfig ethernet mtu bridge vlan veth bond gateway", &[Cap::NET_ADMIN], "configuration of the network", None),
    task("change the firewall", "iptables nftables nft nat rule ufw ipset masquerade filter", &[Cap::NET_ADMIN], "rules of the network namespace", None),
    task("shape traffic", "tc qdisc bandwidth netem delay latency limit", &[Cap::NET_ADMIN], "traffic control", None),
    task("force socket buffer sizes or marks", "so_mark so_rcvbufforce so_sndbufforce rcvbuf sndbuf mark fwmark", &[Cap::NET_ADMIN], "socket options for privileged users", None),
    task("run a transparent proxy", "tproxy ip_transparent intercept", &[Cap::NET_ADMIN, Cap::NET_RAW], "IP_TRANSPARENT needs either", None),
    task("set up Bluetooth or Wi-Fi", "bluetooth bluez hci wifi wireless wlan hostapd scan ble adapter", &[Cap::NET_ADMIN, Cap::NET_RAW], "configuring an adapter, and raw sockets to it", None),
    task("read a file of another user", "read cat open view other user's files shadow log logs home directory list search backup unreadable bypass", &[Cap::DAC_READ_SEARCH, Cap::DAC_OVERRIDE], "bypasses the permission bits for reading", None),
    task("write a file of another user", "write edit modify change append overwrite other user's file owned by someone root etc config mode read-only bits", &[Cap::DAC_OVERRIDE], "bypasses the permission bits", None),
    task("remove a file from a directory of another user", "delete remove unlink rm rename move mv file directory owned by someone else folder create new in not own", &[Cap::DAC_OVERRIDE, Cap::FOWNER], "removing a file writes to its directory", None),
    task("remove a file in a sticky directory", "delete rm unlink tmp sticky bit", &[Cap::FOWNER], "in a directory such as /tmp, only the owner may", None),
    task("change the mode of a file that one does not own", "chmod permissions mode bits set another user's file acl setfacl attributes", &[Cap::FOWNER], "only the owner may", None),
    task("set the times of a file of another user", "touch utime mtime timestamp modification time noatime", &[Cap::FOWNER], "only the owner may", None),
    task("change the owner of a file", "chown chgrp give ownership group of files to another user", &[Cap::CHOWN], "only root may give a file away", None),
    task("keep set-user-ID bits on a file", "setuid bit setgid bit suid sgid keep preserve s-bit after write", &[Cap::FSETID], "writing and chown clear them", None),
    task("signal a process of another user", "kill pkill signal sigterm sighup send stop terminate process owned by someone else's killall", &[Cap::KILL], "only processes of the same user can be signalled", None),
    task("raise the priority of a process", "nice renice negative priority higher scheduling", &[Cap::SYS_NICE], "a higher priority than before", None),
    task("use realtime scheduling", "real-time rt sched_fifo sched_rr chrt audio jack pipewire latency scheduler deadline policy", &[Cap::SYS_NICE], "above RLIMIT_RTPRIO", None),
    task("pin processes of others to CPUs", "cpu affinity taskset numa move pages core isolate numactl mbind", &[Cap::SYS_NICE], "for other users' processes", None),
    task("lock memory", "mlock mlockall swap ram hugepages huge page pinned memlock vault prevent swapping secrets", &[Cap::IPC_LOCK], "above RLIMIT_MEMLOCK", None),
    task("use shared memory of another user", "system v sysv shm semaphore message queue ipc segment", &[Cap::IPC_OWNER], "bypasses their permission bits", None),
    task("raise resource limits", "ulimit rlimit setrlimit prlimit nofile open files nproc hard limit exceed number processes limits increase", &[Cap::SYS_RESOURCE], "above the hard limit", None),
    task("make a process safe from the OOM killer", "oom oom_score_adj out of memory lower score", &[Cap::SYS_RESOURCE], "a lower oom_score_adj", None),
    task("exceed disk quotas", "quota reserved blocks space full disk over", &[Cap::SYS_RESOURCE], "quotas and the space reserved for root", None),
    task("set disk quotas", "quotactl setquota edquota quotaon user quotas enable", &[Cap::SYS_ADMIN], "quotactl", None),
    task("set the clock", "date time ntp chrony ntpd hwclock settimeofday clock_settime system adjust adjtimex rtc timezone synchronize sync", &[Cap::SYS_TIME], "the system clock and the hardware clock", None),
    task("read the kernel log", "dmesg kmsg syslog klog kernel messages ring buffer printk", &[Cap::SYSLOG], "if it is restricted", Some(&DMESG)),
    task("see kernel addresses", "kallsyms kernel pointers symbols addresses kptr zero", &[Cap::SYSLOG], "if they are hidden", Some(&KPTR)),
    task("profile with perf", "perf perf_event perf_event_open performance counters profiling profile flamegraph record stat cpu sampling hardware events tracepoints", &[Cap::PERFMON], "kernel.perf_event_paranoid forbids it", Some(&PERF)),
    task("load an eBPF program", "bpf ebpf bpftool bpftrace bcc xdp maps load attach kprobe tracing cilium libbpf", &[Cap::BPF, Cap::PERFMON, Cap::NET_ADMIN], "tracing programs also need the second, network programs the third", Some(&BPF)),
    task("trace a process of another user", "strace gdb ptrace debug debugger attach inspect memory process_vm_readv lsof py-spy delve gpu cuda core dump gcore another's proc environ fd", &[Cap::SYS_PTRACE], "reading and stopping other users' processes", Some(&YAMA)),
    task("mount a file system", "mount umount unmount bind nfs cifs fuse fusermount sshfs overlay loop tmpfs disk usb remount s3fs", &[Cap::SYS_ADMIN], "mounts of the mount namespace", Some(&USERNS)),
    task("create or join namespaces", "unshare setns nsenter clone container sandbox bubblewrap bwrap network namespace netns pivot_root mount namespace docker in docker dind podman runc nested buildah chromium chrome", &[Cap::SYS_ADMIN], "every namespace but the user's", Some(&USERNS)),
    task("set the hostname", "hostname sethostname domainname rename machine", &[Cap::SYS_ADMIN], "the hostname of the UTS namespace", Some(&USERNS)),
    task("switch swap on or off", "swap swapon swapoff swapfile partition", &[Cap::SYS_ADMIN], "swapon and swapoff", None),
    task("install a seccomp filter", "seccomp filter syscall without no-new-privs", &[Cap::SYS_ADMIN], "not needed with no-new-privs", None),
    task("watch a whole file system with fanotify", "fanotify antivirus monitor file access events mount mark", &[Cap::SYS_ADMIN], "permission events and marks of mounts", None),
    task("load a kernel module", "insmod modprobe rmmod module driver load unload kernel dkms ko", &[Cap::SYS_MODULE], "code in the kernel", None),
    task("reboot or load another kernel", "reboot shutdown poweroff halt restart machine kexec power off", &[Cap::SYS_BOOT], "reboot and kexec_load", None),
    task("create a device file", "mknod device node block character special dev null create", &[Cap::MKNOD], "block and character devices", None),
    task("change the root directory", "chroot jail root directory sftp", &[Cap::SYS_CHROOT], "chroot", Some(&USERNS)),
    task("make a file immutable", "chattr immutable append-only +i +a lsattr flag attribute undeletable", &[Cap::LINUX_IMMUTABLE], "inode flags that bind even root", None),
    task("give a file capabilities", "setcap file capabilities security.capability xattr set", &[Cap::SETFCAP], "writing security.capability", None),
    task("drop capabilities from the bounding set", "bounding set drop securebits inheritable capset capsh prctl", &[Cap::SETPCAP], "the bounding set, securebits and new inheritable capabilities", None),
    task("become another user", "setuid setresuid switch user change uid drop privileges run as impersonate gosu su sudo user id", &[Cap::SETUID, Cap::SETGID], "change the groups before the user", None),
    task("change groups", "setgid setgroups initgroups supplementary group newgrp sg gid primary group", &[Cap::SETGID], "groups the user is not in", None),
    task("map ids into a user namespace", "newuidmap newgidmap subuid uid_map gid_map rootless map", &[Cap::SETUID, Cap::SETGID], "IDs other than the user's own", None),
    task("install packages", "apt apt-get dpkg yum dnf update install package packages container debian ubuntu", &[Cap::SETUID, Cap::SETGID, Cap::CHOWN, Cap::DAC_OVERRIDE, Cap::FOWNER], "apt runs as the user _apt, and changes file owners", None),
    task("log users in", "login sshd ssh server pam session audit log write su cron records openssh daemon", &[Cap::AUDIT_WRITE, Cap::SETUID, Cap::SETGID, Cap::SYS_CHROOT], "records for the audit log; becoming the user", None),
    task("configure the audit", "auditctl auditd audit rules loginuid enable", &[Cap::AUDIT_CONTROL], "audit rules and state", None),
    task("read the audit log as it is written", "audit log multicast netlink read listen events", &[Cap::AUDIT_READ], "the multicast group of the audit log", None),
    task("reach hardware directly", "ioperm iopl dev/mem io ports port i/o raw disk hdparm smartctl dmidecode msr pci flash bios physical memory gpio scsi", &[Cap::SYS_RAWIO], "past the kernel", None),
    task("map memory at low addresses", "mmap_min_addr low memory wine dosemu vm86", &[Cap::SYS_RAWIO], "below vm.mmap_min_addr", None),
    task("configure or hang up a terminal", "vhangup tty console virtual loadkeys keyboard keymap terminal chvt", &[Cap::SYS_TTY_CONFIG], "other users' terminals", None),
    task("take a lease on a file", "lease f_setlease samba fcntl", &[Cap::LEASE], "other users' files", None),
    task("switch process accounting on", "acct accton accounting process", &[Cap::SYS_PACCT], "acct", None),
    task("wake the machine from suspend", "wake alarm suspend timer timerfd rtcwake resume sleep wakeup", &[Cap::WAKE_ALARM], "alarm clocks", None),
    task("keep the machine from suspending", "block suspend epollwakeup wakelock wake_lock prevent sleep inhibit", &[Cap::BLOCK_SUSPEND], "wake locks", None),
    task("checkpoint and restore processes", "criu checkpoint restore snapshot process migrate choose pid ns_last_pid", &[Cap::CHECKPOINT_RESTORE, Cap::SYS_PTRACE], "choosing IDs; the second for other users' processes", None),
    task("load a policy of AppArmor or Smack", "apparmor smack selinux policy profile label mac mandatory access control load apparmor_parser", &[Cap::MAC_ADMIN], "mandatory access control", None),
    task("override mandatory access control", "smack override ignore bypass rule", &[Cap::MAC_OVERRIDE], "only Smack checks for it", None),
    task("open a file by its handle", "open_by_handle_at handle nfs server ganesha name_to_handle export", &[Cap::DAC_READ_SEARCH], "bypasses the permissions of the directories in the path", None),
];

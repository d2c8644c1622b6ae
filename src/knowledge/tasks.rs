//! Common tasks, and the capabilities they need.

use super::suggest::{Answer, Sysctl, Task};
use crate::Cap;

const fn task(
    what: &'static str,
    words: &'static str,
    caps: &'static [Cap],
    because: &'static str,
    sysctl: Option<&'static Sysctl>,
) -> Task {
    Task {
        what,
        words,
        phrases: &[],
        answer: Answer::Capabilities,
        caps,
        because,
        instead: None,
        sysctl,
    }
}

/// Returns a task that needs no capability.
const fn free(
    what: &'static str,
    words: &'static str,
    because: &'static str,
    instead: Option<&'static str>,
) -> Task {
    let task = task(what, words, &[], because, None);
    Task { answer: Answer::NotNeeded, instead, ..task }
}

/// Returns a question that `rcap why` answers.
const fn why(what: &'static str, words: &'static str, because: &'static str) -> Task {
    Task { answer: Answer::Why, ..task(what, words, &[], because, None) }
}

impl Task {
    const fn phrases(self, phrases: &'static [&'static str]) -> Task {
        Task { phrases, ..self }
    }
}

pub(super) const PRIVILEGED_PORT: &str = "bind a port below 1024";
pub(super) const UNPRIVILEGED_PORT: &str = "bind a port from 1024 up";

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
const BPF: Sysctl = Sysctl {
    name: "kernel.unprivileged_bpf_disabled",
    frees: |value| value.trim() == "0",
    free: "every user may load socket filters",
};
const USERNS: Sysctl = Sysctl {
    name: "user.max_user_namespaces",
    frees: |value| value.trim().parse::<u64>().is_ok_and(|count| count > 0),
    free: "a user namespace grants it over its own resources (unshare -r), unless \
           kernel.apparmor_restrict_unprivileged_userns (Ubuntu) is 1 or \
           kernel.unprivileged_userns_clone (Debian) is 0",
};

/// Each task in words, its additional search terms, its capabilities, most likely first, and the
/// reason. The facts are those of the other tables.
#[rustfmt::skip]
pub(super) const TASKS: &[Task] = &[
    task(PRIVILEGED_PORT, "listen open serve web server http https tcp udp socket privileged low port 80 443 53 25 22 21 123 514 nginx apache caddy haproxy netcat nc dns smtp node java python express eacces ldap imap telnet ftp postfix named bind9",
        &[Cap::NET_BIND_SERVICE], "ports below a limit are privileged", Some(&PORTS))
        .phrases(&["make_sock: could not bind", "cannot bind socket", "privileged port", "could not bind to port", "low port", "listen eacces"]),
    task("ping a host", "icmp echo traceroute mtr fping socket ping6", &[Cap::NET_RAW], "a raw socket, unless unprivileged sockets are allowed", Some(&PING))
        .phrases(&["icmp open socket", "ping: socket", "ping: permission denied", "ping: operation not permitted"]),
    task("capture packets on a network", "sniff tcpdump wireshark dumpcap tshark pcap traffic interface packet monitor promiscuous capture",
        &[Cap::NET_RAW, Cap::NET_ADMIN], "packet sockets; promiscuous mode needs the second", None)
        .phrases(&["run dumpcap", "permission to capture", "don't have permission to perform this capture"]),
    task("open a raw socket", "packet af_packet sock_raw arping nmap scan syn spoof dhcp client craft scapy arp gratuitous -ss pf_packet", &[Cap::NET_RAW], "raw and packet sockets", None)
        .phrases(&["scan type which requires root", "raw socket", "gratuitous arp"]),
    task("bind a socket to a device", "so_bindtodevice interface vrf", &[Cap::NET_RAW], "needed to rebind a bound socket", None),
    task("set up a VPN interface", "tun tap openvpn wireguard wg tunnel create device tailscale tunnels ppp pptp strongswan ipsec", &[Cap::NET_ADMIN], "creating and configuring an interface", None)
        .phrases(&["tun/tap", "/dev/net/tun", "tunsetiff"]),
    task("change routes and addresses", "route routing ip address link interface up down network configure ifconfig ethernet mtu bridge vlan veth bond gateway dummy macvlan ethtool ip_forward sysctl vrrp virtual promiscuous keepalived ovs tso offload", &[Cap::NET_ADMIN], "configuration of the network", None)
        .phrases(&["rtnetlink answers", "siocsif", "siocadd", "siocdel", "sysctl*net."]),
    task("change the firewall", "iptables nftables nft nat rule ufw ipset masquerade filter ip6tables conntrack fail2ban firewalld nfqueue", &[Cap::NET_ADMIN], "rules of the network namespace", None)
        .phrases(&["(nf_tables)", "iptables: permission denied", "iptables*you must be root", "nft: operation not permitted", "could not fetch rule set"]),
    task("shape traffic", "tc qdisc bandwidth netem delay latency limit", &[Cap::NET_ADMIN], "traffic control", None),
    task("force socket buffer sizes or marks", "so_mark so_rcvbufforce so_sndbufforce rcvbuf sndbuf mark fwmark so_priority", &[Cap::NET_ADMIN, Cap::NET_RAW], "socket options for privileged users; for SO_MARK and SO_PRIORITY, either is enough since Linux 5.17", None),
    task("run a transparent proxy", "tproxy ip_transparent intercept", &[Cap::NET_ADMIN, Cap::NET_RAW], "IP_TRANSPARENT needs either", None),
    task("set up Bluetooth or Wi-Fi", "bluetooth bluez hci wifi wireless wlan hostapd scan ble adapter", &[Cap::NET_ADMIN, Cap::NET_RAW], "configuring an adapter, and raw sockets to it", None),
    task("read a file of another user", "read cat open view other user's files shadow log logs home directory list search backup unreadable bypass restic borg promtail fluentd filebeat tail collect index every", &[Cap::DAC_READ_SEARCH, Cap::DAC_OVERRIDE], "bypasses the permission bits for reading", None),
    task("write a file of another user", "write edit modify change append overwrite other user's file owned by someone root etc config mode read-only bits", &[Cap::DAC_OVERRIDE], "bypasses the permission bits", None),
    task("remove a file from a directory of another user", "delete remove unlink rm rename move mv file directory owned by someone else folder create new in not own", &[Cap::DAC_OVERRIDE, Cap::FOWNER], "removing a file writes to its directory", None)
        .phrases(&["rm: cannot remove", "cannot unlink"]),
    task("remove a file in a sticky directory", "delete rm unlink tmp sticky bit", &[Cap::FOWNER], "in a directory such as /tmp, only the owner may", None),
    task("change the mode of a file that one does not own", "chmod permissions mode bits set another user's file acl setfacl attributes", &[Cap::FOWNER], "only the owner may", None)
        .phrases(&["changing permissions of", "chmod: "]),
    task("set the times of a file of another user", "touch utime mtime timestamp modification time noatime", &[Cap::FOWNER], "only the owner may", None)
        .phrases(&["setting times of", "preserving times"]),
    task("change the owner of a file", "chown chgrp give ownership group of files to another user rsync -a preserve tar -xp extract lose loses owners lchown copy --chown", &[Cap::CHOWN], "only root may give a file away", None)
        .phrases(&[" chown", "changing ownership", "changing group of", "chown: ", "chown -r", "preserving ownership", "failed to preserve ownership", "owners"]),
    task("keep set-user-ID bits on a file", "setuid bit setgid bit suid sgid keep preserve s-bit after write", &[Cap::FSETID], "writing and chown clear them", None)
        .phrases(&["setgid bit", "setuid bit", "suid bit", "sgid bit", "set-group-id bit", "set-user-id bit"]),
    task("signal a process of another user", "kill pkill signal sigterm sighup send stop terminate process owned by someone else's killall sigkill watchdog", &[Cap::KILL], "only processes of the same user can be signalled", None)
        .phrases(&["kill: (", "kill: sending signal", "could not kill", "killing pid"]),
    task("raise the priority of a process", "nice renice negative priority higher scheduling setpriority", &[Cap::SYS_NICE], "a higher priority than before", None)
        .phrases(&["cannot set niceness", "setpriority", "renice: failed"]),
    task("use realtime scheduling", "real-time rt sched_fifo sched_rr chrt audio jack pipewire latency scheduler deadline policy ionice i/o class jackd rtkit sched_setattr", &[Cap::SYS_NICE], "above RLIMIT_RTPRIO", None)
        .phrases(&["sched_setscheduler", "sched_setattr", "real-time", "realtime", "failed to set pid", "ionice"]),
    task("pin processes of others to CPUs", "cpu affinity taskset numa move pages core isolate numactl mbind set_mempolicy migrate_pages", &[Cap::SYS_NICE], "for other users' processes", None)
        .phrases(&["move_pages", "mbind", "set_mempolicy", "migrate_pages"]),
    task("lock memory", "mlock mlockall swap ram hugepages huge page pinned memlock vault prevent swapping secrets elasticsearch opensearch memory_lock rdma ibv_reg_mr infiniband dpdk jvm locked gpg", &[Cap::IPC_LOCK], "above RLIMIT_MEMLOCK", None)
        .phrases(&["mlock", "memory_lock", "lock jvm memory", "memlock", "lock memory", "cannot lock"]),
    task("use shared memory of another user", "system v sysv shm semaphore message queue ipc segment", &[Cap::IPC_OWNER], "bypasses their permission bits", None),
    task("raise resource limits", "ulimit rlimit setrlimit prlimit nofile open files nproc hard limit exceed number processes limits increase rlimit_nproc rlimit_nofile rlimit_memlock", &[Cap::SYS_RESOURCE], "above the hard limit", None)
        .phrases(&["cannot modify limit", "setrlimit", "raise*hard limit", "above the hard limit", "failed to set rlimit", "hard limit"]),
    task("make a process safe from the OOM killer", "oom oom_score_adj out of memory lower score", &[Cap::SYS_RESOURCE], "a lower oom_score_adj", None)
        .phrases(&["oom_score_adj"]),
    task("exceed disk quotas", "quota reserved blocks space full disk over", &[Cap::SYS_RESOURCE], "quotas and the space reserved for root", None),
    task("set disk quotas", "quotactl setquota edquota quotaon user quotas enable", &[Cap::SYS_ADMIN], "quotactl", None),
    task("set the clock", "date time ntp chrony ntpd hwclock settimeofday clock_settime system adjust adjtimex rtc timezone synchronize sync timesyncd systemd-timesyncd ptp4l phc2sys linuxptp openntpd", &[Cap::SYS_TIME], "the system clock and the hardware clock", None)
        .phrases(&["cannot set date", "adjtime", "settimeofday", "clock_settime", "step the system clock"]),
    task("read the kernel log", "dmesg kmsg syslog klog kernel messages ring buffer printk", &[Cap::SYSLOG], "if it is restricted", Some(&DMESG))
        .phrases(&["read kernel buffer failed", "klogctl", "/dev/kmsg"]),
    task("see kernel addresses", "kallsyms kernel pointers symbols addresses kptr zero", &[Cap::SYSLOG], "they are hidden unless kernel.kptr_restrict is 0 and kernel.perf_event_paranoid is at most 1", None),
    task("profile with perf", "perf perf_event perf_event_open performance counters profiling profile flamegraph record stat cpu sampling hardware events tracepoints", &[Cap::PERFMON], "kernel.perf_event_paranoid forbids it", Some(&PERF))
        .phrases(&["performance monitoring and observability", "perf_event_paranoid", "perf_event_open"]),
    task("load an eBPF program", "bpf ebpf bpftool bpftrace bcc xdp maps load attach kprobe tracing cilium libbpf tetragon pixie beyla", &[Cap::BPF, Cap::PERFMON, Cap::NET_ADMIN], "tracing programs also need the second, network programs the third", Some(&BPF))
        .phrases(&["bpf_prog_load", "bpf(bpf_", "libbpf", "failed to load object", "bpf_map_create", "failed to load program"]),
    task("trace a process of another user", "strace gdb ptrace debug debugger attach inspect memory process_vm_readv lsof py-spy delve gpu cuda core dump gcore another's proc environ fd jmap jstack jcmd rr attach sidecar shareprocessnamespace", &[Cap::SYS_PTRACE], "reading and stopping other users' processes", Some(&YAMA))
        .phrases(&["ptrace: operation not permitted", "ptrace(ptrace_", "could not attach to process", "attach: ptrace", "process_vm_readv", "lsof", "open files of other"]),
    task("mount a file system", "mount umount unmount bind nfs cifs fuse fusermount sshfs overlay loop tmpfs disk usb remount s3fs losetup loop davfs rclone gcsfuse nfs4 pod squashfs", &[Cap::SYS_ADMIN], "mounts of the mount namespace", Some(&USERNS))
        .phrases(&["only root can do that", "must be superuser to use mount", "mount failed: operation not permitted", "mount: *permission denied", "mount*operation not permitted", "loop device"]),
    task("create or join namespaces", "unshare setns nsenter clone container sandbox bubblewrap bwrap network namespace netns pivot_root mount namespace docker in docker dind podman runc nested buildah chromium chrome lxc firejail kaniko", &[Cap::SYS_ADMIN], "every namespace but the user's", Some(&USERNS))
        .phrases(&["unshare failed", "unshare: ", "setns", "bwrap: ", "clone_new", "creating new namespace failed", "bubblewrap", "docker in docker"]),
    task("set the hostname", "hostname sethostname domainname rename machine", &[Cap::SYS_ADMIN], "the hostname of the UTS namespace", Some(&USERNS))
        .phrases(&["change the host name", "sethostname", "cannot set hostname"]),
    task("switch swap on or off", "swap swapon swapoff swapfile partition", &[Cap::SYS_ADMIN], "swapon and swapoff", None),
    task("load a seccomp filter", "install seccomp filter syscall without no-new-privs", &[Cap::SYS_ADMIN], "not needed with no-new-privs", None),
    task("watch a whole file system with fanotify", "fanotify antivirus monitor file access events mount mark", &[Cap::SYS_ADMIN], "permission events and marks of mounts", None),
    task("load a kernel module", "insmod modprobe rmmod module driver load unload kernel dkms ko", &[Cap::SYS_MODULE], "code in the kernel", None)
        .phrases(&["could not insert", "could not remove module", "init_module", "finit_module"]),
    task("reboot or load another kernel", "reboot shutdown poweroff halt restart machine kexec power off systemctl", &[Cap::SYS_BOOT], "reboot and kexec_load", None)
        .phrases(&["reboot: operation not permitted"]),
    task("create a device file", "mknod device node block character special dev null create debootstrap", &[Cap::MKNOD], "block and character devices", None)
        .phrases(&["mknod: ", "cannot mknod"]),
    task("change the root directory", "chroot jail root directory sftp vsftpd chroot_local_user proftpd bind", &[Cap::SYS_CHROOT], "chroot", Some(&USERNS))
        .phrases(&["cannot change root directory", "chroot(", "chroot: "]),
    task("make a file immutable", "chattr immutable append-only +i +a lsattr flag attribute undeletable", &[Cap::LINUX_IMMUTABLE], "inode flags that bind even root", None)
        .phrases(&["while setting flags", "chattr: "]),
    task("give a file capabilities", "setcap file capabilities security.capability xattr set dockerfile", &[Cap::SETFCAP], "writing security.capability", None)
        .phrases(&["cap_setfcap", "setcap in a", "failed to set capabilities on file", "setcap: "]),
    task("drop capabilities from the bounding set", "bounding set drop securebits inheritable capset capsh prctl setpriv bwrap", &[Cap::SETPCAP], "the bounding set, securebits and new inheritable capabilities", None)
        .phrases(&["capsh --drop", "bounding set", "cap_setpcap", "pr_capbset_drop", "securebits"]),
    task("become another user", "setuid setresuid switch user change uid drop privileges run as impersonate gosu su sudo user id cron jobs php-fpm pool runuser doas as start-stop-daemon chpst setpriv redis postgres initdb nginx worker workers", &[Cap::SETUID, Cap::SETGID], "change the groups before the user", None)
        .phrases(&["cannot set groups", "unable to setgid", "unable to setuid", "supplementary group list", "setresuid", "setresgid", "setgid(", "setuid(", "unable to set gid", "unable to set uid", "cannot set user id", "cannot set group id", "su-exec", "gosu", "s6-setuidgid", "s6-applyuidgid", "chpst", "su-exec*setgroups", "gosu*setgroups", "setgid*failed", "setuid*failed", "failed to change user", "cannot switch user", "drop privileges", "failed to switch*user"]),
    task("change groups", "setgid setgroups initgroups supplementary group newgrp sg gid primary group", &[Cap::SETGID], "groups the user is not in", None)
        .phrases(&["setgroups", "initgroups", "set supplementary groups"]),
    task("map ids into a user namespace", "newuidmap newgidmap subuid uid_map gid_map rootless map", &[Cap::SETUID, Cap::SETGID], "IDs other than the user's own", None)
        .phrases(&["newuidmap: ", "newgidmap: ", "uid_map"]),
    task("install packages", "apt apt-get dpkg yum dnf update install package packages container debian ubuntu", &[Cap::SETUID, Cap::SETGID, Cap::CHOWN, Cap::DAC_OVERRIDE, Cap::FOWNER], "apt runs as the user _apt, and changes file owners", None)
        .phrases(&["setgroups 65534 failed", "seteuid*failed"]),
    task("log users in", "login sshd ssh server pam session audit log write su cron records openssh daemon", &[Cap::AUDIT_WRITE, Cap::SETUID, Cap::SETGID, Cap::SYS_CHROOT], "records for the audit log; becoming the user", None)
        .phrases(&["audit_log_user_message", "audit_write"]),
    task("configure the audit", "auditctl auditd audit rules loginuid enable", &[Cap::AUDIT_CONTROL], "audit rules and state", None),
    task("read the audit log as it is written", "audit log multicast netlink read listen events", &[Cap::AUDIT_READ], "the multicast group of the audit log", None),
    task("reach hardware directly", "ioperm iopl dev/mem io ports port i/o raw disk hdparm smartctl dmidecode msr pci flash bios physical memory gpio scsi flashrom nvme sg_raw rdmsr wrmsr i2c", &[Cap::SYS_RAWIO], "past the kernel", None)
        .phrases(&["ioperm", "iopl", "/dev/mem", "/dev/port"]),
    task("map memory at low addresses", "mmap_min_addr low memory wine dosemu vm86", &[Cap::SYS_RAWIO], "below vm.mmap_min_addr", None),
    task("configure or hang up a terminal", "vhangup tty console virtual loadkeys keyboard keymap terminal chvt vhangup", &[Cap::SYS_TTY_CONFIG], "other users' terminals", None)
        .phrases(&["vhangup"]),
    task("take a lease on a file", "lease f_setlease samba fcntl", &[Cap::LEASE], "other users' files", None),
    task("switch process accounting on", "acct accton accounting process", &[Cap::SYS_PACCT], "acct", None),
    task("wake the machine from suspend", "wake alarm suspend timer timerfd resume sleep wakeup clock_boottime_alarm clock_realtime_alarm", &[Cap::WAKE_ALARM], "alarm clocks", None)
        .phrases(&["clock_boottime_alarm", "clock_realtime_alarm"]),
    task("keep the machine from suspending", "block suspend epollwakeup wakelock wake_lock prevent sleep inhibit", &[Cap::BLOCK_SUSPEND], "wake locks", None),
    task("checkpoint and restore processes", "criu checkpoint restore snapshot process migrate choose pid ns_last_pid old set_tid", &[Cap::CHECKPOINT_RESTORE, Cap::SYS_PTRACE], "choosing IDs; the second for other users' processes", None)
        .phrases(&["ns_last_pid", "set_tid"]),
    task("load a policy of AppArmor or Smack", "apparmor smack selinux policy profile label mac mandatory access control load apparmor_parser", &[Cap::MAC_ADMIN], "mandatory access control", None),
    task("override mandatory access control", "smack override ignore bypass rule", &[Cap::MAC_OVERRIDE], "only Smack checks for it", None),
    task("open a file by its handle", "open_by_handle_at handle nfs server ganesha name_to_handle export", &[Cap::DAC_READ_SEARCH], "bypasses the permissions of the directories in the path", None),
    task("run a DHCP client", "dhclient dhcpcd udhcpc dhcp lease address", &[Cap::NET_RAW, Cap::NET_ADMIN, Cap::NET_BIND_SERVICE], "packets before there is an address, the address itself, and port 68", None),
    task("run a DHCP server", "dnsmasq dhcpd kea dhcp server leases", &[Cap::NET_ADMIN, Cap::NET_RAW, Cap::NET_BIND_SERVICE], "entries of the ARP table, the check that an address is free, and ports 53 and 67", None),
    task("use files of other users as root of a container", "volume bind mount mounted directory writable host uid root cap_drop cap-drop all data permission", &[Cap::DAC_OVERRIDE], "root without it has the rights of any other user", None)
        .phrases(&["bind mounted directory", "bind mount*writ", "volume*writ", "root cannot write", "root cannot read", "root cannot open", "root in*container cannot", "root*cannot write to"]),
    task("serve files with Samba", "samba smbd smb cifs share nmbd", &[Cap::NET_BIND_SERVICE, Cap::SETUID, Cap::SETGID, Cap::DAC_OVERRIDE, Cap::CHOWN, Cap::FOWNER], "ports 139 and 445, becoming the user, and files of all users", None)
        .phrases(&["samba server", "samba in", "run samba"]),
    free(UNPRIVILEGED_PORT, "high unprivileged port 8080 8443 3000", "every user may bind ports from net.ipv4.ip_unprivileged_port_start up, which is 1024 by default", None),
    free("connect to another host", "curl wget http https request client download fetch api outgoing outbound resolve dns lookup url", "sockets of TCP and UDP take no capability, and the source port is above 1024", None)
        .phrases(&["connect to", "curl ", "wget ", "http request", "https://", "resolve a", "dns lookup", "call an api"]),
    free("use a serial port, a camera or a graphics card", "ttyusb ttyusb0 ttyacm0 ttys0 serial modem arduino dialout camera webcam video0 dri render gpu kvm sound joystick", "the device file has a group", Some("join the group of the device file, such as dialout, video, render or kvm; for a container, --device and --group-add"))
        .phrases(&["/dev/ttyu", "/dev/ttya", "/dev/ttys", "/dev/video", "/dev/dri", "/dev/kvm", "/dev/snd", "/dev/input", "serial port", "serial device"]),
    free("use one's own files and processes", "own mine", "the owner of a file or process may do that", None)
        .phrases(&["my own", "that i own", "i own the", "own home", "my files", "my processes"]),
    free("build a program", "compile compiler gcc clang cargo maven linker haskell rust", "reading sources and writing objects takes the rights of the user", None),
    free("talk to the daemon of Docker", "daemon", "the group docker may use its socket, which gives root on the machine", None)
        .phrases(&["docker group", "group docker", "docker.sock", "docker daemon socket", "docker ps"]),
    free("lower the priority of a process", "lower priority nice", "everybody may give up priority", None)
        .phrases(&["lower the priority", "nice 10", "nice 19", "nicer to other"]),
    free("raise a limit up to the hard limit", "soft limit ulimit", "everybody may raise a soft limit up to the hard limit", None)
        .phrases(&["up to the hard limit", "soft limit"]),
    why("a program whose file has capabilities cannot be executed", "execve", "execve(2) fails with EPERM if the file has the effective bit and a capability that the bounding set lacks: `rcap why PROGRAM` names it")
        .phrases(&["exec user process caused", " exec *: operation not permitted", " exec: *operation not permitted", "cannot execute*operation not permitted", "cannot exec*operation not permitted", "execve*eperm", " exec *operation not permitted*file"]),
    why("a program with capabilities ignores its environment", "ld_library_path ld_preload", "a program that gains capabilities runs in secure mode (AT_SECURE), in which the dynamic linker ignores LD_LIBRARY_PATH, LD_PRELOAD and $ORIGIN: `rcap why PROGRAM`")
        .phrases(&["error while loading shared libraries", "ld_library_path", "ld_preload", "$origin", "rpath", "cannot open shared object file"]),
    why("the capabilities of a file have no effect", "nosuid", "scripts, nosuid mounts, no-new-privs and the bounding set take them away, and an upgrade replaces the file: `rcap why PROGRAM` names the reason")
        .phrases(&["setcap*no effect", "setcap does nothing", "setcap*ignored", "setcap*not work", "setcap*n't work", "setcap*script", "after setcap", "setcap*lost", "setcap*gone", "file capabilities*lost", "capabilities*lost after*upgrade", "nosuid"]),
    why("a program with capabilities cannot be debugged", "dumpable", "a program that gains capabilities is not dumpable, so that a debugger without CAP_SYS_PTRACE cannot attach and /proc/PID belongs to root: `rcap why --pid PID`")
        .phrases(&["attach*file cap", "attach*with cap", "strace*with cap", "gdb*with cap", "not dumpable", "no core dump*cap", "core dump*setcap"]),
    why("ambient capabilities are lost", "ambient ambientcapabilities", "set-user-ID bits, file capabilities and a change of the user clear the ambient set: `rcap why --from UNIT` or `rcap why --pid PID`")
        .phrases(&["ambient"]),
];

//! The table for [`super::about`].

use super::About;
use crate::Cap;

const fn old(cap: Cap, permits: &'static str) -> (Cap, About) {
    (cap, About { permits, since: None })
}

const fn since(version: &'static str, cap: Cap, permits: &'static str) -> (Cap, About) {
    (cap, About { permits, since: Some(version) })
}

/// Every named capability, indexed by number. The facts are those of capabilities(7), unless
/// another source is named.
#[rustfmt::skip]
pub(super) const ABOUT: &[(Cap, About)] = &[
    // chown(2)
    old(Cap::CHOWN, "\
Change the owner and group of any file: chown and chgrp.
Without it, an owner can only change the group of a file, to a group the
owner is in."),
    // path_resolution(7); fs/namei.c: acl_permission_check, generic_permission
    old(Cap::DAC_OVERRIDE, "\
Read, write and search regardless of permission bits and access control
lists, and execute any file that has an execute bit.
Creating, renaming and removing a file writes to its directory, so root
needs this to remove a file from another user's directory."),
    // fs/namei.c: generic_permission; open_by_handle_at(2)
    old(Cap::DAC_READ_SEARCH, "\
Read any file, and list and search any directory, regardless of
permission bits, but without writing.
Open files by handle (open_by_handle_at), which also works outside of a
chroot or container, and link files by descriptor (AT_EMPTY_PATH)."),
    // fs/inode.c: inode_owner_or_capable
    old(Cap::FOWNER, "\
Act as the owner of any file: chmod, utime, set access control lists and
inode flags (chattr), open with O_NOATIME.
Remove and rename other users' files in a sticky directory, such as
/tmp."),
    // fs/attr.c: setattr_prepare; chmod(2)
    old(Cap::FSETID, "\
Keep the set-user-ID and set-group-ID bits when a file is written or its
owner changes, and set the set-group-ID bit on a file whose group the
process is not in."),
    // kill(2); kernel/signal.c: kill_ok_by_cred
    old(Cap::KILL, "\
Send signals to the processes of any user: kill, pkill, sigqueue."),
    // setgid(2), setgroups(2), user_namespaces(7), unix(7)
    old(Cap::SETGID, "\
Change to any group ID and to any supplementary groups: setgid,
setresgid, setgroups, initgroups, as su, login, sudo, sshd and cron do.
Pass another group ID over a Unix socket, and write the group map of a
user namespace."),
    // setuid(2), user_namespaces(7), unix(7)
    old(Cap::SETUID, "\
Change to any user ID: setuid, setresuid, setfsuid, as su, login, sudo,
sshd and cron do. Becoming user 0 grants all of root's privileges.
Pass another user ID over a Unix socket, and write the user map of a
user namespace."),
    // capset(2), prctl(2); security/commoncap.c: cap_capset, cap_task_prctl
    old(Cap::SETPCAP, "\
Drop capabilities from the bounding set, make any capability of the
bounding set inheritable, and change the securebits."),
    // ioctl_iflags(2)
    old(Cap::LINUX_IMMUTABLE, "\
Set and clear the immutable and append-only attributes of files: chattr
+i and chattr +a."),
    // ip(7): ip_local_port_range, ip_unprivileged_port_start
    old(Cap::NET_BIND_SERVICE, "\
Bind a TCP, UDP or SCTP socket to a port below 1024, such as 22, 53, 80
or 443. The sysctl net.ipv4.ip_unprivileged_port_start changes the
limit."),
    // capabilities(7): "(Unused)"
    old(Cap::NET_BROADCAST, "\
Nothing: the kernel does not check for it. It was meant for broadcasts
and for listening to multicasts."),
    // netdevice(7), socket(7), packet(7); net/core/sock.c: sk_setsockopt
    old(Cap::NET_ADMIN, "\
Configure networks: interfaces, addresses, routes, bridges, firewall and
NAT (iptables, nft), traffic control, tunnels and tun devices (VPN),
promiscuous mode, transparent proxies, and most privileged socket
options (SO_RCVBUFFORCE; SO_MARK and SO_PRIORITY above 6, for which
CAP_NET_RAW is enough since Linux 5.17)."),
    // raw(7), packet(7), ip(7): IP_TRANSPARENT; net/core/sock.c: sk_setsockopt
    old(Cap::NET_RAW, "\
Open raw and packet sockets: ping (outside of
net.ipv4.ping_group_range), traceroute, arping, tcpdump, nmap, DHCP
clients. Send from any address with IP_TRANSPARENT, bind to a device
with SO_BINDTODEVICE, and since Linux 5.17 set SO_MARK and SO_PRIORITY."),
    // mlock(2), shmctl(2), mmap(2)
    old(Cap::IPC_LOCK, "\
Lock any amount of memory, so that it is not swapped: mlock, mlockall,
MAP_LOCKED, SHM_LOCK; and allocate huge pages for shared memory.
Databases, real-time audio and programs with secrets do this."),
    // svipc(7)
    old(Cap::IPC_OWNER, "\
Use System V shared memory, semaphores and message queues of any user,
regardless of permission bits."),
    // init_module(2), delete_module(2)
    old(Cap::SYS_MODULE, "\
Load and unload kernel modules: insmod, modprobe, rmmod.
A module can do everything that the kernel can."),
    // iopl(2), mem(4)
    old(Cap::SYS_RAWIO, "\
Access hardware directly: I/O ports (iopl, ioperm), /dev/mem and
/dev/kmem, raw SCSI and disk commands, model-specific registers; and map
memory at low addresses."),
    // chroot(2), setns(2)
    old(Cap::SYS_CHROOT, "\
Change the root directory: chroot.
Join another mount namespace (setns), together with CAP_SYS_ADMIN."),
    // ptrace(2), process_vm_readv(2), kcmp(2), proc(5)
    old(Cap::SYS_PTRACE, "\
Trace any process, read and write its memory, and read its hidden files
in /proc: strace, gdb, perf on other users' programs.
This grants the privileges of the traced process."),
    // acct(2)
    old(Cap::SYS_PACCT, "\
Enable and disable process accounting: acct, accton."),
    // capabilities(7): it lists some thirty uses; drivers/pci/pci-sysfs.c: pci_read_config
    old(Cap::SYS_ADMIN, "\
Mount, umount and pivot_root; unshare and join namespaces; set the
hostname; quotas and swap; many ioctl calls of devices and file systems;
trusted and security attributes; fanotify; seccomp without no-new-privs;
PCI configuration past its first 64 bytes;
and, for older programs, everything that CAP_BPF, CAP_PERFMON,
CAP_SYSLOG and CAP_CHECKPOINT_RESTORE permit.
In practice, this equals root."),
    // reboot(2), kexec_load(2)
    old(Cap::SYS_BOOT, "\
Reboot, halt and power off, and load another kernel: reboot, kexec."),
    // nice(2), sched_setscheduler(2), sched_setaffinity(2), ioprio_set(2), move_pages(2)
    old(Cap::SYS_NICE, "\
Raise priorities (nice, renice), choose real-time scheduling (chrt) and
real-time I/O, set the CPUs of other users' processes, and move their
memory between nodes."),
    // setrlimit(2), fcntl(2), mq_overview(7)
    old(Cap::SYS_RESOURCE, "\
Exceed and raise resource limits (ulimit, prlimit), disk quotas, the
space reserved for root, the sizes of pipes and message queues, and the
number of processes; lower an oom_score_adj; change prctl(PR_SET_MM)."),
    // settimeofday(2), adjtimex(2), rtc(4)
    old(Cap::SYS_TIME, "\
Set the system clock and the hardware clock: date, ntpd, chronyd,
hwclock; settimeofday, clock_settime, adjtimex."),
    // vhangup(2), ioctl_tty(2)
    old(Cap::SYS_TTY_CONFIG, "\
Hang up a terminal (vhangup), and configure virtual consoles."),
    // mknod(2)
    since("2.4", Cap::MKNOD, "\
Create block and character device files: mknod.
FIFOs and sockets need no privilege."),
    // fcntl(2): F_SETLEASE
    since("2.4", Cap::LEASE, "\
Take leases on other users' files (F_SETLEASE), to be notified before a
process opens or truncates them, as file servers do."),
    // netlink(7), audit(8)
    since("2.6.11", Cap::AUDIT_WRITE, "\
Write records to the kernel's audit log, as login, sshd, su, cron and
PAM do for sessions."),
    since("2.6.11", Cap::AUDIT_CONTROL, "\
Enable and disable auditing, change its rules, and set the login ID of a
process: auditd, auditctl."),
    // setxattr(2); user_namespaces(7), since 5.12: mapping user 0
    since("2.6.24", Cap::SETFCAP, "\
Set file capabilities: setcap, and installing packages with such files.
Map the parent's user 0 into a user namespace.
This grants every capability of the bounding set."),
    // security/smack
    since("2.6.25", Cap::MAC_OVERRIDE, "\
Override mandatory access control. Only Smack checks for it."),
    // security/smack, security/apparmor
    since("2.6.25", Cap::MAC_ADMIN, "\
Configure mandatory access control: the labels and rules of Smack, the
policies of AppArmor, labels unknown to SELinux."),
    // syslog(2), proc(5): kptr_restrict
    since("2.6.37", Cap::SYSLOG, "\
Read and clear the kernel log (dmesg) if kernel.dmesg_restrict is set,
set its console level, and see kernel addresses that
kernel.kptr_restrict hides."),
    // timerfd_create(2), epoll: kernel/time/alarmtimer.c
    since("3.0", Cap::WAKE_ALARM, "\
Set timers that wake the machine from suspend: CLOCK_REALTIME_ALARM and
CLOCK_BOOTTIME_ALARM."),
    // epoll_ctl(2): EPOLLWAKEUP; /proc/sys/wake_lock
    since("3.5", Cap::BLOCK_SUSPEND, "\
Keep the machine from suspending: EPOLLWAKEUP, /sys/power/wake_lock."),
    // netlink(7), audit
    since("3.16", Cap::AUDIT_READ, "\
Read new records of the audit log, through a multicast netlink socket."),
    // perf_event_open(2)
    since("5.8", Cap::PERFMON, "\
Observe the performance of the whole system and of the kernel:
perf_event_open if kernel.perf_event_paranoid requires it, and tracing
BPF programs (with CAP_BPF)."),
    // bpf(2)
    since("5.8", Cap::BPF, "\
Load BPF programs and create BPF maps. Tracing programs also need
CAP_PERFMON, and packet filters CAP_NET_ADMIN."),
    // clone3(2): set_tid; proc(5): ns_last_pid, map_files
    since("5.9", Cap::CHECKPOINT_RESTORE, "\
Checkpoint and restore processes (CRIU): choose process IDs (set_tid of
clone3, ns_last_pid), read links in /proc/PID/map_files."),
];

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
Give files to another user and another group: chown and chgrp.
Without it, an owner can only change the group, and only to one of the
owner's own groups."),
    // path_resolution(7); fs/namei.c: acl_permission_check, generic_permission
    old(Cap::DAC_OVERRIDE, "\
Read, write and search whatever the permission bits and access control
lists say, and execute what anybody may execute.
Creating, renaming and removing a file writes its directory: root asks
for this to remove a file from a directory that others own."),
    // fs/namei.c: generic_permission; open_by_handle_at(2)
    old(Cap::DAC_READ_SEARCH, "\
Read any file, and list and search any directory, whatever the
permission bits say. Nothing can be written.
Open files by a handle (open_by_handle_at), which reaches beyond a
chroot or a container, and link files by descriptor (AT_EMPTY_PATH)."),
    // fs/inode.c: inode_owner_or_capable
    old(Cap::FOWNER, "\
Do with any file what otherwise only its owner may: chmod, utime, set
access control lists and inode flags (chattr), open with O_NOATIME.
Remove and rename files of others in a directory with the sticky bit,
such as /tmp."),
    // fs/attr.c: setattr_prepare; chmod(2)
    old(Cap::FSETID, "\
Keep the set-user-id and set-group-id bits when a file is written or its
owner changes, and set the set-group-id bit on a file whose group is not
among one's own."),
    // kill(2); kernel/signal.c: kill_ok_by_cred
    old(Cap::KILL, "\
Send signals to the processes of any user: kill, pkill, sigqueue."),
    // setgid(2), setgroups(2), user_namespaces(7), unix(7)
    old(Cap::SETGID, "\
Change to any group id and to any supplementary groups: setgid,
setresgid, setgroups, initgroups; su, login, sudo, sshd and cron do.
Pass another group id over a Unix socket, and write the group map of a
user namespace."),
    // setuid(2), user_namespaces(7), unix(7)
    old(Cap::SETUID, "\
Change to any user id: setuid, setresuid, setfsuid; su, login, sudo,
sshd and cron do. Becoming user 0 gives all that root has.
Pass another user id over a Unix socket, and write the user map of a
user namespace."),
    // capset(2), prctl(2); security/commoncap.c: cap_capset, cap_task_prctl
    old(Cap::SETPCAP, "\
Drop capabilities from the bounding set, make inheritable what is in the
bounding set and not permitted, and change the securebits."),
    // ioctl_iflags(2)
    old(Cap::LINUX_IMMUTABLE, "\
Set and clear the immutable and the append-only flag of files: chattr +i
and chattr +a."),
    // ip(7): ip_local_port_range, ip_unprivileged_port_start
    old(Cap::NET_BIND_SERVICE, "\
Bind a TCP, UDP or SCTP socket to a port below 1024, such as 22, 53, 80
or 443. Which ports are privileged can be changed: the sysctl
net.ipv4.ip_unprivileged_port_start."),
    // capabilities(7): "(Unused)"
    old(Cap::NET_BROADCAST, "\
Nothing: the kernel does not ask for it. It was meant for broadcasts and
for listening to multicasts."),
    // netdevice(7), socket(7), packet(7); net/core/sock.c: sk_setsockopt
    old(Cap::NET_ADMIN, "\
Configure networks: interfaces, addresses, routes, bridges, firewall and
NAT (iptables, nft), traffic control, tunnels and tun devices (VPN),
promiscuous mode, and most socket options that others are denied
(SO_RCVBUFFORCE; SO_MARK and SO_PRIORITY above 6, for which
CAP_NET_RAW is enough since Linux 5.17). Transparent proxies."),
    // raw(7), packet(7), ip(7): IP_TRANSPARENT; net/core/sock.c: sk_setsockopt
    old(Cap::NET_RAW, "\
Open raw and packet sockets: ping (where net.ipv4.ping_group_range does
not allow it), traceroute, arping, tcpdump, nmap, DHCP clients.
Send from any address with IP_TRANSPARENT, bind to a device by
SO_BINDTODEVICE, and since Linux 5.17 set SO_MARK and SO_PRIORITY."),
    // mlock(2), shmctl(2), mmap(2)
    old(Cap::IPC_LOCK, "\
Lock any amount of memory, so that it is not swapped: mlock, mlockall,
MAP_LOCKED, SHM_LOCK; and allocate huge pages for shared memory.
Databases, realtime audio and programs with secrets do."),
    // svipc(7)
    old(Cap::IPC_OWNER, "\
Use System V shared memory, semaphores and message queues of any user,
whatever their permission bits say."),
    // init_module(2), delete_module(2)
    old(Cap::SYS_MODULE, "\
Load and unload kernel modules: insmod, modprobe, rmmod.
A module can do anything: this is as much as the kernel itself."),
    // iopl(2), mem(4)
    old(Cap::SYS_RAWIO, "\
Reach hardware past the kernel: I/O ports (iopl, ioperm), /dev/mem and
/dev/kmem, raw SCSI and disk commands, model-specific registers; and map
memory at low addresses."),
    // chroot(2), setns(2)
    old(Cap::SYS_CHROOT, "\
Change the root directory: chroot.
Join another mount namespace (setns), together with CAP_SYS_ADMIN."),
    // ptrace(2), process_vm_readv(2), kcmp(2), proc(5)
    old(Cap::SYS_PTRACE, "\
Trace any process, read and write its memory, and see what is hidden of
it in /proc: strace, gdb, perf on others' programs.
It gives what the traced process may do."),
    // acct(2)
    old(Cap::SYS_PACCT, "\
Switch the accounting of processes on and off: acct, accton."),
    // capabilities(7): it lists some thirty uses; drivers/pci/pci-sysfs.c: pci_read_config
    old(Cap::SYS_ADMIN, "\
Mount, umount and pivot_root; unshare and join namespaces; set the
hostname; quotas and swap; many ioctl calls of devices and file systems;
trusted and security attributes; fanotify; seccomp without no-new-privs;
PCI configuration past its first 64 bytes;
and, for older programs, what CAP_BPF, CAP_PERFMON, CAP_SYSLOG and
CAP_CHECKPOINT_RESTORE permit.
So much that it equals root in practice."),
    // reboot(2), kexec_load(2)
    old(Cap::SYS_BOOT, "\
Reboot, halt and power off, and load another kernel: reboot, kexec."),
    // nice(2), sched_setscheduler(2), sched_setaffinity(2), ioprio_set(2), move_pages(2)
    old(Cap::SYS_NICE, "\
Raise priorities (nice, renice), choose realtime scheduling (chrt) and
realtime I/O, set on which CPUs the processes of others run, and move
their memory between nodes."),
    // setrlimit(2), fcntl(2), mq_overview(7)
    old(Cap::SYS_RESOURCE, "\
Exceed and raise resource limits (ulimit, prlimit), disk quotas, the
space reserved for root, the sizes of pipes and message queues, and the
number of processes; lower an oom_score_adj; change prctl(PR_SET_MM)."),
    // settimeofday(2), adjtimex(2), rtc(4)
    old(Cap::SYS_TIME, "\
Set the clock of the system and of the hardware: date, ntpd, chronyd,
hwclock; settimeofday, clock_settime, adjtimex."),
    // vhangup(2), ioctl_tty(2)
    old(Cap::SYS_TTY_CONFIG, "\
Hang up a terminal (vhangup), and configure virtual consoles."),
    // mknod(2)
    since("2.4", Cap::MKNOD, "\
Create device files: mknod of a block or a character device.
FIFOs and sockets take no privilege."),
    // fcntl(2): F_SETLEASE
    since("2.4", Cap::LEASE, "\
Take leases on files of others (F_SETLEASE), to be told before somebody
opens or truncates them; file servers do."),
    // netlink(7), audit(8)
    since("2.6.11", Cap::AUDIT_WRITE, "\
Write records to the kernel's audit log: login, sshd, su, cron and PAM
report who has come and gone."),
    since("2.6.11", Cap::AUDIT_CONTROL, "\
Switch auditing on and off, change its rules, and set the login id of a
process: auditd, auditctl."),
    // setxattr(2); user_namespaces(7), since 5.12: mapping user 0
    since("2.6.24", Cap::SETFCAP, "\
Give files capabilities: setcap, and installing packages that have such
files. Map the parent's user 0 into a user namespace.
Whoever may do that can take any capability of the bounding set."),
    // security/smack
    since("2.6.25", Cap::MAC_OVERRIDE, "\
Override mandatory access control. Only Smack asks for it."),
    // security/smack, security/apparmor
    since("2.6.25", Cap::MAC_ADMIN, "\
Configure mandatory access control: the labels and rules of Smack, the
policies of AppArmor, labels that SELinux does not know."),
    // syslog(2), proc(5): kptr_restrict
    since("2.6.37", Cap::SYSLOG, "\
Read and clear the kernel log (dmesg) where kernel.dmesg_restrict is
set, set its console level, and see addresses of the kernel that
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
Read the audit log as it is written, by a multicast netlink socket."),
    // perf_event_open(2)
    since("5.8", Cap::PERFMON, "\
Observe the performance of the whole system and of the kernel:
perf_event_open where kernel.perf_event_paranoid forbids it, and BPF
programs that trace (with CAP_BPF)."),
    // bpf(2)
    since("5.8", Cap::BPF, "\
Load BPF programs and create BPF maps. What traces asks for CAP_PERFMON
besides, what filters packets for CAP_NET_ADMIN."),
    // clone3(2): set_tid; proc(5): ns_last_pid, map_files
    since("5.9", Cap::CHECKPOINT_RESTORE, "\
Checkpoint and restore processes (CRIU): choose process ids (set_tid of
clone3, ns_last_pid), read the links in /proc/PID/map_files of others."),
];

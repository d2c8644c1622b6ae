//! The table behind [`super::route_to_root`].

use crate::Cap;

/// How a program with the capability can become root of the machine, or see and do what root can,
/// in the order of capabilities. Where the capability is held over the machine's own user
/// namespace, and no other barrier (a Linux security module, a seccomp filter, a read-only file
/// system) is in the way.
#[rustfmt::skip]
pub(super) const ROUTES: &[(Cap, &str)] = &[
    // chown(2): then the file's owner may write it
    (Cap::CHOWN,            "own any file, such as /etc/shadow, and then write it"),
    // capabilities(7)
    (Cap::DAC_OVERRIDE,     "write any file, such as /etc/shadow or what root's crontab runs"),
    // open_by_handle_at(2): "useful for user-space NFS servers", past a chroot
    (Cap::DAC_READ_SEARCH,  "read every secret, also outside of a container by open_by_handle_at"),
    // chmod(2)
    (Cap::FOWNER,           "change the mode of any file, and then write it"),
    // setgid(2), and groups such as disk and shadow
    (Cap::SETGID,           "become a member of any group, such as disk, docker or shadow"),
    // setuid(2)
    (Cap::SETUID,           "become root, and whoever else"),
    // capset(2), capabilities(7): the inheritable set from the bounding set
    (Cap::SETPCAP,          "take anything of the bounding set into the inheritable set, for files that give it"),
    // chattr(1)
    (Cap::LINUX_IMMUTABLE,  "take the protection of append-only logs and immutable files away"),
    // netlink(7), iptables(8)
    (Cap::NET_ADMIN,        "send the machine's traffic elsewhere"),
    // packet(7), raw(7)
    (Cap::NET_RAW,          "read and forge the traffic of its networks"),
    // init_module(2), delete_module(2)
    (Cap::SYS_MODULE,       "load code into the kernel"),
    // iopl(2), mem(4)
    (Cap::SYS_RAWIO,        "read and write memory and devices past the kernel"),
    // chroot(2): with a directory tree of one's own, a set-user-ID program runs its libraries
    (Cap::SYS_CHROOT,       "have a set-user-ID program load libraries of one's own, below a directory that one may write"),
    // ptrace(2), process_vm_readv(2)
    (Cap::SYS_PTRACE,       "take over any process, root's among them"),
    // capabilities(7): "overloaded"; mount(2), setns(2)
    (Cap::SYS_ADMIN,        "mount what one likes, enter any namespace, and much else"),
    // kexec_load(2)
    (Cap::SYS_BOOT,         "boot another kernel by kexec_load"),
    // mknod(2), where no device control group is in the way
    (Cap::MKNOD,            "make a device file of the disk, and read and write it"),
    // audit(8)
    (Cap::AUDIT_CONTROL,    "turn the audit log off"),
    // setxattr(2), capabilities(7)
    (Cap::SETFCAP,          "give a file any capability that the bounding set allows, and execute it"),
    // Smack, capabilities(7)
    (Cap::MAC_OVERRIDE,     "pass the mandatory access control of Smack"),
    // Smack, capabilities(7)
    (Cap::MAC_ADMIN,        "change the mandatory access control of Smack"),
    // syslog(2), proc(5): kptr_restrict
    (Cap::SYSLOG,           "learn the kernel's addresses, which makes its mistakes easier to use"),
    // perf_event_open(2), bpf(2)
    (Cap::PERFMON,          "watch what other processes and the kernel do"),
    // bpf(2): with CAP_PERFMON, programs read the kernel's memory
    (Cap::BPF,              "with cap_perfmon, read the kernel's memory"),
    // capabilities(7), proc_pid_map_files(5)
    (Cap::CHECKPOINT_RESTORE, "look into other processes' mapped files, and choose process ids"),
];

//! The table for [`super::route_to_root`].

use crate::Cap;

/// The ways from a capability to root, or to root's reach, in the order of capabilities. They
/// assume that the capability is held in the initial user namespace, and that no security module,
/// seccomp filter or read-only file system prevents them.
#[rustfmt::skip]
pub(super) const ROUTES: &[(Cap, &str)] = &[
    // chown(2): the owner of a file may then write it
    (Cap::CHOWN,            "take ownership of any file, such as /etc/shadow, and write it"),
    // capabilities(7)
    (Cap::DAC_OVERRIDE,     "write any file, such as /etc/shadow or what root's crontab runs"),
    // open_by_handle_at(2): "useful for user-space NFS servers", past a chroot
    (Cap::DAC_READ_SEARCH,  "read every secret, by open_by_handle_at even outside of a container"),
    // chmod(2)
    (Cap::FOWNER,           "change the mode of any file, and write it"),
    // setgid(2), and groups such as disk and shadow
    (Cap::SETGID,           "become a member of any group, such as disk, docker or shadow"),
    // setuid(2)
    (Cap::SETUID,           "become root or any other user"),
    // capset(2), capabilities(7): the inheritable set from the bounding set
    (Cap::SETPCAP,          "make any capability of the bounding set inheritable, for files that grant it"),
    // chattr(1)
    (Cap::LINUX_IMMUTABLE,  "remove the protection of append-only logs and immutable files"),
    // netlink(7), iptables(8)
    (Cap::NET_ADMIN,        "redirect the machine's traffic"),
    // packet(7), raw(7)
    (Cap::NET_RAW,          "read and forge the traffic of its networks"),
    // init_module(2), delete_module(2)
    (Cap::SYS_MODULE,       "load code into the kernel"),
    // iopl(2), mem(4)
    (Cap::SYS_RAWIO,        "read and write memory and devices without the kernel"),
    // chroot(2): in a directory tree of the attacker, a set-user-ID program loads its libraries
    (Cap::SYS_CHROOT,       "make a set-user-ID program load an attacker's libraries, from a writable root directory"),
    // ptrace(2), process_vm_readv(2)
    (Cap::SYS_PTRACE,       "take over any process, including root's"),
    // capabilities(7): "overloaded"; mount(2), setns(2)
    (Cap::SYS_ADMIN,        "mount anything, enter any namespace, and much else"),
    // kexec_load(2)
    (Cap::SYS_BOOT,         "boot another kernel by kexec_load"),
    // mknod(2), without a device control group
    (Cap::MKNOD,            "create a device file for the disk, and read and write it"),
    // audit(8)
    (Cap::AUDIT_CONTROL,    "disable the audit log"),
    // setxattr(2), capabilities(7)
    (Cap::SETFCAP,          "give a file any capability that the bounding set allows, and execute it"),
    // Smack, capabilities(7)
    (Cap::MAC_OVERRIDE,     "bypass the mandatory access control of Smack"),
    // Smack, capabilities(7)
    (Cap::MAC_ADMIN,        "change the mandatory access control of Smack"),
    // syslog(2), proc(5): kptr_restrict
    (Cap::SYSLOG,           "learn kernel addresses, which helps to exploit kernel bugs"),
    // perf_event_open(2), bpf(2)
    (Cap::PERFMON,          "observe other processes and the kernel"),
    // bpf(2): with CAP_PERFMON, programs read the kernel's memory
    (Cap::BPF,              "with cap_perfmon, read the kernel's memory"),
    // capabilities(7), proc_pid_map_files(5)
    (Cap::CHECKPOINT_RESTORE, "open other processes' mapped files, and choose process IDs"),
];

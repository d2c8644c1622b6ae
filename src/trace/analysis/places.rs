//! The place in the kernel that made a check, and the purpose of the check.

use super::Meaning;
use crate::trace::record::Symbols;

/// The place in the kernel that made a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[non_exhaustive]
pub struct Place {
    /// The function, or empty if unknown.
    pub function: String,
    /// The purpose, in words.
    pub reason: Option<&'static str>,
    /// The system call, if known.
    pub system_call: Option<String>,
    /// The meaning, if the functions alone determine it.
    pub(super) meaning: Option<Meaning>,
    /// Whether the result travels in a message, and not in the value of the system call.
    pub(super) by_message: bool,
    /// Whether a worker thread of io_uring was asked, in which no system call ends.
    pub(super) is_worker: bool,
    /// Whether a user namespace gets its map of user IDs: the kernel then needs `CAP_SETFCAP` in
    /// the parent namespace to map user 0, and looks without asking. (`verify_root_map` in
    /// kernel/user_namespace.c)
    pub(super) maps_users: bool,
    /// Whether open(2) asked if a file may be created, before it knew whether there is one. If
    /// there is one, the answer does not matter. (`lookup_open` in fs/namei.c)
    pub(super) may_create: bool,
}

impl Place {
    pub(super) fn new(stack: &[u64], symbols: &Symbols) -> Place {
        let functions: Vec<&str> =
            stack.iter().filter_map(|address| symbols.name(*address)).collect();
        // The innermost functions belong to the recording.
        let after = functions.iter().position(|name| name.starts_with("cap_capable"));
        let functions = &functions[after.map_or(0, |at| at + 1)..];
        let has = |part: &str| functions.iter().any(|name| name.contains(part));
        let (function, reason) = reason(functions);
        let meaning = if has("vm_enough_memory") {
            Some(Meaning::Overcommit)
        } else if has("_noaudit") {
            Some(Meaning::Speculative)
        } else if is_borrowed(functions) {
            Some(Meaning::Borrowed)
        } else {
            None
        };
        let system_call = system_call(functions).map(str::to_owned);
        Place {
            function: function.to_owned(),
            reason,
            system_call,
            meaning,
            by_message: functions.iter().any(|name| MESSAGES.contains(name)),
            is_worker: has("io_wq_worker") || has("io_sq_thread"),
            maps_users: has("proc_uid_map_write"),
            may_create: may_create(functions, symbols),
        }
    }
}

/// Returns whether open(2) asked if a file may be created in a directory. Compilers make
/// `may_o_create` and its callers a part of `path_openat`, which asks for the file itself in
/// `may_open`.
fn may_create(functions: &[&str], symbols: &Symbols) -> bool {
    let asks = functions.iter().position(|name| *name == "inode_permission");
    let caller = asks.and_then(|at| functions.get(at + 1));
    caller.is_some_and(|name| match *name {
        "may_o_create" | "lookup_open" | "open_last_lookups" => true,
        "path_openat" => symbols.has("may_open"),
        _ => false,
    })
}

/// Returns whether overlayfs checked on behalf of the user who mounted it. It accesses its own
/// inode with the caller's credentials, and all other inodes with those of that user.
/// (fs/overlayfs/inode.c)
pub(super) fn is_borrowed(functions: &[&str]) -> bool {
    const CALLERS: [(&str, &str); 2] =
        [("generic_permission", "ovl_permission"), ("setattr_prepare", "ovl_setattr")];
    let Some(at) = functions.iter().position(|name| name.starts_with("ovl_")) else { return false };
    let inner = at.checked_sub(1).map(|at| functions[at]);
    !CALLERS.iter().any(|(asks, of)| inner == Some(asks) && functions[at].starts_with(of))
}

/// Functions that check for their caller, which is the relevant function.
const HANDS_ON: &[&str] = &[
    "cap_capable",
    "has_capability",
    "inode_owner_or_capable",
    "privileged_wrt_inode_uidgid",
    "security_vm_enough_memory",
    "cap_vm_enough_memory",
];

/// The purpose of each function's check, from the source of the function.
const REASONS: &[(&str, &str)] = &[
    ("__check_sticky", "delete or rename another's file in a sticky directory"),
    ("__dev_change_flags", "configure a network interface"),
    ("__file_remove_privs", "write to a set-ID file and keep its bits"),
    ("__inet6_bind", "bind a port below 1024"),
    ("__inet_bind", "bind a port below 1024"),
    ("__ptrace_may_access", "look into another's process"),
    ("__sched_setscheduler", "raise a scheduling priority"),
    ("__scm_send", "send the credentials of another process"),
    ("__set_oom_adj", "lower the OOM score"),
    ("__sys_bpf", "use BPF"),
    ("__sys_setfsgid", "change the group"),
    ("__sys_setfsuid", "change the user"),
    ("__sys_setgid", "change the group"),
    ("__sys_setregid", "change the group"),
    ("__sys_setresgid", "change the group"),
    ("__sys_setresuid", "change the user"),
    ("__sys_setreuid", "change the user"),
    ("__sys_setuid", "change the user"),
    ("__tun_chr_ioctl", "configure a tunnel"),
    ("alloc_pid", "choose a process id"),
    ("arp_ioctl", "change the ARP table"),
    ("audit_receive", "use the audit system"),
    ("audit_receive_msg", "use the audit system"),
    ("blkdev_common_ioctl", "control a block device"),
    ("bpf_prog_load", "load a BPF program"),
    ("br_ioctl_stub", "configure a bridge"),
    ("can_do_mlock", "lock memory"),
    ("can_nice", "raise a priority"),
    ("can_umount", "unmount"),
    ("cap_capset", "set capabilities"),
    ("cap_convert_nscap", "set the capabilities of a file"),
    ("cap_inode_removexattr", "remove a security attribute of a file"),
    ("cap_inode_setxattr", "set a security attribute of a file"),
    ("cap_mmap_addr", "map memory at a low address"),
    ("cap_ptrace_access_check", "look into a process with more capabilities"),
    ("cap_ptrace_traceme", "be traced by another's process"),
    ("cap_settime", "set the clock"),
    ("cap_task_prctl", "drop from the bounding set or change securebits"),
    ("cap_task_setioprio", "change the I/O priority of another's process"),
    ("cap_task_setnice", "change the priority of another's process"),
    ("cap_task_setscheduler", "change the scheduling of another's process"),
    ("cgroupns_install", "enter a namespace"),
    ("check_kill_permission", "send a signal to another's process"),
    ("check_quotactl_permission", "manage disk quotas"),
    ("check_sticky", "delete or rename another's file in a sticky directory"),
    ("check_syslog_permissions", "read the kernel log"),
    ("copy_namespaces", "create a namespace"),
    ("copy_process", "exceed the limit of processes"),
    ("create_new_namespaces", "create a namespace"),
    ("dentry_needs_remove_privs", "write to a set-ID file and keep its bits"),
    ("dev_ioctl", "configure a network interface"),
    ("devinet_ioctl", "configure a network address"),
    ("devkmsg_open", "read the kernel log"),
    ("do_adjtimex", "set the clock"),
    ("do_ip6t_set_ctl", "change the packet filter"),
    ("do_ip_setsockopt", "set a privileged option of a socket"),
    ("do_ipt_set_ctl", "change the packet filter"),
    ("do_ipv6_setsockopt", "set a privileged option of a socket"),
    ("do_mknodat", "create a device file"),
    ("do_mlock", "lock memory"),
    ("do_prlimit", "raise a resource limit"),
    ("do_settimeofday64", "set the clock"),
    ("do_tcp_setsockopt", "set a privileged option of a socket"),
    ("ext4_has_free_clusters", "use disk blocks that are reserved"),
    ("file_remove_privs_flags", "write to a set-ID file and keep its bits"),
    ("fileattr_set_prepare", "change the immutable or append-only flag of a file"),
    ("generic_permission", "read, write or search whatever the permission bits say"),
    ("generic_setlease", "take a lease on another's file"),
    ("genl_family_rcv_msg", "use a netlink interface of the kernel"),
    ("genl_rcv_msg", "use a netlink interface of the kernel"),
    ("handle_to_path", "open a file by its handle"),
    ("inet6_create", "create a raw socket"),
    ("inet_create", "create a raw socket"),
    ("io_uring_create", "exceed the limit of locked memory"),
    ("ioprio_check_cap", "raise an I/O priority"),
    ("ip_rt_ioctl", "change a route"),
    ("ipcctl_obtain_check", "change another's IPC object"),
    ("ipcns_install", "enter a namespace"),
    ("ipcperms", "use another's IPC object"),
    ("kexec_load_permitted", "load another kernel"),
    ("map_create", "create a BPF map"),
    ("map_write", "write a user or group ID map"),
    ("may_decode_fh", "open a file by its handle"),
    ("may_init_module", "load a kernel module"),
    ("may_linkat", "link to another's file"),
    ("may_mount", "mount or unmount"),
    ("may_open", "open another's file without changing its access time"),
    ("may_setgroups", "set the supplementary groups"),
    ("mntns_install", "enter a namespace"),
    ("mode_strip_sgid", "create a file with the set-group-ID bit"),
    ("net_ctl_permissions", "change a network setting"),
    ("netns_install", "enter a namespace"),
    ("new_idmap_permitted", "write a user or group ID map"),
    ("nfnetlink_rcv", "use the packet filter"),
    ("notify_change", "change the owner, mode or times of a file"),
    ("ns_capable_setid", "change the user or group"),
    ("open_port", "open the memory of the machine"),
    ("packet_create", "create a packet socket"),
    ("path_mount", "mount"),
    ("pidns_install", "enter a namespace"),
    ("proc_setgroups_write", "write a user or group ID map"),
    ("ptrace_may_access", "look into another's process"),
    ("rtnetlink_rcv_msg", "configure the network"),
    ("sched_setaffinity", "change the CPU affinity of another's process"),
    ("scsi_cmd_allowed", "send a command to a disk"),
    ("set_one_prio", "change the priority of a process"),
    ("set_user_nice", "raise a priority"),
    ("setattr_prepare", "change the owner, mode or times of a file"),
    ("setattr_should_drop_sgid", "keep the set-group-ID bit of a file"),
    ("setattr_should_drop_suidgid", "keep the set-ID bits of a file"),
    ("sk_setsockopt", "set a privileged option of a socket"),
    ("timens_install", "enter a namespace"),
    ("tun_set_iff", "create a tunnel"),
    ("unshare_nsproxy_namespaces", "create a namespace"),
    ("user_shm_lock", "lock shared memory"),
    ("userns_install", "enter a namespace"),
    ("utsns_install", "enter a namespace"),
    ("vfs_mknod", "create a device file"),
    ("vfs_setlease", "take a lease on another's file"),
    ("vt_ioctl", "control a virtual terminal"),
    ("xattr_permission", "change a trusted attribute of a file"),
];

/// Functions that process a message. Its answer is another message, and the system call that sent
/// it succeeds. (net/netlink/af_netlink.c, io_uring/)
const MESSAGES: &[&str] = &[
    "netlink_unicast_kernel",
    "netlink_rcv_skb",
    "audit_receive",
    "io_issue_sqe",
    "io_wq_submit_work",
];

/// Returns the function that checked, and its purpose.
fn reason<'a>(functions: &[&'a str]) -> (&'a str, Option<&'static str>) {
    let known = |name: &&str| {
        let name = name.split('.').next().unwrap_or_default();
        let at = REASONS.binary_search_by_key(&name, |(function, _)| function).ok()?;
        Some(REASONS[at].1)
    };
    // A known function further out says more than the innermost one.
    let named = functions.iter().find_map(|name| known(name).map(|reason| (*name, Some(reason))));
    let nearest = || functions.iter().find(|name| !hands_on(name)).copied();
    named.unwrap_or_else(|| (nearest().unwrap_or_default(), None))
}

fn hands_on(name: &str) -> bool {
    // A compiler adds ".constprop.0" and the like.
    let name = name.split('.').next().unwrap_or_default();
    name.contains("trace_")
        || name.ends_with("capable")
        || name.ends_with("capable_noaudit")
        || name.contains("capable_wrt")
        || name.contains("capability")
        || HANDS_ON.iter().any(|known| name.starts_with(known))
}

/// Returns the system call, based on its entry function.
fn system_call<'a>(functions: &[&'a str]) -> Option<&'a str> {
    const ENTRIES: [&str; 7] =
        ["__x64_sys_", "__arm64_sys_", "__riscv_sys_", "__do_sys_", "__se_sys_", "ksys_", "__sys_"];
    functions
        .iter()
        .rev()
        .find_map(|name| ENTRIES.iter().find_map(|entry| name.strip_prefix(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_in_order() {
        assert!(REASONS.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    /// Stacks recorded on Linux 6.18.
    #[test]
    fn stacks() {
        type Row<'a> = (&'a [&'a str], &'a str, Option<&'a str>, Option<&'a str>);
        let rows: &[Row<'_>] = &[
            (
                &[
                    "trace_event_raw_event_cap_capable",
                    "cap_capable",
                    "security_capable",
                    "capable_wrt_inode_uidgid",
                    "setattr_prepare",
                    "ext4_setattr",
                    "notify_change",
                    "chown_common",
                    "do_fchownat",
                    "__x64_sys_fchownat",
                    "do_syscall_64",
                    "entry_SYSCALL_64_after_hwframe",
                ],
                "setattr_prepare",
                Some("change the owner, mode or times of a file"),
                Some("fchownat"),
            ),
            (
                &[
                    "cap_capable",
                    "security_capable",
                    "ns_capable",
                    "cap_task_prctl",
                    "security_task_prctl",
                    "__do_sys_prctl",
                    "do_syscall_64",
                ],
                "cap_task_prctl",
                Some("drop from the bounding set or change securebits"),
                Some("prctl"),
            ),
            (&["cap_capable", "capable", "new_function"], "new_function", None, None),
            (&["cap_capable"], "", None, None),
            (&[], "", None, None),
        ];
        for (functions, function, words, call) in rows {
            assert_eq!(reason(functions), (*function, *words), "{functions:?}");
            assert_eq!(system_call(functions), *call, "{functions:?}");
        }
    }
}

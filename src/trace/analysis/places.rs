//! The place in the kernel that made a check, and the purpose of the check.

use super::Meaning;
use crate::trace::record::Symbols;

/// The place in the kernel that made a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
        Place { function: function.to_owned(), reason, system_call, meaning }
    }
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
    "security_capable",
    "capable",
    "has_capability",
    "has_ns_capability",
    "inode_owner_or_capable",
    "privileged_wrt_inode_uidgid",
    "bpf_token_capable",
    "security_vm_enough_memory",
    "cap_vm_enough_memory",
];

/// The purpose of each function's check, from the source of the function.
const REASONS: &[(&str, &str)] = &[
    ("__inet6_bind", "bind a port below 1024"),
    ("__inet_bind", "bind a port below 1024"),
    ("__sys_setgid", "change the group"),
    ("__sys_setregid", "change the group"),
    ("__sys_setresgid", "change the group"),
    ("__sys_setresuid", "change the user"),
    ("__sys_setreuid", "change the user"),
    ("__sys_setuid", "change the user"),
    ("alloc_pid", "choose a process id"),
    ("bpf_prog_load", "load a BPF program"),
    ("can_nice", "raise a priority"),
    ("cap_capset", "set capabilities"),
    ("cap_task_prctl", "drop from the bounding set or change securebits"),
    ("cap_task_setnice", "change the priority of another's process"),
    ("check_kill_permission", "send a signal to another's process"),
    ("check_syslog_permissions", "read the kernel log"),
    ("do_adjtimex", "set the clock"),
    ("do_mknodat", "create a device file"),
    ("do_mlock", "lock memory"),
    ("do_prlimit", "raise a resource limit"),
    ("do_settimeofday64", "set the clock"),
    ("generic_permission", "read, write or search whatever the permission bits say"),
    ("inet6_create", "create a raw socket"),
    ("inet_create", "create a raw socket"),
    ("may_linkat", "link to another's file"),
    ("may_mount", "mount or unmount"),
    ("may_setgroups", "set the supplementary groups"),
    ("notify_change", "change the owner, mode or times of a file"),
    ("ns_capable_setid", "change the user or group"),
    ("packet_create", "create a packet socket"),
    ("path_mount", "mount"),
    ("ptrace_may_access", "look into another's process"),
    ("rtnetlink_rcv_msg", "configure the network"),
    ("set_user_nice", "raise a priority"),
    ("setattr_prepare", "change the owner, mode or times of a file"),
    ("sk_setsockopt", "set a privileged option of a socket"),
    ("vfs_mknod", "create a device file"),
    ("xattr_permission", "change a trusted attribute of a file"),
];

/// Returns the function that checked, and its purpose.
fn reason<'a>(functions: &[&'a str]) -> (&'a str, Option<&'static str>) {
    let known = |name: &&str| {
        let at = REASONS.binary_search_by_key(name, |(function, _)| function).ok()?;
        Some(REASONS[at].1)
    };
    // A known function further out says more than the innermost one.
    let named = functions.iter().find_map(|name| known(name).map(|reason| (*name, Some(reason))));
    let nearest = || functions.iter().find(|name| !hands_on(name)).copied();
    named.unwrap_or_else(|| (nearest().unwrap_or_default(), None))
}

fn hands_on(name: &str) -> bool {
    name.contains("trace_")
        || name.contains("ns_capable")
        || name.contains("capable_wrt")
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

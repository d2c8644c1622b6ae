//! The table for [`super::seccomp`].

use crate::Cap;

/// The system calls that Docker's default seccomp profile allows only with a capability.
/// (github.com/moby/profiles, seccomp/default.json, the rules with `includes` and `caps`, in
/// November 2026)
#[rustfmt::skip]
pub(super) const CALLS: &[(Cap, &[&str])] = &[
    (Cap::DAC_READ_SEARCH, &["open_by_handle_at"]),
    (Cap::SYS_MODULE,      &["delete_module", "finit_module", "init_module"]),
    (Cap::SYS_RAWIO,       &["ioperm", "iopl"]),
    (Cap::SYS_CHROOT,      &["chroot"]),
    (Cap::SYS_PTRACE,      &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"]),
    (Cap::SYS_PACCT,       &["acct"]),
    (Cap::SYS_ADMIN,       &["bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
        "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount", "mount_setattr",
        "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname",
        "setns", "syslog", "umount", "umount2", "unshare"]),
    (Cap::SYS_BOOT,        &["reboot"]),
    (Cap::SYS_NICE,        &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Cap::SYS_TIME,        &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    (Cap::SYS_TTY_CONFIG,  &["vhangup"]),
    (Cap::SYSLOG,          &["syslog"]),
    (Cap::PERFMON,         &["perf_event_open"]),
    (Cap::BPF,             &["bpf"]),
];

//! The privileges of the calling process, and the ways from them to more: by asking the kernel,
//! and without trying any of them.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};
use serde_json::{Value, json};

use super::{
    encode,
    gather::{Sources, gather},
    inventory::set_in_words,
    output::json::SCHEMA,
};
use crate::{
    Cap, CapSet, Result,
    exec::Credentials,
    launch::Launcher,
    proc::{Proc, Seccomp},
    sys::ask::{Question, ask},
};

/// The inode of the initial user namespace. (`PROC_USER_INIT_INO` of include/linux/proc_ns.h)
const INITIAL: u64 = 0xefff_fffd;

/// Facts about the calling process and its surroundings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Here {
    /// Its user, groups and sets.
    pub credentials: Credentials,
    /// Whether its user namespace is the machine's; `None` without /proc.
    pub is_initial: Option<bool>,
    /// How its system calls are filtered; `None` without /proc.
    pub seccomp: Option<Seccomp>,
    /// The label or profile of the security module.
    pub lsm: Option<String>,
    /// The active security modules whose rules CAP_MAC_OVERRIDE or CAP_MAC_ADMIN is about.
    pub modules: Vec<&'static str>,
    /// System calls that a filter refuses or the kernel lacks, among those that this process has the
    /// capability for.
    pub filtered: Vec<&'static str>,
    /// Mounted file systems that it may write to.
    pub writable: Vec<String>,
    /// Whether it may create a user namespace.
    pub user_namespaces: bool,
    /// How many processes of other users it sees.
    pub others: usize,
    /// How many set-user-ID-root programs it finds.
    pub set_uid: usize,
    /// Files that lead to root of the machine and that it may write to.
    pub keys: Vec<&'static str>,
}

/// A way to more privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Way {
    /// The means, such as `cap_sys_module` or a path.
    pub name: String,
    /// Whether it is open: nothing that was asked stands in the way.
    pub is_open: bool,
    /// Where it leads, or why it is closed.
    pub text: String,
}

/// The questions, their system calls, and the capabilities without which they mean nothing.
const QUESTIONS: &[(Question, &str, &[Cap])] = &[
    (Question::Mount, "mount", &[Cap::SYS_ADMIN]),
    (Question::PivotRoot, "pivot_root", &[Cap::SYS_ADMIN]),
    (Question::Unshare, "unshare", &[]),
    (Question::Setns, "setns", &[Cap::SYS_ADMIN]),
    (Question::Ptrace, "ptrace", &[]),
    (Question::InitModule, "init_module", &[Cap::SYS_MODULE]),
    (Question::Bpf, "bpf", &[Cap::BPF, Cap::SYS_ADMIN]),
    (Question::PerfEventOpen, "perf_event_open", &[Cap::PERFMON, Cap::SYS_ADMIN]),
    (Question::OpenByHandleAt, "open_by_handle_at", &[Cap::DAC_READ_SEARCH]),
    (Question::KexecLoad, "kexec_load", &[Cap::SYS_BOOT]),
];

/// The system call that the way of a capability takes.
const CALLS: &[(Cap, &str)] = &[
    (Cap::SYS_ADMIN, "mount"),
    (Cap::SYS_MODULE, "init_module"),
    (Cap::SYS_PTRACE, "ptrace"),
    (Cap::SYS_BOOT, "kexec_load"),
    (Cap::DAC_READ_SEARCH, "open_by_handle_at"),
    (Cap::PERFMON, "perf_event_open"),
    (Cap::BPF, "bpf"),
];

/// Files by which a container's process becomes root of the machine, if it may write to them.
const KEYS: &[&str] = &[
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/sys/kernel/uevent_helper",
    "/proc/sysrq-trigger",
    "/dev/mem",
];

/// Asks for the facts. Each system call is made in a child of its own, which a filter may end.
///
/// # Errors
///
/// This process has several threads, or the kernel does not tell its credentials.
pub fn look() -> Result<Here> {
    let credentials = Credentials::current()?;
    let pid = std::process::id();
    let status = Proc::default().status(pid).ok();
    let namespace = fs::metadata("/proc/self/ns/user").ok();
    let mut filtered = Vec::new();
    for &(question, name, caps) in QUESTIONS {
        let holds = |cap: &Cap| credentials.caps.effective.contains(*cap);
        if (caps.is_empty() || caps.iter().any(holds)) && !passes(question)? {
            filtered.push(name);
        }
    }
    let lsm = fs::read_to_string("/proc/self/attr/current").ok();
    let lsm = lsm.map(|text| text.trim_matches(['\0', '\n', ' ']).to_owned());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let may_write = |path: &str| access(path, AccessFlags::W_OK).is_ok();
    let is_key = |path: &&'static str| {
        let kind = fs::symlink_metadata(path).map(|stat| stat.file_type());
        kind.is_ok_and(|kind| kind.is_socket() || kind.is_file() || kind.is_char_device())
            && may_write(path)
    };
    let user_namespaces = passes(Question::UserNamespace)?;
    // Only now: the scan starts threads.
    let programs = gather(&Sources::of_paths(["/usr", "/bin", "/sbin"].map(Into::into)));
    let is_set_uid =
        |file: &&super::PrivilegedFile| file.is_set_uid() && file.uid == 0 && !file.is_nosuid;
    Ok(Here {
        is_initial: namespace.map(|stat| stat.ino() == INITIAL),
        seccomp: status.and_then(|status| status.seccomp),
        modules: modules(),
        lsm: lsm.filter(|text| !text.is_empty() && text != "unconfined"),
        filtered,
        writable: writable(&mounts).filter(|path| may_write(path)).map(encode).collect(),
        user_namespaces,
        others: others(credentials.uid.real),
        set_uid: programs.files.iter().filter(is_set_uid).count(),
        keys: KEYS.iter().copied().filter(is_key).collect(),
        credentials,
    })
}

/// Returns whether a system call reaches the kernel's own checks of its arguments.
fn passes(question: Question) -> Result<bool> {
    let child = Launcher::new().call(move || match ask(question) {
        Ok(()) => 0,
        Err(err) => match Errno::from_raw(err.raw_os_error().unwrap_or(0)) {
            Errno::EPERM | Errno::ENOSYS | Errno::EACCES | Errno::ENOSPC => 1,
            _ => 0,
        },
    })?;
    // A filter can also end the child.
    Ok(child.wait()?.code() == Some(0))
}

/// Returns which of Smack and AppArmor is active.
fn modules() -> Vec<&'static str> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    // Smack registers its file system only if it is active. (security/smack/smackfs.c)
    let has_smack = read("/proc/filesystems").lines().any(|line| line.ends_with("\tsmackfs"));
    let has_apparmor = read("/sys/module/apparmor/parameters/enabled").trim() == "Y";
    let all = [(has_smack, "smack"), (has_apparmor, "apparmor")];
    all.into_iter().filter(|(is_active, _)| *is_active).map(|(_, name)| name).collect()
}

/// Returns how many processes of other users can be seen.
fn others(uid: u32) -> usize {
    let proc = Proc::default();
    let pids = proc.processes().unwrap_or_default().into_iter();
    pids.filter(|&pid| proc.status(pid).is_ok_and(|status| status.uid.real != uid)).count()
}

/// Returns the mount points of file systems that are mounted for writing, by a text of mountinfo.
fn writable(mountinfo: &str) -> impl Iterator<Item = &str> {
    const OF_KERNEL: [&str; 8] =
        ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "securityfs", "debugfs"];
    mountinfo.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(4);
        let (on, options) = (fields.next()?, fields.next()?);
        let mut source = source.split(' ');
        let (kind, of_fs) = (source.next()?, source.nth(1)?);
        let is_rw = |options: &str| options.split(',').any(|option| option == "rw");
        let is_meant = is_rw(options) && is_rw(of_fs) && !OF_KERNEL.contains(&kind);
        is_meant.then_some(on)
    })
}

/// Returns the ways from these facts, the open ones first.
pub fn ways(here: &Here) -> Vec<Way> {
    let mut ways = Vec::new();
    let held = here.credentials.caps.effective;
    for cap in held {
        let Some(route) = crate::knowledge::route_to_root(cap) else { continue };
        let call = CALLS.iter().find(|(of, _)| *of == cap).map(|(_, call)| *call);
        let closed = match call {
            _ if here.is_initial == Some(false) => {
                Some("it counts only in this user namespace".to_owned())
            }
            Some(call) if here.filtered.contains(&call) => {
                Some(format!("{call} is filtered, or missing in this kernel"))
            }
            _ if cap == Cap::MAC_OVERRIDE && !here.modules.contains(&"smack") => {
                Some("Smack is not active".to_owned())
            }
            _ if cap == Cap::MAC_ADMIN && here.modules.is_empty() => {
                Some("neither Smack nor AppArmor is active".to_owned())
            }
            _ if cap == Cap::SYS_PTRACE && here.others == 0 && here.credentials.uid.real != 0 => {
                Some("no process of another user can be seen".to_owned())
            }
            _ => None,
        };
        let is_open = closed.is_none();
        ways.push(Way { name: cap.to_string(), is_open, text: closed.unwrap_or(route.into()) });
    }
    for key in &here.keys {
        let text = "it may be written, and leads to root of the machine".to_owned();
        ways.push(Way { name: (*key).to_owned(), is_open: true, text });
    }
    let is_root = here.credentials.uid.effective == 0;
    if !is_root && here.set_uid > 0 {
        let text = if here.credentials.no_new_privs {
            "no_new_privs is set".to_owned()
        } else {
            format!("{} of root's can be executed, each with mistakes of its own", here.set_uid)
        };
        let is_open = !here.credentials.no_new_privs;
        ways.push(Way { name: "set-user-ID programs".into(), is_open, text });
    }
    let text = if here.user_namespaces {
        "more of the kernel can be reached with capabilities in one"
    } else {
        "none can be created"
    };
    let is_open = here.user_namespaces && held != CapSet::all();
    ways.push(Way { name: "user namespaces".into(), is_open, text: text.into() });
    ways.sort_by_key(|way| !way.is_open);
    ways
}

/// Returns the facts and the ways as a report.
pub fn text(here: &Here, ways: &[Way]) -> String {
    let process = &here.credentials;
    let mut out = String::new();
    let yes = |is: bool| if is { "yes" } else { "no" };
    let namespace = match here.is_initial {
        Some(true) => "the machine's",
        Some(false) => "another one",
        None => "not known, without /proc",
    };
    let seccomp = match here.seccomp {
        Some(Seccomp::Disabled) => "no filter",
        None | Some(Seccomp::Unknown) => "not known",
        Some(_) => "filtered",
    };
    let filtered = if here.filtered.is_empty() {
        "none of those asked".into()
    } else {
        here.filtered.join(", ")
    };
    let lines = [
        ("User", format!("{}:{}", process.uid.effective, process.gid.effective)),
        ("Effective", set_in_words(process.caps.effective)),
        ("Permitted", set_in_words(process.caps.permitted)),
        ("Ambient", set_in_words(process.ambient)),
        ("Bounding", set_in_words(process.bounding)),
        ("No new privileges", yes(process.no_new_privs).into()),
        ("User namespace", namespace.into()),
        ("Seccomp", seccomp.into()),
        ("Refused calls", filtered),
        ("Security module", here.lsm.as_deref().map_or_else(|| "none".into(), encode)),
        ("Writable mounts", here.writable.join(", ")),
    ];
    for (key, value) in lines {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{key:<18} {value}");
    }
    let _ = writeln!(out, "\nWays to more privileges:");
    for way in ways {
        let state = if way.is_open { "open" } else { "closed" };
        let _ = writeln!(out, "  {state:<7} {}: {}", way.name, way.text);
    }
    out
}

/// Returns the facts and the ways as JSON. (docs/json.md)
pub fn document(here: &Here, ways: &[Way]) -> Value {
    let process = &here.credentials;
    let way = |way: &Way| json!({"name": way.name, "open": way.is_open, "text": way.text});
    json!({
        "schema": SCHEMA,
        "uid": process.uid,
        "gid": process.gid,
        "groups": process.groups,
        "effective": process.caps.effective,
        "permitted": process.caps.permitted,
        "inheritable": process.caps.inheritable,
        "bounding": process.bounding,
        "ambient": process.ambient,
        "no_new_privs": process.no_new_privs,
        "initial_user_namespace": here.is_initial,
        "seccomp": here.seccomp,
        "security_module": here.lsm,
        "filtered": here.filtered,
        "writable_mounts": here.writable,
        "user_namespaces": here.user_namespaces,
        "processes_of_others": here.others,
        "set_uid_programs": here.set_uid,
        "ways": ways.iter().map(way).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(caps: CapSet) -> Here {
        let mut credentials = Credentials::of_user(1000, 1000);
        credentials.caps.effective = caps;
        Here {
            credentials,
            is_initial: Some(true),
            seccomp: None,
            lsm: None,
            modules: Vec::new(),
            filtered: Vec::new(),
            writable: Vec::new(),
            user_namespaces: false,
            others: 3,
            set_uid: 0,
            keys: Vec::new(),
        }
    }

    fn open(here: &Here) -> Vec<String> {
        ways(here).into_iter().filter(|way| way.is_open).map(|way| way.name).collect()
    }

    #[test]
    fn open_and_closed() {
        let module = || here(Cap::SYS_MODULE.into());
        assert_eq!(open(&here(CapSet::empty())), [""; 0]);
        assert_eq!(open(&here(Cap::NET_BIND_SERVICE.into())), [""; 0]);
        assert_eq!(open(&module()), ["cap_sys_module"]);
        assert_eq!(open(&Here { filtered: vec!["init_module"], ..module() }), [""; 0]);
        assert_eq!(open(&Here { is_initial: Some(false), ..module() }), [""; 0]);
        assert_eq!(open(&Here { others: 0, ..here(Cap::SYS_PTRACE.into()) }), [""; 0]);
        let mac = || here(Cap::MAC_OVERRIDE | Cap::MAC_ADMIN);
        assert_eq!(open(&mac()), [""; 0]);
        assert_eq!(open(&Here { modules: vec!["apparmor"], ..mac() }), ["cap_mac_admin"]);
        let both = ["cap_mac_override", "cap_mac_admin"];
        assert_eq!(open(&Here { modules: vec!["smack"], ..mac() }), both);
        let key = Here { keys: vec!["/dev/mem"], ..here(CapSet::empty()) };
        assert_eq!(open(&key), ["/dev/mem"]);
        let mut programs = Here { set_uid: 2, ..here(CapSet::empty()) };
        assert_eq!(open(&programs), ["set-user-ID programs"]);
        programs.credentials.no_new_privs = true;
        assert_eq!(open(&programs), [""; 0]);
    }

    #[test]
    fn mounts() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            23 22 0:5 / /proc rw - proc proc rw\n24 22 8:2 / /data rw - ext4 /dev/sdb ro\n\
            25 22 8:3 / /ro ro - ext4 /dev/sdc rw\n26 22 0:9 / /tmp rw,nosuid - tmpfs tmpfs rw\nx\n";
        assert_eq!(writable(text).collect::<Vec<_>>(), ["/", "/tmp"]);
    }
}

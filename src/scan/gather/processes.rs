//! Processes with capabilities, their units and containers.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::{Names, cgroup, files::Ways, sockets, unread};
use crate::{
    CapSet, CapState,
    proc::{self, Kind, Proc, Seccomp, Status},
    scan::{Group, Inventory, PrivilegedProcess, encode, inventory::Namespace},
};

pub(super) fn gather(inventory: &mut Inventory, names: &mut Names) {
    let proc = match Proc::of_namespace() {
        Ok(proc) => proc,
        Err(err) => return inventory.unread.push(unread("/proc", &err)),
    };
    let tree = match proc.tree() {
        Ok(tree) => tree,
        Err(err) => return inventory.unread.push(unread("/proc", &err)),
    };
    let own = own_namespaces(&proc);
    let mut ways = Ways::new(None);
    for process in tree.processes() {
        if process.status.kind == Kind::Program && holds_any(process) {
            inventory.processes.push(look(process, &proc, &own, names, &mut ways));
        }
    }
    let pids: Vec<u32> = tree
        .processes()
        .filter(|process| process.status.kind == Kind::Program)
        .map(|process| process.status.pid)
        .collect();
    let (sockets, errors) = sockets::gather(&pids);
    inventory.sockets = sockets;
    inventory.unread.extend(errors);
    let processes = &inventory.processes;
    inventory.units = groups(processes, |process| {
        process.container.is_none().then_some(process.unit.as_deref()).flatten()
    });
    inventory.containers = groups(processes, |process| process.container.as_deref());
}

/// The namespaces of the process that scans.
struct Own {
    user: Option<proc::Namespace>,
    mount: Option<u64>,
}

fn own_namespaces(proc: &Proc) -> Own {
    let pid = std::process::id();
    Own { user: proc.user_namespace(pid).ok(), mount: namespace(pid, "mnt") }
}

/// Returns the inode of a namespace of a process, if it may be asked.
pub(super) fn namespace(pid: u32, kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|stat| stat.ino())
}

fn holds_any(process: &proc::Process) -> bool {
    let holds = |status: &Status| {
        let CapState { effective, permitted, inheritable } = status.caps;
        !(effective | permitted | inheritable | status.ambient).is_empty()
    };
    holds(&process.status) || process.threads.iter().any(holds)
}

fn look(
    process: &proc::Process,
    proc: &Proc,
    own: &Own,
    names: &mut Names,
    ways: &mut Ways,
) -> PrivilegedProcess {
    let status = process.status.clone();
    let pid = status.pid;
    let differs = |thread: &&Status| (thread.caps, thread.ambient) != (status.caps, status.ambient);
    let threads = process.threads.iter().filter(differs).cloned().collect();
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let namespace_of_users = match proc.user_namespace(pid) {
        Ok(user) if Some(user) == own.user => Namespace::Same,
        Ok(_) => Namespace::Other,
        Err(_) => Namespace::Unknown,
    };
    // A path means something else in another mount namespace.
    let is_here = own.mount.is_some() && namespace(pid, "mnt") == own.mount;
    let writable = match &program {
        Some(path) if is_here => {
            let file = running(path, pid);
            let ids = |stat: Metadata| {
                ways.who_can_write(path, stat.mode() & 0o7777, (stat.uid(), stat.gid()))
            };
            file.map(ids).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    PrivilegedProcess {
        user: names.user(status.uid.effective),
        unit: proc.unit(pid).ok().flatten().map(encode),
        container: cgroup::container(&cgroup).map(str::to_owned),
        namespace: namespace_of_users,
        status,
        threads,
        program,
        writable,
    }
}

/// Returns the status of the file that a process executes, if the path still leads to it.
fn running(path: &Path, pid: u32) -> Option<Metadata> {
    let running = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    let found = fs::symlink_metadata(path).ok()?;
    ((running.dev(), running.ino()) == (found.dev(), found.ino())).then_some(running)
}

/// Returns the processes of each unit or container.
fn groups<'a>(
    processes: &'a [PrivilegedProcess],
    name: impl Fn(&'a PrivilegedProcess) -> Option<&'a str>,
) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Vec<&PrivilegedProcess>> = BTreeMap::new();
    for process in processes {
        if let Some(name) = name(process) {
            groups.entry(name).or_default().push(process);
        }
    }
    let union = |all: &[&PrivilegedProcess], set: fn(&Status) -> CapSet| {
        all.iter().fold(CapSet::empty(), |sum, process| {
            process.threads.iter().fold(sum | set(&process.status), |sum, one| sum | set(one))
        })
    };
    groups
        .into_iter()
        .map(|(name, all)| Group {
            name: name.to_owned(),
            pids: all.iter().map(|process| process.status.pid).collect(),
            bounding: union(&all, |status| status.bounding),
            permitted: union(&all, |status| status.caps.permitted),
            ambient: union(&all, |status| status.ambient),
            no_new_privs: all.iter().all(|one| one.status.no_new_privs == Some(true)),
            is_filtered: all.iter().all(|one| one.status.seccomp == Some(Seccomp::Filter)),
            is_same_namespace: all.iter().any(|one| one.namespace == Namespace::Same),
            unused: None,
        })
        .collect()
}

//! The changes that would have avoided a refusal, as a function of the refused system call and the
//! files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    Change,
    machine::{Machine, is_group_of_root},
};
use crate::{
    Cap, CapSet,
    trace::denial::{Denial, Lock},
};

/// A user of an image or of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// The name in /etc/passwd.
    pub name: Option<String>,
    /// The user ID.
    pub uid: u32,
    /// The group ID.
    pub gid: u32,
}

/// A file of the image or of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) is_directory: bool,
    pub(crate) owner: u32,
    pub(crate) group: u32,
    pub(crate) mode: u32,
}

/// A place at which something is mounted in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

/// The source of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A directory of the host.
    Host(String),
    /// A volume, with its name unless that is random.
    Volume(Option<String>),
    /// A tmpfs, or something else without files of the image.
    Other,
}

/// The facts on which a change depends.
pub(crate) struct Ground<'a> {
    pub(crate) account: &'a Account,
    /// The changes of the run.
    pub(crate) changes: &'a [&'a Change],
    /// Returns a file as it is without changes.
    pub(crate) find: &'a dyn Fn(&Path) -> Option<Found>,
    /// Returns a path without symbolic links, as far as it exists.
    pub(crate) resolve: &'a dyn Fn(&Path) -> PathBuf,
    pub(crate) place: Place<'a>,
}

/// The place in which a program runs.
pub(crate) enum Place<'a> {
    /// A container, which has kernel parameters and a copy of the image's files of its own.
    Container {
        mounts: &'a [Mounted],
        /// The variables that the entrypoint reads, by which a step can be skipped.
        variables: &'a [String],
        /// Whether the command can run without the entrypoint.
        has_entrypoint: bool,
    },
    /// A service of the machine, whose files and kernel parameters are those of other programs too.
    Service {
        /// The name of the unit.
        unit: &'a str,
        /// Returns the name of a group.
        group: &'a dyn Fn(u32) -> Option<String>,
        /// Returns whether everything below a directory is root's alone.
        is_all_of_root: &'a dyn Fn(&Path) -> bool,
    },
}

impl Ground<'_> {
    /// Returns a file as it is in the run.
    fn found(&self, path: &Path) -> Option<Found> {
        let Account { uid, gid, .. } = *self.account;
        let mut found = (self.find)(path);
        for change in self.changes {
            match change {
                Change::Own { path: owned, is_recursive }
                    if path == Path::new(owned) || *is_recursive && path.starts_with(owned) =>
                {
                    found = found.map(|found| Found { owner: uid, group: gid, ..found });
                }
                Change::Create { path: created, is_directory } if path == Path::new(created) => {
                    let mode = if *is_directory { 0o755 } else { 0o644 };
                    let is_directory = *is_directory;
                    found = Some(Found { is_directory, owner: uid, group: gid, mode });
                }
                _ => {}
            }
        }
        found
    }

    fn is_service(&self) -> bool {
        matches!(self.place, Place::Service { .. })
    }

    /// Returns the machine, if its files are those of the program.
    fn machine(&self) -> Option<Machine<'_>> {
        let Place::Service { unit, .. } = self.place else { return None };
        Some(Machine { find: self.find, account: self.account, unit })
    }

    /// Returns whether the user may own a file or directory.
    fn may_own(&self, path: &Path) -> bool {
        let is_created = self.changes.iter().any(|change| match change {
            Change::Create { path: created, .. } => path.starts_with(created),
            _ => false,
        });
        self.machine().is_none_or(|machine| is_created || machine.may_own(path))
    }

    /// Returns whether the user may own a directory and everything below it.
    fn may_own_all(&self, path: &Path) -> bool {
        match self.place {
            Place::Service { is_all_of_root, .. } => self.may_own(path) && is_all_of_root(path),
            Place::Container { .. } => !is_shared(path, self),
        }
    }

    /// Returns whether the user may own a file or directory that is created.
    fn may_create(&self, path: &Path) -> bool {
        self.machine().is_none_or(|machine| machine.may_create(path))
    }
}

/// Directories that belong to no single program. One of their entries can belong to a user.
const SHARED: [&str; 20] = [
    "/",
    "/bin",
    "/boot",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/mnt",
    "/opt",
    "/sbin",
    "/srv",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/log",
];

/// More directories of this kind.
const SHARED_TOO: [&str; 3] = ["/var/cache", "/var/spool", "/media"];

/// Directories whose content does not outlive the container.
const RUNTIME: [&str; 5] = ["/run", "/tmp", "/var/run", "/var/tmp", "/dev/shm"];

/// Directories that only have files of the kernel.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Capabilities that a program's file does not get: they are for changing the user, and for files,
/// which have owners.
const NOT_FOR_FILES: CapSet = CapSet::of(&[
    Cap::CHOWN,
    Cap::DAC_OVERRIDE,
    Cap::DAC_READ_SEARCH,
    Cap::FOWNER,
    Cap::FSETID,
    Cap::SETGID,
    Cap::SETPCAP,
    Cap::SETUID,
]);

/// Capabilities that the owner of a file does not need.
const FOR_OWNERS: CapSet =
    CapSet::of(&[Cap::CHOWN, Cap::DAC_OVERRIDE, Cap::DAC_READ_SEARCH, Cap::FOWNER, Cap::FSETID]);

/// Returns the changes each of which may avoid a refusal, the most welcome first.
fn remedies(denial: &Denial, ground: &Ground<'_>) -> Vec<Change> {
    // An owner does not help against a seccomp filter or a read-only mount.
    if !matches!(denial.lock, Lock::Capability | Lock::NoCheck) {
        return Vec::new();
    }
    let is_of_owner = denial.caps.is_empty() || !(denial.caps & FOR_OWNERS).is_empty();
    let name = denial.object.as_ref().map(|object| object.name.as_str());
    let mut changes = Vec::new();
    match (&*denial.system_call, name) {
        ("bind", _) if denial.caps.contains(Cap::NET_BIND_SERVICE) => {
            changes.extend((!ground.is_service()).then_some(Change::PORTS));
        }
        // The range of groups is checked without a capability.
        ("socket", Some("AF_INET SOCK_DGRAM" | "AF_INET6 SOCK_DGRAM")) => {
            changes.extend((!ground.is_service()).then_some(Change::PING));
        }
        ("setgroups" | "initgroups", _) => changes.extend(steps(ground)),
        (call, _) if call.starts_with("setuid") || call.starts_with("setgid") => {
            changes.extend(steps(ground));
        }
        ("setresuid" | "setreuid" | "setresgid" | "setregid", _) => changes.extend(steps(ground)),
        (call, Some(name)) => {
            let path = Path::new(name.strip_prefix("unix:").unwrap_or(name));
            if path.is_absolute() && is_of_owner {
                changes.extend(of_file(call, path, ground));
            }
            if call.contains("chown") {
                changes.extend(steps(ground));
            }
        }
        _ => {}
    }
    let is_known = denial.program.starts_with('/') || ground.is_service();
    if denial.lock == Lock::Capability && is_known {
        // Each of them would do. Newer ones, with the higher numbers, are for fewer purposes.
        let cap = (denial.caps - NOT_FOR_FILES).iter().next_back();
        // The ambient capabilities of a service are those of all its programs.
        let program = match ground.place {
            Place::Service { .. } => denial.program.clone(),
            Place::Container { .. } => text(&(ground.resolve)(Path::new(&denial.program))),
        };
        changes.extend(cap.map(|cap| Change::Capability { cap, program }));
    }
    // A service has the name of the program in no line.
    let is_named = |change: &Change| ground.is_service() && change.cap().is_some();
    changes.retain(|change| is_named(change) || change.path().is_none_or(is_plain));
    changes
}

/// Returns whether a path has the same meaning in a Dockerfile, an option of an engine, a Compose file
/// and a shell's here-document. A program chooses the paths that it is refused.
fn is_plain(path: &str) -> bool {
    path.chars().all(|char| char.is_alphanumeric() || "/._-+@~ ".contains(char))
}

/// Returns the ways to leave out steps of an entrypoint that only root can do.
fn steps(ground: &Ground<'_>) -> Vec<Change> {
    let Place::Container { variables, has_entrypoint, .. } = ground.place else {
        return Vec::new();
    };
    let variables = variables.iter().cloned().map(|name| Change::Variable { name });
    variables.chain(has_entrypoint.then_some(Change::NoEntrypoint)).collect()
}

/// Returns the directory of the host that a refusal is about, if there is one.
pub(super) fn of_host<'a>(denial: &Denial, ground: &'a Ground<'_>) -> Option<&'a str> {
    let path = Path::new(&denial.object.as_ref()?.name);
    match &mount(&(ground.resolve)(path), ground)?.source {
        Source::Host(source) => Some(source),
        _ => None,
    }
}

fn mount<'a>(path: &Path, ground: &'a Ground<'_>) -> Option<&'a Mounted> {
    let Place::Container { mounts, .. } = ground.place else { return None };
    let above = mounts.iter().filter(|mounted| path.starts_with(&mounted.path));
    above.max_by_key(|mounted| mounted.path.components().count())
}

/// Returns the changes of the file or directory that a system call was about.
fn of_file(call: &str, path: &Path, ground: &Ground<'_>) -> Vec<Change> {
    let path = (ground.resolve)(path);
    if KERNEL.iter().any(|kernel| path.starts_with(kernel) && !path.starts_with("/dev/shm")) {
        return Vec::new();
    }
    if let Some(mounted) = mount(&path, ground) {
        return match &mounted.source {
            Source::Volume(name) => {
                vec![Change::Volume { path: text(&mounted.path), name: name.clone() }]
            }
            // The files of the host are left alone.
            _ => Vec::new(),
        };
    }
    // A directory on the way that the user cannot search.
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let closed = above.iter().find_map(|directory| {
        let found = ground.found(directory)?;
        (!permits(&found, 0o1, ground.account)).then(|| access(directory, &found, ground))
    });
    if let Some(closed) = closed {
        return closed;
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let found = ground.found(&path);
    let is_entry = matches!(
        call,
        "unlink" | "unlinkat" | "rmdir" | "rename" | "renameat" | "renameat2" | "link" | "linkat"
    );
    match found {
        Some(found) if !is_entry => {
            let directory = if found.is_directory { &*path } else { parent };
            let access = access(&path, &found, ground);
            runtime(directory, ground).into_iter().chain(access).collect()
        }
        _ => of_directory(call, &path, parent, ground),
    }
}

/// Returns the changes that give access to a file or directory that exists.
fn access(path: &Path, found: &Found, ground: &Ground<'_>) -> Vec<Change> {
    let group = match ground.place {
        // It permits more to its group than to others.
        Place::Service { group, .. }
            if found.group != 0 && found.mode >> 3 & 0o7 & !(found.mode & 0o7) != 0 =>
        {
            let name = group(found.group).filter(|name| !is_group_of_root(name));
            name.map(|name| Change::Group { name })
        }
        _ => None,
    };
    let own = Change::Own { path: text(path), is_recursive: false };
    let own = ground.may_own(path).then_some(own);
    group.into_iter().chain(created(path, ground)).chain(own).collect()
}

/// Returns the creation of an entry of a directory for runtime data, which a service finds empty when
/// the machine has started.
fn created(path: &Path, ground: &Ground<'_>) -> Option<Change> {
    let is_runtime = |one: &Path| RUNTIME.iter().any(|runtime| one == Path::new(runtime));
    let top = path.ancestors().find(|one| one.parent().is_some_and(is_runtime))?;
    let is_directory = top != path || ground.found(path)?.is_directory;
    let is_wanted = ground.is_service() && ground.may_create(top);
    is_wanted.then(|| Change::Create { path: text(top), is_directory })
}

/// Returns the changes by which an entry can be created in, or removed from, a directory.
fn of_directory(call: &str, path: &Path, parent: &Path, ground: &Ground<'_>) -> Vec<Change> {
    // The first directory above that exists: a program may create several.
    let exists = |directory: &&Path| ground.found(directory).is_some();
    let above = parent.ancestors().find(exists).unwrap_or(Path::new("/"));
    let mut changes: Vec<Change> = runtime(above, ground).into_iter().collect();
    let is_directory = call.starts_with("mkdir") || above != parent;
    // Other calls fail if the entry exists.
    let is_created = ["open", "creat", "mkdir"].iter().any(|name| call.starts_with(name));
    if !is_shared(above, ground) {
        let found = ground.found(above);
        changes.extend(found.map(|found| access(above, &found, ground)).into_iter().flatten());
    } else if is_created {
        let path = path.ancestors().find(|one| one.parent() == Some(above)).unwrap_or(path);
        let create = Change::Create { path: text(path), is_directory };
        changes.extend(ground.may_create(path).then_some(create));
    }
    changes
}

/// Returns a tmpfs in the place of a directory, if that is for runtime data.
fn runtime(directory: &Path, ground: &Ground<'_>) -> Option<Change> {
    let is_runtime = RUNTIME.iter().any(|runtime| directory.starts_with(runtime));
    (is_runtime && !ground.is_service()).then(|| Change::Tmpfs { path: text(directory) })
}

/// Returns whether a directory belongs to no single program. A container has its own ones for runtime
/// data.
fn is_shared(path: &Path, ground: &Ground<'_>) -> bool {
    let is = |shared: &&str| path == Path::new(shared);
    SHARED.iter().chain(&SHARED_TOO).any(is) || ground.is_service() && RUNTIME.iter().any(is)
}

/// Returns whether a file's mode permits access to a user, of whom the groups in /etc/group are not
/// known.
fn permits(found: &Found, access: u32, account: &Account) -> bool {
    let shift = match found {
        _ if found.owner == account.uid => 6,
        _ if found.group == account.gid => 3,
        _ => 0,
    };
    found.mode >> shift & access == access
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Returns the remedies of several refusals. The change of a directory with everything below it comes
/// before those of several of its entries.
pub(crate) fn all_remedies(denials: &[Denial], ground: &Ground<'_>) -> Vec<Vec<Change>> {
    let all = denials.iter().map(|denial| remedies(denial, ground));
    joined(&all.filter(|remedies| !remedies.is_empty()).collect::<Vec<_>>(), ground)
}

fn joined(all: &[Vec<Change>], ground: &Ground<'_>) -> Vec<Vec<Change>> {
    const MANY: usize = 3;
    let parent = |remedies: &[Change]| match remedies.first() {
        Some(Change::Own { path, is_recursive: false }) => {
            let parent = Path::new(path).parent()?;
            ground.may_own_all(parent).then(|| text(parent))
        }
        _ => None,
    };
    let mut entries: BTreeMap<String, BTreeSet<&Change>> = BTreeMap::new();
    for remedies in all {
        if let Some(parent) = parent(remedies) {
            entries.entry(parent).or_default().insert(&remedies[0]);
        }
    }
    let mut joined = Vec::new();
    for remedies in all {
        let mut remedies = remedies.clone();
        let parent = parent(&remedies).filter(|parent| entries[parent].len() >= MANY);
        if let Some(path) = parent {
            remedies.insert(0, Change::Own { path, is_recursive: true });
        }
        if !joined.contains(&remedies) {
            joined.push(remedies);
        }
    }
    joined
}

#[cfg(test)]
mod tests;

//! Running processes, selected by their group.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{Error, Op, Result, error::TraceError, proc::Proc};

/// The processes to record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A process and its descendants.
    Process(u32),
    /// The processes of a control group and its descendants. (cgroups(7))
    Cgroup(PathBuf),
    /// A process that starts containers, such as an engine or a runtime, and its descendants. Only
    /// checks inside the containers count.
    NewContainer(u32),
    /// The control group in which systemd is about to start a service, and its descendants. The
    /// checks of systemd's own child do not count, which becomes the service.
    NewService(PathBuf),
    /// The processes of a running container, and the shim that starts processes in it later. Only
    /// checks inside the container count.
    RunningContainer {
        /// The control group of the container.
        cgroup: PathBuf,
        /// The process that starts further processes in the container, by a runtime.
        shim: u32,
    },
}

impl Target {
    /// Returns the control group of a systemd system unit, such as `nginx.service` or `nginx`.
    ///
    /// All directories above it must be slices, in which only root can create a directory. A user
    /// can create a control group with any name below their own `user@UID.service`, and so can a
    /// unit or a container.
    ///
    /// # Errors
    ///
    /// [`TraceError::NoCgroup`] and [`TraceError::ForeignCgroup`]
    pub fn unit(name: &str) -> Result<Target> {
        let full = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
        find(name, |directory| directory == full, is_slice)
    }

    /// Returns the control group of a container, by its ID or a prefix of it. Only root can have
    /// created the group.
    ///
    /// # Errors
    ///
    /// [`TraceError::NoCgroup`] and [`TraceError::ForeignCgroup`]
    pub fn container(id: &str) -> Result<Target> {
        find(id, |directory| is_container(directory, id), |_| true)
    }

    /// Adds the shim of a container's control group, which starts the processes of `docker exec` and
    /// of health checks. Returns any other target as it is.
    #[must_use]
    pub fn with_shim(self) -> Target {
        let Target::Cgroup(cgroup) = self else { return self };
        let shim = || {
            let proc = Proc::default();
            let pids = Target::Cgroup(cgroup.clone()).processes().ok()?;
            let mut parents = pids.iter().filter_map(|pid| Some(proc.status(*pid).ok()?.ppid));
            let shim = parents.find(|parent| *parent != 0 && !pids.contains(parent))?;
            let name = proc.status(shim).ok()?.name;
            // The kernel keeps 15 bytes of a name.
            (name.to_str() == Some("containerd-shim")).then_some(shim)
        };
        match shim() {
            Some(shim) => Target::RunningContainer { cgroup, shim },
            None => Target::Cgroup(cgroup),
        }
    }

    /// Returns the control group alone, in the place of a container with its shim.
    pub(super) fn without_shim(self) -> Target {
        match self {
            Target::RunningContainer { cgroup, .. } => Target::Cgroup(cgroup),
            other => other,
        }
    }

    /// Returns the present processes of a running container.
    pub(super) fn inside(&self) -> Result<Vec<u32>> {
        match self {
            Target::RunningContainer { cgroup, .. } => Target::Cgroup(cgroup.clone()).processes(),
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the IDs of the present processes.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`], and an error of reading the control group.
    pub fn processes(&self) -> Result<Vec<u32>> {
        match self {
            Target::Process(pid) | Target::NewContainer(pid) => {
                let tree = Proc::default().tree()?;
                if tree.get(*pid).is_none() {
                    return Err(Error::NoProcess { pid: *pid });
                }
                Ok(tree.walk(&[*pid]).map(|(_, pid)| pid).collect())
            }
            Target::RunningContainer { shim, .. } => Ok([self.inside()?, vec![*shim]].concat()),
            Target::Cgroup(path) | Target::NewService(path) => {
                let mut pids = Vec::new();
                let read = |path: &Path| fs::read_to_string(path.join("cgroup.procs"));
                let own = read(path).map_err(|err| Op::Open.on(&**path, err))?;
                let below = directories(path, 0);
                let below = below.iter().filter_map(|path| read(path).ok());
                for text in std::iter::once(own).chain(below) {
                    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
                }
                Ok(pids)
            }
        }
    }
}

/// Returns whether this is the control group of a container whose ID has this prefix: `ID`, or with
/// the additions of Docker, Podman, containerd and CRI-O, as in `docker-ID.scope`.
fn is_container(directory: &str, id: &str) -> bool {
    let scope = directory.strip_suffix(".scope").and_then(|name| name.split_once('-'));
    let known = |(maker, _): &(&str, &str)| {
        ["docker", "libpod", "cri", "crio", "runc", "crun"].contains(maker)
    };
    let inner = scope.filter(known).map_or(directory, |(_, rest)| rest);
    let inner = inner.strip_prefix("containerd-").unwrap_or(inner);
    // A prefix is only accepted for a full ID.
    let hexadecimal = inner.len() == 64 && inner.bytes().all(|byte| byte.is_ascii_hexdigit());
    inner == id || hexadecimal && id.len() >= 4 && inner.starts_with(id)
}

/// Returns whether this control group is a slice, which contains units and no processes.
fn is_slice(directory: &Path) -> bool {
    directory.extension().is_some_and(|extension| extension == "slice")
}

/// Returns whether only root can create entries in a directory.
fn is_of_root(directory: &Path) -> bool {
    fs::metadata(directory)
        .is_ok_and(|stat| stat.uid() == 0 && stat.permissions().mode() & 0o022 == 0)
}

/// Finds the only matching control group that has processes, that only root can have created, and
/// whose ancestors are such groups.
fn find(
    name: &str,
    is_meant: impl Fn(&str) -> bool,
    can_be_above: impl Fn(&Path) -> bool,
) -> Result<Target> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut foreign = Vec::new();
    let is_meant =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_meant);
    for root in hierarchies(&mounts) {
        let mut found: Vec<PathBuf> = directories(&root, 0).into_iter().filter(is_meant).collect();
        found.retain(|path| {
            Target::Cgroup(path.clone()).processes().is_ok_and(|pids| !pids.is_empty())
        });
        found.retain(|path| {
            let above = || path.ancestors().skip(1).take_while(|above| *above != root);
            let is_of_system = is_of_root(&root)
                && above().all(|directory| is_of_root(directory) && can_be_above(directory));
            if !is_of_system {
                foreign.push(path.clone());
            }
            is_of_system
        });
        match found.len() {
            0 => {}
            1 => return Ok(Target::Cgroup(found.remove(0))),
            _ => return Err(Error::Trace(TraceError::NoCgroup { name: name.to_owned(), found })),
        }
    }
    let name = name.to_owned();
    if foreign.is_empty() {
        return Err(Error::Trace(TraceError::NoCgroup { name, found: foreign }));
    }
    Err(Error::Trace(TraceError::ForeignCgroup { name, found: foreign }))
}

/// Returns the mount point of the unified hierarchy.
pub(crate) fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    hierarchies(&mounts).into_iter().find(|root| super::record::CgroupRecorder::is_unified(root))
}

/// Returns the control groups of this machine with a name that is meant, a group after those in it.
#[cfg(feature = "cli")]
pub(crate) fn control_groups(is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut all: Vec<PathBuf> =
        hierarchies(&mounts).iter().flat_map(|root| directories(root, 0)).collect();
    all.retain(|path| {
        let mut names = path.iter().filter_map(|name| name.to_str());
        names.any(&is_meant)
    });
    all.reverse();
    all
}

/// Returns the mount points of control groups, the unified hierarchy first.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let of = |kind: &'static str| {
        mounts.lines().filter_map(move |line| {
            let mut fields = line.split(' ').skip(1);
            let path = fields.next()?;
            (fields.next()? == kind).then(|| PathBuf::from(path))
        })
    };
    of("cgroup2").chain(of("cgroup")).collect()
}

/// Returns all directories below one. Directories may disappear meanwhile.
fn directories(path: &Path, depth: usize) -> Vec<PathBuf> {
    /// More than the kernel's default nesting limit allows.
    const DEPTH: usize = 64;
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let is_directory =
        |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < DEPTH;
    entries
        .filter(is_directory)
        .flat_map(|entry| {
            let below = directories(&entry.path(), depth + 1);
            std::iter::once(entry.path()).chain(below)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers() {
        let id = "0123456789abcdef".repeat(4);
        let scope = |maker: &str| format!("{maker}-{id}.scope");
        #[rustfmt::skip]
        let rows = [
            (id.clone(),                 &*id,      true),
            (id.clone(),                 "0123",    true),
            (id.clone(),                 "012",     false),
            (id.clone(),                 "1234",    false),
            (scope("docker"),            "0123456", true),
            (scope("libpod"),            &*id,      true),
            (scope("cri-containerd"),    "0123456", true),
            (scope("session"),           "0123456", false),
            ("test".to_owned(),          "test",    true),
            ("test-1".to_owned(),        "test",    false),
            ("docker-a-b.scope".into(),  "a-b",     true),
        ];
        for (directory, id, want) in rows {
            assert_eq!(is_container(&directory, id), want, "{directory} {id}");
        }
    }

    #[test]
    fn where_groups_are() {
        let mounts =
            "cgroup /c/cpu cgroup rw 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\nx /y ext4 rw 0 0\n";
        assert_eq!(hierarchies(mounts), [PathBuf::from("/c/unified"), "/c/cpu".into()]);
    }
}

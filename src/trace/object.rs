//! The objects of system calls, and the facts about them that decide on permission.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::{
    analysis,
    calls::{self, Referent},
    record::{Event, EventKind},
};
use crate::{exec::Credentials, proc::Proc, securebits::Securebits};

/// The object of a system call: a file, an address, an option, a process or an ID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Object {
    /// The name: a path, an address and port, an option, or words.
    pub name: String,
    /// The facts about the file, if it is a file that could be examined.
    pub file: Option<ObjectFile>,
}

/// The owner and mode of a file, shortly after the system call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ObjectFile {
    /// The path that these facts are about: that of the object, or that of the first directory
    /// above it that not everybody may search.
    pub path: String,
    /// The user ID of its owner.
    pub owner: u32,
    /// Its group ID.
    pub group: u32,
    /// Its type and permission bits.
    pub mode: u32,
    /// Whether its mount forbids executing files.
    pub is_noexec: bool,
}

/// How many files are remembered.
const FILES: usize = 4096;
/// The longest name of an object, in bytes.
const NAME: usize = 512;

/// Finds objects while the threads that named them may still exist.
#[derive(Debug, Default)]
pub(super) struct Finder {
    files: HashMap<(PathBuf, PathBuf), Option<ObjectFile>>,
    /// Whether a thread was seen in another root directory than that of this process.
    has_other_root: bool,
}

impl Finder {
    /// Adds the objects of system calls to events. The facts of a moment serve for all of them.
    pub(super) fn find(&mut self, events: &mut [Event]) {
        self.files.clear();
        for Event { tid, kind, .. } in events {
            let EventKind::SystemCall { number, returned, call: Some(call) } = kind else {
                continue;
            };
            if analysis::is_denied(*returned) {
                // The securebits of another thread cannot be read.
                let status = Proc::default().status(*tid).ok();
                call.process =
                    status.map(|status| Box::new(Credentials::of(&status, Securebits::empty())));
            }
            let target = calls::name(*number).and_then(|name| calls::target(name, call));
            call.object = target.and_then(|target| self.object(*tid, target));
        }
    }

    fn object(&mut self, tid: u32, target: Referent) -> Option<Object> {
        let proc = PathBuf::from(format!("/proc/{tid}"));
        match target {
            Referent::Other(name) => Some(Object { name, file: None }),
            Referent::Process(0) => Some(Object { name: "itself".to_owned(), file: None }),
            Referent::Process(pid) => {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let comm = comm.trim_end();
                let name = if comm.is_empty() {
                    format!("process {pid}")
                } else {
                    format!("process {pid} ({comm})")
                };
                Some(Object { name, file: None })
            }
            Referent::Descriptor(fd) => {
                let path = fs::read_link(proc.join(format!("fd/{fd}"))).ok()?;
                Some(self.file(&proc, &path))
            }
            Referent::Path { directory, path } => {
                let path = Path::new(OsStr::from_bytes(&path));
                if path.is_absolute() {
                    return Some(self.file(&proc, path));
                }
                let link = directory.map_or("cwd".to_owned(), |fd| format!("fd/{fd}"));
                match fs::read_link(proc.join(link)) {
                    Ok(above) => Some(self.file(&proc, &above.join(path))),
                    // The thread has ended: the name that it used has to do.
                    Err(_) => Some(Object { name: name(path), file: None }),
                }
            }
        }
    }

    /// The file with this path in the root directory of a thread.
    fn file(&mut self, proc: &Path, path: &Path) -> Object {
        let root = proc.join("root");
        let mut file = None;
        let own = || fs::metadata("/").map(|stat| (stat.dev(), stat.ino()));
        let is_plain = path.is_absolute()
            && path.components().all(|part| !matches!(part, Component::ParentDir));
        if is_plain {
            let of_thread = fs::metadata(&root).map(|stat| (stat.dev(), stat.ino()));
            let namespace = |proc: &Path| fs::read_link(proc.join("ns/mnt"));
            let root = match of_thread {
                Ok(of_thread) => {
                    let is_own = own().is_ok_and(|own| own == of_thread)
                        && namespace(proc).ok() == namespace(Path::new("/proc/self")).ok();
                    self.has_other_root |= !is_own;
                    Some(if is_own { PathBuf::from("/") } else { root })
                }
                // It has ended. In another root directory, the path is another file.
                Err(_) => (!self.has_other_root).then(|| PathBuf::from("/")),
            };
            if let Some(root) = root {
                if self.files.len() >= FILES {
                    self.files.clear();
                }
                let known = self.files.entry((root.clone(), path.to_owned()));
                file.clone_from(known.or_insert_with(|| facts(&root, path)));
            }
        }
        Object { name: name(path), file }
    }
}

/// The facts about the first directory above a file that not everybody may search, or else those
/// about the file itself. Symbolic links are not followed.
fn facts(root: &Path, path: &Path) -> Option<ObjectFile> {
    let relative = path.strip_prefix("/").ok()?;
    let stat = |path: &Path| fs::symlink_metadata(root.join(path)).ok();
    let mut above: Vec<&Path> = relative.ancestors().skip(1).collect();
    above.reverse();
    let closed = above.into_iter().find_map(|directory| {
        let stat = stat(directory).filter(|stat| stat.is_dir() && stat.mode() & 0o001 == 0)?;
        Some((directory, stat))
    });
    let (path, stat) = match closed {
        Some(found) => found,
        None => (relative, stat(relative)?),
    };
    let is_noexec =
        statvfs(&root.join(path)).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_NOEXEC));
    Some(ObjectFile {
        path: name(&Path::new("/").join(path)),
        owner: stat.uid(),
        group: stat.gid(),
        mode: stat.mode(),
        is_noexec,
    })
}

/// The end of a path, at most [`NAME`] bytes, which has the name of the file.
fn name(path: &Path) -> String {
    let name = path.to_string_lossy();
    let Some(excess) = name.len().checked_sub(NAME).filter(|excess| *excess > 0) else {
        return name.into_owned();
    };
    let start = (excess + 3..name.len()).find(|&at| name.is_char_boundary(at));
    format!("...{}", &name[start.unwrap_or(name.len())..])
}

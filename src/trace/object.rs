//! The objects of system calls, and the facts about them that decide on permission.

use std::{
    collections::HashMap,
    env,
    ffi::{CString, OsStr},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::sys::{
    statfs::{PROC_SUPER_MAGIC, statfs},
    statvfs::{FsFlags, statvfs},
};

use super::{
    analysis,
    calls::{self, Referent},
    record::{Call, Event, EventKind},
};
use crate::{
    exec::{Credentials, ExecError, FileFacts, Kernel, Program, execute},
    proc::Proc,
    securebits::Securebits,
    sys,
};

/// The object of a system call: a file, an address, an option, a process or an ID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Object {
    /// The name: a path, an address and port, an option, or words.
    pub name: String,
    /// The facts about the file, if it is a file that could be examined.
    pub file: Option<ObjectFile>,
    /// The file or its directory, if it is immutable or append-only and the call failed with
    /// `EPERM`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub fixed: Option<FixedFile>,
}

impl Object {
    fn new(name: String) -> Object {
        Object { name, file: None, fixed: None }
    }
}

/// A file or directory that nobody can change. (ioctl_iflags(2))
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct FixedFile {
    /// The path.
    pub path: String,
    /// Whether it can be appended to.
    pub is_append_only: bool,
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
    /// The programs that threads have executed.
    programs: HashMap<u32, PathBuf>,
    /// The current directory of all threads, if it is known.
    directory: Option<PathBuf>,
    /// Whether a thread was seen in another root directory than that of this process.
    has_other_root: bool,
    /// The time at which the recording began.
    began: Option<SystemTime>,
    /// Whether the threads are in control groups, so that programs are known by their names.
    is_of_groups: bool,
    /// Whether the threads are known here by other IDs, if at all.
    is_elsewhere: bool,
}

impl Finder {
    /// Returns a finder for a recording that begins now.
    pub(super) fn new() -> Finder {
        Finder { began: Some(SystemTime::now()), ..Finder::default() }
    }

    /// Returns a finder for children of this process, which begin in its current directory.
    pub(super) fn of_children() -> Finder {
        Finder { directory: env::current_dir().ok(), ..Finder::new() }
    }

    /// Returns a finder for a recording of control groups. `is_elsewhere` is whether this process is
    /// not in the initial PID namespace, from which the IDs are.
    pub(super) fn of_groups(is_elsewhere: bool) -> Finder {
        Finder { is_of_groups: true, is_elsewhere, ..Finder::new() }
    }

    /// Returns the directory of a thread in procfs.
    fn directory_of(&self, tid: u32) -> PathBuf {
        // No thread has the ID 0.
        PathBuf::from(format!("/proc/{}", if self.is_elsewhere { 0 } else { tid }))
    }

    /// Adds the objects of system calls to events. The facts of a moment serve for all of them.
    /// `has_moved` is whether a thread may have changed its root or current directory.
    pub(super) fn find(&mut self, events: &mut [Event], has_moved: bool) {
        self.files.clear();
        if has_moved {
            self.directory = None;
        }
        for Event { tid, kind, .. } in events {
            if let (EventKind::Exec { path }, false) = (&kind, self.is_of_groups) {
                if self.programs.len() >= FILES {
                    self.programs.clear();
                }
                let directory = fs::read_link(format!("/proc/{tid}/cwd")).ok();
                let directory = directory.or_else(|| self.directory.clone()).unwrap_or_default();
                let path = directory.join(path).components().collect();
                self.programs.insert(*tid, path);
            }
            let EventKind::SystemCall { number, returned, call: Some(call) } = kind else {
                continue;
            };
            let name = calls::name(*number).unwrap_or_default();
            let target = calls::target(name, call);
            call.object = target.and_then(|target| self.object(*tid, target));
            if *returned >= 0 && matches!(name, "open" | "openat" | "openat2" | "creat") {
                call.existed = self.existed(*tid, call);
            }
            if analysis::is_denied(*returned) {
                self.examine(*tid, name, *returned, call);
            }
        }
    }

    /// Adds what decided about a denied call.
    fn examine(&mut self, tid: u32, name: &str, returned: i64, call: &mut Call) {
        if call.process.is_none() {
            // The securebits of another thread cannot be read.
            let status = Proc::default().status(tid).ok().filter(|_| !self.is_elsewhere);
            call.process =
                status.map(|status| Box::new(Credentials::of(&status, Securebits::empty())));
        }
        let Some(process) = &call.process else { return };
        let root = self.root(&self.directory_of(tid));
        let Some(root) = root else { return };
        let facts = |path: &Path| {
            let program = Program::below(&root, path).ok()?;
            Some(program.executed().file)
        };
        let path = call.object.as_ref().map(|object| PathBuf::from(&object.name));
        let path = path.filter(|path| path.is_absolute());
        if let Some(path) = path.filter(|_| returned == -i64::from(libc::EPERM)) {
            if matches!(name, "execve" | "execveat") {
                let refused = facts(&path).map(|file| execute(process, &file, Kernel::running()));
                if let Some(Err(ExecError::OutsideOfBounding(caps))) = refused {
                    call.beyond = caps;
                }
            } else if let Some(object) = &mut call.object {
                object.fixed = fixed(&root, &path);
            }
        }
        if process.no_new_privs {
            let program = self.programs.get(&tid).filter(|path| path.is_absolute());
            call.withheld = program.and_then(|program| withheld(program, &facts(program)?));
        }
    }

    /// Returns whether a file that was opened is known to have existed before the recording.
    fn existed(&mut self, tid: u32, call: &Call) -> bool {
        let path = call.object.as_ref().map(|object| Path::new(&object.name));
        let root = self.root(&self.directory_of(tid));
        let (Some(path), Some(root), Some(began)) = (path, root, self.began) else { return false };
        path.is_absolute() && existed(&root, path, began)
    }

    fn object(&mut self, tid: u32, target: Referent) -> Option<Object> {
        let proc = self.directory_of(tid);
        match target {
            Referent::Other(name) => Some(Object::new(name)),
            Referent::Process(0) => Some(Object::new("itself".to_owned())),
            Referent::Process(pid) => {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let comm = comm.trim_end();
                let name = if comm.is_empty() {
                    format!("process {pid}")
                } else {
                    format!("process {pid} ({comm})")
                };
                Some(Object::new(name))
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
                let of_all = self.directory.clone().filter(|_| directory.is_none());
                let link = directory.map_or("cwd".to_owned(), |fd| format!("fd/{fd}"));
                match fs::read_link(proc.join(link)).ok().or(of_all) {
                    Some(above) => Some(self.file(&proc, &above.join(path))),
                    // The thread has ended: the name that it used has to do.
                    None => Some(Object::new(name(path))),
                }
            }
        }
    }

    /// The file with this path in the root directory of a thread.
    fn file(&mut self, proc: &Path, path: &Path) -> Object {
        // Without components that are a dot.
        let path = &*path.components().collect::<PathBuf>();
        let mut file = None;
        let is_plain = path.is_absolute()
            && path.components().all(|part| !matches!(part, Component::ParentDir));
        if let Some(root) = is_plain.then(|| self.root(proc)).flatten() {
            if self.files.len() >= FILES {
                self.files.clear();
            }
            let known = self.files.entry((root.clone(), path.to_owned()));
            file.clone_from(known.or_insert_with(|| facts(&root, path)));
        }
        Object { file, ..Object::new(name(path)) }
    }

    /// The root directory of a thread, if it is known.
    fn root(&mut self, proc: &Path) -> Option<PathBuf> {
        if self.is_elsewhere {
            return None;
        }
        let root = proc.join("root");
        let facts = |root: &Path, proc: &Path| -> io::Result<_> {
            let stat = fs::metadata(root)?;
            Ok((stat.dev(), stat.ino(), fs::read_link(proc.join("ns/mnt"))?))
        };
        let of_thread = facts(&root, proc);
        // It can end between the two.
        if of_thread.is_err() && fs::metadata(&root).is_err() {
            // In another root directory, the path is another file.
            return (!self.has_other_root).then(|| PathBuf::from("/"));
        }
        let own = facts(Path::new("/"), Path::new("/proc/self"));
        let is_own = own.ok().zip(of_thread.ok()).is_some_and(|(own, other)| own == other);
        self.has_other_root |= !is_own;
        Some(if is_own { PathBuf::from("/") } else { root })
    }
}

/// Returns whether there was a file with this path before `began`: by its time of birth, or because
/// nobody can create files in procfs.
fn existed(root: &Path, path: &Path, began: SystemTime) -> bool {
    /// The kernel's clock for files may be as old as its timer, 10 ms at most.
    const TICK: Duration = Duration::from_millis(10);
    /// The longest chain of links. (`MAXSYMLINKS` in include/linux/namei.h)
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let inside = root.join(path.strip_prefix("/").unwrap_or(&path));
        // The directory of a process that has ended is not there.
        let above = inside.ancestors().skip(1).find_map(|directory| statfs(directory).ok());
        if above.is_some_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC) {
            return true;
        }
        let (Ok(target), Some(parent)) = (fs::read_link(&inside), path.parent()) else {
            // In a directory, O_TMPFILE creates a file.
            let is_file = fs::symlink_metadata(&inside).is_ok_and(|stat| !stat.is_dir());
            let name = CString::new(inside.into_os_string().into_vec());
            let born = name.ok().filter(|_| is_file).and_then(|name| sys::born(&name).ok());
            let born = born.and_then(|born| born.checked_add(TICK));
            return born.is_some_and(|born| born < began);
        };
        path = parent.join(target);
    }
    false
}

/// Returns the file or its directory if it cannot be changed.
fn fixed(root: &Path, path: &Path) -> Option<FixedFile> {
    [Some(path), path.parent()].into_iter().flatten().find_map(|path| {
        let inside = root.join(path.strip_prefix("/").ok()?);
        let attributes = CString::new(inside.into_os_string().into_vec()).ok()?;
        let attributes = sys::attributes(&attributes).ok()?;
        let has = |attribute: i32| attributes & u64::from(attribute.unsigned_abs()) != 0;
        let (immutable, append) = (has(libc::STATX_ATTR_IMMUTABLE), has(libc::STATX_ATTR_APPEND));
        (immutable || append).then(|| FixedFile { path: name(path), is_append_only: !immutable })
    })
}

/// Returns the privileges of a program's file that no_new_privs withheld, in words.
fn withheld(program: &Path, file: &FileFacts) -> Option<String> {
    let caps = file.caps.map(|caps| caps.permitted | caps.inheritable).unwrap_or_default();
    let what = match (caps.is_empty(), file.set_uid) {
        (false, _) => "file capabilities",
        (true, Some(_)) => "set-user-ID bit",
        (true, None) => return None,
    };
    Some(format!("no_new_privs disabled the {what} of {}", name(program)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_end() {
        let mut finder = Finder::new();
        for _ in 0..300 {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            let proc = PathBuf::from(format!("/proc/{}", child.id()));
            let waits = std::thread::spawn(move || child.wait().unwrap());
            while !waits.is_finished() {
                assert_eq!(finder.root(&proc), Some("/".into()));
            }
        }
        assert!(!finder.has_other_root);
    }

    #[test]
    fn files_that_were_there() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir = |name: &str| dir.path().join(name);
        fs::write(in_dir("file"), "").unwrap();
        std::os::unix::fs::symlink("file", in_dir("link")).unwrap();
        std::os::unix::fs::symlink("/proc/self/fd/2", in_dir("stderr")).unwrap();
        std::os::unix::fs::symlink("loop", in_dir("loop")).unwrap();
        let born = fs::metadata(in_dir("file")).unwrap().modified().unwrap();
        let [before, after] = [born - Duration::from_secs(1), born + Duration::from_secs(1)];
        #[rustfmt::skip]
        let rows = [
            (in_dir("file"),                      false, true),
            (in_dir("link"),                      false, true),
            (in_dir("missing"),                   false, false),
            (dir.path().to_owned(),               false, false),
            (in_dir("loop"),                      false, false),
            (in_dir("stderr"),                    true,  true),
            (PathBuf::from("/proc/self/fd/2"),    true,  true),
            // No process has this ID.
            (PathBuf::from("/proc/5000000/fd/2"), true,  true),
        ];
        for (path, by_place, by_time) in rows {
            assert_eq!(existed(Path::new("/"), &path, before), by_place, "{}", path.display());
            assert_eq!(existed(Path::new("/"), &path, after), by_time, "{}", path.display());
        }
    }
}

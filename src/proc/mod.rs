//! Other processes and their threads, read through /proc. (proc_pid_status(5))
//!
//! A process can end at any time. One that is gone, one that may not be read, a zombie and a
//! kernel thread are four different answers: [`Error::NoProcess`], [`Error::Unreadable`],
//! [`Kind::Zombie`] and [`Kind::KernelThread`].

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use crate::{CapSet, CapState, Error, Iab, Op, Result, Subject, sys};

mod id_map;
pub(crate) mod own;
mod status;
mod tree;

pub(crate) use id_map::IdMap;
pub use tree::{Process, Tree};

/// A process file system.
///
/// ```
/// use rcap::proc::Proc;
///
/// let proc = Proc::default();
/// for pid in proc.processes()? {
///     match proc.status(pid) {
///         Ok(status) => println!("{pid} {:?} {}", status.name, status.caps),
///         Err(rcap::Error::NoProcess { .. }) => {} // it has ended meanwhile
///         Err(err) => eprintln!("{err}"),
///     }
/// }
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

/// The one that is mounted on /proc.
impl Default for Proc {
    fn default() -> Proc {
        Proc::at("/proc")
    }
}

/// What a process or thread is, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The id of this thread, which for the first thread of a process is that of the process.
    pub pid: u32,
    /// The id of its process.
    pub tgid: u32,
    /// The id of the parent process, 0 for none.
    pub ppid: u32,
    /// Its name, at most 15 bytes for a program. Anybody can choose any bytes for their own.
    pub name: OsString,
    /// Whether a program runs in it.
    pub kind: Kind,
    /// Its user ids, as the calling process's user namespace has them.
    pub uid: Ids,
    /// Its group ids.
    pub gid: Ids,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// How many threads its process has.
    pub threads: u32,
    /// Its effective, permitted and inheritable sets.
    pub caps: CapState,
    /// Its bounding set.
    pub bounding: CapSet,
    /// Its ambient set: empty on a kernel without (before Linux 4.3).
    pub ambient: CapSet,
    /// Whether executing a file adds no privileges. `None`: the kernel does not say (before
    /// Linux 4.10).
    pub no_new_privs: Option<bool>,
    /// Whether system calls are filtered. `None`: the kernel has no seccomp.
    pub seccomp: Option<Seccomp>,
}

impl Status {
    /// The inheritable, ambient and bounding sets as one value; what is missing of `all` from the
    /// bounding set counts as dropped.
    #[doc(alias = "cap_iab_get_pid")]
    pub fn iab(&self, all: CapSet) -> Iab {
        Iab::new(self.caps.inheritable, self.ambient, all - self.bounding)
    }
}

/// What a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Kind {
    /// A program runs in it.
    Program,
    /// A thread of the kernel.
    KernelThread,
    /// It has ended, and its parent has not yet asked how.
    Zombie,
}

/// The four user or group ids of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a thread has four, and no more")]
pub struct Ids {
    /// Whose process it is.
    pub real: u32,
    /// Whose permissions it has.
    pub effective: u32,
    /// What it can go back to.
    pub saved: u32,
    /// Whose permissions it has on files.
    pub filesystem: u32,
}

impl Ids {
    /// Returns four times the same id.
    pub const fn same(id: u32) -> Ids {
        Ids { real: id, effective: id, saved: id, filesystem: id }
    }
}

/// How system calls of a thread are filtered. (seccomp(2))
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Seccomp {
    /// Not at all.
    Disabled,
    /// Only read, write, exit and sigreturn are allowed.
    Strict,
    /// By a program.
    Filter,
}

/// A namespace: two processes are in the same one if theirs are equal. (namespaces(7))
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the kernel identifies a namespace by these")]
pub struct Namespace {
    /// The device of its file.
    pub device: u64,
    /// The inode of its file, the number in `user:[4026531837]`.
    pub inode: u64,
}

impl Proc {
    /// The process file system that is mounted on `root`.
    pub fn at(root: impl Into<PathBuf>) -> Proc {
        Proc { root: root.into() }
    }

    /// The ids of all processes that may be seen, in ascending order.
    ///
    /// # Errors
    ///
    /// /proc cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        ids(&self.root).map_err(|err| Op::ReadDirectory.on(&*self.root, err))
    }

    /// The ids of all threads of a process, in ascending order. The first thread has the id of
    /// the process.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn threads(&self, pid: u32) -> Result<Vec<u32>> {
        let task = self.root.join(format!("{pid}/task"));
        ids(&task).map_err(|err| self.failed(pid, err))
    }

    /// The status of a process, which is that of its first thread, or of the thread with this id.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn status(&self, pid: u32) -> Result<Status> {
        self.parse(pid, format!("{pid}/status"))
    }

    /// The status of a thread of a process.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`], with the id of the thread.
    pub fn thread_status(&self, pid: u32, tid: u32) -> Result<Status> {
        self.parse(tid, format!("{pid}/task/{tid}/status"))
    }

    /// The one on /proc, where its ids are those that system calls take: the ids of children, and
    /// those that a user has from elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::NoProc`].
    pub fn of_namespace() -> Result<Proc> {
        own::require_namespace().map(|()| Proc::default())
    }

    fn parse(&self, pid: u32, file: String) -> Result<Status> {
        let text = read(&self.root.join(file)).map_err(|err| self.failed(pid, err))?;
        Status::parse(&text).map_err(|field| Error::MalformedStatus { pid, field })
    }

    /// The user namespace of a process. It takes the right to trace the process, without
    /// privilege over it: what one's own programs without privilege grant.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn user_namespace(&self, pid: u32) -> Result<Namespace> {
        let file = self.root.join(format!("{pid}/ns/user"));
        let stat = fs::metadata(file).map_err(|err| self.failed(pid, err))?;
        Ok(Namespace { device: stat.dev(), inode: stat.ino() })
    }

    /// The unit of systemd that a process belongs to, by its control group; `None` if it is in
    /// none. (cgroups(7), systemd.unit(5))
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn unit(&self, pid: u32) -> Result<Option<OsString>> {
        let file = self.root.join(format!("{pid}/cgroup"));
        let text = read(&file).map_err(|err| self.failed(pid, err))?;
        Ok(unit(&text).map(|unit| OsString::from_vec(unit.to_vec())))
    }

    /// What it means that a file of a process cannot be read.
    fn failed(&self, pid: u32, source: io::Error) -> Error {
        match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
            // The mount option hidepid makes it look as if there were none; capget(2) knows.
            Errno::ENOENT | Errno::ESRCH
                if self.root != Path::new("/proc") || sets(pid).is_err() =>
            {
                Error::NoProcess { pid }
            }
            Errno::ENOENT | Errno::ESRCH | Errno::EACCES | Errno::EPERM => {
                Error::Unreadable { pid, source }
            }
            _ => Op::ReadProc.on(Subject::Process(pid), source),
        }
    }
}

impl CapState {
    /// The sets of the process or thread `pid`, by capget(2), which needs neither privilege nor
    /// /proc. 0 is the calling thread. What a process id names is its first thread.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`](crate::Error::NoProcess) if there is none.
    #[doc(alias = "cap_get_pid")]
    pub fn of_pid(pid: u32) -> Result<CapState> {
        sets(pid)
    }
}

/// The sets of a process or thread, without /proc.
pub(crate) fn sets(pid: u32) -> Result<CapState> {
    let Ok(id) = i32::try_from(pid) else {
        return Err(Error::NoProcess { pid });
    };
    sys::capget(id).map(CapState::from).map_err(|err| match err.raw_os_error() {
        Some(errno) if errno == Errno::ESRCH as i32 => Error::NoProcess { pid },
        _ => Op::ReadSets.on(Subject::Process(pid), err),
    })
}

/// The entries of a directory that are numbers.
fn ids(dir: &Path) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    File::open(path).and_then(read_all)
}

/// The text of a file of /proc that is written in one go, so that less than asked for is the end.
pub(crate) fn read_all(mut file: File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; 4096];
    let mut length = 0;
    loop {
        length += file.read(&mut text[length..])?;
        if length < text.len() {
            text.truncate(length);
            return Ok(text);
        }
        text.resize(2 * length, 0);
    }
}

/// The innermost service or scope in a text of `/proc/PID/cgroup`: that of the one hierarchy, or
/// of the one that is systemd's.
fn unit(text: &[u8]) -> Option<&[u8]> {
    let lines = || text.split(|&byte| byte == b'\n');
    let path = |start: &'static [u8]| lines().find_map(move |line| line.strip_prefix(start));
    let systemd = || {
        lines().find_map(|line| {
            let at = line.windows(14).position(|part| part == b":name=systemd:")?;
            Some(&line[at + 14..])
        })
    };
    let path = path(b"0::").filter(|path| *path != b"/").or_else(systemd)?;
    path.rsplit(|&byte| byte == b'/')
        .find(|part| part.ends_with(b".service") || part.ends_with(b".scope"))
}

/// The bytes that are written in /proc with a backslash before `n` and backslash.
fn unescape(name: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'n') => b'\n',
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        #[rustfmt::skip]
        let rows: &[(&str, Option<&str>)] = &[
            ("0::/system.slice/nginx.service\n",                     Some("nginx.service")),
            ("0::/init.scope\n",                                     Some("init.scope")),
            ("0::/user.slice/user-0.slice/session-3.scope\n",        Some("session-3.scope")),
            ("0::/system.slice/docker.service/payload/x\n",          Some("docker.service")),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/a\\x2db.service\n",
                                                                      Some("a\\x2db.service")),
            ("4:cpu:/x\n1:name=systemd:/system.slice/a.service\n0::/\n", Some("a.service")),
            ("4:cpu:/b.service\n",                                   None),
            ("0::/\n",                                               None),
            ("",                                                      None),
        ];
        for &(text, want) in rows {
            assert_eq!(unit(text.as_bytes()), want.map(str::as_bytes), "{text}");
        }
    }
}

//! Other processes and their threads, read from /proc. (proc_pid_status(5))
//!
//! A process can end at any time. The errors and kinds distinguish four cases: a missing process
//! ([`Error::NoProcess`]), an unreadable one ([`Error::Unreadable`]), a zombie ([`Kind::Zombie`])
//! and a kernel thread ([`Kind::KernelThread`]).

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
mod parts;
mod status;
mod tree;

pub(crate) use id_map::IdMap;
pub(crate) use parts::in_threads;
pub use tree::{Process, Tree};

/// A mounted proc file system.
///
/// ```
/// use rcap::proc::Proc;
///
/// let proc = Proc::default();
/// for pid in proc.processes()? {
///     match proc.status(pid) {
///         Ok(status) => println!("{pid} {:?} {}", status.name, status.caps),
///         Err(rcap::Error::NoProcess { .. }) => {} // it has ended since
///         Err(err) => eprintln!("{err}"),
///     }
/// }
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

/// Returns the file system mounted on /proc.
impl Default for Proc {
    fn default() -> Proc {
        Proc::at("/proc")
    }
}

/// The attributes and capabilities of a process or thread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The thread ID, which equals the process ID for the first thread.
    pub pid: u32,
    /// The process ID.
    pub tgid: u32,
    /// The ID of the parent process, or 0 without a parent.
    pub ppid: u32,
    /// The name, at most 15 bytes for a program. Any process can choose any bytes.
    pub name: OsString,
    /// The kind of the thread.
    pub kind: Kind,
    /// The user IDs, as seen from the calling process's user namespace.
    pub uid: Ids,
    /// The group IDs.
    pub gid: Ids,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The number of threads of the process.
    pub threads: u32,
    /// The effective, permitted and inheritable sets.
    pub caps: CapState,
    /// The bounding set.
    pub bounding: CapSet,
    /// The ambient set, which is empty before Linux 4.3.
    pub ambient: CapSet,
    /// Whether no-new-privs is set, or `None` before Linux 4.10.
    pub no_new_privs: Option<bool>,
    /// The process that traces the thread, or `None` if no process does. (ptrace(2))
    pub tracer: Option<u32>,
    /// The seccomp mode, or `None` if the kernel has no seccomp.
    pub seccomp: Option<Seccomp>,
}

impl Status {
    /// Returns the inheritable, ambient and bounding sets as one value. Capabilities of `all` that
    /// are missing from the bounding set count as dropped.
    #[doc(alias = "cap_iab_get_pid")]
    pub fn iab(&self, all: CapSet) -> Iab {
        Iab::new(self.caps.inheritable, self.ambient, all - self.bounding)
    }
}

/// The kind of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Kind {
    /// A thread of a program.
    Program,
    /// A kernel thread.
    KernelThread,
    /// A process that has ended, and whose parent has not waited for it yet.
    Zombie,
}

/// The four user or group ids of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a thread has four, and no more")]
pub struct Ids {
    /// The real ID, which identifies the owner of the process.
    pub real: u32,
    /// The effective ID, which determines permissions.
    pub effective: u32,
    /// The saved ID, which the process can make effective again.
    pub saved: u32,
    /// The file system ID, which determines permissions on files.
    pub filesystem: u32,
}

impl Ids {
    /// Returns four equal IDs.
    pub const fn same(id: u32) -> Ids {
        Ids { real: id, effective: id, saved: id, filesystem: id }
    }
}

/// The seccomp mode of a thread. (seccomp(2))
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Seccomp {
    /// System calls are not filtered.
    Disabled,
    /// Only read, write, exit and sigreturn are allowed.
    Strict,
    /// A BPF program filters system calls.
    Filter,
    /// The thread was killed because of a system call that it must not make. It may still be a
    /// zombie. (`SECCOMP_MODE_DEAD`, kernel/seccomp.c)
    Dead,
    /// A mode of a newer kernel.
    Unknown,
}

/// A namespace. Two processes with equal values share a namespace. (namespaces(7))
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the kernel identifies a namespace by these")]
pub struct Namespace {
    /// The device of the namespace's file.
    pub device: u64,
    /// The inode of the namespace's file, the number in `user:[4026531837]`.
    pub inode: u64,
}

impl Proc {
    /// Returns the proc file system mounted on `root`.
    pub fn at(root: impl Into<PathBuf>) -> Proc {
        Proc { root: root.into() }
    }

    /// Returns the IDs of all visible processes, in ascending order.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if /proc cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        ids(&self.root).map_err(|err| Op::ReadDirectory.on(&*self.root, err))
    }

    /// Returns the IDs of all threads of a process, in ascending order. The first thread has the ID
    /// of the process.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn threads(&self, pid: u32) -> Result<Vec<u32>> {
        let task = self.root.join(format!("{pid}/task"));
        ids(&task).map_err(|err| self.failed(pid, err))
    }

    /// Returns the status of the thread with this ID. A process ID identifies the first thread.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn status(&self, pid: u32) -> Result<Status> {
        self.parse(pid, format!("{pid}/status"))
    }

    /// Returns the status of a thread of a process.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`], with the ID of the thread.
    pub fn thread_status(&self, pid: u32, tid: u32) -> Result<Status> {
        self.parse(tid, format!("{pid}/task/{tid}/status"))
    }

    /// Returns the file system on /proc, if its process IDs are those that system calls take.
    ///
    /// # Errors
    ///
    /// [`Error::NoProc`] otherwise.
    pub fn of_namespace() -> Result<Proc> {
        own::require_namespace().map(|()| Proc::default())
    }

    fn parse(&self, pid: u32, file: String) -> Result<Status> {
        File::open(self.root.join(file))
            .and_then(|file| with_text(file, Status::parse))
            .map_err(|err| self.failed(pid, err))?
            .map_err(|field| Error::MalformedStatus { pid, field })
    }

    /// Returns the user namespace of a process. The caller needs the right to trace the process, as
    /// for unprivileged programs of the same user.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn user_namespace(&self, pid: u32) -> Result<Namespace> {
        let file = self.root.join(format!("{pid}/ns/user"));
        let stat = fs::metadata(file).map_err(|err| self.failed(pid, err))?;
        Ok(Namespace { device: stat.dev(), inode: stat.ino() })
    }

    /// Returns the systemd unit of a process, based on its control group, or `None`. (cgroups(7),
    /// systemd.unit(5))
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`] and [`Error::Unreadable`].
    pub fn unit(&self, pid: u32) -> Result<Option<OsString>> {
        let file = self.root.join(format!("{pid}/cgroup"));
        let text = read(&file).map_err(|err| self.failed(pid, err))?;
        Ok(unit(&text).map(|unit| OsString::from_vec(unit.to_vec())))
    }

    /// Returns the error for a process's file that cannot be read.
    fn failed(&self, pid: u32, source: io::Error) -> Error {
        match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
            // With the mount option hidepid, the process seems not to exist; capget(2) finds it.
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
    /// Returns the sets of a process or thread by capget(2), which needs neither privilege nor
    /// /proc. 0 is the calling thread, and a process ID identifies the first thread.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`](crate::Error::NoProcess) if it does not exist.
    #[doc(alias = "cap_get_pid")]
    pub fn of_pid(pid: u32) -> Result<CapState> {
        sets(pid)
    }
}

/// Returns the sets of a process or thread without using /proc.
pub(crate) fn sets(pid: u32) -> Result<CapState> {
    let Ok(id) = i32::try_from(pid) else {
        return Err(Error::NoProcess { pid });
    };
    sys::capget(id).map(CapState::from).map_err(|err| match err.raw_os_error() {
        Some(errno) if errno == Errno::ESRCH as i32 => Error::NoProcess { pid },
        _ => Op::ReadSets.on(Subject::Process(pid), err),
    })
}

/// Returns the entries of a directory that are numbers.
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

/// Reads a file of /proc as [`with_text`] does.
pub(crate) fn read_all(file: File) -> io::Result<Vec<u8>> {
    with_text(file, <[u8]>::to_vec)
}

/// Reads a file of /proc that the kernel writes at once, so a short read is the end, and calls
/// `parse` with its text. A short text is not allocated: with musl, threads that do so wait for each
/// other.
fn with_text<T>(mut file: File, parse: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    let mut start = [0; 4096];
    let mut length = file.read(&mut start)?;
    if length < start.len() {
        return Ok(parse(&start[..length]));
    }
    let mut text = start.to_vec();
    while length == text.len() {
        text.resize(2 * length, 0);
        length += file.read(&mut text[length..])?;
    }
    Ok(parse(&text[..length]))
}

/// Returns the innermost service or scope in the text of `/proc/PID/cgroup`, in the unified
/// hierarchy or in that of systemd.
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

/// Decodes the escapes of /proc, a backslash before `n` or a backslash.
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
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn texts_of_any_length() {
        for length in [0, 1, 4095, 4096, 4097, 8192, 20_000] {
            let mut file = tempfile::tempfile().unwrap();
            let text: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            file.write_all(&text).unwrap();
            file.rewind().unwrap();
            assert_eq!(read_all(file).unwrap(), text, "{length}");
        }
    }

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

//! The calling thread's own directory of /proc, on the kernel's file system and on no other.
//!
//! Where /proc is an ordinary directory, as in a root directory that a user has prepared, its
//! owner decides where `/proc/thread-self/fd/3` leads. So every use of it starts from a
//! descriptor whose file system was checked. On procfs, `thread-self` is the calling thread
//! whatever PID namespace the mount belongs to, or it does not exist. The same number can name
//! different processes there and in system calls, so that ids are used after
//! [`require_namespace`] alone.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open as open_path, openat, openat2},
    sys::{
        stat::Mode,
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
    unistd::gettid,
};

use super::{Status, read_all};
use crate::{Error, Op, Result, Subject};

/// Opens `/proc/thread-self/PATH`.
///
/// `ENOENT` if /proc is missing or is not procfs.
pub(crate) fn open(path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = checked(open_path("/proc", directory, Mode::empty())?)?;
    let thread = open_below(proc, "thread-self", directory)?;
    open_below(thread, path, flags)
}

/// Opens what is below a directory of procfs, without entering another mount where the kernel can
/// say so (Linux 5.6).
pub(crate) fn open_below(directory: impl AsFd, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(&directory, path, how) {
        // An older kernel, or a sandbox that does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            checked(openat(directory, path, flags, Mode::empty())?)
        }
        Err(err) => Err(err.into()),
        Ok(opened) => Ok(opened),
    }
}

/// The bytes of `/proc/thread-self/PATH`.
fn bytes(path: &str) -> io::Result<Vec<u8>> {
    open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).and_then(|file| read_all(file.into()))
}

/// The text of `/proc/thread-self/PATH`.
pub(crate) fn read(path: &str) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Returns the status of the calling thread.
pub(crate) fn status() -> Result<Status> {
    let pid = gettid().as_raw().cast_unsigned();
    Status::parse(&bytes("status").map_err(failed)?)
        .map_err(|field| Error::MalformedStatus { pid, field })
}

/// Returns an error unless the ids in /proc are those that system calls take:
/// [`Error::NoProc`].
pub(crate) fn require_namespace() -> Result<()> {
    let ids = Status::namespace_ids(&bytes("status").map_err(failed)?);
    // The first is the id in the file system's namespace, the last in the thread's own.
    if ids == Some(vec![gettid().as_raw().cast_unsigned()]) { Ok(()) } else { Err(Error::NoProc) }
}

/// Opens the directory of all threads of this process, whose ids are those that system calls take.
pub(crate) fn tasks() -> Result<std::fs::File> {
    require_namespace()?;
    open("..", OFlag::O_RDONLY | OFlag::O_DIRECTORY).map(Into::into).map_err(failed)
}

/// The error for a file of the calling thread's that cannot be opened or read.
pub(crate) fn failed(err: io::Error) -> Error {
    match err.kind() {
        io::ErrorKind::NotFound => Error::NoProc,
        _ => Op::ReadProc.on(Subject::Thread, err),
    }
}

/// The descriptor, if it is one of procfs.
fn checked<F: AsFd>(fd: F) -> io::Result<F> {
    if fstatfs(&fd)?.filesystem_type() == PROC_SUPER_MAGIC {
        Ok(fd)
    } else {
        Err(Errno::ENOENT.into())
    }
}

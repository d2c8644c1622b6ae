//! The calling thread's directory in /proc, on a verified proc file system.
//!
//! In a root directory prepared by a user, /proc may be an ordinary directory, whose owner decides
//! where `/proc/thread-self/fd/3` leads. Every use therefore starts at a descriptor whose file
//! system was checked. On procfs, `thread-self` is the calling thread in any PID namespace, or does
//! not exist. Numbers can mean different processes in /proc and in system calls, so use IDs only
//! after [`require_namespace`].

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
/// Returns `ENOENT` if /proc is missing or is not procfs.
pub(crate) fn open(path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = checked(open_path("/proc", directory, Mode::empty())?)?;
    let thread = open_below(proc, "thread-self", directory)?;
    open_below(thread, path, flags)
}

/// Opens this thread's directory of descriptors, in which an open file has its number as a name.
pub(crate) fn descriptors() -> io::Result<OwnedFd> {
    open("fd", OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// Opens a path below a directory of procfs. Since Linux 5.6, it does not cross mounts.
pub(crate) fn open_below(directory: impl AsFd, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(&directory, path, how) {
        // The kernel is older, or a sandbox does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            checked(openat(directory, path, flags, Mode::empty())?)
        }
        Err(err) => Err(err.into()),
        Ok(opened) => Ok(opened),
    }
}

/// Reads `/proc/thread-self/PATH`.
fn bytes(path: &str) -> io::Result<Vec<u8>> {
    open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).and_then(|file| read_all(file.into()))
}

/// Reads `/proc/thread-self/PATH` as text.
pub(crate) fn read(path: &str) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Returns the status of the calling thread.
pub(crate) fn status() -> Result<Status> {
    let pid = gettid().as_raw().unsigned_abs();
    Status::parse(&bytes("status").map_err(failed)?)
        .map_err(|field| Error::MalformedStatus { pid, field })
}

/// Returns [`Error::NoProc`] unless the IDs in /proc are those that system calls take.
pub(crate) fn require_namespace() -> Result<()> {
    let ids = Status::namespace_ids(&bytes("status").map_err(failed)?);
    // The first ID is in the file system's namespace, and the last in the thread's own.
    if ids == Some(vec![gettid().as_raw().unsigned_abs()]) { Ok(()) } else { Err(Error::NoProc) }
}

/// Opens the directory of all threads, and checks that system calls take its IDs.
pub(crate) fn tasks() -> Result<std::fs::File> {
    require_namespace()?;
    open("..", OFlag::O_RDONLY | OFlag::O_DIRECTORY).map(Into::into).map_err(failed)
}

/// Returns the error for a file of the calling thread that cannot be opened or read.
pub(crate) fn failed(err: io::Error) -> Error {
    match err.kind() {
        io::ErrorKind::NotFound => Error::NoProc,
        _ => Op::ReadProc.on(Subject::Thread, err),
    }
}

/// Returns the descriptor if it is on procfs.
fn checked<F: AsFd>(fd: F) -> io::Result<F> {
    if fstatfs(&fd)?.filesystem_type() == PROC_SUPER_MAGIC {
        Ok(fd)
    } else {
        Err(Errno::ENOENT.into())
    }
}

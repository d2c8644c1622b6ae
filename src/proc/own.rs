//! The calling thread's own directory of /proc, on the kernel's file system and on no other.
//!
//! Where /proc is an ordinary directory, as in a root directory that a user has prepared, its
//! owner decides where `/proc/thread-self/fd/3` leads. So every use of it starts from a
//! descriptor whose file system was checked. On procfs, `thread-self` is the calling thread
//! whatever PID namespace the mount belongs to, or it does not exist.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open as open_path, openat},
    sys::{
        stat::Mode,
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
};

/// Opens `/proc/thread-self/PATH`.
///
/// `ENOENT` if /proc is missing or is not procfs.
pub(crate) fn open(path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let thread = checked(open_path("/proc/thread-self", directory, Mode::empty())?)?;
    checked(openat(thread, path, flags | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// The text of `/proc/thread-self/PATH`.
pub(crate) fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::from(open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?).read_to_string(&mut text)?;
    Ok(text)
}

/// The descriptor, if it is one of procfs.
fn checked<F: AsFd>(fd: F) -> io::Result<F> {
    if fstatfs(&fd)?.filesystem_type() == PROC_SUPER_MAGIC {
        Ok(fd)
    } else {
        Err(Errno::ENOENT.into())
    }
}

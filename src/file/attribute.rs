//! One call on the attribute of an open file, with any kind of descriptor.
//!
//! An `O_PATH` descriptor gives no access to the attributes: fsetxattr(2) rejects it, and so does
//! setxattrat(2) with `AT_EMPTY_PATH`. Its name in `/proc/thread-self/fd` leads to the file, and is
//! resolved from a descriptor of that directory, which [`own`] has checked.

use std::{
    ffi::{CStr, CString},
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::fchdir,
};
use xattr::FileExt;

use super::ATTRIBUTE;
use crate::{proc::own, sys};

/// The name of the attribute, for system calls.
pub(super) const NAME: &CStr = c"security.capability";

/// The longest value of an attribute: `XATTR_SIZE_MAX`.
const LONGEST: usize = 64 * 1024;

/// A call. The result of [`Call::Get`] is the value, and the result of the others is `None`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call<'a> {
    Get,
    Set(&'a [u8]),
    Remove,
}

type Outcome = io::Result<Option<Vec<u8>>>;

impl Call<'_> {
    /// Makes the call on `file`. Without /proc, the file is opened again by `path`, if it has one.
    pub(super) fn on(self, file: &File, path: Option<&Path>) -> Outcome {
        match self.by_descriptor(file) {
            Err(err) if errno(&err) == Errno::EBADF => {}
            outcome => return outcome,
        }
        match own::descriptors() {
            Ok(descriptors) => self.by_link(&descriptors, file),
            Err(_) => self.by_descriptor(&reopened_by_path(file, path)?),
        }
    }

    /// Makes the call through the name of `file` in this thread's directory of descriptors.
    pub(super) fn by_link(self, descriptors: &OwnedFd, file: &File) -> Outcome {
        let name = file.as_raw_fd().to_string();
        let unsupported = match self.by_entry(descriptors, &CString::new(&*name)?) {
            // The kernel is older than Linux 6.13, or a sandbox does not know the call.
            Err(err) if matches!(errno(&err), Errno::ENOSYS | Errno::EPERM) => err,
            outcome => return outcome,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match openat(descriptors, &*name, flags, Mode::empty()) {
            Ok(again) => self.by_descriptor(&File::from(again)),
            // The file is unreadable, but the call does not need read permission.
            Err(_) => match within(descriptors, || self.by_name(Path::new(&name))) {
                Ok(outcome) => outcome,
                Err(_) if errno(&unsupported) == Errno::EPERM => Err(unsupported),
                Err(_) => Err(Errno::EACCES.into()),
            },
        }
    }

    fn by_descriptor(self, file: &File) -> Outcome {
        match self {
            Call::Get => file.get_xattr(ATTRIBUTE),
            Call::Set(value) => file.set_xattr(ATTRIBUTE, value).map(|()| None),
            Call::Remove => file.remove_xattr(ATTRIBUTE).map(|()| None),
        }
    }

    /// Follows the entry, which is a link.
    fn by_entry(self, directory: &OwnedFd, entry: &CStr) -> Outcome {
        let directory = directory.as_fd();
        match self {
            Call::Get => {
                // Capabilities have 20 or 24 bytes; a longer value is read whole.
                for room in [64, LONGEST] {
                    let mut value = vec![0; room];
                    match sys::getxattrat(directory, entry, 0, NAME, &mut value) {
                        Err(err) if errno(&err) == Errno::ENODATA => return Ok(None),
                        Err(err) if errno(&err) == Errno::ERANGE => {}
                        length => {
                            value.truncate(length?);
                            return Ok(Some(value));
                        }
                    }
                }
                Err(Errno::ERANGE.into())
            }
            Call::Set(value) => sys::setxattrat(directory, entry, 0, NAME, value).map(|()| None),
            Call::Remove => sys::removexattrat(directory, entry, 0, NAME).map(|()| None),
        }
    }

    /// Follows `path`, if it is a link.
    fn by_name(self, path: &Path) -> Outcome {
        match self {
            Call::Get => xattr::get_deref(path, ATTRIBUTE),
            Call::Set(value) => xattr::set_deref(path, ATTRIBUTE, value).map(|()| None),
            Call::Remove => xattr::remove_deref(path, ATTRIBUTE).map(|()| None),
        }
    }
}

/// Calls `call` in a thread whose current directory is `directory`. Returns an error if that thread
/// cannot be prepared.
fn within<T: Send>(directory: &OwnedFd, call: impl FnOnce() -> T + Send) -> io::Result<T> {
    let there = || -> io::Result<T> {
        unshare(CloneFlags::CLONE_FS)?;
        fchdir(directory)?;
        Ok(call())
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, there)?;
        thread.join().unwrap_or_else(|_| Err(Errno::EIO.into()))
    })
}

/// Opens the file for reading by its path.
fn reopened_by_path(file: &File, path: Option<&Path>) -> io::Result<File> {
    let path = path.ok_or_else(|| io::Error::other("/proc is not mounted"))?;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let again = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let [was, is] = [file.metadata()?, again.metadata()?];
    // Another file may have replaced it, and has not been checked.
    if (was.dev(), was.ino()) == (is.dev(), is.ino()) {
        Ok(again)
    } else {
        Err(Errno::ESTALE.into())
    }
}

pub(super) fn errno(err: &io::Error) -> Errno {
    Errno::from_raw(err.raw_os_error().unwrap_or(0))
}

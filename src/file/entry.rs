//! The entries of a scan, and their attributes.

use std::{
    ffi::{CStr, OsStr},
    fs::{File, Metadata},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::{
        stat::Mode,
        statfs::{FsType, fstatfs},
    },
};

use super::{FileCaps, attribute::errno};
use crate::{Error, Result, sys};

/// An entry of a [`Scan`](super::Scan).
#[derive(Debug)]
pub struct Entry<'a> {
    pub(super) directory: Option<&'a Path>,
    pub(super) name: &'a OsStr,
    pub(super) found: Found,
    pub(super) owner: Option<Owner>,
}

/// The mode and owner of a regular file, with [`Scan::owners`](super::Scan::owners).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The permission bits, with the set-user-ID, set-group-ID and sticky bits.
    pub mode: u32,
    /// The user ID of the owner.
    pub uid: u32,
    /// The group ID of the file.
    pub gid: u32,
}

/// The type of an entry, and the capabilities of a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Found {
    /// A regular file, and its capabilities.
    File(Result<Option<FileCaps>>),
    /// A FIFO, a socket or a device.
    Special,
    /// A directory. Its entries follow, unless its file system is excluded.
    Directory,
    /// A symbolic link.
    SymbolicLink,
    /// An entry that could not be examined, or a directory that could not be read to its end.
    /// Entries removed during the scan are not reported.
    Unreadable(Error),
}

impl Entry<'_> {
    /// Returns the path, which starts with the scan's argument.
    pub fn path(&self) -> PathBuf {
        match self.directory {
            Some(directory) => directory.join(self.name),
            None => self.name.into(),
        }
    }

    /// Returns the type of the entry.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Returns the mode and owner, if the entry is a regular file and
    /// [`Scan::owners`](super::Scan::owners) is set.
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }
}

/// Returns the status of an entry, without following a link. std supports large files and inodes on
/// 32-bit machines, and nix does not.
pub(super) fn stat(directory: &File, name: &CStr) -> io::Result<Metadata> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    File::from(openat(directory, name, flags, Mode::empty())?).metadata()
}

/// Returns the mode and owner of an entry, without following a link.
pub(super) fn owner(directory: &File, name: &CStr) -> io::Result<Owner> {
    let (mode, uid, gid) = match sys::mode_and_owner(directory.as_fd(), name) {
        // The kernel is older than Linux 4.11, or a sandbox does not know the call.
        Err(err) if matches!(errno(&err), Errno::ENOSYS | Errno::EPERM) => {
            let stat = stat(directory, name)?;
            (stat.mode(), stat.uid(), stat.gid())
        }
        status => status?,
    };
    Ok(Owner { mode: mode & 0o7777, uid, gid })
}

/// Returns whether a directory is on a virtual file system of the kernel, from which nothing can be
/// executed. (include/uapi/linux/magic.h)
pub(super) fn is_of_kernel(directory: &File) -> bool {
    #[rustfmt::skip]
    const MAGICS: [u32; 15] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x6367_7270, // cgroup2
        0x27_e0eb,   // cgroup
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0x6265_6570, // configfs
        0xf97c_ff8c, // selinuxfs
        0x4341_5d53, // smackfs
        0x6165_676c, // pstore
        0xde5e_81e4, // efivarfs
        0x1cd1,      // devpts
        0x1980_0202, // mqueue
        0xcafe_4a11, // bpf
    ];
    let Ok(stat) = fstatfs(directory) else { return false };
    let FsType(magic) = stat.filesystem_type();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "its type differs between C libraries; the number has 32 bits"
    )]
    MAGICS.contains(&(magic as u32))
}

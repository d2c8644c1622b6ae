//! The reasons for which a file's capabilities cannot be changed or read.

use std::{error, fmt, io};

/// A reason for which a file's capabilities are not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The file is not a regular file.
    NotRegular(FileKind),
    /// The file system is mounted read-only.
    ReadOnly,
    /// The file has the immutable or append-only attribute. (chattr(1))
    Immutable,
    /// The file system does not support security attributes.
    NoAttributes(Option<Mount>),
    /// The root ID of the capabilities is not mapped in this user namespace.
    UnmappedRootid(u32),
    /// `CAP_SETFCAP` is not effective.
    NoSetfcap,
    /// The owner or group of the file is not mapped in this user namespace, so no capability in the
    /// namespace applies to the file.
    UnmappedOwner,
}

/// The type of a file that is not a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum FileKind {
    Directory,
    SymbolicLink,
    Fifo,
    Socket,
    Device,
}

/// A file system, and its mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// The type, such as `nfs4`.
    pub fs: String,
    /// The mount point.
    pub on: String,
}

impl Refusal {
    /// Returns the kind of the error that the kernel returns for this reason.
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Refusal::NotRegular(_) | Refusal::UnmappedRootid(_) => io::ErrorKind::InvalidInput,
            Refusal::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            Refusal::NoAttributes(_) => io::ErrorKind::Unsupported,
            Refusal::Immutable | Refusal::NoSetfcap | Refusal::UnmappedOwner => {
                io::ErrorKind::PermissionDenied
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotRegular(kind) => {
                let what = match kind {
                    FileKind::Directory => "a directory",
                    FileKind::SymbolicLink => "a symbolic link, which is not followed",
                    FileKind::Fifo => "a FIFO",
                    FileKind::Socket => "a socket",
                    FileKind::Device => "a device",
                };
                write!(f, "not a regular file but {what}")
            }
            Refusal::ReadOnly => f.write_str("the file system is mounted read-only"),
            Refusal::Immutable => {
                f.write_str("the immutable or append-only attribute is set (see lsattr)")
            }
            Refusal::NoAttributes(Some(Mount { fs, on })) => {
                write!(f, "{fs} on {on} does not support file capabilities")
            }
            Refusal::NoAttributes(None) => {
                f.write_str("the file system does not support file capabilities")
            }
            Refusal::UnmappedRootid(rootid) => {
                write!(f, "the root ID {rootid} is not mapped in this user namespace")
            }
            Refusal::NoSetfcap => f.write_str("setting capabilities needs CAP_SETFCAP"),
            Refusal::UnmappedOwner => {
                f.write_str("the owner or group is not mapped in this user namespace")
            }
        }
    }
}

/// The defect of an attribute value that the kernel would reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first word has an unknown revision, or a flag other than the effective bit.
    Magic(u32),
    /// The length does not match the revision.
    Length(usize),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Magic(word) => write!(f, "unknown revision {word:#010x}"),
            Malformed::Length(bytes) => write!(f, "invalid length of {bytes} bytes"),
        }
    }
}

impl error::Error for Malformed {}

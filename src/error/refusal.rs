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
                write!(f, "only a regular file can have capabilities, and it is {what}")
            }
            Refusal::ReadOnly => f.write_str("it is on a file system that is mounted read-only"),
            Refusal::Immutable => {
                f.write_str("it has the immutable or the append-only flag (see lsattr)")
            }
            Refusal::NoAttributes(Some(Mount { fs, on })) => write!(
                f,
                "the file system {fs} on {on} has no security attributes, and capabilities are one"
            ),
            Refusal::NoAttributes(None) => {
                f.write_str("its file system has no security attributes, and capabilities are one")
            }
            Refusal::UnmappedRootid(rootid) => {
                write!(f, "the root id {rootid} is not mapped in this user namespace")
            }
            Refusal::NoSetfcap => f.write_str("setting capabilities takes CAP_SETFCAP"),
            Refusal::UnmappedOwner => f.write_str(
                "its owner or group has no id in this user namespace, where alone CAP_SETFCAP counts",
            ),
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
            Malformed::Magic(word) => write!(f, "{word:#010x} is no known revision"),
            Malformed::Length(bytes) => write!(f, "{bytes} bytes are too many or too few"),
        }
    }
}

impl error::Error for Malformed {}

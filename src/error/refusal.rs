//! The reasons for which the capabilities of a file cannot be changed or read.

use std::{error, fmt, io};

/// Why the capabilities of a file are not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Only a regular file can have capabilities.
    NotRegular(FileKind),
    /// Its file system is mounted read-only.
    ReadOnly,
    /// The file has the immutable or the append-only flag. (chattr(1))
    Immutable,
    /// Its file system has no security attributes.
    NoAttributes(Option<Mount>),
    /// The root id of the capabilities has no counterpart outside this user namespace.
    UnmappedRootid(u32),
    /// `CAP_SETFCAP` is not effective.
    NoSetfcap,
    /// The owner or the group of the file has no id in this user namespace, so that no capability
    /// in it reaches the file.
    UnmappedOwner,
}

/// What a file is that is not a regular one.
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

/// A file system, and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// Its type, such as `nfs4`.
    pub fs: String,
    /// The directory that it is mounted on.
    pub on: String,
}

impl Refusal {
    /// Returns the kind of the error that the kernel gives for this reason.
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

/// A value of the attribute that the kernel would not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first word is of no known revision, or has a flag besides the effective bit.
    Magic(u32),
    /// The value is not as long as its revision asks for.
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

//! Reading, writing and removing the attribute.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        stat::Mode,
        statvfs::{FsFlags, fstatvfs},
    },
};

use super::{
    ATTRIBUTE, FileCaps, FileKind, Mount, Refusal,
    attribute::{Call, errno},
    refusal::WriteFacts,
};
use crate::{
    Cap, CapState, Error, Op, Result, Subject,
    proc::{IdMap, own},
    sys,
};

/// What became of capabilities that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "capabilities on a file system mounted nosuid have no effect"]
pub struct Written {
    /// The file system is mounted nosuid: executing the file gives none of them.
    pub nosuid: bool,
}

/// The capabilities of the file at `path`, or `None` if it has none, which is also what a file
/// has whose file system cannot store any. A symbolic link is not followed and has none. It
/// takes one system call and no right to read the file.
///
/// # Errors
///
/// The path does not lead to a file; [`Error::ForeignRootid`]; [`Error::MalformedFileCaps`].
#[doc(alias = "cap_get_file")]
pub fn read(path: impl AsRef<Path>) -> Result<Option<FileCaps>> {
    let path = path.as_ref();
    decode(xattr::get(path, ATTRIBUTE), || path.into())
}

/// The capabilities of the file behind a descriptor, which may be an `O_PATH` one.
///
/// # Errors
///
/// As [`read`].
#[doc(alias = "cap_get_fd")]
pub fn read_fd(fd: impl AsFd) -> Result<Option<FileCaps>> {
    let target = Target::descriptor(fd, Op::ReadFileCaps)?;
    decode(target.get(), || target.subject.clone())
}

/// Gives the file at `path` exactly these capabilities. A symbolic link is not followed.
///
/// # Errors
///
/// [`Error::Refused`] where the reason is known: not a regular file, a read-only file system or
/// one without security attributes, no effective `CAP_SETFCAP`, an owner that is foreign to the
/// user namespace, a root id that is not mapped. The file is then as it was.
#[doc(alias = "cap_set_file")]
pub fn write(path: impl AsRef<Path>, caps: &FileCaps) -> Result<Written> {
    Target::open(path.as_ref())?.write(caps)
}

/// Gives the file behind a descriptor, which may be an `O_PATH` one, exactly these capabilities.
///
/// # Errors
///
/// As [`write()`].
#[doc(alias = "cap_set_fd")]
pub fn write_fd(fd: impl AsFd, caps: &FileCaps) -> Result<Written> {
    Target::descriptor(fd, Op::WriteFileCaps)?.write(caps)
}

/// Gives the file at `path` what `change` makes of its capabilities, where `None` is none. They
/// are read and written through one descriptor: a file that takes its place meanwhile is not
/// touched, and lends it nothing.
///
/// ```no_run
/// use rcap::{Cap, file};
///
/// let _ = file::update("/usr/local/bin/server", |old| {
///     let mut caps = old.unwrap_or_default();
///     caps.permitted = caps.permitted.with(Cap::NET_RAW);
///     Ok(Some(caps))
/// })?;
/// # Ok::<(), rcap::Error>(())
/// ```
///
/// # Errors
///
/// As [`read`] and [`write()`], and that of `change`, in which case nothing is written.
pub fn update(
    path: impl AsRef<Path>,
    change: impl FnOnce(Option<FileCaps>) -> Result<Option<FileCaps>>,
) -> Result<Written> {
    let target = Target::open(path.as_ref())?;
    target.must_be_regular()?;
    let old = decode(target.get(), || target.subject.clone())?;
    match change(old)? {
        Some(caps) => target.write(&caps),
        None => target.remove().map(|_| Written { nosuid: false }),
    }
}

/// What [`write()`] would do, without doing it: the reasons for a refusal that can be known before
/// are those that it would give. `CAP_SETFCAP` is looked for in the permitted set, since it can
/// be made effective.
///
/// # Errors
///
/// As [`write()`].
pub fn check_write(path: impl AsRef<Path>, caps: Option<&FileCaps>) -> Result<Written> {
    Target::open(path.as_ref())?.check(caps)
}

/// Takes the capabilities away from the file at `path`, and says whether it had any. A symbolic
/// link is not followed.
///
/// # Errors
///
/// As [`write()`].
pub fn remove(path: impl AsRef<Path>) -> Result<bool> {
    Target::open(path.as_ref())?.remove()
}

/// Takes the capabilities away from the file behind a descriptor, which may be an `O_PATH` one,
/// and says whether it had any.
///
/// # Errors
///
/// As [`write()`].
pub fn remove_fd(fd: impl AsFd) -> Result<bool> {
    Target::descriptor(fd, Op::RemoveFileCaps)?.remove()
}

/// What a value of the attribute, as it was read, means.
pub(super) fn decode(
    value: io::Result<Option<impl AsRef<[u8]>>>,
    subject: impl Fn() -> Subject,
) -> Result<Option<FileCaps>> {
    match value {
        Ok(None) => Ok(None),
        Ok(Some(value)) => FileCaps::decode(value.as_ref())
            .map(Some)
            .map_err(|source| Error::MalformedFileCaps { subject: subject(), source }),
        Err(source) => match errno(&source) {
            Errno::ENODATA | Errno::ENOTSUP => Ok(None),
            Errno::EOVERFLOW => Err(Error::ForeignRootid { subject: subject(), source }),
            _ => Err(Op::ReadFileCaps.on(subject(), source)),
        },
    }
}

/// Opens a file of any type with `O_PATH`: without a right to it, and without an effect on it.
///
/// With musl, std's `custom_flags` drops `O_PATH`, which counts as an access mode there.
pub(crate) fn locate(path: &Path, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_PATH | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// A file that is open, and so cannot be exchanged for another.
struct Target {
    file: File,
    subject: Subject,
}

impl Target {
    /// Opens `path` without following it, and without any right to the file or effect on it.
    fn open(path: &Path) -> Result<Target> {
        match locate(path, OFlag::O_NOFOLLOW) {
            Ok(file) => Ok(Target { file, subject: path.into() }),
            Err(err) => Err(Op::Open.on(path, err)),
        }
    }

    fn descriptor(fd: impl AsFd, op: Op) -> Result<Target> {
        let fd = fd.as_fd();
        let subject = Subject::Descriptor(fd.as_raw_fd());
        match fd.try_clone_to_owned() {
            Ok(fd) => Ok(Target { file: fd.into(), subject }),
            Err(err) => Err(op.on(subject, err)),
        }
    }

    fn call(&self, call: Call<'_>) -> io::Result<Option<Vec<u8>>> {
        let path = match &self.subject {
            Subject::Path(path) => Some(&**path),
            _ => None,
        };
        call.on(&self.file, path)
    }

    fn get(&self) -> io::Result<Option<Vec<u8>>> {
        self.call(Call::Get)
    }

    fn write(&self, caps: &FileCaps) -> Result<Written> {
        self.must_be_regular()?;
        let value = caps.encode();
        self.call(Call::Set(&value))
            .map_err(|err| self.refused(Op::WriteFileCaps, Some(caps), err))?;
        Ok(Written { nosuid: self.mounted(FsFlags::ST_NOSUID) })
    }

    fn remove(&self) -> Result<bool> {
        self.must_be_regular()?;
        match self.call(Call::Remove) {
            Ok(_) => Ok(true),
            Err(err) if errno(&err) == Errno::ENODATA => Ok(false),
            Err(err) => Err(self.refused(Op::RemoveFileCaps, None, err)),
        }
    }

    fn check(&self, caps: Option<&FileCaps>) -> Result<Written> {
        self.must_be_regular()?;
        let setfcap = CapState::current()?.permitted.contains(Cap::SETFCAP);
        match self.facts(setfcap).refusal(caps, None) {
            Some(refusal) => {
                Err(Error::Refused { subject: self.subject.clone(), refusal, source: None })
            }
            None => Ok(Written { nosuid: self.mounted(FsFlags::ST_NOSUID) }),
        }
    }

    fn must_be_regular(&self) -> Result<()> {
        let subject = || self.subject.clone();
        let kind = self.file.metadata().map_err(|err| Op::Open.on(subject(), err))?.file_type();
        let kind = match kind {
            kind if kind.is_file() => return Ok(()),
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_symlink() => FileKind::SymbolicLink,
            kind if kind.is_fifo() => FileKind::Fifo,
            kind if kind.is_socket() => FileKind::Socket,
            _ => FileKind::Device,
        };
        Err(Error::Refused { subject: subject(), refusal: Refusal::NotRegular(kind), source: None })
    }

    /// The error for what the kernel answered, with the reason where one is found.
    fn refused(&self, op: Op, caps: Option<&FileCaps>, source: io::Error) -> Error {
        let setfcap = CapState::current().is_ok_and(|state| state.effective.contains(Cap::SETFCAP));
        let subject = self.subject.clone();
        match self.facts(setfcap).refusal(caps, Some(errno(&source))) {
            Some(refusal) => Error::Refused { subject, refusal, source: Some(source) },
            None => Error::Os { op, subject, source },
        }
    }

    /// What can be found out of the file and the process; what cannot counts as no hindrance.
    fn facts(&self, setfcap: bool) -> WriteFacts {
        // Of STATX_ATTR_IMMUTABLE and STATX_ATTR_APPEND.
        const IMMUTABLE: u64 = 0x10 | 0x20;
        let attributes = sys::statx_attributes(self.file.as_fd()).unwrap_or(0);
        let [uids, gids] = [IdMap::of_users(), IdMap::of_groups()];
        WriteFacts {
            read_only: self.mounted(FsFlags::ST_RDONLY),
            immutable: attributes & IMMUTABLE != 0,
            attributes: !self.get().is_err_and(|err| errno(&err) == Errno::ENOTSUP),
            mount: self.mount(),
            setfcap,
            owner_mapped: self
                .file
                .metadata()
                .map_or(true, |stat| !uids.lacks(stat.uid()) && !gids.lacks(stat.gid())),
            uids,
        }
    }

    fn mounted(&self, flag: FsFlags) -> bool {
        fstatvfs(&self.file).is_ok_and(|stat| stat.flags().contains(flag))
    }

    /// The mount that the file was opened in, found by its number.
    fn mount(&self) -> Option<Mount> {
        let info = own::read(&format!("fdinfo/{}", self.file.as_raw_fd())).ok()?;
        let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
        let mounts = own::read("mountinfo").ok()?;
        let line = mounts.lines().find(|line| line.split(' ').next() == Some(number))?;
        let (mount, source) = line.split_once(" - ")?;
        Some(Mount {
            fs: source.split(' ').next()?.to_owned(),
            on: mount.split(' ').nth(4)?.to_owned(),
        })
    }
}

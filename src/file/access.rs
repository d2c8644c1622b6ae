//! Reads, writes and removes the attribute.

use std::{
    borrow::Borrow,
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
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

/// The result of writing capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "capabilities on a file system mounted nosuid have no effect"]
pub struct Written {
    /// Whether the file system is mounted with nosuid, so that executing the file grants nothing.
    pub nosuid: bool,
}

/// Returns the capabilities of the file at `path`, or `None` if the file has none or its file
/// system cannot store any.
///
/// A symbolic link is not followed, and has no capabilities. This makes one system call, which does
/// not need read permission.
///
/// # Errors
///
/// An error of the path, [`Error::ForeignRootid`] and [`Error::MalformedFileCaps`].
#[doc(alias = "cap_get_file")]
pub fn read(path: impl AsRef<Path>) -> Result<Option<FileCaps>> {
    let path = path.as_ref();
    decode(xattr::get(path, ATTRIBUTE), || path.into())
}

/// Returns the capabilities of an open file, whose descriptor may be an `O_PATH` one.
///
/// # Errors
///
/// Those of [`read`].
#[doc(alias = "cap_get_fd")]
pub fn read_fd(fd: impl AsFd) -> Result<Option<FileCaps>> {
    let target = Target::descriptor(fd, Op::ReadFileCaps)?;
    decode(target.get(), || target.subject.clone())
}

/// Sets the capabilities of the file at `path`, without following a symbolic link.
///
/// # Errors
///
/// [`Error::Refused`] if the reason is known: the file is not regular, the file system is read-only
/// or has no security attributes, `CAP_SETFCAP` is not effective, or the owner or the root ID is
/// not mapped in the user namespace. The file is not changed in case of an error.
#[doc(alias = "cap_set_file")]
pub fn write(path: impl AsRef<Path>, caps: &FileCaps) -> Result<Written> {
    Target::open(path.as_ref())?.write(caps)
}

/// Sets the capabilities of an open file, whose descriptor may be an `O_PATH` one.
///
/// # Errors
///
/// Those of [`write()`].
#[doc(alias = "cap_set_fd")]
pub fn write_fd(fd: impl AsFd, caps: &FileCaps) -> Result<Written> {
    Target::descriptor(fd, Op::WriteFileCaps)?.write(caps)
}

/// Replaces the capabilities of the file at `path` with the result of `change`.
///
/// `None` stands for no capabilities. The capabilities are read and written through one descriptor,
/// so a file that is moved to the path in between is neither read nor changed.
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
/// Those of [`read`] and [`write()`], and those of `change`, after which nothing is written.
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

/// Returns the result that [`write()`] would have, without changing anything.
///
/// The reasons for a refusal are the same, as far as they can be known beforehand. `CAP_SETFCAP`
/// need only be permitted, because it can be raised.
///
/// # Errors
///
/// Those of [`write()`].
pub fn check_write(path: impl AsRef<Path>, caps: Option<&FileCaps>) -> Result<Written> {
    Target::open(path.as_ref())?.check(caps, &Process::permitted()?)
}

/// Returns what [`write_fd`] would do, without doing it, or what [`remove_fd`] would do for `None`.
///
/// # Errors
///
/// Those of [`check_write`].
pub fn check_write_fd(fd: impl AsFd, caps: Option<&FileCaps>) -> Result<Written> {
    Target::descriptor(fd, Op::WriteFileCaps)?.check(caps, &Process::permitted()?)
}

/// Removes the capabilities of the file at `path`, and returns whether it had any. A symbolic link
/// is not followed.
///
/// # Errors
///
/// Those of [`write()`].
pub fn remove(path: impl AsRef<Path>) -> Result<bool> {
    Target::open(path.as_ref())?.remove()
}

/// Removes the capabilities of an open file, whose descriptor may be an `O_PATH` one, and returns
/// whether it had any.
///
/// # Errors
///
/// Those of [`write()`].
pub fn remove_fd(fd: impl AsFd) -> Result<bool> {
    Target::descriptor(fd, Op::RemoveFileCaps)?.remove()
}

/// Decodes a value of the attribute that was read from `subject`.
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

/// Opens a file of any type with `O_PATH`, which needs no permission on the file and has no effect
/// on it.
///
/// std's `custom_flags` drops `O_PATH` with musl, where it counts as an access mode.
pub(crate) fn locate(path: &Path, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_PATH | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// The calls on many open files, with what is the same for each of them: the directory of this
/// thread's descriptors, and what this process may do.
///
/// It belongs to the thread that opened it, and to the capabilities and user namespace that the
/// process had then.
#[derive(Debug)]
#[cfg_attr(not(feature = "scan"), expect(dead_code, reason = "only scans open one"))]
pub(crate) struct Session {
    /// `None` without /proc.
    descriptors: Option<OwnedFd>,
    process: Process,
}

#[cfg(feature = "scan")]
impl Session {
    pub(crate) fn open() -> Result<Session> {
        Ok(Session { descriptors: own::descriptors().ok(), process: Process::permitted()? })
    }

    /// Does what [`read_fd`] does, with the path in errors.
    pub(crate) fn read(&self, file: &File, path: &Path) -> Result<Option<FileCaps>> {
        decode(self.target(file, path).get(), || path.into())
    }

    /// Does what [`check_write_fd`] does, with the path in errors.
    pub(crate) fn check_write(
        &self,
        file: &File,
        path: &Path,
        caps: Option<&FileCaps>,
    ) -> Result<Written> {
        self.target(file, path).check(caps, &self.process)
    }

    /// Does what [`write_fd`] does, or [`remove_fd`] for `None`, with the path in errors.
    pub(crate) fn write(&self, file: &File, path: &Path, caps: Option<&FileCaps>) -> Result<()> {
        let target = self.target(file, path);
        match caps {
            Some(caps) => target.set(caps),
            None => target.remove().map(drop),
        }
    }

    /// Returns the directory in which an open file has its number as a name.
    pub(crate) fn descriptors(&self) -> io::Result<&OwnedFd> {
        self.descriptors.as_ref().ok_or_else(|| Errno::ENOENT.into())
    }

    fn target<'a>(&'a self, file: &'a File, path: &Path) -> Target<'a, &'a File> {
        Target { file, subject: path.into(), session: Some(self) }
    }
}

/// The privileges of the process that concern the capabilities of files.
#[derive(Debug)]
struct Process {
    setfcap: bool,
    uids: IdMap,
    gids: IdMap,
}

impl Process {
    fn new(setfcap: bool) -> Process {
        Process { setfcap, uids: IdMap::of_users(), gids: IdMap::of_groups() }
    }

    /// Returns the process after it has raised what it may raise.
    fn permitted() -> Result<Process> {
        Ok(Process::new(CapState::current()?.permitted.contains(Cap::SETFCAP)))
    }
}

/// An open file, which cannot be replaced by another one.
struct Target<'a, F = File> {
    file: F,
    subject: Subject,
    session: Option<&'a Session>,
}

impl Target<'static> {
    /// Opens `path` without following it, without permission on the file and without an effect on
    /// it.
    fn open(path: &Path) -> Result<Self> {
        match locate(path, OFlag::O_NOFOLLOW) {
            Ok(file) => Ok(Target { file, subject: path.into(), session: None }),
            Err(err) => Err(Op::Open.on(path, err)),
        }
    }

    fn descriptor(fd: impl AsFd, op: Op) -> Result<Self> {
        let fd = fd.as_fd();
        let subject = Subject::Descriptor(fd.as_raw_fd());
        match fd.try_clone_to_owned() {
            Ok(fd) => Ok(Target { file: fd.into(), subject, session: None }),
            Err(err) => Err(op.on(subject, err)),
        }
    }
}

impl<F: Borrow<File>> Target<'_, F> {
    fn file(&self) -> &File {
        self.file.borrow()
    }

    fn call(&self, call: Call<'_>) -> io::Result<Option<Vec<u8>>> {
        match (self.session, &self.subject) {
            (Some(Session { descriptors: Some(descriptors), .. }), _) => {
                call.by_link(descriptors, self.file())
            }
            (None, Subject::Path(path)) => call.on(self.file(), Some(path)),
            // The paths of a session are relative to a directory of its user.
            _ => call.on(self.file(), None),
        }
    }

    fn get(&self) -> io::Result<Option<Vec<u8>>> {
        self.call(Call::Get)
    }

    fn write(&self, caps: &FileCaps) -> Result<Written> {
        self.set(caps)?;
        Ok(Written { nosuid: self.mount_flags().contains(FsFlags::ST_NOSUID) })
    }

    fn set(&self, caps: &FileCaps) -> Result<()> {
        self.must_be_regular()?;
        let value = caps.encode();
        self.call(Call::Set(&value))
            .map_err(|err| self.refused(Op::WriteFileCaps, Some(caps), err))?;
        Ok(())
    }

    fn remove(&self) -> Result<bool> {
        self.must_be_regular()?;
        match self.call(Call::Remove) {
            Ok(_) => Ok(true),
            Err(err) if errno(&err) == Errno::ENODATA => Ok(false),
            Err(err) => Err(self.refused(Op::RemoveFileCaps, None, err)),
        }
    }

    fn check(&self, caps: Option<&FileCaps>, process: &Process) -> Result<Written> {
        self.must_be_regular()?;
        let mount = self.mount_flags();
        match self.facts(process, mount).refusal(caps, None) {
            Some(refusal) => {
                Err(Error::Refused { subject: self.subject.clone(), refusal, source: None })
            }
            None => Ok(Written { nosuid: mount.contains(FsFlags::ST_NOSUID) }),
        }
    }

    fn must_be_regular(&self) -> Result<()> {
        let subject = || self.subject.clone();
        let kind = self.file().metadata().map_err(|err| Op::Open.on(subject(), err))?.file_type();
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

    /// Returns the error for the errno, with the reason if there is one.
    fn refused(&self, op: Op, caps: Option<&FileCaps>, source: io::Error) -> Error {
        let setfcap = CapState::current().is_ok_and(|state| state.effective.contains(Cap::SETFCAP));
        let subject = self.subject.clone();
        let facts = self.facts(&Process::new(setfcap), self.mount_flags());
        match facts.refusal(caps, Some(errno(&source))) {
            Some(refusal) => Error::Refused { subject, refusal, source: Some(source) },
            None => Error::Os { op, subject, source },
        }
    }

    /// Collects facts about the file. Unknown facts do not count as obstacles.
    fn facts(&self, process: &Process, mount: FsFlags) -> WriteFacts {
        // STATX_ATTR_IMMUTABLE and STATX_ATTR_APPEND
        const IMMUTABLE: u64 = 0x10 | 0x20;
        let immutable = sys::statx_attributes(self.file().as_fd()).unwrap_or(0) & IMMUTABLE != 0;
        let attributes = !self.get().is_err_and(|err| errno(&err) == Errno::ENOTSUP);
        let Process { setfcap, uids, gids } = process;
        let is_mapped = |stat: Metadata| !uids.lacks(stat.uid()) && !gids.lacks(stat.gid());
        WriteFacts {
            read_only: mount.contains(FsFlags::ST_RDONLY),
            immutable,
            attributes,
            // The mount matters only to a message about it, and takes long to find.
            mount: if attributes { None } else { self.mount() },
            setfcap: *setfcap,
            owner_mapped: self.file().metadata().map_or(true, is_mapped),
            uids: uids.clone(),
        }
    }

    /// Returns the flags of the mount; none if they are unknown.
    fn mount_flags(&self) -> FsFlags {
        fstatvfs(self.file()).map_or(FsFlags::empty(), |stat| stat.flags())
    }

    /// Returns the mount in which the file was opened, found by its ID.
    fn mount(&self) -> Option<Mount> {
        let info = own::read(&format!("fdinfo/{}", self.file().as_raw_fd())).ok()?;
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

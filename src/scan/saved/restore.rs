//! Putting capabilities back: everything is checked before anything changes, and every file is
//! changed through the descriptor of the file that was checked.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{self, FchmodatFlags, SFlag, fchmodat},
};

use super::{Line, Mode, save::sha256};
use crate::{
    Error, Op, Result,
    file::{FileCaps, Session},
};

/// How capabilities are put back.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The directory that paths are relative to; `None` is the root directory.
    pub root: Option<PathBuf>,
    /// Whether everything is checked and nothing changed.
    pub dry_run: bool,
    /// Whether files that are missing are passed over.
    pub ensure: bool,
}

/// A file that was changed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The path below the root directory.
    pub path: PathBuf,
    /// Its capabilities before.
    pub before: Option<FileCaps>,
    /// Its capabilities after.
    pub after: Option<FileCaps>,
    /// Its mode before and after, if that changes.
    pub mode: Option<(u32, u32)>,
}

/// A file that cannot be changed, or was not.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The path below the root directory.
    pub path: PathBuf,
    /// Why.
    pub error: Error,
}

/// The result for each file. Each file is counted once.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Account {
    /// Files that were changed, or would be.
    pub changed: Vec<Step>,
    /// How many files were as they should be.
    pub unchanged: usize,
    /// Files that are missing, with [`Options::ensure`].
    pub missing: Vec<PathBuf>,
    /// Files that failed a check, if nothing was changed, or the one that failed while it was
    /// changed.
    pub failed: Vec<Failure>,
    /// Files that were to be changed and were not, because another one failed.
    pub not_done: Vec<PathBuf>,
}

/// Puts back what `lines` say. `changed` is called for each file at once after it was changed.
///
/// Nothing is changed unless every file passes all checks: it exists without a symbolic link on
/// the way, is a regular file, has the saved owner if its mode is to change, has the saved
/// content, and may be written. A file that changes between its check and its turn is a failure,
/// and the files after it are not changed.
///
/// # Errors
///
/// The root directory cannot be opened. Everything else is in the [`Account`].
pub fn restore(
    lines: &[Line],
    options: &Options,
    mut changed: impl FnMut(&Step),
) -> Result<Account> {
    let path = options.root.as_deref().unwrap_or(Path::new("/"));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(path, flags, stat::Mode::empty()).map_err(|err| Op::Open.on(path, err))?;
    let place = Place { root, session: Session::open()? };
    let mut account = Account::default();
    let mut plan: Vec<(Step, Identity)> = Vec::new();
    for line in lines {
        match place.check(line) {
            Ok(Some(planned)) => plan.push(planned),
            Ok(None) => account.unchanged += 1,
            Err(err) if options.ensure && is_missing(&err) => {
                account.missing.push(line.path.clone());
            }
            Err(error) => account.failed.push(Failure { path: line.path.clone(), error }),
        }
    }
    if !account.failed.is_empty() {
        account.not_done = plan.into_iter().map(|(step, _)| step.path).collect();
        return Ok(account);
    }
    let mut plan = plan.into_iter();
    for (step, identity) in plan.by_ref() {
        let done = if options.dry_run { Ok(()) } else { place.apply(&step, &identity) };
        match done {
            Ok(()) => {
                changed(&step);
                account.changed.push(step);
            }
            Err(error) => {
                account.failed.push(Failure { path: step.path, error });
                break;
            }
        }
    }
    account.not_done = plan.map(|(step, _)| step.path).collect();
    Ok(account)
}

/// The identity of a file, which must not change between its check and its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    uid: u32,
    gid: u32,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> io::Result<Identity> {
        let stat = file.metadata()?;
        Ok(Identity {
            file: (stat.dev(), stat.ino()),
            uid: stat.uid(),
            gid: stat.gid(),
            mode: stat.mode(),
            size: stat.size(),
            modified: (stat.mtime(), stat.mtime_nsec()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        })
    }

    fn is_regular(&self) -> bool {
        self.mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()
    }
}

/// The root directory, and the calls on files below it.
#[derive(Debug)]
struct Place {
    root: OwnedFd,
    session: Session,
}

impl Place {
    /// Opens a file with `O_PATH`, without following a link.
    fn locate(&self, path: &Path) -> Result<File> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        match openat2(&self.root, path, how) {
            Ok(file) => Ok(file.into()),
            Err(Errno::ELOOP) => {
                let err = io::Error::other("a symbolic link is on the way, and none is followed");
                Err(Op::Open.on(path, err))
            }
            Err(err) => Err(Op::Open.on(path, err)),
        }
    }

    /// Returns what is to be done to a file, or `None` if it is as it should be.
    fn check(&self, line: &Line) -> Result<Option<(Step, Identity)>> {
        let path = &*line.path;
        let failed = |err: io::Error| Op::Open.on(path, err);
        let file = self.locate(path)?;
        let identity = Identity::of(&file).map_err(failed)?;
        if !identity.is_regular() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        if let Some(Mode { uid, gid, .. }) = line.mode
            && (identity.uid, identity.gid) != (uid, gid)
        {
            let (is_uid, is_gid) = (identity.uid, identity.gid);
            let words = format!("its owner is {is_uid}:{is_gid}, and was {uid}:{gid}");
            return Err(failed(io::Error::other(words)));
        }
        if let Some(sum) = line.sha256 {
            let is = self.session.descriptors().and_then(|names| sha256(&file, names));
            if is.map_err(failed)? != sum {
                return Err(failed(io::Error::other("its content is not what was saved")));
            }
        }
        let before = self.session.read(&file, path)?;
        let mode = line.mode.map(|mode| (identity.mode & 0o7777, mode.bits));
        let mode = mode.filter(|(before, after)| before != after);
        if before == line.caps && mode.is_none() {
            return Ok(None);
        }
        if before != line.caps {
            // Capabilities on a mount with nosuid have no effect, and are put back all the same.
            let _ = self.session.check_write(&file, path, line.caps.as_ref())?;
        }
        Ok(Some((Step { path: path.to_owned(), before, after: line.caps, mode }, identity)))
    }

    /// Changes a file, if it is still the one that was checked.
    fn apply(&self, step: &Step, identity: &Identity) -> Result<()> {
        let path = &*step.path;
        let failed = |err: io::Error| Op::Open.on(path, err);
        let file = self.locate(path)?;
        if Identity::of(&file).map_err(failed)? != *identity {
            return Err(failed(io::Error::other("it has changed since it was checked")));
        }
        if let Some((_, bits)) = step.mode {
            // The mode comes first, so that the users who may execute the file are settled.
            let descriptors = self.session.descriptors().map_err(failed)?;
            let name = file.as_raw_fd().to_string();
            let mode = stat::Mode::from_bits_truncate(bits);
            fchmodat(descriptors, &*name, mode, FchmodatFlags::FollowSymlink)
                .map_err(|err| failed(err.into()))?;
        }
        if step.before != step.after {
            self.session.write(&file, path, step.after.as_ref())?;
        }
        Ok(())
    }
}

fn is_missing(err: &Error) -> bool {
    let errno = err.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ENOTDIR))
}

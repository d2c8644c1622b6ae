//! The edge of saving: what files have.

use std::{
    fs::{self, File},
    io::{self, Read},
    ops::ControlFlow,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::{
    fcntl::{OFlag, openat},
    sys::stat,
};
use sha2::{Digest, Sha256};

use super::{Line, Mode};
use crate::{
    Op, Result,
    error::Error,
    file::{Entry, Found, Scan, locate},
    proc::own,
};

/// The files to save, and the fields of each.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Saving {
    /// The files and directories; a directory with everything in it.
    pub paths: Vec<PathBuf>,
    /// The directory that paths are written relative to; `None` is the root directory.
    pub root: Option<PathBuf>,
    /// Whether set-user-ID and set-group-ID files are saved, and the modes of all files.
    pub modes: bool,
    /// Whether the SHA-256 of each file is saved.
    pub sha256: bool,
    /// Whether other file systems are left out.
    pub one_file_system: bool,
}

impl Saving {
    /// Returns that the capabilities of these files are saved.
    pub fn of_paths(paths: impl Into<Vec<PathBuf>>) -> Saving {
        Saving { paths: paths.into(), ..Saving::default() }
    }
}

/// Returns the lines for the files, by their paths, and what could not be read.
///
/// # Errors
///
/// A path does not exist, or is not below the root directory.
pub fn save(saving: &Saving) -> Result<(Vec<Line>, Vec<Error>)> {
    let root = saving.root.as_deref().unwrap_or(Path::new("/"));
    let root = fs::canonicalize(root).map_err(|err| Op::Open.on(root, err))?;
    let scan = Scan::default()
        .owners(saving.modes)
        .one_file_system(saving.one_file_system)
        .skip_kernel_file_systems(true);
    let (lines, errors) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    for path in &saving.paths {
        let path = real(path).map_err(|err| Op::Open.on(&**path, err))?;
        if !path.starts_with(&root) {
            let err = io::Error::other(format!("not below {}", root.display()));
            return Err(Op::Open.on(&*path, err));
        }
        scan.run(&path, |entry| {
            match line(entry, saving, &root) {
                None => {}
                Some(Ok(line)) => lock(&lines).push(line),
                Some(Err(err)) => lock(&errors).push(err),
            }
            ControlFlow::Continue(())
        });
    }
    let mut lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    lines.sort_by(|a, b| a.path.cmp(&b.path));
    lines.dedup_by(|a, b| a.path == b.path);
    Ok((lines, errors.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the path with no symbolic link before its last component: restoring follows none.
fn real(path: &Path) -> io::Result<PathBuf> {
    fs::symlink_metadata(path)?;
    let whole = std::path::absolute(path)?;
    match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => fs::canonicalize(whole),
    }
}

fn line(entry: &Entry<'_>, saving: &Saving, root: &Path) -> Option<Result<Line>> {
    const SET_ID: u32 = 0o6000;
    let path = entry.path();
    let caps = match entry.found() {
        Found::File(Ok(caps)) => *caps,
        Found::File(Err(_)) | Found::Unreadable(_) => {
            let err = io::Error::other("it could not be read");
            return Some(Err(Op::ReadFileCaps.on(&*path, err)));
        }
        _ => return None,
    };
    let owner = entry.owner();
    if caps.is_none() && owner.is_none_or(|owner| owner.mode & SET_ID == 0) {
        return None;
    }
    let mode = owner.map(|owner| Mode { bits: owner.mode, uid: owner.uid, gid: owner.gid });
    let inside = path.strip_prefix(root).unwrap_or(&path).to_owned();
    let sha256 = match saving.sha256.then(|| sum_of(&path)).transpose() {
        Ok(sum) => sum,
        Err(err) => return Some(Err(Op::Open.on(&*path, err))),
    };
    Some(Ok(Line { path: inside, caps, mode, sha256 }))
}

fn sum_of(path: &Path) -> io::Result<[u8; 32]> {
    sha256(&locate(path, OFlag::O_NOFOLLOW)?, &own::descriptors()?)
}

/// Returns the SHA-256 of a regular file that is open with `O_PATH`, given the directory of this
/// thread's descriptors.
pub(super) fn sha256(file: &File, descriptors: &OwnedFd) -> io::Result<[u8; 32]> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let name = file.as_raw_fd().to_string();
    let mut file = File::from(openat(descriptors, &*name, flags, stat::Mode::empty())?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&buffer[..length]),
        }
    }
}

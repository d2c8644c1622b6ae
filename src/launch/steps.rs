//! The steps of a child process, and its report.
//!
//! Between fork and exec, memory cannot be allocated, so it is allocated beforehand.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::Mode as FileMode,
    unistd,
};

use crate::{
    Cap, CapSet, CapState, Error, Iab, Mode, Op, Result, Subject, bounding,
    identity::{self, GroupList},
    no_new_privs,
    securebits::{self, Securebits},
};

/// The steps that need no memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sets {
    pub(super) bounding: Option<CapSet>,
    pub(super) mode: Option<Mode>,
    pub(super) iab: Option<Iab>,
    pub(super) ambient: Option<CapSet>,
    pub(super) securebits: Option<Securebits>,
    pub(super) caps: Option<CapState>,
    pub(super) no_new_privs: bool,
}

/// A [`Launcher`] with the memory that its steps need.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) root: Option<CString>,
    /// The working directory below the root.
    pub(super) directory: Option<CString>,
    pub(super) groups: Option<(u32, GroupList)>,
    pub(super) uid: Option<u32>,
    pub(super) sets: Sets,
}

impl Steps {
    /// Takes the steps in the child, and reports the result.
    pub(super) fn take_and_tell(&mut self, pipe: &OwnedFd) -> io::Result<()> {
        let result = self.take();
        let told = match &result {
            Ok(()) => Told::DONE,
            Err(err) => Told::failed(err),
        };
        // If the parent is gone, nobody reads the report.
        let _ = unistd::write(pipe, &told);
        result.map_err(|_| io::Error::from(Errno::EPERM))
    }

    /// Takes the steps. Makes only system calls, without memory from the heap and without locks.
    pub(super) fn take(&mut self) -> Result<()> {
        if let Some(root) = &self.root {
            change_root(root)?;
        }
        if let Some(directory) = &self.directory {
            unistd::chdir(&**directory).map_err(|err| Op::ChangeDirectory.thread(err))?;
        }
        if let Some((gid, groups)) = &mut self.groups {
            identity::change_groups(*gid, groups)?;
        }
        if let Some(uid) = self.uid {
            identity::change_uid(uid)?;
        }
        let Sets { bounding, mode, iab, ambient, securebits, caps, no_new_privs } = self.sets;
        if let Some(mode) = mode {
            mode.apply()?;
        }
        if let Some(iab) = iab {
            iab.apply()?;
        }
        if let Some(caps) = ambient {
            let inheritable = CapState::current()?.inheritable;
            Iab::new(inheritable, caps, CapSet::empty()).apply()?;
        }
        if let Some(keep) = bounding {
            let drop = bounding::current()? - keep;
            if !drop.is_empty() {
                Op::DropBounding.with_raised(Cap::SETPCAP, || bounding::drop(drop))?;
            }
        }
        if let Some(bits) = securebits {
            CapState::with_setpcap(|| securebits::set(bits))?;
        }
        if let Some(caps) = caps {
            caps.apply_with_setpcap()?;
        }
        if no_new_privs { no_new_privs::set() } else { Ok(()) }
    }
}

/// Changes the root directory and the working directory of the process to `path`.
pub(crate) fn change_root(path: &CStr) -> Result<()> {
    Op::Chroot.with_raised(Cap::SYS_CHROOT, || {
        unistd::chroot(path).map_err(|err| Op::Chroot.thread(err))
    })?;
    unistd::chdir(c"/").map_err(|err| Op::Chroot.thread(err))
}

/// The report of a child, in a few bytes.
#[derive(Debug)]
pub(super) enum Told {
    Done,
    Failed(Error),
    Nothing,
}

impl Told {
    /// A byte that is not an [`Op`], and zero for the errno.
    const DONE: [u8; 5] = [u8::MAX, 0, 0, 0, 0];

    fn failed(err: &Error) -> [u8; 5] {
        let op = match err {
            Error::Os { op, .. } => *op as u8,
            _ => Op::Fork as u8,
        };
        let [a, b, c, d] = err.raw_os_error().unwrap_or(0).to_ne_bytes();
        [op, a, b, c, d]
    }

    /// Reads the report from the pipe, whose other end other processes may hold open.
    pub(super) fn read(pipe: OwnedFd) -> io::Result<Told> {
        let mut bytes = [0; Told::DONE.len()];
        match File::from(pipe).read_exact(&mut bytes) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(Told::Nothing),
            Err(err) => return Err(err),
        }
        let [op, a, b, c, d] = bytes;
        let errno = i32::from_ne_bytes([a, b, c, d]);
        Ok(match Op::ALL.iter().find(|known| **known as u8 == op) {
            Some(&op) => Told::Failed(Error::Os {
                op,
                subject: Subject::Child,
                source: io::Error::from_raw_os_error(errno),
            }),
            None => Told::Done,
        })
    }
}

/// Converts a path for system calls, or returns an error of `op`.
pub(super) fn c_path(op: Op, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| op.on(path, Errno::EINVAL))
}

/// A pipe whose descriptors are not standard streams.
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    /// The descriptors from 0 to 2 that were closed. While they are held, neither this crate nor
    /// std opens anything with these numbers. A program that is executed finds them closed.
    pub(super) standard: Vec<OwnedFd>,
}

impl Pipe {
    pub(super) fn new() -> Result<Pipe> {
        let failed = |err: Errno| Op::Fork.thread(err);
        let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let [read, write] = [above_standard(read)?, above_standard(write)?];
        let mut standard = Vec::new();
        loop {
            // open(2) returns the lowest free number.
            let fd = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, FileMode::empty());
            let fd = fd.map_err(failed)?;
            if fd.as_raw_fd() > libc::STDERR_FILENO {
                return Ok(Pipe { read, write, standard });
            }
            standard.push(fd);
        }
    }
}

/// Moves a descriptor above the standard streams.
pub(crate) fn above_standard(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    // std duplicates to numbers from 3.
    fd.try_clone().map_err(|err| Op::Fork.thread(err))
}

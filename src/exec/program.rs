//! The facts about a program, read before it is executed.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    sys::statvfs::{FsFlags, fstatvfs},
};

use super::{FileFacts, elf};
use crate::{Error, Op, Result, file, proc::IdMap};

/// The number of bytes that the kernel reads to detect the format of a file. (`BINPRM_BUF_SIZE`)
const HEAD: usize = 256;
/// The maximum number of scripts that interpret each other. (`exec_binprm` of fs/exec.c)
const SCRIPTS: usize = 5;

/// A program for execve(2): a file and, if it is a script, its interpreter, which may be a script
/// again.
///
/// ```
/// use rcap::exec::{self, Credentials, Kernel, Program};
///
/// let program = Program::open("/bin/sh")?;
/// let file = &program.executed().file;
/// let outcome = exec::execute(&Credentials::current()?, file, Kernel::running());
/// println!("{:?}", outcome.map(|outcome| outcome.after.caps));
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Program {
    /// The files, from the named file to the one whose capabilities and bits apply.
    pub chain: Vec<ProgramFile>,
}

/// One file of a [`Program`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramFile {
    /// The path by which the file was named.
    pub path: PathBuf,
    /// The facts for execve(2).
    pub file: FileFacts,
    /// The permission bits, with the set-user-ID, set-group-ID and sticky bits.
    pub mode: u32,
    /// Whether the file is on a mount with the option noexec.
    pub is_noexec: bool,
    /// Whether the run path of the ELF file has `$ORIGIN`, which the dynamic linker ignores if
    /// `AT_SECURE` is set. (ld.so(8)) An unreadable file counts as having none.
    pub uses_origin: bool,
    /// Whether the file is a program or a script, or has another format that the kernel may execute:
    /// interpreters are registered with binfmt_misc, or the file is unreadable.
    pub has_format: bool,
}

impl Program {
    /// Reads the facts about a program in the file system and user namespace of this process.
    /// Symbolic links are followed. An unreadable file is not treated as a script.
    ///
    /// # Errors
    ///
    /// `EACCES` if a file is not a regular file, `ELOOP` for more than five nested scripts, an
    /// error of opening a file, and [`Error::MalformedFileCaps`], for which execve(2) fails with
    /// `EINVAL`.
    pub fn open(path: impl AsRef<Path>) -> Result<Program> {
        Program::below(Path::new(""), path.as_ref())
    }

    /// Reads the facts about a program below a directory such as `/proc/PID/root`, in which
    /// absolute paths start, including those of interpreters.
    ///
    /// # Errors
    ///
    /// Those of [`Program::open`].
    pub fn below(root: &Path, path: &Path) -> Result<Program> {
        let mut chain: Vec<ProgramFile> = Vec::new();
        let mut path = path.to_owned();
        loop {
            if chain.len() > SCRIPTS {
                return Err(Op::Execute.on(&*path, nix::errno::Errno::ELOOP));
            }
            let (file, head) = look(root, path)?;
            let next = interpreter(&head).map(Path::to_owned);
            chain.push(file);
            match next {
                Some(interpreter) => path = interpreter,
                None => return Ok(Program { chain }),
            }
        }
    }

    /// Returns the file whose capabilities and bits apply: the last interpreter, or the file itself
    /// if it is not a script.
    pub fn executed(&self) -> &ProgramFile {
        // The chain always has the named file.
        &self.chain[self.chain.len() - 1]
    }

    /// Returns the files that are scripts. Their own capabilities and bits are ignored.
    pub fn scripts(&self) -> &[ProgramFile] {
        &self.chain[..self.chain.len() - 1]
    }
}

/// Returns whether the kernel treats the file at `path` as a script, and whether it is on a mount
/// with the option nosuid. It takes fewer calls than a whole [`Program`].
///
/// # Errors
///
/// `EACCES` if the file is not a regular file, and an error of opening it.
#[cfg(feature = "scan")]
pub(crate) fn glance(path: &Path) -> Result<(bool, bool)> {
    let failed = |err: io::Error| Op::Open.on(path, err);
    let handle = file::locate(path, OFlag::O_NOFOLLOW).map_err(failed)?;
    let stat = handle.metadata().map_err(failed)?;
    if !stat.is_file() {
        return Err(failed(nix::errno::Errno::EACCES.into()));
    }
    let flags = fstatvfs(&handle).map_err(|err| failed(err.into()))?.flags();
    let head = readable(path, (stat.dev(), stat.ino())).and_then(|file| head(&file));
    let is_script = head.is_some_and(|head| interpreter(&head).is_some());
    Ok((is_script, flags.contains(FsFlags::ST_NOSUID)))
}

/// Returns the facts about a file, and its first bytes.
fn look(root: &Path, path: PathBuf) -> Result<(ProgramFile, Vec<u8>)> {
    let opened = if path.is_absolute() && !root.as_os_str().is_empty() {
        root.join(path.strip_prefix("/").unwrap_or(&path))
    } else {
        path.clone()
    };
    let failed = |err: io::Error| Op::Execute.on(&*path, err);
    let handle = file::locate(&opened, OFlag::empty()).map_err(failed)?;
    let stat = handle.metadata().map_err(failed)?;
    if !stat.is_file() {
        return Err(failed(nix::errno::Errno::EACCES.into()));
    }
    let flags = fstatvfs(&handle).map_err(|err| failed(err.into()))?.flags();
    let is_nosuid = flags.contains(FsFlags::ST_NOSUID);
    let (caps, is_foreign) = match file::read_fd(&handle) {
        // The kernel does not read capabilities on such a mount.
        Err(Error::MalformedFileCaps { .. }) if is_nosuid => (None, false),
        Err(Error::ForeignRootid { .. }) => (None, true),
        other => {
            let caps = other?;
            (caps, caps.is_some_and(|caps| caps.rootid.is_some_and(is_foreign)))
        }
    };
    let (mode, uid, gid) = (stat.mode(), stat.uid(), stat.gid());
    let [uids, gids] = [IdMap::of_users(), IdMap::of_groups()];
    let file = FileFacts {
        caps,
        is_foreign,
        set_uid: (mode & libc::S_ISUID != 0).then_some(uid),
        // Without the group's execute bit, this bit stands for mandatory locking.
        set_gid: (mode & 0o2010 == 0o2010).then_some(gid),
        is_unmapped: uids.lacks(uid) || gids.lacks(gid),
        is_nosuid,
    };
    let readable = readable(&opened, (stat.dev(), stat.ino()));
    let head = readable.as_ref().and_then(head);
    let program = ProgramFile {
        path,
        file,
        mode: mode & 0o7777,
        is_noexec: flags.contains(FsFlags::ST_NOEXEC),
        uses_origin: readable.and_then(|file| elf::uses_origin(&file)).unwrap_or(false),
        has_format: head.as_ref().is_none_or(|head| has_format(head) || has_other_formats()),
    };
    Ok((program, head.unwrap_or_default()))
}

/// Returns whether a root ID is neither the root of this user namespace nor of its parent, the only
/// ancestor that is visible. (`rootid_owns_currentns` of security/commoncap.c)
fn is_foreign(rootid: u32) -> bool {
    rootid != 0 && IdMap::of_users().outside(rootid) != Some(0)
}

/// Returns whether a file begins like a script or like an ELF program. (`load_elf_binary` of
/// fs/binfmt_elf.c)
fn has_format(head: &[u8]) -> bool {
    const MAGIC: &[u8] = b"\x7fELF";
    const BIG_ENDIAN: u8 = 2;
    const EXECUTABLE: u16 = 2;
    const SHARED_OBJECT: u16 = 3;
    let is_program = || {
        let kind = [*head.get(16)?, *head.get(17)?];
        let is_big = head.get(5) == Some(&BIG_ENDIAN);
        let kind = if is_big { u16::from_be_bytes(kind) } else { u16::from_le_bytes(kind) };
        Some(head.starts_with(MAGIC) && [EXECUTABLE, SHARED_OBJECT].contains(&kind))
    };
    interpreter(head).is_some() || is_program() == Some(true)
}

/// Returns whether interpreters are registered for other formats. (binfmt_misc of the kernel's
/// documentation)
fn has_other_formats() -> bool {
    let entries = fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
    { entries }.any(|entry| !["register", "status"].iter().any(|name| entry.file_name() == *name))
}

/// Opens the file for reading, if it has this device and inode.
fn readable(path: &Path, id: (u64, u64)) -> Option<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let is_same = file.metadata().is_ok_and(|stat| (stat.dev(), stat.ino()) == id);
    is_same.then_some(file)
}

/// Returns the first bytes of a file, if it can be read.
fn head(file: &File) -> Option<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let length = file.read_at(&mut head, 0).ok()?;
    head.truncate(length);
    Some(head)
}

/// Returns the interpreter that the first line of a script names. (`load_script` of
/// fs/binfmt_script.c)
fn interpreter(head: &[u8]) -> Option<&Path> {
    let line = head.strip_prefix(b"#!")?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(|&byte| byte == b'\n');
    let begin = line.iter().position(|byte| !is_blank(byte))?;
    let rest = line.get(begin..end.unwrap_or(line.len()))?;
    let length = rest.iter().position(|byte| is_blank(byte) || *byte == 0);
    // The kernel rejects a path that its buffer truncates.
    if end.is_none() && length.is_none() && head.len() == HEAD {
        return None;
    }
    let name = &rest[..length.unwrap_or(rest.len())];
    (!name.is_empty()).then(|| Path::new(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let elf =
            |data: u8, kind: [u8; 2]| [&b"\x7fELF\x02"[..], &[data], &[0; 10], &kind].concat();
        #[rustfmt::skip]
        let rows: [(&[u8], bool); 10] = [
            (b"#!/bin/sh\n",               true),
            (b"#!\n",                      false),
            (b"echo\n",                    false),
            (b"",                          false),
            (b"\x7fELF garbage, no program", false),
            (b"\x7fELF",                   false),
            (&elf(1, [2, 0]),              true),
            (&elf(1, [3, 0]),              true),
            (&elf(2, [0, 2]),              true),
            (&elf(1, [1, 0]),              false),
        ];
        for (head, want) in rows {
            assert_eq!(has_format(head), want, "{:?}", head.escape_ascii().to_string());
        }
    }

    #[test]
    fn interpreters() {
        let long = [b"#!/".as_slice(), &[b'x'; 300]].concat();
        let cut = [b"#!".as_slice(), &[b' '; 300]].concat();
        #[rustfmt::skip]
        let rows: &[(&[u8], Option<&str>)] = &[
            (b"#!/bin/sh\necho",           Some("/bin/sh")),
            (b"#! \t/bin/sh -e\n",         Some("/bin/sh")),
            (b"#!/usr/bin/env python3\n",  Some("/usr/bin/env")),
            (b"#!bin/sh\n",                Some("bin/sh")),
            (b"#!/bin/sh",                 Some("/bin/sh")),
            (b"#!/bin/sh\0x\n",            Some("/bin/sh")),
            (b"#!\n/bin/sh\n",             None),
            (b"#!  \n",                    None),
            (b"#!",                        None),
            (b"# !/bin/sh\n",              None),
            (b"\x7fELF",                   None),
            (b"",                          None),
            (&long[..256],                 None),
            (&cut[..256],                  None),
        ];
        for &(head, want) in rows {
            assert_eq!(interpreter(head), want.map(Path::new), "{}", head.escape_ascii());
        }
    }
}

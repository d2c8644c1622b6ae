//! Finding programs as execvp(3) would.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::{CapState, file, sys};

/// The directories of programs for a process with more privileges than its caller.
const SAFE_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the directories in `PATH`, unless this process has privileges that its caller lacks.
fn search_path() -> Option<OsString> {
    if sys::is_privileged_by_file() {
        return Some(SAFE_PATH.into());
    }
    std::env::var_os("PATH")
}

/// Returns the command for a program that the user named. A name without a slash is searched for in
/// `PATH`, below the root directory of the child.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    if sys::is_privileged_by_file() {
        command.env("PATH", SAFE_PATH);
    }
    command
}

/// Returns the command for a program that rcap itself needs. Under `AT_SECURE`, the environment is
/// cleared, because variables such as `HOME` can affect the program.
pub fn helper(name: &str) -> Command {
    let mut command = program(name);
    if sys::is_privileged_by_file() {
        command.env_clear().env("PATH", SAFE_PATH);
    }
    command
}

/// The directories in which a command's program is searched for.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the programs alone make one")]
pub struct Place<'a> {
    /// The root directory, if it differs from that of this process.
    pub root: Option<&'a Path>,
    /// The working directory below the root, if it is set.
    pub directory: Option<&'a Path>,
    /// The directories of programs.
    pub path: OsString,
}

impl Default for Place<'_> {
    fn default() -> Self {
        // The default of the C library.
        let path = search_path().unwrap_or_else(|| "/bin:/usr/bin".into());
        Place { root: None, directory: None, path }
    }
}

impl Place<'_> {
    /// Finds the file that would be executed, and opens it with `O_PATH`.
    pub fn find(&self, program: &OsStr) -> Option<(PathBuf, File)> {
        let find = |path: PathBuf| {
            let file = self.open(&path).ok()?;
            let stat = file.metadata().ok()?;
            (stat.is_file() && stat.mode() & 0o111 != 0).then_some((path, file))
        };
        if program.as_bytes().contains(&b'/') {
            return find(program.into());
        }
        std::env::split_paths(&self.path).find_map(|dir| find(dir.join(program)))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let path = self.directory.map_or_else(|| path.into(), |dir| dir.join(path));
        let opened = file::locate(self.root.unwrap_or(&path), OFlag::empty())?;
        if self.root.is_none() {
            return Ok(opened);
        }
        // Symbolic links are followed as after chroot(2).
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        Ok(openat2(&opened, &path, how)?.into())
    }

    /// Returns the capabilities of a program's file.
    pub fn file_caps(&self, program: &OsStr) -> Option<CapState> {
        let (_, file) = self.find(program)?;
        file::read_fd(&file).ok()?.map(CapState::from)
    }
}

/// Returns the path of a program's file.
pub fn find_program(program: &OsStr) -> Option<PathBuf> {
    let (path, _) = Place::default().find(program)?;
    std::fs::canonicalize(path).ok()
}

//! Copies of files that a unit has in the place of the machine's, with another owner.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
        },
    },
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use nix::{
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::{
        signal::{Signal, kill},
        statvfs::statvfs,
    },
    unistd::{Gid, Pid, Uid, fchownat},
};

use super::{
    Failed,
    manager::{command, first_line},
    writable::word,
};
use crate::{
    rootless::{Account, Change},
    settings::shell_word,
};

/// The list of the files that were created to mount copies on them.
const CREATED: &str = "created";

/// Copies of files and directories, which are removed when this value is dropped. If the process is
/// killed, the script that restores the unit removes them.
#[derive(Debug)]
pub(super) struct Copies {
    directory: PathBuf,
    /// Each copy, and the file in whose place it is.
    binds: Vec<[PathBuf; 2]>,
    /// Empty files and directories of the machine on which copies are mounted.
    created: Vec<PathBuf>,
}

/// The error that ended the copying, or `None` after an interruption.
type Ended = Option<Failed>;

/// Work that goes on while a copy is made.
type Pulse<'a> = &'a mut dyn FnMut() -> Result<(), Ended>;

impl Copies {
    /// Copies the files of these changes for a unit, and makes the changes there.
    ///
    /// # Errors
    ///
    /// A file cannot be copied or changed, or `pulse` fails.
    pub(super) fn make(
        id: &str,
        changes: &[&Change],
        account: &Account,
        pulse: Pulse<'_>,
    ) -> Result<Copies, Ended> {
        let directory = directory(id);
        let mut copies = Copies { directory, binds: Vec::new(), created: Vec::new() };
        let mut files: Vec<(&Path, &Change)> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Own { path, .. } | Change::Create { path, .. } => {
                    Some((Path::new(path), *change))
                }
                _ => None,
            })
            .collect();
        if files.is_empty() {
            return Ok(copies);
        }
        // A directory comes before its entries.
        files.sort_by_key(|(path, _)| *path);
        // The session has the unit to itself, so what is there is left of an earlier one.
        copies.created = created_before(&copies.directory);
        copies.remove();
        let made = DirBuilder::new().mode(0o700).create(&copies.directory);
        made.map_err(|err| failed(&copies.directory, &err))?;
        for (path, change) in files {
            copies.add(path, change, account, pulse)?;
        }
        Ok(copies)
    }

    fn add(
        &mut self,
        path: &Path,
        change: &Change,
        account: &Account,
        pulse: Pulse<'_>,
    ) -> Result<(), Ended> {
        let failed = |err: io::Error| Some(failed(path, &err));
        let is_inside = |[_, from]: &&[PathBuf; 2]| path.starts_with(from);
        let [to, from] = if let Some(bind) = self.binds.iter().find(is_inside) {
            bind.clone()
        } else {
            require_fixed(path)?;
            let bind = [self.directory.join(self.binds.len().to_string()), path.to_owned()];
            let is_there = fs::symlink_metadata(path).is_ok();
            if let Change::Create { is_directory, .. } = change {
                if !is_there {
                    self.reserve(path, *is_directory).map_err(failed)?;
                }
                create(&bind[0], *is_directory).map_err(failed)?;
            } else if is_there {
                copy(path, &bind[0], pulse)?;
            } else {
                // The last run has removed it.
                return Ok(());
            }
            self.binds.push(bind.clone());
            bind
        };
        let inner = path.strip_prefix(&from).unwrap_or(path);
        let top = open(&to).map_err(failed)?;
        if let (Change::Create { is_directory, .. }, Some(name)) = (change, inner.file_name()) {
            let parent = below(&top, inner.parent().unwrap_or(inner)).map_err(failed)?;
            create(&in_directory(&parent).join(name), *is_directory).map_err(failed)?;
        }
        let file = match below(&top, inner) {
            // A directory that is created is empty.
            Err(err) if err.kind() == io::ErrorKind::NotFound && !inner.as_os_str().is_empty() => {
                return Ok(());
            }
            file => file.map_err(failed)?,
        };
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        fchownat(&file, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
            .map_err(|errno| failed(errno.into()))?;
        if let Change::Own { is_recursive: true, .. } = change {
            let owner = format!("{uid}:{gid}");
            let all = in_directory(&file).join(".").display().to_string();
            run("chown", &["--recursive", "--no-dereference", "--", &owner, &all], pulse)?;
        }
        Ok(())
    }

    /// Returns the lines of the section `[Service]`. `pid_file` is that of the unit.
    pub(super) fn lines(&self, pid_file: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for [to, from] in &self.binds {
            let bind = format!("{}:{}", to.display(), from.display());
            lines.push(format!("BindPaths={}", word(&bind)));
            // systemd reads the file outside of the unit's namespace.
            if let Ok(inner) = Path::new(pid_file).strip_prefix(from) {
                let path = if inner.as_os_str().is_empty() { to.clone() } else { to.join(inner) };
                lines.push(format!("PIDFile={}", path.display()));
            }
        }
        lines
    }

    /// Returns a shell command that runs `check` with the copies, unless there are none.
    pub(super) fn check(&self, check: &str) -> Option<String> {
        (!self.binds.is_empty()).then(|| format!("exec {}", with_binds(&self.binds, check)))
    }

    /// Returns the lines of a shell script that removes the copies of a unit.
    pub(super) fn removal(id: &str) -> String {
        let directory = directory(id);
        let created = shell_word(&directory.join(CREATED).display().to_string());
        let directory = shell_word(&directory.display().to_string());
        format!(
            "[ -e {created} ] && xargs -r -0 -a {created} -I P find P -maxdepth 0 -empty -delete\n\
             rm -rf {directory}\n"
        )
    }

    /// Creates an empty file or directory of the machine.
    fn reserve(&mut self, path: &Path, is_directory: bool) -> io::Result<()> {
        let parent = open(path.parent().unwrap_or(path))?;
        let place = in_directory(&parent).join(path.file_name().unwrap_or_default());
        let list = self.directory.join(CREATED);
        let mut list = OpenOptions::new().create(true).append(true).mode(0o600).open(list)?;
        list.write_all(&[path.as_os_str().as_encoded_bytes(), b"\0"].concat())?;
        create(&place, is_directory)?;
        self.created.push(path.to_owned());
        Ok(())
    }

    fn remove(&mut self) {
        for path in self.created.drain(..) {
            let is_empty = |stat: fs::Metadata| stat.is_file() && stat.len() == 0;
            if fs::symlink_metadata(&path).is_ok_and(is_empty) {
                let _ = fs::remove_file(path);
            } else {
                let _ = fs::remove_dir(path);
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Returns the files of the machine that an earlier process has created, and not removed.
fn created_before(directory: &Path) -> Vec<PathBuf> {
    let list = fs::read(directory.join(CREATED)).unwrap_or_default();
    let paths = list.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
}

/// Returns a command that runs another one of the shell in a mount namespace, with copies in the
/// places of other files.
pub(super) fn with_binds(binds: &[[PathBuf; 2]], command: &str) -> String {
    let mut inside = String::new();
    for [to, from] in binds {
        let [to, from] = [to, from].map(|path| shell_word(&path.display().to_string()));
        let _ = write!(inside, "mount --bind {to} {from} && ");
    }
    let inside = shell_word(&(inside + "exec sh -c \"$0\""));
    format!("unshare --mount -- sh -c {inside} {}", shell_word(command))
}

/// Returns an error if another user than root could put another file in the place of one that root
/// copies and mounts.
pub(super) fn require_fixed(path: &Path) -> Result<(), Failed> {
    let is_fixed = |above: &Path| {
        let metadata = fs::symlink_metadata(above)?;
        let is_writable =
            metadata.mode() & 0o002 != 0 || metadata.mode() & 0o020 != 0 && metadata.gid() != 0;
        io::Result::Ok(metadata.uid() == 0 && (metadata.is_symlink() || !is_writable))
    };
    let resolved = fs::canonicalize(path.parent().unwrap_or(path));
    let resolved = resolved.map_err(|err| failed(path, &err))?;
    for above in path.ancestors().skip(1).chain(resolved.ancestors()) {
        if !is_fixed(above).map_err(|err| failed(above, &err))? {
            let words = "another user can put other files there, which root would then mount";
            return Err(Failed::Unfit(format!("{}: {words}", above.display())));
        }
    }
    Ok(())
}

/// Returns the directory of a unit's copies.
fn directory(id: &str) -> PathBuf {
    Path::new("/var/lib").join(format!("rcap-trial-{id}"))
}

fn failed(path: &Path, err: &io::Error) -> Failed {
    Failed::Unfit(format!("{}: {err}", path.display()))
}

/// Opens a file by a path without symbolic links.
fn open(path: &Path) -> io::Result<OwnedFd> {
    below(&File::open("/")?.into(), path.strip_prefix("/").unwrap_or(path))
}

/// Opens a file below another one, which a link cannot lead out of.
fn below(above: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        return above.try_clone();
    }
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    let how = how.resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(above, path, how)?)
}

/// Returns a path of an open directory, for children too.
fn in_directory(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd()))
}

fn create(path: &Path, is_directory: bool) -> io::Result<()> {
    if is_directory {
        return DirBuilder::new().mode(0o755).create(path);
    }
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map(drop)
}

/// Copies a file or directory of one file system with owners, modes and attributes.
fn copy(from: &Path, to: &Path, pulse: Pulse<'_>) -> Result<(), Ended> {
    require_space(from, to.parent().unwrap_or(to))?;
    let [source, target] = [from, to].map(|path| path.display().to_string());
    let options =
        ["--archive", "--one-file-system", "--no-target-directory", "--reflink=auto", "--"];
    let options = [&options[..], &[&source, &target]].concat();
    match run("cp", &options, pulse) {
        // Another program may have removed a file while it was copied.
        Err(Some(_)) => {
            let _ = fs::remove_file(to).or_else(|_| fs::remove_dir_all(to));
            run("cp", &options, pulse)
        }
        copied => copied,
    }
}

/// Returns an error if a copy would take more than half of the space that is left.
fn require_space(from: &Path, place: &Path) -> Result<(), Failed> {
    let stat = statvfs(place).map_err(|errno| failed(place, &errno.into()))?;
    #[allow(clippy::useless_conversion, reason = "some architectures have 32 bits")]
    let [blocks, size] = [u64::from(stat.blocks_available()), u64::from(stat.fragment_size())];
    let most = blocks.saturating_mul(size) / 2;
    let size = |metadata: &fs::Metadata| metadata.blocks().saturating_mul(512);
    let top = fs::symlink_metadata(from).map_err(|err| failed(from, &err))?;
    let mut total = size(&top);
    let mut directories = if top.is_dir() { vec![from.to_owned()] } else { Vec::new() };
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            total = total.saturating_add(size(&metadata));
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
        if total > most {
            break;
        }
    }
    if total <= most {
        return Ok(());
    }
    let words = "a copy would take more than half of the space that is left in";
    Err(Failed::Unfit(format!("{}: {words} {}", from.display(), place.display())))
}

/// Runs a client, which is killed if `pulse` fails or this process ends.
fn run(client: &str, args: &[&str], pulse: Pulse<'_>) -> Result<(), Ended> {
    const PAUSE: Duration = Duration::from_millis(20);
    let failed = |message: String| Failed::Client { command: client.to_owned(), message };
    let words = [&["--pdeathsig", "KILL", "--", client], args].concat();
    let mut command = command("setpriv", &words);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|err| failed(format!("setpriv: {err}")))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    thread::scope(|scope| {
        let ended = scope.spawn(|| child.wait_with_output());
        while !ended.is_finished() {
            if let Err(err) = pulse() {
                let _ = kill(pid, Signal::SIGKILL);
                return Err(err);
            }
            thread::sleep(PAUSE);
        }
        let output = ended.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let output = output.map_err(|err| failed(err.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Some(failed(first_line(&output.stderr))))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Another user can put a link in the place of what is in such a directory.
    #[test]
    fn directories_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::create_dir(open.join("inner")).unwrap();
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink(&open, dir.path().join("link")).unwrap();
        for path in [open.join("file"), open.join("inner/file"), dir.path().join("link/file")] {
            let err = require_fixed(&path).unwrap_err().to_string();
            assert!(err.contains("another user can put other files there"), "{path:?}: {err}");
        }
        let root = fs::metadata("/").unwrap();
        let is_fixed = root.uid() == 0 && root.mode() & 0o022 == 0;
        assert_eq!(require_fixed(Path::new("/file")).is_ok(), is_fixed);
    }

    #[test]
    fn settings() {
        let bind = |to: &str, from: &str| [to, from].map(PathBuf::from);
        let copies = Copies {
            directory: PathBuf::from("/none"),
            binds: vec![bind("/c/0", "/run/a.pid"), bind("/c/1", "/var/lib/a b")],
            created: Vec::new(),
        };
        let binds = ["BindPaths=/c/0:/run/a.pid", "BindPaths=\"/c/1:/var/lib/a b\""];
        assert_eq!(copies.lines(""), binds);
        assert_eq!(copies.lines("/run/a.pid"), [binds[0], "PIDFile=/c/0", binds[1]]);
        assert_eq!(copies.lines("/var/lib/a b/p"), [binds[0], binds[1], "PIDFile=/c/1/p"]);
        assert!(!Copies::removal("a\\x2db@c.service").contains(['$', ';']));
    }
}

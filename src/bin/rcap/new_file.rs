//! Files that the programs write, usually as root, possibly in directories that other users can
//! write.
//!
//! A new file, which no other user has prepared or can open, is written beside its target and
//! renamed into place when complete. All of this happens below one descriptor of the directory, so
//! the directory cannot be replaced in between.
//!
//! During a recording, the recorder holds a lock on `.NAME.lock` beside the report. The kernel
//! releases the lock with the process, so a recorder that was killed does not seem alive.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, FcntlArg, OFlag, fcntl, open, openat, renameat},
    sys::stat::{Mode, SFlag, fstatat},
    unistd::{UnlinkatFlags, geteuid, linkat, unlinkat},
};

use super::input;
use rcap::{Op, Result};

/// A regular file, or the place for one.
#[derive(Debug)]
pub(super) struct Target {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl Target {
    /// Opens the directory of `path`. An existing file must be a regular file.
    pub(super) fn new(path: &Path) -> Result<Target> {
        Target::find(path).map_err(|err| Op::Write.on(path, err))
    }

    fn find(path: &Path) -> io::Result<Target> {
        let name = path.file_name().ok_or(Errno::EISDIR)?.to_owned();
        if path == Path::new("-") {
            return Err(io::Error::other("standard output is not a file (./- is one)"));
        }
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        let target = Target { directory, name, path: path.to_owned() };
        target.must_be_regular()?;
        Ok(target)
    }

    fn must_be_regular(&self) -> io::Result<()> {
        let stat = match fstatat(&self.directory, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            stat => stat?,
        };
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => return Ok(()),
            SFlag::S_IFDIR => "a directory",
            SFlag::S_IFLNK => "a symbolic link",
            SFlag::S_IFIFO => "a FIFO",
            SFlag::S_IFSOCK => "a socket",
            _ => "a device",
        };
        Err(io::Error::other(format!("it is {kind}, not a regular file")))
    }

    /// Opens the file for reading, or returns `None` if it does not exist.
    pub(super) fn open(&self) -> io::Result<Option<File>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        match self.open_entry(&self.name, flags, Mode::empty()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    fn open_entry(&self, name: &OsStr, flags: OFlag, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.directory, name, flags, mode)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }

    /// Replaces the target with a new file of mode 0600, or of the mode and owner of `like`.
    pub(super) fn replace(&self, bytes: &[u8], like: Option<&File>) -> io::Result<()> {
        self.replace_with(bytes, |file| liken(file, like))
    }

    /// Replaces the target with a new file that every user can read.
    pub(super) fn publish(&self, bytes: &[u8]) -> Result<()> {
        let readable = |file: &File| file.set_permissions(PermissionsExt::from_mode(0o644));
        self.replace_with(bytes, readable).map_err(|err| Op::Write.on(&*self.path, err))
    }

    /// Replaces the target with a new file, after `finish` has set its mode and owner.
    fn replace_with(
        &self,
        bytes: &[u8],
        finish: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let (name, mut file) = self.create()?;
        let written = (|| {
            file.write_all(bytes)?;
            finish(&file)?;
            file.sync_all()?;
            self.must_be_regular()?;
            Ok(renameat(&self.directory, &*name, &self.directory, &*self.name)?)
        })();
        if written.is_err() {
            let _ = unlinkat(&self.directory, &*name, UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Writes a new file, and fails if the target exists.
    pub(super) fn create_new(&self, bytes: &[u8], like: Option<&File>) -> io::Result<()> {
        let (name, mut file) = self.create()?;
        let written = (|| {
            file.write_all(bytes)?;
            liken(&file, like)?;
            file.sync_all()?;
            // Other than a rename, a link does not replace a file.
            let (directory, flags) = (&self.directory, AtFlags::empty());
            Ok(linkat(directory, &*name, directory, &*self.name, flags)?)
        })();
        let _ = unlinkat(&self.directory, &*name, UnlinkatFlags::NoRemoveDir);
        written
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a file beside the target that only its owner can open.
    fn create(&self) -> io::Result<(OsString, File)> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut number = 0;
        loop {
            let name = OsString::from(format!(".rcap-{}-{number}", std::process::id()));
            match self.open_entry(&name, flags, mode) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists && number < 100 => {
                    number += 1;
                }
                file => return Ok((name, file?)),
            }
        }
    }

    fn lock_name(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(".lock");
        name
    }

    /// Opens the lock file, if no other user can have created it.
    fn open_lock(&self, create: OFlag) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | create;
        let file = self.open_entry(&self.lock_name(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let stat = file.metadata()?;
        let mode = Mode::from_bits_truncate(stat.mode());
        if stat.uid() == geteuid().as_raw() && !mode.intersects(Mode::S_IRWXG | Mode::S_IRWXO) {
            Ok(file)
        } else {
            let name = self.path.with_file_name(self.lock_name());
            Err(io::Error::other(format!("{}: it belongs to another user", name.display())))
        }
    }

    /// Returns whether the lock file still has its name.
    fn is_current(&self, lock: &File) -> io::Result<bool> {
        let present = match self.open_entry(&self.lock_name(), OFlag::O_PATH, Mode::empty()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            present => present?.metadata()?,
        };
        let own = lock.metadata()?;
        Ok((present.dev(), present.ino()) == (own.dev(), own.ino()))
    }
}

/// Gives a new file the mode and owner of another one.
fn liken(file: &File, like: Option<&File>) -> io::Result<()> {
    let Some(like) = like else { return Ok(()) };
    let like = like.metadata()?;
    fchown(file, Some(like.uid()), Some(like.gid()))?;
    // Changing the owner clears bits of the mode, so the mode follows.
    file.set_permissions(PermissionsExt::from_mode(like.mode() & 0o7777))
}

/// The bytes of the lock file, which are separate locks.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Shared by all recorders of the name while they record.
    Running = 0,
    /// Held by one recorder while it replaces the report.
    Replacing = 1,
}

/// Locks with fcntl(2) and `F_RDLCK` or `F_WRLCK`. Returns false if another process has the lock,
/// unless `wait` is set.
fn lock(file: &File, part: Part, kind: i32, wait: bool) -> io::Result<bool> {
    let lock = libc::flock {
        l_type: i16::try_from(kind).map_err(|_| Errno::EINVAL)?,
        l_whence: 0, // SEEK_SET
        l_start: part as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        let how = if wait { FcntlArg::F_OFD_SETLKW(&lock) } else { FcntlArg::F_OFD_SETLK(&lock) };
        match fcntl(file, how) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::EACCES) if !wait => return Ok(false),
            result => return Ok(result.map(|_| true)?),
        }
    }
}

/// A file to be written later.
#[derive(Debug)]
pub(super) struct Pending {
    target: Target,
    lock: File,
}

impl Pending {
    /// Announces that the file will be written, and fails if that is impossible.
    pub(super) fn new(path: &Path) -> Result<Pending> {
        let target = Target::new(path)?;
        let failed = |err| Op::Write.on(path, err);
        loop {
            let file = target.open_lock(OFlag::O_CREAT).map_err(failed)?;
            lock(&file, Part::Running, libc::F_RDLCK, true).map_err(failed)?;
            // The last recorder may have removed the file in between.
            if target.is_current(&file).map_err(failed)? {
                return Ok(Pending { target, lock: file });
            }
        }
    }

    /// Writes the result of `make`, which gets the previous content if `add` is set and the file
    /// exists. Recorders write one after the other.
    pub(super) fn write(
        self,
        add: bool,
        make: impl FnOnce(Option<String>) -> io::Result<String>,
    ) -> Result<()> {
        let write = || -> io::Result<()> {
            lock(&self.lock, Part::Replacing, libc::F_WRLCK, true)?;
            let former = if add { self.target.open()? } else { None };
            let former = former.map(|file| own_text(&file)).transpose()?;
            self.target.replace(make(former)?.as_bytes(), None)
        };
        write().map_err(|err| Op::Write.on(&*self.target.path, err))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // No other recorder is active, so the lock file is not needed. A process that has just
        // opened it opens it again.
        if lock(&self.lock, Part::Running, libc::F_WRLCK, false).unwrap_or(false)
            && self.target.is_current(&self.lock).unwrap_or(false)
        {
            let directory = &self.target.directory;
            let _ = unlinkat(directory, &*self.target.lock_name(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Reads a file of this user, up to the limit.
fn own_text(file: &File) -> io::Result<String> {
    if file.metadata()?.uid() != geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user, and nothing is added to it"));
    }
    text(file)
}

/// Reads a file, up to the limit.
pub(super) fn text(mut file: &File) -> io::Result<String> {
    input::text(&mut file).map_err(|err| io::Error::other(err.to_string()))
}

/// Returns whether a live recorder will write the file. With `wait`, waits until there is none.
pub(super) fn is_pending(path: &Path, wait: bool) -> bool {
    let is_pending = || -> io::Result<bool> {
        let lock_file = Target::find(path)?.open_lock(OFlag::empty())?;
        Ok(!lock(&lock_file, Part::Running, libc::F_WRLCK, wait)?)
    };
    // Without a lock file, there is no recorder. A lock file of another user does not count.
    is_pending().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use nix::unistd::mkfifo;

    use super::*;

    fn entries(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn regular_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        fs::write(path("file"), "x").unwrap();
        symlink("file", path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        #[rustfmt::skip]
        let rows = [
            ("fifo",   Err("it is a FIFO, not a regular file")),
            ("link",   Err("it is a symbolic link, not a regular file")),
            ("socket", Err("it is a socket, not a regular file")),
            ("file",   Ok(())),
            ("none",   Ok(())),
        ];
        for (name, want) in rows {
            let got = Target::find(&path(name)).map(drop).map_err(|err| err.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{name}");
        }
        for name in ["/dev/null", "/dev/stdout", "-", "/", "..", "", "/nonexistent/f"] {
            assert!(Target::find(Path::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn the_other_name_of_a_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| dir.path().join(name));
        fs::write(&other, "victim").unwrap();
        fs::set_permissions(&other, PermissionsExt::from_mode(0o640)).unwrap();
        fs::hard_link(&other, &file).unwrap();
        let target = Target::new(&file).unwrap();
        target.replace(b"new", Some(&File::open(&file).unwrap())).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "victim");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        target.replace(b"newer", None).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(entries(dir.path()), ["file", "other"]);
    }

    #[test]
    fn several_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let pending: Vec<_> = (0..8).map(|_| Pending::new(&path).unwrap()).collect();
        assert!(is_pending(&path, false));
        std::thread::scope(|scope| {
            for one in pending {
                scope.spawn(|| {
                    one.write(true, |former| Ok(former.unwrap_or_default() + "line\n")).unwrap();
                });
            }
            scope.spawn(|| assert!(!is_pending(&path, true)));
        });
        assert!(!is_pending(&path, false));
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\n".repeat(8));
        drop(Pending::new(&path).unwrap());
        assert_eq!(entries(dir.path()), ["file"]);
    }
}

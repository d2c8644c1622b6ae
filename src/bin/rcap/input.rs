//! Files and streams that others control, read up to a stated limit.

use std::{
    error::Error,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use nix::{
    fcntl::{OFlag, open as open_path, openat},
    sys::stat::Mode,
};

/// The maximum input size in MiB. The man pages state it.
const LIMIT_MIB: u64 = 16;

/// The reason for which an input was not read.
#[derive(Debug)]
pub(super) enum Unread {
    Os(io::Error),
    /// Not a regular file but a file of this type.
    Kind(&'static str),
    TooLong,
    NotText,
    /// A directory has more files than are read.
    TooMany,
    /// No engine is installed that could be asked.
    NoEngine,
    /// The last line of an engine's message.
    Engine(String),
}

impl Unread {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Unread::Os(err) if err.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Os(err) if err.kind() == io::ErrorKind::NotFound => f.write_str("no such file"),
            Unread::Os(err) => f.write_str(&super::chain(err)),
            Unread::Kind("masked") => f.write_str("is masked"),
            Unread::Kind(kind) => {
                write!(f, "is {kind}, not a regular file (- reads standard input)")
            }
            Unread::TooLong => write!(f, "is longer than {LIMIT_MIB} MiB"),
            Unread::NotText => f.write_str("is not UTF-8 text"),
            Unread::TooMany => f.write_str("has more files than are read"),
            Unread::NoEngine => f.write_str("neither docker, podman nor nerdctl is installed"),
            Unread::Engine(message) => f.write_str(message),
        }
    }
}

impl Error for Unread {}

impl From<io::Error> for Unread {
    fn from(err: io::Error) -> Unread {
        Unread::Os(err)
    }
}

/// Opens a regular file, or the target of a symbolic link. Opening a FIFO, a tape or a watchdog has
/// effects, so the file is opened for reading only after its type is known.
pub(super) fn open(path: &Path) -> Result<File, Unread> {
    let found = locate(path, OFlag::empty())?;
    regular(&found)?;
    // /proc leads to the opened file. Without procfs, the path is resolved again, and must lead to
    // the same file.
    let same = Path::new("/proc/self/fd").join(found.as_raw_fd().to_string());
    let file = for_reading(&same).or_else(|_| for_reading(path))?;
    let id = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
    if id(&file)? == id(&found)? {
        Ok(file)
    } else {
        Err(Unread::Os(io::ErrorKind::NotFound.into()))
    }
}

/// Opens a file of any type without reading it. (std drops `O_PATH` with musl.)
fn locate(path: &Path, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_PATH | OFlag::O_CLOEXEC;
    Ok(open_path(path, flags, Mode::empty())?.into())
}

fn for_reading(path: &Path) -> Result<File, Unread> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    regular(&file).map(|()| file)
}

fn regular(file: &File) -> Result<(), Unread> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(Unread::Kind(match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }))
}

/// Opens `status` in a directory such as /proc/1.
pub(super) fn open_status(directory: &Path) -> Result<File, Unread> {
    let directory = locate(directory, OFlag::O_DIRECTORY)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&directory, "status", flags, Mode::empty()).map_err(io::Error::from)?;
    let file = File::from(file);
    regular(&file).map(|()| file)
}

/// Reads text up to one byte more than the limit.
pub(super) fn text(input: &mut (impl Read + ?Sized)) -> Result<String, Unread> {
    let limit = LIMIT_MIB << 20;
    let mut bytes = Vec::new();
    input.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        String::from_utf8(bytes).map_err(|_| Unread::NotText)
    } else {
        Err(Unread::TooLong)
    }
}

/// Reads a regular file, or standard input if the path is `-`.
pub(super) fn read(path: &Path, stdin: &mut (impl Read + ?Sized)) -> Result<String, Unread> {
    if path == Path::new("-") { text(stdin) } else { text(&mut open(path)?) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn kinds() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("text"), "x").unwrap();
        fs::write(path("bytes"), b"\xff").unwrap();
        File::create(path("hole")).unwrap().set_len((LIMIT_MIB << 20) + 1).unwrap();
        mkfifo(&path("fifo"), Mode::S_IRUSR).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (name, target) in [("link", "text"), ("zero", "/dev/zero"), ("to fifo", "fifo")] {
            std::os::unix::fs::symlink(target, path(name)).unwrap();
        }
        #[rustfmt::skip]
        let rows = [
            ("text",    Ok("x")),
            ("link",    Ok("x")),
            ("bytes",   Err("is not UTF-8 text")),
            ("hole",    Err("is longer than 16 MiB")),
            ("fifo",    Err("is a FIFO, not a regular file (- reads standard input)")),
            ("to fifo", Err("is a FIFO, not a regular file (- reads standard input)")),
            ("socket",  Err("is a socket, not a regular file (- reads standard input)")),
            ("zero",    Err("is a device, not a regular file (- reads standard input)")),
            ("",        Err("is a directory, not a regular file (- reads standard input)")),
            ("none",    Err("no such file")),
        ];
        for (name, want) in rows {
            let got = read(&path(name), &mut io::empty()).map_err(|err| err.to_string());
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn streams() {
        let limit = LIMIT_MIB << 20;
        let dash = Path::new("-");
        assert_eq!(read(dash, &mut io::repeat(b'x').take(limit)).unwrap().len() as u64, limit);
        assert!(matches!(read(dash, &mut io::repeat(b'x')), Err(Unread::TooLong)));
    }
}

//! The writes of a run to its copy of the file system, compared with the original.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt::Write,
    fs::File,
    hash::{DefaultHasher, Hasher},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};

use super::{Aspect, Effects, Facts, Subject};
use crate::{CapState, file::FileCaps};

/// One file system that a run can write to: the upper directory of an overlay, and what it covers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Layer {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The upper directory of the overlay.
    pub upper: OwnedFd,
    /// The directory that the overlay covers, or `None` if all files of the upper one are new.
    pub lower: Option<OwnedFd>,
}

/// So many files are compared, and no more are kept in memory.
const FILES: usize = 200_000;

impl Layer {
    /// Returns the layer that is mounted at `point`: the upper directory, and the lower one unless
    /// all files of the upper one are new.
    pub fn new(point: PathBuf, upper: OwnedFd, lower: Option<OwnedFd>) -> Layer {
        Layer { point, upper, lower }
    }

    /// Adds what was created, changed and removed to `effects`.
    ///
    /// # Errors
    ///
    /// A file of the layer could not be read, or there are more than 200,000 files.
    pub fn read(&self, effects: &mut Effects) -> io::Result<()> {
        // Directories that are still to be looked into.
        let mut waiting = vec![PathBuf::new()];
        self.add(Path::new(""), effects)?;
        while let Some(directory) = waiting.pop() {
            let Some(opened) = locate(&self.upper, &directory)? else { continue };
            let mut names = BTreeSet::new();
            for entry in std::fs::read_dir(link(&opened))? {
                let entry = entry?;
                let path = directory.join(entry.file_name());
                self.add(&path, effects)?;
                if entry.file_type()?.is_dir() {
                    waiting.push(path);
                }
                names.insert(entry.file_name());
            }
            let is_opaque = xattr::get_deref(link(&opened), "trusted.overlay.opaque")?;
            if is_opaque.is_some_and(|value| value == b"y")
                && let Some(lower) = self.below(&directory)?
                && File::open(link(&lower))?.metadata()?.is_dir()
            {
                for entry in std::fs::read_dir(link(&lower))? {
                    let name = entry?.file_name();
                    if !names.contains(&name) {
                        let subject = Subject::File(self.named(&directory.join(name)));
                        effects.insert(subject, Aspect::Change, "removed");
                    }
                }
            }
            if effects.facts.len() > FILES {
                let words = format!("it changes more than {FILES} files");
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, words));
            }
        }
        Ok(())
    }

    /// The original of a file, if there is one.
    fn below(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        self.lower.as_ref().map_or(Ok(None), |lower| locate(lower, path))
    }

    fn named(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.point.clone() } else { self.point.join(path) }
    }

    fn add(&self, path: &Path, effects: &mut Effects) -> io::Result<()> {
        let Some(new) = locate(&self.upper, path)? else { return Ok(()) };
        let stat = File::from(new.try_clone()?).metadata()?;
        let subject = Subject::File(self.named(path));
        if stat.file_type().is_char_device() && stat.rdev() == 0 {
            effects.insert(subject, Aspect::Change, "removed");
            return Ok(());
        }
        let mut facts = facts(&new)?;
        let change = match self.below(path)? {
            None => "created",
            Some(old) => {
                let old = self::facts(&old)?;
                let gone = old.keys().filter(|aspect| !facts.contains_key(aspect));
                let gone: Vec<Aspect> = gone.cloned().collect();
                facts.retain(|aspect, value| old.get(aspect) != Some(value));
                facts.extend(gone.into_iter().map(|aspect| (aspect, "removed".to_owned())));
                if facts.is_empty() {
                    return Ok(());
                }
                "changed"
            }
        };
        facts.insert(Aspect::Change, change.to_owned());
        effects.facts.insert(subject, facts);
        Ok(())
    }
}

/// Opens a file of any type below a directory, without following a symbolic link and without
/// effects on it. Returns `None` if it does not exist.
fn locate(root: &OwnedFd, path: &Path) -> io::Result<Option<OwnedFd>> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match openat2(root, path, how) {
        Ok(fd) => Ok(Some(fd)),
        // A directory above it is not a directory there.
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::ELOOP) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

fn link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Returns all that is compared of a file, which was opened with `O_PATH`.
fn facts(fd: &OwnedFd) -> io::Result<Facts> {
    let stat = File::from(fd.try_clone()?).metadata()?;
    let kind = stat.file_type();
    let mut facts = Facts::new();
    let mut insert = |aspect, value: String| facts.insert(aspect, value);
    let words = if kind.is_file() {
        insert(Aspect::Content, content(File::open(link(fd))?)?);
        "a file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        let target = PathBuf::from(readlinkat(fd, "")?);
        insert(Aspect::Target, target.display().to_string());
        "a symbolic link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        let (major, minor) = (nix::libc::major(stat.rdev()), nix::libc::minor(stat.rdev()));
        insert(Aspect::Device, format!("{major}:{minor}"));
        if kind.is_char_device() { "a character device" } else { "a block device" }
    };
    insert(Aspect::Kind, words.to_owned());
    if !kind.is_symlink() {
        insert(Aspect::Mode, format!("{:04o}", stat.permissions().mode() & 0o7777));
    }
    insert(Aspect::Owner, stat.uid().to_string());
    insert(Aspect::Group, stat.gid().to_string());
    for name in xattr::list_deref(link(fd))? {
        // Overlayfs keeps its own data in these.
        if name.as_bytes().starts_with(b"trusted.overlay.") {
            continue;
        }
        if let Some(value) = xattr::get_deref(link(fd), &name)? {
            let words = attribute(&name, &value);
            insert(Aspect::Attribute(name.to_string_lossy().into_owned()), words);
        }
    }
    Ok(facts)
}

/// Returns the length and the hash of what a file contains.
fn content(mut file: File) -> io::Result<String> {
    let mut hash = DefaultHasher::new();
    let mut length = 0_u64;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(format!("{length} bytes with hash {:016x}", hash.finish()));
        }
        hash.write(&chunk[..read]);
        length = length.saturating_add(read as u64);
    }
}

/// Returns the value of an extended attribute as a text that is different for different values.
fn attribute(name: &OsStr, value: &[u8]) -> String {
    const SHORT: usize = 64;
    if name == "security.capability"
        && let Ok(caps) = FileCaps::decode(value)
    {
        let rootid = caps.rootid.map(|id| format!(" [rootid={id}]")).unwrap_or_default();
        return format!("{}{rootid}", CapState::from(caps));
    }
    if value.len() > SHORT {
        let mut hash = DefaultHasher::new();
        hash.write(value);
        return format!("{} bytes with hash {:016x}", value.len(), hash.finish());
    }
    match std::str::from_utf8(value) {
        Ok(text) if text.chars().all(|char| char.is_ascii_graphic()) => format!("\"{text}\""),
        _ => hexadecimal(value),
    }
}

/// Returns bytes as hexadecimal digits.
pub(super) fn hexadecimal(value: &[u8]) -> String {
    value.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    /// Two directories stand for the layers: only what overlayfs itself writes is missing.
    #[test]
    fn created_and_changed() {
        let scratch = tempfile::tempdir().unwrap();
        let [upper, lower] = ["upper", "lower"].map(|name| scratch.path().join(name));
        for root in [&upper, &lower] {
            fs::create_dir(root).unwrap();
            fs::write(root.join("same"), "1").unwrap();
            fs::write(root.join("mode"), "1").unwrap();
            fs::create_dir(root.join("dir")).unwrap();
        }
        fs::set_permissions(upper.join("mode"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(lower.join("mode"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(lower.join("dir/untouched"), "1").unwrap();
        fs::write(lower.join("content"), "1").unwrap();
        fs::write(upper.join("content"), "2").unwrap();
        fs::set_permissions(
            upper.join("content"),
            fs::metadata(lower.join("content")).unwrap().permissions(),
        )
        .unwrap();
        std::os::unix::fs::symlink("to\nwhere", upper.join("dir/link")).unwrap();
        std::os::unix::fs::symlink("/", lower.join("link")).unwrap();
        fs::create_dir(upper.join("link")).unwrap();
        fs::write(upper.join("link/etc"), "").unwrap();
        let layer = Layer::new("/p".into(), open(&upper), Some(open(&lower)));
        let mut effects = Effects::default();
        layer.read(&mut effects).unwrap();
        let facts = |name: &str| effects.facts.get(&Subject::File(Path::new("/p").join(name)));
        let value = |name: &str, aspect| {
            facts(name).and_then(|facts| facts.get(&aspect)).map(|value| &**value)
        };
        for name in ["same", "dir", "", "dir/untouched"] {
            assert_eq!(facts(name), None, "{name}");
        }
        assert_eq!(value("mode", Aspect::Mode), Some("4711"));
        assert_eq!(facts("mode").unwrap().len(), 2);
        assert!(value("content", Aspect::Content).unwrap().starts_with("1 bytes with hash "));
        assert_eq!(facts("content").unwrap().len(), 2);
        assert_eq!(value("dir/link", Aspect::Change), Some("created"));
        assert_eq!(value("dir/link", Aspect::Target), Some("to\nwhere"));
        // The link in the lower directory is not followed.
        assert_eq!(value("link", Aspect::Kind), Some("a directory"));
        assert_eq!(value("link/etc", Aspect::Change), Some("created"));
    }

    #[test]
    fn attributes_in_words() {
        let words = |name: &str, value: &[u8]| attribute(OsStr::new(name), value);
        assert_eq!(words("trusted.x", b"1"), "\"1\"");
        assert_eq!(words("user.x", b"\0\n"), "000a");
        assert!(words("user.x", &[b'a'; 65]).starts_with("65 bytes with hash "));
        let caps = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(words("security.capability", &caps), "cap_net_bind_service=ep");
    }
}

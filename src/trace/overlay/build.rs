//! The mounts of a copy of the file system.

use std::{
    cell::Cell,
    ffi::{CStr, CString},
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, fchown},
        },
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::stat::{Mode, mkdirat},
    unistd::{fchdir, getpid, pivot_root},
};
use xattr::FileExt;

use super::mounts::{ATIME, Point, Way, attributes, mount_points};
use crate::{error::chain, file, sys, trace::minimize::network};

/// The reason why the copy could not be made.
#[derive(Debug)]
pub(super) struct Failed {
    what: String,
    source: io::Error,
}

impl Failed {
    /// Converts the error of `what`, whose last word may be the name of a file.
    pub(super) fn to<E: Into<io::Error>>(
        what: &str,
        on: &Path,
    ) -> impl FnOnce(E) -> Failed + use<E> {
        let what = format!("cannot {what}{}", on.display());
        |err| Failed { what, source: err.into() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, chain(&self.source))
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> io::Error {
        io::Error::new(failed.source.kind(), failed.to_string())
    }
}

/// Makes a mount namespace whose root directory is a copy of the file system, and detaches the
/// original.
pub(super) fn build(private_network: bool) -> std::result::Result<(), Failed> {
    let nothing = Path::new("");
    if getpid().as_raw() != 1 {
        return Err(Failed::to("build outside of a new PID namespace", nothing)(Errno::EPERM));
    }
    sys::close_on_exec_from(3).map_err(Failed::to("close the descriptors", nothing))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(Failed::to("make a mount namespace", nothing))?;
    if private_network {
        unshare(CloneFlags::CLONE_NEWNET)
            .and_then(|()| network::start_loopback())
            .map_err(Failed::to("make a network namespace", nothing))?;
    }
    let mut mounts = Mounts::open()?;
    // The mounts are opened by their paths, before the root directory changes.
    let mut opened = Vec::new();
    for point in mounts.read()? {
        if let Some(original) = point.open() {
            opened.push((point, original));
        }
    }
    let cannot_copy = |path: &Path| Failed::to("copy ", path);
    let slash = open(Path::new("/")).map_err(cannot_copy(Path::new("/")))?;
    // After chroot(2), the root directory of the namespace is another one. It has to be detached.
    enter_root().map_err(Failed::to("enter the root directory of the mounts", nothing))?;
    let none = None::<&CStr>;
    mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(Failed::to("make the mounts private", nothing))?;
    let scratch = Scratch::new().map_err(Failed::to("mount a tmpfs", nothing))?;
    let root = scratch.overlay(&slash, Path::new("/")).map_err(cannot_copy(Path::new("/")))?;
    scratch.attach_root(&root).map_err(cannot_copy(Path::new("/")))?;
    for (point, original) in &opened {
        if point.path == Path::new("/") {
            continue;
        }
        if let Err(err) = point.copy(original, &root, &scratch) {
            // A mount that has disappeared meanwhile has nothing to copy. Removing a directory also
            // removes the mounts on it, in every namespace.
            if mounts.read()?.iter().any(|left| left.id == point.id) {
                return Err(cannot_copy(&point.path)(err));
            }
        }
    }
    let detach = || umount2(".", MntFlags::MNT_DETACH);
    fchdir(&root)
        // The old root directory is then mounted above the new one, and the tmpfs above the old.
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| detach())
        .and_then(|()| detach())
        .map_err(Failed::to("change the root directory", nothing))?;
    // A process that enters the namespace gets the directory that was mounted last.
    let is_new = || -> io::Result<()> {
        enter_root()?;
        let id = sys::mount_id(open(Path::new("/"))?.as_fd())?;
        if id == sys::mount_id(root.as_fd())? { Ok(()) } else { Err(Errno::EBUSY.into()) }
    };
    is_new().map_err(Failed::to("detach the old root directory", nothing))
}

/// The mounts of this process's mount namespace, with paths below its present root directory.
struct Mounts(File);

impl Mounts {
    const PATH: &str = "/proc/self/mountinfo";

    fn open() -> std::result::Result<Mounts, Failed> {
        File::open(Mounts::PATH).map(Mounts).map_err(Mounts::unread())
    }

    fn read(&mut self) -> std::result::Result<Vec<Point>, Failed> {
        let mut text = Vec::new();
        self.0.rewind().and_then(|()| self.0.read_to_end(&mut text)).map_err(Mounts::unread())?;
        Ok(mount_points(&text))
    }

    fn unread() -> impl FnOnce(io::Error) -> Failed {
        Failed::to("read the mounts: ", Path::new(Mounts::PATH))
    }
}

/// Enters the root directory of this process's mount namespace.
fn enter_root() -> io::Result<()> {
    let namespace = File::open("/proc/self/ns/mnt")?;
    Ok(setns(namespace, CloneFlags::CLONE_NEWNS)?)
}

impl Point {
    /// Opens the root directory of the mount. Returns `None` if another mount hides it.
    fn open(&self) -> Option<OwnedFd> {
        let original = open(&self.path).ok()?;
        (sys::mount_id(original.as_fd()).ok()? == self.id).then_some(original)
    }

    fn copy(&self, original: &OwnedFd, root: &OwnedFd, scratch: &Scratch) -> io::Result<()> {
        let file = original.try_clone().and_then(|fd| File::from(fd).metadata());
        let way = self.way(file.ok().map(|file| file.mode()));
        if way == Way::Left {
            return Ok(());
        }
        let inside = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let target = openat2(root, self.path.strip_prefix("/").unwrap_or(&self.path), inside)?;
        let flags = sys::mount::flags(original.as_fd())?;
        let with = |flags, mount: OwnedFd| {
            sys::mount::set_attributes(mount.as_fd(), ATIME, attributes(flags)).map(|()| mount)
        };
        let read_only = || with(flags | libc::ST_RDONLY, sys::mount::copy(original.as_fd())?);
        let mount = match way {
            Way::Left => return Ok(()),
            Way::Itself => sys::mount::copy(original.as_fd())?,
            Way::ReadOnly => read_only()?,
            Way::Proc => with(flags, sys::mount::new(c"proc", &[(c"source", c"proc")])?)?,
            Way::InPlace => with(flags, sys::mount::copy(target.as_fd())?)?,
            Way::Overlay => match scratch.overlay(original, &self.path) {
                Ok(mount) => mount,
                Err(_) => read_only()?,
            },
        };
        sys::mount::attach(mount.as_fd(), target.as_fd())
    }
}

/// The tmpfs that holds what is written, and how many overlays there are.
#[derive(Debug)]
struct Scratch {
    root: OwnedFd,
    layers: Cell<usize>,
}

impl Scratch {
    /// Attaches the tmpfs above the root directory: overlayfs takes directories of the mount
    /// namespace alone, and the root directory always exists.
    fn new() -> io::Result<Scratch> {
        let root = io::stderr().as_fd().try_clone_to_owned()?;
        sys::mount::attach(root.as_fd(), open(Path::new("/"))?.as_fd())?;
        Ok(Scratch { root, layers: Cell::new(0) })
    }

    fn directory(&self, name: &str) -> io::Result<OwnedFd> {
        mkdirat(&self.root, name, Mode::S_IRWXU)?;
        let how = OpenHow::new().flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        Ok(openat2(&self.root, name, how)?)
    }

    fn attach_root(&self, root: &OwnedFd) -> io::Result<()> {
        sys::mount::attach(root.as_fd(), self.directory("root")?.as_fd())
    }

    /// Returns an overlay over the directory of a mount point, mounted nowhere, with the flags of
    /// the mount that it covers. Its layers are named by descriptors, since colons, commas and
    /// backslashes of a path have a meaning in these options.
    fn overlay(&self, lower: &OwnedFd, point: &Path) -> io::Result<OwnedFd> {
        let number = self.layers.get();
        let name = |kind: &str| format!("{kind}{number}");
        let [upper, work] = [name("upper"), name("work")];
        let (upper, work) = (self.directory(&upper)?, self.directory(&work)?);
        let path = |fd: &OwnedFd| CString::new(link(fd)).unwrap_or_default();
        let flags = sys::mount::flags(lower.as_fd())?;
        imitate(&link(lower), &File::from(upper.try_clone()?))?;
        let mount = sys::mount::new(
            c"overlay",
            &[
                (c"source", c"rcap"),
                (c"lowerdir", &path(lower)),
                (c"upperdir", &path(&upper)),
                (c"workdir", &path(&work)),
            ],
        )?;
        sys::mount::set_attributes(mount.as_fd(), ATIME, attributes(flags))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&self.root, &*name("point"), flags, Mode::S_IRUSR)?;
        File::from(file).write_all(point.as_os_str().as_bytes())?;
        self.layers.set(number + 1);
        Ok(mount)
    }
}

/// Gives a new directory the owner, the mode and the extended attributes of the original, which it
/// covers.
fn imitate(original: &str, new: &File) -> io::Result<()> {
    let stat = fs::metadata(original)?;
    fchown(new, Some(stat.uid()), Some(stat.gid()))?;
    new.set_permissions(fs::Permissions::from_mode(stat.mode() & 0o7777))?;
    for name in xattr::list_deref(original)? {
        // Overlayfs keeps its own data in them.
        if name.as_bytes().starts_with(b"trusted.") {
            continue;
        }
        let value = xattr::get_deref(original, &name)?.unwrap_or_default();
        match new.set_xattr(&name, &value) {
            // Without its access control list, the directory would allow what it denies outside.
            Err(err) if name.as_bytes().starts_with(b"system.posix_acl") => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

/// Returns a path to the file of a descriptor of this process.
fn link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens a file of any type without reading it: with `O_PATH`.
fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(file::locate(path, OFlag::O_NOFOLLOW)?.into())
}

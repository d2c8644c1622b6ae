//! A copy of the file system for one run, in which everything that is written is thrown away.
//!
//! Another process of this program builds the copy and stays in it: the init process of a PID
//! namespace, in a mount namespace whose root directory is the copy. The program of the run enters
//! both namespaces. Neither has a name outside, so nothing is left when its processes end: the init
//! process ends when its pipe from this process is closed, and the kernel then ends all others.

use std::{
    cell::Cell,
    ffi::{CStr, CString, OsString},
    fmt,
    fs::{self, File, FileType},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use libc::c_ulong;
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns, unshare},
    sys::{
        stat::{Mode, mkdirat},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{chdir, fchdir, getpid, pivot_root},
};
use xattr::FileExt;

use super::{minimize::network, tracer::with_children};
use crate::{Error, Op, Result, error::chain, file, sys};

/// The namespaces of one run, with the process that keeps them.
#[derive(Debug)]
pub struct Overlay {
    init: Option<Child>,
    mounts: File,
    processes: File,
    /// The network namespace, if it is the run's own.
    network: Option<File>,
    /// The root directory of the tmpfs that holds what is written.
    scratch: OwnedFd,
    /// The input of the init process. A byte announces that the program is in the namespace; the
    /// end of file ends the run.
    pipe: Option<OwnedFd>,
}

impl Overlay {
    /// Starts the init process, and waits until it has built the copy. With `private_network`, the
    /// run has a network of its own, in which the loopback device is up and nothing else exists.
    ///
    /// # Errors
    ///
    /// The reason why the copy could not be made.
    pub fn new(private_network: bool) -> Result<Overlay> {
        let fork = |err: io::Error| Op::Fork.thread(err);
        let copy = || Path::new("the copy of the file system");
        let scratch = sys::mount::new(c"tmpfs", &[(c"mode", c"0700")])
            .map_err(|err| Op::Write.on(copy(), err))?;
        let mut init = Command::new("/proc/self/exe");
        init.arg0("rcap").args(["minimize", BUILD]).arg(std::env::current_exe().map_err(fork)?);
        if private_network {
            init.arg(NETWORK);
        }
        init.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        // The init process gets the tmpfs as its standard error.
        let how = OpenHow::new().flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        let inherited = openat2(&scratch, ".", how);
        init.stderr(inherited.map_err(|err| Op::Write.on(copy(), io::Error::from(err)))?);
        let enter = || unshare(CloneFlags::CLONE_NEWPID);
        let mut init = with_children(enter, move || init.spawn().map_err(fork))?;
        let mut words = String::new();
        let said = init.stdout.take().map(|mut out| out.read_to_string(&mut words));
        said.transpose().map_err(fork)?;
        if words != READY {
            let words = if words.is_empty() { "its init process has ended" } else { words.trim() };
            let _ = init.wait();
            let words = format!("{words} (--in-place does without it)");
            return Err(Op::Write.on(copy(), io::Error::other(words)));
        }
        let namespace = |name: &str| {
            let path = PathBuf::from(format!("/proc/{}/ns/{name}", init.id()));
            File::open(&path).map_err(|err| Op::Open.on(&*path, err))
        };
        let (mounts, processes) = (namespace("mnt")?, namespace("pid")?);
        let network = private_network.then(|| namespace("net")).transpose()?;
        let pipe = init.stdin.take().ok_or_else(|| fork(Errno::EPIPE.into()))?;
        let (init, pipe) = (Some(init), Some(pipe.into()));
        Ok(Overlay { init, mounts, processes, network, scratch, pipe })
    }

    /// The PID namespace in which the program has to be started.
    pub fn pid_namespace(&self) -> BorrowedFd<'_> {
        self.processes.as_fd()
    }

    /// Makes `command` run its program on the copy. The program inherits the standard streams
    /// alone, since the descriptor of a directory would lead out of the copy.
    ///
    /// # Errors
    ///
    /// Only if there are no descriptors left.
    pub fn enter_in(&self, command: &mut Command) -> Result<()> {
        self.enter(command, true)
    }

    /// As [`Overlay::enter_in`]. `is_program`: from then on, the run is over with its last process.
    #[expect(unsafe_code, reason = "the program is started in another mount namespace")]
    fn enter(&self, command: &mut Command, is_program: bool) -> Result<()> {
        let failed = |err: io::Error| Op::Fork.thread(err);
        let mounts = self.mounts.try_clone().map_err(failed)?;
        let pipe = self.pipe.as_ref().filter(|_| is_program);
        let pipe = pipe.map(OwnedFd::try_clone).transpose().map_err(failed)?;
        let network = self.network.as_ref().map(File::try_clone).transpose().map_err(failed)?;
        let current = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let current = CString::new(current.into_os_string().into_vec()).unwrap_or_default();
        let enter = move || {
            if let Some(pipe) = &pipe {
                nix::unistd::write(pipe, b"1")?;
            }
            if let Some(network) = &network {
                setns(network, CloneFlags::CLONE_NEWNET)?;
            }
            setns(&mounts, CloneFlags::CLONE_NEWNS)?;
            sys::close_on_exec_from(3)?;
            Ok(chdir(&*current).or_else(|_| chdir(c"/"))?)
        };
        // SAFETY: `enter` makes system calls only.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }

    /// Starts another program on the copy, with this process's privileges.
    ///
    /// # Errors
    ///
    /// The program could not be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        self.enter(&mut command, false)?;
        let spawn = |command: &mut Command| command.spawn().map_err(|err| Op::Fork.thread(err));
        let enter = || setns(&self.processes, CloneFlags::CLONE_NEWPID);
        match with_children(enter, || spawn(&mut command)) {
            // The init process ends with the last process of the run: none can be added then.
            Err(Error::Os { source, .. }) if source.raw_os_error() == Some(libc::ENOMEM) => {
                spawn(&mut command)
            }
            other => other,
        }
    }

    /// The network namespace of the run, if it has one of its own.
    pub fn network(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_ref().map(File::as_fd)
    }

    /// Returns the mount points that were covered by overlays, with the directories that hold what
    /// was written.
    ///
    /// # Errors
    ///
    /// The directories could not be read.
    pub fn layers(&self) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
        let mut layers = Vec::new();
        let below = |name: &str, flags: OFlag| -> io::Result<OwnedFd> {
            let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW);
            Ok(openat2(&self.scratch, name, how)?)
        };
        for number in 0.. {
            let mut point = Vec::new();
            match below(&format!("point{number}"), OFlag::O_RDONLY) {
                Ok(file) => File::from(file).read_to_end(&mut point)?,
                Err(err) if err.kind() == io::ErrorKind::NotFound => break,
                Err(err) => return Err(err),
            };
            let upper = below(&format!("upper{number}"), OFlag::O_DIRECTORY)?;
            layers.push((PathBuf::from(OsString::from_vec(point)), upper));
        }
        Ok(layers)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // The init process ends, and the kernel ends whatever is left in its namespace first.
        drop(self.pipe.take());
        if let Some(mut init) = self.init.take() {
            thread::spawn(move || init.wait());
        }
    }
}

/// The first argument of the init process: before it has built the copy, and after.
const BUILD: &str = "--overlay-build";
const INIT: &str = "--overlay-init";
/// The last argument of the init process if the run has a network of its own.
const NETWORK: &str = "--overlay-network";
/// The only output of the init process, unless an attempt failed.
const READY: &str = "ready\n";

/// Runs the init process, if these are its arguments.
pub fn init(argv: &[OsString]) -> Option<std::result::Result<(), Failed>> {
    let word = argv.get(1)?;
    let result = if word == BUILD {
        let program = argv.get(2).map(PathBuf::from).unwrap_or_default();
        let network = argv.get(3).is_some_and(|word| word == NETWORK);
        build(network).and_then(|()| {
            // A program of the run reaches this file as /proc/1/exe, so it has to be in the copy.
            let mut init = Command::new(&program);
            let err = init.arg0("rcap").args(["minimize", INIT]).stderr(Stdio::null()).exec();
            Err(Failed::to("execute ", &program)(err))
        })
    } else if word == INIT {
        serve().map_err(Failed::to("wait for the processes", Path::new("")))
    } else {
        return None;
    };
    Some(result)
}

/// Waits until all processes of the namespace have ended, or until the run is over; the kernel then
/// ends those that are left.
fn serve() -> io::Result<()> {
    /// How often the number of processes is checked.
    const PULSE: Duration = Duration::from_millis(10);
    if getpid().as_raw() != 1 {
        return Err(Errno::EPERM.into());
    }
    // The other process reads up to the end of the output.
    io::stdout().write_all(READY.as_bytes())?;
    io::stdout().flush()?;
    nix::unistd::dup2_stdout(io::stdin())?;
    let mut begun = false;
    loop {
        let pause = if begun {
            PollTimeout::try_from(PULSE).unwrap_or(PollTimeout::ZERO)
        } else {
            PollTimeout::NONE
        };
        let stdin = io::stdin();
        let mut input = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut input, pause) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => match nix::unistd::read(&stdin, &mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => begun = true,
                Err(err) => return Err(err.into()),
            },
            Err(err) => return Err(err.into()),
        }
        while matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Ok(status) if status != WaitStatus::StillAlive
        ) {}
        if begun
            && sys::signal::kill(-1, 0).is_err_and(|err| err.raw_os_error() == Some(libc::ESRCH))
        {
            return Ok(());
        }
    }
}

/// The reason why the copy could not be made.
#[derive(Debug)]
pub struct Failed {
    what: String,
    source: io::Error,
}

impl Failed {
    /// Converts the error of `what`, whose last word may be the name of a file.
    fn to<E: Into<io::Error>>(what: &str, on: &Path) -> impl FnOnce(E) -> Failed + use<E> {
        let what = format!("cannot {what}{}", on.display());
        |err| Failed { what, source: err.into() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, chain(&self.source))
    }
}

/// Makes a mount namespace whose root directory is a copy of the file system, and detaches the
/// original.
fn build(private_network: bool) -> std::result::Result<(), Failed> {
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
    let info = fs::read("/proc/self/mountinfo")
        .map_err(Failed::to("read the mounts: ", Path::new("/proc/self/mountinfo")))?;
    // The mounts are opened by their paths, before the root directory changes.
    let mut opened = Vec::new();
    for point in mount_points(&info) {
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
        if point.path != Path::new("/") {
            point.copy(original, &root, &scratch).map_err(cannot_copy(&point.path))?;
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

/// Enters the root directory of this process's mount namespace.
fn enter_root() -> io::Result<()> {
    let namespace = File::open("/proc/self/ns/mnt")?;
    Ok(setns(namespace, CloneFlags::CLONE_NEWNS)?)
}

/// A line of /proc/PID/mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    id: u64,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    path: PathBuf,
    kind: Vec<u8>,
}

/// The way in which a mount gets into the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// An overlay, or the mount itself for reading if overlayfs refuses it.
    Overlay,
    /// The mount itself.
    Itself,
    /// The mount itself for reading.
    ReadOnly,
    /// A new procfs, of the PID namespace.
    Proc,
    /// The directory that the copy has there already, mounted again: a part of procfs with its own
    /// flags.
    InPlace,
    /// No mount.
    Left,
}

/// File systems that are interfaces of the kernel and store no files.
const KERNEL: [&str; 21] = [
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "pstore",
    "resctrl",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];

impl Point {
    /// Opens the root directory of the mount. Returns `None` if another mount hides it.
    fn open(&self) -> Option<OwnedFd> {
        let original = open(&self.path).ok()?;
        (sys::mount_id(original.as_fd()).ok()? == self.id).then_some(original)
    }

    /// Returns the way for a mount whose root is a file of this type. The type is unknown if the
    /// mount is another user's FUSE.
    fn way(&self, file: Option<FileType>) -> Way {
        let is = |kind: &str| self.kind == kind.as_bytes();
        if is("proc") {
            return if self.root == Path::new("/") { Way::Proc } else { Way::InPlace };
        }
        if KERNEL.iter().any(|kind| is(kind)) {
            return Way::Itself;
        }
        match file {
            // Sockets lead to processes outside, and files of nsfs to namespaces.
            Some(file) if file.is_socket() || is("nsfs") => Way::Left,
            Some(file) if file.is_dir() => Way::Overlay,
            _ => Way::ReadOnly,
        }
    }

    fn copy(&self, original: &OwnedFd, root: &OwnedFd, scratch: &Scratch) -> io::Result<()> {
        let file = original.try_clone().and_then(|fd| File::from(fd).metadata());
        let way = self.way(file.ok().map(|file| file.file_type()));
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

/// `MOUNT_ATTR__ATIME`: the bits that together tell when access times are updated.
const ATIME: u64 = 0x70;

/// libc lacks it for musl.
const ST_RELATIME: c_ulong = 0x1000;

/// Returns the `MOUNT_ATTR_*` for the `ST_*` flags of a mount.
fn attributes(flags: c_ulong) -> u64 {
    const NO_SYMFOLLOW: c_ulong = 0x2000;
    const STRICT_ATIME: u64 = 0x20;
    #[rustfmt::skip]
    const ROWS: [(c_ulong, u64); 7] = [
        (libc::ST_RDONLY,     0x01),
        (libc::ST_NOSUID,     0x02),
        (libc::ST_NODEV,      0x04),
        (libc::ST_NOEXEC,     0x08),
        (libc::ST_NOATIME,    0x10),
        (libc::ST_NODIRATIME, 0x80),
        (NO_SYMFOLLOW,        0x20_0000),
    ];
    let set = ROWS.iter().filter(|(flag, _)| flags & flag != 0);
    let set = set.fold(0, |all, (_, attribute)| all | attribute);
    // Zero is MOUNT_ATTR_RELATIME.
    let strict = flags & (libc::ST_NOATIME | ST_RELATIME) == 0;
    if strict { set | STRICT_ATIME } else { set }
}

/// Returns the mounts of a text of `/proc/self/mountinfo`, a parent directory before its entries.
fn mount_points(text: &[u8]) -> Vec<Point> {
    let point = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let [root, path] = [fields.nth(2)?, fields.next()?].map(path);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
        Some(Point { id, root, path, kind })
    };
    let mut points: Vec<Point> = text.split(|&byte| byte == b'\n').filter_map(point).collect();
    points.sort_by(|one, other| one.path.cmp(&other.path));
    points
}

/// Decodes a path in which blanks, newlines and backslashes are written as `\040`, in octal.
fn path(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            tail.get(..3).filter(|_| byte == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(code);
            rest = &tail[3..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points() {
        let text =
            b"1 0 8:1 / / rw shared:1 - ext4 x rw\n5 1 0:7 /x\\134 /a\\040b,c:d rw - tmpfs t rw\n\
                     2 1 0:5 / /proc rw master:1 propagate_from:2 - proc p rw\nnonsense\n\n";
        let point = |id, root: &str, path: &str, kind: &[u8]| Point {
            id,
            root: root.into(),
            path: path.into(),
            kind: kind.to_vec(),
        };
        let want = [
            point(1, "/", "/", b"ext4"),
            point(5, "/x\\", "/a b,c:d", b"tmpfs"),
            point(2, "/", "/proc", b"proc"),
        ];
        assert_eq!(mount_points(text), want);
    }

    #[test]
    fn ways() {
        let type_of = |path: &str| fs::symlink_metadata(path).ok().map(|file| file.file_type());
        let [directory, file, device] = ["/", "/proc/self/exe/..", "/dev/null"].map(type_of);
        let file = file.or(type_of(&std::env::current_exe().unwrap().to_string_lossy()));
        let socket = tempfile::tempdir().unwrap();
        let path = socket.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let socket = type_of(&path.to_string_lossy());
        #[rustfmt::skip]
        let rows = [
            ("ext4",     "/",    directory, Way::Overlay),
            ("tmpfs",    "/x",   directory, Way::Overlay),
            ("ext4",     "/x",   file,      Way::ReadOnly),
            ("tmpfs",    "/x",   device,    Way::ReadOnly),
            ("tmpfs",    "/x",   socket,    Way::Left),
            ("nsfs",     "mnt:", file,      Way::Left),
            ("fuse.x",   "/",    None,      Way::ReadOnly),
            ("proc",     "/",    directory, Way::Proc),
            ("proc",     "/sys", directory, Way::InPlace),
            ("devtmpfs", "/",    directory, Way::Itself),
            ("devtmpfs", "/null", device,   Way::Itself),
            ("cgroup2",  "/",    directory, Way::Itself),
        ];
        for (kind, root, file, want) in rows {
            let kind = kind.as_bytes().to_vec();
            let point = Point { id: 1, root: root.into(), path: "/p".into(), kind };
            assert_eq!(point.way(file), want, "{point:?}");
        }
    }

    #[test]
    fn flags() {
        #[rustfmt::skip]
        let rows = [
            (0,                                              0x20),
            (ST_RELATIME,                              0),
            (ST_RELATIME | libc::ST_NOSUID,            0x02),
            (libc::ST_NOATIME | libc::ST_NODEV,              0x14),
            (ST_RELATIME | libc::ST_RDONLY | libc::ST_NOEXEC | libc::ST_NODIRATIME, 0x89),
            (ST_RELATIME | 0x2000,                     0x20_0000),
        ];
        for (flags, want) in rows {
            assert_eq!(attributes(flags), want, "{flags:x}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(path(b"a\\040b\\134\\0\\777"), Path::new("a b\\\\0\\777"));
    }
}

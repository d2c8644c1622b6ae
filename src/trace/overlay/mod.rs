//! A copy of the file system for one run, in which everything that is written is thrown away.
//!
//! Another process of this program builds the copy and stays in it: the init process of a PID
//! namespace, in a mount namespace whose root directory is the copy. The program of the run enters
//! both namespaces. Neither has a name outside, so nothing is left when its processes end: the init
//! process ends when its pipe from this process is closed, and the kernel then ends all others.

use std::{
    ffi::{CString, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStringExt,
            fs::{MetadataExt, OpenOptionsExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sched::{CloneFlags, setns, unshare},
    unistd::chdir,
};

use super::tracer::with_children;
use crate::{Op, Result, sys};

mod build;
mod init;
mod mounts;

pub use init::init_process;

/// The namespaces of one run, with the process that keeps them.
#[derive(Debug)]
pub(super) struct Overlay {
    init: Option<Child>,
    mounts: File,
    processes: File,
    /// The network namespace, if it is the run's own.
    network: Option<File>,
    /// The root directory of the tmpfs that holds what is written.
    scratch: OwnedFd,
    /// The input of the init process, whose end of file ends the run.
    pipe: Option<OwnedFd>,
}

impl Overlay {
    /// Starts the init process, and waits until it has built the copy. With `private_network`, the
    /// run has a network of its own, in which the loopback device is up and nothing else exists.
    ///
    /// # Errors
    ///
    /// The reason why the copy could not be made.
    pub(super) fn new(private_network: bool) -> Result<Overlay> {
        let fork = |err: io::Error| Op::Fork.thread(err);
        let copy = || Path::new("the copy of the file system");
        let scratch = sys::mount::new(c"tmpfs", &[(c"mode", c"0700")])
            .map_err(|err| Op::Write.on(copy(), err))?;
        let mut init = init::command(private_network).map_err(fork)?;
        // The init process gets the tmpfs as its standard error.
        let how = OpenHow::new().flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        let inherited = openat2(&scratch, ".", how);
        init.stderr(inherited.map_err(|err| Op::Write.on(copy(), io::Error::from(err)))?);
        let enter = || unshare(CloneFlags::CLONE_NEWPID);
        let mut init = with_children(enter, move || init.spawn().map_err(fork))?;
        let mut words = String::new();
        let said = init.stdout.take().map(|mut out| out.read_to_string(&mut words));
        said.transpose().map_err(fork)?;
        if words != init::READY {
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
    pub(super) fn pid_namespace(&self) -> BorrowedFd<'_> {
        self.processes.as_fd()
    }

    /// Makes `command` run its program on the copy. The program inherits the standard streams
    /// alone, since the descriptor of a directory would lead out of the copy.
    ///
    /// # Errors
    ///
    /// Only if there are no descriptors left.
    #[expect(unsafe_code, reason = "the program is started in another mount namespace")]
    pub(super) fn enter_in(&self, command: &mut Command) -> Result<()> {
        let failed = |err: io::Error| Op::Fork.thread(err);
        let mounts = self.mounts.try_clone().map_err(failed)?;
        let network = self.network.as_ref().map(File::try_clone).transpose().map_err(failed)?;
        let current = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let current = CString::new(current.into_os_string().into_vec()).unwrap_or_default();
        let enter = move || {
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
    pub(super) fn spawn(&self, mut command: Command) -> Result<Child> {
        self.enter_in(&mut command)?;
        let enter = || setns(&self.processes, CloneFlags::CLONE_NEWPID);
        with_children(enter, || command.spawn().map_err(|err| Op::Fork.thread(err)))
    }

    /// Replaces the content of a file on the copy.
    ///
    /// # Errors
    ///
    /// The file does not exist there, or cannot be written.
    pub(super) fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        let write = || -> io::Result<()> {
            let init = self.init.as_ref().map_or(0, Child::id);
            let root = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
                .open(format!("/proc/{init}/root"))?;
            // An absolute link leads to a file of the copy, not of the machine.
            let how = OpenHow::new()
                .flags(OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            File::from(openat2(&root, path, how)?).write_all(content)
        };
        write().map_err(|err| Op::Write.on(path, err))
    }

    /// Returns whether a process is in the mount namespace of the copy.
    pub(super) fn has(&self, pid: u32) -> bool {
        let of_process = fs::metadata(format!("/proc/{pid}/ns/mnt"));
        let both = of_process.and_then(|one| Ok((one.ino(), self.mounts.metadata()?.ino())));
        both.is_ok_and(|(one, other)| one == other)
    }

    /// The network namespace of the run, if it has one of its own.
    pub(super) fn network(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_ref().map(File::as_fd)
    }

    /// Returns the mount points that were covered by overlays, with the directories that hold what
    /// was written.
    ///
    /// # Errors
    ///
    /// The directories could not be read.
    pub(super) fn layers(&self) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
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
            // Without a thread, its entry stays until this process ends.
            let _ = thread::Builder::new().spawn(move || init.wait());
        }
    }
}

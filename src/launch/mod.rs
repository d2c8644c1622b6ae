//! Starting a program, or a function in a child process, with other privileges than one's own.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl, open},
    sys::{
        stat::Mode as FileMode,
        wait::{WaitStatus, waitpid},
    },
    unistd::{self, Pid},
};

use crate::{
    Cap, CapSet, CapState, Error, Iab, Mode, Op, Result, Subject, bounding,
    identity::{self, GroupList, Identity},
    no_new_privs,
    securebits::{self, Securebits},
    sys, threads,
};

#[cfg(feature = "cli")]
mod search;

#[cfg(feature = "cli")]
pub use search::{Place, find_program, helper, program};

/// The privileges that a child process is to have. (cap_launch(3))
///
/// What is not asked for is inherited. The child takes these steps, in this order:
///
/// 1. [`root`](Launcher::root), while it may still change it, and the working directory below it;
/// 2. [`groups`](Launcher::groups), which another user could not change any more;
/// 3. [`uid`](Launcher::uid), and keeps what is permitted, for the following steps;
/// 4. [`mode`](Launcher::mode), which empties the ambient set;
/// 5. [`iab`](Launcher::iab), which fills it, as a change of the user would clear it;
/// 6. [`bounding`](Launcher::bounding), since what is outside of it cannot become inheritable;
/// 7. [`securebits`](Launcher::securebits), which could forbid that;
/// 8. [`caps`](Launcher::caps), since the steps before need some;
/// 9. [`no_new_privs`](Launcher::no_new_privs).
///
/// A capability that a step needs has to be permitted and not effective. Between fork and exec
/// the child makes system calls only and takes no memory from the heap, so that a process may
/// launch from any of its threads. None of its own threads changes.
///
/// A web server as `nobody` that can bind port 80 and nothing else:
///
/// ```no_run
/// use std::process::Command;
///
/// use rcap::{Cap, CapSet, Iab, identity::Identity, launch::Launcher};
///
/// let port_80 = CapSet::of(&[Cap::NET_BIND_SERVICE]);
/// let mut server = Launcher::new()
///     .identity(&Identity::of_user("nobody")?)
///     .bounding(port_80)
///     .iab(Iab::new(port_80, port_80, CapSet::empty()))
///     .no_new_privs()
///     .spawn(Command::new("/usr/local/bin/server"))?;
/// # let _ = server.wait();
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
#[doc(alias = "cap_launch_t")]
pub struct Launcher {
    root: Option<PathBuf>,
    groups: Option<(u32, Vec<u32>)>,
    uid: Option<u32>,
    sets: Sets,
}

/// What the child does without further memory.
#[derive(Clone, Copy, Debug, Default)]
struct Sets {
    bounding: Option<CapSet>,
    mode: Option<Mode>,
    iab: Option<Iab>,
    securebits: Option<Securebits>,
    caps: Option<CapState>,
    no_new_privs: bool,
}

impl Launcher {
    /// No change: the child has what this thread has.
    #[doc(alias("cap_new_launcher", "cap_func_launcher"))]
    pub fn new() -> Launcher {
        Launcher::default()
    }

    /// Makes `path` the root directory of the child, and its working directory. The working
    /// directory of a [`Command`] is one below it. `CAP_SYS_CHROOT`.
    #[doc(alias = "cap_launcher_set_chroot")]
    pub fn root(mut self, path: impl AsRef<Path>) -> Launcher {
        self.root = Some(path.as_ref().to_path_buf());
        self
    }

    /// Changes the group ids and the supplementary groups. `CAP_SETGID`.
    #[doc(alias = "cap_launcher_setgroups")]
    pub fn groups(mut self, gid: u32, groups: &[u32]) -> Launcher {
        self.groups = Some((gid, groups.to_vec()));
        self
    }

    /// Changes the user ids. `CAP_SETUID`.
    ///
    /// What is permitted stays so and nothing is effective; a program that a user other than 0
    /// executes loses it, but for what is ambient.
    #[doc(alias = "cap_launcher_setuid")]
    pub fn uid(mut self, uid: u32) -> Launcher {
        self.uid = Some(uid);
        self
    }

    /// [`Launcher::groups`] and [`Launcher::uid`] of a user.
    pub fn identity(self, identity: &Identity) -> Launcher {
        self.groups(identity.gid, &identity.groups).uid(identity.uid)
    }

    /// Drops what is not in `keep` from the bounding set. `CAP_SETPCAP`.
    pub fn bounding(mut self, keep: CapSet) -> Launcher {
        self.sets.bounding = Some(keep);
        self
    }

    /// Enters a mode. `CAP_SETPCAP`.
    #[doc(alias = "cap_launcher_set_mode")]
    pub fn mode(mut self, mode: Mode) -> Launcher {
        self.sets.mode = Some(mode);
        self
    }

    /// Sets the inheritable and the ambient set, and drops from the bounding set. `CAP_SETPCAP`
    /// where [`Iab::apply`] needs it.
    #[doc(alias = "cap_launcher_set_iab")]
    pub fn iab(mut self, iab: Iab) -> Launcher {
        self.sets.iab = Some(iab);
        self
    }

    /// Sets the securebits. `CAP_SETPCAP`, but for those of interpreters.
    pub fn securebits(mut self, bits: Securebits) -> Launcher {
        self.sets.securebits = Some(bits);
        self
    }

    /// Sets the effective, permitted and inheritable set: for a function, since executing a
    /// program gives it others.
    pub fn caps(mut self, caps: CapState) -> Launcher {
        self.sets.caps = Some(caps);
        self
    }

    /// Sets no-new-privs, for good.
    pub fn no_new_privs(mut self) -> Launcher {
        self.sets.no_new_privs = true;
        self
    }

    /// Starts the program of `command`, with its arguments, environment, streams and working
    /// directory. A program without a slash is looked for in the new root directory.
    ///
    /// Descriptors of this process that are not closed on exec are the child's as well.
    ///
    /// # Errors
    ///
    /// The error of the step that failed, with [`Subject::Child`]; the child has then ended.
    /// [`Op::Execute`], with the program, if all steps succeeded and it could not be executed.
    /// [`Op::Chroot`] and [`Op::ChangeDirectory`] name the directory. [`Op::Fork`] if no child could
    /// be made.
    #[doc(alias = "cap_launch")]
    #[expect(unsafe_code, reason = "the child takes the steps")]
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let program = PathBuf::from(command.get_program());
        let directory = command.get_current_dir().map(Path::to_path_buf);
        let Pipe { read, write, standard: _standard } = Pipe::new()?;
        let mut steps = self.steps_of(&mut command)?;
        // SAFETY: the steps make system calls only.
        unsafe { command.pre_exec(move || steps.take_and_tell(&write)) };
        command.spawn().map_err(|err| {
            // The child has ended, and what it had to say is there. A process that another thread
            // has forked meanwhile can hold the other end open.
            drop(command);
            let _ = fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            match Told::read(read) {
                Ok(Told::Failed(err)) => self.with_directory(err, directory.as_deref()),
                Ok(Told::Done) => Op::Execute.on(&*program, err),
                Ok(Told::Nothing) | Err(_) => Op::Fork.thread(err),
            }
        })
    }

    /// Runs the program of `command` to its end, and collects its output. Standard output and
    /// standard error are captured, whatever `command` says.
    ///
    /// ```
    /// use std::process::Command;
    ///
    /// use rcap::launch::Launcher;
    ///
    /// let output = Launcher::new().no_new_privs().output(Command::new("true"))?;
    /// assert!(output.status.success());
    /// # Ok::<(), rcap::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Launcher::spawn`]; [`Op::Wait`] if the output cannot be read.
    pub fn output(&self, mut command: Command) -> Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn(command)?;
        let id = child.id();
        child.wait_with_output().map_err(|err| Op::Wait.on(Subject::Process(id), err))
    }

    /// Executes the program of `command` in this process's place: the steps are taken by this
    /// process itself, whose threads other than the calling one end.
    ///
    /// Returns only if that failed. The steps before the one that failed have been taken then, so
    /// that there is not much to do but to end.
    ///
    /// ```no_run
    /// use std::process::Command;
    ///
    /// use rcap::{CapSet, launch::Launcher};
    ///
    /// let err = Launcher::new().bounding(CapSet::empty()).no_new_privs().exec(Command::new("id"));
    /// eprintln!("{err}");
    /// ```
    #[must_use]
    #[expect(unsafe_code, reason = "the steps are taken by std's exec")]
    pub fn exec(&self, mut command: Command) -> Error {
        let program = PathBuf::from(command.get_program());
        let directory = command.get_current_dir().map(Path::to_path_buf);
        let steps = self.steps_of(&mut command);
        let (mut steps, Pipe { read, write, standard: _standard }) =
            match steps.and_then(|steps| Ok((steps, Pipe::new()?))) {
                Ok(all) => all,
                Err(err) => return err,
            };
        // SAFETY: the steps make system calls only.
        unsafe { command.pre_exec(move || steps.take_and_tell(&write)) };
        let err = command.exec();
        drop(command);
        match Told::read(read) {
            Ok(Told::Failed(Error::Os { op, source, .. })) => {
                self.with_directory(op.thread(source), directory.as_deref())
            }
            Ok(Told::Failed(err)) => err,
            Ok(Told::Done) => Op::Execute.on(&*program, err),
            Ok(Told::Nothing) | Err(_) => Op::Fork.thread(err),
        }
    }

    /// Runs `function` in a child process, which ends with the status that it returns, or with
    /// 101 if it panics. Nothing of this process's that runs at its end runs there.
    ///
    /// The child is a copy of the calling thread, in which other threads' locks would stay
    /// locked for ever: a process may do this before it has started threads, and use
    /// [`Launcher::spawn`] afterwards.
    ///
    /// ```
    /// use rcap::{CapState, launch::Launcher};
    ///
    /// // A child that has nothing, whatever this process has.
    /// let child = Launcher::new().caps(CapState::EMPTY).call(|| {
    ///     u8::from(CapState::current().is_ok_and(|caps| caps == CapState::EMPTY))
    /// })?;
    /// assert_eq!(child.wait()?.code(), Some(1));
    /// # Ok::<(), rcap::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the step that failed, with [`Subject::Child`]; the child has then ended,
    /// without calling `function`. [`Op::Fork`] if no child could be made;
    /// [`Error::Threads`] if this process has several.
    #[doc(alias = "cap_launch")]
    #[expect(unsafe_code, reason = "fork(2)")]
    pub fn call(&self, function: impl FnOnce() -> u8) -> Result<Forked> {
        threads::ensure_single_threaded()?;
        // SAFETY: this process has one thread, whose locks and memory the child has as they are.
        unsafe { self.call_among_threads(function) }
    }

    /// [`Launcher::call`] in a process that may have several threads.
    ///
    /// # Errors
    ///
    /// Those of [`Launcher::call`] but for [`Error::Threads`].
    ///
    /// # Safety
    ///
    /// If the process has other threads, `function` does only what is async-signal-safe
    /// (signal-safety(7)), or what its C library allows in the child of such a process besides:
    /// glibc and musl, to use the heap. A lock that another thread holds is never unlocked.
    #[expect(unsafe_code, reason = "the caller promises what a forked child may do")]
    pub unsafe fn call_among_threads(&self, function: impl FnOnce() -> u8) -> Result<Forked> {
        let Pipe { read, write, standard } = Pipe::new()?;
        drop(standard);
        let [mut read, mut write] = [Some(read), Some(write)];
        let mut steps = self.steps()?;
        let mut function = Some(function);
        // What is only borrowed there is not freed there.
        let mut in_child = || {
            drop(read.take());
            let result = write.as_ref().map(|write| steps.take_and_tell(write));
            drop(write.take());
            match (result, function.take()) {
                (Some(Ok(())), Some(function)) => function(),
                _ => 1,
            }
        };
        // SAFETY: the steps make system calls only, and the caller promises it of `function`.
        let child = unsafe { sys::fork(&mut in_child) };
        let child = Forked(child.map_err(|err| Op::Fork.thread(err))?);
        drop(write);
        match read.map_or(Ok(Told::Nothing), Told::read) {
            Ok(Told::Done) => Ok(child),
            other => {
                child.wait()?;
                Err(match other {
                    Ok(Told::Failed(err)) => err,
                    Err(err) => Op::Fork.thread(err),
                    // It was killed.
                    Ok(_) => Op::Fork.thread(Errno::ECHILD),
                })
            }
        }
    }

    /// The steps before `command` executes its program. It would enter its working directory before
    /// they are taken: outside the new root directory, which could then not be relative.
    fn steps_of(&self, command: &mut Command) -> Result<Steps> {
        let mut steps = self.steps()?;
        if let Some(path) = command.get_current_dir() {
            steps.directory = Some(c_path(Op::ChangeDirectory, path)?);
            command.current_dir(".");
        }
        Ok(steps)
    }

    /// Adds the directory to an error of a step that enters one.
    fn with_directory(&self, err: Error, directory: Option<&Path>) -> Error {
        let Error::Os { op, subject, source } = err else { return err };
        let path = match op {
            Op::Chroot => self.root.as_deref(),
            Op::ChangeDirectory => directory,
            _ => None,
        };
        Error::Os { op, subject: path.map_or(subject, Subject::from), source }
    }

    /// All that needs memory, before there is a child.
    fn steps(&self) -> Result<Steps> {
        // Known from here on, and no more looked for.
        let _ = CapSet::supported();
        let root = self.root.as_deref().map(|path| c_path(Op::Chroot, path));
        Ok(Steps {
            root: root.transpose()?,
            directory: None,
            groups: self.groups.as_ref().map(|(gid, groups)| (*gid, GroupList::new(groups))),
            uid: self.uid,
            sets: self.sets,
        })
    }
}

/// A [`Launcher`] with the memory that its steps need.
#[derive(Debug)]
struct Steps {
    root: Option<CString>,
    /// The working directory below it.
    directory: Option<CString>,
    groups: Option<(u32, GroupList)>,
    uid: Option<u32>,
    sets: Sets,
}

impl Steps {
    /// In the child: takes the steps and says what came of them.
    fn take_and_tell(&mut self, pipe: &OwnedFd) -> io::Result<()> {
        let result = self.take();
        let told = match &result {
            Ok(()) => Told::DONE,
            Err(err) => Told::failed(err),
        };
        // If the parent is gone, nobody waits for it.
        let _ = unistd::write(pipe, &told);
        result.map_err(|_| io::Error::from(Errno::EPERM))
    }

    /// System calls only: no memory from the heap, no locks.
    fn take(&mut self) -> Result<()> {
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
        let Sets { bounding, mode, iab, securebits, caps, no_new_privs } = self.sets;
        if let Some(mode) = mode {
            mode.apply()?;
        }
        if let Some(iab) = iab {
            iab.apply()?;
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

/// Makes `path` the root directory of the process and its working directory.
pub(crate) fn change_root(path: &std::ffi::CStr) -> Result<()> {
    Op::Chroot.with_raised(Cap::SYS_CHROOT, || {
        unistd::chroot(path).map_err(|err| Op::Chroot.thread(err))
    })?;
    unistd::chdir(c"/").map_err(|err| Op::Chroot.thread(err))
}

/// What a child says of its steps, in a few bytes.
#[derive(Debug)]
enum Told {
    Done,
    Failed(Error),
    Nothing,
}

impl Told {
    /// A byte that is no [`Op`], and none of an errno.
    const DONE: [u8; 5] = [u8::MAX, 0, 0, 0, 0];

    fn failed(err: &Error) -> [u8; 5] {
        let op = match err {
            Error::Os { op, .. } => *op as u8,
            _ => Op::Fork as u8,
        };
        let [a, b, c, d] = err.raw_os_error().unwrap_or(0).to_ne_bytes();
        [op, a, b, c, d]
    }

    /// What stands in the pipe, which may be held open by others.
    fn read(pipe: OwnedFd) -> io::Result<Told> {
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

/// A path as the kernel takes it, for `op`.
fn c_path(op: Op, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| op.on(path, Errno::EINVAL))
}

/// A pipe whose descriptors a child does not take for its standard streams.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Those of the descriptors 0 to 2 that were closed. While they are held, neither this crate
    /// nor std opens anything else there; a program that is executed finds them closed.
    standard: Vec<OwnedFd>,
}

impl Pipe {
    fn new() -> Result<Pipe> {
        let failed = |err: Errno| Op::Fork.thread(err);
        let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let [read, write] = [above_standard(read)?, above_standard(write)?];
        let mut standard = Vec::new();
        loop {
            // The lowest number that is free.
            let fd = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, FileMode::empty());
            let fd = fd.map_err(failed)?;
            if fd.as_raw_fd() > libc::STDERR_FILENO {
                return Ok(Pipe { read, write, standard });
            }
            standard.push(fd);
        }
    }
}

/// Moves a descriptor to another number if a child could take it for a standard stream.
pub(crate) fn above_standard(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    // std's duplicates begin at 3.
    fd.try_clone().map_err(|err| Op::Fork.thread(err))
}

/// A child process that runs a function. One that is not waited for stays a zombie until this
/// process ends.
#[derive(Debug)]
#[must_use]
pub struct Forked(Pid);

impl Forked {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.as_raw().unsigned_abs()
    }

    /// Sends it a signal. (kill(2))
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no signal of this number.
    pub fn kill(&self, signal: i32) -> Result<()> {
        sys::signal::kill(self.0.as_raw(), signal)
            .map_err(|err| Op::Signal.on(Subject::Process(self.pid()), err))
    }

    /// Waits for its end. (waitpid(2))
    ///
    /// # Errors
    ///
    /// `ECHILD` if this process ignores SIGCHLD, or if somebody else has waited for it.
    pub fn wait(self) -> Result<ExitStatus> {
        loop {
            match waitpid(self.0, None) {
                Ok(status) => {
                    if let Some(status) = exit_status(status) {
                        return Ok(status);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(err) => return Err(Op::Wait.on(Subject::Process(self.pid()), err)),
            }
        }
    }
}

/// How a process ended, if it has.
pub(crate) fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    match status {
        WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
        WaitStatus::Signaled(_, signal, core) => {
            let core = if core { 0x80 } else { 0 };
            Some(ExitStatus::from_raw(signal as i32 | core))
        }
        _ => None,
    }
}

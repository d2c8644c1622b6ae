//! Starting a program or a function in a child process with other privileges.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};

use crate::{
    CapSet, CapState, Error, Iab, Mode, Op, Result, Subject, bounding,
    identity::{GroupList, Identity},
    securebits::Securebits,
    sys, threads,
};

mod forked;
#[cfg(any(feature = "cli", feature = "scan"))]
mod search;
mod steps;

pub use forked::Forked;
#[cfg(any(feature = "cli", feature = "scan"))]
pub use search::{Place, find_program, helper, program};
pub(crate) use steps::above_standard;
#[cfg(feature = "cli")]
pub(crate) use steps::change_root;
use steps::{Pipe, Sets, Steps, Told, c_path};

/// Returns the capabilities that a program started by this process can have at most, for any
/// executed file: the bounding and inheritable sets.
///
/// # Errors
///
/// [`Error::Os`] if a sandbox forbids a call.
pub fn attainable() -> Result<CapSet> {
    Ok(bounding::current()? | CapState::current()?.inheritable)
}

/// The privileges of a child process. (cap_launch(3))
///
/// Privileges that are not set are inherited. The child takes these steps, in this order:
///
/// 1. [`root`](Launcher::root), while it may still change, and the working directory below it;
/// 2. [`groups`](Launcher::groups), which another user could not change;
/// 3. [`uid`](Launcher::uid), which preserves the permitted set for the following steps;
/// 4. [`mode`](Launcher::mode), which clears the ambient set;
/// 5. [`iab`](Launcher::iab), which fills it, because changing the user would clear it;
/// 6. [`ambient`](Launcher::ambient), for the same reason;
/// 7. [`bounding`](Launcher::bounding), because capabilities outside of it cannot become
///    inheritable;
/// 8. [`securebits`](Launcher::securebits), which could forbid that;
/// 9. [`caps`](Launcher::caps), because the steps before need some;
/// 10. [`no_new_privs`](Launcher::no_new_privs).
///
/// A capability that a step needs must be permitted, but need not be effective. Between fork and
/// exec, the child only makes system calls and allocates no memory, so any thread of a process may
/// launch a child. The parent process is not affected.
///
/// Set the user and the groups here, and not with `uid`, `gid` or `groups` of the [`Command`]: std
/// changes them before the steps, which then fail with `EPERM` for lack of capabilities.
///
/// A web server as `nobody` that can bind port 80 and nothing else:
///
/// ```no_run
/// use std::process::Command;
///
/// use rcap::{Cap, CapSet, identity::Identity, launch::Launcher};
///
/// let port_80 = CapSet::of(&[Cap::NET_BIND_SERVICE]);
/// let mut server = Launcher::new()
///     .identity(&Identity::of_user("nobody")?)
///     .bounding(port_80)
///     .ambient(port_80)
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

impl Launcher {
    /// Returns a launcher without changes: the child inherits everything.
    #[doc(alias("cap_new_launcher", "cap_func_launcher"))]
    pub fn new() -> Launcher {
        Launcher::default()
    }

    /// Sets the root directory and the working directory of the child. The working directory of a
    /// [`Command`] is below it. Needs `CAP_SYS_CHROOT`.
    #[doc(alias = "cap_launcher_set_chroot")]
    pub fn root(mut self, path: impl AsRef<Path>) -> Launcher {
        self.root = Some(path.as_ref().to_path_buf());
        self
    }

    /// Sets the group IDs and the supplementary groups. Needs `CAP_SETGID`.
    #[doc(alias = "cap_launcher_setgroups")]
    pub fn groups(mut self, gid: u32, groups: &[u32]) -> Launcher {
        self.groups = Some((gid, groups.to_vec()));
        self
    }

    /// Sets the user IDs. Needs `CAP_SETUID`.
    ///
    /// The permitted set is preserved and the effective set is cleared. A program executed by a
    /// non-root user keeps only the ambient set.
    #[doc(alias = "cap_launcher_setuid")]
    pub fn uid(mut self, uid: u32) -> Launcher {
        self.uid = Some(uid);
        self
    }

    /// Calls [`Launcher::groups`] and [`Launcher::uid`] for a user.
    pub fn identity(self, identity: &Identity) -> Launcher {
        self.groups(identity.gid, &identity.groups).uid(identity.uid)
    }

    /// Drops all capabilities except `keep` from the bounding set. Needs `CAP_SETPCAP`.
    pub fn bounding(mut self, keep: CapSet) -> Launcher {
        self.sets.bounding = Some(keep);
        self
    }

    /// Enters a mode. Needs `CAP_SETPCAP`.
    #[doc(alias = "cap_launcher_set_mode")]
    pub fn mode(mut self, mode: Mode) -> Launcher {
        self.sets.mode = Some(mode);
        self
    }

    /// Sets the inheritable and ambient sets, and drops from the bounding set. May need
    /// `CAP_SETPCAP`; see [`Iab::apply`].
    #[doc(alias = "cap_launcher_set_iab")]
    pub fn iab(mut self, iab: Iab) -> Launcher {
        self.sets.iab = Some(iab);
        self
    }

    /// Sets the ambient set and makes its members inheritable, so that programs of any user keep
    /// them. Needs `CAP_SETPCAP` if a member is neither permitted nor inheritable.
    pub fn ambient(mut self, caps: impl Into<CapSet>) -> Launcher {
        self.sets.ambient = Some(caps.into());
        self
    }

    /// Sets the securebits. Needs `CAP_SETPCAP`, except for the bits for interpreters.
    pub fn securebits(mut self, bits: Securebits) -> Launcher {
        self.sets.securebits = Some(bits);
        self
    }

    /// Sets the effective, permitted and inheritable sets. This is useful for functions; executing
    /// a program changes these sets again.
    pub fn caps(mut self, caps: CapState) -> Launcher {
        self.sets.caps = Some(caps);
        self
    }

    /// Sets no-new-privs permanently.
    pub fn no_new_privs(mut self) -> Launcher {
        self.sets.no_new_privs = true;
        self
    }

    /// Starts the program of `command`, with its arguments, environment, streams and working
    /// directory. A program without a slash is searched for below the new root directory.
    ///
    /// The child inherits descriptors of this process that are not close-on-exec.
    ///
    /// # Errors
    ///
    /// The error of the failed step, with [`Subject::Child`]; the child has then exited.
    /// [`Op::Execute`], with the program, if all steps succeeded and the program could not be
    /// executed. [`Op::Chroot`] and [`Op::ChangeDirectory`] name the directory. [`Op::Fork`] if the
    /// child could not be created.
    #[doc(alias = "cap_launch")]
    #[expect(unsafe_code, reason = "the child takes the steps")]
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let program = PathBuf::from(command.get_program());
        let directory = command.get_current_dir().map(Path::to_path_buf);
        let Pipe { read, write, standard: _standard } = Pipe::new()?;
        let mut steps = self.steps_of(&mut command)?;
        // SAFETY: the steps only make system calls.
        unsafe { command.pre_exec(move || steps.take_and_tell(&write)) };
        command.spawn().map_err(|err| {
            // The child has exited, and its report is in the pipe. A process that another thread
            // has just forked can hold the other end open.
            drop(command);
            let _ = fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            match Told::read(read) {
                Ok(Told::Failed(err)) => self.with_directory(err, directory.as_deref()),
                Ok(Told::Done) => Op::Execute.on(&*program, err),
                Ok(Told::Nothing) | Err(_) => Op::Fork.thread(err),
            }
        })
    }

    /// Makes `command` take the steps whenever it is started, by std or by an asynchronous runtime:
    /// `tokio::process::Command` converts from a `std::process::Command`, and lends its own by
    /// `as_std_mut`.
    ///
    /// Set the working directory of `command` first, so that it is below the new root directory.
    ///
    /// ```
    /// use std::process::Command;
    ///
    /// use rcap::launch::Launcher;
    ///
    /// let mut command = Command::new("grep");
    /// command.args(["NoNewPrivs", "/proc/self/status"]);
    /// Launcher::new().no_new_privs().apply_to(&mut command)?;
    /// assert_eq!(command.output()?.stdout, b"NoNewPrivs:\t1\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// If a step fails, starting `command` fails with the errno of that step, but does not name the
    /// step. [`Launcher::spawn`] does.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a directory whose path contains a NUL.
    #[expect(unsafe_code, reason = "the child takes the steps")]
    pub fn apply_to(&self, command: &mut Command) -> Result<()> {
        let mut steps = self.steps_of(command)?;
        let take = move || {
            let errno = |err: Error| err.raw_os_error().unwrap_or(libc::EPERM);
            steps.take().map_err(|err| io::Error::from_raw_os_error(errno(err)))
        };
        // SAFETY: the steps only make system calls.
        unsafe { command.pre_exec(take) };
        Ok(())
    }

    /// Runs the program of `command` to its end, and captures its standard output and standard
    /// error, regardless of `command`'s settings.
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
    /// Those of [`Launcher::spawn`]. [`Op::Wait`] if the output cannot be read.
    pub fn output(&self, mut command: Command) -> Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn(command)?;
        let id = child.id();
        child.wait_with_output().map_err(|err| Op::Wait.on(Subject::Process(id), err))
    }

    /// Executes the program of `command` in place of this process, which takes the steps itself.
    /// All threads except the calling one end.
    ///
    /// Returns only in case of an error. Earlier steps remain in effect, so the caller should
    /// usually exit.
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
        // SAFETY: the steps only make system calls.
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

    /// Runs `function` in a child process, which exits with its result, or with 101 if it panics.
    /// Exit handlers of this process do not run in the child.
    ///
    /// The child is a copy of the calling thread, in which locks of other threads would stay locked
    /// forever. Call this before the process starts threads, and use [`Launcher::spawn`]
    /// afterwards.
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
    /// The error of the failed step, with [`Subject::Child`]; the child has then exited without
    /// calling `function`. [`Op::Fork`] if the child could not be created. [`Error::Threads`] if
    /// this process has several threads.
    #[doc(alias = "cap_launch")]
    #[expect(unsafe_code, reason = "fork(2)")]
    pub fn call(&self, function: impl FnOnce() -> u8) -> Result<Forked> {
        threads::ensure_single_threaded()?;
        // SAFETY: this process has one thread, so its locks and memory are consistent in the child.
        unsafe { self.call_among_threads(function) }
    }

    /// Runs `function` like [`Launcher::call`], in a process that may have several threads.
    ///
    /// # Errors
    ///
    /// Those of [`Launcher::call`], except [`Error::Threads`].
    ///
    /// # Safety
    ///
    /// If the process has other threads, `function` must be async-signal-safe (signal-safety(7)),
    /// except for functions that the C library allows in the child of such a process: glibc and
    /// musl allow using the heap. A lock that another thread holds is never unlocked.
    #[expect(unsafe_code, reason = "the caller promises what a forked child may do")]
    pub unsafe fn call_among_threads(&self, function: impl FnOnce() -> u8) -> Result<Forked> {
        let Pipe { read, write, standard } = Pipe::new()?;
        drop(standard);
        let [mut read, mut write] = [Some(read), Some(write)];
        let mut steps = self.steps()?;
        let mut function = Some(function);
        // Borrowed values are not freed in the child.
        let mut in_child = || {
            drop(read.take());
            let result = write.as_ref().map(|write| steps.take_and_tell(write));
            drop(write.take());
            match (result, function.take()) {
                (Some(Ok(())), Some(function)) => function(),
                _ => 1,
            }
        };
        // SAFETY: the steps only make system calls, and the caller promises the rest about
        // `function`.
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
                    // The child was killed.
                    Ok(_) => Op::Fork.thread(Errno::ECHILD),
                })
            }
        }
    }

    /// Returns the steps to take before `command` executes its program, and takes its working
    /// directory: std would enter it before the steps, outside of the new root directory.
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

    /// Allocates all memory that the steps need, before the child exists.
    fn steps(&self) -> Result<Steps> {
        // The result is cached, so the child does not query it.
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

//! A program as a trial: each run is recorded, and has a file system of its own.

use std::{
    ffi::OsString,
    fmt, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::fcntl::OFlag;

use super::{
    Attempt, Capture, Checked, Effects, End, Layer, Observation, Process, ProcessSets, Trial,
    network,
};
use crate::{
    CapSet, Error, Iab, Op,
    error::chain,
    file,
    identity::Identity,
    launch::{Launcher, Place, program},
    proc::Proc,
    trace::{
        Exit, Options, Tracer,
        overlay::Overlay,
        run::{Ended, HealthCheck, Run, shell},
    },
};

/// A program and the way to run it.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Setup {
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// The user of the program, which gets ambient capabilities.
    pub identity: Option<Identity>,
    /// Capabilities that stay in the bounding set in every run.
    pub bounding: CapSet,
    /// Whether it runs with no-new-privs.
    pub no_new_privs: bool,
    /// Whether the program runs on the machine's file system instead of a fresh copy.
    pub in_place: bool,
    /// Whether each run has a private network.
    pub private_network: bool,
    /// A shell command that is run before each run.
    pub reset: Option<String>,
    /// A shell command that succeeds once the program works.
    pub check: Option<String>,
    /// How long the program runs on after the check has succeeded, and what it leaves running after
    /// it has ended.
    pub settle: Duration,
    /// Whether standard output is compared.
    pub same_output: bool,
}

impl Setup {
    /// Returns a program with all defaults.
    pub fn new(words: Vec<OsString>) -> Setup {
        Setup {
            words,
            identity: None,
            bounding: CapSet::empty(),
            no_new_privs: false,
            in_place: false,
            private_network: false,
            reset: None,
            check: None,
            settle: Duration::from_secs(2),
            same_output: false,
        }
    }
}

/// A [`Trial`] that runs a program. Unless [`Setup::in_place`] is set, the process that uses it has
/// to call [`init_process`](super::init_process) first in `main`.
#[expect(missing_debug_implementations, reason = "it contains a closure")]
pub struct Program {
    setup: Setup,
    tracer: Tracer,
    cancelled: Box<dyn FnMut() -> bool>,
    runs: u32,
}

/// The reason for which a program could not be run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failed {
    /// It could not be started, recorded or observed.
    Run(Error),
    /// The command that is run before each run has failed.
    Reset(Exit),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Run(err) => write!(f, "{err}"),
            Failed::Reset(exit) => write!(f, "the command of --reset failed: {exit}"),
        }
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failed::Run(err) => err.source(),
            Failed::Reset(_) => None,
        }
    }
}

impl From<Error> for Failed {
    fn from(err: Error) -> Failed {
        Failed::Run(err)
    }
}

impl Program {
    /// Sets up the recording. A run is interrupted when `cancelled` returns true.
    ///
    /// # Errors
    ///
    /// Those of [`Tracer::new`].
    pub fn new(
        setup: Setup,
        options: &Options,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> crate::Result<Program> {
        Ok(Program { setup, tracer: Tracer::new(options)?, cancelled, runs: 0 })
    }

    fn reset(&self) -> Result<(), Failed> {
        let Some(reset) = &self.setup.reset else { return Ok(()) };
        let status = shell(reset).status().map_err(|err| Op::Fork.thread(err))?;
        if status.success() { Ok(()) } else { Err(Failed::Reset(status.into())) }
    }

    /// Returns the privileges of a run: from the bounding set for root, ambient for others.
    fn launcher(&self, set: CapSet) -> Launcher {
        let ambient = match &self.setup.identity {
            Some(identity) if identity.uid != 0 => set,
            _ => CapSet::empty(),
        };
        let iab = Iab::new(ambient, ambient, CapSet::empty());
        let mut launcher = Launcher::new().iab(iab).bounding(set | self.setup.bounding);
        if let Some(identity) = &self.setup.identity {
            launcher = launcher.identity(identity);
        }
        if self.setup.no_new_privs { launcher.no_new_privs() } else { launcher }
    }

    /// The command cannot be executed with fewer capabilities than its file gives.
    fn not_executed(&self, source: &io::Error) -> Observation {
        let mut message = chain(source);
        if let Some(caps) = Place::default().file_caps(&self.setup.words[0]) {
            message = format!("{message}, as its file has {caps}");
        }
        Observation { end: End::NotExecuted, message, lost: Some(0), ..Observation::default() }
    }
}

impl Trial for Program {
    type Error = Failed;

    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Failed> {
        self.reset()?;
        if (self.cancelled)() {
            return Ok(Observation { end: End::Interrupted, ..Observation::default() });
        }
        let is_first = self.runs == 0;
        self.runs += 1;
        let launcher = self.launcher(attempt.set);
        let setup = &self.setup;
        let mut command = program(&setup.words[0]);
        command.args(&setup.words[1..]);
        let view = View::new(setup.in_place, setup.private_network)?;
        let check = setup.check.as_ref();
        let pass = Pass {
            command,
            launcher: &launcher,
            view: &view,
            check: check.map(|check| (format!("--check '{check}'"), check.clone())),
            settle: setup.settle,
            same_output: setup.same_output,
            limit: attempt.limit,
        };
        let mut effects = |threads: &[u32]| view.effects(threads);
        match pass.observe(&mut self.tracer, &mut *self.cancelled, &mut effects) {
            Err(Error::Os { op: Op::Execute, source, .. }) if !is_first => {
                Ok(self.not_executed(&source))
            }
            observed => Ok(observed?),
        }
    }
}

/// A run that is recorded and observed.
pub(crate) struct Pass<'a> {
    /// The program and its arguments.
    pub(crate) command: Command,
    pub(crate) launcher: &'a Launcher,
    pub(crate) view: &'a View,
    /// The check that decides whether it works: in words, and for the shell.
    pub(crate) check: Option<(String, String)>,
    /// How long the run goes on after the check has succeeded, and what it leaves running after it
    /// has ended.
    pub(crate) settle: Duration,
    /// Whether standard output is compared.
    pub(crate) same_output: bool,
    pub(crate) limit: Option<Duration>,
}

impl Pass<'_> {
    /// Runs it once. `effects` returns the effects, given the threads that are about to be ended.
    pub(crate) fn observe(
        mut self,
        tracer: &mut Tracer,
        cancelled: &mut dyn FnMut() -> bool,
        effects: &mut dyn FnMut(&[u32]) -> crate::Result<Effects>,
    ) -> crate::Result<Observation> {
        let (capture, [out, err]) = Capture::start().map_err(|err| Op::Fork.thread(err))?;
        let command = &mut self.command;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // Servers that signal their process group at the end do not mean this process.
        command.process_group(0);
        let overlay = &self.view.overlay;
        if let Some(overlay) = overlay {
            overlay.enter_in(command)?;
        }
        let named = self.check.as_ref();
        let mut check = named.map(|(_, line)| HealthCheck::new(line).within(overlay.clone()));
        let mut before_end = None;
        let mut snapshot = |threads: &[u32]| before_end = Some(effects(threads));
        let mut run = Run::new(self.command, self.launcher, cancelled);
        run.check = check.as_mut();
        run.pid_namespace = overlay.as_ref().map(|overlay| overlay.pid_namespace());
        run.settle = Some(self.settle);
        run.before_end = Some(&mut snapshot);
        run.timeout = self.limit.or(run.check.is_some().then_some(Duration::from_secs(60)));
        let ended = run.record(tracer)?;
        // The result of an interrupted run does not matter.
        let effects = match before_end {
            _ if ended.cancelled => Effects::default(),
            Some(seen) => seen?,
            None => effects(&[])?,
        };
        let [out, err] = capture.finish();
        let message = err.last_line().or_else(|| out.last_line()).unwrap_or_default();
        Ok(Observation {
            end: end(&ended),
            message,
            notes: notes(&ended, self.settle, check.is_some()),
            check: check.zip(named).map(|(check, (words, _))| Checked::new(words.clone(), &check)),
            output: self.same_output.then(|| out.output()),
            effects,
            lost: ended.recording.lost,
            gap: ended.recording.gaps.first().map(ToString::to_string),
            analysis: ended.recording.analysis,
        })
    }
}

fn end(ended: &Ended) -> End {
    match ended.status {
        _ if ended.cancelled => End::Interrupted,
        _ if ended.timed_out => End::TimedOut,
        Some(status) if ended.by_itself => End::Exited(ExitStatus::into(status)),
        _ => End::Stopped,
    }
}

fn notes(ended: &Ended, settle: Duration, is_checked: bool) -> Vec<String> {
    let seconds = settle.as_secs_f64();
    let words = match (is_checked, ended.settled) {
        (true, true) => format!("each run was stopped {seconds} s after --check had succeeded"),
        (false, true) => {
            format!("remaining processes were stopped {seconds} s after the run (--settle)")
        }
        _ => return Vec::new(),
    };
    vec![words]
}

impl Checked {
    /// Returns the present result of `check`, whose command was written as `command`.
    pub(crate) fn new(command: String, check: &HealthCheck) -> Checked {
        Checked {
            command,
            passed: check.passed(),
            exit: check.exit(),
            message: check.message().to_owned(),
        }
    }
}

/// The environment of a run on the machine.
pub(crate) struct View {
    overlay: Option<Arc<Overlay>>,
}

impl View {
    pub(crate) fn new(in_place: bool, private_network: bool) -> crate::Result<View> {
        let overlay = if in_place { None } else { Some(Arc::new(Overlay::new(private_network)?)) };
        Ok(View { overlay })
    }

    /// Replaces the content of a file on the copy.
    pub(crate) fn replace(&self, path: &Path, content: &[u8]) -> crate::Result<()> {
        let none = || Op::Write.on(path, io::Error::from(io::ErrorKind::Unsupported));
        self.overlay.as_ref().ok_or_else(none)?.replace(path, content)
    }

    /// Starts another program of the run, with this process's privileges.
    pub(crate) fn spawn(&self, mut command: Command) -> crate::Result<Child> {
        match &self.overlay {
            Some(overlay) => overlay.spawn(command),
            None => command.spawn().map_err(|err| Op::Fork.thread(err)),
        }
    }

    /// Returns whether a process has the mounts of the run, and not those of a container in it.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.overlay.as_ref().is_some_and(|overlay| overlay.has(pid))
    }

    /// Returns what the run has changed so far, and its processes.
    pub(crate) fn effects(&self, threads: &[u32]) -> crate::Result<Effects> {
        let mut effects = Effects::default();
        if let Some(overlay) = &self.overlay {
            let failed = |path: &Path| {
                let path = path.to_owned();
                move |err: io::Error| Op::Open.on(&*path, err)
            };
            for (point, upper) in overlay.layers().map_err(failed(Path::new("/")))? {
                // A file system can be unmounted meanwhile, and nothing was written to it then.
                let lower = file::locate(&point, OFlag::O_NOFOLLOW);
                let lower = match lower.map_err(failed(&point)) {
                    Ok(lower) => Some(OwnedFd::from(lower)),
                    Err(_) if is_empty(&upper) => continue,
                    Err(err) => return Err(err),
                };
                let layer = Layer::new(point, upper, lower);
                layer.read(&mut effects).map_err(failed(&layer.point))?;
            }
            if let Some(namespace) = overlay.network() {
                network::read(namespace, &mut effects).map_err(failed(Path::new("/proc")))?;
            }
        }
        effects.add_processes(threads);
        Ok(effects)
    }
}

impl Effects {
    /// Adds processes, by the IDs of their threads.
    pub(crate) fn add_processes(&mut self, threads: &[u32]) {
        for &tid in threads {
            // One that has ended meanwhile is not left running.
            let Ok(status) = Proc::default().status(tid) else { continue };
            if status.tgid != tid {
                continue;
            }
            let process = Process {
                name: status.name.to_string_lossy().into_owned(),
                users: [status.uid.real, status.uid.effective, status.uid.saved],
                groups: [status.gid.real, status.gid.effective, status.gid.saved],
                supplementary: status.groups.clone(),
            };
            let caps = status.caps;
            let sets =
                [caps.permitted, caps.effective, caps.inheritable, status.bounding, status.ambient];
            self.processes.entry(process).or_default().insert(ProcessSets::new(sets));
        }
    }
}

fn is_empty(directory: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

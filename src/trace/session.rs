//! A recording from its beginning to its end.

use std::{
    fs::File,
    os::fd::BorrowedFd,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    CapSet, CapState, Op, Result, bounding,
    launch::{Launcher, exit_status, program},
    sys,
    trace::{
        Analyser, Analysis, Backend, Event, Exit, Gap, Options, Origin, Recorder, Report, Rest,
        Seen, Symbols,
    },
};

/// How often the kernel's buffer is emptied, at most and at least.
pub(super) const PULSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// With so many events at once, the next time is soon.
const BUSY: usize = 10_000;
/// How long a process is given between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// What came of a recording.
#[derive(Debug)]
pub struct Recorded {
    /// What the kernel was asked for.
    pub analysis: Analysis,
    /// The number of records that were lost; `None` if some were and nobody counted them.
    pub lost: Option<u64>,
    /// Other reasons why the recording is not complete.
    pub gaps: Vec<Gap>,
    /// The backend that recorded.
    pub backend: Backend,
    /// How the program ended, if one was started.
    pub status: Option<ExitStatus>,
    /// Whether it had to be ended, as its time was up.
    pub timed_out: bool,
    /// Whether a signal to this process has come meanwhile.
    pub interrupted: bool,
    /// Whether the functions of the kernel had names.
    named: bool,
}

impl Recorded {
    /// Returns the report of this recording of `command`.
    pub fn report(self, command: Vec<String>) -> Report {
        let mut unseen: Vec<String> =
            self.backend.unseen().iter().map(|&words| words.to_owned()).collect();
        if !self.named {
            unseen.push(
                "what the kernel asked for: /proc/kallsyms has no addresses, as \
                 kernel.kptr_restrict says, so that nothing could be set aside for its reason"
                    .to_owned(),
            );
        }
        if self.analysis.is_cut {
            unseen.push(Analysis::CUT.to_owned());
        }
        let command = first_words(command, &mut unseen);
        Report {
            schema: Report::SCHEMA,
            command,
            exit: self.status.map(Exit::from),
            backend: self.backend,
            candidates: self.analysis.candidates,
            missing: self.analysis.missing,
            checks: self.analysis.needs,
            lost: self.lost,
            gaps: self.gaps.iter().map(Gap::to_string).collect(),
            unseen,
        }
    }
}

/// As many words of a command as a report has room for.
fn first_words(mut words: Vec<String>, unseen: &mut Vec<String>) -> Vec<String> {
    const LONGEST: usize = 16 * 1024;
    let mut length = 0;
    let fits = words.iter().take_while(|word| {
        length += word.len();
        length <= LONGEST
    });
    let fits = fits.count();
    if fits < words.len() {
        words.truncate(fits);
        words.push("...".to_owned());
        unseen.push("the words of the command after its first 16 KiB".to_owned());
    }
    words
}

/// What records, one run after the other.
#[derive(Debug)]
pub struct Tracer {
    options: Options,
    recorder: Recorder,
    names: Names,
}

/// The kernel's functions, which are read while something else is done.
#[derive(Debug)]
pub(super) struct Names {
    loading: Option<JoinHandle<Symbols>>,
    symbols: Arc<Symbols>,
}

impl Names {
    pub(super) fn load() -> Names {
        Names { loading: Some(thread::spawn(Symbols::load)), symbols: Arc::default() }
    }

    /// Whether they are there.
    fn are_known(&self) -> bool {
        self.loading.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn get(&mut self) -> Arc<Symbols> {
        if let Some(thread) = self.loading.take() {
            self.symbols = Arc::new(thread.join().unwrap_or_default());
        }
        Arc::clone(&self.symbols)
    }
}

/// A program that is to be run.
#[expect(missing_debug_implementations, reason = "a closure is in it")]
pub struct Run<'a> {
    /// The program, with its arguments and streams.
    pub command: Command,
    /// The privileges that it is started with.
    pub launcher: &'a Launcher,
    /// What it can hold.
    pub held: CapSet,
    /// After which time it is ended.
    pub timeout: Option<Duration>,
    /// Told of each check.
    pub each: &'a mut dyn FnMut(&Seen),
    /// What tells whether it works; it is ended when that is known.
    pub check: Option<&'a mut Check>,
    /// Whether a signal to this process ends it too.
    pub ends_with_us: bool,
    /// The PID namespace that it is started in, if not this process's.
    pub pid_namespace: Option<BorrowedFd<'a>>,
}

impl<'a> Run<'a> {
    /// To its end, whatever it does.
    pub fn new(
        command: Command,
        launcher: &'a Launcher,
        held: CapSet,
        each: &'a mut dyn FnMut(&Seen),
    ) -> Run<'a> {
        let (timeout, check, ends_with_us, pid_namespace) = (None, None, false, None);
        Run { command, launcher, held, timeout, each, check, ends_with_us, pid_namespace }
    }
}

/// A shell command that tells whether a program works: it is tried again and again while the
/// program runs, and a last time after its end.
#[derive(Debug)]
pub struct Check {
    command: String,
    running: Option<Pid>,
    begun: Option<Instant>,
    /// Whether it has been tried after the end.
    last: bool,
    /// Whether the command has succeeded.
    pub passed: bool,
}

impl Check {
    /// How long it is before it is tried again.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Returns a check by this command, which is not run yet.
    pub fn new(command: &str) -> Check {
        let command = command.to_owned();
        Check { command, running: None, begun: None, last: false, passed: false }
    }

    fn try_again(&mut self) -> Result<()> {
        let paused = self.begun.is_none_or(|begun| begun.elapsed() >= Check::PAUSE);
        if self.running.is_none() && (self.last || paused) {
            let child = shell(&self.command).spawn().map_err(|err| Op::Fork.thread(err))?;
            self.begun = Some(Instant::now());
            self.running = Some(Pid::from_raw(sys::pid_t(child.id())));
        }
        Ok(())
    }
}

/// A command for the shell, quiet and without input.
pub fn shell(command: &str) -> Command {
    let mut shell = program("/bin/sh");
    shell.args(["-c", command]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

/// What is known of a recording while it goes on.
pub(super) struct Session<'a> {
    names: &'a mut Names,
    backend: Backend,
    outcomes: bool,
    origin: Origin,
    held: CapSet,
    each: &'a mut dyn FnMut(&Seen),
    analyser: Option<Analyser>,
    /// What comes before the names of the functions.
    waiting: Vec<Event>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        names: &'a mut Names,
        options: Options,
        origin: Origin,
        held: CapSet,
        each: &'a mut dyn FnMut(&Seen),
    ) -> Session<'a> {
        let Options { backend, outcomes, .. } = options;
        let (analyser, waiting) = (None, Vec::new());
        Session { names, backend, outcomes, origin, held, each, analyser, waiting }
    }

    pub(super) fn analyse(&mut self, events: Vec<Event>) {
        self.waiting.extend(events);
        // The kernel's buffer is emptied meanwhile.
        if self.names.are_known() {
            self.analyse_waiting();
        }
    }

    fn analyse_waiting(&mut self) {
        let analyser = self.analyser.get_or_insert_with(|| {
            Analyser::new(self.origin, self.held, self.outcomes, self.names.get())
        });
        for event in self.waiting.drain(..) {
            analyser.push(event).iter().for_each(&mut *self.each);
        }
    }

    pub(super) fn finish(mut self, rest: Rest) -> Recorded {
        self.waiting.extend(rest.events);
        self.analyse_waiting();
        Recorded {
            analysis: self.analyser.map(Analyser::finish).unwrap_or_default(),
            lost: rest.lost,
            gaps: rest.gaps,
            backend: self.backend,
            status: None,
            timed_out: false,
            interrupted: false,
            named: !self.names.symbols.is_empty(),
        }
    }
}

/// Sees to it that this process learns of the end of all that it starts, and is not ended by what
/// is meant for the program.
///
/// # Errors
///
/// Only where a sandbox forbids a call.
pub fn prepare() -> Result<()> {
    // A terminal sends its signals to all; the report is to be written all the same.
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
        sys::signal::outlive(signal).map_err(|err| Op::Signal.thread(err))?;
    }
    // What has lost its parent becomes a child of this process, so that its end is seen.
    prctl::set_child_subreaper(true).map_err(|err| Op::Fork.thread(err))
}

/// Calls `call` while the children of this thread are made in another PID namespace, into which
/// `enter` puts them. Threads cannot be started meanwhile.
pub(crate) fn with_children<T>(
    enter: impl FnOnce() -> nix::Result<()>,
    call: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let path = Path::new("/proc/self/ns/pid");
    let own = File::open(path).map_err(|err| Op::Open.on(path, err))?;
    let failed = |err| Op::EnterNamespace.thread(err);
    enter().map_err(failed)?;
    let result = call();
    setns(&own, CloneFlags::CLONE_NEWPID).map_err(failed)?;
    result
}

/// What a program that this process starts can have: by executing a file as root, at most this.
///
/// # Errors
///
/// Only where a sandbox forbids a call.
pub fn attainable() -> Result<CapSet> {
    Ok(bounding::current()? | CapState::current()?.inheritable)
}

impl Tracer {
    /// Sets up a recorder, and loads the names of the kernel's functions in the background.
    ///
    /// # Errors
    ///
    /// Those of [`Recorder::new`].
    pub fn new(options: Options) -> Result<Tracer> {
        let names = Names::load();
        let recorder = Recorder::new(&options)?;
        Ok(Tracer { options, recorder, names })
    }

    /// Returns the backend that records.
    pub fn backend(&self) -> Backend {
        self.options.backend
    }

    /// Runs a program to the end of its last descendant, or as long as it is to run.
    ///
    /// # Errors
    ///
    /// Those of [`Recorder::start`] and [`Recorder::drain`].
    pub fn run(&mut self, run: Run<'_>) -> Result<Recorded> {
        let Run { command, launcher, held, timeout, each, mut check, ends_with_us, .. } = run;
        let Tracer { options, recorder, names } = self;
        let child = match run.pid_namespace {
            Some(namespace) => {
                let enter = || setns(namespace, CloneFlags::CLONE_NEWPID);
                with_children(enter, || recorder.start(command, launcher))?
            }
            None => recorder.start(command, launcher)?,
        };
        let origin = Origin::Started(child.id());
        let mut session = Session::new(names, *options, origin, held, each);
        let process = Pid::from_raw(sys::pid_t(child.id()));
        let begun = Instant::now();
        let [mut pulse, slowest] = PULSE;
        let mut ended = None;
        let (mut timed_out, mut interrupted) = (false, false);
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {
                    let events = recorder.drain()?;
                    if events.len() > BUSY {
                        pulse = PULSE[0];
                    }
                    session.analyse(events);
                    if let Some(signal) = sys::signal::outlived() {
                        interrupted = true;
                        // A terminal has sent these to the program too.
                        if !matches!(signal, libc::SIGINT | libc::SIGQUIT) {
                            let _ = sys::signal::kill(process.as_raw(), signal);
                        }
                    }
                    timed_out = timeout.is_some_and(|timeout| begun.elapsed() > timeout);
                    let passed = check.as_ref().is_some_and(|check| check.passed);
                    if timed_out || passed || interrupted && ends_with_us {
                        let check = check.as_ref().and_then(|check| check.running);
                        ended = end(recorder, &mut session, process, check)?.or(ended);
                        break;
                    }
                    if let Some(check) = check.as_mut().filter(|check| !check.last) {
                        check.try_again()?;
                    }
                    thread::sleep(pulse);
                    pulse = slowest.min(pulse * 2);
                }
                Ok(status) if status.pid() == Some(process) => {
                    ended = exit_status(status).or(ended);
                }
                Ok(status) => {
                    if let Some(check) = &mut check
                        && status.pid() == check.running
                        && let Some(status) = exit_status(status)
                    {
                        check.running = None;
                        check.passed |= status.success();
                    }
                }
                Err(Errno::EINTR) => {}
                // ECHILD: it was the last.
                Err(_) => match &mut check {
                    Some(check) if !check.passed && !check.last => {
                        check.last = true;
                        check.try_again()?;
                    }
                    _ => break,
                },
            }
        }
        let recorded = session.finish(recorder.stop()?);
        Ok(Recorded { status: ended, timed_out, interrupted, ..recorded })
    }
}

/// Ends all that is recorded, and waits for it: how `process` has ended.
fn end(
    recorder: &mut Recorder,
    session: &mut Session<'_>,
    process: Pid,
    check: Option<Pid>,
) -> Result<Option<ExitStatus>> {
    let mut ended = None;
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGKILL] {
        let living = recorder.living()?.into_iter().map(sys::pid_t);
        for tid in living.chain(check.map(Pid::as_raw)) {
            let _ = sys::signal::kill(tid, signal);
        }
        let [mut pulse, slowest] = PULSE;
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {
                    session.analyse(recorder.drain()?);
                    thread::sleep(pulse);
                    pulse = slowest.min(pulse * 2);
                }
                Ok(status) if status.pid() == Some(process) => {
                    ended = exit_status(status).or(ended);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return Ok(ended),
            }
        }
    }
    // Some cannot be ended: a process that waits in the kernel.
    Ok(ended)
}

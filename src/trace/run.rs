//! Recording a program until its last descendant has ended, with limits.

use std::{
    os::fd::BorrowedFd,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};

#[cfg(feature = "cli")]
use {super::overlay::Overlay, std::sync::Arc};

use super::{Exit, Recording, Tracer, minimize::Capture, tracer::with_children};
use crate::{Op, Result, launch::Launcher, sys};

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// A program to run and record.
#[expect(missing_debug_implementations, reason = "it contains a closure")]
#[non_exhaustive]
pub struct Run<'a> {
    /// The program, with its arguments and streams.
    pub command: Command,
    /// The privileges of the program.
    pub launcher: &'a Launcher,
    /// The time limit, after which the program and its descendants are killed.
    pub timeout: Option<Duration>,
    /// A check of whether the program works. The run ends when the check succeeds.
    pub check: Option<&'a mut HealthCheck>,
    /// How long the run goes on after the check has succeeded, or without a check after the end of
    /// the program, whose descendants are then ended; `None` to wait for them.
    pub settle: Option<Duration>,
    /// Called with the threads that are about to be ended.
    pub before_end: Option<&'a mut BeforeEnd<'a>>,
    /// Asked at least every 20 ms. The run ends when it returns true.
    pub cancelled: &'a mut dyn FnMut() -> bool,
    /// The PID namespace of the program, if it differs from that of this process.
    pub pid_namespace: Option<BorrowedFd<'a>>,
}

/// A function that is told of the threads that are about to be ended.
pub type BeforeEnd<'a> = dyn FnMut(&[u32]) + 'a;

/// The result of a [`Run`].
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Ended {
    /// The recording.
    pub recording: Recording,
    /// The exit of the program, or `None` if it could not be killed.
    pub status: Option<ExitStatus>,
    /// Whether the program was killed because of its time limit.
    pub timed_out: bool,
    /// Whether the program was killed because the run was cancelled.
    pub cancelled: bool,
    /// Whether something was ended because the program was known to work.
    pub settled: bool,
    /// Whether the program had ended by itself.
    pub by_itself: bool,
}

/// A shell command that succeeds once a program works. It is repeated while the program runs, and
/// once after the program has ended.
#[derive(Debug)]
pub struct HealthCheck {
    command: String,
    #[cfg(feature = "cli")]
    view: Option<Arc<Overlay>>,
    running: Option<(Child, Capture)>,
    begun: Option<Instant>,
    /// Whether the program has ended, so that attempts are no longer repeated.
    over: bool,
    /// Whether the last attempt, after the end of the program, has started.
    last: bool,
    passed: bool,
    exit: Option<Exit>,
    message: String,
}

impl HealthCheck {
    /// The minimum time between the starts of two attempts.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Creates a check that runs `command` with `sh -c`. No attempt has started yet.
    pub fn new(command: &str) -> HealthCheck {
        HealthCheck {
            command: command.to_owned(),
            #[cfg(feature = "cli")]
            view: None,
            running: None,
            begun: None,
            over: false,
            last: false,
            passed: false,
            exit: None,
            message: String::new(),
        }
    }

    /// Makes the command see the files, processes and network of the program.
    #[cfg(feature = "cli")]
    pub(super) fn within(self, view: Option<Arc<Overlay>>) -> HealthCheck {
        HealthCheck { view, ..self }
    }

    /// Returns whether an attempt has succeeded.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Returns how the command ended the last time, if it has ended.
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// Returns the last line that the command printed the last time.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Looks after the attempt that is running, or begins the next one.
    pub(crate) fn advance(&mut self) -> Result<()> {
        if let Some((child, _)) = &mut self.running {
            let ended = child.try_wait().map_err(|err| Op::Wait.thread(err))?;
            let Some(status) = ended else { return Ok(()) };
            self.passed |= status.success();
            self.exit = Some(status.into());
            if let Some((_, capture)) = self.running.take() {
                let [out, err] = capture.finish();
                self.message = err.last_line().or_else(|| out.last_line()).unwrap_or_default();
            }
        }
        let paused = self.begun.is_none_or(|begun| begun.elapsed() >= HealthCheck::PAUSE);
        if !self.passed && paused && !self.over {
            self.begin()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let failed = |err| Op::Fork.thread(err);
        let (capture, [out, err]) = Capture::start().map_err(failed)?;
        let mut command = shell(&self.command);
        command.stdout(out).stderr(err);
        self.begun = Some(Instant::now());
        #[cfg(feature = "cli")]
        let child = match &self.view {
            Some(view) => view.spawn(command)?,
            None => command.spawn().map_err(failed)?,
        };
        #[cfg(not(feature = "cli"))]
        let child = command.spawn().map_err(failed)?;
        self.running = Some((child, capture));
        Ok(())
    }

    /// Continues after the end of the program. Returns whether the answer is known.
    pub(crate) fn conclude(&mut self) -> Result<bool> {
        self.over = true;
        self.advance()?;
        if self.running.is_none() && !self.passed && !self.last {
            self.last = true;
            self.begin()?;
        }
        Ok(self.passed || self.running.is_none())
    }

    pub(crate) fn end(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Decides when a run is over that this process does not start itself, such as that of a container
/// or a service.
#[cfg(feature = "cli")]
pub(crate) struct Watch<'a> {
    check: Option<&'a mut HealthCheck>,
    settle: Duration,
    limit: Option<Duration>,
    begun: Instant,
    /// The end of the run, once it is known to work.
    until: Option<Instant>,
}

/// The reason why a run is over.
#[cfg(feature = "cli")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The user interrupted it.
    Cancelled,
    /// Its time was up.
    TimedOut,
    /// It works, and the time to settle has passed.
    Settled,
    /// It has ended, and the last attempt of the check too.
    Known,
}

#[cfg(feature = "cli")]
impl<'a> Watch<'a> {
    pub(crate) fn new(
        check: Option<&'a mut HealthCheck>,
        settle: Duration,
        limit: Option<Duration>,
    ) -> Watch<'a> {
        Watch { check, settle, limit, begun: Instant::now(), until: None }
    }

    /// Returns whether the time is up before the run was known to work.
    pub(crate) fn is_over_time(&self) -> bool {
        self.until.is_none() && self.limit.is_some_and(|limit| self.begun.elapsed() > limit)
    }

    /// Looks after the check. Call this function every few milliseconds.
    pub(crate) fn step(&mut self, has_ended: bool) -> Result<Option<Over>> {
        let is_known = match &mut self.check {
            Some(check) if check.passed() => {
                self.until.get_or_insert_with(|| Instant::now() + self.settle);
                has_ended
            }
            Some(check) if has_ended => check.conclude()?,
            Some(check) => check.advance().map(|()| false)?,
            None => has_ended,
        };
        if is_known {
            return Ok(Some(Over::Known));
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Ok(Some(Over::Settled));
        }
        Ok(self.is_over_time().then_some(Over::TimedOut))
    }
}

/// Returns a command for the shell, without standard streams.
pub fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell
}

impl<'a> Run<'a> {
    /// Describes a run that ends with the program, or when `cancelled` returns true.
    pub fn new(
        command: Command,
        launcher: &'a Launcher,
        cancelled: &'a mut dyn FnMut() -> bool,
    ) -> Run<'a> {
        Run {
            command,
            launcher,
            timeout: None,
            check: None,
            settle: None,
            before_end: None,
            cancelled,
            pid_namespace: None,
        }
    }

    /// Runs and records the program until its last descendant has ended, it is known to work, its
    /// time limit has expired, or the run is cancelled. All recorded processes have then ended,
    /// except for unkillable ones.
    ///
    /// # Errors
    ///
    /// Those of [`Tracer::start`] and [`Tracer::poll`].
    pub fn record(self, tracer: &mut Tracer) -> Result<Ended> {
        let Run { command, launcher, timeout, mut check, settle, cancelled, .. } = self;
        let mut child = match self.pid_namespace {
            Some(namespace) => {
                let enter = || setns(namespace, CloneFlags::CLONE_NEWPID);
                with_children(enter, || tracer.start(command, launcher))?
            }
            None => tracer.start(command, launcher)?,
        };
        let begun = Instant::now();
        let mut status = None;
        // The end of the run, once the program is known to work.
        let mut until = None;
        let (timed_out, was_cancelled, settled) = loop {
            tracer.poll(|_| ())?;
            status = status.or(ended(&mut child)?);
            let works = match &check {
                Some(check) => check.passed,
                None => settle.is_some() && status.is_some(),
            };
            if works {
                until.get_or_insert_with(|| Instant::now() + settle.unwrap_or_default());
            }
            let is_over = status.is_some() && tracer.living()?.is_empty();
            let settled = until.is_some_and(|until| Instant::now() >= until);
            let timed_out = !works && timeout.is_some_and(|timeout| begun.elapsed() > timeout);
            let was_cancelled = cancelled();
            if timed_out || was_cancelled || settled && !is_over {
                break (timed_out, was_cancelled, settled);
            }
            let is_known = match &mut check {
                Some(check) if is_over => check.conclude()?,
                Some(check) => check.advance().map(|()| false)?,
                None => is_over,
            };
            if is_known {
                // A signal to a process group has arrived here too when it has ended the program.
                break (false, cancelled(), false);
            }
        };
        let by_itself = status.is_some();
        if let Some(check) = &mut check {
            check.end();
        }
        let living = tracer.living()?;
        if let Some(before_end) = self.before_end.filter(|_| !living.is_empty()) {
            before_end(&living);
        }
        if status.is_none() || !living.is_empty() {
            status = status.or(end(tracer, &mut child)?);
        }
        let recording = tracer.finish(|_| ())?;
        Ok(Ended { recording, status, timed_out, cancelled: was_cancelled, settled, by_itself })
    }
}

fn ended(child: &mut Child) -> Result<Option<ExitStatus>> {
    child.try_wait().map_err(|err| Op::Wait.thread(err))
}

/// Kills all recorded processes, and returns the exit of `child`.
fn end(tracer: &mut Tracer, child: &mut Child) -> Result<Option<ExitStatus>> {
    let mut status = None;
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGKILL] {
        for tid in tracer.living()? {
            let _ = sys::signal::kill(sys::pid_t(tid), signal);
        }
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            tracer.poll(|_| ())?;
            status = status.or(ended(child)?);
            if status.is_some() && tracer.living()?.is_empty() {
                return Ok(status);
            }
        }
    }
    // A process in an uninterruptible wait cannot be killed.
    Ok(status)
}

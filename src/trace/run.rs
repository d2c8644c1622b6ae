//! Recording a program until its last descendant has ended, with limits.

use std::{
    os::fd::BorrowedFd,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};

use super::{Recording, Tracer, tracer::with_children};
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
    /// A function that is called at least every 20 ms. The run ends when it returns true.
    pub cancelled: &'a mut dyn FnMut() -> bool,
    /// The PID namespace of the program, if it differs from that of this process.
    pub pid_namespace: Option<BorrowedFd<'a>>,
}

/// The result of a [`Run`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended {
    /// The recording.
    pub recording: Recording,
    /// The exit of the program, or `None` if it could not be killed.
    pub status: Option<ExitStatus>,
    /// Whether the program was killed because of its time limit.
    pub timed_out: bool,
    /// Whether the program was killed because the run was cancelled.
    pub cancelled: bool,
}

/// A shell command that succeeds once a program works. It is repeated while the program runs, and
/// once after the program has ended.
#[derive(Debug)]
pub struct HealthCheck {
    command: String,
    running: Option<Child>,
    begun: Option<Instant>,
    /// Whether the last attempt, after the end of the program, has started.
    last: bool,
    passed: bool,
}

impl HealthCheck {
    /// The minimum time between the starts of two attempts.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Creates a check that runs `command` with `sh -c`. No attempt has started yet.
    pub fn new(command: &str) -> HealthCheck {
        let command = command.to_owned();
        HealthCheck { command, running: None, begun: None, last: false, passed: false }
    }

    /// Returns whether an attempt has succeeded.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Continues the running attempt, or starts the next one.
    fn advance(&mut self) -> Result<()> {
        if let Some(child) = &mut self.running {
            let ended = child.try_wait().map_err(|err| Op::Wait.thread(err))?;
            let Some(status) = ended else { return Ok(()) };
            self.passed |= status.success();
            self.running = None;
        }
        let paused = self.begun.is_none_or(|begun| begun.elapsed() >= HealthCheck::PAUSE);
        if !self.passed && paused && !self.last {
            self.begin()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.begun = Some(Instant::now());
        self.running = Some(shell(&self.command).spawn().map_err(|err| Op::Fork.thread(err))?);
        Ok(())
    }

    /// Continues after the program has ended. Returns whether the answer is known.
    fn conclude(&mut self) -> Result<bool> {
        self.advance()?;
        if self.running.is_none() && !self.passed && !self.last {
            self.last = true;
            self.begin()?;
        }
        Ok(self.passed || self.running.is_none())
    }

    fn end(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
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
        Run { command, launcher, timeout: None, check: None, cancelled, pid_namespace: None }
    }

    /// Runs and records the program until its last descendant has ended, it is known to work, its
    /// time limit has expired, or the run is cancelled. All recorded processes have then ended,
    /// except for unkillable ones.
    ///
    /// # Errors
    ///
    /// Those of [`Tracer::start`] and [`Tracer::poll`].
    pub fn record(self, tracer: &mut Tracer) -> Result<Ended> {
        let Run { command, launcher, timeout, mut check, cancelled, pid_namespace } = self;
        let mut child = match pid_namespace {
            Some(namespace) => {
                let enter = || setns(namespace, CloneFlags::CLONE_NEWPID);
                with_children(enter, || tracer.start(command, launcher))?
            }
            None => tracer.start(command, launcher)?,
        };
        let begun = Instant::now();
        let mut status = None;
        let (timed_out, was_cancelled) = loop {
            tracer.poll(|_| ())?;
            status = status.or(ended(&mut child)?);
            let timed_out = timeout.is_some_and(|timeout| begun.elapsed() > timeout);
            let was_cancelled = cancelled();
            let passed = check.as_ref().is_some_and(|check| check.passed);
            if timed_out || was_cancelled || passed {
                if let Some(check) = &mut check {
                    check.end();
                }
                status = status.or(end(tracer, &mut child)?);
                break (timed_out, was_cancelled);
            }
            let is_over = status.is_some() && tracer.living()?.is_empty();
            let is_known = match &mut check {
                Some(check) if is_over => check.conclude()?,
                Some(check) => check.advance().map(|()| false)?,
                None => is_over,
            };
            if is_known {
                break (false, false);
            }
        };
        let recording = tracer.finish(|_| ())?;
        Ok(Ended { recording, status, timed_out, cancelled: was_cancelled })
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

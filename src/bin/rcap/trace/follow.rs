//! Following a recording to its end, with the signals that end it early.

use std::{
    io::Write,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    libc::{SIGINT, SIGKILL, SIGQUIT, SIGTERM},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcap::{
    Op, Result,
    launch::Launcher,
    tools::{Stream, signals},
    trace::{Options, Recording, Seen, Target, Tracer},
};

/// How long processes that outlive the program are waited for before that is said.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between SIGTERM and SIGKILL, once `--for` is over.
const GRACE: Duration = Duration::from_secs(5);

/// Records a program until its last descendant has ended, or the recording is ended early.
pub(super) fn program(
    tracer: &mut Tracer,
    command: Command,
    duration: Option<Duration>,
    each: &mut dyn FnMut(&Seen),
) -> Result<(Recording, Option<ExitStatus>)> {
    let mut program = Program::new(tracer.start(command, &Launcher::new())?, duration);
    while program.goes_on(tracer)? {
        tracer.poll(&mut *each)?;
    }
    Ok((tracer.finish(each)?, program.status))
}

/// A program that is recorded.
struct Program {
    child: Child,
    status: Option<ExitStatus>,
    begun: Instant,
    duration: Option<Duration>,
    /// When it ended, and whether it was said that others go on.
    ended: Option<Instant>,
    announced: bool,
    /// The signals that it was sent.
    signals: Vec<i32>,
}

impl Program {
    fn new(child: Child, duration: Option<Duration>) -> Program {
        Program {
            child,
            status: None,
            begun: Instant::now(),
            duration,
            ended: None,
            announced: false,
            signals: Vec::new(),
        }
    }

    /// Passes signals on, and returns whether there is more to record.
    fn goes_on(&mut self, tracer: &mut Tracer) -> Result<bool> {
        let signal = signals::caught();
        let elapsed = self.begun.elapsed();
        let is_over = self.duration.is_some_and(|duration| elapsed >= duration);
        if self.status.is_none() {
            self.status = self.child.try_wait().map_err(|err| Op::Wait.thread(err))?;
            if self.status.is_none() {
                return Ok(self.keep_running(signal, is_over.then_some(elapsed)));
            }
            self.ended = Some(Instant::now());
            // A signal that came with the end of the program was meant for the program.
            return Ok(true);
        }
        if tracer.living()?.is_empty() {
            return Ok(false);
        }
        if is_over || signal.is_some() {
            say("The recording has ended. Processes that the program started are still running.");
            return Ok(false);
        }
        if !self.announced && self.ended.is_some_and(|ended| ended.elapsed() >= PATIENCE) {
            self.announced = true;
            say("The program has exited; processes that it started are still being recorded. \
                 Ctrl-C ends the recording.");
        }
        Ok(true)
    }

    /// Deals with a signal, and with the end of the time, while the program runs.
    fn keep_running(&mut self, signal: Option<i32>, over: Option<Duration>) -> bool {
        if let Some(signal) = signal {
            // A terminal has sent these to the program too.
            if !matches!(signal, SIGINT | SIGQUIT) {
                if self.signals.contains(&signal) {
                    say("The recording has ended. The program is still running.");
                    return false;
                }
                self.send(signal);
            }
        }
        if let (Some(elapsed), Some(duration)) = (over, self.duration) {
            let signal = if elapsed < duration + GRACE { SIGTERM } else { SIGKILL };
            if !self.signals.contains(&signal) {
                self.send(signal);
            }
        }
        true
    }

    fn send(&mut self, signal: i32) {
        self.signals.push(signal);
        if let Ok(signal) = Signal::try_from(signal) {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        }
    }
}

/// Prints a line for whoever watches; nobody may be watching any more.
fn say(line: &str) {
    let _ = writeln!(Stream::stderr(), "{line}");
}

/// Records processes that are already running until they have ended, `duration` is over, or a
/// signal asks for the report. Once they are recorded, `announce` gets their number.
pub(super) fn running(
    targets: &[Target],
    options: &Options,
    duration: Option<Duration>,
    announce: fn(usize),
    each: &mut dyn FnMut(&Seen),
) -> Result<Recording> {
    let count = targets.iter().map(|target| target.processes().map(|pids| pids.len()));
    let count = count.sum::<Result<usize>>()?;
    let mut tracer = Tracer::attach(targets, options)?;
    announce(count);
    let begun = Instant::now();
    loop {
        tracer.poll(&mut *each)?;
        let is_over = duration.is_some_and(|duration| begun.elapsed() >= duration);
        if is_over || signals::caught().is_some() || tracer.living()?.is_empty() {
            return tracer.finish(each);
        }
    }
}

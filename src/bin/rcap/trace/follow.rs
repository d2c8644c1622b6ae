//! Following a recording to its end, with the signals that end it early.

use std::{
    io::Write,
    path::PathBuf,
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

/// The time after which processes that outlive the program are reported.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between SIGTERM and SIGKILL after `--for` has expired.
const GRACE: Duration = Duration::from_secs(5);

/// Records a program until its last descendant has exited, or the recording is ended early.
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

/// Records what daemons start while a client runs, which asks them. With `stays`, the recording goes
/// on after the client's end, until it is ended early.
pub(super) fn client(
    daemons: &[Target],
    mut command: Command,
    stays: bool,
    options: &Options,
    duration: Option<Duration>,
    each: &mut dyn FnMut(&Seen),
) -> Result<(Recording, Option<ExitStatus>)> {
    let mut tracer = Tracer::attach(daemons, options)?;
    let path = PathBuf::from(command.get_program());
    let child = command.spawn().map_err(|err| Op::Execute.on(&*path, err))?;
    let mut program = Program::new(child, duration);
    loop {
        tracer.poll(&mut *each)?;
        let goes_on = if program.status.is_none() {
            program.goes_on(&mut tracer)?
        } else {
            let is_over = duration.is_some_and(|duration| program.begun.elapsed() >= duration);
            stays && !is_over && !program.interrupted && signals::caught().is_none()
        };
        if !goes_on {
            return Ok((tracer.finish(each)?, program.status));
        }
    }
}

/// A recorded program.
struct Program {
    child: Child,
    status: Option<ExitStatus>,
    begun: Instant,
    duration: Option<Duration>,
    /// The time of its exit, and whether remaining processes were reported.
    ended: Option<Instant>,
    announced: bool,
    /// The signals that this process has sent to it.
    signals: Vec<i32>,
    /// Whether a signal has arrived while it was running.
    interrupted: bool,
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
            interrupted: false,
        }
    }

    /// Forwards signals, and returns whether there is more to record.
    fn goes_on(&mut self, tracer: &mut Tracer) -> Result<bool> {
        let signal = signals::caught();
        let elapsed = self.begun.elapsed();
        let is_over = self.duration.is_some_and(|duration| elapsed >= duration);
        if self.status.is_none() {
            self.interrupted |= signal.is_some();
            self.status = self.child.try_wait().map_err(|err| Op::Wait.thread(err))?;
            if self.status.is_none() {
                return Ok(self.keep_running(signal, is_over.then_some(elapsed)));
            }
            self.ended = Some(Instant::now());
            // A signal that arrived with the end of the program was meant for the program.
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

    /// Handles a signal and the time limit while the program runs.
    fn keep_running(&mut self, signal: Option<i32>, over: Option<Duration>) -> bool {
        if let Some(signal) = signal {
            // A terminal also sends these signals to the program.
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

/// Prints a line. A closed standard error is not an error.
fn say(line: &str) {
    let _ = writeln!(Stream::stderr(), "{line}");
}

/// Records running processes until they have exited, `duration` has expired, or a signal asks for
/// the report. `announce` is called with their number once they are recorded.
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

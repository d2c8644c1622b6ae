//! `rcap minimize`: the smallest set of capabilities with which a program still works, proved by
//! running it.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    Exit, Io, Place, Stream, args::MinimizeRequest, failure::Failure, run::look_up, settings,
};
use rcap::{
    Cap, CapSet, Error, Iab, Op,
    identity::Identity,
    launch::{Launcher, attainable},
    tools::signals,
    trace::{
        self, Backend, Meaning, Tracer,
        minimize::{self, Observation, failures, minimal},
        overlay::{self, Overlay},
        run::{HealthCheck, Run, shell},
    },
};

mod capture;
mod print;

use capture::Capture;

/// Why the search has ended without an answer.
#[derive(Debug)]
enum Stop {
    Interrupted,
    /// The program does not run as it should with all capabilities.
    Unfit(String),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(err: Error) -> Stop {
        Stop::Failed(err)
    }
}

/// One run, or several of the same.
#[derive(Debug)]
pub(super) struct Trial {
    set: CapSet,
    time: Duration,
    exit: Option<trace::Exit>,
    message: String,
    /// What it fell short in.
    failures: Vec<minimize::Failure>,
    passed: bool,
    lost: Option<u64>,
}

/// What the search has found out.
#[derive(Debug)]
pub(super) struct Found {
    /// The smallest that has passed so far.
    minimum: CapSet,
    /// Whether nothing of it can go.
    proved: bool,
    candidates: CapSet,
    trials: Vec<Trial>,
}

struct Minimizer<'a> {
    request: &'a MinimizeRequest,
    tracer: Tracer,
    identity: Option<Identity>,
    /// What it can have at most, and has in any case.
    most: CapSet,
    keep: CapSet,
    timeout: Option<Duration>,
    baseline: Observation,
    trials: Vec<Trial>,
    best: CapSet,
    /// Where the progress is shown.
    progress: bool,
}

/// Runs as the init process of an overlay, if the arguments of this process say so.
///
/// # Errors
///
/// Writing to standard output.
pub(crate) fn init(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Option<Exit>> {
    let arguments = argv.get(1..).filter(|arguments| arguments.starts_with(&["minimize".into()]));
    match arguments.and_then(overlay::init) {
        None => Ok(None),
        Some(Ok(())) => Ok(Some(Exit::SUCCESS)),
        Some(Err(failed)) => writeln!(io.out, "{failed}").map(|()| Some(Exit::OWN_FAILURE)),
    }
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &MinimizeRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let to = request.settings.to;
    // Before anything runs: a user whom the format cannot name is known then.
    settings::check(to, request.user.as_ref())?;
    let mut minimizer = Minimizer::new(request)?;
    let stop = minimizer.search().err();
    match stop {
        Some(Stop::Failed(err)) => return Err(err.into()),
        Some(Stop::Unfit(words)) => return Err(Failure::No(words)),
        Some(Stop::Interrupted) | None => {}
    }
    let found = minimizer.found(stop.is_none());
    if request.json {
        writeln!(io.out, "{}", print::json(&request.program, &found))?;
    } else {
        print::print(&found, settings::report_stream(to, io))?;
        if found.proved {
            settings::write("rcap minimize", to, found.minimum, request.user.as_ref(), io)?;
        }
    }
    Ok(if found.proved { Exit::SUCCESS } else { Exit::INTERRUPTED })
}

impl<'a> Minimizer<'a> {
    fn new(request: &'a MinimizeRequest) -> Result<Minimizer<'a>, Failure> {
        signals::catch()?;
        let most = attainable()? - request.drop.unwrap_or_default();
        Ok(Minimizer {
            request,
            tracer: Tracer::new(&request.recording.options(true))?,
            identity: request.user.as_ref().map(look_up).transpose()?,
            most,
            keep: request.keep.unwrap_or_default() & most,
            timeout: request.timeout,
            baseline: Observation::default(),
            trials: Vec::new(),
            best: most,
            progress: io::stderr().is_terminal() && !request.json,
        })
    }

    fn found(self, proved: bool) -> Found {
        let Minimizer { best, trials, baseline, .. } = self;
        let candidates = baseline.analysis.candidates;
        Found { minimum: best, proved, candidates, trials }
    }

    /// Runs the program with all capabilities, and then with fewer until none can go.
    fn search(&mut self) -> Result<(), Stop> {
        self.run_baseline()?;
        let analysis = &self.baseline.analysis;
        let meaning = |meaning| {
            let of_meaning = move |need: &&trace::Need| need.meaning == meaning;
            analysis.needs.iter().filter(of_meaning).map(|need| need.cap).collect::<CapSet>()
        };
        let mut all = (analysis.candidates | meaning(Meaning::Weak) | self.keep) & self.most;
        if self.tracer.backend() == Backend::Kprobe {
            // Which it cannot see.
            all |= CapSet::from(Cap::SETPCAP) & self.most;
        }
        // What another way of doing it asks for is seen when this one is refused.
        while all != self.most && !self.passes(all)? {
            let refused = |failure: &minimize::Failure| match failure {
                minimize::Failure::Refused { need } => Some(need.cap),
                _ => None,
            };
            let last = self.trials.last().map(|trial| &*trial.failures).unwrap_or_default();
            let more: CapSet = last.iter().filter_map(refused).collect();
            let more = (more - all) & self.most;
            all = if more.is_empty() { self.most } else { all | more };
        }
        let keep = self.keep;
        minimal(all - keep, |set| self.passes(set | keep))?;
        Ok(())
    }

    /// The run with all capabilities, against which the others are held.
    fn run_baseline(&mut self) -> Result<(), Stop> {
        let begun = Instant::now();
        let (observation, lost) = self.observe(self.most)?;
        let failed = |what: &str| {
            let message = &observation.message;
            let message =
                if message.is_empty() { String::new() } else { format!("; it said: {message}") };
            Err(Stop::Unfit(format!("with all capabilities, the program {what}{message}")))
        };
        if observation.timed_out {
            return failed("did not end in time (--timeout; --check for a server)");
        }
        if observation.check == Some(false) {
            return failed("did not do what --check asks for");
        }
        if observation.check.is_none()
            && let Some(trace::Exit { signal: Some(_), .. }) = observation.exit
        {
            return failed("was ended by a signal");
        }
        self.timeout = self.timeout.or(Some(begun.elapsed() * 10 + Duration::from_secs(5)));
        self.note(Trial {
            set: self.most,
            time: begun.elapsed(),
            exit: observation.exit,
            message: observation.message.clone(),
            failures: Vec::new(),
            passed: true,
            lost,
        });
        self.baseline = observation;
        for _ in 1..self.repeat() {
            if !self.passes(self.most)? {
                return Err(Stop::Unfit(
                    "with all capabilities, the program does not do the same each time".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn repeat(&self) -> u32 {
        self.request.repeat
    }

    /// Whether the program works with `set`.
    fn passes(&mut self, set: CapSet) -> Result<bool, Stop> {
        let repeat = if set == self.most { 1 } else { self.repeat() };
        let mut passed = true;
        for _ in 0..repeat {
            let begun = Instant::now();
            let (observation, lost) = self.observe(set)?;
            let failures = failures(&self.baseline, &observation);
            let lenient = self.request.no_strict;
            passed = failures.iter().all(|failure| lenient && !failure.is_visible());
            let (exit, message) = (observation.exit, observation.message);
            self.note(Trial { set, time: begun.elapsed(), exit, message, failures, passed, lost });
            if !passed {
                break;
            }
        }
        if passed && set.len() <= self.best.len() {
            self.best = set;
        }
        Ok(passed)
    }

    fn note(&mut self, trial: Trial) {
        if self.progress {
            // Nobody may be looking any more, which is no reason to stop.
            let _ =
                writeln!(Stream::stderr(), "{}", print::progress(self.trials.len() + 1, &trial));
        }
        self.trials.push(trial);
    }

    /// Runs the program once.
    fn observe(&mut self, set: CapSet) -> Result<(Observation, Option<u64>), Stop> {
        if let Some(reset) = &self.request.reset {
            let status = shell(reset).status().map_err(|err| Op::Fork.thread(err))?;
            if !status.success() {
                let status = trace::Exit::from(status);
                return Err(Stop::Unfit(format!("the command of --reset failed: {status}")));
            }
        }
        let mut command = super::program(&self.request.program[0]);
        command.args(&self.request.program[1..]);
        let (capture, [out, err]) = Capture::start().map_err(|err| Op::Fork.thread(err))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let overlay = self.request.overlay.then(Overlay::new).transpose()?;
        if let Some(overlay) = &overlay {
            overlay.enter_in(&mut command)?;
        }
        let launcher = self.launcher(set);
        let mut check = self.request.check.as_ref().map(|command| HealthCheck::new(command));
        let mut cancelled = || signals::caught().is_some();
        let mut run = Run::new(command, &launcher, &mut cancelled);
        run.check = check.as_mut();
        run.pid_namespace = overlay.as_ref().map(Overlay::pid_namespace);
        run.timeout = self.timeout.or(run.check.is_some().then_some(Duration::from_secs(60)));
        let ended = match run.record(&mut self.tracer) {
            // Without a capability it may be that the program cannot be executed at all.
            Err(Error::Os { op: Op::Execute, source, .. }) if !self.trials.is_empty() => {
                let mut message = super::chain(&source);
                if let Some(caps) = Place::default().file_caps(&self.request.program[0]) {
                    // Which the kernel gives whole or not at all.
                    message = format!("{message}, as its file has {caps}");
                }
                return Ok((Observation { message, ..Observation::default() }, Some(0)));
            }
            other => other?,
        };
        if ended.cancelled {
            return Err(Stop::Interrupted);
        }
        if let Some(gap) = ended.recording.gaps.first() {
            return Err(Stop::Unfit(format!("the recording of a run is not complete: {gap}")));
        }
        let [out, err] = capture.finish();
        let output = self.request.same_output.then(|| out.output());
        let message = err.last_line().or_else(|| out.last_line());
        let stopped = check.as_ref().is_some_and(HealthCheck::passed);
        let exit = ended.status.filter(|_| !stopped && !ended.timed_out);
        Ok((
            Observation {
                exit: exit.map(|status: ExitStatus| status.into()),
                timed_out: ended.timed_out,
                check: check.map(|check| check.passed()),
                output,
                message: message.unwrap_or_default(),
                analysis: ended.recording.analysis,
            },
            ended.recording.lost,
        ))
    }

    /// With `set` and nothing else: from the bounding set for root, ambient for others.
    fn launcher(&self, set: CapSet) -> Launcher {
        let ambient = match &self.identity {
            Some(identity) if identity.uid != 0 => set,
            _ => CapSet::empty(),
        };
        let mut launcher =
            Launcher::new().iab(Iab::new(ambient, ambient, CapSet::empty())).bounding(set);
        if let Some(identity) = &self.identity {
            launcher = launcher.identity(identity);
        }
        if self.request.no_new_privs {
            launcher = launcher.no_new_privs();
        }
        launcher
    }
}

//! `rcap verify`: runs something with exactly the capabilities of its settings, and says which of
//! them are missing or superfluous.
//!
//! Each kind of subject has a function that returns a [`Subject`]. The judgement, the report and
//! the exit status are the same for all.

use std::{ffi::OsString, io::Write};

use super::{
    Exit, Io,
    args::VerifyRequest,
    delegated::{self, Measure},
    failure::Failure,
    progress::Progress,
    run::look_up,
    service, source,
};
use rcap::{
    CapSet,
    launch::attainable,
    securebits::Securebits,
    settings::{Context, Settings},
    tools::{Mistake, signals, table::fit},
    trace::minimize::{self, Minimizer, Program, Run, Setup, Stop, Trial},
};

mod container;
mod print;
mod unit;

/// Something that is run with the capabilities of its settings.
struct Subject<T> {
    trial: T,
    /// The capabilities that the settings give.
    given: CapSet,
    /// Capabilities whose checks the recording cannot see.
    unseen: CapSet,
    /// Whether a run sees what earlier ones did.
    is_stateful: bool,
}

impl<T> Subject<T> {
    /// Returns the subject with a reference to its trial.
    fn by_reference(&mut self) -> Subject<&mut T> {
        let Subject { trial, given, unseen, is_stateful } = self;
        Subject { trial, given: *given, unseen: *unseen, is_stateful: *is_stateful }
    }
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &VerifyRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let progress = Progress::new(request.json);
    if let Some(unit) = service::Unit::of(&request.measure.service, &request.measure.program)? {
        let mut subject = unit::subject(request, &unit, io)?;
        let failed = |err| service::failed(&unit.name, err);
        let words = unit.measured();
        let exit = verify(request, &words, subject.by_reference(), &progress, io, failed);
        subject.trial.into_session().restore().map_err(failed)?;
        return exit;
    }
    if let Some(measured) = delegated::recipe(&request.measure)? {
        let subject = container::subject(request, &measured, &progress, io)?;
        return verify(request, &request.measure.program, subject, &progress, io, |err| {
            delegated::container_failed(&measured.name, err)
        });
    }
    delegated::check(&request.measure.program, Measure::Minimize)?;
    let subject = program(request, &progress, io)?;
    verify(request, &request.measure.program, subject, &progress, io, |err| match err {
        minimize::Failed::Run(err) => err.into(),
        err => Failure::subject(request.measure.program[0].display(), err),
    })
}

/// Verifies a subject, and prints the result.
fn verify<T: Trial>(
    request: &VerifyRequest,
    words: &[OsString],
    subject: Subject<T>,
    progress: &Progress,
    io: &mut Io<'_>,
    failed: impl Fn(T::Error) -> Failure,
) -> Result<Exit, Failure> {
    let Subject { trial, given, unseen, is_stateful } = subject;
    let mut plan = request.measure.judging.plan(given, request.keep);
    plan.tolerate = request.tolerate.unwrap_or_default();
    plan.unseen = unseen;
    plan.stateful = is_stateful;
    let mut minimizer = Minimizer::new(plan, trial);
    let mut show = |run: &Run| progress.show(run);
    let verified = if request.minimal {
        minimizer.verify_minimal(&mut show)
    } else {
        minimizer.verify(&mut show)
    };
    let verified = match verified {
        Ok(verified) => verified,
        Err(Stop::Failed(err)) => return Err(failed(err)),
        // The answer is not known, which is not the answer no.
        Err(Stop::Unfit(unfit)) => {
            return Err(Failure::subject(words[0].display(), unfit.to_string()));
        }
        Err(_) => return Ok(Exit::INTERRUPTED),
    };
    drop(minimizer);
    if request.json {
        writeln!(io.out, "{}", print::json(words, &verified))?;
    } else {
        let mut text = Vec::new();
        print::print(&verified, &mut text)?;
        fit(&String::from_utf8_lossy(&text), io.out)?;
    }
    Ok(if verified.holds() { Exit::SUCCESS } else { Exit::NO })
}

/// Returns a program with the capabilities of `--caps`, or with the settings of `--from`.
fn program(
    request: &VerifyRequest,
    progress: &Progress,
    io: &mut Io<'_>,
) -> Result<Subject<Program>, Failure> {
    request.measure.judging.check_program()?;
    let settings = match (&request.caps, &request.from) {
        (Some(caps), _) => Settings::new(*caps),
        (None, Some(from)) => source::one(from, &Context::default(), io.input)?,
        (None, None) => {
            return Err(Mistake::new("a program requires --caps or --from").into());
        }
    };
    let settings = match &request.user {
        Some(user) => settings.for_user(user.clone()),
        None => settings,
    };
    if settings.securebits != Securebits::empty() {
        let name = request.from.as_deref().unwrap_or_default();
        return Err(Failure::subject(name, "securebits cannot be verified"));
    }
    let mut setup = Setup::new(request.measure.program.clone());
    setup.identity = settings.user.user().map(look_up).transpose()?;
    setup.no_new_privs = settings.no_new_privs && request.from.is_some();
    setup.check.clone_from(&request.measure.judging.check);
    setup.settle = request.measure.judging.settle;
    setup.same_output = request.measure.judging.same_output;
    let is_root = setup.identity.as_ref().is_none_or(|identity| identity.uid == 0);
    let given = if is_root { settings.bounding } else { settings.ambient };
    setup.bounding = settings.bounding - given;
    let given = given & CapSet::supported();
    let lacking = given - attainable()?;
    if !lacking.is_empty() {
        return Err(Failure::NotHeld { caps: lacking, set: "bounding set" });
    }
    signals::catch()?;
    let interruption = progress.interruption(&request.measure.judging);
    let trial = Program::new(setup, &request.recording.options(true), interruption)?;
    Ok(Subject { given, unseen: CapSet::empty(), trial, is_stateful: false })
}

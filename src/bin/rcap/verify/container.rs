//! A container as the subject of a verification.

use rcap::{
    container::Container,
    tools::{Escaped, Mistake, signals, table::fit},
};

use super::{Failure, Io, Subject, VerifyRequest};
use crate::{
    delegated::{Measured, container_failed},
    minimize::warn_of_shared,
    progress::Progress,
};

/// Returns the container of a command line or of a service, with its own options.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn subject(
    request: &VerifyRequest,
    measured: &Measured,
    progress: &Progress,
    io: &mut Io<'_>,
) -> Result<Subject<Container>, Failure> {
    check(request)?;
    let shown = Escaped(measured.recipe.to_string().as_bytes()).to_string();
    fit(&format!("Verifying the container of `{shown}`."), io.err)?;
    signals::catch()?;
    let interruption = progress.interruption(&request.measure.judging);
    let options = request.recording.options(true);
    let (recipe, setup) = (measured.recipe.clone(), request.measure.judging.container());
    let trial = Container::as_given(recipe, setup, options, interruption);
    let trial = trial.map_err(|err| container_failed(&measured.name, err))?;
    if trial.is_limited() {
        progress.set_limited();
    }
    warn_of_shared("rcap verify", &trial, io)?;
    let given = trial.most();
    let mut unseen = rcap::CapSet::empty();
    if !trial.is_recorded() {
        let words = "the engine's processes cannot be recorded: refusals and unused capabilities \
                     are not known";
        io.complain_in_words("rcap verify", words)?;
        unseen = given;
    }
    Ok(Subject { given, unseen, is_stateful: trial.is_stateful(), trial })
}

/// Rejects options that a container's own arguments decide.
fn check(request: &VerifyRequest) -> Result<(), Mistake> {
    let options = [
        ("--caps", request.caps.is_some()),
        ("--from", request.from.is_some()),
        ("--user", request.user.is_some()),
    ];
    let wrong = options.iter().find(|(_, is_given)| *is_given);
    let words = |name| format!("{name} cannot be used for a container, which has its own options");
    wrong.map_or(Ok(()), |(name, _)| Err(Mistake::new(words(name))))
}

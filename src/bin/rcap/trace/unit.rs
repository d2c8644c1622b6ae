//! A unit of systemd that is recorded from its start.

use std::time::{Duration, Instant};

use rcap::{
    service::{Conditions, Session},
    tools::{Escaped, signals, table::fit},
    trace::{Options, Recording, Seen},
};

use super::{Failure, Io, TraceRequest};
use crate::{
    args::UnitOptions,
    service::{Unit, consent, failed},
};

/// Returns the unit that is restarted, after consent: that of `--unit` with `--restart`, or of a
/// program such as `systemctl restart` and `systemd-run`.
///
/// # Errors
///
/// [`Failure`] without consent, and if the unit of systemd-run(1) cannot be created.
pub(super) fn restarted(request: &TraceRequest, io: &mut Io<'_>) -> Result<Option<Unit>, Failure> {
    let is_named = request.restart && !request.unit.is_empty();
    let options = UnitOptions {
        unit: request.unit.first().filter(|_| is_named).cloned(),
        user_unit: None,
        copy: false,
        yes: request.yes,
        restore_after: Duration::ZERO,
    };
    let Some(unit) = Unit::of(&options, &request.program)? else { return Ok(None) };
    if unit.scratch.is_some() {
        fit("Recording the service that systemd-run starts. Ctrl-C ends it.", io.err)?;
        return Ok(Some(unit));
    }
    let facts = unit.facts()?;
    // A person who restarts it by hand has consented.
    consent(request.yes || !is_named, &facts, "Recording restarts it, twice", io)?;
    let id = Escaped(facts.id().as_bytes()).to_string();
    let words = format!(
        "Recording {id} from its start. Ctrl-C ends the recording, and restarts it once more."
    );
    fit(&words, io.err)?;
    Ok(Some(unit))
}

/// Restarts a unit and records it. Returns the recording, and whether the unit is running again.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn record(
    request: &TraceRequest,
    unit: &Unit,
    options: &Options,
    each: &mut dyn FnMut(&Seen),
) -> Result<(Recording, Result<(), Failure>), Failure> {
    let mut conditions = unit.conditions(Conditions::default());
    conditions.recording = Some(options.clone());
    let begun = Instant::now();
    let mut goes_on = || {
        let is_over = request.duration.is_some_and(|duration| begun.elapsed() >= duration);
        !is_over && signals::caught().is_none()
    };
    let failed = |err| failed(&unit.name, err);
    let recorded = Session::record(unit.started(), conditions, each, &mut goes_on);
    recorded.map(|(recording, again)| (recording, again.map_err(failed))).map_err(failed)
}

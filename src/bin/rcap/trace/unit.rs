//! A unit of systemd that is recorded from its start.

use std::time::Instant;

use rcap::{
    service::{Conditions, Facts, Session},
    tools::{Escaped, signals, table::fit},
    trace::{Options, Recording, Seen},
};

use super::{Failure, Io, TraceRequest};
use crate::service::{asked, consent, failed};

/// Returns the unit that is restarted, after consent: that of `--unit` with `--restart`, or of a
/// program such as `systemctl restart`.
///
/// # Errors
///
/// [`Failure`] without consent.
pub(super) fn restarted(
    request: &TraceRequest,
    io: &mut Io<'_>,
) -> Result<Option<String>, Failure> {
    let named = request.unit.first().filter(|_| request.restart).cloned();
    let Some(name) = asked(&request.program).or_else(|| named.clone()) else { return Ok(None) };
    let facts = Facts::of(&name).map_err(|err| failed(&name, err))?;
    // A person who restarts it by hand has consented.
    consent(request.yes || named.is_none(), &facts, "Recording restarts it, twice", io)?;
    let id = Escaped(facts.id().as_bytes()).to_string();
    let words = format!(
        "Recording {id} from its start. Ctrl-C ends the recording, and restarts it once more."
    );
    fit(&words, io.err)?;
    Ok(Some(name))
}

/// Restarts a unit and records it.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn record(
    request: &TraceRequest,
    name: &str,
    options: &Options,
    each: &mut dyn FnMut(&Seen),
) -> Result<Recording, Failure> {
    let mut conditions = Conditions::default();
    conditions.recording = Some(options.clone());
    let begun = Instant::now();
    let mut goes_on = || {
        let is_over = request.duration.is_some_and(|duration| begun.elapsed() >= duration);
        !is_over && signals::caught().is_none()
    };
    Session::record(name, conditions, each, &mut goes_on).map_err(|err| failed(name, err))
}

//! A unit of systemd as the subject of a verification.

use rcap::{CapSet, service::Service};

use super::{Failure, Io, Subject, VerifyRequest};
use crate::args::UnitOptions;
use crate::service::{Unit, failed, open};

/// Returns a unit, with its own settings.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn subject(
    request: &VerifyRequest,
    unit: &Unit,
    io: &mut Io<'_>,
) -> Result<Subject<Service>, Failure> {
    let others = [
        ("--caps", request.caps.is_some()),
        ("--from", request.from.is_some()),
        ("--user", request.user.is_some()),
    ];
    UnitOptions::check(&request.measure.judging, &others)?;
    let conditions =
        request.measure.service.conditions(&request.measure.judging, &request.recording);
    let session =
        open(request.measure.service.yes, unit, conditions, ["rcap verify", "Verifying"], io)?;
    let is_recorded = session.is_recorded();
    let trial = Service::new(session).map_err(|err| failed(&unit.name, err))?;
    let given = trial.most();
    let unseen = if is_recorded { CapSet::empty() } else { given };
    Ok(Subject { given, unseen, is_stateful: false, trial })
}

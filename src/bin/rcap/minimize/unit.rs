//! `rcap minimize` of a unit of systemd: the smallest set with which the service works.

use std::io::Write;

use rcap::{
    service::{DropIn, Service},
    tools::{Escaped, table::fit},
    trace::minimize::{Found, Minimizer, Stop},
};
use serde_json::json;

use super::{
    Exit, Failure, Io, MinimizeRequest,
    print::{self, Network},
    show_progress,
};
use crate::args::UnitOptions;
use crate::service::{failed, open, undo, write};

/// The drop-in file of a result.
struct Answer {
    id: String,
    drop_in: DropIn,
    text: String,
    is_written: bool,
}

/// Searches by restarting the unit.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn run(request: &MinimizeRequest, name: &str, io: &mut Io<'_>) -> Result<Exit, Failure> {
    check(request)?;
    if request.undo {
        return undo(name, request.measure.service.yes, io);
    }
    let failed = |err| failed(name, err);
    let conditions =
        request.measure.service.conditions(&request.measure.judging, &request.recording);
    let say = ["rcap minimize", "Measuring"];
    let session = open(request.measure.service.yes, name, conditions, say, io)?;
    let is_recorded = session.is_recorded();
    let mut service = Service::new(session).map_err(failed)?;
    let most = service.most() - request.drop.unwrap_or_default();
    let mut plan = request.measure.judging.plan(most, request.keep);
    plan.strict = request.strict;
    if !is_recorded {
        plan.unseen = most;
    }
    let mut minimizer = Minimizer::new(plan, &mut service);
    let ended = minimizer.search(&mut show_progress(request.json));
    let found = minimizer.found();
    let settings = service.settings(found.minimum);
    let session = service.into_session();
    let id = session.before().id().to_owned();
    let drop_in = DropIn::new(&id, DropIn::FILE).map_err(failed)?;
    let settings = drop_in.with_kept(&settings).map_err(failed)?;
    let is_written = request.write && found.proved;
    if is_written {
        let (expect, limit) = (request.measure.judging.expect, request.measure.judging.timeout);
        write(session, &settings, expect, limit, name)?;
    } else {
        session.restore().map_err(failed)?;
    }
    let exit = match ended {
        Err(Stop::Failed(err)) => return Err(failed(err)),
        Err(Stop::Unfit(unfit)) => return Err(Failure::No(unfit.to_string())),
        Err(_) => Exit::INTERRUPTED,
        Ok(()) => Exit::SUCCESS,
    };
    let text = DropIn::text(&settings).map_err(failed)?;
    report(request, &found, &Answer { id, drop_in, text, is_written }, io)?;
    Ok(exit)
}

/// Rejects options that a unit's own settings decide.
fn check(request: &MinimizeRequest) -> Result<(), Failure> {
    let others = [
        ("--in-place", request.in_place),
        ("--net", request.net),
        ("--no-new-privs", request.no_new_privs),
        ("--reset", request.reset.is_some()),
        ("--to", request.settings.to.is_some()),
        ("--user", request.user.is_some()),
    ];
    Ok(UnitOptions::check(&request.measure.judging, &others)?)
}

/// Prints the result, and the drop-in file with the minimum.
fn report(
    request: &MinimizeRequest,
    found: &Found,
    answer: &Answer,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let path = answer.drop_in.path().display().to_string();
    if request.json {
        let mut value = print::json(&[format!("--unit={}", answer.id).into()], found);
        value["unit"] = json!({
            "name": answer.id,
            "path": path,
            "text": found.proved.then_some(&answer.text),
            "written": answer.is_written,
        });
        writeln!(io.out, "{value}")?;
        return Ok(());
    }
    let mut text = Vec::new();
    print::print(found, Network::OfService, false, &mut text)?;
    fit(&String::from_utf8_lossy(&text), io.out)?;
    if !found.proved {
        return Ok(());
    }
    let done = if answer.is_written { " (written)" } else { "" };
    // The lines are not wrapped, so that they can be pasted.
    write!(io.out, "\n# {}{done}\n{}", Escaped(path.as_bytes()), answer.text)?;
    Ok(())
}

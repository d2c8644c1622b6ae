//! `rcap minimize` of a unit of systemd: the smallest set with which the service works.

use std::io::Write;

use rcap::{
    service::{DropIn, Service},
    tools::{Escaped, Mistake, table::fit},
    trace::minimize::{Found, Minimizer, Stop},
};
use serde_json::json;

use super::{
    Exit, Failure, Io, MinimizeRequest, Progress,
    print::{self, Network},
};
use crate::args::UnitOptions;
use crate::service::{Unit, failed, open, undo, write};

/// The drop-in file of a result.
struct Answer {
    id: String,
    drop_in: DropIn,
    text: String,
    is_written: bool,
    /// The command line of systemd-run(1), which has no such file.
    command: Option<String>,
}

/// Searches by restarting the unit.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn run(
    request: &MinimizeRequest,
    unit: &Unit,
    io: &mut Io<'_>,
) -> Result<Exit, Failure> {
    check(request)?;
    if let Some(words) = unit.unwritable().filter(|_| request.write || request.undo) {
        return Err(Mistake::new(words).into());
    }
    if request.undo {
        return undo(unit, request.measure.service.yes, io);
    }
    let failed = |err| failed(&unit.name, err);
    let conditions =
        request.measure.service.conditions(&request.measure.judging, &request.recording);
    let say = ["rcap minimize", "Measuring"];
    let session = open(request.measure.service.yes, unit, conditions, say, io)?;
    let is_recorded = session.is_recorded();
    let mut service = Service::new(session).map_err(failed)?;
    let most = service.most() - request.drop.unwrap_or_default();
    let mut plan = request.measure.judging.plan(most, request.keep);
    plan.strict = request.strict;
    if !is_recorded {
        plan.unseen = most;
    }
    let progress = Progress::new(request.json);
    let mut minimizer = Minimizer::new(plan, &mut service);
    let ended = minimizer.search(&mut |run| progress.show(run));
    let found = minimizer.found();
    let settings = service.settings(found.minimum);
    let session = service.into_session();
    let command = unit.command(&settings);
    let facts = if command.is_some() { session.before().clone() } else { unit.facts()? };
    let drop_in = DropIn::new(&facts, DropIn::FILE).map_err(failed)?;
    let settings = drop_in.with_kept(&settings).map_err(failed)?;
    let is_written = request.write && found.proved;
    if is_written {
        let (expect, limit) = (request.measure.judging.expect, request.measure.judging.timeout);
        write(session, &settings, expect, limit, &unit.name)?;
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
    let id = facts.id().to_owned();
    report(request, &found, &Answer { id, drop_in, text, is_written, command }, io)?;
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
        if let Some(command) = &answer.command {
            let mut value = print::json(&request.measure.program, found);
            value["unit"] = json!({ "command": found.proved.then_some(command) });
            writeln!(io.out, "{value}")?;
            return Ok(());
        }
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
    if let Some(command) = &answer.command {
        writeln!(io.out, "\n{}", Escaped(command.as_bytes()))?;
        return Ok(());
    }
    let done = if answer.is_written { " (written)" } else { "" };
    // The lines are not wrapped, so that they can be pasted.
    write!(io.out, "\n# {}{done}\n{}", Escaped(path.as_bytes()), answer.text)?;
    Ok(())
}

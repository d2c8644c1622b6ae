//! `rcap minimize --rootless` of a unit of systemd.

use std::io::Write;

use rcap::{
    service::{DropIn, Rootless},
    settings::shell_word,
    tools::Escaped,
};
use serde_json::json;

use super::{check, exit, in_words, print, to_json};
use crate::{
    Exit, Io,
    args::{MinimizeRequest, UnitOptions},
    failure::Failure,
    progress::Progress,
    service::{Unit, failed, open},
};

/// Searches by restarting the unit.
///
/// # Errors
///
/// [`Failure`]
pub(in crate::minimize) fn run(
    request: &MinimizeRequest,
    unit: &Unit,
    io: &mut Io<'_>,
) -> Result<Exit, Failure> {
    let user = request.user.as_ref();
    let has_group = user.is_some_and(|user| user.group().is_some());
    check(request, &[("--undo", request.undo), ("--user with a group", has_group)])?;
    let measure = &request.measure;
    let judging = &measure.judging;
    UnitOptions::check(judging, &[])?;
    let failed = |err| failed(&unit.name, err);
    let conditions = measure.service.conditions(judging, &request.recording);
    let say = ["rcap minimize", "Measuring"];
    let session = open(measure.service.yes, unit, conditions, say, io)?;
    let progress = Progress::new(request.json);
    let user = user.map(|user| user.id().to_string());
    let rootless = Rootless::new(session, user.as_deref(), judging.expect.into(), judging.timeout);
    let Some(mut rootless) = rootless.map_err(failed)? else { return Ok(Exit::INTERRUPTED) };
    let answer = rootless.search(&mut |_, tried| progress.add(tried.time, &in_words(tried)));
    let session = rootless.into_session();
    let scratch = session.before().clone();
    session.restore().map_err(failed)?;
    let Some(answer) = answer.map_err(failed)? else { return Ok(Exit::INTERRUPTED) };
    let settings = answer.lines.as_ref().map(|lines| &*lines.settings).unwrap_or_default();
    let command = unit.command(settings);
    let facts = if command.is_some() { scratch } else { unit.facts()? };
    let drop_in = DropIn::new(&facts, DropIn::FILE).map_err(failed)?;
    let text = DropIn::text(&drop_in.with_kept(settings).map_err(failed)?).map_err(failed)?;
    let path = drop_in.path().display().to_string();
    let tmpfiles = answer.lines.as_ref().and_then(|lines| lines.tmpfiles.as_ref());
    // The first file in order counts, if several have a line for the same path.
    let tmpfiles_path = format!("/etc/tmpfiles.d/00-rcap-{}.conf", facts.id());
    if request.json {
        let mut value = to_json(&unit.measured(), &answer);
        let text = answer.lines.is_some().then_some(&text);
        value["unit"] = match &command {
            Some(command) => json!({ "command": text.map(|_| command) }),
            None => json!({ "name": facts.id(), "path": path, "text": text }),
        };
        let commands: Vec<_> =
            answer.lines.iter().filter_map(|lines| lines.command.as_ref()).collect();
        value["commands"] = json!(commands);
        value["tmpfiles"] = json!({ "path": tmpfiles_path, "text": tmpfiles });
        writeln!(io.out, "{value}")?;
        return Ok(exit(&answer));
    }
    print(&answer, io)?;
    // The lines are not wrapped, so that they can be pasted.
    if let Some(command) = answer.lines.as_ref().and_then(|lines| lines.command.as_ref()) {
        writeln!(io.out, "\n{}", Escaped(command.as_bytes()))?;
    }
    if let Some(tmpfiles) = tmpfiles {
        let word = shell_word(&tmpfiles_path);
        let [path, word] = [&tmpfiles_path, &word].map(|text| Escaped(text.as_bytes()).to_string());
        writeln!(io.out, "\n# {path}, for `systemd-tmpfiles --create {word}`\n{tmpfiles}")?;
    }
    match &command {
        _ if answer.lines.is_none() => {}
        Some(command) => writeln!(io.out, "\n{}", Escaped(command.as_bytes()))?,
        None => write!(io.out, "\n# {}\n{text}", Escaped(path.as_bytes()))?,
    }
    Ok(exit(&answer))
}

//! `rcap restore`: restores the capabilities that `rcap save` wrote.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    Exit, Io,
    args::RestoreRequest,
    chain,
    failure::Failure,
    input,
    json::{SCHEMA, insert_name},
};
use rcap::{
    CapSet, CapState,
    file::FileCaps,
    scan::{
        encode,
        saved::{self, Account, Options, Step},
    },
};

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &RestoreRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let path = request.file.as_deref().unwrap_or(Path::new("-"));
    let name = || if path == Path::new("-") { "standard input".into() } else { encode(path) };
    let text = input::read(path, io.input);
    let text = text.map_err(|reason| Failure::Input { name: name(), reason })?;
    let lines = saved::parse(&text, CapSet::supported());
    let lines = lines.map_err(|err| Failure::subject(name(), err))?;
    let mut options = Options::default();
    options.root.clone_from(&request.root);
    options.dry_run = request.dry_run;
    options.ensure = request.ensure;
    let mut printed = Ok(());
    let account = saved::restore(&lines, &options, |step| {
        // Each change is printed before the next file is touched.
        if !request.json && printed.is_ok() {
            printed = writeln!(io.out, "{}", in_words(step)).and_then(|()| io.out.flush());
        }
    });
    printed?;
    finish(request, &account?, io)
}

fn text(caps: Option<FileCaps>) -> String {
    caps.map_or_else(
        || "none".into(),
        |caps| {
            let rootid = caps.rootid.map(|id| format!(" [rootid={id}]")).unwrap_or_default();
            format!("{}{rootid}", CapState::from(caps))
        },
    )
}

fn in_words(step: &Step) -> String {
    let mut changes = Vec::new();
    if let Some((before, after)) = step.mode {
        changes.push(format!("mode {before:04o} -> {after:04o}"));
    }
    if step.before != step.after {
        changes.push(format!("{} -> {}", text(step.before), text(step.after)));
    }
    format!("{} {}", encode(&step.path), changes.join(", "))
}

fn finish(request: &RestoreRequest, account: &Account, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let Account { changed, unchanged, missing, failed, not_done, .. } = account;
    if request.json {
        writeln!(io.out, "{}", document(request, account))?;
    } else {
        let verb = if request.dry_run { "would change" } else { "changed" };
        write!(io.out, "{verb}: {}, unchanged: {unchanged}", changed.len())?;
        if !missing.is_empty() {
            write!(io.out, ", missing: {}", missing.len())?;
        }
        if !failed.is_empty() {
            write!(io.out, ", failed: {}, not done: {}", failed.len(), not_done.len())?;
        }
        writeln!(io.out)?;
        for failure in failed {
            io.complain_in_words("rcap restore", &chain(&failure.error))?;
        }
        if !failed.is_empty() && changed.is_empty() {
            io.complain_in_words("rcap restore", "nothing was changed")?;
        }
    }
    Ok(if failed.is_empty() { Exit::SUCCESS } else { Exit::FAILED })
}

fn document(request: &RestoreRequest, account: &Account) -> Value {
    let named = |path: &Path| {
        let mut object = Map::new();
        insert_name(&mut object, "path", path.as_os_str());
        object
    };
    let step = |step: &Step| {
        let mut object = named(&step.path);
        object.insert("before".into(), json!(step.before));
        object.insert("after".into(), json!(step.after));
        let mode = |mode: u32| format!("{mode:04o}");
        object.insert("mode_before".into(), json!(step.mode.map(|(before, _)| mode(before))));
        object.insert("mode_after".into(), json!(step.mode.map(|(_, after)| mode(after))));
        object
    };
    let failure = |failure: &saved::Failure| {
        let mut object = named(&failure.path);
        object.insert("error".into(), chain(&failure.error).into());
        object
    };
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| named(path)).collect::<Vec<_>>();
    json!({
        "schema": SCHEMA,
        "dry_run": request.dry_run,
        "changed": account.changed.iter().map(step).collect::<Vec<_>>(),
        "unchanged": account.unchanged,
        "missing": paths(&account.missing),
        "failed": account.failed.iter().map(failure).collect::<Vec<_>>(),
        "not_done": paths(&account.not_done),
    })
}

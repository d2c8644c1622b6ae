//! `rcap restore`: puts back what `rcap save` wrote.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory, Parser};
use serde_json::{Map, Value, json};

use super::{
    Exit, Io, chain, input,
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

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "restore",
    about = "Put back the capabilities of files that rcap save wrote",
    override_usage = "rcap restore [OPTION]... [FILE]",
    after_help = "Example: rcap restore --dry-run caps.txt\n         rcap restore --ensure < caps.txt"
)]
pub(crate) struct Request {
    /// Check everything, print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Pass over files that are missing, as after an upgrade
    #[arg(long)]
    ensure: bool,
    /// Take paths relative to DIR [default: /]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The output of rcap save; standard input without it, or for -
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn command() -> Command {
    Request::command()
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let request = match Request::try_parse_from(argv) {
        Ok(request) => request,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let path = request.file.as_deref().unwrap_or(Path::new("-"));
    let text = match input::read(path, io.input) {
        Ok(text) => text,
        Err(err) => return complain(path, &err.to_string(), io),
    };
    let lines = match saved::parse(&text, CapSet::supported()) {
        Ok(lines) => lines,
        Err(err) => return complain(path, &err.to_string(), io),
    };
    let mut options = Options::default();
    options.root.clone_from(&request.root);
    options.dry_run = request.dry_run;
    options.ensure = request.ensure;
    let mut printed = Ok(());
    let account = saved::restore(&lines, &options, |step| {
        // What has changed is said before the next file is touched.
        if !request.json && printed.is_ok() {
            printed = writeln!(io.out, "{}", in_words(step)).and_then(|()| io.out.flush());
        }
    });
    printed?;
    match account {
        Ok(account) => finish(&request, &account, io),
        Err(err) => {
            io.complain_in_words("rcap restore", &chain(&err))?;
            Ok(Exit::FAILURE)
        }
    }
}

fn complain(path: &Path, reason: &str, io: &mut Io<'_>) -> io::Result<Exit> {
    let name = if path == Path::new("-") { "standard input".into() } else { encode(path) };
    io.complain_in_words("rcap restore", &format!("{name}: {reason}")).map(|()| Exit::FAILURE)
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

fn finish(request: &Request, account: &Account, io: &mut Io<'_>) -> io::Result<Exit> {
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
    Ok(if failed.is_empty() { Exit::SUCCESS } else { Exit::FAILURE })
}

fn document(request: &Request, account: &Account) -> Value {
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

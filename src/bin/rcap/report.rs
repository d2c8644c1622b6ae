//! `rcap report`: what several runs needed.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command, value_parser};
use serde_json::json;

use super::{
    Escaped, Exit, Io,
    export::{append, to_arg},
    input, new_file,
    trace::print_merged,
};
use rcap::trace::report::{Merged, Report};

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    Command::new("report")
        .about("Merge what `rcap trace` has saved: what different workloads needed")
        .override_usage("rcap report [OPTION]... FILE...")
        .args([
            flag("all").help("Print what was set aside in full too"),
            to_arg().conflicts_with("json"),
            flag("json").help("Print one JSON object"),
            flag("wait").help("Wait for recordings that still run to end"),
            Arg::new("FILE")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("What `rcap trace --save` or `--json` has written; - is standard input"),
        ])
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let mut reports = Vec::new();
    let wait = matches.get_flag("wait");
    for path in matches.get_many::<PathBuf>("FILE").into_iter().flatten() {
        match read(path, wait, io) {
            Ok(report) => reports.push(report),
            Err(words) => {
                let name = Escaped(path.as_os_str().as_encoded_bytes());
                io.complain_in_words("rcap report", &format!("{name}: {words}"))?;
                return Ok(Exit::FAILURE);
            }
        }
    }
    let merged = Merged::of(reports);
    if matches.get_flag("json") {
        writeln!(io.out, "{}", json!(merged))?;
    } else {
        print_merged(&merged, matches.get_flag("all"), io.out)?;
        append(&matches, merged.candidates, None, io.out)?;
    }
    Ok(Exit::SUCCESS)
}

fn read(path: &Path, wait: bool, io: &mut Io<'_>) -> Result<Merged, String> {
    let is_pending = new_file::is_pending(path, wait);
    let text = match input::read(path, io.input) {
        Err(err) if is_pending && err.is_missing() => {
            return Err("it is still being recorded (--wait waits for the end)".to_owned());
        }
        text => text.map_err(|err| err.to_string())?,
    };
    if is_pending {
        let name = Escaped(path.as_os_str().as_encoded_bytes());
        let words = format!("{name}: another run is still being recorded (--wait)");
        io.complain_in_words("rcap report", &words).map_err(|err| super::chain(&err))?;
    }
    parse(&text)
}

/// What `rcap trace` or this command has written.
pub(super) fn parse(text: &str) -> Result<Merged, String> {
    /// What tells them apart.
    #[derive(serde::Deserialize)]
    struct Layout {
        schema: u32,
        #[serde(default)]
        runs: Option<serde::de::IgnoredAny>,
    }
    let failed = |err| format!("it is no report of rcap trace ({err})");
    let layout: Layout = serde_json::from_str(text).map_err(failed)?;
    if layout.schema != Report::SCHEMA {
        return Err(format!("it has version {} of the layout, which is not known", layout.schema));
    }
    if layout.runs.is_some() {
        return serde_json::from_str(text).map_err(failed);
    }
    serde_json::from_str::<Report>(text).map(Merged::from).map_err(failed)
}

//! `rcap report`: what several runs needed.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command, value_parser};
use serde_json::json;

use super::{
    Escaped, Exit, Io,
    deploy::{append, to_arg},
    input,
    trace::print_merged,
};
use crate::{
    deploy::Settings,
    trace::{Merged, Report},
};

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    Command::new("report")
        .about("Merge what `rcap trace` has saved: what different workloads needed")
        .override_usage("rcap report [OPTION]... FILE...")
        .args([
            flag("all").help("Print what was set aside in full too"),
            to_arg().conflicts_with("json"),
            flag("json").help("Print one JSON object"),
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
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let mut reports = Vec::new();
    for path in matches.get_many::<PathBuf>("FILE").into_iter().flatten() {
        match read(path, io) {
            Ok(report) => reports.push(report),
            Err(words) => {
                let name = Escaped(path.as_os_str().as_encoded_bytes());
                io.complain_in_words("rcap report", &format!("{name}: {words}"))?;
                return Ok(Exit::FAILURE);
            }
        }
    }
    let merged = Merged::new(&reports);
    if matches.get_flag("json") {
        writeln!(io.out, "{}", json!(merged))?;
    } else {
        print_merged(&merged, matches.get_flag("all"), io.out)?;
        append(&matches, &Settings { caps: merged.candidates, ..Settings::default() }, io.out)?;
    }
    Ok(Exit::SUCCESS)
}

fn read(path: &Path, io: &mut Io<'_>) -> Result<Report, String> {
    let text = input::read(path, io.input).map_err(|err| err.to_string())?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|err| format!("it is no report of rcap trace ({err})"))?;
    if report.schema != Report::SCHEMA {
        return Err(format!("it has version {} of the layout, which is not known", report.schema));
    }
    Ok(report)
}

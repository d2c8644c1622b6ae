//! `rcap report`: merges the reports of several runs.

use std::{error::Error, fmt, io::Write, path::Path};

use serde_json::json;

use super::{
    Escaped, Exit, Io, args::ReportRequest, failure::Failure, input, new_file, settings,
    trace::print_merged,
};
use rcap::{
    scan::output::html,
    trace::report::{Merged, Report},
};

/// The error of text that is not a report.
#[derive(Debug)]
pub(super) enum NotReport {
    Syntax(serde_json::Error),
    /// The layout has an unknown version.
    Schema(u32),
}

impl fmt::Display for NotReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReport::Syntax(err) => write!(f, "not a report of rcap trace ({err})"),
            NotReport::Schema(version) => {
                write!(f, "unknown version {version} of the layout of reports")
            }
        }
    }
}

impl Error for NotReport {}

impl From<serde_json::Error> for NotReport {
    fn from(err: serde_json::Error) -> NotReport {
        NotReport::Syntax(err)
    }
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &ReportRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let to = request.settings.to;
    let reports = request.files.iter().map(|path| read(path, request.wait, io));
    let merged = Merged::of(reports.collect::<Result<Vec<_>, _>>()?);
    if let Some(path) = &request.html {
        let name = Escaped(path.as_os_str().as_encoded_bytes()).to_string();
        let page = html::report(&merged).map_err(|err| Failure::subject(&*name, err))?;
        let target = new_file::Target::new(path)?;
        target.replace(page.as_bytes(), None).map_err(|err| Failure::subject(name, err))?;
        if to.is_none() {
            return Ok(Exit::SUCCESS);
        }
    }
    if request.json {
        writeln!(io.out, "{}", json!(merged))?;
    } else {
        print_merged(&merged, request.all, settings::report_stream(to, io))?;
        settings::write("rcap report", to, merged.candidates, None, io)?;
    }
    Ok(Exit::SUCCESS)
}

fn read(path: &Path, wait: bool, io: &mut Io<'_>) -> Result<Merged, Failure> {
    let name = Escaped(path.as_os_str().as_encoded_bytes()).to_string();
    let is_pending = new_file::is_pending(path, wait);
    let text = match input::read(path, io.input) {
        Err(err) if is_pending && err.is_missing() => {
            let reason = "still being recorded (--wait waits for the end)";
            return Err(Failure::subject(name, reason));
        }
        Err(reason) => return Err(Failure::Input { name, reason }),
        Ok(text) => text,
    };
    if is_pending {
        let words = format!("{name}: another run is still being recorded (--wait)");
        io.complain_in_words("rcap report", &words)?;
    }
    parse(&text).map_err(|err| Failure::subject(name, err))
}

/// Parses the output of `rcap trace` or of this command.
pub(super) fn parse(text: &str) -> Result<Merged, NotReport> {
    /// The fields that distinguish the layouts.
    #[derive(serde::Deserialize)]
    struct Layout {
        schema: u32,
        #[serde(default)]
        runs: Option<serde::de::IgnoredAny>,
    }
    let layout: Layout = serde_json::from_str(text)?;
    if layout.schema != Report::SCHEMA {
        return Err(NotReport::Schema(layout.schema));
    }
    if layout.runs.is_some() {
        return Ok(serde_json::from_str(text)?);
    }
    Ok(serde_json::from_str::<Report>(text)?.into())
}

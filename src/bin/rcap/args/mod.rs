//! The command lines of rcap's commands. Each is parsed into a request, a plain struct, and checked
//! here. The commands only see requests.

mod inventory;
mod measure;
mod requests;
#[cfg(test)]
mod tests;
mod unit;
mod values;

use std::ffi::OsString;

use clap::{Command, Parser};

use rcap::tools::Mistake;

pub(crate) use inventory::{CheckRequest, RestoreRequest, SaveRequest, ScanRequest};
pub(crate) use measure::{Judging, MeasureOptions, MinimizeRequest, TraceRequest, VerifyRequest};
pub(crate) use requests::{
    CompletionsRequest, DecodeRequest, DiffRequest, ExplainRequest, ExportRequest, HookRequest,
    ManRequest, ReportRequest, RunRequest, RuntimeRequest, SuggestRequest, WhyRequest,
};
pub(crate) use unit::{HardenRequest, UnitOptions};
pub(crate) use values::{Explained, caps};

/// The request of one command.
pub(crate) trait Request: Parser {
    /// Rejects combinations that the grammar of the options cannot express.
    ///
    /// # Errors
    ///
    /// [`Mistake`] with the reason.
    fn check(&self) -> Result<(), Mistake> {
        Ok(())
    }
}

/// A parsed command line.
#[derive(Debug)]
pub(crate) enum Parsed<R> {
    Request(R),
    /// The user asks for this text.
    Help(String),
}

/// Returns the command line of a command, for its help and for completions.
pub(crate) fn command<R: Request>(name: &'static str, about: &'static str) -> Command {
    let help = clap::Arg::new("help")
        .short('h')
        .long("help")
        .action(clap::ArgAction::Help)
        .help("Print this help");
    R::command().name(name).about(about).version(None).disable_help_flag(true).arg(help)
}

/// Parses a command line.
///
/// # Errors
///
/// [`Mistake`] if the command line is wrong.
pub(crate) fn parse<R: Request>(
    mut command: Command,
    argv: &[OsString],
) -> Result<Parsed<R>, Mistake> {
    let matches = match command.try_get_matches_from_mut(argv) {
        Err(err) if !err.use_stderr() => {
            return Ok(Parsed::Help(format!("{}\n", err.to_string().trim_end())));
        }
        matches => matches.map_err(|err| Mistake::of(&err, &command))?,
    };
    let request = R::from_arg_matches(&matches).map_err(|err| Mistake::from(&err))?;
    request.check()?;
    Ok(Parsed::Request(request))
}

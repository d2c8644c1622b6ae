//! `rcap completions`: prints shell completions.

use std::{ffi::OsString, io::Write};

use clap::{Command, ValueHint, builder::PossibleValuesParser, value_parser};

use rcap::{
    Cap,
    settings::{Format, Profile},
    trace::Backend,
};

use super::{Exit, Io, args::CompletionsRequest, commands, failure::Failure};

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &CompletionsRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let program = request.program.as_deref().unwrap_or("rcap");
    let tool = commands::all().find(|entry| entry.is_tool() && entry.name == program);
    let mut command = tool.map_or_else(everything, |tool| completing(tool.command()));
    let mut script = Vec::new();
    clap_complete::generate(request.shell, &mut command, program, &mut script);
    io.out.write_all(&script)?;
    Ok(Exit::SUCCESS)
}

/// Returns the command line of rcap with all commands.
fn everything() -> Command {
    let commands = commands::all().map(|entry| completing(entry.command()));
    Command::new("rcap").version(env!("CARGO_PKG_VERSION")).subcommands(commands)
}

/// Returns the same command with completions for its values. This is only for completing: it
/// accepts less than the command itself, for example one name instead of a list.
fn completing(command: Command) -> Command {
    let names = |names: &[&'static str]| PossibleValuesParser::new(names.to_vec());
    command.mut_args(|arg| {
        let value = arg.get_value_names().and_then(|names| names.first().map(ToString::to_string));
        let value = value.unwrap_or_else(|| arg.get_id().to_string());
        match value.as_str() {
            "CAPS" | "CAP" => {
                let caps = Cap::ALL.iter().filter_map(|cap| cap.name()).chain(["all"]);
                arg.value_parser(PossibleValuesParser::new(caps))
            }
            "FORMAT" => arg.value_parser(names(&Format::ALL.map(Format::name))),
            "PROFILE" => arg.value_parser(names(&Profile::ALL.map(Profile::name))),
            "BACKEND" => arg.value_parser(names(&Backend::ALL.map(Backend::name))),
            "USER" => arg.value_hint(ValueHint::Username),
            "DIR" | "DIRECTORY" => arg.value_hint(ValueHint::DirPath),
            "FILE" | "PATH" | "SOURCE" => arg.value_hint(ValueHint::AnyPath),
            "PROGRAM" => {
                arg.value_parser(value_parser!(OsString)).value_hint(ValueHint::CommandName)
            }
            _ => arg,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_sound() {
        everything().debug_assert();
        for entry in commands::all() {
            completing(entry.command()).debug_assert();
        }
    }
}

//! `rcap completions`: what completes the commands in a shell.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, Command, ValueHint, builder::PossibleValuesParser, value_parser};
use clap_complete::Shell;

use rcap::{
    Cap,
    settings::{Format, Profile},
    trace::Backend,
};

use super::{Exit, Io, commands};

pub(crate) fn command() -> Command {
    Command::new("completions")
        .about("Write what completes these commands in a shell")
        .override_usage("rcap completions [--for PROGRAM] SHELL")
        .args([
            Arg::new("for")
                .long("for")
                .value_name("NAME")
                .value_parser(PossibleValuesParser::new(tools().map(|tool| tool.name)))
                .help("For one of libcap's programs, and not for rcap"),
            Arg::new("SHELL")
                .required(true)
                .value_parser(["bash", "zsh", "fish"])
                .help("bash, zsh or fish"),
        ])
        .after_help(
            "Example: rcap completions bash > ~/.local/share/bash-completion/completions/rcap\n         \
             rcap completions zsh > /usr/local/share/zsh/site-functions/_rcap\n         \
             rcap completions fish > ~/.config/fish/completions/rcap.fish",
        )
}

pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let shell = matches.get_one::<String>("SHELL").and_then(|name| name.parse::<Shell>().ok());
    let Some(shell) = shell else { return Ok(Exit::USAGE) };
    let program = matches.get_one::<String>("for").map_or("rcap", String::as_str);
    let tool = tools().find(|tool| tool.name == program);
    let mut command = tool.map_or_else(everything, |tool| completing((tool.command)()));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut script);
    io.out.write_all(&script)?;
    Ok(Exit::SUCCESS)
}

/// Returns libcap's tools, which are programs of their own too.
fn tools() -> impl Iterator<Item = &'static commands::Entry> {
    commands::all().filter(|entry| entry.is_tool)
}

/// rcap, with all its commands and their options.
fn everything() -> Command {
    let commands = commands::all().map(|entry| completing((entry.command)().about(entry.about)));
    Command::new("rcap").version(env!("CARGO_PKG_VERSION")).subcommands(commands)
}

/// The same command, whose values are known or are looked for in the right place. Only for
/// completing: it takes less than the command itself does, such as one name where that takes a
/// list.
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
            completing((entry.command)()).debug_assert();
        }
    }
}

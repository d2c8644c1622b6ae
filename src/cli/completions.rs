//! `rcap completions`: what completes the commands in a shell.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, Command, ValueHint, builder::PossibleValuesParser, value_parser};
use clap_complete::Shell;

use super::{Exit, Io, capsh as capsh_options, captree, getpcaps, rcap::GROUPS, setcap};
use crate::{Cap, CapSet, deploy::Format, profile::Profile, trace::Backend};

pub(crate) fn command() -> Command {
    Command::new("completions")
        .about("Write what completes these commands in a shell")
        .override_usage("rcap completions [--for PROGRAM] SHELL")
        .args([
            Arg::new("for")
                .long("for")
                .value_name("NAME")
                .value_parser(PROGRAMS.map(|(name, _)| name))
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

type MakeCommand = fn() -> Command;

/// The programs that are there under a name of their own.
const PROGRAMS: [(&str, MakeCommand); 5] = [
    ("getcap", super::getcap::command),
    ("setcap", self::setcap),
    ("getpcaps", self::getpcaps),
    ("capsh", self::capsh),
    ("captree", self::captree),
];

/// # Errors
///
/// Writing to the standard streams.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let shell = matches.get_one::<String>("SHELL").and_then(|name| name.parse::<Shell>().ok());
    let Some(shell) = shell else { return Ok(Exit::USAGE) };
    let program = matches.get_one::<String>("for").map_or("rcap", String::as_str);
    let one = PROGRAMS.iter().find(|(name, _)| *name == program);
    let mut command = one.map_or_else(everything, |(_, command)| completing(command()));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut script);
    io.out.write_all(&script)?;
    Ok(Exit::SUCCESS)
}

/// rcap, with all its commands and their options.
fn everything() -> Command {
    let applets = GROUPS.iter().flat_map(|(_, applets)| *applets);
    let commands = applets.map(|applet| completing((applet.command)().about(applet.about)));
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
                let caps = CapSet::NAMED.caps().filter_map(Cap::name).chain(["all"]);
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

pub(super) fn setcap() -> Command {
    by_table("setcap", setcap::OPTIONS.iter().copied()).arg(file())
}

pub(super) fn getpcaps() -> Command {
    by_table("getpcaps", getpcaps::OPTIONS.iter().copied()).arg(Arg::new("PID").num_args(0..))
}

pub(super) fn captree() -> Command {
    let rows = captree::OPTIONS.iter().map(|(name, value, about)| (*name, *value, *about));
    by_rows("captree", rows).arg(Arg::new("PID").num_args(0..))
}

pub(super) fn capsh() -> Command {
    // Those behind which everything is an argument of the shell, and the other forms, are words.
    let rows =
        capsh_options::options().filter(|(name, ..)| name.starts_with("--") && name.len() > 2);
    by_rows("capsh", rows)
}

fn file() -> Arg {
    Arg::new("FILE").num_args(0..).value_hint(ValueHint::FilePath)
}

/// Options in the form of a help: `-h, --help` or `--add CAPS`.
fn by_table(
    name: &'static str,
    table: impl Iterator<Item = (&'static str, &'static str)>,
) -> Command {
    let rows = table.flat_map(|(spelling, about)| {
        spelling.split(", ").map(move |one| match one.split_once(' ') {
            Some((option, value)) => (option, value, about),
            None => (one, "", about),
        })
    });
    by_rows(name, rows)
}

/// Options, the names of their values, and what they do.
fn by_rows(
    name: &'static str,
    rows: impl Iterator<Item = (&'static str, &'static str, &'static str)>,
) -> Command {
    let mut known = Vec::new();
    let args = rows.filter_map(|(option, value, about)| {
        let is_joined = option.ends_with('=');
        let word = option.trim_end_matches('=').trim_start_matches('-');
        // One with a value and one without can have the same name.
        if known.contains(&word) {
            return None;
        }
        known.push(word);
        let arg = Arg::new(option).help(about);
        let arg = match (option.strip_prefix("--"), word.chars().next()) {
            (Some(_), Some(_)) => arg.long(word),
            (None, Some(letter)) if word.len() == 1 => arg.short(letter),
            _ => return None,
        };
        Some(if value.is_empty() {
            arg.action(clap::ArgAction::SetTrue)
        } else {
            arg.value_name(value).require_equals(is_joined)
        })
    });
    Command::new(name).disable_help_flag(true).args(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_sound() {
        everything().debug_assert();
        for (_, command) in PROGRAMS {
            completing(command()).debug_assert();
        }
    }
}

//! `rcap deploy`: capabilities in the words of the system that takes them.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, ArgMatches, Command};

use super::{Exit, Io, decode::a_set};
use crate::{
    CapSet,
    deploy::{Format, Settings},
};

pub(crate) fn command() -> Command {
    let value = |id: &'static str, name: &'static str| Arg::new(id).long(id).value_name(name);
    Command::new("deploy")
        .about("Write the settings that give a program these capabilities, ready to paste")
        .override_usage("rcap deploy --to FORMAT [--user USER] [CAPS]...")
        .args([
            to_arg().required(true),
            value("user", "USER").help("For a user, by name or number; else for root"),
            Arg::new("CAPS")
                .num_args(0..)
                .value_parser(a_set)
                .help("Names with commas, or a mask; none if there are none"),
        ])
        .after_help(
            "The settings are on standard output, and on standard error what does not hold there.\n\n\
             Example: rcap deploy --to compose chown,net_raw",
        )
}

pub(super) fn to_arg() -> Arg {
    Arg::new("to")
        .long("to")
        .value_name("FORMAT")
        .value_parser(|name: &str| {
            let names = Format::ALL.map(Format::name).join(", ");
            Format::from_name(name).ok_or_else(|| format!("it is one of {names}"))
        })
        .help(
            "Write the settings for docker, podman, compose, kubernetes, oci, systemd, setcap, \
             capsh or setpriv",
        )
}

/// The settings, behind an empty line, if `--to` asks for them; and what does not hold there.
pub(super) fn append(
    matches: &ArgMatches,
    settings: &Settings<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(format) = matches.get_one::<Format>("to") else { return Ok(()) };
    writeln!(out, "\n{}", format.write(settings))?;
    format.caveat(settings).map_or(Ok(()), |words| writeln!(out, "\n({words}.)"))
}

/// # Errors
///
/// Writing to the standard streams.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let sets = matches.get_many::<CapSet>("CAPS").into_iter().flatten();
    let caps = sets.fold(CapSet::empty(), |all, set| all | *set);
    let user = matches.get_one::<String>("user").map(String::as_str);
    let settings = Settings { caps, user };
    let Some(format) = matches.get_one::<Format>("to") else { return Ok(Exit::USAGE) };
    writeln!(io.out, "{}", format.write(&settings))?;
    if let Some(words) = format.caveat(&settings) {
        io.out.flush()?;
        io.complain_in_words("rcap deploy", words)?;
    }
    Ok(Exit::SUCCESS)
}

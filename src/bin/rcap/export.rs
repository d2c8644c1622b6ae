//! `rcap export`: capabilities in the words of the system that takes them.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, ArgMatches, Command};

use super::{Escaped, Exit, Io, chain, decode::a_set, source};
use rcap::{
    CapSet,
    settings::{Format, Settings, SettingsError, User},
};

pub(crate) fn command() -> Command {
    let value = |id: &'static str, name: &'static str| Arg::new(id).long(id).value_name(name);
    Command::new("export")
        .about("Write the settings that give a program these capabilities, ready to paste")
        .override_usage("rcap export --to FORMAT [--user USER] [CAPS]...")
        .args([
            to_arg().required(true),
            value("from", "SOURCE").allow_hyphen_values(true).conflicts_with("CAPS").help(source::FORMS),
            value("user", "USER")
                .value_parser(|text: &str| text.parse::<User>())
                .help("For a user, by name or number, with :GROUP if need be; else for root"),
            Arg::new("CAPS")
                .num_args(0..)
                .value_parser(a_set)
                .help("Names with commas, or a mask; none if there are none"),
        ])
        .after_help(
            "The settings are on standard output, and on standard error what does not hold there.\n\n\
             Example: rcap export --to compose chown,net_raw\n         \
             rcap export --to systemd --from compose.yaml:web",
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
             capsh, setpriv or json",
        )
}

/// Settings for the user, if the format of `--to` can name one like this.
pub(super) fn expressible(
    matches: &ArgMatches,
    user: Option<User>,
) -> Result<Settings, SettingsError> {
    let settings = Settings::default().for_user(user);
    if let Some(format) = matches.get_one::<Format>("to") {
        format.write(&settings)?;
    }
    Ok(settings)
}

/// The settings, behind an empty line, if `--to` asks for them; and what does not hold there.
pub(super) fn append(
    matches: &ArgMatches,
    settings: &Settings,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(format) = matches.get_one::<Format>("to") else { return Ok(()) };
    match format.write(settings) {
        Ok(text) => writeln!(out, "\n{text}")?,
        Err(err) => return writeln!(out, "\n({}.)", Escaped(chain(&err).as_bytes())),
    }
    format.caveat(settings).map_or(Ok(()), |words| writeln!(out, "\n({words}.)"))
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let sets = matches.get_many::<CapSet>("CAPS").into_iter().flatten();
    let caps = sets.fold(CapSet::empty(), |all, set| all | *set);
    let user = matches.get_one::<User>("user");
    let Some(format) = matches.get_one::<Format>("to") else { return Ok(Exit::USAGE) };
    let sources = match matches.get_one::<String>("from") {
        None => Ok(vec![Settings::new(caps)]),
        Some(from) => source::all(from, io.input).map_err(|err| err.to_string()),
    };
    // All of them, or nothing is printed.
    let written = sources.and_then(|sources| {
        let several = sources.len() > 1;
        let write = |settings: Settings| {
            let user = user.or(settings.user.as_ref()).cloned();
            let settings = settings.for_user(user);
            let text = format.write(&settings).map_err(|err| chain(&err))?;
            let caveat = format.caveat(&settings);
            Ok((settings.name.filter(|_| several), text, caveat))
        };
        sources.into_iter().map(write).collect::<Result<Vec<_>, String>>()
    });
    let written = match written {
        Ok(written) => written,
        Err(words) => {
            io.complain_in_words("rcap export", &words)?;
            return Ok(Exit::FAILURE);
        }
    };
    for (nth, (name, text, caveat)) in written.iter().enumerate() {
        if let Some(name) = name {
            let empty = if nth > 0 { "\n" } else { "" };
            writeln!(io.out, "{empty}# {}", Escaped(name.as_bytes()))?;
        }
        writeln!(io.out, "{text}")?;
        if let Some(words) = caveat {
            io.out.flush()?;
            io.complain_in_words("rcap export", words)?;
        }
    }
    Ok(Exit::SUCCESS)
}

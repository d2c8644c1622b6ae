//! `rcap export`: capabilities in the words of the system that takes them.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Escaped, Exit, Io, chain, decode::a_set, source};
use rcap::{
    Cap, CapSet,
    settings::{
        self, Context, Engine, Format, Settings, SettingsError, Target, Topic, User, Written,
    },
};

pub(crate) fn command() -> Command {
    let value = |id: &'static str, name: &'static str| Arg::new(id).long(id).value_name(name);
    Command::new("export")
        .about("Write the settings that give a program these capabilities, ready to paste")
        .override_usage("rcap export --to FORMAT [--user USER] [CAPS]...")
        .args([
            to_arg().required(true),
            value("from", "SOURCE")
                .allow_hyphen_values(true)
                .conflicts_with("CAPS")
                .help(source::FORMS),
            value("user", "USER")
                .value_parser(|text: &str| text.parse::<User>())
                .help("For a user, by name or number, with :GROUP if need be; else for root"),
            engine_arg(),
            value("service", "NAME").help("The service that compose-override changes"),
            Arg::new("CAPS")
                .num_args(0..)
                .value_parser(a_set)
                .help("Names with commas, or a mask; none if there are none"),
        ])
        .after_help(
            "The settings are on standard output. Remarks, and what the format cannot express, are \
             on standard error.\n\n\
             Example: rcap export --to compose chown,net_raw\n         \
             rcap export --to systemd --user 1000 --from compose.yaml:web",
        )
}

/// The option that names engines and their versions.
pub(super) fn engine_arg() -> Arg {
    Arg::new("engine")
        .long("engine")
        .value_name("ENGINE")
        .action(ArgAction::Append)
        .value_parser(|text: &str| text.parse::<Engine>())
        .help(
            "The engine that reads the settings, as NAME or NAME@VERSION, such as docker@20.10 [default: the newest known]",
        )
}

/// The engines that are named.
pub(super) fn engines(matches: &ArgMatches) -> Vec<Engine> {
    matches.get_many::<Engine>("engine").into_iter().flatten().cloned().collect()
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
            "Write the settings for docker, podman, compose, compose-override, kubernetes, \
             quadlet, label, oci, systemd, setcap, capsh, setpriv or json",
        )
}

/// Settings that grant these capabilities to the user, if there is one.
fn requested(caps: CapSet, user: Option<&User>) -> Settings {
    let settings = Settings::new(caps);
    match user {
        Some(user) => settings.for_user(user.clone()),
        None => settings,
    }
}

/// Whether the format of `--to` can name this user.
pub(super) fn check(matches: &ArgMatches, user: Option<&User>) -> Result<(), SettingsError> {
    let format = matches.get_one::<Format>("to");
    // Any capability that every format takes.
    let settings = requested(Cap::CHOWN.into(), user);
    format.map_or(Ok(()), |format| format.write(&settings).map(|_| ()))
}

/// The settings, after an empty line, if `--to` asks for them; and what does not hold there.
pub(super) fn append(
    matches: &ArgMatches,
    caps: CapSet,
    user: Option<&User>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(format) = matches.get_one::<Format>("to") else { return Ok(()) };
    match format.export(&requested(caps, user), &Target::default()) {
        Ok(written) => {
            writeln!(out, "\n{}", written.text)?;
            written.caveats.iter().try_for_each(|words| writeln!(out, "\n({words}.)"))
        }
        Err(err) => writeln!(out, "\n({}.)", Escaped(chain(&err).as_bytes())),
    }
}

/// One of the sources in the format.
struct Part {
    name: Option<String>,
    written: Written,
    remarks: Vec<String>,
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let Some(format) = matches.get_one::<Format>("to") else { return Ok(Exit::USAGE) };
    // All of them, or nothing is printed.
    let parts = subjects(&matches, io.input).and_then(|subjects| {
        if *format == Format::Json {
            let text = settings::to_json(&subjects);
            let remarks = subjects.iter().flat_map(remarks).collect();
            let mut written = Written::default();
            written.text = text;
            return Ok(vec![Part { name: None, written, remarks }]);
        }
        let several = subjects.len() > 1;
        subjects.iter().map(|one| part(&matches, *format, one, several)).collect()
    });
    let parts = match parts {
        Ok(parts) => parts,
        Err(words) => {
            io.complain_in_words("rcap export", &words)?;
            return Ok(Exit::FAILURE);
        }
    };
    for (nth, part) in parts.iter().enumerate() {
        if let Some(name) = &part.name {
            let empty = if nth > 0 { "\n" } else { "" };
            writeln!(io.out, "{empty}# {}", Escaped(name.as_bytes()))?;
        }
        writeln!(io.out, "{}", part.written.text)?;
        io.out.flush()?;
        for words in part.remarks.iter().chain(&part.written.caveats) {
            io.complain_in_words("rcap export", words)?;
        }
    }
    Ok(Exit::SUCCESS)
}

/// The settings that are to be written.
fn subjects(matches: &ArgMatches, stdin: &mut dyn io::Read) -> Result<Vec<Settings>, String> {
    let user = matches.get_one::<User>("user");
    let engines = engines(matches);
    let Some(from) = matches.get_one::<String>("from") else {
        let sets = matches.get_many::<CapSet>("CAPS").into_iter().flatten();
        let caps = sets.fold(CapSet::empty(), |all, set| all | *set);
        return Ok(vec![requested(caps, user)]);
    };
    let mut context = Context::default();
    context.engines = &engines;
    let subjects = source::all(from, &context, stdin).map_err(|err| err.to_string())?;
    let for_user = |settings: Settings| match user {
        Some(user) => settings.for_user(user.clone()),
        None => settings,
    };
    Ok(subjects.into_iter().map(for_user).collect())
}

fn part(
    matches: &ArgMatches,
    format: Format,
    settings: &Settings,
    several: bool,
) -> Result<Part, String> {
    let mut target = Target::default();
    let engines = engines(matches);
    target.engine = engines.into_iter().find(|engine| format.engines().contains(&engine.kind()));
    target.service = matches.get_one::<String>("service").or(settings.name.as_ref()).cloned();
    let name = settings.name.clone();
    let written = format.export(settings, &target).map_err(|err| match &name {
        Some(name) if several => format!("{name}: {}", chain(&err)),
        _ => chain(&err),
    })?;
    Ok(Part { remarks: remarks(settings).collect(), written, name: name.filter(|_| several) })
}

/// The remarks about a source, in words.
pub(super) fn remarks(settings: &Settings) -> impl Iterator<Item = String> {
    settings.notes.iter().map(|note| {
        let name = settings.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        match (&settings.engine, note.topic) {
            (Some(engine), Topic::Engine) => format!("{name}taken for {engine}: {}", note.text),
            _ => format!("{name}{}", note.text),
        }
    })
}

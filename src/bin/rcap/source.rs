//! Settings named by an argument: a file, words or a process.

use std::{fmt, fs::File, io::Read, path::Path};

mod engine;
mod files;
mod unit;

use super::{
    chain,
    input::{self, Unread},
};
use rcap::{
    Error,
    proc::Proc,
    settings::{self, Context, EngineKind, InputFormat, Settings, SettingsError, Source},
};

/// The description of a SOURCE in help texts.
pub(super) const FORMS: &str = "A profile such as docker; a mask or names; options or a command \
     of docker, podman, nerdctl, setpriv, capsh or setcap; pid:N, unit:NAME, container:NAME or \
     image:NAME; or the path of a Compose file, a Kubernetes manifest, an OCI config.json, a unit \
     of systemd, a Quadlet, the output of `docker inspect`, `systemctl show` or rcap's --json, a \
     directory of them, or - for standard input; FILE:NAME is one of several services";

/// The error of missing settings, with the argument or path that it is about.
#[derive(Debug)]
pub(super) struct NotFound {
    subject: String,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Settings(SettingsError),
    Process(Error),
    Unread(Unread),
    /// Both `FILE:NAME` and this `FILE` are files.
    TwoFiles(String),
    /// Several services with these names, where one is needed.
    Several(Vec<String>),
}

impl NotFound {
    /// Returns whether there is no such file.
    fn is_missing(&self) -> bool {
        matches!(&self.reason, Reason::Unread(err) if err.is_missing())
    }

    /// Returns whether the text has the structure of no format.
    fn is_of_no_format(&self) -> bool {
        use SettingsError::{Empty, NoServiceSection, NotFormat, Syntax, Unrecognized};
        let Reason::Settings(err) = &self.reason else { return false };
        let is_words = matches!(err, SettingsError::UnknownCap(_) | SettingsError::Parse(_));
        is_words
            || matches!(
                err,
                Empty | NoServiceSection | NotFormat { .. } | Syntax { .. } | Unrecognized
            )
    }

    fn new(subject: &str, reason: impl Into<Reason>) -> NotFound {
        NotFound { subject: subject.to_owned(), reason: reason.into() }
    }
}

impl From<SettingsError> for Reason {
    fn from(err: SettingsError) -> Reason {
        Reason::Settings(err)
    }
}

impl From<Unread> for Reason {
    fn from(err: Unread) -> Reason {
        Reason::Unread(err)
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match &self.reason {
            Reason::Settings(err @ SettingsError::UnknownCap(_))
                if !subject
                    .contains(|char: char| !char.is_alphanumeric() && !"._-".contains(char)) =>
            {
                write!(f, "{subject}: {}; it is not a file or a profile either", chain(err))
            }
            Reason::Settings(err) => write!(f, "{subject}: {}", chain(err)),
            Reason::Process(err) => write!(f, "{subject}: {}", chain(err)),
            Reason::Unread(err) => write!(f, "{subject}: {err}"),
            Reason::TwoFiles(path) => write!(
                f,
                "{subject}: {path} is a file too; give the one that is meant as - or -:NAME"
            ),
            Reason::Several(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("{subject}:{name}")).collect();
                write!(f, "{subject}: it has several; name one: {}", names.join(", "))
            }
        }
    }
}

impl std::error::Error for NotFound {}

/// Returns the settings that an argument names, which must be those of one program.
pub(super) fn one(
    argument: &str,
    context: &Context<'_>,
    stdin: &mut dyn Read,
) -> Result<Settings, NotFound> {
    let mut all = all(argument, context, stdin)?;
    match (all.pop(), all.is_empty()) {
        (Some(settings), true) => Ok(settings),
        (last, _) => {
            let names = all.into_iter().chain(last).filter_map(|settings| settings.name).collect();
            Err(NotFound::new(argument, Reason::Several(names)))
        }
    }
}

/// Returns all settings that an argument names, at least one.
pub(super) fn all(
    argument: &str,
    context: &Context<'_>,
    stdin: &mut dyn Read,
) -> Result<Vec<Settings>, NotFound> {
    let in_it = |err: SettingsError| NotFound::new(argument, err);
    let found = match Source::parse(argument, context).map_err(in_it)? {
        Source::Words(settings) => return Ok(vec![settings]),
        Source::Process(pid) => {
            let status = Proc::of_namespace().and_then(|proc| proc.status(pid));
            let status = status.map_err(|err| NotFound::new(argument, Reason::Process(err)))?;
            let mut settings = Settings::from(&status);
            settings.command = command_line(pid);
            return Ok(vec![settings]);
        }
        Source::Unit(name) => match read_unit(name, context) {
            // A file in this directory can be one too.
            Err(err) if err.is_missing() && Path::new(name).is_file() => {
                let format = Some(InputFormat::Unit);
                return read_file(argument, format, name, None, context, stdin);
            }
            read => read?,
        },
        Source::Container(name) => read_described("container", name, context)?,
        Source::Image(name) => read_described("image", name, context)?,
        Source::File { format, path, not_words, .. } => {
            return read_file(argument, format, path, not_words, context, stdin);
        }
    };
    settings::select(found, None).map_err(in_it)
}

/// Returns the command line of a process, empty if it may not be read.
fn command_line(pid: u32) -> Vec<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = words.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Reads a unit by its name, by the rules of this system's systemd.
fn read_unit(name: &str, context: &Context<'_>) -> Result<Vec<Settings>, NotFound> {
    let name = unit::full_name(name);
    let directories = unit::DIRECTORIES.map(Path::new);
    let text = unit::text(&name, &directories).map_err(|err| NotFound::new(&name, err))?;
    let mut engines = context.engines.to_vec();
    if !engines.iter().any(|engine| engine.kind() == EngineKind::Systemd) {
        engines.extend(engine::systemd());
    }
    let mut context = *context;
    context.engines = &engines;
    context.unit = Some(&name);
    let read = settings::read_in(&text, Some(InputFormat::Unit), &context);
    read.map_err(|err| NotFound::new(&name, err))
}

/// Reads a container or an image as its engine describes it.
fn read_described(
    kind: &str,
    name: &str,
    context: &Context<'_>,
) -> Result<Vec<Settings>, NotFound> {
    let described = engine::describe(kind, name, context.engines);
    let described = described.map_err(|err| NotFound::new(name, err))?;
    let mut engines = context.engines.to_vec();
    if engines.is_empty() {
        engines.extend(described.engine);
    }
    let mut context = *context;
    context.engines = &engines;
    let read = settings::read_in(&described.text, Some(InputFormat::Inspect), &context);
    read.map_err(|err| NotFound::new(name, err))
}

fn read_file(
    argument: &str,
    format: Option<InputFormat>,
    path: &str,
    not_words: Option<SettingsError>,
    context: &Context<'_>,
    stdin: &mut dyn Read,
) -> Result<Vec<Settings>, NotFound> {
    if Path::new(path).is_dir() && input::open_status(Path::new(path)).is_err() {
        let directory = Path::new(path);
        let all = match (format, files::compose_file(directory)) {
            (Some(InputFormat::Compose), Some(file)) => {
                let text = input::open(&file).and_then(|mut file| input::text(&mut file));
                let text = text.map_err(|err| NotFound::new(path, err))?;
                files::read(&file, text, format, context)?
            }
            _ => files::read_directory(directory, context)?,
        };
        return settings::select(all, None).map_err(|err| NotFound::new(path, err));
    }
    let (path, name, text) =
        find(path, stdin).map_err(|missing| match (&missing.reason, not_words) {
            // A word that is not a path is a mistyped name.
            (Reason::Unread(err), Some(not_words)) if err.is_missing() => {
                NotFound::new(argument, not_words)
            }
            _ => missing,
        })?;
    let text = text.map_err(|err| NotFound::new(path, err))?;
    let all = files::read(Path::new(path), text, format, context)?;
    settings::select(all, name).map_err(|err| {
        NotFound::new(if err == SettingsError::NoService { argument } else { path }, err)
    })
}

/// A path, the name of a service after it, and the text of the file.
type Named<'a> = (&'a str, Option<&'a str>, Result<String, Unread>);

/// Opens the file that an argument names: `FILE` or `FILE:NAME`, where both can have colons.
fn find<'a>(argument: &'a str, stdin: &mut dyn Read) -> Result<Named<'a>, NotFound> {
    let split = argument.split_once(':').map(|(path, name)| (path, Some(name)));
    if argument == "-" || matches!(split, Some(("-", _))) {
        let (path, name) = split.unwrap_or((argument, None));
        return Ok((path, name, input::text(stdin)));
    }
    // All are opened: whichever is read is the one that was found.
    let places = argument.match_indices(':').map(|(at, _)| at);
    let parts = places.map(|at| (&argument[..at], Some(&argument[at + 1..])));
    let all = std::iter::once((argument, None)).chain(parts);
    let mut found: Vec<_> =
        all.map(|(path, name)| (path, name, files::open(Path::new(path)))).collect();
    let read = found.iter().filter(|(_, _, file)| file.is_ok()).map(|(path, ..)| *path);
    let read: Vec<&str> = read.collect();
    if let [_, other, ..] = &*read {
        return Err(NotFound::new(argument, Reason::TwoFiles((*other).to_owned())));
    }
    let is_that = |(_, _, file): &(&str, Option<&str>, Result<File, Unread>)| !matches!(file, Err(err) if err.is_missing());
    let at = found.iter().position(is_that).unwrap_or_default();
    let (path, name, file) = found.swap_remove(at);
    match file {
        Ok(mut file) => Ok((path, name, input::text(&mut file))),
        Err(err) => Err(NotFound::new(path, err)),
    }
}

#[cfg(test)]
mod tests;

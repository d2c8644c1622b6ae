//! Settings named by an argument: a file, words or a process.

use std::{fmt, fs::File, io::Read, path::Path};

use super::{
    chain,
    input::{self, Unread},
};
use rcap::{
    Error,
    proc::Proc,
    settings::{self, Context, Settings, SettingsError, Source},
};

/// The description of a SOURCE in help texts.
pub(super) const FORMS: &str = "A profile such as docker; a mask or names; options or a command \
     of docker, podman, setpriv, capsh or setcap; pid:N; or the path of a Compose file, a \
     Kubernetes manifest, an OCI config.json, a unit of systemd, the output of `docker inspect` \
     or of rcap's --json, or - for standard input; FILE:NAME is one of several services";

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
    let (format, path, not_words) = match Source::parse(argument, context).map_err(in_it)? {
        Source::Words(settings) => return Ok(vec![settings]),
        Source::Process(pid) => {
            let status = Proc::of_namespace().and_then(|proc| proc.status(pid));
            let status = status.map_err(|err| NotFound::new(argument, Reason::Process(err)))?;
            return Ok(vec![(&status).into()]);
        }
        Source::File { format, path, not_words, .. } => (format, path, not_words),
    };
    let (path, name, text) =
        find(path, stdin).map_err(|missing| match (&missing.reason, not_words) {
            // A word that is not a path is a mistyped name.
            (Reason::Unread(err), Some(not_words)) if err.is_missing() => in_it(not_words),
            _ => missing,
        })?;
    let text = text.map_err(|err| NotFound::new(path, err))?;
    let all = settings::read_in(&text, format, context).map_err(|err| NotFound::new(path, err))?;
    settings::select(all, name).map_err(|err| {
        NotFound::new(if err == SettingsError::NoService { argument } else { path }, err)
    })
}

/// A path, the name of a service after it, and the text of the file.
type Named<'a> = (&'a str, Option<&'a str>, Result<String, Unread>);

/// Opens the file that an argument names: `FILE` or `FILE:NAME`.
fn find<'a>(argument: &'a str, stdin: &mut dyn Read) -> Result<Named<'a>, NotFound> {
    let split = argument.rsplit_once(':').map(|(path, name)| (path, Some(name)));
    if argument == "-" || matches!(split, Some(("-", _))) {
        let (path, name) = split.unwrap_or((argument, None));
        return Ok((path, name, input::text(stdin)));
    }
    // Both are opened, and the one that was found is read.
    let whole = open(argument);
    let part = split.map(|(path, name)| (path, name, open(path)));
    match (whole, part) {
        (Ok(_), Some((path, _, Ok(_)))) => {
            Err(NotFound::new(argument, Reason::TwoFiles(path.to_owned())))
        }
        (Ok(mut file), _) => Ok((argument, None, input::text(&mut file))),
        (Err(err), Some((path, name, Ok(mut file)))) if err.is_missing() => {
            Ok((path, name, input::text(&mut file)))
        }
        (Err(err), Some((path, _, Err(part)))) if err.is_missing() && !part.is_missing() => {
            Err(NotFound::new(path, part))
        }
        (Err(err), _) => Err(NotFound::new(argument, err)),
    }
}

/// Opens a file, or the status in a directory such as /proc/1.
fn open(path: &str) -> Result<File, Unread> {
    let path = Path::new(path);
    input::open(path).or_else(|err| input::open_status(path).map_err(|_| err))
}

#[cfg(test)]
mod tests;

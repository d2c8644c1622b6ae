//! The error of reading and writing settings.

use std::{error, fmt};

use super::{Engine, EngineKind, Format, InputFormat, Who};
use crate::{Cap, ParseError, UnknownCap};

/// Settings that were not read or written.
///
/// A [`Within`](SettingsError::Within) names the part of a text that is wrong; the reason is its
/// [`source`](error::Error::source) and not part of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// The format cannot name this user.
    #[non_exhaustive]
    Inexpressible {
        /// The format.
        format: Format,
        /// The user.
        user: Who,
        /// A description of the users that the format takes.
        needs: &'static str,
    },
    /// The text would grant more than the source in this set, so it is not written.
    #[non_exhaustive]
    Wider {
        /// The format.
        format: Format,
        /// The name of the set.
        set: &'static str,
    },
    /// A Compose override file, merged with the other file, would grant more than the source in
    /// this set.
    #[non_exhaustive]
    MergedWider {
        /// The name of the set.
        set: &'static str,
    },
    /// The source sets no_new_privs, and the format cannot.
    #[non_exhaustive]
    NoNewPrivsLost {
        /// The format.
        format: Format,
    },
    /// Podman makes a capability that is added ambient for a non-root user, and the image may name
    /// one.
    #[non_exhaustive]
    NeedsUser {
        /// The capability.
        cap: Cap,
    },
    /// The engine has no name for a capability that the settings name.
    #[non_exhaustive]
    UnknownToEngine {
        /// The capability.
        cap: Cap,
        /// The engine.
        engine: Engine,
    },
    /// The format needs the name of a service.
    NeedsService,
    /// A Quadlet or an image's label cannot express the settings.
    #[non_exhaustive]
    Unwritable {
        /// The format.
        format: Format,
        /// The reason.
        reason: &'static str,
    },
    /// No engine has this name, or it is not followed by a version.
    #[non_exhaustive]
    UnknownEngine {
        /// The text.
        text: Box<str>,
    },
    /// A part of the settings, such as a service, is wrong.
    #[non_exhaustive]
    Within {
        /// The part.
        subject: Box<str>,
        /// The reason.
        source: Box<SettingsError>,
    },
    /// A value is not one that its place takes.
    #[non_exhaustive]
    Value {
        /// The value, as the text has it.
        value: Box<str>,
        /// The reason.
        reason: &'static str,
    },
    /// An option is not known, so that its value, if it has one, is not known either.
    #[non_exhaustive]
    UnknownOption {
        /// The option, with its dashes.
        option: Box<str>,
        /// The name of the option that is spelled most like it, without dashes.
        meant: Option<&'static str>,
    },
    /// No capability has this name.
    UnknownCap(UnknownCap),
    /// A user, a group or capabilities are not in their grammar.
    Parse(ParseError),
    /// The text is empty.
    Empty,
    /// The text looks like YAML or JSON and is not well-formed, or is too large when expanded.
    #[non_exhaustive]
    Syntax {
        /// The message of the parser.
        message: Box<str>,
    },
    /// The text has the structure of no format.
    Unrecognized,
    /// The text has the structure of several formats.
    #[non_exhaustive]
    Ambiguous {
        /// The formats.
        formats: Vec<InputFormat>,
    },
    /// The text does not have the structure of the format that was asked for.
    #[non_exhaustive]
    NotFormat {
        /// The format.
        format: InputFormat,
        /// The message of the parser, for a text that is neither JSON nor YAML.
        syntax: Option<Box<str>>,
    },
    /// One of several documents in a text is of another format.
    #[non_exhaustive]
    MixedDocuments {
        /// The number of the document, from 1.
        document: usize,
    },
    /// A unit of systemd has no section `[Service]`.
    NoServiceSection,
    /// The settings have neither a service nor a container.
    NoService,
    /// The settings have no service or container with this name.
    #[non_exhaustive]
    NoServiceNamed {
        /// The name.
        name: Box<str>,
    },
    /// The settings have several services or containers with this name.
    #[non_exhaustive]
    SameName {
        /// The name.
        name: Box<str>,
        /// Their unambiguous names.
        names: Vec<String>,
    },
    /// Another file that the text refers to was not read.
    #[non_exhaustive]
    Other {
        /// The path.
        path: Box<str>,
        /// The reason.
        message: Box<str>,
    },
    /// A process is not named by its number.
    NotProcessId,
}

impl SettingsError {
    pub(super) fn inexpressible(format: Format, user: &Who, needs: &'static str) -> SettingsError {
        SettingsError::Inexpressible { format, user: user.clone(), needs }
    }

    #[cfg(feature = "settings")]
    pub(crate) fn value(value: impl fmt::Display, reason: &'static str) -> SettingsError {
        SettingsError::Value { value: value.to_string().into(), reason }
    }

    /// Returns the error of a part of the settings.
    #[cfg(feature = "settings")]
    pub(super) fn within(self, subject: &str) -> SettingsError {
        SettingsError::Within { subject: subject.into(), source: Box::new(self) }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Inexpressible { format, user, needs } => match user.user() {
                Some(user) => write!(f, "user {user}: {} needs {needs}", format.name()),
                None => write!(f, "{} needs {needs}; name one (--user USER)", format.name()),
            },
            SettingsError::Wider { format, set } => write!(
                f,
                "{} would grant more than the source: its {set} set cannot be limited there",
                format.name()
            ),
            SettingsError::MergedWider { set } => write!(
                f,
                "the merged service would have more than the source in its {set} set: Compose \
                 keeps the lists of the other file; change that file"
            ),
            SettingsError::NoNewPrivsLost { format } => {
                write!(f, "{} cannot set no-new-privs, which the source has", format.name())
            }
            SettingsError::NeedsUser { cap } => write!(
                f,
                "{cap} would be ambient if the image's user is not root: name the user (--user USER)"
            ),
            SettingsError::UnknownToEngine { cap, engine } => {
                write!(f, "{engine} does not know {cap}, and refuses it")
            }
            SettingsError::NeedsService => f.write_str("name the service (--service NAME)"),
            SettingsError::Unwritable { format, reason } => {
                write!(f, "{}: {reason}", format.name())
            }
            SettingsError::UnknownEngine { text } => write!(
                f,
                "{text:?} is not NAME or NAME@VERSION, with one of {}",
                EngineKind::ALL.map(EngineKind::name).join(", ")
            ),
            SettingsError::Within { subject, .. } => f.write_str(subject),
            SettingsError::Value { value, reason } => write!(f, "{value} {reason}"),
            SettingsError::UnknownOption { option, meant } => {
                write!(f, "{option} is not a known option, and may take the next word")?;
                meant.map_or(Ok(()), |meant| write!(f, "; did you mean --{meant}?"))
            }
            SettingsError::UnknownCap(err) => err.fmt(f),
            SettingsError::Parse(err) => err.fmt(f),
            SettingsError::Empty => f.write_str("is empty"),
            SettingsError::Syntax { message } => f.write_str(message),
            SettingsError::Unrecognized => {
                let names = InputFormat::ALL.map(InputFormat::description);
                write!(f, "unknown format; not one of: {}", names.join(", "))
            }
            SettingsError::Ambiguous { formats } => write_ambiguous(f, formats),
            SettingsError::NotFormat { format, syntax } => {
                write!(f, "is not {}", format.description())?;
                syntax.as_ref().map_or(Ok(()), |syntax| write!(f, " ({syntax})"))
            }
            SettingsError::MixedDocuments { document } => {
                write!(f, "document {document} is of another format")
            }
            SettingsError::NoServiceSection => f.write_str("has no [Service] section"),
            SettingsError::NoService => f.write_str("no service or container in it"),
            SettingsError::NoServiceNamed { name } => {
                write!(f, "no service or container {name} in it")
            }
            SettingsError::SameName { name, names } => {
                write!(f, "{name} is ambiguous: it can be {}", names.join(", "))
            }
            SettingsError::Other { path, message } => write!(f, "{path}: {message}"),
            SettingsError::NotProcessId => f.write_str("a process is named by its number"),
        }
    }
}

fn write_ambiguous(f: &mut fmt::Formatter<'_>, formats: &[InputFormat]) -> fmt::Result {
    let names: Vec<&str> = formats.iter().map(|format| format.description()).collect();
    let prefixes: Vec<String> =
        formats.iter().map(|format| format!("{}:FILE", format.name())).collect();
    let (names, prefixes) = (names.join(" and "), prefixes.join(" or "));
    write!(f, "is ambiguous: {names}; name its format: {prefixes}")
}

impl error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            SettingsError::Within { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl From<UnknownCap> for SettingsError {
    fn from(err: UnknownCap) -> SettingsError {
        SettingsError::UnknownCap(err)
    }
}

impl From<ParseError> for SettingsError {
    fn from(err: ParseError) -> SettingsError {
        SettingsError::Parse(err)
    }
}

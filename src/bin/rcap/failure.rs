//! The errors of the program and their exit statuses.

use std::{error::Error, fmt, io};

use rcap::{
    CapSet, Op,
    settings::{Profile, SettingsError, User},
    tools::{Exit, Mistake, chain},
};

use crate::{input::Unread, source::NotFound};

/// The failure of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Standard output or standard error cannot be written.
    Output(io::Error),
    Usage(Mistake),
    Library(rcap::Error),
    Settings(SettingsError),
    Source(NotFound),
    /// A file or standard input cannot be read.
    Input {
        name: String,
        reason: Unread,
    },
    /// A file or another object that the user named is unsuitable.
    Subject {
        name: String,
        reason: Box<dyn Error + Send + Sync>,
    },
    /// A program cannot be executed because its file has capabilities that are missing.
    NotExecuted {
        source: rcap::Error,
        caps: rcap::CapState,
    },
    /// A profile forbids adding these capabilities.
    NotAddable {
        profile: Profile,
        caps: CapSet,
    },
    /// A profile requires a non-root user.
    RootUser {
        profile: Profile,
    },
    /// This process cannot grant capabilities that it lacks.
    NotHeld {
        caps: CapSet,
        set: &'static str,
    },
    /// A numeric user is not in the user database, so the group is unknown.
    NoGroup {
        user: User,
    },
    /// A program got other capabilities than intended.
    Differs {
        has: String,
        want: String,
    },
    /// A scan is incomplete, so it may have missed findings.
    Incomplete,
    /// The answer is negative, for this reason.
    No(String),
}

impl Failure {
    /// Returns the error of a file or another object that the user named.
    pub(crate) fn subject(
        name: impl fmt::Display,
        reason: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Failure {
        Failure::Subject { name: name.to_string(), reason: reason.into() }
    }

    /// Returns the exit status, which is `own` for failures of the command itself.
    pub(crate) fn exit(&self, own: Exit) -> Exit {
        match self {
            Failure::No(_) => Exit::NO,
            Failure::Library(err) | Failure::NotExecuted { source: err, .. } => match err {
                rcap::Error::Os { op: Op::Execute, source, .. } if own == Exit::OWN_FAILURE => {
                    let is_missing = source.kind() == io::ErrorKind::NotFound;
                    if is_missing { Exit::NOT_FOUND } else { Exit::CANNOT_EXECUTE }
                }
                _ => own,
            },
            _ => own,
        }
    }

    /// Returns a hint, if there is one.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let Failure::Library(err @ rcap::Error::Os { op, .. }) = self else { return None };
        let is_tracing =
            matches!(op, Op::OpenTracing | Op::MakeTraceInstance | Op::SetUpTracing | Op::LoadBpf);
        (is_tracing && err.kind() == io::ErrorKind::PermissionDenied).then_some(
            "Recording requires root: CAP_SYS_ADMIN in the initial user namespace. \
             `rcap explain` and `rcap suggest` describe capabilities without it.",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Output(err) => write!(f, "cannot write: {}", chain(err)),
            Failure::Usage(mistake) => mistake.fmt(f),
            Failure::Library(err) => f.write_str(&chain(err)),
            Failure::Settings(err) => f.write_str(&chain(err)),
            Failure::Source(err) => err.fmt(f),
            Failure::Input { name, reason } => write!(f, "{name}: {reason}"),
            Failure::Subject { name, reason } => write!(f, "{name}: {}", chain(&**reason)),
            Failure::NotExecuted { source, caps } => {
                write!(f, "{}, as its file has {caps}", chain(source))
            }
            Failure::NotAddable { profile, caps } => {
                write!(f, "profile {} does not allow adding {caps}", profile.name())
            }
            Failure::RootUser { profile } => write!(
                f,
                "profile {} requires a non-root user and no_new_privs: add --user",
                profile.name()
            ),
            Failure::NotHeld { caps, set } => write!(f, "cannot grant {caps}: not in your {set}"),
            Failure::NoGroup { user } => write!(
                f,
                "{user}: not in the user database: add a group, as in --user {user}:GROUP"
            ),
            Failure::Differs { has, want } => {
                write!(f, "the program was killed: it had {has}, not {want}")
            }
            Failure::Incomplete => {
                f.write_str("the scan is not complete, so --fail-on cannot pass")
            }
            Failure::No(words) => f.write_str(words),
        }
    }
}

impl Error for Failure {}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Failure {
        Failure::Output(err)
    }
}

impl From<Mistake> for Failure {
    fn from(err: Mistake) -> Failure {
        Failure::Usage(err)
    }
}

impl From<rcap::Error> for Failure {
    fn from(err: rcap::Error) -> Failure {
        Failure::Library(err)
    }
}

impl From<rcap::ParseError> for Failure {
    fn from(err: rcap::ParseError) -> Failure {
        Failure::Library(err.into())
    }
}

impl From<SettingsError> for Failure {
    fn from(err: SettingsError) -> Failure {
        Failure::Settings(err)
    }
}

impl From<NotFound> for Failure {
    fn from(err: NotFound) -> Failure {
        Failure::Source(err)
    }
}

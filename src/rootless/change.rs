//! The changes with which a container or a service can do without capabilities.

use std::fmt;

use crate::Cap;

/// A change of files or settings, in the place of a capability.
///
/// The order is that of preference: those that change no files come first, and those that leave
/// out a part of an image or keep a capability come last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Change {
    /// A tmpfs of the user on a directory for runtime data.
    Tmpfs {
        /// The directory.
        path: String,
    },
    /// A kernel parameter of the container.
    Sysctl {
        /// The name.
        name: &'static str,
        /// The value.
        value: &'static str,
    },
    /// Membership of a group that has access to files.
    Group {
        /// The name.
        name: String,
    },
    /// A file or directory that the user owns.
    Own {
        /// The path.
        path: String,
        /// Whether everything below it is included.
        is_recursive: bool,
    },
    /// A file or directory that is created, and that the user owns.
    Create {
        /// The path.
        path: String,
        /// Whether it is a directory.
        is_directory: bool,
    },
    /// A volume whose files the user owns.
    Volume {
        /// The directory on which it is mounted.
        path: String,
        /// The name of an existing volume.
        name: Option<String>,
    },
    /// An environment variable that the entrypoint of the image reads.
    Variable {
        /// The name.
        name: String,
    },
    /// The command of the image without its entrypoint.
    NoEntrypoint,
    /// A capability of one program, which remains.
    Capability {
        /// The capability.
        cap: Cap,
        /// The path of the program.
        program: String,
    },
}

impl Change {
    /// The number of the port from which on every user can bind one.
    pub(crate) const PORTS: Change =
        Change::Sysctl { name: "net.ipv4.ip_unprivileged_port_start", value: "0" };
    /// The groups that can send ICMP echo requests.
    pub(super) const PING: Change =
        Change::Sysctl { name: "net.ipv4.ping_group_range", value: "0 2147483647" };

    /// Returns the name of the kind, as it is in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Change::Tmpfs { .. } => "tmpfs",
            Change::Sysctl { .. } => "sysctl",
            Change::Group { .. } => "group",
            Change::Own { .. } => "own",
            Change::Create { .. } => "create",
            Change::Volume { .. } => "volume",
            Change::Variable { .. } => "variable",
            Change::NoEntrypoint => "no-entrypoint",
            Change::Capability { .. } => "capability",
        }
    }

    /// Returns the file that the change is about.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Change::Tmpfs { path }
            | Change::Own { path, .. }
            | Change::Create { path, .. }
            | Change::Volume { path, .. }
            | Change::Capability { program: path, .. } => Some(path),
            Change::Sysctl { .. }
            | Change::Group { .. }
            | Change::Variable { .. }
            | Change::NoEntrypoint => None,
        }
    }

    /// Returns the capability that remains.
    pub(super) const fn cap(&self) -> Option<Cap> {
        if let Change::Capability { cap, .. } = self { Some(*cap) } else { None }
    }

    /// Returns whether the change leaves out a part of the image or keeps a capability. Such a change
    /// is only tried alone, when no other is left.
    pub(super) const fn is_drastic(&self) -> bool {
        matches!(self, Change::Variable { .. } | Change::NoEntrypoint | Change::Capability { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Tmpfs { path } => write!(f, "a tmpfs of the user on {path}"),
            Change::Sysctl { name, value } => write!(f, "{name}={value}"),
            Change::Group { name } => write!(f, "the user is in the group {name}"),
            Change::Own { path, is_recursive: false } => write!(f, "the user owns {path}"),
            Change::Own { path, is_recursive: true } => {
                write!(f, "the user owns {path} and everything below it")
            }
            Change::Create { path, is_directory } => {
                let noun = if *is_directory { "directory" } else { "file" };
                write!(f, "the {noun} {path} exists, and the user owns it")
            }
            Change::Volume { path, name: Some(name) } => {
                write!(f, "the user owns the files of the volume {name} on {path}")
            }
            Change::Volume { path, name: None } => {
                write!(f, "a volume whose files the user owns on {path}")
            }
            Change::Variable { name } => write!(f, "{name} is set, which the entrypoint reads"),
            Change::NoEntrypoint => f.write_str("the command runs without the image's entrypoint"),
            Change::Capability { cap, program } => write!(f, "{program} has {cap}"),
        }
    }
}

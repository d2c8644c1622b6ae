//! The error of reading saved capabilities.

use std::{error, ffi::OsString, fmt, path::PathBuf};

use super::TITLE;
use crate::{
    Error,
    scan::{DecodeError, encode},
};

/// The error for a text that is not one of saved capabilities.
#[derive(Debug)]
pub struct FormatError {
    /// The number of the line, from 1.
    pub(super) line: usize,
    pub(super) fault: Fault,
}

/// The reason for which a line cannot be understood.
#[derive(Debug)]
pub(super) enum Fault {
    /// The first line is not the title.
    Title,
    /// The path is not one word.
    Path(DecodeError),
    /// The path leads out of the root directory.
    Outside(OsString),
    /// The path is that of a directory.
    NotFile(OsString),
    /// An earlier line has the same path.
    SameFile(PathBuf),
    /// The value of a field is not of its kind.
    Value { value: String, kind: &'static str },
    /// The line has the field twice.
    SameField(String),
    /// The line ends before the capabilities.
    NoCaps,
    /// A root id stands beside `-`.
    RootIdAlone,
    /// A mode stands without an owner, or an owner without a mode.
    ModeOrOwnerAlone,
    /// The capabilities are not in their grammar, or a file cannot store them.
    Caps(Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Title => write!(f, "the first line must be {TITLE:?}"),
            Fault::Path(err) => err.fmt(f),
            Fault::Outside(path) => {
                write!(f, "{}: leads out of the root directory", encode(path))
            }
            Fault::NotFile(path) => write!(f, "{}: not the path of a file", encode(path)),
            Fault::SameFile(path) => write!(f, "{} is there twice", encode(path)),
            Fault::Value { value, kind } => write!(f, "{}: not {kind}", value.escape_debug()),
            Fault::SameField(field) => {
                write!(f, "{}: the field is there twice", field.escape_debug())
            }
            Fault::NoCaps => f.write_str("the capabilities are missing (- for none)"),
            Fault::RootIdAlone => f.write_str("a root id takes capabilities"),
            Fault::ModeOrOwnerAlone => f.write_str("mode= and owner= go together"),
            Fault::Caps(err) => err.fmt(f),
        }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl error::Error for FormatError {}

//! Capabilities of files as a text, in the manner of getfacl(1) and setfacl(1): saved, edited and
//! put back.
//!
//! ```text
//! # rcap save 1
//! usr/bin/ping cap_net_raw=ep
//! usr/bin/sudo mode=4755 owner=0:0 -
//! ```
//!
//! A line is a path below a root directory as one word, see [`encode`]; fields of a
//! key and a value; and the capabilities as setcap(8) reads them, `=` for an attribute without any
//! or `-` for none. Empty lines and lines that begin with `#` mean nothing.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::{decode, encode};
use crate::{CapSet, CapState, file::FileCaps};

mod error;
mod restore;
mod save;

use self::error::Fault;
pub use self::error::FormatError;
pub use restore::{Account, Failure, Options, Step, restore};
pub use save::{Saving, save};

/// The first line of the text.
const TITLE: &str = "# rcap save 1";

/// The saved capabilities of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The path below the root directory, without a slash before it.
    pub path: PathBuf,
    /// The capabilities.
    pub caps: Option<FileCaps>,
    /// The permission bits with the set-user-ID, set-group-ID and sticky bits, and the owner and
    /// the group for which they were saved.
    pub mode: Option<Mode>,
    /// The SHA-256 of the content.
    pub sha256: Option<[u8; 32]>,
}

/// A mode, and the user and the group that the file has to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mode {
    /// The bits, at most 07777.
    pub bits: u32,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// Returns the text of saved capabilities.
pub fn to_text(lines: &[Line]) -> String {
    let mut text = format!("{TITLE}\n");
    for line in lines {
        text.push_str(&line.to_text());
        text.push('\n');
    }
    text
}

/// Returns the lines of a text, where `supported` are the capabilities that `all` stands for.
///
/// # Errors
///
/// The first line that cannot be understood, that leads out of the root directory, or that names a
/// file a second time.
pub fn parse(text: &str, supported: CapSet) -> Result<Vec<Line>, FormatError> {
    let failed = |line: usize, fault| FormatError { line: line + 1, fault };
    if text.lines().next() != Some(TITLE) {
        return Err(failed(0, Fault::Title));
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut lines = Vec::new();
    for (number, text) in text.lines().enumerate() {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let line = Line::parse(text, supported).map_err(|fault| failed(number, fault))?;
        if !seen.insert(line.path.clone()) {
            return Err(failed(number, Fault::SameFile(line.path)));
        }
        lines.push(line);
    }
    Ok(lines)
}

impl Line {
    /// Returns a line for capabilities alone.
    pub fn new(path: impl Into<PathBuf>, caps: Option<FileCaps>) -> Line {
        Line { path: path.into(), caps, mode: None, sha256: None }
    }

    fn to_text(&self) -> String {
        let mut words = vec![word(&self.path)];
        if let Some(Mode { bits, uid, gid }) = self.mode {
            words.push(format!("mode={bits:04o} owner={uid}:{gid}"));
        }
        if let Some(sum) = self.sha256 {
            words.push(format!("sha256={}", hex(&sum)));
        }
        match self.caps {
            None => words.push("-".into()),
            Some(caps) => {
                words.extend(caps.rootid.map(|id| format!("rootid={id}")));
                // Each name is written out, because `all` differs between kernels.
                words.push(CapState::from(caps).to_text(CapSet::all()).to_string());
            }
        }
        words.join(" ")
    }

    fn parse(text: &str, supported: CapSet) -> Result<Line, Fault> {
        let mut words = text.split_whitespace();
        let path = decode(words.next().unwrap_or_default()).map_err(Fault::Path)?;
        let mut line = Line::new(inside(&path)?, None);
        let (mut mode, mut owner, mut rootid) = (None, None, None);
        let mut caps = Vec::new();
        for word in words {
            let field = word.split_once('=').filter(|_| caps.is_empty());
            let is_new = match field {
                Some(("mode", value)) => mode.replace(parse_mode(value)?).is_none(),
                Some(("owner", value)) => owner.replace(parse_owner(value)?).is_none(),
                Some(("rootid", value)) => {
                    let id = value.parse::<u32>().map_err(|_| not(value, "a root id"))?;
                    rootid.replace(id).is_none()
                }
                Some(("sha256", value)) => line.sha256.replace(parse_sha256(value)?).is_none(),
                _ => {
                    caps.push(word);
                    true
                }
            };
            if !is_new {
                return Err(Fault::SameField(word.to_owned()));
            }
        }
        line.caps = match (&caps[..], rootid) {
            ([], _) => return Err(Fault::NoCaps),
            (["-"], None) => None,
            (["-"], Some(_)) => return Err(Fault::RootIdAlone),
            (words, rootid) => {
                let state = CapState::parse(&words.join(" "), supported);
                let state = state.map_err(|err| Fault::Caps(err.into()))?;
                let caps = FileCaps::try_from(state).map_err(Fault::Caps)?;
                Some(FileCaps { rootid, ..caps })
            }
        };
        line.mode = match (mode, owner) {
            (Some(bits), Some((uid, gid))) => Some(Mode { bits, uid, gid }),
            (None, None) => None,
            _ => return Err(Fault::ModeOrOwnerAlone),
        };
        Ok(line)
    }
}

/// Returns a path as a word that is not taken for a comment.
fn word(path: &Path) -> String {
    let word = encode(path);
    match word.strip_prefix('#') {
        Some(rest) => format!("\\043{rest}"),
        None => word,
    }
}

/// Returns a path that stays below the root directory.
fn inside(path: &OsStr) -> Result<PathBuf, Fault> {
    let mut inside = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => inside.push(name),
            _ => return Err(Fault::Outside(path.to_owned())),
        }
    }
    if inside.as_os_str().is_empty() || path.as_bytes().ends_with(b"/") {
        return Err(Fault::NotFile(path.to_owned()));
    }
    Ok(inside)
}

/// Returns the fault of a value that is not of the kind of its field.
fn not(value: &str, kind: &'static str) -> Fault {
    Fault::Value { value: value.to_owned(), kind }
}

fn parse_mode(text: &str) -> Result<u32, Fault> {
    let is_octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| is_octal && *bits <= 0o7777);
    bits.ok_or_else(|| not(text, "an octal mode"))
}

fn parse_owner(text: &str) -> Result<(u32, u32), Fault> {
    let ids =
        text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    ids.ok_or_else(|| not(text, "UID:GID"))
}

fn parse_sha256(text: &str) -> Result<[u8; 32], Fault> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks_exact(2).map(pair).collect();
    let sum = bytes.filter(|_| text.len() == 64).and_then(|bytes| bytes.try_into().ok());
    sum.ok_or_else(|| not(text, "a SHA-256"))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
    bytes.iter().flat_map(digits).map(char::from).collect()
}

#[cfg(test)]
mod tests;

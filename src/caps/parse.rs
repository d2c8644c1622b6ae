//! The error type of every grammar in this module.

use std::{error, fmt};

use super::names;

/// The error of invalid text: its position, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    text: Box<str>,
    offset: usize,
    expected: &'static str,
}

impl ParseError {
    pub(crate) const CAPABILITY: &'static str =
        "a capability: a name such as cap_net_raw, or a number from 0 to 63";
    pub(crate) const MASK: &'static str = "a mask: hexadecimal digits for at most 64 bits";
    pub(crate) const SECUREBIT: &'static str =
        "securebits: a name such as noroot or noroot-locked, or a number";
    pub(crate) const MODE: &'static str = "a mode: NOPRIV, PURE1E_INIT, PURE1E or HYBRID";

    pub(crate) fn new(text: &str, offset: usize, expected: &'static str) -> ParseError {
        ParseError { text: text.into(), offset, expected }
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the offset of the first unexpected byte.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns a description of what was expected there.
    pub fn expected(&self) -> &'static str {
        self.expected
    }

    /// Returns the word in the place of a capability's name.
    fn word(&self) -> Option<&str> {
        let rest = self.text.get(self.offset..)?;
        let is_end = |char: char| !(char.is_alphanumeric() || char == '_');
        let word = rest.split(is_end).next().filter(|word| !word.is_empty())?;
        (self.expected == ParseError::CAPABILITY).then_some(word)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseError { text, offset, expected } = self;
        if let Some(word) = self.word() {
            write!(f, "unknown capability {word:?}")?;
            return match names::alike(word) {
                Some(name) => write!(f, "; did you mean {name}?"),
                None => write!(f, " at byte {offset} of {text:?}"),
            };
        }
        write!(f, "expected {expected}, at byte {offset} of {text:?}")
    }
}

impl error::Error for ParseError {}

//! The text form of a [`CapState`] on the running kernel, whose capabilities it depends on.

use std::{fmt, str::FromStr};

use crate::{CapSet, CapState, ParseError};

/// [`CapState::parse`] on the running kernel.
impl FromStr for CapState {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<CapState, ParseError> {
        CapState::parse(text, CapSet::supported())
    }
}

/// [`CapState::to_text`] on the running kernel.
impl fmt::Display for CapState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text(CapSet::supported()).fmt(f)
    }
}

//! The text form of a [`CapState`], which depends on the running kernel's capabilities.

use std::{fmt, str::FromStr};

use crate::{CapSet, CapState, ParseError};

/// Calls [`CapState::parse`] for the running kernel.
impl FromStr for CapState {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<CapState, ParseError> {
        CapState::parse(text, CapSet::supported())
    }
}

/// Calls [`CapState::to_text`] for the running kernel.
impl fmt::Display for CapState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text(CapSet::supported()).fmt(f)
    }
}

//! libcap's modes: four combinations of securebits and sets.

use std::{fmt, str::FromStr};

use super::ParseError;

/// The treatment of user 0 and capabilities in the calling thread. (cap_get_mode(3))
///
/// ```
/// use rcap::Mode;
///
/// match Mode::current()? {
///     Some(mode) => println!("{mode}"),
///     None => println!("none of libcap's modes"),
/// }
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "cap_mode_t")]
pub enum Mode {
    /// No privilege can be held or gained: all sets are empty, no-new-privs is set, and user 0 is
    /// an ordinary user.
    NoPriv = 1,
    /// User 0 is an ordinary user, and the inheritable set is empty: only files with permitted
    /// capabilities grant any.
    Pure1eInit = 2,
    /// User 0 is an ordinary user. Files and inheritable capabilities grant privilege.
    Pure1e = 3,
    /// User 0 has all capabilities, as is the default on Linux, and files can grant others some.
    Hybrid = 4,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 4] = [Mode::NoPriv, Mode::Pure1eInit, Mode::Pure1e, Mode::Hybrid];
}

/// Prints libcap's name, such as `PURE1E_INIT`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::NoPriv => "NOPRIV",
            Mode::Pure1eInit => "PURE1E_INIT",
            Mode::Pure1e => "PURE1E",
            Mode::Hybrid => "HYBRID",
        })
    }
}

/// Parses the upper-case name, like libcap's capsh.
impl FromStr for Mode {
    type Err = ParseError;

    fn from_str(text: &str) -> std::result::Result<Mode, ParseError> {
        let named = |mode: &Mode| mode.to_string() == text;
        Mode::ALL.into_iter().find(named).ok_or_else(|| ParseError::new(text, 0, ParseError::MODE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for text in ["", "hybrid", "PURE1", "UNCERTAIN"] {
            assert_eq!(text.parse::<Mode>(), Err(ParseError::new(text, 0, ParseError::MODE)));
        }
    }
}

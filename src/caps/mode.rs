//! libcap's modes: four combinations of securebits and sets.

use std::{error, fmt, str::FromStr};

use super::{ParseError, Securebits};

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
#[expect(clippy::exhaustive_enums, reason = "libcap's modes have been these four since 2.28")]
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

/// Returns the mode that securebits show on their own: [`Mode::Hybrid`] if no bit is set, and
/// [`Mode::Pure1e`] if just the bits of the other modes are set. Those modes differ in their sets,
/// which [`Mode::current`] also reads.
///
/// ```
/// use rcap::{Mode, Securebits};
///
/// assert_eq!(Mode::try_from(Securebits::PURE_WITHOUT_AMBIENT), Ok(Mode::Pure1e));
/// let err = Mode::try_from(Securebits::NOROOT).unwrap_err();
/// assert_eq!(err.to_string(), "the securebits noroot belong to none of libcap's modes");
/// ```
impl TryFrom<Securebits> for Mode {
    type Error = UncertainMode;

    fn try_from(bits: Securebits) -> Result<Mode, UncertainMode> {
        match bits {
            bits if bits.is_empty() => Ok(Mode::Hybrid),
            Securebits::PURE | Securebits::PURE_WITHOUT_AMBIENT => Ok(Mode::Pure1e),
            bits => Err(UncertainMode(bits)),
        }
    }
}

/// Returns the securebits of the mode on a kernel that has ambient sets (since Linux 4.3).
impl From<Mode> for Securebits {
    fn from(mode: Mode) -> Securebits {
        match mode {
            Mode::Hybrid => Securebits::empty(),
            Mode::NoPriv | Mode::Pure1eInit | Mode::Pure1e => Securebits::PURE_WITHOUT_AMBIENT,
        }
    }
}

/// The error for securebits that belong to none of libcap's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "CAP_MODE_UNCERTAIN")]
pub struct UncertainMode(Securebits);

impl fmt::Display for UncertainMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the securebits {} belong to none of libcap's modes", self.0)
    }
}

impl error::Error for UncertainMode {}

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
        let of_bits = Mode::ALL.map(|mode| Mode::try_from(Securebits::from(mode)));
        assert_eq!(of_bits, [Mode::Pure1e, Mode::Pure1e, Mode::Pure1e, Mode::Hybrid].map(Ok));
        for bits in [0x01, 0x2e, 0x6f, 0x1ef].map(Securebits::from_bits_retain) {
            assert_eq!(Mode::try_from(bits), Err(UncertainMode(bits)));
        }
        for text in ["", "hybrid", "PURE1", "UNCERTAIN"] {
            assert_eq!(text.parse::<Mode>(), Err(ParseError::new(text, 0, ParseError::MODE)));
        }
    }
}

//! How bad something is.

use std::{error, fmt, str::FromStr};

use crate::knowledge::Worth;

/// The severity of an entry or a finding, least first.
///
/// ```
/// use rcap::scan::Severity;
///
/// assert_eq!("high".parse(), Ok(Severity::High));
/// assert!(Severity::High < Severity::Critical);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// No power.
    Info,
    /// A narrow right.
    Low,
    /// The network's traffic, or a protection that can be taken away.
    Medium,
    /// Every secret on the machine.
    High,
    /// Root.
    Critical,
}

impl Severity {
    /// Every severity, worst first.
    pub const ALL: [Severity; 5] =
        [Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info];

    /// Returns the name, such as `critical`.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Worth> for Severity {
    fn from(worth: Worth) -> Severity {
        match worth {
            Worth::Nothing => Severity::Info,
            Worth::Narrow => Severity::Low,
            Worth::Partial => Severity::Medium,
            Worth::Secrets => Severity::High,
            Worth::Root => Severity::Critical,
        }
    }
}

/// The error for a word that is not a severity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownSeverity;

impl fmt::Display for UnknownSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a severity: critical, high, medium, low or info")
    }
}

impl error::Error for UnknownSeverity {}

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Severity, UnknownSeverity> {
        Severity::ALL.into_iter().find(|one| one.name() == text).ok_or(UnknownSeverity)
    }
}

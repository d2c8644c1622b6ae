//! Reasons for which a recording is incomplete, other than lost records.

use std::fmt;

/// A reason for which a recording is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// Another process changed a setting of the trace buffer, such as `tracing_on`.
    #[non_exhaustive]
    Changed {
        /// The file of the setting.
        setting: String,
    },
    /// Another process read records from the trace buffer, or cleared it.
    Taken,
    /// Processes left the recorded control groups.
    LeftCgroup,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gap::Changed { setting } => {
                write!(
                    f,
                    "another process changed {setting} of the trace buffer, or it cannot be read"
                )
            }
            Gap::Taken => f.write_str("another process read or emptied the trace buffer"),
            Gap::LeftCgroup => f.write_str(
                "processes left the control group, and what they did after that was not recorded",
            ),
        }
    }
}

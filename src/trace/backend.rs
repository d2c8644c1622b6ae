//! The ways to have the kernel's checks recorded.

use std::fmt;

use super::Tracefs;
use crate::{Error, Result};

/// How the kernel is asked for its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Backend {
    /// The tracepoint `capability:cap_capable`, which newer kernels have.
    Tracepoint,
    /// Probes of the function `cap_capable` and of its return. (`CONFIG_KPROBE_EVENTS`)
    Kprobe,
}

impl Backend {
    /// All of them, the best first.
    pub const ALL: [Backend; 2] = [Backend::Tracepoint, Backend::Kprobe];

    /// The best one that this kernel has.
    ///
    /// # Errors
    ///
    /// [`Error::NoBackend`] if it has none; those of [`Tracefs::open`].
    pub fn best() -> Result<Backend> {
        let tracefs = Tracefs::open()?;
        let best = Backend::ALL.into_iter().find(|backend| backend.is_in(&tracefs));
        best.ok_or(Error::NoBackend)
    }

    /// Whether the kernel has it.
    pub fn is_in(self, tracefs: &Tracefs) -> bool {
        match self {
            Backend::Tracepoint => tracefs.has("events/capability/cap_capable"),
            Backend::Kprobe => tracefs.has("kprobe_events"),
        }
    }

    /// What it cannot see, in words.
    pub const fn unseen(self) -> &'static [&'static str] {
        match self {
            Backend::Tracepoint => &[OTHERS],
            Backend::Kprobe => &[OTHERS, INLINED],
        }
    }

    /// Its name, as `--backend` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Tracepoint => "tracepoint",
            Backend::Kprobe => "kprobe",
        }
    }
}

const OTHERS: &str =
    "processes that another one starts on the program's behalf, such as a daemon for containers";
const INLINED: &str = "cap_setpcap where a process sets its own capabilities or securebits";

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! The ways to have the kernel's checks recorded.

use std::fmt;

use super::{CgroupRecorder, Tracefs};
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
    /// BPF programs at that tracepoint, for control groups alone: a [`CgroupRecorder`].
    Bpf,
}

impl Backend {
    /// All of them, the best first.
    pub const ALL: [Backend; 3] = [Backend::Tracepoint, Backend::Kprobe, Backend::Bpf];

    /// The best one for any process.
    ///
    /// # Errors
    ///
    /// [`Error::NoBackend`] if the kernel has none; those of [`Tracefs::open`].
    pub fn best() -> Result<Backend> {
        match Backend::Tracepoint.check() {
            Err(Error::NoBackend) => Backend::Kprobe.check().map(|()| Backend::Kprobe),
            other => other.map(|()| Backend::Tracepoint),
        }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    ///
    /// [`Error::NoBackend`] if the kernel lacks it; else what is in the way.
    pub fn check(self) -> Result<()> {
        let has = |name| {
            Tracefs::open().and_then(|fs| if fs.has(name) { Ok(()) } else { Err(Error::NoBackend) })
        };
        match self {
            Backend::Tracepoint => has("events/capability/cap_capable"),
            Backend::Kprobe => has("kprobe_events"),
            Backend::Bpf => CgroupRecorder::check(),
        }
    }

    /// What it cannot see, in words.
    pub const fn unseen(self) -> &'static [&'static str] {
        match self {
            Backend::Tracepoint => &[OTHERS],
            Backend::Bpf => &[NAMES],
            Backend::Kprobe => &[OTHERS, INLINED],
        }
    }

    /// Its name, as `--backend` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Tracepoint => "tracepoint",
            Backend::Kprobe => "kprobe",
            Backend::Bpf => "bpf",
        }
    }
}

const OTHERS: &str =
    "processes that another one starts on the program's behalf, such as a daemon for containers";
const NAMES: &str = "the paths of programs: they go by the names of their threads";
const INLINED: &str = "cap_setpcap where a process sets its own capabilities or securebits";

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

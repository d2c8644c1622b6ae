//! The reasons for which a recording of capability checks fails.

use std::{error, fmt, io, path::PathBuf};

/// The reason why a recording cannot start, or cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceError {
    /// The kernel has no means to record capability checks.
    NoBackend,
    /// Processes are recorded by their IDs in the initial PID namespace, and this process or its
    /// children are in another one.
    PidNamespace,
    /// The recorder's own check, which proves that recording works, was not recorded.
    NoMark,
    /// The BPF backend records only control groups of the unified hierarchy.
    UnsupportedTarget,
    /// No control group matches, or several do.
    #[non_exhaustive]
    NoCgroup {
        /// The name that was searched for.
        name: String,
        /// The matching control groups.
        found: Vec<PathBuf>,
    },
    /// The matching control groups were created by a user, a unit or a container, which can choose
    /// any name.
    #[non_exhaustive]
    ForeignCgroup {
        /// The name that was searched for.
        name: String,
        /// The directories of the control groups.
        found: Vec<PathBuf>,
    },
}

impl TraceError {
    /// Returns the kind of the error.
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            TraceError::NoCgroup { .. } => io::ErrorKind::NotFound,
            TraceError::ForeignCgroup { .. } => io::ErrorKind::PermissionDenied,
            TraceError::NoBackend
            | TraceError::PidNamespace
            | TraceError::NoMark
            | TraceError::UnsupportedTarget => io::ErrorKind::Unsupported,
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::NoBackend => f.write_str(
                "this kernel has neither the tracepoint capability:cap_capable nor kprobe events",
            ),
            TraceError::PidNamespace => f.write_str(
                "tracefs: needs process IDs of the initial PID namespace; run in the host's PID \
                 namespace, or record a control group with the bpf backend",
            ),
            TraceError::NoMark => {
                f.write_str("recording does not work: the kernel did not record rcap's own check")
            }
            TraceError::UnsupportedTarget => {
                f.write_str("the bpf backend records only control groups of the unified hierarchy")
            }
            TraceError::NoCgroup { name, found } if found.is_empty() => {
                write!(f, "{name}: no control group found, so it does not run")
            }
            TraceError::NoCgroup { name, found } => {
                write!(f, "{name}: several control groups match:")?;
                found.iter().try_for_each(|path| write!(f, " {}", path.display()))
            }
            TraceError::ForeignCgroup { name, found } => {
                write!(f, "{name}: a user or another unit created the matching control groups; ")?;
                f.write_str("select one with --cgroup:")?;
                found.iter().try_for_each(|path| write!(f, " {}", path.display()))
            }
        }
    }
}

impl error::Error for TraceError {}

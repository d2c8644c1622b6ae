//! The backends that record the kernel's checks.

use std::fmt;

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    sys::stat::fstatat,
};

use super::record::{CgroupRecorder, Tracefs};
use crate::{Error, Result, error::TraceError, proc::own};

/// A way to record the kernel's checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Backend {
    /// The tracepoint `capability:cap_capable` of newer kernels.
    Tracepoint,
    /// Probes of the function `cap_capable` and of its return. (`CONFIG_KPROBE_EVENTS`)
    Kprobe,
    /// BPF programs at that tracepoint, or at the end of the function, for control groups only.
    Bpf,
}

impl Backend {
    /// All backends, best first.
    pub const ALL: [Backend; 3] = [Backend::Tracepoint, Backend::Kprobe, Backend::Bpf];

    /// Returns the best backend for any process.
    ///
    /// # Errors
    ///
    /// [`TraceError::NoBackend`] if the kernel supports none, and errors of [`Backend::check`].
    pub fn best() -> Result<Backend> {
        match Backend::Tracepoint.check() {
            Err(Error::Trace(TraceError::NoBackend)) => {
                Backend::Kprobe.check().map(|()| Backend::Kprobe)
            }
            other => other.map(|()| Backend::Tracepoint),
        }
    }

    /// Checks whether the backend can be used.
    ///
    /// # Errors
    ///
    /// [`TraceError::NoBackend`] if the kernel does not support it. [`TraceError::PidNamespace`] and
    /// [`Error::NoProc`] for backends that record by process ID. `EPERM` without `CAP_SYS_ADMIN`.
    pub fn check(self) -> Result<()> {
        let has = |name| {
            require_initial_pid_namespace()?;
            if Tracefs::open()?.has(name)? {
                Ok(())
            } else {
                Err(Error::Trace(TraceError::NoBackend))
            }
        };
        match self {
            Backend::Tracepoint => has("events/capability/cap_capable"),
            Backend::Kprobe => has("kprobe_events"),
            Backend::Bpf => CgroupRecorder::check(),
        }
    }

    /// Returns the limits of the backend, in words.
    pub const fn unseen(self) -> &'static [&'static str] {
        match self {
            Backend::Tracepoint | Backend::Kprobe => &[OTHERS],
            Backend::Bpf => &[NAMES],
        }
    }

    /// Returns the name, as in `--backend`.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Tracepoint => "tracepoint",
            Backend::Kprobe => "kprobe",
            Backend::Bpf => "bpf",
        }
    }
}

/// Returns an error unless process IDs have the same meaning here as in tracefs: this process and
/// its children must be in the initial PID namespace. (`trace_pid_write` in
/// kernel/trace/trace_pid.c takes the numbers as they are.)
pub(super) fn require_initial_pid_namespace() -> Result<()> {
    /// `PROC_PID_INIT_INO` in include/linux/proc_ns.h since Linux 3.8, and `PID_NS_INIT_INO` in
    /// include/uapi/linux/nsfs.h since Linux 6.18. `init_pid_ns` has this inode, and later
    /// namespaces get numbers from 0xF0000000.
    const INITIAL: libc::ino_t = 0xEFFF_FFFC;
    // A /proc of an unrelated PID namespace does not have this entry.
    let directory = own::open("ns", OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(own::failed)?;
    for name in ["pid", "pid_for_children"] {
        match fstatat(&directory, name, AtFlags::empty()) {
            Ok(stat) if stat.st_ino == INITIAL => {}
            // ENOENT: the children's namespace has no process yet, so it is not the initial one.
            Ok(_) | Err(Errno::ENOENT) => return Err(Error::Trace(TraceError::PidNamespace)),
            Err(err) => return Err(own::failed(err.into())),
        }
    }
    Ok(())
}

const OTHERS: &str =
    "processes that another one starts on the program's behalf, such as a daemon for containers";
const NAMES: &str = "the paths of programs: they go by the names of their threads";

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

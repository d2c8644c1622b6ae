//! The recorder, which reads the records of three backends into one kind of event.
//!
//! `processes` records process trees through tracefs, with the tracepoint or kprobes. `cgroups`
//! records control groups with BPF.

use std::{
    path::PathBuf,
    process::{Child, Command},
};

use super::{Backend, Gap, Target, tracer::Options};
use crate::{Cap, CapSet, Error, Result, error::TraceError, launch::Launcher};

mod assembly;
mod btf;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "no_calls.rs"]
mod calls;
mod cgroups;
mod event;
mod format;
mod kprobe;
mod page;
mod processes;
mod programs;
mod settings;
mod symbols;
mod tracefs;

pub(super) use self::{
    cgroups::CgroupRecorder,
    event::{Call, Check, Event, EventKind, UserStack},
    processes::ProcessRecorder,
    symbols::Symbols,
    tracefs::Tracefs,
};

#[cfg(feature = "cli")]
pub(crate) use self::calls::RefusedWrites;
#[cfg(feature = "stacks")]
pub(super) use self::event::{Change, Mapping};

/// The number of the capability in the recorder's mark, the first check of a recording.
const MARK: u32 = Cap::SETPCAP.number() as u32;

/// The end of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rest {
    /// The remaining events, in time order.
    pub(super) events: Vec<Event>,
    /// The number of lost records, or `None` if some were lost and the kernel did not count them.
    pub(super) lost: Option<u64>,
    /// The number of checks whose user-space stacks had no place.
    pub(super) lost_stacks: u64,
    /// Other reasons for which the recording is incomplete.
    pub(super) gaps: Vec<Gap>,
}

/// A recorder of any backend.
#[derive(Debug)]
pub(super) enum Recorder {
    Processes(Box<ProcessRecorder>),
    Cgroups(Box<CgroupRecorder>),
}

impl Recorder {
    /// Creates a recorder for programs that [`Recorder::start`] starts.
    pub(super) fn new(options: &Options) -> Result<(Recorder, Backend)> {
        let backend = options.backend.map_or_else(Backend::best, Ok)?;
        let recorder = ProcessRecorder::new(backend, options)?;
        Ok((Recorder::Processes(Box::new(recorder)), backend))
    }

    /// Records the processes of `targets`, of which `first` are running now.
    pub(super) fn attach(
        targets: &[Target],
        first: &[u32],
        options: &Options,
    ) -> Result<(Recorder, Backend)> {
        let unified = |target: &Target| match target {
            Target::Cgroup(path) | Target::NewService(path) if CgroupRecorder::is_unified(path) => {
                Some(path.clone())
            }
            _ => None,
        };
        let cgroups: Option<Vec<PathBuf>> = targets.iter().map(unified).collect();
        let by_ids = |options: &Options| {
            let (mut recorder, backend) = Recorder::new(options)?;
            if let Recorder::Processes(recorder) = &mut recorder {
                recorder.attach(first)?;
            }
            Ok((recorder, backend))
        };
        match (cgroups, options.backend) {
            (Some(cgroups), None | Some(Backend::Bpf)) => {
                match CgroupRecorder::new(&cgroups, options.outcomes) {
                    Ok(recorder) => Ok((Recorder::Cgroups(Box::new(recorder)), Backend::Bpf)),
                    Err(err) if options.backend.is_some() => Err(err),
                    // If the programs cannot be loaded, recording by process ID may still work.
                    Err(err) => match Backend::best() {
                        Err(Error::Trace(TraceError::PidNamespace)) => Err(err),
                        other => by_ids(&Options { backend: Some(other?), ..options.clone() }),
                    },
                }
            }
            (None, Some(Backend::Bpf)) => Err(Error::Trace(TraceError::UnsupportedTarget)),
            _ => by_ids(options),
        }
    }

    /// Returns what this recorder does not see of system calls, in words.
    pub(super) fn unseen(&self, outcomes: bool) -> Option<&'static str> {
        match self {
            _ if !outcomes => Some("denied system calls, which --no-outcomes leaves out"),
            Recorder::Processes(recorder) => (!recorder.sees_calls()).then_some(
                "the objects of system calls, denials by seccomp filters, and the checks of \
                 io_uring's worker threads, which require BPF programs",
            ),
            Recorder::Cgroups(recorder) => (!recorder.sees_calls())
                .then_some("the objects of system calls, and denials without a capability check"),
        }
    }

    /// Returns the capabilities whose checks this recorder does not all see: the compiler inlines
    /// them where a process sets its own capabilities or securebits.
    pub(super) fn unseen_caps(&self) -> CapSet {
        let sees_inlined = match self {
            Recorder::Processes(recorder) => recorder.sees_inlined(),
            Recorder::Cgroups(recorder) => recorder.sees_inlined(),
        };
        if sees_inlined { CapSet::empty() } else { Cap::SETPCAP.into() }
    }

    /// Returns whether a recorded thread may have changed its root or current directory.
    pub(super) fn has_moved(&self) -> bool {
        match self {
            Recorder::Processes(recorder) => recorder.has_moved(),
            Recorder::Cgroups(recorder) => recorder.has_moved(),
        }
    }

    /// Returns which user-space stacks this recorder does not see, in words. So many had no place.
    pub(super) fn unseen_stacks(&self, lost: u64) -> Option<String> {
        match self {
            Recorder::Processes(recorder) if recorder.sees_stacks() => (lost > 0)
                .then(|| format!("the user-space stacks of {lost} checks, which came too fast")),
            _ => {
                let words = "user-space stacks, which require BPF programs and perf_event_open(2)";
                Some(words.to_owned())
            }
        }
    }

    pub(super) fn start(&mut self, command: Command, launcher: &Launcher) -> Result<Child> {
        match self {
            Recorder::Processes(recorder) => recorder.start(command, launcher),
            Recorder::Cgroups(_) => Err(Error::Trace(TraceError::UnsupportedTarget)),
        }
    }

    /// Records more processes. BPF follows control groups by itself.
    pub(super) fn follow(&mut self, processes: &[u32]) -> Result<()> {
        match self {
            Recorder::Processes(recorder) => recorder.follow(processes),
            Recorder::Cgroups(_) => Ok(()),
        }
    }

    pub(super) fn drain(&mut self) -> Result<Vec<Event>> {
        match self {
            Recorder::Processes(recorder) => recorder.drain(),
            Recorder::Cgroups(recorder) => recorder.drain(),
        }
    }

    /// Returns the recorded threads that are alive, or the processes of the recorded groups.
    pub(super) fn living(&mut self) -> Result<Vec<u32>> {
        match self {
            Recorder::Processes(recorder) => recorder.living(),
            Recorder::Cgroups(recorder) => Ok(recorder.living()),
        }
    }

    /// Ends the recording. A process recorder can start another one.
    pub(super) fn stop(&mut self) -> Result<Rest> {
        match self {
            Recorder::Processes(recorder) => recorder.stop(),
            Recorder::Cgroups(recorder) => recorder.stop(),
        }
    }
}

#[cfg(test)]
mod tests;

//! The smallest set of capabilities with which something still works and has the same effects,
//! proved by running it.
//!
//! A [`Trial`] is anything that can be run with a given set of capabilities: a program, a
//! container, a service. [`Minimizer`] runs it with all capabilities until it knows what the run
//! looks like and what varies by itself, then with fewer, and says for each capability why it is
//! needed or not. [`Minimizer::verify`] judges a given set instead. [`minimal`] and the judging are pure functions; trials alone have effects.
//!
//! ```
//! use rcap::{
//!     Cap, CapSet,
//!     trace::{
//!         Exit,
//!         minimize::{Attempt, End, Minimizer, Observation, Plan, Trial},
//!     },
//! };
//!
//! /// Exits with status 1 unless it may change owners.
//! struct NeedsChown;
//!
//! impl Trial for NeedsChown {
//!     type Error = std::convert::Infallible;
//!
//!     fn run(&mut self, attempt: &Attempt) -> Result<Observation, Self::Error> {
//!         let code = i32::from(!attempt.set.contains(Cap::CHOWN));
//!         let mut seen = Observation::default();
//!         seen.end = End::Exited(Exit::with_status(code));
//!         Ok(seen)
//!     }
//! }
//!
//! let mut minimizer = Minimizer::new(Plan::new(CapSet::first(41)), NeedsChown);
//! assert!(minimizer.search(&mut |_| ()).is_ok());
//! let found = minimizer.found();
//! assert_eq!(found.minimum, CapSet::from(Cap::CHOWN));
//! assert!(found.proved);
//! ```

use std::{fmt, time::Duration};

use crate::{
    CapSet,
    trace::{Analysis, Exit},
};

mod capture;
mod effects;
mod engine;
mod judge;
#[cfg(feature = "cli")]
mod layer;
#[cfg(feature = "cli")]
pub(super) mod network;
#[cfg(feature = "cli")]
mod program;
mod search;
mod verdict;

#[cfg(feature = "cli")]
pub use super::overlay::init_process;
pub(crate) use capture::Capture;
#[cfg(feature = "cli")]
pub(crate) use capture::Stream;
pub use effects::{Aspect, Difference, Effects, Facts, Noise, Process, ProcessSets, Subject};
pub use engine::{Finding, FindingKind, Minimizer, Run, Stop, Unfit, Verified};
pub use judge::{Failure, Weight, refusal};
#[cfg(feature = "cli")]
pub use layer::Layer;
#[cfg(feature = "cli")]
pub use program::{Failed, Program, Setup};
#[cfg(feature = "cli")]
pub(crate) use program::{Pass, View};
pub use search::minimal;
#[cfg(feature = "cli")]
pub(crate) use search::minimal_of;
pub use verdict::{Evidence, Found, Verdict, VerdictKind};

/// Something that can be run with a given set of capabilities, again and again.
pub trait Trial {
    /// The reason why it could not be run, which ends the search.
    type Error;

    /// Runs it once, and waits for its end.
    ///
    /// An interruption by the user is not an error: it is [`End::Interrupted`].
    ///
    /// # Errors
    ///
    /// The trial could not be run or observed. A run that fails for lack of a capability is an
    /// [`Observation`].
    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Self::Error>;
}

impl<T: Trial + ?Sized> Trial for &mut T {
    type Error = T::Error;

    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Self::Error> {
        (**self).run(attempt)
    }
}

/// One run that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The capabilities.
    pub set: CapSet,
    /// The time after which the run is ended.
    pub limit: Option<Duration>,
}

/// The scope of a search, and the conditions for a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// All capabilities that a run can have.
    pub most: CapSet,
    /// The capabilities that every run has.
    pub keep: CapSet,
    /// The capabilities that a verification does not count as missing.
    pub tolerate: CapSet,
    /// Capabilities whose checks the runs' recordings cannot see. The search adds those of
    /// [`Analysis::unseen_caps`].
    pub unseen: CapSet,
    /// The exit status of success.
    pub expect: i32,
    /// How many runs with one set have to pass.
    pub repeat: u32,
    /// Whether tolerated capabilities count as needed too.
    pub strict: bool,
    /// Whether a run sees what earlier ones did, so that one that passes may have found their work
    /// done. Runs with all capabilities that do not all use the same are refused then.
    pub stateful: bool,
    /// The time limit of each run; otherwise 10 times that of the longest run with all
    /// capabilities, and 5 seconds.
    pub timeout: Option<Duration>,
}

impl Plan {
    /// Returns the plan with all defaults for these capabilities.
    pub const fn new(most: CapSet) -> Plan {
        Plan {
            most,
            keep: CapSet::empty(),
            tolerate: CapSet::empty(),
            unseen: CapSet::empty(),
            expect: 0,
            repeat: 1,
            strict: false,
            stateful: false,
            timeout: None,
        }
    }
}

/// The visible result of a run, and its recorded checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// The end of the run.
    pub end: End,
    /// The last line of standard error, or of standard output if standard error is empty.
    pub message: String,
    /// The result of the check that decides whether it works, if there is one.
    pub check: Option<Checked>,
    /// The standard output, if it must be compared.
    pub output: Option<Output>,
    /// The effects.
    pub effects: Effects,
    /// The checks of the kernel.
    pub analysis: Analysis,
    /// The number of lost records, or `None` if some were lost and not counted.
    pub lost: Option<u64>,
    /// Other reasons for which the recording is incomplete.
    pub gap: Option<String>,
    /// Notes about the run, for example about when it was stopped.
    pub notes: Vec<String>,
}

impl Observation {
    /// Returns the reasons for which the run does not count as working, most visible first, if
    /// success is the exit status `expect`.
    pub fn failures(&self, expect: i32) -> Vec<Failure> {
        judge::broken(expect, self)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// By itself.
    Exited(Exit),
    /// It was stopped, because it had been seen to work.
    #[default]
    Stopped,
    /// It was stopped because its time was up.
    TimedOut,
    /// It was never executed.
    NotExecuted,
    /// The service manager could not start it.
    NotStarted,
    /// The user interrupted it.
    Interrupted,
}

impl End {
    /// Returns how the program ended, if it ended by itself.
    pub const fn exit(self) -> Option<Exit> {
        if let End::Exited(exit) = self { Some(exit) } else { None }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(Exit { code: Some(code), .. }) => write!(f, "it exits with status {code}"),
            End::Exited(exit) => write!(f, "it is {exit}"),
            End::Stopped => f.write_str("it was stopped"),
            End::TimedOut => f.write_str("it does not end in time"),
            End::NotExecuted => f.write_str("it cannot be executed"),
            End::NotStarted => f.write_str("it does not start"),
            End::Interrupted => f.write_str("it was interrupted"),
        }
    }
}

/// The result of a command that decides whether a program works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The command, as the user wrote it, with the name of the option.
    pub command: String,
    /// Whether it has succeeded.
    pub passed: bool,
    /// How it ended the last time; `None` if it was still running or never ran.
    pub exit: Option<Exit>,
    /// The last line of standard error, or of standard output if standard error is empty.
    pub message: String,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.command)?;
        match self.exit {
            _ if self.passed => f.write_str("succeeds")?,
            Some(Exit { code: Some(code), .. }) => write!(f, "fails with exit status {code}")?,
            Some(exit) => write!(f, "is {exit}")?,
            None => f.write_str("does not end")?,
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// The output of a program, for comparison with another run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// The number of bytes.
    pub length: u64,
    /// A hash of all of them.
    pub hash: u64,
}

#[cfg(test)]
mod tests;

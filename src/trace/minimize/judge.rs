//! The comparison of a run with the baseline.

use std::{collections::BTreeSet, fmt};

use super::{Checked, Difference, End, Noise, Observation, Plan};
use crate::{
    Cap, CapSet,
    trace::{Meaning, Need},
};

/// A failure: a difference from the runs with all capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The exit differs from the expected one.
    End(End),
    /// The check failed.
    Check(Checked),
    /// The output differs.
    Output,
    /// The effects differ.
    Effect(Difference),
    /// A capability was denied that no run with all capabilities was denied, and a system call
    /// failed for lack of permission.
    Refused(Need),
}

/// The proof that a failure gives about the missing capabilities, the strongest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Weight {
    /// The program went on with the same result.
    Tolerated,
    /// The result differs.
    Result,
    /// The program does not work.
    Broken,
}

impl Failure {
    /// Returns the strength of the failure's proof.
    pub const fn weight(&self) -> Weight {
        match self {
            Failure::End(_) | Failure::Check(_) => Weight::Broken,
            Failure::Output | Failure::Effect(_) => Weight::Result,
            Failure::Refused(_) => Weight::Tolerated,
        }
    }

    /// Whether both say that the same thing differs, in whatever way.
    pub(super) fn is_about_the_same(&self, other: &Failure) -> bool {
        match (self, other) {
            (Failure::Effect(one), Failure::Effect(other)) => one.is_about_the_same(other),
            _ => self.kind() == other.kind(),
        }
    }

    /// Returns the failure in words, with what the program printed last if that can explain it.
    pub fn with_message(&self, message: &str) -> String {
        match self {
            Failure::End(End::Exited(_) | End::NotExecuted | End::NotStarted)
                if !message.is_empty() =>
            {
                format!("{self}: {message}")
            }
            failure => failure.to_string(),
        }
    }

    /// The name of the kind, as it is in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Failure::End(End::TimedOut) => "timed-out",
            Failure::End(End::NotExecuted) => "not-executed",
            Failure::End(End::NotStarted) => "not-started",
            Failure::End(_) => "exit",
            Failure::Check(_) => "check",
            Failure::Output => "output",
            Failure::Effect(_) => "effect",
            Failure::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::End(end) => write!(f, "{end}"),
            Failure::Check(checked) => write!(f, "{checked}"),
            Failure::Output => f.write_str("it prints something else"),
            Failure::Effect(difference) => write!(f, "{difference}"),
            Failure::Refused(need) => f.write_str(&refusal(need)),
        }
    }
}

/// Returns a refused check in words: the program, the capability, the purpose and the system call.
pub fn refusal(need: &Need) -> String {
    let asked = need.reason.clone().unwrap_or_else(|| need.function.clone());
    let asked = if asked.is_empty() { "for an unknown purpose".to_owned() } else { asked };
    let errno = need
        .returned
        .filter(|returned| *returned < 0)
        .and_then(|returned| i32::try_from(-returned).ok());
    let errno = errno.map(|errno| format!(" = {:?}", nix::errno::Errno::from_raw(errno)));
    let call = need.system_call.as_deref().unwrap_or("a system call");
    let program = need.program.rsplit('/').next().filter(|name| !name.is_empty());
    let program = program.unwrap_or("a process");
    format!("{program} was refused {}: {asked} ({call}{})", need.cap, errno.unwrap_or_default())
}

/// The runs with all capabilities, against which the others are judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baseline {
    /// The first run.
    pub first: Observation,
    /// The differences between the runs.
    pub noise: Noise,
    /// The capabilities that any run was granted and used.
    pub used: CapSet,
    /// The capabilities that every run was granted and used.
    always: CapSet,
    /// The capabilities that any run was denied, with the kernel function.
    refused: BTreeSet<(Cap, String)>,
}

impl Baseline {
    /// Adds a run with all capabilities, `set`.
    pub(crate) fn add(&mut self, run: Observation, set: CapSet, is_first: bool) {
        let needs = &run.analysis.needs;
        let used =
            needs.iter().filter(|need| matches!(need.meaning, Meaning::Candidate | Meaning::Weak));
        let used: CapSet = used.map(|need| need.cap).collect();
        self.used |= used;
        self.always = if is_first { used } else { self.always & used };
        let refused = needs.iter().filter(|need| need.meaning == Meaning::Missing);
        self.refused.extend(refused.map(|need| (need.cap, need.function.clone())));
        if is_first {
            self.first = run;
        } else {
            self.noise.learn(&self.first.effects, &run.effects, set);
            self.noise.output |= self.first.output != run.output;
        }
    }

    /// Returns the capabilities that only some runs used.
    pub(crate) fn varying(&self) -> CapSet {
        self.used - self.always
    }

    /// Returns the failures of a run with `set`, most visible first.
    pub(crate) fn failures(&self, plan: &Plan, run: &Observation, set: CapSet) -> Vec<Failure> {
        let mut failures = broken(plan.expect, run);
        if failures.is_empty() {
            if run.output != self.first.output && !self.noise.output {
                failures.push(Failure::Output);
            }
            let differences = self.noise.differences(&self.first.effects, &run.effects, set);
            failures.extend(differences.into_iter().map(Failure::Effect));
        }
        let missing = run.analysis.needs.iter().filter(|need| need.meaning == Meaning::Missing);
        let new = missing.filter(|need| !self.refused.contains(&(need.cap, need.function.clone())));
        failures.extend(new.cloned().map(Failure::Refused));
        failures
    }
}

/// Returns why a run does not count as working, whatever the others did.
pub(super) fn broken(expect: i32, run: &Observation) -> Vec<Failure> {
    let ended_well = match run.end {
        End::Exited(exit) => exit.code == Some(expect),
        End::Stopped => true,
        // It was waited for as long as that, and the check says what for.
        End::TimedOut => run.check.as_ref().is_some_and(|checked| !checked.passed),
        End::NotExecuted | End::NotStarted | End::Interrupted => false,
    };
    let end = (!ended_well).then_some(Failure::End(run.end));
    let check = run.check.iter().filter(|checked| !checked.passed).cloned().map(Failure::Check);
    end.into_iter().chain(check).collect()
}

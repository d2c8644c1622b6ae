//! The search for the smallest set of capabilities with which a program works.

use std::collections::{BTreeSet, HashMap};

use super::{Analysis, Exit, Meaning, Need};
use crate::{Cap, CapSet};

/// Finds a minimal subset of `all` for which `passes` returns true.
///
/// `all` is assumed to pass. The result is `all` or has passed, and fails without any one of its
/// members. If every superset of a passing set passes too, the search needs at most
/// `2k log2(n / k) + 4k + 2` runs for `k` needed capabilities of `n`, and one run if none is
/// needed. No set is tried twice.
///
/// This is QuickXplain (Junker, 2004) with a verification of its answer.
///
/// ```
/// use rcap::{Cap, CapSet, trace::minimal};
///
/// let needs_two = |set: CapSet| Ok::<_, ()>(set.contains(Cap::CHOWN) && set.contains(Cap::SETUID));
/// let minimum = minimal(CapSet::first(41), needs_two)?;
/// assert_eq!(minimum, CapSet::of(&[Cap::CHOWN, Cap::SETUID]));
/// # Ok::<(), ()>(())
/// ```
///
/// # Errors
///
/// An error of `passes`, which ends the search.
pub fn minimal<E>(
    all: CapSet,
    mut passes: impl FnMut(CapSet) -> Result<bool, E>,
) -> Result<CapSet, E> {
    let mut known = HashMap::from([(all, true)]);
    let mut passes = |set: CapSet| {
        if let Some(&passed) = known.get(&set) {
            return Ok(passed);
        }
        let passed = passes(set)?;
        known.insert(set, passed);
        Ok(passed)
    };
    if passes(CapSet::empty())? {
        return Ok(CapSet::empty());
    }
    let mut least = needed(CapSet::empty(), false, all, &mut passes)?;
    if !passes(least)? {
        // The program fails with a superset of a passing set, so members are removed one by one.
        least = all;
    }
    while let Some(cap) = spare(least, &mut passes)? {
        least = least.without(cap);
    }
    Ok(least)
}

/// Returns the members of `rest` that are needed in addition to `base`, where the union passes.
/// `more` is whether `base` has grown since it was last tried.
fn needed<E>(
    base: CapSet,
    more: bool,
    rest: CapSet,
    passes: &mut impl FnMut(CapSet) -> Result<bool, E>,
) -> Result<CapSet, E> {
    if more && passes(base)? {
        return Ok(CapSet::empty());
    }
    if rest.len() <= 1 {
        return Ok(rest);
    }
    let half: CapSet = rest.iter().take(rest.len() / 2).collect();
    let other = rest - half;
    let of_other = needed(base | half, true, other, passes)?;
    let of_half = needed(base | of_other, !of_other.is_empty(), half, passes)?;
    Ok(of_half | of_other)
}

/// Returns a member that is not needed.
fn spare<E>(
    set: CapSet,
    passes: &mut impl FnMut(CapSet) -> Result<bool, E>,
) -> Result<Option<Cap>, E> {
    for cap in set {
        if passes(set.without(cap))? {
            return Ok(Some(cap));
        }
    }
    Ok(None)
}

/// The visible result of a run, and its recorded checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The exit of the program, or `None` if it was stopped after it was seen to work.
    pub exit: Option<Exit>,
    /// Whether the run exceeded its time limit.
    pub timed_out: bool,
    /// The result of the health check.
    pub check: Option<bool>,
    /// The output, if it must stay the same.
    pub output: Option<Output>,
    /// The message about the failure.
    pub message: String,
    /// The analysis of the recorded checks.
    pub analysis: Analysis,
}

/// The output of a program, for comparison with another run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The number of bytes.
    pub length: u64,
    /// A hash of all bytes.
    pub hash: u64,
}

/// A difference from the run with all capabilities that counts as a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", tag = "kind")
)]
pub enum Failure {
    /// The exit differs.
    Exit {
        /// The exit of this run.
        exit: Option<Exit>,
        /// The exit of the run with all capabilities.
        want: Option<Exit>,
    },
    /// The program did not end, or was not seen to work, within the time limit.
    TimedOut,
    /// The health check failed.
    Check,
    /// The output differs.
    Output,
    /// A newly denied capability, with a system call that failed for lack of permission.
    Refused {
        /// The denied check.
        need: Need,
    },
}

/// Returns the failures of a run, most visible first.
pub fn failures(all: &Observation, run: &Observation) -> Vec<Failure> {
    let mut failures = Vec::new();
    if run.timed_out && !all.timed_out {
        failures.push(Failure::TimedOut);
    } else if run.exit != all.exit && run.check != Some(true) {
        failures.push(Failure::Exit { exit: run.exit, want: all.exit });
    }
    if run.check == Some(false) {
        failures.push(Failure::Check);
    }
    if run.output != all.output {
        failures.push(Failure::Output);
    }
    let missing = |one: &&Need| one.meaning == Meaning::Missing;
    let key = |need| {
        let need: &Need = need;
        (need.cap, need.function.clone())
    };
    let before: BTreeSet<_> = all.analysis.needs.iter().filter(missing).map(key).collect();
    let refused = run.analysis.needs.iter().filter(missing);
    let refused = refused.filter(|need| !before.contains(&key(need)));
    failures.extend(refused.map(|need| Failure::Refused { need: need.clone() }));
    failures
}

impl Failure {
    /// Returns whether the failure is visible in the program's behaviour, and not only in a denied
    /// check.
    pub fn is_visible(&self) -> bool {
        !matches!(self, Failure::Refused { .. })
    }
}

#[cfg(test)]
mod tests;

//! The smallest set of capabilities with which a program does what it does with all of them.

use std::collections::{BTreeSet, HashMap};

use super::{Analysis, Exit, Meaning, Need};
use crate::{Cap, CapSet};

/// Finds a minimal part of `all`, by trying parts of it.
///
/// `passes` tries a set; that `all` passes is taken for granted. What comes back is `all` or has
/// passed, and none of its members can go: without any one of them it has not passed. Where a
/// program that passes with a set also passes with more, that takes at most
/// `2k log2(n / k) + 4k + 2` runs for `k` needed of `n`, and one where nothing is needed. No set
/// is tried twice.
///
/// This is QuickXplain (Junker, 2004) and a check of its answer.
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
/// That of `passes`, which ends the search.
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
        // More is less for this program. What can go one by one can.
        least = all;
    }
    while let Some(cap) = spare(least, &mut passes)? {
        least = least.without(cap);
    }
    Ok(least)
}

/// What of `rest` is needed beside `base`, of which both together pass. `more`: whether `base` has
/// grown since it was last tried.
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

/// A member that can go.
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

/// What a run of a program looked like from outside, and to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// How it ended; `None` if it was ended because it had been seen to work.
    pub exit: Option<Exit>,
    /// Whether it was ended because its time was up.
    pub timed_out: bool,
    /// What the command said that is to tell whether it works.
    pub check: Option<bool>,
    /// What it printed, if that is to be the same.
    pub output: Option<Output>,
    /// What it printed about what went wrong.
    pub message: String,
    /// What the kernel was asked.
    pub analysis: Analysis,
}

/// What a program printed, to be compared with what another run printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The number of bytes.
    pub length: u64,
    /// A hash of all of them.
    pub hash: u64,
}

/// How a run fell short of the one with all capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case", tag = "kind")
)]
pub enum Failure {
    /// It ended in another way.
    Exit {
        /// How.
        exit: Option<Exit>,
        /// How the one with all capabilities had ended.
        want: Option<Exit>,
    },
    /// It did not end, or was not seen to work, in time.
    TimedOut,
    /// The command that is to tell whether it works said no.
    Check,
    /// It printed something else.
    Output,
    /// It was refused what it had not been refused before, and a system call failed for lack of
    /// permission.
    Refused {
        /// The check that was refused.
        need: Need,
    },
}

/// How a run fell short, in the order in which it would be asked about.
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
    /// Whether it shows in what the program did, and not in what it was refused alone.
    pub fn is_visible(&self) -> bool {
        !matches!(self, Failure::Refused { .. })
    }
}

#[cfg(test)]
mod tests;

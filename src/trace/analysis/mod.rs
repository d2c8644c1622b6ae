//! The meaning of the recorded checks. A pure function from events to what a program may need.

use std::sync::Arc;

use crate::{Cap, CapSet};

mod analyser;
mod places;
mod rules;

pub(super) use analyser::{Analyser, Origin};
pub use places::Place;
pub use rules::Meaning;
use rules::lacks_permission;

/// A check, its outcome and its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The thread.
    pub tid: u32,
    /// The program that it ran; empty if it is not known.
    pub program: Arc<str>,
    /// The capability.
    pub cap: Cap,
    /// Whether the capability was granted.
    pub granted: bool,
    /// What the check means for the program.
    pub meaning: Meaning,
    /// The place in the kernel that the check was made from.
    pub place: Arc<Place>,
    /// What the system call returned, if that is known.
    pub returned: Option<i64>,
    inside: bool,
}

/// Checks of one capability by one program, for one reason and with one meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Need {
    /// The capability.
    pub cap: Cap,
    /// What the checks mean for the program.
    #[cfg_attr(feature = "serde", serde(rename = "rule"))]
    pub meaning: Meaning,
    /// Whether the capability was granted.
    pub granted: bool,
    /// The function of the kernel that asked; empty if it is not known.
    pub function: String,
    /// What it asked for, in words.
    pub reason: Option<String>,
    /// How many checks.
    pub count: u64,
    /// The system call of the first, if it is known.
    pub system_call: Option<String>,
    /// What that returned.
    pub returned: Option<i64>,
    /// The program; empty if it is not known.
    pub program: String,
}

impl Need {
    /// Returns whether the check was refused and the system call then failed for lack of
    /// permission. Such a need is never hidden, whatever its meaning.
    pub fn is_refusal(&self) -> bool {
        !self.granted && self.returned.is_some_and(lacks_permission)
    }

    pub(super) fn key(&self) -> NeedKey<'_> {
        NeedKey {
            cap: self.cap,
            meaning: self.meaning,
            granted: self.granted,
            refusal: self.is_refusal(),
            function: &self.function,
            program: &self.program,
        }
    }
}

/// Checks that are alike in this are one need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NeedKey<'a> {
    cap: Cap,
    meaning: Meaning,
    granted: bool,
    refusal: bool,
    function: &'a str,
    program: &'a str,
}

/// What the checks of a recording come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Analysis {
    /// The capabilities that were granted and used. Only a run without one of them tells whether
    /// the program needs it.
    pub candidates: CapSet,
    /// The capabilities that were refused, where the system call then failed for lack of
    /// permission.
    pub missing: CapSet,
    /// Every check, by capability, meaning, function and program.
    pub needs: Vec<Need>,
    /// Whether a path was shortened, or there were too many rows to name every program.
    pub is_cut: bool,
}

impl Analysis {
    /// How many rows name their programs.
    pub(crate) const ROWS: usize = 4096;
    /// The longest path of a program, in bytes.
    pub(crate) const PATH: usize = 1024;
    /// What stands for the programs of further rows.
    pub(crate) const OTHERS: &str = "(others)";
    /// What a report of the programs says where `is_cut` is set.
    pub(crate) const CUT: &str = "the whole path of every program: a path keeps its last 1024 \
        bytes, and after 4096 rows programs are counted as (others)";

    /// With those that are alike as one.
    pub(crate) fn new(mut needs: Vec<Need>) -> Analysis {
        needs.sort_by(|a, b| a.key().cmp(&b.key()));
        needs.dedup_by(|again, one| {
            let alike = again.key() == one.key();
            one.count = one.count.saturating_add(if alike { again.count } else { 0 });
            alike
        });
        let of =
            |rule| needs.iter().filter(|need| need.meaning == rule).map(|need| need.cap).collect();
        let (candidates, missing) = (of(Meaning::Candidate), of(Meaning::Missing));
        Analysis { candidates, missing, needs, is_cut: false }
    }
}

#[cfg(test)]
mod tests;

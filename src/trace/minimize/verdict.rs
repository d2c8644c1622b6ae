//! The verdict about each capability.

use super::{Failure, Run, Weight, judge::Baseline, refusal};
use crate::{
    Cap, CapSet,
    trace::{Meaning, Need},
};

/// A verdict about one capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum VerdictKind {
    /// Without it, the program or its check fails.
    Required,
    /// Without it, the program works and its effects differ.
    ChangesResult,
    /// It was refused, and the program went on with the same result.
    Tolerated,
    /// The program works without it and was not refused it.
    Unused,
}

impl VerdictKind {
    /// The name, as it is in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            VerdictKind::Required => "required",
            VerdictKind::ChangesResult => "changes-result",
            VerdictKind::Tolerated => "tolerated",
            VerdictKind::Unused => "unused",
        }
    }
}

/// A verdict with the runs that prove it, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The capability.
    pub cap: Cap,
    /// The verdict.
    pub kind: VerdictKind,
    /// The evidence.
    pub evidence: Vec<Evidence>,
}

/// One observation, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The kind of a [`Failure`], or `not-asked` or `succeeded`.
    pub kind: &'static str,
    /// A clause about the program.
    pub words: String,
}

/// The result of a search.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The runs with all capabilities.
    pub(crate) baseline: Baseline,
    /// The number of these runs.
    pub baseline_runs: u32,
    /// The smallest set that has passed so far.
    pub minimum: CapSet,
    /// The capabilities that were kept, and not tried without.
    pub keep: CapSet,
    /// Whether the minimum has passed once more at the end, and fails without any one of its
    /// members that was not kept.
    pub proved: bool,
    /// All runs.
    pub runs: Vec<Run>,
}

impl Found {
    /// The first run with all capabilities.
    pub fn first(&self) -> &super::Observation {
        &self.baseline.first
    }

    /// Returns the differences between runs with all capabilities, in words.
    pub fn noise(&self) -> Vec<String> {
        let varying = self.baseline.varying().iter().map(|cap| format!("whether it uses {cap}"));
        self.baseline.noise.words().into_iter().chain(varying).collect()
    }

    /// Returns the capabilities that the runs with all capabilities were granted and used.
    pub fn used(&self) -> CapSet {
        self.baseline.used
    }

    /// Returns a verdict for each capability of the minimum, each that was used with all
    /// capabilities, and each that was refused with the minimum.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let last = self.last_pass();
        let refused = last.into_iter().flat_map(Run::refused).map(|need| need.cap);
        let considered = self.baseline.used | self.minimum | refused.collect::<CapSet>();
        (considered - self.keep).iter().map(|cap| self.verdict(cap)).collect()
    }

    /// Returns the capabilities with this verdict.
    pub fn with_verdict(&self, kind: VerdictKind) -> CapSet {
        self.verdicts().iter().filter(|one| one.kind == kind).map(|one| one.cap).collect()
    }

    /// Returns the capabilities that a run with the minimum is refused, in system calls that fail
    /// for that. A verification has to tolerate them.
    pub fn refused(&self) -> CapSet {
        let needs = self.last_pass().into_iter().flat_map(|run| &run.needs);
        needs.filter(|need| need.meaning == Meaning::Missing).map(|need| need.cap).collect()
    }

    fn verdict(&self, cap: Cap) -> Verdict {
        if self.minimum.contains(cap) {
            if let Some(run) = self.without(cap) {
                return needed(cap, run);
            }
            let evidence =
                vec![Evidence { kind: "not-tried", words: "it was not tried without".to_owned() }];
            return Verdict { cap, kind: VerdictKind::Required, evidence };
        }
        let Some(last) = self.last_pass() else {
            return Verdict { cap, kind: VerdictKind::Unused, evidence: Vec::new() };
        };
        let refused: Vec<&Need> = last.refused().filter(|need| need.cap == cap).collect();
        if !refused.is_empty() {
            let evidence = refused
                .into_iter()
                .map(|need| Evidence { kind: "refused", words: tolerated(need) });
            return Verdict { cap, kind: VerdictKind::Tolerated, evidence: dedup(evidence) };
        }
        let asked: Vec<&Need> = last.needs.iter().filter(|need| need.cap == cap).collect();
        let evidence = if asked.is_empty() {
            let words = "it was not asked for in the runs with the minimum".to_owned();
            vec![Evidence { kind: "not-asked", words }]
        } else {
            let words = "it was asked for, refused, and the call did not fail for that".to_owned();
            vec![Evidence { kind: "succeeded", words }]
        };
        Verdict { cap, kind: VerdictKind::Unused, evidence }
    }

    /// The last run that passed with the minimum: the proof, once there is one.
    fn last_pass(&self) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.passed && run.set == self.minimum)
    }

    /// The run that shows what happens without a capability: one that failed with all others of
    /// the minimum, and with as many besides as there was one.
    fn without(&self, cap: Cap) -> Option<&Run> {
        let rest = self.minimum.without(cap);
        let shows = |run: &&Run| !run.passed && !run.set.contains(cap) && run.set.is_superset(rest);
        self.runs.iter().filter(shows).max_by_key(|run| run.set.len())
    }
}

fn dedup(evidence: impl Iterator<Item = Evidence>) -> Vec<Evidence> {
    let mut all: Vec<Evidence> = evidence.collect();
    all.dedup();
    all
}

/// Returns the verdict about a capability without which a run failed.
pub(super) fn needed(cap: Cap, run: &Run) -> Verdict {
    let weight = run.failures.iter().map(Failure::weight).max();
    let kind = match weight {
        Some(Weight::Result) => VerdictKind::ChangesResult,
        Some(Weight::Tolerated) => VerdictKind::Tolerated,
        Some(Weight::Broken) | None => VerdictKind::Required,
    };
    let about = |failure: &&Failure| match failure {
        Failure::Refused(need) => need.cap == cap,
        _ => true,
    };
    let evidence = run.failures.iter().filter(about).map(|failure| Evidence {
        kind: failure.kind(),
        words: failure.with_message(&run.message),
    });
    Verdict { cap, kind, evidence: dedup(evidence) }
}

/// Returns a refusal that the program tolerated, and what programs do instead if that is known.
fn tolerated(need: &Need) -> String {
    /// Functions of the kernel that check, and what a program does that is refused.
    const INSTEAD: [(Cap, &str, &str); 3] = [
        (
            Cap::NET_ADMIN,
            "sk_setsockopt",
            "SO_SNDBUFFORCE and SO_RCVBUFFORCE fall back to SO_SNDBUF and SO_RCVBUF",
        ),
        (
            Cap::NET_ADMIN,
            "sock_setsockopt",
            "SO_SNDBUFFORCE and SO_RCVBUFFORCE fall back to SO_SNDBUF and SO_RCVBUF",
        ),
        (Cap::SYS_RESOURCE, "do_prlimit", "the limit stays as it was"),
    ];
    let found = INSTEAD
        .iter()
        .find(|(cap, function, _)| *cap == need.cap && need.function.starts_with(function));
    let words = refusal(need);
    found.map_or_else(|| words.clone(), |(_, _, instead)| format!("{words}; {instead}"))
}

impl Run {
    /// Returns the denied checks of the run that no run with all capabilities had.
    pub fn refused(&self) -> impl Iterator<Item = &Need> {
        self.failures.iter().filter_map(|failure| match failure {
            Failure::Refused(need) => Some(need),
            _ => None,
        })
    }

    /// Returns the capabilities that the kernel denied.
    pub(super) fn denied(&self) -> CapSet {
        let counts = |need: &&Need| {
            !need.granted
                && !matches!(
                    need.meaning,
                    Meaning::BeforeTheProgram | Meaning::Overcommit | Meaning::Speculative
                )
        };
        self.needs.iter().filter(counts).map(|need| need.cap).collect()
    }
}

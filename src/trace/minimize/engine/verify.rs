//! The judgement of a given set: whether it is enough, and whether it is more than enough.

use super::{Minimizer, Run, Stop};
use crate::{
    Cap, CapSet,
    trace::{
        Meaning, Need,
        minimize::{Evidence, Failure, Trial, refusal, verdict},
    },
};

/// The result of a verification.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The capabilities that the settings give.
    pub given: CapSet,
    /// The reasons for which it does not work with them; empty if it works.
    pub failures: Vec<Failure>,
    /// The last line of output of the run that failed.
    pub message: String,
    /// One finding for each capability that is given or was refused.
    pub findings: Vec<Finding>,
    /// All runs.
    pub runs: Vec<Run>,
}

/// A finding about one capability.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The capability.
    pub cap: Cap,
    /// The finding.
    pub kind: FindingKind,
    /// The evidence.
    pub evidence: Vec<Evidence>,
}

/// The kind of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// It was refused, and a system call failed for that.
    Missing,
    /// It was not used, or a run without it had the same result.
    Superfluous,
    /// A run without it failed or had another result.
    Required,
    /// It was used.
    Used,
    /// It was refused, and the plan tolerates that.
    Tolerated,
    /// The plan keeps it, whether it is used or not.
    Kept,
    /// The recording cannot tell whether it was used.
    Unknown,
}

impl FindingKind {
    /// Returns the name, as it is in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            FindingKind::Missing => "missing",
            FindingKind::Superfluous => "superfluous",
            FindingKind::Required => "required",
            FindingKind::Used => "used",
            FindingKind::Tolerated => "tolerated",
            FindingKind::Kept => "kept",
            FindingKind::Unknown => "unknown",
        }
    }
}

impl Verified {
    /// Returns whether it works with the given capabilities, and none is missing or superfluous.
    pub fn holds(&self) -> bool {
        self.failures.is_empty() && self.missing().is_empty() && self.superfluous().is_empty()
    }

    /// Returns the capabilities that are missing.
    pub fn missing(&self) -> CapSet {
        self.of_kind(FindingKind::Missing)
    }

    /// Returns the capabilities that are superfluous.
    pub fn superfluous(&self) -> CapSet {
        self.of_kind(FindingKind::Superfluous)
    }

    /// Returns the capabilities with such a finding.
    pub fn of_kind(&self, kind: FindingKind) -> CapSet {
        self.findings.iter().filter(|one| one.kind == kind).map(|one| one.cap).collect()
    }
}

impl<T: Trial> Minimizer<T> {
    /// Runs the trial with exactly the capabilities of the plan, and judges these: one that was
    /// refused is missing, and one that was not used is superfluous.
    ///
    /// `progress` is told of each run.
    ///
    /// # Errors
    ///
    /// The reason for which there is no answer. A trial that fails is an answer.
    pub fn verify(&mut self, progress: &mut dyn FnMut(&Run)) -> Result<Verified, Stop<T::Error>> {
        for _ in 0..self.plan.repeat.max(1) {
            let failures = self.observe(self.plan.most, true, progress)?;
            if !failures.is_empty() {
                let message = std::mem::take(&mut self.last.message);
                return Ok(Verified { failures, message, ..self.verified() });
            }
            self.add_to_baseline()?;
        }
        Ok(self.verified())
    }

    /// Verifies the capabilities of the plan, and then runs the trial without each of them: one
    /// without which it does the same is superfluous.
    ///
    /// The ones that were not used are left out together first.
    ///
    /// # Errors
    ///
    /// Those of [`Minimizer::verify`], and that the runs with the same capabilities differ.
    pub fn verify_minimal(
        &mut self,
        progress: &mut dyn FnMut(&Run),
    ) -> Result<Verified, Stop<T::Error>> {
        let mut verified = self.verify(progress)?;
        if !verified.failures.is_empty() {
            return Ok(verified);
        }
        self.run_baseline(progress)?;
        let unused = verified.superfluous();
        let mut rest = self.plan.most - self.plan.keep;
        let mut findings = Vec::new();
        let superfluous = |cap, kind, words: &str| {
            let evidence = vec![Evidence { kind, words: words.to_owned() }];
            Finding { cap, kind: FindingKind::Superfluous, evidence }
        };
        if !unused.is_empty() && self.passes(self.plan.most - unused, progress)? {
            rest -= unused;
            let words = "it was not asked for, and without it the result is the same";
            findings.extend(unused.iter().map(|cap| superfluous(cap, "not-asked", words)));
        }
        for cap in rest {
            let tried = (rest | (self.plan.keep & self.plan.most)).without(cap);
            findings.push(if self.passes(tried, progress)? {
                superfluous(cap, "succeeded", "without it, the result is the same")
            } else {
                let failed = self.runs.iter().rev().find(|run| run.set == tried && !run.passed);
                let evidence = failed.map(|run| verdict::needed(cap, run).evidence);
                let evidence = evidence.unwrap_or_default();
                Finding { cap, kind: FindingKind::Required, evidence }
            });
        }
        // A capability that is given and was refused stays missing.
        let missing = verified.missing();
        findings.retain(|finding| !missing.contains(finding.cap));
        let judged: CapSet = findings.iter().map(|finding| finding.cap).collect();
        verified.findings.retain(|finding| !judged.contains(finding.cap));
        verified.findings.extend(findings);
        verified.findings.sort_by_key(|finding| finding.cap);
        verified.runs.clone_from(&self.runs);
        Ok(verified)
    }

    /// Returns the findings of the runs with the capabilities of the plan.
    fn verified(&self) -> Verified {
        let given = self.plan.most;
        let runs = || self.runs.iter().filter(|run| run.set == given);
        let refused = |need: &&Need| need.meaning == Meaning::Missing;
        let is_used = |need: &&Need| matches!(need.meaning, Meaning::Candidate | Meaning::Weak);
        let needs = || runs().flat_map(|run| &run.needs);
        let all = given | needs().filter(refused).map(|need| need.cap).collect::<CapSet>();
        let used: CapSet = needs().filter(is_used).map(|need| need.cap).collect();
        // A run that failed may have been on its way to use more.
        let is_complete = runs().all(|run| run.lost == Some(0) && run.passed);
        let unseen = if is_complete { self.plan.unseen } else { given };
        let finding = |cap: Cap| {
            let mut evidence: Vec<Evidence> = needs()
                .filter(|need| need.cap == cap && refused(need))
                .map(|need| Evidence { kind: "refused", words: refusal(need) })
                .collect();
            evidence.dedup();
            let kind = match evidence.is_empty() {
                false if self.plan.tolerate.contains(cap) => FindingKind::Tolerated,
                false => FindingKind::Missing,
                true if self.plan.keep.contains(cap) => FindingKind::Kept,
                true if used.contains(cap) => FindingKind::Used,
                true if unseen.contains(cap) => FindingKind::Unknown,
                true => {
                    let words = "it was not asked for".to_owned();
                    evidence.push(Evidence { kind: "not-asked", words });
                    FindingKind::Superfluous
                }
            };
            Finding { cap, kind, evidence }
        };
        Verified {
            given,
            failures: Vec::new(),
            message: String::new(),
            findings: all.iter().map(finding).collect(),
            runs: self.runs.clone(),
        }
    }
}

//! The results of recordings as files, and merged results. (docs/json.md)

use std::cmp::Reverse;

use super::{Analysis, Backend, Exit, Need, denial::Denial};
use crate::CapSet;

/// The report of one run of a program, or of running processes. (docs/json.md)
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Report {
    /// The version of this layout.
    pub schema: u32,
    /// The program and its arguments, or the recorded target, with U+FFFD in place of invalid
    /// UTF-8.
    pub command: Vec<String>,
    /// The exit of the program, or `None` for running processes.
    pub exit: Option<Exit>,
    /// The backend.
    pub backend: Backend,
    /// The capabilities that were granted and used.
    pub candidates: CapSet,
    /// The capabilities that were denied, where the system call then failed for lack of permission.
    pub missing: CapSet,
    /// All checks, merged by capability, rule, kernel function and program.
    pub checks: Vec<Need>,
    /// The system calls that were denied.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused: Vec<Denial>,
    /// The number of lost records, or `None` if some were lost and not counted.
    pub lost: Option<u64>,
    /// Other reasons for which the report is incomplete, in words.
    #[cfg_attr(feature = "serde", serde(default))]
    pub gaps: Vec<String>,
    /// The limits of the recording, in words.
    pub unseen: Vec<String>,
}

/// Several runs merged: the capabilities that any of them needed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Merged {
    /// The version of this layout.
    pub schema: u32,
    /// The capabilities that were granted and used in any run.
    pub candidates: CapSet,
    /// The capabilities that were missing in any run.
    pub missing: CapSet,
    /// The runs, without their checks.
    pub runs: Vec<MergedRun>,
    /// The merged checks of all runs.
    pub checks: Vec<MergedNeed>,
    /// The system calls that were denied in any run.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused: Vec<Denial>,
    /// The number of lost records in all runs, or `None` if some were lost and not counted.
    pub lost: Option<u64>,
    /// Other reasons for which any of the runs is incomplete, in words.
    #[cfg_attr(feature = "serde", serde(default))]
    pub gaps: Vec<String>,
    /// The limits of the recordings, in words.
    pub unseen: Vec<String>,
}

/// One of several runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MergedRun {
    /// See [`Report::command`].
    pub command: Vec<String>,
    /// See [`Report::exit`].
    pub exit: Option<Exit>,
    /// See [`Report::candidates`].
    pub candidates: CapSet,
    /// See [`Report::missing`].
    pub missing: CapSet,
    /// See [`Report::lost`].
    pub lost: Option<u64>,
}

/// Checks of one or several runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MergedNeed {
    /// The checks, with the count over all runs.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub need: Need,
    /// The runs, numbered from 0 as in [`Merged::runs`].
    pub runs: Vec<usize>,
}

impl Report {
    /// The version of the layout that this library reads and writes.
    pub const SCHEMA: u32 = 1;

    /// Returns the analysis of the checks.
    pub fn analysis(&self) -> Analysis {
        Analysis::new(self.checks.clone())
    }
}

/// Converts one run.
impl From<Report> for Merged {
    fn from(report: Report) -> Merged {
        let Report {
            schema,
            command,
            exit,
            candidates,
            missing,
            checks,
            refused,
            lost,
            gaps,
            unseen,
            ..
        } = report;
        Merged {
            schema,
            candidates,
            missing,
            runs: vec![MergedRun { command, exit, candidates, missing, lost }],
            checks: checks.into_iter().map(|need| MergedNeed { need, runs: vec![0] }).collect(),
            refused,
            lost,
            gaps,
            unseen,
        }
    }
}

impl Merged {
    /// The number of runs that are kept apart. Older runs are merged into one.
    pub const RUNS: usize = 100;

    /// Merges reports.
    pub fn new(reports: &[Report]) -> Merged {
        Merged::of(reports.iter().cloned().map(Merged::from))
    }

    /// Merges parts, with their runs in order.
    pub fn of(parts: impl IntoIterator<Item = Merged>) -> Merged {
        let mut merged = Merged {
            schema: Report::SCHEMA,
            candidates: CapSet::empty(),
            missing: CapSet::empty(),
            runs: Vec::new(),
            checks: Vec::new(),
            refused: Vec::new(),
            lost: Some(0),
            gaps: Vec::new(),
            unseen: Vec::new(),
        };
        for part in parts {
            let before = merged.runs.len();
            merged.candidates |= part.candidates;
            merged.missing |= part.missing;
            merged.lost = sum(merged.lost, part.lost);
            merged.refused.extend(part.refused);
            merged.gaps.extend(part.gaps);
            merged.unseen.extend(part.unseen);
            merged.checks.extend(part.checks.into_iter().map(|mut shared| {
                // A report from a file may contain any number.
                shared.runs.retain(|run| *run < part.runs.len());
                shared.runs.iter_mut().for_each(|run| *run += before);
                shared
            }));
            merged.runs.extend(part.runs);
        }
        merged.limit();
        merged
    }

    /// Merges equal rows, and rows and runs beyond the limits.
    fn limit(&mut self) {
        let joined = self.runs.len().saturating_sub(Merged::RUNS);
        if joined > 0 {
            let oldest: Vec<MergedRun> = self.runs.drain(..=joined).collect();
            let first = MergedRun {
                command: vec!["(earlier runs)".to_owned()],
                exit: None,
                candidates: union(&oldest, |run| run.candidates),
                missing: union(&oldest, |run| run.missing),
                lost: oldest.iter().map(|run| run.lost).reduce(sum).flatten(),
            };
            self.runs.insert(0, first);
            for run in self.checks.iter_mut().flat_map(|shared| &mut shared.runs) {
                *run = run.saturating_sub(joined);
            }
        }
        self.join();
        let is_other = |shared: &MergedNeed| shared.need.program == Analysis::OTHERS;
        if self.checks.iter().filter(|shared| !is_other(shared)).count() > Analysis::ROWS {
            // The order of the meanings is the order of their weight.
            self.checks.sort_by_key(|shared| {
                (is_other(shared), Reverse((shared.need.meaning, shared.need.count)))
            });
            for shared in &mut self.checks[Analysis::ROWS..] {
                Analysis::OTHERS.clone_into(&mut shared.need.program);
            }
            self.join();
            self.unseen.push(Analysis::CUT.to_owned());
        }
        self.join_refused();
        for words in [&mut self.gaps, &mut self.unseen] {
            words.sort();
            words.dedup();
        }
    }

    /// Merges denials that differ only in their number of calls.
    fn join_refused(&mut self) {
        let key = |one: &Denial| Denial { count: 0, ..one.clone() };
        self.refused.sort();
        self.refused.dedup_by(|again, one| {
            let alike = key(again) == key(one);
            one.count = one.count.saturating_add(if alike { again.count } else { 0 });
            alike
        });
        if self.refused.len() > Analysis::ROWS {
            self.refused.truncate(Analysis::ROWS);
            self.unseen.push(Analysis::CUT.to_owned());
        }
    }

    /// Merges equal rows.
    fn join(&mut self) {
        self.checks.sort_by(|a, b| a.need.key().cmp(&b.need.key()));
        self.checks.dedup_by(|again, one| {
            let alike = again.need.key() == one.need.key();
            if alike {
                one.need.absorb(&again.need);
                one.runs.append(&mut again.runs);
            }
            alike
        });
        for shared in &mut self.checks {
            shared.runs.sort_unstable();
            shared.runs.dedup();
        }
    }
}

fn union(runs: &[MergedRun], set: impl Fn(&MergedRun) -> CapSet) -> CapSet {
    runs.iter().fold(CapSet::empty(), |all, run| all | set(run))
}

/// Returns the sum, or `None` if either is unknown.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.saturating_add(other?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cap, trace::Meaning};

    fn report(command: &str, needs: &[(Cap, Meaning, u64)], lost: Option<u64>) -> Report {
        let need = |&(cap, rule, count): &(Cap, Meaning, u64)| Need {
            cap,
            meaning: rule,
            granted: true,
            function: "f".into(),
            reason: None,
            count,
            system_call: None,
            returned: Some(0),
            program: "/bin/p".into(),
            objects: Vec::new(),
            has_more_objects: false,
            stacks: Vec::new(),
            has_more_stacks: false,
            by_exec: false,
        };
        let analysis = Analysis::new(needs.iter().map(need).collect());
        Report {
            schema: Report::SCHEMA,
            command: vec![command.into()],
            exit: Some(Exit { code: Some(0), signal: None }),
            backend: Backend::Tracepoint,
            candidates: analysis.candidates,
            missing: analysis.missing,
            checks: analysis.needs,
            refused: Vec::new(),
            lost,
            gaps: vec![command.into()],
            unseen: vec!["much".into()],
        }
    }

    #[test]
    fn what_any_run_needed() {
        let reports = [
            report(
                "a",
                &[(Cap::CHOWN, Meaning::Candidate, 2), (Cap::KILL, Meaning::Weak, 1)],
                Some(0),
            ),
            report("b", &[(Cap::CHOWN, Meaning::Candidate, 3)], Some(7)),
            report("c", &[(Cap::FOWNER, Meaning::Missing, 1)], Some(1)),
        ];
        let merged = Merged::new(&reports);
        assert_eq!(merged.candidates, Cap::CHOWN.into());
        assert_eq!(merged.missing, Cap::FOWNER.into());
        assert_eq!(merged.lost, Some(8));
        assert_eq!(merged.unseen, ["much"]);
        assert_eq!(merged.gaps, ["a", "b", "c"]);
        let rows: Vec<_> =
            merged.checks.iter().map(|one| (one.need.cap, one.need.count, &*one.runs)).collect();
        let want: [(Cap, u64, &[usize]); 3] =
            [(Cap::CHOWN, 5, &[0, 1]), (Cap::FOWNER, 1, &[2]), (Cap::KILL, 1, &[0])];
        assert_eq!(rows, want);
        assert_eq!(Merged::new(&[report("d", &[], None)]).lost, None);
    }

    #[test]
    fn counts_and_rows_have_limits() {
        let many = |program: usize| {
            let mut one =
                report("a", &[(Cap::CHOWN, Meaning::Candidate, u64::MAX)], Some(u64::MAX));
            one.checks[0].program = format!("/bin/{program}");
            one
        };
        let reports: Vec<Report> = (0..Analysis::ROWS + 10).map(many).collect();
        let merged = Merged::new(&reports);
        assert_eq!(merged.checks.len(), Analysis::ROWS + 1);
        assert_eq!(merged.lost, Some(u64::MAX));
        assert!(merged.unseen.contains(&Analysis::CUT.to_owned()));
        let others = merged.checks.iter().find(|one| one.need.program == Analysis::OTHERS);
        assert_eq!(others.unwrap().need.count, u64::MAX);
        // The first run stands for all merged ones.
        assert_eq!(merged.runs.len(), Merged::RUNS);
        assert_eq!(merged.runs[0].command, ["(earlier runs)"]);
        assert_eq!(merged.runs[0].candidates, Cap::CHOWN.into());
        let last = merged.checks.iter().find(|one| one.runs == [99]).unwrap();
        assert_eq!(last.need.cap, Cap::CHOWN);
        let again = Merged::of([merged.clone(), Merged::of([])]);
        assert_eq!((again.runs.len(), again.checks.len()), (100, merged.checks.len()));
    }

    #[test]
    fn it_reads_what_it_writes() {
        let merged = Merged::new(&[report("a", &[(Cap::CHOWN, Meaning::OneNeed, 2)], None)]);
        let text = serde_json::to_string(&merged).unwrap();
        assert_eq!(serde_json::from_str::<Merged>(&text).unwrap(), merged);
        let report = report("a", &[(Cap::CHOWN, Meaning::OneNeed, 2)], None);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        // Earlier versions had no gaps.
        let text = text.replace("\"gaps\":[\"a\"],", "");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap().gaps, [""; 0]);
    }
}

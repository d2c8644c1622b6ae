//! The results of recordings as files, and several of them merged. (docs/json.md)

use std::cmp::Reverse;

use super::{Analysis, Backend, Exit, Need};
use crate::CapSet;

/// One run of a program, or a while of processes that ran already. (docs/json.md)
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Report {
    /// The version of this layout.
    pub schema: u32,
    /// The program and its arguments, or what was recorded, with U+FFFD for what is no UTF-8.
    pub command: Vec<String>,
    /// How the program ended; `None` for what ran already.
    pub exit: Option<Exit>,
    /// How the kernel was asked.
    pub backend: Backend,
    /// What was granted and used.
    pub candidates: CapSet,
    /// What was refused, where the system call then failed for lack of permission.
    pub missing: CapSet,
    /// Every check, by capability, rule, function of the kernel and program.
    pub checks: Vec<Need>,
    /// How many records had no place; `None`: some.
    pub lost: Option<u64>,
    /// Why it is not complete, besides lost records, in words.
    #[cfg_attr(feature = "serde", serde(default))]
    pub gaps: Vec<String>,
    /// What was not seen, in words.
    pub unseen: Vec<String>,
}

/// Several runs as one: what any of them needed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Merged {
    /// The version of this layout.
    pub schema: u32,
    /// What was granted and used in any run.
    pub candidates: CapSet,
    /// What was missing in any run.
    pub missing: CapSet,
    /// The runs, without their checks.
    pub runs: Vec<MergedRun>,
    /// The checks of all runs.
    pub checks: Vec<MergedNeed>,
    /// How many records had no place in all of them; `None`: some.
    pub lost: Option<u64>,
    /// Why any of them is not complete, besides lost records, in words.
    #[cfg_attr(feature = "serde", serde(default))]
    pub gaps: Vec<String>,
    /// What was not seen, in words.
    pub unseen: Vec<String>,
}

/// A run of several.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MergedRun {
    /// As in [`Report::command`].
    pub command: Vec<String>,
    /// As in [`Report::exit`].
    pub exit: Option<Exit>,
    /// As in [`Report::candidates`].
    pub candidates: CapSet,
    /// As in [`Report::missing`].
    pub missing: CapSet,
    /// As in [`Report::lost`].
    pub lost: Option<u64>,
}

/// Checks of one or of several runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MergedNeed {
    /// The checks; how many in all runs.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub need: Need,
    /// The runs, numbered from 0 as in [`Merged::runs`].
    pub runs: Vec<usize>,
}

impl Report {
    /// The version of the layout that this library writes and reads.
    pub const SCHEMA: u32 = 1;

    /// What the checks come to.
    pub fn analysis(&self) -> Analysis {
        Analysis::new(self.checks.clone())
    }
}

/// One run.
impl From<Report> for Merged {
    fn from(report: Report) -> Merged {
        let Report {
            schema, command, exit, candidates, missing, checks, lost, gaps, unseen, ..
        } = report;
        Merged {
            schema,
            candidates,
            missing,
            runs: vec![MergedRun { command, exit, candidates, missing, lost }],
            checks: checks.into_iter().map(|need| MergedNeed { need, runs: vec![0] }).collect(),
            lost,
            gaps,
            unseen,
        }
    }
}

impl Merged {
    /// How many runs are kept apart. The oldest ones beyond that become one.
    pub const RUNS: usize = 100;

    /// These reports as one.
    pub fn new(reports: &[Report]) -> Merged {
        Merged::of(reports.iter().cloned().map(Merged::from))
    }

    /// All of these as one, with their runs in order.
    pub fn of(parts: impl IntoIterator<Item = Merged>) -> Merged {
        let mut merged = Merged {
            schema: Report::SCHEMA,
            candidates: CapSet::empty(),
            missing: CapSet::empty(),
            runs: Vec::new(),
            checks: Vec::new(),
            lost: Some(0),
            gaps: Vec::new(),
            unseen: Vec::new(),
        };
        for part in parts {
            let before = merged.runs.len();
            merged.candidates |= part.candidates;
            merged.missing |= part.missing;
            merged.lost = sum(merged.lost, part.lost);
            merged.gaps.extend(part.gaps);
            merged.unseen.extend(part.unseen);
            merged.checks.extend(part.checks.into_iter().map(|mut shared| {
                // A report that is read can say anything.
                shared.runs.retain(|run| *run < part.runs.len());
                shared.runs.iter_mut().for_each(|run| *run += before);
                shared
            }));
            merged.runs.extend(part.runs);
        }
        merged.limit();
        merged
    }

    /// Joins what is alike, and the rows and runs beyond the limits.
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
            // The rules are in the order of their weight.
            self.checks.sort_by_key(|shared| {
                (is_other(shared), Reverse((shared.need.meaning, shared.need.count)))
            });
            for shared in &mut self.checks[Analysis::ROWS..] {
                Analysis::OTHERS.clone_into(&mut shared.need.program);
            }
            self.join();
            self.unseen.push(Analysis::CUT.to_owned());
        }
        for words in [&mut self.gaps, &mut self.unseen] {
            words.sort();
            words.dedup();
        }
    }

    /// Makes one row of those that are alike.
    fn join(&mut self) {
        self.checks.sort_by(|a, b| a.need.key().cmp(&b.need.key()));
        self.checks.dedup_by(|again, one| {
            let alike = again.need.key() == one.need.key();
            if alike {
                one.need.count = one.need.count.saturating_add(again.need.count);
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

/// `None`: some, and nobody counted.
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
        // The first of the runs stands for all that are too many.
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
        // Earlier ones had no gaps.
        let text = text.replace("\"gaps\":[\"a\"],", "");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap().gaps, [""; 0]);
    }
}

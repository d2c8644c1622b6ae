//! What a recording came to, as it is saved and read again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Analysis, Backend, Exit, Need};
use crate::CapSet;

/// One run of a program, or a while of processes that ran already. (docs/json.md)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default)]
    pub gaps: Vec<String>,
    /// What was not seen, in words.
    pub unseen: Vec<String>,
}

/// Several runs as one: what any of them needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// The version of this layout.
    pub schema: u32,
    /// What was granted and used in any run.
    pub candidates: CapSet,
    /// What was missing in any run.
    pub missing: CapSet,
    /// The runs, without their checks.
    pub runs: Vec<Run>,
    /// The checks of all runs.
    pub checks: Vec<Shared>,
    /// How many records had no place in all of them; `None`: some.
    pub lost: Option<u64>,
    /// Why any of them is not complete, besides lost records, in words.
    pub gaps: Vec<String>,
    /// What was not seen, in words.
    pub unseen: Vec<String>,
}

/// A run of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// The checks; how many in all runs.
    #[serde(flatten)]
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

impl Merged {
    /// These reports as one.
    pub fn new(reports: &[Report]) -> Merged {
        let mut checks: BTreeMap<_, Shared> = BTreeMap::new();
        for (at, report) in reports.iter().enumerate() {
            for need in &report.checks {
                let shared = checks.entry(need.key()).or_insert_with(|| Shared {
                    need: Need { count: 0, ..need.clone() },
                    runs: Vec::new(),
                });
                shared.need.count = shared.need.count.saturating_add(need.count);
                if shared.runs.last() != Some(&at) {
                    shared.runs.push(at);
                }
            }
        }
        let all = |of: fn(&Report) -> &[String]| -> Vec<String> {
            let words: BTreeSet<&String> = reports.iter().flat_map(of).collect();
            words.into_iter().cloned().collect()
        };
        let run = |report: &Report| Run {
            command: report.command.clone(),
            exit: report.exit,
            candidates: report.candidates,
            missing: report.missing,
            lost: report.lost,
        };
        let lost = |sum: Option<u64>, report: &Report| Some(sum?.saturating_add(report.lost?));
        Merged {
            schema: Report::SCHEMA,
            candidates: reports.iter().fold(CapSet::empty(), |set, one| set | one.candidates),
            missing: reports.iter().fold(CapSet::empty(), |set, one| set | one.missing),
            runs: reports.iter().map(run).collect(),
            checks: checks.into_values().collect(),
            lost: reports.iter().fold(Some(0), lost),
            gaps: all(|report| &report.gaps),
            unseen: all(|report| &report.unseen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cap, trace::Rule};

    fn report(command: &str, needs: &[(Cap, Rule, u64)], lost: Option<u64>) -> Report {
        let need = |&(cap, rule, count): &(Cap, Rule, u64)| Need {
            cap,
            rule,
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
            report("a", &[(Cap::CHOWN, Rule::Candidate, 2), (Cap::KILL, Rule::Weak, 1)], Some(0)),
            report("b", &[(Cap::CHOWN, Rule::Candidate, 3)], Some(7)),
            report("c", &[(Cap::FOWNER, Rule::Missing, 1)], Some(1)),
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
    fn it_reads_what_it_writes() {
        let report = report("a", &[(Cap::CHOWN, Rule::OneNeed, 2)], None);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        // Earlier ones had no gaps.
        let text = text.replace("\"gaps\":[\"a\"],", "");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap().gaps, [""; 0]);
    }
}

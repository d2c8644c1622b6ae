//! Units and containers compared with saved reports of `rcap trace`: what they hold and never used.

use std::{io, path::Path};

use super::{Group, Inventory, Unread, encode};
use crate::{
    CapSet,
    error::chain,
    trace::{
        Meaning,
        report::{Merged, MergedRun},
    },
};

/// The command that stands for runs that were merged into one.
const EARLIER: &str = "(earlier runs)";
/// The shortest prefix of a container's ID that identifies it, as engines print it.
const PREFIX: usize = 12;

impl Inventory {
    /// Sets [`Group::unused`] of the units and containers that the reports of `rcap trace` are about,
    /// each with the name of its file. `container` returns the ID of the container that has a name now.
    ///
    /// A run is about a unit that it recorded by name (`--unit`), about a container that it recorded
    /// by its ID or its name (`--container`), and about each unit of which all processes execute the
    /// recorded program, by an absolute path. All runs about a unit count together.
    ///
    /// Nothing is said of a unit if a run about it is not complete, and nothing of any unit if a
    /// report cannot be read, because it may be about each of them. Both are then among
    /// [`Inventory::unread`].
    pub fn compare_with(
        &mut self,
        reports: &[(String, io::Result<Merged>)],
        container: impl Fn(&str) -> Option<String>,
    ) {
        let mut runs = Vec::new();
        for (name, report) in reports {
            match report {
                Ok(merged) => runs.extend(traced(name, merged, &container)),
                Err(err) => self.add_unread(name, chain(err)),
            }
        }
        if reports.iter().any(|(_, report)| report.is_err()) {
            return;
        }
        let mut incomplete = Vec::new();
        let Inventory { units, containers, processes, .. } = self;
        for (kind, group) in units
            .iter_mut()
            .map(|unit| (Kind::Unit, unit))
            .chain(containers.iter_mut().map(|container| (Kind::Container, container)))
        {
            let own = processes.iter().filter(|one| group.pids.contains(&one.status.pid));
            let mut programs: Vec<Option<&Path>> = own.map(|one| one.program.as_deref()).collect();
            programs.dedup();
            let program = if let [Some(program)] = *programs { Some(program) } else { None };
            let about: Vec<&Traced> =
                runs.iter().filter(|run| run.is_about(kind, group, program)).collect();
            let broken = about.iter().filter(|run| !run.is_complete);
            incomplete.extend(broken.map(|run| run.report.to_owned()));
            group.unused = unused(group, &about);
        }
        incomplete.sort_unstable();
        incomplete.dedup();
        for report in incomplete {
            self.add_unread(&report, "the recording is not complete".into());
        }
    }

    fn add_unread(&mut self, report: &str, reason: String) {
        self.unread.push(Unread { subject: encode(report), reason });
    }
}

/// Returns the capabilities that a group holds and none of the runs used; `None` without a run, or
/// if one of them is not complete.
fn unused(group: &Group, about: &[&Traced<'_>]) -> Option<CapSet> {
    if about.is_empty() || about.iter().any(|run| !run.is_complete) {
        return None;
    }
    let used = about.iter().fold(CapSet::empty(), |used, run| used | run.used);
    Some(group.permitted - used)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unit,
    Container,
}

/// One run of a report.
#[derive(Debug)]
struct Traced<'a> {
    report: &'a str,
    about: Vec<About>,
    used: CapSet,
    is_complete: bool,
}

/// The subject of a run.
#[derive(Debug, PartialEq, Eq)]
enum About {
    /// The full name of a unit.
    Unit(String),
    /// The ID of a container or its beginning.
    Container(String),
    /// The path of a program.
    Program(String),
}

fn traced<'a>(
    report: &'a str,
    merged: &'a Merged,
    container: &impl Fn(&str) -> Option<String>,
) -> Vec<Traced<'a>> {
    let used_by = |at: usize| {
        let counts = merged.checks.iter().filter(|one| one.runs.contains(&at));
        let used = counts.filter(|one| is_use(one.need.meaning)).map(|one| one.need.cap);
        let run = &merged.runs[at];
        used.collect::<CapSet>() | run.candidates | run.missing
    };
    // Runs that were merged may have been about anything.
    let is_earlier = |run: &MergedRun| matches!(&*run.command, [word] if word == EARLIER);
    let earlier = (0..merged.runs.len()).filter(|at| is_earlier(&merged.runs[*at]));
    let earlier = earlier.map(used_by).fold(CapSet::empty(), |used, one| used | one);
    let all = merged.runs.iter().enumerate().map(|(at, run)| Traced {
        report,
        about: about(&run.command, container),
        used: used_by(at) | earlier,
        is_complete: merged.lost == Some(0) && run.lost == Some(0) && merged.gaps.is_empty(),
    });
    all.collect()
}

/// Returns whether a check means that the capability is used, or may be.
fn is_use(meaning: Meaning) -> bool {
    matches!(meaning, Meaning::Candidate | Meaning::Missing | Meaning::Unclear | Meaning::Weak)
}

fn about(command: &[String], container: &impl Fn(&str) -> Option<String>) -> Vec<About> {
    let target = |word: &String| {
        if let Some(name) = word.strip_prefix("--unit=") {
            let is_full = name.contains('.');
            let full = if is_full { name.to_owned() } else { format!("{name}.service") };
            return Some(About::Unit(full));
        }
        let name = word.strip_prefix("--container=")?;
        let is_id = name.len() >= PREFIX
            && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = if is_id { Some(name.to_owned()) } else { container(name) };
        id.map(About::Container)
    };
    match command.first() {
        Some(first) if first.starts_with('/') => vec![About::Program(first.clone())],
        _ => command.iter().filter_map(target).collect(),
    }
}

impl Traced<'_> {
    fn is_about(&self, kind: Kind, group: &Group, program: Option<&Path>) -> bool {
        self.about.iter().any(|about| match about {
            About::Unit(name) => kind == Kind::Unit && *name == group.name,
            About::Container(id) => kind == Kind::Container && group.name.starts_with(&**id),
            About::Program(path) => kind == Kind::Unit && program == Some(Path::new(path)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Cap;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// A report with one run, which used CAP_CHOWN.
    fn report(command: &[&str], changes: &Value) -> io::Result<Merged> {
        let check = |cap: &str, rule: &str| {
            json!({
                "cap": cap, "rule": rule, "granted": true, "function": "", "reason": null,
                "count": 1, "system_call": null, "returned": 0, "program": "/bin/p", "runs": [0],
            })
        };
        let mut report = json!({
            "schema": 1, "candidates": ["cap_chown"], "missing": [], "lost": 0, "gaps": [],
            "unseen": [],
            "runs": [{
                "command": command, "exit": null, "candidates": ["cap_chown"], "missing": [],
                "lost": 0,
            }],
            "checks": [check("cap_chown", "candidate"), check("cap_sys_admin", "overcommit")],
        });
        for (key, value) in changes.as_object().unwrap() {
            report[key] = value.clone();
        }
        Ok(serde_json::from_value(report)?)
    }

    fn inventory() -> Inventory {
        let permitted = CapSet::of(&[Cap::CHOWN, Cap::SYS_ADMIN, Cap::KILL]);
        let group = |name: &str| Group { name: name.into(), permitted, ..Group::default() };
        Inventory {
            units: vec![group("web.service"), group("other.service")],
            containers: vec![group(ID)],
            ..Inventory::default()
        }
    }

    /// Returns what is unused in web.service and in the container, and what is unread.
    fn compared<const N: usize>(
        reports: [io::Result<Merged>; N],
    ) -> (Option<CapSet>, Option<CapSet>, Vec<String>) {
        let mut inventory = inventory();
        let named = reports.map(|report| ("r.json".to_owned(), report));
        let by_name = |name: &str| (name == "db").then(|| ID.to_owned());
        inventory.compare_with(&named, by_name);
        assert_eq!(inventory.units[1].unused, None);
        let reasons = inventory.unread.into_iter().map(|one| one.reason).collect();
        (inventory.units[0].unused, inventory.containers[0].unused, reasons)
    }

    #[test]
    fn subjects() {
        let rest = Some(CapSet::of(&[Cap::SYS_ADMIN, Cap::KILL]));
        #[rustfmt::skip]
        let rows: &[(&[&str], Option<CapSet>, Option<CapSet>)] = &[
            (&["--unit=web.service"],                     rest, None),
            (&["--unit=web"],                             rest, None),
            (&["--unit=we"],                              None, None),
            (&["--container=0123456789ab"],               None, rest),
            // Too short to be the beginning of one ID alone.
            (&["--container=0123"],                       None, None),
            (&["--container=db"],                         None, rest),
            (&["--container=web.service"],                None, None),
            (&["--unit=web", "--container=0123456789ab"], rest, rest),
            (&["web.service"],                            None, None),
            (&["/bin/web"],                               None, None),
            (&[],                                         None, None),
        ];
        for (command, unit, container) in rows {
            let compared = compared([report(command, &json!({}))]);
            assert_eq!(compared, (*unit, *container, Vec::new()), "{command:?}");
        }
    }

    #[test]
    fn runs_count_together() {
        let kill = report(
            &["--unit=web"],
            &json!({
                "runs": [{
                    "command": ["--unit=web"], "exit": null, "candidates": ["cap_kill"],
                    "missing": [], "lost": 0,
                }],
            }),
        );
        let both = [report(&["--unit=web"], &json!({})), kill];
        assert_eq!(compared(both).0, Some(Cap::SYS_ADMIN.into()));
    }

    #[test]
    fn incomplete_reports() {
        let good = || report(&["--unit=web"], &json!({}));
        let not_complete = vec!["the recording is not complete".to_owned()];
        for changes in [json!({ "lost": 1 }), json!({ "lost": null }), json!({ "gaps": ["x"] })] {
            let reports = [good(), report(&["--unit=web"], &changes)];
            assert_eq!(compared(reports), (None, None, not_complete.clone()));
        }
        // One that is about something else matters to that alone.
        let reports = [good(), report(&["--unit=x"], &json!({ "lost": 1 }))];
        assert_eq!(compared(reports).0, Some(CapSet::of(&[Cap::SYS_ADMIN, Cap::KILL])));
        let reports = [good(), Err(io::Error::other("not JSON"))];
        assert_eq!(compared(reports), (None, None, vec!["not JSON".to_owned()]));
        assert_eq!(compared([]), (None, None, Vec::new()));
    }

    #[test]
    fn runs_without_a_subject() {
        let earlier = json!({
            "runs": [
                { "command": [EARLIER], "exit": null, "candidates": ["cap_kill"], "missing": [], "lost": 0 },
                { "command": ["--unit=web"], "exit": null, "candidates": [], "missing": [], "lost": 0 },
            ],
        });
        let (unit, ..) = compared([report(&[], &earlier)]);
        assert_eq!(unit, Some(Cap::SYS_ADMIN.into()));
    }
}

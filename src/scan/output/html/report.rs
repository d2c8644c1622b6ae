//! The page of a report of `rcap trace`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use askama::Template;
use nix::errno::Errno;

use crate::{
    Cap, CapSet, knowledge,
    knowledge::Worth,
    scan::{Severity, inventory::set_in_words, name::encode_words},
    trace::{
        Meaning,
        denial::Denial,
        report::{Merged, MergedNeed, MergedRun},
    },
};

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    name: String,
    candidates: String,
    missing: String,
    gaps: Vec<String>,
    caps: Vec<Power>,
    rows: Vec<Row>,
    programs: Vec<Program>,
    refused: Vec<[String; 5]>,
    runs: Vec<[String; 5]>,
    unseen: Vec<String>,
}

/// A capability that was used or missing.
struct Power {
    severity: &'static str,
    name: String,
    what: &'static str,
    permits: &'static str,
    route: Option<&'static str>,
    instead: Option<&'static str>,
    programs: String,
}

/// A row of the table of checks.
struct Row {
    result: &'static str,
    rank: usize,
    is_missing: bool,
    cap: String,
    program: String,
    purpose: String,
    call: String,
    count: u64,
    runs: String,
}

/// A program, and its uses of capabilities.
struct Program {
    name: String,
    caps: String,
    uses: BTreeSet<[String; 2]>,
}

/// Returns the page of a report.
///
/// # Errors
///
/// The template cannot be rendered, which writing to memory does not make fail.
pub fn report(merged: &Merged) -> std::io::Result<String> {
    let mut checks: Vec<&MergedNeed> = merged.checks.iter().collect();
    checks.sort_by_key(|one| (Reverse(one.need.meaning), one.need.cap, Reverse(one.need.count)));
    let page = Page {
        name: name(&merged.runs),
        candidates: set_in_words(merged.candidates),
        missing: set_in_words(merged.missing),
        gaps: gaps(merged),
        caps: caps(merged),
        rows: checks.into_iter().map(row).collect(),
        programs: programs(merged),
        refused: merged.refused.iter().map(refused).collect(),
        runs: merged.runs.iter().enumerate().map(run).collect(),
        unseen: merged.unseen.iter().map(|one| encode_words(one)).collect(),
    };
    page.render().map_err(std::io::Error::other)
}

fn name(runs: &[MergedRun]) -> String {
    let first = runs.first().map(|run| encode_words(&run.command.join(" "))).unwrap_or_default();
    match runs.len() {
        0 | 1 => first,
        many => format!("{first} and {} more", many - 1),
    }
}

fn gaps(merged: &Merged) -> Vec<String> {
    let lost = match merged.lost {
        Some(0) => None,
        Some(lost) => Some(format!("{lost} records were lost")),
        None => Some("records were lost".to_owned()),
    };
    lost.into_iter().chain(merged.gaps.iter().map(|gap| encode_words(gap))).collect()
}

/// Returns the capabilities of the answer, the most valuable ones first.
fn caps(merged: &Merged) -> Vec<Power> {
    let mut caps: Vec<Cap> = (merged.candidates | merged.missing).iter().collect();
    caps.sort_by_key(|cap| Reverse(Worth::of(CapSet::from(*cap))));
    let power = |cap: Cap| Power {
        severity: Severity::from(Worth::of(cap.into())).name(),
        name: cap.to_string(),
        what: match (merged.candidates.contains(cap), merged.missing.contains(cap)) {
            (true, true) => "granted and used, and missing at other times",
            (true, false) => "granted and used",
            _ => "missing",
        },
        permits: knowledge::about(cap).map_or("an unknown operation", |about| about.permits),
        route: knowledge::route_to_root(cap),
        instead: knowledge::uses(cap).and_then(|uses| uses.instead),
        programs: programs_of(cap, merged),
    };
    caps.into_iter().map(power).collect()
}

fn programs_of(cap: Cap, merged: &Merged) -> String {
    let is_it = |one: &&MergedNeed| one.need.cap == cap && counts(one.need.meaning);
    let names: BTreeSet<String> =
        merged.checks.iter().filter(is_it).map(|one| program(&one.need.program)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn counts(meaning: Meaning) -> bool {
    matches!(meaning, Meaning::Candidate | Meaning::Missing)
}

fn program(name: &str) -> String {
    if name.is_empty() { "unknown program".into() } else { encode_words(name) }
}

fn row(check: &MergedNeed) -> Row {
    let MergedNeed { need, runs } = check;
    let runs: Vec<String> = runs.iter().map(|run| run.saturating_add(1).to_string()).collect();
    let call = need.system_call.as_deref().map(encode_words).unwrap_or_default();
    Row {
        result: need.meaning.about(),
        rank: usize::from(!counts(need.meaning)),
        is_missing: need.meaning == Meaning::Missing,
        cap: need.cap.to_string(),
        program: program(&need.program),
        purpose: encode_words(&need.purpose()),
        call,
        count: need.count,
        runs: runs.join(", "),
    }
}

fn programs(merged: &Merged) -> Vec<Program> {
    let mut programs: BTreeMap<&str, Vec<&MergedNeed>> = BTreeMap::new();
    for check in merged.checks.iter().filter(|one| counts(one.need.meaning)) {
        programs.entry(&check.need.program).or_default().push(check);
    }
    let one = |(name, all): (&str, Vec<&MergedNeed>)| {
        let caps: CapSet = all.iter().map(|one| one.need.cap).collect();
        let uses = all.iter().map(|one| {
            let purpose = encode_words(&one.need.purpose());
            [one.need.cap.to_string(), format!("{purpose}: {}", one.need.meaning.about())]
        });
        Program { name: program(name), caps: set_in_words(caps), uses: uses.collect() }
    };
    programs.into_iter().map(one).collect()
}

fn refused(denial: &Denial) -> [String; 5] {
    let call = encode_words(&denial.system_call);
    let object = denial.object.as_ref().map(|object| encode_words(&object.name));
    let mut by = denial.lock.about().to_owned();
    if !denial.caps.is_empty() {
        by = format!("{by}: {}", set_in_words(denial.caps));
    }
    if let Some(because) = &denial.because {
        by = format!("{by} ({})", encode_words(because));
    }
    [
        format!("{call} ({:?})", Errno::from_raw(denial.errno)),
        object.unwrap_or_default(),
        by,
        program(&denial.program),
        denial.count.to_string(),
    ]
}

fn run((at, run): (usize, &MergedRun)) -> [String; 5] {
    [
        (at + 1).to_string(),
        encode_words(&run.command.join(" ")),
        run.exit.map_or_else(|| "still running".into(), |exit| exit.to_string()),
        set_in_words(run.candidates),
        set_in_words(run.missing),
    ]
}

//! The report, for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::Path,
};

use nix::errno::Errno;
use serde_json::{Value, json};

use rcap::{
    Cap, CapSet,
    trace::{
        Meaning, Need, Seen,
        report::{Merged, Report},
    },
};

use crate::Escaped;

/// What is part of the answer.
pub(super) fn counts(rule: Meaning) -> bool {
    matches!(rule, Meaning::Candidate | Meaning::Missing | Meaning::Unclear | Meaning::Weak)
}

/// What has a row of its own: that, and what was refused and failed for that reason or another.
fn is_shown(need: &Need) -> bool {
    let never = [Meaning::Overcommit, Meaning::BeforeTheProgram, Meaning::Runtime];
    counts(need.meaning) || need.is_refusal() && !never.contains(&need.meaning)
}

pub(super) fn print(report: &Report, all: bool, out: &mut dyn Write) -> io::Result<()> {
    verdict(report.candidates, report.missing, out)?;
    let rows: Vec<(&Need, String)> =
        report.checks.iter().map(|need| (need, String::new())).collect();
    table(&rows, "", all, out)?;
    by_program(report, out)?;
    for note in notes(report.candidates | report.missing) {
        writeln!(out, "\n{note}")?;
    }
    end(report.lost, &report.gaps, &report.unseen, out)?;
    if !report.candidates.is_empty() {
        writeln!(
            out,
            "A candidate was granted and used. `rcap minimize` finds out which are needed, by \
             running the\nprogram without them."
        )?;
    }
    Ok(())
}

/// Several runs, with who asked for what.
pub(crate) fn print_merged(merged: &Merged, all: bool, out: &mut dyn Write) -> io::Result<()> {
    verdict(merged.candidates, merged.missing, out)?;
    writeln!(out)?;
    for (at, run) in merged.runs.iter().enumerate() {
        let command = run.command.join(" ");
        writeln!(
            out,
            "Run {}: {} ({})",
            at + 1,
            Escaped(command.as_bytes()),
            named(run.candidates)
        )?;
    }
    let runs =
        |runs: &[usize]| runs.iter().map(|at| (at + 1).to_string()).collect::<Vec<_>>().join(",");
    let rows: Vec<_> = merged.checks.iter().map(|one| (&one.need, runs(&one.runs))).collect();
    table(&rows, "RUNS", all, out)?;
    end(merged.lost, &merged.gaps, &merged.unseen, out)
}

fn named(set: CapSet) -> String {
    if set.is_empty() { "none".to_owned() } else { set.to_string() }
}

fn verdict(candidates: CapSet, missing: CapSet, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Candidates: {}", named(candidates))?;
    if !missing.is_empty() {
        writeln!(out, "Missing: {missing}")?;
    }
    Ok(())
}

fn end(
    lost: Option<u64>,
    gaps: &[String],
    unseen: &[String],
    out: &mut dyn Write,
) -> io::Result<()> {
    match lost {
        Some(0) => {}
        Some(lost) => writeln!(out, "\n{lost} records were lost: this is not complete (--buffer)")?,
        None => writeln!(out, "\nRecords were lost: this is not complete (--buffer)")?,
    }
    for gap in gaps {
        writeln!(out, "\nThis is not complete: {}", Escaped(gap.as_bytes()))?;
    }
    writeln!(out, "\nNot seen: {}.", Escaped(unseen.join("; ").as_bytes()))
}

/// The checks of one line: how many, the commonest, the programs.
type Line<'a> = (u64, &'a Need, BTreeSet<&'a str>);

/// One line for each capability, rule and reason; and for each rule one of what is set aside.
pub(crate) fn table(
    needs: &[(&Need, String)],
    extra: &str,
    all: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (rows, aside): (Vec<_>, Vec<_>) = needs.iter().partition(|(need, _)| is_shown(need) || all);
    let mut lines: BTreeMap<(Cap, Meaning, bool, bool, String, &str), Line<'_>> = BTreeMap::new();
    for (need, extra) in rows {
        let key = (need.cap, need.meaning, need.granted, need.is_refusal(), asked(need), &**extra);
        let line = lines.entry(key);
        let (count, commonest, programs) = line.or_insert_with(|| (0, need, BTreeSet::new()));
        *count = count.saturating_add(need.count);
        *commonest = if need.count > commonest.count { need } else { commonest };
        programs.insert(&need.program);
    }
    let mut cells =
        vec![["CAPABILITY", "CHECKS", "FOR", "OUTCOME", extra, "EXAMPLE"].map(String::from)];
    for ((cap, rule, _, _, asked, extra), (count, need, programs)) in &lines {
        let others = match programs.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let program = Path::new(&need.program).file_name().unwrap_or_default().to_string_lossy();
        let program = if program.is_empty() { "(not known)".into() } else { program };
        let call = need.system_call.as_deref().map(|call| format!(", {call}")).unwrap_or_default();
        let failed = need.returned.filter(|returned| (-4095..0).contains(returned));
        let errno = failed.and_then(|errno| i32::try_from(-errno).ok()).map(Errno::from_raw);
        let errno = errno.map(|errno| format!(" ({errno:?})")).unwrap_or_default();
        // A report that is read can say anything.
        let row = [
            cap.to_string(),
            count.to_string(),
            asked.clone(),
            format!("{}{errno}", rule.about()),
            (*extra).to_owned(),
            format!("{program}{call}{others}"),
        ];
        cells.push(row.map(|cell| Escaped(cell.as_bytes()).to_string()));
    }
    if cells.len() > 1 {
        writeln!(out)?;
        let width = |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let [cap, count, asked, outcome, extra] = [0, 1, 2, 3, 4].map(width);
        for row in &cells {
            write!(out, "{:<cap$}  {:>count$}  {:<asked$}  ", row[0], row[1], row[2])?;
            write!(out, "{:<outcome$}  ", row[3])?;
            if extra > 0 {
                write!(out, "{:<extra$}  ", row[4])?;
            }
            writeln!(out, "{}", row[5])?;
        }
    }
    if !aside.is_empty() {
        writeln!(out, "\nSet aside (--all shows them):")?;
    }
    let mut rules: Vec<Meaning> = aside.iter().map(|(need, _)| need.meaning).collect();
    rules.sort_unstable();
    rules.dedup();
    for rule in rules {
        let of_rule =
            || aside.iter().map(|(need, _)| need).filter(move |need| need.meaning == rule);
        let caps: CapSet = of_rule().map(|need| need.cap).collect();
        let count = of_rule().map(|need| need.count).fold(0, u64::saturating_add);
        writeln!(out, "{count:>7}  {caps}: {}", rule.about())?;
    }
    Ok(())
}

/// What it was asked for, in words or by the kernel's name.
pub(crate) fn asked(need: &Need) -> String {
    match (&need.reason, &need.system_call) {
        (Some(reason), _) => reason.clone(),
        (None, Some(call)) => format!("call {call}"),
        (None, _) if need.function.is_empty() => "(not known)".to_owned(),
        (None, _) => need.function.clone(),
    }
}

/// Which program may need what, where there are several.
fn by_program(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut programs: BTreeMap<&str, CapSet> = BTreeMap::new();
    for need in report.checks.iter().filter(|need| need.meaning == Meaning::Candidate) {
        *programs.entry(&need.program).or_insert(CapSet::empty()) |= CapSet::from(need.cap);
    }
    if programs.len() > 1 {
        writeln!(out, "\nBy program:")?;
        for (program, caps) in programs {
            let program = if program.is_empty() { "(not known)" } else { program };
            writeln!(out, "  {}: {caps}", Escaped(program.as_bytes()))?;
        }
    }
    Ok(())
}

/// What this machine's settings change about the answer.
fn notes(caps: CapSet) -> Vec<String> {
    let setting = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys/net/ipv4").join(name)).ok()?;
        Some(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut notes = Vec::new();
    if caps.contains(Cap::NET_BIND_SERVICE)
        && let Some(port) = setting("ip_unprivileged_port_start")
    {
        notes.push(format!(
            "cap_net_bind_service: ports from {port} on take none here \
             (net.ipv4.ip_unprivileged_port_start)."
        ));
    }
    if caps.contains(Cap::NET_RAW)
        && let Some(groups) = setting("ping_group_range")
    {
        let whom = match groups.split_once(' ').map(|(first, last)| (first.parse(), last.parse())) {
            Some((Ok::<u64, _>(first), Ok::<u64, _>(last))) if first > last => "none",
            _ => &groups,
        };
        notes.push(format!(
            "cap_net_raw: ping does without it for the groups of net.ipv4.ping_group_range, \
             here {whom}."
        ));
    }
    notes
}

/// One check, as it happens.
pub(super) fn seen(seen: &Seen, out: &mut dyn Write) -> io::Result<()> {
    let place = &seen.place;
    let asked = place.reason.unwrap_or(&place.function);
    writeln!(
        out,
        "{}  {:<22} {}  [{}{}] {}: {}",
        seen.tid,
        seen.cap.to_string(),
        if seen.granted { "granted" } else { "refused" },
        place.system_call.as_deref().unwrap_or("?"),
        seen.returned.map(|returned| format!(" = {returned}")).unwrap_or_default(),
        Escaped(seen.program.as_bytes()),
        asked,
    )
}

pub(super) fn seen_json(seen: &Seen) -> Value {
    json!({
        "time": seen.time,
        "tid": seen.tid,
        "program": &*seen.program,
        "cap": seen.cap,
        "granted": seen.granted,
        "rule": seen.meaning,
        "function": seen.place.function,
        "reason": seen.place.reason,
        "system_call": seen.place.system_call,
        "returned": seen.returned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(rule: Meaning, granted: bool, returned: i64) -> Need {
        serde_json::from_value(json!({
            "cap": "cap_chown", "rule": rule, "granted": granted, "function": "f", "reason": null,
            "count": 3, "system_call": "fchownat", "returned": returned, "program": "/bin/p",
        }))
        .unwrap()
    }

    fn printed(need: &Need, all: bool) -> String {
        let mut out = Vec::new();
        table(&[(need, String::new())], "", all, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_has_a_row() {
        let eperm = -i64::from(libc::EPERM);
        #[rustfmt::skip]
        let rows = [
            (Meaning::Candidate,   true,  0,     true),
            (Meaning::Missing,     false, eperm, true),
            (Meaning::NotNeeded,   false, 0,     false),
            (Meaning::Speculative, true,  0,     false),
            // What was refused and failed for lack of permission is not hidden.
            (Meaning::Speculative, false, eperm, true),
            (Meaning::Borrowed,    false, eperm, true),
            (Meaning::Overcommit,  false, eperm, false),
            (Meaning::Runtime,     false, eperm, false),
        ];
        for (rule, granted, returned, row) in rows {
            let need = need(rule, granted, returned);
            let text = printed(&need, false);
            assert_eq!(text.contains("EXAMPLE"), row, "{text}");
            assert_eq!(text.contains("Set aside"), !row, "{text}");
            assert!(printed(&need, true).contains("p, fchownat"));
        }
        assert!(printed(&need(Meaning::Borrowed, false, eperm), false).contains(" (EPERM)  "));
    }
}

//! The report as text.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs,
    io::{self, Write},
    path::Path,
};

use nix::errno::Errno;
use serde_json::{Value, json};

use rcap::{
    Cap, CapSet,
    tools::{
        Style,
        table::{Table, paragraph, set_words},
    },
    trace::{
        Meaning, Need, Seen,
        report::{Merged, Report},
    },
};

use super::{refused, stacks};
use crate::{Escaped, Stream};

/// The needs that belong to the answer.
pub(super) fn counts(rule: Meaning) -> bool {
    matches!(rule, Meaning::Candidate | Meaning::Missing | Meaning::Unclear | Meaning::Weak)
}

/// The needs with separate rows: those of the answer, and denied ones with a permission failure.
fn is_shown(need: &Need) -> bool {
    let never = [Meaning::Overcommit, Meaning::BeforeTheProgram, Meaning::Runtime];
    counts(need.meaning) || need.is_refusal() && !never.contains(&need.meaning)
}

pub(super) fn print(report: &Report, all: bool, out: &mut Stream) -> io::Result<()> {
    verdict(report.candidates, report.missing, out)?;
    let rows: Vec<_> = report.checks.iter().map(|need| (need, None)).collect();
    tables(rows, all, out)?;
    by_program(report, out)?;
    stacks::print(report.checks.iter().filter(|need| is_shown(need) || all), out)?;
    refused::print(&report.refused, out)?;
    let instead = refused::instead(&report.checks);
    for note in instead.into_iter().chain(notes(report.candidates | report.missing)) {
        writeln!(out)?;
        paragraph(Style::Plain, 0, &note, out)?;
    }
    end(report.lost, &report.gaps, &report.unseen, out)?;
    if !report.candidates.is_empty() {
        let words = "A candidate was granted and used. `rcap minimize` finds out which are needed, \
                     by running the program without them.";
        paragraph(Style::Plain, 0, words, out)?;
    }
    Ok(())
}

/// The system calls that were denied, and nothing else but what is missing from the recording.
pub(super) fn print_refusals(report: &Report, out: &mut Stream) -> io::Result<()> {
    if report.refused.is_empty() {
        writeln!(out, "Refused: none")?;
    }
    refused::print(&report.refused, out)?;
    end(report.lost, &report.gaps, &report.unseen, out)
}

/// Prints several runs, and the runs that used each capability.
pub(crate) fn print_merged(merged: &Merged, all: bool, out: &mut Stream) -> io::Result<()> {
    verdict(merged.candidates, merged.missing, out)?;
    writeln!(out)?;
    let mut runs = Table::new(0).gap(1);
    for (at, run) in merged.runs.iter().enumerate() {
        let command = run.command.join(" ");
        let command = Escaped(command.as_bytes());
        let cells =
            [format!("Run {}:", at + 1), format!("{command} ({})", set_words(run.candidates))];
        runs.row(&[&cells[0], &cells[1]]);
    }
    runs.write(out)?;
    let runs =
        |runs: &[usize]| runs.iter().map(|at| (at + 1).to_string()).collect::<Vec<_>>().join(",");
    let rows: Vec<_> = merged.checks.iter().map(|one| (&one.need, Some(runs(&one.runs)))).collect();
    let needs: Vec<&Need> = rows.iter().map(|(need, _)| *need).collect();
    tables(rows, all, out)?;
    stacks::print(needs.into_iter().filter(|need| is_shown(need) || all), out)?;
    refused::print(&merged.refused, out)?;
    end(merged.lost, &merged.gaps, &merged.unseen, out)
}

fn verdict(candidates: CapSet, missing: CapSet, out: &mut Stream) -> io::Result<()> {
    let mut table = Table::new(0).gap(1);
    table.row(&[&"Candidates:", &set_words(candidates)]);
    table.write(out)?;
    if missing.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(0).gap(1);
    table.styled(Style::Missing, &[&"Missing:", &missing]);
    table.write(out)
}

fn end(lost: Option<u64>, gaps: &[String], unseen: &[String], out: &mut Stream) -> io::Result<()> {
    let lost = match lost {
        Some(0) => None,
        Some(lost) => Some(format!("{lost} records were lost: this is not complete (--buffer)")),
        None => Some("Records were lost: this is not complete (--buffer)".to_owned()),
    };
    let gaps = gaps.iter().map(|gap| format!("This is not complete: {}", Escaped(gap.as_bytes())));
    for warning in lost.into_iter().chain(gaps) {
        writeln!(out)?;
        paragraph(Style::Missing, 0, &warning, out)?;
    }
    writeln!(out)?;
    let unseen = format!("Not seen: {}.", Escaped(unseen.join("; ").as_bytes()));
    paragraph(Style::Plain, 0, &unseen, out)
}

/// The key of a row: the capability, the outcome and the purpose.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    cap: Cap,
    meaning: Meaning,
    granted: bool,
    is_refusal: bool,
    asked: String,
    runs: Option<&'a str>,
}

/// The checks of one row: the count, the most frequent one, and the programs.
struct Line<'a> {
    count: u64,
    commonest: &'a Need,
    programs: BTreeSet<&'a str>,
}

impl Line<'_> {
    /// Returns the outcome in words.
    fn words(&self, key: &Key<'_>) -> String {
        let need = self.commonest;
        let program = Path::new(&need.program).file_name().unwrap_or_default().to_string_lossy();
        let program = if program.is_empty() { "unknown program".into() } else { program };
        let call = need.system_call.as_deref().map(|call| format!(", {call}")).unwrap_or_default();
        let others = match self.programs.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let failed = need.returned.filter(|returned| (-4095..0).contains(returned));
        let errno = failed.and_then(|errno| i32::try_from(-errno).ok()).map(Errno::from_raw);
        let errno = errno.map(|errno| format!(" ({errno:?})")).unwrap_or_default();
        let words =
            format!("{}: {}{errno} [{program}{call}{others}]", key.asked, key.meaning.about());
        // A report from a file may contain anything.
        Escaped(words.as_bytes()).to_string()
    }
}

/// Prints the checks of the program, and then those of processes that entered its container later.
fn tables(needs: Vec<(&Need, Option<String>)>, all: bool, out: &mut Stream) -> io::Result<()> {
    let (by_exec, own): (Vec<_>, Vec<_>) = needs.into_iter().partition(|(need, _)| need.by_exec);
    table(&own, all, out)?;
    if by_exec.is_empty() {
        return Ok(());
    }
    let candidate = |(need, _): &&(&Need, Option<String>)| need.meaning == Meaning::Candidate;
    let caps = |needs: &[(&Need, Option<String>)]| -> CapSet {
        needs.iter().filter(candidate).map(|(need, _)| need.cap).collect()
    };
    writeln!(out)?;
    let only = caps(&by_exec) - caps(&own);
    let words = if only.is_empty() {
        "none is a candidate for them alone".to_owned()
    } else {
        format!("{only} only for them")
    };
    let words = format!("Processes that entered the container (exec and health checks): {words}.");
    paragraph(Style::Plain, 0, &words, out)?;
    table(&by_exec, all, out)
}

/// Prints one row for each capability, meaning and reason, with the numbers of runs if there are
/// several, and one row for each meaning of ignored checks.
fn table(needs: &[(&Need, Option<String>)], all: bool, out: &mut Stream) -> io::Result<()> {
    let (rows, aside): (Vec<_>, Vec<_>) = needs.iter().partition(|(need, _)| is_shown(need) || all);
    let mut lines: BTreeMap<Key<'_>, Line<'_>> = BTreeMap::new();
    for (need, runs) in rows {
        let key = Key {
            cap: need.cap,
            meaning: need.meaning,
            granted: need.granted,
            is_refusal: need.is_refusal(),
            asked: need.purpose(),
            runs: runs.as_deref(),
        };
        let empty = || Line { count: 0, commonest: need, programs: BTreeSet::new() };
        let line = lines.entry(key).or_insert_with(empty);
        line.count = line.count.saturating_add(need.count);
        line.commonest = if need.count > line.commonest.count { need } else { line.commonest };
        line.programs.insert(&need.program);
    }
    if !lines.is_empty() {
        writeln!(out)?;
        let has_runs = needs.iter().any(|(_, runs)| runs.is_some());
        let mut table = Table::new(0).right(1);
        let mut row = |style, cells: [&dyn Display; 4]| {
            let [cap, count, runs, words] = cells;
            if has_runs {
                table.styled(style, &[cap, count, runs, words]);
            } else {
                table.styled(style, &[cap, count, words]);
            }
        };
        row(Style::Plain, [&"CAPABILITY", &"CHECKS", &"RUNS", &"FOR WHAT, AND WITH WHICH RESULT"]);
        for (key, line) in &lines {
            let style = match key.meaning {
                Meaning::Missing => Style::Missing,
                meaning if !counts(meaning) => Style::Aside,
                _ => Style::Plain,
            };
            let runs = key.runs.unwrap_or_default();
            row(style, [&key.cap, &line.count, &runs, &line.words(key)]);
        }
        table.write(out)?;
    }
    ignored(&aside, out)
}

/// Prints one row for each reason to ignore checks.
fn ignored(aside: &[&(&Need, Option<String>)], out: &mut Stream) -> io::Result<()> {
    if aside.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    out.paint(Style::Aside, "Ignored (--all prints them):")?;
    writeln!(out)?;
    let mut meanings: Vec<Meaning> = aside.iter().map(|(need, _)| need.meaning).collect();
    meanings.sort_unstable();
    meanings.dedup();
    let mut table = Table::new(2).right(0);
    for meaning in meanings {
        let needs =
            || aside.iter().map(|(need, _)| need).filter(move |need| need.meaning == meaning);
        let caps: CapSet = needs().map(|need| need.cap).collect();
        let count = needs().map(|need| need.count).fold(0, u64::saturating_add);
        table.styled(Style::Aside, &[&count, &format!("{caps}: {}", meaning.about())]);
    }
    table.write(out)
}

/// Prints the needs of each program, if there are several.
fn by_program(report: &Report, out: &mut Stream) -> io::Result<()> {
    let mut programs: BTreeMap<&str, CapSet> = BTreeMap::new();
    for need in report.checks.iter().filter(|need| need.meaning == Meaning::Candidate) {
        *programs.entry(&need.program).or_insert(CapSet::empty()) |= CapSet::from(need.cap);
    }
    if programs.len() > 1 {
        writeln!(out, "\nBy program:")?;
        let mut table = Table::new(2).gap(1);
        for (program, caps) in programs {
            let program = if program.is_empty() { "unknown program" } else { program };
            table.row(&[&format!("{}:", Escaped(program.as_bytes())), &caps]);
        }
        table.write(out)?;
    }
    Ok(())
}

/// Prints the settings of this machine that affect the answer.
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

/// Prints a check as it happens.
pub(super) fn seen(seen: &Seen, out: &mut Stream) -> io::Result<()> {
    let place = &seen.place;
    let outcome = if seen.granted { "granted" } else { "refused" };
    let asked = place.reason.unwrap_or(&place.function);
    let call = place.system_call.as_deref().unwrap_or("?");
    let returned = seen.returned.map(|returned| format!(" = {returned}")).unwrap_or_default();
    let program = Escaped(seen.program.as_bytes());
    let words = format!("{outcome}  [{call}{returned}] {program}: {asked}");
    let style = match seen.meaning {
        Meaning::Missing => Style::Missing,
        meaning if !counts(meaning) => Style::Aside,
        _ => Style::Plain,
    };
    // A table with one row, whose columns have a width that fits most rows.
    let mut table = Table::new(0);
    table.styled(style, &[&seen.tid, &format!("{:<22}", seen.cap.to_string()), &words]);
    table.write(out)
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
        "by_exec": seen.by_exec(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    fn need(rule: Meaning, granted: bool, returned: i64) -> Need {
        serde_json::from_value(json!({
            "cap": "cap_chown", "rule": rule, "granted": granted, "function": "f", "reason": null,
            "count": 3, "system_call": "fchownat", "returned": returned, "program": "/bin/p",
        }))
        .unwrap()
    }

    fn printed(need: &Need, all: bool) -> String {
        let file = tempfile::tempfile().unwrap();
        let mut out = Stream::new(file.try_clone().unwrap(), false);
        table(&[(need, None)], all, &mut out).unwrap();
        out.flush().unwrap();
        let mut text = String::new();
        (&file).rewind().unwrap();
        (&file).read_to_string(&mut text).unwrap();
        text
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
            // A denied capability with a permission failure is not hidden.
            (Meaning::Speculative, false, eperm, true),
            (Meaning::Borrowed,    false, eperm, true),
            (Meaning::Overcommit,  false, eperm, false),
            (Meaning::Runtime,     false, eperm, false),
        ];
        for (rule, granted, returned, row) in rows {
            let need = need(rule, granted, returned);
            let text = printed(&need, false);
            assert_eq!(text.contains("CAPABILITY"), row, "{text}");
            assert_eq!(text.contains("Ignored"), !row, "{text}");
            assert!(printed(&need, true).contains("[p, fchownat]"));
        }
        assert!(printed(&need(Meaning::Borrowed, false, eperm), false).contains(" (EPERM) ["));
    }
}

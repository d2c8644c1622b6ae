//! A report for a terminal of 80 columns.

use std::fmt::{self, Write};

use crate::scan::{
    Finding, Group, Inventory, PrivilegedFile, PrivilegedProcess, Severity, Socket, Unread, encode,
    findings::short, inventory::set_in_words,
};

/// How many columns the report has.
const WIDTH: usize = 80;

/// Returns the report: findings first, worst first, then what holds power.
pub fn table(inventory: &Inventory, findings: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_all(&mut text, inventory, findings);
    text
}

fn write_all(out: &mut String, inventory: &Inventory, findings: &[Finding]) -> fmt::Result {
    let host = &inventory.host;
    match &inventory.image {
        None => writeln!(out, "{}  Linux {}  {}", host.name, host.kernel, host.time)?,
        Some(image) => {
            let user = if image.user.is_empty() { "root".into() } else { encode(&image.user) };
            writeln!(out, "{}  {} layers, user {user}  {}", host.name, image.layers, host.time)?;
        }
    }
    write_findings(out, findings)?;
    files(out, &inventory.files)?;
    processes(out, inventory)?;
    groups(out, "Units", &inventory.units)?;
    groups(out, "Containers", &inventory.containers)?;
    sockets(out, &inventory.sockets)?;
    unread(out, &inventory.unread)
}

fn write_findings(out: &mut String, findings: &[Finding]) -> fmt::Result {
    writeln!(out, "\nFindings: {}", counts(findings.iter().map(|one| one.severity)))?;
    for finding in findings {
        writeln!(
            out,
            "\n{:<8} {}  ({})",
            finding.severity,
            shortened(&finding.subject),
            finding.rule.id
        )?;
        paragraph(out, 9, &finding.text)?;
        if let Some(route) = &finding.route {
            paragraph(out, 9, &format!("Way to root: {route}"))?;
        }
        paragraph(out, 9, &format!("Fix: {}", finding.rule.fix))?;
    }
    Ok(())
}

fn files(out: &mut String, files: &[PrivilegedFile]) -> fmt::Result {
    if files.is_empty() {
        return Ok(());
    }
    let severities = files.iter().map(PrivilegedFile::severity);
    writeln!(out, "\nFiles: {}", counts(severities))?;
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.severity()));
    for file in files {
        let owner = file.owner.as_deref().map_or_else(|| file.uid.to_string(), encode);
        let what = format!("{:04o} {owner} {}", file.mode, file.power());
        entry(out, file.severity(), &shortened(&encode(&file.path)), &what)?;
    }
    Ok(())
}

fn processes(out: &mut String, inventory: &Inventory) -> fmt::Result {
    if inventory.processes.is_empty() {
        return Ok(());
    }
    let severities = inventory.processes.iter().map(PrivilegedProcess::severity);
    writeln!(out, "\nProcesses: {}", counts(severities))?;
    let mut processes: Vec<_> = inventory.processes.iter().collect();
    processes.sort_by_key(|process| std::cmp::Reverse(process.severity()));
    for process in processes {
        let (name, what) = in_words(process, inventory);
        entry(out, process.severity(), &name, &what)?;
    }
    Ok(())
}

fn sockets(out: &mut String, sockets: &[Socket]) -> fmt::Result {
    if sockets.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nSockets: {}", sockets.len())?;
    for socket in sockets {
        let pids: Vec<_> = socket.pids.iter().map(u32::to_string).collect();
        let reach = if socket.is_reachable() { "from outside" } else { "this machine" };
        let pids = if pids.is_empty() { "-".into() } else { pids.join(",") };
        writeln!(out, "  {:<6} {:<28} {reach:<13} {pids}", socket.protocol.name(), socket.place())?;
    }
    Ok(())
}

fn unread(out: &mut String, unread: &[Unread]) -> fmt::Result {
    if unread.is_empty() {
        return Ok(());
    }
    let count = unread.len();
    writeln!(out, "\nNot complete: {count} could not be looked at (--json lists them all)")?;
    for one in unread.iter().take(5) {
        paragraph(out, 2, &format!("{}: {}", one.subject, one.reason))?;
    }
    Ok(())
}

/// Returns how many of each severity there are, worst first.
fn counts(severities: impl Iterator<Item = Severity>) -> String {
    let all: Vec<Severity> = severities.collect();
    let count = |one: Severity| {
        let count = all.iter().filter(|severity| **severity == one).count();
        (count > 0).then(|| format!("{count} {one}"))
    };
    let words: Vec<_> = Severity::ALL.into_iter().filter_map(count).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

/// Returns the id and the name of a process, and what it holds.
pub(super) fn in_words(process: &PrivilegedProcess, inventory: &Inventory) -> (String, String) {
    let status = &process.status;
    let user = process.user.as_deref().map_or_else(|| status.uid.effective.to_string(), encode);
    let mut what = format!("{user} {}", process.power());
    if !process.threads.is_empty() {
        let _ = write!(what, ", {} threads differ", process.threads.len());
    }
    if status.no_new_privs == Some(true) {
        what.push_str(", no-new-privs");
    }
    if let Some(seccomp @ (crate::proc::Seccomp::Filter | crate::proc::Seccomp::Strict)) =
        status.seccomp
    {
        let _ = write!(what, ", seccomp {}", format!("{seccomp:?}").to_lowercase());
    }
    if let Some(place) = &process.container {
        let _ = write!(what, ", container {}", short(place));
    } else if let Some(unit) = &process.unit {
        let _ = write!(what, ", {}", encode(unit));
    }
    let own = inventory.sockets.iter().filter(|socket| socket.pids.contains(&status.pid));
    let places: Vec<_> =
        own.map(|socket| format!("{} {}", socket.protocol.name(), socket.place())).collect();
    if !places.is_empty() {
        let _ = write!(what, ", listens on {}", places.join(" and "));
    }
    (format!("{} {}", status.pid, process.name()), what)
}

fn groups(out: &mut String, title: &str, groups: &[Group]) -> fmt::Result {
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}: {}", groups.len())?;
    for group in groups {
        let mut what = format!("bounding {}", set_in_words(group.bounding));
        let _ = write!(what, ", holds {}", set_in_words(group.permitted));
        if !group.ambient.is_empty() {
            let _ = write!(what, ", ambient {}", set_in_words(group.ambient));
        }
        if let Some(unused) = group.unused {
            let _ = write!(what, ", never used {}", set_in_words(unused));
        }
        writeln!(out, "  {}", short(&group.name))?;
        paragraph(out, 11, &what)?;
    }
    Ok(())
}

/// Returns a name that a table can show: of a very long one, the beginning and the end.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 240;
    const PART: usize = 100;
    let length = name.chars().count();
    if length <= LONGEST {
        return name.to_owned();
    }
    let head: String = name.chars().take(PART).collect();
    let tail: String = name.chars().skip(length - PART).collect();
    format!("{head} [{} more] {tail}", length - 2 * PART)
}

/// Writes an entry: in one line if it fits, else with what it holds in lines of their own.
fn entry(out: &mut String, severity: Severity, name: &str, what: &str) -> fmt::Result {
    let line = format!("  {severity:<8} {name}  {what}");
    if line.chars().count() <= WIDTH {
        return writeln!(out, "{line}");
    }
    writeln!(out, "  {severity:<8} {name}")?;
    paragraph(out, 11, what)
}

/// Writes words in lines that fit, indented. A word that is too long has a line of its own.
fn paragraph(out: &mut String, indent: usize, text: &str) -> fmt::Result {
    let mut column = 0;
    // A list of capabilities may be broken after a comma.
    for word in text.split_inclusive([' ', ',']) {
        let length = word.trim_end().chars().count();
        if column == 0 {
            write!(out, "{:indent$}", "")?;
            column = indent;
        } else if column + length > WIDTH {
            let end = out.trim_end_matches(' ').len();
            out.truncate(end);
            write!(out, "\n{:indent$}", "")?;
            column = indent;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    let end = out.trim_end_matches(' ').len();
    out.truncate(end);
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs() {
        let text = |words: &str| {
            let mut out = String::new();
            paragraph(&mut out, 2, words).unwrap();
            out
        };
        assert_eq!(text("a b"), "  a b\n");
        let long = text(&"cap_net_raw,".repeat(20));
        assert_eq!(long.lines().count(), 4);
        assert!(long.lines().all(|line| line.len() <= WIDTH && line.starts_with("  cap")));
        let word = "x".repeat(100);
        assert_eq!(text(&format!("a {word} b")), format!("  a\n  {word}\n  b\n"));
    }
}

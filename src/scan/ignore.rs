//! Ignore files: findings that were reviewed and are accepted for a time.
//!
//! A line is the id of a rule or `*`, a pattern of fnmatch(3) for the subject as one word, the last
//! day that it holds or `never`, and the reason:
//!
//! ```text
//! file-root-equivalent /usr/bin/newuidmap 2027-06-30 part of shadow, reviewed by ops
//! ```

use std::{error, ffi::CString, fmt};

use super::{Finding, Rule};
use crate::sys;

/// The lines of an ignore file.
#[derive(Clone, Debug, Default)]
pub struct Ignore(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    rule: String,
    pattern: CString,
    /// `None` for never.
    until: Option<String>,
}

/// The error for a line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreError {
    line: usize,
    reason: String,
}

impl fmt::Display for IgnoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl error::Error for IgnoreError {}

impl Ignore {
    /// Returns the entries of a text.
    ///
    /// # Errors
    ///
    /// A line without a known rule, a pattern, a date or a reason.
    pub fn parse(text: &str) -> Result<Ignore, IgnoreError> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |reason: String| IgnoreError { line: number + 1, reason };
            let mut words = line.split_whitespace();
            let (rule, pattern) = (words.next(), words.next());
            let (Some(rule), Some(pattern), Some(until), Some(_)) =
                (rule, pattern, words.next(), words.next())
            else {
                return Err(failed(
                    "needs a rule, a subject, a date or never, and a reason".into(),
                ));
            };
            if rule != "*" && Rule::by_id(rule).is_none() {
                return Err(failed(format!("{}: not the id of a rule", rule.escape_debug())));
            }
            if until != "never" && !is_date(until) {
                let until = until.escape_debug();
                return Err(failed(format!("{until}: not a date such as 2027-01-31, or never")));
            }
            let pattern = CString::new(pattern).map_err(|err| failed(err.to_string()))?;
            let until = (until != "never").then(|| until.to_owned());
            entries.push(Entry { line: number + 1, rule: rule.to_owned(), pattern, until });
        }
        Ok(Ignore(entries))
    }

    /// Removes the findings that an entry covers on a day such as `2026-11-28`, and returns how
    /// many they were and the lines of the entries that have expired and would cover one.
    pub fn apply(&self, findings: &mut Vec<Finding>, today: &str) -> (usize, Vec<usize>) {
        let mut expired = Vec::new();
        let before = findings.len();
        findings.retain(|finding| {
            let Ok(subject) = CString::new(&*finding.subject) else { return true };
            let covers = |entry: &&Entry| {
                (entry.rule == "*" || entry.rule == finding.rule.id)
                    && sys::fnmatch(&entry.pattern, &subject, libc::FNM_NOESCAPE)
            };
            let covering: Vec<_> = self.0.iter().filter(covers).collect();
            let holds = |entry: &&&Entry| entry.until.as_deref().is_none_or(|day| today <= day);
            if covering.iter().any(|entry| holds(&entry)) {
                return false;
            }
            expired.extend(covering.iter().map(|entry| entry.line));
            true
        });
        expired.sort_unstable();
        expired.dedup();
        (before - findings.len(), expired)
    }
}

/// Returns whether a text is a date that compares by its characters.
fn is_date(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let number = |part: &str, length, most| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse().is_ok_and(|number: u32| (1..=most).contains(&number))
    };
    matches!(parts[..], [year, month, day]
        if number(year, 4, 9999) && number(month, 2, 12) && number(day, 2, 31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Inventory, PrivilegedFile, findings};

    #[test]
    fn covered() {
        let file = |path: &str| PrivilegedFile {
            path: path.into(),
            mode: 0o4755,
            ..PrivilegedFile::default()
        };
        let files = vec![file("/opt/bash"), file("/usr/bin/perl"), file("/usr/bin/gdb")];
        let inventory = Inventory { files, ..Inventory::default() };
        let left = |text: &str, today| {
            let mut all = findings(&inventory);
            let (ignored, expired) = Ignore::parse(text).unwrap().apply(&mut all, today);
            let subjects: Vec<_> = all.into_iter().map(|finding| finding.subject).collect();
            (subjects.join(" "), ignored, expired)
        };
        let text = "# known\n\nfile-interpreter /usr/bin/* 2027-01-31 reviewed by ops\n";
        assert_eq!(left(text, "2027-01-31"), ("/opt/bash".into(), 2, vec![]));
        assert_eq!(left(text, "2027-02-01").2, [3]);
        assert_eq!(left("* /opt/bash never ours\n", "2030-01-01").1, 1);
        assert_eq!(left("file-lost * never ours\n", "2030-01-01").1, 0);
    }

    #[test]
    fn faults() {
        #[rustfmt::skip]
        let rows = [
            ("file-interpreter /x never",          "line 1: needs a rule, a subject, a date or never, and a reason"),
            ("\nfile-nothing /x never why",        "line 2: file-nothing: not the id of a rule"),
            ("file-interpreter /x 2027-1-1 why",   "line 1: 2027-1-1: not a date such as 2027-01-31, or never"),
            ("file-interpreter /x 2027-13-01 why", "line 1: 2027-13-01: not a date such as 2027-01-31, or never"),
        ];
        for (text, want) in rows {
            assert_eq!(Ignore::parse(text).unwrap_err().to_string(), want);
        }
    }
}

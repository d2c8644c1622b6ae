//! The result of a verification, for people and as JSON.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use serde_json::{Value, json};

use rcap::{
    tools::table::set_words,
    trace::minimize::{Evidence, Finding, FindingKind, Verified},
};

use crate::{Escaped, minimize::run_json};

/// The version of the layout of `--json`.
const SCHEMA: u32 = 1;

pub(super) fn print(verified: &Verified, out: &mut dyn Write) -> io::Result<()> {
    let Verified { given, failures, message, findings, runs, .. } = verified;
    let given = set_words(*given);
    if let Some(first) = failures.first() {
        let words = first.with_message(message);
        writeln!(out, "It does not work with {given}: {}", Escaped(words.as_bytes()))?;
        for failure in &failures[1..] {
            let words = failure.with_message(message);
            writeln!(out, "and {}", Escaped(words.as_bytes()))?;
        }
    } else {
        writeln!(out, "It works with {given}.")?;
    }
    let width = findings.iter().map(|one| one.cap.to_string().len()).max().unwrap_or(0);
    if width > 0 {
        writeln!(out)?;
    }
    for finding in findings {
        row(finding, width, out)?;
    }
    writeln!(out)?;
    for (word, caps) in [("Missing", verified.missing()), ("Superfluous", verified.superfluous())] {
        if !caps.is_empty() {
            writeln!(out, "{word}: {caps}")?;
        }
    }
    if !failures.is_empty() && verified.missing().is_empty() {
        writeln!(out, "No capability was refused, so the reason is another one.")?;
    }
    let unknown = verified.of_kind(FindingKind::Unknown);
    if failures.is_empty() && !unknown.is_empty() {
        writeln!(
            out,
            "Not known, because not every check was recorded: whether it uses {unknown}."
        )?;
    }
    let time: f64 = runs.iter().map(|run| run.time.as_secs_f64()).sum();
    let noun = if runs.len() == 1 { "run" } else { "runs" };
    writeln!(out, "{} {noun} in {time:.1} s.", runs.len())
}

fn row(finding: &Finding, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let name = finding.cap.to_string();
    let words = |one: &Evidence| Escaped(one.words.as_bytes()).to_string();
    let kind = match (finding.kind, finding.evidence.first()) {
        (FindingKind::Required, Some(first)) => format!("required: otherwise {}", words(first)),
        (FindingKind::Kept, _) => "kept".to_owned(),
        (kind, Some(first)) => format!("{}: {}", kind.name(), words(first)),
        (kind, None) => kind.name().to_owned(),
    };
    writeln!(out, "{name:<width$}  {kind}")?;
    for one in finding.evidence.iter().skip(1) {
        writeln!(out, "{:<width$}  and {}", "", words(one))?;
    }
    Ok(())
}

pub(super) fn json(words: &[OsString], verified: &Verified) -> Value {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let finding = |finding: &Finding| {
        let evidence = finding.evidence.iter();
        let evidence = evidence.map(|one| json!({ "kind": one.kind, "words": one.words }));
        json!({
            "cap": finding.cap,
            "finding": finding.kind.name(),
            "evidence": evidence.collect::<Vec<_>>(),
        })
    };
    let failures = verified.failures.iter().map(|failure| {
        json!({ "kind": failure.kind(), "words": failure.with_message(&verified.message) })
    });
    json!({
        "schema": SCHEMA,
        "command": words,
        "holds": verified.holds(),
        "works": verified.failures.is_empty(),
        "given": verified.given,
        "missing": verified.missing(),
        "superfluous": verified.superfluous(),
        "failures": failures.collect::<Vec<_>>(),
        "findings": verified.findings.iter().map(finding).collect::<Vec<_>>(),
        "runs": verified.runs.iter().map(run_json).collect::<Vec<_>>(),
    })
}

//! The result of a search, for people and as JSON.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use serde_json::{Value, json};

use rcap::{
    Cap,
    tools::table::set_words,
    trace::minimize::{Found, Run, Verdict, VerdictKind},
};

use crate::Escaped;

/// The version of the layout of `--json`.
const SCHEMA: u32 = 2;
/// The number of pieces of evidence shown for one capability. `--json` has all of them.
const EVIDENCE: usize = 4;
/// The number of noise entries that are listed.
const NOISE: usize = 8;

/// The network of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// The machine's network, which is not compared.
    Shared,
    /// A private network, as requested.
    Compared,
    /// A private network, because the program used `CAP_NET_ADMIN` in the machine's.
    Private,
    /// The network of a container.
    OfContainer,
    /// The network of a service.
    OfService,
}

pub(super) fn print(
    found: &Found,
    network: Network,
    in_place: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let most = found.runs.first().map(|run| run.set);
    if found.proved {
        writeln!(out, "Minimum: {}", set_words(found.minimum))?;
    } else if most.is_none_or(|most| most == found.minimum) {
        return writeln!(out, "Interrupted before a run had passed with fewer than all.");
    } else {
        writeln!(out, "Interrupted. The fewest so far: {}", set_words(found.minimum))?;
    }
    let verdicts = found.verdicts();
    let names = verdicts.iter().map(|verdict| verdict.cap).chain(found.keep);
    let width = names.map(|cap| cap.to_string().len()).max().unwrap_or(0);
    if width > 0 {
        writeln!(out)?;
    }
    for verdict in &verdicts {
        row(verdict, width, out)?;
    }
    for cap in found.keep {
        writeln!(out, "{:<width$}  kept: it was not tried without", cap.to_string())?;
    }
    writeln!(out)?;
    notes(found, network, in_place, out)?;
    let time: f64 = found.runs.iter().map(|run| run.time.as_secs_f64()).sum();
    writeln!(out, "{} runs in {time:.1} s.", found.runs.len())?;
    if found.runs.iter().any(|run| run.lost != Some(0)) {
        writeln!(out, "Records were lost in some: what was refused there is not all known.")?;
    }
    Ok(())
}

/// A verdict and its evidence.
fn row(verdict: &Verdict, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let kind = match verdict.kind {
        VerdictKind::Required => "required: otherwise ",
        VerdictKind::ChangesResult => "changes the result: ",
        VerdictKind::Tolerated => "tolerated: ",
        _ => "unused: ",
    };
    let evidence = |at: usize| {
        let words = &verdict.evidence[at].words;
        Escaped(words.as_bytes()).to_string()
    };
    let name = verdict.cap.to_string();
    let shown = verdict.evidence.len().min(EVIDENCE);
    let first = if shown == 0 { String::new() } else { evidence(0) };
    let kind = if first.is_empty() { kind.trim_end_matches(": ") } else { kind };
    writeln!(out, "{name:<width$}  {kind}{first}")?;
    for at in 1..shown {
        writeln!(out, "{:<width$}  and {}", "", evidence(at))?;
    }
    let more = verdict.evidence.len() - shown;
    if more > 0 { writeln!(out, "{:<width$}  and {more} more (--json)", "") } else { Ok(()) }
}

/// Prints the noise, the runs that were stopped, and the effects that were not compared.
fn notes(found: &Found, network: Network, in_place: bool, out: &mut dyn Write) -> io::Result<()> {
    let noise = found.noise();
    if !noise.is_empty() {
        let mut words: Vec<String> =
            noise.iter().take(NOISE).map(|words| Escaped(words.as_bytes()).to_string()).collect();
        if noise.len() > NOISE {
            words.push(format!("{} more (--json)", noise.len() - NOISE));
        }
        writeln!(
            out,
            "Ignored, since it varies with the same capabilities: {}.",
            words.join(", ")
        )?;
    }
    for note in &found.first().notes {
        writeln!(out, "Note: {note}.")?;
    }
    if in_place {
        writeln!(out, "Not compared, with --in-place: files.")?;
    }
    match network {
        Network::Private => {
            writeln!(out, "Note: each run had a private network, to compare its state (--net).")
        }
        Network::OfService => writeln!(
            out,
            "Note: each run found the files of the earlier ones. A first start, which creates them, \
             may need more."
        ),
        Network::Shared if (found.used() - found.minimum).contains(Cap::NET_ADMIN) => {
            writeln!(out, "Not compared: the state of the network (--net compares it).")
        }
        _ => Ok(()),
    }
}

/// Returns the tolerated capabilities in words, for a comment in the settings.
pub(super) fn tolerated(found: &Found) -> Option<String> {
    let tolerated = found.with_verdict(VerdictKind::Tolerated) - found.minimum;
    (!tolerated.is_empty())
        .then(|| format!("Refused, and the program went on with the same result: {tolerated}"))
}

pub(super) fn json(words: &[OsString], found: &Found) -> Value {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let verdict = |verdict: &Verdict| {
        let evidence = verdict.evidence.iter();
        let evidence = evidence.map(|one| json!({ "kind": one.kind, "words": one.words }));
        json!({
            "cap": verdict.cap,
            "verdict": verdict.kind.name(),
            "evidence": evidence.collect::<Vec<_>>(),
        })
    };
    json!({
        "schema": SCHEMA,
        "command": words,
        "baseline": {
            "exit": found.first().end.exit(),
            "message": found.first().message,
            "runs": found.baseline_runs,
            "noise": found.noise(),
        },
        "minimum": found.minimum,
        "verdicts": found.verdicts().iter().map(verdict).collect::<Vec<_>>(),
        "proved": found.proved,
        "runs": found.runs.iter().map(run_json).collect::<Vec<_>>(),
    })
}

/// Returns a run as JSON has it.
pub(crate) fn run_json(run: &Run) -> Value {
    let failures = run.failures.iter().map(
        |failure| json!({ "kind": failure.kind(), "words": failure.with_message(&run.message) }),
    );
    json!({
        "set": run.set,
        "passed": run.passed,
        "seconds": run.time.as_secs_f64(),
        "exit": run.exit(),
        "message": run.message,
        "failures": failures.collect::<Vec<_>>(),
        "lost": run.lost,
    })
}

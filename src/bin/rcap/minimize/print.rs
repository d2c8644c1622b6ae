//! What was found out, for people and as JSON.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use nix::errno::Errno;
use serde_json::{Value, json};

use super::{Found, Trial};
use rcap::{
    Cap, CapSet,
    trace::{Need, minimize::Failure},
};

use crate::{Escaped, Stream, json::SCHEMA, trace::asked};

fn named(set: CapSet) -> String {
    if set.is_empty() { "none".to_owned() } else { set.to_string() }
}

/// One run, as it has ended.
pub(super) fn progress(number: usize, trial: &Trial) -> String {
    let set = if number == 1 { "all".to_owned() } else { named(trial.set) };
    let verdict = if trial.passed { "passed" } else { "failed" };
    format!("run {number}, {:.1} s: {verdict} with {set}", trial.time.as_secs_f64())
}

pub(super) fn print(found: &Found, out: &mut Stream) -> io::Result<()> {
    if found.proved {
        writeln!(out, "Minimum: {}", named(found.minimum))?;
    } else if found.trials.len() <= 1 || found.minimum == found.trials[0].set {
        return writeln!(out, "Interrupted before it had passed with fewer than all.");
    } else {
        writeln!(out, "Interrupted. The fewest so far: {}", named(found.minimum))?;
    }
    let considered = found.candidates | found.minimum;
    let width = considered.iter().map(|cap| cap.to_string().len()).max().unwrap_or(0);
    if !considered.is_empty() {
        writeln!(out)?;
    }
    for cap in considered {
        let name = cap.to_string();
        match (found.minimum.contains(cap), found.without(cap)) {
            (true, Some(trial)) => {
                let [first, rest @ ..] = &*reasons(trial) else { continue };
                writeln!(out, "{name:<width$}  needed: without it, {first}")?;
                for reason in rest {
                    writeln!(out, "{:<width$}  and {reason}", "")?;
                }
            }
            (true, None) => writeln!(out, "{name:<width$}  kept: not tried without it")?,
            (false, _) => writeln!(out, "{name:<width$}  not needed: it passed without")?,
        }
    }
    degraded(found, out)?;
    let time: f64 = found.trials.iter().map(|trial| trial.time.as_secs_f64()).sum();
    writeln!(out, "\n{} runs in {time:.1} s.", found.trials.len())?;
    if found.trials.iter().any(|trial| trial.lost != Some(0)) {
        writeln!(out, "Records were lost in some: what was refused there is not all known.")?;
    }
    Ok(())
}

/// With `--no-strict`: what it was refused with the fewest, although it passed.
fn degraded(found: &Found, out: &mut Stream) -> io::Result<()> {
    let last = found.trials.iter().rev().find(|trial| trial.passed && trial.set == found.minimum);
    let refused: Vec<String> = last.into_iter().flat_map(reasons).collect();
    if !refused.is_empty() {
        writeln!(out, "\nIt passed so, and yet:")?;
    }
    refused.iter().try_for_each(|reason| writeln!(out, "  {reason}"))
}

impl Found {
    /// The run that shows what comes of the minimum without a capability: one that failed, with
    /// all of the others of the minimum, and as few besides as there was one.
    fn without(&self, cap: Cap) -> Option<&Trial> {
        let rest = self.minimum.without(cap);
        let shows = |trial: &&Trial| {
            !trial.passed && !trial.set.contains(cap) && trial.set.is_superset(rest)
        };
        self.trials.iter().filter(shows).max_by_key(|trial| trial.set.len())
    }
}

/// Why a run failed, in words.
fn reasons(trial: &Trial) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for failure in &trial.failures {
        reasons.push(match failure {
            Failure::Exit { exit, want } => {
                let said = if trial.message.is_empty() {
                    String::new()
                } else {
                    format!(": {}", Escaped(trial.message.as_bytes()))
                };
                match (exit, want) {
                    (Some(exit), Some(want)) => format!("{exit}, not {want}{said}"),
                    (Some(exit), None) => format!("{exit}{said}"),
                    (None, _) => format!("it could not be executed{said}"),
                }
            }
            Failure::TimedOut => "it did not end in time".to_owned(),
            Failure::Check => "--check failed".to_owned(),
            Failure::Output => "it printed something else".to_owned(),
            Failure::Refused { need } => refused(need),
        });
    }
    reasons.dedup();
    reasons
}

fn refused(need: &Need) -> String {
    let asked = asked(need);
    let errno = need.returned.and_then(|returned| i32::try_from(-returned).ok());
    let errno = errno.map(|errno| format!(" = {:?}", Errno::from_raw(errno))).unwrap_or_default();
    let call = need.system_call.as_deref().unwrap_or("a system call");
    let program = need.program.rsplit('/').next().unwrap_or_default();
    format!("{} was refused {}: {asked} ({call}{errno})", Escaped(program.as_bytes()), need.cap)
}

pub(super) fn json(words: &[OsString], found: &Found) -> Value {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let run = |trial: &Trial| {
        json!({
            "set": trial.set,
            "passed": trial.passed,
            "seconds": trial.time.as_secs_f64(),
            "exit": trial.exit,
            "message": trial.message,
            "failures": trial.failures,
            "lost": trial.lost,
        })
    };
    let verdict = |cap: Cap| {
        let needed = found.minimum.contains(cap);
        let without = found.without(cap).filter(|_| needed);
        json!({
            "cap": cap,
            "needed": needed,
            "failures": without.map(|trial| &trial.failures),
            "message": without.map(|trial| &trial.message),
        })
    };
    json!({
        "schema": SCHEMA,
        "command": words,
        "minimum": found.minimum,
        "proved": found.proved,
        "candidates": found.candidates,
        "verdicts": (found.candidates | found.minimum).iter().map(verdict).collect::<Vec<_>>(),
        "runs": found.trials.iter().map(run).collect::<Vec<_>>(),
    })
}

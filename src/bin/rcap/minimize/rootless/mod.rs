//! `rcap minimize --rootless`: the changes with which a container or a service works without
//! capabilities, as a user other than root.

use std::{ffi::OsString, io::Write};

use rcap::{
    rootless::{Account, Answer, Change, Needed, Tried},
    tools::{
        Escaped, Mistake,
        table::{fit, set_words},
    },
};
use serde_json::{Value, json};

use crate::{Exit, Io, args::MinimizeRequest, failure::Failure};

mod container;
mod unit;

pub(super) use {container::run as run_container, unit::run as run_unit};

/// The version of the layout of `--json`.
const SCHEMA: u32 = 1;

/// Rejects options that a search for changes has no use for.
fn check(request: &MinimizeRequest, more: &[(&str, bool)]) -> Result<(), Mistake> {
    let options = [
        ("--drop", request.drop.is_some()),
        ("--in-place", request.in_place),
        ("--keep", request.keep.is_some()),
        ("--net", request.net),
        ("--no-new-privs", request.no_new_privs),
        ("--repeat", request.measure.judging.repeat != 1),
        ("--reset", request.reset.is_some()),
        ("--same-output", request.measure.judging.same_output),
        ("--shared-volumes", request.measure.judging.shared_volumes),
        ("--strict", request.strict),
        ("--to", request.settings.to.is_some()),
        ("--write", request.write),
    ];
    let wrong = options.iter().chain(more).find(|(_, is_given)| *is_given);
    let words = |name| format!("{name} cannot be used with --rootless");
    wrong.map_or(Ok(()), |(name, _)| Err(Mistake::new(words(name))))
}

fn in_words(tried: &Tried) -> String {
    let changes = match tried.changes.len() {
        1 => "1 change".to_owned(),
        number => format!("{number} changes"),
    };
    let verdict = tried.failure.as_deref().unwrap_or("passed");
    format!("with {changes}: {}", Escaped(verdict.as_bytes()))
}

fn user(account: &Account) -> String {
    match &account.name {
        Some(name) => format!("{name} ({}:{})", account.uid, account.gid),
        None => format!("{}:{}", account.uid, account.gid),
    }
}

/// Returns the exit status of an answer.
fn exit<L>(answer: &Answer<L>) -> Exit {
    if answer.failure.is_none() && answer.caps.is_empty() { Exit::SUCCESS } else { Exit::NO }
}

/// Prints the answer without its lines.
fn print<L>(answer: &Answer<L>, io: &mut Io<'_>) -> Result<(), Failure> {
    let line = |text: &str, io: &mut Io<'_>| fit(&Escaped(text.as_bytes()).to_string(), io.out);
    let works = answer.failure.is_none();
    let verdict = match &answer.failure {
        Some(_) if answer.is_flaky => {
            "it worked once, and did not when that was repeated".to_owned()
        }
        Some(_) => "it does not work".to_owned(),
        None if answer.caps.is_empty() => "it works with no capability".to_owned(),
        None => format!("it works with {}", set_words(answer.caps)),
    };
    line(&format!("As {}, {}: {verdict}.", user(&answer.account), answer.origin), io)?;
    if let Some(failure) = &answer.failure {
        line(&format!("The last run: {failure}."), io)?;
    }
    writeln!(io.out)?;
    for Needed { change, failure, .. } in &answer.changes {
        let because = if works { format!(": otherwise {failure}") } else { " (tried)".to_owned() };
        line(&format!("{change}{because}"), io)?;
    }
    if !answer.changes.is_empty() {
        writeln!(io.out)?;
    }
    for refused in &answer.refused {
        let words = if works { "Refused, and the check passed" } else { "Refused" };
        line(&format!("{words}: {refused}"), io)?;
    }
    if !answer.refused.is_empty() {
        writeln!(io.out)?;
    }
    writeln!(io.out, "{} runs.", answer.runs.len())?;
    if !works {
        let words = "It needs a capability or another change: `rcap minimize` without --rootless \
                     finds the capabilities.";
        fit(words, io.out)?;
    }
    Ok(())
}

/// Returns the answer without its lines.
fn to_json<L>(words: &[OsString], answer: &Answer<L>) -> Value {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let change = |change: &Change| json!({ "kind": change.kind(), "words": change.to_string() });
    let needed = answer.changes.iter().map(|Needed { change: one, failure, .. }| {
        let mut value = change(one);
        value["failure"] = json!(failure);
        value
    });
    let runs = answer.runs.iter().map(|tried| {
        json!({
            "changes": tried.changes.iter().map(change).collect::<Vec<_>>(),
            "passed": tried.failure.is_none(),
            "failure": tried.failure,
            "seconds": tried.time.as_secs_f64(),
        })
    });
    json!({
        "schema": SCHEMA,
        "command": words,
        "user": {
            "name": answer.account.name,
            "uid": answer.account.uid,
            "gid": answer.account.gid,
            "origin": answer.origin,
        },
        "works": answer.failure.is_none(),
        "failure": answer.failure,
        "minimum": answer.caps,
        "changes": needed.collect::<Vec<_>>(),
        "refused": answer.refused,
        "missing": answer.missing,
        "runs": runs.collect::<Vec<_>>(),
    })
}

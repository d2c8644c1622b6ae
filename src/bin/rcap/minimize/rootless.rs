//! `rcap minimize --rootless`: the changes with which a container works without capabilities, as a
//! user other than root.

use std::{ffi::OsString, io::Write};

use rcap::{
    container::{Account, Answer, Change, Container, Needed, Recipe, Rootless, Tried},
    tools::{
        Escaped, Mistake, signals,
        table::{fit, set_words},
    },
};
use serde_json::{Value, json};

use super::{Exit, Failure, Io, MinimizeRequest, Progress, container::warn_of_shared, delegated};
use crate::delegated::Measured;

/// The version of the layout of `--json`.
const SCHEMA: u32 = 1;

/// Searches with containers of this recipe.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn run(
    request: &MinimizeRequest,
    measured: &Measured,
    io: &mut Io<'_>,
) -> Result<Exit, Failure> {
    check(request)?;
    let Measured { recipe, name, client } = measured;
    let failed = |err| delegated::container_failed(name, err);
    let shown = Escaped(recipe.to_string().as_bytes()).to_string();
    let client = Escaped(client.as_bytes());
    fit(&format!("Measuring the container of `{shown}`, not the {client} client."), io.err)?;
    signals::catch()?;
    let measure = &request.measure;
    let judging = &measure.judging;
    let progress = Progress::new(request.json);
    let interruption = progress.interruption(judging);
    let options = request.recording.options(true);
    let container = Container::as_given(recipe.clone(), judging.container(), options, interruption);
    let container = container.map_err(failed)?;
    if container.is_limited() {
        progress.set_limited();
    }
    warn_of_shared("rcap minimize", &container, io)?;
    let rootless = Rootless::new(container, judging.expect.into(), judging.timeout);
    let Some(mut rootless) = rootless.map_err(failed)? else { return Ok(Exit::INTERRUPTED) };
    // It has run as it is.
    progress.set_limited();
    if !rootless.sees_files() {
        let words = "the engine does not tell where the files of the image are: a change may \
                     create a file that exists";
        io.complain_in_words("rcap minimize", words)?;
    }
    let answer = rootless.search(&mut |_, tried| progress.add(tried.time, &in_words(tried)));
    let Some(answer) = answer.map_err(failed)? else { return Ok(Exit::INTERRUPTED) };
    if request.json {
        writeln!(io.out, "{}", to_json(&request.measure.program, &answer))?;
    } else {
        print(recipe, &answer, io)?;
    }
    Ok(if answer.failure.is_none() && answer.caps.is_empty() { Exit::SUCCESS } else { Exit::NO })
}

/// Rejects options that a search for changes has no use for.
fn check(request: &MinimizeRequest) -> Result<(), Mistake> {
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
        ("--user", request.user.is_some()),
        ("--write", request.write),
    ];
    let wrong = options.iter().find(|(_, is_given)| *is_given);
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

fn print(recipe: &Recipe, answer: &Answer, io: &mut Io<'_>) -> Result<(), Failure> {
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
        return Ok(());
    }
    // The lines are not wrapped, so that they can be pasted.
    for command in &answer.commands {
        let lines: Vec<String> =
            command.lines().map(|line| Escaped(line.as_bytes()).to_string()).collect();
        writeln!(io.out, "\n{}", lines.join("\n"))?;
    }
    if let Recipe::Service(service) = recipe {
        if let (Some(text), None) = (&answer.dockerfile, answer.compose.get("image")) {
            fit("\nAt the end of the Dockerfile:", io.out)?;
            writeln!(io.out)?;
            for line in text.lines() {
                writeln!(io.out, "{}", Escaped(line.as_bytes()))?;
            }
        }
        let name = Escaped(service.name().as_bytes()).to_string();
        writeln!(io.out, "\n{}", compose(&name, answer))?;
    }
    Ok(())
}

/// Returns the keys of a service of Compose as lines, and the new volumes that they name.
fn compose(name: &str, answer: &Answer) -> String {
    let mut lines = vec!["services:".to_owned(), format!("  {name}:")];
    let caps: Vec<String> = answer.caps.iter().map(|cap| cap.to_string()).collect();
    lines.push("    cap_drop: [ALL]".to_owned());
    if !caps.is_empty() {
        lines.push(format!("    cap_add: {}", json!(caps)));
    }
    for (key, value) in answer.compose.as_object().into_iter().flatten() {
        lines.push(format!("    {key}: {value}"));
    }
    let is_new = |entry: &&str| {
        answer.changes.iter().any(|needed| match &needed.change {
            Change::Volume { path, name: None } => entry.contains(&format!(":{path}:")),
            _ => false,
        })
    };
    let volumes = answer.compose["volumes"].as_array().into_iter().flatten();
    let new: Vec<&str> = volumes.filter_map(Value::as_str).filter(is_new).collect();
    if !new.is_empty() {
        lines.push("volumes:".to_owned());
    }
    for name in new.iter().filter_map(|entry| entry.split(':').next()) {
        lines.push(format!("  {name}: {{external: true}}"));
    }
    lines.join("\n")
}

fn to_json(words: &[OsString], answer: &Answer) -> Value {
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
        "dockerfile": answer.dockerfile,
        "commands": answer.commands,
        "compose": answer.compose,
        "runs": runs.collect::<Vec<_>>(),
    })
}

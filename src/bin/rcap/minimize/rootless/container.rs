//! `rcap minimize --rootless` of a container.

use std::io::Write;

use rcap::{
    container::{Container, ImageLines, Recipe, Rootless},
    rootless::{Answer, Change},
    tools::{Escaped, signals, table::fit},
};
use serde_json::{Value, json};

use super::{check, exit, in_words, print, to_json};
use crate::{
    Exit, Io,
    args::MinimizeRequest,
    delegated::{self, Measured},
    failure::Failure,
    minimize::warn_of_shared,
    progress::Progress,
};

/// Searches with containers of this recipe.
///
/// # Errors
///
/// [`Failure`]
pub(in crate::minimize) fn run(
    request: &MinimizeRequest,
    measured: &Measured,
    io: &mut Io<'_>,
) -> Result<Exit, Failure> {
    check(request, &[("--user", request.user.is_some())])?;
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
        let mut value = to_json(&request.measure.program, &answer);
        let lines = answer.lines.as_ref();
        value["dockerfile"] = json!(lines.and_then(|lines| lines.dockerfile.as_ref()));
        value["commands"] = json!(lines.map(|lines| &*lines.commands).unwrap_or_default());
        value["compose"] = lines.map_or_else(|| json!({}), |lines| lines.compose.clone());
        writeln!(io.out, "{value}")?;
    } else {
        print(&answer, io)?;
        if let Some(lines) = &answer.lines {
            print_lines(recipe, &answer, lines, io)?;
        }
    }
    Ok(exit(&answer))
}

/// Prints the lines, which are not wrapped, so that they can be pasted.
fn print_lines(
    recipe: &Recipe,
    answer: &Answer<ImageLines>,
    lines: &ImageLines,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    for command in &lines.commands {
        let lines: Vec<String> =
            command.lines().map(|line| Escaped(line.as_bytes()).to_string()).collect();
        writeln!(io.out, "\n{}", lines.join("\n"))?;
    }
    if let Recipe::Service(service) = recipe {
        if let (Some(text), None) = (&lines.dockerfile, lines.compose.get("image")) {
            fit("\nAt the end of the Dockerfile:", io.out)?;
            writeln!(io.out)?;
            for line in text.lines() {
                writeln!(io.out, "{}", Escaped(line.as_bytes()))?;
            }
        }
        writeln!(io.out)?;
        for line in compose(service.name(), answer, &lines.compose).lines() {
            writeln!(io.out, "{}", Escaped(line.as_bytes()))?;
        }
    }
    Ok(())
}

/// Returns the keys of a service of Compose as lines, and the new volumes that they name.
fn compose(name: &str, answer: &Answer<ImageLines>, keys: &Value) -> String {
    let mut lines = vec!["services:".to_owned(), format!("  {name}:")];
    let caps: Vec<String> = answer.caps.iter().map(|cap| cap.to_string()).collect();
    lines.push("    cap_drop: [ALL]".to_owned());
    if !caps.is_empty() {
        lines.push(format!("    cap_add: {}", json!(caps)));
    }
    for (key, value) in keys.as_object().into_iter().flatten() {
        lines.push(format!("    {key}: {value}"));
    }
    let is_new = |entry: &&str| {
        answer.changes.iter().any(|needed| match &needed.change {
            Change::Volume { path, name: None } => entry.contains(&format!(":{path}:")),
            _ => false,
        })
    };
    let volumes = keys["volumes"].as_array().into_iter().flatten();
    let new: Vec<&str> = volumes.filter_map(Value::as_str).filter(is_new).collect();
    if !new.is_empty() {
        lines.push("volumes:".to_owned());
    }
    for name in new.iter().filter_map(|entry| entry.split(':').next()) {
        lines.push(format!("  {name}: {{external: true}}"));
    }
    lines.join("\n")
}

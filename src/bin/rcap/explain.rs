//! `rcap explain`: describes capabilities.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    Exit, Io, Stream,
    args::{ExplainRequest, Explained},
    failure::Failure,
    json::SCHEMA,
    most_alike,
};
use rcap::{
    Cap, CapSet, knowledge,
    scan::Rule,
    settings::Profile,
    tools::{
        did_you_mean,
        table::{Table, prose, prose_width},
    },
};

/// Returns the engines that grant it to a container by default.
fn given_by(cap: Cap) -> Vec<&'static str> {
    const ENGINES: [(&str, Profile); 4] = [
        ("docker", Profile::Docker),
        ("containerd", Profile::Docker),
        ("podman", Profile::Podman),
        ("cri-o", Profile::CriO),
    ];
    let gives = ENGINES.iter().filter(|(_, profile)| profile.given().contains(cap));
    gives.map(|(name, _)| *name).collect()
}

/// Returns the Pod Security levels of Kubernetes that let a pod add it. A level only forbids: the
/// engine grants.
fn pod_security(cap: Cap) -> Vec<&'static str> {
    const LEVELS: [(&str, Profile); 2] =
        [("baseline", Profile::KubernetesBaseline), ("restricted", Profile::KubernetesRestricted)];
    let allows = LEVELS.iter().filter(|(_, profile)| profile.addable().contains(cap));
    std::iter::once("privileged").chain(allows.map(|(name, _)| *name)).collect()
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &ExplainRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let ExplainRequest { json: is_json, syscall, program, caps } = request;
    let is_json = *is_json;
    if let Some(name) = syscall {
        return system_call(name, is_json, io);
    }
    let program = program.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path));
    let explained = match program {
        Some(name) => {
            let caps = knowledge::needed_by(name);
            if caps.is_empty() {
                return Err(unknown("program", name));
            }
            caps
        }
        None if caps.is_empty() => CapSet::NAMED,
        None => {
            let mut all = CapSet::empty();
            for subject in caps {
                match subject {
                    Explained::Caps(set) => all |= *set,
                    Explained::Rule(rule) => return explain_rule(rule, is_json, io),
                }
            }
            all
        }
    };
    if is_json {
        let caps: Vec<_> = explained.iter().map(object).collect();
        let object = json!({"schema": SCHEMA, "program": program, "capabilities": caps});
        writeln!(io.out, "{object}")?;
    } else if program.is_none() && caps.is_empty() {
        let mut table = Table::new(0);
        for cap in explained {
            let permits = knowledge::about(cap).map(|about| about.permits).unwrap_or_default();
            table.row(&[&cap, &first_sentence(permits)]);
        }
        table.write(io.out)?;
    } else {
        if let Some(name) = program {
            let words = format!("{name} needs, for something it does: {explained}");
            prose(0, &words, io.out)?;
            writeln!(io.out)?;
        }
        for (nth, cap) in explained.iter().enumerate() {
            if nth > 0 {
                writeln!(io.out)?;
            }
            describe(cap, io.out)?;
        }
    }
    Ok(Exit::SUCCESS)
}

fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    text.find(". ").map_or(&*text, |end| &text[..=end]).to_owned()
}

fn object(cap: Cap) -> Value {
    let about = knowledge::about(cap);
    let uses = knowledge::uses(cap);
    let calls = uses.map_or(&[][..], |uses| uses.system_calls);
    json!({
        "cap": cap,
        "number": cap.number(),
        "permits": about.map(|about| about.permits),
        "since": about.and_then(|about| about.since),
        "route_to_root": knowledge::route_to_root(cap),
        "given_by": given_by(cap),
        "pod_security": pod_security(cap),
        "seccomp": knowledge::seccomp(cap),
        "system_calls": calls.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "programs": uses.map(|uses| uses.programs),
        "instead": uses.and_then(|uses| uses.instead),
    })
}

fn describe(cap: Cap, out: &mut Stream) -> io::Result<()> {
    let about = knowledge::about(cap);
    let permits = about.map_or("No name is known for it.", |about| about.permits);
    writeln!(out, "{cap} ({})\n", cap.number())?;
    paragraphs(permits, out)?;
    writeln!(out)?;
    let uses = knowledge::uses(cap);
    if let Some(uses) = uses {
        let mut calls: Vec<&str> = uses.system_calls.iter().map(|(name, _)| *name).collect();
        calls.dedup();
        list("Asked for by", &calls, out)?;
        list("Needed by", uses.programs, out)?;
    }
    let route = knowledge::route_to_root(cap).unwrap_or("none is known from it alone");
    fold("A way to what root has", route, out)?;
    let given = given_by(cap);
    let given = if given.is_empty() { "no engine".to_owned() } else { given.join(", ") };
    fold("Granted to containers by default by", &given, out)?;
    fold("Pod Security levels that allow adding it", &pod_security(cap).join(", "), out)?;
    list(
        "System calls that Docker's seccomp profile allows with it",
        knowledge::seccomp(cap),
        out,
    )?;
    if let Some(instead) = uses.and_then(|uses| uses.instead) {
        fold("Instead", instead, out)?;
    }
    if let Some(version) = about.and_then(|about| about.since) {
        fold("Since", &format!("Linux {version}"), out)?;
    }
    Ok(())
}

/// Prints text indented by two spaces, and wrapped on a narrow terminal.
fn paragraphs(text: &str, out: &mut Stream) -> io::Result<()> {
    let width = prose_width(out);
    if text.lines().all(|line| line.chars().count() + 2 <= width) {
        return text.lines().try_for_each(|line| writeln!(out, "  {line}"));
    }
    text.split("\n\n").try_for_each(|part| prose(2, &part.replace('\n', " "), out))
}

fn list(head: &str, names: &[&str], out: &mut Stream) -> io::Result<()> {
    if names.is_empty() { Ok(()) } else { fold(head, &names.join(", "), out) }
}

/// Prints a sentence, wrapped to the terminal.
pub(super) fn fold(head: &str, words: &str, out: &mut Stream) -> io::Result<()> {
    prose(2, &format!("{head}: {words}."), out)
}

/// Prints the description of a finding.
fn explain_rule(rule: &Rule, is_json: bool, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let Rule { id, title, explanation, fix, .. } = rule;
    if is_json {
        let object = json!({"id": id, "title": title, "explanation": explanation, "fix": fix});
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "finding": object}))?;
        return Ok(Exit::SUCCESS);
    }
    writeln!(io.out, "{id}: {title}\n")?;
    fold("Why", explanation.trim_end_matches('.'), io.out)?;
    fold("Fix", fix.trim_end_matches('.'), io.out)?;
    Ok(Exit::SUCCESS)
}

/// `--syscall`
fn system_call(name: &str, is_json: bool, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let asked: Vec<_> = knowledge::asked_by(name).collect();
    if asked.is_empty() {
        return Err(unknown("system call", name));
    }
    if is_json {
        let row = |(cap, when): &(Cap, &str)| json!({"cap": cap, "when": when});
        let rows: Vec<_> = asked.iter().map(row).collect();
        let object = json!({"schema": SCHEMA, "system_call": name, "capabilities": rows});
        writeln!(io.out, "{object}")?;
        return Ok(Exit::SUCCESS);
    }
    let mut table = Table::new(0);
    for (cap, when) in asked {
        table.row(&[&cap, &when]);
    }
    table.write(io.out)?;
    Ok(Exit::SUCCESS)
}

/// Returns the error of an unknown name, with a suggestion.
fn unknown(what: &str, name: &str) -> Failure {
    let best = most_alike(name, knowledge::names().map(|known| (known, known)), 0.9);
    Failure::No(format!("unknown {what} {name}{}", did_you_mean(best)))
}

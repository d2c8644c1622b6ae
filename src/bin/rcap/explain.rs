//! `rcap explain`: what a capability permits, and what it is worth.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, ArgAction, Command};
use serde_json::json;

use super::{Exit, Io, json::SCHEMA, most_alike, parse_caps};
use rcap::{Cap, CapSet, UnknownCap, knowledge, scan::Rule, settings::Profile};

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    Command::new("explain")
        .about("Say what a capability permits, and what it is worth to an attacker")
        .override_usage("rcap explain [OPTION]... [CAPS]...")
        .args([
            flag("json").help("Print one JSON object"),
            Arg::new("syscall")
                .long("syscall")
                .value_name("SYSCALL")
                .conflicts_with_all(["CAPS", "program"])
                .help("Say what a system call may ask for, and when"),
            Arg::new("program")
                .long("program")
                .value_name("NAME")
                .conflicts_with("CAPS")
                .help("Say what a program needs for something it does"),
            Arg::new("CAPS")
                .num_args(0..)
                .value_parser(named)
                .help("Names with commas, or the id of a finding of rcap scan; without any, all, a line each"),
        ])
        .after_help(
            "Example: rcap explain net_raw\n         rcap explain --syscall bind\n         \
             rcap explain --program ping",
        )
}

/// Who gives it to a container that asks for nothing.
fn given_by(cap: Cap) -> Vec<&'static str> {
    let gives = |profile: &Profile| profile.given().contains(cap);
    Profile::ALL.into_iter().filter(gives).map(Profile::name).collect()
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    if let Some(name) = matches.get_one::<String>("syscall") {
        return system_call(name, matches.get_flag("json"), io);
    }
    let program = matches.get_one::<String>("program");
    if let Some(name) = program.map(|path| path.rsplit('/').next().unwrap_or(path)) {
        let caps = knowledge::needed_by(name);
        if caps.is_empty() {
            return unknown(name, "program", io);
        }
        return explain(caps, Some(name), matches.get_flag("json"), io);
    }
    let named = matches.contains_id("CAPS");
    let mut caps = CapSet::empty();
    for named in matches.get_many::<Named>("CAPS").into_iter().flatten() {
        match named {
            Named::Caps(set) => caps |= *set,
            Named::Rule(rule) => return explain_rule(rule, matches.get_flag("json"), io),
        }
    }
    let caps = if named { caps } else { CapSet::NAMED };
    if !named && !matches.get_flag("json") {
        for cap in caps {
            let permits = knowledge::about(cap).map(|about| about.permits).unwrap_or_default();
            let first = permits.lines().next().unwrap_or_default();
            writeln!(io.out, "{:<22}  {first}", cap.to_string())?;
        }
        return Ok(Exit::SUCCESS);
    }
    explain(caps, None, matches.get_flag("json"), io)
}

/// An argument: capabilities, or a finding of `rcap scan`.
#[derive(Clone, Copy, Debug)]
enum Named {
    Caps(CapSet),
    Rule(&'static Rule),
}

fn named(text: &str) -> Result<Named, UnknownCap> {
    match Rule::by_id(text) {
        Some(rule) => Ok(Named::Rule(rule)),
        None => parse_caps(text).map(Named::Caps),
    }
}

/// A kind of finding.
fn explain_rule(rule: &Rule, is_json: bool, io: &mut Io<'_>) -> io::Result<Exit> {
    let Rule { id, title, explanation, fix, .. } = rule;
    if is_json {
        let object = json!({"id": id, "title": title, "explanation": explanation, "fix": fix});
        let object = json!({"schema": SCHEMA, "finding": object});
        return writeln!(io.out, "{object}").map(|()| Exit::SUCCESS);
    }
    writeln!(io.out, "{id}: {title}\n")?;
    fold("Why", explanation.trim_end_matches('.'), io)?;
    fold("Fix", fix.trim_end_matches('.'), io)?;
    Ok(Exit::SUCCESS)
}

/// Capabilities one by one; of a program, with its name.
fn explain(
    caps: CapSet,
    program: Option<&str>,
    is_json: bool,
    io: &mut Io<'_>,
) -> io::Result<Exit> {
    if is_json {
        let object = |cap: Cap| {
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
                "system_calls": calls.iter().map(|(name, _)| name).collect::<Vec<_>>(),
                "programs": uses.map(|uses| uses.programs),
                "instead": uses.and_then(|uses| uses.instead),
            })
        };
        let caps: Vec<_> = caps.iter().map(object).collect();
        let object = json!({"schema": SCHEMA, "program": program, "capabilities": caps});
        writeln!(io.out, "{object}")?;
        return Ok(Exit::SUCCESS);
    }
    if let Some(name) = program {
        writeln!(io.out, "{name} needs, for something it does: {caps}\n")?;
    }
    for (index, cap) in caps.iter().enumerate() {
        let about = knowledge::about(cap);
        let permits = about.map_or("No name is known for it.", |about| about.permits);
        let gap = if index > 0 { "\n" } else { "" };
        writeln!(io.out, "{gap}{cap} ({})\n", cap.number())?;
        for line in permits.lines() {
            writeln!(io.out, "  {line}")?;
        }
        writeln!(io.out)?;
        if let Some(uses) = knowledge::uses(cap) {
            let mut calls: Vec<&str> = uses.system_calls.iter().map(|(name, _)| *name).collect();
            calls.dedup();
            list("Asked for by", &calls, io)?;
            list("Needed by", uses.programs, io)?;
        }
        let route = knowledge::route_to_root(cap).unwrap_or("none is known from it alone");
        fold("A way to what root has", route, io)?;
        let given = given_by(cap);
        let given = if given.is_empty() { "nobody".to_owned() } else { given.join(", ") };
        fold("Given to every container by", &given, io)?;
        if let Some(instead) = knowledge::uses(cap).and_then(|uses| uses.instead) {
            fold("Instead", instead, io)?;
        }
        if let Some(version) = about.and_then(|about| about.since) {
            fold("Since", &format!("Linux {version}"), io)?;
        }
    }
    Ok(Exit::SUCCESS)
}

fn list(head: &str, names: &[&str], io: &mut Io<'_>) -> io::Result<()> {
    if names.is_empty() { Ok(()) } else { fold(head, &names.join(", "), io) }
}

/// A sentence in lines that fit a terminal.
pub(super) fn fold(head: &str, words: &str, io: &mut Io<'_>) -> io::Result<()> {
    const WIDTH: usize = 78;
    let mut line = format!("  {head}:");
    for word in words.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(io.out, "{line}")?;
            line = format!("    {word}");
        } else {
            line.extend([" ", word]);
        }
    }
    writeln!(io.out, "{line}.")
}

/// `--syscall`
fn system_call(name: &str, is_json: bool, io: &mut Io<'_>) -> io::Result<Exit> {
    let asked: Vec<_> = knowledge::asked_by(name).collect();
    if asked.is_empty() {
        return unknown(name, "system call", io);
    }
    if is_json {
        let row = |(cap, when): &(Cap, &str)| json!({"cap": cap, "when": when});
        let rows: Vec<_> = asked.iter().map(row).collect();
        let object = json!({"schema": SCHEMA, "system_call": name, "capabilities": rows});
        return writeln!(io.out, "{object}").map(|()| Exit::SUCCESS);
    }
    for (cap, when) in asked {
        writeln!(io.out, "{:<22}  {when}", cap.to_string())?;
    }
    Ok(Exit::SUCCESS)
}

/// Nothing is known of it, and what may have been meant.
fn unknown(name: &str, what: &str, io: &mut Io<'_>) -> io::Result<Exit> {
    let best = most_alike(name, knowledge::names().map(|known| (known, known)), 0.9);
    let meant = best.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
    let words = format!("nothing is known of the {what} {name}{meant}");
    io.complain_in_words("rcap explain", &words).map(|()| Exit::FAILURE)
}

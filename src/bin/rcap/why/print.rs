//! The answer as text and as JSON.

use std::{
    fmt::Display,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
};

use serde_json::{Value, json};

use super::{
    Origin, Starter, Verdict,
    advice::{advice, is_interpreter, wanted},
    drift::Drift,
};
use rcap::{
    CapSet, CapState,
    exec::{Change, Credentials, Effect, Outcome, ProgramFile, Set},
    settings::Profile,
    tools::table::set_words,
};

use crate::{Escaped, json::SCHEMA};

/// Returns a set in words that fit into a table.
fn some(set: CapSet) -> String {
    let supported = CapSet::supported();
    let lacking = supported - set;
    if set == supported {
        "all".to_owned()
    } else if set.len() > 3 && lacking.len() <= 3 {
        format!("all but {lacking}")
    } else {
        of_profile(set).unwrap_or_else(|| set_words(set))
    }
}

/// Returns a set in words if it is close to the default set of a container engine.
fn of_profile(set: CapSet) -> Option<String> {
    const NAMES: [(Profile, &str); 3] =
        [(Profile::Docker, "Docker"), (Profile::Podman, "Podman"), (Profile::CriO, "CRI-O")];
    NAMES.into_iter().find_map(|(profile, name)| {
        let given = profile.given();
        let (more, fewer) = (set - given, given - set);
        let whole = format!("the {} of {name}'s default", given.len());
        match (more.is_empty(), fewer.is_empty()) {
            (true, true) => Some(whole),
            (false, true) if more.len() <= 3 => Some(format!("{whole} and {more}")),
            (true, false) if fewer.len() <= 3 => Some(format!("{whole} without {fewer}")),
            _ => None,
        }
    })
}

/// Returns the five sets and their names.
fn sets(process: &Credentials) -> [(&'static str, CapSet); 5] {
    [
        ("permitted", process.caps.permitted),
        ("effective", process.caps.effective),
        ("inheritable", process.caps.inheritable),
        ("bounding", process.bounding),
        ("ambient", process.ambient),
    ]
}

fn table(before: &Credentials, after: &Credentials, out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<_> = sets(before).into_iter().zip(sets(after)).collect();
    let width = rows.iter().map(|((_, set), _)| some(*set).len()).max().unwrap_or(0).max(6);
    writeln!(out, "{:<11}  {:<width$}  AFTER", "SET", "BEFORE")?;
    for ((name, before), (_, after)) in rows {
        writeln!(out, "{name:<11}  {:<width$}  {}", some(before), some(after))?;
    }
    Ok(())
}

fn change(change: &Change) -> String {
    let set = match change.set {
        Set::Permitted => "permitted",
        Set::Effective => "effective",
        Set::Ambient => "ambient",
    };
    let verb = match change.effect {
        Effect::Gained => "gains",
        Effect::Lost => "loses",
        Effect::Withheld => "is not given",
    };
    format!("{set} {verb} {}: {}", some(change.caps), change.rule)
}

/// Returns the relevant attributes of a file in the chain.
fn file(link: &ProgramFile) -> Option<String> {
    let mut has = Vec::new();
    has.extend(link.file.caps.map(|caps| {
        let rootid = caps.rootid.map(|id| format!(" with the root ID {id}"));
        format!("{}{}", CapState::from(caps), rootid.unwrap_or_default())
    }));
    if link.file.caps.is_none() && link.file.is_foreign {
        has.push("capabilities of another user namespace".to_owned());
    }
    has.extend(link.file.set_uid.map(|uid| format!("set-user-ID {uid}")));
    has.extend(link.file.set_gid.map(|gid| format!("set-group-ID {gid}")));
    (!has.is_empty()).then(|| has.join(", "))
}

fn shown(link: &ProgramFile) -> String {
    Escaped(link.path.as_os_str().as_bytes()).to_string()
}

/// Returns notes about the program.
fn remarks(starter: &Starter, verdict: &Verdict) -> Vec<String> {
    let mut remarks = Vec::new();
    let executed = verdict.program.executed();
    for script in verdict.program.scripts() {
        let own = file(script).map(|has| format!("; its own {has} is ignored"));
        remarks.push(format!(
            "{} is a script: the file of its interpreter {} decides{}",
            shown(script),
            shown(executed),
            own.unwrap_or_default()
        ));
    }
    if let Some(has) = file(executed) {
        remarks.push(format!("{} has {has}", shown(executed)));
    }
    if executed.file.caps.is_some_and(|caps| !caps.permitted.is_empty())
        && is_interpreter(&executed.path)
    {
        remarks.push(format!(
            "{} is an interpreter: every user who may execute it has these capabilities for every \
             script",
            shown(executed)
        ));
    }
    let Some(outcome) = &verdict.outcome else {
        remarks.extend(starter.assumed.iter().cloned());
        return remarks;
    };
    if outcome.is_secure {
        remarks.push(
            "its environment is not trusted (AT_SECURE): LD_LIBRARY_PATH, LD_PRELOAD and $ORIGIN \
             in its run path are ignored, but not with ambient capabilities (rcap run, \
             AmbientCapabilities= of systemd)"
                .to_owned(),
        );
        if executed.uses_origin {
            remarks.push(format!(
                "{} finds its libraries by $ORIGIN, so it may not start",
                shown(executed)
            ));
        }
    }
    if !(outcome.after.caps.permitted - starter.process.caps.permitted).is_empty() {
        remarks.push(
            "it gains capabilities, so it is not dumpable: gdb, strace and core dumps fail for \
             others than root, and /proc/PID belongs to root"
                .to_owned(),
        );
    }
    remarks.extend(starter.assumed.iter().cloned());
    remarks
}

pub(super) fn words(starter: &Starter, verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let program = shown(&verdict.program.chain[0]);
    writeln!(out, "{program}, executed by {}:\n", starter.words)?;
    if let Some((errno, words)) = &verdict.refused {
        writeln!(out, "execve(2) fails, {}: {words}", errno.desc())?;
    }
    if let Some(outcome) = &verdict.outcome {
        table(&starter.process, &outcome.after, out)?;
        let changes: Vec<String> = outcome.changes.iter().map(change).collect();
        list("", &changes, out)?;
        if changes.is_empty() {
            writeln!(out, "\nNothing changes.")?;
        }
    }
    list("Note: ", &remarks(starter, verdict), out)?;
    let advice = advice(starter, verdict);
    if starter.settings.is_some()
        && verdict.refused.is_none()
        && wanted(starter, verdict).is_empty()
    {
        return writeln!(
            out,
            "\nNothing to fix: the settings name no capability that the program could miss."
        );
    }
    list("Fix: ", &advice, out)
}

/// Prints lines after an empty line.
fn list(head: &str, lines: &[String], out: &mut dyn Write) -> io::Result<()> {
    if !lines.is_empty() {
        writeln!(out)?;
    }
    lines.iter().try_for_each(|line| writeln!(out, "{head}{line}"))
}

fn process_json(process: &Credentials) -> Value {
    json!({
        "uid": process.uid,
        "gid": process.gid,
        "effective": process.caps.effective,
        "permitted": process.caps.permitted,
        "inheritable": process.caps.inheritable,
        "bounding": process.bounding,
        "ambient": process.ambient,
        "securebits": process.securebits.to_string(),
        "no_new_privs": process.no_new_privs,
    })
}

fn outcome_json(outcome: &Outcome) -> Value {
    let changes = outcome.changes.iter().map(|change| {
        json!({
            "set": change.set,
            "effect": change.effect,
            "caps": change.caps,
            "rule": change.rule,
            "words": change.rule.to_string(),
        })
    });
    json!({
        "after": process_json(&outcome.after),
        "secure": outcome.is_secure,
        "changes": changes.collect::<Vec<_>>(),
    })
}

pub(super) fn json(starter: &Starter, verdict: &Verdict) -> Value {
    let link = |link: &ProgramFile| {
        json!({
            "path": link.path.to_string_lossy(),
            "caps": link.file.caps,
            "foreign": link.file.is_foreign,
            "set_uid": link.file.set_uid,
            "set_gid": link.file.set_gid,
            "nosuid": link.file.is_nosuid,
        })
    };
    let refused = verdict.refused.as_ref();
    let refused = refused.map(|(errno, words)| json!({"errno": *errno as i32, "words": words}));
    json!({
        "schema": SCHEMA,
        "files": verdict.program.chain.iter().map(link).collect::<Vec<_>>(),
        "before": process_json(&starter.process),
        "outcome": verdict.outcome.as_ref().map(outcome_json),
        "refused": refused,
        "remarks": remarks(starter, verdict),
        "advice": advice(starter, verdict),
    })
}

fn lines(rows: &[(CapSet, impl Display)]) -> Vec<String> {
    rows.iter().map(|(caps, words)| format!("{}: {words}", some(*caps))).collect()
}

fn rows_json<T: Display>(rows: &[(CapSet, T)]) -> Vec<Value> {
    rows.iter().map(|(caps, words)| json!({"caps": caps, "words": words.to_string()})).collect()
}

pub(super) fn origin(starter: &Starter, origin: &Origin, out: &mut dyn Write) -> io::Result<()> {
    let program = origin
        .program
        .as_ref()
        .map(|path| format!(", which executes {}", Escaped(path.as_os_str().as_bytes())));
    writeln!(out, "{}{}:", starter.words, program.unwrap_or_default())?;
    let has = lines(&origin.held);
    list("has ", if has.is_empty() { &[] } else { &has }, out)?;
    if has.is_empty() {
        writeln!(out, "\nhas nothing")?;
    }
    list("lacks ", &lines(&origin.lacking), out)?;
    if let Some(drift) = &origin.drift {
        list("Settings: ", &drift.lines(), out)?;
    }
    if let Some(outcome) = &origin.children {
        writeln!(out, "\nAn ordinary program that it executes:\n")?;
        table(&starter.process, &outcome.after, out)?;
        list("", &outcome.changes.iter().map(change).collect::<Vec<_>>(), out)?;
    }
    list("Note: ", &starter.assumed, out)
}

pub(super) fn origin_json(pid: u32, starter: &Starter, origin: &Origin) -> Value {
    json!({
        "schema": SCHEMA,
        "pid": pid,
        "program": origin.program.as_ref().map(|path| path.to_string_lossy()),
        "before": process_json(&starter.process),
        "has": rows_json(&origin.held),
        "lacks": rows_json(&origin.lacking),
        "outcome": origin.children.as_ref().map(outcome_json),
        "settings": origin.drift.as_ref().map(Drift::json),
        "remarks": starter.assumed,
    })
}

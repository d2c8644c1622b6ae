//! `rcap suggest`: from a task or an error message to the capabilities that it may take.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
};

use clap::{Arg, ArgAction, Command};
use serde_json::json;

use super::{Exit, Io, explain::fold, json::SCHEMA};
use rcap::{
    CapSet,
    knowledge::{self, Answer, Suggestion, Sysctl},
};

pub(crate) fn command() -> Command {
    Command::new("suggest")
        .about("Say which capabilities something may take, in your own words")
        .override_usage("rcap suggest [OPTION]... WORD...")
        .args([
            Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"),
            Arg::new("WORD")
                .num_args(1..)
                .required(true)
                .help("A task, an error message, or the name of a program or a capability"),
        ])
        .after_help(
            "What it says is likely, and not measured: `rcap trace` does that.\n\n\
             Example: rcap suggest \"remove a file owned by someone else\"\n         \
             rcap suggest netcat on port 80",
        )
}

/// A setting of this machine, and what follows from it.
struct Setting {
    name: &'static str,
    value: String,
    frees: Option<&'static str>,
}

impl Setting {
    /// `None` where the kernel has no such setting.
    fn read(sysctl: &Sysctl) -> Option<Setting> {
        let path = format!("/proc/sys/{}", sysctl.name.replace('.', "/"));
        let value = fs::read_to_string(path).ok()?;
        let frees = sysctl.frees(&value);
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Setting { name: sysctl.name, value, frees })
    }
}

/// Returns the alternative with less privilege.
fn instead(answer: &Suggestion) -> Option<&'static str> {
    let of_first = || answer.caps.first().and_then(|cap| knowledge::uses(*cap)?.instead);
    answer.instead.or_else(of_first)
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, Exit::USAGE),
    };
    let words: Vec<&String> = matches.get_many("WORD").into_iter().flatten().collect();
    let question = words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ");
    let answers: Vec<(Suggestion, Option<Setting>)> = knowledge::suggest(&question)
        .into_iter()
        .map(|answer| {
            let setting = answer.sysctl.and_then(Setting::read);
            (answer, setting)
        })
        .collect();
    if matches.get_flag("json") {
        let answer = |(answer, setting): &(Suggestion, Option<Setting>)| {
            let setting = setting.as_ref().map(|setting| {
                json!({"name": setting.name, "value": setting.value, "frees": setting.frees})
            });
            json!({
                "what": answer.what,
                "answer": answer.answer,
                "caps": answer.caps,
                "because": answer.because,
                "instead": instead(answer),
                "sysctl": setting,
            })
        };
        let answers: Vec<_> = answers.iter().map(answer).collect();
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "answers": answers}))?;
    } else {
        for (nth, (answer, setting)) in answers.iter().enumerate() {
            let gap = if nth > 0 { "\n" } else { "" };
            let caps = answer.caps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let head = match answer.answer {
                Answer::NotNeeded => "No capability is needed",
                Answer::Why => "rcap why",
                _ => &*caps,
            };
            writeln!(io.out, "{gap}{head}: {}\n", answer.what)?;
            fold("Because", answer.because, io)?;
            if let Some(Setting { name, value, frees }) = setting {
                let frees = frees.map(|words| format!(", so that {words}")).unwrap_or_default();
                fold("Here", &format!("{name} is {value}{frees}"), io)?;
            }
            if let Some(instead) = instead(answer) {
                fold("Instead", instead, io)?;
            }
            let caps: CapSet = answer.caps.iter().copied().collect();
            if caps.iter().any(|cap| knowledge::route_to_root(cap).is_some()) {
                fold("Beware", "it is a way to more: rcap explain", io)?;
            }
        }
    }
    if answers.is_empty() {
        let words = "no answer fits; `rcap trace PROGRAM` records what a program asks for";
        return io.complain_in_words("rcap suggest", words).map(|()| Exit::FAILURE);
    }
    Ok(Exit::SUCCESS)
}

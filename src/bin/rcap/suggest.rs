//! `rcap suggest`: finds the capabilities for a task or an error message.

use std::{
    fs,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::{
    Exit, Io, Stream, args::SuggestRequest, explain::fold, failure::Failure, json::SCHEMA,
};
use rcap::{
    CapSet,
    knowledge::{self, Suggestion, Sysctl},
    tools::table::prose,
};

/// A setting of this machine, and its consequence.
struct Setting {
    name: &'static str,
    value: String,
    frees: Option<&'static str>,
}

impl Setting {
    /// Reads the setting, or returns `None` if the kernel does not have it.
    fn read(sysctl: &Sysctl) -> Option<Setting> {
        let path = format!("/proc/sys/{}", sysctl.name.replace('.', "/"));
        let value = fs::read_to_string(path).ok()?;
        let frees = sysctl.frees(&value);
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Setting { name: sysctl.name, value, frees })
    }
}

type Answer = (Suggestion, Option<Setting>);

/// Returns the alternative with less privilege.
fn instead(answer: &Suggestion) -> Option<&'static str> {
    let of_first = || answer.caps.first().and_then(|cap| knowledge::uses(*cap)?.instead);
    answer.instead.or_else(of_first)
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &SuggestRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let answers: Vec<Answer> = knowledge::suggest(&request.words.join(" "))
        .into_iter()
        .map(|answer| {
            let setting = answer.sysctl.and_then(Setting::read);
            (answer, setting)
        })
        .collect();
    if request.json {
        let answers: Vec<_> = answers.iter().map(object).collect();
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "answers": answers}))?;
    } else {
        for (nth, answer) in answers.iter().enumerate() {
            if nth > 0 {
                writeln!(io.out)?;
            }
            describe(answer, io.out)?;
        }
    }
    if answers.is_empty() {
        let words = "no answer fits; `rcap trace PROGRAM` records what a program asks for";
        return Err(Failure::No(words.to_owned()));
    }
    Ok(Exit::SUCCESS)
}

fn object((answer, setting): &Answer) -> Value {
    let setting = setting.as_ref().map(
        |setting| json!({"name": setting.name, "value": setting.value, "frees": setting.frees}),
    );
    json!({
        "what": answer.what,
        "answer": answer.answer,
        "caps": answer.caps,
        "because": answer.because,
        "instead": instead(answer),
        "sysctl": setting,
    })
}

fn describe((answer, setting): &Answer, out: &mut Stream) -> io::Result<()> {
    let caps = answer.caps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let head = match answer.answer {
        knowledge::Answer::NotNeeded => "No capability is needed",
        knowledge::Answer::Why => "rcap why",
        _ => &*caps,
    };
    prose(0, &format!("{head}: {}", answer.what), out)?;
    writeln!(out)?;
    fold("Because", answer.because, out)?;
    if let Some(Setting { name, value, frees }) = setting {
        let frees = frees.map(|words| format!(", so that {words}")).unwrap_or_default();
        fold("Here", &format!("{name} is {value}{frees}"), out)?;
    }
    if let Some(instead) = instead(answer) {
        fold("Instead", instead, out)?;
    }
    let caps: CapSet = answer.caps.iter().copied().collect();
    if caps.iter().any(|cap| knowledge::route_to_root(cap).is_some()) {
        fold("Beware", "a program that has it can gain more: rcap explain", out)?;
    }
    Ok(())
}

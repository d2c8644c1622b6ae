//! What to do about a rule that takes capabilities away.

use std::{os::unix::ffi::OsStrExt, path::Path};

use super::{Starter, Verdict};
use rcap::{
    CapSet,
    exec::{Effect, FileFacts, ProgramFile, Rule, Set},
    file::{self, FileCaps},
    settings::shell_word,
};

use crate::Escaped;

/// Programs that run whatever they are given.
const INTERPRETERS: [&str; 14] = [
    "python", "perl", "ruby", "node", "bash", "sh", "dash", "zsh", "php", "lua", "java", "tclsh",
    "awk", "gawk",
];

/// Whether a file is an interpreter, by its name: python3.11 is python.
pub(super) fn is_interpreter(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.');
    INTERPRETERS.contains(&name)
}

/// A word for the shell, safe to show.
fn shown(path: &Path) -> String {
    shell_word(&Escaped(path.as_os_str().as_bytes()).to_string())
}

/// What to do, the most useful first.
pub(super) fn advice(starter: &Starter, verdict: &Verdict) -> Vec<String> {
    let link = verdict.program.executed();
    let path = shown(&link.path);
    let mut advice = Vec::new();
    let Some(outcome) = &verdict.outcome else {
        if let Some(caps) = link.file.caps.map(|caps| caps.permitted - starter.process.bounding)
            && !caps.is_empty()
        {
            advice.push(format!(
                "Give the bounding set {caps}: --cap-add in a container, CapabilityBoundingSet= in \
                 a unit."
            ));
            advice.push(format!(
                "Or take the file's capabilities away, if the program does without: rcap setcap \
                 -r {path}"
            ));
        }
        return advice;
    };
    let is_script = !verdict.program.scripts().is_empty();
    for change in &outcome.changes {
        if change.effect == Effect::Gained
            || change.set == Set::Effective && change.rule != Rule::NoEffectiveBit
        {
            continue;
        }
        let words = for_rule(change.rule, change.caps, link, is_script, starter);
        advice.extend(words.into_iter().filter(|words| !words.is_empty()));
    }
    if let Some(missing) = verdict.missing(starter) {
        advice.push(format!(
            "Have the image's file give it: rcap setcap {missing}=ep {path}, and no \
             no-new-privileges; or start it by rcap run in the container, as root."
        ));
    }
    let mut seen = Vec::new();
    advice.retain(|words| {
        let is_new = !seen.contains(words);
        seen.push(words.clone());
        is_new
    });
    advice
}

fn for_rule(
    rule: Rule,
    caps: CapSet,
    link: &ProgramFile,
    is_script: bool,
    starter: &Starter,
) -> Vec<String> {
    let path = shown(&link.path);
    let user = starter.process.uid.real;
    let ambient =
        format!("Hand {caps} down as ambient: rcap run --user {user} --cap-add {caps} -- …");
    match rule {
        Rule::NotAmbient if is_script || is_interpreter(&link.path) => vec![ambient],
        Rule::NotAmbient => vec![ambient, by_file(caps, link)],
        Rule::NotInFile => vec![format!("Add it to the file: rcap setcap --add {caps} {path}")],
        Rule::Bounding => vec![format!(
            "Give the bounding set {caps}: --cap-add in a container, CapabilityBoundingSet= in a \
             unit. What has been dropped from it is gone for this process and its children."
        )],
        Rule::NoNewPrivs => vec![
            "Hand it down as ambient, which no-new-privs leaves alone (rcap run), or start the \
             program without no-new-privs: no --security-opt=no-new-privileges (Docker), \
             allowPrivilegeEscalation: true (Kubernetes), NoNewPrivileges=no (systemd)."
                .to_owned(),
        ],
        Rule::NoSuid => vec![format!(
            "Copy {path} to a file system that is mounted without nosuid, and give the copy what \
             the file has; or hand it down as ambient (rcap run)."
        )],
        Rule::FileCapsClearAmbient => vec![format!(
            "Take the file's own capabilities away, so that the ambient set stays: rcap setcap -r \
             {path}"
        )],
        Rule::IdsClearAmbient if set_id(&link.file) => vec![format!(
            "Take the set-id bits away, so that the ambient set stays: chmod u-s,g-s {path}"
        )],
        Rule::IdsClearAmbient => vec![
            "Make the real, effective and saved ids the same, before anything is made ambient."
                .to_owned(),
        ],
        Rule::NotInheritable => vec![
            format!(
                "Make {caps} inheritable in the one who starts it: rcap capsh --inh={caps} -- …"
            ),
            by_file(caps, link),
        ],
        Rule::NoEffectiveBit => vec![format!(
            "If the program does not raise it by itself: rcap setcap {caps}=ep {path}"
        )],
        Rule::ForeignRootid => {
            vec![format!("Give them anew in this user namespace: {}", by_file(caps, link))]
        }
        Rule::UnmappedOwner => {
            vec!["Give the file an owner and a group that this user namespace has.".to_owned()]
        }
        Rule::NoRoot => vec![
            "Hand it down as ambient: under the securebit noroot, user 0 is like any other."
                .to_owned(),
        ],
        Rule::CapsBeforeSetUid => {
            vec![format!("Have one of both: chmod u-s {path}, or rcap setcap -r {path}")]
        }
        _ => Vec::new(),
    }
}

fn set_id(file: &FileFacts) -> bool {
    file.set_uid.is_some() || file.set_gid.is_some()
}

/// To give the file what is missing, if its file system can hold it.
fn by_file(caps: CapSet, link: &ProgramFile) -> String {
    let own = link.file.caps.unwrap_or(FileCaps::EMPTY);
    let permitted = own.permitted | caps;
    let wanted = FileCaps { permitted, effective: true, rootid: None, ..own };
    let path = shown(&link.path);
    if let Err(rcap::Error::Refused { refusal: refusal @ file::Refusal::NoAttributes(_), .. }) =
        file::check_write(&link.path, Some(&wanted))
    {
        return format!("The file cannot have it: {refusal}.");
    }
    if link.file.is_nosuid {
        return format!("{path} could have it, and its mount, with nosuid, would pass over it.");
    }
    format!("Or give the file it, for all who may execute it: rcap setcap {permitted}=ep {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        for name in ["/usr/bin/python3.11", "python", "/bin/bash", "perl5.36.0", "node"] {
            assert!(is_interpreter(Path::new(name)), "{name}");
        }
        for name in ["ping", "pythonic", "/bin/ssh", "", "7"] {
            assert!(!is_interpreter(Path::new(name)), "{name}");
        }
    }
}

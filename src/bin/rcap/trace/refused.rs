//! The section "Refused" of the report, and alternatives to a capability.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::Path,
};

use nix::{
    errno::Errno,
    unistd::{Uid, User},
};
use rcap::{
    Cap, CapSet,
    tools::{Style, table::paragraph},
    trace::{
        Meaning, Need,
        denial::{Denial, Lock, Object, ObjectFile},
    },
};

use crate::{Escaped, Stream};

/// Denials that make one line: those with the same reason.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line<'a> {
    errno: i32,
    lock: Lock,
    caps: CapSet,
    because: Option<&'a str>,
    /// The file that decided, or the object if it is not a file.
    decisive: Option<&'a str>,
    program: &'a str,
    system_call: &'a str,
}

/// Prints the denied system calls, one line for each reason. Nothing if there are none.
pub(super) fn print(refused: &[Denial], out: &mut Stream) -> io::Result<()> {
    let lines = sentences(refused);
    if !lines.is_empty() {
        writeln!(out, "\nRefused:")?;
    }
    for line in lines {
        paragraph(Style::Plain, 2, &Escaped(line.as_bytes()).to_string(), out)?;
    }
    Ok(())
}

fn sentences(refused: &[Denial]) -> Vec<String> {
    let mut lines: BTreeMap<Line<'_>, (u64, Vec<&Denial>)> = BTreeMap::new();
    for one in refused {
        let object = one.object.as_ref();
        let decisive =
            object.map(|object| object.file.as_ref().map_or(&*object.name, |file| &*file.path));
        let line = Line {
            errno: one.errno,
            lock: one.lock,
            caps: one.caps,
            because: one.because.as_deref(),
            decisive,
            program: &one.program,
            system_call: &one.system_call,
        };
        let (count, all) = lines.entry(line).or_default();
        *count = count.saturating_add(one.count);
        all.push(one);
    }
    lines.iter().map(|(line, (count, all))| sentence(line, *count, all)).collect()
}

fn sentence(line: &Line<'_>, count: u64, all: &[&Denial]) -> String {
    let object = all.first().and_then(|one| one.object.as_ref());
    let more = match all.len() {
        0 | 1 => String::new(),
        number => format!(" and {} more", number - 1),
    };
    let name = object.map(|object| format!(" {}{more}", object.name)).unwrap_or_default();
    let why = match line.lock {
        Lock::Capability => {
            let mut caps: Vec<String> = line.caps.iter().map(|cap| cap.to_string()).collect();
            // The smaller one of the two for files comes first.
            caps.reverse();
            let because = line.because.map(|because| format!(" ({because})")).unwrap_or_default();
            format!("needs {}{because}", caps.join(" or "))
        }
        Lock::FileCaps => format!("its file has {}, which the bounding set lacks", line.caps),
        Lock::Immutable => object.and_then(|object| object.fixed.as_ref()).map_or_else(
            || line.lock.about().to_owned(),
            |fixed| {
                let what = if fixed.is_append_only { "append-only" } else { "immutable" };
                format!("{} is {what} (chattr)", fixed.path)
            },
        ),
        Lock::NoCheck => format!("{}{}", line.lock.about(), modules()),
        lock => lock.about().to_owned(),
    };
    let file = object.and_then(|object| object.file.as_ref());
    let file = file.map(|file| format!("; {}", facts(file))).unwrap_or_default();
    let program = Path::new(line.program).file_name().unwrap_or_default().to_string_lossy();
    let times = if count == 1 { String::new() } else { format!(", {count} times") };
    let errno = Errno::from_raw(line.errno);
    format!("{errno:?} {}{name}: {why}{file} [{program}{times}]", line.system_call)
}

/// The owner and mode of a file: a better owner would not need a capability.
fn facts(file: &ObjectFile) -> String {
    let ObjectFile { path, owner, mode, .. } = file;
    format!("{path} belongs to {}, mode {:04o}", user(*owner), mode & 0o7777)
}

fn user(id: u32) -> String {
    let known = User::from_uid(Uid::from_raw(id)).ok().flatten();
    known.map_or_else(|| format!("user {id}"), |user| user.name)
}

/// The security modules that can deny a call without a capability check.
fn modules() -> String {
    let text = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let denies = |name: &&str| !["", "capability", "lockdown", "integrity"].contains(name);
    let modules: Vec<&str> = text.trim().split(',').filter(denies).collect();
    match &*modules {
        [] => String::new(),
        modules => format!(" (active security modules: {})", modules.join(", ")),
    }
}

/// Returns alternatives to the capabilities for files, from the owners of the files.
pub(super) fn instead(needs: &[Need]) -> Vec<String> {
    const FOR_FILES: CapSet = CapSet::of(&[Cap::DAC_OVERRIDE, Cap::DAC_READ_SEARCH, Cap::FOWNER]);
    let mut lines = Vec::new();
    for cap in FOR_FILES {
        let counts = |need: &&Need| {
            need.cap == cap && matches!(need.meaning, Meaning::Candidate | Meaning::Missing)
        };
        let of_cap = || needs.iter().filter(counts);
        let mut places: BTreeMap<(u32, &str), BTreeSet<&Object>> = BTreeMap::new();
        for object in of_cap().flat_map(|need| &need.objects) {
            let Some(file) = &object.file else { continue };
            let directory = if file.path == object.name {
                Path::new(&file.path).parent().and_then(Path::to_str).unwrap_or("/")
            } else {
                &*file.path
            };
            places.entry((file.owner, directory)).or_default().insert(object);
        }
        let known: BTreeSet<&Object> = of_cap().flat_map(|need| &need.objects).collect();
        let are_all_known = of_cap().all(|need| !need.has_more_objects && !need.objects.is_empty());
        for ((owner, directory), objects) in places {
            let noun = if objects.len() == 1 { "file" } else { "files" };
            let user = user(owner);
            // The capability vanishes with the change if no other object needed it.
            let alone = if are_all_known && known.len() == objects.len() {
                "; nothing else needed it"
            } else {
                ""
            };
            lines.push(format!(
                "{cap}: needed for {} {noun} of {user} in {}. Instead, run as {user}, or change \
                 the owner or the mode{alone}.",
                objects.len(),
                Escaped(directory.as_bytes()),
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, path: &str) -> Value {
        let file = json!({
            "path": path, "owner": 0, "group": 0, "mode": 0o40700, "is_noexec": false,
        });
        json!({"name": name, "file": file})
    }

    fn denial(lock: &str, errno: Errno, caps: &[&str], name: &str) -> Denial {
        serde_json::from_value(json!({
            "system_call": "openat", "errno": errno as i32, "lock": lock, "caps": caps,
            "object": object(name, "/root"), "program": "/bin/cat", "count": 1,
        }))
        .unwrap()
    }

    #[test]
    fn one_line_for_each_reason() {
        let caps = ["cap_dac_override", "cap_dac_read_search"];
        let refused = [
            denial("capability", Errno::EACCES, &caps, "/root/a"),
            denial("capability", Errno::EACCES, &caps, "/root/b"),
            denial("seccomp", Errno::EPERM, &[], "/root/c"),
        ];
        let facts = "/root belongs to root, mode 0700";
        let want = [
            format!("EPERM openat /root/c: a seccomp filter; {facts} [cat]"),
            format!(
                "EACCES openat /root/a and 1 more: needs cap_dac_read_search or \
                 cap_dac_override; {facts} [cat, 2 times]"
            ),
        ];
        assert_eq!(sentences(&refused), want);
    }

    #[test]
    fn alternatives() {
        let need = |cap: &str, objects: Value| -> Need {
            serde_json::from_value(json!({
                "cap": cap, "rule": "candidate", "granted": true, "function": "f", "reason": null,
                "count": 3, "system_call": "openat", "returned": 0, "program": "/bin/p",
                "objects": objects,
            }))
            .unwrap()
        };
        let files = json!([object("/root/a", "/root"), object("/root/b", "/root")]);
        let want = "cap_dac_override: needed for 2 files of root in /root. Instead, run as root, \
                    or change the owner or the mode";
        assert_eq!(
            instead(&[need("cap_dac_override", files.clone())]),
            [format!("{want}; nothing else needed it.")]
        );
        // An object that is not known may need it too.
        let both = [need("cap_dac_override", files), need("cap_dac_override", json!([]))];
        assert_eq!(instead(&both), [format!("{want}.")]);
        assert_eq!(instead(&[need("cap_chown", json!([]))]), [""; 0]);
    }
}

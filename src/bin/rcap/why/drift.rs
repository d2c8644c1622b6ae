//! A running process beside the settings of its unit or container.

use std::io;

use serde_json::{Value, json};

use crate::{args::WhyRequest, failure::Failure, source};
use rcap::{
    CapSet,
    exec::{self, Credentials, FileFacts, Kernel},
    identity::Identity,
    proc::Proc,
    settings::{Context, Kind, Settings},
};

use super::user_words;

/// The settings of a unit or a container, and how its process differs from what they give.
pub(super) struct Drift {
    /// The argument that names the settings.
    source: String,
    /// The differences, or the reason for which the settings were not read.
    found: Result<Vec<Difference>, Failure>,
    /// Whether the settings can be changed while the process runs.
    is_unit: bool,
}

/// A set, a user or no_new_privs of a process that the settings do not give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    what: &'static str,
    /// Capabilities that the process has, and the settings do not give.
    more: CapSet,
    /// Capabilities that the settings give, and the process lacks.
    fewer: CapSet,
    words: String,
    /// Whether the process cannot have made the difference itself.
    is_foreign: bool,
}

impl Drift {
    /// Compares the process that the request names by its unit or container; `None` for one that
    /// is named by its number. `file` is the file that the process executes.
    pub(super) fn of(
        request: &WhyRequest,
        process: &Credentials,
        file: Option<&FileFacts>,
    ) -> Option<Drift> {
        let source = match (&request.unit, &request.container) {
            (Some(unit), _) => format!("unit:{unit}"),
            (None, Some(container)) => format!("container:{container}"),
            (None, None) => return None,
        };
        let settings = source::one(&source, &Context::default(), &mut io::empty());
        let is_unit = settings.as_ref().is_ok_and(|settings| settings.kind == Kind::Unit);
        let found = settings
            .map_err(Failure::from)
            .and_then(|settings| expected(&settings, process, file))
            .map(|expected| differences(process, &expected, most()));
        Some(Drift { source, found, is_unit })
    }

    /// Returns the lines of the answer.
    pub(super) fn lines(&self) -> Vec<String> {
        let source = &self.source;
        let differences = match &self.found {
            Err(reason) => return vec![format!("the settings are unknown: {reason}")],
            Ok(differences) if differences.is_empty() => {
                return vec![format!("the process has what {source} gives")];
            }
            Ok(differences) => differences,
        };
        let mut lines: Vec<String> =
            differences.iter().map(|difference| difference.words.clone()).collect();
        let is_foreign = differences.iter().any(|difference| difference.is_foreign);
        lines.push(match (is_foreign, self.is_unit) {
            (true, true) => {
                "the process cannot have changed this itself: the unit has changed since its \
                 start, and `systemctl restart` applies it"
                    .to_owned()
            }
            (true, false) => {
                "the process cannot have changed this itself: something other than the container's \
                 settings gave it"
                    .to_owned()
            }
            (false, true) => {
                "the process gave this up itself, or the unit has changed since its start"
                    .to_owned()
            }
            (false, false) => "the process gave this up itself".to_owned(),
        });
        lines
    }

    pub(super) fn json(&self) -> Value {
        let row = |difference: &Difference| {
            json!({
                "what": difference.what,
                "more": difference.more,
                "fewer": difference.fewer,
                "words": difference.words,
            })
        };
        let rows = self.found.as_ref().ok();
        json!({
            "source": self.source,
            "differences": rows.map(|rows| rows.iter().map(row).collect::<Vec<_>>()),
            "words": self.lines(),
        })
    }
}

/// Returns the capabilities that a process of this system can have: those of its first process.
fn most() -> CapSet {
    let first = Proc::of_namespace().and_then(|proc| proc.status(1));
    first.map_or(CapSet::supported(), |status| status.bounding)
}

/// Returns what the settings give a process that executes the file. A user whom only the image
/// knows is that of the process.
fn expected(
    settings: &Settings,
    process: &Credentials,
    file: Option<&FileFacts>,
) -> Result<Credentials, Failure> {
    let identity = settings.identity()?.unwrap_or_else(|| Identity {
        uid: process.uid.effective,
        gid: process.gid.effective,
        groups: Vec::new(),
    });
    let before = settings.credentials(&identity);
    let file = file.copied().unwrap_or_default();
    exec::execute(&before, &file, Kernel::running())
        .map(|outcome| outcome.after)
        .map_err(|err| Failure::No(err.to_string()))
}

/// Returns the differences of a process from what is expected, within what the system has.
fn differences(process: &Credentials, expected: &Credentials, most: CapSet) -> Vec<Difference> {
    let sets = |process: &Credentials| {
        [
            process.caps.permitted,
            process.caps.effective,
            process.caps.inheritable,
            process.bounding,
            process.ambient,
        ]
    };
    let names = ["permitted", "effective", "inheritable", "bounding", "ambient"];
    let mut all = Vec::new();
    let [uid, given] = [process, expected].map(|process| process.uid.effective);
    if uid != given {
        all.push(Difference {
            what: "user",
            words: format!(
                "user: the process is {}, and the settings give {}",
                user_words(uid),
                user_words(given)
            ),
            is_foreign: given != 0 && !expected.caps.permitted.contains(rcap::Cap::SETUID),
            ..Difference::default()
        });
    }
    for (what, (has, gives)) in names.into_iter().zip(sets(process).into_iter().zip(sets(expected)))
    {
        let [has, gives] = [has & most, gives & most];
        let (more, fewer) = (has - gives, gives - has);
        let words = match (more.is_empty(), fewer.is_empty()) {
            (true, true) => continue,
            (false, true) => {
                format!("{what}: the process has {more}, which the settings do not give")
            }
            (true, false) => format!("{what}: the process lacks {fewer}, which the settings give"),
            (false, false) => {
                format!("{what}: the process has {more}, and the settings give {fewer} instead")
            }
        };
        // A process may only raise its inheritable and ambient sets within the others.
        let is_foreign = !more.is_empty() && ["permitted", "bounding"].contains(&what);
        all.push(Difference { what, more, fewer, words, is_foreign });
    }
    if process.no_new_privs != expected.no_new_privs {
        let is_set = process.no_new_privs;
        let [has, gives] = if is_set { ["has", "do not set"] } else { ["lacks", "set"] };
        all.push(Difference {
            what: "no_new_privs",
            words: format!("no-new-privs: the process {has} it, and the settings {gives} it"),
            is_foreign: !is_set,
            ..Difference::default()
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcap::Cap;

    #[test]
    fn of_each_set() {
        let most = CapSet::NAMED;
        let given = |caps: CapSet| {
            let mut process = Credentials::of_user(7, 7);
            process.caps.permitted = caps;
            process.caps.effective = caps;
            process.bounding = caps;
            process
        };
        let raw = given(Cap::NET_RAW.into());
        assert_eq!(differences(&raw, &raw, most), []);
        // A capability that this system lacks is not a difference.
        assert_eq!(differences(&raw, &given(CapSet::NAMED), Cap::NET_RAW.into()), []);
        let none = given(CapSet::empty());
        let rows = differences(&none, &raw, most);
        assert_eq!(
            rows.iter().map(|row| row.what).collect::<Vec<_>>(),
            ["permitted", "effective", "bounding"]
        );
        assert!(rows.iter().all(|row| row.fewer == raw.bounding && !row.is_foreign));
        let rows = differences(&raw, &none, most);
        assert!(rows.iter().any(|row| row.is_foreign && row.more == raw.bounding));
        let mut other = raw.clone();
        other.no_new_privs = true;
        assert!(!differences(&other, &raw, most)[0].is_foreign);
        assert!(differences(&raw, &other, most)[0].is_foreign);
        other = given(Cap::NET_RAW.into());
        other.uid.effective = 0;
        assert_eq!(differences(&other, &raw, most)[0].what, "user");
    }
}

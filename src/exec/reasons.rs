//! Why each bit of a set is there after an execution, or is not.

use std::fmt;

use super::{File, Process};
use crate::{CapSet, file::FileCaps, securebits::Securebits};

/// One of the sets that an execution changes. The inheritable and the bounding set stay as they
/// are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "these are all")]
pub enum Set {
    /// The permitted set.
    Permitted,
    /// The effective set.
    Effective,
    /// The ambient set.
    Ambient,
}

/// What has become of some capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "these are all")]
pub enum Effect {
    /// The set has them now.
    Gained,
    /// The set had them.
    Lost,
    /// The file, or being user 0, would give them.
    Withheld,
}

/// Capabilities that share a fate and its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The set.
    pub set: Set,
    /// Which of its capabilities.
    pub caps: CapSet,
    /// What has become of them.
    pub effect: Effect,
    /// Why.
    pub rule: Rule,
}

/// A rule of execve(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rule {
    /// User 0 is given the bounding and the inheritable set.
    Root,
    /// The file gives its permitted set.
    FilePermitted,
    /// The file passes on what it and the process have inheritable.
    FileInheritable,
    /// The effective set is the permitted one, for user 0 and by the file's effective bit; else the
    /// ambient one.
    AllEffective,
    /// The bounding set lacks them.
    Bounding,
    /// They are not inheritable.
    NotInheritable,
    /// The file has capabilities, and these are not among them.
    NotInFile,
    /// Of a user without privileges, only the ambient set stays permitted.
    NotAmbient,
    /// The securebit noroot: user 0 is given nothing for being that.
    NoRoot,
    /// No-new-privs.
    NoNewPrivs,
    /// The mount has the option nosuid.
    NoSuid,
    /// The file's capabilities have the root id of another user namespace.
    ForeignRootid,
    /// The file's owner or group has no id in this user namespace, so that its set-id bits do
    /// nothing.
    UnmappedOwner,
    /// A set-user-ID-root file that has capabilities gives those alone.
    CapsBeforeSetUid,
    /// A file with capabilities, be they none, clears the ambient set.
    FileCapsClearAmbient,
    /// A change of the user or the group by the file, or before Linux 6.17 before it, clears the
    /// ambient set.
    IdsClearAmbient,
    /// The file has no effective bit.
    NoEffectiveBit,
    /// User 0 is the real one alone.
    RealRootAlone,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Root => "user 0 is given the bounding and the inheritable set",
            Rule::FilePermitted => "the file gives it",
            Rule::FileInheritable => "the file passes on what is inheritable",
            Rule::AllEffective => "what is permitted is effective at once",
            Rule::Bounding => "the bounding set lacks it",
            Rule::NotInheritable => "the file would pass it on, and it is not inheritable",
            Rule::NotInFile => "the file has capabilities, and not this",
            Rule::NotAmbient => "of this user, only what is ambient stays permitted",
            Rule::NoRoot => "the securebit noroot: user 0 is given nothing for being that",
            Rule::NoNewPrivs => "no-new-privs is set",
            Rule::NoSuid => "the file is on a mount with the option nosuid",
            Rule::ForeignRootid => {
                "the file's capabilities have the root id of another user namespace"
            }
            Rule::UnmappedOwner => "the file's owner or group has no id in this user namespace",
            Rule::CapsBeforeSetUid => {
                "a set-user-ID-root file that has capabilities gives those alone"
            }
            Rule::FileCapsClearAmbient => {
                "a file with capabilities, be they none, clears the ambient set"
            }
            Rule::IdsClearAmbient => "a change of the user or the group clears the ambient set",
            Rule::NoEffectiveBit => "the file has no effective bit",
            Rule::RealRootAlone => "the effective user is not 0",
        })
    }
}

/// All that has changed, and all that is withheld, in the order of the sets.
pub(super) fn changes(
    old: &Process,
    file: &File,
    file_caps: Option<FileCaps>,
    new: &Process,
) -> Vec<Change> {
    let mut changes = Changes { changes: Vec::new() };
    let by_root = new.is_root() && !(file_caps.is_some() && file.set_uid == Some(0));
    let own = file_caps.unwrap_or(FileCaps::EMPTY);
    let clears = match file_caps {
        Some(_) => Rule::FileCapsClearAmbient,
        None => Rule::IdsClearAmbient,
    };

    // Permitted: gained.
    let mut gained = new.caps.permitted - old.caps.permitted;
    if by_root {
        changes.take(&mut gained, CapSet::all(), Set::Permitted, Effect::Gained, Rule::Root);
    }
    let bounded = own.permitted & old.bounding;
    changes.take(&mut gained, bounded, Set::Permitted, Effect::Gained, Rule::FilePermitted);
    changes.take(&mut gained, CapSet::all(), Set::Permitted, Effect::Gained, Rule::FileInheritable);

    // Permitted: lost.
    let mut lost = old.caps.permitted - new.caps.permitted;
    changes.take(&mut lost, old.ambient, Set::Permitted, Effect::Lost, clears);
    let rule = if by_root {
        Rule::Bounding
    } else if file_caps.is_some() {
        changes.take(&mut lost, own.permitted, Set::Permitted, Effect::Lost, Rule::Bounding);
        Rule::NotInFile
    } else if old.uid.real == 0 || old.uid.effective == 0 {
        Rule::NoRoot
    } else {
        Rule::NotAmbient
    };
    changes.take(&mut lost, CapSet::all(), Set::Permitted, Effect::Lost, rule);

    // Permitted: withheld. What the file's own capabilities would have given.
    if let Some(caps) = file.caps {
        let missing = (caps.permitted | caps.inheritable) - new.caps.permitted;
        let mut missing = missing - (old.caps.permitted - new.caps.permitted);
        let rule = if file.is_nosuid {
            Rule::NoSuid
        } else if file.is_foreign {
            Rule::ForeignRootid
        } else {
            let lacking = caps.permitted - old.bounding;
            changes.take(&mut missing, lacking, Set::Permitted, Effect::Withheld, Rule::Bounding);
            let lacking = caps.inheritable - caps.permitted - old.caps.inheritable;
            let rule = Rule::NotInheritable;
            changes.take(&mut missing, lacking, Set::Permitted, Effect::Withheld, rule);
            Rule::NoNewPrivs
        };
        changes.take(&mut missing, CapSet::all(), Set::Permitted, Effect::Withheld, rule);
    }
    // What being user 0 would have, or its set-user-ID bit.
    let given = old.bounding | old.caps.inheritable;
    let mut missing = given - new.caps.permitted - old.caps.permitted - changes.withheld();
    let sets_root = file.set_uid == Some(0) && old.uid.real != 0 && old.uid.effective != 0;
    let noroot = old.securebits.contains(Securebits::NOROOT);
    let rule = if sets_root && file.is_nosuid {
        Some(Rule::NoSuid)
    } else if sets_root && old.no_new_privs {
        Some(Rule::NoNewPrivs)
    } else if sets_root && file.is_unmapped {
        Some(Rule::UnmappedOwner)
    } else if sets_root && noroot {
        Some(Rule::NoRoot)
    } else if sets_root && file_caps.is_some() {
        Some(Rule::CapsBeforeSetUid)
    } else if by_root && old.no_new_privs {
        Some(Rule::NoNewPrivs)
    } else {
        None
    };
    if let Some(rule) = rule {
        changes.take(&mut missing, CapSet::all(), Set::Permitted, Effect::Withheld, rule);
    }

    // Effective.
    let mut gained = new.caps.effective - old.caps.effective;
    changes.take(&mut gained, CapSet::all(), Set::Effective, Effect::Gained, Rule::AllEffective);
    let mut lost = (old.caps.effective & new.caps.permitted) - new.caps.effective;
    let rule = if by_root { Rule::RealRootAlone } else { Rule::NoEffectiveBit };
    changes.take(&mut lost, CapSet::all(), Set::Effective, Effect::Lost, rule);

    // Ambient.
    let mut lost = old.ambient - new.ambient;
    changes.take(&mut lost, CapSet::all(), Set::Ambient, Effect::Lost, clears);
    changes.changes
}

struct Changes {
    changes: Vec<Change>,
}

impl Changes {
    fn withheld(&self) -> CapSet {
        let withheld = self.changes.iter().filter(|change| change.effect == Effect::Withheld);
        withheld.fold(CapSet::empty(), |all, change| all | change.caps)
    }

    /// Notes those of `rest` that are in `caps`, if any, and takes them out of it.
    fn take(&mut self, rest: &mut CapSet, caps: CapSet, set: Set, effect: Effect, rule: Rule) {
        let caps = *rest & caps;
        *rest -= caps;
        if !caps.is_empty() {
            self.changes.push(Change { set, caps, effect, rule });
        }
    }
}

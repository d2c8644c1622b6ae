//! The changes of an execution, each with its rule, recorded while the sets are computed.

use std::fmt;

use crate::CapSet;

/// One of the sets that execve(2) changes. It leaves the inheritable and the bounding set alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "execve(2) changes no other set of a thread")]
pub enum Set {
    /// The permitted set.
    Permitted,
    /// The effective set.
    Effective,
    /// The ambient set.
    Ambient,
}

/// The effect of an execution on a capability of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "a bit has no other fate that is worth telling")]
pub enum Effect {
    /// The set lacked the capability and has it now.
    Gained,
    /// The set had the capability and lacks it now.
    Lost,
    /// The file or the user id 0 offers the capability, and a rule withholds it. The set lacks it
    /// before and after.
    Withheld,
}

/// Capabilities of one set that share an effect and the rule behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The set.
    pub set: Set,
    /// The capabilities, at least one.
    pub caps: CapSet,
    /// The effect on them.
    pub effect: Effect,
    /// The rule behind it.
    pub rule: Rule,
}

/// A rule of execve(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rule {
    /// User 0 is granted the bounding and the inheritable set.
    Root,
    /// The file grants its permitted set.
    FilePermitted,
    /// The file grants the part of its inheritable set that the process has inheritable too.
    FileInheritable,
    /// The effective set becomes the permitted one: for user 0, and by the file's effective bit.
    AllEffective,
    /// Ambient capabilities stay permitted and are effective.
    Ambient,
    /// The bounding set lacks the capability.
    Bounding,
    /// The file grants the capability only to a process that has it inheritable, and this one does
    /// not.
    NotInheritable,
    /// The file has capabilities, and this one is not among them.
    NotInFile,
    /// A non-root user keeps nothing but the ambient set.
    NotAmbient,
    /// The securebit noroot is set: user 0 is granted nothing for being user 0.
    NoRoot,
    /// no_new_privs is set.
    NoNewPrivs,
    /// The file is on a mount with the option nosuid.
    NoSuid,
    /// The file's capabilities have the root id of another user namespace.
    ForeignRootid,
    /// The file's owner or group has no id in this user namespace, so its set-user-ID and
    /// set-group-ID bits are ignored.
    UnmappedOwner,
    /// A set-user-ID-root file that has capabilities grants those and nothing else.
    CapsBeforeSetUid,
    /// A file with a capability attribute, even an empty one, clears the ambient set.
    FileCapsClearAmbient,
    /// A change of the user or the group, by the file's set-user-ID or set-group-ID bit, clears
    /// the ambient set. Before Linux 6.17, so does a difference of the real and the effective id.
    IdsClearAmbient,
    /// The file has no effective bit.
    NoEffectiveBit,
    /// The real user id is 0 and the effective one is not.
    RealRootAlone,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Root => "user 0 is given the bounding and the inheritable set",
            Rule::FilePermitted => "the file gives it",
            Rule::FileInheritable => "the file passes on what is inheritable",
            Rule::AllEffective => "what is permitted is effective at once",
            Rule::Ambient => "what is ambient stays permitted and is effective",
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

/// A set while it is computed. It starts as the set was before, and changes only together with the
/// rule behind the change, so that no rule has to be found afterwards.
pub(super) struct Ledger {
    set: Set,
    before: CapSet,
    now: CapSet,
    /// What was granted or denied, and why. The last entry on a capability counts.
    entries: Vec<(CapSet, Rule)>,
}

impl Ledger {
    pub(super) fn new(set: Set, before: CapSet) -> Ledger {
        Ledger { set, before, now: before, entries: Vec::new() }
    }

    /// Returns the set as far as it is computed.
    pub(super) fn now(&self) -> CapSet {
        self.now
    }

    /// Adds `caps` to the set by `rule`.
    pub(super) fn grant(&mut self, caps: CapSet, rule: Rule) {
        self.now |= caps;
        self.entries.push((caps, rule));
    }

    /// Removes `caps` from the set, or keeps them out of it, by `rule`.
    pub(super) fn deny(&mut self, caps: CapSet, rule: Rule) {
        self.now -= caps;
        self.entries.push((caps, rule));
    }

    /// Returns the difference from the set before, and what was denied without having been there,
    /// each by the last rule on it. The newest rule comes first.
    pub(super) fn changes(&self) -> Vec<Change> {
        let effects = [
            (Effect::Gained, self.now - self.before),
            (Effect::Lost, self.before - self.now),
            (Effect::Withheld, CapSet::all() - self.before - self.now),
        ];
        let mut changes = Vec::new();
        for (effect, mut rest) in effects {
            for &(caps, rule) in self.entries.iter().rev() {
                let caps = rest & caps;
                rest -= caps;
                if !caps.is_empty() {
                    changes.push(Change { set: self.set, caps, effect, rule });
                }
            }
        }
        changes
    }
}

//! The changes of an execution, each with its rule, recorded while the sets are computed.

use std::fmt;

use crate::CapSet;

/// A set that execve(2) changes. The inheritable and bounding sets do not change.
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

/// The effect of an execution on a capability in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "a bit has no other fate that is worth telling")]
pub enum Effect {
    /// The set lacked the capability and has it now.
    Gained,
    /// The set had the capability and lacks it now.
    Lost,
    /// The file or user 0 offers the capability, and a rule withholds it. The set lacks it before
    /// and after.
    Withheld,
}

/// Capabilities of one set with the same effect and rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The set.
    pub set: Set,
    /// The capabilities, at least one.
    pub caps: CapSet,
    /// The effect on them.
    pub effect: Effect,
    /// The rule that causes the effect.
    pub rule: Rule,
}

/// A rule of execve(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rule {
    /// User 0 gets the bounding and inheritable sets.
    Root,
    /// The file grants its permitted set.
    FilePermitted,
    /// The file grants the capabilities that are inheritable in the file and the process.
    FileInheritable,
    /// The permitted set becomes effective: for user 0, and by the file's effective bit.
    AllEffective,
    /// Ambient capabilities stay permitted and are effective.
    Ambient,
    /// The bounding set lacks the capability.
    Bounding,
    /// The file grants the capability only to processes in which it is inheritable.
    NotInheritable,
    /// The file has capabilities, but not this one.
    NotInFile,
    /// A non-root user keeps only the ambient set.
    NotAmbient,
    /// The securebit noroot disables the special treatment of user 0.
    NoRoot,
    /// no_new_privs is set.
    NoNewPrivs,
    /// The file is on a mount with the option nosuid.
    NoSuid,
    /// The file's capabilities have the root id of another user namespace.
    ForeignRootid,
    /// The file's owner or group is not mapped in this user namespace, so its set-user-ID and
    /// set-group-ID bits are ignored.
    UnmappedOwner,
    /// A set-user-ID-root file with file capabilities grants only these.
    CapsBeforeSetUid,
    /// A file with a capability attribute, even an empty one, clears the ambient set.
    FileCapsClearAmbient,
    /// A change of the user or group by the set-user-ID or set-group-ID bit clears the ambient set.
    /// Before Linux 6.17, a difference of the real and effective IDs does too.
    IdsClearAmbient,
    /// The file has no effective bit.
    NoEffectiveBit,
    /// The real user ID is 0, and the effective one is not.
    RealRootAlone,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Root => "user 0 gets the bounding and inheritable sets",
            Rule::FilePermitted => "the file grants it",
            Rule::FileInheritable => "inheritable in the file and the process",
            Rule::AllEffective => "permitted capabilities become effective at once",
            Rule::Ambient => "ambient capabilities stay permitted and become effective",
            Rule::Bounding => "the bounding set lacks it",
            Rule::NotInheritable => "the file grants it only if it is inheritable in the process",
            Rule::NotInFile => "the file has capabilities, but not this one",
            Rule::NotAmbient => "a non-root user keeps only ambient capabilities",
            Rule::NoRoot => "the securebit noroot is set, so user 0 gets nothing",
            Rule::NoNewPrivs => "no-new-privs is set",
            Rule::NoSuid => "the file is on a mount with the option nosuid",
            Rule::ForeignRootid => "the file's capabilities belong to another user namespace",
            Rule::UnmappedOwner => "the file's owner or group is not mapped in this user namespace",
            Rule::CapsBeforeSetUid => "a set-user-ID-root file with capabilities grants only these",
            Rule::FileCapsClearAmbient => {
                "a file with a capability attribute, even an empty one, clears the ambient set"
            }
            Rule::IdsClearAmbient => "a change of the user or the group clears the ambient set",
            Rule::NoEffectiveBit => "the file has no effective bit",
            Rule::RealRootAlone => "the effective user ID is not 0",
        })
    }
}

/// A set during the computation. It starts as the set before execution, and changes only together
/// with a rule, so that no rule has to be found afterwards.
pub(super) struct Ledger {
    set: Set,
    before: CapSet,
    now: CapSet,
    /// The granted and denied capabilities, and the rules. The last entry for a capability applies.
    entries: Vec<(CapSet, Rule)>,
}

impl Ledger {
    pub(super) fn new(set: Set, before: CapSet) -> Ledger {
        Ledger { set, before, now: before, entries: Vec::new() }
    }

    /// Returns the current value.
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

    /// Returns the difference from the initial set, and absent capabilities that were denied, each
    /// with the last rule. The newest rule comes first.
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

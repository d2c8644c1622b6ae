//! The meaning of the recorded checks. A pure function from events to what a program may need.

use std::sync::Arc;

use super::{object::Object, stack::Stack};
use crate::{Cap, CapSet};

mod analyser;
mod denials;
mod places;
mod rules;

use analyser::Entry;
pub(super) use analyser::{Analyser, Origin};
pub(super) use denials::is_denied;
pub use denials::{Denial, Lock};
pub use places::Place;
pub use rules::Meaning;
use rules::lacks_permission;

/// A check, its outcome and its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// The time in nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The ID of the thread.
    pub tid: u32,
    /// The thread's program, or empty if unknown.
    pub program: Arc<str>,
    /// The capability.
    pub cap: Cap,
    /// Whether the capability was granted.
    pub granted: bool,
    /// The meaning of the check for the program.
    pub meaning: Meaning,
    /// The place in the kernel that made the check.
    pub place: Arc<Place>,
    /// The result of the system call, if known.
    pub returned: Option<i64>,
    entry: Option<Entry>,
    stack: Option<Arc<Stack>>,
}

impl Seen {
    /// Returns whether the process entered a running container: `docker exec` or a health check.
    pub fn by_exec(&self) -> bool {
        self.entry == Some(Entry::Exec)
    }
}

/// Checks of one capability by one program, with the same reason and meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Need {
    /// The capability.
    pub cap: Cap,
    /// The meaning of the checks for the program.
    #[cfg_attr(feature = "serde", serde(rename = "rule"))]
    pub meaning: Meaning,
    /// Whether the capability was granted.
    pub granted: bool,
    /// The kernel function that checked, or empty if unknown.
    pub function: String,
    /// The purpose of the check, in words.
    pub reason: Option<String>,
    /// The number of checks.
    pub count: u64,
    /// The system call of the first check, if known.
    pub system_call: Option<String>,
    /// The result of that system call.
    pub returned: Option<i64>,
    /// The program, or empty if unknown.
    pub program: String,
    /// The objects of the system calls: the first ones that differ, where the backend knows them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub objects: Vec<Object>,
    /// Whether there were more objects.
    #[cfg_attr(feature = "serde", serde(default))]
    pub has_more_objects: bool,
    /// The first user-space stacks that differ, if they were recorded.
    #[cfg_attr(feature = "serde", serde(default))]
    pub stacks: Vec<Stack>,
    /// Whether there were more stacks.
    #[cfg_attr(feature = "serde", serde(default))]
    pub has_more_stacks: bool,
    /// Whether the process entered a running container: `docker exec` or a health check.
    #[cfg_attr(feature = "serde", serde(default))]
    pub by_exec: bool,
}

impl Need {
    /// How many objects a need keeps.
    const OBJECTS: usize = 16;
    /// How many stacks a need keeps.
    const STACKS: usize = 4;

    /// Returns the purpose of the checks, in words or as the name of a kernel function.
    pub fn purpose(&self) -> String {
        match (&self.reason, &self.system_call) {
            (Some(reason), _) => reason.clone(),
            (None, Some(call)) => format!("call {call}"),
            (None, _) if self.function.is_empty() => "unknown reason".to_owned(),
            (None, _) => self.function.clone(),
        }
    }

    /// Adds an object, unless it is known or there are enough.
    pub(super) fn add(&mut self, object: &Object) {
        if self.objects.contains(object) {
            return;
        }
        if self.objects.len() < Need::OBJECTS {
            self.objects.push(object.clone());
        } else {
            self.has_more_objects = true;
        }
    }

    /// Adds a stack, unless it is known or there are enough.
    pub(super) fn add_stack(&mut self, stack: &Stack) {
        if self.stacks.contains(stack) {
            return;
        }
        if self.stacks.len() < Need::STACKS {
            self.stacks.push(stack.clone());
        } else {
            self.has_more_stacks = true;
        }
    }

    /// Returns whether the capability was denied and the system call then failed for lack of
    /// permission. Such a need is never hidden, regardless of its meaning.
    pub fn is_refusal(&self) -> bool {
        !self.granted && self.returned.is_some_and(lacks_permission)
    }

    /// Adds the checks of a need that is alike.
    pub(super) fn absorb(&mut self, other: &Need) {
        self.count = self.count.saturating_add(other.count);
        self.has_more_objects |= other.has_more_objects;
        for object in &other.objects {
            self.add(object);
        }
        self.has_more_stacks |= other.has_more_stacks;
        for stack in &other.stacks {
            self.add_stack(stack);
        }
    }

    pub(super) fn key(&self) -> NeedKey<'_> {
        NeedKey {
            cap: self.cap,
            meaning: self.meaning,
            granted: self.granted,
            refusal: self.is_refusal(),
            function: &self.function,
            program: &self.program,
            by_exec: self.by_exec,
        }
    }
}

/// The key by which checks are merged into a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NeedKey<'a> {
    cap: Cap,
    meaning: Meaning,
    granted: bool,
    refusal: bool,
    function: &'a str,
    program: &'a str,
    by_exec: bool,
}

/// The result of analysing the checks of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Analysis {
    /// The capabilities that were granted and used. The program may still work without one of them.
    pub candidates: CapSet,
    /// The capabilities that were denied, where the system call then failed for lack of permission.
    pub missing: CapSet,
    /// All checks, merged by capability, meaning, function and program.
    pub needs: Vec<Need>,
    /// The system calls that were denied. Only recordings of processes with BPF see all of them.
    pub denials: Vec<Denial>,
    /// Requirements that the kernel checks without an event, with the calls that show it, in words.
    pub unseen: Vec<String>,
    /// Capabilities that the kernel can have checked without a record.
    pub unseen_caps: CapSet,
    /// Whether a path was shortened, or too many rows had different programs.
    pub is_cut: bool,
}

impl Analysis {
    /// The number of rows that name their programs.
    pub(crate) const ROWS: usize = 4096;
    /// The maximum length of a program's path, in bytes.
    pub(crate) const PATH: usize = 1024;
    /// The program of further rows.
    pub(crate) const OTHERS: &str = "(others)";
    /// The entry of `unseen` if `is_cut` is set.
    pub(crate) const CUT: &str = "the whole path of every program: a path keeps its last 1024 \
        bytes, and after 4096 rows programs are counted as (others)";

    /// Merges needs with equal keys.
    pub(crate) fn new(mut needs: Vec<Need>) -> Analysis {
        needs.sort_by(|a, b| a.key().cmp(&b.key()));
        needs.dedup_by(|again, one| {
            let alike = again.key() == one.key();
            if alike {
                one.absorb(again);
            }
            alike
        });
        let of =
            |rule| needs.iter().filter(|need| need.meaning == rule).map(|need| need.cap).collect();
        let (candidates, missing) = (of(Meaning::Candidate), of(Meaning::Missing));
        Analysis { candidates, missing, needs, ..Analysis::default() }
    }
}

#[cfg(test)]
mod tests;

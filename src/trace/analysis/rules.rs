//! The meaning of a check, decided by rules in a fixed order.

use std::sync::Arc;

use super::Place;
use crate::{Cap, CapSet, trace::stack::Stack};

/// The meaning of a check for the program. The rules are tried in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Meaning {
    /// The kernel made the check before the program was executed.
    BeforeTheProgram,
    /// The check happened outside of the container that the program started.
    Runtime,
    /// The kernel checked whether memory may be overcommitted, which affects only the memory
    /// reserved for root. (`cap_vm_enough_memory` in security/commoncap.c)
    Overcommit,
    /// The kernel checked to choose between two ways that both work: without auditing, or for the
    /// creation of a file that there was.
    Speculative,
    /// A file system checked on behalf of the user who mounted it.
    Borrowed,
    /// The check concerned another user namespace than the program's own.
    OtherNamespace,
    /// The kernel denied `CAP_DAC_READ_SEARCH` and granted `CAP_DAC_OVERRIDE` in the same system
    /// call, either of which permits reading.
    OneNeed,
    /// The capability was denied, and the system call succeeded.
    NotNeeded,
    /// The capability was denied, and the system call failed with `EPERM` or `EACCES`, or its
    /// result travels in a message (netlink, io_uring).
    Missing,
    /// The capability was denied, and the result of the system call does not show an effect.
    Unclear,
    /// The capability was granted, and the system call failed anyway.
    Weak,
    /// The capability was granted, and the system call succeeded.
    Candidate,
}

impl Meaning {
    /// Returns the meaning in words.
    pub const fn about(self) -> &'static str {
        match self {
            Meaning::BeforeTheProgram => "before the program was executed",
            Meaning::Runtime => "by the container's runtime, not in the container",
            Meaning::Overcommit => "whether memory may be overcommitted: never needed",
            Meaning::Speculative => "asked only to choose between two ways",
            Meaning::Borrowed => "asked of who mounted a file system",
            Meaning::OtherNamespace => "about another user namespace",
            Meaning::OneNeed => "another capability did instead",
            Meaning::NotNeeded => "refused, and it worked",
            Meaning::Missing => "refused, and it failed for lack of permission",
            Meaning::Unclear => "refused, and it is unclear whether it mattered",
            Meaning::Weak => "granted, and it failed all the same",
            Meaning::Candidate => "granted, and it worked",
        }
    }
}

/// A check whose outcome is unknown.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) time: u64,
    pub(super) cap: Cap,
    pub(super) granted: Option<bool>,
    pub(super) unaudited: bool,
    /// Whether the check concerned a user namespace other than the thread's.
    pub(super) other_namespace: bool,
    pub(super) before: bool,
    pub(super) place: Arc<Place>,
    /// The user-space stack, if it was recorded.
    pub(super) stack: Option<Arc<Stack>>,
}

/// Returns whether a system call failed, and will not be restarted after a signal.
fn has_failed(returned: i64) -> bool {
    /// ERESTARTSYS to ERESTART_RESTARTBLOCK (include/linux/errno.h)
    const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;
    (-4095..0).contains(&returned)
        && returned != -i64::from(libc::EINPROGRESS)
        && !RESTARTS.contains(&returned)
}

pub(super) fn lacks_permission(returned: i64) -> bool {
    [libc::EPERM, libc::EACCES].map(|errno| -i64::from(errno)).contains(&returned)
}

/// Returns the meaning of a check. `overridden` is whether another capability was granted instead,
/// in the same system call, and `existed` whether that opened a file that was there before.
pub(super) fn meaning(
    open: &Open,
    held: CapSet,
    overridden: bool,
    returned: Option<i64>,
    existed: bool,
) -> Meaning {
    let granted = open.granted == Some(true);
    match (open.place.meaning, returned) {
        _ if open.before => Meaning::BeforeTheProgram,
        (Some(rule), _) => rule,
        _ if open.place.may_create && existed => Meaning::Speculative,
        _ if open.unaudited => Meaning::Speculative,
        _ if granted && !held.contains(open.cap) => Meaning::Borrowed,
        _ if open.other_namespace => Meaning::OtherNamespace,
        _ if !granted && open.cap == Cap::DAC_READ_SEARCH && overridden => Meaning::OneNeed,
        _ if !granted && open.place.by_message => Meaning::Missing,
        (_, Some(returned)) if !granted && lacks_permission(returned) => Meaning::Missing,
        (_, Some(returned)) if !granted && returned >= 0 => Meaning::NotNeeded,
        _ if !granted => Meaning::Unclear,
        (_, Some(returned)) if has_failed(returned) => Meaning::Weak,
        _ => Meaning::Candidate,
    }
}

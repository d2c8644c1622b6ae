//! System calls that were denied, and the reason for each.

use std::sync::Arc;

use super::rules::Open;
use crate::{
    CapSet,
    exec::origin::{self, Lacking},
    trace::{calls, object::Object, record::Call},
};

/// The mechanism that denied a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Lock {
    /// A capability was checked and denied.
    Capability,
    /// A seccomp filter: the system call did not begin.
    Seccomp,
    /// The file is on a read-only mount.
    ReadOnly,
    /// The file cannot be executed by anybody, as its mode says.
    FileMode,
    /// The file is on a mount with the option noexec.
    Noexec,
    /// The file or its directory is immutable or append-only, which applies to everybody.
    Immutable,
    /// The executed file has capabilities that the bounding set lacks, and the effective bit.
    FileCaps,
    /// An AppArmor profile, which reports the denial to the audit system too.
    #[cfg_attr(feature = "serde", serde(rename = "apparmor"))]
    AppArmor,
    /// The SELinux policy, which reports the denial to the audit system too.
    #[cfg_attr(feature = "serde", serde(rename = "selinux"))]
    SeLinux,
    /// The program had restricted itself by Landlock, and no capability was checked.
    Landlock,
    /// The kernel made no check of a capability: another security module, a policy of AppArmor
    /// or SELinux that denies without a record, the limits of the call itself, or something that is
    /// not recorded.
    NoCheck,
}

impl Lock {
    /// Returns the mechanism in words.
    pub const fn about(self) -> &'static str {
        match self {
            Lock::Capability => "a capability",
            Lock::Seccomp => "a seccomp filter",
            Lock::ReadOnly => "a read-only mount",
            Lock::FileMode => "the file's mode, which permits nobody to execute it",
            Lock::Noexec => "a mount with the option noexec",
            Lock::Immutable => "an immutable or append-only file",
            Lock::FileCaps => "the file's capabilities, which the bounding set lacks",
            Lock::AppArmor => "an AppArmor profile",
            Lock::SeLinux => "the SELinux policy",
            Lock::Landlock => "the Landlock rules of the program",
            Lock::NoCheck => "no capability check was seen",
        }
    }
}

/// System calls of one program that were denied in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Denial {
    /// The name of the system call, or its number.
    pub system_call: String,
    /// The errno: `EPERM`, `EACCES` or `EROFS`.
    pub errno: i32,
    /// The mechanism.
    pub lock: Lock,
    /// The capabilities that were denied. Each of them would have been enough for its check.
    pub caps: CapSet,
    /// The reason for which the process lacked them, in words, if its sets are known.
    #[cfg_attr(feature = "serde", serde(default))]
    pub because: Option<String>,
    /// The object of the call, if known.
    pub object: Option<Object>,
    /// The program, or empty if unknown.
    pub program: String,
    /// The number of calls.
    pub count: u64,
}

/// Denials that are alike in this are one, without copies of the program's path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DenialKey {
    pub(super) system_call: String,
    pub(super) errno: i32,
    pub(super) lock: Lock,
    pub(super) caps: CapSet,
    pub(super) because: Option<String>,
    pub(super) object: Option<Object>,
    pub(super) program: Arc<str>,
    /// Whether it was in a container.
    pub(super) inside: bool,
}

/// How many different denials are kept.
pub(super) const DENIALS: usize = 1024;

/// Returns the errno if a system call was denied.
pub(super) fn errno(returned: i64) -> Option<i32> {
    let errno = i32::try_from(returned.checked_neg()?).ok()?;
    [libc::EPERM, libc::EACCES, libc::EROFS].contains(&errno).then_some(errno)
}

/// Returns whether a system call was denied.
pub(in crate::trace) fn is_denied(returned: i64) -> bool {
    errno(returned).is_some()
}

/// Returns the reason for which a process lacked capabilities, by the rules of execve(2).
pub(super) fn because(caps: CapSet, call: &Call) -> Option<String> {
    let process = call.process.as_ref()?;
    let lacking = origin::lacking(process, CapSet::all());
    let found = lacking.iter().find(|(lacked, _)| !(*lacked & caps).is_empty());
    let user = process.uid.effective;
    let words = match found.map(|(_, reason)| reason) {
        Some(Lacking::Bounding) => "not in the bounding set".to_owned(),
        Some(Lacking::GivenUp) => "dropped by the process".to_owned(),
        Some(Lacking::NotEffective) => "permitted but not effective".to_owned(),
        _ if (process.caps.effective & caps).is_empty() && call.withheld.is_some() => {
            return call.withheld.clone();
        }
        _ if (process.caps.effective & caps).is_empty() => {
            format!("user {user} gets it neither from the ambient set nor from a file")
        }
        // It was raised after the call, or a capability over another user namespace was asked for.
        _ => return None,
    };
    Some(words)
}

/// Returns the mechanism that denied a call, and the capabilities that were checked.
pub(super) fn lock(number: i64, errno: i32, call: &Call, open: &[Open]) -> (Lock, CapSet) {
    if errno == libc::EROFS {
        return (Lock::ReadOnly, CapSet::empty());
    }
    let refused = open.iter().filter(|one| one.granted == Some(false));
    let caps: CapSet =
        refused.filter(|one| one.place.meaning.is_none()).map(|one| one.cap).collect();
    if !caps.is_empty() {
        return (Lock::Capability, caps);
    }
    if call.is_denied_by_apparmor {
        return (Lock::AppArmor, CapSet::empty());
    }
    if call.is_denied_by_selinux {
        return (Lock::SeLinux, CapSet::empty());
    }
    if call.began == Some(false) {
        return (Lock::Seccomp, CapSet::empty());
    }
    if !call.beyond.is_empty() {
        return (Lock::FileCaps, call.beyond);
    }
    if call.object.as_ref().is_some_and(|object| object.fixed.is_some()) {
        return (Lock::Immutable, CapSet::empty());
    }
    let executes = matches!(calls::name(number), Some("execve" | "execveat"));
    let file = call
        .object
        .as_ref()
        .and_then(|object| object.file.as_ref().filter(|file| file.path == object.name));
    let lock = match file {
        Some(file) if executes && errno == libc::EACCES && file.is_noexec => Lock::Noexec,
        Some(file) if executes && errno == libc::EACCES && file.mode & 0o111 == 0 => Lock::FileMode,
        _ if call.is_restricted => Lock::Landlock,
        _ => Lock::NoCheck,
    };
    (lock, CapSet::empty())
}

/// Returns the name of a system call, as far as its number or its checks tell.
pub(super) fn name(number: i64, open: &[Open]) -> String {
    let of_check = || open.iter().find_map(|one| one.place.system_call.clone());
    let name = calls::name(number).map(str::to_owned).or_else(of_check);
    name.unwrap_or_else(|| format!("system call {number}"))
}

impl DenialKey {
    /// Returns the denial with a number of calls.
    pub(super) fn denial(self, count: u64) -> Denial {
        let DenialKey { system_call, errno, lock, caps, because, object, program, .. } = self;
        Denial {
            system_call,
            errno,
            lock,
            caps,
            because,
            object,
            program: program.to_string(),
            count,
        }
    }
}

//! The purpose of each capability, in words.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

use crate::{Cap, CapSet};

mod routes;
mod seccomp;
mod suggest;
mod table;
mod tasks;
mod uses;
mod worth;

pub use suggest::{Answer, Suggestion, Sysctl, suggest};
pub use worth::Worth;

/// The description of a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// The operations it permits: lines of at most 72 characters, with system calls and common
    /// search terms.
    pub permits: &'static str,
    /// The Linux version that introduced it, or `None` if it is as old as capabilities (2.2).
    pub since: Option<&'static str>,
}

/// The system calls and programs that use a capability, and alternatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Use {
    /// Common system calls, and the conditions under which they check for it.
    pub system_calls: &'static [(&'static str, &'static str)],
    /// Programs that need it for some operation.
    pub programs: &'static [&'static str],
    /// An alternative with less privilege.
    pub instead: Option<&'static str>,
}

/// Returns the uses of `cap`, or `None` for an unnamed capability.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// assert!(knowledge::uses(Cap::NET_RAW).unwrap().programs.contains(&"ping"));
/// ```
pub fn uses(cap: Cap) -> Option<&'static Use> {
    uses::USES.get(usize::from(cap.number())).map(|(_, uses)| uses)
}

/// Returns the capabilities that a system call may check for, and the conditions.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// assert_eq!(knowledge::asked_by("chroot").next(), Some((Cap::SYS_CHROOT, "always")));
/// ```
pub fn asked_by(system_call: &str) -> impl Iterator<Item = (Cap, &'static str)> {
    let mut before = "";
    uses::USES.iter().filter_map(move |(cap, uses)| {
        uses.system_calls.iter().find_map(|(name, when)| {
            if *when != "the same" {
                before = when;
            }
            (*name == system_call).then_some((*cap, before))
        })
    })
}

/// Returns the capabilities that a program needs for some operation.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// assert!(knowledge::needed_by("ping").contains(Cap::NET_RAW));
/// assert!(knowledge::needed_by("true").is_empty());
/// ```
pub fn needed_by(program: &str) -> CapSet {
    let uses = uses::USES.iter().filter(|(_, uses)| uses.programs.contains(&program));
    uses.map(|(cap, _)| *cap).collect()
}

/// Returns the names of all known system calls and programs, to correct mistyped ones.
pub fn names() -> impl Iterator<Item = &'static str> {
    uses::USES.iter().flat_map(|(_, uses)| {
        uses.system_calls.iter().map(|(name, _)| *name).chain(uses.programs.iter().copied())
    })
}

/// Returns the description of `cap`, or `None` for an unnamed capability.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// let about = knowledge::about(Cap::NET_BIND_SERVICE).unwrap();
/// assert!(about.permits.contains("port below 1024"));
/// ```
pub fn about(cap: Cap) -> Option<&'static About> {
    table::ABOUT.get(usize::from(cap.number())).map(|(_, about)| about)
}

/// Returns how a program with `cap` can become root, or see or do what root can, or `None` if no
/// way is known.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// assert!(knowledge::route_to_root(Cap::SYS_MODULE).is_some());
/// assert!(knowledge::route_to_root(Cap::NET_BIND_SERVICE).is_none());
/// ```
pub fn route_to_root(cap: Cap) -> Option<&'static str> {
    let at = routes::ROUTES.binary_search_by_key(&cap, |(cap, _)| *cap).ok()?;
    Some(routes::ROUTES[at].1)
}

/// Returns the capabilities with `text` in their name or in a line of their description, ignoring
/// case.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// assert!(knowledge::search("port below 1024").eq([Cap::NET_BIND_SERVICE]));
/// ```
pub fn search(text: &str) -> impl Iterator<Item = Cap> {
    let text = text.to_lowercase();
    CapSet::NAMED.iter().filter(move |&cap| {
        let lines = about(cap).into_iter().flat_map(|about| about.permits.lines());
        lines.chain(cap.name()).any(|line| line.to_lowercase().contains(&text))
    })
}

/// Returns the system calls that Docker's default seccomp profile allows only with `cap`, if the
/// kernel then allows them. Without the capability, they fail with `EPERM`, or `ENOSYS` for clone3.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// assert!(knowledge::seccomp(Cap::SYS_PTRACE).contains(&"process_vm_readv"));
/// assert!(knowledge::seccomp(Cap::CHOWN).is_empty());
/// ```
pub fn seccomp(cap: Cap) -> &'static [&'static str] {
    let row = seccomp::CALLS.iter().find(|(row, _)| *row == cap);
    row.map_or(&[], |(_, calls)| calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_at_its_number() {
        assert!(table::ABOUT.iter().map(|(cap, _)| *cap).eq(CapSet::NAMED.iter()));
        assert!(uses::USES.iter().map(|(cap, _)| *cap).eq(CapSet::NAMED.iter()));
    }

    #[test]
    fn system_calls_of_seccomp() {
        assert!(seccomp::CALLS.is_sorted_by(|(a, _), (b, _)| a < b));
        #[rustfmt::skip]
        let rows = [
            (Cap::SYS_ADMIN,  26),
            (Cap::SYS_PTRACE,  6),
            (Cap::SYS_NICE,    4),
            (Cap::SYS_TIME,    4),
            (Cap::NET_ADMIN,   0),
        ];
        for (cap, count) in rows {
            assert_eq!(super::seccomp(cap).len(), count, "{cap}");
        }
        for (cap, calls) in seccomp::CALLS {
            assert!(calls.is_sorted(), "{cap}");
        }
    }

    #[test]
    fn routes_in_order() {
        assert!(routes::ROUTES.is_sorted_by(|(a, _), (b, _)| a < b));
        // Capabilities that are harmless by themselves.
        for cap in [Cap::NET_BIND_SERVICE, Cap::IPC_LOCK, Cap::SYS_NICE, Cap::WAKE_ALARM] {
            assert_eq!(route_to_root(cap), None, "{cap}");
        }
    }

    #[test]
    fn lines_that_fit_and_are_plain() {
        for (cap, About { permits, since, .. }) in table::ABOUT {
            assert!(!permits.is_empty(), "{cap}");
            for line in permits.lines() {
                assert!((1..=72).contains(&line.len()), "{cap}: {line}");
                assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{cap}: {line}");
                assert!(!line.ends_with(' '), "{cap}: {line:?}");
            }
            let version = |text: &str| text.split('.').all(|part| part.parse::<u8>().is_ok());
            assert!(since.is_none_or(version), "{cap}");
        }
    }

    #[test]
    fn what_people_look_for() {
        #[rustfmt::skip]
        let rows: &[(&str, &[Cap])] = &[
            ("ping",            &[Cap::NET_RAW]),
            ("Port Below 1024", &[Cap::NET_BIND_SERVICE]),
            ("strace",          &[Cap::SYS_PTRACE]),
            ("dmesg",           &[Cap::SYSLOG]),
            ("cap_bpf",         &[Cap::SYS_ADMIN, Cap::PERFMON, Cap::BPF]),
            ("no such thing",   &[]),
        ];
        for (text, want) in rows {
            assert!(search(text).eq(want.iter().copied()), "{text}");
        }
        assert_eq!(search("").count(), 41);
    }
}

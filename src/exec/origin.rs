//! The origin of the capabilities of a running process, as far as its credentials still show it.
//!
//! The kernel does not record where a capability came from. These functions give the first
//! explanation that fits, in the order in which execve(2) would have granted it.
//!
//! ```
//! use rcap::{Cap, exec::{Credentials, FileFacts, origin::{self, Held}}, file::FileCaps};
//!
//! let mut ping = Credentials::of_user(1000, 1000);
//! ping.caps.permitted = Cap::NET_RAW.into();
//! let file = FileFacts::with_caps(FileCaps { permitted: Cap::NET_RAW.into(), ..FileCaps::EMPTY });
//! assert_eq!(origin::held(&ping, Some(&file)), [(Cap::NET_RAW.into(), Held::FilePermitted)]);
//! ```

use std::fmt;

use super::{Credentials, FileFacts};
use crate::{CapSet, securebits::Securebits};

/// The origin of capabilities in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Held {
    /// The ambient set, which executed programs inherit.
    Ambient,
    /// The permitted set of the program's file.
    FilePermitted,
    /// The inheritable set of the file and of the process.
    FileInheritable,
    /// User 0, which gets the bounding set.
    RootBounding,
    /// User 0, which gets the inheritable set.
    RootInheritable,
    /// User 0, before the bounding set was reduced.
    RootEarlier,
    /// The file of the program may not be read: it is that file, or one of the reasons of
    /// [`Held::Earlier`].
    FileUnknown,
    /// Not explained by any set: the process changed its user or its capabilities after it was
    /// executed.
    Earlier,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Held::Ambient => "ambient: inherited from its parent, and by its children",
            Held::FilePermitted => "its file grants it",
            Held::FileInheritable => "inheritable in its file and the process",
            Held::RootBounding => "user 0 gets the bounding set",
            Held::RootInheritable => "user 0 gets the inheritable set",
            Held::RootEarlier => "from before its bounding set was reduced",
            Held::FileUnknown => {
                "unknown, as its file may not be read: from the file, from before it changed its \
                 user, or from a launcher"
            }
            Held::Earlier => "from before it changed its user, or from a launcher",
        })
    }
}

/// The reason for which a process lacks capabilities or does not use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Lacking {
    /// The bounding set lacks them.
    Bounding,
    /// The process is user 0 and dropped them after it was executed.
    GivenUp,
    /// They are permitted but not effective.
    NotEffective,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lacking::Bounding => {
                "not in its bounding set: no program that it executes can have it from its file \
                 or as root"
            }
            Lacking::GivenUp => "dropped by the process itself",
            Lacking::NotEffective => "permitted but not effective: the process can raise it",
        })
    }
}

/// Returns the permitted capabilities of a process by origin, each in one row. `file` is the file
/// that the process executes, or `None` if it may not be read. If the file's capabilities were changed since, they do not explain
/// anything.
pub fn held(process: &Credentials, file: Option<&FileFacts>) -> Vec<(CapSet, Held)> {
    let of_file = file.and_then(|file| file.caps).unwrap_or_default();
    let of_root = |caps| if is_root(process) { caps } else { CapSet::empty() };
    let mut rest = process.caps.permitted;
    let origins = [
        (process.ambient, Held::Ambient),
        (of_file.permitted, Held::FilePermitted),
        (of_file.inheritable & process.caps.inheritable, Held::FileInheritable),
        (of_root(process.bounding), Held::RootBounding),
        (of_root(process.caps.inheritable), Held::RootInheritable),
        (of_root(CapSet::all()), Held::RootEarlier),
        (CapSet::all(), if file.is_some() { Held::Earlier } else { Held::FileUnknown }),
    ];
    let rows = origins.into_iter().map(|(caps, origin)| {
        let caps = rest & caps;
        rest -= caps;
        (caps, origin)
    });
    rows.filter(|(caps, _)| !caps.is_empty()).collect()
}

/// Returns the capabilities that a process lacks or does not use, by reason. `supported` has the
/// capabilities of the kernel, as returned by [`CapSet::supported`].
pub fn lacking(process: &Credentials, supported: CapSet) -> Vec<(CapSet, Lacking)> {
    let given_up =
        if is_root(process) { process.bounding - process.caps.permitted } else { CapSet::empty() };
    let rows = [
        (supported - process.bounding, Lacking::Bounding),
        (given_up, Lacking::GivenUp),
        (process.caps.permitted - process.caps.effective, Lacking::NotEffective),
    ];
    rows.into_iter().filter(|(caps, _)| !caps.is_empty()).collect()
}

/// Returns whether the process is, or can become again, a user 0 with the special treatment of the
/// kernel.
fn is_root(process: &Credentials) -> bool {
    !process.securebits.contains(Securebits::NOROOT)
        && [process.uid.real, process.uid.effective, process.uid.saved].contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cap, file::FileCaps, proc::Ids};

    const RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);
    const CHOWN: CapSet = CapSet::of(&[Cap::CHOWN]);
    const NONE: CapSet = CapSet::empty();

    fn having(uid: u32, caps: CapSet) -> Credentials {
        let mut process = Credentials::of_user(uid, uid);
        process.caps.permitted = caps;
        process.caps.effective = caps;
        process
    }

    #[test]
    fn each_origin() {
        let user = || having(1000, RAW);
        let root = || having(0, RAW);
        let inheriting = |mut process: Credentials| {
            process.caps.inheritable = RAW;
            process
        };
        let caps = |permitted, inheritable| {
            FileFacts::with_caps(FileCaps { permitted, inheritable, ..FileCaps::EMPTY })
        };
        let [gives, passes] = [caps(RAW, NONE), caps(NONE, RAW)];
        let saved = Credentials { uid: Ids { saved: 0, ..Ids::same(1000) }, ..user() };
        let noroot = Credentials { securebits: Securebits::NOROOT, ..root() };
        #[rustfmt::skip]
        let rows = [
            (Credentials { ambient: RAW, ..user() },                Some(&gives),  Held::Ambient),
            (user(),                                                Some(&gives),  Held::FilePermitted),
            (inheriting(user()),                                    Some(&passes), Held::FileInheritable),
            (user(),                                                Some(&passes), Held::Earlier),
            (user(),                                                None,          Held::FileUnknown),
            (root(),                                                None,          Held::RootBounding),
            (saved,                                                 None,          Held::RootBounding),
            (Credentials { bounding: NONE, ..inheriting(root()) },  None,          Held::RootInheritable),
            (Credentials { bounding: NONE, ..root() },              None,          Held::RootEarlier),
            (noroot,                                                Some(&passes), Held::Earlier),
        ];
        for (process, file, origin) in rows {
            assert_eq!(held(&process, file), [(RAW, origin)], "{process:?}");
        }
        assert_eq!(held(&having(1000, NONE), Some(&gives)), []);
        assert_eq!(
            held(&Credentials { ambient: RAW, ..having(1000, RAW | CHOWN) }, None),
            [(RAW, Held::Ambient), (CHOWN, Held::FileUnknown)]
        );
    }

    #[test]
    fn each_reason() {
        let all = RAW | CHOWN;
        let process = |uid, bounding| Credentials { bounding, ..having(uid, CHOWN) };
        let mut lowered = process(1000, all);
        lowered.caps.effective = NONE;
        #[rustfmt::skip]
        let rows = [
            (process(1000, all),   vec![]),
            (process(1000, CHOWN), vec![(RAW, Lacking::Bounding)]),
            (process(0, all),      vec![(RAW, Lacking::GivenUp)]),
            (lowered,              vec![(CHOWN, Lacking::NotEffective)]),
        ];
        for (process, want) in rows {
            assert_eq!(lacking(&process, all), want, "{process:?}");
        }
    }
}

//! File capabilities: the extended attribute `security.capability`. (capabilities(7), "File
//! capabilities")
//!
//! Functions of this module do not follow a symbolic link as the last component of a path. They
//! write through the descriptor of the file that they checked, so another file cannot replace it in
//! between.
//!
//! ```no_run
//! use rcap::{Cap, file::{self, FileCaps}};
//!
//! let caps = FileCaps::effective(Cap::NET_BIND_SERVICE.into());
//! let written = file::write("/usr/local/bin/server", &caps)?;
//! if written.nosuid {
//!     eprintln!("the file system is mounted with nosuid: execve(2) ignores the capabilities");
//! }
//! assert_eq!(file::read("/usr/local/bin/server")?, Some(caps));
//! # Ok::<(), rcap::Error>(())
//! ```

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

mod access;
mod attribute;
mod codec;
mod collect;
mod entry;
mod refusal;
mod scan;

#[cfg(feature = "scan")]
pub(crate) use access::Session;
pub(crate) use access::locate;
pub use access::{
    Written, check_write, check_write_fd, read, read_fd, remove, remove_fd, update, write, write_fd,
};
pub use collect::Collected;
pub use entry::{Entry, Found, Owner};
pub use scan::Scan;

pub use crate::error::{FileKind, Malformed, Mount, Refusal};

use crate::{CapSet, CapState, Error};

/// The name of the extended attribute.
pub const ATTRIBUTE: &str = "security.capability";

/// The capabilities of a file.
///
/// [`FileCaps::try_from`] converts a [`CapState`], which can express more than a file can store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the attribute holds nothing else")]
pub struct FileCaps {
    /// The capabilities that become permitted when the file is executed, limited by the bounding
    /// set.
    pub permitted: CapSet,
    /// The capabilities that become permitted if they are also inheritable in the executing thread.
    pub inheritable: CapSet,
    /// The effective bit: whether the permitted capabilities also become effective.
    pub effective: bool,
    /// The user ID of root in the user namespace in which the capabilities are valid. `None` stands
    /// for the namespace in which the file system was mounted, usually the initial one.
    #[doc(alias("nsowner", "cap_get_nsowner"))]
    pub rootid: Option<u32>,
}

impl FileCaps {
    /// Empty sets. A file with this value differs from a file without the attribute: executing it
    /// clears the ambient set.
    pub const EMPTY: FileCaps = FileCaps {
        permitted: CapSet::empty(),
        inheritable: CapSet::empty(),
        effective: false,
        rootid: None,
    };

    /// Returns the capabilities of a file that makes `caps` permitted and effective.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, CapState, file::FileCaps};
    ///
    /// const RAW: FileCaps = FileCaps::effective(CapSet::of(&[Cap::NET_RAW]));
    /// assert_eq!(CapState::from(RAW), CapState::effective(Cap::NET_RAW.into()));
    /// ```
    pub const fn effective(caps: CapSet) -> FileCaps {
        FileCaps { effective: true, ..FileCaps::permitted(caps) }
    }

    /// Returns the capabilities of a file that makes `caps` permitted and leaves it to the program to
    /// make them effective.
    pub const fn permitted(caps: CapSet) -> FileCaps {
        FileCaps { permitted: caps, ..FileCaps::EMPTY }
    }
}

/// Returns the sets as libcap prints and compares them: if the effective bit is set, all
/// capabilities are effective. The root ID is lost.
impl From<FileCaps> for CapState {
    fn from(caps: FileCaps) -> CapState {
        let FileCaps { permitted, inheritable, effective, rootid: _ } = caps;
        let effective = if effective { permitted | inheritable } else { CapSet::empty() };
        CapState { effective, permitted, inheritable }
    }
}

/// Returns the file capabilities with these sets, and without a root ID.
///
/// # Errors
///
/// [`Error::UnstorableEffective`]: a file has one effective bit, so the effective set must be empty
/// or equal to the union of the others.
impl TryFrom<CapState> for FileCaps {
    type Error = Error;

    fn try_from(state: CapState) -> Result<FileCaps, Error> {
        let CapState { effective, permitted, inheritable } = state;
        let differing = effective ^ (permitted | inheritable);
        if !effective.is_empty() && !differing.is_empty() {
            return Err(Error::UnstorableEffective { differing });
        }
        Ok(FileCaps { permitted, inheritable, effective: !effective.is_empty(), rootid: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_effective_bit_for_all() {
        #[rustfmt::skip]
        let rows = [
            ("=",                                Ok(FileCaps::EMPTY)),
            ("cap_chown=ep",                     Ok(FileCaps { permitted: CapSet::first(1), effective: true, ..FileCaps::EMPTY })),
            ("cap_chown=ei",                     Ok(FileCaps { inheritable: CapSet::first(1), effective: true, ..FileCaps::EMPTY })),
            ("cap_chown=p",                      Ok(FileCaps { permitted: CapSet::first(1), ..FileCaps::EMPTY })),
            ("cap_chown=ep cap_dac_override=p",  Err(CapSet::from_bits(2))),
            ("cap_chown=p cap_dac_override=e",   Err(CapSet::first(2))),
            ("cap_chown=e",                      Err(CapSet::first(1))),
        ];
        for (text, want) in rows {
            let state = CapState::parse(text, CapSet::NAMED).unwrap();
            let got = FileCaps::try_from(state).map_err(|err| match err {
                Error::UnstorableEffective { differing } => differing,
                other => panic!("{other}"),
            });
            assert_eq!(got, want, "{text}");
            if let Ok(caps) = got {
                assert_eq!(CapState::from(caps), state, "{text}");
            }
        }
    }
}

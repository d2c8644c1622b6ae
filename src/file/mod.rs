//! The capabilities of files: the extended attribute `security.capability`.
//! (capabilities(7), "File capabilities")
//!
//! Nothing here follows a symbolic link that a path ends in. What is written is written through
//! a descriptor of the file that was looked at, so that no other can take its place meanwhile.
//!
//! ```no_run
//! use rcap::{Cap, file::{self, FileCaps}};
//!
//! let caps = FileCaps { permitted: Cap::NET_BIND_SERVICE.into(), effective: true, ..FileCaps::EMPTY };
//! let written = file::write("/usr/local/bin/server", &caps)?;
//! if written.nosuid {
//!     eprintln!("it is on a file system mounted nosuid: exec will ignore the capabilities");
//! }
//! assert_eq!(file::read("/usr/local/bin/server")?, Some(caps));
//! # Ok::<(), rcap::Error>(())
//! ```

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

mod access;
mod attribute;
mod codec;
mod entry;
mod refusal;
mod scan;

pub(crate) use access::locate;
pub use access::{Written, check_write, read, read_fd, remove, remove_fd, update, write, write_fd};
pub use entry::{Entry, Found, Owner};
pub use scan::Scan;

pub use crate::error::{FileKind, Malformed, Mount, Refusal};

use crate::{CapSet, CapState, Error};

/// The name of the extended attribute.
pub const ATTRIBUTE: &str = "security.capability";

/// The capabilities of a file.
///
/// A [`CapState`] says more than a file can hold: see [`FileCaps::try_from`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "the attribute holds nothing else")]
pub struct FileCaps {
    /// What becomes permitted when the file is executed, as far as the bounding set has it.
    pub permitted: CapSet,
    /// What becomes permitted if it is inheritable in the thread that executes the file.
    pub inheritable: CapSet,
    /// Whether all that becomes permitted becomes effective too.
    pub effective: bool,
    /// The user id of the root of the user namespace in which alone the capabilities count, with
    /// its descendants. `None`: the one in which the file system was mounted, as a rule the
    /// initial one.
    #[doc(alias("nsowner", "cap_get_nsowner"))]
    pub rootid: Option<u32>,
}

impl FileCaps {
    /// No capabilities. A file with these is not one without: executing it empties the ambient
    /// set.
    pub const EMPTY: FileCaps = FileCaps {
        permitted: CapSet::empty(),
        inheritable: CapSet::empty(),
        effective: false,
        rootid: None,
    };
}

/// The sets of a file, with all that it permits effective if any is: the form in which libcap
/// prints and compares them. The root id has no place in it.
impl From<FileCaps> for CapState {
    fn from(caps: FileCaps) -> CapState {
        let FileCaps { permitted, inheritable, effective, rootid: _ } = caps;
        let effective = if effective { permitted | inheritable } else { CapSet::empty() };
        CapState { effective, permitted, inheritable }
    }
}

/// The capabilities of a file that has these sets, and no root id.
///
/// # Errors
///
/// [`Error::UnstorableEffective`]: a file has one bit for its whole effective set, which must
/// therefore be empty or just what is permitted or inheritable.
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

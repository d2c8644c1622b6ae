//! Settings that grant a program capabilities, as container engines, systemd and others write
//! them: one file for each system, with its `write` beside its `read`.
//!
//! ```
//! use rcap::{Cap, settings::{Format, Settings}};
//!
//! let settings = Settings::new(Cap::NET_RAW.into());
//! assert_eq!(
//!     Format::Docker.write(&settings)?,
//!     "--cap-drop=ALL --cap-add=NET_RAW --security-opt=no-new-privileges"
//! );
//! # Ok::<(), rcap::settings::SettingsError>(())
//! ```
//!
//! The functions here take texts and return values: the caller opens files. The word `all` stands
//! for [`CapSet::supported`], the capabilities of the running kernel. The feature `settings`
//! adds the readers, `read` and `Source`.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

use crate::{CapSet, CapState, exec::Credentials, identity::Identity};

pub use error::SettingsError;
pub use format::{Format, InputFormat};
pub use profile::{Profile, combine};
#[cfg(feature = "settings")]
pub use read::{read, select};
#[cfg(feature = "settings")]
pub use source::Source;
pub use text::shell_word;
pub use user::{Id, User};

mod error;
mod format;
mod profile;
mod text;
mod user;

// The systems.
mod capsh;
mod compose;
mod docker;
mod json;
mod kubernetes;
mod oci;
mod podman;
mod setcap;
mod setpriv;
mod status;
mod systemd;

mod engine;

#[cfg(feature = "settings")]
mod document;
#[cfg(feature = "settings")]
mod read;
#[cfg(feature = "settings")]
mod source;
#[cfg(feature = "settings")]
mod value;
#[cfg(feature = "settings")]
mod words;

#[cfg(test)]
mod tests;

/// The privileges that a system gives a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The name of the service or container, if the settings have one.
    pub name: Option<String>,
    /// The capabilities that the program can have at most: its bounding set. They are the
    /// permitted set of root.
    pub caps: CapSet,
    /// The ambient set. It is what readers find; writers make all of `caps` ambient for a
    /// non-root user, wherever a format can.
    pub ambient: CapSet,
    /// The user; `None` is root, or the user whom a container's image names.
    pub user: Option<User>,
    /// Whether no_new_privs is set. If it is false, a writer still sets it, except where it would
    /// make the capabilities ineffective.
    pub no_new_privs: bool,
}

impl Settings {
    /// Returns the settings that grant root these capabilities.
    pub fn new(caps: CapSet) -> Settings {
        Settings { caps, ..Settings::default() }
    }

    /// Returns the same settings for `user`; `None` is root.
    #[must_use]
    pub fn for_user(self, user: Option<User>) -> Settings {
        Settings { user, ..self }
    }

    /// Returns the credentials of a process with these settings and the ids of `identity`, as a
    /// container runtime or systemd sets them before it executes the program.
    pub fn credentials(&self, identity: &Identity) -> Credentials {
        let permitted = if identity.uid == 0 { self.caps } else { self.ambient };
        let mut process = Credentials::of_user(identity.uid, identity.gid);
        process.groups.clone_from(&identity.groups);
        process.caps = CapState { effective: permitted, permitted, inheritable: self.ambient };
        process.bounding = self.caps;
        process.ambient = self.ambient;
        process.no_new_privs = self.no_new_privs;
        process
    }

    /// Returns the user unless it is root.
    fn non_root(&self) -> Option<&User> {
        self.user.as_ref().filter(|user| !user.is_root())
    }

    /// Returns the user and the group as numbers, for a format that takes no names.
    fn numbers(&self, format: Format) -> Result<Option<(u32, Option<u32>)>, SettingsError> {
        let Some(user) = &self.user else { return Ok(None) };
        let needs = "a number, UID or UID:GID";
        user.numbers().map(Some).ok_or_else(|| SettingsError::inexpressible(format, user, needs))
    }
}

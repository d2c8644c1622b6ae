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
//! for [`CapSet::supported`](crate::CapSet::supported), the capabilities of the running kernel. The feature `settings`
//! adds the readers, `read` and `Source`.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

pub use convert::{Target, Written, check_merged};
pub use engine::{Engine, EngineKind};
pub use error::SettingsError;
pub use format::{Format, InputFormat};
pub use model::{Kind, Named, Note, Settings, Topic, Who};
pub use profile::{Profile, combine};
#[cfg(feature = "settings")]
pub use read::{Context, read, read_in, select};
#[cfg(feature = "settings")]
pub use source::Source;
pub use text::shell_word;
#[cfg(feature = "cli")]
pub(crate) use text::{few, quoted};
pub use user::{Id, User};
#[cfg(feature = "cli")]
pub(crate) use {
    container::parse_bool,
    document::parse as documents,
    line::{LineOption, is_valued_global, split_options},
    systemd::{
        lines as unit_lines,
        syntax::{capability as unit_capability, words as unit_words},
    },
    words::after_wrappers,
};

mod caveats;
mod container;
mod convert;
mod engine;
mod error;
mod format;
mod model;
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
mod quadlet;
mod setcap;
mod setpriv;
mod status;
mod systemd;

#[cfg(feature = "settings")]
mod document;
#[cfg(feature = "settings")]
mod line;
#[cfg(feature = "settings")]
mod read;
#[cfg(feature = "settings")]
mod shell;
#[cfg(feature = "settings")]
mod source;
#[cfg(feature = "settings")]
mod value;
#[cfg(feature = "settings")]
mod words;

#[cfg(test)]
mod tests;

/// Writes one JSON document with these settings. (docs/json.md)
pub fn to_json(subjects: &[Settings]) -> String {
    json::document(subjects)
}

//! Linux capabilities, in pure Rust: those of threads, processes and files. (capabilities(7))
//!
//! Linux splits the power of root into capabilities. Each thread has five sets of them: the
//! [effective, permitted and inheritable](CapState) ones, the [`bounding`] and the [`ambient`] set.
//! A [file](mod@file) can have capabilities that are given to whoever executes it.
//!
//! A server that has bound its port and gives up everything else:
//!
//! ```
//! use rcap::{Cap, CapSet, CapState};
//!
//! let keep = CapState::current()?.permitted & CapSet::of(&[Cap::NET_BIND_SERVICE]);
//! CapState { effective: keep, permitted: keep, inheritable: CapSet::empty() }.apply()?;
//! # Ok::<(), rcap::Error>(())
//! ```
//!
//! # Threads
//!
//! Capabilities belong to a thread and not to its process. What changes something here changes
//! it in the calling thread alone; threads that it starts later begin with a copy. A program
//! drops its capabilities before it starts threads.
//!
//! # Capabilities without a name
//!
//! A newer kernel can have capabilities that have no name here. They are read, kept, printed as
//! numbers and written back, and no operation loses one.
//!
//! # Coming from libcap
//!
//! docs/comparison.md lists every function of libcap, its Go packages, caps, capctl and libcap-ng
//! beside its counterpart here. The names of libcap's functions also find their counterparts in
//! the search of this documentation.
//!
//! | libcap | here |
//! |---|---|
//! | `cap_get_proc`, `cap_set_proc`, `cap_get_pid` | [`CapState::current`], [`CapState::apply`], [`CapState::of_pid`] |
//! | `cap_from_text`, `cap_to_text` | [`CapState::parse`], [`CapState::to_text`], `FromStr` and `Display` |
//! | `cap_from_name`, `cap_to_name` | [`Cap`], by `FromStr` and `Display` |
//! | `cap_max_bits` | [`CapSet::supported`] |
//! | `cap_get_file`, `cap_set_file`, `cap_get_nsowner` | [`file::read`], [`file::write`], [`FileCaps::rootid`](file::FileCaps::rootid) |
//! | `cap_get_bound`, `cap_drop_bound` | [`bounding::contains`], [`bounding::drop`] |
//! | `cap_get_ambient`, `cap_set_ambient`, `cap_reset_ambient` | [`ambient::contains`], [`ambient::raise`], [`ambient::lower`], [`ambient::clear`] |
//! | `cap_get_secbits`, `cap_set_secbits` | [`securebits::current`], [`securebits::set`] |
//! | `cap_get_mode`, `cap_set_mode` | [`Mode::current`], [`Mode::apply`] |
//! | `cap_iab_from_text`, `cap_iab_to_text` | [`Iab`], by `FromStr` and `Display` |
//! | `cap_iab_get_proc`, `cap_iab_set_proc`, `cap_iab_get_pid` | [`Iab::current`], [`Iab::apply`], [`proc::Status::iab`] |
//! | `cap_new_launcher`, `cap_func_launcher`, `cap_launch` | [`launch::Launcher`] |
//! | `cap_setuid`, `cap_setgroups` | [`identity::set_uid`], [`identity::set_groups`] |
//! | `cap_copy_ext`, `cap_copy_int_check` | [`CapState::to_external`], [`CapState::from_external`] |
//!
//! # Features
//!
//! - `cli` (default): the programs. A user of the library turns it off with
//!   `default-features = false`, and gets neither clap nor serde.
//! - `settings`: the readers of [`settings`], for Compose files, Kubernetes manifests, units of
//!   systemd and others. `cli` includes it.
//! - `serde`: `Serialize` and `Deserialize` for the value types.

#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("capabilities are a feature of Linux");

mod caps;
mod error;
mod sys;
mod thread;

pub mod exec;
pub mod file;
pub mod knowledge;
pub mod launch;
pub mod proc;
pub mod settings;
pub mod trace;

/// libcap's five tools, and what they share with `rcap`.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod tools;

pub use caps::{
    Cap, CapIter, CapSet, CapState, ExternalError, Iab, InvalidNumber, Mode, ParseError,
    Securebits, UnknownCap,
};
pub use error::{Error, Op, Result, Subject};
pub use thread::{ambient, bounding, identity, no_new_privs, securebits, threads};

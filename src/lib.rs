//! Linux capabilities of threads, processes and files, in pure Rust. (capabilities(7))
//!
//! The default [feature](#features) `cli` builds the programs. Library users set
//! `default-features = false`, and then build neither clap nor serde.
//!
//! Linux splits root's power into capabilities. Each thread has five sets of them: the
//! [effective, permitted and inheritable](CapState) sets, the [`bounding`] set and the [`ambient`]
//! set. A [file](mod@file) can grant capabilities to a process that executes it.
//!
//! After binding its port, a server keeps one capability and drops all others:
//!
//! ```
//! use rcap::{Cap, CapSet, CapState};
//!
//! let keep = CapState::current()?.permitted & CapSet::of(&[Cap::NET_BIND_SERVICE]);
//! CapState::effective(keep).apply()?;
//! # Ok::<(), rcap::Error>(())
//! ```
//!
//! A program that needs a capability for one call makes it effective for just that call:
//!
//! ```no_run
//! use std::{io, net::TcpListener};
//!
//! use rcap::{Cap, CapState};
//!
//! let listener = CapState::with_raised(Cap::NET_BIND_SERVICE, || TcpListener::bind("[::]:80"))?;
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # Threads
//!
//! Capabilities belong to a thread, not to its process. Functions of this crate change only the
//! calling thread, and threads that it starts later inherit the change. Drop capabilities before
//! you start threads, or use [`threads`] to drop them in all threads.
//!
//! # Unnamed capabilities
//!
//! A newer kernel can have capabilities that this crate has no name for. Every operation preserves
//! them, and they are printed as numbers.
//!
//! # Coming from libcap
//!
//! docs/comparison.md maps each function of libcap, its Go packages, caps, capctl and libcap-ng to
//! its counterpart. The search of this documentation also finds counterparts by the names of
//! libcap's functions.
//!
//! | libcap | rcap |
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
//! - `cli` (default): the programs.
//! - `settings`: the readers of `settings`, for Compose files, Kubernetes manifests, systemd
//!   units and others. `cli` enables it.
//! - `scan`: the module `scan`, for inventories of machines and images, and their formats. `cli`
//!   enables it.
//! - `stacks`: the functions of recorded programs that caused a check, `trace::Options::stacks`.
//!   `cli` enables it.
//! - `serde`: `Serialize` and `Deserialize` for the value types.
//! - `all-threads`: `threads::Limits`, which drops privileges in every thread of the process, on
//!   x86-64, AArch64 and 64-bit RISC-V.
//!
//! The library needs Rust 1.85. With `settings` or `cli` it needs Rust 1.88.

#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("capabilities are a feature of Linux");

mod caps;
mod error;
mod sys;
mod thread;

#[cfg(feature = "cli")]
pub mod container;
pub mod exec;
pub mod file;
pub mod knowledge;
pub mod launch;
pub mod proc;
#[cfg(feature = "cli")]
pub mod rootless;
#[cfg(feature = "scan")]
pub mod scan;
#[cfg(feature = "cli")]
pub mod service;
pub mod settings;
pub mod trace;

/// libcap's five tools, and the code they share with `rcap`.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod tools;

pub use caps::{
    Cap, CapIter, CapSet, CapState, ExternalError, Iab, InvalidNumber, Mode, ParseError,
    Securebits, UncertainMode, UnknownCap,
};
pub use error::{Error, Op, Result, Subject};
pub use thread::{ambient, bounding, identity, no_new_privs, securebits, threads};

//! Inventories of privileges: on a machine, in a directory tree or in an image.
//!
//! An [`Inventory`] is a list of facts: files with capabilities or set-user-ID bits, processes
//! with capabilities, the sockets that they listen on, and the units and containers that they
//! belong to. [`findings`] are the faults in them, each by one [`Rule`]. Both are values, and
//! everything that is derived from them is a pure function; only [`gather`] and [`image`] read a machine or an image.
//!
//! ```
//! use rcap::scan::{findings, gather::{self, Sources}};
//!
//! let mut sources = Sources::of_paths(["src".into()]);
//! sources.processes = false;
//! let inventory = gather::gather(&sources);
//! assert!(findings(&inventory).is_empty());
//! ```

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

pub mod baseline;
pub mod gather;
pub mod here;
pub mod image;
pub mod output;
pub mod policy;
pub mod saved;

mod findings;
mod ignore;
mod inventory;
mod name;
mod programs;
mod rules;
mod severity;
mod time;
mod traces;
mod writable;

pub use findings::{Finding, findings};
pub use ignore::{Ignore, IgnoreError};
pub use inventory::{
    Expected, Group, Host, Image, Inventory, LostCaps, Namespace, Package, PrivilegedFile,
    PrivilegedProcess, Protocol, Socket, Unread,
};
pub use name::{DecodeError, decode, encode};
pub use rules::{RULES, Rule};
pub use severity::{Severity, UnknownSeverity};
pub use time::{now, today};
pub use writable::{Writable, Writer};

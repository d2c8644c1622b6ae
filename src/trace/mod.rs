//! Recording of the capabilities that the kernel checks for a program, and analysis of the checks.
//!
//! The kernel checks many more capabilities than a program needs. A [`Tracer`] records every check,
//! with its kernel functions and the result of the system call. An [`Analysis`] sorts the checks by
//! [`Meaning`] and names the candidates.
//!
//! Record a program and print the capabilities that it may need:
//!
//! ```no_run
//! use std::process::Command;
//! use rcap::{launch::Launcher, trace::{Options, Tracer}};
//!
//! let mut tracer = Tracer::new(&Options::default())?;
//! let mut child = tracer.start(Command::new("ping"), &Launcher::new())?;
//! while child.try_wait()?.is_none() {
//!     tracer.poll(|_| ())?;
//! }
//! let recording = tracer.finish(|_| ())?;
//! println!("{} (complete: {})", recording.analysis.candidates, recording.is_complete());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Tracer::attach`] records running processes. A tracer does not handle signals or wait for
//! children; the caller does.
//!
//! Recording needs `CAP_SYS_ADMIN` in the initial user namespace. [`Backend::check`] reports
//! whether a machine supports a backend.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

mod analysis;
mod backend;
mod calls;
mod exit;
mod gap;
pub mod minimize;
mod object;
#[cfg(feature = "cli")]
mod overlay;
mod record;
/// System calls that were denied: by which mechanism, and on which object.
pub mod denial {
    pub use super::{
        analysis::{Denial, Lock},
        object::{FixedFile, Object, ObjectFile},
    };
}
pub mod report;
pub mod run;
pub mod stack;
#[cfg(feature = "stacks")]
mod stacks;
#[cfg(not(feature = "stacks"))]
#[path = "no_stacks.rs"]
mod stacks;
mod target;
mod tracer;

pub use crate::error::TraceError;
pub use analysis::{Analysis, Meaning, Need, Place, Seen};
pub use backend::Backend;
pub use exit::Exit;
pub use gap::Gap;
pub use target::Target;
pub use tracer::{Options, Recording, Tracer};
#[cfg(feature = "cli")]
pub(crate) use {
    record::RefusedWrites,
    target::{control_groups, unified},
};

//! What the kernel asked for: its checks of capabilities, recorded while programs run.
//!
//! The recording is the kernel's own, by tracefs; here are the values that it is read into. What
//! they mean is another matter: the kernel asks far more often than a program needs.

mod analysis;
mod backend;
mod bpf;
mod event;
mod exit;
mod format;
mod gap;
mod kprobe;
mod minimize;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod overlay;
mod page;
mod record;
#[cfg(feature = "serde")]
mod report;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod session;
mod symbols;
mod target;
mod tracefs;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod watch;

pub use analysis::{Analyser, Analysis, Need, Origin, Place, Rule, Seen};
pub use backend::Backend;
pub use bpf::CgroupRecorder;
pub use event::{Check, Event, EventKind, Formats};
pub use exit::Exit;
pub use format::Format;
pub use gap::{Gap, Rest};
pub use minimize::{Failure, Observation, Output, failures, minimal};
pub use page::{Page, Record};
pub use record::{MARK, Options, Recorder};
#[cfg(feature = "serde")]
pub use report::{Merged, Report, Run, Shared};
pub use symbols::Symbols;
pub use target::Target;
pub use tracefs::{Instance, Reader, Tracefs};

//! What the kernel asked for: its checks of capabilities, recorded while programs run.
//!
//! The recording is the kernel's own, by tracefs; here are the values that it is read into. What
//! they mean is another matter: the kernel asks far more often than a program needs.

mod analysis;
mod event;
mod format;
mod page;
mod record;
mod symbols;
mod tracefs;

pub use analysis::{Analysis, Need, Rule};
pub use event::{Check, Event, EventKind, Formats};
pub use format::Format;
pub use page::{Page, Record};
pub use record::{MARK, Recorder, Recording};
pub use symbols::Symbols;
pub use tracefs::{Instance, Reader, Tracefs};

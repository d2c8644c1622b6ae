//! Containers without capabilities: as a user other than root, with the smallest set of changes.
//!
//! Each run shows which system calls were refused. The rules turn a refusal into changes that would
//! have avoided it, the search finds the smallest set of changes with which the container works, and
//! the lines have that set for a Dockerfile, a command line and a Compose file.

mod change;
mod edits;
mod files;
mod lines;
mod rules;
mod search;
mod trial;

pub use change::Change;
pub(super) use edits::Edits;
pub use rules::Account;
pub(super) use trial::own_volume;
pub use trial::{Answer, Needed, Rootless, Tried};

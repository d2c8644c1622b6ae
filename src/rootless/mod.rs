//! Programs without capabilities: as a user other than root, with the smallest set of changes.
//!
//! Each run shows which system calls were refused. The rules turn a refusal into changes that would
//! have avoided it, and the search finds the smallest set of changes with which the program works.
//! Containers and services make the changes, and have the lines for them.

mod answer;
mod change;
mod files;
mod machine;
mod rules;
mod search;

pub use answer::{Answer, Needed, Tried};
pub(crate) use answer::{Runs, become_user, chosen, failure};
pub use change::Change;
pub(crate) use files::{Files, variables};
pub use rules::Account;
pub(crate) use rules::{Ground, Mounted, Place, Source, all_remedies};
pub(crate) use search::{Changes, Outcome};

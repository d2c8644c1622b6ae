//! The value types: a capability, sets of capabilities, and their text forms. This module makes no
//! system calls.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

mod cap;
mod external;
mod iab;
mod mode;
mod names;
mod parse;
mod securebits;
#[cfg(feature = "serde")]
mod serialize;
mod set;
mod state;
mod text;

pub(crate) use cap::NAMED;
#[cfg(feature = "cli")]
pub(crate) use cap::number;
pub use cap::{Cap, InvalidNumber};
pub use external::ExternalError;
pub use iab::Iab;
pub use mode::{Mode, UncertainMode};
pub use names::UnknownCap;
#[cfg(feature = "cli")]
pub use names::likeness;
#[cfg(feature = "settings")]
#[cfg_attr(not(feature = "cli"), expect(unreachable_pub, reason = "only the tools export it"))]
pub use names::most_alike;
pub use parse::ParseError;
pub use securebits::Securebits;
pub use set::{CapIter, CapSet};
pub use state::CapState;

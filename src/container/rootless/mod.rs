//! Containers without capabilities: the settings and images with some changes, and the lines for a
//! Dockerfile, a command line and a Compose file.

mod edits;
mod lines;
mod trial;

pub(super) use edits::Edits;
pub(super) use trial::own_volume;
pub use trial::{ImageLines, Rootless};

//! Command lines whose program asks another one to run a container or a service, and containers as
//! trials of a search.
//!
//! `docker run` is a client: the container is a child of the engine, so a recording of the client
//! and its descendants shows nothing of the container. [`Delegation::of`] recognizes such a command
//! line. [`Container`] runs the container of one with given capabilities.

mod client;
mod engine;
mod invocation;
mod trial;
mod view;

pub use client::{Client, Delegation, is_remote};
pub use engine::{Engine, Failed};
pub use invocation::Invocation;
pub use trial::{Container, Setup};

#[cfg(test)]
mod tests;

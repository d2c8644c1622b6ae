//! Command lines whose program asks another one to run a container or a service.
//!
//! `docker run` is a client: the container is a child of the engine, so a recording of the client
//! and its descendants shows nothing of the container. [`Delegation::of`] recognizes such a command
//! line.

mod client;

pub use client::{Client, Delegation, is_remote};

#[cfg(test)]
mod tests;

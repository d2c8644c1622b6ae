//! Command lines whose program asks another one to run a container or a service, and containers as
//! trials of a search.
//!
//! `docker run` is a client: the container is a child of the engine, so a recording of the client
//! and its descendants shows nothing of the container. [`Delegation::of`] recognizes such a command
//! line, and a [`Recipe`] has the way to create its container: [`Invocation`] for `docker run`,
//! [`Service`] for Compose, [`Manifest`] for `podman kube play`, and [`Bundle`] for an OCI runtime. [`Container`] runs such containers with given capabilities.

mod bundle;
mod by_engine;
mod by_runtime;
mod client;
mod composed;
mod engine;
mod invocation;
mod manifest;
mod one_off;
mod project;
mod recipe;
mod rootless;
mod service;
mod trial;
mod view;

pub use bundle::Bundle;
pub use client::{Client, Delegation, is_remote};
pub use engine::{Engine, Failed};
pub use invocation::Invocation;
use invocation::bare;
pub use manifest::Manifest;
pub use recipe::Recipe;
use rootless::{Edits, own_volume};
pub use rootless::{ImageLines, Rootless};
pub use service::Service;
pub use trial::{Container, Setup};

#[cfg(test)]
mod tests;

//! The calling thread and all threads of the process: their privileges, read and changed.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

mod iab;
mod kernel;
mod mode;
mod state;
mod text;

pub mod ambient;
pub mod bounding;
pub mod identity;
pub mod no_new_privs;
pub mod securebits;
pub mod threads;

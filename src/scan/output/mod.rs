//! The formats of a scan: each is a writer over the same values.

pub mod json;
pub mod table;

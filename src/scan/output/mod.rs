//! The formats of a scan: each is a writer over the same values.

pub mod html;
pub mod json;
pub mod junit;
pub mod prometheus;
pub mod sarif;
pub mod table;

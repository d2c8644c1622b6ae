//! What the commands have in common in their JSON. (docs/json.md)

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use serde_json::{Map, Value, json};

/// The version of every schema. It changes when a field goes or means something else.
pub(crate) const SCHEMA: u32 = 1;

/// Puts a name of any bytes into `object`: as text under `key`, with U+FFFD for what is none, and
/// if there is such exactly under `key_bytes`, as a list of numbers.
pub(crate) fn insert_name(object: &mut Map<String, Value>, key: &str, name: &OsStr) {
    object.insert(key.to_owned(), name.to_string_lossy().into());
    if name.to_str().is_none() {
        object.insert(format!("{key}_bytes"), json!(name.as_bytes()));
    }
}

//! Capabilities and words, spelled as the formats take them.

use std::fmt::Write;

use crate::{Cap, CapSet};

/// Returns the name as systemd and OCI runtimes have it, such as `CAP_NET_RAW`. A capability
/// without a name is its number.
pub(super) fn constant(cap: Cap) -> String {
    cap.constant_name().map_or_else(|| cap.to_string(), str::to_owned)
}

/// Returns the name as container engines have it, such as `NET_RAW`. They do not take the number
/// of a capability without a name.
pub(super) fn bare(cap: Cap) -> String {
    let name = constant(cap);
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

pub(super) fn list(caps: CapSet, spell: impl Fn(Cap) -> String, separator: &str) -> String {
    caps.iter().map(spell).collect::<Vec<_>>().join(separator)
}

/// Returns a string of JSON, which is one of YAML too. The writers do not use serde, which the
/// library depends on only to read.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted + "\""
}

/// Returns a text as one word of the shell, quoted if it has to be.
///
/// ```
/// use rcap::settings::shell_word;
///
/// assert_eq!(shell_word("/usr/bin/nc"), "/usr/bin/nc");
/// assert_eq!(shell_word("a b"), "'a b'");
/// ```
pub fn shell_word(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.:,+@/".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns a set in a sentence: its names, or how many they are.
pub(crate) fn few(caps: CapSet) -> String {
    if caps.len() <= 4 { caps.to_string() } else { format!("{} capabilities", caps.len()) }
}

#[cfg(all(test, feature = "settings"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The readers of JSON and of YAML get the text back.
        #[test]
        fn quoted_strings(text in any::<String>(), char in any::<char>()) {
            for text in [&text, &char.to_string(), &format!("\u{85}\u{2028}\u{feff}{text}")] {
                let quoted = quoted(text);
                prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), text);
                let read = serde_saphyr::from_str::<String>(&quoted);
                prop_assert_eq!(&read.unwrap(), text);
            }
        }
    }
}

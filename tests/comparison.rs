//! docs/comparison.md names only public items of the library.

use std::{collections::HashSet, fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the text of all sources below a directory.
fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        text += &if path.is_dir() { sources(&path) } else { fs::read_to_string(path).unwrap() };
    }
    text
}

/// Returns the identifier at the start of a text.
fn identifier(text: &str) -> &str {
    text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap_or_default()
}

/// Returns the names that the sources declare as public, as variants with fields, or with bitflags.
fn declared(sources: &str) -> HashSet<String> {
    let words = ["fn", "const", "unsafe", "struct", "enum", "mod", "type"];
    let lines = sources.lines().map(str::trim_start).filter_map(|line| {
        let is_variant = line.starts_with(char::is_uppercase) && line.ends_with(" {");
        let flag = line.strip_prefix("const ").filter(|flag| flag.contains(" = "));
        let mut rest = line.strip_prefix("pub ").or(flag).or(is_variant.then_some(line))?;
        while words.contains(&identifier(rest)) {
            rest = rest[identifier(rest).len()..].trim_start();
        }
        Some(identifier(rest).to_owned())
    });
    // A table declares the capabilities: number, constant, name.
    let caps = sources.lines().filter(|line| line.contains(" \"cap_"));
    let caps = caps.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned);
    lines.chain(caps).collect()
}

/// Names that a derive or bitflags creates.
const DERIVED: [&str; 9] = [
    "all",
    "bits",
    "contains",
    "default",
    "empty",
    "from_bits_retain",
    "intersection",
    "is_empty",
    "union",
];

#[test]
fn every_name_of_rcap_is_public() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/comparison.md")).unwrap();
    let declared = declared(&sources(&Path::new(ROOT).join("src")));
    let is_public = |name: &str| declared.contains(name) || DERIVED.contains(&name);
    let mut checked = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cell = row.split(" | ").nth(1).unwrap_or_default();
        for path in cell.split('`').skip(1).step_by(2).filter(|text| text.contains("::")) {
            assert!(path.split("::").all(is_public), "{row}: {path} is not public");
            checked += 1;
        }
    }
    // A change of the page's format must not hide rows.
    assert_eq!(checked, 225);
}

//! docs/comparison.md names nothing that the library does not have.

use std::{fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The text of all sources below a directory.
fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        text += &if path.is_dir() { sources(&path) } else { fs::read_to_string(path).unwrap() };
    }
    text
}

/// What bitflags gives a set.
const OF_BITFLAGS: [&str; 9] = [
    "all",
    "bits",
    "contains",
    "empty",
    "from_bits_retain",
    "insert",
    "intersection",
    "is_empty",
    "union",
];

#[test]
fn every_name_of_rcap_is_public() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/comparison.md")).unwrap();
    let sources = sources(&Path::new(ROOT).join("src"));
    let is_public = |name: &str| {
        let declared =
            ["fn ", "const fn ", "unsafe fn ", "struct ", "enum ", "const ", "mod ", "type "];
        declared.iter().any(|kind| {
            [" ", "(", "<", ":", ";", "\n"]
                .iter()
                .any(|end| sources.contains(&format!("pub {kind}{name}{end}")))
        }) || sources.contains(&format!("pub {name}: "))
            || sources.contains(&format!("\"cap_{}\"", name.to_lowercase()))
            || sources.contains(&format!("    {name} {{\n"))
            || sources.contains(&format!("const {name} = "))
    };
    let mut checked = 0;
    let rows = page.lines().filter(|line| line.starts_with("| "));
    for row in rows {
        let Some(cell) = row.split(" | ").nth(1) else { continue };
        for path in cell.split('`').skip(1).step_by(2).filter(|text| text.contains("::")) {
            for name in path.split("::") {
                let known = is_public(name) || name == "default" || OF_BITFLAGS.contains(&name);
                assert!(known, "{row}: {path} is not public");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, CHECKED);
}

/// The paths in the second columns of the page, so that none is lost to a change of its form.
const CHECKED: usize = 221;

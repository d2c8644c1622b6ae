//! JUnit's XML, which continuous integration servers show: a test case for each program.

use std::fmt::{self, Write};

use crate::scan::Finding;

/// Returns the document for the programs that were checked, by their subjects, and their
/// violations.
pub fn document(subjects: &[String], violations: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_all(&mut text, subjects, violations);
    text
}

fn write_all(out: &mut String, subjects: &[String], violations: &[Finding]) -> fmt::Result {
    let failed = subjects.iter().filter(|one| violations.iter().any(|v| v.subject == **one));
    let (tests, failures) = (subjects.len(), failed.count());
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\"");
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuites {counts}>\n<testsuite name=\"rcap check\" {counts} skipped=\"0\" time=\"0\">"
    )?;
    for subject in subjects {
        write!(
            out,
            "<testcase classname=\"rcap.check\" name=\"{}\" time=\"0\">",
            Escaped(subject)
        )?;
        for violation in violations.iter().filter(|one| one.subject == *subject) {
            let (text, id) = (Escaped(&violation.text), violation.rule.id);
            let fix = Escaped(violation.rule.fix);
            write!(out, "\n<failure message=\"{text}\" type=\"{id}\">{text}. {fix}</failure>")?;
        }
        writeln!(out, "</testcase>")?;
    }
    writeln!(out, "</testsuite>\n</testsuites>")
}

/// Text in an element or an attribute. XML has no way to write most control characters.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&apos;"),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => {
                write!(f, "{}", char.escape_unicode())
            }
            char => f.write_char(char),
        })
    }
}

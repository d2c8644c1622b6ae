//! SARIF 2.1.0, for code scanning. (OASIS Static Analysis Results Interchange Format)

use std::{os::unix::ffi::OsStrExt, path::Path};

use serde_json::{Value, json};

use crate::scan::{Finding, Rule, Severity};

/// Returns the log of one run: the rules that findings can have, and the findings.
pub fn document(rules: &[Rule], findings: &[Finding]) -> Value {
    let rule = |rule: &Rule| {
        json!({
            "id": rule.id,
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.explanation},
            "help": {"text": rule.fix},
        })
    };
    let result = |finding: &Finding| {
        let message = match &finding.route {
            Some(route) => format!("{}: {}. Way to root: {route}", finding.subject, finding.text),
            None => format!("{}: {}", finding.subject, finding.text),
        };
        let location = match &finding.path {
            Some(path) => json!({"physicalLocation": {"artifactLocation": {"uri": uri(path)}}}),
            None => json!({"logicalLocations": [{"fullyQualifiedName": finding.subject}]}),
        };
        json!({
            "ruleId": finding.rule.id,
            "ruleIndex": rules.iter().position(|rule| rule.id == finding.rule.id),
            "level": level(finding.severity),
            "message": {"text": message},
            "locations": [location],
            "partialFingerprints": {"rcapKey/v1": finding.key},
            "properties": {"severity": finding.severity.name()},
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rcap",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            }},
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// Returns a path as a URI reference: absolute ones as `file://`. (RFC 3986, RFC 8089)
fn uri(path: &Path) -> String {
    let mut uri = String::from(if path.is_absolute() { "file://" } else { "" });
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = std::fmt::Write::write_fmt(&mut uri, format_args!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        assert_eq!(
            uri(Path::new("/usr/bin/a b%\n\u{e9}:c")),
            "file:///usr/bin/a%20b%25%0A%C3%A9%3Ac"
        );
        assert_eq!(uri(Path::new("deploy/web.yaml")), "deploy/web.yaml");
    }
}

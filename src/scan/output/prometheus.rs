//! Metrics in the text format of Prometheus, for the textfile collector of `node_exporter`.

use std::fmt::{self, Write};

use crate::scan::{Finding, Inventory, PrivilegedFile, PrivilegedProcess, RULES, Severity};

/// Returns the metrics. A rule or a severity without entries is there with the value 0.
pub fn metrics(inventory: &Inventory, findings: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_all(&mut text, inventory, findings);
    text
}

fn write_all(out: &mut String, inventory: &Inventory, findings: &[Finding]) -> fmt::Result {
    head(out, "findings", "Findings of rcap scan.")?;
    for rule in RULES {
        for severity in Severity::ALL {
            let is_one = |one: &&Finding| one.rule.id == rule.id && one.severity == severity;
            let count = findings.iter().filter(is_one).count();
            // Not every rule has every severity.
            if count > 0 || severity == Severity::Low {
                let id = rule.id;
                writeln!(out, "rcap_scan_findings{{id=\"{id}\",severity=\"{severity}\"}} {count}")?;
            }
        }
    }
    let files: Vec<_> = inventory.files.iter().map(PrivilegedFile::severity).collect();
    by_severity(out, "files", "Files with capabilities or set-ID bits.", &files)?;
    let processes: Vec<_> = inventory.processes.iter().map(PrivilegedProcess::severity).collect();
    by_severity(out, "processes", "Processes with capabilities.", &processes)?;
    head(out, "complete", "Whether everything could be read.")?;
    writeln!(out, "rcap_scan_complete {}", u8::from(inventory.unread.is_empty()))?;
    head(out, "timestamp_seconds", "Time of the scan.")?;
    writeln!(out, "rcap_scan_timestamp_seconds {}", inventory.host.seconds)
}

fn head(out: &mut String, name: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP rcap_scan_{name} {help}\n# TYPE rcap_scan_{name} gauge")
}

fn by_severity(out: &mut String, name: &str, help: &str, all: &[Severity]) -> fmt::Result {
    head(out, name, help)?;
    for severity in Severity::ALL {
        let count = all.iter().filter(|one| **one == severity).count();
        writeln!(out, "rcap_scan_{name}{{severity=\"{severity}\"}} {count}")?;
    }
    Ok(())
}

//! Baselines: entries and findings that were known before, and are left out of a report.
//!
//! A baseline is a text: a line for each entry and each finding, in order, so that two of them can
//! be compared with diff(1) and kept under version control.

use std::collections::BTreeSet;

use super::{Finding, Inventory, PrivilegedFile, PrivilegedProcess, Socket, encode};

/// The first line of the text.
const TITLE: &str = "# rcap scan baseline 1";

/// The entries and findings of an earlier scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline(BTreeSet<String>);

/// The error for a text that is not a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotABaseline;

impl std::fmt::Display for NotABaseline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a baseline: the first line is not {TITLE:?}")
    }
}

impl std::error::Error for NotABaseline {}

impl Baseline {
    /// Returns what is known of an inventory and its findings. Process ids are left out, since they
    /// are others after the next start.
    pub fn new(inventory: &Inventory, findings: &[Finding]) -> Baseline {
        let files = inventory.files.iter().map(file_key);
        let processes = inventory.processes.iter().map(|one| format!("process {}", one.key()));
        let sockets = inventory.sockets.iter().map(|socket| socket_key(socket, inventory));
        let findings = findings.iter().map(|finding| format!("finding {}", finding.key));
        Baseline(files.chain(processes).chain(sockets).chain(findings).collect())
    }

    /// Returns the baseline that [`to_text`](Baseline::to_text) wrote.
    ///
    /// # Errors
    ///
    /// The first line is not that of a baseline.
    pub fn parse(text: &str) -> Result<Baseline, NotABaseline> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(NotABaseline);
        }
        // `lines` removes one carriage return of a line's end.
        let lines = lines.map(|line| line.trim_end_matches('\r'));
        let is_entry = |line: &&str| !line.is_empty() && !line.starts_with('#');
        Ok(Baseline(lines.filter(is_entry).map(str::to_owned).collect()))
    }

    /// Returns the text: a title, and the entries in order.
    pub fn to_text(&self) -> String {
        let lines = self.0.iter().map(|line| format!("{line}\n"));
        format!("{TITLE}\n{}", lines.collect::<String>())
    }

    /// Removes everything that is known from an inventory and its findings.
    pub fn retain_new(&self, inventory: &mut Inventory, findings: &mut Vec<Finding>) {
        let is_new = |key: String| !self.0.contains(&key);
        findings.retain(|finding| is_new(format!("finding {}", finding.key)));
        inventory.files.retain(|file| is_new(file_key(file)));
        let mut sockets = std::mem::take(&mut inventory.sockets);
        sockets.retain(|socket| is_new(socket_key(socket, inventory)));
        inventory.sockets = sockets;
        inventory.processes.retain(|process| is_new(format!("process {}", process.key())));
        let pids: BTreeSet<u32> = inventory.processes.iter().map(|one| one.status.pid).collect();
        for groups in [&mut inventory.units, &mut inventory.containers] {
            groups.retain(|group| group.pids.iter().any(|pid| pids.contains(pid)));
        }
    }
}

fn file_key(file: &PrivilegedFile) -> String {
    let PrivilegedFile { path, mode, uid, gid, .. } = file;
    format!("file {} {mode:04o} {uid}:{gid} {}", encode(path), file.power())
}

fn socket_key(socket: &Socket, inventory: &Inventory) -> String {
    let owner = |pid: &u32| inventory.processes.iter().find(|one| one.status.pid == *pid);
    let owner = socket.pids.iter().find_map(owner).map(PrivilegedProcess::name);
    let owner = owner.unwrap_or_else(|| "-".into());
    format!("socket {} {} {owner}", socket.protocol.name(), socket.place())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::findings;

    #[test]
    fn what_is_new() {
        let file = |path: &str, mode| PrivilegedFile {
            path: path.into(),
            mode,
            owner: Some("root".into()),
            ..PrivilegedFile::default()
        };
        let files = vec![file("/bin/sh", 0o4755), file("/bin/a\nb", 0o4755)];
        let mut inventory = Inventory { files, ..Inventory::default() };
        let all = findings(&inventory);
        assert_eq!(all.len(), 1);
        let text = Baseline::new(&inventory, &all).to_text();
        assert_eq!(
            text,
            "# rcap scan baseline 1\nfile /bin/a\\012b 4755 0:0 set-uid root\n\
             file /bin/sh 4755 0:0 set-uid root\n\
             finding file-interpreter /bin/sh set-uid root\n"
        );
        let baseline = Baseline::parse(&text).unwrap();
        let (mut same, mut none) = (inventory.clone(), all.clone());
        baseline.retain_new(&mut same, &mut none);
        assert_eq!((same.files.len(), none.len()), (0, 0));
        // Another mode is news.
        inventory.files[0].mode = 0o6755;
        let mut all = findings(&inventory);
        baseline.retain_new(&mut inventory, &mut all);
        assert_eq!((inventory.files.len(), all.len()), (1, 1));
        assert_eq!(Baseline::parse("x\n"), Err(NotABaseline));
    }
}

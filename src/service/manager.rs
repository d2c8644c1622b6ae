//! The system manager, through systemctl(1).

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use super::{Facts, Failed};
use crate::launch::helper;

/// The system manager of this machine, through its clients.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Manager {}

impl Manager {
    /// Returns a command of a client, without input and in a process group of its own: Ctrl-C is
    /// for this process, which then restores the unit.
    pub(super) fn command(self, client: &str, args: &[&str]) -> Command {
        let mut command = helper(client);
        command.args(args).stdin(Stdio::null()).process_group(0);
        command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
        command
    }

    /// Runs systemctl(1), and returns its standard output.
    pub(super) fn systemctl(self, args: &[&str]) -> Result<String, Failed> {
        self.output("systemctl", &[&["--no-ask-password"], args].concat())
    }

    /// Runs a client, and returns its standard output.
    pub(super) fn output(self, client: &str, args: &[&str]) -> Result<String, Failed> {
        let failed = |message: String| {
            let verb = args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or_default();
            Failed::Client { command: format!("{client} {verb}"), message }
        };
        let output = self.command(client, args).output();
        let output = output.map_err(|err| failed(err.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(failed(first_line(&output.stderr)))
    }

    /// Returns the facts about a unit, by any of its names.
    ///
    /// # Errors
    ///
    /// systemctl(1) cannot be run, or does not reach the system manager.
    pub fn facts(self, name: &str) -> Result<Facts, Failed> {
        let properties = format!("--property={}", Facts::PROPERTIES.join(","));
        Ok(Facts::parse(&self.systemctl(&["show", &properties, "--", name])?))
    }

    /// Returns the active units that systemd stops when it stops this one, in the order in which
    /// they are listed.
    pub(super) fn dependents(self, unit: &Facts) -> Result<Vec<String>, Failed> {
        /// A bound for a graph that may have cycles.
        const MOST: usize = 256;
        let mut names = unit.dependents().to_vec();
        let mut active = Vec::new();
        let mut at = 0;
        while let Some(name) = names.get(at).filter(|_| at < MOST).cloned() {
            at += 1;
            let facts = self.facts(&name)?;
            if facts.activity().is_up() {
                active.push(facts.id().to_owned());
                let new = facts.dependents().iter().filter(|name| !names.contains(name));
                let new: Vec<String> = new.cloned().collect();
                names.extend(new);
            }
        }
        Ok(active)
    }

    /// Returns the last line that the service printed in this invocation, or the first error about
    /// it. The text is empty if the journal has neither. (journalctl(1))
    pub(super) fn last_line(self, invocation: &str) -> String {
        let is_id =
            invocation.len() == 32 && invocation.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            return String::new();
        }
        let own = format!("_SYSTEMD_INVOCATION_ID={invocation}");
        let about = format!("INVOCATION_ID={invocation}");
        let ask = |args: &[&str]| {
            let common = ["--quiet", "--no-pager", "--output=cat"];
            self.output("journalctl", &[&common[..], args].concat()).unwrap_or_default()
        };
        // The lines of a service that has just ended may still be on their way.
        let _ = self.output("journalctl", &["--sync"]);
        let is_text = |line: &&str| !line.trim().is_empty();
        let text = ask(&["--lines=20", &own]);
        if let Some(line) = text.lines().rfind(is_text) {
            return line.trim().to_owned();
        }
        let text = ask(&["--priority=err", &about]);
        text.lines().find(is_text).unwrap_or_default().trim().to_owned()
    }
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("failed without a message").to_owned()
}

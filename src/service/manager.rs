//! The system manager, through systemctl(1).

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use super::{Facts, Failed};
use crate::launch::helper;

/// Returns a command of a client, without input and in a process group of its own: Ctrl-C is
/// for this process, which then restores the unit.
pub(super) fn command(client: &str, args: &[&str]) -> Command {
    let mut command = helper(client);
    command.args(args).stdin(Stdio::null()).process_group(0);
    command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
    command
}

/// Runs systemctl(1), and returns its standard output.
pub(super) fn systemctl(args: &[&str]) -> Result<String, Failed> {
    output("systemctl", &[&["--no-ask-password"], args].concat())
}

/// Runs a client, and returns its standard output.
pub(super) fn output(client: &str, args: &[&str]) -> Result<String, Failed> {
    let failed = |message: String| {
        let verb = args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or_default();
        Failed::Client { command: format!("{client} {verb}"), message }
    };
    let output = command(client, args).output().map_err(|err| failed(err.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(first_line(&output.stderr)))
}

/// Returns the active units that systemd stops when it stops this one, in the order in which
/// they are listed.
pub(super) fn dependents(unit: &Facts) -> Result<Vec<String>, Failed> {
    /// A bound for a graph that may have cycles.
    const MOST: usize = 256;
    let mut names = unit.dependents().to_vec();
    let mut active = Vec::new();
    let mut at = 0;
    while let Some(name) = names.get(at).filter(|_| at < MOST).cloned() {
        at += 1;
        let facts = Facts::of(&name)?;
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
pub(super) fn last_line(invocation: &str) -> String {
    let is_id = invocation.len() == 32 && invocation.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return String::new();
    }
    let own = format!("_SYSTEMD_INVOCATION_ID={invocation}");
    let about = format!("INVOCATION_ID={invocation}");
    let ask = |args: &[&str]| {
        let common = ["--quiet", "--no-pager", "--output=cat"];
        output("journalctl", &[&common[..], args].concat()).unwrap_or_default()
    };
    // The lines of a service that has just ended may still be on their way.
    let _ = output("journalctl", &["--sync"]);
    let is_text = |line: &&str| !line.trim().is_empty();
    let text = ask(&["--lines=20", &own]);
    if let Some(line) = text.lines().rfind(is_text) {
        return line.trim().to_owned();
    }
    let text = ask(&["--priority=err", &about]);
    text.lines().find(is_text).unwrap_or_default().trim().to_owned()
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("failed without a message").to_owned()
}

//! The system manager, through systemctl(1).

use std::{
    env,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{Facts, Failed};
use crate::launch::helper;

/// The system manager, or the manager of the calling user's services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Manager {
    /// The manager of the machine.
    #[default]
    System,
    /// The manager of the user, as with `systemctl --user`.
    User,
}

impl Manager {
    /// Returns the option of the clients that selects the manager.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Manager::System => "--system",
            Manager::User => "--user",
        }
    }

    /// Runs systemctl(1), and returns its standard output.
    pub(super) fn systemctl(self, args: &[&str]) -> Result<String, Failed> {
        output("systemctl", &[&[self.option(), "--no-ask-password"], args].concat())
    }

    /// Returns the directory of units that end with the machine's uptime, or with the user's last
    /// session. (systemd.unit(5))
    pub(super) fn runtime_directory(self) -> Result<PathBuf, Failed> {
        Ok(match self {
            Manager::System => PathBuf::from("/run/systemd/system"),
            Manager::User => directory("XDG_RUNTIME_DIR", None)?.join("systemd/user"),
        })
    }

    /// Returns the directory of units that stay.
    pub(super) fn directory(self) -> Result<PathBuf, Failed> {
        Ok(match self {
            Manager::System => PathBuf::from("/etc/systemd/system"),
            Manager::User => directory("XDG_CONFIG_HOME", Some(".config"))?.join("systemd/user"),
        })
    }
}

/// Returns an absolute directory that the environment names, or one below the home directory.
fn directory(variable: &str, below_home: Option<&str>) -> Result<PathBuf, Failed> {
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(of("HOME")?.join(below_home?));
    of(variable)
        .or_else(home)
        .ok_or_else(|| Failed::Unfit(format!("{variable} is not set: who is the user?")))
}

/// Returns a command of a client, without input and in a process group of its own: Ctrl-C is
/// for this process, which then restores the unit.
pub(super) fn command(client: &str, args: &[&str]) -> Command {
    let mut command = helper(client);
    command.args(args).stdin(Stdio::null()).process_group(0);
    command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
    command
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

/// Returns the text of a unit and of its drop-in files, in the order in which they are read.
pub(super) fn systemctl_cat(unit: &Facts) -> Result<String, Failed> {
    unit.manager().systemctl(&["cat", "--", unit.id()])
}

/// How much of the machine a unit can reach, as `systemd-analyze security` rates it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exposure {
    /// From 0 to 10; less is better.
    pub score: f64,
    /// The score in a word, such as `UNSAFE`.
    pub level: String,
}

/// Returns the exposure of a unit with the settings that systemd has read.
///
/// # Errors
///
/// systemd-analyze(1) cannot be run, or prints no score.
pub fn exposure(unit: &Facts) -> Result<Exposure, Failed> {
    let args = [unit.manager().option(), "security", "--no-pager", "--", unit.id()];
    let text = output("systemd-analyze", &args)?;
    parse_exposure(&text).ok_or_else(|| Failed::Client {
        command: "systemd-analyze security".to_owned(),
        message: "it prints no score".to_owned(),
    })
}

fn parse_exposure(text: &str) -> Option<Exposure> {
    let line = text.lines().rfind(|line| line.contains("exposure level"))?;
    let mut words = line.rsplit_once(": ")?.1.split_whitespace();
    let score = words.next()?.parse().ok().filter(|score| (0.0..=10.0).contains(score))?;
    Some(Exposure { score, level: words.next()?.to_owned() })
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
        let facts = Facts::of(unit.manager(), &name)?;
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
pub(super) fn last_line(unit: &Facts) -> String {
    let invocation = unit.get("InvocationID");
    let is_id = invocation.len() == 32 && invocation.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return String::new();
    }
    let own = format!("_SYSTEMD_INVOCATION_ID={invocation}");
    let about = match unit.manager() {
        Manager::System => format!("INVOCATION_ID={invocation}"),
        Manager::User => format!("USER_INVOCATION_ID={invocation}"),
    };
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

pub(super) fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("failed without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposures() {
        let line = |text: &str| format!("NAME DESCRIPTION\n\n→ Overall exposure level {text}\n");
        #[rustfmt::skip]
        let rows = [
            ("for a.service: 9.6 UNSAFE :-{", Some((9.6, "UNSAFE"))),
            ("for a: b.service: 0.8 SAFE",    Some((0.8, "SAFE"))),
            ("for a.service: n/a",            None),
            ("for a.service: NaN UNSAFE",     None),
        ];
        for (text, want) in rows {
            let want = want.map(|(score, level)| Exposure { score, level: level.to_owned() });
            assert_eq!(parse_exposure(&line(text)), want, "{text}");
        }
        assert_eq!(parse_exposure(""), None);
    }
}

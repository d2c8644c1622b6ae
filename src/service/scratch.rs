//! Units that rcap creates for its runs, in the place of one that systemd-run(1) would start or of
//! one that stays as it is.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Facts, Failed, Manager,
    copies::{require_fixed, with_binds},
    drop_in::write,
    manager::{output, systemctl_cat},
};
use crate::{
    container::{Client, Delegation},
    settings::{shell_word, unit_words},
};

/// The beginning of the name of every such unit.
const PREFIX: &str = "rcap-scratch-";
/// The directories that systemd creates for a unit, and where they are. (systemd.exec(5))
pub(super) const DIRECTORIES: [(&str, &str); 4] = [
    ("RuntimeDirectory", "/run"),
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
];

/// A unit that exists as long as this value. If the process is killed during a
/// [`Session`](super::Session), the unit is removed when systemd restores it.
#[derive(Debug)]
pub struct Scratch {
    manager: Manager,
    name: String,
    path: PathBuf,
    /// The directories of a copy, and those in whose places they are.
    binds: Vec<[PathBuf; 2]>,
}

impl Scratch {
    /// Creates the unit that a command line of systemd-run(1) would start. It is not started.
    ///
    /// # Errors
    ///
    /// Another program, options that start the unit later or elsewhere, and failures of the client.
    pub fn of_command(command: &Delegation) -> Result<Scratch, Failed> {
        let (manager, options) = options(command)?;
        let program = command.after.first().filter(|_| command.client == Client::SystemdRun);
        let Some(program) = program else {
            return Err(unfit("it does not name a program"));
        };
        let stem = program.rsplit('/').next().unwrap_or(program);
        let scratch = Scratch::new(manager, stem)?;
        // A timer that does not elapse makes systemd write the unit without starting it.
        let new = format!("rcap-new-{}", std::process::id());
        let unit = [format!("--unit={new}"), "--on-active=1d".to_owned(), "--".to_owned()];
        let words = options.iter().chain(&unit).chain(&command.after).map(String::as_str);
        let common = [manager.option(), "--quiet", "--no-ask-password"];
        output("systemd-run", &common.into_iter().chain(words).collect::<Vec<_>>())?;
        let service = format!("{new}.service");
        let read = || -> Result<(Shown, String), Failed> {
            let shown = Shown::of(manager, &service)?;
            let path = PathBuf::from(shown.get("FragmentPath"));
            let text = fs::read_to_string(&path).map_err(|err| failed(&path, &err))?;
            Ok((shown, text))
        };
        let read = read();
        manager.systemctl(&["stop", "--", &format!("{new}.timer")])?;
        let (shown, text) = read?;
        // systemd 252 escapes semicolons in its own files, and reads the backslashes as well.
        for text in [text.clone(), text.replace("\\;", ";")] {
            scratch.write(&text)?;
            if Shown::of(manager, &scratch.name)?.command() == shown.command() {
                return Ok(scratch);
            }
        }
        Err(unfit("systemd does not read the command as it was written"))
    }

    /// Creates a copy of a unit that has its own network, without other hosts, and copies of the
    /// directories that systemd creates for the unit. All other directories are read-only, so that
    /// the copy cannot disturb the unit.
    ///
    /// # Errors
    ///
    /// The unit cannot run twice, or a directory cannot be copied.
    pub fn copy_of(unit: &Facts) -> Result<Scratch, Failed> {
        let shown = Shown::of(unit.manager(), unit.id())?;
        if let Some(words) = shown.unique(unit) {
            return Err(Failed::Unfit(format!("it cannot run twice: {words}")));
        }
        let text = systemctl_cat(unit)?;
        if names_itself(&text) {
            return Err(unfit("it cannot run twice: its settings contain its own name (%n)"));
        }
        let stem = unit.id().trim_end_matches(".service").replace('@', "-");
        let mut scratch = Scratch::new(unit.manager(), &stem)?;
        let own = scratch.name.trim_end_matches(".service");
        let (lines, binds) = shown.private_lines(own)?;
        scratch.write(&(text + &lines))?;
        scratch.binds = binds;
        Ok(scratch)
    }

    /// Returns the name of the unit.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the manager of the unit.
    pub fn manager(&self) -> Manager {
        self.manager
    }

    /// Returns a shell command that runs `check` in the network of a copy, and with its directories:
    /// it must not reach the unit that was copied. It fails until the copy has a network.
    pub fn check(&self, check: &str) -> String {
        let (id, check) = (shell_word(&self.name), with_binds(&self.binds, check));
        format!(
            "p=$(systemctl show --property=MainPID --value -- {id}) && [ \"$p\" -gt 0 ] && \
             [ \"$(readlink /proc/$p/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ] && \
             exec nsenter --target \"$p\" --net -- {check}"
        )
    }

    fn new(manager: Manager, stem: &str) -> Result<Scratch, Failed> {
        let is_plain = |char: &char| char.is_ascii_alphanumeric() || "-_.".contains(*char);
        let stem: String = stem.chars().filter(is_plain).take(64).collect();
        let name = format!("{PREFIX}{}-{stem}.service", std::process::id());
        let path = manager.runtime_directory()?.join(&name);
        Ok(Scratch { manager, name, path, binds: Vec::new() })
    }

    fn write(&self, text: &str) -> Result<(), Failed> {
        let parent = self.path.parent().unwrap_or(&self.path);
        fs::create_dir_all(parent)
            .and_then(|()| write(&self.path, text))
            .map_err(|err| failed(&self.path, &err))?;
        self.manager.systemctl(&["daemon-reload"]).map(drop)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A session has removed it.
        let is_left = self.path.exists();
        let _ = fs::remove_file(&self.path);
        for path in directories(&self.name) {
            let _ = fs::remove_dir_all(path);
        }
        if is_left {
            let _ = self.manager.systemctl(&["daemon-reload"]);
        }
    }
}

/// Returns whether rcap has created the unit.
pub(super) fn is_scratch(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// Returns the directories of such a unit.
pub(super) fn directories(id: &str) -> Vec<PathBuf> {
    let own = id.trim_end_matches(".service");
    let is_own = is_scratch(own) && !own.contains('/');
    let bases = DIRECTORIES.iter().filter(|_| is_own);
    bases.map(|(_, base)| Path::new(base).join(own)).collect()
}

fn unfit(words: &str) -> Failed {
    Failed::Unfit(words.to_owned())
}

fn failed(path: &Path, err: &dyn std::fmt::Display) -> Failed {
    Failed::Unfit(format!("{}: {err}", path.display()))
}

/// Copies a directory with owners, modes and attributes.
fn copy_directory(from: &Path, to: &Path) -> Result<(), Failed> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).map_err(|err| failed(parent, &err))?;
    let [from, to] = [from, to].map(|path| path.display().to_string());
    output("cp", &["--archive", "--no-target-directory", "--", &from, &to]).map(drop)
}

/// Returns whether a unit's text has specifiers that another name changes. (systemd.unit(5))
fn names_itself(text: &str) -> bool {
    let is_setting = |line: &&str| !line.trim_start().starts_with(['#', ';']);
    text.lines().filter(is_setting).any(|line| {
        let line = line.replace("%%", "");
        line.match_indices('%').any(|(at, _)| {
            line[at + 1..].starts_with(['n', 'N', 'p', 'P', 'i', 'I', 'j', 'J', 'f'])
        })
    })
}

/// Returns the manager, and the options that apply to the unit, without those of its name and of
/// the client.
fn options(command: &Delegation) -> Result<(Manager, Vec<String>), Failed> {
    const CLIENT: [&str; 15] = [
        "-t",
        "--pty",
        "-P",
        "--pipe",
        "--wait",
        "-G",
        "--collect",
        "-q",
        "--quiet",
        "--no-block",
        "--no-ask-password",
        "--system",
        "--user",
        "--",
        "-T",
    ];
    let is_client = |word: &String| word.rsplit('/').next() == Some("systemd-run");
    let at = command.before.iter().position(is_client).map_or(0, |at| at + 1);
    let words = command.before.get(at..).unwrap_or_default();
    let is_user = words.iter().any(|word| word == "--user");
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.split_once('=').map_or(&**word, |(name, _)| name);
        let is_later = name.starts_with("--on-") || name.ends_with("-property");
        match name {
            "--scope" | "--shell" | "-S" => return Err(unfit("it does not start a service")),
            "-M" | "--machine" | "-H" | "--host" => return Err(unfit("it starts it elsewhere")),
            "--unit" | "-u" => {
                if !word.contains('=') {
                    words.next();
                }
            }
            _ if is_later => return Err(unfit("it starts the service later: leave that out")),
            _ if CLIENT.contains(&name) => {}
            _ if word.starts_with("-u") => {}
            _ => match cluster(word) {
                Some(rest) if rest.is_empty() => {}
                Some(rest) => kept.push(format!("-{rest}")),
                None => kept.push(word.clone()),
            },
        }
    }
    Ok((if is_user { Manager::User } else { Manager::System }, kept))
}

/// Returns the letters of several short options in one word that are not of the client.
fn cluster(word: &str) -> Option<String> {
    let letters = word.strip_prefix('-').filter(|rest| rest.len() > 1)?;
    let is_cluster = letters.chars().all(|char| "tPTGqdr".contains(char));
    is_cluster.then(|| letters.chars().filter(|char| "dr".contains(*char)).collect())
}

/// Properties of a unit that decide whether it can run twice, and its command.
struct Shown(BTreeMap<String, String>);

impl Shown {
    fn of(manager: Manager, name: &str) -> Result<Shown, Failed> {
        const KEYS: &str = "FragmentPath,ExecStart,PIDFile,BusName,RootDirectory,RootImage,\
                            NetworkNamespacePath,DynamicUser,RuntimeDirectory,StateDirectory,\
                            CacheDirectory,LogsDirectory,ReadWritePaths";
        let text = manager.systemctl(&["show", &format!("--property={KEYS}"), "--", name])?;
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Ok(Shown(lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()))
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// Returns the program and its arguments.
    fn command(&self) -> &str {
        let text = self.get("ExecStart");
        text.split_once(" ; ignore_errors=").map_or(text, |(command, _)| command)
    }

    /// Copies the directories of a unit to those of another one, and returns its lines. All others
    /// are read-only.
    fn private_lines(&self, own: &str) -> Result<(String, Vec<[PathBuf; 2]>), Failed> {
        let mut lines = String::from(
            "\n[Service]\nPrivateNetwork=yes\nProtectSystem=strict\nPrivateTmp=yes\n\
             ConfigurationDirectory=\nReadWritePaths=\n",
        );
        let bind = |lines: &mut String, from: &Path, to: &Path| {
            let _ = writeln!(lines, "BindPaths={}:{}", to.display(), from.display());
            if let Ok(file) = Path::new(self.get("PIDFile")).strip_prefix(from) {
                let _ = writeln!(lines, "PIDFile={}", to.join(file).display());
            }
        };
        let mut binds: Vec<[PathBuf; 2]> = Vec::new();
        for (key, base) in DIRECTORIES {
            let _ = writeln!(lines, "{key}=");
            for name in unit_words(self.get(key)).0 {
                let copy = format!("{own}/{name}");
                let [from, to] = [&name, &copy].map(|name| Path::new(base).join(name));
                if key == "StateDirectory" && from.is_dir() {
                    copy_directory(&from, &to)?;
                }
                let _ = writeln!(lines, "{key}={copy}");
                bind(&mut lines, &from, &to);
                binds.push([to, from]);
            }
        }
        for (at, path) in unit_words(self.get("ReadWritePaths")).0.iter().enumerate() {
            let from = Path::new(path.trim_start_matches(['-', '+']));
            if from.is_dir() && !binds.iter().any(|[_, done]| from.starts_with(done)) {
                let to = Path::new("/var/lib").join(own).join(format!("path{at}"));
                require_fixed(from)?;
                copy_directory(from, &to)?;
                bind(&mut lines, from, &to);
                binds.push([to, from.to_owned()]);
            }
        }
        Ok((lines, binds))
    }

    /// Returns the reason for which a unit can run only once.
    fn unique(&self, unit: &Facts) -> Option<String> {
        if unit.manager() == Manager::User {
            return Some("it is a unit of a user".to_owned());
        }
        let runtime = unit_words(self.get("RuntimeDirectory")).0;
        let is_own = |name: &String| {
            Path::new(self.get("PIDFile")).starts_with(Path::new("/run").join(name))
        };
        if !self.get("PIDFile").is_empty() && !runtime.iter().any(is_own) {
            return Some(format!("it has PIDFile={}", self.get("PIDFile")));
        }
        for key in ["BusName", "RootDirectory", "RootImage", "NetworkNamespacePath"] {
            if !self.get(key).is_empty() {
                return Some(format!("it has {key}={}", self.get(key)));
            }
        }
        if !unit.get("TriggeredBy").is_empty() {
            return Some(format!("{} starts it", unit.get("TriggeredBy")));
        }
        let has =
            |(key, _): &&(&str, &str)| *key != "RuntimeDirectory" && !self.get(key).is_empty();
        let key = DIRECTORIES.iter().find(has).filter(|_| self.get("DynamicUser") == "yes");
        key.map(|(key, _)| format!("it has DynamicUser= and {key}="))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<std::ffi::OsString> {
        line.split(' ').map(Into::into).collect()
    }

    #[test]
    fn options_of_the_unit() {
        #[rustfmt::skip]
        let rows = [
            ("systemd-run id",                                    "",                 false),
            ("sudo systemd-run --wait -P --unit=a -p A=b -- id",  "-p A=b",           false),
            ("systemd-run -u a --uid 5 -tG -dGr id",              "--uid 5 -dr",      false),
            ("systemd-run --user -ua --setenv=A=b id",            "--setenv=A=b",     true),
        ];
        for (line, want, is_user) in rows {
            let command = Delegation::of(&words(line)).unwrap();
            let (manager, kept) = options(&command).unwrap();
            assert_eq!(
                (kept.join(" "), manager == Manager::User),
                (want.to_owned(), is_user),
                "{line}"
            );
            assert_eq!(command.after, ["id"]);
        }
        for option in
            ["--on-active=5", "--on-calendar daily", "-M a", "--scope", "--path-property=A=b"]
        {
            let command = Delegation::of(&words(&format!("systemd-run {option} id"))).unwrap();
            assert!(options(&command).is_err(), "{option}");
        }
    }

    #[test]
    fn names_of_themselves() {
        #[rustfmt::skip]
        let rows = [
            ("ExecStart=/bin/a %t/b",     false),
            ("ExecStart=/bin/a %%n",      false),
            ("# %n",                      false),
            ("ExecStart=/bin/a --name=%n", true),
            ("StateDirectory=%p",         true),
            ("A=50%",                     false),
        ];
        for (text, want) in rows {
            assert_eq!(names_itself(text), want, "{text}");
        }
    }

    #[test]
    fn only_own_directories() {
        assert!(directories("nginx.service").is_empty());
        assert!(directories("rcap-scratch-1-../a.service").is_empty());
        let own = directories("rcap-scratch-1-a.service");
        assert_eq!(own[1], Path::new("/var/lib/rcap-scratch-1-a"));
    }
}

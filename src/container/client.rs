//! Recognition of programs that leave the work to another one.

use std::ffi::OsString;

use super::{Failed, Invocation};
use crate::settings::{after_wrappers, is_valued_global};

/// A program that asks another one to run containers or services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Client {
    /// `docker`
    Docker,
    /// `podman`
    Podman,
    /// `nerdctl`
    Nerdctl,
    /// `docker-compose`, `docker compose`, `podman-compose` and the like
    Compose,
    /// `runc`, `crun` and other OCI runtimes
    Runtime,
    /// `kubectl`
    Kubectl,
    /// `systemctl`
    Systemctl,
    /// `systemd-run`
    SystemdRun,
}

impl Client {
    /// Returns the client with this name of a program.
    fn of_program(name: &str) -> Option<Client> {
        Some(match name {
            "docker" => Client::Docker,
            "podman" => Client::Podman,
            "nerdctl" => Client::Nerdctl,
            "docker-compose" | "podman-compose" => Client::Compose,
            "runc" | "crun" => Client::Runtime,
            "kubectl" | "k3s" => Client::Kubectl,
            "systemctl" => Client::Systemctl,
            "systemd-run" => Client::SystemdRun,
            _ => return None,
        })
    }

    /// Returns the subcommands that start something. systemd-run has no subcommands.
    fn starts(self) -> &'static [&'static str] {
        match self {
            Client::Docker | Client::Podman | Client::Nerdctl => &[
                "run", "create", "start", "restart", "exec", "build", "buildx", "play", "stack",
                "service",
            ],
            Client::Compose => &["up", "run", "create", "start", "restart", "exec", "build"],
            Client::Runtime => &["run", "create", "start", "exec", "restore"],
            Client::Kubectl => &["run", "create", "apply", "exec", "debug"],
            Client::Systemctl => {
                &["start", "restart", "reload", "try-restart", "enable", "isolate"]
            }
            Client::SystemdRun => &[""],
        }
    }
}

/// A command line that makes another program start something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delegation {
    /// The program.
    pub client: Client,
    /// The program and its subcommand, such as `docker run`.
    pub name: String,
    /// The words before the subcommand: wrappers such as `sudo`, the program and its own options.
    pub before: Vec<String>,
    /// The subcommand.
    pub verb: String,
    /// The words after the subcommand.
    pub after: Vec<String>,
}

impl Delegation {
    /// Recognizes a command line whose program does not start the container or service itself.
    /// Returns `None` for all others, such as `ls` and `docker ps`.
    pub fn of(words: &[OsString]) -> Option<Delegation> {
        let words: Vec<String> =
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let at = after_wrappers(&words);
        let program = words.get(at)?;
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut client = Client::of_program(name)?;
        let mut shown = name.to_owned();
        let mut at = at + 1;
        let verb = loop {
            let Some(word) = words.get(at) else {
                // systemd-run has no subcommands.
                let verb = String::new();
                let is_alone = client == Client::SystemdRun;
                let (before, after) = (words, Vec::new());
                return is_alone.then_some(Delegation { client, name: shown, before, verb, after });
            };
            match &**word {
                "compose"
                    if matches!(client, Client::Docker | Client::Podman | Client::Nerdctl) =>
                {
                    client = Client::Compose;
                    shown.push_str(" compose");
                }
                "container" | "kube" if client != Client::Compose => {
                    shown = format!("{shown} {word}");
                }
                option if is_valued(client, option) => at += 1,
                option if option.starts_with('-') => {}
                _ if client == Client::SystemdRun => break String::new(),
                verb => break verb.to_owned(),
            }
            at += 1;
        };
        if !client.starts().contains(&&*verb) {
            return None;
        }
        let after = words.get(at + usize::from(!verb.is_empty())..).unwrap_or_default().to_vec();
        let name = if verb.is_empty() { shown } else { format!("{shown} {verb}") };
        Some(Delegation { client, name, before: words[..at].to_vec(), verb, after })
    }

    /// Returns whether it starts a new container with the options of `docker run`.
    pub fn is_run(&self) -> bool {
        matches!(self.client, Client::Docker | Client::Podman | Client::Nerdctl)
            && matches!(&*self.verb, "run" | "create")
    }

    /// Returns whether the client ends before the containers do.
    pub fn is_detached(&self) -> bool {
        let is_attached = |word: &String| ["-a", "--attach"].contains(&&**word);
        match (self.client, &*self.verb) {
            (Client::Docker | Client::Nerdctl, "run") => {
                Invocation::new(self).is_ok_and(|invocation| invocation.has("detach"))
            }
            (Client::Compose, "up" | "run") => {
                self.after.iter().any(|word| ["-d", "--detach", "--wait"].contains(&&**word))
            }
            _ => !self.after.iter().any(is_attached),
        }
    }

    /// Returns the engine's address in the words, if it is on another machine.
    pub fn remote(&self) -> Option<&str> {
        let mut words = self.before.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let address = match word.split_once('=') {
                Some(("-H" | "--host" | "--url" | "--context" | "-c" | "--connection", value)) => {
                    Some(value)
                }
                None if matches!(
                    word,
                    "-H" | "--host" | "--url" | "--context" | "-c" | "--connection" | "--remote"
                ) =>
                {
                    words.next()
                }
                _ => word.strip_prefix("-H").filter(|rest| rest.contains("://")),
            };
            if let Some(address) = address.filter(|address| is_remote(address)) {
                return Some(address);
            }
        }
        None
    }
}

/// An option of a subcommand: its names, whether it takes a value, and its meaning.
pub(super) type Known<M> = (&'static [&'static str], bool, M);

/// Returns the meaning and the value of an option. The value may be the next one of `words`.
///
/// # Errors
///
/// The option is unknown: nothing is known about the word that follows either.
pub(super) fn option<'a, M: Copy>(
    word: &str,
    words: &mut impl Iterator<Item = &'a String>,
    known: &[Known<M>],
) -> Result<(M, Option<String>), Failed> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let found = known.iter().find(|(names, ..)| names.contains(&name));
    let Some((_, is_valued, meaning)) = found else {
        return Err(Failed::Unfit(format!("unknown option {name}")));
    };
    let value = if *is_valued { value.or_else(|| words.next().cloned()) } else { value };
    Ok((*meaning, value))
}

/// Returns whether an engine's address is not a socket of this machine. A context other than the
/// default one can be anywhere.
pub fn is_remote(address: &str) -> bool {
    !(address.is_empty()
        || address == "default"
        || address.starts_with("unix://")
        || address.starts_with('/'))
}

/// Returns whether an option of the program itself takes the next word.
fn is_valued(client: Client, option: &str) -> bool {
    match client {
        Client::Compose => [
            "-f",
            "--file",
            "-p",
            "--project-name",
            "--profile",
            "--env-file",
            "--project-directory",
            "-H",
            "--host",
            "-c",
            "--context",
            "--parallel",
            "--ansi",
            "--progress",
            "--log-level",
        ]
        .contains(&option),
        Client::Runtime => {
            ["--root", "--log", "--log-format", "--criu", "--rootless", "--cgroup-manager"]
                .contains(&option)
        }
        Client::Kubectl => [
            "-n",
            "--namespace",
            "--context",
            "--kubeconfig",
            "-s",
            "--server",
            "--cluster",
            "--user",
        ]
        .contains(&option),
        Client::Systemctl => ["-H", "--host", "-M", "--machine", "-t", "--type"].contains(&option),
        Client::SystemdRun => [
            "-u",
            "--unit",
            "-p",
            "--property",
            "-E",
            "--setenv",
            "-H",
            "--host",
            "-M",
            "--machine",
            "--uid",
            "--gid",
            "--nice",
            "--slice",
            "--description",
            "--service-type",
        ]
        .contains(&option),
        _ => is_valued_global(option),
    }
}

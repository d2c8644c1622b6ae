//! An engine, through its client.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::Value;

use super::own_volume;
use crate::{
    Error, launch::helper, proc::Proc, rootless::Account, settings::after_wrappers, trace::Target,
};

/// The label of all containers and volumes that a measurement has made. Its value is the process.
pub(super) const LABEL: &str = "io.rcap.run";

/// An engine, through its client.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The client and its own options.
    words: Vec<String>,
    /// Whether the client itself starts containers, without a daemon.
    is_podman: bool,
}

/// The reason for which a container could not be run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failed {
    /// It could not be recorded or observed.
    Run(Error),
    /// The client of the engine has failed.
    Client {
        /// The subcommand.
        command: String,
        /// The last line of its standard error.
        message: String,
    },
    /// The command line cannot be measured, for this reason.
    Unfit(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Run(err) => write!(f, "{err}"),
            Failed::Client { command, message } => write!(f, "{command}: {message}"),
            Failed::Unfit(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failed::Run(err) => err.source(),
            _ => None,
        }
    }
}

impl From<Error> for Failed {
    fn from(err: Error) -> Failed {
        Failed::Run(err)
    }
}

impl Engine {
    /// Returns the engine that this client asks.
    pub fn new(words: &[String]) -> Engine {
        let program = words.get(after_wrappers(words)).map_or("docker", String::as_str);
        let is_podman = program.rsplit('/').next() == Some("podman");
        Engine { words: words.to_vec(), is_podman }
    }

    /// Returns whether containers are descendants of the client, and not of a daemon.
    pub(super) fn is_podman(&self) -> bool {
        self.is_podman
    }

    /// Returns a command of the client.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = helper(self.words.first().map_or("docker", String::as_str));
        command.args(self.words.iter().skip(1)).args(args).stdin(Stdio::null());
        // Ctrl-C is for this process, which then removes the container.
        command.process_group(0);
        command
    }

    /// Returns a shell command line that calls the client.
    pub(super) fn line(&self, args: &[&str]) -> String {
        let words = self.words.iter().map(String::as_str).chain(args.iter().copied());
        words.map(crate::settings::shell_word).collect::<Vec<_>>().join(" ")
    }

    /// Runs a command of the client, and returns its standard output.
    pub(super) fn output(&self, args: &[&str]) -> Result<String, Failed> {
        let program = self.words.get(after_wrappers(&self.words));
        let program = program.map_or("docker", String::as_str);
        let name = format!("{program} {}", args.first().copied().unwrap_or_default());
        answer(self.command(args), &name, None)
    }

    /// Returns the facts about a container.
    pub(super) fn inspect(&self, id: &str) -> Result<Value, Failed> {
        let text = self.output(&["inspect", "--type=container", "--", id])?;
        let all: Value = serde_json::from_str(&text)
            .map_err(|err| Failed::Unfit(format!("inspect {id}: {err}")))?;
        Ok(all.get(0).cloned().unwrap_or_default())
    }

    /// Returns the label of this process.
    pub(super) fn label() -> String {
        format!("{LABEL}={}", Engine::owner())
    }

    /// Returns the value of the label: the ID and the start of this process.
    pub(super) fn owner() -> String {
        let pid = std::process::id();
        format!("{pid}-{}", start_time(pid).unwrap_or_default())
    }

    /// Removes a container and its anonymous volumes, even if it is running.
    pub(super) fn remove(&self, id: &str) {
        // Podman waits for the container to end by itself, and Docker does not.
        let now: &[&str] = if self.is_podman { &["--time=0"] } else { &[] };
        let _ = self.output(&[&["rm", "--force", "--volumes"], now, &["--", id]].concat());
    }

    /// Removes a pod and its containers, even if they are running.
    pub(super) fn remove_pod(&self, name: &str) {
        let _ = self.output(&["pod", "rm", "--force", "--time=0", "--", name]);
    }

    pub(super) fn remove_volume(&self, name: &str) {
        let _ = self.output(&["volume", "rm", "--force", "--", name]);
    }

    /// Returns whether there is a volume with this name.
    pub(super) fn has_volume(&self, name: &str) -> bool {
        self.output(&["volume", "inspect", "--", name]).is_ok()
    }

    /// Creates an empty volume.
    pub(super) fn create_volume(&self, name: &str) -> Result<(), Failed> {
        let label = format!("--label={}", Engine::label());
        self.output(&["volume", "create", &label, name]).map(|_| ())
    }

    /// Gives the files of a volume to a user, by a container of an image.
    pub(super) fn own_volume(
        &self,
        account: &Account,
        image: &str,
        volume: &str,
        path: &str,
    ) -> Result<(), Failed> {
        let label = format!("--label={}", Engine::label());
        let words = own_volume(account, image, volume, path);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let id = self.output(&[&["create", &*label], &*words].concat())?;
        let id = id.lines().last().unwrap_or_default().trim();
        let ended = self.output(&["start", "--attach", id]);
        self.remove(id);
        ended.map(|_| ())
    }

    /// Returns the words of a command that builds an image by a Dockerfile from standard input.
    pub(super) fn build_words<'a>(&self, options: &[&'a str]) -> Vec<&'a str> {
        let input: &[&str] = if self.is_podman { &["-f", "-", "."] } else { &["-"] };
        [&["build", "--network", "none"], options, input].concat()
    }

    /// Builds an image without a name, and returns its ID.
    pub(super) fn build(&self, dockerfile: &str) -> Result<String, Failed> {
        let words = self.build_words(&["--quiet", "--force-rm"]);
        let text = answer(self.command(&words), "build", Some(dockerfile))?;
        Ok(text.lines().last().unwrap_or_default().trim().to_owned())
    }

    /// Returns the facts about an image.
    pub(super) fn inspect_image(&self, image: &str) -> Result<Value, Failed> {
        let text = self.output(&["image", "inspect", "--", image])?;
        let all: Value = serde_json::from_str(&text)
            .map_err(|err| Failed::Unfit(format!("inspect {image}: {err}")))?;
        Ok(all.get(0).cloned().unwrap_or_default())
    }

    /// Creates a volume with the files of another one, if that exists.
    pub(super) fn copy_volume(&self, name: &str, copy: &str) -> Result<(), Failed> {
        let place = |name: &str| {
            let format = "--format={{.Driver}} {{len .Options}} {{.Mountpoint}}";
            self.output(&["volume", "inspect", format, "--", name])
        };
        self.create_volume(copy)?;
        let from = match place(name) {
            Err(Failed::Client { message, .. })
                if message.to_ascii_lowercase().contains("no such volume") =>
            {
                return Ok(());
            }
            from => from?,
        };
        let failed = || {
            Failed::Unfit(format!("the volume {name} cannot be copied (--shared-volumes uses it)"))
        };
        // A volume with options is only mounted while it is used.
        let from = from.strip_prefix("local 0 ").ok_or_else(failed)?;
        let to = place(copy)?;
        let to = to.strip_prefix("local 0 ").ok_or_else(failed)?;
        let mut copier = Command::new("cp");
        copier.args(["-a", "--"]).arg(Path::new(from).join(".")).arg(to).stdin(Stdio::null());
        let copied = copier.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if copied.is_ok_and(|status| status.success()) { Ok(()) } else { Err(failed()) }
    }

    /// Removes the containers and volumes of earlier processes, which were killed before they could
    /// do it.
    pub(super) fn clean(&self) -> Result<(), Failed> {
        self.remove_all(|owner| !lives(owner))
    }

    /// Removes everything that this process has made.
    pub(super) fn remove_own(&self) {
        let own = Engine::owner();
        let _ = self.remove_all(|owner| owner == own);
    }

    fn remove_all(&self, is_owned: impl Fn(&str) -> bool) -> Result<(), Failed> {
        let filter = format!("--filter=label={LABEL}");
        let owned = |list: &[&str], kind: &str, labels: &str| -> Result<Vec<String>, Failed> {
            let text = self.output(&[list, &["--quiet", &filter]].concat())?;
            let format = format!("--format={{{{index {labels} \"{LABEL}\"}}}}");
            let is_owned = |name: &&str| {
                // Another process may have removed it meanwhile.
                let owner = self.output(&["inspect", kind, &format, "--", *name]);
                owner.is_ok_and(|owner| is_owned(&owner))
            };
            Ok(text.lines().filter(is_owned).map(str::to_owned).collect())
        };
        let containers = ["ps", "--all", "--no-trunc"];
        for id in owned(&containers, "--type=container", ".Config.Labels")? {
            self.remove(&id);
        }
        if self.is_podman {
            let pods = self.output(&["pod", "ls", "--quiet", &filter])?;
            for id in pods.lines() {
                let format = format!("--format={{{{index .Labels \"{LABEL}\"}}}}");
                let owner = self.output(&["pod", "inspect", &format, "--", id]);
                if owner.is_ok_and(|owner| is_owned(&owner)) {
                    self.remove_pod(id);
                }
            }
        }
        for name in owned(&["volume", "ls"], "--type=volume", ".Labels")? {
            self.remove_volume(&name);
        }
        for id in owned(&["network", "ls"], "--type=network", ".Labels")? {
            let _ = self.output(&["network", "rm", "--", &id]);
        }
        for id in owned(&["image", "ls"], "--type=image", ".Config.Labels")? {
            let _ = self.output(&["image", "rm", "--", &id]);
        }
        Ok(())
    }

    /// Returns the processes on this machine that start containers for the client: the daemon that
    /// listens on its socket, and containerd. If systemd listens in the place of the daemon, these
    /// are all processes with the names of the daemons. Podman has none.
    ///
    /// # Errors
    ///
    /// Those of [`Proc::tree`].
    pub fn daemons(&self) -> crate::Result<Vec<Target>> {
        if self.is_podman {
            return Ok(Vec::new());
        }
        let proc = Proc::default();
        let tree = proc.tree()?;
        let is_named = |pid: u32, name: &str| {
            proc.status(pid).is_ok_and(|status| status.name.to_str() == Some(name))
        };
        let all = |name: &str| -> Vec<u32> {
            let pids = tree.processes().map(|process| process.status.pid);
            pids.filter(|pid| is_named(*pid, name)).collect()
        };
        let listening = self.listening().filter(|pid| is_named(*pid, "dockerd"));
        let mut pids = listening.map_or_else(|| all("dockerd"), |pid| vec![pid]);
        let has_own = tree.walk(&pids).any(|(_, pid)| is_named(pid, "containerd"));
        if !has_own {
            pids.extend(all("containerd"));
        }
        Ok(pids.into_iter().map(Target::NewContainer).collect())
    }

    /// Returns the process that listens on the client's socket. (unix(7), `SO_PEERCRED`)
    fn listening(&self) -> Option<u32> {
        let mut words = self.words.iter();
        let mut address = std::env::var("DOCKER_HOST").ok().filter(|address| !address.is_empty());
        while let Some(word) = words.next() {
            match &**word {
                "-H" | "--host" => address = words.next().cloned(),
                word => {
                    let value = word.strip_prefix("--host=").or_else(|| word.strip_prefix("-H"));
                    address = value.map(str::to_owned).or(address);
                }
            }
        }
        let address = address.as_deref().unwrap_or("unix:///var/run/docker.sock");
        let socket = UnixStream::connect(address.strip_prefix("unix://")?).ok()?;
        let credentials = getsockopt(&socket, PeerCredentials).ok()?;
        u32::try_from(credentials.pid()).ok()
    }
}

/// Runs a client with this standard input, and returns its standard output.
pub(super) fn answer(
    mut command: Command,
    name: &str,
    input: Option<&str>,
) -> Result<String, Failed> {
    let failed = |message: String| Failed::Client { command: name.to_owned(), message };
    let unstarted = |err: io::Error| failed(err.to_string());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(unstarted)?;
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // A client that does not read says why.
            stdin.zip(input).map(|(mut stdin, text)| stdin.write_all(text.as_bytes()))
        });
        child.wait_with_output()
    });
    let output = output.map_err(unstarted)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    // Compose prints a summary after the error.
    let is_error = |line: &&str| line.to_ascii_lowercase().starts_with("error");
    let message = lines().rfind(is_error).or_else(|| lines().next_back());
    Err(failed(message.unwrap_or("failed without a message").to_owned()))
}

/// Returns whether the process of a label is still running.
pub(super) fn lives(owner: &str) -> bool {
    let Some((pid, start)) = owner.trim().split_once('-') else { return false };
    let Ok(pid) = pid.parse() else { return false };
    start_time(pid).is_some_and(|is| is.to_string() == start)
}

/// Returns the start of a process, in ticks since the boot. (proc_pid_stat(5))
fn start_time(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

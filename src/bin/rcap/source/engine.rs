//! Containers and images by their names, and the versions of engines, asked of the engines.

use std::{
    io::{self, Read},
    process::Stdio,
};

use rcap::{
    launch::helper,
    settings::{Engine, EngineKind},
};

use crate::input::{self, Unread};

/// The programs that are asked, and the engines that they belong to.
const CLIENTS: [(&str, EngineKind); 3] = [
    ("docker", EngineKind::Docker),
    ("podman", EngineKind::Podman),
    ("nerdctl", EngineKind::Docker),
];

/// The description of a container or an image, and the engine that gave it.
pub(super) struct Described {
    pub(super) text: String,
    pub(super) engine: Option<Engine>,
}

/// Asks the engines for a container or an image. `kind` is `container` or `image`.
pub(super) fn describe(kind: &str, name: &str, engines: &[Engine]) -> Result<Described, Unread> {
    if name.is_empty() || name.starts_with('-') {
        return Err(Unread::Os(io::ErrorKind::InvalidInput.into()));
    }
    let named: Vec<EngineKind> = engines.iter().map(Engine::kind).collect();
    let wanted = |client: &(&str, EngineKind)| {
        let is_about = |kind: &EngineKind| CLIENTS.iter().any(|(_, one)| one == kind);
        !named.iter().any(is_about) || named.contains(&client.1)
    };
    let mut error = None;
    for (program, engine) in CLIENTS.into_iter().filter(wanted) {
        match output(program, &[kind, "inspect", "--", name]) {
            Ok(text) => return Ok(Described { text, engine: version(program, engine) }),
            // An engine that is not installed is not asked.
            Err(Unread::Os(err)) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => error = Some(err),
        }
    }
    Err(error.unwrap_or(Unread::NoEngine))
}

/// Returns the version of an engine that is installed.
fn version(program: &str, kind: EngineKind) -> Option<Engine> {
    let format = if program == "podman" { "{{.Client.Version}}" } else { "{{.Server.Version}}" };
    let text = output(program, &["version", "--format", format]).ok()?;
    let version = text.trim().split(['+', '-', '~']).next()?.to_owned();
    format!("{}@{version}", kind.name()).parse().ok()
}

/// Returns the version of systemd on this system.
pub(super) fn systemd() -> Option<Engine> {
    let text = output("systemctl", &["--version"]).ok()?;
    let version = text.split_whitespace().nth(1)?.split(['.', '~']).next()?.to_owned();
    format!("systemd@{version}").parse().ok()
}

/// Returns what a program prints, up to the limit of a file.
fn output(program: &str, args: &[&str]) -> Result<String, Unread> {
    let mut command = helper(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let text = child.stdout.take().map(|mut out| input::text(&mut out));
    let mut message = String::new();
    if let Some(err) = child.stderr.take() {
        let _ = err.take(4096).read_to_string(&mut message);
    }
    let status = child.wait()?;
    match text {
        Some(text) if status.success() => text,
        _ => Err(Unread::Engine(message.lines().last().unwrap_or(program).trim().to_owned())),
    }
}

//! Programs that leave the work to an engine or to systemd. Measuring one of them would say nothing
//! about the container or the service.

use std::{env, ffi::OsString};

use rcap::{
    container::{
        Bundle, Client, Delegation, Engine, Failed, Invocation, Manifest, Recipe, Service,
    },
    tools::Mistake,
};

use super::{args::MeasureOptions, failure::Failure};

/// A command that measures a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Trace,
    Minimize,
}

/// Returns the way to create the container that is measured in the place of its client: that of
/// `docker run`, `podman run`, `podman kube play`, Compose or an OCI runtime on this machine.
///
/// # Errors
///
/// [`Failure`] for a wrong command line, Compose file or manifest.
pub(crate) fn recipe(measure: &MeasureOptions) -> Result<Option<Measured>, Failure> {
    let MeasureOptions { files, container, .. } = measure;
    let delegation = match (&*files.compose, &*measure.program) {
        ([], words) => Delegation::of(words),
        (_, words @ ([] | [_])) => {
            let service = words.first().map(|service| service.to_string_lossy());
            let project = files.project_name.as_deref();
            Some(Service::command_line(&files.compose, project, service.as_deref()))
        }
        _ => return Err(Mistake::new("--compose takes one SERVICE").into()),
    };
    let is_pod = |one: &Delegation| one.client == Client::Podman && one.verb == "play";
    if container.is_some() && !delegation.as_ref().is_some_and(is_pod) {
        return Err(Mistake::new("--container requires `podman kube play`").into());
    }
    let Some(delegation) = delegation else { return Ok(None) };
    let is_remote = delegation.remote().is_some() || is_remote_by_environment(delegation.client);
    let starts = ["up", "create", "run"].contains(&&*delegation.verb);
    let is_docker = delegation.name.starts_with("docker");
    let recipe = match delegation.client {
        _ if is_remote => return Ok(None),
        Client::Docker | Client::Podman if delegation.is_run() => {
            Recipe::Run(Invocation::new(&delegation)?)
        }
        Client::Podman if is_pod(&delegation) => {
            let manifest = Manifest::new(&delegation, container.as_deref());
            Recipe::Manifest(manifest.map_err(|err| container_failed(&delegation.name, err))?)
        }
        Client::Compose if starts && is_docker => {
            let service = Service::new(&delegation);
            Recipe::Service(service.map_err(|err| container_failed(&delegation.name, err))?)
        }
        Client::Runtime if delegation.verb == "run" => {
            let bundle = Bundle::new(&delegation);
            Recipe::Bundle(bundle.map_err(|err| container_failed(&delegation.name, err))?)
        }
        _ => return Ok(None),
    };
    let client = match &recipe {
        Recipe::Run(invocation) => invocation.client().to_owned(),
        Recipe::Manifest(_) => "podman".to_owned(),
        Recipe::Bundle(bundle) => bundle.runtime().to_owned(),
        _ => "Compose".to_owned(),
    };
    Ok(Some(Measured { recipe, name: delegation.name, client }))
}

/// A container that is measured in the place of its client.
pub(crate) struct Measured {
    pub(crate) recipe: Recipe,
    /// The client and its subcommand.
    pub(crate) name: String,
    /// The name of the client in messages.
    pub(crate) client: String,
}

/// Returns the failure of a container that could not be run.
pub(crate) fn container_failed(name: &str, err: Failed) -> Failure {
    match err {
        Failed::Run(err) => err.into(),
        err => Failure::subject(name, err),
    }
}

/// Returns a command line whose containers are recorded, because the processes of the engine that
/// starts them run on this machine.
pub(crate) fn recorded(words: &[OsString]) -> Option<Delegation> {
    let delegation = Delegation::of(words)?;
    let is_here = delegation.remote().is_none() && !is_remote_by_environment(delegation.client);
    let is_of_daemon = match delegation.client {
        Client::Docker | Client::Nerdctl => {
            ["run", "start", "restart"].contains(&&*delegation.verb)
        }
        Client::Compose => {
            !delegation.name.starts_with("podman")
                && ["run", "start", "restart", "up"].contains(&&*delegation.verb)
        }
        _ => false,
    };
    let daemons = || Engine::new(&delegation.before).daemons();
    // With an error, the recording says why.
    let is_recorded = is_here && is_of_daemon && daemons().map_or(true, |all| !all.is_empty());
    is_recorded.then_some(delegation)
}

/// Returns whether a program is a client or a runtime whose containers are its descendants.
pub(crate) fn is_client(words: &[OsString]) -> bool {
    Delegation::of(words).is_some_and(|one| matches!(one.client, Client::Podman | Client::Runtime))
}

/// Refuses a command line that cannot be measured, and says what can be done instead.
///
/// # Errors
///
/// [`Failure::Subject`] for such a command line.
pub(crate) fn check(words: &[OsString], measure: Measure) -> Result<(), Failure> {
    let Some(delegation) = Delegation::of(words) else { return Ok(()) };
    if measure == Measure::Trace && recorded(words).is_some() {
        return Ok(());
    }
    match way_out(&delegation, measure) {
        None => Ok(()),
        Some(way_out) => {
            let does = match delegation.client {
                Client::Systemctl | Client::SystemdRun => "systemd starts the service",
                Client::Kubectl => "the cluster starts the containers",
                _ => "the engine starts the container",
            };
            let reason =
                format!("{does}, so measuring this program would not measure it: {way_out}");
            Err(Failure::subject(&delegation.name, reason))
        }
    }
}

/// Returns another way to measure, or `None` if this one measures the right processes.
fn way_out(delegation: &Delegation, measure: Measure) -> Option<&'static str> {
    let is_trace = measure == Measure::Trace;
    let is_remote = delegation.remote().is_some() || is_remote_by_environment(delegation.client);
    Some(match delegation.client {
        _ if is_remote => "run rcap on the machine of the engine",
        // Their containers are descendants.
        Client::Podman | Client::Runtime if is_trace && delegation.verb != "exec" => return None,
        // The program is a descendant.
        Client::SystemdRun if delegation.before.iter().any(|word| word == "--scope") => {
            return None;
        }
        Client::Docker | Client::Podman | Client::Nerdctl | Client::Compose if is_trace => {
            "`rcap trace --container NAME` records a running container, and rcap-oci-runtime(8) \
             describes a runtime for Docker that records from the start"
        }
        Client::Runtime => "measure `run` of the runtime",
        Client::Docker | Client::Podman | Client::Nerdctl | Client::Compose => {
            "record it with `rcap trace`, and try the candidates with --cap-drop ALL and --cap-add"
        }
        Client::Kubectl => "on the node, `rcap trace --container ID` records a running container",
        Client::Systemctl if is_trace => "`rcap trace --unit NAME` records a running service",
        Client::Systemctl => "`rcap minimize --unit NAME` measures a service of the system",
        _ => "measure its program directly, with --user if it has another user",
    })
}

/// Returns whether the environment names an engine of another machine.
fn is_remote_by_environment(client: Client) -> bool {
    let variable = match client {
        Client::Docker | Client::Compose => "DOCKER_HOST",
        Client::Podman => "CONTAINER_HOST",
        _ => return false,
    };
    env::var(variable).is_ok_and(|address| rcap::container::is_remote(&address))
}

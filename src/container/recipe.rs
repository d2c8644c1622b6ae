//! The ways in which a container is created: by `docker run`, by Compose, by `podman kube play`, and
//! by an OCI runtime.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use super::{Bundle, Edits, Engine, Failed, Invocation, Manifest, Service, manifest};
use crate::CapSet;

/// The way in which containers with the same options are created.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Recipe {
    /// A `run` or `create` command line.
    Run(Invocation),
    /// A service of a Compose file.
    Service(Service),
    /// A container of a pod that Podman plays.
    Manifest(Manifest),
    /// A bundle that an OCI runtime runs.
    Bundle(Bundle),
}

impl Recipe {
    /// Returns the largest set that the runs try: the engine's default set and all capabilities
    /// that the settings add, whichever they drop.
    ///
    /// # Errors
    ///
    /// A name that is not that of a capability.
    pub fn most(&self) -> Result<CapSet, Failed> {
        match self {
            Recipe::Run(run) => run.most().map_err(|err| Failed::Unfit(err.to_string())),
            Recipe::Service(service) => service.most(),
            Recipe::Manifest(manifest) => {
                manifest.most().map_err(|err| Failed::Unfit(err.to_string()))
            }
            Recipe::Bundle(bundle) => Ok(bundle.most()),
        }
    }

    /// Returns the same with a sysctl(8) of the container, in the place of its own value. Returns
    /// `None` for a pod and a bundle, whose users get ambient capabilities.
    #[must_use]
    pub fn with_sysctl(&self, name: &str, value: &str) -> Option<Recipe> {
        match self {
            Recipe::Run(run) => run.with_sysctl(name, value).map(Recipe::Run),
            Recipe::Service(service) => Some(Recipe::Service(service.with_sysctl(name, value))),
            Recipe::Manifest(_) | Recipe::Bundle(_) => None,
        }
    }
}

/// The way in which an engine creates containers with the same options.
#[derive(Clone, Debug)]
pub(super) enum Creation {
    Run(Invocation),
    Service(Box<Service>),
    Manifest(Box<Manifest>),
}

impl Creation {
    pub(super) fn engine(&self) -> Engine {
        match self {
            Creation::Run(run) => Engine::new(&run.before),
            Creation::Service(service) => service.engine().clone(),
            Creation::Manifest(manifest) => manifest.engine(),
        }
    }

    /// Returns the name of the pod that each run has.
    pub(super) fn pod(&self) -> Option<String> {
        matches!(self, Creation::Manifest(_)).then(manifest::pod_name)
    }

    /// Prepares the runs, after which [`Engine::remove_own`] has to follow.
    pub(super) fn prepare(&mut self, uses_real_volumes: bool) -> Result<(), Failed> {
        match self {
            Creation::Run(_) | Creation::Manifest(_) => Ok(()),
            Creation::Service(service) => service.start_dependencies(uses_real_volumes),
        }
    }

    /// Creates a container with exactly these capabilities, or with those of its own settings, and
    /// returns its ID. `copies` take the places of named volumes.
    pub(super) fn create(
        &self,
        engine: &Engine,
        caps: Option<CapSet>,
        copies: &BTreeMap<String, String>,
        is_checked: bool,
        edits: Option<&Edits>,
    ) -> Result<String, Failed> {
        match self {
            Creation::Run(run) => {
                let words = run.create(caps, &Engine::label(), copies, is_checked, edits);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let text = engine.output(&words)?;
                // An image that is pulled may be announced before the ID.
                Ok(text.lines().last().unwrap_or_default().trim().to_owned())
            }
            Creation::Service(service) => service.create(caps, copies, is_checked, edits),
            Creation::Manifest(manifest) => manifest.create(engine, caps, copies),
        }
    }

    /// Starts everything that a container runs beside, after it was created. Returns whether it was
    /// not cancelled.
    pub(super) fn start_others(
        &self,
        engine: &Engine,
        cancelled: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Failed> {
        match self {
            Creation::Run(_) | Creation::Service(_) => Ok(true),
            Creation::Manifest(manifest) => manifest.start_others(engine, cancelled),
        }
    }

    /// Returns the named volumes that each run gets a copy of, given the facts of a container.
    pub(super) fn volumes(&self, facts: &Value) -> Result<Vec<String>, Failed> {
        match self {
            Creation::Run(_) => {
                let named = mounts(facts).filter(|mount| is_named(mount));
                Ok(named.filter_map(|mount| mount["Name"].as_str().map(str::to_owned)).collect())
            }
            Creation::Service(service) => service.volumes(),
            Creation::Manifest(manifest) => Ok(manifest.volumes()),
        }
    }

    /// Returns the name of a volume in the engine.
    pub(super) fn real_volume(&self, name: &str) -> String {
        match self {
            Creation::Run(_) | Creation::Manifest(_) => name.to_owned(),
            Creation::Service(service) => service.real_volume(name),
        }
    }

    /// Returns the name of a volume in the settings, for that of the engine.
    pub(super) fn volume_key<'a>(&self, name: &'a str) -> &'a str {
        match self {
            Creation::Run(_) | Creation::Manifest(_) => name,
            Creation::Service(_) => super::service::volume_key(name),
        }
    }

    /// Returns whether the image is built by the settings.
    pub(super) fn is_built(&self) -> bool {
        match self {
            Creation::Run(_) | Creation::Manifest(_) => false,
            Creation::Service(service) => service.is_built(),
        }
    }

    /// Returns whether the runs can write to something that they share.
    pub(super) fn is_stateful(&self, facts: &Value, uses_real_volumes: bool) -> bool {
        let is_shared = |mount: &Value| {
            let is_bind = mount["Type"] == "bind";
            mount["RW"] == true && (is_bind || is_named(mount) && uses_real_volumes)
        };
        let shares = match self {
            Creation::Run(_) => false,
            Creation::Service(service) => service.shares_volumes(),
            Creation::Manifest(manifest) => manifest.is_stateful(uses_real_volumes),
        };
        shares || mounts(facts).any(is_shared)
    }

    /// Returns whether only a check can tell that the container works.
    pub(super) fn requires_check(&self) -> bool {
        match self {
            Creation::Run(run) => run.has("detach"),
            Creation::Service(service) => service.is_server(),
            Creation::Manifest(manifest) => manifest.restarts(),
        }
    }

    /// Returns whether a run without a check has a time limit, because it may be a server.
    pub(super) fn may_be_server(&self) -> bool {
        matches!(self, Creation::Service(service) if !service.is_one_off())
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Recipe::Run(run) => run.fmt(f),
            Recipe::Service(service) => service.fmt(f),
            Recipe::Manifest(manifest) => manifest.fmt(f),
            Recipe::Bundle(bundle) => bundle.fmt(f),
        }
    }
}

fn mounts(facts: &Value) -> impl Iterator<Item = &Value> {
    facts["Mounts"].as_array().into_iter().flatten()
}

/// Returns whether a mount is that of a volume with a name, not of an anonymous one.
pub(super) fn is_named(mount: &Value) -> bool {
    let name = mount["Name"].as_str().unwrap_or_default();
    let is_anonymous = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    mount["Type"] == "volume" && !is_anonymous
}

//! A container as a trial: each run is a new container with the arguments of the user.

use std::time::Duration;

use super::{Failed, Recipe, by_engine::ByEngine, by_runtime::ByRuntime, recipe::Creation};
use crate::{
    CapSet,
    trace::{
        Options,
        minimize::{Attempt, Observation, Trial},
    },
};

/// The way in which containers are judged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setup {
    /// A shell command on the host that succeeds once the container works.
    pub check: Option<String>,
    /// A shell command in the container that succeeds once the container works.
    pub check_in: Option<String>,
    /// How long a container runs on after a check has succeeded.
    pub settle: Duration,
    /// Whether standard output is compared.
    pub same_output: bool,
    /// Whether the containers use the named volumes instead of copies.
    pub shared_volumes: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            check: None,
            check_in: None,
            settle: Duration::from_secs(2),
            same_output: false,
            shared_volumes: false,
        }
    }
}

impl Setup {
    /// Returns an error if nothing can tell that a container in the background works.
    pub(super) fn check_background(&self, has_health_check: bool) -> Result<(), Failed> {
        if has_health_check || self.check.is_some() || self.check_in.is_some() {
            return Ok(());
        }
        let words = "without a HEALTHCHECK, --check or --check-in has to show that a container in \
                     the background works";
        Err(Failed::Unfit(words.to_owned()))
    }

    /// Returns the command of the user that decides whether the container works: with its option,
    /// and for the shell. `enter` returns the line that runs a command in the container.
    pub(super) fn check(&self, enter: impl FnOnce(&str) -> String) -> Option<(String, String)> {
        if let Some(check) = &self.check {
            return Some((format!("--check '{check}'"), check.clone()));
        }
        let check = self.check_in.as_ref()?;
        Some((format!("--check-in '{check}'"), enter(check)))
    }
}

/// A [`Trial`] that runs a container.
///
/// The process that uses it with a [`Bundle`](super::Bundle) has to call
/// [`init_process`](crate::trace::minimize::init_process) first in `main`.
#[expect(missing_debug_implementations, reason = "it contains a closure")]
pub struct Container {
    way: Way,
}

enum Way {
    Engine(Box<ByEngine>),
    Runtime(Box<ByRuntime>),
}

impl Container {
    /// Looks at the container that a recipe creates with at most these capabilities, and removes
    /// what was left behind by earlier measurements that were killed.
    ///
    /// # Errors
    ///
    /// The engine refuses the recipe, or it needs a check to be measured.
    pub fn new(
        recipe: Recipe,
        most: CapSet,
        setup: Setup,
        options: Options,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> Result<Container, Failed> {
        Container::of(recipe, Some(most), setup, options, cancelled)
    }

    /// Looks at the container that a recipe creates with its own settings: runs with
    /// [`Container::most`] have exactly what these give.
    ///
    /// # Errors
    ///
    /// Those of [`Container::new`].
    pub fn as_given(
        recipe: Recipe,
        setup: Setup,
        options: Options,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> Result<Container, Failed> {
        Container::of(recipe, None, setup, options, cancelled)
    }

    /// Returns the trial of an engine.
    pub(super) fn into_engine(self) -> Result<ByEngine, Failed> {
        match self.way {
            Way::Engine(trial) if !matches!(trial.recipe, Creation::Manifest(_)) => Ok(*trial),
            _ => {
                let words = "changes are only known for `docker run`, `podman run` and Compose";
                Err(Failed::Unfit(words.to_owned()))
            }
        }
    }

    fn of(
        recipe: Recipe,
        most: Option<CapSet>,
        setup: Setup,
        options: Options,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> Result<Container, Failed> {
        let creation = match recipe {
            Recipe::Run(run) => Creation::Run(run),
            Recipe::Service(service) => Creation::Service(Box::new(service)),
            Recipe::Manifest(manifest) => Creation::Manifest(Box::new(manifest)),
            Recipe::Bundle(bundle) => {
                let trial = ByRuntime::new(bundle, most, setup, &options, cancelled)?;
                return Ok(Container { way: Way::Runtime(Box::new(trial)) });
            }
        };
        let trial = ByEngine::new(creation, most, setup, options, cancelled)?;
        Ok(Container { way: Way::Engine(Box::new(trial)) })
    }

    /// Returns the capabilities that runs can have: those that the engine knows.
    pub fn most(&self) -> CapSet {
        match &self.way {
            Way::Engine(trial) => trial.most,
            Way::Runtime(trial) => trial.most,
        }
    }

    /// Returns the way in which a capability reaches the program of a user other than root with this
    /// engine, in words. Returns `None` for root.
    ///
    /// Docker sets no ambient capabilities, and Podman sets those of `--cap-add`.
    pub fn way_of_user(&self) -> Option<String> {
        match &self.way {
            Way::Engine(trial) => trial.way_of_user(),
            Way::Runtime(trial) => trial.way_of_user(),
        }
    }

    /// Returns whether every run has a limit of time: something shows that the container works, or it
    /// is one that Compose starts in the background.
    pub fn is_limited(&self) -> bool {
        match &self.way {
            Way::Engine(trial) => trial.is_limited(),
            Way::Runtime(_) => false,
        }
    }

    /// Returns whether the checks of the kernel are recorded. Otherwise the search starts from all
    /// capabilities.
    pub fn is_recorded(&self) -> bool {
        match &self.way {
            Way::Engine(trial) => trial.is_recorded(),
            Way::Runtime(_) => true,
        }
    }

    /// Returns whether runs share a directory or a volume that they can write to.
    pub fn is_stateful(&self) -> bool {
        match &self.way {
            Way::Engine(trial) => trial.is_stateful,
            // Each run has a copy of the whole file system.
            Way::Runtime(_) => false,
        }
    }
}

impl Trial for Container {
    type Error = Failed;

    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Failed> {
        match &mut self.way {
            Way::Engine(trial) => trial.run(attempt),
            Way::Runtime(trial) => trial.run(attempt),
        }
    }
}

//! Containers of an OCI runtime, as trials.
//!
//! Each run has a copy of the file system, in which the configuration of the bundle is replaced. The
//! state of the runtime is in the copy too, so only control groups can outlive a run that was
//! killed.

use std::{fs, process::Stdio};

use super::{
    Bundle, Failed, Setup,
    engine::{Engine, lives},
};
use crate::{
    CapSet,
    launch::Launcher,
    trace::{
        Options, Tracer, control_groups,
        minimize::{Attempt, Effects, End, Observation, Pass, Trial, View},
    },
};

/// A [`Trial`] that runs a bundle.
pub(super) struct ByRuntime {
    bundle: Bundle,
    pub(super) most: CapSet,
    /// Whether runs with `most` have the capabilities of the bundle's own configuration.
    is_as_given: bool,
    setup: Setup,
    tracer: Tracer,
    cancelled: Box<dyn FnMut() -> bool>,
    runs: u32,
}

impl ByRuntime {
    pub(super) fn new(
        bundle: Bundle,
        most: Option<CapSet>,
        setup: Setup,
        options: &Options,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> Result<ByRuntime, Failed> {
        remove_control_groups(|owner| !lives(owner));
        if bundle.is_detached() {
            setup.check_background(false)?;
        }
        let is_as_given = most.is_none();
        let most = most.map_or_else(|| bundle.given(), Ok)?;
        let tracer = Tracer::new(&Options { contained: true, ..options.clone() })?;
        Ok(ByRuntime { bundle, most, is_as_given, setup, tracer, cancelled, runs: 0 })
    }

    pub(super) fn way_of_user(&self) -> Option<String> {
        let user = self.bundle.other_user()?;
        Some(format!(
            "the container's user {user} gets the capabilities as ambient ones, which config.json \
             has to name as inheritable too"
        ))
    }
}

impl Drop for ByRuntime {
    fn drop(&mut self) {
        // crun leaves the group of a container that it could not start.
        let own = Engine::owner();
        remove_control_groups(|owner| owner == own);
    }
}

/// Returns the effects in a container, and ends it if it is still running.
fn effects(bundle: &Bundle, view: &View, id: &str, threads: &[u32]) -> crate::Result<Effects> {
    let threads: Vec<u32> = threads.iter().copied().filter(|tid| !view.has(*tid)).collect();
    let effects = bundle.inside(view.effects(&threads)?);
    if !threads.is_empty() {
        let mut delete = bundle.command(&["delete", "--force", id]);
        delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Otherwise the processes are killed one by one, and their control group is left.
        let _ = view.spawn(delete).map(|mut child| child.wait());
    }
    Ok(effects)
}

impl Trial for ByRuntime {
    type Error = Failed;

    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Failed> {
        if (self.cancelled)() {
            return Ok(Observation { end: End::Interrupted, ..Observation::default() });
        }
        self.runs += 1;
        let id = format!("{PREFIX}{}-{}", Engine::owner(), self.runs);
        let view = View::new(false, false)?;
        let is_as_given = self.is_as_given && attempt.set == self.most;
        let text = self.bundle.changed((!is_as_given).then_some(attempt.set));
        view.replace(self.bundle.configuration(), text.as_bytes())?;
        let enter = |check: &str| self.bundle.line(&["exec", &id, "/bin/sh", "-c", check]);
        let pass = Pass {
            command: self.bundle.run(&id),
            launcher: &Launcher::new(),
            view: &view,
            check: self.setup.check(enter),
            settle: self.setup.settle,
            same_output: self.setup.same_output,
            limit: attempt.limit,
        };
        let mut effects = |threads: &[u32]| effects(&self.bundle, &view, &id, threads);
        Ok(pass.observe(&mut self.tracer, &mut *self.cancelled, &mut effects)?)
    }
}

/// The first characters of the names of containers and of their control groups.
const PREFIX: &str = "rcap-";

/// Removes control groups that were left behind.
fn remove_control_groups(is_owned: impl Fn(&str) -> bool) {
    for group in control_groups(|name| owner(name).is_some_and(&is_owned)) {
        // The kernel refuses to remove one that is in use.
        let _ = fs::remove_dir(group);
    }
}

/// Returns the process whose container has this control group.
fn owner(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once(PREFIX)?;
    let rest = rest.strip_suffix(".scope").unwrap_or(rest);
    let (owner, run) = rest.rsplit_once('-')?;
    let (pid, start) = owner.split_once('-')?;
    let are_numbers = [pid, start, run].iter().all(|part| part.parse::<u64>().is_ok());
    are_numbers.then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_control_groups() {
        for (name, want) in [
            ("rcap-12-345-6", Some("12-345")),
            ("crun-rcap-12-345-6.scope", Some("12-345")),
            ("rcap-12-345", None),
            ("rcap-a-b-c", None),
            ("web", None),
        ] {
            assert_eq!(owner(name), want, "{name}");
        }
    }
}

//! Containers that an engine creates, as trials.

use std::{
    collections::BTreeMap,
    process::{Child, Command},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{Edits, Engine, Failed, Setup, recipe::Creation, view};
use crate::{
    Cap, CapSet, Op,
    launch::Launcher,
    proc::Proc,
    rootless::Account,
    settings::{self, Context, InputFormat},
    trace::{
        Exit, Options, Target, Tracer,
        minimize::{Attempt, Capture, Checked, Effects, End, Observation, Trial},
        run::{HealthCheck, Over, Watch},
    },
};

/// The processes whose descendants are recorded.
enum Recorded {
    /// A recording is not possible.
    Nothing,
    /// The processes of an engine that start its containers.
    Daemons(Vec<Target>),
    /// The client, which starts the container itself.
    Client,
}

impl Recorded {
    /// Returns what can be recorded of an engine.
    fn of(engine: &Engine, options: &Options) -> Recorded {
        let daemons = engine.daemons().unwrap_or_default();
        if engine.is_podman() {
            Tracer::new(options).map_or(Recorded::Nothing, |_| Recorded::Client)
        } else if !daemons.is_empty() && Tracer::attach(&daemons, options).is_ok() {
            Recorded::Daemons(daemons)
        } else {
            Recorded::Nothing
        }
    }

    /// Starts the client of a container, and the recording of the container.
    fn start(
        &self,
        mut client: Command,
        options: &Options,
    ) -> crate::Result<(Option<Tracer>, Child)> {
        let tracer = match self {
            Recorded::Nothing => None,
            Recorded::Daemons(daemons) => Some(Tracer::attach(daemons, options)?),
            Recorded::Client => {
                let mut tracer = Tracer::new(&Options { contained: true, ..options.clone() })?;
                let child = tracer.start(client, &Launcher::new())?;
                return Ok((Some(tracer), child));
            }
        };
        let child = client.spawn().map_err(|err| Op::Fork.thread(err))?;
        Ok((tracer, child))
    }
}

/// A [`Trial`] that asks an engine to run a container.
pub(super) struct ByEngine {
    pub(super) engine: Engine,
    pub(super) recipe: Creation,
    /// The facts about a container with its own settings.
    pub(super) facts: Value,
    /// Settings that take the place of those of the recipe, and the owner of volumes.
    pub(super) edits: Option<(Edits, Account)>,
    pub(super) most: CapSet,
    /// Whether runs with `most` have the capabilities of the recipe's own settings.
    is_as_given: bool,
    setup: Setup,
    options: Options,
    cancelled: Box<dyn FnMut() -> bool>,
    recorded: Recorded,
    has_health_check: bool,
    /// The user of the container, unless it is root.
    pub(super) user: Option<String>,
    /// The named volumes that each run gets a copy of.
    volumes: Vec<String>,
    /// Whether runs share something that they can write to.
    pub(super) is_stateful: bool,
    runs: u32,
    pub(super) made: Made,
}

/// The networks, volumes and containers of a project, which are removed when dropped.
pub(super) struct Made {
    engine: Engine,
    is_project: bool,
    pub(super) has_images: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        // The images of changes, and the networks and volumes of a project.
        if self.is_project || self.has_images {
            self.engine.remove_own();
        }
    }
}

impl ByEngine {
    pub(super) fn new(
        mut recipe: Creation,
        most: Option<CapSet>,
        setup: Setup,
        options: Options,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> Result<ByEngine, Failed> {
        let engine = recipe.engine();
        engine.clean()?;
        let is_project = matches!(recipe, Creation::Service(_));
        let made = Made { engine: engine.clone(), is_project, has_images: false };
        recipe.prepare(setup.shared_volumes)?;
        let is_as_given = most.is_none();
        let (probe, most) = probe(&engine, &recipe, most)?;
        let facts = engine.inspect(&probe.id)?;
        drop(probe);
        let most = most.map_or_else(|| given(&facts), Ok)?;
        let test = &facts["Config"]["Healthcheck"]["Test"];
        let has_health_check = test[0].as_str().is_some_and(|kind| kind != "NONE");
        let user = facts["Config"]["User"].as_str().filter(|user| !is_root(user));
        let user = user.map(str::to_owned);
        if recipe.requires_check() {
            setup.check_background(has_health_check)?;
        }
        let volumes = if setup.shared_volumes { Vec::new() } else { recipe.volumes(&facts)? };
        let is_stateful = recipe.is_stateful(&facts, setup.shared_volumes);
        let recorded = Recorded::of(&engine, &options);
        Ok(ByEngine {
            engine,
            recipe,
            facts,
            edits: None,
            most,
            is_as_given,
            setup,
            options,
            cancelled,
            recorded,
            has_health_check,
            user,
            volumes,
            is_stateful,
            runs: 0,
            made,
        })
    }

    /// Returns the way in which a capability reaches the program of a user other than root with this
    /// engine, in words. Returns `None` for root.
    ///
    /// Docker sets no ambient capabilities, and Podman sets those of `--cap-add`.
    pub(super) fn way_of_user(&self) -> Option<String> {
        let user = self.user.as_ref()?;
        let way = if self.engine.is_podman() {
            "gets the capabilities that are added as ambient ones in Podman, without a change of the image"
        } else {
            "gets a capability in Docker only by the program's file (setcap in the image), because \
             Docker sets no ambient capabilities"
        };
        Some(format!("the container's user {user} {way}"))
    }

    /// Returns whether the checks of the kernel are recorded. Otherwise the search starts from all
    /// capabilities.
    pub(super) fn is_recorded(&self) -> bool {
        !matches!(self.recorded, Recorded::Nothing)
    }

    /// Returns the check that decides whether the container works: the command with its option, and
    /// a command for the shell.
    fn check(&self, id: &str) -> Option<(String, String)> {
        let enter = |check: &str| self.engine.line(&["exec", id, "/bin/sh", "-c", check]);
        let own = self.setup.check(enter);
        if own.is_some() {
            return own;
        }
        if self.has_health_check && self.engine.is_podman() {
            // Podman leaves the repetition to systemd.
            let line = self.engine.line(&["healthcheck", "run", id]);
            return Some(("the HEALTHCHECK".to_owned(), line));
        }
        let format = "--format={{.State.Health.Status}}";
        let line = self.engine.line(&["inspect", format, id]);
        let line = format!("s=$({line}); echo \"$s\"; [ \"$s\" = healthy ]");
        self.has_health_check.then(|| ("the HEALTHCHECK".to_owned(), line))
    }

    /// Returns whether every run has a limit of time.
    pub(super) fn is_limited(&self) -> bool {
        let Setup { check, check_in, .. } = &self.setup;
        let is_checked = check.is_some() || check_in.is_some() || self.has_health_check;
        is_checked || self.recipe.may_be_server()
    }

    /// Copies the named volumes.
    fn copies(&self) -> Result<Copies<'_>, Failed> {
        let mut copies = Copies { engine: &self.engine, names: BTreeMap::new() };
        for name in &self.volumes {
            let copy = format!("rcap-{}-{}-{name}", std::process::id(), self.runs);
            copies.names.insert(name.clone(), copy.clone());
            self.engine.copy_volume(name, &copy)?;
        }
        if let Some((edits, account)) = &self.edits {
            let image = edits.image.as_deref().or(self.facts["Config"]["Image"].as_str());
            for (path, name) in &edits.volumes {
                let known = copies.names.get(&self.recipe.real_volume(name)).cloned();
                let new = || format!("rcap-{}-{}-{name}", std::process::id(), self.runs);
                let is_new = known.is_none();
                let volume = known.unwrap_or_else(new);
                copies.names.insert(name.clone(), volume.clone());
                if is_new {
                    self.engine.create_volume(&volume)?;
                }
                self.engine.own_volume(account, image.unwrap_or_default(), &volume, path)?;
            }
        }
        Ok(copies)
    }
}

/// Creates a container with all capabilities of `most` that the engine knows, or with those of its
/// own settings.
fn probe<'a>(
    engine: &'a Engine,
    recipe: &Creation,
    mut most: Option<CapSet>,
) -> Result<(Created<'a>, Option<CapSet>), Failed> {
    loop {
        match Created::new(engine, recipe, most, &BTreeMap::new(), false, None) {
            // An old engine does not know the newest capabilities of the kernel.
            Err(Failed::Client { message, command }) => {
                match (most, most.and_then(|most| unknown(&message, most))) {
                    (Some(all), Some(cap)) => most = Some(all - cap),
                    _ => return Err(Failed::Client { message, command }),
                }
            }
            created => return Ok((created?, most)),
        }
    }
}

/// Returns whether the user of a container is root, in the words of an engine: `USER[:GROUP]`.
fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    ["", "root"].contains(&name) || name.parse() == Ok(0_u32)
}

/// Returns the capabilities that an engine gives to a container.
fn given(facts: &Value) -> Result<CapSet, Failed> {
    let text = Value::from(vec![facts.clone()]).to_string();
    let read = settings::read_in(&text, Some(InputFormat::Inspect), &Context::default());
    let read = read.map_err(|err| Failed::Unfit(err.to_string()))?;
    Ok(read.first().map(|settings| settings.bounding).unwrap_or_default())
}

/// Compares the bounding set of a container's first process, if it is still running, with the
/// capabilities that the run is about.
fn check_bounding(facts: &Value, set: CapSet) -> Result<(), Failed> {
    let pid = facts["State"]["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let status = pid.filter(|pid| *pid != 0).map(|pid| Proc::default().status(pid));
    match status {
        Some(Ok(status)) if status.bounding != set && !status.bounding.is_empty() => {
            let words = format!("the engine gave the container {}, and not {set}", status.bounding);
            Err(Failed::Unfit(words))
        }
        _ => Ok(()),
    }
}

/// Returns the member of a set that an engine does not know, by its error.
fn unknown(message: &str, set: CapSet) -> Option<CapSet> {
    // `unknown capability: "CAP_X"` in Docker, and `"CAP_X": unknown capability` in Podman.
    let name = message.contains("unknown capability").then(|| message.split('"').nth(1))?;
    let cap = name?.parse::<Cap>().ok()?;
    set.contains(cap).then(|| cap.into())
}

/// A container that is removed when dropped.
struct Created<'a> {
    engine: &'a Engine,
    id: String,
    pod: Option<String>,
}

impl Created<'_> {
    fn new<'a>(
        engine: &'a Engine,
        recipe: &Creation,
        caps: Option<CapSet>,
        copies: &BTreeMap<String, String>,
        is_checked: bool,
        edits: Option<&Edits>,
    ) -> Result<Created<'a>, Failed> {
        // A pod is left even if its container cannot be created.
        let mut created = Created { engine, id: String::new(), pod: recipe.pod() };
        created.id = recipe.create(engine, caps, copies, is_checked, edits)?;
        Ok(created)
    }
}

impl Drop for Created<'_> {
    fn drop(&mut self) {
        if let Some(pod) = &self.pod {
            self.engine.remove_pod(pod);
        } else if !self.id.is_empty() {
            self.engine.remove(&self.id);
        }
    }
}

/// Copies of named volumes, which are removed when dropped.
struct Copies<'a> {
    engine: &'a Engine,
    names: BTreeMap<String, String>,
}

impl Drop for Copies<'_> {
    fn drop(&mut self) {
        for name in self.names.values() {
            self.engine.remove_volume(name);
        }
    }
}

/// Returns how a container has ended, by its state from the engine.
fn end(over: Over, state: &Value) -> End {
    let is_running = state["Running"] == true;
    let code = || state["ExitCode"].as_i64().and_then(|code| i32::try_from(code).ok());
    match over {
        Over::Cancelled => End::Interrupted,
        _ if !is_running && has_not_begun(state) => End::NotExecuted,
        Over::TimedOut => End::TimedOut,
        _ if is_running => End::Stopped,
        _ => End::Exited(Exit { code: code(), signal: None }),
    }
}

fn notes(over: Over, settle: Duration) -> Vec<String> {
    let seconds = settle.as_secs_f64();
    let words = || format!("each container was stopped {seconds} s after the check had succeeded");
    (over == Over::Settled).then(words).into_iter().collect()
}

fn interrupted() -> Observation {
    Observation { end: End::Interrupted, ..Observation::default() }
}

/// Returns whether a container that is not running has never run, because the runtime could not execute
/// its program.
fn has_not_begun(state: &Value) -> bool {
    let began = state["StartedAt"].as_str().is_none_or(|time| !time.starts_with("0001-"));
    !began || !runtime_error(state).is_empty()
}

/// Returns the error of a runtime that could not execute the program, if the engine has kept it.
fn runtime_error(state: &Value) -> &str {
    state["Error"].as_str().unwrap_or_default()
}

impl Trial for ByEngine {
    type Error = Failed;

    fn run(&mut self, attempt: &Attempt) -> Result<Observation, Failed> {
        if (self.cancelled)() {
            return Ok(interrupted());
        }
        let is_first = self.runs == 0;
        self.runs += 1;
        let mut cancelled = std::mem::replace(&mut self.cancelled, Box::new(|| false));
        let observed = self.observe(attempt, &mut *cancelled);
        self.cancelled = cancelled;
        match observed? {
            Observation { end: End::NotExecuted, message, .. } if is_first => {
                Err(Failed::Unfit(message))
            }
            observed => Ok(observed),
        }
    }
}

impl ByEngine {
    fn observe(
        &self,
        attempt: &Attempt,
        cancelled: &mut dyn FnMut() -> bool,
    ) -> Result<Observation, Failed> {
        // The container is removed before the volumes that it uses.
        let copies = self.copies()?;
        let is_as_given = self.is_as_given && attempt.set == self.most && self.edits.is_none();
        let caps = (!is_as_given).then_some(attempt.set);
        let (engine, copied) = (&self.engine, &copies.names);
        let edits = self.edits.as_ref().map(|(edits, _)| edits);
        let created =
            Created::new(engine, &self.recipe, caps, copied, self.has_health_check, edits)?;
        let id = &*created.id;
        if !self.recipe.start_others(engine, cancelled)? {
            return Ok(interrupted());
        }
        let failed = |err| Op::Fork.thread(err);
        let (capture, [out, err]) = Capture::start().map_err(failed)?;
        let mut client = self.engine.command(&["start", "--attach", id]);
        client.stdout(out).stderr(err);
        let (mut tracer, mut child) = self.recorded.start(client, &self.options)?;
        let named = self.check(id);
        let mut check = named.as_ref().map(|(_, line)| HealthCheck::new(line));
        let limit = attempt.limit.or(self.is_limited().then_some(Duration::from_secs(120)));
        let watch = Watch::new(check.as_mut(), self.setup.settle, limit);
        let is_inside = self.setup.check.is_none();
        let over = wait(&mut child, tracer.as_mut(), watch, is_inside, cancelled)?;
        let facts = self.engine.inspect(id)?;
        check_bounding(&facts, attempt.set)?;
        let effects = if over == Over::Cancelled {
            Effects::default()
        } else {
            view::effects(&self.engine, id, &facts)?
        };
        if let Some(check) = &mut check {
            check.end();
        }
        drop(created);
        let _ = child.wait();
        let [out, err] = capture.finish();
        let end = end(over, &facts["State"]);
        let printed = err.last_line().or_else(|| out.last_line()).unwrap_or_default();
        let message = match runtime_error(&facts["State"]) {
            "" => printed,
            words if end == End::NotExecuted => words.to_owned(),
            _ => printed,
        };
        let mut observation = Observation {
            end,
            message,
            check: check.zip(named).map(|(check, (command, _))| Checked::new(command, &check)),
            effects,
            output: self.setup.same_output.then(|| out.output()),
            notes: notes(over, self.setup.settle),
            lost: Some(0),
            ..Observation::default()
        };
        if let Some(tracer) = &mut tracer {
            let recording = tracer.finish(|_| ())?;
            observation.lost = recording.lost;
            observation.gap = recording.gaps.first().map(ToString::to_string);
            observation.analysis = recording.analysis;
        }
        Ok(observation)
    }
}

/// Waits until the container has ended, or is known to work, or may not go on. `is_inside` is whether
/// the check is made in the container.
fn wait(
    child: &mut Child,
    mut tracer: Option<&mut Tracer>,
    mut watch: Watch<'_>,
    is_inside: bool,
    cancelled: &mut dyn FnMut() -> bool,
) -> Result<Over, Failed> {
    const PULSE: Duration = Duration::from_millis(20);
    loop {
        match &mut tracer {
            Some(tracer) => tracer.poll(|_| ())?,
            None => thread::sleep(PULSE),
        }
        if cancelled() {
            return Ok(Over::Cancelled);
        }
        let has_ended = child.try_wait().map_err(|err| Op::Wait.thread(err))?.is_some();
        // Nothing can be executed in a container that has ended.
        if has_ended && is_inside {
            return Ok(Over::Known);
        }
        if let Some(over) = watch.step(has_ended)? {
            return Ok(over);
        }
    }
}

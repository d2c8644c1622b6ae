//! The recording of a unit, in a slice of its own.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio, time::Instant};

use super::{
    Afterwards, Conditions, Session,
    run::{Client, PAUSE},
};
use crate::{
    Op,
    service::{Facts, Failed, Manager, manager::command, scratch::is_scratch},
    trace::{Backend, Options, Recording, RefusedWrites, Seen, Target, Tracer, unified},
};

impl Session {
    /// Restarts a unit, or starts it, and records it from its first instruction until it ends or
    /// `goes_on` returns false. `each` is called for each check. The unit is then restarted without
    /// the slice that it has for the recording, and is running, unless it is a [`Scratch`](crate::service::Scratch).
    ///
    /// Returns the recording, and whether the unit is running again.
    ///
    /// # Errors
    ///
    /// Those of [`Session::open`] and [`Session::run`], and those of [`Tracer::attach`]; in the
    /// result, those of [`Session::restore`].
    pub fn record(
        name: &str,
        conditions: Conditions,
        each: &mut dyn FnMut(&Seen),
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<(Recording, Result<(), Failed>), Failed> {
        Backend::Bpf.check()?;
        let options = conditions.recording.clone().unwrap_or_default();
        let facts = Facts::of(conditions.manager, name)?;
        let cancelled = Box::new(|| false);
        let is_kept = !is_scratch(facts.id());
        let afterwards = if is_kept { Afterwards::Running } else { Afterwards::AsBefore };
        let mut session = Session::new(&facts, conditions, cancelled, afterwards)?;
        session.renew()?;
        let slice = slice(1);
        let mut tracer = Recorder::start(facts.manager(), &slice, &options)?.tracer;
        session.apply(&[format!("Slice={slice}")])?;
        let id = facts.id();
        let mut client = command("systemctl", &[session.option(), "restart", "--", id]);
        client.stdout(Stdio::null()).stderr(Stdio::null());
        let client = client.spawn().map_err(|err| Op::Fork.thread(err))?;
        let mut starting = Client(client);
        let mut asked = Instant::now();
        while goes_on() {
            tracer.poll(&mut *each)?;
            session.renew()?;
            let has_started = starting.0.try_wait().map_err(|err| Op::Wait.thread(err))?.is_some();
            if has_started && asked.elapsed() >= PAUSE {
                asked = Instant::now();
                if !facts.again()?.activity().is_up() {
                    break;
                }
            }
        }
        drop(starting);
        let recording = tracer.finish(&mut *each)?;
        Ok((recording, session.restore()))
    }
}

/// Returns the name of the slice of a run, which is not below another one.
pub(super) fn slice(run: u32) -> String {
    format!("rcap{}n{run}.slice", std::process::id())
}

/// The recording of a run.
pub(super) struct Recorder {
    pub(super) tracer: Tracer,
    /// The writes that a read-only mount refuses, if this kernel shows them.
    writes: Option<RefusedWrites>,
}

impl Recorder {
    /// Starts a slice, and the recording of the service that will be started in it.
    pub(super) fn start(
        manager: Manager,
        slice: &str,
        options: &Options,
    ) -> Result<Recorder, Failed> {
        manager.systemctl(&["start", "--", slice])?;
        let group = group(&Facts::of(manager, slice)?)?;
        let writes = RefusedWrites::new(&group).ok();
        Ok(Recorder { tracer: Tracer::attach(&[Target::NewService(group)], options)?, writes })
    }

    /// Reads what was recorded.
    pub(super) fn poll(&mut self) -> Result<(), Failed> {
        self.tracer.poll(|_| ())?;
        Ok(self.writes.as_mut().map_or(Ok(()), RefusedWrites::poll)?)
    }

    /// Ends the recording, and returns the paths of refused writes too.
    pub(super) fn finish(mut self) -> Result<(Recording, BTreeSet<PathBuf>), Failed> {
        let recording = self.tracer.finish(|_| ())?;
        let writes = self.writes.map(RefusedWrites::finish).transpose()?;
        Ok((recording, writes.unwrap_or_default()))
    }
}

/// Returns the control group of a unit.
pub(super) fn group(unit: &Facts) -> Result<PathBuf, Failed> {
    let group = unit.get("ControlGroup").trim_start_matches('/');
    match unified().filter(|_| !group.is_empty()) {
        Some(root) => Ok(root.join(group)),
        None => Err(Failed::Unfit(format!("{} has no control group", unit.id()))),
    }
}

//! One run of a unit: its start, its check, its recording and its end.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Afterwards, Conditions, LIMIT, Session};
use crate::{
    Op,
    service::{
        Facts, Failed,
        manager::{command, last_line, systemctl},
    },
    trace::{
        Backend, Options, Recording, Seen, Target, Tracer,
        minimize::{Capture, Checked, End, Observation, Stream},
        run::{HealthCheck, Over, Watch},
        unified,
    },
};

/// The time between two questions to systemd.
const PAUSE: Duration = Duration::from_millis(200);

impl Session {
    /// Stops the unit, and returns systemd's word for the result. Its processes are killed after
    /// `limit`.
    pub(super) fn stop(
        &mut self,
        tracer: &mut Option<Tracer>,
        limit: Duration,
    ) -> Result<String, Failed> {
        let id = self.before.id().to_owned();
        let mut client = command("systemctl", &["stop", "--", &id]);
        client.stdout(Stdio::null()).stderr(Stdio::null());
        let mut stopping = Client(client.spawn().map_err(|err| Op::Fork.thread(err))?);
        let begun = Instant::now();
        let mut is_killed = false;
        while stopping.0.try_wait().map_err(|err| Op::Wait.thread(err))?.is_none() {
            pause(tracer)?;
            self.renew()?;
            if !is_killed && begun.elapsed() > limit {
                is_killed = true;
                let _ = systemctl(&["kill", "--signal=SIGKILL", "--", &id]);
            }
        }
        let facts = Facts::of(&id)?;
        Ok(facts.get("Result").to_owned())
    }

    /// Starts the unit, and waits until it is known whether it works.
    pub(super) fn start(
        &mut self,
        tracer: &mut Option<Tracer>,
        limit: Option<Duration>,
    ) -> Result<Observation, Failed> {
        let id = self.before.id().to_owned();
        // It fails for a unit that has not failed.
        let _ = systemctl(&["reset-failed", "--", &id]);
        let failed = |err| Op::Fork.thread(err);
        let (capture, [out, err]) = Capture::start().map_err(failed)?;
        let mut client = command("systemctl", &["restart", "--", &id]);
        client.stdout(out).stderr(err);
        let mut starting = Client(client.spawn().map_err(failed)?);
        drop(client);
        let mut check = self.conditions.check.as_deref().map(HealthCheck::new);
        let limit = limit.unwrap_or(LIMIT);
        let over = self.wait(&mut starting.0, tracer, check.as_mut(), limit)?;
        drop(starting);
        let [_, complaint] = capture.finish();
        let facts = Facts::of(&id)?;
        if let Some(check) = &mut check {
            check.end();
        }
        Ok(self.observation(over, &facts, check, &complaint))
    }

    fn observation(
        &self,
        over: Over,
        facts: &Facts,
        check: Option<HealthCheck>,
        complaint: &Stream,
    ) -> Observation {
        let end = match (over, facts.end()) {
            (Over::Cancelled, _) => End::Interrupted,
            (_, Some(end)) => end,
            (Over::TimedOut, None) => End::TimedOut,
            (Over::Settled | Over::Known, None) => End::Stopped,
        };
        let mut seen = Observation { end, lost: Some(0), ..Observation::default() };
        seen.check = check.map(|check| self.checked(&check));
        if !matches!(end, End::Stopped | End::Interrupted) {
            let told = || complaint.last_line().filter(|_| end == End::NotStarted);
            let line = last_line(facts.get("InvocationID"));
            let line = Some(line).filter(|line| !line.is_empty()).or_else(told);
            seen.message = line.unwrap_or_else(|| facts.words());
        }
        if let (End::Stopped, Ok(target)) = (end, Target::unit(facts.id())) {
            seen.effects.add_processes(&target.processes().unwrap_or_default());
        }
        if over == Over::Settled {
            let seconds = self.conditions.settle.as_secs_f64();
            seen.notes.push(format!("each run ended {seconds} s after --check had succeeded"));
        }
        seen
    }

    /// Restarts a unit, or starts it, and records it from its first instruction until it ends or
    /// `goes_on` returns false. `each` is called for each check. The unit is then restarted without
    /// the slice that it has for the recording, and is running.
    ///
    /// # Errors
    ///
    /// Those of [`Session::open`] and [`Session::run`], and those of [`Tracer::attach`].
    pub fn record(
        name: &str,
        conditions: Conditions,
        each: &mut dyn FnMut(&Seen),
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Recording, Failed> {
        Backend::Bpf.check()?;
        let options = conditions.recording.clone().unwrap_or_default();
        let facts = Facts::of(name)?;
        let cancelled = Box::new(|| false);
        let mut session = Session::new(&facts, conditions, cancelled, Afterwards::Running)?;
        session.renew()?;
        let slice = slice(1);
        let mut tracer = recorder(&slice, &options)?;
        session.apply(&[format!("Slice={slice}")])?;
        let id = facts.id();
        let mut client = command("systemctl", &["restart", "--", id]);
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
                if !Facts::of(id)?.activity().is_up() {
                    break;
                }
            }
        }
        drop(starting);
        let recording = tracer.finish(&mut *each)?;
        session.restore()?;
        Ok(recording)
    }

    fn checked(&self, check: &HealthCheck) -> Checked {
        let command = self.conditions.check.as_deref().unwrap_or_default();
        Checked {
            command: format!("--check '{command}'"),
            passed: check.passed(),
            exit: check.exit(),
            message: check.message().to_owned(),
        }
    }

    /// Waits for the end of a run, which begins with the client that restarts the unit.
    fn wait(
        &mut self,
        client: &mut Child,
        tracer: &mut Option<Tracer>,
        check: Option<&mut HealthCheck>,
        limit: Duration,
    ) -> Result<Over, Failed> {
        let mut watch = Watch::new(check, self.conditions.settle, Some(limit));
        let mut is_starting = true;
        let mut asked: Option<Instant> = None;
        let mut has_ended = false;
        loop {
            pause(tracer)?;
            if (self.cancelled)() {
                return Ok(Over::Cancelled);
            }
            self.renew()?;
            if is_starting {
                is_starting = client.try_wait().map_err(|err| Op::Wait.thread(err))?.is_none();
            }
            if is_starting {
                // The check would find the process of the last run.
                if watch.is_over_time() {
                    return Ok(Over::TimedOut);
                }
                continue;
            }
            if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
                has_ended = !Facts::of(self.before.id())?.activity().is_up();
                asked = Some(Instant::now());
            }
            if let Some(over) = watch.step(has_ended)? {
                return Ok(over);
            }
        }
    }
}

/// A client that is waiting for a job. It is killed when dropped, and the job goes on.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits a little, and reads the recording.
fn pause(tracer: &mut Option<Tracer>) -> Result<(), Failed> {
    const PULSE: Duration = Duration::from_millis(20);
    match tracer {
        Some(tracer) => tracer.poll(|_| ())?,
        None => thread::sleep(PULSE),
    }
    Ok(())
}

/// Returns the name of the slice of a run, which is not below another one.
pub(super) fn slice(run: u32) -> String {
    format!("rcap{}n{run}.slice", std::process::id())
}

/// Starts a slice, and the recording of the service that will be started in it.
pub(super) fn recorder(slice: &str, options: &Options) -> Result<Tracer, Failed> {
    systemctl(&["start", "--", slice])?;
    let group = Facts::of(slice)?.get("ControlGroup").trim_start_matches('/').to_owned();
    let root = unified().filter(|_| !group.is_empty());
    let Some(root) = root else {
        return Err(Failed::Unfit(format!("{slice} has no control group")));
    };
    Ok(Tracer::attach(&[Target::NewService(root.join(group))], options)?)
}

//! One run of a unit: its start, its check and its end.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    LIMIT, Session,
    record::{Recorder, group},
};
use crate::{
    Op,
    service::{
        Facts, Failed,
        manager::{command, last_line},
    },
    trace::{
        Target,
        minimize::{Capture, Checked, End, Observation, Stream},
        run::{HealthCheck, Over, Watch},
    },
};

/// The time between two questions to systemd.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

impl Session {
    /// Stops the unit, and returns systemd's word for the result. Its processes are killed after
    /// `limit`.
    pub(super) fn stop(
        &mut self,
        recorder: &mut Option<Recorder>,
        limit: Duration,
    ) -> Result<String, Failed> {
        let id = self.before.id().to_owned();
        let mut client = command("systemctl", &[self.option(), "stop", "--", &id]);
        client.stdout(Stdio::null()).stderr(Stdio::null());
        let mut stopping = Client(client.spawn().map_err(|err| Op::Fork.thread(err))?);
        let begun = Instant::now();
        let mut is_killed = false;
        while stopping.0.try_wait().map_err(|err| Op::Wait.thread(err))?.is_none() {
            pause(recorder)?;
            self.renew()?;
            if !is_killed && begun.elapsed() > limit {
                is_killed = true;
                let _ = self.systemctl(&["kill", "--signal=SIGKILL", "--", &id]);
            }
        }
        let facts = self.before.again()?;
        Ok(facts.get("Result").to_owned())
    }

    /// Starts the unit, and waits until it is known whether it works.
    pub(super) fn start(
        &mut self,
        recorder: &mut Option<Recorder>,
        limit: Option<Duration>,
    ) -> Result<Observation, Failed> {
        let id = self.before.id().to_owned();
        // It fails for a unit that has not failed.
        let _ = self.systemctl(&["reset-failed", "--", &id]);
        let failed = |err| Op::Fork.thread(err);
        let (capture, [out, err]) = Capture::start().map_err(failed)?;
        let mut client = command("systemctl", &[self.option(), "restart", "--", &id]);
        client.stdout(out).stderr(err);
        let mut starting = Client(client.spawn().map_err(failed)?);
        drop(client);
        let conditions = &self.conditions;
        let command = conditions.check_command.as_ref().or(conditions.check.as_ref());
        let mut check = command.map(|command| HealthCheck::new(command));
        let limit = limit.unwrap_or(LIMIT);
        let over = self.wait(&mut starting.0, recorder, check.as_mut(), limit)?;
        drop(starting);
        let [_, complaint] = capture.finish();
        let facts = self.before.again()?;
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
            let line = last_line(facts);
            let line = Some(line).filter(|line| !line.is_empty()).or_else(told);
            seen.message = line.unwrap_or_else(|| facts.words());
        }
        if let (End::Stopped, Ok(group)) = (end, group(facts)) {
            let processes = Target::Cgroup(group).processes();
            seen.effects.add_processes(&processes.unwrap_or_default());
        }
        if over == Over::Settled {
            let seconds = self.conditions.settle.as_secs_f64();
            seen.notes.push(format!("each run ended {seconds} s after --check had succeeded"));
        }
        seen
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
        recorder: &mut Option<Recorder>,
        check: Option<&mut HealthCheck>,
        limit: Duration,
    ) -> Result<Over, Failed> {
        let mut watch = Watch::new(check, self.conditions.settle, Some(limit));
        let mut is_starting = true;
        let mut asked: Option<Instant> = None;
        let mut has_ended = false;
        loop {
            pause(recorder)?;
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
                has_ended = !self.before.again()?.activity().is_up();
                asked = Some(Instant::now());
            }
            if let Some(over) = watch.step(has_ended)? {
                return Ok(over);
            }
        }
    }
}

/// A client that is waiting for a job. It is killed when dropped, and the job goes on.
pub(super) struct Client(pub(super) Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits a little, and reads the recording.
fn pause(recorder: &mut Option<Recorder>) -> Result<(), Failed> {
    const PULSE: Duration = Duration::from_millis(20);
    match recorder {
        Some(recorder) => recorder.poll()?,
        None => thread::sleep(PULSE),
    }
    Ok(())
}

//! A unit that is restarted with other settings for a while, and then restored.

use std::{
    collections::BTreeSet,
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Activity, DropIn, Facts, Failed, Manager,
    drop_in::{section_lines, write},
    manager::{dependents, output},
    restore::{DROP_IN, FORMER, Place, UNDO, restore, restore_former, restorer, script, slices},
};
use crate::trace::{
    Backend, Options,
    minimize::{Aspect, End, Observation, Subject},
};

mod record;
mod run;

use record::{Recorder, slice};

/// The default time limit of a run.
const LIMIT: Duration = Duration::from_secs(120);
/// The conditions under which a unit runs, and under which it counts as working.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Conditions {
    /// A shell command that succeeds once the service works. Only a unit that ends by itself can do
    /// without one.
    pub check: Option<String>,
    /// How long the unit runs on after the check has succeeded.
    pub settle: Duration,
    /// The time after which systemd restores the unit if this process is killed. The timer starts
    /// again and again while this process lives.
    pub restore_after: Duration,
    /// The name of the drop-in file that [`Session::write`] writes.
    pub file: String,
    /// Whether the unit ends by itself, so that no check is necessary.
    pub ends: bool,
    /// The command that is run in the place of `check`, which only messages contain then.
    /// ([`Scratch::check`](super::Scratch::check))
    pub check_command: Option<String>,
    /// The manager of the unit.
    pub manager: Manager,
    /// How the kernel's checks are recorded; `None` if they are not. A service is recorded by its
    /// control group, and runs in a slice of its own for that.
    pub recording: Option<Options>,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            check: None,
            settle: Duration::from_secs(2),
            restore_after: Duration::from_secs(30),
            file: DropIn::FILE.to_owned(),
            ends: false,
            check_command: None,
            manager: Manager::System,
            recording: None,
        }
    }
}

/// Runs a unit with more settings, again and again, and then restores it.
///
/// [`Session::open`] notes whether the unit is running. Each [`Session::run`] starts it with
/// lines of the section `[Service]` in a drop-in file, which comes after all others, waits for the
/// check, and stops the unit. [`Session::restore`] removes the file and starts the unit again, or
/// leaves it stopped if it was not running before. The same
/// happens when the session is dropped; when this process is killed, by a timer of systemd; and
/// when the next session for the unit is opened.
///
/// ```no_run
/// use rcap::{
///     service::{Conditions, Session},
///     trace::minimize::End,
/// };
///
/// let mut conditions = Conditions::default();
/// conditions.check = Some("curl --fail --silent localhost".to_owned());
/// let mut session = Session::open("nginx.service", conditions, Box::new(|| false))?;
/// let seen = session.run(&["ProtectHome=yes".to_owned()], None)?;
/// for failure in seen.failures(0) {
///     println!("with ProtectHome=yes, {}", failure.with_message(&seen.message));
/// }
/// session.restore()?;
/// # Ok::<(), rcap::service::Failed>(())
/// ```
///
/// In a run, `Restart=no` applies, so that a failure is final, and the rate of starts is
/// unlimited.
#[expect(missing_debug_implementations, reason = "it contains a closure")]
pub struct Session {
    before: Facts,
    conditions: Conditions,
    cancelled: Box<dyn FnMut() -> bool>,
    place: Place,
    /// The active units that systemd stops with it.
    dependents: Vec<String>,
    /// The file that stays.
    drop_in: DropIn,
    /// The shell script that restores the unit.
    script: String,
    /// The time at which the timer was started.
    armed: Option<Instant>,
    /// The number of runs.
    runs: u32,
    /// Whether this session has stopped the unit.
    is_down: bool,
    /// The paths of the last run's refused writes.
    refused_writes: BTreeSet<PathBuf>,
}

/// The state of a unit after a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    AsBefore,
    Running,
}

impl Session {
    /// Opens a session for a unit, by any of its names, after restoring what a killed session has
    /// left. The unit is not changed yet. `cancelled` ends a run when it returns true.
    ///
    /// # Errors
    ///
    /// The unit cannot be restarted and restored, only a check could show that it works, or another
    /// session is open.
    pub fn open(
        name: &str,
        conditions: Conditions,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> Result<Session, Failed> {
        let facts = Facts::of(conditions.manager, name)?;
        let ends = conditions.ends || facts.get("Type") == "oneshot";
        if conditions.check.is_none() && !ends {
            if let Some(words) = facts.unfit() {
                return Err(Failed::Unfit(words));
            }
            let words = "a check has to show that the service works (--check)";
            return Err(Failed::Unfit(words.to_owned()));
        }
        Session::new(&facts, conditions, cancelled, Afterwards::AsBefore)
    }

    fn new(
        facts: &Facts,
        mut conditions: Conditions,
        cancelled: Box<dyn FnMut() -> bool>,
        afterwards: Afterwards,
    ) -> Result<Session, Failed> {
        if let Some(words) = facts.unfit() {
            return Err(Failed::Unfit(words));
        }
        if let Some(backend) = conditions.recording.as_ref().and_then(|options| options.backend) {
            if backend != Backend::Bpf {
                let words = "a service is recorded by its control group, which requires the \
                             backend bpf";
                return Err(Failed::Unfit(words.to_owned()));
            }
        }
        if Backend::Bpf.check().is_err() {
            conditions.recording = None;
        }
        let mut place = Place::lock(facts)?;
        if restore_former(facts, &place.directory)? {
            // The directory that was locked is gone.
            place = Place::lock(facts)?;
        }
        let before = facts.again()?;
        if before.activity() == Activity::Changing {
            let words = "it is being started or stopped: wait until it is up or down";
            return Err(Failed::Unfit(words.to_owned()));
        }
        let is_up = before.activity().is_up() || afterwards == Afterwards::Running;
        let dependents = dependents(&before)?;
        let drop_in = DropIn::new(&before, &conditions.file)?;
        let script = script(&before, is_up, &dependents, &place.directory, drop_in.path());
        Ok(Session {
            before,
            conditions,
            cancelled,
            place,
            script,
            dependents,
            drop_in,
            armed: None,
            runs: 0,
            is_down: false,
            refused_writes: BTreeSet::new(),
        })
    }

    /// Returns the unit as it was before the first run.
    pub fn before(&self) -> &Facts {
        &self.before
    }

    /// Returns whether the kernel's checks are recorded: they were asked for, and this kernel
    /// supports it.
    pub fn is_recorded(&self) -> bool {
        self.conditions.recording.is_some()
    }

    /// Runs a command in the place of the check, which only messages contain then.
    pub(super) fn replace_check(&mut self, by: impl FnOnce(&str) -> Option<String>) {
        self.conditions.check_command = self.conditions.check.as_deref().and_then(by);
    }

    /// Returns the paths of the writes that a read-only mount refused in the last run, if it was
    /// recorded.
    pub fn refused_writes(&self) -> &BTreeSet<PathBuf> {
        &self.refused_writes
    }

    /// Starts the unit with these lines of the section `[Service]`, and waits until it has ended, or
    /// the check has succeeded and the time to settle is over, or `limit` has passed. The default
    /// for `limit` is two minutes. A unit that is up is then stopped, with the same settings; the
    /// result of that is one of the effects. The first run stops a unit that was running before,
    /// with its own settings.
    ///
    /// # Errors
    ///
    /// The settings cannot be applied, or systemctl(1) fails. A unit that does not work with them is
    /// an [`Observation`].
    pub fn run(
        &mut self,
        settings: &[String],
        limit: Option<Duration>,
    ) -> Result<Observation, Failed> {
        if (self.cancelled)() {
            return Ok(Observation { end: End::Interrupted, ..Observation::default() });
        }
        self.renew()?;
        if !self.is_down {
            // Its own settings have to stop it, which a run may lack.
            self.apply(&[])?;
            self.stop(&mut None, limit.unwrap_or(LIMIT))?;
            self.is_down = true;
        }
        self.runs += 1;
        let (mut settings, mut recorder) = (settings.to_vec(), None);
        if let Some(options) = &self.conditions.recording {
            let slice = slice(self.runs);
            settings.push(format!("Slice={slice}"));
            recorder = Some(Recorder::start(self.before.manager(), &slice, options)?);
        }
        self.apply(&settings)?;
        let mut seen = self.start(&mut recorder, limit)?;
        if seen.end == End::Stopped {
            let end = self.stop(&mut recorder, limit.unwrap_or(LIMIT))?;
            let name = self.before.id().to_owned();
            seen.effects.insert(Subject::Stop(name), Aspect::Attribute("result".to_owned()), end);
        }
        self.refused_writes.clear();
        if let Some(recorder) = recorder {
            let (recording, writes) = recorder.finish()?;
            self.refused_writes = writes;
            seen.lost = recording.lost;
            seen.gap = recording.gaps.first().map(ToString::to_string);
            seen.analysis = recording.analysis;
            let _ = self.systemctl(&["stop", "--", &slice(self.runs)]);
        }
        Ok(seen)
    }

    /// Writes the drop-in file, and makes systemd read it.
    fn apply(&self, settings: &[String]) -> Result<(), Failed> {
        let path = self.place.directory.join(DROP_IN);
        let text = drop_in(settings, &self.timer())?;
        write(&path, &text).map_err(|err| Failed::Unfit(format!("{}: {err}", path.display())))?;
        self.systemctl(&["daemon-reload"])?;
        let drop_ins = self.before.again()?.drop_ins();
        match drop_ins.last() {
            Some(last) if *last == path => Ok(()),
            Some(last) if drop_ins.contains(&path) => Err(Failed::Unfit(format!(
                "{} comes after {}, so its settings would win",
                last.display(),
                path.display()
            ))),
            _ => Err(Failed::Unfit(format!("systemd does not read {}", path.display()))),
        }
    }

    fn systemctl(&self, args: &[&str]) -> Result<String, Failed> {
        self.before.manager().systemctl(args)
    }

    /// Returns the option of the clients that selects the manager of the unit.
    fn option(&self) -> &'static str {
        self.before.manager().option()
    }

    fn timer(&self) -> String {
        format!("{}.timer", restorer(self.before.id()))
    }

    /// Returns whether the user has interrupted the session.
    pub(super) fn is_cancelled(&mut self) -> bool {
        (self.cancelled)()
    }

    /// Starts the timer, or starts it again if a quarter of its time has passed.
    pub(super) fn renew(&mut self) -> Result<(), Failed> {
        let after = self.conditions.restore_after;
        if self.armed.is_some_and(|armed| armed.elapsed() < after / 4) {
            return Ok(());
        }
        // It has elapsed if this process was stopped for a while.
        if self.armed.is_none() || self.systemctl(&["restart", "--", &self.timer()]).is_err() {
            output(
                "systemd-run",
                &[
                    self.option(),
                    "--quiet",
                    "--no-ask-password",
                    &format!("--unit={}", restorer(self.before.id())),
                    &format!("--description=Restore {} after rcap", self.before.id()),
                    &format!("--on-active={}ms", after.as_millis()),
                    "--timer-property=AccuracySec=100ms",
                    "--timer-property=StartLimitIntervalSec=0",
                    // systemd forgets how a unit has ended that no other one refers to.
                    &format!("--timer-property=Before={}", self.before.id()),
                    "--property=StartLimitIntervalSec=0",
                    "--service-type=oneshot",
                    "/bin/sh",
                    "-c",
                    &self.script,
                ],
            )?;
        }
        self.armed = Some(Instant::now());
        Ok(())
    }

    /// Restores the unit: removes the drop-in file, and restarts the unit, or stops it if it was not
    /// running before.
    ///
    /// # Errors
    ///
    /// systemctl(1) fails. The timer is still there then, so that systemd tries again. Or the unit
    /// does not run with its own settings.
    pub fn restore(mut self) -> Result<(), Failed> {
        self.put_back()
    }

    /// Writes these lines of the section `[Service]` to the drop-in file that stays, restarts the
    /// unit without the settings of the last run, and keeps the file if the unit works and ends with
    /// `expect`, if it ends. Otherwise the file and the unit are restored. A unit that was not
    /// running before is stopped.
    ///
    /// # Errors
    ///
    /// The file cannot be written, is not rcap's, or does not come last among the drop-in files that
    /// have the same settings. It and the unit are restored then.
    pub fn write(
        mut self,
        settings: &[String],
        expect: i32,
        limit: Option<Duration>,
    ) -> Result<Observation, Failed> {
        self.renew()?;
        let place = self.place.directory.clone();
        let failed = |err: io::Error| Failed::Unfit(format!("{}: {err}", place.display()));
        match self.drop_in.read()? {
            Some(former) => write(&place.join(FORMER[0]), &former).map_err(failed)?,
            None => write(&place.join(FORMER[1]), "").map_err(failed)?,
        }
        // From here on, the script has something to do.
        write(&place.join(UNDO), "").map_err(failed)?;
        match fs::remove_file(place.join(DROP_IN)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(failed(err)),
            _ => {}
        }
        self.drop_in.write(settings)?;
        self.systemctl(&["daemon-reload"])?;
        self.drop_in.must_win(&self.before.again()?, settings)?;
        let seen = self.start(&mut None, limit)?;
        if seen.end == End::Interrupted || !seen.failures(expect).is_empty() {
            self.put_back()?;
            return Ok(seen);
        }
        for name in FORMER.iter().chain(&[UNDO]) {
            let _ = fs::remove_file(place.join(name));
        }
        self.armed = None;
        let _ = fs::remove_dir(&place);
        self.systemctl(&["stop", "--", &self.timer()])?;
        let _ = self.systemctl(&["stop", "--", &slices()]);
        if !self.before.activity().is_up() {
            self.systemctl(&["stop", "--", self.before.id()])?;
        } else if !self.dependents.is_empty() {
            let names = self.dependents.iter().map(String::as_str);
            let words: Vec<&str> = ["start", "--"].into_iter().chain(names).collect();
            self.systemctl(&words)?;
        }
        Ok(seen)
    }

    fn put_back(&mut self) -> Result<(), Failed> {
        if self.armed.take().is_none() {
            // Nothing was changed, except for the directory that is locked.
            let _ = fs::remove_dir(&self.place.directory);
            return Ok(());
        }
        let restored = restore(&self.before, &self.place.directory);
        let _ = fs::remove_dir(&self.place.directory);
        restored
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.put_back();
    }
}

/// Returns the text of the drop-in file of a run.
fn drop_in(settings: &[String], timer: &str) -> Result<String, Failed> {
    let mut text = format!(
        "# The settings of a trial by rcap. {timer} removes this file and restores the unit.\n\
         [Unit]\nStartLimitIntervalSec=0\n\n[Service]\nRestart=no\n"
    );
    text.push_str(&section_lines(settings)?);
    Ok(text)
}

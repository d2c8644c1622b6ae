//! A unit that is restarted with other settings for a while, and then restored.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    DropIn, Facts, Failed,
    drop_in::{section_lines, write},
    manager::{command, dependents, last_line, output, systemctl},
};
use crate::{
    Op,
    settings::shell_word,
    trace::{
        Backend, Options, Recording, Target, Tracer,
        minimize::{Capture, Checked, End, Observation, Stream},
        run::{HealthCheck, Over, Watch},
        unified,
    },
};

/// The directory of drop-in files that end with the machine's uptime. (systemd.unit(5))
const DIRECTORY: &str = "/run/systemd/system";
/// The drop-in file of a run. Its name sorts after those that people use, because the last file
/// wins.
const DROP_IN: &str = "zz-rcap-trial.conf";
/// The same file while the unit is being restored.
const UNDO: &str = "zz-rcap-trial.undo";
/// A copy of the drop-in file that [`Session::write`] replaces, until the unit works with the new
/// one; or an empty file if there was none.
const FORMER: [&str; 2] = ["zz-rcap-trial.former", "zz-rcap-trial.none"];

/// The conditions under which a unit runs, and under which it counts as working.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Conditions {
    /// A shell command that succeeds once the service works. Only a unit with `Type=oneshot` can do
    /// without one.
    pub check: Option<String>,
    /// How long the unit runs on after the check has succeeded.
    pub settle: Duration,
    /// The time after which systemd restores the unit if this process is killed. The timer starts
    /// again and again while this process lives.
    pub restore_after: Duration,
    /// The name of the drop-in file that [`Session::write`] writes.
    pub file: String,
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
            recording: None,
        }
    }
}

/// Runs a unit with more settings, again and again, and then restores it.
///
/// [`Session::open`] notes whether the unit is running. Each [`Session::run`] restarts it with
/// lines of the section `[Service]` in a drop-in file, which comes after all others, and waits for
/// the check. Between two runs, the unit keeps the settings of the last one. [`Session::restore`]
/// removes the file and restarts the unit, or stops it if it was not running before. The same
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
/// In a run, `Restart=no` applies, so that a failure is final, and there is no limit for the rate of
/// starts.
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
}

/// The directory of the unit's drop-in files, which is locked.
struct Place {
    directory: PathBuf,
    _lock: Flock<File>,
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
        mut conditions: Conditions,
        cancelled: Box<dyn FnMut() -> bool>,
    ) -> Result<Session, Failed> {
        let facts = Facts::of(name)?;
        if let Some(words) = facts.unfit() {
            return Err(Failed::Unfit(words));
        }
        if conditions.check.is_none() && facts.get("Type") != "oneshot" {
            let words = "a check has to show that the service works (--check)";
            return Err(Failed::Unfit(words.to_owned()));
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
        let mut place = Place::lock(facts.id())?;
        if restore_former(facts.id(), &place.directory)? {
            // The directory that was locked is gone.
            place = Place::lock(facts.id())?;
        }
        let before = Facts::of(facts.id())?;
        let dependents = dependents(&before)?;
        let drop_in = DropIn::new(before.id(), &conditions.file)?;
        let script = script(&before, &dependents, &place.directory, drop_in.path());
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

    /// Restarts the unit with these lines of the section `[Service]`, and waits until it has ended,
    /// or the check has succeeded and the time to settle is over, or `limit` has passed. The default
    /// for `limit` is two minutes.
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
        self.runs += 1;
        let (mut settings, mut tracer) = (settings.to_vec(), None);
        if let Some(options) = &self.conditions.recording {
            let slice = slice(self.runs);
            settings.push(format!("Slice={slice}"));
            tracer = Some(recorder(&slice, options)?);
        }
        self.apply(&settings)?;
        self.start(tracer, limit)
    }

    /// Restarts the unit, and waits until it is known whether it works.
    fn start(
        &mut self,
        mut tracer: Option<Tracer>,
        limit: Option<Duration>,
    ) -> Result<Observation, Failed> {
        let id = self.before.id().to_owned();
        // It fails for a unit that has not failed.
        let _ = systemctl(&["reset-failed", "--", &id]);
        let failed = |err| Op::Fork.thread(err);
        let (capture, [out, err]) = Capture::start().map_err(failed)?;
        let mut client = command("systemctl", &["restart", "--", &id]);
        client.stdout(out).stderr(err);
        let mut starting = Starting(client.spawn().map_err(failed)?);
        drop(client);
        let mut check = self.conditions.check.as_deref().map(HealthCheck::new);
        let limit = limit.unwrap_or(Duration::from_secs(120));
        let over = self.wait(&mut starting.0, tracer.as_mut(), check.as_mut(), limit)?;
        drop(starting);
        let [_, complaint] = capture.finish();
        let facts = Facts::of(&id)?;
        let recording = tracer.as_mut().map(|tracer| tracer.finish(|_| ())).transpose()?;
        if recording.is_some() && self.runs > 1 {
            // The last run was in another one, where nothing is left.
            let _ = systemctl(&["stop", "--", &slice(self.runs - 1)]);
        }
        if let Some(check) = &mut check {
            check.end();
        }
        Ok(self.observation(over, &facts, check, &complaint, recording))
    }

    fn observation(
        &self,
        over: Over,
        facts: &Facts,
        check: Option<HealthCheck>,
        complaint: &Stream,
        recording: Option<Recording>,
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
        if let Some(recording) = recording {
            seen.lost = recording.lost;
            seen.gap = recording.gaps.first().map(ToString::to_string);
            seen.analysis = recording.analysis;
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
        mut tracer: Option<&mut Tracer>,
        check: Option<&mut HealthCheck>,
        limit: Duration,
    ) -> Result<Over, Failed> {
        const PULSE: Duration = Duration::from_millis(20);
        /// The time between two questions to systemd.
        const PAUSE: Duration = Duration::from_millis(200);
        let mut watch = Watch::new(check, self.conditions.settle, Some(limit));
        let mut is_starting = true;
        let mut asked: Option<Instant> = None;
        let mut has_ended = false;
        loop {
            match &mut tracer {
                Some(tracer) => tracer.poll(|_| ())?,
                None => thread::sleep(PULSE),
            }
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

    /// Writes the drop-in file, and makes systemd read it.
    fn apply(&self, settings: &[String]) -> Result<(), Failed> {
        let path = self.place.directory.join(DROP_IN);
        let text = drop_in(settings, &self.timer())?;
        write(&path, &text).map_err(|err| Failed::Unfit(format!("{}: {err}", path.display())))?;
        systemctl(&["daemon-reload"])?;
        let drop_ins = Facts::of(self.before.id())?.drop_ins();
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

    fn timer(&self) -> String {
        format!("{}.timer", restorer(self.before.id()))
    }

    /// Starts the timer, or starts it again if a quarter of its time has passed.
    fn renew(&mut self) -> Result<(), Failed> {
        let after = self.conditions.restore_after;
        if self.armed.is_some_and(|armed| armed.elapsed() < after / 4) {
            return Ok(());
        }
        // It has elapsed if this process was stopped for a while.
        if self.armed.is_none() || systemctl(&["restart", "--", &self.timer()]).is_err() {
            output(
                "systemd-run",
                &[
                    "--quiet",
                    "--no-ask-password",
                    &format!("--unit={}", restorer(self.before.id())),
                    &format!("--description=Restore {} after rcap", self.before.id()),
                    &format!("--on-active={}ms", after.as_millis()),
                    "--timer-property=AccuracySec=100ms",
                    "--timer-property=StartLimitIntervalSec=0",
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
    /// systemctl(1) fails, or the unit does not start. The timer is still there then, so that
    /// systemd tries again.
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
        systemctl(&["daemon-reload"])?;
        self.drop_in.must_win(&Facts::of(self.before.id())?, settings)?;
        let seen = self.start(None, limit)?;
        if seen.end == End::Interrupted || !seen.failures(expect).is_empty() {
            self.put_back()?;
            return Ok(seen);
        }
        for name in FORMER.iter().chain(&[UNDO]) {
            let _ = fs::remove_file(place.join(name));
        }
        self.armed = None;
        let _ = fs::remove_dir(&place);
        systemctl(&["stop", "--", &self.timer()])?;
        let _ = systemctl(&["stop", "--", &slices()]);
        if !self.before.activity().is_up() {
            systemctl(&["stop", "--", self.before.id()])?;
        } else if !self.dependents.is_empty() {
            let names = self.dependents.iter().map(String::as_str);
            let words: Vec<&str> = ["start", "--"].into_iter().chain(names).collect();
            systemctl(&words)?;
        }
        Ok(seen)
    }

    fn put_back(&mut self) -> Result<(), Failed> {
        if self.armed.take().is_none() {
            // Nothing was changed, except for the directory that is locked.
            let _ = fs::remove_dir(&self.place.directory);
            return Ok(());
        }
        let restored = restore(self.before.id());
        let _ = fs::remove_dir(&self.place.directory);
        restored
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.put_back();
    }
}

/// A client that is waiting for a job. It is killed when dropped, and the job goes on.
struct Starting(Child);

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    /// Locks the directory of a unit's drop-in files.
    fn lock(id: &str) -> Result<Place, Failed> {
        let directory = Path::new(DIRECTORY).join(format!("{id}.d"));
        let failed = |err: io::Error| Failed::Unfit(format!("{}: {err}", directory.display()));
        loop {
            match fs::create_dir(&directory) {
                Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(failed(err)),
                _ => {}
            }
            let file = File::open(&directory).map_err(failed)?;
            let own = file.metadata().map_err(failed)?;
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    nix::errno::Errno::EWOULDBLOCK => {
                        Failed::Unfit("another rcap is measuring it".to_owned())
                    }
                    errno => failed(errno.into()),
                },
            )?;
            // The session that had it may have removed the directory.
            let is_same = |there: fs::Metadata| {
                (there.dev(), there.ino()) == (own.dev(), own.ino()) && there.is_dir()
            };
            if fs::symlink_metadata(&directory).is_ok_and(is_same) {
                return Ok(Place { directory, _lock: lock });
            }
        }
    }
}

/// Returns the name of the slice of a run, which is not below another one.
fn slice(run: u32) -> String {
    format!("rcap{}n{run}.slice", std::process::id())
}

/// Returns the pattern of the names of these slices.
fn slices() -> String {
    format!("rcap{}n*.slice", std::process::id())
}

/// Starts a slice, and the recording of the service that will be started in it.
fn recorder(slice: &str, options: &Options) -> Result<Tracer, Failed> {
    systemctl(&["start", "--", slice])?;
    let group = Facts::of(slice)?.get("ControlGroup").trim_start_matches('/').to_owned();
    let root = unified().filter(|_| !group.is_empty());
    let Some(root) = root else {
        return Err(Failed::Unfit(format!("{slice} has no control group")));
    };
    Ok(Tracer::attach(&[Target::NewService(root.join(group))], options)?)
}

/// Returns the name of the timer and of the service that restore a unit, without the suffix.
fn restorer(id: &str) -> String {
    // A name with an at sign is that of an instance.
    format!("rcap-restore-{}", id.trim_end_matches(".service").replace('@', "\\x40"))
}

/// Restores a unit by the service that the timer starts, and removes the timer.
fn restore(id: &str) -> Result<(), Failed> {
    let name = restorer(id);
    systemctl(&["start", "--", &format!("{name}.service")])?;
    systemctl(&["stop", "--", &format!("{name}.timer")]).map(drop)
}

/// Restores what a session has left whose process was killed. Returns whether there was something.
fn restore_former(id: &str, directory: &Path) -> Result<bool, Failed> {
    let name = restorer(id);
    let is_loaded = |suffix: &str| {
        let facts = Facts::of(&format!("{name}.{suffix}"));
        facts.map(|facts| facts.get("LoadState") == "loaded")
    };
    let is_left = |name: &str| directory.join(name).exists();
    let has_timer = is_loaded("timer")?;
    if has_timer {
        restore(id)?;
    } else if is_left(DROP_IN) || is_left(UNDO) {
        let path = directory.join(DROP_IN);
        let words = "is left from an earlier run, without the timer that restores the unit: remove \
                     it, run `systemctl daemon-reload`, and restart the unit";
        return Err(Failed::Unfit(format!("{} {words}", path.display())));
    }
    if is_loaded("service")? {
        // One that has failed would keep its name.
        let _ = systemctl(&["reset-failed", "--", &format!("{name}.service")]);
    }
    Ok(has_timer)
}

/// Returns the shell script that restores a unit. It does nothing if there is no drop-in file, and
/// goes on if it was interrupted. It has no dollar signs, which systemd would expand, and no
/// semicolons: systemd 252 escapes them in its own file, and then reads the backslash too.
fn script(before: &Facts, dependents: &[String], directory: &Path, file: &Path) -> String {
    let directory = shell_word(&directory.display().to_string());
    let id = shell_word(before.id());
    let [former, none] = FORMER;
    let file_directory = file.parent().unwrap_or(file).display().to_string();
    let file_directory = shell_word(&file_directory);
    let file = shell_word(&file.display().to_string());
    let mut script = format!(
        "cd {directory} 2>/dev/null || exit 0\n\
         [ -e {DROP_IN} ] && mv -f {DROP_IN} {UNDO}\n\
         [ -e {UNDO} ] || exit 0\n\
         [ -e {former} ] && mv -f {former} {file}\n\
         [ -e {none} ] && rm -f {file} {none}\n\
         rmdir {file_directory} 2>/dev/null\n\
         systemctl daemon-reload\n\
         systemctl reset-failed -- {id} 2>/dev/null\n"
    );
    let is_up = before.activity().is_up();
    let _ = writeln!(script, "systemctl {} -- {id}", if is_up { "restart" } else { "stop" });
    if is_up && !dependents.is_empty() {
        let names: Vec<String> = dependents.iter().map(|name| shell_word(name)).collect();
        let _ = writeln!(script, "systemctl start -- {}", names.join(" "));
    }
    let _ = writeln!(script, "systemctl stop -- '{}' 2>/dev/null", slices());
    let _ = writeln!(script, "rm -f {UNDO}\ncd /\nrmdir {directory} 2>/dev/null");
    let end =
        if is_up { format!("systemctl --quiet is-active -- {id}") } else { "true".to_owned() };
    script + &end
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        let facts =
            |state: &str| Facts::parse(&format!("Id=a\\x2db@c.service\nActiveState={state}\n"));
        let up = script(
            &facts("active"),
            &["b.service".to_owned()],
            Path::new("/run/d"),
            Path::new("/e"),
        );
        let down = script(
            &facts("failed"),
            &["b.service".to_owned()],
            Path::new("/run/d"),
            Path::new("/e"),
        );
        assert!(
            up.contains("systemctl restart -- 'a\\x2db@c.service'\nsystemctl start -- b.service\n")
        );
        assert!(
            down.contains("systemctl stop -- 'a\\x2db@c.service'\nsystemctl stop -- 'rcap"),
            "{down}"
        );
        assert!(!(up + &down).contains(['$', ';']));
        assert_eq!(restorer("a@c.service"), "rcap-restore-a\\x40c");
    }
}

//! The settings of a recording that no other process may change.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use super::tracefs::{Instance, NOBODY};

/// The interval of checks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Files of an instance, with their text when the recording was set up. They stay open, because they
/// are read all the time, and close before the instance is removed.
#[derive(Debug)]
pub(super) struct Settings {
    files: Vec<Setting>,
    /// The first file that another process has changed, and the time of the last check.
    changed: Option<String>,
    checked: Instant,
}

/// A file of a setting.
#[derive(Debug)]
struct Setting {
    name: String,
    /// `None` if it cannot be opened, as one that this kernel lacks.
    file: Option<File>,
    wanted: Wanted,
}

/// The text that a setting has to have.
#[derive(Debug)]
enum Wanted {
    /// One of its lines is this.
    Line(&'static str),
    /// It is this, or cannot be read.
    Text(Option<String>),
}

impl Setting {
    fn open(instance: &Instance, name: String, line: Option<&'static str>) -> Setting {
        let file = instance.open_to_read(&name).ok();
        let mut setting = Setting { name, file, wanted: Wanted::Text(None) };
        setting.wanted = line.map_or_else(|| Wanted::Text(setting.read()), Wanted::Line);
        setting
    }

    /// Returns the text from its beginning.
    fn read(&self) -> Option<String> {
        let text = self.file.as_ref().map(read_again)?.ok()?;
        String::from_utf8(text).ok()
    }

    fn is_as_wanted(&self) -> bool {
        match (&self.wanted, self.read()) {
            (Wanted::Text(wanted), text) => *wanted == text,
            (Wanted::Line(wanted), text) => {
                text.is_some_and(|text| text.lines().any(|line| line == *wanted))
            }
        }
    }
}

/// Reads a file of the kernel, which composes the text anew for a reader at its beginning.
fn read_again(file: &File) -> io::Result<Vec<u8>> {
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match file.read_at(&mut piece, text.len() as u64) {
            Ok(0) => return Ok(text),
            Ok(length) => text.extend(&piece[..length]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

impl Settings {
    /// Opens and reads the settings that concern every recording, and those in `files`.
    pub(super) fn of(instance: &Instance, files: Vec<String>) -> Settings {
        let general = [
            "trace_clock",
            "options/overwrite",
            "options/event-fork",
            "set_event_notrace_pid",
            "tracing_cpumask",
        ];
        let files = general.into_iter().map(str::to_owned).chain(files);
        let lines = [("tracing_on", "1"), ("set_event_pid", NOBODY)]
            .map(|(name, line)| (name.to_owned(), Some(line)));
        let all = lines.into_iter().chain(files.map(|name| (name, None)));
        let files = all.map(|(name, line)| Setting::open(instance, name, line)).collect();
        Settings { files, changed: None, checked: Instant::now() }
    }

    /// Checks the settings, unless they were checked a moment ago.
    pub(super) fn check_regularly(&mut self) {
        if self.checked.elapsed() >= INTERVAL {
            self.check();
        }
    }

    /// Notes the first setting that another process has changed.
    pub(super) fn check(&mut self) {
        if self.changed.is_none() {
            let changed = self.files.iter().find(|setting| !setting.is_as_wanted());
            self.changed = changed.map(|setting| setting.name.clone());
        }
        self.checked = Instant::now();
    }

    /// Returns the setting that was changed, and forgets it.
    pub(super) fn take_changed(&mut self) -> Option<String> {
        self.changed.take()
    }
}

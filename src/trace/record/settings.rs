//! The settings of a recording that no other process may change.

use std::time::{Duration, Instant};

use super::tracefs::{Instance, NOBODY};

/// The interval of checks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Files of an instance, with their text when the recording was set up.
#[derive(Debug)]
pub(super) struct Settings {
    files: Vec<(String, Option<String>)>,
    /// The first file that another process has changed, and the time of the last check.
    changed: Option<String>,
    checked: Instant,
}

impl Settings {
    /// Reads the settings that concern every recording, and those in `files`.
    pub(super) fn of(instance: &Instance, files: Vec<String>) -> Settings {
        let general = [
            "trace_clock",
            "options/overwrite",
            "options/event-fork",
            "set_event_notrace_pid",
            "tracing_cpumask",
        ];
        let files = general.into_iter().map(str::to_owned).chain(files).map(|file| {
            let text = instance.read(&file).ok();
            (file, text)
        });
        Settings { files: files.collect(), changed: None, checked: Instant::now() }
    }

    /// Checks the settings, unless they were checked a moment ago.
    pub(super) fn check_regularly(&mut self, instance: &Instance) {
        if self.checked.elapsed() >= INTERVAL {
            self.check(instance);
        }
    }

    /// Notes the first setting that another process has changed.
    pub(super) fn check(&mut self, instance: &Instance) {
        if self.changed.is_none() {
            self.changed = self.find_changed(instance).map(str::to_owned);
        }
        self.checked = Instant::now();
    }

    /// Returns the first setting that another process has changed.
    fn find_changed(&self, instance: &Instance) -> Option<&str> {
        let read = |file: &str| instance.read(file).ok();
        let is = |file, wanted: &str| {
            read(file).is_some_and(|text| text.lines().any(|line| line == wanted))
        };
        [("tracing_on", "1"), ("set_event_pid", NOBODY)]
            .into_iter()
            .find(|&(file, wanted)| !is(file, wanted))
            .map(|(file, _)| file)
            .or_else(|| {
                let mut files = self.files.iter();
                files.find(|(file, text)| read(file) != *text).map(|(file, _)| &**file)
            })
    }

    /// Returns the setting that was changed, and forgets it.
    pub(super) fn take_changed(&mut self) -> Option<String> {
        self.changed.take()
    }
}

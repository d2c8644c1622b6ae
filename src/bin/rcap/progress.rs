//! The progress of measurements, as it is shown.

use std::{
    cell::Cell,
    io::{self, IsTerminal},
    rc::Rc,
    time::{Duration, Instant},
};

use super::{Stream, args::Judging};
use rcap::{
    tools::{
        signals,
        table::{fit, set_words},
    },
    trace::minimize::Run,
};

/// After this time, a first run without a limit is remarked on.
const LONG: Duration = Duration::from_secs(10);

/// The progress of a search.
pub(crate) struct Progress {
    /// Whether each run is shown.
    is_shown: bool,
    /// The number of runs that have ended.
    ended: Cell<usize>,
    /// Whether the first run goes on, and has no limit.
    is_endless: Rc<Cell<bool>>,
}

impl Progress {
    /// Runs are shown on a terminal, unless standard output is JSON.
    pub(crate) fn new(is_json: bool) -> Progress {
        let is_shown = io::stderr().is_terminal() && !is_json;
        Progress { is_shown, ended: Cell::new(0), is_endless: Rc::default() }
    }

    /// Shows a run that has ended. `time` is its duration.
    pub(crate) fn add(&self, time: Duration, words: &str) {
        let number = self.ended.get() + 1;
        self.ended.set(number);
        self.is_endless.set(false);
        if self.is_shown {
            let line = format!("run {number}, {:.1} s: {words}", time.as_secs_f64());
            // A closed standard error does not stop the search.
            let _ = fit(&line, &mut Stream::stderr());
        }
    }

    /// Shows a run of a program with a set.
    pub(crate) fn show(&self, run: &Run) {
        let set = if run.is_baseline { "all".to_owned() } else { set_words(run.set) };
        let verdict = if run.passed { "passed" } else { "failed" };
        self.add(run.time, &format!("{verdict} with {set}"));
    }

    /// Notes that the first run has a limit, or has ended.
    pub(crate) fn set_limited(&self) {
        self.is_endless.set(false);
    }

    /// Returns a function that tells whether a signal has interrupted a run, for calls during runs.
    /// If the first run has no limit and goes on for long, the function says how a run of a server
    /// ends.
    pub(crate) fn interruption(&self, judging: &Judging) -> Box<dyn FnMut() -> bool> {
        let Judging { check, check_in, timeout, .. } = judging;
        let is_endless = check.is_none() && check_in.is_none() && timeout.is_none();
        self.is_endless.set(is_endless && self.ended.get() == 0);
        let is_endless = Rc::clone(&self.is_endless);
        let mut begun = None;
        Box::new(move || {
            let begun = *begun.get_or_insert_with(Instant::now);
            if is_endless.get() && begun.elapsed() > LONG {
                is_endless.set(false);
                let words = "The first run has not ended yet. For a server, --check COMMAND has to \
                             show that it works; --timeout limits each run.";
                let _ = fit(words, &mut Stream::stderr());
            }
            signals::caught().is_some()
        })
    }
}

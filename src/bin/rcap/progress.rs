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
    ended: Rc<Cell<usize>>,
}

impl Progress {
    /// Runs are shown on a terminal, unless standard output is JSON.
    pub(crate) fn new(is_json: bool) -> Progress {
        let is_shown = io::stderr().is_terminal() && !is_json;
        Progress { is_shown, ended: Rc::default() }
    }

    /// Shows a run that has ended. `time` is its duration.
    pub(crate) fn add(&self, time: Duration, words: &str) {
        let number = self.ended.get() + 1;
        self.ended.set(number);
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

    /// Returns a function that tells whether a signal has interrupted a run. If the first run has no
    /// limit and does not end, the function says how a run of a server ends.
    pub(crate) fn interruption(&self, judging: &Judging) -> Box<dyn FnMut() -> bool> {
        let is_limited =
            judging.check.is_some() || judging.check_in.is_some() || judging.timeout.is_some();
        let mut is_due = !is_limited;
        let (ended, begun) = (Rc::clone(&self.ended), Instant::now());
        Box::new(move || {
            if is_due && begun.elapsed() > LONG {
                is_due = false;
                if ended.get() == 0 {
                    let words = "The first run has not ended yet. For a server, --check COMMAND \
                                 has to show that it works; --timeout limits each run.";
                    let _ = fit(words, &mut Stream::stderr());
                }
            }
            signals::caught().is_some()
        })
    }
}

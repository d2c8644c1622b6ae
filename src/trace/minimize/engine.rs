//! The search with real runs: the baseline, the doubts, and the proof.

use std::{
    fmt,
    time::{Duration, Instant},
};

mod verify;

pub use verify::{Finding, FindingKind, Verified};

use super::{
    Attempt, End, Failure, Found, Observation, Plan, Trial, Weight,
    judge::{Baseline, broken},
    minimal,
};
use crate::{
    Cap, CapSet,
    trace::{Exit, Need},
};

/// Searches for the smallest set with which a [`Trial`] does the same as with all.
#[derive(Debug)]
pub struct Minimizer<T> {
    plan: Plan,
    trial: T,
    baseline: Baseline,
    baseline_runs: u32,
    limit: Option<Duration>,
    runs: Vec<Run>,
    best: CapSet,
    proved: bool,
    doubts: u32,
    /// The observation of the last run.
    last: Observation,
}

/// A run, as reported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// The capabilities.
    pub set: CapSet,
    /// Whether the run belongs to the baseline.
    pub is_baseline: bool,
    /// The duration.
    pub time: Duration,
    /// The end of the run.
    pub end: End,
    /// The last line of output.
    pub message: String,
    /// The failures, including tolerated denials.
    pub failures: Vec<Failure>,
    /// Whether the run passed.
    pub passed: bool,
    /// The checks of the kernel.
    pub needs: Vec<Need>,
    /// The number of lost records, or `None` if some were lost and not counted.
    pub lost: Option<u64>,
}

/// The reason why a search ended without a proved minimum.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stop<E> {
    /// The user interrupted a run.
    Interrupted,
    /// The runs with all capabilities cannot serve as a baseline.
    Unfit(Unfit),
    /// The trial could not be run.
    Failed(E),
}

/// The reason for which runs with all capabilities cannot serve as a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// The program does not work.
    Fails {
        /// The failures.
        failures: Vec<Failure>,
        /// The last line of output.
        message: String,
    },
    /// The program works in some runs.
    Flaky {
        /// The number of failed runs.
        failed: u32,
        /// The number of runs.
        runs: u32,
        /// One of the failures, in words.
        failure: String,
    },
    /// The output must be compared, but differs between two runs.
    OutputVaries,
    /// Runs see the effects of earlier ones, and not all of them used these capabilities.
    Stateful(CapSet),
    /// The recording of a run is incomplete.
    Incomplete(String),
    /// The minimum passed first, but not when it was verified.
    NotReproduced {
        /// The minimum.
        set: CapSet,
        /// The failure of the last run, in words.
        failure: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Fails { failures, message } => {
                f.write_str("with all capabilities ")?;
                let words = failures.iter().map(|failure| failure.with_message(message));
                f.write_str(&words.collect::<Vec<_>>().join(", and "))?;
                if **failures == [Failure::End(End::TimedOut)] {
                    f.write_str(" (--timeout; for a server, --check)")?;
                }
                Ok(())
            }
            Unfit::Flaky { failed, runs, failure } => write!(
                f,
                "it fails at random: in {failed} of {runs} runs with the same capabilities, {failure}"
            ),
            Unfit::OutputVaries => f.write_str(
                "with all capabilities it prints something else in each run, so that output cannot be compared",
            ),
            Unfit::Stateful(caps) => write!(
                f,
                "not every run with all capabilities uses {caps}: it finds what an earlier run left behind"
            ),
            Unfit::Incomplete(gap) => write!(f, "the recording of a run is not complete: {gap}"),
            Unfit::NotReproduced { set, failure } => {
                let set = if set.is_empty() { "no capabilities".to_owned() } else { set.to_string() };
                write!(f, "it passed with {set}, and did not when that was repeated: {failure}")
            }
        }
    }
}

impl<T: Trial> Minimizer<T> {
    /// Prepares a search. Nothing is run yet.
    pub fn new(plan: Plan, trial: T) -> Minimizer<T> {
        let (best, limit) = (plan.most, plan.timeout);
        Minimizer {
            plan: Plan { keep: plan.keep & plan.most, ..plan },
            trial,
            baseline: Baseline::default(),
            baseline_runs: 0,
            limit,
            runs: Vec::new(),
            best,
            proved: false,
            doubts: 0,
            last: Observation::default(),
        }
    }

    /// Returns what has been found so far.
    pub fn found(self) -> Found {
        let Minimizer { plan, baseline, baseline_runs, runs, best, proved, .. } = self;
        Found { baseline, baseline_runs, minimum: best, keep: plan.keep, proved, runs }
    }

    /// Runs the trial until the minimum is proved. `progress` is told of each run.
    ///
    /// # Errors
    ///
    /// Why there is no proved minimum. [`Minimizer::found`] has what is known until then.
    pub fn search(&mut self, progress: &mut dyn FnMut(&Run)) -> Result<(), Stop<T::Error>> {
        self.run_baseline(progress)?;
        let Plan { most, keep, unseen, .. } = self.plan;
        let mut all = (self.baseline.used | unseen | keep) & most;
        // Another way to the same result asks for others once these are refused.
        while all != most && !self.passes(all, progress)? {
            let more = (self.denied(all) - all) & most;
            all = if more.is_empty() { most } else { all | more };
        }
        let mut minimum = minimal(all - keep, |set| self.passes(set | keep, progress))? | keep;
        if let Some(weaker) = self.weaker(minimum) {
            if self.passes(weaker, progress)? {
                minimum = minimal(weaker - keep, |set| self.passes(set | keep, progress))? | keep;
            }
        }
        self.best = minimum;
        // The verification of the result, which may depend on chance.
        for _ in 0..self.plan.repeat.max(1) {
            let failures = self.attempt(minimum, progress)?;
            if let Some(failure) = self.counts(&failures).next() {
                let failure = failure.to_string();
                if !self.is_excused(minimum, &failures, progress)? {
                    return Err(Stop::Unfit(Unfit::NotReproduced { set: minimum, failure }));
                }
            }
        }
        self.proved = true;
        Ok(())
    }

    /// Returns the set with `CAP_DAC_READ_SEARCH` in the place of `CAP_DAC_OVERRIDE`, if that has
    /// not been tried. The kernel asks for one after the other, so a search can know the stronger
    /// one alone.
    fn weaker(&self, minimum: CapSet) -> Option<CapSet> {
        let (strong, weak) = (Cap::DAC_OVERRIDE, Cap::DAC_READ_SEARCH);
        let weaker = minimum.without(strong) | CapSet::from(weak);
        let possible = minimum.contains(strong)
            && !minimum.contains(weak)
            && !self.plan.keep.contains(strong)
            && self.plan.most.contains(weak);
        let is_new = self.runs.iter().all(|run| run.set != weaker);
        (possible && is_new).then_some(weaker)
    }

    /// Runs with all capabilities: at least twice, to know what varies by itself.
    fn run_baseline(&mut self, progress: &mut dyn FnMut(&Run)) -> Result<(), Stop<T::Error>> {
        while self.baseline_runs < self.plan.repeat.max(2) {
            self.run_all(progress)?;
        }
        let varying = self.baseline.varying();
        if self.plan.stateful && !varying.is_empty() {
            return Err(Stop::Unfit(Unfit::Stateful(varying)));
        }
        let longest = self.runs.iter().map(|run| run.time).max().unwrap_or_default();
        self.limit = self.limit.or(Some(longest * 10 + Duration::from_secs(5)));
        Ok(())
    }

    /// Runs with all capabilities once, and adds that to the baseline.
    fn run_all(&mut self, progress: &mut dyn FnMut(&Run)) -> Result<(), Stop<T::Error>> {
        let failures = self.observe(self.plan.most, true, progress)?;
        if !failures.is_empty() {
            return self.measure_rate(failures, progress);
        }
        self.add_to_baseline()
    }

    /// Adds the last run to the baseline.
    fn add_to_baseline(&mut self) -> Result<(), Stop<T::Error>> {
        let is_first = self.baseline_runs == 0;
        self.baseline_runs += 1;
        self.baseline.add(std::mem::take(&mut self.last), self.plan.most, is_first);
        if self.baseline.noise.output { Err(Stop::Unfit(Unfit::OutputVaries)) } else { Ok(()) }
    }

    /// After a failure with all capabilities: returns the error that says how often that happens.
    fn measure_rate(
        &mut self,
        failures: Vec<Failure>,
        progress: &mut dyn FnMut(&Run),
    ) -> Result<(), Stop<T::Error>> {
        let message = self.last.message.clone();
        if matches!(self.last.end, End::TimedOut | End::NotExecuted) {
            return Err(Stop::Unfit(Unfit::Fails { failures, message }));
        }
        let failure = failures.first().map(|failure| failure.with_message(&message));
        let failure = failure.unwrap_or_default();
        let is_of = |run: &Run| run.is_baseline;
        match self.rate(is_of, progress)? {
            (failed, runs) if failed == runs => {
                Err(Stop::Unfit(Unfit::Fails { failures, message }))
            }
            (failed, runs) => Err(Stop::Unfit(Unfit::Flaky { failed, runs, failure })),
        }
    }

    /// Repeats the last run until there are ten of those that `is_of` names, or two that all
    /// failed: returns how many failed, and how many there are.
    fn rate(
        &mut self,
        is_of: impl Fn(&Run) -> bool,
        progress: &mut dyn FnMut(&Run),
    ) -> Result<(u32, u32), Stop<T::Error>> {
        const RUNS: u32 = 10;
        loop {
            let (mut failed, mut runs) = (0, 0);
            for run in self.runs.iter().filter(|run| is_of(run)) {
                runs += 1;
                failed += u32::from(!run.passed);
            }
            if runs >= RUNS || runs >= 2 && failed == runs {
                return Ok((failed, runs));
            }
            let Some((set, is_baseline)) = self.runs.last().map(|run| (run.set, run.is_baseline))
            else {
                return Ok((failed, runs));
            };
            self.observe(set, is_baseline, progress)?;
        }
    }

    /// Whether the trial works with `set` and has the same effects.
    fn passes(
        &mut self,
        set: CapSet,
        progress: &mut dyn FnMut(&Run),
    ) -> Result<bool, Stop<T::Error>> {
        for _ in 0..self.plan.repeat.max(1) {
            let failures = self.attempt(set, progress)?;
            if self.counts(&failures).next().is_some()
                && !self.is_excused(set, &failures, progress)?
            {
                return Ok(false);
            }
        }
        if set.len() <= self.best.len() {
            self.best = set;
        }
        Ok(true)
    }

    /// The capabilities that the last run with `set` was refused.
    fn denied(&self, set: CapSet) -> CapSet {
        let mut runs = self.runs.iter().rev().filter(|run| !run.is_baseline);
        runs.find(|run| run.set == set).map(Run::denied).unwrap_or_default()
    }

    /// Looks into a failure that proves nothing yet. Returns true if the run has passed after all,
    /// since the baseline varies in the same way.
    fn is_excused(
        &mut self,
        set: CapSet,
        failures: &[Failure],
        progress: &mut dyn FnMut(&Run),
    ) -> Result<bool, Stop<T::Error>> {
        /// As often as that, a run is repeated because nothing explains its failure.
        const DOUBTS: u32 = 5;
        let weight = self.counts(failures).map(Failure::weight).max();
        let is_explained = !(self.denied(set) - set).is_empty()
            || failures.contains(&Failure::End(End::NotExecuted));
        match weight {
            // Time passes between two runs, and what depends on it varies. Chance has no part in a
            // difference that is there again, and that another run with all capabilities lacks.
            Some(Weight::Result) => {
                let (at, run) = (self.runs.len() - 1, std::mem::take(&mut self.last));
                self.run_all(progress)?;
                let mut failures = self.baseline.failures(&self.plan, &run, set);
                if self.counts(&failures).next().is_some() {
                    let again = self.attempt(set, progress)?;
                    let is_lasting = |failure: &Failure| {
                        failure.weight() != Weight::Result
                            || again.iter().any(|other| other.is_about_the_same(failure))
                            || again.iter().any(|other| other.weight() == Weight::Broken)
                    };
                    failures.retain(is_lasting);
                    self.baseline.noise.add(&run.effects, &self.last.effects, set);
                }
                let passed = self.counts(&failures).next().is_none();
                let noted = &mut self.runs[at];
                (noted.failures, noted.passed) = (failures, passed);
                Ok(passed)
            }
            Some(Weight::Broken) if !is_explained && self.doubts < DOUBTS => {
                self.doubts += 1;
                let failure = failures[0].with_message(&self.last.message);
                let again = self.attempt(set, progress)?;
                if self.counts(&again).next().is_none() {
                    let is_of = |run: &Run| run.set == set && !run.is_baseline;
                    let (failed, runs) = self.rate(is_of, progress)?;
                    return Err(Stop::Unfit(Unfit::Flaky { failed, runs, failure }));
                }
                // This ends the search if the program now fails with all capabilities too.
                self.run_all(progress)?;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// The failures because of which a run does not pass.
    fn counts<'a>(
        &self,
        failures: &'a [Failure],
    ) -> impl Iterator<Item = &'a Failure> + use<'a, T> {
        let strict = self.plan.strict;
        failures.iter().filter(move |failure| strict || failure.weight() > Weight::Tolerated)
    }

    /// Runs with `set` once, and returns how that fell short.
    fn attempt(
        &mut self,
        set: CapSet,
        progress: &mut dyn FnMut(&Run),
    ) -> Result<Vec<Failure>, Stop<T::Error>> {
        self.observe(set, false, progress)
    }

    /// Runs with `set` once and notes that. A run of the baseline is judged by itself.
    fn observe(
        &mut self,
        set: CapSet,
        is_baseline: bool,
        progress: &mut dyn FnMut(&Run),
    ) -> Result<Vec<Failure>, Stop<T::Error>> {
        let begun = Instant::now();
        let attempt = Attempt { set, limit: self.limit };
        let observed = self.trial.run(&attempt).map_err(Stop::Failed)?;
        if observed.end == End::Interrupted {
            return Err(Stop::Interrupted);
        }
        if let Some(gap) = observed.gap {
            return Err(Stop::Unfit(Unfit::Incomplete(gap)));
        }
        self.plan.unseen |= observed.analysis.unseen_caps;
        let (failures, passed) = if is_baseline {
            let failures = broken(self.plan.expect, &observed);
            let passed = failures.is_empty();
            (failures, passed)
        } else {
            let failures = self.baseline.failures(&self.plan, &observed, set);
            let passed = self.counts(&failures).next().is_none();
            (failures, passed)
        };
        let run = Run {
            set,
            is_baseline,
            time: begun.elapsed(),
            end: observed.end,
            message: observed.message.clone(),
            failures: failures.clone(),
            passed,
            needs: observed.analysis.needs.clone(),
            lost: observed.lost,
        };
        progress(&run);
        self.runs.push(run);
        self.last = observed;
        Ok(failures)
    }
}

impl Run {
    /// How the program ended, if it ended by itself.
    pub fn exit(&self) -> Option<Exit> {
        self.end.exit()
    }
}

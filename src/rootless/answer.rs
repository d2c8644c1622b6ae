//! The answer of a search, and the choice of the user.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Account, Change,
    rules::{self, Ground},
    search::{Changes, Outcome, Searched, search},
};
use crate::{
    CapSet,
    trace::{
        Analysis,
        denial::{Denial, Lock},
        minimize::Observation,
    },
};

/// A run with some changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// The changes.
    pub changes: Vec<Change>,
    /// The failure in words, if it did not work.
    pub failure: Option<String>,
    /// The duration.
    pub time: Duration,
}

/// A change, and the failure of a run with all others of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needed {
    /// The change.
    pub change: Change,
    /// The failure, or empty if no set of changes was enough.
    pub failure: String,
}

/// The answer of a search for the changes with which a container or a service works as a user other
/// than root. `L` are the lines that make them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<L> {
    /// The user.
    pub account: Account,
    /// The way in which the user was chosen, in words.
    pub origin: &'static str,
    /// The changes with which it works, or those of the last run if it does not.
    pub changes: Vec<Needed>,
    /// The capabilities that remain.
    pub caps: CapSet,
    /// The failure of the last run, if it did not work.
    pub failure: Option<String>,
    /// Whether it worked with the changes first, and then did not.
    pub is_flaky: bool,
    /// The refusals of the last run, in words.
    pub refused: Vec<String>,
    /// The capabilities that were refused in the last run.
    pub missing: CapSet,
    /// All runs as this user.
    pub runs: Vec<Tried>,
    /// The lines that make the changes, if it works.
    pub lines: Option<L>,
}

/// The runs of a search.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    tried: Vec<Tried>,
    searched: Searched,
}

impl Runs {
    /// Searches with runs by `attempt`, whose error without a reason is an interruption. `progress` is
    /// told of each run. Returns `None` after an interruption.
    ///
    /// # Errors
    ///
    /// The first error of `attempt`, which ends the search.
    pub(crate) fn search<E>(
        mut attempt: impl FnMut(&Changes) -> Result<Outcome, Option<E>>,
        progress: &mut dyn FnMut(usize, &Tried),
    ) -> Result<Option<Runs>, E> {
        let mut tried: Vec<Tried> = Vec::new();
        let searched = search(|changes| {
            let begun = Instant::now();
            let outcome = attempt(changes)?;
            let run = Tried {
                changes: changes.iter().cloned().collect(),
                failure: outcome.failure.clone(),
                time: begun.elapsed(),
            };
            progress(tried.len() + 1, &run);
            tried.push(run);
            Ok(outcome)
        });
        match searched {
            Ok(searched) => Ok(Some(Runs { tried, searched })),
            Err(None) => Ok(None),
            Err(Some(err)) => Err(err),
        }
    }

    /// Returns the answer. `last` are the checks of the last run, and `lines` makes the lines for some
    /// changes.
    pub(crate) fn answer<L>(
        self,
        origin: &'static str,
        last: &Analysis,
        ground: &Ground<'_>,
        lines: impl FnOnce(&[&Change]) -> L,
    ) -> Answer<L> {
        let Searched { changes, failure, is_flaky } = self.searched;
        let list: Vec<&Change> = changes.iter().map(|(change, _)| change).collect();
        let works = failure.is_none();
        let caps = list.iter().filter(|_| works).filter_map(|change| change.cap()).collect();
        let lines = works.then(|| lines(&list));
        let refused = last.denials.iter().filter(|denial| denial.lock == Lock::Capability);
        let missing = refused.fold(CapSet::empty(), |all, denial| all | denial.caps);
        let mut words: Vec<String> =
            last.denials.iter().map(|denial| refusal(denial, ground)).collect();
        words.dedup();
        let changes = changes.into_iter().map(|(change, failure)| Needed { change, failure });
        Answer {
            account: ground.account.clone(),
            origin,
            changes: changes.collect(),
            caps,
            failure,
            is_flaky,
            refused: words,
            missing,
            runs: self.tried,
            lines,
        }
    }
}

/// Returns the most visible failure of a run in words.
pub(crate) fn failure(seen: &Observation, expect: i32) -> Option<String> {
    seen.failures(expect).first().map(|failure| failure.with_message(&seen.message))
}

/// Returns a refusal in words.
fn refusal(denial: &Denial, ground: &Ground<'_>) -> String {
    let name = denial.object.as_ref().map(|object| format!(" {}", object.name)).unwrap_or_default();
    let why = match denial.lock {
        Lock::Capability => format!("needs {}", denial.caps),
        lock => lock.about().to_owned(),
    };
    let host = rules::of_host(denial, ground);
    let host = host.map(|host| format!(" ({host} of the host; its owner is not changed)"));
    let program = denial.program.rsplit('/').next().unwrap_or_default();
    let errno = nix::errno::Errno::from_raw(denial.errno);
    format!("{errno:?} {}{name}: {why}{} [{program}]", denial.system_call, host.unwrap_or_default())
}

/// Returns the user for a program by name or number, and the way in which it was chosen. `own` is its
/// own user, unless that is root.
pub(crate) fn chosen(own: Option<&str>, seen: &Observation) -> Option<(String, &'static str)> {
    let own = own.map(|user| (user.to_owned(), "its own user"));
    let become_user =
        || Some((become_user(seen)?.to_string(), "the user that its processes become"));
    own.or_else(become_user)
}

/// Returns the user that most processes of a run have, or that a program has become, if that is not
/// root.
pub(crate) fn become_user(seen: &Observation) -> Option<u32> {
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    for process in seen.effects.processes.keys().filter(|process| process.users[1] != 0) {
        *numbers.entry(process.users[1]).or_default() += 1;
    }
    // The least ID of those that most processes have.
    let most = numbers.iter().max_by_key(|(uid, number)| (**number, std::cmp::Reverse(**uid)));
    let asked = || {
        let objects = seen.analysis.needs.iter().flat_map(|need| &need.objects);
        let mut ids = objects.filter_map(|object| object.name.strip_prefix("user ")?.parse().ok());
        ids.find(|uid| *uid != 0)
    };
    most.map(|(uid, _)| *uid).or_else(asked)
}

//! The search for the smallest set of changes, as a function of a closure that tries one.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;
use crate::trace::minimize::minimal_of;

/// The result of a run with some changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The failure in words, if it did not work.
    pub(crate) failure: Option<String>,
    /// For each refusal, the changes that may avoid it, the most welcome first.
    pub(crate) remedies: Vec<Vec<Change>>,
}

/// The result of the search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Searched {
    /// The changes, and for each one the failure of the run with only the others. If it did not work
    /// with any, these are the changes of the last run, without failures.
    pub(super) changes: Vec<(Change, String)>,
    /// The failure of the last run.
    pub(super) failure: Option<String>,
    /// Whether it worked first, and then did not with the same changes.
    pub(super) is_flaky: bool,
}

/// The changes of a run.
pub(crate) type Changes = BTreeSet<Change>;

/// The most runs until one works.
const ROUNDS: usize = 32;

/// Finds the smallest set of changes with which it works.
///
/// `attempt` runs with a set. The first run has none. As long as it fails, the first remedy of each
/// refusal is added; one that has not helped is replaced by the next. Then each change is left out in
/// turn. Those without which it fails are necessary. If they do not suffice, more of the others are
/// added, the fewest first. In the end, the result is run once more.
///
/// # Errors
///
/// The first error of `attempt`, which ends the search.
pub(super) fn search<E>(
    mut attempt: impl FnMut(&Changes) -> Result<Outcome, E>,
) -> Result<Searched, E> {
    let mut known: BTreeMap<Changes, Option<String>> = BTreeMap::new();
    let (all, failure) = grow(&mut |changes| {
        let outcome = attempt(changes)?;
        known.insert(changes.clone(), outcome.failure.clone());
        Ok(outcome)
    })?;
    if failure.is_some() {
        let changes = all.into_iter().map(|change| (change, String::new())).collect();
        return Ok(Searched { changes, failure, is_flaky: false });
    }
    let mut fails = |changes: &Changes| -> Result<Option<String>, E> {
        if let Some(failure) = known.get(changes) {
            return Ok(failure.clone());
        }
        let failure = attempt(changes)?.failure;
        known.insert(changes.clone(), failure.clone());
        Ok(failure)
    };
    let mut least = smallest(&all, &mut fails)?;
    let proof = loop {
        match spare(&least, &mut fails)? {
            Ok(proof) => break proof,
            Err(change) => {
                least.remove(&change);
            }
        }
    };
    let failure = attempt(&least)?.failure;
    let is_flaky = failure.is_some();
    Ok(Searched { changes: proof, failure, is_flaky })
}

/// Adds changes until it works, or until there is none left. Returns them, and the failure of the last
/// run.
fn grow<E>(
    attempt: &mut impl FnMut(&Changes) -> Result<Outcome, E>,
) -> Result<(Changes, Option<String>), E> {
    let mut chosen = Changes::new();
    let mut tried = Changes::new();
    // The remedies that are left for the refusal of each change.
    let mut others: BTreeMap<Change, Vec<Change>> = BTreeMap::new();
    let mut outcome = attempt(&chosen)?;
    for _ in 0..ROUNDS {
        if outcome.failure.is_none() {
            break;
        }
        let is_new = |change: &&Change| !tried.contains(change);
        let mut next = Changes::new();
        let mut unhelpful = Changes::new();
        let mut left = Vec::new();
        for remedies in &outcome.remedies {
            let is_gentle = |change: &&Change| is_new(change) && !change.is_drastic();
            let Some(one) = remedies.iter().find(is_gentle) else { continue };
            unhelpful.extend(remedies.iter().filter(|one| chosen.contains(one)).cloned());
            left.push((one.clone(), remedies.clone()));
            next.insert(one.clone());
        }
        if next.is_empty() {
            let other = |is_drastic: bool| {
                // One that hides files of the image, or leaves out too much, may be to blame.
                chosen.iter().find_map(|change| {
                    let is_next =
                        |other: &&Change| is_new(other) && other.is_drastic() == is_drastic;
                    let left = others.get(change)?;
                    Some((Some(change), left.iter().find(is_next)?, left))
                })
            };
            let drastic = || {
                let new = |left: &'_ Vec<Change>| left.iter().find(is_new).is_some();
                let left = outcome.remedies.iter().find(|left| new(left))?;
                Some((None, left.iter().find(is_new)?, left))
            };
            let Some((change, one, remedies)) =
                other(false).or_else(drastic).or_else(|| other(true))
            else {
                break;
            };
            left.push((one.clone(), remedies.clone()));
            unhelpful.extend(change.cloned());
            next.insert(one.clone());
        }
        others.extend(left);
        chosen.retain(|change| !unhelpful.contains(change));
        tried.extend(next.iter().cloned());
        chosen.extend(next);
        outcome = attempt(&chosen)?;
    }
    Ok((chosen, outcome.failure))
}

/// Returns the smallest part of a set with which it works, if more changes never do harm.
///
/// If there are many that can stand in for others, it is a part from which none can be left out.
fn smallest<E>(
    all: &Changes,
    fails: &mut impl FnMut(&Changes) -> Result<Option<String>, E>,
) -> Result<Changes, E> {
    /// The most changes that are left out one by one.
    const MANY: usize = 12;
    let mut needed = Changes::new();
    for change in all.iter().filter(|_| all.len() <= MANY) {
        let mut rest = all.clone();
        rest.remove(change);
        if fails(&rest)?.is_some() {
            needed.insert(change.clone());
        }
    }
    let others: Vec<&Change> = all.difference(&needed).collect();
    let mut works = |some: &BTreeSet<&Change>| {
        let tried = needed.iter().chain(some.iter().copied()).cloned().collect();
        fails(&tried).map(|failure| failure.is_none())
    };
    for some in [Vec::new()].into_iter().chain(others.iter().map(|one| vec![*one])) {
        let some: BTreeSet<&Change> = some.into_iter().collect();
        if works(&some)? {
            return Ok(needed.iter().chain(some).cloned().collect());
        }
    }
    let some = minimal_of(&others, works)?;
    Ok(needed.iter().chain(some).cloned().collect())
}

/// Returns the failures without each member of a set, or a member without which it works.
fn spare<E>(
    least: &Changes,
    fails: &mut impl FnMut(&Changes) -> Result<Option<String>, E>,
) -> Result<Result<Vec<(Change, String)>, Change>, E> {
    let mut proof = Vec::new();
    for change in least {
        let mut rest = least.clone();
        rest.remove(change);
        match fails(&rest)? {
            Some(failure) => proof.push((change.clone(), failure)),
            None => return Ok(Err(change.clone())),
        }
    }
    Ok(Ok(proof))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cap;

    fn own(path: &str) -> Change {
        Change::Own { path: path.to_owned(), is_recursive: false }
    }

    fn tmpfs(path: &str) -> Change {
        Change::Tmpfs { path: path.to_owned() }
    }

    fn variable(name: &str) -> Change {
        Change::Variable { name: name.to_owned() }
    }

    /// Searches with a program that does its steps in order. Each step is refused unless one of its
    /// changes is there, and a fatal one then ends the program. Returns the changes, whether it works,
    /// and the number of runs.
    fn searched(
        steps: &[(bool, Vec<Change>)],
        harm: Option<&Change>,
    ) -> (Vec<Change>, bool, usize) {
        let mut runs = 0;
        let searched = search(|changes| {
            runs += 1;
            let mut outcome = Outcome::default();
            if harm.is_some_and(|harm| changes.contains(harm)) {
                outcome.failure = Some("harm".to_owned());
                return Ok::<_, ()>(outcome);
            }
            for (is_fatal, remedies) in steps {
                if remedies.iter().any(|remedy| changes.contains(remedy)) {
                    continue;
                }
                outcome.remedies.push(remedies.clone());
                if *is_fatal {
                    outcome.failure = Some(format!("{remedies:?}"));
                    break;
                }
            }
            Ok(outcome)
        });
        let Searched { changes, failure, is_flaky } = searched.unwrap();
        assert!(!is_flaky);
        if failure.is_none() {
            assert!(changes.iter().all(|(_, failure)| !failure.is_empty()), "{changes:?}");
        }
        (changes.into_iter().map(|(change, _)| change).collect(), failure.is_none(), runs)
    }

    /// The steps, the changes, whether it works, and the most runs.
    type Row = (Vec<(bool, Vec<Change>)>, Vec<Change>, bool, usize);

    #[test]
    fn searches() {
        let file = own("/file");
        #[rustfmt::skip]
        let rows: Vec<Row> = vec![
            // Nothing is refused.
            (vec![], vec![], true, 2),
            // Each refusal shows itself once the one before is avoided.
            (vec![(true, vec![file.clone()]), (true, vec![Change::PORTS])],
             vec![Change::PORTS, file.clone()], true, 6),
            // A program that goes on after a refusal does not need its remedy.
            (vec![(false, vec![own("/log")]), (true, vec![file.clone()])], vec![file.clone()], true, 5),
            // One that no change avoids.
            (vec![(true, vec![file.clone()]), (true, vec![])], vec![file.clone()], false, 2),
            // One change for two refusals.
            (vec![(true, vec![own("/a")]), (true, vec![own("/a"), own("/b")])],
             vec![own("/a")], true, 4),
            // Two changes and the skipped entrypoint are three, and gentle ones come first.
            (vec![(false, vec![Change::NoEntrypoint]), (true, vec![file.clone(), Change::NoEntrypoint])],
             vec![file.clone()], true, 4),
            (vec![(true, vec![variable("SKIP"), Change::NoEntrypoint])], vec![variable("SKIP")], true, 4),
        ];
        for (steps, want, works, most) in rows {
            let (found, has_worked, runs) = searched(&steps, None);
            assert_eq!((&found, has_worked), (&want, works), "{steps:?}");
            assert!(runs <= most, "{steps:?}: {runs} runs");
        }
    }

    #[test]
    fn a_change_that_does_harm_is_replaced() {
        let steps = [(true, vec![tmpfs("/run"), own("/run")])];
        assert_eq!(searched(&steps, Some(&tmpfs("/run"))).0, [own("/run")]);
        let steps = [(true, vec![variable("SKIP"), Change::NoEntrypoint])];
        assert_eq!(searched(&steps, Some(&variable("SKIP"))).0, [Change::NoEntrypoint]);
        let cap = Change::Capability { cap: Cap::SYS_TIME, program: "/p".to_owned() };
        let steps = [(true, vec![cap.clone()]), (true, vec![own("/drift")])];
        assert_eq!(searched(&steps, None).0, [own("/drift"), cap]);
    }

    #[test]
    fn a_remedy_that_does_not_help_is_replaced() {
        // The refusal stays until the second remedy.
        let mut runs = Vec::new();
        let found = search(|changes| {
            runs.push(changes.clone());
            let works = changes.contains(&own("/b"));
            Ok::<_, ()>(Outcome {
                failure: (!works).then(|| "no".to_owned()),
                remedies: vec![vec![own("/a"), own("/b")]],
            })
        });
        let changes: Vec<_> = found.unwrap().changes.into_iter().map(|(one, _)| one).collect();
        assert_eq!(changes, [own("/b")]);
        assert!(!runs.contains(&[own("/a"), own("/b")].into()), "{runs:?}");
    }

    #[test]
    fn an_error_ends_the_search() {
        let mut runs = 0;
        let ended = search(|_| {
            runs += 1;
            if runs == 2 {
                return Err(());
            }
            Ok(Outcome { failure: Some(String::new()), remedies: vec![vec![own("/a")]] })
        });
        assert_eq!((ended, runs), (Err(()), 2));
    }

    #[test]
    fn rounds_are_limited() {
        let mut runs = 0;
        let found = search(|_| {
            runs += 1;
            let remedies = vec![vec![own(&format!("/{runs}"))]];
            Ok::<_, ()>(Outcome { failure: Some("no".to_owned()), remedies })
        });
        assert!(found.unwrap().failure.is_some());
        assert_eq!(runs, ROUNDS + 1);
    }
}

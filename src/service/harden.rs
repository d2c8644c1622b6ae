//! The search for the largest set of protections with which a service works, as a function of a
//! closure that tries one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Protection, Protections};
use crate::trace::minimize::minimal_of;

/// The largest set of protections that [`harden`] has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hardened {
    /// The lines of the section `[Service]`.
    pub settings: Vec<String>,
    /// The protections with the values that the service works with.
    pub protections: Vec<(&'static str, String)>,
    /// The values that it does not work with.
    pub left_out: Vec<LeftOut>,
    /// The reason for which the service did not work with the result when that was repeated.
    pub failure: Option<String>,
    /// The number of runs.
    pub runs: u32,
}

/// A protection that was left out, or has a weaker value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// The name of the setting.
    pub key: &'static str,
    /// The strongest value.
    pub value: String,
    /// The weaker value that the service works with.
    pub instead: Option<String>,
    /// The failure of the run with the strongest value.
    pub failure: String,
}

/// The index of the value of each protection that is chosen.
type Choice = BTreeMap<usize, usize>;

/// Finds the largest set of protections with which a service works.
///
/// `attempt` runs the service with lines of the section `[Service]`, and returns the failure in
/// words if it does not work. It has to work with none. All protections are tried at once, with
/// their strongest values. If the service fails, those that services often do not work with are
/// left out; if that is not enough, a search finds the others, as
/// [`minimal`](crate::trace::minimize::minimal) does. Each one that was left out is then tried
/// again, first with its strongest value, and at last with weaker ones. The result is run once more.
///
/// Each protection that is left out has been seen to break the service, beside others of the result.
///
/// # Errors
///
/// The first error of `attempt`, which ends the search.
pub fn harden<E>(
    now: &Protections,
    mut attempt: impl FnMut(&[String]) -> Result<Option<String>, E>,
) -> Result<Hardened, E> {
    let offered = now.offered();
    let pairs = |choice: &Choice| -> Vec<(&'static str, String)> {
        let value =
            |(at, value): (&usize, &usize)| (offered[*at].key, offered[*at].values[*value].clone());
        choice.iter().map(value).collect()
    };
    let lines = |choice: &Choice| {
        let pairs = pairs(choice);
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (*key, &**value)).collect();
        now.lines(&pairs)
    };
    let mut runs = 0;
    let mut fails = |choice: &Choice| {
        runs += 1;
        attempt(&lines(choice))
    };
    let (mut choice, failures) = strongest(&offered, &mut fails)?;
    let mut left_out = Vec::new();
    for (at, failure) in failures {
        let protection = &offered[at];
        let mut instead = None;
        for (weaker, value) in protection.values.iter().enumerate().skip(1) {
            let mut more = choice.clone();
            more.insert(at, weaker);
            if fails(&more)?.is_none() {
                (choice, instead) = (more, Some(value.clone()));
                break;
            }
        }
        let value = protection.values[0].clone();
        left_out.push(LeftOut { key: protection.key, value, instead, failure });
    }
    let failure = fails(&choice)?;
    let (settings, protections) = (lines(&choice), pairs(&choice));
    Ok(Hardened { settings, protections, left_out, failure, runs })
}

/// Returns the protections that can all have their strongest value, and the failures with each of
/// the others.
fn strongest<E>(
    offered: &[Protection],
    fails: &mut impl FnMut(&Choice) -> Result<Option<String>, E>,
) -> Result<(Choice, BTreeMap<usize, String>), E> {
    let without = |left_out: &BTreeSet<usize>| -> Choice {
        (0..offered.len()).filter(|at| !left_out.contains(at)).map(|at| (at, 0)).collect()
    };
    let mut fails = |left_out: &BTreeSet<usize>| fails(&without(left_out));
    let (usual, others): (Vec<usize>, Vec<usize>) =
        (0..offered.len()).partition(|at| offered[*at].is_often_broken);
    let mut failures = BTreeMap::new();
    if fails(&BTreeSet::new())?.is_none() {
        return Ok((without(&BTreeSet::new()), failures));
    }
    let mut least: BTreeSet<usize> = usual.iter().copied().collect();
    if fails(&least)?.is_some() {
        let usual = least.clone();
        least.extend(minimal_of(&others, |some| Ok(fails(&(&usual | some))?.is_none()))?);
    }
    // Most of them work, and a run that works takes less time than one that fails. The most valuable
    // ones come first.
    for at in least.clone().into_iter().rev() {
        least.remove(&at);
        if let Some(failure) = fails(&least)? {
            least.insert(at);
            failures.insert(at, failure);
        }
    }
    Ok((without(&least), failures))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hardens a service that fails if one of these settings is there, and returns the settings that
    /// it does not have, in the order in which they are offered, with the weaker value in their
    /// place; and the number of runs.
    fn left_out(now: &str, broken: &[&[&str]]) -> (Vec<String>, u32) {
        let now = Protections::parse(now);
        let breaks = |lines: &[String]| {
            let text = lines.join("\n");
            let has = |part: &&str| text.contains(part);
            broken.iter().find(|all| all.iter().all(has)).map(|all| all.join(" and "))
        };
        let hardened = harden(&now, |lines| Ok::<_, ()>(breaks(lines))).unwrap();
        assert_eq!(hardened.failure, None);
        assert_eq!(breaks(&hardened.settings), None);
        let words = |left: &LeftOut| {
            assert!(!left.failure.is_empty());
            let instead = left.instead.as_ref().map(|value| format!(" -> {value}"));
            format!("{}={}{}", left.key, left.value, instead.unwrap_or_default())
        };
        (hardened.left_out.iter().map(words).collect(), hardened.runs)
    }

    /// The settings that break the service, those that are left out, and the most runs.
    type Row = (&'static [&'static [&'static str]], &'static [&'static str], u32);

    #[test]
    fn searches() {
        let all = "ProtectSystem=no\nProtectHome=no\nPrivateNetwork=no\nProtectClock=no\n\
                   LockPersonality=no\nUMask=0022\nRestrictNamespaces=no\nPrivateTmp=yes";
        #[rustfmt::skip]
        let rows: [Row; 8] = [
            (&[],                                             &[], 2),
            (&[&["PrivateNetwork=yes"]],                      &["PrivateNetwork=yes"], 14),
            (&[&["ProtectSystem=strict"]],                    &["ProtectSystem=strict -> full"], 15),
            (&[&["ProtectSystem=strict"], &["ProtectSystem=full"], &["ProtectSystem=yes"]],
             &["ProtectSystem=strict"], 16),
            (&[&["UMask=0077"]],                              &["UMask=0077 -> 0027"], 26),
            (&[&["RestrictNamespaces=yes"]],
             &["RestrictNamespaces=~cgroup"], 26),
            (&[&["LockPersonality=yes"], &["ProtectHome=yes"], &["@debug"]],
             &["LockPersonality=yes", "ProtectHome=yes -> tmpfs", "SystemCallFilter=~@debug"], 40),
            // Either of two: the more valuable one stays.
            (&[&["ProtectSystem=strict", "PrivateNetwork=yes"]],
             &["ProtectSystem=strict -> full"], 15),
        ];
        for (broken, want, most) in rows {
            let (words, runs) = left_out(all, broken);
            assert_eq!(words, want, "{broken:?}");
            assert!(runs <= most, "{broken:?}: {runs} runs");
        }
    }

    #[test]
    fn an_error_ends_the_search() {
        let mut runs = 0;
        let ended = harden(&Protections::default(), |_| {
            runs += 1;
            if runs == 3 { Err(()) } else { Ok(Some(String::new())) }
        });
        assert_eq!((ended, runs), (Err(()), 3));
    }
}

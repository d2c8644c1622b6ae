//! The search for the largest set of protections with which a service works, as a function of a
//! closure that tries one.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Protection, Protections, Tried,
    writable::{STRICT, Writable},
};
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
/// `attempt` runs the service with lines of the section `[Service]`. It has to work with none. All
/// protections are tried at once, with their strongest values. If the service fails, those that
/// services often do not work with are left out; if that is not enough, a search finds the others,
/// as [`minimal`](crate::trace::minimize::minimal) does. Each one that was left out is then tried
/// again, first with its strongest value, and at last with weaker ones. The result is run once more.
///
/// With `ProtectSystem=strict`, the directories are writable in which `attempt` has seen refused
/// writes. Those that the weaker values protect too, such as `/etc`, are writable only if the
/// service does not work otherwise.
///
/// Each protection that is left out has been seen to break the service, beside others of the result.
///
/// # Errors
///
/// The first error of `attempt`, which ends the search.
pub fn harden<E>(
    now: &Protections,
    attempt: impl FnMut(&[String]) -> Result<Tried, E>,
) -> Result<Hardened, E> {
    let (offered, writable) = (now.offered(), Writable::default());
    let mut search = Search { now, offered, writable, attempt, runs: 0 };
    search.learn()?;
    let (mut choice, failures) = search.strongest()?;
    let mut left_out = Vec::new();
    for (at, failure) in failures {
        let Protection { key, values, .. } = search.offered[at].clone();
        let mut instead = None;
        for (weaker, value) in values.iter().enumerate().skip(1) {
            let mut more = choice.clone();
            more.insert(at, weaker);
            if search.fails(&more)?.is_none() {
                (choice, instead) = (more, Some(value.clone()));
                break;
            }
        }
        left_out.push(LeftOut { key, value: values[0].clone(), instead, failure });
    }
    search.protect_system(&choice)?;
    let failure = search.fails(&choice)?;
    let (settings, protections) = (search.lines(&choice), search.pairs(&choice));
    Ok(Hardened { settings, protections, left_out, failure, runs: search.runs })
}

/// A search for protections.
struct Search<'a, A> {
    now: &'a Protections,
    offered: Vec<Protection>,
    writable: Writable,
    attempt: A,
    runs: u32,
}

impl<E, A: FnMut(&[String]) -> Result<Tried, E>> Search<'_, A> {
    /// Returns the settings and values of a choice.
    fn pairs(&self, choice: &Choice) -> Vec<(&'static str, String)> {
        let offered = |(at, value): (&usize, &usize)| {
            let Protection { key, values, .. } = &self.offered[*at];
            (*key, values[*value].clone())
        };
        choice.iter().map(offered).collect()
    }

    fn lines(&self, choice: &Choice) -> Vec<String> {
        let pairs = self.pairs(choice);
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (*key, &**value)).collect();
        let mut lines = self.now.lines(&pairs);
        lines.extend(self.writable.line(&pairs));
        lines
    }

    fn run(&mut self, choice: &Choice) -> Result<Tried, E> {
        self.runs += 1;
        let lines = self.lines(choice);
        (self.attempt)(&lines)
    }

    fn fails(&mut self, choice: &Choice) -> Result<Option<String>, E> {
        Ok(self.run(choice)?.failure)
    }

    /// Finds the directories that the service writes in. A service that fails at the first one does
    /// not show the next one.
    fn learn(&mut self) -> Result<(), E> {
        /// More directories than this are not a few.
        const ROUNDS: u32 = 16;
        let is_strict = |one: &Protection| (one.key, &*one.values[0]) == STRICT;
        let Some(at) = self.offered.iter().position(is_strict) else { return Ok(()) };
        for _ in 0..ROUNDS {
            let tried = self.run(&Choice::from([(at, 0)]))?;
            if !self.writable.add(tried.unwritable) {
                break;
            }
        }
        Ok(())
    }

    /// Protects the directories of the system that the service does not have to write in.
    fn protect_system(&mut self, choice: &Choice) -> Result<(), E> {
        let is_strict = self.pairs(choice).iter().any(|(key, value)| (*key, &**value) == STRICT);
        let all = self.writable.clone();
        let system = all.of_system();
        if is_strict && !system.is_empty() {
            let needed = minimal_of(&system, |some| {
                self.writable = all.with_system(some);
                Ok(self.fails(choice)?.is_none())
            })?;
            self.writable = all.with_system(&needed);
        }
        Ok(())
    }

    /// Returns the protections that can all have their strongest value, and the failures with each
    /// of the others.
    fn strongest(&mut self) -> Result<(Choice, BTreeMap<usize, String>), E> {
        let count = self.offered.len();
        let without = |left_out: &BTreeSet<usize>| -> Choice {
            (0..count).filter(|at| !left_out.contains(at)).map(|at| (at, 0)).collect()
        };
        let (usual, others): (Vec<usize>, Vec<usize>) =
            (0..count).partition(|at| self.offered[*at].is_often_broken);
        let mut fails = |left_out: &BTreeSet<usize>| self.fails(&without(left_out));
        let mut failures = BTreeMap::new();
        if fails(&BTreeSet::new())?.is_none() {
            return Ok((without(&BTreeSet::new()), failures));
        }
        let mut least: BTreeSet<usize> = usual.iter().copied().collect();
        if fails(&least)?.is_some() {
            let usual = least.clone();
            least.extend(minimal_of(&others, |some| Ok(fails(&(&usual | some))?.is_none()))?);
        }
        // Most of them work, and a run that works takes less time than one that fails. The most
        // valuable ones come first.
        for at in least.clone().into_iter().rev() {
            least.remove(&at);
            if let Some(failure) = fails(&least)? {
                least.insert(at);
                failures.insert(at, failure);
            }
        }
        Ok((without(&least), failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::{Path, PathBuf};

    /// Hardens a service that fails if one of these settings is there, or a directory that begins
    /// with an exclamation mark is not writable. It also writes to the other directories. Returns
    /// what it does not have, in the order in which it is offered, with the weaker value in its
    /// place; the directories; and the number of runs.
    fn hardened(now: &str, broken: &[&[&str]], writes: &[&str]) -> (Vec<String>, String, u32) {
        let now = Protections::parse(now);
        let tried = |lines: &[String]| {
            let text = lines.join("\n") + "\n";
            let has = |part: &&str| text.contains(part);
            let failure =
                broken.iter().find(|all| all.iter().all(has)).map(|all| all.join(" and "));
            let is_writable = |path: &str| {
                let line = lines.iter().find_map(|line| line.strip_prefix("ReadWritePaths="));
                let mut paths = line.unwrap_or_default().split_whitespace();
                !has(&"ProtectSystem=strict")
                    || paths.any(|above| Path::new(path).starts_with(above))
            };
            let mut tried = Tried { failure, ..Tried::default() };
            for path in writes {
                let name = path.trim_start_matches('!');
                let is_own = name.starts_with("/tmp") && has(&"PrivateTmp=yes");
                if !is_own && !is_writable(name) {
                    tried.unwritable.insert(PathBuf::from(name));
                    if path.starts_with('!') {
                        tried.failure = Some(format!("no {name}"));
                        break;
                    }
                }
            }
            tried
        };
        let hardened = harden(&now, |lines| Ok::<_, ()>(tried(lines))).unwrap();
        assert_eq!(hardened.failure, None);
        assert_eq!(tried(&hardened.settings).failure, None);
        let words = |left: &LeftOut| {
            assert!(!left.failure.is_empty());
            let instead = left.instead.as_ref().map(|value| format!(" -> {value}"));
            format!("{}={}{}", left.key, left.value, instead.unwrap_or_default())
        };
        let paths = hardened.settings.iter().find_map(|line| line.strip_prefix("ReadWritePaths="));
        let left_out = hardened.left_out.iter().map(words).collect();
        (left_out, paths.unwrap_or_default().to_owned(), hardened.runs)
    }

    /// The settings that break the service, those that are left out, and the most runs.
    type Row = (&'static [&'static [&'static str]], &'static [&'static str], u32);

    const ALL: &str = "ProtectSystem=no\nProtectHome=no\nPrivateNetwork=no\nProtectClock=no\n\
                       LockPersonality=no\nUMask=0022\nRestrictNamespaces=no\nPrivateTmp=yes";

    #[test]
    fn searches() {
        #[rustfmt::skip]
        let rows: [Row; 8] = [
            (&[],                                             &[], 3),
            (&[&["PrivateNetwork=yes"]],                      &["PrivateNetwork=yes"], 14),
            (&[&["ProtectSystem=strict"]],                    &["ProtectSystem=strict -> full"], 16),
            (&[&["ProtectSystem=strict"], &["ProtectSystem=full"], &["ProtectSystem=yes"]],
             &["ProtectSystem=strict"], 17),
            (&[&["UMask=0077"]],                              &["UMask=0077 -> 0027"], 27),
            (&[&["RestrictNamespaces=yes"]],
             &["RestrictNamespaces=~cgroup"], 27),
            (&[&["LockPersonality=yes"], &["ProtectHome=yes"], &["@debug"]],
             &["LockPersonality=yes", "ProtectHome=yes -> tmpfs", "SystemCallFilter=~@debug"], 41),
            // Either of two: the more valuable one stays.
            (&[&["ProtectSystem=strict", "PrivateNetwork=yes"]],
             &["ProtectSystem=strict -> full"], 16),
        ];
        for (broken, want, most) in rows {
            let (words, paths, runs) = hardened(ALL, broken, &[]);
            assert_eq!(words, want, "{broken:?}");
            assert_eq!(paths, "");
            assert!(runs <= most, "{broken:?}: {runs} runs");
        }
    }

    /// The settings of the unit, those that break the service, the writes, and the directories.
    type Writes = (&'static str, Settings, &'static [&'static str], &'static str);
    type Settings = &'static [&'static [&'static str]];

    #[test]
    fn writable_directories() {
        const STRICT: &[&str] = &["ProtectSystem=strict"];
        #[rustfmt::skip]
        let rows: [Writes; 7] = [
            ("",                &[],       &["!/run", "!/var/log/a", "/var/log"], "/run /var/log"),
            // A write that the service can do without, there and in a directory of the system.
            ("",                &[],       &["/var/log", "/usr/lib"],             "/var/log"),
            ("",                &[],       &["!/etc/a", "/etc/b", "!/etc/c"],     "/etc/a /etc/c"),
            ("",                &[STRICT], &["/var/log"],                         ""),
            ("PrivateTmp=no",   &[],       &["!/tmp", "!/run"],                   "/run"),
            ("PrivateTmp=no",   &[&["PrivateTmp=yes"]], &["!/tmp", "!/run"],      "/run /tmp"),
            ("ProtectSystem=strict", &[],  &[],                                   ""),
        ];
        for (now, broken, writes, want) in rows {
            let now = format!("{}\n{now}", ALL.replace("PrivateTmp=yes", ""));
            let (_, paths, _) = hardened(&now, broken, writes);
            assert_eq!(paths, want, "{now} {broken:?} {writes:?}");
        }
    }

    #[test]
    fn an_error_ends_the_search() {
        let mut runs = 0;
        let ended = harden(&Protections::default(), |_| {
            runs += 1;
            let failure = Some(String::new());
            if runs == 3 { Err(()) } else { Ok(Tried { failure, ..Tried::default() }) }
        });
        assert_eq!((ended, runs), (Err(()), 3));
    }
}

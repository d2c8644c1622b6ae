//! From a task to the capabilities that it may need.

use super::tasks::TASKS;
use crate::Cap;

/// A common task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) what: &'static str,
    /// Additional search terms.
    pub(super) words: &'static str,
    pub(super) caps: &'static [Cap],
    pub(super) because: &'static str,
    pub(super) sysctl: Option<&'static Sysctl>,
}

/// A kernel setting that determines whether a capability is needed. (sysctl(8))
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sysctl {
    /// The name, such as `net.ipv4.ip_unprivileged_port_start`.
    pub name: &'static str,
    pub(super) frees: fn(&str) -> bool,
    pub(super) free: &'static str,
}

impl Sysctl {
    /// Returns the consequence of this value, if it makes the capability unnecessary.
    pub fn frees(&self, value: &str) -> Option<&'static str> {
        (self.frees)(value).then_some(self.free)
    }
}

/// An answer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Suggestion {
    /// The task that needs the capabilities.
    pub what: &'static str,
    /// The capabilities, most likely first.
    pub caps: &'static [Cap],
    /// The reason.
    pub because: &'static str,
    /// A setting on which the answer depends.
    pub sysctl: Option<&'static Sysctl>,
}

/// Returns at most three answers to a question, best first.
///
/// ```
/// use rcap::{Cap, knowledge};
///
/// let best = knowledge::suggest("netcat on port 80")[0];
/// assert_eq!(best.caps, [Cap::NET_BIND_SERVICE]);
/// assert!(knowledge::suggest("bake a cake").is_empty());
/// ```
pub fn suggest(question: &str) -> Vec<Suggestion> {
    /// An answer whose score is below this fraction of the best one is dropped.
    const ALIKE: f64 = 0.6;
    /// The score of one rare word. Lower scores are coincidences.
    const LEAST: f64 = 1.4;
    let asked = stems(question);
    let tasks: Vec<(Vec<String>, Vec<String>, &Task)> =
        TASKS.iter().map(|task| (stems(task.what), stems(task.words), task)).collect();
    let weight = |word: &String| {
        let having =
            tasks.iter().filter(|(what, words, _)| what.contains(word) || words.contains(word));
        let having = u32::try_from(having.count()).unwrap_or(u32::MAX);
        let all = u32::try_from(TASKS.len()).unwrap_or(u32::MAX);
        if having == 0 { 0.0 } else { (f64::from(all) / f64::from(having)).ln() }
    };
    let mut scored: Vec<(f64, &Task)> = Vec::new();
    for (what, words, task) in &tasks {
        let worth = |word: &String| {
            // The word is a name of the kernel.
            let name = if word.contains('_') { 1.5 } else { 1.0 };
            name * match (what.contains(word), words.contains(word)) {
                (true, _) => 1.2 * weight(word),
                (false, true) => weight(word),
                (false, false) => 0.0,
            }
        };
        scored.push((asked.iter().map(worth).sum(), task));
    }
    // The sort is stable, so the order of the table breaks ties.
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    let fits = |(score, _): &&(f64, &Task)| *score >= LEAST && *score >= ALIKE * best;
    let answer = |(_, task): &(f64, &Task)| Suggestion {
        what: task.what,
        caps: task.caps,
        because: task.because,
        sysctl: task.sysctl,
    };
    scored.iter().filter(fits).take(3).map(answer).collect()
}

/// Returns the significant words of a text, each once, without English endings.
fn stems(text: &str) -> Vec<String> {
    const EMPTY: &str = "a an and are as at be by can cannot cap capability capabilities do does for from get has \
        have how i if in into is it its just let linux make me my need needed needs no not of on \
        or program run running that the this to use using want what when which why with without \
        you allow non one root";
    // Phrases that every missing capability causes.
    let lower = text.to_lowercase();
    let lower = lower.replace("permission denied", "").replace("operation not permitted", "");
    let is_part = |char: char| char.is_alphanumeric() || "_+/".contains(char);
    let words = lower.split(|char| !is_part(char)).map(|word| word.trim_matches('/'));
    let words = words.filter(|word| !word.is_empty());
    let mut stems: Vec<String> = Vec::new();
    for word in words.filter(|word| EMPTY.split(' ').all(|empty| empty != *word)) {
        let stem = stem(word);
        if !stems.contains(&stem) {
            stems.push(stem);
        }
    }
    stems
}

/// Reduces a word to its stem, so that `deleting`, `deletes` and `deleted` are equal.
fn stem(word: &str) -> String {
    let word = match word {
        "someone" | "somebody" | "others" | "another" | "else" | "different" => "other",
        "daemon" | "service" => "server",
        "bigger" | "increase" | "higher" => "raise",
        "folder" | "dir" => "directory",
        "listening" | "listener" => "listen",
        "ports" => "port",
        word => word,
    };
    for end in ["ings", "ing", "ies", "ed", "es", "s", "e"] {
        let stem = word.strip_suffix(end).filter(|stem| stem.chars().count() >= 3);
        if let Some(stem) = stem {
            let mut stem = stem.to_owned();
            // stopping, stop
            let twice = stem.chars().rev().take(2).collect::<Vec<_>>();
            let is_verb = end.starts_with('i') || end == "ed";
            if is_verb && twice.len() == 2 && twice[0] == twice[1] && !"ls".contains(twice[0]) {
                stem.pop();
            }
            return stem;
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests;

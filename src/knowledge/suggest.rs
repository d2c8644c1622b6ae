//! From a task or an error message to the capabilities that it may take.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use super::{
    names, needed_by,
    tasks::{PRIVILEGED_PORT, TASKS, UNPRIVILEGED_PORT},
};
use crate::{Cap, CapSet};

mod words;

use words::{Port, ports, stems};

/// A task, with the words and the error messages that lead to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) what: &'static str,
    /// Other words that lead to it.
    pub(super) words: &'static str,
    /// Parts of error messages and questions that lead to it, in lower case. `*` stands for any
    /// text, even none.
    pub(super) phrases: &'static [&'static str],
    pub(super) answer: Answer,
    pub(super) caps: &'static [Cap],
    pub(super) because: &'static str,
    pub(super) instead: Option<&'static str>,
    pub(super) sysctl: Option<&'static Sysctl>,
}

/// A setting of the kernel on which it depends whether a capability is asked for. (sysctl(8))
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sysctl {
    /// Its name, such as `net.ipv4.ip_unprivileged_port_start`.
    pub name: &'static str,
    pub(super) frees: fn(&str) -> bool,
    pub(super) free: &'static str,
}

impl Sysctl {
    /// Returns why no capability is needed if the setting has this value, or `None` if one is.
    pub fn frees(&self, value: &str) -> Option<&'static str> {
        (self.frees)(value).then_some(self.free)
    }
}

/// The kind of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Answer {
    /// The task may take these capabilities.
    Capabilities,
    /// The task takes no capability.
    NotNeeded,
    /// The capabilities are there and the program does not get them, which depends on its file and
    /// on the process that starts it. `rcap why` explains it.
    Why,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suggestion {
    /// The task, in words.
    pub what: Cow<'static, str>,
    /// The kind of answer.
    pub answer: Answer,
    /// The capabilities, the likeliest first. Empty unless the answer is
    /// [`Answer::Capabilities`].
    pub caps: Vec<Cap>,
    /// The reason.
    pub because: &'static str,
    /// An alternative with less privilege.
    pub instead: Option<&'static str>,
    /// A setting on which it depends.
    pub sysctl: Option<&'static Sysctl>,
}

impl PartialEq for Sysctl {
    fn eq(&self, other: &Sysctl) -> bool {
        self.name == other.name
    }
}

impl Eq for Sysctl {}

/// Returns at most three answers to a question in English, the best first. A question can be a
/// task, an error message, or the name of a program or a capability. Returns no answer if nothing
/// fits well enough.
///
/// ```
/// use rcap::{Cap, knowledge::{self, Answer}};
///
/// let best = &knowledge::suggest("netcat on port 80")[0];
/// assert_eq!(best.caps, [Cap::NET_BIND_SERVICE]);
/// assert_eq!(knowledge::suggest("netcat on port 8080")[0].answer, Answer::NotNeeded);
/// assert!(knowledge::suggest("bake a cake").is_empty());
/// ```
pub fn suggest(question: &str) -> Vec<Suggestion> {
    /// An answer that fits this much worse than the best is left out.
    const ALIKE: f64 = 0.6;
    let question = Question::new(question);
    let tasks = TASKS.iter().zip(STEMS.iter());
    let tasks = tasks.map(|(task, stems)| (question.score(task, stems), task.into()));
    let not_programs =
        tasks.chain(question.capabilities()).map(|(score, answer)| (score, answer, false));
    let programs = question.programs().map(|(score, answer)| (score, answer, true));
    let mut scored: Vec<(f64, Suggestion, bool)> = not_programs.chain(programs).collect();
    // The sort is stable, so the order of the table breaks ties.
    scored.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    let least = scored.first().map_or(0.0, |(best, ..)| ALIKE * best).max(LEAST);
    let mut answers: Vec<Suggestion> = Vec::new();
    for (score, answer, is_program) in scored {
        let known: CapSet = answers.iter().flat_map(|known| known.caps.iter().copied()).collect();
        let is_new = !known.is_superset(answer.caps.iter().copied().collect());
        if score >= least && (!is_program || is_new) && answers.len() < 3 {
            answers.push(answer);
        } else if is_program && is_new && question.is_one_word {
            // The name of a program alone is a question about all that it does.
            answers.truncate(2);
            answers.push(answer);
        }
    }
    answers
}

/// The score of one word that few tasks have. A lower score is a coincidence.
const LEAST: f64 = 1.4;
/// The share of a question that an answer has to explain, if it does not have a high score.
const SHARE: f64 = 0.3;
/// A score with which the rest of the question does not matter.
const HIGH: f64 = 5.0;
/// The score of a phrase and of a port.
const CERTAIN: f64 = 8.0;
/// The score of a capability's name: higher than that of any phrase.
const NAME: f64 = 20.0;
/// Stems that alone say too little.
const GENERIC: [&str; 14] = [
    "chang", "create", "creat", "list", "mak", "mov", "new", "open", "read", "set", "start",
    "stop", "view", "writ",
];

impl From<&Task> for Suggestion {
    fn from(task: &Task) -> Suggestion {
        Suggestion {
            what: task.what.into(),
            answer: task.answer,
            caps: task.caps.to_vec(),
            because: task.because,
            instead: task.instead,
            sysctl: task.sysctl,
        }
    }
}

/// The stems of each task: of its name, and of its other words.
static STEMS: LazyLock<Vec<[Vec<String>; 2]>> =
    LazyLock::new(|| TASKS.iter().map(|task| [stems(task.what), stems(task.words)]).collect());

/// The worth of each stem: the fewer tasks have it, the more.
static WEIGHTS: LazyLock<HashMap<&'static str, f64>> = LazyLock::new(|| {
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for [what, words] in STEMS.iter() {
        let words = words.iter().filter(|word| !what.contains(word));
        what.iter().chain(words).for_each(|word| *counts.entry(word).or_default() += 1);
    }
    let all = f64::from(u32::try_from(TASKS.len()).unwrap_or(u32::MAX));
    counts.into_iter().map(|(word, count)| (word, (all / f64::from(count)).ln())).collect()
});

/// A question.
struct Question {
    /// In lower case, with one space before each word.
    text: String,
    is_one_word: bool,
    stems: Vec<String>,
    port: Option<Port>,
}

impl Question {
    fn new(text: &str) -> Question {
        let text: String =
            text.to_lowercase().split_whitespace().flat_map(|word| [" ", word]).collect();
        let is_one_word = words::tokens(&text).len() <= 1;
        Question { is_one_word, stems: stems(&text), port: ports(&text), text }
    }

    fn score(&self, task: &Task, [what, words]: &[Vec<String>; 2]) -> f64 {
        let (mut score, mut unexplained, mut is_specific) = (0.0, 0.0, false);
        for word in &self.stems {
            let weight = WEIGHTS.get(&**word).copied().unwrap_or_default();
            // A name of the kernel's is meant.
            let name = if word.contains('_') { 1.5 } else { 1.0 };
            let is_known = what.contains(word) || words.contains(word);
            is_specific |= is_known && !GENERIC.contains(&&**word);
            match (what.contains(word), words.contains(word)) {
                (true, _) => score += 1.2 * name * weight,
                (false, true) => score += name * weight,
                // A word that no task has says little.
                (false, false) => unexplained += weight.clamp(0.7, 2.0),
            }
        }
        let phrases = task.phrases.iter().filter(|phrase| has_phrase(&self.text, phrase));
        if let Some(length) = phrases.map(|phrase| phrase.len()).max() {
            return score + CERTAIN + 0.1 * f64::from(u8::try_from(length).unwrap_or(u8::MAX));
        }
        match (self.port, task.what) {
            (Some(Port::Privileged), PRIVILEGED_PORT)
            | (Some(Port::Unprivileged), UNPRIVILEGED_PORT) => score + CERTAIN,
            (Some(Port::Unprivileged), PRIVILEGED_PORT) | (_, UNPRIVILEGED_PORT) => 0.0,
            _ if !is_specific => 0.0,
            _ if score >= HIGH || score >= SHARE * (score + unexplained) => score,
            _ => 0.0,
        }
    }

    /// Returns the known programs that the question names.
    fn programs(&self) -> impl Iterator<Item = (f64, Suggestion)> {
        let is_alone = self.stems.len() <= 2;
        words::tokens(&self.text).into_iter().filter_map(move |name| {
            let name = names().find(|known| known.eq_ignore_ascii_case(&name))?;
            let caps: Vec<Cap> = needed_by(name).iter().collect();
            let score = if is_alone { 4.0 } else { 2.0 };
            let suggestion = Suggestion {
                what: format!("run {name}").into(),
                answer: Answer::Capabilities,
                because: "it asks for these in some of its tasks, and may need only some of them",
                instead: None,
                sysctl: None,
                caps,
            };
            (!suggestion.caps.is_empty()).then_some((score, suggestion))
        })
    }

    /// Returns the capabilities that the question names.
    fn capabilities(&self) -> impl Iterator<Item = (f64, Suggestion)> {
        words::tokens(&self.text).into_iter().filter_map(|name| {
            let bare = name.strip_prefix("cap_");
            let is_certain = bare.is_some() || name.contains('_') || self.is_one_word;
            let name = bare.unwrap_or(&name);
            let is_name = |cap: &Cap| {
                let known = cap.name().and_then(|known| known.strip_prefix("cap_"));
                // `bpf` and `kill` are words as well.
                known == Some(name) && is_certain
            };
            let cap = CapSet::NAMED.iter().find(is_name)?;
            let about = super::about(cap)?;
            let suggestion = Suggestion {
                what: format!("use {cap}").into(),
                answer: Answer::Capabilities,
                caps: vec![cap],
                because: about.permits,
                instead: None,
                sysctl: None,
            };
            Some((NAME, suggestion))
        })
    }
}

/// Returns whether the parts of a phrase between `*` are in the text, in this order.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let mut rest = Some(text);
    for part in phrase.split('*') {
        rest = rest.and_then(|rest| rest.find(part).map(|at| &rest[at + part.len()..]));
    }
    rest.is_some()
}

#[cfg(test)]
mod tests;

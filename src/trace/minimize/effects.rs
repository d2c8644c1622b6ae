//! The effects of a run, and their differences from another run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use crate::CapSet;

/// The effects of a run: changed files, the state of a private network, and processes that are
/// still running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// The changes.
    pub facts: BTreeMap<Subject, Facts>,
    /// The processes that were still running, by program and IDs, with their sets.
    pub processes: BTreeMap<Process, BTreeSet<ProcessSets>>,
}

/// The comparable aspects of one subject. Values are texts, as they are shown.
///
/// A changed subject has the aspects that differ from before the run, a new subject has all
/// aspects, and a removed subject has only [`Aspect::Change`].
pub type Facts = BTreeMap<Aspect, String>;

/// An object that a run can change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// A file of any type.
    File(PathBuf),
    /// A link, address, route or rule of the network, in words.
    Network(String),
    /// The stop of a service, by its name.
    Stop(String),
}

/// An aspect of a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Aspect {
    /// `created`, `changed` or `removed`.
    Change,
    /// The type of a file, such as `a directory`.
    Kind,
    /// The permissions, in octal digits.
    Mode,
    /// The owner's user id.
    Owner,
    /// The group id.
    Group,
    /// The target of a symbolic link.
    Target,
    /// The numbers of a device.
    Device,
    /// An extended attribute of a file, or an attribute of the network, by its name.
    Attribute(String),
    /// The length and hash of a file's content.
    Content,
}

/// A program that was left running, and its IDs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Process {
    /// The name of the process, from `/proc/PID/status`.
    pub name: String,
    /// The real, effective and saved user ids.
    pub users: [u32; 3],
    /// The real, effective and saved group ids.
    pub groups: [u32; 3],
    /// The supplementary groups.
    pub supplementary: Vec<u32>,
}

/// The sets of a process that was left running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ProcessSets {
    /// The permitted set.
    pub permitted: CapSet,
    /// The effective set.
    pub effective: CapSet,
    /// The inheritable set.
    pub inheritable: CapSet,
    /// The bounding set.
    pub bounding: CapSet,
    /// The ambient set.
    pub ambient: CapSet,
}

/// One difference between a run and the baseline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Difference {
    /// A difference in a file or the network.
    Fact {
        /// The subject that differs.
        subject: Subject,
        /// The aspect that differs.
        aspect: Aspect,
        /// The value in the baseline, or `None` if the baseline did not change it.
        want: Option<String>,
        /// The value in the run.
        got: Option<String>,
    },
    /// A process that only the baseline or only the run has left running.
    Process {
        /// The process.
        process: Process,
        /// Whether the baseline has it.
        wanted: bool,
    },
    /// A process whose sets differ from those in the baseline, apart from withheld capabilities.
    Sets {
        /// The process.
        process: Process,
        /// The name of a set.
        set: &'static str,
        /// The set in the baseline.
        want: CapSet,
        /// The set in the run.
        got: CapSet,
    },
}

/// The differences between runs with the same capabilities, which prove nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Noise {
    /// The subjects that every run of the baseline has changed.
    stable: Option<BTreeSet<Subject>>,
    /// The directories in which new files have a different name in each run.
    random: BTreeSet<PathBuf>,
    aspects: BTreeSet<(Subject, Aspect)>,
    processes: BTreeSet<String>,
    /// Whether standard output differs.
    pub output: bool,
}

impl Noise {
    /// Learns from two runs with the same capabilities `set`.
    pub fn learn(&mut self, one: &Effects, other: &Effects, set: CapSet) {
        let both = one.facts.keys().filter(|subject| other.facts.contains_key(subject));
        let stable =
            both.filter(|subject| self.stable.as_ref().is_none_or(|all| all.contains(subject)));
        let stable: BTreeSet<Subject> = stable.cloned().collect();
        let parents = |effects: &Effects| -> BTreeSet<PathBuf> {
            let new = effects.facts.keys().filter_map(|subject| match subject {
                Subject::File(path) => first_unknown(path, effects, &stable),
                Subject::Network(_) | Subject::Stop(_) => None,
            });
            new.filter_map(|path| path.parent().map(Path::to_path_buf)).collect()
        };
        self.random.extend(parents(one).intersection(&parents(other)).cloned());
        self.stable = Some(stable);
        self.add(one, other, set);
    }

    /// Adds what differs between two runs with the same capabilities, whichever these are.
    pub fn add(&mut self, one: &Effects, other: &Effects, set: CapSet) {
        for difference in self.differences(one, other, set) {
            match difference {
                Difference::Fact { subject, aspect, .. } => {
                    self.aspects.insert((subject, aspect));
                }
                Difference::Process { process, .. } | Difference::Sets { process, .. } => {
                    self.processes.insert(process.name);
                }
            }
        }
    }

    /// Returns how `got`, of a run with `set`, differs from `want`, of the baseline.
    pub fn differences(&self, want: &Effects, got: &Effects, set: CapSet) -> Vec<Difference> {
        let [want_facts, got_facts] = [want, got].map(|effects| self.canonical(effects));
        let subjects: BTreeSet<&Subject> = want_facts.keys().chain(got_facts.keys()).collect();
        let mut all = Vec::new();
        for subject in subjects {
            let [want, got] = [&want_facts, &got_facts].map(|facts| facts.get(subject));
            let [want, got] = [want, got].map(|facts| facts.map_or(&[][..], Vec::as_slice));
            compare(subject, want, got, &mut all);
        }
        all.extend(processes(want, got, set));
        all.retain(|difference| match difference {
            Difference::Fact { subject, aspect, .. } => {
                let is_noise = |aspect| self.aspects.contains(&(subject.clone(), aspect));
                !is_noise(Aspect::Change) && !is_noise(aspect.clone())
            }
            Difference::Process { process, .. } | Difference::Sets { process, .. } => {
                !self.processes.contains(&process.name)
            }
        });
        all
    }

    /// Returns the facts under names that are the same in each run: new files whose names vary are
    /// all called `*`.
    fn canonical<'a>(&self, effects: &'a Effects) -> BTreeMap<Subject, Vec<&'a Facts>> {
        let empty = BTreeSet::new();
        let stable = self.stable.as_ref().unwrap_or(&empty);
        let mut all: BTreeMap<Subject, Vec<&Facts>> = BTreeMap::new();
        for (subject, facts) in &effects.facts {
            let name = match subject {
                Subject::File(path) => {
                    let unknown = first_unknown(path, effects, stable);
                    let parent = unknown.and_then(|unknown| unknown.parent().zip(Some(unknown)));
                    match parent.filter(|(parent, _)| self.random.contains(*parent)) {
                        Some((parent, unknown)) => {
                            let rest = path.strip_prefix(unknown).unwrap_or(Path::new(""));
                            let name = parent.join("*");
                            // Joining nothing would append a slash.
                            Subject::File(if rest.as_os_str().is_empty() {
                                name
                            } else {
                                name.join(rest)
                            })
                        }
                        None => subject.clone(),
                    }
                }
                Subject::Network(_) | Subject::Stop(_) => subject.clone(),
            };
            all.entry(name).or_default().push(facts);
        }
        for facts in all.values_mut() {
            facts.sort();
        }
        all
    }

    /// Whether nothing varies.
    pub fn is_empty(&self) -> bool {
        self.random.is_empty()
            && self.aspects.is_empty()
            && self.processes.is_empty()
            && !self.output
    }

    /// Returns what varies, in words.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        if self.output {
            words.push("standard output".to_owned());
        }
        let name = |path: &PathBuf| format!("the names of new files in {}", path.display());
        words.extend(self.random.iter().map(name));
        for (subject, aspect) in &self.aspects {
            words.push(match aspect {
                Aspect::Change => format!("whether {subject} changes"),
                Aspect::Content => format!("the content of {subject}"),
                aspect => format!("the {aspect} of {subject}"),
            });
        }
        words.extend(self.processes.iter().map(|name| format!("the processes {name}")));
        words
    }
}

/// Compares one subject: several of the same name are new files whose names vary.
fn compare(subject: &Subject, want: &[&Facts], got: &[&Facts], all: &mut Vec<Difference>) {
    let fact = |aspect: &Aspect, want: Option<String>, got: Option<String>| {
        let (subject, aspect) = (subject.clone(), aspect.clone());
        Difference::Fact { subject, aspect, want, got }
    };
    let change =
        |facts: Option<&&Facts>| facts.and_then(|facts| facts.get(&Aspect::Change)).cloned();
    if want.len() > 1 || got.len() > 1 {
        if want.len() != got.len() {
            let count = |facts: &[&Facts]| Some(format!("{} created", facts.len()));
            return all.push(fact(&Aspect::Change, count(want), count(got)));
        }
        for (want, got) in want.iter().zip(got) {
            compare(subject, &[want], &[got], all);
        }
        return;
    }
    let (want, got) = (want.first(), got.first());
    let [was, is] = [change(want), change(got)];
    let is_whole = |change: &Option<String>| !matches!(change.as_deref(), None | Some("changed"));
    if was != is && (is_whole(&was) || is_whole(&is)) {
        return all.push(fact(&Aspect::Change, was, is));
    }
    let [want, got] = [want, got].map(|facts| facts.copied().cloned().unwrap_or_default());
    let aspects: BTreeSet<&Aspect> = want.keys().chain(got.keys()).collect();
    for aspect in aspects.into_iter().filter(|aspect| **aspect != Aspect::Change) {
        let [want, got] = [&want, &got].map(|facts| facts.get(aspect).cloned());
        if want != got {
            all.push(fact(aspect, want, got));
        }
    }
}

/// Returns the first part of a path that this run has created and that not every run has.
fn first_unknown<'a>(
    path: &'a Path,
    effects: &Effects,
    stable: &BTreeSet<Subject>,
) -> Option<&'a Path> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    parts.into_iter().find(|part| {
        let subject = Subject::File(part.to_path_buf());
        let facts = effects.facts.get(&subject);
        let created = facts.and_then(|facts| facts.get(&Aspect::Change));
        created.is_some_and(|change| change == "created") && !stable.contains(&subject)
    })
}

/// Compares the processes that are left. Those of the run cannot have more than `set`.
fn processes(want: &Effects, got: &Effects, set: CapSet) -> Vec<Difference> {
    let (want, got) = (&want.processes, &got.processes);
    let names: BTreeSet<&Process> = want.keys().chain(got.keys()).collect();
    let mut all = Vec::new();
    for process in names {
        let (Some(want), Some(got)) = (want.get(process), got.get(process)) else {
            let wanted = want.contains_key(process);
            all.push(Difference::Process { process: process.clone(), wanted });
            continue;
        };
        let masked: BTreeSet<ProcessSets> = want.iter().map(|sets| sets.masked(set)).collect();
        if masked == *got {
            continue;
        }
        for name in ProcessSets::NAMES {
            let one = |all: &BTreeSet<ProcessSets>| {
                all.iter().fold(CapSet::empty(), |union, sets| union | sets.named(name))
            };
            let (want, got) = (one(&masked), one(got));
            if want != got {
                let process = process.clone();
                all.push(Difference::Sets { process, set: name, want, got });
            }
        }
    }
    all
}

impl ProcessSets {
    const NAMES: [&'static str; 5] =
        ["permitted", "effective", "inheritable", "bounding", "ambient"];

    /// Returns the sets of a process.
    pub const fn new(
        [permitted, effective, inheritable, bounding, ambient]: [CapSet; 5],
    ) -> ProcessSets {
        ProcessSets { permitted, effective, inheritable, bounding, ambient }
    }

    fn named(&self, name: &str) -> CapSet {
        match name {
            "permitted" => self.permitted,
            "effective" => self.effective,
            "inheritable" => self.inheritable,
            "bounding" => self.bounding,
            _ => self.ambient,
        }
    }

    fn masked(self, set: CapSet) -> ProcessSets {
        ProcessSets::new(ProcessSets::NAMES.map(|name| self.named(name) & set))
    }
}

impl Effects {
    /// Adds a fact.
    pub fn insert(&mut self, subject: Subject, aspect: Aspect, value: impl Into<String>) {
        self.facts.entry(subject).or_default().insert(aspect, value.into());
    }

    /// Whether nothing changed and nothing was left running.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.processes.is_empty()
    }
}

impl Difference {
    /// Whether both are about the same aspect of the same subject.
    pub(super) fn is_about_the_same(&self, other: &Difference) -> bool {
        use Difference::{Fact, Process, Sets};
        match (self, other) {
            (
                Fact { subject, aspect, .. },
                Fact { subject: other_subject, aspect: other_aspect, .. },
            ) => subject == other_subject && aspect == other_aspect,
            (Process { process, .. } | Sets { process, .. }, Process { process: other, .. })
            | (Process { process, .. }, Sets { process: other, .. }) => process == other,
            (Sets { process, set, .. }, Sets { process: other, set: other_set, .. }) => {
                process == other && set == other_set
            }
            _ => false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::File(path) => write!(f, "{}", path.display()),
            Subject::Network(words) => write!(f, "{words}"),
            Subject::Stop(name) => write!(f, "the stop of {name}"),
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aspect::Change => "change",
            Aspect::Kind => "type",
            Aspect::Mode => "mode",
            Aspect::Owner => "owner",
            Aspect::Group => "group",
            Aspect::Target => "target",
            Aspect::Device => "device number",
            Aspect::Attribute(name) => name,
            Aspect::Content => "content",
        })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process { name, users, groups, .. } = self;
        let ids = |ids: &[u32; 3]| {
            if ids.iter().all(|id| *id == ids[1]) {
                ids[1].to_string()
            } else {
                ids.map(|id| id.to_string()).join("/")
            }
        };
        write!(f, "{name} of user {} and group {}", ids(users), ids(groups))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Fact { subject, aspect, want, got } => {
                fact(f, subject, aspect, want.as_deref(), got.as_deref())
            }
            Difference::Process { process, wanted: true } => {
                write!(f, "process {process} is not left running")
            }
            Difference::Process { process, wanted: false } => {
                write!(f, "process {process} is left running")
            }
            Difference::Sets { process, set, want, got } => {
                let words = |set: &CapSet| {
                    if set.is_empty() { "empty".to_owned() } else { set.to_string() }
                };
                let (want, got) = (words(want), words(got));
                write!(f, "the {set} set of process {process} is {got} instead of {want}")
            }
        }
    }
}

fn fact(
    f: &mut fmt::Formatter<'_>,
    subject: &Subject,
    aspect: &Aspect,
    want: Option<&str>,
    got: Option<&str>,
) -> fmt::Result {
    match (aspect, want, got) {
        (Aspect::Change, Some(want), None) => write!(f, "{subject} is not {want}"),
        (Aspect::Change, None, Some(got)) => write!(f, "{subject} is {got}"),
        (Aspect::Content, Some(_), Some(_)) => write!(f, "{subject} has other content"),
        (Aspect::Content, Some(_), None) => write!(f, "the content of {subject} is unchanged"),
        (Aspect::Content, None, _) => write!(f, "the content of {subject} is changed"),
        (Aspect::Attribute(name), Some(want), None) if matches!(subject, Subject::File(_)) => {
            write!(f, "{subject} lacks the attribute {name} ({want})")
        }
        (_, Some(want), Some(got))
            if matches!(aspect, Aspect::Change | Aspect::Kind | Aspect::Mode) =>
        {
            write!(f, "{subject} is {got} instead of {want}")
        }
        (_, Some(want), Some(got)) => {
            write!(f, "the {aspect} of {subject} is {got} instead of {want}")
        }
        (_, Some(want), None) => {
            write!(f, "the {aspect} of {subject} is unchanged instead of {want}")
        }
        (_, None, Some(got)) => {
            write!(f, "the {aspect} of {subject} is {got} instead of unchanged")
        }
        (_, None, None) => write!(f, "{subject} differs"),
    }
}

//! What the checks mean. A pure function from events to what a program may need.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Check, Event, EventKind, Symbols};
use crate::{Cap, CapSet};

mod reasons;

/// The number has 32 bits where a long has.
#[allow(clippy::cast_lossless, clippy::unnecessary_cast)]
const PIVOT_ROOT: i64 = libc::SYS_pivot_root as i64;

/// Why a check counts, or does not. They are tried in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Rule {
    /// It was made before the program was executed.
    BeforeTheProgram,
    /// It was made outside of the container that the program has started.
    Runtime,
    /// Whether memory may be overcommitted: the answer changes how much is kept back for root,
    /// and nothing else. (`cap_vm_enough_memory` in security/commoncap.c)
    Overcommit,
    /// The kernel asked without logging it, to choose between two ways that both work.
    Speculative,
    /// A file system asked on behalf of who mounted it.
    Borrowed,
    /// It was about another user namespace than the program's own.
    OtherNamespace,
    /// To read, one of two would do: the kernel asked for `CAP_DAC_READ_SEARCH`, was refused, and
    /// was granted `CAP_DAC_OVERRIDE` in the same system call.
    OneNeed,
    /// It was refused, and the system call succeeded.
    NotNeeded,
    /// It was refused, and the system call ended in `EPERM` or `EACCES`.
    Missing,
    /// It was refused, and how the system call ended says nothing of it.
    Unclear,
    /// It was granted, and the system call failed all the same.
    Weak,
    /// It was granted to the program, and the system call succeeded.
    Candidate,
}

impl Rule {
    /// The rule in words.
    pub const fn about(self) -> &'static str {
        match self {
            Rule::BeforeTheProgram => "before the program was executed",
            Rule::Runtime => "by the container's runtime, not in the container",
            Rule::Overcommit => "whether memory may be overcommitted: never needed",
            Rule::Speculative => "asked only to choose between two ways",
            Rule::Borrowed => "asked of who mounted a file system",
            Rule::OtherNamespace => "about another user namespace",
            Rule::OneNeed => "another capability did instead",
            Rule::NotNeeded => "refused, and it worked",
            Rule::Missing => "refused, and it failed for lack of permission",
            Rule::Unclear => "refused, and it is unclear whether it mattered",
            Rule::Weak => "granted, and it failed all the same",
            Rule::Candidate => "granted, and it worked",
        }
    }
}

/// From where in the kernel a check was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Place {
    /// The function that asked; empty if it is not known.
    pub function: String,
    /// What it asked for, in words.
    pub reason: Option<&'static str>,
    /// The system call, if it is known.
    pub system_call: Option<String>,
    /// What the functions alone say of the rule.
    rule: Option<Rule>,
}

impl Place {
    fn new(stack: &[u64], symbols: &Symbols) -> Place {
        let functions: Vec<&str> =
            stack.iter().filter_map(|address| symbols.name(*address)).collect();
        // What recorded it is no part of it.
        let behind = functions.iter().position(|name| name.starts_with("cap_capable"));
        let functions = &functions[behind.map_or(0, |at| at + 1)..];
        let has = |part: &str| functions.iter().any(|name| name.contains(part));
        let (function, reason) = reasons::reason(functions);
        let rule = if has("vm_enough_memory") {
            Some(Rule::Overcommit)
        } else if has("_noaudit") {
            Some(Rule::Speculative)
        } else if is_borrowed(functions) {
            Some(Rule::Borrowed)
        } else {
            None
        };
        let system_call = reasons::system_call(functions).map(str::to_owned);
        Place { function: function.to_owned(), reason, system_call, rule }
    }
}

/// Whether overlayfs asked for who mounted it: it looks at its own inode with the credentials of
/// the caller, and at all others with those. (fs/overlayfs/inode.c)
fn is_borrowed(functions: &[&str]) -> bool {
    const CALLERS: [(&str, &str); 2] =
        [("generic_permission", "ovl_permission"), ("setattr_prepare", "ovl_setattr")];
    let Some(at) = functions.iter().position(|name| name.starts_with("ovl_")) else { return false };
    let inner = at.checked_sub(1).map(|at| functions[at]);
    !CALLERS.iter().any(|(asks, of)| inner == Some(asks) && functions[at].starts_with(of))
}

/// A check, what came of it, and under which rule that is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The thread.
    pub tid: u32,
    /// The program that it ran; empty if it is not known.
    pub program: Arc<str>,
    /// The capability.
    pub cap: Cap,
    /// Whether the answer was yes.
    pub granted: bool,
    /// The rule.
    pub rule: Rule,
    /// From where.
    pub place: Arc<Place>,
    /// What the system call returned, if that is known.
    pub returned: Option<i64>,
    inside: bool,
}

/// Checks of one capability by one program for one reason, under one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Need {
    /// The capability.
    pub cap: Cap,
    /// The rule.
    pub rule: Rule,
    /// Whether the answer was yes.
    pub granted: bool,
    /// The function of the kernel that asked; empty if it is not known.
    pub function: String,
    /// What it asked for, in words.
    pub reason: Option<String>,
    /// How many checks.
    pub count: u64,
    /// The system call of the first, if it is known.
    pub system_call: Option<String>,
    /// What that returned.
    pub returned: Option<i64>,
    /// The program; empty if it is not known.
    pub program: String,
}

impl Need {
    /// Whether it was refused, and the system call failed for lack of permission: under whatever
    /// rule, that is not to be hidden.
    pub fn is_refusal(&self) -> bool {
        !self.granted && self.returned.is_some_and(lacks_permission)
    }

    /// Checks that are alike in this are one need.
    pub(super) fn key(&self) -> (Cap, Rule, bool, bool, &str, &str) {
        let Need { cap, rule, granted, .. } = *self;
        (cap, rule, granted, self.is_refusal(), &self.function, &self.program)
    }
}

/// What a recording comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Analysis {
    /// What the program may need: it was granted, and used. Only a run without one of them tells
    /// whether the program needs it.
    pub candidates: CapSet,
    /// What it lacked.
    pub missing: CapSet,
    /// Every check, by capability, rule, function and program.
    pub needs: Vec<Need>,
    /// Whether a path was shortened, or there were too many rows to name every program.
    pub is_cut: bool,
}

/// What is recorded: a program from its first instruction, or what ran already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program that this process executes. What comes before is the making of the process.
    Started(u32),
    /// Processes that run already. What they do counts at once.
    Running,
    /// A process that a container's runtime prepares: what counts is what is in the container.
    Container,
}

/// Reads events in the order of time, and says what the checks among them mean.
///
/// The first check is taken for the recorder's own, which asks with the credentials of what is
/// recorded about their own user namespace.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Analyser {
    origin: Origin,
    held: CapSet,
    /// Whether system calls are recorded too.
    outcomes: bool,
    symbols: Arc<Symbols>,
    places: HashMap<Vec<u64>, Arc<Place>>,
    marked: bool,
    /// The user namespace of what is recorded, if it is one for all.
    home: Option<u64>,
    begun: bool,
    threads: HashMap<u32, Thread>,
    needs: BTreeMap<Key, Need>,
    is_cut: bool,
}

/// As [`Need::key`], without copies, and whether it was in a container.
type Key = (Cap, Rule, bool, bool, Arc<Place>, Arc<str>, bool);

/// What is known of a thread.
#[derive(Clone, Debug, Default)]
struct Thread {
    program: Arc<str>,
    /// The user namespace that counts as its own.
    home: Option<u64>,
    /// It has changed its root directory by pivot_root(2): what it executes next is in a
    /// container.
    pivoted: bool,
    inside: bool,
    /// The checks of the system call that has not ended.
    open: Vec<Open>,
}

/// How many checks of one system call wait for its outcome.
const OPEN: usize = 1024;

#[derive(Clone, Debug)]
struct Open {
    time: u64,
    cap: Cap,
    granted: Option<bool>,
    unaudited: bool,
    /// Whether it was about another user namespace than that of the thread.
    other_namespace: bool,
    before: bool,
    place: Arc<Place>,
}

impl Analyser {
    /// For programs that could hold `held` at most: nothing outside of it is ever a candidate.
    /// `outcomes` says whether the ends of system calls are among the events.
    pub fn new(origin: Origin, held: CapSet, outcomes: bool, symbols: Arc<Symbols>) -> Analyser {
        Analyser {
            origin,
            held,
            outcomes,
            symbols,
            places: HashMap::new(),
            marked: false,
            home: None,
            begun: !matches!(origin, Origin::Started(_)),
            threads: HashMap::new(),
            needs: BTreeMap::new(),
            is_cut: false,
        }
    }

    /// Takes the next event, and gives the checks whose outcome is known with it.
    pub fn push(&mut self, event: Event) -> Vec<Seen> {
        let Event { time, tid, kind } = event;
        match kind {
            EventKind::Check(check) => return self.check(time, tid, &check),
            EventKind::Answer { granted } => {
                if let Some(open) =
                    self.threads.get_mut(&tid).and_then(|thread| thread.open.last_mut())
                {
                    open.granted.get_or_insert(granted);
                }
            }
            EventKind::SystemCall { number, returned } => {
                if number == PIVOT_ROOT && returned == 0 {
                    self.thread(tid).pivoted = true;
                }
                return self.settle(tid, Some(returned));
            }
            EventKind::Exec { path } => {
                self.begun |= self.origin == Origin::Started(tid);
                let (program, cut) = shorten(&path.to_string_lossy());
                self.is_cut |= cut;
                let thread = self.thread(tid);
                // Its own file under this name, which says less.
                if path != "/proc/self/exe" || thread.program.is_empty() {
                    thread.program = program.into();
                }
                if thread.pivoted && !thread.inside {
                    thread.inside = true;
                    thread.home = None;
                }
            }
            EventKind::Started { tid: child } => {
                // One of the same id has ended, and nobody has said so.
                let seen = self.settle(child, None);
                let parent = self.thread(tid);
                let thread = Thread { open: Vec::new(), ..parent.clone() };
                self.threads.insert(child, thread);
                return seen;
            }
            EventKind::Ended => {
                let seen = self.settle(tid, None);
                self.threads.remove(&tid);
                return seen;
            }
        }
        Vec::new()
    }

    fn thread(&mut self, tid: u32) -> &mut Thread {
        let home = self.home;
        self.threads.entry(tid).or_insert_with(|| Thread { home, ..Thread::default() })
    }

    fn check(&mut self, time: u64, tid: u32, check: &Check) -> Vec<Seen> {
        let Some(cap) = check.cap() else { return Vec::new() };
        if !self.marked {
            self.marked = true;
            self.home = Some(check.namespace).filter(|&namespace| namespace != 0);
            return Vec::new();
        }
        let place = if let Some(place) = self.places.get(&check.stack) {
            Arc::clone(place)
        } else {
            let place = Arc::new(Place::new(&check.stack, &self.symbols));
            self.places.insert(check.stack.clone(), Arc::clone(&place));
            place
        };
        let (before, outcomes) = (!self.begun, self.outcomes);
        let thread = self.thread(tid);
        // A program that enters a namespace of its own is granted everything there, which is
        // nothing to be given from outside. One that is in another from the start, as in a
        // container, has that for its own.
        if thread.home.is_none() && place.rule.is_none() {
            thread.home = check.own_namespace.or(Some(check.namespace));
        }
        let open = Open {
            time,
            cap,
            granted: check.granted,
            unaudited: check.unaudited,
            other_namespace: thread.home.is_some_and(|home| home != check.namespace),
            before,
            place,
        };
        // Where no system call is seen to end, a check ends with the next one, but for the second
        // of a pair.
        let goes_on = outcomes
            || open.cap == Cap::DAC_OVERRIDE
                && thread.open.last().is_some_and(|last| last.cap == Cap::DAC_READ_SEARCH);
        // A system call that asks for ever has no place to wait for its end.
        let goes_on = goes_on && self.thread(tid).open.len() < OPEN;
        let seen = if goes_on { Vec::new() } else { self.settle(tid, None) };
        self.thread(tid).open.push(open);
        seen
    }

    /// Judges the checks of a thread's system call that has ended.
    fn settle(&mut self, tid: u32, returned: Option<i64>) -> Vec<Seen> {
        let Some(thread) = self.threads.get_mut(&tid) else { return Vec::new() };
        if thread.open.is_empty() {
            return Vec::new();
        }
        let open = std::mem::take(&mut thread.open);
        let (program, inside) = (Arc::clone(&thread.program), thread.inside);
        let overridden =
            open.iter().any(|one| one.cap == Cap::DAC_OVERRIDE && one.granted == Some(true));
        let seen = open.into_iter().map(|one| Seen {
            rule: rule(&one, self.held, overridden, returned),
            time: one.time,
            tid,
            program: Arc::clone(&program),
            cap: one.cap,
            granted: one.granted == Some(true),
            place: one.place,
            returned,
            inside,
        });
        let seen: Vec<Seen> = seen.collect();
        for one in &seen {
            self.count(one);
        }
        seen
    }

    fn count(&mut self, seen: &Seen) {
        let refusal = !seen.granted && seen.returned.is_some_and(lacks_permission);
        let (place, program) = (Arc::clone(&seen.place), Arc::clone(&seen.program));
        let mut key = (seen.cap, seen.rule, seen.granted, refusal, place, program, seen.inside);
        if self.needs.len() >= Analysis::ROWS && !self.needs.contains_key(&key) {
            key.5 = Analysis::OTHERS.into();
            self.is_cut = true;
        }
        let program = key.5.to_string();
        let need = self.needs.entry(key).or_insert_with(|| Need {
            cap: seen.cap,
            rule: seen.rule,
            granted: seen.granted,
            function: seen.place.function.clone(),
            reason: seen.place.reason.map(str::to_owned),
            count: 0,
            system_call: seen.place.system_call.clone(),
            returned: seen.returned,
            program,
        });
        need.count = need.count.saturating_add(1);
    }

    /// What all of it comes to.
    pub fn finish(mut self) -> Analysis {
        let open: Vec<u32> = self.threads.keys().copied().collect();
        for tid in open {
            self.settle(tid, None);
        }
        // With a container, what happened outside of it is its runtime's.
        let contained = self.origin == Origin::Container
            || self.needs.keys().any(|(.., inside)| *inside)
            || self.threads.values().any(|thread| thread.inside);
        let needs = self.needs.into_iter().map(|((.., inside), mut need)| {
            if contained && !inside && need.rule != Rule::BeforeTheProgram {
                need.rule = Rule::Runtime;
            }
            need
        });
        Analysis { is_cut: self.is_cut, ..Analysis::new(needs.collect()) }
    }
}

impl Analysis {
    /// How many rows name their programs.
    pub const ROWS: usize = 4096;
    /// The longest path of a program, in bytes.
    pub const PATH: usize = 1024;
    /// What stands for the programs of further rows.
    pub const OTHERS: &str = "(others)";
    /// What a report of the programs says where `is_cut` is set.
    pub const CUT: &str = "the whole path of every program: a path keeps its last 1024 \
        bytes, and after 4096 rows programs are counted as (others)";

    /// With those that are alike as one.
    pub(crate) fn new(mut needs: Vec<Need>) -> Analysis {
        needs.sort_by(|a, b| a.key().cmp(&b.key()));
        needs.dedup_by(|again, one| {
            let alike = again.key() == one.key();
            one.count = one.count.saturating_add(if alike { again.count } else { 0 });
            alike
        });
        let of =
            |rule| needs.iter().filter(|need| need.rule == rule).map(|need| need.cap).collect();
        let (candidates, missing) = (of(Rule::Candidate), of(Rule::Missing));
        Analysis { candidates, missing, needs, is_cut: false }
    }
}

/// The end of a path that is too long, which has the name of the file, and whether it was.
fn shorten(path: &str) -> (String, bool) {
    let Some(excess) = path.len().checked_sub(Analysis::PATH).filter(|excess| *excess > 0) else {
        return (path.to_owned(), false);
    };
    let start = (excess + 3..path.len()).find(|&at| path.is_char_boundary(at));
    (format!("...{}", &path[start.unwrap_or(path.len())..]), true)
}

/// Whether a system call has failed: not that it goes on, or begins anew after a signal.
fn has_failed(returned: i64) -> bool {
    /// ERESTARTSYS to ERESTART_RESTARTBLOCK (include/linux/errno.h)
    const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;
    (-4095..0).contains(&returned)
        && returned != -i64::from(libc::EINPROGRESS)
        && !RESTARTS.contains(&returned)
}

fn lacks_permission(returned: i64) -> bool {
    [libc::EPERM, libc::EACCES].map(|errno| -i64::from(errno)).contains(&returned)
}

/// The rule under which a check comes; `overridden`: another capability did in the same call.
fn rule(open: &Open, held: CapSet, overridden: bool, returned: Option<i64>) -> Rule {
    let granted = open.granted == Some(true);
    match (open.place.rule, returned) {
        _ if open.before => Rule::BeforeTheProgram,
        (Some(rule), _) => rule,
        _ if open.unaudited => Rule::Speculative,
        _ if granted && !held.contains(open.cap) => Rule::Borrowed,
        _ if open.other_namespace => Rule::OtherNamespace,
        _ if !granted && open.cap == Cap::DAC_READ_SEARCH && overridden => Rule::OneNeed,
        (_, Some(returned)) if !granted && lacks_permission(returned) => Rule::Missing,
        (_, Some(returned)) if !granted && returned >= 0 => Rule::NotNeeded,
        _ if !granted => Rule::Unclear,
        (_, Some(returned)) if has_failed(returned) => Rule::Weak,
        _ => Rule::Candidate,
    }
}

#[cfg(test)]
mod tests;

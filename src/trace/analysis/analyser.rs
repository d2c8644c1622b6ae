//! The analyser, which turns events into needs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Analysis, Meaning, Need, Place, Seen,
    denials::{self, DENIALS, DenialKey, Lock},
    rules::{self, Open, lacks_permission},
};
use crate::{
    Cap, CapSet,
    trace::{
        object::Object,
        record::{Call, Check, Event, EventKind, Symbols},
        stack::Stack,
    },
};

/// The number has 32 bits on 32-bit machines.
#[allow(clippy::cast_lossless, clippy::unnecessary_cast)]
pub(super) const PIVOT_ROOT: i64 = libc::SYS_pivot_root as i64;

/// The start of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Origin {
    /// The program that this process executes. Earlier events belong to starting the process.
    Started(u32),
    /// Running processes, whose events all count.
    Running,
    /// A process that a container runtime prepares. Only events inside of the container count.
    Container,
    /// A service that systemd starts. The events of its child belong to starting the service.
    Service,
}

/// Reads events in time order, and decides what the checks mean.
///
/// The first check must be the recorder's own, which uses the credentials of the recorded process
/// and concerns its own user namespace.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(in crate::trace) struct Analyser {
    origin: Origin,
    held: CapSet,
    /// Whether the exits of system calls are recorded.
    outcomes: bool,
    symbols: Arc<Symbols>,
    places: HashMap<Vec<u64>, Arc<Place>>,
    marked: bool,
    /// The user namespace of the recorded processes, if they share one.
    home: Option<u64>,
    begun: bool,
    threads: HashMap<u32, Thread>,
    /// Threads that were already running in a container.
    inside: BTreeSet<u32>,
    /// Whether a container was started.
    has_started: bool,
    needs: BTreeMap<Key, Need>,
    /// The programs that gave a user namespace its map of user IDs.
    mappers: BTreeSet<Arc<str>>,
    denials: BTreeMap<DenialKey, u64>,
    is_cut: bool,
}

/// The key by which checks are merged into a need, like [`super::NeedKey`] without copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    cap: Cap,
    meaning: Meaning,
    granted: bool,
    refusal: bool,
    place: Arc<Place>,
    program: Arc<str>,
    /// The way into the container, for a check in one.
    entry: Option<Entry>,
}

/// The way in which a process came into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// The container was started with it, or with an ancestor of it.
    Start,
    /// It, or an ancestor, entered a running container: `docker exec` and health checks.
    Exec,
}

/// The relation of a thread to a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// A client, an engine or a runtime.
    #[default]
    Outside,
    /// A runtime in the file system of the container. The next program that it executes belongs to
    /// the container.
    Entered(Entry),
    Inside(Entry),
}

impl Stage {
    const fn entry(self) -> Option<Entry> {
        if let Stage::Inside(entry) = self { Some(entry) } else { None }
    }
}

/// The state of a thread.
#[derive(Clone, Debug, Default)]
struct Thread {
    program: Arc<str>,
    /// The user namespace that counts as the thread's own.
    home: Option<u64>,
    stage: Stage,
    /// The checks of the current system call.
    open: Vec<Open>,
    /// The user-space stack of the next check, and the number of its capability.
    stack: Option<(u32, Arc<Stack>)>,
}

/// The number of stacks whose places are cached.
const PLACES: usize = 16 * 1024;
/// The number of checks in one system call that wait for its outcome.
const OPEN: usize = 1024;

impl Analyser {
    /// Creates an analyser for programs that can have at most `held`: no other capability becomes a
    /// candidate. `outcomes` is whether the events include exits of system calls.
    pub(in crate::trace) fn new(
        origin: Origin,
        held: CapSet,
        outcomes: bool,
        symbols: Arc<Symbols>,
    ) -> Analyser {
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
            inside: BTreeSet::new(),
            has_started: false,
            needs: BTreeMap::new(),
            mappers: BTreeSet::new(),
            denials: BTreeMap::new(),
            is_cut: false,
        }
    }

    /// Notes threads that were already running in a container.
    pub(in crate::trace) fn with_inside(self, inside: BTreeSet<u32>) -> Analyser {
        Analyser { inside, ..self }
    }

    /// Processes the next event, and returns the checks whose outcome it reveals.
    pub(in crate::trace) fn push(&mut self, event: Event) -> Vec<Seen> {
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
            EventKind::SystemCall { number, returned, call } => {
                if returned == 0 {
                    self.enter(tid, number);
                }
                if let Some(thread) = self.threads.get_mut(&tid) {
                    thread.stack = None;
                }
                let call = call.unwrap_or_default();
                self.deny(tid, number, returned, &call);
                return self.settle(tid, Some((returned, &call)));
            }
            EventKind::UserStack(user) => {
                self.stack(tid, user.number, user.stack);
            }
            EventKind::Memory(_) => {}
            EventKind::Exec { path } => {
                self.begun |= self.origin == Origin::Started(tid);
                let (program, cut) = shorten(&path.to_string_lossy());
                self.is_cut |= cut;
                let thread = self.thread(tid);
                // This path is the thread's own file under a less useful name.
                if path != "/proc/self/exe" || thread.program.is_empty() {
                    thread.program = program.into();
                }
                if let Stage::Entered(entry) = thread.stage {
                    thread.stage = Stage::Inside(entry);
                    thread.home = None;
                    self.has_started |= entry == Entry::Start;
                }
            }
            EventKind::Started { tid: child } => {
                // An earlier thread had the same ID, and its end was not recorded.
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

    /// Notes that a thread has entered the file system of a container, if a system call that
    /// succeeded did that. A runtime calls pivot_root(2) for a new container, and setns(2) for a
    /// running one.
    fn enter(&mut self, tid: u32, number: i64) {
        /// The function of the kernel that checks whether a mount namespace may be entered.
        const ENTERS: &str = "mntns_install";
        // systemd does it too, for the mount namespace of a service.
        if self.origin == Origin::Service {
            return;
        }
        let may_exec = self.origin == Origin::Container || self.has_started;
        let thread = self.thread(tid);
        let entry = if number == PIVOT_ROOT {
            Entry::Start
        } else if may_exec && thread.open.iter().any(|one| one.place.function == ENTERS) {
            Entry::Exec
        } else {
            return;
        };
        // A container in a container is part of it.
        if thread.stage.entry().is_none() {
            thread.stage = Stage::Entered(entry);
        }
    }

    fn thread(&mut self, tid: u32) -> &mut Thread {
        let Analyser { home, threads, inside, .. } = self;
        threads.entry(tid).or_insert_with(|| {
            let is_inside = inside.contains(&tid);
            let stage = if is_inside { Stage::Inside(Entry::Start) } else { Stage::Outside };
            Thread { home: *home, stage, ..Thread::default() }
        })
    }

    /// Adds a stack to the check to which it belongs: the last one of the system call, or the next
    /// one, because either may be recorded first.
    fn stack(&mut self, tid: u32, number: u32, stack: Option<Arc<Stack>>) {
        // A thread is known from its first check on.
        if !self.marked {
            return;
        }
        let thread = self.thread(tid);
        match thread.open.last_mut() {
            Some(open) if open.stack.is_none() && u32::from(open.cap.number()) == number => {
                open.stack = stack;
            }
            _ => thread.stack = stack.map(|stack| (number, stack)),
        }
    }

    /// Returns whether a thread is systemd's child that prepares the execution of a service. Its
    /// name is that of systemd, or that of the service in parentheses. (`rename_process`)
    fn is_of_manager(&self, tid: u32) -> bool {
        let program = self.threads.get(&tid).map_or("", |thread| &*thread.program);
        let is_systemd = ["systemd", "systemd-executo"].contains(&program);
        self.origin == Origin::Service && (is_systemd || program.starts_with('('))
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
            if self.places.len() >= PLACES {
                self.places.clear();
            }
            self.places.insert(check.stack.clone(), Arc::clone(&place));
            place
        };
        let before = !self.begun || self.is_of_manager(tid);
        let outcomes = self.outcomes;
        if place.maps_users && !before && self.mappers.len() < Analysis::ROWS {
            let program = Arc::clone(&self.thread(tid).program);
            self.mappers.insert(program);
        }
        let thread = self.thread(tid);
        // A program that enters a new namespace has every capability in it, and nothing can be
        // granted from outside. A program that starts in another namespace, for example in a
        // container, has that one as its own.
        if thread.home.is_none() && place.meaning.is_none() {
            thread.home = check.own_namespace.or(Some(check.namespace));
        }
        let stack = thread.stack.take().filter(|(number, _)| *number == check.number);
        let open = Open {
            time,
            stack: stack.map(|(_, stack)| stack),
            cap,
            granted: check.granted,
            unaudited: check.unaudited,
            other_namespace: thread.home.is_some_and(|home| home != check.namespace),
            before,
            place,
        };
        // Without exits of system calls, a check ends with the next one, except for the second of a
        // pair.
        let goes_on = outcomes
            || open.cap == Cap::DAC_OVERRIDE
                && thread.open.last().is_some_and(|last| last.cap == Cap::DAC_READ_SEARCH);
        // The checks of an endless system call are not all kept.
        let goes_on = goes_on && self.thread(tid).open.len() < OPEN;
        let mut seen = if goes_on { Vec::new() } else { self.settle(tid, None) };
        let is_worker = open.place.is_worker;
        self.thread(tid).open.push(open);
        // A worker of io_uring never returns from a system call.
        if is_worker {
            seen.extend(self.settle(tid, None));
        }
        seen
    }

    /// Decides the meaning of the checks in a system call that has returned.
    fn settle(&mut self, tid: u32, end: Option<(i64, &Call)>) -> Vec<Seen> {
        let returned = end.map(|(returned, _)| returned);
        let existed = end.is_some_and(|(_, call)| call.existed);
        let Some(thread) = self.threads.get_mut(&tid) else { return Vec::new() };
        if thread.open.is_empty() {
            return Vec::new();
        }
        let open = std::mem::take(&mut thread.open);
        let (program, entry) = (Arc::clone(&thread.program), thread.stage.entry());
        let overridden =
            open.iter().any(|one| one.cap == Cap::DAC_OVERRIDE && one.granted == Some(true));
        let seen = open.into_iter().map(|one| Seen {
            meaning: rules::meaning(&one, self.held, overridden, returned, existed),
            time: one.time,
            tid,
            program: Arc::clone(&program),
            cap: one.cap,
            granted: one.granted == Some(true),
            place: one.place,
            returned,
            stack: one.stack,
            entry,
        });
        let seen: Vec<Seen> = seen.collect();
        for one in &seen {
            self.count(one, end.and_then(|(_, call)| call.object.as_ref()));
        }
        seen
    }

    /// Notes a system call that was denied.
    fn deny(&mut self, tid: u32, number: i64, returned: i64, call: &Call) {
        let counts = self.begun && !self.is_of_manager(tid);
        let Some(errno) = denials::errno(returned).filter(|_| counts) else { return };
        let thread = self.thread(tid);
        let system_call = denials::name(number, &thread.open);
        let (lock, caps) = denials::lock(number, errno, call, &thread.open);
        let because = denials::because(caps, call);
        let because = because.filter(|_| lock == Lock::Capability);
        let (object, program) = (call.object.clone(), Arc::clone(&thread.program));
        let inside = thread.stage.entry().is_some();
        let mut key =
            DenialKey { system_call, errno, lock, caps, because, object, program, inside };
        if self.denials.len() >= DENIALS && !self.denials.contains_key(&key) {
            key.object = None;
            key.because = None;
            key.program = Analysis::OTHERS.into();
            self.is_cut = true;
        }
        let count = self.denials.entry(key).or_insert(0_u64);
        *count = count.saturating_add(1);
    }

    fn count(&mut self, seen: &Seen, object: Option<&Object>) {
        let refusal = !seen.granted && seen.returned.is_some_and(lacks_permission);
        let (place, program) = (Arc::clone(&seen.place), Arc::clone(&seen.program));
        let Seen { cap, meaning, granted, entry, .. } = *seen;
        let mut key = Key { cap, meaning, granted, refusal, place, program, entry };
        if self.needs.len() >= Analysis::ROWS && !self.needs.contains_key(&key) {
            key.program = Analysis::OTHERS.into();
            self.is_cut = true;
        }
        let program = key.program.to_string();
        let need = self.needs.entry(key).or_insert_with(|| Need {
            cap: seen.cap,
            meaning: seen.meaning,
            granted: seen.granted,
            function: seen.place.function.clone(),
            reason: seen.place.reason.map(str::to_owned),
            count: 0,
            system_call: seen.place.system_call.clone(),
            objects: Vec::new(),
            has_more_objects: false,
            stacks: Vec::new(),
            has_more_stacks: false,
            returned: seen.returned,
            program,
            by_exec: entry == Some(Entry::Exec),
        });
        need.count = need.count.saturating_add(1);
        if let Some(object) = object {
            need.add(object);
        }
        let is_its_own = !matches!(meaning, Meaning::BeforeTheProgram | Meaning::Overcommit);
        if let Some(stack) = seen.stack.as_ref().filter(|_| is_its_own) {
            need.add_stack(stack);
        }
    }

    /// Returns the analysis of all events.
    pub(in crate::trace) fn finish(mut self) -> Analysis {
        let open: Vec<u32> = self.threads.keys().copied().collect();
        for tid in open {
            self.settle(tid, None);
        }
        // In a recording with a container, events outside of it belong to the runtime.
        let contained = self.origin == Origin::Container
            || self.needs.keys().any(|key| key.entry.is_some())
            || self.threads.values().any(|thread| thread.stage.entry().is_some());
        let needs = self.needs.into_iter().map(|(key, mut need)| {
            if contained && key.entry.is_none() && need.meaning != Meaning::BeforeTheProgram {
                need.meaning = Meaning::Runtime;
            }
            need
        });
        let unseen = self.mappers.iter().map(|program| {
            format!(
                "cap_setfcap, which the kernel requires without a check if {program} mapped user 0 \
                 of the parent user namespace (it wrote uid_map)"
            )
        });
        let unseen = unseen.collect();
        let denials = self.denials.into_iter().filter(|(key, _)| key.inside || !contained);
        let denials = denials.map(|(key, count)| key.denial(count)).collect();
        Analysis { is_cut: self.is_cut, unseen, denials, ..Analysis::new(needs.collect()) }
    }
}

/// Shortens a path that is too long to its end, and returns whether it did.
fn shorten(path: &str) -> (String, bool) {
    let Some(excess) = path.len().checked_sub(Analysis::PATH).filter(|excess| *excess > 0) else {
        return (path.to_owned(), false);
    };
    let start = (excess + 3..path.len()).find(|&at| path.is_char_boundary(at));
    (format!("...{}", &path[start.unwrap_or(path.len())..]), true)
}

//! A recording from its start to its end.

use std::{
    collections::BTreeSet,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
};

use super::{
    Analysis, Backend, Exit, Gap, Seen, Target,
    analysis::{Analyser, Origin},
    backend::require_initial_pid_namespace,
    object::Finder,
    record::{Event, Recorder, Rest, Symbols},
    report::Report,
    stacks::Resolver,
};
use crate::{
    CapSet, Op, Result,
    launch::{Launcher, attainable},
    proc::Proc,
    sys,
};

/// The minimum and maximum wait of [`Tracer::poll`].
const PULSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// The number of events after which the next wait is short.
const BUSY: usize = 10_000;

/// The options of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The backend, or `None` for the best one for the target.
    pub backend: Option<Backend>,
    /// The size of the kernel's buffer per processor, in KiB. A buffer that is too small grows.
    pub kilobytes: u32,
    /// Whether the results of system calls are recorded, which show the effect of a check.
    pub outcomes: bool,
    /// Whether programs that [`Tracer::start`] starts are clients or runtimes of containers, so that
    /// only checks inside the containers count.
    pub contained: bool,
    /// Whether the user-space stacks of checks are recorded, with outcomes, except with
    /// [`Backend::Bpf`]. (Linux 5.15 and BPF)
    #[cfg(feature = "stacks")]
    pub stacks: bool,
}

impl Options {
    /// Returns whether the user-space stacks of checks are recorded.
    #[cfg(feature = "stacks")]
    pub(super) fn records_stacks(&self) -> bool {
        self.stacks
    }

    #[cfg(not(feature = "stacks"))]
    #[expect(clippy::unused_self, reason = "the interface with the feature")]
    pub(super) fn records_stacks(&self) -> bool {
        false
    }
}

/// Returns the best backend, with outcomes, and a buffer that holds 100,000 checks by one thread. A
/// check takes 160 bytes with 12 functions on its stack and 250 with 23, and its outcome 28.
impl Default for Options {
    fn default() -> Options {
        Options {
            backend: None,
            kilobytes: 32 * 1024,
            outcomes: true,
            contained: false,
            #[cfg(feature = "stacks")]
            stacks: false,
        }
    }
}

/// Records the capability checks of programs, or of running processes.
///
/// A tracer can record several programs in turn; [`Tracer::finish`] ends each recording. It never
/// waits for a child process and handles no signals.
#[derive(Debug)]
pub struct Tracer {
    recorder: Recorder,
    backend: Backend,
    outcomes: bool,
    contained: bool,
    names: Names,
    /// The argument of [`Tracer::attach`].
    targets: Vec<Target>,
    current: Current,
    finder: Finder,
    stacks: Option<Resolver>,
    /// The process of [`Tracer::start`], until it has ended. (Linux 5.3)
    program: Option<OwnedFd>,
    pulse: Duration,
}

/// The current recording.
#[derive(Debug)]
struct Current {
    origin: Origin,
    held: CapSet,
    /// Threads that were already running in a container.
    inside: BTreeSet<u32>,
    analyser: Option<Analyser>,
    /// Events from before the names of kernel functions were known.
    waiting: Vec<Event>,
}

impl Current {
    fn new(origin: Origin, held: CapSet) -> Current {
        Current { origin, held, inside: BTreeSet::new(), analyser: None, waiting: Vec::new() }
    }
}

/// The result of a recording.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recording {
    /// The checks and their meanings.
    pub analysis: Analysis,
    /// The number of lost records, or `None` if some were lost and the kernel did not count them.
    pub lost: Option<u64>,
    /// Other reasons for which the recording is incomplete.
    pub gaps: Vec<Gap>,
    /// The backend.
    pub backend: Backend,
    /// The limits of the recording, in words.
    pub unseen: Vec<String>,
}

impl Recording {
    fn new(analysis: Analysis, rest: Rest, backend: Backend, names: &Symbols) -> Recording {
        let mut unseen: Vec<String> =
            backend.unseen().iter().map(|&words| words.to_owned()).collect();
        if names.is_empty() {
            unseen.push(
                "what the kernel asked for: /proc/kallsyms cannot be read, or \
                 kernel.kptr_restrict hides its addresses, so no check was set aside for its reason"
                    .to_owned(),
            );
        }
        if !analysis.unseen_caps.is_empty() {
            let words = "where a process sets its own capabilities or securebits";
            unseen.push(format!("{} {words}", analysis.unseen_caps));
        }
        unseen.extend(analysis.unseen.iter().cloned());
        if analysis.is_cut {
            unseen.push(Analysis::CUT.to_owned());
        }
        Recording { analysis, lost: rest.lost, gaps: rest.gaps, backend, unseen }
    }

    /// Returns whether no record is known to be missing. [`Recording::unseen`] still applies.
    pub fn is_complete(&self) -> bool {
        self.lost == Some(0) && self.gaps.is_empty()
    }

    /// Returns the report of this recording of `command`, with the exit of the program.
    pub fn report(self, command: Vec<String>, exit: Option<Exit>) -> Report {
        let mut unseen = self.unseen;
        let command = first_words(command, &mut unseen);
        Report {
            schema: Report::SCHEMA,
            command,
            exit,
            backend: self.backend,
            candidates: self.analysis.candidates,
            missing: self.analysis.missing,
            checks: self.analysis.needs,
            refused: self.analysis.denials,
            lost: self.lost,
            gaps: self.gaps.iter().map(Gap::to_string).collect(),
            unseen,
        }
    }
}

/// Returns the first words of a command, up to the limit of a report.
fn first_words(mut words: Vec<String>, unseen: &mut Vec<String>) -> Vec<String> {
    const LONGEST: usize = 16 * 1024;
    let mut length = 0;
    let fits = words.iter().take_while(|word| {
        length += word.len();
        length <= LONGEST
    });
    let fits = fits.count();
    if fits < words.len() {
        words.truncate(fits);
        words.push("...".to_owned());
        unseen.push("the words of the command after its first 16 KiB".to_owned());
    }
    words
}

/// The names of kernel functions, read by a thread while the recording starts.
#[derive(Debug)]
struct Names {
    loading: Option<JoinHandle<Symbols>>,
    symbols: Option<Arc<Symbols>>,
}

impl Names {
    fn load() -> Names {
        // EINVAL if this process creates children in another PID namespace.
        let loading = thread::Builder::new().spawn(Symbols::load).ok();
        Names { loading, symbols: None }
    }

    fn are_known(&self) -> bool {
        self.loading.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn get(&mut self) -> Arc<Symbols> {
        let symbols = self.symbols.get_or_insert_with(|| {
            let loaded = self.loading.take().and_then(|thread| thread.join().ok());
            Arc::new(loaded.unwrap_or_else(Symbols::load))
        });
        Arc::clone(symbols)
    }
}

impl Tracer {
    /// Creates a tracer for programs that [`Tracer::start`] starts.
    ///
    /// # Errors
    ///
    /// `EPERM` and `EACCES` without `CAP_SYS_ADMIN` in the initial user namespace.
    /// [`TraceError::NoBackend`](super::TraceError::NoBackend) if the kernel supports no backend.
    /// [`TraceError::PidNamespace`](super::TraceError::PidNamespace) and
    /// [`Error::NoProc`](crate::Error::NoProc), because processes are recorded by their IDs.
    /// [`TraceError::UnsupportedTarget`](super::TraceError::UnsupportedTarget) with [`Backend::Bpf`], which
    /// only records control groups.
    pub fn new(options: &Options) -> Result<Tracer> {
        let names = Names::load();
        let (recorder, backend) = Recorder::new(options)?;
        Ok(Tracer {
            recorder,
            backend,
            outcomes: options.outcomes,
            stacks: options.records_stacks().then(Resolver::default),
            contained: options.contained,
            names,
            targets: Vec::new(),
            current: Current::new(Origin::Running, CapSet::empty()),
            finder: Finder::new(),
            program: None,
            pulse: PULSE[0],
        })
    }

    /// Records running processes, their threads, their descendants, and processes that enter their
    /// control groups later.
    ///
    /// # Errors
    ///
    /// Those of [`Tracer::new`] and [`Target::processes`]. An error if the first process has ended.
    /// [`TraceError::NoMark`](super::TraceError::NoMark) if nothing is recorded.
    pub fn attach(targets: &[Target], options: &Options) -> Result<Tracer> {
        let names = Names::load();
        let mut targets = targets.to_vec();
        // A shim is a process, and only a control group can be recorded without process IDs.
        if options.backend == Some(Backend::Bpf) || require_initial_pid_namespace().is_err() {
            targets = targets.into_iter().map(Target::without_shim).collect();
        }
        let targets = &*targets;
        let first = processes(targets)?;
        let inside = targets.iter().map(Target::inside).collect::<Result<Vec<_>>>()?.concat();
        // The shim has more capabilities than the container.
        let holders = if inside.is_empty() { &first } else { &inside };
        let held = holders.iter().map(|&pid| held_by(pid)).reduce(|held, more| held | more);
        // Nothing is known about processes that will enter an empty control group.
        let held = held.unwrap_or_else(CapSet::supported);
        let (mut recorder, backend) = Recorder::attach(targets, &first, options)?;
        // Processes may have been started while the first ones were added.
        recorder.follow(&processes(targets)?)?;
        let origin = targets.iter().find_map(|target| match target {
            Target::NewContainer(_) | Target::RunningContainer { .. } => Some(Origin::Container),
            Target::NewService(_) => Some(Origin::Service),
            _ => None,
        });
        let origin = origin.unwrap_or(Origin::Running);
        let mut current = Current::new(origin, held);
        let threads = |pid: &u32| Proc::default().threads(*pid).unwrap_or_default();
        current.inside = inside.iter().flat_map(threads).collect();
        let finder = match recorder {
            Recorder::Processes(_) => Finder::new(),
            Recorder::Cgroups(_) => Finder::of_groups(require_initial_pid_namespace().is_err()),
        };
        Ok(Tracer {
            recorder,
            backend,
            outcomes: options.outcomes,
            stacks: options.records_stacks().then(Resolver::default),
            contained: options.contained,
            names,
            targets: targets.to_vec(),
            current,
            finder,
            program: None,
            pulse: PULSE[0],
        })
    }

    /// Returns the backend that records.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Starts the program of `command` with the privileges of `launcher`, and records it, its
    /// threads and its descendants.
    ///
    /// # Errors
    ///
    /// Those of [`Launcher::spawn`]. [`TraceError::NoMark`](super::TraceError::NoMark) if nothing is
    /// recorded; the program has then been killed.
    /// [`TraceError::UnsupportedTarget`](super::TraceError::UnsupportedTarget) after [`Tracer::attach`] to
    /// control groups.
    pub fn start(&mut self, command: Command, launcher: &Launcher) -> Result<Child> {
        let held = attainable()?;
        self.finder = Finder::of_children();
        let child = self.recorder.start(command, launcher)?;
        let origin = if self.contained { Origin::Container } else { Origin::Started(child.id()) };
        self.current = Current::new(origin, held);
        self.program = sys::pidfd_open(child.id()).ok();
        self.pulse = PULSE[0];
        Ok(child)
    }

    /// Waits for 1 to 20 ms, or until the program has ended, and then calls `each` for every check
    /// whose outcome is known. Call this function in a loop, because the kernel's buffer is limited.
    ///
    /// # Errors
    ///
    /// An error if the kernel's buffer cannot be read.
    pub fn poll(&mut self, mut each: impl FnMut(&Seen)) -> Result<()> {
        self.wait();
        if self
            .targets
            .iter()
            .any(|target| matches!(target, Target::Cgroup(_) | Target::NewService(_)))
        {
            // Processes that entered a group are not descendants of its first ones.
            self.recorder.follow(&processes(&self.targets).unwrap_or_default())?;
        }
        let mut events = self.recorder.drain()?;
        self.finder.find(&mut events, self.recorder.has_moved());
        if let Some(stacks) = &mut self.stacks {
            stacks.resolve(&mut events);
        }
        self.pulse = if events.len() > BUSY { PULSE[0] } else { PULSE[1].min(self.pulse * 2) };
        self.current.waiting.extend(events);
        // The kernel's buffer is drained even before the names are known.
        if self.names.are_known() {
            self.analyse(&mut each);
        }
        Ok(())
    }

    /// Waits until the pulse is over, or the program has ended. Its children may end at once too,
    /// so the next pulse is short.
    fn wait(&mut self) {
        let Some(program) = &self.program else { return thread::sleep(self.pulse) };
        let timeout = PollTimeout::try_from(self.pulse).unwrap_or(PollTimeout::ZERO);
        let mut waiting = [PollFd::new(program.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(0) => {}
            Ok(_) => {
                self.program = None;
                self.pulse = PULSE[0];
            }
            // A signal, for example.
            Err(_) => thread::sleep(self.pulse),
        }
    }

    fn analyse(&mut self, each: &mut dyn FnMut(&Seen)) {
        let Current { origin, held, inside, analyser, waiting } = &mut self.current;
        let analyser = analyser.get_or_insert_with(|| {
            let analyser = Analyser::new(*origin, *held, self.outcomes, self.names.get());
            analyser.with_inside(std::mem::take(inside))
        });
        for event in waiting.drain(..) {
            analyser.push(event).iter().for_each(&mut *each);
        }
    }

    /// Returns the IDs of the recorded threads that are alive, in the initial PID namespace, or of
    /// the recorded processes for control groups.
    ///
    /// # Errors
    ///
    /// An error if tracefs was unmounted.
    pub fn living(&mut self) -> Result<Vec<u32>> {
        self.recorder.living()
    }

    /// Ends the recording, and calls `each` for the last checks. Recorded processes keep running.
    /// [`Tracer::start`] can then record another program.
    ///
    /// # Errors
    ///
    /// An error if the kernel's buffer cannot be read.
    pub fn finish(&mut self, mut each: impl FnMut(&Seen)) -> Result<Recording> {
        let mut rest = self.recorder.stop()?;
        self.finder.find(&mut rest.events, self.recorder.has_moved());
        if let Some(stacks) = &mut self.stacks {
            stacks.resolve(&mut rest.events);
        }
        self.current.waiting.append(&mut rest.events);
        self.analyse(&mut each);
        let mut analysis = self.current.analyser.take().map(Analyser::finish).unwrap_or_default();
        if let Some(stacks) = &mut self.stacks {
            let unseen = stacks.name(&mut analysis);
            analysis.unseen.extend(unseen);
            analysis.unseen.extend(self.recorder.unseen_stacks(rest.lost_stacks));
        }
        analysis.unseen_caps = self.recorder.unseen_caps();
        let mut recording = Recording::new(analysis, rest, self.backend, &self.names.get());
        recording.unseen.extend(self.recorder.unseen(self.outcomes).map(str::to_owned));
        Ok(recording)
    }
}

fn processes(targets: &[Target]) -> Result<Vec<u32>> {
    let all = targets.iter().map(Target::processes).collect::<Result<Vec<_>>>()?;
    Ok(all.concat())
}

/// Returns the capabilities that the kernel can grant a process.
fn held_by(pid: u32) -> CapSet {
    match Proc::default().status(pid) {
        Ok(status) => status.bounding | status.caps.permitted,
        // A control group lists processes of an outer PID namespace as 0. Nothing is known about
        // them.
        Err(_) if pid == 0 => CapSet::supported(),
        // The process has ended.
        Err(_) => CapSet::empty(),
    }
}

/// Calls `call` while this thread creates children in another PID namespace, which `enter` selects.
/// Threads cannot be started during the call.
pub(super) fn with_children<T>(
    enter: impl FnOnce() -> nix::Result<()>,
    call: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let path = Path::new("/proc/self/ns/pid");
    let own = File::open(path).map_err(|err| Op::Open.on(path, err))?;
    let failed = |err| Op::EnterNamespace.thread(err);
    enter().map_err(failed)?;
    let result = call();
    setns(&own, CloneFlags::CLONE_NEWPID).map_err(failed)?;
    result
}

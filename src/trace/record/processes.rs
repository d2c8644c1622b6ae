//! Recording of a program and its descendants, or of running processes.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns},
    time::{ClockId, clock_gettime},
};

use super::{
    Event, EventKind, MARK, Rest, Tracefs,
    calls::CallRecorder,
    event::Formats,
    kprobe::Probes,
    page::Page,
    settings::Settings,
    tracefs::{Instance, NOBODY, Reader, lives},
};
use crate::{
    Error, Op, Result,
    error::TraceError,
    launch::{Launcher, above_standard},
    sys,
    trace::{Backend, Gap, Options, backend::require_initial_pid_namespace},
};

/// The size to which a buffer can grow by itself.
const KILOBYTES: u32 = 128 * 1024;

/// Records the kernel's capability checks, and the events that are needed to interpret them.
///
/// A recorder can record several times in turn. The first event of each recording is a check of
/// [`MARK`] by the recorded process, or by a helper process, over its own user namespace. Without
/// this event, the recording does not begin.
#[derive(Debug)]
pub(crate) struct ProcessRecorder {
    formats: Formats,
    /// The reader and the pending events of each processor.
    readers: Vec<(Reader, Vec<Event>)>,
    /// The number of records that this recorder has read.
    taken: u64,
    kilobytes: u32,
    /// The processes that were already running, and their programs.
    known: Vec<Event>,
    followed: BTreeSet<u32>,
    lost: Option<u64>,
    /// The number of records lost in all earlier recordings, as counted by the kernel.
    counted: u64,
    settings: Settings,
    /// The ends of system calls, where BPF can tell them.
    calls: Option<CallRecorder>,
    // The order of these fields matters: a probe must exist while an instance uses it.
    instance: Instance,
    probes: Option<Probes>,
    _tracefs: Tracefs,
}

/// Returns the time before which all events have their places in the buffers, in nanoseconds of
/// `CLOCK_MONOTONIC`.
pub(crate) fn settled() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|err| Op::ReadTrace.thread(err))?;
    let before = Duration::from(now).saturating_sub(Duration::from_millis(1));
    Ok(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX))
}

/// Enables the events of a recording: `check` with its stack, `answer` if there is one, the ends of
/// system calls if `outcomes` are recorded by tracefs, and the lives of processes. Returns the
/// settings that now have to stay.
fn enable(
    instance: &Instance,
    check: &str,
    answer: Option<String>,
    outcomes: bool,
) -> Result<Settings> {
    let trigger = format!("events/{check}/trigger");
    instance.write(&trigger, "stacktrace")?;
    let mut files = vec![trigger, format!("events/{check}/filter")];
    let outcomes = outcomes.then(|| "raw_syscalls/sys_exit".to_owned());
    let processes = ["sched/sched_process_exec", "task/task_newtask", "sched/sched_process_exit"]
        .map(|event| Some(event.to_owned()));
    let asked = [Some(check.to_owned()), answer, outcomes];
    for event in asked.into_iter().chain(processes).flatten() {
        instance.enable(&event)?;
        files.push(format!("events/{event}/enable"));
    }
    Ok(Settings::of(instance, files))
}

impl ProcessRecorder {
    /// Returns whether BPF tells the ends of system calls.
    pub(crate) fn sees_calls(&self) -> bool {
        self.calls.is_some()
    }

    /// Returns whether every call of the function is seen, also where the compiler inlined it.
    pub(crate) fn sees_inlined(&self) -> bool {
        self.probes.is_none()
    }

    /// Returns whether a recorded thread may have changed its root or current directory.
    pub(crate) fn has_moved(&self) -> bool {
        self.calls.as_ref().is_none_or(CallRecorder::has_moved)
    }

    /// Returns whether user-space stacks are recorded.
    pub(crate) fn sees_stacks(&self) -> bool {
        self.calls.as_ref().is_some_and(CallRecorder::sees_stacks)
    }

    /// Sets up recording, without any process.
    ///
    /// # Errors
    ///
    /// An error of setting up tracing, which needs root. [`TraceError::PidNamespace`] and
    /// [`Error::NoProc`], because processes are recorded by their IDs. [`TraceError::UnsupportedTarget`]
    /// with [`Backend::Bpf`], which a `CgroupRecorder` supports.
    pub(crate) fn new(backend: Backend, options: &Options) -> Result<ProcessRecorder> {
        require_initial_pid_namespace()?;
        let stacks = options.records_stacks();
        let load = || CallRecorder::new(stacks).ok();
        if !options.outcomes {
            return ProcessRecorder::set_up(backend, options, || None);
        }
        // Tracefs mostly waits for the kernel meanwhile.
        thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, load) {
            Ok(loading) => ProcessRecorder::set_up(backend, options, || loading.join().ok()?),
            Err(_) => ProcessRecorder::set_up(backend, options, load),
        })
    }

    /// `calls` returns the recorder of calls, if there is one.
    fn set_up(
        backend: Backend,
        options: &Options,
        calls: impl FnOnce() -> Option<CallRecorder>,
    ) -> Result<ProcessRecorder> {
        let tracefs = Tracefs::open()?;
        let instance = tracefs.instance(options.kilobytes)?;
        let probes = match backend {
            Backend::Kprobe => Some(Probes::new(&tracefs, &instance)?),
            Backend::Tracepoint => None,
            Backend::Bpf => return Err(Error::Trace(TraceError::UnsupportedTarget)),
        };
        let check = match &probes {
            Some(probes) => probes.check(),
            None => "capability/cap_capable".to_owned(),
        };
        let answer = probes.as_ref().map(Probes::answer);
        let formats = Formats::of(&tracefs, &check, answer.as_deref())?;
        // Without BPF, the end of every system call is recorded.
        let calls = calls();
        let outcomes = options.outcomes && calls.is_none();
        let settings = enable(&instance, &check, answer, outcomes)?;
        let readers = instance.readers()?.into_iter().map(|reader| (reader, Vec::new())).collect();
        Ok(ProcessRecorder {
            formats,
            readers,
            kilobytes: options.kilobytes,
            known: Vec::new(),
            followed: BTreeSet::new(),
            taken: 0,
            lost: Some(0),
            counted: 0,
            settings,
            instance,
            calls,
            probes,
            _tracefs: tracefs,
        })
    }

    /// Starts the program of `command` with the privileges of `launcher`, and records it, its
    /// threads and its descendants.
    ///
    /// # Errors
    ///
    /// Those of [`Launcher::spawn`]. [`TraceError::NoMark`] if nothing is recorded; the program has then
    /// been killed.
    pub(crate) fn start(&mut self, mut command: Command, launcher: &Launcher) -> Result<Child> {
        self.mark(&mut command, None)?;
        let child = launcher.spawn(command);
        let marked = self.expect_mark(child.as_ref().ok().map(Child::id));
        match (child, marked) {
            (Ok(child), Ok(())) => Ok(child),
            (Ok(mut child), Err(err)) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(err)
            }
            (Err(err), _) => {
                // The next recording must not begin with events of this one.
                let _ = self.stop();
                Err(err)
            }
        }
    }

    /// Records `processes`, their threads and their descendants. [`ProcessRecorder::follow`] adds
    /// more.
    ///
    /// # Errors
    ///
    /// An error if the first process, whose user namespace is the reference for all checks, has
    /// ended. [`TraceError::NoMark`] if nothing is recorded.
    pub(crate) fn attach(&mut self, processes: &[u32]) -> Result<()> {
        // A helper that ends before it executes anything makes the mark in the namespace of the
        // first process.
        let namespace = |pid: &str| {
            let path = PathBuf::from(format!("/proc/{pid}/ns/user"));
            let name = std::fs::read_link(&path).map_err(|err| Op::Open.on(&*path, err))?;
            Ok::<_, Error>((path, name))
        };
        let mut other = None;
        if let Some(pid) = processes.first() {
            let (path, name) = namespace(&pid.to_string())?;
            if name != namespace("self")?.1 {
                other = Some(File::open(&path).map_err(|err| Op::Open.on(&*path, err))?);
            }
        }
        // A directory cannot be executed, which is intended.
        let mut marker = Command::new("/");
        self.mark(&mut marker, other)?;
        let failed =
            marker.spawn().err().filter(|err| err.kind() != io::ErrorKind::PermissionDenied);
        self.expect_mark(None).map_err(|err| failed.map_or(err, |err| Op::Fork.thread(err)))?;
        self.follow(processes)
    }

    /// Discards events before the mark of `process`, or of any process.
    fn expect_mark(&mut self, process: Option<u32>) -> Result<()> {
        self.read()?;
        let is_mark = |event: &&Event| {
            matches!(&event.kind, EventKind::Check(check) if check.number == MARK)
                && process.is_none_or(|pid| pid == event.tid)
        };
        let events = self.readers.iter().flat_map(|(_, events)| events);
        let mark = events
            .filter(is_mark)
            .map(|event| event.time)
            .min()
            .ok_or(Error::Trace(TraceError::NoMark))?;
        for (_, events) in &mut self.readers {
            events.retain(|event| event.time >= mark);
        }
        Ok(())
    }

    /// Makes `command` record its own process from just before it executes its program, in the
    /// given user namespace.
    #[expect(unsafe_code, reason = "a process switches its own recording on")]
    fn mark(&self, command: &mut Command, namespace: Option<File>) -> Result<()> {
        // The child has its standard streams by then.
        let open = |file: &str| -> Result<File> {
            above_standard(self.instance.open(file)?.into()).map(File::from)
        };
        let [mut processes, mut switch] = [open("set_event_pid")?, open("tracing_on")?];
        // The list takes IDs of this process's PID namespace, and the child may be in another one.
        let failed = |err| Op::Open.on(Path::new("/proc"), err);
        let proc = above_standard(File::open("/proc").map_err(failed)?.into())?;
        let roots = self.calls.as_ref().map(CallRecorder::roots).transpose()?;
        let switch_on = move || {
            if let Some(namespace) = &namespace {
                setns(namespace, CloneFlags::CLONE_NEWUSER)?;
            }
            // Both numbers at once: the kernel waits before it replaces a list.
            let mut list = [b' '; 16];
            let (nobody, number) = list.split_at_mut(NOBODY.len() + 1);
            nobody[..NOBODY.len()].copy_from_slice(NOBODY.as_bytes());
            let length = sys::process_id_in(proc.as_fd(), number)?;
            let number = &number[..length];
            let end = nobody.len() + length;
            if let Some(roots) = &roots {
                let digits = number.iter().filter(|byte| byte.is_ascii_digit());
                let id = digits.fold(0, |id, digit| 10 * id + u64::from(digit - b'0'));
                roots.insert(id, 1)?;
            }
            processes.write_all(&list[..end])?;
            switch.write_all(b"1")?;
            // The capability does not exist, so the call fails, but the kernel checks first.
            let _ = sys::capbset_drop(u8::MAX);
            Ok(())
        };
        // SAFETY: `switch_on` only makes system calls.
        unsafe { command.pre_exec(switch_on) };
        Ok(())
    }

    /// Records more processes, their threads and future descendants. Processes that are already
    /// recorded are not affected, and ended ones are skipped.
    ///
    /// # Errors
    ///
    /// An error if tracefs was unmounted.
    pub(crate) fn follow(&mut self, processes: &[u32]) -> Result<()> {
        for &pid in processes {
            let program = std::fs::read_link(format!("/proc/{pid}/exe"));
            let program = program.or_else(|_| std::fs::read_link(format!("/proc/{pid}/comm")));
            let threads = crate::proc::Proc::default().threads(pid).unwrap_or_default();
            if let Some(calls) = self.calls.as_ref().filter(|_| !self.followed.contains(&pid)) {
                self.known.extend(calls.mapped(pid));
            }
            for tid in threads {
                if !self.followed.insert(tid) {
                    continue;
                }
                if let Ok(path) = &program {
                    let path = path.clone().into_os_string();
                    self.known.push(Event { time: 0, tid, kind: EventKind::Exec { path } });
                }
                if let Some(calls) = &self.calls {
                    calls.follow(tid)?;
                }
                let mut list = self.instance.open("set_event_pid")?;
                match list.write_all(tid.to_string().as_bytes()) {
                    Err(err) if err.raw_os_error() != Some(libc::ESRCH) => {
                        return Err(Op::SetUpTracing.thread(err));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Returns the recorded threads that are alive.
    ///
    /// # Errors
    ///
    /// An error if tracefs was unmounted.
    pub(crate) fn living(&self) -> Result<Vec<u32>> {
        let text = self.instance.read("set_event_pid")?;
        let listed = text.lines().filter_map(|line| line.trim().parse().ok());
        // The list still has some ended threads.
        Ok(listed.filter(|&tid| lives(tid)).collect())
    }

    /// Takes new events out of the kernel's buffers, in time order. Call this function regularly,
    /// because events that do not fit into the buffer are lost.
    ///
    /// # Errors
    ///
    /// An error if tracefs was unmounted.
    pub(crate) fn drain(&mut self) -> Result<Vec<Event>> {
        // Events that are being written are left for the next call.
        let until = settled()?;
        self.read()?;
        self.settings.check_regularly();
        self.take_until(until)
    }

    /// Reads the kernel's records, limited by the buffer size: if another process has cleared
    /// `set_event_pid`, each read is recorded itself.
    fn read(&mut self) -> Result<()> {
        let mut bytes = vec![0; 64 * 1024];
        let mut most = 0;
        let all = self.kilobytes as usize * 1024 + 2 * bytes.len();
        for (reader, events) in &mut self.readers {
            let mut length = 0;
            while length < all {
                let page = reader.page(&mut bytes).map_err(|err| Op::ReadTrace.thread(err))?;
                let Some(page) = page else { break };
                length += page.len();
                let Some(page) = Page::parse(page) else { break };
                self.lost = self.lost.zip(page.lost).map(|(lost, more)| lost + more);
                self.taken += page.records().count() as u64;
                self.formats.read(&page, events);
            }
            most = most.max(length);
        }
        let full = most > self.kilobytes as usize * 768;
        if full && self.kilobytes < KILOBYTES && self.count_lost()? > self.counted {
            self.grow();
        }
        Ok(())
    }

    /// Returns the number of lost records in all recordings.
    fn count_lost(&self) -> Result<u64> {
        let lost = self.readers.iter().map(|(reader, _)| reader.lost());
        lost.sum::<io::Result<u64>>().map_err(|err| Op::ReadTrace.thread(err))
    }

    /// Doubles the buffer after records have been lost. During this, the kernel records nothing and
    /// does not count what it drops.
    fn grow(&mut self) {
        let doubled = self.kilobytes * 2;
        self.lost = None;
        // A buffer that cannot grow keeps losing records, which the report states.
        if self.instance.write("buffer_size_kb", &doubled.to_string()).is_ok() {
            self.kilobytes = doubled;
        }
    }

    fn take_until(&mut self, time: u64) -> Result<Vec<Event>> {
        let mut taken = std::mem::take(&mut self.known);
        for (_, events) in &mut self.readers {
            let end = events.partition_point(|event| event.time <= time);
            taken.extend(events.drain(..end));
        }
        if let Some(calls) = &mut self.calls {
            taken.extend(calls.take_until(time)?);
        }
        taken.sort_by_key(|event| event.time);
        Ok(taken)
    }

    /// Ends the recording, so that another one can start, and returns the remaining events and the
    /// gaps.
    ///
    /// # Errors
    ///
    /// An error if tracefs was unmounted.
    pub(crate) fn stop(&mut self) -> Result<Rest> {
        self.settings.check();
        self.instance.write("tracing_on", "0")?;
        self.read()?;
        let taken = self.readers.iter().map(|(reader, _)| reader.taken());
        let taken = taken.sum::<io::Result<u64>>().map_err(|err| Op::ReadTrace.thread(err))?;
        // From here on, only the kernel counts.
        let others = std::mem::replace(&mut self.taken, taken) != taken;
        let counted = self.count_lost()?;
        let before = std::mem::replace(&mut self.counted, counted);
        let lost = self.lost.replace(0).map(|known| known.max(counted.saturating_sub(before)));
        self.followed.clear();
        let mut events = self.take_until(u64::MAX)?;
        let (mut lost, mut lost_stacks) = (lost, 0);
        if let Some(calls) = &mut self.calls {
            let (rest, [more, stacks]) = calls.stop()?;
            events.extend(rest);
            events.sort_by_key(|event| event.time);
            lost = lost.map(|lost| lost.saturating_add(more));
            lost_stacks = stacks;
        }
        let changed = self.settings.take_changed().map(|setting| Gap::Changed { setting });
        let gaps = changed.into_iter().chain(others.then_some(Gap::Taken)).collect();
        Ok(Rest { events, lost, lost_stacks, gaps })
    }
}

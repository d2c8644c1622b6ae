//! The ends of system calls by BPF, beside a recording of checks by tracefs. Only the calls in
//! which a check was made and those that were refused are reported, with what they refer to, so
//! that all others cost next to nothing. The workers of io_uring, which tracefs does not follow,
//! are followed here.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    Call, Event, EventKind, UserStack,
    btf::{self, Types},
    programs::{self, low, run, run_at_checks, run_at_ends},
};
use crate::{
    Op, Result,
    launch::above_standard,
    sys::bpf::{Cgroups, Counter, Queue, Scratch, Table},
};

mod layout;
mod mappings;
mod program;
#[cfg(feature = "cli")]
mod writes;

#[cfg(feature = "cli")]
pub(crate) use writes::RefusedWrites;

use layout::Layout;
use mappings::MappingRecorder;
use program::{
    ALL_REGISTERS, APPARMOR, ARGUMENTS, CHECK, CODE, END, ENTERED, FRAME_POINTER, INSTRUCTION,
    KNOWN, LANDLOCKED, LINK, Maps, NAME, NUMBER, OBJECT, RAW, SEGMENT, SELINUX, STACK_POINTER,
    TEXT, USER_STACK,
};

/// The recorder of calls.
#[derive(Debug)]
pub(crate) struct CallRecorder {
    maps: Maps,
    pending: Vec<Event>,
    /// Objects of ends that were not taken yet, by time and thread.
    objects: HashMap<(u64, u32), [u64; OBJECT]>,
    /// The workers of io_uring that have made a check.
    workers: HashSet<u32>,
    /// How many events and user-space stacks had no place in all recordings before.
    counted: [u64; 2],
    /// The mappings of processes, if user-space stacks are recorded.
    mappings: Option<MappingRecorder>,
    /// As long as these are open, the programs run.
    _links: Vec<OwnedFd>,
}

/// How many ends wait at most, 16 MB: a burst of 100,000 checks has a place.
const ENDS: u32 = 128 * 1024;
/// How many objects wait at most, 4.5 MB. Those of a longer burst are not known.
const OBJECTS: u32 = 8 * 1024;
/// How many checks by workers of io_uring wait at most.
const CHECKS: u32 = 8 * 1024;
/// How many user-space stacks wait at most, 17 MB, if they are recorded.
const STACKS: u32 = 2 * 1024;
/// How many tasks are followed at once.
const TASKS: u32 = 64 * 1024;

impl CallRecorder {
    /// With `stacks`, the user-space stack of each check is recorded too.
    ///
    /// # Errors
    ///
    /// The kernel or a lockdown does not allow it.
    pub(crate) fn new(stacks: bool) -> io::Result<CallRecorder> {
        CallRecorder::load(stacks, None, &["/proc/thread-self/status".to_owned()])
    }

    /// Returns a recorder of the threads in control groups, whose checks another one reports. These
    /// processes are in them.
    ///
    /// # Errors
    ///
    /// Those of [`CallRecorder::new`].
    pub(crate) fn of_groups(groups: &[OwnedFd], processes: &[u32]) -> io::Result<CallRecorder> {
        let count = i16::try_from(groups.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let listed = Cgroups::new(u32::from(count.unsigned_abs()))?;
        for (at, group) in (0..).zip(groups) {
            listed.set(at, group.as_fd())?;
        }
        let statuses: Vec<String> =
            processes.iter().map(|pid| format!("/proc/{pid}/status")).collect();
        CallRecorder::load(false, Some((listed, count)), &statuses)
    }

    /// Loads the programs. The files are the statuses of threads that may have a filter.
    fn load(
        stacks: bool,
        groups: Option<(Cgroups, i16)>,
        statuses: &[String],
    ) -> io::Result<CallRecorder> {
        let mappings = stacks.then(MappingRecorder::new).transpose()?;
        let user_stacks =
            || Ok::<_, io::Error>((Queue::new(STACKS)?, Scratch::new(program::STACK_SCRATCH)?));
        let maps = Maps {
            tasks: Table::new(TASKS)?,
            roots: Table::new(TASKS)?,
            groups,
            ends: Queue::new(ENDS)?,
            objects: Queue::new(OBJECTS)?,
            checks: Queue::new(CHECKS)?,
            scratch: Scratch::new(program::SCRATCH)?,
            stacks: stacks.then(user_stacks).transpose()?,
            lost_stacks: Counter::new()?,
            layout: Layout::load(),
            open: Counter::new()?,
            filtered: Counter::new()?,
            moved: Counter::new()?,
            lost: Counter::new()?,
        };
        // One that cannot be read has ended.
        let texts = statuses.iter().filter_map(|path| fs::read_to_string(path).ok());
        let is_filtered = { texts }.any(|text| {
            let mut modes = text.lines().filter_map(|line| line.strip_prefix("Seccomp:"));
            modes.any(|mode| mode.trim() != "0")
        });
        maps.filtered.set(u64::from(is_filtered))?;
        let mut links = vec![
            run(c"sched_process_exit", &program::exit(&maps))?,
            run(c"task_newtask", &program::started(&maps))?,
            // The ends first: no check is without one.
            run(c"sys_exit", &program::end(&maps))?,
            run(c"sys_enter", &program::begin(&maps))?,
            run_at_checks(|hook| program::check(&maps, hook))?.0,
        ];
        if fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text == b"Y\n") {
            let denied = |result| program::denied_by_apparmor(&maps, result);
            links.extend(run_at_ends("aa_audit", denied).ok());
        }
        if fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("selinuxfs")) {
            links.extend(run_at_denials_by_selinux(&maps).ok());
        }
        Ok(CallRecorder {
            maps,
            pending: Vec::new(),
            objects: HashMap::new(),
            workers: HashSet::new(),
            counted: [0; 2],
            mappings,
            _links: links,
        })
    }

    /// Returns the table of threads to record, to which a process adds itself between fork and
    /// exec. Its descriptor is not one of the standard streams.
    pub(crate) fn roots(&self) -> Result<Table> {
        // After the end of a recording, its last objects are still looked for.
        self.maps.moved.set(0).map_err(|err| Op::SetUpTracing.thread(err))?;
        let fd = self.maps.roots.try_clone_to_owned().map_err(|err| Op::LoadBpf.thread(err))?;
        above_standard(fd).map(Table::from)
    }

    /// Returns whether user-space stacks are recorded.
    pub(crate) fn sees_stacks(&self) -> bool {
        self.mappings.is_some()
    }

    /// Returns whether a recorded thread may have changed its root or current directory before the
    /// events that were taken last.
    pub(crate) fn has_moved(&self) -> bool {
        self.maps.moved.get().map_or(true, |moved| moved != 0)
    }

    /// Returns what a running process executes.
    pub(crate) fn mapped(&self, pid: u32) -> Vec<Event> {
        if self.sees_stacks() { mappings::mapped(pid) } else { Vec::new() }
    }

    /// Records a thread, and all that it starts from here on.
    pub(crate) fn follow(&self, tid: u32) -> Result<()> {
        self.maps.roots.insert(tid.into(), 1).map_err(|err| Op::SetUpTracing.thread(err))
    }

    /// Records nothing any more. Returns the last events, and how many events and user-space stacks
    /// had no place.
    pub(crate) fn stop(&mut self) -> Result<(Vec<Event>, [u64; 2])> {
        let failed = |err| Op::ReadTrace.thread(err);
        self.maps.roots.clear().map_err(failed)?;
        self.maps.tasks.clear().map_err(failed)?;
        self.maps.open.set(0).map_err(failed)?;
        let events = self.take_until(u64::MAX)?;
        self.workers.clear();
        let [events_lost, stacks_lost] =
            [&self.maps.lost, &self.maps.lost_stacks].map(Counter::get);
        let counted = [events_lost.map_err(failed)?, stacks_lost.map_err(failed)?];
        let before = std::mem::replace(&mut self.counted, counted);
        Ok((events, [counted[0] - before[0], counted[1] - before[1]]))
    }

    /// Takes the events up to `until`, in no particular order.
    pub(crate) fn take_until(&mut self, until: u64) -> Result<Vec<Event>> {
        self.read().map_err(|err| Op::ReadTrace.thread(err))?;
        let end = self.pending.partition_point(|event| event.time <= until);
        let rest = self.pending.split_off(end);
        let mut taken = std::mem::replace(&mut self.pending, rest);
        for event in &mut taken {
            if let EventKind::SystemCall { call: Some(call), .. } = &mut event.kind {
                if let Some(object) = self.objects.remove(&(event.time, event.tid)) {
                    refer(call, &object, self.maps.layout.as_ref());
                }
            }
        }
        self.objects.retain(|(time, _), _| *time > until);
        if let Some(mappings) = &mut self.mappings {
            taken.extend(mappings.take_until(until));
        }
        Ok(taken)
    }

    fn read(&mut self) -> io::Result<()> {
        // As many as there can be; more may be coming all the time.
        for _ in 0..ENDS {
            let Some(words) = self.maps.ends.pop()? else { break };
            self.pending.push(end(&words));
        }
        for _ in 0..OBJECTS {
            let Some(words) = self.maps.objects.pop()? else { break };
            self.objects.insert((words[0], low(words[1])), words);
        }
        for _ in 0..CHECKS {
            let Some(words) = self.maps.checks.pop()? else { break };
            let (time, [process, tid]) = (words[0], [high(words[1]), low(words[1])]);
            if self.workers.insert(tid) {
                let kind = EventKind::Started { tid };
                self.pending.push(Event { time, tid: process, kind });
            }
            self.pending.push(check(&words));
        }
        if let Some((queue, _)) = &self.maps.stacks {
            for _ in 0..STACKS {
                let Some(words) = queue.pop()? else { break };
                self.pending.extend(user_stack(&words));
            }
        }
        self.pending.sort_by_key(|event| event.time);
        Ok(())
    }
}

fn run_at_denials_by_selinux(maps: &Maps) -> io::Result<OwnedFd> {
    let kernel = btf::of_kernel()?;
    let offsets =
        Types::new(&kernel).and_then(|types| types.offsets("selinux_audit_data", &["result"]));
    let result = offsets.and_then(|offsets| i32::try_from(*offsets.first()?).ok());
    run(
        c"selinux_audited",
        &program::denied_by_selinux(maps, result.ok_or(io::ErrorKind::NotFound)?),
    )
}

/// The segment of 64-bit code. (arch/x86/include/asm/segment.h)
const USER_CS: u64 = 0x33;

fn end(words: &[u64; END]) -> Event {
    let (&[time, thread, returned, state], registers) =
        words.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let register = |at: usize| registers.get(at).copied().unwrap_or_default();
    let state = int(state);
    let call = Call {
        arguments: ARGUMENTS.map(register),
        began: (state & KNOWN != 0).then_some(state & ENTERED != 0),
        is_restricted: state & LANDLOCKED != 0,
        is_denied_by_apparmor: state & APPARMOR != 0,
        is_denied_by_selinux: state & SELINUX != 0,
        is_compat: SEGMENT.is_some_and(|at| register(at) & 0xffff != USER_CS),
        ..Call::default()
    };
    // A number of aarch64 has 32 bits.
    let number = i64::from(int(register(NUMBER)));
    let returned = i64::from_ne_bytes(returned.to_ne_bytes());
    let kind = EventKind::SystemCall { number, returned, call: Some(Box::new(call)) };
    Event { time, tid: low(thread), kind }
}

/// Adds to a call what its arguments refer to, and the credentials of its thread.
fn refer(call: &mut Call, object: &[u64; OBJECT], layout: Option<&Layout>) {
    let bytes: Vec<u8> = object[2..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = |at: usize| bytes[at..at + TEXT].split(|&byte| byte == 0).next().unwrap_or(&[]);
    call.texts = [text(0), text(TEXT)].map(<[u8]>::to_vec);
    call.bytes = bytes[2 * TEXT..].first_chunk().copied();
    let (name, task) = bytes[2 * TEXT + RAW..].split_at(NAME);
    call.name = name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
    let flags = task.first_chunk().map(|flags| u64::from_ne_bytes(*flags));
    call.process = layout
        .zip(flags)
        .and_then(|(layout, flags)| layout.credentials(&task[8..], flags).map(Box::new));
}

fn check(words: &[u64; CHECK]) -> Event {
    let (&[time, thread, cap, answer, namespace, own], stack) =
        words.split_first_chunk().unwrap_or((&[0; 6], &[]));
    let check = programs::check([cap, answer, namespace, own], stack);
    Event { time, tid: low(thread), kind: EventKind::Check(check) }
}

/// The user-space stack of a check, unless it is that of a kernel thread.
fn user_stack(words: &[u64; USER_STACK]) -> Option<Event> {
    let (&[time, thread, cap], rest) = words.split_first_chunk()?;
    let (registers, memory) = rest.split_at_checked(ALL_REGISTERS)?;
    let register = |at: usize| registers.get(at).copied().unwrap_or_default();
    let (at, bits, native) = CODE;
    let stack = UserStack {
        number: low(cap),
        process: high(thread),
        instruction: register(INSTRUCTION),
        pointer: register(STACK_POINTER),
        frame: register(FRAME_POINTER),
        link: LINK.map(register),
        memory: memory.to_vec(),
        is_compat: register(at) & bits != native,
        stack: None,
    };
    let kind = EventKind::UserStack(Box::new(stack));
    (register(INSTRUCTION) != 0).then_some(Event { time, tid: low(thread), kind })
}

/// The lower half of a word, as an int.
fn int(word: u64) -> i32 {
    i32::from_ne_bytes(low(word).to_ne_bytes())
}

/// The upper half of a word: the id of the process of a pair.
fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

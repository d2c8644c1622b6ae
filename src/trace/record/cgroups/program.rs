//! The BPF programs for control groups, written as instructions.

use crate::{
    sys::bpf::{Cgroups, Counter, Ids, Map, Queue},
    trace::record::{
        assembly::{Code, R0, R1, R2, R3, R4, R6, R7, call},
        programs::Hook,
    },
};

/// The words of a check: the time, the process and thread IDs, the capability, the result, the user
/// namespace in question, that of the credentials, two words of the name, and the stack.
pub(super) const CHECK: usize = 8 + STACK;
pub(super) const STACK: usize = 28;
/// The words of an exit: the time, the process and thread IDs, and the return value.
pub(super) const END: usize = 3;

/// The offset of an event from the frame pointer. A key and a value are below it.
const EVENT: i16 = -288;
const KEY: i16 = EVENT - 8;
const VALUE: i16 = EVENT - 16;
const _: () = assert!(CHECK == 288 / 8, "the event is what is built");

/// Returns the offset of a word of the event.
const fn word(at: i16) -> i16 {
    EVENT + 8 * at
}

/// The maps that the programs share.
#[derive(Debug)]
pub(super) struct Maps {
    /// The recorded control groups, and one more for the mark; and their number.
    pub(super) groups: Cgroups,
    pub(super) count: i16,
    /// The events.
    pub(super) checks: Queue<CHECK>,
    pub(super) ends: Queue<END>,
    /// The processes that were checked in one of the groups.
    pub(super) members: Ids,
    /// The number of them that were checked outside of the groups later.
    pub(super) left: Counter,
    /// The threads that were checked in their current system call.
    pub(super) open: Ids,
    /// The number of lost events.
    pub(super) lost: Counter,
}

impl Code {
    /// Stores the process ID as the key, and both IDs in R7.
    fn process(&mut self) -> &mut Code {
        self.call(call::GET_CURRENT_PID_TGID).copy(R7, R0);
        // R0 >>= 32
        self.push(0x77, R0, 0, 0, 32).store(KEY, R0)
    }

    /// Starts an event of this many words, with the time and the IDs of R7.
    fn event(&mut self, words: usize) -> &mut Code {
        for at in (EVENT..0).step_by(8).take(words) {
            self.store_value(at, 0);
        }
        self.call(call::KTIME_GET_NS).store(word(0), R0).store(word(1), R7)
    }

    /// Sends the event, or counts it as lost.
    fn send(&mut self, queue: &impl Map, lost: &Counter) -> &mut Code {
        self.map(R1, queue).address(R2, EVENT).set(R3, 0).call(call::MAP_PUSH_ELEM);
        self.end_if(R0, 0).count(lost)
    }

    fn count(&mut self, counter: &Counter) -> &mut Code {
        self.store_value(KEY, 0).map(R1, counter).address(R2, KEY).call(call::MAP_LOOKUP_ELEM);
        // *R0 += 1, atomically.
        self.end_if(R0, 0).set(R1, 1).push(0xdb, R0, R1, 0, 0)
    }

    /// Adds the key to a map.
    fn insert(&mut self, map: &Ids) -> &mut Code {
        self.store_value(VALUE, 1).map(R1, map).address(R2, KEY).address(R3, VALUE).set(R4, 0);
        self.call(call::MAP_UPDATE_ELEM)
    }

    /// Removes the key from a map. R0 is 0 if the key was present.
    fn remove(&mut self, map: &Ids) -> &mut Code {
        self.map(R1, map).address(R2, KEY).call(call::MAP_DELETE_ELEM)
    }
}

/// At a check.
pub(super) fn check(maps: &Maps, hook: Hook) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1);
    let inside: Vec<usize> =
        (0..maps.count).map(|group| code.is_under(&maps.groups, group)).collect();
    let mark = code.is_under(&maps.groups, maps.count);
    code.process().remove(&maps.members).end_unless(R0, 0).count(&maps.left).end();
    code.land(inside).process().insert(&maps.members);
    code.land([mark]).process().event(CHECK);
    code.facts(hook, word(2));
    code.address(R1, word(6)).set(R2, 16).call(call::GET_CURRENT_COMM);
    let stack = i32::try_from(8 * STACK).unwrap_or(0);
    code.copy(R1, R6).address(R2, word(8)).set(R3, stack).set(R4, 0).call(call::GET_STACK);
    code.store(KEY, R7).insert(&maps.open);
    code.send(&maps.checks, &maps.lost);
    code.finish()
}

/// At the tracepoint sys_exit, whose arguments are the registers and the return value.
pub(super) fn system_call(maps: &Maps) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1).process().store(KEY, R7).remove(&maps.open).end_unless(R0, 0);
    code.event(END).load(R1, R6, 8).store(word(2), R1);
    code.send(&maps.ends, &maps.lost);
    code.finish()
}

/// At the tracepoint sched_process_exit, because the process ID can be reused.
pub(super) fn exit(maps: &Maps) -> Vec<u64> {
    let mut code = Code::default();
    code.process();
    // R7 = the thread ID, by a 32-bit move. Other threads of the process continue.
    code.push(0xbc, R7, R7, 0, 0);
    code.to_end.push(code.words.len());
    // if R7 != R0 goto end
    code.push(0x5d, R7, R0, 0, 0);
    code.remove(&maps.members);
    code.finish()
}

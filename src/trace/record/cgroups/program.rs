//! The BPF programs, written as instructions. (Documentation/bpf/standardization/)

use crate::sys::bpf::{Cgroups, Counter, Ids, Map, Queue};

/// enum bpf_func_id
mod call {
    pub(super) const MAP_LOOKUP_ELEM: i32 = 1;
    pub(super) const MAP_UPDATE_ELEM: i32 = 2;
    pub(super) const MAP_DELETE_ELEM: i32 = 3;
    pub(super) const KTIME_GET_NS: i32 = 5;
    pub(super) const GET_CURRENT_PID_TGID: i32 = 14;
    pub(super) const GET_CURRENT_COMM: i32 = 16;
    pub(super) const CURRENT_TASK_UNDER_CGROUP: i32 = 37;
    pub(super) const GET_STACK: i32 = 67;
    pub(super) const MAP_PUSH_ELEM: i32 = 87;
}

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
pub(super) struct Maps<'a> {
    /// The recorded control groups, and one more for the mark; and their number.
    pub(super) groups: &'a Cgroups,
    pub(super) count: i16,
    /// The events.
    pub(super) checks: &'a Queue<CHECK>,
    pub(super) ends: &'a Queue<END>,
    /// The processes that were checked in one of the groups.
    pub(super) members: &'a Ids,
    /// The number of them that were checked outside of the groups later.
    pub(super) left: &'a Counter,
    /// The threads that were checked in their current system call.
    pub(super) open: &'a Ids,
    /// The number of lost events.
    pub(super) lost: &'a Counter,
}

/// Registers: the result, the arguments, two that calls preserve, and the frame pointer.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R6: u8 = 6;
const R7: u8 = 7;
const R10: u8 = 10;

/// Instructions, with jumps to a common end.
#[derive(Default)]
struct Code {
    words: Vec<u64>,
    /// Jumps to the end, to be filled in.
    to_end: Vec<usize>,
}

impl Code {
    /// Adds an instruction: opcode:8, registers:4+4, offset:16, immediate:32, in the byte order of
    /// the machine.
    fn push(&mut self, opcode: u8, to: u8, from: u8, offset: i16, immediate: i32) -> &mut Code {
        let registers =
            if cfg!(target_endian = "little") { to | from << 4 } else { from | to << 4 };
        let mut bytes = [0; 8];
        bytes[0] = opcode;
        bytes[1] = registers;
        bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
        bytes[4..].copy_from_slice(&immediate.to_ne_bytes());
        self.words.push(u64::from_ne_bytes(bytes));
        self
    }

    /// `to = from`
    fn copy(&mut self, to: u8, from: u8) -> &mut Code {
        self.push(0xbf, to, from, 0, 0)
    }

    /// `to = value`
    fn set(&mut self, to: u8, value: i32) -> &mut Code {
        self.push(0xb7, to, 0, 0, value)
    }

    /// `to = frame + offset`
    fn address(&mut self, to: u8, offset: i16) -> &mut Code {
        self.copy(to, R10).push(0x07, to, 0, 0, offset.into())
    }

    /// `to = *(from + offset)`, 64 bits
    fn load(&mut self, to: u8, from: u8, offset: i16) -> &mut Code {
        self.push(0x79, to, from, offset, 0)
    }

    /// `*(frame + offset) = from`, 64 bits
    fn store(&mut self, offset: i16, from: u8) -> &mut Code {
        self.push(0x7b, R10, from, offset, 0)
    }

    /// `*(frame + offset) = value`, 64 bits
    fn store_value(&mut self, offset: i16, value: i32) -> &mut Code {
        self.push(0x7a, R10, 0, offset, value)
    }

    /// `to = map`: an instruction of two words
    fn map(&mut self, to: u8, map: &impl Map) -> &mut Code {
        const BPF_PSEUDO_MAP_FD: u8 = 1;
        self.push(0x18, to, BPF_PSEUDO_MAP_FD, 0, map.number()).push(0, 0, 0, 0, 0)
    }

    fn call(&mut self, function: i32) -> &mut Code {
        self.push(0x85, 0, 0, 0, function)
    }

    /// Jumps if `register` is `value`. [`Code::land`] sets the target.
    fn jump_if(&mut self, register: u8, value: i32) -> usize {
        self.push(0x15, register, 0, 0, value);
        self.words.len() - 1
    }

    /// Jumps to the end if `register` is `value`.
    fn end_if(&mut self, register: u8, value: i32) -> &mut Code {
        let jump = self.jump_if(register, value);
        self.to_end.push(jump);
        self
    }

    /// Jumps to the end unless `register` is `value`.
    fn end_unless(&mut self, register: u8, value: i32) -> &mut Code {
        self.to_end.push(self.words.len());
        self.push(0x55, register, 0, 0, value)
    }

    /// Sets the target of these jumps to the next instruction.
    fn land(&mut self, jumps: impl IntoIterator<Item = usize>) -> &mut Code {
        for at in jumps {
            let mut bytes = self.words[at].to_ne_bytes();
            let offset = i16::try_from(self.words.len() - at - 1).unwrap_or(i16::MAX);
            bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
            self.words[at] = u64::from_ne_bytes(bytes);
        }
        self
    }

    /// Jumps to the end.
    fn end(&mut self) -> &mut Code {
        self.to_end.push(self.words.len());
        self.push(0x05, 0, 0, 0, 0)
    }

    /// Returns the instructions, followed by a return of 0.
    fn finish(mut self) -> Vec<u64> {
        let to_end = std::mem::take(&mut self.to_end);
        self.land(to_end);
        self.set(R0, 0).push(0x95, 0, 0, 0, 0);
        self.words
    }

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

/// At the tracepoint cap_capable, whose arguments are the credentials, the user namespace in
/// question, that of the credentials, the capability and the result.
/// (include/trace/events/capability.h)
pub(super) fn check(maps: &Maps<'_>) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1);
    let is_in = |code: &mut Code, group: i16| {
        code.map(R1, maps.groups).set(R2, group.into()).call(call::CURRENT_TASK_UNDER_CGROUP);
        code.jump_if(R0, 1)
    };
    let inside: Vec<usize> = (0..maps.count).map(|group| is_in(&mut code, group)).collect();
    let mark = is_in(&mut code, maps.count);
    code.process().remove(maps.members).end_unless(R0, 0).count(maps.left).end();
    code.land(inside).process().insert(maps.members);
    code.land([mark]).process().event(CHECK);
    for (argument, at) in [(3, 2), (4, 3), (1, 4), (2, 5)] {
        code.load(R1, R6, 8 * argument).store(word(at), R1);
    }
    code.address(R1, word(6)).set(R2, 16).call(call::GET_CURRENT_COMM);
    let stack = i32::try_from(8 * STACK).unwrap_or(0);
    code.copy(R1, R6).address(R2, word(8)).set(R3, stack).set(R4, 0).call(call::GET_STACK);
    code.store(KEY, R7).insert(maps.open);
    code.send(maps.checks, maps.lost);
    code.finish()
}

/// At the tracepoint sys_exit, whose arguments are the registers and the return value.
pub(super) fn system_call(maps: &Maps<'_>) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1).process().store(KEY, R7).remove(maps.open).end_unless(R0, 0);
    code.event(END).load(R1, R6, 8).store(word(2), R1);
    code.send(maps.ends, maps.lost);
    code.finish()
}

/// At the tracepoint sched_process_exit, because the process ID can be reused.
pub(super) fn exit(maps: &Maps<'_>) -> Vec<u64> {
    let mut code = Code::default();
    code.process();
    // R7 = the thread ID, by a 32-bit move. Other threads of the process continue.
    code.push(0xbc, R7, R7, 0, 0);
    code.to_end.push(code.words.len());
    // if R7 != R0 goto end
    code.push(0x5d, R7, R0, 0, 0);
    code.remove(maps.members);
    code.finish()
}

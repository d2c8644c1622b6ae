//! The two programs, instruction by instruction. (Documentation/bpf/standardization/)

use crate::sys::bpf::{Cgroups, Counter, Map, Queue, Threads};

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

/// An event in 64-bit words: the time, the ids of process and thread, the kind, the capability,
/// what was returned, the user namespace in question, that of the credentials, two of the name,
/// and the stack.
pub(super) const WORDS: usize = 9 + STACK;
pub(super) const STACK: usize = 28;
pub(super) const SYSTEM_CALL: u64 = 1;

/// Where an event is built below the frame pointer; below that, a key and a value.
const EVENT: i16 = -296;
const KEY: i16 = EVENT - 8;
const VALUE: i16 = EVENT - 16;
const _: () = assert!(WORDS == 296 / 8, "the event is what is built");

/// The place of a word of the event.
const fn word(at: i16) -> i16 {
    EVENT + 8 * at
}

/// The maps that the programs share.
pub(super) struct Maps<'a> {
    /// The control groups that are recorded, and how many.
    pub(super) groups: &'a Cgroups,
    pub(super) count: i16,
    /// The events.
    pub(super) queue: &'a Queue<WORDS>,
    /// The threads that were asked something in the system call that they are in.
    pub(super) open: &'a Threads,
    /// How many events had no place.
    pub(super) lost: &'a Counter,
}

/// Registers: the result, the arguments, two that calls preserve, the frame.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R6: u8 = 6;
const R7: u8 = 7;
const R10: u8 = 10;

/// Instructions, with jumps to their common end.
#[derive(Default)]
struct Code {
    words: Vec<u64>,
    /// Jumps to the end, to be filled in.
    to_end: Vec<usize>,
}

impl Code {
    /// opcode:8, registers:4+4, offset:16, immediate:32, in the byte order of the machine.
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

    /// Over `words` if `register` is `value`.
    fn skip_if(&mut self, register: u8, value: i32, words: i16) -> &mut Code {
        self.push(0x15, register, 0, words, value)
    }

    /// To the end if `register` is `value`.
    fn end_if(&mut self, register: u8, value: i32) -> &mut Code {
        self.to_end.push(self.words.len());
        self.skip_if(register, value, 0)
    }

    /// To the end.
    fn end(&mut self) -> &mut Code {
        self.to_end.push(self.words.len());
        self.push(0x05, 0, 0, 0, 0)
    }

    /// The instructions, with an end that returns 0.
    fn finish(mut self) -> Vec<u64> {
        let end = self.words.len();
        for at in std::mem::take(&mut self.to_end) {
            let mut bytes = self.words[at].to_ne_bytes();
            let offset = i16::try_from(end - at - 1).unwrap_or(i16::MAX);
            bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
            self.words[at] = u64::from_ne_bytes(bytes);
        }
        self.set(R0, 0).push(0x95, 0, 0, 0, 0);
        self.words
    }

    /// An event with the time, and the ids of R7.
    fn event(&mut self) -> &mut Code {
        for at in (EVENT..0).step_by(8) {
            self.store_value(at, 0);
        }
        self.call(call::KTIME_GET_NS).store(word(0), R0).store(word(1), R7)
    }

    /// Sends the event, or counts it as lost.
    fn send(&mut self, maps: &Maps<'_>) -> &mut Code {
        self.map(R1, maps.queue).address(R2, EVENT).set(R3, 0).call(call::MAP_PUSH_ELEM);
        self.end_if(R0, 0);
        self.store_value(KEY, 0).map(R1, maps.lost).address(R2, KEY).call(call::MAP_LOOKUP_ELEM);
        // *R0 += 1, at once.
        self.end_if(R0, 0).set(R1, 1).push(0xdb, R0, R1, 0, 0)
    }
}

/// At the tracepoint cap_capable, which has the credentials, the user namespace in question, that
/// of the credentials, the capability and the answer. (include/trace/events/capability.h)
pub(super) fn check(maps: &Maps<'_>) -> Vec<u64> {
    /// The words that ask about one group.
    const ONE: i16 = 5;
    let mut code = Code::default();
    code.copy(R6, R1);
    for at in 0..maps.count {
        // Past the other groups, and the jump behind them.
        let rest = (maps.count - at - 1) * ONE + 1;
        code.map(R1, maps.groups).set(R2, at.into()).call(call::CURRENT_TASK_UNDER_CGROUP);
        code.skip_if(R0, 1, rest);
    }
    code.end();
    code.call(call::GET_CURRENT_PID_TGID).copy(R7, R0).event();
    for (argument, at) in [(3, 3), (4, 4), (1, 5), (2, 6)] {
        code.load(R1, R6, 8 * argument).store(word(at), R1);
    }
    code.address(R1, word(7)).set(R2, 16).call(call::GET_CURRENT_COMM);
    let stack = i32::try_from(8 * STACK).unwrap_or(0);
    code.copy(R1, R6).address(R2, word(9)).set(R3, stack).set(R4, 0).call(call::GET_STACK);
    code.store(KEY, R7).store_value(VALUE, 1);
    code.map(R1, maps.open).address(R2, KEY).address(R3, VALUE).set(R4, 0);
    code.call(call::MAP_UPDATE_ELEM);
    code.send(maps);
    code.finish()
}

/// At the tracepoint sys_exit, which has the registers and what is returned.
pub(super) fn system_call(maps: &Maps<'_>) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1).call(call::GET_CURRENT_PID_TGID).copy(R7, R0).store(KEY, R7);
    code.map(R1, maps.open).address(R2, KEY).call(call::MAP_LOOKUP_ELEM).end_if(R0, 0);
    code.map(R1, maps.open).address(R2, KEY).call(call::MAP_DELETE_ELEM);
    code.event();
    code.store_value(word(2), i32::try_from(SYSTEM_CALL).unwrap_or(1));
    code.load(R1, R6, 8).store(word(4), R1);
    code.send(maps);
    code.finish()
}

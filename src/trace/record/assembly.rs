//! An assembler for BPF programs. (Documentation/bpf/standardization/)

use crate::sys::bpf::Map;

/// enum bpf_func_id
pub(super) mod call {
    pub(in super::super) const MAP_LOOKUP_ELEM: i32 = 1;
    pub(in super::super) const MAP_UPDATE_ELEM: i32 = 2;
    pub(in super::super) const MAP_DELETE_ELEM: i32 = 3;
    pub(in super::super) const KTIME_GET_NS: i32 = 5;
    pub(in super::super) const GET_CURRENT_PID_TGID: i32 = 14;
    pub(in super::super) const GET_CURRENT_COMM: i32 = 16;
    pub(in super::super) const GET_CURRENT_TASK: i32 = 35;
    pub(in super::super) const CURRENT_TASK_UNDER_CGROUP: i32 = 37;
    pub(in super::super) const GET_STACK: i32 = 67;
    pub(in super::super) const MAP_PUSH_ELEM: i32 = 87;
    pub(in super::super) const PROBE_READ_USER: i32 = 112;
    pub(in super::super) const PROBE_READ_KERNEL: i32 = 113;
    pub(in super::super) const PROBE_READ_USER_STR: i32 = 114;
    pub(in super::super) const GET_CURRENT_TASK_BTF: i32 = 158;
    pub(in super::super) const TASK_PT_REGS: i32 = 175;
}

/// Registers: the result, the arguments, two that calls preserve, the frame.
pub(super) const R0: u8 = 0;
pub(super) const R1: u8 = 1;
pub(super) const R2: u8 = 2;
pub(super) const R3: u8 = 3;
pub(super) const R4: u8 = 4;
pub(super) const R6: u8 = 6;
pub(super) const R7: u8 = 7;
pub(super) const R8: u8 = 8;
pub(super) const R9: u8 = 9;
pub(super) const R10: u8 = 10;

/// Instructions, with jumps to their common end.
#[derive(Default)]
pub(super) struct Code {
    pub(super) words: Vec<u64>,
    /// Jumps to the end, to be filled in.
    pub(super) to_end: Vec<usize>,
}

impl Code {
    /// opcode:8, registers:4+4, offset:16, immediate:32, in the byte order of the machine.
    pub(super) fn push(
        &mut self,
        opcode: u8,
        to: u8,
        from: u8,
        offset: i16,
        immediate: i32,
    ) -> &mut Code {
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
    pub(super) fn copy(&mut self, to: u8, from: u8) -> &mut Code {
        self.push(0xbf, to, from, 0, 0)
    }

    /// `to = value`
    pub(super) fn set(&mut self, to: u8, value: i32) -> &mut Code {
        self.push(0xb7, to, 0, 0, value)
    }

    /// `to = frame + offset`
    pub(super) fn address(&mut self, to: u8, offset: i16) -> &mut Code {
        self.copy(to, R10).push(0x07, to, 0, 0, offset.into())
    }

    /// `to = *(from + offset)`, 64 bits
    pub(super) fn load(&mut self, to: u8, from: u8, offset: i16) -> &mut Code {
        self.push(0x79, to, from, offset, 0)
    }

    /// `*(frame + offset) = from`, 64 bits
    pub(super) fn store(&mut self, offset: i16, from: u8) -> &mut Code {
        self.push(0x7b, R10, from, offset, 0)
    }

    /// `*(frame + offset) = value`, 64 bits
    pub(super) fn store_value(&mut self, offset: i16, value: i32) -> &mut Code {
        self.push(0x7a, R10, 0, offset, value)
    }

    /// `to = map`: an instruction of two words
    pub(super) fn map(&mut self, to: u8, map: &impl Map) -> &mut Code {
        const BPF_PSEUDO_MAP_FD: u8 = 1;
        self.push(0x18, to, BPF_PSEUDO_MAP_FD, 0, map.number()).push(0, 0, 0, 0, 0)
    }

    pub(super) fn call(&mut self, function: i32) -> &mut Code {
        self.push(0x85, 0, 0, 0, function)
    }

    /// Jumps to where it is [landed](Code::land) if `register` is `value`.
    pub(super) fn jump_if(&mut self, register: u8, value: i32) -> usize {
        self.push(0x15, register, 0, 0, value);
        self.words.len() - 1
    }

    /// To the end if `register` is `value`.
    pub(super) fn end_if(&mut self, register: u8, value: i32) -> &mut Code {
        let jump = self.jump_if(register, value);
        self.to_end.push(jump);
        self
    }

    /// To the end unless `register` is `value`.
    pub(super) fn end_unless(&mut self, register: u8, value: i32) -> &mut Code {
        self.to_end.push(self.words.len());
        self.push(0x55, register, 0, 0, value)
    }

    /// Has these jumps lead to the next instruction.
    pub(super) fn land(&mut self, jumps: impl IntoIterator<Item = usize>) -> &mut Code {
        for at in jumps {
            let mut bytes = self.words[at].to_ne_bytes();
            let offset = i16::try_from(self.words.len() - at - 1).unwrap_or(i16::MAX);
            bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
            self.words[at] = u64::from_ne_bytes(bytes);
        }
        self
    }

    /// To the end.
    pub(super) fn end(&mut self) -> &mut Code {
        self.to_end.push(self.words.len());
        self.push(0x05, 0, 0, 0, 0)
    }

    /// The instructions, with an end that returns 0.
    pub(super) fn finish(mut self) -> Vec<u64> {
        let to_end = std::mem::take(&mut self.to_end);
        self.land(to_end);
        self.set(R0, 0).push(0x95, 0, 0, 0, 0);
        self.words
    }

    /// `to = to & value`
    pub(super) fn and(&mut self, to: u8, value: i32) -> &mut Code {
        self.push(0x57, to, 0, 0, value)
    }

    /// `to = to | value`
    pub(super) fn or(&mut self, to: u8, value: i32) -> &mut Code {
        self.push(0x47, to, 0, 0, value)
    }

    /// `*(to + offset) = from`, 64 bits
    pub(super) fn store_at(&mut self, to: u8, offset: i16, from: u8) -> &mut Code {
        self.push(0x7b, to, from, offset, 0)
    }

    /// `*(to + offset) += from`, 64 bits, atomically
    pub(super) fn add_at(&mut self, to: u8, offset: i16, from: u8) -> &mut Code {
        self.push(0xdb, to, from, offset, 0)
    }

    /// `to = to + value`
    pub(super) fn add(&mut self, to: u8, value: i32) -> &mut Code {
        self.push(0x07, to, 0, 0, value)
    }

    /// Jumps to where it is [landed](Code::land) unless `register` is `value`.
    pub(super) fn jump_unless(&mut self, register: u8, value: i32) -> usize {
        self.push(0x55, register, 0, 0, value);
        self.words.len() - 1
    }

    /// `R0 =` the address of the value of `key` in a map, or 0. `key` is an offset of the frame.
    pub(super) fn look_up(&mut self, map: &impl Map, key: i16) -> &mut Code {
        self.map(R1, map).address(R2, key).call(call::MAP_LOOKUP_ELEM)
    }
}

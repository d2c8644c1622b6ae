//! The programs that follow a tree of processes and report the ends of its system calls.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "offsets and lengths are small constants"
)]

use super::layout::{CREDENTIALS, Layout};
use crate::{
    sys::bpf::{Cgroups, Counter, Map, Queue, Scratch, Table},
    trace::record::{
        assembly::{Code, R0, R1, R2, R3, R4, R6, R7, R8, R9, R10, call},
        programs::Hook,
    },
};

/// The end of a system call in 64-bit words: the time, the ids of process and thread, the result,
/// the state of the thread, and the registers of [`REGISTERS`].
pub(super) const END: usize = 4 + WORDS;
/// The object of an end: its time and IDs, two strings of [`TEXT`] bytes, [`RAW`] bytes, the name of
/// the thread, the flags of the task, and its credentials.
pub(super) const OBJECT: usize = 2 + (2 * TEXT + RAW + NAME + 8 + CREDENTIALS) / 8;
pub(super) const TEXT: usize = 256;
pub(super) const RAW: usize = 32;
pub(super) const NAME: usize = 16;
/// A check by a worker of io_uring: the time, the ids, the capability, the answer, the user
/// namespace in question, that of the credentials, and the stack.
pub(super) const CHECK: usize = 6 + STACK;
pub(super) const STACK: usize = 28;

/// The user-space stack at a check: its time, the IDs, the capability, all registers, and the memory
/// from the stack pointer on.
pub(super) const USER_STACK: usize = 3 + arch::ALL_REGISTERS + MEMORY / 8;
pub(super) const MEMORY: usize = 8192;
/// The unit in which memory is read, so that the end of the stack does not prevent reading the rest.
const PIECE: usize = 512;

/// The state of a thread: a check was made in the system call that it is in; the system call began;
/// the beginnings of its system calls are seen; it restricts itself by Landlock; AppArmor or SELinux
/// has denied something in the system call.
pub(super) const OPEN: i32 = 1;
pub(super) const ENTERED: i32 = 2;
pub(super) const KNOWN: i32 = 4;
pub(super) const LANDLOCKED: i32 = 8;
pub(super) const APPARMOR: i32 = 16;
pub(super) const SELINUX: i32 = 32;

/// The ranges of struct pt_regs that are read, by offset and number of words, and where the first
/// two arguments are among the words that are read. (arch/*/include/asm/ptrace.h)
#[cfg(target_arch = "x86_64")]
mod arch {
    /// r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs
    pub(in super::super) const REGISTERS: &[(i32, usize)] = &[(56, 11)];
    pub(in super::super) const WORDS: usize = 11;
    pub(in super::super) const ARGUMENTS: [usize; 6] = [7, 6, 5, 0, 2, 1];
    pub(in super::super) const NUMBER: usize = 8;
    pub(in super::super) const SEGMENT: Option<usize> = Some(10);
    /// The length of struct pt_regs in words, and some of the registers in it.
    pub(in super::super) const ALL_REGISTERS: usize = 21;
    pub(in super::super) const STACK_POINTER: usize = 19;
    pub(in super::super) const FRAME_POINTER: usize = 4;
    pub(in super::super) const INSTRUCTION: usize = 16;
    pub(in super::super) const LINK: Option<usize> = None;
    /// The register by which 32-bit programs are recognized, the bits in it, and those of a 64-bit
    /// program: the segment of code. (arch/x86/include/asm/segment.h)
    pub(in super::super) const CODE: (usize, u64, u64) = (17, 0xffff, 0x33);
}

#[cfg(target_arch = "aarch64")]
mod arch {
    /// x0 to x5, then orig_x0 and syscallno
    pub(in super::super) const REGISTERS: &[(i32, usize)] = &[(0, 6), (272, 2)];
    pub(in super::super) const WORDS: usize = 8;
    pub(in super::super) const ARGUMENTS: [usize; 6] = [6, 1, 2, 3, 4, 5];
    pub(in super::super) const NUMBER: usize = 7;
    pub(in super::super) const SEGMENT: Option<usize> = None;
    pub(in super::super) const ALL_REGISTERS: usize = 34;
    pub(in super::super) const STACK_POINTER: usize = 31;
    pub(in super::super) const FRAME_POINTER: usize = 29;
    pub(in super::super) const INSTRUCTION: usize = 32;
    pub(in super::super) const LINK: Option<usize> = Some(30);
    /// PSR_MODE32_BIT of pstate. (arch/arm64/include/uapi/asm/ptrace.h)
    pub(in super::super) const CODE: (usize, u64, u64) = (33, 0x10, 0);
}

pub(super) use arch::{
    ALL_REGISTERS, ARGUMENTS, CODE, FRAME_POINTER, INSTRUCTION, LINK, NUMBER, REGISTERS, SEGMENT,
    STACK_POINTER, WORDS,
};

/// The system calls that change the root or current directory.
const MOVES: [libc::c_long; 6] = [
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_unshare,
];

/// The key of a map, a second one, and a value, below the frame pointer; and a check.
const KEY: i16 = -8;
const TID: i16 = -16;
const VALUE: i16 = -24;
const EVENT: i16 = VALUE - 8 * (CHECK as i16);
const COMM: i16 = EVENT - 16;

/// Where the object stands in the scratch, after the end.
const AFTER_END: i16 = 8 * END as i16;
/// The length of the scratch, in bytes.
pub(super) const SCRATCH: u32 = 8 * (END + OBJECT) as u32;

/// The length of the scratch for user-space stacks, in bytes.
pub(super) const STACK_SCRATCH: u32 = 8 * USER_STACK as u32;

/// The maps that the programs share.
#[derive(Debug)]
pub(super) struct Maps {
    /// The recorded tasks by their addresses, with their state.
    pub(super) tasks: Table,
    /// Threads that are to be recorded, by their ids.
    pub(super) roots: Table,
    /// The control groups whose threads are to be recorded instead, and their number.
    pub(super) groups: Option<(Cgroups, i16)>,
    pub(super) ends: Queue<END>,
    pub(super) objects: Queue<OBJECT>,
    pub(super) checks: Queue<CHECK>,
    pub(super) scratch: Scratch,
    /// Where the user-space stacks of checks go, with room to compose them, if they are recorded.
    pub(super) stacks: Option<(Queue<USER_STACK>, Scratch)>,
    /// The number of stacks that had no place.
    pub(super) lost_stacks: Counter,
    /// The number of threads with the state [`OPEN`].
    pub(super) open: Counter,
    /// Where the kernel keeps credentials, if it says so.
    pub(super) layout: Option<Layout>,
    /// Whether a recorded thread may have a filter of system calls.
    pub(super) filtered: Counter,
    /// Whether a recorded thread may have changed its root or current directory.
    pub(super) moved: Counter,
    /// The number of events that had no place.
    pub(super) lost: Counter,
}

impl Code {
    /// Ends unless the current task is recorded. The address of its state is in R8.
    fn member(&mut self, maps: &Maps) -> &mut Code {
        self.call(call::GET_CURRENT_TASK).store(KEY, R0).look_up(&maps.tasks, KEY).copy(R8, R0);
        let found = self.jump_unless(R8, 0);
        if let Some((groups, count)) = &maps.groups {
            let inside: Vec<usize> = (0..*count).map(|at| self.is_under(groups, at)).collect();
            self.end().land(inside);
        } else {
            self.call(call::GET_CURRENT_PID_TGID);
            // R0 = the id of the thread, by a 32-bit move.
            self.push(0xbc, R0, R0, 0, 0).store(TID, R0).look_up(&maps.roots, TID).end_if(R0, 0);
        }
        self.store_value(VALUE, 0).add_task(maps).look_up(&maps.tasks, KEY).copy(R8, R0);
        self.end_if(R8, 0);
        self.land([found])
    }

    /// Adds the task of the key with the state of the value, or counts it as lost.
    fn add_task(&mut self, maps: &Maps) -> &mut Code {
        self.map(R1, &maps.tasks).address(R2, KEY).address(R3, VALUE).set(R4, 0);
        self.call(call::MAP_UPDATE_ELEM);
        let added = self.jump_if(R0, 0);
        self.bump(&maps.lost, 1).land([added])
    }

    /// Notes in the state at R8 that the end of the system call is to be reported.
    fn open(&mut self, maps: &Maps) -> &mut Code {
        self.load(R7, R8, 0).copy(R1, R7).and(R1, OPEN);
        let is_open = self.jump_unless(R1, 0);
        self.or(R7, OPEN).store_at(R8, 0, R7).bump(&maps.open, 1).land([is_open])
    }

    /// Notes in the state of the current task that a module has denied something, if R7 is not 0.
    fn denied_by(&mut self, module: i32, maps: &Maps) -> &mut Code {
        self.end_if(R7, 0).member(maps).open(maps);
        self.load(R1, R8, 0).or(R1, module).store_at(R8, 0, R1)
    }

    /// Adds to a counter.
    fn bump(&mut self, counter: &Counter, by: i32) -> &mut Code {
        self.store_value(TID, 0).look_up(counter, TID);
        let none = self.jump_if(R0, 0);
        self.set(R1, by).add_at(R0, 0, R1).land([none])
    }

    /// `R0 =` the value of a counter.
    fn value_of(&mut self, counter: &Counter) -> &mut Code {
        self.store_value(TID, 0).look_up(counter, TID).end_if(R0, 0).load(R0, R0, 0)
    }

    /// Pushes the value at `R9 + offset`. R0 is 0 if it had a place.
    fn push_value(&mut self, queue: &impl Map, offset: i16) -> &mut Code {
        self.map(R1, queue).copy(R2, R9).add(R2, offset.into()).set(R3, 0);
        self.call(call::MAP_PUSH_ELEM)
    }
}

/// At the tracepoint task_newtask, which has the new task and the flags of clone(2). The workers of
/// io_uring come this way too, and no other. (`copy_process` in kernel/fork.c)
pub(super) fn started(maps: &Maps) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1).member(maps);
    code.load(R1, R8, 0).and(R1, KNOWN | LANDLOCKED).store(VALUE, R1);
    code.load(R1, R6, 0).store(KEY, R1);
    code.add_task(maps);
    code.finish()
}

/// At the tracepoint sched_process_exit: the next task at this address is another.
pub(super) fn exit(maps: &Maps) -> Vec<u64> {
    let mut code = Code::default();
    code.call(call::GET_CURRENT_TASK).store(KEY, R0).look_up(&maps.tasks, KEY).end_if(R0, 0);
    code.load(R7, R0, 0);
    code.map(R1, &maps.tasks).address(R2, KEY).call(call::MAP_DELETE_ELEM);
    code.and(R7, OPEN).end_if(R7, 0).bump(&maps.open, -1);
    code.finish()
}

/// At a check.
pub(super) fn check(maps: &Maps, hook: Hook) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1).member(maps);
    if maps.groups.is_some() {
        // Their recorder reports all checks.
        code.open(maps);
        return code.finish();
    }
    code.store_value(COMM, 0).store_value(COMM + 8, 0);
    code.address(R1, COMM).set(R2, 16).call(call::GET_CURRENT_COMM);
    // "iou-wrk-PID" and "iou-sqp-PID": kernel threads, whose calls have no end.
    code.load(R7, R10, COMM);
    let prefix = i32::from_ne_bytes(*b"iou-");
    // R7 = the first half, by a 32-bit move; both halves are compared as 32 bits.
    let worker = if cfg!(target_endian = "little") {
        code.push(0xbc, R7, R7, 0, 0);
        code.jump_if(R7, prefix)
    } else {
        code.push(0x77, R7, 0, 0, 32);
        code.jump_if(R7, prefix)
    };
    code.open(maps);
    if let Some((queue, scratch)) = &maps.stacks {
        user_stack(&mut code, queue, scratch, &maps.lost_stacks, hook);
    }
    code.end();
    code.land([worker]);
    for at in (EVENT..VALUE).step_by(8) {
        code.store_value(at, 0);
    }
    code.call(call::KTIME_GET_NS).store(EVENT, R0);
    code.call(call::GET_CURRENT_PID_TGID).store(EVENT + 8, R0);
    code.facts(hook, EVENT + 16);
    code.copy(R1, R6).address(R2, EVENT + 48).set(R3, 8 * STACK as i32).set(R4, 0);
    code.call(call::GET_STACK);
    code.map(R1, &maps.checks).address(R2, EVENT).set(R3, 0).call(call::MAP_PUSH_ELEM);
    code.end_if(R0, 0).bump(&maps.lost, 1);
    code.finish()
}

/// At the end of AppArmor's function that records what a profile does not allow, which returns an
/// error if it is denied. A denial without a record does not come this way.
/// (security/apparmor/audit.c)
pub(super) fn denied_by_apparmor(maps: &Maps, result: i16) -> Vec<u64> {
    let mut code = Code::default();
    // R7 = the result, by a 32-bit move.
    code.load(R7, R1, result).push(0xbc, R7, R7, 0, 0).denied_by(APPARMOR, maps);
    code.finish()
}

/// At the tracepoint selinux_audited, which has `struct selinux_audit_data`, with the result at this
/// offset: an error if something is denied. A denial for which the audit system has no record does
/// not come this way. (security/selinux/avc.c)
pub(super) fn denied_by_selinux(maps: &Maps, result: i32) -> Vec<u64> {
    let mut code = Code::default();
    code.load(R3, R1, 0).add(R3, result).store_value(VALUE, 0).address(R1, VALUE).set(R2, 4);
    code.call(call::PROBE_READ_KERNEL).load(R7, R10, VALUE).denied_by(SELINUX, maps);
    code.finish()
}

/// Copies the flags and the credentials of the current task to `R9 + to`.
fn credentials(code: &mut Code, layout: &Layout, to: i32) {
    let [cred, flags] = layout.task.map(|offset| offset as i32);
    code.call(call::GET_CURRENT_TASK).copy(R6, R0);
    code.copy(R1, R9).add(R1, to).set(R2, 8).copy(R3, R6).add(R3, flags);
    code.call(call::PROBE_READ_KERNEL).store_value(VALUE, 0);
    code.address(R1, VALUE).set(R2, 8).copy(R3, R6).add(R3, cred).call(call::PROBE_READ_KERNEL);
    code.copy(R1, R9).add(R1, to + 8).set(R2, CREDENTIALS as i32);
    code.load(R3, R10, VALUE).add(R3, layout.start() as i32).call(call::PROBE_READ_KERNEL);
}

/// Reports the user-space stack of the current task. R6 has the arguments of the hook.
fn user_stack(
    code: &mut Code,
    queue: &Queue<USER_STACK>,
    scratch: &Scratch,
    lost: &Counter,
    hook: Hook,
) {
    const REGISTERS_AT: i16 = 24;
    const MEMORY_AT: i32 = REGISTERS_AT as i32 + 8 * ALL_REGISTERS as i32;
    code.store_value(TID, 0).look_up(scratch, TID).end_if(R0, 0).copy(R9, R0);
    code.call(call::KTIME_GET_NS).store_at(R9, 0, R0);
    code.call(call::GET_CURRENT_PID_TGID).store_at(R9, 8, R0);
    code.load(R1, R6, hook.cap()).store_at(R9, 16, R1);
    code.call(call::GET_CURRENT_TASK_BTF).copy(R1, R0).call(call::TASK_PT_REGS).copy(R3, R0);
    code.copy(R1, R9).add(R1, REGISTERS_AT.into()).set(R2, 8 * ALL_REGISTERS as i32);
    code.call(call::PROBE_READ_KERNEL);
    code.load(R7, R9, REGISTERS_AT + 8 * STACK_POINTER as i16);
    for piece in (0..MEMORY as i32).step_by(PIECE) {
        code.copy(R1, R9).add(R1, MEMORY_AT + piece).set(R2, PIECE as i32);
        // Memory that cannot be read is 0.
        code.copy(R3, R7).add(R3, piece).call(call::PROBE_READ_USER);
    }
    code.push_value(queue, 0).end_if(R0, 0).bump(lost, 1);
}

/// At the tracepoint sys_enter, which has the registers and the number. It notes calls that change
/// the meaning of later ones. All others are seen only once a recorded thread has installed a filter
/// of system calls: one that the filter refuses ends without having begun. (`syscall_trace_enter` in
/// kernel/entry/common.c)
pub(super) fn begin(maps: &Maps) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(R6, R1).load(R7, R1, 8);
    let jump = |code: &mut Code, number| code.jump_if(R7, i32::try_from(number).unwrap_or(-1));
    let [seccomp, prctl, restricts] =
        [libc::SYS_seccomp, libc::SYS_prctl, libc::SYS_landlock_restrict_self]
            .map(|number| jump(&mut code, number));
    let moves = MOVES.map(|number| jump(&mut code, number));
    code.value_of(&maps.filtered).end_if(R0, 0).member(maps);
    code.load(R1, R8, 0).or(R1, ENTERED | KNOWN).store_at(R8, 0, R1).end();
    code.land(moves).member(maps).store_value(TID, 0).look_up(&maps.moved, TID).end_if(R0, 0);
    code.set(R1, 1).store_at(R0, 0, R1);
    let moved = code.jump_unless(R1, 0);
    code.land([restricts]).member(maps);
    code.load(R1, R8, 0).or(R1, LANDLOCKED).store_at(R8, 0, R1);
    code.land([moved]).value_of(&maps.filtered).end_if(R0, 0);
    code.load(R1, R8, 0).or(R1, ENTERED | KNOWN).store_at(R8, 0, R1).end();
    code.land([seccomp, prctl]).member(maps);
    let seccomp = code.jump_unless(R7, i32::try_from(libc::SYS_prctl).unwrap_or(-1));
    // The first argument of prctl(2).
    let (offset, _) = REGISTERS[0];
    let first = if cfg!(target_arch = "x86_64") {
        offset + 8 * ARGUMENTS[0] as i32
    } else {
        REGISTERS[1].0
    };
    code.store_value(VALUE, 0).address(R1, VALUE).set(R2, 8).load(R3, R6, 0).add(R3, first);
    code.call(call::PROBE_READ_KERNEL).load(R1, R10, VALUE);
    let set = code.jump_if(R1, libc::PR_SET_SECCOMP);
    // Another option of prctl(2): as any other system call.
    code.value_of(&maps.filtered).end_if(R0, 0);
    let other = code.jump_unless(R0, 0);
    code.land([seccomp, set]).store_value(TID, 0).look_up(&maps.filtered, TID).end_if(R0, 0);
    code.set(R1, 1).store_at(R0, 0, R1);
    code.land([other]).load(R1, R8, 0).or(R1, ENTERED | KNOWN).store_at(R8, 0, R1);
    code.finish()
}

/// At the tracepoint sys_exit, which has the registers and the result. Only the ends of calls in
/// which a check was made are reported, and of those that were refused.
pub(super) fn end(maps: &Maps) -> Vec<u64> {
    let refused = [libc::EPERM, libc::EACCES, libc::EROFS];
    let mut code = Code::default();
    code.copy(R6, R1).load(R7, R1, 8);
    let mut slow: Vec<usize> = refused.iter().map(|errno| code.jump_if(R7, -errno)).collect();
    code.value_of(&maps.open);
    slow.push(code.jump_unless(R0, 0));
    code.value_of(&maps.filtered).end_if(R0, 0);
    code.land(slow).member(maps);
    // R9 = the state; from here on, no check is open and no call has begun.
    code.load(R9, R8, 0).copy(R1, R9).and(R1, KNOWN | LANDLOCKED).store_at(R8, 0, R1);
    code.copy(R1, R9).and(R1, OPEN);
    let closed = code.jump_if(R1, 0);
    code.bump(&maps.open, -1);
    let report = {
        code.set(R0, 0);
        code.jump_if(R0, 0)
    };
    code.land([closed]);
    let mut reports: Vec<usize> = refused.iter().map(|errno| code.jump_if(R7, -errno)).collect();
    code.end();
    reports.push(report);
    code.land(reports).copy(R8, R9);
    code.store_value(TID, 0).look_up(&maps.scratch, TID).end_if(R0, 0).copy(R9, R0);
    code.call(call::KTIME_GET_NS).store_at(R9, 0, R0).store_at(R9, AFTER_END, R0);
    code.call(call::GET_CURRENT_PID_TGID).store_at(R9, 8, R0).store_at(R9, AFTER_END + 8, R0);
    code.store_at(R9, 16, R7).store_at(R9, 24, R8);
    let mut at = 32;
    for &(offset, words) in REGISTERS {
        let bytes = 8 * words as i32;
        code.copy(R1, R9).add(R1, at).set(R2, bytes).load(R3, R6, 0).add(R3, offset);
        code.call(call::PROBE_READ_KERNEL);
        at += bytes;
    }
    code.push_value(&maps.ends, 0);
    let sent = code.jump_if(R0, 0);
    code.bump(&maps.lost, 1).end();
    code.land([sent]);
    let argument = |at: usize| 32 + 8 * ARGUMENTS[at] as i16;
    let texts = [(call::PROBE_READ_USER_STR, TEXT, 0), (call::PROBE_READ_USER_STR, TEXT, 1)];
    let mut to = i32::from(AFTER_END) + 16;
    for (function, length, from) in texts.into_iter().chain([(call::PROBE_READ_USER, RAW, 1)]) {
        code.copy(R1, R9).add(R1, to).set(R2, length as i32).load(R3, R9, argument(from));
        code.call(function);
        to += length as i32;
    }
    code.copy(R1, R9).add(R1, to).set(R2, NAME as i32).call(call::GET_CURRENT_COMM);
    if let Some(layout) = &maps.layout {
        credentials(&mut code, layout, to + NAME as i32);
    }
    // An object that has no place is not known.
    code.push_value(&maps.objects, AFTER_END);
    code.finish()
}

//! BPF programs at tracepoints, and the words of their events.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    Check,
    assembly::{Code, R0, R1, R2, R3, R6, call},
    btf::{self, Types},
};
use crate::sys::bpf::{self, Cgroups, Place};

/// Only programs under the kernel's license may call its functions for tracing.
const LICENSE: &CStr = c"Dual MIT/GPL";

/// Runs a program at the raw tracepoint `name` while the returned descriptor is open.
pub(super) fn run(name: &CStr, instructions: &[u64]) -> io::Result<OwnedFd> {
    let loaded = bpf::prog_load(instructions, LICENSE, Place::RawTracepoint)?;
    bpf::raw_tracepoint_open(Some(name), loaded.as_fd())
}

/// Where programs see the kernel's checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// The tracepoint cap_capable, whose arguments are the credentials, the user namespace in
    /// question, that of the credentials, the capability and the result.
    /// (include/trace/events/capability.h)
    Tracepoint,
    /// The end of the function cap_capable, whose arguments are the credentials, the user namespace
    /// in question, the capability and options; the result follows. (security/commoncap.c)
    Function {
        /// The offset of the user namespace in `struct cred`.
        user_ns: i32,
    },
}

impl Hook {
    /// Returns the function of the running kernel with its ID, if the kernel describes it.
    fn function() -> Option<(Hook, u32)> {
        let bytes = btf::of_kernel().ok()?;
        let types = Types::new(&bytes)?;
        let user_ns = i32::try_from(*types.offsets("cred", &["user_ns"])?.first()?).ok()?;
        let (id, arguments) = types.function("cap_capable")?;
        (arguments == 4).then_some((Hook::Function { user_ns }, id))
    }

    /// Returns the offset of the capability in the arguments.
    pub(super) fn cap(self) -> i16 {
        match self {
            Hook::Tracepoint => 24,
            Hook::Function { .. } => 16,
        }
    }
}

/// Runs a program at each end of the function with this ID while the returned descriptor is open.
fn run_after(function: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
    let loaded = bpf::prog_load(instructions, LICENSE, Place::FunctionExit(function))?;
    bpf::raw_tracepoint_open(None, loaded.as_fd())
}

/// Runs a program at each end of a function while the returned descriptor is open. `build` takes the
/// offset of the result, and returns the instructions.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if the kernel does not describe the function.
pub(super) fn run_at_ends(
    function: &str,
    build: impl FnOnce(i16) -> Vec<u64>,
) -> io::Result<OwnedFd> {
    let bytes = btf::of_kernel()?;
    let found = Types::new(&bytes).and_then(|types| types.function(function));
    let (id, arguments) = found.ok_or(io::ErrorKind::NotFound)?;
    run_after(id, &build(8 * i16::try_from(arguments).unwrap_or(0)))
}

/// Runs a program at each check while the returned descriptor is open: at the tracepoint, or in
/// kernels without it at the function. `build` returns the instructions.
///
/// # Errors
///
/// `ENOENT` if the kernel has neither.
pub(super) fn run_at_checks(build: impl Fn(Hook) -> Vec<u64>) -> io::Result<(OwnedFd, Hook)> {
    match run(c"cap_capable", &build(Hook::Tracepoint)) {
        Err(err) if err.raw_os_error() == Some(libc::ENOENT) => {
            let (hook, id) = Hook::function().ok_or(err)?;
            Ok((run_after(id, &build(hook))?, hook))
        }
        link => Ok((link?, Hook::Tracepoint)),
    }
}

impl Code {
    /// Returns a jump that is taken if the current task is in the control group at this index.
    pub(super) fn is_under(&mut self, groups: &Cgroups, at: i16) -> usize {
        self.map(R1, groups).set(R2, at.into()).call(call::CURRENT_TASK_UNDER_CGROUP);
        self.jump_if(R0, 1)
    }

    /// Stores four words at `frame + to`: the capability, the answer, the user namespace in
    /// question, and that of the credentials. R6 has the arguments of the hook.
    pub(super) fn facts(&mut self, hook: Hook, to: i16) -> &mut Code {
        let (answer, namespace) = (32, 8);
        for (argument, at) in [(hook.cap(), 0), (answer, 8), (namespace, 16)] {
            self.load(R1, R6, argument).store(to + at, R1);
        }
        match hook {
            Hook::Tracepoint => self.load(R1, R6, 16).store(to + 24, R1),
            Hook::Function { user_ns } => self
                .address(R1, to + 24)
                .set(R2, 8)
                .load(R3, R6, 0)
                .add(R3, user_ns)
                .call(call::PROBE_READ_KERNEL),
        }
    }
}

/// Returns the lower half of a word: the thread ID of a pair, or an int.
pub(super) fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// Returns the check of an event's words and its stack, which zeros follow.
pub(super) fn check([cap, answer, namespace, own]: [u64; 4], stack: &[u64]) -> Check {
    Check {
        number: low(cap),
        granted: Some(low(answer) == 0),
        namespace,
        own_namespace: Some(own),
        unaudited: false,
        stack: stack.iter().copied().take_while(|&address| address != 0).collect(),
    }
}

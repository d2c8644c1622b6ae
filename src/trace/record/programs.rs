//! BPF programs at tracepoints, and the words of their events.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::Check;
use crate::sys::bpf;

/// Runs a program at the raw tracepoint `name` while the returned descriptor is open.
pub(super) fn run(name: &CStr, instructions: &[u64]) -> io::Result<OwnedFd> {
    // Only programs under the kernel's license may call its functions for tracing.
    let loaded = bpf::prog_load(instructions, c"Dual MIT/GPL")?;
    bpf::raw_tracepoint_open(name, loaded.as_fd())
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

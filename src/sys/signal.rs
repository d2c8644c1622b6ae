//! Sending, ignoring and catching signals.

use std::io;
#[cfg(feature = "cli")]
use std::sync::atomic::{AtomicI32, Ordering};

use libc::c_int;

use super::result;

/// kill(2)
#[expect(unsafe_code, reason = "nix takes no number for which it has no name")]
pub(crate) fn kill(pid: c_int, signal: c_int) -> io::Result<()> {
    // SAFETY: the call takes only integers.
    result(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Restores the default action of SIGPIPE, which Rust's start-up code ignores.
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "signal(2)")]
pub(crate) fn default_sigpipe() -> io::Result<()> {
    // SAFETY: the default action calls no function of this process.
    let former = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if former == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ignores SIGCHLD, so that the kernel reaps the children of this process.
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "signal(2)")]
pub(crate) fn ignore_sigchld() -> io::Result<()> {
    // SAFETY: no function of this process is called.
    let former = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    if former == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The last signal that [`outlive`] caught, until it is read.
#[cfg(feature = "cli")]
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Catches a signal, so that it does not end this process. It still ends a program that this
/// process executes, because execve(2) resets handlers.
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "signal(2)")]
pub(crate) fn outlive(signal: c_int) -> io::Result<()> {
    extern "C" fn note(signal: c_int) {
        CAUGHT.store(signal, Ordering::Relaxed);
    }
    let handler = note as *const () as libc::sighandler_t;
    // SAFETY: the handler stores one number, which is safe at any time.
    let former = unsafe { libc::signal(signal, handler) };
    if former == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the last signal that was caught since the previous call.
#[cfg(feature = "cli")]
pub(crate) fn outlived() -> Option<c_int> {
    let signal = CAUGHT.swap(0, Ordering::Relaxed);
    (signal != 0).then_some(signal)
}

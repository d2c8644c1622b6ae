//! Catching signals that would end a program before it has written its report.

use crate::{Op, Result, sys};

/// Catches SIGINT, SIGQUIT, SIGTERM and SIGHUP. They still end programs that this process executes.
///
/// # Errors
///
/// An error if a sandbox forbids the call.
pub fn catch() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
        sys::signal::outlive(signal).map_err(|err| Op::Signal.thread(err))?;
    }
    Ok(())
}

/// Returns the last signal that was caught since the previous call.
pub fn caught() -> Option<i32> {
    sys::signal::outlived()
}

//! A child process that runs a function.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::{
    errno::Errno,
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};

use crate::{Op, Result, Subject, sys};

/// A child process that runs a function. Without [`Forked::wait`], it stays a zombie until this
/// process ends.
#[derive(Debug)]
#[must_use]
pub struct Forked(pub(super) Pid);

impl Forked {
    /// Returns the process ID.
    pub fn pid(&self) -> u32 {
        self.0.as_raw().unsigned_abs()
    }

    /// Sends a signal to the child. (kill(2))
    ///
    /// # Errors
    ///
    /// `EINVAL` if the signal number is invalid.
    pub fn kill(&self, signal: i32) -> Result<()> {
        sys::signal::kill(self.0.as_raw(), signal)
            .map_err(|err| Op::Signal.on(Subject::Process(self.pid()), err))
    }

    /// Waits for the child to exit. (waitpid(2))
    ///
    /// # Errors
    ///
    /// `ECHILD` if this process ignores SIGCHLD, or if another call has already waited for the
    /// child.
    pub fn wait(self) -> Result<ExitStatus> {
        loop {
            match waitpid(self.0, None) {
                Ok(status) => {
                    if let Some(status) = exit_status(status) {
                        return Ok(status);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(err) => return Err(Op::Wait.on(Subject::Process(self.pid()), err)),
            }
        }
    }
}

/// Returns how a process ended, if it has ended.
fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    match status {
        WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
        WaitStatus::Signaled(_, signal, core) => {
            let core = if core { 0x80 } else { 0 };
            Some(ExitStatus::from_raw(signal as i32 | core))
        }
        _ => None,
    }
}

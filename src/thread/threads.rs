//! Capabilities of a process with several threads.
//!
//! **Drop capabilities before you start threads.** Linux keeps capabilities, securebits and
//! no-new-privs for each thread, and a new thread inherits its creator's. A program that drops its
//! privileges before it starts threads or its runtime needs only [`ensure_single_threaded`], which
//! returns an error if it is too late:
//!
//! ```
//! use rcap::{Cap, CapSet, CapState, threads};
//!
//! # fn start_the_runtime() {}
//! fn main() -> Result<(), rcap::Error> {
//!     threads::ensure_single_threaded()?;
//!     let keep = CapState::current()?.permitted & CapSet::of(&[Cap::NET_BIND_SERVICE]);
//!     CapState { effective: keep, permitted: keep, inheritable: CapSet::empty() }.apply()?;
//!     start_the_runtime();
//!     Ok(())
//! }
//! ```
//!
//! If that is not possible, `Limits` (with the feature `all-threads`) drops capabilities in every
//! thread, for example after a runtime has bound a port, or in a library.
//!
//! Threads share memory, so a thread that keeps a privilege keeps it for all of them. Neither this
//! module nor the kernel isolates threads of one process from each other.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};

use crate::{Error, Result, proc::own};

#[cfg(feature = "all-threads")]
mod excess;
#[cfg(feature = "all-threads")]
mod limits;
mod tasks;

#[cfg(feature = "all-threads")]
pub use limits::{Applied, Limits};
use tasks::Tasks;

/// Returns an error unless the process is single-threaded. (unshare(2): `CLONE_THREAD` has no
/// effect, and fails if there are several threads)
///
/// A joined thread may still be exiting in the kernel; this function waits for it.
///
/// # Errors
///
/// [`Error::Threads`] if there are several threads. An error of reading /proc if a sandbox forbids
/// unshare(2), so that /proc is needed.
pub fn ensure_single_threaded() -> Result<()> {
    /// The time limit for an exiting thread.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// The time limit if /proc does not show which threads are exiting.
    const MOMENT: Duration = Duration::from_millis(10);
    let begin = Instant::now();
    while !is_single_threaded()? {
        let limit = match Tasks::open().and_then(|mut tasks| tasks.others_end()) {
            Ok(true) => PATIENCE,
            Ok(false) => Duration::ZERO,
            Err(_) => MOMENT,
        };
        if begin.elapsed() >= limit {
            return Err(Error::Threads { count: count().ok() });
        }
        thread::yield_now();
    }
    Ok(())
}

fn is_single_threaded() -> Result<bool> {
    match unshare(CloneFlags::CLONE_THREAD) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL) => Ok(false),
        Err(_) => Ok(count()? == 1),
    }
}

fn count() -> Result<usize> {
    Ok(usize::try_from(own::status()?.threads).unwrap_or(usize::MAX))
}

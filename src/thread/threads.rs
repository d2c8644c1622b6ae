//! Capabilities of a process with several threads.
//!
//! **Drop first, then start threads.** Linux keeps capabilities, securebits and no-new-privs for
//! each thread, and a new thread begins with a copy of its creator's. A program that drops its
//! privileges before it starts its first thread (or its runtime) needs nothing of this module
//! but [`ensure_single_threaded`], which says so if it is too late:
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
//! Where that cannot be, `Limits` (with the feature `all-threads`) drops them in every thread:
//! for a program whose runtime binds the port, or a library that is called late.
//!
//! Threads share their memory, so that one which kept a privilege keeps it for all. Neither this
//! module nor the kernel separates threads of one process from each other.

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
mod limits;
mod tasks;

#[cfg(feature = "all-threads")]
pub use limits::{Applied, Limits};
use tasks::Tasks;

/// Returns an error unless the process is single-threaded. (unshare(2): `CLONE_THREAD` changes
/// nothing, and is refused if there are several threads)
///
/// A thread that has been joined may still be ending in the kernel. This function waits until it
/// has ended.
///
/// # Errors
///
/// [`Error::Threads`] if there are several; the error of reading /proc if a sandbox forbids
/// unshare(2), so that /proc has to be read.
pub fn ensure_single_threaded() -> Result<()> {
    /// How long a thread may take to end.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// The same where /proc does not say which threads end.
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

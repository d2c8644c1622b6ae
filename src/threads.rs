//! The threads of this process.

use std::fs;

use nix::errno::Errno;

use crate::{Error, Op, Result};

/// Sees to it that a change of the calling thread is one of the whole process.
///
/// # Errors
///
/// [`Error::Threads`] if there are several; that of reading /proc where it had to be asked.
pub fn ensure_single_threaded() -> Result<()> {
    use nix::sched::{CloneFlags, unshare};
    // A thread group of one is what it is already; of several, it cannot be left.
    match unshare(CloneFlags::CLONE_THREAD) {
        Ok(()) => return Ok(()),
        Err(Errno::EINVAL) => {}
        Err(_) if count()? == 1 => return Ok(()),
        Err(_) => {}
    }
    Err(Error::Threads { count: count().ok() })
}

fn count() -> Result<usize> {
    let tasks = fs::read_dir("/proc/self/task");
    tasks.map(Iterator::count).map_err(|err| Op::ReadProc.thread(err))
}

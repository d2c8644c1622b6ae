//! The threads of this process, listed and examined.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    unistd::{Whence, gettid, lseek},
};

#[cfg(feature = "all-threads")]
use crate::proc::Status;
use crate::{
    Error, Op, Result,
    proc::{own, read_all},
    sys,
};

/// The directory `/proc/thread-self/..` of this process, kept open so that threads can be listed
/// even if /proc changes or descriptors run out.
#[derive(Debug)]
pub(super) struct Tasks {
    dir: File,
    own: u32,
    entries: Vec<u8>,
}

/// The time limit while threads start and end too fast for a complete list.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of a thread.
#[cfg(feature = "all-threads")]
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) status: Status,
    /// Whether the thread was alive just after that.
    pub(super) life: Life,
}

/// The effect of a signal to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The thread takes the signal.
    Runs,
    /// The thread has ended, or is exiting and executes no more of its program. The first thread of
    /// a process stays in the list while others run.
    Ended,
    /// The kernel runs the thread for io_uring or vhost, and it takes no signals.
    OfTheKernel,
}

impl Tasks {
    /// Opens the directory, and checks that its IDs belong to the calling thread's PID namespace.
    pub(super) fn open() -> Result<Tasks> {
        let own = gettid().as_raw().unsigned_abs();
        Ok(Tasks { dir: own::tasks()?, own, entries: vec![0; 4096] })
    }

    /// Returns the IDs of all threads except the calling one, from youngest to oldest, because
    /// young threads are likely to end first.
    ///
    /// The kernel truncates a list if a thread ends during its turn. A list that is shorter than
    /// the number of threads at its start is incomplete, and is read again.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if no list is complete within five seconds. [`Error::NoProc`] if the calling
    /// thread is not in the list.
    pub(super) fn others(&mut self) -> Result<Vec<u32>> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(mut ids) = self.list().map_err(|err| Op::ReadProc.thread(err))? {
                let all = ids.len();
                ids.retain(|&id| id != self.own);
                if ids.len() == all {
                    return Err(Error::NoProc);
                }
                ids.reverse();
                return Ok(ids);
            }
        }
        Err(Op::ReadProc.thread(Errno::ETIMEDOUT))
    }

    /// Returns one list, if it is complete.
    fn list(&mut self) -> io::Result<Option<Vec<u32>>> {
        // The link count includes the two links of every directory.
        let threads = self.dir.metadata()?.nlink().saturating_sub(2);
        lseek(&self.dir, 0, Whence::SeekSet)?;
        let length = sys::getdents64(self.dir.as_fd(), &mut self.entries)?;
        // If a list is read in two parts, threads that end in between shift the second part.
        if sys::getdents64(self.dir.as_fd(), &mut [0; 512])? != 0 {
            self.entries.resize(2 * self.entries.len(), 0);
            return Ok(None);
        }
        let ids = sys::dirents(&self.entries[..length]);
        let ids: Vec<u32> = ids.filter_map(|(_, name)| name.to_str().ok()?.parse().ok()).collect();
        Ok((ids.len() as u64 >= threads).then_some(ids))
    }

    /// Returns whether all threads except the calling one have ended or are exiting.
    pub(super) fn others_end(&mut self) -> Result<bool> {
        for tid in self.others()? {
            let stat = self.read(tid, "stat").map_err(|err| Op::ReadProc.thread(err))?;
            if stat.is_some_and(|stat| life(&stat) != Some(Life::Ended)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Examines a thread. Returns `None` if it has ended.
    #[cfg(feature = "all-threads")]
    pub(super) fn thread(&self, tid: u32) -> io::Result<Option<Thread>> {
        let Some(status) = self.read(tid, "status")? else { return Ok(None) };
        let Some(stat) = self.read(tid, "stat")? else { return Ok(None) };
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        Ok(Some(Thread {
            status: Status::parse(&status).map_err(|_| invalid())?,
            life: life(&stat).ok_or_else(invalid)?,
        }))
    }

    fn read(&self, tid: u32, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = own::open_below(&self.dir, &format!("{tid}/{name}"), OFlag::O_RDONLY);
        match file.and_then(|file| read_all(file.into())) {
            Ok(text) => Ok(Some(text)),
            Err(err) => match Errno::from_raw(err.raw_os_error().unwrap_or(0)) {
                Errno::ENOENT | Errno::ESRCH => Ok(None),
                _ => Err(err),
            },
        }
    }
}

/// Parses the state of a thread from its `stat`. The name, in parentheses, may contain any byte.
/// (proc_pid_stat(5); include/linux/sched.h)
fn life(stat: &[u8]) -> Option<Life> {
    const PF_EXITING: u64 = 0x4;
    const PF_IO_WORKER: u64 = 0x10;
    const PF_USER_WORKER: u64 = 0x4000;
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // The state is field 3, and the flags are field 9.
    let state = fields.next()?;
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    let ended = matches!(state, "Z" | "X" | "x") || flags & PF_EXITING != 0;
    Some(match flags & (PF_IO_WORKER | PF_USER_WORKER) {
        _ if ended => Life::Ended,
        0 => Life::Runs,
        _ => Life::OfTheKernel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives() {
        #[rustfmt::skip]
        let rows: &[(&str, Option<Life>)] = &[
            ("7 (x) S 1 2 3 4 5 4194304 8 9",          Some(Life::Runs)),
            ("7 (x) Z 1 2 3 4 5 4194304 8 9",          Some(Life::Ended)),
            ("7 (x) X 1 2 3 4 5 0",                    Some(Life::Ended)),
            ("7 (x) R 1 2 3 4 5 4194308 8 9",          Some(Life::Ended)),
            ("7 (iou-sqp-1) S 1 2 3 4 5 16 8",         Some(Life::OfTheKernel)),
            ("7 (vhost-1) S 1 2 3 4 5 16384 8",        Some(Life::OfTheKernel)),
            ("7 (a) Z 1 2 3 4 5 16 8) S 1 2 3 4 5 0 8", Some(Life::Runs)),
            ("7 (a\n) Z) S 1 2 3 4 5 0",               Some(Life::Runs)),
            ("7 (x) S 1 2 3 4 5 x",                    None),
            ("7 (x) S 1 2 3 4",                        None),
            ("7 (x)",                                  None),
            ("",                                       None),
        ];
        for &(stat, want) in rows {
            assert_eq!(life(stat.as_bytes()), want, "{stat}");
        }
    }
}

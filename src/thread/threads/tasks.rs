//! The threads of this process, listed and looked at.

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

/// The directory `/proc/thread-self/..` of this process, kept open: whatever becomes of /proc and
/// of free descriptors, the threads can be listed.
#[derive(Debug)]
pub(super) struct Tasks {
    dir: File,
    own: u32,
    entries: Vec<u8>,
}

/// How long threads may come and go so fast that no list of them is complete.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a thread.
#[cfg(feature = "all-threads")]
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) status: Status,
    /// What it was just after that.
    pub(super) life: Life,
}

/// What becomes of a signal to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It takes the signal.
    Runs,
    /// It has ended, or it ends and executes nothing of its program any more. The first thread of a
    /// process stays on the list while others run.
    Ended,
    /// The kernel runs it for io_uring or vhost, and it takes no signals.
    OfTheKernel,
}

impl Tasks {
    /// Opens the directory, and makes sure that its ids are those of the calling thread's PID
    /// namespace.
    pub(super) fn open() -> Result<Tasks> {
        let own = gettid().as_raw().unsigned_abs();
        Ok(Tasks { dir: own::tasks()?, own, entries: vec![0; 4096] })
    }

    /// The ids of all threads but the calling one, from the youngest to the oldest: the youngest
    /// are likely to end first.
    ///
    /// The kernel ends a list early if a thread ends just when its turn has come. A list of fewer
    /// threads than there were when it was begun is therefore not complete, and read again.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if none is complete for five seconds; [`Error::NoProc`] if the calling thread is
    /// not on it.
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

    /// One list, if it is complete.
    fn list(&mut self) -> io::Result<Option<Vec<u32>>> {
        // Besides its threads, the directory has the two links that each directory has.
        let threads = self.dir.metadata()?.nlink().saturating_sub(2);
        lseek(&self.dir, 0, Whence::SeekSet)?;
        let length = sys::getdents64(self.dir.as_fd(), &mut self.entries)?;
        // In a list of two parts, threads that end meanwhile make the second one begin too late.
        if sys::getdents64(self.dir.as_fd(), &mut [0; 512])? != 0 {
            self.entries.resize(2 * self.entries.len(), 0);
            return Ok(None);
        }
        let ids = sys::dirents(&self.entries[..length]);
        let ids: Vec<u32> = ids.filter_map(|(_, name)| name.to_str().ok()?.parse().ok()).collect();
        Ok((ids.len() as u64 >= threads).then_some(ids))
    }

    /// Returns whether every thread but the calling one has ended or ends.
    pub(super) fn others_end(&mut self) -> Result<bool> {
        for tid in self.others()? {
            let stat = self.read(tid, "stat").map_err(|err| Op::ReadProc.thread(err))?;
            if stat.is_some_and(|stat| life(&stat) != Some(Life::Ended)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at a thread; `None` if it has ended.
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

/// The life of a thread by the text of its `stat`. The name, in parentheses, may hold anything.
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

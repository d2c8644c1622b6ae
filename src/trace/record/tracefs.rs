//! A separate instance of the kernel's tracing. (Documentation/trace/ftrace.rst, "Instances")

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use nix::libc;

use super::{format::Format, kprobe::Probes};
use crate::{Op, Result, sys};

/// The file system tracefs.
#[derive(Clone, Debug)]
pub(crate) struct Tracefs {
    root: PathBuf,
    /// The mount, if it belongs to this process alone.
    _mount: Option<Arc<OwnedFd>>,
}

/// The lock of [`Tracefs::lock`]. Closing the file alone would not release it while a child process
/// has the descriptor.
struct Alone(File);

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = sys::flock(self.0.as_fd(), libc::LOCK_UN);
    }
}

impl Tracefs {
    /// Opens the mounted tracefs, or mounts one for this process alone.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN` if none is mounted. `ENODEV` if the kernel does not support
    /// tracefs.
    pub(crate) fn open() -> Result<Tracefs> {
        let mounts = fs::read("/proc/self/mounts").unwrap_or_default();
        if let Some(root) = mounted(&String::from_utf8_lossy(&mounts)) {
            return Ok(Tracefs { root, _mount: None });
        }
        let failed = |err: io::Error| Op::OpenTracing.thread(err);
        let mount = sys::mount::new(c"tracefs", &[]).map_err(failed)?;
        let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Ok(Tracefs { root, _mount: Some(Arc::new(mount)) })
    }

    /// Returns whether the kernel has a file or directory with this name.
    ///
    /// # Errors
    ///
    /// Those of stat(2), except that the file does not exist.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        let path = self.root.join(name);
        path.try_exists().map_err(|err| Op::Open.on(&*path, err))
    }

    /// Reads a file as text.
    ///
    /// # Errors
    ///
    /// An error if the kernel does not have the file.
    pub(crate) fn read(&self, file: &str) -> Result<String> {
        let path = self.root.join(file);
        fs::read_to_string(&path).map_err(|err| Op::Open.on(&*path, err))
    }

    /// Appends to a file.
    ///
    /// # Errors
    ///
    /// An error if the kernel does not have the file, or rejects the text.
    pub(crate) fn append(&self, file: &str, text: &str) -> Result<()> {
        let path = self.root.join(file);
        let mut opened = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|err| Op::SetUpTracing.on(&*path, err))?;
        opened.write_all(text.as_bytes()).map_err(|err| Op::SetUpTracing.on(&*path, err))
    }

    /// Returns the layout of an event, such as `capability/cap_capable`, or `None` if the kernel
    /// does not have the event.
    ///
    /// # Errors
    ///
    /// An error if the layout cannot be read.
    pub(crate) fn format(&self, event: &str) -> Result<Option<Format>> {
        let path = self.root.join("events").join(event).join("format");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Format::parse(&text)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(Op::Open.on(&*path, err)),
        }
    }

    /// Creates a buffer with `kilobytes` per processor that keeps the oldest records when it is
    /// full, and removes buffers that ended processes of this library left behind.
    ///
    /// # Errors
    ///
    /// `EACCES` and `EPERM` without the privilege to trace, and `ENOMEM`.
    pub(crate) fn instance(&self, kilobytes: u32) -> Result<Instance> {
        let instance = {
            let _alone = self.lock()?;
            self.reap();
            self.create()?
        };
        for (file, value) in [
            ("tracing_on", "0"),
            // Setting the clock clears the buffer, which is fast while it is small.
            ("trace_clock", "mono"),
            ("options/overwrite", "0"),
            ("options/event-fork", "1"),
            ("buffer_size_kb", &*kilobytes.to_string()),
        ] {
            instance.write(file, value)?;
        }
        Ok(instance)
    }

    /// Prevents other processes of this library from creating and removing instances. Until a file
    /// of a new instance is open, the instance looks like a leftover. Some files of an instance,
    /// such as `options/overwrite`, do not hold it: a kernel that removes it while another process
    /// writes to one of them uses freed memory (Linux 6.18, `trace_options_core_write`).
    fn lock(&self) -> Result<Alone> {
        let path = self.root.join("instances");
        let locked = File::open(&path).and_then(|directory| {
            sys::flock(directory.as_fd(), libc::LOCK_EX)?;
            Ok(Alone(directory))
        });
        locked.map_err(|err| Op::MakeTraceInstance.on(&*path, err))
    }

    /// Creates an instance and holds it.
    fn create(&self) -> Result<Instance> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let start = start_time(pid).unwrap_or(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(format!("instances/rcap-{pid}-{start}-{count}"));
            let made = fs::create_dir(&path).and_then(|()| File::open(path.join("tracing_on")));
            match made {
                Ok(hold) => return Ok(Instance { path, hold: Some(hold) }),
                // A process with the same IDs in another PID namespace has created it.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists && count < u32::MAX => {}
                Err(err) => return Err(Op::MakeTraceInstance.on(&*path, err)),
            }
        }
    }

    /// Returns the names of the instances of this library, in all processes.
    ///
    /// # Errors
    ///
    /// An error if the directory of instances cannot be read.
    pub(crate) fn instances(&self) -> Result<Vec<String>> {
        let path = self.root.join("instances");
        let entries = fs::read_dir(&path).map_err(|err| Op::ReadDirectory.on(&*path, err))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| is_ours(name)).collect())
    }

    /// Removes the instances that no process holds, and then the probes of removed instances.
    ///
    /// The kernel decides: rmdir(2) fails with `EBUSY` while a process in any PID namespace has a
    /// file of the instance open. (`__remove_instance` in kernel/trace/trace.c)
    fn reap(&self) {
        let instances = self.root.join("instances");
        for name in self.instances().unwrap_or_default() {
            let _ = fs::remove_dir(instances.join(name));
        }
        // An instance is created before its probes, and held while they are used.
        Probes::reap(self, |name| is_ours(name) && !instances.join(name).exists());
    }
}

/// Returns the mount point in the text of `/proc/self/mounts`.
fn mounted(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        // A path with blanks is escaped, and skipped.
        (kind == "tracefs" && !path.contains('\\')).then(|| path.into())
    })
}

/// The permanent entry of `set_event_pid`, the ID of the idle tasks, which execute nothing: without
/// any list, every process is recorded.
pub(super) const NOBODY: &str = "0";

/// Returns whether an instance belongs to this library, by its name `rcap-PID-START-COUNT`.
fn is_ours(name: &str) -> bool {
    let is_number = |part: &str| part.parse::<u64>().is_ok();
    name.strip_prefix("rcap-")
        .is_some_and(|rest| rest.split('-').count() == 3 && rest.split('-').all(is_number))
}

/// Returns the start time of a process in ticks since boot, because IDs are reused.
fn start_time(pid: u32) -> Option<u64> {
    stat(pid, 19).ok()?.parse().ok()
}

/// Returns whether a thread has not ended, as far as can be seen. An ended thread remains until its
/// parent waits for it.
pub(crate) fn lives(tid: u32) -> bool {
    is_alive(stat(tid, 0))
}

/// Only a missing thread and a final state are an end: a file that cannot be read, for lack of
/// memory or descriptors, is not.
fn is_alive(state: io::Result<String>) -> bool {
    match state {
        Ok(state) => state != "Z" && state != "X",
        Err(err) => {
            err.kind() != io::ErrorKind::NotFound && err.raw_os_error() != Some(libc::ESRCH)
        }
    }
}

/// Returns a field after the name in `/proc/PID/stat`, from 0. (proc_pid_stat(5))
fn stat(pid: u32, field: usize) -> io::Result<String> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    let after_name = text.iter().rposition(|&byte| byte == b')').map(|end| &text[end + 1..]);
    after_name
        .and_then(|fields| std::str::from_utf8(fields).ok())
        .and_then(|fields| fields.split_ascii_whitespace().nth(field))
        .map(str::to_owned)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A separate buffer, which is removed when dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    path: PathBuf,
    /// Prevents other processes from removing the instance.
    hold: Option<File>,
}

impl Instance {
    /// Returns the name.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Reads a file as text.
    ///
    /// # Errors
    ///
    /// An error if the kernel does not have the file.
    pub(crate) fn read(&self, file: impl AsRef<Path>) -> Result<String> {
        let path = self.path.join(file);
        fs::read_to_string(&path).map_err(|err| Op::ReadTrace.on(&*path, err))
    }

    /// Writes to a file.
    ///
    /// # Errors
    ///
    /// An error if the kernel does not have the file, or rejects the value.
    pub(crate) fn write(&self, file: impl AsRef<Path>, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).map_err(|err| Op::SetUpTracing.on(&*path, err))
    }

    /// Enables an event, such as `capability/cap_capable`.
    ///
    /// # Errors
    ///
    /// An error if the kernel does not have the event.
    pub(crate) fn enable(&self, event: &str) -> Result<()> {
        self.write(Path::new("events").join(event).join("enable"), "1")
    }

    /// Opens a file for writing.
    ///
    /// # Errors
    ///
    /// An error if the kernel does not have the file.
    pub(crate) fn open(&self, file: impl AsRef<Path>) -> Result<File> {
        let path = self.path.join(file);
        let opened = OpenOptions::new().append(true).open(&path);
        opened.map_err(|err| Op::SetUpTracing.on(&*path, err))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// An error if the kernel does not have the file.
    pub(crate) fn open_to_read(&self, file: impl AsRef<Path>) -> Result<File> {
        let path = self.path.join(file);
        File::open(&path).map_err(|err| Op::ReadTrace.on(&*path, err))
    }

    /// Returns a reader for each processor.
    ///
    /// # Errors
    ///
    /// An error if the directories cannot be read.
    pub(crate) fn readers(&self) -> Result<Vec<Reader>> {
        let dir = self.path.join("per_cpu");
        let failed = |err| Op::ReadDirectory.on(&*dir, err);
        let mut readers = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let cpu = entry.map_err(failed)?.path();
            let path = cpu.join("trace_pipe_raw");
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
            let file = file.map_err(|err| Op::Open.on(&*path, err))?;
            readers.push(Reader { file, statistics: cpu.join("stats") });
        }
        Ok(readers)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The next process that creates an instance removes leftovers.
        let _ = self.write("tracing_on", "0");
        drop(self.hold.take());
        let _ = fs::remove_dir(&self.path);
    }
}

/// The records of one processor.
#[derive(Debug)]
pub(crate) struct Reader {
    file: File,
    statistics: PathBuf,
}

impl Reader {
    /// Returns the bytes of the next page with records, or `None` if there is none now.
    ///
    /// # Errors
    ///
    /// An error if tracefs was unmounted.
    pub(crate) fn page<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match self.file.read(buffer) {
            Ok(0) => Ok(None),
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Returns the number of lost records.
    ///
    /// # Errors
    ///
    /// An error if the statistics cannot be read.
    pub(crate) fn lost(&self) -> io::Result<u64> {
        self.count(&["overrun: ", "commit overrun: ", "dropped events: "])
    }

    /// Returns the number of records that all readers have taken out of the buffer since it was
    /// last cleared.
    ///
    /// # Errors
    ///
    /// An error if the statistics cannot be read.
    pub(crate) fn taken(&self) -> io::Result<u64> {
        self.count(&["read events: "])
    }

    /// Returns the sum of these statistics.
    fn count(&self, keys: &[&str]) -> io::Result<u64> {
        let text = fs::read_to_string(&self.statistics)?;
        Ok(keys
            .iter()
            .filter_map(|key| text.lines().find_map(|line| line.strip_prefix(key)))
            .filter_map(|count| count.trim().parse::<u64>().ok())
            .sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_an_end() {
        for (state, alive) in [("S", true), ("R", true), ("T", true), ("Z", false), ("X", false)] {
            assert_eq!(is_alive(Ok(state.into())), alive, "{state}");
        }
        for (errno, alive) in [
            (libc::ENOENT, false),
            (libc::ESRCH, false),
            (libc::ENOMEM, true),
            (libc::EMFILE, true),
            (libc::EINTR, true),
        ] {
            assert_eq!(is_alive(Err(io::Error::from_raw_os_error(errno))), alive, "{errno}");
        }
    }

    #[test]
    fn where_it_is_mounted() {
        let mounts = "proc /proc proc rw 0 0\nnone /t\\040x tracefs rw 0 0\n\
                      tracefs /sys/kernel/tracing tracefs rw,nosuid 0 0\n";
        assert_eq!(mounted(mounts), Some("/sys/kernel/tracing".into()));
        assert_eq!(mounted("tracefs /x ext4 rw 0 0\n"), None);
    }

    #[test]
    fn names() {
        #[rustfmt::skip]
        let rows = [
            ("rcap-12-345-0",   true),
            ("rcap-12-345",     false),
            ("rcap-12-345-0-1", false),
            ("rcap-x-345-0",    false),
            ("rcap-12--0",      false),
            ("other-12-345-0",  false),
        ];
        for (name, want) in rows {
            assert_eq!(is_ours(name), want, "{name}");
        }
    }
}

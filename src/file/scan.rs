//! The capabilities of all files in a tree of directories.

use std::{
    cell::OnceCell,
    collections::VecDeque,
    ffi::{CStr, CString, OsStr},
    fs::{self, File, Metadata},
    io,
    ops::ControlFlow,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, openat},
    sys::stat::{Mode, SFlag},
};

use super::{
    access::decode,
    attribute::{Call, NAME, errno},
    codec::LONGEST,
    entry::{Entry, Found, Owner, is_of_kernel, owner, stat},
};
use crate::{Op, sys};

/// A walk through directory trees that reads the capabilities of every file.
///
/// It makes one system call per file and uses several threads, and its memory does not grow with
/// the number of files. Symbolic links are not followed. A directory that is replaced by a link
/// during the walk is not entered.
///
/// ```
/// use std::{ops::ControlFlow, sync::Mutex};
/// use rcap::file::{Found, Scan};
///
/// let found = Mutex::new(Vec::new());
/// Scan::default().one_file_system(true).exclude("*.tmp").run("src".as_ref(), |entry| {
///     if let Found::File(Ok(Some(caps))) = entry.found() {
///         found.lock().unwrap().push((entry.path(), *caps));
///     }
///     ControlFlow::Continue(())
/// });
/// assert!(found.into_inner().unwrap().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scan {
    one_file_system: bool,
    skip_kernel: bool,
    owners: bool,
    exclude: Vec<CString>,
    threads: usize,
}

/// A directory that has not been read yet. Its name is resolved only in its parent.
struct Task {
    parent: Option<Arc<Parent>>,
    name: CString,
    path: PathBuf,
}

/// A directory that has pending subdirectories. It may be closed when descriptors run out, and is
/// then reopened from the root of the tree.
struct Parent {
    /// The path below the root, by which it is reopened.
    below: PathBuf,
    /// The device and inode. A different directory at the same path is not entered.
    id: (u64, u64),
    open: Mutex<Option<Arc<File>>>,
}

/// A stack, so that only the siblings of the current path are pending, and not the whole tree.
struct Queue {
    tasks: Vec<Task>,
    /// The number of working threads, which may add tasks.
    busy: usize,
    /// The number of threads that wait for a task. Waking one is a system call even if there is
    /// none.
    waiting: usize,
}

/// A directory while it is read.
struct Reading<'a> {
    directory: Arc<File>,
    path: &'a Path,
    name: &'a CStr,
    parent: Option<Arc<Parent>>,
    /// This directory as a parent, after the first subdirectory was found.
    own: OnceCell<Arc<Parent>>,
}

/// The state that the threads of one run share.
struct Run<'a, F> {
    scan: &'a Scan,
    visit: F,
    queue: Mutex<Queue>,
    added: Condvar,
    stopped: AtomicBool,
    /// The device of the root, with [`Scan::one_file_system`].
    device: Option<u64>,
    /// Whether the kernel has getxattrat(2).
    getxattrat: AtomicBool,
    /// The root of the tree, which stays open.
    root: OnceLock<Arc<File>>,
    /// The parents that may be open, in the order of opening.
    parents: Mutex<VecDeque<Weak<Parent>>>,
}

impl Scan {
    /// Sets whether the walk stays on the file system of its root, like the option `-xdev` of
    /// find(1).
    #[must_use]
    pub fn one_file_system(mut self, stay: bool) -> Scan {
        self.one_file_system = stay;
        self
    }

    /// Sets whether virtual file systems of the kernel, such as proc, sysfs and cgroup2, are
    /// skipped. Nothing on them can be executed.
    #[must_use]
    pub fn skip_kernel_file_systems(mut self, skip: bool) -> Scan {
        self.skip_kernel = skip;
        self
    }

    /// Sets whether the mode and owner of each regular file are read, with one more system call per
    /// file.
    #[must_use]
    pub fn owners(mut self, read: bool) -> Scan {
        self.owners = read;
        self
    }

    /// Excludes files and directories that match `pattern`, a pattern of fnmatch(3). It must match
    /// the whole path if it contains a slash, and the name otherwise. A pattern with a NUL matches
    /// nothing.
    #[must_use]
    pub fn exclude(mut self, pattern: impl AsRef<OsStr>) -> Scan {
        self.exclude.extend(CString::new(pattern.as_ref().as_bytes()));
        self
    }

    /// Sets the number of threads. The default is 0, for one thread per processor and at most 8.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Scan {
        self.threads = threads;
        self
    }

    /// Calls `visit` for `root` and everything below it, until `visit` breaks. Entries are visited
    /// in no particular order, except that a directory precedes its entries. With one thread, the
    /// order is always the same. Several threads call `visit` concurrently.
    pub fn run<F>(&self, root: &Path, visit: F)
    where
        F: Fn(&Entry<'_>) -> ControlFlow<()> + Sync,
    {
        self.walk(root, |entry| visit(&entry));
    }

    /// Does what [`Scan::run`] does, and gives each entry away.
    pub(super) fn walk<F>(&self, root: &Path, visit: F)
    where
        F: Fn(Entry<'_>) -> ControlFlow<()> + Sync,
    {
        let Ok(name) = CString::new(root.as_os_str().as_bytes()) else {
            let found = Found::Unreadable(Op::Open.on(root, Errno::EINVAL));
            let _ = visit(Entry { directory: None, name: root.as_os_str(), found, owner: None });
            return;
        };
        let mut run = Run::new(self, visit);
        let entry = |found| Entry { directory: None, name: root.as_os_str(), found, owner: None };
        let stat = match fs::symlink_metadata(root) {
            Ok(stat) => stat,
            Err(err) => return run.visit(entry(Found::Unreadable(Op::Open.on(root, err)))),
        };
        match kind_of(&stat) {
            libc::DT_LNK => run.visit(entry(Found::SymbolicLink)),
            libc::DT_DIR => {
                run.device = self.one_file_system.then_some(stat.dev());
                run.visit(entry(Found::Directory));
                if run.stopped.load(Ordering::Relaxed) {
                    return;
                }
                run.push(Task { parent: None, name, path: root.to_path_buf() });
                run.work_in(self.threads);
            }
            libc::DT_REG => {
                let owner = Owner { mode: stat.mode() & 0o7777, uid: stat.uid(), gid: stat.gid() };
                let owner = self.owners.then_some(owner);
                run.visit(Entry { owner, ..entry(Found::File(super::read(root))) });
            }
            _ => run.visit(entry(Found::Special)),
        }
    }

    fn excludes(&self, directory: &Path, name: &CStr) -> bool {
        self.exclude.iter().any(|pattern| {
            if pattern.as_bytes().contains(&b'/') {
                let path = directory.join(OsStr::from_bytes(name.to_bytes()));
                CString::new(path.into_os_string().into_encoded_bytes())
                    .is_ok_and(|path| sys::fnmatch(pattern, &path, libc::FNM_PATHNAME))
            } else {
                sys::fnmatch(pattern, name, 0)
            }
        })
    }
}

/// Marks a directory as read when dropped, even if `visit` panics, so that the other threads do not
/// wait indefinitely.
struct Busy<'a, F: Fn(Entry<'_>) -> ControlFlow<()> + Sync>(&'a Run<'a, F>);

impl<F: Fn(Entry<'_>) -> ControlFlow<()> + Sync> Drop for Busy<'_, F> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.busy -= 1;
        let is_over = queue.busy == 0 && queue.tasks.is_empty() && queue.waiting > 0;
        drop(queue);
        if is_over {
            self.0.added.notify_all();
        }
    }
}

impl<'a, F: Fn(Entry<'_>) -> ControlFlow<()> + Sync> Run<'a, F> {
    fn new(scan: &'a Scan, visit: F) -> Run<'a, F> {
        Run {
            scan,
            visit,
            queue: Mutex::new(Queue { tasks: Vec::new(), busy: 0, waiting: 0 }),
            added: Condvar::new(),
            stopped: AtomicBool::new(false),
            device: None,
            getxattrat: AtomicBool::new(true),
            root: OnceLock::new(),
            parents: Mutex::default(),
        }
    }

    fn visit(&self, entry: Entry<'_>) {
        if (self.visit)(entry).is_break() {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn push(&self, task: Task) {
        let mut queue = self.queue();
        queue.tasks.push(task);
        let is_awaited = queue.waiting > 0;
        drop(queue);
        if is_awaited {
            self.added.notify_one();
        }
    }

    /// Processes the queue with this many threads, including the caller.
    fn work_in(&self, threads: usize) {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, |count| count.get().min(8)),
            threads => threads,
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // If no thread can be started, the caller does all the work.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.work());
            }
            self.work();
        });
    }

    /// Reads directories until no task is pending and no thread can add one.
    fn work(&self) {
        let mut buffer = vec![0; 32 * 1024];
        while let Some(task) = self.next() {
            let _busy = Busy(self);
            if !self.stopped.load(Ordering::Relaxed) {
                self.read(task, &mut buffer);
            }
        }
    }

    /// Waits for the next task. It counts as work until [`Busy`] is dropped.
    fn next(&self) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            if let Some(task) = queue.tasks.pop() {
                queue.busy += 1;
                return Some(task);
            }
            if queue.busy == 0 {
                return None;
            }
            queue.waiting += 1;
            queue = self.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.waiting -= 1;
        }
    }

    fn read(&self, Task { parent, name, path }: Task, buffer: &mut [u8]) {
        match self.read_directory(parent, &name, &path, buffer) {
            Ok(()) => {}
            Err(err) if is_gone(&err) => {}
            Err(err) => self.visit(Entry {
                directory: None,
                name: path.as_os_str(),
                found: Found::Unreadable(Op::ReadDirectory.on(&*path, err)),
                owner: None,
            }),
        }
    }

    /// Makes a call that needs descriptors. If none are left, closes parents and repeats the call.
    fn with_descriptors<T>(&self, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match call() {
                Err(err) if is_exhausted(errno(&err)) && self.close_parents() => {}
                result => return result,
            }
        }
    }

    /// Closes half of the open parents, and at least one, starting with the oldest, which are
    /// needed last. Returns whether there was any.
    fn close_parents(&self) -> bool {
        let mut parents = lock(&self.parents);
        parents.retain(|parent| parent.strong_count() > 0);
        let half = parents.len().div_ceil(2);
        for parent in parents.drain(..half).collect::<Vec<_>>() {
            let Some(held) = parent.upgrade() else { continue };
            let attempt = held.open.try_lock().map(|mut open| open.take());
            // Another thread is just about to use it, and it can be closed after that.
            if matches!(attempt, Err(TryLockError::WouldBlock)) {
                parents.push_back(parent);
            }
        }
        half > 0
    }

    /// Registers an open parent.
    fn register(&self, parent: &Arc<Parent>) {
        let mut parents = lock(&self.parents);
        // The list grows with the pending parents, not with the tree.
        if parents.len() == parents.capacity() {
            parents.retain(|parent| parent.strong_count() > 0);
        }
        parents.push_back(Arc::downgrade(parent));
    }

    /// Returns the descriptor of a parent, and reopens it if it was closed.
    fn descriptor(&self, parent: &Arc<Parent>) -> io::Result<Arc<File>> {
        let mut open = lock(&parent.open);
        if let Some(directory) = &*open {
            return Ok(Arc::clone(directory));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut directory = Arc::clone(self.root.get().ok_or(Errno::ESTALE)?);
        for name in &parent.below {
            let open = || Ok(openat(&directory, name, flags, Mode::empty())?.into());
            directory = Arc::new(self.with_descriptors(open)?);
        }
        let stat = directory.metadata()?;
        if (stat.dev(), stat.ino()) != parent.id {
            return Err(Errno::ESTALE.into());
        }
        *open = Some(Arc::clone(&directory));
        self.register(parent);
        Ok(directory)
    }

    fn read_directory(
        &self,
        parent: Option<Arc<Parent>>,
        name: &CStr,
        path: &Path,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = match &parent {
            Some(parent) => {
                let within = self.descriptor(parent)?;
                let open = || Ok(File::from(openat(&within, name, flags, Mode::empty())?));
                self.with_descriptors(open)?
            }
            None => openat(AT_FDCWD, name, flags, Mode::empty())?.into(),
        };
        let directory = Arc::new(directory);
        self.root.get_or_init(|| Arc::clone(&directory));
        if !self.enters(&directory, parent.as_deref())? {
            return Ok(());
        }
        let reading = Reading { directory, path, name, parent, own: OnceCell::new() };
        loop {
            let length = sys::getdents64(reading.directory.as_fd(), buffer)?;
            if length == 0 {
                return Ok(());
            }
            for (kind, name) in sys::dirents(&buffer[..length]) {
                if self.stopped.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if !matches!(name.to_bytes(), b"." | b"..") && !self.scan.excludes(path, name) {
                    self.look_at(&reading, name, kind);
                }
            }
        }
    }

    /// Returns whether the file system of a directory is not excluded.
    fn enters(&self, directory: &File, parent: Option<&Parent>) -> io::Result<bool> {
        if self.device.is_none() && !self.scan.skip_kernel {
            return Ok(true);
        }
        let device = directory.metadata()?.dev();
        if self.device.is_some_and(|own| own != device) {
            return Ok(false);
        }
        let is_mount = parent.is_none_or(|parent| parent.id.0 != device);
        Ok(!(self.scan.skip_kernel && is_mount && is_of_kernel(directory)))
    }

    /// Returns the directory as the parent of its subdirectories.
    fn as_parent(&self, reading: &Reading<'_>) -> io::Result<Arc<Parent>> {
        if let Some(own) = reading.own.get() {
            return Ok(Arc::clone(own));
        }
        let stat = reading.directory.metadata()?;
        let name = OsStr::from_bytes(reading.name.to_bytes());
        let below = reading.parent.as_ref().map(|parent| parent.below.join(name));
        let open = Mutex::new(Some(Arc::clone(&reading.directory)));
        let id = (stat.dev(), stat.ino());
        let own = Arc::new(Parent { below: below.unwrap_or_default(), id, open });
        self.register(&own);
        Ok(Arc::clone(reading.own.get_or_init(|| own)))
    }

    fn look_at(&self, reading: &Reading<'_>, name: &CStr, kind: u8) {
        let Reading { directory, path, .. } = reading;
        let entry = |found| Entry {
            directory: Some(path),
            name: OsStr::from_bytes(name.to_bytes()),
            found,
            owner: None,
        };
        let kind = match kind {
            libc::DT_UNKNOWN => match self.with_descriptors(|| stat(directory, name)) {
                Ok(stat) => kind_of(&stat),
                Err(err) if is_gone(&err) => return,
                Err(err) => {
                    let whole = path.join(OsStr::from_bytes(name.to_bytes()));
                    return self.visit(entry(Found::Unreadable(Op::Open.on(&*whole, err))));
                }
            },
            kind => kind,
        };
        match kind {
            libc::DT_LNK => self.visit(entry(Found::SymbolicLink)),
            libc::DT_DIR => {
                let directory_entry = entry(Found::Directory);
                let path = directory_entry.path();
                self.visit(directory_entry);
                match self.as_parent(reading) {
                    Ok(own) => self.push(Task { parent: Some(own), name: name.to_owned(), path }),
                    Err(err) => {
                        let found = Found::Unreadable(Op::ReadDirectory.on(&*path, err));
                        self.visit(entry(found));
                    }
                }
            }
            libc::DT_REG => {
                let mut value = [0; LONGEST + 1];
                let length = self.attribute(directory, name, &mut value);
                if length.as_ref().is_err_and(is_gone) {
                    return;
                }
                let value = length.map(|length| length.map(|length| &value[..length]));
                let caps = decode(value, || {
                    path.join(OsStr::from_bytes(name.to_bytes())).as_path().into()
                });
                // A file that has just been removed was still read, and is reported without an
                // owner.
                let owner = self.scan.owners.then(|| owner(directory, name).ok()).flatten();
                self.visit(Entry { owner, ..entry(Found::File(caps)) });
            }
            _ => self.visit(entry(Found::Special)),
        }
    }

    /// Reads the attribute into `value`, and returns its length.
    fn attribute(
        &self,
        directory: &File,
        name: &CStr,
        value: &mut [u8],
    ) -> io::Result<Option<usize>> {
        if self.getxattrat.load(Ordering::Relaxed) {
            match sys::getxattrat(directory.as_fd(), name, libc::AT_SYMLINK_NOFOLLOW, NAME, value) {
                Ok(length) => return Ok(Some(length)),
                Err(err) => match errno(&err) {
                    Errno::ENODATA => return Ok(None),
                    // The kernel is older than Linux 6.13, or a sandbox does not know the call.
                    Errno::ENOSYS | Errno::EPERM => {
                        self.getxattrat.store(false, Ordering::Relaxed);
                    }
                    // The value is too long. It is read whole below, to report its length.
                    Errno::ERANGE => {}
                    _ => return Err(err),
                },
            }
        }
        let get = || held(directory, name).and_then(|file| Call::Get.on(&file, None));
        let Some(whole) = self.with_descriptors(get)? else {
            return Ok(None);
        };
        // A value that does not fit is invalid, and so is its beginning.
        let length = whole.len().min(value.len());
        value[..length].copy_from_slice(&whole[..length]);
        Ok(Some(length))
    }
}

/// Opens a file for reading if permitted, because reading its attributes is then one call, and with
/// `O_PATH` otherwise.
fn held(directory: &File, name: &CStr) -> io::Result<File> {
    let held = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let readable = held | OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = openat(directory, name, readable, Mode::empty())
        .or_else(|_| openat(directory, name, held | OFlag::O_PATH, Mode::empty()))?;
    Ok(File::from(file))
}

/// Returns whether a file was removed after its name was read.
fn is_gone(err: &io::Error) -> bool {
    matches!(errno(err), Errno::ENOENT | Errno::ESRCH)
}

/// Returns whether descriptors ran out, in this process or on the machine.
fn is_exhausted(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the `DT_*` type of a file.
fn kind_of(stat: &Metadata) -> u8 {
    match SFlag::from_bits_truncate(stat.mode() & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => libc::DT_DIR,
        SFlag::S_IFLNK => libc::DT_LNK,
        SFlag::S_IFREG => libc::DT_REG,
        _ => libc::DT_FIFO, // or another special file
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parent_in_use_is_closed_later() {
        let scan = Scan::default();
        let run = Run::new(&scan, |_: Entry<'_>| ControlFlow::Continue(()));
        let open = Mutex::new(Some(Arc::new(File::open("/").unwrap())));
        let parent = Arc::new(Parent { below: PathBuf::new(), id: (0, 0), open });
        run.register(&parent);
        let in_use = lock(&parent.open);
        assert!(run.close_parents());
        assert!(in_use.is_some());
        drop(in_use);
        assert!(run.close_parents());
        assert!(lock(&parent.open).is_none());
        assert!(!run.close_parents());
    }

    proptest! {
        #[test]
        fn no_directory_entries_panic(bytes: Vec<u8>) {
            prop_assert!(sys::dirents(&bytes).count() <= bytes.len());
        }
    }
}

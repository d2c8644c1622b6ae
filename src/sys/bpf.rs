//! bpf(2): one function per command, and maps with checked value sizes.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_long};

/// `union bpf_attr`, whose layout depends on the command. (include/uapi/linux/bpf.h)
#[repr(C, align(8))]
struct Attr([u8; Attr::SIZE]);

impl Attr {
    /// More than any command here uses. The kernel requires the rest to be zero.
    const SIZE: usize = 128;

    fn new() -> Attr {
        Attr([0; Attr::SIZE])
    }

    fn word(mut self, offset: usize, value: u32) -> Attr {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn long(mut self, offset: usize, value: u64) -> Attr {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Attr {
        self.word(offset, fd.as_raw_fd().unsigned_abs())
    }
}

const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const BPF_MAP_TYPE_CGROUP_ARRAY: u32 = 8;
const BPF_MAP_TYPE_LRU_HASH: u32 = 9;
const BPF_MAP_TYPE_QUEUE: u32 = 22;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_FEXIT: u32 = 25;

const BPF_MAP_CREATE: c_int = 0;
const BPF_MAP_LOOKUP_ELEM: c_int = 1;
const BPF_MAP_UPDATE_ELEM: c_int = 2;
const BPF_MAP_DELETE_ELEM: c_int = 3;
const BPF_MAP_GET_NEXT_KEY: c_int = 4;
const BPF_PROG_LOAD: c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: c_int = 17;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: c_int = 21;

/// bpf(2)
///
/// # Safety
///
/// Each address in `attr` points to memory that is live while `command` reads or writes it, and
/// exclusively borrowed where it writes.
#[expect(unsafe_code, reason = "the C library lacks the call")]
unsafe fn bpf(command: c_int, attr: &Attr) -> io::Result<c_long> {
    // SAFETY: the kernel reads `SIZE` bytes of `attr`, and the caller promises the rest.
    super::result(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr.0, Attr::SIZE) })
}

/// Calls [`bpf`] for a command that opens a descriptor.
///
/// # Safety
///
/// The promises of [`bpf`], and `command` returns a new descriptor.
#[expect(unsafe_code, reason = "it takes ownership of a descriptor")]
unsafe fn descriptor(command: c_int, attr: &Attr) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = c_int::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for this process, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_MAP_CREATE`, with sizes in bytes and the maximum number of entries.
#[expect(unsafe_code, reason = "bpf(2)")]
fn map_create(kind: u32, key: u32, value: u32, entries: u32) -> io::Result<OwnedFd> {
    let attr = Attr::new().word(0, kind).word(4, key).word(8, value).word(12, entries);
    // SAFETY: the attribute has no address, and the command returns a new descriptor.
    unsafe { descriptor(BPF_MAP_CREATE, &attr) }
}

/// `BPF_MAP_UPDATE_ELEM`
///
/// # Safety
///
/// `K` is as long as the keys of `map`, and `V` as its values.
#[expect(unsafe_code, reason = "bpf(2)")]
unsafe fn update<K: Copy, V: Copy>(map: &OwnedFd, key: K, value: V) -> io::Result<()> {
    let attr = Attr::new()
        .fd(0, map.as_fd())
        .long(8, &raw const key as u64)
        .long(16, &raw const value as u64);
    // SAFETY: the kernel reads a key and a value, which are that long, as the caller promises.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attr) }.map(drop)
}

/// `BPF_MAP_DELETE_ELEM`
///
/// # Safety
///
/// `K` is as long as the keys of `map`.
#[expect(unsafe_code, reason = "bpf(2)")]
unsafe fn delete<K: Copy>(map: &OwnedFd, key: K) -> io::Result<()> {
    let attr = Attr::new().fd(0, map.as_fd()).long(8, &raw const key as u64);
    // SAFETY: the kernel reads a key, which is that long, as the caller promises.
    unsafe { bpf(BPF_MAP_DELETE_ELEM, &attr) }.map(drop)
}

/// A queue of values with `N` words.
#[derive(Debug)]
pub(crate) struct Queue<const N: usize>(OwnedFd);

impl<const N: usize> Queue<N> {
    /// Creates a queue with room for this many values.
    pub(crate) fn new(entries: u32) -> io::Result<Queue<N>> {
        let value = u32::try_from(8 * N).map_err(|_| io::ErrorKind::InvalidInput)?;
        map_create(BPF_MAP_TYPE_QUEUE, 0, value, entries).map(Queue)
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`. Returns `None` if the queue is empty.
    #[expect(unsafe_code, reason = "bpf(2)")]
    pub(crate) fn pop(&self) -> io::Result<Option<[u64; N]>> {
        let mut words = [0; N];
        let attr = Attr::new().fd(0, self.0.as_fd()).long(16, words.as_mut_ptr() as u64);
        // SAFETY: the kernel writes one value of the map, which is as long as `words`.
        match unsafe { bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr) } {
            Ok(_) => Ok(Some(words)),
            Err(err) if err.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(err) => Err(err),
        }
    }
}

/// A number that programs increment.
#[derive(Debug)]
pub(crate) struct Counter(OwnedFd);

impl Counter {
    pub(crate) fn new() -> io::Result<Counter> {
        map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1).map(Counter)
    }

    /// `BPF_MAP_UPDATE_ELEM`
    #[expect(unsafe_code, reason = "bpf(2)")]
    pub(crate) fn set(&self, value: u64) -> io::Result<()> {
        // SAFETY: the map has keys of 4 bytes and values of 8.
        unsafe { update(&self.0, 0_u32, value) }
    }

    /// `BPF_MAP_LOOKUP_ELEM`
    #[expect(unsafe_code, reason = "bpf(2)")]
    pub(crate) fn get(&self) -> io::Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let attr = Attr::new()
            .fd(0, self.0.as_fd())
            .long(8, &raw const key as u64)
            .long(16, &raw mut value as u64);
        // SAFETY: the kernel reads a key and writes a value, both as long as those of the map.
        unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &attr) }?;
        Ok(value)
    }
}

/// Control groups, for programs that test whether a task is in one of them.
#[derive(Debug)]
pub(crate) struct Cgroups(OwnedFd);

impl Cgroups {
    pub(crate) fn new(count: u32) -> io::Result<Cgroups> {
        map_create(BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4, count).map(Cgroups)
    }

    /// `BPF_MAP_UPDATE_ELEM`. `EBADF`: not a directory of the unified hierarchy.
    #[expect(unsafe_code, reason = "bpf(2)")]
    pub(crate) fn set(&self, at: u32, group: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the map has keys and values of 4 bytes.
        unsafe { update(&self.0, at, group.as_raw_fd()) }
    }

    /// `BPF_MAP_DELETE_ELEM`: no task is in the group at this index.
    #[expect(unsafe_code, reason = "bpf(2)")]
    pub(crate) fn clear(&self, at: u32) -> io::Result<()> {
        // SAFETY: the map has keys of 4 bytes.
        unsafe { delete(&self.0, at) }
    }
}

/// IDs of processes or threads. The least recently used ones are removed.
#[derive(Debug)]
pub(crate) struct Ids(OwnedFd);

impl Ids {
    pub(crate) fn new(entries: u32) -> io::Result<Ids> {
        map_create(BPF_MAP_TYPE_LRU_HASH, 8, 8, entries).map(Ids)
    }
}

/// A table of numbers by the ids of threads or the addresses of tasks.
#[derive(Debug)]
pub(crate) struct Table(OwnedFd);

impl From<OwnedFd> for Table {
    fn from(fd: OwnedFd) -> Table {
        Table(fd)
    }
}

impl Table {
    pub(crate) fn new(entries: u32) -> io::Result<Table> {
        map_create(BPF_MAP_TYPE_HASH, 8, 8, entries).map(Table)
    }

    /// `BPF_MAP_UPDATE_ELEM`. `E2BIG`: the table is full.
    #[expect(unsafe_code, reason = "bpf(2)")]
    pub(crate) fn insert(&self, key: u64, value: u64) -> io::Result<()> {
        // SAFETY: the map has keys and values of 8 bytes.
        unsafe { update(&self.0, key, value) }
    }

    /// Removes all entries.
    #[expect(unsafe_code, reason = "bpf(2)")]
    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut key = 0_u64;
        loop {
            // Without a key, the kernel gives the first one. ENOENT: there is none.
            let first = Attr::new().fd(0, self.0.as_fd()).long(16, &raw mut key as u64);
            // SAFETY: the kernel writes a key, which is as long as those of the map.
            match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &first) } {
                Err(err) if err.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                other => other?,
            };
            // SAFETY: the map has keys of 8 bytes.
            match unsafe { delete(&self.0, key) } {
                // A program was faster.
                Err(err) if err.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
    }

    /// Returns the descriptor, for another table of the same map.
    pub(crate) fn try_clone_to_owned(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

/// Room for a value that is too large for a program's stack, one for each processor.
#[derive(Debug)]
pub(crate) struct Scratch(OwnedFd);

impl Scratch {
    /// For so many bytes.
    pub(crate) fn new(bytes: u32) -> io::Result<Scratch> {
        map_create(BPF_MAP_TYPE_PERCPU_ARRAY, 4, bytes, 1).map(Scratch)
    }
}

impl Map for Table {
    fn number(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

impl Map for Scratch {
    fn number(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

/// A map, for the instructions of programs.
pub(crate) trait Map {
    /// Returns the number of the map's descriptor.
    fn number(&self) -> c_int;
}

impl<const N: usize> Map for Queue<N> {
    fn number(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

impl Map for Counter {
    fn number(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

impl Map for Cgroups {
    fn number(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

impl Map for Ids {
    fn number(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the raw tracepoint that [`raw_tracepoint_open`] names.
    RawTracepoint,
    /// When the function with this ID returns.
    FunctionExit(u32),
}

/// `BPF_PROG_LOAD`
#[expect(unsafe_code, reason = "bpf(2)")]
pub(crate) fn prog_load(instructions: &[u64], license: &CStr, place: Place) -> io::Result<OwnedFd> {
    let count = u32::try_from(instructions.len()).unwrap_or(u32::MAX);
    let attr = match place {
        Place::RawTracepoint => Attr::new().word(0, BPF_PROG_TYPE_RAW_TRACEPOINT),
        Place::FunctionExit(function) => {
            Attr::new().word(0, BPF_PROG_TYPE_TRACING).word(68, BPF_TRACE_FEXIT).word(108, function)
        }
    };
    let attr =
        attr.word(4, count).long(8, instructions.as_ptr() as u64).long(16, license.as_ptr() as u64);
    // SAFETY: the kernel reads `count` instructions and a string that ends in NUL. The command
    // returns a new descriptor.
    unsafe { descriptor(BPF_PROG_LOAD, &attr) }
}

/// `BPF_RAW_TRACEPOINT_OPEN`: the program runs while the descriptor is open. One for a function has
/// no name.
#[expect(unsafe_code, reason = "bpf(2)")]
pub(crate) fn raw_tracepoint_open(
    name: Option<&CStr>,
    program: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let name = name.map_or(0, |name| name.as_ptr() as u64);
    let attr = Attr::new().long(0, name).fd(8, program);
    // SAFETY: the kernel reads a string that ends in NUL, if there is one. The command returns a
    // new descriptor.
    unsafe { descriptor(BPF_RAW_TRACEPOINT_OPEN, &attr) }
}

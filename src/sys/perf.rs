//! perf_event_open(2): records of what programs map into their memory.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use libc::{c_int, c_ulong};

use super::result;

/// `struct perf_event_attr` up to `PERF_ATTR_SIZE_VER5`. (include/uapi/linux/perf_event.h)
#[repr(C, align(8))]
#[derive(Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    config1: u64,
    config2: u64,
    branches: u64,
    registers: u64,
    stack: u32,
    clock: c_int,
    interrupted: u64,
    aux_watermark: u32,
    rest: u32,
}

/// The records of one processor about every process: files that are mapped to be executed, and the
/// starts, programs and ends of processes. Each record ends with its time in nanoseconds of
/// `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub(crate) struct Ring {
    area: NonNull<u8>,
    page: usize,
    _fd: OwnedFd,
}

// SAFETY: the memory belongs to this value alone, and only `take` uses it, which borrows the value
// exclusively.
#[expect(unsafe_code, reason = "an address of its own memory")]
unsafe impl Send for Ring {}

/// The pages of records, a power of two.
const PAGES: usize = 256;
/// The offsets of `data_head` and `data_tail` in `struct perf_event_mmap_page`.
const HEAD: usize = 1024;
const TAIL: usize = 1032;

impl Ring {
    /// Starts to record on a processor. `EACCES` and `EPERM` without `CAP_PERFMON`; `ENODEV` if the
    /// processor is offline.
    #[expect(unsafe_code, reason = "the C library lacks the call")]
    pub(crate) fn new(cpu: c_int) -> io::Result<Ring> {
        const SOFTWARE: u32 = 1;
        const DUMMY: u64 = 9;
        const TIME: u64 = 1 << 2;
        // mmap, comm, task, sample_id_all, mmap2, comm_exec, use_clockid
        const FLAGS: u64 = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 18 | 1 << 23 | 1 << 24 | 1 << 25;
        const CLOSE_ON_EXEC: c_ulong = 8;
        let attr = Attr {
            kind: SOFTWARE,
            size: 112,
            config: DUMMY,
            sample_type: TIME,
            flags: FLAGS,
            clock: libc::CLOCK_MONOTONIC,
            ..Attr::default()
        };
        let (everyone, no_group): (c_int, c_int) = (-1, -1);
        // SAFETY: the kernel reads as many bytes of `attr` as its field `size` says, and it has
        // that size.
        let fd = result(unsafe {
            let attr = &raw const attr;
            libc::syscall(libc::SYS_perf_event_open, attr, everyone, cpu, no_group, CLOSE_ON_EXEC)
        })?;
        let fd = c_int::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel has just opened it for this process, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the call takes only integers.
        let page = usize::try_from(result(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })?);
        let page = page.map_err(|_| io::ErrorKind::InvalidData)?;
        let (length, protection) = (page * (1 + PAGES), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the kernel chooses an address that is not in use.
        let area = unsafe {
            let fd = fd.as_raw_fd();
            libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, 0)
        };
        if area == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let area = NonNull::new(area.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Ring { area, page, _fd: fd })
    }

    /// The address at an offset, which is less than the length.
    fn at(&self, offset: usize) -> *mut u8 {
        self.area.as_ptr().wrapping_add(offset)
    }

    /// Moves the new records to the end of `records`.
    #[expect(unsafe_code, reason = "memory that it shares with the kernel")]
    pub(crate) fn take(&mut self, records: &mut Vec<u8>) {
        let length = self.page * PAGES;
        // SAFETY: both are aligned words in the first page, which the kernel writes atomically.
        let head = unsafe { AtomicU64::from_ptr(self.at(HEAD).cast()) };
        // SAFETY: as above.
        let tail = unsafe { AtomicU64::from_ptr(self.at(TAIL).cast()) };
        let (from, to) = (tail.load(Ordering::Relaxed), head.load(Ordering::Acquire));
        let count = usize::try_from(to.wrapping_sub(from)).unwrap_or(0).min(length);
        let begin = usize::try_from(from % length as u64).unwrap_or(0);
        let first = count.min(length - begin);
        for (at, count) in [(begin, first), (0, count - first)] {
            records.reserve(count);
            let end = records.len();
            let (data, free) = (self.at(self.page + at), records.spare_capacity_mut().as_mut_ptr());
            // SAFETY: the data has `length` bytes after the first page, of which the kernel does
            // not write these before `tail` has passed them; and there is room for them.
            unsafe { ptr::copy_nonoverlapping(data, free.cast(), count) };
            // SAFETY: the bytes were written just now.
            unsafe { records.set_len(end + count) };
        }
        tail.store(to, Ordering::Release);
    }
}

impl Drop for Ring {
    #[expect(unsafe_code, reason = "munmap(2)")]
    fn drop(&mut self) {
        // SAFETY: the area was mapped with this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.area.as_ptr().cast(), self.page * (1 + PAGES)) };
    }
}

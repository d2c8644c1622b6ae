//! bpf(2): one function a command.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_long};

/// `union bpf_attr`, of which each command has a layout of its own. (include/uapi/linux/bpf.h)
#[repr(C, align(8))]
struct Attr([u8; Attr::SIZE]);

impl Attr {
    /// More than any command here uses; the kernel wants the rest to be zeros.
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
        self.word(offset, fd.as_raw_fd().cast_unsigned())
    }
}

const BPF_MAP_CREATE: c_int = 0;
const BPF_MAP_LOOKUP_ELEM: c_int = 1;
const BPF_MAP_UPDATE_ELEM: c_int = 2;
const BPF_PROG_LOAD: c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: c_int = 17;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: c_int = 21;

/// Calls with an attribute whose pointers the caller has made from live borrows.
fn bpf(command: c_int, attr: &Attr) -> io::Result<c_long> {
    // SAFETY: the kernel reads as many bytes of `attr` as is said. What the addresses in it stand
    // for is laid out and live as the command wants it: each function below sees to its own.
    super::result(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr.0, Attr::SIZE) })
}

fn descriptor(command: c_int, attr: &Attr) -> io::Result<OwnedFd> {
    let fd = c_int::try_from(bpf(command, attr)?).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for this process, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_MAP_CREATE`: sizes in bytes, and for how many.
pub(crate) fn map_create(kind: u32, key: u32, value: u32, entries: u32) -> io::Result<OwnedFd> {
    let attr = Attr::new().word(0, kind).word(4, key).word(8, value).word(12, entries);
    descriptor(BPF_MAP_CREATE, &attr)
}

/// `BPF_MAP_UPDATE_ELEM` of a map with keys and values of four bytes.
pub(crate) fn map_update(map: BorrowedFd<'_>, key: u32, value: u32) -> io::Result<()> {
    // The kernel reads one key and one value, which live until it has returned.
    let (key, value) = (&raw const key, &raw const value);
    let attr = Attr::new().fd(0, map).long(8, key as u64).long(16, value as u64);
    bpf(BPF_MAP_UPDATE_ELEM, &attr).map(drop)
}

/// `BPF_MAP_LOOKUP_ELEM` of a map with keys of four bytes and values of eight.
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: u32) -> io::Result<u64> {
    let mut value = 0_u64;
    // The kernel reads one key and writes one value, which live until it has returned.
    let (key, into) = (&raw const key, &raw mut value);
    let attr = Attr::new().fd(0, map).long(8, key as u64).long(16, into as u64);
    bpf(BPF_MAP_LOOKUP_ELEM, &attr)?;
    Ok(value)
}

/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM` of a queue whose values are as long as `value`. `ENOENT`: it
/// is empty.
pub(crate) fn map_pop(map: BorrowedFd<'_>, value: &mut [u64]) -> io::Result<()> {
    // The kernel writes one value, exclusively borrowed; its length is for the caller to see to,
    // who has made the map.
    let attr = Attr::new().fd(0, map).long(16, value.as_mut_ptr() as u64);
    bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr).map(drop)
}

/// `BPF_PROG_LOAD`
pub(crate) fn prog_load(kind: u32, instructions: &[u64], license: &CStr) -> io::Result<OwnedFd> {
    let count = u32::try_from(instructions.len()).unwrap_or(u32::MAX);
    // The kernel reads as many instructions as is said, and a string that ends in NUL.
    let attr = Attr::new()
        .word(0, kind)
        .word(4, count)
        .long(8, instructions.as_ptr() as u64)
        .long(16, license.as_ptr() as u64);
    descriptor(BPF_PROG_LOAD, &attr)
}

/// `BPF_RAW_TRACEPOINT_OPEN`: the program runs as long as the descriptor is open.
pub(crate) fn raw_tracepoint_open(name: &CStr, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // The kernel reads a string that ends in NUL.
    let attr = Attr::new().long(0, name.as_ptr() as u64).fd(8, program);
    descriptor(BPF_RAW_TRACEPOINT_OPEN, &attr)
}

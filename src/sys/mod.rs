//! One function per system call, with integers as arguments and an [`io::Result`] as the result.
//! There are no policies, retries or names.
//!
//! A function is `unsafe` if its caller must keep a promise, and a comment at each call states why
//! the promise holds.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use libc::{c_int, c_long, c_uint, c_ulong};
use nix::unistd::{ForkResult, Pid};

#[cfg(feature = "scan")]
pub(crate) mod ask;
pub(crate) mod bpf;
#[cfg(feature = "all-threads")]
pub(crate) mod broadcast;
pub(crate) mod mount;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) mod perf;
pub(crate) mod signal;

// The static part of libgcc, which a C compiler has wherever it has libgcc_s.so. std requests the
// latter only for functions that the static part has too; loading it is an eighth of the run time
// of `getpcaps 1`. A program that is linked without LTO uses libgcc_s.so as usual.
#[cfg(all(feature = "cli", target_env = "gnu"))]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
#[expect(unsafe_code, reason = "a library is linked by an extern block")]
// SAFETY: the block declares nothing.
unsafe extern "C" {}

/// The three sets of a thread for capget(2) and capset(2).
#[derive(Clone, Copy)]
pub(crate) struct RawCaps {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits per set, as two [`Words`].
const VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`
#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// `struct __user_cap_data_struct`: 32 bits of each set.
#[repr(C)]
#[derive(Default)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// capget(2); `pid` 0 is the calling thread.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn capget(pid: c_int) -> io::Result<RawCaps> {
    let mut header = Header { version: VERSION_3, pid };
    let mut words = [Words::default(), Words::default()];
    // SAFETY: for version 3 the kernel reads one Header, may write its version back, and writes two
    // Words. Both are live, exclusive and laid out as in <linux/capability.h>.
    result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) })?;
    let [low, high] = words;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(RawCaps {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// capset(2) for the calling thread.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn capset(caps: RawCaps) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let words = [0, 32].map(|shift| Words {
        effective: word(caps.effective >> shift),
        permitted: word(caps.permitted >> shift),
        inheritable: word(caps.inheritable >> shift),
    });
    // SAFETY: for version 3 the kernel reads one Header, may write its version back, and reads two
    // Words. Both are live and laid out as in <linux/capability.h>.
    result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) })?;
    Ok(())
}

/// Returns the low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "they are cut off on purpose")]
fn word(bits: u64) -> u32 {
    bits as u32
}

/// flock(2). The guard of nix panics if unlocking fails.
#[expect(unsafe_code, reason = "nix has only a guard")]
pub(crate) fn flock(file: BorrowedFd<'_>, operation: c_int) -> io::Result<()> {
    // SAFETY: the call takes numbers.
    result(unsafe { libc::flock(file.as_raw_fd(), operation) }.into()).map(drop)
}

/// `PR_CAPBSET_READ`
#[expect(unsafe_code, reason = "prctl(2)")]
pub(crate) fn capbset_read(cap: u8) -> io::Result<bool> {
    // SAFETY: the option takes a number.
    unsafe { prctl(libc::PR_CAPBSET_READ, cap.into(), 0) }.map(|set| set != 0)
}

/// `PR_CAPBSET_DROP`
#[expect(unsafe_code, reason = "prctl(2)")]
pub(crate) fn capbset_drop(cap: u8) -> io::Result<()> {
    // SAFETY: the option takes a number.
    unsafe { prctl(libc::PR_CAPBSET_DROP, cap.into(), 0) }.map(drop)
}

/// `PR_CAP_AMBIENT` with one of `PR_CAP_AMBIENT_*`
#[expect(unsafe_code, reason = "prctl(2)")]
pub(crate) fn cap_ambient(action: c_int, cap: u8) -> io::Result<bool> {
    let action = c_ulong::from(action.unsigned_abs());
    // SAFETY: the option takes two numbers.
    unsafe { prctl(libc::PR_CAP_AMBIENT, action, cap.into()) }.map(|set| set != 0)
}

/// `PR_GET_SECUREBITS`
#[expect(unsafe_code, reason = "prctl(2)")]
pub(crate) fn get_securebits() -> io::Result<u32> {
    // SAFETY: the option takes no argument.
    unsafe { prctl(libc::PR_GET_SECUREBITS, 0, 0) }.map(c_int::unsigned_abs)
}

/// `PR_SET_SECUREBITS`
#[expect(unsafe_code, reason = "prctl(2)")]
pub(crate) fn set_securebits(bits: u32) -> io::Result<()> {
    // SAFETY: the option takes a number.
    unsafe { prctl(libc::PR_SET_SECUREBITS, bits.into(), 0) }.map(drop)
}

/// prctl(2)
///
/// # Safety
///
/// `option` takes only numbers, and no address.
#[expect(unsafe_code, reason = "prctl(2)")]
unsafe fn prctl(option: c_int, arg2: c_ulong, arg3: c_ulong) -> io::Result<c_int> {
    // Some options reject unused arguments other than zero.
    let zero: c_ulong = 0;
    // SAFETY: as the caller promises, the kernel reads and writes no memory of this process. prctl
    // is variadic and takes its arguments as unsigned longs.
    let ret = unsafe { libc::prctl(option, arg2, arg3, zero, zero) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Returns the number of a system call of the family of setxattrat(2), since Linux 6.13. It is the
/// same on all of these architectures. Elsewhere the call counts as missing, as on an older kernel.
const fn xattrat(number: c_long) -> c_long {
    if cfg!(any(
        all(target_arch = "x86_64", target_pointer_width = "64"),
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64",
        target_arch = "powerpc64",
        target_arch = "s390x",
        target_arch = "loongarch64",
    )) {
        number
    } else {
        -1
    }
}

const SYS_SETXATTRAT: c_long = xattrat(463);
const SYS_GETXATTRAT: c_long = xattrat(464);
const SYS_REMOVEXATTRAT: c_long = xattrat(466);

/// `struct xattr_args`
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// getxattrat(2) of an entry of `dir`, with `AT_*` flags. Returns the number of bytes written.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn getxattrat(
    dir: BorrowedFd<'_>,
    entry: &CStr,
    flags: c_int,
    attribute: &CStr,
    value: &mut [u8],
) -> io::Result<usize> {
    let args = XattrArgs {
        value: value.as_mut_ptr() as u64,
        size: u32::try_from(value.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    // SAFETY: the kernel reads the two NUL-terminated strings and the given number of bytes of
    // `args`, and writes at most `args.size` bytes into `value`, which is exclusively borrowed.
    let length = result(unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            dir.as_raw_fd(),
            entry.as_ptr(),
            flags,
            attribute.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    })?;
    Ok(usize::try_from(length).unwrap_or(0))
}

/// setxattrat(2) of an entry of `dir`, with `AT_*` flags. `EINVAL` if `value` is too long.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn setxattrat(
    dir: BorrowedFd<'_>,
    entry: &CStr,
    flags: c_int,
    attribute: &CStr,
    value: &[u8],
) -> io::Result<()> {
    let size = u32::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let args = XattrArgs { value: value.as_ptr() as u64, size, flags: 0 };
    // SAFETY: the kernel reads the two NUL-terminated strings, the given number of bytes of `args`,
    // and `args.size` bytes of `value`.
    result(unsafe {
        libc::syscall(
            SYS_SETXATTRAT,
            dir.as_raw_fd(),
            entry.as_ptr(),
            flags,
            attribute.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    })
    .map(drop)
}

/// removexattrat(2) of an entry of `dir`, with `AT_*` flags.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn removexattrat(
    dir: BorrowedFd<'_>,
    entry: &CStr,
    flags: c_int,
    attribute: &CStr,
) -> io::Result<()> {
    // SAFETY: the kernel reads the two NUL-terminated strings.
    result(unsafe {
        libc::syscall(SYS_REMOVEXATTRAT, dir.as_raw_fd(), entry.as_ptr(), flags, attribute.as_ptr())
    })
    .map(drop)
}

/// getdents64(2). Returns the number of bytes written, which is 0 at the end of the directory.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn getdents64(dir: BorrowedFd<'_>, entries: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `entries.len()` bytes, which are exclusively borrowed.
    let length = result(unsafe {
        libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), entries.as_mut_ptr(), entries.len())
    })?;
    Ok(usize::try_from(length).unwrap_or(0))
}

/// Parses the types and names that getdents64(2) wrote: `struct linux_dirent64`.
pub(crate) fn dirents(mut entries: &[u8]) -> impl Iterator<Item = (u8, &CStr)> {
    const LENGTH: usize = 16; // after the inode and the offset
    const KIND: usize = 18;
    const NAME: usize = 19;
    std::iter::from_fn(move || {
        let length = entries.get(LENGTH..KIND)?.try_into().map(u16::from_ne_bytes).ok()?;
        let (entry, rest) = entries.split_at_checked(length.into())?;
        entries = rest;
        Some((*entry.get(KIND)?, CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()?))
    })
}

/// Returns the `STATX_ATTR_*` of an open file, whose descriptor may be an `O_PATH` one.
pub(crate) fn statx_attributes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(statx(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH, 0)?.stx_attributes)
}

/// Returns the ID, as in /proc/self/mountinfo, of the mount in which a descriptor was opened.
/// Before Linux 5.8, returns 0, which is not the ID of a mount.
#[cfg(feature = "cli")]
pub(crate) fn mount_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(statx(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH, 0)?.stx_mnt_id)
}

/// Returns the mode, owner and group of an entry of `dir` by statx(2), without following a link or
/// asking a network file system again.
pub(crate) fn mode_and_owner(dir: BorrowedFd<'_>, entry: &CStr) -> io::Result<(u32, u32, u32)> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_STATX_DONT_SYNC;
    let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_UID | libc::STATX_GID;
    let stat = statx(dir.as_raw_fd(), entry, flags, mask)?;
    Ok((stat.stx_mode.into(), stat.stx_uid, stat.stx_gid))
}

/// statx(2). With a mask of 0, the file system is not asked.
#[expect(unsafe_code, reason = "std and nix do not have all of its flags and fields")]
fn statx(dir: c_int, entry: &CStr, flags: c_int, mask: c_uint) -> io::Result<libc::statx> {
    // SAFETY: statx is a plain structure of integers, for which zero is a valid value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads the NUL-terminated string, and writes one statx, which is live and
    // exclusive.
    let ret = unsafe { libc::statx(dir, entry.as_ptr(), flags, mask, &raw mut stat) };
    result(ret.into())?;
    Ok(stat)
}

/// getgroups(2). Returns the number of groups written. `EINVAL` if there is too little room.
#[expect(unsafe_code, reason = "nix takes memory for the answer")]
pub(crate) fn getgroups(groups: &mut [u32]) -> io::Result<usize> {
    let room = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
    // SAFETY: the kernel writes at most `room` IDs into `groups`, which is exclusively borrowed.
    // With a room of 0, it only returns the count.
    let count = result(unsafe { libc::getgroups(room, groups.as_mut_ptr()) }.into())?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// membarrier(2) with `MEMBARRIER_CMD_GLOBAL`. Returns after all BPF programs that were running
/// have ended.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn wait_for_bpf() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: c_int = 1;
    // SAFETY: the call takes only integers.
    result(unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) }).map(drop)
}

/// fork(2). Runs `call` in the child, which exits with its result, or with 101 if it panics.
///
/// # Safety
///
/// If this process has other threads, `call` is async-signal-safe (signal-safety(7)), except for
/// functions that the C library allows in the child of such a process.
#[expect(unsafe_code, reason = "fork(2)")]
pub(crate) unsafe fn fork(call: &mut dyn FnMut() -> u8) -> io::Result<Pid> {
    // SAFETY: the child runs `call` in a copy of only the calling thread, as the caller promises,
    // and then exits.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = catch_unwind(AssertUnwindSafe(call)).unwrap_or(101);
            // SAFETY: the call ends the process at once.
            unsafe { libc::_exit(status.into()) }
        }
    }
}

/// Closes all descriptors from `first` on at the next execve(2): close_range(2) with
/// `CLOSE_RANGE_CLOEXEC`, since Linux 5.11.
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "musl lacks close_range(2)")]
pub(crate) fn close_on_exec_from(first: c_int) -> io::Result<()> {
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: the call takes only integers, and closes nothing in this process.
    result(unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, flag) }).map(drop)
}

/// Reads the symbolic link `self` of `proc`, a directory of procfs: the ID of the calling process
/// in its PID namespace. Returns the number of bytes written.
#[expect(unsafe_code, reason = "nix takes memory for the answer")]
pub(crate) fn process_id_in(proc: BorrowedFd<'_>, id: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads the NUL-terminated string, and writes at most `id.len()` bytes,
    // which are exclusively borrowed.
    let length = unsafe {
        libc::readlinkat(proc.as_raw_fd(), c"self".as_ptr(), id.as_mut_ptr().cast(), id.len())
    };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

/// pidfd_open(2): a descriptor that is readable once the process has ended. (Linux 5.3)
#[expect(unsafe_code, reason = "not every C library has the call")]
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes only integers.
    let fd = result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid_t(pid), 0) })?;
    let fd = c_int::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for this process, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns whether this process has privileges that its caller lacks: `AT_SECURE` of getauxval(3),
/// set for set-user-ID and set-group-ID bits and for file capabilities.
#[cfg(any(feature = "cli", feature = "scan"))]
#[expect(unsafe_code, reason = "getauxval(3)")]
pub(crate) fn is_privileged_by_file() -> bool {
    // SAFETY: the call takes an integer, and reads the vector that the kernel put beside the
    // environment.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// fnmatch(3)
#[expect(unsafe_code, reason = "fnmatch(3)")]
pub(crate) fn fnmatch(pattern: &CStr, name: &CStr, flags: c_int) -> bool {
    // SAFETY: both strings are NUL-terminated, and fnmatch only reads them.
    unsafe { libc::fnmatch(pattern.as_ptr(), name.as_ptr(), flags) == 0 }
}

/// Converts an ID for system calls. An ID that is too large becomes the highest one, which no
/// process has, because a negative number would mean a process group.
pub(crate) fn pid_t(id: u32) -> c_int {
    c_int::try_from(id).unwrap_or(c_int::MAX)
}

/// Returns the attributes of a file that are set and supported (`stx_attributes`), without following
/// a symbolic link.
pub(crate) fn attributes(path: &CStr) -> io::Result<u64> {
    let stat = statx(libc::AT_FDCWD, path, UNFOLLOWED, 0)?;
    Ok(stat.stx_attributes & stat.stx_attributes_mask)
}

/// Returns when a file was created, without following a symbolic link. `EOPNOTSUPP` if its file
/// system does not say. (std knows this with glibc only.)
pub(crate) fn born(path: &CStr) -> io::Result<SystemTime> {
    let stat = statx(libc::AT_FDCWD, path, UNFOLLOWED, libc::STATX_BTIME)?;
    let seconds = u64::try_from(stat.stx_btime.tv_sec).ok();
    let seconds = seconds.filter(|_| stat.stx_mask & libc::STATX_BTIME != 0);
    let since = seconds.map(|seconds| Duration::new(seconds, stat.stx_btime.tv_nsec));
    let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    time.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

const UNFOLLOWED: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;

/// Returns the result of a raw system call, or its errno.
fn result(ret: c_long) -> io::Result<c_long> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

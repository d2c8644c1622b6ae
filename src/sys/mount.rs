//! Mounts as descriptors: fsopen(2), open_tree(2), move_mount(2) and related calls.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::null,
};

use libc::{c_int, c_long};
#[cfg(feature = "cli")]
use {libc::c_ulong, std::os::fd::BorrowedFd};

use super::result;

const FSOPEN_CLOEXEC: c_int = 1;
const FSCONFIG_SET_STRING: c_int = 1;
const FSCONFIG_CMD_CREATE: c_int = 6;
const FSMOUNT_CLOEXEC: c_int = 1;

/// Returns a new file system with these options, not mounted anywhere: fsopen(2), fsconfig(2) and
/// fsmount(2), since Linux 5.2.
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn new(kind: &CStr, options: &[(&CStr, &CStr)]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads the NUL-terminated string.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
    let context = opened(context)?;
    for (key, value) in options {
        // SAFETY: the kernel reads the two NUL-terminated strings.
        result(unsafe {
            let (command, context) = (FSCONFIG_SET_STRING, context.as_raw_fd());
            libc::syscall(libc::SYS_fsconfig, context, command, key.as_ptr(), value.as_ptr(), 0)
        })?;
    }
    // SAFETY: this command reads no memory.
    result(unsafe {
        let (command, context) = (FSCONFIG_CMD_CREATE, context.as_raw_fd());
        libc::syscall(libc::SYS_fsconfig, context, command, null::<u8>(), null::<u8>(), 0)
    })?;
    // SAFETY: the call takes only integers.
    opened(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// Returns the descriptor that a system call opened.
#[expect(unsafe_code, reason = "it takes ownership of a descriptor")]
fn opened(ret: c_long) -> io::Result<OwnedFd> {
    let fd = c_int::try_from(result(ret)?).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for this process, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns a copy of the mount in which `of` was opened, with `of` as its root, without the mounts
/// below it, not mounted anywhere: open_tree(2), since Linux 5.2.
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn copy(of: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: c_int = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH;
    // SAFETY: the kernel reads an empty NUL-terminated string.
    opened(unsafe { libc::syscall(libc::SYS_open_tree, of.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Clears and sets `MOUNT_ATTR_*` of a mount: mount_setattr(2), since Linux 5.12.
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn set_attributes(mount: BorrowedFd<'_>, clear: u64, set: u64) -> io::Result<()> {
    /// `struct mount_attr`
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attributes = Attributes { set, clear, propagation: 0, user_namespace: 0 };
    // SAFETY: the kernel reads an empty NUL-terminated string, and one Attributes, which is live
    // and laid out as in <linux/mount.h>.
    result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })
    .map(drop)
}

/// Attaches a mount to a file or directory: move_mount(2), since Linux 5.2.
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "the C library lacks the call")]
pub(crate) fn attach(mount: BorrowedFd<'_>, on: BorrowedFd<'_>) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: c_int = 0x04;
    const MOVE_MOUNT_T_EMPTY_PATH: c_int = 0x40;
    let (mount, on, empty) = (mount.as_raw_fd(), on.as_raw_fd(), c"".as_ptr());
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: the kernel reads two empty NUL-terminated strings.
    result(unsafe { libc::syscall(libc::SYS_move_mount, mount, empty, on, empty, flags) }).map(drop)
}

/// Returns the `ST_*` flags of the mount in which `fd` was opened: fstatvfs(3).
#[cfg(feature = "cli")]
#[expect(unsafe_code, reason = "nix drops the flags that it has no name for")]
pub(crate) fn flags(fd: BorrowedFd<'_>) -> io::Result<c_ulong> {
    // SAFETY: statvfs is a plain structure of integers, for which zero is a valid value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the C library writes one statvfs, which is live and exclusive.
    result(unsafe { libc::fstatvfs(fd.as_raw_fd(), &raw mut stat) }.into())?;
    Ok(stat.f_flag)
}

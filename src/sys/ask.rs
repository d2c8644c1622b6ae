//! System calls made only to find out whether a sandbox lets them through: their arguments are
//! such that the kernel refuses them, or that they change nothing but the calling process.

use std::io;

use libc::c_long;

/// A system call that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Mount,
    PivotRoot,
    Unshare,
    Setns,
    Ptrace,
    InitModule,
    Bpf,
    PerfEventOpen,
    OpenByHandleAt,
    KexecLoad,
    /// A new user namespace for the calling process.
    UserNamespace,
}

/// Makes the call of a question. The answer is its errno: `EPERM` and `ENOSYS` are those of a
/// filter where the caller has the capability.
#[expect(unsafe_code, reason = "the calls have no safe form")]
pub(crate) fn ask(question: Question) -> io::Result<()> {
    /// More segments than the kernel takes, for which it refuses the call. (`KEXEC_SEGMENT_MAX`)
    const SEGMENTS: c_long = 1 << 20;
    /// No process has this id. (`PID_MAX_LIMIT`)
    const NOBODY: c_long = c_long::MAX >> (c_long::BITS - 31);
    let (number, arguments): (c_long, [c_long; 5]) = match question {
        // Null pointers: EFAULT.
        Question::Mount => (libc::SYS_mount, [0; 5]),
        Question::PivotRoot => (libc::SYS_pivot_root, [0; 5]),
        Question::PerfEventOpen => (libc::SYS_perf_event_open, [0, 0, -1, -1, 0]),
        Question::OpenByHandleAt => (libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0]),
        // Nothing to unshare: success.
        Question::Unshare => (libc::SYS_unshare, [0; 5]),
        // Not a descriptor: EBADF.
        Question::Setns => (libc::SYS_setns, [-1, 0, 0, 0, 0]),
        // Not a process: ESRCH. The first argument is PTRACE_ATTACH.
        Question::Ptrace => (libc::SYS_ptrace, [16, NOBODY, 0, 0, 0]),
        // A module of no bytes: ENOEXEC.
        Question::InitModule => (libc::SYS_init_module, [0; 5]),
        // Not a command: EINVAL.
        Question::Bpf => (libc::SYS_bpf, [-1, 0, 0, 0, 0]),
        Question::KexecLoad => (libc::SYS_kexec_load, [0, SEGMENTS, 0, 0, 0]),
        Question::UserNamespace => {
            (libc::SYS_unshare, [c_long::from(libc::CLONE_NEWUSER), 0, 0, 0, 0])
        }
    };
    let [first, second, third, fourth, fifth] = arguments;
    // SAFETY: every pointer is null, so no memory is read or written; no call but the last changes
    // anything, and that one changes only the namespace of this process.
    let ret = unsafe { libc::syscall(number, first, second, third, fourth, fifth) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

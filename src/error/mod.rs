//! Errors: the operation, its object and the cause.

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
};

use crate::caps::{CapSet, ParseError};

mod refusal;
mod trace;

pub use refusal::{FileKind, Malformed, Mount, Refusal};
pub use trace::TraceError;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation that failed.
///
/// The text names the operation and its object. The cause, if any, is the
/// [`source`](error::Error::source) and not part of the text.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[non_exhaustive]
    Os {
        /// The operation, which determines the meaning of `EPERM`.
        op: Op,
        /// The object of the operation.
        subject: Subject,
        /// The errno.
        source: io::Error,
    },
    /// No process or thread has this ID, possibly because it has ended.
    #[non_exhaustive]
    NoProcess {
        /// The ID.
        pid: u32,
    },
    /// The process exists, but this process cannot read it.
    #[non_exhaustive]
    Unreadable {
        /// The ID.
        pid: u32,
        /// The errno.
        source: io::Error,
    },
    /// A process's status in /proc does not have the kernel's format.
    #[non_exhaustive]
    MalformedStatus {
        /// The ID.
        pid: u32,
        /// The field of `/proc/PID/status` that is missing or invalid.
        field: &'static str,
    },
    /// The capabilities of a file were not changed, for a known reason.
    #[non_exhaustive]
    Refused {
        /// The file.
        subject: Subject,
        /// The reason.
        refusal: Refusal,
        /// The errno, if the kernel was asked.
        source: Option<io::Error>,
    },
    /// The file has a `security.capability` attribute that the kernel would reject.
    #[non_exhaustive]
    MalformedFileCaps {
        /// The file.
        subject: Subject,
        /// The cause.
        source: Malformed,
    },
    /// The file's capabilities belong to a user namespace whose root has no ID in the reader's user
    /// namespace.
    #[non_exhaustive]
    ForeignRootid {
        /// The file.
        subject: Subject,
        /// The errno, `EOVERFLOW`.
        source: io::Error,
    },
    /// A file cannot store these sets, because it has only one effective bit.
    #[non_exhaustive]
    UnstorableEffective {
        /// The capabilities that are effective but neither permitted nor inheritable, or permitted
        /// or inheritable but not effective.
        differing: CapSet,
    },
    /// This process has several threads, and the operation requires a single one.
    #[non_exhaustive]
    Threads {
        /// The number of threads, if it is known.
        count: Option<usize>,
    },
    /// Some threads of this process have changed and others have not. The kernel cannot undo a
    /// change.
    #[non_exhaustive]
    ThreadsNotChanged {
        /// The known IDs of threads that may have kept capabilities.
        threads: Vec<u32>,
        /// The number of threads that have changed.
        changed: usize,
        /// The first cause.
        source: Box<Error>,
    },
    /// /proc is not the proc file system of this PID namespace.
    NoProc,
    /// No user has this name.
    #[non_exhaustive]
    NoUser {
        /// The name.
        name: String,
    },
    /// No group has this name.
    #[non_exhaustive]
    NoGroup {
        /// The name.
        name: String,
    },
    /// Text is invalid.
    Parse(ParseError),
    /// A recording cannot start, or cannot be trusted.
    Trace(TraceError),
}

/// The object of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The calling thread.
    Thread,
    /// A child process, before it executes its program or function.
    Child,
    /// Another thread of this process, by its ID.
    OtherThread(u32),
    /// The process or thread with this ID.
    Process(u32),
    /// The file with this name.
    Path(PathBuf),
    /// The file of this descriptor in the calling process.
    Descriptor(i32),
}

impl From<&Path> for Subject {
    fn from(path: &Path) -> Subject {
        Subject::Path(path.to_path_buf())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Thread => f.write_str("the calling thread"),
            Subject::Child => f.write_str("the child process"),
            Subject::OtherThread(tid) => write!(f, "thread {tid}"),
            Subject::Process(pid) => write!(f, "process {pid}"),
            // Something that can be seen.
            Subject::Path(path) if path.as_os_str().is_empty() => f.write_str("''"),
            Subject::Path(path) => write!(f, "{}", path.display()),
            Subject::Descriptor(fd) => write!(f, "file descriptor {fd}"),
        }
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident $text:literal,)*) => {
        /// An operation of the kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Op {
            $($(#[$doc])* $op,)*
        }

        impl Op {
            /// Every operation.
            pub(crate) const ALL: &[Op] = &[$(Op::$op),*];
        }

        impl fmt::Display for Op {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Op::$op => $text,)* })
            }
        }
    };
}

ops! {
    /// capget(2)
    ReadSets "read the capability sets",
    /// capset(2). `EPERM`: a capability of `permitted` that the thread does not have, one of
    /// `effective` that is not in `permitted`, or, without `CAP_SETPCAP`, one of `inheritable` that
    /// was neither permitted nor inheritable. A capability outside of the bounding set cannot
    /// become inheritable.
    SetSets "set the capability sets",
    /// `PR_CAPBSET_READ`
    ReadBounding "read the bounding set",
    /// `PR_CAPBSET_DROP`. `EPERM`: no effective `CAP_SETPCAP`. `EINVAL`: the kernel does not
    /// support the capability.
    DropBounding "drop a capability from the bounding set",
    /// `PR_CAP_AMBIENT_IS_SET`
    ReadAmbient "read the ambient set",
    /// `PR_CAP_AMBIENT_RAISE`. `EPERM`: the capability is not both permitted and inheritable, or
    /// the securebit no-cap-ambient-raise is set.
    RaiseAmbient "raise an ambient capability",
    /// `PR_CAP_AMBIENT_LOWER` and `PR_CAP_AMBIENT_CLEAR_ALL`
    LowerAmbient "lower an ambient capability",
    /// `PR_GET_SECUREBITS`
    ReadSecurebits "read the securebits",
    /// `PR_SET_SECUREBITS` and `PR_SET_KEEPCAPS`. `EPERM`: no effective `CAP_SETPCAP`, or the bit
    /// is locked.
    SetSecurebits "set the securebits",
    /// `PR_GET_NO_NEW_PRIVS`
    ReadNoNewPrivs "read no-new-privs",
    /// `PR_SET_NO_NEW_PRIVS`
    SetNoNewPrivs "set no-new-privs",
    /// getresuid(2), getresgid(2) and getgroups(2)
    ReadIdentity "read the user and group ids",
    /// A query of the user database. (nsswitch.conf(5))
    LookUpUser "look up the user",
    /// setresuid(2). `EPERM`: no effective `CAP_SETUID`. `EINVAL`: the ID is not mapped in the user
    /// namespace.
    SetUid "set the user ids",
    /// setresgid(2). `EPERM`: no effective `CAP_SETGID`. `EINVAL`: the ID is not mapped in the user
    /// namespace.
    SetGid "set the group ids",
    /// setgroups(2). `EPERM`: no effective `CAP_SETGID`, or the user namespace denies it. `EINVAL`:
    /// too many groups, or one that is not mapped in the user namespace.
    SetGroups "set the supplementary groups",
    /// chroot(2), and chdir(2) to its root
    Chroot "change the root directory",
    /// chdir(2)
    ChangeDirectory "change the working directory",
    /// unshare(2) and setns(2). `EPERM`: no effective `CAP_SYS_ADMIN`.
    EnterNamespace "enter a namespace",
    /// pipe2(2) and fork(2), and the actions of std::process before it executes a program
    Fork "start a child process",
    /// execve(2)
    Execute "execute",
    /// waitpid(2)
    Wait "wait for",
    /// kill(2), rt_tgsigqueueinfo(2) and related calls. `EOPNOTSUPP`: the thread does not take
    /// signals, such as an io_uring thread
    Signal "send a signal to",
    /// fsopen(2), fsconfig(2) and fsmount(2) of tracefs. `EPERM`: no effective `CAP_SYS_ADMIN`.
    OpenTracing "open the kernel's tracing",
    /// bpf(2). `EPERM`: no effective `CAP_BPF` and `CAP_PERFMON`. `ENOENT`: the kernel lacks the
    /// tracepoint. `EBADF`: not a control group of the unified hierarchy.
    LoadBpf "load the BPF programs",
    /// mkdir(2) of a tracefs instance
    MakeTraceInstance "make the trace buffer",
    /// Reading trace_pipe_raw and its statistics
    ReadTrace "read what was traced",
    /// Writing to a file of tracefs
    SetUpTracing "set up tracing by",
    /// open(2)
    Open "open",
    /// Creating a file and writing to it
    Write "write",
    /// Reading a directory.
    ReadDirectory "read the directory",
    /// getxattr(2) of `security.capability`. `EOVERFLOW`: the capabilities belong to a user
    /// namespace whose root has no ID in this user namespace.
    ReadFileCaps "read the capabilities of",
    /// setxattr(2) of `security.capability`
    WriteFileCaps "set the capabilities of",
    /// removexattr(2) of `security.capability`
    RemoveFileCaps "remove the capabilities of",
    /// Reading a file of /proc.
    ReadProc "read /proc of",
}

impl Op {
    /// Returns the error of this operation on the calling thread.
    pub fn thread(self, source: impl Into<io::Error>) -> Error {
        Error::Os { op: self, subject: Subject::Thread, source: source.into() }
    }

    /// Returns the error of this operation on `subject`.
    pub fn on(self, subject: impl Into<Subject>, source: impl Into<io::Error>) -> Error {
        Error::Os { op: self, subject: subject.into(), source: source.into() }
    }
}

impl Error {
    /// Returns the kind of this error, based on the errno if there is one.
    ///
    /// ```
    /// use std::io::ErrorKind;
    ///
    /// use rcap::CapState;
    ///
    /// let err = CapState::of_pid(u32::MAX).unwrap_err();
    /// assert_eq!(err.kind(), ErrorKind::NotFound);
    /// ```
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Os { source, .. }
            | Error::Unreadable { source, .. }
            | Error::ForeignRootid { source, .. }
            | Error::Refused { source: Some(source), .. } => source.kind(),
            Error::Refused { refusal, source: None, .. } => refusal.kind(),
            Error::Trace(err) => err.kind(),
            Error::NoProcess { .. } | Error::NoUser { .. } | Error::NoGroup { .. } => {
                io::ErrorKind::NotFound
            }
            Error::MalformedStatus { .. } | Error::MalformedFileCaps { .. } => {
                io::ErrorKind::InvalidData
            }
            Error::UnstorableEffective { .. } | Error::Parse(_) => io::ErrorKind::InvalidInput,
            Error::NoProc => io::ErrorKind::Unsupported,
            Error::Threads { .. } | Error::ThreadsNotChanged { .. } => io::ErrorKind::Other,
        }
    }

    /// Returns the errno, if the error has one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Os { source, .. }
            | Error::Unreadable { source, .. }
            | Error::ForeignRootid { source, .. }
            | Error::Refused { source: Some(source), .. } => source.raw_os_error(),
            Error::ThreadsNotChanged { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Os { op, subject: Subject::Thread, .. } if *op != Op::ReadProc => {
                write!(f, "cannot {op}")
            }
            Error::Os { op: Op::Signal, subject, .. } => {
                write!(f, "cannot {} {subject}", Op::Signal)
            }
            Error::Os {
                op, subject: subject @ (Subject::Child | Subject::OtherThread(_)), ..
            } => {
                write!(f, "cannot {op} of {subject}")
            }
            Error::Os { op, subject: subject @ Subject::Process(_), .. } if *op == Op::ReadSets => {
                write!(f, "cannot {op} of {subject}")
            }
            Error::Os { op, subject, .. } => write!(f, "cannot {op} {subject}"),
            Error::NoProc => f.write_str("/proc: not mounted, or belongs to another PID namespace"),
            Error::NoProcess { pid } => write!(f, "process {pid}: does not exist"),
            Error::Unreadable { pid, .. } => write!(f, "cannot read process {pid}"),
            Error::MalformedStatus { pid, field } => {
                write!(f, "/proc/{pid}/status: missing or invalid field {field}")
            }
            Error::Refused { subject, refusal, .. } => write!(f, "{subject}: {refusal}"),
            Error::MalformedFileCaps { subject, .. } => {
                write!(f, "{subject}: invalid capability attribute")
            }
            Error::ForeignRootid { subject, .. } => write!(
                f,
                "{subject}: the capabilities belong to a user namespace whose root has no ID here"
            ),
            Error::UnstorableEffective { differing } => write!(
                f,
                "cannot store {differing}: a file has one effective bit, so either none or all \
                 capabilities must be effective"
            ),
            Error::Threads { count: Some(count) } => {
                write!(f, "not possible in a process with {count} threads")
            }
            Error::Threads { count: None } => {
                f.write_str("not possible in a process with several threads")
            }
            Error::ThreadsNotChanged { threads, changed, .. } => {
                f.write_str("threads")?;
                threads.iter().try_for_each(|tid| write!(f, " {tid}"))?;
                write!(f, ": not changed, but {changed} other threads have changed")
            }
            Error::NoUser { name } => write!(f, "{name}: no such user"),
            Error::NoGroup { name } => write!(f, "{name}: no such group"),
            Error::Trace(err) => err.fmt(f),
            Error::Parse(err) => err.fmt(f),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Os { source, .. }
            | Error::Unreadable { source, .. }
            | Error::ForeignRootid { source, .. } => Some(source),
            Error::Refused { source, .. } => source.as_ref().map(|source| source as _),
            Error::ThreadsNotChanged { source, .. } => Some(source),
            Error::MalformedFileCaps { source, .. } => Some(source),
            Error::NoProcess { .. }
            | Error::NoProc
            | Error::MalformedStatus { .. }
            | Error::UnstorableEffective { .. }
            | Error::NoUser { .. }
            | Error::NoGroup { .. }
            | Error::Threads { .. }
            | Error::Trace(_)
            | Error::Parse(_) => None,
        }
    }
}

/// Keeps the kind, and the text of this error and its cause.
impl From<Error> for io::Error {
    fn from(err: Error) -> io::Error {
        io::Error::new(err.kind(), err)
    }
}

impl From<TraceError> for Error {
    fn from(err: TraceError) -> Error {
        Error::Trace(err)
    }
}

impl From<ParseError> for Error {
    fn from(err: ParseError) -> Error {
        Error::Parse(err)
    }
}

#[cfg(any(feature = "cli", feature = "scan"))]
/// Returns the text of an error and its causes, without the errno that the standard library
/// appends.
#[cfg_attr(not(feature = "cli"), expect(unreachable_pub, reason = "only the programs use it"))]
pub fn chain(err: &dyn error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text.push_str(": ");
        text.push_str(&err.to_string());
        cause = err.source();
    }
    match text.rfind(" (os error ") {
        Some(end) if text.ends_with(')') => text[..end].to_owned(),
        _ => text,
    }
}

// Small enough to be returned by value.
const _: () = assert!(size_of::<Error>() <= 80);

//! The init process of an overlay: its command line, and its life.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{errno::Errno, unistd::getpid};

use super::build::{Failed, build};
use crate::sys;

/// The first argument of the init process.
const MINIMIZE: &str = "minimize";
/// The second argument: before it has built the copy, and after.
const BUILD: &str = "--overlay-build";
const INIT: &str = "--overlay-init";
/// The last argument of the init process if the run has a network of its own.
const NETWORK: &str = "--overlay-network";
/// The only output of the init process, unless an attempt failed.
pub(super) const READY: &str = "ready\n";

/// Returns the command that builds the copy: this program, which calls [`init_process`].
pub(super) fn command(private_network: bool) -> io::Result<Command> {
    let mut init = Command::new("/proc/self/exe");
    init.arg0("rcap").args([MINIMIZE, BUILD]).arg(std::env::current_exe()?);
    if private_network {
        init.arg(NETWORK);
    }
    init.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(init)
}

/// Acts as the init process of a copy of the file system, if the arguments of this process say so.
/// Returns `None` otherwise.
///
/// Unless [`Setup::in_place`](crate::trace::minimize::Setup::in_place) is set,
/// [`Program`](crate::trace::minimize::Program) starts this program again, from `/proc/self/exe`.
/// That process builds the copy for one run, and is the init process of the run's PID namespace. A
/// program that uses [`Program`](crate::trace::minimize::Program) therefore calls this function
/// first in `main`, before it starts threads, and ends when the result is `Some`:
///
/// ```
/// use std::{env, process::ExitCode};
///
/// use rcap::trace::minimize;
///
/// fn main() -> ExitCode {
///     let arguments: Vec<_> = env::args_os().collect();
///     match minimize::init_process(&arguments) {
///         Some(Ok(())) => return ExitCode::SUCCESS,
///         Some(Err(_)) => return ExitCode::FAILURE,
///         None => {}
///     }
///     // The program's own work.
///     ExitCode::SUCCESS
/// }
/// ```
///
/// # Errors
///
/// The copy cannot be made. The process that asked for it has the reason.
pub fn init_process(arguments: &[OsString]) -> Option<io::Result<()>> {
    let [_, command, word, rest @ ..] = arguments else { return None };
    if command != MINIMIZE {
        return None;
    }
    let failed = if word == BUILD {
        start(rest)
    } else if word == INIT {
        match serve() {
            Ok(()) => return Some(Ok(())),
            Err(err) => Failed::to("wait for the processes", Path::new(""))(err),
        }
    } else {
        return None;
    };
    // The other process reads it from the pipe.
    Some(writeln!(io::stdout(), "{failed}").and(Err(failed.into())))
}

/// Builds the copy, and executes the program again on it. Returns if that fails.
fn start(arguments: &[OsString]) -> Failed {
    let program = arguments.first().map(PathBuf::from).unwrap_or_default();
    let private_network = arguments.get(1).map(OsString::as_os_str) == Some(OsStr::new(NETWORK));
    if let Err(failed) = build(private_network) {
        return failed;
    }
    // A program of the run reaches this file as /proc/1/exe, so it has to be in the copy.
    let mut init = Command::new(&program);
    let err = init.arg0("rcap").args([MINIMIZE, INIT]).stderr(Stdio::null()).exec();
    Failed::to("execute ", &program)(err)
}

/// Waits until the run is over, however many processes it has meanwhile: a check can still be added
/// after the last one. The kernel then ends those that are left.
fn serve() -> io::Result<()> {
    if getpid().as_raw() != 1 {
        return Err(Errno::EPERM.into());
    }
    sys::signal::ignore_sigchld()?;
    // The other process reads it up to the end of the output.
    io::stdout().write_all(READY.as_bytes())?;
    io::stdout().flush()?;
    nix::unistd::dup2_stdout(io::stdin())?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

//! `getcap`: prints the capabilities of files.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    ops::ControlFlow,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use nix::errno::Errno;
use serde_json::{Map, Value, json};

use self::args::{Args, End, Form, OPTIONS};
use super::{
    Exit, Io, Name, Stream, chain,
    json::{SCHEMA, insert_name},
    options,
    table::{Table, fit},
};
use crate::{
    CapState, Error, Op,
    file::{Entry, Found, Scan},
};

mod args;

/// The time before the first progress message of a scan, and between messages.
const PATIENCE: Duration = Duration::from_secs(1);
const PULSE: Duration = Duration::from_millis(100);

/// Returns the options as a clap command, for completions.
#[must_use]
pub fn command() -> clap::Command {
    options::by_table("getcap", OPTIONS.iter().copied()).arg(options::file())
}

/// Runs the program.
///
/// # Errors
///
/// Writing to the standard streams failed.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let args = match Args::parse(argv.get(1..).unwrap_or_default()) {
        Ok(args) => args,
        Err(mistake) => {
            io.complain("getcap", &mistake)?;
            writeln!(io.err, "`getcap --help` lists the options.")?;
            return Ok(Exit::FAILURE);
        }
    };
    match args.end {
        None => return getcap(&args, io),
        Some(End::Usage) => usage(io.err)?,
        Some(End::Help) => usage(io.out)?,
        Some(End::License) => {
            writeln!(io.out, "getcap {}\nMIT OR Apache-2.0", env!("CARGO_PKG_VERSION"))?;
        }
    }
    Ok(Exit::SUCCESS)
}

fn usage(out: &mut Stream) -> io::Result<()> {
    fit("usage: getcap [OPTION]... FILE...\n\n", out)?;
    let mut table = Table::new(2);
    for (option, what) in OPTIONS {
        table.row(&[option, what]);
    }
    table.write(out)
}

fn getcap(args: &Args, io: &mut Io<'_>) -> io::Result<Exit> {
    let progress = args.recursive && io.err_terminal;
    let out_terminal = io.out_terminal;
    let printer = Mutex::new(Printer {
        args,
        io,
        records: 0,
        kept: Vec::new(),
        progress: false,
        result: Ok(()),
    });
    let lock = || printer.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let visit = |entry: &Entry<'_>| {
        if progress {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        if let Found::File(Err(err)) | Found::Unreadable(err) = entry.found()
            && (args.strict || is_failure(err))
        {
            failed.store(true, Ordering::Relaxed);
        }
        let flow = match report(args, out_terminal, entry) {
            Report::Nothing => ControlFlow::Continue(()),
            Report::Out(record) => lock().out(&entry.path(), record),
            Report::Err(line) => lock().err(&line),
        };
        if args.recursive { flow } else { ControlFlow::Break(()) }
    };
    let done = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        if progress {
            // Without a thread, no progress is shown.
            let _ = thread::Builder::new().spawn_scoped(scope, || {
                let mut wait = PATIENCE;
                let mut finished = done.0.lock().unwrap_or_else(PoisonError::into_inner);
                while !*finished {
                    let woken = done.1.wait_timeout(finished, wait);
                    finished = woken.unwrap_or_else(PoisonError::into_inner).0;
                    if !*finished {
                        lock().progress(seen.load(Ordering::Relaxed));
                    }
                    wait = PULSE;
                }
            });
        }
        let scan = if args.recursive { args.scan.clone() } else { Scan::default().threads(1) };
        for file in &args.files {
            scan.run(if args.recursive { without_slashes(file) } else { file }, visit);
        }
        *done.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        done.1.notify_all();
    });
    printer.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
    Ok(if failed.into_inner() { Exit::FAILURE } else { Exit::SUCCESS })
}

/// Returns whether the search failed, and not only the file is unreadable or has no readable
/// capabilities: memory or descriptors ran out, the disk failed, or a sandbox forbids a call.
fn is_failure(err: &Error) -> bool {
    #[rustfmt::skip]
    let of_the_file = [
        Errno::EACCES, Errno::EINVAL, Errno::ELOOP, Errno::ENAMETOOLONG, Errno::ENODATA,
        Errno::ENOENT, Errno::ENOTDIR, Errno::EOPNOTSUPP, Errno::EOVERFLOW,
    ];
    err.raw_os_error().is_some_and(|errno| !of_the_file.contains(&Errno::from_raw(errno)))
}

/// Returns the path without trailing slashes, as libcap prints it for a recursive search.
fn without_slashes(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let last = bytes.iter().rposition(|&byte| byte != b'/');
    Path::new(OsStr::from_bytes(&bytes[..last.map_or(bytes.len().min(1), |last| last + 1)]))
}

/// The result for a file.
enum Report {
    Nothing,
    Out(Vec<u8>),
    Err(String),
}

fn report(args: &Args, terminal: bool, entry: &Entry<'_>) -> Report {
    let remark = match entry.found() {
        Found::File(Err(err)) if args.form != Form::Json => return Report::Err(chain(err)),
        // Like libcap, skip unreadable directories silently.
        Found::Unreadable(err @ Error::Os { op: Op::ReadDirectory, .. })
            if args.form != Form::Json && !args.strict && !is_failure(err) =>
        {
            return Report::Nothing;
        }
        Found::Unreadable(err) if args.form != Form::Json => return Report::Err(chain(err)),
        Found::File(Ok(Some(_)) | Err(_)) | Found::Unreadable(_) => "",
        _ if !args.verbose => return Report::Nothing,
        Found::File(Ok(None)) => "",
        Found::Special if args.recursive => "",
        Found::Special | Found::Directory | Found::SymbolicLink => " (Not a regular file)",
    };
    let mut record = Vec::new();
    let path = entry.path();
    // Writing to memory does not fail.
    let _ = if args.form == Form::Json {
        serde_json::to_writer(&mut record, &object(&path, entry.found())).map_err(io::Error::from)
    } else {
        line(args, &mut record, &Name::new(&path, terminal), remark, entry.found())
    };
    Report::Out(record)
}

fn line(
    args: &Args,
    out: &mut Vec<u8>,
    name: &Name<'_>,
    remark: &str,
    found: &Found,
) -> io::Result<()> {
    name.write(out)?;
    if args.form == Form::Null {
        out.push(0);
    }
    let remark = if args.form == Form::Null { remark.trim_start() } else { remark };
    write!(out, "{remark}")?;
    if let Found::File(Ok(Some(caps))) = found {
        let space = if args.form == Form::Null { "" } else { " " };
        write!(out, "{space}{}", CapState::from(*caps))?;
        if let Some(rootid) = caps.rootid
            && args.rootid
            && rootid != 0
        {
            write!(out, " [rootid={rootid}]")?;
        }
    }
    writeln!(out)
}

fn object(path: &Path, found: &Found) -> Value {
    let mut object = Map::new();
    insert_name(&mut object, "path", path.as_os_str());
    let kind = match found {
        Found::File(_) => "file",
        Found::Special => "special",
        Found::Directory => "directory",
        Found::SymbolicLink => "symbolic-link",
        Found::Unreadable(_) => "unreadable",
    };
    object.insert("kind".into(), kind.into());
    match found {
        Found::File(Ok(Some(caps))) => {
            object.insert("text".into(), CapState::from(*caps).to_string().into());
            object.insert("capabilities".into(), json!(caps));
        }
        Found::File(Err(err)) | Found::Unreadable(err) => {
            object.insert("error".into(), chain(err).into());
        }
        _ => {
            object.insert("capabilities".into(), Value::Null);
        }
    }
    object.into()
}

/// The output, and the entries to sort.
struct Printer<'a, 'b> {
    args: &'a Args,
    io: &'a mut Io<'b>,
    records: u64,
    kept: Vec<(PathBuf, Vec<u8>)>,
    /// Whether a progress line is on standard error.
    progress: bool,
    result: io::Result<()>,
}

impl Printer<'_, '_> {
    fn out(&mut self, path: &Path, record: Vec<u8>) -> ControlFlow<()> {
        if self.args.sort {
            self.kept.push((path.to_path_buf(), record));
            return ControlFlow::Continue(());
        }
        if self.result.is_ok() {
            self.result = self.clear().and_then(|()| self.write(&record));
        }
        self.flow()
    }

    fn err(&mut self, line: &str) -> ControlFlow<()> {
        self.result = self.clear().and_then(|()| self.io.complain_in_words("getcap", line));
        self.flow()
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.args.form == Form::Json {
            match self.records {
                0 => writeln!(self.io.out, "{{\"schema\":{SCHEMA},\"files\":[")?,
                _ => self.io.out.write_all(b",\n")?,
            }
        }
        self.records += 1;
        self.io.out.write_all(record)
    }

    fn progress(&mut self, seen: u64) {
        let err = &mut *self.io.err;
        let _ = err
            .control("\r")
            .and_then(|()| write!(err, "{seen} files"))
            .and_then(|()| err.control("\x1b[K"));
        self.progress = true;
    }

    fn clear(&mut self) -> io::Result<()> {
        let is_shown = std::mem::take(&mut self.progress);
        if is_shown { self.io.err.control("\r\x1b[K") } else { Ok(()) }
    }

    fn finish(mut self) -> io::Result<()> {
        self.clear()?;
        std::mem::replace(&mut self.result, Ok(()))?;
        let mut kept = std::mem::take(&mut self.kept);
        kept.sort_unstable();
        for (_, record) in &kept {
            self.write(record)?;
        }
        if self.args.form == Form::Json {
            match self.records {
                0 => writeln!(self.io.out, "{{\"schema\":{SCHEMA},\"files\":[]}}")?,
                _ => writeln!(self.io.out, "\n]}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes() {
        let rows = [
            ("d/", "d"),
            ("d//", "d"),
            ("/", "/"),
            ("//", "/"),
            ("", ""),
            ("/d", "/d"),
            (".", "."),
        ];
        for (path, want) in rows {
            assert_eq!(without_slashes(path.as_ref()), Path::new(want), "{path:?}");
        }
    }
}

//! `getpcaps`: prints the capabilities of processes.
//!
//! Arguments are processed from left to right, and an option applies to the processes after it.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::{self, Write},
    num::IntErrorKind,
    thread,
};

use serde_json::{Map, Value, json};

use super::{
    Exit, Io, Name,
    json::{self, SCHEMA},
    options,
    table::{Table, fit},
};
use crate::{
    CapSet, CapState, Error, Iab,
    proc::{Proc, Status},
};

/// The options and their descriptions, from which the help is printed.
const OPTIONS: &[(&str, &str)] = &[
    ("--help, -h, --usage", "print this help"),
    ("--license", "print the licence"),
    ("--verbose", "print a sentence for each process"),
    ("--ugly, --legacy", "use the format of libcap before version 2.30, on standard error"),
    ("--iab", "also print the inheritable, ambient and bounding sets"),
    ("--names", "also print the name of each process"),
    ("--threads", "also print threads whose sets differ from their process's"),
    ("--json", "print one JSON document with an object for each process"),
    ("--all", "print every process"),
];

#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
struct Options {
    verbose: bool,
    ugly: bool,
    iab: bool,
    names: bool,
    threads: bool,
}

impl Options {
    /// Returns whether /proc is needed.
    fn needs_status(self) -> bool {
        self.iab || self.names || self.threads
    }
}

/// Returns the options as a clap command, for completions.
#[must_use]
pub fn command() -> clap::Command {
    let pids = clap::Arg::new("PID").num_args(0..);
    options::by_table("getpcaps", OPTIONS.iter().copied()).arg(pids)
}

/// Runs the program.
///
/// # Errors
///
/// Writing to the standard streams failed.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    if argv.len() < 2 {
        usage(io)?;
        return Ok(Exit::FAILURE);
    }
    let mut getpcaps = Getpcaps {
        io,
        proc: Proc::default(),
        options: Options::default(),
        // For the whole line, wherever it stands.
        json: argv.iter().any(|arg| arg == "--json").then(Vec::new),
        waiting: Vec::new(),
        failed: false,
    };
    for arg in &argv[1..] {
        if let Some(code) = getpcaps.act(arg)? {
            getpcaps.flush()?;
            return Ok(code);
        }
    }
    getpcaps.flush()?;
    let Getpcaps { io, json, failed, .. } = getpcaps;
    if let Some(processes) = json {
        writeln!(io.out, "{}", json!({"schema": SCHEMA, "processes": processes}))?;
    }
    Ok(if failed { Exit::FAILURE } else { Exit::SUCCESS })
}

fn usage(io: &mut Io<'_>) -> io::Result<()> {
    writeln!(io.err, "usage: getpcaps [OPTION | PID | NAME]...\n")?;
    let mut table = Table::new(2);
    for (option, what) in OPTIONS {
        table.row(&[option, what]);
    }
    table.write(io.err)?;
    let words = "\nAn option applies to the processes after it, and --json to all of them. PID 0 is \
                 getpcaps itself.";
    fit(words, io.err)
}

/// The printable state of one process.
struct Sets {
    caps: CapState,
    status: Option<Status>,
}

impl From<Status> for Sets {
    fn from(status: Status) -> Sets {
        Sets { caps: status.caps, status: Some(status) }
    }
}

struct Getpcaps<'a, 'b> {
    io: &'a mut Io<'b>,
    proc: Proc,
    options: Options,
    /// The objects for `--json`.
    json: Option<Vec<Value>>,
    /// Processes with the same options that have not been read yet, and the arguments that named
    /// them, or `None` if they were found.
    waiting: Vec<(u32, Option<String>)>,
    failed: bool,
}

impl Getpcaps<'_, '_> {
    /// Processes one argument. Returns the exit status if the program is done.
    fn act(&mut self, arg: &OsStr) -> io::Result<Option<Exit>> {
        let before = self.options;
        let options = match arg.to_str().unwrap_or_default() {
            "--help" | "-h" | "--usage" => {
                self.flush()?;
                usage(self.io)?;
                return Ok(Some(Exit::SUCCESS));
            }
            "--license" => {
                self.flush()?;
                writeln!(self.io.out, "getpcaps: MIT OR Apache-2.0")?;
                return Ok(Some(Exit::SUCCESS));
            }
            "--verbose" => Options { verbose: true, ugly: false, ..before },
            "--ugly" | "--legacy" => Options { ugly: true, verbose: false, ..before },
            "--iab" => Options { iab: true, ..before },
            "--names" => Options { names: true, ..before },
            "--threads" => Options { threads: true, ..before },
            "--json" => before,
            "--all" => {
                self.all()?;
                before
            }
            _ => {
                self.process(arg)?;
                before
            }
        };
        if self.options != options {
            self.flush()?;
            self.options = options;
        }
        Ok(None)
    }

    fn complain(&mut self, err: &Error) -> io::Result<()> {
        self.failed = true;
        self.io.complain("getpcaps", err)
    }

    fn all(&mut self) -> io::Result<()> {
        match Proc::of_namespace().and_then(|proc| proc.processes()) {
            Ok(pids) => self.wait_for(pids),
            Err(err) => self.complain(&err)?,
        }
        Ok(())
    }

    fn wait_for(&mut self, pids: Vec<u32>) {
        self.waiting.extend(pids.into_iter().map(|pid| (pid, None)));
    }

    /// Selects a process by number or name.
    fn process(&mut self, arg: &OsStr) -> io::Result<()> {
        // Invalid UTF-8 is not a number, and not the empty string either, which is 0.
        let words = match arg.to_str().map_or(Err(NotAPid::NoNumber), number) {
            Ok(pid) => {
                let label = arg.to_string_lossy().into_owned();
                self.waiting.push((pid, Some(label)));
                return Ok(());
            }
            Err(NotAPid::TooLarge) => "Value too large for defined data type",
            Err(NotAPid::NoNumber) if arg.as_encoded_bytes().starts_with(b"-") => {
                "Invalid argument"
            }
            Err(NotAPid::NoNumber) => {
                self.flush()?;
                match Proc::of_namespace() {
                    Ok(proc) => {
                        let found = named(&proc, arg);
                        if !found.is_empty() {
                            self.wait_for(found);
                            return Ok(());
                        }
                    }
                    Err(err) => self.complain(&err)?,
                }
                "Invalid argument, and no process has this name"
            }
        };
        self.flush()?;
        self.failed = true;
        let words = format!("Cannot parse pid {}: ({words})", arg.display());
        self.io.complain_in_words("getpcaps", &words)
    }

    /// Reads and prints the waiting processes, with several threads if there are many.
    fn flush(&mut self) -> io::Result<()> {
        /// Fewer processes are read faster than a thread starts.
        const A_THREAD_EACH: usize = 128;
        let pids = std::mem::take(&mut self.waiting);
        let needs_status = self.options.needs_status() || self.json.is_some();
        if needs_status
            && !pids.is_empty()
            && let Err(err) = Proc::of_namespace()
        {
            return self.complain(&err);
        }
        let proc = self.proc.clone();
        let read = |(pid, _): &(u32, Option<String>)| sets(&proc, *pid, needs_status);
        let threads = match pids.len() / A_THREAD_EACH {
            0 => 1,
            _ if !needs_status => 1,
            most => most.min(thread::available_parallelism().map_or(1, usize::from)),
        };
        if threads == 1 {
            for pid in pids {
                let result = read(&pid);
                self.print(pid, result)?;
            }
            return Ok(());
        }
        let parts = pids.chunks(pids.len().div_ceil(threads));
        let read = &read;
        let results: Vec<Vec<_>> = thread::scope(|scope| {
            let readers: Vec<_> =
                parts.map(|part| scope.spawn(move || part.iter().map(read).collect())).collect();
            readers.into_iter().map(|reader| reader.join().unwrap_or_default()).collect()
        });
        for (pid, result) in pids.into_iter().zip(results.into_iter().flatten()) {
            self.print(pid, result)?;
        }
        Ok(())
    }

    fn print(
        &mut self,
        (pid, label): (u32, Option<String>),
        result: crate::Result<Sets>,
    ) -> io::Result<()> {
        let sets = match result {
            Ok(sets) => sets,
            // The process was found, and has ended since.
            Err(Error::NoProcess { .. }) if label.is_none() => return Ok(()),
            Err(err) => return self.complain(&err),
        };
        let threads = match (&sets.status, self.options.threads) {
            (Some(status), true) if status.threads > 1 => self.differing_threads(status),
            _ => Vec::new(),
        };
        if let Some(processes) = &mut self.json {
            let mut object = object(&sets);
            let namespace = |status: &Status| self.proc.user_namespace(status.pid).ok();
            let namespace = sets.status.as_ref().and_then(namespace);
            object.insert("user_namespace".into(), json!(namespace.map(|ns| ns.inode)));
            if self.options.threads {
                let threads = threads.into_iter().map(Sets::from);
                let threads = threads.map(|sets| Value::Object(self::object(&sets))).collect();
                object.insert("threads".into(), threads);
            }
            processes.push(object.into());
            return Ok(());
        }
        let label = label.unwrap_or_else(|| pid.to_string());
        self.line(&label, &sets)?;
        for status in threads {
            let label = format!("{label}/{}", status.pid);
            self.line(&label, &Sets::from(status))?;
        }
        Ok(())
    }

    /// Returns the threads whose sets differ from those of the first one. Threads that have ended
    /// are left out.
    fn differing_threads(&self, first: &Status) -> Vec<Status> {
        let sets = |status: &Status| (status.caps, status.bounding, status.ambient);
        let others = self.proc.threads(first.tgid).unwrap_or_default().into_iter();
        others
            .filter(|&tid| tid != first.pid)
            .filter_map(|tid| self.proc.thread_status(first.tgid, tid).ok())
            .filter(|status| sets(status) != sets(first))
            .collect()
    }

    fn line(&mut self, label: &str, sets: &Sets) -> io::Result<()> {
        let Options { verbose, ugly, iab, names, .. } = self.options;
        let text = sets.caps.to_string();
        let mut line = Vec::new();
        let name = sets.status.as_ref().filter(|_| names).map(|status| &status.name);
        write!(line, "{label}")?;
        if let Some(name) = name {
            write!(line, " (")?;
            Name::new(name, self.io.out_terminal || ugly).write(&mut line)?;
            write!(line, ")")?;
        }
        let label = line;
        if let Some(status) = sets.status.as_ref().filter(|_| iab) {
            self.io.out.write_all(&label)?;
            return writeln!(
                self.io.out,
                ":{}",
                iab_words(&text, status.iab(CapSet::supported()), verbose || ugly)
            );
        }
        let (out, head, tail): (&mut dyn Write, _, _) = match (ugly, verbose) {
            (true, _) => (self.io.err, "Capabilities for `", "': "),
            (false, true) => (self.io.out, "Capabilities for '", "': "),
            (false, false) => (self.io.out, "", ": "),
        };
        write!(out, "{head}")?;
        out.write_all(&label)?;
        writeln!(out, "{tail}{text}")
    }
}

/// Returns the processes with this name, which the kernel truncates to 15 bytes.
fn named(proc: &Proc, name: &OsStr) -> Vec<u32> {
    let short = &name.as_encoded_bytes()[..name.len().min(15)];
    let is_it =
        |&pid: &u32| proc.status(pid).is_ok_and(|status| status.name.as_encoded_bytes() == short);
    proc.processes().unwrap_or_default().into_iter().filter(is_it).collect()
}

/// Returns the sets of a process. 0 is this process.
fn sets(proc: &Proc, pid: u32, needs_status: bool) -> crate::Result<Sets> {
    if !needs_status {
        return Ok(Sets { caps: CapState::of_pid(pid)?, status: None });
    }
    proc.status(if pid == 0 { std::process::id() } else { pid }).map(Sets::from)
}

/// Returns the output of `--iab`: the text of the sets unless it is empty, and in brackets the
/// tuple if it has more than inheritable capabilities; or both.
pub(super) fn iab_words(text: &str, iab: Iab, both: bool) -> String {
    let mut words = String::new();
    if both || text != "=" {
        let _ = write!(words, " \"{text}\"");
    }
    if both || !(iab.ambient() | iab.dropped()).is_empty() {
        let _ = write!(words, " [{iab}]");
    }
    words
}

fn object(Sets { status, .. }: &Sets) -> Map<String, Value> {
    status.as_ref().map(json::status).unwrap_or_default()
}

#[derive(Debug, PartialEq, Eq)]
enum NotAPid {
    NoNumber,
    TooLarge,
}

/// Parses a process ID like strtol(3) in base 10. An empty string is 0.
fn number(text: &str) -> Result<u32, NotAPid> {
    let digits = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    if text.is_empty() {
        return Ok(0);
    }
    match digits.parse::<i32>() {
        Ok(pid) => u32::try_from(pid).map_err(|_| NotAPid::TooLarge),
        Err(err) => match err.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => Err(NotAPid::TooLarge),
            _ => Err(NotAPid::NoNumber),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids() {
        #[rustfmt::skip]
        let rows = [
            ("1",           Ok(1)),
            ("",            Ok(0)),
            (" 7",          Ok(7)),
            ("+7",          Ok(7)),
            ("-0",          Ok(0)),
            ("2147483647",  Ok(2_147_483_647)),
            ("2147483648",  Err(NotAPid::TooLarge)),
            ("-1",          Err(NotAPid::TooLarge)),
            ("99999999999999999999", Err(NotAPid::TooLarge)),
            (" ",           Err(NotAPid::NoNumber)),
            ("7 ",          Err(NotAPid::NoNumber)),
            ("0x7",         Err(NotAPid::NoNumber)),
            ("sleep",       Err(NotAPid::NoNumber)),
            ("--x",         Err(NotAPid::NoNumber)),
        ];
        for (text, want) in rows {
            assert_eq!(number(text), want, "{text:?}");
        }
    }

    #[test]
    fn iab() {
        #[rustfmt::skip]
        let rows = [
            ("=",   "",           false, ""),
            ("=ep", "",           false, " \"=ep\""),
            ("=",   "cap_kill",   false, ""),
            ("=",   "!cap_kill",  false, " [!cap_kill]"),
            ("=ep", "^cap_kill",  false, " \"=ep\" [^cap_kill]"),
            ("=",   "",           true,  " \"=\" []"),
        ];
        for (text, iab, both, want) in rows {
            assert_eq!(iab_words(text, iab.parse().unwrap(), both), want, "{text} {iab}");
        }
    }
}

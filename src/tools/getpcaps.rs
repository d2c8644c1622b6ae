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
    proc::{Proc, Status, in_threads},
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

/// The command line.
#[derive(Debug, PartialEq, Eq)]
struct Args<'a> {
    /// Whether the output is one JSON document, and the form of each selection has no effect.
    json: bool,
    /// The processes in order, each with the options before it.
    selections: Vec<(Options, Selection<'a>)>,
    /// The last thing to print, if it is not the result.
    end: Option<End>,
}

/// The options that apply to the processes after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    form: Form,
    iab: bool,
    names: bool,
    threads: bool,
}

/// The format of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Line,
    /// `--verbose`
    Sentence,
    /// `--legacy`, on standard error
    Legacy,
}

/// Processes that an argument selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selection<'a> {
    Pid(u32, &'a str),
    Name(&'a OsStr),
    All,
    /// An argument that selects none, and the reason.
    Nothing(&'a OsStr, &'static str),
}

/// An argument after which others are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Help,
    License,
}

impl Options {
    /// Returns whether /proc is needed.
    fn needs_status(self) -> bool {
        self.iab || self.names || self.threads
    }
}

impl Args<'_> {
    fn parse(args: &[OsString]) -> Args<'_> {
        let mut parsed = Args {
            // For the whole line, wherever it stands.
            json: args.iter().any(|arg| arg == "--json"),
            selections: Vec::new(),
            end: None,
        };
        let mut options = Options::default();
        for arg in args {
            match arg.to_str().unwrap_or_default() {
                "--help" | "-h" | "--usage" => parsed.end = Some(End::Help),
                "--license" => parsed.end = Some(End::License),
                "--verbose" => options.form = Form::Sentence,
                "--ugly" | "--legacy" => options.form = Form::Legacy,
                "--iab" => options.iab = true,
                "--names" => options.names = true,
                "--threads" => options.threads = true,
                "--json" => {}
                "--all" => parsed.selections.push((options, Selection::All)),
                _ => parsed.selections.push((options, Selection::of(arg))),
            }
            if parsed.end.is_some() {
                break;
            }
        }
        parsed
    }
}

impl Selection<'_> {
    fn of(arg: &OsStr) -> Selection<'_> {
        // Invalid UTF-8 is not a number, and not the empty string either, which is 0.
        let Some(text) = arg.to_str() else { return Selection::Name(arg) };
        match number(text) {
            Ok(pid) => Selection::Pid(pid, text),
            Err(NotAPid::TooLarge) => {
                Selection::Nothing(arg, "Value too large for defined data type")
            }
            Err(NotAPid::NoNumber) if text.starts_with('-') => {
                Selection::Nothing(arg, "Invalid argument")
            }
            Err(NotAPid::NoNumber) => Selection::Name(arg),
        }
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
    let args = Args::parse(&argv[1..]);
    let mut getpcaps = Getpcaps {
        io,
        proc: Proc::default(),
        options: Options::default(),
        json: args.json.then(Vec::new),
        waiting: Vec::new(),
        failed: false,
    };
    for (options, selection) in args.selections {
        getpcaps.select(options, selection)?;
    }
    getpcaps.flush()?;
    let Getpcaps { io, json, failed, .. } = getpcaps;
    match (args.end, json) {
        (Some(End::Help), _) => usage(io)?,
        (Some(End::License), _) => writeln!(io.out, "getpcaps: MIT OR Apache-2.0")?,
        (None, Some(processes)) => {
            writeln!(io.out, "{}", json!({"schema": SCHEMA, "processes": processes}))?;
        }
        (None, None) => {}
    }
    Ok(if failed && args.end.is_none() { Exit::FAILURE } else { Exit::SUCCESS })
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
    /// Adds the processes of a selection to those to print.
    fn select(&mut self, options: Options, selection: Selection<'_>) -> io::Result<()> {
        if self.options != options {
            self.flush()?;
            self.options = options;
        }
        match selection {
            Selection::Pid(pid, label) => self.waiting.push((pid, Some(label.to_owned()))),
            Selection::All => match Proc::of_namespace().and_then(|proc| proc.processes()) {
                Ok(pids) => self.wait_for(pids),
                Err(err) => self.complain(&err)?,
            },
            Selection::Name(name) => {
                self.flush()?;
                let found = match Proc::of_namespace() {
                    Ok(proc) => named(&proc, name),
                    Err(err) => {
                        self.complain(&err)?;
                        Vec::new()
                    }
                };
                if found.is_empty() {
                    self.no_pid(name, "Invalid argument, and no process has this name")?;
                }
                self.wait_for(found);
            }
            Selection::Nothing(arg, reason) => {
                self.flush()?;
                self.no_pid(arg, reason)?;
            }
        }
        Ok(())
    }

    fn wait_for(&mut self, pids: Vec<u32>) {
        self.waiting.extend(pids.into_iter().map(|pid| (pid, None)));
    }

    fn complain(&mut self, err: &Error) -> io::Result<()> {
        self.failed = true;
        self.io.complain("getpcaps", err)
    }

    fn no_pid(&mut self, arg: &OsStr, reason: &str) -> io::Result<()> {
        self.failed = true;
        let words = format!("Cannot parse pid {}: ({reason})", arg.display());
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
        let results = in_threads(&pids, threads, |part| part.iter().map(read).collect::<Vec<_>>());
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
        let Options { form, iab, names, .. } = self.options;
        let text = sets.caps.to_string();
        let mut line = Vec::new();
        let name = sets.status.as_ref().filter(|_| names).map(|status| &status.name);
        write!(line, "{label}")?;
        if let Some(name) = name {
            write!(line, " (")?;
            Name::new(name, self.io.out_terminal || form == Form::Legacy).write(&mut line)?;
            write!(line, ")")?;
        }
        let label = line;
        if let Some(status) = sets.status.as_ref().filter(|_| iab) {
            self.io.out.write_all(&label)?;
            return writeln!(
                self.io.out,
                ":{}",
                iab_words(&text, status.iab(CapSet::supported()), form != Form::Line)
            );
        }
        let (out, head, tail): (&mut dyn Write, _, _) = match form {
            Form::Legacy => (self.io.err, "Capabilities for `", "': "),
            Form::Sentence => (self.io.out, "Capabilities for '", "': "),
            Form::Line => (self.io.out, "", ": "),
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
    fn lines() {
        let line = |form| Options { form, ..Options::default() };
        let plain = Options::default();
        let pid = Selection::Pid;
        let named = |name: &'static str| Selection::Name(OsStr::new(name));
        let nothing = |arg: &'static str, why| Selection::Nothing(OsStr::new(arg), why);
        let both = Options { iab: true, names: true, ..plain };
        #[rustfmt::skip]
        let rows: Vec<(&[&str], Vec<_>, _)> = vec![
            (&["1", "sleep"], vec![(plain, pid(1, "1")), (plain, named("sleep"))], None),
            // An option applies to the processes after it.
            (&["1", "--iab", "--names", "2"], vec![(plain, pid(1, "1")), (both, pid(2, "2"))], None),
            (&["--legacy", "--verbose", "1"], vec![(line(Form::Sentence), pid(1, "1"))], None),
            (&["--verbose", "--ugly", "--all"], vec![(line(Form::Legacy), Selection::All)], None),
            (&["1", "--help", "2"], vec![(plain, pid(1, "1"))], Some(End::Help)),
            (&["--license"], vec![], Some(End::License)),
            (&["--", "-1"], vec![
                (plain, nothing("--", "Invalid argument")),
                (plain, nothing("-1", "Value too large for defined data type")),
            ], None),
        ];
        for (args, selections, end) in rows {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            let want = Args { json: false, selections: selections.clone(), end };
            assert_eq!(Args::parse(&args), want, "{args:?}");
            // --json applies to all processes.
            let args = [args, vec!["--json".into()]].concat();
            assert_eq!(Args::parse(&args), Args { json: true, selections, end }, "{args:?}");
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

//! `rcap trace`: what a program asks the kernel for.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::{Command as Program, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use clap::{Arg, ArgAction, Command, value_parser};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{Escaped, Exit, Io, json::SCHEMA};
use crate::{
    CapSet, CapState, Error, Op, bounding, sys,
    trace::{Analysis, Need, Recorder, Recording, Rule},
};

/// What this program itself ends with where the traced one has not.
const OWN_FAILURE: Exit = Exit(125);
const CANNOT_EXECUTE: Exit = Exit(126);
const NOT_FOUND: Exit = Exit(127);

/// How often the kernel's buffer is emptied.
const PULSE: Duration = Duration::from_millis(20);

/// What this way of recording cannot see.
const UNSEEN: &[&str] =
    &["processes that another one starts on the program's behalf, such as a daemon for containers"];

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    Command::new("trace")
        .about("Record which capabilities a program really asks the kernel for")
        .override_usage("rcap trace [OPTION]... [--] PROGRAM [ARG]...")
        .args([
            flag("all").help("Print what was set aside in full too"),
            flag("json").help(
                "Print one JSON object; the program's standard output goes to standard error",
            ),
            Arg::new("buffer")
                .long("buffer")
                .value_name("KB")
                .value_parser(value_parser!(u32).range(64..=1_048_576))
                .default_value("4096")
                .help("Kilobytes for records that wait, for each processor"),
            Arg::new("PROGRAM")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("The program and its arguments"),
        ])
        .after_help(
            "The report is on standard error, the exit status that of the program.\n\n\
             Example: rcap trace -- ping -c 1 127.0.0.1",
        )
}

/// # Errors
///
/// Writing to the standard streams.
pub fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) if err.use_stderr() => {
            write!(io.err, "{err}")?;
            return Ok(OWN_FAILURE);
        }
        Err(err) => {
            write!(io.out, "{err}")?;
            return Ok(Exit::SUCCESS);
        }
    };
    let words: Vec<OsString> = matches.get_many("PROGRAM").into_iter().flatten().cloned().collect();
    let as_json = matches.get_flag("json");
    let buffer = matches.get_one("buffer").copied().unwrap_or(4096);
    match record(&words, as_json, buffer) {
        Ok((recording, analysis, status)) => {
            if as_json {
                let report = to_json(&words, &recording, &analysis, status);
                writeln!(io.out, "{report}")?;
            } else {
                print(&recording, &analysis, matches.get_flag("all"), io.err)?;
            }
            Ok(exit(status))
        }
        Err(err) => {
            io.complain("rcap trace", &err)?;
            let errno = err.raw_os_error().map(Errno::from_raw);
            if matches!(err, Error::Os { op: Op::Execute, .. }) {
                let found = errno != Some(Errno::ENOENT);
                return Ok(if found { CANNOT_EXECUTE } else { NOT_FOUND });
            }
            if matches!(errno, Some(Errno::EPERM | Errno::EACCES)) {
                writeln!(
                    io.err,
                    "Recording takes root: CAP_SYS_ADMIN in the machine's own user namespace."
                )?;
            }
            Ok(OWN_FAILURE)
        }
    }
}

/// Runs the program to the end of its last descendant.
fn record(
    words: &[OsString],
    as_json: bool,
    buffer: u32,
) -> crate::Result<(Recording, Analysis, ExitStatus)> {
    // What it can have: by executing a file as root, at most this.
    let held = bounding::current()? | CapState::current()?.inheritable;
    // A terminal sends its signals to all; the report is to be written all the same.
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        sys::outlive(signal).map_err(|err| Op::Signal.thread(err))?;
    }
    // What has lost its parent becomes a child of this process, so that its end is seen.
    prctl::set_child_subreaper(true).map_err(|err| Op::Fork.thread(err))?;
    let mut program = Program::new(&words[0]);
    program.args(&words[1..]);
    if as_json {
        program.stdout(Stdio::from(io::stderr()));
    }
    let mut recorder = Recorder::start(program, buffer)?;
    let child = Pid::from_raw(recorder.child.id().cast_signed());
    let mut ended = ExitStatus::default();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                recorder.drain()?;
                thread::sleep(PULSE);
            }
            Ok(status) if status.pid() == Some(child) => {
                ended = crate::launch::exit_status(status).unwrap_or(ended);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => break, // ECHILD: it was the last
        }
    }
    let recording = recorder.finish()?;
    let analysis = recording.analyse(held);
    Ok((recording, analysis, ended))
}

/// The exit status of a shell for such an end.
fn exit(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OWN_FAILURE.0))
}

/// What is part of the answer.
fn counts(need: &Need) -> bool {
    matches!(need.rule, Rule::Candidate | Rule::Missing | Rule::Unclear | Rule::Weak)
}

fn print(
    recording: &Recording,
    analysis: &Analysis,
    all: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let named = |set: CapSet| if set.is_empty() { "none".to_owned() } else { set.to_string() };
    writeln!(out, "Candidates: {}", named(analysis.candidates))?;
    if !analysis.missing.is_empty() {
        writeln!(out, "Missing: {}", analysis.missing)?;
    }
    let (rows, aside): (Vec<&Need>, Vec<&Need>) =
        analysis.needs.iter().partition(|need| counts(need) || all);
    let asked = |need: &Need| -> String {
        let known = need.reason.as_deref().unwrap_or(&need.function);
        if known.is_empty() { "(not known)".into() } else { known.into() }
    };
    let width = rows.iter().map(|need| asked(need).len()).max().unwrap_or(0);
    if !rows.is_empty() {
        writeln!(out, "\n{:<22} {:>7}  {:<width$}  OUTCOME", "CAPABILITY", "CHECKS", "FOR")?;
    }
    for need in rows {
        writeln!(
            out,
            "{:<22} {:>7}  {:<width$}  {}\n{:>32} {}, {}",
            need.cap.to_string(),
            need.count,
            asked(need),
            need.rule.about(),
            "in",
            Escaped(need.program.as_encoded_bytes()),
            need.system_call.as_deref().unwrap_or("a system call whose name is not known"),
        )?;
    }
    if !aside.is_empty() {
        writeln!(out, "\nSet aside (--all shows them):")?;
    }
    let mut rules: Vec<Rule> = aside.iter().map(|need| need.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    for rule in rules {
        let of_rule = || aside.iter().filter(move |need| need.rule == rule);
        let caps: CapSet = of_rule().map(|need| need.cap).collect();
        let count: usize = of_rule().map(|need| need.count).sum();
        writeln!(out, "{count:>7}  {caps}: {}", rule.about())?;
    }
    match recording.lost {
        Some(0) => {}
        Some(lost) => writeln!(out, "\n{lost} records were lost: this is not complete (--buffer)")?,
        None => writeln!(out, "\nRecords were lost: this is not complete (--buffer)")?,
    }
    writeln!(out, "\nNot seen: {}.", UNSEEN.join("; "))?;
    writeln!(out, "A candidate was granted and used. Only a run without it tells if it is needed.")
}

fn to_json(
    words: &[OsString],
    recording: &Recording,
    analysis: &Analysis,
    status: ExitStatus,
) -> Value {
    use std::os::unix::process::ExitStatusExt;
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let check = |need: &Need| {
        json!({
            "cap": need.cap,
            "rule": need.rule,
            "function": need.function,
            "reason": need.reason,
            "count": need.count,
            "system_call": need.system_call,
            "returned": need.returned,
            "program": need.program.to_string_lossy(),
        })
    };
    json!({
        "schema": SCHEMA,
        "command": words,
        "exit": {"code": status.code(), "signal": status.signal()},
        "candidates": analysis.candidates,
        "missing": analysis.missing,
        "checks": analysis.needs.iter().map(check).collect::<Vec<_>>(),
        "lost": recording.lost,
        "unseen": UNSEEN,
    })
}

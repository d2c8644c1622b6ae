//! `rcap trace`: what a program asks the kernel for.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command as Program, ExitStatus, Stdio},
    time::Duration,
};

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use nix::{errno::Errno, unistd::getegid};
use serde_json::json;

use super::{
    Exit, Io,
    export::{append, to_arg},
    new_file::Pending,
    report::parse,
};
use rcap::{
    Error, Op, Result,
    launch::Launcher,
    tools::signals,
    trace::{
        Backend, Options, Seen, Target, Tracer,
        report::{Merged, Report},
        run::Run,
    },
};

mod follow;
mod print;

pub(super) use print::{asked, print_merged};

/// What this program itself ends with where the traced one has not.
pub(super) const OWN_FAILURE: Exit = Exit(125);
const CANNOT_EXECUTE: Exit = Exit(126);
const NOT_FOUND: Exit = Exit(127);

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    let value = |id: &'static str, name: &'static str| Arg::new(id).long(id).value_name(name);
    Command::new("trace")
        .about("Record which capabilities a program really asks the kernel for")
        .override_usage(
            "rcap trace [OPTION]... [--] PROGRAM [ARG]...\n       \
             rcap trace [OPTION]... --pid PID | --cgroup PATH | --unit NAME | --container ID\n       \
             rcap trace --check",
        )
        .args([
            flag("all").help("Print what was set aside in full too"),
            flag("json").help(
                "Print one JSON object; the program's standard output goes to standard error",
            ),
            flag("follow").help("Print each check as it happens, as a line or a JSON object"),
            to_arg().conflicts_with("json"),
            value("save", "FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the JSON object to FILE too, for `rcap report`"),
            flag("add")
                .requires("save")
                .help("Add the run to those that FILE has, instead of replacing it"),
            value("pid", "PID")
                .action(ArgAction::Append)
                .value_parser(value_parser!(u32).range(1..))
                .help("Record a process, its threads and its descendants"),
            value("cgroup", "PATH")
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .help("Record the processes of a control group, by its directory"),
            value("unit", "NAME")
                .action(ArgAction::Append)
                .help("Record the processes of a unit of systemd"),
            value("container", "ID")
                .action(ArgAction::Append)
                .help("Record a container, by its id or the name that Docker or Podman know"),
            value("for", "DURATION")
                .value_parser(duration)
                .help("End after DURATION, such as 90s, 5m or 2h; a program gets SIGTERM then"),
            value("starting", "ID")
                .requires("pid")
                .help("The process is to be container ID, which is being made: leave that out"),
            flag("check")
                .exclusive(true)
                .help("Say what this kernel and this user can do, and what is missing"),
            backend_arg(),
            buffer_arg(),
            flag("no-outcomes")
                .help("Leave out what came of system calls: faster, and less is set aside"),
            program_arg().required_unless_present_any(["running", "check"]).conflicts_with("running"),
        ])
        .group(ArgGroup::new("running").args(["pid", "cgroup", "unit", "container"]).multiple(true))
        .after_help(
            "The report is on standard error, the exit status that of the program.\n\n\
             Example: rcap trace -- ping -c 1 127.0.0.1",
        )
}

pub(super) fn backend_arg() -> Arg {
    Arg::new("backend")
        .long("backend")
        .value_name("BACKEND")
        .value_parser(|name: &str| {
            let found = Backend::ALL.into_iter().find(|backend| backend.name() == name);
            found.ok_or_else(|| {
                format!("it is one of {}", Backend::ALL.map(Backend::name).join(", "))
            })
        })
        .help("How the kernel is asked: tracepoint, kprobe or bpf; else the best that it has")
}

pub(super) fn buffer_arg() -> Arg {
    Arg::new("buffer")
        .long("buffer")
        .value_name("KB")
        .value_parser(value_parser!(u32).range(64..=1_048_576))
        .default_value("32768")
        .help("Kilobytes for records that wait, for each processor, to begin with")
}

pub(super) fn program_arg() -> Arg {
    Arg::new("PROGRAM")
        .num_args(1..)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString))
        .help("The program and its arguments")
}

/// `90`, `90s`, `5m`, `2h`, `500ms`
pub(super) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("it is a number and ms, s, m or h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "it is a number and ms, s, m or h".to_owned())?;
    let all = number.checked_mul(milliseconds).ok_or("it is too long")?;
    Ok(Duration::from_millis(all))
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, OWN_FAILURE),
    };
    if matches.get_flag("check") {
        return check(io);
    }
    match record(&matches, io) {
        Ok((report, status)) => {
            if matches.get_flag("json") {
                writeln!(io.out, "{}", json!(report))?;
            } else {
                print::print(&report, matches.get_flag("all"), io.err)?;
                append(&matches, report.candidates, None, io.err)?;
            }
            Ok(status.map_or(Exit::SUCCESS, exit))
        }
        Err(err) => refuse("rcap trace", &err, io),
    }
}

/// Says why nothing was recorded.
pub(super) fn refuse(program: &str, err: &Error, io: &mut Io<'_>) -> io::Result<Exit> {
    io.complain(program, err)?;
    let errno = err.raw_os_error().map(Errno::from_raw);
    if matches!(err, Error::Os { op: Op::Execute, .. }) {
        let found = errno != Some(Errno::ENOENT);
        return Ok(if found { CANNOT_EXECUTE } else { NOT_FOUND });
    }
    let tracing = matches!(
        err,
        Error::Os { op: Op::OpenTracing | Op::MakeTraceInstance | Op::SetUpTracing | Op::Open, .. }
    );
    if tracing && matches!(errno, Some(Errno::EPERM | Errno::EACCES)) {
        writeln!(
            io.err,
            "Recording takes root: CAP_SYS_ADMIN in the machine's own user namespace.\n\
             Without it, `capsh --explain=CAP` and `capsh --suggest=WORDS` say what a capability \
             is for."
        )?;
    }
    Ok(OWN_FAILURE)
}

/// How a program is recorded: by the backend that was asked for, or by the best one.
pub(super) fn options(matches: &ArgMatches) -> Options {
    let mut options = Options::default();
    options.backend = matches.get_one("backend").copied();
    options.kilobytes = matches.get_one("buffer").copied().unwrap_or(options.kilobytes);
    // `minimize` has no such option.
    options.outcomes = matches.try_get_one("no-outcomes").ok().flatten() != Some(&true);
    options
}

/// A program from its first instruction, or what runs already.
fn record(matches: &ArgMatches, io: &mut Io<'_>) -> Result<(Report, Option<ExitStatus>)> {
    let as_json = matches.get_flag("json");
    let words: Vec<OsString> = matches.get_many("PROGRAM").into_iter().flatten().cloned().collect();
    let options = options(matches);
    // Before anything runs: a file that cannot be written is known then.
    let save = matches.get_one::<PathBuf>("save");
    let save = save.map(|path| Pending::new(path)).transpose()?;
    signals::catch()?;
    let mut failed = Ok(());
    let all = matches.get_flag("all");
    let Io { out, err, .. } = io;
    let mut follow = |seen: &Seen| {
        let line = if as_json {
            writeln!(out, "{}", print::seen_json(seen)).and_then(|()| out.flush())
        } else if all || print::counts(seen.meaning) {
            print::seen(seen, err)
        } else {
            Ok(())
        };
        failed = std::mem::replace(&mut failed, Ok(())).and(line);
    };
    let mut ignore = |_: &Seen| ();
    let each: &mut dyn FnMut(&Seen) =
        if matches.get_flag("follow") { &mut follow } else { &mut ignore };
    let duration = matches.get_one("for").copied();
    let (recording, status, words) = if let Some((program, args)) = words.split_first() {
        let mut command = super::program(program);
        command.args(args);
        if as_json {
            command.stdout(Stdio::from(io::stderr()));
        }
        let mut tracer = Tracer::new(&options)?;
        let (recording, status) = follow::program(&mut tracer, command, duration, each)?;
        let words = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        (recording, status, words)
    } else {
        let (targets, names) = targets(matches)?;
        (follow::running(&targets, &options, duration, each)?, None, names)
    };
    let report = recording.report(words, status.map(Into::into));
    if let Some(save) = save {
        save.write(matches.get_flag("add"), |former| match former {
            Some(text) => {
                let former = parse(&text).map_err(io::Error::other)?;
                Ok(format!("{}\n", json!(Merged::of([former, report.clone().into()]))))
            }
            None => Ok(format!("{}\n", json!(report))),
        })?;
    }
    failed.map_err(|err| Op::Write.on(Path::new("the standard streams"), err))?;
    Ok((report, status))
}

/// What is to be recorded, and its names.
fn targets(matches: &ArgMatches) -> Result<(Vec<Target>, Vec<String>)> {
    let mut targets = Vec::new();
    let starting = matches.get_one::<String>("starting");
    for pid in matches.get_many("pid").into_iter().flatten() {
        targets.push(match starting {
            Some(id) => (Target::NewContainer(*pid), format!("--container={id}")),
            None => (Target::Process(*pid), format!("--pid={pid}")),
        });
    }
    for path in matches.get_many::<PathBuf>("cgroup").into_iter().flatten() {
        targets.push((Target::Cgroup(path.clone()), format!("--cgroup={}", path.display())));
    }
    for name in matches.get_many::<String>("unit").into_iter().flatten() {
        targets.push((Target::unit(name)?, format!("--unit={name}")));
    }
    for id in matches.get_many::<String>("container").into_iter().flatten() {
        targets.push((container(id)?, format!("--container={id}")));
    }
    Ok(targets.into_iter().unzip())
}

/// A container by its id, or by a name that only those know who have made it.
fn container(name: &str) -> Result<Target> {
    Target::container(name).or_else(|err| {
        let ask = |client: &str| {
            let output = super::helper(client)
                .args(["inspect", "--type=container", "--format={{.Id}}", "--", name])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output();
            let output = output.ok().filter(|output| output.status.success())?;
            let id = String::from_utf8(output.stdout).ok()?;
            Target::container(id.trim()).ok()
        };
        ["docker", "podman"].into_iter().find_map(ask).ok_or(err)
    })
}

/// The exit status of a shell for such an end.
pub(super) fn exit(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OWN_FAILURE.0))
}

/// `--check`: what can be done here, and what is in the way.
fn check(io: &mut Io<'_>) -> io::Result<Exit> {
    for backend in Backend::ALL {
        let state = match backend.check() {
            Ok(()) => "yes".to_owned(),
            Err(Error::NoBackend) => "no: this kernel lacks it".to_owned(),
            Err(err) => format!("no: {}", super::chain(&err)),
        };
        writeln!(io.out, "{:<24}{state}", format!("backend {backend}"))?;
    }
    let works = Backend::best().and_then(|backend| {
        let mut command = Program::new("/proc/self/exe");
        command.arg("--version").stdout(Stdio::null());
        // The change of its groups is checked by a function that every backend sees.
        let launcher = Launcher::new().groups(getegid().as_raw(), &[]);
        let mut options = Options::default();
        options.backend = Some(backend);
        let ended =
            Run::new(command, &launcher, &mut || false).record(&mut Tracer::new(&options)?)?;
        Ok((backend, ended.recording))
    });
    match works {
        Ok((backend, recording)) => {
            recording_works(backend, &recording.report(Vec::new(), None), io)
        }
        Err(err) => refuse("rcap trace", &err, io),
    }
}

/// Says whether a program was recorded as it should.
fn recording_works(backend: Backend, report: &Report, io: &mut Io<'_>) -> io::Result<Exit> {
    let checks = report.checks.iter().map(|need| need.count).fold(0, u64::saturating_add);
    let gap = report.gaps.first().map(String::as_str);
    let gap = gap.or((checks == 0).then_some("no check was recorded"));
    if let Some(gap) = gap {
        writeln!(io.out, "{:<24}no: by the {backend} backend, {gap}", "recording")?;
        return Ok(OWN_FAILURE);
    }
    let noun = if checks == 1 { "check" } else { "checks" };
    writeln!(io.out, "{:<24}yes: {checks} {noun}, by the {backend} backend", "recording")?;
    for words in &report.unseen {
        writeln!(io.out, "{:<24}{words}", "not seen")?;
    }
    Ok(Exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::Stream;

    #[test]
    fn the_default_buffer() {
        let matches = command().get_matches_from(["trace", "true"]);
        assert_eq!(options(&matches).kilobytes, Options::default().kilobytes);
    }

    #[test]
    fn what_works() {
        let need = json!({
            "cap": "cap_chown", "rule": "candidate", "granted": true, "function": "f",
            "reason": null, "count": 3, "system_call": null, "returned": 0, "program": "p",
        });
        let says = |checks: serde_json::Value, gaps: serde_json::Value| {
            let report = json!({
                "schema": 1, "command": [], "exit": null, "backend": "kprobe", "candidates": [],
                "missing": [], "checks": checks, "lost": 0, "gaps": gaps, "unseen": [],
            });
            let report = serde_json::from_value(report).unwrap();
            let mut printed = tempfile::tempfile().unwrap();
            let mut io = Io {
                input: &mut io::empty(),
                out: &mut Stream::new(printed.try_clone().unwrap(), false),
                err: &mut Stream::new(io::sink(), false),
                out_terminal: false,
                err_terminal: false,
            };
            let exit = recording_works(Backend::Kprobe, &report, &mut io).unwrap();
            io.out.flush().unwrap();
            let mut text = String::new();
            printed.rewind().unwrap();
            printed.read_to_string(&mut text).unwrap();
            (exit, text.split_whitespace().nth(1).unwrap().to_owned())
        };
        assert_eq!(says(json!([need]), json!([])), (Exit::SUCCESS, "yes:".to_owned()));
        assert_eq!(says(json!([]), json!([])), (OWN_FAILURE, "no:".to_owned()));
        assert_eq!(says(json!([need]), json!(["a gap"])), (OWN_FAILURE, "no:".to_owned()));
    }

    #[test]
    fn durations() {
        let ok = |milliseconds| Ok(Duration::from_millis(milliseconds));
        assert_eq!(duration("90"), ok(90_000));
        assert_eq!(duration("90s"), ok(90_000));
        assert_eq!(duration("5m"), ok(300_000));
        assert_eq!(duration("2h"), ok(7_200_000));
        assert_eq!(duration("250ms"), ok(250));
        for text in ["", "s", "-1s", "1.5s", "5d", "99999999999999999999", "18446744073709551615h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

//! `rcap trace`: records the capabilities that a program asks the kernel for.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::{Command as Program, ExitStatus, Stdio},
};

use nix::unistd::getegid;
use serde_json::json;

use super::{
    Exit, Io, Stream,
    args::TraceRequest,
    delegated::{self, Measure},
    failure::Failure,
    new_file::Pending,
    report::parse,
    service, settings,
};
use rcap::{
    Error,
    container::{Delegation, Engine},
    launch::Launcher,
    tools::{Escaped, Mistake, signals, table::fit},
    trace::{
        Backend, Options, Recording, Seen, Target, TraceError, Tracer,
        report::{Merged, Report},
        run::Run,
    },
};

mod follow;
mod print;
mod refused;
mod stacks;
mod unit;

pub(super) use print::print_merged;

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &TraceRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    if request.check {
        return check(io);
    }
    let is_restarted = request.restart && request.unit.is_empty();
    let restarting = if is_restarted { Some(restarting(request)?) } else { None };
    let request = restarting.as_ref().unwrap_or(request);
    if !service::starts(&request.program) {
        delegated::check(&request.program, Measure::Trace)?;
    }
    let Ended { report, status, again } = record(request, io)?;
    if request.json {
        writeln!(io.out, "{}", json!(report))?;
    } else if request.starting.is_none() {
        if request.refusals {
            print::print_refusals(&report, io.err)?;
        } else {
            print::print(&report, request.all, io.err)?;
        }
        settings::write("rcap trace", request.settings.to, report.candidates, None, io)?;
    }
    again?;
    Ok(status.map_or(Exit::SUCCESS, exit))
}

/// A recording that has ended.
struct Ended {
    report: Report,
    /// The status of the program.
    status: Option<ExitStatus>,
    /// Whether a unit that was restarted is running again.
    again: Result<(), Failure>,
}

#[cfg(feature = "stacks")]
#[expect(clippy::unnecessary_wraps, reason = "the interface without the feature")]
fn options(request: &TraceRequest) -> Result<Options, Mistake> {
    let mut options = request.recording.options(!request.no_outcomes);
    options.stacks = request.stacks;
    Ok(options)
}

#[cfg(not(feature = "stacks"))]
fn options(request: &TraceRequest) -> Result<Options, Mistake> {
    if request.stacks {
        return Err(Mistake::new("--stacks: rcap was built without the feature stacks"));
    }
    Ok(request.recording.options(!request.no_outcomes))
}

/// Records a program from its first instruction, or running processes.
fn record(request: &TraceRequest, io: &mut Io<'_>) -> Result<Ended, Failure> {
    let options = options(request)?;
    // This precedes the program, so that an unwritable file is reported first.
    let save = request.save.as_deref().map(Pending::new).transpose()?;
    let restarted = unit::restarted(request, io)?;
    signals::catch()?;
    // Standard output has only the settings or the JSON document.
    let is_alone = request.json || request.settings.to.is_some() && !io.out_terminal;
    let mut failed = Ok(());
    let Io { out, err, .. } = io;
    let mut follow = |seen: &Seen| {
        let line = if request.json {
            writeln!(out, "{}", print::seen_json(seen)).and_then(|()| out.flush())
        } else if request.all || print::counts(seen.meaning) {
            print::seen(seen, err)
        } else {
            Ok(())
        };
        failed = std::mem::replace(&mut failed, Ok(())).and(line);
    };
    let mut ignore = |_: &Seen| ();
    let each: &mut dyn FnMut(&Seen) = if request.follow { &mut follow } else { &mut ignore };
    let mut again = Ok(());
    let (recording, status, words) = if let Some(unit) = restarted {
        let recording;
        (recording, again) = unit::record(request, &unit, &options, each)?;
        let words = unit.measured();
        (recording, None, words.iter().map(|word| word.to_string_lossy().into_owned()).collect())
    } else if request.program.is_empty() {
        let (recording, names) = running(request, &options, each)?;
        (recording, None, names)
    } else {
        let (recording, status) = program(request, options, is_alone, each)?;
        let words = request.program.iter().map(|word| word.to_string_lossy().into_owned());
        (recording, status, words.collect())
    };
    let mut report = recording.report(words, status.map(Into::into));
    if !request.container.is_empty() {
        report.unseen.push(START.to_owned());
    }
    if let Some(save) = save {
        save.write(request.add, |former| match former {
            Some(text) => {
                let former = parse(&text).map_err(io::Error::other)?;
                Ok(format!("{}\n", json!(Merged::of([former, report.clone().into()]))))
            }
            None => Ok(format!("{}\n", json!(report))),
        })?;
    }
    failed?;
    Ok(Ended { report, status, again })
}

/// Records the program of the request, or the containers that it asks an engine for. With
/// `is_alone`, the program's standard output goes to standard error.
fn program(
    request: &TraceRequest,
    mut options: Options,
    is_alone: bool,
    each: &mut dyn FnMut(&Seen),
) -> rcap::Result<(Recording, Option<ExitStatus>)> {
    let mut command = super::program(&request.program[0]);
    command.args(&request.program[1..]);
    if is_alone {
        command.stdout(Stdio::from(io::stderr()));
    }
    if let Some(asked) = delegated::recorded(&request.program) {
        tell_client(&asked);
        let daemons = Engine::new(&asked.before).daemons()?;
        let stays = asked.is_detached();
        return follow::client(&daemons, command, stays, &options, request.duration, each);
    }
    options.contained = delegated::is_client(&request.program);
    let mut tracer = Tracer::new(&options)?;
    follow::program(&mut tracer, command, request.duration, each)
}

/// Records the running processes of the request, and returns their names.
fn running(
    request: &TraceRequest,
    options: &Options,
    each: &mut dyn FnMut(&Seen),
) -> Result<(Recording, Vec<String>), Failure> {
    let (targets, names) = targets(request)?;
    let announce: fn(usize) = if request.starting.is_some() { tell_hook } else { tell_people };
    let mut recording = follow::running(&targets, options, request.duration, announce, each)?;
    if !request.unit.is_empty() {
        let words = "the start of the unit, which --restart records";
        recording.unseen.push(words.to_owned());
    }
    Ok((recording, names))
}

/// The entry of a report about containers that were already running.
const START: &str = "the start of the container, in which servers use most of their capabilities \
                     (--restart restarts the container and records its start)";

/// Returns the request to record a container that its engine restarts.
fn restarting(request: &TraceRequest) -> Result<TraceRequest, Failure> {
    let [name] = &*request.container else {
        return Err(Mistake::new("--restart takes one container or unit").into());
    };
    let client = id_in_engine(name).map(|(client, _)| client);
    let client = client.ok_or_else(|| {
        Failure::subject(name, "is not a container of docker or podman, which could restart it")
    })?;
    let words = [client, "restart", "--", name].map(OsString::from);
    Ok(TraceRequest { container: Vec::new(), program: words.into(), ..request.clone() })
}

/// Returns the client that knows a container by this name, and the ID of the container.
fn id_in_engine(name: &str) -> Option<(&'static str, String)> {
    ["docker", "podman"].into_iter().find_map(|client| {
        let output = super::helper(client)
            .args(["inspect", "--type=container", "--format={{.Id}}", "--", name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        let id = String::from_utf8(output.stdout).ok()?;
        Some((client, id.trim().to_owned()))
    })
}

/// Prints that the recording has started. A closed standard error is not an error.
fn tell_people(count: usize) {
    let _ = writeln!(Stream::stderr(), "Recording {count} processes.");
}

/// Prints that the container is recorded. A closed standard error is not an error.
fn tell_client(asked: &Delegation) {
    let name = Escaped(asked.name.as_bytes());
    let end = if asked.is_detached() { " Ctrl-C ends the recording." } else { "" };
    let words = format!("Recording the container of `{name}`, not the client.{end}");
    let _ = fit(&words, &mut Stream::stderr());
}

/// Writes the byte that `rcap oci-hook` waits for.
fn tell_hook(_: usize) {
    let mut out = io::stdout();
    let _ = out.write_all(b"\n").and_then(|()| out.flush());
}

/// Returns the targets, and their names.
fn targets(request: &TraceRequest) -> rcap::Result<(Vec<Target>, Vec<String>)> {
    let mut targets = Vec::new();
    for pid in &request.pid {
        targets.push(match &request.starting {
            Some(id) => (Target::NewContainer(*pid), format!("--container={id}")),
            None => (Target::Process(*pid), format!("--pid={pid}")),
        });
    }
    for path in &request.cgroup {
        targets.push((Target::Cgroup(path.clone()), format!("--cgroup={}", path.display())));
    }
    for name in &request.unit {
        targets.push((Target::unit(name)?, format!("--unit={name}")));
    }
    for id in &request.container {
        targets.push((container(id)?.with_shim(), format!("--container={id}")));
    }
    Ok(targets.into_iter().unzip())
}

/// Returns a container by its ID, or by a name that only its engine knows.
pub(super) fn container(name: &str) -> rcap::Result<Target> {
    Target::container(name).or_else(|err| {
        let target = container_id(name).and_then(|id| Target::container(&id).ok());
        target.ok_or(err)
    })
}

/// Returns the ID of the container that has a name, as its engine says.
pub(super) fn container_id(name: &str) -> Option<String> {
    id_in_engine(name).map(|(_, id)| id)
}

/// Returns the exit status that a shell would have.
pub(super) fn exit(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(Exit::OWN_FAILURE, Exit)
}

/// `--check`: prints the supported backends, and the reason if recording does not work.
fn check(io: &mut Io<'_>) -> Result<Exit, Failure> {
    for backend in Backend::ALL {
        let state = match backend.check() {
            Ok(()) => "yes".to_owned(),
            Err(Error::Trace(TraceError::NoBackend)) => "no: this kernel lacks it".to_owned(),
            Err(err) => format!("no: {}", super::chain(&err)),
        };
        fit(&format!("{:<24}{state}", format!("backend {backend}")), io.out)?;
    }
    let backend = Backend::best()?;
    let mut command = Program::new("/proc/self/exe");
    command.arg("--version").stdout(Stdio::null());
    // Changing its groups causes a check that every backend records.
    let launcher = Launcher::new().groups(getegid().as_raw(), &[]);
    let mut options = Options::default();
    options.backend = Some(backend);
    let ended = Run::new(command, &launcher, &mut || false).record(&mut Tracer::new(&options)?)?;
    Ok(recording_works(backend, &ended.recording.report(Vec::new(), None), io)?)
}

/// Prints whether a program was recorded correctly.
fn recording_works(backend: Backend, report: &Report, io: &mut Io<'_>) -> io::Result<Exit> {
    let checks = report.checks.iter().map(|need| need.count).fold(0, u64::saturating_add);
    let gap = report.gaps.first().map(String::as_str);
    let gap = gap.or((checks == 0).then_some("no check was recorded"));
    if let Some(gap) = gap {
        fit(&format!("{:<24}no: by the {backend} backend, {gap}", "recording"), io.out)?;
        return Ok(Exit::OWN_FAILURE);
    }
    let noun = if checks == 1 { "check" } else { "checks" };
    fit(&format!("{:<24}yes: {checks} {noun}, by the {backend} backend", "recording"), io.out)?;
    for words in &report.unseen {
        fit(&format!("{:<24}{words}", "not seen"), io.out)?;
    }
    Ok(Exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::Stream;

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
                unwritten: Exit::FAILURE,
            };
            let exit = recording_works(Backend::Kprobe, &report, &mut io).unwrap();
            io.out.flush().unwrap();
            let mut text = String::new();
            printed.rewind().unwrap();
            printed.read_to_string(&mut text).unwrap();
            (exit, text.split_whitespace().nth(1).unwrap().to_owned())
        };
        assert_eq!(says(json!([need]), json!([])), (Exit::SUCCESS, "yes:".to_owned()));
        assert_eq!(says(json!([]), json!([])), (Exit::OWN_FAILURE, "no:".to_owned()));
        assert_eq!(says(json!([need]), json!(["a gap"])), (Exit::OWN_FAILURE, "no:".to_owned()));
    }
}

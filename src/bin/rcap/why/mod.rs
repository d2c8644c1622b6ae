//! `rcap why`: explains the capabilities that a program gets when it is executed.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};

use super::{Exit, Io, args::WhyRequest, failure::Failure, find_program, source};
use rcap::{
    CapSet, Error, Op, Subject, bounding,
    exec::{
        self, Credentials, FileFacts, Kernel, Outcome, Program, ProgramFile,
        origin::{self, Held, Lacking},
    },
    identity::{self, Identity},
    launch::Launcher,
    no_new_privs,
    proc::{Proc, Status},
    securebits::{self, Securebits},
    settings::{Context, Engine, Settings, User},
    tools::table::fit,
    trace::Target,
};

mod advice;
mod drift;
mod print;

use advice::Place;
use drift::Drift;

/// The process that executes the program.
struct Starter {
    process: Credentials,
    /// The description of the process.
    words: String,
    /// The root directory for paths: that of a process, or of rcap itself.
    root: PathBuf,
    /// The settings of the process.
    settings: Option<Settings>,
    /// The argument that names the settings.
    argument: String,
    /// The place where the settings are changed, unless `settings` say so.
    place: Place,
    /// The assumptions about the process.
    assumed: Vec<String>,
}

/// The result of executing the program.
struct Verdict {
    program: Program,
    /// The reason for which execve(2) fails: the errno and a text.
    refused: Option<(Errno, String)>,
    outcome: Option<Outcome>,
}

impl Starter {
    fn new(process: Credentials, words: String) -> Starter {
        Starter {
            process,
            words,
            root: PathBuf::new(),
            settings: None,
            argument: String::new(),
            place: Place::Here,
            assumed: Vec::new(),
        }
    }
}

/// The origin of the sets of a running process.
struct Origin {
    /// The file that it executes.
    program: Option<PathBuf>,
    held: Vec<(CapSet, Held)>,
    lacking: Vec<(CapSet, Lacking)>,
    /// The result of executing an ordinary program.
    children: Option<Outcome>,
    /// The settings of the unit or container.
    drift: Option<Drift>,
}

impl Origin {
    fn of(pid: u32, process: &Credentials, request: &WhyRequest) -> Origin {
        let path = PathBuf::from(format!("/proc/{pid}/exe"));
        let file = Program::open(&path).ok().map(|program| program.executed().file);
        Origin {
            program: std::fs::read_link(&path).ok(),
            held: origin::held(process, file.as_ref()),
            lacking: origin::lacking(process, CapSet::supported()),
            drift: Drift::of(request, process, file.as_ref()),
            children: exec::execute(process, &FileFacts::default(), Kernel::running()).ok(),
        }
    }
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &WhyRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let process = process(request)?;
    let starter = starter(request, process, io.input)?;
    let command = starter.settings.as_ref().and_then(|settings| settings.command.first());
    let program = request.program.clone().or_else(|| command.map(OsString::from));
    if let (None, Some(from)) = (&program, &request.from) {
        return Err(Failure::subject(from, "names no program: add PROGRAM"));
    }
    if let Some(program) = &program {
        let verdict = verdict(&starter, program)?;
        if request.json {
            writeln!(io.out, "{}", print::json(&starter, &verdict))?;
        } else {
            let mut text = Vec::new();
            print::words(&starter, &verdict, &mut text)?;
            fit(&String::from_utf8_lossy(&text), io.out)?;
        }
        return Ok(if verdict.refused.is_some() { Exit::NO } else { Exit::SUCCESS });
    }
    let pid = process.map(|(pid, _)| pid).unwrap_or_default();
    let origin = Origin::of(pid, &starter.process, request);
    if request.json {
        writeln!(io.out, "{}", print::origin_json(pid, &starter, &origin))?;
    } else {
        let mut text = Vec::new();
        print::origin(&starter, &origin, &mut text)?;
        fit(&String::from_utf8_lossy(&text), io.out)?;
    }
    Ok(Exit::SUCCESS)
}

/// Returns the process that the request names, by its number, its unit or its container.
fn process(request: &WhyRequest) -> Result<Option<(u32, Place)>, Failure> {
    let (target, place) = match (&request.unit, &request.container) {
        (Some(unit), _) => (Target::unit(unit)?, Place::Unit),
        (None, Some(container)) => {
            let target = super::trace::container(container)?;
            let place = Place::of_container(&target);
            (target, place)
        }
        (None, None) => return Ok(request.pid.map(|pid| (pid, Place::Process))),
    };
    // The first process is the one whose parent is not in the group.
    let members = target.processes()?;
    let proc = Proc::of_namespace()?;
    let is_first =
        |pid: &&u32| proc.status(**pid).is_ok_and(|status| !members.contains(&status.ppid));
    let first = members.iter().find(is_first).or(members.first()).copied();
    let name = request.unit.as_deref().or(request.container.as_deref()).unwrap_or_default();
    let first = first.ok_or_else(|| Failure::subject(name, "no process runs in it"))?;
    Ok(Some((first, place)))
}

fn starter(
    request: &WhyRequest,
    process: Option<(u32, Place)>,
    stdin: &mut dyn io::Read,
) -> Result<Starter, Failure> {
    match (process, &request.from, &request.user) {
        (Some((pid, place)), ..) => of_process(pid, place),
        (None, Some(argument), _) => of_settings(argument, request, stdin),
        (None, None, Some(user)) => of_login(user),
        (None, None, None) => {
            let process = Credentials::current()?;
            let words = format!("{}, from here", user_words(process.uid.effective));
            Ok(Starter::new(process, words))
        }
    }
}

fn of_process(pid: u32, place: Place) -> Result<Starter, Failure> {
    let proc = Proc::of_namespace()?;
    let status = proc.status(pid)?;
    let mut assumed =
        vec!["its securebits, which the kernel tells nobody else, are taken for none".to_owned()];
    assumed.extend(namespace_words(&proc, pid));
    assumed.extend(tracing_words(pid, &status));
    let name = super::Escaped(status.name.as_bytes()).to_string();
    let process = Credentials::of(&status, Securebits::empty());
    let words = format!("process {pid} ({name}) of {}", user_words(status.uid.effective));
    Ok(Starter {
        root: format!("/proc/{pid}/root").into(),
        place,
        assumed,
        ..Starter::new(process, words)
    })
}

fn of_settings(
    argument: &str,
    request: &WhyRequest,
    stdin: &mut dyn io::Read,
) -> Result<Starter, Failure> {
    let mut context = Context::default();
    context.engines = &request.engine;
    let mut settings = source::one(argument, &context, stdin)?;
    if let Some(user) = &request.user {
        settings = settings.for_user(user.clone());
    }
    let mut assumed: Vec<String> = settings
        .notes
        .iter()
        .map(|note| super::Escaped(note.text.as_bytes()).to_string())
        .collect();
    let is_of_image = settings.engine.as_ref().is_some_and(Engine::has_images);
    if is_of_image {
        assumed.push("the program is this system's, and not one of an image".to_owned());
    }
    let nobody = || Identity { uid: 65534, gid: 65534, groups: Vec::new() };
    let root = || Identity { uid: 0, gid: 0, groups: Vec::new() };
    let is_root = settings.user.is_root() != Some(false);
    let identity = settings.identity()?;
    let identity = identity.unwrap_or_else(|| if is_root { root() } else { nobody() });
    let argument = super::Escaped(argument.as_bytes()).to_string();
    let process = settings.credentials(&identity);
    // This system's names say nothing about the users of an image.
    let user = match identity.uid {
        uid @ 1.. if is_of_image => format!("user {uid}"),
        uid => user_words(uid),
    };
    let words = format!("{user} with the settings of {argument}");
    Ok(Starter { settings: Some(settings), argument, assumed, ..Starter::new(process, words) })
}

/// Returns what a user has after a login.
fn of_login(user: &User) -> Result<Starter, Failure> {
    let identity = user.look_up()?;
    let bounding = bounding::current()?;
    let mut process = Credentials::of_user(identity.uid, identity.gid);
    if identity.uid == 0 {
        process.caps.permitted = bounding;
        process.caps.effective = bounding;
    }
    process.bounding = bounding;
    process.groups = identity.groups;
    process.securebits = securebits::current()?;
    process.no_new_privs = no_new_privs::is_set()?;
    let words = format!("{}, after a login", user_words(identity.uid));
    Ok(Starter::new(process, words))
}

/// Returns a note about the user namespace of a process, if it differs from this one's.
fn namespace_words(proc: &Proc, pid: u32) -> Option<String> {
    let own = proc.user_namespace(std::process::id()).ok();
    match proc.user_namespace(pid) {
        Ok(namespace) if Some(namespace) == own => None,
        Ok(_) => Some(
            "it is in another user namespace: ids and root ids are judged as in this one"
                .to_owned(),
        ),
        Err(_) => Some(
            "its user namespace is unknown, as it may not be read: ids are judged as in this one"
                .to_owned(),
        ),
    }
}

/// Returns notes about processes that can inspect a process.
fn tracing_words(pid: u32, status: &Status) -> Vec<String> {
    let mut words = Vec::new();
    // The files of a process that is not dumpable belong to root. (proc(5))
    let owner = std::fs::metadata(format!("/proc/{pid}/stat")).map(|file| file.uid());
    if status.uid.effective != 0 && owner.is_ok_and(|uid| uid != status.uid.effective) {
        words.push(
            "it is not dumpable, as it gained capabilities or changed its user: gdb, strace and \
             core dumps fail for others than root, and /proc/PID belongs to root; ambient \
             capabilities (rcap run, AmbientCapabilities= of systemd) keep it dumpable"
                .to_owned(),
        );
    }
    words.extend(status.tracer.map(|tracer| {
        format!(
            "process {tracer} traces it: unless the tracer has cap_sys_ptrace, a program that it \
             executes gains nothing from a file's capabilities or set-ID bits"
        )
    }));
    words
}

fn user_words(uid: u32) -> String {
    identity::user_name(uid)
        .map_or_else(|| format!("user {uid}"), |name| super::Escaped(name.as_bytes()).to_string())
}

fn verdict(starter: &Starter, program: &OsString) -> Result<Verdict, Failure> {
    let path = if program.as_bytes().contains(&b'/') {
        PathBuf::from(program)
    } else {
        let not_found = || Failure::subject(program.display(), "not found in PATH");
        find_program(program).ok_or_else(not_found)?
    };
    let process = &starter.process;
    let path = match (path.is_relative(), starter.root.parent()) {
        // The path is relative to the process's working directory.
        (true, Some(process)) => std::fs::read_link(process.join("cwd"))
            .map_or_else(|_| path.clone(), |dir| dir.join(&path)),
        _ => path,
    };
    let program = Program::below(&starter.root, &path).map_err(|err| match &err {
        Error::Os { op: Op::Execute, subject: Subject::Path(missing), source, .. }
            if *missing != path && source.raw_os_error() == Some(libc::ENOENT) =>
        {
            let missing = super::Escaped(missing.as_os_str().as_bytes());
            let words = format!("its interpreter {missing} does not exist");
            Failure::subject(super::Escaped(path.as_os_str().as_bytes()), words)
        }
        _ => err.into(),
    })?;
    if let Some(refused) = program.chain.iter().find_map(|link| denied(starter, link)) {
        return Ok(Verdict { program, refused: Some(refused), outcome: None });
    }
    Ok(match exec::execute(process, &program.executed().file, Kernel::running()) {
        Ok(outcome) => Verdict { program, refused: None, outcome: Some(outcome) },
        Err(err) => {
            let refused = Some((Errno::from_raw(err.raw_os_error()), err.to_string()));
            Verdict { program, refused, outcome: None }
        }
    })
}

/// Returns the reason for which the process may not execute the file at all. A child with the
/// process's credentials, as far as possible, asks the kernel.
fn denied(starter: &Starter, link: &ProgramFile) -> Option<(Errno, String)> {
    let path = if starter.root.as_os_str().is_empty() {
        link.path.clone()
    } else {
        starter.root.join(link.path.strip_prefix("/").unwrap_or(&link.path))
    };
    let shown = super::Escaped(link.path.as_os_str().as_bytes()).to_string();
    if link.is_noexec {
        return Some((Errno::EACCES, format!("{shown} is on a mount with the option noexec")));
    }
    let Some(errno) = access(&starter.process, &path) else {
        let words = format!("{shown} is neither a program nor a script: it has no line #!");
        return (!link.has_format).then_some((Errno::ENOEXEC, words));
    };
    let is_for_nobody = link.mode & 0o111 == 0;
    let closed = || closed_directory(&starter.process, &path);
    let closed = (errno == Errno::EACCES && !is_for_nobody).then(closed).flatten();
    let words = match (errno, closed) {
        (Errno::EACCES, _) if is_for_nobody => {
            format!("no user may execute {shown}: its mode is {:04o} (chmod +x)", link.mode)
        }
        (_, Some(closed)) => {
            let closed = super::Escaped(closed.as_os_str().as_bytes());
            format!("this user may not search {closed}, which leads to {shown}")
        }
        (Errno::EACCES, None) => format!(
            "this user may not execute {shown}, by its mode {:04o} or an access control list",
            link.mode
        ),
        (errno, None) => format!("{shown}: {}", errno.desc()),
    };
    Some((errno, words))
}

/// Returns the first directory on the way to a file that a process may not search.
fn closed_directory(process: &Credentials, path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    above.into_iter().find(|directory| access(process, directory).is_some()).map(Path::to_owned)
}

/// Returns the kernel's answer for a process.
fn access(process: &Credentials, path: &Path) -> Option<Errno> {
    let ask = || faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS).err();
    let is_this_one = Credentials::current().is_ok_and(|current| {
        (current.uid, current.gid, current.caps.effective)
            == (process.uid, process.gid, process.caps.effective)
    });
    if is_this_one {
        return ask();
    }
    let mut caps = process.caps;
    caps.inheritable = CapSet::empty();
    let child = Launcher::new()
        .groups(process.gid.effective, &process.groups)
        .uid(process.uid.effective)
        .caps(caps)
        .call(|| ask().and_then(|errno| u8::try_from(errno as i32).ok()).unwrap_or(0));
    // If the kernel cannot be asked, the rules are still useful.
    let status = child.ok()?.wait().ok()?;
    status.code().filter(|code| *code != 0).map(Errno::from_raw)
}

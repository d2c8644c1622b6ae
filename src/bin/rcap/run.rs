//! `rcap run`: a program with exactly the privileges that are named.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::Command as Program,
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{
    Exit, Io, Place, parse_caps,
    trace::{exit, program_arg},
};
use rcap::{
    Cap, CapSet, CapState, Error, Iab, Op, Subject, bounding, file,
    identity::{Identity, user_name},
    launch::Launcher,
    proc::{Proc, Status},
    securebits::Securebits,
    settings::{Id, Profile, User, combine},
};

/// What this program itself ends with where the other has not been executed.
const OWN_FAILURE: Exit = Exit(125);
const CANNOT_EXECUTE: Exit = Exit(126);
const NOT_FOUND: Exit = Exit(127);

pub(crate) fn command() -> Command {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    let value = |id: &'static str, name: &'static str| Arg::new(id).long(id).value_name(name);
    let caps =
        |id: &'static str| value(id, "CAPS").value_parser(parse_caps).action(ArgAction::Append);
    Command::new("run")
        .about("Run a program with exactly the capabilities that are named")
        .override_usage("rcap run [OPTION]... [--] PROGRAM [ARG]...")
        .args([
            caps("cap-drop").help("Take capabilities away, or all"),
            caps("cap-add").help("Give capabilities, or all"),
            caps("cap-set")
                .conflicts_with_all(["cap-drop", "cap-add", "profile"])
                .help("Give exactly these"),
            value("profile", "PROFILE")
                .value_parser(|name: &str| {
                    let names = Profile::ALL.map(Profile::name).join(", ");
                    let wrong = || format!("it is one of {names}, or none");
                    let profile = Profile::from_name(name).map(Some);
                    profile.or((name == "none").then_some(None)).map(Chosen).ok_or_else(wrong)
                })
                .help("Begin with what Docker, Podman or Kubernetes leave"),
            value("user", "USER").help("Run it as a user, by name or number; USER:GROUP too"),
            value("group", "GROUP").help("With this group, by name or number"),
            value("groups", "LIST").help("With these supplementary groups; none if it is empty"),
            flag("no-new-privs").help("Set no-new-privs in any case"),
            flag("allow-new-privs")
                .conflicts_with("no-new-privs")
                .help("Do not set it: set-uid bits and capabilities of files work"),
            value("securebits", "LIST")
                .value_parser(|text: &str| text.parse::<Securebits>())
                .help("Set securebits, by name"),
            value("chroot", "PATH")
                .value_parser(value_parser!(PathBuf))
                .help("Change the root directory"),
            value("chdir", "PATH")
                .value_parser(value_parser!(PathBuf))
                .help("Change the working directory"),
            value("env", "VARIABLE")
                .action(ArgAction::Append)
                .help("Set a variable of the environment: NAME=VALUE"),
            flag("print").help("Print what the program would have, and do not run it"),
            flag("verify").help("Read back what it has from the kernel, and end it if it differs"),
            program_arg().required(true),
        ])
        .after_help(
            "The program takes the place of this one. Without --profile, it begins with all that \
             there is\nto give, and another user than root with nothing.\n\n\
             Example: rcap run --user nobody --cap-add net_bind_service -- nc -l -p 80",
        )
}

/// A profile, or none.
#[derive(Clone, Copy, Debug)]
struct Chosen(Option<Profile>);

/// Why a request cannot be met.
#[derive(Debug)]
pub(super) enum Unmet {
    Os(Error),
    /// In words, for people.
    Words(String),
}

impl From<Error> for Unmet {
    fn from(err: Error) -> Unmet {
        Unmet::Os(err)
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmet::Os(err) => f.write_str(&super::chain(err)),
            Unmet::Words(words) => f.write_str(words),
        }
    }
}

/// What the program is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    /// What it can have at most, and as root has.
    bounding: CapSet,
    /// What it has as another user.
    ambient: CapSet,
    uid: Option<u32>,
    groups: Option<(u32, Vec<u32>)>,
    no_new_privs: bool,
}

/// # Errors
///
/// Writing to the standard streams.
pub(crate) fn run(argv: &[OsString], io: &mut Io<'_>) -> io::Result<Exit> {
    let matches = match command().try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(err) => return io.usage(&err, OWN_FAILURE),
    };
    match start(&matches, io) {
        Ok(exit) => Ok(exit),
        Err(unmet) => {
            let mut words = unmet.to_string();
            if let Unmet::Os(err @ Error::Os { op: Op::Execute, .. }) = &unmet
                && err.raw_os_error() == Some(libc::EPERM)
                && let Some(program) = matches.get_one::<OsString>("PROGRAM")
                && let Some(caps) = place(&matches).file_caps(program)
            {
                // Which the kernel gives whole or not at all.
                words = format!("{words}, as its file has {caps}");
            }
            io.complain_in_words("rcap run", &words)?;
            Ok(match unmet {
                Unmet::Os(err @ Error::Os { op: Op::Execute, .. }) => {
                    let found = err.raw_os_error() != Some(libc::ENOENT);
                    if found { CANNOT_EXECUTE } else { NOT_FOUND }
                }
                _ => OWN_FAILURE,
            })
        }
    }
}

fn start(matches: &ArgMatches, io: &mut Io<'_>) -> Result<Exit, Unmet> {
    let words: Vec<&OsString> = matches.get_many("PROGRAM").into_iter().flatten().collect();
    let Some((program, args)) = words.split_first() else { return Ok(OWN_FAILURE) };
    let state = CapState::current()?;
    let plan = plan(matches, program, state.permitted, io)?;
    let mut launcher = Launcher::new().iab(Iab::new(plan.ambient, plan.ambient, CapSet::empty()));
    if state.permitted.contains(Cap::SETPCAP) {
        launcher = launcher.bounding(plan.bounding);
    }
    if let Some((gid, groups)) = &plan.groups {
        launcher = launcher.groups(*gid, groups);
    }
    if let Some(uid) = plan.uid {
        launcher = launcher.uid(uid);
    }
    if let Some(&bits) = matches.get_one::<Securebits>("securebits") {
        launcher = launcher.securebits(bits);
    }
    if let Some(path) = matches.get_one::<PathBuf>("chroot").filter(|_| !matches.get_flag("print"))
    {
        launcher = launcher.root(path);
    }
    if plan.no_new_privs {
        launcher = launcher.no_new_privs();
    }
    if matches.get_flag("print") {
        return print(&launcher, io);
    }
    let mut command = super::program(program);
    command.args(args);
    if let Some(path) = matches.get_one::<PathBuf>("chdir") {
        command.current_dir(path);
    }
    for pair in matches.get_many::<String>("env").into_iter().flatten() {
        let (name, value) = pair
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Unmet::Words(format!("--env takes NAME=VALUE, and not {pair}")))?;
        command.env(name, value);
    }
    if matches.get_flag("verify") {
        return verify(&launcher, command, io);
    }
    Err(launcher.exec(command).into())
}

/// What comes of the options, for a process that is permitted `permitted`.
fn plan(
    matches: &ArgMatches,
    program: &OsStr,
    permitted: CapSet,
    io: &mut Io<'_>,
) -> Result<Plan, Unmet> {
    let words = |words: String| Err(Unmet::Words(words));
    let identity = identity(matches)?;
    let uid = identity.as_ref().map(|identity| identity.uid);
    let root = uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw()) == 0;
    let bounding = bounding::current()?;
    let set = |id: &str| {
        let sets = matches.get_many::<CapSet>(id).into_iter().flatten();
        sets.fold(CapSet::empty(), |all, set| all | *set)
    };
    let profile = matches.get_one::<Chosen>("profile").and_then(|chosen| chosen.0);
    let exactly = matches.contains_id("cap-set").then(|| set("cap-set"));
    let (drop, add) = (set("cap-drop"), exactly.unwrap_or(set("cap-add")));
    let all = CapSet::supported();
    let given = profile.map_or(bounding, |profile| profile.given() & bounding);
    let wanted = exactly.unwrap_or_else(|| combine(given, drop, add, all));
    if let Some(profile) = profile {
        let denied = if add.is_superset(all) { all } else { add } - profile.addable();
        if !denied.is_empty() {
            return words(format!("{} does not allow {denied} to be added", profile.name()));
        }
        if profile.is_restricted() && (root || matches.get_flag("allow-new-privs")) {
            return words(format!(
                "{} wants another user than root, and no-new-privs (--user)",
                profile.name()
            ));
        }
    }
    // What another user has is what was asked for by name.
    let ambient = if root { CapSet::empty() } else { wanted & (add | exactly.unwrap_or(add)) };
    let (has, what) = if root { (bounding, "the bounding set") } else { (permitted, "permitted") };
    let needed = if root { wanted } else { ambient };
    if !(needed - has).is_empty() {
        return words(format!("{} cannot be given: not in {what} here", needed - has));
    }
    let groups = identity.map(|identity| (identity.gid, identity.groups));
    let groups = groups
        .filter(|_| uid.is_some() || matches.contains_id("group") || matches.contains_id("groups"));
    let uid = uid.filter(|_| matches.contains_id("user"));
    let no_new_privs = no_new_privs(matches, program, io);
    Ok(Plan { bounding: wanted, ambient, uid, groups, no_new_privs })
}

/// Where the program will be looked for.
fn place(matches: &ArgMatches) -> Place<'_> {
    let path = |id| matches.get_one::<PathBuf>(id).map(PathBuf::as_path);
    let mut place = Place { root: path("chroot"), directory: path("chdir"), ..Place::default() };
    let mut variables = matches.get_many::<String>("env").into_iter().flatten().rev();
    if let Some(path) = variables.find_map(|pair| pair.strip_prefix("PATH=")) {
        place.path = path.into();
    }
    place
}

/// Whether to set no-new-privs: unless it would take from the program what its file gives it.
fn no_new_privs(matches: &ArgMatches, program: &OsStr, io: &mut Io<'_>) -> bool {
    if matches.get_flag("no-new-privs") || matches.get_flag("allow-new-privs") {
        return matches.get_flag("no-new-privs");
    }
    let Some((path, program)) = place(matches).find(program) else { return true };
    let set_id = program.metadata().is_ok_and(|file| file.mode() & 0o6000 != 0);
    let caps = file::read_fd(&program).ok().flatten();
    if !set_id && caps.is_none() {
        return true;
    }
    let why = if set_id { "is set-user-ID or set-group-ID" } else { "has capabilities" };
    let words = format!("no-new-privs is not set, as {} {why} (--no-new-privs)", path.display());
    let _ = io.complain_in_words("rcap run", &words);
    false
}

/// The user and the groups that are asked for; `None`: those that there are.
fn identity(matches: &ArgMatches) -> Result<Option<Identity>, Unmet> {
    let text = |id| matches.get_one::<String>(id).map(String::as_str);
    let [user, group, groups] = ["user", "group", "groups"].map(text);
    if user.is_none() && group.is_none() && groups.is_none() {
        return Ok(None);
    }
    let mut identity = match user {
        None => Identity {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            groups: nix::unistd::getgroups()
                .map_err(|err| Op::ReadIdentity.thread(err))?
                .into_iter()
                .map(nix::unistd::Gid::as_raw)
                .collect(),
        },
        Some(user) if group.is_none() && has_no_group(user) => {
            return Err(Unmet::Words(format!(
                "{user}: not in the user database: add --group, or --user {user}:GROUP"
            )));
        }
        Some(user) => look_up(user)?,
    };
    let gid = |name: &str| name.parse::<Id>()?.look_up_group();
    if let Some(group) = group {
        identity.gid = gid(group)?;
    }
    if let Some(groups) = groups {
        let names = groups.split(',').filter(|name| !name.is_empty());
        identity.groups = names.map(gid).collect::<Result<_, _>>()?;
    }
    Ok(Some(identity))
}

/// The ids of a user whom an option names.
pub(super) fn look_up(user: &str) -> rcap::Result<Identity> {
    user.parse::<User>()?.look_up()
}

/// Returns whether this is the number of a user who is not in the user database, without a group.
fn has_no_group(user: &str) -> bool {
    user.parse::<User>().is_ok_and(|user| {
        let unknown = |id: &Id| matches!(id, Id::Number(uid) if user_name(*uid).is_none());
        user.group().is_none() && unknown(user.id())
    })
}

/// `--print`: a program with these privileges, this one, is asked what it has.
fn print(launcher: &Launcher, io: &mut Io<'_>) -> Result<Exit, Unmet> {
    let mut command = Program::new("/proc/self/exe");
    command.args(["capsh", "--print"]);
    command.stdout(std::process::Stdio::piped());
    let output = launcher.spawn(command)?.wait_with_output();
    let output = output.map_err(|err| Op::Wait.thread(err))?;
    let _ = io.out.write_all(&output.stdout);
    Ok(exit(output.status))
}

/// `--verify`: what the kernel says of the program, just after it was executed.
fn verify(launcher: &Launcher, command: Program, io: &mut Io<'_>) -> Result<Exit, Unmet> {
    let proc = Proc::of_namespace()?;
    // What any program has that is executed so.
    let mut probe = Program::new("/proc/self/exe");
    probe.args(["--version"]).stdout(std::process::Stdio::null());
    let mut probe = launcher.spawn(probe)?;
    let want = proc.status(probe.id())?;
    let _ = probe.wait();
    let mut child = launcher.spawn(command)?;
    let has = proc.status(child.id())?;
    let sets =
        |status: &Status| (status.caps, status.bounding, status.ambient, status.no_new_privs);
    if sets(&want) != sets(&has) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Unmet::Words(format!(
            "it was ended: it has {} {}, and not {} {}",
            has.caps,
            has.iab(CapSet::supported()),
            want.caps,
            want.iab(CapSet::supported()),
        )));
    }
    let words = format!("verified: {} [{}]", has.caps, has.iab(CapSet::supported()));
    let _ = io.complain_in_words("rcap run", &words);
    child.wait().map(exit).map_err(|err| Unmet::Os(Op::Wait.on(Subject::Process(child.id()), err)))
}

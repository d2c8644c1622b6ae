//! `rcap run`: runs a program with exactly the given privileges.

use std::{ffi::OsStr, io::Write, os::unix::fs::MetadataExt, process::Command as Program};

use super::{Exit, Io, Place, args::RunRequest, failure::Failure, trace::exit};
use rcap::{
    Cap, CapSet, CapState, Error, Iab, Op, Subject, bounding, file,
    identity::{Identity, user_name},
    launch::Launcher,
    proc::{Proc, Status},
    settings::{Id, User, combine},
};

/// The privileges of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    /// The bounding set, which root gets.
    bounding: CapSet,
    /// The ambient set, which a non-root user gets.
    ambient: CapSet,
    uid: Option<u32>,
    groups: Option<(u32, Vec<u32>)>,
    no_new_privs: bool,
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &RunRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    start(request, io).map_err(|failure| match failure {
        // The kernel grants a file's capabilities either completely or not at all.
        Failure::Library(err @ Error::Os { op: Op::Execute, .. })
            if err.raw_os_error() == Some(libc::EPERM) =>
        {
            let caps = request.program.first().and_then(|one| place(request).file_caps(one));
            match caps {
                Some(caps) => Failure::NotExecuted { source: err, caps },
                None => Failure::Library(err),
            }
        }
        other => other,
    })
}

fn start(request: &RunRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let Some((program, args)) = request.program.split_first() else {
        return Ok(Exit::OWN_FAILURE);
    };
    let state = CapState::current()?;
    let plan = plan(request, program, state.permitted, io)?;
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
    if let Some(bits) = request.securebits {
        launcher = launcher.securebits(bits);
    }
    if let Some(path) = request.chroot.as_ref().filter(|_| !request.print) {
        launcher = launcher.root(path);
    }
    if plan.no_new_privs {
        launcher = launcher.no_new_privs();
    }
    if request.print {
        return print(&launcher, io);
    }
    let mut command = super::program(program);
    command.args(args);
    if let Some(path) = &request.chdir {
        command.current_dir(path);
    }
    command.envs(request.variables.iter().map(|(name, value)| (name, value)));
    if request.verify {
        return verify(&launcher, command, io);
    }
    Err(launcher.exec(command).into())
}

/// Returns the result of the options for a process with these permitted capabilities.
fn plan(
    request: &RunRequest,
    program: &OsStr,
    permitted: CapSet,
    io: &mut Io<'_>,
) -> Result<Plan, Failure> {
    let identity = identity(request)?;
    let uid = identity.as_ref().map(|identity| identity.uid);
    let root = uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw()) == 0;
    let bounding = bounding::current()?;
    let all_of = |sets: &[CapSet]| sets.iter().fold(CapSet::empty(), |all, set| all | *set);
    let profile = request.profile.and_then(|chosen| chosen.0);
    let exactly = (!request.cap_set.is_empty()).then(|| all_of(&request.cap_set));
    let (drop, add) = (all_of(&request.cap_drop), exactly.unwrap_or(all_of(&request.cap_add)));
    let all = CapSet::supported();
    let given = match profile {
        Some(profile) => profile.given() & bounding,
        // The options change a profile. Without one, what is added is all that there is.
        None if add.is_empty() => bounding,
        None => CapSet::empty(),
    };
    let wanted = exactly.unwrap_or_else(|| combine(given, drop, add, all));
    if let Some(profile) = profile {
        let denied = if add.is_superset(all) { all } else { add } - profile.addable();
        if !denied.is_empty() {
            return Err(Failure::NotAddable { profile, caps: denied });
        }
        if profile.is_restricted() && (root || request.allow_new_privs) {
            return Err(Failure::RootUser { profile });
        }
    }
    // A non-root user gets the capabilities that were requested by name.
    let ambient = if root { CapSet::empty() } else { wanted & (add | exactly.unwrap_or(add)) };
    let (has, set) = if root { (bounding, "bounding set") } else { (permitted, "permitted set") };
    let needed = if root { wanted } else { ambient };
    if !(needed - has).is_empty() {
        return Err(Failure::NotHeld { caps: needed - has, set });
    }
    let groups = identity.map(|identity| (identity.gid, identity.groups));
    let uid = uid.filter(|_| request.user.is_some());
    // If the bounding set stays larger, only no-new-privs limits what the program's file gives.
    let needs_no_new_privs = !permitted.contains(Cap::SETPCAP) && !wanted.is_superset(bounding);
    if needs_no_new_privs && request.allow_new_privs {
        return Err(Failure::NotHeld { caps: Cap::SETPCAP.into(), set: "permitted set" });
    }
    let no_new_privs = no_new_privs(request, program, needs_no_new_privs, io);
    Ok(Plan { bounding: wanted, ambient, uid, groups, no_new_privs })
}

/// Returns the place where the program is searched for.
fn place(request: &RunRequest) -> Place<'_> {
    let mut place = Place {
        root: request.chroot.as_deref(),
        directory: request.chdir.as_deref(),
        ..Place::default()
    };
    if let Some((_, path)) = request.variables.iter().rev().find(|(name, _)| name == "PATH") {
        place.path = path.into();
    }
    place
}

/// Returns whether to set no-new-privs. By itself, it does not disable the privileges of the program's
/// file, unless nothing else keeps them within the request.
fn no_new_privs(request: &RunRequest, program: &OsStr, is_needed: bool, io: &mut Io<'_>) -> bool {
    if request.no_new_privs || request.allow_new_privs {
        return request.no_new_privs;
    }
    let Some((path, program)) = place(request).find(program) else { return true };
    let set_id = program.metadata().is_ok_and(|file| file.mode() & 0o6000 != 0);
    let caps = file::read_fd(&program).ok().flatten();
    if !set_id && caps.is_none() {
        return true;
    }
    let why = match caps {
        Some(caps) if !set_id => CapState::from(caps).to_string(),
        _ => "the set-user-ID or set-group-ID bit".to_owned(),
    };
    let path = path.display();
    let words = if is_needed {
        format!(
            "{path} has {why}, which no-new-privs disables: without cap_setpcap, nothing else \
             limits what a program gains"
        )
    } else {
        format!("{path} has {why}, so no-new-privs is not set: --no-new-privs sets it")
    };
    let _ = io.complain_in_words("rcap run", &words);
    is_needed
}

/// Returns the requested user and groups, or `None` to keep the present ones.
fn identity(request: &RunRequest) -> Result<Option<Identity>, Failure> {
    let RunRequest { user, group, groups, .. } = request;
    let mut identity = match user {
        None if group.is_none() && groups.is_none() => return Ok(None),
        None => Identity {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            groups: nix::unistd::getgroups()
                .map_err(|err| Op::ReadIdentity.thread(err))?
                .into_iter()
                .map(nix::unistd::Gid::as_raw)
                .collect(),
        },
        Some(user) if group.is_some() => user.look_up()?,
        Some(user) => look_up(user)?,
    };
    if let Some(group) = group {
        identity.gid = group.look_up_group()?;
    }
    if let Some(groups) = groups {
        let gids = groups.0.iter().map(Id::look_up_group);
        identity.groups = gids.collect::<Result<_, _>>()?;
    }
    Ok(Some(identity))
}

/// Looks up the user to run a program as. A number that is not in the user database has no group,
/// so the request must name one.
pub(super) fn look_up(user: &User) -> Result<Identity, Failure> {
    let is_unknown = matches!(user.id(), Id::Number(uid) if user_name(*uid).is_none());
    if is_unknown && user.group().is_none() {
        return Err(Failure::NoGroup { user: user.clone() });
    }
    Ok(user.look_up()?)
}

/// `--print`: executes rcap itself with these privileges, and prints its state.
fn print(launcher: &Launcher, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let mut command = Program::new("/proc/self/exe");
    command.args(["capsh", "--print"]);
    command.stdout(std::process::Stdio::piped());
    let output = launcher.spawn(command)?.wait_with_output();
    let output = output.map_err(|err| Op::Wait.thread(err))?;
    io.out.write_all(&output.stdout)?;
    Ok(exit(output.status))
}

/// `--verify`: compares the program's state with the expected one, just after it was executed.
fn verify(launcher: &Launcher, command: Program, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let proc = Proc::of_namespace()?;
    // The state of any program that is executed in this way.
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
        let words =
            |status: &Status| format!("{} [{}]", status.caps, status.iab(CapSet::supported()));
        return Err(Failure::Differs { has: words(&has), want: words(&want) });
    }
    let words = format!("verified: {} [{}]", has.caps, has.iab(CapSet::supported()));
    let _ = io.complain_in_words("rcap run", &words);
    let status = child.wait().map_err(|err| Op::Wait.on(Subject::Process(child.id()), err))?;
    Ok(exit(status))
}

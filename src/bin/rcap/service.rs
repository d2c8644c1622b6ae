//! Units of systemd, for the commands that restart one: consent, and the session.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    time::Duration,
};

use rcap::{
    container::{Client, Delegation},
    service::{Activity, Conditions, DropIn, Facts, Failed, Manager, Scratch, Session},
    settings::shell_word,
    tools::{Escaped, signals, table::fit},
};

use crate::{Exit, Io, args::UnitOptions, failure::Failure};

/// Returns the failure of a unit that could not be run.
pub(crate) fn failed(name: &str, err: Failed) -> Failure {
    match err {
        Failed::Run(err) => err.into(),
        err => Failure::subject(Escaped(name.as_bytes()), err),
    }
}

/// A unit that a command restarts.
pub(crate) struct Unit {
    /// The name by which the user knows it.
    pub(crate) name: String,
    pub(crate) manager: Manager,
    /// The unit that is started in its place.
    pub(crate) scratch: Option<Scratch>,
    /// The command line of systemd-run(1) that starts it.
    command: Option<Delegation>,
}

impl Unit {
    /// Returns the unit of `--unit` or `--user-unit`, or that of a program such as
    /// `systemctl restart UNIT` or systemd-run(1).
    ///
    /// # Errors
    ///
    /// [`Failure`] if the unit of systemd-run(1) cannot be created.
    pub(crate) fn of(options: &UnitOptions, program: &[OsString]) -> Result<Option<Unit>, Failure> {
        let new = |name: &str, manager| Unit {
            name: name.to_owned(),
            manager,
            scratch: None,
            command: None,
        };
        let mut unit = match (&options.unit, &options.user_unit, asked(program)) {
            (Some(name), ..) => new(name, Manager::System),
            (_, Some(name), _) => new(name, Manager::User),
            (.., Some((name, manager))) => new(&name, manager),
            _ => return Unit::run(program),
        };
        if options.copy {
            let facts = unit.facts()?;
            let scratch = Scratch::copy_of(&facts).map_err(|err| failed(&unit.name, err))?;
            unit.scratch = Some(scratch);
        }
        Ok(Some(unit))
    }

    /// Returns the unit that systemd-run(1) would start.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the unit cannot be created.
    pub(crate) fn run(program: &[OsString]) -> Result<Option<Unit>, Failure> {
        let Some(command) = Delegation::of(program).filter(is_run) else { return Ok(None) };
        let scratch = Scratch::of_command(&command).map_err(|err| failed("systemd-run", err))?;
        let (name, manager) = ("systemd-run".to_owned(), scratch.manager());
        Ok(Some(Unit { name, manager, scratch: Some(scratch), command: Some(command) }))
    }

    /// Returns the facts about the unit that the user has named.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the manager does not answer.
    pub(crate) fn facts(&self) -> Result<Facts, Failure> {
        Facts::of(self.manager, &self.name).map_err(|err| failed(&self.name, err))
    }

    /// Returns the name of the unit that is started.
    pub(crate) fn started(&self) -> &str {
        self.scratch.as_ref().map_or(&self.name, Scratch::name)
    }

    /// Completes the conditions.
    pub(crate) fn conditions(&self, mut conditions: Conditions) -> Conditions {
        conditions.manager = self.manager;
        conditions.ends = self.command.is_some();
        let copy = self.scratch.as_ref().filter(|_| self.command.is_none());
        conditions.check_command =
            copy.zip(conditions.check.as_ref()).map(|(copy, check)| copy.check(check));
        conditions
    }

    /// Returns the unit in messages.
    fn words(&self, id: &str) -> String {
        match (&self.scratch, &self.command) {
            (None, _) => format!("{id} by restarting it"),
            (_, Some(_)) => "the service that systemd-run starts".to_owned(),
            (_, None) => format!("a copy of {}", Escaped(self.name.as_bytes())),
        }
    }

    /// Returns the words of the command line that names the unit.
    pub(crate) fn measured(&self) -> Vec<OsString> {
        match &self.command {
            Some(command) => {
                command.before.iter().chain(&command.after).map(OsString::from).collect()
            }
            None => vec![format!("--unit={}", self.name).into()],
        }
    }

    /// Returns the command line of systemd-run(1) with properties, as words of the shell.
    pub(crate) fn command(&self, settings: &[String]) -> Option<String> {
        let command = self.command.as_ref()?;
        let end = command.before.len();
        let has_mark = command.before.last().is_some_and(|word| word == "--");
        let (options, mark) = command.before.split_at(end - usize::from(has_mark));
        let properties = settings.iter().flat_map(|line| ["-p", line]);
        let words = options.iter().map(String::as_str).chain(properties);
        let words = words.chain(mark.iter().chain(&command.after).map(String::as_str));
        Some(words.map(shell_word).collect::<Vec<_>>().join(" "))
    }

    /// Returns the reason for which the result cannot be written.
    pub(crate) fn unwritable(&self) -> Option<&'static str> {
        match (&self.scratch, &self.command) {
            (None, _) => None,
            (_, Some(_)) => Some("--write cannot be used with systemd-run"),
            (_, None) => Some("--write cannot be used with --copy, which leaves the unit as it is"),
        }
    }
}

/// Returns whether a program starts a unit of systemd on this machine.
pub(crate) fn starts(program: &[OsString]) -> bool {
    asked(program).is_some() || Delegation::of(program).as_ref().is_some_and(is_run)
}

/// Returns whether a program starts a service by systemd-run(1) on this machine.
fn is_run(command: &Delegation) -> bool {
    let elsewhere = ["--scope", "-M", "--machine", "-H", "--host"];
    let is_elsewhere =
        |word: &String| elsewhere.contains(&word.split_once('=').map_or(&**word, |(name, _)| name));
    command.client == Client::SystemdRun && !command.before.iter().any(is_elsewhere)
}

/// Returns the unit that a program starts, if the program is `systemctl start UNIT` or the like,
/// and its manager.
pub(crate) fn asked(words: &[OsString]) -> Option<(String, Manager)> {
    let delegation = Delegation::of(words)?;
    let is_start = ["start", "restart", "try-restart"].contains(&&*delegation.verb);
    // Another manager: of a container or another machine.
    let others = ["--global", "--root", "--image", "-M", "--machine", "-H", "--host"];
    let options = || delegation.before.iter().chain(&delegation.after);
    let is_other = |word: &String| {
        let name = word.split_once('=').map_or(&**word, |(name, _)| name);
        others.contains(&name)
    };
    if delegation.client != Client::Systemctl || !is_start || options().any(is_other) {
        return None;
    }
    let is_user = options().any(|word| word == "--user");
    let mut names = delegation.after.iter().filter(|word| !word.starts_with('-'));
    let name = names.next()?;
    let manager = if is_user { Manager::User } else { Manager::System };
    // Several units are several services.
    names.next().is_none().then(|| (name.clone(), manager))
}

/// Opens a session with a unit after consent, and catches signals. `verb` begins the line that
/// names the unit.
///
/// # Errors
///
/// [`Failure`]
pub(crate) fn open(
    is_consented: bool,
    unit: &Unit,
    conditions: Conditions,
    [command, verb]: [&str; 2],
    io: &mut Io<'_>,
) -> Result<Session, Failure> {
    let name = unit.started();
    let facts = Facts::of(unit.manager, name).map_err(|err| failed(name, err))?;
    let conditions = unit.conditions(conditions);
    consent(is_consented, &facts, &format!("{verb} restarts it, and runs it with less"), io)?;
    signals::catch()?;
    let cancelled = Box::new(|| signals::caught().is_some());
    let session = Session::open(name, conditions, cancelled).map_err(|err| failed(name, err))?;
    let id = Escaped(session.before().id().as_bytes()).to_string();
    fit(&format!("{verb} {}.", unit.words(&id)), io.err)?;
    if !session.is_recorded() {
        let words = "control groups cannot be recorded here: refusals are not known";
        io.complain_in_words(command, words)?;
    }
    Ok(session)
}

/// Requires the consent to restart a unit that is running.
///
/// # Errors
///
/// [`Failure`] without consent.
pub(crate) fn consent(
    is_given: bool,
    facts: &Facts,
    reason: &str,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    if is_given || facts.activity() != Activity::Active {
        return Ok(());
    }
    let id = Escaped(facts.id().as_bytes()).to_string();
    if !(io.err_terminal && io::stdin().is_terminal()) {
        let words = format!("it is running. {reason}: add --yes if its users can do without it");
        return Err(Failure::subject(id, words));
    }
    write!(io.err, "{id} is running. {reason}. Continue? [y/N] ")?;
    io.err.flush()?;
    let mut answer = String::new();
    BufReader::new(&mut *io.input).read_line(&mut answer)?;
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        Ok(())
    } else {
        Err(Failure::No("not restarted".to_owned()))
    }
}

/// Writes the drop-in file, and restores the unit if it does not work with the file.
///
/// # Errors
///
/// [`Failure`]
pub(crate) fn write(
    session: Session,
    settings: &[String],
    expect: u8,
    limit: Option<Duration>,
    name: &str,
) -> Result<(), Failure> {
    let expect = expect.into();
    let seen = session.write(settings, expect, limit).map_err(|err| failed(name, err))?;
    match seen.failures(expect).first() {
        None => Ok(()),
        Some(failure) => Err(Failure::No(format!(
            "the file was removed again: with it, {}",
            failure.with_message(&seen.message)
        ))),
    }
}

/// `--undo`: removes the file that `--write` has written.
///
/// # Errors
///
/// [`Failure`]
pub(crate) fn undo(unit: &Unit, is_consented: bool, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let failed = |err| failed(&unit.name, err);
    let facts = unit.facts()?;
    let drop_in = DropIn::new(&facts, DropIn::FILE).map_err(failed)?;
    let path = Escaped(drop_in.path().display().to_string().as_bytes()).to_string();
    if drop_in.read().map_err(failed)?.is_none() {
        return Err(Failure::No(format!("{path}: no such file")));
    }
    consent(is_consented, &facts, "Removing the file restarts it", io)?;
    drop_in.undo(&facts).map_err(failed)?;
    fit(&format!("Removed {path}."), io.err)?;
    Ok(Exit::SUCCESS)
}

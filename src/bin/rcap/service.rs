//! Units of systemd, for the commands that restart one: consent, and the session.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    time::Duration,
};

use rcap::{
    container::{Client, Delegation},
    service::{Activity, Conditions, DropIn, Facts, Failed, Session},
    tools::{Escaped, signals, table::fit},
};

use crate::{Exit, Io, failure::Failure};

/// Returns the failure of a unit that could not be run.
pub(crate) fn failed(name: &str, err: Failed) -> Failure {
    match err {
        Failed::Run(err) => err.into(),
        err => Failure::subject(Escaped(name.as_bytes()), err),
    }
}

/// Returns the unit that a program starts, if the program is `systemctl start UNIT` or the like.
pub(crate) fn asked(words: &[OsString]) -> Option<String> {
    let delegation = Delegation::of(words)?;
    let is_start = ["start", "restart", "try-restart"].contains(&&*delegation.verb);
    // Another manager: of a user, a container or another machine.
    let others = ["--user", "--global", "--root", "--image", "-M", "--machine", "-H", "--host"];
    let is_other = |word: &String| {
        let name = word.split_once('=').map_or(&**word, |(name, _)| name);
        others.contains(&name)
    };
    let is_here = !delegation.before.iter().chain(&delegation.after).any(is_other);
    if delegation.client != Client::Systemctl || !is_start || !is_here {
        return None;
    }
    let mut names = delegation.after.iter().filter(|word| !word.starts_with('-'));
    let name = names.next()?;
    // Several units are several services.
    names.next().is_none().then(|| name.clone())
}

/// Opens a session with a unit after consent, and catches signals. `verb` begins the line that
/// names the unit.
///
/// # Errors
///
/// [`Failure`]
pub(crate) fn open(
    is_consented: bool,
    name: &str,
    conditions: Conditions,
    [command, verb]: [&str; 2],
    io: &mut Io<'_>,
) -> Result<Session, Failure> {
    let facts = Facts::of(name).map_err(|err| failed(name, err))?;
    consent(is_consented, &facts, &format!("{verb} restarts it, and runs it with less"), io)?;
    signals::catch()?;
    let cancelled = Box::new(|| signals::caught().is_some());
    let session = Session::open(name, conditions, cancelled).map_err(|err| failed(name, err))?;
    let id = Escaped(session.before().id().as_bytes()).to_string();
    fit(&format!("{verb} {id} by restarting it."), io.err)?;
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
pub(crate) fn undo(name: &str, is_consented: bool, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let failed = |err| failed(name, err);
    let facts = Facts::of(name).map_err(failed)?;
    let drop_in = DropIn::new(facts.id(), DropIn::FILE).map_err(failed)?;
    let path = Escaped(drop_in.path().display().to_string().as_bytes()).to_string();
    if drop_in.read().map_err(failed)?.is_none() {
        return Err(Failure::No(format!("{path}: no such file")));
    }
    consent(is_consented, &facts, "Removing the file restarts it", io)?;
    drop_in.undo(&facts).map_err(failed)?;
    fit(&format!("Removed {path}."), io.err)?;
    Ok(Exit::SUCCESS)
}

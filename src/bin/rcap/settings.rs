//! `--to` of the commands that print a report: the settings after the report.

use std::io::Write;

use rcap::{
    Cap, CapSet,
    settings::{Format, Settings, Target, User, Written},
};

use super::{Io, Stream, failure::Failure};

/// Returns settings that grant these capabilities to the user, if there is one.
fn requested(caps: CapSet, user: Option<&User>) -> Settings {
    let settings = Settings::new(caps);
    match user {
        Some(user) => settings.for_user(user.clone()),
        None => settings,
    }
}

/// Rejects a user that the format cannot express.
///
/// # Errors
///
/// [`Failure`] for this user.
pub(crate) fn check(to: Option<Format>, user: Option<&User>) -> Result<(), Failure> {
    if let Some(format) = to {
        // Every format accepts this capability.
        format.write(&requested(Cap::CHOWN.into(), user))?;
    }
    Ok(())
}

/// Returns the stream for the report. If standard output is not a terminal, it only gets the
/// settings, and the report goes to standard error.
pub(crate) fn report_stream<'a>(to: Option<Format>, io: &'a mut Io<'_>) -> &'a mut Stream {
    if to.is_some() && !io.out_terminal { io.err } else { io.out }
}

/// Writes the settings to standard output if `--to` is given, and their caveats to standard error.
///
/// # Errors
///
/// [`Failure`] for a user that the format cannot express, and for an error of a stream.
pub(crate) fn write(
    name: &str,
    to: Option<Format>,
    caps: CapSet,
    user: Option<&User>,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    write_for(name, to, &requested(caps, user), &Target::default(), io)
}

/// Writes these settings for a target.
///
/// # Errors
///
/// Those of [`write`].
pub(crate) fn write_for(
    name: &str,
    to: Option<Format>,
    settings: &Settings,
    target: &Target,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let Some(format) = to else { return Ok(()) };
    print(name, &format.export(settings, target)?, io)
}

/// Writes settings to standard output, and their caveats to standard error.
///
/// # Errors
///
/// [`Failure`] for an error of a stream.
pub(crate) fn print(name: &str, written: &Written, io: &mut Io<'_>) -> Result<(), Failure> {
    if io.out_terminal {
        writeln!(io.out)?;
    }
    writeln!(io.out, "{}", written.text)?;
    io.out.flush()?;
    written.caveats.iter().try_for_each(|words| io.complain_in_words(name, words))?;
    Ok(())
}

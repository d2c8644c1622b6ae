//! `--to` of the commands that report: the settings beside their report.

use std::io::Write;

use rcap::{
    Cap, CapSet,
    settings::{Format, Settings, Target, User},
};

use super::{Io, Stream, failure::Failure};

/// Settings that grant these capabilities to the user, if there is one.
fn requested(caps: CapSet, user: Option<&User>) -> Settings {
    let settings = Settings::new(caps);
    match user {
        Some(user) => settings.for_user(user.clone()),
        None => settings,
    }
}

/// Refuses a user whom the format cannot name.
///
/// # Errors
///
/// The user.
pub(crate) fn check(to: Option<Format>, user: Option<&User>) -> Result<(), Failure> {
    if let Some(format) = to {
        // Any capability that every format takes.
        format.write(&requested(Cap::CHOWN.into(), user))?;
    }
    Ok(())
}

/// Returns the stream for the report. Settings alone go to a standard output that is not a
/// terminal, so the report goes to standard error then.
pub(crate) fn report_stream<'a>(to: Option<Format>, io: &'a mut Io<'_>) -> &'a mut Stream {
    if to.is_some() && !io.out_terminal { io.err } else { io.out }
}

/// Writes the settings to standard output, if `--to` asks for them, and to standard error what
/// does not hold in this format.
///
/// # Errors
///
/// A user whom the format cannot name, and writing to the streams.
pub(crate) fn write(
    name: &str,
    to: Option<Format>,
    caps: CapSet,
    user: Option<&User>,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let Some(format) = to else { return Ok(()) };
    let written = format.export(&requested(caps, user), &Target::default())?;
    if io.out_terminal {
        writeln!(io.out)?;
    }
    writeln!(io.out, "{}", written.text)?;
    io.out.flush()?;
    written.caveats.iter().try_for_each(|words| io.complain_in_words(name, words))?;
    Ok(())
}

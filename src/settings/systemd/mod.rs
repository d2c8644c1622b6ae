//! A unit of systemd. (systemd.exec(5), "Capabilities" and "Credentials"; systemd.syntax(7))

use std::fmt::Write;

use super::{
    Format, Id, Settings, SettingsError, Target,
    text::{constant, list},
};
#[cfg(feature = "cli")]
use crate::CapSet;

#[cfg(feature = "settings")]
mod read;
#[cfg(feature = "settings")]
pub(super) mod syntax;

#[cfg(feature = "settings")]
pub(super) use read::{read, read_show};

/// Returns the lines of a drop-in file that replace the set that a unit has in a setting: an empty
/// value resets it, and later values are added.
#[cfg(feature = "cli")]
pub(crate) fn lines(key: &str, set: CapSet) -> Vec<String> {
    let reset = format!("{key}=");
    let value = format!("{key}={}", list(set, constant, " "));
    if set.is_empty() { vec![reset] } else { vec![reset, value] }
}

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    let names = |set| list(set, constant, " ");
    let mut text = format!("[Service]\nCapabilityBoundingSet={}\n", names(settings.bounding));
    if !settings.ambient.is_empty() {
        let _ = writeln!(text, "AmbientCapabilities={}", names(settings.ambient));
    }
    let value = |id: &Id| value(settings, id, Format::Systemd);
    if let Some(user) = settings.user.user() {
        let _ = writeln!(text, "User={}", value(user.id())?);
        if let Some(group) = user.group() {
            let _ = writeln!(text, "Group={}", value(group)?);
        }
    }
    if !settings.groups.is_empty() {
        let groups: Vec<String> = settings.groups.iter().map(value).collect::<Result<_, _>>()?;
        let _ = writeln!(text, "SupplementaryGroups={}", groups.join(" "));
    }
    if !settings.securebits.is_empty() {
        let bits = settings.securebits.to_string().replace(',', " ");
        let _ = writeln!(text, "SecureBits={bits}");
    }
    let is_set = if settings.no_new_privs { "yes" } else { "no" };
    let _ = write!(text, "NoNewPrivileges={is_set}");
    Ok(text)
}

/// Returns a user or a group as the value of a setting.
pub(super) fn value(settings: &Settings, id: &Id, format: Format) -> Result<String, SettingsError> {
    let value = id.to_string();
    let wrong = |needs| Err(SettingsError::inexpressible(format, &settings.user, needs));
    match id {
        // 65535 and 4294967295 stand for "no user" in 16 and in 32 bits.
        Id::Number(65535) => wrong("another id"),
        Id::Name(_) if value.ends_with('\\') => {
            wrong("a number, as a backslash at the end would join the next line")
        }
        // A percent sign begins a specifier.
        _ => Ok(value.replace('%', "%%")),
    }
}

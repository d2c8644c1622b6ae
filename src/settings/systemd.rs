//! A unit of systemd. (systemd.exec(5), "Capabilities" and "Credentials"; systemd.syntax(7))

use std::fmt::Write;

#[cfg(feature = "settings")]
use super::{
    Context, EngineKind, Kind, Named, Who,
    engine::Grant,
    read::Found,
    text::literal,
    words::{caps, user, with_group},
};
use super::{
    Format, Id, Settings, SettingsError, Target,
    text::{constant, list},
};
#[cfg(feature = "settings")]
use crate::CapSet;

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

/// Reads a unit whose first line is the header of a section. Drop-in files are not looked for.
#[cfg(feature = "settings")]
pub(super) fn read(text: &str, context: &Context<'_>) -> Found {
    let is_empty = |line: &&str| line.is_empty() || is_comment(line);
    section(text.lines().map(str::trim).find(|line| !is_empty(line))?)?;
    Some(read_service(&lines(text), context).map(|settings| vec![settings]))
}

/// Returns the name in a header of a section.
#[cfg(feature = "settings")]
fn section(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte);
    (!name.is_empty() && name.bytes().all(in_name)).then_some(name)
}

#[cfg(feature = "settings")]
fn read_service(lines: &[String], context: &Context<'_>) -> Result<Settings, SettingsError> {
    let mut bounding = CapSet::supported();
    let mut is_bounded = false;
    let mut ambient = CapSet::empty();
    let mut no_new_privs = false;
    let [mut who, mut group] = [const { String::new() }; 2];
    let mut is_dynamic = false;
    let mut is_service = false;
    let mut has_service = false;
    for line in lines {
        if line.starts_with('[') {
            let name = section(line).ok_or_else(|| {
                SettingsError::value(format_args!("{line:?}"), "is not a section")
            })?;
            is_service = name == "Service";
            has_service |= is_service;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_service) else {
            continue;
        };
        let value = value.trim();
        let is_true = ["1", "yes", "true", "on", "y", "t"].contains(&&*value.to_lowercase());
        match key.trim() {
            "CapabilityBoundingSet" => {
                let before = if is_bounded { bounding } else { CapSet::empty() };
                bounding = merge(before, is_bounded, value)?;
                is_bounded = true;
            }
            "AmbientCapabilities" => ambient = merge(ambient, !ambient.is_empty(), value)?,
            "User" => who = unescaped(value)?,
            "Group" => group = unescaped(value)?,
            "NoNewPrivileges" => no_new_privs = is_true,
            "DynamicUser" => is_dynamic = is_true,
            _ => {}
        }
    }
    if !has_service {
        return Err(SettingsError::NoServiceSection);
    }
    let mut user = with_group(user(&who)?, &group)?;
    if is_dynamic {
        // A user that has no lasting name, and no_new_privs.
        user.get_or_insert_with(|| Id::Name("nobody".into()).into());
        no_new_privs = true;
    }
    let user = user.map_or(Who::User(Id::Number(0).into()), Who::User);
    let settings = Settings { kind: Kind::Unit, user, no_new_privs, ..Settings::default() };
    let add = if is_bounded { bounding | ambient } else { ambient };
    let named = Named { add, drop: CapSet::empty() };
    let engine = context.engine(&[EngineKind::Systemd]);
    Ok(engine.grant(settings, Grant { bounding, ambient, named }))
}

/// Returns a value without specifiers: two percent signs stand for one. (systemd.unit(5),
/// "Specifiers")
#[cfg(feature = "settings")]
fn unescaped(value: &str) -> Result<String, SettingsError> {
    let wrong = "has a specifier, which is not resolved";
    literal(value, '%').ok_or_else(|| SettingsError::value(format_args!("{value:?}"), wrong))
}

#[cfg(feature = "settings")]
fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// Returns the lines without comments and empty lines, continued lines as one.
#[cfg(feature = "settings")]
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines().filter(|line| !is_comment(line)) {
        // Two backslashes do not continue the line.
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        let goes_on = backslashes % 2 == 1;
        let part = if goes_on { &line[..line.len() - 1] } else { line };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => last.extend([" ", part]),
            None => lines.push(part.to_owned()),
        }
        continues = goes_on;
    }
    let lines = lines.iter().map(|line| line.trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Returns a set after one more assignment: an empty one clears it, names are added, and names
/// after a `~` are removed, from all capabilities if it is the first assignment.
#[cfg(feature = "settings")]
fn merge(before: CapSet, is_assigned: bool, value: &str) -> Result<CapSet, SettingsError> {
    let (is_inverted, names) = match value.strip_prefix('~') {
        Some(names) => (true, names),
        None => (false, value),
    };
    let set: CapSet = names.split_whitespace().map(caps).collect::<Result<_, _>>()?;
    Ok(match (is_inverted, set.is_empty()) {
        (false, true) => CapSet::empty(),
        (true, true) => CapSet::supported(),
        (false, false) => before | set,
        (true, false) if is_assigned => before - set,
        (true, false) => CapSet::supported() - set,
    })
}

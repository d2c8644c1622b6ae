//! A Quadlet: a container of Podman as a unit of systemd. (podman-systemd.unit(5))

use std::fmt::Write;

use super::{
    Format, Id, Settings, SettingsError, Target,
    container::{self, Changes},
    systemd,
    text::{constant, list},
};

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    container::check_ids(settings, Format::Quadlet)?;
    let changes = Changes::with_ambient(settings);
    let drop = changes.drop.map_or("all".to_owned(), |drop| list(drop, constant, " "));
    let mut text = format!("[Container]\nDropCapability={drop}\n");
    if !changes.add.is_empty() {
        let _ = writeln!(text, "AddCapability={}", list(changes.add, constant, " "));
    }
    let value = |id: &Id| systemd::value(settings, id, Format::Quadlet);
    if let Some(user) = settings.user.user() {
        let _ = writeln!(text, "User={}", value(user.id())?);
        if let Some(group) = user.group() {
            let _ = writeln!(text, "Group={}", value(group)?);
        }
    }
    for group in &settings.groups {
        let _ = writeln!(text, "GroupAdd={}", value(group)?);
    }
    let _ = write!(text, "NoNewPrivileges={}", settings.no_new_privs);
    Ok(text)
}

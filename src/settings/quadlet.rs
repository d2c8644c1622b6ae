//! A Quadlet: a container of Podman as a unit of systemd. (podman-systemd.unit(5))

use std::fmt::Write;

#[cfg(feature = "settings")]
use super::{
    Context, EngineKind, Kind, SettingsError as Error, Topic,
    container::{Container, Names},
    line,
    read::Found,
    shell::Word,
    systemd::syntax,
    words,
};
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

/// Reads a unit with a section `[Container]`.
#[cfg(feature = "settings")]
pub(super) fn read(text: &str, context: &Context<'_>) -> Found {
    let lines = syntax::lines(text);
    let is_first = lines.first().is_some_and(|line| syntax::section(line).is_some());
    let is_container = lines.iter().any(|line| syntax::section(line) == Some("Container"));
    (is_first && is_container).then(|| read_container(&lines, context).map(|one| vec![one]))
}

#[cfg(feature = "settings")]
fn read_container(lines: &[String], context: &Context<'_>) -> Result<Settings, Error> {
    let mut container = Container::default();
    let [mut user, mut group, mut name] = [const { String::new() }; 3];
    let mut options = Vec::new();
    let assignments = syntax::assignments(lines);
    let assignments = assignments.iter().filter(|one| one.section == "Container");
    for assignment in assignments {
        let value = assignment.value;
        match assignment.key {
            "AddCapability" => container.add = names(container.add, value)?,
            "DropCapability" => container.drop = names(container.drop, value)?,
            "User" => value.clone_into(&mut user),
            "Group" => value.clone_into(&mut group),
            "GroupAdd" => container.groups.push(value.parse()?),
            "NoNewPrivileges" => match syntax::boolean(value) {
                Some(is_set) => container.no_new_privs = is_set,
                None => return Err(Error::value(value, "is not true or false")),
            },
            "Exec" => container.command = syntax::words(value).0,
            "ContainerName" => value.clone_into(&mut name),
            // Options of podman as they are, after all others.
            "PodmanArgs" => {
                let words = syntax::words(value).0.into_iter();
                options.extend(words.map(|text| Word { text, is_expanded: false }));
            }
            _ => {}
        }
    }
    let resolve = |value: &str| syntax::specifiers(value, context.unit);
    let (user, group) = (resolve(&user), resolve(&group));
    let is_unknown = user.is_none() || group.is_none();
    let (user, group) = (user.unwrap_or_default(), group.unwrap_or_default());
    container.user = words::with_group(words::user(&user)?, &group)?;
    let container = line::extend(container, &options)?;
    let engine = context.engine(&[EngineKind::Podman]);
    let mut settings = container.settings(Kind::Container, engine)?;
    if is_unknown {
        settings.user = super::Who::Unknown;
        settings.note(Topic::Unknown, "the user depends on the name of the instance");
        settings = settings.for_current_user();
    }
    settings.name = Some(name).filter(|name| !name.is_empty());
    Ok(settings)
}

/// Returns the names after one more assignment: an empty one clears them.
#[cfg(feature = "settings")]
fn names(before: Names, value: &str) -> Result<Names, Error> {
    let mut all = if value.is_empty() { Names::default() } else { before };
    for word in syntax::words(value).0 {
        let names = words::names(&word)?;
        all.caps |= names.caps;
        all.has_all |= names.has_all;
    }
    Ok(all)
}

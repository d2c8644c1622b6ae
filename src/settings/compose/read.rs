//! The services of a Compose file.

use serde_json::Value;

use super::{
    super::{
        Context, EngineKind, Id, Kind, Settings, SettingsError, Topic,
        container::{self, Container, Names},
        read::Found,
        value, words,
    },
    resolve::{self, Project},
};

/// Reads the services of a file, or one service alone, as it stands in such a file.
pub(in super::super) fn read(document: &Value, context: &Context<'_>) -> Found {
    let is_service = ["cap_drop", "cap_add"]
        .iter()
        .any(|key| document.get(key).is_some_and(|value| !value.is_object()));
    if is_service && document.get("services").is_none() {
        let service = resolve::interpolated(document.clone(), context);
        return Some(service.and_then(|service| Ok(vec![read_service(&service, context)?])));
    }
    let project = Project::new(document)?;
    Some(project.resolve(context).and_then(|project| read_project(&project, context)))
}

fn read_project(project: &Project, context: &Context<'_>) -> Result<Vec<Settings>, SettingsError> {
    let services = project.services.iter().map(|(name, service)| {
        let read = read_service(service, context);
        let mut settings = read.map_err(|err| err.within(&format!("service {name}")))?;
        settings.name = Some(name.clone());
        if project.is_version_1 {
            settings.note(
                Topic::Engine,
                "the file has no `services`: docker-compose 1 reads it, and Compose 2 does not",
            );
        }
        Ok(settings)
    });
    services.collect()
}

fn read_service(service: &Value, context: &Context<'_>) -> Result<Settings, SettingsError> {
    let get = |key: &str| service.get(key).unwrap_or(&Value::Null);
    let container = Container {
        drop: names("cap_drop", get("cap_drop"))?,
        add: names("cap_add", get("cap_add"))?,
        is_privileged: switch("privileged", get("privileged"))?,
        user: value::user(get("user"))?,
        groups: groups(get("group_add"))?,
        no_new_privs: container::sets_no_new_privs(value::texts(get("security_opt")))?,
        command: command(get("entrypoint"), get("command")),
        ..Container::default()
    };
    let engine = context.engine(&[EngineKind::Docker, EngineKind::Podman]);
    container.settings(Kind::Service, engine)
}

/// Returns the names in a list, which the schema wants to be one.
fn names(key: &str, value: &Value) -> Result<Names, SettingsError> {
    if !value.is_array() && !value.is_null() {
        return Err(SettingsError::value(value, "is not a list").within(key));
    }
    value::names(value)
}

fn groups(value: &Value) -> Result<Vec<Id>, SettingsError> {
    let group = |value: &Value| match value {
        Value::Number(number) => Ok(number.to_string().parse()?),
        Value::String(text) => Ok(text.parse()?),
        other => Err(SettingsError::value(other, "is neither a number nor a name")),
    };
    let groups = value.as_array().into_iter().flatten().map(group).collect::<Result<_, _>>();
    groups.map_err(|err: SettingsError| err.within("group_add"))
}

/// Returns a switch in the words that Compose takes, which are those of YAML 1.1.
fn switch(key: &str, value: &Value) -> Result<bool, SettingsError> {
    let is_on = match value {
        Value::String(text) => match &*text.to_ascii_lowercase() {
            "true" | "yes" | "y" | "on" => Some(true),
            "false" | "no" | "n" | "off" => Some(false),
            _ => None,
        },
        Value::Null => Some(false),
        other => other.as_bool(),
    };
    let wrong = || SettingsError::value(value, "is not true or false").within(key);
    is_on.ok_or_else(wrong)
}

/// Returns the words of the entrypoint and of the command. A string is split as a shell does.
fn command(entrypoint: &Value, command: &Value) -> Vec<String> {
    let split = |value: &Value| match value {
        Value::String(text) => words::split(text),
        list => value::texts(list).map(str::to_owned).collect(),
    };
    [split(entrypoint), split(command)].concat()
}

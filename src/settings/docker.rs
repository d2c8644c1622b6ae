//! Docker: the options of `docker run`, and the output of `docker inspect`.

#[cfg(feature = "settings")]
use serde_json::Value;

#[cfg(feature = "settings")]
use super::{
    Context, EngineKind, Id, Kind, Topic,
    container::Container,
    read::Found,
    value::{names, switch, texts, user},
};
use super::{
    Format, Settings, SettingsError, Target,
    container::{self, Changes},
};

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    container::write_options(settings, Format::Docker, &Changes::only(settings.bounding))
}

/// Reads what `docker inspect` or `podman inspect` describes: containers and images.
#[cfg(feature = "settings")]
pub(super) fn read_inspect(document: &Value, context: &Context<'_>) -> Found {
    let objects = match document {
        Value::Array(objects) => &**objects,
        object => std::slice::from_ref(object),
    };
    let is_one = |object: &Value| object["HostConfig"].is_object() || is_image(object);
    if objects.is_empty() || !objects.iter().all(is_one) {
        return None;
    }
    Some(objects.iter().map(|object| inspected(object, context)).collect())
}

#[cfg(feature = "settings")]
fn is_image(object: &Value) -> bool {
    object["Config"].is_object() && object["RepoTags"].is_array() && object["Id"].is_string()
}

#[cfg(feature = "settings")]
fn inspected(object: &Value, context: &Context<'_>) -> Result<Settings, SettingsError> {
    if is_image(object) {
        return image(object, context);
    }
    let host = &object["HostConfig"];
    let name = object["Name"].as_str().map(|name| name.trim_start_matches('/').to_owned());
    let command = object["Path"].as_str().into_iter().chain(texts(&object["Args"]));
    let container = Container {
        drop: names(&host["CapDrop"])?,
        add: names(&host["CapAdd"])?,
        is_privileged: switch("Privileged", &host["Privileged"])?,
        user: user(&object["Config"]["User"])?,
        groups: texts(&host["GroupAdd"]).map(str::parse::<Id>).collect::<Result<_, _>>()?,
        no_new_privs: container::sets_no_new_privs(texts(&host["SecurityOpt"]))?,
        command: command.map(str::to_owned).collect(),
        ..Container::default()
    };
    // A container that exists has the image's user in its own configuration, and root if neither
    // names one.
    let has_user = container.user.is_some();
    let engine = context.engine(&[engine_of(object), EngineKind::Docker, EngineKind::Podman]);
    let mut settings = container.settings(Kind::Container, engine)?;
    if !has_user {
        settings = settings.for_user(Id::Number(0).into());
    }
    Ok(Settings { name, ..settings })
}

/// Returns the engine that wrote the description: Podman's has the sets that it computed.
#[cfg(feature = "settings")]
fn engine_of(object: &Value) -> EngineKind {
    let is_podman = object.get("EffectiveCaps").is_some() || object.get("NamesHistory").is_some();
    if is_podman { EngineKind::Podman } else { EngineKind::Docker }
}

/// Reads an image: its user, its program, and the label by which it asks Podman for less.
#[cfg(feature = "settings")]
fn image(object: &Value, context: &Context<'_>) -> Result<Settings, SettingsError> {
    let config = &object["Config"];
    let command = texts(&config["Entrypoint"]).chain(texts(&config["Cmd"]));
    let container = Container {
        user: user(&config["User"])?,
        command: command.map(str::to_owned).collect(),
        ..Container::default()
    };
    let has_user = container.user.is_some();
    let engine = context.engine(&[engine_of(object), EngineKind::Docker, EngineKind::Podman]);
    let label = config["Labels"]["io.containers.capabilities"].as_str();
    let mut settings = container.settings(Kind::Image, engine.clone())?;
    if !has_user {
        settings = settings.for_user(Id::Number(0).into());
    }
    if let Some(label) = label {
        let (caps, text) = super::podman::ask(label, settings.bounding);
        settings.note(Topic::NoEffect, text);
        if let (Some(caps), EngineKind::Podman) = (caps, engine.kind()) {
            settings.bounding = caps;
            settings = settings.for_current_user();
        }
    }
    settings.name = texts(&object["RepoTags"]).next().map(str::to_owned);
    Ok(settings)
}

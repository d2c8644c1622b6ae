//! Docker: the options of `docker run`, and the output of `docker inspect`.

#[cfg(feature = "settings")]
use serde_json::Value;

use super::{Format, Settings, SettingsError, engine};
#[cfg(feature = "settings")]
use super::{
    Profile,
    engine::Container,
    read::Found,
    value::{caps, switch, texts, user},
};

pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    engine::write_options(settings, Format::Docker, engine::sets_no_new_privs(settings))
}

/// Reads the words of a command.
#[cfg(feature = "settings")]
pub(super) fn read(words: &[&str]) -> Result<Settings, SettingsError> {
    Ok(Container::read_options(words)?.settings(Profile::Docker))
}

/// Reads the containers that `docker inspect` describes.
#[cfg(feature = "settings")]
pub(super) fn read_inspect(document: &Value) -> Found {
    let containers = document.as_array().filter(|all| {
        !all.is_empty() && all.iter().all(|container| container["HostConfig"].is_object())
    })?;
    Some(containers.iter().map(inspected).collect())
}

#[cfg(feature = "settings")]
fn inspected(container: &Value) -> Result<Settings, SettingsError> {
    let host = &container["HostConfig"];
    let name = container["Name"].as_str().map(|name| name.trim_start_matches('/').to_owned());
    let container = Container {
        drop: caps(&host["CapDrop"])?,
        add: caps(&host["CapAdd"])?,
        is_privileged: switch("Privileged", &host["Privileged"])?,
        user: user(&container["Config"]["User"])?,
        no_new_privs: texts(&host["SecurityOpt"]).any(engine::is_no_new_privs),
    };
    Ok(Settings { name, ..container.settings(Profile::Docker) })
}

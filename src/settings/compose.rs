//! A Compose file. (github.com/compose-spec/compose-spec, 05-services.md)

#[cfg(feature = "settings")]
use serde_json::Value;

use super::{
    Format, Settings, SettingsError, engine,
    text::{bare, list, quoted},
};
#[cfg(feature = "settings")]
use super::{
    Profile,
    engine::Container,
    read::Found,
    text::literal,
    value::{self, caps, switch, texts},
    words,
};

pub(super) fn write(settings: &Settings) -> Result<String, SettingsError> {
    engine::check_ids(settings, Format::Compose)?;
    let mut lines = vec!["cap_drop: [ALL]".to_owned()];
    if !settings.caps.is_empty() {
        lines.push(format!("cap_add: [{}]", list(settings.caps, bare, ", ")));
    }
    if engine::sets_no_new_privs(settings) {
        lines.push("security_opt: [\"no-new-privileges:true\"]".to_owned());
    }
    // A dollar sign begins a variable.
    let user = settings.user.as_ref().map(|user| user.to_string().replace('$', "$$"));
    lines.extend(user.map(|user| format!("user: {}", quoted(&user))));
    Ok(lines.join("\n"))
}

/// Reads the services of a file, or one service alone, as it stands in such a file. The services
/// that one `extends` in another file are not looked for.
#[cfg(feature = "settings")]
pub(super) fn read(document: &Value) -> Found {
    if let Some(services) = document.get("services").and_then(Value::as_object) {
        let services = services.iter().map(|(name, service)| {
            let settings =
                read_service(service).map_err(|err| err.within(&format!("service {name}")))?;
            Ok(Settings { name: Some(name.clone()), ..settings })
        });
        return Some(services.collect());
    }
    let is_service = ["cap_drop", "cap_add"].iter().any(|key| document.get(key).is_some());
    is_service.then(|| read_service(document).map(|settings| vec![settings]))
}

#[cfg(feature = "settings")]
fn read_service(service: &Value) -> Result<Settings, SettingsError> {
    let get = |key: &str| service.get(key).unwrap_or(&Value::Null);
    let container = Container {
        drop: caps(get("cap_drop"))?,
        add: caps(get("cap_add"))?,
        is_privileged: switch("privileged", get("privileged"))?,
        user: match get("user") {
            // Two dollar signs stand for one. (12-interpolation.md)
            Value::String(text) => words::user(&literal(text, '$').ok_or_else(|| {
                SettingsError::value(
                    format_args!("{text:?}"),
                    "has a variable, which is not resolved",
                )
            })?)?,
            other => value::user(other)?,
        },
        no_new_privs: texts(get("security_opt")).any(engine::is_no_new_privs),
    };
    Ok(container.settings(Profile::Docker))
}

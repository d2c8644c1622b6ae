//! A Compose file. (github.com/compose-spec/compose-spec, 05-services.md)

#[cfg(feature = "settings")]
use serde_json::Value;

#[cfg(feature = "settings")]
use super::{
    Context, EngineKind, Kind,
    container::Container,
    read::Found,
    text::literal,
    value::{self, names, switch, texts},
    words,
};
use super::{
    Format, Settings, SettingsError, Target, container,
    text::{bare, list, quoted},
};

pub(super) fn write(settings: &Settings, _: &Target) -> Result<String, SettingsError> {
    let mut lines = vec!["cap_drop: [ALL]".to_owned()];
    lines.extend(keys(settings)?);
    Ok(lines.join("\n"))
}

/// Writes a file that Compose merges with the one before it. It adds the lists of both up, so what
/// the other file adds is dropped by no list here.
pub(super) fn write_override(
    settings: &Settings,
    target: &Target,
) -> Result<String, SettingsError> {
    let name = target.service.as_ref().ok_or(SettingsError::NeedsService)?;
    let mut lines = vec!["cap_drop: [ALL]".to_owned(), "privileged: false".to_owned()];
    lines.extend(keys(settings)?);
    Ok(format!("services:\n  {}:\n    {}", quoted(name), lines.join("\n    ")))
}

/// Returns the keys of a service but for `cap_drop`.
fn keys(settings: &Settings) -> Result<Vec<String>, SettingsError> {
    container::check_ids(settings, Format::Compose)?;
    let mut lines = Vec::new();
    if !settings.bounding.is_empty() {
        lines.push(format!("cap_add: [{}]", list(settings.bounding, bare, ", ")));
    }
    if settings.no_new_privs {
        lines.push("security_opt: [\"no-new-privileges:true\"]".to_owned());
    }
    // A dollar sign begins a variable.
    let value = |text: String| quoted(&text.replace('$', "$$"));
    let user = settings.user.user();
    lines.extend(user.map(|user| format!("user: {}", value(user.to_string()))));
    let groups: Vec<String> = settings.groups.iter().map(|id| value(id.to_string())).collect();
    if !groups.is_empty() {
        lines.push(format!("group_add: [{}]", groups.join(", ")));
    }
    Ok(lines)
}

/// Reads the services of a file, or one service alone, as it stands in such a file. The services
/// that one `extends` in another file are not looked for.
#[cfg(feature = "settings")]
pub(super) fn read(document: &Value, context: &Context<'_>) -> Found {
    if let Some(services) = document.get("services").and_then(Value::as_object) {
        let services = services.iter().map(|(name, service)| {
            let settings = read_service(service, context)
                .map_err(|err| err.within(&format!("service {name}")))?;
            Ok(Settings { name: Some(name.clone()), ..settings })
        });
        return Some(services.collect());
    }
    let is_service = ["cap_drop", "cap_add"].iter().any(|key| document.get(key).is_some());
    is_service.then(|| read_service(document, context).map(|settings| vec![settings]))
}

#[cfg(feature = "settings")]
fn read_service(service: &Value, context: &Context<'_>) -> Result<Settings, SettingsError> {
    let get = |key: &str| service.get(key).unwrap_or(&Value::Null);
    let container = Container {
        drop: names(get("cap_drop"))?,
        add: names(get("cap_add"))?,
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
        no_new_privs: texts(get("security_opt")).any(container::is_no_new_privs),
        ..Container::default()
    };
    let engine = context.engine(&[EngineKind::Docker, EngineKind::Podman]);
    container.settings(Kind::Service, engine)
}
